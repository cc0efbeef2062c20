//! An open port as a shard uses it: a descriptor to read and write, and what it means when the far end goes.
//! Nothing here waits; opening, which may wait, is in the modules beside it and runs on the caller's thread.

pub(crate) mod echo;
pub(crate) mod looped;
pub(crate) mod marks;
pub(crate) mod modem;
pub(crate) mod parmrk;
pub(crate) mod pty;
pub(crate) mod serial;
mod serial_refusal;
pub(crate) mod shim;
pub(crate) mod socket;
pub(crate) mod telnet;
mod termios;
pub(crate) mod tls;

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::{Lines, Signal, Time};
use looped::LoopLine;
use pty::PtyLine;
use serial::SerialLine;
use socket::{Carrier, ListenLine};
use telnet::TelnetLine;
use tls::TlsLine;

/// A tty gives at most 4095 bytes a read; larger buffers bring nothing.
pub(crate) const CHUNK: usize = 4096;

/// Room for one read: the packet byte of a PTY, then the bytes, which always begin at `[1]`.
pub(crate) type Buffer = [u8; 1 + CHUNK];

/// What is at the far end of a line, which says what its modem lines mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// An application: it drives DTR and RTS, sets the line and sees CTS, DSR, DCD and RI.
    App,
    /// A device: we drive DTR and RTS, set the line and see CTS, DSR, DCD and RI.
    Device,
    /// Nothing but bytes.
    Plain,
}

/// What a decoder found next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Payload is here in the buffer.
    Bytes(Range<usize>),
    Signal(Signal),
    /// Nothing more in here.
    End,
}

/// Takes apart what a line with signals among its bytes reads.
pub(crate) trait Decode {
    /// Finds the next piece in `buffer[raw]`, which is as read, and shortens `raw` to what is left. Bytes are decoded
    /// in place (decoding only ever shortens). `End` leaves `raw` empty; what is incomplete the decoder keeps.
    fn next(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Piece;
}

/// What carries the bytes.
#[derive(Debug)]
pub(crate) enum Line {
    Serial(SerialLine),
    Pty(PtyLine),
    Loop(Box<LoopLine>),
    Socket(Carrier),
    Telnet(Box<TelnetLine>),
    Tls(Box<TlsLine>),
    /// Was lost and is closed.
    Gone,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes, from `buffer[1]` on.
    Bytes(usize),
    Nothing,
    /// The status byte of a virtual port's far end: it was set, or flushed.
    Packet(u8),
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
            Self::Loop(line) => Some(line.pipe.as_fd()),
            _ => self.carrier().and_then(Carrier::fd),
        }
    }

    /// A second descriptor that is readable when [`aside`](Self::aside) has something (modem lines that another
    /// thread watches). The same one as long as the line lives.
    pub(crate) fn aside_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Serial(line) => line.aside_fd(),
            Self::Loop(line) => Some(line.bell.as_fd()),
            _ => None,
        }
    }

    /// Whether a far end rings by the packet status of the line.
    pub(crate) fn rings(&self) -> bool {
        matches!(self, Self::Pty(PtyLine { shim: Some(_), .. }))
    }

    /// The next signal that came beside the bytes. Asked until there is none when `aside_fd` is readable, after each
    /// `Read::Packet`, when a far end has come or left, and once after the line is taken into a shard.
    pub(crate) fn aside(&mut self) -> Option<Signal> {
        match self {
            Self::Serial(line) => line.aside(),
            Self::Pty(line) => line.aside(),
            Self::Loop(line) => line.aside(),
            Self::Telnet(line) => line.aside(),
            _ => None,
        }
    }

    pub(crate) fn carrier(&self) -> Option<&Carrier> {
        match self {
            Self::Socket(carrier) => Some(carrier),
            Self::Telnet(line) => Some(&line.carrier),
            Self::Tls(line) => Some(&line.carrier),
            Self::Serial(_) | Self::Pty(_) | Self::Loop(_) | Self::Gone => None,
        }
    }

    pub(crate) fn listener(&self) -> Option<&ListenLine> {
        match self.carrier() {
            Some(Carrier::Listen(line)) => Some(line),
            _ => None,
        }
    }

    pub(crate) fn listener_mut(&mut self) -> Option<&mut ListenLine> {
        let carrier = match self {
            Self::Socket(carrier) => carrier,
            Self::Telnet(line) => &mut line.carrier,
            Self::Tls(line) => &mut line.carrier,
            Self::Serial(_) | Self::Pty(_) | Self::Loop(_) | Self::Gone => return None,
        };
        match carrier {
            Carrier::Listen(line) => Some(line),
            Carrier::Stream(_) => None,
        }
    }

    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Serial(_) | Self::Loop(_) => Role::Device,
            Self::Pty(_) => Role::App,
            Self::Telnet(line) => line.role(),
            Self::Socket(_) | Self::Tls(_) | Self::Gone => Role::Plain,
        }
    }

    /// Lines without signals among their bytes have none.
    pub(crate) fn decoder(&mut self) -> Option<&mut dyn Decode> {
        match self {
            Self::Serial(line) => line.decoder(),
            Self::Telnet(line) => Some(line.as_mut()),
            _ => None,
        }
    }

    /// Whether another far end may come after this one has left.
    pub(crate) fn can_return(&self) -> bool {
        matches!(self, Self::Pty(_)) || self.listener().is_some()
    }

    /// Reads once, at most `room` bytes (at least 1).
    pub(crate) fn read(&mut self, buffer: &mut Buffer, room: usize) -> Read {
        let room = room.min(CHUNK);
        let packet = matches!(self, Self::Pty(_));
        let into = &mut buffer[usize::from(!packet)..=room];
        let done = match self {
            Self::Tls(line) => return line.read(into),
            _ => match self.fd() {
                Some(fd) => rustix::io::read(fd, into),
                None => return Read::Nothing,
            },
        };
        match done {
            Ok(0) if packet => Read::Nothing,
            Ok(n) if packet => match buffer[0] {
                0 if n > 1 => {
                    if let Self::Pty(PtyLine { shim: Some(shim), .. }) = self {
                        shim.took(n - 1);
                    }
                    Read::Bytes(n - 1)
                }
                0 => Read::Nothing,
                status => Read::Packet(status),
            },
            // A tty set to VMIN 0 by someone else gives 0 without having hung up.
            Ok(0) if matches!(self, Self::Serial(_)) && !self.fd().is_some_and(hung_up) => Read::Nothing,
            Ok(0) => Read::Ended(None),
            Ok(n) => Read::Bytes(n),
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            Err(e) => Read::Ended(Some(e)),
        }
    }

    /// Writes once. A line with its own framing takes what it can keep and flush, and no more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        let done = match self {
            Self::Telnet(line) => return line.write(bytes),
            Self::Tls(line) => return line.write(bytes),
            Self::Serial(line) => rustix::io::write(&line.fd, bytes),
            Self::Pty(line) => line.write(bytes),
            Self::Loop(line) => rustix::io::write(&line.pipe, bytes),
            Self::Socket(carrier) => carrier.send(bytes),
            Self::Gone => return Write::Ended(None),
        };
        match done {
            Ok(n) => Write::Took(n),
            Err(Errno::AGAIN | Errno::INTR) => Write::Took(0),
            Err(e) => Write::Ended(Some(e)),
        }
    }

    /// Whether the line keeps bytes of its own framing that the socket has not taken. It is watched for room then.
    pub(crate) fn unsent(&self) -> bool {
        match self {
            Self::Telnet(line) => line.unsent(),
            Self::Tls(line) => line.unsent(),
            Self::Pty(line) => line.shim.as_ref().is_some_and(|shim| shim.unsent()),
            _ => false,
        }
    }

    /// Whether the other side wants no payload for now, whatever the socket takes.
    pub(crate) fn held(&self) -> bool {
        match self {
            Self::Telnet(line) => line.held(),
            Self::Tls(line) => line.held(),
            _ => false,
        }
    }

    /// Whether the other side must take some answers of the line's own framing before more is read.
    pub(crate) fn full(&self) -> bool {
        matches!(self, Self::Telnet(line) if line.full())
    }

    /// Sends what is `unsent` as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> Write {
        match self {
            Self::Telnet(line) => line.flush(),
            Self::Tls(line) => line.flush(),
            Self::Pty(line) => line.flush().map_or_else(|e| Write::Ended(Some(e)), |()| Write::Took(0)),
            _ => Write::Took(0),
        }
    }

    /// Whether the line has read more than it has given out: it is read again without an event then.
    pub(crate) fn buffered(&self) -> bool {
        match self {
            Self::Tls(line) => line.buffered(),
            _ => false,
        }
    }

    /// A far end has come: framing begins anew.
    pub(crate) fn connected(&mut self) {
        match self {
            Self::Telnet(line) => line.connected(),
            Self::Tls(line) => line.connected(),
            Self::Pty(line) => {
                if let Some(shim) = &mut line.shim {
                    shim.arrived();
                }
            }
            _ => {}
        }
    }

    /// Whether the lines stay as they are when the far end leaves.
    pub(crate) fn keeps_lines(&self) -> bool {
        matches!(self, Self::Pty(PtyLine { shim: Some(shim), .. }) if shim.keeps_lines)
    }

    /// The far end has left, and all that follows from it is done.
    pub(crate) fn vacant(&self) {
        if let Self::Pty(PtyLine { shim: Some(shim), .. }) = self {
            shim.vacant();
        }
    }

    /// Does to this end what a signal says, or shows it to the application there. Answers the resulting value if the
    /// line can say it; `None` when it can do nothing of the kind.
    /// `Lines` to a device are DTR and RTS as they are to be; to an application CTS, DSR, DCD and RI as it sees them.
    pub(crate) fn apply(&mut self, signal: &Signal) -> Option<Signal> {
        match self {
            Self::Serial(line) => line.apply(signal),
            Self::Pty(line) => line.apply(signal),
            Self::Loop(line) => line.apply(signal),
            Self::Telnet(line) => line.apply(signal),
            Self::Socket(_) | Self::Tls(_) | Self::Gone => None,
        }
    }

    /// Result of a signal that this line's far end brought, from the other port; also said once, when a far end has
    /// come, for the device's lines (DTR, RTS) and settings as they are.
    pub(crate) fn answer(&mut self, signal: &Signal) {
        if let Self::Telnet(line) = self {
            line.answer(signal);
        }
    }

    /// DTR and RTS as they are now on a device's line, as far as that can be asked.
    pub(crate) fn driven(&self) -> Option<Lines> {
        match self {
            Self::Serial(line) => line.driven(),
            Self::Telnet(line) => line.driven(),
            Self::Loop(line) => Some(line.driven()),
            _ => None,
        }
    }

    /// When the line wants `on_deadline`, which may bring signals.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Serial(line) => line.deadline(),
            Self::Pty(line) => line.settle_at,
            Self::Telnet(line) => line.deadline(),
            Self::Tls(line) => line.deadline(),
            _ => None,
        }
    }

    /// At `deadline`; asked again until it has nothing more to say.
    pub(crate) fn on_deadline(&mut self, now: Time) -> Option<Signal> {
        match self {
            Self::Serial(line) => {
                line.on_deadline(now);
                None
            }
            Self::Pty(line) if line.settle_at.is_some_and(|at| at <= now) => {
                line.settle().map(Signal::Settings)
            }
            Self::Telnet(line) => line.on_deadline(now),
            Self::Tls(line) => {
                line.on_deadline(now);
                None
            }
            _ => None,
        }
    }

    /// Why the port is lost, for an operator.
    pub(crate) fn loss(&self, errno: Option<Errno>) -> String {
        let what = match self {
            Self::Serial(_) => "the device was unplugged or hung up",
            Self::Pty(_) => "the virtual port failed",
            Self::Loop(_) => "the loopback failed",
            Self::Telnet(line) if line.loss().is_some() => return line.loss().unwrap_or_default().to_owned(),
            Self::Tls(line) if line.loss().is_some() => return line.loss().unwrap_or_default().to_owned(),
            Self::Telnet(_) | Self::Tls(_) | Self::Socket(_) | Self::Gone => {
                "the other side closed the connection"
            }
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
