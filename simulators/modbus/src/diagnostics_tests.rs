use crate::slave::bench::*;

/// What a subfunction of function 8 answers.
fn told(b: &mut Bench, unit: u8, subfunction: u8) -> Option<u16> {
    match b.ask(unit, &[8, 0, subfunction, 0, 0])[..] {
        [8, 0, again, high, low] if again == subfunction => Some(u16::from_be_bytes([high, low])),
        [] => None,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn query_data_comes_back() {
    let mut b = Bench::new();
    for data in [&[0xA5, 0x37][..], &[1, 2, 3, 4, 5, 6], &[7; 250]] {
        let pdu = [&[8, 0, 0], data].concat();
        assert_eq!(b.ask(1, &pdu), pdu);
    }
    assert_eq!(told(&mut b, 1, 2), Some(0));
}

#[test]
fn counters_are_true_for_each_unit() {
    let mut b = Bench::new();
    b.alive().send(&read(2, 1)).send(&read_reply(2, &[1])).send(&adu(0, &[6, 0, 9, 0, 1]));
    b.send(&noise(9)).send(&[1]).send(&adu(1, &[0x42])).replies();
    // Each question is a message itself.
    assert_eq!(told(&mut b, 1, 11), Some(6), "bus messages");
    assert_eq!(told(&mut b, 3, 11), Some(7));
    assert_eq!(told(&mut b, 1, 12), Some(2), "communication errors");
    assert_eq!(told(&mut b, 1, 13), Some(1), "exceptions");
    assert_eq!(told(&mut b, 3, 13), Some(0));
    assert_eq!(told(&mut b, 1, 14), Some(7), "processed: read, broadcast, 0x42 and four questions");
    assert_eq!(told(&mut b, 3, 14), Some(4), "broadcast and three questions");
    assert_eq!(told(&mut b, 1, 15), Some(1), "without a reply: the broadcast");
    assert_eq!((told(&mut b, 1, 16), told(&mut b, 1, 17)), (Some(0), Some(0)));
    // A frame without an end that begins with the id of a unit.
    let mut endless = vec![1; 300];
    endless[1] = 3;
    b.send(&endless);
    assert_eq!((told(&mut b, 1, 18), told(&mut b, 3, 18)), (Some(1), Some(0)));
    assert_eq!((told(&mut b, 1, 20), told(&mut b, 1, 18)), (Some(0), Some(0)));
    // Clearing is for one unit only, and counts from there.
    assert_eq!(told(&mut b, 1, 10), Some(0));
    assert_eq!(told(&mut b, 1, 11), Some(1));
    assert_eq!((told(&mut b, 1, 12), told(&mut b, 1, 13), told(&mut b, 1, 15)), (Some(0), Some(0), Some(0)));
    assert_eq!(told(&mut b, 3, 12), Some(3));
}

#[test]
fn a_unit_that_listens_only_does_nothing_until_it_is_restarted() {
    let mut b = Bench::new();
    b.alive();
    assert_eq!(told(&mut b, 1, 4), None);
    b.send(&good()).send(&adu(1, &[6, 0, 0, 0, 1])).send(&adu(1, &[0x42])).silent();
    b.send(&adu(0, &[6, 0, 0, 0, 1])).silent();
    assert_eq!(told(&mut b, 1, 11), None);
    // The other unit goes on, and has obeyed.
    b.send(&read(3, 1));
    assert_eq!(b.replies(), [read_reply(3, &[1])]);
    // The restart is not answered, and clears the counters.
    assert!(b.ask(1, &[8, 0, 1, 0, 0]).is_empty());
    b.alive();
    assert_eq!((told(&mut b, 1, 14), told(&mut b, 1, 15)), (Some(2), Some(0)));
    // A restart of a unit that talks is answered.
    assert_eq!(b.ask(1, &[8, 0, 1, 0xFF, 0]), [8, 0, 1, 0xFF, 0]);
    assert_eq!(b.totals().unanswered, 6);
}

#[test]
fn events_are_counted_and_logged() {
    let mut b = Bench::new();
    assert_eq!(b.ask(1, &[11]), [11, 0, 0, 0, 0]);
    b.alive().alive().send(&adu(1, &[3, 0, 250, 0, 1])).replies();
    assert_eq!(b.ask(1, &[11]), [11, 0, 0, 0, 2]);
    // Newest first: this query, event counter, exception 2, two good ones, event counter.
    let log = [0x80, 0x40, 0x80, 0x41, 0x80, 0x40, 0x80, 0x40, 0x80, 0x40, 0x80];
    assert_eq!(b.ask(1, &[12]), [&[12, 17, 0, 0, 0, 2, 0, 6][..], &log].concat());
    b.send(&noise(9)).send(&adu(0, &[6, 0, 9, 0, 1]));
    let reply = b.ask(1, &[12]);
    assert_eq!(reply[8..12], [0x80, 0x40, 0xC0, 0x82]);
    assert_eq!(reply[4..6], [0, 3], "a fetched log is an event");
    // 64 are kept.
    for _ in 0..40 {
        b.alive();
    }
    let reply = b.ask(1, &[12]);
    assert_eq!((reply.len(), reply[1]), (72, 70));
    // Listening only, and restarting with the log cleared.
    assert_eq!(told(&mut b, 1, 4), None);
    b.send(&good());
    assert!(b.ask(1, &[8, 0, 1, 0, 0]).is_empty());
    let reply = b.ask(1, &[12]);
    assert_eq!(reply[8..15], [0x80, 0x00, 0x60, 0xA0, 0x60, 0xA0, 0x60]);
    assert_eq!(reply[4..8], [0, 0, 0, 1]);
    assert_eq!(b.ask(1, &[8, 0, 1, 0xFF, 0]).len(), 5);
    assert_eq!(b.ask(1, &[12]), [12, 8, 0, 0, 0, 0, 0, 1, 0x80, 0x00]);
    // The other unit has a log of its own.
    assert_eq!(b.ask(3, &[11])[..3], [11, 0, 0]);
}
