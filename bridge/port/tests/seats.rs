//! What may be done at the end of a line while a core sits there: its tap, a port that is lost and comes back, a guest.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use common::{App, PATIENCE, open, open_pty, runtime, wait_until};
use hilrig_port::{
    Happened, LineEvent, OpenPort, PortState, PortUrl, SeatOptions, Shard, Station, StationRef, TapKind,
    TapPoints, TapReader, Time, Tx, tap,
};

/// Greets whoever comes, sends back what it hears, and remembers all of it.
#[derive(Default)]
struct Echo {
    heard: Vec<u8>,
    events: Vec<LineEvent>,
}

impl Station for Echo {
    fn on_bytes(&mut self, _: Time, bytes: &[u8], tx: &mut Tx) {
        self.heard.extend(bytes);
        assert!(tx.send(bytes));
    }

    fn on_deadline(&mut self, _: Time, _: &mut Tx) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn on_line(&mut self, _: Time, event: LineEvent, tx: &mut Tx) {
        self.events.push(event);
        if event == LineEvent::Opened {
            assert!(tx.send(b"hello"));
        }
    }
}

/// Speaks every so often, and fails on one byte.
struct Guest {
    heard: Vec<u8>,
    due: Option<Time>,
    fails_on: Option<u8>,
}

impl Guest {
    fn new() -> Self {
        Self { heard: vec![], due: None, fails_on: None }
    }
}

impl Station for Guest {
    fn on_bytes(&mut self, _: Time, bytes: &[u8], _: &mut Tx) {
        self.heard.extend(bytes);
        assert!(!self.fails_on.is_some_and(|b| bytes.contains(&b)), "a byte this guest cannot stand");
    }

    fn on_deadline(&mut self, _: Time, tx: &mut Tx) {
        self.due = None;
        assert!(tx.send(b"guest"));
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }

    fn on_line(&mut self, now: Time, event: LineEvent, _: &mut Tx) {
        if event == LineEvent::Opened {
            self.due = Some(now + Duration::from_millis(2));
        }
    }
}

fn echo<R: Send>(shard: &Shard, s: &StationRef, f: impl FnOnce(&mut Echo) -> R + Send) -> R {
    shard.with_station(s, |echo: &mut Echo, _, _| f(echo)).unwrap()
}

fn records(reader: &mut TapReader) -> Vec<(TapKind, u64, Vec<u8>)> {
    let (mut got, mut last) = (vec![], Time(0));
    while let Some(record) = reader.next_record() {
        assert!(record.at >= last && record.side == 0);
        last = record.at;
        got.push((record.kind, record.value, record.bytes.to_vec()));
    }
    got
}

#[test]
fn what_passes_at_a_station_is_recorded_from_the_first_byte() {
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let shard = Shard::start("test").unwrap();
    let (ours, mut reader) = tap(1 << 16);
    let options = SeatOptions { tap: Some(ours), tap_points: TapPoints::Both, ..SeatOptions::default() };
    let station = shard.add_station_with(pty, Box::new(Echo::default()), options).unwrap();
    let app = App::open(&far);
    assert_eq!(app.read(5), b"hello");
    app.write(b"ab");
    assert_eq!(app.read(2), b"ab");
    drop(app);
    wait_until("the line closes", || echo(&shard, &station, |e| e.events.len()) == 2);
    shard.with_station(&station, |_: &mut Echo, _, tx| assert!(tx.send(b"nobody"))).unwrap();
    let word = |kind, text: &[u8]| (kind, 0, text.to_vec());
    let all = [
        word(TapKind::Out, b"hello"),
        word(TapKind::In, b"ab"),
        word(TapKind::Out, b"ab"),
        (TapKind::Discarded, 6, vec![]),
    ];
    assert_eq!(records(&mut reader), all);
    // Another tap, of one direction, and none.
    let (ours, mut other) = tap(1 << 16);
    let old = shard.set_seat_tap(&station.seat(), Some(ours), TapPoints::In).unwrap();
    assert_eq!(old.map(|tap| tap.untold()), Some(0));
    let app = App::open(&far);
    app.write(b"c");
    assert_eq!(app.read(6), b"helloc");
    drop(shard.set_seat_tap(&station.seat(), None, TapPoints::Both).unwrap());
    app.write(b"d");
    assert_eq!(app.read(1), b"d");
    assert_eq!(records(&mut other), [word(TapKind::In, b"c")]);
    assert!(other.is_over() && reader.is_over());
}

#[test]
fn a_lost_port_comes_back_and_its_station_goes_on() {
    let (_tmp, runtime) = runtime();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: PortUrl = format!("tcp:{}", server.local_addr().unwrap()).parse().unwrap();
    let shard = Shard::start("test").unwrap();
    let mut events = shard.events();
    let (ours, mut reader) = tap(1 << 16);
    let options = SeatOptions { tap: Some(ours), tap_points: TapPoints::Both, returns: true };
    let port = open(&url.to_string(), &runtime);
    let station = shard.add_station_with(port, Box::new(Echo::default()), options).unwrap();
    let (seat, stats) = (station.seat(), station.port());
    for round in 1..=3 {
        let mut peer = server.accept().unwrap().0;
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(b"x").unwrap();
        let mut got = [0; 6];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hellox");
        drop(peer);
        let lost = events.wait(PATIENCE).expect("the loss is told");
        assert_eq!((lost.link, lost.side, lost.what), (seat.id(), 0, Happened::Lost));
        assert_eq!((stats.state(), stats.gone()), (PortState::Waiting, true));
        let again = OpenPort::reopen(&url, &runtime, stats.clone(), &|| false).unwrap();
        shard.replace_seat_port(&seat, again).unwrap();
        assert_eq!(
            (stats.state(), stats.gone(), stats.snapshot().reconnects),
            (PortState::Open, false, round)
        );
    }
    use LineEvent::{Lost, Opened};
    assert_eq!(
        echo(&shard, &station, |e| e.events.clone()),
        [Opened, Lost, Opened, Lost, Opened, Lost, Opened]
    );
    assert_eq!(stats.snapshot().rx_bytes, 3, "the counters went on");
    let kinds: Vec<_> = records(&mut reader).into_iter().map(|r| r.0).collect();
    let round = [TapKind::Out, TapKind::In, TapKind::Out, TapKind::Gone, TapKind::Back];
    assert_eq!(kinds, [&round.repeat(3)[..], &[TapKind::Out]].concat());
}

#[test]
fn a_pulled_port_is_told_to_its_station() {
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let shard = Shard::start("test").unwrap();
    let station = shard.add_station(pty, Box::new(Echo::default())).unwrap();
    let app = App::open(&far);
    assert_eq!(app.read(5), b"hello");
    shard.lose_seat_port(&station.seat(), "pulled by the test").unwrap();
    assert_eq!(echo(&shard, &station, |e| e.events.clone()), [LineEvent::Opened, LineEvent::Lost]);
    assert_eq!(station.port().snapshot().reason, "pulled by the test");
}

#[test]
fn a_guest_that_is_alone_has_the_line_until_it_is_dismissed() {
    use LineEvent::{Closed, Opened};
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let shard = Shard::start("test").unwrap();
    let station = shard.add_station(pty, Box::new(Echo::default())).unwrap();
    let seat = station.seat();
    let app = App::open(&far);
    assert_eq!(app.read(5), b"hello");
    shard.seat_guest(&seat, Box::new(Guest::new()), true).unwrap();
    let refused = shard.seat_guest(&seat, Box::new(Guest::new()), false).unwrap_err().to_string();
    assert!(refused.contains("something is replayed there already"), "{refused}");
    assert_eq!(app.read(5), b"guest");
    app.write(b"hear this");
    wait_until("the guest hears", || {
        shard.with_guest(&seat, |guest: &mut Guest, _| guest.heard == b"hear this").unwrap()
    });
    assert_eq!(echo(&shard, &station, |e| (e.heard.len(), e.events.clone())), (0, vec![Opened, Closed]));
    let wrong = shard.with_guest(&seat, |_: &mut Echo, _| ()).unwrap_err().to_string();
    assert!(wrong.contains("another type"), "{wrong}");
    assert!(shard.dismiss_guest(&seat).unwrap().is_some());
    assert!(shard.dismiss_guest(&seat).unwrap().is_none());
    assert_eq!(app.read(5), b"hello");
    app.write(b"again");
    assert_eq!(app.read(5), b"again");
    assert_eq!(echo(&shard, &station, |e| e.events.clone()), [Opened, Closed, Opened]);
}

#[test]
fn a_guest_beside_a_station_hears_what_it_hears_and_fails_alone() {
    std::panic::set_hook(Box::new(|_| {}));
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let shard = Shard::start("test").unwrap();
    let station = shard.add_station(pty, Box::new(Echo::default())).unwrap();
    let seat = station.seat();
    // Nobody is there yet: it begins when somebody comes.
    let guest = Guest { fails_on: Some(0xff), ..Guest::new() };
    shard.seat_guest(&seat, Box::new(guest), false).unwrap();
    let app = App::open(&far);
    assert_eq!(app.read(10), b"helloguest");
    app.write(b"both");
    assert_eq!(app.read(4), b"both");
    wait_until("the guest hears", || {
        shard.with_guest(&seat, |guest: &mut Guest, _| guest.heard == b"both").unwrap()
    });
    app.write(&[0xff]);
    assert_eq!(app.read(1), [0xff]);
    app.write(b"on");
    assert_eq!(app.read(2), b"on");
    let failed = shard.with_guest(&seat, |_: &mut Guest, _| ()).unwrap_err().to_string();
    assert!(failed.contains("no longer there"), "{failed}");
    assert_eq!(
        (station.port().state(), shard.dismiss_guest(&seat).unwrap().is_some()),
        (PortState::Open, true)
    );
}
