//! What function 8, 11 and 12 tell of the units of one port (AP 6.8 to 6.10): counters, the communication event log and
//! listen-only mode. Knows no data and no frame.

use crate::pdu::{MAX_PDU, Request};

const LOG: usize = 64;

/// Send events (AP 6.10).
const SENT: u8 = 0x40;
/// Receive events.
const RECEIVED: u8 = 0x80;
const RECEIVED_BROADCAST: u8 = 0x40;
const RECEIVED_ERROR: u8 = 0x02;
const RECEIVED_OVERRUN: u8 = 0x10;
/// In both.
const LISTENS_ONLY: u8 = 0x20;
const ENTERED_LISTEN_ONLY: u8 = 0x04;
const RESTARTED: u8 = 0;

/// What a request wants done once it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    ClearCounters,
    Restart { clear_log: bool },
}

/// One unit as seen from one port.
#[derive(Debug, Clone)]
struct Unit {
    /// What the port had counted when this unit's counters were cleared.
    base: [u16; 2],
    exceptions: u16,
    processed: u16,
    no_response: u16,
    nak: u16,
    busy: u16,
    overruns: u16,
    events: u16,
    /// The newest is in front of `newest`.
    log: [u8; LOG],
    logged: u8,
    newest: u8,
    listens_only: bool,
    then: Option<Then>,
}

impl Unit {
    fn new() -> Self {
        Self {
            base: [0; 2],
            exceptions: 0,
            processed: 0,
            no_response: 0,
            nak: 0,
            busy: 0,
            overruns: 0,
            events: 0,
            log: [0; LOG],
            logged: 0,
            newest: 0,
            listens_only: false,
            then: None,
        }
    }

    fn note(&mut self, event: u8) {
        self.log[usize::from(self.newest)] = event;
        self.newest = (self.newest + 1) % LOG as u8;
        self.logged = (self.logged + 1).min(LOG as u8);
    }

    fn flag(&self) -> u8 {
        if self.listens_only { LISTENS_ONLY } else { 0 }
    }

    fn clear_counters(&mut self, port: [u16; 2]) {
        let (log, logged, newest) = (self.log, self.logged, self.newest);
        *self = Self { base: port, log, logged, newest, listens_only: self.listens_only, ..Self::new() };
    }
}

/// How a unit answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Reply(usize),
    Nothing,
}

/// The diagnostics of all units of one port.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    /// Good frames of whomever, and what was none, since the start.
    port: [u16; 2],
    units: Vec<Unit>,
    index: [u8; 256],
    delimiter: Option<u8>,
}

impl Diagnostics {
    pub fn new(ours: &[bool; 256]) -> Self {
        let (mut index, mut units) = ([0; 256], Vec::new());
        for id in (0..256).filter(|id| ours[*id]) {
            index[id] = units.len() as u8;
            units.push(Unit::new());
        }
        Self { port: [0; 2], units, index, delimiter: None }
    }

    /// The same for other units; those that stay keep their counters.
    pub fn refresh(&mut self, before: &[bool; 256], ours: &[bool; 256]) {
        let mut fresh = Self::new(ours);
        for id in (0..=u8::MAX).filter(|id| before[usize::from(*id)] && ours[usize::from(*id)]) {
            *fresh.unit(id) = self.unit(id).clone();
        }
        (self.units, self.index) = (fresh.units, fresh.index);
    }

    fn unit(&mut self, id: u8) -> &mut Unit {
        &mut self.units[usize::from(self.index[usize::from(id)])]
    }

    /// A good frame of whomever.
    pub fn message(&mut self) {
        self.port[0] = self.port[0].wrapping_add(1);
    }

    /// What was no frame; `overrun` is the unit whose frame had no end.
    pub fn error(&mut self, overrun: Option<u8>) {
        self.port[1] = self.port[1].wrapping_add(1);
        for unit in &mut self.units {
            unit.note(RECEIVED | RECEIVED_ERROR | unit.flag());
        }
        if let Some(id) = overrun {
            let unit = self.unit(id);
            unit.overruns = unit.overruns.wrapping_add(1);
            unit.note(RECEIVED | RECEIVED_OVERRUN | unit.flag());
        }
    }

    /// A request for this unit. Answers `false` if it must not act on it, since it listens only.
    pub fn received(&mut self, id: u8, broadcast: bool, pdu: &[u8]) -> bool {
        let unit = self.unit(id);
        unit.note(RECEIVED | unit.flag() | if broadcast { RECEIVED_BROADCAST } else { 0 });
        // Only "restart communications" ends the listening.
        let heard = !unit.listens_only || (!broadcast && matches!(pdu, [8, 0, 1, 0 | 0xFF, 0]));
        if heard {
            unit.processed = unit.processed.wrapping_add(1);
        }
        heard
    }

    /// What went out in the end: the reply PDU, or nothing.
    pub fn answered(&mut self, id: u8, reply: Option<&[u8]>) {
        let port = self.port;
        let unit = self.unit(id);
        let exception = match reply {
            Some(&[function, code, ..]) if function >= 0x80 => Some(code),
            _ => None,
        };
        let bump = |counter: &mut u16| *counter = counter.wrapping_add(1);
        let mut event = SENT | unit.flag();
        match (reply, exception) {
            (None, _) => bump(&mut unit.no_response),
            (Some(_), Some(code)) => {
                bump(&mut unit.exceptions);
                event |= match code {
                    1..=3 => 1,
                    4 => 2,
                    5 | 6 => 4,
                    7 => 8,
                    _ => 0,
                };
                match code {
                    6 => bump(&mut unit.busy),
                    7 => bump(&mut unit.nak),
                    _ => {}
                }
            }
            // Asking for the counter does not count (AP 6.9).
            (Some([11, ..]), None) => {}
            (Some(_), None) => bump(&mut unit.events),
        }
        unit.note(event);
        match unit.then.take() {
            None => {}
            Some(Then::ClearCounters) => unit.clear_counters(port),
            Some(Then::Restart { clear_log }) => {
                unit.clear_counters(port);
                unit.listens_only = false;
                if clear_log {
                    unit.logged = 0;
                }
                unit.note(RESTARTED);
            }
        }
    }

    /// Answers functions 8, 11 and 12, `None` for any other.
    pub fn answer(
        &mut self,
        id: u8,
        request: &Request<'_>,
        pdu: &[u8],
        out: &mut [u8; MAX_PDU],
    ) -> Option<Told> {
        let port = self.port;
        let unit = self.unit(id);
        let messages = port[0].wrapping_sub(unit.base[0]);
        match *request {
            Request::Diagnose { subfunction, data } => {
                let value = match subfunction {
                    1 => {
                        unit.then = Some(Then::Restart { clear_log: data[0] == 0xFF });
                        if unit.listens_only {
                            return Some(Told::Nothing);
                        }
                        None
                    }
                    // The diagnostic register is the maker's; ours has no bit set.
                    2 => Some(0),
                    3 => {
                        self.delimiter = Some(data[0]);
                        None
                    }
                    4 => {
                        unit.listens_only = true;
                        unit.note(ENTERED_LISTEN_ONLY);
                        return Some(Told::Nothing);
                    }
                    10 => {
                        unit.then = Some(Then::ClearCounters);
                        None
                    }
                    11 => Some(messages),
                    12 => Some(port[1].wrapping_sub(unit.base[1])),
                    13 => Some(unit.exceptions),
                    14 => Some(unit.processed),
                    15 => Some(unit.no_response),
                    16 => Some(unit.nak),
                    17 => Some(unit.busy),
                    18 => Some(unit.overruns),
                    20 => {
                        unit.overruns = 0;
                        None
                    }
                    _ => None,
                };
                // All others send back what they were sent.
                out[..pdu.len()].copy_from_slice(pdu);
                if let Some(value) = value {
                    out[3..5].copy_from_slice(&value.to_be_bytes());
                }
                Some(Told::Reply(pdu.len()))
            }
            Request::EventCounter => {
                out[..3].copy_from_slice(&[11, 0, 0]);
                out[3..5].copy_from_slice(&unit.events.to_be_bytes());
                Some(Told::Reply(5))
            }
            Request::EventLog => {
                let n = usize::from(unit.logged);
                out[..4].copy_from_slice(&[12, 6 + unit.logged, 0, 0]);
                out[4..6].copy_from_slice(&unit.events.to_be_bytes());
                out[6..8].copy_from_slice(&messages.to_be_bytes());
                for (i, out) in out[8..8 + n].iter_mut().enumerate() {
                    *out = unit.log[(usize::from(unit.newest) + LOG - 1 - i) % LOG];
                }
                Some(Told::Reply(8 + n))
            }
            _ => None,
        }
    }

    /// The new end of ASCII frames, once it was asked for.
    pub fn take_delimiter(&mut self) -> Option<u8> {
        self.delimiter.take()
    }
}

#[cfg(test)]
#[path = "diagnostics_tests.rs"]
mod tests;
