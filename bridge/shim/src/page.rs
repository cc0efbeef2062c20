//! The page that hilrig and the preload library share for each virtual port: its layout and nothing else, no system
//! calls. Compiled into both, so that they cannot differ; the magic tells two builds apart.
//!
//! All is atomic and each word has one meaning by itself: any thread, signal handler or process may look or write at
//! any time, and one that is killed leaves nothing locked.
//!
//! The application rings hilrig through the PTY itself: setting CLOCAL (TIOCSSOFTCAR) is reported to the master in
//! packet mode and changes nothing else, so no further descriptor is needed that a program could close or inherit.
//! hilrig answers by `answered`, a futex word, after what was asked has taken effect at the other end of the line.

use std::sync::atomic::{AtomicU32, AtomicU64};

/// The last byte is the version of the layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"hilrig\0\x01");
pub const SIZE: usize = 4096;

/// Directory of the pages, inside each directory that `VARIABLE` lists. A page is named by the number of its
/// `/dev/pts`, so that it is found from a descriptor however that was come by. hilrig holds its lock (flock).
pub const FOLDER: &str = ".shim";
pub const VARIABLE: &str = "HILRIG_SHIM";

/// The speed of a PTY that nobody has set; shown to applications as 9600.
pub const UNSET_BAUD: u32 = 38_401;

/// Modem lines as in TIOCMGET.
pub mod tiocm {
    pub const DTR: u32 = 0x002;
    pub const RTS: u32 = 0x004;
    pub const CTS: u32 = 0x020;
    pub const CAR: u32 = 0x040;
    pub const RNG: u32 = 0x080;
    pub const DSR: u32 = 0x100;
    pub const OUT1: u32 = 0x2000;
    pub const OUT2: u32 = 0x4000;
    /// What an application drives.
    pub const OUTPUTS: u32 = DTR | RTS | OUT1 | OUT2;
}

/// Bits of `held`: flags of c_cflag where they are, and PARMRK (of c_iflag) in a place that is free there.
pub mod held {
    pub const CSIZE: u32 = 0o60;
    pub const CS8: u32 = 0o60;
    pub const CREAD: u32 = 0o200;
    pub const PARENB: u32 = 0o400;
    pub const CLOCAL: u32 = 0o4000;
    pub const CFLAGS: u32 = CSIZE | CREAD | PARENB | CLOCAL;
    pub const PARMRK: u32 = 0o10;
    /// A line nobody has set.
    pub const NEW: u32 = CS8 | CREAD | CLOCAL;
}

/// Places in `counts`, as in `struct serial_icounter_struct`.
pub mod count {
    pub const CTS: usize = 0;
    pub const DSR: usize = 1;
    pub const RNG: usize = 2;
    pub const DCD: usize = 3;
    pub const RX: usize = 4;
    pub const TX: usize = 5;
    pub const FRAME: usize = 6;
    pub const OVERRUN: usize = 7;
    pub const PARITY: usize = 8;
    pub const BREAK: usize = 9;
    pub const ALL: usize = 11;
}

#[repr(C)]
#[derive(Debug)]
pub struct Page {
    /// Written last by hilrig when it makes the page.
    pub magic: AtomicU64,
    /// Not 0: hilrig has let go of the port.
    pub closed: AtomicU32,
    /// Not 0: a shard listens for the bell.
    pub served: AtomicU32,

    /// How often the application has rung.
    pub asked: AtomicU32,
    /// The last ring of which all has taken effect. Futex.
    pub answered: AtomicU32,
    /// The lines the application drives (`tiocm`).
    pub outputs: AtomicU32,
    /// What the application has set and a PTY does not keep.
    pub held: AtomicU32,
    /// Counts settings of the line.
    pub settings: AtomicU32,
    /// Counts the beginnings and ends of breaks: odd while one lasts.
    pub breaks: AtomicU32,

    /// The lines the application senses (`tiocm`).
    pub inputs: AtomicU32,
    /// Counts changes of `inputs`. Futex.
    pub changes: AtomicU32,
    /// Counts how often the last user has left and the line is as new again. Futex.
    pub left: AtomicU32,
    pub counts: [AtomicU32; count::ALL],

    /// Processes that wait for `read` to move on, and its futex.
    pub waiting: AtomicU32,
    pub progress: AtomicU32,
    /// Bytes that applications have written, as far as the library sees them, and bytes that hilrig has read.
    pub written: AtomicU64,
    pub read: AtomicU64,
    /// Length of a character on the line in ns; 0 while nobody has set the line.
    pub character: AtomicU64,
    /// When the last character written will have left the line: CLOCK_MONOTONIC in ns.
    pub sent_at: AtomicU64,

    /// What TIOCSSERIAL and TIOCSRS485 set, for who asks: flags, close_delay, closing_wait.
    pub serial: [AtomicU32; 3],
    pub rs485: [AtomicU32; 8],
}

const _: () = assert!(size_of::<Page>() <= SIZE);
