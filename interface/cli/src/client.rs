//! Commands that talk to a running daemon.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hilrig_contract::{JobRecord, JobState};
use hilrig_host::{Client, ClientError, Endpoint};
use serde_json::{Map, Value, json};

use crate::args::{ActionCommand, ConfigCommand, JobCommand};
use crate::output::{Exit, Failure, exit_of_job, plain, say, say_json, table};

const POLL: Duration = Duration::from_millis(100);

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(error) => error.into(),
            wrong @ ClientError::Endpoint(_) => Self::usage(wrong.to_string()),
            other => Self::infrastructure(other.to_string()),
        }
    }
}

pub fn connect(root: &Path, endpoint: Option<&str>) -> Result<Client, Failure> {
    Ok(match endpoint {
        Some(endpoint) => Client::connect(&endpoint.parse::<Endpoint>()?)?,
        None => Client::of_root(root)?,
    })
}

pub fn call(client: &mut Client, method: &str, params: Option<String>) -> Result<ExitCode, Failure> {
    let params = match params {
        None => json!({}),
        Some(text) => serde_json::from_str(&text)
            .map_err(|e| Failure::usage(format!("the parameters are not JSON: {e}: {text}")))?,
    };
    say_json(&client.call(method, params)?);
    Ok(ExitCode::SUCCESS)
}

fn apps(client: &mut Client) -> Result<Vec<String>, Failure> {
    let list = client.call("app.list", json!({}))?;
    let ids = list["apps"].as_array().into_iter().flatten();
    Ok(ids.filter_map(|a| a["appId"].as_str().map(str::to_owned)).collect())
}

pub fn status(client: &mut Client, app: Option<String>, as_json: bool) -> Result<ExitCode, Failure> {
    let one = app.is_some();
    let mut rows = vec![["APP", "STATE", "PID", "HOST", "NOTE"].map(str::to_owned).to_vec()];
    for app in app.map_or_else(|| apps(client), |app| Ok(vec![app]))? {
        let status = client.call("status.get", json!({ "appId": app }))?;
        if as_json {
            say_json(&status);
        } else if one {
            for (key, value) in status.as_object().into_iter().flatten() {
                show(key, value);
            }
        } else {
            let state = if status["running"] == json!(true) { "running" } else { "stopped" };
            rows.push(vec![
                app,
                state.to_owned(),
                plain(&status["pid"]),
                plain(&status["hostPid"]),
                status["error"].as_str().unwrap_or_default().to_owned(),
            ]);
        }
    }
    if !one && !as_json {
        table(&rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// A key and its value; an array of objects becomes indented rows.
fn show(key: &str, value: &Value) {
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => {
            say(&format!("{key}:"));
            for item in items {
                let cells: Vec<String> = item
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(_, v)| *v != &json!(""))
                    .map(|(k, v)| format!("{k}={}", plain(v)))
                    .collect();
                say(&format!("  {}", cells.join(" ")));
            }
        }
        _ => say(&format!("{key}: {}", plain(value))),
    }
}

pub fn config(client: &mut Client, command: ConfigCommand, as_json: bool) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Get { app, key } => {
            let view = client.call("config.get", json!({ "appId": app }))?;
            if as_json && key.is_none() {
                say_json(&view);
                return Ok(ExitCode::SUCCESS);
            }
            let errors: Vec<&str> =
                view["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if !errors.is_empty() {
                return Err(Failure::usage(format!(
                    "the configuration is not valid:\n  {}",
                    errors.join("\n  ")
                )));
            }
            let entries = view["entries"].as_array().cloned().unwrap_or_default();
            if let Some(key) = key {
                let entry = entries.iter().find(|e| e["key"] == json!(key)).ok_or_else(|| {
                    let known: Vec<String> = entries.iter().map(|e| plain(&e["key"])).collect();
                    Failure::usage(format!("{app} has no key {key:?} (keys: {})", known.join(", ")))
                })?;
                if as_json {
                    say_json(entry)
                } else {
                    say(&plain(&entry["value"]))
                }
                return Ok(ExitCode::SUCCESS);
            }
            let mut rows = vec![["KEY", "VALUE", "FROM", "ALLOWED", "MEANING"].map(str::to_owned).to_vec()];
            rows.extend(entries.iter().map(|e| {
                let allowed = e["allowed"].as_array().map_or_else(
                    || e["constraint"].as_str().unwrap_or_default().to_owned(),
                    |a| a.iter().map(plain).collect::<Vec<_>>().join("|"),
                );
                let help = e["help"].as_str().unwrap_or_default().to_owned();
                vec![plain(&e["key"]), plain(&e["value"]), plain(&e["source"]), allowed, help]
            }));
            table(&rows);
        }
        ConfigCommand::Set { app, key, value, expect } => {
            let mut params = json!({ "appId": app, "key": key, "value": value });
            if let Some(revision) = expect {
                params["expectedRevision"] = json!(revision);
            }
            let set = client.call("config.set", params)?;
            if as_json { say_json(&set) } else { say(set["message"].as_str().unwrap_or_default()) }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn action(client: &mut Client, command: ActionCommand, as_json: bool) -> Result<ExitCode, Failure> {
    match command {
        ActionCommand::List { app } => {
            let list = client.call("action.list", json!({ "appId": app }))?;
            if as_json {
                say_json(&list);
                return Ok(ExitCode::SUCCESS);
            }
            let mut rows = vec![["ACTION", "ARGUMENTS", "MEANING"].map(str::to_owned).to_vec()];
            for action in list["actions"].as_array().into_iter().flatten() {
                let args: Vec<String> =
                    action["args"].as_array().into_iter().flatten().map(argument).collect();
                let help = action["help"].as_str().filter(|h| !h.is_empty());
                let help = help.or(action["label"].as_str()).unwrap_or_default().to_owned();
                rows.push(vec![plain(&action["name"]), args.join(" "), help]);
            }
            table(&rows);
            Ok(ExitCode::SUCCESS)
        }
        ActionCommand::Invoke { app, action, args, wait, timeout } => {
            let mut params = json!({ "appId": app, "actionName": action, "args": arguments(&args)? });
            if let Some(seconds) = timeout {
                params["timeoutSeconds"] = json!(seconds);
            }
            let invoked = client.call("action.invoke", params)?;
            let job = plain(&invoked["jobId"]);
            if wait {
                return follow(client, &app, &job, as_json);
            }
            if as_json {
                say_json(&invoked)
            } else {
                say(&job)
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn argument(arg: &Value) -> String {
    let default = arg.get("default").map_or_else(|| plain(&arg["type"]), plain);
    let text = format!("{}={default}", plain(&arg["name"]));
    if arg["required"] == json!(true) { text } else { format!("[{text}]") }
}

fn arguments(given: &[String]) -> Result<Value, Failure> {
    if let [json] = given
        && json.trim_start().starts_with('{')
    {
        return serde_json::from_str(json)
            .map_err(|e| Failure::usage(format!("the arguments are not JSON: {e}: {json}")));
    }
    let mut args = Map::new();
    for arg in given {
        let (name, value) = arg.split_once('=').ok_or_else(|| {
            Failure::usage(format!("argument {arg:?}: expected name=value, for example durationSeconds=10"))
        })?;
        args.insert(name.to_owned(), json!(value));
    }
    Ok(Value::Object(args))
}

fn job_record(client: &mut Client, app: &str, job: &str) -> Result<(Value, JobRecord), Failure> {
    let value = client.call("action.job.get", json!({ "appId": app, "jobId": job }))?;
    let record = serde_json::from_value(value.clone())
        .map_err(|e| Failure::infrastructure(format!("the daemon's job record makes no sense: {e}")))?;
    Ok((value, record))
}

/// Has an action done and waits for its end; answers its result.
pub fn act(client: &mut Client, app: &str, action: &str, args: Value) -> Result<Value, Failure> {
    let params = json!({ "appId": app, "actionName": action, "args": args });
    let job = plain(&client.call("action.invoke", params)?["jobId"]);
    loop {
        let (value, record) = job_record(client, app, &job)?;
        if record.state.is_terminal() {
            let why = value["error"]["message"].as_str().unwrap_or("it failed");
            record.stderr.lines().filter(|line| *line != why).for_each(|line| eprintln!("{line}"));
            return match record.state {
                JobState::Succeeded => Ok(value["result"].clone()),
                JobState::Failed => Err(Failure::new(Exit::Fail, format!("{action}: {why}"))),
                state => Err(Failure::new(Exit::Stopped, format!("{action} ended as {}", state.as_str()))),
            };
        }
        std::thread::sleep(POLL);
    }
}

/// Follows a job to its end, showing its output as it comes.
fn follow(client: &mut Client, app: &str, job: &str, as_json: bool) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let progress = std::io::stderr().is_terminal() && !as_json;
    let mut shown = 0;
    loop {
        let (value, record) = job_record(client, app, job)?;
        if !as_json && record.stdout.len() > shown && record.stdout.is_char_boundary(shown) {
            clear(progress);
            record.stdout[shown..].lines().for_each(say);
            shown = record.stdout.len();
        }
        if record.state.is_terminal() {
            clear(progress);
            finish(&value, &record, as_json);
            return Ok(exit_of_job(record.state));
        }
        if progress {
            eprint!("\r{app}: {job} {} {:.1} s ", record.state.as_str(), started.elapsed().as_secs_f64());
            let _ = std::io::stderr().flush();
        }
        std::thread::sleep(POLL);
    }
}

fn clear(progress: bool) {
    if progress {
        eprint!("\r\x1b[2K");
    }
}

fn finish(value: &Value, record: &JobRecord, as_json: bool) {
    if as_json {
        say_json(value);
        return;
    }
    record.stderr.lines().for_each(|line| eprintln!("{line}"));
    let seconds = record.duration_ms as f64 / 1000.0;
    if record.state == JobState::Succeeded {
        eprintln!("{} succeeded in {seconds:.1} s", record.action_name);
    } else {
        eprintln!("hilrig: {} ended as {} after {seconds:.1} s", record.action_name, record.state.as_str());
    }
}

pub fn job(client: &mut Client, command: JobCommand, as_json: bool) -> Result<ExitCode, Failure> {
    match command {
        JobCommand::Get { app, job } => {
            let (value, record) = job_record(client, &app, &job)?;
            if as_json {
                say_json(&value);
            } else {
                value.as_object().into_iter().flatten().for_each(|(k, v)| show(k, v));
            }
            Ok(exit_of_job(record.state))
        }
        JobCommand::List { app } => {
            let list = client.call("action.job.list", json!({ "appId": app }))?;
            if as_json {
                say_json(&list);
                return Ok(ExitCode::SUCCESS);
            }
            let mut rows = vec![["JOB", "ACTION", "STATE", "ACCEPTED", "ERROR"].map(str::to_owned).to_vec()];
            for job in list["jobs"].as_array().into_iter().flatten() {
                let error = job["error"]["message"].as_str().unwrap_or_default().to_owned();
                let mut row: Vec<String> =
                    ["jobId", "actionName", "state", "acceptedAt"].map(|k| plain(&job[k])).to_vec();
                row.push(error);
                rows.push(row);
            }
            table(&rows);
            Ok(ExitCode::SUCCESS)
        }
        JobCommand::Cancel { app, job } => {
            let record = client.call("action.job.cancel", json!({ "appId": app, "jobId": job }))?;
            if as_json {
                say_json(&record)
            } else {
                say(&plain(&record["state"]))
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
