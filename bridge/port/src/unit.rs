//! What a shard runs over its ports: a link carries bytes between two, a station talks at the end of one. Bytes
//! go read, gate, write in one breath; nothing is queued but the rest of one short write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::line::{Buffer, CHUNK};
use crate::port::{Change, Input, Port, Presence};
use crate::set::{EventFlags, Set};
use crate::stats::Moved;
use crate::{Direction, Gate, LineEvent, LinkStats, PortError, Station, Time, Tx};

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
        }
        for side in 0..self.ports().len() {
            self.look(side, set);
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
        if port.writing() && flags.contains(EventFlags::OUT) {
            match self {
                Self::Link(link) => link.on_writable(side, set),
                Self::Station(station) => station.flush(set),
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
        } else if flags.intersects(BROKEN) {
            port.hung_up(set);
            if let Self::Link(link) = self {
                link.discard_towards(side, set);
            }
        }
    }

    /// Somebody may have come.
    pub(crate) fn look(&mut self, side: usize, set: &mut Set) {
        let Some(port) = self.port(side) else { return };
        let change = port.look(set);
        self.on_change(side, change, set);
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

    fn on_change(&mut self, side: usize, change: Change, set: &mut Set) {
        match self {
            Self::Link(link) => link.on_change(side, change, set),
            Self::Station(station) => station.on_change(change, set),
        }
    }

    pub(crate) fn deadline(&mut self) -> Option<Time> {
        let own = match self {
            Self::Link(_) => None,
            Self::Station(station) => station.deadline,
        };
        self.ports().iter().filter_map(Port::deadline).chain(own).min()
    }

    pub(crate) fn on_deadline(&mut self, now: Time, set: &mut Set) {
        for port in self.ports() {
            if port.deadline().is_some_and(|at| at <= now) {
                port.on_deadline(set);
            }
        }
        if let Self::Station(station) = self
            && station.deadline.is_some_and(|at| at <= now)
        {
            station.greet(set);
            station.drive(set, |station, tx| station.on_deadline(now, tx));
        }
    }
}

/// Bytes on their way through a link in one direction.
#[derive(Debug)]
struct Flow {
    buffer: Box<Buffer>,
    /// What a short write has left.
    start: usize,
    end: usize,
    read_at: Time,
}

impl Flow {
    fn new() -> Self {
        Self { buffer: Box::new([0; 1 + CHUNK]), start: 0, end: 0, read_at: Time(0) }
    }

    fn pending(&self) -> usize {
        self.end - self.start
    }
}

/// Two ports and what stands between them. `flows[0]` runs from `ports[0]` to `ports[1]`, `flows[1]` back.
pub(crate) struct LinkUnit {
    pub(crate) ports: [Port; 2],
    pub(crate) gate: Option<Box<dyn Gate>>,
    stats: Arc<LinkStats>,
    flows: [Flow; 2],
}

impl std::fmt::Debug for LinkUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkUnit")
            .field("ports", &self.ports)
            .field("flows", &self.flows)
            .finish_non_exhaustive()
    }
}

impl LinkUnit {
    pub(crate) fn new(ports: [Port; 2], gate: Option<Box<dyn Gate>>, stats: Arc<LinkStats>) -> Self {
        Self { ports, gate, stats, flows: [Flow::new(), Flow::new()] }
    }

    fn on_readable(&mut self, from: usize, set: &mut Set) {
        let flow = &mut self.flows[from];
        let n = match self.ports[from].input(&mut flow.buffer, set) {
            Input::Bytes(n) => n,
            Input::None => return,
            Input::Change(change) => return self.on_change(from, change, set),
        };
        flow.read_at = Time::now();
        let mut passed = n;
        if let Some(gate) = &mut self.gate {
            let direction = if from == 0 { Direction::AToB } else { Direction::BToA };
            let bytes = &mut flow.buffer[1..=n];
            match guard(|| gate.pass(flow.read_at, direction, bytes)) {
                Ok(kept) => passed = kept.min(n),
                Err(why) => {
                    self.stats.directions[from].apply(Moved {
                        bytes_in: n as u64,
                        fault: n as u64,
                        messages: 1,
                        ..Moved::default()
                    });
                    return self.fail(&why, set);
                }
            }
        }
        (flow.start, flow.end) = (1, 1 + passed);
        let moved = Moved { bytes_in: n as u64, fault: (n - passed) as u64, messages: 1, ..Moved::default() };
        self.deliver(from, moved, set);
    }

    fn on_writable(&mut self, to: usize, set: &mut Set) {
        self.deliver(1 - to, Moved::default(), set);
    }

    /// Writes what is pending from `from`, keeps what is not taken and reads on only when nothing is kept.
    fn deliver(&mut self, from: usize, mut moved: Moved, set: &mut Set) {
        let to = 1 - from;
        if self.flows[from].pending() > 0 && self.ports[to].presence() != Presence::Here {
            let change = self.ports[to].look(set);
            self.note(to, change, set);
        }
        if self.flows[from].pending() > 0 {
            let flow = &mut self.flows[from];
            let mut change = Change::None;
            if self.ports[to].presence() == Presence::Here {
                let (n, then) = self.ports[to].output(&flow.buffer[flow.start..flow.end], set);
                change = then;
                flow.start += n;
                moved.bytes_out = n as u64;
                if flow.pending() == 0 {
                    self.stats.directions[from]
                        .latency
                        .record(Time::now().since(flow.read_at).as_nanos() as u64);
                }
            }
            if self.ports[to].presence() != Presence::Here {
                moved.discarded = self.drop_pending(from);
            }
            self.note(to, change, set);
        }
        self.settle(from, moved, set);
    }

    /// Throws away what waits for a far end that is not there any more.
    fn discard_towards(&mut self, to: usize, set: &mut Set) {
        let from = 1 - to;
        if self.flows[from].pending() > 0 {
            let moved = Moved { discarded: self.drop_pending(from), ..Moved::default() };
            self.settle(from, moved, set);
        }
    }

    fn drop_pending(&mut self, from: usize) -> u64 {
        let flow = &mut self.flows[from];
        let n = flow.pending() as u64;
        flow.start = flow.end;
        self.ports[1 - from].stats.discarded_bytes.add(n);
        n
    }

    /// Counts what moved and makes the waiting fit: back-pressure while something is pending.
    fn settle(&mut self, from: usize, mut moved: Moved, set: &mut Set) {
        let to = 1 - from;
        moved.pending = self.flows[from].pending() as u64;
        self.stats.directions[from].apply(moved);
        let stalled = moved.pending > 0;
        if self.ports[from].reading() == stalled && self.ports[from].presence() != Presence::Lost {
            let writing = self.ports[from].writing();
            let change = self.ports[from].want(!stalled, writing, set);
            self.note(from, change, set);
        }
        if self.ports[to].writing() != stalled && self.ports[to].presence() == Presence::Here {
            let reading = self.ports[to].reading();
            let change = self.ports[to].want(reading, stalled, set);
            self.note(to, change, set);
        }
    }

    fn on_change(&mut self, side: usize, change: Change, set: &mut Set) {
        self.note(side, change, set);
    }

    /// A far end came, left or is lost.
    fn note(&mut self, side: usize, change: Change, set: &mut Set) {
        match change {
            Change::None | Change::Came => {}
            Change::Left => {
                self.discard_towards(side, set);
                let change = self.ports[side].look(set);
                self.note(side, change, set);
            }
            Change::Lost => self.discard_towards(side, set),
        }
    }

    fn fail(&mut self, why: &str, set: &mut Set) {
        for side in 0..2 {
            let change = self.ports[side].lose(set, format!("the gate of this link failed: {why}"));
            self.note(side, change, set);
        }
    }

    /// Nothing that is still pending will arrive.
    pub(crate) fn finish(&mut self) {
        for from in 0..2 {
            let moved = Moved { discarded: self.drop_pending(from), ..Moved::default() };
            self.stats.directions[from].apply(moved);
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
                self.port.lose(set, format!("the station at this port failed: {why}"));
                None
            }
        }
    }

    fn on_readable(&mut self, set: &mut Set) {
        let Some(mut buffer) = self.buffer.take() else { return };
        let input = self.port.input(&mut buffer, set);
        if let Input::Bytes(n) = input {
            let now = Time::now();
            self.drive(set, |station, tx| station.on_bytes(now, &buffer[1..=n], tx));
        }
        self.buffer = Some(buffer);
        if let Input::Change(change) = input {
            self.on_change(change, set);
        }
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
fn guard<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "it panicked".to_owned())
    })
}
