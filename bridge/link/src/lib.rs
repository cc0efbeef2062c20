//! The bridge: links between ports, as a set in the foreground ([`LinkSet`]) and as the app `bridge`.
//!
//! Opens ports and hands them to a shard; it never touches a byte itself.

mod app;
mod links;
mod scenario;

pub use app::{BridgeApp, spec};
pub use links::{LinkError, LinkRow, LinkSet, LinkSpec, refuse_real_ports};
pub use scenario::{Scenario, ScenarioState, Scenarios};
