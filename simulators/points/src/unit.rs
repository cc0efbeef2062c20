//! The data of a unit: four tables of 65,536 cells in sparse pages, so that what is absent is absent to the
//! single address and memory stays small.

use crate::Refusal;

/// The four primary tables (AP 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    Coils,
    DiscreteInputs,
    HoldingRegisters,
    InputRegisters,
}

impl Table {
    pub const ALL: [Self; 4] =
        [Self::Coils, Self::DiscreteInputs, Self::HoldingRegisters, Self::InputRegisters];

    /// Single bits rather than 16-bit registers.
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coils | Self::DiscreteInputs)
    }
}

const PAGE: usize = 256;

#[derive(Debug, Clone)]
struct Page {
    present: [bool; PAGE],
    values: [u16; PAGE],
}

#[derive(Debug, Clone)]
struct Cells {
    pages: Box<[Option<Box<Page>>; PAGE]>,
}

impl Cells {
    fn new() -> Self {
        Self { pages: Box::new([const { None }; PAGE]) }
    }

    fn get(&self, address: u16) -> Option<u16> {
        let [page, cell] = address.to_be_bytes().map(usize::from);
        self.pages[page].as_ref().filter(|p| p.present[cell]).map(|p| p.values[cell])
    }

    fn set(&mut self, address: u16, value: u16) -> bool {
        let [page, cell] = address.to_be_bytes().map(usize::from);
        let Some(page) = self.pages[page].as_mut().filter(|p| p.present[cell]) else { return false };
        page.values[cell] = value;
        true
    }

    fn has(&self, first: u16, count: u16) -> bool {
        (u32::from(first)..u32::from(first) + u32::from(count))
            .all(|a| u16::try_from(a).is_ok_and(|a| self.get(a).is_some()))
    }
}

/// A definition that does not fit the tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{count} values from address {first} on pass the last address, 65535")]
    PastEnd { first: u16, count: usize },
    #[error("unit {id} is not a unit id; a slave's unit id is 1 to 247")]
    Id { id: u8 },
    #[error("unit {id} is there already; give each unit of a port an id of its own")]
    Twice { id: u8 },
}

/// The data of one unit id. An address exists once it is defined; a request that touches any other is refused
/// with exception 2.
#[derive(Debug, Clone)]
pub struct Unit {
    tables: [Cells; 4],
}

impl Default for Unit {
    fn default() -> Self {
        Self::new()
    }
}

impl Unit {
    /// A unit without any address.
    pub fn new() -> Self {
        Self { tables: std::array::from_fn(|_| Cells::new()) }
    }

    /// Makes addresses from `first` on exist, with these values; a bit is on for any value but 0. Allocates, so
    /// call it before the unit is served.
    ///
    /// # Errors
    /// The values pass the last address; nothing is defined then.
    pub fn define(
        &mut self,
        table: Table,
        first: u16,
        values: impl ExactSizeIterator<Item = u16>,
    ) -> Result<(), UnitError> {
        let count = values.len();
        if usize::from(first) + count > 0x1_0000 {
            return Err(UnitError::PastEnd { first, count });
        }
        for (address, value) in (first..=u16::MAX).zip(values) {
            let [page, cell] = address.to_be_bytes().map(usize::from);
            let page = self.tables[table as usize].pages[page]
                .get_or_insert_with(|| Box::new(Page { present: [false; PAGE], values: [0; PAGE] }));
            page.present[cell] = true;
            page.values[cell] = normal(table, value);
        }
        Ok(())
    }

    /// The value at an address, `None` if it does not exist; a bit is 0 or 1.
    pub fn get(&self, table: Table, address: u16) -> Option<u16> {
        self.tables[table as usize].get(address)
    }

    /// Sets a value, inputs included; `false` if the address does not exist.
    #[must_use]
    pub fn set(&mut self, table: Table, address: u16, value: u16) -> bool {
        self.tables[table as usize].set(address, normal(table, value))
    }

    /// Whether all of `quantity` addresses exist.
    pub(crate) fn has(&self, table: Table, address: u16, quantity: u16) -> Result<(), Refusal> {
        if self.tables[table as usize].has(address, quantity) { Ok(()) } else { Err(Refusal::Address) }
    }
}

fn normal(table: Table, value: u16) -> u16 {
    if table.is_bits() { u16::from(value != 0) } else { value }
}
