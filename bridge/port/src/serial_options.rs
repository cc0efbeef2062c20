//! How a serial line is to be set: the part of a port URL after `?`, and the values behind it. No system calls.

use std::fmt;

pub const DEFAULT_BAUD: u32 = 9600;
const MAX_BAUD: u32 = 20_000_000;
/// Milliseconds; the kernel takes no more.
const MAX_DELAY: u32 = 100;
const KNOWN: &str = "baud, format, flow, exclusive, low_latency, echo, rs485, rs485_rts, rs485_before, rs485_after, dtr, rts, hupcl";

/// Settings of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialOptions {
    pub baud: u32,
    pub format: Format,
    pub flow: Flow,
    /// Keep other programs out while we have the port.
    pub exclusive: bool,
    /// Ask the driver to pass received bytes on at once. Best effort.
    pub low_latency: bool,
    /// The line hears what it sends, as a transceiver on two wires may; leave that out of what is received.
    pub echo: bool,
    /// Let the driver switch the RS-485 transceiver. Best effort.
    pub rs485: bool,
    /// The level of RTS while the port sends in RS-485 mode; at other times it has the other one.
    pub rs485_rts: bool,
    /// How long RTS has that level before the first bit, in milliseconds.
    pub rs485_before: u32,
    /// How long RTS keeps that level after the last bit, in milliseconds.
    pub rs485_after: u32,
    /// Set the line at open; `None` leaves it alone, as far as the kernel does: the first program to open a port
    /// after the machine has started, or after a close with `hupcl`, finds that the kernel has raised both lines.
    pub dtr: Option<bool>,
    /// Set the line at open; `None` leaves it alone, as `dtr`.
    pub rts: Option<bool>,
    /// Lower DTR and RTS when the port is closed. Otherwise they stay, and the next opening does not pulse them.
    pub hupcl: bool,
}

impl Default for SerialOptions {
    fn default() -> Self {
        Self {
            baud: DEFAULT_BAUD,
            format: Format::default(),
            flow: Flow::None,
            exclusive: true,
            low_latency: false,
            echo: false,
            rs485: false,
            rs485_rts: true,
            rs485_before: 0,
            rs485_after: 0,
            dtr: None,
            rts: None,
            hupcl: false,
        }
    }
}

impl SerialOptions {
    pub(crate) fn settings(&self) -> crate::LineSettings {
        crate::LineSettings { baud: self.baud, format: self.format, flow: self.flow }
    }
}

/// Shape of a character on the line, written as `8N1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// 5 to 8.
    pub data_bits: u8,
    pub parity: Parity,
    pub stop_bits: StopBits,
}

impl Default for Format {
    fn default() -> Self {
        Self { data_bits: 8, parity: Parity::None, stop_bits: StopBits::One }
    }
}

impl Format {
    /// Length of one character on the line in half bits, start and stop included.
    pub fn half_bits(self) -> u32 {
        let stop = match self.stop_bits {
            StopBits::One => 2,
            StopBits::OneAndHalf => 3,
            StopBits::Two => 4,
        };
        2 + 2 * u32::from(self.data_bits) + if self.parity == Parity::None { 0 } else { 2 } + stop
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    None,
    Even,
    Odd,
    Mark,
    Space,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopBits {
    One,
    OneAndHalf,
    Two,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    None,
    RtsCts,
    XonXoff,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
            Parity::Mark => 'M',
            Parity::Space => 'S',
        };
        let stop = match self.stop_bits {
            StopBits::One => "1",
            StopBits::OneAndHalf => "1.5",
            StopBits::Two => "2",
        };
        write!(f, "{}{parity}{stop}", self.data_bits)
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a character format; the form is 8N1: 5 to 8 data bits, N, E, O, M or S, and 1, 1.5 or 2 stop bits"
            )
        };
        let mut chars = text.chars();
        let data_bits = match chars.next().and_then(|c| c.to_digit(10)) {
            Some(n @ 5..=8) => n as u8,
            _ => return Err(wrong()),
        };
        let parity = match chars.next().map(|c| c.to_ascii_uppercase()) {
            Some('N') => Parity::None,
            Some('E') => Parity::Even,
            Some('O') => Parity::Odd,
            Some('M') => Parity::Mark,
            Some('S') => Parity::Space,
            _ => return Err(wrong()),
        };
        let stop_bits = match chars.as_str() {
            "1" => StopBits::One,
            "1.5" => StopBits::OneAndHalf,
            "2" => StopBits::Two,
            _ => return Err(wrong()),
        };
        Ok(Self { data_bits, parity, stop_bits })
    }
}

/// Prints what differs from the defaults, in a fixed order.
impl fmt::Display for SerialOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Self::default();
        let mut sep = "";
        let mut put = |key: &str, value: &dyn fmt::Display| {
            let done = write!(f, "{sep}{key}={value}");
            sep = "&";
            done
        };
        if self.baud != plain.baud {
            put("baud", &self.baud)?;
        }
        if self.format != plain.format {
            put("format", &self.format)?;
        }
        match self.flow {
            Flow::None => {}
            Flow::RtsCts => put("flow", &"rtscts")?,
            Flow::XonXoff => put("flow", &"xonxoff")?,
        }
        let on_off = |on: bool| if on { "on" } else { "off" };
        if !self.exclusive {
            put("exclusive", &"off")?;
        }
        if self.low_latency {
            put("low_latency", &"on")?;
        }
        if self.echo {
            put("echo", &"on")?;
        }
        if self.rs485 {
            put("rs485", &"on")?;
            if !self.rs485_rts {
                put("rs485_rts", &"low")?;
            }
            if self.rs485_before != 0 {
                put("rs485_before", &self.rs485_before)?;
            }
            if self.rs485_after != 0 {
                put("rs485_after", &self.rs485_after)?;
            }
        }
        if let Some(on) = self.dtr {
            put("dtr", &on_off(on))?;
        }
        if let Some(on) = self.rts {
            put("rts", &on_off(on))?;
        }
        if self.hupcl {
            put("hupcl", &"on")?;
        }
        Ok(())
    }
}

/// Parses `baud=19200&format=8E1`; an error is a byte offset and a sentence.
pub(crate) fn parse(text: &str) -> Result<SerialOptions, (usize, String)> {
    let mut options = SerialOptions::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut at = 0;
    for part in text.split('&') {
        let Some((key, value)) = part.split_once('=') else {
            return Err((at, format!("an option has the form name=value; known options are {KNOWN}")));
        };
        let value_at = at + key.len() + 1;
        if seen.contains(&key) {
            return Err((at, format!("`{key}` is given twice")));
        }
        seen.push(key);
        let fail = |message: String| (value_at, message);
        match key {
            "baud" => {
                options.baud = match value.parse() {
                    Ok(n @ 1..=MAX_BAUD) if value.bytes().all(|b| b.is_ascii_digit()) => n,
                    _ => {
                        return Err(fail(format!(
                            "`{value}` is not a baud rate (a whole number from 1 to {MAX_BAUD})"
                        )));
                    }
                }
            }
            "format" => options.format = value.parse().map_err(fail)?,
            "flow" => {
                options.flow = match value {
                    "none" => Flow::None,
                    "rtscts" => Flow::RtsCts,
                    "xonxoff" => Flow::XonXoff,
                    _ => {
                        return Err(fail(format!(
                            "`{value}` is not a flow control; expected none, rtscts or xonxoff"
                        )));
                    }
                }
            }
            "exclusive" => options.exclusive = switch(value).map_err(fail)?,
            "low_latency" => options.low_latency = switch(value).map_err(fail)?,
            "echo" => options.echo = switch(value).map_err(fail)?,
            "rs485" => options.rs485 = switch(value).map_err(fail)?,
            "rs485_rts" => {
                options.rs485_rts = match value {
                    "high" => true,
                    "low" => false,
                    _ => return Err(fail(format!("`{value}` is neither high nor low"))),
                }
            }
            "rs485_before" => options.rs485_before = delay(value).map_err(fail)?,
            "rs485_after" => options.rs485_after = delay(value).map_err(fail)?,
            "dtr" => options.dtr = Some(switch(value).map_err(fail)?),
            "rts" => options.rts = Some(switch(value).map_err(fail)?),
            "hupcl" => options.hupcl = switch(value).map_err(fail)?,
            _ => {
                return Err((
                    at,
                    format!("`{key}` is not an option of a serial port; known options are {KNOWN}"),
                ));
            }
        }
        at += part.len() + 1;
    }
    if !options.rs485 && seen.iter().any(|key| key.starts_with("rs485_")) {
        return Err((text.len(), "the RS-485 settings need rs485=on".into()));
    }
    Ok(options)
}

fn delay(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(n @ 0..=MAX_DELAY) if value.bytes().all(|b| b.is_ascii_digit()) => Ok(n),
        _ => Err(format!("`{value}` is not a delay (a whole number of milliseconds, at most {MAX_DELAY})")),
    }
}

/// Whether options of a serial port have this name.
pub(crate) fn is_known(key: &str) -> bool {
    KNOWN.split(", ").any(|known| known == key)
}

pub(crate) fn switch(value: &str) -> Result<bool, String> {
    match value {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("`{value}` is neither on nor off")),
    }
}
