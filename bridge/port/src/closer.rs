//! Closes lines that a shard has lost, on a thread of its own: a close may wait, and a device that has vanished gets
//! its old name again only when nobody holds it any more. One thread a process.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Sender, bounded};

use crate::PortStats;
use crate::line::Line;

type Lost = (Line, Arc<PortStats>);

/// `None` when the thread cannot be started: then lines are closed with their unit.
pub(crate) fn closer() -> Option<&'static Sender<Lost>> {
    static CLOSER: OnceLock<Option<Sender<Lost>>> = OnceLock::new();
    CLOSER
        .get_or_init(|| {
            let (sender, lost) = bounded::<Lost>(256);
            let thread = std::thread::Builder::new().name("hilrig-closer".into()).spawn(move || {
                for (line, stats) in lost {
                    drop(line);
                    stats.set_closing(false);
                }
            });
            thread.ok().map(|_| sender)
        })
        .as_ref()
}
