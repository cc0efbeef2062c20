//! hilrig's end of the preload library: the page that a virtual port shares with the programs that have it open, and
//! how errors look among the bytes they read. Never waits; what a signal means for the other port is the link's.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::termios::{ControlModes, InputModes};
use rustix::thread::futex;

use crate::sys::SharedPage;
use crate::{CharError, Format, Lines, Parity, Runtime, StopBits};

use page::{FOLDER, count, held, tiocm};

#[allow(dead_code)]
#[path = "../../../shim/src/page.rs"]
pub(crate) mod page;

/// Signals taken at one ring; a program that changes its lines without end must not hold up the shard.
const ROUND: u8 = 16;

/// What the application did, as the page tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Settings,
    Lines(Lines),
    Break(bool),
}

/// How a character that came in error is given to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Plain,
    Null,
    Marked,
    Dropped,
}

#[derive(Debug)]
pub(crate) struct Shim {
    page: SharedPage,
    /// Locked as long as the port lives: a page without a lock means nothing.
    _file: File,
    path: PathBuf,
    /// Somebody has the port open.
    present: bool,
    /// The ring that is being answered, and signals left for it.
    round: Option<(u32, u8)>,
    /// What has been told already.
    outputs: Option<u32>,
    settings: u32,
    breaks: u32,
    /// The last user wanted its lines kept (-hupcl).
    pub(crate) keeps_lines: bool,
    /// The application has set the line since it came.
    is_set: bool,
    next_byte: Option<Mark>,
    /// Marks that the PTY did not take.
    owed: [u8; 16],
    owing: usize,
}

fn wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

fn bump(word: &AtomicU32) {
    word.fetch_add(1, Ordering::AcqRel);
    wake(word);
}

/// The page of a slave is named by its number.
fn place(folder: &Path, slave: &Path) -> PathBuf {
    folder.join(slave.file_name().unwrap_or_default())
}

impl Shim {
    pub(crate) fn open(runtime: &Runtime, slave: &Path) -> io::Result<Self> {
        let folder = runtime.dir().join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = place(&folder, slave);
        // Left by a hilrig that was killed, since the terminal of that number is ours. Never written over: programs
        // may have it mapped.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.set_len(page::SIZE as u64)?;
        let shim = Self {
            page: SharedPage::map(&file)?,
            _file: file,
            path,
            present: false,
            round: None,
            outputs: None,
            settings: 0,
            breaks: 0,
            keeps_lines: false,
            is_set: false,
            next_byte: None,
            owed: [0; 16],
            owing: 0,
        };
        shim.renew();
        shim.page.magic.store(page::MAGIC, Ordering::Release);
        Ok(shim)
    }

    /// The port is another PTY now.
    pub(crate) fn moved(&mut self, slave: &Path) -> io::Result<()> {
        let path = place(self.path.parent().unwrap_or(Path::new("/")), slave);
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// What the application did, one thing at a time; `None` answers its ring.
    pub(crate) fn news(&mut self) -> Option<News> {
        let page = &*self.page;
        page.served.store(1, Ordering::Release);
        let asked = || (page.asked.load(Ordering::Acquire), ROUND);
        let (asked, left) = *self.round.get_or_insert_with(asked);
        let news = if left > 0 { self.one() } else { None };
        self.round = news.map(|_| (asked, left - 1));
        let page = &*self.page;
        if news.is_none() && page.answered.swap(asked, Ordering::AcqRel) != asked {
            wake(&page.answered);
        }
        news
    }

    fn one(&mut self) -> Option<News> {
        let page = &*self.page;
        if self.present {
            let settings = page.settings.load(Ordering::Acquire);
            if self.settings != settings {
                (self.settings, self.is_set) = (settings, true);
                return Some(News::Settings);
            }
            let outputs = page.outputs.load(Ordering::Acquire) & (tiocm::DTR | tiocm::RTS);
            if self.outputs != Some(outputs) {
                self.outputs = Some(outputs);
                let lines = Lines::NONE
                    .with(Lines::DTR, outputs & tiocm::DTR != 0)
                    .with(Lines::RTS, outputs & tiocm::RTS != 0);
                return Some(News::Lines(lines));
            }
        }
        let edges = page.breaks.load(Ordering::Acquire).wrapping_sub(self.breaks);
        if edges == 0 {
            return None;
        }
        // Of many breaks that were not seen in time the last one is told.
        let skipped = if edges.is_multiple_of(2) { edges - 2 } else { edges - 1 };
        self.breaks = self.breaks.wrapping_add(skipped).wrapping_add(1);
        Some(News::Break(self.breaks % 2 == 1))
    }

    /// Whether the application has rung, and not only set the line by other means.
    pub(crate) fn rung(&self) -> bool {
        self.page.asked.load(Ordering::Acquire) != self.page.answered.load(Ordering::Acquire)
    }

    /// Word length and parity as the application set them; the rest of the format is in what the kernel has.
    pub(crate) fn format(&self, modes: ControlModes, stop_bits: StopBits) -> Option<Format> {
        if !self.is_set {
            return None;
        }
        let held = self.page.held.load(Ordering::Acquire);
        let data_bits = 5 + ((held & held::CSIZE) >> held::CSIZE.trailing_zeros()) as u8;
        let parity = match (modes.contains(ControlModes::CMSPAR), modes.contains(ControlModes::PARODD)) {
            _ if held & held::PARENB == 0 => Parity::None,
            (false, false) => Parity::Even,
            (false, true) => Parity::Odd,
            (true, true) => Parity::Mark,
            (true, false) => Parity::Space,
        };
        let stop_bits = match stop_bits {
            StopBits::Two if data_bits == 5 => StopBits::OneAndHalf,
            other => other,
        };
        Some(Format { data_bits, parity, stop_bits })
    }

    /// hilrig has read so much of what applications wrote.
    pub(crate) fn took(&self, n: usize) {
        let page = &*self.page;
        page.read.fetch_add(n as u64, Ordering::AcqRel);
        if page.waiting.load(Ordering::Acquire) != 0 {
            bump(&page.progress);
        }
    }

    /// What was written and not read is thrown away.
    pub(crate) fn flushed(&self) {
        let page = &*self.page;
        page.read.store(page.written.load(Ordering::Acquire), Ordering::Release);
        bump(&page.progress);
    }

    /// Shows the application its input lines.
    pub(crate) fn show(&self, lines: Lines) {
        const LINES: [(Lines, u32, usize); 4] = [
            (Lines::CTS, tiocm::CTS, count::CTS),
            (Lines::DSR, tiocm::DSR, count::DSR),
            (Lines::RI, tiocm::RNG, count::RNG),
            (Lines::DCD, tiocm::CAR, count::DCD),
        ];
        let bits = LINES.iter().filter(|l| lines.has(l.0)).fold(0, |bits, l| bits | l.1);
        let page = &*self.page;
        let before = page.inputs.load(Ordering::Acquire);
        if before == bits {
            return;
        }
        page.inputs.store(bits, Ordering::Release);
        for (_, bit, n) in LINES {
            // A UART counts the end of a ring only.
            let counts = (before ^ bits) & bit != 0 && (bit != tiocm::RNG || bits & bit == 0);
            page.counts[n].fetch_add(counts.into(), Ordering::AcqRel);
        }
        bump(&page.changes);
    }

    /// A break has come. `true`: the application wants to be interrupted.
    pub(crate) fn on_break(&mut self, modes: InputModes) -> bool {
        self.page.counts[count::BREAK].fetch_add(1, Ordering::AcqRel);
        if !self.present || modes.contains(InputModes::IGNBRK) {
            return false;
        }
        if modes.contains(InputModes::BRKINT) {
            return true;
        }
        self.owe(if self.marks(modes) { &[0xff, 0, 0] } else { &[0] });
        false
    }

    /// The next character came in error.
    pub(crate) fn on_error(&mut self, error: CharError, modes: InputModes) {
        let count = match error {
            CharError::Framing => count::FRAME,
            CharError::Parity => count::PARITY,
            CharError::Overrun => count::OVERRUN,
        };
        self.page.counts[count].fetch_add(1, Ordering::AcqRel);
        if error == CharError::Overrun {
            return;
        }
        self.next_byte = Some(if !modes.contains(InputModes::INPCK) {
            Mark::Plain
        } else if modes.contains(InputModes::IGNPAR) {
            Mark::Dropped
        } else if self.marks(modes) {
            Mark::Marked
        } else {
            Mark::Null
        });
    }

    fn marks(&self, modes: InputModes) -> bool {
        self.page.held.load(Ordering::Acquire) & held::PARMRK != 0 || modes.contains(InputModes::PARMRK)
    }

    fn owe(&mut self, bytes: &[u8]) {
        // A program that does not read what was marked has lost count anyway.
        if let Some(room) = self.owed[self.owing..].get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.owing += bytes.len();
        }
    }

    pub(crate) fn unsent(&self) -> bool {
        self.owing > 0
    }

    /// Writes the marks that are owed.
    pub(crate) fn flush(&mut self, master: &OwnedFd) -> Result<(), Errno> {
        while self.owing > 0 {
            match write(master, &self.owed[..self.owing])? {
                0 => break,
                n => {
                    self.owed.copy_within(n..self.owing, 0);
                    self.owing -= n;
                }
            }
        }
        Ok(())
    }

    /// Writes to the application, with marks. Answers how many of `bytes` were taken.
    pub(crate) fn write(&mut self, master: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
        self.flush(master)?;
        let mut done = 0;
        if let (false, Some(&byte), Some(mark)) = (self.unsent(), bytes.first(), self.next_byte) {
            self.next_byte = None;
            match mark {
                Mark::Plain => self.owe(&[byte]),
                Mark::Null => self.owe(&[0]),
                Mark::Marked => self.owe(&[0xff, 0, byte]),
                Mark::Dropped => {}
            }
            done = 1;
            self.flush(master)?;
        }
        // With marks a real 0xff is doubled.
        let marked = self.page.held.load(Ordering::Acquire) & held::PARMRK != 0;
        while done < bytes.len() && !self.unsent() {
            let rest = &bytes[done..];
            let double = if marked { rest.iter().position(|&b| b == 0xff) } else { None };
            let part = &rest[..double.map_or(rest.len(), |at| at + 1)];
            let n = match write(master, part) {
                Err(_) if done > 0 => break,
                other => other?,
            };
            done += n;
            if n < part.len() {
                break;
            }
            if double.is_some() {
                self.owe(&[0xff]);
                self.flush(master)?;
            }
        }
        self.page.counts[count::RX].fetch_add(done as u32, Ordering::Relaxed);
        Ok(done)
    }

    /// Somebody has opened the port.
    pub(crate) fn arrived(&mut self) {
        self.present = true;
        self.outputs = None;
        self.page.served.store(1, Ordering::Release);
    }

    /// The last user has left: the next one finds a fresh line. A break does not outlast it.
    pub(crate) fn reset(&mut self, keeps_lines: bool) {
        (self.present, self.keeps_lines) = (false, keeps_lines);
        self.round = None;
        (self.is_set, self.next_byte, self.owing) = (false, None, 0);
        self.settings = self.page.settings.load(Ordering::Acquire);
        self.renew();
    }

    fn renew(&self) {
        let page = &*self.page;
        let breaks = page.breaks.load(Ordering::Acquire);
        page.breaks.store(breaks.wrapping_add(breaks % 2), Ordering::Release);
        page.held.store(held::NEW, Ordering::Release);
        // DTR and RTS rise at once when a port is opened.
        page.outputs.store(tiocm::DTR | tiocm::RTS, Ordering::Release);
        page.character.store(0, Ordering::Release);
        page.sent_at.store(0, Ordering::Release);
        page.written.store(0, Ordering::Release);
        page.read.store(0, Ordering::Release);
        page.waiting.store(0, Ordering::Release);
        page.serial.iter().chain(&page.rs485).for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// The port is ready for the next user: a close may return.
    pub(crate) fn vacant(&self) {
        bump(&self.page.left);
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let page = &*self.page;
        page.closed.store(1, Ordering::Release);
        [&page.answered, &page.changes, &page.left, &page.progress].into_iter().for_each(bump);
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the pages that dead processes left.
pub(crate) fn sweep(runtime: &Path) {
    let Ok(entries) = fs::read_dir(runtime.join(FOLDER)) else { return };
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        let file = OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(&path);
        if file.is_ok_and(|f| flock(&f, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn write(master: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::io::write(master, bytes) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}

#[cfg(test)]
#[path = "shim_tests.rs"]
mod tests;
