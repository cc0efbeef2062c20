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
/// Most registers that are written with a read in one go (AP 6.17).
pub const MAX_READ_WRITE_REGISTERS: u16 = 121;
/// Most registers of a FIFO queue that can be read (AP 6.18).
pub const MAX_FIFO: usize = 31;
/// Records of a file (AP 6.14).
pub const MAX_RECORDS: u32 = 10_000;
/// Most bytes of sub-requests and of what answers them (AP 6.14).
const MAX_READ_FILE: usize = 0xF5;
/// Most bytes of sub-requests (AP 6.15).
const MAX_WRITE_FILE: usize = 0xFB;
/// Encapsulated transport: read device identification (AP 6.21).
pub const IDENTIFICATION: u8 = 14;

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
    Acknowledge = 5,
    Busy = 6,
    NegativeAcknowledge = 7,
    MemoryParity = 8,
    GatewayPath = 10,
    GatewayTarget = 11,
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

/// Writes the reply that refuses a request; answers its length.
pub fn refuse(function: u8, exception: Exception, out: &mut [u8; MAX_PDU]) -> usize {
    out[0] = function | EXCEPTION;
    out[1] = exception as u8;
    2
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

/// Largest quantity of one read of a table.
pub fn max_read(table: Table) -> u16 {
    if table.is_bits() { MAX_READ_BITS } else { MAX_READ_REGISTERS }
}

/// Bytes that `quantity` values of a table take in a read reply.
pub fn read_bytes(table: Table, quantity: u16) -> usize {
    if table.is_bits() { usize::from(quantity).div_ceil(8) } else { usize::from(quantity) * 2 }
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
    /// Function 7 (AP 6.7).
    ExceptionStatus,
    /// Function 8 (AP 6.8); all data behind the subfunction.
    Diagnose { subfunction: u16, data: &'a [u8] },
    /// Function 11 (AP 6.9).
    EventCounter,
    /// Function 12 (AP 6.10).
    EventLog,
    /// Function 15 (AP 6.11); eight coils a byte, the first in the lowest bit.
    WriteCoils { address: u16, quantity: u16, bits: &'a [u8] },
    /// Function 16 (AP 6.12); two bytes a register, high byte first.
    WriteRegisters { address: u16, values: &'a [u8] },
    /// Function 17 (AP 6.13).
    ServerId,
    /// Function 20 (AP 6.14).
    ReadFile(Records<'a>),
    /// Function 21 (AP 6.15).
    WriteFile(Records<'a>),
    /// Function 22 (AP 6.16).
    MaskWrite { address: u16, and: u16, or: u16 },
    /// Function 23 (AP 6.17): the write comes first.
    ReadWrite { address: u16, quantity: u16, write_address: u16, values: &'a [u8] },
    /// Function 24 (AP 6.18).
    ReadFifo { address: u16 },
    /// Function 43/14 (AP 6.21).
    Identify { code: u8, object: u8 },
    /// Any other function that the specification does not define or leaves to the user (AP 5).
    Other(&'a [u8]),
}

/// The sub-requests of functions 20 and 21, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records<'a> {
    bytes: &'a [u8],
    /// Values follow each head.
    write: bool,
}

/// One sub-request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub file: u16,
    pub record: u16,
    /// In registers.
    pub length: u16,
    /// Two bytes a register; empty in a read.
    pub values: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (head, rest) = self.bytes.split_at_checked(7)?;
        let length = word(head, 5);
        let values = if self.write { 2 * usize::from(length) } else { 0 };
        let (values, rest) = rest.split_at_checked(values)?;
        self.bytes = rest;
        Some(Record { file: word(head, 1), record: word(head, 3), length, values })
    }
}

impl<'a> Records<'a> {
    fn decode(data: &'a [u8], write: bool) -> Result<Self, Exception> {
        use Exception::{IllegalAddress, IllegalValue};
        let (&count, bytes) = data.split_first().ok_or(IllegalValue)?;
        let range = if write { 9..=MAX_WRITE_FILE } else { 7..=MAX_READ_FILE };
        if !range.contains(&bytes.len()) || usize::from(count) != bytes.len() {
            return Err(IllegalValue);
        }
        let (mut rest, mut reply, mut addresses) = (bytes, 0, true);
        while !rest.is_empty() {
            let (head, tail) = rest.split_at_checked(7).ok_or(IllegalValue)?;
            let [file, record, length] = [1, 3, 5].map(|at| word(head, at));
            if length == 0 {
                return Err(IllegalValue);
            }
            addresses &= head[0] == 6 && file > 0 && u32::from(record) + u32::from(length) <= MAX_RECORDS;
            reply += 2 + 2 * usize::from(length);
            let values = if write { 2 * usize::from(length) } else { 0 };
            rest = tail.get(values..).ok_or(IllegalValue)?;
        }
        if !write && reply > MAX_READ_FILE {
            return Err(IllegalValue);
        }
        if addresses { Ok(Self { bytes, write }) } else { Err(IllegalAddress) }
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn in_range(address: u16, quantity: u16) -> Result<(), Exception> {
    if u32::from(address) + u32::from(quantity) > 0x1_0000 { Err(Exception::IllegalAddress) } else { Ok(()) }
}

/// Byte count and as many bytes, which are to be `bytes`.
fn counted(data: &[u8], bytes: usize) -> Result<&[u8], Exception> {
    match data.split_first() {
        Some((&count, values)) if usize::from(count) == bytes && values.len() == bytes => Ok(values),
        _ => Err(Exception::IllegalValue),
    }
}

impl<'a> Request<'a> {
    /// Reads a request PDU.
    ///
    /// # Errors
    /// The exception to answer with.
    pub fn decode(pdu: &'a [u8]) -> Result<Self, Exception> {
        use Exception::{IllegalFunction, IllegalValue};
        let (&function, data) = pdu.split_first().ok_or(IllegalFunction)?;
        let quantity = |value: u16, most: u16| {
            if (1..=most).contains(&value) { Ok(value) } else { Err(IllegalValue) }
        };
        // Bytes that are always there, and nothing behind them unless the function has more.
        let (fixed, open) = match function {
            1..=6 => (4, false),
            7 | 11 | 12 | 17 => (0, false),
            8 | 15 | 16 => (4, true),
            20 | 21 => (0, true),
            22 => (6, false),
            23 => (8, true),
            24 => (2, false),
            43 if data.first() == Some(&IDENTIFICATION) => (3, false),
            0 | EXCEPTION.. => return Err(IllegalFunction),
            _ => return Ok(Self::Other(pdu)),
        };
        if function == 8 && data.len() >= 2 && !diagnostics_has(word(data, 0)) {
            return Err(IllegalFunction);
        }
        if data.len() < fixed || (!open && data.len() > fixed) {
            return Err(IllegalValue);
        }
        let at = |i: usize| word(data, 2 * i);
        match function {
            1..=4 => {
                let table = read_by(function).ok_or(IllegalFunction)?;
                let quantity = quantity(at(1), max_read(table))?;
                in_range(at(0), quantity)?;
                Ok(Self::Read { table, address: at(0), quantity })
            }
            5 => match at(1) {
                0x0000 => Ok(Self::WriteCoil { address: at(0), on: false }),
                0xFF00 => Ok(Self::WriteCoil { address: at(0), on: true }),
                _ => Err(IllegalValue),
            },
            6 => Ok(Self::WriteRegister { address: at(0), value: at(1) }),
            7 => Ok(Self::ExceptionStatus),
            8 => diagnose(at(0), &data[2..]),
            11 => Ok(Self::EventCounter),
            12 => Ok(Self::EventLog),
            15 => {
                let quantity = quantity(at(1), MAX_WRITE_BITS)?;
                let bits = counted(&data[4..], usize::from(quantity).div_ceil(8))?;
                in_range(at(0), quantity)?;
                Ok(Self::WriteCoils { address: at(0), quantity, bits })
            }
            16 => {
                let quantity = quantity(at(1), MAX_WRITE_REGISTERS)?;
                let values = counted(&data[4..], 2 * usize::from(quantity))?;
                in_range(at(0), quantity)?;
                Ok(Self::WriteRegisters { address: at(0), values })
            }
            17 => Ok(Self::ServerId),
            20 => Records::decode(data, false).map(Self::ReadFile),
            21 => Records::decode(data, true).map(Self::WriteFile),
            22 => Ok(Self::MaskWrite { address: at(0), and: at(1), or: at(2) }),
            23 => {
                let read = quantity(at(1), MAX_READ_REGISTERS)?;
                let write = quantity(at(3), MAX_READ_WRITE_REGISTERS)?;
                let values = counted(&data[8..], 2 * usize::from(write))?;
                in_range(at(0), read)?;
                in_range(at(2), write)?;
                Ok(Self::ReadWrite { address: at(0), quantity: read, write_address: at(2), values })
            }
            24 => Ok(Self::ReadFifo { address: at(0) }),
            _ if (1..=4).contains(&data[1]) => Ok(Self::Identify { code: data[1], object: data[2] }),
            _ => Err(IllegalValue),
        }
    }

    /// The addresses that it reads or writes, first and last; of function 23 those that it reads.
    pub fn addresses(&self) -> Option<(Table, u16, u16)> {
        let (table, first, quantity) = match *self {
            Self::Read { table, address, quantity } => (table, address, quantity),
            Self::WriteCoil { address, .. } => (Table::Coils, address, 1),
            Self::WriteCoils { address, quantity, .. } => (Table::Coils, address, quantity),
            Self::WriteRegister { address, .. } | Self::MaskWrite { address, .. } => {
                (Table::HoldingRegisters, address, 1)
            }
            Self::WriteRegisters { address, values } => {
                (Table::HoldingRegisters, address, (values.len() / 2) as u16)
            }
            Self::ReadWrite { address, quantity, .. } => (Table::HoldingRegisters, address, quantity),
            Self::ReadFifo { address } => (Table::HoldingRegisters, address, 1),
            _ => return None,
        };
        Some((table, first, first.saturating_add(quantity - 1)))
    }
}

/// The subfunctions of function 8 (AP 6.8.1).
fn diagnostics_has(subfunction: u16) -> bool {
    matches!(subfunction, 0..=4 | 10..=18 | 20)
}

fn diagnose(subfunction: u16, data: &[u8]) -> Result<Request<'_>, Exception> {
    let good = match (subfunction, data) {
        (0, data) => data.len().is_multiple_of(2),
        (1, [0 | 0xFF, 0]) => true,
        // A delimiter that a frame could hold would end it too early.
        (3, [delimiter, 0]) => *delimiter != b':' && !delimiter.is_ascii_hexdigit(),
        (_, data) => data == [0, 0],
    };
    if good { Ok(Request::Diagnose { subfunction, data }) } else { Err(Exception::IllegalValue) }
}

#[cfg(test)]
#[path = "pdu_tests.rs"]
mod tests;
