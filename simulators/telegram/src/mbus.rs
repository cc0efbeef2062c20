//! A meter on M-Bus: answers SND_NKE, SND_UD and REQ_UD2 with its data records, by primary and secondary address. Framing
//! is FT1.2, which is done elsewhere.
//!
//! Source: "The M-Bus: A Documentation", rev. 4.8, chapters 5 to 7 (EN 13757-2 and -3).

use std::time::Duration;

use hilrig_points::Plant;
use hilrig_port::Time;

use crate::bound::Bound;
use crate::buf::Buf;
use crate::coding::Coding;
use crate::file::Order;
use crate::talk::Answer;

const SND_NKE: u8 = 0x40;
const SND_UD: u8 = 0x53;
const REQ_UD1: u8 = 0x5A;
const REQ_UD2: u8 = 0x5B;
/// Frame count bit of a request, and that it counts.
const FCB: u8 = 0x20;
const FCV: u8 = 0x10;
const RSP_UD: u8 = 0x08;

/// CI of a selection by secondary address, and of an answer with variable data structure.
const SELECT: u8 = 0x52;
const VARIABLE: u8 = 0x72;

/// Address of those selected, of all with an answer, of all without.
const SELECTED: u8 = 0xFD;
const TEST: u8 = 0xFE;
const BROADCAST: u8 = 0xFF;

/// Bytes of an answer before its records: C, A, CI and the fixed header.
pub(crate) const HEADER: usize = 15;
/// The length byte counts up to this.
pub(crate) const LONGEST: usize = 255;

/// A data record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// DIF, DIFEs, VIF, VIFEs.
    pub header: Box<[u8]>,
    pub point: Bound,
    pub scale: f64,
    /// `None`: it has no value.
    pub coding: Option<Coding>,
}

/// How the data field of a DIF says that a value is written. `None`: not at all, or in a way that is not known here.
pub(crate) fn coding(dif: u8) -> Option<Coding> {
    let order = Order::Little;
    Some(match dif & 0xF {
        n @ 1..=4 => Coding::Int { bytes: n.into(), order },
        5 => Coding::Float { bytes: 4, order },
        6 => Coding::Int { bytes: 6, order },
        7 => Coding::Int { bytes: 8, order },
        n @ 9..=0xC => Coding::Bcd { bytes: usize::from(n) - 8, order },
        0xE => Coding::Bcd { bytes: 6, order },
        _ => return None,
    })
}

/// A meter.
#[derive(Debug, Clone)]
pub(crate) struct Mbus {
    pub address: u8,
    /// Identification number, manufacturer, version and medium as they stand in telegrams.
    pub identity: [u8; 8],
    pub records: Vec<Record>,
    access: u8,
    selected: bool,
    /// The frame count bit of the last request.
    count: Option<bool>,
    /// The last answer, for a master that did not hear it.
    last: Buf,
}

impl Mbus {
    pub fn new(address: u8, identity: [u8; 8], records: Vec<Record>, access: u8) -> Self {
        Self { address, identity, records, access, selected: false, count: None, last: Buf::default() }
    }

    /// Answers what is in a telegram; `out` is what is in the answer, nothing for E5.
    pub fn answer(&mut self, plant: &mut Plant, now: Time, body: &[u8], out: &mut Buf) -> Answer {
        out.clear();
        let &[control, address, ref rest @ ..] = body else { return Answer::Stranger };
        let function = control & !(FCB | FCV) | FCV;
        if matches!(rest, [SELECT, ..]) && address == SELECTED && function == SND_UD {
            self.selected = self.is(&rest[1..]);
            self.count = None;
            return if self.selected { reply() } else { Answer::Quiet };
        }
        let ours = match address {
            SELECTED => self.selected,
            TEST | BROADCAST => true,
            other => other == self.address,
        };
        if !ours {
            return Answer::Stranger;
        }
        let answer = match (control, function) {
            (SND_NKE, _) => {
                self.count = None;
                if address == SELECTED {
                    self.selected = false;
                }
                reply()
            }
            (_, SND_UD) => {
                self.user_data(rest);
                reply()
            }
            // There is no alarm data.
            (_, REQ_UD1) => reply(),
            (_, REQ_UD2) => {
                let bit = (control & FCV != 0).then_some(control & FCB != 0);
                let again = bit.is_some() && bit == self.count && !self.last.is_empty();
                if !again {
                    self.data(plant, now);
                }
                self.count = bit;
                out.extend(&self.last);
                reply()
            }
            _ => return Answer::Stranger,
        };
        if address == BROADCAST { Answer::Quiet } else { answer }
    }

    /// Whether a secondary address, with its wildcards, is ours.
    fn is(&self, wanted: &[u8]) -> bool {
        let Some(wanted) = wanted.get(..8) else { return false };
        let nibble = |own: u8, w: u8| w == 0xF || w == own;
        let id = wanted[..4].iter().zip(&self.identity);
        let id = id.into_iter().all(|(w, own)| nibble(own >> 4, w >> 4) && nibble(own & 0xF, w & 0xF));
        let pair =
            |at: usize| wanted[at..at + 2] == [0xFF; 2] || wanted[at..at + 2] == self.identity[at..at + 2];
        let byte = |at: usize| wanted[at] == 0xFF || wanted[at] == self.identity[at];
        id && pair(4) && byte(6) && byte(7)
    }

    /// What a master writes: a new primary address is taken, anything else is acknowledged only.
    fn user_data(&mut self, rest: &[u8]) {
        if let [0x51, 0x01, 0x7A, address @ 0..=250, ..] = *rest {
            self.address = address;
        }
    }

    /// Makes the answer to a request.
    fn data(&mut self, plant: &mut Plant, now: Time) {
        let out = &mut self.last;
        out.clear();
        out.extend(&[RSP_UD, self.address, VARIABLE]);
        out.extend(&self.identity);
        out.extend(&[self.access, 0, 0, 0]);
        self.access = self.access.wrapping_add(1);
        for record in &self.records {
            out.extend(&record.header);
            let Some(coding) = &record.coding else { continue };
            let number = record.point.number(plant, now);
            coding.write(number.times(record.scale), out);
        }
    }
}

fn reply() -> Answer {
    Answer::Reply(Duration::ZERO)
}

#[cfg(test)]
#[path = "mbus_tests.rs"]
mod tests;
