//! Values to registers and back: types, byte orders, BCD, scale. Allocates only for text that is handed out.

use crate::point::{Point, SetError, Type};
use crate::{Table, Value};

/// Most registers of one point.
pub(crate) const MOST_CELLS: usize = 125;

/// The cells of a point, in the order of their addresses.
pub(crate) type Words = [u16; MOST_CELLS];

/// A number as it stands in cells, before scale and offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Raw {
    Int(i64),
    Uint(u64),
    Float(f64),
}

impl Raw {
    fn number(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Uint(n) => n as f64,
            Self::Float(x) => x,
        }
    }
}

/// Lowest and highest raw number.
fn range(kind: Type) -> (f64, f64) {
    match kind {
        Type::Bool => (0.0, 1.0),
        Type::U16 => (0.0, 65_535.0),
        Type::I16 => (-32_768.0, 32_767.0),
        Type::U32 => (0.0, u32::MAX as f64),
        Type::I32 => (i32::MIN as f64, i32::MAX as f64),
        Type::U64 => (0.0, u64::MAX as f64),
        Type::I64 => (i64::MIN as f64, i64::MAX as f64),
        Type::F32 => (f64::from(f32::MIN), f64::from(f32::MAX)),
        Type::F64 | Type::String => (f64::MIN, f64::MAX),
        Type::Bcd16 => (0.0, 9_999.0),
        Type::Bcd32 => (0.0, 99_999_999.0),
    }
}

const ROUNDING: f64 = 1.0 + 4.0 * f64::EPSILON;

fn to_bcd(mut n: u64) -> u64 {
    let mut digits = 0;
    for place in 0..8 {
        digits |= (n % 10) << (place * 4);
        n /= 10;
    }
    digits
}

/// A digit above 9 counts as 9.
fn from_bcd(digits: u64) -> u64 {
    (0..8).rev().fold(0, |n, place| n * 10 + (digits >> (place * 4) & 0xF).min(9))
}

/// Whether all digits are 0 to 9.
fn is_bcd(digits: u64) -> bool {
    (0..8).all(|place| digits >> (place * 4) & 0xF <= 9)
}

impl Point {
    /// Registers in the order of the point to a number whose first register is the highest; and back.
    fn turn(&self, words: &mut [u16]) {
        if self.order.reverses_registers() && self.kind != Type::String {
            words.reverse();
        }
        if self.order.swaps_bytes() {
            words.iter_mut().for_each(|w| *w = w.swap_bytes());
        }
    }

    fn bits(&self, words: &[u16]) -> u64 {
        let mut ordered = [0; 4];
        let ordered = &mut ordered[..words.len().min(4)];
        ordered.copy_from_slice(&words[..ordered.len()]);
        self.turn(ordered);
        ordered.iter().fold(0, |n, w| n << 16 | u64::from(*w))
    }

    fn raw(&self, words: &[u16]) -> Raw {
        let bits = self.bits(words);
        match self.kind {
            Type::Bool => Raw::Uint(u64::from(match self.bit {
                Some(bit) => bits >> bit & 1 == 1,
                None => bits != 0,
            })),
            Type::U16 | Type::U32 | Type::U64 | Type::String => Raw::Uint(bits),
            Type::I16 => Raw::Int(i64::from(bits as i16)),
            Type::I32 => Raw::Int(i64::from(bits as i32)),
            Type::I64 => Raw::Int(bits as i64),
            Type::F32 => Raw::Float(f64::from(f32::from_bits(bits as u32))),
            Type::F64 => Raw::Float(f64::from_bits(bits)),
            Type::Bcd16 | Type::Bcd32 => Raw::Uint(from_bcd(bits)),
        }
    }

    /// With scale and offset. A scale such as 0.1 divides, so that 3 is 0.3 and not 0.30000000000000004.
    pub(crate) fn to_measure(&self, raw: f64) -> f64 {
        match self.divisor() {
            Some(divisor) => raw / divisor + self.offset,
            None => raw * self.scale + self.offset,
        }
    }

    fn to_raw(&self, value: f64) -> f64 {
        match self.divisor() {
            Some(divisor) => (value - self.offset) * divisor,
            None => (value - self.offset) / self.scale,
        }
    }

    fn divisor(&self) -> Option<f64> {
        let divisor = libm::round(1.0 / self.scale);
        (divisor.abs() > 1.5 && (divisor * self.scale - 1.0).abs() < 1e-12).then_some(divisor)
    }

    /// The value as a number; 0 or 1 for a bool. A string has none and is 0.
    pub(crate) fn number(&self, words: &[u16]) -> f64 {
        match self.kind {
            Type::String => 0.0,
            Type::Bool => self.raw(words).number(),
            _ if self.is_plain() => self.raw(words).number(),
            _ => self.to_measure(self.raw(words).number()),
        }
    }

    /// The value for people.
    pub(crate) fn value(&self, words: &[u16]) -> Value {
        match (self.kind, self.raw(words)) {
            (Type::String, _) => Value::Text(self.text(words)),
            (Type::Bool, raw) => Value::Bool(raw.number() != 0.0),
            (_, raw) if !self.is_plain() => Value::Float(self.to_measure(raw.number())),
            (_, Raw::Int(n)) => Value::Int(n),
            (_, Raw::Uint(n)) => i64::try_from(n).map_or(Value::Uint(n), Value::Int),
            // The shortest number that is this f32, not all digits of the f64 that equals it.
            (Type::F32, Raw::Float(x)) => Value::Float((x as f32).to_string().parse().unwrap_or(x)),
            (_, Raw::Float(x)) => Value::Float(x),
        }
    }

    /// The value that cells say which came over a line, in the order of their addresses; `None` if the point has
    /// more or fewer.
    pub fn decode(&self, cells: &[u16]) -> Option<Value> {
        (cells.len() == usize::from(self.cells)).then(|| self.value(cells))
    }

    fn text(&self, words: &[u16]) -> String {
        let swap = self.order.swaps_bytes();
        let mut bytes: Vec<u8> =
            words.iter().flat_map(|w| if swap { w.to_le_bytes() } else { w.to_be_bytes() }).collect();
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        // Bytes that are no UTF-8 are Latin-1, as devices send it.
        String::from_utf8(bytes).unwrap_or_else(|e| e.as_bytes().iter().copied().map(char::from).collect())
    }

    /// Writes a number into the point's cells; what the type cannot hold becomes the nearest it can. `false` if
    /// that was so.
    pub(crate) fn put_number(&self, value: f64, words: &mut [u16]) -> bool {
        let (low, high) = range(self.kind);
        let (bits, good) = match self.kind {
            Type::String => return false,
            Type::Bool => (u64::from(value != 0.0), true),
            Type::F32 => {
                let raw = self.to_raw(value);
                let small = raw as f32;
                (u64::from(small.to_bits()), small.is_finite() || !raw.is_finite())
            }
            Type::F64 => (self.to_raw(value).to_bits(), true),
            _ => {
                let raw = libm::round(self.to_raw(value));
                let held = raw.max(low).min(high);
                let bits = match self.kind {
                    Type::Bcd16 | Type::Bcd32 => to_bcd(held as u64),
                    Type::I16 | Type::I32 | Type::I64 => held as i64 as u64,
                    _ => held as u64,
                };
                // A highest value that was scaled there and back may be off by a rounding.
                (bits, raw >= low * ROUNDING && raw <= high * ROUNDING)
            }
        };
        self.put_bits(bits, words);
        good
    }

    fn put_bits(&self, bits: u64, words: &mut [u16]) {
        if self.table.is_bits() {
            words[0] = u16::from(bits != 0);
        } else if let Some(bit) = self.bit {
            let mask = if self.order.swaps_bytes() { (1u16 << bit).swap_bytes() } else { 1 << bit };
            words[0] = if bits == 0 { words[0] & !mask } else { words[0] | mask };
        } else {
            let count = words.len();
            for (i, w) in words.iter_mut().enumerate() {
                *w = (bits >> (16 * (count - 1 - i))) as u16;
            }
            self.turn(words);
        }
    }

    /// Writes a value into the point's cells, exactly.
    pub(crate) fn put(&self, value: &Value, words: &mut [u16]) -> Result<(), SetError> {
        let range_error = |value: f64| {
            let (low, high) = range(self.kind);
            let (a, b) = (self.to_measure(low), self.to_measure(high));
            let (point, kind) = (self.name.clone(), self.kind.name());
            SetError::Range { point, kind, value, low: a.min(b), high: a.max(b) }
        };
        if self.kind == Type::String {
            return match value {
                Value::Text(text) => self.put_text(text, words),
                other => self.put_text(&other.to_string(), words),
            };
        }
        let parsed;
        let value = match value {
            Value::Text(text) => {
                parsed = Value::parse(text);
                &parsed
            }
            other => other,
        };
        // Numbers of 64 bits do not go through f64.
        let exact = match (self.kind, value) {
            (Type::U64, Value::Int(n)) if self.is_plain() => u64::try_from(*n).ok(),
            (Type::U64, Value::Uint(n)) if self.is_plain() => Some(*n),
            (Type::I64, Value::Int(n)) if self.is_plain() => Some(*n as u64),
            _ => None,
        };
        if let Some(bits) = exact {
            self.put_bits(bits, words);
            return Ok(());
        }
        let number = match (self.kind, value) {
            (_, Value::Text(_)) => None,
            (Type::Bool, value) => value.number().filter(|n| *n == 0.0 || *n == 1.0),
            (_, Value::Bool(_)) => None,
            (_, value) => value.number(),
        };
        let number = number.ok_or_else(|| SetError::wrong_type(self, value))?;
        let mut trial: Words = [0; MOST_CELLS];
        let trial = &mut trial[..words.len()];
        trial.copy_from_slice(words);
        if !self.put_number(number, trial) {
            return Err(range_error(number));
        }
        words.copy_from_slice(trial);
        Ok(())
    }

    fn put_text(&self, text: &str, words: &mut [u16]) -> Result<(), SetError> {
        let (length, most) = (text.len(), words.len() * 2);
        // Bytes that were read as Latin-1 are written as such.
        let latin = length > most && text.chars().all(|c| u8::try_from(c).is_ok());
        if length > most && !(latin && text.chars().count() <= most) {
            return Err(SetError::Long { point: self.name.clone(), length, most });
        }
        let (mut chars, mut bytes) = (text.chars().map(|c| c as u8), text.bytes());
        let mut next = || if latin { chars.next() } else { bytes.next() }.unwrap_or(0);
        for w in words {
            let pair = [next(), next()];
            *w = if self.order.swaps_bytes() { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) };
        }
        Ok(())
    }

    /// Whether [`admits`](Self::admits) can say no.
    pub(crate) fn checks_writes(&self) -> bool {
        self.min.is_some() || self.max.is_some() || matches!(self.kind, Type::Bcd16 | Type::Bcd32)
    }

    /// Whether a master may write these cells: within the limits, and digits where there must be digits.
    pub(crate) fn admits(&self, words: &[u16]) -> bool {
        if matches!(self.kind, Type::Bcd16 | Type::Bcd32) && !is_bcd(self.bits(words)) {
            return false;
        }
        if self.min.is_none() && self.max.is_none() {
            return true;
        }
        let value = self.number(words);
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

impl Table {
    /// As files call a place in it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coils => "coil",
            Self::DiscreteInputs => "discrete",
            Self::HoldingRegisters => "holding",
            Self::InputRegisters => "input",
        }
    }
}

impl Point {
    /// The lowest or highest value that the type holds.
    pub(crate) fn end(&self, lowest: bool) -> f64 {
        let (low, high) = range(self.kind);
        let (a, b) = (self.to_measure(low), self.to_measure(high));
        if lowest { a.min(b) } else { a.max(b) }
    }
}
