//! A device that speaks telegrams, at the end of one line: hears, answers, sends by itself. Keeps times; what telegrams
//! are and mean is in other modules.

use std::sync::Arc;
use std::time::Duration;

use hilrig_points::Shared;
use hilrig_port::{LineEvent, Station, Time, Tx};

use crate::bound::TEXT;
use crate::buf::Buf;
use crate::field::Found;
use crate::frame::{Framer, Heard};
use crate::line::Line;
use crate::plan::TelegramPlan;
use crate::r3964::{Event, R3964};
use crate::record::{FrameSink, Way};
use crate::stats::TelegramStats;
use crate::talk::{Answer, Hearing};

/// Fields of one telegram that go into points.
const FOUND: usize = 256;

/// Why a telegram is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("{device} has no telegram {name} to send; {known}")]
    Unknown { device: String, name: String, known: String },
    #[error("nobody is at the far end of the line of {device}")]
    Closed { device: String },
    #[error("telegram {name} of {device} still waits to be sent")]
    Waiting { device: String, name: String },
}

/// When a telegram goes by itself.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// The next time in its period.
    due: Option<Time>,
    /// It is to be sent as soon as the line is free.
    waiting: bool,
}

/// A device that speaks telegrams. Put it on its port with `Shard::add_station`.
#[derive(Debug)]
pub struct TelegramStation {
    plan: TelegramPlan,
    plant: Shared,
    framer: Framer,
    link: Option<R3964>,
    /// Somebody is at the far end.
    open: bool,
    /// When the line was there for the first time.
    begin: Option<Time>,
    /// Of each telegram that can be sent.
    turns: Vec<Turn>,
    /// Whose turn was last.
    last: usize,
    reply: Buf,
    reply_at: Option<Time>,
    out: Buf,
    wire: Buf,
    found: Found,
    text: String,
    frames: Option<FrameSink>,
    stats: Arc<TelegramStats>,
}

/// The line, from fields that are borrowed one by one.
macro_rules! line {
    ($self:ident, $now:expr, $tx:expr) => {
        Line { now: $now, tx: $tx, stats: &$self.stats, sink: $self.frames.as_mut() }
    };
}

impl TelegramStation {
    pub fn new(plan: TelegramPlan, plant: Shared) -> Self {
        Self {
            framer: Framer::new(plan.travel.clone()),
            link: plan.link.clone().map(R3964::new),
            turns: vec![Turn::default(); plan.sends.len()],
            plan,
            plant,
            open: false,
            begin: None,
            last: 0,
            reply: Buf::default(),
            reply_at: None,
            out: Buf::default(),
            wire: Buf::default(),
            found: Vec::with_capacity(FOUND),
            text: String::with_capacity(2 * TEXT),
            frames: None,
            stats: Arc::default(),
        }
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
        let device = || self.plan.name.clone();
        let Some(at) = self.plan.sends().position(|n| n == name) else {
            let known = hilrig_files::known("telegrams", self.plan.sends());
            return Err(SendError::Unknown { device: device(), name: name.to_owned(), known });
        };
        if !self.open {
            return Err(SendError::Closed { device: device() });
        }
        if self.turns[at].waiting {
            return Err(SendError::Waiting { device: device(), name: name.to_owned() });
        }
        self.turns[at].waiting = true;
        self.pump(now, tx);
        Ok(())
    }

    /// Goes on as `new`, which gets what this one was. Telegrams with the name and the period of an old one keep its rhythm.
    /// What is being heard, and an answer that is on its way, stay if telegrams travel as before
    /// ([`TelegramPlan::travels_as`]).
    pub fn reload(&mut self, now: Time, new: &mut Self, travels_alike: bool) {
        std::mem::swap(self, new);
        std::mem::swap(&mut self.frames, &mut new.frames);
        std::mem::swap(&mut self.stats, &mut new.stats);
        (self.open, self.begin) = (new.open, new.begin);
        if travels_alike {
            std::mem::swap(&mut self.framer, &mut new.framer);
            std::mem::swap(&mut self.link, &mut new.link);
            std::mem::swap(&mut self.reply, &mut new.reply);
            self.reply_at = new.reply_at;
        }
        let Some(begin) = self.begin else { return };
        for (turn, send) in self.turns.iter_mut().zip(&self.plan.sends) {
            let old = new.plan.sends.iter().position(|o| o.name == send.name && o.cycle == send.cycle);
            if let Some(old) = old.and_then(|old| new.turns.get(old)) {
                *turn = *old;
            } else if let Some((period, phase)) = send.cycle {
                let mut due = begin + phase;
                if due < now {
                    pass(&mut due, period, now);
                }
                turn.due = Some(due);
            }
        }
    }

    /// The line is there. Periods count from its first time on; those without a line pass without a telegram.
    fn opened(&mut self, now: Time) {
        self.open = true;
        let begin = *self.begin.get_or_insert(now);
        for (turn, send) in self.turns.iter_mut().zip(&self.plan.sends) {
            let Some((period, phase)) = send.cycle else { continue };
            let due = turn.due.get_or_insert(begin + phase);
            if *due < now {
                self.stats.missed.add(pass(due, period, now));
            }
        }
    }

    fn closed(&mut self) {
        self.open = false;
        self.framer.clear();
        if let Some(link) = &mut self.link {
            link.clear();
        }
        self.reply_at = None;
        self.turns.iter_mut().for_each(|turn| turn.waiting = false);
    }

    /// Marks what is due to be sent.
    fn tick(&mut self, now: Time) {
        for (turn, send) in self.turns.iter_mut().zip(&self.plan.sends) {
            let (Some(due), Some((period, _))) = (&mut turn.due, send.cycle) else { continue };
            if *due > now {
                continue;
            }
            *due = *due + period;
            let missed = if *due <= now { pass(due, period, now) } else { 0 };
            self.stats.missed.add(missed + u64::from(turn.waiting));
            turn.waiting = true;
        }
    }

    /// Sends what is to be sent, as far as the line is free.
    fn pump(&mut self, now: Time, tx: &mut Tx) {
        let begin = self.begin.unwrap_or(now);
        while self.link.as_ref().is_none_or(R3964::is_free) {
            if self.reply_at.is_some_and(|at| at <= now) {
                self.reply_at = None;
                std::mem::swap(&mut self.out, &mut self.reply);
                let wraps = self.plan.device.wraps();
                self.put_out(now, wraps, tx);
                continue;
            }
            // Each gets its turn, also where one telegram holds up the others.
            let n = self.turns.len();
            let next = (1..=n).map(|i| (self.last + i) % n).find(|i| self.turns[*i].waiting);
            let Some(next) = next else { return };
            self.last = next;
            self.turns[next].waiting = false;
            self.out.clear();
            let (fields, out) = (&mut self.plan.sends[next].fields, &mut self.out);
            self.plant.with(|plant| fields.iter_mut().for_each(|f| f.write(plant, now, begin, out)));
            self.put_out(now, false, tx);
        }
    }

    /// Sends what is in `out`.
    fn put_out(&mut self, now: Time, wrapped: bool, tx: &mut Tx) {
        let mut line = line!(self, now, tx);
        if let Some(link) = &mut self.link {
            if self.out.overflowed() || !link.send(&self.out, &mut line) {
                line.stats.stalled.add(1);
            }
            return;
        }
        let fits = !self.out.overflowed() && (wrapped || self.plan.travel.wrap(&self.out, &mut self.wire));
        if !fits {
            line.stats.stalled.add(1);
        } else if line.send(if wrapped { &self.out } else { &self.wire }) {
            line.stats.sent.add(1);
        }
    }

    /// A telegram is in the framer or the link.
    fn telegram(&mut self, now: Time, tx: &mut Tx) {
        let body = self.link.as_ref().map_or_else(|| self.framer.body(), R3964::body);
        let begin = self.begin.unwrap_or(now);
        let Self { plan, found, text, out, wire, plant, .. } = self;
        let (answer, unwritten) = plant.with(|plant| {
            let mut hearing = Hearing {
                plant,
                now,
                begin,
                sends: &mut plan.sends,
                found,
                scratch: wire,
                text,
                unwritten: 0,
            };
            (plan.device.answer(body, &mut hearing, out), hearing.unwritten)
        });
        let mut line = line!(self, now, tx);
        line.stats.unwritten.add(unwritten);
        let delay = match answer {
            Answer::Stranger => {
                line.stats.strangers.add(1);
                if self.link.is_none() {
                    line.show(Way::Stranger, self.framer.raw());
                }
                return;
            }
            Answer::Quiet => None,
            Answer::Reply(delay) => Some(delay),
            Answer::Refused(delay) => {
                line.stats.refused.add(1);
                Some(delay)
            }
        };
        line.stats.received.add(1);
        if self.link.is_none() {
            line.show(Way::In, self.framer.raw());
        }
        // Whoever asks again is not waiting for the old answer.
        if self.reply_at.take().is_some() {
            line.stats.superseded.add(1);
        }
        if let Some(delay) = delay {
            std::mem::swap(&mut self.out, &mut self.reply);
            self.reply_at = Some(now + self.plan.delay + delay);
        }
    }

    fn heard(&mut self, now: Time, heard: Heard, tx: &mut Tx) {
        let mut line = line!(self, now, tx);
        match heard {
            Heard::Nothing => {}
            Heard::Telegram => self.telegram(now, tx),
            Heard::BadSum => {
                line.stats.checksum_errors.add(1);
                line.show(Way::Noise, self.framer.raw());
            }
            Heard::Noise(bytes) => {
                line.noise(bytes);
                if self.framer.raw().len() == bytes {
                    line.show(Way::Noise, self.framer.raw());
                }
            }
        }
    }

    fn event(&mut self, now: Time, event: Event, tx: &mut Tx) {
        match event {
            Event::Received => self.telegram(now, tx),
            Event::Delivered => self.stats.sent.add(1),
            Event::Nothing | Event::Failed => {}
        }
    }
}

/// Takes a due time past `now`; answers how many periods that were.
fn pass(due: &mut Time, period: Duration, now: Time) -> u64 {
    let period = period.as_nanos().max(1) as u64;
    let periods = (now.0.saturating_sub(due.0)) / period + 1;
    due.0 = due.0.saturating_add(periods.saturating_mul(period));
    periods
}

impl Station for TelegramStation {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        if !self.open {
            self.opened(now);
        }
        if self.link.is_some() {
            for &byte in bytes {
                let mut line = line!(self, now, tx);
                let Some(link) = &mut self.link else { return };
                let event = link.push(byte, &mut line);
                self.event(now, event, tx);
            }
        } else {
            let heard = self.framer.expire(now);
            self.heard(now, heard, tx);
            for &byte in bytes {
                let heard = self.framer.push(now, byte);
                if heard != Heard::Nothing {
                    self.heard(now, heard, tx);
                }
            }
        }
        self.pump(now, tx);
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        let mut line = line!(self, now, tx);
        match &mut self.link {
            Some(link) => {
                let event = link.on_deadline(&mut line);
                self.event(now, event, tx);
            }
            None => {
                let heard = self.framer.expire(now);
                self.heard(now, heard, tx);
            }
        }
        if self.open {
            self.tick(now);
        }
        self.pump(now, tx);
    }

    fn deadline(&self) -> Option<Time> {
        let hearing = match &self.link {
            Some(link) => link.deadline(),
            None => self.framer.silence_ends(),
        };
        // A link that is not free calls for itself.
        let free = self.link.as_ref().is_none_or(R3964::is_free);
        let reply = self.reply_at.filter(|_| free);
        let turns = self.turns.iter().filter_map(|turn| turn.due.filter(|_| self.open));
        turns.chain(hearing).chain(reply).min()
    }

    fn on_line(&mut self, now: Time, event: LineEvent, _tx: &mut Tx) {
        match event {
            LineEvent::Opened => self.opened(now),
            LineEvent::Closed | LineEvent::Lost => self.closed(),
        }
    }
}

#[cfg(test)]
#[path = "station_tests.rs"]
mod tests;
