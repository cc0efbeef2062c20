//! Two ends of an asynchronous line, as waveforms in time: what a transmitter puts on the wire, and what a receiver
//! with other settings makes of it. Moves no bytes and keeps none.
//!
//! The receiver is ideal where real ones differ in grain only: it takes the falling edge as the moment it is, and
//! samples each bit once, at its centre. It looks at the first stop bit alone and waits for the next start from that
//! sample on. A character without a stop bit is a framing error, after which, as a 16550 does, the low level is taken
//! to be the next start bit; if all of its bits were low it is a break, and the receiver waits for the line to go high.

use hilrig_port::{CharError, Format, Parity, StopBits, Time};

use crate::NS_HALF;

/// Speed and character format of one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub baud: u32,
    pub format: Format,
}

impl Shape {
    /// Nanoseconds of a character times the baud rate.
    pub fn char_units(self) -> u64 {
        u64::from(self.format.half_bits()) * NS_HALF
    }

    pub fn char_time(self) -> u64 {
        self.char_units() / u64::from(self.baud)
    }

    pub fn mask(self) -> u8 {
        0xFF >> (8 - self.format.data_bits.clamp(5, 8))
    }

    /// Sampling points after the start bit: data, parity, stop.
    fn samples(self) -> u32 {
        u32::from(self.format.data_bits) + u32::from(self.format.parity != Parity::None) + 1
    }

    fn parity(self, byte: u8) -> Option<bool> {
        let odd = byte.count_ones() % 2 == 1;
        match self.format.parity {
            Parity::None => None,
            Parity::Even => Some(odd),
            Parity::Odd => Some(!odd),
            Parity::Mark => Some(true),
            Parity::Space => Some(false),
        }
    }
}

/// A moment to a fraction of a nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Exact {
    pub at: Time,
    /// Fraction of a nanosecond in units of one over `baud`, below 1.
    part: u64,
    baud: u32,
}

impl Exact {
    pub fn new(at: Time) -> Self {
        Self { at, ..Self::default() }
    }

    fn part(self, baud: u32) -> u64 {
        if self.baud == baud || self.baud == 0 {
            self.part
        } else {
            self.part * u64::from(baud) / u64::from(self.baud)
        }
    }

    pub fn after(self, units: u64, baud: u32) -> Self {
        let (units, of) = (self.part(baud) + units, u64::from(baud));
        Self { at: Time(self.at.0 + units / of), part: units % of, baud }
    }

    /// How many steps of `units` end at or before `now`.
    pub fn steps_until(self, now: Time, units: u64, baud: u32) -> u64 {
        // More than ten seconds at once is more than any queue holds, and would not fit.
        let passed = now.0.saturating_sub(self.at.0).min(10_000_000_000);
        if now < self.at { 0 } else { ((passed + 1) * u64::from(baud) - 1 - self.part(baud)) / units }
    }
}

/// One character, or a break, on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub start: Exact,
    pub end: Exact,
    baud: u32,
    /// Levels of half bits, the first in bit 0.
    levels: u32,
    halves: u32,
}

impl Sent {
    pub fn byte(start: Exact, shape: Shape, byte: u8) -> Self {
        let byte = byte & shape.mask();
        let data = u32::from(shape.format.data_bits);
        let mut bits = u32::from(byte) << 1;
        let mut n = 1 + data;
        if let Some(parity) = shape.parity(byte) {
            bits |= u32::from(parity) << n;
            n += 1;
        }
        let stop = match shape.format.stop_bits {
            StopBits::One => 2,
            StopBits::OneAndHalf => 3,
            StopBits::Two => 4,
        };
        let mut levels = 0;
        for i in 0..n {
            levels |= ((bits >> i & 1) * 0b11) << (2 * i);
        }
        let halves = 2 * n + stop;
        levels |= ((1 << stop) - 1) << (2 * n);
        let end = start.after(u64::from(halves) * NS_HALF, shape.baud);
        Self { start, end, baud: shape.baud, levels, halves }
    }

    /// Low until somebody says when it ends.
    pub fn low(start: Exact) -> Self {
        Self { start, end: Exact::new(Time(u64::MAX)), baud: 1, levels: 0, halves: 0 }
    }

    /// Turns over each bit on the wire that `hit` says.
    pub fn noise(&mut self, mut hit: impl FnMut() -> bool) {
        for i in (0..self.halves).step_by(2) {
            if hit() {
                self.levels ^= 0b11 << i;
            }
        }
    }

    pub fn covers(&self, t: Time) -> bool {
        self.start.at <= t && t < self.end.at
    }

    /// The level at `t`, and until when it certainly stays.
    pub fn level(&self, t: Time) -> (bool, Time) {
        if t < self.start.at {
            return (true, self.start.at);
        }
        if t >= self.end.at {
            return (true, Time(u64::MAX));
        }
        if self.halves == 0 {
            return (false, self.end.at);
        }
        let half = self.start.steps_until(t, NS_HALF, self.baud).min(u64::from(self.halves) - 1) as u32;
        let level = self.levels >> half & 1;
        let mut last = half;
        while last + 1 < self.halves && self.levels >> (last + 1) & 1 == level {
            last += 1;
        }
        let until = self.start.after(u64::from(last + 1) * NS_HALF, self.baud).at;
        (level == 1, until.min(self.end.at))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Got {
    Byte(u8, Option<CharError>),
    Break(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Idle,
    /// A break: all was low.
    WaitHigh,
    /// In a character whose start bit began at `edge`; `next` is the bit to sample, 0 the start bit.
    Bits { edge: Time, next: u32, bits: u32 },
}

#[derive(Debug, Default)]
pub(crate) struct Receiver {
    state: State,
    shape: Option<Shape>,
}

impl Receiver {
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    pub fn reset(&mut self) {
        self.state = State::Idle;
    }

    /// When the character that it is in has come.
    pub fn complete_at(&self) -> Option<Time> {
        match (self.state, self.shape) {
            (State::Bits { edge, .. }, Some(shape)) => Some(Time(edge.0 + shape.char_time())),
            _ => None,
        }
    }

    /// It is in a break.
    pub fn waits(&self) -> bool {
        self.state == State::WaitHigh
    }

    /// Listens from `from` to before `to`. `wire` tells the level at a time and until when it stays; `got` is told what
    /// has come, and when it is complete.
    pub fn listen(
        &mut self,
        shape: Shape,
        from: Time,
        to: Time,
        wire: impl Fn(Time) -> (bool, Time),
        mut got: impl FnMut(Time, Got),
    ) {
        let mut t = from;
        loop {
            match self.state {
                State::Idle | State::WaitHigh => {
                    let waits_for = self.state == State::WaitHigh;
                    loop {
                        if t >= to {
                            return;
                        }
                        let (level, until) = wire(t);
                        if level == waits_for {
                            break;
                        }
                        t = until;
                    }
                    if waits_for {
                        got(t, Got::Break(false));
                        self.state = State::Idle;
                    } else {
                        self.shape = Some(shape);
                        self.state = State::Bits { edge: t, next: 0, bits: 0 };
                    }
                }
                State::Bits { edge, next, bits } => {
                    let shape = self.shape.unwrap_or(shape);
                    let at = Time(edge.0 + u64::from(2 * next + 1) * NS_HALF / u64::from(shape.baud));
                    if at >= to {
                        return;
                    }
                    t = t.max(at);
                    let level = wire(at).0;
                    self.state = match next {
                        0 if level => State::Idle,
                        0 => State::Bits { edge, next: 1, bits },
                        n if n < shape.samples() => {
                            State::Bits { edge, next: n + 1, bits: bits | u32::from(level) << (n - 1) }
                        }
                        _ => complete(shape, edge, at, bits, level, &mut got),
                    };
                }
            }
        }
    }
}

/// The stop bit was sampled.
fn complete(
    shape: Shape,
    edge: Time,
    at: Time,
    bits: u32,
    stop: bool,
    got: &mut impl FnMut(Time, Got),
) -> State {
    let byte = bits as u8 & shape.mask();
    if !stop && bits == 0 {
        got(at, Got::Break(true));
        return State::WaitHigh;
    }
    if !stop {
        got(at, Got::Byte(byte, Some(CharError::Framing)));
        let half = NS_HALF / u64::from(shape.baud);
        return State::Bits { edge: Time(at.0 - half), next: 1, bits: 0 };
    }
    let parity = bits >> shape.format.data_bits & 1 == 1;
    let wrong = shape.parity(byte).is_some_and(|p| p != parity);
    got(Time(edge.0 + shape.char_time()), Got::Byte(byte, wrong.then_some(CharError::Parity)));
    State::Idle
}
