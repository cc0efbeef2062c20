//! The near end of a tap: which bytes are recorded, and that a loss of records is told once. Writes no records itself.

use crate::events::{Event, Happened};
use crate::set::Set;
use crate::{Tap, TapRecord};

/// Which bytes of a link, or of a station's line, its tap records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TapPoints {
    /// As they came from the sender; at a station, what it hears.
    In,
    /// As the receiver's port took them; at a station, what it says.
    #[default]
    Out,
    Both,
}

/// A link's end of its tap, or a station's.
#[derive(Debug)]
pub(crate) struct Tapping {
    pub tap: Option<Tap>,
    pub points: TapPoints,
    losing: bool,
}

impl Tapping {
    pub fn new(tap: Option<Tap>, points: TapPoints) -> Self {
        Self { tap, points, losing: false }
    }

    pub fn taps(&self, point: TapPoints) -> bool {
        self.tap.is_some() && (self.points == point || self.points == TapPoints::Both)
    }

    /// Notes one thing; `link` is whose loss of records is told.
    pub fn record(&mut self, record: TapRecord<'_>, link: u64, set: &mut Set) {
        let Some(tap) = &mut self.tap else { return };
        tap.record(record);
        let losing = tap.losing();
        if losing && !self.losing {
            let what = Happened::TapLost(tap.untold());
            set.news.post(Event { at: record.at, link, side: record.side.into(), what });
        }
        self.losing = losing;
    }
}
