//! Time that passes at the station of a fuzz body: each deadline is met, and dealt with. No target of its own.

use std::time::Duration;

use hilrig_port::{Station, Time, Tx};

/// Answers how often it said something.
pub fn pass(station: &mut dyn Station, now: &mut Time, time: Duration, tx: &mut Tx) -> usize {
    let end = *now + time;
    let mut replies = 0;
    while let Some(due) = station.deadline().filter(|&due| due <= end) {
        station.on_deadline(due, tx);
        replies += usize::from(!tx.pending().is_empty());
        tx.clear();
        assert!(station.deadline().is_none_or(|next| next > due), "a deadline is dealt with");
    }
    *now = end;
    replies
}
