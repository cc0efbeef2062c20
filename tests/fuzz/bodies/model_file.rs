//! Any text as a model file: either it is a model, whose data can be read at any time, or every problem of it has a
//! place.

use std::path::Path;

use hilrig_plc::Model;
use hilrig_port::Time;

/// Points looked at; a short file can make many.
const POINTS: usize = 100;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // No folder of this name, so that nothing is included.
    match Model::check(text, Path::new("/nonexistent/hilrig/model.toml")) {
        Ok(model) => {
            let mut plant = model.plant();
            plant.begin(Time(0));
            let points: Vec<_> = plant.points().map(|(id, _)| id).take(POINTS).collect();
            for now in [0, 1, 1_000_000_000, 5_000_000_000] {
                for id in &points {
                    let _ = plant.get(Time(now), *id);
                }
            }
            for port in &model.ports {
                let _ = model.reply_faults(&port.name, port.framing, Time(0));
            }
        }
        Err(error) => {
            assert!(!error.problems.is_empty() && !error.lines().is_empty());
            assert!(error.problems.iter().all(|p| p.span.end <= text.len()));
        }
    }
}
