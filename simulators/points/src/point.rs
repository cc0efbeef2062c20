//! What a point is: its name, place, type and limits. Holds no value.

use schemars::JsonSchema;

use crate::{Access, OnWrite, Table, Value};

/// Number of a point in its plant. A new plant has new numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(pub(crate) u32);

impl PointId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How cells are read as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// Four decimal digits.
    Bcd16,
    /// Eight decimal digits.
    Bcd32,
    /// Text, two bytes a register, filled up with NUL.
    String,
}

impl Type {
    pub const ALL: [(&'static str, Self); 12] = [
        ("bool", Self::Bool),
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
        ("bcd16", Self::Bcd16),
        ("bcd32", Self::Bcd32),
        ("string", Self::String),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, t)| *t == self).map_or("", |(name, _)| name)
    }

    /// How many cells it takes; `None` for strings, whose length is free.
    pub fn cells(self) -> Option<u16> {
        match self {
            Self::Bool | Self::U16 | Self::I16 | Self::Bcd16 => Some(1),
            Self::U32 | Self::I32 | Self::F32 | Self::Bcd32 => Some(2),
            Self::U64 | Self::I64 | Self::F64 => Some(4),
            Self::String => None,
        }
    }
}

/// Order of the bytes of a value; A is the highest of four. Eight bytes go alike: DCBA is all reversed, BADC swaps the
/// bytes of each register, CDAB reverses the registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
pub enum Order {
    #[default]
    #[serde(rename = "ABCD")]
    Abcd,
    #[serde(rename = "DCBA")]
    Dcba,
    #[serde(rename = "BADC")]
    Badc,
    #[serde(rename = "CDAB")]
    Cdab,
}

impl Order {
    pub const ALL: [(&'static str, Self); 4] =
        [("ABCD", Self::Abcd), ("DCBA", Self::Dcba), ("BADC", Self::Badc), ("CDAB", Self::Cdab)];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, o)| *o == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn swaps_bytes(self) -> bool {
        matches!(self, Self::Dcba | Self::Badc)
    }

    pub(crate) fn reverses_registers(self) -> bool {
        matches!(self, Self::Dcba | Self::Cdab)
    }
}

/// Everything about a point but its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// UNIT.POINT
    pub name: String,
    /// Unit id.
    pub unit: u8,
    pub table: Table,
    pub address: u16,
    pub kind: Type,
    /// How many cells it takes.
    pub cells: u16,
    /// It is this bit of the register.
    pub bit: Option<u8>,
    pub order: Order,
    pub scale: f64,
    pub offset: f64,
    /// Unit of measure.
    pub measure: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub access: Access,
    pub on_write: OnWrite,
    /// Name of the kind of its signal.
    pub signal: Option<&'static str>,
    /// The text of its signal if that is an expression.
    pub expr: Option<String>,
}

impl Point {
    /// The name without that of the unit.
    pub fn short_name(&self) -> &str {
        self.name.split_once('.').map_or(&self.name, |(_, name)| name)
    }

    pub fn unit_name(&self) -> &str {
        self.name.split_once('.').map_or("", |(unit, _)| unit)
    }

    /// The last cell.
    pub(crate) fn last(&self) -> u16 {
        self.address + (self.cells - 1)
    }

    /// Values are the raw numbers.
    pub(crate) fn is_plain(&self) -> bool {
        self.scale == 1.0 && self.offset == 0.0
    }

    /// Where it is, as files say it: `holding:7`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.table.name(), self.address)
    }
}

/// Why a value cannot be given to a point.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SetError {
    #[error("{point} takes {wanted}, not {value:?}")]
    Type { point: String, wanted: &'static str, value: String },
    #[error("{value} does not fit {point}, which is {kind}: {low} to {high}")]
    Range { point: String, kind: &'static str, value: f64, low: f64, high: f64 },
    #[error("the text is {length} bytes long; {point} holds {most}")]
    Long { point: String, length: usize, most: usize },
    #[error("{point} is {kind} and cannot move evenly to a value")]
    Ramp { point: String, kind: &'static str },
}

impl SetError {
    pub(crate) fn wrong_type(point: &Point, value: &Value) -> Self {
        let wanted = match point.kind {
            Type::Bool => "true or false",
            Type::String => "text",
            _ => "a number",
        };
        Self::Type { point: point.name.clone(), wanted, value: value.to_string() }
    }
}
