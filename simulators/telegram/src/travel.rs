//! How telegrams travel: marks, lengths and checksums put around what is in them. Taking them off again is `frame`'s.

use std::time::Duration;

use crate::buf::{Buf, from_decimal, from_hex};
use crate::file::LengthEncoding;
use crate::sum::Check;

/// Where a telegram begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Between marks; without a start mark from one end to the next.
    Delimited { start: Box<[u8]>, end: Box<[u8]> },
    /// Between marks that are special behind an escape character, which is doubled inside.
    Dle { dle: u8, start: u8, end: u8 },
    /// A field says how long it is.
    Length { start: Box<[u8]>, end: Box<[u8]>, field: LengthField },
    /// All are of one length.
    Fixed { start: Box<[u8]>, length: usize },
    /// It ends by silence.
    Silence,
    /// FT1.2 (IEC 60870-5-1): E5, 10 .. 16, 68 L L 68 .. 16, with its sum.
    Ft12,
    /// What a computer sends to a Mitsubishi PLC: as long as its command says.
    Melsec { sum: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LengthField {
    pub offset: usize,
    pub bytes: usize,
    pub encoding: LengthEncoding,
    pub plus: i64,
}

impl LengthField {
    pub fn read(&self, raw: &[u8]) -> Option<i64> {
        let digits = raw.get(self.offset..self.offset + self.bytes)?;
        let byte = |n: u64, b: &u8| n << 8 | u64::from(*b);
        let n = match self.encoding {
            LengthEncoding::Big => digits.iter().fold(0, byte),
            LengthEncoding::Little => digits.iter().rev().fold(0, byte),
            LengthEncoding::Hex => from_hex(digits)?,
            LengthEncoding::Decimal => from_decimal(digits)?,
        };
        i64::try_from(n).ok()
    }

    fn write(&self, n: u64, out: &mut Buf) {
        match self.encoding {
            LengthEncoding::Big => out.extend(&n.to_be_bytes()[8 - self.bytes..]),
            LengthEncoding::Little => out.extend(&n.to_le_bytes()[..self.bytes]),
            LengthEncoding::Hex => out.hex(n, self.bytes, false),
            LengthEncoding::Decimal => out.decimal(n, self.bytes),
        }
    }

    /// The largest number that it can say.
    pub fn most(&self) -> u64 {
        let base: u64 = match self.encoding {
            LengthEncoding::Big | LengthEncoding::Little => 256,
            LengthEncoding::Hex => 16,
            LengthEncoding::Decimal => 10,
        };
        base.checked_pow(self.bytes as u32).map_or(u64::MAX, |n| n - 1)
    }
}

pub(crate) const ACK: u8 = 0xE5;

/// How telegrams travel: framing and checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Travel {
    pub framing: Framing,
    pub check: Option<Check>,
    /// A telegram that stops in its middle for so long is none; in framing by silence, what ends it.
    pub gap: Duration,
}

impl Travel {
    fn check_len(&self) -> usize {
        self.check.as_ref().map_or(0, Check::len)
    }

    /// Bytes of a telegram without anything in it.
    pub fn overhead(&self) -> usize {
        let marks = match &self.framing {
            Framing::Delimited { start, end } => start.len() + end.len(),
            Framing::Dle { .. } => 4,
            Framing::Length { start, end, field } => start.len() + end.len() + field.bytes,
            Framing::Fixed { start, .. } => start.len(),
            Framing::Silence | Framing::Melsec { .. } => 0,
            Framing::Ft12 => 6,
        };
        marks + self.check_len()
    }

    /// Puts marks, length and checksum around what is in a telegram; `false` if it does not fit.
    pub fn wrap(&self, body: &[u8], out: &mut Buf) -> bool {
        out.clear();
        match &self.framing {
            Framing::Delimited { start, end } => {
                out.extend(start);
                out.extend(body);
                self.close(start, end, out);
            }
            &Framing::Dle { dle, start, end } => {
                out.extend(&[dle, start]);
                out.stuff(body, dle);
                let check = self.check.as_ref();
                if let Some(check) = check.filter(|c| !c.after_end) {
                    // Stuffed like the rest.
                    let (at, mut sum) = (out.len(), [0; 16]);
                    check.write(check.of(&[start], body, &[end]), out);
                    let len = check.len();
                    let Some(written) = out.get(at..at + len) else { return false };
                    sum[..len].copy_from_slice(written);
                    out.truncate(at);
                    out.stuff(&sum[..len], dle);
                }
                out.extend(&[dle, end]);
                if let Some(check) = check.filter(|c| c.after_end) {
                    check.write(check.of(&[start], body, &[end]), out);
                }
            }
            Framing::Length { start, end, field } => {
                let before = field.offset - start.len();
                let Some((head, tail)) = body.split_at_checked(before) else { return false };
                let n = (self.overhead() + body.len()) as i64 - field.plus;
                let Some(n) = u64::try_from(n).ok().filter(|n| *n <= field.most()) else { return false };
                out.extend(start);
                out.extend(head);
                field.write(n, out);
                out.extend(tail);
                self.close(start, end, out);
            }
            Framing::Fixed { start, length } => {
                out.extend(start);
                out.extend(body);
                self.close(start, &[], out);
                return out.len() == *length;
            }
            Framing::Silence | Framing::Melsec { .. } => {
                out.extend(body);
                self.close(&[], &[], out);
            }
            Framing::Ft12 => {
                let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
                match body {
                    [] => {
                        out.push(ACK);
                        return true;
                    }
                    [_, _] => out.push(0x10),
                    _ => {
                        let Ok(len) = u8::try_from(body.len()) else { return false };
                        out.extend(&[0x68, len, len, 0x68]);
                    }
                }
                out.extend(body);
                out.extend(&[sum, 0x16]);
            }
        }
        !out.overflowed()
    }

    /// Appends checksum and end mark.
    fn close(&self, start: &[u8], end: &[u8], out: &mut Buf) {
        let Some(check) = &self.check else { return out.extend(end) };
        let sum = check.of(start, &out[start.len()..], end);
        if check.after_end {
            out.extend(end);
            check.write(sum, out);
        } else {
            check.write(sum, out);
            out.extend(end);
        }
    }
}
