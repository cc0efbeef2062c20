//! What a shard runs over its ports: a link carries bytes between two, a station talks at the end of one, a server with
//! many callers of one. Sorts events by what runs; what becomes of them is decided there.

use crate::link::LinkUnit;
use crate::port::{Change, Port, Presence};
use crate::seat::{End, Seat};
use crate::server_unit::ServerUnit;
use crate::set::{EventFlags, Set};
use crate::{PortError, Station, Time};

#[derive(Debug)]
pub(crate) enum Unit {
    Link(Box<LinkUnit>),
    Station(Box<Seat<dyn Station>>),
    Server(Box<ServerUnit>),
}

impl Unit {
    pub(crate) fn port(&mut self, side: usize) -> Option<&mut Port> {
        match self {
            Self::Link(link) => link.ports.get_mut(side),
            Self::Station(station) => (side == 0).then_some(&mut station.port),
            Self::Server(server) => server.port(side),
        }
    }

    /// How many ports it has.
    pub(crate) fn sides(&self) -> usize {
        match self {
            Self::Link(_) | Self::Server(_) => 2,
            Self::Station(_) => 1,
        }
    }

    pub(crate) fn attach(&mut self, set: &mut Set, unit: usize) -> Result<(), PortError> {
        for side in 0..self.sides() {
            let Some(port) = self.port(side) else { continue };
            if let Err(e) = port.attach(set, unit, side) {
                self.detach(set);
                return Err(e);
            }
        }
        match self {
            Self::Link(link) => (0..2).for_each(|side| link.begin(side, set)),
            Self::Station(station) => station.begin(set),
            Self::Server(server) => server.begin(unit, set),
        }
        Ok(())
    }

    pub(crate) fn detach(&mut self, set: &mut Set) {
        for side in 0..self.sides() {
            if let Some(port) = self.port(side) {
                port.detach(set);
            }
        }
        if let Self::Server(server) = self {
            server.detach(set);
        }
    }

    /// The end of its line, if a core sits there.
    pub(crate) fn end<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut dyn End, &mut Set) -> R) -> Option<R> {
        match self {
            Self::Link(_) => None,
            Self::Station(seat) => Some(f(&mut **seat, set)),
            Self::Server(server) => Some(server.with_line(set, |seat, set| f(seat, set))),
        }
    }

    /// The shard ends: nothing of this is carried any more.
    pub(crate) fn give_up(&mut self, set: &mut Set, why: &str) {
        for side in 0..self.sides() {
            if let Some(port) = self.port(side) {
                port.give_up(set, why.to_owned());
            }
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
                Self::Server(server) => server.with_line(set, Seat::on_writable),
            }
        }
        let Some(port) = self.port(side) else { return };
        if port.reading() {
            if flags.intersects(BROKEN.union(EventFlags::IN)) {
                match self {
                    Self::Link(link) => link.on_readable(side, set),
                    Self::Station(station) => station.on_readable(set),
                    Self::Server(server) => server.with_line(set, Seat::on_readable),
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

    /// Somebody calls at a listener.
    pub(crate) fn on_caller(&mut self, side: usize, set: &mut Set) {
        if let (Self::Server(server), 0) = (&mut *self, side) {
            return server.accept(set);
        }
        let Some(port) = self.port(side) else { return };
        let change = port.accept(set);
        self.on_change(side, change, set);
    }

    /// Something is up with one of a server's callers.
    pub(crate) fn on_called(&mut self, slot: u32, generation: u32, flags: EventFlags, set: &mut Set) {
        if let Self::Server(server) = self {
            server.on_event(slot, generation, flags, set);
        }
    }

    /// What comes beside the bytes of a port; only links have a use for it.
    pub(crate) fn on_aside(&mut self, side: usize, set: &mut Set) {
        match self {
            Self::Link(link) => link.on_aside(side, set),
            other => {
                if let Some(port) = other.port(side) {
                    while port.line.aside().is_some() {}
                }
            }
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
            Self::Server(server) => server.with_line(set, |seat, set| seat.on_change(change, set)),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Link(link) => link.ports.iter().filter_map(Port::deadline).chain(link.deadline()).min(),
            Self::Station(station) => station.port.deadline().into_iter().chain(station.due()).min(),
            Self::Server(server) => server.deadline(),
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Time, set: &mut Set) {
        for side in 0..self.sides() {
            let Some(port) = self.port(side) else { return };
            if port.deadline().is_some_and(|at| at <= now) {
                match self {
                    Self::Link(link) => link.on_port_deadline(side, now, set),
                    Self::Station(station) => station.on_port_deadline(now, set),
                    Self::Server(server) => server.on_port_deadline(side, now, set),
                }
            }
        }
        match self {
            Self::Link(link) => link.on_deadline(now, set),
            Self::Station(station) => station.on_deadline(set),
            Self::Server(server) => server.on_deadline(now, set),
        }
    }
}
