//! A serial line as a program at its far end sees it, and a byte pattern in which a lost, doubled or changed byte
//! shows.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::{PATIENCE, wait_for};

/// The byte at a place of an endless stream. Streams of different seeds differ.
pub fn pattern(seed: u64, at: u64) -> u8 {
    let mut z = (at / 8).wrapping_add(seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).to_le_bytes()[(at % 8) as usize]
}

/// The far end of a virtual port, opened raw.
#[derive(Debug)]
pub struct Line(OwnedFd);

impl Line {
    /// Opens the port as soon as it is there.
    #[track_caller]
    pub fn open(path: &Path) -> Self {
        let what = format!("{} can be opened", path.display());
        wait_for(&what, || Self::try_open(path).ok())
    }

    /// # Errors
    /// There is no such port.
    pub fn try_open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let mut termios = tcgetattr(&fd)?;
        termios.make_raw();
        tcsetattr(&fd, OptionalActions::Now, &termios)?;
        Ok(Self(fd))
    }

    fn ready(&self, flags: PollFlags, patience: Duration) {
        let time = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(&self.0, flags)], Some(&time));
    }

    /// Writes some bytes, waiting at most `patience` until any can be written.
    ///
    /// # Errors
    /// The port is gone.
    pub fn write_some(&self, bytes: &[u8], patience: Duration) -> io::Result<usize> {
        self.ready(PollFlags::OUT, patience);
        match rustix::io::write(&self.0, bytes) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            other => Ok(other?),
        }
    }

    /// # Errors
    /// The port is gone, or takes no bytes for long.
    pub fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !bytes.is_empty() {
            let n = self.write_some(bytes, Duration::from_millis(100))?;
            bytes = &bytes[n..];
            if n == 0 && Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Reads some bytes, waiting at most `patience` for the first: 0 when none came.
    ///
    /// # Errors
    /// The port is gone.
    pub fn read_some(&self, into: &mut [u8], patience: Duration) -> io::Result<usize> {
        self.ready(PollFlags::IN, patience);
        match rustix::io::read(&self.0, into) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            other => Ok(other?),
        }
    }

    /// Reads exactly so many bytes.
    ///
    /// # Errors
    /// The port is gone, or they do not come.
    pub fn read(&self, count: usize) -> io::Result<Vec<u8>> {
        let end = Instant::now() + PATIENCE;
        let mut bytes = vec![0; count];
        let mut got = 0;
        while got < count {
            got += self.read_some(&mut bytes[got..], Duration::from_millis(100))?;
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{got} of {count} bytes came")));
            }
        }
        Ok(bytes)
    }

    /// Makes sure that what is written here comes out at `there`: nobody can see from outside when a bridge has
    /// noticed that a far end is open. Leaves nothing on the way.
    #[track_caller]
    pub fn open_through_to(&self, there: &Self) {
        let mut block = [0; 256];
        wait_for("a byte comes through", || {
            self.write(b"?").unwrap();
            (there.read_some(&mut block, Duration::from_millis(50)).unwrap() > 0).then_some(())
        });
        self.write(b"!").unwrap();
        wait_for("the last of the bytes comes through", || {
            let n = there.read_some(&mut block, Duration::from_millis(50)).unwrap();
            assert!(block[..n].iter().all(|b| b"?!".contains(b)), "{:?}", &block[..n]);
            block[..n].ends_with(b"!").then_some(())
        });
    }
}
