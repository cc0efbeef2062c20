//! Signals that are functions of time: the value is computed from the time since the start and nothing else. Holds no
//! state.

use std::f64::consts::TAU;

use crate::random::{even, normal};

/// Place of an expression in the plant's list.
pub(crate) type ProgramId = u32;

/// Times are nanoseconds.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    Const(f64),
    Ramp {
        from: f64,
        to: f64,
        over: u64,
        repeat: bool,
    },
    Triangle {
        min: f64,
        max: f64,
        wave: Wave,
    },
    Square {
        low: f64,
        high: f64,
        wave: Wave,
        duty: f64,
    },
    Sine {
        mean: f64,
        amplitude: f64,
        wave: Wave,
    },
    Noise {
        mean: Mean,
        spread: Spread,
        every: u64,
        stream: u64,
    },
    Track(Track),
    Expr(ProgramId),
    /// Has a state; place in the list of machines.
    Machine(u32),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Wave {
    pub period: u64,
    /// How far into the period it starts.
    pub ahead: u64,
}

impl Wave {
    /// Place in the period, 0 to below 1. The remainder is taken of whole numbers, so that nothing drifts.
    fn at(self, t: u64) -> f64 {
        (t.wrapping_add(self.ahead) % self.period) as f64 / self.period as f64
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Mean {
    Fixed(f64),
    Around(ProgramId),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Spread {
    Even(f64),
    Normal(f64),
}

/// A recording: times from its begin, rising, and values.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    pub points: Vec<(u64, f64)>,
    pub linear: bool,
    pub repeat: bool,
}

impl Track {
    fn at(&self, t: u64) -> f64 {
        let Some((&(end, last), &(_, first))) = self.points.last().zip(self.points.first()) else {
            return 0.0;
        };
        let t = if self.repeat && end > 0 { t % end } else { t };
        if t >= end {
            return last;
        }
        match self.points.partition_point(|(at, _)| *at <= t) {
            0 => first,
            next => {
                let ((a, from), (b, to)) = (self.points[next - 1], self.points[next]);
                if self.linear { from + (to - from) * ((t - a) as f64 / (b - a) as f64) } else { from }
            }
        }
    }
}

/// From one value to another in a straight line.
pub(crate) fn line(from: f64, to: f64, passed: u64, over: u64) -> f64 {
    if passed >= over { to } else { from + (to - from) * (passed as f64 / over as f64) }
}

impl Signal {
    /// The value at a time. `program` evaluates an expression at that time, `machine` knows the states.
    pub fn at(
        &self,
        t: u64,
        program: impl FnOnce(ProgramId) -> f64,
        machine: impl FnOnce(u32) -> f64,
    ) -> f64 {
        match self {
            Self::Const(x) => *x,
            Self::Ramp { from, to, over, repeat } => {
                line(*from, *to, if *repeat { t % over } else { t }, *over)
            }
            Self::Triangle { min, max, wave } => {
                let at = wave.at(t) * 2.0;
                min + (max - min) * if at < 1.0 { at } else { 2.0 - at }
            }
            Self::Square { low, high, wave, duty } => {
                if wave.at(t) < *duty {
                    *high
                } else {
                    *low
                }
            }
            Self::Sine { mean, amplitude, wave } => mean + amplitude * libm::sin(TAU * wave.at(t)),
            Self::Noise { mean, spread, every, stream } => {
                let mean = match mean {
                    Mean::Fixed(x) => *x,
                    Mean::Around(id) => program(*id),
                };
                let n = t / every;
                mean + match spread {
                    Spread::Even(amplitude) => amplitude * even(*stream, n),
                    Spread::Normal(sigma) => sigma * normal(*stream, n),
                }
            }
            Self::Track(track) => track.at(t),
            Self::Expr(id) => program(*id),
            Self::Machine(place) => machine(*place),
        }
    }
}
