//! What an app says of its configuration: keys with types, ranges and defaults. The file itself is read, edited
//! and validated by `hilrig-host`; an app only ever sees the effective [`ConfigTree`].

use serde_json::{Map, Value};

/// Type and range of a scalar config value or action argument.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    /// One of a fixed list.
    Choice(Vec<String>),
    /// Any text without control characters; `pattern` is a regular expression anchored with `^` and `$`.
    Text {
        pattern: Option<&'static str>,
    },
}

impl ValueKind {
    pub fn choice<const N: usize>(allowed: [&str; N]) -> Self {
        Self::Choice(allowed.map(str::to_owned).to_vec())
    }

    pub fn text() -> Self {
        Self::Text { pattern: None }
    }

    /// The `constraint` a console understands: `int a..b` or an anchored pattern.
    pub fn constraint(&self) -> Option<String> {
        match self {
            Self::Int { min, max } => Some(format!("int {min}..{max}")),
            Self::Text { pattern } => pattern.map(str::to_owned),
            Self::Bool | Self::Float { .. } | Self::Choice(_) => None,
        }
    }

    /// The `valueType` of a config entry.
    pub fn value_type(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int { .. } => "int",
            Self::Float { .. } => "float",
            Self::Choice(_) | Self::Text { .. } => "string",
        }
    }
}

/// A check of one value beyond its type. The text says what is wrong, without the key's name.
pub type Check = fn(&Value) -> Result<(), String>;

/// One settable key. Dots in `key` are tables in the file: `serial.baudRate` is `baudRate` in `[serial]`.
#[derive(Debug, Clone)]
pub struct ConfigKey {
    pub key: &'static str,
    pub kind: ValueKind,
    /// Effective when the file does not have the key; of the type that `kind` says.
    pub default: Value,
    /// Unit in plain text (`ms`, `baud`), empty if none.
    pub unit: &'static str,
    /// One line for people; written as a comment by `hilrig init`.
    pub help: &'static str,
    pub settable: bool,
    /// A check beyond `kind`, for example the grammar of a port URL. The text says what is wrong.
    pub check: Option<Check>,
}

impl ConfigKey {
    pub fn new(key: &'static str, kind: ValueKind, default: impl Into<Value>, help: &'static str) -> Self {
        Self { key, kind, default: default.into(), unit: "", help, settable: true, check: None }
    }

    /// `profile`, known to every app: what the run may touch.
    pub fn profile() -> Self {
        Self::new(
            "profile",
            ValueKind::choice(["sim", "lab", "prod"]),
            "sim",
            "sim opens virtual ports only, lab and prod open any port",
        )
    }

    /// `transportMode`, known to every app: the kind of line.
    pub fn transport_mode() -> Self {
        Self::new(
            "transportMode",
            ValueKind::choice(["Com", "Tcp", "Ble"]),
            "Com",
            "the kind of line: Com, Tcp or Ble",
        )
    }

    #[must_use]
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    #[must_use]
    pub fn check(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// Coerces and checks one value for this key.
    ///
    /// # Errors
    /// What is wrong with the value, without the key's name.
    pub fn accept(&self, input: &Value) -> Result<Value, String> {
        let value = crate::coerce(&self.kind, input)?;
        if let Some(check) = self.check {
            check(&value)?;
        }
        Ok(value)
    }
}

/// What is wrong in a table of a section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SectionProblem {
    /// Where below the table, dotted, with indices from 0 for lists (`faults.0.effect`); `""` for the table itself.
    pub at: String,
    /// Without the key's name.
    pub message: String,
}

impl SectionProblem {
    pub fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: at.into(), message: message.into() }
    }
}

/// Judges one table of a section by its name and its content.
pub type SectionCheck = fn(&str, &Value) -> Result<(), SectionProblem>;

/// Any number of named tables of one shape: `[name.ANY]` in the file. Unlike a [`ConfigKey`] a table has lists and
/// tables in it, and its app alone knows their shape.
#[derive(Debug, Clone)]
pub struct ConfigSection {
    /// Of the tables around them: `link` for `[link.line]`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    pub check: SectionCheck,
    /// TOML; written as a comment by `hilrig init`.
    pub example: &'static str,
}

/// The effective configuration of an app: nested objects, defaults filled in, every value checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigTree(pub Map<String, Value>);

impl ConfigTree {
    /// The value at a dotted key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let mut here = self.0.get(parts.next()?)?;
        for part in parts {
            here = here.as_object()?.get(part)?;
        }
        Some(here)
    }

    /// Sets a dotted key, making tables on the way.
    pub fn set(&mut self, key: &str, value: Value) {
        let mut here = &mut self.0;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                here.insert(part.to_owned(), value);
                return;
            }
            let slot = here.entry(part).or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            let Value::Object(next) = slot else { return };
            here = next;
        }
    }

    /// The tables of a section by name.
    pub fn section(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        let tables = self.get(name).and_then(Value::as_object);
        tables.into_iter().flatten().map(|(name, table)| (name.as_str(), table))
    }

    /// Text at `key`, or `""`. Every key of an app's list is present, so absence is a misspelt key.
    pub fn text(&self, key: &str) -> &str {
        debug_assert!(self.get(key).is_some(), "no config key {key}");
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn int(&self, key: &str) -> i64 {
        debug_assert!(self.get(key).is_some(), "no config key {key}");
        self.get(key).and_then(Value::as_i64).unwrap_or_default()
    }

    pub fn bool(&self, key: &str) -> bool {
        debug_assert!(self.get(key).is_some(), "no config key {key}");
        self.get(key).and_then(Value::as_bool).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dotted_keys_are_tables() {
        let mut tree = ConfigTree::default();
        tree.set("serial.baudRate", json!(9600));
        tree.set("profile", json!("sim"));
        assert_eq!(tree.int("serial.baudRate"), 9600);
        assert_eq!(tree.text("profile"), "sim");
        assert_eq!(tree.get("serial.parity"), None);
        assert_eq!(Value::Object(tree.0), json!({"serial": {"baudRate": 9600}, "profile": "sim"}));
    }
}
