//! What a wire is asked to be: plain data for configuration files, JSON and the command line. Holds no state.

use std::borrow::Cow;
use std::time::Duration;

use hilrig_port::{Flow, Format, LineSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::FaultRule;

/// A wire between two ends. Each key has a default; an empty table is a wire at the speed that the ends ask for.
///
/// ```toml
/// wire = { baud = 19200, format = "8E1", noise = 1e-5, halfDuplex = true }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireSpec {
    /// Let bytes take the time they take on a line. Default true.
    pub pace: bool,
    /// Bits per second, whatever the ends are set to. Without it each end's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20_000_000))]
    pub baud: Option<u32>,
    /// Character format as "8N1", whatever the ends are set to. Without it each end's own.
    #[serde(skip_serializing_if = "Option::is_none", with = "format")]
    #[schemars(with = "Option<String>")]
    pub format: Option<Format>,
    /// What happens when the ends are not set alike: "garble" as a real receiver does, or "ignore": the sender's settings hold. Default "garble".
    pub mismatch: Mismatch,
    /// Probability that a bit on the wire arrives wrong, 0 to 0.5. Default 0.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub noise: f64,
    /// Which ends hear themselves. Default "none".
    pub echo: Echo,
    /// One pair of wires for both directions (RS-485): who talks while the other talks garbles both. Default false.
    pub half_duplex: bool,
    /// Flow control that the wire obeys, whatever the ends are set to: "none", "rtscts" or "xonxoff". Without it each sender's own.
    #[serde(skip_serializing_if = "Option::is_none", with = "flow")]
    #[schemars(with = "Option<String>")]
    pub flow: Option<Flow>,
}

impl Default for WireSpec {
    fn default() -> Self {
        Self {
            pace: true,
            baud: None,
            format: None,
            mismatch: Mismatch::Garble,
            noise: 0.0,
            echo: Echo::None,
            half_duplex: false,
            flow: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mismatch {
    #[default]
    Garble,
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Echo {
    #[default]
    None,
    A,
    B,
    Both,
}

/// All that a [`LinkCore`](crate::LinkCore) is made from.
#[derive(Debug, Clone)]
pub struct CoreSpec {
    /// Without it bytes pass at once, faults apart.
    pub wire: Option<WireSpec>,
    /// Armed from the start.
    pub faults: Vec<FaultRule>,
    /// Start value of everything random.
    pub seed: u64,
    /// A longer silence parts two frames. See [`frame_silence`].
    pub silence: Duration,
    /// How much longer a silence inside a frame may be while the other side says nothing: on a busy machine the bytes
    /// of one frame come in reads that lie apart.
    pub allowance: Duration,
    /// If not empty, a frame ends with these bytes (at most 64), or when nothing has come for a second.
    pub terminator: Vec<u8>,
    /// How A and B are set, as far as known.
    pub settings: [Option<LineSettings>; 2],
}

/// How far apart two reads of one frame may be.
pub const BUSY_MACHINE: Duration = Duration::from_millis(20);

impl Default for CoreSpec {
    fn default() -> Self {
        Self {
            wire: None,
            faults: Vec::new(),
            seed: 1,
            silence: frame_silence(Duration::ZERO),
            allowance: BUSY_MACHINE,
            terminator: Vec::new(),
            settings: [None; 2],
        }
    }
}

/// The silence that parts two frames on a line with this character time: t3.5 of Modbus, which is never below
/// 1.75 ms, and half as much again for the grain of real clocks.
pub fn frame_silence(character: Duration) -> Duration {
    (character * 7 / 2).max(Duration::from_micros(1750)) * 3 / 2
}

/// Time of one character on the line.
pub fn character_time(baud: u32, format: Format) -> Duration {
    Duration::from_nanos(u64::from(format.half_bits()) * crate::NS_HALF / u64::from(baud.max(1)))
}

mod format {
    use super::*;

    pub fn serialize<S: Serializer>(format: &Option<Format>, s: S) -> Result<S::Ok, S::Error> {
        format.map(|f| f.to_string()).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Format>, D::Error> {
        Cow::<'de, str>::deserialize(d)?.parse().map(Some).map_err(de::Error::custom)
    }
}

mod flow {
    use super::*;

    const NAMES: [(&str, Flow); 3] =
        [("none", Flow::None), ("rtscts", Flow::RtsCts), ("xonxoff", Flow::XonXoff)];

    pub fn serialize<S: Serializer>(flow: &Option<Flow>, s: S) -> Result<S::Ok, S::Error> {
        flow.and_then(|flow| NAMES.iter().find(|(_, f)| *f == flow)).map(|(name, _)| *name).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Flow>, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, flow)| *flow);
        known.map(Some).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a flow control; expected none, rtscts or xonxoff"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_reads_the_same_in_toml_and_json() {
        let toml = "baud = 19200\nformat = \"8E1\"\nnoise = 1e-5\nhalfDuplex = true\necho = \"a\"\nflow = \"rtscts\"\n";
        let spec: WireSpec = toml::from_str(toml).unwrap();
        assert_eq!(
            spec,
            WireSpec {
                baud: Some(19200),
                format: Some("8E1".parse().unwrap()),
                noise: 1e-5,
                half_duplex: true,
                echo: Echo::A,
                flow: Some(Flow::RtsCts),
                ..WireSpec::default()
            }
        );
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<WireSpec>(&json).unwrap(), spec);
        assert_eq!(toml::from_str::<WireSpec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
        assert_eq!(toml::from_str::<WireSpec>("").unwrap(), WireSpec::default());
        assert!(toml::from_str::<WireSpec>("speed = 3").is_err());
        assert!(toml::from_str::<WireSpec>("format = \"9N1\"").unwrap_err().to_string().contains("8N1"));
    }
}
