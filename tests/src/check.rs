//! The shape of what travels on the wire, field by field, as process-interface-v0 has it.

use serde_json::{Map, Value};

pub const BAD_ARG: &str = "E_BAD_ARG";
pub const UNSUPPORTED_METHOD: &str = "E_UNSUPPORTED_METHOD";
pub const UNSUPPORTED_APP: &str = "E_UNSUPPORTED_APP";
pub const NOT_FOUND: &str = "E_NOT_FOUND";
pub const ACTION_FAILED: &str = "E_ACTION_FAILED";
pub const ACTION_TIMEOUT: &str = "E_ACTION_TIMEOUT";
pub const CONFIG_INVALID: &str = "E_CONFIG_INVALID";
pub const CODES: [&str; 8] = [
    BAD_ARG,
    UNSUPPORTED_METHOD,
    UNSUPPORTED_APP,
    NOT_FOUND,
    ACTION_FAILED,
    ACTION_TIMEOUT,
    CONFIG_INVALID,
    "E_INTERNAL",
];

/// The four apps and their titles.
pub const APPS: [(&str, &str); 4] = [
    ("bridge", "Test Fixture Bridge"),
    ("40318", "40318"),
    ("plc-simulator", "COM Traffic Simulator (PLC)"),
    ("ble-simulator", "COM Traffic Simulator (BLE)"),
];

/// The response of a reply that has to be a success.
#[track_caller]
pub fn response(reply: &Value) -> &Map<String, Value> {
    envelope(reply);
    assert_eq!(reply["ok"], true, "{reply}");
    assert!(reply.get("error").is_none(), "a success with an error: {reply}");
    reply["response"].as_object().unwrap_or_else(|| panic!("response is no object: {reply}"))
}

/// The error of a reply that has to be a refusal with one of `codes`.
#[track_caller]
pub fn refusal<'a>(reply: &'a Value, codes: &[&str]) -> &'a Map<String, Value> {
    envelope(reply);
    assert_eq!(reply["ok"], false, "{reply}");
    assert!(reply.get("response").is_none(), "a refusal with a response: {reply}");
    let error = error_object(&reply["error"]);
    assert!(codes.contains(&error["code"].as_str().unwrap()), "expected {codes:?}: {reply}");
    error
}

/// A refusal with `E_BAD_ARG` that names `param`.
#[track_caller]
pub fn bad_param(reply: &Value, param: &str) {
    let error = refusal(reply, &[BAD_ARG]);
    assert_eq!(error["details"]["param"], param, "{reply}");
}

#[track_caller]
fn envelope(reply: &Value) {
    let keys = reply.as_object().unwrap_or_else(|| panic!("a reply that is no object: {reply}")).keys();
    let extra: Vec<_> = keys.filter(|k| !["id", "ok", "response", "error"].contains(&k.as_str())).collect();
    assert!(extra.is_empty(), "keys {extra:?} in {reply}");
}

/// An error object, of a reply or of a job.
#[track_caller]
pub fn error_object(error: &Value) -> &Map<String, Value> {
    let map = error.as_object().unwrap_or_else(|| panic!("error is no object: {error}"));
    let code = map.get("code").and_then(Value::as_str).unwrap_or_default();
    assert!(CODES.contains(&code), "{code:?} is no V0 code: {error}");
    let message = map.get("message").and_then(Value::as_str).unwrap_or_default();
    assert!(!message.trim().is_empty(), "no message: {error}");
    assert!(map.get("details").is_some_and(Value::is_object), "no details: {error}");
    map
}

/// `YYYY-MM-DDTHH:MM:SSZ`
#[track_caller]
pub fn timestamp(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no timestamp: {value}"));
    let form: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00Z", "{text}");
}

/// The record of a job that is over.
#[track_caller]
pub fn finished_record(record: &Map<String, Value>) {
    let all = Value::Object(record.clone());
    let state = record["state"].as_str().unwrap_or_default();
    assert!(["succeeded", "failed", "timeout", "canceled"].contains(&state), "not over: {all}");
    timestamp(&record["startedAt"]);
    timestamp(&record["finishedAt"]);
    assert!(record["result"].is_object(), "result: {all}");
    assert!(record["stdout"].is_string() && record["stderr"].is_string(), "output: {all}");
    assert_eq!(record["error"].is_null(), state == "succeeded", "error null iff succeeded: {all}");
    if state != "succeeded" {
        let error = error_object(&record["error"]);
        let last = record["stderr"].as_str().unwrap().lines().last();
        assert_eq!(last, error["message"].as_str(), "the reason is the last line of stderr: {all}");
    }
    match state {
        "timeout" => assert_eq!(record["error"]["code"], ACTION_TIMEOUT, "{all}"),
        "failed" => assert_ne!(record["error"]["code"], ACTION_TIMEOUT, "{all}"),
        _ => {}
    }
}
