//! A value of a point, as people write and read it. Knows no register.

use std::fmt;

use hilrig_files::{by_look, fixed_schema};
use serde::de::Error;
use serde::ser::{Serialize, Serializer};

/// A value in the unit of measure of its point.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
}

impl Value {
    /// As a number; true is 1. `None` for text that is no number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(on) => Some(f64::from(u8::from(*on))),
            Self::Int(n) => Some(*n as f64),
            Self::Uint(n) => Some(*n as f64),
            Self::Float(x) => Some(*x),
            Self::Text(text) => Self::parse(text).number_of_plain(),
        }
    }

    fn number_of_plain(&self) -> Option<f64> {
        if matches!(self, Self::Text(_)) { None } else { self.number() }
    }

    /// Reads what a command line says: `true`, `7`, `-2.5`, anything else is text.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        match text {
            "true" | "on" => return Self::Bool(true),
            "false" | "off" => return Self::Bool(false),
            _ => {}
        }
        // Rust reads "nan" and "infinity" in any case as numbers; here only as `Display` writes them.
        let wordy = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '+')
            || text.get(1..2).is_some_and(|c| c.starts_with(|c: char| c.is_ascii_alphabetic()) && c != "e");
        if let Ok(n) = text.parse() {
            Self::Int(n)
        } else if let Ok(n) = text.parse() {
            Self::Uint(n)
        } else if let Some(x) = text.parse().ok().filter(|_| !wordy || matches!(text, "NaN" | "inf" | "-inf"))
        {
            Self::Float(x)
        } else {
            Self::Text(text.to_owned())
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(on) => on.fmt(f),
            Self::Int(n) => n.fmt(f),
            Self::Uint(n) => n.fmt(f),
            Self::Float(x) => x.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// As a number, boolean or string; numbers that JSON has no words for are strings.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(on) => s.serialize_bool(*on),
            Self::Int(n) => s.serialize_i64(*n),
            Self::Uint(n) => s.serialize_u64(*n),
            Self::Float(x) if x.is_finite() => s.serialize_f64(*x),
            Self::Float(x) => s.collect_str(x),
            Self::Text(text) => s.serialize_str(text),
        }
    }
}

by_look!(Value, "a number, true, false or text", {
    fn visit_bool<E: Error>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }
    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Int(n))
    }
    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        Ok(i64::try_from(n).map_or(Value::Uint(n), Value::Int))
    }
    fn visit_f64<E: Error>(self, x: f64) -> Result<Value, E> {
        Ok(Value::Float(x))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
});

fixed_schema!(Value: {"type": ["number", "boolean", "string"]});
