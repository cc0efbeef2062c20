//! Replies that wait for their time, in fixed memory. Those to one caller of a connection leave in the order of their
//! requests, whatever their times; those to others do not wait for them. On a line each leaves at its time. Knows no
//! line.

use std::time::Duration;

use hilrig_port::Time;

use crate::faults::{Close, Reply, Shape};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// Leaves at its time.
    Waiting,
    /// Leaves with the next reply to this caller.
    Held,
}

/// A reply that waits.
#[derive(Debug)]
pub(crate) struct Slot {
    state: State,
    pub caller: u32,
    /// Number of its request.
    pub number: u64,
    due: Time,
    order: u64,
    /// Bytes that have left.
    sent: usize,
    pub reply: Reply,
    pub shape: Shape,
}

/// What is to be done with a slot now.
#[derive(Debug)]
pub(crate) struct Due<'a> {
    pub slot: &'a Slot,
    pub bytes: &'a [u8],
    /// These are its first bytes.
    pub first: bool,
    /// And these its last.
    pub last: bool,
    /// More waits for this caller.
    pub more: bool,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    slots: Vec<Slot>,
    most: usize,
    /// Replies to one caller keep their order.
    pub ordered: bool,
    used: usize,
    order: u64,
    next: Option<Time>,
}

impl Outbox {
    /// With room for so many replies. The memory is there from now on, but is touched when it is needed.
    pub fn new(most: usize) -> Self {
        Self { slots: Vec::with_capacity(most), most, ordered: false, used: 0, order: 0, next: None }
    }

    /// When the next bytes are due.
    pub fn next(&self) -> Option<Time> {
        self.next
    }

    /// Whether anything for this caller is here, if only held for the next reply.
    pub fn has(&self, caller: u32) -> bool {
        self.used > 0 && self.slots.iter().any(|s| s.state != State::Free && s.caller == caller)
    }

    /// Whether anything for this caller leaves at its time.
    pub fn owes(&self, caller: u32) -> bool {
        self.used > 0 && self.slots.iter().any(|s| s.state == State::Waiting && s.caller == caller)
    }

    /// A place for a reply, to be filled through [`shape`](Self::shape); `None` if there is no room. It is only used
    /// with [`put`](Self::put).
    pub fn reserve(&mut self) -> Option<usize> {
        let free = self.slots.iter().position(|s| s.state == State::Free);
        if free.is_none() && self.slots.len() < self.most {
            self.slots.push(Slot {
                state: State::Free,
                caller: 0,
                number: 0,
                due: Time(0),
                order: 0,
                sent: 0,
                reply: Reply::EMPTY,
                shape: Shape::EMPTY,
            });
            return Some(self.slots.len() - 1);
        }
        free
    }

    pub fn shape(&mut self, place: usize) -> &mut Shape {
        &mut self.slots[place].shape
    }

    /// The reply in a place is due then, or after its delay, and not before those that wait for the same caller.
    pub fn put(&mut self, place: usize, caller: u32, number: u64, due: Time, reply: &Reply) {
        let mut due = due + self.slots[place].shape.delay;
        self.order += 2;
        let order = self.order;
        for other in self.slots.iter_mut().filter(|s| s.caller == caller) {
            match other.state {
                // A late reply to an earlier request comes right before this one.
                State::Held => (other.state, other.due, other.order) = (State::Waiting, due, order - 1),
                State::Waiting if self.ordered => due = due.max(other.due),
                State::Waiting | State::Free => {}
            }
        }
        self.used += 1;
        let slot = &mut self.slots[place];
        slot.state = if slot.shape.late { State::Held } else { State::Waiting };
        (slot.caller, slot.number, slot.due, slot.order, slot.sent) = (caller, number, due, order, 0);
        slot.reply = *reply;
        self.look();
    }

    fn look(&mut self) {
        let waiting = self.slots.iter().filter(|s| s.state == State::Waiting);
        self.next = waiting.map(|s| s.due).min();
    }

    /// Hands out the next bytes that are due, and puts the rest of their slot off. Call it until there is none.
    pub fn pop(&mut self, now: Time, sent: impl FnOnce(Due<'_>)) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        let waiting = |s: &&Slot| s.state == State::Waiting && s.due <= now;
        let Some(key) = self.slots.iter().filter(waiting).map(|s| (s.due, s.order)).min() else {
            self.look();
            return false;
        };
        let Some(place) = self.slots.iter().position(|s| s.state == State::Waiting && s.order == key.1)
        else {
            return false;
        };
        let (caller, order) = (self.slots[place].caller, self.slots[place].order);
        // One that is in the middle of something goes first.
        let ahead = |s: &&Slot| {
            let goes_first = self.ordered || s.sent > 0;
            s.state == State::Waiting && s.caller == caller && s.order < order && goes_first
        };
        if let Some(due) = self.slots.iter().filter(ahead).map(|s| s.due).max() {
            self.slots[place].due = due;
            self.look();
            return due > now || self.pop(now, sent);
        }
        let slot = &self.slots[place];
        let (end, pause) = match slot.shape.close {
            Close::Instead => (slot.sent, Duration::ZERO),
            _ => slot.shape.piece(slot.sent),
        };
        let last = end >= slot.shape.len || slot.shape.close == Close::Instead;
        let bytes = &slot.shape.bytes[slot.sent..end];
        let behind = |s: &Slot| s.state == State::Waiting && s.caller == caller && s.order != order;
        let more = !last || self.slots.iter().any(behind);
        sent(Due { slot, bytes, first: slot.sent == 0, last, more });
        let slot = &mut self.slots[place];
        slot.sent = end;
        slot.due = slot.due + pause;
        if last {
            slot.state = State::Free;
            self.used -= 1;
        }
        self.look();
        true
    }

    /// Nothing leaves before this, but what has begun to.
    pub fn hold(&mut self, until: Time) {
        for slot in self.slots.iter_mut().filter(|s| s.state == State::Waiting && s.sent == 0) {
            slot.due = slot.due.max(until);
        }
        if self.used > 0 {
            self.look();
        }
    }

    /// Forgets replies that are not late on purpose; answers how many.
    pub fn supersede(&mut self) -> u64 {
        self.forget(|s| s.state == State::Waiting && s.sent == 0 && s.shape.delay.is_zero() && !s.shape.late)
    }

    /// Forgets what is for a caller that has gone.
    pub fn drop_caller(&mut self, caller: u32) {
        self.forget(|s| s.caller == caller);
    }

    pub fn clear(&mut self) {
        self.forget(|_| true);
    }

    fn forget(&mut self, which: impl Fn(&Slot) -> bool) -> u64 {
        if self.used == 0 {
            return 0;
        }
        let mut n = 0;
        for slot in self.slots.iter_mut().filter(|s| s.state != State::Free && which(s)) {
            slot.state = State::Free;
            n += 1;
        }
        self.used -= n as usize;
        self.look();
        n
    }
}
