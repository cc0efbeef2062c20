//! How a fault rule is written in a file. Types only; [`prepare`](super::prepare) knows what goes together.

use hilrig_files::{Addresses, At, TimeText, by_look};
use hilrig_wire::Hex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess};

/// A fault: what a slave does to replies that a rule chooses. All rules look at each reply, in the order of the file,
/// and those that choose it act on it in that order.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplyRuleFile {
    /// What events and actions call it; its random numbers hang on this name and on the seed alone.
    pub name: At<String>,
    /// To which replies it happens. Default: to each.
    #[serde(default)]
    pub when: ReplyWhen,
    /// What happens: "silence", { exception = 6 }, { delay = "20ms" } and so on.
    pub effect: At<ReplyEffect>,
    /// Whether it can fire from the start, and not only once it is armed by its name. Default true.
    pub armed: Option<At<bool>>,
}

/// Which replies. All keys that are there must be true.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplyWhen {
    /// Name of the port that was asked.
    pub port: Option<At<String>>,
    /// The unit that was asked.
    #[schemars(range(min = 0, max = 255))]
    pub unit: Option<At<i64>>,
    /// Function code of the request.
    #[schemars(range(min = 1, max = 127))]
    pub function: Option<At<i64>>,
    /// The table that the request reads or writes.
    pub table: Option<At<TableName>>,
    /// The request reads or writes at least one of these addresses.
    pub addresses: Option<At<Addresses>>,
    /// The request reads or writes just so many coils, inputs or registers.
    #[schemars(range(min = 1, max = 2000))]
    pub quantity: Option<At<i64>>,
    /// Only the n-th of those left by what is said above, counted from 1.
    #[schemars(range(min = 1))]
    pub nth: Option<At<i64>>,
    /// Each n-th of those left by what is said above.
    #[schemars(range(min = 1))]
    pub every: Option<At<i64>>,
    /// With this probability, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: Option<At<f64>>,
    /// Not before this time has passed since it was armed.
    pub from: Option<At<TimeText>>,
    /// Only until this time has passed since it was armed.
    pub until: Option<At<TimeText>>,
    /// No more than this many firings.
    #[schemars(range(min = 1))]
    pub count: Option<At<i64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TableName {
    Coils,
    Discrete,
    Holding,
    Input,
}

/// What happens to the reply: exactly one key, or one of the names.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplyEffect {
    /// The unit refuses with this exception code instead; what was asked is done nevertheless.
    Exception(#[schemars(range(min = 1, max = 255))] At<i64>),
    /// The reply does not come.
    Silence,
    /// It comes later: "20ms", { min = "5ms", max = "50ms" } or { mean = "20ms", sigma = "5ms" }.
    Delay(DelayFile),
    /// Its CRC or LRC is wrong. Not on Modbus TCP, which has none.
    BadCrc,
    /// So many different bits of the frame are turned over.
    Flip(#[schemars(range(min = 1, max = 64))] At<i64>),
    /// It ends after so many bytes.
    Truncate(#[schemars(range(min = 0, max = 512))] At<i64>),
    /// These bytes follow it at once; hexadecimal.
    Extra(At<Hex>),
    /// It says it comes from this unit; its check is right.
    Unit(#[schemars(range(min = 0, max = 255))] At<i64>),
    /// It has this function code; its check is right.
    Function(#[schemars(range(min = 0, max = 255))] At<i64>),
    /// Function code and data are these bytes instead, hexadecimal; its check is right.
    Pdu(At<Hex>),
    /// This is added to its transaction id. Only on Modbus TCP.
    Transaction(#[schemars(range(min = 1, max = 65535))] At<i64>),
    /// It comes twice, the second behind t3.5.
    Duplicate,
    /// It pauses in the middle.
    Split(SplitFile),
    /// It comes byte by byte, with this pause after each.
    Drip(At<TimeText>),
    /// Random bytes follow it.
    Babble(BabbleFile),
    /// It does not come before the next request, and then right before the reply to that.
    Late,
    /// Instead of it the connection is closed. Only on TCP.
    Close,
    /// Behind it the connection is closed. Only on TCP.
    CloseAfter,
}

#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitFile {
    /// So many bytes come before the pause.
    #[schemars(range(min = 1, max = 512))]
    pub at: At<i64>,
    /// How long the pause is.
    pub gap: At<TimeText>,
}

#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BabbleFile {
    /// How many bytes.
    #[schemars(range(min = 1, max = 1024))]
    pub bytes: At<i64>,
    /// How long after what comes before. Default: at once.
    pub after: Option<At<TimeText>>,
}

/// How long a delay is.
#[derive(Debug, Clone)]
pub enum DelayFile {
    Fixed(At<TimeText>),
    Random(RandomDelay),
}

/// `min` and `max`, or `mean` and `sigma`.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomDelay {
    /// Evenly from this time on.
    pub min: Option<At<TimeText>>,
    /// Up to this time.
    pub max: Option<At<TimeText>>,
    /// A normal distribution around this time; what would be negative is no delay.
    pub mean: Option<At<TimeText>>,
    /// Its standard deviation.
    pub sigma: Option<At<TimeText>>,
}

/// A delay before it is known where it stands.
struct Looked(Option<String>, RandomDelay);

by_look!(Looked, "a time, or a table with `min` and `max` or with `mean` and `sigma`", {
    fn visit_str<E: Error>(self, text: &str) -> Result<Looked, E> {
        Ok(Looked(Some(text.to_owned()), RandomDelay::default()))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Looked, A::Error> {
        Ok(Looked(None, RandomDelay::deserialize(MapAccessDeserializer::new(map))?))
    }
});

impl<'de> Deserialize<'de> for DelayFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let At { value: Looked(text, random), span } = At::deserialize(deserializer)?;
        Ok(match text {
            Some(text) => Self::Fixed(At { value: TimeText(text), span }),
            None => Self::Random(random),
        })
    }
}

impl JsonSchema for DelayFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Delay".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (time, random) =
            (generator.subschema_for::<TimeText>(), generator.subschema_for::<RandomDelay>());
        json_schema!({ "anyOf": [time, random] })
    }
}
