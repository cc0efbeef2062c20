//! Requests as PDUs (function code and data), with the limits of AP section 6 exact to the last bit. Knows no
//! line, unit or data.
//!
//! Order of the checks, as every state diagram of AP section 6 draws it: function code known (else exception 1),
//! quantity, value and byte count (3), address range (2), then the work itself (4). A PDU longer or shorter than
//! its function says is a fault "in the structure of the remainder of a complex request" (AP section 7): 3.

use hilrig_points::{Refusal, Table};

/// Largest PDU (AP 4.1).
pub const MAX_PDU: usize = 253;
/// Most coils or discrete inputs in one read (AP 6.1, 6.2).
pub const MAX_READ_BITS: u16 = 2000;
/// Most registers in one read (AP 6.3, 6.4).
pub const MAX_READ_REGISTERS: u16 = 125;
/// Most coils in one write (AP 6.11).
pub const MAX_WRITE_BITS: u16 = 1968;
/// Most registers in one write (AP 6.12).
pub const MAX_WRITE_REGISTERS: u16 = 123;

/// Set in the function code of an exception reply (AP 7).
pub const EXCEPTION: u8 = 0x80;

/// Why a server refuses a request (AP 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exception {
    IllegalFunction = 1,
    IllegalAddress = 2,
    IllegalValue = 3,
    DeviceFailure = 4,
}

impl From<Refusal> for Exception {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Address => Self::IllegalAddress,
            Refusal::Value => Self::IllegalValue,
            Refusal::Failure => Self::DeviceFailure,
        }
    }
}

/// The function code that reads a table.
pub fn read_function(table: Table) -> u8 {
    match table {
        Table::Coils => 1,
        Table::DiscreteInputs => 2,
        Table::HoldingRegisters => 3,
        Table::InputRegisters => 4,
    }
}

/// The table that a function code reads.
pub fn read_by(function: u8) -> Option<Table> {
    Table::ALL.into_iter().find(|t| read_function(*t) == function)
}

/// One request, checked: quantities, values and byte counts are legal and the addresses do not pass 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Functions 1 to 4 (AP 6.1 to 6.4).
    Read { table: Table, address: u16, quantity: u16 },
    /// Function 5 (AP 6.5).
    WriteCoil { address: u16, on: bool },
    /// Function 6 (AP 6.6).
    WriteRegister { address: u16, value: u16 },
    /// Function 15 (AP 6.11); eight coils a byte, the first in the lowest bit.
    WriteCoils { address: u16, quantity: u16, bits: &'a [u8] },
    /// Function 16 (AP 6.12); two bytes a register, high byte first.
    WriteRegisters { address: u16, values: &'a [u8] },
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Largest quantity of one read of a table.
pub fn max_read(table: Table) -> u16 {
    if table.is_bits() { MAX_READ_BITS } else { MAX_READ_REGISTERS }
}

/// Bytes that `quantity` values of a table take in a read reply.
pub fn read_bytes(table: Table, quantity: u16) -> usize {
    if table.is_bits() { usize::from(quantity).div_ceil(8) } else { usize::from(quantity) * 2 }
}

impl<'a> Request<'a> {
    /// Reads a request PDU.
    ///
    /// # Errors
    /// The exception to answer with.
    pub fn decode(pdu: &'a [u8]) -> Result<Self, Exception> {
        use Exception::{IllegalFunction, IllegalValue};
        let (&function, data) = pdu.split_first().ok_or(IllegalFunction)?;
        if !matches!(function, 1..=6 | 15 | 16) {
            return Err(IllegalFunction);
        }
        if data.len() < 4 || (function <= 6 && data.len() != 4) {
            return Err(IllegalValue);
        }
        let (address, second) = (word(data, 0), word(data, 2));
        let (request, quantity) = match function {
            1..=4 => {
                let table = read_by(function).ok_or(IllegalFunction)?;
                if !(1..=max_read(table)).contains(&second) {
                    return Err(IllegalValue);
                }
                (Self::Read { table, address, quantity: second }, second)
            }
            5 => match second {
                0x0000 => (Self::WriteCoil { address, on: false }, 1),
                0xFF00 => (Self::WriteCoil { address, on: true }, 1),
                _ => return Err(IllegalValue),
            },
            6 => (Self::WriteRegister { address, value: second }, 1),
            _ => {
                let (&count, values) = data[4..].split_first().ok_or(IllegalValue)?;
                let (most, bytes) = match function {
                    15 => (MAX_WRITE_BITS, usize::from(second).div_ceil(8)),
                    _ => (MAX_WRITE_REGISTERS, usize::from(second) * 2),
                };
                if !(1..=most).contains(&second) || usize::from(count) != bytes || values.len() != bytes {
                    return Err(IllegalValue);
                }
                let request = match function {
                    15 => Self::WriteCoils { address, quantity: second, bits: values },
                    _ => Self::WriteRegisters { address, values },
                };
                (request, second)
            }
        };
        if u32::from(address) + u32::from(quantity) > 0x1_0000 {
            return Err(Exception::IllegalAddress);
        }
        Ok(request)
    }

    /// The function code.
    pub fn function(&self) -> u8 {
        match self {
            Self::Read { table, .. } => read_function(*table),
            Self::WriteCoil { .. } => 5,
            Self::WriteRegister { .. } => 6,
            Self::WriteCoils { .. } => 15,
            Self::WriteRegisters { .. } => 16,
        }
    }

    /// Writes the PDU and answers its length. The request must be within the limits, as one that `decode` made is.
    pub fn encode(&self, out: &mut [u8; MAX_PDU]) -> usize {
        let (address, second, tail): (u16, u16, Option<&[u8]>) = match *self {
            Self::Read { address, quantity, .. } => (address, quantity, None),
            Self::WriteCoil { address, on } => (address, if on { 0xFF00 } else { 0 }, None),
            Self::WriteRegister { address, value } => (address, value, None),
            Self::WriteCoils { address, quantity, bits } => (address, quantity, Some(bits)),
            Self::WriteRegisters { address, values } => (address, (values.len() / 2) as u16, Some(values)),
        };
        out[0] = self.function();
        out[1..3].copy_from_slice(&address.to_be_bytes());
        out[3..5].copy_from_slice(&second.to_be_bytes());
        let Some(tail) = tail else { return 5 };
        let tail = &tail[..tail.len().min(MAX_PDU - 6)];
        out[5] = tail.len() as u8;
        out[6..6 + tail.len()].copy_from_slice(tail);
        6 + tail.len()
    }
}

#[cfg(test)]
#[path = "pdu_tests.rs"]
mod tests;
