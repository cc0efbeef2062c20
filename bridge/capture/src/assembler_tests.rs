use super::*;

const MS: u64 = 1_000_000;

fn record(at: u64, kind: TapKind, side: u8, bytes: &[u8]) -> TapRecord<'_> {
    TapRecord { at: Time(at), kind, side, lines: Lines::DTR, value: 0, bytes }
}

fn link() -> LinkInfo {
    LinkInfo::new("line", ["pty:a".into(), "pty:b".into()], Duration::from_micros(1000))
}

/// As text: time, side, event and bytes of each packet, and its comments.
fn text(assembler: &mut Assembler, now: Option<u64>) -> Vec<String> {
    let made = assembler.release(now.map(Time));
    let one = |m: &Made| {
        let bytes = String::from_utf8_lossy(assembler.bytes(m));
        let comments = m.comments.iter().map(|c| format!(" ({c})")).collect::<String>();
        format!("{} {} {:?} {bytes}{comments}", m.at.0 / MS, m.side, m.event)
    };
    let text = made.iter().map(one).collect();
    assembler.reuse(made);
    text
}

#[test]
fn a_frame_holds_back_what_began_after_it() {
    let (mut a, link) = (Assembler::new(Framing::Silence(None), Points::Out), link());
    a.record(&link, &record(0, TapKind::Out, 1, b"ab"));
    a.record(&link, &record(MS, TapKind::Lines, 0, b""));
    a.record(&link, &record(2 * MS, TapKind::Out, 1, b"c"));
    a.record(&link, &record(3 * MS, TapKind::In, 0, b"not shown"));
    a.tick(Time(21 * MS));
    assert!(text(&mut a, Some(21 * MS)).is_empty());
    a.tick(Time(22 * MS));
    assert_eq!(text(&mut a, Some(22 * MS)), ["0 1 TxStart abc", "1 0 Status "]);
}

#[test]
fn what_a_station_hears_and_says_on_one_line_parts_each_other() {
    let (mut a, link) = (Assembler::new(Framing::Silence(None), Points::Both), link());
    // One character is 1 ms here: the requests come closer than a busy machine's patience, but with an answer between.
    for (at, kind, bytes) in [
        (0, TapKind::In, &b"one"[..]),
        (5, TapKind::Out, b"1"),
        (10, TapKind::In, b"two"),
        (15, TapKind::Out, b"2"),
    ] {
        a.record(&link, &record(at * MS, kind, 0, bytes));
    }
    a.finish();
    assert_eq!(
        text(&mut a, None),
        ["0 0 RxStart one", "5 0 TxStart 1", "10 0 RxStart two", "15 0 TxStart 2"]
    );
}

#[test]
fn records_of_two_links_come_in_order_of_time() {
    let mut a = Assembler::new(Framing::Raw, Points::Both);
    let (one, two) = (link(), link());
    a.record(&one, &record(MS, TapKind::In, 0, b"1"));
    a.record(&one, &record(3 * MS, TapKind::Out, 1, b"3"));
    a.record(&two, &record(2 * MS, TapKind::In, 0, b"2"));
    a.record(&two, &record(9 * MS, TapKind::In, 0, b"later"));
    assert_eq!(text(&mut a, Some(4 * MS)), ["1 0 RxStart 1", "2 0 RxStart 2", "3 1 TxStart 3"]);
    assert_eq!(text(&mut a, None), ["9 0 RxStart later"]);
}

fn fault(at: u64, side: u8) -> TapRecord<'static> {
    TapRecord { value: 5, ..record(at, TapKind::Fault, side, &[7, 0, 0, 0, 2, 0, 0, 0]) }
}

#[test]
fn a_fault_is_a_remark_on_the_frame_it_is_about() {
    for before in [true, false] {
        let (mut a, link) = (Assembler::new(Framing::Silence(None), Points::Out), link());
        link.rules.name(7, "flip: corrupt");
        if before {
            a.record(&link, &fault(MS, 1));
        }
        a.record(&link, &record(MS, TapKind::Out, 1, b"ab"));
        if !before {
            a.record(&link, &fault(MS, 1));
        }
        a.record(&link, &record(2 * MS, TapKind::Out, 1, b"c"));
        a.tick(Time(30 * MS));
        assert_eq!(
            text(&mut a, Some(30 * MS)),
            ["1 1 TxStart abc (fault flip: corrupt, a->b at byte 5, 2 bytes)"]
        );
    }
}

#[test]
fn a_fault_is_no_remark_on_a_frame_that_was_over_before() {
    let (mut a, link) = (Assembler::new(Framing::Silence(None), Points::Out), link());
    a.record(&link, &record(0, TapKind::Out, 1, b"before"));
    a.record(&link, &record(5 * MS, TapKind::Out, 0, b"answer"));
    a.record(&link, &fault(10 * MS, 1));
    a.record(&link, &record(11 * MS, TapKind::Out, 1, b"it"));
    a.tick(Time(40 * MS));
    let expected = [
        "0 1 TxStart before",
        "5 0 TxStart answer",
        "11 1 TxStart it (fault rule 7, a->b at byte 5, 2 bytes)",
    ];
    assert_eq!(text(&mut a, Some(40 * MS)), expected);
}

#[test]
fn a_fault_that_left_nothing_is_a_packet_of_its_own() {
    let (mut a, link) = (Assembler::new(Framing::Raw, Points::Out), link());
    a.record(&link, &fault(MS, 0));
    a.record(&link, &record(3 * MS, TapKind::Out, 1, b"x"));
    a.tick(Time(5 * MS));
    assert!(text(&mut a, Some(5 * MS)).is_empty(), "the remark may still find its packet");
    a.tick(Time(25 * MS));
    assert_eq!(
        text(&mut a, Some(25 * MS)),
        ["1 0 Status  (fault rule 7, b->a at byte 5, 2 bytes)", "3 1 TxStart x"]
    );
}

#[test]
fn before_the_faults_a_remark_is_on_what_came_from_the_sender() {
    let (mut a, link) = (Assembler::new(Framing::Raw, Points::In), link());
    a.record(&link, &record(2 * MS, TapKind::In, 0, b"ab"));
    a.record(&link, &fault(2 * MS, 1));
    assert_eq!(text(&mut a, Some(5 * MS)), ["2 0 RxStart ab (fault rule 7, a->b at byte 5, 2 bytes)"]);
}

#[test]
fn breaks_and_losses_part_frames_and_events_say_what_happened() {
    let (mut a, link) = (Assembler::new(Framing::Silence(None), Points::Both), link());
    a.record(&link, &record(0, TapKind::In, 0, b"ab"));
    a.record(&link, &record(MS, TapKind::BreakIn, 0, b""));
    a.record(&link, &record(2 * MS, TapKind::Error(CharError::Parity), 0, b""));
    a.record(&link, &record(2 * MS, TapKind::In, 0, b"c"));
    a.record(&link, &TapRecord { value: 44, ..record(3 * MS, TapKind::Lost, 0, b"") });
    a.record(&link, &record(4 * MS, TapKind::Gone, 1, b""));
    a.record(&link, &TapRecord { value: 9, ..record(5 * MS, TapKind::Discarded, 1, b"") });
    a.record(&link, &record(6 * MS, TapKind::Back, 1, b""));
    assert_eq!(
        text(&mut a, Some(6 * MS)),
        [
            "0 0 RxStart ab",
            "1 0 Break ",
            "2 0 ParityError ",
            "2 0 RxStart c",
            "3 0 DataLost  (44 bytes are missing here: the capture came too late for them)",
            "4 1 Status  (the port is gone: what is sent to it from here on is lost)",
            "5 1 Status  (9 bytes for this port were discarded: nobody was there)",
            "6 1 Status  (the port is back)",
        ]
    );
}
