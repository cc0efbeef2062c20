//! A model that runs: all its ports on one shard, and what the control side asks of it. Knows no contract and no command
//! line.

mod account;
mod comings;
mod control;
mod faults;
mod keeper;
mod line;
mod open;
mod record;
mod reload;
mod sniff;
mod state;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hilrig_capture::CaptureSpec;
use hilrig_modbus::{FrameReader, FrameRecord, Framing, GatewayStats, MasterStats, SlaveStats, SniffStats};
use hilrig_points::{Plant, SetError, Shared};
use hilrig_port::{
    Format, PortError, PortState, PortStats, RealTime, Runtime, ServerRef, Shard, StationRef, Time,
};
use hilrig_record::{CaptureError, Captures};
use hilrig_telegram::TelegramStats;

use crate::catalogue::Catalogue;
use crate::model::{Model, Role};

use comings::Comings;
use keeper::Keeper;
use line::Line;

pub use account::{PollRow, PortRow, TimingRow};
pub use comings::PortNews;
pub use control::PointRow;
pub use faults::FaultRow;
pub use record::ReplayRow;
pub use reload::Reloaded;
pub use sniff::{Learned, SniffRow, Sniffed};
pub use state::state_file;

/// How a run is to be.
pub struct RunOptions<'a> {
    pub runtime: Runtime,
    /// In place of what the model asks for.
    pub realtime: Option<RealTime>,
    /// A file with the state of an earlier run.
    pub restore: Option<PathBuf>,
    /// Record frames from the first one on, and not only once a [`Watch`](crate::Watch) looks.
    pub watch: bool,
    /// Bring ports back that are lost.
    pub reconnect: bool,
    /// Capture all lines from their first byte on. A relative file is below the folder.
    pub capture: Option<(CaptureSpec, PathBuf)>,
    /// Asked while ports are opened.
    pub stop: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for RunOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOptions").field("realtime", &self.realtime).finish_non_exhaustive()
    }
}

/// Why a model does not run, or does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the model has no port: give it one, as [port.line] with a url, or on the command line")]
    NoPort,
    #[error("port {name} of the model has no url; say where it is in the model or as {name}=URL")]
    NoUrl { name: String },
    #[error("{}", port_trouble(name, url, source))]
    Port { name: String, url: String, source: PortError },
    #[error("{0}")]
    Shard(#[from] PortError),
    #[error("no {what} {name:?}; {known}")]
    Unknown { what: &'static str, name: String, known: String },
    #[error("{0}")]
    Set(#[from] SetError),
    #[error("{0}")]
    Capture(#[from] CaptureError),
    #[error("the thread that looks after the run cannot be started: {0}")]
    Keeper(std::io::Error),
    #[error("{what}: {why}")]
    Refused { what: String, why: String },
    #[error("{}: {source}", path.display())]
    Snapshot { path: PathBuf, source: std::io::Error },
}

/// A port of the command line is called as its URL is, which the reason says already.
fn port_trouble(name: &str, url: &str, source: &PortError) -> String {
    if url.starts_with(name) { source.to_string() } else { format!("port {name}: {source}") }
}

/// A model that runs. Dropping it closes its ports.
#[derive(Debug)]
pub struct Run {
    model: Mutex<Arc<Model>>,
    catalogue: Mutex<Arc<Catalogue>>,
    plant: Shared,
    ports: Arc<Mutex<Vec<Arc<PortRun>>>>,
    begun: Time,
    since: Instant,
    warnings: Vec<String>,
    watch: bool,
    reconnect: bool,
    runtime: Runtime,
    comings: Arc<Comings>,
    captures: Captures,
    replays: Mutex<Vec<ReplayRow>>,
    keeper: Keeper,
    shard: Arc<Shard>,
}

/// A port of a run.
#[derive(Debug)]
pub struct PortRun {
    pub name: String,
    pub url: String,
    /// What others open to be at the far end; empty if that is the URL.
    pub far_end: String,
    pub role: Role,
    pub framing: Framing,
    pub baud: u32,
    pub format: Format,
    /// Who sits there, as status rows call it.
    pub kind: &'static str,
    pub stats: Arc<PortStats>,
    pub(crate) core: Core,
    pub(crate) frames: Mutex<FrameReader>,
    watched: AtomicBool,
    /// The line that its core sits at; a listener has none, but a gateway the one behind it.
    pub(crate) line: Option<Arc<Line>>,
}

#[derive(Debug)]
pub(crate) enum Core {
    Slave { seat: StationRef, stats: Arc<SlaveStats> },
    TcpSlave { seat: ServerRef, stats: Arc<SlaveStats> },
    Master { seat: StationRef, stats: Arc<MasterStats> },
    Sniffer { seat: Mutex<Option<StationRef>>, stats: Arc<SniffStats> },
    Gateway { seat: ServerRef, stats: Arc<GatewayStats> },
    Telegram { seat: StationRef, stats: Arc<TelegramStats>, seen: Mutex<hilrig_telegram::FrameReader> },
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    pub fn model(&self) -> Arc<Model> {
        lock(&self.model).clone()
    }

    pub fn catalogue(&self) -> Arc<Catalogue> {
        lock(&self.catalogue).clone()
    }

    pub fn ports(&self) -> Vec<Arc<PortRun>> {
        lock(&self.ports).clone()
    }

    /// What was asked for and could not be had, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub fn uptime(&self) -> Duration {
        self.since.elapsed()
    }

    /// When the time of the model began.
    pub fn begun(&self) -> Time {
        self.begun
    }

    /// What the shard was granted, a row a wish.
    pub fn granted(&self) -> &hilrig_port::Granted {
        self.shard.granted()
    }

    /// Runs `f` on the data, between two frames.
    ///
    /// # Errors
    /// The shard is gone.
    pub fn with_plant<R: Send>(&self, f: impl FnOnce(&mut Plant, Time) -> R + Send) -> Result<R, RunError> {
        Ok(self.shard.between(|now| self.plant.with(|plant| f(plant, now)))?)
    }

    /// Why the run does not work, if so.
    pub fn trouble(&self) -> String {
        let lost =
            |row: PortRow| (row.state == "lost").then(|| format!("port {} is gone: {}", row.url, row.reason));
        self.rows().into_iter().filter_map(lost).collect::<Vec<_>>().join("; ")
    }

    /// The last ports that were lost or came back, oldest first.
    pub fn port_news(&self) -> Vec<PortNews> {
        self.comings.rows()
    }

    /// Ports that were lost or came back after the first `seen` such news, which is counted on.
    pub fn port_news_after(&self, seen: &mut u64) -> Vec<PortNews> {
        self.comings.after(seen)
    }

    /// How many ports are gone for good, and whether all are.
    pub fn given_up(&self) -> (usize, bool) {
        let ports = self.ports();
        let gone = |port: &&Arc<PortRun>| {
            port.stats.gone() && port.stats.state() == PortState::Lost
                || port.line.as_ref().is_some_and(|line| line.is_given_up())
        };
        let count = ports.iter().filter(gone).count();
        (count, count == ports.len())
    }

    /// Ends what goes on beside the ports: threads, replays. Nothing is brought back any more.
    pub fn end(&self) {
        self.keeper.end();
    }

    /// How often its data was let go on while nobody asked: about once a second.
    pub fn kept_up(&self) -> u64 {
        self.keeper.ticks.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.keeper.is_over()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.end();
        self.end_captures();
    }
}

impl PortRun {
    /// Begins or ends the recording of frames.
    pub(crate) fn watch(&self, wanted: bool) {
        self.watched.store(wanted, Ordering::Relaxed);
        lock(&self.frames).watch(wanted);
    }

    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// The oldest telegram that nobody has seen.
    pub(crate) fn next_telegram(&self) -> Option<hilrig_telegram::TelegramRecord> {
        match &self.core {
            Core::Telegram { seen, .. } => lock(seen).pop().ok(),
            _ => None,
        }
    }

    /// The oldest frame that nobody has seen.
    pub(crate) fn next_frame(&self) -> Option<FrameRecord> {
        lock(&self.frames).pop()
    }

    /// What an operator is told when the port is up.
    pub fn sentence(&self, run: &Run) -> String {
        let open = if self.far_end.is_empty() { String::new() } else { format!(", open {}", self.far_end) };
        let line = if self.framing.is_over_tcp() {
            self.framing.to_string()
        } else {
            format!("{} at {} {}", self.framing, self.baud, self.format)
        };
        let model = run.model();
        match self.role {
            Role::Slave => {
                let only = model.ports.iter().find(|p| p.name == self.name).and_then(|p| p.units.clone());
                let ids = model.units.iter().map(|(_, id)| *id);
                let ids: Vec<String> = ids
                    .filter(|id| only.as_ref().is_none_or(|only| only.contains(id)))
                    .map(|id| id.to_string())
                    .collect();
                let (s, verb) = if ids.len() == 1 { ("", "answers") } else { ("s", "answer") };
                format!("unit{s} {} {verb} on {}, {line}{open}", ids.join(", "), self.url)
            }
            Role::Master(i) => {
                let name = model.masters.get(i).map_or("", |m| m.name.as_str());
                format!("master {name} asks on {}, {line}{open}", self.url)
            }
            Role::Sniffer(_) => format!("listening on {}, {line}{open}", self.url),
            Role::Gateway(i) => {
                let name = model.gateways.get(i).map_or("", |g| g.name.as_str());
                format!("gateway {name} is called on {}{open}", self.url)
            }
            Role::Telegram(i) => {
                let name = model.telegrams.get(i).map_or("", |t| t.name.as_str());
                format!("telegrams of {name} on {}, {} {}{open}", self.url, self.baud, self.format)
            }
            Role::Behind(_) => {
                format!("a gateway asks on {}, {line}{open}", self.url)
            }
        }
    }
}
