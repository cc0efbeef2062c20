//! Traffic as mutations leave it, from fixed seeds. Whatever it was, the next good request is answered.

use std::time::Duration;

use hilrig_tests::Seeded;

use crate::table;
use crate::talk::{Framing, PAUSE, Talk, encode, hex, noise};

table! {
    ALL ten_thousand_mutated_frames;
    ALL ten_thousand_mutated_requests_with_a_good_check;
    SERIAL ten_thousand_mutated_frames_without_a_breath;
}

/// Frames as they are on a line, before they are mutated.
fn pdu(dice: &mut Seeded) -> (u8, Vec<u8>) {
    let pdus: [&[u8]; 14] = [
        &[3, 0, 0, 0, 2],
        &[1, 0, 0, 0, 9],
        &[5, 0, 1, 0xff, 0],
        &[6, 0, 1, 0, 9],
        &[15, 0, 0, 0, 12, 2, 7, 7],
        &[16, 0, 0, 0, 2, 4, 1, 2, 3, 4],
        &[22, 0, 4, 0, 0xf2, 0, 0x25],
        &[23, 0, 0, 0, 2, 0, 1, 0, 1, 2, 0, 42],
        &[8, 0, 0, 1, 2],
        &[20, 7, 6, 0, 4, 0, 1, 0, 2],
        &[24, 0, 0],
        &[43, 14, 1, 0],
        &[3, 10, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5],
        &[0x42, 1, 2, 3],
    ];
    let unit = [1, 1, 1, 2, 3, 0][dice.index(6)];
    (unit, pdus[dice.index(pdus.len())].to_vec())
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Seeded) {
    for _ in 0..=dice.index(4) {
        if bytes.is_empty() {
            bytes.push(dice.below(256) as u8);
        }
        let at = dice.index(bytes.len());
        match dice.index(6) {
            0 => bytes[at] ^= 1 << dice.index(8),
            1 => bytes.truncate(at + 1),
            2 => bytes.insert(at, dice.below(256) as u8),
            3 => drop(bytes.remove(at)),
            4 => bytes[at] = dice.below(256) as u8,
            _ => bytes.extend(noise(dice.index(40))),
        }
    }
}

/// On a running one each frame on a line takes its silences; a connection begins anew instead.
fn count(t: &Talk<'_>) -> u64 {
    match (t.is_exact(), t.framing) {
        (true, _) => 10_000,
        (false, Framing::Tcp) => 2_000,
        (false, _) => 50,
    }
}

fn survive(t: &mut Talk<'_>, seed: u64, bytes: &[u8]) {
    let pause = if t.framing == Framing::Ascii { Duration::from_millis(5) } else { PAUSE };
    t.bytes(bytes);
    if t.is_exact() || t.framing != Framing::Tcp {
        t.wait(pause);
        t.forget_what_was_said();
    }
    if t.framing == Framing::Tcp {
        // A header that promises more than comes is waited for; whoever sent it calls again.
        t.reconnect();
    }
    let alive = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        t.alive();
    }));
    assert!(alive.is_ok(), "not alive after mutation {seed}: {}", hex(bytes));
}

fn ten_thousand_mutated_frames(t: &mut Talk<'_>) {
    for seed in 0..count(t) {
        let mut dice = Seeded(seed);
        let (unit, pdu) = pdu(&mut dice);
        let mut frame = t.frame(unit, &pdu);
        mutate(&mut frame, &mut dice);
        survive(t, seed, &frame);
    }
}

fn ten_thousand_mutated_requests_with_a_good_check(t: &mut Talk<'_>) {
    for seed in 0..count(t) {
        let mut dice = Seeded(seed ^ 0xabcd_0000);
        let (unit, mut pdu) = pdu(&mut dice);
        mutate(&mut pdu, &mut dice);
        pdu.truncate(253);
        // Who is told to listen only does so, rightly.
        if pdu.starts_with(&[8, 0, 4]) {
            continue;
        }
        let frame = encode(t.framing, seed as u16, unit, &pdu);
        survive(t, seed, &frame);
    }
}

/// Everything at once, also on a running one, which lives through all of it.
fn ten_thousand_mutated_frames_without_a_breath(t: &mut Talk<'_>) {
    for seed in 0..10_000 {
        let mut dice = Seeded(seed ^ 0x1234_0000);
        let (unit, pdu) = pdu(&mut dice);
        let mut frame = t.frame(unit, &pdu);
        mutate(&mut frame, &mut dice);
        t.bytes(&frame);
        // Somebody listens now and then: who never does is not answered for ever.
        if seed % 500 == 0 {
            t.forget_what_was_said();
        }
    }
    t.wait(Duration::from_secs(2));
    t.forget_what_was_said();
    t.alive();
}
