//! What a sniffer has counted: of the whole line, and of each unit and function code in a fixed number of rows.

use std::time::Duration;

use hilrig_port::Histogram;

use crate::pdu::EXCEPTION;

hilrig_port::counters! {
    /// Live counters of a [`Sniffer`](super::Sniffer).
    SniffStats,
    /// Counters of a [`Sniffer`](super::Sniffer) at one moment.
    SniffTotals:
    requests = "requests",
    /// Good replies.
    replies = "replies",
    exceptions = "exceptions",
    /// Requests without a reply.
    timeouts = "timeouts",
    /// Requests that repeat one without a good reply.
    retries = "retries",
    /// Requests to unit 0.
    broadcasts = "broadcasts",
    /// Replies after the response time.
    late_replies = "lateReplies",
    /// Replies to nothing that was asked.
    strays = "strayReplies",
    /// Chunks that no CRC or LRC holds for.
    check_errors = "crcErrors",
    /// Chunks that are too short, too long or of no frame at all.
    malformed = "malformed",
    /// Bytes of all chunks that were no frame.
    noise_bytes = "noiseBytes",
}

/// What was counted of one unit and function code.
#[derive(Debug, Clone)]
pub struct Row {
    pub unit: u8,
    pub function: u8,
    pub requests: u64,
    /// Good replies.
    pub replies: u64,
    /// By exception code; what is above 15 is counted at 0.
    pub exceptions: [u64; 16],
    pub timeouts: u64,
    /// Requests that repeat one without a good reply.
    pub retries: u64,
    /// Replies after the response time.
    pub late: u64,
    /// Replies with a bad CRC or LRC.
    pub broken: u64,
    /// The shortest of `response`.
    pub fastest: Option<Duration>,
    /// From the last byte of the request to the first of the reply.
    pub response: Histogram,
}

/// Rows that can be.
const ROWS: usize = 256;
const NONE: u16 = u16::MAX;

#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// Place of a unit and function code.
    index: Box<[u16]>,
}

impl Default for Rows {
    fn default() -> Self {
        Self { rows: Vec::with_capacity(ROWS), index: vec![NONE; 256 * 128].into() }
    }
}

impl Rows {
    /// `None` when there are too many.
    pub(super) fn row(&mut self, unit: u8, function: u8) -> Option<&mut Row> {
        let function = function & !EXCEPTION;
        let place = self.index.get_mut(usize::from(unit) << 7 | usize::from(function))?;
        if *place == NONE {
            if self.rows.len() == ROWS {
                return None;
            }
            *place = self.rows.len() as u16;
            self.rows.push(Row {
                unit,
                function,
                requests: 0,
                replies: 0,
                exceptions: [0; 16],
                timeouts: 0,
                retries: 0,
                late: 0,
                broken: 0,
                fastest: None,
                response: Histogram::default(),
            });
        }
        self.rows.get_mut(usize::from(*place))
    }

    pub(super) fn sorted(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (row.unit, row.function));
        rows
    }
}

impl Row {
    pub(super) fn answered(&mut self, exception: Option<u8>, after: Duration) {
        match exception {
            None => self.replies += 1,
            Some(code) => self.exceptions[usize::from(if code < 16 { code } else { 0 })] += 1,
        }
        self.fastest = Some(self.fastest.map_or(after, |f| f.min(after)));
        self.response.record(after);
    }
}
