use proptest::prelude::*;

use super::*;
use crate::pdu::MAX_PDU;

/// Request, reply, data found in the reply.
type Good = (&'static [u8], &'static [u8], &'static [u8]);

/// Mostly the examples of AP section 6.
const GOOD: [Good; 22] = [
    (&[1, 0, 0x13, 0, 0x13], &[1, 3, 0xCD, 0x6B, 0x05], &[0xCD, 0x6B, 0x05]),
    (&[2, 0, 0xC4, 0, 0x16], &[2, 3, 0xAC, 0xDB, 0x35], &[0xAC, 0xDB, 0x35]),
    (&[3, 0, 10, 0, 2], &[3, 4, 1, 2, 3, 4], &[1, 2, 3, 4]),
    (&[4, 0, 8, 0, 1], &[4, 2, 0, 10], &[0, 10]),
    (&[5, 0, 0xAC, 0xFF, 0], &[5, 0, 0xAC, 0xFF, 0], &[]),
    (&[6, 0, 1, 0, 3], &[6, 0, 1, 0, 3], &[]),
    (&[7], &[7, 0x6D], &[0x6D]),
    (&[8, 0, 0, 0xA5, 0x37], &[8, 0, 0, 0xA5, 0x37], &[0xA5, 0x37]),
    (&[8, 0, 11, 0, 0], &[8, 0, 11, 1, 8], &[1, 8]),
    (&[11], &[11, 0xFF, 0xFF, 1, 8], &[0xFF, 0xFF, 1, 8]),
    (&[12], &[12, 8, 0, 0, 1, 8, 1, 0x21, 0x20, 0], &[0, 0, 1, 8, 1, 0x21, 0x20, 0]),
    (&[15, 0, 0x13, 0, 10, 2, 0xCD, 1], &[15, 0, 0x13, 0, 10], &[]),
    (&[16, 0, 5, 0, 3, 6, 0, 0, 0, 0, 0, 0], &[16, 0, 5, 0, 3], &[]),
    (&[17], &[17, 3, b'h', b'i', 0xFF], &[b'h', b'i', 0xFF]),
    (
        &[20, 14, 6, 0, 4, 0, 1, 0, 2, 6, 0, 3, 0, 9, 0, 2],
        &[20, 12, 5, 6, 0x0D, 0xFE, 0, 0x20, 5, 6, 0x33, 0xCD, 0, 0x40],
        &[5, 6, 0x0D, 0xFE, 0, 0x20, 5, 6, 0x33, 0xCD, 0, 0x40],
    ),
    (
        &[21, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D],
        &[21, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D],
        &[],
    ),
    (&[22, 0, 4, 0, 0xF2, 0, 0x25], &[22, 0, 4, 0, 0xF2, 0, 0x25], &[]),
    (&[23, 0, 3, 0, 2, 0, 14, 0, 1, 2, 0, 0xFF], &[23, 4, 0, 0xFE, 0x0A, 0xCD], &[0, 0xFE, 0x0A, 0xCD]),
    (&[24, 4, 0xDE], &[24, 0, 6, 0, 2, 1, 0xB8, 0x12, 0x84], &[1, 0xB8, 0x12, 0x84]),
    (
        &[43, 14, 1, 0],
        &[43, 14, 1, 1, 0, 0, 2, 0, 1, b'A', 2, 2, b'1', b'2'],
        &[1, 1, 0, 0, 2, 0, 1, b'A', 2, 2, b'1', b'2'],
    ),
    (&[43, 13, 9], &[43, 13, 8, 7], &[8, 7]),
    (&[0x42, 1, 2], &[0x42, 9], &[9]),
];

#[test]
fn replies_of_all_functions_are_known_by_their_requests() {
    for (request, reply, data) in GOOD {
        assert_eq!(match_reply(request, reply), Reply::Done(data), "{request:X?}");
        assert_eq!(match_reply(request, &[request[0] | 0x80, 4]), Reply::Refused(4));
        assert_eq!(match_reply(request, &[request[0] | 0x80]), Reply::Stranger);
        assert_eq!(match_reply(request, &[request[0] ^ 1 | 0x80, 4]), Reply::Stranger);
        // One byte more or less belongs to nothing, where the function says how long a reply is.
        let bounded = !matches!(request, [43, 13, ..] | [0x42, ..]);
        for wrong in [&reply[..reply.len() - 1], &[reply, &[0]].concat()] {
            assert_eq!(match_reply(request, wrong) == Reply::Stranger, bounded, "{request:X?} {wrong:X?}");
        }
        for (_, reply, _) in GOOD.iter().filter(|g| g.0[0] != request[0]) {
            assert_eq!(match_reply(request, reply), Reply::Stranger);
        }
    }
    let strangers: [&[u8]; 7] =
        [&[], &[3], &[3, 2, 1, 2], &[3, 3, 1, 2, 3, 4], &[4, 4, 1, 2, 3, 4], &[0x83], &[0x84, 2]];
    for reply in strangers {
        assert_eq!(match_reply(&[3, 0, 10, 0, 2], reply), Reply::Stranger, "{reply:?}");
    }
    // Another address, value, quantity, subfunction, record, object id.
    for (request, reply) in [
        (&[6, 0, 10, 0, 2][..], &[6, 0, 11, 0, 2][..]),
        (&[16, 0, 5, 0, 3, 6, 0, 0, 0, 0, 0, 0], &[16, 0, 5, 0, 2]),
        (&[8, 0, 0, 1, 2], &[8, 0, 0, 1, 3]),
        (&[8, 0, 11, 0, 0], &[8, 0, 12, 0, 0]),
        (&[20, 7, 6, 0, 4, 0, 1, 0, 2], &[20, 4, 3, 6, 0, 0]),
        (&[22, 0, 4, 0, 0xF2, 0, 0x25], &[22, 0, 4, 0, 0xF2, 0, 0x26]),
        (&[43, 14, 1, 0], &[43, 14, 2, 1, 0, 0, 0]),
    ] {
        assert_eq!(match_reply(request, reply), Reply::Stranger, "{request:X?}");
    }
}

#[test]
fn answers_are_read_as_their_function_says() {
    let answer = |function: u8| {
        let (request, _, data) = GOOD.iter().find(|g| g.0[0] == function).unwrap();
        Answer::new(request, data)
    };
    assert_eq!(answer(7), Answer::ExceptionStatus(0x6D));
    assert_eq!(answer(11), Answer::EventCounter { busy: true, events: 0x108 });
    let log = Answer::EventLog { busy: false, events: 0x108, messages: 0x121, log: &[0x20, 0] };
    assert_eq!(answer(12), log);
    let Answer::Records(records) = answer(20) else { panic!() };
    assert_eq!(records.collect::<Vec<_>>(), [&[0x0D, 0xFE, 0, 0x20], &[0x33, 0xCD, 0, 0x40]]);
    let Answer::Identity(identity) = answer(43) else { panic!() };
    assert_eq!((identity.conformity, identity.more), (1, false));
    assert_eq!(identity.objects.collect::<Vec<_>>(), [(0, &b"A"[..]), (2, b"12")]);
    assert_eq!(answer(22), Answer::Written);
    assert_eq!(answer(0x42), Answer::Other(&[9]));
}

proptest! {
    #[test]
    fn no_reply_panics(
        request in prop::collection::vec(any::<u8>(), 0..=20), reply in prop::collection::vec(any::<u8>(), 0..=MAX_PDU),
        function in 0..=44u8, same in any::<bool>(),
    ) {
        let (mut request, mut reply) = (request, reply);
        if same && !request.is_empty() && !reply.is_empty() {
            (request[0], reply[0]) = (function, function);
        }
        if let Reply::Done(data) = match_reply(&request, &reply) {
            match Answer::new(&request, data) {
                Answer::Records(records) => { prop_assert!(records.flatten().count() <= reply.len()); }
                Answer::Identity(identity) => { prop_assert!(identity.objects.count() <= reply.len()); }
                _ => {}
            }
            let (_, count) = shape(&request, data);
            prop_assert!(count <= 8 * data.len());
        }
    }

    #[test]
    fn a_bent_example_never_panics(which in 0..GOOD.len(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let (request, reply, _) = GOOD[which];
        let mut bent = reply.to_vec();
        bent[at.index(reply.len())] = to;
        if let Reply::Done(data) = match_reply(request, &bent) {
            Answer::new(request, data);
        }
    }
}
