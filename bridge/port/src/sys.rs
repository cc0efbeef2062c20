//! The system calls that rustix does not offer safely, and nothing else: this is the only module of hilrig with
//! `unsafe`, besides `sys_lend`. No policy here; what an error means is for the caller to say.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_ulong, c_ushort};
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};

use rustix::ioctl::{Getter, Opcode, Setter, ioctl};

/// The kernel wants our packet byte first in each read of a PTY master (TIOCPKT).
pub(crate) fn packet_mode(master: impl AsFd) -> io::Result<()> {
    const TIOCPKT: Opcode = libc::TIOCPKT as Opcode;
    // SAFETY: TIOCPKT reads one int through the pointer, which is what this setter passes.
    unsafe { ioctl(master, Setter::<TIOCPKT, c_int>::new(1)) }.map_err(Into::into)
}

/// Takes the descriptor out of a port that serialport has opened.
pub(crate) fn adopt(port: serialport::TTYPort) -> OwnedFd {
    // SAFETY: into_raw_fd gives up ownership of an open descriptor, which we take over here and nowhere else.
    unsafe { OwnedFd::from_raw_fd(port.into_raw_fd()) }
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

/// Asks the driver to pass received bytes on at once (ASYNC_LOW_LATENCY).
pub(crate) fn low_latency(tty: impl AsFd) -> io::Result<()> {
    const TIOCGSERIAL: Opcode = libc::TIOCGSERIAL as Opcode;
    const TIOCSSERIAL: Opcode = libc::TIOCSSERIAL as Opcode;
    const ASYNC_LOW_LATENCY: c_int = 1 << 13;
    let tty = tty.as_fd();
    // SAFETY: TIOCGSERIAL writes one serial_struct, whose layout SerialStruct copies.
    let mut settings = unsafe { ioctl(tty, Getter::<TIOCGSERIAL, SerialStruct>::new()) }?;
    settings.flags |= ASYNC_LOW_LATENCY;
    // SAFETY: TIOCSSERIAL reads one serial_struct, the one the kernel gave us but for one flag.
    unsafe { ioctl(tty, Setter::<TIOCSSERIAL, SerialStruct>::new(settings)) }.map_err(Into::into)
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

/// Lets the driver raise RTS while it sends, as an RS-485 transceiver needs it; delays stay as they are.
pub(crate) fn rs485(tty: impl AsFd) -> io::Result<()> {
    const TIOCGRS485: Opcode = libc::TIOCGRS485 as Opcode;
    const TIOCSRS485: Opcode = libc::TIOCSRS485 as Opcode;
    const ENABLED: u32 = 1;
    const RTS_ON_SEND: u32 = 1 << 1;
    const RTS_AFTER_SEND: u32 = 1 << 2;
    let tty = tty.as_fd();
    // SAFETY: TIOCGRS485 writes one serial_rs485, whose layout SerialRs485 copies.
    let mut settings = unsafe { ioctl(tty, Getter::<TIOCGRS485, SerialRs485>::new()) }?;
    settings.flags = (settings.flags | ENABLED | RTS_ON_SEND) & !RTS_AFTER_SEND;
    // SAFETY: TIOCSRS485 reads and writes back one serial_rs485; the setter's copy lives until the call returns
    // and is not looked at again, so that the kernel's answer in it does no harm.
    unsafe { ioctl(tty, Setter::<TIOCSRS485, SerialRs485>::new(settings)) }.map_err(Into::into)
}

const _: () = assert!(size_of::<SerialRs485>() == 32);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SerialStruct>() == 72);
