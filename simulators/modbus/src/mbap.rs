//! Frames of Modbus TCP (Modbus Messaging on TCP/IP 3.1.3): transaction id, protocol id 0, length, unit id, PDU. A header
//! that cannot be one means that the stream is lost: nothing tells where the next frame begins.

use hilrig_port::Time;

use crate::framing::{Adu, Chunk, Dropped};
use crate::pdu::MAX_PDU;

/// Up to and with the unit id.
pub const HEADER: usize = 7;
pub const MAX_FRAME: usize = HEADER + MAX_PDU;

/// What the first bytes of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A frame, and how many bytes it takes.
    Frame(Adu<'a>, usize),
    /// More bytes are needed.
    Partial,
    /// No header.
    Broken,
}

/// Looks at the first bytes of a stream.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    // Each field as soon as it is there, so that a stream of something else is noticed early.
    if bytes.get(2).is_some_and(|b| *b != 0) || bytes.get(3).is_some_and(|b| *b != 0) {
        return Parsed::Broken;
    }
    if bytes.len() < 6 {
        return Parsed::Partial;
    }
    let length = usize::from(word(4));
    // The unit id, and a PDU that has a function code at least.
    if !(2..=1 + MAX_PDU).contains(&length) {
        return Parsed::Broken;
    }
    match bytes.get(..6 + length) {
        Some(frame) => {
            let adu = Adu { transaction: word(0), unit: frame[6], pdu: &frame[HEADER..] };
            Parsed::Frame(adu, frame.len())
        }
        None => Parsed::Partial,
    }
}

/// Collects a frame that comes in pieces.
#[derive(Debug)]
pub struct Framer {
    buffer: [u8; MAX_FRAME],
    len: usize,
    last: Option<Time>,
}

impl Default for Framer {
    fn default() -> Self {
        Self { buffer: [0; MAX_FRAME], len: 0, last: None }
    }
}

impl Framer {
    /// Takes one byte. What is no header is dropped as a whole; the next byte is taken for the first of a frame.
    pub fn push(&mut self, now: Time, byte: u8) -> Option<Dropped> {
        self.last = Some(now);
        self.buffer[self.len] = byte;
        self.len += 1;
        if parse(self.bytes()) != Parsed::Broken {
            return None;
        }
        let bytes = self.len as u64;
        self.clear();
        Some(Dropped { why: Chunk::BadHeader, bytes })
    }

    /// Takes what the frame still needs; answers how much it took.
    pub fn fill(&mut self, now: Time, bytes: &[u8]) -> Result<usize, Dropped> {
        let mut taken = 0;
        for byte in bytes {
            if self.is_whole() {
                break;
            }
            taken += 1;
            if let Some(dropped) = self.push(now, *byte) {
                return Err(dropped);
            }
        }
        Ok(taken)
    }

    pub fn is_whole(&self) -> bool {
        matches!(parse(self.bytes()), Parsed::Frame(..))
    }

    /// The frame, if it is whole.
    pub fn adu(&self) -> Adu<'_> {
        match parse(self.bytes()) {
            Parsed::Frame(adu, _) => adu,
            _ => Adu { transaction: 0, unit: 0, pdu: &[] },
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    pub fn judge(&self) -> Chunk {
        if self.is_whole() { Chunk::Frame } else { Chunk::Short }
    }

    pub fn last_byte(&self) -> Option<Time> {
        self.last
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }
}

/// Puts a frame around a PDU; answers its length.
pub fn frame(transaction: u16, unit: u8, pdu: &[u8], out: &mut [u8; MAX_FRAME]) -> usize {
    let pdu = &pdu[..pdu.len().min(MAX_PDU)];
    out[..2].copy_from_slice(&transaction.to_be_bytes());
    out[2..4].fill(0);
    out[4..6].copy_from_slice(&(pdu.len() as u16 + 1).to_be_bytes());
    out[6] = unit;
    out[HEADER..HEADER + pdu.len()].copy_from_slice(pdu);
    HEADER + pdu.len()
}

#[cfg(test)]
#[path = "mbap_tests.rs"]
mod tests;
