use std::time::Duration;

use hilrig_files::{Problems, read};
use hilrig_port::Station;
use proptest::prelude::*;

use super::*;
use crate::frames::{FrameKind, frames};
use crate::framing::{Framing, MAX_ADU, encode};
use crate::slave::bench::{Bench, PAUSE, T35, adu, good, good_reply, read as read_frame, read_reply};

/// The rules of a file, or all that is wrong with them.
fn rules(text: &str) -> Result<Vec<Prepared>, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        fault: Vec<ReplyRuleFile>,
    }
    let mut problems = Problems::new("model", "m.toml", text);
    let rules: Vec<_> = read::<File>(text, &mut problems)
        .map(|file| file.fault.iter().map(|rule| prepare(rule, &mut problems)).collect())
        .unwrap_or_default();
    if problems.is_empty() { Ok(rules) } else { Err(problems.into_error().lines()) }
}

fn rule(when: &str, effect: &str) -> String {
    format!("[[fault]]\nname = \"f-{}\"\nwhen = {{ {when} }}\neffect = {effect}\n", when.len() + effect.len())
}

pub(crate) fn faults(text: &str) -> ReplyFaults {
    let mut faults = ReplyFaults::new(42);
    for rule in rules(text).unwrap() {
        faults.arm(hilrig_port::Time(1_000_000), rule).unwrap();
    }
    faults
}

fn bench(text: &str) -> Bench {
    Bench::with(|slave| slave.faults(faults(text)))
}

/// Times after the request and bytes of what comes of one good request.
fn one(text: &str) -> Vec<(Duration, Vec<u8>)> {
    let mut b = bench(text);
    let now = b.now;
    b.send(&good());
    b.said.drain(..).map(|(at, bytes)| (at - now, bytes)).collect()
}

fn cut(bytes: &[u8], len: usize) -> Vec<u8> {
    bytes[..len].to_vec()
}

#[test]
fn each_effect_does_what_it_says() {
    let reply = good_reply();
    let ms = Duration::from_millis;
    let line = |n: u32| Duration::from_nanos(572_916) * n;
    let mut bad = reply.clone();
    *bad.last_mut().unwrap() ^= 0x55;
    let function = adu(1, &[4, 4, 0x03, 0xE8, 0x03, 0xE9]);
    let unit = adu(9, &[3, 4, 0x03, 0xE8, 0x03, 0xE9]);
    let drip = reply.iter().enumerate();
    let drip = drip.map(|(i, b)| (T35 + (ms(5) + line(1)) * i as u32, vec![*b])).collect();
    for (effect, said) in [
        ("{ exception = 6 }", vec![(T35, adu(1, &[0x83, 6]))]),
        ("\"silence\"", vec![]),
        ("{ delay = \"20ms\" }", vec![(T35 + ms(20), reply.clone())]),
        ("\"bad_crc\"", vec![(T35, bad)]),
        ("{ truncate = 4 }", vec![(T35, cut(&reply, 4))]),
        ("{ truncate = 0 }", vec![]),
        ("{ extra = \"01 02\" }", vec![(T35, [&reply[..], &[1, 2]].concat())]),
        ("{ pdu = \"03 02 00 05\" }", vec![(T35, adu(1, &[3, 2, 0, 5]))]),
        ("{ drip = \"5ms\" }", drip),
        ("{ unit = 9 }", vec![(T35, unit)]),
        ("{ function = 4 }", vec![(T35, function)]),
        ("\"duplicate\"", vec![(T35, reply.clone()), (T35 + line(9) + T35, reply.clone())]),
        (
            "{ split = { at = 4, gap = \"5ms\" } }",
            vec![(T35, cut(&reply, 4)), (T35 + line(4) + ms(5), reply[4..].to_vec())],
        ),
        ("\"late\"", vec![]),
        // What means nothing here does nothing.
        ("\"close\"", vec![(T35, reply.clone())]),
        ("{ transaction = 1 }", vec![(T35, reply.clone())]),
    ] {
        assert_eq!(one(&rule("", effect)), said, "{effect}");
    }
    let flipped = one(&rule("", "{ flip = 3 }"));
    let bits: u32 = flipped[0].1.iter().zip(&reply).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((flipped[0].1.len(), bits), (reply.len(), 3));
    let babble = one(&rule("", "{ babble = { bytes = 50, after = \"3ms\" } }"));
    assert_eq!((babble[0].1.len(), babble[1].1.len()), (reply.len(), 50));
    assert_eq!(babble[1].0 - babble[0].0, ms(3) + line(9));
    assert_eq!(one(&rule("", "{ babble = { bytes = 50 } }"))[0].1.len(), reply.len() + 50);
}

#[test]
fn rules_act_on_one_reply_in_order() {
    let text = [
        rule("", "{ exception = 4 }"),
        rule("", "{ truncate = 3 }"),
        rule("", "{ extra = \"FF FF\" }"),
        rule("", "{ split = { at = 1, gap = \"1ms\" } }"),
    ];
    let said = one(&text.concat());
    assert_eq!(said.iter().map(|s| s.1.clone()).collect::<Vec<_>>(), [vec![1], vec![0x83, 4, 0xFF, 0xFF]]);
    let babble = one(&[rule("", "\"silence\""), rule("", "{ babble = { bytes = 9 } }")].concat());
    assert_eq!(babble[0].1.len(), 9);
}

#[test]
fn rules_choose_by_what_was_asked() {
    for (when, hit, miss) in [
        ("unit = 1", good(), read_frame(3, 2)),
        ("function = 3", good(), adu(1, &[1, 0, 0, 0, 1])),
        ("table = \"coils\"", adu(1, &[1, 0, 0, 0, 1]), good()),
        ("table = \"coils\"", adu(1, &[5, 0, 0, 0, 0]), adu(1, &[6, 0, 0, 0, 0])),
        ("quantity = 2", good(), adu(1, &[3, 0, 0, 0, 3])),
        ("quantity = 1", adu(1, &[6, 0, 0, 0, 0]), adu(1, &[17])),
        ("addresses = 7", adu(1, &[3, 0, 5, 0, 3]), adu(1, &[3, 0, 5, 0, 2])),
        ("addresses = \"7..9\"", adu(1, &[16, 0, 9, 0, 1, 2, 0, 0]), adu(1, &[3, 0, 10, 0, 2])),
        ("addresses = \"7..9\", unit = 3", adu(3, &[3, 0, 0, 0, 20]), adu(1, &[3, 0, 0, 0, 20])),
    ] {
        let mut b = bench(&rule(when, "\"silence\""));
        b.send(&hit).silent();
        b.send(&miss);
        assert_eq!(b.replies().len(), 1, "{when}");
        b.send(&hit).silent();
        let report = b.slave.faults_mut().report();
        assert_eq!((report[0].seen, report[0].fired), (2, 2));
        assert_eq!(report[0].firings.iter().map(|f| f.frame).collect::<Vec<_>>(), [1, 3]);
    }
}

/// Which of so many good requests are not answered.
fn unanswered(text: &str, n: usize) -> Vec<usize> {
    let mut b = bench(text);
    (1..=n).filter(|_| b.send(&good()).replies().is_empty()).collect()
}

#[test]
fn rules_choose_by_turn_chance_and_time() {
    let silence = |when: &str| rule(when, "\"silence\"");
    assert_eq!(unanswered(&silence("nth = 3"), 9), [3]);
    assert_eq!(unanswered(&silence("every = 3"), 9), [3, 6, 9]);
    assert_eq!(unanswered(&silence("every = 2, count = 2"), 9), [2, 4]);
    assert_eq!(unanswered(&silence("count = 1"), 9), [1]);
    // The requests come each 50 ms, the first with the arming.
    assert_eq!(unanswered(&silence("from = \"100ms\", until = \"200ms\""), 9), [3, 4]);
    assert_eq!(unanswered(&silence("from = \"0s\", until = \"1ms\""), 3), [1]);
    assert_eq!(unanswered(&silence("probability = 0.0"), 50), [0; 0]);
    assert_eq!(unanswered(&silence("probability = 1.0"), 5).len(), 5);
    let some = unanswered(&silence("probability = 0.3"), 1000);
    assert!((250..350).contains(&some.len()), "{}", some.len());
    // The same each time, also beside another rule.
    assert_eq!(unanswered(&silence("probability = 0.3"), 1000), some);
    let beside = [silence("function = 1, probability = 0.5"), silence("probability = 0.3")].concat();
    assert_eq!(unanswered(&beside, 1000), some);
}

#[test]
fn random_delays_are_within_their_bounds_and_the_same_each_time() {
    let delays = |effect: &str| -> Vec<Duration> {
        let mut b = bench(&rule("", effect));
        (0..500)
            .map(|_| {
                let now = b.now;
                b.send(&good());
                let (at, _) = b.said.pop().unwrap();
                at - now - T35
            })
            .collect()
    };
    let even = delays("{ delay = { min = \"2ms\", max = \"6ms\" } }");
    let ms = |n| Duration::from_millis(n);
    assert!(even.iter().all(|d| (ms(2)..=ms(6)).contains(d)));
    assert!(even.iter().any(|d| *d < ms(3)) && even.iter().any(|d| *d > ms(5)));
    let normal = delays("{ delay = { mean = \"10ms\", sigma = \"2ms\" } }");
    let mean = normal.iter().sum::<Duration>() / 500;
    assert!((ms(9)..ms(11)).contains(&mean), "{mean:?}");
    let within = normal.iter().filter(|d| (ms(8)..ms(12)).contains(d)).count();
    assert!((300..380).contains(&within), "{within} of 500 within one sigma");
    assert_eq!(delays("{ delay = { mean = \"10ms\", sigma = \"2ms\" } }"), normal);
}

#[test]
fn a_late_reply_comes_right_before_the_next_one() {
    let mut b = bench(&rule("unit = 3", "\"late\""));
    b.send(&read_frame(3, 1)).silent();
    b.send(&good());
    assert_eq!(b.replies(), [read_reply(3, &[3000]), good_reply()]);
    b.send(&read_frame(3, 1)).silent();
    b.send(&read_frame(3, 2));
    assert_eq!(b.replies(), [read_reply(3, &[3000])]);
    b.alive_after(&read_reply(3, &[3000, 3001]));
}

#[test]
fn a_delayed_reply_comes_though_the_master_has_gone_on() {
    let mut b = bench(&rule("unit = 3", "{ delay = \"120ms\" }"));
    b.send(&read_frame(3, 1)).alive().silent();
    let due = hilrig_port::Time(1_000_000) + T35 + Duration::from_millis(120);
    b.wait(PAUSE);
    assert_eq!(b.said, [(due, read_reply(3, &[3000]))]);
    b.replies();
    // More than can wait are counted.
    for _ in 0..40 {
        b.bytes(&read_frame(3, 1)).wait(Duration::from_millis(3));
    }
    // And they leave room for what is not late.
    let stalled = b.totals().stalled;
    assert!((1..=12).contains(&stalled), "{stalled}");
    b.said.clear();
    b.bytes(&good()).wait(Duration::from_secs(1));
    assert!(b.replies().contains(&good_reply()));
    assert_eq!(b.totals().replies, 3 + 40 - stalled);
    b.alive();
}

#[test]
fn firings_are_counted_and_told_with_the_frame() {
    let (sink, mut reader) = frames(64);
    reader.watch(true);
    let text = [rule("nth = 2", "{ exception = 6 }"), rule("unit = 1, every = 2", "\"silence\"")].concat();
    let mut b = Bench::with(|slave| slave.faults(faults(&text)).frames(sink));
    b.alive().send(&good()).silent();
    let fired: Vec<_> = std::iter::from_fn(|| reader.pop())
        .filter_map(|r| match r.kind {
            FrameKind::Fault { rule } => Some((rule, r.number, r.unit)),
            _ => None,
        })
        .collect();
    assert_eq!(fired, [(0, 2, 1), (1, 2, 1)]);
    let t = b.totals();
    assert_eq!((t.faults, t.withheld, t.replies, t.unanswered), (2, 1, 1, 1));
    // Diagnostics tell what went out: nothing.
    assert_eq!(b.ask(1, &[8, 0, 15, 0, 0]), [8, 0, 15, 0, 1]);
    assert_eq!(b.slave.faults_mut().report()[0].firings[0].at, hilrig_port::Time(51_000_000));
}

#[test]
fn rules_are_armed_and_cleared_while_it_runs() {
    let mut text = rule("count = 1", "\"silence\"");
    text.push_str("armed = false\n");
    let mut b = bench(&text);
    let name = rules(&text).unwrap()[0].name().to_owned();
    b.alive();
    let now = b.now;
    assert!(b.slave.faults_mut().arm_by_name(now, &name));
    b.send(&good()).silent();
    b.alive();
    assert!(b.slave.faults_mut().arm_by_name(now, &name));
    assert!(b.slave.faults_mut().clear(&name));
    b.alive();
    assert!(!b.slave.faults_mut().clear("other"));
    assert!(!b.slave.faults_mut().arm_by_name(now, "other"));
    let report = b.slave.faults_mut().report();
    assert_eq!((report[0].fired, report[0].armed), (1, false));
    // A rule of the same name takes its place.
    let again = rules(&text.replace("silence", "bad_crc").replace("armed = false", "")).unwrap().remove(0);
    assert_eq!(b.slave.faults_mut().arm(now, again).unwrap(), 1);
    b.send(&good());
    assert_ne!(b.replies(), [good_reply()]);
    assert_eq!(b.slave.faults_mut().report().len(), 1);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text = "
[[fault]]
name = \"no name\"
when = { unit = 300, function = 0, addresses = \"9..1\", nth = 1, every = 0, probability = 1.5, from = \"2s\", until = \"1s\" }
effect = { delay = { min = \"5ms\", max = \"1ms\" } }
[[fault]]
name = \"b\"
effect = { delay = { min = \"5ms\", sigma = \"1ms\" } }
[[fault]]
name = \"c\"
effect = { flip = 65 }
";
    let wrong = rules(text).unwrap_err();
    for line in [
        "m.toml:3:8: this cannot be a name: 1 to 40 letters, digits, - and _",
        "m.toml:4:17: 300 is out of range: a unit id is a whole number from 0 to 255",
        "m.toml:4:33: 0 is out of range: a function code is a whole number from 1 to 127",
        "m.toml:4:48: this is not an address: the first address is above the last",
        "m.toml:4:62: `nth` and `every` exclude each other: leave one of them out",
        "m.toml:4:73: 0 is out of range: a number of replies is 1 or more",
        "m.toml:4:90: this is not a probability: a number from 0 to 1",
        "m.toml:4:116: the window is empty: this must be later than `from`",
        "m.toml:5:41: `max` is less than `min`: exchange the two",
        "m.toml:8:28: this delay is not complete, or two in one: write `min` and `max`, or `mean` and `sigma`",
        "m.toml:11:19: 65 is out of range: a number of bits is a whole number from 1 to 64",
    ] {
        assert!(wrong.lines().any(|l| l == line), "{line}\nis not in\n{wrong}");
    }
    assert_eq!(wrong.lines().count(), 11, "{wrong}");
    let unknown = rules("[[fault]]\nname = \"a\"\neffect = \"silent\"\n").unwrap_err();
    assert!(unknown.contains("m.toml:3:10: unknown value `silent`"), "{unknown}");
    let wrong = rules("[[fault]]\nname = \"a\"\neffect = { delay = 5 }\n").unwrap_err();
    assert!(wrong.contains("m.toml:3:"), "{wrong}");
}

#[test]
fn each_rule_has_a_schema() {
    let schema = serde_json::to_string(&schemars::schema_for!(ReplyRuleFile)).unwrap();
    for word in ["babble", "close_after", "sigma", "bad_crc", "probability"] {
        assert!(schema.contains(word), "{word}");
    }
}

#[test]
fn some_effects_mean_nothing_on_some_framings() {
    for (effect, fit) in [
        ("\"bad_crc\"", &[Framing::Rtu, Framing::Ascii, Framing::RtuOverTcp, Framing::AsciiOverTcp][..]),
        ("{ transaction = 1 }", &[Framing::Tcp]),
        ("\"close\"", &[Framing::Tcp, Framing::RtuOverTcp, Framing::AsciiOverTcp]),
        ("\"silence\"", &Framing::ALL),
    ] {
        let rule = &rules(&rule("", effect)).unwrap()[0];
        let fits: Vec<_> = Framing::ALL.into_iter().filter(|f| rule.fits(*f)).collect();
        assert_eq!(fits, fit, "{effect}");
    }
}

const EFFECTS: [&str; 19] = [
    "{ pdu = 'FF' }",
    "{ drip = '1ms' }",
    "{ exception = 6 }",
    "'silence'",
    "{ delay = '3ms' }",
    "{ delay = { min = '1ms', max = '90ms' } }",
    "{ delay = { mean = '20ms', sigma = '20ms' } }",
    "'bad_crc'",
    "{ flip = 64 }",
    "{ truncate = 1 }",
    "{ truncate = 0 }",
    "{ extra = '3A 0D 0A' }",
    "{ unit = 3 }",
    "{ transaction = 9 }",
    "'duplicate'",
    "{ split = { at = 2, gap = '4ms' } }",
    "{ babble = { bytes = 1024 } }",
    "'late'",
    "'close'",
];

proptest! {
    #[test]
    fn whatever_rules_do_all_is_well_once_they_are_gone(
        ascii in any::<bool>(),
        chosen in prop::collection::vec((0..EFFECTS.len(), 1..4u32), 1..12),
        asked in prop::collection::vec((1..4u8, 0..100u64), 1..30),
    ) {
        let mut text = String::new();
        for (i, (effect, every)) in chosen.iter().enumerate() {
            let effect = EFFECTS[*effect];
            text += &format!("[[fault]]\nname = 'f{i}'\nwhen = {{ every = {every} }}\neffect = {effect}\n");
        }
        let framing = if ascii { Framing::Ascii } else { Framing::Rtu };
        let mut b = Bench::with(|slave| slave.framing(framing).faults(faults(&text)));
        let ask = |b: &mut Bench, unit: u8, pause: u64| {
            let mut out = [0; MAX_ADU];
            let len = encode(framing, 0, unit, &[3, 0, 0, 0, 2], &mut out);
            b.bytes(&out[..len]).wait(Duration::from_millis(pause));
        };
        for (unit, pause) in asked {
            ask(&mut b, unit, pause);
        }
        (0..chosen.len()).for_each(|i| assert!(b.slave.faults_mut().clear(&format!("f{i}"))));
        b.wait(Duration::from_secs(100));
        // One may still be held back for this moment.
        ask(&mut b, 1, 100_000);
        b.replies();
        ask(&mut b, 1, 100_000);
        let mut good = [0; MAX_ADU];
        let len = encode(framing, 0, 1, &[3, 4, 0x03, 0xE8, 0x03, 0xE9], &mut good);
        prop_assert_eq!(b.replies(), [good[..len].to_vec()]);
        prop_assert_eq!(b.slave.deadline(), None);
        let fired: u64 = b.slave.faults_mut().report().iter().map(|rule| rule.fired).sum();
        prop_assert_eq!(fired, b.totals().faults);
    }
}
