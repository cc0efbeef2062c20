//! A station or server that is watched: what it sends and what becomes of its line goes to a ring as well, for the log of the run.
//! Changes nothing of what the station does, and never waits.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hilrig_port::{Caller, Calls, LineEvent, Server, Signal, Station, Time, Tx, Wanted};

/// Longest frame of any framing that Modbus has.
const LONGEST: usize = 520;
/// Records that can wait: some seconds of the fastest line.
const ROOM: usize = 4096;

/// What the line has become, or else what was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub line: Option<LineEvent>,
    /// At the line behind a server.
    pub behind: bool,
    len: usize,
    bytes: [u8; LONGEST],
}

impl Seen {
    fn new(line: Option<LineEvent>, sent: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[..sent.len()].copy_from_slice(sent);
        Self { line, behind: false, len: sent.len(), bytes }
    }

    pub fn sent(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The watcher's end.
pub(crate) struct Watch {
    ring: rtrb::Consumer<(Time, Seen)>,
    lost: Arc<AtomicU64>,
}

impl Watch {
    pub fn next(&mut self) -> Option<(Time, Seen)> {
        self.ring.pop().ok()
    }

    /// So much found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

pub(crate) struct Watcher {
    ring: rtrb::Producer<(Time, Seen)>,
    lost: Arc<AtomicU64>,
}

pub(crate) fn watch() -> (Watcher, Watch) {
    let (producer, consumer) = rtrb::RingBuffer::new(ROOM);
    let lost = Arc::<AtomicU64>::default();
    (Watcher { ring: producer, lost: lost.clone() }, Watch { ring: consumer, lost })
}

impl Watcher {
    fn note(&mut self, now: Time, seen: Seen) {
        if self.ring.push((now, seen)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sent(&mut self, now: Time, bytes: &[u8], behind: bool) {
        for piece in bytes.chunks(LONGEST) {
            self.note(now, Seen { behind, ..Seen::new(None, piece) });
        }
    }
}

/// A station and, if wanted, its watcher.
pub(crate) struct Watched {
    core: Box<dyn Station>,
    watcher: Option<Watcher>,
}

impl Watched {
    pub fn new(core: Box<dyn Station>, watcher: Option<Watcher>) -> Self {
        Self { core, watcher }
    }

    /// The station itself.
    pub fn core<S: Station>(&mut self) -> Option<&mut S> {
        let core: &mut dyn Any = self.core.as_mut();
        core.downcast_mut()
    }

    fn drive(&mut self, now: Time, tx: &mut Tx, f: impl FnOnce(&mut dyn Station, &mut Tx)) {
        let before = tx.pending().len();
        f(self.core.as_mut(), tx);
        if let Some(watcher) = &mut self.watcher {
            watcher.sent(now, tx.pending().get(before..).unwrap_or_default(), false);
        }
    }
}

impl Station for Watched {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.drive(now, tx, |core, tx| core.on_bytes(now, bytes, tx));
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        self.drive(now, tx, |core, tx| core.on_deadline(now, tx));
    }

    fn deadline(&self) -> Option<Time> {
        self.core.deadline()
    }

    fn on_line(&mut self, now: Time, event: LineEvent, tx: &mut Tx) {
        if let Some(watcher) = &mut self.watcher {
            watcher.note(now, Seen::new(Some(event), &[]));
        }
        self.drive(now, tx, |core, tx| core.on_line(now, event, tx));
    }

    fn take_signal(&mut self) -> Option<Signal> {
        self.core.take_signal()
    }
}

/// A server and, if wanted, its watcher.
pub(crate) struct WatchedServer {
    core: Box<dyn Server>,
    watcher: Option<Watcher>,
}

impl WatchedServer {
    pub fn new(core: Box<dyn Server>, watcher: Option<Watcher>) -> Self {
        Self { core, watcher }
    }

    /// The server itself.
    pub fn core<S: Server>(&mut self) -> Option<&mut S> {
        let core: &mut dyn Any = self.core.as_mut();
        core.downcast_mut()
    }

    fn drive(&mut self, now: Time, calls: &mut Calls, f: impl FnOnce(&mut dyn Server, &mut Calls)) {
        let before = calls.line.pending().len();
        f(self.core.as_mut(), calls);
        let Some(watcher) = &mut self.watcher else { return };
        // Whoever drives it has done all that was wanted before.
        for wanted in calls.wanted() {
            if let Wanted::Send(_, bytes) = wanted {
                watcher.sent(now, bytes, false);
            }
        }
        watcher.sent(now, calls.line.pending().get(before..).unwrap_or_default(), true);
    }
}

impl Server for WatchedServer {
    fn on_caller(&mut self, now: Time, caller: Caller) -> bool {
        self.core.on_caller(now, caller)
    }

    fn on_bytes(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls) {
        self.drive(now, calls, |core, calls| core.on_bytes(now, caller, bytes, calls));
    }

    fn on_end(&mut self, now: Time, caller: Caller, calls: &mut Calls) {
        self.drive(now, calls, |core, calls| core.on_end(now, caller, calls));
    }

    fn on_closed(&mut self, now: Time, caller: Caller) {
        self.core.on_closed(now, caller);
    }

    fn on_deadline(&mut self, now: Time, calls: &mut Calls) {
        self.drive(now, calls, |core, calls| core.on_deadline(now, calls));
    }

    fn deadline(&self) -> Option<Time> {
        self.core.deadline()
    }

    fn on_line_bytes(&mut self, now: Time, bytes: &[u8], calls: &mut Calls) {
        self.drive(now, calls, |core, calls| core.on_line_bytes(now, bytes, calls));
    }

    fn on_line(&mut self, now: Time, event: LineEvent, calls: &mut Calls) {
        if let Some(watcher) = &mut self.watcher {
            watcher.note(now, Seen { behind: true, ..Seen::new(Some(event), &[]) });
        }
        self.drive(now, calls, |core, calls| core.on_line(now, event, calls));
    }
}
