//! A virtual port: a PTY whose far end appears under a clear name. It owns the name and the lock beside it, and
//! makes the line look untouched between two users.
//!
//! Whether somebody has the far end open is the kernel's to say: the master hangs up exactly while no one has.
//! So hilrig keeps no slave descriptor of its own (one would hide that), and counts no inotify events (the
//! kernel merges two openings into one, so that counting declares a reader gone who is not). inotify on the
//! slave only says when to look again. What needs a slave descriptor is done with one held for a moment.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr,
    tcsetattr,
};

use super::shim::{News, Shim, page};
use crate::runtime::{LockFile, lock_beside};
use crate::{Flow, Format, LineSettings, PortError, Runtime, Signal, StopBits, Time, sys};

/// Packet bits: the application has set the line, has thrown away what came or what it sent.
pub(crate) const PACKET_IOCTL: u8 = 0x40;
pub(crate) const PACKET_FLUSH_READ: u8 = 0x01;
pub(crate) const PACKET_FLUSH_WRITE: u8 = 0x02;

/// The line's speed while nobody has it open. Debian's and Ubuntu's tcsetattr fails if it was asked for parity,
/// which a PTY does not take, and nothing else it was asked for had an effect either: against this odd speed the
/// first setting always has one.
const POISON_BAUD: u32 = page::UNSET_BAUD;

/// The same while somebody has it open, for whoever opens it next and sooner than a shard can react to the last
/// user's leaving: echo flags without meaning on a line that does not echo, which every program that wants a raw
/// line clears.
const POISON_FLAGS: LocalModes = LocalModes::ECHONL.union(LocalModes::ECHOE).union(LocalModes::ECHOK);

/// How long after a setting the flags are put back. Programs set a line in a burst of calls and some compare
/// what they read back; what is written in between would be seen, or overwrite the next call.
const SETTLE: Duration = Duration::from_micros(300);

#[derive(Debug)]
pub(crate) struct PtyLine {
    pub(crate) master: OwnedFd,
    slave: PathBuf,
    link: PathBuf,
    /// Settings of the line while nobody has it open.
    unused: Termios,
    /// Settings as last reported.
    seen: Option<LineSettings>,
    /// Word length and parity in place of those that a PTY hides, if they were said.
    format: Option<Format>,
    pub(crate) shim: Option<Box<Shim>>,
    /// When to put our flags back.
    pub(crate) settle_at: Option<Time>,
    /// Dropped last, when the name is gone.
    _lock: LockFile,
}

/// Who is at the far end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    None,
    Here,
    /// Has left already, and what it wrote or set is still to be read.
    Over,
}

/// How a port was unlocked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unlock {
    Same,
    /// The port is a new PTY under the old name.
    Renewed,
}

impl PtyLine {
    pub(crate) fn open(
        name: &str,
        format: Option<Format>,
        shim: bool,
        port: &str,
        runtime: &Runtime,
    ) -> Result<Self, PortError> {
        let link = if name.starts_with('/') { PathBuf::from(name) } else { runtime.dir().join(name) };
        let lock = LockFile::acquire(&lock_beside(&link), port).map_err(|held| match held.error {
            Some(source) => PortError::io(&port, "lock its name", source),
            None => PortError::Taken { port: port.to_owned(), holder: held.to_string() },
        })?;
        // We hold the lock: a link that is there was left by a dead process. Anything else is not ours.
        if let Ok(meta) = fs::symlink_metadata(&link) {
            let ours = meta.is_symlink() && fs::read_link(&link).is_ok_and(|to| to.starts_with("/dev/pts"));
            if !ours {
                return Err(PortError::InTheWay { port: port.to_owned(), path: link });
            }
        }
        let (master, slave, unused) = create().map_err(|e| PortError::io(&port, "make a virtual port", e))?;
        let shim = shim.then(|| Shim::open(runtime, &slave).map(Box::new)).transpose();
        let shim = shim.map_err(|e| PortError::io(&port, "make the page for the preload library", e))?;
        let line =
            Self { master, slave, link, unused, seen: None, format, shim, settle_at: None, _lock: lock };
        line.publish().map_err(|e| PortError::io(&port, "make its name", e))?;
        Ok(line)
    }

    /// The path others open.
    pub(crate) fn link(&self) -> &Path {
        &self.link
    }

    /// The path inotify watches.
    pub(crate) fn slave(&self) -> &Path {
        &self.slave
    }

    /// Points the name at the slave, whatever it pointed at before, in one step.
    fn publish(&self) -> io::Result<()> {
        let name = self.link.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.link.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let _ = fs::remove_file(&temporary);
        std::os::unix::fs::symlink(&self.slave, &temporary)?;
        fs::rename(&temporary, &self.link).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    pub(crate) fn visit(&self) -> Visit {
        let seen = super::poll_now(self.master.as_fd());
        if !seen.contains(PollFlags::HUP) {
            Visit::Here
        } else if seen.intersects(PollFlags::IN | PollFlags::PRI) {
            Visit::Over
        } else {
            Visit::None
        }
    }

    /// Whether parity and word length in its settings are a guess, which a device must not be set to.
    pub(crate) fn hides_format(&self) -> bool {
        self.format.is_none() && self.shim.is_none()
    }

    /// What an application with the preload library did. Asked until there is none, which answers it.
    pub(crate) fn aside(&mut self) -> Option<Signal> {
        loop {
            return Some(match self.shim.as_mut()?.news()? {
                News::Lines(lines) => Signal::Lines(lines),
                News::Break(on) => Signal::Break(on),
                // That of hilrig's own is not put back: the library keeps it.
                News::Settings => match tcgetattr(&self.master).ok().and_then(|t| self.note(&t)) {
                    Some(settings) => Signal::Settings(settings),
                    None => continue,
                },
            });
        }
    }

    /// A status byte has come: settings by an application without the preload library, which rings by the same bell.
    pub(crate) fn packet(&mut self, status: u8) -> Option<LineSettings> {
        if let Some(shim) = &self.shim {
            if status & PACKET_FLUSH_WRITE != 0 {
                shim.flushed();
            }
            if shim.rung() {
                return None;
            }
        }
        if status & PACKET_IOCTL != 0 { self.settings(Time::now()) } else { None }
    }

    /// Shows an application lines, a break or an error; without the preload library a PTY cannot.
    pub(crate) fn apply(&mut self, signal: &Signal) -> Option<Signal> {
        let shim = self.shim.as_mut()?;
        match signal {
            Signal::Lines(lines) => shim.show(*lines),
            Signal::Break(false) => {}
            Signal::Break(true) => {
                if shim.on_break(tcgetattr(&self.master).ok()?.input_modes) {
                    let _ = sys::interrupt(&self.master);
                }
            }
            Signal::Error(error) => shim.on_error(*error, tcgetattr(&self.master).ok()?.input_modes),
            Signal::Settings(_) | Signal::Purge(_) | Signal::Unplug(_) => return None,
        }
        Some(*signal)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        match &mut self.shim {
            Some(shim) => shim.write(&self.master, bytes),
            None => rustix::io::write(&self.master, bytes),
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        self.shim.as_mut().map_or(Ok(()), |shim| shim.flush(&self.master))
    }

    /// Reads what the application has set, if that is news.
    pub(crate) fn settings(&mut self, now: Time) -> Option<LineSettings> {
        let termios = tcgetattr(&self.master).ok()?;
        self.settle_at = Some(now + SETTLE);
        self.note(&termios)
    }

    fn note(&mut self, termios: &Termios) -> Option<LineSettings> {
        let baud = match termios.output_speed() {
            POISON_BAUD => 0,
            baud => baud,
        };
        let two = termios.control_modes.contains(ControlModes::CSTOPB);
        let stop_bits = if two { StopBits::Two } else { StopBits::One };
        let own = self.shim.as_ref().and_then(|shim| shim.format(termios.control_modes, stop_bits));
        let format = own.unwrap_or(Format { stop_bits, ..self.format.unwrap_or_default() });
        let flow = if termios.control_modes.contains(ControlModes::CRTSCTS) {
            Flow::RtsCts
        } else if termios.input_modes.intersects(InputModes::IXON | InputModes::IXOFF) {
            Flow::XonXoff
        } else {
            Flow::None
        };
        let seen = Some(LineSettings { baud, format, flow });
        if self.seen == seen || baud == 0 {
            return None;
        }
        self.seen = seen;
        seen
    }

    /// Some time after a setting: an application that wrote all its flags has cleared EXTPROC, without which
    /// later settings are not reported. Answers a setting that was missed meanwhile.
    pub(crate) fn settle(&mut self) -> Option<LineSettings> {
        self.settle_at = None;
        let mut termios = tcgetattr(&self.master).ok()?;
        let mut flags = termios.local_modes | LocalModes::EXTPROC;
        // Before it has set the speed an application is not done, and the speed does the flags' work.
        if termios.output_speed() != POISON_BAUD && !flags.intersects(LocalModes::ICANON | LocalModes::ECHO) {
            flags |= POISON_FLAGS;
        }
        if flags != termios.local_modes {
            termios.local_modes = flags;
            tcsetattr(&self.master, OptionalActions::Now, &termios).ok()?;
            // That is reported like any other setting. What the application set meanwhile is seen all the same.
            let _ = rustix::io::read(&self.master, &mut [0u8; 1]);
            termios = tcgetattr(&self.master).ok()?;
        }
        self.note(&termios)
    }

    /// The last user has left: throws away what it did not read and makes the line as new. Comes first of all
    /// that has to be done then, for the sake of whoever opens it next.
    pub(crate) fn reset(&mut self) -> io::Result<()> {
        self.seen = None;
        self.settle_at = None;
        if let Some(shim) = &mut self.shim {
            let kept = tcgetattr(&self.master).is_ok_and(|t| !t.control_modes.contains(ControlModes::HUPCL));
            shim.reset(kept);
        }
        prepare(&self.master, &self.unused)
    }

    /// A user that died may have left the port exclusive, which would lock it for ever. Opens the far end, so that
    /// inotify has to be muted.
    pub(crate) fn unlock(&mut self) -> io::Result<Unlock> {
        match ioctl_tiocgptpeer(&self.master, open_flags()) {
            Ok(slave) => {
                let _ = rustix::termios::ioctl_tiocnxcl(&slave);
                Ok(Unlock::Same)
            }
            // Exclusive, and we are not privileged to open it: nobody else can either. Start over with a new PTY.
            Err(Errno::BUSY) if self.visit() != Visit::Here => {
                (self.master, self.slave, self.unused) = create()?;
                if let Some(shim) = &mut self.shim {
                    shim.moved(&self.slave)?;
                }
                self.publish()?;
                Ok(Unlock::Renewed)
            }
            // Somebody was quick and has it; their exclusiveness is their own.
            Err(Errno::BUSY) => Ok(Unlock::Same),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for PtyLine {
    fn drop(&mut self) {
        if fs::read_link(&self.link).is_ok_and(|to| to == self.slave) {
            let _ = fs::remove_file(&self.link);
        }
    }
}

fn open_flags() -> OpenptFlags {
    OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC
}

/// A PTY in packet mode, nobody at its far end: the master, the path of the slave, and the settings it begins with.
fn create() -> io::Result<(OwnedFd, PathBuf, Termios)> {
    let master = openpt(open_flags())?;
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = PathBuf::from(std::ffi::OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes()));
    sys::packet_mode(&master)?;
    // The master hangs up only after a slave was open once.
    drop(ioctl_tiocgptpeer(&master, open_flags())?);
    let mut unused = tcgetattr(&master)?;
    unused.make_raw();
    unused.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL | ControlModes::HUPCL;
    unused.local_modes = LocalModes::EXTPROC | POISON_FLAGS;
    unused.set_speed(POISON_BAUD)?;
    prepare(&master, &unused)?;
    Ok((master, slave, unused))
}

/// Sets the line and throws away what an earlier user did not read (on a master these calls act on the slave).
fn prepare(master: &OwnedFd, unused: &Termios) -> io::Result<()> {
    tcsetattr(master, OptionalActions::Flush, unused)?;
    tcflush(master, QueueSelector::OFlush)?;
    // Our own setting is reported like any other; nobody else's can be, and data comes after it.
    let _ = rustix::io::read(master, &mut [0u8; 1]);
    Ok(())
}
