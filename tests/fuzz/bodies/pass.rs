//! Time that passes at the station of a fuzz body: each deadline is met, and dealt with. No target of its own.

use std::time::Duration;

use hilrig_port::{Station, Time, Tx};

/// Answers what it said, and when.
pub fn pass(station: &mut dyn Station, now: &mut Time, time: Duration, tx: &mut Tx) -> Vec<(Time, Vec<u8>)> {
    let (end, mut said) = (*now + time, vec![]);
    while let Some(due) = station.deadline().filter(|&due| due <= end) {
        station.on_deadline(due, tx);
        if !tx.pending().is_empty() {
            said.push((due, tx.pending().to_vec()));
        }
        tx.clear();
        assert!(station.deadline().is_none_or(|next| next > due), "a deadline is dealt with");
    }
    *now = end;
    said
}
