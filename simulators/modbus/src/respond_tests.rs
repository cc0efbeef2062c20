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

proptest! {
    #[test]
    fn any_pdu_gets_a_reply_of_legal_length(pdu in prop::collection::vec(any::<u8>(), 1..=MAX_PDU)) {
        let reply = ask(&mut unit(), &pdu);
        prop_assert!((2..=MAX_PDU).contains(&reply.len()));
        prop_assert_eq!(reply[0] & 0x7F, pdu[0] & 0x7F);
    }
}
