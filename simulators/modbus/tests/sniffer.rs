//! A sniffer beside a master and a slave on a simulated line: what it makes of what it hears, on good and bad lines.

#![allow(clippy::unwrap_used)]

mod plants;
mod wire;

use std::time::Duration;

use hilrig_modbus::{
    Exchange, FrameKind, FrameReader, Framing, MAX_ADU, Master, Poll, Slave, Sniffer, Timing, decode, frames,
    framing,
};
use hilrig_points::{Shared, Table};
use hilrig_port::{Station, Time, Tx};
use hilrig_tests::Seeded;
use plants::{counted, of_file};
use proptest::prelude::*;
use wire::{Burst, End, Wire, timing};

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(100);

fn slave(units: &[u8]) -> Slave {
    Slave::new(timing(), counted(units))
}

fn poll(exchange: Exchange) -> Poll {
    Poll::new(exchange).timeout(TIMEOUT)
}

fn read(unit: u8, address: u16, count: u16) -> Poll {
    poll(Exchange::read(unit, Table::HoldingRegisters, address, count).unwrap())
}

/// Hears all bytes at their times; what comes at once comes in one piece.
fn hear(sniffer: &mut Sniffer, heard: &[(Time, u8)], until: Time) {
    let mut tx = Tx::default();
    let mut heard = heard.to_vec();
    heard.sort_by_key(|(at, _)| *at);
    let wait = |sniffer: &mut Sniffer, tx: &mut Tx, until: Time| {
        while let Some(at) = sniffer.deadline().filter(|at| *at < until) {
            sniffer.on_deadline(at, tx);
            assert!(sniffer.deadline().is_none_or(|next| next > at));
        }
    };
    for chunk in heard.chunk_by(|a, b| a.0 == b.0) {
        wait(sniffer, &mut tx, chunk[0].0);
        sniffer.on_bytes(chunk[0].0, &chunk.iter().map(|(_, b)| *b).collect::<Vec<_>>(), &mut tx);
    }
    wait(sniffer, &mut tx, until);
    assert!(tx.pending().is_empty(), "a sniffer never sends");
}

fn all(reader: &mut FrameReader) -> Vec<(FrameKind, u64, u8, Vec<u8>)> {
    std::iter::from_fn(|| reader.pop()).map(|r| (r.kind, r.number, r.unit, r.pdu().to_vec())).collect()
}

fn sniffer() -> Sniffer {
    // Twice the master's: what comes later is late for both.
    Sniffer::new(timing()).response_time(TIMEOUT)
}

fn listen(
    polls: impl IntoIterator<Item = Poll>,
    time: Duration,
    tamper: impl FnMut(&mut Burst) + 'static,
) -> (Sniffer, Wire<Master, Slave>) {
    let (master, _results) = Master::new(timing(), polls, 1 << 16);
    let mut w = Wire::new(master, slave(&[1, 2, 3]), tamper);
    // The last request of a period is answered, and none begins.
    w.run(time - Duration::from_millis(20));
    let mut sniffer = sniffer();
    hear(&mut sniffer, &w.heard, w.now);
    (sniffer, w)
}

#[test]
fn requests_and_replies_of_a_good_line_are_paired() {
    let every = Duration::from_millis(500);
    let polls = [
        read(1, 5, 10),
        poll(Exchange::read(2, Table::Coils, 0, 20).unwrap()),
        // A reply that looks like its request, one of 3 bytes that has a request's length, a refusal, nobody, all.
        poll(Exchange::write_register(3, 7, 4711).unwrap()),
        poll(Exchange::read(1, Table::Coils, 3, 20).unwrap()),
        read(1, 60, 1),
        read(9, 0, 1),
        poll(Exchange::write_coil(0, 3, true).unwrap()),
    ];
    let (sniffer, w) = listen(polls.map(|p| p.every(every)), SECOND * 100, |_| {});
    let (heard, master) = (sniffer.stats().totals(), w.near.stats().totals());
    assert_eq!(heard.requests, master.requests);
    assert_eq!((heard.replies, heard.exceptions), (master.replies, master.exceptions));
    assert_eq!((heard.timeouts, heard.broadcasts), (master.timeouts, master.broadcasts));
    assert_eq!((heard.strays, heard.noise_bytes, heard.retries, heard.late_replies), (0, 0, 0, 0));
    let rows: Vec<_> = sniffer.rows().iter().map(|r| (r.unit, r.function, r.requests, r.replies)).collect();
    assert_eq!(
        rows,
        [
            (0, 5, 200, 0),
            (1, 1, 200, 200),
            (1, 3, 400, 200),
            (2, 1, 200, 200),
            (3, 6, 200, 200),
            (9, 3, 200, 0)
        ]
    );
    let row = sniffer.rows()[2];
    assert_eq!((row.exceptions[2], row.timeouts), (200, 0));
    // The slave's silence and the first character.
    let response = timing().t35 + timing().character;
    assert_eq!((row.fastest, row.response.max()), (Some(response), response));
    assert_eq!(sniffer.map().units(), [1, 2, 3, 9]);
    let toml = sniffer.map().to_toml(1, "learnt");
    assert!(
        toml.contains("\"5..14\" = [105, 106, 107, 108, 109, 110, 111, 112, 113, 114] # read\n"),
        "{toml}"
    );
    assert!(!toml.contains("60"), "{toml}");
    assert_eq!(sniffer.map().value(3, Table::HoldingRegisters, 7), Some(4711));
}

#[test]
fn missing_late_and_broken_replies_have_their_names() {
    let polls = [read(1, 0, 2).every(SECOND)];
    let (sniffer, w) = listen(polls, SECOND * 6, |b| {
        if b.from == End::Far {
            match b.n {
                1 => b.drop(),
                2 => b.delay(Duration::from_millis(200)),
                3 => b.first()[4] ^= 1,
                4 => b.before(&[9, 9, 9], Duration::from_millis(10)),
                _ => {}
            }
        }
    });
    let heard = sniffer.stats().totals();
    assert_eq!((heard.requests, heard.replies), (6, 3), "{heard:?}");
    assert_eq!((heard.timeouts, heard.late_replies, heard.check_errors, heard.malformed), (2, 1, 1, 1));
    // Each is the same request again, but only two of them because the one before failed.
    assert_eq!(heard.retries, w.near.stats().totals().timeouts - 1);
    let row = sniffer.rows()[0];
    assert_eq!((row.timeouts, row.late, row.broken), (2, 1, 1));
}

#[test]
fn retries_are_not_taken_for_echoes() {
    // Writes are answered with their echo; these never are.
    let polls = [poll(Exchange::write_register(1, 7, 1).unwrap()).every(SECOND).retries(2)];
    let (sniffer, _) = listen(polls, SECOND * 5, |b| {
        if b.from == End::Far {
            b.drop();
        }
    });
    let heard = sniffer.stats().totals();
    assert_eq!((heard.requests, heard.replies, heard.timeouts), (15, 0, 15), "{heard:?}");
    assert_eq!((heard.retries, heard.strays), (14, 0));
}

#[test]
fn records_carry_the_number_of_their_request() {
    let (sink, mut reader) = frames(64);
    reader.watch(true);
    let mut sniffer = sniffer().frames(sink.port(3));
    let frame = |unit, pdu: &[u8]| {
        let mut out = [0; MAX_ADU];
        let len = framing::encode(Framing::Rtu, 0, unit, pdu, &mut out);
        out[..len].to_vec()
    };
    let mut heard = vec![];
    let mut at = Time(1);
    for bytes in [
        frame(1, &[3, 2, 1, 2]),
        frame(1, &[3, 0, 0, 0, 1]),
        frame(1, &[3, 2, 1, 2]),
        vec![1, 2, 3, 4, 5],
        frame(2, &[0x42, 1]),
        frame(2, &[0x42, 7, 7]),
        frame(2, &[3, 0, 0, 0, 1]),
        frame(2, &[0x83, 2]),
    ] {
        at = at + timing().t35 * 2;
        heard.extend(bytes.iter().map(|b| (at, *b)));
    }
    hear(&mut sniffer, &heard, at + SECOND);
    let got = all(&mut reader);
    let kinds: Vec<_> = got.iter().map(|(kind, number, unit, _)| (*kind, *number, *unit)).collect();
    assert_eq!(
        kinds,
        [
            (FrameKind::OtherReply, 0, 1),
            (FrameKind::Request, 1, 1),
            (FrameKind::Reply, 1, 1),
            (FrameKind::Noise(framing::Chunk::BadCrc), 0, 0),
            (FrameKind::Request, 2, 2),
            (FrameKind::Reply, 2, 2),
            (FrameKind::Request, 3, 2),
            (FrameKind::Exception, 3, 2),
        ]
    );
}

#[test]
fn what_was_learnt_can_take_the_place_of_the_unit() {
    let polls = [read(1, 5, 10), poll(Exchange::read(1, Table::Coils, 0, 20).unwrap())];
    let polls = polls.map(|p| p.every(SECOND));
    let (sniffer, _) = listen(polls.clone(), SECOND * 5, |_| {});
    let plant = of_file(&sniffer.map().to_toml(1, "learnt"));
    let (master, mut results) = Master::new(timing(), polls, 64);
    let mut w = Wire::new(master, Slave::new(timing(), Shared::new(plant)), |_| {});
    w.run(SECOND / 2);
    let mut values = || results.pop().unwrap().values.iter().collect::<Vec<_>>();
    assert_eq!(values(), (105..115).collect::<Vec<_>>());
    assert_eq!(values(), (0..20).map(|n| n % 2).collect::<Vec<_>>());
}

#[test]
fn exchanges_are_read_as_points() {
    let plant = of_file(
        r#"
        [unit.tank]
        id = 7
        [unit.tank.point]
        level = { at = "holding:4", type = "f32", order = "CDAB" }
        count = { at = "holding:6", type = "i16", scale = 0.1 }
        valve = { at = "coil:3", type = "bool" }
        name = { at = "input:0", type = "string", length = 4 }
        "#,
    );
    let [low, high] = [2.5f32.to_bits() as u16, (2.5f32.to_bits() >> 16) as u16].map(u16::to_be_bytes);
    let reply = [&[3, 8, 0, 1][..], &low, &high, &[0xFF, 0xF6]].concat();
    let read = |request: &[u8], reply: &[u8]| {
        let values = decode(&plant, 7, request, reply).into_iter();
        values.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(read(&[3, 0, 3, 0, 4], &reply), ["tank.level=2.5", "tank.count=-1"]);
    // Only half of it is there.
    assert_eq!(read(&[3, 0, 5, 0, 2], &[3, 4, 0, 0, 0, 50]), ["tank.count=5"]);
    assert_eq!(read(&[5, 0, 3, 0xFF, 0], &[5, 0, 3, 0xFF, 0]), ["tank.valve=true"]);
    assert_eq!(read(&[15, 0, 2, 0, 2, 1, 1], &[15, 0, 2, 0, 2]), ["tank.valve=false"]);
    assert_eq!(read(&[4, 0, 0, 0, 4], b"\x04\x08pump\0\0\0\0"), ["tank.name=pump"]);
    assert_eq!(read(&[6, 0, 6, 0, 7], &[0x86, 2]), [""; 0]);
    assert!(decode(&plant, 8, &[6, 0, 6, 0, 7], &[6, 0, 6, 0, 7]).is_empty());
}

#[test]
fn an_ascii_line_is_understood() {
    let mut sniffer = Sniffer::new(timing()).framing(Framing::Ascii);
    let (mut heard, mut at) = (vec![], Time(1));
    for (unit, pdu, bend) in [
        (1, &[3, 0, 0, 0, 1][..], false),
        (1, &[3, 2, 1, 2], false),
        (1, &[6, 0, 7, 0, 9], false),
        (1, &[6, 0, 7, 0, 9], false),
        (1, &[3, 0, 0, 0, 1], false),
        (1, &[3, 2, 1, 2], true),
        (2, &[3, 0, 0, 0, 1], false),
        (2, &[0x83, 2], false),
    ] {
        let mut out = [0; MAX_ADU];
        let len = framing::encode(Framing::Ascii, 0, unit, pdu, &mut out);
        out[len - 3] ^= u8::from(bend);
        for byte in &out[..len] {
            at = at + timing().character;
            heard.push((at, *byte));
        }
    }
    hear(&mut sniffer, &heard, at + SECOND * 3);
    let totals = sniffer.stats().totals();
    assert_eq!((totals.requests, totals.replies, totals.exceptions), (4, 2, 1), "{totals:?}");
    assert_eq!((totals.check_errors, totals.timeouts, totals.strays), (1, 0, 0));
    assert_eq!(sniffer.map().value(1, Table::HoldingRegisters, 7), Some(9));
}

#[test]
fn on_a_bad_line_nothing_untrue_is_learnt_and_twice_the_same() {
    let run = |seed| {
        let mut dice = Seeded(seed);
        let polls = [read(1, 0, 5).retries(2), read(2, 10, 5), read(3, 0, 1), read(9, 0, 1).every(SECOND)];
        let (sniffer, w) = listen(polls, SECOND * 300, move |b| match dice.below(30) {
            0 => b.drop(),
            1 => b.delay(Duration::from_millis(dice.below(180))),
            2 => b.bend(&mut dice),
            3 => b.disturb(&mut dice, 300),
            4 => b.split(dice.index(8), Duration::from_micros(dice.below(5000))),
            _ => {}
        });
        let rows: Vec<String> = sniffer.rows().iter().map(|r| format!("{r:?}")).collect();
        let toml: Vec<String> = [1, 2, 3].map(|unit| sniffer.map().to_toml(unit, "u")).into();
        (sniffer.stats().totals(), rows, toml, sniffer.map().units(), w.near.stats().totals())
    };
    let (heard, rows, toml, units, master) = run(3);
    assert_eq!(units, [1, 2, 3, 9]);
    for (toml, values) in toml.iter().zip(["100, 101, 102, 103, 104", "210, 211, 212, 213, 214", "= 300"]) {
        assert!(toml.contains(values) && toml.lines().filter(|l| l.contains(" = ")).count() == 2, "{toml}");
    }
    // The master did not get all that was heard, or the other way round, but nearly.
    assert!(heard.requests.abs_diff(master.requests) < master.requests / 5, "{heard:?} {master:?}");
    assert!(heard.replies.abs_diff(master.replies) < master.replies / 10, "{heard:?} {master:?}");
    assert!(heard.timeouts > 100 && heard.check_errors > 50 && heard.late_replies > 3, "{heard:?}");
    assert_eq!((heard, rows, toml, units, master), run(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn after_anything_the_next_exchange_is_understood(
        garbage in prop::collection::vec((0..20_000u64, prop::collection::vec(any::<u8>(), 0..60)), 0..10),
        ascii in any::<bool>(),
    ) {
        let framing = if ascii { Framing::Ascii } else { Framing::Rtu };
        let mut sniffer = sniffer().framing(framing);
        let (mut heard, mut at) = (vec![], Time(1));
        for (pause, bytes) in &garbage {
            at = at + Duration::from_micros(*pause);
            heard.extend(bytes.iter().map(|b| (at, *b)));
        }
        at = at + SECOND * 2;
        for pdu in [&[3, 0, 9, 0, 1][..], &[3, 2, 0x12, 0x34]] {
            let mut out = [0; MAX_ADU];
            let len = framing::encode(framing, 0, 7, pdu, &mut out);
            heard.extend(out[..len].iter().map(|b| (at, *b)));
            at = at + timing().t35 * 3;
        }
        hear(&mut sniffer, &heard, at);
        prop_assert_eq!(sniffer.map().value(7, Table::HoldingRegisters, 9), Some(0x1234));
        let timing = Timing::new(9600, "8N1".parse().unwrap());
        prop_assert!(Sniffer::new(timing).rows().is_empty());
    }
}
