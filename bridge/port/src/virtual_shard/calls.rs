//! Servers of a virtual shard, and who calls them. What a server is and does there is in `server.rs`.

use std::any::Any;
use std::sync::Arc;

use super::net::Net;
use super::server::ServerUnit;
use super::{Unit, VirtualEnd, VirtualShard, VirtualStation, gone};
use crate::{Calls, PortError, PortStats, Server, Station, Time};

/// Where a server can be called; one server can sit there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VirtualListener(usize);

/// A server of a [`VirtualShard`].
#[derive(Debug)]
pub struct VirtualServer {
    unit: usize,
    listener: VirtualListener,
    port: Arc<PortStats>,
    line: Option<Arc<PortStats>>,
}

impl VirtualServer {
    /// The counters of all callers together.
    pub fn port(&self) -> Arc<PortStats> {
        self.port.clone()
    }

    /// How many callers are there now.
    pub fn callers(&self) -> u32 {
        self.port.callers()
    }

    /// The counters of the line behind, if it has one.
    pub fn line(&self) -> Option<Arc<PortStats>> {
        self.line.clone()
    }
}

impl VirtualShard {
    /// A place where a server can be called.
    pub fn listener(&mut self, name: &str) -> VirtualListener {
        self.listeners.push((name.to_owned(), None));
        VirtualListener(self.listeners.len() - 1)
    }

    /// Puts a server where it is called, and at the end of the line behind it, if it has one.
    ///
    /// # Errors
    /// The place or the end is taken.
    pub fn add_server(
        &mut self,
        listener: VirtualListener,
        line: Option<VirtualEnd>,
        server: Box<dyn Server>,
    ) -> Result<VirtualServer, PortError> {
        let unit = self.units.len();
        let (name, taken) = &self.listeners[listener.0];
        if taken.is_some() {
            let holder = "another server of this virtual shard".to_owned();
            return Err(PortError::Busy { port: name.clone(), holder });
        }
        let behind = line.map(|end| self.net.sit(end.0, (unit, 0))).transpose()?;
        let line_stats = behind.as_ref().map(|port| port.stats.clone());
        let server = ServerUnit::new(behind, server);
        let made = VirtualServer { unit, listener, port: server.stats.clone(), line: line_stats };
        self.listeners[listener.0].1 = Some(unit);
        self.add(Unit::Server(Box::new(server)));
        if let Some(end) = line {
            self.net.arrived(end.0);
        }
        self.with_server_unit(unit, |server, net| {
            if server.line.is_some() {
                server.line_opened(net);
            } else {
                server.settle(net);
            }
        });
        self.settle();
        Ok(made)
    }

    /// Puts a station at a connection of its own to a server. It is told `Opened` at once; if the server hangs up, `Lost`.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn call(
        &mut self,
        listener: VirtualListener,
        station: Box<dyn Station>,
    ) -> Result<VirtualStation, PortError> {
        let (name, server) = self.listeners[listener.0].clone();
        let joint = server.and_then(|unit| {
            self.with_server_unit(unit, |server, net| server.welcome(net, &name, unit)).flatten()
        });
        let Some(joint) = joint else {
            let source = std::io::ErrorKind::ConnectionRefused.into();
            return Err(PortError::Connect { port: name, source });
        };
        self.add_station(VirtualEnd(joint), station)
    }

    fn with_server_unit<R>(
        &mut self,
        unit: usize,
        f: impl FnOnce(&mut ServerUnit, &mut Net) -> R,
    ) -> Option<R> {
        self.with_unit(unit, |unit, net| match unit {
            Unit::Server(server) => Some(f(server, net)),
            _ => None,
        })
        .flatten()
    }

    /// Runs `f` on a server between two moments. What it sends is carried at once.
    ///
    /// # Errors
    /// The server is gone or of another type.
    pub fn with_server<S: Server, R>(
        &mut self,
        server: &VirtualServer,
        f: impl FnOnce(&mut S, Time, &mut Calls) -> R,
    ) -> Result<R, PortError> {
        let now = self.now();
        let port = self.listeners[server.listener.0].0.clone();
        let answer = self.with_server_unit(server.unit, |unit, net| {
            let any: &mut dyn Any = unit.server.as_mut();
            let Some(core) = any.downcast_mut::<S>() else {
                return Err(PortError::WrongType { port, asked: std::any::type_name::<S>() });
            };
            let answer = f(core, now, &mut unit.calls);
            unit.settle(net);
            Ok(answer)
        });
        self.settle();
        answer.unwrap_or_else(|| Err(gone()))
    }

    /// Takes a server out and hangs up on its callers.
    pub fn remove_server(&mut self, server: VirtualServer) -> Option<Box<dyn Server>> {
        self.listeners[server.listener.0].1 = None;
        let Some(Unit::Server(mut unit)) = self.take(server.unit) else { return None };
        unit.leave(&mut self.net);
        self.settle();
        Some(unit.server)
    }
}
