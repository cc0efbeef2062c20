//! Times and byte strings as people write them in rules. Parsing and printing only.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written as `250us`, `1.5ms`, `2s`, `3m` or `8h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

/// Units with their nanoseconds, the longest first.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time; the form is 250us, 1.5ms, 2s, 3m or 8h");
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let (_, unit) = *UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') {
            return Err(wrong());
        }
        let number = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<u64>() };
        let (whole, part) = (number(whole).map_err(|_| wrong())?, number(fraction).map_err(|_| wrong())?);
        let part = u128::from(part) * u128::from(unit) / 10u128.pow(fraction.len() as u32);
        let ns = u128::from(whole) * u128::from(unit) + part;
        Ok(Self(Duration::from_nanos(u64::try_from(ns).map_err(|_| wrong())?)))
    }
}

/// Prints the largest unit that keeps it whole.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        let (name, unit) =
            UNITS.iter().find(|(_, unit)| ns.is_multiple_of(u128::from(*unit))).unwrap_or(&("ns", 1));
        if ns == 0 { f.write_str("0s") } else { write!(f, "{}{name}", ns / u128::from(*unit)) }
    }
}

/// Bytes, written in hexadecimal with or without spaces: `11 03 0a`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hex(pub Vec<u8>);

impl FromStr for Hex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = text.parse::<Pattern>()?;
        let bytes: Option<Vec<u8>> = pattern.0.into_iter().collect();
        bytes
            .map(Self)
            .ok_or_else(|| format!("`{text}` must not contain `??`: any byte is allowed in patterns only"))
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0.iter().map(|b| Some(*b)), f)
    }
}

/// Bytes to look for, written like [`Hex`]; `??` stands for any byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub Vec<Option<u8>>);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a row of bytes; the form is `11 03 0a`, two hexadecimal digits each");
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
        let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        if !digits.len().is_multiple_of(2) {
            return Err(wrong());
        }
        let bytes: Option<Vec<_>> =
            digits
                .chunks_exact(2)
                .map(|pair| {
                    if pair == b"??" {
                        Some(None)
                    } else {
                        Some(Some(digit(pair[0])? << 4 | digit(pair[1])?))
                    }
                })
                .collect();
        bytes.map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0.iter().copied(), f)
    }
}

fn show(bytes: impl Iterator<Item = Option<u8>>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut sep = "";
    for byte in bytes {
        match byte {
            Some(byte) => write!(f, "{sep}{byte:02x}")?,
            None => write!(f, "{sep}??")?,
        }
        sep = " ";
    }
    Ok(())
}

/// As a string in files and in JSON.
macro_rules! as_string {
    ($type:ty, $name:literal, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(d)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

as_string!(Span, "Span", r"^[0-9.]+ *(ns|us|ms|s|m|h)$");
as_string!(Hex, "Hex", r"^([0-9a-fA-F]{2} *)+$");
as_string!(Pattern, "Pattern", r"^(([0-9a-fA-F]{2}|\?\?) *)+$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed() {
        for (text, ns) in [
            ("250us", 250_000),
            ("1.5ms", 1_500_000),
            ("2s", 2_000_000_000),
            ("0s", 0),
            ("3 m", 180_000_000_000),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_nanos(), ns);
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!(Span(Duration::from_micros(1500)).to_string(), "1500us");
        assert_eq!(Span(Duration::from_secs(28_800)).to_string(), "8h");
        for bad in ["", "5", "ms", ".s", "-1s", "1.2.3s", "1 day", "1e3s", "99999999999h", "1.0000000001s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_are_read_and_printed() {
        assert_eq!("1103 0A".parse::<Hex>().unwrap().0, [0x11, 3, 10]);
        assert_eq!("11 ?? 0a".parse::<Pattern>().unwrap().0, [Some(0x11), None, Some(10)]);
        assert_eq!("11??0A".parse::<Pattern>().unwrap().to_string(), "11 ?? 0a");
        for bad in ["1", "1g", "0x11", "1?", "ä1"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        assert!("??".parse::<Hex>().is_err());
    }
}
