//! A gateway between callers and a slave on a simulated line: who gets which answer, in which order, and what becomes
//! of it when the line is bad.

#![allow(clippy::unwrap_used)]

mod plants;
mod wire;

use std::time::Duration;

use hilrig_modbus::{
    Exchange, FrameKind, Framing, Gateway, GatewayPlan, Master, Outcome, Poll, Results, Slave, Source,
    frames, mbap,
};
use hilrig_points::Table;
use hilrig_port::{Caller, Calls, LineEvent, Server, Station, Time, Tx, Wanted};
use hilrig_tests::Seeded;
use plants::counted;
use proptest::prelude::*;
use wire::{Burst, End, Wire, timing};

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(200);

/// A gateway as the near end of a wire, with masters as callers beside those that the tests play.
struct Hall {
    gateway: Gateway,
    calls: Calls,
    masters: Vec<(Caller, Master, Tx)>,
    /// What went to callers without a master.
    answers: Vec<(u32, Vec<u8>)>,
    closed: Vec<Caller>,
}

impl Hall {
    fn new(gateway: Gateway) -> Self {
        let (calls, masters) = (Calls::default(), vec![]);
        Self { gateway, calls, masters, answers: vec![], closed: vec![] }
    }

    /// Carries out what is wanted, until nobody wants anything.
    fn settle(&mut self, now: Time, tx: &mut Tx) {
        loop {
            let (mut sent, mut closed) = (vec![], vec![]);
            for wanted in self.calls.wanted() {
                match wanted {
                    Wanted::Send(to, bytes) => sent.push((to, bytes.to_vec())),
                    Wanted::Close(caller) => closed.push(caller),
                }
            }
            self.calls.clear();
            for (to, bytes) in sent {
                match self.masters.iter_mut().find(|(caller, ..)| *caller == to) {
                    Some((_, master, tx)) => master.on_bytes(now, &bytes, tx),
                    None => {
                        let mut rest = &bytes[..];
                        while let mbap::Parsed::Frame(_, len) = mbap::parse(rest) {
                            self.answers.push((to.0, rest[..len].to_vec()));
                            rest = &rest[len..];
                        }
                        assert!(rest.is_empty());
                    }
                }
            }
            for caller in closed {
                self.gateway.on_closed(now, caller);
                self.closed.push(caller);
            }
            for (caller, _, from) in &mut self.masters {
                let bytes = from.pending().to_vec();
                from.clear();
                if !bytes.is_empty() {
                    self.gateway.on_bytes(now, *caller, &bytes, &mut self.calls);
                }
            }
            if self.calls.wanted().next().is_none() {
                break;
            }
        }
        assert!(tx.send(self.calls.line.pending()));
        self.calls.line.clear();
    }
}

impl Station for Hall {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.gateway.on_line_bytes(now, bytes, &mut self.calls);
        self.settle(now, tx);
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        if self.gateway.deadline().is_some_and(|at| at <= now) {
            self.gateway.on_deadline(now, &mut self.calls);
        }
        for (_, master, tx) in &mut self.masters {
            if master.deadline().is_some_and(|at| at <= now) {
                master.on_deadline(now, tx);
            }
        }
        self.settle(now, tx);
    }

    fn deadline(&self) -> Option<Time> {
        let masters = self.masters.iter().filter_map(|(_, master, _)| master.deadline());
        masters.chain(self.gateway.deadline()).min()
    }

    fn on_line(&mut self, now: Time, event: LineEvent, tx: &mut Tx) {
        self.gateway.on_line(now, event, &mut self.calls);
        self.settle(now, tx);
    }
}

fn plan() -> GatewayPlan {
    GatewayPlan {
        port: "callers".to_owned(),
        line: "line".to_owned(),
        timeout: TIMEOUT,
        turnaround: Duration::from_millis(100),
        units: vec![],
        max_callers: 4,
        queue: 3,
    }
}

fn slave(units: &[u8]) -> Slave {
    Slave::new(timing(), counted(units))
}

fn bench(plan: &GatewayPlan, tamper: impl FnMut(&mut Burst) + 'static) -> Wire<Hall, Slave> {
    Wire::new(Hall::new(Gateway::new(timing(), plan)), slave(&[1, 2, 3]), tamper)
}

fn replies(mut f: impl FnMut(&mut Burst) + 'static) -> impl FnMut(&mut Burst) + 'static {
    move |b| {
        if b.from == End::Far {
            f(b);
        }
    }
}

fn adu(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0; mbap::MAX_FRAME];
    let len = mbap::frame(transaction, unit, pdu, &mut out);
    out[..len].to_vec()
}

fn read(transaction: u16, unit: u8, address: u8) -> Vec<u8> {
    adu(transaction, unit, &[3, 0, address, 0, 1])
}

/// The answer to `read`.
fn value(transaction: u16, unit: u8, value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    adu(transaction, unit, &[3, 2, high, low])
}

fn come(w: &mut Wire<Hall, Slave>, caller: u32) -> bool {
    w.drive_near(|hall, now, _| hall.gateway.on_caller(now, Caller(caller)))
}

fn say(w: &mut Wire<Hall, Slave>, caller: u32, bytes: &[u8]) {
    w.drive_near(|hall, now, tx| {
        hall.gateway.on_bytes(now, Caller(caller), bytes, &mut hall.calls);
        hall.settle(now, tx);
    });
}

fn answers(w: &mut Wire<Hall, Slave>) -> Vec<(u32, Vec<u8>)> {
    std::mem::take(&mut w.near.answers)
}

#[test]
fn callers_take_turns_and_keep_their_transactions() {
    let mut w = bench(&plan(), |_| {});
    assert!(come(&mut w, 1) && come(&mut w, 7));
    say(&mut w, 1, &[read(0xAAAA, 1, 0), read(0xAAAB, 2, 1), read(0xAAAC, 1, 2)].concat());
    say(&mut w, 7, &read(1, 3, 3));
    w.run(SECOND);
    let got = answers(&mut w);
    let want = [
        (1, value(0xAAAA, 1, 100)),
        (7, value(1, 3, 303)),
        (1, value(0xAAAB, 2, 201)),
        (1, value(0xAAAC, 1, 102)),
    ];
    assert_eq!(got, want);
    // An exception of the unit is handed on, a frame cut anywhere is one.
    for byte in read(9, 1, 99) {
        say(&mut w, 7, &[byte]);
    }
    w.run(SECOND);
    assert_eq!(answers(&mut w), [(7, adu(9, 1, &[0x83, 2]))]);
    let totals = w.near.gateway.stats().totals();
    assert_eq!((totals.requests, totals.replies, totals.exceptions), (5, 4, 1));
}

#[test]
fn what_cannot_be_answered_is_refused_at_once_or_in_time() {
    let mut w = bench(&plan(), |_| {});
    come(&mut w, 1);
    // No such unit id on a serial line, a function code that is none, a read from all units.
    for (request, code) in
        [(adu(1, 250, &[3, 0, 0, 0, 1]), 10), (adu(1, 1, &[0x83, 0]), 1), (adu(1, 0, &[3, 0, 0, 0, 1]), 10)]
    {
        say(&mut w, 1, &request);
        assert_eq!(answers(&mut w)[0].1[7..], [request[7] | 0x80, code]);
    }
    // Nobody there.
    say(&mut w, 1, &read(2, 9, 0));
    w.run(SECOND);
    assert_eq!(answers(&mut w), [(1, adu(2, 9, &[0x83, 11]))]);
    // One on the line, three wait, the fifth is too many.
    for n in 0..5 {
        say(&mut w, 1, &read(n, 1, n as u8));
    }
    assert_eq!(answers(&mut w), [(1, adu(4, 1, &[0x83, 6]))]);
    w.run(SECOND);
    assert_eq!(answers(&mut w).len(), 4);
    // The line goes away with one request on it and one that waits.
    say(&mut w, 1, &[read(5, 1, 0), read(6, 1, 0)].concat());
    w.line(LineEvent::Closed);
    say(&mut w, 1, &read(7, 1, 0));
    assert_eq!(answers(&mut w), [5, 6, 7].map(|t| (1, adu(t, 1, &[0x83, 10]))));
    w.run(SECOND);
    w.line(LineEvent::Opened);
    say(&mut w, 1, &read(8, 1, 0));
    w.run(SECOND);
    assert_eq!(answers(&mut w), [(1, value(8, 1, 100))]);
    let totals = w.near.gateway.stats().totals();
    assert_eq!((totals.no_answer, totals.busy, totals.no_path), (1, 1, 5));
}

#[test]
fn what_the_gateway_answers_itself_is_recorded_with_its_request() {
    let (sink, mut reader) = frames(64);
    reader.watch(true);
    let gateway = Gateway::new(timing(), &plan()).frames(sink);
    let mut w = Wire::new(Hall::new(gateway), slave(&[1, 2, 3]), |_| {});
    come(&mut w, 1);
    come(&mut w, 2);
    // No path; on the line, but nobody is there; and one too many while that one waits.
    say(&mut w, 1, &adu(7, 250, &[3, 0, 0, 0, 1]));
    say(&mut w, 1, &read(8, 9, 0));
    w.run(TIMEOUT / 4);
    say(&mut w, 1, &[read(9, 1, 0), read(10, 1, 1), read(11, 1, 2), read(12, 1, 3)].concat());
    w.run(SECOND);
    let mut recorded = || std::iter::from_fn(|| reader.pop()).collect::<Vec<_>>();
    let got = recorded();
    let said: Vec<_> = got.iter().map(|r| (r.kind, r.number, r.unit, r.pdu().to_vec())).collect();
    let (asked, refused) = (FrameKind::Request, FrameKind::Exception);
    assert_eq!(
        said[..6],
        [
            (asked, 1, 250, vec![3, 0, 0, 0, 1]),
            (refused, 1, 250, vec![0x83, 10]),
            (asked, 2, 9, vec![3, 0, 0, 0, 1]),
            (asked, 3, 1, vec![3, 0, 3, 0, 1]),
            (refused, 3, 1, vec![0x83, 6]),
            (refused, 2, 9, vec![0x83, 11]),
        ]
    );
    assert!(got.iter().all(|r| r.caller == 1) && got.len() == 12, "three more with answers: {got:?}");
    // The line goes away with one request on it and one of another caller that waits.
    say(&mut w, 1, &read(13, 1, 0));
    say(&mut w, 2, &read(14, 2, 0));
    w.line(LineEvent::Closed);
    let said: Vec<_> = recorded().iter().map(|r| (r.kind, r.number, r.caller)).collect();
    assert_eq!(said, [(asked, 7, 1), (refused, 7, 1), (asked, 8, 2), (refused, 8, 2)]);
}

#[test]
fn a_unit_map_renames_and_hides() {
    let mut w = bench(&GatewayPlan { units: vec![(20, 2), (255, 1)], ..plan() }, |_| {});
    come(&mut w, 1);
    say(&mut w, 1, &[read(1, 20, 5), read(2, 255, 5), read(3, 2, 5)].concat());
    w.run(SECOND);
    assert_eq!(
        answers(&mut w),
        [(1, adu(3, 2, &[0x83, 10])), (1, value(1, 20, 205)), (1, value(2, 255, 105))]
    );
}

#[test]
fn a_broadcast_goes_to_all_gets_its_turnaround_and_no_reply() {
    let mut w = bench(&plan(), |_| {});
    come(&mut w, 1);
    say(&mut w, 1, &[adu(1, 0, &[6, 0, 4, 0, 77]), read(2, 1, 4), read(3, 3, 4)].concat());
    w.run(SECOND);
    assert_eq!(answers(&mut w), [(1, value(2, 1, 77)), (1, value(3, 3, 77))]);
    assert_eq!(w.log[1].0.since(w.log[0].1), Duration::from_millis(100));
    assert_eq!(w.near.gateway.stats().totals().broadcasts, 1);
}

#[test]
fn callers_come_and_go() {
    let mut w = bench(&plan(), |_| {});
    assert!((0..4).all(|c| come(&mut w, c)));
    assert!(!come(&mut w, 4));
    w.run(SECOND);
    say(&mut w, 2, &[read(1, 1, 0), read(2, 1, 1)].concat());
    say(&mut w, 3, &read(3, 1, 2));
    // One that has gone gets no answer, and its requests are not asked; the next of its number gets none of them.
    w.near.gateway.on_closed(w.now, Caller(2));
    assert!(come(&mut w, 2));
    say(&mut w, 2, &read(4, 2, 0));
    w.run(SECOND);
    assert_eq!(answers(&mut w), [(3, value(3, 1, 2 + 100)), (2, value(4, 2, 200))]);
    let totals = w.near.gateway.stats().totals();
    assert_eq!((totals.orphans, totals.turned_away), (1, 1));
    // What is not Modbus TCP ends the connection, and only that.
    say(&mut w, 3, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(w.near.closed, [Caller(3)]);
    // Who has said all leaves after the last answer.
    say(&mut w, 0, &read(5, 1, 9));
    w.drive_near(|hall, now, tx| {
        hall.gateway.on_end(now, Caller(0), &mut hall.calls);
        hall.gateway.on_end(now, Caller(1), &mut hall.calls);
        hall.settle(now, tx);
    });
    assert_eq!(w.near.closed, [Caller(3), Caller(1)]);
    w.run(SECOND);
    assert_eq!(answers(&mut w), [(0, value(5, 1, 109))]);
    assert_eq!(w.near.closed, [Caller(3), Caller(1), Caller(0)]);
}

#[test]
fn a_late_reply_is_given_to_nobody() {
    // Every third reply comes too late; all requests have one shape.
    let mut w = bench(
        &plan(),
        replies(|b| {
            if b.n % 3 == 1 {
                b.delay(TIMEOUT + Duration::from_millis(20));
            }
        }),
    );
    come(&mut w, 1);
    come(&mut w, 2);
    for n in 0..50u8 {
        say(&mut w, 1, &read(n.into(), 1, n));
        say(&mut w, 2, &read(u16::from(n) + 500, 1, 49 - n));
        w.run(SECOND * 2);
        for (caller, answer) in answers(&mut w) {
            let (transaction, address) =
                if caller == 1 { (n.into(), n) } else { (u16::from(n) + 500, 49 - n) };
            let good = value(transaction, 1, 100 + u16::from(address));
            assert!(answer == good || answer == adu(transaction, 1, &[0x83, 11]), "{answer:X?}");
        }
    }
    let totals = w.near.gateway.stats().totals();
    assert_eq!(totals.replies + totals.no_answer, 100);
    assert!(totals.late_replies > 20 && totals.replies > 60, "{totals:?}");
}

#[test]
fn the_line_may_speak_ascii_and_a_dead_unit_holds_up_nobody() {
    let gateway = Gateway::new(timing(), &plan()).framing(Framing::Ascii);
    let mut w = Wire::new(Hall::new(gateway), slave(&[1, 2, 3]).framing(Framing::Ascii), |_| {});
    come(&mut w, 1);
    say(&mut w, 1, &[read(1, 9, 0), read(2, 9, 1), read(3, 2, 7)].concat());
    w.run(SECOND * 2);
    // The second to unit 9 waits until it cannot be mistaken any more; unit 2 does not.
    let dead = |transaction| (1, adu(transaction, 9, &[0x83, 11]));
    assert_eq!(answers(&mut w), [dead(1), (1, value(3, 2, 207)), dead(2)]);
    assert!(w.log[0].3.starts_with(b":09030000"));
}

#[test]
fn a_line_that_is_never_free_is_no_path() {
    let mut w = bench(&plan(), |_| {});
    come(&mut w, 1);
    w.noise(End::Near, &[0x55]);
    w.run(Duration::from_millis(1));
    say(&mut w, 1, &read(1, 1, 0));
    for _ in 0..1000 {
        w.noise(End::Near, &[0x55]);
        w.run(Duration::from_millis(1));
    }
    assert_eq!(answers(&mut w), [(1, adu(1, 1, &[0x83, 10]))]);
}

/// What one master was told.
type Told = Vec<(Source, Outcome, Vec<u16>)>;

/// Two masters with their own poll lists behind a gateway with a bad line.
fn two_masters(seed: u64) -> (Vec<Told>, String) {
    let mut dice = Seeded(seed);
    let mut w = bench(&GatewayPlan { queue: 16, ..plan() }, move |b| match dice.below(40) {
        0 => b.drop(),
        1 => b.delay(Duration::from_millis(dice.below(370))),
        2 => {
            let n = dice.index(30);
            b.before(&dice.bytes(n), Duration::from_millis(dice.below(8)));
        }
        3 => b.bend(&mut dice),
        _ => {}
    });
    let poll = |unit, address| {
        let exchange = Exchange::read(unit, Table::HoldingRegisters, address, 1).unwrap();
        Poll::new(exchange).timeout(SECOND * 5)
    };
    let mut results: Vec<Results> = vec![];
    for (caller, units) in [(11, [1, 2]), (12, [1, 3])] {
        let polls = units.map(|unit| poll(unit, u16::from(unit) + caller));
        let (master, reader) = Master::new(timing(), polls, 1 << 16);
        let mut master = master.framing(Framing::Tcp);
        let caller = Caller(caller.into());
        w.drive_near(|hall, now, tx| {
            assert!(hall.gateway.on_caller(now, caller));
            let mut out = Tx::default();
            master.on_line(now, LineEvent::Opened, &mut out);
            hall.masters.push((caller, master, out));
            hall.settle(now, tx);
        });
        results.push(reader);
    }
    w.logging = false;
    w.run(SECOND * 600);
    let all = results.iter_mut().map(|results| {
        let each = std::iter::from_fn(|| results.pop());
        each.map(|r| (r.source, r.outcome, r.values.iter().collect())).collect()
    });
    (all.collect(), format!("{:?}", w.near.gateway.stats().totals()))
}

#[test]
fn two_masters_share_a_bad_line_and_read_only_what_is_true() {
    let (results, totals) = two_masters(5);
    for (of, units, caller) in [(&results[0], [1, 2], 11), (&results[1], [1, 3], 12)] {
        let good = of.iter().filter(|(_, outcome, _)| *outcome == Outcome::Ok);
        for (source, _, values) in good.clone() {
            let Source::Poll(i) = *source else { panic!() };
            assert_eq!(*values, [100 * units[i] + units[i] + caller]);
        }
        assert!(of.iter().all(|(_, o, _)| matches!(o, Outcome::Ok | Outcome::Exception(11))), "{totals}");
        assert!(good.count() > 1500 && of.len() > 2000, "{} {totals}", of.len());
    }
    // Neither of the two comes off badly.
    assert!(results[0].len().abs_diff(results[1].len()) < results[0].len() / 10, "{totals}");
    assert_eq!((results, totals), two_masters(5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_callers_send_the_next_request_is_answered(
        garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        frames in prop::collection::vec((any::<u16>(), 0..5u8, prop::collection::vec(any::<u8>(), 1..30)), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut w = bench(&plan(), |_| {});
        come(&mut w, 1);
        come(&mut w, 2);
        for bytes in &garbage {
            say(&mut w, 1, bytes);
        }
        let mut owed = 0;
        for (transaction, unit, pdu) in &frames {
            let quiet = *unit == 0 && matches!(pdu[0], 5 | 6 | 8 | 15 | 16 | 21 | 22)
                || pdu.get(..3) == Some(&[8, 0, 4]);
            owed += usize::from(!quiet);
            say(&mut w, 2, &adu(*transaction, *unit, pdu));
            w.run(Duration::from_millis(700));
        }
        prop_assert_eq!(w.near.answers.iter().filter(|a| a.0 == 2).count(), owed);
        w.noise(End::Near, &noise);
        w.run(SECOND * 10);
        w.near.answers.clear();
        prop_assert!(come(&mut w, 3));
        say(&mut w, 3, &read(0x1234, 2, 7));
        w.run(SECOND * 5);
        let last = w.near.answers.last().unwrap();
        // A write of random bytes may have changed the value.
        prop_assert_eq!((last.0, &last.1[..7]), (3, &value(0x1234, 2, 0)[..7]));
    }
}
