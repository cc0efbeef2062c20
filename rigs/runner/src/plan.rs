//! A rig that has been checked: every name resolved, every default filled in. Nothing here can be wrong any more,
//! and nothing here touches a port.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use hilrig_plc::Model;
use hilrig_port::{Format, PortUrl};
use hilrig_wire::{FaultRule, WireSpec};

use hilrig_files::{FileError, Problems};

/// A checked rig, ready to run any number of times.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    /// The file as the user named it.
    pub file: String,
    pub seed: u64,
    pub timeout: Duration,
    /// The file itself, to show places of it.
    pub(crate) text: std::sync::Arc<str>,
    pub(crate) ports: Vec<PortPlan>,
    pub(crate) sims: Vec<SimPlan>,
    pub(crate) links: Vec<LinkPlan>,
    pub(crate) masters: Vec<MasterPlan>,
    pub(crate) faults: Vec<FaultPlan>,
    pub(crate) steps: Vec<StepPlan>,
}

impl Plan {
    /// Reads and checks a rig file. Touches no port.
    ///
    /// # Errors
    /// All that is wrong, with the places in the file.
    pub fn load(path: &Path) -> Result<Self, miette::Report> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| FileError::unreadable("rig", &name, &e))?;
        let text = String::from_utf8(bytes).map_err(|e| FileError::not_text("rig", &name, &e))?;
        Self::parse(&text, &name)
    }

    /// Checks a rig from memory; `name` is what messages call the file.
    ///
    /// # Errors
    /// All that is wrong, with the places in the text.
    pub fn parse(text: &str, name: &str) -> Result<Self, miette::Report> {
        Ok(crate::check::check(text, name)?)
    }

    /// Whether it can run in virtual time: only what is simulated can.
    ///
    /// # Errors
    /// All that cannot, with the places in the file.
    pub fn check_virtual(&self) -> Result<(), miette::Report> {
        Ok(self.is_virtual()?)
    }

    pub(crate) fn is_virtual(&self) -> Result<(), FileError> {
        let mut problems = Problems::new("rig", &self.file, &self.text);
        for port in &self.ports {
            if let PortKind::Url(url) = &port.kind {
                let message = format!("`{}` is a real port, which knows no virtual time", port.name);
                let label = format!("{url} cannot be simulated; use a pair");
                let help = "run this rig without --virtual-time, or put a simulator on a pair in its place";
                problems.add(&port.place, message, label).help = Some(help.to_owned());
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.into_error()) }
    }

    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct PortPlan {
    pub name: String,
    /// Of the URL in the file.
    pub place: Range<usize>,
    pub kind: PortKind,
}

#[derive(Debug, Clone)]
pub(crate) enum PortKind {
    Pair { baud: u32, format: Format, wire: Option<WireSpec> },
    Url(PortUrl),
}

/// What a station or a link end sits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Index of the port.
    pub port: usize,
    /// 0 is end a, 1 is end b; 0 for a URL.
    pub end: usize,
}

impl Plan {
    /// The name of a seat as the rig file writes it.
    pub(crate) fn seat_name(&self, seat: Seat) -> String {
        let port = &self.ports[seat.port];
        match port.kind {
            PortKind::Pair { .. } => format!("{}.{}", port.name, ["a", "b"][seat.end]),
            PortKind::Url(_) => port.name.clone(),
        }
    }

    /// Baud rate and format of the line at a seat.
    pub(crate) fn line_at(&self, seat: Seat) -> (u32, Format) {
        match &self.ports[seat.port].kind {
            PortKind::Pair { baud, format, .. } => (*baud, *format),
            PortKind::Url(url) => url
                .serial_options()
                .map_or((19_200, Format::default()), |options| (options.baud, options.format)),
        }
    }
}

/// The four tables of Modbus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Holding,
    Input,
    Coils,
    Discrete,
}

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Self::Holding => "holding",
            Self::Input => "input",
            Self::Coils => "coils",
            Self::Discrete => "discrete",
        }
    }

    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coils | Self::Discrete)
    }

    /// The same in the words of the Modbus cores.
    pub fn core(self) -> hilrig_points::Table {
        match self {
            Self::Holding => hilrig_points::Table::HoldingRegisters,
            Self::Input => hilrig_points::Table::InputRegisters,
            Self::Coils => hilrig_points::Table::Coils,
            Self::Discrete => hilrig_points::Table::DiscreteInputs,
        }
    }

    /// How many one request may read.
    pub fn most_at_once(self) -> u32 {
        if self.is_bits() { 2000 } else { 125 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SimPlan {
    pub name: String,
    pub seat: Seat,
    /// The unit that steps speak of; `None` if there are several.
    pub unit: Option<u8>,
    /// (table, address, value), each address once.
    pub cells: Vec<(Table, u16, u16)>,
    /// What is served in place of cells.
    pub model: Option<ModelSim>,
    /// Its model cannot be used: what it would have is not known.
    pub broken: bool,
}

/// A port of a model.
#[derive(Debug, Clone)]
pub(crate) struct ModelSim {
    pub model: Box<Model>,
    pub port: hilrig_plc::PortPlan,
}

impl SimPlan {
    pub fn has(&self, table: Table, address: u16) -> bool {
        match &self.model {
            None if self.broken => true,
            None => self.cells.iter().any(|(t, a, _)| (*t, *a) == (table, address)),
            Some(served) => {
                let plant = served.model.plant();
                self.unit.and_then(|unit| plant.unit(unit)?.get(table.core(), address)).is_some()
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LinkPlan {
    pub name: String,
    pub ends: [Seat; 2],
    pub wire: Option<WireSpec>,
}

#[derive(Debug, Clone)]
pub(crate) struct MasterPlan {
    pub name: String,
    pub seat: Seat,
    pub unit: u8,
    pub polls: Vec<PollPlan>,
}

#[derive(Debug, Clone)]
pub(crate) struct PollPlan {
    pub name: String,
    pub table: Table,
    pub first: u16,
    pub count: u16,
    pub every: Duration,
    pub timeout: Duration,
    pub retries: u16,
}

/// Everything that some `inject` arms.
#[derive(Debug, Clone)]
pub(crate) struct FaultPlan {
    pub link: usize,
    pub rule: FaultRule,
    pub line: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct StepPlan {
    /// Line in the rig file, from 1.
    pub line: usize,
    /// `expect`, `wait` and so on.
    pub kind: &'static str,
    /// The step in words.
    pub text: String,
    pub action: Action,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Wait(Duration),
    Expect { subject: Subject, test: Test, within: Duration },
    Assert { subject: Subject, test: Test },
    Inject { fault: usize },
    Clear { fault: usize },
    Measure(MeasurePlan),
    SetSim { sim: usize, table: Table, address: u16, value: u16 },
    SetMaster { master: usize, table: Table, address: u16, value: u16, within: Duration },
}

/// What a claim is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// A value as last read over the line.
    Polled { master: usize, poll: usize, address: u16 },
    /// A counter of a poll, or of a whole master.
    Counted { master: usize, poll: Option<usize>, count: Count },
    /// A value in the simulator.
    Simulated { sim: usize, table: Table, address: u16 },
    /// How often a fault has fired.
    Fired { fault: usize },
    /// Bytes that vanished other than by a fault, on one link or all.
    BytesLost { link: Option<usize> },
}

/// What is counted since the run began. All but the last two are known for each poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Requests,
    Replies,
    Exceptions,
    Unanswered,
    Retries,
    Recovered,
    Failures,
    Timeouts,
    CrcErrors,
}

impl Count {
    const ALL: [Self; 9] = [
        Self::Requests,
        Self::Replies,
        Self::Exceptions,
        Self::Unanswered,
        Self::Retries,
        Self::Recovered,
        Self::Failures,
        Self::Timeouts,
        Self::CrcErrors,
    ];
    pub const NAMES: [&'static str; 9] = [
        "requests",
        "replies",
        "exceptions",
        "unanswered",
        "retries",
        "recovered",
        "failures",
        "timeouts",
        "crc_errors",
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Counted by a master for its line as a whole.
    pub fn of_master_only(self) -> bool {
        matches!(self, Self::Timeouts | Self::CrcErrors)
    }
}

/// What a value is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Equals(i64),
    NotEquals(i64),
    In(i64, i64),
}

impl Test {
    pub fn holds(self, value: i64) -> bool {
        match self {
            Self::Equals(n) => value == n,
            Self::NotEquals(n) => value != n,
            Self::In(low, high) => (low..=high).contains(&value),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct MeasurePlan {
    pub master: usize,
    pub poll: usize,
    pub count: u64,
    pub within: Duration,
    pub limits: Vec<LimitPlan>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitPlan {
    pub of: Limited,
    pub max: u64,
    pub marginal: Option<u64>,
}

/// What a limit of a measurement is about; times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limited {
    P50,
    P99,
    Max,
    Loss,
}

impl Limited {
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Max => "max",
            Self::Loss => "loss",
        }
    }
}
