//! The actions that look after the bench: what ports, rigs and records there are, whether all is in order, and the
//! pair run of bridge and simulators.

use std::path::Path;

use hilrig_contract::{Call, ContractError, Job, object};
use serde_json::{Map, Value, json};

use crate::app::{BridgeApp, Outcome, failed};
use crate::{config, refuse_real_ports};

/// A rig knows no end without a time; a pair run until `run_stop` has this one.
const LONGEST_PAIR_RUN: f64 = 86_000.0;

/// The rig of a pair run: a PLC, a bridged pair on each side, and a master that polls.
fn pair_rig(seconds: f64, baud: i64) -> String {
    format!(
        r#"name = "pair-run"
timeout = "{timeout}ms"
[ports.plc]
pair = {{ baud = {baud}, format = "8E1" }}
[ports.far]
pair = {{ baud = {baud}, format = "8E1" }}
[sim.plc.plc]
port = "plc.a"
unit = 1
holding = {{ 0 = 1234, "1..9" = 0 }}
coils = {{ "0..7" = false }}
[link.bridge]
a = "plc.b"
b = "far.a"
[master.poller]
port = "far.b"
unit = 1
[master.poller.poll.levels]
holding = "0..9"
every = "100ms"
timeout = "1s"
retries = 2
[[step]]
expect = {{ poll = "poller.levels", address = 0, equals = 1234, within = "10s" }}
[[step]]
wait = "{run}ms"
[[step]]
assert = {{ bytes_lost = "all", equals = 0 }}
[[step]]
assert = {{ poll = "poller.levels", address = 0, equals = 1234 }}
"#,
        timeout = (seconds * 1e3) as u64 + 60_000,
        run = (seconds * 1e3) as u64,
    )
}

pub(crate) fn pair_run(app: &BridgeApp, call: Call<'_>) -> Outcome {
    app.must_be_idle()?;
    let seconds = call.args.float("durationSeconds").unwrap_or(LONGEST_PAIR_RUN);
    if seconds > LONGEST_PAIR_RUN {
        let message = format!("a pair run lasts at most {LONGEST_PAIR_RUN} s");
        return Err(ContractError::bad_param("durationSeconds", message));
    }
    let text = pair_rig(seconds, call.args.int("baud").unwrap_or(19_200));
    let rig = app.scenarios().start_text(call.root, "pair-run", &text)?;
    app.start_rig(rig, call)
}

pub(crate) fn port_list(job: &dyn Job) -> Map<String, Value> {
    let ports: Vec<Value> = hilrig_port::list_ports()
        .into_iter()
        .map(|p| {
            job.out(&p.device.display().to_string());
            let held: Vec<String> = p.held_by.iter().map(|(pid, name)| format!("{name} ({pid})")).collect();
            json!({
                "device": p.device,
                "byId": p.by_id,
                "driver": p.driver,
                "product": p.product,
                "serialNumber": p.serial_number,
                "heldBy": held,
            })
        })
        .collect();
    object(json!({ "ports": ports }))
}

pub(crate) fn rig_list(job: &dyn Job, names: &[String], root: &Path) -> Map<String, Value> {
    names.iter().for_each(|name| job.out(name));
    if names.is_empty() {
        job.out(&format!("no rigs in {}", root.join("rigs").display()));
    }
    object(json!({ "rigs": names }))
}

pub(crate) fn db_counts(call: Call<'_>) -> Outcome {
    let db = call.root.join(call.config.text("record.db"));
    if !db.exists() {
        call.job.out(&format!("{} is not there: nothing was recorded yet", db.display()));
        return Ok(object(json!({"db": db, "exists": false, "runs": 0, "frames": 0, "bytes": 0})));
    }
    let counts = hilrig_record::counts(&db).map_err(|e| ContractError::failed(e.to_string()))?;
    let mut result = object(serde_json::to_value(counts).unwrap_or_default());
    for (what, count) in &result {
        call.job.out(&format!("{what}: {count}"));
    }
    result.insert("db".to_owned(), json!(db));
    result.insert("exists".to_owned(), true.into());
    Ok(result)
}

/// Everything that can be said without opening a port. The config itself was read and checked before: a wrong one is
/// the error of this action, with all places.
pub(crate) fn validate(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let mut checks: Vec<Value> = Vec::new();
    let mut wrong = Vec::new();
    let mut check = |what: String, outcome: Result<String, String>| {
        let (ok, message) = match outcome {
            Ok(message) => (true, message),
            Err(why) => (false, why),
        };
        let line = format!("{what}: {message}");
        if ok {
            call.job.out(&line);
        } else {
            call.job.warn(&line);
            wrong.push(line);
        }
        checks.push(json!({"check": what, "ok": ok, "message": message}));
    };
    check("config".to_owned(), Ok(format!("profile {}", call.config.text("profile"))));
    match config::links(call.config) {
        Err(e) => check("links".to_owned(), Err(e.message)),
        Ok(specs) => {
            for spec in &specs {
                let used: Vec<String> = specs
                    .iter()
                    .filter(|other| other.name != spec.name && other.enabled && spec.enabled)
                    .flat_map(|other| other.urls().map(|url| (other, url)))
                    .filter(|(_, url)| spec.urls().contains(url))
                    .map(|(other, url)| format!("link {} has {url} as well", other.name))
                    .collect();
                let mut outcome = match used.first() {
                    Some(twice) => Err(twice.clone()),
                    None => Ok(format!("{} <-> {}", spec.a, spec.b)),
                };
                if outcome.is_ok() && spec.enabled && call.config.text("profile") == "sim" {
                    let refused = refuse_real_ports(std::slice::from_ref(spec));
                    outcome = refused.map_err(|e| failed(e).message).and(outcome);
                }
                check(format!("link {}", spec.name), outcome);
            }
        }
    }
    for action in &hilrig_contract::App::spec(app).actions {
        let empty = Map::new();
        let required = action.args.iter().filter(|arg| arg.required).count();
        let outcome = match action.accept(&empty) {
            Ok(_) => Ok("takes no argument".to_owned()),
            Err(_) if required == 1 => Ok("takes one argument".to_owned()),
            Err(e) => Err(e.message),
        };
        check(format!("action {}", action.name), outcome);
    }
    for name in app.scenarios().names(call.root) {
        check(format!("rig {name}"), app.scenarios().check(call.root, &name).map(|()| "in order".to_owned()));
    }
    let folder = hilrig_record::capture_folder(call.root);
    let made = std::fs::create_dir_all(&folder).map(|()| folder.display().to_string());
    check("captures".to_owned(), made.map_err(|e| format!("{}: {e}", folder.display())));
    if wrong.is_empty() {
        return Ok(object(json!({"valid": true, "checks": checks})));
    }
    Err(ContractError::failed(wrong.join("; ")).with("checks", checks))
}
