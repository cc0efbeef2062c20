//! Third-party apps: an executable that speaks the contract on stdio stands beside the four, and what it does
//! wrong is its own trouble.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

use std::time::{Duration, Instant};

use hilrig_tests::{APPS, Conn, Daemon, Sandbox, memory, need, repository, signal, wait_for, wait_within};
use rustix::process::Signal;
use serde_json::{Value, json};

fn declare(sandbox: &Sandbox, apps: &[(&str, &[&str])]) -> Daemon {
    let mut file = String::from("# apps of this bench\n");
    for (id, command) in apps {
        let command: Vec<String> = command.iter().map(|w| Value::from(*w).to_string()).collect();
        file +=
            &format!("\n[[app]]\nid = \"{id}\"\ntitle = \"The {id}\"\ncommand = [{}]\n", command.join(", "));
    }
    std::fs::create_dir_all(sandbox.root.join("config")).unwrap();
    std::fs::write(sandbox.root.join("config/apps.toml"), file).unwrap();
    sandbox.daemon()
}

fn base_keys(status: &Value, app: &str) {
    assert_eq!(status["interfaceName"], "generic-process-interface");
    assert_eq!((&status["appId"], &status["appTitle"]), (&json!(app), &json!(format!("The {app}"))));
    assert!(status["running"].is_boolean() && status["hostRunning"].is_boolean(), "{status}");
    for pid in ["pid", "hostPid"] {
        assert!(status[pid].is_null() || status[pid].is_u64(), "{status}");
    }
    assert!(status["bootId"].is_string() && status["error"].is_string(), "{status}");
}

fn status(conn: &mut Conn, app: &str) -> Value {
    let status = Value::Object(conn.status(app));
    base_keys(&status, app);
    status
}

#[test]
fn a_declared_app_stands_beside_the_four() {
    if !need("python3") {
        return;
    }
    let sandbox = Sandbox::new();
    let program = repository().join("tests/apps/echo_app.py");
    let daemon = declare(&sandbox, &[("echo", &["python3", program.to_str().unwrap()])]);
    let mut conn = daemon.connect();
    let mut events = daemon.connect_tcp();
    events.call("events.subscribe", json!({"topics": ["status.changed", "job.changed"], "appId": "echo"}));

    let list = conn.call("app.list", json!({}));
    let rows = list["apps"].as_array().expect("apps");
    let ids: Vec<&str> = rows.iter().map(|a| a["appId"].as_str().unwrap()).collect();
    for (app, _) in APPS {
        let row = rows.iter().find(|r| r["appId"] == app).unwrap_or_else(|| panic!("{app} in {ids:?}"));
        assert_eq!(row["kind"], "built-in");
    }
    assert_eq!(ids.len(), 5, "{ids:?}");
    let echo = rows.iter().find(|r| r["appId"] == "echo").unwrap();
    assert_eq!((&echo["kind"], &echo["appTitle"]), (&json!("third-party"), &json!("The echo")));

    let actions = conn.call("action.list", json!({"appId": "echo"}));
    let names: Vec<&str> =
        actions["actions"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["run_start", "run_stop", "echo"]);
    assert_eq!(conn.call("config.get", json!({"appId": "echo"}))["valid"], true);
    let record = conn.act("echo", "echo", json!({"text": "hello \"there\"; $(x)"}));
    assert!(record["stdout"].as_str().unwrap().contains("hello \"there\"; $(x)"), "{record:?}");
    assert_eq!(status(&mut conn, "echo")["echoed"], 1);
    conn.act("echo", "run_start", json!({}));
    let up = status(&mut conn, "echo");
    assert_eq!((&up["running"], &up["pid"]), (&json!(true), &up["hostPid"]));
    assert!(up["bootId"].as_str().unwrap().starts_with("echo:"), "{up}");
    events.event_with(|e| e["event"] == "status.changed" && e["params"]["running"] == true);

    // kill -9 of the app: told, with the reason, and the next action starts it again.
    let pid = up["pid"].as_u64().unwrap() as u32;
    assert_eq!(sandbox.processes_with("echo_app.py")[0].pid, pid);
    signal(pid, Signal::KILL);
    let event = events.event_with(|e| e["event"] == "status.changed" && e["params"]["running"] == false);
    let says_so = |error: &Value| {
        error.as_str().unwrap().to_lowercase().contains("kill")
            || error.as_str().unwrap().contains("signal 9")
    };
    assert!(says_so(&event["params"]["error"]), "{event}");
    let down = conn.call("app.list", json!({}))["apps"].clone();
    assert_eq!(down.as_array().unwrap().len(), 5, "it stays declared");
    wait_for("it works again", || {
        let params = json!({"appId": "echo", "actionName": "run_start", "args": {}});
        let reply = conn.request("action.invoke", params);
        let job = reply["response"]["jobId"].as_str()?.to_owned();
        (conn.end_of_job("echo", &job)["state"] == "succeeded").then_some(())
    });
    let again = status(&mut conn, "echo");
    assert_ne!(again["pid"], up["pid"]);
    assert_eq!((&again["running"], &again["error"]), (&json!(true), &json!("")));
    assert_eq!(daemon.terminate().code(), Some(0));
    sandbox.wait_until_empty();
}

#[test]
fn apps_that_misbehave_hurt_only_themselves() {
    if !need("sh") {
        return;
    }
    let sandbox = Sandbox::new();
    let hello = "while read -r l; do echo '{\"id\":null,\"ok\":true}'; done";
    let daemon = declare(
        &sandbox,
        &[
            ("dies", &["sh", "-c", "echo 'no licence for this bench' >&2; exit 3"]),
            ("absent", &["./no-such-program"]),
            ("silent", &["sleep", "1000"]),
            ("floods", &["sh", "-c", "exec yes 'chatter, chatter, chatter'"]),
            ("endless", &["sh", "-c", "exec tr '\\0' 'x' </dev/zero"]),
            ("nonsense", &["sh", "-c", hello]),
        ],
    );
    let mut conn = daemon.connect();
    assert_eq!(conn.call("app.list", json!({}))["apps"].as_array().unwrap().len(), 10);
    let before = memory(daemon.pid(), "VmRSS");
    let mut asking: Vec<(&str, Conn)> = ["dies", "absent", "silent", "floods", "endless", "nonsense"]
        .map(|app| (app, daemon.connect()))
        .into();
    for (app, asks) in &mut asking {
        let request = json!({"id": app, "method": "status.get", "params": {"appId": *app}});
        asks.send(format!("{request}\n").as_bytes()).unwrap();
        let invoke = json!({"id": "go", "method": "action.invoke", "params": {"appId": *app, "actionName": "run_start"}});
        asks.send(format!("{invoke}\n").as_bytes()).unwrap();
    }
    // The others are answered meanwhile.
    for _ in 0..20 {
        let asked = Instant::now();
        conn.status("bridge");
        conn.ping();
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
    for (app, asks) in &mut asking {
        let reply = wait_within(Duration::from_secs(40), "an answer", || Some(asks.reply()));
        assert_eq!(reply["id"], *app);
        if reply["ok"] == true {
            base_keys(&reply["response"], app);
            assert_eq!(reply["response"]["running"], false);
        }
        let started = asks.reply();
        if started["ok"] == true {
            let job = started["response"]["jobId"].as_str().unwrap().to_owned();
            let record = asks.end_of_job(app, &job);
            assert_eq!(record["state"], "failed", "{app}: {record:?}");
        }
    }
    let error = |conn: &mut Conn, app: &str| status(conn, app)["error"].as_str().unwrap().to_owned();
    let dies = error(&mut conn, "dies");
    assert!(dies.contains('3') && dies.contains("no licence for this bench"), "its last words: {dies}");
    assert!(error(&mut conn, "absent").contains("no-such-program"));
    for app in ["silent", "floods", "endless", "nonsense"] {
        let why = error(&mut conn, app);
        println!("{app}: {why}");
        assert!(!why.is_empty(), "{app}");
    }
    let after = memory(daemon.pid(), "VmRSS");
    assert!(after < before + (48 << 10), "VmRSS grew from {before} to {after} KiB");
    assert_eq!(daemon.terminate().code(), Some(0));
    sandbox.wait_until_empty();
}

#[test]
fn a_broken_declaration_is_told_and_hides_nothing() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.root.join("config")).unwrap();
    std::fs::write(sandbox.root.join("config/apps.toml"), "[[app]]\nid = \"bridge\"\ncommand = [\"x\"]\n")
        .unwrap();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    assert_eq!(conn.call("app.list", json!({}))["apps"].as_array().unwrap().len(), 4);
    wait_for("the mistake is told with its place", || daemon.said().contains("apps.toml:2:").then_some(()));
    assert_eq!(conn.status("bridge")["appTitle"], "Test Fixture Bridge");
}
