//! A master of every function code on all framings, against a slave on a simulated line or connection: order and
//! time of polls, replies that come late or broken, and where the values go.

#![allow(clippy::unwrap_used)]

mod plants;
mod wire;

use std::time::Duration;

use hilrig_modbus::reply::Answer;
use hilrig_modbus::{
    Cells, Exchange, FrameKind, Framing, Kept, Master, Outcome, Poll, PollResult, Record, Results, Slave,
    Source, TcpSlave, frames,
};
use hilrig_points::{Shared, Table};
use hilrig_port::{Caller, Calls, LineEvent, Server, Station, Time, Tx, Wanted};
use hilrig_tests::Seeded;
use plants::{counted, of_file};
use proptest::prelude::*;
use wire::{Burst, End, Wire, timing};

const TIMEOUT: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const CALLER: Caller = Caller(0);

/// The far end of a connection to a server.
struct Connection {
    server: TcpSlave,
    calls: Calls,
}

impl Connection {
    fn new(framing: Framing, plant: Shared) -> Self {
        let mut server = TcpSlave::new(framing, timing(), plant);
        assert!(server.on_caller(Time(0), CALLER));
        Self { server, calls: Calls::default() }
    }

    fn settle(&mut self, now: Time, tx: &mut Tx) {
        let mut closed = false;
        for wanted in self.calls.wanted() {
            match wanted {
                Wanted::Send(_, bytes) => assert!(tx.send(bytes)),
                Wanted::Close(_) => closed = true,
            }
        }
        self.calls.clear();
        // Who was hung up on calls again.
        if closed {
            self.server.on_closed(now, CALLER);
            assert!(self.server.on_caller(now, CALLER));
        }
    }
}

impl Station for Connection {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.server.on_bytes(now, CALLER, bytes, &mut self.calls);
        self.settle(now, tx);
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        self.server.on_deadline(now, &mut self.calls);
        self.settle(now, tx);
    }

    fn deadline(&self) -> Option<Time> {
        self.server.deadline()
    }
}

/// The slave that fits a framing.
fn far(framing: Framing, plant: Shared) -> Box<dyn Station> {
    match framing.is_over_tcp() {
        true => Box::new(Connection::new(framing, plant)),
        false => Box::new(Slave::new(timing(), plant).framing(framing)),
    }
}

/// A station behind a pointer.
struct Far(Box<dyn Station>);

impl Station for Far {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.0.on_bytes(now, bytes, tx);
    }
    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        self.0.on_deadline(now, tx);
    }
    fn deadline(&self) -> Option<Time> {
        self.0.deadline()
    }
}

type Bench = (Wire<Master, Far>, Results);

fn bench(
    framing: Framing,
    plant: Shared,
    polls: impl IntoIterator<Item = Poll>,
    tamper: impl FnMut(&mut Burst) + 'static,
) -> Bench {
    let (master, results) = Master::new(timing(), polls, 1 << 12);
    let master = master.framing(framing).plant(plant.clone());
    (Wire::new(master, Far(far(framing, plant)), tamper), results)
}

fn plain() -> Shared {
    counted(&[1, 2, 3, 200])
}

fn read(unit: u8, address: u16) -> Poll {
    Poll::new(Exchange::read(unit, Table::HoldingRegisters, address, 1).unwrap()).timeout(TIMEOUT)
}

fn all(results: &mut Results) -> Vec<PollResult> {
    std::iter::from_fn(|| results.pop()).collect()
}

const DEVICE: &str = r#"
[unit.device]
id = 7
holding = { "0..9" = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] }
input = { "0..1" = [500, 501] }
coils = { "0..9" = 1 }
discrete = { "0..3" = [0, 1, 0, 1] }
exception_status = 0x6D
server_id = { text = "pump", running = true }
identity = { vendor = "hilrig", product_code = "P1", revision = "1.2" }
file = { 4 = [10, 11, 12, 13] }
fifo = { 1246 = [440, 4740] }
"#;

#[test]
fn every_function_is_asked_and_understood_on_every_framing() {
    let exchanges = [
        Exchange::read(7, Table::Coils, 0, 10),
        Exchange::read(7, Table::DiscreteInputs, 0, 4),
        Exchange::read(7, Table::HoldingRegisters, 8, 2),
        Exchange::read(7, Table::InputRegisters, 0, 2),
        Exchange::write_coil(7, 3, false),
        Exchange::write_register(7, 2, 77),
        Exchange::exception_status(7),
        Exchange::diagnostics(7, 0, &[0xA537]),
        Exchange::diagnostics(7, 11, &[0]),
        Exchange::event_counter(7),
        Exchange::event_log(7),
        Exchange::write_coils(7, 4, &[false, true, false]),
        Exchange::write_registers(7, 4, &[44, 55]),
        Exchange::server_id(7),
        Exchange::read_file(7, &[Record { file: 4, record: 1, length: 2 }]),
        Exchange::write_file(7, &[(4, 0, &[99])]),
        Exchange::mask_write(7, 0, 0xF2, 0x25),
        Exchange::read_write(7, 0, 3, 1, &[12]),
        Exchange::fifo(7, 1246),
        Exchange::identity(7, 1, 0),
        Exchange::raw(7, &[0x42, 1, 2]),
        // What it did.
        Exchange::read(7, Table::Coils, 0, 8),
        Exchange::read(7, Table::HoldingRegisters, 0, 6),
        Exchange::read_file(7, &[Record { file: 4, record: 0, length: 1 }]),
    ]
    .map(Result::unwrap);
    for framing in Framing::ALL {
        let (mut w, mut results) = bench(framing, Shared::new(of_file(DEVICE)), [], |_| {});
        for (id, exchange) in exchanges.iter().enumerate() {
            let poll = Poll::new(exchange.clone()).timeout(TIMEOUT);
            assert!(w.drive_near(|master, _, _| master.submit(id as u64, poll)));
        }
        w.run(SECOND * 10);
        let results = all(&mut results);
        assert_eq!(results.len(), exchanges.len(), "{framing}");
        for (i, r) in results.iter().enumerate() {
            let expected = if i == 20 { Outcome::Exception(1) } else { Outcome::Ok };
            assert_eq!((r.source, r.outcome), (Source::Once(i as u64), expected), "{framing} {i}");
        }
        let values = |i: usize| results[i].values.iter().collect::<Vec<_>>();
        let answer = |i: usize| Answer::new(exchanges[i].pdu(), results[i].values.bytes());
        assert_eq!((values(0), values(1)), (vec![1; 10], vec![0, 1, 0, 1]));
        assert_eq!((values(2), values(3)), (vec![9, 10], vec![500, 501]));
        assert!(
            [4, 5, 11, 12, 15, 16].iter().all(|i| answer(*i) == Answer::Written && values(*i).is_empty())
        );
        assert_eq!(answer(6), Answer::ExceptionStatus(0x6D));
        assert_eq!((answer(7), values(7)), (Answer::Diagnostics(&[0xA5, 0x37]), vec![0xA537]));
        assert!(matches!(answer(9), Answer::EventCounter { busy: false, .. }));
        assert!(matches!(answer(10), Answer::EventLog { busy: false, .. }));
        let Answer::ServerId(id) = answer(13) else { panic!() };
        assert!(id.starts_with(b"pump"), "{id:?}");
        let Answer::Records(mut records) = answer(14) else { panic!() };
        assert_eq!(records.next(), Some(&[0, 11, 0, 12][..]));
        assert_eq!((values(17), values(18)), (vec![5, 12, 77], vec![440, 4740]));
        let Answer::Identity(identity) = answer(19) else { panic!() };
        assert_eq!(identity.objects.map(|(_, v)| v).collect::<Vec<_>>(), [&b"hilrig"[..], b"P1", b"1.2"]);
        assert_eq!(values(21), [1, 1, 1, 0, 0, 1, 0, 1]);
        assert_eq!(values(22), [5, 12, 77, 4, 44, 55]);
        let Answer::Records(mut records) = answer(23) else { panic!() };
        assert_eq!(records.next(), Some(&[0, 99][..]));
    }
}

#[test]
fn the_important_go_first_and_phases_are_kept() {
    let polls = [
        read(1, 0).every(SECOND),
        read(1, 1).every(SECOND).priority(5),
        read(1, 2).every(SECOND).phase(Duration::from_millis(300)),
        read(1, 3).every(SECOND).priority(-1),
    ];
    let (mut w, mut results) = bench(Framing::Rtu, plain(), polls, |_| {});
    w.run(SECOND * 60 - TIMEOUT);
    let results = all(&mut results);
    let order: Vec<_> = results.iter().map(|r| r.source).collect();
    for turn in order.chunks(4) {
        assert_eq!(turn, [1, 0, 3, 2].map(Source::Poll));
    }
    assert_eq!(order.len(), 240);
    // To the nanosecond, whatever the others do: from when the line came up.
    for (n, r) in results.iter().filter(|r| r.source == Source::Poll(2)).enumerate() {
        let sent = r.at.0 - r.round_trip.as_nanos() as u64;
        assert_eq!(sent, 1 + n as u64 * 1_000_000_000 + 300_000_000);
    }
}

#[test]
fn on_modbus_tcp_a_late_reply_is_known_by_its_transaction() {
    // Every third reply comes after its timeout, and there is no pause for it.
    let late = |b: &mut Burst| {
        if b.from == End::Far && b.n % 3 == 2 {
            b.delay(TIMEOUT * 3 / 2);
        }
    };
    let (mut w, mut results) = bench(Framing::Tcp, plain(), [read(1, 0), read(1, 1), read(200, 2)], late);
    w.run(SECOND * 60);
    let results = all(&mut results);
    for r in &results {
        let Source::Poll(i) = r.source else { panic!() };
        match r.outcome {
            Outcome::Ok => assert_eq!(r.values.get(0), Some([100, 101, 20_002][i])),
            other => assert_eq!(other, Outcome::Timeout),
        }
    }
    let totals = w.near.stats().totals();
    assert!(totals.late_replies > 100 && totals.replies > 500, "{totals:?}");
    assert_eq!((totals.wrong_unit, totals.mismatches, totals.crc_errors), (0, 0, 0));
}

#[test]
fn a_stream_that_is_lost_is_found_again() {
    let bend = |b: &mut Burst| {
        if b.from == End::Far && b.n % 10 == 5 {
            // No header; then a whole reply in the same breath, which may be cut anywhere.
            b.first().splice(0..0, [0xFF; 9]);
        }
        if b.from == End::Far && b.n % 10 == 8 {
            b.first().truncate(6);
        }
    };
    let polls = [read(1, 7).every(SECOND)];
    let (mut w, mut results) = bench(Framing::Tcp, plain(), polls, bend);
    w.run(SECOND * 100 - TIMEOUT);
    let results = all(&mut results);
    assert_eq!(results.len(), 100);
    for (n, r) in results.iter().enumerate() {
        // After half a reply the next one is taken for its end.
        let expected = match n % 10 {
            5 => Outcome::Crc,
            8 => Outcome::Timeout,
            9 => r.outcome,
            _ => Outcome::Ok,
        };
        assert_eq!(r.outcome, expected, "{n}");
    }
    assert!(w.near.stats().totals().noise_bytes >= 90);
}

#[test]
fn late_replies_are_never_taken_for_the_next_on_ascii_either() {
    let mut dice = Seeded(1);
    let late = move |b: &mut Burst| {
        if b.from == End::Far && dice.below(3) == 0 {
            b.delay(Duration::from_micros(dice.below(2 * TIMEOUT.as_micros() as u64 - 30_000)));
        }
    };
    let (mut w, mut results) =
        bench(Framing::Ascii, plain(), [read(1, 0), read(1, 1).retries(2), read(2, 0), read(2, 1)], late);
    w.run(SECOND * 300);
    for r in all(&mut results) {
        let Source::Poll(i) = r.source else { panic!() };
        match r.outcome {
            Outcome::Ok => assert_eq!(r.values.get(0), Some([100, 101, 200, 201][i]), "{r:?}"),
            Outcome::Timeout | Outcome::WrongUnit | Outcome::Crc => {}
            other => panic!("{other:?}"),
        }
    }
    let totals = w.near.stats().totals();
    assert!(
        totals.late_replies + totals.wrong_unit > 50 && totals.timeouts > 50 && totals.replies > 300,
        "{totals:?}"
    );
}

#[test]
fn broken_ascii_replies_are_not_waited_for() {
    let polls = [read(1, 0).every(SECOND)];
    let (mut w, mut results) = bench(Framing::Ascii, plain(), polls, |b| {
        if b.from == End::Far && b.n == 0 {
            let bytes = b.first();
            let at = bytes.len() - 3;
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        }
    });
    w.run(SECOND * 2 - TIMEOUT);
    let results = all(&mut results);
    assert_eq!([0, 1].map(|i: usize| results[i].outcome), [Outcome::Crc, Outcome::Ok]);
    assert!(results[0].round_trip < TIMEOUT);
}

#[test]
fn what_is_read_goes_into_cells_of_the_plant() {
    let cells = |address| Cells { unit: 2, table: Table::InputRegisters, address };
    let block = Exchange::read(1, Table::HoldingRegisters, 10, 5).unwrap();
    let plant = plain();
    let polls = [
        Poll::new(block).every(SECOND).into(cells(40)),
        // The last ones have no cells to go to, and a refusal leaves all as it is.
        Poll::new(Exchange::read(1, Table::HoldingRegisters, 0, 9).unwrap()).every(SECOND).into(cells(45)),
        Poll::new(Exchange::read(1, Table::HoldingRegisters, 90, 1).unwrap()).every(SECOND).into(cells(0)),
    ];
    let (mut w, mut results) = bench(Framing::Rtu, plant.clone(), polls, |_| {});
    w.run(SECOND / 2);
    assert_eq!(all(&mut results).len(), 3);
    let values: Vec<_> = plant.with(|plant| {
        let unit = plant.unit(2).unwrap();
        [0, 39, 40, 44, 45, 49].map(|a| unit.get(Table::InputRegisters, a).unwrap()).into()
    });
    assert_eq!(values, [0, 0, 110, 114, 100, 104]);
}

#[test]
fn the_order_to_only_listen_is_not_waited_for() {
    let (mut w, mut results) = bench(Framing::Rtu, plain(), [], |_| {});
    for (id, exchange) in [
        Exchange::diagnostics(1, 4, &[0]).unwrap(),
        Exchange::read(1, Table::HoldingRegisters, 0, 1).unwrap(),
        Exchange::read(2, Table::HoldingRegisters, 0, 1).unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(w.drive_near(|m, _, _| m.submit(id as u64, Poll::new(exchange).timeout(TIMEOUT))));
    }
    w.run(SECOND);
    let outcomes: Vec<_> = all(&mut results).iter().map(|r| r.outcome).collect();
    assert_eq!(outcomes[0], Outcome::Ok);
    let totals = w.near.stats().totals();
    // It is no broadcast, and no reply.
    assert_eq!((totals.broadcasts, totals.requests), (0, 3));
    assert_eq!(totals.replies + totals.timeouts, 2);
}

#[test]
fn polls_are_stopped_and_counted_one_by_one() {
    let polls = [read(1, 0).every(SECOND), read(9, 0).every(SECOND).retries(1), read(1, 99).every(SECOND)];
    let (mut w, mut results) = bench(Framing::Rtu, plain(), polls, |_| {});
    w.run(SECOND * 10 - TIMEOUT);
    assert!(w.drive_near(|m, now, _| m.enable(now, 0, false)));
    assert!(!w.drive_near(|m, now, _| m.enable(now, 3, false)));
    w.run(SECOND * 10);
    assert!(w.drive_near(|m, now, _| m.enable(now, 0, true)));
    w.run(SECOND * 10);
    let (asked, dead, refused) = (0, 1, 2);
    let stats = |i| {
        let s = w.near.poll_stats(i).unwrap();
        (s.requests, s.replies, s.exceptions, s.failures, s.overruns, s.round_trips.count())
    };
    assert_eq!(stats(asked), (20, 20, 0, 0, 0, 20));
    assert_eq!(stats(refused), (30, 0, 30, 0, 0, 30));
    assert_eq!(stats(dead), (60, 0, 0, 60, 0, 0));
    assert_eq!(w.near.poll_stats(dead).unwrap().last.map(|l| l.1), Some(Outcome::Timeout));
    assert!(w.near.poll_stats(3).is_none());
    // In the old rhythm.
    let at: Vec<_> =
        all(&mut results).iter().filter(|r| r.source == Source::Poll(0)).map(|r| r.at.0).collect();
    assert_eq!(at[10] - at[9], 11_000_000_000);
}

#[test]
fn frames_are_recorded_with_the_number_of_their_request() {
    let (sink, mut reader) = frames(64);
    reader.watch(true);
    let (master, _results) = Master::new(timing(), [read(1, 0).every(SECOND), read(9, 0).every(SECOND)], 64);
    let mut w = Wire::new(master.frames(sink.port(2)), Far(far(Framing::Rtu, plain())), |_| {});
    w.run(SECOND / 2);
    w.noise(End::Near, &[1, 2, 3, 4, 5]);
    w.run(SECOND / 4);
    let got: Vec<_> =
        std::iter::from_fn(|| reader.pop()).map(|r| (r.kind, r.number, r.unit, r.port)).collect();
    assert_eq!(
        got[..3],
        [(FrameKind::Request, 1, 1, 2), (FrameKind::Reply, 1, 1, 2), (FrameKind::Request, 2, 9, 2)]
    );
    assert!(matches!(got[3].0, FrameKind::Noise(_)));
}

#[test]
fn another_poll_list_takes_over_between_two_frames() {
    let list = [read(1, 0).every(SECOND), read(1, 5).every(SECOND), read(2, 0).every(SECOND)];
    let (mut w, mut results) = bench(Framing::Rtu, plain(), list, |_| {});
    w.run(SECOND / 2);
    w.drive_near(|master, now, _| assert!(master.enable(now, 1, false)));
    w.run(SECOND);
    assert_eq!(all(&mut results).len(), 5);
    // The first stays, at another place; the second is another one now, and rests on; the third is gone; one is new.
    // All of it while the first one's second request, due at 2 s, is on the line.
    w.run(SECOND / 2 + Duration::from_millis(1));
    let (mut new, _) = Master::new(
        timing(),
        [
            read(2, 7).every(SECOND).phase(Duration::from_millis(300)),
            read(1, 0).every(SECOND),
            read(1, 6).every(SECOND),
        ],
        1,
    );
    let kept = [Kept::New, Kept::Same(0), Kept::Changed(1)];
    w.drive_near(|master, now, _| master.take_polls(now, &mut new, &kept));
    w.run(SECOND * 2);
    let got: Vec<_> = all(&mut results).iter().map(|r| (r.source, r.outcome, r.values.get(0))).collect();
    let (first, added) = (Source::Poll(1), Source::Poll(0));
    assert_eq!(
        got,
        [
            (first, Outcome::Ok, Some(100)),
            (added, Outcome::Ok, Some(207)),
            (first, Outcome::Ok, Some(100)),
            (added, Outcome::Ok, Some(207)),
        ]
    );
    // The old statistics went on, and nothing was late.
    assert_eq!(w.near.poll_stats(1).unwrap().requests, 5);
    assert_eq!((w.near.poll_stats(0).unwrap().requests, w.near.poll_stats(2).unwrap().requests), (2, 0));
    assert_eq!((w.near.stats().totals().overruns, w.near.stats().totals().timeouts), (0, 0));
    // All are gone while one is on the line: it ends, and nobody is asked any more.
    assert!(!w.near.is_idle());
    let (mut none, _) = Master::new(timing(), [], 1);
    w.drive_near(|master, now, _| master.take_polls(now, &mut none, &[]));
    w.run(SECOND * 2);
    assert!(w.near.is_idle() && all(&mut results).is_empty() && w.near.deadline().is_none());
}

#[test]
fn a_connection_that_comes_back_is_used_again() {
    let (mut w, mut results) = bench(Framing::Tcp, plain(), [read(1, 0).every(SECOND)], |_| {});
    w.run(SECOND * 3 - TIMEOUT);
    w.line(LineEvent::Closed);
    w.run(SECOND * 3);
    w.line(LineEvent::Opened);
    w.run(SECOND * 3);
    let results = all(&mut results);
    assert!(results.iter().all(|r| r.outcome == Outcome::Ok));
    assert_eq!(results.len(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_happens_values_are_true_and_the_line_is_used_again(
        seed in any::<u64>(), which in 0..5usize, batch in 1..4usize, rate in 3..30u64,
    ) {
        let framing = Framing::ALL[which];
        let mut dice = Seeded(seed);
        let storm = move |b: &mut Burst| {
            // Half a request on a connection is for the server to deal with, if it can.
            if b.at.0 > 20_000_000_000 || (framing == Framing::Tcp && b.from == End::Near) {
                return;
            }
            match dice.below(rate) {
                0 => b.drop(),
                // A reply that is late by less than another timeout; that is what the rule for serial lines covers.
                1 if b.from == End::Far => {
                    b.delay(Duration::from_micros(dice.below(650_000)));
                }
                2 => {
                    let bytes = b.first();
                    let at = dice.index(bytes.len());
                    bytes.truncate(at + 1);
                }
                3 => b.disturb(&mut dice, 60),
                4 => b.split(dice.index(8), Duration::from_micros(dice.below(5000))),
                _ => {}
            }
        };
        let polls = [read(1, 0).retries(1), read(1, 1), read(2, 0).every(SECOND / 10), read(9, 3).every(SECOND)];
        let polls = polls.map(|p| p.timeout(TIMEOUT * 4));
        let (mut w, mut results) = bench(framing, plain(), polls, storm);
        w.batch = batch;
        // Where only time tells late replies, they must not get later by waiting for each other.
        w.ordered = framing == Framing::Tcp;
        w.logging = false;
        w.run(SECOND * 22);
        let mut good = 0;
        for r in all(&mut results) {
            if let (Source::Poll(i), Outcome::Ok) = (r.source, r.outcome) {
                prop_assert_eq!(r.values.get(0), Some([100, 101, 200, 0][i]));
                good += 1;
            }
        }
        w.run(SECOND);
        let after = all(&mut results).iter().filter(|r| r.outcome == Outcome::Ok).count();
        prop_assert!(after > 10, "{framing}: {good} before, {after} after");
    }
}

#[test]
fn a_reply_of_a_user_function_may_come_in_pieces() {
    // Nothing says how long it is but silence, or its header.
    for framing in Framing::ALL {
        let model = format!("{DEVICE}\nuser_function = {{ 0x42 = [{{ reply = \"01 02 03 04\" }}] }}\n");
        let tamper = |b: &mut Burst| {
            if b.from == End::Far {
                b.split(4, Duration::from_millis(1));
            }
        };
        let (mut w, mut results) = bench(framing, Shared::new(of_file(&model)), [], tamper);
        let poll = Poll::new(Exchange::raw(7, &[0x42, 9]).unwrap()).timeout(TIMEOUT);
        assert!(w.drive_near(|master, _, _| master.submit(1, poll)));
        w.run(SECOND);
        let results = all(&mut results);
        let values: Vec<u16> = results[0].values.iter().collect();
        assert_eq!((results[0].outcome, values), (Outcome::Ok, vec![1, 2, 3, 4]), "{framing}");
    }
}
