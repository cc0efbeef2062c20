//! Runs of simulators and bridge together, and the database of runs.

use hilrig_tests::{Sandbox, wait_for};
use serde_json::json;

use crate::{LINE, ends, sandbox};

#[test]
fn a_pair_run_has_a_verdict() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "pair_run_start", json!({"durationSeconds": 0.5, "baud": 115_200}));
    assert_eq!(conn.try_act("bridge", "pair_run_start", json!({}))["state"], "failed", "one at a time");
    let status = wait_for("the pair run is over", || {
        let status = conn.status("bridge");
        (status["scenario"]["verdict"] != "").then_some(status)
    });
    assert_eq!(status["scenario"]["verdict"], "pass", "{:?}", status["scenario"]);
    assert_eq!((&status["scenario"]["name"], &status["running"]), (&json!("pair-run"), &json!(false)));
    // Without a time it runs until it is stopped.
    conn.act("bridge", "pair_run_start", json!({}));
    assert_eq!(conn.act("bridge", "run_stop", json!({}))["result"]["verdict"], "canceled");
}

#[test]
fn recorded_runs_are_counted() {
    let sandbox = sandbox(&format!("{LINE}record = true\n"));
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    assert_eq!(conn.act("bridge", "db_counts", json!({}))["result"]["runs"], 0);
    for _ in 0..2 {
        conn.act("bridge", "run_start", json!({}));
        let (x, y) = ends(&sandbox, &mut conn);
        x.write(b"recorded").unwrap();
        assert_eq!(y.read(8).unwrap(), b"recorded");
        drop((x, y));
        conn.act("bridge", "run_stop", json!({}));
    }
    let counts = conn.act("bridge", "db_counts", json!({}));
    let result = &counts["result"];
    assert_eq!(
        (&result["runs"], &result["unfinished"], &result["bytes"]),
        (&json!(2), &json!(0), &json!(16))
    );
    let valid = conn.act("bridge", "validate_contract", json!({}));
    assert_eq!(valid["result"]["valid"], true);
}
