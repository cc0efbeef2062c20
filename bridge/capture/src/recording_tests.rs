use super::*;
use crate::blocks::{self, PacketBlock};
use crate::link::description;
use crate::packet::rtac_header;

struct Writer(Vec<u8>);

impl Writer {
    fn new(interfaces: &[(&str, &str)]) -> Self {
        let mut file = Vec::new();
        blocks::section(&mut file, "test");
        for (name, description) in interfaces {
            blocks::interface(&mut file, 250, name, description);
        }
        Self(file)
    }

    fn put(&mut self, interface: u32, at: u64, flow: Option<Flow>, event: Event, data: &[u8]) {
        let header = rtac_header(at, event, Lines::RTS);
        blocks::packet(
            &mut self.0,
            &PacketBlock { interface, at, flow, header: &header, data, comments: &[] },
        );
    }
}

/// Time in ns, side and what.
fn moments(recording: &Recording) -> Vec<(u128, Side, String)> {
    let what = |what: &What| match what {
        What::Bytes(range) => String::from_utf8_lossy(recording.bytes(range)).into_owned(),
        other => format!("{other:?}"),
    };
    recording.moments.iter().map(|m| (m.at.as_nanos(), m.side, what(&m.what))).collect()
}

fn ours(links: &[&str]) -> Writer {
    let names: Vec<_> =
        links.iter().flat_map(|l| [("pty:a", description(l, 0)), ("pty:b", description(l, 1))]).collect();
    Writer::new(&names.iter().map(|(n, d)| (*n, d.as_str())).collect::<Vec<_>>())
}

#[test]
fn what_went_to_a_port_was_sent_by_the_other_side() {
    let mut file = ours(&["line"]);
    file.put(1, 100, Some(Flow::Out), Event::TxStart, b"ask");
    file.put(0, 300, Some(Flow::Out), Event::TxStart, b"answer");
    file.put(1, 250, Some(Flow::Out), Event::Break, b"");
    file.put(0, 400, None, Event::Status, b"");
    file.put(0, 500, None, Event::DataLost, b"");
    let recording = Recording::read(&file.0[..], None).unwrap();
    assert_eq!((recording.link.as_str(), recording.gaps), ("line", 1));
    assert_eq!(recording.ports, ["pty:a", "pty:b"]);
    let want = [
        (0, Side::A, "ask".to_owned()),
        (150, Side::A, "Break".to_owned()),
        (200, Side::B, "answer".to_owned()),
        (300, Side::A, format!("{:?}", What::Lines(Lines::RTS))),
    ];
    assert_eq!(moments(&recording), want);
    assert_eq!(recording.sent_by(Side::B), b"answer");
}

#[test]
fn what_was_captured_at_both_ends_counts_once_as_it_was_sent() {
    let mut file = ours(&["line"]);
    file.put(0, 10, Some(Flow::In), Event::RxStart, b"as sent");
    file.put(1, 20, Some(Flow::Out), Event::TxStart, b"as it arrived");
    file.put(0, 30, Some(Flow::Out), Event::TxStart, b"back");
    let recording = Recording::read(&file.0[..], None).unwrap();
    assert_eq!(recording.sent_by(Side::A), b"as sent");
    assert_eq!(recording.sent_by(Side::B), b"back");
}

#[test]
fn a_capture_of_another_device_has_that_device_as_side_a() {
    let mut file = Writer::new(&[("", "")]);
    file.put(0, 10, None, Event::TxStart, b"sent");
    file.put(0, 20, None, Event::RxStart, b"received");
    file.put(0, 30, Some(Flow::In), Event::FramingError, b"x");
    let recording = Recording::read(&file.0[..], None).unwrap();
    assert_eq!(recording.sent_by(Side::A), b"sent");
    assert_eq!(recording.sent_by(Side::B), b"receivedx");
    assert_eq!(recording.moments[2].what, What::Error(CharError::Framing));
}

#[test]
fn with_several_links_one_has_to_be_named() {
    let mut file = ours(&["one", "two"]);
    file.put(0, 10, Some(Flow::In), Event::RxStart, b"1");
    file.put(2, 20, Some(Flow::In), Event::RxStart, b"2");
    let sentence = |link| Recording::read(&file.0[..], link).unwrap_err().to_string();
    assert!(sentence(None).contains("`one` and `two` among them"), "{}", sentence(None));
    assert_eq!(sentence(Some("three")), "the capture has no link `three`; it has `one`, `two`");
    assert_eq!(Recording::read(&file.0[..], Some("two")).unwrap().sent_by(Side::A), b"2");
    let empty = ours(&["one"]);
    let nothing = Recording::read(&empty.0[..], None).unwrap_err().to_string();
    assert_eq!(nothing, "nothing in this capture came from a serial line");
    let missing = Recording::open(Path::new("no/such.pcapng"), None).unwrap_err().to_string();
    assert!(missing.starts_with("cannot open no/such.pcapng: "), "{missing}");
}
