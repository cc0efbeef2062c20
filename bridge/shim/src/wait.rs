//! poll(2) and select(2) for ports of ours: writable when the line has room, not when the PTY has. A program with
//! none of our ports passes untouched; epoll is not covered.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use crate::{find, pace, sys};

pub type Ppoll = unsafe extern "C-unwind" fn(
    *mut libc::pollfd,
    libc::nfds_t,
    *const libc::timespec,
    *const libc::sigset_t,
) -> c_int;
pub type Pselect = unsafe extern "C-unwind" fn(
    c_int,
    *mut libc::fd_set,
    *mut libc::fd_set,
    *mut libc::fd_set,
    *const libc::timespec,
    *const libc::sigset_t,
) -> c_int;

/// When the descriptor will be writable; `None` if it is, or is not ours.
fn full(fd: c_int, now: u64) -> Option<u64> {
    pace::writable_at(find::marked(fd)?, now)
}

/// How long to wait now: until the deadline, or until some line will have room.
fn step(deadline: Option<u64>, room_at: u64, now: u64) -> libc::timespec {
    sys::timespec(deadline.map_or(room_at, |at| at.min(room_at)).saturating_sub(now))
}

fn is_over(deadline: Option<u64>, now: u64) -> bool {
    deadline.is_some_and(|at| at <= now)
}

/// # Safety
/// As ppoll(2); `next` is the C library's.
pub unsafe fn poll(
    fds: *mut libc::pollfd,
    n: libc::nfds_t,
    deadline: Option<u64>,
    mask: *const libc::sigset_t,
    next: Ppoll,
) -> c_int {
    const MOST: usize = 16;
    // SAFETY: the caller's array; nothing else uses it during the call.
    let all: &mut [libc::pollfd] =
        if n == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(fds, n as usize) } };
    loop {
        let now = sys::now();
        // POLLOUT is taken out where the line is full. Beyond a number of ports that nobody has, approximate.
        let (mut out, mut count, mut room_at) = ([0usize; MOST], 0, u64::MAX);
        for (i, entry) in all.iter_mut().enumerate() {
            if entry.events & libc::POLLOUT != 0
                && count < MOST
                && let Some(at) = full(entry.fd, now)
            {
                entry.events &= !libc::POLLOUT;
                (out[count], count, room_at) = (i, count + 1, room_at.min(at));
            }
        }
        let time = step(deadline, room_at, now);
        let endless = deadline.is_none() && count == 0;
        let time = if endless { std::ptr::null() } else { &raw const time };
        // SAFETY: the caller's arguments, with a timeout of ours.
        let r = unsafe { next(all.as_mut_ptr(), n, time, mask) };
        for &i in &out[..count] {
            all[i].events |= libc::POLLOUT;
        }
        if r != 0 || count == 0 || is_over(deadline, sys::now()) {
            return r;
        }
    }
}

/// # Safety
/// As pselect(2), with `n` at most FD_SETSIZE; `next` is the C library's.
pub unsafe fn select(
    n: c_int,
    sets: [*mut libc::fd_set; 3],
    deadline: Option<u64>,
    mask: *const libc::sigset_t,
    next: Pselect,
) -> c_int {
    let bytes = (n as usize).div_ceil(64) * 8;
    let mut before = [const { MaybeUninit::<libc::fd_set>::zeroed() }; 3];
    for (set, copy) in sets.iter().zip(&mut before) {
        if !set.is_null() {
            // SAFETY: a set has room for all descriptors below `n`, in words of 64.
            unsafe { std::ptr::copy_nonoverlapping(set.cast::<u8>(), copy.as_mut_ptr().cast(), bytes) };
        }
    }
    loop {
        let now = sys::now();
        let mut room_at = u64::MAX;
        if !sets[1].is_null() {
            for fd in 0..n {
                // SAFETY: the caller's set, and below FD_SETSIZE.
                unsafe {
                    if libc::FD_ISSET(fd, sets[1])
                        && let Some(at) = full(fd, now)
                    {
                        libc::FD_CLR(fd, sets[1]);
                        room_at = room_at.min(at);
                    }
                }
            }
        }
        let time = step(deadline, room_at, now);
        let endless = deadline.is_none() && room_at == u64::MAX;
        let time = if endless { std::ptr::null() } else { &raw const time };
        // SAFETY: the caller's arguments, with a timeout of ours.
        let r = unsafe { next(n, sets[0], sets[1], sets[2], time, mask) };
        if r != 0 || room_at == u64::MAX || is_over(deadline, sys::now()) {
            return r;
        }
        for (set, copy) in sets.iter().zip(&before) {
            if !set.is_null() {
                // SAFETY: as above, back again.
                unsafe { std::ptr::copy_nonoverlapping(copy.as_ptr().cast::<u8>(), set.cast(), bytes) };
            }
        }
    }
}

/// A timeout as a deadline.
///
/// # Safety
/// `time` is null or a timespec.
pub unsafe fn deadline(time: *const libc::timespec) -> Option<u64> {
    // SAFETY: the caller's.
    let t = unsafe { time.as_ref() }?;
    let ns = (t.tv_sec.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec.max(0) as u64);
    Some(sys::now().saturating_add(ns))
}

/// Whether a select call could concern us.
pub fn concerns(n: c_int, writable: *const c_void) -> bool {
    find::any() && !writable.is_null() && n <= libc::FD_SETSIZE as c_int && n > 0
}
