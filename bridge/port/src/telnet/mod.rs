//! Telnet with COM port control (RFC 2217), both ends of it. Sans-IO: fed with what was read, it decodes in place, tells
//! signals, and keeps what is to be sent in a fixed buffer; it owns no socket and no clock and never allocates while
//! it is driven. Data is 8-bit throughout, also before the other side has agreed to BINARY.

mod client;
mod codes;
mod options;
mod out;
mod parser;
mod server;
mod wire;

use std::ops::Range;

use crate::Signal;

pub use client::Client;
pub use server::Server;

/// What came next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Payload is here in the buffer.
    Bytes(Range<usize>),
    Signal(Signal),
    /// Nothing more in the buffer; what was incomplete is kept.
    End,
}

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

const BINARY: u8 = 0;
const SUPPRESS_GO_AHEAD: u8 = 3;
const COM_PORT: u8 = 44;

/// What we call ourselves when asked.
const OUR_NAME: &[u8] = concat!("hilrig ", env!("CARGO_PKG_VERSION")).as_bytes();

#[cfg(test)]
mod tests;
