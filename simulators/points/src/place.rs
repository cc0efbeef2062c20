//! Where a point begins, as people write it: `holding:7` counted from 0, or `40008` counted from 1 as old manuals do.

use crate::Table;

/// Reads a place.
///
/// # Errors
/// What is wrong, and where in the text it begins.
pub fn place(text: &str) -> Result<(Table, u16), (usize, &'static str)> {
    let trimmed = text.trim();
    if let Some((name, address)) = trimmed.split_once(':') {
        let behind = text.find(':').unwrap_or(0) + 1;
        let table = match name.trim() {
            "holding" => Table::HoldingRegisters,
            "input" => Table::InputRegisters,
            "coil" | "coils" => Table::Coils,
            "discrete" => Table::DiscreteInputs,
            _ => return Err((0, "the tables are holding, input, coil and discrete")),
        };
        return match address.trim().parse() {
            Ok(address) => Ok((table, address)),
            Err(_) => Err((behind, "an address is a whole number from 0 to 65535")),
        };
    }
    let digits = trimmed.len();
    if !matches!(digits, 5 | 6) || !trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return Err((0, "write a place such as \"holding:0\", or 40001, 30001, 10001, \"00001\""));
    }
    let table = match trimmed.as_bytes()[0] {
        b'0' => Table::Coils,
        b'1' => Table::DiscreteInputs,
        b'3' => Table::InputRegisters,
        b'4' => Table::HoldingRegisters,
        _ => return Err((0, "numbers begin with 4 (holding), 3 (input), 1 (discrete) or 0 (coil)")),
    };
    let number: u32 = trimmed[1..].parse().unwrap_or(0);
    match number.checked_sub(1).map(u16::try_from) {
        Some(Ok(address)) => Ok((table, address)),
        _ => Err((1, "these numbers count from 1, to 65536 with six digits")),
    }
}

/// Reads one place or a range of one table, both ends included: `holding:0..9`, `40001..40010`.
///
/// # Errors
/// What is wrong, and where in the text it begins.
pub fn places(text: &str) -> Result<(Table, u16, u16), (usize, &'static str)> {
    let Some((first, last)) = text.split_once("..") else {
        return place(text).map(|(table, address)| (table, address, address));
    };
    let (table, from) = place(first)?;
    let behind = first.len() + 2;
    let to = if first.contains(':') {
        last.trim().parse().map_err(|_| (behind, "an address is a whole number from 0 to 65535"))?
    } else {
        match place(last).map_err(|(at, why)| (behind + at, why))? {
            (other, _) if other != table => return Err((behind, "both ends must be of one table")),
            (_, to) => to,
        }
    };
    if to < from {
        return Err((behind, "the first address is above the last"));
    }
    Ok((table, from, to))
}
