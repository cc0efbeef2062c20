//! A rig that has been checked: every name resolved, every default filled in. Nothing here can be wrong any more,
//! and nothing here touches a port.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hilrig_files::{FileError, Problems};
use hilrig_modbus::{Exchange, Framing, Poll};
use hilrig_plc::Model;
use hilrig_points::{Plant, Point, Table, Value};
use hilrig_port::{Format, PortUrl};
use hilrig_wire::{FaultRule, WireSpec};

use crate::compare::Test;

/// A checked rig, ready to run any number of times.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    /// The file as the user named it.
    pub file: String,
    pub seed: u64,
    pub timeout: Duration,
    /// The file itself, to show places of it.
    pub(crate) text: Arc<str>,
    pub(crate) ports: Vec<PortPlan>,
    pub(crate) sims: Vec<SimPlan>,
    pub(crate) stations: Vec<StationPlan>,
    pub(crate) links: Vec<LinkPlan>,
    pub(crate) masters: Vec<MasterPlan>,
    pub(crate) faults: Vec<FaultPlan>,
    pub(crate) reply_faults: Vec<ReplyFaultPlan>,
    pub(crate) points: Vec<PointPlan>,
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
    Pair {
        baud: u32,
        format: Format,
        wire: Option<WireSpec>,
    },
    /// End 0 is who is called, end 1 those who call.
    Tcp,
    Url(PortUrl),
}

/// What a station or a link end sits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Index of the port.
    pub port: usize,
    /// 0 is end a or the server, 1 is end b or a client; 0 for a URL.
    pub end: usize,
}

impl Plan {
    /// The name of a seat as the rig file writes it.
    pub(crate) fn seat_name(&self, seat: Seat) -> String {
        let port = &self.ports[seat.port];
        match port.kind {
            PortKind::Pair { .. } => format!("{}.{}", port.name, ["a", "b"][seat.end]),
            PortKind::Tcp => format!("{}.{}", port.name, ["server", "client"][seat.end]),
            PortKind::Url(_) => port.name.clone(),
        }
    }

    /// Who sits here is called, or calls.
    pub(crate) fn is_tcp(&self, seat: Seat) -> bool {
        self.ports.get(seat.port).is_some_and(|port| matches!(port.kind, PortKind::Tcp))
    }

    /// For each port, which line it is part of: links join ports to one line.
    pub(crate) fn lines(&self) -> Vec<usize> {
        let mut lines: Vec<usize> = (0..self.ports.len()).collect();
        for link in &self.links {
            let [a, b] = link.ends.map(|seat| lines[seat.port]);
            lines.iter_mut().filter(|line| **line == a.max(b)).for_each(|line| *line = a.min(b));
        }
        lines
    }

    /// Baud rate and format of the line at a seat.
    pub(crate) fn line_at(&self, seat: Seat) -> (u32, Format) {
        match &self.ports[seat.port].kind {
            PortKind::Pair { baud, format, .. } => (*baud, *format),
            PortKind::Tcp => (19_200, Format::default()),
            PortKind::Url(url) => url
                .serial_options()
                .map_or((19_200, Format::default()), |options| (options.baud, options.format)),
        }
    }
}

/// A simulator: what it holds. Where it sits is said by its stations.
#[derive(Debug, Clone)]
pub(crate) struct SimPlan {
    pub name: String,
    /// The unit that steps speak of; `None` if there are several.
    pub unit: Option<u8>,
    /// (table, address, value), each address once.
    pub cells: Vec<(Table, u16, u16)>,
    /// What is served in place of cells.
    pub model: Option<SimModel>,
    /// Its model cannot be used: what it would have is not known.
    pub broken: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct SimModel {
    pub model: Arc<Model>,
    /// Its values at the start.
    pub plant: Plant,
}

/// What a simulator puts on a seat, its masters aside.
#[derive(Debug, Clone)]
pub(crate) struct StationPlan {
    /// SIM, or SIM.PORT if the simulator has several.
    pub name: String,
    pub sim: usize,
    pub seat: Seat,
    /// A port of its model, and who sits there.
    pub port: Option<hilrig_plc::PortPlan>,
    /// The line behind a gateway.
    pub behind: Option<(Seat, hilrig_plc::PortPlan)>,
}

/// A point that steps speak of.
#[derive(Debug, Clone)]
pub(crate) struct PointPlan {
    pub sim: usize,
    pub point: Point,
}

/// A fault of replies that a model has.
#[derive(Debug, Clone)]
pub(crate) struct ReplyFaultPlan {
    pub sim: usize,
    pub name: String,
    /// Why it can happen nowhere here, if so.
    pub nowhere: Option<String>,
}

impl SimPlan {
    pub fn has(&self, table: Table, address: u16) -> bool {
        match &self.model {
            None if self.broken => true,
            None => self.cells.iter().any(|(t, a, _)| (*t, *a) == (table, address)),
            Some(served) => self.unit.and_then(|unit| served.plant.unit(unit)?.get(table, address)).is_some(),
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
    /// SIM.MASTER for one of a model.
    pub name: String,
    pub seat: Seat,
    /// The unit it asks; `None` for one of a model.
    pub unit: Option<u8>,
    pub framing: Framing,
    pub polls: Vec<PollPlan>,
    /// One of a model: its simulator, its number there and its port.
    pub model: Option<(usize, usize, hilrig_plc::PortPlan)>,
}

#[derive(Debug, Clone)]
pub(crate) struct PollPlan {
    pub name: String,
    pub poll: Poll,
    /// What it reads, if it reads a table: that, the first address and how many.
    pub read: Option<(Table, u16, u16)>,
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
    Expect {
        subject: Subject,
        test: Test,
        within: Duration,
    },
    Assert {
        subject: Subject,
        test: Test,
    },
    Inject {
        fault: usize,
    },
    Arm {
        fault: usize,
    },
    Clear {
        fault: FaultRef,
    },
    Measure(MeasurePlan),
    SetSim {
        sim: usize,
        table: Table,
        address: u16,
        value: u16,
    },
    SetPoint {
        point: usize,
        value: Value,
        over: Option<Duration>,
    },
    Release {
        point: usize,
    },
    /// `what` is the write in words.
    SetMaster {
        master: usize,
        exchange: Box<Exchange>,
        what: String,
        within: Duration,
    },
}

/// A fault that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultRef {
    /// Of those injected.
    Link(usize),
    /// Of those of models.
    Reply(usize),
}

/// What a claim is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// A value as last read over the line: one cell, or a point that begins there.
    Polled { master: usize, poll: usize, address: u16, point: Option<usize> },
    /// A counter of a poll, or of a whole master.
    Counted { master: usize, poll: Option<usize>, count: Count },
    /// A value in the simulator.
    Simulated { sim: usize, table: Table, address: u16 },
    /// A point in the simulator.
    Point { point: usize },
    /// How often a fault has fired.
    Fired { fault: FaultRef },
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
