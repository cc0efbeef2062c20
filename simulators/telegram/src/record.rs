//! Telegrams as observers see them, through a ring that is never waited for. Not the place for what they mean.

use hilrig_port::Time;

/// How many bytes of a telegram an observer gets.
pub const TELEGRAM_SHOWN: usize = 256;

/// Which way a telegram went, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Received and understood.
    In,
    /// Received, but not for us or of no known form.
    Stranger,
    /// Bytes that were no telegram, or one with a wrong checksum.
    Noise,
    /// Sent.
    Out,
}

/// A telegram on the line.
#[derive(Debug, Clone, Copy)]
pub struct TelegramRecord {
    pub at: Time,
    pub way: Way,
    /// All of its bytes on the line.
    pub len: u16,
    shown: [u8; TELEGRAM_SHOWN],
}

impl TelegramRecord {
    /// Its first bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.shown[..usize::from(self.len).min(TELEGRAM_SHOWN)]
    }
}

/// The station's end.
#[derive(Debug)]
pub struct FrameSink(rtrb::Producer<TelegramRecord>);

/// The observer's end.
pub type FrameReader = rtrb::Consumer<TelegramRecord>;

/// A ring with room for so many telegrams.
pub fn frames(room: usize) -> (FrameSink, FrameReader) {
    let (sink, reader) = rtrb::RingBuffer::new(room.max(1));
    (FrameSink(sink), reader)
}

impl FrameSink {
    /// `false` if there is no room.
    pub(crate) fn push(&mut self, at: Time, way: Way, bytes: &[u8]) -> bool {
        let mut shown = [0; TELEGRAM_SHOWN];
        let part = bytes.len().min(TELEGRAM_SHOWN);
        shown[..part].copy_from_slice(&bytes[..part]);
        let len = bytes.len().min(usize::from(u16::MAX)) as u16;
        self.0.push(TelegramRecord { at, way, len, shown }).is_ok()
    }
}
