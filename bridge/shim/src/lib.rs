//! Preloaded into a program that uses a virtual port: answers the serial calls that a pseudo terminal refuses
//! (modem lines, break, parity, word length) from a page shared with hilrig. Touches no other descriptor.
//!
//! Here are the functions that take the place of the C library's; they sort out what is ours and pass on the rest.
//! They allocate nothing, take no lock and keep no state but hints, so that threads, fork, exec and signal handlers
//! need no care. Variadic functions are declared with the arguments they are called with, which is the same in the
//! calling conventions of x86-64 and arm64.
//!
//! Out of reach: programs that do not call the C library dynamically (static ones, Go, musl), output by stdio
//! (`fwrite`, not paced), epoll (a line whose buffer is full is still reported writable; write gives EAGAIN).
//! Not as on a real port: a fall of DCD hangs nobody up, XOFF from the far end does not stop output, BRKINT interrupts
//! only a program whose controlling terminal the port is, ISTRIP takes the top bit of PARMRK's marks too, and output
//! is waited for at close but not at exit.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::sync::atomic::Ordering;

mod calls;
mod find;
mod lines;
mod pace;
#[allow(dead_code)]
mod page;
mod sys;
mod term;
mod wait;

use sys::Next;
use term::When;

/// Longest time that close waits for output to leave the line, as the kernel's closing_wait.
const CLOSING_WAIT: u64 = 30_000_000_000;
/// Longest time that close waits for hilrig to see that the last user has left. Others may have the port open.
const LEAVING: u64 = 250_000_000;

// SAFETY: called once by the loader before the program begins; runs `find::begin` and nothing else.
#[unsafe(link_section = ".init_array")]
#[used]
static BEGIN: extern "C" fn() = find::begin;

/// # Safety
/// As ioctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    static NEXT: Next = Next::new(c"ioctl");
    if calls::known(request)
        && let Some(page) = find::find(fd)
    {
        find::mark(fd);
        // SAFETY: the caller's.
        return unsafe { calls::answer(fd, page, request, arg) };
    }
    // SAFETY: the type of ioctl as it is called here; the arguments are the caller's.
    unsafe { NEXT.get::<unsafe extern "C" fn(c_int, c_ulong, *mut c_void) -> c_int>()(fd, request, arg) }
}

/// # Safety
/// As tcgetattr(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcgetattr(fd: c_int, to: *mut libc::termios) -> c_int {
    static NEXT: Next = Next::new(c"tcgetattr");
    // SAFETY: the type of tcgetattr; the arguments are the caller's.
    let r = unsafe { NEXT.get::<unsafe extern "C" fn(c_int, *mut libc::termios) -> c_int>()(fd, to) };
    if r == 0
        && let Some(page) = find::find(fd)
    {
        find::mark(fd);
        // SAFETY: the call has just filled it.
        let t = unsafe { &mut *to };
        let unset = term::is_unset(fd);
        term::shown(page, unset, &mut t.c_iflag, &mut t.c_cflag, &mut t.c_lflag);
        if unset {
            let speed = if t.c_ospeed == page::UNSET_BAUD { 9600 } else { libc::B9600 };
            (t.c_ispeed, t.c_ospeed) = (speed, speed);
        }
    }
    r
}

/// # Safety
/// As tcsetattr(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcsetattr(fd: c_int, action: c_int, from: *const libc::termios) -> c_int {
    static NEXT: Next = Next::new(c"tcsetattr");
    let when = match action {
        libc::TCSANOW => Some(When::Now),
        libc::TCSADRAIN => Some(When::Drained),
        libc::TCSAFLUSH => Some(When::Flushed),
        _ => None,
    };
    if let Some(when) = when
        && let Some(page) = find::find(fd)
    {
        find::mark(fd);
        // SAFETY: the caller's termios.
        let t = unsafe { &*from };
        let (t, long) = term::from_c(t, find::NUMBERS.load(Ordering::Relaxed));
        return term::set(fd, page, t, when, long);
    }
    // SAFETY: the type of tcsetattr; the arguments are the caller's.
    unsafe {
        NEXT.get::<unsafe extern "C" fn(c_int, c_int, *const libc::termios) -> c_int>()(fd, action, from)
    }
}

/// # Safety
/// As tcdrain(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn tcdrain(fd: c_int) -> c_int {
    static NEXT: Next = Next::new(c"tcdrain");
    if let Some(page) = find::find(fd) {
        find::mark(fd);
        return if lines::alive(fd) { calls::drain(fd, page) } else { -1 };
    }
    // SAFETY: the type of tcdrain.
    unsafe { NEXT.get::<unsafe extern "C-unwind" fn(c_int) -> c_int>()(fd) }
}

/// # Safety
/// As tcflush(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcflush(fd: c_int, queue: c_int) -> c_int {
    static NEXT: Next = Next::new(c"tcflush");
    if let Some(page) = find::find(fd) {
        find::mark(fd);
        return lines::flush(fd, page, queue);
    }
    // SAFETY: the type of tcflush.
    unsafe { NEXT.get::<unsafe extern "C" fn(c_int, c_int) -> c_int>()(fd, queue) }
}

/// # Safety
/// As tcsendbreak(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcsendbreak(fd: c_int, duration: c_int) -> c_int {
    static NEXT: Next = Next::new(c"tcsendbreak");
    if let Some(page) = find::find(fd) {
        find::mark(fd);
        let ms = if duration <= 0 { 250 } else { duration as u64 };
        return if lines::alive(fd) { lines::send_break(fd, page, ms) } else { -1 };
    }
    // SAFETY: the type of tcsendbreak.
    unsafe { NEXT.get::<unsafe extern "C" fn(c_int, c_int) -> c_int>()(fd, duration) }
}

type Write = unsafe extern "C-unwind" fn(c_int, *const c_void, usize) -> isize;

/// # Safety
/// As write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn write(fd: c_int, buffer: *const c_void, len: usize) -> isize {
    static NEXT: Next = Next::new(c"write");
    // SAFETY: the type of write; the arguments are the caller's.
    unsafe {
        let next = NEXT.get::<Write>();
        match find::marked(fd) {
            Some(page) => pace::write(fd, page, buffer, len, next),
            None => next(fd, buffer, len),
        }
    }
}

/// The C library's second name for it.
///
/// # Safety
/// As write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __write(fd: c_int, buffer: *const c_void, len: usize) -> isize {
    // SAFETY: the caller's.
    unsafe { write(fd, buffer, len) }
}

/// # Safety
/// As writev(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn writev(fd: c_int, parts: *const libc::iovec, n: c_int) -> isize {
    static NEXT: Next = Next::new(c"writev");
    if find::marked(fd).is_none() || n <= 0 {
        // SAFETY: the type of writev; the arguments are the caller's.
        return unsafe {
            NEXT.get::<unsafe extern "C-unwind" fn(c_int, *const libc::iovec, c_int) -> isize>()(fd, parts, n)
        };
    }
    let mut done = 0;
    // SAFETY: the caller's parts.
    for part in unsafe { std::slice::from_raw_parts(parts, n as usize) } {
        // SAFETY: as above.
        let took = unsafe { write(fd, part.iov_base, part.iov_len) };
        if took < 0 {
            return if done > 0 { done } else { took };
        }
        done += took;
        if (took as usize) < part.iov_len {
            break;
        }
    }
    done
}

/// The last close in a process waits for the line, as that of a real port does, and for hilrig to see it, so that
/// who opens the port next finds it as new.
///
/// # Safety
/// As close(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    static NEXT: Next = Next::new(c"close");
    // SAFETY: the type of close.
    let next = unsafe { NEXT.get::<unsafe extern "C-unwind" fn(c_int) -> c_int>() };
    // What a forked child inherited is not its own to drain.
    let Some(page) = find::marked(fd).filter(|_| find::is_own()) else {
        // SAFETY: the caller's.
        return unsafe { next(fd) };
    };
    let last = !find::elsewhere(fd, page) && lines::alive(fd);
    if last {
        pace::drain(fd, page, sys::now() + CLOSING_WAIT);
    }
    find::unmark(fd);
    let left = page.left.load(Ordering::Acquire);
    // SAFETY: the caller's.
    let r = unsafe { next(fd) };
    // A thread in TIOCMIWAIT looks whether its descriptor is still there.
    sys::quietly(|| {
        sys::futex_wake(&page.changes);
        let until = sys::now() + LEAVING;
        while last
            && page.left.load(Ordering::Acquire) == left
            && page.served.load(Ordering::Acquire) != 0
            && page.closed.load(Ordering::Acquire) == 0
        {
            let now = sys::now();
            if now >= until {
                break;
            }
            sys::futex_wait(&page.left, left, until - now);
        }
    });
    r
}

static PPOLL: Next = Next::new(c"ppoll");
static PSELECT: Next = Next::new(c"pselect");

/// # Safety
/// As poll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn poll(fds: *mut libc::pollfd, n: libc::nfds_t, ms: c_int) -> c_int {
    static NEXT: Next = Next::new(c"poll");
    // SAFETY: the types of poll and ppoll; the arguments are the caller's.
    unsafe {
        if !find::any() {
            return NEXT
                .get::<unsafe extern "C-unwind" fn(*mut libc::pollfd, libc::nfds_t, c_int) -> c_int>()(
                fds, n, ms,
            );
        }
        let deadline = u64::try_from(ms).ok().map(|ms| sys::now() + ms * 1_000_000);
        wait::poll(fds, n, deadline, std::ptr::null(), PPOLL.get())
    }
}

/// What poll is when a program was compiled with _FORTIFY_SOURCE.
///
/// # Safety
/// As poll(2); `room` is the size of the array, if the compiler knows it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __poll_chk(
    fds: *mut libc::pollfd,
    n: libc::nfds_t,
    ms: c_int,
    room: usize,
) -> c_int {
    if room / size_of::<libc::pollfd>() < n as usize {
        std::process::abort();
    }
    // SAFETY: the caller's.
    unsafe { poll(fds, n, ms) }
}

/// # Safety
/// As ppoll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ppoll(
    fds: *mut libc::pollfd,
    n: libc::nfds_t,
    time: *const libc::timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    // SAFETY: the type of ppoll; the arguments are the caller's.
    unsafe {
        let next = PPOLL.get::<wait::Ppoll>();
        if find::any() {
            wait::poll(fds, n, wait::deadline(time), mask, next)
        } else {
            next(fds, n, time, mask)
        }
    }
}

/// # Safety
/// As ppoll(2); `room` is the size of the array, if the compiler knows it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __ppoll_chk(
    fds: *mut libc::pollfd,
    n: libc::nfds_t,
    time: *const libc::timespec,
    mask: *const libc::sigset_t,
    room: usize,
) -> c_int {
    if room / size_of::<libc::pollfd>() < n as usize {
        std::process::abort();
    }
    // SAFETY: the caller's.
    unsafe { ppoll(fds, n, time, mask) }
}

/// # Safety
/// As select(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn select(
    n: c_int,
    read: *mut libc::fd_set,
    write: *mut libc::fd_set,
    error: *mut libc::fd_set,
    time: *mut libc::timeval,
) -> c_int {
    static NEXT: Next = Next::new(c"select");
    type Select = unsafe extern "C-unwind" fn(
        c_int,
        *mut libc::fd_set,
        *mut libc::fd_set,
        *mut libc::fd_set,
        *mut libc::timeval,
    ) -> c_int;
    // SAFETY: the types of select and pselect; the arguments are the caller's.
    unsafe {
        let wrong = time.as_ref().is_some_and(|t| t.tv_sec < 0 || t.tv_usec < 0);
        if !wait::concerns(n, write.cast()) || wrong {
            return NEXT.get::<Select>()(n, read, write, error, time);
        }
        let deadline = time.as_ref().map(|t| {
            sys::now()
                .saturating_add(t.tv_sec as u64 * 1_000_000_000)
                .saturating_add(t.tv_usec as u64 * 1_000)
        });
        let r = wait::select(n, [read, write, error], deadline, std::ptr::null(), PSELECT.get());
        // On Linux, what is left of the time.
        if let (Some(t), Some(at)) = (time.as_mut(), deadline) {
            let left = at.saturating_sub(sys::now());
            (t.tv_sec, t.tv_usec) = ((left / 1_000_000_000) as c_long, (left / 1_000 % 1_000_000) as c_long);
        }
        r
    }
}

/// # Safety
/// As pselect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pselect(
    n: c_int,
    read: *mut libc::fd_set,
    write: *mut libc::fd_set,
    error: *mut libc::fd_set,
    time: *const libc::timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    // SAFETY: the type of pselect; the arguments are the caller's.
    unsafe {
        let next = PSELECT.get::<wait::Pselect>();
        if wait::concerns(n, write.cast()) {
            wait::select(n, [read, write, error], wait::deadline(time), mask, next)
        } else {
            next(n, read, write, error, time, mask)
        }
    }
}
