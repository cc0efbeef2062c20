//! RTU frames out of a stream of bytes and silences, by the hybrid rule:
//!
//! - what has the length that its function code says, and a good CRC, is a frame at once;
//! - anything else is kept until silence; then the whole of it is a frame if its CRC holds, else it is dropped;
//! - a frame is never looked for inside of what came without silence in between.
//!
//! Says what was heard; whose it is and what to do about it is for the slave and the master.

use std::time::Duration;

use hilrig_port::{Format, Time};

use crate::crc;
pub use crate::framing::{Chunk, Form};
use crate::pdu::{EXCEPTION, MAX_PDU};

/// Largest frame: unit id, PDU, CRC (SL 2.5.1).
pub const MAX_FRAME: usize = MAX_PDU + 3;
/// Smallest: unit id, function code, CRC.
pub const MIN_FRAME: usize = 4;
/// The unit id that everybody listens to and nobody answers (SL 2.2).
pub const BROADCAST: u8 = 0;
/// Highest unit id of a slave (SL 2.2).
pub const MAX_UNIT: u8 = 247;

/// The times of a line (SL 2.5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// One character on the line.
    pub character: Duration,
    /// Longest pause that the specification allows inside a frame.
    pub t15: Duration,
    /// Shortest silence between two frames.
    pub t35: Duration,
    /// Silence that ends a frame here: `t35`, or more on a port that delays received bytes.
    pub silence: Duration,
    /// Longest pause between two characters of an ASCII frame (SL 2.5.2.1).
    pub between: Duration,
}

impl Timing {
    /// Times of a line. Up to 19200 baud the silences are those of 11-bit characters, above they are fixed.
    pub fn new(baud: u32, format: Format) -> Self {
        let baud = u64::from(baud.max(1));
        let half_bits = |n: u64| Duration::from_nanos(n * 500_000_000 / baud);
        let (t15, t35) = if baud <= 19200 {
            (half_bits(33), half_bits(77))
        } else {
            (Duration::from_micros(750), Duration::from_micros(1750))
        };
        Self {
            character: half_bits(u64::from(format.half_bits())),
            t15,
            t35,
            silence: t35,
            between: Duration::from_secs(1),
        }
    }

    /// Allows the port to hold back received bytes for so long: a USB adapter's latency timer (often 16 ms).
    #[must_use]
    pub fn tolerance(mut self, pause: Duration) -> Self {
        self.silence = self.t35.max(pause);
        self
    }

    /// Changes the longest pause inside of an ASCII frame; 1 s if not set.
    #[must_use]
    pub fn between(mut self, pause: Duration) -> Self {
        self.between = pause;
        self
    }

    /// How long `bytes` characters take on the line.
    pub fn on_the_line(&self, bytes: usize) -> Duration {
        self.character * bytes as u32
    }
}

/// Length that the first bytes of a frame announce, CRC included; `None` if the function code does not say, or
/// not yet. Wider than what is served here, since other units on a line may serve more.
pub fn announced_length(form: Form, frame: &[u8]) -> Option<usize> {
    let byte = |at: usize| frame.get(at).map(|&b| usize::from(b));
    let function = *frame.get(1)?;
    match (form, function) {
        (Form::Request, 1..=6 | 8) | (Form::Reply, 5 | 6 | 8 | 11 | 15 | 16) => Some(8),
        (Form::Request, 7 | 11 | 12 | 17) => Some(4),
        (Form::Request, 15 | 16) => Some(9 + byte(6)?),
        (Form::Request, 20 | 21) | (Form::Reply, 1..=4 | 12 | 17 | 20 | 21 | 23) => Some(5 + byte(2)?),
        (_, 22) => Some(10),
        (Form::Request, 23) => Some(13 + byte(10)?),
        (Form::Request, 24) => Some(6),
        (Form::Reply, 24) => Some(6 + (byte(2)? << 8 | byte(3)?)),
        (Form::Request, 43) if byte(2)? == 14 => Some(7),
        (Form::Reply, 43) if byte(2)? == 14 => {
            // As many objects as the head says, each with its id and length (AP 6.21).
            let mut end = 8;
            for _ in 0..byte(7)? {
                end += 2 + byte(end + 1)?;
            }
            Some(end + 2)
        }
        (Form::Reply, 7) => Some(5),
        (Form::Reply, EXCEPTION..) => Some(5),
        _ => None,
    }
}

/// Collects what comes between two silences.
#[derive(Debug)]
pub struct Framer {
    buffer: [u8; MAX_FRAME],
    len: usize,
    /// Bytes that did not fit.
    over: u64,
    crc: u16,
    /// When the last byte came; stays when the buffer is cleared.
    last: Option<Time>,
    silence: Duration,
}

impl Framer {
    pub fn new(timing: &Timing) -> Self {
        Self { buffer: [0; MAX_FRAME], len: 0, over: 0, crc: crc::INIT, last: None, silence: timing.silence }
    }

    /// Takes one byte. The caller has asked [`silence_ends`](Self::silence_ends) before.
    pub fn push(&mut self, now: Time, byte: u8) {
        self.last = Some(now);
        match self.buffer.get_mut(self.len) {
            Some(slot) => {
                *slot = byte;
                self.len += 1;
                self.crc = crc::step(self.crc, byte);
            }
            None => self.over += 1,
        }
    }

    /// What has come so far, at most [`MAX_FRAME`] bytes.
    pub fn frame(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The PDU of the frame in the buffer.
    pub fn pdu(&self) -> &[u8] {
        self.buffer.get(1..self.len.saturating_sub(2)).unwrap_or_default()
    }

    /// Bytes since the last silence or frame.
    pub fn collected(&self) -> u64 {
        self.len as u64 + self.over
    }

    /// The buffer has the length that its function code says, and a good CRC.
    pub fn is_whole(&self, form: Form) -> bool {
        self.crc == 0
            && self.over == 0
            && self.len >= MIN_FRAME
            && announced_length(form, self.frame()) == Some(self.len)
    }

    /// When silence ends what is in the buffer, if nothing comes before.
    pub fn silence_ends(&self) -> Option<Time> {
        self.last.filter(|_| self.len > 0).map(|last| last + self.silence)
    }

    /// When the last byte came.
    pub fn last_byte(&self) -> Option<Time> {
        self.last
    }

    /// What the buffer is, now that silence has come.
    pub fn judge(&self) -> Chunk {
        if self.over > 0 {
            Chunk::Overflow
        } else if self.len < MIN_FRAME {
            Chunk::Short
        } else if self.crc != 0 {
            Chunk::BadCrc
        } else {
            Chunk::Frame
        }
    }

    /// Empties the buffer.
    pub fn clear(&mut self) {
        self.len = 0;
        self.over = 0;
        self.crc = crc::INIT;
    }
}

/// Puts a frame around a PDU; answers its length.
pub fn frame(unit: u8, pdu: &[u8], out: &mut [u8; MAX_FRAME]) -> usize {
    let pdu = &pdu[..pdu.len().min(MAX_PDU)];
    let end = 1 + pdu.len();
    out[0] = unit;
    out[1..end].copy_from_slice(pdu);
    let crc = crc::crc16(&out[..end]).to_le_bytes();
    out[end..end + 2].copy_from_slice(&crc);
    end + 2
}

#[cfg(test)]
#[path = "rtu_tests.rs"]
mod tests;
