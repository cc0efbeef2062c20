//! The line as a device talks into it: counts and shows what is sent and heard.

use hilrig_port::{Time, Tx};

use crate::record::{FrameSink, Way};
use crate::stats::TelegramStats;

pub(crate) struct Line<'a> {
    pub now: Time,
    pub tx: &'a mut Tx,
    pub stats: &'a TelegramStats,
    pub sink: Option<&'a mut FrameSink>,
}

impl Line<'_> {
    /// Sends all or nothing.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = self.tx.send(bytes);
        if sent {
            self.show(Way::Out, bytes);
        } else {
            self.stats.stalled.add(1);
        }
        sent
    }

    pub fn show(&mut self, way: Way, bytes: &[u8]) {
        if let Some(sink) = &mut self.sink
            && !sink.push(self.now, way, bytes)
        {
            self.stats.unseen.add(1);
        }
    }

    /// Bytes that were no telegram.
    pub fn noise(&mut self, bytes: usize) {
        self.stats.noise_bytes.add(bytes as u64);
    }
}
