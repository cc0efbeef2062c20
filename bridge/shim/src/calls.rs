//! ioctl(2) on a port of ours: which requests are answered here, and how their arguments look.

use std::ffi::{c_int, c_ulong, c_void};
use std::sync::atomic::Ordering;

use crate::page::{Page, count, held};
use crate::sys::{self, fail};
use crate::term::{SHORT, Termios, When};
use crate::{lines, pace, term};

/// Whether a request is one that `answer` knows; all others go straight to the kernel.
pub fn known(request: c_ulong) -> bool {
    matches!(
        u64::from(request as u32),
        libc::TIOCMGET
            | libc::TIOCMSET
            | libc::TIOCMBIS
            | libc::TIOCMBIC
            | libc::TIOCMIWAIT
            | libc::TIOCGICOUNT
            | libc::TIOCGSERIAL
            | libc::TIOCSSERIAL
            | libc::TIOCGRS485
            | libc::TIOCSRS485
            | libc::TIOCGSOFTCAR
            | libc::TIOCSSOFTCAR
            | libc::TIOCOUTQ
            | libc::TCSBRK
            | libc::TCSBRKP
            | libc::TIOCSBRK
            | libc::TIOCCBRK
            | libc::TCFLSH
            | libc::TCGETS
            | libc::TCGETS2
            | libc::TCSETS
            | libc::TCSETSW
            | libc::TCSETSF
            | libc::TCSETS2
            | libc::TCSETSW2
            | libc::TCSETSF2
    )
}

/// # Safety
/// `arg` is what the request wants, as for ioctl(2).
pub unsafe fn answer(fd: c_int, page: &Page, request: c_ulong, arg: *mut c_void) -> c_int {
    if !lines::alive(fd) {
        return -1;
    }
    let request = u64::from(request as u32);
    let number = arg as usize as c_int;
    match request {
        // Those that take a number, or nothing.
        libc::TIOCMIWAIT => return lines::wait(fd, page, number as u32),
        libc::TIOCSBRK => return lines::set_break(fd, page, true),
        libc::TIOCCBRK => return lines::set_break(fd, page, false),
        libc::TCSBRK if number != 0 => return drain(fd, page),
        libc::TCSBRK => return lines::send_break(fd, page, 250),
        libc::TCSBRKP => {
            let ms = if number <= 0 { 250 } else { number as u64 * 100 };
            return lines::send_break(fd, page, ms);
        }
        libc::TCFLSH => return lines::flush(fd, page, number),
        _ if arg.is_null() => return fail(libc::EFAULT),
        _ => {}
    }
    // SAFETY: not null, and the caller says it is what the request wants: each arm reads or writes just that.
    unsafe {
        match request {
            libc::TIOCMGET => arg.cast::<u32>().write_unaligned(lines::get(page)),
            libc::TIOCMSET | libc::TIOCMBIS | libc::TIOCMBIC => {
                let bits = arg.cast::<u32>().read_unaligned();
                lines::set(fd, page, |before| match request {
                    libc::TIOCMSET => bits,
                    libc::TIOCMBIS => before | bits,
                    _ => before & !bits,
                });
            }
            libc::TIOCGICOUNT => counts(page, arg),
            libc::TIOCGSERIAL => serial(fd, page, arg),
            libc::TIOCSSERIAL => set_serial(page, arg),
            libc::TIOCGRS485 => {
                arg.cast::<[u32; 8]>()
                    .write_unaligned(std::array::from_fn(|n| page.rs485[n].load(Ordering::Relaxed)));
            }
            libc::TIOCSRS485 => {
                let words = arg.cast::<[u32; 8]>().read_unaligned();
                page.rs485.iter().zip(words).for_each(|(word, new)| word.store(new, Ordering::Relaxed));
            }
            // The bell uses the kernel's own flag.
            libc::TIOCGSOFTCAR => {
                let on = page.held.load(Ordering::Acquire) & held::CLOCAL != 0;
                arg.cast::<c_int>().write_unaligned(on.into());
            }
            libc::TIOCSSOFTCAR => {
                let on = arg.cast::<c_int>().read_unaligned() != 0;
                if on {
                    page.held.fetch_or(held::CLOCAL, Ordering::AcqRel);
                } else {
                    page.held.fetch_and(!held::CLOCAL, Ordering::AcqRel);
                }
            }
            libc::TIOCOUTQ => {
                let n = pace::backlog(page, sys::now()).min(c_int::MAX as u64);
                arg.cast::<c_int>().write_unaligned(n as c_int);
            }
            libc::TCGETS => return term::get(fd, page, arg, SHORT),
            libc::TCGETS2 => return term::get(fd, page, arg, size_of::<Termios>()),
            _ => {
                let long = matches!(request, libc::TCSETS2 | libc::TCSETSW2 | libc::TCSETSF2);
                let when = match request {
                    libc::TCSETS | libc::TCSETS2 => When::Now,
                    libc::TCSETSW | libc::TCSETSW2 => When::Drained,
                    _ => When::Flushed,
                };
                let mut t = std::mem::zeroed::<Termios>();
                let len = if long { size_of::<Termios>() } else { SHORT };
                std::ptr::copy_nonoverlapping(arg.cast::<u8>(), (&raw mut t).cast(), len);
                return term::set(fd, page, t, when, long);
            }
        }
    }
    0
}

pub fn drain(fd: c_int, page: &Page) -> c_int {
    match pace::drain(fd, page, u64::MAX) {
        sys::Woke::Up => 0,
        sys::Woke::Signal => fail(libc::EINTR),
    }
}

/// `struct serial_icounter_struct`.
///
/// # Safety
/// There is room for one.
unsafe fn counts(page: &Page, to: *mut c_void) {
    let mut counts = [0u32; 20];
    for (n, to) in counts.iter_mut().enumerate().take(count::ALL) {
        *to = page.counts[n].load(Ordering::Acquire);
    }
    counts[count::RX] = page.counts[count::RX].load(Ordering::Relaxed);
    counts[count::TX] = page.written.load(Ordering::Relaxed) as u32;
    // SAFETY: the caller's.
    unsafe { to.cast::<[u32; 20]>().write_unaligned(counts) };
}

/// The first half of `struct serial_struct` of <linux/serial.h>; the rest is about addresses.
#[repr(C)]
struct Serial {
    kind: c_int,
    line: c_int,
    port: u32,
    irq: c_int,
    flags: c_int,
    fifo: c_int,
    divisor: c_int,
    baud_base: c_int,
    close_delay: u16,
    io: [u8; 2],
    hub6: c_int,
    closing_wait: u16,
    rest: [u8; 30],
}

const _: () = assert!(size_of::<Serial>() == 72);

/// A 16550A.
///
/// # Safety
/// There is room for one `serial_struct`.
unsafe fn serial(fd: c_int, page: &Page, to: *mut c_void) {
    let [flags, close_delay, closing_wait] = &page.serial;
    let serial = Serial {
        kind: 4,
        line: fd,
        port: 0,
        irq: 0,
        flags: flags.load(Ordering::Relaxed) as c_int,
        fifo: 16,
        divisor: 0,
        baud_base: 1_500_000,
        close_delay: close_delay.load(Ordering::Relaxed) as u16,
        io: [0; 2],
        hub6: 0,
        closing_wait: closing_wait.load(Ordering::Relaxed) as u16,
        rest: [0; 30],
    };
    // SAFETY: the caller's.
    unsafe { to.cast::<Serial>().write_unaligned(serial) };
}

/// # Safety
/// There is a `serial_struct`.
unsafe fn set_serial(page: &Page, from: *const c_void) {
    // SAFETY: the caller's; any bytes are one.
    let serial = unsafe { from.cast::<Serial>().read_unaligned() };
    let [flags, close_delay, closing_wait] = &page.serial;
    flags.store(serial.flags as u32, Ordering::Relaxed);
    close_delay.store(serial.close_delay.into(), Ordering::Relaxed);
    closing_wait.store(serial.closing_wait.into(), Ordering::Relaxed);
}
