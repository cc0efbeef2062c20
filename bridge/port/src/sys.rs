//! The system calls that rustix does not offer safely, and nothing else: this is the only module of hilrig with
//! `unsafe`, besides `sys_lend`. No policy here; what an error means is for the caller to say.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_ulong, c_ushort};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Once;
use std::thread::JoinHandle;

use rustix::ioctl::{Getter, IntegerSetter, NoArg, Opcode, Setter, ioctl};

use crate::line::shim::page::{self, Page};

/// The kernel wants our packet byte first in each read of a PTY master (TIOCPKT).
pub(crate) fn packet_mode(master: impl AsFd) -> io::Result<()> {
    const TIOCPKT: Opcode = libc::TIOCPKT as Opcode;
    // SAFETY: TIOCPKT reads one int through the pointer, which is what this setter passes.
    unsafe { ioctl(master, Setter::<TIOCPKT, c_int>::new(1)) }.map_err(Into::into)
}

/// Bytes written to a tty that have not left it yet.
pub(crate) fn unsent(tty: impl AsFd) -> io::Result<usize> {
    const TIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;
    // SAFETY: TIOCOUTQ writes one int, which is the output type of this getter.
    let n = unsafe { ioctl(tty, Getter::<TIOCOUTQ, c_int>::new()) }?;
    Ok(usize::try_from(n).unwrap_or(0))
}

/// `struct serial_struct` of <linux/serial.h>.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct SerialStruct {
    kind: c_int,
    line: c_int,
    port: c_uint,
    irq: c_int,
    flags: c_int,
    xmit_fifo_size: c_int,
    custom_divisor: c_int,
    baud_base: c_int,
    close_delay: c_ushort,
    io_type: c_char,
    reserved: c_char,
    hub6: c_int,
    closing_wait: c_ushort,
    closing_wait2: c_ushort,
    iomem_base: usize,
    iomem_reg_shift: c_ushort,
    port_high: c_uint,
    iomap_base: c_ulong,
}

fn serial_struct(tty: impl AsFd) -> io::Result<SerialStruct> {
    const TIOCGSERIAL: Opcode = libc::TIOCGSERIAL as Opcode;
    // SAFETY: TIOCGSERIAL writes one serial_struct, whose layout SerialStruct copies.
    unsafe { ioctl(tty, Getter::<TIOCGSERIAL, SerialStruct>::new()) }.map_err(Into::into)
}

/// Asks the driver to pass received bytes on at once (ASYNC_LOW_LATENCY).
pub(crate) fn low_latency(tty: impl AsFd) -> io::Result<()> {
    const TIOCSSERIAL: Opcode = libc::TIOCSSERIAL as Opcode;
    const ASYNC_LOW_LATENCY: c_int = 1 << 13;
    let mut settings = serial_struct(&tty)?;
    settings.flags |= ASYNC_LOW_LATENCY;
    // SAFETY: TIOCSSERIAL reads one serial_struct, the one the kernel gave us but for one flag.
    unsafe { ioctl(tty, Setter::<TIOCSSERIAL, SerialStruct>::new(settings)) }.map_err(Into::into)
}

/// The highest baud rate of a UART that makes its rates by whole divisors of it: 8250, 16450, 16550 and 16550A,
/// as the kernel numbers them. `None` for everything else, which may divide in finer steps.
pub(crate) fn divided_baud(tty: impl AsFd) -> Option<u32> {
    let settings = serial_struct(tty).ok()?;
    let base = u32::try_from(settings.baud_base).ok()?;
    ((1..=4).contains(&settings.kind) && settings.custom_divisor == 0 && base > 0).then_some(base)
}

/// `struct serial_rs485` of <linux/serial.h>.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct SerialRs485 {
    flags: u32,
    delay_rts_before_send: u32,
    delay_rts_after_send: u32,
    addresses: [c_uchar; 4],
    padding: [u32; 4],
}

/// Lets the driver switch an RS-485 transceiver by RTS: its level while sending, and how long, in milliseconds, it
/// has that level before the first bit and after the last one.
pub(crate) fn rs485(tty: impl AsFd, rts_on_send: bool, before: u32, after: u32) -> io::Result<()> {
    const TIOCGRS485: Opcode = libc::TIOCGRS485 as Opcode;
    const TIOCSRS485: Opcode = libc::TIOCSRS485 as Opcode;
    const ENABLED: u32 = 1;
    const RTS_ON_SEND: u32 = 1 << 1;
    const RTS_AFTER_SEND: u32 = 1 << 2;
    let tty = tty.as_fd();
    // SAFETY: TIOCGRS485 writes one serial_rs485, whose layout SerialRs485 copies.
    let mut settings = unsafe { ioctl(tty, Getter::<TIOCGRS485, SerialRs485>::new()) }?;
    settings.flags = settings.flags & !(RTS_ON_SEND | RTS_AFTER_SEND) | ENABLED;
    settings.flags |= if rts_on_send { RTS_ON_SEND } else { RTS_AFTER_SEND };
    settings.delay_rts_before_send = before;
    settings.delay_rts_after_send = after;
    // SAFETY: TIOCSRS485 reads and writes back one serial_rs485; the setter's copy lives until the call returns
    // and is not looked at again, so that the kernel's answer in it does no harm.
    unsafe { ioctl(tty, Setter::<TIOCSRS485, SerialRs485>::new(settings)) }.map_err(Into::into)
}

const _: () = assert!(size_of::<SerialRs485>() == 32);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SerialStruct>() == 72);

/// All modem lines, as TIOCM_ bits.
pub(crate) fn modem_lines(tty: impl AsFd) -> io::Result<c_int> {
    const TIOCMGET: Opcode = libc::TIOCMGET as Opcode;
    // SAFETY: TIOCMGET writes one int, which is the output type of this getter.
    unsafe { ioctl(tty, Getter::<TIOCMGET, c_int>::new()) }.map_err(Into::into)
}

/// Sets all lines that can be set, in one step.
pub(crate) fn set_modem_lines(tty: impl AsFd, bits: c_int) -> io::Result<()> {
    const TIOCMSET: Opcode = libc::TIOCMSET as Opcode;
    // SAFETY: TIOCMSET reads one int through the pointer, which is what this setter passes.
    unsafe { ioctl(tty, Setter::<TIOCMSET, c_int>::new(bits)) }.map_err(Into::into)
}

/// Waits until one of these lines changes, until the port goes, or until `nudge`.
pub(crate) fn await_modem_lines(tty: impl AsFd, bits: c_int) -> io::Result<()> {
    const TIOCMIWAIT: Opcode = libc::TIOCMIWAIT as Opcode;
    // SAFETY: TIOCMIWAIT takes its argument as an integer and touches no memory of ours.
    unsafe { ioctl(tty, IntegerSetter::<TIOCMIWAIT>::new_usize(bits as usize)) }.map_err(Into::into)
}

/// Begins or ends a break and returns at once.
pub(crate) fn set_break(tty: impl AsFd, on: bool) -> io::Result<()> {
    const TIOCSBRK: Opcode = libc::TIOCSBRK as Opcode;
    const TIOCCBRK: Opcode = libc::TIOCCBRK as Opcode;
    let done = if on {
        // SAFETY: TIOCSBRK takes no argument.
        unsafe { ioctl(tty, NoArg::<TIOCSBRK>::new()) }
    } else {
        // SAFETY: TIOCCBRK takes no argument.
        unsafe { ioctl(tty, NoArg::<TIOCCBRK>::new()) }
    };
    done.map_err(Into::into)
}

/// `struct serial_icounter_struct` of <linux/serial.h>: what the driver has counted since it found the port.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LineCounts {
    pub(crate) cts: c_int,
    pub(crate) dsr: c_int,
    pub(crate) ri: c_int,
    pub(crate) dcd: c_int,
    rx: c_int,
    tx: c_int,
    pub(crate) framing: c_int,
    pub(crate) overrun: c_int,
    pub(crate) parity: c_int,
    pub(crate) breaks: c_int,
    pub(crate) buffer_overrun: c_int,
    reserved: [c_int; 9],
}

impl LineCounts {
    /// Without what changes with every byte.
    pub(crate) fn of_errors_and_lines(self) -> Self {
        Self { rx: 0, tx: 0, ..self }
    }
}

pub(crate) fn line_counts(tty: impl AsFd) -> io::Result<LineCounts> {
    const TIOCGICOUNT: Opcode = libc::TIOCGICOUNT as Opcode;
    // SAFETY: TIOCGICOUNT writes one serial_icounter_struct, whose layout LineCounts copies.
    unsafe { ioctl(tty, Getter::<TIOCGICOUNT, LineCounts>::new()) }.map_err(Into::into)
}

const _: () = assert!(size_of::<LineCounts>() == 80);

/// The signal that ends a wait. It has no meaning besides, and no other code of ours uses it.
fn nudge_signal() -> c_int {
    libc::SIGRTMIN() + 5
}

extern "C" fn nothing(_: c_int) {}

/// Makes nudges harmless in this process. To be called before the first one is sent.
pub(crate) fn prepare_nudges() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        // SAFETY: a zeroed sigaction is a valid one; the handler does nothing, which is safe in any context; without
        // SA_RESTART a waiting system call ends with EINTR, as wanted. Fails only for invalid signal numbers.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
            libc::sigaction(nudge_signal(), &action, std::ptr::null_mut());
        }
    });
}

/// Lets nudges reach the calling thread, whatever its parent has blocked.
pub(crate) fn accept_nudges() {
    // SAFETY: the set is initialised by sigemptyset before it is used; only this thread's mask changes.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, nudge_signal());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
}

/// Ends the system call in which the thread waits, if it does, after `prepare_nudges`.
pub(crate) fn nudge<T>(thread: &JoinHandle<T>) {
    // SAFETY: the handle is neither joined nor detached, so that its thread id is valid even if the thread has ended.
    unsafe { libc::pthread_kill(thread.as_pthread_t(), nudge_signal()) };
}

/// A timer that nudges the thread which made it, again and again.
#[derive(Debug)]
pub(crate) struct NudgeTimer(libc::timer_t);

impl NudgeTimer {
    pub(crate) fn start(seconds: u32) -> io::Result<Self> {
        let mut timer = std::ptr::null_mut();
        // SAFETY: a zeroed sigevent is a valid one, and timer_create writes the id of the timer through the pointer.
        // SIGEV_THREAD_ID with our own thread is what the handler of `accept_nudges` is for.
        let made = unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = nudge_signal();
            event.sigev_notify_thread_id = libc::gettid();
            libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer)
        };
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        let timer = Self(timer);
        let each = libc::timespec { tv_sec: seconds.into(), tv_nsec: 0 };
        let times = libc::itimerspec { it_interval: each, it_value: each };
        // SAFETY: the timer is ours and alive, and `times` is only read.
        match unsafe { libc::timer_settime(timer.0, 0, &times, std::ptr::null_mut()) } {
            0 => Ok(timer),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for NudgeTimer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours, alive, and not used afterwards.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// A page shared with the programs that use a virtual port.
#[derive(Debug)]
pub(crate) struct SharedPage(std::ptr::NonNull<Page>);

// SAFETY: a page is nothing but atomics, and stays mapped until the only owner of this drops it.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// Maps a file of at least one page.
    pub(crate) fn map(file: &std::fs::File) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        if file.metadata()?.len() < page::SIZE as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at a place of the kernel's choice touches nothing that exists.
        let at = unsafe { mmap(std::ptr::null_mut(), page::SIZE, access, MapFlags::SHARED, file, 0) }?;
        std::ptr::NonNull::new(at.cast()).map(Self).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl std::ops::Deref for SharedPage {
    type Target = Page;

    fn deref(&self) -> &Page {
        // SAFETY: mapped, aligned to a page, and larger than a `Page`, of which any bytes are a valid one; others
        // change it only as atomics, and nobody makes the file shorter.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size; no reference to it can outlive its owner.
        let _ = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), page::SIZE) };
    }
}

/// Sends SIGINT to the foreground of the terminal behind a PTY master, if it is one's controlling terminal.
pub(crate) fn interrupt(master: impl AsFd) -> io::Result<()> {
    const TIOCSIG: Opcode = libc::TIOCSIG as Opcode;
    // SAFETY: TIOCSIG takes the signal by value.
    unsafe { ioctl(master, IntegerSetter::<TIOCSIG>::new_usize(libc::SIGINT as usize)) }.map_err(Into::into)
}
