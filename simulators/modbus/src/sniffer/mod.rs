//! A sniffer: listens on a line between a master and its slaves, tells requests from replies, pairs them, counts and
//! learns. It never sends a byte.
//!
//! Nothing in a frame says which of the two it is. A frame that answers the request before it is its reply; what has the
//! length of a request is one; the rest is a reply to something that was not heard. After a mistake the next exchange is
//! right again, since a request is never taken for the reply to another one.

mod decode;
mod stats;

use std::sync::Arc;
use std::time::Duration;

use hilrig_port::{LineEvent, Station, Time, Tx};

pub use decode::decode;
pub use stats::{Row, SniffStats, SniffTotals};

use crate::exchange::is_unanswered;
use crate::frames::{FrameKind, FrameRecord, FrameSink};
use crate::framing::{Adu, Chunk, Form, Framer, Framing};
use crate::learn::LearnMap;
use crate::line::Pdu;
use crate::pdu::EXCEPTION;
use crate::reply::{Reply, match_reply};
use crate::rtu::{self, BROADCAST, Timing};
use stats::Rows;

/// A request that waits for its reply.
#[derive(Debug, Clone, Copy)]
struct Asked {
    unit: u8,
    pdu: Pdu,
    /// When its last byte came.
    at: Time,
    number: u64,
    /// Its time is over and it is counted as unanswered.
    expired: bool,
}

/// A sniffer. Put it on a port with `Shard::add_station`, reach what it knows through `Shard::with_station`.
#[derive(Debug)]
pub struct Sniffer {
    framing: Framing,
    timing: Timing,
    framer: Framer,
    /// When the first byte of what is in the framer came.
    began: Time,
    response_time: Duration,
    asked: Option<Asked>,
    number: u64,
    frames: Option<FrameSink>,
    stats: Arc<SniffStats>,
    rows: Rows,
    map: LearnMap,
}

impl Sniffer {
    /// A sniffer of an RTU line.
    pub fn new(timing: Timing) -> Self {
        Self {
            framing: Framing::Rtu,
            timing,
            framer: Framer::new(Framing::Rtu, &timing),
            began: Time(0),
            response_time: Duration::from_secs(1),
            asked: None,
            number: 0,
            frames: None,
            stats: Arc::default(),
            rows: Rows::default(),
            map: LearnMap::default(),
        }
    }

    /// RTU or ASCII.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self.framer = Framer::new(framing, &self.timing);
        self
    }

    /// How long a unit may take to answer; 1 s if not set.
    #[must_use]
    pub fn response_time(mut self, time: Duration) -> Self {
        self.response_time = time;
        self
    }

    /// Records every frame: a reply has the number of its request.
    #[must_use]
    pub fn frames(mut self, sink: FrameSink) -> Self {
        self.frames = Some(sink);
        self
    }

    /// The counters; readable from anywhere while the sniffer listens.
    pub fn stats(&self) -> Arc<SniffStats> {
        self.stats.clone()
    }

    /// What was counted of each unit and function code, in this order.
    pub fn rows(&self) -> Vec<&Row> {
        self.rows.sorted()
    }

    /// What masters asked for.
    pub fn map(&self) -> &LearnMap {
        &self.map
    }

    fn record(&mut self, number: u64, make: impl FnOnce() -> FrameRecord) {
        if let Some(sink) = self.frames.as_mut().filter(|sink| sink.is_wanted()) {
            let mut record = make();
            record.number = number;
            sink.push(record);
        }
    }

    /// Looks at what has come after each byte: is it a frame already?
    fn after_byte(&mut self, now: Time) {
        // A reply can have the form of a request, so the one that is awaited comes first.
        let awaited = self.asked.as_ref().zip(self.framer.head()).is_some_and(|(asked, (unit, function))| {
            asked.unit == unit && asked.pdu.get().first() == Some(&(function & !EXCEPTION))
        });
        let (first, second) =
            if awaited { (Form::Reply, Form::Request) } else { (Form::Request, Form::Reply) };
        if self.framer.is_whole(first) || self.framer.is_whole(second) {
            self.frame(now);
            self.framer.clear();
        }
    }

    /// Ends what has come so far, if silence has come.
    fn after_silence(&mut self, now: Time) {
        let Some(end) = self.framer.silence_ends().filter(|end| *end <= now) else { return };
        match self.framer.judge() {
            Chunk::Frame => self.frame(end),
            why => self.broken(end, why, self.framer.collected(), self.framer.head()),
        }
        self.framer.clear();
    }

    fn broken(&mut self, now: Time, why: Chunk, bytes: u64, head: Option<(u8, u8)>) {
        match why {
            Chunk::BadCrc | Chunk::BadLrc => self.stats.check_errors.add(1),
            _ => self.stats.malformed.add(1),
        }
        self.stats.noise_bytes.add(bytes);
        self.record(0, || FrameRecord::noise(now, why, bytes));
        // If it begins like the reply, it was the reply, and there is nothing more to wait for.
        let asked = self.asked.filter(|a| {
            let function = a.pdu.get().first().copied();
            head.is_some_and(|(unit, f)| unit == a.unit && Some(f & !EXCEPTION) == function)
        });
        if let Some(asked) = asked.filter(|a| why != Chunk::Short && !a.expired) {
            self.asked = None;
            if let Some(row) = self.row(&asked) {
                row.broken += 1;
            }
        }
    }

    fn row(&mut self, asked: &Asked) -> Option<&mut Row> {
        self.rows.row(asked.unit, asked.pdu.get().first().copied()?)
    }

    /// A frame whose check holds is in the framer.
    fn frame(&mut self, now: Time) {
        let adu = self.framer.adu();
        let (unit, pdu, at) = (adu.unit, Pdu::new(adu.pdu), self.framer.last_byte().unwrap_or(now));
        if let Some(asked) = self.asked.filter(|a| a.unit == unit) {
            // The same once more after the time is over: asked again, not an echo.
            let again = asked.expired && asked.pdu.get() == pdu.get();
            let reply = match match_reply(asked.pdu.get(), pdu.get()) {
                Reply::Done(data) => Some(Ok(data)),
                Reply::Refused(code) => Some(Err(code)),
                Reply::Stranger => None,
            };
            if let Some(reply) = reply.filter(|_| !again) {
                self.reply(&asked, reply);
                self.record(asked.number, || {
                    FrameRecord::reply(at, Adu { transaction: 0, unit, pdu: pdu.get() })
                });
                return;
            }
        }
        let kind = if is_request(unit, pdu.get()) {
            self.request(unit, pdu, at);
            FrameKind::Request
        } else {
            self.stats.strays.add(1);
            FrameKind::OtherReply
        };
        let number = if kind == FrameKind::Request { self.number } else { 0 };
        self.record(number, || FrameRecord::new(at, kind, Adu { transaction: 0, unit, pdu: pdu.get() }));
    }

    fn reply(&mut self, asked: &Asked, reply: Result<&[u8], u8>) {
        self.asked = None;
        match reply {
            _ if asked.expired => self.stats.late_replies.add(1),
            Ok(_) => self.stats.replies.add(1),
            Err(_) => self.stats.exceptions.add(1),
        }
        let after = self.began.since(asked.at);
        if let Some(row) = self.row(asked) {
            if asked.expired {
                row.late += 1;
            } else {
                row.answered(reply.err(), after);
            }
        }
        match reply {
            Ok(data) => self.map.answered(asked.unit, asked.pdu.get(), data),
            Err(2) => self.map.refused(asked.unit, asked.pdu.get()),
            Err(_) => {}
        }
    }

    fn request(&mut self, unit: u8, pdu: Pdu, at: Time) {
        let last = self.asked;
        self.expire();
        self.number += 1;
        self.stats.requests.add(1);
        let retry = last.is_some_and(|a| a.unit == unit && a.pdu.get() == pdu.get());
        self.stats.retries.add(retry.into());
        let asked = Asked { unit, pdu, at, number: self.number, expired: false };
        if let Some(row) = self.row(&asked) {
            row.requests += 1;
            row.retries += u64::from(retry);
        }
        if unit == BROADCAST {
            self.stats.broadcasts.add(1);
        } else {
            self.map.asked(unit, pdu.get());
        }
        self.asked = (!is_unanswered(unit, pdu.get())).then_some(asked);
    }

    /// Counts the request that waits as unanswered.
    fn expire(&mut self) {
        let Some(asked) = self.asked.as_mut().filter(|a| !a.expired) else { return };
        asked.expired = true;
        let asked = *asked;
        self.stats.timeouts.add(1);
        if let Some(row) = self.row(&asked) {
            row.timeouts += 1;
        }
    }

    /// When the request that waits is counted as unanswered; not while something comes.
    fn patience(&self) -> Option<Time> {
        let asked = self.asked.as_ref().filter(|a| !a.expired && self.framer.collected() == 0)?;
        Some(asked.at + self.response_time)
    }

    fn after_patience(&mut self, now: Time) {
        if self.patience().is_some_and(|end| end <= now) {
            self.expire();
        }
    }
}

/// Whether a PDU has the length of a request. Codes of no known length count as one.
fn is_request(unit: u8, pdu: &[u8]) -> bool {
    let function = pdu.first().copied().unwrap_or(EXCEPTION);
    // As RTU has it, but for the CRC.
    let mut frame = [unit; rtu::MAX_FRAME];
    let len = pdu.len() + 3;
    frame[1..len - 2].copy_from_slice(pdu);
    let announced = rtu::announced_length(Form::Request, &frame[..len]);
    function < EXCEPTION && (function == 8 || announced.is_none_or(|n| n == len))
}

impl Station for Sniffer {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], _tx: &mut Tx) {
        self.after_silence(now);
        self.after_patience(now);
        for &byte in bytes {
            if self.framer.collected() == 0 {
                self.began = now;
            }
            let head = if self.framing.is_ascii() { self.framer.head() } else { None };
            if let Some(dropped) = self.framer.push(now, byte) {
                self.broken(now, dropped.why, dropped.bytes, head);
            }
            self.after_byte(now);
        }
    }

    fn on_deadline(&mut self, now: Time, _tx: &mut Tx) {
        self.after_silence(now);
        self.after_patience(now);
    }

    fn deadline(&self) -> Option<Time> {
        [self.framer.silence_ends(), self.patience()].into_iter().flatten().min()
    }

    fn on_line(&mut self, _now: Time, _event: LineEvent, _tx: &mut Tx) {
        self.framer.clear();
        self.asked = None;
    }
}
