//! An open port as a shard uses it: a descriptor to read and write, and what it means when the far end goes.
//! Nothing here waits; opening, which may wait, is in the modules beside it and runs on the caller's thread.

pub(crate) mod pty;
pub(crate) mod serial;
pub(crate) mod socket;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;

use pty::PtyLine;
use serial::SerialLine;
use socket::ListenLine;

/// A tty gives at most 4095 bytes a read; larger buffers bring nothing.
pub(crate) const CHUNK: usize = 4096;

/// Room for one read: the packet byte of a PTY, then the bytes, which always begin at `[1]`.
pub(crate) type Buffer = [u8; 1 + CHUNK];

/// What carries the bytes.
#[derive(Debug)]
pub(crate) enum Line {
    Serial(SerialLine),
    Pty(PtyLine),
    Stream(OwnedFd),
    Listen(ListenLine),
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes, from `buffer[1]` on.
    Bytes(usize),
    Nothing,
    /// The application at the far end of a virtual port has set the line.
    Settings,
    /// The far end has left; nothing more comes before another one arrives, if one can.
    Ended(Option<Errno>),
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// So many bytes were taken, maybe none.
    Took(usize),
    Ended(Option<Errno>),
}

impl Line {
    /// The descriptor bytes travel on; a listener without a client has none.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Serial(line) => Some(line.fd.as_fd()),
            Self::Pty(line) => Some(line.master.as_fd()),
            Self::Stream(fd) => Some(fd.as_fd()),
            Self::Listen(line) => line.client.as_ref().map(AsFd::as_fd),
        }
    }

    /// Whether another far end may come after this one has left.
    pub(crate) fn can_return(&self) -> bool {
        matches!(self, Self::Pty(_) | Self::Listen(_))
    }

    pub(crate) fn read(&self, buffer: &mut Buffer) -> Read {
        let Some(fd) = self.fd() else { return Read::Nothing };
        let packet = matches!(self, Self::Pty(_));
        let from = usize::from(!packet);
        match rustix::io::read(fd, &mut buffer[from..]) {
            Ok(0) if packet => Read::Nothing,
            Ok(n) if packet => match buffer[0] {
                0 if n > 1 => Read::Bytes(n - 1),
                status if status & pty::PACKET_IOCTL != 0 => Read::Settings,
                _ => Read::Nothing,
            },
            // A tty set to VMIN 0 by someone else gives 0 without having hung up.
            Ok(0) if matches!(self, Self::Serial(_)) && !hung_up(fd) => Read::Nothing,
            Ok(0) => Read::Ended(None),
            Ok(n) => Read::Bytes(n),
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            Err(e) => Read::Ended(Some(e)),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Write {
        let Some(fd) = self.fd() else { return Write::Ended(None) };
        let done = match self {
            Self::Serial(_) | Self::Pty(_) => rustix::io::write(fd, bytes),
            Self::Stream(_) | Self::Listen(_) => rustix::net::send(fd, bytes, SendFlags::NOSIGNAL),
        };
        match done {
            Ok(n) => Write::Took(n),
            Err(Errno::AGAIN | Errno::INTR) => Write::Took(0),
            Err(e) => Write::Ended(Some(e)),
        }
    }

    /// Why the port is lost, for an operator.
    pub(crate) fn loss(&self, errno: Option<Errno>) -> String {
        let what = match self {
            Self::Serial(_) => "the device was unplugged or hung up",
            Self::Pty(_) => "the virtual port failed",
            Self::Stream(_) | Self::Listen(_) => "the other side closed the connection",
        };
        match errno {
            Some(e) => format!("{what} ({})", std::io::Error::from(e)),
            None => what.to_owned(),
        }
    }
}

/// Whether the other side of a tty is gone.
fn hung_up(fd: BorrowedFd<'_>) -> bool {
    poll_now(fd).intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

/// What is the case on a descriptor right now.
fn poll_now(fd: BorrowedFd<'_>) -> PollFlags {
    let mut fds = [PollFd::new(&fd, PollFlags::IN | PollFlags::PRI)];
    match poll(&mut fds, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}
