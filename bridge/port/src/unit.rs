//! What a shard runs over its ports: a link carries bytes between two, a station talks at the end of one. Sorts events
//! by what runs; how a link moves its bytes is the link's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::line::{Buffer, CHUNK, Piece};
use crate::link::LinkUnit;
use crate::port::{Change, Input, Port, Presence};
use crate::set::{EventFlags, Set};
use crate::{LineEvent, PortError, Station, Time, Tx};

#[derive(Debug)]
pub(crate) enum Unit {
    Link(Box<LinkUnit>),
    Station(Box<StationUnit>),
}

impl Unit {
    fn port(&mut self, side: usize) -> Option<&mut Port> {
        match self {
            Self::Link(link) => link.ports.get_mut(side),
            Self::Station(station) => (side == 0).then_some(&mut station.port),
        }
    }

    pub(crate) fn ports(&mut self) -> &mut [Port] {
        match self {
            Self::Link(link) => &mut link.ports,
            Self::Station(station) => std::slice::from_mut(&mut station.port),
        }
    }

    pub(crate) fn attach(&mut self, set: &mut Set, unit: usize) -> Result<(), PortError> {
        let mut done = Ok(());
        for (side, port) in self.ports().iter_mut().enumerate() {
            done = done.and_then(|()| port.attach(set, unit, side));
        }
        if done.is_err() {
            self.detach(set);
            return done;
        }
        if let Self::Station(station) = self {
            station.drive(set, |_, _| ());
            if station.port.presence() == Presence::Here {
                station.on_change(Change::Came, set);
            }
            let change = station.port.look(set);
            station.on_change(change, set);
        }
        if let Self::Link(link) = self {
            for side in 0..2 {
                link.begin(side, set);
            }
        }
        Ok(())
    }

    pub(crate) fn detach(&mut self, set: &mut Set) {
        for port in self.ports() {
            port.detach(set);
        }
    }

    pub(crate) fn on_event(&mut self, side: usize, flags: EventFlags, set: &mut Set) {
        const BROKEN: EventFlags = EventFlags::HUP.union(EventFlags::ERR);
        let Some(port) = self.port(side) else { return };
        if !matches!(port.presence(), Presence::Here | Presence::Leaving) {
            return;
        }
        if flags.contains(EventFlags::OUT) {
            match self {
                Self::Link(link) => link.on_writable(side, set),
                Self::Station(station) => station.on_writable(set),
            }
        }
        let Some(port) = self.port(side) else { return };
        if port.reading() {
            if flags.intersects(BROKEN.union(EventFlags::IN)) {
                match self {
                    Self::Link(link) => link.on_readable(side, set),
                    Self::Station(station) => station.on_readable(set),
                }
            }
        } else if flags.contains(EventFlags::PRI)
            && let Self::Link(link) = self
        {
            link.on_bell(side, set);
        } else if flags.intersects(BROKEN)
            && let Some(port) = self.port(side)
        {
            port.hung_up(set);
            if let Self::Link(link) = self {
                link.discard_towards(side, set);
            }
        }
    }

    /// inotify says that the far end of a virtual port was opened.
    pub(crate) fn on_opened(&mut self, side: usize, set: &mut Set) {
        let Some(port) = self.port(side) else { return };
        let change = port.opened(set);
        self.on_change(side, change, set);
    }

    pub(crate) fn on_caller(&mut self, side: usize, set: &mut Set) {
        let Some(port) = self.port(side) else { return };
        let change = port.accept(set);
        self.on_change(side, change, set);
    }

    /// What comes beside the bytes of a port; stations have no use for it.
    pub(crate) fn on_aside(&mut self, side: usize, set: &mut Set) {
        match self {
            Self::Link(link) => link.on_aside(side, set),
            Self::Station(station) => while station.port.line.aside().is_some() {},
        }
    }

    pub(crate) fn on_observers(&mut self, side: usize) {
        if let Some(port) = self.port(side) {
            port.on_observers();
        }
    }

    fn on_change(&mut self, side: usize, change: Change, set: &mut Set) {
        match self {
            Self::Link(link) => link.note(side, change, set),
            Self::Station(station) => station.on_change(change, set),
        }
    }

    pub(crate) fn deadline(&mut self) -> Option<Time> {
        let own = match self {
            Self::Link(link) => link.deadline(),
            Self::Station(station) => station.deadline,
        };
        self.ports().iter().filter_map(Port::deadline).chain(own).min()
    }

    pub(crate) fn on_deadline(&mut self, now: Time, set: &mut Set) {
        for side in 0..self.ports().len() {
            let Some(port) = self.port(side) else { return };
            if port.deadline().is_some_and(|at| at <= now) {
                match self {
                    Self::Link(link) => link.on_port_deadline(side, now, set),
                    Self::Station(station) => station.on_port_deadline(now, set),
                }
            }
        }
        match self {
            Self::Link(link) => link.on_deadline(now, set),
            Self::Station(station) => {
                if station.deadline.is_some_and(|at| at <= now) {
                    station.greet(set);
                    station.drive(set, |station, tx| station.on_deadline(now, tx));
                }
            }
        }
    }
}

/// A protocol core at the end of a port.
pub(crate) struct StationUnit {
    pub(crate) port: Port,
    pub(crate) station: Box<dyn Station>,
    tx: Tx,
    /// Away only while the station reads it.
    buffer: Option<Box<Buffer>>,
    deadline: Option<Time>,
    failed: bool,
}

impl std::fmt::Debug for StationUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StationUnit")
            .field("port", &self.port)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl StationUnit {
    pub(crate) fn new(port: Port, station: Box<dyn Station>) -> Self {
        let buffer = Some(Box::new([0; 1 + CHUNK]));
        Self { port, station, tx: Tx::default(), buffer, deadline: None, failed: false }
    }

    /// Runs the station, sends what it wants sent and asks for its next deadline.
    pub(crate) fn drive<R>(
        &mut self,
        set: &mut Set,
        f: impl FnOnce(&mut dyn Station, &mut Tx) -> R,
    ) -> Option<R> {
        let result = self.call(set, f)?;
        self.flush(set);
        while let Some(signal) = self.call(set, |station, _| station.take_signal())? {
            self.port.apply(&signal);
            // A line with its own framing says it among its bytes.
            if self.port.presence() == Presence::Here && self.port.wants_flush() {
                let change = self.port.flush(set);
                if change != Change::None {
                    self.on_change(change, set);
                }
            }
        }
        // Asked for last: sending may have told the station that the line is gone.
        self.deadline = self.call(set, |station, _| station.deadline())?;
        Some(result)
    }

    /// A station hears that its line was opened before it says something to whoever opened it.
    fn greet(&mut self, set: &mut Set) {
        if self.port.presence() == Presence::Away {
            let change = self.port.look(set);
            self.on_change(change, set);
        }
    }

    /// For the control side: even a station that failed can be asked. A panic of `f` is the caller's own.
    pub(crate) fn visit<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut dyn Station, &mut Tx) -> R) -> R {
        self.greet(set);
        let result = f(self.station.as_mut(), &mut self.tx);
        self.drive(set, |_, _| ());
        result
    }

    fn call<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut dyn Station, &mut Tx) -> R) -> Option<R> {
        if self.failed {
            return None;
        }
        let (station, tx) = (&mut self.station, &mut self.tx);
        match guard(|| f(station.as_mut(), tx)) {
            Ok(result) => Some(result),
            Err(why) => {
                self.failed = true;
                self.deadline = None;
                self.tx.clear();
                self.port.give_up(set, format!("the station at this port failed: {why}"));
                None
            }
        }
    }

    fn on_readable(&mut self, set: &mut Set) {
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
                                self.drive(set, |station, tx| station.on_bytes(now, bytes, tx));
                            }
                            Piece::Signal(signal) => self.on_signal(signal),
                            Piece::End => break,
                        }
                    }
                }
                Input::Signals(signals) => {
                    signals.into_iter().flatten().for_each(|s| self.on_signal(s));
                    while let Some(signal) = self.port.line.aside() {
                        self.on_signal(signal);
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
    fn on_signal(&mut self, signal: crate::Signal) {
        self.port.learn(&signal);
        self.port.line.answer(&signal);
    }

    fn on_port_deadline(&mut self, now: Time, set: &mut Set) {
        while let Some(signal) = self.port.on_deadline(now, set) {
            self.on_signal(signal);
        }
        let change = self.port.flush(set);
        self.on_change(change, set);
    }

    fn on_writable(&mut self, set: &mut Set) {
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
            self.port.stats.discarded_bytes.add(self.tx.pending().len() as u64);
            self.tx.clear();
        }
        let mut change = Change::None;
        if !self.tx.pending().is_empty() {
            let (n, then) = self.port.output(self.tx.pending(), set);
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

    fn on_change(&mut self, change: Change, set: &mut Set) {
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
            self.port.stats.discarded_bytes.add(self.tx.pending().len() as u64);
            self.tx.clear();
        }
        let now = Time::now();
        self.drive(set, |station, tx| station.on_line(now, event, tx));
    }
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
