//! The data of simulated devices: four tables for each unit, typed points over them, and behaviours that make values of
//! time. Sans-IO; knows no protocol and no clock.

mod plant;
mod unit;

pub use plant::{Plant, Refusal, Shared};
pub use unit::{Table, Unit, UnitError};
