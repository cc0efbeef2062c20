//! Units, points and triggers as a file writes them: serde types with the place of every value that can be wrong. No
//! checks and no defaults here.

use hilrig_files::{At, Entries, TimeText, Values, by_look, fixed_schema};
use schemars::JsonSchema;
use serde::de::{Error, SeqAccess};

use crate::{Order, Type, Value, signal_file::SignalFile};

/// A unit of a device: cells, typed points over them, and what else it answers.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnitFile {
    /// Its unit id. Default 1.
    #[schemars(range(min = 1, max = 247))]
    pub id: Option<At<i64>>,
    /// Raw holding registers: address or range = value, or address = [values from there on].
    #[serde(default)]
    pub holding: Entries<Values>,
    /// Raw input registers.
    #[serde(default)]
    pub input: Entries<Values>,
    /// Raw coils.
    #[serde(default)]
    pub coils: Entries<Values>,
    /// Raw discrete inputs.
    #[serde(default)]
    pub discrete: Entries<Values>,
    /// Typed points, by name.
    #[serde(default)]
    pub point: Entries<PointFile>,
    /// More points from a CSV file; its path starts from the folder of this file.
    pub csv: Option<At<String>>,
    /// Addresses that a master may not write: "holding:0..9", "40001..40010", "coil:3".
    #[serde(default)]
    pub read_only: Vec<At<String>>,
    /// Addresses that a master may not read.
    #[serde(default)]
    pub write_only: Vec<At<String>>,
    /// Device identification (function 43/14).
    pub identity: Option<At<IdentityFile>>,
    /// Answer to "report server id" (function 17).
    pub server_id: Option<At<ServerIdFile>>,
    /// Answer to "read exception status" (function 7): a number 0 to 255, or up to 8 bool points, bit 0 first.
    pub exception_status: Option<At<StatusFile>>,
    /// Files of records (functions 20 and 21): file number = [registers from record 0 on].
    #[serde(default)]
    pub file: Entries<Vec<At<i64>>>,
    /// FIFO queues (function 24): address = [registers in the queue].
    #[serde(default)]
    pub fifo: Entries<Vec<At<i64>>>,
    /// Replies to user-defined functions: function code = [{ request = "pattern", reply = "hex" }].
    #[serde(default)]
    pub user_function: Entries<Vec<At<UserReplyFile>>>,
    /// What writes to points set off.
    #[serde(default)]
    pub on_write: Vec<At<TriggerFile>>,
}

/// A typed value over one or more cells.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointFile {
    /// Where it begins: "holding:0", "input:7", "coil:3", "discrete:1" counted from 0, or 40001, 30008, "00004",
    /// 10002 counted from 1.
    pub at: Option<At<PlaceText>>,
    /// Default: bool for coils and discrete inputs and with `bit`, otherwise u16.
    #[serde(rename = "type")]
    pub kind: Option<At<Type>>,
    /// How many registers a string takes.
    #[schemars(range(min = 1, max = 125))]
    pub length: Option<At<i64>>,
    /// Order of the bytes of a value of several registers. Default "ABCD", high byte and high register first.
    pub order: Option<At<Order>>,
    /// value = raw * scale + offset. Default 1.
    pub scale: Option<At<f64>>,
    /// Default 0.
    pub offset: Option<At<f64>>,
    /// Unit of measure, for people.
    pub unit: Option<At<String>>,
    /// A master's write below is refused with exception 3.
    pub min: Option<At<f64>>,
    /// A master's write above is refused with exception 3.
    pub max: Option<At<f64>>,
    /// What a master may do. Default "rw".
    pub access: Option<At<Access>>,
    /// The value at the start. Default: what the raw cells say, otherwise 0.
    pub value: Option<At<Value>>,
    /// The value changes by itself.
    pub signal: Option<At<SignalFile>>,
    /// What a master's write does while a signal drives the point. Default "override".
    pub on_write: Option<At<OnWrite>>,
    /// A bool is this bit of a register; 0 is the lowest.
    #[schemars(range(min = 0, max = 15))]
    pub bit: Option<At<i64>>,
}

/// What a master may do with a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read and write.
    #[default]
    Rw,
    /// Read only; a write is refused with exception 2.
    Ro,
    /// Write only; a read is refused with exception 2.
    Wo,
}

impl Access {
    pub const ALL: [(&'static str, Self); 3] = [("rw", Self::Rw), ("ro", Self::Ro), ("wo", Self::Wo)];
}

/// What a master's write does to a point that a signal drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnWrite {
    /// The written value stays until the point is released.
    #[default]
    Override,
    /// The write is answered as done, and the signal goes on.
    Ignore,
    /// The write is refused with exception 2.
    Refuse,
    /// The signal goes on from the written value: counter, integrator, lag, random_walk, pid.
    Take,
}

impl OnWrite {
    pub const ALL: [(&'static str, Self); 4] = [
        ("override", Self::Override),
        ("ignore", Self::Ignore),
        ("refuse", Self::Refuse),
        ("take", Self::Take),
    ];
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityFile {
    /// Object 0.
    pub vendor: At<String>,
    /// Object 1.
    pub product_code: At<String>,
    /// Object 2.
    pub revision: At<String>,
    /// Object 3.
    pub vendor_url: Option<At<String>>,
    /// Object 4.
    pub product_name: Option<At<String>>,
    /// Object 5.
    pub model_name: Option<At<String>>,
    /// Object 6.
    pub application_name: Option<At<String>>,
    /// Objects 128 to 255: id = text.
    #[serde(default)]
    pub extended: Entries<String>,
}

/// The id is exactly one of `text` and `hex`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerIdFile {
    pub text: Option<At<String>>,
    /// Bytes such as "11 0A FF".
    pub hex: Option<At<String>>,
    /// The run indicator. Default true.
    pub running: Option<bool>,
    /// Bytes behind the run indicator. Default: none.
    pub additional: Option<At<String>>,
}

/// A number, or names of bool points.
#[derive(Debug)]
pub enum StatusFile {
    Fixed(i64),
    Points(Vec<At<String>>),
}

/// A reply to requests of a user-defined function: exactly one of `reply` and `exception`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserReplyFile {
    /// What must stand behind the function code, such as "01 ?? 0A", where ?? is any byte. Default: anything.
    pub request: Option<At<String>>,
    /// What stands behind the function code in the reply.
    pub reply: Option<At<String>>,
    /// Exception code of the reply.
    #[schemars(range(min = 1, max = 255))]
    pub exception: Option<At<i64>>,
}

/// A sequence that a write to a point sets off.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerFile {
    /// The point that is written.
    pub point: At<String>,
    /// "write" (default, any write), "change", "rising" (from 0 or false), "falling" (to 0 or false), or an expression
    /// over points in which `value` and `old` are the point's.
    pub when: Option<At<String>>,
    /// What happens, in order. A write that comes again while it runs starts it anew.
    #[serde(rename = "do")]
    pub steps: At<Vec<At<StepFile>>>,
}

/// One step: exactly one of the keys.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepFile {
    /// Give a point a value.
    Set(SetFile),
    /// Move a point to a value in even steps.
    Ramp(RampToFile),
    /// Let time pass before what follows.
    Wait(At<TimeText>),
    /// Let a point's signal go on.
    Release(At<String>),
}

/// Exactly one of `value` and `expr`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFile {
    pub point: At<String>,
    pub value: Option<At<Value>>,
    /// An expression, computed when its turn comes.
    pub expr: Option<At<String>>,
}

#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RampToFile {
    pub point: At<String>,
    pub to: At<f64>,
    pub over: At<TimeText>,
}

/// Text, or a number such as 40001.
#[derive(Debug, Clone)]
pub struct PlaceText(pub String);

by_look!(PlaceText, "a place such as \"holding:0\" or 40001", {
    fn visit_i64<E: Error>(self, n: i64) -> Result<PlaceText, E> {
        Ok(PlaceText(n.to_string()))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<PlaceText, E> {
        Ok(PlaceText(text.to_owned()))
    }
});

by_look!(StatusFile, "a number or a list of names of bool points", {
    fn visit_i64<E: Error>(self, n: i64) -> Result<StatusFile, E> {
        Ok(StatusFile::Fixed(n))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StatusFile, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = seq.next_element()? {
            names.push(name);
        }
        Ok(StatusFile::Points(names))
    }
});

fixed_schema!(
    PlaceText: {"type": ["string", "integer"]},
    StatusFile: {"type": ["integer", "array"], "minimum": 0, "maximum": 255, "maxItems": 8, "items": {"type": "string"}}
);
