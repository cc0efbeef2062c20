use proptest::prelude::*;

use super::*;
use Exception::{IllegalAddress, IllegalFunction, IllegalValue};

fn pdu(function: u8, address: u16, second: u16, tail: &[u8]) -> Vec<u8> {
    let mut pdu = vec![function];
    pdu.extend(address.to_be_bytes());
    pdu.extend(second.to_be_bytes());
    pdu.extend(tail);
    pdu
}

/// A write of `quantity` coils (15) or registers (16) with a byte count and that many bytes behind it.
fn write(function: u8, address: u16, quantity: u16, count: u8, bytes: usize) -> Vec<u8> {
    let mut tail = vec![count];
    tail.resize(1 + bytes, 0);
    pdu(function, address, quantity, &tail)
}

fn refusal(pdu: &[u8]) -> Option<Exception> {
    Request::decode(pdu).err()
}

#[test]
fn quantities_are_limited_exactly() {
    for (function, most) in [(1, 2000), (2, 2000), (3, 125), (4, 125)] {
        assert_eq!(refusal(&pdu(function, 0, 0, &[])), Some(IllegalValue));
        assert_eq!(refusal(&pdu(function, 0, 1, &[])), None);
        assert_eq!(refusal(&pdu(function, 0, most, &[])), None);
        assert_eq!(refusal(&pdu(function, 0, most + 1, &[])), Some(IllegalValue));
        assert_eq!(refusal(&pdu(function, 0, 0xFFFF, &[])), Some(IllegalValue));
    }
    assert_eq!(refusal(&write(15, 0, 1968, 246, 246)), None);
    assert_eq!(refusal(&write(15, 0, 1969, 247, 247)), Some(IllegalValue));
    assert_eq!(refusal(&write(16, 0, 123, 246, 246)), None);
    assert_eq!(refusal(&write(16, 0, 124, 248, 248)), Some(IllegalValue));
    for function in [15, 16] {
        assert_eq!(refusal(&write(function, 0, 0, 0, 0)), Some(IllegalValue));
        assert_eq!(refusal(&write(function, 0, 0x8000, 0, 0)), Some(IllegalValue));
    }
}

#[test]
fn byte_counts_must_fit_quantity_and_length() {
    for (quantity, count, bytes) in [(2, 3, 3), (2, 4, 3), (2, 4, 5), (2, 3, 4), (2, 0, 0)] {
        assert_eq!(refusal(&write(16, 0, quantity, count, bytes)), Some(IllegalValue));
    }
    for (quantity, count, bytes) in [(8, 2, 2), (9, 1, 1), (9, 2, 1), (9, 2, 3)] {
        assert_eq!(refusal(&write(15, 0, quantity, count, bytes)), Some(IllegalValue));
    }
    assert_eq!(refusal(&write(15, 0, 9, 2, 2)), None);
    // Lengths that the function does not have.
    for function in 1..=6 {
        let second = if function == 5 { 0xFF00 } else { 1 };
        assert_eq!(refusal(&pdu(function, 0, second, &[])), None);
        assert_eq!(refusal(&pdu(function, 0, second, &[0])), Some(IllegalValue));
        assert_eq!(refusal(&pdu(function, 0, second, &[])[..4]), Some(IllegalValue));
        assert_eq!(refusal(&[function]), Some(IllegalValue));
    }
    assert_eq!(refusal(&pdu(16, 0, 1, &[])), Some(IllegalValue));
}

#[test]
fn a_coil_is_switched_by_two_values_only() {
    for value in [0x0001, 0x00FF, 0x1234, 0xFF01, 0xFFFF, 0xFE00] {
        assert_eq!(refusal(&pdu(5, 0, value, &[])), Some(IllegalValue));
    }
    assert_eq!(Request::decode(&pdu(5, 7, 0xFF00, &[])), Ok(Request::WriteCoil { address: 7, on: true }));
    assert_eq!(Request::decode(&pdu(5, 7, 0, &[])), Ok(Request::WriteCoil { address: 7, on: false }));
}

#[test]
fn addresses_end_at_65535() {
    assert_eq!(refusal(&pdu(3, 0xFFFF, 1, &[])), None);
    assert_eq!(refusal(&pdu(3, 0xFFFF, 2, &[])), Some(IllegalAddress));
    assert_eq!(refusal(&pdu(1, 0xF830, 2000, &[])), None);
    assert_eq!(refusal(&pdu(1, 0xF831, 2000, &[])), Some(IllegalAddress));
    assert_eq!(refusal(&write(16, 0xFFFF, 2, 4, 4)), Some(IllegalAddress));
    assert_eq!(refusal(&pdu(6, 0xFFFF, 0, &[])), None);
}

#[test]
fn checks_come_in_the_order_of_the_specification() {
    // Function before quantity, quantity before address.
    assert_eq!(refusal(&pdu(0x82, 0xFFFF, 0, &[])), Some(IllegalFunction));
    assert_eq!(refusal(&pdu(3, 0xFFFF, 126, &[])), Some(IllegalValue));
    assert_eq!(refusal(&pdu(5, 0xFFFF, 0x1234, &[])), Some(IllegalValue));
    for function in (128..=255).chain([0]) {
        assert_eq!(refusal(&[function]), Some(IllegalFunction));
    }
    assert_eq!(refusal(&[]), Some(IllegalFunction));
    // What the specification does not define is for the unit to know.
    for pdu in [&[0x42][..], &[100, 1, 2], &[9], &[43], &[43, 13, 0, 0], &[127; 253]] {
        assert_eq!(Request::decode(pdu), Ok(Request::Other(pdu)));
    }
}

#[test]
fn functions_without_data_take_none() {
    for (function, request) in [
        (7, Request::ExceptionStatus),
        (11, Request::EventCounter),
        (12, Request::EventLog),
        (17, Request::ServerId),
    ] {
        assert_eq!(Request::decode(&[function]), Ok(request));
        assert_eq!(refusal(&[function, 0]), Some(IllegalValue));
    }
}

#[test]
fn subfunctions_of_diagnostics_take_what_the_specification_says() {
    let good = [
        (0, &[0xA5, 0x37][..]),
        (0, &[1, 2, 3, 4]),
        (1, &[0, 0]),
        (1, &[0xFF, 0]),
        (2, &[0, 0]),
        (3, b"#\0"),
        (4, &[0, 0]),
        (18, &[0, 0]),
        (20, &[0, 0]),
    ];
    for (subfunction, data) in good {
        let pdu = [&[8, 0, subfunction][..], data].concat();
        let request = Request::Diagnose { subfunction: subfunction.into(), data };
        assert_eq!(Request::decode(&pdu), Ok(request));
    }
    for subfunction in [5, 9, 19, 21, 0xFF] {
        assert_eq!(refusal(&[8, 0, subfunction, 0, 0]), Some(IllegalFunction));
        assert_eq!(refusal(&[8, subfunction, 0, 0, 0]), Some(IllegalFunction));
    }
    for data in
        [&[][..], &[0], &[0, 0], &[0, 0, 1], &[0, 0, 1, 2, 3], &[0, 1, 1, 0], &[0, 4, 0, 1], &[0, 10, 0]]
    {
        assert_eq!(refusal(&[&[8], data].concat()), Some(IllegalValue), "{data:?}");
    }
    for delimiter in b":0aF" {
        assert_eq!(refusal(&[8, 0, 3, *delimiter, 0]), Some(IllegalValue));
    }
}

/// Sub-requests of a file read or write: reference type, file, record, length.
fn records(function: u8, records: &[(u8, u16, u16, u16)]) -> Vec<u8> {
    let mut pdu = vec![function, 0];
    for (kind, file, record, length) in records {
        pdu.push(*kind);
        [file, record, length].into_iter().for_each(|w| pdu.extend(w.to_be_bytes()));
        pdu.extend(vec![7; if function == 21 { 2 * usize::from(*length) } else { 0 }]);
    }
    pdu[1] = (pdu.len() - 2) as u8;
    pdu
}

#[test]
fn file_records_are_limited_exactly() {
    // The example of AP 6.14.
    let example = [20, 14, 6, 0, 4, 0, 1, 0, 2, 6, 0, 3, 0, 9, 0, 2];
    assert_eq!(records(20, &[(6, 4, 1, 2), (6, 3, 9, 2)]), example);
    let Ok(Request::ReadFile(read)) = Request::decode(&example) else { panic!() };
    let read: Vec<_> = read.map(|r| (r.file, r.record, r.length)).collect();
    assert_eq!(read, [(4, 1, 2), (3, 9, 2)]);
    // And of 6.15.
    let example = [21, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D];
    let Ok(Request::WriteFile(mut write)) = Request::decode(&example) else { panic!() };
    assert_eq!(write.next().unwrap().values, &example[9..]);
    assert_eq!(write.next(), None);
    for (pdu, why) in [
        (records(20, &[(6, 1, 9999, 1)]), None),
        (records(20, &[(6, 1, 9999, 2)]), Some(IllegalAddress)),
        (records(20, &[(6, 0, 0, 1)]), Some(IllegalAddress)),
        (records(20, &[(5, 1, 0, 1)]), Some(IllegalAddress)),
        (records(20, &[(6, 1, 0, 0)]), Some(IllegalValue)),
        (records(20, &[(6, 1, 0, 121)]), None),
        (records(20, &[(6, 1, 0, 122)]), Some(IllegalValue)),
        (records(20, &[(6, 1, 0, 60), (6, 1, 0, 60)]), None),
        (records(20, &[(6, 1, 0, 60), (6, 1, 0, 61)]), Some(IllegalValue)),
        (records(20, &[(6, 1, 0, 1); 35]), None),
        (records(20, &[(6, 1, 0, 1); 36]), Some(IllegalValue)),
        (records(21, &[(6, 1, 0, 122)]), None),
        (records(21, &[(6, 1, 0, 123)]), Some(IllegalValue)),
        (records(21, &[(6, 1, 9999, 2)]), Some(IllegalAddress)),
        // Bad values of one are told before the bad address of another.
        (records(21, &[(6, 0, 0, 1), (6, 1, 0, 0)]), Some(IllegalValue)),
    ] {
        assert_eq!(refusal(&pdu), why, "{pdu:?}");
    }
    for cut in [1, 2, 3, 8] {
        assert_eq!(refusal(&records(20, &[(6, 1, 0, 1)])[..cut]), Some(IllegalValue));
        assert_eq!(refusal(&records(21, &[(6, 1, 0, 1)])[..cut]), Some(IllegalValue));
    }
    let mut miscounted = records(21, &[(6, 1, 0, 2)]);
    miscounted[8] = 3;
    assert_eq!(refusal(&miscounted), Some(IllegalValue));
}

#[test]
fn read_and_write_in_one_have_limits_of_their_own() {
    let both = |read: u16, write: u16, count: u8, bytes: usize| {
        let mut pdu = vec![23, 0, 3];
        pdu.extend(read.to_be_bytes());
        pdu.extend([0, 14]);
        pdu.extend(write.to_be_bytes());
        pdu.push(count);
        pdu.resize(10 + bytes, 0);
        pdu
    };
    for (read, write, count, bytes, why) in [
        (125, 121, 242, 242, None),
        (1, 1, 2, 2, None),
        (126, 1, 2, 2, Some(IllegalValue)),
        (0, 1, 2, 2, Some(IllegalValue)),
        (1, 0, 0, 0, Some(IllegalValue)),
        (1, 122, 244, 243, Some(IllegalValue)),
        (1, 1, 3, 2, Some(IllegalValue)),
        (1, 1, 2, 3, Some(IllegalValue)),
        (1, 0x8001, 2, 2, Some(IllegalValue)),
    ] {
        assert_eq!(refusal(&both(read, write, count, bytes)), why, "{read} {write} {count} {bytes}");
    }
    let mut high = both(2, 1, 2, 2);
    high[1..3].fill(0xFF);
    assert_eq!(refusal(&high), Some(IllegalAddress));
    let mut high = both(1, 2, 4, 4);
    high[5..7].fill(0xFF);
    assert_eq!(refusal(&high), Some(IllegalAddress));
}

#[test]
fn the_rest_has_fixed_lengths() {
    assert_eq!(
        Request::decode(&[22, 0, 4, 0, 0xF2, 0, 0x25]),
        Ok(Request::MaskWrite { address: 4, and: 0xF2, or: 0x25 })
    );
    assert_eq!(Request::decode(&[24, 4, 0xDE]), Ok(Request::ReadFifo { address: 0x4DE }));
    assert_eq!(Request::decode(&[43, 14, 1, 0]), Ok(Request::Identify { code: 1, object: 0 }));
    for pdu in [
        &[22, 0, 4, 0, 0, 0][..],
        &[22, 0, 4, 0, 0, 0, 0, 0],
        &[24, 0],
        &[24, 0, 0, 0],
        &[43, 14, 1],
        &[43, 14, 1, 0, 0],
        &[43, 14, 0, 0],
        &[43, 14, 5, 0],
    ] {
        assert_eq!(refusal(pdu), Some(IllegalValue), "{pdu:?}");
    }
}

#[test]
fn a_request_tells_its_addresses() {
    let addresses = |pdu: &[u8]| Request::decode(pdu).ok().and_then(|r| r.addresses());
    assert_eq!(addresses(&pdu(3, 10, 5, &[])), Some((Table::HoldingRegisters, 10, 14)));
    assert_eq!(addresses(&pdu(2, 0xFFFF, 1, &[])), Some((Table::DiscreteInputs, 0xFFFF, 0xFFFF)));
    assert_eq!(addresses(&write(15, 8, 9, 2, 2)), Some((Table::Coils, 8, 16)));
    assert_eq!(addresses(&write(16, 8, 2, 4, 4)), Some((Table::HoldingRegisters, 8, 9)));
    assert_eq!(addresses(&[17]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..=MAX_PDU + 3)) {
        if let Ok(Request::ReadFile(records) | Request::WriteFile(records)) = Request::decode(&bytes) {
            prop_assert!(records.count() > 0);
        }
    }
}
