//! What fault rules do to one reply: first those that change what it says, then those that change its bytes and when they
//! leave. Knows no line; the bytes are sent from an [`Outbox`](crate::outbox::Outbox).

use std::time::Duration;

use super::dice::Dice;
use super::prepare::{Delay, Effect};
use crate::framing::{Adu, Framing, MAX_ADU, encode};
use crate::pdu::{EXCEPTION, MAX_PDU};

/// Most bytes that can come of one reply; more are cut off.
pub(crate) const ROOM: usize = 2048;
const MAX_CUTS: usize = 8;

/// What a reply says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    pub transaction: u16,
    pub unit: u8,
    pub pdu: [u8; MAX_PDU],
    pub len: usize,
    /// Its check is to be wrong.
    pub bad: bool,
}

impl Reply {
    pub const EMPTY: Self = Self { transaction: 0, unit: 0, pdu: [0; MAX_PDU], len: 0, bad: false };

    pub fn pdu(&self) -> &[u8] {
        &self.pdu[..self.len]
    }

    pub fn adu(&self) -> Adu<'_> {
        Adu { transaction: self.transaction, unit: self.unit, pdu: self.pdu() }
    }

    /// Changes what is said, if the effect does that.
    pub fn change(&mut self, effect: &Effect) {
        match effect {
            Effect::Exception(code) => {
                self.pdu[0] |= EXCEPTION;
                self.pdu[1] = *code;
                self.len = 2;
            }
            Effect::Unit(unit) => self.unit = *unit,
            Effect::Pdu(bytes) => {
                self.len = bytes.len().min(MAX_PDU);
                self.pdu[..self.len].copy_from_slice(&bytes[..self.len]);
            }
            Effect::Function(function) => self.pdu[0] = *function,
            Effect::Transaction(by) => self.transaction = self.transaction.wrapping_add(*by),
            Effect::BadCrc => self.bad = true,
            _ => {}
        }
    }

    /// Puts the frame around it. `delimiter` is the end of an ASCII frame.
    pub fn encode(&self, framing: Framing, delimiter: u8, out: &mut [u8; MAX_ADU]) -> usize {
        let len = encode(framing, self.transaction, self.unit, self.pdu(), out);
        if framing.is_ascii() {
            out[len - 1] = delimiter;
        }
        match (self.bad, framing) {
            (false, _) | (true, Framing::Tcp) => {}
            // Another digit of the LRC, so that nothing else is wrong.
            (true, Framing::Ascii | Framing::AsciiOverTcp) => {
                let digit = &mut out[len - 3];
                *digit = if *digit == b'0' { b'1' } else { b'0' };
            }
            (true, Framing::Rtu | Framing::RtuOverTcp) => out[len - 1] ^= 0x55,
        }
        len
    }
}

/// Whether the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    No,
    /// Before anything is sent.
    Instead,
    After,
}

/// Bytes with pauses in between.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub bytes: [u8; ROOM],
    pub len: usize,
    /// Before the byte at this place comes a pause.
    cuts: [(usize, Duration); MAX_CUTS],
    cut_count: usize,
    /// After each byte, if not zero.
    drip: Duration,
    /// Before the first byte.
    pub delay: Duration,
    pub late: bool,
    pub close: Close,
}

impl Shape {
    /// Without any bytes yet.
    pub const EMPTY: Self = Self {
        bytes: [0; ROOM],
        len: 0,
        cuts: [(0, Duration::ZERO); MAX_CUTS],
        cut_count: 0,
        drip: Duration::ZERO,
        delay: Duration::ZERO,
        late: false,
        close: Close::No,
    };

    /// Begins anew with these bytes.
    pub fn set(&mut self, bytes: &[u8]) {
        (self.len, self.cut_count, self.delay) = (0, 0, Duration::ZERO);
        (self.drip, self.late, self.close) = (Duration::ZERO, false, Close::No);
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(ROOM - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&bytes[..n]);
        self.len += n;
    }

    /// A pause before the byte at `at`. More than eight are not kept.
    fn cut(&mut self, at: usize, pause: Duration) {
        if pause.is_zero() || self.cut_count == MAX_CUTS {
            return;
        }
        let place = self.cuts[..self.cut_count].partition_point(|(before, _)| *before <= at);
        self.cuts.copy_within(place..self.cut_count, place + 1);
        self.cuts[place] = (at, pause);
        self.cut_count += 1;
    }

    /// Where the piece that begins at `from` ends, and the pause behind it.
    pub fn piece(&self, from: usize) -> (usize, Duration) {
        let next = self.cuts[..self.cut_count].iter().find(|(at, _)| (from + 1..self.len).contains(at));
        let (end, pause) = next.map_or((self.len, Duration::ZERO), |cut| *cut);
        match end {
            _ if self.drip.is_zero() => (end, pause),
            end if end == from + 1 => (end, pause + self.drip),
            _ => (self.len.min(from + 1), self.drip),
        }
    }

    /// Changes the bytes, if the effect does that. `between` is the silence between two frames, `character` what one
    /// takes on the line.
    pub fn change(&mut self, effect: &Effect, mut dice: Dice, between: Duration, character: Duration) {
        match effect {
            Effect::Silence => (self.len, self.cut_count) = (0, 0),
            Effect::Delay(delay) => self.delay += length(*delay, &mut dice),
            Effect::Flip(bits) => self.flip(*bits, &mut dice),
            Effect::Truncate(len) => self.len = self.len.min(*len),
            Effect::Extra(bytes) => self.append(bytes),
            Effect::Duplicate => {
                let len = self.len;
                let twice = len.min(ROOM - len);
                self.bytes.copy_within(..twice, len);
                self.len += twice;
                self.cut(len, between + character * len as u32);
            }
            Effect::Split { at, gap } => self.cut(*at, *gap + character * (*at).min(self.len) as u32),
            Effect::Drip(pause) => self.drip = *pause + character,
            Effect::Babble { bytes, after } => {
                let from = self.len;
                self.len = (from + bytes).min(ROOM);
                self.bytes[from..self.len].iter_mut().for_each(|byte| *byte = dice.next() as u8);
                self.cut(from, if after.is_zero() { *after } else { *after + character * from as u32 });
            }
            Effect::Late => self.late = true,
            Effect::Close => self.close = Close::Instead,
            Effect::CloseAfter if self.close == Close::No => self.close = Close::After,
            _ => {}
        }
    }

    /// Turns over so many different bits, or all if there are fewer.
    fn flip(&mut self, bits: u32, dice: &mut Dice) {
        let mut left = (bits as usize).min(8 * self.len) as u64;
        // Each bit with the chance of still being needed: exactly so many, all equally likely.
        for (i, byte) in self.bytes[..self.len].iter_mut().enumerate() {
            for bit in 0..8 {
                let rest = (8 * (self.len - i) - bit) as u64;
                if left > 0 && dice.below(rest) < left {
                    *byte ^= 1 << bit;
                    left -= 1;
                }
            }
        }
    }
}

fn length(delay: Delay, dice: &mut Dice) -> Duration {
    match delay {
        Delay::Fixed(time) => time,
        Delay::Uniform { min, max } => {
            min + Duration::from_nanos(dice.below((max - min).as_nanos() as u64 + 1))
        }
        Delay::Normal { mean, sigma } => {
            let ns = mean.as_nanos() as f64 + dice.normal() * sigma.as_nanos() as f64;
            // What is negative becomes 0.
            Duration::from_nanos(ns as u64)
        }
    }
}
