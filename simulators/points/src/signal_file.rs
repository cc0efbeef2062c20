//! Signals as a file writes them. No checks and no defaults here.

use hilrig_files::{At, Entries, TimeText};
use schemars::JsonSchema;

use crate::Value;

/// How a value changes by itself: exactly one of the keys. Values are in the point's unit of measure; times count from
/// the start of the run; `expr` and the like are expressions over points.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalFile {
    /// Always this value.
    Const(At<Value>),
    /// From one value to another, then again from the start.
    Ramp(RampFile),
    /// Up and down in straight lines.
    Triangle(WaveFile),
    /// Two values in turn.
    Square(SquareFile),
    /// A sine.
    Sine(SineFile),
    /// A new random value at even intervals.
    Noise(NoiseFile),
    /// Random steps at even intervals.
    RandomWalk(RandomWalkFile),
    /// A recording.
    Csv(CsvFile),
    /// Counts at even intervals.
    Counter(CounterFile),
    /// Follows an input with a delay of the first order, and after a dead time if it has one.
    Lag(LagFile),
    /// The sum of an input over time.
    Integrator(IntegratorFile),
    /// A PID controller: with `plant` the value is what the controlled plant does, with `process` it is what the
    /// controller puts out.
    Pid(PidFile),
    /// A state machine; each state has a value.
    States(StatesFile),
    /// An expression over points.
    Expr(At<String>),
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RampFile {
    /// Default 0.
    pub from: Option<f64>,
    pub to: f64,
    /// How long one way takes.
    pub over: At<TimeText>,
    /// Starts anew at the end; without it, stays there. Default true.
    pub repeat: Option<bool>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaveFile {
    /// Default 0.
    pub min: Option<f64>,
    pub max: f64,
    pub period: At<TimeText>,
    /// Where in the period it starts, 0 to 1. Default 0, at `min`.
    #[schemars(range(min = 0, max = 1))]
    pub phase: Option<At<f64>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SquareFile {
    /// Default 0.
    pub low: Option<f64>,
    /// Default 1.
    pub high: Option<f64>,
    pub period: At<TimeText>,
    /// The part of the period that is high, 0 to 1, which comes first. Default 0.5.
    #[schemars(range(min = 0, max = 1))]
    pub duty: Option<At<f64>>,
    /// Where in the period it starts, 0 to 1. Default 0.
    #[schemars(range(min = 0, max = 1))]
    pub phase: Option<At<f64>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SineFile {
    pub amplitude: f64,
    /// Default 0.
    pub mean: Option<f64>,
    pub period: At<TimeText>,
    /// Where in the period it starts, 0 to 1. Default 0, at `mean` and going up.
    #[schemars(range(min = 0, max = 1))]
    pub phase: Option<At<f64>>,
}

/// Exactly one of `amplitude` and `sigma`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoiseFile {
    /// Default 0.
    pub mean: Option<f64>,
    /// Evenly spread, at most this far from the mean.
    pub amplitude: Option<f64>,
    /// Normally spread, with this deviation.
    pub sigma: Option<f64>,
    /// Default 100ms.
    pub every: Option<At<TimeText>>,
    /// An expression in the place of `mean`, to put noise on another point.
    pub around: Option<At<String>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomWalkFile {
    /// Default 0, or the nearer limit.
    pub start: Option<f64>,
    /// The longest step, up or down.
    pub step: f64,
    /// Default 100ms; 1ms or more.
    pub every: Option<At<TimeText>>,
    pub min: Option<At<f64>>,
    pub max: Option<At<f64>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvFile {
    /// Path from the folder of this file. The first line names the columns; the first column is the time in seconds.
    pub file: At<String>,
    /// Name of the column. Default: the second.
    pub column: Option<At<String>>,
    /// Between two lines the value holds, or goes from one to the other in a straight line. Default "hold".
    pub between: Option<Between>,
    /// Starts anew at the end; without it, the last value stays. Default false.
    pub repeat: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Between {
    Hold,
    Linear,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CounterFile {
    /// 1ms or more.
    pub every: At<TimeText>,
    /// Default 1.
    pub by: Option<f64>,
    /// Default 0.
    pub start: Option<f64>,
    /// After this value comes `start` again. Default: what the type holds.
    pub last: Option<At<f64>>,
    /// Counts only while this expression is true.
    pub when: Option<At<String>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LagFile {
    /// An expression.
    pub input: At<String>,
    /// Time constant: after it, 63 % of a step are there.
    pub tau: At<TimeText>,
    /// Default 1.
    pub gain: Option<f64>,
    /// The input acts this much later. Default none.
    pub dead_time: Option<At<TimeText>>,
    /// Value at the start. Default: as if the input had been what it is for ever.
    pub start: Option<f64>,
    /// How often it is computed. Default 50ms; 1ms or more.
    pub step: Option<At<TimeText>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntegratorFile {
    /// An expression; what it is per second.
    pub input: At<String>,
    /// Default 1.
    pub gain: Option<f64>,
    /// Default 0, or the nearer limit.
    pub start: Option<f64>,
    pub min: Option<At<f64>>,
    pub max: Option<At<f64>>,
    /// How often it is computed. Default 50ms; 1ms or more.
    pub step: Option<At<TimeText>>,
}

/// Exactly one of `plant` and `process`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PidFile {
    /// An expression.
    pub setpoint: At<String>,
    pub kp: f64,
    /// Per second. Default 0.
    pub ki: Option<f64>,
    /// In seconds. Default 0.
    pub kd: Option<f64>,
    /// Lowest output. Default 0.
    pub out_min: Option<At<f64>>,
    /// Highest output. Default 100.
    pub out_max: Option<At<f64>>,
    /// The plant it controls.
    pub plant: Option<PlantFile>,
    /// An expression for what it controls.
    pub process: Option<At<String>>,
    /// How often it is computed. Default 50ms; 1ms or more.
    pub step: Option<At<TimeText>>,
}

/// A plant of the first order with dead time: for an output u held long enough it comes to rest + gain * u.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlantFile {
    pub gain: f64,
    pub tau: At<TimeText>,
    /// Default none.
    pub dead_time: Option<At<TimeText>>,
    /// Where it comes to rest without output, an expression. Default 0.
    pub rest: Option<At<String>>,
    /// Value at the start. Default: `rest` at the start.
    pub start: Option<f64>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatesFile {
    /// Name of the first state. Default: the first that is written.
    pub start: Option<At<String>>,
    /// States, by name.
    pub state: At<Entries<StateFile>>,
    /// How often it is computed. Default 50ms; 1ms or more.
    pub step: Option<At<TimeText>>,
}

/// A state; its value is exactly one of `value` and `expr`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateFile {
    pub value: Option<At<Value>>,
    pub expr: Option<At<String>>,
    /// Where it goes from here; the first that is so is taken.
    #[serde(default)]
    pub to: Vec<At<TransitionFile>>,
}

/// Happens when all that is given is so: `when`, `after`, or both.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransitionFile {
    /// Name of the next state.
    pub state: At<String>,
    /// An expression that is true.
    pub when: Option<At<String>>,
    /// The state has lasted so long.
    pub after: Option<At<TimeText>>,
}
