//! App `plc-simulator`: models of units and points, served on ports. The protocols are in the crates below.

mod app;
mod config;

pub use app::{PlcApp, spec};
