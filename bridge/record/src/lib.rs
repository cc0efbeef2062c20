//! What went over lines, kept: captures in files and runs in a database, frame by frame, with statistics; and what the
//! actions on them have in common. Reads taps, never lines.
//!
//! A file holds any number of runs, and several processes may write into it at once. A run whose process was killed
//! stays readable up to the last 50 ms or so, and counts as unfinished.

use hilrig_capture::{Framing, Points};

mod actions;
mod captures;
mod error;
mod link;
mod query;
mod recorder;
mod rows;
mod schema;
mod writer;

pub use actions::{
    capture_action, capture_folder, capture_sentence, capture_spec, replay_action, replay_follow,
    replay_player, replay_result,
};
pub use captures::{CaptureError, CaptureRow, Captures, RING, Tapped};
pub use error::RecordError;
pub use query::{Window, counts, list, show};
pub use recorder::{Recorded, Recording, RunRecorder};
pub use rows::{
    Counts, EventCount, EventRow, FrameRow, LineAccount, LinkDetail, RunDetail, RunRow, StatisticsRow,
};

/// What a run is called and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    pub name: String,
    /// What was asked for: a command line, or an action with its arguments.
    pub command: String,
    /// The configuration as text.
    pub config: String,
    pub seed: Option<u64>,
    pub host: String,
    /// Those that are known already, so that one without traffic is told of too.
    pub links: Vec<RunLink>,
    pub framing: Framing,
    /// Records of other points are left out.
    pub points: Points,
}

/// A link and its two port URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLink {
    pub name: String,
    pub a: String,
    pub b: String,
}

impl RunInfo {
    /// A run on this machine.
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (name, command) = (name.into(), command.into());
        Self {
            name,
            command,
            config: String::new(),
            seed: None,
            host,
            links: Vec::new(),
            framing: Framing::default(),
            points: Points::default(),
        }
    }
}

#[cfg(test)]
mod tests;
