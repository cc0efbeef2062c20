//! The data of a unit: four tables of 65,536 cells in sparse pages, so that what is absent is absent to the
//! single address and memory stays small.

use crate::{Access, Refusal};

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

    /// As files call the table itself.
    pub fn key(self) -> &'static str {
        if self == Self::Coils { "coils" } else { self.name() }
    }

    /// Those of the four keys of a file that are there.
    pub fn given<'f, T>(
        holding: &'f Option<T>,
        input: &'f Option<T>,
        coils: &'f Option<T>,
        discrete: &'f Option<T>,
    ) -> Vec<(Self, &'f T)> {
        [
            (Self::HoldingRegisters, holding),
            (Self::InputRegisters, input),
            (Self::Coils, coils),
            (Self::DiscreteInputs, discrete),
        ]
        .into_iter()
        .filter_map(|(table, given)| Some((table, given.as_ref()?)))
        .collect()
    }

    /// Single bits rather than 16-bit registers.
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coils | Self::DiscreteInputs)
    }
}

const PAGE: usize = 256;

/// Access bits of a cell; one that has none does not exist.
pub(crate) const READ: u8 = 1;
pub(crate) const WRITE: u8 = 2;
const NONE: u8 = 0;

#[derive(Debug, Clone)]
struct Page {
    access: [u8; PAGE],
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
        self.pages[page].as_ref().filter(|p| p.access[cell] != NONE).map(|p| p.values[cell])
    }

    fn set(&mut self, address: u16, value: u16) -> bool {
        let [page, cell] = address.to_be_bytes().map(usize::from);
        let Some(page) = self.pages[page].as_mut().filter(|p| p.access[cell] != NONE) else { return false };
        page.values[cell] = value;
        true
    }

    /// Walks a range page by page, `false` as soon as `each` says so or a page is missing.
    fn walk(&self, first: u16, count: u16, mut each: impl FnMut(&[u8], &[u16]) -> bool) -> bool {
        let end = usize::from(first) + usize::from(count);
        let mut at = usize::from(first);
        while at < end {
            let Some(Some(page)) = self.pages.get(at / PAGE) else { return false };
            let (from, to) = (at % PAGE, (end - at + at % PAGE).min(PAGE));
            if !each(&page.access[from..to], &page.values[from..to]) {
                return false;
            }
            at += to - from;
        }
        true
    }

    fn has(&self, first: u16, count: u16, access: u8) -> bool {
        self.walk(first, count, |cells, _| cells.iter().all(|a| a & access != NONE))
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
                .get_or_insert_with(|| Box::new(Page { access: [NONE; PAGE], values: [0; PAGE] }));
            page.access[cell] = READ | WRITE;
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

    /// Says what a master may do with addresses that exist.
    pub fn allow(&mut self, table: Table, first: u16, last: u16, access: Access) {
        let bits = match access {
            Access::Rw => READ | WRITE,
            Access::Ro => READ,
            Access::Wo => WRITE,
        };
        for address in first..=last {
            let [page, cell] = address.to_be_bytes().map(usize::from);
            if let Some(page) = self.tables[table as usize].pages[page].as_mut()
                && page.access[cell] != NONE
            {
                page.access[cell] = bits;
            }
        }
    }

    /// Whether all of `quantity` addresses exist and can be read, or written.
    pub(crate) fn has(&self, table: Table, address: u16, quantity: u16, access: u8) -> Result<(), Refusal> {
        if self.tables[table as usize].has(address, quantity, access) {
            Ok(())
        } else {
            Err(Refusal::Address)
        }
    }

    /// Values of addresses that exist, in runs.
    pub(crate) fn each_run(&self, table: Table, address: u16, quantity: u16, mut run: impl FnMut(&[u16])) {
        self.tables[table as usize].walk(address, quantity, |_, values| {
            run(values);
            true
        });
    }

    /// Copies cells; those that do not exist are 0.
    pub(crate) fn load(&self, table: Table, address: u16, out: &mut [u16]) {
        for (a, out) in (address..=u16::MAX).zip(out) {
            *out = self.get(table, a).unwrap_or(0);
        }
    }

    pub(crate) fn store(&mut self, table: Table, address: u16, words: &[u16]) {
        for (a, w) in (address..=u16::MAX).zip(words) {
            let _ = self.set(table, a, *w);
        }
    }

    /// All addresses that exist, with their values.
    pub(crate) fn cells(&self, table: Table) -> impl Iterator<Item = (u16, u16)> {
        let pages = self.tables[table as usize].pages.iter().enumerate();
        pages.filter_map(|(i, page)| Some((i, page.as_ref()?))).flat_map(|(i, page)| {
            let cells = page.access.iter().zip(&page.values).enumerate();
            cells
                .filter(|(_, (access, _))| **access != NONE)
                .map(move |(cell, (_, value))| ((i * PAGE + cell) as u16, *value))
        })
    }
}

fn normal(table: Table, value: u16) -> u16 {
    if table.is_bits() { u16::from(value != 0) } else { value }
}
