//! The cores of a bench, as the plan wants them.

use std::sync::Arc;
use std::time::Duration;

use hilrig_modbus::{FrameReader, Framing, Gateway, Slave, Sniffer, TcpSlave, Timing, frames};
use hilrig_plc::{Model, PortPlan, Role};
use hilrig_points::{Plant, Shared, Unit};
use hilrig_port::{Server, Station, Time};
use hilrig_telegram::TelegramStation;

use crate::hall::Trouble;
use crate::plan::{MasterPlan, Plan, Seat, SimPlan, StationPlan};

/// Silence that ends a broken frame. Ports of a busy machine and USB adapters hold bytes back for so long, and a paced
/// wire pauses when the machine does. Whole frames do not wait for it.
const TOLERANCE: Duration = Duration::from_millis(80);
/// Frame records of one simulator that can wait to be read.
const FRAMES: usize = 8192;

pub(super) fn timing(plan: &Plan, seat: Seat) -> Timing {
    let (baud, format) = plan.line_at(seat);
    Timing::new(baud, format).tolerance(TOLERANCE)
}

/// A port of a model on a line of the rig.
fn on_line(plan: &Plan, seat: Seat, port: &PortPlan) -> PortPlan {
    let mut port = port.clone();
    (port.baud, port.format) = plan.line_at(seat);
    port.tolerance = port.tolerance.max(TOLERANCE);
    port
}

/// The model of a simulator with the seed of the run.
pub(super) fn model(sim: &SimPlan, seed: u64) -> Result<Option<Arc<Model>>, Trouble> {
    let Some(served) = &sim.model else { return Ok(None) };
    if served.model.seed == seed {
        return Ok(Some(served.model.clone()));
    }
    let again = Model::load_with(&served.model.path, Some(seed)).map_err(|e| Trouble(e.lines()))?;
    // Whoever has changed the file meanwhile must not change what the plan rests on.
    let ports = |model: &Model| model.ports.iter().map(|p| (p.name.clone(), p.role)).collect::<Vec<_>>();
    if ports(&again) != ports(&served.model) {
        return Err(Trouble(format!("simulator {}: its model has changed since the rig was read", sim.name)));
    }
    Ok(Some(Arc::new(again)))
}

/// The values of a simulator. Its behaviours begin now.
pub(super) fn plant(sim: &SimPlan, model: Option<&Model>, now: Time) -> Result<Shared, Trouble> {
    if let Some(model) = model {
        let mut plant = model.plant();
        plant.begin(now);
        return Ok(Shared::new(plant));
    }
    let mut unit = Unit::new();
    let wrong = |e| Trouble(format!("simulator {}: {e}", sim.name));
    for (table, address, value) in &sim.cells {
        unit.define(*table, *address, std::iter::once(*value)).map_err(wrong)?;
    }
    let mut plant = Plant::default();
    plant.add_unit(sim.unit.unwrap_or(1), unit).map_err(wrong)?;
    Ok(Shared::new(plant))
}

pub(super) enum Core {
    Station(Box<dyn Station>),
    Server(Box<dyn Server>),
}

/// Names and values of the counters of a core.
pub(super) type Counters = Box<dyn Fn() -> Vec<(&'static str, u64)>>;

/// A core that is to be seated.
pub(super) struct Made {
    pub core: Core,
    pub counters: Counters,
    pub framing: Option<Framing>,
    /// It has faults of replies: the number and name of each, and what tells of them.
    pub rules: Vec<(u32, String)>,
    pub frames: Option<FrameReader>,
}

/// Lets a slave tell of its faults, if it has any and somebody wants to know.
macro_rules! with_frames {
    ($slave:ident, $log:ident, $rules:ident, $reader:ident) => {{
        let mut slave = $slave;
        $rules = slave.faults_mut().report().into_iter().map(|r| (r.number, r.name)).collect();
        if $log && !$rules.is_empty() {
            let (sink, reader) = frames(FRAMES);
            reader.watch(true);
            slave = slave.frames(sink);
            $reader = Some(reader);
        }
        slave
    }};
}
/// The core of a station. `log`: somebody wants to know what its faults do.
pub(super) fn station(
    plan: &Plan,
    station: &StationPlan,
    model: Option<&Model>,
    plant: &Shared,
    now: Time,
    log: bool,
) -> Result<Made, Trouble> {
    let Some((port, model)) = station.port.as_ref().zip(model) else {
        let timing = timing(plan, station.seat);
        let (core, framing, stats) = if plan.is_tcp(station.seat) {
            let slave = TcpSlave::new(Framing::Tcp, timing, plant.clone());
            let stats = slave.stats();
            (Core::Server(Box::new(slave)), Framing::Tcp, stats)
        } else {
            let slave = Slave::new(timing, plant.clone());
            let stats = slave.stats();
            (Core::Station(Box::new(slave)), Framing::Rtu, stats)
        };
        let counters: Counters = Box::new(move || stats.totals().entries().collect());
        return Ok(Made { core, counters, framing: Some(framing), rules: vec![], frames: None });
    };
    let port = on_line(plan, station.seat, port);
    let (mut rules, mut reader) = (vec![], None);
    let framing = match port.role {
        Role::Telegram(_) => None,
        Role::Gateway(_) => Some(Framing::Tcp),
        _ => Some(port.framing),
    };
    let (core, counters): (Core, Counters) = match port.role {
        Role::Slave if port.listens() => {
            let slave = TcpSlave::new(port.framing, port.timing(), plant.clone())
                .units(port.units.as_deref())
                .min_delay(port.min_delay)
                .max_callers(port.max_callers)
                .idle_timeout(port.idle_timeout)
                .faults(model.reply_faults(&port.name, port.framing, now));
            let slave = with_frames!(slave, log, rules, reader);
            let stats = slave.stats();
            (Core::Server(Box::new(slave)), Box::new(move || stats.totals().entries().collect()))
        }
        Role::Sniffer(number) => {
            let time = model.sniffers.get(number).map_or(port.response_time, |s| s.plan.response_time);
            let sniffer = Sniffer::new(port.timing()).framing(port.framing).response_time(time);
            let stats = sniffer.stats();
            (Core::Station(Box::new(sniffer)), Box::new(move || stats.totals().entries().collect()))
        }
        Role::Telegram(number) => {
            let Some(telegram) = model.telegrams.get(number) else { return Err(changed(station)) };
            let telegram = TelegramStation::new(telegram.plan.clone(), plant.clone());
            let stats = telegram.stats();
            (Core::Station(Box::new(telegram)), Box::new(move || stats.totals().entries().collect()))
        }
        Role::Gateway(number) => {
            let gateway = model.gateways.get(number).zip(station.behind.as_ref());
            let Some((gateway, (seat, line))) = gateway else { return Err(changed(station)) };
            let line = on_line(plan, *seat, line);
            let gateway = Gateway::new(line.timing(), &gateway.plan).framing(line.framing);
            let stats = gateway.stats();
            (Core::Server(Box::new(gateway)), Box::new(move || stats.totals().entries().collect()))
        }
        Role::Slave | Role::Master(_) | Role::Behind(_) => {
            let slave = model.slave(&port, plant, now);
            let slave = with_frames!(slave, log, rules, reader);
            let stats = slave.stats();
            (Core::Station(Box::new(slave)), Box::new(move || stats.totals().entries().collect()))
        }
    };
    Ok(Made { core, counters, framing, rules, frames: reader })
}

fn changed(station: &StationPlan) -> Trouble {
    Trouble(format!("{}: its model has changed since the rig was read", station.name))
}

/// How a master speaks on its line, and where the values it reads go.
pub(super) fn master(
    plan: &Plan,
    master: &MasterPlan,
    models: &[Option<Arc<Model>>],
    plants: &[Shared],
    room: usize,
) -> Result<(hilrig_modbus::Master, hilrig_modbus::Results), Trouble> {
    let polls = master.polls.iter().map(|p| p.poll.clone());
    let Some((sim, number, port)) = &master.model else {
        let (core, results) = hilrig_modbus::Master::new(timing(plan, master.seat), polls, room);
        return Ok((core.framing(master.framing), results));
    };
    let port = on_line(plan, master.seat, port);
    let seated = models.get(*sim).and_then(|m| m.as_ref()?.masters.get(*number));
    let plant = plants.get(*sim);
    let Some((seated, plant)) = seated.zip(plant) else {
        return Err(Trouble(format!("master {}: its model has changed since the rig was read", master.name)));
    };
    let (core, results) = hilrig_modbus::Master::new(port.timing(), polls, room);
    let core = core.framing(master.framing).turnaround(seated.plan.turnaround).plant(plant.clone());
    Ok((core, results))
}

/// Unit and function code of a frame as its framing has them.
pub(super) fn head(framing: Option<Framing>, bytes: &[u8]) -> (Option<u8>, Option<u8>) {
    let at = |place: usize| bytes.get(place).copied();
    match framing {
        None => (None, None),
        Some(Framing::Rtu | Framing::RtuOverTcp) => (at(0), at(1)),
        Some(Framing::Tcp) => (at(6), at(7)),
        Some(Framing::Ascii | Framing::AsciiOverTcp) => {
            let digits = |from: usize| {
                let pair = bytes.get(from..from + 2)?;
                u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
            };
            (digits(1), digits(3))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_and_function_are_where_the_framing_has_them() {
        let of = |framing, bytes: &[u8]| head(Some(framing), bytes);
        assert_eq!(of(Framing::Rtu, &[17, 3, 0]), (Some(17), Some(3)));
        assert_eq!(of(Framing::Ascii, b":1183F"), (Some(17), Some(0x83)));
        assert_eq!(of(Framing::Tcp, &[0, 1, 0, 0, 0, 6, 17, 3, 0]), (Some(17), Some(3)));
        assert_eq!(head(None, b"S S 5"), (None, None));
        for framing in Framing::ALL {
            for len in 0..4 {
                of(framing, &b":\xff\xff\xff"[..len]);
            }
        }
    }
}
