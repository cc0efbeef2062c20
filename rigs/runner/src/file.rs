//! The rig file as it is written: serde types with the place of every value that can be wrong. No checks and no
//! defaults here.

use hilrig_files::{Addresses, At, Entries, TimeText, Values};
use hilrig_modbus::Framing;
use hilrig_points::Value;
use hilrig_wire::{Effect, Unit, Way, When, WireSpec};
use schemars::{JsonSchema, Schema};

/// A rig: what is wired to what, and the steps that put it to the test.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "hilrig rig file, version 1")]
pub struct RigFile {
    /// What the rig is called in results.
    pub name: At<String>,
    /// Start value of everything random; printed in the result. Default 1.
    pub seed: Option<At<i64>>,
    /// The whole run must end within this time. Default 60s.
    pub timeout: Option<At<TimeText>>,
    /// Lines, by name. Other parts name them in `port`, `a` and `b`.
    #[serde(default)]
    pub ports: Entries<Port>,
    /// Simulators, by name.
    #[serde(default)]
    pub sim: Entries<Sim>,
    /// Bridge links, by name: bytes from either end go to the other. Faults act on links.
    #[serde(default)]
    pub link: Entries<LinkEnds>,
    /// Modbus masters, by name.
    #[serde(default)]
    pub master: Entries<Master>,
    /// What happens, in order.
    #[serde(default)]
    pub step: Vec<At<Step>>,
}

/// A line: exactly one of the keys.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// A virtual null modem; its ends are called NAME.a and NAME.b.
    Pair(Pair),
    /// A network of its own: who is called sits at NAME.server, and any number who call at NAME.client, each with a
    /// connection of its own.
    Tcp(Tcp),
    /// Any port URL, for example "/dev/ttyUSB0?baud=19200&format=8E1" or "tcp:192.168.0.5:4001".
    Url(At<String>),
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Bits per second. Default 9600.
    #[schemars(range(min = 50, max = 4_000_000))]
    pub baud: Option<At<i64>>,
    /// Data bits, parity (N, E, O, M, S), stop bits. Default "8N1".
    pub format: Option<At<String>>,
    /// Bytes take the time they take on a wire. Without it they pass at once.
    pub wire: Option<At<WireSpec>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {}

/// A simulator: exactly one of the keys.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sim {
    /// A PLC: a Modbus slave, RTU on a line and Modbus TCP on a network.
    Plc(PlcSim),
}

/// A PLC. It has the addresses that its tables name, or those of a model, and answers others with exception 2.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlcSim {
    /// The port it sits on.
    pub port: Option<At<String>>,
    /// Its unit id. Default 1. Of a model only this unit is served; without it all that the model's port serves.
    #[schemars(range(min = 1, max = 247))]
    pub unit: Option<At<i64>>,
    /// A model file in place of tables: points, behaviours and faults of replies. Its path is relative to this file, its
    /// seed is the rig's, and its values are this simulator's own.
    pub model: Option<At<String>>,
    /// Which port of the model this is: its framing, units, delays and faults. Needed if the model has several.
    pub model_port: Option<At<String>>,
    /// In place of `port`: where each port of the model sits, with whoever the model puts there (its units, a master, a
    /// sniffer, a gateway, telegrams). All share the values of the model. Those left out are not there.
    #[serde(default)]
    pub ports: Entries<String>,
    /// Holding registers: address or range = value, or address = [values from there on].
    #[serde(default)]
    pub holding: Entries<Values>,
    /// Input registers.
    #[serde(default)]
    pub input: Entries<Values>,
    /// Coils.
    #[serde(default)]
    pub coils: Entries<Values>,
    /// Discrete inputs.
    #[serde(default)]
    pub discrete: Entries<Values>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkEnds {
    pub a: At<String>,
    pub b: At<String>,
    /// Bytes take the time they take on a wire. Without it they pass at once.
    pub wire: Option<At<WireSpec>>,
}

/// A Modbus master that polls a unit.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Master {
    /// The port it sits on.
    pub port: At<String>,
    /// Default "tcp" at NAME.client of a network, otherwise "rtu".
    pub framing: Option<At<Framing>>,
    /// The unit it asks. Default 1.
    #[schemars(range(min = 1, max = 247))]
    pub unit: Option<At<i64>>,
    /// What it reads again and again, by name. Steps name a poll MASTER.POLL.
    #[serde(default)]
    pub poll: Entries<Poll>,
}

/// A poll reads exactly one of `holding`, `input`, `coils`, `discrete`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    pub holding: Option<At<Addresses>>,
    pub input: Option<At<Addresses>>,
    pub coils: Option<At<Addresses>>,
    pub discrete: Option<At<Addresses>>,
    /// How often. Default 100ms.
    pub every: Option<At<TimeText>>,
    /// How long to wait for the reply. Default 500ms.
    pub timeout: Option<At<TimeText>>,
    /// How often to ask again when no good reply came in time. Default 0.
    #[schemars(range(min = 0, max = 100))]
    pub retries: Option<At<i64>>,
}

/// One step: exactly one of the keys.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Let time pass.
    Wait(At<TimeText>),
    /// Wait until something new is as it should be; fails when it is not within the time.
    Expect(At<Box<Claim>>),
    /// Something must be so now.
    Assert(At<Box<Claim>>),
    /// Arm a fault on a link.
    Inject(At<Box<Inject>>),
    /// Take a fault of a link or of a model away, whether it has fired or not.
    Clear(At<String>),
    /// Arm a fault of replies that a model has: its name, or SIM.NAME.
    Arm(At<String>),
    /// Time a number of round trips and compare with limits.
    Measure(At<Box<Measure>>),
    /// Write a register, coil or point, in a simulator or through a master over the line.
    Set(At<Box<Set>>),
    /// Let the signal of a point go on that a `set` has put aside.
    Release(At<Release>),
}

/// A claim is a subject and a comparison. Subjects:
/// `point` (its value in the simulator), `poll` + `point` (its value as read over the line),
/// `poll` + `address` (a register or bit as read over the line), `sim` + one of the tables (the same in the simulator),
/// `poll` or `master` + `count` (a counter since the start), `fault` (how often it fired),
/// `bytes_lost` (bytes that vanished other than by a fault).
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// UNIT.POINT of a model; or POINT, if only one unit has it. Without `sim`: of the only simulator that has it.
    pub point: Option<At<String>>,
    /// MASTER.POLL, or SIM.MASTER.POLL of a model.
    pub poll: Option<At<String>>,
    #[schemars(range(min = 0, max = 65535))]
    pub address: Option<At<i64>>,
    /// Name of a master, or SIM.MASTER of a model.
    pub master: Option<At<String>>,
    /// Name of a counter of a poll or master.
    #[schemars(extend("enum" = crate::plan::Count::NAMES))]
    pub count: Option<At<String>>,
    /// Name of a simulator.
    pub sim: Option<At<String>>,
    pub holding: Option<At<i64>>,
    pub input: Option<At<i64>>,
    pub coils: Option<At<i64>>,
    pub discrete: Option<At<i64>>,
    /// Name of a fault of a link or of a model (SIM.NAME if several have it).
    pub fault: Option<At<String>>,
    /// Name of a link, or "all".
    pub bytes_lost: Option<At<String>>,

    /// A whole number; of a point what it is: a number in its unit of measure, true or false, text.
    pub equals: Option<At<Value>>,
    /// How far off `equals` a point may be, in its unit of measure.
    pub tolerance: Option<At<Value>>,
    pub not_equals: Option<At<Value>>,
    /// [lowest, highest], both included.
    #[serde(rename = "in")]
    #[schemars(length(min = 2, max = 2))]
    pub within_range: Option<At<Vec<At<Value>>>>,
    /// The lowest it may be.
    pub min: Option<At<Value>>,
    /// The highest it may be.
    pub max: Option<At<Value>>,

    /// How long to wait for it (expect only).
    pub within: Option<At<TimeText>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// What other steps call this fault.
    pub name: At<String>,
    /// Name of the link.
    pub link: At<String>,
    /// What happens: "drop", { corrupt = { bits = 2 } }, { delay = "20ms" } and so on.
    pub fault: At<Effect>,
    /// "a->b" or "b->a", as the link names its ends, or "both".
    pub direction: At<Way>,
    /// What it is about, "byte" or "frame". Default: "byte" if `when` speaks of bytes, otherwise "frame".
    pub on: Option<At<Unit>>,
    /// To which bytes or frames it happens. Default: to the next.
    #[serde(default)]
    pub when: When,
    /// How often it happens at most. Default 1, with `when` as often as that says.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: Option<At<i64>>,
    /// How many bytes or frames in a row one time is about. Default 1.
    #[schemars(range(min = 1))]
    pub span: Option<u32>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// MASTER.POLL whose round trips are timed, from the last byte of the request to the last of the reply.
    pub rtt: At<String>,
    /// How many round trips.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: At<i64>,
    /// They must have come within this time.
    pub within: Option<At<TimeText>>,
    /// Half of them are no longer than this.
    pub p50: Option<TimeLimit>,
    /// 99 of 100 are no longer than this.
    pub p99: Option<TimeLimit>,
    /// None is longer than this.
    pub max: Option<TimeLimit>,
    /// Requests that got no good reply in time.
    pub loss: Option<CountLimit>,
}

/// Above `max` fails; above `marginal` passes as marginal.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeLimit {
    pub max: At<TimeText>,
    pub marginal: Option<At<TimeText>>,
}

/// Above `max` fails; above `marginal` passes as marginal.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountLimit {
    pub max: At<i64>,
    pub marginal: Option<At<i64>>,
}

/// Writes `value` to a point, or to one address of `holding` or `coils`; in a simulator also of `input` and `discrete`. What
/// is set in a simulator puts the signal of a point aside.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    pub sim: Option<At<String>>,
    /// Over the line, by this master of the rig.
    pub master: Option<At<String>>,
    /// UNIT.POINT of a model; or POINT, if only one unit has it. Without `sim` and `master`: in the only simulator that
    /// has it.
    pub point: Option<At<String>>,
    pub holding: Option<At<i64>>,
    pub input: Option<At<i64>>,
    pub coils: Option<At<i64>>,
    pub discrete: Option<At<i64>>,
    /// A whole number; of a point what it is: a number in its unit of measure, true or false, text.
    pub value: At<Value>,
    /// Moves a point of a simulator there evenly, in this time; the step does not wait for it.
    pub over: Option<At<TimeText>>,
    /// How long a write over the line may take. Default 1s.
    pub within: Option<At<TimeText>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub sim: Option<At<String>>,
    pub point: At<String>,
}

/// JSON Schema of the rig file, version 1.
pub fn schema() -> Schema {
    schemars::schema_for!(RigFile)
}
