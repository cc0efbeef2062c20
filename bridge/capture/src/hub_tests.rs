use super::*;
use hilrig_port::{Lines, Tap, tap};
use std::sync::mpsc::{Sender, channel};

/// Sends on what it is given; ends with an error after `fails_after` records.
struct Probe {
    seen: Sender<(String, u8, Vec<u8>)>,
    fails_after: usize,
}

impl Sink for Probe {
    fn record(&mut self, link: &LinkInfo, record: &TapRecord<'_>) -> io::Result<()> {
        if self.fails_after == 0 {
            return Err(io::Error::other("the disk is full"));
        }
        self.fails_after -= 1;
        let _ = self.seen.send((link.name.clone(), record.side, record.bytes.to_vec()));
        Ok(())
    }

    fn tick(&mut self, _: Time) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let _ = self.seen.send(("finished".into(), 9, Vec::new()));
        Ok(())
    }
}

fn put(tap: &mut Tap, side: u8, bytes: &[u8]) {
    let at = Time::now();
    tap.record(TapRecord { at, kind: TapKind::Out, side, lines: Lines::NONE, value: 0, bytes });
}

fn link(name: &str) -> LinkInfo {
    LinkInfo::new(name, ["a".into(), "b".into()], Duration::ZERO)
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn each_sink_gets_the_links_it_asked_for_and_one_that_fails_harms_no_other() {
    let hub = Hub::start().unwrap();
    let ((mut one, reader_one), (mut two, reader_two)) = (tap(4096), tap(4096));
    let (one_key, two_key) = (hub.attach(link("one"), reader_one), hub.attach(link("two"), reader_two));
    let (all, seen_all) = channel();
    let (some, seen_some) = channel();
    let all = hub.add(vec![one_key, two_key], Box::new(Probe { seen: all, fails_after: 99 }));
    let some = hub.add(vec![one_key], Box::new(Probe { seen: some, fails_after: 1 }));
    put(&mut one, 0, b"first");
    put(&mut two, 1, b"other");
    put(&mut one, 1, b"second");
    let mut got: Vec<_> = (0..3).map(|_| seen_all.recv_timeout(SOON).unwrap()).collect();
    got.sort();
    assert_eq!(
        got,
        [("one", 0, "first"), ("one", 1, "second"), ("two", 1, "other")].map(|(n, s, b)| (
            n.to_owned(),
            s,
            b.as_bytes().to_vec()
        ))
    );
    assert_eq!(seen_some.recv_timeout(SOON).unwrap().2, b"first");
    let report = hub.remove(some);
    assert_eq!((report.error.as_deref(), report.records), (Some("the disk is full"), 2));
    put(&mut one, 0, b"more");
    let report = hub.remove(all);
    assert_eq!((report.error, report.records, report.bytes, report.lost_bytes), (None, 4, 20, 0));
    assert_eq!(seen_all.try_iter().map(|s| s.0).collect::<Vec<_>>(), ["one", "finished"]);
    assert_eq!(hub.remove(all), SinkReport::default(), "it is not there any more");
}

#[test]
fn what_was_recorded_before_a_call_is_in_its_result() {
    let hub = Hub::start().unwrap();
    let (mut tap, reader) = tap(4096);
    put(&mut tap, 0, b"before the sink");
    let key = hub.attach(link("x"), reader);
    let (seen, got) = channel();
    let sink = hub.add(vec![key], Box::new(Probe { seen, fails_after: 99 }));
    put(&mut tap, 0, b"while it is there");
    hub.detach(key);
    assert_eq!(got.try_iter().map(|s| s.2).collect::<Vec<_>>(), [b"while it is there"]);
    assert_eq!(hub.report(sink).bytes, 17);
}

#[test]
fn losses_are_counted_to_the_byte_also_those_at_the_end() {
    let hub = Hub::start().unwrap();
    let (mut tap, reader) = tap(64);
    // Not attached yet, so nobody empties it: the second record has no room, the third tells of it.
    let (seen, got) = channel();
    put(&mut tap, 0, &[1; 30]);
    put(&mut tap, 0, &[2; 31]);
    let untold = tap.untold();
    assert_eq!(untold, 31);
    let key = hub.attach(link("x"), reader);
    let sink = hub.add(vec![key], Box::new(Probe { seen, fails_after: 99 }));
    put(&mut tap, 0, b"x");
    for _ in 0..2 {
        got.recv_timeout(SOON).unwrap();
    }
    assert_eq!(hub.report(sink).lost_bytes, 31);
    hub.detach_after(key, 5);
    assert_eq!(hub.remove(sink).lost_bytes, 36);
}

#[test]
fn dropping_the_hub_finishes_its_sinks() {
    let hub = Hub::start().unwrap();
    let (mut tap, reader) = tap(4096);
    let key = hub.attach(link("x"), reader);
    let (seen, got) = channel();
    hub.add(vec![key], Box::new(Probe { seen, fails_after: 99 }));
    put(&mut tap, 0, b"last words");
    drop(hub);
    assert_eq!(got.try_iter().map(|s| s.2.len()).collect::<Vec<_>>(), [10, 0]);
}

#[test]
fn a_link_can_join_a_capture_that_runs() {
    let hub = Hub::start().unwrap();
    let (seen, got) = channel();
    let sink = hub.add(vec![], Box::new(Probe { seen, fails_after: 99 }));
    let (mut tap, reader) = tap(4096);
    let key = hub.attach(link("late"), reader);
    hub.join(sink, key);
    put(&mut tap, 0, b"x");
    assert_eq!(got.recv_timeout(SOON).unwrap().0, "late");
}

struct Bad;

impl Sink for Bad {
    fn record(&mut self, _: &LinkInfo, _: &TapRecord<'_>) -> io::Result<()> {
        panic!("a mistake in a sink")
    }

    fn tick(&mut self, _: Time) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_panics_ends_alone() {
    let hub = Hub::start().unwrap();
    let (mut tap, reader) = tap(4096);
    let info = link("x");
    let (seen, got) = channel();
    let bad = hub.add(vec![info.key()], Box::new(Bad));
    hub.add(vec![info.key()], Box::new(Probe { seen, fails_after: 99 }));
    hub.attach(info, reader);
    put(&mut tap, 0, b"one");
    put(&mut tap, 0, b"two");
    assert_eq!([(); 2].map(|()| got.recv_timeout(SOON).unwrap().2), [b"one", b"two"]);
    assert_eq!(hub.remove(bad).error.as_deref(), Some("what writes this capture failed inside"));
}
