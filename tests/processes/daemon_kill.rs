//! A run outlives its controller.

use std::time::Duration;

use hilrig_tests::{Conn, Sandbox, Seeded};
use serde_json::json;

use crate::traffic::Traffic;

const KILLS: usize = 40;

/// Every byte that the run has carried, as its counters have it: near to far, far to near.
fn counters(conn: &mut Conn) -> [u64; 2] {
    let status = conn.status("bridge");
    let rows = status["traffic"].as_array().expect("traffic").clone();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let of = |from: &str| {
        let row = rows.iter().find(|r| r["from"] == from).unwrap_or_else(|| panic!("{from}: {rows:?}"));
        let number = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key}: {row}"));
        let out = number("bytesOut");
        assert_eq!(
            number("bytesIn"),
            out + number("discardedBytes") + number("faultBytes") + number("pending")
        );
        assert_eq!(number("discardedBytes") + number("faultBytes"), 0, "{row}");
        out
    };
    [of("pty:near"), of("pty:far")]
}

#[test]
fn kill_9_of_the_daemon_loses_no_byte_and_the_run_is_adopted() {
    let mut random = Seeded::from_env();
    let sandbox = Sandbox::new();
    let mut daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.set("bridge", "near.url", "pty:near");
    conn.set("bridge", "far.com", "pty:far");
    let started = conn.invoke("bridge", "run_start", json!({}));
    let record = conn.end_of_job("bridge", &started);
    assert_eq!(record["state"], "succeeded", "{record:?}");
    let traffic = Traffic::start(&mut conn, &sandbox.port("near"), &sandbox.port("far"));
    let identity = |conn: &mut Conn| {
        let status = conn.status("bridge");
        assert_eq!((&status["running"], &status["hostRunning"]), (&json!(true), &json!(true)), "{status:?}");
        ["bootId", "pid", "hostPid"].map(|key| status[key].clone())
    };
    let before = identity(&mut conn);
    let mut carried = counters(&mut conn);
    for kill in 0..KILLS {
        traffic.flows();
        // Some kills come while the daemon is at work for a client.
        if kill % 2 == 0 {
            let _ = conn.send(
                b"{\"method\":\"status.get\",\"params\":{\"appId\":\"bridge\"}}\n".repeat(50).as_slice(),
            );
        }
        random.pause(Duration::from_millis(20));
        daemon.kill9();
        traffic.flows();
        random.pause(Duration::from_millis(5));
        daemon = sandbox.daemon();
        conn = daemon.connect();
        assert_eq!(identity(&mut conn), before, "after kill {kill}");
        let now = counters(&mut conn);
        assert!(now[0] > carried[0] && now[1] > carried[1], "counters {now:?} after {carried:?}");
        carried = now;
    }
    let received = traffic.finish();
    println!("{KILLS} kills, {received:?} bytes through");
    assert_eq!(counters(&mut conn), received, "the counters of the run are exact");
    // The first daemon's job is known to the last one.
    assert_eq!(conn.job("bridge", &started)["state"], "succeeded");
    assert_eq!(sandbox.processes().len(), 2, "{:?}", sandbox.processes());
    conn.act("bridge", "run_stop", json!({}));
    assert_eq!(conn.status("bridge")["running"], json!(false));
    assert_eq!(daemon.terminate().code(), Some(0));
    sandbox.wait_until_empty();
}

/// A daemon that dies during an action: the action goes on in its host, and the next daemon knows how it ended.
#[test]
fn jobs_outlive_the_daemon() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    let short = conn.begin("bridge", "soak", json!({"durationSeconds": 0.5}));
    let long = conn.begin("bridge", "soak", json!({"durationSeconds": 600}));
    daemon.kill9();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let record = conn.end_of_job("bridge", &short);
    assert_eq!(record["state"], "succeeded", "{record:?}");
    assert_eq!(conn.job("bridge", &long)["state"], "running");
    conn.call("action.job.cancel", json!({"appId": "bridge", "jobId": long}));
    assert_eq!(conn.end_of_job("bridge", &long)["state"], "canceled");
    assert_eq!(daemon.terminate().code(), Some(0));
}
