use proptest::prelude::*;

use super::*;

fn bytes(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_FRAME];
    let len = frame(transaction, unit, pdu, &mut out);
    out[..len].to_vec()
}

#[test]
fn headers_are_as_published() {
    // The example of the messaging guide, 3.1.2: reading register 4 of unit 255.
    let example = [0x15, 0x01, 0, 0, 0, 6, 0xFF, 3, 0, 4, 0, 1];
    assert_eq!(bytes(0x1501, 0xFF, &[3, 0, 4, 0, 1]), example);
    let adu = Adu { transaction: 0x1501, unit: 0xFF, pdu: &[3, 0, 4, 0, 1] };
    assert_eq!(parse(&example), Parsed::Frame(adu, 12));
    assert_eq!(parse(&[&example[..], &[1, 2, 3]].concat()), Parsed::Frame(adu, 12));
    (0..12).for_each(|n| assert_eq!(parse(&example[..n]), Parsed::Partial, "{n}"));
}

#[test]
fn what_cannot_be_a_header_is_noticed_with_its_first_wrong_byte() {
    assert_eq!(parse(&[0, 1, 1]), Parsed::Broken);
    assert_eq!(parse(&[0, 1, 0, 9]), Parsed::Broken);
    for length in [0u16, 1, 255, 256, 0xFFFF] {
        assert_eq!(parse(&[&[0, 1, 0, 0][..], &length.to_be_bytes()].concat()), Parsed::Broken, "{length}");
    }
    assert_eq!(parse(&[0, 1, 0, 0, 0, 254]), Parsed::Partial);
    assert_eq!(parse(b"GET / HTTP/1.1"), Parsed::Broken);
}

proptest! {
    #[test]
    fn a_frame_keeps_its_pdu(
        transaction in any::<u16>(), unit in any::<u8>(), pdu in prop::collection::vec(any::<u8>(), 1..=MAX_PDU),
    ) {
        let bytes = bytes(transaction, unit, &pdu);
        let mut framer = Framer::default();
        prop_assert_eq!(framer.fill(Time(1), &[&bytes[..], &[9; 3]].concat()), Ok(bytes.len()));
        prop_assert_eq!(framer.adu(), Adu { transaction, unit, pdu: &pdu });
    }

    #[test]
    fn any_bytes_are_survived(stream in prop::collection::vec(0..5u8, 0..600)) {
        let mut framer = Framer::default();
        for byte in stream {
            framer.push(Time(1), byte);
            if framer.is_whole() {
                prop_assert!((1..=MAX_PDU).contains(&framer.adu().pdu.len()));
                framer.clear();
            }
        }
    }
}
