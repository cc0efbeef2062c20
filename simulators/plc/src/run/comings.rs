//! Ports of a run that were lost or came back, for the status and the log. Waits for nobody.

use std::collections::VecDeque;
use std::sync::Mutex;

use hilrig_contract::timestamp;
use serde::Serialize;

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

#[derive(Debug, Default)]
pub(super) struct Comings(Mutex<VecDeque<PortNews>>);

impl Comings {
    pub fn tell(&self, port: &str, url: &str, what: &'static str, reason: &str) {
        match what {
            "back" => tracing::info!(app = "plc-simulator", "port {port} ({url}) is back"),
            _ => tracing::warn!(app = "plc-simulator", "port {port} ({url}) is {what}: {reason}"),
        }
        let mut rows = lock(&self.0);
        if rows.len() == KEPT {
            rows.pop_front();
        }
        rows.push_back(PortNews {
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
        lock(&self.0).iter().cloned().collect()
    }
}
