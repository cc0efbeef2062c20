//! A telegram while it is put together or collected: a fixed buffer, so that nothing is allocated on the line.

use std::fmt;

/// The longest telegram, all its bytes.
pub const MAX_TELEGRAM: usize = 1024;

/// Bytes up to [`MAX_TELEGRAM`]; what does not fit is left out and remembered.
#[derive(Clone)]
pub(crate) struct Buf {
    bytes: Box<[u8; MAX_TELEGRAM]>,
    len: usize,
    full: bool,
}

impl Default for Buf {
    fn default() -> Self {
        Self { bytes: Box::new([0; MAX_TELEGRAM]), len: 0, full: false }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", &**self)
    }
}

impl std::ops::Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Buf {
    pub fn clear(&mut self) {
        self.len = 0;
        self.full = false;
    }

    /// Whether something did not fit.
    pub fn overflowed(&self) -> bool {
        self.full
    }

    pub fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.full = true,
        }
    }

    /// Appends bytes with each escape character doubled.
    pub fn stuff(&mut self, bytes: &[u8], escape: u8) {
        for &byte in bytes {
            self.push(byte);
            if byte == escape {
                self.push(byte);
            }
        }
    }

    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Takes out the first bytes.
    pub fn remove_first(&mut self, n: usize) {
        let n = n.min(self.len);
        self.bytes.copy_within(n..self.len, 0);
        self.len -= n;
    }

    /// The low digits of a number, the high one first.
    pub fn hex(&mut self, value: u64, digits: usize, lower: bool) {
        let table = if lower { b"0123456789abcdef" } else { b"0123456789ABCDEF" };
        for place in (0..digits).rev() {
            let digit = value.checked_shr(4 * place as u32).unwrap_or(0) & 0xF;
            self.push(table[digit as usize]);
        }
    }

    /// The last digits of a number.
    pub fn decimal(&mut self, value: u64, digits: usize) {
        for place in (0..digits as u32).rev() {
            let digit = 10_u64.checked_pow(place).map_or(0, |unit| value / unit % 10);
            self.push(b'0' + digit as u8);
        }
    }
}

impl fmt::Write for Buf {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend(text.as_bytes());
        Ok(())
    }
}

/// A number of hexadecimal digits only; `None` if it is something else.
pub(crate) fn from_hex(digits: &[u8]) -> Option<u64> {
    from_digits(digits, 16)
}

/// A number of decimal digits only; `None` if it is something else.
pub(crate) fn from_decimal(digits: &[u8]) -> Option<u64> {
    from_digits(digits, 10)
}

fn from_digits(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        n.checked_mul(radix.into())?.checked_add(digit.into())
    })
}
