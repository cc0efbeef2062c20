//! Captures of real links on a shard, and their replay onto real lines.
#![allow(clippy::unwrap_used)]

#[path = "../../port/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::time::Duration;

use common::{App, open, open_pty, pattern, runtime, wait_until};
use hilrig_capture::{
    CaptureSpec, Hub, LinkInfo, Outcome, PcapngSink, PlaySpec, Player, Points, Recording, Side, SinkReport,
    What,
};
use hilrig_port::{LinkOptions, Runtime, Shard, StationRef, TapPoints, tap};

/// Captures what two applications say to each other.
fn captured(file: &Path, runtime: &Runtime, said: &[(Side, &[u8])]) -> SinkReport {
    let ((a, a_end, _), (b, b_end, _)) = (open_pty("a", runtime), open_pty("b", runtime));
    let (shard, hub) = (Shard::start("test").unwrap(), Hub::start().unwrap());
    let (a_app, b_app) = (App::open(&a_end), App::open(&b_end));
    let (tap, reader) = tap(1 << 16);
    let info = LinkInfo::new("line", ["pty:a".into(), "pty:b".into()], Duration::from_micros(521));
    let spec = CaptureSpec { points: Points::Both, ..CaptureSpec::new(file) };
    let sink = hub.add(vec![info.key()], Box::new(PcapngSink::create(&spec).unwrap()));
    let key = hub.attach(info, reader);
    let options = LinkOptions { tap: Some(tap), tap_points: TapPoints::Both, ..LinkOptions::default() };
    let link = shard.add_link(a, b, options).unwrap();
    for (side, bytes) in said {
        let (from, to) = if *side == Side::A { (&a_app, &b_app) } else { (&b_app, &a_app) };
        from.write(bytes);
        assert_eq!(&to.read(bytes.len()), bytes);
    }
    let tap = shard.set_tap(&link, None, TapPoints::Out).unwrap().unwrap();
    hub.detach_after(key, tap.untold());
    hub.remove(sink)
}

fn replay(shard: &Shard, url: &str, runtime: &Runtime, recording: Recording, spec: PlaySpec) -> StationRef {
    shard.add_station(open(url, runtime), Box::new(Player::new(recording, spec).unwrap())).unwrap()
}

fn outcome(shard: &Shard, player: &StationRef) -> Outcome {
    let progress = || shard.with_station(player, |p: &mut Player, _, _| p.progress().clone()).unwrap();
    wait_until("the replay is over", || progress().outcome.is_some());
    progress().outcome.unwrap()
}

#[test]
fn a_link_is_captured_to_the_byte_and_its_replay_is_what_it_was() {
    let (tmp, runtime) = runtime();
    let file = tmp.path().join("x.pcapng");
    let long = pattern(20_000, 7);
    let said = [(Side::A, &b"ask"[..]), (Side::B, b"answer"), (Side::A, &long), (Side::B, b"thanks")];
    let report = captured(&file, &runtime, &said);
    assert_eq!((report.error, report.lost_bytes, report.bytes), (None, 0, 2 * 20_015));
    let recording = Recording::open(&file, None).unwrap();
    assert_eq!(recording.sent_by(Side::A), [b"ask", &long[..]].concat());
    assert_eq!(recording.sent_by(Side::B), b"answerthanks");

    let shard = Shard::start("test").unwrap();
    let spec = PlaySpec { only: Some(Side::A), speed: 0.0, expect: true, patience: Duration::from_secs(10) };
    let player = replay(&shard, "pty:again", &runtime, recording.clone(), spec);
    let app = App::open(&runtime.dir().join("again"));
    assert_eq!(app.read(3), b"ask");
    app.write(b"answer");
    assert_eq!(app.read(20_000), long);
    app.write(b"thanks");
    assert_eq!(outcome(&shard, &player), Outcome::Played);

    let player = replay(&shard, "pty:differs", &runtime, recording, spec);
    let app = App::open(&runtime.dir().join("differs"));
    assert_eq!(app.read(3), b"ask");
    app.write(b"ansxer");
    let Outcome::Differs(difference) = outcome(&shard, &player) else { panic!() };
    assert_eq!((difference.offset, difference.got.as_slice()), (3, &b"xer"[..]));
    assert_eq!(difference.expected, b"werthanks");
}

#[test]
fn a_break_and_lines_go_through_a_replay_where_the_port_can() {
    let (tmp, runtime) = runtime();
    let file = tmp.path().join("x.pcapng");
    // A program that uses a port of ours over RFC 2217 is replayed.
    let listen = open("rfc2217-listen:127.0.0.1:0", &runtime);
    let address = listen.local_addr().unwrap();
    let (far, far_end, _) = open_pty("far", &runtime);
    let (shard, hub) = (Shard::start("test").unwrap(), Hub::start().unwrap());
    let (sender, reader) = tap(1 << 16);
    let info = LinkInfo::new("line", ["listener".into(), "pty:far".into()], Duration::ZERO);
    let spec = CaptureSpec { points: Points::In, ..CaptureSpec::new(&file) };
    let sink = hub.add(vec![info.key()], Box::new(PcapngSink::create(&spec).unwrap()));
    hub.attach(info, reader);
    let options = LinkOptions { tap: Some(sender), tap_points: TapPoints::In, ..LinkOptions::default() };
    let link = shard.add_link(listen, far, options).unwrap();
    let app = App::open(&far_end);
    let mut recorded = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut recorded, &BREAK_AMONG_BYTES.concat()).unwrap();
    let recording = Recording::open(recorded.path(), None).unwrap();
    let client = Shard::start("client").unwrap();
    let player = replay(&client, &format!("rfc2217:{address}"), &runtime, recording, PlaySpec::default());
    assert_eq!(app.read(2), b"xy");
    assert_eq!(outcome(&client, &player), Outcome::Played);
    wait_until("the break has come", || link.ports()[0].snapshot().breaks == 1);
    drop(shard);
    let report = hub.remove(sink);
    assert_eq!((report.error, report.lost_bytes), (None, 0));
    let seen = Recording::open(&file, None).unwrap();
    let breaks = seen.moments.iter().filter(|m| m.side == Side::A && m.what == What::Break).count();
    assert_eq!((breaks, seen.sent_by(Side::A)), (1, b"xy".to_vec()));
}

/// A big-endian pcapng with microseconds, as another device writes it: transmits `x`, a break, `y`.
const BREAK_AMONG_BYTES: [&[u8]; 5] = [
    b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x1c",
    b"\0\0\0\x01\0\0\0\x14\0\xfa\0\0\0\0\0\0\0\0\0\x14",
    b"\0\0\0\x06\0\0\0\x30\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x0d\0\0\0\x0d\0\0\0\0\0\0\0\0\x01\0\0\0x\0\0\0\0\0\0\x30",
    b"\0\0\0\x06\0\0\0\x34\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x0c\0\0\0\x0c\0\0\0\0\0\0\0\0\x09\0\0\0\0\x02\0\x04\0\0\0\x02\0\0\0\x34",
    b"\0\0\0\x06\0\0\0\x30\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x0d\0\0\0\x0d\0\0\0\0\0\0\0\0\x01\0\0\0y\0\0\0\0\0\0\x30",
];
