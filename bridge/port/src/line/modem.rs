//! Watches the modem lines and error counters of a tty from a thread of its own, for the kernel tells of them only
//! to whoever waits in TIOCMIWAIT. Never touches the bytes, and its end never waits for a driver.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};

use crate::Lines;
use crate::sys::{self, LineCounts};

/// Changes that are kept while the shard is busy.
const NEWS: usize = 64;

/// How often a driver without TIOCMIWAIT is asked.
const SLOWLY: Duration = Duration::from_millis(100);

/// How often, in seconds, the others are looked at besides: a change between two waits goes unseen by the kernel's
/// reckoning, and errors of characters wake nobody.
const BESIDES: u32 = 1;

/// How long the end may take. Drivers were seen to take microseconds.
const PATIENCE: Duration = Duration::from_millis(250);

const NAMES: [(Lines, i32); 6] = [
    (Lines::CTS, libc::TIOCM_CTS),
    (Lines::DCD, libc::TIOCM_CAR),
    (Lines::DSR, libc::TIOCM_DSR),
    (Lines::RTS, libc::TIOCM_RTS),
    (Lines::DTR, libc::TIOCM_DTR),
    (Lines::RI, libc::TIOCM_RNG),
];

/// The lines of a tty as they are now.
pub(crate) fn lines(tty: impl AsFd) -> io::Result<Lines> {
    let bits = sys::modem_lines(tty)?;
    Ok(NAMES.iter().fold(Lines::NONE, |lines, (line, bit)| lines.with(*line, bits & bit != 0)))
}

/// Sets those of DTR and RTS that are in `mask`, in one step, and answers all lines.
pub(crate) fn set_lines(tty: impl AsFd, mask: Lines, values: Lines) -> io::Result<Lines> {
    let mut bits = sys::modem_lines(&tty)?;
    for (line, bit) in [(Lines::DTR, libc::TIOCM_DTR), (Lines::RTS, libc::TIOCM_RTS)] {
        if mask.has(line) {
            bits = if values.has(line) { bits | bit } else { bits & !bit };
        }
    }
    sys::set_modem_lines(&tty, bits)?;
    lines(tty)
}

/// What the driver has counted, if it counts.
fn counts(tty: &OwnedFd) -> Option<LineCounts> {
    sys::line_counts(tty).ok().map(LineCounts::of_errors_and_lines)
}

/// How the line is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) lines: Lines,
    pub(crate) counts: LineCounts,
}

impl News {
    fn read(tty: &OwnedFd) -> io::Result<Self> {
        // First the counters, so that a change meanwhile is counted the next time.
        let counts = counts(tty).unwrap_or_default();
        Ok(Self { lines: lines(tty)?, counts })
    }

    /// Lines that went and came back since `before`, as far as the driver counts. One edge alone is no pulse: an
    /// FTDI adapter counts the lines that are on when it is opened as having changed. Of RI one edge is counted.
    fn pulses(&self, before: &Self) -> Lines {
        let (now, then) = (&self.counts, &before.counts);
        [
            (Lines::CTS, now.cts.wrapping_sub(then.cts) >= 2),
            (Lines::DSR, now.dsr.wrapping_sub(then.dsr) >= 2),
            (Lines::DCD, now.dcd.wrapping_sub(then.dcd) >= 2),
            (Lines::RI, now.ri != then.ri),
        ]
        .iter()
        .filter(|(line, counted)| *counted && self.lines.has(*line) == before.lines.has(*line))
        .fold(Lines::NONE, |lines, (line, _)| lines | *line)
    }
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// An eventfd, rung when there is news.
    bell: OwnedFd,
}

/// The thread, and what it has found.
#[derive(Debug)]
pub(crate) struct ModemWatch {
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    news: Consumer<News>,
}

impl ModemWatch {
    /// Answers the watch and how the line is now; an error means that the port has no modem lines.
    pub(crate) fn start(tty: Arc<OwnedFd>) -> io::Result<(Self, News)> {
        let now = News::read(&tty)?;
        sys::prepare_nudges();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), bell });
        let (ring, news) = RingBuffer::new(NEWS);
        let thread = std::thread::Builder::new().name("modem lines".into()).spawn({
            let shared = shared.clone();
            move || watch(&tty, &shared, ring, now)
        })?;
        Ok((Self { thread: Some(thread), shared, news }, now))
    }

    /// Readable when there may be news.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// Takes the next change. Silences the bell when there is none.
    pub(crate) fn take(&mut self) -> Option<News> {
        if let Ok(news) = self.news.pop() {
            return Some(news);
        }
        let _ = rustix::io::read(&self.shared.bell, &mut [0u8; 8]);
        // Rung just now, perhaps.
        self.news.pop().ok()
    }
}

impl Drop for ModemWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + PATIENCE;
        // One nudge may come just before the thread waits, so again until it has ended.
        while !thread.is_finished() {
            sys::nudge(&thread);
            thread.thread().unpark();
            if Instant::now() >= until {
                // A driver that does not let go of it. The descriptor is closed when it does.
                return;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let _ = thread.join();
    }
}

fn watch(tty: &OwnedFd, shared: &Shared, mut ring: Producer<News>, mut last: News) {
    const ALL: i32 = libc::TIOCM_CTS | libc::TIOCM_DSR | libc::TIOCM_CAR | libc::TIOCM_RNG;
    sys::accept_nudges();
    let _timer = sys::NudgeTimer::start(BESIDES);
    let mut can_wait = true;
    while !shared.stop.load(Ordering::Acquire) {
        if can_wait {
            match sys::await_modem_lines(tty, ALL).map_err(|e| e.raw_os_error()) {
                // The lines of a USB adapter are not asked for over the bus to no purpose.
                Err(Some(libc::EINTR)) if counts(tty) == Some(last.counts) => continue,
                Ok(()) | Err(Some(libc::EINTR)) => {}
                Err(Some(libc::ENOTTY | libc::EINVAL | libc::EOPNOTSUPP)) => can_wait = false,
                // Unplugged; the shard hears of that from the port itself.
                Err(_) => return,
            }
        } else {
            std::thread::park_timeout(SLOWLY);
        }
        let Ok(now) = News::read(tty) else { return };
        if now == last {
            continue;
        }
        let pulses = now.pulses(&last);
        if pulses != Lines::NONE {
            let between = Lines(now.lines.0 ^ pulses.0);
            let _ = ring.push(News { lines: between, counts: now.counts });
        }
        // Without room it counts as not seen, and is tried again.
        if ring.push(now).is_ok() {
            last = now;
        }
        let _ = rustix::io::write(&shared.bell, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_went_and_came_back_is_known_by_its_count() {
        let news = |lines, cts, dsr| {
            let mut counts = LineCounts::default();
            (counts.cts, counts.dsr) = (cts, dsr);
            News { lines, counts }
        };
        let before = news(Lines::CTS, 4, 1);
        assert_eq!(news(Lines::CTS, 6, 1).pulses(&before), Lines::CTS);
        assert_eq!(news(Lines::CTS, 5, 1).pulses(&before), Lines::NONE);
        assert_eq!(news(Lines::NONE, 5, 1).pulses(&before), Lines::NONE);
        assert_eq!(news(Lines::CTS | Lines::DSR, 4, 2).pulses(&before), Lines::NONE);
    }

    /// A watch whose thread runs `wait` in place of a driver.
    fn watch_of(wait: impl FnOnce() + Send + 'static) -> ModemWatch {
        sys::prepare_nudges();
        let bell = eventfd(0, EventfdFlags::empty()).unwrap();
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), bell });
        let (_, news) = RingBuffer::new(1);
        ModemWatch { thread: Some(std::thread::spawn(wait)), shared, news }
    }

    #[test]
    fn a_thread_that_waits_in_the_kernel_is_ended() {
        let (end, writer) = rustix::pipe::pipe().unwrap();
        let (sender, ended) = std::sync::mpsc::channel();
        let watch = watch_of(move || {
            sys::accept_nudges();
            sender.send(rustix::io::read(&end, &mut [0u8; 1])).unwrap();
        });
        drop(watch);
        assert_eq!(ended.recv().unwrap(), Err(rustix::io::Errno::INTR));
        drop(writer);
    }

    #[test]
    fn a_thread_that_a_driver_does_not_let_go_does_not_hold_up_the_end() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (sender, ended) = std::sync::mpsc::channel();
        let watch = watch_of(move || {
            // Goes on waiting when it is interrupted.
            let _ = held.recv();
            sender.send(()).unwrap();
        });
        drop(watch);
        assert!(ended.try_recv().is_err());
        drop(release);
        ended.recv().unwrap();
    }

    #[test]
    fn what_is_no_tty_has_no_lines() {
        let (end, _other) = rustix::pipe::pipe().unwrap();
        assert!(ModemWatch::start(Arc::new(end)).is_err());
    }
}
