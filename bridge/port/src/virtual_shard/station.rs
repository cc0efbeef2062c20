//! A station on virtual time: as `unit.rs` drives one at a real port.

use std::time::Duration;

use super::net::{Net, Port, Side};
use crate::seat::guard;
use crate::{LineEvent, PortState, Station, Time, Tx};

/// No clock stands still: this is the least that passes between two deadlines of one station.
pub(super) const TICK: Duration = Duration::from_nanos(1);

pub(super) struct StationUnit {
    pub port: Port,
    pub station: Box<dyn Station>,
    pub tx: Tx,
    pub due: Option<Time>,
    failed: bool,
}

impl StationUnit {
    pub fn new(port: Port, station: Box<dyn Station>) -> Self {
        Self { port, station, tx: Tx::default(), due: None, failed: false }
    }

    /// Runs the station, sends what it wants sent and asks for its next deadline.
    pub fn drive(&mut self, net: &mut Net, f: impl FnOnce(&mut dyn Station, &mut Tx)) {
        if self.call(net, f) {
            self.flush(net);
        }
    }

    fn call(&mut self, net: &mut Net, f: impl FnOnce(&mut dyn Station, &mut Tx)) -> bool {
        if self.failed {
            return false;
        }
        let (station, tx) = (self.station.as_mut(), &mut self.tx);
        guard(|| f(station, tx)).map_err(|why| self.fail(&why, net)).is_ok()
    }

    fn flush(&mut self, net: &mut Net) {
        let pending = self.tx.pending();
        if !pending.is_empty() {
            let n = if net.is_heard(&self.port) {
                net.send(&self.port, pending)
            } else {
                self.port.stats.discarded_bytes.add(pending.len() as u64);
                pending.len()
            };
            self.tx.advance(n);
        }
        loop {
            let (mut signal, mut due) = (None, None);
            let asked = self.call(net, |station, _| {
                signal = station.take_signal();
                due = station.deadline();
            });
            if !asked {
                return;
            }
            self.due = due;
            let Some(signal) = signal else { return };
            if net.is_heard(&self.port) {
                net.signal(self.port.joint, Side::Inner, signal);
            }
        }
    }

    fn fail(&mut self, why: &str, net: &mut Net) {
        self.failed = true;
        self.due = None;
        self.tx.clear();
        self.port.lost = true;
        self.port.stats.set_gone(PortState::Lost, format!("the station at this port failed: {why}"));
        net.vacate(&self.port);
    }

    pub fn on_readable(&mut self, net: &mut Net) {
        net.answer(&self.port);
        while !self.failed {
            if let Some(signal) = net.take_signal(&self.port) {
                // A station speaks in bytes.
                self.port.learn(signal);
                continue;
            }
            let now = net.now;
            let bytes = net.waiting(&self.port);
            let n = bytes.len();
            if n == 0 {
                return;
            }
            let (station, tx) = (self.station.as_mut(), &mut self.tx);
            match guard(|| station.on_bytes(now, bytes, tx)) {
                Ok(()) => {
                    net.took(&self.port, n);
                    self.flush(net);
                }
                Err(why) => self.fail(&why, net),
            }
        }
    }

    /// The server that was called has hung up.
    pub fn left(&mut self, net: &mut Net) {
        self.on_readable(net);
        if self.failed || self.port.lost {
            return;
        }
        self.port.lost = true;
        self.port.stats.set_gone(PortState::Lost, "the far end has closed the connection".to_owned());
        let now = net.now;
        self.drive(net, |station, tx| station.on_line(now, LineEvent::Lost, tx));
    }

    pub fn on_deadline(&mut self, net: &mut Net) {
        let now = net.now;
        self.drive(net, |station, tx| station.on_deadline(now, tx));
        if self.due.is_some_and(|at| at <= now) {
            self.due = Some(now + TICK);
        }
    }
}
