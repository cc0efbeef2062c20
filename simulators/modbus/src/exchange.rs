//! What a master asks and what comes of it: requests made ready for the line, and results small and fixed enough
//! to pass through a ring. No line, no time of its own.

use std::time::Duration;

use hilrig_points::Table;
use hilrig_port::Time;

use crate::pdu::{MAX_PDU, MAX_WRITE_BITS, MAX_WRITE_REGISTERS, Request, max_read};
use crate::rtu::{BROADCAST, MAX_FRAME, MAX_UNIT, frame};

/// A request that no slave could serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    #[error("unit {0} cannot be asked: a unit id is 1 to 247, or 0 to write to all units")]
    Unit(u8),
    #[error("unit 0 is for writing to all units at once; nobody answers a read from it")]
    BroadcastRead,
    #[error("{given} values in one request: 1 to {most} are possible here")]
    Quantity { given: usize, most: u16 },
    #[error("{count} values from address {first} on pass the last address, 65535")]
    PastEnd { first: u16, count: usize },
}

/// One request to one unit, checked and ready for the line.
#[derive(Debug, Clone)]
pub struct Exchange {
    frame: [u8; MAX_FRAME],
    len: usize,
    bits: bool,
    quantity: u16,
}

impl Exchange {
    /// Functions 1 to 4.
    ///
    /// # Errors
    /// Why this cannot be asked; so for the others.
    pub fn read(unit: u8, table: Table, address: u16, quantity: u16) -> Result<Self, ExchangeError> {
        if unit == BROADCAST {
            return Err(ExchangeError::BroadcastRead);
        }
        let request = Request::Read { table, address, quantity };
        Self::new(unit, request, quantity.into(), max_read(table), table.is_bits())
    }

    /// Function 5.
    pub fn write_coil(unit: u8, address: u16, on: bool) -> Result<Self, ExchangeError> {
        Self::new(unit, Request::WriteCoil { address, on }, 1, 1, true)
    }

    /// Function 6.
    pub fn write_register(unit: u8, address: u16, value: u16) -> Result<Self, ExchangeError> {
        Self::new(unit, Request::WriteRegister { address, value }, 1, 1, false)
    }

    /// Function 15.
    pub fn write_coils(unit: u8, address: u16, values: &[bool]) -> Result<Self, ExchangeError> {
        let mut bits = [0; MAX_PDU];
        for (i, _) in values.iter().take(MAX_WRITE_BITS.into()).enumerate().filter(|(_, on)| **on) {
            bits[i / 8] |= 1 << (i % 8);
        }
        let quantity = values.len().min(MAX_WRITE_BITS.into());
        let bits = &bits[..quantity.div_ceil(8)];
        let request = Request::WriteCoils { address, quantity: quantity as u16, bits };
        Self::new(unit, request, values.len(), MAX_WRITE_BITS, true)
    }

    /// Function 16.
    pub fn write_registers(unit: u8, address: u16, values: &[u16]) -> Result<Self, ExchangeError> {
        let mut bytes = [0; MAX_PDU];
        let quantity = values.len().min(MAX_WRITE_REGISTERS.into());
        for (to, value) in bytes.chunks_exact_mut(2).zip(&values[..quantity]) {
            to.copy_from_slice(&value.to_be_bytes());
        }
        let request = Request::WriteRegisters { address, values: &bytes[..2 * quantity] };
        Self::new(unit, request, values.len(), MAX_WRITE_REGISTERS, false)
    }

    fn new(
        unit: u8,
        request: Request<'_>,
        given: usize,
        most: u16,
        bits: bool,
    ) -> Result<Self, ExchangeError> {
        if unit > MAX_UNIT {
            return Err(ExchangeError::Unit(unit));
        }
        if !(1..=usize::from(most)).contains(&given) {
            return Err(ExchangeError::Quantity { given, most });
        }
        let mut pdu = [0; MAX_PDU];
        let len = request.encode(&mut pdu);
        let first = u16::from_be_bytes([pdu[1], pdu[2]]);
        if usize::from(first) + given > 0x1_0000 {
            return Err(ExchangeError::PastEnd { first, count: given });
        }
        let mut ready = [0; MAX_FRAME];
        let len = frame(unit, &pdu[..len], &mut ready);
        Ok(Self { frame: ready, len, bits, quantity: given as u16 })
    }

    /// The frame as it goes on the line.
    pub fn frame(&self) -> &[u8] {
        &self.frame[..self.len]
    }

    pub fn unit(&self) -> u8 {
        self.frame[0]
    }

    pub fn function(&self) -> u8 {
        self.frame[1]
    }

    pub(crate) fn pdu(&self) -> &[u8] {
        &self.frame[1..self.len - 2]
    }

    /// The values that came with a reply to this.
    pub(crate) fn values(&self, data: &[u8]) -> Values {
        let mut values = Values { bits: self.bits, ..Values::default() };
        if let Some(room) = values.raw.get_mut(..data.len()).filter(|_| !data.is_empty()) {
            room.copy_from_slice(data);
            values.count = self.quantity;
        }
        values
    }
}

/// Values of one read: bits as 0 or 1, or registers. Empty after a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Values {
    bits: bool,
    count: u16,
    raw: [u8; 250],
}

impl Default for Values {
    fn default() -> Self {
        Self { bits: false, count: 0, raw: [0; 250] }
    }
}

impl Values {
    pub fn len(&self) -> usize {
        self.count.into()
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn get(&self, i: usize) -> Option<u16> {
        if i >= self.len() {
            None
        } else if self.bits {
            Some(u16::from(self.raw[i / 8] >> (i % 8) & 1))
        } else {
            Some(u16::from_be_bytes([self.raw[2 * i], self.raw[2 * i + 1]]))
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One entry of a poll list, or one request of its own.
#[derive(Debug, Clone)]
pub struct Poll {
    pub exchange: Exchange,
    /// From start to start; `None`: again as soon as the others had their turn.
    pub every: Option<Duration>,
    /// From the end of the request until the reply must have begun.
    pub timeout: Duration,
    /// How often to ask again when there was no good reply.
    pub retries: u16,
}

impl Poll {
    /// Polled continuously, with a timeout of 1 s and no retry.
    pub fn new(exchange: Exchange) -> Self {
        Self { exchange, every: None, timeout: Duration::from_secs(1), retries: 0 }
    }

    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        self.every = Some(period);
        self
    }

    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    #[must_use]
    pub fn retries(mut self, retries: u16) -> Self {
        self.retries = retries;
        self
    }
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// This entry of the poll list.
    Poll(usize),
    /// `Master::submit` with this id.
    Once(u64),
}

/// How an exchange ended, after all retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; or, to unit 0, sent.
    Ok,
    /// Refused with this exception code.
    Exception(u8),
    /// Nobody answered.
    Timeout,
    /// What came had a bad CRC.
    Crc,
    /// Another unit answered.
    WrongUnit,
    /// The unit sent a frame that does not answer this request.
    Mismatch,
    /// The line never fell silent, or took no bytes, for as long as the timeout.
    LineBusy,
}

/// What came of one exchange.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PollResult {
    pub source: Source,
    pub outcome: Outcome,
    /// Requests sent, 1 more than retries.
    pub attempts: u16,
    /// From handing the last request to the line until the last byte of the reply was seen; of what is not
    /// answered, until it was given up.
    pub round_trip: Duration,
    /// When it ended.
    pub at: Time,
    pub values: Values,
}

/// The reading end of a master's results.
#[derive(Debug)]
pub struct Results(pub(crate) rtrb::Consumer<PollResult>);

impl Results {
    /// The oldest result that was not read yet. Never waits.
    pub fn pop(&mut self) -> Option<PollResult> {
        self.0.pop().ok()
    }

    /// How many results wait.
    pub fn len(&self) -> usize {
        self.0.slots()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
