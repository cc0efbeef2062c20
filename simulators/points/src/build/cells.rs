//! Raw cells of a unit, and what a master may do with them.

use std::collections::HashMap;

use hilrig_files::{Addresses, At, Entries, Number, Problems, Values};

use super::Builder;
use crate::{Access, Table, Unit, UnitFile, places};

impl Builder {
    pub(super) fn cells(&self, unit: &mut Unit, file: &UnitFile, problems: &mut Problems<'_>) {
        for (table, entries) in [
            (Table::HoldingRegisters, &file.holding),
            (Table::InputRegisters, &file.input),
            (Table::Coils, &file.coils),
            (Table::DiscreteInputs, &file.discrete),
        ] {
            for (first, cells) in cell_runs(table, table.name(), entries, problems) {
                // It fits: that was checked.
                let _ = unit.define(table, first, cells.into_iter());
            }
        }
    }

    pub(super) fn limit_access(&self, unit: &mut Unit, file: &UnitFile, problems: &mut Problems<'_>) {
        for (list, access) in [(&file.read_only, Access::Ro), (&file.write_only, Access::Wo)] {
            for text in list {
                match places(&text.value) {
                    Ok((table, first, last)) => {
                        if (first..=last).all(|a| unit.get(table, a).is_none()) {
                            let label = "none of these addresses exists";
                            problems.add(&text.span, "there is nothing here", label);
                        }
                        unit.allow(table, first, last, access);
                    }
                    Err((at, why)) => {
                        let place = text.part(at..text.value.len());
                        problems.add(&place, "this is no place in the tables", why);
                    }
                }
            }
        }
    }
}

/// The values that a file gives to cells of a table, each list from its address on. What is wrong becomes a problem, also
/// an address that comes twice; `called` is what it calls a cell.
pub fn cell_runs(
    table: Table,
    called: &str,
    entries: &Entries<Values>,
    problems: &mut Problems<'_>,
) -> Vec<(u16, Vec<u16>)> {
    let mut seen: HashMap<u16, usize> = HashMap::new();
    let mut runs = Vec::new();
    for (key, values) in &entries.0 {
        let Some((first, cells)) = run(table, key, values, problems) else { continue };
        let line = problems.line(key.span.start);
        let twice = (first..=u16::MAX).take(cells.len()).find_map(|address| {
            let other = seen.insert(address, line)?;
            Some((address, other))
        });
        if let Some((address, other)) = twice {
            let label = format!("{called} {address} has a value already, in line {other}");
            problems.add(&key.span, "an address is given twice", label);
        }
        runs.push((first, cells));
    }
    runs
}

fn run(
    table: Table,
    key: &At<String>,
    values: &At<Values>,
    problems: &mut Problems<'_>,
) -> Option<(u16, Vec<u16>)> {
    let addresses = At { value: Addresses::Text(key.value.clone()), span: key.span.clone() };
    let (first, last) = problems.addresses(&addresses)?;
    let cells = match &values.value {
        Values::One(n) => {
            let value = cell_value(table, &At { value: *n, span: values.span.clone() }, problems);
            vec![value; usize::from(last - first) + 1]
        }
        Values::List(list) => {
            if first != last && usize::from(last - first) + 1 != list.len() {
                let label = format!("{} values for {} addresses", list.len(), u32::from(last - first) + 1);
                problems.add(&values.span, "the list does not fit the range", label);
                return None;
            }
            if usize::from(first) + list.len() > 65_536 {
                problems.add(&values.span, "the list is too long", "addresses end at 65535");
                return None;
            }
            list.iter().map(|n| cell_value(table, n, problems)).collect()
        }
    };
    Some((first, cells))
}

/// A value that a cell of a table can have.
pub fn cell_value(table: Table, at: &At<Number>, problems: &mut Problems<'_>) -> u16 {
    let (range, what) =
        if table.is_bits() { (0..=1, "the value of a bit") } else { (0..=65_535, "the value of a register") };
    problems.number(&At { value: at.value.0, span: at.span.clone() }, range, what) as u16
}
