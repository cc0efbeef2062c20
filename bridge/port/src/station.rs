//! A [`Station`]: a protocol core at the end of a line (a Modbus slave, a master), driven by a shard. Sans-IO: fed with
//! time and bytes, it owns no descriptor, thread or clock, and never allocates or blocks while it is driven.

use std::any::Any;

use crate::{Signal, Time};

/// Largest burst a station may queue at once.
pub const TX_CAPACITY: usize = 4096;

/// What a station wants written to its line, in order. The shard writes it as soon as the line takes it.
#[derive(Debug)]
pub struct Tx {
    buffer: Box<[u8; TX_CAPACITY]>,
    start: usize,
    end: usize,
}

impl Default for Tx {
    fn default() -> Self {
        Self { buffer: Box::new([0; TX_CAPACITY]), start: 0, end: 0 }
    }
}

impl Tx {
    /// Queues all of `bytes`, or nothing and answers `false` when there is no room (the line is stalled).
    #[must_use]
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        if self.end + bytes.len() > TX_CAPACITY {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let Some(room) = self.buffer.get_mut(self.end..self.end + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    /// What has not been written yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Marks the first `n` pending bytes as written.
    pub fn advance(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Drops what is pending, for example when the line is gone.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

/// What happened to the line under a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEvent {
    /// The line is there: a virtual port's far end was opened, a client connected.
    Opened,
    /// Nobody is at the far end; bytes sent now are discarded.
    Closed,
    /// The port is gone for good.
    Lost,
}

/// A protocol core that owns the end of one line.
pub trait Station: Any + Send {
    /// Bytes from the line, in order, cut anywhere.
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx);

    /// Called at or soon after [`deadline`](Self::deadline).
    fn on_deadline(&mut self, now: Time, tx: &mut Tx);

    /// When this core wants to be called next if no bytes come. Absolute, so that lateness does not add up.
    fn deadline(&self) -> Option<Time>;

    /// The line came or went.
    fn on_line(&mut self, now: Time, event: LineEvent, tx: &mut Tx) {
        let _ = (now, event, tx);
    }

    /// A break, or lines, that it wants at its port now; asked after each call until there is none. What the port
    /// cannot do is left out.
    fn take_signal(&mut self) -> Option<Signal> {
        None
    }
}

/// Direction of travel through a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    AToB,
    BToA,
}

impl Direction {
    pub fn index(self) -> usize {
        match self {
            Self::AToB => 0,
            Self::BToA => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tx_keeps_order_and_refuses_what_does_not_fit() {
        let mut tx = Tx::default();
        assert!(tx.send(&[1; 4000]));
        assert!(!tx.send(&[2; 200]));
        tx.advance(3990);
        assert!(tx.send(&[2; 200]));
        assert_eq!(tx.pending().len(), 210);
        assert_eq!(&tx.pending()[8..12], &[1, 1, 2, 2]);
        tx.advance(210);
        assert!(tx.pending().is_empty());
        assert!(tx.send(&[0; TX_CAPACITY]));
    }
}
