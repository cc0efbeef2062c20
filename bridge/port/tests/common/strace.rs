//! Counts the system calls of one thread. Noise-free facts, so that any more of them is a failure.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// `strace -c` on one thread; answers how often it made which system call while `work` ran.
pub fn system_calls(thread: i32, work: impl FnOnce()) -> Option<BTreeMap<String, u64>> {
    // Where Yama restricts tracing to parents, strace, which is our child, may trace us nevertheless.
    let _ = rustix::process::set_ptracer(rustix::process::PTracer::Any);
    let spawned = Command::new("strace")
        .args(["-c", "-p", &thread.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut strace: Child = match spawned {
        Ok(child) => child,
        Err(e) => {
            eprintln!("skipped: strace cannot be run: {e}");
            return None;
        }
    };
    let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines().map_while(Result::ok);
    let attached = lines.find(|line| line.contains("attached"));
    assert!(attached.is_some(), "strace could not attach to the shard");
    work();
    let pid = rustix::process::Pid::from_child(&strace);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut calls = BTreeMap::new();
    for line in lines {
        // % time, seconds, usecs/call, calls, errors (or nothing), name
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, n, .., name] = words[..]
            && let Ok(n) = n.parse::<u64>()
            && name != "total"
        {
            calls.insert(name.to_owned(), n);
        }
    }
    strace.wait().unwrap();
    assert!(!calls.is_empty(), "strace counted nothing");
    Some(calls)
}

/// At most three calls a message, and no others than these.
pub fn check(what: &str, calls: &BTreeMap<String, u64>, messages: u64) {
    // Attaching breaks into one wait, which is then started again.
    const START: u64 = 2;
    for (name, n) in calls {
        assert!(
            ["epoll_pwait2", "read", "write", "recvfrom", "sendto"].contains(&name.as_str()),
            "{what}: {n} x {name} in {calls:?}"
        );
        assert!(*n <= messages + START, "{what}: {n} x {name} for {messages} messages");
    }
    let all: u64 = calls.values().sum();
    println!("{what}: {:.3} system calls a message, {calls:?}", all as f64 / messages as f64);
    assert!(all <= 3 * messages + START, "{what}: {all} system calls for {messages} messages: {calls:?}");
}
