//! What lies between the units of a virtual shard: joints with a pipe each way, who is to be called next, and events.
//! Drives nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::events::{Event, Happened};
use crate::{CharError, PortError, PortState, PortStats, Signal, Time};

/// What a pipe holds: as much as a pseudo terminal takes before its writer has to wait.
const PIPE: usize = 4096;
/// Events that wait for their reader at most.
const EVENTS: usize = 65_536;

/// A place at which something is done: a unit, and which of its ports.
pub(super) type Place = (usize, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Read,
    /// There is room again in a pipe that was full, or its reader has left.
    Write,
    /// The server that was called has hung up.
    Left,
}

/// Which side of a joint a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The pair's own.
    Inner,
    /// Whoever sits on the end.
    User,
}

impl Side {
    fn other(self) -> Self {
        if self == Self::Inner { Self::User } else { Self::Inner }
    }
}

/// Bytes on their way to one reader, and signals in their place among them.
#[derive(Debug)]
struct Pipe {
    buffer: Box<[u8; PIPE]>,
    start: usize,
    end: usize,
    /// Bytes taken out so far.
    taken: u64,
    /// Each comes before the byte of this number.
    signals: VecDeque<(u64, Signal)>,
    /// The reader is to be called.
    ringing: bool,
    /// The writer waits for room.
    full: bool,
}

impl Pipe {
    fn new() -> Self {
        Self {
            buffer: Box::new([0; PIPE]),
            start: 0,
            end: 0,
            taken: 0,
            signals: VecDeque::with_capacity(16),
            ringing: false,
            full: false,
        }
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(PIPE - self.len());
        if self.end + n > PIPE {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
        match (&bytes[..n], self.buffer.get_mut(self.end)) {
            // On a slow wire bytes come one by one.
            ([byte], Some(place)) => *place = *byte,
            (bytes, _) => self.buffer[self.end..self.end + n].copy_from_slice(bytes),
        }
        self.end += n;
        n
    }

    fn waiting(&self) -> &[u8] {
        let until = self.signals.front().map_or(self.len(), |(at, _)| (at - self.taken) as usize);
        &self.buffer[self.start..self.start + until]
    }

    fn advance(&mut self, n: usize) {
        self.start += n;
        self.taken += n as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}

/// Where somebody who uses an end meets the pair.
#[derive(Debug)]
pub(super) struct Joint {
    name: String,
    inner: Option<Place>,
    inner_stats: Arc<PortStats>,
    /// It is a call, not the end of a pair.
    call: bool,
    pub user: Option<Place>,
    /// To the pair, to the user.
    pipes: [Pipe; 2],
}

impl Joint {
    fn pipe_to(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[usize::from(side == Side::User)]
    }

    fn at(&self, side: Side) -> Option<Place> {
        if side == Side::Inner { self.inner } else { self.user }
    }
}

/// One unit's grip on a joint.
#[derive(Debug)]
pub(super) struct Port {
    pub name: String,
    pub joint: usize,
    pub side: Side,
    pub stats: Arc<PortStats>,
    pub lost: bool,
}

impl Port {
    fn new(name: String, joint: usize, side: Side) -> Self {
        let stats = Arc::new(PortStats::new(PortState::Open, side == Side::User, 0, 1));
        Self { name, joint, side, stats, lost: false }
    }

    /// Counts what a signal from the line says.
    pub fn learn(&self, signal: Signal) {
        match signal {
            Signal::Lines(lines) => self.stats.set_lines(lines),
            Signal::Settings(settings) => {
                self.stats.set_settings(settings);
                self.stats.settings_changes.add(1);
            }
            Signal::Break(true) => self.stats.breaks.add(1),
            Signal::Error(CharError::Framing) => self.stats.framing_errors.add(1),
            Signal::Error(CharError::Parity) => self.stats.parity_errors.add(1),
            Signal::Error(CharError::Overrun) => self.stats.overruns.add(1),
            Signal::Break(false) | Signal::Purge(_) | Signal::Unplug(_) => {}
        }
    }
}

#[derive(Debug)]
pub(super) struct Net {
    pub now: Time,
    pub joints: Vec<Joint>,
    ready: VecDeque<(Job, Place)>,
    pub events: VecDeque<Event>,
    pub missed: u64,
}

impl Net {
    pub fn new() -> Self {
        Self {
            now: Time(0),
            joints: Vec::new(),
            ready: VecDeque::with_capacity(64),
            events: VecDeque::with_capacity(64),
            missed: 0,
        }
    }

    /// An end of the pair at `inner`; answers the pair's own port there.
    pub fn add_joint(&mut self, name: String, inner: Place) -> Port {
        let port = Port::new(name.clone(), self.joints.len(), Side::Inner);
        self.join(name, inner, &port, false);
        port
    }

    /// A connection to the server at `inner`; answers the server's own port there, which counts in `stats`.
    pub fn add_call(&mut self, name: String, inner: Place, stats: Arc<PortStats>) -> Port {
        let joint = self.joints.len();
        let port = Port { name: name.clone(), joint, side: Side::Inner, stats, lost: false };
        self.join(name, inner, &port, true);
        port
    }

    fn join(&mut self, name: String, inner: Place, port: &Port, call: bool) {
        let (inner, inner_stats, pipes) = (Some(inner), port.stats.clone(), [Pipe::new(), Pipe::new()]);
        self.joints.push(Joint { name, inner, inner_stats, call, user: None, pipes });
    }

    /// Takes an end.
    pub fn sit(&mut self, joint: usize, user: Place) -> Result<Port, PortError> {
        let end = &mut self.joints[joint];
        if end.user.is_some() {
            return Err(self.busy(joint));
        }
        end.user = Some(user);
        Ok(Port::new(end.name.clone(), joint, Side::User))
    }

    /// Whether it is a connection to a server.
    pub fn is_call(&self, joint: usize) -> bool {
        self.joints[joint].call
    }

    pub fn busy(&self, joint: usize) -> PortError {
        let port = self.joints[joint].name.clone();
        PortError::Busy { port, holder: "another station or link of this virtual shard".to_owned() }
    }

    /// The pair learns that its end is taken.
    pub fn arrived(&mut self, joint: usize) {
        let joint = &self.joints[joint];
        joint.inner_stats.set_peer_open(true);
        joint.inner_stats.opens.add(1);
        if let Some((unit, side)) = joint.inner {
            self.post(unit as u64, side, Happened::Came);
        }
    }

    /// Whoever holds this port is gone. What it sent before is still read; what was for it is not.
    pub fn vacate(&mut self, port: &Port) {
        let joint = &mut self.joints[port.joint];
        let pipe = joint.pipe_to(port.side);
        let n = pipe.len();
        pipe.advance(n);
        pipe.signals.clear();
        (pipe.full, pipe.ringing) = (false, false);
        if port.side == Side::Inner {
            joint.inner = None;
            return;
        }
        joint.user = None;
        joint.inner_stats.discarded_bytes.add(n as u64);
        let call = joint.call;
        if !call {
            joint.inner_stats.set_peer_open(false);
        }
        if let Some((unit, side)) = joint.inner {
            if !call {
                self.post(unit as u64, side, Happened::Left);
            }
            // What waits for the one who left can go now: to nobody.
            self.ready.push_back((Job::Write, (unit, side)));
        }
    }

    /// A server ends a call. What it sent before is still read.
    pub fn hang_up(&mut self, port: &Port) {
        self.vacate(port);
        if let Some(user) = self.joints[port.joint].user {
            self.ready.push_back((Job::Left, user));
        }
    }

    /// Somebody is there to read what is sent at this port.
    pub fn is_heard(&self, port: &Port) -> bool {
        !port.lost && self.joints[port.joint].at(port.side.other()).is_some()
    }

    /// Sends what the pipe takes; the caller is called again when it takes the rest.
    pub fn send(&mut self, port: &Port, bytes: &[u8]) -> usize {
        let to = port.side.other();
        let pipe = self.joints[port.joint].pipe_to(to);
        let n = pipe.put(bytes);
        pipe.full |= n < bytes.len();
        port.stats.tx_bytes.add(n as u64);
        self.ring(port.joint, to);
        n
    }

    /// Sends something else, in its place among the bytes.
    pub fn signal(&mut self, joint: usize, to: Side, signal: Signal) {
        let pipe = self.joints[joint].pipe_to(to);
        let at = pipe.taken + pipe.len() as u64;
        pipe.signals.push_back((at, signal));
        self.ring(joint, to);
    }

    fn ring(&mut self, joint: usize, reader: Side) {
        let joint = &mut self.joints[joint];
        let Some(place) = joint.at(reader) else {
            // Nobody will ever read it.
            let pipe = joint.pipe_to(reader);
            pipe.advance(pipe.len());
            pipe.signals.clear();
            return;
        };
        let pipe = joint.pipe_to(reader);
        if !std::mem::replace(&mut pipe.ringing, true) {
            self.ready.push_back((Job::Read, place));
        }
    }

    /// The reader is being called.
    pub fn answer(&mut self, port: &Port) {
        self.joints[port.joint].pipe_to(port.side).ringing = false;
    }

    /// Calls the reader again if something waits for it.
    pub fn ring_if_waiting(&mut self, port: &Port) {
        let pipe = self.joints[port.joint].pipe_to(port.side);
        if pipe.len() > 0 || !pipe.signals.is_empty() {
            self.ring(port.joint, port.side);
        }
    }

    /// The next signal, if no byte comes before it.
    pub fn take_signal(&mut self, port: &Port) -> Option<Signal> {
        let pipe = self.joints[port.joint].pipe_to(port.side);
        let (_, signal) = *pipe.signals.front().filter(|(at, _)| *at == pipe.taken)?;
        pipe.signals.pop_front();
        Some(signal)
    }

    /// The bytes up to the next signal.
    pub fn waiting(&self, port: &Port) -> &[u8] {
        self.joints[port.joint].pipes[usize::from(port.side == Side::User)].waiting()
    }

    /// Moves what waits at one port on to what is sent at another, as far as that takes it; answers how much that was.
    pub fn pass(&mut self, from: &Port, to: &Port) -> usize {
        let Ok([source, sink]) = self.joints.get_disjoint_mut([from.joint, to.joint]) else { return 0 };
        let (reader, pipe) = (to.side.other(), sink.pipe_to(to.side.other()));
        let bytes = source.pipe_to(from.side).waiting();
        let n = pipe.put(bytes);
        pipe.full |= n < bytes.len();
        if n > 0 {
            to.stats.tx_bytes.add(n as u64);
            self.ring(to.joint, reader);
            self.took(from, n);
        }
        n
    }

    /// Bytes were read.
    pub fn took(&mut self, port: &Port, n: usize) {
        let joint = &mut self.joints[port.joint];
        let pipe = joint.pipe_to(port.side);
        pipe.advance(n);
        port.stats.rx_bytes.add(n as u64);
        if std::mem::take(&mut pipe.full)
            && let Some(place) = joint.at(port.side.other())
        {
            self.ready.push_back((Job::Write, place));
        }
    }

    pub fn next_job(&mut self) -> Option<(Job, Place)> {
        self.ready.pop_front()
    }

    pub fn post(&mut self, link: u64, side: usize, what: Happened) {
        self.post_event(Event { at: self.now, link, side, what });
    }

    pub fn post_event(&mut self, event: Event) {
        if self.events.len() < EVENTS { self.events.push_back(event) } else { self.missed += 1 }
    }
}
