//! What is still to be sent: a fixed buffer of encoded bytes, sent from its front. Knows IAC doubling and no meaning.

use super::{COM_PORT, IAC, SB, SE};

/// Room for the answers to everything that one read can bring (3 bytes for 1 at worst, when each asks who we are),
/// and for payload that had to be encoded.
const CAPACITY: usize = 20 * 1024;
/// Encoded payload at a time.
const PAYLOAD: usize = 4096;
/// Above this nothing more is read until the other side has taken some of it.
const FULL: usize = CAPACITY - 3 * 4096 - 1024;

pub(super) struct Out {
    bytes: Box<[u8; CAPACITY]>,
    start: usize,
    end: usize,
    lost: u64,
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Out").field("pending", &self.pending()).field("lost", &self.lost).finish()
    }
}

impl Out {
    pub(super) fn new() -> Self {
        Self { bytes: Box::new([0; CAPACITY]), start: 0, end: 0, lost: 0 }
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn sent(&mut self, n: usize) {
        self.start += n.min(self.end - self.start);
        if self.start == self.end {
            self.clear();
        }
    }

    /// Whether answers to another read might not fit.
    pub(super) fn full(&self) -> bool {
        self.end - self.start > FULL
    }

    /// Messages that found no room; not while nothing is read when `full`.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// All or nothing.
    pub(super) fn put(&mut self, message: &[u8]) {
        if CAPACITY - self.end < message.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.bytes.get_mut(self.end..self.end + message.len()) {
            Some(place) => {
                place.copy_from_slice(message);
                self.end += message.len();
            }
            None => self.lost += 1,
        }
    }

    /// A subnegotiation of COM port control. Its value has at most 32 bytes.
    pub(super) fn com_port(&mut self, command: u8, value: &[u8]) {
        let mut message = [0; 6 + 2 * 32];
        message[..4].copy_from_slice(&[IAC, SB, COM_PORT, command]);
        let (_, mut n) = encode(&value[..value.len().min(32)], &mut message[4..68]);
        n += 4;
        message[n..n + 2].copy_from_slice(&[IAC, SE]);
        self.put(&message[..n + 2]);
    }

    /// Takes payload while nothing else is pending; answers how much of it.
    pub(super) fn payload(&mut self, bytes: &[u8]) -> usize {
        if self.start != self.end {
            return 0;
        }
        let (took, n) = encode(bytes, &mut self.bytes[..PAYLOAD]);
        (self.start, self.end) = (0, n);
        took
    }
}

/// Doubles IACs; answers how many bytes were taken and how many they became.
fn encode(bytes: &[u8], to: &mut [u8]) -> (usize, usize) {
    let (mut took, mut n) = (0, 0);
    while took < bytes.len() {
        let rest = &bytes[took..];
        let run = rest.iter().position(|&b| b == IAC).unwrap_or(rest.len()).min(to.len() - n);
        to[n..n + run].copy_from_slice(&rest[..run]);
        (took, n) = (took + run, n + run);
        if rest.get(run) == Some(&IAC) && to.len() - n >= 2 {
            to[n..n + 2].fill(IAC);
            (took, n) = (took + 1, n + 2);
        } else {
            break;
        }
    }
    (took, n)
}
