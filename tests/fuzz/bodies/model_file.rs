//! Any text as a model file: either it is a model, whose data can be read at any time and whose stations deal with all
//! their deadlines and answer, or every problem of it has a place; the same when it is checked again.

use std::path::Path;
use std::time::Duration;

use hilrig_modbus::framing::encode;
use hilrig_modbus::{Framing, MAX_ADU, Master, Sniffer};
use hilrig_plc::{Model, PortPlan, Role};
use hilrig_points::Shared;
use hilrig_port::{LineEvent, Station, Time, Tx};
use hilrig_telegram::TelegramStation;

/// Points looked at; a short file can make many.
const POINTS: usize = 100;
/// Deadlines of one station; a short file can ask for many, too.
const STEPS: usize = 300;

/// Lets time pass; answers how many bytes were said, and whether all deadlines of that time are over.
fn wait(station: &mut dyn Station, now: &mut Time, time: Duration) -> (usize, bool) {
    let (end, mut tx, mut said) = (*now + time, Tx::default(), 0);
    for _ in 0..STEPS {
        let Some(due) = station.deadline().map(|due| due.max(*now)).filter(|due| *due <= end) else {
            *now = end;
            return (said, true);
        };
        *now = due;
        station.on_deadline(due, &mut tx);
        let quiet = tx.pending().is_empty();
        assert!(!quiet || station.deadline().is_none_or(|next| next > due), "a deadline is dealt with");
        said += tx.pending().len();
        tx.clear();
    }
    (said, false)
}

fn sit(model: &Model, port: &PortPlan, plant: &Shared) {
    let (mut now, mut tx) = (Time(0), Tx::default());
    let mut station: Box<dyn Station> = match port.role {
        Role::Slave => Box::new(model.slave(port, plant, now)),
        Role::Master(i) => {
            let polls = model.masters[i].plan.polls.iter().map(|(_, poll)| poll.clone());
            Box::new(Master::new(port.timing(), polls, 1).0.framing(port.framing).plant(plant.clone()))
        }
        Role::Sniffer(_) => Box::new(Sniffer::new(port.timing()).framing(port.framing)),
        Role::Telegram(i) => Box::new(TelegramStation::new(model.telegrams[i].plan.clone(), plant.clone())),
        Role::Gateway(_) | Role::Behind(_) => return,
    };
    station.on_line(now, LineEvent::Opened, &mut tx);
    tx.clear();
    wait(&mut *station, &mut now, Duration::from_secs(1));
    let ids = port.units.clone().unwrap_or_else(|| plant.with(|plant| plant.unit_ids().take(3).collect()));
    for unit in ids {
        let mut adu = [0; MAX_ADU];
        let framing = if port.framing.is_ascii() { Framing::Ascii } else { Framing::Rtu };
        let len = encode(framing, 0, unit, &[8, 0, 0, 0xA5, 0x5A], &mut adu);
        station.on_bytes(now, &adu[..len], &mut tx);
        let at_once = tx.pending().len();
        tx.clear();
        let (said, done) = wait(&mut *station, &mut now, Duration::from_secs(1));
        let slow = port.min_delay + port.reply_gap.unwrap_or_default() + port.timing().silence * 2;
        if port.role == Role::Slave && model.faults.is_empty() && done && slow < Duration::from_millis(900) {
            assert_eq!(said + at_once, len, "the query data of unit {unit} come back");
        }
    }
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // No folder of this name, so that nothing is included.
    let check = || Model::check(text, Path::new("/nonexistent/hilrig/model.toml"));
    match check() {
        Ok(model) => {
            let mut plant = model.plant();
            plant.begin(Time(0));
            let points: Vec<_> = plant.points().map(|(id, _)| id).take(POINTS).collect();
            for now in [0, 1, 1_000_000_000, 5_000_000_000] {
                for id in &points {
                    let _ = plant.get(Time(now), *id);
                }
            }
            let shared = Shared::new(model.plant());
            for port in &model.ports {
                let _ = model.reply_faults(&port.name, port.framing, Time(0));
                sit(&model, port, &shared);
            }
        }
        Err(error) => {
            assert!(!error.problems.is_empty() && !error.lines().is_empty());
            assert!(error.problems.iter().all(|p| p.span.end <= text.len()));
            assert_eq!(check().map(drop).map_err(|e| e.lines()), Err(error.lines()), "the same again");
        }
    }
}
