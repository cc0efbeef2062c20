//! A Telnet line with COM port control (RFC 2217): frames what a link carries, both as client and as server. Opens
//! nothing and never waits.

use std::ops::Range;

use rustix::io::Errno;

use super::socket::Carrier;
use super::{Decode, Piece, Role, Write};
use crate::{Signal, Time};

#[derive(Debug)]
pub(crate) struct TelnetLine {
    pub(crate) carrier: Carrier,
}

impl TelnetLine {
    /// A server's far end is an application, a client's a device.
    pub(crate) fn role(&self) -> Role {
        match self.carrier {
            Carrier::Listen(_) => Role::App,
            Carrier::Stream(_) => Role::Device,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        match self.carrier.send(bytes) {
            Ok(n) => Write::Took(n),
            Err(Errno::AGAIN | Errno::INTR) => Write::Took(0),
            Err(e) => Write::Ended(Some(e)),
        }
    }

    pub(crate) fn unsent(&self) -> bool {
        false
    }

    pub(crate) fn flush(&mut self) -> Write {
        Write::Took(0)
    }

    pub(crate) fn connected(&mut self) {}

    pub(crate) fn apply(&mut self, _signal: &Signal) -> Option<Signal> {
        None
    }

    pub(crate) fn answer(&mut self, _signal: &Signal) {}

    pub(crate) fn deadline(&self) -> Option<Time> {
        None
    }

    /// At `deadline`; asked again until it has nothing more to say.
    pub(crate) fn on_deadline(&mut self, _now: Time) -> Option<Signal> {
        None
    }
}

impl Decode for TelnetLine {
    fn next(&mut self, _buffer: &mut [u8], raw: &mut Range<usize>) -> Piece {
        let all = raw.clone();
        raw.start = raw.end;
        if all.is_empty() { Piece::End } else { Piece::Bytes(all) }
    }
}
