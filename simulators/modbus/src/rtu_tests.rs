use hilrig_port::SerialOptions;
use proptest::prelude::*;

use super::*;

const FORMAT: &str = "8E1";

#[test]
fn silences_follow_the_baud_rate_up_to_19200() {
    let at = |baud| Timing::new(baud, FORMAT.parse().unwrap());
    assert_eq!(at(9600).t35, Duration::from_nanos(4_010_416));
    assert_eq!(at(19200).t35, Duration::from_nanos(2_005_208));
    assert_eq!(at(19200).t15, Duration::from_nanos(859_375));
    assert_eq!(at(19201).t35, Duration::from_micros(1750));
    assert_eq!(at(115_200).t15, Duration::from_micros(750));
    assert_eq!(at(19200).character, Duration::from_nanos(572_916));
    // The silences are those of 11-bit characters, whatever the characters are.
    let short = Timing::new(9600, SerialOptions::default().format);
    assert_eq!((short.character, short.t35), (Duration::from_nanos(1_041_666), at(9600).t35));
    assert_eq!(at(9600).tolerance(Duration::from_millis(1)).silence, at(9600).t35);
    assert_eq!(at(9600).tolerance(Duration::from_millis(16)).silence, Duration::from_millis(16));
    assert!(at(0).silence > Duration::from_secs(1));
}

#[test]
fn lengths_are_known_where_the_function_code_says_them() {
    use Form::{Reply, Request};
    for (form, frame, length) in [
        (Request, &[1, 3][..], Some(8)),
        (Request, &[1, 16, 0, 0, 0, 2], None),
        (Request, &[1, 16, 0, 0, 0, 2, 4], Some(13)),
        (Request, &[1, 23, 0, 0, 0, 1, 0, 0, 0, 1, 2], Some(15)),
        (Request, &[1, 43, 14], Some(7)),
        (Request, &[1, 43, 13], None),
        (Request, &[1, 0x42], None),
        (Request, &[1, 0x83], None),
        (Reply, &[1, 3, 20], Some(25)),
        (Reply, &[1, 16], Some(8)),
        (Reply, &[1, 0x83], Some(5)),
        (Reply, &[1, 24, 1, 0], Some(262)),
        (Reply, &[1], None),
    ] {
        assert_eq!(announced_length(form, frame), length, "{form:?} {frame:?}");
    }
}

fn framed(bytes: &[u8]) -> Framer {
    let mut framer = Framer::new(&Timing::new(19200, FORMAT.parse().unwrap()));
    bytes.iter().for_each(|&b| framer.push(Time(1), b));
    framer
}

#[test]
fn silence_judges_the_whole() {
    let mut good = [0; MAX_FRAME];
    let len = frame(1, &[0x42, 9, 9], &mut good);
    assert_eq!(framed(&good[..len]).judge(), Chunk::Frame);
    assert_eq!(framed(&good[..len]).pdu(), [0x42, 9, 9]);
    assert_eq!(framed(&good[..len - 1]).judge(), Chunk::BadCrc);
    assert_eq!(framed(&good[..3]).judge(), Chunk::Short);
    assert_eq!(framed(&[7; 256]).judge(), Chunk::BadCrc);
    let long = framed(&[7; 300]);
    assert_eq!((long.judge(), long.collected(), long.frame().len()), (Chunk::Overflow, 300, 256));
    assert_eq!(framed(&[]).silence_ends(), None);
    assert_eq!(framed(&[0]).silence_ends(), Some(Time(2_005_209)));
}

proptest! {
    #[test]
    fn a_frame_keeps_its_pdu(unit in any::<u8>(), pdu in prop::collection::vec(any::<u8>(), 1..=MAX_PDU)) {
        let mut out = [0; MAX_FRAME];
        let len = frame(unit, &pdu, &mut out);
        let framer = framed(&out[..len]);
        prop_assert_eq!(framer.judge(), Chunk::Frame);
        prop_assert_eq!(framer.pdu(), &pdu[..]);
        prop_assert_eq!(framer.frame()[0], unit);
    }
}
