//! The one thread that empties the taps of all links and feeds the sinks. Waits for no sink and no line; what a line
//! does is never its business.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hilrig_port::{TapKind, TapReader, TapRecord, Time};

use crate::{LinkInfo, LinkKey, Sink, SinkId, SinkReport};

/// Between two rounds over the taps: while little comes, and while much does. A tap that is half full nudges.
const QUIET: Duration = Duration::from_millis(25);
const BUSY: Duration = Duration::from_millis(1);
/// So many payload bytes of one tap in one round are much.
const MUCH: u64 = 16 * 1024;
/// Most payload bytes taken from one tap before the others have their turn.
const TURN: u64 = 1024 * 1024;

static NEXT_SINK: AtomicU64 = AtomicU64::new(1);

/// Its thread. Dropping it ends the thread after a last round, and finishes all sinks.
#[derive(Debug)]
pub struct Hub {
    orders: SyncSender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Attach(LinkInfo, TapReader),
    Detach(LinkKey, u64, SyncSender<()>),
    Add(SinkId, Vec<LinkKey>, Box<dyn Sink>, SyncSender<()>),
    Join(SinkId, LinkKey, SyncSender<()>),
    Report(SinkId, SyncSender<SinkReport>),
    Remove(SinkId, SyncSender<Feed>),
    Round,
    Stop,
}

impl Hub {
    pub fn start() -> io::Result<Self> {
        let (orders, inbox) = sync_channel(64);
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || Works::default().run(&inbox))?;
        Ok(Self { orders, thread: Some(thread) })
    }

    /// For [`Tap::nudging`](hilrig_port::Tap::nudging): lets the next round begin at once. Never waits.
    pub fn nudge(&self) -> impl Fn() + Send + use<> {
        let orders = self.orders.clone();
        move || drop(orders.try_send(Order::Round))
    }

    /// Begins to empty a tap. Records that no sink wants are thrown away, so add the sinks first
    /// ([`LinkInfo::key`] is known before) or the tap to the link last.
    pub fn attach(&self, link: LinkInfo, reader: TapReader) -> LinkKey {
        let key = link.key();
        self.tell(Order::Attach(link, reader));
        key
    }

    /// Takes what the tap still holds, then lets go of it.
    pub fn detach(&self, link: LinkKey) {
        self.detach_after(link, 0);
    }

    /// As `detach`; `untold` bytes did not fit into the tap at its very end ([`Tap::untold`](hilrig_port::Tap::untold)).
    pub fn detach_after(&self, link: LinkKey, untold: u64) {
        let (done, wait) = sync_channel(1);
        self.tell(Order::Detach(link, untold, done));
        let _ = wait.recv();
    }

    /// Feeds a sink with these links from now on.
    pub fn add(&self, links: Vec<LinkKey>, sink: Box<dyn Sink>) -> SinkId {
        let id = SinkId(NEXT_SINK.fetch_add(1, Ordering::Relaxed));
        let (done, wait) = sync_channel(1);
        self.tell(Order::Add(id, links, sink, done));
        let _ = wait.recv();
        id
    }

    /// Feeds a sink with one more link, for example one that was started anew.
    pub fn join(&self, sink: SinkId, link: LinkKey) {
        let (done, wait) = sync_channel(1);
        self.tell(Order::Join(sink, link, done));
        let _ = wait.recv();
    }

    /// Gives the sink all that is there, and finishes it. The report of a sink that is not there is empty.
    pub fn remove(&self, sink: SinkId) -> SinkReport {
        let (answer, wait) = sync_channel(1);
        self.tell(Order::Remove(sink, answer));
        wait.recv().map(Feed::finish).unwrap_or_default()
    }

    pub fn report(&self, sink: SinkId) -> SinkReport {
        let (answer, wait) = sync_channel(1);
        self.tell(Order::Report(sink, answer));
        wait.recv().unwrap_or_default()
    }

    fn tell(&self, order: Order) {
        // The thread is there as long as the hub is.
        let _ = self.orders.send(order);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.tell(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A sink and its account.
struct Feed {
    links: Vec<LinkKey>,
    /// Gone after an error.
    sink: Option<Box<dyn Sink>>,
    report: SinkReport,
    /// Bytes that the taps lost.
    tap_lost: u64,
}

impl Feed {
    /// Lets the sink do something, unless it has ended.
    fn with(&mut self, f: impl FnOnce(&mut dyn Sink) -> io::Result<()>) {
        let Some(sink) = &mut self.sink else { return };
        let done = catch_unwind(AssertUnwindSafe(|| f(sink.as_mut())))
            .unwrap_or_else(|_| Err(io::Error::other("what writes this capture failed inside")));
        if let Err(e) = done {
            self.report.error = Some(e.to_string());
            self.take_stock();
            self.sink = None;
        }
    }

    fn record(&mut self, link: &LinkInfo, record: &TapRecord<'_>) {
        if self.sink.is_none() {
            return;
        }
        self.report.records += 1;
        match record.kind {
            TapKind::In | TapKind::Out => self.report.bytes += record.bytes.len() as u64,
            TapKind::Lost => self.tap_lost += record.value,
            _ => {}
        }
        self.with(|sink| sink.record(link, record));
    }

    fn take_stock(&mut self) {
        if let Some(sink) = &self.sink {
            self.report.lost_bytes = self.tap_lost + sink.lost_bytes();
            self.report.files = sink.files();
        }
    }

    fn finish(mut self) -> SinkReport {
        self.with(|sink| sink.finish());
        self.take_stock();
        self.report
    }
}

struct Source {
    info: LinkInfo,
    reader: TapReader,
}

/// What the thread has.
#[derive(Default)]
struct Works {
    sources: Vec<Source>,
    feeds: HashMap<SinkId, Feed>,
}

impl Works {
    fn run(mut self, inbox: &Receiver<Order>) {
        let mut due = Instant::now();
        loop {
            let order = if self.sources.is_empty() && self.feeds.is_empty() {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(due.saturating_duration_since(Instant::now()))
            };
            match order {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.round(u64::MAX);
                    self.feeds.into_values().for_each(|feed| drop(feed.finish()));
                    return;
                }
                Ok(Order::Round) | Err(RecvTimeoutError::Timeout) => {
                    let pause = if self.round(TURN) > MUCH { BUSY } else { QUIET };
                    due = Instant::now() + pause;
                }
                Ok(order) => self.obey(order),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Attach(info, reader) => {
                let infos = std::slice::from_ref(&info);
                each(&mut self.feeds, info.key(), |feed| feed.with(|sink| sink.start(infos)));
                self.sources.push(Source { info, reader });
            }
            Order::Detach(key, untold, done) => {
                self.round(u64::MAX);
                if let Some(i) = self.sources.iter().position(|s| s.info.key() == key) {
                    let source = self.sources.swap_remove(i);
                    if untold > 0 {
                        let at = Time::now();
                        let lost = TapRecord { at, kind: TapKind::Lost, value: untold, ..nothing(at) };
                        each(&mut self.feeds, key, |feed| feed.record(&source.info, &lost));
                    }
                }
                let _ = done.send(());
            }
            Order::Add(id, links, sink, done) => {
                // What came before is not for this sink.
                self.round(u64::MAX);
                let mut feed = Feed { links, sink: Some(sink), report: SinkReport::default(), tap_lost: 0 };
                let infos = self.infos(&feed.links);
                feed.with(|sink| sink.start(&infos));
                self.feeds.insert(id, feed);
                let _ = done.send(());
            }
            Order::Join(id, key, done) => {
                self.round(u64::MAX);
                let infos = self.infos(&[key]);
                if let Some(feed) = self.feeds.get_mut(&id) {
                    feed.links.push(key);
                    feed.with(|sink| sink.start(&infos));
                }
                let _ = done.send(());
            }
            Order::Report(id, answer) => {
                let report = self.feeds.get_mut(&id).map(|feed| {
                    feed.take_stock();
                    feed.report.clone()
                });
                let _ = answer.send(report.unwrap_or_default());
            }
            Order::Remove(id, answer) => {
                self.round(u64::MAX);
                if let Some(feed) = self.feeds.remove(&id) {
                    let _ = answer.send(feed);
                }
            }
            Order::Round | Order::Stop => {}
        }
    }

    fn infos(&self, keys: &[LinkKey]) -> Vec<LinkInfo> {
        let known = |key: &LinkKey| self.sources.iter().find(|s| s.info.key() == *key);
        keys.iter().filter_map(known).map(|s| s.info.clone()).collect()
    }

    /// Empties all taps, of each at most about `turn` bytes. Answers the most that one tap had.
    fn round(&mut self, turn: u64) -> u64 {
        let now = Time::now();
        let mut most = 0;
        for Source { info, reader } in &mut self.sources {
            let mut taken = 0;
            while taken < turn {
                let Some(record) = reader.next_record() else { break };
                taken += record.bytes.len() as u64 + 1;
                each(&mut self.feeds, info.key(), |feed| feed.record(info, &record));
                // A line that never pauses must not keep a last round from ending.
                if turn == u64::MAX && record.at > now {
                    break;
                }
            }
            most = most.max(taken);
        }
        self.feeds.values_mut().for_each(|feed| feed.with(|sink| sink.tick(now)));
        most
    }
}

fn each(feeds: &mut HashMap<SinkId, Feed>, key: LinkKey, mut f: impl FnMut(&mut Feed)) {
    feeds.values_mut().filter(|feed| feed.links.contains(&key)).for_each(&mut f);
}

fn nothing(at: Time) -> TapRecord<'static> {
    TapRecord { at, kind: TapKind::Lost, side: 0, lines: hilrig_port::Lines::NONE, value: 0, bytes: &[] }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
