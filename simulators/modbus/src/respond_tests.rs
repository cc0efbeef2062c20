use hilrig_points::{Table, Unit};
use proptest::prelude::*;

use super::*;
use crate::pdu::EXCEPTION;

/// Holding 10..20 with their own addresses, coils 0..16 alternating, inputs 5..7.
fn unit() -> Unit {
    let mut unit = Unit::new();
    unit.define(Table::HoldingRegisters, 10, 10..20).unwrap();
    unit.define(Table::Coils, 0, (0..16).map(|i| i % 2)).unwrap();
    unit.define(Table::DiscreteInputs, 5, [1, 0].into_iter()).unwrap();
    unit.define(Table::InputRegisters, 5, [0x1234, 0xFFFF].into_iter()).unwrap();
    unit
}

fn ask(unit: &mut Unit, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0xAA; MAX_PDU];
    let mut plant = Plant::default();
    plant.add_unit(1, std::mem::take(unit)).unwrap();
    let (len, exception) = answer(&mut plant, Time(0), 1, pdu, &mut out);
    *unit = std::mem::take(plant.unit_mut(1).unwrap());
    assert_eq!(exception.is_some(), out[0] & EXCEPTION != 0);
    out[..len].to_vec()
}

#[test]
fn tables_are_read_as_defined() {
    let mut unit = unit();
    assert_eq!(ask(&mut unit, &[3, 0, 10, 0, 3]), [3, 6, 0, 10, 0, 11, 0, 12]);
    assert_eq!(ask(&mut unit, &[4, 0, 5, 0, 2]), [4, 4, 0x12, 0x34, 0xFF, 0xFF]);
    assert_eq!(ask(&mut unit, &[1, 0, 1, 0, 10]), [1, 2, 0b0101_0101, 0b01]);
    assert_eq!(ask(&mut unit, &[2, 0, 5, 0, 2]), [2, 1, 0b01]);
}

#[test]
fn absent_addresses_are_refused_to_the_single_one() {
    let mut unit = unit();
    for (function, first, count) in [(3, 9, 1), (3, 9, 2), (3, 20, 1), (3, 10, 11), (3, 0xFFFF, 1), (4, 7, 1)]
    {
        assert_eq!(
            ask(&mut unit, &[function, (first >> 8) as u8, first as u8, 0, count]),
            [function | 0x80, 2]
        );
    }
    assert_eq!(ask(&mut unit, &[3, 0, 10, 0, 10]).len(), 22);
    // A write that goes too far changes nothing.
    assert_eq!(ask(&mut unit, &[16, 0, 19, 0, 2, 4, 1, 1, 2, 2]), [0x90, 2]);
    assert_eq!(unit.get(Table::HoldingRegisters, 19), Some(19));
    assert_eq!(ask(&mut unit, &[15, 0, 15, 0, 2, 1, 0]), [0x8F, 2]);
    assert_eq!(unit.get(Table::Coils, 15), Some(1));
}

#[test]
fn writes_are_echoed_and_read_back() {
    let mut unit = unit();
    assert_eq!(ask(&mut unit, &[5, 0, 0, 0xFF, 0]), [5, 0, 0, 0xFF, 0]);
    assert_eq!(ask(&mut unit, &[5, 0, 1, 0, 0]), [5, 0, 1, 0, 0]);
    assert_eq!(ask(&mut unit, &[1, 0, 0, 0, 3]), [1, 1, 0b001]);
    assert_eq!(ask(&mut unit, &[6, 0, 10, 0xAB, 0xCD]), [6, 0, 10, 0xAB, 0xCD]);
    assert_eq!(ask(&mut unit, &[16, 0, 11, 0, 2, 4, 1, 2, 3, 4]), [16, 0, 11, 0, 2]);
    assert_eq!(ask(&mut unit, &[3, 0, 10, 0, 3]), [3, 6, 0xAB, 0xCD, 1, 2, 3, 4]);
    assert_eq!(ask(&mut unit, &[15, 0, 3, 0, 10, 2, 0xFF, 0x03]), [15, 0, 3, 0, 10]);
    assert_eq!(ask(&mut unit, &[1, 0, 2, 0, 12]), [1, 2, 0xFE, 0b1111]);
}

#[test]
fn inputs_cannot_be_written_over_the_line() {
    let mut unit = unit();
    assert_eq!(ask(&mut unit, &[5, 0, 20, 0xFF, 0]), [0x85, 2]);
    assert_eq!(ask(&mut unit, &[6, 0, 5, 0, 1]), [0x86, 2]);
    assert!(unit.set(Table::InputRegisters, 5, 7));
    assert!(unit.set(Table::DiscreteInputs, 6, 99));
    assert_eq!(unit.get(Table::DiscreteInputs, 6), Some(1));
    assert!(!unit.set(Table::InputRegisters, 7, 7));
}

#[test]
fn the_last_address_can_be_defined_and_no_further() {
    let mut unit = Unit::new();
    unit.define(Table::HoldingRegisters, 0xFFFE, [1, 2].into_iter()).unwrap();
    assert_eq!(ask(&mut unit, &[3, 0xFF, 0xFE, 0, 2]), [3, 4, 0, 1, 0, 2]);
    let error = unit.define(Table::HoldingRegisters, 0xFFFE, [1, 2, 3].into_iter()).unwrap_err();
    assert_eq!(error.to_string(), "3 values from address 65534 on pass the last address, 65535");
    unit.define(Table::Coils, 0, (0..=u16::MAX).map(|_| 1).collect::<Vec<_>>().into_iter()).unwrap();
    assert_eq!(unit.get(Table::Coils, 0xFFFF), Some(1));
}

/// A plant from the text of its units.
pub(crate) fn plant(text: &str) -> Plant {
    use hilrig_files::{At, Entries, Problems, read};
    #[derive(serde::Deserialize)]
    struct File {
        unit: Entries<hilrig_points::UnitFile>,
    }
    let mut problems = Problems::new("model", "m.toml", text);
    let file: Option<File> = read(text, &mut problems);
    let mut builder = hilrig_points::Builder::new(1);
    for (name, unit) in file.iter().flat_map(|file| &file.unit.0) {
        let name: &At<String> = name;
        builder.unit(name, &unit.value, std::path::Path::new("."), &mut problems);
    }
    let plant = builder.finish(&mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    plant
}

/// A device with all that a unit can have.
fn device() -> Plant {
    let long = "x".repeat(120);
    plant(&format!(
        "[unit.a]
        holding = {{ \"0..3\" = 7, 4 = 0x12, \"5..20\" = 7 }}
        exception_status = 0x6D
        server_id = {{ hex = \"11 0A\", running = true, additional = \"4C 4D 42\" }}
        file = {{ 4 = [10, 11, 12, 13], 3 = [1, 2, 3] }}
        fifo = {{ 10 = [0x01B8, 0x1284], 11 = [] }}
        user_function = {{ 65 = [{{ request = \"01 ??\", reply = \"0A 0B\" }}], 100 = [{{ exception = 6 }}] }}
        [unit.a.identity]
        vendor = \"Company\"
        product_code = \"Code X\"
        revision = \"V2.11\"
        product_name = \"{long}\"
        model_name = \"{long}\"
        extended = {{ 128 = \"own\" }}
        [unit.b]
        id = 2
        holding = {{ 0 = 1 }}
        [unit.b.identity]
        vendor = \"Small\"
        product_code = \"S\"
        revision = \"1\"
        "
    ))
}

fn tell(plant: &mut Plant, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0xAA; MAX_PDU];
    let (len, _) = answer(plant, Time(0), unit, pdu, &mut out);
    out[..len].to_vec()
}

#[test]
fn status_and_server_id_are_told() {
    let mut plant = device();
    assert_eq!(tell(&mut plant, 1, &[7]), [7, 0x6D]);
    assert_eq!(tell(&mut plant, 1, &[17]), [17, 6, 0x11, 0x0A, 0xFF, b'L', b'M', b'B']);
    assert_eq!(tell(&mut plant, 2, &[17]), [0x91, 1]);
}

#[test]
fn bits_of_a_register_are_masked() {
    let mut plant = device();
    // The example of AP 6.16.
    assert_eq!(tell(&mut plant, 1, &[22, 0, 4, 0, 0xF2, 0, 0x25]), [22, 0, 4, 0, 0xF2, 0, 0x25]);
    assert_eq!(tell(&mut plant, 1, &[3, 0, 4, 0, 1]), [3, 2, 0, 0x17]);
    assert_eq!(tell(&mut plant, 1, &[22, 0, 99, 0, 0, 0, 0]), [0x96, 2]);
}

#[test]
fn writing_comes_before_reading_and_only_if_both_can_be() {
    let mut plant = device();
    let both = |read: u8, write: u8| vec![23, 0, read, 0, 2, 0, write, 0, 1, 2, 0, 42];
    assert_eq!(tell(&mut plant, 1, &both(0, 1)), [23, 4, 0, 7, 0, 42]);
    assert_eq!(tell(&mut plant, 1, &both(20, 2)), [0x97, 2], "20 is the last register");
    assert_eq!(tell(&mut plant, 1, &[3, 0, 2, 0, 1]), [3, 2, 0, 7]);
    assert_eq!(tell(&mut plant, 1, &both(0, 21)), [0x97, 2]);
}

#[test]
fn file_records_are_read_and_written_as_a_whole() {
    let mut plant = device();
    let read = [20, 14, 6, 0, 4, 0, 1, 0, 2, 6, 0, 3, 0, 0, 0, 1];
    assert_eq!(tell(&mut plant, 1, &read), [20, 10, 5, 6, 0, 11, 0, 12, 3, 6, 0, 1]);
    let write = [21, 9, 6, 0, 4, 0, 1, 0, 1, 0xAB, 0xCD];
    assert_eq!(tell(&mut plant, 1, &write), write);
    assert_eq!(tell(&mut plant, 1, &[20, 7, 6, 0, 4, 0, 1, 0, 1]), [20, 4, 3, 6, 0xAB, 0xCD]);
    // The second of two is not there, so the first is not done.
    let write = [21, 18, 6, 0, 4, 0, 0, 0, 1, 9, 9, 6, 0, 4, 0, 9, 0, 1, 9, 9];
    assert_eq!(tell(&mut plant, 1, &write), [0x95, 2]);
    assert_eq!(tell(&mut plant, 1, &[20, 7, 6, 0, 4, 0, 0, 0, 1]), [20, 4, 3, 6, 0, 10]);
    assert_eq!(tell(&mut plant, 1, &[20, 7, 6, 0, 9, 0, 0, 0, 1]), [0x94, 2]);
}

#[test]
fn queues_are_read() {
    let mut plant = device();
    assert_eq!(tell(&mut plant, 1, &[24, 0, 10]), [24, 0, 6, 0, 2, 1, 0xB8, 0x12, 0x84]);
    assert_eq!(tell(&mut plant, 1, &[24, 0, 11]), [24, 0, 2, 0, 0]);
    assert_eq!(tell(&mut plant, 1, &[24, 0, 12]), [0x98, 2]);
}

#[test]
fn user_functions_answer_what_their_pattern_fits() {
    let mut plant = device();
    assert_eq!(tell(&mut plant, 1, &[65, 1, 99]), [65, 0x0A, 0x0B]);
    assert_eq!(tell(&mut plant, 1, &[65, 2, 99]), [0xC1, 3]);
    assert_eq!(tell(&mut plant, 1, &[100]), [0xE4, 6]);
    assert_eq!(tell(&mut plant, 1, &[66]), [0xC2, 1]);
    assert_eq!(tell(&mut plant, 2, &[65, 1, 99]), [0xC1, 1]);
}

#[test]
fn identification_is_told_by_category_piece_by_piece_or_one_by_one() {
    let mut plant = device();
    let basic = b"\x00\x07Company\x01\x06Code X\x02\x05V2.11";
    let expected = [&[43, 14, 1, 0x83, 0, 0, 3][..], basic].concat();
    assert_eq!(tell(&mut plant, 1, &[43, 14, 1, 0]), expected);
    // Regular: the second long name does not fit, and comes with the next request.
    let first = tell(&mut plant, 1, &[43, 14, 2, 0]);
    assert_eq!((&first[..7], first.len()), (&[43, 14, 2, 0x83, 0xFF, 5, 4][..], 7 + basic.len() + 122));
    let second = tell(&mut plant, 1, &[43, 14, 2, 5]);
    assert_eq!((&second[..9], second.len()), (&[43, 14, 2, 0x83, 0, 0, 1, 5, 120][..], 129));
    // Extended.
    let third = tell(&mut plant, 1, &[43, 14, 3, 128]);
    assert_eq!(third, [&[43, 14, 3, 0x83, 0, 0, 1, 128, 3][..], b"own"].concat());
    // What is not there, or is of another category, starts from the beginning; one by one it is refused.
    assert_eq!(tell(&mut plant, 1, &[43, 14, 1, 4]), expected);
    assert_eq!(tell(&mut plant, 1, &[43, 14, 1, 99]), expected);
    assert_eq!(tell(&mut plant, 1, &[43, 14, 4, 1])[7..], *b"\x01\x06Code X");
    assert_eq!(tell(&mut plant, 1, &[43, 14, 4, 6]), [0xAB, 2]);
    assert_eq!(tell(&mut plant, 2, &[43, 14, 3, 0])[3], 0x81, "a unit with basic objects only");
    assert_eq!(ask(&mut unit(), &[43, 14, 1, 0]), [0xAB, 1]);
}

proptest! {
    #[test]
    fn any_pdu_to_a_full_device_gets_a_reply_that_a_master_takes(
        function in prop::sample::select(vec![7, 17, 20, 21, 22, 23, 24, 43, 65, 100u8]),
        data in prop::collection::vec(0..24u8, 0..40),
    ) {
        let pdu = [&[function], &data[..]].concat();
        let reply = tell(&mut device(), 1, &pdu);
        prop_assert!((2..=MAX_PDU).contains(&reply.len()));
        prop_assert_eq!(reply[0] & 0x7F, function);
        prop_assert!(crate::reply::match_reply(&pdu, &reply) != crate::reply::Reply::Stranger);
    }

    #[test]
    fn any_pdu_gets_a_reply_of_legal_length(pdu in prop::collection::vec(any::<u8>(), 1..=MAX_PDU)) {
        let reply = ask(&mut unit(), &pdu);
        prop_assert!((2..=MAX_PDU).contains(&reply.len()));
        prop_assert_eq!(reply[0] & 0x7F, pdu[0] & 0x7F);
    }
}
