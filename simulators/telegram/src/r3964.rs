//! Siemens 3964(R): how two equal partners hand telegrams to each other. Either may begin; each telegram is asked for and
//! acknowledged. Knows nothing of what is in them.
//!
//! Source: CP 340 manual (A5E00369892-03), 2.4; CP 440 manual (A5E00057742-AE), 2.5.

use std::time::Duration;

use hilrig_port::Time;

use crate::buf::Buf;
use crate::line::Line;
use crate::record::Way;

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const DLE: u8 = 0x10;
const NAK: u8 = 0x15;

/// How a partner behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Does not give way when both begin at once.
    pub high: bool,
    /// With block check character.
    pub bcc: bool,
    /// Acknowledgement delay: how long the other may take to answer STX or a block.
    pub qvz: Duration,
    /// Character delay: how long it may pause inside a block.
    pub zvz: Duration,
    pub connects: u32,
    pub sends: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Something that is no beginning came; NAK after silence.
    Noisy,
    /// STX is sent.
    Connecting,
    /// The block is sent.
    Sent,
    /// DLE is sent; the last character was a DLE, or not.
    Receiving {
        escaped: bool,
    },
    /// Behind DLE ETX.
    Checking,
}

/// What a byte or a deadline led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    /// A telegram: [`R3964::body`].
    Received,
    /// Ours is acknowledged.
    Delivered,
    /// Ours is given up.
    Failed,
}

#[derive(Debug)]
pub(crate) struct R3964 {
    rules: Rules,
    state: State,
    until: Time,
    /// What is received, without doubled DLEs.
    body: Buf,
    /// All of its characters, for observers.
    raw: Buf,
    bcc: u8,
    /// What is received cannot be right.
    spoilt: bool,
    /// What is to be sent, on the line.
    block: Buf,
    /// There is something to be sent.
    waiting: bool,
    connects: u32,
    sends: u32,
}

impl R3964 {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Idle,
            until: Time(0),
            body: Buf::default(),
            raw: Buf::default(),
            bcc: 0,
            spoilt: false,
            block: Buf::default(),
            waiting: false,
            connects: 0,
            sends: 0,
        }
    }

    /// What was received last.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// A telegram may be given to [`send`](Self::send).
    pub fn is_free(&self) -> bool {
        !self.waiting
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.state = State::Idle;
        self.waiting = false;
    }

    pub fn deadline(&self) -> Option<Time> {
        (self.state != State::Idle).then_some(self.until)
    }

    /// Begins to send a telegram, now or when the line is free; `false` if it is too long.
    pub fn send(&mut self, body: &[u8], line: &mut Line<'_>) -> bool {
        let block = &mut self.block;
        block.clear();
        block.stuff(body, DLE);
        block.extend(&[DLE, ETX]);
        if self.rules.bcc {
            block.push(block.iter().fold(0, |bcc, byte| bcc ^ byte));
        }
        if block.overflowed() {
            return false;
        }
        self.waiting = true;
        self.sends = 0;
        if self.state == State::Idle {
            self.connect(line);
        }
        true
    }

    /// The first attempt to begin.
    fn connect(&mut self, line: &mut Line<'_>) {
        self.connects = 0;
        self.ask(line);
    }

    /// Asks for the right to send.
    fn ask(&mut self, line: &mut Line<'_>) {
        self.connects += 1;
        line.send(&[STX]);
        self.wait(State::Connecting, self.rules.qvz, line);
    }

    fn wait(&mut self, state: State, time: Duration, line: &Line<'_>) {
        self.state = state;
        self.until = line.now + time;
    }

    /// Nothing came of asking.
    fn not_connected(&mut self, line: &mut Line<'_>) -> Event {
        if self.connects < self.rules.connects {
            line.stats.retries.add(1);
            self.ask(line);
            return Event::Nothing;
        }
        self.give_up(line)
    }

    /// The block was not acknowledged.
    fn not_delivered(&mut self, line: &mut Line<'_>) -> Event {
        self.sends += 1;
        if self.sends < self.rules.sends {
            line.stats.retries.add(1);
            self.connect(line);
            return Event::Nothing;
        }
        self.give_up(line)
    }

    fn give_up(&mut self, line: &mut Line<'_>) -> Event {
        line.send(&[NAK]);
        line.stats.failed.add(1);
        self.clear();
        Event::Failed
    }

    /// The line is free: ours is next, if there is one.
    fn rest(&mut self, line: &mut Line<'_>) {
        self.state = State::Idle;
        if self.waiting {
            self.connect(line);
        }
    }

    fn receive(&mut self, line: &mut Line<'_>) {
        self.body.clear();
        self.raw.clear();
        self.bcc = 0;
        self.spoilt = false;
        line.send(&[DLE]);
        self.wait(State::Receiving { escaped: false }, self.rules.zvz, line);
    }

    /// Refuses what came.
    fn refuse(&mut self, line: &mut Line<'_>) {
        line.stats.refused.add(1);
        line.send(&[NAK]);
        self.rest(line);
    }

    pub fn push(&mut self, byte: u8, line: &mut Line<'_>) -> Event {
        match self.state {
            State::Idle => match byte {
                STX => self.receive(line),
                NAK => line.noise(1),
                _ => {
                    line.noise(1);
                    self.wait(State::Noisy, self.rules.zvz, line);
                }
            },
            State::Noisy => {
                line.noise(1);
                self.wait(State::Noisy, self.rules.zvz, line);
            }
            State::Connecting => match byte {
                DLE => {
                    line.send(&self.block);
                    self.wait(State::Sent, self.rules.qvz, line);
                }
                // Both have begun: the one with low priority receives first.
                STX if self.rules.high => {}
                STX => self.receive(line),
                NAK => return self.not_connected(line),
                _ => {
                    line.noise(1);
                    self.until = self.until.min(line.now + self.rules.zvz);
                }
            },
            State::Sent => match byte {
                DLE => {
                    self.waiting = false;
                    self.state = State::Idle;
                    return Event::Delivered;
                }
                NAK => return self.not_delivered(line),
                _ => {
                    line.noise(1);
                    self.until = self.until.min(line.now + self.rules.zvz);
                }
            },
            State::Receiving { escaped } => return self.block_byte(byte, escaped, line),
            State::Checking => {
                self.raw.push(byte);
                self.spoilt |= self.bcc != byte;
                return self.close(line);
            }
        }
        Event::Nothing
    }

    /// A character of a block.
    fn block_byte(&mut self, byte: u8, escaped: bool, line: &mut Line<'_>) -> Event {
        self.raw.push(byte);
        self.bcc ^= byte;
        let mut next = false;
        match byte {
            ETX if escaped && self.rules.bcc => {
                self.wait(State::Checking, self.rules.zvz, line);
                return Event::Nothing;
            }
            ETX if escaped => return self.close(line),
            DLE if !escaped => next = true,
            _ => {
                // A DLE is followed by another one or by ETX.
                self.spoilt |= escaped && byte != DLE;
                self.body.push(byte);
            }
        }
        self.wait(State::Receiving { escaped: next }, self.rules.zvz, line);
        Event::Nothing
    }

    /// The block is complete.
    fn close(&mut self, line: &mut Line<'_>) -> Event {
        if self.spoilt || self.body.overflowed() {
            line.stats.checksum_errors.add(1);
            line.show(Way::Noise, &self.raw);
            self.refuse(line);
            return Event::Nothing;
        }
        line.show(Way::In, &self.raw);
        line.send(&[DLE]);
        self.rest(line);
        Event::Received
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, line: &mut Line<'_>) -> Event {
        if self.deadline().is_none_or(|at| at > line.now) {
            return Event::Nothing;
        }
        match self.state {
            State::Idle => Event::Nothing,
            State::Connecting => self.not_connected(line),
            State::Sent => self.not_delivered(line),
            State::Noisy => {
                self.refuse(line);
                Event::Nothing
            }
            State::Receiving { .. } | State::Checking => {
                line.noise(self.raw.len());
                self.refuse(line);
                Event::Nothing
            }
        }
    }
}

#[cfg(test)]
#[path = "r3964_tests.rs"]
mod tests;
