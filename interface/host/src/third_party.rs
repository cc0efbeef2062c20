//! What a third-party app may answer: turns its JSON into the contract's types, filling in what V0 leaves out. Trusts
//! neither shape nor size, and asks nothing.

use std::collections::HashSet;

use hilrig_contract::{
    ActionDescriptor, ArgDescriptor, ArgType, ConfigEntry, ConfigPath, ConfigSet, ConfigView, ContractError,
    ErrorCode, INTERFACE_NAME, INTERFACE_VERSION, JobRecord, JobState, Status, ValueKind,
};
use serde_json::{Map, Value};

/// Most rows of a list taken.
const MAX_ROWS: usize = 1000;
/// Most bytes of one short text taken.
const MAX_TEXT: usize = 4096;

/// Seconds that an action may take if neither the request nor the app says: a day, since it may be a soak.
pub(crate) const DEFAULT_LIMIT: f64 = 86_400.0;

/// An answer that cannot be used: what is wrong with it.
pub(crate) type Taken<T> = Result<T, String>;

/// The members of one answer.
struct Answer(Map<String, Value>);

impl Answer {
    fn of(value: Value) -> Taken<Self> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            _ => Err("the response is no object".to_owned()),
        }
    }

    fn need<T>(&mut self, key: &str, what: &str, take: impl FnOnce(Value) -> Option<T>) -> Taken<T> {
        match self.0.remove(key) {
            None => Err(format!("`{key}` is missing")),
            Some(value) => take(value).ok_or_else(|| format!("`{key}` is not {what}")),
        }
    }

    fn text(&mut self, key: &str) -> Taken<String> {
        self.need(key, "text", text)
    }

    fn flag(&mut self, key: &str) -> Taken<bool> {
        self.need(key, "true or false", |v| v.as_bool())
    }

    fn pid(&mut self, key: &str) -> Taken<Option<u32>> {
        self.need(key, "a process id or null", |v| match v {
            Value::Null => Some(None),
            v => v.as_u64().and_then(|n| u32::try_from(n).ok()).map(Some),
        })
    }

    fn list(&mut self, key: &str) -> Taken<Vec<Value>> {
        self.need(key, "a list", |v| match v {
            Value::Array(mut list) => {
                list.truncate(MAX_ROWS);
                Some(list)
            }
            // Known programs say `{}` for an empty list.
            Value::Object(map) if map.is_empty() => Some(vec![]),
            _ => None,
        })
    }

    /// All of it: the job keeps what there is room for.
    fn output(&mut self, key: &str) -> String {
        match self.0.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        }
    }

    fn optional_text(&mut self, key: &str) -> Option<String> {
        self.0.remove(key).and_then(text)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(mut text) => {
            cut(&mut text, MAX_TEXT);
            Some(text)
        }
        _ => None,
    }
}

/// Shortens `text` to at most `limit` bytes, at a character.
fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

fn scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

/// The response of `status.get`. Who the app is and which process hosts it is not for the app to say.
pub(crate) fn status(app_id: &str, title: &str, host_pid: u32, answer: Value) -> Taken<Status> {
    let mut answer = Answer::of(answer)?;
    let running = answer.flag("running")?;
    let pid = answer.pid("pid")?;
    let boot_id = answer.text("bootId")?;
    let error = answer.text("error")?;
    if running && (pid.is_none() || boot_id.is_empty()) {
        return Err("a running app has a `pid` and a `bootId`".to_owned());
    }
    for own in ["interfaceName", "interfaceVersion", "appId", "appTitle", "hostRunning", "hostPid"] {
        answer.0.remove(own);
    }
    Ok(Status {
        interface_name: INTERFACE_NAME.to_owned(),
        interface_version: INTERFACE_VERSION,
        app_id: app_id.to_owned(),
        app_title: title.to_owned(),
        running,
        pid: pid.filter(|_| running),
        host_running: true,
        host_pid: Some(host_pid),
        boot_id: if running { boot_id } else { String::new() },
        error,
        more: answer.0,
    })
}

/// The response of `config.get`.
pub(crate) fn config_view(answer: Value) -> Taken<ConfigView> {
    let mut answer = Answer::of(answer)?;
    let paths = match answer.0.remove("paths") {
        Some(Value::Array(rows)) => {
            rows.into_iter().take(MAX_ROWS).map(config_path).collect::<Taken<Vec<_>>>()?
        }
        // The older form: an object of key and path.
        Some(Value::Object(map)) => map
            .into_iter()
            .take(MAX_ROWS)
            .map(|(key, value)| ConfigPath { key, value: text(value).unwrap_or_default() })
            .collect(),
        _ => return Err("`paths` is not a list".to_owned()),
    };
    let file_key = paths.first().map_or_else(String::new, |path| path.key.clone());
    let mut keys: HashSet<String> = paths.iter().map(|path| path.key.clone()).collect();
    let mut entries = vec![];
    for row in answer.list("entries")? {
        let entry = config_entry(row, &file_key)?;
        if !keys.insert(entry.key.clone()) {
            return Err(format!("the key {:?} is in `entries` or `paths` twice", entry.key));
        }
        entries.push(entry);
    }
    Ok(ConfigView {
        repo_root: answer.text("repoRoot")?,
        valid: answer.flag("valid")?,
        errors: answer.list("errors")?.into_iter().filter_map(text).collect(),
        entries,
        paths,
        config_tree: answer.need("configTree", "an object", |v| match v {
            Value::Object(map) => Some(map),
            _ => None,
        })?,
        revision: answer.optional_text("revision").unwrap_or_default(),
    })
}

fn config_path(row: Value) -> Taken<ConfigPath> {
    let mut row = Answer::of(row).map_err(|_| "a row of `paths` is no object".to_owned())?;
    let value = row.0.remove("value").or_else(|| row.0.remove("path")).and_then(text).unwrap_or_default();
    Ok(ConfigPath { key: row.text("key")?, value })
}

fn config_entry(row: Value, file_key: &str) -> Taken<ConfigEntry> {
    let mut row = Answer::of(row).map_err(|_| "a row of `entries` is no object".to_owned())?;
    let key = row.text("key")?;
    let value = row.need("value", "a scalar", |v| Some(v).filter(scalar))?;
    let inferred = match &value {
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() || n.is_u64() => "int",
        Value::Number(_) => "float",
        _ => "string",
    };
    let known = |t: &String| ["bool", "int", "float", "string"].contains(&t.as_str());
    let allowed = row.0.remove("allowed").or_else(|| row.0.remove("allowedValues"));
    let allowed = allowed.and_then(|a| a.as_array().cloned()).unwrap_or_default();
    Ok(ConfigEntry {
        key,
        settable: row.0.get("settable").and_then(Value::as_bool).unwrap_or(false),
        allowed: allowed.into_iter().take(MAX_ROWS).filter_map(text).collect(),
        value_type: row.optional_text("valueType").filter(known).unwrap_or_else(|| inferred.to_owned()),
        constraint: row.optional_text("constraint"),
        file_key: row.optional_text("fileKey").unwrap_or_else(|| file_key.to_owned()),
        unit: row.optional_text("unit"),
        help: row.optional_text("help"),
        default: row.0.remove("default").filter(scalar).unwrap_or_default(),
        source: row.optional_text("source").unwrap_or_else(|| "file".to_owned()),
        value,
    })
}

/// The response of `config.set`.
pub(crate) fn config_set(answer: Value) -> Taken<ConfigSet> {
    let mut answer = Answer::of(answer)?;
    Ok(ConfigSet {
        changed: answer.flag("changed")?,
        file_path: answer.text("filePath")?,
        restart_required: answer.flag("restartRequired")?,
        pid_at_set: answer.pid("pidAtSet")?,
        message: answer.text("message")?,
        revision: answer.optional_text("revision").unwrap_or_default(),
    })
}

/// The response of `action.list`. Keys that the contract does not know, `cmd` above all, stay behind.
pub(crate) fn actions(answer: Value) -> Taken<Vec<ActionDescriptor>> {
    let mut names = HashSet::new();
    Answer::of(answer)?
        .list("actions")?
        .into_iter()
        .map(|row| {
            let mut row = Answer::of(row).map_err(|_| "a row of `actions` is no object".to_owned())?;
            let name = row.text("name")?;
            if name.is_empty() || !names.insert(name.clone()) {
                return Err(format!("the action name {name:?} is empty or there twice"));
            }
            let label = row.optional_text("label").unwrap_or_else(|| name.clone());
            let mut action =
                ActionDescriptor::new(&name, &label, &row.optional_text("help").unwrap_or_default());
            let stated = row.0.get("timeoutSeconds").and_then(Value::as_f64);
            action.timeout_seconds = stated.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(DEFAULT_LIMIT);
            let flag = |key| row.0.get(key).and_then(Value::as_bool).unwrap_or(false);
            action.exclusive = flag("exclusive");
            action.preempts = flag("preempts");
            action.read_only = flag("readOnly");
            if row.0.contains_key("args") {
                action.args = row.list("args")?.into_iter().map(argument).collect::<Taken<Vec<_>>>()?;
            }
            Ok(action)
        })
        .collect()
}

fn argument(row: Value) -> Taken<ArgDescriptor> {
    let mut row = Answer::of(row).map_err(|_| "a row of `args` is no object".to_owned())?;
    let name = row.text("name")?;
    let options = row.0.remove("options").and_then(|o| o.as_array().cloned()).unwrap_or_default();
    let number = |value: Option<&Value>| value.and_then(Value::as_f64);
    Ok(ArgDescriptor {
        label: row.optional_text("label").unwrap_or_else(|| name.clone()),
        arg_type: match row.optional_text("type").as_deref() {
            Some("int") => ArgType::Int,
            Some("float") => ArgType::Float,
            Some("bool") => ArgType::Bool,
            _ => ArgType::String,
        },
        required: row.0.get("required").and_then(Value::as_bool).unwrap_or(false),
        options: options.into_iter().take(MAX_ROWS).filter_map(text).collect(),
        default: row.0.remove("default").filter(|v| scalar(v) && !v.is_null()),
        placeholder: row.optional_text("placeholder"),
        min: number(row.0.get("min")),
        max: number(row.0.get("max")),
        unit: row.optional_text("unit"),
        kind: ValueKind::text(),
        name,
    })
}

/// The response of `action.invoke`: the app's own id of the job.
pub(crate) fn job_id(answer: Value) -> Taken<String> {
    Answer::of(answer)?
        .need("jobId", "a text of 1 to 256 bytes", |v| text(v).filter(|id| (1..=256).contains(&id.len())))
}

/// The response of `action.job.get`, under our own id of the job.
pub(crate) fn job(
    id: &str,
    app_id: &str,
    action: &str,
    accepted_at: &str,
    answer: Value,
) -> Taken<JobRecord> {
    let mut answer = Answer::of(answer)?;
    let state = answer.text("state")?;
    let state: JobState = serde_json::from_value(Value::String(state))
        .map_err(|_| "`state` is none of the contract".to_owned())?;
    let mut record = JobRecord {
        job_id: id.to_owned(),
        app_id: app_id.to_owned(),
        action_name: action.to_owned(),
        state,
        accepted_at: accepted_at.to_owned(),
        started_at: time(answer.0.remove("startedAt")),
        finished_at: time(answer.0.remove("finishedAt")),
        result: match answer.0.remove("result") {
            Some(Value::Object(result)) => result,
            _ => Map::new(),
        },
        stdout: answer.output("stdout"),
        stderr: answer.output("stderr"),
        error: None,
        duration_ms: answer.0.get("durationMs").and_then(Value::as_u64).unwrap_or(0),
    };
    if state.is_terminal() {
        let now = hilrig_contract::timestamp();
        let finished = record.finished_at.take().unwrap_or(now);
        record.started_at.get_or_insert_with(|| finished.clone());
        record.finished_at = Some(finished);
    }
    if state.is_terminal() && state != JobState::Succeeded {
        let error = error(state, answer.0.remove("error"), &record.stderr);
        // Consoles show the end of `stderr`, never `error`.
        if record.stderr.lines().last() != Some(error.message.as_str()) {
            if !record.stderr.is_empty() && !record.stderr.ends_with('\n') {
                record.stderr.push('\n');
            }
            record.stderr.push_str(&error.message);
            record.stderr.push('\n');
        }
        record.error = Some(error);
    }
    Ok(record)
}

/// Why a job did not succeed, in a code of the contract whatever the app says.
fn error(state: JobState, given: Option<Value>, stderr: &str) -> ContractError {
    let code = if state == JobState::Timeout { ErrorCode::ActionTimeout } else { ErrorCode::ActionFailed };
    let own = given.as_ref().and_then(|e| e.get("message")).and_then(Value::as_str);
    let said = own.or_else(|| stderr.lines().map(str::trim).rfind(|line| !line.is_empty()));
    let mut message = said.map_or_else(|| state.as_str().to_owned(), |m| m.replace(['\n', '\r'], " "));
    cut(&mut message, MAX_TEXT);
    let mut error = ContractError::new(code, message);
    if let Some(Value::Object(mut given)) = given {
        if let Some(Value::Object(details)) = given.remove("details") {
            error.details = details;
        }
        if let Some(code) = given.remove("code").and_then(text) {
            error.details.entry("code").or_insert(code.into());
        }
    }
    error
}

/// A timestamp of the contract, or nothing.
fn time(value: Option<Value>) -> Option<String> {
    value.and_then(text).filter(|t| {
        t.len() == 20
            && t.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                10 => byte == b'T',
                13 | 16 => byte == b':',
                19 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_v0_status_is_taken_and_corrected() {
        let answer = json!({"interfaceName": "x", "appId": "other", "running": false, "pid": 7, "bootId": "old",
            "error": "", "hostPid": 1, "healthState": "ok"});
        let status = status("counter", "Counter", 42, answer).unwrap();
        assert_eq!((status.app_id.as_str(), status.pid, status.host_pid), ("counter", None, Some(42)));
        assert_eq!((status.boot_id.as_str(), &status.more["healthState"]), ("", &json!("ok")));
        let wire = serde_json::to_string(&status).unwrap();
        assert_eq!(wire.matches("\"appId\"").count(), 1);
    }

    #[test]
    fn a_status_without_its_keys_is_not_taken() {
        for wrong in [
            json!([]),
            json!({}),
            json!({"running": "no", "pid": null, "bootId": "", "error": ""}),
            json!({"running": true, "pid": null, "bootId": "", "error": ""}),
            json!({"running": true, "pid": -4, "bootId": "x", "error": ""}),
        ] {
            assert!(status("a", "A", 1, wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bare_v0_config_is_filled_in() {
        let view = config_view(json!({"repoRoot": "/x", "valid": true, "errors": [], "configTree": {},
            "entries": [{"key": "baud", "value": 9600, "settable": true}, {"key": "on", "value": true}],
            "paths": [{"key": "configPath", "value": "/x/c.toml"}]}))
        .unwrap();
        assert_eq!(
            (view.entries[0].value_type.as_str(), view.entries[0].file_key.as_str()),
            ("int", "configPath")
        );
        assert_eq!((view.entries[1].value_type.as_str(), view.entries[1].settable), ("bool", false));
        let empty =
            config_view(json!({"repoRoot": "", "valid": true, "errors": [], "configTree": {}, "entries": {},
            "paths": {}}));
        assert!(empty.unwrap().entries.is_empty());
        let twice = json!({"repoRoot": "", "valid": true, "errors": [], "configTree": {}, "paths": [],
            "entries": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]});
        assert!(config_view(twice).unwrap_err().contains("twice"));
        let nested = json!({"repoRoot": "", "valid": true, "errors": [], "configTree": {}, "paths": [],
            "entries": [{"key": "a", "value": {}}]});
        assert!(config_view(nested).unwrap_err().contains("scalar"));
    }

    #[test]
    fn an_action_never_carries_a_command() {
        let actions = actions(
            json!({"actions": [{"name": "go", "cmd": ["rm"], "args": [{"name": "n", "type": "int"}]}]}),
        );
        let actions = actions.unwrap();
        let wire = serde_json::to_value(&actions).unwrap();
        assert!(!wire.to_string().contains("cmd") && wire[0]["label"] == "go", "{wire}");
        assert_eq!(wire[0]["args"][0]["type"], "int");
        assert!(super::actions(json!({"actions": [{"name": "a"}, {"name": "a"}]})).is_err());
    }

    #[test]
    fn job_records_are_made_consistent() {
        let take = |answer| job("job-1", "a", "go", "", answer);
        let failed =
            take(json!({"state": "failed", "stderr": "no such port\n", "error": {"code": "weird"}})).unwrap();
        let error = failed.error.unwrap();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::ActionFailed, "no such port"));
        assert_eq!((failed.stderr.as_str(), &error.details["code"]), ("no such port\n", &json!("weird")));
        assert!(failed.started_at.is_some() && failed.finished_at.is_some());
        let silent = take(json!({"state": "timeout", "stderr": "", "error": null})).unwrap();
        assert_eq!(
            (silent.error.unwrap().code, silent.stderr.as_str()),
            (ErrorCode::ActionTimeout, "timeout\n")
        );
        let fine =
            take(json!({"state": "succeeded", "error": {"message": "x"}, "result": 5, "startedAt": "now"}));
        assert!(fine.unwrap().error.is_none());
        for wrong in [json!({}), json!({"state": "cancelled"}), json!({"state": 3})] {
            assert!(take(wrong).is_err());
        }
    }

    /// Any JSON, with the contract's own keys in it more often than not.
    fn any_json() -> impl Strategy<Value = Value> {
        const KEYS: [&str; 24] = [
            "running",
            "pid",
            "bootId",
            "error",
            "actions",
            "name",
            "args",
            "state",
            "startedAt",
            "stdout",
            "stderr",
            "result",
            "message",
            "details",
            "entries",
            "paths",
            "key",
            "value",
            "errors",
            "valid",
            "configTree",
            "repoRoot",
            "jobId",
            "changed",
        ];
        const WORDS: [&str; 8] =
            ["", "failed", "succeeded", "timeout", "job-1", "2026-01-01T00:00:00Z", "\u{0}\n", "ä€😀"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            proptest::sample::select(&WORDS[..]).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 8, |inner| {
            let key =
                prop_oneof![4 => proptest::sample::select(&KEYS[..]).prop_map(str::to_owned), 1 => ".*"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..12)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_an_app_answers_is_taken_or_refused(answer in any_json()) {
            for taken in [
                status("a", "A", 7, answer.clone()).map(|s| {
                    assert_eq!((s.running, s.pid.is_some(), s.boot_id.is_empty()), (s.running, s.running, !s.running));
                    serde_json::to_value(s)
                }),
                config_view(answer.clone()).map(serde_json::to_value),
                config_set(answer.clone()).map(serde_json::to_value),
                actions(answer.clone()).map(serde_json::to_value),
                job_id(answer.clone()).map(serde_json::to_value),
                job("job-1", "a", "go", "", answer).map(|record| {
                    let over = record.state.is_terminal();
                    assert_eq!(record.error.is_some(), over && record.state != JobState::Succeeded);
                    assert!(!over || record.finished_at.is_some() && record.started_at.is_some());
                    if let Some(error) = &record.error {
                        assert_eq!(record.stderr.lines().last().unwrap_or_default(), error.message);
                    }
                    serde_json::to_value(record)
                }),
            ].into_iter().flatten() {
                prop_assert!(taken.is_ok());
            }
        }
    }
}
