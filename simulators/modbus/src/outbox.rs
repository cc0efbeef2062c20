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

/// When and to whom a reply goes. Apart from its bytes, since all of them are looked through.
#[derive(Debug)]
struct Slot {
    state: State,
    /// Late on purpose: not to be forgotten when the next request comes.
    late: bool,
    caller: u32,
    /// Number of its request.
    number: u64,
    due: Time,
    order: u64,
    /// Bytes that have left.
    sent: usize,
}

#[derive(Debug)]
struct Content {
    reply: Reply,
    shape: Shape,
}

/// What is to be done now.
#[derive(Debug)]
pub(crate) struct Due<'a> {
    pub caller: u32,
    /// Number of the request.
    pub number: u64,
    pub reply: &'a Reply,
    pub bytes: &'a [u8],
    /// These are its first bytes.
    pub first: bool,
    /// The connection is to be closed behind them.
    pub close: bool,
    /// More waits for this caller.
    pub more: bool,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    slots: Vec<Slot>,
    contents: Vec<Content>,
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
        let (slots, contents) = (Vec::with_capacity(most), Vec::with_capacity(most));
        Self { slots, contents, most, ordered: false, used: 0, order: 0, next: None }
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
    /// with [`put`](Self::put). What is `late` leaves some places free for what is not.
    pub fn reserve(&mut self, late: bool) -> Option<usize> {
        let kept_free = if late { self.most / 8 } else { 0 };
        if self.used + kept_free >= self.most {
            return None;
        }
        let free = self.slots.iter().position(|s| s.state == State::Free);
        free.or_else(|| {
            let (state, due) = (State::Free, Time(0));
            self.slots.push(Slot { state, late, caller: 0, number: 0, due, order: 0, sent: 0 });
            self.contents.push(Content { reply: Reply::EMPTY, shape: Shape::EMPTY });
            Some(self.slots.len() - 1)
        })
    }

    pub fn shape(&mut self, place: usize) -> &mut Shape {
        &mut self.contents[place].shape
    }

    /// The reply in a place is due then, or after its delay, and not before those that wait for the same caller.
    pub fn put(&mut self, place: usize, caller: u32, number: u64, due: Time, reply: &Reply) {
        let content = &mut self.contents[place];
        content.reply = *reply;
        let (held, delay) = (content.shape.late, content.shape.delay);
        let mut due = due + delay;
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
        let state = if held { State::Held } else { State::Waiting };
        let late = held || !delay.is_zero();
        self.slots[place] = Slot { state, late, caller, number, due, order, sent: 0 };
        self.used += 1;
        self.look();
    }

    fn look(&mut self) {
        let waiting = self.slots.iter().filter(|s| s.state == State::Waiting);
        self.next = waiting.map(|s| s.due).min();
    }

    /// Hands out the next bytes that are due, and puts the rest of their reply off. Call it until there is none.
    pub fn pop(&mut self, now: Time, sent: impl FnOnce(Due<'_>)) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        let waiting = |s: &(usize, &Slot)| s.1.state == State::Waiting;
        let next = self.slots.iter().enumerate().filter(waiting).min_by_key(|(_, s)| (s.due, s.order));
        let Some((place, slot)) = next else { return false };
        let (caller, order, number, begun) = (slot.caller, slot.order, slot.number, slot.sent);
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
        let Content { reply, shape } = &self.contents[place];
        let (end, pause) = match shape.close {
            Close::Instead => (begun, Duration::ZERO),
            _ => shape.piece(begun),
        };
        let last = end >= shape.len || shape.close == Close::Instead;
        let behind = |s: &Slot| s.state == State::Waiting && s.caller == caller && s.order != order;
        sent(Due {
            caller,
            number,
            reply,
            bytes: &shape.bytes[begun..end],
            first: begun == 0,
            close: last && shape.close != Close::No,
            more: !last || self.slots.iter().any(behind),
        });
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
        if self.used == 0 {
            return;
        }
        for slot in self.slots.iter_mut().filter(|s| s.state == State::Waiting && s.sent == 0) {
            slot.due = slot.due.max(until);
        }
        self.look();
    }

    /// Forgets replies that are not late on purpose; answers how many.
    pub fn supersede(&mut self) -> u64 {
        self.forget(|s| s.state == State::Waiting && s.sent == 0 && !s.late)
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
        let before = self.used;
        for slot in self.slots.iter_mut().filter(|s| s.state != State::Free && which(s)) {
            slot.state = State::Free;
            self.used -= 1;
        }
        self.look();
        (before - self.used) as u64
    }
}
