//! USS: a drive, or the master of one. Net data are the parameter channel (PKW) and process data words (PZD). Framing
//! (STX, LGE, BCC) is done elsewhere.
//!
//! Source: MICROMASTER 420 reference manual (issue A1), 3.3.

use std::time::Duration;

use hilrig_points::Plant;
use hilrig_port::Time;

use crate::bound::Bound;
use crate::buf::Buf;
use crate::coding::{Coding, Number};
use crate::file::Order;
use crate::talk::Answer;

/// Bits of the address byte.
const SPECIAL: u8 = 0x80;
const MIRROR: u8 = 0x40;
const BROADCAST: u8 = 0x20;

/// Error numbers of the parameter channel.
const NO_PARAMETER: u32 = 0;
const OUT_OF_LIMITS: u32 = 2;
const WRONG_TYPE: u32 = 5;
const NO_TASK: u32 = 101;

/// A process data word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pzd {
    pub point: Bound,
    pub scale: f64,
    pub signed: bool,
}

impl Pzd {
    fn write(&self, plant: &mut Plant, now: Time, out: &mut Buf) {
        let number = self.point.number(plant, now).times(self.scale);
        if self.signed { I16 } else { U16 }.write(number, out);
    }

    /// Whether the point took it.
    fn read(&self, plant: &mut Plant, now: Time, word: [u8; 2]) -> bool {
        let n = if self.signed { i16::from_be_bytes(word).into() } else { u16::from_be_bytes(word).into() };
        self.point.set(plant, now, Number::Int(n).times(1.0 / self.scale))
    }
}

pub(crate) const U16: Coding = Coding::Uint { bytes: 2, order: Order::Big };
pub(crate) const I16: Coding = Coding::Int { bytes: 2, order: Order::Big };

#[derive(Debug, Clone)]
pub(crate) struct Uss {
    pub address: u8,
    pub master: bool,
    /// Words of the parameter channel.
    pub pkw: usize,
    pub parameters: Vec<(u16, Bound)>,
    pub send: Vec<Pzd>,
    pub receive: Vec<Pzd>,
}

impl Uss {
    /// Answers what is in a telegram; `out` is what is in the answer. Counts the points that took no value.
    pub fn answer(
        &mut self,
        plant: &mut Plant,
        now: Time,
        body: &[u8],
        out: &mut Buf,
        refused: &mut u64,
    ) -> Answer {
        out.clear();
        let Some((&address, net)) = body.split_first() else { return Answer::Stranger };
        let broadcast = address & BROADCAST != 0;
        let ours = address & SPECIAL == 0 && (broadcast || address & 0x1F == self.address);
        if !ours {
            return Answer::Stranger;
        }
        if address & MIRROR != 0 {
            out.extend(body);
            return if self.master { Answer::Quiet } else { Answer::Reply(Duration::ZERO) };
        }
        let Some((pkw, pzd)) = net.split_at_checked(2 * self.pkw) else { return Answer::Stranger };
        if pzd.len() != 2 * self.receive.len() {
            return Answer::Stranger;
        }
        for (word, pzd) in self.receive.iter().zip(pzd.chunks_exact(2)) {
            *refused += u64::from(!word.read(plant, now, [pzd[0], pzd[1]]));
        }
        if self.master {
            return Answer::Quiet;
        }
        out.push(self.address);
        self.parameter(plant, now, pkw, out);
        self.send.iter().for_each(|word| word.write(plant, now, out));
        if broadcast { Answer::Quiet } else { Answer::Reply(Duration::ZERO) }
    }

    /// The parameter channel of an answer.
    fn parameter(&self, plant: &mut Plant, now: Time, pkw: &[u8], out: &mut Buf) {
        let [a, b, page, index, ref value @ ..] = *pkw else { return };
        let task = a >> 4;
        let number = u16::from(a & 0x07) << 8 | u16::from(b);
        // Bit 15 of IND (bit 7 of its high byte) is for parameters from 2000 on.
        let number = number + if page & 0x80 != 0 { 2000 } else { 0 };
        let (reply, value) = if task == 0 {
            (0, 0)
        } else {
            let value = value.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
            match self.task(plant, now, task, number, value) {
                Ok(done) => done,
                Err(code) => (7, code),
            }
        };
        if reply == 0 {
            return (0..2 * self.pkw).for_each(|_| out.push(0));
        }
        out.extend(&[reply << 4 | a & 0x0F, b, page, index]);
        // Three words have room for one of value only.
        let bytes = 2 * self.pkw - 4;
        out.extend(&value.to_be_bytes()[4 - bytes..]);
    }

    /// Reply identifier and value of a task, or an error number.
    fn task(
        &self,
        plant: &mut Plant,
        now: Time,
        task: u8,
        number: u16,
        value: u32,
    ) -> Result<(u8, u32), u32> {
        let point = self.parameters.iter().find(|(n, _)| *n == number).map(|(_, point)| *point);
        let point = point.ok_or(NO_PARAMETER)?;
        if point.is_text() {
            return Err(WRONG_TYPE);
        }
        // Fractions are IEEE 754 numbers, which are double words, and so is what takes two registers.
        let wide = point.is_fraction() || point.wide;
        // With an index (6, 7, 8) as without: there is one value.
        let array = matches!(task, 6..=8);
        if wide && self.pkw < 4 {
            return Err(WRONG_TYPE);
        }
        match task {
            1 | 6 => {}
            2 | 7 | 14 if wide => return Err(WRONG_TYPE),
            3 | 8 | 13 if !wide => return Err(WRONG_TYPE),
            2 | 3 | 7 | 8 | 13 | 14 => {
                let new = if point.is_fraction() {
                    Number::Float(f32::from_bits(value).into())
                } else if value > 0x7FFF_FFFF || (!wide && value > 0x7FFF) {
                    // As it is meant is for the point to say: the unsigned number, or the same bits with a sign.
                    let bits = if wide { i64::from(value as i32) } else { i64::from(value as u16 as i16) };
                    Number::Int(if point.signed { bits.into() } else { value.into() })
                } else {
                    Number::Int(value.into())
                };
                if !point.set(plant, now, new) {
                    return Err(OUT_OF_LIMITS);
                }
            }
            _ => return Err(NO_TASK),
        }
        let bits = match point.number(plant, now) {
            Number::Float(x) => (x as f32).to_bits(),
            Number::Int(n) if wide => n as u32,
            Number::Int(n) => u32::from(n as u16),
        };
        Ok((if array { 4 } else { 1 } + u8::from(wide), bits))
    }
}

#[cfg(test)]
#[path = "uss_tests.rs"]
mod tests;
