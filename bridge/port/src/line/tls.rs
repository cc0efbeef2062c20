//! A TCP line in TLS, as client and as server. Handshakes while it is driven and never waits.

use super::socket::Carrier;
use super::{Read, Write};

#[derive(Debug)]
pub(crate) struct TlsLine {
    pub(crate) carrier: Carrier,
}

impl TlsLine {
    /// Reads plain bytes to the front of `into`.
    pub(crate) fn read(&mut self, _into: &mut [u8]) -> Read {
        Read::Ended(None)
    }

    pub(crate) fn write(&mut self, _bytes: &[u8]) -> Write {
        Write::Ended(None)
    }

    pub(crate) fn unsent(&self) -> bool {
        false
    }

    pub(crate) fn flush(&mut self) -> Write {
        Write::Took(0)
    }

    pub(crate) fn buffered(&self) -> bool {
        false
    }

    pub(crate) fn connected(&mut self) {}
}
