//! The control side of a shard: starts the thread, hands it ports, asks it questions. All waiting, allocating
//! and freeing is done here, on the caller's thread.

use std::sync::Arc;

use crate::{Gate, LinkSnapshot, LinkStats, OpenPort, PortError, PortStats, Station, Time, Tx};

/// One thread with one epoll set which owns its ports. Dropping it stops the thread and closes all ports.
#[derive(Debug)]
pub struct Shard {
    name: String,
    thread_id: i32,
}

/// Two ports joined by a shard.
#[derive(Debug)]
pub struct Link {
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
    port: Arc<PortStats>,
}

impl StationRef {
    pub fn port(&self) -> Arc<PortStats> {
        self.port.clone()
    }
}

impl Shard {
    pub fn start(name: &str) -> Result<Self, PortError> {
        Ok(Self { name: name.to_owned(), thread_id: 0 })
    }

    fn gone(&self) -> PortError {
        PortError::ShardGone { shard: self.name.clone() }
    }

    /// Joins two ports; every byte passes the gate.
    pub fn add_link(&self, a: OpenPort, b: OpenPort, gate: Option<Box<dyn Gate>>) -> Result<Link, PortError> {
        let _ = (a, b, gate);
        Err(self.gone())
    }

    /// Puts a station at the end of a port.
    pub fn add_station(&self, port: OpenPort, station: Box<dyn Station>) -> Result<StationRef, PortError> {
        let _ = (port, station);
        Err(self.gone())
    }

    /// Runs `f` on the shard between two messages and waits for its answer.
    pub fn with_station<S: Station, R: Send>(
        &self,
        s: &StationRef,
        f: impl FnOnce(&mut S, Time, &mut Tx) -> R + Send,
    ) -> Result<R, PortError> {
        let _ = (s, f);
        Err(self.gone())
    }

    /// Runs `f` on the shard between two messages and waits for its answer.
    pub fn with_gate<G: Gate, R: Send>(
        &self,
        l: &Link,
        f: impl FnOnce(&mut G, Time) -> R + Send,
    ) -> Result<R, PortError> {
        let _ = (l, f);
        Err(self.gone())
    }

    /// Takes a link out and closes its ports; answers its last counters.
    pub fn remove_link(&self, l: Link) -> LinkSnapshot {
        l.stats()
    }

    /// Takes a station out and closes its port.
    pub fn remove_station(&self, s: StationRef) -> Option<Box<dyn Station>> {
        let _ = s;
        None
    }

    /// The kernel's id of the thread.
    pub fn thread_id(&self) -> i32 {
        self.thread_id
    }
}
