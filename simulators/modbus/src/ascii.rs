//! ASCII frames out of a stream of characters (SL 2.5.2): `:`, two hexadecimal characters a byte, LRC, CR and a
//! delimiter (LF unless changed). A `:` begins a frame wherever it comes. Knows no unit and no function code.

use std::time::Duration;

use hilrig_port::Time;

use crate::framing::{Adu, Chunk, Dropped, MAX_ADU};
use crate::pdu::MAX_PDU;
use crate::rtu::Timing;

/// The delimiter unless it was changed (AP 6.8, subfunction 3).
pub const LF: u8 = b'\n';
const CR: u8 = b'\r';
/// Unit id, PDU and LRC.
const MAX_BYTES: usize = MAX_PDU + 2;
/// Unit id, function code and LRC.
const MIN_BYTES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in a frame; why the last one is none, if there was one.
    Outside(Chunk),
    /// The next character is the first of a byte.
    First,
    /// The second, behind this.
    Second(u8),
    /// CR has come.
    Ending,
    /// There is a frame.
    Whole,
}

/// Collects the characters of a frame.
#[derive(Debug)]
pub struct Framer {
    buffer: [u8; MAX_BYTES],
    len: usize,
    sum: u8,
    state: State,
    /// Characters since the last frame or silence.
    raw: u64,
    last: Option<Time>,
    between: Duration,
    delimiter: u8,
}

impl Framer {
    pub fn new(timing: &Timing) -> Self {
        Self {
            buffer: [0; MAX_BYTES],
            len: 0,
            sum: 0,
            state: State::Outside(Chunk::BadCharacter),
            raw: 0,
            last: None,
            between: timing.between,
            delimiter: LF,
        }
    }

    /// Changes what ends a frame behind CR.
    pub fn delimiter(&mut self, byte: u8) {
        self.delimiter = byte;
    }

    /// Takes one character. Answers what it ended that is no frame.
    pub fn push(&mut self, now: Time, byte: u8) -> Option<Dropped> {
        self.last = Some(now);
        if byte == b':' {
            let dropped = (self.raw > 0).then(|| Dropped { why: self.judge(), bytes: self.raw });
            self.clear();
            (self.state, self.raw) = (State::First, 1);
            return dropped;
        }
        self.raw += 1;
        let digit = char::from(byte).to_digit(16).map(|d| d as u8);
        self.state = match (self.state, digit) {
            (State::Ending, _) if byte == self.delimiter => return self.end(),
            (State::Outside(why), _) if byte == self.delimiter => return self.drop_all(why),
            (State::First, Some(high)) if self.len < MAX_BYTES => State::Second(high << 4),
            (State::First, Some(_)) => State::Outside(Chunk::Overflow),
            (State::Second(high), Some(low)) => {
                let byte = high | low;
                self.buffer[self.len] = byte;
                self.len += 1;
                self.sum = self.sum.wrapping_add(byte);
                State::First
            }
            (State::First, None) if byte == CR => State::Ending,
            (State::Outside(why), _) => State::Outside(why),
            _ => State::Outside(Chunk::BadCharacter),
        };
        None
    }

    fn end(&mut self) -> Option<Dropped> {
        if self.len < MIN_BYTES {
            return self.drop_all(Chunk::Short);
        }
        if self.sum != 0 {
            return self.drop_all(Chunk::BadLrc);
        }
        self.state = State::Whole;
        None
    }

    fn drop_all(&mut self, why: Chunk) -> Option<Dropped> {
        let bytes = self.raw;
        self.clear();
        Some(Dropped { why, bytes })
    }

    pub fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// The frame, if it is whole.
    pub fn adu(&self) -> Adu<'_> {
        let (unit, rest) = self.bytes().split_first().unwrap_or((&0, &[]));
        Adu { transaction: 0, unit: *unit, pdu: rest.split_last().map_or(&[], |(_, pdu)| pdu) }
    }

    /// What the characters so far say.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    pub fn silence_ends(&self) -> Option<Time> {
        self.last.filter(|_| self.raw > 0).map(|last| last + self.between)
    }

    pub fn judge(&self) -> Chunk {
        match self.state {
            State::Whole => Chunk::Frame,
            State::Outside(why) => why,
            _ => Chunk::Short,
        }
    }

    pub fn collected(&self) -> u64 {
        self.raw
    }

    pub fn last_byte(&self) -> Option<Time> {
        self.last
    }

    pub fn clear(&mut self) {
        (self.len, self.sum, self.raw) = (0, 0, 0);
        self.state = State::Outside(Chunk::BadCharacter);
    }
}

/// The LRC (SL 6.2.1): with it, all bytes of a frame sum up to 0.
pub fn lrc(bytes: impl IntoIterator<Item = u8>) -> u8 {
    bytes.into_iter().fold(0u8, u8::wrapping_add).wrapping_neg()
}

/// Puts a frame around a PDU; answers its length.
pub fn frame(unit: u8, pdu: &[u8], delimiter: u8, out: &mut [u8; MAX_ADU]) -> usize {
    let pdu = &pdu[..pdu.len().min(MAX_PDU)];
    let bytes = || std::iter::once(unit).chain(pdu.iter().copied());
    let digit = |d: u8| b"0123456789ABCDEF"[usize::from(d)];
    let mut len = 1;
    out[0] = b':';
    for byte in bytes().chain(std::iter::once(lrc(bytes()))) {
        out[len] = digit(byte >> 4);
        out[len + 1] = digit(byte & 15);
        len += 2;
    }
    out[len..len + 2].copy_from_slice(&[CR, delimiter]);
    len + 2
}

#[cfg(test)]
#[path = "ascii_tests.rs"]
mod tests;
