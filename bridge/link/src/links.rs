//! A set of named links: opened all or none, on one shard unless a link asks for its own, looked after by a keeper.
//! Never touches a byte itself.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use hilrig_capture::CaptureSpec;
use hilrig_port::{OpenPort, PortError, PortUrl, RealTime, Returns, Runtime, Shard, StopFlag};
use hilrig_record::{CaptureError, CaptureRow, Captures, RunInfo, Tapped};

use crate::LinkSpec;
use crate::keeper;
use crate::live::{Carrier, Live, lock};
use crate::news::{Firing, News, PortNews};
use crate::rows::{FaultRow, GrantRow, LinkCounters, LinkRow, LinkState, PortRow};

/// Why a link could not be opened, or something could not be done with it.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("link {link}: {source}")]
    Port {
        link: String,
        #[source]
        source: PortError,
    },
    #[error("{0}")]
    Shard(#[from] PortError),
    #[error(
        "link {link}: profile sim opens virtual ports only, and {port} may be a real line; set `profile` to lab or prod"
    )]
    RealPort { link: String, port: String },
    #[error("link {link}: {reason}")]
    Spec { link: String, reason: String },
    #[error("link {link} is up already; stop it first or choose another name")]
    Twice { link: String },
    #[error("no link {link:?} is up; {known}")]
    Unknown { link: String, known: String },
    #[error("link {link} was stopped")]
    Closed { link: String },
    #[error("the keeper of the links cannot be started: {0}")]
    Keeper(std::io::Error),
    #[error("{0}")]
    Capture(#[from] CaptureError),
}

/// Refuses ports that may be real lines, for runs of profile `sim`.
///
/// # Errors
/// The first link with such a port.
pub fn refuse_real_ports(links: &[LinkSpec]) -> Result<(), LinkError> {
    for link in links {
        if let Some(port) = link.urls().into_iter().find(|port| !port.is_virtual()) {
            return Err(LinkError::RealPort { link: link.name.clone(), port: port.to_string() });
        }
    }
    Ok(())
}

/// Links as captures see them.
pub(crate) fn tapped(links: &[Arc<Live>]) -> Vec<Arc<dyn Tapped>> {
    links.iter().map(|live| live.clone() as Arc<dyn Tapped>).collect()
}

/// Open links and all that serves them; dropping it closes everything.
pub struct LinkSet {
    shared: Arc<Shared>,
    keepers: Mutex<Vec<JoinHandle<()>>>,
    captures: Captures,
}

/// The last account of a set.
#[derive(Debug, Clone)]
pub struct Ended {
    pub traffic: Vec<LinkRow>,
    /// Those that ran until now.
    pub captures: Vec<CaptureRow>,
}

/// What the keeper's threads see of a set.
pub(crate) struct Shared {
    pub runtime: Runtime,
    pub links: Mutex<Vec<Arc<Live>>>,
    pub news: News,
    pub stop: Arc<StopFlag>,
    /// Brings ports back.
    pub returns: Returns,
    carriers: Mutex<Vec<Arc<Carrier>>>,
    pub warnings: Mutex<Vec<String>>,
    /// Captures are reported on once a second.
    pub captures: Captures,
}

impl LinkSet {
    /// Opens every port of every link, or none. `stop` ends the wait for a port that takes its time.
    ///
    /// # Errors
    /// The first port that could not be opened, by link and URL.
    pub fn open(specs: &[LinkSpec], runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<Self, LinkError> {
        let set = Self::empty(runtime)?;
        set.add(specs, stop)?;
        Ok(set)
    }

    /// A set without a link yet.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn empty(runtime: &Runtime) -> Result<Self, LinkError> {
        let captures = Captures::default();
        let stop = Arc::<StopFlag>::default();
        let shared = Arc::new(Shared {
            returns: Returns::new(runtime.clone(), stop.clone()),
            runtime: runtime.clone(),
            links: Mutex::default(),
            news: News::default(),
            stop,
            carriers: Mutex::default(),
            warnings: Mutex::default(),
            captures: captures.clone(),
        });
        let set = Self { shared, keepers: Mutex::default(), captures };
        set.carrier("bridge", &RealTime::default())?;
        Ok(set)
    }

    /// Opens more links, all or none.
    ///
    /// # Errors
    /// The first that could not be opened.
    pub fn add(&self, specs: &[LinkSpec], stop: &dyn Fn() -> bool) -> Result<(), LinkError> {
        let mut new: Vec<Arc<Live>> = Vec::with_capacity(specs.len());
        let undo = |new: &[Arc<Live>]| new.iter().for_each(|live| self.close(live));
        for spec in specs {
            match self.open_one(spec, stop) {
                Ok(live) => new.push(live),
                Err(e) => {
                    undo(&new);
                    return Err(e);
                }
            }
        }
        for live in &new {
            // A port may be missing from the start.
            for side in 0..2 {
                if live.ports[side].gone() {
                    keeper::bring_back(&self.shared, live, side, None);
                }
            }
        }
        Ok(())
    }

    fn open_one(&self, spec: &LinkSpec, stop: &dyn Fn() -> bool) -> Result<Arc<Live>, LinkError> {
        spec.check().map_err(|p| LinkError::Spec {
            link: spec.name.clone(),
            reason: if p.at.is_empty() { p.message } else { format!("{}: {}", p.at, p.message) },
        })?;
        if self.shared.stop.is_raised() {
            return Err(LinkError::Closed { link: spec.name.clone() });
        }
        if self.find(&spec.name).is_ok() {
            return Err(LinkError::Twice { link: spec.name.clone() });
        }
        let carrier = match &spec.realtime {
            None if !spec.dedicated => self.carrier("bridge", &RealTime::default())?,
            ask => {
                let ask = ask.as_ref().map(RealTime::from).unwrap_or_default();
                self.carrier(&format!("link {}", spec.name), &ask)?
            }
        };
        let port = |url: &PortUrl| match OpenPort::open(url, &self.shared.runtime, stop) {
            Ok(port) => Ok(port),
            Err(e) if spec.wait && !stop() => Ok(OpenPort::absent(url, e.to_string())),
            Err(source) => Err(LinkError::Port { link: spec.name.clone(), source }),
        };
        let ports = [port(&spec.a)?, port(&spec.b)?];
        for (port, url) in ports.iter().zip(spec.urls()) {
            lock(&self.shared.warnings).extend(port.warnings().iter().map(|w| format!("{url}: {w}")));
        }
        let live = Arc::new(Live::open(spec.clone(), carrier, ports, &self.captures)?);
        lock(&self.shared.links).push(live.clone());
        Ok(live)
    }

    /// The shard of that name; a new one is watched by a keeper of its own.
    fn carrier(&self, name: &str, ask: &RealTime) -> Result<Arc<Carrier>, LinkError> {
        let mut carriers = lock(&self.shared.carriers);
        if let Some(carrier) = carriers.iter().find(|c| c.name == name) {
            return Ok(carrier.clone());
        }
        let shard = Shard::start_with(name, ask)?;
        for refused in shard.granted().rows.iter().filter(|row| !row.granted) {
            lock(&self.shared.warnings).push(format!("{name}: {}: {}", refused.what, refused.detail));
        }
        let carrier = Arc::new(Carrier { name: name.to_owned(), shard });
        let keeper = keeper::start(&self.shared, &carrier).map_err(LinkError::Keeper)?;
        lock(&self.keepers).push(keeper);
        carriers.push(carrier.clone());
        Ok(carrier)
    }

    /// A link by its name; the only one there is by `""`.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Live>, LinkError> {
        let links = lock(&self.shared.links);
        let found = match (name, links.as_slice()) {
            ("", [only]) => Some(only),
            (name, links) => links.iter().find(|live| live.name() == name),
        };
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = links.iter().map(|live| live.name()).collect();
            let known = match names.as_slice() {
                [] => "none is up".to_owned(),
                names => format!("up are {}", names.join(", ")),
            };
            LinkError::Unknown { link: name.to_owned(), known }
        })
    }

    /// Closes one link; answers its last rows.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove(&self, name: &str) -> Result<Vec<LinkRow>, LinkError> {
        let live = self.find(name)?;
        self.close(&live);
        Ok(LinkRow::of(&live).into())
    }

    fn close(&self, live: &Arc<Live>) {
        lock(&self.shared.links).retain(|other| !Arc::ptr_eq(other, live));
        self.captures.leave(&live.info);
        live.close();
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        lock(&self.shared.links).clone()
    }

    pub fn names(&self) -> Vec<String> {
        self.all().iter().map(|live| live.name().to_owned()).collect()
    }

    /// Begins to capture all links, and to record them as a run in a database. Links that were opened with `capture` or
    /// `record` in their specs are in it from their first byte. A relative file is below the folder beside it.
    ///
    /// # Errors
    /// Why nothing is captured or recorded, in a sentence.
    pub fn capture(
        &self,
        capture: Option<(&CaptureSpec, &Path)>,
        record: Option<(&Path, RunInfo)>,
    ) -> Result<(), LinkError> {
        let lines = tapped(&self.all());
        let captured = capture.map(|(spec, folder)| self.captures.start(&lines, spec, folder));
        let recorded = record.map(|(db, info)| self.captures.record(&lines, db, info));
        self.captures.begin();
        Ok(captured.transpose().and(recorded.transpose()).map(drop)?)
    }

    /// Ends all captures and records; each is complete when this returns. `outcome` goes to the database of runs.
    pub fn end_captures(&self, outcome: &str) -> Vec<CaptureRow> {
        let statistics: Vec<_> = self.all().iter().map(|l| (l.name().to_owned(), l.stats())).collect();
        self.captures.end_run(outcome, &statistics)
    }

    pub(crate) fn named(&self, names: &[String]) -> Result<Vec<Arc<Live>>, LinkError> {
        match names {
            [] => Ok(self.all()),
            names => names.iter().map(|name| self.find(name)).collect(),
        }
    }

    pub fn captures(&self) -> &Captures {
        &self.captures
    }

    /// What the ports and the system could not grant.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.shared.warnings).clone()
    }

    /// Kernel id of the thread that carries the links that have none of their own.
    pub fn thread_id(&self) -> i32 {
        lock(&self.shared.carriers).first().map_or(0, |c| c.shard.thread_id())
    }

    /// What was asked of the system, and what came of it.
    pub fn granted(&self) -> Vec<GrantRow> {
        lock(&self.shared.carriers).iter().flat_map(|c| GrantRow::of(&c.name, c.shard.granted())).collect()
    }

    /// One row a link and direction.
    pub fn rows(&self) -> Vec<LinkRow> {
        self.all().iter().flat_map(|live| LinkRow::of(live)).collect()
    }

    /// One row a link, of what does not change all the time.
    pub fn states(&self) -> Vec<LinkState> {
        self.all().iter().map(|live| LinkState::of(live)).collect()
    }

    /// One row a link, of what changes all the time.
    pub fn counters(&self) -> Vec<LinkCounters> {
        self.all().iter().map(|live| LinkCounters::of(live)).collect()
    }

    /// One row a rule.
    pub fn faults(&self) -> Vec<FaultRow> {
        self.all().iter().flat_map(|live| FaultRow::of(live)).collect()
    }

    /// One row a port.
    pub fn ports(&self) -> Vec<PortRow> {
        self.all().iter().flat_map(|live| PortRow::of(live)).collect()
    }

    /// The last faults that fired, oldest first.
    pub fn firings(&self) -> Vec<Firing> {
        self.shared.news.firings()
    }

    /// The last ports that were lost or came back.
    pub fn port_news(&self) -> Vec<PortNews> {
        self.shared.news.ports()
    }

    /// How many ports are gone for good, and whether every link has one such. Costs a few loads, so that who carries
    /// bytes in the foreground can look often.
    pub fn lost(&self) -> (usize, bool) {
        let links = lock(&self.shared.links);
        let lost = |live: &Arc<Live>| live.ports.iter().filter(|p| p.gone() && !live.spec.reconnect).count();
        links.iter().map(lost).fold((0, true), |(sum, all), n| (sum + n, all && n > 0))
    }

    /// A sentence on every port that is gone, for now or for good; empty when all is well.
    pub fn trouble(&self) -> String {
        let gone = self.ports().into_iter().filter(|port| !port.reason.is_empty());
        let sentences: Vec<String> =
            gone.map(|port| format!("port {} is gone: {}", port.url, port.reason)).collect();
        sentences.join("; ")
    }

    /// Closes everything, in order; `outcome` goes to the database of runs. Nothing can be opened any more.
    pub fn shut(&self, outcome: &str) -> Ended {
        self.shared.stop.raise();
        for carrier in lock(&self.shared.carriers).iter() {
            carrier.shard.events().waker().wake();
        }
        // Taken out first: the threads take these locks, too.
        let threads: Vec<_> = lock(&self.keepers).drain(..).collect();
        threads.into_iter().for_each(|keeper| drop(keeper.join()));
        self.shared.returns.join();
        let links: Vec<_> = lock(&self.shared.links).drain(..).collect();
        let statistics: Vec<_> = links.iter().map(|live| (live.name().to_owned(), live.stats())).collect();
        let captures = self.captures.end_run(outcome, &statistics);
        links.iter().for_each(|live| live.close());
        let traffic = links.iter().flat_map(|live| LinkRow::of(live)).collect();
        lock(&self.shared.carriers).clear();
        Ended { traffic, captures }
    }

    /// A port that is gone is not looked for.
    pub fn given_up(&self) -> bool {
        self.lost().0 > 0
    }
}

impl Drop for LinkSet {
    fn drop(&mut self) {
        self.shut("ended");
    }
}

impl std::fmt::Debug for LinkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkSet").field("links", &self.names()).finish_non_exhaustive()
    }
}
