//! Fault rules in virtual time: each trigger with each effect against a plain model, then what the model leaves out.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, Got, rules, wire};
use hilrig_port::{CharError, Conduit, Direction, Lines, Signal, Time};
use hilrig_wire::{CoreSpec, FIRINGS_KEPT, FaultRule, LinkCore, MAX_RULES};

const FRAMES: usize = 12;
const GAP: u64 = 30_000;

/// Frame 3 is 30 31 32 33; they are so far apart that silence parts them even on a busy machine.
fn frame(i: usize) -> [u8; 4] {
    std::array::from_fn(|j| (i * 16 + j) as u8)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    Byte(u8),
    Signal(Signal),
}
use Token::{Byte, Signal as Sig};

/// All that came in one direction, in order.
fn tokens(bench: &Bench) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (_, got) in &bench.out[0] {
        match got {
            Got::Bytes(bytes) => tokens.extend(bytes.iter().map(|b| Byte(*b))),
            Got::Signal(signal) => tokens.push(Sig(*signal)),
        }
    }
    tokens
}

/// What is hit, as (first byte, length in bytes) in the whole stream.
type Hits = Vec<(usize, usize)>;

fn frames(hits: &[usize]) -> Hits {
    hits.iter().map(|i| (i * 4, 4)).collect()
}

fn bytes(hits: impl IntoIterator<Item = usize>) -> Hits {
    hits.into_iter().map(|i| (i, 1)).collect()
}

/// Triggers, and what of the twelve frames they hit.
fn triggers() -> Vec<(&'static str, bool, Hits)> {
    let all = FRAMES * 4;
    vec![
        ("", true, frames(&(0..FRAMES).collect::<Vec<_>>())),
        ("frame = 3", true, frames(&[3])),
        ("every = 4", true, frames(&[3, 7, 11])),
        ("time = '100ms'", true, frames(&[4])),
        ("pattern = '51 52'", true, frames(&[5])),
        ("pattern = '?? 72 73'", true, frames(&[7])),
        ("text = 'ABC'", true, frames(&[4])),
        ("probability = 1.0, count = 2", true, frames(&[0, 1])),
        ("probability = 0.0", true, frames(&[])),
        ("from = '100ms', until = '200ms'", true, frames(&[4, 5, 6])),
        ("fromFrame = 2, untilFrame = 4", true, frames(&[2, 3])),
        ("every = 2, fromFrame = 4, count = 2", true, frames(&[5, 7])),
        ("byte = 13", false, bytes([13])),
        ("every = 10", false, bytes([9, 19, 29, 39])),
        ("offset = 2", false, bytes((0..FRAMES).map(|i| i * 4 + 2))),
        ("offset = 2, every = 5", false, bytes([4 * 4 + 2, 9 * 4 + 2])),
        ("frame = 3", false, bytes(12..16)),
        ("frame = 3, offset = 1", false, bytes([13])),
        ("pattern = '30 31'", false, bytes([13])),
        ("pattern = '33 40 41'", false, bytes([17])),
        ("fromByte = 5, untilByte = 7", false, bytes([5, 6])),
        ("time = '100ms'", false, bytes([16])),
        ("from = '100ms', until = '200ms'", false, bytes(16..28)),
        ("probability = 1.0, count = 3", false, bytes(0..3)),
        ("", false, bytes(0..all)),
    ]
}

/// The stream with `hits` dealt with by an effect, as told by a plain model.
fn model(effect: &str, of_frames: bool, hits: &Hits) -> Vec<Token> {
    let mut out = Vec::new();
    let stream: Vec<u8> = (0..FRAMES).flat_map(frame).collect();
    let mut late: Vec<Token> = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let Some(&(_, len)) = hits.iter().find(|(first, _)| *first == at) else {
            out.push(Byte(stream[at]));
            at += 1;
            if at % 4 == 0 && !late.is_empty() {
                out.append(&mut late);
            }
            continue;
        };
        let unit: Vec<Token> = stream[at..at + len].iter().map(|b| Byte(*b)).collect();
        let masked = |mask: &[u8]| -> Vec<Token> {
            let mask = |i: usize| mask.get(i).copied().unwrap_or(0);
            stream[at..at + len].iter().enumerate().map(|(i, b)| Byte(b ^ mask(i))).collect()
        };
        match effect {
            "'drop'" => {}
            "{ duplicate = 2 }" => (0..3).for_each(|_| out.extend(&unit)),
            "{ corrupt = { mask = '81' } }" => out.extend(masked(&[0x81])),
            "{ corrupt = { mask = 'ff0f', offset = 1 } }" => out.extend(masked(&[0, 0xFF, 0x0F])),
            "{ insert = { hex = 'aa bb' } }" => {
                out.extend([Byte(0xAA), Byte(0xBB)]);
                out.extend(unit);
            }
            "{ insert = { text = 'Z', after = true } }" => {
                out.extend(unit);
                out.push(Byte(b'Z'));
            }
            "{ truncate = 1 }" => {
                out.push(unit[0]);
                // On bytes: one from there on, and no more of this frame.
                at = if of_frames { at + len } else { (at / 4 + 1) * 4 };
                continue;
            }
            "{ break = '1ms' }" => {
                out.extend([Sig(Signal::Break(true)), Sig(Signal::Break(false))]);
                out.extend(unit);
            }
            "{ error = 'parity' }" => {
                out.push(Sig(Signal::Error(CharError::Parity)));
                out.extend(unit);
            }
            "{ unplug = '1s' }" => {
                out.push(Sig(Signal::Unplug(std::time::Duration::from_secs(1))));
                out.extend(unit);
            }
            "{ reorder = {} }" => {
                if late.is_empty() {
                    late = unit;
                    at += len;
                    continue;
                }
                out.extend(unit);
                out.append(&mut late);
            }
            // Only time changes.
            _ => out.extend(unit),
        }
        at += len;
    }
    out.extend(late);
    out
}

fn run(rule: &str) -> Bench {
    let mut bench = Bench::new(rules(rule));
    for i in 0..FRAMES {
        // In two pieces, which are one frame nevertheless.
        bench.push(i as u64 * GAP, 0, &frame(i)[..1]);
        bench.push(i as u64 * GAP + 1_000, 0, &frame(i)[1..]);
    }
    bench.run(FRAMES as u64 * GAP + 5_000_000);
    assert_eq!(bench.pending(0), 0, "{rule}");
    bench
}

#[test]
fn each_trigger_with_each_effect() {
    let on_both = [
        "'drop'",
        "{ duplicate = 2 }",
        "{ corrupt = { mask = '81' } }",
        "{ insert = { hex = 'aa bb' } }",
        "{ insert = { text = 'Z', after = true } }",
        "{ truncate = 1 }",
        "{ break = '1ms' }",
        "{ error = 'parity' }",
        "{ unplug = '1s' }",
        "{ delay = '3ms' }",
        "{ jitter = '3ms' }",
        "{ stall = '3ms' }",
    ];
    let on_frames = ["{ corrupt = { mask = 'ff0f', offset = 1 } }", "{ reorder = {} }"];
    let mut checked = 0;
    for (when, of_frames, hits) in triggers() {
        for effect in on_both.iter().chain(on_frames.iter().filter(|_| of_frames)) {
            // A firing under way, or a frame held back, leaves its turn to a later one: not in the model.
            let counted = when.contains("count") && when.contains("probability");
            if counted && (effect.contains("reorder") || effect.contains("truncate") && !of_frames) {
                continue;
            }
            let on = if of_frames { "frame" } else { "byte" };
            let rule = format!(
                "[[faults]]\nid = 'x'\ndirection = 'a->b'\non = '{on}'\nwhen = {{ {when} }}\neffect = {effect}"
            );
            let bench = run(&rule);
            assert_eq!(tokens(&bench), model(effect, of_frames, &hits), "{rule}");
            // What a truncation has taken, and a frame that cannot be held back too, is not there to be hit.
            if !(effect.contains("truncate") && !of_frames || effect.contains("reorder")) {
                let report = bench.report("x");
                assert_eq!(report.fired, hits.len() as u64, "{rule}");
                assert_eq!(report.never_fired(), hits.is_empty());
                assert_eq!(bench.notes.len(), hits.len(), "{rule}");
                let places: Vec<usize> = bench.notes.iter().map(|n| n.position as usize).collect();
                assert_eq!(places, hits.iter().map(|(first, _)| *first).collect::<Vec<_>>(), "{rule}");
            }
            checked += 1;
        }
    }
    assert!(checked > 300, "{checked}");
}

fn one(when: &str, effect: &str) -> CoreSpec {
    rules(&format!("[[faults]]\nid = 'x'\ndirection = 'a->b'\nwhen = {{ {when} }}\neffect = {effect}"))
}

#[test]
fn a_dropped_frame_goes_whole_and_the_rest_stays() {
    let mut bench = Bench::new(rules(""));
    bench.push(0, 0, &[0; 8]);
    let rule: FaultRule =
        toml::from_str("id = 'd'\ndirection = 'a->b'\nwhen = { count = 1 }\neffect = 'drop'").unwrap();
    bench.core.arm(bench.now, LinkCore::prepare(&rule).unwrap()).unwrap();
    bench.push(1_000, 0, &[1; 4]);
    bench.push(20_000, 1, &[2; 8]);
    bench.push(21_000, 0, &[3; 5]);
    bench.push(23_500, 0, &[4; 2]);
    bench.push(40_000, 0, &[5; 2]);
    bench.push(44_000, 1, &[6; 8]);
    bench.push(45_000, 0, &[7; 9]);
    bench.run(100_000);
    let want = [&[0; 8][..], &[1; 4], &[7; 9]].concat();
    assert_eq!(bench.bytes(0), want, "the frame that was under way, then one after the fault");
    let report = bench.report("d");
    assert_eq!((report.fired, report.bytes, report.armed, report.number), (1, 9, false, 0));
    let firing = report.firings[0];
    assert_eq!((firing.at, firing.position, firing.bytes), (bench.at(21_000), 12, 9));
    assert_eq!(bench.notes.len(), 1);
}

#[test]
fn drops_take_turns_and_can_be_cleared() {
    let rule = |id: &str, count| {
        format!(
            "[[faults]]\nid = '{id}'\ndirection = 'b->a'\nwhen = {{ count = {count} }}\neffect = 'drop'\n"
        )
    };
    let mut bench = Bench::new(rules(&(rule("a", 2) + &rule("b", 5))));
    for i in 0..4 {
        bench.push(i * GAP, 1, &[7; 7]);
    }
    assert!(bench.core.clear("b"));
    assert!(!bench.core.clear("c"));
    bench.push(5 * GAP, 1, &[7; 7]);
    bench.run(1_000_000);
    assert_eq!((bench.bytes(1).len(), bench.report("a").fired, bench.report("b").fired), (7, 2, 2));
    assert_eq!(bench.report("b").firings[1].position, 21);
}

#[test]
fn delay_jitter_and_stall_change_times_only() {
    let times = |effect: &str, sends: &[u64]| {
        let mut bench = Bench::new(one("frame = 1", effect));
        sends.iter().for_each(|at| bench.push(*at, 0, b"ab"));
        bench.run(1_000_000);
        assert_eq!(bench.bytes(0).len(), sends.len() * 2);
        bench.seen(0).iter().map(|(us, _)| *us).collect::<Vec<_>>()
    };
    let sends = [0, 30_000, 31_000, 60_000];
    assert_eq!(times("{ delay = '5ms' }", &sends), [0, 35_000, 36_000, 60_000]);
    assert_eq!(times("{ stall = '5ms' }", &sends), [0, 35_000, 60_000], "both at once");
    assert_eq!(times("{ delay = '40ms' }", &sends)[1..], [70_000, 71_000], "nothing overtakes");
    let jitter = times("{ jitter = '5ms' }", &sends);
    assert!((30_001..35_000).contains(&jitter[1]) && jitter[2] == jitter[1] + 1_000, "{jitter:?}");
}

#[test]
fn a_moment_needs_no_bytes() {
    let mut bench = Bench::new(one("time = '50ms'", "{ break = '10ms' }"));
    bench.push(5_000, 0, b"a");
    bench.run(100_000);
    let (on, off) = (Signal::Break(true), Signal::Break(false));
    let want = [(5_000, Got::Bytes(b"a".to_vec())), (50_000, Got::Signal(on)), (60_000, Got::Signal(off))];
    assert_eq!(bench.seen(0), want);
    let mut bench = Bench::new(one("time = '50ms'", "{ insert = { hex = '7e' } }"));
    bench.run(100_000);
    assert_eq!(bench.seen(0), [(50_000, Got::Bytes(vec![0x7E]))]);
    assert_eq!((bench.inserted(0), bench.notes[0].at, bench.notes[0].bytes), (1, bench.at(50_000), 1));
}

#[test]
fn lines_go_off_and_come_back_as_they_are_then() {
    let mut bench = Bench::new(one("time = '10ms'", "{ lineDrop = { lines = ['rts'], time = '20ms' } }"));
    bench.signal(0, 0, Signal::Lines(Lines::DTR | Lines::RTS));
    bench.signal(20_000, 0, Signal::Lines(Lines::RTS));
    bench.push(21_000, 0, b"a");
    bench.run(100_000);
    let lines = |l| Got::Signal(Signal::Lines(l));
    let want = [
        (10_000, lines(Lines::DTR)),
        (20_000, lines(Lines::NONE)),
        (21_000, Got::Bytes(b"a".to_vec())),
        (30_000, lines(Lines::RTS)),
    ];
    assert_eq!(bench.seen(0), want);
}

#[test]
fn random_bits_are_different_bits_of_the_hit_alone() {
    for (when, bits, span) in
        [("byte = 9", 8, 9..10), ("byte = 9", 3, 9..10), ("frame = 2", 5, 8..12), ("frame = 2", 64, 8..12)]
    {
        let mut bench = Bench::new(one(when, &format!("{{ corrupt = {{ bits = {bits} }} }}")));
        (0..4).for_each(|i| bench.push(i * GAP, 0, &[0; 4]));
        bench.run(1_000_000);
        let out = bench.bytes(0);
        let flipped: u32 = out.iter().map(|b| b.count_ones()).sum();
        let in_span: u32 = out[span.clone()].iter().map(|b| b.count_ones()).sum();
        assert_eq!((flipped, in_span), (bits.min(8 * span.len() as u32), flipped));
    }
}

#[test]
fn reordered_frames_wait_no_longer_than_said() {
    let mut bench = Bench::new(one("frame = 0", "{ reorder = { by = 2, within = '200ms' } }"));
    for (i, c) in ["a", "b", "c", "d"].iter().enumerate() {
        bench.push(i as u64 * GAP, 0, c.as_bytes());
    }
    bench.run(1_000_000);
    assert_eq!(bench.bytes(0), b"bcad");
    let mut bench = Bench::new(one("frame = 0", "{ reorder = { by = 2, within = '200ms' } }"));
    bench.push(0, 0, b"a");
    bench.push(GAP, 0, b"b");
    bench.run(199_999);
    assert_eq!((bench.bytes(0), bench.pending(0)), (b"b".to_vec(), 1));
    bench.run(200_000);
    assert_eq!(bench.bytes(0), b"ba");
    // One that is too long goes its way.
    let mut bench = Bench::new(one("frame = 0", "{ reorder = {} }"));
    bench.push(0, 0, &[1; 5000]);
    bench.push(50_000, 0, b"x");
    bench.run(1_000_000);
    assert_eq!((bench.bytes(0).len(), bench.bytes(0).last()), (5001, Some(&b'x')));
}

#[test]
fn what_waits_for_the_end_of_a_frame_knows_it_by_the_answer_too() {
    let mut bench = Bench::new(one("frame = 0", "{ duplicate = 1 }"));
    bench.push(0, 0, b"ask");
    bench.push(5_000, 1, b"reply");
    bench.run(100_000);
    let abc = Got::Bytes(b"ask".to_vec());
    assert_eq!(bench.seen(0), [(0, abc.clone()), (5_000, abc)], "not 20 ms later");
}

#[test]
fn a_terminator_makes_frames_without_any_time() {
    let mut spec = one("frame = 1", "'drop'");
    spec.terminator = b"\r\n".to_vec();
    let mut bench = Bench::new(spec);
    bench.push(0, 0, b"one\r\ntw");
    bench.push(500_000, 0, b"o\r");
    bench.push(900_000, 0, b"\nthree\r\n");
    assert_eq!(bench.bytes(0), b"one\r\nthree\r\n");
    assert_eq!(bench.notes[0].bytes, 5);
    let mut spec = one("every = 1", "{ insert = { text = '!', after = true } }");
    spec.terminator = b"\n".to_vec();
    let mut bench = Bench::new(spec);
    bench.push(0, 0, &b"a\n".repeat(3000));
    bench.run(1_000_000);
    assert_eq!(bench.bytes(0), b"a\n!".repeat(3000));
}

#[test]
fn a_mismatch_of_a_fault_garbles_its_frames_only() {
    let mut spec = wire((9600, "8N1"), (9600, "8N1"));
    spec.faults = one("frame = 1", "{ mismatch = { rate = 0.5 } }").faults;
    let mut bench = Bench::new(spec.clone());
    bench.push(0, 0, b"one");
    bench.push(GAP, 0, &[0, 0]);
    bench.push(2 * GAP, 0, b"three");
    bench.run(1_000_000);
    let (on, off) = (Signal::Break(true), Signal::Break(false));
    assert_eq!(bench.signals(0), [on, off, on, off], "nothing but zeros at half the speed");
    assert_eq!((bench.bytes(0), bench.dropped(0)), (b"onethree".to_vec(), 2));
    // Without a speed the fault's bytes go at 9600.
    spec.wire = None;
    spec.faults = one("time = '10ms'", "{ mismatch = { rate = 2.0, time = '15ms' } }").faults;
    let mut bench = Bench::new(spec);
    bench.push(0, 0, b"one");
    bench.push(20_000, 0, b"two");
    bench.push(2 * GAP, 0, b"three");
    bench.run(1_000_000);
    let out = bench.bytes(0);
    assert!(out.starts_with(b"one") && out.ends_with(b"three") && out.len() > 8, "{out:?}");
    assert_ne!(out, b"onetwothree");
    assert_eq!(bench.report("x").fired, 1);
}

#[test]
fn a_span_is_one_firing() {
    let mut spec = one("frame = 2", "'drop'");
    spec.faults[0].span = Some(3);
    let mut bench = Bench::new(spec);
    (0..8).for_each(|i| bench.push(i * GAP, 0, &frame(i as usize)));
    bench.run(1_000_000);
    assert_eq!((bench.bytes(0).len(), bench.report("x").fired, bench.notes[0].bytes), (20, 1, 12));
}

#[test]
fn each_direction_has_its_own_places() {
    let mut spec = one("frame = 1", "'drop'");
    spec.faults[0].direction = hilrig_wire::Way::Both;
    let mut bench = Bench::new(spec);
    for i in 0..6 {
        bench.push(i * 10_000, (i % 2) as usize, &frame(i as usize));
    }
    bench.run(1_000_000);
    assert_eq!(
        (bench.bytes(0), bench.bytes(1)),
        ([frame(0), frame(4)].concat(), [frame(1), frame(5)].concat())
    );
    assert_eq!(bench.report("x").fired, 2);
}

#[test]
fn the_last_firings_are_kept_and_all_are_counted() {
    let mut bench = Bench::new(one("byte = 0", "'drop'"));
    let rule: FaultRule =
        toml::from_str("id = 'all'\ndirection = 'a->b'\non = 'byte'\neffect = { error = 'overrun' }")
            .unwrap();
    bench.core.arm(bench.now, LinkCore::prepare(&rule).unwrap()).unwrap();
    bench.push(0, 0, &[1; 1000]);
    let report = bench.report("all");
    assert_eq!((report.fired, report.bytes, report.firings.len()), (999, 999, FIRINGS_KEPT));
    assert_eq!((report.firings[0].position, report.firings[63].position), (936, 999));
    assert_eq!(bench.notes.len(), 1000);
}

#[test]
fn old_rules_give_way_and_busy_ones_do_not() {
    let rule = |id: &str, when: &str| {
        let text = format!("id = '{id}'\ndirection = 'a->b'\nwhen = {{ {when} }}\neffect = 'drop'");
        LinkCore::prepare(&toml::from_str::<FaultRule>(&text).unwrap()).unwrap()
    };
    let mut bench = Bench::new(CoreSpec::default());
    for i in 0..MAX_RULES {
        assert!(bench.core.arm(Time(0), rule(&format!("r{i}"), "count = 1")).unwrap().displaced.is_none());
    }
    assert!(bench.core.arm(Time(0), rule("more", "")).is_err());
    bench.core.clear("r5");
    let armed = bench.core.arm(Time(0), rule("more", "frame = 0")).unwrap();
    assert!(armed.displaced.is_some());
    assert_eq!(armed.number, 32);
    assert!(bench.core.report().iter().all(|r| r.id != "r5"));
    assert_eq!(bench.core.report().last().unwrap().id, "more");
}

#[test]
fn rules_do_not_disturb_each_other_and_the_seed_decides() {
    let hits = |seed, rules_text: &str, id: &str| {
        let mut spec = rules(rules_text);
        spec.seed = seed;
        let mut bench = Bench::new(spec);
        bench.push(0, 0, &[0; 4000]);
        let number = bench.report(id).number;
        bench.notes.iter().filter(|n| n.rule == number).map(|n| n.position).collect::<Vec<_>>()
    };
    let rule = |id: &str| {
        format!(
            "[[faults]]\nid = '{id}'\ndirection = 'a->b'\non = 'byte'\nwhen = {{ probability = 0.01 }}\neffect = {{ corrupt = {{ bits = 1 }} }}\n"
        )
    };
    let alone = hits(7, &rule("x"), "x");
    assert!((15..80).contains(&alone.len()), "{}", alone.len());
    assert_eq!(alone, hits(7, &rule("x"), "x"));
    assert_eq!(alone, hits(7, &(rule("w") + &rule("x") + &rule("y")), "x"));
    assert_ne!(alone, hits(8, &rule("x"), "x"));
    assert_ne!(alone, hits(7, &(rule("w") + &rule("x")), "w"));
}

#[test]
fn a_byte_that_one_rule_took_out_is_there_for_no_later_one() {
    let two = |first: &str, second: &str| {
        let text = format!(
            "[[faults]]\nid = 'a'\ndirection = 'a->b'\n{first}\n[[faults]]\nid = 'b'\ndirection = 'a->b'\n{second}\n"
        );
        let mut bench = Bench::new(rules(&text));
        (0..4).for_each(|i| bench.push(i * GAP, 0, &frame(i as usize)));
        bench.run(2_000_000);
        (bench.bytes(0), bench.report("a").fired, bench.report("b").fired)
    };
    let drop = "when = { frame = 1 }\neffect = 'drop'";
    let held = "when = { frame = 1 }\neffect = { reorder = {} }";
    let byte = "when = { byte = 5 }\neffect = 'drop'";
    let all = |i: &[usize]| i.iter().flat_map(|i| frame(*i)).collect::<Vec<u8>>();
    assert_eq!(two(drop, held), (all(&[0, 2, 3]), 1, 0));
    assert_eq!(two(held, drop), (all(&[0, 2, 1, 3]), 1, 0));
    assert_eq!(two(byte, held), (all(&[0, 2, 1, 3]), 0, 1), "frames are looked at first");
    assert_eq!(two(byte, drop), (all(&[0, 2, 3]), 0, 1));
}

#[test]
fn bad_rules_are_told_by_name_and_key() {
    let wrong = |text: &str| {
        let rule: FaultRule = toml::from_str(text).unwrap();
        LinkCore::prepare(&rule).unwrap_err().to_string()
    };
    let x = "id = 'x'\ndirection = 'a->b'\n";
    for (rest, want) in [
        (
            "when = { probability = 1.5 }\neffect = 'drop'",
            "fault `x`: key `when.probability`: 1.5 is not between 0 and 1",
        ),
        ("when = { every = 0 }\neffect = 'drop'", "key `when.every`"),
        ("when = { byte = 3 }\non = 'frame'\neffect = 'drop'", "key `when.byte`"),
        ("when = { byte = 3 }\non = 'byte'\neffect = { reorder = {} }", "key `effect.reorder`"),
        (
            "when = { from = '2s', until = '1s' }\neffect = 'drop'",
            "key `when.until`: 1s is not after `from`, 2s",
        ),
        ("effect = { corrupt = {} }", "needs one of `mask` and `bits`"),
        ("effect = { insert = { hex = '00', random = 3 } }", "needs one of"),
        ("effect = { insert = { random = 129 } }", "1 to 128"),
        ("effect = { mismatch = { rate = 0.0 } }", "key `effect.mismatch.rate`"),
        ("span = 0\neffect = 'drop'", "key `span`"),
    ] {
        let got = wrong(&format!("{x}{rest}"));
        assert!(got.contains(want), "{got}");
    }
    for (text, want) in [
        ("id = 'x'\ndirection = 'a->c'\neffect = 'drop'", "b->a"),
        ("id = 'x'\ndirection = 'a->b'\neffect = 'explode'", "explode"),
        ("id = 'x'\ndirection = 'a->b'\nwhen = { bite = 3 }\neffect = 'drop'", "bite"),
        ("id = 'x'\ndirection = 'a->b'\neffect = { delay = '5' }", "1.5ms"),
    ] {
        let got = toml::from_str::<FaultRule>(text).unwrap_err().to_string();
        assert!(got.contains(want), "{got}");
    }
    let mut spec = one("", "'drop'");
    spec.faults.push(spec.faults[0].clone());
    assert!(LinkCore::new(spec).unwrap_err().to_string().contains("same name"));
}

#[test]
fn a_shard_that_reads_its_clock_twice_may_tell_times_out_of_order() {
    let mut bench = Bench::new(one("every = 1", "{ duplicate = 1 }"));
    bench.core.push(bench.at(100), Direction::AToB, b"ab");
    bench.core.signal(bench.at(120), Direction::AToB, Signal::Break(true));
    bench.core.push(bench.at(100), Direction::AToB, b"cd");
    assert!(bench.core.next(bench.at(100), Direction::AToB).is_some());
}
