//! The benchmarks' command line: which comparison, how long, table or JSON. It measures nothing itself.

mod bridge;
mod child;
mod client;
mod contract;
mod line;
mod many;
mod modbus;
mod pacing;
mod programs;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compares hilrig with its peers in one run and prints ratios.
///
/// Exit codes: 0 measured (floors reached or not), 1 a peer or hilrig gave wrong content, 2 usage, 3 something needed is missing.
#[derive(Debug, Parser)]
#[command(name = "hilrig-bench", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// `hilrig link` against C loops, socat, gensiot and ser2net: latency, CPU, system calls, throughput, many links
    Bridge(bridge::Options),
    /// `hilrig plc` against libmodbus, tokio-modbus, pymodbus and a minimal C server: rates, CPU, memory, punctuality
    Modbus(modbus::Options),
    /// A virtual pair at 9600 baud against tokio's timers: how late bytes are released
    Pacing(pacing::Options),
    /// `status.get` of the daemon against a plain Python server: latency, also during a 10 s action
    Contract(contract::Options),
    /// A peer of the Modbus comparison, which starts it
    #[command(hide = true)]
    ServeTokioModbus(modbus::PeerOptions),
}

/// What all comparisons take.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// A smoke run of some seconds; its figures mean little
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// The hilrig binary; by default the one beside this program
    #[arg(long, value_name = "PATH")]
    hilrig: Option<PathBuf>,
}

impl Common {
    pub fn hilrig(&self) -> Result<PathBuf, Failure> {
        Ok(match &self.hilrig {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("hilrig"),
        })
    }
}

/// Why a benchmark ends without a result.
#[derive(Debug)]
pub enum Failure {
    /// A byte or an answer was not what it had to be: the only thing that makes a benchmark fail.
    Wrong(String),
    /// A program, port or permission is missing.
    Missing(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Missing(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Failure::Missing(error.to_string())
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().what {
        What::Bridge(options) => bridge::run(&options),
        What::Modbus(options) => modbus::run(&options),
        What::Pacing(options) => pacing::run(&options),
        What::Contract(options) => contract::run(&options),
        What::ServeTokioModbus(options) => modbus::run_peer(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Wrong(message)) => {
            eprintln!("wrong content: {message}");
            ExitCode::from(1)
        }
        Err(Failure::Missing(message)) => {
            eprintln!("cannot measure: {message}");
            ExitCode::from(3)
        }
    }
}
