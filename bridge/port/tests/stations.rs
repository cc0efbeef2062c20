//! Protocol cores on a shard: bytes, deadlines, comings and goings, failures; many links.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{App, open, open_pty, pattern, runtime, wait_until};
use hilrig_port::{LineEvent, LinkOptions, PortState, Shard, Station, StationRef, Time, Tx};

/// Sends back what it hears, and remembers what happened to it.
#[derive(Default)]
struct Echo {
    heard: usize,
    refused: usize,
    events: Vec<LineEvent>,
    ticks: u64,
    due: Option<Time>,
    every: Option<Duration>,
    fail_on: Option<u8>,
}

impl Station for Echo {
    fn on_bytes(&mut self, _now: Time, bytes: &[u8], tx: &mut Tx) {
        self.heard += bytes.len();
        assert!(!self.fail_on.is_some_and(|b| bytes.contains(&b)), "a byte this station cannot stand");
        if !tx.send(bytes) {
            self.refused += bytes.len();
        }
    }

    fn on_deadline(&mut self, now: Time, _tx: &mut Tx) {
        let due = self.due.expect("called without a deadline");
        assert!(due <= now, "called before its time");
        self.ticks += 1;
        self.due = self.every.map(|every| due + every);
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }

    fn on_line(&mut self, _now: Time, event: LineEvent, tx: &mut Tx) {
        self.events.push(event);
        if event == LineEvent::Opened {
            assert!(tx.send(b"hello"));
        }
    }
}

fn events(shard: &Shard, s: &StationRef) -> Vec<LineEvent> {
    shard.with_station(s, |echo: &mut Echo, _, _| echo.events.clone()).unwrap()
}

#[test]
fn a_station_hears_speaks_and_sees_its_line_come_and_go() {
    use LineEvent::{Closed, Opened};
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let shard = Shard::start("test").unwrap();
    let station = shard.add_station(pty, Box::new(Echo::default())).unwrap();
    assert_eq!(events(&shard, &station), []);
    for round in 1..=3 {
        let app = App::open(&far);
        assert_eq!(app.read(5), b"hello");
        app.write(b"echo this");
        assert_eq!(app.read(9), b"echo this");
        drop(app);
        wait_until("the station sees its line close", || events(&shard, &station).len() == 2 * round);
    }
    assert_eq!(events(&shard, &station), [Opened, Closed, Opened, Closed, Opened, Closed]);
    // Said to nobody.
    let queued = shard.with_station(&station, |_: &mut Echo, _, tx| tx.send(b"nobody")).unwrap();
    assert!(queued);
    wait_until("the bytes are discarded", || station.port().snapshot().discarded_bytes == 6);
    // Said to whoever has just opened, before the shard could know.
    for i in 0..100u32 {
        let app = App::open_as_is(&far);
        shard.with_station(&station, |_: &mut Echo, _, tx| assert!(tx.send(&i.to_le_bytes()))).unwrap();
        assert_eq!(app.read(9), [b"hello", &i.to_le_bytes()[..]].concat());
        drop(app);
        let n = 8 + 2 * i as usize;
        wait_until("the station sees its line close", || events(&shard, &station).len() == n);
    }
    let back = shard.remove_station(station).unwrap();
    let back: Box<dyn std::any::Any> = back;
    assert_eq!(back.downcast::<Echo>().unwrap().heard, 27);
}

#[test]
fn a_stalled_line_stalls_a_station_and_costs_no_byte() {
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let shard = Shard::start("test").unwrap();
    let station = shard.add_station(pty, Box::new(Echo::default())).unwrap();
    let app = App::open(&far);
    assert_eq!(app.read(5), b"hello");
    let mut said = Vec::new();
    let mut round = 0;
    wait_until("the line stalls", || {
        round += 1;
        let bytes = pattern(1000, round);
        let taken = shard.with_station(&station, |_: &mut Echo, _, tx| tx.send(&bytes)).unwrap();
        if taken {
            said.extend(&bytes);
        }
        !taken
    });
    assert!(app.read(said.len()) == said);
    app.write(b"on");
    assert_eq!(app.read(2), b"on");
}

#[test]
fn deadlines_are_kept_in_order_and_never_early() {
    let (_tmp, runtime) = runtime();
    let shard = Shard::start("test").unwrap();
    let mut stations = Vec::new();
    for i in 1..=8u64 {
        let (pty, _, _) = open_pty(&format!("s{i}"), &runtime);
        let every = Duration::from_micros(i * 500);
        let echo = Echo { due: Some(Time::now() + every), every: Some(every), ..Echo::default() };
        stations.push(shard.add_station(pty, Box::new(echo)).unwrap());
    }
    let ticks = |s| shard.with_station(s, |echo: &mut Echo, _, _| echo.ticks).unwrap();
    wait_until("the slowest has ticked 50 times", || ticks(&stations[7]) >= 50);
    // Absolute deadlines: whatever happened meanwhile, the fast one ticks eight times as often.
    let slow = ticks(&stations[7]);
    wait_until("the fastest has caught up", || ticks(&stations[0]) >= 8 * (slow - 1));
    // Each that came was noted, with how late it was called.
    assert!(stations[7].lateness().count() >= 50);
    // A deadline set from outside counts too.
    let set = |s, due| {
        shard.with_station(s, move |echo: &mut Echo, _, _| (echo.due, echo.every) = (due, None)).unwrap()
    };
    for s in &stations {
        set(s, None);
    }
    let before = ticks(&stations[3]);
    set(&stations[3], Some(Time::now() + Duration::from_millis(2)));
    wait_until("the deadline is kept", || ticks(&stations[3]) == before + 1);
}

#[test]
fn a_station_that_panics_is_lost_with_its_reason_and_alone() {
    std::panic::set_hook(Box::new(|_| {}));
    let (_tmp, runtime) = runtime();
    let shard = Shard::start("test").unwrap();
    let mut ends = Vec::new();
    for (name, fail_on) in [("good", None), ("bad", Some(0xff))] {
        let (pty, far, _) = open_pty(name, &runtime);
        let echo = Echo { fail_on, ..Echo::default() };
        let station = shard.add_station(pty, Box::new(echo)).unwrap();
        let app = App::open(&far);
        assert_eq!(app.read(5), b"hello");
        ends.push((station, app));
    }
    ends[1].1.write(&[0xff]);
    let port = ends[1].0.port();
    wait_until("the bad station is lost", || port.state() == PortState::Lost);
    let reason = port.snapshot().reason;
    assert_eq!(reason, "the station at this port failed: a byte this station cannot stand");
    ends[0].1.write(&[0xff]);
    assert_eq!(ends[0].1.read(1), [0xff]);
    // It can still be asked what it knew.
    assert_eq!(shard.with_station(&ends[1].0, |echo: &mut Echo, _, _| echo.heard).unwrap(), 1);
    assert_eq!(ends[0].0.port().state(), PortState::Open);
}

#[test]
fn a_lost_port_is_told_to_its_station() {
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let shard = Shard::start("test").unwrap();
    let station =
        shard.add_station(open(far.to_str().unwrap(), &runtime), Box::new(Echo::default())).unwrap();
    assert_eq!(events(&shard, &station), [LineEvent::Opened], "a real port is there from the start");
    drop(pty);
    wait_until("the port is lost", || station.port().state() == PortState::Lost);
    assert_eq!(events(&shard, &station), [LineEvent::Opened, LineEvent::Lost]);
}

#[test]
fn sixty_four_links_on_one_shard_carry_their_own_bytes() {
    let (_tmp, runtime) = runtime();
    let shard = Shard::start("test").unwrap();
    let links: Vec<_> = (0..64)
        .map(|i| {
            let (a, far_a, _) = open_pty(&format!("a{i}"), &runtime);
            let (b, far_b, _) = open_pty(&format!("b{i}"), &runtime);
            let link = shard.add_link(a, b, LinkOptions::default()).unwrap();
            (link, App::open(&far_a), App::open(&far_b), pattern(20_000, i + 1))
        })
        .collect();
    std::thread::scope(|s| {
        for chunk in links.chunks(16) {
            s.spawn(|| chunk.iter().for_each(|(_, a, _, bytes)| a.write(&bytes[..10_000])));
            s.spawn(|| chunk.iter().for_each(|(_, _, b, bytes)| b.write(&bytes[10_000..])));
        }
        for (i, (_, a, b, bytes)) in links.iter().enumerate() {
            assert!(b.read(10_000) == bytes[..10_000], "link {i} from A to B");
            assert!(a.read(10_000) == bytes[10_000..], "link {i} from B to A");
        }
    });
    for (i, (link, ..)) in links.into_iter().enumerate() {
        let stats = shard.remove_link(link);
        for d in &stats.directions {
            assert_eq!((d.bytes_in, d.bytes_out, d.pending), (10_000, 10_000, 0), "link {i}");
        }
    }
}

/// Remembers what it hears.
#[derive(Default)]
struct Ear(Vec<u8>);

impl Station for Ear {
    fn on_bytes(&mut self, _now: Time, bytes: &[u8], _tx: &mut Tx) {
        self.0.extend(bytes);
    }
    fn on_deadline(&mut self, _now: Time, _tx: &mut Tx) {}
    fn deadline(&self) -> Option<Time> {
        None
    }
}

#[test]
fn a_station_on_a_line_that_hears_itself_does_not_hear_what_it_says() {
    let (_tmp, runtime) = runtime();
    // At the far end sits a transceiver that repeats all, and says hello on its own.
    let (pty, far, _) = open_pty("wire", &runtime);
    let shard = Shard::start("test").unwrap();
    let wire = shard.add_station(pty, Box::new(Echo::default())).unwrap();
    // So slow that no machine is slower: 20 characters take 4 s.
    let url = |echo: &str| format!("serial:{}?baud=50{echo}", far.display());
    for (round, echo, back) in [(1, "&echo=on", &b""[..]), (2, "", b"is that my own voice")] {
        let port = open(&url(echo), &runtime);
        let station = shard.add_station(port, Box::new(Ear::default())).unwrap();
        let heard = || shard.with_station(&station, |ear: &mut Ear, _, _| ear.0.clone()).unwrap();
        wait_until("hello", || heard() == b"hello");
        shard.with_station(&station, |_: &mut Ear, _, tx| tx.send(b"is that my own voice")).unwrap();
        wait_until("it came back", || wire_heard(&shard, &wire) == 20 * round);
        shard.with_station(&wire, |_: &mut Echo, _, tx| tx.send(b"another")).unwrap();
        wait_until("another", || heard().ends_with(b"another"));
        assert_eq!(heard(), [b"hello", back, b"another"].concat());
        shard.remove_station(station);
        wait_until("the line is closed", || events(&shard, &wire).len().is_multiple_of(2));
    }
}

fn wire_heard(shard: &Shard, wire: &StationRef) -> usize {
    shard.with_station(wire, |echo: &mut Echo, _, _| echo.heard).unwrap()
}
