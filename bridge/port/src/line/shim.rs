//! The host's end of a preload shim: the page a virtual port shares with the program that has it open. Never waits.

use std::os::fd::BorrowedFd;

use crate::Signal;

#[derive(Debug)]
pub(crate) struct Shim {}

impl Shim {
    /// Readable when `aside` has something.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What the application did since: lines it drives, break, settings with parity and word length, purge.
    pub(crate) fn aside(&mut self) -> Option<Signal> {
        None
    }

    /// Shows the application lines, a break or an error.
    pub(crate) fn apply(&mut self, _signal: &Signal) -> Option<Signal> {
        None
    }

    pub(crate) fn answer(&mut self, _signal: &Signal) {}

    /// The last user has left: the next one finds a fresh line.
    pub(crate) fn reset(&mut self) {}
}
