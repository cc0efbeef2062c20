//! What a shard asks of the system to keep time: every wish is answered, what is granted is so, and a shard that spins
//! before its deadlines still does everything else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/wire.rs"]
mod wire;

use std::time::Duration;

use common::{App, open_pty, pattern, runtime};
use hilrig_port::{LinkOptions, RealTime, Shard};
use wire::Wire;

/// A field of `/proc/<thread>/stat`, counted from 1 as its manual does.
fn stat(thread: i32, field: usize) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    let after_name = line.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().nth(field - 3).unwrap().parse().unwrap()
}

#[test]
fn every_wish_is_answered_and_what_is_granted_is_so() {
    const POLICY: usize = 41;
    const PRIORITY: usize = 40;
    let allowed = std::fs::read_to_string("/proc/self/status").unwrap();
    let cpus = allowed.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let cpu: usize = cpus.split([',', '-']).next().unwrap().parse().unwrap();
    let ask = RealTime {
        fifo: Some(5),
        spin: Duration::from_micros(50),
        cpu: Some(cpu),
        lock_memory: true,
        dma_latency: true,
    };
    let shard = Shard::start_with("timely", &ask).unwrap();
    let rows = &shard.granted().rows;
    let names: Vec<_> = rows.iter().map(|r| r.what).collect();
    assert_eq!(names, ["timer slack", "SCHED_FIFO", "spin", "core", "memory", "processor sleep"]);
    let row = |what| rows.iter().find(|r| r.what == what).unwrap();
    assert!(row("timer slack").granted && row("core").granted, "{rows:?}");
    let (policy, priority) = (stat(shard.thread_id(), POLICY), stat(shard.thread_id(), PRIORITY));
    if row("SCHED_FIFO").granted {
        assert_eq!((policy, priority), (1, 5));
    } else {
        assert_eq!(policy, 0);
        assert!(row("SCHED_FIFO").detail.contains("rtprio 5"), "{rows:?}");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let locked = status.lines().find_map(|l| l.strip_prefix("VmLck:")).unwrap().trim();
    assert_eq!(row("memory").granted, locked != "0 kB", "{rows:?}, {locked} are locked");
    for refused in rows.iter().filter(|r| !r.granted) {
        assert!(refused.detail.contains(": "), "no reason: {refused:?}");
    }
    let status = std::fs::read_to_string(format!("/proc/self/task/{}/status", shard.thread_id())).unwrap();
    assert!(
        status
            .lines()
            .any(|l| l.starts_with("Cpus_allowed_list:") && l.trim().ends_with(&format!("\t{cpu}")))
    );

    let plain = Shard::start("plain").unwrap();
    assert_eq!(plain.granted().rows.len(), 1);
    assert_eq!(stat(plain.thread_id(), POLICY), 0);
}

#[test]
fn a_shard_that_spins_loses_nothing_and_sleeps_when_nothing_is_due() {
    let (_tmp, runtime) = runtime();
    let ask = RealTime { spin: Duration::from_micros(60), ..RealTime::default() };
    let shard = Shard::start_with("spins", &ask).unwrap();
    let (a, far_a, _) = open_pty("a", &runtime);
    let (b, far_b, _) = open_pty("b", &runtime);
    let wire = Wire::new(Duration::from_micros(200), 0, 0);
    let options = LinkOptions { conduit: Some(Box::new(wire)), ..LinkOptions::default() };
    let _link = shard.add_link(a, b, options).unwrap();
    let (app_a, app_b) = (App::open(&far_a), App::open(&far_b));
    let bytes = pattern(50_000, 6);
    std::thread::scope(|s| {
        s.spawn(|| app_a.write(&bytes));
        assert!(app_b.read(bytes.len()) == bytes);
    });
    common::sleeps(&shard);
}
