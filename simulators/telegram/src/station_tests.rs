use proptest::prelude::*;

use hilrig_points::Value;

use super::*;
use crate::frames;
use crate::testing::{Bench, ms};

/// A scale: sends its weight every 100 ms, answers, and takes a tare and a name.
const SCALE: &str = r#"
[unit.scale.point]
weight = { at = "holding:0", type = "f32", value = 12.34 }
tare = { at = "holding:2", type = "f32" }
name = { at = "holding:4", type = "string", length = 8, value = "W1" }
id = { at = "holding:20", value = 7 }
pieces = { at = "holding:21", type = "u64" }

[telegram.s]
port = "line"
framing = { terminator = "\r\n" }

[telegram.s.send.weight]
every = "100ms"
phase = "20ms"
fields = [
    { text = "N " },
    { counter = { from = 1, to = 3 }, as = { decimal = {} } },
    { text = " " },
    { point = "weight", as = { decimal = { width = 8, decimals = 2 } } },
    { text = " kg" },
]

[telegram.s.send.ok]
fields = [{ text = "OK " }, { point = "name", as = { string = {} } }, { text = " " }, { time = "ms", as = { decimal = {} } }]

[telegram.s.receive.tare]
fields = [{ text = "T" }, { point = "tare", as = { decimal = { decimals = 1 } }, scale = 10 }]
reply = "ok"
delay = "5ms"

[telegram.s.receive.name]
fields = [{ text = "N" }, { point = "id", as = { hex = { digits = 2 } }, match = true }, { point = "name", as = { string = {} } }]
reply = "ok"

[telegram.s.receive.pieces]
fields = [{ text = "P" }, { value = 1.5, as = { decimal = {} } }, { skip = 1 }, { point = "pieces", as = { uint = { bytes = 8 } } }]
"#;

fn text(said: &[(Time, Vec<u8>)]) -> Vec<(Time, &str)> {
    said.iter().map(|(at, bytes)| (*at, std::str::from_utf8(bytes).unwrap())).collect()
}

#[test]
fn telegrams_go_in_their_period() {
    let mut bench = Bench::new(SCALE);
    bench.until(ms(330));
    assert_eq!(
        text(&bench.said),
        [
            (ms(20), "N 1    12.34 kg\r\n"),
            (ms(120), "N 2    12.34 kg\r\n"),
            (ms(220), "N 3    12.34 kg\r\n"),
            (ms(320), "N 1    12.34 kg\r\n"),
        ]
    );
    assert_eq!(bench.station.stats().totals().sent, 4);
}

#[test]
fn a_late_call_shifts_nothing_and_missed_periods_are_counted() {
    let mut bench = Bench::new(SCALE);
    bench.until(ms(25));
    bench.now = ms(380);
    bench.station.on_deadline(bench.now, &mut bench.tx);
    assert_eq!(bench.station.deadline(), Some(ms(420)));
    assert_eq!(bench.tx.pending().len(), 17, "one telegram, not three");
    let totals = bench.station.stats().totals();
    assert_eq!((totals.sent, totals.missed), (2, 2));
}

#[test]
fn without_a_line_periods_pass_and_nothing_waits() {
    let mut bench = Bench::new(SCALE);
    bench.until(ms(25));
    bench.hear(b"T5\r\n");
    bench.station.on_line(ms(26), LineEvent::Closed, &mut bench.tx);
    assert_eq!(bench.station.deadline(), None);
    assert_eq!(
        bench.station.send(ms(26), "ok", &mut bench.tx),
        Err(SendError::Closed { device: "s".into() })
    );
    bench.station.on_line(ms(350), LineEvent::Opened, &mut bench.tx);
    assert_eq!(bench.station.deadline(), Some(ms(420)));
    assert_eq!((bench.said.len(), bench.station.stats().totals().missed), (1, 3));
}

#[test]
fn another_table_takes_over_and_keeps_the_rhythm_of_what_stays() {
    let mut bench = Bench::new(SCALE);
    bench.until(ms(30));
    // In the middle of a telegram that is heard, with points at other places and one more of them.
    bench.hear(b"T-");
    let more = SCALE
        .replace("[unit.scale.point]\n", "[unit.scale.point]\nfirst = { at = \"holding:40\", value = 3 }\n")
        .replace("{ text = \" kg\" }", "{ text = \" g\" }")
        .replace("[telegram.s.send.ok]", "[telegram.s.send.first]\nevery = \"40ms\"\nfields = [{ text = \"F\" }, { point = \"first\", as = { decimal = {} } }]\n\n[telegram.s.send.ok]");
    let reload = |bench: &mut Bench, text: &str| {
        let (mut plant, plan) = crate::testing::try_model(text).unwrap_or_else(|e| panic!("{}", e.lines()));
        let alike = bench.station.plan().travels_as(&plan);
        bench.plant.with(|current| std::mem::swap(current, &mut plant));
        let mut new = TelegramStation::new(plan, bench.plant.clone());
        bench.station.reload(bench.now, &mut new, alike);
        alike
    };
    assert!(reload(&mut bench, &more));
    bench.said.clear();
    bench.hear(b"25\r\n");
    assert_eq!(bench.get("tare"), Value::Float(-2.5));
    bench.until(ms(130));
    let said: Vec<_> = text(&bench.said);
    assert_eq!(
        said,
        [
            (ms(35), "OK W1 30\r\n"),
            (ms(40), "F3\r\n"),
            (ms(80), "F3\r\n"),
            (ms(120), "N 1    12.34 g\r\nF3\r\n"),
        ]
    );
    let totals = bench.station.stats().totals();
    assert_eq!((totals.missed, totals.received), (0, 1), "the statistics go on, and nothing was missed");
    // What travels in another way is heard from its beginning.
    bench.hear(b"T-");
    assert!(!reload(&mut bench, &SCALE.replace("\\r\\n", "!")));
    bench.said.clear();
    bench.hear(b"T10!");
    bench.until(ms(140));
    assert_eq!((text(&bench.said), bench.get("tare")), (vec![(ms(135), "OK W1 130!")], Value::Float(1.0)));
}

#[test]
fn what_is_received_goes_into_points_and_is_answered_after_the_delay() {
    let mut bench = Bench::new(SCALE);
    bench.until(ms(30));
    bench.said.clear();
    bench.hear(b"T-25\r\n");
    bench.until(ms(40));
    assert_eq!(text(&bench.said), [(ms(35), "OK W1 30\r\n")]);
    assert_eq!(bench.get("tare"), Value::Float(-2.5));
    bench.said.clear();
    bench.hear(b"N07Bench 4\r\n");
    assert_eq!(text(&bench.said), [(ms(40), "OK Bench 4 40\r\n")]);
    bench.said.clear();
    bench.hear(b"N08other\r\nN07\r\n");
    assert_eq!(text(&bench.said), [(ms(40), "OK  40\r\n")]);
    let mut raw = b"P1.5x".to_vec();
    raw.extend((u64::MAX - 1).to_be_bytes());
    raw.extend(b"\r\n");
    bench.hear(&raw);
    assert_eq!(bench.get("pieces"), Value::Uint(u64::MAX - 1));
    bench.hear(b"P2.5x--------\r\nX\r\n");
    let totals = bench.station.stats().totals();
    assert_eq!((totals.received, totals.strangers, totals.unwritten), (4, 3, 0));
}

#[test]
fn a_text_that_is_too_long_is_not_written() {
    let mut bench = Bench::new(SCALE);
    bench.hear(b"N07a name of more than sixteen bytes\r\n");
    assert_eq!((bench.get("name"), bench.station.stats().totals().unwritten), (Value::Text("W1".into()), 1));
}

#[test]
fn who_asks_again_gets_one_answer() {
    let mut bench = Bench::new(SCALE);
    bench.hear(b"T1\r\n");
    bench.until(ms(2));
    bench.hear(b"T2\r\n");
    bench.until(ms(15));
    assert_eq!(text(&bench.said), [(ms(7), "OK W1 2\r\n")]);
    assert_eq!(bench.station.stats().totals().superseded, 1);
}

#[test]
fn telegrams_are_sent_by_name() {
    let mut bench = Bench::new(SCALE);
    assert_eq!(bench.station.send(bench.now, "ok", &mut bench.tx), Ok(()));
    assert_eq!(bench.tx.pending(), b"OK W1 0\r\n");
    let error = bench.station.send(bench.now, "nothing", &mut bench.tx).unwrap_err();
    assert_eq!(error.to_string(), "s has no telegram nothing to send; known telegrams: weight, ok");
}

#[test]
fn half_a_telegram_is_dropped_after_the_gap() {
    let mut bench = Bench::new(&SCALE.replace("port =", "gap = \"50ms\"\nport ="));
    bench.hear(b"T1");
    bench.until(ms(40));
    bench.hear(b"2");
    bench.until(ms(100));
    bench.hear(b"T3\r\n");
    assert_eq!((bench.get("tare"), bench.station.stats().totals().noise_bytes), (Value::Float(0.3), 3));
}

#[test]
fn observers_see_both_ways_and_losses_are_counted() {
    let mut bench = Bench::new(SCALE);
    let (sink, mut reader) = frames(3);
    bench.station = TelegramStation::new(bench.station.plan().clone(), bench.plant.clone()).frames(sink);
    bench.hear(b"X\r\nT1\r\n");
    bench.until(ms(10));
    bench.hear(b"X\r\n");
    let seen: Vec<_> = std::iter::from_fn(|| reader.pop().ok()).collect();
    let ways: Vec<_> = seen.iter().map(|r| (r.way, r.bytes().to_vec())).collect();
    assert_eq!(
        ways,
        [
            (Way::Stranger, b"X\r\n".to_vec()),
            (Way::In, b"T1\r\n".to_vec()),
            (Way::Out, b"OK W1 0\r\n".to_vec())
        ]
    );
    assert_eq!((seen[2].at, bench.station.stats().totals().unseen), (ms(5), 1));
}

#[test]
fn a_stalled_line_is_counted_and_shifts_nothing() {
    let mut bench = Bench::new(SCALE);
    assert!(bench.tx.send(&[0; hilrig_port::TX_CAPACITY]));
    bench.station.on_deadline(ms(20), &mut bench.tx);
    let totals = bench.station.stats().totals();
    assert_eq!((totals.sent, totals.stalled, bench.station.deadline()), (0, 1, Some(ms(120))));
}

#[test]
fn a_text_of_any_bytes_comes_back_as_it_came() {
    let mut bench = Bench::new(SCALE);
    for text in [&b"0123456789abcdef"[..], &[0xE4; 16], &[0xFF; 5], b"\xC3\x84", b""] {
        bench.said.clear();
        bench.hear(&[b"N07", text, b"\r\n"].concat());
        assert_eq!(bench.said[0].1, [b"OK ", text, b" 0\r\n"].concat());
    }
}

/// Two partners that hand each other telegrams by 3964R.
const PARTNER: &str = r#"
[unit.u.point]
a = { at = "holding:0", value = 0x1001 }
b = { at = "holding:1" }
[telegram.p]
port = "line"
profile = { "3964r" = { priority = "high" } }
[telegram.p.send.data]
every = "1s"
fields = [{ text = "D" }, { point = "a", as = { uint = { bytes = 2 } } }]
[telegram.p.send.done]
fields = [{ text = "R" }]
[telegram.p.receive.data]
fields = [{ text = "D" }, { point = "b", as = { uint = { bytes = 2 } } }]
reply = "done"
[telegram.p.receive.done]
fields = [{ text = "R" }]
"#;

#[test]
fn partners_of_3964r_send_and_answer() {
    let (mut a, mut b) = (Bench::new(PARTNER), Bench::new(&PARTNER.replace("high", "low")));
    b.set("a", Value::Int(0x0310));
    for n in 0..3001 {
        a.until(ms(n));
        b.until(ms(n));
        while !(a.said.is_empty() && b.said.is_empty()) {
            let (from_a, from_b) = (std::mem::take(&mut a.said), std::mem::take(&mut b.said));
            from_a.iter().for_each(|(_, bytes)| b.hear(bytes));
            from_b.iter().for_each(|(_, bytes)| a.hear(bytes));
        }
    }
    assert_eq!((a.get("b"), b.get("b")), (Value::Int(0x0310), Value::Int(0x1001)));
    for bench in [a, b] {
        let t = bench.station.stats().totals();
        // At 0, 1, 2 and 3 s both begin at once; each sends four telegrams and four answers.
        assert_eq!((t.sent, t.received, t.failed, t.missed), (8, 8, 0, 0), "{t:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Anything at any time, cut anywhere: never a panic, every deadline dealt with, and after silence the scale answers.
    #[test]
    fn after_anything_and_silence_the_scale_answers(bursts in prop::collection::vec((0_u64..2000, "[TNP0-9.\r\n\\x{80}-\\x{ff}]{0,30}"), 0..20)) {
        let mut bench = Bench::new(SCALE);
        for (pause, burst) in bursts {
            let next = bench.now + Duration::from_millis(pause);
            bench.until(next);
            bench.hear(&burst.chars().map(|c| c as u8).collect::<Vec<_>>());
        }
        let next = bench.now + Duration::from_secs(2);
        bench.until(next);
        bench.set("name", Value::Text("W".into()));
        let said = bench.ask(b"T1\r\n");
        let said = String::from_utf8(said).unwrap();
        prop_assert!(said.contains("OK W "), "{}", said);
    }
}
