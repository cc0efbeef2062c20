//! The callers of a server: their connections, which a slab keeps, and what they have not taken yet. Knows no core; who
//! has to hear that a caller has gone is for the server's unit to say.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::set::{CALLERS_MAX, EventFlags, Set, Token};
use crate::{Caller, PortStats};

/// What may wait for one caller at most.
const WAITING_MAX: usize = 256 * 1024;

/// A caller that is read is told of once for all that has come (edge-triggered), which saves the kernel a second look at
/// each; so whoever reads does so until nothing is left, or has it watched anew.
const READ: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// One place for a caller.
#[derive(Debug, Default)]
struct Slot {
    connection: Option<OwnedFd>,
    /// Goes up when a caller has gone, so that an event of one is not taken for the next one's.
    generation: u32,
    /// It will send nothing more.
    ended: bool,
    /// It is to go when it has taken what waits.
    closing: bool,
    /// What it has not taken; it is not read meanwhile.
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    taken: usize,
}

/// What a caller's connection brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Bytes(usize),
    Nothing,
    /// A signal came first.
    Interrupted,
    /// It will send nothing more.
    End,
    Gone,
}

/// What has become of a caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Stays,
    /// It is to be taken out.
    Goes,
    /// It is to be taken out when it has taken what waits for it, or after a while.
    Lingers,
}

#[derive(Debug, Default)]
pub(crate) struct Callers {
    unit: usize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
}

impl Callers {
    /// Of the unit at this place in the shard.
    pub(crate) fn begin(&mut self, unit: usize) {
        self.unit = unit;
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn all(&self) -> Vec<Caller> {
        let here = (0..).zip(&self.slots).filter(|(_, s)| s.connection.is_some());
        here.map(|(slot, _)| Caller(slot)).collect()
    }

    /// `None` when there is no place; the connection is closed then.
    pub(crate) fn take_in(&mut self, connection: OwnedFd) -> Option<Caller> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < CALLERS_MAX => {
                self.slots.push(Slot::default());
                // So that a caller who goes never makes it grow.
                self.free.reserve(self.slots.len());
                (self.slots.len() - 1) as u32
            }
            None => return None,
        };
        let place = &mut self.slots[slot as usize];
        *place = Slot { connection: Some(connection), generation: place.generation, ..Slot::default() };
        self.count += 1;
        Some(Caller(slot))
    }

    pub(crate) fn watch(&self, caller: Caller, set: &Set) -> Result<(), Errno> {
        let slot = &self.slots[caller.0 as usize];
        let Some(connection) = &slot.connection else { return Ok(()) };
        set.add(connection.as_fd(), self.token(caller, slot), READ)
    }

    fn token(&self, caller: Caller, slot: &Slot) -> Token {
        Token::Caller { unit: self.unit, slot: caller.0, generation: slot.generation }
    }

    /// Takes a caller out and closes its connection.
    pub(crate) fn remove(&mut self, caller: Caller, set: &Set) -> bool {
        let Some(slot) = self.slots.get_mut(caller.0 as usize) else { return false };
        let Some(connection) = slot.connection.take() else { return false };
        // Before it is closed: another process may hold the connection for a moment, between its fork and its exec.
        set.remove(connection.as_fd());
        slot.waiting = None;
        slot.generation = Token::next_generation(slot.generation);
        self.count -= 1;
        self.free.push(caller.0);
        true
    }

    /// Nobody is told of any caller any more.
    pub(crate) fn unwatch(&self, set: &Set) {
        self.slots.iter().filter_map(|s| s.connection.as_ref()).for_each(|c| set.remove(c.as_fd()));
    }

    /// Whether an event, or a time, that was meant for a caller of this generation finds it.
    pub(crate) fn is_here(&self, slot: u32, generation: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(|s| s.connection.is_some() && s.generation == generation)
    }

    pub(crate) fn generation(&self, caller: Caller) -> u32 {
        self.slots[caller.0 as usize].generation
    }

    /// Whether it is read now.
    pub(crate) fn reading(&self, caller: Caller) -> bool {
        let slot = &self.slots[caller.0 as usize];
        slot.waiting.is_none() && !slot.ended && !slot.closing
    }

    pub(crate) fn read(&self, caller: Caller, buffer: &mut [u8]) -> Heard {
        let Some(connection) = &self.slots[caller.0 as usize].connection else { return Heard::Nothing };
        // A socket has less to do for this than for a read.
        match rustix::net::recv(connection, buffer, RecvFlags::empty()) {
            Ok((0, _)) => Heard::End,
            Ok((n, _)) => Heard::Bytes(n),
            Err(Errno::AGAIN) => Heard::Nothing,
            Err(Errno::INTR) => Heard::Interrupted,
            Err(_) => Heard::Gone,
        }
    }

    /// It has sent its last; it is watched for its leaving only.
    pub(crate) fn end(&mut self, caller: Caller, set: &Set) -> Then {
        self.slots[caller.0 as usize].ended = true;
        self.watch_again(caller, set)
    }

    /// Sends, or keeps what is not taken.
    pub(crate) fn send(&mut self, caller: Caller, bytes: &[u8], set: &Set, stats: &PortStats) -> Then {
        let slot = self.slots.get_mut(caller.0 as usize);
        let Some(slot) = slot.filter(|s| s.connection.is_some() && !s.closing) else {
            stats.discarded_bytes.add(bytes.len() as u64);
            return Then::Stays;
        };
        if let Some(waiting) = &mut slot.waiting {
            if waiting.bytes.len() - waiting.taken + bytes.len() > WAITING_MAX {
                stats.discarded_bytes.add(bytes.len() as u64);
                return Then::Goes;
            }
            waiting.bytes.extend_from_slice(bytes);
            return Then::Stays;
        }
        let Some(taken) = slot.write(bytes) else {
            stats.discarded_bytes.add(bytes.len() as u64);
            return Then::Goes;
        };
        stats.tx_bytes.add(taken as u64);
        if taken == bytes.len() {
            return Then::Stays;
        }
        slot.waiting = Some(Box::new(Waiting { bytes: bytes[taken..].to_vec(), taken: 0 }));
        self.watch_again(caller, set)
    }

    /// It may take some of what waits for it.
    pub(crate) fn flush(&mut self, caller: Caller, set: &Set, stats: &PortStats) -> Then {
        let slot = &mut self.slots[caller.0 as usize];
        let Some(mut waiting) = slot.waiting.take() else { return Then::Stays };
        let Some(taken) = slot.write(&waiting.bytes[waiting.taken..]) else {
            stats.discarded_bytes.add((waiting.bytes.len() - waiting.taken) as u64);
            return Then::Goes;
        };
        stats.tx_bytes.add(taken as u64);
        waiting.taken += taken;
        if waiting.taken < waiting.bytes.len() {
            slot.waiting = Some(waiting);
            return Then::Stays;
        }
        if slot.closing { Then::Goes } else { self.watch_again(caller, set) }
    }

    /// The server wants it to go.
    pub(crate) fn close(&mut self, caller: Caller) -> Then {
        match self.slots.get_mut(caller.0 as usize) {
            Some(slot) if slot.connection.is_some() && !slot.closing => {
                slot.closing = true;
                if slot.waiting.is_some() { Then::Lingers } else { Then::Goes }
            }
            _ => Then::Stays,
        }
    }

    /// Has it told of again, with what is there already.
    pub(crate) fn watch_again(&self, caller: Caller, set: &Set) -> Then {
        let slot = &self.slots[caller.0 as usize];
        let Some(connection) = &slot.connection else { return Then::Stays };
        // That it has gone altogether is reported whether wanted or not.
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::OUT, slot.waiting.is_some());
        flags.set(READ, self.reading(caller));
        match set.modify(connection.as_fd(), self.token(caller, slot), flags) {
            Ok(()) => Then::Stays,
            Err(_) => Then::Goes,
        }
    }
}

impl Slot {
    /// How much was taken; `None` when it has gone.
    fn write(&self, bytes: &[u8]) -> Option<usize> {
        match rustix::net::send(self.connection.as_ref()?, bytes, SendFlags::NOSIGNAL) {
            Ok(n) => Some(n),
            Err(Errno::AGAIN | Errno::INTR) => Some(0),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_idle_callers_cost_28_kb() {
        assert!(size_of::<Slot>() + size_of::<u32>() <= 28, "{}", size_of::<Slot>());
    }
}
