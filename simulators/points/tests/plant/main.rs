//! Whole plants from their files, driven as protocols and operators drive them.

#![allow(clippy::unwrap_used)]

mod csv;
mod document;
mod expressions;
mod mistakes;
mod signals;
mod state;
mod types;
mod writes;

use std::path::Path;

use hilrig_files::{At, Entries, FileError, Problems, read};
use hilrig_points::{Builder, Plant, PointId, Refusal, Table, UnitFile, Value};
use hilrig_port::Time;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(default)]
    unit: Entries<UnitFile>,
}

pub fn try_build(text: &str, folder: &Path) -> Result<Plant, FileError> {
    let mut problems = Problems::new("model", "model.toml", text);
    let Some(model) = read::<Model>(text, &mut problems) else { return Err(problems.into_error()) };
    let mut builder = Builder::new(1);
    for (name, At { value, .. }) in &model.unit.0 {
        builder.unit(name, value, folder, &mut problems);
    }
    let plant = builder.finish(&mut problems);
    if problems.is_empty() { Ok(plant) } else { Err(problems.into_error()) }
}

/// A plant, or all that is wrong.
pub fn build(text: &str) -> Plant {
    try_build(text, Path::new(".")).unwrap_or_else(|e| panic!("{}", e.lines()))
}

/// A plant of the unit `u`, id 1, with these points: one a line, `name = { .. }`.
pub fn points(lines: &str) -> Plant {
    build(&format!("[unit.u.point]\n{lines}"))
}

pub fn ms(n: u64) -> Time {
    Time(5_000_000_000 + n * 1_000_000)
}

pub fn id(plant: &Plant, name: &str) -> PointId {
    plant.point(name).unwrap_or_else(|| panic!("no point {name}"))
}

pub fn number(plant: &mut Plant, now: Time, name: &str) -> f64 {
    let id = id(plant, name);
    plant.number(now, id)
}

pub fn get(plant: &mut Plant, now: Time, name: &str) -> Value {
    let id = id(plant, name);
    plant.get(now, id)
}

pub fn set(plant: &mut Plant, now: Time, name: &str, value: impl Into<Wrapped>) {
    let id = id(plant, name);
    plant.set(now, id, &value.into().0).unwrap();
}

#[derive(Debug)]
pub struct Wrapped(Value);
impl From<f64> for Wrapped {
    fn from(x: f64) -> Self {
        Self(Value::Float(x))
    }
}
impl From<i64> for Wrapped {
    fn from(n: i64) -> Self {
        Self(Value::Int(n))
    }
}
impl From<bool> for Wrapped {
    fn from(on: bool) -> Self {
        Self(Value::Bool(on))
    }
}

/// Registers as a master reads them.
pub fn registers(
    plant: &mut Plant,
    now: Time,
    table: Table,
    first: u16,
    count: u16,
) -> Result<Vec<u16>, Refusal> {
    let mut bytes = vec![0; usize::from(count) * 2];
    plant.read_registers(now, 1, table, first, count, &mut bytes)?;
    Ok(bytes.chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect())
}

pub fn holding(plant: &mut Plant, now: Time, first: u16, count: u16) -> Vec<u16> {
    registers(plant, now, Table::HoldingRegisters, first, count).unwrap()
}

pub fn write(plant: &mut Plant, now: Time, first: u16, words: &[u16]) -> Result<(), Refusal> {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
    plant.write_registers(now, 1, first, &bytes)
}
