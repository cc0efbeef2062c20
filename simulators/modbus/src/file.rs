//! Masters, gateways and sniffers as model files and rigs write them: serde types with the place of every value that can be
//! wrong. No checks and no defaults here.

use hilrig_files::{Addresses, At, Entries, TimeText, Values};
use schemars::JsonSchema;

/// A Modbus master that works through a poll list.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MasterFile {
    /// The port it sits on.
    pub port: At<String>,
    /// The unit that its polls ask if they name none. Default 1.
    #[schemars(range(min = 0, max = 255))]
    pub unit: Option<At<i64>>,
    /// How long all units are left alone after a broadcast. Default 100ms.
    pub turnaround: Option<At<TimeText>>,
    /// What it reads or writes again and again, by name.
    #[serde(default)]
    pub poll: Entries<PollFile>,
}

/// A poll reads one of `holding`, `input`, `coils`, `discrete`; with `write` it writes `holding` or `coils`; with
/// `request` it sends any PDU.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollFile {
    /// The unit it asks; 0 writes to all units, without a reply. Default: the master's.
    #[schemars(range(min = 0, max = 255))]
    pub unit: Option<At<i64>>,
    /// Holding registers: an address, or a range such as "0..9".
    pub holding: Option<At<Addresses>>,
    /// Input registers.
    pub input: Option<At<Addresses>>,
    /// Coils.
    pub coils: Option<At<Addresses>>,
    /// Discrete inputs.
    pub discrete: Option<At<Addresses>>,
    /// Writes instead of reading: one value for each of the addresses, or a list of values.
    pub write: Option<At<Values>>,
    /// Function code and data in hexadecimal, for what has no key of its own: "16 00 04 00 f2 00 25".
    pub request: Option<At<String>>,
    /// How often, from start to start. Default 100ms.
    pub every: Option<At<TimeText>>,
    /// How long after the start of the master the first request is due. Default 0.
    pub phase: Option<At<TimeText>>,
    /// Of those that are due at once the highest goes first. Default 0.
    #[schemars(range(min = -100, max = 100))]
    pub priority: Option<At<i64>>,
    /// How long to wait for the reply. Default 500ms.
    pub timeout: Option<At<TimeText>>,
    /// How often to ask again when no good reply came in time. Default 0.
    #[schemars(range(min = 0, max = 100))]
    pub retries: Option<At<i64>>,
    /// Where the values read go in the model.
    pub into: Option<At<IntoFile>>,
}

/// Where values go: exactly one of the keys.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntoFile {
    /// The registers or the bit of this point, laid out as the point is.
    Point(At<String>),
    /// These cells of a unit and those that follow.
    Cells(CellsFile),
}

/// The first cell: exactly one of `holding`, `input`, `coils`, `discrete`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellsFile {
    /// Id of a unit of the model.
    #[schemars(range(min = 1, max = 247))]
    pub unit: At<i64>,
    #[schemars(range(min = 0, max = 65535))]
    pub holding: Option<At<i64>>,
    #[schemars(range(min = 0, max = 65535))]
    pub input: Option<At<i64>>,
    #[schemars(range(min = 0, max = 65535))]
    pub coils: Option<At<i64>>,
    #[schemars(range(min = 0, max = 65535))]
    pub discrete: Option<At<i64>>,
}

/// A gateway: Modbus TCP callers on one side, a serial line with units on the other.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayFile {
    /// The port that it listens on, such as one with the URL "tcp-listen:127.0.0.1:5020".
    pub port: At<String>,
    /// The port of the line behind it.
    pub line: At<String>,
    /// How long a unit may take to answer. Default 500ms.
    pub timeout: Option<At<TimeText>>,
    /// How long all units are left alone after a broadcast. Default 100ms.
    pub turnaround: Option<At<TimeText>>,
    /// Unit id of callers = unit id on the line. Without any, all units are reached by their own id; with some, no
    /// other.
    #[serde(default)]
    pub units: Entries<i64>,
    /// How many callers at most. Default 32.
    #[schemars(range(min = 1, max = 1024))]
    pub max_callers: Option<At<i64>>,
    /// How many requests of one caller can wait. Default 16.
    #[schemars(range(min = 1, max = 256))]
    pub queue: Option<At<i64>>,
}

/// A sniffer: listens on a line between others and never sends.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SniffFile {
    /// The port it listens on.
    pub port: At<String>,
    /// A request without a reply for so long counts as unanswered. Default 1s.
    pub response_time: Option<At<TimeText>>,
}
