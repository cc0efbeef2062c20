use super::*;
use proptest::prelude::*;

fn frames(framer: &mut Framer, pieces: &[(u64, &[u8])]) -> Vec<(u64, Vec<u8>)> {
    let mut out = Vec::new();
    for (at, bytes) in pieces {
        framer.push(Time(*at), bytes, Duration::from_micros(1042), |at, frame| {
            out.push((at.0, frame.to_vec()))
        });
    }
    out
}

const MS: u64 = 1_000_000;

const CHARACTER: Duration = Duration::from_micros(1042);

#[test]
fn a_silence_of_three_and_a_half_characters_ends_a_frame_that_is_answered() {
    let mut framer = Framer::new(Framing::Silence(None));
    assert!(frames(&mut framer, &[(0, b"ab"), (3 * MS, b"c")]).is_empty());
    framer.other_spoke(Time(4 * MS), CHARACTER);
    assert_eq!(framer.deadline(), Some(Time(3 * MS + 3_647_000)), "so soon an answer is none");
    assert_eq!(frames(&mut framer, &[(6 * MS, b"d")]), []);
    framer.other_spoke(Time(12 * MS), CHARACTER);
    assert_eq!(framer.deadline(), Some(Time(12 * MS)));
    assert_eq!(frames(&mut framer, &[(12 * MS, b"de")]), [(0, b"abcd".to_vec())]);
    assert_eq!(framer.open_since(), Some(Time(12 * MS)));
    let mut got = Vec::new();
    framer.tick(Time(31 * MS), |_, _| panic!("too early"));
    framer.tick(Time(32 * MS), |at, frame| got.push((at.0, frame.to_vec())));
    assert_eq!(got, [(12 * MS, b"de".to_vec())]);
    assert_eq!(framer.deadline(), None);
}

#[test]
fn a_frame_that_a_busy_machine_reads_in_pieces_stays_whole() {
    let mut framer = Framer::new(Framing::Silence(None));
    assert!(frames(&mut framer, &[(0, b"ab"), (15 * MS, b"cd"), (34 * MS, b"ef")]).is_empty());
    assert_eq!(frames(&mut framer, &[(54 * MS, b"gh")]), [(0, b"abcdef".to_vec())]);
}

#[test]
fn a_fast_line_is_parted_by_1750_us_as_modbus_has_it() {
    let mut framer = Framer::new(Framing::Silence(None));
    framer.push(Time(0), b"x", Duration::from_micros(87), |_, _| panic!());
    framer.other_spoke(Time(1000), Duration::from_micros(87));
    assert_eq!(framer.deadline(), Some(Time(1_750_000)));
}

#[test]
fn a_silence_that_is_given_counts_as_it_is() {
    let mut framer = Framer::new(Framing::Silence(Some(Duration::from_millis(2))));
    let got = frames(&mut framer, &[(0, b"a"), (MS, b"b"), (3 * MS, b"c")]);
    assert_eq!(got, [(0, b"ab".to_vec())]);
    framer.other_spoke(Time(4 * MS), CHARACTER);
    assert_eq!(framer.deadline(), Some(Time(5 * MS)));
}

#[test]
fn a_terminator_ends_a_frame_also_over_the_border_of_two_pieces() {
    let mut framer = Framer::new(Framing::Terminator(b"\r\n".to_vec()));
    let got = frames(&mut framer, &[(1, b"one\r"), (2, b"\ntwo\r\n\r\nthr"), (3, b"ee\n\r\n")]);
    let want: [(u64, &[u8]); 4] = [(1, b"one\r\n"), (2, b"two\r\n"), (2, b"\r\n"), (2, b"three\n\r\n")];
    assert_eq!(got, want.map(|(at, frame)| (at, frame.to_vec())));
    assert_eq!(framer.open_since(), None);
}

#[test]
fn a_prompt_without_its_terminator_is_shown_after_a_while() {
    let mut framer = Framer::new(Framing::Terminator(vec![b'\n']));
    assert!(frames(&mut framer, &[(0, b"login: ")]).is_empty());
    let mut got = Vec::new();
    framer.tick(Time(1_000 * MS), |_, frame| got.extend_from_slice(frame));
    assert_eq!(got, b"login: ");
}

#[test]
fn framings_are_written_as_they_are_read() {
    for text in ["raw", "silence", "silence:2ms", "silence:1750us", "terminator:0d0a"] {
        assert_eq!(text.parse::<Framing>().unwrap().to_string(), text);
    }
    assert_eq!("silence:1s".parse(), Ok(Framing::Silence(Some(Duration::from_secs(1)))));
    for wrong in [
        "",
        "raw:1",
        "silence:",
        "silence:0ms",
        "silence:11s",
        "silence:2",
        "silence:18446744073709551615s",
        "terminator",
        "terminator:",
        "terminator:0",
        "terminator:zz",
        "terminator:é",
        "gap",
    ] {
        let error = wrong.parse::<Framing>().unwrap_err();
        assert!(error.starts_with('`'), "{wrong}: {error}");
    }
}

proptest! {
    #[test]
    fn no_byte_is_lost_or_moved_and_no_frame_is_too_long(
        pieces in prop::collection::vec((0u64..5_000_000, prop::collection::vec(0u8..3, 0..50)), 0..50),
        which in 0..4,
    ) {
        let framing = match which {
            0 => Framing::Raw,
            1 => Framing::Silence(None),
            2 => Framing::Terminator(vec![1]),
            _ => Framing::Terminator(vec![1, 1, 2]),
        };
        let mut framer = Framer::new(framing.clone());
        let (mut now, mut sent, mut got) = (0, Vec::new(), Vec::new());
        for (wait, piece) in &pieces {
            now += wait;
            framer.push(Time(now), piece, Duration::ZERO, |at, frame| {
                assert!(at.0 <= now && !frame.is_empty());
                if let Framing::Terminator(end) = &framing {
                    let inside = &frame[..frame.len() - 1];
                    assert!(!inside.windows(end.len()).any(|w| w == end));
                }
                got.extend_from_slice(frame);
            });
            sent.extend_from_slice(piece);
        }
        framer.flush(|_, frame| got.extend_from_slice(frame));
        prop_assert_eq!(sent, got);
    }
}

#[test]
fn an_endless_frame_is_cut() {
    let mut framer = Framer::new(Framing::Silence(None));
    let mut got = Vec::new();
    for _ in 0..40 {
        framer.push(Time(0), &[7; 4095], Duration::ZERO, |_, frame| got.push(frame.len()));
    }
    assert_eq!(got, [LONGEST_FRAME, LONGEST_FRAME]);
}
