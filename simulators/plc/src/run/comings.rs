//! Ports of a run that were lost or came back, for the status and the log. Waits for nobody.

use std::collections::VecDeque;
use std::sync::Mutex;

use hilrig_contract::{object, timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::lock;

/// Rows kept.
const KEPT: usize = 20;

/// A port was lost or is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortNews {
    pub port: String,
    pub url: String,
    /// `lost` or `back`.
    pub what: &'static str,
    pub reason: String,
    pub ts: String,
}

impl PortNews {
    /// As an event carries it, which has a time of its own.
    pub fn json(&self) -> Map<String, Value> {
        let Self { port, url, what, reason, .. } = self;
        object(json!({"port": port, "url": url, "what": what, "reason": reason}))
    }
}

#[derive(Debug, Default)]
pub(super) struct Comings(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    last: VecDeque<PortNews>,
    /// All so far.
    count: u64,
}

impl Comings {
    pub fn tell(&self, port: &str, url: &str, what: &'static str, reason: &str) {
        match what {
            "back" => tracing::info!(app = "plc-simulator", "port {port} ({url}) is back"),
            _ => tracing::warn!(app = "plc-simulator", "port {port} ({url}) is {what}: {reason}"),
        }
        let mut rows = lock(&self.0);
        if rows.last.len() == KEPT {
            rows.last.pop_front();
        }
        rows.count += 1;
        rows.last.push_back(PortNews {
            port: port.to_owned(),
            url: url.to_owned(),
            what,
            reason: reason.to_owned(),
            ts: timestamp(),
        });
    }

    pub fn warn(&self, line: &str) {
        tracing::warn!(app = "plc-simulator", "{line}");
    }

    /// Oldest first.
    pub fn rows(&self) -> Vec<PortNews> {
        lock(&self.0).last.iter().cloned().collect()
    }

    /// Those after the first `seen`, which is counted on.
    pub fn after(&self, seen: &mut u64) -> Vec<PortNews> {
        let rows = lock(&self.0);
        let new = (rows.count - *seen).min(rows.last.len() as u64) as usize;
        *seen = rows.count;
        rows.last.iter().skip(rows.last.len() - new).cloned().collect()
    }
}
