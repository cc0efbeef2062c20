//! A bench in virtual time: nothing is opened, and time runs as fast as its stations can be driven.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hilrig_port::{
    Conduit, Event, Format, PortStats, PortUrl, Server, Station, Time, VirtualEnd, VirtualLink,
    VirtualListener, VirtualServer, VirtualShard, VirtualStation,
};
use hilrig_wire::LinkCore;

use super::{Hall, Trouble, in_core, in_server};
use crate::watch::{Watched, WatchedServer};

/// Work at a stretch before the caller may look whether it is to go on.
const STRETCH: Duration = Duration::from_millis(50);
/// How often the wall clock is read, in moments of virtual time.
const MOMENTS: u32 = 4096;
/// A run whose time stands still is stuck; so much work for so little time does not happen otherwise.
const STUCK: (Duration, Duration) = (Duration::from_secs(20), Duration::from_millis(1));

pub(crate) struct VirtualHall<'a> {
    shard: VirtualShard,
    /// For whoever has no access to the shard.
    clock: &'a Cell<Time>,
    /// The last moments, virtual and real, at which the clock had moved on well.
    moved: (Time, Instant),
    patience: Duration,
}

impl<'a> VirtualHall<'a> {
    pub fn new(clock: &'a Cell<Time>) -> Self {
        let shard = VirtualShard::new();
        clock.set(shard.now());
        Self { moved: (shard.now(), Instant::now()), shard, clock, patience: STUCK.0 }
    }

    fn check_stuck(&mut self) -> Result<(), Trouble> {
        let now = self.shard.now();
        if now.since(self.moved.0) >= STUCK.1 {
            self.moved = (now, Instant::now());
        } else if self.moved.1.elapsed() >= self.patience {
            let at = hilrig_files::show_time(now.since(Time(0)));
            return Err(Trouble(format!(
                "virtual time stands still at {at}: something of this rig is busy without end"
            )));
        }
        Ok(())
    }
}

/// A place in memory.
pub(crate) enum VirtualSpot {
    End(VirtualEnd),
    Server(VirtualListener),
    Client(VirtualListener),
}

impl VirtualSpot {
    fn end(&self, name: &str) -> Result<VirtualEnd, Trouble> {
        match self {
            Self::End(end) => Ok(*end),
            Self::Server(_) | Self::Client(_) => Err(Trouble(format!("port {name} is no line"))),
        }
    }
}

impl Hall for VirtualHall<'_> {
    type Link = VirtualLink;
    type Seat = VirtualStation;
    type Server = VirtualServer;
    type Spot = VirtualSpot;

    fn now(&self) -> Time {
        self.shard.now()
    }

    fn pair(
        &mut self,
        name: &str,
        _: (u32, Format),
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<(VirtualLink, [VirtualSpot; 2]), Trouble> {
        let (link, ends) = self.shard.pair(name, conduit);
        Ok((link, ends.map(VirtualSpot::End)))
    }

    fn url(&mut self, url: &PortUrl) -> Result<VirtualSpot, Trouble> {
        Err(Trouble(format!("{url} is a real port, and there are none in virtual time")))
    }

    fn network(&mut self, name: &str) -> Result<[VirtualSpot; 2], Trouble> {
        let listener = self.shard.listener(name);
        Ok([VirtualSpot::Server(listener), VirtualSpot::Client(listener)])
    }

    fn link(
        &mut self,
        names: [&str; 2],
        [a, b]: [&VirtualSpot; 2],
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<VirtualLink, Trouble> {
        Ok(self.shard.link(a.end(names[0])?, b.end(names[1])?, conduit)?)
    }

    fn station(
        &mut self,
        name: &str,
        spot: &VirtualSpot,
        station: Watched,
    ) -> Result<VirtualStation, Trouble> {
        Ok(match spot {
            VirtualSpot::Client(listener) => self.shard.call(*listener, Box::new(station))?,
            spot => self.shard.add_station(spot.end(name)?, Box::new(station))?,
        })
    }

    fn server(
        &mut self,
        name: &str,
        spot: &VirtualSpot,
        line: Option<(&VirtualSpot, &str)>,
        server: WatchedServer,
    ) -> Result<VirtualServer, Trouble> {
        let VirtualSpot::Server(listener) = spot else {
            return Err(Trouble(format!("port {name}: nobody can call there")));
        };
        let line = line.map(|(spot, name)| spot.end(name)).transpose()?;
        Ok(self.shard.add_server(*listener, line, Box::new(server))?)
    }

    fn behind(server: &VirtualServer) -> Option<Arc<PortStats>> {
        server.line()
    }

    fn with<S: Station, R: Send>(
        &mut self,
        seat: &VirtualStation,
        f: impl FnOnce(&mut S, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        self.shard.with_station(seat, |station: &mut Watched, now, _| in_core(station, now, f))?
    }

    fn with_server<S: Server, R: Send>(
        &mut self,
        server: &VirtualServer,
        f: impl FnOnce(&mut S, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        self.shard.with_server(server, |server: &mut WatchedServer, now, _| in_server(server, now, f))?
    }

    fn between<R: Send>(&mut self, f: impl FnOnce(Time) -> R + Send) -> Result<R, Trouble> {
        Ok(f(self.shard.now()))
    }

    fn with_core<R: Send>(
        &mut self,
        link: &VirtualLink,
        f: impl FnOnce(&mut LinkCore, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        Ok(self.shard.with_conduit(link, f)?)
    }

    fn remove_station(&mut self, seat: VirtualStation) {
        self.shard.remove_station(seat);
    }

    fn remove_server(&mut self, server: VirtualServer) {
        self.shard.remove_server(server);
    }

    fn remove_link(&mut self, link: VirtualLink) {
        self.shard.remove_link(link);
    }

    fn event(&mut self) -> Option<Event> {
        self.shard.next_event()
    }

    fn pass(&mut self, limit: Time, news: &mut dyn FnMut() -> bool) -> Result<(), Trouble> {
        let begun = Instant::now();
        let mut moments = 0;
        self.shard.run_while(limit, || {
            moments += 1;
            !news() && (moments % MOMENTS != 0 || begun.elapsed() < STRETCH)
        });
        self.clock.set(self.shard.now());
        self.check_stuck()
    }

    fn take_warnings(&mut self) -> Vec<String> {
        vec![]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hilrig_port::Tx;

    /// Always late.
    struct Busy;

    impl Station for Busy {
        fn on_bytes(&mut self, _: Time, _: &[u8], _: &mut Tx) {}

        fn on_deadline(&mut self, _: Time, _: &mut Tx) {}

        fn deadline(&self) -> Option<Time> {
            Some(Time(0))
        }
    }

    #[test]
    fn a_run_whose_time_stands_still_is_ended() {
        let clock = Cell::new(Time(9));
        let mut hall = VirtualHall::new(&clock);
        hall.patience = Duration::from_millis(100);
        let (_pair, [a, _]) = hall.pair("p", (9600, Format::default()), None).unwrap();
        hall.station("p.a", &a, Watched::new(Box::new(Busy), None)).unwrap();
        let limit = Time(0) + Duration::from_secs(3600);
        let trouble = std::iter::repeat_with(|| hall.pass(limit, &mut || false)).find_map(Result::err);
        assert!(trouble.unwrap().0.starts_with("virtual time stands still at "));
        assert!(clock.get() > Time(0) && clock.get() < limit);
    }
}
