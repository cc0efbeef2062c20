//! Frames that are put aside: one to be repeated when it has ended, one to be overtaken. Fixed memory.

use hilrig_port::Time;

/// Longest frame that is put aside whole.
pub(crate) const MAX_FRAME: usize = 2048;

#[derive(Debug)]
struct Shelf {
    bytes: Vec<u8>,
    /// Emitted so far.
    done: usize,
    at: Time,
}

impl Shelf {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(MAX_FRAME), done: 0, at: Time(0) }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.done = 0;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// Its frame passes.
    Collects,
    Waits,
    Emits,
}

/// The frame that is to be repeated.
#[derive(Debug)]
pub(crate) struct Copies {
    shelf: Shelf,
    state: State,
    times: u32,
    rule: usize,
}

impl Copies {
    pub fn new() -> Self {
        Self { shelf: Shelf::new(), state: State::Free, times: 0, rule: 0 }
    }

    pub fn is_free(&self) -> bool {
        self.state == State::Free
    }

    pub fn is_emitting(&self) -> bool {
        self.state == State::Emits
    }

    pub fn collect(&mut self, times: u32, rule: usize) {
        if self.state == State::Collects {
            self.times += times;
        } else {
            self.shelf.clear();
            (self.state, self.times, self.rule) = (State::Collects, times, rule);
        }
    }

    pub fn push(&mut self, byte: u8) {
        if self.state == State::Collects && self.shelf.bytes.len() < MAX_FRAME {
            self.shelf.bytes.push(byte);
        }
    }

    /// Its frame has ended. Answers whose it is and how many bytes will come more.
    pub fn end(&mut self, at: Time) -> Option<(usize, u64)> {
        if self.state != State::Collects {
            return None;
        }
        (self.state, self.shelf.at) = (State::Emits, at);
        Some((self.rule, u64::from(self.times) * self.shelf.bytes.len() as u64))
    }

    /// `put` answers how many bytes it took. Answers how many were put in all.
    pub fn emit(&mut self, mut put: impl FnMut(Time, &[u8]) -> usize) -> usize {
        let mut total = 0;
        while self.state == State::Emits {
            let n = put(self.shelf.at, &self.shelf.bytes[self.shelf.done..]);
            self.shelf.done += n;
            total += n;
            if self.shelf.done < self.shelf.bytes.len() {
                break;
            }
            (self.shelf.done, self.times) = (0, self.times.saturating_sub(1));
            if self.times == 0 || self.shelf.bytes.is_empty() {
                self.clear();
            }
        }
        total
    }

    pub fn clear(&mut self) {
        self.shelf.clear();
        self.state = State::Free;
    }
}

/// The frame that is to be overtaken.
#[derive(Debug)]
pub(crate) struct Held {
    shelf: Shelf,
    state: State,
    /// Frames that have still to overtake it.
    left: u32,
    release_at: Time,
}

impl Held {
    pub fn new() -> Self {
        Self { shelf: Shelf::new(), state: State::Free, left: 0, release_at: Time(0) }
    }

    /// Bytes that it keeps.
    pub fn len(&self) -> usize {
        self.shelf.bytes.len() - self.shelf.done
    }

    pub fn is_free(&self) -> bool {
        self.state == State::Free
    }

    pub fn is_collecting(&self) -> bool {
        self.state == State::Collects
    }

    pub fn is_emitting(&self) -> bool {
        self.state == State::Emits
    }

    pub fn release_at(&self) -> Option<Time> {
        (self.state == State::Waits).then_some(self.release_at)
    }

    pub fn overdue(&self, now: Time) -> bool {
        self.state == State::Waits && self.release_at <= now
    }

    pub fn collect(&mut self, by: u32, release_at: Time) {
        self.shelf.clear();
        (self.state, self.left, self.release_at) = (State::Collects, by, release_at);
    }

    /// A frame that is too long goes its way.
    pub fn push(&mut self, byte: u8) {
        self.shelf.bytes.push(byte);
        if self.shelf.bytes.len() == MAX_FRAME {
            (self.state, self.shelf.at) = (State::Emits, Time(0));
        }
    }

    /// A frame has ended: its own, or one that has overtaken it.
    pub fn end(&mut self, at: Time) {
        match self.state {
            State::Collects => self.state = State::Waits,
            State::Waits => {
                self.left = self.left.saturating_sub(1);
                if self.left == 0 || self.release_at <= at {
                    self.release(at);
                }
            }
            _ => {}
        }
    }

    pub fn release(&mut self, at: Time) {
        (self.state, self.shelf.at) = (State::Emits, at);
    }

    pub fn emit(&mut self, mut put: impl FnMut(Time, &[u8]) -> usize) {
        if self.state == State::Emits {
            self.shelf.done += put(self.shelf.at, &self.shelf.bytes[self.shelf.done..]);
            if self.shelf.done == self.shelf.bytes.len() {
                self.clear();
            }
        }
    }

    pub fn clear(&mut self) {
        self.shelf.clear();
        self.state = State::Free;
    }
}
