//! The state of a plant as something that can be kept: for a restart, and for a file that was changed while it runs.
//! Points are known by name and type, raw cells by place.

use hilrig_port::Time;

use crate::csv;
use crate::engine::Mode;
use crate::machine::Memory;
use crate::plant::Plant;
use crate::point::{Point, PointId, Type};
use crate::signal::Signal;
use crate::trigger::Run;
use crate::{Access, OnWrite, Order, Table, Value};

/// The state of a plant at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Nanoseconds since the start of the run.
    time: u64,
    units: Vec<UnitState>,
    points: Vec<PointState>,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitState {
    id: u8,
    /// Cells that no point lies on, in runs: table, first address, values.
    cells: Vec<(String, u16, Vec<u16>)>,
    files: Vec<(u16, Vec<u16>)>,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PointState {
    name: String,
    #[serde(rename = "type")]
    kind: Type,
    value: Value,
    /// Its cells, which are taken as they are if they still say the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cells: Vec<u16>,
    /// Its signal is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    overridden: bool,
    /// It moves: from, to, when it began, how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ramp: Option<(f64, f64, u64, u64)>,
    /// Its signal has a state: kind of signal, state, time of the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<(String, Memory)>,
    /// Its triggers that run, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    runs: Vec<(usize, Run)>,
}

impl Plant {
    /// The state now.
    pub fn snapshot(&mut self, now: Time) -> Snapshot {
        self.engine.to(&self.fixed, now);
        let ids: Vec<PointId> = self.points().map(|(id, _)| id).collect();
        let points = ids.into_iter().map(|id| self.point_state(id)).collect();
        let units = (0..self.engine.units.len()).map(|place| self.unit_state(place)).collect();
        Snapshot { time: self.engine.time, units, points }
    }

    fn unit_state(&self, place: usize) -> UnitState {
        let (id, unit) = &self.engine.units[place];
        let mut cells: Vec<(String, u16, Vec<u16>)> = vec![];
        for table in Table::ALL {
            for (address, value) in unit.cells(table).filter(|(a, _)| !self.is_of_point(place, table, *a)) {
                match cells.last_mut() {
                    Some((name, first, values))
                        if name == table.name()
                            && usize::from(*first) + values.len() == usize::from(address) =>
                    {
                        values.push(value);
                    }
                    _ => cells.push((table.name().to_owned(), address, vec![value])),
                }
            }
        }
        UnitState { id: *id, cells, files: self.fixed.extras[place].files.clone() }
    }

    /// A word with bits of points is raw all the same: it has other bits.
    fn is_of_point(&self, place: usize, table: Table, address: u16) -> bool {
        let mut touching = self.fixed.placed[place][table as usize].touching(address, address);
        touching.any(|span| self.fixed.points[span.point.index()].bit.is_none())
    }

    fn point_state(&mut self, id: PointId) -> PointState {
        let value = self.engine.value(&self.fixed, id);
        let (fixed, engine) = (&self.fixed, &self.engine);
        let point = &fixed.points[id.index()];
        let runs = fixed.triggers_of[id.index()].iter().enumerate();
        let runs = runs.map(|(n, i)| (n, engine.runs[*i as usize])).filter(|(_, run)| run.at.is_some());
        let machine = match &fixed.signals[id.index()] {
            Some(Signal::Machine(place)) => {
                Some((point.signal.unwrap_or_default().to_owned(), engine.memories[*place as usize].clone()))
            }
            _ => None,
        };
        PointState {
            name: point.name.clone(),
            kind: point.kind,
            value,
            cells: if point.bit.is_some() { vec![] } else { engine.cells(fixed, id) },
            overridden: fixed.signals[id.index()].is_some() && !engine.is_driven(id),
            ramp: engine.ramp_of(id),
            machine,
            runs: runs.collect(),
        }
    }

    /// Puts a state back and goes on from its time. Answers, in sentences, what of it did not fit.
    pub fn restore(&mut self, now: Time, snapshot: &Snapshot) -> Vec<String> {
        self.engine.begin(&self.fixed, now);
        let mut misfits = vec![];
        for unit in &snapshot.units {
            self.restore_unit(unit, &mut misfits);
        }
        for state in &snapshot.points {
            self.restore_point(state, snapshot.time, &mut misfits);
        }
        let periods = self.fixed.clocks.iter().map(|(period, _)| *period);
        // Steps are at whole multiples of the period.
        self.engine.next =
            periods.map(|period| (snapshot.time / period + 1).saturating_mul(period)).collect();
        self.engine.resume(&self.fixed, now, snapshot.time);
        misfits
    }

    fn restore_unit(&mut self, state: &UnitState, misfits: &mut Vec<String>) {
        let Some(place) = self.engine.place(state.id) else {
            misfits.push(format!("there is no unit {} any more", state.id));
            return;
        };
        let mut gone = 0;
        for (name, first, values) in &state.cells {
            let Some(table) = Table::ALL.into_iter().find(|table| table.name() == name) else {
                misfits.push(format!("`{name}` is no table"));
                continue;
            };
            for (address, value) in (*first..=u16::MAX).zip(values) {
                if self.is_of_point(place, table, address) {
                    continue;
                }
                gone += usize::from(!self.engine.units[place].1.set(table, address, *value));
            }
        }
        if gone > 0 {
            misfits.push(format!("{gone} addresses of unit {} are not there any more", state.id));
        }
        for (number, records) in &state.files {
            let files = &mut self.fixed.extras[place].files;
            match files.iter_mut().find(|(other, now)| other == number && now.len() == records.len()) {
                Some((_, now)) => now.clone_from(records),
                None => misfits.push(format!(
                    "file {number} of unit {} is not there any more, or has another length",
                    state.id
                )),
            }
        }
        self.engine.touch();
    }

    fn restore_point(&mut self, state: &PointState, time: u64, misfits: &mut Vec<String>) {
        let Some(id) = self.fixed.names.get(&state.name).copied().flatten() else {
            misfits.push(format!("there is no point {} any more", state.name));
            return;
        };
        let kind = self.fixed.points[id.index()].kind;
        if kind != state.kind {
            misfits.push(format!("{} is {} now, and was {}", state.name, kind.name(), state.kind.name()));
            return;
        }
        let has_signal = self.fixed.signals[id.index()].is_some();
        if !has_signal || state.overridden || state.ramp.is_some() {
            self.engine.change_mode(&self.fixed, id, Mode::Cells);
            if let Err(why) = self.engine.store_value(&self.fixed, id, &state.value, &state.cells) {
                misfits.push(why.to_string());
            }
        }
        if let Some((from, to, start, over)) = state.ramp
            && !matches!(kind, Type::Bool | Type::String)
            && start.saturating_add(over) > time
        {
            self.engine.change_mode(&self.fixed, id, Mode::Ramp { from, to, start, over });
        }
        if let Some((signal, memory)) = &state.machine
            && self.fixed.points[id.index()].signal == Some(signal)
            && let Some(Signal::Machine(place)) = &self.fixed.signals[id.index()]
        {
            let machine = &self.fixed.machines[*place as usize];
            if !machine.adopt(&mut self.engine.memories[*place as usize], memory) {
                misfits.push(format!("the {signal} of {} starts anew: it is another one now", state.name));
            }
        }
        for (n, run) in &state.runs {
            let trigger = self.fixed.triggers_of[id.index()].get(*n).map(|i| *i as usize);
            match trigger.filter(|i| run.step <= self.fixed.triggers[*i].steps.len()) {
                Some(i) if run.at.is_some_and(|at| at > time) => self.engine.runs[i] = *run,
                _ => misfits.push(format!("a sequence of {} does not go on", state.name)),
            }
        }
    }

    /// Takes over what an older plant of the same model holds: values of points with the same name and type, raw cells
    /// that both have, states of signals, and the time. Answers what did not fit.
    pub fn adopt(&mut self, now: Time, old: &mut Self) -> Vec<String> {
        let snapshot = old.snapshot(now);
        self.restore(now, &snapshot)
    }

    /// All points as a CSV file that [`UnitFile`](crate::UnitFile)`::csv` takes, with their values now. A signal that is
    /// no expression cannot be said there; its point has only the value.
    pub fn export_csv(&mut self, now: Time) -> String {
        self.engine.to(&self.fixed, now);
        let mut out = csv::line(csv::COLUMNS);
        let ids: Vec<PointId> = self.points().map(|(id, _)| id).collect();
        for id in ids {
            let value = self.engine.value(&self.fixed, id);
            out.push_str(&csv_line(&self.fixed.points[id.index()], &value));
        }
        out
    }
}

fn csv_line(point: &Point, value: &Value) -> String {
    let number = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
    let other = |x: f64, plain: f64| if x == plain { String::new() } else { x.to_string() };
    let word = |words: &[(&'static str, bool)]| {
        words.iter().find(|(_, is)| *is).map_or(String::new(), |(word, _)| (*word).to_owned())
    };
    let access = word(&Access::ALL.map(|(word, access)| (word, access == point.access)));
    let on_write = word(&OnWrite::ALL.map(|(word, on)| (word, on == point.on_write)));
    let is_expr = point.expr.is_some();
    csv::line([
        &point.name,
        &point.place(),
        point.kind.name(),
        &if point.kind == Type::String { point.cells.to_string() } else { String::new() },
        if point.order == Order::Abcd { "" } else { point.order.name() },
        &other(point.scale, 1.0),
        &other(point.offset, 0.0),
        &point.measure,
        &number(point.min),
        &number(point.max),
        if point.access == Access::Rw { "" } else { &access },
        if is_expr && point.on_write != OnWrite::Override { &on_write } else { "" },
        &point.bit.map_or_else(String::new, |bit| bit.to_string()),
        &if is_expr { String::new() } else { value.to_string() },
        point.expr.as_deref().unwrap_or(""),
    ])
}
