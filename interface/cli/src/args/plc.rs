//! What `plc` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hilrig_capture::{Framing as CaptureFraming, PacketFormat, Points};
use hilrig_modbus::Framing;

use super::bridge::Rotate;

pub const PLC_HELP: &str = "Without a model each unit has 100 addresses in each table: holding and input registers \
that count up from 0, coils and discrete inputs that are off. A model says what else there is: points with types and \
signals, faults, poll lists, sniffers, gateways, telegrams.

Example: hilrig plc --port /dev/ttyUSB0?baud=19200&format=8E1 --unit 17 --trace
Example: hilrig plc --port pty:plc --port tcp-listen:127.0.0.1:5020 --trace
Example: hilrig plc rigs/models/pump.toml --port line=pty:pump --trace --watch
Example: hilrig plc --port /dev/ttyUSB0 --capture line.pcapng
Example: hilrig plc check rigs/models/pump.toml
Example: hilrig plc set pump.speed=1450 (of the simulator that the daemon runs)";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct PlcArgs {
    #[command(subcommand)]
    pub command: Option<PlcCommand>,
    /// The model file
    pub model: Option<PathBuf>,
    /// Serve on this port; NAME=URL says where a port of the model is (repeatable)
    #[arg(long = "port", value_name = "[NAME=]URL")]
    pub ports: Vec<String>,
    /// Framing of the ports given here: rtu, ascii, tcp, rtu-over-tcp, ascii-over-tcp [default: rtu; tcp behind a
    /// listener]
    #[arg(long, value_name = "FRAMING")]
    pub framing: Option<Framing>,
    /// Speed of the ports given here, where their URLs do not say it
    #[arg(long, value_name = "BAUD", default_value_t = 19200, value_parser = clap::value_parser!(u32).range(50..=20_000_000))]
    pub baud: u32,
    /// Characters of the ports given here, where their URLs do not say it
    #[arg(long, value_name = "FORMAT", default_value = "8E1", value_parser = |text: &str| text.parse::<hilrig_port::Format>())]
    pub format: hilrig_port::Format,
    /// Unit ids to serve [default: 1, or all of the model]
    #[arg(long = "unit", value_name = "ID", value_parser = clap::value_parser!(u8).range(1..=247))]
    pub units: Vec<u8>,
    /// Seed of everything random [default: the model's]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Show requests and replies with their points and values
    #[arg(long)]
    pub trace: bool,
    /// A fault of replies, a TOML table or JSON: name, when, effect (repeatable)
    #[arg(long = "fault", value_name = "RULE")]
    pub faults: Vec<String>,
    /// Read the model again when one of its files changes (SIGHUP does so at any time)
    #[arg(long, requires = "model")]
    pub watch: bool,
    /// Capture what passes on all ports but listeners, from the first byte, into a pcapng file; `-`: to stdout
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
    #[command(flatten)]
    pub shape: PlcCaptureShape,
    /// End when all ports are lost, instead of waiting for their return
    #[arg(long)]
    pub no_reconnect: bool,
    /// Begin with the state in this file, if it is there, and keep it there at the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Give the ports a thread that asks for real time, such as `fifo = 10, spinMicroseconds = 60`
    #[arg(long, value_name = "WISHES", num_args = 0..=1, require_equals = true,
        default_missing_value = "fifo = 10, spinMicroseconds = 60, lockMemory = true")]
    pub realtime: Option<String>,
}

/// How a capture looks. `--format` and `--framing` are those of the lines here.
#[derive(Debug, Args)]
pub struct PlcCaptureShape {
    /// What Wireshark is told: `rtac` (lines, break, errors) or `pdu:DISSECTOR` (opens without a setting)
    #[arg(long, value_name = "FORMAT", default_value = "rtac", requires = "capture")]
    pub capture_format: PacketFormat,
    /// What one packet is: `raw`, `silence`, `silence:TIME` or `terminator:HEX` [default: a frame of the ports' framing]
    #[arg(long, value_name = "FRAMING", requires = "capture")]
    pub capture_framing: Option<CaptureFraming>,
    /// Which bytes: `in` (from the lines), `out` (to them) or `both`
    #[arg(long, value_name = "POINTS", default_value = "both", requires = "capture")]
    pub capture_points: Points,
    /// Begin a new file at a size or after a time, as 100MB, 60s or 100MB,60s
    #[arg(long, value_name = "SIZE,TIME", requires = "capture")]
    pub rotate: Option<Rotate>,
    /// Keep so many files of the capture
    #[arg(long, value_name = "FILES", requires = "rotate")]
    pub keep: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub enum PlcCommand {
    /// Check a model file and tell what is in it
    #[command(after_help = "Example: hilrig plc check rigs/models/pump.toml")]
    Check { model: PathBuf },
    /// List the points of the running simulator
    #[command(after_help = "Example: hilrig plc points 'pump.*'")]
    Points {
        /// Names or patterns [default: all]
        points: Vec<String>,
    },
    /// Print values of points of the running simulator
    #[command(after_help = "Example: hilrig plc get pump.speed")]
    Get {
        #[arg(required = true)]
        points: Vec<String>,
    },
    /// Give points of the running simulator values, all or none
    #[command(after_help = "Example: hilrig plc set pump.speed=1450 pump.run=true")]
    Set {
        #[arg(required = true, value_name = "POINT=VALUE")]
        values: Vec<String>,
    },
    /// Move a point of the running simulator to a value in even steps
    #[command(after_help = "Example: hilrig plc ramp pump.speed=0 --seconds 30")]
    Ramp {
        #[arg(value_name = "POINT=VALUE")]
        value: String,
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
    },
    /// Let the signals of points go on that were set
    #[command(after_help = "Example: hilrig plc release pump.speed")]
    Release {
        /// Names or patterns [default: all]
        points: Vec<String>,
    },
}
