//! Orderly ends, and several daemons at once.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hilrig_tests::{Conn, Read, Sandbox, Tarpit, end_of, signal, wait_for};
use rustix::process::Signal;
use serde_json::json;

/// Far more than an orderly end takes, far less than a person waits.
const DEADLINE: Duration = Duration::from_secs(15);

#[test]
fn sigterm_stops_everything_in_order() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    conn.act("plc-simulator", "run_start", json!({}));
    conn.try_act("40318", "run_start", json!({}));
    conn.begin("bridge", "soak", json!({"durationSeconds": 600}));
    let mut idle: Vec<Conn> = (0..20).map(|_| daemon.connect()).collect();
    let mut subscriber = daemon.connect_tcp();
    subscriber
        .call("events.subscribe", json!({"topics": ["status.changed", "job.changed", "log", "metrics"]}));
    let began = Instant::now();
    assert_eq!(daemon.terminate().code(), Some(0));
    println!("the daemon ended after {:?}", began.elapsed());
    assert!(began.elapsed() < DEADLINE);
    sandbox.wait_until_empty();
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new(), "links and sockets are gone");
    for conn in &mut idle {
        assert_eq!(conn.read_line(DEADLINE), Read::Closed);
    }
    // The next life starts from nothing.
    let daemon = sandbox.daemon();
    let status = daemon.connect().status("bridge");
    assert_eq!((&status["running"], &status["error"]), (&json!(false), &json!("")));
}

#[test]
fn sigint_is_an_orderly_end_too() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    daemon.connect().act("bridge", "run_start", json!({}));
    signal(daemon.pid(), Signal::INT);
    sandbox.wait_until_empty();
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}

/// A host that does not answer does not hold the daemon's end up, and does not stay.
#[test]
fn sigterm_has_a_deadline() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    let host = conn.status("bridge")["hostPid"].as_u64().unwrap() as u32;
    signal(host, Signal::STOP);
    let began = Instant::now();
    daemon.terminate();
    println!("the daemon ended after {:?}", began.elapsed());
    sandbox.wait_until_empty();
}

/// Nor does a start that hangs.
#[test]
fn sigterm_ends_a_start_under_way() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let tarpit = Tarpit::new();
    conn.set("bridge", "far.com", tarpit.url.clone());
    conn.begin("bridge", "run_start", json!({}));
    let began = Instant::now();
    assert_eq!(daemon.terminate().code(), Some(0));
    println!("the daemon ended after {:?}", began.elapsed());
    assert!(began.elapsed() < DEADLINE);
    sandbox.wait_until_empty();
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}

/// A host that stands still does not make the daemon stand still.
#[test]
fn a_host_that_hangs_holds_up_nobody_else() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    let host = conn.status("bridge")["hostPid"].as_u64().unwrap() as u32;
    signal(host, Signal::STOP);
    let asked = Instant::now();
    conn.ping();
    for app in ["plc-simulator", "40318"] {
        conn.status(app);
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    // Its own status is answered as well, in time for a console (8 s).
    let status = conn.request("status.get", json!({"appId": "bridge"}));
    println!("status of a host that hangs after {:?}: {status}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    signal(host, Signal::CONT);
    let back = wait_for("the host is back", || {
        let reply = conn.request("status.get", json!({"appId": "bridge"}));
        (reply["response"]["running"] == true).then_some(reply)
    });
    assert_eq!(back["response"]["error"], "", "{back}");
}

#[test]
fn of_many_daemons_started_at_once_one_serves() {
    let sandbox = Sandbox::new();
    let mut daemons: Vec<_> = (0..6)
        .map(|_| {
            let mut command = sandbox.command(["serve", "--no-tcp"]);
            command.stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    wait_for("one is left", || {
        let alive = daemons.iter_mut().filter_map(|d| d.try_wait().unwrap().is_none().then_some(())).count();
        assert!(alive > 0, "all gave up");
        (alive == 1).then_some(())
    });
    let socket = wait_for("it listens", || sandbox.control_socket());
    let mut conn = wait_for("it answers", || Conn::try_unix(&socket).ok());
    conn.ping();
    for mut daemon in daemons {
        match daemon.try_wait().unwrap() {
            Some(status) => assert_eq!(status.code(), Some(3)),
            None => {
                signal(daemon.id(), Signal::TERM);
                let status = end_of(&mut daemon, DEADLINE, "the daemon that serves");
                assert_eq!((status.code(), status.signal()), (Some(0), None));
            }
        }
    }
}

/// Hosts without run, job and daemon do not stay for ever.
#[test]
fn an_idle_host_without_a_daemon_ends_by_itself() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    daemon.connect().act("bridge", "run_stop", json!({}));
    daemon.connect().try_act("40318", "run_start", json!({}));
    daemon.kill9();
    assert!(!sandbox.processes().is_empty(), "hosts stay for a while, for the next daemon");
    hilrig_tests::wait_within(Duration::from_secs(30), "idle hosts end", || {
        sandbox.processes().is_empty().then_some(())
    });
}
