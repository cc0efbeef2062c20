//! Signals with a state. A machine takes a step at each multiple of its period since the start, never in between and
//! never twice, so that its value does not depend on who looks and when.

use crate::random::even;
use crate::signal::ProgramId;

/// What a machine does, and the numbers it was given.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Nanoseconds between two steps.
    pub period: u64,
    pub stream: u64,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Walk { start: f64, step: f64, min: f64, max: f64 },
    Counter { start: f64, by: f64, last: f64, when: Option<ProgramId> },
    Lag { input: ProgramId, lag: Lag, start: Option<f64> },
    Integrator { input: ProgramId, gain: f64, start: f64, min: f64, max: f64 },
    Pid(Box<Pid>),
    States { states: Vec<Node>, start: usize },
}

/// First order with dead time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lag {
    pub gain: f64,
    /// What is left of the old value after a step.
    pub keep: f64,
    /// Steps between the input and its effect.
    pub dead: usize,
}

impl Lag {
    pub fn new(gain: f64, tau: u64, dead: u64, period: u64) -> Self {
        let keep = libm::exp(-(period as f64) / tau as f64);
        Self { gain, keep, dead: ((dead + period / 2) / period) as usize }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Pid {
    pub setpoint: ProgramId,
    pub kp: f64,
    pub ki: f64,
    pub kd: f64,
    pub min: f64,
    pub max: f64,
    pub process: Process,
}

#[derive(Debug, Clone)]
pub(crate) enum Process {
    /// The value is the controller's output.
    Measured(ProgramId),
    /// The value is what the plant does.
    Plant { lag: Lag, rest: Option<ProgramId>, start: Option<f64> },
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub value: NodeValue,
    pub to: Vec<Transition>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum NodeValue {
    Fixed(f64),
    Expr(ProgramId),
}

#[derive(Debug, Clone)]
pub(crate) struct Transition {
    pub state: usize,
    pub when: Option<ProgramId>,
    /// Nanoseconds.
    pub after: Option<u64>,
}

/// What a machine remembers.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Memory {
    pub value: f64,
    /// Integral of a PID.
    pub integral: f64,
    /// What a PID measured last.
    pub last: f64,
    /// Steps taken; for a state machine the time when it came into its state.
    pub n: u64,
    /// Number of the state of a state machine; place in the delay line.
    pub at: usize,
    /// The delay line of a dead time.
    pub line: Vec<f64>,
}

impl Memory {
    /// Puts a value into the delay line and takes out the oldest.
    fn delay(&mut self, value: f64) -> f64 {
        if self.line.is_empty() {
            return value;
        }
        let at = self.at % self.line.len();
        self.at = (at + 1) % self.line.len();
        std::mem::replace(&mut self.line[at], value)
    }
}

/// Throws a walk back from a limit that it would pass.
fn reflect(x: f64, min: f64, max: f64) -> f64 {
    let back = if x > max {
        2.0 * max - x
    } else if x < min {
        2.0 * min - x
    } else {
        x
    };
    back.max(min).min(max)
}

impl Machine {
    /// Most values in its delay line.
    pub fn dead_steps(&self) -> usize {
        match &self.kind {
            Kind::Lag { lag, .. } => lag.dead,
            Kind::Pid(pid) => match &pid.process {
                Process::Plant { lag, .. } => lag.dead,
                Process::Measured(_) => 0,
            },
            _ => 0,
        }
    }

    /// Puts the memory at the start. `eval` evaluates an expression with the seconds that a state has lasted.
    pub fn start(&self, memory: &mut Memory, mut eval: impl FnMut(ProgramId, f64) -> f64) {
        (memory.integral, memory.last, memory.n, memory.at) = (0.0, 0.0, 0, 0);
        memory.line.resize(self.dead_steps(), 0.0);
        memory.value = match &self.kind {
            Kind::Walk { start, .. } | Kind::Counter { start, .. } | Kind::Integrator { start, .. } => *start,
            Kind::Lag { input, lag, start } => {
                let input = eval(*input, 0.0);
                memory.line.fill(input);
                start.unwrap_or(lag.gain * input)
            }
            Kind::Pid(pid) => match &pid.process {
                Process::Measured(id) => {
                    memory.last = eval(*id, 0.0);
                    0f64.max(pid.min).min(pid.max)
                }
                Process::Plant { rest, start, .. } => {
                    memory.line.fill(0.0);
                    memory.last = start.unwrap_or_else(|| rest.map_or(0.0, |id| eval(id, 0.0)));
                    memory.last
                }
            },
            Kind::States { states, start } => {
                memory.at = *start;
                match states[*start].value {
                    NodeValue::Fixed(x) => x,
                    NodeValue::Expr(id) => eval(id, 0.0),
                }
            }
        };
    }

    /// Takes over what a machine of the same kind remembers; `false` if it does not fit.
    pub fn adopt(&self, memory: &mut Memory, old: &Memory) -> bool {
        let fits = match &self.kind {
            Kind::States { states, .. } => old.at < states.len(),
            _ => old.line.len() == self.dead_steps(),
        };
        if fits {
            memory.clone_from(old);
        }
        fits
    }

    /// Takes the step of the time `t`.
    pub fn step(&self, t: u64, memory: &mut Memory, mut eval: impl FnMut(ProgramId, f64) -> f64) {
        let dt = self.period as f64 / 1e9;
        match &self.kind {
            Kind::Walk { step, min, max, .. } => {
                memory.n += 1;
                memory.value = reflect(memory.value + step * even(self.stream, memory.n), *min, *max);
            }
            Kind::Counter { start, by, last, when } => {
                if when.is_none_or(|id| eval(id, 0.0) != 0.0) {
                    let next = memory.value + by;
                    let past = if *by < 0.0 { next < *last } else { next > *last };
                    memory.value = if past { *start } else { next };
                }
            }
            Kind::Lag { input, lag, .. } => {
                let input = eval(*input, 0.0);
                let input = memory.delay(input);
                memory.value = memory.value * lag.keep + lag.gain * input * (1.0 - lag.keep);
            }
            Kind::Integrator { input, gain, min, max, .. } => {
                memory.value = (memory.value + gain * eval(*input, 0.0) * dt).max(*min).min(*max);
            }
            Kind::Pid(pid) => pid.step(dt, memory, |id| eval(id, 0.0)),
            Kind::States { states, .. } => {
                let lasted = |memory: &Memory| t.saturating_sub(memory.n);
                let seconds = lasted(memory) as f64 / 1e9;
                let goes = states[memory.at].to.iter().find(|to| {
                    to.after.is_none_or(|after| lasted(memory) >= after)
                        && to.when.is_none_or(|id| eval(id, seconds) != 0.0)
                });
                if let Some(to) = goes {
                    (memory.at, memory.n) = (to.state, t);
                }
                memory.value = match states[memory.at].value {
                    NodeValue::Fixed(x) => x,
                    NodeValue::Expr(id) => eval(id, lasted(memory) as f64 / 1e9),
                };
            }
        }
    }
}

impl Pid {
    /// Parallel form; the derivative is that of the measured value, so that a new setpoint makes no kick; the integral
    /// stands still while the output is at its limit.
    fn output(&self, dt: f64, measured: f64, setpoint: f64, memory: &mut Memory) -> f64 {
        let error = setpoint - measured;
        let part = self.kp * error - self.kd * (measured - memory.last) / dt;
        let integral = memory.integral + self.ki * error * dt;
        let output = part + integral;
        let stuck = (output > self.max && integral > memory.integral)
            || (output < self.min && integral < memory.integral);
        if !stuck {
            memory.integral = integral;
        }
        memory.last = measured;
        (part + memory.integral).max(self.min).min(self.max)
    }

    fn step(&self, dt: f64, memory: &mut Memory, mut eval: impl FnMut(ProgramId) -> f64) {
        let setpoint = eval(self.setpoint);
        match &self.process {
            Process::Measured(id) => {
                let measured = eval(*id);
                memory.value = self.output(dt, measured, setpoint, memory);
            }
            Process::Plant { lag, rest, .. } => {
                let rest = rest.map_or(0.0, &mut eval);
                let output = self.output(dt, memory.value, setpoint, memory);
                let output = memory.delay(output);
                memory.value = memory.value * lag.keep + (rest + lag.gain * output) * (1.0 - lag.keep);
            }
        }
    }
}
