//! One open port inside a shard: whether somebody is at the far end, what the shard waits for on it, and its
//! counters. Does not know what the bytes are for.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::line::pty::{Unlock, Visit};
use crate::line::{Buffer, Line, Read, Write};
use crate::set::{EventFlags, Set, Token};
use crate::{PortError, PortState, PortStats, Time};

/// Whether bytes can reach somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Here,
    /// Has left, and what it wrote last is not read yet because the other side is stalled.
    Leaving,
    /// Nobody is there; somebody may come.
    Away,
    /// Gone for good.
    Lost,
}

/// What happened to the far end, for whoever uses the port.
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
    Bytes(usize),
    None,
    Change(Change),
}

/// When a listener that could not accept tries again (no descriptors left).
const RETRY: std::time::Duration = std::time::Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) stats: Arc<PortStats>,
    line: Line,
    presence: Presence,
    at: (usize, usize),
    /// What is wanted, and what the epoll set has been told.
    read: bool,
    write: bool,
    told: Option<EventFlags>,
    accept_at: Option<Time>,
}

impl Port {
    pub(crate) fn new((name, line, stats): (String, Line, Arc<PortStats>)) -> Self {
        let presence = if line.can_return() { Presence::Away } else { Presence::Here };
        Self {
            name,
            stats,
            line,
            presence,
            at: (0, 0),
            read: true,
            write: false,
            told: None,
            accept_at: None,
        }
    }

    /// Takes its place in a shard. A virtual port that is open already counts as just opened.
    pub(crate) fn attach(&mut self, set: &mut Set, unit: usize, side: usize) -> Result<(), PortError> {
        self.at = (unit, side);
        let done = match &self.line {
            Line::Pty(line) => set.watch(line.slave(), unit, side),
            Line::Listen(line) => {
                set.add(line.listener.as_fd(), Token::Listener { unit, side }, EventFlags::IN)
            }
            Line::Serial(_) | Line::Stream(_) => self.tell(set),
        };
        done.map_err(|e| PortError::io(&self.name, "watch the port", e))
    }

    /// Leaves the shard; the descriptors are closed by whoever gets the port.
    pub(crate) fn detach(&mut self, set: &mut Set) {
        self.untell(set);
        match &self.line {
            Line::Pty(_) => set.unwatch(self.at.0, self.at.1),
            Line::Listen(line) => {
                set.remove(line.listener.as_fd());
            }
            Line::Serial(_) | Line::Stream(_) => {}
        }
    }

    pub(crate) fn presence(&self) -> Presence {
        self.presence
    }

    pub(crate) fn reading(&self) -> bool {
        self.read
    }

    pub(crate) fn writing(&self) -> bool {
        self.write
    }

    /// Says which events matter from now on.
    pub(crate) fn want(&mut self, read: bool, write: bool, set: &Set) -> Change {
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

    fn tell(&mut self, set: &Set) -> Result<(), Errno> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        if flags.is_empty() {
            // A hang-up is reported whether wanted or not; once is enough while we cannot read on.
            flags = EventFlags::ONESHOT;
        }
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

    /// Reads once.
    pub(crate) fn input(&mut self, buffer: &mut Buffer, set: &mut Set) -> Input {
        match self.line.read(buffer) {
            Read::Bytes(n) => {
                self.stats.rx_bytes.add(n as u64);
                Input::Bytes(n)
            }
            Read::Nothing => Input::None,
            Read::Settings => {
                if let Line::Pty(line) = &mut self.line
                    && let Some((baud, stop_bits)) = line.settings(Time::now())
                {
                    self.publish(baud, stop_bits);
                }
                Input::None
            }
            Read::Ended(errno) => Input::Change(self.end(set, errno)),
        }
    }

    fn publish(&self, baud: u32, stop_bits: u8) {
        self.stats.set_line(baud, stop_bits);
        self.stats.settings_changes.add(1);
    }

    /// Writes once. What the line does not take is the caller's to keep.
    pub(crate) fn output(&mut self, bytes: &[u8], set: &mut Set) -> (usize, Change) {
        match self.line.write(bytes) {
            Write::Took(n) => {
                self.stats.tx_bytes.add(n as u64);
                (n, Change::None)
            }
            Write::Ended(errno) => (0, self.end(set, errno)),
        }
    }

    /// The far end hung up while we are not reading.
    pub(crate) fn hung_up(&mut self, set: &Set) {
        if self.presence == Presence::Here {
            self.presence = Presence::Leaving;
            let _ = self.want(self.read, false, set);
        }
    }

    /// The far end has left and everything it wrote was read.
    fn end(&mut self, set: &mut Set, errno: Option<Errno>) -> Change {
        if !self.line.can_return() {
            let reason = self.line.loss(errno);
            return self.lose(set, reason);
        }
        let done = match &mut self.line {
            Line::Pty(_) => self.reset(set),
            Line::Listen(line) => {
                self.told = None;
                line.client = None;
                self.stats.set_state(PortState::Waiting);
                Ok(())
            }
            Line::Serial(_) | Line::Stream(_) => Ok(()),
        };
        self.presence = Presence::Away;
        self.write = false;
        // Said when it is true in every respect: whoever waits for it may open the port at once.
        self.stats.set_peer_open(false);
        match done {
            Ok(()) => Change::Left,
            Err(e) => {
                self.lose(set, format!("the virtual port cannot be made ready for the next user ({e})"))
            }
        }
    }

    /// Makes a virtual port that nobody has open as new.
    fn reset(&mut self, set: &mut Set) -> std::io::Result<()> {
        let Line::Pty(line) = &mut self.line else { return Ok(()) };
        line.reset()?;
        self.stats.set_line(0, 1);
        self.untell(set);
        let Line::Pty(line) = &mut self.line else { return Ok(()) };
        set.mute(line.slave());
        match line.unlock()? {
            Unlock::Same => set.unmute(line.slave())?,
            Unlock::Renewed => set.watch(line.slave(), self.at.0, self.at.1)?,
        }
        Ok(())
    }

    /// Takes the port out of service for good.
    pub(crate) fn lose(&mut self, set: &Set, reason: String) -> Change {
        if self.presence == Presence::Lost {
            return Change::None;
        }
        self.untell(set);
        if let Line::Listen(line) = &self.line {
            set.remove(line.listener.as_fd());
        }
        self.presence = Presence::Lost;
        (self.read, self.write) = (false, false);
        self.stats.set_lost(reason);
        Change::Lost
    }

    /// Whether somebody has come since the port was last seen empty, event or not.
    pub(crate) fn look(&mut self, set: &Set) -> Change {
        match (&self.line, self.presence) {
            (Line::Pty(line), Presence::Away) => match line.visit() {
                Visit::None => Change::None,
                Visit::Here => self.arrive(set, Presence::Here),
                Visit::Over => self.arrive(set, Presence::Leaving),
            },
            // Another user came before the last one's bytes were through.
            (Line::Pty(line), Presence::Leaving) if line.visit() == Visit::Here => {
                self.untell(set);
                match self.arrive(set, Presence::Here) {
                    Change::Came => Change::None,
                    other => other,
                }
            }
            (Line::Listen(_), Presence::Away) => self.accept(set),
            _ => Change::None,
        }
    }

    /// The far end of a virtual port was opened, at some time before now.
    pub(crate) fn opened(&mut self, set: &mut Set) -> Change {
        let change = self.look(set);
        if change == Change::None && self.presence == Presence::Away {
            // Gone without a trace, but for an exclusiveness that would lock the port.
            let done = self.reset(set);
            self.stats.opens.add(1);
            if let Err(e) = done {
                return self
                    .lose(set, format!("the virtual port cannot be made ready for the next user ({e})"));
            }
            return self.look(set);
        }
        change
    }

    fn arrive(&mut self, set: &Set, presence: Presence) -> Change {
        self.presence = presence;
        self.stats.set_peer_open(true);
        self.stats.opens.add(1);
        self.stats.set_state(PortState::Open);
        match self.want(self.read, self.write, set) {
            Change::None => Change::Came,
            lost => lost,
        }
    }

    /// A listener has a caller.
    pub(crate) fn accept(&mut self, set: &Set) -> Change {
        if self.presence == Presence::Lost {
            return Change::None;
        }
        let Line::Listen(line) = &mut self.line else { return Change::None };
        match line.accept() {
            Ok(true) => self.arrive(set, Presence::Here),
            Ok(false) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Change::None,
            Err(_) => {
                // Out of descriptors, most likely: the caller stays in the queue, and asking at once again would
                // only burn time.
                set.remove(line.listener.as_fd());
                self.accept_at = Some(Time::now() + RETRY);
                Change::None
            }
        }
    }

    /// When the port wants `on_deadline`.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.line {
            Line::Pty(line) => line.settle_at,
            Line::Listen(_) => self.accept_at,
            Line::Serial(_) | Line::Stream(_) => None,
        }
    }

    pub(crate) fn on_deadline(&mut self, set: &Set) {
        match &mut self.line {
            Line::Pty(line) => {
                if let Some((baud, stop_bits)) = line.settle() {
                    self.publish(baud, stop_bits);
                }
            }
            Line::Listen(line) => {
                self.accept_at = None;
                if self.presence != Presence::Lost {
                    let token = Token::Listener { unit: self.at.0, side: self.at.1 };
                    let _ = set.add(line.listener.as_fd(), token, EventFlags::IN);
                }
            }
            Line::Serial(_) | Line::Stream(_) => {}
        }
    }
}
