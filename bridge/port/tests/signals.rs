//! What crosses a link beside bytes, end to end: applications and devices played by both ends of COM port control and by
//! loopback plugs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/wire.rs"]
mod wire;

use std::time::Duration;

use common::{App, event, open, open_pty, runtime, wait_until};
use hilrig_port::{
    Events, Happened, LineRouting, Lines, Link, LinkOptions, PortError, Runtime, Shard, Signal, TapKind, tap,
};
use wire::Wire;

/// A program at a network serial port: bytes at `app`, lines by the control side of `link`.
struct Client {
    link: Link,
    app: App,
    shard: Shard,
    events: Events,
}

/// Calls a port that listens.
fn client(name: &str, address: std::net::SocketAddr, runtime: &Runtime) -> Client {
    let (pty, far, _) = open_pty(name, runtime);
    let port = open(&format!("rfc2217:{address}?baud=19200"), runtime);
    let shard = Shard::start(name).unwrap();
    let link = shard.add_link(pty, port, LinkOptions::default()).unwrap();
    let events = shard.events();
    Client { link, app: App::open(&far), shard, events }
}

impl Client {
    fn drives(&self, lines: Lines) {
        self.shard.set_lines(&self.link, 1, Lines::DTR | Lines::RTS, lines).unwrap();
    }

    fn sees(&self, lines: Lines) {
        let sensed = Lines::CTS | Lines::DSR | Lines::DCD | Lines::RI;
        let port = &self.link.ports()[1];
        wait_until(&format!("{lines} is seen"), || port.snapshot().lines & sensed == lines);
    }
}

#[test]
fn between_two_applications_a_link_is_a_null_modem() {
    let (_tmp, runtime) = runtime();
    let (a, b) = (open("rfc2217-listen:127.0.0.1:0", &runtime), open("rfc2217-listen:127.0.0.1:0", &runtime));
    let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let shard = Shard::start("test").unwrap();
    let mut events = shard.events();
    let (tapped, mut reader) = tap(1 << 16);
    let options = LinkOptions { tap: Some(tapped), ..LinkOptions::default() };
    let link = shard.add_link(a, b, options).unwrap();
    let one = client("one", at_a, &runtime);
    let mut two = client("two", at_b, &runtime);

    one.drives(Lines::DTR | Lines::RTS);
    two.sees(Lines::CTS | Lines::DSR | Lines::DCD);
    one.drives(Lines::RTS);
    two.sees(Lines::CTS);
    two.drives(Lines::DTR);
    one.sees(Lines::DSR | Lines::DCD);
    event(&mut events, |side, what| match what {
        Happened::Lines(lines) if side == 1 && lines.has(Lines::DTR) => Some(()),
        _ => None,
    });
    let seen = link.ports()[0].snapshot().lines;
    assert_eq!(seen, Lines::RTS | Lines::DSR | Lines::DCD, "what A's end drives, and what it is shown");

    one.shard.send_break(&one.link, 1, Duration::from_millis(2)).unwrap();
    event(&mut events, |side, what| (side == 0 && what == Happened::Break).then_some(()));
    event(&mut two.events, |side, what| (side == 1 && what == Happened::Break).then_some(()));
    assert_eq!(link.ports()[0].snapshot().breaks, 1);

    one.app.write(b"bytes \xff too");
    assert_eq!(two.app.read(11), b"bytes \xff too");
    two.app.write(b"\xff\xff\r\n\0");
    assert_eq!(one.app.read(5), b"\xff\xff\r\n\0");

    // Whoever leaves drives nothing any more.
    let Client { link: gone, shard: its_shard, .. } = two;
    its_shard.remove_link(gone);
    one.sees(Lines::NONE);

    let mut kinds = Vec::new();
    while let Some(record) = reader.next_record() {
        kinds.push((record.kind, record.side));
    }
    for wanted in [(TapKind::Lines, 0), (TapKind::Lines, 1), (TapKind::BreakIn, 0), (TapKind::BreakOut, 1)] {
        assert!(kinds.contains(&wanted), "{wanted:?} is not recorded: {kinds:?}");
    }
}

#[test]
fn an_application_drives_a_device_and_sees_it() {
    let (_tmp, runtime) = runtime();
    let app = open("rfc2217-listen:127.0.0.1:0", &runtime);
    let address = app.local_addr().unwrap();
    let shard = Shard::start("test").unwrap();
    let mut events = shard.events();
    let link = shard.add_link(app, open("loop:", &runtime), LinkOptions::default()).unwrap();
    let one = client("one", address, &runtime);
    one.drives(Lines::DTR);
    one.sees(Lines::DSR | Lines::DCD);
    one.drives(Lines::DTR | Lines::RTS);
    one.sees(Lines::DSR | Lines::DCD | Lines::CTS);
    let device = link.ports()[1].clone();
    assert!(device.snapshot().lines.has(Lines::DTR | Lines::RTS));
    one.app.write(b"there and back");
    assert_eq!(one.app.read(14), b"there and back");
    // The far program sets its line; the device follows.
    one.app.set(|t| t.set_speed(38_400).unwrap());
    let settings = event(&mut events, |side, what| match what {
        Happened::Settings(s) if side == 0 && s.baud == 38_400 => Some(s),
        _ => None,
    });
    wait_until("the device is set", || device.snapshot().baud == 38_400);
    assert_eq!(device.snapshot().format, settings.format);
    // The control side may play the device.
    shard.set_lines(&link, 0, Lines::RI, Lines::RI).unwrap();
    one.sees(Lines::DSR | Lines::DCD | Lines::CTS | Lines::RI);

    // A device that goes takes its lines along; one that comes back is set as before.
    shard.lose_port(&link, 1, "pulled").unwrap();
    one.sees(Lines::NONE);
    let url = "loop:".parse().unwrap();
    let again = hilrig_port::OpenPort::reopen(&url, &runtime, device.clone(), &|| false).unwrap();
    shard.replace_port(&link, 1, again).unwrap();
    one.sees(Lines::DSR | Lines::DCD | Lines::CTS);
    assert_eq!((device.snapshot().baud, device.snapshot().reconnects), (38_400, 1));
    one.app.write(b"again");
    assert_eq!(one.app.read(5), b"again");
}

#[test]
fn between_devices_lines_cross_only_if_asked() {
    let (_tmp, runtime) = runtime();
    let shard = Shard::start("test").unwrap();
    for (lines, crosses) in
        [(LineRouting::Auto, false), (LineRouting::Off, false), (LineRouting::Cross, true)]
    {
        let options = LinkOptions { lines, ..LinkOptions::default() };
        let link = shard.add_link(open("loop:a", &runtime), open("loop:b", &runtime), options).unwrap();
        let both = Lines::DTR | Lines::RTS;
        shard.set_lines(&link, 0, both, both).unwrap();
        let [a, b] = link.ports();
        wait_until("its own lines come back", || a.snapshot().lines.has(Lines::CTS | Lines::DSR));
        if crosses {
            wait_until("they cross", || b.snapshot().lines.has(both));
        } else {
            // A question to the shard: what was to happen before it has happened.
            shard.set_lines(&link, 0, Lines::NONE, Lines::NONE).unwrap();
            assert_eq!(b.snapshot().lines, Lines::NONE, "{lines:?}");
        }
        shard.remove_link(link);
    }
}

#[test]
fn a_conduit_hears_every_signal_and_a_break_waits_its_turn_among_the_bytes() {
    let (_tmp, runtime) = runtime();
    let (a, b) = (open("rfc2217-listen:127.0.0.1:0", &runtime), open("rfc2217-listen:127.0.0.1:0", &runtime));
    let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let shard = Shard::start("test").unwrap();
    let (tapped, mut reader) = tap(1 << 16);
    let wire = Wire::new(Duration::from_millis(3), 0, 0);
    let options = LinkOptions { conduit: Some(Box::new(wire)), tap: Some(tapped), ..LinkOptions::default() };
    let link = shard.add_link(a, b, options).unwrap();
    let one = client("one", at_a, &runtime);
    let mut two = client("two", at_b, &runtime);
    one.drives(Lines::DTR);
    two.sees(Lines::DSR | Lines::DCD);
    one.app.write(b"before");
    assert_eq!(two.app.read(6), b"before");
    one.shard.send_break(&one.link, 1, Duration::from_millis(1)).unwrap();
    event(&mut two.events, |side, what| (side == 1 && what == Happened::Break).then_some(()));
    one.app.write(b"after");
    assert_eq!(two.app.read(5), b"after");
    let heard =
        shard.with_conduit(&link, |wire: &mut Wire, _| Vec::from(wire.ways[0].signals.clone())).unwrap();
    assert!(heard.iter().any(|s| matches!(s, Signal::Lines(lines) if lines.has(Lines::DTR))), "{heard:?}");
    assert!(heard.contains(&Signal::Break(true)) && heard.contains(&Signal::Break(false)), "{heard:?}");
    let mut order = Vec::new();
    while let Some(record) = reader.next_record() {
        if record.side == 1 && matches!(record.kind, TapKind::Out | TapKind::BreakOut) {
            order.push(record.kind);
        }
    }
    order.dedup();
    assert_eq!(order, [TapKind::Out, TapKind::BreakOut, TapKind::Out]);
}

#[test]
fn a_link_that_is_gone_is_said_to_be_gone() {
    let (_tmp, runtime) = runtime();
    let shard = Shard::start("test").unwrap();
    let link =
        shard.add_link(open("loop:a", &runtime), open("loop:b", &runtime), LinkOptions::default()).unwrap();
    let other = Shard::start("other").unwrap();
    let gone = other.send_break(&link, 0, Duration::ZERO).unwrap_err();
    assert!(matches!(gone, PortError::Gone { .. }), "{gone}");
}
