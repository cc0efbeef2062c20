//! All units of a model, as the protocols see them: whole reads and writes of a table, done or refused. Values that
//! change by themselves are made when they are read; nothing runs in between.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hilrig_port::Time;

use crate::engine::{Engine, Fixed};
use crate::extras::ServerId;
use crate::point::{Point, PointId, SetError};
use crate::unit::{READ, WRITE};
use crate::{Table, Unit, UnitError, Value};

/// Why a read or write is not done. Nothing of it is done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An address that does not exist, or that a master may not read or not write.
    Address,
    /// A value outside the limits of a point.
    Value,
    /// The unit fails on purpose.
    Failure,
}

/// The units of a model and all that they hold.
#[derive(Debug, Clone, Default)]
pub struct Plant {
    pub(crate) fixed: Fixed,
    pub(crate) engine: Engine,
}

impl Plant {
    /// Takes in a unit.
    ///
    /// # Errors
    /// The id is out of range or there already.
    pub fn add_unit(&mut self, id: u8, unit: Unit) -> Result<(), UnitError> {
        self.engine.add_unit(id, unit)?;
        self.fixed.add_unit();
        Ok(())
    }

    /// The ids of all units, in the order they were taken in.
    pub fn unit_ids(&self) -> impl Iterator<Item = u8> {
        self.engine.units.iter().map(|(id, _)| *id)
    }

    pub fn unit(&self, id: u8) -> Option<&Unit> {
        self.engine.place(id).map(|i| &self.engine.units[i].1)
    }

    /// The cells themselves: what is set here sets off nothing, and a live point takes its cells back.
    pub fn unit_mut(&mut self, id: u8) -> Option<&mut Unit> {
        self.engine.touch();
        self.engine.place(id).map(|i| &mut self.engine.units[i].1)
    }

    /// The name that the file gives a unit; empty without a file.
    pub fn unit_name(&self, id: u8) -> Option<&str> {
        self.engine.place(id).map(|i| self.fixed.extras[i].name.as_str())
    }

    /// Starts the behaviours anew. Without it they start with the first access.
    pub fn begin(&mut self, now: Time) {
        self.engine.begin(&self.fixed, now);
    }

    /// Does what is due by now. Every access does so too; a plant that is not accessed for long has the more to do
    /// then, so whoever owns it does well to call this every second.
    pub fn advance(&mut self, now: Time) {
        self.engine.to(&self.fixed, now);
    }

    /// Bits as a protocol reads them: eight in a byte, the first in the lowest; the rest of the last byte is 0.
    ///
    /// # Errors
    /// Why not; `out` is undefined then. So for the others.
    pub fn read_bits(
        &mut self,
        now: Time,
        unit: u8,
        table: Table,
        address: u16,
        quantity: u16,
        out: &mut [u8],
    ) -> Result<(), Refusal> {
        let unit = self.ready(now, unit, table, address, quantity, READ)?;
        out.fill(0);
        let mut i = 0;
        unit.each_run(table, address, quantity, |values| {
            for value in values {
                out[i / 8] |= (*value as u8) << (i % 8);
                i += 1;
            }
        });
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
        let unit = self.ready(now, unit, table, address, quantity, READ)?;
        let mut out = out.chunks_exact_mut(2);
        unit.each_run(table, address, quantity, |values| {
            for (value, out) in values.iter().zip(&mut out) {
                out.copy_from_slice(&value.to_be_bytes());
            }
        });
        Ok(())
    }

    /// Brings a range up to date, if a master may have it.
    fn ready(
        &mut self,
        now: Time,
        unit: u8,
        table: Table,
        address: u16,
        quantity: u16,
        access: u8,
    ) -> Result<&mut Unit, Refusal> {
        let place = self.engine.place(unit).ok_or(Refusal::Failure)?;
        self.engine.units[place].1.has(table, address, quantity, access)?;
        self.engine.to(&self.fixed, now);
        let last = address.saturating_add(quantity.saturating_sub(1));
        self.engine.refresh_range(&self.fixed, place, table, address, last);
        Ok(&mut self.engine.units[place].1)
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
        self.ready(now, unit, Table::Coils, address, quantity, WRITE)?;
        let bit = |i: usize| u16::from(bits.get(i / 8).copied().unwrap_or(0) >> (i % 8) & 1);
        self.write(unit, Table::Coils, address, quantity, bit)
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
        let count = (values.len() / 2) as u16;
        self.ready(now, unit, Table::HoldingRegisters, address, count, WRITE)?;
        let word = |i: usize| u16::from_be_bytes([values[2 * i], values[2 * i + 1]]);
        self.write(unit, Table::HoldingRegisters, address, count, word)
    }

    /// Changes bits of a holding register: value AND `and`, OR (`or` AND NOT `and`) (AP 6.16).
    ///
    /// # Errors
    /// Why not.
    pub fn mask_write(
        &mut self,
        now: Time,
        unit: u8,
        address: u16,
        and: u16,
        or: u16,
    ) -> Result<(), Refusal> {
        let table = Table::HoldingRegisters;
        let cells = self.ready(now, unit, table, address, 1, WRITE)?;
        let value = cells.get(table, address).unwrap_or(0);
        self.write(unit, table, address, 1, |_| value & and | or & !and)
    }

    fn write(
        &mut self,
        unit: u8,
        table: Table,
        address: u16,
        quantity: u16,
        value: impl Fn(usize) -> u16,
    ) -> Result<(), Refusal> {
        let place = self.engine.place(unit).ok_or(Refusal::Failure)?;
        self.engine.write(&self.fixed, place, table, address, quantity, value)
    }

    /// The points, in the order of their ids.
    pub fn points(&self) -> impl Iterator<Item = (PointId, &Point)> {
        self.fixed.points.iter().enumerate().map(|(i, p)| (PointId(i as u32), p))
    }

    /// Finds "unit.point", or "point" if only one has that name.
    pub fn point(&self, name: &str) -> Option<PointId> {
        self.fixed.names.get(name).copied().flatten()
    }

    /// # Panics
    /// The id is of another plant.
    pub fn describe(&self, id: PointId) -> &Point {
        &self.fixed.points[id.index()]
    }

    /// The point that holds an address; of several (bits of a register) the one that begins first.
    pub fn point_at(&self, unit: u8, table: Table, address: u16) -> Option<PointId> {
        let place = self.engine.place(unit)?;
        let mut touching = self.fixed.placed[place][table as usize].touching(address, address);
        touching.next().map(|span| span.point)
    }

    /// The value for people. Text and f32 allocate; a core on a line takes [`number`](Self::number).
    pub fn get(&mut self, now: Time, id: PointId) -> Value {
        self.engine.to(&self.fixed, now);
        self.engine.value(&self.fixed, id)
    }

    /// The value as a number, 0 or 1 for a bool, 0 for text.
    pub fn number(&mut self, now: Time, id: PointId) -> f64 {
        self.engine.to(&self.fixed, now);
        self.engine.number(&self.fixed, id)
    }

    /// Gives a point a value by hand, whatever a master may do with it. A signal stays off until
    /// [`release`](Self::release), or goes on from the value if the point says `on_write = "take"`.
    ///
    /// # Errors
    /// The type cannot hold the value.
    pub fn set(&mut self, now: Time, id: PointId, value: &Value) -> Result<(), SetError> {
        self.engine.to(&self.fixed, now);
        self.engine.set(&self.fixed, id, value)
    }

    /// [`set`](Self::set) without allocation: the nearest value that the type can hold.
    pub fn set_number(&mut self, now: Time, id: PointId, value: f64) {
        self.engine.to(&self.fixed, now);
        self.engine.set_number(&self.fixed, id, value);
    }

    /// Moves a point evenly from what it is to a value, which it then keeps.
    ///
    /// # Errors
    /// It is no number, or the value does not fit.
    pub fn ramp(&mut self, now: Time, id: PointId, to: f64, over: Duration) -> Result<(), SetError> {
        self.engine.to(&self.fixed, now);
        self.engine.check_ramp(&self.fixed, id, to)?;
        self.engine.ramp(&self.fixed, id, to, over);
        Ok(())
    }

    /// Lets the signal of a point go on.
    pub fn release(&mut self, id: PointId) {
        self.engine.release(&self.fixed, id);
    }

    /// Whether a value was put in the place of the point's signal.
    pub fn is_overridden(&self, id: PointId) -> bool {
        self.fixed.signals[id.index()].is_some() && !self.engine.is_driven(id)
    }

    /// The points that masters have written since it was last asked, each once.
    pub fn written(&mut self) -> impl Iterator<Item = PointId> + '_ {
        self.engine.take_written()
    }

    /// The byte that function 7 answers (AP 6.7).
    pub fn exception_status(&mut self, now: Time, unit: u8) -> u8 {
        self.engine.to(&self.fixed, now);
        self.engine.status(&self.fixed, unit)
    }

    /// The server id (AP 6.13), if the unit has one.
    pub fn server_id(&self, unit: u8) -> Option<&ServerId> {
        self.fixed.extras[self.engine.place(unit)?].server_id.as_ref()
    }

    /// An object of the device identification (AP 6.21), if the unit has it.
    pub fn identity(&self, unit: u8, object: u8) -> Option<&[u8]> {
        let extras = &self.fixed.extras[self.engine.place(unit)?];
        extras.identity.iter().find(|(id, _)| *id == object).map(|(_, text)| &**text)
    }

    /// Reads `length` records of a file (AP 6.14), two bytes each, high byte first.
    ///
    /// # Errors
    /// The file or one of the records is not there.
    pub fn file_read(
        &mut self,
        unit: u8,
        file: u16,
        record: u16,
        length: u16,
        out: &mut [u8],
    ) -> Result<(), Refusal> {
        let place = self.engine.place(unit).ok_or(Refusal::Failure)?;
        self.fixed.extras[place].read(file, record, length, out)
    }

    /// Whether [`file_write`](Self::file_write) of so many records would be done; a request may hold several, and is
    /// done as a whole or not at all.
    ///
    /// # Errors
    /// The file or one of the records is not there.
    pub fn file_check(&mut self, unit: u8, file: u16, record: u16, length: u16) -> Result<(), Refusal> {
        let place = self.engine.place(unit).ok_or(Refusal::Failure)?;
        self.fixed.extras[place].can_write(file, record, usize::from(length))
    }

    /// Writes records of a file (AP 6.15).
    ///
    /// # Errors
    /// The file or one of the records is not there.
    pub fn file_write(&mut self, unit: u8, file: u16, record: u16, values: &[u8]) -> Result<(), Refusal> {
        let place = self.engine.place(unit).ok_or(Refusal::Failure)?;
        self.fixed.extras[place].write(file, record, values)
    }

    /// The registers of a queue (AP 6.18), two bytes each, and how many there are. Reading takes nothing out.
    ///
    /// # Errors
    /// There is no queue at this address, or it holds more than 31 registers.
    pub fn fifo(&mut self, now: Time, unit: u8, address: u16, out: &mut [u8; 62]) -> Result<usize, Refusal> {
        let _ = now;
        let place = self.engine.place(unit).ok_or(Refusal::Failure)?;
        self.fixed.extras[place].queue(address, out)
    }

    /// Whether the unit answers a user-defined function at all.
    pub fn has_user_function(&self, unit: u8, code: u8) -> bool {
        self.engine.place(unit).is_some_and(|i| self.fixed.extras[i].user.iter().any(|u| u.code == code))
    }

    /// The reply PDU to a request PDU of a user-defined function, if one fits; an exception is a reply too.
    pub fn user_reply(&self, unit: u8, request: &[u8]) -> Option<&[u8]> {
        self.fixed.extras[self.engine.place(unit)?].user_reply(request)
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
