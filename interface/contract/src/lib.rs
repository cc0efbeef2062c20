//! The process interface (V0): wire types, error codes and the [`App`] trait that every part implements once.
//!
//! Holds data and rules only: no I/O, no clock other than the timestamp format, no runtime. Bindings and the
//! dispatcher live in `hilrig-host`; apps live in their own crates.

mod action;
mod app;
pub mod arg;
mod config;
mod error;
mod value;
mod wire;

pub use action::{ActionDescriptor, ArgDescriptor, ArgType, Args};
pub use app::{App, AppSpec, AppStatus, Call, Job, Publisher, RunIdentity, Stop};
pub use config::{Check, ConfigKey, ConfigSection, ConfigTree, SectionProblem, ValueKind};
pub use error::{ContractError, ErrorCode};
pub use value::{coerce, object};
pub use wire::*;

/// `interfaceName` of the contract.
pub const INTERFACE_NAME: &str = "generic-process-interface";
/// `interfaceVersion` of the contract (its major).
pub const INTERFACE_VERSION: u64 = 1;
/// Longest request line accepted, without its line end.
pub const MAX_LINE: usize = 1 << 20;
/// Deepest nesting of arrays and objects accepted in a request line.
pub const MAX_DEPTH: usize = 128;
/// Most bytes kept of each of a job's two output streams; what is over is cut at the front and marked.
pub const MAX_JOB_OUTPUT: usize = 256 << 10;
