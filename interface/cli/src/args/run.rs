//! Grammar and help of `hilrig run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub const RUN_HELP: &str = "Example: hilrig run rigs/first.toml --report out
Example: hilrig run rigs/hour.toml --virtual-time
Example: hilrig run rigs/first.toml --virtual-time --log first.ndjson
Example: hilrig run rigs/first.toml --golden first.ndjson";

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The rig file
    pub rig: PathBuf,
    /// Write result.json and junit.xml into this directory
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Seed of everything random [default: the rig's own]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Run without ports, on simulated time: as fast as it can be computed, and alike in every run
    #[arg(long)]
    pub virtual_time: bool,
    /// Write what happens into this file, one JSON object a line; `-` is stdout
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Compare what happens with this log of an earlier run, and fail where it differs
    #[arg(long, value_name = "FILE")]
    pub golden: Option<PathBuf>,
    /// How far times may be off the golden log's, as 50ms [default: times are not compared]
    #[arg(long, value_name = "TIME", requires = "golden", value_parser = time)]
    pub tolerance: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, String> {
    hilrig_files::parse_time(text).ok_or_else(|| "write a number and us, ms, s or min, as 50ms".to_owned())
}
