//! A Modbus RTU slave on one line: all units of a plant. Answers what is meant for them,
//! understands what is not, and stays silent about everything else.
//!
//! A reply leaves t3.5 after the last byte that was heard, and only while it is the answer to the last request on
//! the line: when the master has gone on, an old reply would be taken for another one.

use std::sync::Arc;
use std::time::Duration;

use hilrig_points::Shared;
use hilrig_port::{LineEvent, Station, Time, Tx};

use crate::counters::counters;
use crate::pdu::{EXCEPTION, Exception, MAX_PDU};
use crate::respond::answer;
use crate::rtu::{BROADCAST, Chunk, Form, Framer, MAX_FRAME, Timing, frame};

counters! {
    /// Live counters of a [`Slave`].
    SlaveStats,
    /// Counters of a [`Slave`] at one moment.
    SlaveTotals:
    /// Requests to one of our units.
    requests = "requests",
    /// Replies sent, exceptions included.
    replies = "replies",
    /// Requests to unit 0.
    broadcasts = "broadcasts",
    /// Frames to and from units that are not ours.
    other_units = "otherUnitFrames",
    /// Exception 1 sent.
    illegal_function = "exceptionsIllegalFunction",
    /// Exception 2 sent.
    illegal_address = "exceptionsIllegalAddress",
    /// Exception 3 sent.
    illegal_value = "exceptionsIllegalValue",
    /// Exception 4 sent.
    device_failure = "exceptionsDeviceFailure",
    /// Chunks of at least four bytes that no CRC holds for.
    crc_errors = "crcErrors",
    /// Chunks of less than four bytes.
    short = "shortFrames",
    /// Chunks that are too long for a frame.
    overflows = "overflows",
    /// Bytes of all chunks that were no frame.
    noise_bytes = "noiseBytes",
    /// Frames for one of our units that only a slave can have sent.
    strays = "strayReplies",
    /// Replies not sent because the master had gone on.
    superseded = "supersededReplies",
    /// Replies not sent because the line took no more bytes.
    stalled = "stalledReplies",
}

/// A request to another unit, whose reply comes next.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    unit: u8,
    function: u8,
}

/// A Modbus RTU slave. Put it on a port with `Shard::add_station`, reach its data through `Shard::with_station`.
#[derive(Debug)]
pub struct Slave {
    plant: Shared,
    /// Which unit ids are answered here.
    ours: [bool; 256],
    framer: Framer,
    timing: Timing,
    response_time: Duration,
    awaited: Option<Awaited>,
    reply: [u8; MAX_FRAME],
    /// Length of the reply that waits, or 0.
    reply_len: usize,
    reply_at: Time,
    stats: Arc<SlaveStats>,
}

impl Slave {
    /// A slave that answers for all units of a plant; without any, it listens only.
    pub fn new(timing: Timing, plant: Shared) -> Self {
        let mut ours = [false; 256];
        plant.with(|plant| plant.unit_ids().for_each(|id| ours[usize::from(id)] = true));
        Self {
            plant,
            ours,
            framer: Framer::new(&timing),
            timing,
            response_time: Duration::from_secs(1),
            awaited: None,
            reply: [0; MAX_FRAME],
            reply_len: 0,
            reply_at: Time(0),
            stats: Arc::default(),
        }
    }

    /// How long another unit may take to answer; 1 s if not set.
    #[must_use]
    pub fn response_time(mut self, time: Duration) -> Self {
        self.response_time = time;
        self
    }

    /// The data that it answers from.
    pub fn plant(&self) -> &Shared {
        &self.plant
    }

    /// The counters; readable from anywhere while the slave runs.
    pub fn stats(&self) -> Arc<SlaveStats> {
        self.stats.clone()
    }

    /// Looks at the buffer after each byte: is it a frame already?
    fn after_byte(&mut self, now: Time) {
        let &[unit, function, ..] = self.framer.frame() else { return };
        let awaited = self.awaited.is_some_and(|a| a.unit == unit && a.function == function & !EXCEPTION);
        // A reply can have the form of a request (function 6), so the one that is awaited comes first. It is
        // never from one of our units: a request to us is not taken for it.
        if awaited && self.framer.is_whole(Form::Reply) {
            self.awaited = None;
            self.stats.other_units.add(1);
        } else if self.framer.is_whole(Form::Request) {
            self.request(now);
        } else {
            return;
        }
        self.framer.clear();
    }

    /// Ends what is in the buffer, if silence has come.
    fn after_silence(&mut self, now: Time) {
        let Some(end) = self.framer.silence_ends().filter(|&end| end <= now) else { return };
        let noise = match self.framer.judge() {
            Chunk::Frame => {
                self.silent_frame(end);
                None
            }
            Chunk::BadCrc => Some(&self.stats.crc_errors),
            Chunk::Short | Chunk::BadLrc | Chunk::BadCharacter | Chunk::BadHeader => Some(&self.stats.short),
            Chunk::Overflow => Some(&self.stats.overflows),
        };
        if let Some(counter) = noise {
            counter.add(1);
            self.stats.noise_bytes.add(self.framer.collected());
        }
        self.framer.clear();
    }

    /// A frame that only silence has ended: of a length that its function code does not announce.
    fn silent_frame(&mut self, now: Time) {
        let (unit, function) = (self.framer.frame()[0], self.framer.frame()[1]);
        let ours = self.ours[usize::from(unit)];
        if unit == BROADCAST || (ours && function < EXCEPTION) {
            self.request(now);
        } else if ours {
            self.stats.strays.add(1);
        } else {
            // Request or reply: nobody can tell. Whichever it is, nothing is to be awaited from it.
            self.awaited = None;
            self.stats.other_units.add(1);
        }
    }

    /// Acts on the request in the buffer.
    fn request(&mut self, now: Time) {
        let (unit, function) = (self.framer.frame()[0], self.framer.frame()[1]);
        if std::mem::take(&mut self.reply_len) > 0 {
            self.stats.superseded.add(1);
        }
        self.awaited = None;
        let mut pdu = [0; MAX_PDU];
        if unit == BROADCAST {
            self.stats.broadcasts.add(1);
            // Reads have no meaning without a reply.
            if matches!(function, 5 | 6 | 15 | 16) {
                self.plant.with(|plant| {
                    for id in (1..=u8::MAX).filter(|id| self.ours[usize::from(*id)]) {
                        answer(plant, now, id, self.framer.pdu(), &mut pdu);
                    }
                });
            }
        } else if self.ours[usize::from(unit)] {
            self.stats.requests.add(1);
            let (len, exception) =
                self.plant.with(|plant| answer(plant, now, unit, self.framer.pdu(), &mut pdu));
            match exception {
                None => {}
                Some(Exception::IllegalFunction) => self.stats.illegal_function.add(1),
                Some(Exception::IllegalAddress) => self.stats.illegal_address.add(1),
                Some(Exception::IllegalValue) => self.stats.illegal_value.add(1),
                Some(Exception::DeviceFailure) => self.stats.device_failure.add(1),
            }
            self.reply_len = frame(unit, &pdu[..len], &mut self.reply);
            self.hold_reply(now);
        } else {
            self.stats.other_units.add(1);
            self.awaited = Some(Awaited { unit, function });
        }
    }

    /// Keeps a waiting reply back for t3.5 from the last byte on.
    fn hold_reply(&mut self, now: Time) {
        let last = self.framer.last_byte().unwrap_or(now);
        self.reply_at = last + self.timing.t35;
    }

    fn forget_line(&mut self) {
        self.framer.clear();
        self.awaited = None;
        self.reply_len = 0;
    }
}

impl Station for Slave {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], _tx: &mut Tx) {
        self.after_silence(now);
        if self.framer.last_byte().is_some_and(|last| now.since(last) > self.response_time) {
            self.awaited = None;
        }
        for &byte in bytes {
            self.framer.push(now, byte);
            self.after_byte(now);
        }
        // Whoever is talking now is not listening to a reply.
        self.hold_reply(now);
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        self.after_silence(now);
        if self.reply_len > 0 && self.reply_at <= now {
            let sent = tx.send(&self.reply[..self.reply_len]);
            self.reply_len = 0;
            if sent { self.stats.replies.add(1) } else { self.stats.stalled.add(1) }
        }
    }

    fn deadline(&self) -> Option<Time> {
        let reply = (self.reply_len > 0).then_some(self.reply_at);
        [self.framer.silence_ends(), reply].into_iter().flatten().min()
    }

    fn on_line(&mut self, _now: Time, _event: LineEvent, _tx: &mut Tx) {
        self.forget_line();
    }
}

#[cfg(test)]
#[path = "slave_tests.rs"]
mod tests;
