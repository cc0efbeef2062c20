//! Between registers and the values that people read and write. Pure.

use clap::ValueEnum;
use serde_json::{Value, json};

/// What registers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Type {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// One register, hexadecimal
    Hex,
    /// One register, bit by bit
    Bits,
    /// The whole range as text, two characters a register
    String,
}

/// Where the bytes of a value lie that takes more than one register; A is the most significant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Order {
    /// High register first, high byte first: the order of the specification
    Abcd,
    /// Low register first, high byte first
    Cdab,
    /// High register first, low byte first
    Badc,
    /// Low register first, low byte first
    Dcba,
}

impl Order {
    /// From this order to that of the specification, and back.
    fn turn(self, words: &mut [u16]) {
        if words.len() < 2 {
            return;
        }
        if matches!(self, Self::Cdab | Self::Dcba) {
            words.reverse();
        }
        if matches!(self, Self::Badc | Self::Dcba) {
            words.iter_mut().for_each(|w| *w = w.swap_bytes());
        }
    }
}

/// A value for people and for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub text: String,
    pub json: Value,
}

impl Shown {
    fn new(text: impl ToString, json: impl Into<Value>) -> Self {
        Self { text: text.to_string(), json: json.into() }
    }

    pub fn bit(on: bool) -> Self {
        Self::new(if on { "on" } else { "off" }, on)
    }
}

impl Type {
    /// Registers of one value; `None`: all there are.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::U16 | Self::I16 | Self::Hex | Self::Bits => Some(1),
            Self::U32 | Self::I32 | Self::F32 => Some(2),
            Self::U64 | Self::I64 | Self::F64 => Some(4),
            Self::String => None,
        }
    }

    /// One value of its registers.
    pub fn show(self, registers: &[u16], order: Order) -> Shown {
        let mut words = registers.to_vec();
        if self == Self::String {
            return text(&words, order);
        }
        order.turn(&mut words);
        let all = words.iter().fold(0u64, |all, w| all << 16 | u64::from(*w));
        match self {
            Self::U16 | Self::U32 | Self::U64 => Shown::new(all, all),
            Self::I16 => Shown::new(all as i16, all as i16),
            Self::I32 => Shown::new(all as i32, all as i32),
            Self::I64 => Shown::new(all as i64, all as i64),
            Self::F32 => {
                let value = f32::from_bits(all as u32);
                // Shortest text that is this f32: as an f64 it would have digits that nobody wrote.
                float(value.to_string(), value.to_string().parse().unwrap_or(f64::from(value)))
            }
            Self::F64 => float(f64::from_bits(all).to_string(), f64::from_bits(all)),
            Self::Hex => Shown::new(format!("0x{all:04x}"), format!("0x{all:04x}")),
            Self::Bits => {
                let [high, low] = (all as u16).to_be_bytes();
                let [a, b, c, d] = [high >> 4, high & 15, low >> 4, low & 15];
                let text = format!("{a:04b} {b:04b} {c:04b} {d:04b}");
                Shown::new(&text, text.replace(' ', ""))
            }
            Self::String => unreachable!("shown above"),
        }
    }

    /// The registers of one value.
    pub fn registers(self, value: &str, order: Order) -> Result<Vec<u16>, String> {
        let text = value.trim();
        let wrong = |form: &str| format!("`{value}` is no value of this type; it takes {form}");
        let signed = |bits: u32| {
            let value = integer(text).filter(|v| {
                let half = 1i128 << (bits - 1);
                // In hexadecimal the bits are meant.
                (-half..half).contains(v) || (text.contains("0x") && (0..half * 2).contains(v))
            });
            value
                .map(|v| v as u64)
                .ok_or_else(|| wrong(&format!("a whole number of {bits} bits with its sign")))
        };
        let unsigned = |bits: u32| {
            let value = integer(text).filter(|v| (0..1i128 << bits).contains(v));
            value
                .map(|v| v as u64)
                .ok_or_else(|| wrong(&format!("a whole number from 0 to {}", (1i128 << bits) - 1)))
        };
        let bits = match self {
            Self::U16 | Self::Hex => unsigned(16)?,
            Self::U32 => unsigned(32)?,
            Self::U64 => unsigned(64)?,
            Self::I16 => signed(16)?,
            Self::I32 => signed(32)?,
            Self::I64 => signed(64)?,
            Self::F32 => {
                text.parse::<f32>().map_err(|_| wrong("a number such as 1.5 or -2e3"))?.to_bits().into()
            }
            Self::F64 => text.parse::<f64>().map_err(|_| wrong("a number such as 1.5 or -2e3"))?.to_bits(),
            Self::Bits => {
                let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '_')).collect();
                let value = u16::from_str_radix(&digits, 2).ok().filter(|_| digits.len() <= 16);
                value.ok_or_else(|| wrong("up to 16 digits 0 and 1"))?.into()
            }
            Self::String => return Ok(of_text(value, order)),
        };
        let width = self.width().unwrap_or(1);
        let mut words: Vec<u16> = (0..width).rev().map(|i| (bits >> (16 * i)) as u16).collect();
        order.turn(&mut words);
        Ok(words)
    }
}

fn float(text: String, value: f64) -> Shown {
    // JSON has no such numbers.
    let json = if value.is_finite() { json!(value) } else { json!(text) };
    Shown { text, json }
}

fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
        None => i128::from(
            digits.parse::<u64>().ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))?,
        ),
    };
    Some(sign * value)
}

/// Text keeps its register order; only the two characters of a register may be swapped.
fn swaps(order: Order) -> bool {
    matches!(order, Order::Badc | Order::Dcba)
}

fn text(words: &[u16], order: Order) -> Shown {
    let bytes =
        words.iter().map(|w| if swaps(order) { w.swap_bytes() } else { *w }).flat_map(u16::to_be_bytes);
    let bytes: Vec<u8> = bytes.collect();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    // What a device holds must not steer the terminal.
    let shown: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    Shown::new(format!("\"{}\"", shown.trim_end()), shown.trim_end())
}

fn of_text(value: &str, order: Order) -> Vec<u16> {
    let pair = |pair: &[u8]| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
    let words = value.as_bytes().chunks(2).map(pair);
    words.map(|w| if swaps(order) { w.swap_bytes() } else { w }).collect()
}

/// A coil's value.
pub fn bit(value: &str) -> Result<bool, String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err(format!("`{value}` is no value of a coil; it takes on or off")),
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
