//! Where a bench stands: what it needs of a shard, and the real shard with its ports. Knows nothing of rigs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hilrig_port::{
    Conduit, Event, Events, Format, Link, LinkOptions, LinkSnapshot, OpenPort, PortStats, PortUrl, Runtime,
    SerialOptions, Shard, Station, StationRef, Time,
};
use hilrig_wire::LinkCore;

use crate::watch::Watched;

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

    /// `names` and `spots` of A and B.
    fn link(
        &mut self,
        names: [&str; 2],
        spots: [&Self::Spot; 2],
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<Self::Link, Trouble>;

    fn station(&mut self, name: &str, spot: &Self::Spot, station: Watched) -> Result<Self::Seat, Trouble>;

    fn with<S: Station, R: Send>(
        &mut self,
        seat: &Self::Seat,
        f: impl FnOnce(&mut S, Time) -> R + Send,
    ) -> Result<R, Trouble>;

    fn with_core<R: Send>(
        &mut self,
        link: &Self::Link,
        f: impl FnOnce(&mut LinkCore, Time) -> R + Send,
    ) -> Result<R, Trouble>;

    fn remove_station(&mut self, seat: Self::Seat);
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

/// Ports of this machine, driven by a shard of their own.
pub(crate) struct RealHall<'a> {
    shard: Shard,
    events: Events,
    runtime: &'a Runtime,
    stop: &'a dyn Fn() -> bool,
    /// Before the names of virtual ports.
    prefix: String,
    warnings: Vec<String>,
}

impl<'a> RealHall<'a> {
    pub fn new(name: &str, runtime: &'a Runtime, stop: &'a dyn Fn() -> bool) -> Result<Self, Trouble> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static RUNS: AtomicU32 = AtomicU32::new(0);
        // Two runs of one rig at once must not meet.
        let prefix = format!("{name}-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        runtime.sweep();
        let shard = Shard::start(name)?;
        Ok(Self { events: shard.events(), shard, runtime, stop, prefix, warnings: vec![] })
    }

    fn open(&mut self, name: &str, url: &PortUrl) -> Result<OpenPort, Trouble> {
        let port =
            OpenPort::open(url, self.runtime, self.stop).map_err(|e| Trouble(format!("port {name}: {e}")))?;
        self.warnings.extend(port.warnings().iter().map(|w| format!("port {name}: {w}")));
        Ok(port)
    }
}

impl Joined for Link {
    fn id(&self) -> u64 {
        Link::id(self)
    }

    fn stats(&self) -> LinkSnapshot {
        Link::stats(self)
    }

    fn ports(&self) -> [Arc<PortStats>; 2] {
        Link::ports(self)
    }
}

impl Seated for StationRef {
    fn port(&self) -> Arc<PortStats> {
        StationRef::port(self)
    }
}

impl Hall for RealHall<'_> {
    type Link = Link;
    type Seat = StationRef;
    type Spot = PortUrl;

    fn now(&self) -> Time {
        Time::now()
    }

    fn pair(
        &mut self,
        name: &str,
        (baud, format): (u32, Format),
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<(Link, [PortUrl; 2]), Trouble> {
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
        Ok((link, [a, b].map(|path| PortUrl::Serial { path, options })))
    }

    fn url(&mut self, url: &PortUrl) -> Result<PortUrl, Trouble> {
        Ok(url.clone())
    }

    fn link(
        &mut self,
        names: [&str; 2],
        spots: [&PortUrl; 2],
        conduit: Option<Box<dyn Conduit>>,
    ) -> Result<Link, Trouble> {
        let a = self.open(names[0], spots[0])?;
        let b = self.open(names[1], spots[1])?;
        Ok(self.shard.add_link(a, b, LinkOptions { conduit, ..LinkOptions::default() })?)
    }

    fn station(&mut self, name: &str, spot: &PortUrl, station: Watched) -> Result<StationRef, Trouble> {
        let port = self.open(name, spot)?;
        Ok(self.shard.add_station(port, Box::new(station))?)
    }

    fn with<S: Station, R: Send>(
        &mut self,
        seat: &StationRef,
        f: impl FnOnce(&mut S, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        self.shard.with_station(seat, |station: &mut Watched, now, _| in_core(station, now, f))?
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
