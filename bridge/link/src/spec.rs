//! What a link is to be: the table `[link.NAME]` of a config file, the options of a pair, and what the command line
//! builds. Checks everything that can be checked without touching a port.

use std::time::Duration;

use hilrig_capture::{CaptureSpec, Framing, Points};
use hilrig_contract::SectionProblem;
use hilrig_port::{LineRouting, PortUrl, RealTime};
use hilrig_wire::{FaultRule, LinkCore, WireSpec};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::live::core_spec;

/// One link to open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkSpec {
    #[serde(skip)]
    pub name: String,
    #[serde(with = "url")]
    pub a: PortUrl,
    #[serde(with = "url")]
    pub b: PortUrl,
    /// `run_start` opens it; without, only `link_start` does.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// A wire that behaves like one. Also given by `faults`, then with nothing in it but them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<WireSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultRule>,
    /// Of everything random on this link; without one it is drawn at the start and told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What parts frames, for faults that count them; without it a silence of 3.5 characters of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
    /// How modem lines cross.
    #[serde(default)]
    pub lines: LineWords,
    /// A thread of its own.
    #[serde(default)]
    pub dedicated: bool,
    /// What that thread asks of the kernel. Makes the link dedicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realtime: Option<RealTimeSpec>,
    /// A port that is lost is opened again.
    #[serde(default = "yes")]
    pub reconnect: bool,
    /// Start although a port is missing, and open it when it comes.
    #[serde(default)]
    pub wait: bool,
    /// Captured from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureSpec>,
    /// Recorded in the database of runs.
    #[serde(default)]
    pub record: bool,
    /// Where the record looks at the link.
    #[serde(skip)]
    pub record_points: Points,
}

fn yes() -> bool {
    true
}

/// [`LineRouting`] in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineWords {
    #[default]
    Auto,
    Cross,
    Off,
}

impl From<LineWords> for LineRouting {
    fn from(words: LineWords) -> Self {
        match words {
            LineWords::Auto => Self::Auto,
            LineWords::Cross => Self::Cross,
            LineWords::Off => Self::Off,
        }
    }
}

/// [`RealTime`] as people write it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RealTimeSpec {
    /// Priority of SCHED_FIFO, 1 to 99.
    pub fifo: Option<u8>,
    /// How long before a deadline the thread spins instead of sleeping.
    pub spin_microseconds: u32,
    /// The core it stays on.
    pub cpu: Option<usize>,
    pub lock_memory: bool,
    /// Keeps the processor from deep sleep.
    pub dma_latency: bool,
}

impl From<&RealTimeSpec> for RealTime {
    fn from(spec: &RealTimeSpec) -> Self {
        Self {
            fifo: spec.fifo,
            spin: Duration::from_micros(spec.spin_microseconds.into()),
            cpu: spec.cpu,
            lock_memory: spec.lock_memory,
            dma_latency: spec.dma_latency,
        }
    }
}

mod url {
    use super::*;

    pub fn serialize<S: Serializer>(url: &PortUrl, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(url)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PortUrl, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|e: hilrig_port::UrlError| serde::de::Error::custom(e.sentence()))
    }
}

impl LinkSpec {
    /// A link that passes bytes on and brings its ports back.
    pub fn new(name: impl Into<String>, a: PortUrl, b: PortUrl) -> Self {
        Self {
            name: name.into(),
            a,
            b,
            enabled: true,
            wire: None,
            faults: Vec::new(),
            seed: None,
            framing: None,
            lines: LineWords::Auto,
            dedicated: false,
            realtime: None,
            reconnect: true,
            wait: false,
            capture: None,
            record: false,
            record_points: Points::default(),
        }
    }

    /// A virtual null modem with ends `NAME.a` and `NAME.b` and a wire between them.
    pub fn pair(name: &str, wire: WireSpec) -> Self {
        let end = |side| PortUrl::pty(format!("{name}.{side}"));
        Self { wire: Some(wire), ..Self::new(name, end('a'), end('b')) }
    }

    /// Reads the table of a link.
    ///
    /// # Errors
    /// What is wrong, and at which key.
    pub fn from_table(name: &str, table: &Value) -> Result<Self, SectionProblem> {
        let read = serde_path_to_error::deserialize::<_, Self>(table);
        let spec = read.map_err(|e| {
            let path = e.path().to_string();
            let at = if path == "." { String::new() } else { path.replace('[', ".").replace(']', "") };
            SectionProblem::new(at, e.inner().to_string())
        })?;
        let spec = Self { name: name.to_owned(), ..spec };
        spec.check().map(|()| spec)
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// What is wrong, and at which key.
    pub fn check(&self) -> Result<(), SectionProblem> {
        if self.a == self.b && !matches!(self.a, PortUrl::Loop { .. }) {
            return Err(SectionProblem::new("b", "it is the same port as a"));
        }
        if let Some(fifo) = self.realtime.as_ref().and_then(|r| r.fifo)
            && !(1..=99).contains(&fifo)
        {
            return Err(SectionProblem::new("realtime.fifo", "a priority is 1 to 99"));
        }
        for (i, rule) in self.faults.iter().enumerate() {
            LinkCore::prepare(rule).map_err(|e| {
                let at =
                    if e.key.is_empty() { format!("faults.{i}") } else { format!("faults.{i}.{}", e.key) };
                SectionProblem::new(at, e.what)
            })?;
            if let Some(same) = self.faults[..i].iter().position(|r| r.id == rule.id && !rule.id.is_empty()) {
                let message = format!("rule {} has the id {} as well", same + 1, rule.id);
                return Err(SectionProblem::new(format!("faults.{i}.id"), message));
            }
        }
        if self.wants_core()
            && let Err(e) = LinkCore::new(core_spec(self, 1))
        {
            let at = if e.rule.is_empty() { e.key.to_owned() } else { format!("faults.{}", e.key) };
            return Err(SectionProblem::new(at, e.what));
        }
        if let Some(capture) = &self.capture {
            capture.check().map_err(|e| SectionProblem::new(format!("capture.{}", e.key), e.message))?;
        }
        Ok(())
    }

    /// Something stands between its ports.
    pub fn wants_core(&self) -> bool {
        self.wire.is_some() || !self.faults.is_empty()
    }

    pub(crate) fn urls(&self) -> [&PortUrl; 2] {
        [&self.a, &self.b]
    }
}
