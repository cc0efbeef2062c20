//! The faults of one direction: takes bytes as they came, cut into frames, and gives the wire what the rules make of
//! them. Triggers look at what came, never at what other rules made of it; a byte that one rule took out is there for
//! no later one.

mod effects;

use std::collections::VecDeque;

use hilrig_port::{Lines, Time};

use crate::Unit;
use crate::notes::Notes;
use crate::prepare::{Action, MAX_INSERT};
use crate::queue::{Event, Queue, Ring, TRUE_RATE};
use crate::rules::{Rules, ones};
use crate::shelf::{Copies, Held, MAX_FRAME};

/// Bytes that may wait in one direction, all places together.
pub(crate) const CAPACITY: usize = 4096;
const ENTRIES: usize = 1024;
/// Room behind the faults that one step may need: each of 32 rules puts 128 bytes in.
const STEP: usize = crate::MAX_RULES * MAX_INSERT + 1;
const STEP_ENTRIES: usize = 4 * crate::MAX_RULES + 8;

#[derive(Debug, Clone, Copy)]
enum In {
    Bytes {
        len: u32,
        begins: bool,
    },
    End,
    Event(Event),
    /// Of the rule in this slot with this number.
    Moment(usize, u32),
}

#[derive(Debug)]
pub(crate) struct Stage {
    /// Direction as an index.
    d: usize,
    ring: Ring,
    entries: VecDeque<(Time, In)>,
    /// Ends of frames among the entries.
    ends: u32,
    /// Place of the first byte in `ring` among all that came.
    place: u64,
    frame_offset: u64,
    in_frame: bool,
    /// The rules have looked at the frame that begins next; these fire on it, or may after a look at its content.
    looked: bool,
    hits: u32,
    maybe: u32,
    /// Nothing goes before this time.
    floor: Time,
    speed: Option<(Time, u16)>,
    held: Held,
    copies: Copies,
    pub lines: LineFault,
    pub dropped: u64,
    pub inserted: u64,
}

/// Modem lines that are taken off.
#[derive(Debug, Default)]
pub(crate) struct LineFault {
    pub mask: Lines,
    pub until: Option<Time>,
    /// The receiver has to be told.
    pub news: bool,
}

impl LineFault {
    fn strike(&mut self, mask: Lines, until: Time) {
        self.news |= self.until.is_none() || self.mask != self.mask | mask;
        self.mask = self.mask | mask;
        self.until = self.until.max(Some(until));
    }

    pub fn tick(&mut self, now: Time) {
        if self.until.is_some_and(|until| until <= now) {
            *self = Self { news: true, ..Self::default() };
        }
    }
}

impl Stage {
    pub fn new(d: usize) -> Self {
        Self {
            d,
            ring: Ring::new(CAPACITY),
            entries: VecDeque::with_capacity(ENTRIES),
            ends: 0,
            place: 0,
            frame_offset: 0,
            in_frame: false,
            looked: false,
            hits: 0,
            maybe: 0,
            floor: Time(0),
            speed: None,
            held: Held::new(),
            copies: Copies::new(),
            lines: LineFault::default(),
            dropped: 0,
            inserted: 0,
        }
    }

    /// Place of the next byte that comes.
    pub fn next_place(&self) -> u64 {
        self.place + self.ring.len() as u64
    }

    pub fn pending(&self) -> usize {
        self.ring.len() + self.held.len()
    }

    /// Entries that the bytes of one push may take.
    pub fn free_entries(&self) -> usize {
        (ENTRIES - self.entries.len()).saturating_sub(64)
    }

    /// No rule has anything to do or to wait for: bytes may pass it by.
    pub fn is_clear(&self, rules: &Rules) -> bool {
        self.entries.is_empty()
            && rules.live(self.d) | rules.active(self.d) == 0
            && self.held.is_free()
            && self.copies.is_free()
            && self.speed.is_none()
    }

    /// Bytes pass it by, from this time on at the earliest.
    pub fn bypass(&mut self, at: Time, n: usize) -> Time {
        self.place += n as u64;
        at.max(self.floor)
    }

    pub fn push(&mut self, at: Time, bytes: &[u8], begins: bool) {
        self.ring.push(bytes);
        let n = bytes.len() as u32;
        match self.entries.back_mut() {
            Some((t, In::Bytes { len, .. })) if *t == at && !begins => *len += n,
            _ => self.entries.push_back((at, In::Bytes { len: n, begins })),
        }
    }

    pub fn push_end(&mut self, at: Time) {
        self.entries.push_back((at, In::End));
        self.ends += 1;
    }

    /// Signals that find no room are lost, as in a driver that is overrun; never the end of a break.
    pub fn push_event(&mut self, at: Time, event: Event) {
        let free = ENTRIES - self.entries.len();
        if free > 8 || (free > 4 && event == Event::Break(false)) {
            self.entries.push_back((at, In::Event(event)));
        }
    }

    pub fn push_moment(&mut self, at: Time, rule: usize, number: u32) {
        if self.entries.len() < ENTRIES {
            self.entries.push_back((at, In::Moment(rule, number)));
        }
    }

    /// Another rule has taken this slot.
    pub fn forget(&mut self, rule: usize) {
        self.hits &= !(1 << rule);
        self.maybe &= !(1 << rule);
    }

    /// Whether it has to know when the frame that passes is over.
    pub fn waits_for_end(&self, rules: &Rules) -> bool {
        rules.active(self.d) != 0 || self.looked || !self.held.is_free() || !self.copies.is_free()
    }

    pub fn deadline(&self) -> Option<Time> {
        let held = if self.in_frame { None } else { self.held.release_at() };
        held.into_iter().chain(self.lines.until).min()
    }

    /// Makes what can be made of what has come, as far as there is room behind.
    pub fn work(&mut self, now: Time, rules: &mut Rules, out: &mut Queue, notes: &mut Notes) {
        while self.emit_shelves(out) {
            let front = self.entries.front().copied();
            let until = front.map_or(now, |(at, _)| at);
            if !self.in_frame && self.held.overdue(until) {
                self.held.release(until);
                continue;
            }
            let Some((at, entry)) = front else { return };
            let roomy = out.free() >= STEP && out.free_entries() >= STEP_ENTRIES;
            match entry {
                In::Bytes { begins, .. } => {
                    if begins && (!roomy || !self.begin_frame(at, rules)) {
                        return;
                    }
                    if !self.pass(at, roomy, rules, out, notes) {
                        return;
                    }
                    continue;
                }
                _ if !roomy => return,
                In::End => {
                    self.ends -= 1;
                    self.end_frame(at, rules, out, notes);
                }
                In::Event(event) => {
                    out.push_event(at.max(self.floor), event);
                }
                In::Moment(i, number) => {
                    if rules.get(i).number == number && rules.begin(i, self.d, at, self.place) {
                        self.strike(i, at, rules, out);
                        rules.finish(i, self.d, notes);
                    }
                }
            }
            self.entries.pop_front();
        }
    }

    /// Gives out repeated and held-back frames. `false` when there is no more room.
    fn emit_shelves(&mut self, out: &mut Queue) -> bool {
        let rate = TRUE_RATE;
        let floor = self.floor;
        let emitted = self.copies.emit(|at, bytes| put(out, at.max(floor), rate, bytes));
        self.inserted += emitted as u64;
        if self.copies.is_emitting() {
            return false;
        }
        self.held.emit(|at, bytes| put(out, at.max(floor), rate, bytes));
        !self.held.is_emitting()
    }

    /// The rules look at a frame that begins. `false` while they need to see all of it.
    fn begin_frame(&mut self, at: Time, rules: &mut Rules) -> bool {
        let d = self.d;
        let mut need_all = false;
        if !self.looked {
            (self.looked, self.hits, self.maybe) = (true, 0, 0);
            (self.in_frame, self.frame_offset) = (true, 0);
            for i in ones(rules.live(d)) {
                let live = rules.get(i);
                let lane = &mut live.lanes[d];
                lane.in_frame = self.place >= lane.first;
                lane.frames += u64::from(lane.in_frame);
                let trigger = &live.rule.trigger;
                if trigger.moment.is_some() && live.rule.action.needs_no_byte()
                    || !trigger.frame_may(lane, at, self.place)
                {
                    continue;
                }
                if trigger.pattern.is_some() {
                    self.maybe |= 1 << i;
                } else if trigger.accept(lane) {
                    self.hits |= 1 << i;
                }
            }
        }
        for i in ones(self.hits | rules.active(d)) {
            need_all |= matches!(rules.get(i).rule.action, Action::Bits(_))
                && rules.get(i).rule.trigger.unit == Unit::Frame;
        }
        need_all |= self.maybe != 0;
        if need_all && self.ends == 0 && self.ring.len() < MAX_FRAME && self.free_entries() > 32 {
            return false;
        }
        let length = if need_all { self.frame_length() } else { 0 };
        for i in ones(self.maybe) {
            let live = rules.get(i);
            let content = (0..length).map(|i| self.ring.peek(i));
            if live.rule.trigger.contains(content) && live.rule.trigger.accept(&mut live.lanes[d]) {
                self.hits |= 1 << i;
            }
        }
        let mut taken = false;
        for i in ones(self.hits | rules.active(d)) {
            let under_way = rules.active(d) & 1 << i != 0;
            if rules.get(i).rule.trigger.unit == Unit::Byte {
                continue;
            }
            let takes = matches!(rules.get(i).rule.action, Action::Drop | Action::Reorder { .. });
            let reorder = matches!(rules.get(i).rule.action, Action::Reorder { .. });
            if !under_way && (taken || reorder && !self.held.is_free() || !rules.begin(i, d, at, self.place))
            {
                continue;
            }
            rules.get(i).fires[d].passed = 0;
            rules.get(i).choose_bits(d, 8 * length as u64);
            taken |= takes;
        }
        self.looked = false;
        if let Some((_, In::Bytes { begins, .. })) = self.entries.front_mut() {
            *begins = false;
        }
        true
    }

    /// Bytes of the frame at the front, as far as they have come and count.
    fn frame_length(&self) -> usize {
        let mut n = 0;
        for (i, (_, entry)) in self.entries.iter().enumerate() {
            match entry {
                In::End => break,
                In::Bytes { begins: true, .. } if i > 0 => break,
                In::Bytes { len, .. } => n += *len as usize,
                _ => {}
            }
        }
        n.min(MAX_FRAME)
    }

    /// Passes on bytes of the front entry. `false` when there is no room.
    fn pass(&mut self, at: Time, roomy: bool, rules: &mut Rules, out: &mut Queue, notes: &mut Notes) -> bool {
        let d = self.d;
        let Some((_, In::Bytes { len, .. })) = self.entries.front().copied() else { return true };
        let end = self.place + u64::from(len);
        let mut until = end;
        for i in ones(rules.of_bytes(d)) {
            let live = rules.get(i);
            let (ring, place) = (&self.ring, self.place);
            let byte = |p: u64| ring.peek((p - place) as usize);
            live.rule.trigger.scan(&mut live.lanes[d], at, (place, end), self.frame_offset, byte);
            until = until.min(live.lanes[d].hit.unwrap_or(end)).max(self.place);
        }
        let mut n = (until - self.place) as usize;
        if rules.active(d) != 0 {
            n = 0;
        }
        if n > 0 {
            n = n.min(out.free());
            if n == 0 || out.free_entries() < 2 {
                return false;
            }
            let rate = self.rate(at);
            let mut left = n;
            while left > 0 {
                let piece = self.ring.front(left);
                let got = piece.len();
                out.push(at.max(self.floor), rate, piece);
                self.ring.pop(got);
                left -= got;
            }
        } else {
            if !roomy {
                return false;
            }
            n = 1;
            self.byte(at, rules, out, notes);
        }
        self.place += n as u64;
        self.frame_offset += n as u64;
        if let Some((_, In::Bytes { len, .. })) = self.entries.front_mut() {
            *len -= n as u32;
            if *len == 0 {
                self.entries.pop_front();
            }
        }
        true
    }

    fn rate(&mut self, at: Time) -> u16 {
        match self.speed {
            Some((until, rate)) if at < until => rate,
            Some(_) => {
                self.speed = None;
                TRUE_RATE
            }
            None => TRUE_RATE,
        }
    }

    fn end_frame(&mut self, at: Time, rules: &mut Rules, out: &mut Queue, notes: &mut Notes) {
        let d = self.d;
        self.in_frame = false;
        if let Some((rule, bytes)) = self.copies.end(at) {
            rules.touch(rule, d, bytes);
        }
        self.held.end(at);
        for i in ones(rules.active(d)) {
            let live = rules.get(i);
            let of_frame = live.rule.trigger.unit == Unit::Frame;
            if !of_frame && !matches!(live.rule.action, Action::Truncate(_)) {
                continue;
            }
            if of_frame && matches!(live.rule.action, Action::Insert { after: true, .. }) {
                self.insert(i, at.max(self.floor), rules, out);
            }
            let fire = &mut rules.get(i).fires[d];
            fire.left = if of_frame { fire.left.saturating_sub(1) } else { 0 };
            if fire.left == 0 {
                rules.finish(i, d, notes);
            }
        }
    }

    /// Throws away what is pending and answers how many bytes that were.
    pub fn discard(&mut self, rules: &mut Rules, notes: &mut Notes) -> u64 {
        let n = self.pending() as u64;
        self.place = self.next_place();
        self.ring.clear();
        self.entries.clear();
        (self.ends, self.looked, self.in_frame) = (0, false, false);
        self.held.clear();
        self.copies.clear();
        rules.finish_all(self.d, notes);
        n
    }
}

/// As many bytes as there is room for.
fn put(out: &mut Queue, due: Time, rate: u16, bytes: &[u8]) -> usize {
    let n = if out.free_entries() < 2 { 0 } else { bytes.len().min(out.free()) };
    out.push(due, rate, &bytes[..n]);
    n
}
