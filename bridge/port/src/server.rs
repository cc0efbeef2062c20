//! A [`Server`]: a protocol core behind a listener, which talks with many callers at once (a Modbus TCP unit), and
//! maybe over one line behind it (a gateway). Driven by a shard like a [`Station`](crate::Station): sans-IO, it owns no
//! descriptor, thread or clock, and does not block. It allocates at most when a caller comes or stalls.

use std::any::Any;

use crate::{LineEvent, Time, Tx};

/// One caller of a server, while it is there. A number is given again once its caller has gone; `Server::on_closed`
/// comes before. Numbers are small: a server may keep what it knows of its callers in a `Vec`.
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

/// One thing that a server wants done, as [`Calls::wanted`] tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    Send(Caller, &'a [u8]),
    Close(Caller),
}

impl Calls {
    /// With room for the longest answers that one read can ask for, so that answering does not allocate.
    pub(crate) fn roomy() -> Self {
        Self { bytes: Vec::with_capacity(1 << 16), wishes: Vec::with_capacity(64), line: Tx::default() }
    }

    /// Sends to a caller. One that does not take it is not read any more until it has, so that at most the answers to
    /// one read wait for it; one that takes nothing of 256 KiB sent all the same is dropped. What is sent to nobody is
    /// discarded.
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

    /// What is wanted of callers, in order; for those who drive a server without a shard.
    pub fn wanted(&self) -> impl Iterator<Item = Wanted<'_>> {
        let mut rest = self.bytes.as_slice();
        self.wishes.iter().map(move |wish| match *wish {
            Wish::Send(to, n) => {
                let (bytes, after) = rest.split_at(n);
                rest = after;
                Wanted::Send(to, bytes)
            }
            Wish::Close(caller) => Wanted::Close(caller),
        })
    }

    /// Forgets what is wanted of callers, because it is done.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.wishes.clear();
    }
}

/// A protocol core that owns a listener. One that panics loses its port and all callers, with the panic as the
/// reason; the shard goes on.
pub trait Server: Any + Send {
    /// A caller has come. `false` sends it away at once, without `on_closed`.
    fn on_caller(&mut self, now: Time, caller: Caller) -> bool;

    /// Bytes of a caller, in order, cut anywhere.
    fn on_bytes(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls);

    /// A caller will send nothing more, but may still take answers. Whoever owes none closes; one who does closes
    /// after the last.
    fn on_end(&mut self, now: Time, caller: Caller, calls: &mut Calls) {
        let _ = now;
        calls.close(caller);
    }

    /// A caller has gone, whoever ended it.
    fn on_closed(&mut self, now: Time, caller: Caller);

    /// Called at or soon after [`deadline`](Self::deadline).
    fn on_deadline(&mut self, now: Time, calls: &mut Calls);

    /// When this core wants to be called next if nothing comes. Absolute. Asked after each call, so that it must be
    /// known without looking through all callers.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_one_caller_are_one_and_order_is_kept() {
        let mut calls = Calls::default();
        calls.send(Caller(1), b"a");
        calls.send(Caller(1), b"b");
        calls.send(Caller(2), b"c");
        calls.close(Caller(1));
        calls.send(Caller(1), b"d");
        let wanted: Vec<_> = calls.wanted().collect();
        assert_eq!(
            wanted,
            [
                Wanted::Send(Caller(1), b"ab"),
                Wanted::Send(Caller(2), b"c"),
                Wanted::Close(Caller(1)),
                Wanted::Send(Caller(1), b"d")
            ]
        );
        calls.clear();
        assert_eq!(calls.wanted().count(), 0);
    }
}
