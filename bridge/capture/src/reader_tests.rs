use super::*;
use crate::blocks::{self, PacketBlock, Statistics};
use crate::packet::{pdu_header, rtac_header};
use proptest::prelude::*;

fn all(bytes: &[u8]) -> (Vec<Packet>, Reader<&[u8]>, Option<ReadError>) {
    let mut reader = Reader::new(bytes);
    let mut packets = Vec::new();
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return (packets, reader, None),
            Err(e) => return (packets, reader, Some(e)),
        }
    }
}

/// A block by hand, big-endian.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (12 + body.len() as u32).to_be_bytes();
    [&kind.to_be_bytes()[..], &length, body, &length].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn big_section() -> Vec<u8> {
    block(SECTION, &words(&[BYTE_ORDER, 0x0001_0000, u32::MAX, u32::MAX]))
}

#[test]
fn a_big_endian_file_of_another_writer_is_read() {
    let mut file = big_section();
    // Something unknown, then an interface with microseconds by default, one in units of 2^-10 s with an offset.
    file.extend(block(0x0BAD, &words(&[1, 2, 3])));
    file.extend(block(1, &words(&[250 << 16, 0])));
    let resolution = [
        &words(&[250 << 16, 20])[..],
        &[0, 9, 0, 1, 0x8A, 0, 0, 0],
        &[0, 14, 0, 8],
        &100u64.to_be_bytes(),
        &[0, 0, 0, 0],
    ];
    file.extend(block(1, &resolution.concat()));
    let rtac = [&rtac_header(5, Event::RxStart, Lines::CTS)[..], b"abc\0"].concat();
    let epb = |interface, high, low| [&words(&[interface, high, low, 15, 15])[..], &rtac].concat();
    file.extend(block(6, &epb(0, 0, 7)));
    file.extend(block(6, &epb(1, 0, 1024 + 512)));
    file.extend(block(3, &[&words(&[15])[..], &rtac].concat()));
    let (packets, reader, error) = all(&file);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(packets.iter().map(|p| p.at).collect::<Vec<_>>(), [7_000, 101_500_000_000, 101_500_000_000]);
    assert_eq!((packets[0].flow, packets[0].event), (Some(Flow::In), Some(Event::RxStart)));
    assert_eq!((packets[2].interface, packets[2].bytes.as_slice()), (0, &b"abc"[..]));
    assert_eq!((reader.sections(), reader.cut_at()), (1, None));
}

#[test]
fn resolutions_are_those_of_the_standard() {
    let at = |resolution, ticks| Interface { resolution, ..Interface::default() }.nanoseconds(ticks);
    assert_eq!(at(9, 12), 12);
    assert_eq!(at(6, 12), 12_000);
    assert_eq!(at(0, 2), 2_000_000_000);
    assert_eq!(at(12, 12_345), 12);
    assert_eq!(at(0x80 | 1, 3), 1_500_000_000);
    for resolution in 0..=255 {
        for ticks in [0, 1, u64::MAX] {
            at(resolution, ticks);
        }
    }
}

#[test]
fn errors_say_where_and_what() {
    let error = |file: &[u8]| all(file).2.unwrap().to_string();
    assert_eq!(error(b"nothing of the kind"), "at byte 0: this is not a pcapng file");
    assert!(error(&0xA1B2_3C4Du32.to_le_bytes().repeat(6)).contains("editcap -F pcapng"));
    let section = big_section();
    let with = |more: &[u8]| [&section[..], more].concat();
    assert_eq!(
        error(&with(&block(6, &words(&[3, 0, 0, 0, 0])))),
        "at byte 28: a block is about interface 3, which the file has not described"
    );
    assert_eq!(
        error(&with(&words(&[6, 13, 0]))),
        "at byte 28: a block says that it has 13 bytes, which no block has"
    );
    assert!(error(&with(&words(&[6, 0xF000_0000, 0]))).contains("which no block has"));
    assert!(error(&with(&words(&[6, 16, 0, 20]))).contains("another size by its last"));
    let short = block(6, &words(&[0, 0, 0, 400, 400]));
    assert!(error(&with(&[&block(1, &words(&[250 << 16, 0]))[..], &short].concat())).contains("too short"));
    let no_rtac = [&block(1, &words(&[250 << 16, 0]))[..], &block(6, &words(&[0, 0, 0, 4, 4, 0]))].concat();
    assert!(error(&with(&no_rtac)).contains("too short for RTAC serial"));
}

#[derive(Debug, Clone)]
struct Sample {
    interface: u32,
    at: u64,
    flow: Option<Flow>,
    event: Event,
    lines: u8,
    data: Vec<u8>,
    comments: Vec<String>,
}

fn sample() -> impl Strategy<Value = Sample> {
    let flow = prop_oneof![Just(None), Just(Some(Flow::In)), Just(Some(Flow::Out))];
    let comments = prop::collection::vec("[a-zé ]{0,40}", 0..3);
    let data = prop::collection::vec(any::<u8>(), 0..80);
    (0u32..4, any::<u64>(), flow, any::<u8>(), 0u8..64, data, comments).prop_map(
        |(interface, at, flow, event, lines, data, comments)| Sample {
            interface,
            at,
            flow,
            event: Event::numbered(event),
            lines,
            data,
            comments,
        },
    )
}

fn write(samples: &[Sample]) -> Vec<u8> {
    let mut file = Vec::new();
    blocks::section(&mut file, "test");
    for i in 0..4 {
        blocks::interface(
            &mut file,
            if i < 3 { RTAC_SERIAL } else { EXPORTED_PDU },
            &format!("port {i}"),
            "é",
        );
    }
    for s in samples {
        let mut header = Vec::new();
        match s.interface {
            3 => pdu_header("mbrtu", 0, s.flow.unwrap_or(Flow::Out), &mut header),
            _ => header.extend_from_slice(&rtac_header(s.at, s.event, Lines(s.lines))),
        }
        let packet = PacketBlock {
            interface: s.interface,
            at: s.at,
            flow: s.flow,
            header: &header,
            data: &s.data,
            comments: &s.comments,
        };
        blocks::packet(&mut file, &packet);
    }
    blocks::statistics(&mut file, 1, &Statistics { received: 7, dropped: 2, ..Statistics::default() });
    file
}

proptest! {
    #[test]
    fn what_is_written_is_read(samples in prop::collection::vec(sample(), 0..20)) {
        let file = write(&samples);
        let (packets, reader, error) = all(&file);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(packets.len(), samples.len());
        for (got, want) in packets.iter().zip(&samples) {
            prop_assert_eq!((got.interface, got.at), (want.interface as usize, want.at));
            prop_assert_eq!((&got.bytes, &got.comments), (&want.data, &want.comments));
            if want.interface < 3 {
                prop_assert_eq!((got.event, got.lines), (Some(want.event), Lines(want.lines)));
            } else {
                prop_assert_eq!(got.flow, Some(want.flow.unwrap_or(Flow::Out)));
            }
            if want.flow.is_some() {
                prop_assert_eq!(got.flow, want.flow);
            }
        }
        let statistics = &reader.interfaces()[1];
        prop_assert_eq!((statistics.received, statistics.dropped), (Some(7), Some(2)));
    }

    #[test]
    fn a_file_that_ends_anywhere_gives_what_is_whole(
        samples in prop::collection::vec(sample(), 1..8),
        place in any::<prop::sample::Index>(),
    ) {
        let file = write(&samples);
        let whole = all(&file).0;
        let cut = place.index(file.len());
        let (packets, reader, error) = all(&file[..cut]);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(&packets[..], &whole[..packets.len()]);
        prop_assert!(reader.cut_at().is_none_or(|at| at < cut as u64));
        prop_assert!(packets.len() == whole.len() || reader.cut_at().is_some() || whole[packets.len()].offset == cut as u64
            || cut < whole[0].offset as usize);
    }

    #[test]
    fn a_spoilt_file_is_an_error_with_its_place_and_no_panic(
        samples in prop::collection::vec(sample(), 1..8),
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
    ) {
        let mut file = write(&samples);
        for (place, byte) in spoil {
            let i = place.index(file.len());
            file[i] = byte;
        }
        if let Some(ReadError::Bad { offset, .. }) = all(&file).2 {
            prop_assert!(offset < file.len() as u64);
        }
        if let Ok(recording) = crate::Recording::read(&file[..], None) {
            prop_assert!(crate::Player::new(recording, crate::PlaySpec::default()).is_ok());
        }
    }
}
