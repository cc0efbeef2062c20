//! Clients that want too much: the daemon serves everybody else, forgets nothing that it promised to keep, and counts
//! what it drops.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hilrig_tests::{Conn, NOT_FOUND, Read, Sandbox, hilrig, memory, refusal, response, wait_for};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

/// What the daemon may grow by meanwhile, in KiB.
const GROWTH: u64 = 48 << 10;

/// This test opens more connections than a shell usually allows.
fn many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(4096, |max| max.min(4096));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).unwrap();
}

#[track_caller]
fn answered_soon(connect: impl Fn() -> Conn) {
    let asked = Instant::now();
    connect().status("bridge");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn connections_beyond_the_cap_are_refused_and_hurt_nobody() {
    many_descriptors();
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut first = daemon.connect_tcp();
    let described = first.call("interface.describe", json!({}));
    let cap = described["limits"]["connections"].as_u64().expect("limits.connections") as usize;
    let before = memory(daemon.pid(), "VmRSS");
    let mut open: Vec<Conn> = (1..cap).map(|_| daemon.connect_tcp()).collect();
    open.iter_mut().step_by(100).for_each(Conn::ping);
    // The next ones are told, or closed; either way nobody waits.
    for _ in 0..20 {
        let mut over = daemon.connect_tcp();
        let _ = over.send(b"{\"method\":\"ping\"}\n");
        match over.read_line(Duration::from_secs(5)) {
            Read::Line(line) => {
                let reply: Value = serde_json::from_slice(&line).unwrap();
                refusal(&reply, &hilrig_tests::CODES);
                assert_eq!(over.read_line(Duration::from_secs(5)), Read::Closed);
            }
            other => assert_eq!(other, Read::Closed),
        }
    }
    first.status("bridge");
    answered_soon(|| daemon.connect());
    let after = memory(daemon.pid(), "VmRSS");
    println!("{cap} connections: VmRSS before {before} KiB, after {after} KiB");
    assert!(after < before + GROWTH, "VmRSS grew from {before} to {after} KiB");
    open.truncate(10);
    wait_for("there is room again", || {
        daemon.connect_tcp().try_ask(&json!({"method": "ping"})).filter(|r| r["ok"] == true)
    });
}

#[test]
fn a_daemon_with_few_descriptors_lives_through_many_clients() {
    let sandbox = Sandbox::new();
    let script = "ulimit -n 64 && exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(script)
        .arg(hilrig())
        .args(["serve", "--no-tcp"])
        .stderr(Stdio::null())
        .stdin(Stdio::null());
    command.env("HILRIG_ROOT", &sandbox.root).env("HILRIG_RUNTIME_DIR", &sandbox.runtime);
    let mut child = command.spawn().unwrap();
    let socket = wait_for("it listens", || sandbox.control_socket());
    let mut first = wait_for("it answers", || Conn::try_unix(&socket).ok());
    first.ping();
    let clients: Vec<Conn> = (0..200).filter_map(|_| Conn::try_unix(&socket).ok()).collect();
    // Nothing is left for new clients, but those it has are served, and it does not spin.
    let busy = cpu_ticks(child.id());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        first.ping();
        std::thread::sleep(Duration::from_millis(20));
    }
    let busy = cpu_ticks(child.id()) - busy;
    assert!(busy < 50, "{busy} of 100 ticks: it spins");
    drop(clients);
    wait_for("there is room again", || Conn::try_unix(&socket).ok()?.try_ask(&json!({"method": "ping"})));
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Processor time of a process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|f| f.parse::<u64>().unwrap()).sum()
}

/// Invokes an action that ends at once, `count` times, and waits for all.
fn many_jobs(conn: &mut Conn, count: usize) -> Vec<String> {
    let params = json!({"appId": "bridge", "actionName": "port_list"});
    let line = format!("{}\n", json!({"method": "action.invoke", "params": params}));
    let mut ids = Vec::new();
    while ids.len() < count {
        let batch = 50.min(count - ids.len());
        conn.send(line.repeat(batch).as_bytes()).unwrap();
        for _ in 0..batch {
            ids.push(response(&conn.reply())["jobId"].as_str().unwrap().to_owned());
        }
        conn.end_of_job("bridge", ids.last().unwrap());
    }
    ids
}

#[test]
fn the_last_thousand_jobs_stay_readable() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let ids = many_jobs(&mut conn, 1100);
    for id in &ids[ids.len() - 1000..] {
        conn.end_of_job("bridge", id);
    }
    let gone = conn.request("action.job.get", json!({"appId": "bridge", "jobId": ids[0]}));
    refusal(&gone, &[NOT_FOUND]);
    let listed = conn.call("action.job.list", json!({"appId": "bridge"}));
    let kept = listed["jobs"].as_array().unwrap().len();
    assert!((1000..1100).contains(&kept), "{kept} are kept");
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn a_subscriber_that_never_reads_costs_nobody_anything() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    let mut stalled = daemon.connect();
    stalled.call("events.subscribe", json!({"topics": ["status.changed", "job.changed", "log", "metrics"]}));
    let mut reader = daemon.connect_tcp();
    reader.call("events.subscribe", json!({"topics": ["job.changed"]}));
    let before = memory(daemon.pid(), "VmRSS");
    let mut heard = 0;
    let mut seq = 0;
    for _ in 0..10 {
        let last = many_jobs(&mut conn, 100).pop().unwrap();
        answered_soon(|| daemon.connect());
        // Whoever reads hears of everything.
        loop {
            let event = reader.event();
            assert_eq!(event["params"]["dropped"], 0, "{event}");
            seq += 1;
            assert_eq!(event["params"]["seq"], json!(seq));
            heard += usize::from(event["params"]["state"] == "succeeded");
            if event["params"]["jobId"] == last.as_str() && event["params"]["state"] == "succeeded" {
                break;
            }
        }
    }
    assert!(heard >= 900, "{heard} of 1000 jobs were told to the one who reads");
    let after = memory(daemon.pid(), "VmRSS");
    println!("1000 jobs: VmRSS before {before} KiB, after {after} KiB");
    assert!(after < before + GROWTH, "VmRSS grew from {before} to {after} KiB");
    // What the other one has missed is counted, exactly.
    let (mut received, mut last) = (0, json!({}));
    while let Read::Line(line) = stalled.read_line(Duration::from_millis(500)) {
        last = serde_json::from_slice::<Value>(&line).unwrap()["params"].clone();
        received += 1;
        assert_eq!(last["seq"].as_u64().unwrap(), received + last["dropped"].as_u64().unwrap(), "{last}");
        if received > 100_000 {
            break;
        }
    }
    assert!(last["dropped"].as_u64().is_some_and(|d| d > 0), "it was to miss something: {last}");
}
