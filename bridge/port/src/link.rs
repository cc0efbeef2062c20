//! A link: two ports and what stands between them. Without a conduit bytes go read, write in one breath; with one it says
//! when. What is not bytes goes by what the ports are. Nothing is queued but the rest of one short write.

mod control;
mod pump;
mod signals;
mod tapping;

use std::ops::Range;
use std::sync::Arc;

use crate::events::{Event, Happened};
use crate::line::{Buffer, CHUNK, Piece};
use crate::port::{Change, Input, Port, Presence};
use crate::seat::guard;
use crate::set::Set;
use crate::stats::Moved;
use crate::{Account, Conduit, Direction, LinkStats, Signal, Tap, TapKind, TapRecord, Time};

pub use tapping::TapPoints;
pub(crate) use tapping::Tapping;

/// How modem lines cross a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineRouting {
    /// An application's lines to the device, a device's to the application; a null modem between applications.
    #[default]
    Auto,
    /// Between two devices too: CTS of one to RTS of the other, DSR to DTR.
    Cross,
    Off,
}

/// What a link does beside passing bytes on.
#[derive(Default)]
pub struct LinkOptions {
    pub conduit: Option<Box<dyn Conduit>>,
    pub tap: Option<Tap>,
    pub tap_points: TapPoints,
    pub lines: LineRouting,
}

impl std::fmt::Debug for LinkOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkOptions")
            .field("conduit", &self.conduit.is_some())
            .field("tap", &self.tap.is_some())
            .field("tap_points", &self.tap_points)
            .field("lines", &self.lines)
            .finish()
    }
}

/// Bytes on their way through a link in one direction.
#[derive(Debug)]
struct Flow {
    buffer: Box<Buffer>,
    /// What a short write has left.
    ready: Range<usize>,
    /// Read and not yet taken apart. Empty while nothing is `ready`.
    raw: Range<usize>,
    read_at: Time,
    /// The read is not counted as a message yet.
    fresh: bool,
    /// Taken by the conduit and not yet counted.
    pushed: u64,
    /// What the conduit said last, of what is counted.
    seen: Account,
    /// The receiver took less than the conduit had for it.
    blocked: bool,
}

impl Flow {
    fn new() -> Self {
        Self {
            buffer: Box::new([0; 1 + CHUNK]),
            ready: 0..0,
            raw: 0..0,
            read_at: Time(0),
            fresh: false,
            pushed: 0,
            seen: Account::default(),
            blocked: false,
        }
    }
}

/// Two ports and what stands between them. `flows[0]` runs from `ports[0]` to `ports[1]`, `flows[1]` back.
pub(crate) struct LinkUnit {
    id: u64,
    pub(crate) ports: [Port; 2],
    pub(crate) conduit: Option<Box<dyn Conduit>>,
    routing: LineRouting,
    tap: Tapping,
    stats: Arc<LinkStats>,
    flows: [Flow; 2],
    /// When breaks end that the control side has begun.
    breaks: [Option<Time>; 2],
    due: Option<Time>,
    /// What stands in it has panicked: it is not driven any more.
    failed: bool,
}

impl std::fmt::Debug for LinkUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkUnit")
            .field("ports", &self.ports)
            .field("flows", &self.flows)
            .finish_non_exhaustive()
    }
}

const DIRECTIONS: [Direction; 2] = [Direction::AToB, Direction::BToA];

impl LinkUnit {
    pub(crate) fn new(id: u64, ports: [Port; 2], options: LinkOptions, stats: Arc<LinkStats>) -> Self {
        let LinkOptions { conduit, tap, tap_points, lines } = options;
        let mut unit = Self {
            id,
            ports,
            conduit: None,
            routing: lines,
            tap: Tapping::new(tap, tap_points),
            stats,
            flows: [Flow::new(), Flow::new()],
            breaks: [None, None],
            due: None,
            failed: false,
        };
        unit.adopt(conduit);
        // A fault may wait for a time before anything comes.
        unit.due = unit.conduit.as_ref().and_then(|conduit| conduit.deadline());
        unit
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.breaks.iter().flatten().copied().chain(self.due).min()
    }

    pub(crate) fn on_deadline(&mut self, now: Time, set: &mut Set) {
        for side in 0..2 {
            if self.breaks[side].is_some_and(|at| at <= now) {
                self.breaks[side] = None;
                self.ports[side].apply(&Signal::Break(false));
                self.flush(side, set);
            }
        }
        if self.due.is_some_and(|at| at <= now) && !self.failed {
            if let Some(conduit) = &mut self.conduit
                && let Err(why) = guard(|| conduit.on_deadline(now))
            {
                return self.fail(&why, set);
            }
            self.pump(now, set);
        }
    }

    /// How many bytes may be read; none from a conduit that fails.
    fn room(&mut self, from: usize, set: &mut Set) -> usize {
        let Some(conduit) = self.conduit.as_ref().filter(|_| !self.failed) else { return CHUNK };
        match guard(|| conduit.room(DIRECTIONS[from])) {
            Ok(room) => room,
            Err(why) => {
                self.fail(&why, set);
                0
            }
        }
    }

    pub(crate) fn on_readable(&mut self, from: usize, set: &mut Set) {
        loop {
            let room = self.room(from, set);
            if room == 0 {
                return self.settle_conduit(from, set);
            }
            let flow = &mut self.flows[from];
            match self.ports[from].input(&mut flow.buffer, room, set) {
                Input::Bytes(n) => {
                    flow.raw = 1..1 + n;
                    flow.read_at = Time::now();
                    flow.fresh = true;
                    self.carry(from, set);
                }
                Input::Signals(signals) => self.on_status(from, signals, set),
                Input::Change(change) => return self.note(from, change, set),
            }
            // Only TLS reads ahead; for all others this is one read an event.
            if !self.ports[from].line.buffered() || !self.ports[from].reading() {
                return;
            }
        }
    }

    /// Signals that came in place of bytes.
    fn on_status(&mut self, from: usize, signals: [Option<Signal>; 2], set: &mut Set) {
        let now = Time::now();
        for signal in signals.into_iter().flatten() {
            self.on_signal(from, signal, now, set);
        }
        self.flush(from, set);
        self.pump(now, set);
        self.on_aside(from, set);
    }

    /// The bell has rung while the port is not read.
    pub(crate) fn on_bell(&mut self, from: usize, set: &mut Set) {
        // Room for the status alone, which lies before what waits in the buffer.
        match self.ports[from].input(&mut self.flows[from].buffer, 0, set) {
            Input::Bytes(_) => {}
            Input::Signals(signals) => self.on_status(from, signals, set),
            Input::Change(change) => self.note(from, change, set),
        }
    }

    pub(crate) fn on_writable(&mut self, to: usize, set: &mut Set) {
        let from = 1 - to;
        self.flush(to, set);
        self.flows[from].blocked = false;
        if !self.flows[from].ready.is_empty() {
            self.deliver(from, Moved::default(), set);
        }
        self.carry(from, set);
        if self.conduit.is_some() {
            self.pump(Time::now(), set);
        }
        if self.ports[from].line.buffered() && self.ports[from].reading() {
            self.on_readable(from, set);
        }
    }

    /// Takes apart what was read and passes it on, as long as the receiver takes it.
    fn carry(&mut self, from: usize, set: &mut Set) {
        if self.flows[from].raw.is_empty() {
            return;
        }
        let at = self.flows[from].read_at;
        while self.flows[from].ready.is_empty() {
            let flow = &mut self.flows[from];
            match self.ports[from].piece(&mut flow.buffer, &mut flow.raw) {
                Piece::Bytes(bytes) if bytes.is_empty() => {}
                Piece::Bytes(bytes) => self.arrive(from, bytes, set),
                Piece::Signal(signal) => self.on_signal(from, signal, at, set),
                Piece::End => break,
            }
        }
        // What came may also say that the line is to be written to again, or not.
        self.flush(from, set);
        self.pump(at, set);
    }

    /// Payload has come.
    fn arrive(&mut self, from: usize, bytes: Range<usize>, set: &mut Set) {
        let flow = &mut self.flows[from];
        let (n, at) = (bytes.len() as u64, flow.read_at);
        if self.tap.taps(TapPoints::In) {
            let record = TapRecord {
                at,
                kind: TapKind::In,
                side: from as u8,
                lines: self.ports[from].lines(),
                value: 0,
                bytes: &flow.buffer[bytes.clone()],
            };
            self.tap.record(record, self.id, set);
        }
        let direction = DIRECTIONS[from];
        if let Some(conduit) = &mut self.conduit
            && !self.failed
        {
            flow.pushed += n;
            let bytes = &flow.buffer[bytes];
            if let Err(why) = guard(|| conduit.push(at, direction, bytes)) {
                self.fail(&why, set);
            }
            return;
        }
        let moved =
            Moved { bytes_in: n, messages: std::mem::take(&mut flow.fresh).into(), ..Moved::default() };
        flow.ready = bytes;
        self.deliver(from, moved, set);
    }

    /// Writes what is ready from `from`, keeps what is not taken and reads on only when nothing is kept.
    fn deliver(&mut self, from: usize, mut moved: Moved, set: &mut Set) {
        let to = 1 - from;
        if !self.flows[from].ready.is_empty() && self.ports[to].presence() != Presence::Here {
            let change = self.ports[to].look(set);
            self.note(to, change, set);
        }
        if !self.flows[from].ready.is_empty() {
            let mut change = Change::None;
            if self.ports[to].presence() == Presence::Here {
                let flow = &mut self.flows[from];
                let bytes = &flow.buffer[flow.ready.clone()];
                let (n, then) = self.ports[to].output(bytes, set);
                change = then;
                moved.bytes_out = n as u64;
                let whole = n == bytes.len();
                let tapped = n > 0 && self.tap.taps(TapPoints::Out);
                if whole || tapped {
                    let now = Time::now();
                    if whole {
                        let latency = now.since(flow.read_at).as_nanos() as u64;
                        self.stats.directions[from].latency.record(latency);
                    }
                    if tapped {
                        let record = TapRecord {
                            at: now,
                            kind: TapKind::Out,
                            side: to as u8,
                            lines: self.ports[to].lines(),
                            value: 0,
                            bytes: &bytes[..n],
                        };
                        self.tap.record(record, self.id, set);
                    }
                }
                flow.ready.start += n;
            }
            if self.ports[to].presence() != Presence::Here {
                moved.discarded = self.drop_ready(from, set);
            }
            self.note(to, change, set);
        }
        self.settle(from, moved, set);
    }

    /// Throws away what waits for a far end that is not there any more.
    pub(crate) fn discard_towards(&mut self, to: usize, set: &mut Set) {
        let from = 1 - to;
        if !self.flows[from].ready.is_empty() {
            let moved = Moved { discarded: self.drop_ready(from, set), ..Moved::default() };
            self.settle(from, moved, set);
            self.carry(from, set);
        }
        self.flows[from].blocked = false;
        if self.conduit.is_some() {
            self.pump_with(Time::now(), Some(to), set);
        }
    }

    fn drop_ready(&mut self, from: usize, set: &mut Set) -> u64 {
        let flow = &mut self.flows[from];
        let n = flow.ready.len() as u64;
        flow.ready = 0..0;
        self.discarded(1 - from, n, set);
        n
    }

    /// Counts bytes that were for `to`, where nobody is.
    fn discarded(&mut self, to: usize, n: u64, set: &mut Set) {
        if n > 0 {
            self.ports[to].stats.discarded_bytes.add(n);
            self.tap_event(TapKind::Discarded, to, Time::now(), n, set);
        }
    }

    /// Counts what moved and makes the waiting fit: back-pressure while something is pending.
    fn settle(&mut self, from: usize, mut moved: Moved, set: &mut Set) {
        let to = 1 - from;
        let flow = &self.flows[from];
        moved.pending = flow.ready.len() as u64 + flow.seen.pending;
        let stalled = !flow.ready.is_empty();
        self.stats.directions[from].apply(moved);
        self.interest(from, !stalled, stalled, to, set);
    }

    /// Says what is wanted of the sender and of the receiver of one direction.
    fn interest(&mut self, from: usize, read: bool, write: bool, to: usize, set: &mut Set) {
        if self.ports[from].reading() != read && self.ports[from].presence() != Presence::Lost {
            let writing = self.ports[from].writing();
            let change = self.ports[from].want(read, writing, set);
            self.note(from, change, set);
        }
        if self.ports[to].writing() != write && self.ports[to].presence() == Presence::Here {
            let reading = self.ports[to].reading();
            let change = self.ports[to].want(reading, write, set);
            self.note(to, change, set);
        }
    }

    /// A far end came, left or is lost.
    pub(crate) fn note(&mut self, side: usize, change: Change, set: &mut Set) {
        match change {
            Change::None => {}
            Change::Came => {
                self.tell(side, Happened::Came, Time::now(), set);
                self.greet(side, set);
                self.on_aside(side, set);
            }
            Change::Left => {
                self.tell(side, Happened::Left, Time::now(), set);
                self.drop_raw(side);
                self.discard_towards(side, set);
                self.on_aside(side, set);
                self.hang_up(side, set);
                self.ports[side].line.vacant();
                let change = self.ports[side].look(set);
                self.note(side, change, set);
            }
            Change::Lost => {
                let at = Time::now();
                self.tell(side, Happened::Lost, at, set);
                self.lost(side, at, set);
            }
        }
    }

    fn lost(&mut self, side: usize, at: Time, set: &mut Set) {
        self.breaks[side] = None;
        self.tap_event(TapKind::Gone, side, at, 0, set);
        self.drop_raw(side);
        self.discard_towards(side, set);
        self.hang_up(side, set);
    }

    /// What a line whose framing begins anew has left cannot be taken apart any more.
    fn drop_raw(&mut self, side: usize) {
        let flow = &mut self.flows[side];
        let n = flow.raw.len() as u64;
        if n > 0 {
            flow.raw = 0..0;
            let pending = flow.ready.len() as u64 + flow.seen.pending;
            let moved = Moved { bytes_in: n, discarded: n, pending, ..Moved::default() };
            self.stats.directions[side].apply(moved);
        }
    }

    pub(crate) fn tell(&mut self, side: usize, what: Happened, at: Time, set: &mut Set) {
        set.news.post(Event { at, link: self.id, side, what });
    }

    pub(crate) fn tap_event(&mut self, kind: TapKind, side: usize, at: Time, value: u64, set: &mut Set) {
        let lines = self.ports[side].lines();
        self.tap.record(TapRecord { at, kind, side: side as u8, lines, value, bytes: &[] }, self.id, set);
    }

    pub(crate) fn fail(&mut self, why: &str, set: &mut Set) {
        self.failed = true;
        self.due = None;
        for side in 0..2 {
            let change = self.ports[side].give_up(set, format!("the conduit of this link failed: {why}"));
            self.note(side, change, set);
        }
        for from in 0..2 {
            if self.flows[from].seen != Account::default() || self.flows[from].pushed > 0 {
                self.write_off(from, Moved::default());
            }
        }
    }

    /// Lets a line with framing of its own send what it has.
    pub(crate) fn flush(&mut self, side: usize, set: &mut Set) {
        if self.ports[side].wants_flush() {
            let change = self.ports[side].flush(set);
            self.note(side, change, set);
        }
    }
}
