//! Where a bench stands: what it needs of a shard, and the real shard with its ports. Knows nothing of rigs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hilrig_port::{
    Conduit, Event, Events, Format, Link, LinkOptions, LinkSnapshot, OpenPort, PortStats, PortUrl, Runtime,
    SerialOptions, Server, ServerRef, Shard, Station, StationRef, Time, VirtualLink, VirtualServer,
    VirtualStation,
};
use hilrig_wire::LinkCore;

use crate::watch::{Watched, WatchedServer};

/// How often a waiting step looks.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// The bench cannot work; the sentence says why.
#[derive(Debug)]
pub(crate) struct Trouble(pub String);

impl From<hilrig_port::PortError> for Trouble {
    fn from(e: hilrig_port::PortError) -> Self {
        Self(e.to_string())
    }
}

/// A pair or a link.
pub(crate) trait Joined {
    fn id(&self) -> u64;
    fn stats(&self) -> LinkSnapshot;
    fn ports(&self) -> [Arc<PortStats>; 2];
}

/// A station at its port.
pub(crate) trait Seated {
    fn port(&self) -> Arc<PortStats>;
}

/// A shard, real or virtual, and the time on it.
pub(crate) trait Hall {
    type Link: Joined;
    type Seat: Seated;
    type Server: Seated;
    /// Where a station or the end of a link can sit.
    type Spot;

    fn now(&self) -> Time;

    /// A virtual null modem and its two ends.
    fn pair(
        &mut self,
        name: &str,
        line: (u32, Format),
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<(Self::Link, [Self::Spot; 2]), Trouble>;

    fn url(&mut self, url: &PortUrl) -> Result<Self::Spot, Trouble>;

    /// Where a server can be called, and where its callers sit.
    fn network(&mut self, name: &str) -> Result<[Self::Spot; 2], Trouble>;

    /// `names` and `spots` of A and B.
    fn link(
        &mut self,
        names: [&str; 2],
        spots: [&Self::Spot; 2],
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<Self::Link, Trouble>;

    fn station(&mut self, name: &str, spot: &Self::Spot, station: Watched) -> Result<Self::Seat, Trouble>;

    /// `line`: name and spot of the line behind the server.
    fn server(
        &mut self,
        name: &str,
        spot: &Self::Spot,
        line: Option<(&Self::Spot, &str)>,
        server: WatchedServer,
    ) -> Result<Self::Server, Trouble>;

    /// The line behind a server.
    fn behind(server: &Self::Server) -> Option<Arc<PortStats>>;

    fn with<S: Station, R: Send>(
        &mut self,
        seat: &Self::Seat,
        f: impl FnOnce(&mut S, Time) -> R + Send,
    ) -> Result<R, Trouble>;

    fn with_server<S: Server, R: Send>(
        &mut self,
        server: &Self::Server,
        f: impl FnOnce(&mut S, Time) -> R + Send,
    ) -> Result<R, Trouble>;

    /// Runs `f` while no station runs: for what they share.
    fn between<R: Send>(&mut self, f: impl FnOnce(Time) -> R + Send) -> Result<R, Trouble>;

    fn with_core<R: Send>(
        &mut self,
        link: &Self::Link,
        f: impl FnOnce(&mut LinkCore, Time) -> R + Send,
    ) -> Result<R, Trouble>;

    fn remove_station(&mut self, seat: Self::Seat);
    fn remove_server(&mut self, server: Self::Server);
    fn remove_link(&mut self, link: Self::Link);

    fn event(&mut self) -> Option<Event>;

    /// Lets time pass, at most until `limit`. Comes back earlier, at the latest when `news` says that there is something
    /// to look at.
    fn pass(&mut self, limit: Time, news: &mut dyn FnMut() -> bool) -> Result<(), Trouble>;

    fn take_warnings(&mut self) -> Vec<String>;
}

fn in_core<S: Station, R>(
    station: &mut Watched,
    now: Time,
    f: impl FnOnce(&mut S, Time) -> R,
) -> Result<R, Trouble> {
    let core = station.core::<S>().ok_or_else(|| Trouble("the station is of another kind".to_owned()))?;
    Ok(f(core, now))
}

fn in_server<S: Server, R>(
    server: &mut WatchedServer,
    now: Time,
    f: impl FnOnce(&mut S, Time) -> R,
) -> Result<R, Trouble> {
    let core = server.core::<S>().ok_or_else(|| Trouble("the server is of another kind".to_owned()))?;
    Ok(f(core, now))
}

/// Ports of this machine, driven by a shard of their own.
pub(crate) struct RealHall<'a> {
    shard: Shard,
    events: Events,
    runtime: &'a Runtime,
    stop: &'a dyn Fn() -> bool,
    /// Before the names of virtual ports.
    prefix: String,
    /// Where the servers of networks are called, once they are there.
    networks: Vec<Option<PortUrl>>,
    warnings: Vec<String>,
}

/// A place on this machine.
pub(crate) enum Spot {
    Url(PortUrl),
    Server(usize),
    Client(usize),
}

impl<'a> RealHall<'a> {
    pub fn new(name: &str, runtime: &'a Runtime, stop: &'a dyn Fn() -> bool) -> Result<Self, Trouble> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static RUNS: AtomicU32 = AtomicU32::new(0);
        // Two runs of one rig at once must not meet.
        let prefix = format!("{name}-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        runtime.sweep();
        let shard = Shard::start(name)?;
        Ok(Self { events: shard.events(), shard, runtime, stop, prefix, networks: vec![], warnings: vec![] })
    }

    fn open(&mut self, name: &str, spot: &Spot) -> Result<OpenPort, Trouble> {
        let trouble = |why: String| Trouble(format!("port {name}: {why}"));
        let any = || "tcp-listen:127.0.0.1:0".parse::<PortUrl>().map_err(|e| trouble(e.message));
        let url = match spot {
            Spot::Url(url) => url.clone(),
            Spot::Server(_) => any()?,
            Spot::Client(network) => {
                let url = self.networks[*network].clone();
                url.ok_or_else(|| trouble("nobody is called there".to_owned()))?
            }
        };
        let port = OpenPort::open(&url, self.runtime, self.stop).map_err(|e| trouble(e.to_string()))?;
        if let (Spot::Server(network), Some(at)) = (spot, port.local_addr()) {
            self.networks[*network] = format!("tcp:{at}").parse().ok();
        }
        self.warnings.extend(port.warnings().iter().map(|w| format!("port {name}: {w}")));
        Ok(port)
    }
}

/// What is there in reality and in memory has these methods already.
macro_rules! counted {
    ($link:ty, $($seated:ty),*) => {
        impl Joined for $link {
            fn id(&self) -> u64 {
                <$link>::id(self)
            }

            fn stats(&self) -> LinkSnapshot {
                <$link>::stats(self)
            }

            fn ports(&self) -> [Arc<PortStats>; 2] {
                <$link>::ports(self)
            }
        }

        $(impl Seated for $seated {
            fn port(&self) -> Arc<PortStats> {
                <$seated>::port(self)
            }
        })*
    };
}
counted!(Link, StationRef, ServerRef);
counted!(VirtualLink, VirtualStation, VirtualServer);

impl Hall for RealHall<'_> {
    type Link = Link;
    type Seat = StationRef;
    type Server = ServerRef;
    type Spot = Spot;

    fn now(&self) -> Time {
        Time::now()
    }

    fn pair(
        &mut self,
        name: &str,
        (baud, format): (u32, Format),
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<(Link, [Spot; 2]), Trouble> {
        let open = |end: &str| {
            let name = format!("{}.{name}.{end}", self.prefix);
            let url = PortUrl::Pty { name, format: Some(format), shim: false };
            OpenPort::open(&url, self.runtime, self.stop)
        };
        let (a, b) = (open("a")?, open("b")?);
        let far = [&a, &b].map(|port| port.far_end().map(PathBuf::from));
        let link = self.shard.add_link(a, b, LinkOptions { conduit, ..LinkOptions::default() })?;
        let [Some(a), Some(b)] = far else {
            return Err(Trouble(format!("port {name}: the virtual port has no far end")));
        };
        // Opened like any serial port.
        let options = SerialOptions { baud, format, ..Default::default() };
        Ok((link, [a, b].map(|path| Spot::Url(PortUrl::Serial { path, options }))))
    }

    fn url(&mut self, url: &PortUrl) -> Result<Spot, Trouble> {
        Ok(Spot::Url(url.clone()))
    }

    fn network(&mut self, _: &str) -> Result<[Spot; 2], Trouble> {
        let network = self.networks.len();
        self.networks.push(None);
        Ok([Spot::Server(network), Spot::Client(network)])
    }

    fn link(
        &mut self,
        names: [&str; 2],
        spots: [&Spot; 2],
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<Link, Trouble> {
        let a = self.open(names[0], spots[0])?;
        let b = self.open(names[1], spots[1])?;
        Ok(self.shard.add_link(a, b, LinkOptions { conduit, ..LinkOptions::default() })?)
    }

    fn station(&mut self, name: &str, spot: &Spot, station: Watched) -> Result<StationRef, Trouble> {
        let port = self.open(name, spot)?;
        Ok(self.shard.add_station(port, Box::new(station))?)
    }

    fn server(
        &mut self,
        name: &str,
        spot: &Spot,
        line: Option<(&Spot, &str)>,
        server: WatchedServer,
    ) -> Result<ServerRef, Trouble> {
        let listener = self.open(name, spot)?;
        let line = line.map(|(spot, name)| self.open(name, spot)).transpose()?;
        Ok(self.shard.add_server(listener, line, Box::new(server))?)
    }

    fn behind(server: &ServerRef) -> Option<Arc<PortStats>> {
        server.line()
    }

    fn with<S: Station, R: Send>(
        &mut self,
        seat: &StationRef,
        f: impl FnOnce(&mut S, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        self.shard.with_station(seat, |station: &mut Watched, now, _| in_core(station, now, f))?
    }

    fn with_server<S: Server, R: Send>(
        &mut self,
        server: &ServerRef,
        f: impl FnOnce(&mut S, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        self.shard.with_server(server, |server: &mut WatchedServer, now, _| in_server(server, now, f))?
    }

    fn between<R: Send>(&mut self, f: impl FnOnce(Time) -> R + Send) -> Result<R, Trouble> {
        Ok(self.shard.between(f)?)
    }

    fn with_core<R: Send>(
        &mut self,
        link: &Link,
        f: impl FnOnce(&mut LinkCore, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        Ok(self.shard.with_conduit(link, f)?)
    }

    fn remove_station(&mut self, seat: StationRef) {
        self.shard.remove_station(seat);
    }

    fn remove_server(&mut self, server: ServerRef) {
        self.shard.remove_server(server);
    }

    fn remove_link(&mut self, link: Link) {
        self.shard.remove_link(link);
    }

    fn event(&mut self) -> Option<Event> {
        self.events.wait(Duration::ZERO)
    }

    fn pass(&mut self, limit: Time, _: &mut dyn FnMut() -> bool) -> Result<(), Trouble> {
        std::thread::sleep(TICK.min(limit.since(Time::now())));
        Ok(())
    }

    fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}

mod simulated;
pub(crate) use simulated::VirtualHall;
