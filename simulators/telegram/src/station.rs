//! A device that speaks telegrams, at the end of one line.

use std::sync::Arc;

use hilrig_points::Shared;
use hilrig_port::{LineEvent, Station, Time, Tx};

use crate::counters::counters;
use crate::plan::TelegramPlan;
use crate::record::FrameSink;

counters! {
    /// Live counters of a [`TelegramStation`].
    TelegramStats,
    /// Counters of a [`TelegramStation`] at one moment.
    TelegramTotals:
    /// Telegrams sent.
    sent = "sent",
    /// Telegrams received and understood.
    received = "received",
    /// Telegrams received that are for somebody else or of no known form.
    strangers = "strangers",
    /// Telegrams with a wrong checksum.
    checksum_errors = "checksumErrors",
    /// Bytes that were part of no telegram.
    noise_bytes = "noiseBytes",
    /// Periods that passed without their telegram.
    missed = "missedPeriods",
    /// Answers not sent because another request had come.
    superseded = "supersededReplies",
    /// Telegrams not sent because the line took no more bytes.
    stalled = "stalled",
    /// Telegrams sent again.
    retries = "retries",
    /// Telegrams given up.
    failed = "failed",
    /// Negative acknowledgements or error replies sent.
    refused = "refused",
    /// Values received that their point did not take.
    unwritten = "unwrittenPoints",
    /// Telegrams that found no room in the observers' ring.
    unseen = "framesLost",
}

/// Why a telegram is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("there is no telegram {name} to send; known: {known}")]
    Unknown { name: String, known: String },
    #[error("nobody is at the far end of the line")]
    Closed,
    #[error("telegram {name} still waits to be sent")]
    Waiting { name: String },
}

/// A device that speaks telegrams. Put it on its port with `Shard::add_station`.
#[derive(Debug)]
pub struct TelegramStation {
    plan: TelegramPlan,
    plant: Shared,
    frames: Option<FrameSink>,
    stats: Arc<TelegramStats>,
}

impl TelegramStation {
    pub fn new(plan: TelegramPlan, plant: Shared) -> Self {
        Self { plan, plant, frames: None, stats: Arc::default() }
    }

    /// Tells observers of each telegram.
    #[must_use]
    pub fn frames(mut self, sink: FrameSink) -> Self {
        self.frames = Some(sink);
        self
    }

    /// The counters; readable from anywhere while the station runs.
    pub fn stats(&self) -> Arc<TelegramStats> {
        self.stats.clone()
    }

    pub fn plan(&self) -> &TelegramPlan {
        &self.plan
    }

    pub fn plant(&self) -> &Shared {
        &self.plant
    }

    /// Sends a telegram of the table once, as soon as the line is free for it.
    ///
    /// # Errors
    /// Why not.
    pub fn send(&mut self, now: Time, name: &str, tx: &mut Tx) -> Result<(), SendError> {
        let _ = (now, tx);
        Err(SendError::Unknown { name: name.to_owned(), known: String::new() })
    }
}

impl Station for TelegramStation {
    fn on_bytes(&mut self, _now: Time, _bytes: &[u8], _tx: &mut Tx) {}

    fn on_deadline(&mut self, _now: Time, _tx: &mut Tx) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn on_line(&mut self, _now: Time, _event: LineEvent, _tx: &mut Tx) {}
}
