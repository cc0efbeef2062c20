//! What rules do to one byte, and what a firing does that needs none. Chooses nothing: which rules fire is known.

use std::time::Duration;

use hilrig_port::{CharError, Time};
use rand_pcg::rand_core::Rng;

use super::Stage;
use crate::Unit;
use crate::notes::Notes;
use crate::prepare::{Action, MAX_INSERT};
use crate::queue::{Event, Queue, TRUE_RATE};
use crate::rules::{Rules, ones};
use crate::trigger::below;

/// What one byte becomes.
#[derive(Default)]
struct Fate {
    mask: u8,
    gone: bool,
    held: bool,
    copies: u32,
    error: Option<CharError>,
    delay: Duration,
    rate: Option<u16>,
    after: u32,
    collect: bool,
}

impl Stage {
    /// The byte at the front, with all that acts on it.
    pub(super) fn byte(&mut self, at: Time, rules: &mut Rules, out: &mut Queue, notes: &mut Notes) {
        let d = self.d;
        let mut taken = ones(rules.active(d)).any(|i| takes(rules, i, d));
        for i in ones(rules.of_bytes(d)) {
            if rules.get(i).lanes[d].hit != Some(self.place) {
                continue;
            }
            rules.get(i).lanes[d].hit = None;
            if !taken && rules.active(d) & 1 << i == 0 && rules.begin(i, d, at, self.place) {
                taken = takes(rules, i, d);
            }
        }
        let mut fate = Fate::default();
        for i in ones(rules.active(d)) {
            self.judge(i, at, taken, rules, out, &mut fate);
        }
        let byte = self.ring.peek(0) ^ fate.mask;
        self.ring.pop(1);
        let rate = fate.rate.unwrap_or_else(|| self.rate(at));
        let due = (at + fate.delay).max(self.floor);
        if fate.held {
            self.held.push(byte);
        } else if fate.gone {
            self.dropped += 1;
        } else {
            if let Some(error) = fate.error {
                out.push_event(due, Event::Error(error));
            }
            out.push(due, rate, &[byte]);
            for _ in 0..fate.copies {
                out.push(due, rate, &[byte]);
            }
            self.inserted += u64::from(fate.copies);
            if fate.collect {
                self.copies.push(byte);
            }
        }
        for i in ones(fate.after) {
            self.insert(i, due, rules, out);
        }
        for i in ones(rules.active(d)) {
            let live = rules.get(i);
            if live.rule.trigger.unit == Unit::Byte && !matches!(live.rule.action, Action::Truncate(_)) {
                live.fires[d].left = live.fires[d].left.saturating_sub(1);
                if live.fires[d].left == 0 {
                    rules.finish(i, d, notes);
                }
            }
        }
    }

    /// What a rule whose firing is under way does to the byte at the front.
    fn judge(
        &mut self,
        i: usize,
        at: Time,
        taken: bool,
        rules: &mut Rules,
        out: &mut Queue,
        fate: &mut Fate,
    ) {
        let d = self.d;
        let byte_rule = rules.get(i).rule.trigger.unit == Unit::Byte;
        let passed = rules.get(i).fires[d].passed;
        let first = byte_rule && !matches!(rules.get(i).rule.action, Action::Truncate(_)) || passed == 0;
        if first {
            self.strike_before(i, at, rules, out);
        }
        let live = rules.get(i);
        live.fires[d].passed += 1;
        let mut touched = 0;
        match &live.rule.action {
            Action::Drop => (fate.gone, touched) = (true, u64::from(!fate.gone)),
            Action::Truncate(keep) if passed >= *keep => {
                (fate.gone, touched) = (true, u64::from(!fate.gone));
            }
            Action::Reorder { .. } => (fate.held, touched) = (self.held.is_collecting(), 1),
            _ if taken => {}
            Action::Duplicate(n) if byte_rule => (fate.copies, touched) = (fate.copies + n, u64::from(*n)),
            Action::Duplicate(n) => {
                if first {
                    self.copies.collect(*n, i);
                }
                fate.collect = true;
            }
            Action::Mask { mask, offset } => {
                let place = if byte_rule { Some(0) } else { passed.checked_sub(*offset) };
                let mask = place.and_then(|p| mask.get(usize::try_from(p).ok()?)).copied().unwrap_or(0);
                fate.mask ^= mask;
                touched = u64::from(mask != 0);
            }
            Action::Bits(_) => {
                if byte_rule {
                    live.choose_bits(d, 8);
                }
                let mask = live.bits_at(d, if byte_rule { 0 } else { passed });
                fate.mask ^= mask;
                touched = u64::from(mask != 0);
            }
            Action::Delay(by) => (fate.delay, touched) = (fate.delay + *by, 1),
            Action::Jitter(_) => {
                fate.delay += Duration::from_nanos(live.fires[d].jitter);
                touched = 1;
            }
            Action::Error(error) if first => (fate.error, touched) = (Some(*error), 1),
            Action::Mismatch { rate, time: None } => (fate.rate, touched) = (Some(*rate), 1),
            Action::Insert { after: true, .. } if byte_rule => fate.after |= 1 << i,
            _ => {}
        }
        rules.touch(i, d, touched);
    }

    /// What a firing does before its first byte.
    fn strike_before(&mut self, i: usize, at: Time, rules: &mut Rules, out: &mut Queue) {
        if !matches!(rules.get(i).rule.action, Action::Insert { after: true, .. }) {
            self.strike(i, at, rules, out);
        }
    }

    /// What a firing does that needs no byte.
    pub(super) fn strike(&mut self, i: usize, at: Time, rules: &mut Rules, out: &mut Queue) {
        let due = at.max(self.floor);
        let d = self.d;
        let live = rules.get(i);
        match &live.rule.action {
            Action::Insert { .. } => self.insert(i, due, rules, out),
            Action::Break(time) => {
                let begun = out.push_event(due, Event::Break(true));
                out.push_event(begun + *time, Event::Break(false));
                self.floor = self.floor.max(begun + *time);
            }
            Action::Stall(time) => self.floor = self.floor.max(at + *time),
            Action::Lines { mask, time } => self.lines.strike(*mask, at + *time),
            Action::Unplug(time) => {
                out.push_event(due, Event::Unplug(*time));
            }
            Action::Mismatch { rate, time: Some(time) } => self.speed = Some((at + *time, *rate)),
            Action::Jitter(most) => {
                live.fires[d].jitter = below(&mut live.lanes[d].dice, most.saturating_add(1));
            }
            Action::Reorder { by, within } => self.held.collect(*by, at + *within),
            _ => {}
        }
    }

    pub(super) fn insert(&mut self, i: usize, due: Time, rules: &mut Rules, out: &mut Queue) {
        let d = self.d;
        let live = rules.get(i);
        let Action::Insert { bytes, random, .. } = &live.rule.action else { return };
        let mut noise = [0; MAX_INSERT];
        let bytes = if *random > 0 {
            let noise = &mut noise[..*random];
            live.lanes[d].dice.fill_bytes(noise);
            noise
        } else {
            &**bytes
        };
        let n = bytes.len() as u64;
        out.push(due, TRUE_RATE, bytes);
        self.inserted += n;
        rules.touch(i, d, n);
    }
}

/// Whether a rule whose firing is under way takes the byte at the front out.
fn takes(rules: &mut Rules, i: usize, d: usize) -> bool {
    let live = rules.get(i);
    match live.rule.action {
        Action::Drop | Action::Reorder { .. } => true,
        Action::Truncate(keep) => live.fires[d].passed >= keep,
        _ => false,
    }
}
