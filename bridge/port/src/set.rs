//! What a shard waits on: one epoll set, level-triggered but for callers that are read, and one inotify for all virtual ports of the shard (the
//! kernel gives a user few instances). Knows tokens, not ports. And whom a shard tells: the reader of its events, and
//! the thread that closes what it has lost.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::event::epoll::{self, EventData};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::time::Timespec;

pub(crate) use rustix::event::epoll::EventFlags;

use crate::closer::closer;
use crate::events::News;
use crate::line::Line;
use crate::{PortStats, Time};

/// Which descriptor of which unit an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Bytes of a port.
    Port { unit: usize, side: usize },
    /// Callers at a port that listens.
    Listener { unit: usize, side: usize },
    /// What comes beside the bytes of a port.
    Aside { unit: usize, side: usize },
    /// Those who only listen at a port.
    Observers { unit: usize, side: usize },
    /// One of a server's callers.
    Caller { unit: usize, slot: u32, generation: u32 },
    /// Somebody opened the far end of some virtual port.
    Openings,
    /// The control side has work.
    Control,
}

/// A caller's token holds three numbers of 20 bits: its unit, its place there, and which caller of that place it is.
const CALLER_BITS: u32 = 20;
const CALLER_MASK: u64 = (1 << CALLER_BITS) - 1;
/// More descriptors than this a process cannot have anyway, unless its system was told so.
pub(crate) const CALLERS_MAX: usize = 1 << CALLER_BITS;
pub(crate) const UNITS_MAX: usize = 1 << CALLER_BITS;

impl Token {
    /// What follows a generation of callers; it goes round.
    pub(crate) fn next_generation(generation: u32) -> u32 {
        (generation + 1) & CALLER_MASK as u32
    }

    fn pack(self) -> u64 {
        let of = |kind: u64, unit: usize, side: usize| (unit as u64) << 4 | kind << 1 | side as u64;
        match self {
            Self::Port { unit, side } => of(0, unit, side),
            Self::Listener { unit, side } => of(1, unit, side),
            Self::Aside { unit, side } => of(2, unit, side),
            Self::Observers { unit, side } => of(3, unit, side),
            Self::Openings => of(4, 0, 0),
            Self::Control => of(5, 0, 0),
            Self::Caller { unit, slot, generation } => {
                let high = u64::from(generation) << CALLER_BITS | u64::from(slot);
                high << (4 + CALLER_BITS) | of(6, unit, 0)
            }
        }
    }

    fn unpack(value: u64) -> Self {
        let (unit, side) = ((value >> 4) as usize, (value & 1) as usize);
        match value >> 1 & 7 {
            0 => Self::Port { unit, side },
            1 => Self::Listener { unit, side },
            2 => Self::Aside { unit, side },
            3 => Self::Observers { unit, side },
            4 => Self::Openings,
            5 => Self::Control,
            _ => {
                let part = |at: u32| value >> (4 + at * CALLER_BITS) & CALLER_MASK;
                Self::Caller { unit: part(0) as usize, slot: part(1) as u32, generation: part(2) as u32 }
            }
        }
    }
}

/// How much of a wait is to be done at once. The kernel takes the liberty to end a wait in epoll late by a thousandth of
/// it, unless the thread has real-time priority, and makes use of it: 100 us after 100 ms. So a long wait ends a little
/// early, and what is left of it is short.
fn one_leg(left: Duration) -> Duration {
    const LONG: Duration = Duration::from_millis(5);
    if left > LONG { left - left / 500 } else { left }
}

const BATCH: usize = 64;

pub(crate) type Events = [MaybeUninit<epoll::Event>; BATCH];

pub(crate) fn no_events() -> Events {
    [MaybeUninit::uninit(); BATCH]
}

#[derive(Debug)]
pub(crate) struct Set {
    epoll: OwnedFd,
    inotify: OwnedFd,
    watches: Vec<(i32, usize, usize)>,
    pub(crate) news: News,
    closer: Option<&'static Sender<(Line, Arc<PortStats>)>>,
}

impl Set {
    pub(crate) fn new(news: News) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let set = Self { epoll, inotify, watches: Vec::with_capacity(512), news, closer: closer() };
        epoll::add(&set.epoll, &set.inotify, EventData::new_u64(Token::Openings.pack()), EventFlags::IN)?;
        Ok(set)
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token.pack()), flags)
    }

    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(token.pack()), flags)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits for events, at most until `deadline`; a long wait may end a little before it. A signal counts as none.
    pub(crate) fn wait<'e>(
        &self,
        events: &'e mut Events,
        deadline: Option<Time>,
    ) -> Result<impl Iterator<Item = (Token, EventFlags)> + use<'e>, Errno> {
        let timeout = deadline.map(|at| {
            let left = one_leg(at.since(Time::now()));
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let seen: &'e [epoll::Event] = match epoll::wait(&self.epoll, events, timeout.as_ref()) {
            Ok((seen, _)) => seen,
            Err(Errno::INTR) => &[],
            Err(e) => return Err(e),
        };
        Ok(seen.iter().map(|event| (Token::unpack(event.data.u64()), event.flags)))
    }

    /// Has a lost line closed on another thread, and hands out what is left in its place.
    pub(crate) fn close(&self, line: Line, stats: &Arc<PortStats>) -> Line {
        let Some(closer) = self.closer else { return line };
        stats.set_closing(true);
        match closer.try_send((line, stats.clone())) {
            Ok(()) => Line::Gone,
            Err(e) => {
                stats.set_closing(false);
                e.into_inner().0
            }
        }
    }

    /// Reports openings of `path` from now on.
    pub(crate) fn watch(&mut self, path: &Path, unit: usize, side: usize) -> Result<(), Errno> {
        self.unwatch(unit, side);
        let wd = inotify::add_watch(&self.inotify, path, inotify::WatchFlags::OPEN)?;
        self.watches.push((wd, unit, side));
        Ok(())
    }

    /// Reports no openings of `path`, which is watched, until `unmute`.
    pub(crate) fn mute(&self, path: &Path) {
        // The kernel takes a second watch on the same file as a change of the first one's mask.
        let _ = inotify::add_watch(&self.inotify, path, inotify::WatchFlags::DELETE_SELF);
    }

    pub(crate) fn unmute(&self, path: &Path) -> Result<(), Errno> {
        inotify::add_watch(&self.inotify, path, inotify::WatchFlags::OPEN).map(drop)
    }

    pub(crate) fn unwatch(&mut self, unit: usize, side: usize) {
        self.watches.retain(|&(wd, u, s)| {
            let keep = (u, s) != (unit, side);
            if !keep {
                // Fails when the watched file is gone already, which is as well.
                let _ = inotify::remove_watch(&self.inotify, wd);
            }
            keep
        });
    }

    /// Reads which virtual ports may have been opened since the last time. Answers `false` when the kernel lost
    /// count, so that all have to be looked at.
    pub(crate) fn openings(&self, mut seen: impl FnMut(usize, usize) -> bool) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            let (wd, lost) = match reader.next() {
                Ok(event) => (event.wd(), event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW)),
                Err(_) => return true,
            };
            if lost {
                return false;
            }
            if let Some(&(_, unit, side)) = self.watches.iter().find(|w| w.0 == wd)
                && !seen(unit, side)
            {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_after_few_legs_the_last_of_which_is_short() {
        for wait in [1, 5, 10, 100, 1_000, 3_600_000].map(Duration::from_millis) {
            let (mut left, mut legs, mut last) = (wait, 0, wait);
            while !left.is_zero() {
                last = one_leg(left);
                // As late as the kernel may be.
                left = left.saturating_sub(last + last / 1000);
                legs += 1;
            }
            assert!(
                legs <= 4 && last <= Duration::from_millis(5),
                "{wait:?}: {legs} legs, the last {last:?}"
            );
        }
    }

    #[test]
    fn a_token_comes_back_as_it_went() {
        let (unit, side, last) = (70_000, 1, CALLER_MASK as u32);
        for token in [
            Token::Port { unit, side },
            Token::Listener { unit, side },
            Token::Aside { unit, side },
            Token::Observers { unit, side: 0 },
            Token::Openings,
            Token::Control,
            Token::Caller { unit: 0, slot: 0, generation: 0 },
            Token::Caller { unit: UNITS_MAX - 1, slot: 3, generation: last },
            Token::Caller { unit: 1, slot: CALLERS_MAX as u32 - 1, generation: 5 },
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
        assert_eq!(Token::next_generation(last), 0);
    }
}
