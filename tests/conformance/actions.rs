//! Cases 45 to 58: actions, their arguments, and the life of a run.

use std::time::{Duration, Instant};

use hilrig_tests::{ACTION_FAILED, APPS, BAD_ARG, CODES, Conn, NOT_FOUND, bad_param, refusal, timestamp};
use serde_json::{Map, Value, json};

use crate::{Bench, cases};

cases! {
    45 ALL action_list_of_four_apps;
    46 ALL run_start_is_queued_at_once;
    47 ALL job_moves_forward_to_its_end;
    48 ALL status_of_a_run;
    49 ALL run_start_again;
    50 ALL run_stop_and_again;
    51 ALL start_after_stop_is_another_run;
    52 ALL args_omitted_or_empty;
    53 ALL args_no_object;
    54 ALL action_name_missing;
    55 ALL action_unknown;
    56 ALL argument_missing_or_wrong;
    57 ALL argument_as_number_or_text;
    58 ALL argument_is_data;
}

/// The apps whose run can be up here.
const RUNNABLE: [&str; 2] = ["bridge", "plc-simulator"];

fn actions(conn: &mut Conn, app: &str) -> Vec<Value> {
    conn.call("action.list", json!({"appId": app}))["actions"].as_array().expect("actions is a list").clone()
}

fn has_cmd(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| key == "cmd" || has_cmd(value)),
        Value::Array(items) => items.iter().any(has_cmd),
        _ => false,
    }
}

fn action_list_of_four_apps(bench: &Bench) {
    let mut conn = bench.connect();
    for (app, _) in APPS {
        let actions = actions(&mut conn, app);
        let mut names: Vec<&str> = actions.iter().map(|a| a["name"].as_str().expect("name")).collect();
        assert!(names.contains(&"run_start") && names.contains(&"run_stop"), "{app}: {names:?}");
        names.sort_unstable();
        assert!(names.windows(2).all(|n| n[0] != n[1]), "{app}: {names:?}");
        for action in &actions {
            assert!(!has_cmd(action), "a console would run this itself: {action}");
            assert!(!action["label"].as_str().expect("label").is_empty());
            for (n, arg) in action["args"].as_array().expect("args is a list").iter().enumerate() {
                check_argument(arg);
                assert!(n == 0 || arg["required"] != true, "a console sends only the first: {action}");
            }
        }
        let label = |name: &str| actions.iter().find(|a| a["name"] == name).unwrap()["label"].clone();
        assert_eq!((label("run_start"), label("run_stop")), (json!("Start"), json!("Stop")), "{app}");
    }
}

fn check_argument(arg: &Value) {
    assert!(!arg["name"].as_str().expect("name").is_empty());
    assert!(arg["label"].is_string() && arg["required"].is_boolean(), "{arg}");
    let kind = arg["type"].as_str().expect("type");
    assert!(["string", "int", "float", "bool"].contains(&kind), "{arg}");
    let options = arg.get("options").and_then(Value::as_array).cloned().unwrap_or_default();
    assert!(options.iter().all(Value::is_string), "{arg}");
    for given in [arg.get("placeholder"), arg.get("default")].into_iter().flatten() {
        let text = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
        let number = text.parse::<f64>();
        let legal = match kind {
            "int" => text.parse::<i64>().is_ok(),
            "float" => number.is_ok(),
            "bool" => ["true", "false"].contains(&text.as_str()),
            _ => !text.is_empty(),
        };
        assert!(legal && (options.is_empty() || options.contains(&json!(text))), "{given} of {arg}");
        if let (Ok(number), "int" | "float") = (number, kind) {
            assert!(arg.get("min").and_then(Value::as_f64).is_none_or(|min| min <= number), "{arg}");
            assert!(arg.get("max").and_then(Value::as_f64).is_none_or(|max| number <= max), "{arg}");
        }
    }
}

fn run_start_is_queued_at_once(bench: &Bench) {
    let mut conn = bench.connect();
    for app in RUNNABLE {
        let asked = Instant::now();
        let params = json!({"appId": app, "actionName": "run_start", "args": {}});
        let invoked = conn.call("action.invoke", params);
        let took = asked.elapsed();
        println!("{app}: run_start answered in {took:?}");
        assert!(took < Duration::from_millis(500), "{took:?}");
        assert!(!invoked["jobId"].as_str().expect("jobId").is_empty());
        assert!(["queued", "running"].contains(&invoked["state"].as_str().unwrap()), "{invoked:?}");
        timestamp(&invoked["acceptedAt"]);
        conn.end_of_job(app, invoked["jobId"].as_str().unwrap());
    }
}

fn job_moves_forward_to_its_end(bench: &Bench) {
    let mut conn = bench.connect();
    // Every state on the way and the record at the end are checked by end_of_job.
    for (app, _) in APPS {
        let started = conn.try_act(app, "run_start", json!({}));
        let runs = RUNNABLE.contains(&app);
        assert_eq!(started["state"], if runs { "succeeded" } else { "failed" }, "{started:?}");
        if !runs {
            assert_eq!(started["error"]["code"], ACTION_FAILED);
            let why = started["error"]["message"].as_str().unwrap();
            let said = if app == "40318" { "no firmware configured" } else { "no adapter configured" };
            assert!(why.contains(said), "{why}");
        }
        conn.act(app, "run_stop", json!({}));
    }
}

#[track_caller]
fn running(status: &Map<String, Value>) -> (u64, String) {
    assert_eq!(status["running"], json!(true), "{status:?}");
    assert_eq!(status["hostRunning"], json!(true));
    assert!(status["hostPid"].as_u64().is_some_and(|p| p > 0), "{status:?}");
    let pid = status["pid"].as_u64().unwrap_or_else(|| panic!("no pid: {status:?}"));
    let boot = status["bootId"].as_str().expect("bootId");
    let start = format!("{}:{pid}:", status["appId"].as_str().unwrap());
    assert!(boot.starts_with(&start) && boot.len() > start.len(), "{boot}");
    (pid, boot.to_owned())
}

#[track_caller]
fn stopped(status: &Map<String, Value>) {
    assert_eq!(status["running"], json!(false), "{status:?}");
    assert_eq!(status["pid"], json!(null));
    assert_eq!(status["bootId"], "");
    assert_eq!(status["error"], "");
}

fn status_of_a_run(bench: &Bench) {
    let mut conn = bench.connect();
    for app in RUNNABLE {
        conn.act(app, "run_start", json!({}));
        let first = running(&conn.status(app));
        for _ in 0..20 {
            assert_eq!(running(&conn.status(app)), first);
        }
        assert_eq!(running(&bench.connect().status(app)), first, "as another connection sees it");
    }
}

fn run_start_again(bench: &Bench) {
    let mut conn = bench.connect();
    for app in RUNNABLE {
        conn.act(app, "run_start", json!({}));
        let first = running(&conn.status(app));
        let again = conn.act(app, "run_start", json!({}));
        assert!(again["stdout"].as_str().unwrap().contains("already running"), "{again:?}");
        assert_eq!(running(&conn.status(app)), first);
    }
}

fn run_stop_and_again(bench: &Bench) {
    let mut conn = bench.connect();
    for app in RUNNABLE {
        conn.act(app, "run_stop", json!({}));
        conn.act(app, "run_start", json!({}));
        running(&conn.status(app));
        conn.act(app, "run_stop", json!({}));
        stopped(&conn.status(app));
        conn.act(app, "run_stop", json!({}));
        stopped(&conn.status(app));
    }
    let links: Vec<_> = bench.sandbox.runtime_files().into_iter().filter(|p| p.is_symlink()).collect();
    assert!(links.is_empty(), "left behind: {links:?}");
}

fn start_after_stop_is_another_run(bench: &Bench) {
    let mut conn = bench.connect();
    for app in RUNNABLE {
        let mut boots = Vec::new();
        for _ in 0..3 {
            conn.act(app, "run_start", json!({}));
            boots.push(running(&conn.status(app)).1);
            conn.act(app, "run_stop", json!({}));
        }
        assert!(boots[0] != boots[1] && boots[1] != boots[2] && boots[0] != boots[2], "{boots:?}");
    }
}

fn args_omitted_or_empty(bench: &Bench) {
    let mut conn = bench.connect();
    for params in [
        json!({"appId": "bridge", "actionName": "run_stop"}),
        json!({"appId": "bridge", "actionName": "run_stop", "args": {}}),
    ] {
        let job = conn.invoke_with(params);
        assert_eq!(conn.end_of_job("bridge", &job)["state"], "succeeded");
    }
}

fn args_no_object(bench: &Bench) {
    let mut conn = bench.connect();
    for args in [json!([]), json!(null), json!("x"), json!(1)] {
        let params = json!({"appId": "bridge", "actionName": "run_start", "args": args});
        refusal(&conn.request("action.invoke", params), &[BAD_ARG]);
    }
    stopped(&conn.status("bridge"));
}

fn action_name_missing(bench: &Bench) {
    let mut conn = bench.connect();
    bad_param(&conn.request("action.invoke", json!({"appId": "bridge", "args": {}})), "actionName");
    for name in [json!(5), json!(null), json!(""), json!({})] {
        let params = json!({"appId": "bridge", "actionName": name, "args": {}});
        bad_param(&conn.request("action.invoke", params), "actionName");
    }
}

/// An invocation that has to come to nothing: refused with one of `codes`, or a job that fails with a V0 code.
#[track_caller]
fn comes_to_nothing(conn: &mut Conn, app: &str, action: &str, args: Value, codes: &[&str]) -> String {
    let params = json!({"appId": app, "actionName": action, "args": args});
    let reply = conn.request("action.invoke", params);
    if reply["ok"] == true {
        let record = conn.end_of_job(app, reply["response"]["jobId"].as_str().expect("jobId"));
        assert_eq!(record["state"], "failed", "{record:?}");
        assert!(CODES.contains(&record["error"]["code"].as_str().unwrap()));
        return record["error"]["message"].as_str().unwrap().to_owned();
    }
    refusal(&reply, codes)["message"].as_str().unwrap().to_owned()
}

fn action_unknown(bench: &Bench) {
    let mut conn = bench.connect();
    for (app, _) in APPS {
        for action in ["no_such", "RUN_START", "run_start ", "../run_start"] {
            comes_to_nothing(&mut conn, app, action, json!({}), &[NOT_FOUND, BAD_ARG]);
        }
    }
}

fn argument_missing_or_wrong(bench: &Bench) {
    let mut conn = bench.connect();
    for (app, _) in APPS {
        for action in actions(&mut conn, app) {
            let name = action["name"].as_str().unwrap();
            let unknown = comes_to_nothing(&mut conn, app, name, json!({"no such": 1}), &[BAD_ARG]);
            assert!(unknown.contains("no such"), "{unknown}");
            for arg in action["args"].as_array().unwrap() {
                let key = arg["name"].as_str().unwrap();
                let bad = match arg["type"].as_str().unwrap() {
                    "string" if arg.get("options").is_none() => json!({"a": 1}),
                    "string" => json!("none of the options"),
                    _ => json!("soon"),
                };
                let why = comes_to_nothing(&mut conn, app, name, json!({key: bad}), &[BAD_ARG]);
                assert!(why.contains(key), "{app} {name}: {why}");
                if arg["required"] == true {
                    for args in [json!({}), json!({key: ""}), json!({key: null})] {
                        let why = comes_to_nothing(&mut conn, app, name, args, &[BAD_ARG]);
                        assert!(why.contains(key), "{app} {name}: {why}");
                    }
                }
            }
        }
    }
    // What a console sends for an argument that nobody touched.
    conn.act("bridge", "run_start", json!({"rig": "", "durationSeconds": ""}));
    running(&conn.status("bridge"));
}

fn argument_as_number_or_text(bench: &Bench) {
    let mut conn = bench.connect();
    conn.act("bridge", "run_start", json!({}));
    for seconds in [json!(1), json!("1"), json!("1.0"), json!(1.0)] {
        let job = conn.invoke("bridge", "soak", json!({"durationSeconds": seconds}));
        let record = conn.call("action.job.cancel", json!({"appId": "bridge", "jobId": job}));
        assert_eq!(record["jobId"], json!(job));
        conn.end_of_job("bridge", &job);
    }
    let record = conn.act("bridge", "soak", json!({"durationSeconds": "0.1"}));
    assert_eq!(record["result"]["seconds"], json!(0.1));
    // Whatever takes whole numbers or switches takes them as text too.
    for app in RUNNABLE {
        for action in actions(&mut conn, app) {
            let Some(arg) = action["args"].as_array().unwrap().first() else { continue };
            let given = match arg["type"].as_str().unwrap() {
                "int" => [arg["min"].clone(), json!(arg["min"].as_f64().unwrap().to_string())],
                "bool" => [json!(true), json!("true")],
                _ => continue,
            };
            let (key, name) = (arg["name"].as_str().unwrap(), action["name"].as_str().unwrap());
            let ends = given.map(|value| conn.try_act(app, name, json!({key: value}))["state"].clone());
            assert_eq!(ends[0], ends[1], "{app} {name}");
        }
    }
}

fn argument_is_data(bench: &Bench) {
    let mut conn = bench.connect();
    let marker = bench.sandbox.scratch().join("executed");
    let touch = format!("touch {}", marker.display());
    for text in [
        format!("x; {touch}"),
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("| {touch} &"),
        "../../etc/passwd".to_owned(),
        "%s%n{}\u{1b}[31m".to_owned(),
    ] {
        let why = comes_to_nothing(&mut conn, "bridge", "run_start", json!({"rig": text}), &[BAD_ARG]);
        assert!(!why.contains("root:"), "{why}");
        stopped(&conn.status("bridge"));
    }
    assert!(!marker.exists());
}
