//! Faults on a link, as a gate: sans-IO, allocates nothing while bytes pass. Knows frames by silence only, never
//! what is in them.

use std::time::Duration;

use hilrig_port::{Direction, Gate, Time};

/// How many firings of a fault are kept with their place and time; later ones are only counted.
pub const FIRINGS_KEPT: usize = 64;
/// Above 19200 baud Modbus fixes the silence between two frames.
const LEAST_SILENCE: Duration = Duration::from_micros(1750);
/// How far apart two reads of one frame may be.
const BUSY_MACHINE: Duration = Duration::from_millis(20);

/// One frame that a fault took out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firing {
    pub at: Time,
    /// Place of its first byte among all that came in this direction.
    pub offset: u64,
    /// Bytes taken out so far.
    pub bytes: u64,
}

/// Takes out the next frames of one direction.
#[derive(Debug, Clone)]
pub struct DropRule {
    /// Chosen by the one who arms it, to find it again.
    pub id: usize,
    pub direction: Direction,
    /// Frames still to be taken out.
    left: u32,
    /// Frames taken out.
    pub fired: u64,
    pub firings: Vec<Firing>,
}

impl DropRule {
    pub fn new(id: usize, direction: Direction, count: u32) -> Self {
        Self { id, direction, left: count, fired: 0, firings: Vec::with_capacity(FIRINGS_KEPT) }
    }
}

/// A gate that takes out whole frames when a [`DropRule`] is armed, and passes everything else untouched.
///
/// A frame is a run of bytes without a silence of t3.5. On a busy machine the bytes of one frame can come in reads
/// that lie further apart; so while the other side has said nothing in between, a longer silence is allowed for.
#[derive(Debug)]
pub struct DropFrames {
    silence: Duration,
    sides: [Side; 2],
    drops: Vec<DropRule>,
}

#[derive(Debug, Default)]
struct Side {
    seen: u64,
    last: Option<Time>,
    /// Index of the drop that takes the frame that is passing.
    dropping: Option<usize>,
}

impl DropFrames {
    /// For a line with a character time of `character`.
    pub fn new(character: Duration) -> Self {
        let silence = (character * 7 / 2).max(LEAST_SILENCE) * 3 / 2;
        Self { silence, sides: Default::default(), drops: Vec::with_capacity(16) }
    }

    /// From the next frame on. Drops of one direction take their frames in the order in which they were armed.
    pub fn arm(&mut self, drop: DropRule) {
        self.drops.push(drop);
    }

    /// Takes no more frames; what was taken stays counted.
    pub fn disarm(&mut self, id: usize) {
        for drop in self.drops.iter_mut().filter(|d| d.id == id) {
            drop.left = 0;
        }
    }

    pub fn drops(&self) -> &[DropRule] {
        &self.drops
    }
}

impl Gate for DropFrames {
    fn pass(&mut self, now: Time, direction: Direction, bytes: &mut [u8]) -> usize {
        let other = self.sides[1 - direction.index()].last;
        let side = &mut self.sides[direction.index()];
        let length = bytes.len() as u64;
        let offset = side.seen;
        side.seen += length;
        let new_frame = side.last.is_none_or(|last| {
            let turned = other.is_some_and(|other| other > last);
            now.since(last) > if turned { self.silence } else { self.silence.max(BUSY_MACHINE) }
        });
        side.last = Some(now);
        if new_frame {
            side.dropping = self.drops.iter().position(|d| d.direction == direction && d.left > 0);
            if let Some(drop) = side.dropping.and_then(|i| self.drops.get_mut(i)) {
                drop.left -= 1;
                drop.fired += 1;
                if drop.firings.len() < FIRINGS_KEPT {
                    drop.firings.push(Firing { at: now, offset, bytes: 0 });
                }
            }
        }
        let Some(drop) = side.dropping.and_then(|i| self.drops.get_mut(i)) else { return bytes.len() };
        if drop.fired <= FIRINGS_KEPT as u64
            && let Some(firing) = drop.firings.last_mut()
        {
            firing.bytes += length;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{AToB, BToA};

    /// 19200 8E1: t3.5 is 2.005 ms, so a silence of a bit more than 3 ms parts two frames.
    fn gate() -> DropFrames {
        DropFrames::new(Duration::from_micros(573))
    }

    fn pass(gate: &mut DropFrames, us: u64, direction: Direction, n: usize) -> usize {
        gate.pass(Time(us * 1000), direction, &mut vec![0; n])
    }

    #[test]
    fn one_frame_goes_whole_even_in_pieces_and_the_rest_stays() {
        let mut gate = gate();
        assert_eq!(pass(&mut gate, 0, AToB, 8), 8);
        gate.arm(DropRule::new(3, AToB, 1));
        assert_eq!(pass(&mut gate, 1_000, AToB, 4), 4, "this frame had begun before");
        assert_eq!(pass(&mut gate, 20_000, BToA, 8), 8, "the other direction");
        assert_eq!(pass(&mut gate, 21_000, AToB, 5), 0);
        assert_eq!(pass(&mut gate, 23_500, AToB, 2), 0);
        assert_eq!(pass(&mut gate, 40_000, AToB, 2), 0, "late, but nobody has spoken in between");
        assert_eq!(pass(&mut gate, 44_000, BToA, 8), 8);
        assert_eq!(pass(&mut gate, 45_000, AToB, 9), 9);
        let drop = &gate.drops()[0];
        assert_eq!((drop.id, drop.fired), (3, 1));
        assert_eq!(drop.firings, [Firing { at: Time(21_000_000), offset: 12, bytes: 9 }]);
    }

    #[test]
    fn drops_take_turns_and_can_be_taken_away() {
        let mut gate = gate();
        gate.arm(DropRule::new(0, BToA, 2));
        gate.arm(DropRule::new(1, BToA, 5));
        let passed: Vec<usize> = (0..4).map(|i| pass(&mut gate, i * 30_000, BToA, 7)).collect();
        assert_eq!(passed, [0, 0, 0, 0]);
        gate.disarm(1);
        assert_eq!(pass(&mut gate, 150_000, BToA, 7), 7);
        assert_eq!(gate.drops().iter().map(|d| d.fired).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(gate.drops()[1].firings[1].offset, 21);
    }

    #[test]
    fn many_firings_are_counted_beyond_what_is_kept() {
        let mut gate = gate();
        gate.arm(DropRule::new(0, AToB, 1000));
        for i in 0..100 {
            assert_eq!(pass(&mut gate, i * 30_000, AToB, 3), 0);
        }
        let drop = &gate.drops()[0];
        assert_eq!(
            (drop.fired, drop.firings.len(), drop.firings.capacity()),
            (100, FIRINGS_KEPT, FIRINGS_KEPT)
        );
        assert!(drop.firings.iter().all(|f| f.bytes == 3));
    }

    #[test]
    fn fast_lines_keep_the_fixed_silence() {
        let mut gate = DropFrames::new(Duration::from_micros(11));
        gate.arm(DropRule::new(0, AToB, 1));
        assert_eq!(pass(&mut gate, 0, AToB, 1), 0);
        assert_eq!(pass(&mut gate, 100, BToA, 1), 1);
        assert_eq!(pass(&mut gate, 2_600, AToB, 1), 0);
        assert_eq!(pass(&mut gate, 2_700, BToA, 1), 1);
        assert_eq!(pass(&mut gate, 5_300, AToB, 1), 1);
    }
}
