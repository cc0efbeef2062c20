//! Checksums: what they are computed of and how they are written. CRCs are made bit by bit from their parameters: a table
//! would have to be made for each table of a model, and telegrams are short.

use crate::buf::{Buf, from_decimal, from_hex};
use crate::file::SumEncoding;

/// A CRC by the parameters of the Rocksoft model, as catalogues give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crc {
    /// 3 to 32.
    pub width: u32,
    pub poly: u32,
    pub init: u32,
    pub refin: bool,
    pub refout: bool,
    pub xorout: u32,
}

impl Crc {
    pub fn of<'b>(&self, bytes: impl Iterator<Item = &'b u8>) -> u32 {
        // At the top of the register, so that the width does not matter.
        let up = 32 - self.width;
        let mut crc = self.init << up;
        for byte in bytes {
            let byte = if self.refin { byte.reverse_bits() } else { *byte };
            for bit in (0..8).rev() {
                let top = (crc >> 31) ^ u32::from(byte >> bit & 1);
                crc = crc << 1 ^ if top == 1 { self.poly << up } else { 0 };
            }
        }
        let crc = if self.refout { crc.reverse_bits() } else { crc >> up };
        crc ^ self.xorout
    }
}

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    Xor,
    Lrc,
    Sum8,
    Sum16,
    Crc(Crc),
}

impl Sum {
    pub fn of<'b>(&self, bytes: impl Iterator<Item = &'b u8>) -> u32 {
        let plain = |sum: u32, byte: &u8| sum.wrapping_add(u32::from(*byte));
        match self {
            Self::Xor => bytes.fold(0, |sum, byte| sum ^ u32::from(*byte)),
            Self::Lrc => bytes.fold(0, plain).wrapping_neg() & 0xFF,
            Self::Sum8 => bytes.fold(0, plain) & 0xFF,
            Self::Sum16 => bytes.fold(0, plain) & 0xFFFF,
            Self::Crc(crc) => crc.of(bytes),
        }
    }

    /// Bytes of the sum itself.
    fn size(&self) -> usize {
        match self {
            Self::Xor | Self::Lrc | Self::Sum8 => 1,
            Self::Sum16 => 2,
            Self::Crc(crc) => crc.width.div_ceil(8) as usize,
        }
    }
}

/// A checksum in a telegram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub sum: Sum,
    pub encoding: SumEncoding,
    /// Characters before it, not covered.
    pub lead: Box<[u8]>,
    pub after_end: bool,
    pub with_start: bool,
    pub with_end: bool,
    pub skip: usize,
}

impl Check {
    /// Bytes of the lead and the sum as written.
    pub fn len(&self) -> usize {
        let size = self.sum.size();
        let sum = match self.encoding {
            SumEncoding::Big | SumEncoding::Little => size,
            SumEncoding::Hex | SumEncoding::HexLower => 2 * size,
            // 255, 65535, 16777215, 4294967295
            SumEncoding::Decimal => [3, 5, 8, 10][size - 1],
        };
        self.lead.len() + sum
    }

    /// The sum of a telegram; `inner` is what stands between its marks.
    pub fn of(&self, start: &[u8], inner: &[u8], end: &[u8]) -> u32 {
        let start = if self.with_start { start } else { &[] };
        let end = if self.with_end { end } else { &[] };
        self.sum.of(start.iter().chain(inner).chain(end).skip(self.skip))
    }

    /// Appends lead and sum.
    pub fn write(&self, sum: u32, out: &mut Buf) {
        out.extend(&self.lead);
        let size = self.sum.size();
        match self.encoding {
            SumEncoding::Big => out.extend(&sum.to_be_bytes()[4 - size..]),
            SumEncoding::Little => out.extend(&sum.to_le_bytes()[..size]),
            SumEncoding::Hex => out.hex(sum.into(), 2 * size, false),
            SumEncoding::HexLower => out.hex(sum.into(), 2 * size, true),
            SumEncoding::Decimal => out.decimal(sum.into(), self.len() - self.lead.len()),
        }
    }

    /// Whether `bytes`, of the right length, are lead and sum. Hexadecimal digits count in either case.
    pub fn holds(&self, sum: u32, bytes: &[u8]) -> bool {
        let Some(written) = bytes.strip_prefix(&*self.lead) else { return false };
        let byte = |n: u32, b: &u8| n << 8 | u32::from(*b);
        let read = match self.encoding {
            SumEncoding::Big => Some(written.iter().fold(0, byte)),
            SumEncoding::Little => Some(written.iter().rev().fold(0, byte)),
            SumEncoding::Hex | SumEncoding::HexLower => from_hex(written).map(|n| n as u32),
            SumEncoding::Decimal => from_decimal(written).and_then(|n| n.try_into().ok()),
        };
        read == Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, parameters and check value (of "123456789") as the CRC RevEng catalogue gives them.
    #[test]
    fn crcs_have_the_published_check_values() {
        let crc = |width, poly, init, reflected, xorout| Crc {
            width,
            poly,
            init,
            refin: reflected,
            refout: reflected,
            xorout,
        };
        for (name, crc, check) in [
            ("CRC-3/GSM", crc(3, 3, 0, false, 7), 4),
            ("CRC-5/USB", crc(5, 5, 0x1F, true, 0x1F), 0x19),
            ("CRC-7/MMC", crc(7, 9, 0, false, 0), 0x75),
            ("CRC-8/SMBUS", crc(8, 7, 0, false, 0), 0xF4),
            ("CRC-8/MAXIM-DOW", crc(8, 0x31, 0, true, 0), 0xA1),
            ("CRC-8/I-432-1", crc(8, 7, 0, false, 0x55), 0xA1),
            ("CRC-12/UMTS", Crc { refout: true, ..crc(12, 0x80F, 0, false, 0) }, 0xDAF),
            ("CRC-16/ARC (DF1)", crc(16, 0x8005, 0, true, 0), 0xBB3D),
            ("CRC-16/MODBUS", crc(16, 0x8005, 0xFFFF, true, 0), 0x4B37),
            ("CRC-16/IBM-3740 (CCITT-FALSE)", crc(16, 0x1021, 0xFFFF, false, 0), 0x29B1),
            ("CRC-16/XMODEM", crc(16, 0x1021, 0, false, 0), 0x31C3),
            ("CRC-16/KERMIT", crc(16, 0x1021, 0, true, 0), 0x2189),
            ("CRC-16/IBM-SDLC (X-25)", crc(16, 0x1021, 0xFFFF, true, 0xFFFF), 0x906E),
            ("CRC-16/DNP", crc(16, 0x3D65, 0, true, 0xFFFF), 0xEA82),
            ("CRC-24/OPENPGP", crc(24, 0x86_4CFB, 0xB7_04CE, false, 0), 0x21_CF02),
            ("CRC-32/ISO-HDLC", crc(32, 0x04C1_1DB7, u32::MAX, true, u32::MAX), 0xCBF4_3926),
            ("CRC-32/MPEG-2", crc(32, 0x04C1_1DB7, u32::MAX, false, 0), 0x0376_E6E7),
        ] {
            assert_eq!(crc.of(b"123456789".iter()), check, "{name}");
        }
    }

    #[test]
    fn sums_of_the_check_string() {
        let of = |sum: Sum| sum.of(b"123456789".iter());
        assert_eq!(of(Sum::Xor), 0x31);
        assert_eq!(of(Sum::Sum16), 0x1DD);
        assert_eq!(of(Sum::Sum8), 0xDD);
        assert_eq!(of(Sum::Lrc), 0x23);
    }

    #[test]
    fn what_is_written_holds_and_nothing_else() {
        for encoding in [
            SumEncoding::Big,
            SumEncoding::Little,
            SumEncoding::Hex,
            SumEncoding::HexLower,
            SumEncoding::Decimal,
        ] {
            for sum in [Sum::Xor, Sum::Sum16] {
                let check = Check {
                    sum,
                    encoding,
                    lead: (*b"*").into(),
                    after_end: false,
                    with_start: false,
                    with_end: false,
                    skip: 1,
                };
                let value = check.of(b"", b"x\xF0\xFB", b"");
                let mut out = Buf::default();
                check.write(value, &mut out);
                assert_eq!(out.len(), check.len());
                assert!(check.holds(value, &out));
                assert!(!check.holds(value ^ 1, &out));
                assert!(!check.holds(value, &[&b"+"[..], &out[1..]].concat()));
            }
        }
    }
}
