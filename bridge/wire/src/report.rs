//! What became of a rule, for results and status. Plain data.

use hilrig_port::{Direction, Time};
use serde::Serialize;

/// How many firings of a rule are kept with place and time, the last ones; all are counted.
pub const FIRINGS_KEPT: usize = 64;

/// One firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firing {
    pub at: Time,
    pub direction: Direction,
    /// Place of the first byte it is about, among all that came in this direction since the start.
    pub position: u64,
    /// Bytes it touched.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleReport {
    pub id: String,
    /// As in its notes.
    pub number: u32,
    /// It can still fire.
    pub armed: bool,
    pub fired: u64,
    /// Bytes or frames it looked at.
    pub seen: u64,
    /// Bytes it touched.
    pub bytes: u64,
    /// The last [`FIRINGS_KEPT`], oldest first.
    pub firings: Vec<Firing>,
}

impl RuleReport {
    pub fn never_fired(&self) -> bool {
        self.fired == 0
    }
}

/// For JSON results: everything but the firings' origin of time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flat<'a> {
    id: &'a str,
    number: u32,
    armed: bool,
    fired: u64,
    never_fired: bool,
    seen: u64,
    bytes: u64,
    firings: Vec<FlatFiring>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FlatFiring {
    at_ns: u64,
    direction: &'static str,
    position: u64,
    bytes: u64,
}

impl Serialize for RuleReport {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let firings = self.firings.iter().map(|f| FlatFiring {
            at_ns: f.at.0,
            direction: if f.direction == Direction::AToB { "a->b" } else { "b->a" },
            position: f.position,
            bytes: f.bytes,
        });
        let Self { id, number, armed, fired, seen, bytes, .. } = self;
        Flat {
            id,
            number: *number,
            armed: *armed,
            fired: *fired,
            never_fired: self.never_fired(),
            seen: *seen,
            bytes: *bytes,
            firings: firings.collect(),
        }
        .serialize(s)
    }
}
