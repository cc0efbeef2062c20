//! A Modbus master on one line: works through a poll list and through requests handed in from outside, one exchange at
//! a time, and puts what it reads where it belongs. What the line needs is in `line.rs`.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hilrig_points::Shared;
use hilrig_port::{Histogram, LineEvent, Station, Time, Tx};

use crate::frames::FrameSink;
use crate::framing::Framing;
use crate::line::{Ended, Line, Offer};
use crate::poll::{Outcome, Poll, PollResult, PollStats, Results, Source, Values};
use crate::rtu::{BROADCAST, Timing};

/// Requests from outside that can wait at once.
const WAITING_ONCE: usize = 64;

hilrig_port::counters! {
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
    enabled: bool,
}

impl Entry {
    fn new(poll: Poll, source: Source) -> Self {
        Self { poll, source, next: None, attempts: 0, enabled: true }
    }

    fn due(&self) -> Time {
        self.next.unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Poll(usize),
    Once,
    /// An entry that is not there any more.
    Nobody,
}

/// Where an entry of a poll list comes from that takes the place of another list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is this one of the old list, unchanged: it goes on in its rhythm, and its statistics do.
    Same(usize),
    /// It was this one: it begins anew, and rests if that one did.
    Changed(usize),
    New,
}

/// A Modbus master. Put it on a port with `Shard::add_station`.
#[derive(Debug)]
pub struct Master {
    line: Line,
    polls: Vec<Entry>,
    poll_stats: Vec<PollStats>,
    once: VecDeque<Entry>,
    /// Whose exchange is on the line.
    who: Option<Who>,
    paused: bool,
    /// Nobody is at the far end, as before the first `LineEvent::Opened`.
    closed: bool,
    plant: Option<Shared>,
    results: rtrb::Producer<PollResult>,
    stats: Arc<MasterStats>,
    round_trips: Histogram,
}

impl Master {
    /// A master with its poll list, and the ring with room for `room` results that it reports to. It speaks RTU
    /// unless told otherwise.
    pub fn new(timing: Timing, polls: impl IntoIterator<Item = Poll>, room: usize) -> (Self, Results) {
        let (results, reader) = rtrb::RingBuffer::new(room.max(1));
        let polls: Vec<Entry> =
            polls.into_iter().enumerate().map(|(i, p)| Entry::new(p, Source::Poll(i))).collect();
        let master = Self {
            line: Line::new(Framing::Rtu, timing),
            poll_stats: vec![PollStats::default(); polls.len()],
            polls,
            once: VecDeque::with_capacity(WAITING_ONCE),
            who: None,
            paused: false,
            closed: true,
            plant: None,
            results,
            stats: Arc::default(),
            round_trips: Histogram::default(),
        };
        (master, Results(reader))
    }

    /// How the frames look; Modbus TCP and RTU over TCP need a port that is a connection.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.line.set_framing(framing);
        self
    }

    /// How long to wait after a broadcast; 100 ms if not set (SL 2.4.1).
    #[must_use]
    pub fn turnaround(mut self, time: Duration) -> Self {
        self.line.turnaround = time;
        self
    }

    /// Where polls with [`Poll::into`] put what they read.
    #[must_use]
    pub fn plant(mut self, plant: Shared) -> Self {
        self.plant = Some(plant);
        self
    }

    /// Records every frame.
    #[must_use]
    pub fn frames(mut self, sink: FrameSink) -> Self {
        self.line.set_frames(sink);
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

    /// Stops or resumes the poll list; nobody at the far end does the same. The exchange on the line is brought to
    /// its end, without retries; requests handed in with [`submit`](Self::submit) go on.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Stops or resumes one entry of the poll list; `false` if there is no such. It goes on in its old rhythm, and
    /// what passed in between is not counted as overrun.
    pub fn enable(&mut self, now: Time, poll: usize, enabled: bool) -> bool {
        let Some(entry) = self.polls.get_mut(poll) else { return false };
        if enabled && !entry.enabled {
            let period = entry.poll.every.unwrap_or_default().as_nanos().max(1) as u64;
            entry.next = entry.next.map(|next| {
                let passed = (now.since(next).as_nanos() as u64).div_ceil(period);
                next + Duration::from_nanos(passed.saturating_mul(period))
            });
        }
        entry.enabled = enabled;
        true
    }

    /// Takes the poll list and the turnaround of `new`, which gets the old ones. `kept` says of each entry which it was.
    /// The exchange on the line is brought to its end.
    pub fn take_polls(&mut self, now: Time, new: &mut Self, kept: &[Kept]) {
        for (i, kept) in kept.iter().enumerate() {
            let (Some(entry), Some(stats)) = (new.polls.get_mut(i), new.poll_stats.get_mut(i)) else { break };
            match *kept {
                Kept::Same(old) if old < self.polls.len() => {
                    std::mem::swap(entry, &mut self.polls[old]);
                    std::mem::swap(stats, &mut self.poll_stats[old]);
                    entry.source = Source::Poll(i);
                    continue;
                }
                Kept::Changed(old) => entry.enabled = self.polls.get(old).is_none_or(|old| old.enabled),
                Kept::Same(_) | Kept::New => {}
            }
            entry.next = (!self.closed).then_some(now + entry.poll.phase);
        }
        if let Some(Who::Poll(old)) = self.who {
            let place = kept.iter().position(|kept| *kept == Kept::Same(old));
            self.who = Some(place.map_or(Who::Nobody, Who::Poll));
        }
        std::mem::swap(&mut self.polls, &mut new.polls);
        std::mem::swap(&mut self.poll_stats, &mut new.poll_stats);
        std::mem::swap(&mut self.line.turnaround, &mut new.line.turnaround);
    }

    /// No exchange is on the line and no request waits.
    pub fn is_idle(&self) -> bool {
        self.who.is_none() && self.once.is_empty()
    }

    /// The counters; readable from anywhere while the master runs.
    pub fn stats(&self) -> Arc<MasterStats> {
        self.stats.clone()
    }

    /// What came of one entry of the poll list so far.
    pub fn poll_stats(&self, poll: usize) -> Option<&PollStats> {
        self.poll_stats.get(poll)
    }

    /// Round trips of all good replies and exceptions so far.
    pub fn round_trips(&self) -> &Histogram {
        &self.round_trips
    }

    fn stats_of(&mut self, who: Who) -> Option<&mut PollStats> {
        match who {
            Who::Poll(i) => self.poll_stats.get_mut(i),
            Who::Once | Who::Nobody => None,
        }
    }

    /// Who may be asked at the earliest, and when; the line itself left aside.
    fn first_due(&self) -> Option<(Time, Who)> {
        let when = |e: &Entry| e.due().max(self.line.hold(e.poll.exchange.unit()));
        let polls = if self.paused || self.closed { &[] } else { &self.polls[..] };
        let once = self.once.front().map(|e| (when(e), Reverse(i16::MAX), Time(0), Who::Once));
        let polls = polls.iter().enumerate().filter(|(_, e)| e.enabled);
        let polls = polls.map(|(i, e)| (when(e), Reverse(e.poll.priority.into()), e.due(), Who::Poll(i)));
        let ready = self.line.ready();
        // Of those that can go when the line is free, the most important; of these the one that waits longest.
        once.into_iter()
            .chain(polls)
            .min_by_key(|&(when, priority, due, _)| (when.max(ready), priority, due))
            .map(|(when, _, _, who)| (when, who))
    }

    /// Sends the next request, if one is due and the line is free.
    fn advance(&mut self, now: Time, tx: &mut Tx) {
        if self.who.is_some() {
            return;
        }
        let Some((_, who)) = self.first_due().filter(|(when, _)| *when <= now) else { return };
        let entry = match who {
            Who::Poll(i) => self.polls.get_mut(i),
            Who::Once => self.once.front_mut(),
            Who::Nobody => None,
        };
        let Some(entry) = entry else { return };
        let exchange = &entry.poll.exchange;
        let offer = self.line.offer(now, exchange.unit(), exchange.pdu(), entry.poll.timeout, tx);
        if matches!(offer, Offer::Asked | Offer::Told) {
            self.stats.requests.add(1);
            self.stats.retries.add((entry.attempts > 0).into());
            entry.attempts = entry.attempts.saturating_add(1);
            entry.next.get_or_insert(now);
        }
        let to_all = exchange.unit() == BROADCAST;
        if let Some(stats) = self.stats_of(who) {
            stats.requests += u64::from(matches!(offer, Offer::Asked | Offer::Told));
        }
        let outcome = match offer {
            Offer::Later => return,
            Offer::Asked => {
                self.who = Some(who);
                return;
            }
            Offer::Told => {
                self.stats.broadcasts.add(to_all.into());
                Outcome::Ok
            }
            Offer::Busy => Outcome::LineBusy,
        };
        self.finish(who, Ended { outcome, sent: now, at: now }, offer == Offer::Told);
    }

    /// The exchange on the line is over.
    fn ended(&mut self, ended: Option<Ended>) {
        let (late, noise) = self.line.take_counts();
        self.stats.late_replies.add(late);
        self.stats.noise_bytes.add(noise);
        if let Some((ended, who)) = ended.zip(self.who.take_if(|_| ended.is_some())) {
            self.finish(who, ended, false);
        }
    }

    /// Reports an exchange, or leaves it due for another attempt. `told`: nobody was to answer.
    fn finish(&mut self, who: Who, ended: Ended, told: bool) {
        let Ended { outcome, sent, at } = ended;
        let (counter, answered) = match outcome {
            Outcome::Ok => (&self.stats.replies, true),
            Outcome::Exception(_) => (&self.stats.exceptions, true),
            Outcome::Timeout => (&self.stats.timeouts, false),
            Outcome::Crc => (&self.stats.crc_errors, false),
            Outcome::WrongUnit => (&self.stats.wrong_unit, false),
            Outcome::Mismatch => (&self.stats.mismatches, false),
            Outcome::LineBusy => (&self.stats.line_busy, false),
        };
        let round_trip = at.since(sent);
        if !told {
            counter.add(1);
            if answered {
                self.round_trips.record(round_trip);
            }
        }
        if let Some(stats) = self.stats_of(who) {
            stats.note(outcome, at, (answered && !told).then_some(round_trip));
        }
        let halted = self.paused && matches!(who, Who::Poll(_));
        let entry = match who {
            Who::Poll(i) => self.polls.get_mut(i),
            Who::Once => self.once.front_mut(),
            Who::Nobody => None,
        };
        let Some(entry) = entry else { return };
        if !answered && !halted && (1..=entry.poll.retries).contains(&entry.attempts) {
            return;
        }
        let values = match outcome {
            Outcome::Ok if !told => entry.poll.exchange.values(self.line.data()),
            _ => Values::default(),
        };
        if let (Some(cells), Some(plant), Outcome::Ok) = (entry.poll.into, &self.plant, outcome) {
            plant.with(|plant| cells.put(plant, &values));
        }
        let attempts = std::mem::take(&mut entry.attempts);
        let result = PollResult { source: entry.source, outcome, attempts, round_trip, at, values };
        match (who, entry.poll.every) {
            (Who::Once, _) => drop(self.once.pop_front()),
            (Who::Nobody, _) => {}
            (Who::Poll(_), None) => entry.next = Some(at),
            (Who::Poll(_), Some(period)) => {
                // Periods count from the plan, not from when it was carried out, so that lateness does not add up.
                let (due, period) = (entry.due(), period.max(Duration::from_nanos(1)));
                let passed = at.since(due).as_nanos() / period.as_nanos();
                self.stats.overruns.add(passed as u64);
                let periods = u32::try_from(passed + 1).unwrap_or(u32::MAX);
                entry.next = Some(due + period.saturating_mul(periods));
                if let Some(stats) = self.stats_of(who) {
                    stats.overruns += passed as u64;
                }
            }
        }
        // Without a reader there is nobody to lose them.
        if self.results.push(result).is_err() && !self.results.is_abandoned() {
            self.stats.results_lost.add(1);
        }
    }
}

impl Station for Master {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        let ended = self.line.on_bytes(now, bytes);
        self.ended(ended);
        self.advance(now, tx);
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        let ended = self.line.on_deadline(now);
        self.ended(ended);
        self.advance(now, tx);
    }

    fn deadline(&self) -> Option<Time> {
        let next = match self.who {
            Some(_) => None,
            None => self.first_due().map(|(when, _)| when.max(self.line.ready())),
        };
        [self.line.deadline(), next].into_iter().flatten().min()
    }

    fn on_line(&mut self, now: Time, event: LineEvent, tx: &mut Tx) {
        self.closed = event != LineEvent::Opened;
        let ended = self.line.on_line(now, event);
        self.ended(ended);
        if !self.closed {
            for entry in &mut self.polls {
                entry.next.get_or_insert(now + entry.poll.phase);
            }
        }
        self.advance(now, tx);
    }
}
