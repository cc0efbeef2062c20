//! The rules that stand at one port: which act on a reply, and what each has done. Touches no bytes.

use std::collections::VecDeque;

use hilrig_points::Table;
use hilrig_port::Time;
use hilrig_wire::random::hash;

use super::Prepared;
use super::dice::Dice;
use super::prepare::Effect;
use crate::framing::Framing;

/// How many rules a port holds at once.
const MAX_RULES: usize = 64;
/// How many firings of a rule are kept with time and frame, the last ones; all are counted.
const FIRINGS_KEPT: usize = 64;

/// A rule that found no room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "fault {name} cannot be armed: {MAX_RULES} rules are the most of one port; give it the name of one that is done"
)]
pub struct TooManyRules {
    pub name: String,
}

/// The request whose reply is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub framing: Framing,
    /// Of the request among those of the port.
    pub number: u64,
    pub unit: u8,
    pub function: u8,
    pub addresses: Option<(Table, u16, u16)>,
}

/// One firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    pub at: Time,
    /// Number of the request among those of the port, as in its frame records.
    pub frame: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleReport {
    pub name: String,
    /// As in `FrameKind::Fault`.
    pub number: u32,
    /// It can still fire.
    pub armed: bool,
    /// Replies that it could have acted on, but for `nth`, `every`, `probability` and `count`.
    pub seen: u64,
    pub fired: u64,
    /// The last 64, oldest first.
    pub firings: Vec<Fired>,
}

#[derive(Debug)]
struct Live {
    rule: Prepared,
    number: u32,
    armed: bool,
    since: Time,
    seen: u64,
    fired: u64,
    firings: VecDeque<Fired>,
}

/// The rules that act on a reply, in order.
#[derive(Debug)]
pub(crate) struct Chosen {
    rules: [u8; MAX_RULES],
    len: usize,
}

impl Default for Chosen {
    fn default() -> Self {
        Self { rules: [0; MAX_RULES], len: 0 }
    }
}

impl Chosen {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The fault rules of one port, with their seed.
#[derive(Debug)]
pub struct ReplyFaults {
    seed: u64,
    rules: Vec<Live>,
    next: u32,
    armed: usize,
}

impl Default for ReplyFaults {
    fn default() -> Self {
        Self::new(0)
    }
}

impl ReplyFaults {
    pub fn new(seed: u64) -> Self {
        Self { seed, rules: Vec::new(), next: 0, armed: 0 }
    }

    /// Those of one of several ports, whose name makes them independent of those of the others.
    pub fn of_port(seed: u64, port: &str) -> Self {
        Self::new(seed ^ hash(port))
    }

    /// Puts a rule behind the others, armed unless it says otherwise; one of the same name is replaced in its place.
    /// Answers its number. Allocates.
    ///
    /// # Errors
    /// There are 64 rules already.
    pub fn arm(&mut self, now: Time, rule: Prepared) -> Result<u32, TooManyRules> {
        let place = self.rules.iter().position(|live| live.rule.name == rule.name);
        if place.is_none() && self.rules.len() == MAX_RULES {
            return Err(TooManyRules { name: rule.name.into() });
        }
        let number = self.next;
        self.next += 1;
        let live = Live {
            armed: rule.armed,
            rule,
            number,
            since: now,
            seen: 0,
            fired: 0,
            firings: VecDeque::with_capacity(FIRINGS_KEPT),
        };
        match place {
            Some(i) => self.rules[i] = live,
            None => self.rules.push(live),
        }
        self.count();
        Ok(number)
    }

    /// Arms a rule that is there, from now on and as if it had never fired; its reported counts go on.
    pub fn arm_by_name(&mut self, now: Time, name: &str) -> bool {
        let Some(live) = self.rules.iter_mut().find(|live| &*live.rule.name == name) else { return false };
        live.rule.when.count = live.rule.when.count.saturating_add(live.fired);
        (live.armed, live.since) = (true, now);
        self.count();
        true
    }

    /// Disarms a rule; its counts stay.
    pub fn clear(&mut self, name: &str) -> bool {
        let found = self.rules.iter_mut().find(|live| &*live.rule.name == name);
        let known = found.map(|live| live.armed = false).is_some();
        self.count();
        known
    }

    /// Takes the place of others: rules that are the same go on with their counts, and so do those that only the others
    /// have and that were armed by hand. Numbers stay unique.
    pub fn adopt(&mut self, others: &mut Self, by_hand: impl Fn(&str) -> bool) {
        self.rules.iter_mut().for_each(|live| live.number += others.next);
        self.next += others.next;
        for mut other in others.rules.drain(..) {
            let full = self.rules.len() == MAX_RULES;
            match self.rules.iter_mut().find(|live| live.rule.name == other.rule.name) {
                Some(live) if live.rule == other.rule => std::mem::swap(live, &mut other),
                None if by_hand(&other.rule.name) && !full => self.rules.push(other),
                _ => {}
            }
        }
        self.count();
    }

    /// Those armed before the first moment was known are armed at it.
    pub fn begin(&mut self, now: Time) {
        self.rules.iter_mut().for_each(|live| live.since = now);
    }

    fn count(&mut self) {
        self.armed = self.rules.iter().filter(|live| live.armed).count();
    }

    /// What became of each rule, in their order.
    pub fn report(&self) -> Vec<RuleReport> {
        let report = |live: &Live| RuleReport {
            name: live.rule.name.to_string(),
            number: live.number,
            armed: live.armed,
            seen: live.seen,
            fired: live.fired,
            firings: live.firings.iter().copied().collect(),
        };
        self.rules.iter().map(report).collect()
    }

    /// No rule can act.
    pub(crate) fn is_idle(&self) -> bool {
        self.armed == 0
    }

    /// Which rules act on this reply.
    pub(crate) fn choose(&mut self, now: Time, asked: &Asked) -> Chosen {
        let mut chosen = Chosen::default();
        let mut exhausted = false;
        for (i, live) in self.rules.iter_mut().enumerate() {
            if !live.fires(now, self.seed, asked) {
                continue;
            }
            live.fired += 1;
            if live.fired >= live.rule.when.count {
                live.armed = false;
                exhausted = true;
            }
            if live.firings.len() == FIRINGS_KEPT {
                live.firings.pop_front();
            }
            live.firings.push_back(Fired { at: now, frame: asked.number });
            chosen.rules[chosen.len] = i as u8;
            chosen.len += 1;
        }
        if exhausted {
            self.count();
        }
        chosen
    }

    /// Number, effect and dice of those chosen, in order.
    pub(crate) fn effects<'a>(
        &'a self,
        chosen: &'a Chosen,
    ) -> impl Iterator<Item = (u32, &'a Effect, Dice)> + Clone + 'a {
        chosen.rules[..chosen.len].iter().map(|i| {
            let live = &self.rules[usize::from(*i)];
            // Apart from those that `probability` throws.
            let dice = Dice::new(self.seed, !live.rule.stream, live.fired);
            (live.number, &live.rule.effect, dice)
        })
    }
}

impl Live {
    fn fires(&mut self, now: Time, seed: u64, asked: &Asked) -> bool {
        let when = &self.rule.when;
        let time = now.since(self.since);
        let within = |(low, high): (u16, u16), first, last| low <= last && first <= high;
        let fits = self.armed
            && self.rule.effect.fits(asked.framing)
            && when.unit.is_none_or(|unit| unit == asked.unit)
            && when.function.is_none_or(|function| function == asked.function)
            && (when.table.is_none() && when.addresses.is_none() && when.quantity.is_none()
                || asked.addresses.is_some_and(|(table, first, last)| {
                    when.table.is_none_or(|wanted| wanted == table)
                        && when.addresses.is_none_or(|range| within(range, first, last))
                        && when.quantity.is_none_or(|quantity| last - first == quantity - 1)
                }))
            && time >= when.from
            && when.until.is_none_or(|until| time < until);
        if !fits {
            return false;
        }
        self.seen += 1;
        when.nth.is_none_or(|nth| nth == self.seen)
            && self.seen.is_multiple_of(when.every)
            && when
                .chance
                .is_none_or(|chance| Dice::new(seed, self.rule.stream, self.seen).next() >> 32 < chance)
    }
}
