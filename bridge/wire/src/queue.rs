//! Fixed memory of one direction: a byte ring, and a queue of bytes and signals with the time from which on each may
//! go. Nothing here grows; who pushes has asked for room before.

use std::collections::VecDeque;
use std::time::Duration;

use hilrig_port::{CharError, Signal, Time};

/// Bytes by their place in the stream. The size is a power of two.
#[derive(Debug)]
pub(crate) struct Ring {
    buffer: Box<[u8]>,
    head: u64,
    tail: u64,
}

impl Ring {
    pub fn new(size: usize) -> Self {
        Self { buffer: vec![0; size.next_power_of_two()].into(), head: 0, tail: 0 }
    }

    pub fn len(&self) -> usize {
        (self.tail - self.head) as usize
    }

    pub fn free(&self) -> usize {
        self.buffer.len() - self.len()
    }

    fn index(&self, place: u64) -> usize {
        place as usize & (self.buffer.len() - 1)
    }

    pub fn push(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.free());
        let at = self.index(self.tail);
        let (first, rest) = bytes.split_at(bytes.len().min(self.buffer.len() - at));
        self.buffer[at..at + first.len()].copy_from_slice(first);
        self.buffer[..rest.len()].copy_from_slice(rest);
        self.tail += bytes.len() as u64;
    }

    /// Up to `n` bytes from the head on that lie in one piece.
    pub fn front(&self, n: usize) -> &[u8] {
        let at = self.index(self.head);
        &self.buffer[at..at + n.min(self.len()).min(self.buffer.len() - at)]
    }

    pub fn front_mut(&mut self, n: usize) -> &mut [u8] {
        let at = self.index(self.head);
        let n = n.min(self.len()).min(self.buffer.len() - at);
        &mut self.buffer[at..at + n]
    }

    /// The byte `i` places behind the head.
    pub fn peek(&self, i: usize) -> u8 {
        self.buffer[self.index(self.head + i as u64)]
    }

    pub fn pop(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.head += n as u64;
    }

    pub fn clear(&mut self) {
        self.head = self.tail;
    }
}

/// Other than bytes, and in order with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Break(bool),
    Error(CharError),
    Unplug(Duration),
}

impl Event {
    pub fn signal(self) -> Signal {
        match self {
            Self::Break(on) => Signal::Break(on),
            Self::Error(error) => Signal::Error(error),
            Self::Unplug(time) => Signal::Unplug(time),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    Bytes(u32),
    Event(Event),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub due: Time,
    pub item: Item,
    /// Speed of the sender in thousandths of what it is set to.
    pub rate: u16,
}

/// The rate of bytes that no fault has touched.
pub(crate) const TRUE_RATE: u16 = 1000;

#[derive(Debug)]
pub(crate) struct Queue {
    ring: Ring,
    entries: VecDeque<Entry>,
    last: Time,
}

const ENTRIES: usize = 1024;

impl Queue {
    pub fn new(bytes: usize) -> Self {
        Self { ring: Ring::new(bytes), entries: VecDeque::with_capacity(ENTRIES), last: Time(0) }
    }

    pub fn len(&self) -> usize {
        self.ring.len()
    }

    pub fn free(&self) -> usize {
        self.ring.free()
    }

    pub fn free_entries(&self) -> usize {
        ENTRIES - self.entries.len()
    }

    /// Order stays: what comes later is never due earlier.
    fn due(&mut self, due: Time) -> Time {
        self.last = self.last.max(due);
        self.last
    }

    pub fn push(&mut self, due: Time, rate: u16, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let due = self.due(due);
        self.ring.push(bytes);
        let n = bytes.len() as u32;
        if let Some(Entry { due: d, item: Item::Bytes(len), rate: r }) = self.entries.back_mut()
            && *d == due
            && *r == rate
        {
            *len += n;
            return;
        }
        self.entries.push_back(Entry { due, item: Item::Bytes(n), rate });
    }

    /// Answers the time from which on it may go. When no room is left it is lost, but never the end of a break.
    pub fn push_event(&mut self, due: Time, event: Event) -> Time {
        let due = self.due(due);
        let room = self.free_entries();
        if room > 8 || (room > 0 && event == Event::Break(false)) {
            self.entries.push_back(Entry { due, item: Item::Event(event), rate: TRUE_RATE });
        }
        due
    }

    pub fn front(&self) -> Option<Entry> {
        self.entries.front().copied()
    }

    /// What of the front entry's bytes lies in one piece.
    pub fn bytes(&self) -> &[u8] {
        match self.entries.front() {
            Some(Entry { item: Item::Bytes(n), .. }) => self.ring.front(*n as usize),
            _ => &[],
        }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self.entries.front() {
            Some(Entry { item: Item::Bytes(n), .. }) => self.ring.front_mut(*n as usize),
            _ => &mut [],
        }
    }

    /// Takes `n` bytes of the front entry away, or the signal.
    pub fn pop(&mut self, n: usize) {
        if let Some(entry) = self.entries.front_mut() {
            if let Item::Bytes(len) = &mut entry.item {
                self.ring.pop(n);
                *len -= n as u32;
                if *len > 0 {
                    return;
                }
            }
            self.entries.pop_front();
        }
    }

    /// Throws all away and answers how many bytes that were.
    pub fn clear(&mut self) -> u64 {
        let n = self.ring.len() as u64;
        self.ring.clear();
        self.entries.clear();
        n
    }
}
