//! A telegram table as people write it. Types only; what they mean together is checked by [`build`](crate::build).

use hilrig_files::{At, Entries, TimeText};
use schemars::JsonSchema;
use serde::Deserialize;

/// A device that does not speak Modbus: `[telegram.NAME]` in a model file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelegramFile {
    /// The port of the model that it is on.
    pub port: At<String>,
    /// A known protocol. `"nmea"`, `"uss"` and `"3964r"` say how telegrams travel; the others answer by themselves.
    pub profile: Option<At<ProfileFile>>,
    /// Where a telegram begins and ends.
    pub framing: Option<At<FramingFile>>,
    /// What protects it.
    pub checksum: Option<At<ChecksumFile>>,
    /// How long an answer waits, from the end of what it answers; at once if not said.
    pub delay: Option<At<TimeText>>,
    /// A telegram that stops in its middle for so long is none; 1 s if not said, 100 ms with `ft12_mbus` and `uss`.
    pub gap: Option<At<TimeText>>,
    /// Telegrams that it sends: by themselves, as answers, or when asked to by an action.
    #[serde(default)]
    pub send: Entries<SendFile>,
    /// Telegrams that it understands, the first that fits counts.
    #[serde(default)]
    pub receive: Entries<ReceiveFile>,
}

/// A telegram that is sent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendFile {
    /// Sent with this period, counted from the moment the line is there.
    pub every: Option<At<TimeText>>,
    /// By how much the first one is later than that moment.
    pub phase: Option<At<TimeText>>,
    /// What is in it, in order.
    pub fields: Vec<At<FieldFile>>,
}

/// A telegram that is understood.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveFile {
    /// What is in it, in order. What is fixed must be there, what has a `point` is written into it.
    pub fields: Vec<At<FieldFile>>,
    /// Name of the telegram to answer with.
    pub reply: Option<At<String>>,
    /// How long the answer waits.
    pub delay: Option<At<TimeText>>,
}

/// A part of a telegram: exactly one of `text`, `hex`, `point`, `value`, `counter`, `time` and `skip`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldFile {
    /// These characters, one byte each (U+0000 to U+00FF).
    pub text: Option<At<String>>,
    /// These bytes, in hexadecimal.
    pub hex: Option<At<String>>,
    /// The value of this point, written as `as` says.
    pub point: Option<At<String>>,
    /// This number, written as `as` says.
    pub value: Option<At<f64>>,
    /// A number that grows by one with each telegram sent, written as `as` says.
    pub counter: Option<At<CounterFile>>,
    /// The time since the line was there, in this unit, written as `as` says.
    pub time: Option<At<TimeUnit>>,
    /// So many bytes that mean nothing; zeros when sent.
    pub skip: Option<At<i64>>,
    /// How the value is written.
    #[serde(rename = "as")]
    pub coding: Option<At<CodingFile>>,
    /// The number in the telegram is this many times the value of the point.
    pub scale: Option<At<f64>>,
    /// The value received must equal the point, which is not written.
    #[serde(rename = "match", default)]
    pub matches: bool,
}

/// Bounds of a counter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CounterFile {
    /// The first number, and the one after `to`; 0 if not said.
    #[serde(default)]
    pub from: i64,
    /// The last number before it starts again.
    pub to: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    Us,
    Ms,
    S,
}

/// How a value is written in a telegram.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodingFile {
    /// A binary number of 1 to 8 bytes, without sign.
    Uint(IntFile),
    /// A binary number of 1 to 8 bytes in two's complement.
    Int(IntFile),
    /// An IEEE 754 number of 4 or 8 bytes.
    Float(IntFile),
    /// Two decimal digits a byte.
    Bcd(IntFile),
    /// A decimal number in ASCII.
    Decimal(DecimalFile),
    /// A number in hexadecimal digits, negative ones in two's complement.
    Hex(HexFile),
    /// Text.
    String(StringFile),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntFile {
    pub bytes: At<i64>,
    /// The high byte first (`"big"`) or last; `"big"` if not said.
    #[serde(default)]
    pub order: Order,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Big,
    Little,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecimalFile {
    /// So many characters, sign and point included; as many as needed if not said.
    pub width: Option<At<i64>>,
    /// Digits behind the point; 0 if not said.
    pub decimals: Option<At<i64>>,
    /// Leave the point out: `decimals = 2` writes 12.5 as 1250.
    #[serde(default)]
    pub no_point: bool,
    /// Always a sign, `+` too.
    #[serde(default)]
    pub sign: bool,
    /// Fills up to `width`: `"0"` (behind the sign) or another character before the number; a space if not said.
    pub pad: Option<At<String>>,
    /// Put the number at the left, padding behind it.
    #[serde(default)]
    pub left: bool,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HexFile {
    /// 1 to 16.
    pub digits: At<i64>,
    /// `a` to `f` rather than `A` to `F`.
    #[serde(default)]
    pub lower: bool,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StringFile {
    /// So many bytes; as many as the text has if not said.
    pub length: Option<At<i64>>,
    /// Fills up to `length`; a space if not said.
    pub pad: Option<At<String>>,
}

/// Where a telegram begins and ends. Exactly one key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FramingFile {
    /// It ends with these characters, such as `"\r\n"`.
    Terminator(At<String>),
    /// Between two marks, such as STX and ETX.
    Delimited(DelimitedFile),
    /// Between DLE STX and DLE ETX; a DLE inside is doubled.
    Dle(DleFile),
    /// A field says how long it is.
    Length(LengthFile),
    /// All are of one length.
    Fixed(FixedFile),
    /// It ends when the line has been silent for this long.
    Silence(At<TimeText>),
    /// FT1.2 of IEC 60870-5-1 (as in M-Bus and IEC 60870-5-101): 10 .. 16 if it holds two bytes, 68 L L 68 .. 16 if it
    /// holds more, E5 if it holds none. Its checksum is its own.
    Ft12,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelimitedFile {
    /// Begins a telegram, wherever it stands; one byte for each character.
    pub start: At<String>,
    pub end: At<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DleFile {
    /// The character that makes others special; U+0010 (DLE) if not said.
    pub dle: Option<At<String>>,
    /// Behind DLE, begins a telegram; U+0002 (STX) if not said.
    pub start: Option<At<String>>,
    /// Behind DLE, ends it; U+0003 (ETX) if not said.
    pub end: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthFile {
    /// What it begins with.
    pub start: Option<At<String>>,
    /// What it ends with, behind the checksum.
    pub end: Option<At<String>>,
    /// How many bytes stand before the length, `start` among them.
    pub offset: At<i64>,
    /// How long the length itself is.
    pub bytes: At<i64>,
    /// How it is written; `"big"` if not said.
    #[serde(default)]
    pub encoding: LengthEncoding,
    /// All bytes of the telegram are the length and this: 0 if the length counts all, `offset` + `bytes` if it counts
    /// those behind it.
    pub plus: At<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LengthEncoding {
    #[default]
    Big,
    Little,
    Hex,
    Decimal,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedFile {
    /// All bytes, from the start to the checksum.
    pub length: At<i64>,
    /// What it begins with.
    pub start: Option<At<String>>,
}

/// What protects a telegram, and where it stands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChecksumFile {
    pub of: At<SumFile>,
    /// How it is written; `"big"` if not said.
    #[serde(rename = "as", default)]
    pub encoding: SumEncoding,
    /// Characters before the checksum that it does not cover, such as the `*` of NMEA.
    pub lead: Option<At<String>>,
    /// It stands behind the end mark rather than before it.
    #[serde(default)]
    pub after_end: bool,
    /// It covers the start mark, too.
    #[serde(default)]
    pub with_start: bool,
    /// It covers the end mark, too (in DLE framing: the character behind the DLE).
    #[serde(default)]
    pub with_end: bool,
    /// How many of the first bytes it does not cover.
    pub skip: Option<At<i64>>,
}

/// Which checksum: a name, or exactly one key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SumFile {
    /// Exclusive or of all bytes (BCC).
    Xor,
    /// Two's complement of the sum of all bytes.
    Lrc,
    /// The low byte of the sum of all bytes.
    Sum8,
    /// The low two bytes of the sum of all bytes.
    Sum16,
    /// A cyclic redundancy check.
    Crc(CrcFile),
}

/// A CRC by its parameters, as catalogues give them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrcFile {
    /// 8, 16 or 32 bits; 3 to 32 are known.
    pub width: At<i64>,
    pub poly: At<i64>,
    #[serde(default)]
    pub init: i64,
    #[serde(default)]
    pub refin: bool,
    #[serde(default)]
    pub refout: bool,
    #[serde(default)]
    pub xorout: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SumEncoding {
    #[default]
    Big,
    Little,
    Hex,
    HexLower,
    Decimal,
}

/// A protocol that is known: a name, or exactly one key with what it needs to know.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub enum ProfileFile {
    /// Sentences as in NMEA 0183: `$...*hh`, CR LF.
    #[serde(rename = "nmea")]
    Nmea,
    /// Omron Host Link, C-mode: the PLC.
    #[serde(rename = "hostlink")]
    HostLink(HostLinkFile),
    /// Mitsubishi computer link, A-compatible 1C frames, format 1: the PLC.
    #[serde(rename = "melsec_1c")]
    Melsec(MelsecFile),
    /// FT1.2 as M-Bus uses it: a meter.
    #[serde(rename = "ft12_mbus")]
    Mbus(MbusFile),
    /// Siemens 3964 or 3964R: either partner.
    #[serde(rename = "3964r")]
    R3964(R3964File),
    /// USS: a drive, or the master of one.
    #[serde(rename = "uss")]
    Uss(UssFile),
}

/// Cells of a unit as the protocol's memory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AreaFile {
    /// Name of the unit that holds the cells, or its unit id.
    pub unit: At<String>,
    /// Which of its tables; bits count 16 to a word. `"holding"` if not said.
    #[serde(default)]
    pub table: AreaTable,
    /// Address of the cell that is number 0 of the area; 0 if not said.
    pub first: Option<At<i64>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AreaTable {
    #[default]
    Holding,
    Input,
    Coils,
    Discrete,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostLinkFile {
    /// Node number, 0 to 31.
    pub node: At<i64>,
    /// Its memory: `DM` (RD, WD), `CIO` (RR, WR), `LR` (RL, WL), `HR` (RH, WH), `AR` (RJ, WJ), `PV` (RC, WC).
    pub area: Entries<AreaFile>,
    /// Type code that MM answers, two hexadecimal digits; `"30"` (CS1) if not said.
    pub model: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MelsecFile {
    /// Station number, 0 to 31.
    pub station: At<i64>,
    /// PC number that it answers to besides FF; 255 if not said.
    pub pc: Option<At<i64>>,
    /// Its devices: `D`, `W`, `R`, `TN`, `CN` (words), `X`, `Y`, `M`, `B`, `F`, `TS`, `CS` (bits).
    pub device: Entries<AreaFile>,
    /// Without sum check.
    #[serde(default)]
    pub no_sum: bool,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MbusFile {
    /// Primary address, 0 to 250.
    pub address: At<i64>,
    /// Identification number, 8 digits.
    pub id: At<String>,
    /// Manufacturer, three capital letters.
    pub manufacturer: At<String>,
    /// 0 if not said.
    pub version: Option<At<i64>>,
    /// What it measures, for example 7 for water.
    pub medium: At<i64>,
    /// Access number of its first answer; 0 if not said.
    pub access: Option<At<i64>>,
    /// Its data records, in order.
    pub record: Vec<At<RecordFile>>,
}

/// A data record of a meter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordFile {
    /// DIF, DIFEs, VIF and VIFEs in hexadecimal; the data field of the DIF says how the value is written.
    pub header: At<String>,
    /// The point with the value.
    pub point: At<String>,
    /// The number in the telegram is this many times the value of the point.
    pub scale: Option<At<f64>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct R3964File {
    /// Who gives way when both begin: `"low"` does. `"low"` if not said.
    #[serde(default)]
    pub priority: Priority,
    /// Without block check character: procedure 3964.
    #[serde(default)]
    pub no_bcc: bool,
    /// Acknowledgement delay (QVZ); 2 s, without BCC 550 ms, if not said.
    pub qvz: Option<At<TimeText>>,
    /// Character delay (ZVZ); 220 ms if not said.
    pub zvz: Option<At<TimeText>>,
    /// How often it tries to begin; 6 if not said.
    pub connect_attempts: Option<At<i64>>,
    /// How often it tries to send; 6 if not said.
    pub send_attempts: Option<At<i64>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    #[default]
    Low,
    High,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UssFile {
    /// Address of the drive, 0 to 31.
    pub address: At<i64>,
    /// Sent as the master, to the drive with this address, in this period; without it, this is the drive.
    pub master_every: Option<At<TimeText>>,
    /// Words of parameter channel (PKW): 0, 3 or 4; 4 if not said.
    pub pkw: Option<At<i64>>,
    /// Parameters of the drive that the parameter channel reads and changes: number = point.
    #[serde(default)]
    pub parameter: Entries<At<String>>,
    /// Process data words (PZD) that it sends.
    #[serde(default)]
    pub send: Vec<At<PzdFile>>,
    /// Process data words that it receives, as many as it sends.
    #[serde(default)]
    pub receive: Vec<At<PzdFile>>,
}

/// A process data word.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PzdFile {
    pub point: At<String>,
    /// The word is this many times the value of the point.
    pub scale: Option<At<f64>>,
    /// A signed word.
    #[serde(default)]
    pub signed: bool,
}
