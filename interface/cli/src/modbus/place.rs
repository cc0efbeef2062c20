//! Where a value is in a device: table and address, as people write them. Knows nothing of values.

use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Coils,
    Discrete,
    Input,
    Holding,
}

impl Table {
    pub fn word(self) -> &'static str {
        match self {
            Self::Coils => "coil",
            Self::Discrete => "discrete",
            Self::Input => "input",
            Self::Holding => "holding",
        }
    }

    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coils | Self::Discrete)
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "coil" | "coils" => Self::Coils,
            "discrete" | "discrete_input" | "discrete_inputs" => Self::Discrete,
            "input" | "inputs" | "input_register" | "input_registers" => Self::Input,
            "holding" | "holding_register" | "holding_registers" => Self::Holding,
            _ => return None,
        })
    }
}

/// An address, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub table: Table,
    pub first: u16,
    /// Of a range, its last address.
    pub last: Option<u16>,
}

impl Place {
    pub fn one(table: Table, first: u16) -> Self {
        Self { table, first, last: None }
    }

    /// How many addresses, at least one.
    pub fn len(self) -> u32 {
        u32::from(self.last.unwrap_or(self.first)) - u32::from(self.first) + 1
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.table.word(), self.first)?;
        self.last.filter(|last| *last != self.first).map_or(Ok(()), |last| write!(f, "..{last}"))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (table, addresses) = match text.split_once(':') {
            Some((word, rest)) => {
                let table = Table::from_word(word).ok_or_else(|| {
                    format!("`{word}` is no table; the tables are coil, discrete, input and holding")
                })?;
                (Some(table), rest)
            }
            None => (None, text),
        };
        let (first, last) = match addresses.split_once("..") {
            Some((first, last)) => (first, Some(last)),
            None => (addresses, None),
        };
        let address = |text: &str| match table {
            Some(table) => number(text).map(|address| (table, address)),
            None => counted_from_one(text),
        };
        let wrong = || {
            format!(
                "`{text}` is no place; the form is holding:0, holding:0..9, coil:3, 40001 or 40001..40010"
            )
        };
        let (table, first) = address(first).ok_or_else(wrong)?;
        let last = last.map(|last| address(last).ok_or_else(wrong)).transpose()?;
        if last.is_some_and(|(other, last)| other != table || last < first) {
            return Err(wrong());
        }
        Ok(Self { table, first, last: last.map(|(_, last)| last) })
    }
}

fn number(text: &str) -> Option<u16> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The numbers of old handbooks: a digit for the table, and four or five that count from 1.
fn counted_from_one(text: &str) -> Option<(Table, u16)> {
    let text = text.trim();
    if !matches!(text.len(), 5 | 6) || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (table, number) = text.split_at(1);
    let table = match table {
        "0" => Table::Coils,
        "1" => Table::Discrete,
        "3" => Table::Input,
        "4" => Table::Holding,
        _ => return None,
    };
    let address = number.parse::<u32>().ok()?.checked_sub(1)?;
    Some((table, u16::try_from(address).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_in_both_notations() {
        for (text, shown, len) in [
            ("holding:0..9", "holding:0..9", 10),
            ("coil:3", "coil:3", 1),
            ("Coils: 0x10 .. 0x11", "coil:16..17", 2),
            ("40001", "holding:0", 1),
            ("40001..40010", "holding:0..9", 10),
            ("30005", "input:4", 1),
            ("10001", "discrete:0", 1),
            ("00017", "coil:16", 1),
            ("465536", "holding:65535", 1),
            ("holding:0..65535", "holding:0..65535", 65536),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.to_string().as_str(), place.len()), (shown, len), "{text}");
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
    }

    #[test]
    fn what_is_no_place_says_so() {
        for text in [
            "",
            "holding",
            "holding:",
            "holding:x",
            "holding:9..0",
            "holding:65536",
            "bits:1",
            "40000",
            "465537",
            "50001",
            "4001",
            "40001..30002",
            "holding:-1",
            "4000100",
            "4０001",
            "holding:1..2..3",
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert!(error.contains("no place") || error.contains("no table"), "{text}: {error}");
        }
    }
}
