//! What `modbus` takes.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::modbus::place::Place;
use crate::modbus::values::{Order, Type};

pub const MODBUS_HELP: &str =
    "Places: holding:0, holding:0..9 (both ends included), input:5, coil:3, discrete:7; \
counted from 0. Or 40001, 40001..40010, 30001, 10001, 00001, 400001: counted from 1.
Exit codes: 0 answered; 1 refused or not answered; 2 usage; 3 the port cannot be used.

Example: hilrig modbus read /dev/ttyUSB0?baud=19200&format=8E1 holding:0..9 --unit 17
Example: hilrig modbus read tcp:127.0.0.1:502 40001..40004 --type f32 --order CDAB
Example: hilrig modbus write pty:plc coil:3 on
Example: hilrig modbus scan /dev/ttyUSB0 --units 1..32 --identify
Example: hilrig modbus watch tcp:127.0.0.1:502 holding:0..9 input:0 --every 500ms";

#[derive(Debug, Subcommand)]
pub enum ModbusCommand {
    /// Read coils, discrete inputs, holding registers or input registers
    #[command(after_help = "Example: hilrig modbus read pty:plc holding:10..13 --type f32 --unit 17")]
    Read {
        #[command(flatten)]
        device: DeviceArgs,
        /// What to read: holding:0..9, coil:3, 40001 …
        #[arg(required = true, value_name = "PLACE")]
        places: Vec<Place>,
        #[command(flatten)]
        shape: ShapeArgs,
        /// So many values from each place on
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        count: Option<u16>,
    },
    /// Write coils or holding registers
    #[command(after_help = "Example: hilrig modbus write pty:plc holding:10 1.5 -2 --type f32 --unit 17")]
    Write {
        #[command(flatten)]
        device: DeviceArgs,
        /// Where to write: holding:0, coil:3, 40001 …
        #[arg(value_name = "PLACE")]
        place: Place,
        /// on or off for coils, numbers for registers (0x for hexadecimal)
        #[arg(required = true, value_name = "VALUE", allow_negative_numbers = true)]
        values: Vec<String>,
        #[command(flatten)]
        shape: ShapeArgs,
        /// Write a single value with the function for several, too (15 and 16 in place of 5 and 6)
        #[arg(long)]
        multiple: bool,
    },
    /// Find the units that answer, or the addresses that a unit has
    #[command(after_help = "Example: hilrig modbus scan /dev/ttyUSB0?baud=9600 --units 1..32 --identify
Example: hilrig modbus scan tcp:127.0.0.1:502 --units 1 --at holding:0..999 --at coil:0..99")]
    Scan {
        #[command(flatten)]
        line: LineArgs,
        /// Units to ask, as 17, 1..32 or 1..10,17 [default: 1..247; with --at: 1]
        #[arg(long, value_name = "UNITS")]
        units: Option<Units>,
        /// Ask for every address of this range, one by one (repeatable)
        #[arg(long, value_name = "RANGE")]
        at: Vec<Place>,
        /// Ask units that answer who they are (functions 43/14 and 17)
        #[arg(long)]
        identify: bool,
    },
    /// Read again and again, and show what changes
    #[command(after_help = "Example: hilrig modbus watch tcp:127.0.0.1:502 holding:0..9 --every 500ms")]
    Watch {
        #[command(flatten)]
        device: DeviceArgs,
        /// What to read: holding:0..9, coil:3, 40001 …
        #[arg(required = true, value_name = "PLACE")]
        places: Vec<Place>,
        #[command(flatten)]
        shape: ShapeArgs,
        /// Time from one reading to the next
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
        every: Duration,
        /// End after so many readings [default: when interrupted]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        samples: Option<u64>,
    },
}

/// The line to a device and how it is talked to.
#[derive(Debug, Args)]
pub struct LineArgs {
    /// The port: /dev/ttyUSB0?baud=19200&format=8E1, usb:…, tcp:HOST:PORT, rfc2217:HOST:PORT, unix:PATH; pty:NAME is
    /// the far end of a virtual port of hilrig
    #[arg(value_name = "URL")]
    pub url: String,
    /// How frames look [default: tcp on tcp: ports, rtu on all others]
    #[arg(long, value_enum)]
    pub framing: Option<FramingArg>,
    /// How long an answer may take [default: 1s; 250ms when scanning]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
    /// Ask so many times more when no good answer comes [default: 1; 0 when writing or scanning]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
}

#[derive(Debug, Args)]
pub struct DeviceArgs {
    #[command(flatten)]
    pub line: LineArgs,
    /// Unit id of the device; 0 on a serial line is a broadcast
    #[arg(long, short, value_name = "ID", default_value_t = 1)]
    pub unit: u8,
}

/// What the registers hold.
#[derive(Debug, Clone, Copy, Args)]
pub struct ShapeArgs {
    /// What the registers hold [default: u16]
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<Type>,
    /// The order of the bytes of a value in more than one register
    #[arg(long, value_enum, value_name = "ORDER", default_value = "ABCD", ignore_case = true)]
    pub order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FramingArg {
    Rtu,
    /// With the MBAP header
    Tcp,
    RtuOverTcp,
}

/// Unit ids to ask, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units(pub Vec<u8>);

impl std::str::FromStr for Units {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` are no units; the form is 17, 1..32 or 1..10,17, from 1 to 255");
        let mut units = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once("..").unwrap_or((part, part));
            let id = |text: &str| text.trim().parse::<u8>().ok().filter(|id| *id > 0);
            let (Some(first), Some(last)) = (id(first), id(last)) else { return Err(wrong()) };
            if first > last {
                return Err(wrong());
            }
            units.extend(first..=last);
        }
        Ok(Self(units))
    }
}

fn time(text: &str) -> Result<Duration, String> {
    hilrig_files::parse_time(text)
        .filter(|time| (1..=3_600_000_000_000).contains(&time.as_nanos()))
        .ok_or_else(|| format!("`{text}` is no time; the form is 250us, 10ms, 1.5s or 2min, at most 60min"))
}
