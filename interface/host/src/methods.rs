//! The method table: names, parameters, and the check of a request's parameters against them. Carries nothing out.

use hilrig_contract::{ContractError, ErrorCode, ValueKind, coerce};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// Type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// Text that is not empty.
    String,
    /// A scalar.
    Any,
    Object,
    /// A number, or text that is one.
    Number,
    Integer,
    /// A list of text.
    Strings,
}

/// One parameter of a method.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Param {
    pub name: &'static str,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub required: bool,
    pub help: &'static str,
}

/// One method.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Method {
    pub name: &'static str,
    pub help: &'static str,
    /// Checked in this order.
    pub params: &'static [Param],
    /// Key in `schemas` of what it answers.
    pub response: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<&'static str>,
}

const fn need(name: &'static str, kind: Kind, help: &'static str) -> Param {
    Param { name, kind, required: true, help }
}

const fn may(name: &'static str, kind: Kind, help: &'static str) -> Param {
    Param { name, kind, required: false, help }
}

const fn method(
    name: &'static str,
    response: &'static str,
    help: &'static str,
    params: &'static [Param],
) -> Method {
    Method { name, help, params, response, alias: None }
}

const fn alias(alias: &'static str, method: Method) -> Method {
    Method { alias: Some(alias), ..method }
}

const APP: Param = need("appId", Kind::String, "the app, as app.list names it");
const JOB: Param = need("jobId", Kind::String, "the job, as action.invoke answered it");
const TOPICS: &str = "status.changed, job.changed, log, metrics, point.changed, fault.fired, frame, line.error, timing; \
                      others are left out";
const INVOKE: &[Param] = &[
    APP,
    need("actionName", Kind::String, "the action, as action.list names it"),
    may("args", Kind::Object, "the action's arguments by name"),
    may("timeoutSeconds", Kind::Number, "stop the action after this time, instead of its own timeout"),
];

/// Longest `timeoutSeconds`.
const MAX_TIMEOUT: f64 = 31.0 * 86_400.0;
/// Most lines of one `log.tail`.
pub(crate) const MAX_TAIL: usize = 1000;

pub(crate) static METHODS: &[Method] = &[
    method("ping", "Ping", "Tell that the server lives.", &[]),
    alias("status", method("status.get", "Status", "The state of an app.", &[APP])),
    alias("config.show", method("config.get", "ConfigView", "The configuration of an app.", &[APP])),
    method(
        "config.set",
        "ConfigSet",
        "Change one key in an app's config file; a running app takes it at its next start.",
        &[
            APP,
            need("key", Kind::String, "a key of config.get"),
            need("value", Kind::Any, "the value; text is converted to the key's type"),
            may("expectedRevision", Kind::String, "refuse if the file has another revision by now"),
        ],
    ),
    alias("actions.list", method("action.list", "ActionList", "What an app can do.", &[APP])),
    method("action.invoke", "Invoked", "Start an action; answers with its job at once.", INVOKE),
    method("action.job.get", "JobRecord", "The record of a job.", &[APP, JOB]),
    method(
        "action.job.list",
        "JobList",
        "The jobs, newest first, without their output.",
        &[may("appId", Kind::String, "only this app")],
    ),
    method("action.job.cancel", "JobRecord", "Ask a job to end.", &[APP, JOB]),
    method("action.run", "JobRecord", "Start an action and answer when its job is over.", INVOKE),
    method(
        "events.subscribe",
        "Subscribed",
        "Push events on this connection, until it is closed.",
        &[need("topics", Kind::Strings, TOPICS), may("appId", Kind::String, "only of this app")],
    ),
    method(
        "events.unsubscribe",
        "Unsubscribed",
        "Push these events no longer.",
        &[
            may("topics", Kind::Strings, "all, if left out"),
            may("appId", Kind::String, "only what was subscribed for this app"),
        ],
    ),
    method("app.list", "AppList", "The apps.", &[]),
    method(
        "log.tail",
        "LogTail",
        "The end of an app's log, or what came after a cursor.",
        &[
            APP,
            may("lines", Kind::Integer, "at most this many lines, 1..1000; 100 if left out"),
            may("cursor", Kind::String, "the cursor of an earlier answer: read on from there"),
        ],
    ),
    method("interface.describe", "Description", "Methods, topics, limits and schemas of this server.", &[]),
];

/// Finds a method by its name or its legacy alias.
pub(crate) fn find(name: &str) -> Result<&'static Method, ContractError> {
    METHODS.iter().find(|m| m.name == name || m.alias == Some(name)).ok_or_else(|| {
        let shown: String = name.chars().take(100).collect();
        ContractError::new(ErrorCode::UnsupportedMethod, format!("no method {shown:?}")).with("method", shown)
    })
}

/// The parameters of a request, checked against its method.
#[derive(Debug)]
pub(crate) struct Params(Map<String, Value>);

impl Params {
    /// A required parameter of the wrong type counts as missing. An optional one may also be `null` or `""`, which
    /// means absent.
    pub fn check(method: &Method, given: Map<String, Value>) -> Result<Self, ContractError> {
        for param in method.params {
            let name = param.name;
            let value = given.get(name);
            if !param.required
                && value.is_none_or(|v| v.is_null() || (v.as_str() == Some("") && param.kind != Kind::Any))
            {
                continue;
            }
            match value.map(|v| param.kind.check(v)) {
                Some(Ok(())) => {}
                Some(Err(expected)) if !param.required => {
                    return Err(ContractError::bad_param(name, format!("params.{name} must be {expected}")));
                }
                _ => {
                    return Err(ContractError::bad_param(
                        name,
                        format!("missing required key: params.{name}"),
                    ));
                }
            }
        }
        Ok(Self(given))
    }

    /// A text parameter; `""` counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str).filter(|s| !s.is_empty())
    }

    /// A required text parameter.
    pub fn need(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    pub fn value(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    pub fn take_object(&mut self, name: &str) -> Map<String, Value> {
        match self.0.remove(name) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }

    pub fn strings(&self, name: &str) -> Option<Vec<&str>> {
        Some(self.0.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }

    pub fn timeout_seconds(&self) -> Result<Option<f64>, ContractError> {
        let name = "timeoutSeconds";
        let value = self.coerced(name, &ValueKind::Float { min: 0.0, max: MAX_TIMEOUT })?;
        match value.and_then(|v| v.as_f64()) {
            Some(seconds) if seconds <= 0.0 => {
                Err(ContractError::bad_param(name, format!("params.{name} must be more than 0")))
            }
            seconds => Ok(seconds),
        }
    }

    pub fn tail_lines(&self) -> Result<usize, ContractError> {
        let lines = self.coerced("lines", &ValueKind::Int { min: 1, max: MAX_TAIL as i64 })?;
        Ok(lines.and_then(|v| v.as_u64()).map_or(100, |n| n as usize))
    }

    fn coerced(&self, name: &str, kind: &ValueKind) -> Result<Option<Value>, ContractError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) if s.is_empty() => Ok(None),
            Some(value) => coerce(kind, value)
                .map(Some)
                .map_err(|why| ContractError::bad_param(name, format!("params.{name}: {why}"))),
        }
    }
}

impl Kind {
    /// Says what was expected. The range of a number is checked where it is used.
    fn check(self, value: &Value) -> Result<(), &'static str> {
        match (self, value) {
            (Self::String, Value::String(s)) if !s.is_empty() => Ok(()),
            (Self::String, _) => Err("text"),
            (Self::Object, Value::Object(_)) | (Self::Any, _) => Ok(()),
            (Self::Object, _) => Err("an object"),
            (Self::Number | Self::Integer, Value::Number(_) | Value::String(_)) => Ok(()),
            (Self::Number | Self::Integer, _) => Err("a number"),
            (Self::Strings, Value::Array(list)) if list.iter().all(Value::is_string) => Ok(()),
            (Self::Strings, _) => Err("a list of text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(method: &str, params: Value) -> Result<Params, ContractError> {
        Params::check(find(method).unwrap(), params.as_object().unwrap().clone())
    }

    #[test]
    fn missing_and_ill_typed_params_are_named_in_table_order() {
        for (params, param) in [
            (json!({}), "appId"),
            (json!({"appId": "", "key": "k"}), "appId"),
            (json!({"appId": 5}), "appId"),
            (json!({"appId": "a"}), "key"),
            (json!({"appId": "a", "key": 5}), "key"),
            (json!({"appId": "a", "key": "k"}), "value"),
            (json!({"appId": "a", "key": "k", "value": null, "expectedRevision": 7}), "expectedRevision"),
        ] {
            let error = check("config.set", params).unwrap_err();
            assert_eq!((error.code, &error.details["param"]), (ErrorCode::BadArg, &json!(param)));
        }
        assert_eq!(check("status.get", json!({})).unwrap_err().message, "missing required key: params.appId");
    }

    #[test]
    fn optional_params_may_be_null_or_empty() {
        let p =
            check("action.invoke", json!({"appId": "a", "actionName": "x", "timeoutSeconds": ""})).unwrap();
        assert_eq!(p.timeout_seconds().unwrap(), None);
        let p = check("action.invoke", json!({"appId": "a", "actionName": "x", "timeoutSeconds": "0.5"}));
        assert_eq!(p.unwrap().timeout_seconds().unwrap(), Some(0.5));
        for bad in [json!(0), json!(-1), json!("soon"), json!(true), json!([]), json!(1e300)] {
            let params = json!({"appId": "a", "actionName": "x", "timeoutSeconds": bad});
            let error = check("action.invoke", params).and_then(|p| p.timeout_seconds()).unwrap_err();
            assert_eq!(error.details["param"], "timeoutSeconds");
        }
    }

    #[test]
    fn names_and_aliases_are_unique() {
        let mut names: Vec<_> = METHODS.iter().flat_map(|m| [Some(m.name), m.alias]).flatten().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(find("actions.list").unwrap().name, "action.list");
        assert_eq!(find("Ping").unwrap_err().details["method"], "Ping");
    }
}
