//! The cores in virtual time: no thread, no clock, no port. Time goes on only when a case waits, or when a byte takes
//! its time on the line.

use std::time::Duration;

use hilrig_modbus::{Slave, TcpSlave, Timing};
use hilrig_points::{Plant, Shared, Table, Unit};
use hilrig_port::{Caller, Calls, Server, Station, Time, Tx, Wanted};

use crate::talk::{CHARACTER, Device, Framing, PAUSE};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// What is sent comes at once.
    Whole,
    /// Each byte takes its time.
    ByteByByte,
}

impl Pace {
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::ByteByByte => "bytewise",
        }
    }
}

enum Kind {
    Line(Slave, Tx),
    Callers(TcpSlave, Calls),
}

/// The caller; there is one at a time.
const CALLER: Caller = Caller(0);

pub struct Core {
    kind: Kind,
    pace: Pace,
    now: Time,
    said: Vec<u8>,
    /// The slave has ended the connection.
    closed: bool,
}

/// The data of the units 1 and 3.
pub fn plant() -> Shared {
    let mut plant = Plant::default();
    for id in [1, 3] {
        let mut unit = Unit::new();
        unit.define(Table::HoldingRegisters, 0, (0..200).map(|i| i + 1000 * u16::from(id))).unwrap();
        unit.define(Table::Coils, 0, (0..2000).map(|i| i % 2)).unwrap();
        unit.define(Table::InputRegisters, 0, 7..17).unwrap();
        plant.add_unit(id, unit).unwrap();
    }
    Shared::new(plant)
}

impl Core {
    pub fn new(framing: Framing, pace: Pace) -> Self {
        let timing = Timing::new(19200, "8E1".parse().unwrap());
        let kind = match framing {
            Framing::Rtu => Kind::Line(Slave::new(timing, plant()), Tx::default()),
            Framing::Ascii => {
                let slave = Slave::new(timing, plant()).framing(hilrig_modbus::Framing::Ascii);
                Kind::Line(slave, Tx::default())
            }
            Framing::Tcp | Framing::RtuOverTcp => {
                let over_tcp = framing.name().parse().unwrap();
                Kind::Callers(TcpSlave::new(over_tcp, timing, plant()), Calls::default())
            }
        };
        let mut core = Self { kind, pace, now: Time(1_000_000_000), said: Vec::new(), closed: false };
        core.call();
        core
    }

    fn call(&mut self) {
        self.closed = false;
        if let Kind::Callers(slave, _) = &mut self.kind {
            assert!(slave.on_caller(self.now, CALLER), "a caller is let in");
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.kind {
            Kind::Line(slave, _) => slave.deadline(),
            Kind::Callers(slave, _) => slave.deadline(),
        }
    }

    /// Takes what the slave wants sent.
    fn collect(&mut self) {
        match &mut self.kind {
            Kind::Line(_, tx) => {
                self.said.extend_from_slice(tx.pending());
                tx.clear();
            }
            Kind::Callers(slave, calls) => {
                for wanted in calls.wanted() {
                    match wanted {
                        Wanted::Send(CALLER, bytes) if !self.closed => self.said.extend_from_slice(bytes),
                        Wanted::Send(..) => {}
                        Wanted::Close(caller) => {
                            assert_eq!(caller, CALLER);
                            self.closed = true;
                        }
                    }
                }
                calls.clear();
                if self.closed {
                    slave.on_closed(self.now, CALLER);
                }
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        match &mut self.kind {
            Kind::Line(slave, tx) => {
                slave.on_bytes(self.now, bytes, tx);
                assert!(tx.pending().is_empty(), "a slave speaks while somebody else does");
            }
            Kind::Callers(slave, calls) => slave.on_bytes(self.now, CALLER, bytes, calls),
        }
        self.collect();
    }
}

impl Device for Core {
    fn send(&mut self, bytes: &[u8]) {
        match self.pace {
            Pace::Whole => self.feed(bytes),
            Pace::ByteByByte => {
                for byte in bytes {
                    self.wait(CHARACTER);
                    self.feed(&[*byte]);
                }
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            match &mut self.kind {
                Kind::Line(slave, tx) => slave.on_deadline(self.now, tx),
                Kind::Callers(slave, calls) => slave.on_deadline(self.now, calls),
            }
            self.collect();
            assert!(self.deadline().is_none_or(|next| next > self.now), "a deadline is dealt with");
        }
        self.now = end;
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.said.len());
        self.said.drain(..count).collect()
    }

    fn take_all(&mut self) -> Vec<u8> {
        self.wait(PAUSE);
        std::mem::take(&mut self.said)
    }

    fn closed(&mut self) -> bool {
        self.closed
    }

    fn reconnect(&mut self) {
        if let Kind::Callers(slave, _) = &mut self.kind {
            if !self.closed {
                slave.on_closed(self.now, CALLER);
            }
            self.said.clear();
            self.call();
        }
    }

    fn is_exact(&self) -> bool {
        true
    }
}
