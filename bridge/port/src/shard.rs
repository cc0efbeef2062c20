//! The control side of a shard: starts the thread, hands it ports, asks it questions. All waiting, allocating
//! and freeing is done here, on the caller's thread.

use std::any::Any;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};

use crate::engine::Engine;
use crate::port::Port;
use crate::sys_lend::{Done, Work, lend};
use crate::unit::{LinkUnit, StationUnit, Unit};
use crate::{Gate, LinkSnapshot, LinkStats, OpenPort, PortError, PortStats, Station, Time, Tx};

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
}

impl StationRef {
    pub fn port(&self) -> Arc<PortStats> {
        self.port.clone()
    }
}

impl Shard {
    pub fn start(name: &str) -> Result<Self, PortError> {
        let failed =
            |action, source: std::io::Error| PortError::Shard { shard: name.to_owned(), action, source };
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| failed("make its bell", e.into()))?;
        let bell = Arc::new(bell);
        let engine = Engine::new(bell.clone()).map_err(|e| failed("make its epoll set", e.into()))?;
        let (work, inbox) = bounded(64);
        let (born, thread_id) = bounded(1);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // The kernel may add 50 us to each deadline by default.
                let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
                let _ = born.send(rustix::thread::gettid().as_raw_nonzero().get());
                engine.run(&inbox)
            })
            .map_err(|e| failed("start its thread", e))?;
        let thread_id = thread_id.recv().map_err(|_| PortError::ShardGone { shard: name.to_owned() })?;
        Ok(Self {
            name: name.to_owned(),
            thread_id,
            work,
            bell,
            done: Mutex::default(),
            thread: Some(thread),
        })
    }

    /// Joins two ports; every byte passes the gate.
    pub fn add_link(&self, a: OpenPort, b: OpenPort, gate: Option<Box<dyn Gate>>) -> Result<Link, PortError> {
        let stats = Arc::new(LinkStats::default());
        let (a, b) = (Port::new(a.into_parts()), Port::new(b.into_parts()));
        let ports = [a.stats.clone(), b.stats.clone()];
        let name = format!("{} <-> {}", a.name, b.name);
        let id = self.add(Unit::Link(Box::new(LinkUnit::new([a, b], gate, stats.clone()))))?;
        Ok(Link { id, name, stats, ports })
    }

    /// Puts a station at the end of a port. Told `Opened` at once if the line is there.
    pub fn add_station(&self, port: OpenPort, station: Box<dyn Station>) -> Result<StationRef, PortError> {
        let port = Port::new(port.into_parts());
        let (name, stats) = (port.name.clone(), port.stats.clone());
        let id = self.add(Unit::Station(Box::new(StationUnit::new(port, station))))?;
        Ok(StationRef { id, name, port: stats })
    }

    fn add(&self, unit: Unit) -> Result<u64, PortError> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        match self.call(move |engine| engine.add(id, unit))? {
            Ok(()) => Ok(id),
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
        let wrong = || PortError::WrongType { port: s.name.clone(), asked: std::any::type_name::<S>() };
        asked.ok_or_else(|| PortError::Gone { port: s.name.clone() })?.ok_or_else(wrong)
    }

    /// Runs `f` on the shard between two messages and waits for its answer.
    pub fn with_gate<G: Gate, R: Send>(
        &self,
        l: &Link,
        f: impl FnOnce(&mut G, Time) -> R + Send,
    ) -> Result<R, PortError> {
        let asked = self.call(|engine| {
            engine.visit(l.id, |unit, _| {
                let Unit::Link(unit) = unit else { return None };
                let gate: &mut dyn Any = unit.gate.as_mut()?.as_mut();
                gate.downcast_mut::<G>().map(|gate| f(gate, Time::now()))
            })
        })?;
        let wrong = || PortError::WrongType { port: l.name.clone(), asked: std::any::type_name::<G>() };
        asked.ok_or_else(|| PortError::Gone { port: l.name.clone() })?.ok_or_else(wrong)
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

impl Drop for Shard {
    fn drop(&mut self) {
        let _ = self.call(|engine| engine.stop = true);
        if let Some(thread) = self.thread.take() {
            // The engine comes back and is dropped here, ports and all.
            let _ = thread.join();
        }
    }
}
