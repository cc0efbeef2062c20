//! The line's settings as the application sees them: what a PTY does not keep (parity, word length) is in the page,
//! the rest in the kernel, which stays the only place for it.

use std::ffi::{c_int, c_ulong, c_void};
use std::sync::atomic::Ordering;

use crate::page::{Page, UNSET_BAUD, held, tiocm};
use crate::sys::{self, Woke, fail};
use crate::{lines, pace};

/// `struct termios2` of the kernel; the first 36 bytes are its `struct termios`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    pub cc: [u8; 19],
    pub ispeed: u32,
    pub ospeed: u32,
}

/// Size of the kernel's `struct termios`.
pub const SHORT: usize = 36;

const EXTPROC: u32 = libc::EXTPROC;

/// What a call for the settings says beside them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    Now,
    Drained,
    /// Drained, and what was received is thrown away.
    Flushed,
}

pub fn kernel(fd: c_int) -> Option<Termios> {
    let mut t = std::mem::MaybeUninit::<Termios>::zeroed();
    // SAFETY: TCGETS2 writes one termios2; zeroes are a valid one anyway.
    unsafe { (sys::ioctl(fd, libc::TCGETS2, t.as_mut_ptr().cast()) == 0).then(|| t.assume_init()) }
}

/// The flags as the application set them, from those that the kernel has.
pub fn shown(page: &Page, unset: bool, iflag: &mut u32, cflag: &mut u32, lflag: &mut u32) {
    let own = page.held.load(Ordering::Acquire);
    *cflag = (*cflag & !held::CFLAGS) | (own & held::CFLAGS);
    if own & held::PARMRK != 0 {
        *iflag |= libc::PARMRK;
    }
    *lflag &= !EXTPROC;
    if unset {
        // Nobody has set this line: it looks like a raw one at 9600, and what hilrig put there to see the first
        // setting is not shown.
        *cflag = (*cflag & !(libc::CBAUD | (libc::CBAUD << 16))) | libc::B9600;
        *lflag = 0;
    }
}

pub fn is_unset(fd: c_int) -> bool {
    sys::quietly(|| kernel(fd).is_some_and(|t| t.ospeed == UNSET_BAUD))
}

/// TCGETS and TCGETS2, which differ in length.
///
/// # Safety
/// `to` has room for `len` bytes.
pub unsafe fn get(fd: c_int, page: &Page, to: *mut c_void, len: usize) -> c_int {
    let Some(mut t) = kernel(fd) else { return -1 };
    let unset = t.ospeed == UNSET_BAUD;
    shown(page, unset, &mut t.iflag, &mut t.cflag, &mut t.lflag);
    if unset {
        (t.ispeed, t.ospeed) = (9600, 9600);
    }
    // SAFETY: the caller's; `len` is at most the size of a Termios.
    unsafe { std::ptr::copy_nonoverlapping((&raw const t).cast::<u8>(), to.cast(), len) };
    0
}

/// Sets the line. `long`: with speeds of any number (TCSETS2).
pub fn set(fd: c_int, page: &Page, mut t: Termios, when: When, long: bool) -> c_int {
    if when != When::Now && pace::drain(fd, page, u64::MAX) == Woke::Signal {
        return fail(libc::EINTR);
    }
    let own = (t.cflag & held::CFLAGS) | if t.iflag & libc::PARMRK == 0 { 0 } else { held::PARMRK };
    let cflag = t.cflag;
    t.iflag &= !libc::PARMRK;
    t.cflag = (cflag & !held::CFLAGS) | held::NEW;
    t.lflag |= EXTPROC;
    let request = match (long, when == When::Flushed) {
        (false, false) => libc::TCSETS,
        (false, true) => libc::TCSETSF,
        (true, false) => libc::TCSETS2,
        (true, true) => libc::TCSETSF2,
    };
    let before = page.held.swap(own, Ordering::AcqRel);
    let number = page.asked.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
    page.settings.fetch_add(1, Ordering::AcqRel);
    let old = sys::quietly(|| kernel(fd)).map(|t| t.ospeed);
    // SAFETY: the request reads a termios or a termios2, whose beginning is the same.
    if unsafe { sys::ioctl(fd, request as c_ulong, (&raw mut t).cast()) } != 0 {
        page.held.store(before, Ordering::Release);
        return -1;
    }
    if let Some(now) = sys::quietly(|| kernel(fd)) {
        page.character.store(character(cflag, now.ospeed), Ordering::Release);
        if now.ospeed == 0 || old == Some(0) {
            hang_up(fd, page, now.ospeed == 0);
        }
    }
    // The setting itself has rung.
    lines::answer(fd, page, number, false);
    0
}

/// Speed 0 lets go of the line, the next takes it up again.
fn hang_up(fd: c_int, page: &Page, off: bool) {
    const BOTH: u32 = tiocm::DTR | tiocm::RTS;
    lines::set(fd, page, |lines| if off { lines & !BOTH } else { lines | BOTH });
}

/// Length of a character in ns: start bit, data, parity and stop bits (with 5 data bits two are one and a half).
fn character(cflag: u32, baud: u32) -> u64 {
    if baud == 0 || baud == UNSET_BAUD {
        return 0;
    }
    let data = 5 + u64::from((cflag & libc::CSIZE) >> 4);
    let parity = u64::from(cflag & libc::PARENB != 0);
    let half_stops = match (cflag & libc::CSTOPB != 0, data) {
        (false, _) => 2,
        (true, 5) => 3,
        (true, _) => 4,
    };
    (2 + 2 * (data + parity) + half_stops) * 500_000_000 / u64::from(baud)
}

/// From the C library's termios. `numbers`: its speeds may be plain numbers (glibc 2.42 on); codes are told from them.
pub fn from_c(c: &libc::termios, numbers: bool) -> (Termios, bool) {
    let mut cc = [0; 19];
    cc.copy_from_slice(&c.c_cc[..19]);
    let mut t = Termios {
        iflag: c.c_iflag,
        oflag: c.c_oflag,
        cflag: c.c_cflag,
        lflag: c.c_lflag,
        line: c.c_line,
        cc,
        ispeed: c.c_ispeed,
        ospeed: c.c_ospeed,
    };
    let is_number = |speed: u32| speed >= 50 && !(libc::BOTHER..libc::BOTHER + 16).contains(&speed);
    let long = numbers && is_number(c.c_ospeed) && is_number(c.c_ispeed);
    if long {
        t.cflag = (t.cflag & !(libc::CBAUD | libc::CBAUD << 16)) | libc::BOTHER | libc::BOTHER << 16;
    }
    (t, long)
}
