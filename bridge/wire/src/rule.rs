//! Fault rules as people write them, the same in TOML and in JSON. Plain data; what they mean is in `prepare` and
//! `fault`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Hex, Pattern, Span};

/// One fault: in which direction, on what, when, and what happens then. All examples are in [the crate's page](crate).
///
/// ```toml
/// [[faults]]
/// id = "broken-reply"
/// direction = "b->a"
/// on = "frame"
/// when = { every = 10, probability = 0.5, count = 3 }
/// effect = { corrupt = { bits = 2 } }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultRule {
    /// Its name in events, results and captures, and what `clear` takes.
    pub id: String,
    /// "a->b", "b->a" or "both". With "both" each direction is counted on its own.
    pub direction: Way,
    /// What it is about, "byte" or "frame". Default: "byte" if `when` speaks of bytes, otherwise "frame".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Unit>,
    /// All that is said here must be so. Nothing said: each byte or frame.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
    pub effect: Effect,
    /// How many bytes or frames in a row one firing is about. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub span: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Way {
    #[serde(rename = "a->b")]
    AToB,
    #[serde(rename = "b->a")]
    BToA,
    #[serde(rename = "both")]
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    Byte,
    Frame,
}

/// Places are counted from 0, places and times from the moment at which the rule was armed. A frame that was under way
/// at that moment is not touched, nor counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct When {
    /// The byte at this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// The frame at this place; on bytes: all bytes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    /// The byte at this place of each frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The first byte or frame at or after this time, or that very time if the effect needs no bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// On bytes: the last byte of this row of bytes, wherever it stands. On frames: each frame that contains it; the
    /// link then keeps each frame until it has ended. Hexadecimal, `??` is any byte, at most 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// Like `pattern`, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Each n-th of those that are left by what is said above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub every: Option<u64>,
    /// With this probability, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: Option<f64>,
    /// Not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Span>,
    /// Only before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Span>,
    /// Not before the byte at this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_byte: Option<u64>,
    /// Only before the byte at this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_byte: Option<u64>,
    /// Not before the frame at this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_frame: Option<u64>,
    /// Only before the frame at this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_frame: Option<u64>,
    /// No more than this many firings, both directions together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub count: Option<u64>,
}

impl When {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens to the byte or frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Effect {
    /// It vanishes.
    Drop,
    /// It comes this many times more; a frame is repeated when it has ended, its first 2,048 bytes.
    Duplicate(u32),
    /// Bits of it are turned over.
    Corrupt(Corrupt),
    /// Bytes come before or after it that nobody sent.
    Insert(Insert),
    /// The frame keeps this many bytes (from the place on, for a rule on bytes) and loses the rest.
    Truncate(u32),
    /// It comes later by this time, and nothing overtakes it.
    Delay(Span),
    /// It comes later by a random time up to this, and nothing overtakes it.
    Jitter(Span),
    /// The frame lets later ones overtake it. Frames of up to 2,048 bytes, one at a time.
    Reorder(Reorder),
    /// From it on nothing comes for this time, then all at once.
    Stall(Span),
    /// A break of this length comes before it.
    Break(Span),
    /// The receiver takes its (first) byte to be in error: "framing", "parity" or "overrun".
    Error(Mark),
    /// The receiver sees modem lines go off for a time.
    LineDrop(LineDrop),
    /// The receiver's port vanishes and returns after this time.
    Unplug(Span),
    /// It is sent at another speed than the receiver's.
    Mismatch(Speed),
}

/// One of `mask` and `bits`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Corrupt {
    /// These bits of its bytes, from `offset` on. Hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Hex>,
    /// Place in the frame of the first byte of `mask`. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    /// This many different bits, anywhere in it, 1 to 64 (8 on bytes). A frame is kept until it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub bits: Option<u32>,
}

/// One of `hex`, `text` and `random`; at most 128 bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Insert {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// This many random bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub random: Option<u32>,
    /// Behind it, not before it. A frame's end is known when silence or the terminator has come. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub after: bool,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reorder {
    /// How many frames overtake it. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub by: Option<u32>,
    /// It comes after this time at the latest. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mark {
    Framing,
    Parity,
    Overrun,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LineDrop {
    /// Which, as the sender drives them: "dtr", "rts", "cts", "dsr", "dcd", "ri". Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
    pub time: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    Dtr,
    Rts,
    Cts,
    Dsr,
    Dcd,
    Ri,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Speed {
    /// The sender's speed as a multiple of the receiver's, 0.01 to 60, to three decimals.
    #[schemars(range(min = 0.01, max = 60.0))]
    pub rate: f64,
    /// For this time, not for one byte or frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
}

/// A rule, or a wire, that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}key `{key}`: {what}", if rule.is_empty() { String::new() } else { format!("fault `{rule}`: ") })]
pub struct RuleError {
    /// Empty for the wire itself.
    pub rule: String,
    pub key: &'static str,
    /// What is wrong and what to do, as a clause.
    pub what: String,
}
