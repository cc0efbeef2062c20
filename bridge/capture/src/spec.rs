//! How a capture is asked for, in configs and on the command line. Values only.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hilrig_port::{TapKind, TapPoints};
use serde::{Deserialize, Serialize};

use crate::Framing;

/// A capture to a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaptureSpec {
    /// Where to write. With rotation a number is put before the extension: `line.pcapng` becomes `line-0001.pcapng`. `{n}`
    /// is replaced with the number and `{time}` with the start of the file in UTC, wherever they stand. A FIFO is
    /// written as a stream.
    pub file: PathBuf,
    #[serde(default)]
    pub format: PacketFormat,
    #[serde(default)]
    pub framing: Framing,
    #[serde(default)]
    pub points: Points,
    /// Begin a new file at this size, in units of 1,000,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_megabytes: Option<f64>,
    /// Begin a new file after this time. A file without packets goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_seconds: Option<f64>,
    /// Remove the oldest file of this capture when there are more. Files of earlier captures are never removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
}

impl CaptureSpec {
    /// All defaults: one file with raw chunks, as they were written to the lines.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            format: PacketFormat::default(),
            framing: Framing::default(),
            points: Points::default(),
            rotate_megabytes: None,
            rotate_seconds: None,
            keep: None,
        }
    }

    pub fn check(&self) -> Result<(), SpecError> {
        let wrong = |key, message: &str| Err(SpecError { key, message: message.to_owned() });
        if self.file.as_os_str().is_empty() {
            return wrong("file", "a capture needs the name of a file");
        }
        if self.rotate_megabytes.is_some_and(|n| !(0.001..=1e9).contains(&n)) {
            return wrong("rotateMegabytes", "a size is at least 0.001 megabytes");
        }
        if self.rotate_seconds.is_some_and(|n| !(0.1..=1e9).contains(&n)) {
            return wrong("rotateSeconds", "a time is at least 0.1 seconds");
        }
        if self.keep == Some(0) {
            return wrong("keep", "at least 1 file has to be kept");
        }
        if self.keep.is_some() && self.rotate_megabytes.is_none() && self.rotate_seconds.is_none() {
            return wrong(
                "keep",
                "only with rotateMegabytes or rotateSeconds there is more than one file to keep",
            );
        }
        Ok(())
    }
}

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct SpecError {
    pub key: &'static str,
    pub message: String,
}

/// What Wireshark is told about a packet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PacketFormat {
    /// RTAC serial (link type 250): modem lines, break and errors are shown; the protocol is chosen in Wireshark by
    /// Decode As.
    #[default]
    Rtac,
    /// Exported PDU (link type 252): opens as this dissector without any setting. What is not data is kept as RTAC
    /// serial.
    Pdu(String),
}

impl fmt::Display for PacketFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtac => f.write_str("rtac"),
            Self::Pdu(dissector) => write!(f, "pdu:{dissector}"),
        }
    }
}

impl From<PacketFormat> for String {
    fn from(format: PacketFormat) -> Self {
        format.to_string()
    }
}

impl FromStr for PacketFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "rtac" => Ok(Self::Rtac),
            Some(("pdu", name)) if is_dissector(name) => Ok(Self::Pdu(name.to_owned())),
            Some(("pdu", _)) => Err(format!(
                "`{text}` names no dissector; the form is pdu:mbrtu, with a name as Wireshark's filters have it"
            )),
            _ => Err(format!(
                "`{text}` is not a capture format; expected rtac or pdu:DISSECTOR, as in pdu:mbrtu"
            )),
        }
    }
}

fn is_dissector(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl TryFrom<String> for PacketFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Where in a link bytes are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Points {
    /// As they came from the ports, before faults and pacing.
    In,
    /// As they were written to the ports, after faults and pacing.
    #[default]
    Out,
    Both,
}

impl Points {
    /// Whether a capture at these points shows records of this kind.
    pub fn shows(self, kind: TapKind) -> bool {
        match kind {
            TapKind::In | TapKind::BreakIn => self != Self::Out,
            TapKind::Out | TapKind::BreakOut => self != Self::In,
            _ => true,
        }
    }
}

/// What a link has to record for a capture at these points.
impl From<Points> for TapPoints {
    fn from(points: Points) -> Self {
        match points {
            Points::In => Self::In,
            Points::Out => Self::Out,
            Points::Both => Self::Both,
        }
    }
}

impl FromStr for Points {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "in" => Ok(Self::In),
            "out" => Ok(Self::Out),
            "both" => Ok(Self::Both),
            _ => Err(format!("`{text}` is not a point of a link; expected in, out or both")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_the_same_in_toml_and_json() {
        let spec: CaptureSpec = toml::from_str(
            "file = \"captures/line.pcapng\"\nformat = \"pdu:mbrtu\"\nframing = \"silence:2ms\"\npoints = \"both\"\n\
             rotateMegabytes = 10\nkeep = 3\n",
        )
        .unwrap();
        assert_eq!(spec.format, PacketFormat::Pdu("mbrtu".into()));
        assert_eq!(spec.check(), Ok(()));
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<CaptureSpec>(&json).unwrap(), spec);
        let plain: CaptureSpec = serde_json::from_str(r#"{"file":"x.pcapng"}"#).unwrap();
        assert_eq!(plain, CaptureSpec::new("x.pcapng"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        let refused = |change: fn(&mut CaptureSpec)| {
            let mut spec = CaptureSpec::new("x");
            change(&mut spec);
            spec.check().unwrap_err().key
        };
        assert_eq!(refused(|s| s.file = PathBuf::new()), "file");
        assert_eq!(refused(|s| s.rotate_megabytes = Some(0.0)), "rotateMegabytes");
        assert_eq!(refused(|s| s.rotate_megabytes = Some(f64::NAN)), "rotateMegabytes");
        assert_eq!(refused(|s| s.rotate_seconds = Some(-1.0)), "rotateSeconds");
        assert_eq!(refused(|s| s.keep = Some(2)), "keep");
        assert!(serde_json::from_str::<CaptureSpec>(r#"{"file":"x","rotate":1}"#).is_err());
        for wrong in ["pcap", "pdu:", "pdu:a b", "pdu"] {
            assert!(wrong.parse::<PacketFormat>().is_err(), "{wrong}");
        }
    }
}
