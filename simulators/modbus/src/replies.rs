//! From the reply PDU of a unit to bytes that leave at their time: fault rules, delays, and the records of who watches.
//! Shared by the slaves of all framings; knows no line.

use std::time::Duration;

use hilrig_port::Time;

use crate::ascii;
use crate::faults::{Asked, Chosen, Close, Reply, ReplyFaults};
use crate::frames::{FrameKind, FrameRecord, FrameSink};
use crate::framing::{Adu, Chunk, Framing, MAX_ADU};
use crate::outbox::Outbox;
use crate::pdu::Request;
use crate::rtu::Timing;
use crate::served::{Served, SlaveStats};

/// Which request is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct To {
    pub caller: u32,
    /// The unit of ours that is meant, whatever id the request has.
    pub meant: u8,
    /// When its last byte came.
    pub end: Time,
}

#[derive(Debug)]
pub(crate) struct Replies {
    pub framing: Framing,
    pub faults: ReplyFaults,
    pub outbox: Outbox,
    pub frames: Option<FrameSink>,
    /// From the end of a request to the reply at least.
    pub min_delay: Duration,
    /// End of an ASCII frame.
    pub delimiter: u8,
    /// Silence between a request and its reply, if not `between`.
    pub gap: Option<Duration>,
    /// Silence between two frames, and what a character takes.
    between: Duration,
    character: Duration,
    /// Requests so far.
    pub number: u64,
}

impl Replies {
    pub fn new(framing: Framing, timing: &Timing, room: usize) -> Self {
        let mut replies = Self {
            framing,
            faults: ReplyFaults::default(),
            outbox: Outbox::new(room),
            frames: None,
            min_delay: Duration::ZERO,
            delimiter: ascii::LF,
            gap: None,
            between: Duration::ZERO,
            character: Duration::ZERO,
            number: 0,
        };
        replies.set_framing(framing, timing);
        replies
    }

    /// Room for so many replies that wait.
    pub fn set_room(&mut self, room: usize) {
        self.outbox = Outbox::new(room);
        self.outbox.ordered = self.framing.is_over_tcp();
    }

    pub fn set_framing(&mut self, framing: Framing, timing: &Timing) {
        let none = Duration::ZERO;
        self.framing = framing;
        self.outbox.ordered = framing.is_over_tcp();
        (self.between, self.character) = match framing {
            Framing::Rtu => (timing.t35, timing.character),
            Framing::Ascii => (none, timing.character),
            _ => (none, none),
        };
    }

    /// Tells who watches.
    pub fn record(&mut self, caller: u32, number: u64, make: impl FnOnce() -> FrameRecord) {
        if let Some(frames) = self.frames.as_mut().filter(|frames| frames.is_wanted()) {
            frames.push(make().of(caller, number));
        }
    }

    pub fn record_noise(&mut self, at: Time, caller: u32, why: Chunk, bytes: u64) {
        let number = self.number;
        self.record(caller, number, || FrameRecord::noise(at, why, bytes));
    }

    /// Takes the reply of a unit to the request PDU `asked`, if there is to be one. Answers the length of a frame in `out`
    /// if it is to leave at once and may.
    pub fn answer(
        &mut self,
        served: &mut Served,
        now: Time,
        to: To,
        asked: &[u8],
        reply: Option<&mut Reply>,
        out: &mut [u8; MAX_ADU],
    ) -> Option<usize> {
        let unit = to.meant;
        let Some(reply) = reply else {
            served.sent(unit, None);
            return None;
        };
        let chosen = self.choose(now, unit, asked);
        if chosen.is_empty() {
            served.sent(unit, Some(reply.pdu()));
            return self.plain(&served.stats, now, to, reply, out);
        }
        for (rule, effect, _) in self.faults.effects(&chosen) {
            served.stats.faults.add(1);
            reply.change(effect);
            if let Some(frames) = self.frames.as_mut().filter(|frames| frames.is_wanted()) {
                let adu = Adu { transaction: reply.transaction, unit, pdu: reply.pdu() };
                let record = FrameRecord::new(now, FrameKind::Fault { rule }, adu);
                frames.push(record.of(to.caller, self.number));
            }
        }
        let len = reply.encode(self.framing, self.delimiter, out);
        let Some(place) = self.outbox.reserve(true) else {
            served.sent(unit, None);
            served.stats.stalled.add(1);
            return None;
        };
        let shape = self.outbox.shape(place);
        shape.set(&out[..len]);
        for (_, effect, dice) in self.faults.effects(&chosen) {
            shape.change(effect, dice, self.between, self.character);
        }
        let withheld = shape.len == 0 || shape.close == Close::Instead;
        let nothing = shape.len == 0 && shape.close == Close::No;
        served.sent(unit, if withheld { None } else { Some(reply.pdu()) });
        if withheld {
            served.stats.withheld.add(1);
        }
        if !nothing {
            self.outbox.put(place, to.caller, self.number, self.due(to), reply);
        }
        None
    }

    fn due(&self, to: To) -> Time {
        to.end + self.min_delay.max(self.gap())
    }

    /// How long after what was heard last a reply leaves at the earliest.
    pub fn gap(&self) -> Duration {
        self.gap.unwrap_or(self.between)
    }

    /// Which rules act on the reply to a request PDU.
    fn choose(&mut self, now: Time, unit: u8, asked: &[u8]) -> Chosen {
        if self.faults.is_idle() {
            return Chosen::default();
        }
        let addresses = Request::decode(asked).ok().and_then(|request| request.addresses());
        let function = asked.first().copied().unwrap_or_default();
        let asked = Asked { framing: self.framing, number: self.number, unit, function, addresses };
        self.faults.choose(now, &asked)
    }

    /// A reply as it is. Answers the length of a frame in `out` if it is to leave at once and may.
    pub fn plain(
        &mut self,
        stats: &SlaveStats,
        now: Time,
        to: To,
        reply: &Reply,
        out: &mut [u8; MAX_ADU],
    ) -> Option<usize> {
        let (due, len) = (self.due(to), reply.encode(self.framing, self.delimiter, out));
        if due <= now && self.framing.is_over_tcp() && !self.outbox.has(to.caller) {
            stats.replies.add(1);
            self.record(to.caller, self.number, || FrameRecord::reply(now, reply.adu()));
            return Some(len);
        }
        match self.outbox.reserve(false) {
            Some(place) => {
                self.outbox.shape(place).set(&out[..len]);
                self.outbox.put(place, to.caller, self.number, due, reply);
            }
            None => stats.stalled.add(1),
        }
        None
    }

    /// Sends what is due: caller, bytes, whether to close behind them, and whether more waits for this caller. `send`
    /// answers `false` if they found no room.
    pub fn send_due(
        &mut self,
        now: Time,
        stats: &SlaveStats,
        mut send: impl FnMut(u32, &[u8], bool, bool) -> bool,
    ) {
        let Self { outbox, frames, between, character, .. } = self;
        loop {
            let mut sent = 0;
            let more = outbox.pop(now, |due| {
                sent = due.bytes.len();
                if !send(due.caller, due.bytes, due.close, due.more) {
                    stats.stalled.add(1);
                } else if due.first && sent > 0 {
                    stats.replies.add(1);
                    if let Some(frames) = frames.as_mut().filter(|frames| frames.is_wanted()) {
                        frames.push(FrameRecord::reply(now, due.reply.adu()).of(due.caller, due.number));
                    }
                }
            });
            if !more {
                return;
            }
            if sent > 0 && !between.is_zero() {
                outbox.hold(now + *character * sent as u32 + *between);
            }
        }
    }
}

/// What can be set and asked of the slaves of all framings, which have `served` and `replies`.
macro_rules! slave_options {
    () => {
        /// Answers only for these units of the plant, not for all.
        #[must_use]
        pub fn units(mut self, only: Option<&[u8]>) -> Self {
            self.served.restrict(only);
            self
        }

        /// No reply leaves before this after its request.
        #[must_use]
        pub fn min_delay(mut self, time: std::time::Duration) -> Self {
            self.replies.min_delay = time;
            self
        }

        /// Faults between replies and wire.
        #[must_use]
        pub fn faults(mut self, faults: $crate::faults::ReplyFaults) -> Self {
            self.replies.faults = faults;
            self
        }

        /// Records what is heard and said.
        #[must_use]
        pub fn frames(mut self, sink: $crate::FrameSink) -> Self {
            self.replies.frames = Some(sink);
            self
        }

        /// The data that it answers from.
        pub fn plant(&self) -> &hilrig_points::Shared {
            self.served.plant()
        }

        /// The counters; readable from anywhere while the slave runs.
        pub fn stats(&self) -> std::sync::Arc<$crate::SlaveStats> {
            self.served.stats.clone()
        }

        /// To arm, clear and report faults while it runs.
        pub fn faults_mut(&mut self) -> &mut $crate::faults::ReplyFaults {
            &mut self.replies.faults
        }

        /// Looks again which units the plant has, after it was exchanged; those that stay keep their diagnostics.
        pub fn refresh(&mut self) {
            self.served.refresh();
        }
    };
}
pub(crate) use slave_options;
