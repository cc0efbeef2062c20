//! Lets writes take the time a line takes: some kilobytes go ahead, as into a driver's buffer, and then the writer
//! waits for the line. Only a clock in the page; the bytes themselves go to the PTY at once.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;

use crate::page::Page;
use crate::sys::{self, Woke, fail};

/// As the kernel's serial drivers: a page of buffer, and writable again when less than this is left.
const ROOM: u64 = 4096;
const LOW: u64 = 256;

const MS: u64 = 1_000_000;

/// Characters that are on their way: not through the line by its own time, or not yet taken by hilrig.
pub fn backlog(page: &Page, now: u64) -> u64 {
    let untaken = page.written.load(Ordering::Acquire).wrapping_sub(page.read.load(Ordering::Acquire)) as i64;
    let untaken = u64::try_from(untaken).unwrap_or(0);
    let character = page.character.load(Ordering::Relaxed);
    if character == 0 {
        return untaken;
    }
    page.sent_at.load(Ordering::Acquire).saturating_sub(now).div_ceil(character).max(untaken)
}

/// When the line is writable as select and poll mean it, if it is not now.
pub fn writable_at(page: &Page, now: u64) -> Option<u64> {
    let behind = backlog(page, now);
    if page.character.load(Ordering::Relaxed) == 0 || behind < LOW {
        None
    } else {
        Some(later(page, now, LOW - 1))
    }
}

/// When at most `left` characters are on their way, as far as time tells; soon, if that is up to hilrig.
fn later(page: &Page, now: u64, left: u64) -> u64 {
    let character = page.character.load(Ordering::Relaxed);
    page.sent_at.load(Ordering::Acquire).saturating_sub(left * character).max(now + 2 * MS)
}

/// Waits until all that was written has left the line, at most until `until`.
pub fn drain(fd: c_int, page: &Page, until: u64) -> Woke {
    loop {
        let now = sys::now();
        let end = page.sent_at.load(Ordering::Acquire);
        let untaken =
            page.written.load(Ordering::Acquire).wrapping_sub(page.read.load(Ordering::Acquire)) as i64 > 0;
        let over = page.closed.load(Ordering::Acquire) != 0 || now >= until || !crate::lines::alive(fd);
        if (end <= now && !untaken) || over {
            return Woke::Up;
        }
        let woke = if end > now {
            sys::sleep_until(end.min(until))
        } else {
            let seen = page.progress.load(Ordering::Acquire);
            page.waiting.fetch_add(1, Ordering::AcqRel);
            let woke = sys::futex_wait(&page.progress, seen, 5 * MS);
            page.waiting.fetch_sub(1, Ordering::AcqRel);
            woke
        };
        if woke == Woke::Signal && !sys::restarts() {
            return Woke::Signal;
        }
    }
}

fn nonblocking(fd: c_int) -> bool {
    // SAFETY: reads the flags of a descriptor.
    let flags = unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL) };
    flags & i64::from(libc::O_NONBLOCK) != 0
}

/// write(2) to a port of ours. `next` is the C library's.
///
/// # Safety
/// `buffer` has `len` bytes.
pub unsafe fn write(
    fd: c_int,
    page: &Page,
    buffer: *const c_void,
    len: usize,
    next: unsafe extern "C-unwind" fn(c_int, *const c_void, usize) -> isize,
) -> isize {
    let mut done = 0;
    loop {
        let character = page.character.load(Ordering::Relaxed);
        let now = sys::now();
        let room = if character == 0 { u64::MAX } else { ROOM.saturating_sub(backlog(page, now)) };
        if room > 0 || len == done {
            let n = (len - done).min(usize::try_from(room).unwrap_or(usize::MAX));
            // SAFETY: within the caller's buffer.
            let took = unsafe { next(fd, buffer.byte_add(done), n) };
            if took < 0 {
                return if done > 0 { done as isize } else { took };
            }
            page.written.fetch_add(took as u64, Ordering::AcqRel);
            let time = took as u64 * character;
            let _ =
                page.sent_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, |at| Some(at.max(now) + time));
            done += took as usize;
            if done >= len {
                return done as isize;
            }
            continue;
        }
        if nonblocking(fd) {
            return if done > 0 { done as isize } else { fail(libc::EAGAIN) };
        }
        let want = ((len - done) as u64).min(ROOM - LOW);
        if sys::sleep_until(later(page, now, ROOM - want)) == Woke::Signal {
            if done > 0 {
                return done as isize;
            }
            if !sys::restarts() {
                return fail(libc::EINTR);
            }
        }
        if page.closed.load(Ordering::Acquire) != 0 || !crate::lines::alive(fd) {
            return if done > 0 { done as isize } else { fail(libc::EIO) };
        }
    }
}
