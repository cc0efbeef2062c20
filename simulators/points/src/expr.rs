//! Expressions over points: a short list of operations on a stack of fixed depth. Evaluating allocates nothing and
//! cannot fail; what is impossible is found when the text is read.

mod lex;
mod parse;

pub(crate) use parse::{Names, parse};

use crate::point::PointId;

/// Most values that wait at a time.
pub(crate) const DEPTH: usize = 32;
/// Most operations of one expression.
pub(crate) const LONGEST: usize = 512;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Num(f64),
    Point(PointId),
    /// Seconds since the start.
    Time,
    /// What the one who evaluates gives: `value`, `old`, `elapsed`.
    Var(u8),
    One(fn(f64) -> f64),
    Two(fn(f64, f64) -> f64),
    Three(fn(f64, f64, f64) -> f64),
}

/// What an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Bool,
}

/// An expression that can be evaluated; true is 1.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub ops: Box<[Op]>,
    pub kind: Kind,
}

impl Default for Program {
    fn default() -> Self {
        Self { ops: Box::new([Op::Num(0.0)]), kind: Kind::Number }
    }
}

impl Program {
    /// The points it reads.
    pub fn points(&self) -> impl Iterator<Item = PointId> + '_ {
        self.ops.iter().filter_map(|op| if let Op::Point(id) = op { Some(*id) } else { None })
    }

    pub fn run(&self, time: f64, vars: &[f64], mut point: impl FnMut(PointId) -> f64) -> f64 {
        let mut stack = [0.0; DEPTH];
        // Values on the stack; the parser has counted that they fit.
        let mut n = 0;
        for op in &self.ops {
            let value = match *op {
                Op::Num(x) => x,
                Op::Point(id) => point(id),
                Op::Time => time,
                Op::Var(i) => vars.get(usize::from(i)).copied().unwrap_or(0.0),
                Op::One(f) => {
                    n -= 1;
                    f(stack[n])
                }
                Op::Two(f) => {
                    n -= 2;
                    f(stack[n], stack[n + 1])
                }
                Op::Three(f) => {
                    n -= 3;
                    f(stack[n], stack[n + 1], stack[n + 2])
                }
            };
            stack[n] = value;
            n += 1;
        }
        stack[0]
    }
}
