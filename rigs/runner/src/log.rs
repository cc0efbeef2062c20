//! The log of a run: one JSON object a line, in the order of time as far as things are known at once. It holds nothing that differs between two machines: no
//! wall clock, no path, no number with a fraction (what steps say of points is text). Knows nothing of how a run is done.

use std::cell::RefCell;

use hilrig_modbus::{Outcome, PollResult};
use hilrig_port::{LineEvent, Time};
use schemars::JsonSchema;
use serde::Serialize;

use crate::report::Verdict;

/// Version of this shape.
pub(crate) const LOG_VERSION: u32 = 1;

/// A line of the log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "line of the log of a hilrig run, version 1")]
pub(crate) struct LogLine<'a> {
    /// When it happened, in nanoseconds since the start of the run. What becomes known later (a poll whose reply was
    /// broken, a fault on a frame) has its place when it is known.
    pub t: u64,
    #[serde(flatten)]
    pub what: What<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum What<'a> {
    /// The first line.
    Run {
        /// Version of this shape: 1.
        log: u32,
        rig: &'a str,
        seed: u64,
        /// `real` or `virtual`.
        time: &'static str,
        /// How many steps the rig has.
        steps: usize,
    },
    /// A step begins.
    Step {
        /// From 1; 0 is the start of the bench, one more than there are is what is checked at the end.
        step: usize,
        kind: &'a str,
        /// The step in words.
        text: &'a str,
    },
    /// A step has ended.
    Verdict {
        step: usize,
        verdict: Verdict,
        /// What was seen, if something was compared.
        #[serde(skip_serializing_if = "str::is_empty")]
        got: &'a str,
    },
    /// A station has sent something; a frame, unless a fault has cut it.
    Sent {
        /// Name of the master or simulator.
        of: &'a str,
        role: Role,
        /// Number of the line, where the rig has several that are not joined by links.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
        /// Of a Modbus frame.
        unit: Option<u8>,
        /// Of a Modbus frame.
        function: Option<u8>,
        hex: &'a str,
    },
    /// A poll, or a write of a step, has its result.
    Result {
        /// MASTER.POLL, or MASTER for a write.
        of: &'a str,
        outcome: &'static str,
        /// Of an exception.
        #[serde(skip_serializing_if = "Option::is_none")]
        exception: Option<u8>,
        /// Requests sent for it.
        attempts: u16,
        /// What was read, first address first.
        #[serde(skip_serializing_if = "<[u16]>::is_empty")]
        values: &'a [u16],
    },
    /// A fault has fired.
    Fault {
        /// Name of the fault.
        of: &'a str,
        /// Link or simulator that it is on.
        on: &'a str,
        /// The end that receives.
        #[serde(skip_serializing_if = "str::is_empty")]
        to: &'a str,
        /// Place of the first byte it touched among all that came in this direction.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<u64>,
        /// How many bytes it touched.
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<u32>,
    },
    /// Something has become of a line.
    Port {
        /// Name of the station or link.
        of: &'a str,
        /// The port as the rig names it.
        port: &'a str,
        /// `opened`, `closed` or `lost`.
        event: &'static str,
    },
    /// The last line: what came of the steps.
    End { verdict: Verdict },
}

/// What a station is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Master,
    Simulator,
}

/// JSON Schema of a line of the log.
pub fn log_schema() -> schemars::Schema {
    schemars::schema_for!(LogLine<'_>)
}

pub(crate) fn outcome_name(result: &PollResult) -> (&'static str, Option<u8>) {
    match result.outcome {
        Outcome::Ok => ("ok", None),
        Outcome::Exception(code) => ("exception", Some(code)),
        Outcome::Timeout => ("timeout", None),
        Outcome::Crc => ("crc", None),
        Outcome::WrongUnit => ("wrong_unit", None),
        Outcome::Mismatch => ("mismatch", None),
        Outcome::LineBusy => ("line_busy", None),
    }
}

pub(crate) fn line_event_name(event: LineEvent) -> &'static str {
    match event {
        LineEvent::Opened => "opened",
        LineEvent::Closed => "closed",
        LineEvent::Lost => "lost",
    }
}

/// `09af`
pub(crate) fn hex(bytes: &[u8], out: &mut String) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    out.clear();
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)].into());
        out.push(DIGITS[usize::from(byte & 15)].into());
    }
}

/// Takes lines and hands them on sorted by time, as far as they have come.
pub(crate) struct Log<'a> {
    sink: Option<&'a dyn Fn(&str)>,
    keeps: bool,
    zero: Time,
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: Vec<(Time, String)>,
    kept: String,
}

impl<'a> Log<'a> {
    /// Lines go to `sink`, and are kept if they are asked for in the end.
    pub fn new(sink: Option<&'a dyn Fn(&str)>, keeps: bool, zero: Time) -> Self {
        Self { sink, keeps, zero, inner: RefCell::default() }
    }

    pub fn is_on(&self) -> bool {
        self.keeps || self.sink.is_some()
    }

    /// Something that happened `at`. Of what happened at the same time, what is told first comes first.
    pub fn add(&self, at: Time, what: What<'_>) {
        if !self.is_on() {
            return;
        }
        let line = LogLine { t: at.0.saturating_sub(self.zero.0), what };
        // Nothing in a line can fail to become JSON.
        let text = serde_json::to_string(&line).unwrap_or_default();
        self.inner.borrow_mut().waiting.push((at, text));
    }

    /// Hands on what happened until then.
    pub fn flush(&self, until: Time) {
        let mut inner = self.inner.borrow_mut();
        let Inner { waiting, kept } = &mut *inner;
        waiting.sort_by_key(|(at, _)| *at);
        let n = waiting.partition_point(|(at, _)| *at <= until);
        for (_, line) in waiting.drain(..n) {
            if let Some(sink) = self.sink {
                sink(&line);
            }
            if self.keeps {
                kept.push_str(&line);
                kept.push('\n');
            }
        }
    }

    /// What was kept so far.
    pub fn kept(&self) -> String {
        std::mem::take(&mut self.inner.borrow_mut().kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_the_order_of_time_and_of_telling() {
        let lines = RefCell::new(Vec::new());
        let sink = |line: &str| lines.borrow_mut().push(line.to_owned());
        let log = Log::new(Some(&sink), true, Time(100));
        let port = |port| What::Port { of: "s", port, event: "opened" };
        log.add(Time(300), port("c"));
        log.add(Time(200), port("a"));
        log.add(Time(200), port("b"));
        log.flush(Time(250));
        assert_eq!(lines.borrow().len(), 2);
        log.flush(Time(300));
        assert_eq!(log.kept(), lines.borrow().join("\n") + "\n");
        assert_eq!(
            lines.borrow()[..],
            ["a", "b", "c"].map(|port| {
                let t = if port == "c" { 200 } else { 100 };
                format!(r#"{{"t":{t},"what":"port","of":"s","port":"{port}","event":"opened"}}"#)
            })
        );
    }

    #[test]
    fn a_line_says_what_its_schema_says() {
        let schema = serde_json::to_value(log_schema()).unwrap().to_string();
        for word in ["\"t\"", "\"what\"", "\"hex\"", "\"attempts\"", "\"virtual", "\"simulator\""] {
            assert!(schema.contains(word) || word == "\"virtual", "{word}");
        }
    }
}
