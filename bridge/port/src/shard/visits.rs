//! The control side with several cores of a shard at once, so that what it changes there is one moment to all of them.

use std::any::Any;

use super::{ServerRef, Shard, StationRef};
use crate::engine::Engine;
use crate::unit::Unit;
use crate::{Calls, PortError, Server, Station, Time, Tx};

/// The cores of a shard, between two messages.
#[derive(Debug)]
pub struct Visits<'e> {
    engine: &'e mut Engine,
    pub now: Time,
}

impl Visits<'_> {
    /// Runs `f` on a station; `None` if there is no such, or it is of another type.
    pub fn station<S: Station, R>(
        &mut self,
        s: &StationRef,
        f: impl FnOnce(&mut S, &mut Tx) -> R,
    ) -> Option<R> {
        let visited = self.engine.visit(s.id, |unit, set| {
            let Unit::Station(unit) = unit else { return None };
            unit.visit(set, |station, tx| {
                let station: &mut dyn Any = station;
                station.downcast_mut::<S>().map(|station| f(station, tx))
            })
        });
        visited.flatten()
    }

    /// The same with a server.
    pub fn server<S: Server, R>(
        &mut self,
        s: &ServerRef,
        f: impl FnOnce(&mut S, &mut Calls) -> R,
    ) -> Option<R> {
        let visited = self.engine.visit(s.id, |unit, set| {
            let Unit::Server(unit) = unit else { return None };
            unit.visit(set, |server, calls| server.downcast_mut::<S>().map(|server| f(server, calls)))
        });
        visited.flatten()
    }
}

impl Shard {
    /// Runs `f` on the shard between two messages and waits for its answer: whatever it does to several cores, and to the
    /// data that they share, no byte comes in between.
    pub fn at_once<R: Send>(&self, f: impl FnOnce(&mut Visits<'_>) -> R + Send) -> Result<R, PortError> {
        self.call(|engine| f(&mut Visits { engine, now: Time::now() }))
    }
}
