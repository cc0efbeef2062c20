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
    assert_eq!(refusal(&pdu(0x42, 0xFFFF, 0, &[])), Some(IllegalFunction));
    assert_eq!(refusal(&pdu(3, 0xFFFF, 126, &[])), Some(IllegalValue));
    assert_eq!(refusal(&pdu(5, 0xFFFF, 0x1234, &[])), Some(IllegalValue));
    for function in (0..=255).filter(|f| !matches!(f, 1..=6 | 15 | 16)) {
        assert_eq!(refusal(&[function]), Some(IllegalFunction));
    }
    assert_eq!(refusal(&[]), Some(IllegalFunction));
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(Table::ALL.to_vec())
}

proptest! {
    #[test]
    fn what_is_decoded_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..=MAX_PDU)) {
        if let Ok(request) = Request::decode(&bytes) {
            let mut out = [0; MAX_PDU];
            let len = request.encode(&mut out);
            prop_assert_eq!(&out[..len], &bytes[..]);
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_request(
        table in table(), address in any::<u16>(), quantity in 1..=2000u16, value in any::<u16>(),
        data in prop::collection::vec(any::<u8>(), 246),
    ) {
        let bits = quantity.min(MAX_WRITE_BITS);
        let registers = quantity.min(MAX_WRITE_REGISTERS);
        for request in [
            Request::Read { table, address, quantity: quantity.min(max_read(table)) },
            Request::WriteCoil { address, on: value & 1 == 1 },
            Request::WriteRegister { address, value },
            Request::WriteCoils { address, quantity: bits, bits: &data[..usize::from(bits).div_ceil(8)] },
            Request::WriteRegisters { address, values: &data[..2 * usize::from(registers)] },
        ] {
            let mut out = [0; MAX_PDU];
            let len = request.encode(&mut out);
            match Request::decode(&out[..len]) {
                Ok(again) => prop_assert_eq!(again, request),
                Err(why) => prop_assert_eq!(why, IllegalAddress),
            }
        }
    }
}
