//! What the database gives out: plain rows, as people and programs read them. Knows no SQL.

use serde::Serialize;

/// A run, in one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    pub id: i64,
    pub name: String,
    /// In UTC, as 2026-01-31T12:00:00.123Z.
    pub started: String,
    /// `None`: still under way, or its process was killed.
    pub ended: Option<String>,
    /// When something of it was last written.
    pub last_written: String,
    /// What its end was called; `unfinished` without one.
    pub outcome: String,
    pub message: String,
    pub host: String,
    pub pid: u32,
    pub links: u64,
    pub frames: u64,
    pub bytes: u64,
    /// Frames that are missing in the database, though they were on the line.
    pub lost_records: u64,
    pub lost_bytes: u64,
}

/// All of a run but its frames and events, of which there may be millions: those as far as asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetail {
    #[serde(flatten)]
    pub run: RunRow,
    pub command: String,
    /// The configuration that the run had.
    pub config: String,
    pub seed: Option<u64>,
    pub version: String,
    pub links: Vec<LinkDetail>,
    /// How many events there are of each kind.
    pub event_counts: Vec<EventCount>,
    pub events: Vec<EventRow>,
    pub frames: Vec<FrameRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkDetail {
    pub name: String,
    pub a: String,
    pub b: String,
    /// A to B first.
    pub directions: Vec<StatisticsRow>,
}

/// One direction of a link in a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatisticsRow {
    /// `a->b` or `b->a`.
    pub direction: String,
    /// In the recorded frames.
    pub bytes: u64,
    pub frames: u64,
    /// Places where bytes are missing in the record: the port was gone, or could not be followed.
    pub gaps: u64,
    /// Characters in error.
    pub errors: u64,
    pub breaks: u64,
    /// Faults that fired.
    pub faults: u64,
    pub lost_records: u64,
    pub lost_bytes: u64,
    /// What follows is known from the end of the run on.
    pub account: Option<LineAccount>,
}

/// What the link itself counted: `bytesIn + insertedBytes = bytesOut + faultBytes + discardedBytes + pending`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LineAccount {
    pub bytes_in: u64,
    pub inserted_bytes: u64,
    pub bytes_out: u64,
    pub fault_bytes: u64,
    pub discarded_bytes: u64,
    pub pending: u64,
    pub latency_p50_us: f64,
    pub latency_p90_us: f64,
    pub latency_p99_us: f64,
    pub latency_p999_us: f64,
    pub latency_max_us: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventCount {
    pub kind: String,
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRow {
    pub link: String,
    /// Since the start of the run.
    pub at_ns: u64,
    /// The port it is about, `a` or `b`.
    pub side: String,
    /// `lines`, `break`, `framing`, `parity`, `overrun`, `gone`, `back`, `discarded`, `fault`, `lost`, `unrecorded`.
    pub kind: String,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameRow {
    pub link: String,
    /// Since the start of the run.
    pub at_ns: u64,
    /// `a->b` or `b->a`.
    pub direction: String,
    /// `in`: as it came from the sender; `out`: as the receiver got it.
    pub point: String,
    /// Bytes are missing before it.
    pub gap: bool,
    /// Hexadecimal.
    pub bytes: String,
}

/// How much there is in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub runs: u64,
    /// Runs without an end: under way, or killed.
    pub unfinished: u64,
    pub links: u64,
    pub frames: u64,
    pub bytes: u64,
    pub events: u64,
    pub statistics: u64,
}
