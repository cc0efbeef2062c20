//! The command line's grammar and help texts. Those of the bridge's own commands are in [`bridge`],
//! those of the PLC simulator in [`plc`] and of the Modbus client in [`modbus`].

mod bridge;
mod modbus;
mod plc;
mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use bridge::*;
pub use modbus::*;
pub use plc::*;
pub use run::*;

/// Hardware-in-the-loop simulator and serial bridge.
///
/// Plays a PLC on a COM line, bridges serial ports to ports and sockets, and runs rigs made of both.
/// Exit codes: 0 pass, 1 fail, 2 usage or bad file, 3 infrastructure, 4 canceled or timed out.
#[derive(Debug, Parser)]
#[command(name = "hilrig", version, max_term_width = 110, after_help = "Example: hilrig run rigs/first.toml")]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,

    /// Root directory of the installation: config, rigs, captures, logs, state
    #[arg(long, global = true, value_name = "DIR", default_value = ".", env = "HILRIG_ROOT")]
    pub root: PathBuf,

    /// The daemon to talk to: unix:PATH or tcp:HOST:PORT [default: the one that serves the root directory]
    #[arg(long, global = true, value_name = "ENDPOINT", env = "HILRIG_CONNECT")]
    pub connect: Option<String>,

    /// Print the contract's own objects, as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the process interface over TCP and a Unix socket: the daemon
    #[command(after_help = "Example: hilrig serve --root /srv/bench --tcp 127.0.0.1:8765")]
    Serve {
        /// Address of the TCP listener; other than loopback needs --token-file
        #[arg(long, value_name = "HOST:PORT", default_value = hilrig_host::DEFAULT_TCP)]
        tcp: String,
        /// No TCP listener
        #[arg(long, conflicts_with = "tcp")]
        no_tcp: bool,
        /// Path of the Unix socket [default: in the runtime directory]
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// File with a token that every request over TCP must carry
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Speak the process interface on stdin and stdout, one JSON object a line
    #[command(after_help = "Example: echo '{\"method\":\"ping\"}' | hilrig stdio")]
    Stdio,
    /// Own the runs of some apps on behalf of a daemon
    #[command(hide = true)]
    Host { name: String },
    /// Call any method of a running daemon
    #[command(after_help = "Example: hilrig call status.get '{\"appId\":\"bridge\"}'")]
    Call {
        method: String,
        /// Parameters, a JSON object
        params: Option<String>,
    },
    /// Show the status of one app, or of all
    #[command(after_help = "Example: hilrig status bridge")]
    Status { app: Option<String> },
    /// Read and change the configuration of an app
    #[command(after_help = "Example: hilrig config set bridge near.url /dev/ttyUSB0")]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// List and invoke actions
    #[command(after_help = "Example: hilrig action invoke bridge run_start --wait")]
    Action {
        #[command(subcommand)]
        command: ActionCommand,
    },
    /// Look at jobs and cancel them
    #[command(after_help = "Example: hilrig job list bridge")]
    Job {
        #[command(subcommand)]
        command: JobCommand,
    },
    /// Run a rig in the foreground and give its verdict
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Link ports in pairs until interrupted; any number of links in one process
    #[command(after_help = LINK_HELP)]
    Link(LinkArgs),
    /// Make a virtual null modem, NAME.a and NAME.b, until interrupted
    #[command(after_help = PAIR_HELP)]
    Pair(PairArgs),
    /// Capture what goes over the links of a running bridge, as Wireshark reads it
    #[command(after_help = CAPTURE_HELP)]
    Capture(Box<CaptureArgs>),
    /// Send one side of a capture to a port, with the timing of the recording
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Simulate a PLC in the foreground, or ask the simulator that the daemon runs
    #[command(after_help = PLC_HELP)]
    Plc(Box<PlcArgs>),
    /// Read, write, scan and watch Modbus devices: a small client
    #[command(after_help = MODBUS_HELP)]
    Modbus {
        #[command(subcommand)]
        command: ModbusCommand,
    },
    /// Look at runs that were recorded with --record
    #[command(after_help = "Example: hilrig runs list --db runs.db")]
    Runs {
        #[command(subcommand)]
        command: RunsCommand,
    },
    /// List the serial ports of this machine and who holds them
    #[command(after_help = "Example: hilrig ports --json")]
    Ports,
    /// Check what this machine grants: permissions, real-time limits, tools
    #[command(after_help = "Example: hilrig doctor")]
    Doctor,
    /// Create a root directory with commented configs and a first rig
    #[command(after_help = "Example: hilrig init /srv/bench")]
    Init {
        /// [default: --root]
        dir: Option<PathBuf>,
    },
    /// Print the completions for a shell
    #[command(
        after_help = "Example: hilrig completions bash > ~/.local/share/bash-completion/completions/hilrig"
    )]
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show all keys of an app, or one
    #[command(after_help = "Example: hilrig config get bridge near.url")]
    Get { app: String, key: Option<String> },
    /// Change one key in the app's file
    #[command(after_help = "Example: hilrig config set plc-simulator unitId 17")]
    Set {
        app: String,
        key: String,
        value: String,
        /// Refuse if the file has changed since this revision (of `config get --json`)
        #[arg(long, value_name = "REVISION")]
        expect: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ActionCommand {
    /// List the actions of an app and their arguments
    #[command(after_help = "Example: hilrig action list bridge")]
    List { app: String },
    /// Invoke an action; the answer is a job
    #[command(after_help = "Example: hilrig action invoke bridge run_start rig=first --wait")]
    Invoke {
        app: String,
        action: String,
        /// Arguments as name=value, or one JSON object
        args: Vec<String>,
        /// Wait for the job's end; the exit code is its outcome
        #[arg(long)]
        wait: bool,
        /// Stop the action after so many seconds
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<f64>,
    },
}

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Show a job
    #[command(after_help = "Example: hilrig job get bridge job-0123456789abcdef0123456789abcdef")]
    Get { app: String, job: String },
    /// List the jobs of an app
    #[command(after_help = "Example: hilrig job list bridge")]
    List { app: String },
    /// Cancel a job
    #[command(after_help = "Example: hilrig job cancel bridge job-0123456789abcdef0123456789abcdef")]
    Cancel { app: String, job: String },
}
