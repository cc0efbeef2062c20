//! Telnet bytes into data, negotiations and subnegotiations, wherever the stream is cut. Knows no option.

use std::ops::Range;

use super::{DO, DONT, IAC, SB, SE, WILL, WONT};

/// Longest subnegotiation that is understood; of a longer one only this much is kept.
const LONGEST: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// Payload, decoded in place.
    Bytes(Range<usize>),
    /// WILL, WONT, DO or DONT, and of which option.
    Negotiate(u8, u8),
    /// A subnegotiation is complete: [`Parser::sub`].
    Sub,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Iac,
    Verb(u8),
    Sub,
    SubIac,
}

#[derive(Debug)]
pub(super) struct Parser {
    state: State,
    sub: [u8; LONGEST],
    /// How long the subnegotiation is, maybe longer than what is kept.
    sub_len: usize,
}

impl Parser {
    pub(super) fn new() -> Self {
        Self { state: State::Data, sub: [0; LONGEST], sub_len: 0 }
    }

    /// The subnegotiation that was complete last; `None` if it was too long to be one we know.
    pub(super) fn sub(&self) -> Option<&[u8]> {
        self.sub.get(..self.sub_len)
    }

    /// Whether the next byte would be payload if it is not IAC.
    pub(super) fn in_data(&self) -> bool {
        self.state == State::Data
    }

    pub(super) fn next(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Item {
        while let Some(&byte) = buffer[..raw.end].get(raw.start) {
            match self.state {
                State::Data => {
                    let bytes = unescape(buffer, raw);
                    if !bytes.is_empty() {
                        return Item::Bytes(bytes);
                    }
                    // An IAC that is not doubled, as far as can be seen.
                    self.state = State::Iac;
                    raw.start += 1;
                    continue;
                }
                State::Iac => match byte {
                    IAC => {
                        self.state = State::Data;
                        raw.start += 1;
                        return Item::Bytes(raw.start - 1..raw.start);
                    }
                    SB => {
                        self.state = State::Sub;
                        self.sub_len = 0;
                    }
                    WILL | WONT | DO | DONT => self.state = State::Verb(byte),
                    // NOP, AYT, GO AHEAD and the like say nothing to a serial line.
                    _ => self.state = State::Data,
                },
                State::Verb(verb) => {
                    self.state = State::Data;
                    raw.start += 1;
                    return Item::Negotiate(verb, byte);
                }
                State::Sub if byte == IAC => self.state = State::SubIac,
                State::Sub => self.keep(byte),
                State::SubIac => match byte {
                    IAC => {
                        self.keep(IAC);
                        self.state = State::Sub;
                    }
                    SE => {
                        self.state = State::Data;
                        raw.start += 1;
                        return Item::Sub;
                    }
                    // Broken off without an end: what begins here counts.
                    _ => {
                        self.state = State::Iac;
                        continue;
                    }
                },
            }
            raw.start += 1;
        }
        Item::End
    }

    fn keep(&mut self, byte: u8) {
        if let Some(place) = self.sub.get_mut(self.sub_len) {
            *place = byte;
        }
        // Stays above LONGEST, so that a long one is never taken for a short one.
        self.sub_len = (self.sub_len + 1).min(LONGEST + 1);
    }
}

/// Takes payload off the front of `raw`, doubled IACs made one, up to the first IAC that is not seen doubled.
fn unescape(buffer: &mut [u8], raw: &mut Range<usize>) -> Range<usize> {
    let start = raw.start;
    let mut to = start;
    loop {
        let run = buffer[raw.clone()].iter().position(|&b| b == IAC).unwrap_or(raw.len());
        if to != raw.start {
            buffer.copy_within(raw.start..raw.start + run, to);
        }
        to += run;
        raw.start += run;
        if raw.len() < 2 || buffer[raw.start + 1] != IAC {
            return start..to;
        }
        buffer[to] = IAC;
        to += 1;
        raw.start += 2;
    }
}
