use proptest::prelude::*;

use super::*;

fn framer() -> Framer {
    Framer::new(&Timing::new(19200, "7E1".parse().unwrap()))
}

type Frames = Vec<(u8, Vec<u8>)>;
type Drops = Vec<(Chunk, u64)>;

/// What comes of a stream: PDUs of whole frames, and what was dropped.
fn feed(framer: &mut Framer, text: &[u8]) -> (Frames, Drops) {
    let (mut frames, mut dropped) = (Vec::new(), Vec::new());
    for byte in text {
        dropped.extend(framer.push(Time(1), *byte).map(|d| (d.why, d.bytes)));
        if framer.is_whole() {
            let adu = framer.adu();
            frames.push((adu.unit, adu.pdu.to_vec()));
            framer.clear();
        }
    }
    (frames, dropped)
}

fn text(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_ADU];
    let len = frame(unit, pdu, LF, &mut out);
    out[..len].to_vec()
}

#[test]
fn frames_are_as_published() {
    // Reading 3 registers from 0x6B on of unit 17.
    assert_eq!(text(0x11, &[3, 0, 0x6B, 0, 3]), b":1103006B00037E\r\n");
    assert_eq!(lrc([0x11, 3, 0, 0x6B, 0, 3]), 0x7E);
    assert_eq!(text(1, &[0; 300]).len(), MAX_ADU);
}

#[test]
fn both_cases_of_letters_are_read_and_both_delimiters_needed() {
    let mut f = framer();
    let good = [(0x11, vec![3, 0, 0x6B, 0, 3])];
    assert_eq!(feed(&mut f, b":1103006B00037E\r\n").0, good);
    assert_eq!(feed(&mut f, b":1103006b00037e\r\n"), (good.to_vec(), vec![]));
    assert_eq!(feed(&mut f, b":1103006b00037e\n"), (vec![], vec![]));
    assert_eq!(feed(&mut f, b"\n"), (vec![], vec![(Chunk::BadCharacter, 17)]));
    f.delimiter(b'#');
    assert_eq!(feed(&mut f, b":1103006b00037e\r\n:1103006b00037e\r#").0, good);
}

#[test]
fn a_colon_begins_a_frame_wherever_it_comes() {
    let mut f = framer();
    let good = [(0x11, vec![3, 0, 0x6B, 0, 3])];
    for (before, why) in [
        (&b"x"[..], Chunk::BadCharacter),
        (b":1103", Chunk::Short),
        (b":11030", Chunk::Short),
        (b":1103006B00037E\r", Chunk::Short),
        (b":11zz", Chunk::BadCharacter),
    ] {
        let stream = [before, b":1103006B00037E\r\n"].concat();
        assert_eq!(feed(&mut f, &stream), (good.to_vec(), vec![(why, before.len() as u64)]), "{before:?}");
    }
}

#[test]
fn what_is_no_frame_says_why() {
    let mut f = framer();
    let long = [b":".to_vec(), b"00".repeat(256), b"\r\n".to_vec()].concat();
    for (stream, why) in [
        (&b":1103006B00037F\r\n"[..], Chunk::BadLrc),
        (b":11EF\r\n", Chunk::Short),
        (b":\r\n", Chunk::Short),
        (b":110\r\n", Chunk::BadCharacter),
        (b":11 03006B00037E\r\n", Chunk::BadCharacter),
        (b":1103\r0\n", Chunk::BadCharacter),
        (&long, Chunk::Overflow),
        (b"\r\n", Chunk::BadCharacter),
    ] {
        assert_eq!(feed(&mut f, stream), (vec![], vec![(why, stream.len() as u64)]), "{stream:?}");
    }
    assert_eq!(feed(&mut f, b":1103006B00037E\r\n").0.len(), 1);
}

#[test]
fn a_pause_of_a_second_ends_a_frame() {
    let mut f = framer();
    assert_eq!(f.silence_ends(), None);
    feed(&mut f, b":11");
    assert_eq!(f.silence_ends(), Some(Time(1_000_000_001)));
    assert_eq!((f.judge(), f.collected()), (Chunk::Short, 3));
    f.clear();
    assert_eq!(f.silence_ends(), None);
}

proptest! {
    #[test]
    fn a_frame_keeps_its_pdu(unit in any::<u8>(), pdu in prop::collection::vec(any::<u8>(), 1..=MAX_PDU)) {
        prop_assert_eq!(feed(&mut framer(), &text(unit, &pdu)), (vec![(unit, pdu)], vec![]));
    }

    #[test]
    fn every_character_is_in_a_frame_or_counted(stream in prop::collection::vec(
        prop::sample::select(b":0123456789abcdefABCDEFx\r\n".to_vec()), 0..600,
    )) {
        let mut f = framer();
        let (mut counted, mut whole) = (0, 0);
        for byte in &stream {
            counted += f.push(Time(1), *byte).map_or(0, |d| d.bytes);
            if f.is_whole() {
                whole += f.collected();
                f.clear();
            }
        }
        prop_assert_eq!(counted + whole + f.collected(), stream.len() as u64);
        let good = text(1, &[3, 0, 0, 0, 1]);
        prop_assert_eq!(feed(&mut f, &good).0, vec![(1, vec![3, 0, 0, 0, 1])]);
    }
}
