//! Any text as a rig file: either it is a rig, or every problem of it can be shown.

use hilrig_rigs::{FileError, Plan, render};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(report) = Plan::parse(text, "rig.toml") {
        assert!(!render(&report, false).is_empty());
        let error = report.downcast_ref::<FileError>().expect("rig files fail with a FileError");
        assert!(!error.problems.is_empty() && error.problems.iter().all(|p| p.span.end <= text.len()));
    }
}
