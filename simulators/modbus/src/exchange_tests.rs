use proptest::prelude::*;

use super::*;
use crate::pdu::Request;

#[test]
fn requests_are_as_the_specification_shows_them() {
    let pdu = |e: Result<Exchange, ExchangeError>| e.unwrap().pdu().to_vec();
    assert_eq!(pdu(Exchange::read(1, Table::DiscreteInputs, 0xC4, 0x16)), [2, 0, 0xC4, 0, 0x16]);
    assert_eq!(pdu(Exchange::write_coil(1, 0xAC, true)), [5, 0, 0xAC, 0xFF, 0]);
    assert_eq!(pdu(Exchange::exception_status(1)), [7]);
    assert_eq!(pdu(Exchange::diagnostics(1, 0, &[0xA537])), [8, 0, 0, 0xA5, 0x37]);
    assert_eq!(pdu(Exchange::event_counter(1)), [11]);
    assert_eq!(pdu(Exchange::event_log(1)), [12]);
    let bits = [true, false, true, true, false, false, true, true, true, false];
    assert_eq!(pdu(Exchange::write_coils(1, 0x13, &bits)), [15, 0, 0x13, 0, 10, 2, 0xCD, 1]);
    assert_eq!(pdu(Exchange::write_registers(1, 1, &[10, 258])), [16, 0, 1, 0, 2, 4, 0, 10, 1, 2]);
    assert_eq!(pdu(Exchange::server_id(1)), [17]);
    let records = [Record { file: 4, record: 1, length: 2 }, Record { file: 3, record: 9, length: 2 }];
    assert_eq!(pdu(Exchange::read_file(1, &records)), [20, 14, 6, 0, 4, 0, 1, 0, 2, 6, 0, 3, 0, 9, 0, 2]);
    assert_eq!(
        pdu(Exchange::write_file(1, &[(4, 7, &[0x6AF, 0x4BE, 0x100D])])),
        [21, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D]
    );
    assert_eq!(pdu(Exchange::mask_write(1, 4, 0xF2, 0x25)), [22, 0, 4, 0, 0xF2, 0, 0x25]);
    assert_eq!(
        pdu(Exchange::read_write(1, 3, 6, 14, &[0xFF, 0xFF, 0xFF])),
        [23, 0, 3, 0, 6, 0, 14, 0, 3, 6, 0, 0xFF, 0, 0xFF, 0, 0xFF]
    );
    assert_eq!(pdu(Exchange::fifo(1, 0x4DE)), [24, 4, 0xDE]);
    assert_eq!(pdu(Exchange::identity(1, 1, 0)), [43, 14, 1, 0]);
    assert_eq!(pdu(Exchange::raw(200, &[0x42, 1])), [0x42, 1]);
}

#[test]
fn the_largest_requests_fit_and_one_more_does_not() {
    for (fits, too_much) in [
        (Exchange::diagnostics(1, 0, &[1; 125]), Exchange::diagnostics(1, 0, &[1; 126])),
        (Exchange::write_file(1, &[(1, 0, &[1; 122])]), Exchange::write_file(1, &[(1, 0, &[1; 123])])),
        (Exchange::read_write(1, 0, 125, 0, &[1; 121]), Exchange::read_write(1, 0, 125, 0, &[1; 122])),
        (Exchange::raw(1, &[1; 253]), Exchange::raw(1, &[1; 254])),
    ] {
        assert!((251..=253).contains(&fits.unwrap().pdu().len()));
        assert!(too_much.is_err());
    }
    let record = |length| Record { file: 1, record: 0, length };
    assert!(Exchange::read_file(1, &[record(121)]).is_ok());
    assert!(Exchange::read_file(1, &[record(61), record(60)]).is_err());
    assert!(Exchange::read_file(1, &[record(1); 36]).is_err());
    assert!(Exchange::read_file(1, &[Record { record: 9999, ..record(2) }]).is_err());
    assert!(Exchange::read_file(1, &[Record { file: 0, ..record(2) }]).is_err());
    for error in [
        Exchange::exception_status(0),
        Exchange::read_write(1, 0xFFFF, 2, 0, &[1]),
        Exchange::read_write(1, 0, 2, 0xFFFF, &[1, 1]),
        Exchange::diagnostics(1, 0, &[]),
        Exchange::identity(1, 5, 0),
        Exchange::raw(1, &[]),
        Exchange::raw(1, &[0x83, 1]),
        Exchange::raw(1, &[0]),
        Exchange::mask_write(250, 0, 0, 0),
        Exchange::write_file(1, &[]),
    ] {
        assert!(error.unwrap_err().to_string().len() > 20);
    }
    assert_eq!(Exchange::read(255, Table::Coils, 0, 1).unwrap().unit(), 255);
}

#[test]
fn what_nobody_answers_is_known() {
    let unanswered = |e: Exchange| is_unanswered(e.unit(), e.pdu());
    assert!(unanswered(Exchange::write_coil(0, 1, true).unwrap()));
    assert!(unanswered(Exchange::diagnostics(7, 4, &[0]).unwrap()));
    assert!(!unanswered(Exchange::diagnostics(7, 1, &[0]).unwrap()));
    assert!(!unanswered(Exchange::read(8, Table::Coils, 4, 1).unwrap()));
}

proptest! {
    /// The master asks for nothing that the specification forbids, as the slave's decoder has it.
    #[test]
    fn every_request_that_is_made_is_a_legal_one(
        which in 0..17usize, a in any::<u16>(), b in any::<u16>(), count in 0..2100u16,
        sub in prop::sample::select(vec![0u16, 1, 2, 3, 4, 10, 11, 18, 20]),
        words in prop::collection::vec(any::<u16>(), 0..130), bits in prop::collection::vec(any::<bool>(), 0..2000),
        records in prop::collection::vec((0..4u16, 0..10_100u16, 0..130u16), 0..40), near in any::<bool>(),
    ) {
        let first = if near { 0xFF80 | a } else { a };
        let parts: Vec<_> = records.iter().map(|&(file, record, length)| Record { file, record, length }).collect();
        let writes: Vec<_> = records
            .iter()
            .take(3)
            .map(|&(file, record, n)| (file, record, &words[..words.len().min(n.into())]))
            .collect();
        let made = match which {
            0..=3 => Exchange::read(1, Table::ALL[which], first, count),
            4 => Exchange::write_coil(1, a, near),
            5 => Exchange::write_register(1, a, b),
            6 => Exchange::exception_status(1),
            7 => Exchange::diagnostics(1, sub, if sub == 0 { &words } else { &[0] }),
            8 => Exchange::event_counter(1),
            9 => Exchange::event_log(1),
            10 => Exchange::write_coils(1, first, &bits),
            11 => Exchange::write_registers(1, first, &words),
            12 => Exchange::read_file(1, &parts),
            13 => Exchange::write_file(1, &writes),
            14 => Exchange::mask_write(1, a, b, count),
            15 => Exchange::read_write(1, first, count, b, &words),
            _ => Exchange::identity(1, a as u8 % 6, b as u8),
        };
        if let Ok(exchange) = made {
            let decoded = Request::decode(exchange.pdu());
            prop_assert!(decoded.is_ok(), "{:X?}: {decoded:?}", exchange.pdu());
        }
    }
}
