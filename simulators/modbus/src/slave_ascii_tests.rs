use hilrig_points::Table;
use proptest::prelude::*;

use super::bench::{Bench, noise};
use super::*;
use crate::framing::encode;

fn text(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_ADU];
    let len = encode(Framing::Ascii, 0, unit, pdu, &mut out);
    out[..len].to_vec()
}

fn bench() -> Bench {
    Bench::with(|slave| slave.framing(Framing::Ascii))
}

fn good() -> Vec<u8> {
    text(1, &[3, 0, 0, 0, 2])
}

fn good_reply() -> Vec<u8> {
    text(1, &[3, 4, 0x03, 0xE8, 0x03, 0xE9])
}

fn alive(b: &mut Bench) {
    b.send(&good());
    assert_eq!(b.replies(), [good_reply()]);
}

#[test]
fn units_answer_at_once_in_ascii() {
    let mut b = bench();
    let now = b.now;
    b.bytes(&good());
    b.wait(Duration::ZERO);
    assert_eq!(b.said, [(now, b":01030403E803E921\r\n".to_vec())]);
    b.replies();
    b.send(&good().to_ascii_lowercase());
    assert_eq!(b.replies(), [good_reply()]);
    b.send(&text(3, &[0x42])).send(&text(2, &[3, 0, 0, 0, 1]));
    assert_eq!(b.replies(), [text(3, &[0xC2, 1])]);
}

#[test]
fn whatever_comes_before_a_frame_costs_it_nothing() {
    let mut long = vec![b':'];
    long.extend(b"00".repeat(300));
    for before in [
        &b"\x00"[..],
        b":",
        b":::::",
        b":01",
        b":010300000002F",
        b":010300000002FA\r",
        b"\r\n\r\n",
        b":010300000002FB\r\n",
        b":01\r\n",
        b":0g0300000002FA\r\n",
        &long,
        &noise(255),
    ] {
        let mut b = bench();
        // Glued, with a pause, and with a pause that ends it.
        b.send(&[before, &good()].concat());
        assert_eq!(b.replies(), [good_reply()], "{before:?}");
        b.send(before);
        alive(&mut b);
        b.send(before).wait(Duration::from_secs(2)).silent();
        alive(&mut b);
        assert_eq!(b.totals().noise_bytes, 3 * before.len() as u64, "{before:?}");
        assert_eq!(b.slave.deadline(), None);
    }
}

#[test]
fn a_frame_may_pause_for_a_second_between_characters() {
    let mut b = bench();
    for c in good() {
        b.bytes(&[c]).wait(Duration::from_millis(999));
    }
    assert_eq!(b.replies(), [good_reply()]);
    b.bytes(&good()[..9]).wait(Duration::from_secs(1)).send(&good()[9..]).silent();
    alive(&mut b);
    let mut b = Bench::with(|slave| {
        let timing = slave.timing.between(Duration::from_millis(20));
        Slave::new(timing, slave.plant().clone()).framing(Framing::Ascii)
    });
    b.bytes(&good()[..9]).wait(Duration::from_millis(20)).send(&good()[9..]).silent();
    alive(&mut b);
}

#[test]
fn the_delimiter_can_be_changed() {
    let mut b = bench();
    let change = text(1, &[8, 0, 3, b'#', 0]);
    b.send(&change);
    assert_eq!(b.replies(), std::slice::from_ref(&change), "the answer still ends as before");
    let with = |mut frame: Vec<u8>| {
        *frame.last_mut().unwrap() = b'#';
        frame
    };
    b.send(&good()).silent();
    b.send(&with(good()));
    assert_eq!(b.replies(), [with(good_reply())]);
}

#[test]
fn broadcasts_and_strays_are_not_answered() {
    let mut b = bench();
    b.send(&text(0, &[6, 0, 9, 0, 42])).send(&text(1, &[0x83, 2])).silent();
    let get = |id| b.slave.plant().with(|p| p.unit(id).unwrap().get(Table::HoldingRegisters, 9));
    assert_eq!((get(1), get(3)), (Some(42), Some(42)));
    assert_eq!((b.totals().broadcasts, b.totals().strays), (1, 1));
    alive(&mut b);
}

#[test]
fn ten_thousand_mutated_frames_cost_no_request() {
    let mut b = bench();
    let mut x = 7u64;
    let mut next = |n: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as usize % n
    };
    for _ in 0..10_000 {
        let mut frame = if next(2) == 0 { good() } else { text(2, &[3, 20, 1, 2, 3, 4]) };
        for _ in 0..=next(3) {
            let at = next(frame.len());
            match next(4) {
                0 => frame[at] ^= 1 << next(8),
                1 => frame.truncate(at + 1),
                2 => frame.insert(at, b":0F\r\nx"[next(6)]),
                _ => frame[at] = next(256) as u8,
            }
        }
        b.send(&frame).said.clear();
        b.send(&good());
        assert_eq!(b.replies().len(), 1, "{frame:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_characters_at_any_time_are_survived(
        bursts in prop::collection::vec((prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b":0123456789ABCDEF\r\n".to_vec())], 0..600,
        ), 0..2_000_000_000u64), 1..8),
    ) {
        let mut b = bench();
        for (bytes, pause) in bursts {
            b.bytes(&bytes).wait(Duration::from_nanos(pause));
        }
        b.wait(Duration::from_secs(2)).said.clear();
        b.send(&good());
        prop_assert_eq!(b.replies().len(), 1);
    }
}
