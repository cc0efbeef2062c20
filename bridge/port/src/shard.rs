//! The control side of a shard: starts the thread, hands it ports, asks it questions. All waiting, allocating
//! and freeing is done here, on the caller's thread.

mod seats;
mod visits;

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};

use crate::engine::Engine;
use crate::events::{Events, news};
use crate::histogram::AtomicHistogram;
use crate::link::LinkUnit;
use crate::port::Port;
use crate::seat::Seat;
use crate::server_unit::ServerUnit;
use crate::set::Set;
use crate::sys_lend::{Done, Work, lend};
use crate::unit::Unit;
use crate::{
    Calls, Conduit, Granted, Histogram, Lines, LinkOptions, LinkSnapshot, LinkStats, OpenPort, PortError,
    PortStats, RealTime, Server, Station, Tap, TapPoints, Time, Tx, realtime,
};

pub use seats::{SeatOptions, SeatRef};
pub use visits::Visits;

/// Never the same twice in a process, so that a handle of one shard means nothing to another.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One thread with one epoll set which owns its ports. Dropping it stops the thread and closes all ports.
#[derive(Debug)]
pub struct Shard {
    name: String,
    thread_id: i32,
    work: Sender<Work<Engine>>,
    bell: Arc<OwnedFd>,
    done: Mutex<Dones>,
    thread: Option<JoinHandle<Engine>>,
    granted: Granted,
    events: Events,
    /// Held as long as the shard runs, if that was granted.
    _latency: Option<OwnedFd>,
}

/// One for each question that is being asked at a time; all are kept until the thread has ended, so that it is
/// never the one to free them.
#[derive(Debug, Default)]
struct Dones {
    all: Vec<Arc<Done>>,
    idle: Vec<Arc<Done>>,
}

/// Two ports joined by a shard.
#[derive(Debug)]
pub struct Link {
    id: u64,
    name: String,
    stats: Arc<LinkStats>,
    ports: [Arc<PortStats>; 2],
}

impl Link {
    /// What events call this link. Never the same twice in a process.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn stats(&self) -> LinkSnapshot {
        self.stats.snapshot()
    }

    pub fn ports(&self) -> [Arc<PortStats>; 2] {
        self.ports.clone()
    }
}

/// A station at the end of a port.
#[derive(Debug)]
pub struct StationRef {
    id: u64,
    name: String,
    port: Arc<PortStats>,
    lateness: Arc<AtomicHistogram>,
}

impl StationRef {
    pub fn port(&self) -> Arc<PortStats> {
        self.port.clone()
    }

    /// How late the shard called the station, measured from each of its deadlines that came to the moment of the call,
    /// since it was added. A deadline that was over when the station set it counts from where it was set to.
    pub fn lateness(&self) -> Histogram {
        self.lateness.snapshot()
    }
}

/// A server and its callers.
#[derive(Debug)]
pub struct ServerRef {
    id: u64,
    name: String,
    port: Arc<PortStats>,
    line: Option<Arc<PortStats>>,
    lateness: Arc<AtomicHistogram>,
}

impl ServerRef {
    /// The listener's counters: bytes of all callers together, `opens` for each caller that was let in.
    pub fn port(&self) -> Arc<PortStats> {
        self.port.clone()
    }

    /// The counters of the line behind, if it has one.
    pub fn line(&self) -> Option<Arc<PortStats>> {
        self.line.clone()
    }

    /// How many callers are there now.
    pub fn callers(&self) -> u32 {
        self.port.callers()
    }

    /// As [`StationRef::lateness`].
    pub fn lateness(&self) -> Histogram {
        self.lateness.snapshot()
    }
}

impl Shard {
    pub fn start(name: &str) -> Result<Self, PortError> {
        Self::start_with(name, &RealTime::default())
    }

    /// Starts a shard that keeps time better, as far as the system grants that; what it does not is no error.
    pub fn start_with(name: &str, ask: &RealTime) -> Result<Self, PortError> {
        let failed =
            |action, source: std::io::Error| PortError::Shard { shard: name.to_owned(), action, source };
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| failed("make its bell", e.into()))?;
        let bell = Arc::new(bell);
        let (news, events) = news().map_err(|e| failed("make the bell of its events", e.into()))?;
        let engine =
            Engine::new(bell.clone(), news, ask.spin).map_err(|e| failed("make its epoll set", e.into()))?;
        let (work, inbox) = bounded(64);
        let (born, birth) = bounded(1);
        let asked = ask.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let granted = realtime::of_thread(&asked);
                let _ = born.send((rustix::thread::gettid().as_raw_nonzero().get(), granted));
                drop((born, asked));
                engine.run(&inbox)
            })
            .map_err(|e| failed("start its thread", e))?;
        let (thread_id, mut granted) =
            birth.recv().map_err(|_| PortError::ShardGone { shard: name.to_owned() })?;
        let latency = realtime::of_process(ask, &mut granted);
        Ok(Self {
            name: name.to_owned(),
            thread_id,
            work,
            bell,
            done: Mutex::default(),
            thread: Some(thread),
            granted,
            events,
            _latency: latency,
        })
    }

    /// What was asked of the system for this shard, and what came of it.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// What happens to this shard's links. One reader is enough: an event is given once.
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// Joins two ports.
    pub fn add_link(&self, a: OpenPort, b: OpenPort, options: LinkOptions) -> Result<Link, PortError> {
        let stats = Arc::new(LinkStats::default());
        let (a, b) = (Port::new(a.into_parts(), true), Port::new(b.into_parts(), true));
        let ports = [a.stats.clone(), b.stats.clone()];
        let name = format!("{} <-> {}", a.name, b.name);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        self.add(id, Unit::Link(Box::new(LinkUnit::new(id, [a, b], options, stats.clone()))))?;
        Ok(Link { id, name, stats, ports })
    }

    /// Puts an open port in the place of one that was lost (or is there: then that one goes). Counters go on.
    pub fn replace_port(&self, link: &Link, side: usize, port: OpenPort) -> Result<(), PortError> {
        let parts = port.into_parts();
        // Whichever line is left is closed here.
        let (done, _line) = self.in_link(link, |unit, set| unit.replace(side, parts, set))?;
        done
    }

    /// Pulls the cable: closes the port of one side, as if its device had gone. It waits for `replace_port`.
    pub fn lose_port(&self, link: &Link, side: usize, reason: &str) -> Result<(), PortError> {
        let reason = reason.to_owned();
        self.in_link(link, |unit, set| unit.pull(side, reason, set)).map(drop)
    }

    /// Changes who records a link; answers the tap it had.
    pub fn set_tap(
        &self,
        link: &Link,
        tap: Option<Tap>,
        points: TapPoints,
    ) -> Result<Option<Tap>, PortError> {
        self.in_link(link, |unit, _| unit.set_tap(tap, points))
    }

    /// Changes what stands in a link; answers what stood there, with nothing left in it.
    pub fn set_conduit(
        &self,
        link: &Link,
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<Option<Box<dyn Conduit>>, PortError> {
        self.in_link(link, |unit, set| unit.set_conduit(conduit, set))
    }

    /// Runs `f` on the shard between two messages and waits for its answer. What has become due goes out after it.
    pub fn with_conduit<C: Conduit, R: Send>(
        &self,
        link: &Link,
        f: impl FnOnce(&mut C, Time) -> R + Send,
    ) -> Result<R, PortError> {
        let asked = self.in_link(link, |unit, set| {
            let conduit: &mut dyn Any = unit.conduit.as_mut()?.as_mut();
            let answer = conduit.downcast_mut::<C>().map(|conduit| f(conduit, Time::now()));
            unit.after_visit(set);
            answer
        })?;
        asked.ok_or_else(|| PortError::WrongType {
            port: link.name.clone(),
            asked: std::any::type_name::<C>(),
        })
    }

    /// Sets those lines of `mask` in one step to `values`: at a device DTR and RTS, towards an application CTS, DSR,
    /// DCD and RI as it sees them.
    pub fn set_lines(&self, link: &Link, side: usize, mask: Lines, values: Lines) -> Result<(), PortError> {
        self.in_link(link, |unit, set| unit.set_lines(side, mask, values, set))?
    }

    /// Holds the line of one side in break for `time`. Answers at once.
    pub fn send_break(&self, link: &Link, side: usize, time: Duration) -> Result<(), PortError> {
        self.in_link(link, |unit, set| unit.start_break(side, Time::now() + time, set))?
    }

    fn in_link<R: Send>(
        &self,
        link: &Link,
        f: impl FnOnce(&mut LinkUnit, &mut Set) -> R + Send,
    ) -> Result<R, PortError> {
        let asked = self.call(|engine| {
            engine.visit(link.id, |unit, set| match unit {
                Unit::Link(unit) => Some(f(unit, set)),
                Unit::Station(_) | Unit::Server(_) => None,
            })
        })?;
        asked.flatten().ok_or_else(|| PortError::Gone { port: link.name.clone() })
    }

    /// Puts a station at the end of a port. Told `Opened` at once if the line is there.
    pub fn add_station(&self, port: OpenPort, station: Box<dyn Station>) -> Result<StationRef, PortError> {
        self.add_station_with(port, station, SeatOptions::default())
    }

    /// The same with more wishes.
    pub fn add_station_with(
        &self,
        port: OpenPort,
        station: Box<dyn Station>,
        options: SeatOptions,
    ) -> Result<StationRef, PortError> {
        let port = Port::new(port.into_parts(), options.returns);
        let (name, stats) = (port.name.clone(), port.stats.clone());
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let seat = Seat::new(port, station, "station", (id, 0), options);
        let lateness = seat.lateness.clone();
        self.add(id, Unit::Station(Box::new(seat)))?;
        Ok(StationRef { id, name, port: stats, lateness })
    }

    /// Puts a server behind a listener (`tcp-listen:` or `unix-listen:`) and, for a gateway, in front of a line. It is
    /// told `Opened` at once if the line is there. Raises the process's limit of open descriptors as far as that goes
    /// without asking anybody.
    pub fn add_server(
        &self,
        listener: OpenPort,
        line: Option<OpenPort>,
        server: Box<dyn Server>,
    ) -> Result<ServerRef, PortError> {
        self.add_server_with(listener, line, server, SeatOptions::default())
    }

    /// The same with more wishes, for the line behind it.
    pub fn add_server_with(
        &self,
        listener: OpenPort,
        line: Option<OpenPort>,
        server: Box<dyn Server>,
        options: SeatOptions,
    ) -> Result<ServerRef, PortError> {
        let (name, port) = (listener.url().to_string(), listener.stats());
        let behind = line.as_ref().map(OpenPort::stats);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let unit = ServerUnit::new(listener, line, server, (id, options))?;
        let lateness = unit.seat().lateness.clone();
        raise_descriptors();
        self.add(id, Unit::Server(Box::new(unit)))?;
        Ok(ServerRef { id, name, port, line: behind, lateness })
    }

    fn add(&self, id: u64, unit: Unit) -> Result<(), PortError> {
        match self.call(move |engine| engine.add(id, unit))? {
            Ok(()) => Ok(()),
            // The unit comes back to be closed here.
            Err((e, _unit)) => Err(e),
        }
    }

    /// Runs `f` on the shard between two messages and waits for its answer.
    pub fn with_station<S: Station, R: Send>(
        &self,
        s: &StationRef,
        f: impl FnOnce(&mut S, Time, &mut Tx) -> R + Send,
    ) -> Result<R, PortError> {
        let asked = self.call(|engine| {
            engine.visit(s.id, |unit, set| {
                let Unit::Station(unit) = unit else { return None };
                let now = Time::now();
                unit.visit(set, |station, tx| {
                    let station: &mut dyn Any = station;
                    station.downcast_mut::<S>().map(|station| f(station, now, tx))
                })
            })
        })?;
        answered(asked, &s.name, std::any::type_name::<S>())
    }

    /// The same with a server.
    pub fn with_server<S: Server, R: Send>(
        &self,
        s: &ServerRef,
        f: impl FnOnce(&mut S, Time, &mut Calls) -> R + Send,
    ) -> Result<R, PortError> {
        let asked = self.call(|engine| {
            engine.visit(s.id, |unit, set| {
                let Unit::Server(unit) = unit else { return None };
                let now = Time::now();
                unit.visit(set, |server, calls| {
                    server.downcast_mut::<S>().map(|server| f(server, now, calls))
                })
            })
        })?;
        answered(asked, &s.name, std::any::type_name::<S>())
    }

    /// Runs `f` on the shard between two messages and waits for its answer: for data that its stations share.
    pub fn between<R: Send>(&self, f: impl FnOnce(Time) -> R + Send) -> Result<R, PortError> {
        self.call(|_| f(Time::now()))
    }

    /// Takes a link out and closes its ports; answers its last counters.
    pub fn remove_link(&self, l: Link) -> LinkSnapshot {
        if let Ok(Some(Unit::Link(mut unit))) = self.call(|engine| engine.remove(l.id)) {
            unit.finish();
        }
        l.stats()
    }

    /// Takes a station out and closes its port.
    pub fn remove_station(&self, s: StationRef) -> Option<Box<dyn Station>> {
        match self.call(|engine| engine.remove(s.id)) {
            Ok(Some(Unit::Station(unit))) => Some(unit.station),
            _ => None,
        }
    }

    /// Takes a server out, hangs up on its callers, and closes its ports.
    pub fn remove_server(&self, s: ServerRef) -> Option<Box<dyn Server>> {
        match self.call(|engine| engine.remove(s.id)) {
            Ok(Some(Unit::Server(unit))) => Some(unit.into_server()),
            _ => None,
        }
    }

    /// The kernel's id of the thread.
    pub fn thread_id(&self) -> i32 {
        self.thread_id
    }

    fn call<R: Send>(&self, f: impl FnOnce(&mut Engine) -> R + Send) -> Result<R, PortError> {
        let send = |work| {
            // A shard that is gone drops the work, which ends the waiting.
            if self.work.send(work).is_ok() {
                let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
            }
        };
        let dones = || self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = dones().idle.pop();
        let done = idle.unwrap_or_else(|| {
            let new = Arc::<Done>::default();
            dones().all.push(new.clone());
            new
        });
        let answer = lend(f, &done, send);
        dones().idle.push(done);
        answer.ok_or_else(|| PortError::ShardGone { shard: self.name.clone() })
    }
}

/// What came of a visit: `None` outside when nobody is there, inside when it is somebody else.
fn answered<R>(asked: Option<Option<R>>, port: &str, asked_for: &'static str) -> Result<R, PortError> {
    let port = || port.to_owned();
    asked
        .ok_or_else(|| PortError::Gone { port: port() })?
        .ok_or_else(|| PortError::WrongType { port: port(), asked: asked_for })
}

/// Many callers need many descriptors, and the soft limit is 1024 for the sake of programs that use `select`.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    const ENOUGH: u64 = 1 << 16;
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_some_and(|now| now < most) {
        limit.current = Some(most);
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let _ = self.call(|engine| engine.stop = true);
        if let Some(thread) = self.thread.take() {
            // The engine comes back and is dropped here, ports and all.
            let _ = thread.join();
        }
    }
}
