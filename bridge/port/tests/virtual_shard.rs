//! Stations and conduits on simulated time: who is called when, with what, and that every byte is accounted for.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::adds_up;
use hilrig_port::{
    Account, Conduit, Direction, Happened, LineEvent, Note, Out, PortError, PortState, Signal, Station, Time,
    Tx, VirtualShard,
};
use hilrig_tests::{Counting, allocator_calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

/// What stations saw, in the order in which they were called.
type Diary = Arc<Mutex<Vec<String>>>;

fn read(diary: &Diary) -> Vec<String> {
    std::mem::take(&mut diary.lock().unwrap())
}

/// Says something every so often and writes down what it hears.
struct Talker {
    name: &'static str,
    diary: Diary,
    due: Option<Time>,
    every: Duration,
    says: &'static [u8],
    signal: Option<Signal>,
}

impl Talker {
    fn boxed(name: &'static str, diary: &Diary, every: Option<Duration>) -> Box<Self> {
        let (due, every) = (every.map(|_| Time(0)), every.unwrap_or_default());
        Box::new(Self { name, diary: diary.clone(), due, every, says: b"hello", signal: None })
    }

    fn note(&self, now: Time, what: &str) {
        self.diary.lock().unwrap().push(format!("{} {} {what}", now.0 / 1_000_000, self.name));
    }
}

impl Station for Talker {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], _: &mut Tx) {
        assert_ne!(bytes, b"die", "told to");
        self.note(now, std::str::from_utf8(bytes).unwrap());
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        self.note(now, "speaks");
        self.due = self.due.map(|due| due + self.every);
        let _ = tx.send(self.says);
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }

    fn on_line(&mut self, now: Time, event: LineEvent, _: &mut Tx) {
        self.note(now, &format!("{event:?}"));
    }

    fn take_signal(&mut self) -> Option<Signal> {
        self.signal.take()
    }
}

/// Sends back what it gets.
struct Echo;

impl Station for Echo {
    fn on_bytes(&mut self, _: Time, bytes: &[u8], tx: &mut Tx) {
        let _ = tx.send(bytes);
    }

    fn on_deadline(&mut self, _: Time, _: &mut Tx) {}

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// Gives each byte out after a time, takes as many as there is room for, and loses those that are `x`.
struct Slow {
    delay: Duration,
    room: usize,
    waiting: [VecDeque<(Time, u8)>; 2],
    shown: [[u8; 1]; 2],
    accounts: [Account; 2],
}

impl Slow {
    fn boxed(delay: Duration, room: usize) -> Option<Box<dyn Conduit>> {
        let waiting = [VecDeque::with_capacity(room), VecDeque::with_capacity(room)];
        Some(Box::new(Self { delay, room, waiting, shown: Default::default(), accounts: Default::default() }))
    }
}

impl Conduit for Slow {
    fn room(&self, direction: Direction) -> usize {
        self.room - self.waiting[direction.index()].len()
    }

    fn push(&mut self, now: Time, direction: Direction, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(direction));
        assert_ne!(bytes, b"die", "told to");
        for &byte in bytes {
            if byte == b'x' {
                self.accounts[direction.index()].dropped += 1;
            } else {
                self.waiting[direction.index()].push_back((now + self.delay, byte));
            }
        }
    }

    fn signal(&mut self, _: Time, _: Direction, _: Signal) {}

    fn next(&mut self, now: Time, direction: Direction) -> Option<Out<'_>> {
        let d = direction.index();
        let (_, byte) = self.waiting[d].front().filter(|(due, _)| *due <= now)?;
        self.shown[d] = [*byte];
        Some(Out::Bytes(&self.shown[d]))
    }

    fn advance(&mut self, _: Time, direction: Direction, n: usize) {
        self.waiting[direction.index()].drain(..n);
    }

    fn discard(&mut self, _: Time, direction: Direction) -> u64 {
        self.waiting[direction.index()].drain(..).count() as u64
    }

    fn deadline(&self) -> Option<Time> {
        self.waiting.iter().filter_map(|w| Some(w.front()?.0)).min()
    }

    fn on_deadline(&mut self, _: Time) {}

    fn account(&self, direction: Direction) -> Account {
        let pending = self.waiting[direction.index()].len() as u64;
        Account { pending, ..self.accounts[direction.index()] }
    }

    fn note(&mut self) -> Option<Note> {
        None
    }
}

#[test]
fn a_talk_over_two_pairs_and_a_link_takes_the_time_the_conduit_says() {
    let run = || {
        let diary = Diary::default();
        let mut shard = VirtualShard::new();
        let (near, [a, b]) = shard.pair("near", Slow::boxed(MS, 64));
        let (far, [c, d]) = shard.pair("far", None);
        let echo = shard.add_station(a, Box::new(Echo)).unwrap();
        let link = shard.link(b, c, Slow::boxed(2 * MS, 64)).unwrap();
        let talker = shard.add_station(d, Talker::boxed("t", &diary, Some(10 * MS))).unwrap();
        shard.run_until(at(15));
        assert_eq!(shard.now(), at(15));
        // Two milliseconds over the link and one over the pair, there and back.
        let wanted = ["0 t Opened", "0 t speaks", "6 t hello", "10 t speaks"];
        assert_eq!(read(&diary), wanted);
        shard.run_until(at(25));

        let ports = [echo.port(), talker.port()].map(|p| p.snapshot());
        assert_eq!(ports.each_ref().map(|p| (p.rx_bytes, p.tx_bytes)), [(15, 15), (10, 15)]);
        for (link, out) in [(&near, [15, 15]), (&link, [10, 15]), (&far, [10, 15])] {
            let stats = link.stats();
            adds_up(&stats);
            assert_eq!(stats.directions.clone().map(|d| d.bytes_out), out, "{stats:?}");
        }
        assert_eq!(link.stats().directions[0].pending, 5, "the last is on its way");
        let inner = far.ports().map(|p| p.snapshot());
        assert_eq!(inner.map(|p| (p.peer_open, p.opens)), [(true, 1), (true, 1)]);
        let came = std::iter::from_fn(|| shard.next_event()).collect::<Vec<_>>();
        assert!(came.len() == 6 && came.iter().all(|e| e.what == Happened::Came), "{came:?}");
        (came, read(&diary))
    };
    assert_eq!(run(), run());
}

#[test]
fn of_two_at_the_same_time_the_one_that_asked_first_comes_first() {
    let diary = Diary::default();
    let mut shard = VirtualShard::new();
    let (_pair, [a, b]) = shard.pair("p", None);
    shard.add_station(b, Talker::boxed("b", &diary, Some(5 * MS))).unwrap();
    shard.add_station(a, Talker::boxed("a", &diary, Some(5 * MS))).unwrap();
    assert_eq!(shard.next(), Some(Time(0)));
    shard.run_until(at(5));
    let wanted = [
        "0 b Opened",
        "0 a Opened",
        "0 b speaks",
        "0 a hello",
        "0 a speaks",
        "0 b hello",
        "5 b speaks",
        "5 a hello",
        "5 a speaks",
        "5 b hello",
    ];
    assert_eq!(read(&diary), wanted);
    assert!(!shard.step(at(9)) && shard.now() == at(5));
    assert!(shard.step(at(10)) && shard.now() == at(10));
}

#[test]
fn what_finds_no_room_waits_and_what_finds_nobody_is_counted() {
    let mut shard = VirtualShard::new();
    let (pair, [a, b]) = shard.pair("p", Slow::boxed(MS, 7));
    let mut talker = Talker::boxed("t", &Diary::default(), Some(1000 * MS));
    talker.says = &[b'x'; 4096];
    let sender = shard.add_station(a, talker).unwrap();
    shard.run_until(at(500));
    let stats = pair.stats();
    assert_eq!((stats.directions[0].bytes_in, stats.directions[0].fault_bytes), (4096, 4096));

    let ok = shard.with_station(&sender, |_: &mut Talker, _, tx| tx.send(&[b'y'; 4000])).unwrap();
    assert!(ok);
    shard.run_until(at(900));
    let stats = pair.stats();
    adds_up(&stats);
    assert_eq!(stats.directions[0].discarded_bytes, 399 * 7 + 7, "seven each millisecond, to nobody");
    assert_eq!(pair.ports()[1].snapshot().discarded_bytes, 400 * 7);

    let receiver = shard.add_station(b, Box::new(Echo)).unwrap();
    let taken = shard.add_station(b, Box::new(Echo)).unwrap_err();
    assert!(matches!(taken, PortError::Busy { .. }) && taken.to_string().starts_with("p.b:"), "{taken}");
    shard.run_until(at(999));
    assert!(receiver.port().snapshot().rx_bytes > 0);
    shard.run_until(at(5000));
    adds_up(&pair.stats());
    let [there, back] = pair.stats().directions;
    assert_eq!(there.bytes_in, sender.port().snapshot().tx_bytes);
    assert_eq!((there.bytes_out, back.bytes_out), (receiver.port().snapshot().rx_bytes, there.bytes_out));

    shard.remove_station(receiver).unwrap();
    assert!(!pair.ports()[1].snapshot().peer_open);
    let last = shard.remove_link(pair);
    adds_up(&last);
    assert!(last.directions.iter().all(|d| d.pending == 0));
}

#[test]
fn a_slow_line_holds_up_what_lies_before_it() {
    let mut shard = VirtualShard::new();
    let (near, [a, b]) = shard.pair("near", None);
    let (_far, [c, d]) = shard.pair("far", Slow::boxed(MS, 7));
    let link = shard.link(b, c, None).unwrap();
    let end = shard.add_station(d, Talker::boxed("end", &Diary::default(), None)).unwrap();
    let mut talker = Talker::boxed("t", &Diary::default(), Some(MS));
    talker.says = b"as fast as it can, which is more than there is room for";
    let sender = shard.add_station(a, talker).unwrap();
    shard.run_until(at(1000));
    let (sent, got) = (sender.port().snapshot().tx_bytes, end.port().snapshot().rx_bytes);
    assert_eq!(got, 7 * 1000, "seven each millisecond");
    // One pipe is full before the slow pair, one before the link and one before the pair at the sender.
    assert_eq!(sent - got, 3 * 4096 + 7);
    for link in [&near, &link] {
        adds_up(&link.stats());
        assert_eq!(link.stats().directions[0].discarded_bytes, 0);
    }
    let left = shard.with_station(&sender, |talker: &mut Talker, _, tx| {
        talker.due = None;
        tx.pending().len() as u64
    });
    shard.run_until(at(60_000));
    assert_eq!(end.port().snapshot().rx_bytes, sent + left.unwrap(), "nothing is lost, and it all arrives");
}

#[test]
fn who_panics_loses_its_port_and_nobody_else_does() {
    let diary = Diary::default();
    let mut shard = VirtualShard::new();
    let (pair, [a, b]) = shard.pair("p", None);
    let mut killer = Talker::boxed("k", &diary, Some(MS));
    killer.says = b"die";
    let killer = shard.add_station(a, killer).unwrap();
    let victim = shard.add_station(b, Talker::boxed("v", &diary, Some(MS))).unwrap();
    shard.run_until(at(3));
    let lost = victim.port().snapshot();
    assert_eq!((lost.state, lost.peer_open), (PortState::Lost, false));
    assert!(
        lost.reason.contains("station at this port failed") && lost.reason.contains("told to"),
        "{lost:?}"
    );
    assert_eq!(killer.port().snapshot().tx_bytes, 12, "it goes on");
    assert_eq!(pair.stats().directions[0].discarded_bytes, 9);
    assert!(shard.with_station(&victim, |_: &mut Talker, _, _| ()).is_ok(), "it can still be asked");
    let wrong = shard.with_station(&killer, |_: &mut Echo, _, _| ()).unwrap_err();
    assert!(matches!(wrong, PortError::WrongType { .. }), "{wrong}");

    let (pair, [a, b]) = shard.pair("q", Slow::boxed(MS, 64));
    let mut killer = Talker::boxed("k", &diary, Some(MS));
    killer.says = b"die";
    shard.add_station(a, killer).unwrap();
    let other = shard.add_station(b, Talker::boxed("o", &diary, Some(MS))).unwrap();
    shard.run_until(at(9));
    for port in pair.ports() {
        assert!(port.snapshot().reason.starts_with("the conduit of this link failed: "), "{port:?}");
    }
    adds_up(&pair.stats());
    assert!(other.port().snapshot().discarded_bytes > 25, "it goes on, unheard");
}

#[test]
fn a_deadline_that_is_never_met_does_not_stop_the_clock() {
    let diary = Diary::default();
    let mut shard = VirtualShard::new();
    let (_pair, [a, _]) = shard.pair("p", None);
    shard.add_station(a, Talker::boxed("t", &diary, Some(Duration::ZERO))).unwrap();
    shard.run_until(Time(100));
    assert_eq!(read(&diary).len(), 1 + 101, "opened, and once each nanosecond");
    let mut calls = 0;
    let reached = shard.run_while(Time(1000), || {
        calls += 1;
        calls < 3
    });
    assert!(!reached && shard.now() == Time(103));
}

#[test]
fn a_break_keeps_its_place_and_crosses_a_link() {
    let mut shard = VirtualShard::new();
    let (near, [a, b]) = shard.pair("near", None);
    let (far, [c, d]) = shard.pair("far", None);
    let mut talker = Talker::boxed("t", &Diary::default(), Some(MS));
    talker.signal = Some(Signal::Break(true));
    let link = shard.link(b, c, None).unwrap();
    let end = shard.add_station(d, Box::new(Echo)).unwrap();
    shard.add_station(a, talker).unwrap();
    shard.run_until(at(1));
    for port in [near.ports()[0].clone(), link.ports()[0].clone(), far.ports()[0].clone(), end.port()] {
        assert_eq!(port.snapshot().breaks, 1, "{port:?}");
    }
}

#[test]
fn bytes_cost_no_memory() {
    let mut shard = VirtualShard::new();
    let (pair, [a, b]) = shard.pair("p", Slow::boxed(MS, 64));
    let (_far, [c, d]) = shard.pair("q", None);
    shard.add_station(a, Box::new(Echo)).unwrap();
    let _link = shard.link(b, c, Slow::boxed(MS, 64)).unwrap();
    struct Quiet(Time);
    impl Station for Quiet {
        fn on_bytes(&mut self, _: Time, _: &[u8], _: &mut Tx) {}
        fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
            self.0 = now + 10 * MS;
            assert!(tx.send(b"forty bytes are sent at once here, or so"));
        }
        fn deadline(&self) -> Option<Time> {
            Some(self.0)
        }
    }
    shard.add_station(d, Box::new(Quiet(Time(0)))).unwrap();
    shard.run_until(at(1000));
    let (calls, bytes) = (allocator_calls(), pair.stats().directions[0].bytes_out);
    shard.run_until(at(100_000));
    assert_eq!(allocator_calls() - calls, 0);
    assert!(pair.stats().directions[0].bytes_out - bytes > 300_000);
}
