//! A tap on a link: a wait-free ring of records from a shard to whoever writes captures. The shard never waits for
//! room: what does not fit is counted, and a record says so as soon as one fits again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::{CharError, Lines, Time};

/// What a record is about. Sides are 0 for A and 1 for B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapKind {
    /// Bytes that came from the port of this side.
    In,
    /// Bytes that the port of this side took.
    Out,
    /// The modem lines of this side have changed; `lines` says to what.
    Lines,
    /// A break came from this side's far end (`In`), or was sent there.
    BreakIn,
    BreakOut,
    /// A character in error came from this side; its byte follows in an `In` record.
    Error(CharError),
    /// The port of this side is gone; bytes for it are lost from here on.
    Gone,
    /// The port of this side is back.
    Back,
    /// Bytes for this side were discarded, because nobody was there; `value` says how many.
    Discarded,
    /// A fault fired on what goes to this side: `value` is the position, the payload is the rule's number and the
    /// count of bytes, two little-endian u32.
    Fault,
    /// Records are missing before this one: `value` bytes of payload.
    Lost,
}

impl TapKind {
    fn pack(self) -> u8 {
        match self {
            Self::In => 0,
            Self::Out => 1,
            Self::Lines => 2,
            Self::BreakIn => 3,
            Self::BreakOut => 4,
            Self::Error(CharError::Framing) => 5,
            Self::Error(CharError::Parity) => 6,
            Self::Error(CharError::Overrun) => 7,
            Self::Gone => 8,
            Self::Back => 9,
            Self::Discarded => 10,
            Self::Fault => 11,
            Self::Lost => 12,
        }
    }

    fn unpack(byte: u8) -> Self {
        match byte {
            0 => Self::In,
            1 => Self::Out,
            2 => Self::Lines,
            3 => Self::BreakIn,
            4 => Self::BreakOut,
            5 => Self::Error(CharError::Framing),
            6 => Self::Error(CharError::Parity),
            7 => Self::Error(CharError::Overrun),
            8 => Self::Gone,
            9 => Self::Back,
            10 => Self::Discarded,
            11 => Self::Fault,
            _ => Self::Lost,
        }
    }
}

/// One record as the reader gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapRecord<'a> {
    pub at: Time,
    pub kind: TapKind,
    pub side: u8,
    /// Modem lines of this side, as far as known.
    pub lines: Lines,
    /// As `kind` says, else 0.
    pub value: u64,
    pub bytes: &'a [u8],
}

/// Time, value, length, kind, side, lines, and one byte to spare.
const HEAD: usize = 8 + 8 + 2 + 4;

/// The shard's end.
pub struct Tap {
    ring: Producer<u8>,
    /// Wakes the reader when the ring becomes half full.
    nudge: Option<Box<dyn Fn() + Send>>,
    nudged: bool,
    /// Not told yet.
    lost_records: u64,
    lost_bytes: u64,
    /// All together, told or not.
    lost: Arc<AtomicU64>,
}

/// The other end.
#[derive(Debug)]
pub struct TapReader {
    ring: Consumer<u8>,
    scratch: Vec<u8>,
    lost: Arc<AtomicU64>,
}

/// A ring of `capacity` bytes. One record takes 22 bytes and its payload.
pub fn tap(capacity: usize) -> (Tap, TapReader) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let lost = Arc::<AtomicU64>::default();
    let scratch = Vec::with_capacity(crate::TX_CAPACITY);
    let reader = TapReader { ring: consumer, scratch, lost: lost.clone() };
    (Tap { ring: producer, nudge: None, nudged: false, lost_records: 0, lost_bytes: 0, lost }, reader)
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("lost_records", &self.lost_records).finish_non_exhaustive()
    }
}

impl Tap {
    /// Calls `nudge` whenever the ring becomes half full, so that the reader may sleep for long while little comes.
    /// It runs on the shard: it must not wait.
    #[must_use]
    pub fn nudging(mut self, nudge: impl Fn() + Send + 'static) -> Self {
        self.nudge = Some(Box::new(nudge));
        self
    }

    /// Passes one record on, or counts it as lost. Payloads have at most 65,535 bytes.
    pub fn record(&mut self, record: TapRecord<'_>) {
        if self.lost_records > 0 {
            let told = TapRecord {
                kind: TapKind::Lost,
                lines: Lines::NONE,
                value: self.lost_bytes,
                bytes: &[],
                ..record
            };
            if !self.fits(&told, record.bytes.len() + HEAD) {
                return self.lose(&record);
            }
            self.put(&told);
            (self.lost_records, self.lost_bytes) = (0, 0);
        }
        if self.fits(&record, 0) { self.put(&record) } else { self.lose(&record) }
    }

    /// Bytes that could not be passed on and are not told yet.
    pub fn untold(&self) -> u64 {
        self.lost_bytes
    }

    /// Records are being lost, and the reader has not been told yet how much.
    pub fn losing(&self) -> bool {
        self.lost_records > 0
    }

    fn lose(&mut self, record: &TapRecord<'_>) {
        self.lost_records += 1;
        self.lost_bytes += record.bytes.len() as u64;
        self.lost.store(self.lost.load(Ordering::Relaxed) + record.bytes.len() as u64, Ordering::Release);
    }

    fn fits(&self, record: &TapRecord<'_>, more: usize) -> bool {
        let n = HEAD + record.bytes.len() + more;
        // What the reader has made free since last time is asked for only when that is not enough.
        self.ring.cached_slots() >= n || self.ring.slots() >= n
    }

    /// There is room. The reader waits for the payload when it sees only the head yet.
    fn put(&mut self, record: &TapRecord<'_>) {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&record.at.0.to_ne_bytes());
        head[8..16].copy_from_slice(&record.value.to_ne_bytes());
        head[16..18].copy_from_slice(&(record.bytes.len() as u16).to_ne_bytes());
        head[18] = record.kind.pack();
        head[19] = record.side;
        head[20] = record.lines.0;
        let _ = self.ring.push_entire_slice(&head);
        let _ = self.ring.push_entire_slice(record.bytes);
        if let Some(nudge) = &self.nudge {
            let half = self.ring.buffer().capacity() / 2;
            let half_full = self.ring.cached_slots() < half && self.ring.slots() < half;
            if half_full && !self.nudged {
                nudge();
            }
            self.nudged = half_full;
        }
    }
}

impl TapReader {
    /// The next record, if one is there.
    pub fn next_record(&mut self) -> Option<TapRecord<'_>> {
        let length = {
            let chunk = self.ring.read_chunk(HEAD).ok()?;
            let at = |i: usize| {
                let (first, second) = chunk.as_slices();
                first.get(i).or_else(|| second.get(i - first.len())).copied().unwrap_or_default()
            };
            HEAD + usize::from(u16::from_ne_bytes([at(16), at(17)]))
        };
        let chunk = self.ring.read_chunk(length).ok()?;
        self.scratch.clear();
        let (first, second) = chunk.as_slices();
        self.scratch.extend_from_slice(first);
        self.scratch.extend_from_slice(second);
        chunk.commit_all();
        let (head, bytes) = self.scratch.split_at_checked(HEAD)?;
        let u64_at = |i: usize| head[i..i + 8].try_into().map_or(0, u64::from_ne_bytes);
        Some(TapRecord {
            at: Time(u64_at(0)),
            value: u64_at(8),
            kind: TapKind::unpack(head[18]),
            side: head[19],
            lines: Lines(head[20]),
            bytes,
        })
    }

    /// Bytes of payload that were lost since the start: those that a record has told, and those that none can tell any
    /// more when the tap is gone.
    pub fn lost_bytes(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    /// The shard has let go of its end, and everything it wrote was read.
    pub fn is_over(&self) -> bool {
        self.ring.is_abandoned() && self.ring.slots() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64, bytes: &[u8]) -> TapRecord<'_> {
        TapRecord { at: Time(at), kind: TapKind::In, side: 1, lines: Lines::CTS, value: 0, bytes }
    }

    #[test]
    fn records_come_out_as_they_went_in_over_the_ring_s_end() {
        let (mut tap, mut reader) = tap(100);
        for i in 0..50u64 {
            let bytes: Vec<u8> = (0..i as u8).collect();
            tap.record(record(i, &bytes));
            assert_eq!(reader.next_record(), Some(record(i, &bytes)));
            assert_eq!(reader.next_record(), None);
        }
        drop(tap);
        assert!(reader.is_over());
    }

    #[test]
    fn the_reader_is_nudged_once_each_time_the_ring_is_half_full() {
        let nudges = Arc::new(AtomicU64::new(0));
        let (tap, mut reader) = tap(200);
        let mut tap = tap.nudging({
            let nudges = nudges.clone();
            move || {
                nudges.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 1..5 {
            for _ in 0..4 {
                tap.record(record(round, &[1; 15]));
            }
            assert_eq!(nudges.load(Ordering::Relaxed), round);
            while reader.next_record().is_some() {}
        }
    }

    #[test]
    fn what_does_not_fit_is_told_exactly() {
        let (mut tap, mut reader) = tap(64);
        tap.record(record(1, &[7; 30]));
        tap.record(record(2, &[7; 30]));
        tap.record(record(3, &[]));
        assert_eq!(tap.untold(), 30);
        assert_eq!(reader.next_record(), Some(record(1, &[7; 30])));
        tap.record(record(4, &[8; 5]));
        let told = reader.next_record().unwrap();
        assert_eq!((told.kind, told.value, told.at), (TapKind::Lost, 30, Time(4)));
        assert_eq!(reader.next_record(), Some(record(4, &[8; 5])));
        assert_eq!((tap.untold(), reader.lost_bytes()), (0, 30));
        tap.record(record(5, &[7; 64]));
        drop(tap);
        assert!(reader.is_over() && reader.lost_bytes() == 94);
    }
}
