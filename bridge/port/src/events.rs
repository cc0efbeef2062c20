//! What a shard tells besides bytes: ports lost and back, settings, lines, faults. A ring that the shard fills without
//! waiting and a bell it rings only when something has happened; what does not fit is counted.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::{CharError, LineSettings, Lines, Note, Time};

/// Events that wait for their reader at most.
const CAPACITY: usize = 1024;

/// Something happened to a link, or to the port of a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub at: Time,
    /// [`Link::id`](crate::Link::id), or [`SeatRef::id`](crate::SeatRef::id) of which only `Lost` and `TapLost` are told.
    pub link: u64,
    /// 0 for A, 1 for B: the port it happened to. A fault is at the side that receives.
    pub side: usize,
    pub what: Happened,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// The port is gone; its counters say why. It comes back by `replace_port`.
    Lost,
    /// A fault has taken the port out; it is to be opened again after this time.
    Unplugged(Duration),
    /// Somebody is at the far end, or the port is back.
    Came,
    /// Nobody is at the far end any more.
    Left,
    /// The far end has set the line.
    Settings(LineSettings),
    /// All modem lines of the port as known, after a change.
    Lines(Lines),
    /// A break came from the far end.
    Break,
    /// A character in error came from the far end.
    Error(CharError),
    /// A fault has fired.
    Fired(Note),
    /// The link's tap has begun to lose records; so many bytes so far.
    TapLost(u64),
}

/// The reader's end of a shard's events. An event is given once, whichever of several readers waits for it.
#[derive(Debug, Clone)]
pub struct Events {
    ring: Arc<Mutex<Consumer<Event>>>,
    bell: Arc<OwnedFd>,
    missed: Arc<AtomicU64>,
    woken: Arc<AtomicBool>,
}

/// Ends a wait for events from another thread.
#[derive(Debug, Clone)]
pub struct EventWaker {
    bell: Arc<OwnedFd>,
    woken: Arc<AtomicBool>,
}

impl Events {
    /// The next event; `None` when there is none within `timeout` or the wait was ended by its waker.
    pub fn wait(&mut self, timeout: Duration) -> Option<Event> {
        let until = Time::now() + timeout;
        loop {
            if let Ok(event) = self.ring.lock().unwrap_or_else(PoisonError::into_inner).pop() {
                return Some(event);
            }
            let left = until.since(Time::now());
            if self.woken.swap(false, Ordering::AcqRel) || left.is_zero() {
                return None;
            }
            let timeout = rustix::time::Timespec {
                tv_sec: left.as_secs().min(1 << 30) as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(&*self.bell, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&timeout));
            let _ = rustix::io::read(&*self.bell, &mut [0u8; 8]);
        }
    }

    /// How many events did not fit since the start.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    pub fn waker(&self) -> EventWaker {
        EventWaker { bell: self.bell.clone(), woken: self.woken.clone() }
    }
}

impl EventWaker {
    /// The wait that runs now, or else the next one, ends without an event.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        ring(&self.bell);
    }
}

fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// The shard's end.
#[derive(Debug)]
pub(crate) struct News {
    ring: Producer<Event>,
    bell: Arc<OwnedFd>,
    missed: Arc<AtomicU64>,
    unrung: bool,
}

pub(crate) fn news() -> Result<(News, Events), Errno> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (producer, consumer) = RingBuffer::new(CAPACITY);
    let (missed, woken) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let events =
        Events { ring: Arc::new(Mutex::new(consumer)), bell: bell.clone(), missed: missed.clone(), woken };
    Ok((News { ring: producer, bell, missed, unrung: false }, events))
}

impl News {
    pub(crate) fn post(&mut self, event: Event) {
        match self.ring.push(event) {
            Ok(()) => self.unrung = true,
            Err(_) => self.missed.store(self.missed.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
        }
    }

    /// At the end of each turn, so that a burst of events costs one system call, and none costs nothing.
    pub(crate) fn ring(&mut self) {
        if std::mem::take(&mut self.unrung) {
            ring(&self.bell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64) -> Event {
        Event { at: Time(at), link: 1, side: 0, what: Happened::Lost }
    }

    #[test]
    fn events_come_in_order_and_what_does_not_fit_is_counted() {
        let (mut news, mut events) = news().unwrap();
        assert_eq!(events.wait(Duration::ZERO), None);
        for i in 0..CAPACITY as u64 + 7 {
            news.post(event(i));
        }
        news.ring();
        for i in 0..CAPACITY as u64 {
            assert_eq!(events.wait(Duration::from_secs(20)), Some(event(i)));
        }
        assert_eq!((events.wait(Duration::ZERO), events.missed()), (None, 7));
    }

    #[test]
    fn a_wait_ends_by_an_event_or_by_its_waker() {
        let (mut news, mut events) = news().unwrap();
        let waker = events.waker();
        let waiting = std::thread::spawn(move || {
            let first = events.wait(Duration::from_secs(3600));
            (first, events.wait(Duration::from_secs(3600)))
        });
        news.post(event(5));
        news.ring();
        // The waker may come before the event is taken: then the event is still the first.
        waker.wake();
        let (first, second) = waiting.join().unwrap();
        assert_eq!([first, second].iter().flatten().count(), 1);
    }
}
