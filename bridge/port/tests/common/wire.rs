//! A conduit for tests: delays all bytes, drops and inserts some by count, and can be told to do worse. Allocates only
//! when it is made.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::time::Duration;

use hilrig_port::{Account, Conduit, Direction, Note, Out, Signal, Time};

const ROOM: usize = 16_384;

#[derive(Debug, Clone, Copy)]
enum Item {
    Byte(u8),
    Signal(Signal),
}

#[derive(Debug)]
pub struct Way {
    /// In order of their time.
    queue: VecDeque<(Time, Item)>,
    shown: Vec<u8>,
    account: Account,
    seen: u64,
    /// What came, other than bytes.
    pub signals: VecDeque<Signal>,
}

#[derive(Debug)]
pub struct Wire {
    pub delay: Duration,
    /// Every so many bytes one is dropped; 0 for never.
    pub drop: u64,
    /// After every so many bytes a `#` is put in; 0 for never.
    pub insert: u64,
    /// The call that is to panic.
    pub fail: &'static str,
    pub ways: [Way; 2],
    notes: VecDeque<Note>,
}

impl Wire {
    pub fn new(delay: Duration, drop: u64, insert: u64) -> Self {
        let way = || Way {
            queue: VecDeque::with_capacity(2 * ROOM),
            shown: Vec::with_capacity(4096),
            account: Account::default(),
            seen: 0,
            signals: VecDeque::with_capacity(64),
        };
        Self { delay, drop, insert, fail: "", ways: [way(), way()], notes: VecDeque::with_capacity(1024) }
    }

    /// What comes out when `bytes` go in.
    pub fn expect(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, byte) in (1u64..).zip(bytes) {
            if self.drop == 0 || i % self.drop != 0 {
                out.push(*byte);
            }
            if self.insert != 0 && i % self.insert == 0 {
                out.push(b'#');
            }
        }
        out
    }

    fn trap(&self, call: &str) {
        assert!(self.fail != call, "no more");
    }

    /// Sends something of its own to the receiver of a direction.
    pub fn send(&mut self, now: Time, direction: Direction, signal: Signal) {
        self.ways[direction.index()].queue.push_back((now, Item::Signal(signal)));
    }
}

impl Conduit for Wire {
    fn room(&self, direction: Direction) -> usize {
        self.trap("room");
        ROOM.saturating_sub(self.ways[direction.index()].queue.len())
    }

    fn push(&mut self, now: Time, direction: Direction, bytes: &[u8]) {
        self.trap("push");
        assert!(bytes.len() <= self.room(direction), "more than there is room for");
        let due = now + self.delay;
        let way = &mut self.ways[direction.index()];
        for byte in bytes {
            way.seen += 1;
            if self.drop != 0 && way.seen.is_multiple_of(self.drop) {
                way.account.dropped += 1;
                if self.notes.len() < self.notes.capacity() {
                    let position = way.seen - 1;
                    self.notes.push_back(Note {
                        at: now,
                        direction,
                        position,
                        rule: 7,
                        bytes: 1,
                        total: (position + 1, position + 1),
                    });
                }
            } else {
                way.account.pending += 1;
                way.queue.push_back((due, Item::Byte(*byte)));
            }
            if self.insert != 0 && way.seen.is_multiple_of(self.insert) {
                way.account.inserted += 1;
                way.account.pending += 1;
                way.queue.push_back((due, Item::Byte(b'#')));
            }
        }
    }

    fn signal(&mut self, now: Time, direction: Direction, signal: Signal) {
        let due = now + self.delay;
        let way = &mut self.ways[direction.index()];
        if way.signals.len() < way.signals.capacity() {
            way.signals.push_back(signal);
        }
        if matches!(signal, Signal::Break(_) | Signal::Error(_)) {
            way.queue.push_back((due, Item::Signal(signal)));
        }
    }

    fn next(&mut self, now: Time, direction: Direction) -> Option<Out<'_>> {
        self.trap("next");
        let way = &mut self.ways[direction.index()];
        way.shown.clear();
        for (due, item) in &way.queue {
            match item {
                _ if *due > now => break,
                Item::Signal(signal) if way.shown.is_empty() => return Some(Out::Signal(*signal)),
                Item::Byte(byte) if way.shown.len() < 4096 => way.shown.push(*byte),
                _ => break,
            }
        }
        (!way.shown.is_empty()).then_some(Out::Bytes(&way.shown))
    }

    fn advance(&mut self, _: Time, direction: Direction, n: usize) {
        let way = &mut self.ways[direction.index()];
        way.queue.drain(..n.max(1));
        way.account.pending -= n as u64;
    }

    fn discard(&mut self, _: Time, direction: Direction) -> u64 {
        let way = &mut self.ways[direction.index()];
        way.queue.clear();
        std::mem::take(&mut way.account.pending)
    }

    fn deadline(&self) -> Option<Time> {
        self.ways.iter().filter_map(|way| way.queue.front().map(|(due, _)| *due)).min()
    }

    fn on_deadline(&mut self, _: Time) {}

    fn account(&self, direction: Direction) -> Account {
        self.trap("account");
        self.ways[direction.index()].account
    }

    fn note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }
}
