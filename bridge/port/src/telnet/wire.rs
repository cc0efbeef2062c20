//! What both ends of a Telnet connection have in common: parsing, negotiating, sending, being told to pause.

use std::ops::Range;

use super::codes;
use super::options::Options;
use super::out::Out;
use super::parser::{Item, Parser};
use super::{BINARY, COM_PORT, SUPPRESS_GO_AHEAD};

#[derive(Debug)]
pub(super) struct Wire {
    pub parser: Parser,
    pub options: Options,
    pub out: Out,
    /// The other side wants no payload for now.
    pub suspended: bool,
}

/// What came next, with negotiations done.
pub(super) enum Came {
    Bytes(Range<usize>),
    /// A command of COM port control is in the parser.
    Command,
    /// Something was agreed or refused.
    Options,
    End,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self { parser: Parser::new(), options: Options::default(), out: Out::new(), suspended: false }
    }

    /// A new connection.
    pub(super) fn restart(&mut self) {
        self.parser = Parser::new();
        self.options = Options::default();
        self.out.clear();
        self.suspended = false;
        for option in [SUPPRESS_GO_AHEAD, BINARY] {
            self.options.offer(option, &mut self.out);
            self.options.ask(option, &mut self.out);
        }
    }

    pub(super) fn next(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Came {
        loop {
            return match self.parser.next(buffer, raw) {
                Item::Bytes(bytes) => Came::Bytes(bytes),
                Item::Negotiate(verb, option) => {
                    self.options.heard(verb, option, &mut self.out);
                    Came::Options
                }
                Item::Sub => match self.parser.sub() {
                    Some([COM_PORT, _, ..]) => Came::Command,
                    _ => continue,
                },
                Item::End => Came::End,
            };
        }
    }

    /// The command that came last, its number and up to four bytes of its value (no value is 0 bytes long).
    pub(super) fn command(&self) -> (u8, Value) {
        let sub = self.parser.sub().unwrap_or_default();
        let mut value = Value { bytes: [0; 4], len: sub.len().saturating_sub(2) };
        let kept = value.len.min(4);
        if let Some(from) = sub.get(2..2 + kept) {
            value.bytes[..kept].copy_from_slice(from);
        }
        (sub.get(1).copied().unwrap_or_default(), value)
    }

    /// Does what a SUSPEND or RESUME says; `false` for anything else.
    pub(super) fn flow(&mut self, command: u8) -> bool {
        match command {
            codes::FLOWCONTROL_SUSPEND => self.suspended = true,
            codes::FLOWCONTROL_RESUME => self.suspended = false,
            _ => return false,
        }
        true
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    bytes: [u8; 4],
    len: usize,
}

impl Value {
    pub(super) fn byte(self) -> Option<u8> {
        (self.len >= 1).then_some(self.bytes[0])
    }

    pub(super) fn word(self) -> Option<u32> {
        (self.len >= 4).then_some(u32::from_be_bytes(self.bytes))
    }

    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }
}
