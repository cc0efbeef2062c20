//! What `link`, `pair`, `capture`, `replay` and `runs` take.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hilrig_capture::{Framing, PacketFormat, Points};

pub const LINK_HELP: &str = "Example: hilrig link /dev/ttyUSB0?baud=19200 tcp-listen:127.0.0.1:9000
Example: hilrig link pty:plc usb:0403:6001 --capture line.pcapng --framing silence --record runs.db
Example: hilrig link pty:a pty:b --fault 'id=\"lost\", direction=\"a->b\", when={every=10}, effect=\"drop\"'

Ports: /dev/ttyUSB0?baud=19200&format=8E1&flow=rtscts, serial:PATH, usb:VID:PID[:SERIAL], pty:NAME,
tcp:HOST:PORT, tcp-listen:HOST:PORT, rfc2217:HOST:PORT, rfc2217-listen:HOST:PORT, unix:PATH, unix-listen:PATH";

pub const PAIR_HELP: &str =
    "Bytes take the time they take at the baud rates that the two applications set; where \
these differ, what arrives is garbled. --no-wire passes everything on at once.

Example: hilrig pair bench
Example: hilrig pair bench --baud 9600 --noise 1e-5";

pub const CAPTURE_HELP: &str = "Example: hilrig capture --stdout | wireshark -k -i -
Example: hilrig capture --link main --file line.pcapng --format pdu:mbrtu --framing silence
Example: hilrig capture --install-extcap";

pub const REPLAY_HELP: &str = "Exit code 0: all as recorded; 1: the other side's bytes differ, and where.

Example: hilrig replay line.pcapng --to /dev/ttyUSB0?baud=19200 --only a
Example: hilrig replay line.pcapng --to pty:device --only b --expect --speed 10";

#[derive(Debug, Args)]
pub struct LinkArgs {
    /// A B [A2 B2 ...]
    #[arg(required = true, num_args = 2.., value_name = "PORT")]
    pub ports: Vec<String>,
    /// Behave like a wire: `on`, or settings such as `baud = 9600, noise = 1e-6, halfDuplex = true`
    #[arg(long, value_name = "SPEC")]
    pub wire: Option<String>,
    /// How modem lines cross the links
    #[arg(long, value_enum, default_value_t = LinesArg::Auto)]
    pub lines: LinesArg,
    /// End when a port is lost, instead of waiting for its return
    #[arg(long)]
    pub no_reconnect: bool,
    #[command(flatten)]
    pub more: CarryArgs,
}

/// What `link` and `pair` have in common.
#[derive(Debug, Args)]
pub struct CarryArgs {
    /// A fault on every link, a TOML table or JSON: id, direction, when, effect (repeatable)
    #[arg(long = "fault", value_name = "RULE")]
    pub faults: Vec<String>,
    /// A file with `[[faults]]`, TOML, or JSON
    #[arg(long = "faults", value_name = "FILE")]
    pub fault_file: Option<PathBuf>,
    /// Capture all links into a pcapng file; `-`: to stdout
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
    #[command(flatten)]
    pub shape: CaptureShape,
    /// Record the run into an SQLite database (see `hilrig runs`)
    #[arg(long, value_name = "DB")]
    pub record: Option<PathBuf>,
    /// Name of the run in the database
    #[arg(long, value_name = "NAME", requires = "record")]
    pub run_name: Option<String>,
    /// Seed of everything random [default: another one each time, printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Give each link a thread of its own that asks for real time, such as `fifo = 10, spinMicroseconds = 60`
    #[arg(long, value_name = "WISHES", num_args = 0..=1, require_equals = true,
        default_missing_value = "fifo = 10, spinMicroseconds = 60, lockMemory = true")]
    pub realtime: Option<String>,
}

/// How a capture looks.
#[derive(Debug, Clone, Args)]
pub struct CaptureShape {
    /// What Wireshark is told: `rtac` (lines, break, errors) or `pdu:DISSECTOR` (opens without a setting)
    #[arg(long, value_name = "FORMAT", default_value = "rtac")]
    pub format: PacketFormat,
    /// What one packet is: `raw`, `silence`, `silence:TIME` or `terminator:HEX`
    #[arg(long, value_name = "FRAMING", default_value = "raw")]
    pub framing: Framing,
    /// Where bytes are captured: `in` (before faults and pacing), `out` (after them) or `both`
    #[arg(long, value_name = "POINTS", default_value = "out")]
    pub points: Points,
    /// Begin a new file at a size or after a time, as 100MB, 60s or 100MB,60s
    #[arg(long, value_name = "SIZE,TIME")]
    pub rotate: Option<Rotate>,
    /// Keep so many files of the capture
    #[arg(long, value_name = "FILES", requires = "rotate")]
    pub keep: Option<u32>,
}

/// When a capture begins a new file.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rotate {
    pub megabytes: Option<f64>,
    pub seconds: Option<f64>,
}

impl std::str::FromStr for Rotate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rotate = Self::default();
        for part in text.split(',').map(str::trim) {
            let unit_at = part.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(part.len());
            let (number, unit) = part.split_at(unit_at);
            let number = number.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
            let to = match unit {
                "kB" => (&mut rotate.megabytes, 1e-3),
                "MB" => (&mut rotate.megabytes, 1.0),
                "GB" => (&mut rotate.megabytes, 1e3),
                "s" => (&mut rotate.seconds, 1.0),
                "min" => (&mut rotate.seconds, 60.0),
                "h" => (&mut rotate.seconds, 3600.0),
                _ => return Err(format!("`{part}` is no size or time; the form is 100MB, 60s or 100MB,60s")),
            };
            let Some(number) = number else {
                return Err(format!("`{part}` has no number above 0; the form is 100MB, 60s or 100MB,60s"));
            };
            if to.0.replace(number * to.1).is_some() {
                return Err(format!("`{text}` says two sizes or two times"));
            }
        }
        Ok(rotate)
    }
}

/// How modem lines cross a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LinesArg {
    /// By what the ports are: an application's lines drive the device's, two applications have a null modem
    Auto,
    /// Also between two devices
    Cross,
    Off,
}

#[derive(Debug, Args)]
pub struct PairArgs {
    pub name: String,
    /// Let the line run at this rate, whatever the applications set
    #[arg(long, conflicts_with = "no_wire")]
    pub baud: Option<u32>,
    /// Probability that a bit arrives wrong, as 1e-5
    #[arg(long, value_name = "RATE", conflicts_with = "no_wire")]
    pub noise: Option<f64>,
    /// More settings of the wire, such as `echo = "both", halfDuplex = true`
    #[arg(long, value_name = "SPEC", conflicts_with = "no_wire")]
    pub wire: Option<String>,
    /// No wire: pass bytes on at once
    #[arg(long)]
    pub no_wire: bool,
    /// Carry modem lines, break, parity and word length too, for programs that are started with the environment
    /// that this prints first
    #[arg(long)]
    pub shim: bool,
    #[command(flatten)]
    pub more: CarryArgs,
}

#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Capture this link of the bridge (repeatable) [default: all]
    #[arg(long = "link", value_name = "NAME")]
    pub links: Vec<String>,
    /// Write the capture to stdout until interrupted
    #[arg(long)]
    pub stdout: bool,
    /// Write the capture to a file until interrupted
    #[arg(long, value_name = "FILE", conflicts_with = "stdout")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub shape: CaptureShape,
    /// Make the links appear in Wireshark's own list of interfaces
    #[arg(long, conflicts_with_all = ["stdout", "file"])]
    pub install_extcap: bool,
    /// Take that back
    #[arg(long, conflicts_with_all = ["stdout", "file", "install_extcap"])]
    pub uninstall_extcap: bool,
    #[command(flatten)]
    pub extcap: ExtcapArgs,
}

/// How Wireshark calls.
#[derive(Debug, Args)]
pub struct ExtcapArgs {
    #[arg(long, hide = true)]
    pub extcap_interfaces: bool,
    #[arg(long, hide = true)]
    pub extcap_dlts: bool,
    #[arg(long, hide = true)]
    pub extcap_config: bool,
    #[arg(long, hide = true, value_name = "OPTION")]
    pub extcap_reload_option: Option<String>,
    #[arg(long, hide = true, value_name = "VERSION")]
    pub extcap_version: Option<String>,
    #[arg(long, hide = true, value_name = "INTERFACE")]
    pub extcap_interface: Option<String>,
    #[arg(long, hide = true, value_name = "FILTER", num_args = 0..=1)]
    pub extcap_capture_filter: Option<String>,
    #[arg(long, hide = true, requires_all = ["fifo", "extcap_interface"])]
    pub capture: bool,
    #[arg(long, hide = true, value_name = "PATH")]
    pub fifo: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The capture: pcapng of hilrig, or of others with RTAC serial records
    pub file: PathBuf,
    /// The port to send to
    #[arg(long, value_name = "PORT")]
    pub to: String,
    /// Times as fast as recorded
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub speed: f64,
    /// Send what this side sent [default: what both sent, in order]
    #[arg(long, value_name = "SIDE", value_enum)]
    pub only: Option<SideArg>,
    /// Compare what comes back with what the other side sent
    #[arg(long, requires = "only")]
    pub expect: bool,
    /// The link in a capture of several
    #[arg(long, value_name = "NAME")]
    pub link: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SideArg {
    A,
    B,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List the runs of a database
    #[command(after_help = "Example: hilrig runs list --db runs.db")]
    List {
        /// [default: that of the installation, state/runs.db]
        #[arg(long, value_name = "FILE")]
        db: Option<PathBuf>,
    },
    /// Show one run: its links, their statistics, and as many of its events and frames as asked for
    #[command(after_help = "Example: hilrig runs show 3 --db runs.db --frames 20")]
    Show {
        /// [default: the last one]
        id: Option<i64>,
        /// [default: that of the installation, state/runs.db]
        #[arg(long, value_name = "FILE")]
        db: Option<PathBuf>,
        /// The last so many frames
        #[arg(long, value_name = "N", default_value_t = 0)]
        frames: usize,
        /// The last so many events
        #[arg(long, value_name = "N", default_value_t = 20)]
        events: usize,
    },
}
