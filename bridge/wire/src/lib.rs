#![doc = include_str!("../RULES.md")]

mod core;
mod fault;
mod frames;
mod notes;
mod prepare;
mod queue;
pub mod random;
mod report;
mod rule;
mod rules;
mod shelf;
mod sim;
mod spec;
mod text;
mod trigger;
mod uart;
mod wire;

pub use crate::core::{Armed, LinkCore};
pub use prepare::Prepared;
pub use report::{FIRINGS_KEPT, Firing, RuleReport};
pub use rule::{
    Corrupt, Effect, FaultRule, Insert, Line, LineDrop, Mark, Reorder, RuleError, Speed, Unit, Way, When,
};
pub use spec::{BUSY_MACHINE, CoreSpec, Echo, Mismatch, WireSpec, character_time, frame_silence};
pub use text::{Hex, Pattern, Span};

/// How many rules a link holds at once.
pub const MAX_RULES: usize = 32;

/// Half a second in nanoseconds: half a bit lasts this divided by the baud rate.
pub(crate) const NS_HALF: u64 = 500_000_000;
