//! The wire in virtual time: pacing, formats, mismatch, noise, echo, collisions, breaks, flow control.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, Got, settings, wire};
use hilrig_port::{CharError, Conduit, Flow, LineSettings, Lines, Out, Purge, Signal, Time};
use hilrig_wire::{CoreSpec, Echo, Mismatch, WireSpec};
use proptest::prelude::*;

fn with(mut spec: CoreSpec, change: impl FnOnce(&mut WireSpec)) -> CoreSpec {
    change(spec.wire.as_mut().unwrap());
    spec
}

#[test]
fn unknown_settings_and_no_wire_pass_at_once() {
    for spec in [
        CoreSpec::default(),
        CoreSpec { wire: Some(WireSpec::default()), ..CoreSpec::default() },
        with(wire((9600, "8N1"), (9600, "8N1")), |w| w.pace = false),
    ] {
        let mut bench = Bench::new(spec);
        bench.push(10, 0, b"hello");
        assert_eq!(bench.seen(0), [(10, Got::Bytes(b"hello".to_vec()))]);
    }
}

#[test]
fn a_byte_is_there_when_its_last_bit_is() {
    let mut bench = Bench::new(wire((9600, "8E1"), (9600, "8E1")));
    bench.push(100, 0, b"ab");
    bench.push(5000, 0, b"c");
    bench.run(20_000);
    // 11 bits at 9600 are 1,145.83 us.
    let times: Vec<u64> = bench.out[0].iter().map(|(at, _)| at.0 - 1_000_000_000).collect();
    assert_eq!(times, [100_000 + 1_145_833, 100_000 + 2_291_666, 5_000_000 + 1_145_833]);
    assert_eq!(bench.bytes(0), b"abc");
}

#[test]
fn eight_hours_at_9600_drift_by_nothing() {
    let mut core = hilrig_wire::LinkCore::new(wire((9600, "8N1"), (9600, "8N1"))).unwrap();
    let direction = common::DIRECTIONS[0];
    let start = 1_000_000_007;
    let (mut came, mut now, mut polls) = (0u64, Time(start), 0u64);
    while now.0 - start < 8 * 3600 * 1_000_000_000 {
        // The sender always has more.
        let room = core.room(direction);
        core.push(now, direction, &[0x55; 4096][..room]);
        // For a minute each byte at its time, then whenever somebody looks.
        now = match core.deadline() {
            Some(due) if came < 57_600 => due,
            _ => Time(now.0 + 200_000_000 + polls * 7919 % 100_000_000),
        };
        polls += 1;
        core.on_deadline(now);
        while let Some(Out::Bytes(bytes)) = core.next(now, direction) {
            let n = bytes.len();
            came += n as u64;
            assert!(n == 1 || came > 57_600, "byte grain");
            core.advance(now, direction, n);
        }
        // Byte n is there after n * 10 / 9600 s.
        assert_eq!(u128::from(came), u128::from(now.0 + 1 - start) * 960 / 1_000_000_000, "at {now:?}");
    }
    assert!(came >= 8 * 3600 * 960);
}

#[test]
fn above_38400_quanta_keep_the_average_exactly() {
    let mut bench = Bench::new(wire((115_200, "8N1"), (115_200, "8N1")));
    bench.push(0, 0, &[7; 4000]);
    bench.push(0, 0, &[7; 7520]);
    bench.run(2_000_000);
    let (end, _) = bench.out[0].last().unwrap();
    assert_eq!(end.0 - 1_000_000_000, 1_000_000_000, "11,520 bytes of 10 bits take a second");
    assert!((900..1200).contains(&bench.out[0].len()), "about a millisecond each: {}", bench.out[0].len());
    // A short message comes at its end, not at the end of a quantum.
    let mut bench = Bench::new(wire((115_200, "8N1"), (115_200, "8N1")));
    bench.push(0, 0, b"abc");
    bench.run(2_000);
    assert_eq!(bench.seen(0), [(260, Got::Bytes(b"abc".to_vec()))]);
}

#[test]
fn a_receiver_that_stalls_loses_nothing_and_the_wire_does_not_wait() {
    let mut bench = Bench::new(wire((9600, "8N1"), (9600, "8N1")));
    bench.appetite[0] = 0;
    bench.push(0, 0, &[1; 48]);
    bench.run(100_000);
    bench.appetite[0] = usize::MAX;
    bench.push(200_000, 0, &[2; 2]);
    assert_eq!(bench.bytes(0).len(), 48, "all that has arrived meanwhile");
    bench.run(210_000);
    assert_eq!(bench.seen(0).last().unwrap().0, 202_083);
}

#[test]
fn the_write_ahead_is_bounded() {
    let mut bench = Bench::new(wire((9600, "8N1"), (9600, "8N1")));
    bench.push(0, 0, &[1; 4096]);
    assert_eq!(bench.core.room(common::DIRECTIONS[0]), 0);
    bench.run(1_100);
    assert_eq!(bench.core.room(common::DIRECTIONS[0]), 1);
}

#[test]
fn new_settings_count_from_the_next_byte_on() {
    let mut bench = Bench::new(wire((9600, "8N1"), (9600, "8N1")));
    bench.push(0, 0, b"a");
    for direction in 0..2 {
        bench.signal(2_000, direction, Signal::Settings(settings(19200, "8N1")));
    }
    bench.push(3_000, 0, b"b");
    bench.run(10_000);
    assert_eq!(bench.seen(0).iter().map(|(us, _)| *us).collect::<Vec<_>>(), [1041, 3520]);
    assert!(bench.signals(0).is_empty(), "the shard applies settings itself");
}

#[test]
fn seven_bits_are_seven_bits() {
    let mut bench = Bench::new(wire((9600, "7E1"), (9600, "7E1")));
    bench.push(0, 0, &[0x80, 0xFF, 0x41]);
    bench.run(10_000);
    assert_eq!(bench.bytes(0), [0, 0x7F, 0x41]);
}

#[test]
fn one_end_that_says_nothing_is_set_like_the_other() {
    let mut spec = wire((9600, "8N1"), (9600, "8N1"));
    spec.settings[1] = None;
    let mut bench = Bench::new(spec);
    bench.push(0, 1, b"a");
    bench.run(2_000);
    assert_eq!(bench.seen(1), [(1041, Got::Bytes(b"a".to_vec()))]);
}

fn garble(a: (u32, &str), b: (u32, &str), bytes: &[u8]) -> Bench {
    let mut bench = Bench::new(wire(a, b));
    bench.push(0, 0, bytes);
    bench.run(5_000_000);
    assert_eq!(bench.pending(0), 0, "{a:?} {b:?}");
    bench
}

/// Worked out by hand from the waveforms.
#[test]
fn known_mismatches() {
    use CharError::{Framing, Parity};
    use Signal::{Break, Error};
    let bench = garble((9600, "8N1"), (4800, "8N1"), &[0x00]);
    // Low for 9 bits of 9600 = 4.5 bits of 4800: start and bits 0-2 low (samples at .5, 1.5, 2.5, 3.5); bit 3 is
    // sampled on the edge, where the later level holds.
    assert_eq!(bench.bytes(0), [0xF8]);
    assert!(bench.signals(0).is_empty());
    // Low for 9 bits of 4800 = 18 of 9600: a break, until the stop bit.
    let bench = garble((4800, "8N1"), (9600, "8N1"), &[0x00]);
    assert_eq!(bench.bytes(0), [0u8; 0]);
    assert_eq!(bench.signals(0), [Break(true), Break(false)]);
    assert_eq!((bench.dropped(0), bench.inserted(0)), (1, 0));
    // 0xFF at 1200 is one low bit = 8 bits of 9600: start, seven zeros, one.
    let bench = garble((1200, "8N1"), (9600, "8N1"), &[0xFF]);
    assert_eq!(bench.bytes(0), [0x80]);
    assert!(bench.signals(0).is_empty());
    // The same at 300: 32 bits low are a break.
    let bench = garble((300, "8N1"), (9600, "8N1"), &[0xFF]);
    assert_eq!(bench.signals(0), [Break(true), Break(false)]);
    // An even parity bit where a stop bit is wanted: 0x01 has parity 1, 0x03 has parity 0.
    let bench = garble((9600, "8E1"), (9600, "8N1"), &[0x01]);
    assert_eq!((bench.bytes(0), bench.signals(0)), (vec![0x01], vec![]));
    let bench = garble((9600, "8E1"), (9600, "8N1"), &[0x03]);
    assert_eq!((bench.bytes(0)[0], bench.signals(0)[0]), (0x03, Error(Framing)));
    // A stop bit where an even parity bit is wanted: right for 0x01, wrong for 0x03.
    let bench = garble((9600, "8N1"), (9600, "8E1"), &[0x01]);
    assert_eq!((bench.bytes(0), bench.signals(0)), (vec![0x01], vec![]));
    let bench = garble((9600, "8N1"), (9600, "8E1"), &[0x03]);
    assert_eq!((bench.bytes(0), bench.signals(0)), (vec![0x03], vec![Error(Parity)]));
    // Odd against even: always wrong.
    let bench = garble((9600, "8O1"), (9600, "8E1"), &[0x10, 0x30]);
    assert_eq!((bench.bytes(0), bench.signals(0)), (vec![0x10, 0x30], vec![Error(Parity); 2]));
    // The first stop bit is all that a receiver looks at.
    let bench = garble((9600, "8N2"), (9600, "8N1"), b"stop");
    assert_eq!((bench.bytes(0), bench.signals(0)), (b"stop".to_vec(), vec![]));
    // Seven bits and a stop bit, eight wanted: the stop bit is bit 7.
    let bench = garble((9600, "7N1"), (9600, "8N1"), &[0x41]);
    assert_eq!((bench.bytes(0), bench.signals(0)), (vec![0xC1], vec![]));
}

#[test]
fn a_mismatch_can_be_ignored() {
    let spec = with(wire((9600, "8N1"), (115_200, "8N1")), |w| w.mismatch = Mismatch::Ignore);
    let mut bench = Bench::new(spec);
    bench.push(0, 0, b"a");
    bench.run(2_000);
    assert_eq!(bench.seen(0), [(1041, Got::Bytes(b"a".to_vec()))]);
}

fn formats() -> impl Strategy<Value = String> {
    let parity = proptest::sample::select(vec!["N", "E", "O", "M", "S"]);
    let stop = proptest::sample::select(vec!["1", "1.5", "2"]);
    (5..=8u8, parity, stop).prop_map(|(bits, parity, stop)| format!("{bits}{parity}{stop}"))
}

/// Forces the waveforms where nothing would need them: nobody hears the echo.
fn by_waveform(baud: [u32; 2], format: &str) -> CoreSpec {
    with(wire((baud[0], format), (baud[1], format)), |w| w.half_duplex = true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn equal_settings_are_the_identity(
        format in formats(), baud in 50u32..4_000_000, bytes in proptest::collection::vec(any::<u8>(), 1..60),
    ) {
        let mask = 0xFFu8 >> (8 - (format.as_bytes()[0] - b'0'));
        let bytes: Vec<u8> = bytes.iter().map(|b| b & mask).collect();
        let mut waves = Bench::new(by_waveform([baud; 2], &format));
        let mut straight = Bench::new(wire((baud, &format), (baud, &format)));
        for bench in [&mut waves, &mut straight] {
            bench.push(0, 0, &bytes);
            bench.run(100_000_000);
            prop_assert_eq!(bench.bytes(0), bytes.clone());
            prop_assert!(bench.signals(0).is_empty());
            prop_assert_eq!((bench.pending(0), bench.dropped(0), bench.inserted(0)), (0, 0, 0));
        }
        // Both ways take the same time.
        let end = |bench: &Bench| bench.out[0].last().unwrap().0.0;
        prop_assert!(end(&waves).abs_diff(end(&straight)) < 2 + 1_000_000 * u64::from(baud > 38_400), "{} {}", end(&waves), end(&straight));
    }

    #[test]
    fn a_small_mismatch_is_harmless(
        format in formats(), baud in 300u32..1_000_000, permille in -19i32..=19,
        bytes in proptest::collection::vec(any::<u8>(), 1..60),
    ) {
        let mask = 0xFFu8 >> (8 - (format.as_bytes()[0] - b'0'));
        let bytes: Vec<u8> = bytes.iter().map(|b| b & mask).collect();
        let other = (i64::from(baud) * i64::from(1000 + permille) / 1000) as u32;
        let mut bench = Bench::new(wire((baud, &format), (other, &format)));
        bench.push(0, 0, &bytes);
        bench.run(100_000_000);
        prop_assert_eq!(bench.bytes(0), bytes);
        prop_assert!(bench.signals(0).is_empty());
    }

    #[test]
    fn any_mismatch_keeps_the_account(
        formats in (formats(), formats()), bauds in (50u32..2_000_000, 50u32..2_000_000), noise in 0.0..0.2f64,
        half in any::<bool>(), echo in 0..4usize, bytes in proptest::collection::vec(any::<u8>(), 1..300), cut in 1..200usize,
    ) {
        let spec = with(wire((bauds.0, &formats.0), (bauds.1, &formats.1)), |w| {
            (w.noise, w.half_duplex) = (noise, half);
            w.echo = [Echo::None, Echo::A, Echo::B, Echo::Both][echo];
        });
        let mut bench = Bench::new(spec);
        for (i, piece) in bytes.chunks(cut).enumerate() {
            bench.push(i as u64 * 777, i % 2, piece);
        }
        bench.run(400_000_000);
        prop_assert_eq!((bench.pending(0), bench.pending(1)), (0, 0));
    }
}

#[test]
fn noise_comes_from_the_seed() {
    let run = |seed, noise| {
        let mut spec = with(wire((9600, "8E1"), (9600, "8E1")), |w| w.noise = noise);
        spec.seed = seed;
        let mut bench = Bench::new(spec);
        bench.push(0, 0, &[0x5A; 1000]);
        bench.run(3_000_000);
        bench
    };
    let (one, again, other) = (run(1, 1e-3), run(1, 1e-3), run(2, 1e-3));
    assert_eq!(one.out[0], again.out[0]);
    assert_ne!(one.out[0], other.out[0]);
    let wrong = one.signals(0).len();
    assert!((2..40).contains(&wrong), "11,000 bits, one in a thousand is wrong: {wrong} errors");
    assert_eq!(run(1, 0.0).bytes(0), [0x5A; 1000]);
    assert!(run(1, 0.0).signals(0).is_empty());
}

#[test]
fn noise_and_echo_do_without_a_known_speed() {
    let spec = WireSpec { noise: 0.01, echo: Echo::A, ..WireSpec::default() };
    let mut bench = Bench::new(CoreSpec { wire: Some(spec), ..CoreSpec::default() });
    bench.push(0, 0, &[0; 1000]);
    let flipped: u32 = bench.bytes(0).iter().map(|b| b.count_ones()).sum();
    assert!((30..150).contains(&flipped), "{flipped}");
    assert_eq!(bench.bytes(0), bench.bytes(1));
    assert_eq!((bench.inserted(1), bench.seen(1)[0].0), (1000, 0));
}

#[test]
fn an_echo_takes_the_time_of_the_line() {
    let spec = with(wire((9600, "8N1"), (9600, "8N1")), |w| w.echo = Echo::B);
    let mut bench = Bench::new(spec);
    bench.push(0, 0, b"xy");
    bench.push(10_000, 1, b"z");
    bench.run(20_000);
    assert_eq!((bench.bytes(0), bench.bytes(1)), (b"xyz".to_vec(), b"z".to_vec()));
    assert_eq!(bench.inserted(0), 1);
    assert_eq!(bench.seen(0).last().unwrap().0, 11_041);
}

#[test]
fn who_talks_at_the_same_time_garbles_both() {
    let talk = |half, gap| {
        let mut bench = Bench::new(with(wire((9600, "8N1"), (9600, "8N1")), |w| w.half_duplex = half));
        bench.push(0, 0, b"question");
        bench.push(gap, 1, b"answer 7");
        bench.run(100_000);
        (bench.bytes(0), bench.bytes(1))
    };
    let clean = (b"question".to_vec(), b"answer 7".to_vec());
    assert_eq!(talk(true, 9_000), clean, "one after the other");
    assert_eq!(talk(false, 2_300), clean, "two pairs of wires");
    let (question, answer) = talk(true, 2_300);
    assert_ne!(question, clean.0);
    assert_eq!(question[..2], clean.0[..2], "what was over before is whole");
    assert_ne!(answer, clean.1);
}

#[test]
fn a_break_keeps_its_place_and_its_length() {
    for half in [false, true] {
        let mut bench = Bench::new(with(wire((9600, "8N1"), (9600, "8N1")), |w| w.half_duplex = half));
        bench.push(0, 0, b"ab");
        bench.signal(100, 0, Signal::Break(true));
        bench.signal(5_100, 0, Signal::Break(false));
        bench.push(5_100, 0, b"c");
        bench.run(20_000);
        let seen = bench.seen(0);
        let kinds: Vec<_> = seen.iter().map(|(_, got)| got.clone()).collect();
        assert_eq!(
            kinds,
            [
                Got::Bytes(b"a".to_vec()),
                Got::Bytes(b"b".to_vec()),
                Got::Signal(Signal::Break(true)),
                Got::Signal(Signal::Break(false)),
                Got::Bytes(b"c".to_vec())
            ],
            "{half}"
        );
        // It begins behind b, at 2,083 us, and lasts 5 ms.
        assert!((3_000..3_200).contains(&seen[2].0) && seen[3].0 == 7_083, "{seen:?}");
        assert!((8_228..=8_229).contains(&seen[4].0), "a bit of idle line behind a break: {seen:?}");
    }
    // One that is too short to be seen is made long enough.
    let mut bench = Bench::new(wire((9600, "8N1"), (9600, "8N1")));
    bench.signal(100, 0, Signal::Break(true));
    bench.signal(100, 0, Signal::Break(false));
    bench.run(20_000);
    assert_eq!(bench.signals(0), [Signal::Break(true), Signal::Break(false)]);
    // Without a speed it passes as it comes.
    let mut bench = Bench::new(CoreSpec::default());
    bench.push(0, 0, b"a");
    bench.signal(1, 0, Signal::Break(true));
    bench.signal(5, 0, Signal::Break(false));
    bench.signal(6, 0, Signal::Error(CharError::Parity));
    bench.push(6, 0, b"b");
    assert_eq!(bench.seen(0).iter().map(|(us, _)| *us).collect::<Vec<_>>(), [0, 1, 5, 6, 6]);
}

fn flow(flow: Flow) -> CoreSpec {
    let end = Some(LineSettings { flow, ..settings(9600, "8N1") });
    CoreSpec { wire: Some(WireSpec::default()), settings: [end; 2], ..CoreSpec::default() }
}

#[test]
fn a_receiver_that_takes_rts_off_stops_the_sender() {
    for half in [false, true] {
        let mut bench = Bench::new(with(flow(Flow::RtsCts), |w| w.half_duplex = half));
        bench.push(0, 0, b"abcdef");
        bench.signal(1_500, 1, Signal::Lines(Lines::DTR));
        bench.signal(50_000, 1, Signal::Lines(Lines::DTR | Lines::RTS));
        bench.run(100_000);
        let times: Vec<u64> = bench.seen(0).iter().map(|(us, _)| *us).collect();
        assert_eq!(times, [1041, 2083, 51_041, 52_083, 53_125, 54_166], "b was under way; {half}");
    }
    // Nobody asked for it.
    let mut bench = Bench::new(flow(Flow::None));
    bench.signal(0, 1, Signal::Lines(Lines::NONE));
    bench.push(0, 0, b"a");
    bench.run(2_000);
    assert_eq!(bench.bytes(0), b"a");
}

#[test]
fn xoff_stops_the_sender_and_is_passed_on() {
    let mut bench = Bench::new(flow(Flow::XonXoff));
    bench.push(0, 0, b"abcdef");
    bench.push(400, 1, &[0x13]);
    bench.push(40_000, 1, &[0x11]);
    bench.run(100_000);
    assert_eq!(bench.bytes(1), [0x13, 0x11]);
    // XOFF is there at 1,441 us: b is under way, c comes after XON at 41,041 us.
    let times: Vec<u64> = bench.seen(0).iter().map(|(us, _)| *us).collect();
    assert_eq!(times, [1041, 2083, 42_083, 43_124, 44_166, 45_208]);
}

#[test]
fn a_purge_throws_away_what_was_not_sent() {
    let mut bench = Bench::new(wire((9600, "8N1"), (9600, "8N1")));
    bench.push(0, 0, &[1; 100]);
    bench.signal(10_000, 0, Signal::Purge(Purge::Output));
    bench.run(200_000);
    assert_eq!((bench.bytes(0).len(), bench.dropped(0), bench.pending(0)), (9, 91, 0));
}

#[test]
fn nobody_there_means_all_is_thrown_away() {
    let mut bench = Bench::new(with(wire((9600, "8N1"), (19200, "8N1")), |w| w.echo = Echo::Both));
    bench.push(0, 0, &[0x42; 100]);
    bench.run(10_000);
    let n = bench.discard(10_500, 0);
    assert!(n > 80, "{n}");
    assert_eq!(bench.pending(0), 0);
    bench.push(60_000, 1, b"x");
    bench.run(1_000_000);
}

#[test]
fn forced_settings_hold() {
    let spec = with(wire((9600, "8N1"), (300, "7E1")), |w| {
        w.baud = Some(19200);
        w.format = Some("8E1".parse().unwrap());
    });
    let mut bench = Bench::new(spec);
    bench.push(0, 0, b"a");
    bench.run(2_000);
    assert_eq!(bench.seen(0), [(572, Got::Bytes(b"a".to_vec()))]);
}
