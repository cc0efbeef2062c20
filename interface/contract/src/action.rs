//! Action and argument descriptors, and the typed arguments an action receives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ContractError, ValueKind, coerce};

/// Type of an argument on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArgType {
    String,
    Int,
    Float,
    Bool,
}

/// One argument of an action. At most the first may be required: consoles send one argument only.
///
/// There is never a key `cmd` here or in [`ActionDescriptor`]: known consoles run it on their own machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgDescriptor {
    pub name: String,
    pub label: String,
    #[serde(rename = "type")]
    pub arg_type: ArgType,
    pub required: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub options: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default: Option<Value>,
    /// Typed into the field by known consoles, so always a legal value: the default as text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub placeholder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<String>,
    #[serde(skip, default = "ValueKind::text")]
    #[schemars(skip)]
    pub kind: ValueKind,
}

impl ArgDescriptor {
    pub fn optional(name: &str, label: &str, kind: ValueKind) -> Self {
        let (arg_type, options, min, max) = match &kind {
            ValueKind::Bool => (ArgType::Bool, vec![], None, None),
            ValueKind::Int { min, max } => (ArgType::Int, vec![], Some(*min as f64), Some(*max as f64)),
            ValueKind::Float { min, max } => (ArgType::Float, vec![], Some(*min), Some(*max)),
            ValueKind::Choice(options) => (ArgType::String, options.clone(), None, None),
            ValueKind::Text { .. } => (ArgType::String, vec![], None, None),
        };
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            arg_type,
            required: false,
            options,
            default: None,
            placeholder: None,
            min,
            max,
            unit: None,
            kind,
        }
    }

    pub fn required(name: &str, label: &str, kind: ValueKind) -> Self {
        Self { required: true, ..Self::optional(name, label, kind) }
    }

    /// The value used when the argument is absent; also its placeholder.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.placeholder = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        self.default = Some(value);
        self
    }

    #[must_use]
    pub fn unit(mut self, unit: &str) -> Self {
        self.unit = Some(unit.to_owned());
        self
    }
}

/// One action of `action.list`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionDescriptor {
    pub name: String,
    pub label: String,
    pub args: Vec<ArgDescriptor>,
    /// One line of help.
    #[serde(default)]
    pub help: String,
    /// Seconds after which the action is stopped, unless the request's `timeoutSeconds` says otherwise.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: f64,
    /// Two exclusive actions of one app never run at once: the second fails with `busy: <jobId>`.
    #[serde(default)]
    pub exclusive: bool,
    /// Cancels the exclusive action that is under way and takes its place, instead of failing as busy.
    #[serde(default)]
    pub preempts: bool,
    /// Changes nothing.
    #[serde(default)]
    pub read_only: bool,
}

fn default_timeout() -> f64 {
    30.0
}

impl ActionDescriptor {
    pub fn new(name: &str, label: &str, help: &str) -> Self {
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            args: vec![],
            help: help.to_owned(),
            timeout_seconds: default_timeout(),
            exclusive: false,
            preempts: false,
            read_only: false,
        }
    }

    /// `run_start` and `run_stop`, which every app has: the job ends when the run is up, or down.
    pub fn run_pair() -> [Self; 2] {
        [
            Self::new("run_start", "Start", "Start the run as configured; the job ends when it is up.")
                .exclusive(),
            Self::new("run_stop", "Stop", "Stop the run; the job ends when it is down.").preempts(),
        ]
    }

    #[must_use]
    pub fn arg(mut self, arg: ArgDescriptor) -> Self {
        debug_assert!(!arg.required || self.args.is_empty(), "only the first argument may be required");
        self.args.push(arg);
        self
    }

    #[must_use]
    pub fn timeout(mut self, seconds: f64) -> Self {
        self.timeout_seconds = seconds;
        self
    }

    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    #[must_use]
    pub fn preempts(mut self) -> Self {
        self.exclusive = true;
        self.preempts = true;
        self
    }

    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Types the arguments of a request: strings are coerced, an empty string for an optional argument means
    /// absent, defaults are filled in.
    ///
    /// # Errors
    /// `E_BAD_ARG` with `details.param` for an unknown, missing or ill-typed argument.
    pub fn accept(&self, given: &Map<String, Value>) -> Result<Args, ContractError> {
        if let Some(name) = given.keys().find(|k| !self.args.iter().any(|a| a.name == **k)) {
            let known: Vec<&str> = self.args.iter().map(|a| a.name.as_str()).collect();
            let known = if known.is_empty() { "it takes none".to_owned() } else { known.join(", ") };
            return Err(ContractError::bad_param(
                name,
                format!("{} has no argument {name:?} (arguments: {known})", self.name),
            ));
        }
        let mut typed = Map::new();
        let mut missing = None;
        for arg in &self.args {
            let value = given.get(&arg.name).filter(|v| !v.is_null() && v.as_str() != Some(""));
            match (value, &arg.default) {
                (Some(value), _) => {
                    let value = coerce(&arg.kind, value).map_err(|why| {
                        ContractError::bad_param(&arg.name, format!("argument {}: {why}", arg.name))
                    })?;
                    typed.insert(arg.name.clone(), value);
                }
                (None, Some(default)) => {
                    typed.insert(arg.name.clone(), default.clone());
                }
                (None, None) if arg.required => missing = Some(&arg.name),
                (None, None) => {}
            }
        }
        // Told last: what is wrong with an argument that was given is nearer to who gave it.
        match missing {
            Some(name) => {
                Err(ContractError::bad_param(name, format!("{} needs the argument {name}", self.name)))
            }
            None => Ok(Args(typed)),
        }
    }
}

/// Typed arguments: checked against the descriptor, defaults filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Args(pub Map<String, Value>);

impl Args {
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    pub fn float(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn soak() -> ActionDescriptor {
        ActionDescriptor::new("soak", "Soak", "")
            .arg(
                ArgDescriptor::optional(
                    "durationSeconds",
                    "Duration",
                    ValueKind::Float { min: 0.1, max: 86400.0 },
                )
                .default(10.0)
                .unit("s"),
            )
            .arg(ArgDescriptor::optional("link", "Link", ValueKind::text()))
    }

    fn accept(args: Value) -> Result<Args, ContractError> {
        soak().accept(args.as_object().unwrap())
    }

    #[test]
    fn empty_string_is_absent_and_numbers_may_be_strings() {
        assert_eq!(
            accept(json!({"durationSeconds": "", "link": ""})).unwrap().float("durationSeconds"),
            Some(10.0)
        );
        assert_eq!(accept(json!({"durationSeconds": "5.0"})).unwrap().float("durationSeconds"), Some(5.0));
        assert_eq!(accept(json!({})).unwrap().text("link"), None);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (args, param) in [
            (json!({"durationSeconds": "soon"}), "durationSeconds"),
            (json!({"durationSeconds": 0}), "durationSeconds"),
            (json!({"duration": 1}), "duration"),
        ] {
            let error = accept(args).unwrap_err();
            assert_eq!(error.code, crate::ErrorCode::BadArg);
            assert_eq!(error.details["param"], param);
        }
    }

    #[test]
    fn placeholder_is_a_legal_value() {
        let list = serde_json::to_value(soak()).unwrap();
        assert_eq!(list["args"][0]["placeholder"], "10.0");
        assert_eq!(list["args"][0]["type"], "float");
        assert!(list.get("cmd").is_none());
    }
}
