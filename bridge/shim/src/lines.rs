//! Modem lines, break and the bell. What is asked here has taken effect at the other end when a call returns.

use std::ffi::{c_int, c_ulong, c_void};
use std::sync::atomic::Ordering;

use crate::page::{Page, count, tiocm};
use crate::sys::{self, Woke, fail};
use crate::{find, pace};

const MS: u64 = 1_000_000;
/// hilrig answers in microseconds; on a machine that is overloaded or a hilrig that is stopped the call goes on alone.
const PATIENCE: u64 = 1_000 * MS;
/// A program without the library may have cleared EXTPROC, without which the bell is silent until hilrig sets it again.
const RING_AGAIN: u64 = 20 * MS;

/// Whether the terminal is still there; a port that is gone gives EIO.
pub fn alive(fd: c_int) -> bool {
    let mut clocal: c_int = 0;
    // SAFETY: writes one int.
    unsafe { sys::ioctl(fd, libc::TIOCGSOFTCAR, (&raw mut clocal).cast()) == 0 }
}

fn bell(fd: c_int) -> bool {
    let clocal: c_int = 1;
    // SAFETY: reads one int.
    unsafe { sys::ioctl(fd, libc::TIOCSSOFTCAR, (&raw const clocal).cast_mut().cast()) == 0 }
}

/// Rings, and waits until hilrig has done what the page says.
pub fn ask(fd: c_int, page: &Page) {
    let number = page.asked.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
    answer(fd, page, number, true);
}

/// Waits for the answer to a ring; `ring` if it is still to be rung.
pub fn answer(fd: c_int, page: &Page, number: u32, mut ring: bool) {
    sys::quietly(|| {
        let until = sys::now() + PATIENCE;
        loop {
            if ring && !bell(fd) {
                return;
            }
            let seen = page.answered.load(Ordering::Acquire);
            let done = number.wrapping_sub(seen) as i32 <= 0;
            if done || page.served.load(Ordering::Acquire) == 0 || page.closed.load(Ordering::Acquire) != 0 {
                return;
            }
            let now = sys::now();
            if now >= until {
                return;
            }
            sys::futex_wait(&page.answered, seen, RING_AGAIN.min(until - now));
            ring = page.answered.load(Ordering::Acquire) == seen && sys::now() >= now + RING_AGAIN;
        }
    });
}

pub fn get(page: &Page) -> u32 {
    page.outputs.load(Ordering::Acquire) | page.inputs.load(Ordering::Acquire)
}

/// Sets those of the lines that an application drives, all in one step.
pub fn set(fd: c_int, page: &Page, change: impl Fn(u32) -> u32) {
    let mut before = page.outputs.load(Ordering::Acquire);
    loop {
        let after = (change(before) & tiocm::OUTPUTS) | (before & !tiocm::OUTPUTS);
        match page.outputs.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) if (before ^ after) & (tiocm::DTR | tiocm::RTS) == 0 => return,
            Ok(_) => return ask(fd, page),
            Err(now) => before = now,
        }
    }
}

/// TIOCMIWAIT: until one of these lines has changed.
pub fn wait(fd: c_int, page: &Page, lines: u32) -> c_int {
    const WATCHED: [(u32, usize); 4] = [
        (tiocm::CTS, count::CTS),
        (tiocm::DSR, count::DSR),
        (tiocm::RNG, count::RNG),
        (tiocm::CAR, count::DCD),
    ];
    let counted = || WATCHED.map(|(_, n)| page.counts[n].load(Ordering::Acquire));
    let before = counted();
    loop {
        let seen = page.changes.load(Ordering::Acquire);
        let now = counted();
        if WATCHED.iter().enumerate().any(|(i, (line, _))| lines & line != 0 && now[i] != before[i]) {
            return 0;
        }
        // Now and then it looks whether the port, or the descriptor, is gone.
        if page.closed.load(Ordering::Acquire) != 0
            || !alive(fd)
            || find::find(fd).is_none_or(|p| !std::ptr::eq(p, page))
        {
            return fail(libc::EIO);
        }
        if sys::futex_wait(&page.changes, seen, 250 * MS) == Woke::Signal && !sys::restarts() {
            return fail(libc::EINTR);
        }
    }
}

/// Begins or ends a break, after all that was written before it.
pub fn set_break(fd: c_int, page: &Page, on: bool) -> c_int {
    if on && pace::drain(fd, page, u64::MAX) == Woke::Signal {
        return fail(libc::EINTR);
    }
    let edges = page.breaks.load(Ordering::Acquire);
    if (edges % 2 == 1) != on {
        let _ =
            page.breaks.compare_exchange(edges, edges.wrapping_add(1), Ordering::AcqRel, Ordering::Relaxed);
        ask(fd, page);
    }
    0
}

pub fn send_break(fd: c_int, page: &Page, ms: u64) -> c_int {
    if set_break(fd, page, true) != 0 {
        return -1;
    }
    let woke = sys::sleep_until(sys::now() + ms * MS);
    set_break(fd, page, false);
    if woke == Woke::Signal { fail(libc::EINTR) } else { 0 }
}

/// TCFLSH.
pub fn flush(fd: c_int, page: &Page, queue: c_int) -> c_int {
    // SAFETY: TCFLSH takes its argument by value.
    let r = unsafe { sys::ioctl(fd, libc::TCFLSH, queue as c_ulong as *mut c_void) };
    if r == 0 {
        if queue != libc::TCIFLUSH {
            page.sent_at.store(0, Ordering::Release);
        }
        // The kernel has told hilrig which queue it was.
        ask(fd, page);
    }
    r
}
