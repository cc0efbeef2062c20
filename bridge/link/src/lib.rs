//! The bridge: links between ports, as a set in the foreground ([`LinkSet`]) and as the app `bridge`.
//!
//! Opens ports, hands them to shards, and looks after them; it never touches a byte itself.

mod actions;
mod app;
mod bench;
mod capture_actions;
mod config;
mod faults;
mod keeper;
mod lines;
mod links;
mod live;
mod news;
mod pairs;
mod replay;
mod rows;
mod scenario;
mod spec;
mod status;

pub use app::{BridgeApp, spec};
pub use hilrig_record::{CaptureRow, Captures};
pub use links::{Ended, LinkError, LinkSet, refuse_real_ports};
pub use news::{Firing, PortNews};
pub use rows::{FaultRow, GrantRow, LinkCounters, LinkRow, LinkState, PortRow};
pub use scenario::{Scenario, ScenarioState, Scenarios};
pub use spec::{LineWords, LinkSpec, RealTimeSpec};
