//! What a run has done so far, as rows of flat scalars.

use std::sync::Arc;

use hilrig_modbus::{Master, Outcome};
use hilrig_port::{Histogram, PortState, PortStats};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Core, PortRun, Run};
use crate::model::{Model, Role};
use crate::words::exception_name;

/// A port and what it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRow {
    pub port: String,
    pub url: String,
    pub far_end: String,
    /// `slave`, `master`, `sniffer`, `gateway` or `telegram`.
    pub kind: &'static str,
    pub framing: String,
    pub baud: u32,
    pub format: String,
    /// `open`, `waiting` for somebody at the far end, or `lost`.
    pub state: &'static str,
    /// Why it is lost, and why it is not back yet.
    pub reason: String,
    pub peer_open: bool,
    /// How often it came back.
    pub reconnects: u64,
}

/// An entry of a poll list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PollRow {
    pub master: String,
    pub poll: String,
    pub requests: u64,
    pub replies: u64,
    pub exceptions: u64,
    pub failures: u64,
    pub overruns: u64,
    pub last: String,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// How late the deadlines of a port were met.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimingRow {
    pub port: String,
    pub deadlines: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// Whether it is brought back or not, a port that is gone is lost.
fn state_name(port: &PortStats) -> &'static str {
    match port.state() {
        _ if port.gone() => "lost",
        PortState::Open => "open",
        PortState::Waiting => "waiting",
        PortState::Lost => "lost",
    }
}

pub(super) fn micros(time: std::time::Duration) -> f64 {
    (time.as_nanos() as f64 / 100.0).round() / 10.0
}

/// How a request of a master ended, in words.
pub fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::Exception(code) => format!("exception {code}: {}", exception_name(code)),
        Outcome::Timeout => "nobody answered".to_owned(),
        Outcome::Crc => "the reply was damaged".to_owned(),
        Outcome::WrongUnit => "another unit answered".to_owned(),
        Outcome::Mismatch => "the reply answers something else".to_owned(),
        Outcome::LineBusy => "the line was not free".to_owned(),
    }
}

impl TimingRow {
    pub(crate) fn new(port: &str, histogram: &Histogram) -> Self {
        Self {
            port: port.to_owned(),
            deadlines: histogram.count(),
            p50_us: micros(histogram.quantile(0.5)),
            p99_us: micros(histogram.quantile(0.99)),
            max_us: micros(histogram.max()),
        }
    }
}

impl PortRun {
    pub fn row(&self) -> PortRow {
        let port = self.stats.snapshot();
        PortRow {
            port: self.name.clone(),
            url: self.url.clone(),
            far_end: self.far_end.clone(),
            kind: self.kind,
            framing: self.framing.to_string(),
            baud: self.baud,
            format: self.format.to_string(),
            state: state_name(&self.stats),
            reason: match &self.line {
                Some(line) if !matches!(self.core, Core::Gateway { .. }) => line.loss(),
                _ => port.reason,
            },
            peer_open: port.peer_open,
            reconnects: port.reconnects,
        }
    }

    /// Of a gateway, the port of the line behind it.
    fn behind(&self, model: &Model) -> Option<PortRow> {
        let (Core::Gateway { .. }, Role::Gateway(i)) = (&self.core, self.role) else { return None };
        let plan = model.ports.iter().find(|p| p.role == Role::Behind(i))?;
        let line = self.line.as_ref()?;
        let port = line.stats.snapshot();
        Some(PortRow {
            port: plan.name.clone(),
            url: plan.url.as_ref().map(ToString::to_string).unwrap_or_default(),
            far_end: String::new(),
            kind: "line",
            framing: plan.framing.to_string(),
            baud: plan.baud,
            format: plan.format.to_string(),
            state: state_name(&line.stats),
            reason: line.loss(),
            peer_open: port.peer_open,
            reconnects: port.reconnects,
        })
    }

    /// Name and value of each counter of the core.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        match &self.core {
            Core::Slave { stats, .. } | Core::TcpSlave { stats, .. } => stats.totals().entries().collect(),
            Core::Master { stats, .. } => stats.totals().entries().collect(),
            Core::Sniffer { stats, .. } => stats.totals().entries().collect(),
            Core::Gateway { stats, .. } => stats.totals().entries().collect(),
            Core::Telegram { stats, .. } => stats.totals().entries().collect(),
        }
    }

    /// Those counters that say that something is wrong with the line.
    pub fn errors(&self) -> Vec<(&'static str, u64)> {
        const ERRORS: [&str; 10] = [
            "crcErrors",
            "lrcErrors",
            "shortFrames",
            "overflows",
            "badCharacters",
            "badHeaders",
            "strayReplies",
            "checksumErrors",
            "lateReplies",
            "wrongUnit",
        ];
        let port = self.stats.snapshot();
        let line = [
            ("framingErrors", port.framing_errors),
            ("parityErrors", port.parity_errors),
            ("overruns", port.overruns),
        ];
        self.counters().into_iter().filter(|(name, _)| ERRORS.contains(name)).chain(line).collect()
    }

    /// All counters of the port and its core, flat.
    pub fn counter_row(&self) -> Map<String, Value> {
        let port = self.stats.snapshot();
        let mut row = Map::new();
        row.insert("port".to_owned(), json!(self.name));
        row.insert("kind".to_owned(), json!(self.kind));
        for (name, n) in [
            ("rxBytes", port.rx_bytes),
            ("txBytes", port.tx_bytes),
            ("discardedBytes", port.discarded_bytes),
            ("opens", port.opens),
            ("reconnects", port.reconnects),
        ] {
            row.insert(name.to_owned(), n.into());
        }
        if let Core::TcpSlave { seat, .. } | Core::Gateway { seat, .. } = &self.core {
            row.insert("callers".to_owned(), seat.callers().into());
        }
        row.extend(self.counters().into_iter().map(|(name, n)| (name.to_owned(), n.into())));
        row
    }

    pub fn lateness(&self) -> Histogram {
        match &self.core {
            Core::TcpSlave { seat, .. } | Core::Gateway { seat, .. } => seat.lateness(),
            Core::Sniffer { seat, .. } => {
                super::lock(seat).as_ref().map(hilrig_port::StationRef::lateness).unwrap_or_default()
            }
            Core::Slave { seat, .. } | Core::Master { seat, .. } | Core::Telegram { seat, .. } => {
                seat.lateness()
            }
        }
    }

    pub fn timing(&self) -> TimingRow {
        TimingRow::new(&self.name, &self.lateness())
    }
}

impl Run {
    /// All ports, lines behind gateways too.
    pub fn rows(&self) -> Vec<PortRow> {
        let model = self.model();
        let rows = |port: &Arc<PortRun>| [Some(port.row()), port.behind(&model)];
        self.ports().iter().flat_map(rows).flatten().collect()
    }

    /// All poll lists.
    pub fn polls(&self) -> Vec<PollRow> {
        let model = self.model();
        let mut rows = Vec::new();
        for port in self.ports() {
            let (Core::Master { seat, .. }, Role::Master(i)) = (&port.core, port.role) else {
                continue;
            };
            let Some(master) = model.masters.get(i) else { continue };
            let count = master.plan.polls.len();
            let stats =
                |core: &mut Master| (0..count).map(|i| core.poll_stats(i).cloned()).collect::<Vec<_>>();
            let stats = self.shard.with_station::<Master, _>(seat, |core, _, _| stats(core));
            for ((poll, _), stats) in master.plan.polls.iter().zip(stats.unwrap_or_default()) {
                let stats = stats.unwrap_or_default();
                rows.push(PollRow {
                    master: master.name.clone(),
                    poll: poll.clone(),
                    requests: stats.requests,
                    replies: stats.replies,
                    exceptions: stats.exceptions,
                    failures: stats.failures,
                    overruns: stats.overruns,
                    last: stats.last.map(|(_, outcome)| outcome_words(outcome)).unwrap_or_default(),
                    p50_us: micros(stats.round_trips.quantile(0.5)),
                    p99_us: micros(stats.round_trips.quantile(0.99)),
                    max_us: micros(stats.round_trips.max()),
                });
            }
        }
        rows
    }
}
