//! Raw system calls, so that the library never comes back to itself, and the C library's own functions behind the
//! ones that it replaces.

use std::ffi::{CStr, c_int, c_long, c_ulong, c_void};
use std::mem::transmute_copy;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

pub fn errno() -> c_int {
    // SAFETY: the C library answers a pointer to this thread's errno, which is always readable.
    unsafe { *libc::__errno_location() }
}

/// Fails as a C function does.
pub fn fail<T: From<i8>>(errno: c_int) -> T {
    // SAFETY: as above, and writable.
    unsafe { *libc::__errno_location() = errno };
    T::from(-1)
}

/// A function of the C library that stands behind one of ours.
pub struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    pub const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// # Safety
    /// `F` is the function's own type.
    pub unsafe fn get<F: Copy>(&self) -> F {
        let mut found = self.found.load(Ordering::Relaxed);
        if found.is_null() {
            // SAFETY: the name is a C string; asking again gives the same, so a race does no harm.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            if found.is_null() {
                // Nothing that could be called instead: the library was put before one that lacks the function.
                std::process::abort();
            }
            self.found.store(found, Ordering::Relaxed);
        }
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the caller says that this is the type of what the name stands for; the size is checked.
        unsafe { transmute_copy(&found) }
    }
}

/// Like ioctl(2), past our own.
///
/// # Safety
/// `arg` is what the request wants.
pub unsafe fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_ioctl, fd as c_long, request, arg) as c_int }
}

pub fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

pub fn timespec(ns: u64) -> libc::timespec {
    libc::timespec { tv_sec: (ns / 1_000_000_000) as _, tv_nsec: (ns % 1_000_000_000) as _ }
}

/// What ended a wait.
#[derive(PartialEq, Eq)]
pub enum Woke {
    Up,
    Signal,
}

/// Until `at`, or a signal.
pub fn sleep_until(at: u64) -> Woke {
    let t = timespec(at);
    let no = std::ptr::null::<c_void>();
    // SAFETY: reads one timespec.
    let r = unsafe {
        libc::syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const t, no)
    };
    if r == -1 && errno() == libc::EINTR { Woke::Signal } else { Woke::Up }
}

/// Until `word` is changed and rung, `ns` have passed, or a signal.
pub fn futex_wait(word: &AtomicU32, seen: u32, ns: u64) -> Woke {
    let t = timespec(ns);
    // SAFETY: the word is alive and aligned; the kernel reads it and one timespec.
    let r = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &raw const t) };
    if r == -1 && errno() == libc::EINTR { Woke::Signal } else { Woke::Up }
}

pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is alive; nothing is written.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Whether a call that a signal has interrupted goes on, as the kernel would have it: only if no handler of this
/// process is without SA_RESTART, since which one ran is not to be known.
pub fn restarts() -> bool {
    (1..=64).all(|signal| {
        let mut action = [0usize; 4];
        // SAFETY: rt_sigaction with a mask of 8 bytes writes a kernel sigaction, which is 32 bytes: handler, flags,
        // restorer and mask. Without a new action it changes nothing.
        let r = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::null::<c_void>(), action.as_mut_ptr(), 8)
        };
        let handled = r == 0 && action[0] != libc::SIG_DFL && action[0] != libc::SIG_IGN;
        !handled || action[1] & libc::SA_RESTART as usize != 0
    })
}

/// Keeps errno as it was over what a call does beside its own work.
pub fn quietly<R>(f: impl FnOnce() -> R) -> R {
    let before = errno();
    let result = f();
    // SAFETY: as in `fail`.
    unsafe { *libc::__errno_location() = before };
    result
}
