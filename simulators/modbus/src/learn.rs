//! A map of what masters ask for: which addresses of which unit are read and written, and the values last seen, in a
//! fixed number of pages. Written out, it is the `[unit]` table of a model that can take the unit's place.

use std::fmt::Write;

use hilrig_points::Table;

use crate::pdu::read_by;

const PAGE: usize = 256;
/// Pages of 256 addresses that can be learnt.
const PAGES: usize = 256;

/// A bit for each address of a page.
#[derive(Debug, Clone, Copy, Default)]
struct Bits([u64; PAGE / 64]);

impl Bits {
    fn set(&mut self, at: u8) {
        self.0[usize::from(at / 64)] |= 1 << (at % 64);
    }

    fn get(&self, at: u8) -> bool {
        self.0[usize::from(at / 64)] >> (at % 64) & 1 == 1
    }
}

#[derive(Debug, Clone)]
struct Page {
    read: Bits,
    written: Bits,
    /// The value is known.
    seen: Bits,
    /// A request for it was refused with exception 2.
    refused: Bits,
    values: [u16; PAGE],
}

/// Consecutive addresses that are used in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub table: Table,
    pub first: u16,
    pub read: bool,
    pub written: bool,
    /// The last value of each address; `None`: it was never seen.
    pub values: Vec<Option<u16>>,
}

/// What was learnt of all units of a line.
#[derive(Debug)]
pub struct LearnMap {
    /// Unit, table and page, in order, with the place in `pages`.
    index: Vec<(u32, u16)>,
    pages: Vec<Page>,
    missed: u64,
}

impl Default for LearnMap {
    fn default() -> Self {
        Self { index: Vec::with_capacity(PAGES), pages: Vec::with_capacity(PAGES), missed: 0 }
    }
}

/// Addresses that a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub table: Table,
    pub first: u16,
    pub count: u16,
}

/// What a request reads, and what it writes with the values.
pub(crate) fn spans(request: &[u8]) -> (Option<Span>, Option<(Span, &[u8])>) {
    let word = |at: usize| Some(u16::from_be_bytes([*request.get(at)?, *request.get(at + 1)?]));
    let span = |table, at: usize| Some(Span { table, first: word(at)?, count: word(at + 2)? });
    let one = |table| Some(Span { table, first: word(1)?, count: 1 });
    let behind = |at: usize| request.get(at..).unwrap_or_default();
    let Some(&function) = request.first() else { return (None, None) };
    match function {
        5 => (None, one(Table::Coils).zip(Some(behind(3)))),
        6 => (None, one(Table::HoldingRegisters).zip(Some(behind(3)))),
        15 => (None, span(Table::Coils, 1).zip(Some(behind(6)))),
        16 => (None, span(Table::HoldingRegisters, 1).zip(Some(behind(6)))),
        22 => (None, one(Table::HoldingRegisters).zip(Some(behind(3)))),
        23 => {
            let written = span(Table::HoldingRegisters, 5).zip(Some(behind(10)));
            (span(Table::HoldingRegisters, 1), written)
        }
        _ => (read_by(function).and_then(|table| span(table, 1)), None),
    }
}

/// The i-th value of what a frame packs.
pub(crate) fn value(table: Table, data: &[u8], i: usize) -> Option<u16> {
    if table.is_bits() {
        Some(u16::from(*data.get(i / 8)? >> (i % 8) & 1))
    } else {
        Some(u16::from_be_bytes([*data.get(2 * i)?, *data.get(2 * i + 1)?]))
    }
}

impl LearnMap {
    fn page(&mut self, unit: u8, table: Table, address: u16) -> Option<&mut Page> {
        let [page, _] = address.to_be_bytes();
        let key = u32::from(unit) << 16 | (table as u32) << 8 | u32::from(page);
        let place = match self.index.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(i) => self.index[i].1,
            Err(_) if self.pages.len() == PAGES => return None,
            Err(i) => {
                let place = self.pages.len() as u16;
                let [read, written, seen, refused] = [Bits::default(); 4];
                self.pages.push(Page { read, written, seen, refused, values: [0; PAGE] });
                self.index.insert(i, (key, place));
                place
            }
        };
        self.pages.get_mut(usize::from(place))
    }

    /// Each address of a span, with its page and place in the request.
    fn each(&mut self, unit: u8, span: Span, mut f: impl FnMut(&mut Page, u8, usize)) {
        let end = (usize::from(span.first) + usize::from(span.count)).min(0x1_0000);
        let mut from = usize::from(span.first);
        while from < end {
            let to = (from / PAGE * PAGE + PAGE).min(end);
            match self.page(unit, span.table, from as u16) {
                Some(page) => (from..to).for_each(|a| f(page, a as u8, a - usize::from(span.first))),
                None => self.missed += (to - from) as u64,
            }
            from = to;
        }
    }

    /// A request PDU to a unit.
    pub(crate) fn asked(&mut self, unit: u8, request: &[u8]) {
        let (read, written) = spans(request);
        if let Some(span) = read {
            self.each(unit, span, |page, at, _| page.read.set(at));
        }
        if let Some((span, _)) = written {
            self.each(unit, span, |page, at, _| page.written.set(at));
        }
    }

    /// It was answered with this data.
    pub(crate) fn answered(&mut self, unit: u8, request: &[u8], data: &[u8]) {
        let (read, written) = spans(request);
        let learn = |map: &mut Self, span: Span, data: &[u8], masked: bool| {
            map.each(unit, span, |page, at, i| {
                let old = page.seen.get(at).then_some(page.values[usize::from(at)]);
                let value = match (masked, old) {
                    (false, _) => value(span.table, data, i),
                    (true, Some(old)) => value(span.table, data, 0)
                        .zip(value(span.table, data, 1))
                        .map(|(and, or)| old & and | or & !and),
                    (true, None) => None,
                };
                if let Some(value) = value {
                    page.values[usize::from(at)] = value;
                    page.seen.set(at);
                }
            });
        };
        let function = request.first().copied();
        if let Some((span, values)) = written {
            match (function, values) {
                (Some(5), [on, ..]) => learn(self, span, &[u8::from(*on != 0)], false),
                _ => learn(self, span, values, function == Some(22)),
            }
        }
        // Function 23 writes before it reads.
        if let Some(span) = read {
            learn(self, span, data, false);
        }
    }

    /// It was refused because of its addresses.
    pub(crate) fn refused(&mut self, unit: u8, request: &[u8]) {
        let (read, written) = spans(request);
        for span in [read, written.map(|(span, _)| span)].into_iter().flatten() {
            self.each(unit, span, |page, at, _| page.refused.set(at));
        }
    }

    /// Addresses that found no room.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Units that something was learnt of, in order.
    pub fn units(&self) -> Vec<u8> {
        let mut units: Vec<u8> = self.index.iter().map(|(key, _)| (key >> 16) as u8).collect();
        units.dedup();
        units
    }

    /// The last value seen at an address.
    pub fn value(&self, unit: u8, table: Table, address: u16) -> Option<u16> {
        let [page, at] = address.to_be_bytes();
        let key = u32::from(unit) << 16 | (table as u32) << 8 | u32::from(page);
        let place = self.index.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        let page = self.pages.get(usize::from(self.index[place].1))?;
        page.seen.get(at).then_some(page.values[usize::from(at)])
    }

    /// What a unit was asked for and did not say that it is not there.
    pub fn ranges(&self, unit: u8) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for (key, place) in self.index.iter().filter(|(key, _)| *key >> 16 == u32::from(unit)) {
            let table = Table::ALL[(key >> 8 & 3) as usize];
            let Some(page) = self.pages.get(usize::from(*place)) else { continue };
            for at in 0..=u8::MAX {
                let (read, written, seen) = (page.read.get(at), page.written.get(at), page.seen.get(at));
                if !(read || written) || (page.refused.get(at) && !seen) {
                    continue;
                }
                let address = u16::from_be_bytes([*key as u8, at]);
                let value = seen.then_some(page.values[usize::from(at)]);
                match ranges.last_mut() {
                    Some(r)
                        if (r.table, r.read, r.written) == (table, read, written)
                            && usize::from(r.first) + r.values.len() == usize::from(address) =>
                    {
                        r.values.push(value);
                    }
                    _ => ranges.push(Range { table, first: address, read, written, values: vec![value] }),
                }
            }
        }
        ranges
    }

    /// The `[unit.NAME]` table of a model with what a unit was asked for; what was never seen is 0.
    pub fn to_toml(&self, unit: u8, name: &str) -> String {
        let mut text = format!("[unit.{name}]\nid = {unit}\n");
        let mut table = None;
        // Writing to a string cannot fail.
        for range in self.ranges(unit) {
            if table != Some(range.table) {
                table = Some(range.table);
                let _ = write!(text, "\n[unit.{name}.{}]\n", key(range.table));
            }
            let values: Vec<String> =
                range.values.iter().map(|v| v.unwrap_or_default().to_string()).collect();
            let last = usize::from(range.first) + values.len() - 1;
            let _ = match &values[..] {
                [one] => write!(text, "{} = {one}", range.first),
                _ => write!(text, "\"{}..{last}\" = [{}]", range.first, values.join(", ")),
            };
            let used = match (range.read, range.written) {
                (true, true) => "read and written",
                (false, true) => "written",
                _ => "read",
            };
            let unseen = range.values.iter().filter(|v| v.is_none()).count();
            let _ = match unseen {
                0 => writeln!(text, " # {used}"),
                n if n == values.len() => writeln!(text, " # {used}, no value seen"),
                n => writeln!(text, " # {used}, {n} without a value seen"),
            };
        }
        text
    }
}

/// The key of a table in files.
fn key(table: Table) -> &'static str {
    match table {
        Table::Coils => "coils",
        Table::DiscreteInputs => "discrete",
        Table::HoldingRegisters => "holding",
        Table::InputRegisters => "input",
    }
}

#[cfg(test)]
#[path = "learn_tests.rs"]
mod tests;
