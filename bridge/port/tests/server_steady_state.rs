//! What a server costs its shard while callers ask, counted: no allocation, no futex call, one read and one write a
//! request and its share of one wait.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/strace.rs"]
mod strace;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::{PATIENCE, open, runtime, wait_until};
use hilrig_port::{Caller, Calls, Server, ServerRef, Shard, Time};
use hilrig_tests::{Counting, allocator_calls};
use strace::{check, system_calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers requests of 12 bytes with 29, as a read of ten registers is answered, and has a deadline that it moves with
/// each, as one with an idle time-out has.
struct Slave {
    due: Time,
    ticks: u64,
    tick: Duration,
    /// Bytes of a request that is not whole yet, of each caller.
    begun: [usize; 16],
}

const REQUEST: [u8; 12] = *b"read ten reg";
const REPLY: [u8; 29] = *b"ten registers are these ten..";

impl Server for Slave {
    fn on_caller(&mut self, _: Time, _: Caller) -> bool {
        true
    }

    fn on_bytes(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls) {
        let begun = &mut self.begun[caller.0 as usize];
        *begun += bytes.len();
        while *begun >= REQUEST.len() {
            *begun -= REQUEST.len();
            calls.send(caller, &REPLY);
        }
        self.due = now + self.tick;
    }

    fn on_closed(&mut self, _: Time, _: Caller) {}

    fn on_deadline(&mut self, now: Time, _: &mut Calls) {
        self.ticks += 1;
        self.due = now + self.tick;
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.due)
    }
}

struct Bench {
    shard: Shard,
    server: ServerRef,
    address: SocketAddr,
    callers: Vec<TcpStream>,
}

impl Bench {
    fn new(n: usize) -> Self {
        let (_tmp, runtime) = runtime();
        let shard = Shard::start("steady").unwrap();
        let listener = open("tcp-listen:127.0.0.1:0", &runtime);
        let address = listener.local_addr().unwrap();
        let tick = Duration::from_secs(3600);
        let slave = Slave { due: Time::now() + tick, ticks: 0, tick, begun: [0; 16] };
        let server = shard.add_server(listener, None, Box::new(slave)).unwrap();
        let mut bench = Self { shard, server, address, callers: Vec::new() };
        for _ in 0..n {
            bench.call();
        }
        bench.round(1);
        bench
    }

    fn call(&mut self) {
        let caller = TcpStream::connect(self.address).unwrap();
        caller.set_nodelay(true).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        self.callers.push(caller);
    }

    /// Each caller asks `n` requests at once, all at the same time.
    fn round(&mut self, n: usize) {
        let (requests, mut replies) = (REQUEST.repeat(n), vec![0; n * REPLY.len()]);
        for caller in &mut self.callers {
            caller.write_all(&requests).unwrap();
        }
        for caller in &mut self.callers {
            caller.read_exact(&mut replies).unwrap();
            assert!(replies.chunks(REPLY.len()).all(|reply| reply == REPLY));
        }
    }

    fn slave<R: Send>(&self, f: impl FnOnce(&mut Slave, &mut Calls) -> R + Send) -> R {
        self.shard.with_server(&self.server, |s: &mut Slave, _, calls| f(s, calls)).unwrap()
    }

    /// Calls of the allocator on the shard's thread so far.
    fn allocator_calls(&self) -> u64 {
        self.slave(|_, _| allocator_calls())
    }
}

/// Counts are of the process, so that these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

const N: usize = 2_000;

#[test]
fn serving_neither_allocates_nor_frees() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bench = Bench::new(16);
    let calls = bench.allocator_calls();
    // The counter counts: this closure runs on the shard and allocates.
    bench.slave(|_, _| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(bench.allocator_calls() - calls, 2);
    let calls = bench.allocator_calls();
    for i in 0..1000 {
        // One request, a few, and more than one read takes.
        bench.round([1, 1, 5, 100][i % 4]);
    }
    bench.slave(|s, _| (s.tick, s.due) = (Duration::from_micros(500), Time(0)));
    wait_until("deadlines pass", || bench.slave(|s, _| s.ticks) > 20);
    bench.round(1);
    // Somebody going, and another coming in that place.
    for left in (0..16).rev() {
        bench.callers.pop();
        wait_until("it is gone", || bench.server.callers() == left);
    }
    for _ in 0..16 {
        bench.call();
    }
    bench.round(3);
    assert_eq!(bench.allocator_calls(), calls, "calls of the allocator on the shard's thread");
}

#[test]
fn a_request_costs_one_read_and_one_write_and_no_futex() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bench = Bench::new(1);
    let thread = bench.shard.thread_id();
    let work = |bench: &mut Bench, rounds: usize, n: usize| (0..rounds).for_each(|_| bench.round(n));
    let Some(calls) = system_calls(thread, || work(&mut bench, N, 1)) else { return };
    check("one caller", &calls, N as u64);
    assert!(calls["recvfrom"] > N as u64 / 2 && calls["sendto"] > N as u64 / 2, "{calls:?}");
    // Many requests in one piece are answered in one piece.
    let calls = system_calls(thread, || work(&mut bench, N, 50)).unwrap();
    check("fifty requests at once", &calls, N as u64);
    // Of many callers who ask at once, several are answered after one wait.
    (0..15).for_each(|_| bench.call());
    bench.round(1);
    let calls = system_calls(thread, || work(&mut bench, N / 4, 1)).unwrap();
    check("16 callers", &calls, 4 * N as u64);
}
