//! What a shard does while bytes flow, counted: no allocation, no futex call, at most three system calls a
//! message. Noise-free facts, so that any more of them is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/strace.rs"]
mod strace;
#[path = "common/wire.rs"]
mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::{App, open_pty, pattern, runtime, wait_until};
use hilrig_port::{
    Link, LinkOptions, Shard, Station, StationRef, TapKind, TapPoints, TapReader, Time, Tx, tap,
};
use hilrig_tests::{Counting, allocator_calls};
use strace::{check, system_calls};
use wire::Wire;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers each request, and always has a deadline pending, as a Modbus slave has.
struct Slave {
    due: Time,
    timeouts: u64,
}

const SILENCE: Duration = Duration::from_millis(1);

impl Station for Slave {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.due = now + Duration::from_secs(3600);
        assert!(tx.send(bytes));
    }

    fn on_deadline(&mut self, now: Time, _: &mut Tx) {
        self.timeouts += 1;
        self.due = now + SILENCE;
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.due)
    }
}

struct Bench {
    _tmp: tempfile::TempDir,
    shard: Shard,
    link: Link,
    a: App,
    b: App,
    station: StationRef,
    master: App,
}

impl Bench {
    fn new() -> Self {
        Self::with(LinkOptions::default())
    }

    fn with(options: LinkOptions) -> Self {
        let (tmp, runtime) = runtime();
        let shard = Shard::start("steady").unwrap();
        let (a, far_a, _) = open_pty("a", &runtime);
        let (b, far_b, _) = open_pty("b", &runtime);
        let link = shard.add_link(a, b, options).unwrap();
        let (port, far, _) = open_pty("s", &runtime);
        let slave = Slave { due: Time::now() + SILENCE, timeouts: 0 };
        let station = shard.add_station(port, Box::new(slave)).unwrap();
        let bench = Self {
            shard,
            link,
            a: App::open(&far_a),
            b: App::open(&far_b),
            station,
            master: App::open(&far),
            _tmp: tmp,
        };
        // Until the shard has seen all of it, and has put its flags back, it is not steady.
        for app in [&bench.a, &bench.b, &bench.master] {
            let flag = rustix::termios::LocalModes::ECHONL;
            wait_until("the ports settle", || {
                rustix::termios::tcgetattr(&app.0).unwrap().local_modes.contains(flag)
            });
        }
        bench.link_messages(10);
        bench.station_messages(10);
        bench
    }

    /// Calls of the allocator on the shard's thread so far.
    fn allocator_calls(&self) -> u64 {
        self.shard.with_station(&self.station, |_: &mut Slave, _, _| allocator_calls()).unwrap()
    }

    /// One after the other through the link, both ways, of sizes that serial protocols have.
    fn link_messages(&self, n: usize) {
        for i in 0..n {
            let bytes = &pattern(256, 1)[..[1, 16, 256][i % 3]];
            let (from, to) = if i % 2 == 0 { (&self.a, &self.b) } else { (&self.b, &self.a) };
            from.write(bytes);
            assert!(to.read(bytes.len()) == bytes);
        }
    }

    fn station_messages(&self, n: usize) {
        for _ in 0..n {
            self.master.write(b"request");
            assert_eq!(self.master.read(7), b"request");
        }
    }
}

/// Reads a tap as a capture's writer does, in a thread of its own; answers how many payload bytes came.
fn drained(mut reader: TapReader) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut bytes = 0;
        while !reader.is_over() {
            while let Some(record) = reader.next_record() {
                assert_ne!(record.kind, TapKind::Lost);
                bytes += record.bytes.len() as u64;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bytes
    })
}

/// Records what passes at the station from now on.
fn tap_station(bench: &Bench) -> std::thread::JoinHandle<u64> {
    let (tap, reader) = tap(1 << 20);
    let old = bench.shard.set_seat_tap(&bench.station.seat(), Some(tap), TapPoints::Both).unwrap();
    assert!(old.is_none());
    drained(reader)
}

/// Counts are of the process, so that these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn the_shard_neither_allocates_nor_frees_while_bytes_flow() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::new();
    let calls = bench.allocator_calls();
    // The counter counts: this closure runs on the shard and allocates.
    let allocate = |_: &mut Slave, _: Time, _: &mut Tx| drop(std::hint::black_box(vec![1u8; 100]));
    bench.shard.with_station(&bench.station, allocate).unwrap();
    assert_eq!(bench.allocator_calls() - calls, 2);
    let calls = bench.allocator_calls();

    bench.link_messages(5_000);
    bench.station_messages(5_000);
    // A stalled line, somebody leaving and coming, and somebody looking on are part of a day's work too.
    let bytes = pattern(500_000, 2);
    std::thread::scope(|s| {
        s.spawn(|| bench.a.write(&bytes));
        wait_until("the line stalls", || bench.link.stats().directions[0].pending > 0);
        assert!(bench.b.read(bytes.len()) == bytes);
    });
    let timeouts = || bench.shard.with_station(&bench.station, |s: &mut Slave, _, _| s.timeouts).unwrap();
    bench.shard.with_station(&bench.station, |s: &mut Slave, now, _| s.due = now).unwrap();
    let before = timeouts();
    wait_until("deadlines pass", || timeouts() > before + 10);
    assert_eq!(bench.allocator_calls(), calls, "calls of the allocator on the shard's thread");
}

#[test]
fn neither_a_tap_nor_a_conduit_makes_the_shard_allocate() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (tap, reader) = tap(1 << 20);
    let bytes = drained(reader);
    let wire = Wire::new(Duration::from_micros(50), 0, 0);
    let bench = Bench::with(LinkOptions {
        conduit: Some(Box::new(wire)),
        tap: Some(tap),
        tap_points: TapPoints::Both,
        ..LinkOptions::default()
    });
    let at_station = tap_station(&bench);
    let calls = bench.allocator_calls();
    bench.link_messages(3_000);
    bench.station_messages(3_000);
    // Faults that fire, and events of them that nobody reads, are nothing special either.
    let faulty = |wire: &mut Wire, _| wire.drop = 20;
    bench.shard.with_conduit(&bench.link, faulty).unwrap();
    let line = pattern(10_000, 3);
    bench.a.write(&line);
    wait_until("all is through", || {
        bench.b.read_some();
        let d = &bench.link.stats().directions[0];
        d.fault_bytes >= 500 && d.pending == 0
    });
    assert_eq!(bench.allocator_calls(), calls, "calls of the allocator on the shard's thread");
    let stats = bench.link.stats();
    let all: u64 = stats.directions.iter().map(|d| d.bytes_in + d.bytes_out).sum();
    drop(bench);
    assert!(bytes.join().unwrap() >= all, "the tap has recorded less than went through");
    assert_eq!(at_station.join().unwrap(), 3_000 * 14, "the station's tap");
}

const N: usize = 2_000;

#[test]
fn a_tap_costs_no_system_call_and_a_conduit_that_does_not_wait_none_either() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for (what, conduit) in [("tap", false), ("tap and conduit", true)] {
        let (tap, reader) = tap(1 << 20);
        let bytes = drained(reader);
        let wire = || Box::new(Wire::new(Duration::ZERO, 0, 0));
        let bench = Bench::with(LinkOptions {
            conduit: if conduit { Some(wire()) } else { None },
            tap: Some(tap),
            tap_points: TapPoints::Both,
            ..LinkOptions::default()
        });
        let idle = |s: &mut Slave, now: Time, _: &mut Tx| s.due = now + Duration::from_secs(3600);
        bench.shard.with_station(&bench.station, idle).unwrap();
        if let Some(calls) = system_calls(bench.shard.thread_id(), || bench.link_messages(N)) {
            check(what, &calls, N as u64);
        }
        let at_station = tap_station(&bench);
        if let Some(calls) = system_calls(bench.shard.thread_id(), || bench.station_messages(N)) {
            check("tap of a station", &calls, N as u64);
        }
        drop(bench);
        assert!(bytes.join().unwrap() > 0);
        at_station.join().unwrap();
    }
}

#[test]
fn a_message_costs_three_system_calls_and_no_futex() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::new();
    // Without a deadline near, which would add a wait of its own.
    let idle = |s: &mut Slave, now: Time, _: &mut Tx| s.due = now + Duration::from_secs(3600);
    bench.shard.with_station(&bench.station, idle).unwrap();
    let thread = bench.shard.thread_id();
    if let Some(calls) = system_calls(thread, || bench.link_messages(N)) {
        check("link", &calls, N as u64);
        // The first few may pass before strace is quite there.
        assert!(calls["read"] > N as u64 / 2 && calls["write"] > N as u64 / 2, "{calls:?}");
    }
    if let Some(calls) = system_calls(thread, || bench.station_messages(N)) {
        check("station", &calls, N as u64);
    }
}
