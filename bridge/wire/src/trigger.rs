//! When a rule fires: one [`Trigger`] a rule, one [`Lane`] a rule and direction. Looks at each byte once; knows
//! nothing of effects.

use std::time::Duration;

use hilrig_port::Time;
use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng;

use crate::Unit;

/// Finds a row of up to 64 bytes in a stream, wherever it is cut (the Shift-And algorithm).
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    /// For each byte the places at which it may stand.
    places: Box<[u64; 256]>,
    last: u64,
}

impl Matcher {
    pub fn new(pattern: &[Option<u8>]) -> Self {
        let mut places = Box::new([0; 256]);
        for (i, wanted) in pattern.iter().take(64).enumerate() {
            for (byte, place) in places.iter_mut().enumerate() {
                if wanted.is_none_or(|w| usize::from(w) == byte) {
                    *place |= 1 << i;
                }
            }
        }
        Self { places, last: 1 << (pattern.len().clamp(1, 64) - 1) }
    }

    /// Whether the pattern ends with this byte.
    pub fn step(&self, state: &mut u64, byte: u8) -> bool {
        *state = (*state << 1 | 1) & self.places[usize::from(byte)];
        *state & self.last != 0
    }
}

/// From, and up to but not including.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<T> {
    pub from: T,
    pub until: Option<T>,
}

impl<T: PartialOrd + Copy> Window<T> {
    fn has(&self, value: T) -> bool {
        self.from <= value && self.until.is_none_or(|until| value < until)
    }
}

#[derive(Debug)]
pub(crate) struct Trigger {
    pub unit: Unit,
    pub bytes: Window<u64>,
    pub frames: Window<u64>,
    /// It speaks of frames, so bytes of a frame that began before do not count.
    pub in_frame: bool,
    pub offset: Option<u64>,
    pub times: Window<Duration>,
    pub moment: Option<Duration>,
    pub pattern: Option<Matcher>,
    pub every: u64,
    /// Out of 2^32.
    pub chance: Option<u64>,
}

/// Where a rule is in one direction.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Place of the first byte that came after it was armed.
    pub first: u64,
    pub since: Time,
    /// Frames begun since then.
    pub frames: u64,
    /// The frame that passes has begun since then.
    pub in_frame: bool,
    pub seen: u64,
    /// Of those that `every` counts.
    counted: u64,
    /// For the trigger, which looks ahead as far as bytes have come.
    rng: Pcg32,
    /// For the effect.
    pub dice: Pcg32,
    matched: u64,
    /// Bytes before this place were looked at.
    scanned: u64,
    pub hit: Option<u64>,
    /// The moment has come, and was used.
    pub moment_over: bool,
}

impl Lane {
    pub fn new(first: u64, since: Time, [rng, dice]: [Pcg32; 2]) -> Self {
        Self {
            first,
            since,
            frames: 0,
            in_frame: false,
            seen: 0,
            counted: 0,
            rng,
            dice,
            matched: 0,
            scanned: first,
            hit: None,
            moment_over: false,
        }
    }
}

impl Trigger {
    /// Looks for the first hit in bytes that came at `at`: those from `place` to before `end`, which `byte` shows by
    /// their place; `frame_offset` is where in its frame the byte at `place` stands.
    pub fn scan(
        &self,
        lane: &mut Lane,
        at: Time,
        (place, end): (u64, u64),
        frame_offset: u64,
        byte: impl Fn(u64) -> u8,
    ) {
        let from = lane.scanned.max(place);
        if lane.hit.is_some() || from >= end {
            return;
        }
        let (low, high) = self.range(lane, at, place, frame_offset);
        let (low, high) = (low.max(from), high.min(end));
        lane.scanned = end;
        if let Some(pattern) = &self.pattern {
            for p in from..end {
                if pattern.step(&mut lane.matched, byte(p)) && low <= p && p < high && self.accept(lane) {
                    (lane.scanned, lane.hit) = (p + 1, Some(p));
                    return;
                }
            }
            return;
        }
        let mut p = low;
        while p < high {
            let skip = self.every - 1 - lane.counted % self.every;
            if skip >= high - p {
                lane.counted += high - p;
                lane.seen += high - p;
                return;
            }
            lane.counted += skip;
            lane.seen += skip;
            p += skip;
            if self.accept(lane) {
                (lane.scanned, lane.hit) = (p + 1, Some(p));
                return;
            }
            p += 1;
        }
    }

    /// Places of bytes of the passing frame that came at `at` and may be hit.
    fn range(&self, lane: &Lane, at: Time, place: u64, frame_offset: u64) -> (u64, u64) {
        let time = at.since(lane.since);
        let moment = self.moment.is_none_or(|moment| !lane.moment_over && time >= moment);
        let frame = !self.in_frame || (lane.in_frame && self.frames.has(lane.frames.wrapping_sub(1)));
        if !(moment && frame && self.times.has(time)) {
            return (0, 0);
        }
        let low = lane.first.saturating_add(self.bytes.from);
        let high = self.bytes.until.map_or(u64::MAX, |until| lane.first.saturating_add(until));
        match self.offset {
            None => (low, high),
            Some(offset) => match (place + offset).checked_sub(frame_offset) {
                Some(p) => (low.max(p), high.min(p + 1)),
                None => (0, 0),
            },
        }
    }

    /// Whether the frame that has just begun, at this place and time, may be hit as far as one can say without its
    /// content.
    pub fn frame_may(&self, lane: &Lane, at: Time, place: u64) -> bool {
        self.unit == Unit::Frame && {
            let (low, high) = self.range(lane, at, place, 0);
            low <= place && place < high
        }
    }

    /// Counts one that is left by all other conditions, and decides.
    pub fn accept(&self, lane: &mut Lane) -> bool {
        lane.seen += 1;
        lane.counted += 1;
        let turn = lane.counted.is_multiple_of(self.every);
        let hit = turn && self.chance.is_none_or(|chance| u64::from(lane.rng.next_u32()) < chance);
        // Only the first one at or after the moment.
        lane.moment_over |= self.moment.is_some();
        hit
    }

    /// Whether the pattern is somewhere in these bytes.
    pub fn contains(&self, mut bytes: impl Iterator<Item = u8>) -> bool {
        let mut state = 0;
        self.pattern.as_ref().is_none_or(|pattern| bytes.any(|byte| pattern.step(&mut state, byte)))
    }
}

/// A number below `n`, each equally likely as far as tests can tell.
pub(crate) fn below(rng: &mut Pcg32, n: u64) -> u64 {
    if n <= u64::from(u32::MAX) {
        (u64::from(rng.next_u32()) * n) >> 32
    } else {
        ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found_wherever_they_stand() {
        let find = |pattern: &str, bytes: &[u8]| {
            let matcher = Matcher::new(&pattern.parse::<crate::Pattern>().unwrap().0);
            let mut state = 0;
            let ends: Vec<usize> = bytes
                .iter()
                .enumerate()
                .filter_map(|(i, b)| matcher.step(&mut state, *b).then_some(i))
                .collect();
            ends
        };
        assert_eq!(find("01 01 02", &[1, 1, 1, 2, 1, 1, 2]), [3, 6]);
        assert_eq!(find("01 ?? 02", &[1, 1, 2, 2, 9, 2]), [2, 3]);
        assert_eq!(find("07", &[7, 7]), [0, 1]);
        assert_eq!(find(&"05 ".repeat(64), &[5; 66]), [63, 64, 65]);
    }
}
