//! The conduit: joins frames, faults and the wire of both directions. Decides nothing itself.

use hilrig_port::{Account, Conduit, Direction, Lines, Note, Out, Purge, Signal, Time};

use crate::fault::{CAPACITY, Stage};
use crate::frames::Frames;
use crate::notes::Notes;
use crate::prepare::{Prepared, prepare};
use crate::queue::{Event, TRUE_RATE};
use crate::rules::Rules;
use crate::wire::{Shown, Wire};
use crate::{CoreSpec, FaultRule, MAX_RULES, RuleError, RuleReport};

/// Answer of [`LinkCore::arm`].
#[derive(Debug)]
pub struct Armed {
    /// As in notes and reports.
    pub number: u32,
    /// An old rule that could fire no more and gave way, for the control side to drop.
    pub displaced: Option<Prepared>,
}

/// What stands in a link: a wire and fault rules.
#[derive(Debug)]
pub struct LinkCore {
    /// The latest time that was told.
    now: Option<Time>,
    frames: Frames,
    rules: Rules,
    stages: [Stage; 2],
    wire: Wire,
    notes: Notes,
    shown: [Option<Showing>; 2],
}

#[derive(Debug, Clone, Copy)]
enum Showing {
    Lines,
    Wire(Shown),
}

const DIRECTIONS: [Direction; 2] = [Direction::AToB, Direction::BToA];
/// What an end whose lines nobody has told is taken to show.
const READY: Lines = Lines(Lines::CTS.0 | Lines::DSR.0 | Lines::DCD.0 | Lines::RTS.0 | Lines::DTR.0);

impl LinkCore {
    /// Checks the wire and the rules, which are armed from the first moment on, and allocates all memory.
    pub fn new(spec: CoreSpec) -> Result<Self, RuleError> {
        let wrong = |key, what: String| Err(RuleError { rule: String::new(), key, what });
        if let Some(wire) = &spec.wire {
            if !(0.0..=0.5).contains(&wire.noise) {
                return wrong("wire.noise", format!("{} is not between 0 and 0.5", wire.noise));
            }
            if wire.baud.is_some_and(|baud| !(1..=20_000_000).contains(&baud)) {
                return wrong("wire.baud", "is not a whole number from 1 to 20000000".to_owned());
            }
        }
        if spec.terminator.len() > 64 {
            return wrong(
                "terminator",
                format!("has {} bytes; at most 64 are possible", spec.terminator.len()),
            );
        }
        if spec.faults.len() > MAX_RULES {
            return wrong("faults", format!("{} rules; a link holds {MAX_RULES}", spec.faults.len()));
        }
        let mut core = Self {
            now: None,
            frames: Frames::new(spec.silence, spec.allowance, &spec.terminator),
            rules: Rules::new(spec.seed),
            stages: [Stage::new(0), Stage::new(1)],
            wire: Wire::new(spec.wire, spec.seed, spec.settings),
            notes: Notes::new(),
            shown: Default::default(),
        };
        for (i, rule) in spec.faults.iter().enumerate() {
            if spec.faults[..i].iter().any(|other| other.id == rule.id) {
                let what = "another rule of this link has the same name".to_owned();
                return Err(RuleError { rule: rule.id.clone(), key: "id", what });
            }
            // There is room: their number was checked.
            let _ = core.rules.arm(Time(0), [0, 0], prepare(rule)?);
        }
        Ok(core)
    }

    /// Checks a rule and allocates what it needs; for the control side.
    pub fn prepare(rule: &FaultRule) -> Result<Prepared, RuleError> {
        prepare(rule)
    }

    /// Arms a rule from `now` on: for bytes that come, and frames that begin, from now on. Hands it back when
    /// [`MAX_RULES`] rules can all still fire.
    pub fn arm(&mut self, now: Time, rule: Prepared) -> Result<Armed, Prepared> {
        let now = self.tick(now);
        let places = [self.stages[0].next_place(), self.stages[1].next_place()];
        let (slot, armed) = self.rules.arm(now, places, rule)?;
        for stage in &mut self.stages {
            stage.forget(slot);
        }
        Ok(armed)
    }

    /// The rules of this name begin nothing more; they stay in the report. Answers whether there was one.
    pub fn clear(&mut self, id: &str) -> bool {
        self.rules.clear(id)
    }

    /// The rules, in the order in which they were armed; of old ones that can fire no more only as many as there is
    /// room for. Allocates: for the end of a run and for status.
    pub fn report(&self) -> Vec<RuleReport> {
        self.rules.report()
    }

    /// Time never runs back, and what was to happen by itself until `now` has happened.
    fn tick(&mut self, now: Time) -> Time {
        let now = match self.now {
            Some(last) if last >= now => return last,
            Some(_) => now,
            None => {
                self.rules.start(now);
                now
            }
        };
        self.now = Some(now);
        for d in 0..2 {
            self.end_frame(now, d);
            while let Some((rule, number, at)) = self.rules.moment_due(now, d) {
                self.stages[d].push_moment(at, rule, number);
            }
            self.stages[d].lines.tick(now);
            self.work(now, d);
        }
        self.wire.run(now);
        now
    }

    fn end_frame(&mut self, now: Time, d: usize) {
        if let Some(over) = self.frames.tick(now, DIRECTIONS[d])
            && !self.stages[d].is_clear(&self.rules)
        {
            self.stages[d].push_end(over);
        }
    }

    fn work(&mut self, now: Time, d: usize) {
        self.stages[d].work(now, &mut self.rules, &mut self.wire.lanes[d].tx, &mut self.notes);
    }

    fn pending(&self, d: usize) -> usize {
        self.stages[d].pending() + self.wire.pending(d)
    }
}

impl Conduit for LinkCore {
    fn room(&self, direction: Direction) -> usize {
        let d = direction.index();
        let entries = self.stages[d].free_entries().min(self.wire.lanes[d].tx.free_entries());
        // Each terminator makes two entries, a push in other cases no more than two.
        let entries = if self.frames.by_terminator() { entries / 2 } else { entries / 2 * CAPACITY };
        CAPACITY.saturating_sub(self.pending(d)).min(entries)
    }

    fn push(&mut self, now: Time, direction: Direction, bytes: &[u8]) {
        let now = self.tick(now);
        let d = direction.index();
        if bytes.is_empty() {
            return;
        }
        // What the other side has said is over now, and comes first.
        self.frames.speaks(now, direction);
        self.end_frame(now, 1 - d);
        self.work(now, 1 - d);
        let (stage, tx) = (&mut self.stages[d], &mut self.wire.lanes[d].tx);
        if stage.is_clear(&self.rules) {
            self.frames.arrive(now, direction, bytes, |_, _, _| ());
            let due = stage.bypass(now, bytes.len());
            tx.push(due, TRUE_RATE, bytes);
        } else {
            let mut rest = bytes;
            self.frames.arrive(now, direction, bytes, |n, begins, ends| {
                let (piece, tail) = rest.split_at(n);
                stage.push(now, piece, begins);
                rest = tail;
                if ends {
                    stage.push_end(now);
                }
            });
            self.work(now, d);
        }
        self.wire.run(now);
    }

    fn signal(&mut self, now: Time, direction: Direction, signal: Signal) {
        let now = self.tick(now);
        let d = direction.index();
        let event = match signal {
            Signal::Break(on) => Event::Break(on),
            Signal::Error(error) => Event::Error(error),
            Signal::Lines(lines) => {
                self.stages[d].lines.news |= self.stages[d].lines.until.is_some();
                return self.wire.set_lines(now, d, lines);
            }
            Signal::Settings(settings) => {
                self.wire.set(now, d, settings);
                return self.wire.run(now);
            }
            Signal::Purge(purge) => {
                if matches!(purge, Purge::Output | Purge::Both) {
                    let stage = &mut self.stages[d];
                    stage.dropped += stage.discard(&mut self.rules, &mut self.notes);
                    self.wire.purge_tx(d);
                }
                if matches!(purge, Purge::Input | Purge::Both) {
                    self.wire.purge_rx(now, 1 - d);
                    self.work(now, 1 - d);
                }
                return self.wire.run(now);
            }
            Signal::Unplug(_) => return,
        };
        if self.stages[d].is_clear(&self.rules) {
            let due = self.stages[d].bypass(now, 0);
            self.wire.lanes[d].tx.push_event(due, event);
        } else {
            self.stages[d].push_event(now, event);
            self.work(now, d);
        }
        self.wire.run(now);
    }

    fn next(&mut self, now: Time, direction: Direction) -> Option<Out<'_>> {
        let now = self.tick(now);
        let d = direction.index();
        let lines = &self.stages[d].lines;
        if lines.news {
            self.shown[d] = Some(Showing::Lines);
            let known = self.wire.lines(d).unwrap_or(READY);
            return Some(Out::Signal(Signal::Lines(known & !lines.mask)));
        }
        let shown = self.wire.next(now, d);
        self.shown[d] = shown.map(Showing::Wire);
        Some(match shown? {
            Shown::Rx => Out::Bytes(self.wire.lanes[d].rx.bytes()),
            Shown::Tx(n) => Out::Bytes(&self.wire.lanes[d].tx.bytes()[..n]),
            Shown::RxEvent(event) | Shown::TxEvent(event, _) => Out::Signal(event.signal()),
        })
    }

    fn advance(&mut self, now: Time, direction: Direction, n: usize) {
        let now = self.tick(now);
        let d = direction.index();
        match self.shown[d].take() {
            Some(Showing::Lines) => self.stages[d].lines.news = false,
            Some(Showing::Wire(shown)) => {
                let lane = &self.wire.lanes[d];
                let taken = match shown {
                    Shown::Rx => &lane.rx.bytes()[..n],
                    Shown::Tx(_) => &lane.tx.bytes()[..n],
                    _ => &[],
                };
                let xoff = self.wire.listens_for_xoff(d).then(|| Wire::last_xoff(taken)).flatten();
                self.wire.take(now, d, shown, n);
                if let Some(off) = xoff {
                    self.wire.set_xoff(now, 1 - d, off);
                }
            }
            None => {}
        }
        self.work(now, d);
        self.wire.run(now);
    }

    fn discard(&mut self, now: Time, direction: Direction) -> u64 {
        let now = self.tick(now);
        let d = direction.index();
        self.shown[d] = None;
        let n = self.stages[d].discard(&mut self.rules, &mut self.notes) + self.wire.discard(d);
        self.wire.run(now);
        n
    }

    fn deadline(&self) -> Option<Time> {
        let Some(now) = self.now else {
            // Times of rules count from the first moment.
            return Some(Time(0));
        };
        // What is due already waits for its receiver, not for a time.
        let later = |at: &Time| *at > now;
        let of = |d: usize| {
            let stage = &self.stages[d];
            let over = self.frames.over_at(DIRECTIONS[d]).filter(|_| stage.waits_for_end(&self.rules));
            [over, stage.deadline(), self.wire.deadline(d)].into_iter().flatten().filter(later).min()
        };
        of(0).into_iter().chain(of(1)).chain(self.rules.moment.filter(later)).min()
    }

    fn on_deadline(&mut self, now: Time) {
        self.tick(now);
    }

    fn account(&self, direction: Direction) -> Account {
        let d = direction.index();
        let (stage, lane) = (&self.stages[d], &self.wire.lanes[d]);
        Account {
            dropped: stage.dropped + lane.dropped,
            inserted: stage.inserted + lane.inserted,
            pending: self.pending(d) as u64,
        }
    }

    fn note(&mut self) -> Option<Note> {
        self.notes.pop()
    }
}
