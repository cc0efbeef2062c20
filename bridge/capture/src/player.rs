//! Sends a recording again at its own times, and compares what the other end answers with what it answered then.
//! Sans-IO: a station for a shard.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use hilrig_port::{LineEvent, Signal, Station, Time, Tx};

use crate::{Recording, Side, What};

/// How to replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaySpec {
    /// What this side sent; without it what both sent, in order.
    pub only: Option<Side>,
    /// 2 is twice as fast as recorded, 0 as fast as the line takes it.
    pub speed: f64,
    /// Compare what comes with what the other side sent. What was recorded after an answer waits for that answer.
    pub expect: bool,
    /// How long to wait for bytes that should have come.
    pub patience: Duration,
}

impl Default for PlaySpec {
    fn default() -> Self {
        Self { only: None, speed: 1.0, expect: false, patience: Duration::from_secs(1) }
    }
}

/// The first place where the other end did not do what it did in the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How many of its bytes were as recorded.
    pub offset: u64,
    /// Since the start of the replay.
    pub at: Duration,
    /// What should have come from here on, at most 16 bytes; empty when nothing more should have come.
    pub expected: Vec<u8>,
    /// What came, at most 16 bytes; empty when nothing came in time.
    pub got: Vec<u8>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, at, expected, got } = self;
        write!(f, "at byte {offset}, {:.6} s after the start: ", at.as_secs_f64())?;
        match (expected.is_empty(), got.is_empty()) {
            (true, _) => write!(f, "nothing more was recorded, but {} came", Hex(got)),
            (_, true) => write!(f, "{} was recorded, but nothing came in time", Hex(expected)),
            _ => write!(f, "{} was recorded, but {} came", Hex(expected), Hex(got)),
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, b)| write!(f, "{}{b:02x}", if i == 0 { "" } else { " " }))
    }
}

/// How a replay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All was sent and, if that was asked for, all that was expected came and nothing else.
    Played,
    Differs(Difference),
    /// The far end left, or the port is gone.
    Left,
    /// For the time of the patience the line took nothing. Only when an answer is expected.
    Stalled,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Played => f.write_str("played to the end"),
            Self::Differs(difference) => write!(f, "the other end differs from the recording {difference}"),
            Self::Left => f.write_str("the far end left before the end of the recording"),
            Self::Stalled => f.write_str("the line took nothing more"),
        }
    }
}

/// How far a replay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// When the line was there.
    pub started: Option<Time>,
    pub sent: u64,
    pub to_send: u64,
    /// Bytes that came as recorded.
    pub matched: u64,
    pub to_match: u64,
    /// Since then the line has taken nothing, though something is due.
    pub stalled_since: Option<Time>,
    pub outcome: Option<Outcome>,
}

#[derive(Debug)]
enum Step {
    Send(Range<usize>),
    Expect(Range<usize>),
    Signal(Signal),
}

/// Longest piece that is queued at once.
const PIECE: usize = 1024;
/// How soon to look again whether the line takes more.
const RETRY: Duration = Duration::from_millis(1);
/// How long after the last expected byte another one is still a difference.
const SETTLE: Duration = Duration::from_millis(50);
/// Recordings say when a break was, not how long.
const BREAK: Duration = Duration::from_millis(20);
/// Most bytes shown of a difference.
const SHOWN: usize = 16;

/// One replay. Starts when the line is there.
#[derive(Debug)]
pub struct Player {
    recording: Recording,
    spec: PlaySpec,
    steps: Vec<(Duration, Step)>,
    /// Next step to send, and how much of it is sent.
    next: usize,
    within: usize,
    /// Next step to match, and how much of it is matched.
    awaited: usize,
    matched_within: usize,
    last_activity: Time,
    /// Not before this time: a break lasts, the line is full.
    hold: Time,
    over_at: Option<Time>,
    signals: VecDeque<Signal>,
    progress: Progress,
}

impl Player {
    /// An error is a sentence.
    pub fn new(recording: Recording, spec: PlaySpec) -> Result<Self, String> {
        if spec.speed != 0.0 && !(0.001..=1e6).contains(&spec.speed) {
            return Err("the speed of a replay is 0, or a number from 0.001 to 1000000".to_owned());
        }
        if spec.expect && spec.only.is_none() {
            return Err("a replay that expects answers needs the side that it plays (only)".to_owned());
        }
        let steps = recording.moments.iter().filter_map(|moment| {
            let played = spec.only.is_none_or(|side| side == moment.side);
            let step = match &moment.what {
                What::Bytes(range) if played => Step::Send(range.clone()),
                What::Bytes(range) if spec.expect => Step::Expect(range.clone()),
                What::Break if played => Step::Signal(Signal::Break(true)),
                What::Lines(lines) if played => Step::Signal(Signal::Lines(*lines)),
                _ => return None,
            };
            Some((moment.at, step))
        });
        let steps: Vec<_> = steps.collect();
        let total = |f: fn(&Step) -> Option<&Range<usize>>| {
            steps.iter().filter_map(|(_, step)| f(step)).map(|range| range.len() as u64).sum()
        };
        let progress = Progress {
            started: None,
            sent: 0,
            to_send: total(|step| if let Step::Send(range) = step { Some(range) } else { None }),
            matched: 0,
            to_match: total(|step| if let Step::Expect(range) = step { Some(range) } else { None }),
            stalled_since: None,
            outcome: None,
        };
        let mut player = Self {
            recording,
            spec,
            steps,
            next: 0,
            within: 0,
            awaited: 0,
            matched_within: 0,
            last_activity: Time(0),
            hold: Time(0),
            over_at: None,
            signals: VecDeque::with_capacity(4),
            progress,
        };
        player.skip();
        Ok(player)
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    fn running(&self) -> Option<Time> {
        self.progress.started.filter(|_| self.progress.outcome.is_none())
    }

    /// When a step is due: always counted from the start, so that lateness does not add up.
    fn due(&self, start: Time, step: usize) -> Time {
        match self.steps.get(step) {
            Some((at, _)) if self.spec.speed > 0.0 => start + at.div_f64(self.spec.speed),
            _ => start,
        }
    }

    /// Lets `next` and `awaited` stand on steps of their kind.
    fn skip(&mut self) {
        while let Some((_, Step::Expect(_))) = self.steps.get(self.next) {
            self.next += 1;
        }
        while let Some((_, Step::Send(_) | Step::Signal(_))) = self.steps.get(self.awaited) {
            self.awaited += 1;
        }
    }

    /// All that was recorded before the next step has come.
    fn answered(&self) -> bool {
        !self.spec.expect || self.awaited > self.next
    }

    fn end(&mut self, outcome: Outcome) {
        self.progress.outcome.get_or_insert(outcome);
        self.over_at = None;
    }

    fn differ(&mut self, now: Time, got: &[u8]) {
        let mut expected = Vec::with_capacity(SHOWN);
        let mut from = self.matched_within;
        for (_, step) in self.steps.get(self.awaited..).unwrap_or_default() {
            if let Step::Expect(range) = step {
                let bytes = self.recording.bytes(range).get(from..).unwrap_or_default();
                expected.extend(bytes.iter().take(SHOWN - expected.len()));
                from = 0;
            }
            if expected.len() == SHOWN {
                break;
            }
        }
        let difference = Difference {
            offset: self.progress.matched,
            at: now - self.progress.started.unwrap_or(now),
            expected,
            got: got[..got.len().min(SHOWN)].to_vec(),
        };
        self.end(Outcome::Differs(difference));
    }

    /// Sends what is due, as far as the line takes it.
    fn play(&mut self, now: Time, tx: &mut Tx) {
        let Some(start) = self.running() else { return };
        while now >= self.hold && self.answered() && self.due(start, self.next) <= now {
            match self.steps.get(self.next) {
                Some((_, Step::Send(range))) => {
                    let rest = self.recording.bytes(range).get(self.within..).unwrap_or_default();
                    let piece = &rest[..rest.len().min(PIECE)];
                    if !tx.send(piece) {
                        self.hold = now + RETRY;
                        self.progress.stalled_since.get_or_insert(now);
                        break;
                    }
                    self.progress.stalled_since = None;
                    self.within += piece.len();
                    self.progress.sent += piece.len() as u64;
                    if piece.len() < rest.len() {
                        continue;
                    }
                }
                Some((_, Step::Signal(signal))) => {
                    // In order with the bytes.
                    if !tx.pending().is_empty() {
                        self.hold = now + RETRY;
                        break;
                    }
                    self.signals.push_back(*signal);
                    if *signal == Signal::Break(true) {
                        self.hold = now + BREAK;
                        self.steps[self.next].1 = Step::Signal(Signal::Break(false));
                        continue;
                    }
                }
                _ => break,
            }
            self.within = 0;
            self.last_activity = now;
            self.next += 1;
            self.skip();
        }
        if self.next >= self.steps.len() && self.awaited >= self.steps.len() && self.over_at.is_none() {
            let settle = if self.spec.expect { SETTLE.min(self.spec.patience) } else { Duration::ZERO };
            self.over_at = Some(now + settle);
        }
    }

    /// When too little has come for too long, or the line has taken nothing for too long.
    fn patience_ends(&self, start: Time) -> Option<Time> {
        if !self.spec.expect {
            return None;
        }
        let waits_for_line = self.progress.stalled_since.filter(|_| self.awaited > self.next);
        let waits_for_bytes = (self.awaited < self.next.min(self.steps.len()))
            .then(|| self.due(start, self.awaited).max(self.last_activity));
        waits_for_line.or(waits_for_bytes).map(|since| since + self.spec.patience)
    }
}

impl Station for Player {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        if self.running().is_none() || !self.spec.expect {
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let wanted = match self.steps.get(self.awaited) {
                Some((_, Step::Expect(range))) => self.recording.bytes(range),
                _ => &[],
            };
            let wanted = wanted.get(self.matched_within..).unwrap_or_default();
            let same = wanted.iter().zip(rest).take_while(|(a, b)| a == b).count();
            let whole = same == wanted.len();
            self.matched_within += same;
            self.progress.matched += same as u64;
            rest = &rest[same..];
            if (!whole || wanted.is_empty()) && !rest.is_empty() {
                return self.differ(now, rest);
            }
            self.last_activity = now;
            if whole {
                self.matched_within = 0;
                self.awaited += 1;
                self.skip();
            }
        }
        self.play(now, tx);
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        let Some(start) = self.running() else { return };
        if let Some(at) = self.over_at {
            if at <= now {
                if tx.pending().is_empty() {
                    self.end(Outcome::Played);
                } else {
                    self.over_at = Some(now + RETRY);
                }
            }
            return;
        }
        if self.patience_ends(start).is_some_and(|at| at <= now) {
            if self.progress.stalled_since.is_some() {
                return self.end(Outcome::Stalled);
            }
            return self.differ(now, &[]);
        }
        self.play(now, tx);
    }

    fn deadline(&self) -> Option<Time> {
        let start = self.running()?;
        if self.over_at.is_some() {
            return self.over_at;
        }
        let send = (self.next < self.steps.len() && self.answered())
            .then(|| self.due(start, self.next).max(self.hold));
        [send, self.patience_ends(start)].into_iter().flatten().min()
    }

    fn take_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    fn on_line(&mut self, now: Time, event: LineEvent, tx: &mut Tx) {
        match event {
            LineEvent::Opened if self.progress.started.is_none() => {
                self.progress.started = Some(now);
                self.last_activity = now;
                self.play(now, tx);
            }
            LineEvent::Closed | LineEvent::Lost if self.progress.started.is_some() => {
                self.end(Outcome::Left);
            }
            LineEvent::Lost => self.end(Outcome::Left),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "player_tests.rs"]
mod tests;
