//! Both directions as waveforms, moved along in time: senders that put characters on the wire, receivers that make of
//! it what they can. Asks for bytes, and gives bytes and errors; knows no faults.

use std::time::Duration;

use hilrig_port::Time;

use crate::queue::{Event, Item, TRUE_RATE};
use crate::uart::{Exact, Got, Receiver, Sent, Shape};
use crate::wire::{Lane, Noise, behind_break};

/// Characters that may be on their way without having come out as one: the one on the wire and one that may still
/// come of it.
const UNCLAIMED: u32 = 2;
/// Room that one character on the wire may need: a fast receiver sees several in one.
const ROOM: usize = 64;
const TICK: Duration = Duration::from_nanos(1);

/// How the wire is used.
#[derive(Debug)]
pub(crate) struct Manner {
    /// Sender and receiver of each direction.
    pub shapes: [(Shape, Shape); 2],
    /// Which senders hear themselves.
    pub echo: [bool; 2],
    /// One pair of wires for both directions.
    pub half: bool,
    /// Only bytes at a rate of their own need waveforms.
    pub only_odd: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Sim {
    /// All before is done.
    at: Time,
    ends: [End; 2],
}

/// The sender and the receiver of one direction.
#[derive(Debug, Default)]
struct End {
    sent: Option<Sent>,
    /// What is on the wire is a byte that nothing has come of yet.
    unclaimed: bool,
    /// Bytes that have gone and that nothing has come of.
    lost: u32,
    receiver: Receiver,
}

impl End {
    fn pending(&self) -> usize {
        usize::from(self.unclaimed) + self.lost as usize
    }
}

impl Sim {
    pub fn is_idle(&self) -> bool {
        self.ends.iter().all(|end| end.sent.is_none() && end.receiver.is_idle() && end.lost == 0)
    }

    pub fn pending(&self, d: usize) -> usize {
        self.ends[d].pending()
    }

    /// When the receiver of this direction may have something.
    pub fn deadline(&self, d: usize) -> Option<Time> {
        let end = &self.ends[d];
        match end.sent {
            Some(sent) if sent.end.at.0 < u64::MAX => Some(sent.end.at),
            // While a break lasts there is nothing to wait for but that the receiver sees it.
            Some(_) => end.receiver.complete_at().or_else(|| end.receiver.is_idle().then(|| self.at + TICK)),
            None => end.receiver.complete_at().or_else(|| {
                // Unless its own end keeps the line low.
                let high = self.ends[1 - d].sent.is_none();
                (end.receiver.waits() && high).then(|| self.at + TICK)
            }),
        }
    }

    pub fn discard(&mut self, d: usize) {
        let end = &mut self.ends[d];
        (end.sent, end.unclaimed, end.lost) = (None, false, 0);
        end.receiver.reset();
    }

    /// Moves on to `now`.
    pub fn run(&mut self, now: Time, lanes: &mut [Lane; 2], manner: &Manner, noise: &mut Noise) {
        loop {
            let mut moved = false;
            for d in 0..2 {
                moved |= self.load(now, d, lanes, manner, noise);
            }
            let mut next = now;
            for sent in self.ends.iter().filter_map(|end| end.sent) {
                let edge = if sent.start.at > self.at { sent.start.at } else { sent.end.at };
                next = next.min(edge);
            }
            if next > self.at {
                for d in 0..2 {
                    self.listen(d, next, lanes, manner);
                }
                (self.at, moved) = (next, true);
            }
            for (d, lane) in lanes.iter_mut().enumerate() {
                self.finish(d, lane);
            }
            if !moved {
                break;
            }
        }
    }

    /// Begins what the sender has next, if that is before `now`.
    fn load(
        &mut self,
        now: Time,
        d: usize,
        lanes: &mut [Lane; 2],
        manner: &Manner,
        noise: &mut Noise,
    ) -> bool {
        let (shape, echo) = (manner.shapes[d].0, manner.echo[d]);
        let idle = self.is_idle();
        let lane = &mut lanes[d];
        let Some(entry) = lane.tx.front() else { return false };
        if manner.only_odd && idle && entry.rate == TRUE_RATE {
            return false;
        }
        let mut start = lane.start(entry.due);
        if start.at < self.at {
            start = Exact::new(self.at);
        }
        if let Some(sent) = &mut self.ends[d].sent {
            // Only a break waits for its end; a byte behind one that nobody ends does.
            if sent.end.at.0 == u64::MAX {
                let end = lane.low_end(entry.due, shape.char_time()).max(self.at);
                if end > now {
                    return false;
                }
                sent.end.at = end;
                lane.free = behind_break(sent.end, Some(shape));
                if entry.item == Item::Event(Event::Break(false)) {
                    lane.tx.pop(0);
                }
                return true;
            }
            return false;
        }
        if start.at > now || !lane.may_start(start.at) {
            return false;
        }
        let full = |lane: &Lane| lane.rx.free() < ROOM || lane.rx.free_entries() < ROOM;
        if full(&lanes[d]) || echo && full(&lanes[1 - d]) {
            return false;
        }
        let lane = &mut lanes[d];
        let end = &mut self.ends[d];
        match entry.item {
            Item::Event(Event::Break(true)) => {
                lane.low = Some((entry.due, start.at));
                end.sent = Some(Sent::low(start));
                lane.tx.pop(0);
            }
            // It began when the bytes still went straight, and so it ends.
            Item::Event(Event::Break(false)) if lane.low.is_some() => {
                let at = lane.low_end(entry.due, shape.char_time()).max(self.at);
                if at > now {
                    return false;
                }
                lane.rx.push_event(at, Event::Break(false));
                (lane.low, lane.free) = (None, behind_break(Exact::new(at), Some(shape)));
                lane.tx.pop(0);
            }
            Item::Event(Event::Break(false)) => lane.tx.pop(0),
            Item::Event(event) => {
                lane.rx.push_event(start.at, event);
                lane.tx.pop(0);
            }
            Item::Bytes(_) => {
                let byte = lane.tx.bytes()[0];
                let baud = (u64::from(shape.baud) * u64::from(entry.rate)).div_ceil(u64::from(TRUE_RATE));
                let baud = u32::try_from(baud).unwrap_or(u32::MAX);
                let mut sent = Sent::byte(start, Shape { baud, ..shape }, byte);
                if noise.is_on() {
                    sent.noise(|| noise.hits(d));
                }
                lane.tx.pop(1);
                (lane.free, lane.low) = (sent.end, None);
                (end.sent, end.unclaimed) = (Some(sent), true);
            }
        }
        true
    }

    /// The receiver of direction `d` listens up to `to`.
    fn listen(&mut self, d: usize, to: Time, lanes: &mut [Lane; 2], manner: &Manner) {
        let (shape, hears_itself, half) = (manner.shapes[d].1, manner.echo[1 - d], manner.half);
        let (other, own) = (self.ends[d].sent, self.ends[1 - d].sent);
        let wire = |t: Time| {
            let (mut level, mut until) = other.map_or((true, Time(u64::MAX)), |sent| sent.level(t));
            let collides = half && other.is_some_and(|sent| sent.covers(t));
            if let Some(own) = own.filter(|_| hears_itself || collides) {
                let (also, own_until) = own.level(t);
                until = until.min(own_until);
                // A level that the other one holds low stays low whatever the own one does.
                level &= also;
            }
            (level, until)
        };
        let end = &mut self.ends[d];
        let (unclaimed, lost, lane) = (&mut end.unclaimed, &mut end.lost, &mut lanes[d]);
        end.receiver.listen(shape, self.at, to, wire, |at, got| match got {
            Got::Break(on) => {
                lane.rx.push_event(at, Event::Break(on));
            }
            Got::Byte(byte, error) => {
                if *lost > 0 {
                    // One of them has become this byte, the others nothing.
                    lane.dropped += u64::from(*lost - 1);
                    *lost = 0;
                } else if !std::mem::take(unclaimed) {
                    lane.inserted += 1;
                }
                if let Some(error) = error {
                    lane.rx.push_event(at, Event::Error(error));
                }
                lane.rx.push(at, TRUE_RATE, &[byte]);
            }
        });
    }

    /// What has been sent is off the wire.
    fn finish(&mut self, d: usize, lane: &mut Lane) {
        let (at, end) = (self.at, &mut self.ends[d]);
        if end.sent.is_some_and(|sent| sent.end.at <= at) {
            end.sent = None;
            lane.low = None;
            if std::mem::take(&mut end.unclaimed) {
                end.lost += 1;
                if end.lost > UNCLAIMED {
                    end.lost -= 1;
                    lane.dropped += 1;
                }
            }
        }
        // The receiver hears nothing of it any more.
        if end.sent.is_none() && end.lost > 0 && end.receiver.is_idle() {
            let idle = lane.tx.front().is_none_or(|e| lane.start(e.due).at > at + TICK);
            if idle {
                lane.dropped += u64::from(std::mem::take(&mut end.lost));
            }
        }
    }
}
