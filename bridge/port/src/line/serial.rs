//! A real serial port, and any path that behaves like one: opened, set, and its lines, breaks and errors seen and
//! made. Touches DTR and RTS only when asked to, and never waits for output to drain except briefly at the end.
//!
//! What the kernel does by itself: it raises DTR and RTS when a port that nobody has open is opened, and no program
//! can keep it from that. They are up already, so that nothing pulses, if the last user left them so (HUPCL off, as
//! hilrig does). Asked for other levels, hilrig sets both in one step right after the opening.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, major, minor};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, QueueSelector, ioctl_tiocexcl, ioctl_tiocnxcl, tcflush,
    tcgetattr, tcsetattr,
};

use super::Decode;
use super::echo::Echo;
use super::marks::Marks;
use super::modem::{self, ModemWatch};
use super::parmrk::Parmrk;
use super::serial_refusal::{check_owner, check_path, open_error, unsupported};
use super::termios::{Wanted, actual_baud, check_format};
use crate::serial_options::{Parity, SerialOptions};
use crate::sys::{self, LineCounts};
use crate::{CharError, LineSettings, Lines, PortError, Purge, Signal, Time};

/// How long giving up a port may wait for its last bytes to leave.
const LINGER: Duration = Duration::from_millis(500);

/// A break that ends sooner than this was only seen, not measured, as a tty tells breaks. Passed on it lasts for two
/// characters, at least `SHORT_BREAK`.
const UNMEASURED: Duration = Duration::from_micros(200);
const SHORT_BREAK: Duration = Duration::from_millis(20);

/// How far the actual baud rate may be off, in percent, before that is worth a word.
const TOLERANCE: u64 = 2;

#[derive(Debug)]
pub(crate) struct SerialLine {
    pub(crate) fd: Arc<OwnedFd>,
    settings: LineSettings,
    is_pty: bool,
    modem: Option<ModemWatch>,
    /// As last said, or to be said next.
    lines: Lines,
    unsaid: Option<Lines>,
    counts: LineCounts,
    marks: Option<Marks>,
    /// A break that was said to have begun is over.
    break_seen: bool,
    overruns_unsaid: u32,
    /// What was sent comes back.
    pub(crate) echo: Option<Box<Echo>>,
    /// Of the break that we send.
    break_began: Option<Time>,
    break_ends: Option<Time>,
}

impl SerialLine {
    /// Opens the port; what was asked for beyond the plain line and refused comes back as warnings.
    pub(crate) fn open(
        path: &Path,
        options: &SerialOptions,
        port: &str,
    ) -> Result<(Self, Vec<String>), PortError> {
        check_path(path, port)?;
        check_format(options.format).map_err(|reason| unsupported(port, reason))?;
        let refused = |e| open_error(e, path, port);
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(refused)?;
        let node = fstat(&fd).map_or(0, |s| s.st_rdev);
        let is_pty = (136..=143).contains(&major(node));
        if is_pty {
            check_owner(path, minor(node), port)?;
        }

        let mut warnings = Vec::new();
        // First of all, for the lines may be wrong since the opening.
        let (mut mask, mut values, mut words) = (Lines::NONE, Lines::NONE, Vec::new());
        for (line, on) in [(Lines::DTR, options.dtr), (Lines::RTS, options.rts)] {
            if let Some(on) = on {
                (mask, values) = (mask | line, values.with(line, on));
                words.push(format!("{} {line}", if on { "raise" } else { "lower" }));
            }
        }
        if !words.is_empty() {
            let done = modem::set_lines(&fd, mask, values).map(drop);
            best_effort(done, &words.join(" and "), &mut warnings);
        }
        if let Err(e) = lock(&fd, options.exclusive) {
            // Closed first, so as not to be named among those who have it open.
            drop(fd);
            return Err(refused(e));
        }

        let settings = LineSettings { baud: options.baud, format: options.format, flow: options.flow };
        let wanted = Wanted { settings, hupcl: options.hupcl, marks: !is_pty };
        let termios = wanted.set(&fd, is_pty).map_err(refused)?;
        let got = wanted.check(&termios, is_pty).map_err(|reason| unsupported(port, reason))?;
        let baud = actual_baud(&fd, got);
        if u64::from(baud.abs_diff(options.baud)) * 100 > u64::from(options.baud) * TOLERANCE {
            warnings.push(format!(
                "the port cannot do {} baud and runs at {baud}; characters may be garbled",
                options.baud
            ));
        }
        if options.low_latency {
            best_effort(sys::low_latency(&fd), "switch to low latency", &mut warnings);
        }
        if options.rs485 {
            let done = sys::rs485(&fd, options.rs485_rts, options.rs485_before, options.rs485_after);
            best_effort(done, "switch the driver to RS-485", &mut warnings);
        }

        let fd = Arc::new(fd);
        let counts = sys::line_counts(&fd).ok();
        let marked = termios.input_modes.contains(InputModes::PARMRK | InputModes::INPCK);
        let marks = marked.then(|| Marks {
            fd: fd.clone(),
            parmrk: Parmrk::default(),
            parity: options.format.parity != Parity::None,
            counts,
            due: [0; 3],
            next: None,
        });
        // A virtual port has no lines, and there are drivers that are no better.
        let (modem, now) = ModemWatch::start(fd.clone()).ok().unzip();
        let lines = now.map_or(Lines::NONE, |now| now.lines);
        let line = Self {
            settings: LineSettings { baud, ..settings },
            is_pty,
            unsaid: modem.as_ref().map(|_| lines),
            modem,
            lines,
            counts: now.map_or(LineCounts::default(), |now| now.counts),
            marks,
            break_seen: false,
            overruns_unsaid: 0,
            echo: options.echo.then(|| Echo::new(baud, options.format)),
            break_began: None,
            break_ends: None,
            fd,
        };
        Ok((line, warnings))
    }

    /// As the line is set, with the baud rate it really has.
    pub(crate) fn settings(&self) -> LineSettings {
        self.settings
    }

    /// Readable when the watcher of the modem lines has something.
    pub(crate) fn aside_fd(&self) -> Option<BorrowedFd<'_>> {
        self.modem.as_ref().map(ModemWatch::bell)
    }

    /// All lines as they are after a change; overruns; and breaks, where the stream does not tell of them.
    pub(crate) fn aside(&mut self) -> Option<Signal> {
        if self.break_seen {
            self.break_seen = false;
            return Some(Signal::Break(false));
        }
        if let Some(lines) = self.unsaid.take() {
            return Some(Signal::Lines(lines));
        }
        let modem = self.modem.as_mut()?;
        while let Some(news) = modem.take() {
            let before = std::mem::replace(&mut self.counts, news.counts);
            if news.lines != self.lines {
                self.lines = news.lines;
                self.unsaid = Some(news.lines);
            }
            if self.marks.is_none() && news.counts.breaks != before.breaks {
                self.break_seen = true;
                return Some(Signal::Break(true));
            }
            let lost = |c: &LineCounts| c.overrun.wrapping_add(c.buffer_overrun);
            let more = lost(&news.counts).wrapping_sub(lost(&before));
            if more > 0 {
                self.overruns_unsaid = more.unsigned_abs() - 1;
                return Some(Signal::Error(CharError::Overrun));
            }
            if let Some(lines) = self.unsaid.take() {
                return Some(Signal::Lines(lines));
            }
        }
        None
    }

    /// How many more overruns the last one that was said stands for.
    pub(crate) fn more_overruns(&mut self) -> u32 {
        std::mem::take(&mut self.overruns_unsaid)
    }

    /// Finds marked characters among the bytes.
    pub(crate) fn decoder(&mut self) -> Option<&mut dyn Decode> {
        self.marks.as_mut().map(|marks| marks as &mut dyn Decode)
    }

    /// Does what the signal says, as far as the driver can, and answers what has become of it.
    pub(crate) fn apply(&mut self, signal: &Signal) -> Option<Signal> {
        match *signal {
            Signal::Lines(lines) => {
                self.modem.as_ref()?;
                self.lines = modem::set_lines(&self.fd, Lines::DTR | Lines::RTS, lines).ok()?;
                Some(Signal::Lines(self.lines))
            }
            Signal::Break(true) => {
                sys::set_break(&self.fd, true).ok()?;
                self.break_ends = None;
                self.break_began = Some(Time::now());
                Some(*signal)
            }
            Signal::Break(false) => {
                let began = self.break_began?;
                if Time::now().since(began) < UNMEASURED {
                    let two = u64::from(self.settings.format.half_bits()) * 1_000_000_000;
                    let two = Duration::from_nanos(two / u64::from(self.settings.baud.max(1)));
                    self.break_ends = Some(began + two.max(SHORT_BREAK));
                } else {
                    self.end_break();
                }
                Some(*signal)
            }
            Signal::Settings(asked) => self.change(asked).map(Signal::Settings),
            Signal::Purge(purge) => {
                let queue = match purge {
                    Purge::Input => QueueSelector::IFlush,
                    Purge::Output => QueueSelector::OFlush,
                    Purge::Both => QueueSelector::IOFlush,
                };
                tcflush(&self.fd, queue).ok().map(|()| *signal)
            }
            Signal::Error(_) | Signal::Unplug(_) => None,
        }
    }

    /// DTR and RTS as they are now.
    pub(crate) fn driven(&self) -> Option<Lines> {
        self.modem.as_ref()?;
        Some(modem::lines(&self.fd).ok()? & (Lines::DTR | Lines::RTS))
    }

    /// When a break that is to end already has lasted long enough.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.break_ends
    }

    pub(crate) fn on_deadline(&mut self, now: Time) {
        if self.break_ends.is_some_and(|at| at <= now) {
            self.end_break();
        }
    }

    fn end_break(&mut self) {
        (self.break_began, self.break_ends) = (None, None);
        let _ = sys::set_break(&self.fd, false);
    }

    /// Sets the line anew and answers what it is set to. What a driver refuses leaves it as it was.
    fn change(&mut self, asked: LineSettings) -> Option<LineSettings> {
        // A baud rate of 0 is not known, and would hang up.
        let baud = if asked.baud == 0 { self.settings.baud } else { asked.baud };
        let settings = LineSettings { baud, ..asked };
        if settings != self.settings && check_format(settings.format).is_ok() {
            let before = tcgetattr(&self.fd).ok()?;
            let wanted = Wanted {
                settings,
                hupcl: before.control_modes.contains(ControlModes::HUPCL),
                marks: self.marks.is_some(),
            };
            match wanted.set(&self.fd, self.is_pty).map(|now| wanted.check(&now, self.is_pty)) {
                Ok(Ok(baud)) => {
                    self.settings = LineSettings { baud: actual_baud(&self.fd, baud), ..settings };
                    if let Some(marks) = &mut self.marks {
                        marks.parity = settings.format.parity != Parity::None;
                    }
                }
                _ => tcsetattr(&self.fd, OptionalActions::Now, &before).ok()?,
            }
        }
        Some(self.settings)
    }
}

impl Drop for SerialLine {
    fn drop(&mut self) {
        if self.break_began.is_some() {
            let _ = sys::set_break(&self.fd, false);
        }
        // Its thread holds the descriptor, too.
        self.modem = None;
        // A close waits until output has drained, on a stopped line for up to 30 s; bound that.
        let until = Instant::now() + LINGER;
        while sys::unsent(&self.fd).is_ok_and(|n| n > 0) {
            if Instant::now() >= until {
                let _ = tcflush(&self.fd, QueueSelector::OFlush);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = ioctl_tiocnxcl(&self.fd);
        let _ = flock(&self.fd, FlockOperation::Unlock);
    }
}

/// Keeps others out: by the lock that other programs respect, and by the kernel's own, which root passes by.
fn lock(tty: impl AsFd, exclusive: bool) -> Result<(), Errno> {
    let tty = tty.as_fd();
    let how = if exclusive {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    flock(tty, how)?;
    if exclusive { ioctl_tiocexcl(tty) } else { Ok(()) }
}

fn best_effort(done: io::Result<()>, what: &str, warnings: &mut Vec<String>) {
    if let Err(e) = done {
        warnings.push(format!("the port cannot {what}: {e}; going on without"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flow;
    use rustix::event::{PollFd, PollFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::os::unix::ffi::OsStrExt;

    fn pty() -> (OwnedFd, std::path::PathBuf) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        (master, std::ffi::OsStr::from_bytes(name.as_bytes()).into())
    }

    #[test]
    fn a_line_is_set_anew_and_keeps_what_it_cannot_have() {
        let (_master, path) = pty();
        let options = SerialOptions { baud: 12_345, ..SerialOptions::default() };
        let (mut line, warnings) = SerialLine::open(&path, &options, "the port").unwrap();
        assert_eq!((line.settings().baud, warnings.len()), (12_345, 0));
        let settings = LineSettings { baud: 250_000, flow: Flow::RtsCts, ..line.settings() };
        assert_eq!(line.apply(&Signal::Settings(settings)), Some(Signal::Settings(settings)));
        let termios = tcgetattr(&line.fd).unwrap();
        assert_eq!(termios.output_speed(), 250_000);
        assert!(termios.control_modes.contains(ControlModes::CRTSCTS));
        // A rate that is not known stays; a format that no port has is refused.
        let unknown = LineSettings { baud: 0, ..settings };
        assert_eq!(line.apply(&Signal::Settings(unknown)), Some(Signal::Settings(settings)));
        let wrong = LineSettings { format: "8N1.5".parse().unwrap(), ..settings };
        assert_eq!(line.apply(&Signal::Settings(wrong)), Some(Signal::Settings(settings)));
    }

    #[test]
    fn a_port_without_lines_goes_on_without() {
        let (master, path) = pty();
        let (mut line, _) = SerialLine::open(&path, &SerialOptions::default(), "the port").unwrap();
        assert!(line.aside_fd().is_none() && line.aside().is_none() && line.driven().is_none());
        assert!(line.decoder().is_none(), "no marks where no error can come");
        assert_eq!(line.apply(&Signal::Lines(Lines::DTR)), None);
        assert_eq!(line.apply(&Signal::Break(false)), None, "none has begun");
        // The kernel takes breaks of a virtual port and does nothing; one that ends at once lasts all the same.
        let ends = loop {
            assert!(line.apply(&Signal::Break(true)).is_some());
            assert!(line.apply(&Signal::Break(false)).is_some());
            // Unless we were held up in between.
            if let Some(ends) = line.deadline() {
                break ends;
            }
        };
        line.on_deadline(Time(ends.0 - 1));
        assert!(line.deadline().is_some());
        line.on_deadline(ends);
        assert!(line.deadline().is_none());
        rustix::io::write(&master, b"old").unwrap();
        // A flush does not reach what is still on its way.
        rustix::event::poll(&mut [PollFd::new(&line.fd, PollFlags::IN)], None).unwrap();
        assert_eq!(line.apply(&Signal::Purge(Purge::Input)), Some(Signal::Purge(Purge::Input)));
        assert!(rustix::io::read(&line.fd, &mut [0u8; 8]).is_err(), "what had come is gone");
    }
}
