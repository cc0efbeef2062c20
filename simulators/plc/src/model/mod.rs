//! Model files: what a simulated device has, and on which ports it is served. Reading and checking only; nothing is
//! opened here.

mod check;
mod file;
mod line;
mod load;
mod plan;

use std::path::{Path, PathBuf};

use hilrig_capture::Framing as CaptureFraming;
use hilrig_files::FileError;
use hilrig_modbus::faults::{Prepared, ReplyFaults};
use hilrig_modbus::{Framing, GatewayPlan, MasterPlan, Slave, SniffPlan};
use hilrig_points::{Plant, Shared};
use hilrig_port::{RealTime, Time};
use hilrig_telegram::TelegramPlan;

pub use file::{ModelFile, schema};
pub use line::{character_format, port_url};
pub use plan::{PortPlan, Role};

/// A checked model, to be run any number of times.
#[derive(Debug, Clone)]
pub struct Model {
    pub name: String,
    /// The file as it was asked for.
    pub path: PathBuf,
    pub seed: u64,
    pub ports: Vec<PortPlan>,
    /// Names and ids of the units.
    pub units: Vec<(String, u8)>,
    /// Armed from the start; each port counts for itself.
    pub faults: Vec<Prepared>,
    pub masters: Vec<Seated<MasterPlan>>,
    pub sniffers: Vec<Seated<SniffPlan>>,
    pub gateways: Vec<Seated<GatewayPlan>>,
    pub telegrams: Vec<Seated<TelegramPlan>>,
    pub realtime: RealTime,
    /// Begin with the state that was saved last.
    pub restore: bool,
    /// Save the state at the end.
    pub save: bool,
    /// All files of the model.
    pub files: Vec<PathBuf>,
    plant: Plant,
}

/// Something with a name, on a port of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seated<P> {
    pub name: String,
    /// Place in [`Model::ports`].
    pub port: usize,
    pub plan: P,
}

impl Model {
    /// Reads and checks a model file and all that it includes.
    ///
    /// # Errors
    /// All that is wrong, with the places in the files.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Self::load_with(path, None)
    }

    /// The same with another seed than its own.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_with(path: &Path, seed: Option<u64>) -> Result<Self, FileError> {
        check::check(&load::text_of(path)?, path, seed)
    }

    /// Checks a model from memory; `path` is what messages call it and where includes are looked for.
    ///
    /// # Errors
    /// As `load`.
    pub fn check(text: &str, path: &Path) -> Result<Self, FileError> {
        check::check(text, path, None)
    }

    /// A model of one plant, without a file.
    pub fn of(name: &str, plant: Plant) -> Self {
        let units = plant.unit_ids().map(|id| (format!("unit{id}"), id)).collect();
        Self { units, plant, ..Self::empty(name.to_owned(), PathBuf::new(), 1, vec![]) }
    }

    fn empty(name: String, path: PathBuf, seed: u64, files: Vec<PathBuf>) -> Self {
        Self {
            name,
            path,
            seed,
            ports: vec![],
            units: vec![],
            faults: vec![],
            masters: vec![],
            sniffers: vec![],
            gateways: vec![],
            telegrams: vec![],
            realtime: RealTime::default(),
            restore: false,
            save: false,
            files,
            plant: Plant::default(),
        }
    }

    /// Its data as it is at the start of a run.
    pub fn plant(&self) -> Plant {
        self.plant.clone()
    }

    /// The faults of its file for one port, whose name makes them independent of those of other ports. They count from
    /// `now`.
    pub fn reply_faults(&self, port: &str, framing: Framing, now: Time) -> ReplyFaults {
        let mut faults = ReplyFaults::of_port(self.seed, port);
        for rule in &self.faults {
            if rule.fits(framing) && rule.port().is_none_or(|name| name == port) {
                let _ = faults.arm(now, rule.clone());
            }
        }
        faults
    }

    /// The slave of one of its ports, with its faults.
    pub fn slave(&self, port: &PortPlan, plant: &Shared, now: Time) -> Slave {
        Slave::new(port.timing(), plant.clone())
            .framing(port.framing)
            .units(port.units.as_deref())
            .min_delay(port.min_delay)
            .reply_gap(port.reply_gap)
            .response_time(port.response_time)
            .faults(self.reply_faults(&port.name, port.framing, now))
    }

    /// What parts frames in a capture of its lines, if nobody says it.
    pub fn capture_framing(&self) -> CaptureFraming {
        let lines = self.ports.iter().filter(|p| !p.listens() && !matches!(p.role, Role::Gateway(_)));
        capture_framing(lines.map(|port| port.framing))
    }

    /// Leaves ports out.
    pub fn keep_ports(&mut self, keep: impl Fn(&PortPlan) -> bool) {
        let mut places = Vec::new();
        for (i, port) in self.ports.iter().enumerate() {
            if keep(port) {
                places.push(i);
            }
        }
        let moved = |at: usize| places.iter().position(|old| *old == at).unwrap_or(usize::MAX);
        self.masters.iter_mut().for_each(|m| m.port = moved(m.port));
        self.sniffers.iter_mut().for_each(|s| s.port = moved(s.port));
        self.gateways.iter_mut().for_each(|g| g.port = moved(g.port));
        self.telegrams.iter_mut().for_each(|t| t.port = moved(t.port));
        self.ports = places.iter().map(|i| self.ports[*i].clone()).collect();
    }
}

/// What parts frames in a capture of lines of these framings: what parts them there; silence, if they differ.
pub(crate) fn capture_framing(framings: impl Iterator<Item = Framing>) -> CaptureFraming {
    let mut all = framings.map(|framing| match framing {
        Framing::Ascii | Framing::AsciiOverTcp => CaptureFraming::Terminator(b"\r\n".to_vec()),
        Framing::Tcp => CaptureFraming::Raw,
        Framing::Rtu | Framing::RtuOverTcp => CaptureFraming::Silence(None),
    });
    let first = all.next().filter(|first| all.all(|other| other == *first));
    first.unwrap_or(CaptureFraming::Silence(None))
}
