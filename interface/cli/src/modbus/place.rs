//! Where a value is in a device: table and address, written as in model files. Knows nothing of values.

use std::fmt;
use std::str::FromStr;

pub use hilrig_points::Table;

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
        write!(f, "{}:{}", self.table.name(), self.first)?;
        self.last.filter(|last| *last != self.first).map_or(Ok(()), |last| write!(f, "..{last}"))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (table, first, last) =
            hilrig_points::places(text).map_err(|(_, why)| format!("`{text}` is no place: {why}"))?;
        Ok(Self { table, first, last: text.contains("..").then_some(last) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_print_as_they_are_read() {
        for (text, shown, len) in [
            ("holding:0..9", "holding:0..9", 10),
            ("coil:3", "coil:3", 1),
            ("discrete:7..7", "discrete:7", 1),
            ("40001..40010", "holding:0..9", 10),
            ("30005", "input:4", 1),
            ("465536", "holding:65535", 1),
            ("holding:0..65535", "holding:0..65535", 65536),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.to_string().as_str(), place.len()), (shown, len), "{text}");
        }
        for text in ["", "bits:1", "holding:", "holding:9..0", "holding:65536", "40000", "40001..30002"] {
            assert!(text.parse::<Place>().unwrap_err().contains("no place"), "{text}");
        }
    }
}
