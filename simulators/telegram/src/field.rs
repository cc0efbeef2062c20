//! Fields of telegrams: from points to bytes and back. Knows no framing.

use hilrig_points::Plant;
use hilrig_port::Time;

use crate::bound::{Bound, Text};

use crate::buf::Buf;
use crate::coding::{Coding, Got, Number};
use crate::file::TimeUnit;

/// Where the value of a field comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// These bytes.
    Bytes(Box<[u8]>),
    /// Anything.
    Skip(usize),
    Point(Bound),
    Value(f64),
    Counter {
        from: i64,
        to: i64,
        next: i64,
    },
    Time(TimeUnit),
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub source: Source,
    pub coding: Coding,
    /// The number in the telegram is this many times the value.
    pub scale: f64,
    /// A received value must equal the point.
    pub matches: bool,
}

impl Field {
    /// Appends it to a telegram.
    pub fn write(&mut self, plant: &mut Plant, now: Time, begin: Time, out: &mut Buf) {
        let number = match &mut self.source {
            Source::Bytes(bytes) => return out.extend(bytes),
            Source::Skip(n) => return (0..*n).for_each(|_| out.push(0)),
            Source::Point(point) if point.is_text() => {
                let text = Text::of(point, plant, now);
                return self.coding.write_text(text.chars(), out);
            }
            Source::Point(point) => point.number(plant, now),
            Source::Value(x) => number(*x),
            Source::Counter { from, to, next } => {
                let n = *next;
                *next = if n >= *to { *from } else { n + 1 };
                Number::Int(n.into())
            }
            Source::Time(unit) => {
                let since = now.since(begin);
                Number::Int(match unit {
                    TimeUnit::Us => since.as_micros() as i128,
                    TimeUnit::Ms => since.as_millis() as i128,
                    TimeUnit::S => since.as_secs().into(),
                })
            }
        };
        self.coding.write(number.times(self.scale), out);
    }
}

/// A constant, whole if it is.
fn number(x: f64) -> Number {
    if x.fract() == 0.0 && x.abs() < 1e15 { Number::Int(x as i128) } else { Number::Float(x) }
}

/// A point and what a telegram says of it.
pub(crate) type Found = Vec<(Bound, Got, f64)>;

/// Whether a telegram has these fields; what it says of points goes into `found`. `scratch` is room for one field.
pub(crate) fn fits(
    fields: &[Field],
    body: &[u8],
    plant: &mut Plant,
    now: Time,
    found: &mut Found,
    scratch: &mut Buf,
) -> bool {
    found.clear();
    let mut at = 0;
    for (i, field) in fields.iter().enumerate() {
        let rest = &body[at..];
        if let Source::Bytes(bytes) = &field.source {
            if !rest.starts_with(bytes) {
                return false;
            }
            at += bytes.len();
            continue;
        }
        if let Source::Skip(n) = field.source {
            if rest.len() < n {
                return false;
            }
            at += n;
            continue;
        }
        let stop = fields.get(i + 1).and_then(|next| match &next.source {
            Source::Bytes(bytes) => Some(&**bytes),
            _ => None,
        });
        let Some((got, len)) = field.coding.read(rest, at, stop) else { return false };
        at += len;
        match field.source {
            Source::Value(x) if !matches!(got, Got::Number(n) if n.float() == x * field.scale) => {
                return false;
            }
            Source::Point(point) if field.matches => {
                let same = match &got {
                    Got::Text(range) => {
                        let text = Text::of(&point, plant, now);
                        text.chars().map(u32::from).eq(body[range.clone()].iter().map(|b| u32::from(*b)))
                    }
                    Got::Number(n) => {
                        // As it would be written: a point of 12.34 matches a field that says 12.3.
                        scratch.clear();
                        field.coding.write(point.number(plant, now).times(field.scale), scratch);
                        let again = field.coding.read(scratch, 0, None);
                        matches!(again, Some((Got::Number(own), _)) if own.float() == n.float())
                    }
                };
                if !same {
                    return false;
                }
            }
            Source::Point(point) => found.push((point, got, field.scale)),
            _ => {}
        }
    }
    at == body.len()
}

/// Writes what was found into its points; answers how many did not take it. `text` is room for one text.
pub(crate) fn put(plant: &mut Plant, now: Time, body: &[u8], found: &mut Found, text: &mut String) -> u64 {
    let mut refused = 0;
    for (point, got, scale) in found.drain(..) {
        let taken = match got {
            Got::Number(n) => point.set(plant, now, n.times(1.0 / scale)),
            Got::Text(range) => point.set_text(plant, now, &body[range], text),
        };
        refused += u64::from(!taken);
    }
    refused
}
