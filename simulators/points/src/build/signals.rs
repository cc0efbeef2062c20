//! Signals: numbers in their ranges, times in nanoseconds, expressions kept for later.

use std::path::Path;
use std::time::Duration;

use hilrig_files::{At, Problems, TimeText, known};

use super::{Builder, NO_VARS, Vars, Wants, exactly_one};
use crate::csv;
use crate::expr::Kind;
use crate::machine::{self, Lag, Machine, Node, NodeValue, Pid, Process, Transition};
use crate::point::{Point, PointId, Type};
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

/// A signal on its way from the file to the plant.
struct Maker<'m, 'p> {
    builder: &'m mut Builder,
    problems: &'m mut Problems<'p>,
    /// The point that it drives, and the place of its unit.
    id: PointId,
    unit: usize,
    at: &'m At<SignalFile>,
    folder: &'m Path,
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
        let made = Maker { builder: self, problems, id, unit, at, folder }.make();
        let Some((name, signal)) = made else { return };
        self.plant.fixed.points[id.index()].signal = Some(name);
        self.plant.fixed.signals[id.index()] = Some(signal);
    }
}

impl Maker<'_, '_> {
    fn make(&mut self) -> Option<(&'static str, Signal)> {
        let wants = Wants::Kind(self.builder.kind_of(self.id));
        Some(match &self.at.value {
            SignalFile::Const(value) => ("const", Signal::Const(self.constant(value)?)),
            SignalFile::Ramp(file) => {
                let over = self.time(&file.over);
                let (from, repeat) = (file.from.unwrap_or(0.0), file.repeat.unwrap_or(true));
                ("ramp", Signal::Ramp { from, to: file.to, over, repeat })
            }
            SignalFile::Triangle(file) => {
                let wave = self.wave(&file.period, &file.phase);
                ("triangle", Signal::Triangle { min: file.min.unwrap_or(0.0), max: file.max, wave })
            }
            SignalFile::Square(file) => {
                let wave = self.wave(&file.period, &file.phase);
                let duty = self.part(&file.duty, 0.5);
                let (low, high) = (file.low.unwrap_or(0.0), file.high.unwrap_or(1.0));
                ("square", Signal::Square { low, high, wave, duty })
            }
            SignalFile::Sine(file) => {
                let wave = self.wave(&file.period, &file.phase);
                let (mean, amplitude) = (file.mean.unwrap_or(0.0), file.amplitude);
                ("sine", Signal::Sine { mean, amplitude, wave })
            }
            SignalFile::Noise(file) => ("noise", self.noise(file)?),
            SignalFile::Csv(file) => ("csv", Signal::Track(csv::track(file, self.folder, self.problems)?)),
            SignalFile::Expr(text) => ("expr", Signal::Expr(self.program(text, wants, NO_VARS))),
            SignalFile::RandomWalk(file) => ("random_walk", self.walk(file)),
            SignalFile::Counter(file) => ("counter", self.counter(file)),
            SignalFile::Lag(file) => ("lag", self.lag(file)),
            SignalFile::Integrator(file) => ("integrator", self.integrator(file)),
            SignalFile::Pid(file) => ("pid", self.pid(file)?),
            SignalFile::States(file) => ("states", self.state_machine(file)?),
        })
    }

    fn point(&self) -> &Point {
        self.builder.plant.describe(self.id)
    }

    fn stream(&self) -> u64 {
        stream(self.builder.seed, &self.point().name)
    }

    fn time(&mut self, at: &At<TimeText>) -> u64 {
        ns(self.problems.time(at, Duration::from_secs(1)))
    }

    /// A part of 1.
    fn part(&mut self, at: &Option<At<f64>>, default: f64) -> f64 {
        let Some(at) = at else { return default };
        if !(0.0..=1.0).contains(&at.value) {
            let message = format!("{} is out of range", at.value);
            self.problems.add(&at.span, message, "a part of the period, 0 to 1");
            return default;
        }
        at.value
    }

    fn wave(&mut self, period: &At<TimeText>, phase: &Option<At<f64>>) -> Wave {
        let period = self.time(period);
        let ahead = (self.part(phase, 0.0) * period as f64) as u64;
        Wave { period, ahead }
    }

    /// How often a machine steps.
    fn steps(&mut self, at: Option<&At<TimeText>>, default: Duration) -> u64 {
        let Some(at) = at else { return ns(default) };
        let time = self.problems.time(at, default);
        if time < SHORTEST_STEP {
            self.problems.add(&at.span, "this is too often", "1ms or more");
        }
        ns(time.max(SHORTEST_STEP))
    }

    /// Lowest and highest value.
    fn limits(&mut self, min: &Option<At<f64>>, max: &Option<At<f64>>) -> (f64, f64) {
        let (low, high) = (
            min.as_ref().map_or(f64::NEG_INFINITY, |min| min.value),
            max.as_ref().map_or(f64::INFINITY, |max| max.value),
        );
        if let Some(max) = max.as_ref().filter(|_| low > high) {
            let label = "the highest is below the lowest";
            self.problems.add(&max.span, "no value is within these limits", label);
            return (high, low);
        }
        (low, high)
    }

    /// A number that the point can have.
    fn constant(&mut self, value: &At<Value>) -> Option<f64> {
        let point = self.point();
        match point.put(&value.value, &mut [0; 4][..usize::from(point.cells).min(4)]) {
            Ok(()) => value.value.number(),
            Err(why) => {
                self.problems.add(&value.span, "the point cannot have this value", why.to_string());
                None
            }
        }
    }

    fn program(&mut self, text: &At<String>, wants: Wants, vars: Vars) -> ProgramId {
        self.builder.program(self.unit, text, wants, vars, self.problems)
    }

    fn number(&mut self, text: &At<String>) -> ProgramId {
        self.program(text, Wants::Kind(Kind::Number), NO_VARS)
    }

    fn condition(&mut self, text: &Option<At<String>>, vars: Vars) -> Option<ProgramId> {
        text.as_ref().map(|text| self.program(text, Wants::Kind(Kind::Bool), vars))
    }

    fn noise(&mut self, file: &NoiseFile) -> Option<Signal> {
        let spread = match (file.amplitude, file.sigma) {
            (Some(amplitude), None) => Spread::Even(amplitude),
            (None, Some(sigma)) => Spread::Normal(sigma),
            _ => {
                let label = "noise is spread evenly or normally";
                self.problems.add(&self.at.span, "not exactly one of `amplitude` and `sigma`", label);
                return None;
            }
        };
        let mean = match (&file.around, file.mean) {
            (Some(text), None) => Mean::Around(self.number(text)),
            (Some(text), Some(_)) => {
                let label = "`around` takes the place of `mean`";
                self.problems.add(&text.span, "both `mean` and `around`", label);
                return None;
            }
            (None, mean) => Mean::Fixed(mean.unwrap_or(0.0)),
        };
        let every = ns(file.every.as_ref().map_or(EVERY, |every| self.problems.time(every, EVERY)));
        Some(Signal::Noise { mean, spread, every, stream: self.stream() })
    }

    fn machine(&mut self, period: u64, kind: machine::Kind) -> Signal {
        let stream = self.stream();
        let fixed = &mut self.builder.plant.fixed;
        fixed.machines.push(Machine { period, stream, kind });
        fixed.machine_points.push(self.id);
        Signal::Machine((fixed.machines.len() - 1) as u32)
    }

    fn walk(&mut self, file: &RandomWalkFile) -> Signal {
        let (min, max) = self.limits(&file.min, &file.max);
        let start = file.start.unwrap_or(0.0).max(min).min(max);
        let every = self.steps(file.every.as_ref(), EVERY);
        self.machine(every, machine::Kind::Walk { start, step: file.step, min, max })
    }

    fn counter(&mut self, file: &CounterFile) -> Signal {
        let every = self.steps(Some(&file.every), EVERY);
        let (start, by) = (file.start.unwrap_or(0.0), file.by.unwrap_or(1.0));
        let end = self.point().end(by < 0.0);
        let last = file.last.as_ref().map_or(end, |last| last.value);
        if let Some(at) = file.last.as_ref().filter(|_| if by < 0.0 { last > start } else { last < start }) {
            self.problems.add(&at.span, "it never comes here", "`last` lies behind `start`");
        }
        let when = self.condition(&file.when, NO_VARS);
        self.machine(every, machine::Kind::Counter { start, by, last, when })
    }

    fn first_order(
        &mut self,
        gain: f64,
        tau: &At<TimeText>,
        dead: &Option<At<TimeText>>,
        period: u64,
    ) -> Lag {
        let tau = self.time(tau);
        let Some(at) = dead else { return Lag::new(gain, tau, 0, period) };
        let dead = self.time(at);
        if dead / period > MOST_DEAD {
            let label = format!("{MOST_DEAD} steps at most; make `step` longer");
            self.problems.add(&at.span, "the dead time is too many steps", label);
            return Lag::new(gain, tau, 0, period);
        }
        Lag::new(gain, tau, dead, period)
    }

    fn lag(&mut self, file: &LagFile) -> Signal {
        let period = self.steps(file.step.as_ref(), STEP);
        let lag = self.first_order(file.gain.unwrap_or(1.0), &file.tau, &file.dead_time, period);
        let input = self.number(&file.input);
        self.machine(period, machine::Kind::Lag { input, lag, start: file.start })
    }

    fn integrator(&mut self, file: &IntegratorFile) -> Signal {
        let (min, max) = self.limits(&file.min, &file.max);
        let start = file.start.unwrap_or(0.0).max(min).min(max);
        let period = self.steps(file.step.as_ref(), STEP);
        let input = self.number(&file.input);
        let gain = file.gain.unwrap_or(1.0);
        self.machine(period, machine::Kind::Integrator { input, gain, start, min, max })
    }

    fn pid(&mut self, file: &PidFile) -> Option<Signal> {
        let period = self.steps(file.step.as_ref(), STEP);
        let (min, max) = self.limits(&file.out_min, &file.out_max);
        let min = if file.out_min.is_none() { 0f64.min(max) } else { min };
        let max = if file.out_max.is_none() { 100f64.max(min) } else { max };
        let setpoint = self.number(&file.setpoint);
        let process = match (&file.plant, &file.process) {
            (Some(plant), None) => {
                let lag = self.first_order(plant.gain, &plant.tau, &plant.dead_time, period);
                let rest = plant.rest.as_ref().map(|text| self.number(text));
                Process::Plant { lag, rest, start: plant.start }
            }
            (None, Some(text)) => Process::Measured(self.number(text)),
            _ => {
                let label = "it controls one of them";
                self.problems.add(&self.at.span, "not exactly one of `plant` and `process`", label);
                return None;
            }
        };
        let (kp, ki, kd) = (file.kp, file.ki.unwrap_or(0.0), file.kd.unwrap_or(0.0));
        let pid = Pid { setpoint, kp, ki, kd, min, max, process };
        Some(self.machine(period, machine::Kind::Pid(Box::new(pid))))
    }

    fn state_machine(&mut self, file: &StatesFile) -> Option<Signal> {
        let period = self.steps(file.step.as_ref(), STEP);
        let entries = &file.state.value.0;
        if entries.is_empty() {
            self.problems.add(&file.state.span, "there are no states", "give it at least one");
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
        let start = file.start.as_ref().map_or(0, |name| place(name, self.problems));
        let mut states = vec![];
        for (name, state) in entries {
            self.problems.name(name);
            let value = self.state_value(name, &state.value);
            let mut to = vec![];
            for transition in &state.value.to {
                let file = &transition.value;
                if file.when.is_none() && file.after.is_none() {
                    let label = "give it `when`, `after` or both";
                    self.problems.add(&transition.span, "it would be left at once", label);
                }
                let when = self.condition(&file.when, STATE_VARS);
                let after = file.after.as_ref().map(|after| ns(self.problems.time(after, STEP)));
                to.push(Transition { state: place(&file.state, self.problems), when, after });
            }
            states.push(Node { value, to });
        }
        Some(self.machine(period, machine::Kind::States { states, start }))
    }

    fn state_value(&mut self, name: &At<String>, file: &StateFile) -> NodeValue {
        if !exactly_one(&[file.value.is_some(), file.expr.is_some()]) {
            let message = format!("the state `{}` has not exactly one of `value` and `expr`", name.value);
            self.problems.add(&name.span, message, "its value is one of them");
        }
        match (&file.value, &file.expr) {
            (_, Some(text)) => {
                let wants = Wants::Kind(self.builder.kind_of(self.id));
                NodeValue::Expr(self.program(text, wants, STATE_VARS))
            }
            (Some(value), None) => NodeValue::Fixed(self.constant(value).unwrap_or(0.0)),
            (None, None) => NodeValue::Fixed(0.0),
        }
    }
}
