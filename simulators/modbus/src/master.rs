//! A Modbus RTU master on one line: works through a poll list and through requests handed in from outside, one
//! exchange at a time, with the silences that the line needs.
//!
//! A late reply must not be taken for the answer to the next request, and in RTU nothing tells the two apart but
//! time. So after a timeout the line must fall silent before anything is sent, and the unit that did not answer
//! is not asked again for as long as its timeout was; other units are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hilrig_port::{Histogram, LineEvent, Station, Time, Tx};

use crate::counters::counters;
use crate::exchange::{Outcome, Poll, PollResult, Results, Source, Values};
use crate::pdu::EXCEPTION;
use crate::reply::{Reply, match_reply};
use crate::rtu::{BROADCAST, Chunk, Form, Framer, MAX_FRAME, Timing};

/// Requests from outside that can wait at once.
const WAITING_ONCE: usize = 64;

counters! {
    /// Live counters of a [`Master`].
    MasterStats,
    /// Counters of a [`Master`] at one moment.
    MasterTotals:
    /// Requests sent, retries and broadcasts included.
    requests = "requests",
    /// Good replies, exceptions not included.
    replies = "replies",
    /// Exception replies.
    exceptions = "exceptions",
    /// Requests that nobody answered.
    timeouts = "timeouts",
    /// Requests sent again.
    retries = "retries",
    /// Requests whose answer had a bad CRC.
    crc_errors = "crcErrors",
    /// Requests that another unit answered.
    wrong_unit = "wrongUnit",
    /// Requests answered by something else.
    mismatches = "mismatches",
    /// Requests given up because the line was not free.
    line_busy = "lineBusy",
    /// Requests to unit 0.
    broadcasts = "broadcasts",
    /// Frames that came when none was expected.
    late_replies = "lateReplies",
    /// Bytes that were part of no frame.
    noise_bytes = "noiseBytes",
    /// Periods of poll entries that passed without a request.
    overruns = "overruns",
    /// Results that found no room in the ring.
    results_lost = "resultsLost",
}

#[derive(Debug)]
struct Entry {
    poll: Poll,
    source: Source,
    /// When it is due; `None`: it was never asked, so now.
    next: Option<Time>,
    /// Requests sent for the result to come.
    attempts: u16,
}

impl Entry {
    fn new(poll: Poll, source: Source) -> Self {
        Self { poll, source, next: None, attempts: 0 }
    }

    fn due(&self) -> Time {
        self.next.unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Poll(usize),
    Once,
}

/// The exchange on the line.
#[derive(Debug, Clone, Copy)]
struct Current {
    who: Who,
    sent: Time,
    /// When a reply must have begun.
    until: Time,
    /// What to report unless something better comes.
    verdict: Outcome,
}

/// How long a unit is left alone.
#[derive(Debug, Clone, Copy, Default)]
struct Hold {
    until: Time,
    window: Duration,
}

/// A Modbus RTU master. Put it on a port with `Shard::add_station`.
#[derive(Debug)]
pub struct Master {
    timing: Timing,
    turnaround: Duration,
    polls: Vec<Entry>,
    once: VecDeque<Entry>,
    paused: bool,
    /// Nobody is at the far end, as before the first `LineEvent::Opened`.
    closed: bool,
    framer: Framer,
    current: Option<Current>,
    /// When the line will have been silent for long enough.
    silent_at: Time,
    /// Nothing is sent before, silent or not: slaves are busy with a broadcast.
    pause_until: Time,
    /// Since when unexpected bytes keep the line from being silent.
    noisy_since: Option<Time>,
    holds: Box<[Hold; 256]>,
    results: rtrb::Producer<PollResult>,
    stats: Arc<MasterStats>,
    round_trips: Histogram,
}

impl Master {
    /// A master with its poll list, and the ring with room for `room` results that it reports to.
    pub fn new(timing: Timing, polls: impl IntoIterator<Item = Poll>, room: usize) -> (Self, Results) {
        let (results, reader) = rtrb::RingBuffer::new(room.max(1));
        let polls = polls.into_iter().enumerate().map(|(i, p)| Entry::new(p, Source::Poll(i))).collect();
        let master = Self {
            timing,
            turnaround: Duration::from_millis(100),
            polls,
            once: VecDeque::with_capacity(WAITING_ONCE),
            paused: false,
            closed: true,
            framer: Framer::new(&timing),
            current: None,
            silent_at: Time(0),
            pause_until: Time(0),
            noisy_since: None,
            holds: Box::new([Hold::default(); 256]),
            results,
            stats: Arc::default(),
            round_trips: Histogram::default(),
        };
        (master, Results(reader))
    }

    /// How long to wait after a broadcast; 100 ms if not set (SL 2.4.1).
    #[must_use]
    pub fn turnaround(mut self, time: Duration) -> Self {
        self.turnaround = time;
        self
    }

    /// Asks once, as soon as the line is free and before the poll list; the result carries `id`. One after the
    /// other in the order handed in; `every` of the poll is not used.
    ///
    /// Answers `false` if too many wait already.
    #[must_use]
    pub fn submit(&mut self, id: u64, poll: Poll) -> bool {
        let room = self.once.len() < WAITING_ONCE;
        if room {
            self.once.push_back(Entry::new(poll, Source::Once(id)));
        }
        room
    }

    /// Stops or resumes the poll list; nobody at the far end does the same. The exchange on the line is brought to its end, without retries; requests handed in with
    /// [`submit`](Self::submit) go on.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// No exchange is on the line and no request waits.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.once.is_empty()
    }

    /// The counters; readable from anywhere while the master runs.
    pub fn stats(&self) -> Arc<MasterStats> {
        self.stats.clone()
    }

    /// Round trips of all good replies and exceptions so far.
    pub fn round_trips(&self) -> &Histogram {
        &self.round_trips
    }

    /// When the line is free, if nothing comes.
    fn ready(&self) -> Time {
        self.silent_at.max(self.pause_until)
    }

    fn entry(&self, who: Who) -> Option<&Entry> {
        match who {
            Who::Poll(i) => self.polls.get(i),
            Who::Once => self.once.front(),
        }
    }

    /// Who may be asked at the earliest, and when; the line itself left aside.
    fn first_due(&self) -> Option<(Time, Who)> {
        let when = |e: &Entry| e.due().max(self.holds[usize::from(e.poll.exchange.unit())].until);
        let polls = if self.paused || self.closed { &[] } else { &self.polls[..] };
        let once = self.once.front().map(|e| (when(e), Time(0), Who::Once));
        let polls = polls.iter().enumerate().map(|(i, e)| (when(e), e.due(), Who::Poll(i)));
        let ready = self.ready();
        // Of those that can go when the line is free, the one that waits longest; the one handed in first of all.
        once.into_iter()
            .chain(polls)
            .min_by_key(|&(when, due, _)| (when.max(ready), due))
            .map(|(when, _, who)| (when, who))
    }

    /// Sends the next request, if one is due and the line is free.
    fn advance(&mut self, now: Time, tx: &mut Tx) {
        if self.current.is_some() {
            return;
        }
        let Some((_, who)) = self.first_due().filter(|(when, _)| *when <= now) else { return };
        if self.ready() > now {
            let Some(entry) = self.entry(who) else { return };
            if self.noisy_since.is_some_and(|since| now.since(since) > entry.poll.timeout) {
                self.noisy_since = Some(now);
                self.finish(now, who, now, Outcome::LineBusy, Values::default());
            }
            return;
        }
        let entry = match who {
            Who::Poll(i) => self.polls.get_mut(i),
            Who::Once => self.once.front_mut(),
        };
        let Some(entry) = entry else { return };
        let exchange = &entry.poll.exchange;
        if !tx.send(exchange.frame()) {
            self.pause_until = now + entry.poll.timeout;
            self.finish(now, who, now, Outcome::LineBusy, Values::default());
            return;
        }
        self.framer.clear();
        self.stats.requests.add(1);
        if entry.attempts > 0 {
            self.stats.retries.add(1);
        }
        entry.attempts = entry.attempts.saturating_add(1);
        entry.next.get_or_insert(now);
        let sent_by = now + self.timing.on_the_line(exchange.frame().len());
        if exchange.unit() == BROADCAST {
            self.stats.broadcasts.add(1);
            self.pause_until = sent_by + self.turnaround;
            self.finish(now, who, now, Outcome::Ok, Values::default());
        } else {
            let until = sent_by + entry.poll.timeout;
            self.current = Some(Current { who, sent: now, until, verdict: Outcome::Timeout });
        }
    }

    /// Ends an exchange: reports it, or leaves it due for another attempt.
    fn finish(&mut self, now: Time, who: Who, sent: Time, outcome: Outcome, values: Values) {
        self.current = None;
        let entry = match who {
            Who::Poll(i) => self.polls.get_mut(i),
            Who::Once => self.once.front_mut(),
        };
        let Some(entry) = entry else { return };
        let (counter, answered) = match outcome {
            Outcome::Ok => (&self.stats.replies, true),
            Outcome::Exception(_) => (&self.stats.exceptions, true),
            Outcome::Timeout => (&self.stats.timeouts, false),
            Outcome::Crc => (&self.stats.crc_errors, false),
            Outcome::WrongUnit => (&self.stats.wrong_unit, false),
            Outcome::Mismatch => (&self.stats.mismatches, false),
            Outcome::LineBusy => (&self.stats.line_busy, false),
        };
        let round_trip = now.since(sent);
        let unit = entry.poll.exchange.unit();
        if unit != BROADCAST {
            counter.add(1);
            if answered {
                self.round_trips.record(round_trip);
            }
        }
        let halted = self.paused && matches!(who, Who::Poll(_));
        if !answered && !halted && (1..=entry.poll.retries).contains(&entry.attempts) {
            return;
        }
        let attempts = std::mem::take(&mut entry.attempts);
        let result = PollResult { source: entry.source, outcome, attempts, round_trip, at: now, values };
        match (who, entry.poll.every) {
            (Who::Once, _) => drop(self.once.pop_front()),
            (Who::Poll(_), None) => entry.next = Some(now),
            (Who::Poll(_), Some(period)) => {
                // Periods count from the plan, not from when it was carried out, so that lateness does not add up.
                let (due, period) = (entry.due(), period.max(Duration::from_nanos(1)));
                let passed = now.since(due).as_nanos() / period.as_nanos();
                self.stats.overruns.add(passed as u64);
                let periods = u32::try_from(passed + 1).unwrap_or(u32::MAX);
                entry.next = Some(due + period.saturating_mul(periods));
            }
        }
        if self.results.push(result).is_err() {
            self.stats.results_lost.add(1);
        }
    }

    /// Ends the current exchange without a good reply.
    fn give_up(&mut self, now: Time, current: Current, outcome: Outcome) {
        if let Some(entry) = self.entry(current.who) {
            let window = entry.poll.timeout;
            // A reply that came, if broken, comes no more; one that did not come may be on its way.
            if outcome != Outcome::Crc {
                self.holds[usize::from(entry.poll.exchange.unit())] = Hold { until: now + window, window };
            }
        }
        self.finish(now, current.who, current.sent, outcome, Values::default());
    }

    /// A frame with a good CRC is in the buffer.
    fn frame(&mut self, now: Time) {
        let from = self.framer.frame()[0];
        let Some(current) = &mut self.current else {
            self.stats.late_replies.add(1);
            let hold = &mut self.holds[usize::from(from)];
            if hold.until > now {
                hold.until = now + hold.window;
            }
            return;
        };
        let entry = match current.who {
            Who::Poll(i) => self.polls.get(i),
            Who::Once => self.once.front(),
        };
        let Some(entry) = entry else { return };
        let exchange = &entry.poll.exchange;
        if from != exchange.unit() {
            current.verdict = Outcome::WrongUnit;
            return;
        }
        let (outcome, values) = match match_reply(exchange.pdu(), self.framer.pdu()) {
            Reply::Done(data) => (Outcome::Ok, exchange.values(data)),
            Reply::Refused(code) => (Outcome::Exception(code), Values::default()),
            Reply::Stranger => {
                current.verdict = Outcome::Mismatch;
                return;
            }
        };
        let (who, sent) = (current.who, current.sent);
        let last = self.framer.last_byte().unwrap_or(now);
        self.finish(last, who, sent, outcome, values);
    }

    /// Ends what is in the buffer, if silence has come.
    fn after_silence(&mut self, now: Time) {
        if self.framer.silence_ends().is_none_or(|end| end > now) {
            return;
        }
        match self.framer.judge() {
            Chunk::Frame => self.frame(now),
            chunk => {
                self.stats.noise_bytes.add(self.framer.collected());
                self.broken(now, chunk);
            }
        }
        self.framer.clear();
    }

    /// No frame. If it begins like the reply, it was the reply, and there is nothing more to wait for.
    fn broken(&mut self, now: Time, chunk: Chunk) {
        let Some(current) = &mut self.current else { return };
        if chunk == Chunk::Short {
            return;
        }
        current.verdict = Outcome::Crc;
        let current = *current;
        let begins_alike = self.entry(current.who).is_some_and(|e| {
            let asked = &e.poll.exchange;
            self.framer.frame().starts_with(&[asked.unit(), asked.function()])
                || self.framer.frame().starts_with(&[asked.unit(), asked.function() | EXCEPTION])
        });
        if begins_alike {
            self.give_up(now, current, Outcome::Crc);
        }
    }

    fn after_timeout(&mut self, now: Time) {
        let Some(current) = self.current.filter(|_| self.patience().is_some_and(|end| end <= now)) else {
            return;
        };
        self.give_up(now, current, current.verdict);
    }

    /// When the current exchange is given up. Not in the middle of a frame, but not for ever either.
    fn patience(&self) -> Option<Time> {
        let until = self.current?.until;
        match self.framer.silence_ends() {
            Some(end) if end > until => {
                Some(end.min(until + self.timing.on_the_line(MAX_FRAME) + self.timing.silence))
            }
            _ => Some(until),
        }
    }
}

impl Station for Master {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.after_silence(now);
        if self.silent_at <= now {
            self.noisy_since = None;
        }
        for &byte in bytes {
            self.framer.push(now, byte);
            if self.framer.is_whole(Form::Reply) {
                self.frame(now);
                self.framer.clear();
            }
        }
        self.after_timeout(now);
        if self.current.is_none() {
            self.noisy_since.get_or_insert(now);
        }
        // After a frame t3.5 will do; within one the port may hold bytes back.
        let in_frame = self.framer.collected() > 0;
        self.silent_at = now + if in_frame { self.timing.silence } else { self.timing.t35 };
        self.advance(now, tx);
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        self.after_silence(now);
        self.after_timeout(now);
        self.advance(now, tx);
    }

    fn deadline(&self) -> Option<Time> {
        let next = match self.current {
            Some(_) => self.patience(),
            None => self.first_due().map(|(when, _)| when.max(self.ready())),
        };
        [self.framer.silence_ends(), next].into_iter().flatten().min()
    }

    fn on_line(&mut self, now: Time, event: LineEvent, tx: &mut Tx) {
        self.framer.clear();
        self.closed = event != LineEvent::Opened;
        self.silent_at = now + self.timing.silence;
        if let Some(current) = self.current.filter(|_| self.closed) {
            self.give_up(now, current, Outcome::Timeout);
        }
        self.advance(now, tx);
    }
}
