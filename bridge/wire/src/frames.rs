//! Where a frame begins and ends: by silence, with an allowance for a busy machine, or by a terminator. Keeps no
//! bytes.

use std::time::Duration;

use hilrig_port::{Direction, Time};

use crate::trigger::Matcher;

/// A frame whose terminator does not come ends after this time, so that nothing is held back for ever.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_nanos(1);

#[derive(Debug)]
pub(crate) struct Frames {
    silence: Duration,
    allowance: Duration,
    terminator: Option<Matcher>,
    sides: [Side; 2],
}

#[derive(Debug, Default)]
struct Side {
    last: Option<Time>,
    open: bool,
    /// The first moment at which the open frame is over, if nothing comes before.
    over: Time,
    matched: u64,
}

impl Frames {
    pub fn new(silence: Duration, allowance: Duration, terminator: &[u8]) -> Self {
        let pattern: Vec<Option<u8>> = terminator.iter().map(|b| Some(*b)).collect();
        Self {
            silence,
            allowance,
            terminator: (!pattern.is_empty()).then(|| Matcher::new(&pattern)),
            sides: Default::default(),
        }
    }

    pub fn by_terminator(&self) -> bool {
        self.terminator.is_some()
    }

    /// When the open frame of this direction ends if nothing more comes.
    pub fn over_at(&self, direction: Direction) -> Option<Time> {
        let side = &self.sides[direction.index()];
        side.open.then_some(side.over)
    }

    /// Ends the open frame if its time has come; answers when that was.
    pub fn tick(&mut self, now: Time, direction: Direction) -> Option<Time> {
        let over = self.over_at(direction).filter(|over| *over <= now)?;
        self.sides[direction.index()].open = false;
        Some(over)
    }

    /// Bytes have come, after `tick`. Calls `piece` with the length of each piece, whether it begins a frame and
    /// whether it ends one.
    pub fn arrive(
        &mut self,
        now: Time,
        direction: Direction,
        bytes: &[u8],
        mut piece: impl FnMut(usize, bool, bool),
    ) {
        let side = &mut self.sides[direction.index()];
        side.last = Some(now);
        if let Some(terminator) = &self.terminator {
            let mut begin = 0;
            for (i, byte) in bytes.iter().enumerate() {
                if terminator.step(&mut side.matched, *byte) {
                    piece(i + 1 - begin, !side.open, true);
                    (begin, side.matched, side.open) = (i + 1, 0, false);
                }
            }
            if begin < bytes.len() {
                piece(bytes.len() - begin, !side.open, false);
                (side.open, side.over) = (true, now + PATIENCE);
            }
            return;
        }
        piece(bytes.len(), !side.open, false);
        side.open = true;
        side.over = now + self.silence.max(self.allowance) + TICK;
    }

    /// This direction's sender begins to speak: what it heard from the other side is over, or is as soon as it may be.
    pub fn speaks(&mut self, now: Time, direction: Direction) {
        let other = &mut self.sides[1 - direction.index()];
        if self.terminator.is_none()
            && let Some(last) = other.last.filter(|last| *last < now)
        {
            other.over = other.over.min(now.max(last + self.silence + TICK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{AToB, BToA};

    #[test]
    fn silence_parts_frames_and_a_busy_machine_does_not() {
        let mut frames = Frames::new(Duration::from_millis(3), Duration::from_millis(20), &[]);
        let mut begins = |us: u64, direction| {
            let now = Time(us * 1000);
            frames.tick(now, direction);
            frames.speaks(now, direction);
            let mut new = false;
            frames.arrive(now, direction, &[0; 4], |_, begins, _| new = begins);
            new
        };
        assert!(begins(0, AToB));
        assert!(!begins(1_000, AToB));
        assert!(begins(20_000, BToA));
        assert!(begins(21_000, AToB), "the other side has spoken in between");
        assert!(!begins(23_500, AToB));
        assert!(!begins(40_000, AToB), "late, but nobody has spoken in between");
        assert!(begins(44_000, BToA));
        assert!(begins(44_500, AToB));
        assert!(begins(64_501, AToB));
    }

    #[test]
    fn a_terminator_ends_frames_across_pieces() {
        let mut frames = Frames::new(Duration::from_millis(3), Duration::ZERO, b"\r\n");
        let mut pieces = Vec::new();
        for bytes in [&b"ab\r"[..], b"\ncd\r\n\r\n", b"e"] {
            frames.arrive(Time(1), AToB, bytes, |n, begins, ends| pieces.push((n, begins, ends)));
        }
        let want = [(3, true, false), (1, false, true), (4, true, true), (2, true, true), (1, true, false)];
        assert_eq!(pieces, want);
    }
}
