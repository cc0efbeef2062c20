//! Flat rows of a set of links, as consoles render them. Reads counters, changes nothing.

use hilrig_port::{Granted, Histogram, PortSnapshot, PortState};
use serde::Serialize;

use crate::live::{Live, side_name};

/// Traffic of one direction of a link.
/// Always: `bytesIn + insertedBytes = bytesOut + faultBytes + discardedBytes + pending`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkRow {
    pub link: String,
    pub from: String,
    pub to: String,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Put in by a fault, or by the wire as an echo.
    pub inserted_bytes: u64,
    /// Taken out by a fault that was asked for.
    pub fault_bytes: u64,
    /// Dropped because nobody was at the far end.
    pub discarded_bytes: u64,
    pub pending: u64,
    /// Over the last seconds.
    pub bytes_per_second: f64,
    /// Reads from the line; each is written on at once.
    pub messages: u64,
    pub latency_p50_us: f64,
    pub latency_p99_us: f64,
    pub latency_max_us: f64,
}

fn micros(histogram: &Histogram, quantile: f64) -> f64 {
    histogram.quantile(quantile).as_nanos() as f64 / 1000.0
}

impl LinkRow {
    pub(crate) fn of(live: &Live) -> [Self; 2] {
        let stats = live.stats();
        let rates = live.rates(&stats);
        let urls = live.spec.urls().map(ToString::to_string);
        [0, 1].map(|i| {
            let d = &stats.directions[i];
            Self {
                link: live.name().to_owned(),
                from: urls[i].clone(),
                to: urls[1 - i].clone(),
                bytes_in: d.bytes_in,
                bytes_out: d.bytes_out,
                inserted_bytes: d.inserted_bytes,
                fault_bytes: d.fault_bytes,
                discarded_bytes: d.discarded_bytes,
                pending: d.pending,
                bytes_per_second: rates[i],
                messages: d.messages,
                latency_p50_us: micros(&d.latency, 0.5),
                latency_p99_us: micros(&d.latency, 0.99),
                latency_max_us: d.latency.max().as_nanos() as f64 / 1000.0,
            }
        })
    }
}

/// What a link is and how it is; changes seldom.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkState {
    pub link: String,
    /// `up`, `waiting` for a port that is gone, or `lost` when it is not looked for.
    pub state: &'static str,
    pub a: String,
    pub b: String,
    /// The thread that carries it.
    pub thread: String,
    /// It has a wire that behaves like one.
    pub wire: bool,
    pub rules: usize,
    /// Of everything random on it.
    pub seed: u64,
    pub reconnect: bool,
}

impl LinkState {
    pub(crate) fn of(live: &Live) -> Self {
        let [a, b] = live.spec.urls().map(ToString::to_string);
        Self {
            link: live.name().to_owned(),
            state: state_of(live),
            a,
            b,
            thread: live.carrier.name.clone(),
            wire: live.spec.wire.is_some(),
            rules: live.fired().len(),
            seed: live.seed,
            reconnect: live.spec.reconnect,
        }
    }
}

fn state_of(live: &Live) -> &'static str {
    let gone = |side: usize| live.ports[side].gone();
    match (gone(0) || gone(1), (0..2).all(|side| !gone(side) || looked_for(live, side))) {
        (false, _) => "up",
        (true, true) => "waiting",
        (true, false) => "lost",
    }
}

/// Somebody brings the port back.
fn looked_for(live: &Live, side: usize) -> bool {
    live.spec.reconnect || live.returns[side].is_under_way()
}

/// Counters of a whole link; change all the time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkCounters {
    pub link: String,
    pub state: &'static str,
    /// Both directions.
    pub bytes: u64,
    pub messages: u64,
    pub bytes_per_second: f64,
    /// Bytes that came for a far end at which nobody was.
    pub discarded_bytes: u64,
    /// Bytes that faults took out, and put in.
    pub fault_bytes: u64,
    pub inserted_bytes: u64,
    pub faults_fired: u64,
    /// Characters in error, and breaks, that came from the lines.
    pub errors: u64,
    pub breaks: u64,
    pub reconnects: u64,
    /// Of the slower direction.
    pub latency_p50_us: f64,
    pub latency_p99_us: f64,
    pub latency_p999_us: f64,
    pub latency_max_us: f64,
}

impl LinkCounters {
    pub(crate) fn of(live: &Live) -> Self {
        let stats = live.stats();
        let rates = live.rates(&stats);
        let [x, y] = &stats.directions;
        let ports = [live.ports[0].snapshot(), live.ports[1].snapshot()];
        let over = |f: fn(&PortSnapshot) -> u64| ports.iter().map(f).sum();
        let slower = |q: f64| micros(&x.latency, q).max(micros(&y.latency, q));
        Self {
            link: live.name().to_owned(),
            state: state_of(live),
            bytes: x.bytes_out + y.bytes_out,
            messages: x.messages + y.messages,
            bytes_per_second: rates[0] + rates[1],
            discarded_bytes: x.discarded_bytes + y.discarded_bytes,
            fault_bytes: x.fault_bytes + y.fault_bytes,
            inserted_bytes: x.inserted_bytes + y.inserted_bytes,
            faults_fired: live.fired().iter().map(|f| f.fired).sum(),
            errors: over(|p| p.framing_errors + p.parity_errors + p.overruns),
            breaks: over(|p| p.breaks),
            reconnects: over(|p| p.reconnects),
            latency_p50_us: slower(0.5),
            latency_p99_us: slower(0.99),
            latency_p999_us: slower(0.999),
            latency_max_us: x.latency.max().max(y.latency.max()).as_nanos() as f64 / 1000.0,
        }
    }
}

/// One port of a link.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRow {
    pub link: String,
    pub side: &'static str,
    pub url: String,
    /// What others open or call, for a virtual port and a TCP listener; else `""`.
    pub far_end: String,
    pub state: &'static str,
    /// Somebody is at the far end.
    pub peer_open: bool,
    /// As the application at the far end set it, where that can be seen.
    pub baud: u32,
    pub format: String,
    /// Modem lines that are on.
    pub lines: String,
    pub reconnects: u64,
    pub observers: u32,
    /// Why it is gone, and why it is not back yet.
    pub reason: String,
}

impl PortRow {
    pub(crate) fn of(live: &Live) -> [Self; 2] {
        [0, 1].map(|i| {
            let port = live.ports[i].snapshot();
            let PortSnapshot {
                state, mut reason, peer_open, baud, format, lines, reconnects, observers, ..
            } = port;
            let gone = live.ports[i].gone();
            let hindrance = live.returns[i].hindrance();
            if gone && !hindrance.is_empty() {
                reason = format!("{reason}; opening it again: {hindrance}");
            }
            Self {
                link: live.name().to_owned(),
                side: side_name(i),
                url: live.spec.urls()[i].to_string(),
                far_end: live.far_end(i),
                state: match state {
                    _ if gone && !looked_for(live, i) => "lost",
                    PortState::Open => "open",
                    PortState::Waiting => "waiting",
                    PortState::Lost => "lost",
                },
                peer_open,
                baud,
                format: if baud == 0 { String::new() } else { format.to_string() },
                lines: lines.to_string(),
                reconnects,
                observers,
                reason,
            }
        })
    }
}

/// What a rule has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultRow {
    pub link: String,
    pub rule: String,
    pub fired: u64,
    pub bytes: u64,
    pub never_fired: bool,
}

impl FaultRow {
    pub(crate) fn of(live: &Live) -> Vec<Self> {
        let row = |f: crate::live::Fired| Self {
            link: live.name().to_owned(),
            rule: f.id,
            fired: f.fired,
            bytes: f.bytes,
            never_fired: f.fired == 0,
        };
        live.fired().into_iter().map(row).collect()
    }
}

/// What was asked of the system for a thread, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRow {
    pub thread: String,
    pub what: &'static str,
    pub granted: bool,
    pub detail: String,
}

impl GrantRow {
    pub(crate) fn of(thread: &str, granted: &Granted) -> Vec<Self> {
        let row = |g: &hilrig_port::Grant| Self {
            thread: thread.to_owned(),
            what: g.what,
            granted: g.granted,
            detail: g.detail.clone(),
        };
        granted.rows.iter().map(row).collect()
    }
}
