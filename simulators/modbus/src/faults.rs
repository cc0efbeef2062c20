//! Faults of a slave, between its replies and the wire.

mod file;

pub use file::{BabbleFile, DelayFile, RandomDelay, ReplyEffect, ReplyRuleFile, ReplyWhen, SplitFile, TableName};
