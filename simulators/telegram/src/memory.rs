//! The memory of a simulated PLC as its own protocol numbers it, laid over the cells of a unit. Inputs are read only.

use hilrig_points::{Plant, Refusal, Table};
use hilrig_port::Time;

/// Cells of a unit, numbered from 0; words of bit cells have 16 bits each, bits of registers count from the lowest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    pub unit: u8,
    pub table: Table,
    pub first: u16,
}

impl Area {
    /// Address of cell `n` if `count` cells from there on exist at all.
    fn address(&self, n: usize, count: usize) -> Result<(u16, u16), Refusal> {
        let first = usize::from(self.first).checked_add(n).ok_or(Refusal::Address)?;
        if count == 0 || first.checked_add(count).is_none_or(|end| end > 0x1_0000) {
            return Err(Refusal::Address);
        }
        let count = u16::try_from(count).map_err(|_| Refusal::Address)?;
        Ok((first as u16, count))
    }

    /// Words from number `n` on, the high byte first.
    pub fn read_words(&self, plant: &mut Plant, now: Time, n: usize, out: &mut [u8]) -> Result<(), Refusal> {
        let count = out.len() / 2;
        if self.table.is_bits() {
            let (first, bits) = self.address(16 * n, 16 * count)?;
            plant.read_bits(now, self.unit, self.table, first, bits, out)?;
            out.chunks_exact_mut(2).for_each(|word| word.swap(0, 1));
            Ok(())
        } else {
            let (first, count) = self.address(n, count)?;
            plant.read_registers(now, self.unit, self.table, first, count, out)
        }
    }

    pub fn write_words(&self, plant: &mut Plant, now: Time, n: usize, words: &[u8]) -> Result<(), Refusal> {
        let count = words.len() / 2;
        match self.table {
            Table::Coils => {
                let (first, bits) = self.address(16 * n, 16 * count)?;
                let mut packed = [0; 256];
                let packed = packed.get_mut(..words.len()).ok_or(Refusal::Address)?;
                packed.copy_from_slice(words);
                packed.chunks_exact_mut(2).for_each(|word| word.swap(0, 1));
                plant.write_bits(now, self.unit, first, bits, packed)
            }
            Table::HoldingRegisters => {
                let (first, _) = self.address(n, count)?;
                plant.write_registers(now, self.unit, first, words)
            }
            Table::DiscreteInputs | Table::InputRegisters => Err(Refusal::Address),
        }
    }

    /// Bit number `n`.
    pub fn read_bit(&self, plant: &mut Plant, now: Time, n: usize) -> Result<bool, Refusal> {
        if self.table.is_bits() {
            let (first, _) = self.address(n, 1)?;
            let mut out = [0];
            plant.read_bits(now, self.unit, self.table, first, 1, &mut out)?;
            Ok(out[0] & 1 == 1)
        } else {
            let mut word = [0; 2];
            self.read_words(plant, now, n / 16, &mut word)?;
            Ok(u16::from_be_bytes(word) >> (n % 16) & 1 == 1)
        }
    }

    /// Bits from number `n` on, one byte each. Refused before any is written if one of them does not exist.
    pub fn write_bits(&self, plant: &mut Plant, now: Time, n: usize, bits: &[bool]) -> Result<(), Refusal> {
        match self.table {
            Table::Coils => {
                let (first, count) = self.address(n, bits.len())?;
                let mut packed = [0_u8; 64];
                let packed = packed.get_mut(..bits.len().div_ceil(8)).ok_or(Refusal::Address)?;
                for (i, on) in bits.iter().enumerate() {
                    packed[i / 8] |= u8::from(*on) << (i % 8);
                }
                plant.write_bits(now, self.unit, first, count, packed)
            }
            Table::HoldingRegisters => {
                // Whole words with these bits changed, so that it is one write.
                let words = (n + bits.len()).div_ceil(16) - n / 16;
                let mut cells = [0; 128];
                let cells = cells.get_mut(..2 * words).ok_or(Refusal::Address)?;
                self.read_words(plant, now, n / 16, cells)?;
                for (i, on) in bits.iter().enumerate() {
                    let bit = n % 16 + i;
                    let byte = &mut cells[bit / 16 * 2 + usize::from(bit % 16 < 8)];
                    let mask = 1 << (bit % 8);
                    *byte = if *on { *byte | mask } else { *byte & !mask };
                }
                self.write_words(plant, now, n / 16, cells)
            }
            Table::DiscreteInputs | Table::InputRegisters => Err(Refusal::Address),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hilrig_points::Unit;

    use super::*;

    fn plant() -> Plant {
        let mut unit = Unit::new();
        unit.define(Table::HoldingRegisters, 10, [0x1234, 0x00FF, 0].into_iter()).unwrap();
        unit.define(Table::Coils, 0, (0..32).map(|i| u16::from(i % 3 == 0))).unwrap();
        let mut plant = Plant::default();
        plant.add_unit(1, unit).unwrap();
        plant
    }

    #[test]
    fn words_and_bits_of_either_kind_of_table() {
        let mut plant = plant();
        let now = Time(0);
        let words = Area { unit: 1, table: Table::HoldingRegisters, first: 10 };
        let bits = Area { unit: 1, table: Table::Coils, first: 0 };
        let mut out = [0; 4];
        words.read_words(&mut plant, now, 0, &mut out).unwrap();
        assert_eq!(out, [0x12, 0x34, 0, 0xFF]);
        assert!(words.read_bit(&mut plant, now, 2).unwrap());
        assert!(!words.read_bit(&mut plant, now, 24).unwrap());
        bits.read_words(&mut plant, now, 0, &mut out).unwrap();
        assert_eq!(out, [0x92, 0x49, 0x49, 0x24]);
        bits.write_words(&mut plant, now, 1, &[0x80, 0x01]).unwrap();
        assert!(bits.read_bit(&mut plant, now, 16).unwrap() && bits.read_bit(&mut plant, now, 31).unwrap());
        assert!(!bits.read_bit(&mut plant, now, 30).unwrap());
        words.write_bits(&mut plant, now, 14, &[true, true, false, true]).unwrap();
        words.read_words(&mut plant, now, 0, &mut out).unwrap();
        assert_eq!(out, [0xD2, 0x34, 0, 0xFE]);
        bits.write_bits(&mut plant, now, 1, &[true; 3]).unwrap();
        assert!((0..4).all(|n| bits.read_bit(&mut plant, now, n).unwrap()));
    }

    #[test]
    fn what_is_absent_or_an_input_is_refused() {
        let mut plant = plant();
        let now = Time(0);
        let words = Area { unit: 1, table: Table::HoldingRegisters, first: 10 };
        let mut out = [0; 8];
        for (n, len) in [(0, 8), (3, 2), (60_000, 4), (usize::MAX, 2), (0, 0)] {
            assert_eq!(words.read_words(&mut plant, now, n, &mut out[..len]), Err(Refusal::Address), "{n}");
        }
        let inputs = Area { table: Table::InputRegisters, ..words };
        assert_eq!(inputs.write_words(&mut plant, now, 0, &[0; 2]), Err(Refusal::Address));
        let bits = Area { unit: 1, table: Table::Coils, first: 0 };
        assert_eq!(bits.write_bits(&mut plant, now, 31, &[true; 2]), Err(Refusal::Address));
        assert!(!bits.read_bit(&mut plant, now, 31).unwrap());
    }
}
