//! What takes the records of a hub, and what it says of itself. Runs on the hub's thread: must not wait for anybody.

use std::io;
use std::path::PathBuf;

use hilrig_port::{TapRecord, Time};

use crate::LinkInfo;

/// Takes records. An error ends this sink and no other; its text is shown to the operator.
pub trait Sink: Send {
    /// Called once, before the first record, and again when links join later.
    fn start(&mut self, links: &[LinkInfo]) -> io::Result<()> {
        let _ = links;
        Ok(())
    }

    /// One record. Of one link they come in order.
    fn record(&mut self, link: &LinkInfo, record: &TapRecord<'_>) -> io::Result<()>;

    /// After each round over all taps, every few milliseconds: what was recorded is written now. All records up to
    /// about `now` were seen.
    fn tick(&mut self, now: Time) -> io::Result<()>;

    /// The last call, on the thread of whoever removes the sink.
    fn finish(&mut self) -> io::Result<()>;

    /// What was written, oldest first.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Bytes that reached this sink and that it could not pass on.
    fn lost_bytes(&self) -> u64 {
        0
    }
}

/// A sink that a hub has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkId(pub(crate) u64);

/// What a sink has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkReport {
    /// Records that it was given.
    pub records: u64,
    /// Bytes from the lines in them.
    pub bytes: u64,
    /// Bytes from the lines that are not in the capture: they did not fit into a tap, or the sink could not pass them
    /// on in time. Zero means that nothing is missing.
    pub lost_bytes: u64,
    pub files: Vec<PathBuf>,
    /// Why the sink ended early.
    pub error: Option<String>,
}
