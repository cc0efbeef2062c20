use hilrig_points::{Table, Unit};
use proptest::prelude::*;

use super::*;

/// Station 5: X40 to X7F are coils of unit 1, D0 to D99 its registers, M0 to M63 coils from 100 on.
fn plc() -> (Melsec, Plant) {
    let mut unit = Unit::new();
    unit.define(Table::Coils, 0x40, [0; 64].into_iter()).unwrap();
    unit.define(Table::Coils, 200, [0; 64].into_iter()).unwrap();
    unit.define(Table::HoldingRegisters, 0, (0..100).map(|n| 0xAB00 + n)).unwrap();
    for x in [0x41, 0x42, 0x44] {
        assert!(unit.set(Table::Coils, x, 1));
    }
    let mut plant = Plant::default();
    plant.add_unit(1, unit).unwrap();
    let area = |table, first| Some(Area { unit: 1, table, first });
    let mut areas = [None; DEVICES.len()];
    let at = |name: &str| DEVICES.iter().position(|(n, ..)| *n == name).unwrap();
    areas[at("X")] = area(Table::Coils, 0);
    areas[at("M")] = area(Table::Coils, 200);
    areas[at("D")] = area(Table::HoldingRegisters, 0);
    areas[at("TN")] = area(Table::HoldingRegisters, 50);
    (Melsec { station: 5, pc: 0xFF, sum: true, areas }, plant)
}

fn frame(text: &str) -> Vec<u8> {
    format!("\x05{text}{:02X}", sum_of(text.as_bytes())).into_bytes()
}

fn ask(plc: &mut Melsec, plant: &mut Plant, raw: &[u8]) -> (Answer, String) {
    let mut out = Buf::default();
    let answer = plc.answer(plant, Time(0), raw, &mut out);
    (answer, String::from_utf8(out.to_vec()).unwrap())
}

#[test]
fn the_sum_of_the_manual() {
    // AJ71C24-S6 manual, chapter 8, "sum check code": station 0, PC FF, BR, wait 3, ABCD.
    assert_eq!(sum_of(b"00FFBR3ABCD"), 0xBD);
}

#[test]
fn bits_are_read_as_in_the_manual() {
    // AJ71C24-S6 manual, 8.7.2: X40 to X44 of station 5, 100 ms of wait; 40 and 43 are off, the others on.
    let (mut plc, mut plant) = plc();
    let request = b"\x0505FFBRAX00400547";
    assert_eq!(length(request, true), Some(request.len()));
    let (answer, text) = ask(&mut plc, &mut plant, request);
    assert_eq!(answer, Answer::Reply(Duration::from_millis(100)));
    assert_eq!(text, "\x0205FF01101\x03E7");
}

#[test]
fn words_are_read_and_written_and_so_are_bits() {
    let (mut plc, mut plant) = plc();
    let mut said = |text: &str| {
        let raw = frame(text);
        assert_eq!(length(&raw, true), Some(raw.len()), "{text}");
        assert!((1..raw.len()).all(|n| length(&raw[..n], true).is_none_or(|l| l > n)), "{text}");
        ask(&mut plc, &mut plant, &raw).1
    };
    assert_eq!(said("05FFWR0D001002"), "\x0205FFAB0AAB0B\x03DD");
    assert_eq!(said("05FFWW0D0010021234FFFF"), "\x0605FF");
    assert!(said("05FFWR0D001002").starts_with("\x0205FF1234FFFF\x03"));
    assert!(said("05FFQR0D00001001").starts_with("\x0205FF1234\x03"), "seven characters");
    assert!(said("05FFWR0TN00001").starts_with("\x0205FFAB32\x03"), "a name of two letters");
    assert_eq!(said("05FFBW0M0003041011"), "\x0605FF");
    assert!(said("05FFBR0M000008").starts_with("\x0205FF00010110\x03"));
    assert!(said("05FFWR0M000001").starts_with("\x0205FF0068\x03"), "16 bits to a word");
    assert!(said("05FFWR0X004001").starts_with("\x0205FF0016\x03"));
    assert_eq!(said("05FFBT002X00401M00051"), "\x0605FF");
    assert!(said("05FFBR0X004001").starts_with("\x0205FF1\x03"));
    assert_eq!(said("05FFWT001D0010ABCD"), "\x0605FF");
    assert_eq!(said("05FFTT005ABCDE"), "\x0205FF05ABCDE\x03A8");
}

#[test]
fn errors_are_told_by_their_codes() {
    let (mut plc, mut plant) = plc();
    for (text, code) in [
        ("05FFZZ0D000001", "06"),
        ("05FFWR0E000001", "06"),
        ("05FFWR0D00A001", "06"),
        ("05FFWR0D000000", "06"),
        ("05FFWR0D000041", "06"),
        ("05FFWR0X004101", "06"),
        ("05FFBR0D000001", "06"),
        ("05FFWR0D009902", "08"),
        ("05FFWR0W000001", "08"),
        ("05FFBW0M0000012", "07"),
        ("05FFWW0D00000112G4", "07"),
        ("05FFWT002D00001234D0200ABCD", "08"),
        ("0501WR0D000001", "10"),
        ("05FF", "06"),
    ] {
        let (answer, said) = ask(&mut plc, &mut plant, &frame(text));
        assert_eq!(said, format!("\x1505FF{code}"), "{text}");
        assert!(matches!(answer, Answer::Refused(_)), "{text}");
    }
    assert_eq!(ask(&mut plc, &mut plant, b"\x0505FFBRAX00400548").1, "\x1505FF02");
    let (_, first) = ask(&mut plc, &mut plant, &frame("05FFWR0D000001"));
    assert!(first.starts_with("\x0205FFAB00"), "a test that is refused writes nothing");
}

#[test]
fn other_stations_and_the_computers_acknowledgements_get_no_answer() {
    let (mut plc, mut plant) = plc();
    for (raw, answer) in [
        (&frame("04FFWR0D000001")[..], Answer::Stranger),
        (b"\x05", Answer::Stranger),
        (b"\x0505", Answer::Stranger),
        (b"\x0605FF", Answer::Quiet),
        (b"\x1505FF", Answer::Quiet),
        (b"\x04", Answer::Quiet),
    ] {
        assert_eq!(ask(&mut plc, &mut plant, raw), (answer, String::new()), "{raw:?}");
    }
}

proptest! {
    #[test]
    fn any_telegram_is_answered_rightly_or_not_at_all(text in "05FF[BWJQT][RWT][0-9A-F][XYMDTN0-9]{0,12}[0-9A-F]{0,60}", good in any::<bool>()) {
        let (mut plc, mut plant) = plc();
        let mut raw = frame(&text);
        if !good {
            raw.truncate(raw.len() / 2);
        }
        let (_, said) = ask(&mut plc, &mut plant, &raw);
        let nothing = said.is_empty();
        prop_assert!(nothing || said.starts_with(['\x02', '\x06', '\x15']));
        length(&raw, true);
    }
}
