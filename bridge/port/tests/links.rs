//! Links with a conduit or a tap, and what they tell: exact accounts of bytes, records and events.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/wire.rs"]
mod wire;

use std::io::Write;
use std::time::Duration;

use common::{App, adds_up, event, open_pty, pattern, runtime, wait_until};
use hilrig_port::{
    CharError, Direction, Happened, Lines, Link, LinkOptions, PortError, PortState, Purge, Runtime, Shard,
    Signal, Station, TapKind, TapPoints, Time, Tx, tap,
};
use wire::Wire;

fn linked(runtime: &Runtime, options: LinkOptions) -> (Shard, Link, App, App) {
    let (a, far_a, _) = open_pty("a", runtime);
    let (b, far_b, _) = open_pty("b", runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(a, b, options).unwrap();
    (shard, link, App::open(&far_a), App::open(&far_b))
}

fn with(conduit: Wire) -> LinkOptions {
    LinkOptions { conduit: Some(Box::new(conduit)), ..LinkOptions::default() }
}

#[test]
fn a_conduit_delays_drops_and_inserts_both_ways_and_every_byte_is_accounted_for() {
    let (_tmp, runtime) = runtime();
    let rule = || Wire::new(Duration::from_micros(700), 101, 257);
    let (shard, link, app_a, app_b) = linked(&runtime, with(rule()));
    let (to_b, to_a) = (pattern(200_000, 1), pattern(200_000, 2));
    let (want_b, want_a) = (rule().expect(&to_b), rule().expect(&to_a));
    std::thread::scope(|s| {
        s.spawn(|| app_a.write(&to_b));
        s.spawn(|| app_b.write(&to_a));
        let got = s.spawn(|| app_b.read(want_b.len()));
        let mut back = Vec::new();
        while back.len() < want_a.len() {
            adds_up(&link.stats());
            back.extend(app_a.read((want_a.len() - back.len()).min(5000)));
        }
        assert!(back == want_a, "A got other bytes than the wire lets through");
        assert!(got.join().unwrap() == want_b, "B got other bytes than the wire lets through");
    });
    let all = want_b.len() as u64;
    wait_until("all is counted", || link.stats().directions.iter().all(|d| d.bytes_out == all));
    for d in link.stats().directions {
        assert_eq!((d.bytes_in, d.fault_bytes, d.inserted_bytes), (200_000, 200_000 / 101, 200_000 / 257));
        assert_eq!((d.bytes_out, d.discarded_bytes), (all, 0));
        assert!(d.messages > 0);
    }
    drop(shard);
    adds_up(&link.stats());
}

#[test]
fn a_conduit_stalls_its_sender_when_it_is_full_and_loses_nothing() {
    let (_tmp, runtime) = runtime();
    let (shard, link, app_a, app_b) = linked(&runtime, with(Wire::new(Duration::from_secs(3600), 0, 0)));
    let bytes = pattern(400_000, 3);
    let mut sent = 0;
    wait_until("the conduit is full and the line stalls", || {
        let n = app_a.write_some(&bytes[sent..]);
        sent += n;
        n == 0 && link.stats().directions[0].pending == 16_384
    });
    assert!(sent < bytes.len());
    // The other direction is free, apart from its own delay.
    shard.with_conduit(&link, |wire: &mut Wire, _| wire.delay = Duration::ZERO).unwrap();
    app_b.write(b"back");
    assert_eq!(app_a.read(4), b"back");
    adds_up(&link.stats());
    // Another conduit: what the old one held is gone, and counted; the rest goes on.
    let old = shard.set_conduit(&link, Some(Box::new(Wire::new(Duration::ZERO, 0, 0)))).unwrap().unwrap();
    let old: Box<dyn std::any::Any> = old;
    assert_eq!(old.downcast::<Wire>().unwrap().ways[1].signals.len(), 1, "B's settings");
    assert!(app_b.read(sent - 16_384) == bytes[16_384..sent]);
    wait_until("all is counted", || link.stats().directions[0].bytes_out == sent as u64 - 16_384);
    let d = &link.stats().directions[0];
    assert_eq!((d.bytes_in, d.discarded_bytes), (sent as u64, 16_384));
    // And none.
    assert!(shard.set_conduit(&link, None).unwrap().is_some());
    app_a.write(b"plain");
    assert_eq!(app_b.read(5), b"plain");
    assert!(shard.with_conduit(&link, |_: &mut Wire, _| ()).is_err());
    adds_up(&link.stats());
}

#[test]
fn a_conduit_that_panics_loses_its_link_with_the_reason_and_no_other() {
    let shard = Shard::start("test").unwrap();
    for call in ["push", "next", "account", "room"] {
        let (_tmp, runtime) = runtime();
        let (a, far_a, _) = open_pty("a", &runtime);
        let (b, far_b, _) = open_pty("b", &runtime);
        let link = shard.add_link(a, b, with(Wire::new(Duration::ZERO, 0, 0))).unwrap();
        let (app_a, app_b) = (App::open(&far_a), App::open(&far_b));
        app_a.write(b"good");
        assert_eq!(app_b.read(4), b"good");
        // What has become due goes out after a visit, so that some fail at once.
        shard.with_conduit(&link, |wire: &mut Wire, _| wire.fail = call).unwrap();
        let _ = (&app_a.0).write(b"bad");
        wait_until("the link is lost", || link.ports().iter().all(|p| p.state() == PortState::Lost));
        assert_eq!(link.ports()[1].snapshot().reason, "the conduit of this link failed: no more");
        adds_up(&link.stats());
        let d = &link.stats().directions[0];
        assert_eq!(d.bytes_out, 4);
        if call == "push" {
            assert_eq!((d.bytes_in, d.fault_bytes), (7, 3));
        }
        adds_up_after_removal(&shard, link);
    }
}

fn adds_up_after_removal(shard: &Shard, link: Link) {
    let last = shard.remove_link(link);
    adds_up(&last);
    assert!(last.directions.iter().all(|d| d.pending == 0), "{last:?}");
}

#[test]
fn what_fires_is_told_and_recorded() {
    let (_tmp, runtime) = runtime();
    let (tap, mut reader) = tap(1 << 16);
    let options = LinkOptions { tap: Some(tap), ..with(Wire::new(Duration::ZERO, 5, 0)) };
    let (shard, _link, app_a, app_b) = linked(&runtime, options);
    let mut events = shard.events();
    app_a.write(b"0123456789");
    assert_eq!(app_b.read(8), b"01235678");
    for position in [4, 9] {
        let (side, note) = event(&mut events, |side, what| match what {
            Happened::Fired(note) => Some((side, note)),
            _ => None,
        });
        assert_eq!((side, note.position, note.rule, note.bytes), (1, position, 7, 1));
    }
    let mut faults = Vec::new();
    wait_until("the faults are recorded", || {
        while let Some(record) = reader.next_record() {
            if record.kind == TapKind::Fault {
                faults.push((record.side, record.value, record.bytes.to_vec()));
            }
        }
        faults.len() == 2
    });
    assert_eq!(faults[1], (1, 9, [7u32.to_le_bytes(), 1u32.to_le_bytes()].concat()));
}

#[test]
fn a_tap_records_what_came_and_what_went_in_order() {
    let (_tmp, runtime) = runtime();
    let (first, mut reader) = tap(1 << 16);
    let (shard, link, app_a, app_b) = linked(
        &runtime,
        LinkOptions { tap: Some(first), tap_points: TapPoints::Both, ..LinkOptions::default() },
    );
    app_a.write(b"ping");
    assert_eq!(app_b.read(4), b"ping");
    app_b.write(b"pong");
    assert_eq!(app_a.read(4), b"pong");
    let mut seen = Vec::new();
    wait_until("four records", || {
        while let Some(r) = reader.next_record() {
            seen.push((r.at, r.kind, r.side, r.bytes.to_vec()));
        }
        seen.len() >= 4
    });
    let kinds: Vec<_> = seen.iter().map(|(_, kind, side, bytes)| (*kind, *side, &bytes[..])).collect();
    use TapKind::{In, Out};
    let want: [(_, _, &[u8]); 4] = [(In, 0, b"ping"), (Out, 1, b"ping"), (In, 1, b"pong"), (Out, 0, b"pong")];
    assert_eq!(kinds, want);
    assert!(seen.is_sorted_by_key(|(at, ..)| *at));
    // Another tap in its place; the first one is over when it is dropped.
    let (second, mut other) = tap(1 << 16);
    drop(shard.set_tap(&link, Some(second), TapPoints::Out).unwrap());
    assert!(reader.is_over());
    app_a.write(b"on");
    assert_eq!(app_b.read(2), b"on");
    wait_until("it is recorded", || other.next_record().is_some_and(|r| r.bytes == b"on" && r.kind == Out));
    assert!(shard.set_tap(&link, None, TapPoints::Out).unwrap().is_some());
}

#[test]
fn a_tap_that_overflows_loses_records_and_no_byte_and_says_exactly_how_much() {
    let (_tmp, runtime) = runtime();
    let (small, mut reader) = tap(10_000);
    let (shard, link, app_a, app_b) =
        linked(&runtime, LinkOptions { tap: Some(small), ..LinkOptions::default() });
    let mut events = shard.events();
    let bytes = pattern(300_000, 5);
    std::thread::scope(|s| {
        s.spawn(|| app_a.write(&bytes));
        assert!(app_b.read(bytes.len()) == bytes);
    });
    let lost = event(&mut events, |_, what| match what {
        Happened::TapLost(n) => Some(n),
        _ => None,
    });
    assert!(lost > 0 && lost <= 4096, "{lost} bytes when it began");
    let (mut recorded, mut missing, mut losses) = (Vec::new(), 0, 0);
    let mut drain = || {
        while let Some(r) = reader.next_record() {
            match r.kind {
                TapKind::Out => recorded.extend_from_slice(r.bytes),
                TapKind::Lost => (missing, losses) = (missing + r.value, losses + 1),
                _ => {}
            }
        }
        (recorded.len() as u64, missing)
    };
    drain();
    app_a.write(b"there is room again");
    assert_eq!(app_b.read(19), b"there is room again");
    wait_until("the loss is told", || drain().1 > 0);
    wait_until("every byte is recorded or counted", || {
        let (recorded, missing) = drain();
        recorded + missing == 300_019
    });
    assert_eq!(link.stats().directions[0].bytes_out, 300_019);
    assert_eq!(reader.lost_bytes(), missing);
    // Told once for each time that records were lost, and not for each record.
    let told = std::iter::from_fn(|| events.wait(Duration::ZERO));
    let told = 1 + told.filter(|e| matches!(e.what, Happened::TapLost(_))).count();
    assert_eq!(told, losses);
}

#[test]
fn what_an_application_does_to_its_line_is_told_to_the_control_side_and_to_the_conduit() {
    let (_tmp, runtime) = runtime();
    let (shard, link, app_a, _app_b) = linked(&runtime, with(Wire::new(Duration::ZERO, 0, 0)));
    let mut events = shard.events();
    event(&mut events, |side, what| (side == 0 && what == Happened::Came).then_some(()));
    app_a.set(|t| {
        t.set_speed(57_600).unwrap();
        t.control_modes |= rustix::termios::ControlModes::CSTOPB | rustix::termios::ControlModes::CRTSCTS;
    });
    let settings = event(&mut events, |side, what| match what {
        Happened::Settings(s) if side == 0 && s.baud == 57_600 => Some(s),
        _ => None,
    });
    assert_eq!((settings.format.to_string(), settings.flow), ("8N2".to_owned(), hilrig_port::Flow::RtsCts));
    let port = link.ports()[0].snapshot();
    assert_eq!(
        (port.baud, port.stop_bits, port.format, port.flow),
        (57_600, 2, settings.format, settings.flow)
    );
    let heard = |what: Signal| {
        shard
            .with_conduit(&link, |wire: &mut Wire, _| wire.ways[0].signals.iter().any(|s| *s == what))
            .unwrap()
    };
    assert!(heard(Signal::Settings(settings)));
    // Settled first, or our own flags may be what the flush is read with.
    rustix::termios::tcflush(&app_a.0, rustix::termios::QueueSelector::IFlush).unwrap();
    wait_until("the purge is heard", || heard(Signal::Purge(Purge::Input)));
    rustix::termios::tcflush(&app_a.0, rustix::termios::QueueSelector::IOFlush).unwrap();
    wait_until("the purge of both is heard", || heard(Signal::Purge(Purge::Both)));
    drop(app_a);
    event(&mut events, |side, what| (side == 0 && what == Happened::Left).then_some(()));
    assert_eq!(events.missed(), 0);
}

#[test]
fn lines_and_breaks_of_a_port_that_has_none_are_refused_with_a_sentence() {
    let (_tmp, runtime) = runtime();
    let (shard, link, _a, _b) = linked(&runtime, LinkOptions::default());
    let e = shard.set_lines(&link, 0, Lines::DTR, Lines::DTR).unwrap_err().to_string();
    assert!(e.contains("no modem lines"), "{e}");
    let e = shard.send_break(&link, 1, Duration::from_millis(1)).unwrap_err().to_string();
    assert!(e.contains("cannot send a break"), "{e}");
}

#[test]
fn a_break_and_errors_keep_their_place_and_an_unplug_takes_the_port_out() {
    let (tmp, runtime) = runtime();
    let (shard, link, app_a, app_b) = linked(&runtime, with(Wire::new(Duration::ZERO, 0, 0)));
    let mut events = shard.events();
    app_a.write(b"before");
    assert_eq!(app_b.read(6), b"before");
    let back = Duration::from_millis(5);
    shard
        .with_conduit(&link, |wire: &mut Wire, now| {
            wire.send(now, Direction::AToB, Signal::Error(CharError::Parity));
            wire.send(now, Direction::AToB, Signal::Unplug(back));
        })
        .unwrap();
    let told = event(&mut events, |side, what| match what {
        Happened::Unplugged(back) if side == 1 => Some(back),
        _ => None,
    });
    assert_eq!(told, back);
    let port = link.ports()[1].clone();
    assert_eq!(port.state(), PortState::Waiting);
    assert!(port.snapshot().reason.starts_with("a fault has unplugged it"), "{}", port.snapshot().reason);
    wait_until("its name is gone", || std::fs::symlink_metadata(tmp.path().join("b")).is_err());
    app_a.write(b"nobody");
    wait_until("bytes for it are discarded", || link.stats().directions[0].discarded_bytes == 6);
    // The keeper's part.
    let url = "pty:b".parse().unwrap();
    let again = hilrig_port::OpenPort::reopen(&url, &runtime, port.clone(), &|| false).unwrap();
    let far = again.far_end().unwrap().to_owned();
    shard.replace_port(&link, 1, again).unwrap();
    assert_eq!((port.snapshot().reconnects, port.gone()), (1, false));
    let app_b = App::open(&far);
    app_a.write(b"after");
    assert_eq!(app_b.read(5), b"after");
    adds_up(&link.stats());
}

/// Says nothing and is never asked.
struct Mute;
struct Other;

macro_rules! mute {
    ($($kind:ty),*) => {$(
        impl Station for $kind {
            fn on_bytes(&mut self, _: Time, _: &[u8], _: &mut Tx) {}
            fn on_deadline(&mut self, _: Time, _: &mut Tx) {}
            fn deadline(&self) -> Option<Time> {
                None
            }
        }
    )*};
}

mute!(Mute, Other);

#[test]
fn questions_to_the_wrong_place_are_answered_with_a_sentence() {
    let (_tmp, runtime) = runtime();
    let (a, b) = (open_pty("a", &runtime).0, open_pty("b", &runtime).0);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(a, b, with(Wire::new(Duration::ZERO, 0, 0))).unwrap();
    let (port, _, _) = open_pty("s", &runtime);
    let station = shard.add_station(port, Box::new(Mute)).unwrap();
    let wrong = shard.with_station(&station, |_: &mut Other, _, _| ()).unwrap_err();
    assert!(matches!(wrong, PortError::WrongType { .. }), "{wrong}");
    assert!(shard.set_conduit(&link, None).unwrap().is_some());
    let none = shard.with_conduit(&link, |_: &mut Wire, _| ()).unwrap_err();
    assert!(matches!(none, PortError::WrongType { .. }), "{none}");
    shard.set_conduit(&link, Some(Box::new(Wire::new(Duration::ZERO, 0, 0)))).unwrap();
    let elsewhere = Shard::start("elsewhere").unwrap();
    let gone = elsewhere.with_conduit(&link, |_: &mut Wire, _| ()).unwrap_err();
    assert!(matches!(gone, PortError::Gone { .. }), "{gone}");
    // A panic of the question is the asker's, not the shard's.
    let asked = std::panic::AssertUnwindSafe(|| shard.with_conduit(&link, |_: &mut Wire, _| panic!("mine")));
    assert!(std::panic::catch_unwind(asked).is_err());
    shard.with_conduit(&link, |_: &mut Wire, _| ()).unwrap();
    let ports = link.ports();
    drop(shard);
    assert!(ports.iter().all(|p| p.state() == PortState::Lost));
}
