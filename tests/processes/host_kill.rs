//! The death of a host process is told, cleaned up after, and survived.

use std::time::{Duration, Instant};

use hilrig_tests::{Conn, Line, Process, Sandbox, Seeded, Tarpit, pattern, signal, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::traffic::Traffic;

const KILLS: usize = 20;

fn hosts(sandbox: &Sandbox) -> Vec<Process> {
    sandbox.processes_with(" host ")
}

/// What everybody has to hear once the host of `app` is dead.
#[track_caller]
fn told(conn: &mut Conn, subscriber: &mut Conn, app: &str, killed: Instant) -> Duration {
    let event = subscriber.event_with(|e| {
        e["event"] == "status.changed" && e["params"]["appId"] == app && e["params"]["running"] == false
    });
    let took = killed.elapsed();
    let reason = |of: &Value| of["error"].as_str().unwrap_or_default().to_lowercase();
    let says_so = |why: &str| why.contains("kill") || why.contains("signal 9");
    assert!(says_so(&reason(&event["params"])), "{event}");
    let status = Value::Object(conn.status(app));
    assert_eq!((&status["running"], &status["pid"]), (&json!(false), &json!(null)), "{status}");
    assert_eq!((&status["hostRunning"], &status["hostPid"]), (&json!(false), &json!(null)), "{status}");
    assert_eq!(status["bootId"], "");
    assert!(says_so(&reason(&status)), "{status}");
    took
}

#[test]
fn kill_9_of_a_host_is_told_and_survived() {
    let mut random = Seeded::from_env();
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let mut subscriber = daemon.connect();
    subscriber.call("events.subscribe", json!({"topics": ["status.changed"]}));
    conn.set("bridge", "near.url", "pty:near");
    let (mut boots, mut told_after) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        // A new name each time: the link of the last life has to go by itself.
        let far = format!("far-{kill}");
        conn.set("bridge", "far.com", format!("pty:{far}"));
        conn.act("bridge", "run_start", json!({}));
        let status = conn.status("bridge");
        assert_eq!(status["error"], "", "a new run has no old error");
        let boot = status["bootId"].as_str().unwrap().to_owned();
        assert!(!boot.is_empty() && !boots.contains(&boot), "{boot} in {boots:?}");
        boots.push(boot);
        if kill > 0 {
            let old = sandbox.port(&format!("far-{}", kill - 1));
            assert!(old.symlink_metadata().is_err(), "{} is left over", old.display());
        }
        let traffic = Traffic::start(&mut conn, &sandbox.port("near"), &sandbox.port(&far));
        traffic.flows();
        let soak = conn.invoke("bridge", "soak", json!({"durationSeconds": 600}));
        random.pause(Duration::from_millis(20));
        let host = hosts(&sandbox);
        assert_eq!(host.len(), 1, "{host:?}");
        assert_eq!(conn.status("bridge")["hostPid"], json!(host[0].pid));
        subscriber.events.clear();
        let killed = Instant::now();
        signal(host[0].pid, Signal::KILL);
        told_after.push(told(&mut conn, &mut subscriber, "bridge", killed));
        let record = conn.end_of_job("bridge", &soak);
        assert_eq!(record["state"], "failed", "a job of a dead host is over: {record:?}");
        traffic.cut_off();
        assert!(hosts(&sandbox).is_empty(), "{:?}", hosts(&sandbox));
        conn.act("bridge", "run_stop", json!({}));
    }
    told_after.sort_unstable();
    println!("deaths were told after {told_after:?}");
    assert!(told_after[KILLS / 2] < Duration::from_millis(200), "half of them in time: {told_after:?}");
    // After all that, a run like any other.
    conn.act("bridge", "run_start", json!({}));
    let far = sandbox.port(&format!("far-{}", KILLS - 1));
    let traffic = Traffic::start(&mut conn, &sandbox.port("near"), &far);
    traffic.flows();
    traffic.finish();
    assert_eq!(sandbox.processes().len(), 2, "{:?}", sandbox.processes());
    conn.act("bridge", "run_stop", json!({}));
    assert_eq!(daemon.terminate().code(), Some(0));
    sandbox.wait_until_empty();
    assert_eq!(sandbox.runtime_files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn two_roles_of_one_host_die_and_return_together() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let mut subscriber = daemon.connect();
    subscriber.call("events.subscribe", json!({"topics": ["status.changed"]}));
    conn.act("plc-simulator", "run_start", json!({}));
    conn.try_act("ble-simulator", "run_start", json!({}));
    let [plc, ble] = ["plc-simulator", "ble-simulator"].map(|app| conn.status(app)["hostPid"].clone());
    assert_eq!(plc, ble, "roles of one process");
    signal(plc.as_u64().unwrap() as u32, Signal::KILL);
    told(&mut conn, &mut subscriber, "plc-simulator", Instant::now());
    assert_eq!(conn.status("ble-simulator")["hostPid"], json!(null));
    conn.act("plc-simulator", "run_start", json!({}));
    assert_ne!(conn.status("plc-simulator")["hostPid"], plc);
    assert_eq!(conn.status("bridge")["hostPid"], json!(null), "nobody asked for the bridge's host");
}

/// Daemon and host die together; the next daemon finds neither run nor host, and cleans up at the next start.
#[test]
fn kill_9_of_daemon_and_host_leaves_nothing_that_hurts() {
    let sandbox = Sandbox::new();
    for life in 0..5 {
        let daemon = sandbox.daemon();
        let mut conn = daemon.connect();
        let status = conn.status("bridge");
        assert_eq!((&status["running"], &status["bootId"]), (&json!(false), &json!("")), "life {life}");
        let far = format!("far-{life}");
        conn.set("bridge", "far.com", format!("pty:{far}"));
        conn.act("bridge", "run_start", json!({}));
        if life > 0 {
            let old = sandbox.port(&format!("far-{}", life - 1));
            assert!(old.symlink_metadata().is_err(), "{} is left over", old.display());
        }
        let (near, far) = (Line::open(&sandbox.port("bridge-a")), Line::open(&sandbox.port(&far)));
        conn.wait_for_peers([true, true]);
        let bytes: Vec<u8> = (0..1000).map(|at| pattern(7, at)).collect();
        near.write(&bytes).unwrap();
        assert_eq!(far.read(bytes.len()).unwrap(), bytes);
        sandbox.processes().iter().for_each(|p| signal(p.pid, Signal::KILL));
        wait_for("all are gone", || sandbox.processes().is_empty().then_some(()));
    }
}

/// A start that hangs dies with its host, at once and not at its time limit; the next one works.
#[test]
fn a_start_under_way_dies_with_its_host() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let tarpit = Tarpit::new();
    conn.set("bridge", "far.com", tarpit.url.clone());
    let start = conn.begin("bridge", "run_start", json!({}));
    let host = wait_for("there is a host", || hosts(&sandbox).pop());
    signal(host.pid, Signal::KILL);
    let record = conn.end_of_job("bridge", &start);
    assert_eq!(record["state"], "failed", "{record:?}");
    assert!(record["durationMs"].as_u64().unwrap() < 10_000, "{record:?}");
    conn.set("bridge", "far.com", "pty:far");
    conn.act("bridge", "run_start", json!({}));
    assert_eq!(daemon.terminate().code(), Some(0));
    sandbox.wait_until_empty();
}
