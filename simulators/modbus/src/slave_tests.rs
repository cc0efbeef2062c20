use hilrig_points::{Plant, Table, Unit, UnitError};
use proptest::prelude::*;

use super::bench::*;
use super::*;

#[test]
fn each_unit_answers_for_itself() {
    let mut b = Bench::new();
    b.send(&read(3, 1)).send(&read(2, 1)).send(&read(1, 1));
    assert_eq!(b.replies(), [read_reply(3, &[3000]), read_reply(1, &[1000])]);
    assert_eq!((b.totals().requests, b.totals().replies, b.totals().other_units), (2, 2, 1));
}

#[test]
fn the_reply_leaves_t35_after_the_request_and_not_before() {
    let mut b = Bench::new();
    b.bytes(&good());
    let due = b.now + T35;
    b.wait(T35 - Duration::from_nanos(1)).silent();
    b.wait(Duration::from_nanos(1));
    assert_eq!(b.said, [(due, good_reply())]);
    assert_eq!(b.slave.deadline(), None);
}

#[test]
fn noise_with_silence_around_costs_nothing() {
    for len in [1, 2, 3, 4, 5, 8, 20, 21, 255, 256, 257, 1000] {
        let mut b = Bench::new();
        b.send(&noise(len)).alive().send(&noise(len)).silent().alive();
        assert_eq!(b.totals().noise_bytes, 2 * len as u64, "{len}");
    }
    let mut b = Bench::new();
    b.send(&[0; 3]).send(&[0; 100]).send(&[0; 300]).alive();
    let t = b.totals();
    assert_eq!((t.short, t.crc_errors, t.overflows, t.noise_bytes), (1, 1, 1, 403));
}

#[test]
fn noise_glued_to_a_frame_costs_that_frame_at_most() {
    for len in [1, 5, 20, 255] {
        let mut b = Bench::new();
        // Before: never slide inside a chunk.
        b.send(&[noise(len), good()].concat()).silent().alive();
        // Behind: the frame was whole; the reply waits until the line is silent.
        b.send(&[good(), noise(len)].concat());
        assert_eq!(b.replies(), [good_reply()]);
        b.alive();
    }
}

#[test]
fn a_reply_waits_for_the_line_to_fall_silent() {
    let mut b = Bench::new();
    b.bytes(&good()).wait(T35 / 2).bytes(&[0xFF]);
    let due = b.now + T35;
    b.wait(PAUSE);
    assert_eq!(b.said, [(due, good_reply())]);
}

#[test]
fn half_frames_are_dropped_by_silence() {
    for cut in 1..8 {
        let mut b = Bench::new();
        b.send(&good()[..cut]).alive();
        // The other half does not make it a frame.
        b.send(&good()[..cut]).send(&good()[cut..]).silent().alive();
    }
}

#[test]
fn a_frame_may_pause_for_less_than_the_silence() {
    for cut in 1..8 {
        let mut b = Bench::new();
        b.bytes(&good()[..cut]).wait(T35 - Duration::from_nanos(1)).send(&good()[cut..]);
        assert_eq!(b.replies(), [good_reply()]);
        b.bytes(&good()[..cut]).wait(T35).send(&good()[cut..]).silent();
    }
}

#[test]
fn tolerance_stretches_the_silence_but_not_the_reply() {
    let mut b = Bench::new();
    let timing = Timing::new(19200, "8E1".parse().unwrap()).tolerance(Duration::from_millis(16));
    b.slave.framer = Framer::new(Framing::Rtu, &timing);
    b.slave.timing = timing;
    b.bytes(&good()[..3]).wait(Duration::from_millis(15)).bytes(&good()[3..]);
    let due = b.now + T35;
    b.wait(PAUSE);
    assert_eq!(b.said, [(due, good_reply())]);
}

#[test]
fn silence_is_noticed_without_a_call_at_the_deadline() {
    let mut b = Bench::new();
    b.bytes(&noise(5));
    b.now = b.now + PAUSE;
    b.bytes(&good()).wait(PAUSE);
    assert_eq!(b.replies(), [good_reply()]);
}

#[test]
fn other_units_traffic_is_understood() {
    // Request and reply of unit 2, then ours, without any silence between.
    for values in [1, 2, 10, 125] {
        let mut b = Bench::new();
        let reply = read_reply(2, &vec![0x0103; values]);
        b.send(&[read(2, values as u8), reply, good()].concat());
        assert_eq!(b.replies(), [good_reply()], "{values}");
        assert_eq!((b.totals().other_units, b.totals().noise_bytes), (2, 0));
    }
    // The same with silences, and with replies of the form of a request.
    let mut b = Bench::new();
    for pdu in [&[6, 0, 1, 0, 1][..], &[5, 0, 1, 0xFF, 0]] {
        b.send(&adu(2, pdu)).send(&adu(2, pdu)).alive();
        b.send(&[adu(2, pdu), adu(2, pdu), good()].concat());
        assert_eq!(b.replies(), [good_reply()]);
    }
    // An exception, and a write of many with its short reply.
    b.send(&[read(2, 1), adu(2, &[0x83, 2]), good()].concat());
    b.send(&[adu(2, &[16, 0, 0, 0, 1, 2, 9, 9]), adu(2, &[16, 0, 0, 0, 1]), good()].concat());
    assert_eq!(b.replies(), [good_reply(), good_reply()]);
}

#[test]
fn absent_units_cost_nothing() {
    let mut b = Bench::new();
    // Nobody answers for unit 2, and the next request comes at once, late, or after another one.
    for pause in [Duration::ZERO, T35, PAUSE, Duration::from_secs(5)] {
        for other in [read(2, 10), adu(2, &[16, 0, 0, 0, 1, 2, 9, 9]), adu(2, &[0x42, 1])] {
            b.bytes(&other).wait(pause.max(if other[1] == 0x42 { T35 } else { pause }));
            b.alive().send(&other).send(&other).silent().alive();
        }
    }
}

#[test]
fn a_request_inside_another_units_reply_is_not_for_us() {
    // The data of the reply holds a whole request to unit 1.
    let mut data = vec![3, 20, 0, 0];
    data.extend(good());
    data.resize(22, 0);
    let reply = adu(2, &data);
    assert_eq!(reply.len(), 25);
    let mut b = Bench::new();
    b.send(&read(2, 10)).send(&reply).silent().alive();
    b.send(&[read(2, 10), reply.clone()].concat()).silent().alive();
    // Even if the request to unit 2 was not heard, or the reply comes in pieces.
    b.send(&reply).silent().alive();
    b.bytes(&read(2, 10)).bytes(&reply[..4]).wait(T35 / 2).send(&reply[4..]).silent().alive();
}

#[test]
fn another_units_broken_reply_costs_nothing() {
    let mut b = Bench::new();
    let mut reply = read_reply(2, &[7; 10]);
    reply[9] ^= 1;
    b.send(&read(2, 10)).send(&reply).alive();
    b.send(&read(2, 10)).send(&reply[..12]).alive();
    assert_eq!(b.totals().crc_errors, 2);
}

#[test]
fn broadcasts_are_obeyed_and_not_answered() {
    let mut b = Bench::new();
    b.send(&adu(0, &[6, 0, 0, 0, 42])).send(&adu(0, &[16, 0, 1, 0, 1, 2, 0, 43])).silent();
    for id in [1, 3] {
        let get =
            |address| b.slave.plant().with(|p| p.unit(id).unwrap().get(Table::HoldingRegisters, address));
        assert_eq!([get(0), get(1)], [Some(42), Some(43)]);
    }
    b.send(&adu(0, &[3, 0, 0, 0, 1])).send(&adu(0, &[0x42])).send(&adu(0, &[6, 9, 9, 0, 1])).silent();
    assert_eq!(b.totals().broadcasts, 5);
    b.send(&read(1, 2));
    assert_eq!(b.replies(), [read_reply(1, &[42, 43])]);
}

#[test]
fn illegal_requests_with_a_good_crc_get_their_exception() {
    let mut b = Bench::new();
    for (pdu, code) in [
        (&[3, 0, 0, 0, 0][..], 3),
        (&[3, 0, 0, 0, 126], 3),
        (&[1, 0, 0, 7, 0xD1], 3),
        (&[3, 0, 200, 0, 1], 2),
        (&[3, 0xFF, 0xFF, 0, 2], 2),
        (&[5, 0, 0, 0x12, 0x34], 3),
        (&[16, 0, 0, 0, 2, 3, 1, 2, 3], 3),
        (&[16, 0, 0, 0, 2, 4, 1, 2, 3], 3),
        (&[16, 0, 0, 0, 2, 4, 1, 2, 3, 4, 5], 3),
        (&[16, 0, 0, 0x80, 0, 0], 3),
        (&[15, 0, 0, 0, 9, 1, 0], 3),
        (&[3, 0, 0, 0, 1, 0], 3),
        (&[3], 3),
        (&[0x42], 1),
        (&[0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9], 1),
        (&[8, 0, 5, 0, 0], 1),
        (&[8, 0, 4, 0, 1], 3),
        (&[8, 0, 3, b':', 0], 3),
        (&[7, 0], 3),
        (&[43, 14, 5, 0], 3),
        (&[43, 13, 0, 0], 1),
        (&[0, 1, 2], 1),
    ] {
        b.send(&adu(1, pdu));
        assert_eq!(b.replies(), [adu(1, &[pdu[0] | 0x80, code])], "{pdu:?}");
        b.alive();
    }
    let t = b.totals();
    assert_eq!((t.illegal_function, t.illegal_address, t.illegal_value), (5, 2, 15));
}

#[test]
fn a_frame_that_only_a_slave_can_send_is_not_answered() {
    let mut b = Bench::new();
    b.send(&adu(1, &[0x83, 2])).silent().alive();
    assert_eq!(b.totals().strays, 1);
}

#[test]
fn a_long_header_does_not_make_deaf() {
    let mut b = Bench::new();
    b.send(&[1, 16, 0, 0, 0, 123, 246]);
    for _ in 0..30 {
        b.alive();
    }
}

#[test]
fn an_old_reply_is_not_sent_when_the_master_has_gone_on() {
    let mut b = Bench::new();
    b.bytes(&read(3, 1)).send(&good());
    assert_eq!(b.replies(), [good_reply()]);
    b.bytes(&read(3, 1)).send(&read(2, 1)).silent();
    b.bytes(&read(3, 1)).send(&adu(0, &[6, 0, 5, 0, 1])).silent();
    // Even if nobody woke the slave in time to send it.
    b.bytes(&read(3, 1));
    b.now = b.now + Duration::from_secs(2);
    b.send(&good());
    assert_eq!(b.replies(), [good_reply()]);
    assert_eq!(b.totals().superseded, 4);
}

#[test]
fn a_line_that_goes_takes_its_half_frame_along() {
    for event in [LineEvent::Closed, LineEvent::Lost, LineEvent::Opened] {
        let mut b = Bench::new();
        b.bytes(&good()[..4]);
        b.slave.on_line(b.now, event, &mut b.tx);
        b.send(&good());
        assert_eq!(b.replies(), [good_reply()]);
        b.bytes(&good());
        b.slave.on_line(b.now, event, &mut b.tx);
        b.wait(PAUSE).silent().alive();
    }
}

#[test]
fn a_stalled_line_is_counted() {
    let mut b = Bench::new();
    let full = [0; hilrig_port::TX_CAPACITY];
    b.bytes(&good());
    assert!(b.tx.send(&full));
    b.slave.on_deadline(b.now + T35, &mut b.tx);
    assert_eq!((b.totals().stalled, b.totals().replies), (1, 0));
    b.tx.clear();
    b.alive();
}

#[test]
fn wrong_unit_ids_are_refused() {
    let mut plant = Plant::default();
    plant.add_unit(3, Unit::new()).unwrap();
    assert_eq!(plant.add_unit(0, Unit::new()), Err(UnitError::Id { id: 0 }));
    assert_eq!(plant.add_unit(248, Unit::new()), Err(UnitError::Id { id: 248 }));
    assert_eq!(plant.add_unit(3, Unit::new()), Err(UnitError::Twice { id: 3 }));
    for id in (1..=247).filter(|id| *id != 3) {
        plant.add_unit(id, Unit::new()).unwrap();
    }
    let mut b = Bench::new();
    b.slave = Slave::new(b.slave.timing, Shared::new(plant));
    b.send(&read(247, 1));
    assert_eq!(b.replies(), [adu(247, &[0x83, 2])]);
}

/// Traffic as a mutation may leave it.
fn mutated(seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |n: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as usize % n
    };
    let mut bytes = match next(6) {
        0 => good(),
        1 => adu(1, &[16, 0, 0, 0, 2, 4, 1, 2, 3, 4]),
        2 => [read(2, 10), read_reply(2, &[5; 10])].concat(),
        3 => adu(1, &[15, 0, 0, 0, 12, 2, 7, 7]),
        4 => adu(2, &[5, 0, 1, 0xFF, 0]),
        _ => adu(0, &[3, 0, 0, 0, 1]),
    };
    for _ in 0..=next(4) {
        let at = next(bytes.len());
        match next(5) {
            0 => bytes[at] ^= 1 << next(8),
            1 => bytes.truncate(at + 1),
            2 => bytes.insert(at, next(256) as u8),
            3 => drop(bytes.remove(at)),
            _ => bytes.extend(noise(next(40))),
        }
        if bytes.is_empty() {
            return vec![0];
        }
    }
    bytes
}

#[test]
fn ten_thousand_mutated_frames_cost_no_request() {
    let mut b = Bench::new();
    for seed in 0..10_000 {
        let bytes = mutated(seed);
        b.send(&bytes).said.clear();
        // A mutation may have written a register.
        let answered = b.totals().replies;
        b.send(&good());
        assert_eq!(b.totals().replies, answered + 1, "{seed}: {bytes:02X?}");
        assert_eq!(b.replies()[0].len(), good_reply().len(), "{seed}: {bytes:02X?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_at_any_time_are_survived(
        bursts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0..5_000_000u64), 1..8),
    ) {
        let mut b = Bench::new();
        for (bytes, pause) in bursts {
            b.bytes(&bytes).wait(Duration::from_nanos(pause));
        }
        b.wait(PAUSE).said.clear();
        b.send(&good());
        prop_assert_eq!(b.replies().len(), 1);
    }

    #[test]
    fn any_split_gives_the_same(seeds in prop::collection::vec(any::<u64>(), 1..4), cuts in prop::collection::vec(1..9usize, 1..9)) {
        let stream = seeds.iter().flat_map(|&s| [mutated(s), good()].concat()).collect::<Vec<_>>();
        let mut whole = Bench::new();
        whole.send(&stream);
        let mut split = Bench::new();
        let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            split.bytes(head);
            rest = tail;
        }
        split.wait(PAUSE);
        prop_assert_eq!(&whole.said, &split.said);
        prop_assert_eq!(whole.totals(), split.totals());
    }
}

#[test]
fn a_port_may_serve_some_of_the_units() {
    let mut b = Bench::with(|slave| slave.units(Some(&[3, 9])));
    b.send(&read(1, 1)).send(&read(9, 1)).silent();
    b.send(&read(3, 1));
    assert_eq!(b.replies(), [read_reply(3, &[3000])]);
    // A broadcast is for those that are served.
    b.send(&adu(0, &[6, 0, 0, 0, 7]));
    let get = |id| b.slave.plant().with(|p| p.unit(id).unwrap().get(Table::HoldingRegisters, 0));
    assert_eq!((get(1), get(3)), (Some(1000), Some(7)));
}

#[test]
fn a_unit_on_several_ports_has_one_memory_and_separate_diagnostics() {
    let mut b = Bench::new();
    let timing = Timing::new(9600, "7E1".parse().unwrap());
    let mut other = Slave::new(timing, b.slave.plant().clone());
    let mut tx = Tx::default();
    other.on_bytes(Time(5), &adu(1, &[6, 0, 0, 0, 77]), &mut tx);
    other.on_deadline(Time(50_000_000), &mut tx);
    assert_eq!(tx.pending(), adu(1, &[6, 0, 0, 0, 77]));
    assert_eq!(b.ask(1, &[3, 0, 0, 0, 1]), [3, 2, 0, 77]);
    assert_eq!(b.ask(1, &[8, 0, 11, 0, 0]), [8, 0, 11, 0, 2]);
}

#[test]
fn units_of_an_exchanged_plant_are_served_after_a_refresh() {
    let mut b = Bench::new();
    let mut unit = Unit::new();
    unit.define(Table::HoldingRegisters, 0, [5].into_iter()).unwrap();
    let mut plant = Plant::default();
    plant.add_unit(2, unit).unwrap();
    b.alive();
    b.slave.plant().with(|old| *old = plant);
    b.slave.refresh();
    b.send(&read(1, 1)).silent();
    b.send(&read(2, 1));
    assert_eq!(b.replies(), [read_reply(2, &[5])]);
}

#[test]
fn a_line_on_which_nobody_listens_for_silence_may_be_answered_sooner() {
    let gap = Duration::from_micros(100);
    let mut b = Bench::with(|slave| slave.reply_gap(Some(gap)));
    b.bytes(&good());
    let due = b.now + gap;
    b.wait(PAUSE);
    assert_eq!(b.said, [(due, good_reply())]);
    b.replies();
    // Frames end as they did.
    b.replies();
    b.send(&noise(5)).silent().alive();
}

#[test]
fn without_a_gap_the_reply_leaves_with_the_request() {
    let mut b = Bench::with(|slave| slave.reply_gap(Some(AT_ONCE)));
    b.slave.on_bytes(b.now, &good(), &mut b.tx);
    assert_eq!(b.tx.pending(), good_reply());
    b.tx.clear();
    assert_eq!(b.slave.deadline(), None);
    b.send(&noise(5)).silent();
}

#[test]
fn the_reply_leaves_after_the_least_delay() {
    let least = Duration::from_millis(10);
    let mut b = Bench::with(|slave| slave.min_delay(least));
    b.bytes(&good());
    let due = b.now + least;
    b.wait(PAUSE);
    assert_eq!(b.said, [(due, good_reply())]);
}

#[test]
fn frames_are_recorded_for_who_watches() {
    use crate::framing::Chunk;
    let (sink, mut reader) = crate::frames(64);
    let mut b = Bench::with(|slave| slave.frames(sink.port(3)));
    b.alive();
    reader.watch(true);
    b.send(&good()).send(&adu(1, &[3, 0, 250, 0, 1])).send(&read(2, 1)).send(&read_reply(2, &[9]));
    b.send(&[1, 2, 3]).send(&adu(0, &[6, 0, 0, 0, 1]));
    let records: Vec<_> = std::iter::from_fn(|| reader.pop()).collect();
    let told: Vec<_> = records.iter().map(|r| (r.kind, r.number, r.unit, r.len)).collect();
    assert_eq!(
        told,
        [
            (FrameKind::Request, 2, 1, 5),
            (FrameKind::Reply, 2, 1, 6),
            (FrameKind::Request, 3, 1, 5),
            (FrameKind::Exception, 3, 1, 2),
            (FrameKind::OtherRequest, 4, 2, 5),
            (FrameKind::OtherReply, 4, 2, 4),
            (FrameKind::Noise(Chunk::Short), 4, 0, 3),
            (FrameKind::Request, 5, 0, 5),
        ]
    );
    assert_eq!(records[0].pdu(), [3, 0, 0, 0, 2]);
    assert_eq!((records[0].port, records[1].at - records[0].at), (3, T35));
}

#[test]
fn a_reply_is_expected_for_as_long_as_the_response_time() {
    // Of function 6 nothing but time tells a reply from the request once more.
    let other = adu(2, &[6, 0, 1, 0, 1]);
    for (pause, kind) in [(900, FrameKind::OtherReply), (1100, FrameKind::OtherRequest)] {
        let (sink, mut reader) = crate::frames(64);
        let mut b = Bench::with(|slave| slave.frames(sink).response_time(Duration::from_secs(1)));
        reader.watch(true);
        b.bytes(&other).wait(Duration::from_millis(pause)).send(&other);
        let kinds: Vec<_> = std::iter::from_fn(|| reader.pop()).map(|r| r.kind).collect();
        assert_eq!(kinds, [FrameKind::OtherRequest, kind]);
        b.alive();
    }
}
