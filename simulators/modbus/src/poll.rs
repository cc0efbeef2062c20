//! Entries of a poll list and what comes of them, small and fixed enough to pass through a ring. No line, no time of
//! its own.

use std::time::Duration;

use hilrig_points::{Plant, Table};
use hilrig_port::{Histogram, Time};

use crate::exchange::Exchange;
use crate::pdu::MAX_PDU;
use crate::reply::{Shape, shape};

/// The data of one reply: bits as 0 or 1, registers, or bytes, as the function code has it. Empty after a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Values {
    shape: Shape,
    count: u16,
    len: u8,
    raw: [u8; MAX_PDU - 1],
}

impl Default for Values {
    fn default() -> Self {
        Self { shape: Shape::Bytes, count: 0, len: 0, raw: [0; MAX_PDU - 1] }
    }
}

impl Values {
    /// What `match_reply` found in the reply to a request.
    pub(crate) fn new(request: &[u8], data: &[u8]) -> Self {
        let (shape, count) = shape(request, data);
        let mut values = Self { shape, count: count as u16, len: data.len() as u8, ..Self::default() };
        match values.raw.get_mut(..data.len()) {
            Some(room) => room.copy_from_slice(data),
            None => return Self::default(),
        }
        values
    }

    /// As it came: two bytes a register, eight bits a byte. [`Answer::new`](crate::reply::Answer::new) reads it.
    pub fn bytes(&self) -> &[u8] {
        &self.raw[..self.len.into()]
    }

    pub fn len(&self) -> usize {
        self.count.into()
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn get(&self, i: usize) -> Option<u16> {
        match self.shape {
            _ if i >= self.len() => None,
            Shape::Bits => Some(u16::from(self.raw[i / 8] >> (i % 8) & 1)),
            Shape::Registers => Some(u16::from_be_bytes([self.raw[2 * i], self.raw[2 * i + 1]])),
            Shape::Bytes => Some(self.raw[i].into()),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    pub exchange: Exchange,
    /// From start to start; `None`: again as soon as the others had their turn.
    pub every: Option<Duration>,
    /// When the first request is due, counted from when the line came up.
    pub phase: Duration,
    /// Of those that are due the highest goes first, then the one that has waited longest.
    pub priority: i8,
    /// From the end of the request until the reply must have begun.
    pub timeout: Duration,
    /// How often to ask again when there was no good reply.
    pub retries: u16,
    /// Where the values read go, in the plant of the master.
    pub into: Option<Cells>,
}

/// Cells of a unit in a plant, from this one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cells {
    pub unit: u8,
    pub table: Table,
    pub address: u16,
}

impl Cells {
    /// Values go to consecutive cells; those for which there is no cell go nowhere.
    pub(crate) fn put(self, plant: &mut Plant, values: &Values) {
        let Some(unit) = plant.unit_mut(self.unit) else { return };
        for (address, value) in (self.address..=u16::MAX).zip(values.iter()) {
            let _ = unit.set(self.table, address, value);
        }
    }
}

impl Poll {
    /// Polled continuously, with a timeout of 1 s and no retry.
    pub fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            every: None,
            phase: Duration::ZERO,
            priority: 0,
            timeout: Duration::from_secs(1),
            retries: 0,
            into: None,
        }
    }

    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        self.every = Some(period);
        self
    }

    #[must_use]
    pub fn phase(mut self, phase: Duration) -> Self {
        self.phase = phase;
        self
    }

    #[must_use]
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = priority;
        self
    }

    #[must_use]
    pub fn into(mut self, cells: Cells) -> Self {
        self.into = Some(cells);
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

/// What came of one entry of a poll list.
#[derive(Debug, Clone, Default)]
pub struct PollStats {
    /// Requests sent, retries included.
    pub requests: u64,
    /// Good replies; of a broadcast, how often it was sent.
    pub replies: u64,
    pub exceptions: u64,
    /// Requests without a good reply, whatever the reason.
    pub failures: u64,
    /// Periods that passed without a request.
    pub overruns: u64,
    /// How the last request ended, and when.
    pub last: Option<(Time, Outcome)>,
    /// Of good replies and exceptions.
    pub round_trips: Histogram,
}

impl PollStats {
    pub(crate) fn note(&mut self, outcome: Outcome, at: Time, round_trip: Option<Duration>) {
        match outcome {
            Outcome::Ok => self.replies += 1,
            Outcome::Exception(_) => self.exceptions += 1,
            _ => self.failures += 1,
        }
        self.last = Some((at, outcome));
        if let Some(time) = round_trip {
            self.round_trips.record(time);
        }
    }
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
