//! Telnet options: who has agreed to what, and what to answer. A request is answered once and an answer never, so that
//! two ends cannot loop.

use super::out::Out;
use super::{BINARY, COM_PORT, DO, DONT, IAC, SUPPRESS_GO_AHEAD, WILL, WONT};

const KNOWN: [u8; 3] = [BINARY, SUPPRESS_GO_AHEAD, COM_PORT];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Side {
    #[default]
    No,
    Asked,
    Yes,
}

/// For each option what we do and what the other side does.
#[derive(Debug, Default)]
pub(super) struct Options {
    us: [Side; KNOWN.len()],
    them: [Side; KNOWN.len()],
}

fn index(option: u8) -> Option<usize> {
    KNOWN.iter().position(|&known| known == option)
}

impl Options {
    /// Offers to do it.
    pub(super) fn offer(&mut self, option: u8, out: &mut Out) {
        if let Some(n) = index(option)
            && self.us[n] == Side::No
        {
            self.us[n] = Side::Asked;
            out.put(&[IAC, WILL, option]);
        }
    }

    /// Asks the other side to do it.
    pub(super) fn ask(&mut self, option: u8, out: &mut Out) {
        if let Some(n) = index(option)
            && self.them[n] == Side::No
        {
            self.them[n] = Side::Asked;
            out.put(&[IAC, DO, option]);
        }
    }

    pub(super) fn heard(&mut self, verb: u8, option: u8, out: &mut Out) {
        let (sides, yes, no) = match verb {
            WILL | WONT => (&mut self.them, DO, DONT),
            _ => (&mut self.us, WILL, WONT),
        };
        let wanted = matches!(verb, WILL | DO);
        match (index(option).and_then(|n| sides.get_mut(n)), wanted) {
            (Some(side), true) => {
                if *side == Side::No {
                    out.put(&[IAC, yes, option]);
                }
                *side = Side::Yes;
            }
            (Some(side), false) => {
                if *side == Side::Yes {
                    out.put(&[IAC, no, option]);
                }
                *side = Side::No;
            }
            (None, true) => out.put(&[IAC, no, option]),
            (None, false) => {}
        }
    }

    /// Whether either side has agreed to control the COM port.
    pub(super) fn com_port(&self) -> bool {
        self.us[2] == Side::Yes || self.them[2] == Side::Yes
    }

    /// Whether the other side has said no to what we asked of COM port control.
    pub(super) fn com_port_refused(&self) -> bool {
        self.us[2] == Side::No && self.them[2] == Side::No
    }
}
