//! Faults of a slave, between its replies and the wire: rules that choose replies, and what they do to them. Owns no line
//! and no time; allocates when a rule is prepared, never when it acts.
#![doc = include_str!("../FAULTS.md")]

mod dice;
mod file;
mod prepare;
mod rules;
mod shape;

pub use file::{
    BabbleFile, DelayFile, RandomDelay, ReplyEffect, ReplyRuleFile, ReplyWhen, SplitFile, TableName,
};
pub use prepare::{Prepared, prepare};
pub(crate) use rules::{Asked, Chosen};
pub use rules::{Fired, ReplyFaults, RuleReport, TooManyRules};
pub(crate) use shape::{Close, Reply, Shape};

#[cfg(test)]
#[path = "faults_tests.rs"]
pub(crate) mod tests;
