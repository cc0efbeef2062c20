//! A point as telegrams read and write it: without allocating. Knows no telegrams.

use hilrig_points::{Plant, PointId, Type, Value};
use hilrig_port::Time;

use crate::coding::Number;

/// Bytes of the longest text of a point.
pub(crate) const TEXT: usize = 250;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Without a fraction, up to 64 bits, all of which count.
    Whole,
    Fraction,
    Text,
}

/// A point that a telegram speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    id: PointId,
    kind: Kind,
    /// It takes more than a register.
    pub wide: bool,
    /// A whole number that can be negative.
    pub signed: bool,
}

impl Bound {
    pub fn new(plant: &Plant, id: PointId) -> Self {
        let point = plant.describe(id);
        let plain = point.scale == 1.0 && point.offset == 0.0;
        let kind = match point.kind {
            Type::String => Kind::Text,
            Type::F32 | Type::F64 => Kind::Fraction,
            _ if plain => Kind::Whole,
            _ => Kind::Fraction,
        };
        let signed = matches!(point.kind, Type::I16 | Type::I32 | Type::I64);
        Self { id, kind, wide: point.cells > 1, signed }
    }

    pub fn is_text(&self) -> bool {
        self.kind == Kind::Text
    }

    pub fn is_fraction(&self) -> bool {
        self.kind == Kind::Fraction
    }

    /// 0 for text.
    pub fn number(&self, plant: &mut Plant, now: Time) -> Number {
        if self.kind != Kind::Whole {
            return Number::Float(plant.number(now, self.id));
        }
        Number::Int(match plant.get(now, self.id) {
            Value::Bool(on) => on.into(),
            Value::Int(n) => n.into(),
            Value::Uint(n) => n.into(),
            Value::Float(_) | Value::Text(_) => 0,
        })
    }

    /// The nearest value that the point can hold; text takes no numbers.
    pub fn set(&self, plant: &mut Plant, now: Time, number: Number) -> bool {
        match (self.kind, number) {
            (Kind::Text, _) => return false,
            (Kind::Whole, Number::Int(n)) if n.unsigned_abs() > 1 << 53 => {
                // A float has no room for all of its digits.
                let value = i64::try_from(n).map(Value::Int);
                let value = value.or_else(|_| u64::try_from(n).map(Value::Uint));
                match value {
                    Ok(value) if plant.set(now, self.id, &value).is_ok() => {}
                    _ => plant.set_number(now, self.id, n as f64),
                }
            }
            _ if !number.float().is_finite() => return false,
            _ => plant.set_number(now, self.id, number.float()),
        }
        true
    }

    /// Sets a text of one byte a character; `room` is a string to put it together in.
    pub fn set_text(&self, plant: &mut Plant, now: Time, text: &[u8], room: &mut String) -> bool {
        room.clear();
        if self.kind != Kind::Text || text.len() > TEXT {
            return false;
        }
        room.extend(text.iter().map(|b| char::from(*b)));
        // Asked for here: a refusal of the plant is a text, which would be allocated. What is too long as UTF-8 is kept
        // as it came.
        if text.len() > 2 * usize::from(plant.describe(self.id).cells) {
            return false;
        }
        let value = Value::Text(std::mem::take(room));
        let taken = plant.set(now, self.id, &value).is_ok();
        if let Value::Text(text) = value {
            *room = text;
        }
        taken
    }
}

/// The text of a point, out of its registers.
pub(crate) struct Text {
    bytes: [u8; TEXT],
    len: usize,
}

impl Text {
    /// Empty for points of another kind.
    pub fn of(bound: &Bound, plant: &mut Plant, now: Time) -> Self {
        let mut text = Self { bytes: [0; TEXT], len: 0 };
        if bound.kind != Kind::Text {
            return text;
        }
        let point = plant.describe(bound.id);
        let (unit, table, address, cells, order) =
            (point.unit, point.table, point.address, point.cells, point.order);
        let Some(room) = text.bytes.get_mut(..2 * usize::from(cells)) else { return text };
        if plant.read_registers(now, unit, table, address, cells, room).is_ok() {
            if matches!(order, hilrig_points::Order::Dcba | hilrig_points::Order::Badc) {
                room.chunks_exact_mut(2).for_each(|word| word.swap(0, 1));
            }
        } else if let Value::Text(own) = plant.get(now, bound.id) {
            // No master may read it, so its registers are closed to us, too.
            room.fill(0);
            room.iter_mut().zip(own.bytes()).for_each(|(to, from)| *to = from);
        }
        text.len = room.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        text
    }

    /// As UTF-8, or one byte a character if it is not.
    pub fn chars(&self) -> impl Iterator<Item = char> {
        let bytes = &self.bytes[..self.len];
        let utf8 = std::str::from_utf8(bytes).ok();
        let single = if utf8.is_some() { &[] } else { bytes };
        utf8.unwrap_or_default().chars().chain(single.iter().map(|b| char::from(*b)))
    }
}
