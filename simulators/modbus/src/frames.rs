//! What was heard and said on a port, frame by frame, for whoever wants to watch: a wait-free ring that costs one load while
//! nobody does. A record that finds no room is counted, and never holds up a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hilrig_port::Time;

use crate::framing::{Adu, Chunk};
use crate::pdu::{EXCEPTION, MAX_PDU};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// To a unit of this port, or to all (unit 0).
    Request,
    /// A normal reply of a unit of this port; to a master, of the unit that it asked.
    Reply,
    /// The same, refused.
    Exception,
    /// To a unit that is not of this port.
    OtherRequest,
    /// From a unit that is not of this port.
    OtherReply,
    /// Bytes that are no frame; `len` says how many.
    Noise(Chunk),
    /// A fault rule has acted on the reply to the frame of this `number`; `rule` is the one of `ReplyFaults::report`.
    Fault { rule: u32 },
}

/// One frame, or what else happened.
#[derive(Debug, Clone, Copy)]
pub struct FrameRecord {
    /// When its last byte was seen, or when it was handed to the line.
    pub at: Time,
    /// As given to [`FrameSink::port`].
    pub port: u16,
    /// Which caller of a TCP port, else 0.
    pub caller: u32,
    /// Counts the requests of a port; a reply and a fault have the number of their request.
    pub number: u64,
    pub kind: FrameKind,
    pub unit: u8,
    pub transaction: u16,
    /// Of the PDU.
    pub len: u16,
    bytes: [u8; MAX_PDU],
}

impl FrameRecord {
    pub fn new(at: Time, kind: FrameKind, adu: Adu<'_>) -> Self {
        let mut bytes = [0; MAX_PDU];
        let len = adu.pdu.len().min(MAX_PDU);
        bytes[..len].copy_from_slice(&adu.pdu[..len]);
        Self {
            at,
            port: 0,
            caller: 0,
            number: 0,
            kind,
            unit: adu.unit,
            transaction: adu.transaction,
            len: len as u16,
            bytes,
        }
    }

    /// Who it was said to or by, and the number of the request.
    #[must_use]
    pub fn of(mut self, caller: u32, number: u64) -> Self {
        (self.caller, self.number) = (caller, number);
        self
    }

    /// `Reply` or `Exception`, as the function code says.
    pub fn reply(at: Time, adu: Adu<'_>) -> Self {
        let refused = adu.pdu.first().is_some_and(|f| *f >= EXCEPTION);
        Self::new(at, if refused { FrameKind::Exception } else { FrameKind::Reply }, adu)
    }

    pub fn noise(at: Time, why: Chunk, bytes: u64) -> Self {
        let nothing = Adu { transaction: 0, unit: 0, pdu: &[] };
        let len = u16::try_from(bytes).unwrap_or(u16::MAX);
        Self { len, ..Self::new(at, FrameKind::Noise(why), nothing) }
    }

    /// Empty for noise.
    pub fn pdu(&self) -> &[u8] {
        match self.kind {
            FrameKind::Noise(_) => &[],
            _ => &self.bytes[..usize::from(self.len)],
        }
    }

    pub fn function(&self) -> Option<u8> {
        self.pdu().first().map(|f| f & !EXCEPTION)
    }
}

/// The shard's end.
#[derive(Debug)]
pub struct FrameSink {
    ring: rtrb::Producer<FrameRecord>,
    port: u16,
    wanted: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
}

/// The reading end.
#[derive(Debug)]
pub struct FrameReader {
    ring: rtrb::Consumer<FrameRecord>,
    wanted: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
}

/// A ring with room for so many records, for one port. Nothing is recorded before [`FrameReader::watch`].
pub fn frames(room: usize) -> (FrameSink, FrameReader) {
    let (producer, consumer) = rtrb::RingBuffer::new(room.max(1));
    let (wanted, lost) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let sink = FrameSink { ring: producer, port: 0, wanted: wanted.clone(), lost: lost.clone() };
    (sink, FrameReader { ring: consumer, wanted, lost })
}

impl FrameSink {
    /// The number of the port in its records.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Somebody watches. Ask before making a record.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    pub fn push(&mut self, record: FrameRecord) {
        if self.is_wanted() && self.ring.push(FrameRecord { port: self.port, ..record }).is_err() {
            // One writer, so no locked instruction.
            self.lost.store(self.lost.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }
}

impl FrameReader {
    /// Begins or ends the recording.
    pub fn watch(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
    }

    /// The oldest record that was not read yet. Never waits.
    pub fn pop(&mut self) -> Option<FrameRecord> {
        self.ring.pop().ok()
    }

    /// Records that found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_recorded_unless_wanted_and_what_has_no_room_is_counted() {
        let (sink, mut reader) = frames(2);
        let mut sink = sink.port(7);
        let record = |unit| FrameRecord::reply(Time(1), Adu { transaction: 9, unit, pdu: &[0x83, 2] });
        sink.push(record(1));
        assert!(reader.pop().is_none());
        reader.watch(true);
        (1..=3).for_each(|unit| sink.push(record(unit)));
        assert_eq!(reader.lost(), 1);
        let got = reader.pop().unwrap();
        assert_eq!((got.unit, got.port, got.kind, got.pdu()), (1, 7, FrameKind::Exception, &[0x83, 2][..]));
        assert_eq!(got.function(), Some(3));
        sink.push(FrameRecord::noise(Time(2), Chunk::BadCrc, 70_000));
        reader.pop().unwrap();
        let noise = reader.pop().unwrap();
        assert_eq!((noise.len, noise.pdu()), (u16::MAX, &[][..]));
        reader.watch(false);
        sink.push(record(4));
        assert!(reader.pop().is_none());
    }
}
