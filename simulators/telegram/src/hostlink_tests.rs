use hilrig_points::{Table, Unit};
use proptest::prelude::*;

use super::*;

/// DM 0 to 99 hold their number plus 0x1000, CIO 0 to 3 are 64 coils.
fn plc() -> (HostLink, Plant) {
    let mut unit = Unit::new();
    unit.define(Table::HoldingRegisters, 0, (0..100).map(|n| 0x1000 + n)).unwrap();
    unit.define(Table::Coils, 0, [0; 64].into_iter()).unwrap();
    let mut plant = Plant::default();
    plant.add_unit(1, unit).unwrap();
    let mut areas = [None; AREAS.len()];
    areas[4] = Some(Area { unit: 1, table: Table::HoldingRegisters, first: 0 });
    areas[0] = Some(Area { unit: 1, table: Table::Coils, first: 0 });
    (HostLink::new(0, areas, 0x30), plant)
}

/// A command without FCS and terminator, framed up to before its CR.
fn frame(text: &str) -> Vec<u8> {
    format!("{text}{:02X}*", sum_of(text.as_bytes())).into_bytes()
}

fn ask(plc: &mut HostLink, plant: &mut Plant, raw: &[u8]) -> String {
    let mut out = Buf::default();
    match plc.answer(plant, Time(0), raw, &mut out) {
        Answer::Reply(_) | Answer::Refused(_) => String::from_utf8(out.to_vec()).unwrap(),
        Answer::Quiet | Answer::Stranger => String::new(),
    }
}

/// What an answer says, its FCS checked.
fn said(answer: &str) -> &str {
    let text = answer.strip_suffix("*\r").unwrap();
    let (text, fcs) = text.split_at(text.len() - 2);
    assert_eq!(from_hex(fcs.as_bytes()), Some(sum_of(text.as_bytes())), "{answer}");
    text
}

#[test]
fn dm_words_are_read_and_written() {
    let (mut plc, mut plant) = plc();
    // FCS 57 is that of all documents that show this command: 10 words from DM 0 of node 0.
    let answer = ask(&mut plc, &mut plant, b"@00RD0000001057*");
    assert_eq!(said(&answer), "@00RD001000100110021003100410051006100710081009");
    assert_eq!(ask(&mut plc, &mut plant, &frame("@00WD0005BEEF0001")), "@00WD0053*\r");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00RD00050002"))), "@00RD00BEEF0001");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00WR00018001"))), "@00WR00");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00RR00000003"))), "@00RR00000080010000");
}

#[test]
fn a_long_answer_comes_in_frames_of_30_and_31_words() {
    let (mut plc, mut plant) = plc();
    let first = ask(&mut plc, &mut plant, &frame("@00RD00000100"));
    assert_eq!(first.len(), 7 + 4 * 30 + 3);
    assert!(first.starts_with("@00RD001000") && first.ends_with('\r') && !first.contains('*'));
    let (text, fcs) = first[..first.len() - 1].split_at(first.len() - 3);
    assert_eq!(from_hex(fcs.as_bytes()), Some(sum_of(text.as_bytes())));
    let second = ask(&mut plc, &mut plant, b"");
    assert!(second.starts_with("101E101F") && second.len() == 4 * 31 + 3, "{second}");
    assert_eq!(ask(&mut plc, &mut plant, b"").len(), 4 * 31 + 3);
    assert_eq!(said(&ask(&mut plc, &mut plant, b"")), "105C105D105E105F1060106110621063");
    assert_eq!(ask(&mut plc, &mut plant, b""), "", "the answer has ended");
    // A new command ends an old answer.
    ask(&mut plc, &mut plant, &frame("@00RD00000100"));
    ask(&mut plc, &mut plant, &frame("@00RD00000001"));
    assert_eq!(ask(&mut plc, &mut plant, b""), "");
    ask(&mut plc, &mut plant, &frame("@00RD00000100"));
    assert_eq!(ask(&mut plc, &mut plant, &frame("@00XZ")), "", "abort has no answer");
    assert_eq!(ask(&mut plc, &mut plant, b""), "");
}

#[test]
fn end_codes_say_what_is_wrong() {
    let (mut plc, mut plant) = plc();
    for (command, end) in [
        ("@00RD00000101", "@00RD15"),
        ("@00RD01000001", "@00RD15"),
        ("@00RD00000000", "@00RD15"),
        ("@00RD0000000A", "@00RD15"),
        ("@00RD0000001", "@00RD14"),
        ("@00WD0000", "@00WD14"),
        ("@00WD0000123", "@00WD14"),
        ("@00WD0000123G", "@00WD15"),
        ("@00WD00991234ABCD", "@00WD15"),
        ("@00RL00000001", "@00IC"),
        ("@00ZZ", "@00IC"),
    ] {
        assert_eq!(said(&ask(&mut plc, &mut plant, &frame(command))), end, "{command}");
    }
    assert_eq!(said(&ask(&mut plc, &mut plant, b"@00RD0000001056*")), "@00RD13");
    assert_eq!(said(&ask(&mut plc, &mut plant, b"@00RD00000010")), "@00RD14");
}

/// A frame of a command that goes on: FCS, but no terminator.
fn part(text: &str) -> Vec<u8> {
    let mut frame = frame(text);
    frame.pop();
    frame
}

#[test]
fn a_long_command_comes_in_frames_and_is_done_as_a_whole() {
    let (mut plc, mut plant) = plc();
    let words = |word: &str, n| word.repeat(n);
    assert_eq!(ask(&mut plc, &mut plant, &part(&format!("@00WD0000{}", words("AAAA", 29)))), "\r");
    assert_eq!(ask(&mut plc, &mut plant, &part(&words("BBBB", 31))), "\r");
    assert_eq!(ask(&mut plc, &mut plant, b""), "", "a delimiter is not asked for");
    let read = frame("@00RD00600001");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame(&words("CCCC", 1)))), "@00WD00");
    assert_eq!(said(&ask(&mut plc, &mut plant, &read)), "@00RD00CCCC");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00RD00280003"))), "@00RD00AAAABBBBBBBB");

    assert_eq!(ask(&mut plc, &mut plant, &part("@00WD00601111")), "\r");
    assert_eq!(said(&ask(&mut plc, &mut plant, b"222201*")), "@00WDA3", "FCS of a later frame");
    assert_eq!(said(&ask(&mut plc, &mut plant, &read)), "@00RD00CCCC", "nothing of it is done");
    assert_eq!(ask(&mut plc, &mut plant, &frame("1111")), "", "and it is over");

    assert_eq!(ask(&mut plc, &mut plant, &part("@00WD00601111")), "\r");
    for _ in 0..8 {
        assert_eq!(ask(&mut plc, &mut plant, &part(&words("1111", 30))), "\r");
    }
    assert_eq!(said(&ask(&mut plc, &mut plant, &part(&words("1111", 30)))), "@00WDA8", "too long");
    assert_eq!(said(&ask(&mut plc, &mut plant, &part("@00RD00000001"))), "@00RD14", "a read is not divided");
}

#[test]
fn test_status_and_model() {
    let (mut plc, mut plant) = plc();
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00TSABC 123"))), "@00TSABC 123");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00MM"))), "@00MM0030");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00MS"))), "@00MS000310");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00SC03"))), "@00SC00");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00MS"))), "@00MS000210");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00SC00"))), "@00SC00");
    assert_eq!(said(&ask(&mut plc, &mut plant, &frame("@00MS"))), "@00MS000010");
}

#[test]
fn other_nodes_and_rubbish_get_no_answer() {
    let (mut plc, mut plant) = plc();
    for raw in [&frame("@01RD00000010")[..], b"", b"RD", b"@", b"@0", b"@00", b"@00R", b"@x0RD0000001057*"] {
        assert_eq!(ask(&mut plc, &mut plant, raw), "", "{raw:?}");
    }
    // What is in front of the last @ does not matter.
    let cut = [b"@00RD00\x00@".as_slice(), &frame("@00MM")].concat();
    assert_eq!(said(&ask(&mut plc, &mut plant, &cut)), "@00MM0030");
}

proptest! {
    #[test]
    fn any_frame_is_answered_rightly_or_not_at_all(text in "(@00)?(RD|WD|RR|WR|TS|SC|MS|[A-Z*]{2})[0-9A-F]{0,140}", sum in any::<bool>(), junk in prop::collection::vec(any::<u8>(), 0..9)) {
        let (mut plc, mut plant) = plc();
        let raw = if sum { frame(&text) } else { [text.as_bytes(), &junk].concat() };
        let answer = ask(&mut plc, &mut plant, &raw);
        prop_assert!(answer.is_empty() || answer.ends_with('\r') && answer.len() <= 160);
        let model = ask(&mut plc, &mut plant, &frame("@00MM"));
        prop_assert_eq!(said(&model), "@00MM0030");
    }
}
