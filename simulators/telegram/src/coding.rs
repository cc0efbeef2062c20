//! How a value is written in a telegram, and read from one. Knows neither points nor telegrams.

use std::fmt::Write;
use std::ops::Range;

use crate::buf::{Buf, from_hex};
use crate::file::Order;

/// A number on its way between a point and a telegram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub fn float(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Float(x) => x,
        }
    }

    /// The nearest whole number; 0 for what is no number.
    pub fn int(self) -> i128 {
        match self {
            Self::Int(n) => n,
            Self::Float(x) => x.round_ties_even() as i128,
        }
    }

    /// So many times as much.
    pub fn times(self, factor: f64) -> Self {
        if factor == 1.0 { self } else { Self::Float(self.float() * factor) }
    }
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Got {
    Number(Number),
    /// Text, by its place in the telegram.
    Text(Range<usize>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    pub width: Option<usize>,
    pub decimals: usize,
    pub no_point: bool,
    pub sign: bool,
    pub pad: u8,
    pub left: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Coding {
    Uint { bytes: usize, order: Order },
    Int { bytes: usize, order: Order },
    Float { bytes: usize, order: Order },
    Bcd { bytes: usize, order: Order },
    Decimal(Decimal),
    Hex { digits: usize, lower: bool },
    String { length: Option<usize>, pad: u8 },
}

/// 16 hexadecimal digits and 20 decimal ones hold any 64-bit number; 40 leave room for fractions.
pub(crate) const WIDEST: usize = 40;

impl Coding {
    /// How many bytes it takes; `None` if that depends on the value.
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Uint { bytes, .. }
            | Self::Int { bytes, .. }
            | Self::Float { bytes, .. }
            | Self::Bcd { bytes, .. } => Some(*bytes),
            Self::Decimal(decimal) => decimal.width,
            Self::Hex { digits, .. } => Some(*digits),
            Self::String { length, .. } => *length,
        }
    }

    /// Writes a number; what does not fit is written as the nearest that does, in `decimal` as asterisks.
    pub fn write(&self, number: Number, out: &mut Buf) {
        match *self {
            Self::Uint { bytes, order } => {
                let most = u64::MAX >> (64 - 8 * bytes);
                let n = number.int().clamp(0, most.into()) as u64;
                binary(n, bytes, order, out);
            }
            Self::Int { bytes, order } => {
                let most = i64::MAX >> (64 - 8 * bytes);
                let n = number.int().clamp((-most - 1).into(), most.into()) as i64;
                binary(n as u64, bytes, order, out);
            }
            Self::Float { bytes: 4, order } => {
                binary((number.float() as f32).to_bits().into(), 4, order, out);
            }
            Self::Float { order, .. } => binary(number.float().to_bits(), 8, order, out),
            Self::Bcd { bytes, order } => {
                let most = 10_i128.pow(2 * bytes as u32) - 1;
                let mut n = number.int().clamp(0, most) as u64;
                let mut bcd = 0;
                for place in 0..2 * bytes {
                    bcd |= (n % 10) << (4 * place);
                    n /= 10;
                }
                binary(bcd, bytes, order, out);
            }
            Self::Hex { digits, lower } => {
                let most = u64::MAX >> (64 - 4 * digits);
                let n = number.int();
                let n = if n < 0 {
                    // In two's complement of this width.
                    n.max(-i128::from(most / 2) - 1) as u64 & most
                } else {
                    n.min(most.into()) as u64
                };
                out.hex(n, digits, lower);
            }
            Self::Decimal(decimal) => decimal.write(number, out),
            Self::String { length, pad } => {
                let at = out.len();
                let _ = match number {
                    Number::Int(n) => write!(out, "{n}"),
                    Number::Float(x) => write!(out, "{x}"),
                };
                fill(out, at, length, pad);
            }
        }
    }

    /// Writes a text; a coding of numbers writes 0.
    pub fn write_text(&self, text: impl Iterator<Item = char>, out: &mut Buf) {
        let Self::String { length, pad } = *self else { return self.write(Number::Int(0), out) };
        let at = out.len();
        for c in text {
            out.push(u8::try_from(u32::from(c)).unwrap_or(b'?'));
        }
        fill(out, at, length, pad);
    }

    /// Reads what stands at the start of `bytes`, which is at `at` in the telegram; text without a length goes up to
    /// `stop`. Answers what it is and how long. `None` if it is nothing of this kind.
    pub fn read(&self, bytes: &[u8], at: usize, stop: Option<&[u8]>) -> Option<(Got, usize)> {
        if let Self::Decimal(decimal) = self {
            let (number, len) = decimal.read(bytes)?;
            return Some((Got::Number(number), len));
        }
        let len = match (self.len(), stop) {
            (Some(len), _) => len,
            (None, Some(stop)) => bytes.windows(stop.len()).position(|w| w == stop)?,
            (None, None) => bytes.len(),
        };
        let bytes = bytes.get(..len)?;
        let number = match *self {
            Self::Uint { order, .. } => Number::Int(unsigned(bytes, order).into()),
            Self::Int { bytes: n, order } => {
                let up = 64 - 8 * n;
                Number::Int(((unsigned(bytes, order) << up) as i64 >> up).into())
            }
            Self::Float { bytes: 4, order } => {
                Number::Float(f32::from_bits(unsigned(bytes, order) as u32).into())
            }
            Self::Float { order, .. } => Number::Float(f64::from_bits(unsigned(bytes, order))),
            Self::Bcd { bytes: n, order } => {
                let bcd = unsigned(bytes, order);
                let digit = |sum: i128, place: usize| {
                    let digit = bcd >> (4 * place) & 0xF;
                    (digit < 10).then_some(sum * 10 + i128::from(digit))
                };
                Number::Int((0..2 * n).rev().try_fold(0, digit)?)
            }
            Self::Hex { .. } => Number::Int(from_hex(bytes)?.into()),
            Self::String { pad, .. } => {
                let end = bytes.iter().rposition(|b| *b != pad).map_or(0, |last| last + 1);
                return Some((Got::Text(at..at + end), len));
            }
            Self::Decimal(_) => return None,
        };
        Some((Got::Number(number), len))
    }
}

impl Decimal {
    fn write(&self, number: Number, out: &mut Buf) {
        let at = out.len();
        let plus = if self.sign { "+" } else { "" };
        let _ = match number {
            _ if self.no_point => {
                let scaled = number.times(10_f64.powi(self.decimals as i32)).int();
                if self.sign { write!(out, "{scaled:+}") } else { write!(out, "{scaled}") }
            }
            Number::Int(n) if self.decimals == 0 => {
                if self.sign {
                    write!(out, "{n:+}")
                } else {
                    write!(out, "{n}")
                }
            }
            number if number.float().is_finite() => {
                let x = number.float();
                // -0.0 and what rounds to it have no sign.
                let zero = x.abs() < 0.5 * 10_f64.powi(-(self.decimals as i32));
                let (plus, x) = if x < 0.0 && !zero { ("", x) } else { (plus, x.abs()) };
                write!(out, "{plus}{x:.*}", self.decimals)
            }
            _ => Ok(()),
        };
        let Some(width) = self.width else {
            if out.len() == at {
                out.push(b'*');
            }
            return;
        };
        let len = out.len() - at;
        if len > width || len == 0 {
            out.truncate(at);
            (0..width).for_each(|_| out.push(b'*'));
        } else if self.left {
            (len..width).for_each(|_| out.push(self.pad));
        } else {
            // Zeros go behind the sign.
            let mut digits = [0; WIDEST];
            digits[..len].copy_from_slice(&out[at..]);
            let sign = usize::from(self.pad == b'0' && matches!(digits[0], b'+' | b'-'));
            out.truncate(at + sign);
            (len..width).for_each(|_| out.push(self.pad));
            out.extend(&digits[sign..len]);
        }
    }

    /// A number of this form; blanks and padding around it do not count.
    fn read(&self, bytes: &[u8]) -> Option<(Number, usize)> {
        let of_number = |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
        let len = match self.width {
            Some(width) => width,
            None => bytes.iter().position(|b| !of_number(b)).unwrap_or(bytes.len()),
        };
        let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
        let pad = char::from(self.pad);
        let blank = |c: char| c == ' ' || (c == pad && !c.is_ascii_digit() && !matches!(c, '+' | '-' | '.'));
        let text = text.trim_matches(blank);
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        // A sign may stand apart from its number.
        let digits = digits.trim_start_matches(blank);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        let number = if digits.contains('.') {
            Number::Float(digits.parse().ok()?)
        } else {
            Number::Int(digits.parse().ok()?)
        };
        let number = if negative {
            match number {
                Number::Int(n) => Number::Int(-n),
                Number::Float(x) => Number::Float(-x),
            }
        } else {
            number
        };
        let scaled = self.no_point && self.decimals > 0;
        let number = if scaled { number.times(10_f64.powi(-(self.decimals as i32))) } else { number };
        Some((number, len))
    }
}

fn binary(n: u64, bytes: usize, order: Order, out: &mut Buf) {
    match order {
        Order::Big => out.extend(&n.to_be_bytes()[8 - bytes..]),
        Order::Little => out.extend(&n.to_le_bytes()[..bytes]),
    }
}

fn unsigned(bytes: &[u8], order: Order) -> u64 {
    let byte = |n: u64, b: &u8| n << 8 | u64::from(*b);
    match order {
        Order::Big => bytes.iter().fold(0, byte),
        Order::Little => bytes.iter().rev().fold(0, byte),
    }
}

/// Cuts or fills what was written since `at`.
fn fill(out: &mut Buf, at: usize, length: Option<usize>, pad: u8) {
    if let Some(length) = length {
        out.truncate(at + length);
        (out.len()..at + length).for_each(|_| out.push(pad));
    }
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
