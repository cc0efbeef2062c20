//! Comings and goings at the far end of a port: who opens a virtual port, who calls a listener, who leaves. Moves no
//! bytes.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{Change, Port, Presence, RETRY};
use crate::line::Line;
use crate::line::pty::{Unlock, Visit};
use crate::line::socket::Caller;
use crate::set::{EventFlags, Set, Token};
use crate::{Lines, PortState, Time};

impl Port {
    /// The far end hung up while we are not reading.
    pub(crate) fn hung_up(&mut self, set: &mut Set) {
        if self.presence == Presence::Here {
            self.presence = Presence::Leaving;
            let _ = self.want(self.read, false, set);
        }
    }

    /// The far end has left and everything it wrote was read.
    pub(super) fn end(&mut self, set: &mut Set, errno: Option<Errno>) -> Change {
        if !self.line.can_return() {
            let reason = self.line.loss(errno);
            return self.lose(set, reason);
        }
        let mut done = Ok(());
        if let Line::Pty(_) = &self.line {
            done = self.reset(set);
        } else if let Some(line) = self.line.listener_mut() {
            self.told = None;
            line.client = None;
            self.stats.set_state(PortState::Waiting);
        }
        self.presence = Presence::Away;
        self.write = false;
        if !self.line.keeps_lines() {
            (self.driven, self.drives) = (Lines::NONE, false);
        }
        self.settings = None;
        self.stats.set_lines(self.lines());
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

    /// Whether somebody has come since the port was last seen empty, event or not.
    pub(crate) fn look(&mut self, set: &mut Set) -> Change {
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
            (line, Presence::Away) if line.listener().is_some() => self.accept(set),
            _ => Change::None,
        }
    }

    /// The far end of a virtual port was opened, at some time before now.
    pub(crate) fn opened(&mut self, set: &mut Set) -> Change {
        let change = self.look(set);
        if change == Change::None && self.presence == Presence::Away {
            // Gone without a trace, but for an exclusiveness that would lock the port.
            let done = self.reset(set);
            self.line.vacant();
            self.stats.opens.add(1);
            if let Err(e) = done {
                return self
                    .lose(set, format!("the virtual port cannot be made ready for the next user ({e})"));
            }
            return self.look(set);
        }
        change
    }

    fn arrive(&mut self, set: &mut Set, presence: Presence) -> Change {
        self.presence = presence;
        if let Line::Pty(_) = &self.line {
            self.line.connected();
        }
        self.stats.set_peer_open(true);
        self.stats.opens.add(1);
        self.stats.set_state(PortState::Open);
        match self.want(self.read, self.write, set) {
            Change::None => Change::Came,
            lost => lost,
        }
    }

    /// A listener has a caller, or the place of its client is free for one that waits.
    pub(crate) fn accept(&mut self, set: &mut Set) -> Change {
        if self.presence == Presence::Lost {
            return Change::None;
        }
        let observed = matches!(self.line, Line::Socket(_));
        let (unit, side) = self.at;
        let Some(line) = self.line.listener_mut() else { return Change::None };
        match line.accept(observed) {
            Ok(Caller::Client) => {
                // It may have been an observer until now.
                if let Some(fd) = &line.client {
                    set.remove(fd.as_fd());
                }
                self.stats.set_observers(line.observers().count());
                self.line.connected();
                self.arrive(set, Presence::Here)
            }
            // The one that is there has to go; whoever hears `Left` looks again and finds the new one.
            Ok(Caller::Instead) => self.end(set, None),
            Ok(Caller::Observer) => {
                if let Some(fd) = line.observers().last()
                    && set.add(fd, Token::Observers { unit, side }, EventFlags::IN).is_err()
                {
                    line.forget_last();
                }
                self.stats.set_observers(line.observers().count());
                Change::None
            }
            Ok(Caller::Refused) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Change::None,
            Err(_) => {
                self.back_off(set);
                Change::None
            }
        }
    }

    /// A caller cannot be taken in, most likely for want of descriptors: it stays in the queue, and asking at once
    /// again would only burn time.
    pub(crate) fn back_off(&mut self, set: &Set) {
        if let Some(line) = self.line.listener() {
            set.remove(line.listener.as_fd());
            self.accept_at = Some(Time::now() + RETRY);
        }
    }

    /// Observers have said something, which nobody hears, or have left.
    pub(crate) fn on_observers(&mut self) {
        if let Some(line) = self.line.listener_mut() {
            line.hear_observers();
            self.stats.set_observers(line.observers().count());
        }
    }
}
