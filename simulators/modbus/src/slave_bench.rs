//! A slave on a line where nothing takes time, for its tests.

use hilrig_points::{Plant, Table, Unit};

use super::*;
use crate::SlaveTotals;
use crate::rtu::{MAX_FRAME, frame};

/// Units 1 and 3 of a slave at 19200 baud on a line where nothing takes time, and what it says.
pub(crate) struct Bench {
    pub slave: Slave,
    pub now: Time,
    pub tx: Tx,
    /// Time and bytes of each reply.
    pub said: Vec<(Time, Vec<u8>)>,
}

pub(crate) const T35: Duration = Duration::from_nanos(2_005_208);
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

impl Bench {
    pub fn new() -> Self {
        Self::with(|slave| slave)
    }

    pub fn with(options: impl FnOnce(Slave) -> Slave) -> Self {
        let mut plant = Plant::default();
        for id in [1, 3] {
            let mut unit = Unit::new();
            unit.define(Table::HoldingRegisters, 0, (0..200).map(|i| i + 1000 * u16::from(id))).unwrap();
            unit.define(Table::Coils, 0, (0..2000).map(|i| i % 2)).unwrap();
            plant.add_unit(id, unit).unwrap();
        }
        let slave = Slave::new(Timing::new(19200, "8E1".parse().unwrap()), Shared::new(plant));
        let slave = options(slave);
        Self { slave, now: Time(1_000_000), tx: Tx::default(), said: Vec::new() }
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.slave.on_bytes(self.now, bytes, &mut self.tx);
        assert!(self.tx.pending().is_empty(), "nothing is said while somebody else talks");
        self
    }

    pub fn wait(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(due) = self.slave.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.slave.on_deadline(self.now, &mut self.tx);
            if !self.tx.pending().is_empty() {
                self.said.push((self.now, self.tx.pending().to_vec()));
                self.tx.clear();
            }
            assert!(self.slave.deadline().is_none_or(|next| next > self.now), "a deadline is dealt with");
        }
        self.now = end;
        self
    }

    /// Bytes, then silence.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes(bytes).wait(PAUSE)
    }

    /// What was said since last asked.
    pub fn replies(&mut self) -> Vec<Vec<u8>> {
        self.said.drain(..).map(|(_, bytes)| bytes).collect()
    }

    pub fn silent(&mut self) -> &mut Self {
        assert_eq!(self.replies(), [[0; 0]; 0]);
        self
    }

    /// Asks in RTU and answers the PDU that comes, empty for none.
    pub fn ask(&mut self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        self.send(&adu(unit, pdu));
        match &self.replies()[..] {
            [] => Vec::new(),
            [reply] => {
                assert_eq!(adu(unit, &reply[1..reply.len() - 2]), *reply);
                reply[1..reply.len() - 2].to_vec()
            }
            more => panic!("{more:?}"),
        }
    }

    /// A good request is answered, and nothing else is said.
    pub fn alive(&mut self) -> &mut Self {
        self.send(&good());
        assert_eq!(self.replies(), [good_reply()]);
        self
    }

    /// The same, but for what comes before.
    pub fn alive_after(&mut self, before: &[u8]) -> &mut Self {
        self.send(&good());
        assert_eq!(self.replies(), [before.to_vec(), good_reply()]);
        self
    }

    pub fn totals(&self) -> SlaveTotals {
        self.slave.stats().totals()
    }
}

pub(crate) fn adu(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_FRAME];
    let len = frame(unit, pdu, &mut out);
    out[..len].to_vec()
}

pub(crate) fn read(unit: u8, quantity: u8) -> Vec<u8> {
    adu(unit, &[3, 0, 0, 0, quantity])
}

pub(crate) fn read_reply(unit: u8, values: &[u16]) -> Vec<u8> {
    let mut pdu = vec![3, values.len() as u8 * 2];
    pdu.extend(values.iter().flat_map(|v| v.to_be_bytes()));
    adu(unit, &pdu)
}

pub(crate) fn good() -> Vec<u8> {
    read(1, 2)
}

pub(crate) fn good_reply() -> Vec<u8> {
    read_reply(1, &[1000, 1001])
}

pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut x = len as u32 * 7919 + 1;
    std::iter::repeat_with(|| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    })
    .take(len)
    .collect()
}
