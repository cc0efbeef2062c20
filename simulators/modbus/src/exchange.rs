//! What a master asks: requests of every function code, checked and ready for the line. No line, no time of its own.

use hilrig_points::Table;

use crate::pdu::{MAX_PDU, MAX_READ_REGISTERS, MAX_WRITE_BITS, MAX_WRITE_REGISTERS, max_read, read_function};
use crate::poll::Values;
use crate::reply::RECORD;
use crate::rtu::{BROADCAST, MAX_FRAME, MAX_UNIT, frame};

/// Stands for a Modbus TCP device itself, whatever is behind it (Messaging on TCP/IP V1.0b, 4.4.2).
const TCP_DEVICE: u8 = 0xFF;
/// Most registers written by function 23 (AP 6.17).
const MAX_READ_WRITE: u16 = 121;
/// Most 16-bit words behind a subfunction of function 8.
const MAX_DIAGNOSTIC: u16 = 125;
/// Most data of a file request or reply (AP 6.14, 6.15).
const MAX_RECORDS_READ: usize = 0xF5;
const MAX_RECORDS_WRITTEN: usize = 0xFB;
/// Highest record number (AP 6.14).
const LAST_RECORD: u16 = 9999;
/// Force listen only mode: the subfunction of function 8 that is never answered (AP 6.8.1).
const LISTEN_ONLY: u16 = 4;

/// A request that no slave could serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    #[error(
        "unit {0} cannot be asked: a unit id is 1 to 247, 0 to write to all units, or 255 for a TCP device itself"
    )]
    Unit(u8),
    #[error("unit 0 is for writing to all units at once; nobody answers a read from it")]
    BroadcastRead,
    #[error("{given} values in one request: 1 to {most} are possible here")]
    Quantity { given: usize, most: u16 },
    #[error("{count} values from address {first} on pass the last address, 65535")]
    PastEnd { first: u16, count: usize },
    #[error(
        "file {file}, record {record}: files are 1 to 65535, and {count} registers from there must end at record 9999"
    )]
    Record { file: u16, record: u16, count: usize },
    #[error("these file records take {bytes} bytes in one frame; {most} are possible")]
    Records { bytes: usize, most: usize },
    #[error(
        "device identification is read with code 1 (basic), 2 (regular), 3 (extended) or 4 (one object), not {0}"
    )]
    Identity(u8),
    #[error("a request of {0} bytes: a function code and up to 252 bytes of data are possible")]
    Length(usize),
    #[error("function code {0} is not one: codes are 1 to 127")]
    Function(u8),
}

/// A part of a file to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub file: u16,
    pub record: u16,
    /// Registers.
    pub length: u16,
}

/// One request to one unit, checked and ready for the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// As RTU has it; other framings take the PDU out of it.
    frame: [u8; MAX_FRAME],
    len: usize,
}

/// A request PDU in the making.
struct Writer {
    pdu: [u8; MAX_PDU],
    len: usize,
}

impl Writer {
    fn new(function: u8) -> Self {
        Self { pdu: [0; MAX_PDU], len: 0 }.bytes(&[function])
    }

    /// What does not fit is left out; all callers have checked that it does.
    fn bytes(mut self, bytes: &[u8]) -> Self {
        if let Some(room) = self.pdu.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
        self
    }

    fn words(self, words: &[u16]) -> Self {
        words.iter().fold(self, |pdu, word| pdu.bytes(&word.to_be_bytes()))
    }
}

fn quantity(given: usize, most: u16) -> Result<u16, ExchangeError> {
    match u16::try_from(given) {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(ExchangeError::Quantity { given, most }),
    }
}

fn span(first: u16, count: u16) -> Result<(), ExchangeError> {
    if u32::from(first) + u32::from(count) > 0x1_0000 {
        return Err(ExchangeError::PastEnd { first, count: count.into() });
    }
    Ok(())
}

fn record(file: u16, record: u16, count: usize) -> Result<(), ExchangeError> {
    if file == 0 || usize::from(record) + count > usize::from(LAST_RECORD) + 1 {
        return Err(ExchangeError::Record { file, record, count });
    }
    Ok(())
}

impl Exchange {
    /// Functions 1 to 4.
    ///
    /// # Errors
    /// Why this cannot be asked; so for the others.
    pub fn read(unit: u8, table: Table, address: u16, count: u16) -> Result<Self, ExchangeError> {
        quantity(count.into(), max_read(table))?;
        span(address, count)?;
        Self::ask(unit, Writer::new(read_function(table)).words(&[address, count]))
    }

    /// Function 5.
    pub fn write_coil(unit: u8, address: u16, on: bool) -> Result<Self, ExchangeError> {
        Self::tell(unit, Writer::new(5).words(&[address, if on { 0xFF00 } else { 0 }]))
    }

    /// Function 6.
    pub fn write_register(unit: u8, address: u16, value: u16) -> Result<Self, ExchangeError> {
        Self::tell(unit, Writer::new(6).words(&[address, value]))
    }

    /// Function 7.
    pub fn exception_status(unit: u8) -> Result<Self, ExchangeError> {
        Self::ask(unit, Writer::new(7))
    }

    /// Function 8: a subfunction and its data, mostly one word. Subfunction 4 is never answered.
    pub fn diagnostics(unit: u8, sub: u16, data: &[u16]) -> Result<Self, ExchangeError> {
        quantity(data.len(), MAX_DIAGNOSTIC)?;
        Self::tell(unit, Writer::new(8).words(&[sub]).words(data))
    }

    /// Function 11.
    pub fn event_counter(unit: u8) -> Result<Self, ExchangeError> {
        Self::ask(unit, Writer::new(11))
    }

    /// Function 12.
    pub fn event_log(unit: u8) -> Result<Self, ExchangeError> {
        Self::ask(unit, Writer::new(12))
    }

    /// Function 15.
    pub fn write_coils(unit: u8, address: u16, values: &[bool]) -> Result<Self, ExchangeError> {
        let count = quantity(values.len(), MAX_WRITE_BITS)?;
        span(address, count)?;
        let mut bits = [0; MAX_PDU];
        for (i, _) in values.iter().enumerate().filter(|(_, on)| **on) {
            bits[i / 8] |= 1 << (i % 8);
        }
        let bits = &bits[..values.len().div_ceil(8)];
        Self::tell(unit, Writer::new(15).words(&[address, count]).bytes(&[bits.len() as u8]).bytes(bits))
    }

    /// Function 16.
    pub fn write_registers(unit: u8, address: u16, values: &[u16]) -> Result<Self, ExchangeError> {
        let count = quantity(values.len(), MAX_WRITE_REGISTERS)?;
        span(address, count)?;
        Self::tell(unit, Writer::new(16).words(&[address, count]).bytes(&[2 * count as u8]).words(values))
    }

    /// Function 17.
    pub fn server_id(unit: u8) -> Result<Self, ExchangeError> {
        Self::ask(unit, Writer::new(17))
    }

    /// Function 20.
    pub fn read_file(unit: u8, records: &[Record]) -> Result<Self, ExchangeError> {
        quantity(records.len(), 35)?;
        let mut pdu = Writer::new(20).bytes(&[7 * records.len() as u8]);
        let mut bytes = 0;
        for r in records {
            quantity(r.length.into(), MAX_READ_REGISTERS)?;
            record(r.file, r.record, r.length.into())?;
            bytes += 2 + 2 * usize::from(r.length);
            pdu = pdu.bytes(&[RECORD]).words(&[r.file, r.record, r.length]);
        }
        if bytes > MAX_RECORDS_READ {
            return Err(ExchangeError::Records { bytes, most: MAX_RECORDS_READ });
        }
        Self::ask(unit, pdu)
    }

    /// Function 21: file, first record and registers of each part.
    pub fn write_file(unit: u8, records: &[(u16, u16, &[u16])]) -> Result<Self, ExchangeError> {
        let bytes = records.iter().map(|(_, _, values)| 7 + 2 * values.len()).sum();
        if bytes > MAX_RECORDS_WRITTEN {
            return Err(ExchangeError::Records { bytes, most: MAX_RECORDS_WRITTEN });
        }
        quantity(records.len(), 27)?;
        let mut pdu = Writer::new(21).bytes(&[bytes as u8]);
        for &(file, first, values) in records {
            let length = quantity(values.len(), MAX_WRITE_REGISTERS)?;
            record(file, first, values.len())?;
            pdu = pdu.bytes(&[RECORD]).words(&[file, first, length]).words(values);
        }
        Self::tell(unit, pdu)
    }

    /// Function 22: the register becomes (it AND `and`) OR (`or` AND NOT `and`).
    pub fn mask_write(unit: u8, address: u16, and: u16, or: u16) -> Result<Self, ExchangeError> {
        Self::tell(unit, Writer::new(22).words(&[address, and, or]))
    }

    /// Function 23: writes first, then reads `count` registers.
    pub fn read_write(
        unit: u8,
        read: u16,
        count: u16,
        write: u16,
        values: &[u16],
    ) -> Result<Self, ExchangeError> {
        quantity(count.into(), MAX_READ_REGISTERS)?;
        let written = quantity(values.len(), MAX_READ_WRITE)?;
        span(read, count)?;
        span(write, written)?;
        let pdu = Writer::new(23).words(&[read, count, write, written]).bytes(&[2 * written as u8]);
        Self::ask(unit, pdu.words(values))
    }

    /// Function 24.
    pub fn fifo(unit: u8, address: u16) -> Result<Self, ExchangeError> {
        Self::ask(unit, Writer::new(24).words(&[address]))
    }

    /// Function 43 with type 14: the basic (1), regular (2) or extended (3) objects from `object` on, or only it (4).
    pub fn identity(unit: u8, code: u8, object: u8) -> Result<Self, ExchangeError> {
        if !(1..=4).contains(&code) {
            return Err(ExchangeError::Identity(code));
        }
        Self::ask(unit, Writer::new(43).bytes(&[14, code, object]))
    }

    /// Any PDU to any unit id: what the specification has no words for, and what it forbids.
    pub fn raw(unit: u8, pdu: &[u8]) -> Result<Self, ExchangeError> {
        match pdu {
            [] => Err(ExchangeError::Length(0)),
            [function @ (0 | 0x80..), ..] => Err(ExchangeError::Function(*function)),
            _ if pdu.len() > MAX_PDU => Err(ExchangeError::Length(pdu.len())),
            _ => Ok(Self::new(unit, pdu)),
        }
    }

    /// What somebody must answer.
    fn ask(unit: u8, pdu: Writer) -> Result<Self, ExchangeError> {
        if unit == BROADCAST { Err(ExchangeError::BroadcastRead) } else { Self::tell(unit, pdu) }
    }

    fn tell(unit: u8, pdu: Writer) -> Result<Self, ExchangeError> {
        if unit > MAX_UNIT && unit != TCP_DEVICE {
            return Err(ExchangeError::Unit(unit));
        }
        Ok(Self::new(unit, &pdu.pdu[..pdu.len]))
    }

    fn new(unit: u8, pdu: &[u8]) -> Self {
        let mut ready = [0; MAX_FRAME];
        let len = frame(unit, pdu, &mut ready);
        Self { frame: ready, len }
    }

    /// The frame as it goes on an RTU line.
    pub fn frame(&self) -> &[u8] {
        &self.frame[..self.len]
    }

    pub fn unit(&self) -> u8 {
        self.frame[0]
    }

    pub fn function(&self) -> u8 {
        self.frame[1]
    }

    /// Function code and data.
    pub fn pdu(&self) -> &[u8] {
        &self.frame[1..self.len - 2]
    }

    /// The values that came with a reply to this.
    pub(crate) fn values(&self, data: &[u8]) -> Values {
        Values::new(self.pdu(), data)
    }
}

/// Nobody answers it, and everybody may be busy with it: a broadcast, or the order to only listen from now on.
pub(crate) fn is_unanswered(unit: u8, pdu: &[u8]) -> bool {
    unit == BROADCAST || pdu.get(..3) == Some(&[8, 0, LISTEN_ONLY as u8])
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
