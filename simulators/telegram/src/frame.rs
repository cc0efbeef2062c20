//! Framing: from the bytes of a line to telegrams and back. A telegram is known here by its marks, its length and its
//! checksum; what is in it is for others. Nothing is taken back once it is judged: bytes that were no telegram are not
//! looked at a second time, so that no frame is ever found inside another one.

use hilrig_port::Time;

use crate::buf::{Buf, MAX_TELEGRAM};
use crate::melsec;
use crate::sum::Check;
use crate::travel::{ACK, Framing, Travel};

/// What a byte, or silence, made of what was collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// A telegram: [`Framer::body`].
    Telegram,
    /// A telegram with a wrong checksum: [`Framer::raw`].
    BadSum,
    /// So many bytes that were none.
    Noise(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the start mark.
    Outside,
    Inside,
    /// Behind an escape character.
    Escaped,
    /// In the checksum behind the end; so many bytes to come.
    Tail(usize),
    /// Too long or wrong, without a mark to find the next one by: until the line is silent.
    Lost,
}

/// Collects telegrams from a line.
#[derive(Debug)]
pub(crate) struct Framer {
    travel: Travel,
    state: State,
    /// All bytes since the start of the telegram, or since the last one.
    raw: Buf,
    /// What is in it, without marks, doubled escapes, length and checksum.
    body: Buf,
    last: Time,
    /// What was collected has been told; the next byte begins anew.
    told: bool,
    /// Bytes dropped while lost.
    dropped: usize,
}

impl Framer {
    pub fn new(travel: Travel) -> Self {
        let mut framer = Self {
            travel,
            state: State::Outside,
            raw: Buf::default(),
            body: Buf::default(),
            last: Time(0),
            told: false,
            dropped: 0,
        };
        framer.clear();
        framer
    }

    /// What is in the telegram that was heard last.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// All bytes of what was heard last.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Forgets what was collected.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.body.clear();
        self.dropped = 0;
        self.told = false;
        self.state = if self.has_start() { State::Outside } else { State::Inside };
    }

    fn has_start(&self) -> bool {
        match &self.travel.framing {
            Framing::Delimited { start, .. }
            | Framing::Length { start, .. }
            | Framing::Fixed { start, .. } => !start.is_empty(),
            Framing::Dle { .. } | Framing::Ft12 | Framing::Melsec { .. } => true,
            Framing::Silence => false,
        }
    }

    /// When silence ends what was collected, if nothing comes.
    pub fn silence_ends(&self) -> Option<Time> {
        let something = (!self.told && !self.raw.is_empty()) || self.state == State::Lost;
        something.then(|| self.last + self.travel.gap)
    }

    /// Ends what was collected if the line has been silent for long enough.
    pub fn expire(&mut self, now: Time) -> Heard {
        if self.silence_ends().is_none_or(|ends| ends > now) {
            return Heard::Nothing;
        }
        if self.state == State::Lost {
            let dropped = self.dropped;
            self.clear();
            return Heard::Noise(dropped);
        }
        if matches!(self.travel.framing, Framing::Silence) {
            return self.judge(0, 0);
        }
        if matches!(self.travel.framing, Framing::Melsec { .. }) && self.state == State::Inside {
            // A command that nobody knows the length of: silence says where it ends.
            return self.judge(0, 0);
        }
        self.noise()
    }

    /// Takes in a byte.
    pub fn push(&mut self, now: Time, byte: u8) -> Heard {
        if self.told {
            self.clear();
        }
        self.last = now;
        if self.state == State::Lost {
            self.dropped += 1;
            return Heard::Nothing;
        }
        self.raw.push(byte);
        if self.raw.overflowed() {
            if self.has_start() {
                return self.noise();
            }
            self.dropped = MAX_TELEGRAM + 1;
            self.raw.clear();
            self.state = State::Lost;
            return Heard::Nothing;
        }
        match self.travel.framing {
            Framing::Dle { dle, start, end } => self.escaped(byte, dle, start, end),
            Framing::Ft12 => self.ft12(),
            Framing::Melsec { sum } => self.melsec(sum),
            _ => self.marked(),
        }
    }

    /// Framing with plain marks, or a length, or none.
    fn marked(&mut self) -> Heard {
        if let State::Tail(left) = self.state {
            return self.tail(left);
        }
        if let Some(heard) = self.start() {
            return heard;
        }
        match &self.travel.framing {
            Framing::Delimited { start, end } => {
                if self.raw.len() < start.len() + end.len() || !self.raw.ends_with(end) {
                    return Heard::Nothing;
                }
                let (start, end) = (start.len(), end.len());
                self.ended(start, end)
            }
            Framing::Length { start, end, field } => {
                let header = field.offset + field.bytes;
                if self.raw.len() < header {
                    return Heard::Nothing;
                }
                let least = self.travel.overhead() + field.offset - start.len();
                let total = field.read(&self.raw).map(|n| n.saturating_add(field.plus));
                let total = total.and_then(|n| usize::try_from(n).ok());
                let Some(total) = total.filter(|n| (least..=MAX_TELEGRAM).contains(n)) else {
                    return self.wrong();
                };
                if self.raw.len() < total {
                    return Heard::Nothing;
                }
                let after = self.travel.check.as_ref().filter(|c| c.after_end).map_or(0, Check::len);
                if !self.raw[..total - after].ends_with(end) {
                    return self.wrong();
                }
                let (start, end) = (start.len(), end.len());
                self.judge_or_lose(start, end)
            }
            Framing::Fixed { start, length } => {
                if self.raw.len() < *length {
                    return Heard::Nothing;
                }
                let start = start.len();
                self.judge_or_lose(start, 0)
            }
            _ => Heard::Nothing,
        }
    }

    /// Looks for the start mark; `None` once it is there.
    fn start(&mut self) -> Option<Heard> {
        let (start, restarts) = match &self.travel.framing {
            Framing::Delimited { start, .. } => (start, true),
            Framing::Length { start, .. } | Framing::Fixed { start, .. } => (start, false),
            _ => return None,
        };
        let mark = start.len();
        if mark == 0 || (self.state == State::Inside && !restarts) {
            return None;
        }
        let here = self.raw.ends_with(start);
        if self.state == State::Inside {
            let again = here && self.raw.len() >= 2 * mark;
            return again.then(|| self.drop_before(mark));
        }
        if here {
            self.state = State::Inside;
            let noise = self.raw.len() - mark;
            return Some(if noise > 0 { self.drop_before(mark) } else { Heard::Nothing });
        }
        Some(Heard::Nothing)
    }

    /// Keeps the last bytes only.
    fn drop_before(&mut self, keep: usize) -> Heard {
        let noise = self.raw.len() - keep;
        self.raw.remove_first(noise);
        Heard::Noise(noise)
    }

    /// The end mark is there; the checksum may still come.
    fn ended(&mut self, start: usize, end: usize) -> Heard {
        match self.travel.check.as_ref().filter(|c| c.after_end).map(Check::len) {
            Some(left) => {
                self.state = State::Tail(left);
                Heard::Nothing
            }
            None => self.judge(start, end),
        }
    }

    /// A byte of the checksum behind the end mark.
    fn tail(&mut self, left: usize) -> Heard {
        if left > 1 {
            self.state = State::Tail(left - 1);
            return Heard::Nothing;
        }
        match &self.travel.framing {
            Framing::Delimited { start, end } => {
                let (start, end) = (start.len(), end.len());
                self.judge(start, end)
            }
            Framing::Dle { start, end, .. } => {
                let (start, end) = (*start, *end);
                self.judge_stuffed(start, end)
            }
            _ => self.noise(),
        }
    }

    /// Bytes that cannot be a telegram: on to the next start mark, or to silence.
    fn wrong(&mut self) -> Heard {
        if self.has_start() {
            return self.noise();
        }
        self.dropped = self.raw.len();
        self.raw.clear();
        self.state = State::Lost;
        Heard::Nothing
    }

    fn noise(&mut self) -> Heard {
        self.told = true;
        Heard::Noise(self.raw.len())
    }

    /// Like `judge`; a wrong sum without a start mark means that nobody knows where telegrams begin.
    fn judge_or_lose(&mut self, start: usize, end: usize) -> Heard {
        let heard = self.judge(start, end);
        if heard == Heard::BadSum && !self.has_start() {
            self.told = false;
            self.dropped = 0;
            self.state = State::Lost;
        }
        heard
    }

    /// Checks the sum of a whole telegram and takes out what is in it.
    fn judge(&mut self, start: usize, end: usize) -> Heard {
        self.told = true;
        let check = self.travel.check.as_ref();
        let sum = check.map_or(0, Check::len);
        let Some(inner) = self.raw.len().checked_sub(start + end + sum) else { return self.noise() };
        let (mark, rest) = self.raw.split_at(start);
        let (inner, rest) = rest.split_at(inner);
        if let Some(check) = check {
            let (end, written) = if check.after_end { rest.split_at(end) } else { rest.split_at(sum) }
                .ordered(check.after_end);
            if !check.holds(check.of(mark, inner, end), written) {
                return Heard::BadSum;
            }
        }
        self.body.clear();
        match &self.travel.framing {
            Framing::Length { field, .. } => {
                let before = field.offset - start;
                self.body.extend(&inner[..before.min(inner.len())]);
                self.body.extend(inner.get(before + field.bytes..).unwrap_or_default());
            }
            _ => self.body.extend(inner),
        }
        Heard::Telegram
    }
}

/// End mark and checksum in this order, whichever came first.
trait Ordered {
    fn ordered(self, end_first: bool) -> Self;
}

impl<T> Ordered for (T, T) {
    fn ordered(self, end_first: bool) -> Self {
        if end_first { self } else { (self.1, self.0) }
    }
}

/// Framings with rules of their own.
impl Framer {
    /// DLE STX .. DLE ETX. Inside, a DLE before anything but itself, STX and ETX spoils the telegram.
    fn escaped(&mut self, byte: u8, dle: u8, start: u8, end: u8) -> Heard {
        match self.state {
            State::Tail(left) => self.tail(left),
            State::Outside if self.raw.ends_with(&[dle, start]) => {
                self.state = State::Inside;
                self.body.clear();
                if self.raw.len() > 2 { self.drop_before(2) } else { Heard::Nothing }
            }
            State::Inside if byte == dle => {
                self.state = State::Escaped;
                Heard::Nothing
            }
            State::Inside => {
                self.body.push(byte);
                Heard::Nothing
            }
            State::Escaped if byte == dle => {
                self.body.push(byte);
                self.state = State::Inside;
                Heard::Nothing
            }
            State::Escaped if byte == start => {
                self.state = State::Inside;
                self.body.clear();
                self.drop_before(2)
            }
            State::Escaped if byte == end => {
                match self.travel.check.as_ref().filter(|c| c.after_end).map(Check::len) {
                    Some(left) => {
                        self.state = State::Tail(left);
                        Heard::Nothing
                    }
                    None => self.judge_stuffed(start, end),
                }
            }
            State::Escaped => self.noise(),
            State::Outside | State::Lost => Heard::Nothing,
        }
    }

    /// Checks a telegram whose doubled escapes are out of `body`.
    fn judge_stuffed(&mut self, start: u8, end: u8) -> Heard {
        self.told = true;
        let Some(check) = &self.travel.check else { return Heard::Telegram };
        let good = if check.after_end {
            let written = &self.raw[self.raw.len() - check.len()..];
            check.holds(check.of(&[start], &self.body, &[end]), written)
        } else {
            let Some(inner) = self.body.len().checked_sub(check.len()) else { return self.noise() };
            let good = check.holds(check.of(&[start], &self.body[..inner], &[end]), &self.body[inner..]);
            self.body.truncate(inner);
            good
        };
        if good { Heard::Telegram } else { Heard::BadSum }
    }

    /// FT1.2: the length is there twice, and the start, so that it is known to be right before it is used.
    fn ft12(&mut self) -> Heard {
        let raw = &self.raw;
        let total = match raw[0] {
            ACK => 1,
            0x10 => 5,
            0x68 => match raw.get(1..4) {
                Some([len, again, 0x68]) if len == again && *len >= 3 => usize::from(*len) + 6,
                Some(_) => return self.noise(),
                None => return Heard::Nothing,
            },
            _ => return self.noise(),
        };
        if raw.len() < total {
            return Heard::Nothing;
        }
        self.body.clear();
        if total > 1 {
            let inner = &raw[if total == 5 { 1 } else { 4 }..total - 2];
            let sum = inner.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            if raw[total - 1] != 0x16 {
                return self.noise();
            }
            if raw[total - 2] != sum {
                self.told = true;
                return Heard::BadSum;
            }
            self.body.extend(inner);
        }
        self.told = true;
        Heard::Telegram
    }

    /// The whole telegram is the body: the device answers wrong sums, too.
    fn melsec(&mut self, sum: bool) -> Heard {
        let first = self.raw.last().copied().unwrap_or(0);
        if melsec::begins(first) && (self.raw.len() > 1 || self.state == State::Outside) {
            self.state = State::Inside;
            if self.raw.len() > 1 {
                return self.drop_before(1);
            }
        }
        if self.state == State::Outside {
            return Heard::Nothing;
        }
        match melsec::length(&self.raw, sum) {
            Some(total) if self.raw.len() >= total => self.judge(0, 0),
            _ => Heard::Nothing,
        }
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
