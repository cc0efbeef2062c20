//! A loopback plug: a line whose output is its input and whose DTR and RTS come back as DSR, DCD and CTS. Never waits.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{Lines, Purge, Signal};

/// Signals that wait to be heard; more than this many breaks at a time are lost.
const WAITING: usize = 8;

#[derive(Debug)]
pub(crate) struct LoopLine {
    /// Both ends of a pipe in one.
    pub(crate) pipe: OwnedFd,
    /// Readable while signals wait.
    pub(crate) bell: OwnedFd,
    waiting: [Option<Signal>; WAITING],
    lines: Lines,
}

impl LoopLine {
    pub(crate) fn open() -> io::Result<Self> {
        let (read, _write) = pipe_with(PipeFlags::CLOEXEC)?;
        let path = format!("/proc/self/fd/{}", read.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let pipe = rustix::fs::open(path, flags, Mode::empty())?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { pipe, bell, waiting: [None; WAITING], lines: Lines::NONE })
    }

    pub(crate) fn apply(&mut self, signal: &Signal) -> Option<Signal> {
        match *signal {
            Signal::Lines(lines) => {
                let lines = lines & (Lines::DTR | Lines::RTS);
                if lines != self.lines {
                    self.lines = lines;
                    self.tell(Signal::Lines(lines.through_null_modem()));
                }
                Some(Signal::Lines(lines | lines.through_null_modem()))
            }
            Signal::Break(_) => {
                self.tell(*signal);
                Some(*signal)
            }
            Signal::Purge(purge) => {
                if purge != Purge::Output {
                    while matches!(rustix::io::read(&self.pipe, &mut [0; 512]), Ok(n) if n > 0) {}
                }
                Some(*signal)
            }
            Signal::Settings(_) => Some(*signal),
            Signal::Error(_) | Signal::Unplug(_) => None,
        }
    }

    fn tell(&mut self, signal: Signal) {
        if let Some(place) = self.waiting.iter_mut().find(|place| place.is_none()) {
            *place = Some(signal);
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// The next signal that has come back.
    pub(crate) fn aside(&mut self) -> Option<Signal> {
        let first = self.waiting[0].take();
        self.waiting.rotate_left(1);
        if first.is_none() {
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        }
        first
    }

    pub(crate) fn driven(&self) -> Lines {
        self.lines
    }
}
