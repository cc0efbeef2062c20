//! CRC-16 of Modbus serial lines (SL 6.2.2): polynomial 0xA001 reflected, initial value 0xFFFF, low byte first.

/// What a CRC starts from.
pub const INIT: u16 = 0xFFFF;

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Takes one more byte into a CRC. A frame with its own CRC behind it comes out as 0.
pub const fn step(crc: u16, byte: u8) -> u16 {
    crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize]
}

/// The CRC of `bytes`; it goes on the line as `to_le_bytes`.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(INIT, |crc, &b| step(crc, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(crc16(b"123456789"), 0x4B37);
        // SL 6.2.2: address 2, function 7 is followed by 0x41, 0x12 on the line.
        assert_eq!(crc16(&[2, 7]).to_le_bytes(), [0x41, 0x12]);
        assert_eq!(crc16(&[2, 7, 0x41, 0x12]), 0);
    }
}
