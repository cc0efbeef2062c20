//! A [`Server`]: a protocol core behind a listener, which talks with many callers at once (a Modbus TCP unit), and
//! maybe over one line behind it (a gateway). Driven by a shard like a [`Station`](crate::Station): sans-IO, it owns no
//! descriptor, thread or clock, and does not block. It allocates at most when a caller comes or stalls.

use std::any::Any;

use crate::{LineEvent, Time, Tx};

/// One caller of a server, while it is there. A number is given again once its caller has gone; `Server::on_closed`
/// comes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller(pub u32);

/// What a server wants done. The shard does it in this order as soon as the call returns.
#[derive(Debug, Default)]
pub struct Calls {
    pub(crate) bytes: Vec<u8>,
    pub(crate) wishes: Vec<Wish>,
    /// What is to go to the line behind the server; without one it is discarded.
    pub line: Tx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The next so many of `bytes` go to this caller.
    Send(Caller, usize),
    Close(Caller),
}

impl Calls {
    /// Sends to a caller. One that takes nothing is not read any more until it has taken this, so that at most the
    /// answers to one read wait for it.
    pub fn send(&mut self, to: Caller, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        match self.wishes.last_mut() {
            // Answers to one caller leave with one write.
            Some(Wish::Send(last, n)) if *last == to => *n += bytes.len(),
            _ => self.wishes.push(Wish::Send(to, bytes.len())),
        }
    }

    /// Ends the connection, after what was sent before has left.
    pub fn close(&mut self, caller: Caller) {
        self.wishes.push(Wish::Close(caller));
    }
}

/// A protocol core that owns a listener.
pub trait Server: Any + Send {
    /// A caller has come. `false` sends it away at once.
    fn on_caller(&mut self, now: Time, caller: Caller) -> bool;

    /// Bytes of a caller, in order, cut anywhere.
    fn on_bytes(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls);

    /// A caller has gone, whoever ended it.
    fn on_closed(&mut self, now: Time, caller: Caller);

    /// Called at or soon after [`deadline`](Self::deadline).
    fn on_deadline(&mut self, now: Time, calls: &mut Calls);

    /// When this core wants to be called next if nothing comes. Absolute.
    fn deadline(&self) -> Option<Time>;

    /// Bytes of the line behind the server.
    fn on_line_bytes(&mut self, now: Time, bytes: &[u8], calls: &mut Calls) {
        let _ = (now, bytes, calls);
    }

    /// The line behind the server came or went.
    fn on_line(&mut self, now: Time, event: LineEvent, calls: &mut Calls) {
        let _ = (now, event, calls);
    }
}
