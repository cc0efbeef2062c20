//! Finds breaks and characters in error among what a serial port gives, and tells them apart by the driver's counters
//! where it counts. Delivers every byte that is one.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::parmrk::{Found, Parmrk};
use super::{Decode, Piece};
use crate::sys::{self, LineCounts};
use crate::{CharError, Signal};

#[derive(Debug)]
pub(crate) struct Marks {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) parmrk: Parmrk,
    /// Whether the line checks parity.
    pub(crate) parity: bool,
    /// As last asked; `None` if the driver does not count.
    pub(crate) counts: Option<LineCounts>,
    /// Breaks, framing and parity errors that were counted and whose marks have not come yet.
    pub(crate) due: [u32; 3],
    pub(crate) next: Option<Signal>,
}

impl Decode for Marks {
    fn next(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Piece {
        if let Some(signal) = self.next.take() {
            return Piece::Signal(signal);
        }
        match self.parmrk.next(buffer, raw) {
            Found::Bytes(range) => Piece::Bytes(range),
            Found::End => Piece::End,
            Found::Mark(byte) => match self.meaning(byte) {
                None => {
                    // The tty tells that a break was there, not how long.
                    self.next = Some(Signal::Break(false));
                    Piece::Signal(Signal::Break(true))
                }
                Some(error) => {
                    self.parmrk.deliver(raw);
                    Piece::Signal(Signal::Error(error))
                }
            },
        }
    }
}

impl Marks {
    /// Which error this is; `None` for a break.
    fn meaning(&mut self, byte: u8) -> Option<CharError> {
        const KINDS: [Option<CharError>; 3] = [None, Some(CharError::Framing), Some(CharError::Parity)];
        // Only a NUL may be a break.
        let first = usize::from(byte != 0);
        if self.due[first..].iter().all(|&n| n == 0) {
            self.count();
        }
        match (first..3).find(|&kind| self.due[kind] > 0) {
            Some(kind) => {
                self.due[kind] -= 1;
                KINDS[kind]
            }
            None if byte == 0 => None,
            None if self.parity => Some(CharError::Parity),
            None => Some(CharError::Framing),
        }
    }

    fn count(&mut self) {
        let (Some(before), Ok(now)) = (self.counts, sys::line_counts(&self.fd)) else { return };
        self.counts = Some(now);
        let more = [
            now.breaks.wrapping_sub(before.breaks),
            now.framing.wrapping_sub(before.framing),
            now.parity.wrapping_sub(before.parity),
        ];
        for (due, more) in self.due.iter_mut().zip(more) {
            *due = due.saturating_add(u32::try_from(more).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(parity: bool) -> Marks {
        let (fd, _) = rustix::pipe::pipe().unwrap();
        Marks { fd: Arc::new(fd), parmrk: Parmrk::default(), parity, counts: None, due: [0; 3], next: None }
    }

    fn pieces(marks: &mut Marks, bytes: &[u8]) -> Vec<Result<Vec<u8>, Signal>> {
        let mut buffer = vec![0];
        buffer.extend(bytes);
        let mut raw = 1..buffer.len();
        let mut all = Vec::new();
        loop {
            match marks.next(&mut buffer, &mut raw) {
                Piece::Bytes(range) => all.push(Ok(buffer[range].to_vec())),
                Piece::Signal(signal) => all.push(Err(signal)),
                Piece::End => return all,
            }
        }
    }

    #[test]
    fn without_counters_a_marked_nul_is_a_break_and_the_rest_goes_by_the_parity() {
        use Signal::*;
        let line = [1, 0xFF, 0, 0, 2, 0xFF, 0, 3];
        for (parity, error) in [(false, CharError::Framing), (true, CharError::Parity)] {
            assert_eq!(
                pieces(&mut marks(parity), &line),
                [
                    Ok(vec![1]),
                    Err(Break(true)),
                    Err(Break(false)),
                    Ok(vec![2]),
                    Err(Error(error)),
                    Ok(vec![3])
                ]
            );
        }
    }

    #[test]
    fn with_counters_each_mark_is_what_was_counted() {
        let mut marks = marks(true);
        marks.due = [1, 1, 1];
        assert_eq!(marks.meaning(9), Some(CharError::Framing));
        assert_eq!(marks.meaning(9), Some(CharError::Parity));
        marks.due = [1, 0, 1];
        assert_eq!(marks.meaning(0), None);
        assert_eq!(marks.meaning(0), Some(CharError::Parity), "a NUL with a parity error is no break");
    }
}
