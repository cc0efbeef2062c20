//! Models of tests: a plant, a telegram table and a station at a line, driven by hand.

use std::path::Path;

use hilrig_files::{At, Entries, FileError, Problems, read};
use hilrig_points::{Builder, Plant, Shared, UnitFile, Value};
use hilrig_port::{LineEvent, Station, Time, Tx};

use crate::{TelegramFile, TelegramPlan, TelegramStation, build};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(default)]
    unit: Entries<UnitFile>,
    telegram: Entries<TelegramFile>,
}

pub fn try_model(text: &str) -> Result<(Plant, TelegramPlan), FileError> {
    let mut problems = Problems::new("model", "model.toml", text);
    let Some(model) = read::<Model>(text, &mut problems) else { return Err(problems.into_error()) };
    let mut builder = Builder::new(1);
    for (name, At { value, .. }) in &model.unit.0 {
        builder.unit(name, value, Path::new("."), &mut problems);
    }
    let plant = builder.finish(&mut problems);
    let (name, file) = &model.telegram.0[0];
    let plan = build(name, &file.value, &plant, &mut problems);
    assert_eq!(plan.is_some(), problems.is_empty(), "{problems:?}");
    plan.map(|plan| (plant, plan)).ok_or_else(|| problems.into_error())
}

pub fn ms(n: u64) -> Time {
    Time(1_000_000_000 + n * 1_000_000)
}

/// A station whose line is there since 0 ms.
pub struct Bench {
    pub station: TelegramStation,
    pub plant: Shared,
    pub tx: Tx,
    pub now: Time,
    /// What it said, and when.
    pub said: Vec<(Time, Vec<u8>)>,
}

impl Bench {
    pub fn new(text: &str) -> Self {
        let (plant, plan) = try_model(text).unwrap_or_else(|e| panic!("{}", e.lines()));
        let plant = Shared::new(plant);
        let mut station = TelegramStation::new(plan, plant.clone());
        let mut tx = Tx::default();
        station.on_line(ms(0), LineEvent::Opened, &mut tx);
        Self { station, plant, tx, now: ms(0), said: vec![] }
    }

    fn note(&mut self) {
        if !self.tx.pending().is_empty() {
            self.said.push((self.now, self.tx.pending().to_vec()));
            self.tx.clear();
        }
    }

    /// Lets time pass.
    pub fn until(&mut self, end: Time) {
        while let Some(due) = self.station.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.station.on_deadline(self.now, &mut self.tx);
            self.note();
            assert!(self.station.deadline().is_none_or(|next| next > self.now), "a deadline is dealt with");
        }
        self.now = end;
    }

    pub fn hear(&mut self, bytes: &[u8]) {
        self.station.on_bytes(self.now, bytes, &mut self.tx);
        self.note();
    }

    /// What it says to these bytes, at once or soon after.
    pub fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.said.clear();
        self.hear(bytes);
        let end = self.now + std::time::Duration::from_secs(3);
        self.until(end);
        self.said.drain(..).flat_map(|(_, bytes)| bytes).collect()
    }

    pub fn get(&self, name: &str) -> Value {
        self.plant.with(|plant| {
            let id = plant.point(name).unwrap_or_else(|| panic!("no point {name}"));
            plant.get(self.now, id)
        })
    }

    pub fn set(&self, name: &str, value: Value) {
        self.plant.with(|plant| {
            let id = plant.point(name).unwrap_or_else(|| panic!("no point {name}"));
            plant.set(self.now, id, &value).unwrap();
        });
    }
}
