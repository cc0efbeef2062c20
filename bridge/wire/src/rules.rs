//! The rules that stand on a link: which can fire, what each has done. Touches no bytes.

use hilrig_port::{Direction, Note, Time};
use rand_pcg::Pcg32;

use crate::notes::Notes;
use crate::prepare::{Action, MAX_BITS, Rule};
use crate::random::hash;
use crate::report::FIRINGS_KEPT;
use crate::trigger::{Lane, below};
use crate::{Armed, Firing, MAX_RULES, Prepared, RuleReport, Unit};

/// A firing that is under way in one direction.
#[derive(Debug)]
pub(crate) struct Fire {
    firing: Firing,
    /// Bytes or frames that are still to come.
    pub left: u32,
    /// Bytes of this byte's run or this frame that have passed.
    pub passed: u64,
    pub jitter: u64,
    pub bits: [u32; MAX_BITS],
}

#[derive(Debug)]
pub(crate) struct Live {
    pub rule: Box<Rule>,
    pub number: u32,
    armed: bool,
    fired: u64,
    bytes: u64,
    pub lanes: [Lane; 2],
    pub fires: [Fire; 2],
}

#[derive(Debug)]
pub(crate) struct Rules {
    list: Vec<Live>,
    /// By direction: which can still fire.
    live: [u32; 2],
    /// By direction: whose firing is under way.
    active: [u32; 2],
    /// By direction: which look at bytes.
    of_bytes: [u32; 2],
    next: u32,
    seed: u64,
    /// The earliest moment that a rule waits for.
    pub moment: Option<Time>,
}

/// The places of the ones in a mask.
pub(crate) fn ones(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let i = (mask != 0).then_some(mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(i)
    })
}

/// A stream of random numbers of a rule, one of four: from its name, so that other rules do not change it.
fn stream(id: &str, again: u64, which: usize) -> u64 {
    (hash(id) ^ again.rotate_left(32)).wrapping_mul(4).wrapping_add(which as u64)
}

impl Rules {
    pub fn new(seed: u64) -> Self {
        Self {
            list: Vec::with_capacity(MAX_RULES),
            live: [0; 2],
            active: [0; 2],
            of_bytes: [0; 2],
            next: 0,
            seed,
            moment: None,
        }
    }

    pub fn get(&mut self, i: usize) -> &mut Live {
        &mut self.list[i]
    }

    pub fn live(&self, d: usize) -> u32 {
        self.live[d]
    }

    pub fn active(&self, d: usize) -> u32 {
        self.active[d]
    }

    pub fn of_bytes(&self, d: usize) -> u32 {
        self.of_bytes[d]
    }

    /// Puts it into a free slot, or that of the oldest rule that can fire no more. Answers the slot, too.
    pub fn arm(&mut self, now: Time, places: [u64; 2], rule: Prepared) -> Result<(usize, Armed), Prepared> {
        let busy = self.live[0] | self.live[1] | self.active[0] | self.active[1];
        let slot = match self.list.len() {
            MAX_RULES => ones(!busy).min_by_key(|i| self.list[*i].number),
            n => Some(n),
        };
        let Some(slot) = slot else { return Err(rule) };
        let again = self.list.iter().filter(|live| live.rule.id == rule.0.id).count() as u64;
        let (number, seed) = (self.next, self.seed);
        self.next += 1;
        let rng = |which: usize| Pcg32::new(seed, stream(&rule.0.id, again, which));
        let lane = |d: usize| Lane::new(places[d], now, [rng(d), rng(d + 2)]);
        let fire = |direction| Fire {
            firing: Firing { at: now, direction, position: 0, bytes: 0 },
            left: 0,
            passed: 0,
            jitter: 0,
            bits: [0; MAX_BITS],
        };
        let live = Live {
            lanes: [lane(0), lane(1)],
            fires: [fire(Direction::AToB), fire(Direction::BToA)],
            rule: rule.0,
            number,
            armed: true,
            fired: 0,
            bytes: 0,
        };
        let displaced = match self.list.get_mut(slot) {
            Some(old) => Some(Prepared(std::mem::replace(old, live).rule)),
            None => {
                self.list.push(live);
                None
            }
        };
        self.refresh();
        Ok((slot, Armed { number, displaced }))
    }

    /// Those armed before the first moment was known are armed at it.
    pub fn start(&mut self, now: Time) {
        for live in &mut self.list {
            live.lanes.iter_mut().for_each(|lane| lane.since = now);
        }
        self.refresh();
    }

    pub fn clear(&mut self, id: &str) -> bool {
        let mut any = false;
        for live in self.list.iter_mut().filter(|live| &*live.rule.id == id) {
            any = true;
            live.armed = false;
            live.fires.iter_mut().for_each(|fire| fire.left = fire.left.min(1));
        }
        self.refresh();
        any
    }

    fn refresh(&mut self) {
        (self.live, self.of_bytes, self.moment) = ([0; 2], [0; 2], None);
        for (i, live) in self.list.iter().enumerate() {
            if !live.can_fire() {
                continue;
            }
            for d in 0..2 {
                let lane = &live.lanes[d];
                if !live.rule.directions[d] || lane.moment_over {
                    continue;
                }
                self.live[d] |= 1 << i;
                if let Some(moment) = live.rule.trigger.moment.filter(|_| live.rule.action.needs_no_byte()) {
                    let at = lane.since + moment;
                    self.moment = Some(self.moment.map_or(at, |first| first.min(at)));
                } else if live.rule.trigger.unit == Unit::Byte {
                    self.of_bytes[d] |= 1 << i;
                }
            }
        }
    }

    /// A rule whose moment has come, and when that was.
    pub fn moment_due(&mut self, now: Time, d: usize) -> Option<(usize, u32, Time)> {
        self.moment.filter(|at| *at <= now)?;
        let found = ones(self.live[d]).find_map(|i| {
            let live = &self.list[i];
            let moment = live.rule.trigger.moment.filter(|_| live.rule.action.needs_no_byte())?;
            Some((i, live.lanes[d].since + moment)).filter(|(_, at)| *at <= now)
        })?;
        let lane = &mut self.list[found.0].lanes[d];
        lane.moment_over = true;
        lane.seen += 1;
        let number = self.list[found.0].number;
        self.refresh();
        Some((found.0, number, found.1))
    }

    /// It fires; `false` if it may not any more.
    pub fn begin(&mut self, i: usize, d: usize, at: Time, position: u64) -> bool {
        let live = &mut self.list[i];
        if !live.can_fire() {
            return false;
        }
        live.fired += 1;
        let fire = &mut live.fires[d];
        (fire.firing.at, fire.firing.position, fire.firing.bytes) = (at, position, 0);
        (fire.left, fire.passed, fire.jitter) = (live.rule.span, 0, 0);
        self.active[d] |= 1 << i;
        let over = live.rule.trigger.moment.is_some();
        if !live.can_fire() || over {
            self.refresh();
        }
        true
    }

    /// It touched so many bytes more.
    pub fn touch(&mut self, i: usize, d: usize, bytes: u64) {
        self.list[i].fires[d].firing.bytes += bytes;
    }

    pub fn finish(&mut self, i: usize, d: usize, notes: &mut Notes) {
        let live = &mut self.list[i];
        let firing = live.fires[d].firing;
        live.bytes += firing.bytes;
        if live.rule.firings.len() == FIRINGS_KEPT {
            live.rule.firings.pop_front();
        }
        live.rule.firings.push_back(firing);
        self.active[d] &= !(1 << i);
        notes.push(Note {
            at: firing.at,
            direction: firing.direction,
            position: firing.position,
            rule: live.number,
            bytes: u32::try_from(firing.bytes).unwrap_or(u32::MAX),
            total: (live.fired, live.bytes),
        });
    }

    /// Nothing of what was under way is left.
    pub fn finish_all(&mut self, d: usize, notes: &mut Notes) {
        for i in ones(self.active[d]) {
            self.finish(i, d, notes);
        }
        for live in &mut self.list {
            (live.lanes[d].in_frame, live.lanes[d].hit) = (false, None);
        }
    }

    pub fn report(&self) -> Vec<RuleReport> {
        let report = |(i, live): (usize, &Live)| {
            let under_way = (0..2).filter(|d| self.active[*d] & 1 << i != 0).map(|d| live.fires[d].firing);
            let bytes = live.bytes + under_way.clone().map(|f| f.bytes).sum::<u64>();
            let mut firings: Vec<Firing> = live.rule.firings.iter().copied().chain(under_way).collect();
            firings.drain(..firings.len().saturating_sub(FIRINGS_KEPT));
            RuleReport {
                id: live.rule.id.to_string(),
                number: live.number,
                armed: (self.live[0] | self.live[1]) & 1 << i != 0,
                fired: live.fired,
                seen: live.lanes[0].seen + live.lanes[1].seen,
                bytes,
                firings,
            }
        };
        let mut reports: Vec<RuleReport> = self.list.iter().enumerate().map(report).collect();
        reports.sort_by_key(|report| report.number);
        reports
    }
}

impl Live {
    fn can_fire(&self) -> bool {
        self.armed && self.fired < self.rule.count
    }

    /// Chooses the bits to turn over among the first `bits` ones.
    pub fn choose_bits(&mut self, d: usize, bits: u64) {
        let Action::Bits(wanted) = self.rule.action else { return };
        let (fire, rng) = (&mut self.fires[d], &mut self.lanes[d].dice);
        fire.bits = [u32::MAX; MAX_BITS];
        for i in 0..(u64::from(wanted).min(bits) as usize) {
            fire.bits[i] = loop {
                let bit = below(rng, bits) as u32;
                if !fire.bits[..i].contains(&bit) {
                    break bit;
                }
            };
        }
    }

    /// The chosen bits that are in the byte at this place.
    pub fn bits_at(&self, d: usize, place: u64) -> u8 {
        let of_byte = self.fires[d].bits.iter().filter(|bit| u64::from(**bit) / 8 == place);
        of_byte.fold(0, |mask, bit| mask | 1 << (bit % 8))
    }
}
