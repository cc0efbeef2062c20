//! What the tests serve, and what they ask of it.

#![allow(dead_code)] // Each test crate uses its part.

use std::path::Path;
use std::time::Duration;

use hilrig_files::{Entries, Problems, read};
use hilrig_modbus::{Exchange, Poll};
use hilrig_points::{Builder, Plant, Shared, Table, Unit, UnitFile};

/// Register n of unit u holds 100 u + n; coils alternate, input registers hold 0.
pub fn counted(units: &[u8]) -> Shared {
    let mut plant = Plant::default();
    for &id in units {
        let mut unit = Unit::new();
        unit.define(Table::HoldingRegisters, 0, (0..50).map(|n| 100 * u16::from(id) + n)).unwrap();
        unit.define(Table::InputRegisters, 0, [0; 50].into_iter()).unwrap();
        unit.define(Table::Coils, 0, (0..50).map(|n| n % 2)).unwrap();
        plant.add_unit(id, unit).unwrap();
    }
    Shared::new(plant)
}

/// Unit 1, with 300 cells in each table.
pub fn large() -> Shared {
    let mut unit = Unit::new();
    for table in Table::ALL {
        unit.define(table, 0, 0..300).unwrap();
    }
    let mut plant = Plant::default();
    plant.add_unit(1, unit).unwrap();
    Shared::new(plant)
}

/// Of the large plant: reads that are answered, one that is refused, one that nobody answers, and a broadcast.
pub fn polls() -> [Poll; 5] {
    let poll = |exchange| Poll::new(exchange).timeout(Duration::from_millis(20));
    [
        poll(Exchange::read(1, Table::HoldingRegisters, 0, 125).unwrap()).retries(1),
        poll(Exchange::read(1, Table::Coils, 0, 300).unwrap()).every(Duration::from_millis(50)),
        poll(Exchange::read(1, Table::InputRegisters, 299, 2).unwrap()),
        poll(Exchange::read(2, Table::InputRegisters, 0, 2).unwrap()).every(Duration::from_millis(500)),
        poll(Exchange::write_registers(0, 0, &[1; 123]).unwrap()).every(Duration::from_secs(1)),
    ]
}

#[derive(serde::Deserialize)]
struct ModelFile {
    unit: Entries<UnitFile>,
}

/// The units of a model file.
pub fn of_file(text: &str) -> Plant {
    let mut problems = Problems::new("model", "model.toml", text);
    let model = read::<ModelFile>(text, &mut problems).unwrap();
    let mut builder = Builder::new(1);
    for (name, unit) in &model.unit.0 {
        builder.unit(name, &unit.value, Path::new("."), &mut problems);
    }
    let plant = builder.finish(&mut problems);
    assert!(problems.is_empty(), "{}", problems.into_error().lines());
    plant
}
