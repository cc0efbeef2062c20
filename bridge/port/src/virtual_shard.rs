//! A shard without thread, descriptors and clock: the same stations, servers and conduits, joined in memory, on a time that
//! runs as fast as they can be driven. What they do depends on nothing else, so two runs are alike to the byte. Opens no
//! port; what only a real port can do (settings of an adapter, modem lines of a device) is not here.

mod calls;
mod link;
mod net;
mod server;
mod station;

use std::any::Any;
use std::sync::Arc;

use crate::events::Happened;
use crate::{
    Conduit, Event, LineEvent, LineSettings, LinkSnapshot, LinkStats, PortError, PortStats, Signal, Station,
    Time, Tx,
};
pub use calls::{VirtualListener, VirtualServer};
use link::LinkUnit;
use net::{Job, Net, Port, Side};
use server::ServerUnit;
use station::StationUnit;

/// One end of a virtual pair: one station or link end can sit on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VirtualEnd(usize);

/// A pair or link of a [`VirtualShard`].
#[derive(Debug)]
pub struct VirtualLink {
    unit: usize,
    stats: Arc<LinkStats>,
    ports: [Arc<PortStats>; 2],
}

impl VirtualLink {
    /// What events call this link.
    pub fn id(&self) -> u64 {
        self.unit as u64
    }

    pub fn stats(&self) -> LinkSnapshot {
        self.stats.snapshot()
    }

    pub fn ports(&self) -> [Arc<PortStats>; 2] {
        self.ports.clone()
    }
}

/// A station of a [`VirtualShard`].
#[derive(Debug)]
pub struct VirtualStation {
    unit: usize,
    port: Arc<PortStats>,
}

impl VirtualStation {
    pub fn port(&self) -> Arc<PortStats> {
        self.port.clone()
    }
}

enum Unit {
    Link(Box<LinkUnit>),
    Station(Box<StationUnit>),
    Server(Box<ServerUnit>),
}

impl Unit {
    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Link(link) => link.due,
            Self::Station(station) => station.due,
            Self::Server(server) => server.due,
        }
    }
}

/// When a unit wants to be called; of two at the same time the one that asked first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Time,
    sequence: u64,
}

const NEVER: Due = Due { at: Time(u64::MAX), sequence: u64::MAX };

/// Drives stations and links on simulated time, from `Time(0)` on.
pub struct VirtualShard {
    /// A place is never given again.
    units: Vec<Option<Unit>>,
    due: Vec<Due>,
    sequence: u64,
    /// Names, and the units that can be called there.
    listeners: Vec<(String, Option<usize>)>,
    net: Net,
}

impl std::fmt::Debug for VirtualShard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualShard")
            .field("now", &self.net.now)
            .field("units", &self.units.len())
            .finish_non_exhaustive()
    }
}

impl Default for VirtualShard {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualShard {
    pub fn new() -> Self {
        Self { units: Vec::new(), due: Vec::new(), sequence: 0, listeners: Vec::new(), net: Net::new() }
    }

    pub fn now(&self) -> Time {
        self.net.now
    }

    /// What happened to links, oldest first. Nobody has to ask: what finds no room is counted.
    pub fn next_event(&mut self) -> Option<Event> {
        self.net.events.pop_front()
    }

    pub fn missed_events(&self) -> u64 {
        self.net.missed
    }

    /// A virtual null modem. Without a conduit its bytes pass at once.
    pub fn pair(&mut self, name: &str, conduit: Option<Box<dyn Conduit>>) -> (VirtualLink, [VirtualEnd; 2]) {
        let unit = self.units.len();
        let ports =
            [0, 1].map(|side| self.net.add_joint(format!("{name}.{}", ["a", "b"][side]), (unit, side)));
        let ends = [VirtualEnd(ports[0].joint), VirtualEnd(ports[1].joint)];
        (self.add_link(ports, conduit, true), ends)
    }

    /// Joins what is at two ends of pairs.
    ///
    /// # Errors
    /// An end is taken.
    pub fn link(
        &mut self,
        a: VirtualEnd,
        b: VirtualEnd,
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<VirtualLink, PortError> {
        if a == b {
            return Err(self.net.busy(a.0));
        }
        let unit = self.units.len();
        let mut ports = Vec::with_capacity(2);
        for (side, end) in [a, b].into_iter().enumerate() {
            match self.net.sit(end.0, (unit, side)) {
                Ok(port) => ports.push(port),
                Err(e) => {
                    ports.iter().for_each(|port: &Port| self.net.joints[port.joint].user = None);
                    return Err(e);
                }
            }
        }
        let Ok(ports) = <[Port; 2]>::try_from(ports) else { return Err(self.net.busy(a.0)) };
        let link = self.add_link(ports, conduit, false);
        [a, b].into_iter().for_each(|end| self.net.arrived(end.0));
        Ok(link)
    }

    fn add_link(&mut self, ports: [Port; 2], conduit: Option<Box<dyn Conduit>>, pair: bool) -> VirtualLink {
        let stats = Arc::new(LinkStats::default());
        let link = VirtualLink {
            unit: self.units.len(),
            stats: stats.clone(),
            ports: [ports[0].stats.clone(), ports[1].stats.clone()],
        };
        if !pair {
            for side in 0..2 {
                self.net.post(link.id(), side, Happened::Came);
            }
        }
        self.add(Unit::Link(Box::new(LinkUnit::new(link.id(), ports, conduit, stats, pair))));
        link
    }

    /// Puts a station at an end. It is told `Opened` at once.
    ///
    /// # Errors
    /// The end is taken.
    pub fn add_station(
        &mut self,
        end: VirtualEnd,
        station: Box<dyn Station>,
    ) -> Result<VirtualStation, PortError> {
        let unit = self.units.len();
        let port = self.net.sit(end.0, (unit, 0))?;
        let stats = port.stats.clone();
        self.add(Unit::Station(Box::new(StationUnit::new(port, station))));
        if !self.net.is_call(end.0) {
            self.net.arrived(end.0);
        }
        let now = self.now();
        self.with_unit(unit, |unit, net| {
            if let Unit::Station(station) = unit {
                station.drive(net, |station, tx| station.on_line(now, LineEvent::Opened, tx));
            }
        });
        self.settle();
        Ok(VirtualStation { unit, port: stats })
    }

    /// Whoever sits at an end sets its line: the pair sees what it sees of an application.
    pub fn set_line(&mut self, end: VirtualEnd, settings: LineSettings) {
        self.net.signal(end.0, Side::Inner, Signal::Settings(settings));
        self.settle();
    }

    fn add(&mut self, unit: Unit) {
        self.units.push(Some(unit));
        self.due.push(NEVER);
        self.with_unit(self.units.len() - 1, |_, _| ());
    }

    fn with_unit<R>(&mut self, at: usize, f: impl FnOnce(&mut Unit, &mut Net) -> R) -> Option<R> {
        let unit = self.units.get_mut(at)?.as_mut()?;
        let result = f(unit, &mut self.net);
        let due = unit.deadline().unwrap_or(NEVER.at);
        if self.due[at].at != due {
            self.sequence += 1;
            self.due[at] = Due { at: due, sequence: self.sequence };
        }
        Some(result)
    }

    /// Carries what has been sent until all have got it and nobody says more at this moment.
    fn settle(&mut self) {
        while let Some((job, (unit, side))) = self.net.next_job() {
            self.with_unit(unit, |unit, net| match (unit, job) {
                (Unit::Link(link), Job::Read) => link.on_readable(net, side),
                (Unit::Link(link), Job::Write) => link.on_writable(net, side),
                (Unit::Station(station), Job::Read) => station.on_readable(net),
                (Unit::Station(station), Job::Write) => {
                    station.drive(net, |_, _| ());
                }
                (Unit::Station(station), Job::Left) => station.left(net),
                (Unit::Server(server), Job::Read) => server.on_readable(net, side),
                (Unit::Server(server), Job::Write) => server.on_writable(net, side),
                (Unit::Link(_) | Unit::Server(_), Job::Left) => {}
            });
        }
    }

    fn first(&self) -> (usize, Due) {
        let mut first = (0, NEVER);
        for (unit, due) in self.due.iter().enumerate() {
            if *due < first.1 {
                first = (unit, *due);
            }
        }
        first
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Time> {
        Some(self.first().1.at).filter(|at| *at != NEVER.at)
    }

    /// Goes on to the next moment at which something is due, if that is not after `limit`, and does all that is due
    /// then. `false`, and the time as it was, if nothing is.
    pub fn step(&mut self, limit: Time) -> bool {
        let (mut unit, mut due) = self.first();
        if due.at == NEVER.at || due.at > limit {
            return false;
        }
        let now = due.at.max(self.net.now);
        self.net.now = now;
        // What has become due since is done too, in the order in which it was asked for, but each unit's own next
        // deadline is later: a clock never stands still.
        while due.at <= now {
            self.with_unit(unit, |unit, net| match unit {
                Unit::Link(link) => link.on_deadline(net),
                Unit::Station(station) => station.on_deadline(net),
                Unit::Server(server) => server.on_deadline(net),
            });
            self.settle();
            (unit, due) = self.first();
        }
        true
    }

    /// Lets time pass.
    pub fn run_until(&mut self, limit: Time) {
        self.run_while(limit, || true);
    }

    /// Lets time pass until `limit`, or until `go_on`, which is asked after each moment at which something was done, says
    /// no. Answers whether the limit was reached.
    pub fn run_while(&mut self, limit: Time, mut go_on: impl FnMut() -> bool) -> bool {
        while self.step(limit) {
            if !go_on() {
                return false;
            }
        }
        self.net.now = self.net.now.max(limit);
        true
    }

    /// Runs `f` on a station between two moments. What it sends is carried at once.
    ///
    /// # Errors
    /// The station is gone or of another type.
    pub fn with_station<S: Station, R>(
        &mut self,
        station: &VirtualStation,
        f: impl FnOnce(&mut S, Time, &mut Tx) -> R,
    ) -> Result<R, PortError> {
        let now = self.now();
        let wrong = |port: String| PortError::WrongType { port, asked: std::any::type_name::<S>() };
        let answer = self.with_unit(station.unit, |unit, net| {
            let Unit::Station(unit) = unit else { return Err(wrong(String::new())) };
            let any: &mut dyn Any = unit.station.as_mut();
            let Some(core) = any.downcast_mut::<S>() else { return Err(wrong(unit.port.name.clone())) };
            let answer = f(core, now, &mut unit.tx);
            unit.drive(net, |_, _| ());
            Ok(answer)
        });
        self.settle();
        answer.unwrap_or_else(|| Err(gone()))
    }

    /// Runs `f` on what stands in a link. What has become due goes out after it.
    ///
    /// # Errors
    /// The link is gone or has no such conduit.
    pub fn with_conduit<C: Conduit, R>(
        &mut self,
        link: &VirtualLink,
        f: impl FnOnce(&mut C, Time) -> R,
    ) -> Result<R, PortError> {
        let now = self.now();
        let answer = self.with_unit(link.unit, |unit, net| {
            let Unit::Link(unit) = unit else { return None };
            let conduit: &mut dyn Any = unit.conduit.as_mut()?.as_mut();
            let answer = conduit.downcast_mut::<C>().map(|conduit| f(conduit, now))?;
            unit.pump(net);
            Some(answer)
        });
        self.settle();
        answer.ok_or_else(gone)?.ok_or_else(|| PortError::WrongType {
            port: format!("virtual link {}", link.unit),
            asked: std::any::type_name::<C>(),
        })
    }

    /// Takes a link out; what is still in it is discarded. Answers its last counters.
    pub fn remove_link(&mut self, link: VirtualLink) -> LinkSnapshot {
        if let Some(Unit::Link(mut unit)) = self.take(link.unit) {
            unit.finish(&mut self.net);
            for port in &unit.ports {
                self.net.vacate(port);
            }
        }
        self.settle();
        link.stats()
    }

    /// Takes a station out.
    pub fn remove_station(&mut self, station: VirtualStation) -> Option<Box<dyn Station>> {
        let taken = self.take(station.unit);
        let Some(Unit::Station(unit)) = taken else { return None };
        self.net.vacate(&unit.port);
        self.settle();
        Some(unit.station)
    }

    fn take(&mut self, at: usize) -> Option<Unit> {
        self.due[at] = NEVER;
        self.units[at].take()
    }
}

fn gone() -> PortError {
    PortError::Gone { port: "virtual port".to_owned() }
}
