//! The ways to put a PDU on a line or a connection, under one roof: [`encode`] and a [`Framer`] for each. Usable in both
//! directions; says what was heard, and leaves whose it is to the slave, the master and the sniffer.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use hilrig_port::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::pdu::MAX_PDU;
use crate::rtu::Timing;
use crate::{ascii, mbap, rtu};

/// Largest ADU of all framings: `:`, two characters for each of unit id, PDU and LRC, CR and LF (SL 2.5.2.1).
pub const MAX_ADU: usize = 1 + 2 * (MAX_PDU + 2) + 2;

/// How PDUs travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// Unit id, PDU and CRC, between silences (SL 2.5.1).
    #[default]
    Rtu,
    /// `:`, hexadecimal characters, LRC, CR and LF (SL 2.5.2).
    Ascii,
    /// Modbus TCP: the MBAP header (Modbus Messaging on TCP/IP 3.1.3).
    Tcp,
    /// RTU frames over a connection.
    RtuOverTcp,
    /// ASCII frames over a connection.
    AsciiOverTcp,
}

impl Framing {
    pub const ALL: [Self; 5] = [Self::Rtu, Self::Ascii, Self::Tcp, Self::RtuOverTcp, Self::AsciiOverTcp];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtu => "rtu",
            Self::Ascii => "ascii",
            Self::Tcp => "tcp",
            Self::RtuOverTcp => "rtu-over-tcp",
            Self::AsciiOverTcp => "ascii-over-tcp",
        }
    }

    pub fn is_rtu(self) -> bool {
        matches!(self, Self::Rtu | Self::RtuOverTcp)
    }

    pub fn is_ascii(self) -> bool {
        matches!(self, Self::Ascii | Self::AsciiOverTcp)
    }

    /// Has callers rather than a line.
    pub fn is_over_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::RtuOverTcp | Self::AsciiOverTcp)
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Framing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|f| f.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is not a framing; known are {names}")
        })
    }
}

impl Serialize for Framing {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Framing {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Framing {
    fn schema_name() -> Cow<'static, str> {
        "Framing".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::name) })
    }
}

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adu<'a> {
    /// Transaction id of Modbus TCP, else 0.
    pub transaction: u16,
    pub unit: u8,
    pub pdu: &'a [u8],
}

/// The two shapes that a frame of one function code can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Request,
    Reply,
}

/// What has come between two silences, or up to the end of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chunk {
    /// A frame whose check holds.
    Frame,
    /// The CRC of an RTU frame does not hold.
    BadCrc,
    /// The LRC of an ASCII frame does not hold.
    BadLrc,
    /// Too few bytes for a frame, or a frame that was not ended.
    Short,
    /// More bytes than a frame can have.
    Overflow,
    /// Characters that no ASCII frame has, or outside of any.
    BadCharacter,
    /// Not the header of Modbus TCP.
    BadHeader,
}

/// Bytes that turned out to be no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Never `Frame`.
    pub why: Chunk,
    pub bytes: u64,
}

/// Puts a frame around a PDU; answers its length. `transaction` is for Modbus TCP only.
pub fn encode(framing: Framing, transaction: u16, unit: u8, pdu: &[u8], out: &mut [u8; MAX_ADU]) -> usize {
    match framing {
        Framing::Rtu | Framing::RtuOverTcp => match out.first_chunk_mut() {
            Some(out) => rtu::frame(unit, pdu, out),
            None => 0,
        },
        Framing::Ascii | Framing::AsciiOverTcp => ascii::frame(unit, pdu, ascii::LF, out),
        Framing::Tcp => match out.first_chunk_mut() {
            Some(out) => mbap::frame(transaction, unit, pdu, out),
            None => 0,
        },
    }
}

/// Finds the frames in a stream. For each byte: ask [`silence_ends`](Self::silence_ends) first and
/// [`judge`](Self::judge) if that time is over, then [`push`](Self::push), then look if it
/// [`is_whole`](Self::is_whole); after each frame [`clear`](Self::clear).
#[derive(Debug)]
pub enum Framer {
    Rtu(rtu::Framer),
    Ascii(ascii::Framer),
    Mbap(mbap::Framer),
}

impl Framer {
    pub fn new(framing: Framing, timing: &Timing) -> Self {
        match framing {
            Framing::Rtu | Framing::RtuOverTcp => Self::Rtu(rtu::Framer::new(timing)),
            Framing::Ascii | Framing::AsciiOverTcp => Self::Ascii(ascii::Framer::new(timing)),
            Framing::Tcp => Self::Mbap(mbap::Framer::default()),
        }
    }

    /// Takes one byte. Answers what it ended that is no frame.
    pub fn push(&mut self, now: Time, byte: u8) -> Option<Dropped> {
        match self {
            Self::Rtu(framer) => {
                framer.push(now, byte);
                None
            }
            Self::Ascii(framer) => framer.push(now, byte),
            Self::Mbap(framer) => framer.push(now, byte),
        }
    }

    /// A whole frame is there. Only in RTU it depends on the form, of which the length is known.
    pub fn is_whole(&self, form: Form) -> bool {
        match self {
            Self::Rtu(framer) => framer.is_whole(form),
            Self::Ascii(framer) => framer.is_whole(),
            Self::Mbap(framer) => framer.is_whole(),
        }
    }

    /// The frame, when it is whole or silence has judged it to be one.
    pub fn adu(&self) -> Adu<'_> {
        match self {
            Self::Rtu(framer) => {
                let unit = framer.frame().first().copied().unwrap_or_default();
                Adu { transaction: 0, unit, pdu: framer.pdu() }
            }
            Self::Ascii(framer) => framer.adu(),
            Self::Mbap(framer) => framer.adu(),
        }
    }

    /// Unit id and function code, as soon as they have come.
    pub fn head(&self) -> Option<(u8, u8)> {
        let bytes = match self {
            Self::Rtu(framer) => framer.frame(),
            Self::Ascii(framer) => framer.bytes(),
            Self::Mbap(framer) => framer.bytes().get(6..).unwrap_or_default(),
        };
        Some((*bytes.first()?, *bytes.get(1)?))
    }

    /// When silence ends what has come, if nothing more comes before. Never on Modbus TCP.
    pub fn silence_ends(&self) -> Option<Time> {
        match self {
            Self::Rtu(framer) => framer.silence_ends(),
            Self::Ascii(framer) => framer.silence_ends(),
            Self::Mbap(_) => None,
        }
    }

    /// What the bytes since the last frame are, now that silence has come.
    pub fn judge(&self) -> Chunk {
        match self {
            Self::Rtu(framer) => framer.judge(),
            Self::Ascii(framer) => framer.judge(),
            Self::Mbap(framer) => framer.judge(),
        }
    }

    /// Bytes since the last frame or silence.
    pub fn collected(&self) -> u64 {
        match self {
            Self::Rtu(framer) => framer.collected(),
            Self::Ascii(framer) => framer.collected(),
            Self::Mbap(framer) => framer.bytes().len() as u64,
        }
    }

    /// When the last byte came.
    pub fn last_byte(&self) -> Option<Time> {
        match self {
            Self::Rtu(framer) => framer.last_byte(),
            Self::Ascii(framer) => framer.last_byte(),
            Self::Mbap(framer) => framer.last_byte(),
        }
    }

    pub fn clear(&mut self) {
        match self {
            Self::Rtu(framer) => framer.clear(),
            Self::Ascii(framer) => framer.clear(),
            Self::Mbap(framer) => framer.clear(),
        }
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
