//! The asking end of a line: one exchange at a time with the silences that the line needs, shared by the master and the
//! gateway. Knows what is on the line now; what comes next is for its owner.
//!
//! A late reply must not be taken for the answer to the next request. Modbus TCP has transaction ids for that; on
//! a serial line nothing tells the two apart but time. So after a timeout the line must fall silent before anything
//! is sent, and the unit that did not answer is not asked again for as long as its timeout was; other units are.

use std::time::Duration;

use hilrig_port::{LineEvent, Time, Tx};

use crate::exchange::is_unanswered;
use crate::frames::{FrameKind, FrameRecord, FrameSink};
use crate::framing::{Adu, Chunk, Form, Framer, Framing, MAX_ADU, encode};
use crate::pdu::{EXCEPTION, MAX_PDU};
use crate::plan::TURNAROUND;
use crate::poll::Outcome;
use crate::reply::{Reply, match_reply};
use crate::rtu::Timing;

/// A Modbus TCP stream that is lost is listened to again once it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(100);

/// What became of an offered request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// The line is not free yet.
    Later,
    /// The line was not free for longer than the timeout, or takes no bytes.
    Busy,
    /// Sent, and nobody will answer.
    Told,
    /// Sent.
    Asked,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub outcome: Outcome,
    pub sent: Time,
    /// Of an answer, when its last byte came.
    pub at: Time,
}

/// The exchange on the line.
#[derive(Debug, Clone, Copy)]
struct Asked {
    unit: u8,
    sent: Time,
    /// When a reply must have begun.
    until: Time,
    timeout: Duration,
    /// What to report unless something better comes.
    verdict: Outcome,
}

/// How long a unit is left alone.
#[derive(Debug, Clone, Copy, Default)]
struct Hold {
    until: Time,
    window: Duration,
}

/// Fixed room for a PDU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pdu {
    bytes: [u8; MAX_PDU],
    len: usize,
}

impl Pdu {
    pub(crate) const EMPTY: Self = Self { bytes: [0; MAX_PDU], len: 0 };

    /// What is too long is cut.
    pub(crate) fn new(pdu: &[u8]) -> Self {
        let mut room = Self::EMPTY;
        room.set(pdu);
        room
    }

    fn set(&mut self, pdu: &[u8]) {
        self.len = pdu.len().min(MAX_PDU);
        self.bytes[..self.len].copy_from_slice(&pdu[..self.len]);
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[derive(Debug)]
pub(crate) struct Line {
    framing: Framing,
    timing: Timing,
    pub(crate) turnaround: Duration,
    framer: Framer,
    /// When the first byte of what is in the framer came.
    began: Time,
    asked: Option<Asked>,
    request: Pdu,
    reply: Pdu,
    /// How much of the end of the reply is data.
    data: usize,
    transaction: u16,
    /// When the line will have been silent for long enough.
    silent_at: Time,
    /// Nothing is sent before, silent or not: slaves are busy with a broadcast.
    pause_until: Time,
    /// Since when unexpected bytes keep the line from being silent.
    noisy_since: Option<Time>,
    /// The stream has lost its frames; everything is noise until it is quiet.
    lost: bool,
    holds: Box<[Hold; 256]>,
    frames: Option<FrameSink>,
    /// For frame records: who asks, how many requests there were, and which of them is on the line.
    pub(crate) caller: u32,
    number: u64,
    current: u64,
    /// Frames that came when none was expected.
    late: u64,
    /// Bytes that were part of no frame.
    noise: u64,
}

impl Line {
    pub(crate) fn new(framing: Framing, timing: Timing) -> Self {
        Self {
            framing,
            timing,
            turnaround: TURNAROUND,
            framer: Framer::new(framing, &timing),
            began: Time(0),
            asked: None,
            request: Pdu::EMPTY,
            reply: Pdu::EMPTY,
            data: 0,
            transaction: 0,
            silent_at: Time(0),
            pause_until: Time(0),
            noisy_since: None,
            lost: false,
            holds: Box::new([Hold::default(); 256]),
            frames: None,
            caller: 0,
            number: 0,
            current: 0,
            late: 0,
            noise: 0,
        }
    }

    pub(crate) fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
        self.framer = Framer::new(framing, &self.timing);
    }

    pub(crate) fn set_frames(&mut self, sink: FrameSink) {
        self.frames = Some(sink);
    }

    /// When the line is free, if nothing comes.
    pub(crate) fn ready(&self) -> Time {
        self.silent_at.max(self.pause_until)
    }

    /// Until when a unit is left alone.
    pub(crate) fn hold(&self, unit: u8) -> Time {
        self.holds[usize::from(unit)].until
    }

    /// The last reply PDU that ended an exchange.
    pub(crate) fn reply(&self) -> &[u8] {
        self.reply.get()
    }

    /// The data of it, as `match_reply` found it.
    pub(crate) fn data(&self) -> &[u8] {
        &self.reply()[self.reply.len - self.data..]
    }

    /// Late replies and noise bytes since this was last asked.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.late), std::mem::take(&mut self.noise))
    }

    /// Time that bytes take on the line.
    fn travel(&self, bytes: usize) -> Duration {
        if self.framing.is_over_tcp() { Duration::ZERO } else { self.timing.on_the_line(bytes) }
    }

    /// Makes a record, if somebody watches.
    fn record(&mut self, make: impl FnOnce() -> FrameRecord) {
        if let Some(sink) = self.frames.as_mut().filter(|sink| sink.is_wanted()) {
            let mut record = make();
            (record.caller, record.number) = (self.caller, self.current);
            sink.push(record);
        }
    }

    /// A request that the owner answers itself: `reply` to `caller`. One that was on the line is recorded already.
    pub(crate) fn answered(&mut self, now: Time, caller: u32, asked: Adu<'_>, reply: &[u8], was_sent: bool) {
        if !was_sent {
            self.number += 1;
        }
        let number = if was_sent { self.current } else { self.number };
        let Some(sink) = self.frames.as_mut().filter(|sink| sink.is_wanted()) else { return };
        if !was_sent {
            sink.push(FrameRecord::new(now, FrameKind::Request, asked).of(caller, number));
        }
        sink.push(FrameRecord::reply(now, Adu { pdu: reply, ..asked }).of(caller, number));
    }

    /// Sends a request, if the line is free.
    pub(crate) fn offer(&mut self, now: Time, unit: u8, pdu: &[u8], timeout: Duration, tx: &mut Tx) -> Offer {
        if self.asked.is_some() {
            return Offer::Later;
        }
        if self.ready() > now {
            let noisy = self.noisy_since.filter(|_| self.silent_at > now);
            if noisy.is_some_and(|since| now.since(since) > timeout) {
                self.noisy_since = Some(now);
                return Offer::Busy;
            }
            return Offer::Later;
        }
        let transaction = self.transaction.wrapping_add(1);
        let mut adu = [0; MAX_ADU];
        let len = encode(self.framing, transaction, unit, pdu, &mut adu);
        if !tx.send(&adu[..len]) {
            self.pause_until = now + timeout;
            return Offer::Busy;
        }
        self.transaction = transaction;
        self.number += 1;
        self.current = self.number;
        self.record(|| FrameRecord::new(now, FrameKind::Request, Adu { transaction, unit, pdu }));
        if self.framing != Framing::Tcp {
            self.framer.clear();
        }
        let sent_by = now + self.travel(len);
        if is_unanswered(unit, pdu) {
            self.pause_until = sent_by + self.turnaround;
            return Offer::Told;
        }
        self.request.set(pdu);
        let until = sent_by + timeout;
        self.asked = Some(Asked { unit, sent: now, until, timeout, verdict: Outcome::Timeout });
        Offer::Asked
    }

    /// Ends the current exchange without a good reply.
    fn give_up(&mut self, now: Time, outcome: Outcome) -> Option<Ended> {
        let asked = self.asked.take()?;
        if self.framing == Framing::Tcp {
            // What began before the request and is still not whole never will be: this reply may be in it.
            if self.framer.collected() > 0 && self.began < asked.sent {
                self.noise += self.framer.collected();
                self.framer.clear();
                (self.lost, self.silent_at) = (true, now + QUIET);
            }
        } else if outcome != Outcome::Crc {
            // A reply that came, if broken, comes no more; one that did not come may be on its way.
            let window = asked.timeout;
            self.holds[usize::from(asked.unit)] = Hold { until: now + window, window };
        }
        Some(Ended { outcome, sent: asked.sent, at: now })
    }

    /// A frame whose check holds is in the framer.
    fn frame(&mut self, now: Time) -> Option<Ended> {
        let adu = self.framer.adu();
        let (unit, transaction, pdu) = (adu.unit, adu.transaction, Pdu::new(adu.pdu));
        let heard = Adu { transaction, unit, pdu: pdu.get() };
        let tcp = self.framing == Framing::Tcp;
        let current = self.asked.as_mut().filter(|_| !tcp || transaction == self.transaction);
        let Some(asked) = current else {
            self.late += 1;
            let hold = &mut self.holds[usize::from(unit)];
            if hold.until > now {
                hold.until = now + hold.window;
            }
            self.record(|| FrameRecord::new(now, FrameKind::OtherReply, heard));
            return None;
        };
        if unit != asked.unit {
            asked.verdict = Outcome::WrongUnit;
            self.record(|| FrameRecord::new(now, FrameKind::OtherReply, heard));
            return None;
        }
        let (outcome, data) = match match_reply(self.request.get(), pdu.get()) {
            Reply::Done(data) => (Outcome::Ok, data.len()),
            Reply::Refused(code) => (Outcome::Exception(code), 0),
            Reply::Stranger => {
                asked.verdict = Outcome::Mismatch;
                self.record(|| FrameRecord::new(now, FrameKind::OtherReply, heard));
                return None;
            }
        };
        let (sent, at) = (asked.sent, self.framer.last_byte().unwrap_or(now));
        self.asked = None;
        (self.reply, self.data) = (pdu, data);
        self.record(|| FrameRecord::reply(at, heard));
        Some(Ended { outcome, sent, at })
    }

    /// No frame. If it begins like the reply, it was the reply, and there is nothing more to wait for.
    fn broken(&mut self, now: Time, why: Chunk, bytes: u64, head: Option<(u8, u8)>) -> Option<Ended> {
        self.noise += bytes;
        self.record(|| FrameRecord::noise(now, why, bytes));
        let asked = self.asked.as_mut().filter(|_| why != Chunk::Short)?;
        asked.verdict = Outcome::Crc;
        let function = self.request.get().first().copied().unwrap_or_default();
        let begins_alike =
            head.is_some_and(|(unit, f)| unit == asked.unit && (f == function || f == function | EXCEPTION));
        if begins_alike || why == Chunk::BadHeader { self.give_up(now, Outcome::Crc) } else { None }
    }

    /// Ends what has come so far, if silence has come.
    fn after_silence(&mut self, now: Time) -> Option<Ended> {
        self.framer.silence_ends().filter(|end| *end <= now)?;
        let ended = match self.framer.judge() {
            Chunk::Frame => self.frame(now),
            why => self.broken(now, why, self.framer.collected(), self.framer.head()),
        };
        self.framer.clear();
        ended
    }

    fn after_timeout(&mut self, now: Time) -> Option<Ended> {
        self.patience().filter(|end| *end <= now)?;
        self.give_up(now, self.asked?.verdict)
    }

    /// When the current exchange is given up. Not in the middle of a frame, but not for ever either.
    fn patience(&self) -> Option<Time> {
        let until = self.asked?.until;
        match self.framer.silence_ends() {
            Some(end) if end > until => {
                let longest = if self.framing.is_ascii() { MAX_ADU } else { crate::rtu::MAX_FRAME };
                Some(end.min(until + self.timing.on_the_line(longest) + self.timing.silence))
            }
            _ => Some(until),
        }
    }

    /// Takes bytes of the line. Answers the end of the exchange, if this was it.
    pub(crate) fn on_bytes(&mut self, now: Time, bytes: &[u8]) -> Option<Ended> {
        let mut ended = self.after_silence(now);
        if self.silent_at <= now {
            self.noisy_since = None;
            if std::mem::take(&mut self.lost) {
                self.framer.clear();
            }
        }
        for &byte in bytes {
            if self.lost {
                self.noise += 1;
                continue;
            }
            if self.framer.collected() == 0 {
                self.began = now;
            }
            let head = if self.framing.is_ascii() { self.framer.head() } else { None };
            if let Some(dropped) = self.framer.push(now, byte) {
                self.lost = dropped.why == Chunk::BadHeader;
                ended = ended.or(self.broken(now, dropped.why, dropped.bytes, head));
            }
            if self.framer.is_whole(Form::Reply) {
                ended = ended.or(self.frame(now));
                self.framer.clear();
            }
        }
        ended = ended.or(self.after_timeout(now));
        if self.asked.is_none() {
            self.noisy_since.get_or_insert(now);
        }
        self.silent_at = now + self.gap();
        ended
    }

    /// How long the line must be silent from now on before something is sent.
    fn gap(&self) -> Duration {
        let in_frame = self.framer.collected() > 0;
        match self.framing {
            Framing::Tcp if self.lost => QUIET,
            Framing::Tcp => Duration::ZERO,
            Framing::Ascii | Framing::AsciiOverTcp if in_frame => self.timing.between,
            Framing::Ascii | Framing::AsciiOverTcp => Duration::ZERO,
            // After a frame t3.5 will do; within one the port may hold bytes back.
            Framing::Rtu | Framing::RtuOverTcp if in_frame => self.timing.silence,
            Framing::Rtu => self.timing.t35,
            Framing::RtuOverTcp => Duration::ZERO,
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Time) -> Option<Ended> {
        let ended = self.after_silence(now);
        ended.or(self.after_timeout(now))
    }

    /// When something is due if nothing comes: the end of a frame or of the patience.
    pub(crate) fn deadline(&self) -> Option<Time> {
        [self.framer.silence_ends(), self.patience()].into_iter().flatten().min()
    }

    /// The line came or went.
    pub(crate) fn on_line(&mut self, now: Time, event: LineEvent) -> Option<Ended> {
        self.framer.clear();
        self.lost = false;
        self.noisy_since = None;
        self.silent_at = now + if self.framing.is_rtu() { self.timing.silence } else { Duration::ZERO };
        if event == LineEvent::Opened { None } else { self.give_up(now, Outcome::Timeout) }
    }
}
