//! What may stand in a link: a [`Conduit`] takes what one end sends and decides what the other end gets, and when
//! (pacing, noise, faults). Sans-IO: fed with time, bytes and signals, it owns no descriptor, thread or clock, and
//! never allocates or blocks while it is driven. A link without one passes bytes on as they come.

use std::any::Any;

use crate::{Direction, Signal, Time};

/// What the receiver of one direction gets next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out<'a> {
    /// Not empty.
    Bytes(&'a [u8]),
    Signal(Signal),
}

/// Byte account of one direction since the start. With what the shard counts, always:
/// `bytes in + inserted == bytes out + dropped + discarded + pending`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Taken out on purpose.
    pub dropped: u64,
    /// Put in on purpose.
    pub inserted: u64,
    /// Taken in and not yet given out.
    pub pending: u64,
}

/// A fault has fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    pub at: Time,
    pub direction: Direction,
    /// Place of the first byte it is about, among all that came in this direction.
    pub position: u64,
    /// Number of the rule, as given by the one who armed it.
    pub rule: u32,
    /// How many bytes it touched.
    pub bytes: u32,
    /// How often the rule has fired by now, and on how many bytes: exact however many notes before this one were lost.
    pub total: (u64, u64),
}

/// What stands in a link. After each call of `push`, `signal` or `on_deadline` the shard takes what is due in *both*
/// directions with `next` and `advance`.
pub trait Conduit: Any + Send {
    /// How many bytes this direction takes now. The shard pushes no more than that, and stops reading at 0 until there
    /// is room again.
    fn room(&self, direction: Direction) -> usize;

    /// Bytes as they came from the sender, cut anywhere. All of them are taken in.
    fn push(&mut self, now: Time, direction: Direction, bytes: &[u8]);

    /// Something else came from the sender of `direction`. `Break` and `Error` keep their place among the bytes, the
    /// others act at once.
    fn signal(&mut self, now: Time, direction: Direction, signal: Signal);

    /// What the receiver gets next, if it is due at `now`. The same again until `advance`.
    fn next(&mut self, now: Time, direction: Direction) -> Option<Out<'_>>;

    /// The receiver took the first `n` bytes of what `next` showed, or the signal (`n` is 0). Where nobody is at the
    /// receiving end, the shard takes what is due and counts it as discarded.
    fn advance(&mut self, now: Time, direction: Direction, n: usize);

    /// Throws away all that is pending and answers how many bytes that were: the link is over, or gets another conduit.
    fn discard(&mut self, now: Time, direction: Direction) -> u64;

    /// When something will be due that is not yet. Absolute.
    fn deadline(&self) -> Option<Time>;

    /// Called at or soon after `deadline`, before `next`.
    fn on_deadline(&mut self, now: Time);

    fn account(&self, direction: Direction) -> Account;

    /// The next firing that has not been asked for yet, oldest first.
    fn note(&mut self) -> Option<Note>;
}
