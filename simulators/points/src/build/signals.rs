//! Signals: numbers in their ranges, times in nanoseconds, expressions kept for later.

use std::path::Path;
use std::time::Duration;

use hilrig_files::{At, Problems, TimeText, known};

use super::{Builder, NO_VARS, Vars, Wants, exactly_one};
use crate::csv;
use crate::expr::Kind;
use crate::machine::{self, Lag, Machine, Node, NodeValue, Pid, Process, Transition};
use crate::point::{PointId, Type};
use crate::random::stream;
use crate::signal::{Mean, ProgramId, Signal, Spread, Wave};
use crate::{
    CounterFile, IntegratorFile, LagFile, NoiseFile, PidFile, RandomWalkFile, SignalFile, StateFile,
    StatesFile, Value,
};

const STATE_VARS: Vars = &[("elapsed", Kind::Number)];
const STEP: Duration = Duration::from_millis(50);
const EVERY: Duration = Duration::from_millis(100);
const SHORTEST_STEP: Duration = Duration::from_millis(1);
/// Most steps of a dead time.
const MOST_DEAD: u64 = 10_000;

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// A part of 1.
fn part(at: &Option<At<f64>>, default: f64, problems: &mut Problems<'_>) -> f64 {
    let Some(at) = at else { return default };
    if !(0.0..=1.0).contains(&at.value) {
        problems.add(&at.span, format!("{} is out of range", at.value), "a part of the period, 0 to 1");
        return default;
    }
    at.value
}

fn wave(period: &At<TimeText>, phase: &Option<At<f64>>, problems: &mut Problems<'_>) -> Wave {
    let period = ns(problems.time(period, Duration::from_secs(1)));
    let ahead = (part(phase, 0.0, problems) * period as f64) as u64;
    Wave { period, ahead }
}

/// How often a machine steps.
fn steps(at: &Option<At<TimeText>>, default: Duration, problems: &mut Problems<'_>) -> u64 {
    let Some(at) = at else { return ns(default) };
    let time = problems.time(at, default);
    if time < SHORTEST_STEP {
        problems.add(&at.span, "this is too often", "1ms or more");
    }
    ns(time.max(SHORTEST_STEP))
}

/// Lowest and highest value.
fn limits(min: &Option<At<f64>>, max: &Option<At<f64>>, problems: &mut Problems<'_>) -> (f64, f64) {
    let (low, high) = (
        min.as_ref().map_or(f64::NEG_INFINITY, |min| min.value),
        max.as_ref().map_or(f64::INFINITY, |max| max.value),
    );
    if let Some(max) = max.as_ref().filter(|_| low > high) {
        problems.add(&max.span, "no value is within these limits", "the highest is below the lowest");
        return (high, low);
    }
    (low, high)
}

impl Builder {
    pub(super) fn signal(
        &mut self,
        id: PointId,
        unit: usize,
        at: &At<SignalFile>,
        folder: &Path,
        problems: &mut Problems<'_>,
    ) {
        let kind = self.plant.fixed.points[id.index()].kind;
        if kind == Type::String {
            let label = "signals make numbers; triggers can set text";
            problems.add(&at.span, "text does not change by itself", label);
            return;
        }
        let Some((name, signal)) = self.make(id, unit, at, folder, problems) else { return };
        self.plant.fixed.points[id.index()].signal = Some(name);
        self.plant.fixed.signals[id.index()] = Some(signal);
    }

    fn make(
        &mut self,
        id: PointId,
        unit: usize,
        at: &At<SignalFile>,
        folder: &Path,
        problems: &mut Problems<'_>,
    ) -> Option<(&'static str, Signal)> {
        let wants = Wants::Kind(self.kind_of(id));
        Some(match &at.value {
            SignalFile::Const(value) => ("const", Signal::Const(self.constant(id, value, problems)?)),
            SignalFile::Ramp(file) => {
                let over = ns(problems.time(&file.over, Duration::from_secs(1)));
                let (from, repeat) = (file.from.unwrap_or(0.0), file.repeat.unwrap_or(true));
                ("ramp", Signal::Ramp { from, to: file.to, over, repeat })
            }
            SignalFile::Triangle(file) => {
                let wave = wave(&file.period, &file.phase, problems);
                ("triangle", Signal::Triangle { min: file.min.unwrap_or(0.0), max: file.max, wave })
            }
            SignalFile::Square(file) => {
                let wave = wave(&file.period, &file.phase, problems);
                let duty = part(&file.duty, 0.5, problems);
                let (low, high) = (file.low.unwrap_or(0.0), file.high.unwrap_or(1.0));
                ("square", Signal::Square { low, high, wave, duty })
            }
            SignalFile::Sine(file) => {
                let wave = wave(&file.period, &file.phase, problems);
                let (mean, amplitude) = (file.mean.unwrap_or(0.0), file.amplitude);
                ("sine", Signal::Sine { mean, amplitude, wave })
            }
            SignalFile::Noise(file) => ("noise", self.noise(id, unit, at, file, problems)?),
            SignalFile::Csv(file) => ("csv", Signal::Track(csv::track(file, folder, problems)?)),
            SignalFile::Expr(text) => {
                ("expr", Signal::Expr(self.program(unit, text, wants, NO_VARS, problems)))
            }
            SignalFile::RandomWalk(file) => ("random_walk", self.walk(id, file, problems)),
            SignalFile::Counter(file) => ("counter", self.counter(id, unit, file, problems)),
            SignalFile::Lag(file) => ("lag", self.lag(id, unit, file, problems)),
            SignalFile::Integrator(file) => ("integrator", self.integrator(id, unit, file, problems)),
            SignalFile::Pid(file) => ("pid", self.pid(id, unit, at, file, problems)?),
            SignalFile::States(file) => ("states", self.state_machine(id, unit, file, problems)?),
        })
    }

    /// A number that the point can have.
    fn constant(&self, id: PointId, value: &At<Value>, problems: &mut Problems<'_>) -> Option<f64> {
        let point = &self.plant.fixed.points[id.index()];
        match point.put(&value.value, &mut [0; 4][..usize::from(point.cells).min(4)]) {
            Ok(()) => value.value.number(),
            Err(why) => {
                problems.add(&value.span, "the point cannot have this value", why.to_string());
                None
            }
        }
    }

    fn number_program(&mut self, unit: usize, text: &At<String>, problems: &Problems<'_>) -> ProgramId {
        self.program(unit, text, Wants::Kind(Kind::Number), NO_VARS, problems)
    }

    fn stream(&self, id: PointId) -> u64 {
        stream(self.seed, &self.plant.fixed.points[id.index()].name)
    }

    fn noise(
        &mut self,
        id: PointId,
        unit: usize,
        at: &At<SignalFile>,
        file: &NoiseFile,
        problems: &mut Problems<'_>,
    ) -> Option<Signal> {
        let spread = match (file.amplitude, file.sigma) {
            (Some(amplitude), None) => Spread::Even(amplitude),
            (None, Some(sigma)) => Spread::Normal(sigma),
            _ => {
                let label = "noise is spread evenly or normally";
                problems.add(&at.span, "not exactly one of `amplitude` and `sigma`", label);
                return None;
            }
        };
        let mean = match (&file.around, file.mean) {
            (Some(text), None) => Mean::Around(self.number_program(unit, text, problems)),
            (Some(text), Some(_)) => {
                problems.add(&text.span, "both `mean` and `around`", "`around` takes the place of `mean`");
                return None;
            }
            (None, mean) => Mean::Fixed(mean.unwrap_or(0.0)),
        };
        let every = ns(file.every.as_ref().map_or(EVERY, |every| problems.time(every, EVERY)));
        Some(Signal::Noise { mean, spread, every, stream: self.stream(id) })
    }

    fn machine(&mut self, id: PointId, period: u64, kind: machine::Kind) -> Signal {
        let stream = self.stream(id);
        let fixed = &mut self.plant.fixed;
        fixed.machines.push(Machine { period, stream, kind });
        fixed.machine_points.push(id);
        Signal::Machine((fixed.machines.len() - 1) as u32)
    }

    fn walk(&mut self, id: PointId, file: &RandomWalkFile, problems: &mut Problems<'_>) -> Signal {
        let (min, max) = limits(&file.min, &file.max, problems);
        let start = file.start.unwrap_or(0.0).max(min).min(max);
        let every = steps(&file.every, EVERY, problems);
        self.machine(id, every, machine::Kind::Walk { start, step: file.step, min, max })
    }

    fn counter(
        &mut self,
        id: PointId,
        unit: usize,
        file: &CounterFile,
        problems: &mut Problems<'_>,
    ) -> Signal {
        let every = steps(&Some(file.every.clone()), EVERY, problems);
        let (start, by) = (file.start.unwrap_or(0.0), file.by.unwrap_or(1.0));
        let end = self.plant.fixed.points[id.index()].end(by < 0.0);
        let last = file.last.as_ref().map_or(end, |last| last.value);
        if let Some(at) = file.last.as_ref().filter(|_| if by < 0.0 { last > start } else { last < start }) {
            problems.add(&at.span, "it never comes here", "`last` lies behind `start`");
        }
        let when = file
            .when
            .as_ref()
            .map(|text| self.program(unit, text, Wants::Kind(Kind::Bool), NO_VARS, problems));
        self.machine(id, every, machine::Kind::Counter { start, by, last, when })
    }

    fn first_order(
        &self,
        gain: f64,
        tau: &At<TimeText>,
        dead: &Option<At<TimeText>>,
        period: u64,
        problems: &mut Problems<'_>,
    ) -> Lag {
        let tau = ns(problems.time(tau, Duration::from_secs(1)));
        let Some(at) = dead else { return Lag::new(gain, tau, 0, period) };
        let dead = ns(problems.time(at, Duration::from_secs(1)));
        if dead / period > MOST_DEAD {
            let label = format!("{MOST_DEAD} steps at most; make `step` longer");
            problems.add(&at.span, "the dead time is too many steps", label);
            return Lag::new(gain, tau, 0, period);
        }
        Lag::new(gain, tau, dead, period)
    }

    fn lag(&mut self, id: PointId, unit: usize, file: &LagFile, problems: &mut Problems<'_>) -> Signal {
        let period = steps(&file.step, STEP, problems);
        let lag = self.first_order(file.gain.unwrap_or(1.0), &file.tau, &file.dead_time, period, problems);
        let input = self.number_program(unit, &file.input, problems);
        self.machine(id, period, machine::Kind::Lag { input, lag, start: file.start })
    }

    fn integrator(
        &mut self,
        id: PointId,
        unit: usize,
        file: &IntegratorFile,
        problems: &mut Problems<'_>,
    ) -> Signal {
        let (min, max) = limits(&file.min, &file.max, problems);
        let start = file.start.unwrap_or(0.0).max(min).min(max);
        let period = steps(&file.step, STEP, problems);
        let input = self.number_program(unit, &file.input, problems);
        let gain = file.gain.unwrap_or(1.0);
        self.machine(id, period, machine::Kind::Integrator { input, gain, start, min, max })
    }

    fn pid(
        &mut self,
        id: PointId,
        unit: usize,
        at: &At<SignalFile>,
        file: &PidFile,
        problems: &mut Problems<'_>,
    ) -> Option<Signal> {
        let period = steps(&file.step, STEP, problems);
        let zero = |at: &Option<At<f64>>| at.is_none();
        let (min, max) = limits(&file.out_min, &file.out_max, problems);
        let min = if zero(&file.out_min) { 0f64.min(max) } else { min };
        let max = if zero(&file.out_max) { 100f64.max(min) } else { max };
        let setpoint = self.number_program(unit, &file.setpoint, problems);
        let process = match (&file.plant, &file.process) {
            (Some(plant), None) => {
                let lag = self.first_order(plant.gain, &plant.tau, &plant.dead_time, period, problems);
                let rest = plant.rest.as_ref().map(|text| self.number_program(unit, text, problems));
                Process::Plant { lag, rest, start: plant.start }
            }
            (None, Some(text)) => Process::Measured(self.number_program(unit, text, problems)),
            _ => {
                let label = "it controls one of them";
                problems.add(&at.span, "not exactly one of `plant` and `process`", label);
                return None;
            }
        };
        let (kp, ki, kd) = (file.kp, file.ki.unwrap_or(0.0), file.kd.unwrap_or(0.0));
        let pid = Pid { setpoint, kp, ki, kd, min, max, process };
        Some(self.machine(id, period, machine::Kind::Pid(Box::new(pid))))
    }

    fn state_machine(
        &mut self,
        id: PointId,
        unit: usize,
        file: &StatesFile,
        problems: &mut Problems<'_>,
    ) -> Option<Signal> {
        let period = steps(&file.step, STEP, problems);
        let entries = &file.state.value.0;
        if entries.is_empty() {
            problems.add(&file.state.span, "there are no states", "give it at least one");
            return None;
        }
        let place = |name: &At<String>, problems: &mut Problems<'_>| {
            let found = entries.iter().position(|(key, _)| key.value == name.value);
            if found.is_none() {
                let help = known("states", entries.iter().map(|(key, _)| key.value.as_str()));
                let message = format!("unknown state `{}`", name.value);
                problems.add(&name.span, message, "no such state").help = Some(help);
            }
            found.unwrap_or(0)
        };
        let start = file.start.as_ref().map_or(0, |name| place(name, problems));
        let mut states = vec![];
        for (name, state) in entries {
            problems.name(name);
            let value = self.state_value(id, unit, name, &state.value, problems);
            let mut to = vec![];
            for transition in &state.value.to {
                let file = &transition.value;
                if file.when.is_none() && file.after.is_none() {
                    let label = "give it `when`, `after` or both";
                    problems.add(&transition.span, "it would be left at once", label);
                }
                let when = file
                    .when
                    .as_ref()
                    .map(|text| self.program(unit, text, Wants::Kind(Kind::Bool), STATE_VARS, problems));
                let after = file.after.as_ref().map(|after| ns(problems.time(after, STEP)));
                to.push(Transition { state: place(&file.state, problems), when, after });
            }
            states.push(Node { value, to });
        }
        Some(self.machine(id, period, machine::Kind::States { states, start }))
    }

    fn state_value(
        &mut self,
        id: PointId,
        unit: usize,
        name: &At<String>,
        file: &StateFile,
        problems: &mut Problems<'_>,
    ) -> NodeValue {
        if !exactly_one(&[file.value.is_some(), file.expr.is_some()]) {
            let message = format!("the state `{}` has not exactly one of `value` and `expr`", name.value);
            problems.add(&name.span, message, "its value is one of them");
        }
        match (&file.value, &file.expr) {
            (_, Some(text)) => {
                let wants = Wants::Kind(self.kind_of(id));
                NodeValue::Expr(self.program(unit, text, wants, STATE_VARS, problems))
            }
            (Some(value), None) => NodeValue::Fixed(self.constant(id, value, problems).unwrap_or(0.0)),
            (None, None) => NodeValue::Fixed(0.0),
        }
    }
}
