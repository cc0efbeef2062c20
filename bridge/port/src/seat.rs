//! The end of a line in a shard, and the core that sits there: what it reads goes to the core, what the core wants sent
//! is written, and comings, goings and deadlines are told. Does not know what the core is.

mod control;
mod guest;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::events::{Event, Happened};
use crate::histogram::AtomicHistogram;
use crate::line::{Buffer, CHUNK, Piece};
use crate::link::Tapping;
use crate::port::{Change, Input, Port, Presence};
use crate::set::Set;
use crate::{LineEvent, Lines, SeatOptions, Signal, Station, TapKind, TapPoints, TapRecord, Time, Tx};

pub(crate) use control::End;
use guest::Guest;

/// A protocol core at the end of a port.
pub(crate) struct Seat<S: ?Sized> {
    pub(crate) port: Port,
    pub(crate) station: Box<S>,
    /// What an operator calls it.
    what: &'static str,
    tx: Tx,
    /// Away only while the station reads it.
    buffer: Option<Box<Buffer>>,
    deadline: Option<Time>,
    pub(crate) lateness: Arc<AtomicHistogram>,
    /// Why it is not called any more.
    pub(crate) failed: Option<String>,
    /// What events call it, and which port of its unit this is.
    at: (u64, usize),
    tap: Tapping,
    /// Who else speaks here for a while.
    guest: Option<Guest>,
}

impl<S: ?Sized> std::fmt::Debug for Seat<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat")
            .field("port", &self.port)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<S: Station + ?Sized> Seat<S> {
    pub(crate) fn new(
        port: Port,
        station: Box<S>,
        what: &'static str,
        at: (u64, usize),
        options: SeatOptions,
    ) -> Self {
        let buffer = Some(Box::new([0; 1 + CHUNK]));
        let (tx, lateness) = (Tx::default(), Arc::default());
        let (deadline, failed, guest) = (None, None, None);
        let tap = Tapping::new(options.tap, options.tap_points);
        Self { port, station, what, tx, buffer, deadline, lateness, failed, at, tap, guest }
    }

    /// Asks the core for the first time, and tells it that its line is there, if it is.
    pub(crate) fn begin(&mut self, set: &mut Set) {
        self.drive(set, |_, _| ());
        if self.port.presence() == Presence::Here {
            self.on_change(Change::Came, set);
        }
        let change = self.port.look(set);
        self.on_change(change, set);
    }

    /// Runs the station, sends what it wants sent and asks for its next deadline.
    pub(crate) fn drive<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut S, &mut Tx) -> R) -> Option<R> {
        let result = self.call(set, f)?;
        self.flush(set);
        while let Some(signal) = self.call(set, |station, _| station.take_signal())? {
            self.signal(&signal, set);
        }
        // Asked for last: sending may have told the station that the line is gone.
        self.deadline = self.call(set, |station, _| station.deadline())?;
        Some(result)
    }

    /// Does to the line what a core wants.
    fn signal(&mut self, signal: &Signal, set: &mut Set) {
        let before = self.port.lines();
        if self.port.apply(signal).is_some() && *signal == Signal::Break(true) {
            self.note(TapKind::BreakOut, 0, set);
        }
        if self.port.lines() != before {
            self.note(TapKind::Lines, 0, set);
        }
        // A line with its own framing says it among its bytes.
        if self.port.presence() == Presence::Here && self.port.wants_flush() {
            let change = self.port.flush(set);
            if change != Change::None {
                self.on_change(change, set);
            }
        }
    }

    /// Tells the tap of something beside bytes.
    fn note(&mut self, kind: TapKind, value: u64, set: &mut Set) {
        if self.tap.tap.is_some() {
            let (at, lines) = (Time::now(), self.port.lines());
            let record = TapRecord { at, kind, side: 0, lines, value, bytes: &[] };
            self.tap.record(record, self.at.0, set);
        }
    }

    /// When somebody here wants to be called.
    pub(crate) fn due(&self) -> Option<Time> {
        let own = self.deadline.filter(|_| !self.is_guest_alone());
        own.into_iter().chain(self.guest.as_ref().and_then(|guest| guest.deadline)).min()
    }

    /// Calls the core if its deadline has come, and notes how late that is.
    pub(crate) fn on_deadline(&mut self, set: &mut Set) {
        if self.due().is_none() {
            return;
        }
        // Others may have been called since the shard found that something is due.
        let now = Time::now();
        if let Some(deadline) = self.deadline.filter(|at| *at <= now && !self.is_guest_alone()) {
            self.lateness.record(now.0 - deadline.0);
            self.greet(set);
            self.drive(set, |station, tx| station.on_deadline(now, tx));
        }
        self.guest_deadline(now, set);
    }

    /// A station hears that its line was opened before it says something to whoever opened it.
    pub(crate) fn greet(&mut self, set: &mut Set) {
        if self.port.presence() == Presence::Away {
            let change = self.port.look(set);
            self.on_change(change, set);
        }
    }

    /// For the control side: even a station that failed can be asked. A panic of `f` is the caller's own.
    pub(crate) fn visit<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut S, &mut Tx) -> R) -> R {
        self.greet(set);
        let result = f(self.station.as_mut(), &mut self.tx);
        self.drive(set, |_, _| ());
        result
    }

    pub(crate) fn call<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut S, &mut Tx) -> R) -> Option<R> {
        if self.failed.is_some() {
            return None;
        }
        let (station, tx) = (&mut self.station, &mut self.tx);
        match guard(|| f(station.as_mut(), tx)) {
            Ok(result) => Some(result),
            Err(why) => {
                let why = format!("the {} at this port failed: {why}", self.what);
                self.deadline = None;
                self.tx.clear();
                self.port.give_up(set, why.clone());
                self.failed = Some(why);
                let now = Time::now();
                self.drive_guest(set, |guest, tx| guest.on_line(now, LineEvent::Lost, tx));
                None
            }
        }
    }

    pub(crate) fn on_readable(&mut self, set: &mut Set) {
        let Some(mut buffer) = self.buffer.take() else { return };
        let mut ended = Change::None;
        loop {
            match self.port.input(&mut buffer, CHUNK, set) {
                Input::Bytes(n) => {
                    let now = Time::now();
                    let mut raw = 1..1 + n;
                    loop {
                        match self.port.piece(&mut buffer, &mut raw) {
                            Piece::Bytes(bytes) if bytes.is_empty() => {}
                            Piece::Bytes(bytes) => {
                                let bytes = &buffer[bytes];
                                if self.tap.taps(TapPoints::In) {
                                    let record = heard(now, self.port.lines(), bytes);
                                    self.tap.record(record, self.at.0, set);
                                }
                                if !self.is_guest_alone() {
                                    self.drive(set, |station, tx| station.on_bytes(now, bytes, tx));
                                }
                                self.drive_guest(set, |guest, tx| guest.on_bytes(now, bytes, tx));
                            }
                            Piece::Signal(signal) => self.on_signal(signal, set),
                            Piece::End => break,
                        }
                    }
                }
                Input::Signals(signals) => {
                    signals.into_iter().flatten().for_each(|s| self.on_signal(s, set));
                    while let Some(signal) = self.port.line.aside() {
                        self.on_signal(signal, set);
                    }
                }
                Input::Change(change) => ended = change,
            }
            // Only TLS reads ahead; for all others this is one read an event.
            if ended != Change::None || !self.port.line.buffered() {
                break;
            }
        }
        self.buffer = Some(buffer);
        if ended == Change::None && self.port.wants_flush() {
            ended = self.port.flush(set);
        }
        if ended != Change::None {
            self.on_change(ended, set);
        }
    }

    /// A station speaks in bytes: an application at its line is answered what it asked for.
    fn on_signal(&mut self, signal: Signal, set: &mut Set) {
        let news = self.port.learn(&signal);
        match signal {
            Signal::Lines(_) if news => self.note(TapKind::Lines, 0, set),
            Signal::Break(true) => self.note(TapKind::BreakIn, 0, set),
            Signal::Error(error) => self.note(TapKind::Error(error), 0, set),
            _ => {}
        }
        self.port.line.answer(&signal);
    }

    pub(crate) fn on_port_deadline(&mut self, now: Time, set: &mut Set) {
        while let Some(signal) = self.port.on_deadline(now, set) {
            self.on_signal(signal, set);
        }
        let change = self.port.flush(set);
        self.on_change(change, set);
    }

    pub(crate) fn on_writable(&mut self, set: &mut Set) {
        let change = self.port.flush(set);
        self.on_change(change, set);
        self.flush(set);
    }

    fn flush(&mut self, set: &mut Set) {
        if !self.tx.pending().is_empty() && self.port.presence() != Presence::Here {
            let change = self.port.look(set);
            self.tell(change, set);
        }
        if self.port.presence() != Presence::Here {
            self.discard(set);
        }
        let mut change = Change::None;
        if !self.tx.pending().is_empty() {
            let (n, then) = self.port.output(self.tx.pending(), set);
            if n > 0 && self.tap.taps(TapPoints::Out) {
                let said = heard(Time::now(), self.port.lines(), &self.tx.pending()[..n]);
                self.tap.record(TapRecord { kind: TapKind::Out, ..said }, self.at.0, set);
            }
            self.tx.advance(n);
            change = then;
        }
        let stalled = !self.tx.pending().is_empty();
        if change == Change::None && self.port.writing() != stalled && self.port.presence() == Presence::Here
        {
            change = self.port.want(true, stalled, set);
        }
        if change != Change::None {
            self.on_change(change, set);
        }
    }

    pub(crate) fn on_change(&mut self, change: Change, set: &mut Set) {
        self.tell(change, set);
        if change == Change::Left {
            self.port.line.vacant();
            let change = self.port.look(set);
            self.tell(change, set);
        }
    }

    fn tell(&mut self, change: Change, set: &mut Set) {
        let event = match change {
            Change::None => return,
            Change::Came => LineEvent::Opened,
            Change::Left => LineEvent::Closed,
            Change::Lost => LineEvent::Lost,
        };
        if change != Change::Came {
            self.discard(set);
        }
        let now = Time::now();
        if change == Change::Lost {
            self.note(TapKind::Gone, 0, set);
            let (link, side) = self.at;
            set.news.post(Event { at: now, link, side, what: Happened::Lost });
        }
        if !self.is_guest_alone() {
            self.drive(set, |station, tx| station.on_line(now, event, tx));
        }
        self.drive_guest(set, |guest, tx| guest.on_line(now, event, tx));
    }

    /// What is to be sent reaches nobody.
    fn discard(&mut self, set: &mut Set) {
        let n = self.tx.pending().len() as u64;
        if n > 0 {
            self.port.stats.discarded_bytes.add(n);
            self.tx.clear();
            self.note(TapKind::Discarded, n, set);
        }
    }
}

/// Bytes of a line, as its tap records them. A station's line is side A: it is the only one.
fn heard(at: Time, lines: Lines, bytes: &[u8]) -> TapRecord<'_> {
    TapRecord { at, kind: TapKind::In, side: 0, lines, value: 0, bytes }
}

/// Runs a core's code so that its panic is a reason, not the end of the shard.
pub(crate) fn guard<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "it panicked".to_owned())
    })
}
