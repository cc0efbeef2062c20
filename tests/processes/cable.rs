//! A cable is pulled: the port's other side dies. Nothing stalls silently.

use hilrig_tests::{Line, Sandbox, wait_for};
use serde_json::{Value, json};

#[test]
fn a_port_that_goes_is_told_and_the_run_can_be_restarted() {
    let sandbox = Sandbox::new();
    let wire = sandbox.links(&["pair", "wire"], 1);
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let mut events = daemon.connect();
    events.call("events.subscribe", json!({"topics": ["status.changed"]}));
    let port = sandbox.port("wire.a").display().to_string();
    conn.set("bridge", "near.url", port.clone());
    conn.set("bridge", "far.com", "pty:far");
    conn.act("bridge", "run_start", json!({}));
    let soak = conn.begin("bridge", "soak", json!({"durationSeconds": 600}));
    wire.kill9();
    let event = events.event_with(|e| e["params"]["appId"] == "bridge" && e["params"]["error"] != "");
    assert!(event["params"]["error"].as_str().unwrap().contains(&port), "names the port: {event}");
    let status = Value::Object(conn.status("bridge"));
    assert!(status["error"].as_str().unwrap().contains(&port), "{status}");
    assert_ne!(status["healthState"], "ok", "{status}");
    let record = conn.end_of_job("bridge", &soak);
    assert_eq!(record["state"], "failed");
    assert!(record["error"]["message"].as_str().unwrap().contains(&port), "{record:?}");
    conn.act("bridge", "run_stop", json!({}));
    // Still pulled: a start fails and says so. Plugged in again: it works.
    let record = conn.try_act("bridge", "run_start", json!({}));
    assert_eq!(record["state"], "failed");
    assert!(record["error"]["message"].as_str().unwrap().contains(&port), "{record:?}");
    let wire = sandbox.links(&["pair", "wire"], 1);
    conn.act("bridge", "run_start", json!({}));
    let (near, far) = (Line::open(&sandbox.port("wire.b")), Line::open(&sandbox.port("far")));
    near.open_through_to(&far);
    assert_eq!(conn.status("bridge")["error"], "");
    assert_eq!(daemon.terminate().code(), Some(0));
    wire.kill9();
}

#[test]
fn a_plc_whose_line_goes_says_so() {
    let sandbox = Sandbox::new();
    let wire = sandbox.links(&["pair", "wire"], 1);
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let port = sandbox.port("wire.a").display().to_string();
    conn.set("plc-simulator", "port", port.clone());
    conn.act("plc-simulator", "run_start", json!({}));
    assert_eq!(conn.status("plc-simulator")["error"], "");
    wire.kill9();
    let status = wait_for("the loss is told", || {
        let status = conn.status("plc-simulator");
        (status["error"] != "").then_some(status)
    });
    assert!(status["error"].as_str().unwrap().contains(&port), "{status:?}");
    let wire = sandbox.links(&["pair", "wire"], 1);
    conn.act("plc-simulator", "run_start", json!({}));
    let status = wait_for("the PLC is on its line again", || {
        let status = conn.status("plc-simulator");
        (status["error"] == "" && status["running"] == true).then_some(status)
    });
    assert!(!status["bootId"].as_str().unwrap().is_empty());
    wire.kill9();
}
