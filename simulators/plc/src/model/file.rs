//! The model file as it is written: serde types with the place of every value that can be wrong. No checks and no
//! defaults here.

use hilrig_files::{At, Entries, TimeText};
use hilrig_modbus::{Framing, GatewayFile, MasterFile, ReplyRuleFile, SniffFile};
use hilrig_points::UnitFile;
use hilrig_telegram::TelegramFile;
use schemars::{JsonSchema, Schema};

/// A model: units with their points, and the ports they are served on. Masters, sniffers, gateways and telegrams may
/// sit on ports beside them.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "hilrig model file, version 1")]
pub struct ModelFile {
    /// What the model is called in results. Default: the name of the file.
    pub name: Option<At<String>>,
    /// Start value of everything random. Default 1.
    #[schemars(range(min = 0))]
    pub seed: Option<At<i64>>,
    /// Model files whose content is part of this one; paths from this file on.
    #[serde(default)]
    pub include: Vec<At<String>>,
    /// Ports, by name. A port that no master, sniffer, gateway or telegram sits on serves the units.
    #[serde(default)]
    pub port: Entries<PortFile>,
    /// Units, by name.
    #[serde(default)]
    pub unit: Entries<UnitFile>,
    /// Faults of replies, armed from the start. The first that matches is the one that happens.
    #[serde(default)]
    pub fault: Vec<At<ReplyRuleFile>>,
    /// Modbus masters with their poll lists, by name.
    #[serde(default)]
    pub master: Entries<MasterFile>,
    /// Listeners on lines between others, by name.
    #[serde(default)]
    pub sniff: Entries<SniffFile>,
    /// Gateways from Modbus TCP to a serial line, by name.
    #[serde(default)]
    pub gateway: Entries<GatewayFile>,
    /// Telegrams that are not Modbus, by name.
    #[serde(default)]
    pub telegram: Entries<TelegramFile>,
    /// What the thread that serves all ports asks of the system.
    pub realtime: Option<At<RealTimeFile>>,
    /// The state of all points, kept between runs.
    pub snapshot: Option<SnapshotFile>,
}

/// A port and how it is served.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortFile {
    /// Any port URL, for example "/dev/ttyUSB0", "pty:plc" or "tcp-listen:127.0.0.1:5020". Without one, the command
    /// line or the rig says where the port is.
    pub url: Option<At<String>>,
    /// Default: "tcp" behind a listener, otherwise "rtu".
    pub framing: Option<At<Framing>>,
    /// Bits per second. Default 19200. Not for TCP.
    #[schemars(range(min = 50, max = 20_000_000))]
    pub baud: Option<At<i64>>,
    /// Data bits, parity (N, E, O, M, S), stop bits. Default "8E1".
    pub format: Option<At<String>>,
    /// Names of the units that are served here. Default: all.
    pub units: Option<Vec<At<String>>>,
    /// Longest pause that the port itself puts into a frame; "16ms" for most USB adapters.
    pub tolerance: Option<At<TimeText>>,
    /// No reply leaves earlier than so long after its request.
    pub min_delay: Option<At<TimeText>>,
    /// Silence between a request and its reply on a line. Default: t3.5 of its speed; "1us" answers at once, where nobody
    /// listens for silence, as on a virtual port.
    pub reply_gap: Option<At<TimeText>>,
    /// How long another unit on this line may take to answer. Default 1s.
    pub response_time: Option<At<TimeText>>,
    /// How many callers a listener takes. Default 1024.
    #[schemars(range(min = 1, max = 65535))]
    pub max_callers: Option<At<i64>>,
    /// A caller that says nothing for so long is sent away. Default: never.
    pub idle_timeout: Option<At<TimeText>>,
}

/// Each wish is best effort; the status says what was granted and why not.
#[derive(Debug, Default, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RealTimeFile {
    /// Priority of SCHED_FIFO.
    #[schemars(range(min = 1, max = 99))]
    pub fifo: Option<At<i64>>,
    /// How long before a deadline the thread spins instead of sleeping.
    pub spin: Option<At<TimeText>>,
    /// The core it stays on.
    #[schemars(range(min = 0))]
    pub cpu: Option<At<i64>>,
    /// Keep the process in memory.
    #[serde(default)]
    pub lock_memory: bool,
    /// Keep the processor from deep sleep.
    #[serde(default)]
    pub dma_latency: bool,
}

/// State in the file state/plc/NAME.json of the installation.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotFile {
    /// Begin with the state that was saved last.
    #[serde(default)]
    pub restore: bool,
    /// Save the state when the run is stopped.
    #[serde(default)]
    pub save: bool,
}

/// JSON Schema of the model file, version 1.
pub fn schema() -> Schema {
    schemars::schema_for!(ModelFile)
}
