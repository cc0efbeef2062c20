//! One open port inside a shard: whether somebody is at the far end, what the shard waits for on it, and its
//! counters. Does not know what the bytes are for.

mod far_end;

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::line::serial::SerialLine;
use crate::line::{Buffer, Line, Piece, Read, Role, Write};
use crate::open::Parts;
use crate::set::{EventFlags, Set, Token};
use crate::{CharError, LineSettings, Lines, PortError, PortState, PortStats, Purge, Signal, Time};

/// Whether bytes can reach somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Here,
    /// Has left, and what it wrote last is not read yet because the other side is stalled.
    Leaving,
    /// Nobody is there; somebody may come.
    Away,
    /// The port is gone and closed; another may take its place.
    Lost,
}

/// What happened to the far end, for whoever uses the port. After `Left` it looks again: somebody may have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Came,
    Left,
    Lost,
}

/// What reading brought.
#[derive(Debug)]
pub(crate) enum Input {
    /// So many bytes from `buffer[1]` on, to be taken apart with [`Port::piece`].
    Bytes(usize),
    Signals([Option<Signal>; 2]),
    Change(Change),
}

/// When a listener that could not accept tries again (no descriptors left).
const RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// Lines that we or an application drive, and those that are sensed.
pub(crate) const DRIVEN: Lines = Lines(Lines::DTR.0 | Lines::RTS.0);
pub(crate) const SENSED: Lines = Lines(Lines::CTS.0 | Lines::DSR.0 | Lines::DCD.0 | Lines::RI.0);

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) stats: Arc<PortStats>,
    pub(crate) line: Line,
    /// DTR and RTS as the application, or we at a device, drive them, and the others as seen there.
    pub(crate) driven: Lines,
    pub(crate) sensed: Lines,
    /// The application has said what it drives.
    pub(crate) drives: bool,
    /// How the line is set, as far as known.
    pub(crate) settings: Option<LineSettings>,
    /// The far end has begun a break and not ended it.
    pub(crate) breaking: bool,
    /// Somebody brings the port back when it is lost.
    pub(crate) returns: bool,
    presence: Presence,
    at: (usize, usize),
    /// What is wanted, and what the epoll set has been told.
    read: bool,
    write: bool,
    told: Option<EventFlags>,
    accept_at: Option<Time>,
}

fn presence(line: &Line) -> Presence {
    match line {
        Line::Gone => Presence::Lost,
        line if line.can_return() => Presence::Away,
        _ => Presence::Here,
    }
}

impl Port {
    pub(crate) fn new(parts: Parts, returns: bool) -> Self {
        let Parts { name, line, fresh, keeps, settings } = parts;
        let stats = match keeps {
            Some(stats) => {
                stats.set_back(&fresh);
                stats
            }
            None => fresh,
        };
        Self {
            name,
            stats,
            driven: line.driven().unwrap_or_default(),
            sensed: Lines::NONE,
            drives: false,
            settings,
            breaking: false,
            returns,
            presence: presence(&line),
            line,
            at: (0, 0),
            read: true,
            write: false,
            told: None,
            accept_at: None,
        }
    }

    /// Puts another line in place of this one, which is handed back. The counters go on.
    pub(crate) fn replace(&mut self, parts: Parts, set: &mut Set) -> (Result<(), PortError>, Line) {
        self.detach(set);
        let old = std::mem::replace(&mut self.line, parts.line);
        self.stats.set_back(&parts.fresh);
        self.presence = presence(&self.line);
        (self.driven, self.sensed) = (self.line.driven().unwrap_or_default(), Lines::NONE);
        self.settings = parts.settings;
        (self.read, self.write, self.accept_at) = (true, false, None);
        let done = self.attach(set, self.at.0, self.at.1);
        let Err(e) = &done else { return (done, old) };
        self.detach(set);
        self.presence = Presence::Lost;
        self.stats.set_gone(PortState::Waiting, e.to_string());
        // The old one stays until it goes with the unit, or another takes its place.
        (done, std::mem::replace(&mut self.line, old))
    }

    /// Takes its place in a shard. A virtual port that is open already counts as just opened.
    pub(crate) fn attach(&mut self, set: &mut Set, unit: usize, side: usize) -> Result<(), PortError> {
        self.at = (unit, side);
        self.watch(set).map_err(|e| PortError::io(&self.name, "watch the port", e))
    }

    fn watch(&mut self, set: &mut Set) -> Result<(), Errno> {
        let (unit, side) = self.at;
        if let Some(fd) = self.line.aside_fd() {
            set.add(fd, Token::Aside { unit, side }, EventFlags::IN)?;
        }
        match &self.line {
            Line::Pty(line) => set.watch(line.slave(), unit, side),
            line => match line.listener() {
                Some(line) => set.add(line.listener.as_fd(), Token::Listener { unit, side }, EventFlags::IN),
                None => self.tell(set),
            },
        }
    }

    /// Leaves the shard; the descriptors are closed by whoever gets the port.
    pub(crate) fn detach(&mut self, set: &mut Set) {
        self.untell(set);
        if let Some(fd) = self.line.aside_fd() {
            set.remove(fd);
        }
        if let Line::Pty(_) = &self.line {
            set.unwatch(self.at.0, self.at.1);
        }
        if let Some(line) = self.line.listener() {
            set.remove(line.listener.as_fd());
            line.observers().for_each(|fd| set.remove(fd));
        }
    }

    pub(crate) fn presence(&self) -> Presence {
        self.presence
    }

    pub(crate) fn role(&self) -> Role {
        self.line.role()
    }

    pub(crate) fn reading(&self) -> bool {
        self.read
    }

    /// The unit has bytes for the line that it did not take.
    pub(crate) fn writing(&self) -> bool {
        self.write
    }

    /// All modem lines as known.
    pub(crate) fn lines(&self) -> Lines {
        self.driven | self.sensed
    }

    /// Says which events matter from now on.
    pub(crate) fn want(&mut self, read: bool, write: bool, set: &mut Set) -> Change {
        (self.read, self.write) = (read, write);
        if !matches!(self.presence, Presence::Here | Presence::Leaving) {
            return Change::None;
        }
        match self.tell(set) {
            Ok(()) => Change::None,
            Err(e) => {
                self.lose(set, format!("the port cannot be watched any more ({})", std::io::Error::from(e)))
            }
        }
    }

    fn flags(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read && !self.line.full());
        flags.set(EventFlags::OUT, self.write && !self.line.held() || self.line.unsent());
        // The preload library's bell is heard while nothing is read, too.
        flags.set(EventFlags::PRI, self.presence == Presence::Here && self.line.rings());
        if flags.is_empty() {
            // A hang-up is reported whether wanted or not; once is enough while we cannot read on.
            flags = EventFlags::ONESHOT;
        }
        flags
    }

    /// Whether the line's own framing has something to send, or waits for other events than before.
    pub(crate) fn wants_flush(&self) -> bool {
        self.line.unsent() || self.told.is_some_and(|told| told != self.flags())
    }

    fn tell(&mut self, set: &Set) -> Result<(), Errno> {
        let flags = self.flags();
        if self.told == Some(flags) {
            return Ok(());
        }
        let Some(fd) = self.line.fd() else { return Ok(()) };
        let token = Token::Port { unit: self.at.0, side: self.at.1 };
        match self.told {
            Some(_) => set.modify(fd, token, flags)?,
            None => set.add(fd, token, flags)?,
        }
        self.told = Some(flags);
        Ok(())
    }

    fn untell(&mut self, set: &Set) {
        if self.told.take().is_some()
            && let Some(fd) = self.line.fd()
        {
            set.remove(fd);
        }
    }

    /// Reads once, at most `room` bytes.
    pub(crate) fn input(&mut self, buffer: &mut Buffer, room: usize, set: &mut Set) -> Input {
        match self.line.read(buffer, room) {
            Read::Bytes(n) => Input::Bytes(n),
            Read::Nothing => Input::Signals([None, None]),
            Read::Packet(status) => Input::Signals(self.packet(status)),
            Read::Ended(errno) => Input::Change(self.end(set, errno)),
        }
    }

    fn packet(&mut self, status: u8) -> [Option<Signal>; 2] {
        use crate::line::pty::{PACKET_FLUSH_READ, PACKET_FLUSH_WRITE};
        let Line::Pty(line) = &mut self.line else { return [None, None] };
        let settings = line.packet(status);
        let purge = match (status & PACKET_FLUSH_READ != 0, status & PACKET_FLUSH_WRITE != 0) {
            (true, true) => Some(Purge::Both),
            (true, false) => Some(Purge::Input),
            (false, true) => Some(Purge::Output),
            (false, false) => None,
        };
        [settings.map(Signal::Settings), purge.map(Signal::Purge)]
    }

    /// The next piece of what was read.
    pub(crate) fn piece(&mut self, buffer: &mut Buffer, raw: &mut Range<usize>) -> Piece {
        if raw.start >= raw.end {
            return Piece::End;
        }
        let mut piece = match self.line.decoder() {
            Some(decoder) => decoder.next(buffer, raw),
            None => {
                let all = raw.clone();
                raw.start = raw.end;
                Piece::Bytes(all)
            }
        };
        if let (Piece::Bytes(bytes), Line::Serial(SerialLine { echo: Some(echo), .. })) =
            (&mut piece, &mut self.line)
        {
            bytes.start += echo.own(Time::now(), &buffer[bytes.clone()]);
        }
        if let Piece::Bytes(bytes) = &piece {
            self.stats.rx_bytes.add(bytes.len() as u64);
        }
        piece
    }

    /// Sends what the line's own framing wants sent, and watches for room if not all went.
    pub(crate) fn flush(&mut self, set: &mut Set) -> Change {
        if !matches!(self.presence, Presence::Here | Presence::Leaving) {
            return Change::None;
        }
        if self.line.unsent()
            && let Write::Ended(errno) = self.line.flush()
        {
            return self.end(set, errno);
        }
        self.want(self.read, self.write, set)
    }

    /// Keeps what a signal from the far end says about this port. `false` when it says nothing new.
    pub(crate) fn learn(&mut self, signal: &Signal) -> bool {
        match *signal {
            Signal::Lines(lines) => {
                let before = self.lines();
                match self.role() {
                    Role::Device => self.sensed = lines & SENSED,
                    Role::App | Role::Plain => (self.driven, self.drives) = (lines & DRIVEN, true),
                }
                self.stats.set_lines(self.lines());
                return self.lines() != before;
            }
            Signal::Settings(settings) => {
                self.settings = Some(settings);
                self.stats.set_settings(settings);
                self.stats.settings_changes.add(1);
            }
            Signal::Break(on) => {
                self.breaking = on;
                if on {
                    self.stats.breaks.add(1);
                }
            }
            Signal::Error(CharError::Framing) => self.stats.framing_errors.add(1),
            Signal::Error(CharError::Parity) => self.stats.parity_errors.add(1),
            Signal::Error(CharError::Overrun) => {
                let more = match &mut self.line {
                    Line::Serial(line) => line.more_overruns(),
                    _ => 0,
                };
                self.stats.overruns.add(1 + u64::from(more));
            }
            Signal::Purge(_) | Signal::Unplug(_) => {}
        }
        true
    }

    /// Does to this port's far end what a signal says; answers what came of it, if the line can do such a thing.
    pub(crate) fn apply(&mut self, signal: &Signal) -> Option<Signal> {
        if self.presence == Presence::Lost {
            return None;
        }
        let result = self.line.apply(signal);
        match (signal, result, self.role()) {
            (_, Some(Signal::Settings(settings)), Role::Device) => {
                self.settings = Some(settings);
                self.stats.set_settings(settings);
            }
            (_, Some(Signal::Lines(lines)), Role::Device) => self.driven = lines & DRIVEN,
            (Signal::Lines(lines), _, Role::App) => self.sensed = *lines & SENSED,
            _ => {}
        }
        self.stats.set_lines(self.lines());
        result
    }

    /// Writes once. What the line does not take is the caller's to keep.
    pub(crate) fn output(&mut self, bytes: &[u8], set: &mut Set) -> (usize, Change) {
        match self.line.write(bytes) {
            Write::Took(n) => {
                self.stats.tx_bytes.add(n as u64);
                if let Line::Serial(SerialLine { echo: Some(echo), .. }) = &mut self.line {
                    echo.sent(Time::now(), &bytes[..n]);
                }
                if let Line::Socket(_) = self.line
                    && let Some(line) = self.line.listener()
                {
                    let lost = line.share(&bytes[..n]);
                    if lost > 0 {
                        self.stats.observer_lost_bytes.add(lost);
                    }
                }
                match self.line.unsent() {
                    true => (n, self.want(self.read, self.write, set)),
                    false => (n, Change::None),
                }
            }
            Write::Ended(errno) => (0, self.end(set, errno)),
        }
    }

    /// The port is gone. It is closed on another thread, because that can take time and because a device that has
    /// vanished gets its old name again only when nobody holds it any more.
    pub(crate) fn lose(&mut self, set: &mut Set, reason: String) -> Change {
        let state = if self.returns { PortState::Waiting } else { PortState::Lost };
        let change = self.retire(set, state, reason);
        if change == Change::Lost {
            let line = std::mem::replace(&mut self.line, Line::Gone);
            // What nobody closes now goes with the unit, or when another takes its place.
            self.line = set.close(line, &self.stats);
        }
        change
    }

    /// Takes the port out of service for good; its line is closed with the unit.
    pub(crate) fn give_up(&mut self, set: &mut Set, reason: String) -> Change {
        self.retire(set, PortState::Lost, reason)
    }

    /// Takes the port out of service and hands out its line, to be closed by the caller.
    pub(crate) fn pull(&mut self, set: &mut Set, reason: String) -> (Change, Line) {
        let change = self.retire(set, PortState::Waiting, reason);
        (change, std::mem::replace(&mut self.line, Line::Gone))
    }

    fn retire(&mut self, set: &mut Set, state: PortState, reason: String) -> Change {
        if self.presence == Presence::Lost {
            if state == PortState::Lost {
                self.stats.set_gone(state, reason);
            }
            return Change::None;
        }
        self.detach(set);
        self.presence = Presence::Lost;
        (self.read, self.write, self.accept_at) = (false, false, None);
        (self.driven, self.sensed) = (Lines::NONE, Lines::NONE);
        self.stats.set_lines(Lines::NONE);
        self.stats.set_observers(0);
        self.stats.set_callers(0);
        self.stats.set_gone(state, reason);
        Change::Lost
    }

    /// When the port wants `on_deadline`.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.line.deadline().into_iter().chain(self.accept_at).min()
    }

    /// Asked again while it brings signals.
    pub(crate) fn on_deadline(&mut self, now: Time, set: &Set) -> Option<Signal> {
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            let (unit, side) = self.at;
            if let Some(line) = self.line.listener() {
                let _ = set.add(line.listener.as_fd(), Token::Listener { unit, side }, EventFlags::IN);
            }
        }
        self.line.on_deadline(now)
    }
}
