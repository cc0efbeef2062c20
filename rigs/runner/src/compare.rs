//! What a value is compared with, and the comparison. Knows nothing of where values come from.

use std::cmp::Ordering;
use std::fmt;

use hilrig_points::Value;

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Equals(Value),
    /// This, or so much more or less.
    Near(Value, f64),
    NotEquals(Value),
    In(Value, Value),
    AtLeast(Value),
    AtMost(Value),
}

impl Test {
    /// What is no number is never more, less or near.
    pub fn holds(&self, got: &Value) -> bool {
        let at_least = |low: &Value| order(got, low).is_some_and(Ordering::is_ge);
        let at_most = |high: &Value| order(got, high).is_some_and(Ordering::is_le);
        match self {
            Self::Equals(value) => equal(got, value),
            Self::NotEquals(value) => !equal(got, value),
            Self::Near(value, tolerance) => match (number(got), number(value)) {
                (Some(got), Some(value)) => {
                    // 0.4 is 0.3 with a tolerance of 0.1, though not to the last bit.
                    let rounding = 4.0 * f64::EPSILON * got.abs().max(value.abs());
                    (got - value).abs() <= tolerance + rounding
                }
                _ => false,
            },
            Self::In(low, high) => at_least(low) && at_most(high),
            Self::AtLeast(low) => at_least(low),
            Self::AtMost(high) => at_most(high),
        }
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(on) => Some((*on).into()),
        Value::Int(n) => Some((*n).into()),
        Value::Uint(n) => Some((*n).into()),
        Value::Float(_) | Value::Text(_) => None,
    }
}

pub(crate) fn number(value: &Value) -> Option<f64> {
    if matches!(value, Value::Text(_)) { None } else { value.number() }
}

/// Whole numbers to the last digit.
pub(crate) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a == b,
        _ => order(a, b) == Some(Ordering::Equal),
    }
}

/// A value as steps and results show it; text in quotes.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(value) => write!(f, "= {}", shown(value)),
            Self::Near(value, tolerance) => write!(f, "= {} \u{b1} {tolerance}", shown(value)),
            Self::NotEquals(value) => write!(f, "other than {}", shown(value)),
            Self::In(low, high) => write!(f, "in {}..{}", shown(low), shown(high)),
            Self::AtLeast(low) => write!(f, "at least {}", shown(low)),
            Self::AtMost(high) => write!(f, "at most {}", shown(high)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn values_of_all_kinds_are_compared() {
        use Value::{Bool, Float, Int, Uint};
        let near = |value, tolerance| Test::Near(value, tolerance);
        for (test, holds, fails) in [
            (Test::Equals(Int(5)), vec![Int(5), Uint(5), Float(5.0)], vec![Int(6), Float(5.5), text("5")]),
            (Test::Equals(Bool(true)), vec![Bool(true), Int(1)], vec![Bool(false), Int(2)]),
            (Test::Equals(text("run")), vec![text("run")], vec![text("runs"), Int(1)]),
            (Test::Equals(Uint(u64::MAX)), vec![Uint(u64::MAX)], vec![Uint(u64::MAX - 1), Int(-1)]),
            (Test::NotEquals(Float(0.5)), vec![Float(0.25), Float(f64::NAN)], vec![Float(0.5)]),
            (near(Float(0.3), 0.1), vec![Float(0.4), Float(0.2)], vec![Float(0.41), Float(f64::NAN)]),
            (Test::In(Float(0.5), Int(2)), vec![Float(0.5), Int(1), Int(2)], vec![Int(0), Float(2.1)]),
            (Test::AtLeast(Int(3)), vec![Int(3), Float(3.1)], vec![Int(2), text("4"), Float(f64::NAN)]),
            (Test::AtMost(Int(3)), vec![Int(3), Float(-1.0)], vec![Int(4)]),
        ] {
            for value in holds {
                assert!(test.holds(&value), "{value:?} is {test}");
            }
            for value in fails {
                assert!(!test.holds(&value), "{value:?} is not {test}");
            }
        }
    }

    #[test]
    fn a_comparison_reads_as_it_is_meant() {
        let shown = |test: Test| test.to_string();
        assert_eq!(shown(Test::Near(Value::Int(5), 0.25)), "= 5 \u{b1} 0.25");
        assert_eq!(shown(Test::Equals(text("a \"b\""))), "= \"a \\\"b\\\"\"");
        assert_eq!(shown(Test::In(Value::Float(0.5), Value::Int(2))), "in 0.5..2");
    }
}
