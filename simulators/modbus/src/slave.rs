//! A Modbus slave on one line, RTU or ASCII: units of a plant. Answers what is meant for them,
//! understands what is not, and stays silent about everything else.
//!
//! In RTU a reply leaves t3.5 after the last byte that was heard, and only while it is the answer to the last request
//! on the line: when the master has gone on, an old reply would be taken for another one.

use std::time::Duration;

use hilrig_points::Shared;
use hilrig_port::{LineEvent, Station, Time, Tx};

use crate::faults::Reply;
use crate::frames::{FrameKind, FrameRecord};
use crate::framing::{Chunk, Form, Framer, Framing, MAX_ADU};
use crate::pdu::EXCEPTION;
use crate::replies::{Replies, To, slave_options};
use crate::rtu::{BROADCAST, Timing};
use crate::served::Served;

/// Replies that can wait at once; more than one do only because of faults.
const WAITING: usize = 32;

/// A request to another unit, whose reply comes next.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    unit: u8,
    function: u8,
}

/// A Modbus RTU or ASCII slave. Put it on a port with `Shard::add_station`, reach its data through
/// `Shard::with_station`.
#[derive(Debug)]
pub struct Slave {
    served: Served,
    replies: Replies,
    framer: Framer,
    timing: Timing,
    response_time: Duration,
    awaited: Option<Awaited>,
}

impl Slave {
    slave_options!();

    /// An RTU slave that answers for all units of a plant; without any, it listens only.
    pub fn new(timing: Timing, plant: Shared) -> Self {
        Self {
            served: Served::new(plant),
            replies: Replies::new(Framing::Rtu, &timing, WAITING),
            framer: Framer::new(Framing::Rtu, &timing),
            timing,
            response_time: Duration::from_secs(1),
            awaited: None,
        }
    }

    /// RTU or ASCII; one over TCP is the same here, on a port that is a connection.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        let framing = if framing.is_ascii() { Framing::Ascii } else { Framing::Rtu };
        self.framer = Framer::new(framing, &self.timing);
        self.replies.set_framing(framing, &self.timing);
        self
    }

    /// Silence between a request and its reply, if not t3.5 (SL 2.5.1.1). One of a microsecond or less is none: the
    /// reply leaves with the last byte of the request, without waiting for a timer.
    #[must_use]
    pub fn reply_gap(mut self, gap: Option<Duration>) -> Self {
        self.replies.gap = gap;
        self
    }

    /// How long another unit may take to answer; 1 s if not set.
    #[must_use]
    pub fn response_time(mut self, time: Duration) -> Self {
        self.response_time = time;
        self
    }

    /// Looks at what has come after each byte: is it a frame already?
    fn after_byte(&mut self, now: Time) {
        let Some((unit, function)) = self.framer.head() else { return };
        let awaited = self.awaited.is_some_and(|a| a.unit == unit && a.function == function & !EXCEPTION);
        // A reply can have the form of a request (function 6), so the one that is awaited comes first. It is
        // never from one of our units: a request to us is not taken for it.
        if awaited && self.framer.is_whole(Form::Reply) {
            self.awaited = None;
            self.other(now, FrameKind::OtherReply);
        } else if self.framer.is_whole(Form::Request) {
            self.frame(now);
        } else {
            return;
        }
        self.framer.clear();
    }

    /// Ends what has come, if silence has.
    fn after_silence(&mut self, now: Time) {
        let Some(end) = self.framer.silence_ends().filter(|&end| end <= now) else { return };
        let (chunk, bytes) = (self.framer.judge(), self.framer.collected());
        if chunk == Chunk::Frame {
            self.silent_frame(end);
        } else {
            self.noise(end, chunk, bytes, self.framer.head());
        }
        self.framer.clear();
    }

    fn noise(&mut self, at: Time, why: Chunk, bytes: u64, head: Option<(u8, u8)>) {
        self.served.noise(why, bytes, head.map(|(unit, _)| unit));
        self.replies.record_noise(at, 0, why, bytes);
    }

    /// A frame that only silence has ended: of a length that its function code does not announce.
    fn silent_frame(&mut self, now: Time) {
        let unit = self.framer.adu().unit;
        if unit == BROADCAST || self.served.has(unit) {
            self.frame(now);
        } else {
            // Request or reply: nobody can tell. Whichever it is, nothing is to be awaited from it.
            let was_awaited = self.awaited.take().is_some_and(|a| a.unit == unit);
            self.other(now, if was_awaited { FrameKind::OtherReply } else { FrameKind::OtherRequest });
        }
    }

    /// A frame to or from a unit that is not ours.
    fn other(&mut self, now: Time, kind: FrameKind) {
        self.served.diagnostics.message();
        self.served.stats.other_units.add(1);
        let (number, adu) = (self.replies.number, self.framer.adu());
        self.replies.record(0, number, || FrameRecord::new(now, kind, adu));
    }

    /// Acts on the frame that has come.
    fn frame(&mut self, now: Time) {
        let adu = self.framer.adu();
        let (unit, function) = (adu.unit, adu.pdu.first().copied().unwrap_or_default());
        let ours = self.served.has(unit);
        if ours && function >= EXCEPTION {
            self.served.diagnostics.message();
            self.served.stats.strays.add(1);
            return;
        }
        self.replies.number += 1;
        self.awaited = None;
        self.served.stats.superseded.add(self.replies.outbox.supersede());
        if unit != BROADCAST && !ours {
            self.awaited = Some(Awaited { unit, function });
            return self.other(now, FrameKind::OtherRequest);
        }
        self.served.diagnostics.message();
        let number = self.replies.number;
        self.replies.record(0, number, || FrameRecord::new(now, FrameKind::Request, adu));
        if unit == BROADCAST {
            return self.served.broadcast(now, adu.pdu);
        }
        let (mut reply, mut out) = (Reply { unit, ..Reply::EMPTY }, [0; MAX_ADU]);
        let reply = self.served.serve(now, unit, adu.pdu, &mut reply);
        let to = To { caller: 0, meant: unit, end: self.framer.last_byte().unwrap_or(now) };
        self.replies.answer(&mut self.served, now, to, adu.pdu, reply, &mut out);
        // The reply to the change still has the old one.
        if let Some(delimiter) = self.served.diagnostics.take_delimiter()
            && let Framer::Ascii(framer) = &mut self.framer
        {
            framer.delimiter(delimiter);
            self.replies.delimiter = delimiter;
        }
    }
}

/// Less than a timer can tell.
const AT_ONCE: Duration = Duration::from_micros(1);

impl Station for Slave {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.after_silence(now);
        if self.framer.last_byte().is_some_and(|last| now.since(last) > self.response_time) {
            self.awaited = None;
        }
        for &byte in bytes {
            // Whose frame it was is forgotten with it.
            let head = if self.replies.framing.is_ascii() { self.framer.head() } else { None };
            if let Some(dropped) = self.framer.push(now, byte) {
                self.noise(now, dropped.why, dropped.bytes, head);
            }
            self.after_byte(now);
        }
        if self.replies.framing.is_rtu() {
            // Whoever is talking now is not listening to a reply.
            let gap = self.replies.gap();
            self.replies.outbox.hold(now + gap);
            if gap <= AT_ONCE {
                self.replies.send_due(now + gap, &self.served.stats, |_, bytes, _, _| tx.send(bytes));
            }
        }
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        self.after_silence(now);
        self.replies.send_due(now, &self.served.stats, |_, bytes, _, _| tx.send(bytes));
    }

    fn deadline(&self) -> Option<Time> {
        [self.framer.silence_ends(), self.replies.outbox.next()].into_iter().flatten().min()
    }

    fn on_line(&mut self, _now: Time, _event: LineEvent, _tx: &mut Tx) {
        self.framer.clear();
        self.awaited = None;
        self.replies.outbox.clear();
    }
}

#[cfg(test)]
#[path = "slave_ascii_tests.rs"]
mod ascii_tests;
#[cfg(test)]
#[path = "slave_bench.rs"]
pub(crate) mod bench;
#[cfg(test)]
#[path = "slave_tests.rs"]
mod tests;
