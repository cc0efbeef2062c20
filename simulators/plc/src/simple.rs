//! A device without a model: a few addresses in each table, for a first try.

use hilrig_points::{Plant, Table, Unit, UnitError};

/// Addresses in each table.
const COUNT: u16 = 100;

/// Units with 100 addresses in each table: registers that count up from 0, bits that are off.
///
/// # Errors
/// An id that no unit has, or one that is said twice.
pub fn simple_plant(ids: &[u8]) -> Result<Plant, UnitError> {
    let mut plant = Plant::default();
    for id in ids {
        let mut unit = Unit::new();
        for table in Table::ALL {
            let value = |i| if table.is_bits() { 0 } else { i };
            let values: Vec<u16> = (0..COUNT).map(value).collect();
            unit.define(table, 0, values.into_iter())?;
        }
        plant.add_unit(*id, unit)?;
    }
    Ok(plant)
}
