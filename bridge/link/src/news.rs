//! What happened lately, for the status and the log: bounded lists, and lines that are held back when there are too
//! many. Waits for nobody.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hilrig_contract::timestamp;
use hilrig_port::Time;
use serde::Serialize;

use crate::live::lock;

/// Rows kept of each list.
const KEPT: usize = 20;
/// Lines in the log, a second.
const LINES: u32 = 10;

/// A fault has fired.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Firing {
    pub link: String,
    pub rule: String,
    /// `a->b` or `b->a`.
    pub direction: &'static str,
    /// Place of the first byte it is about, among all that came in this direction.
    pub position: u64,
    pub bytes: u32,
    pub ts: String,
    /// Since the link was opened.
    pub at_ms: f64,
}

/// A port was lost or is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortNews {
    pub link: String,
    pub side: &'static str,
    pub port: String,
    /// `lost`, `unplugged` or `back`.
    pub what: &'static str,
    pub reason: String,
    pub ts: String,
}

/// The lists.
#[derive(Debug, Default)]
pub(crate) struct News {
    firings: Mutex<VecDeque<Firing>>,
    ports: Mutex<VecDeque<PortNews>>,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    said: u32,
    held: u32,
}

fn keep<T>(list: &Mutex<VecDeque<T>>, row: T) {
    let mut list = lock(list);
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(row);
}

impl News {
    pub fn fired(&self, firing: Firing) {
        let Firing { link, rule, direction, position, bytes, .. } = &firing;
        self.say(
            Level::Info,
            &format!("link {link}: fault {rule} fired {direction} at byte {position} ({bytes} bytes)"),
        );
        keep(&self.firings, firing);
    }

    pub fn port(&self, news: PortNews) {
        let PortNews { link, side, port, what, reason, .. } = &news;
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let level = if *what == "back" { Level::Info } else { Level::Warn };
        self.say(level, &format!("link {link}.{side}: port {port} is {what}{because}"));
        keep(&self.ports, news);
    }

    pub fn firings(&self) -> Vec<Firing> {
        lock(&self.firings).iter().cloned().collect()
    }

    pub fn ports(&self) -> Vec<PortNews> {
        lock(&self.ports).iter().cloned().collect()
    }

    /// One line in the app's log, unless there are too many.
    pub fn say(&self, level: Level, line: &str) {
        let mut lines = lock(&self.lines);
        if lines.since.is_none_or(|since| since.elapsed() >= Duration::from_secs(1)) {
            let held = std::mem::take(&mut lines.held);
            *lines = Lines { since: Some(Instant::now()), ..Lines::default() };
            if held > 0 {
                tracing::info!(app = "bridge", "{held} more lines like these were left out");
            }
        }
        lines.said += 1;
        if lines.said > LINES {
            lines.held += 1;
            return;
        }
        match level {
            Level::Info => tracing::info!(app = "bridge", "{line}"),
            Level::Warn => tracing::warn!(app = "bridge", "{line}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
}

/// Now, as the contract writes it.
pub(crate) fn now() -> String {
    timestamp()
}

/// Time between two moments, in milliseconds with three digits.
pub(crate) fn millis(from: Time, to: Time) -> f64 {
    (to.since(from).as_nanos() as f64 / 1000.0).round() / 1000.0
}
