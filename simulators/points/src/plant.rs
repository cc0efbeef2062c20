//! All units of a model, as the protocols see them: whole reads and writes of a table, done or refused. Values that
//! change by themselves are made when they are read; nothing runs in between.

use std::sync::{Arc, Mutex, PoisonError};

use hilrig_port::Time;

use crate::{Table, Unit, UnitError};

/// Why a read or write is not done. Nothing of it is done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An address that does not exist, or that takes no writes.
    Address,
    /// A value outside the limits of a point.
    Value,
    /// The unit fails on purpose.
    Failure,
}

/// The units of a model and all that they hold.
#[derive(Debug)]
pub struct Plant {
    units: Vec<(u8, Unit)>,
    /// Place in `units` of a unit id.
    index: [Option<u8>; 256],
}

impl Default for Plant {
    fn default() -> Self {
        Self { units: Vec::new(), index: [None; 256] }
    }
}

impl Plant {
    /// Takes in a unit.
    ///
    /// # Errors
    /// The id is out of range or there already.
    pub fn add_unit(&mut self, id: u8, unit: Unit) -> Result<(), UnitError> {
        if !(1..=247).contains(&id) {
            return Err(UnitError::Id { id });
        }
        if self.index[usize::from(id)].is_some() {
            return Err(UnitError::Twice { id });
        }
        self.index[usize::from(id)] = Some(self.units.len() as u8);
        self.units.push((id, unit));
        Ok(())
    }

    /// The ids of all units, in the order they were taken in.
    pub fn unit_ids(&self) -> impl Iterator<Item = u8> {
        self.units.iter().map(|(id, _)| *id)
    }

    pub fn unit(&self, id: u8) -> Option<&Unit> {
        self.index[usize::from(id)].map(|i| &self.units[usize::from(i)].1)
    }

    pub fn unit_mut(&mut self, id: u8) -> Option<&mut Unit> {
        self.index[usize::from(id)].map(|i| &mut self.units[usize::from(i)].1)
    }

    /// Bits as a protocol reads them: eight in a byte, the first in the lowest; the rest of the last byte is 0.
    ///
    /// # Errors
    /// Why not; `out` is undefined then. So for the other three.
    pub fn read_bits(
        &mut self,
        now: Time,
        unit: u8,
        table: Table,
        address: u16,
        quantity: u16,
        out: &mut [u8],
    ) -> Result<(), Refusal> {
        let _ = now;
        let unit = self.unit_mut(unit).ok_or(Refusal::Failure)?;
        unit.has(table, address, quantity)?;
        out.fill(0);
        for (i, a) in (address..=u16::MAX).take(quantity.into()).enumerate() {
            out[i / 8] |= (unit.get(table, a).unwrap_or(0) as u8) << (i % 8);
        }
        Ok(())
    }

    /// Registers as a protocol reads them: two bytes each, high byte first.
    ///
    /// # Errors
    /// Why not.
    pub fn read_registers(
        &mut self,
        now: Time,
        unit: u8,
        table: Table,
        address: u16,
        quantity: u16,
        out: &mut [u8],
    ) -> Result<(), Refusal> {
        let _ = now;
        let unit = self.unit_mut(unit).ok_or(Refusal::Failure)?;
        unit.has(table, address, quantity)?;
        for (a, out) in (address..=u16::MAX).take(quantity.into()).zip(out.chunks_exact_mut(2)) {
            out.copy_from_slice(&unit.get(table, a).unwrap_or(0).to_be_bytes());
        }
        Ok(())
    }

    /// Writes coils, packed as `read_bits` gives them.
    ///
    /// # Errors
    /// Why not.
    pub fn write_bits(
        &mut self,
        now: Time,
        unit: u8,
        address: u16,
        quantity: u16,
        bits: &[u8],
    ) -> Result<(), Refusal> {
        let _ = now;
        let unit = self.unit_mut(unit).ok_or(Refusal::Failure)?;
        unit.has(Table::Coils, address, quantity)?;
        for (i, a) in (address..=u16::MAX).take(quantity.into()).enumerate() {
            let _ = unit.set(Table::Coils, a, u16::from(bits[i / 8] >> (i % 8) & 1));
        }
        Ok(())
    }

    /// Writes holding registers, as `read_registers` gives them.
    ///
    /// # Errors
    /// Why not.
    pub fn write_registers(
        &mut self,
        now: Time,
        unit: u8,
        address: u16,
        values: &[u8],
    ) -> Result<(), Refusal> {
        let _ = now;
        let unit = self.unit_mut(unit).ok_or(Refusal::Failure)?;
        unit.has(Table::HoldingRegisters, address, (values.len() / 2) as u16)?;
        for (a, v) in (address..=u16::MAX).zip(values.chunks_exact(2)) {
            let _ = unit.set(Table::HoldingRegisters, a, u16::from_be_bytes([v[0], v[1]]));
        }
        Ok(())
    }
}

/// A plant that all stations of one shard serve. The control side reaches it through the shard as well
/// (`Shard::with_station`), so that nobody ever waits for the lock and it costs no system call.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Plant>>);

impl Shared {
    pub fn new(plant: Plant) -> Self {
        Self(Arc::new(Mutex::new(plant)))
    }

    pub fn with<R>(&self, f: impl FnOnce(&mut Plant) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
