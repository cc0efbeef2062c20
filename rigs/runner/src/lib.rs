//! Rigs: a TOML file that says what is wired to what and what must happen, run on real ports in this process,
//! with a verdict. Never reports trouble of the bench as a failure of the device.

mod act;
mod background;
mod bench;
mod check;
mod compare;
mod file;
mod golden;
mod hall;
mod log;
mod model;
mod names;
mod plan;
mod points;
mod report;
mod run;
mod steps;
mod watch;
mod words;

pub use background::{RigRun, RigSnapshot};
pub use file::schema;
pub use golden::{Golden, GoldenError};
pub use hilrig_files::{FileError, render};
pub use log::log_schema;
pub use miette::Report;
pub use plan::Plan;
pub use report::{
    BytesResult, FaultResult, FiringResult, LimitResult, Measurement, ReplyFaultResult, RunResult,
    StationResult, StepResult, Verdict, result_schema,
};
pub use run::{On, Options, VirtualRun, run, run_virtual};
