//! What travels on a serial line beside bytes: modem lines, break, characters in error, settings. Plain values;
//! what a port can do with them is its own affair.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::time::Duration;

use crate::serial_options::{Flow, Format};

/// A set of modem lines. The bits are those of an RTAC serial record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lines(pub u8);

impl Lines {
    pub const NONE: Self = Self(0);
    pub const CTS: Self = Self(0x01);
    pub const DCD: Self = Self(0x02);
    pub const DSR: Self = Self(0x04);
    pub const RTS: Self = Self(0x08);
    pub const DTR: Self = Self(0x10);
    pub const RI: Self = Self(0x20);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::CTS, "CTS"),
        (Self::DCD, "DCD"),
        (Self::DSR, "DSR"),
        (Self::RTS, "RTS"),
        (Self::DTR, "DTR"),
        (Self::RI, "RI"),
    ];

    pub fn has(self, line: Self) -> bool {
        self.0 & line.0 == line.0
    }

    #[must_use]
    pub fn with(self, lines: Self, on: bool) -> Self {
        if on { self | lines } else { self & !lines }
    }

    /// What an application sees at the other end of a null modem when one end drives these lines: DTR is DSR and
    /// DCD there, RTS is CTS.
    #[must_use]
    pub fn through_null_modem(self) -> Self {
        Self::NONE.with(Self::DSR | Self::DCD, self.has(Self::DTR)).with(Self::CTS, self.has(Self::RTS))
    }
}

impl BitOr for Lines {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Lines {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Lines {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// The lines that are on, as `DTR RTS`; `-` for none.
impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sep = "";
        for (line, name) in Self::NAMES {
            if self.has(line) {
                write!(f, "{sep}{name}")?;
                sep = " ";
            }
        }
        if sep.is_empty() { f.write_str("-") } else { Ok(()) }
    }
}

/// How one end of a line is set. A baud rate of 0 is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSettings {
    pub baud: u32,
    pub format: Format,
    pub flow: Flow,
}

/// What was wrong with a character that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CharError {
    /// No stop bit where one must be.
    Framing,
    Parity,
    /// Characters were lost before it, in the UART or the driver.
    Overrun,
}

/// Which of a port's own buffers to throw away, seen from the program that uses the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    Input,
    Output,
    Both,
}

/// Something other than bytes, from one end of a link on its way to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The lines that the end drives, or senses, as they are now.
    Lines(Lines),
    /// A break has begun, or ended. In order with the bytes.
    Break(bool),
    /// The byte that follows came in error. In order with the bytes.
    Error(CharError),
    /// The end is set like this now.
    Settings(LineSettings),
    /// The end threw away what it had sent or was to receive.
    Purge(Purge),
    /// Only from a conduit: the receiver's port is to vanish and to return after this time.
    Unplug(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_modem_crosses_the_lines() {
        assert_eq!(Lines::DTR.through_null_modem(), Lines::DSR | Lines::DCD);
        assert_eq!((Lines::RTS | Lines::RI).through_null_modem(), Lines::CTS);
        assert_eq!((Lines::DTR | Lines::RTS).with(Lines::DTR, false).to_string(), "RTS");
        assert_eq!(Lines::NONE.to_string(), "-");
    }
}
