//! Mitsubishi computer link, A-compatible 1C frames in format 1: the PLC's side. Commands BR, WR, BW, WW, BT, WT with
//! devices of five characters, JR, QR, JW, QW, JT, QT with seven, and TT. Knows devices as areas of units only.
//!
//! Sources: AJ71C24-S6 user's manual, chapters 8 and 11; MELSEC iQ-R serial communication module manual, chapter 17.

use std::time::Duration;

use hilrig_points::{Plant, Refusal};
use hilrig_port::Time;

use crate::buf::{Buf, from_decimal, from_hex};
use crate::memory::Area;
use crate::talk::Answer;

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const EOT: u8 = 0x04;
const ENQ: u8 = 0x05;
const ACK: u8 = 0x06;
const CL: u8 = 0x0C;
const NAK: u8 = 0x15;

/// Codes behind NAK (AJ71C24-S6 manual, 11.1).
const SUM_ERROR: u64 = 0x02;
const CHARACTER_AREA: u64 = 0x06;
const CHARACTER: u64 = 0x07;
const ACCESS: u64 = 0x08;
const PC_NUMBER: u64 = 0x10;

/// Names of devices, how their numbers are written, and whether they are bits.
pub(crate) const DEVICES: [(&str, u32, bool); 13] = [
    ("X", 16, true),
    ("Y", 16, true),
    ("B", 16, true),
    ("M", 10, true),
    ("L", 10, true),
    ("F", 10, true),
    ("TS", 10, true),
    ("CS", 10, true),
    ("TN", 10, false),
    ("CN", 10, false),
    ("D", 10, false),
    ("W", 16, false),
    ("R", 10, false),
];

/// Whether a byte begins something.
pub(crate) fn begins(byte: u8) -> bool {
    matches!(byte, ENQ | ACK | NAK | EOT | CL)
}

/// How long a telegram is, from what is there of it; `None`: nobody knows yet, or its command is not known.
pub(crate) fn length(raw: &[u8], sum: bool) -> Option<usize> {
    match *raw.first()? {
        EOT | CL => return Some(1),
        ACK | NAK => return Some(5),
        _ => {}
    }
    let Shape { head, points, each, .. } = shape(raw.get(5..7)?)?;
    let count = raw.get(8 + head..8 + head + 2)?;
    let count = if points {
        // Anything but a number ends it at once; it is refused then.
        from_hex(count).map_or(0, |n| if n == 0 { 256 } else { n as usize })
    } else {
        0
    };
    Some(8 + head + 2 + each * count + if sum { 2 } else { 0 })
}

/// What follows station, PC, command and wait of a command.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Characters of the device before the number of points.
    head: usize,
    /// The number says how much data follows.
    points: bool,
    /// Characters of data for each point.
    each: usize,
    /// Characters of a device.
    device: usize,
    /// The same command in its short form.
    command: [u8; 2],
}

fn shape(command: &[u8]) -> Option<Shape> {
    let &[kind, what] = command else { return None };
    let device = if matches!(kind, b'J' | b'Q') { 7 } else { 5 };
    let short = match kind {
        b'J' => b'B',
        b'Q' => b'W',
        other => other,
    };
    let cell = if short == b'B' { 1 } else { 4 };
    let (head, points, each) = match [short, what] {
        [b'B' | b'W', b'R'] => (device, false, 0),
        [b'B' | b'W', b'W'] => (device, true, cell),
        [b'B' | b'W', b'T'] => (0, true, device + cell),
        [b'T', b'T'] => (0, true, 1),
        _ => return None,
    };
    Some(Shape { head, points, each, device, command: [short, what] })
}

/// The PLC.
#[derive(Debug, Clone)]
pub(crate) struct Melsec {
    pub station: u8,
    pub pc: u8,
    pub sum: bool,
    /// In the order of [`DEVICES`].
    pub areas: [Option<Area>; DEVICES.len()],
}

impl Melsec {
    /// Answers a telegram; `out` is all bytes of the answer.
    pub fn answer(&mut self, plant: &mut Plant, now: Time, raw: &[u8], out: &mut Buf) -> Answer {
        out.clear();
        let Some(text) = raw.strip_prefix(&[ENQ]) else {
            // ACK and NAK of the computer end an exchange, EOT and CL reset the module: nothing is left to do.
            return if matches!(raw, [EOT | CL]) || raw.len() == 5 {
                Answer::Quiet
            } else {
                Answer::Stranger
            };
        };
        let (Some(station), Some(pc)) = (text.get(..2).and_then(from_hex), text.get(2..4).and_then(from_hex))
        else {
            return Answer::Stranger;
        };
        if station != u64::from(self.station) {
            return Answer::Stranger;
        }
        let text = if self.sum {
            let Some((covered, sum)) = text.split_at_checked(text.len().saturating_sub(2)) else {
                return Answer::Stranger;
            };
            if from_hex(sum) != Some(sum_of(covered)) {
                return self.refuse(SUM_ERROR, out);
            }
            covered
        } else {
            text
        };
        if pc != 0xFF && pc != u64::from(self.pc) {
            return self.refuse(PC_NUMBER, out);
        }
        let wait = text.get(6..7).and_then(from_hex);
        let wait = Duration::from_millis(10 * wait.unwrap_or(0));
        match self.command(plant, now, text, out) {
            Ok(()) => {}
            Err(code) => {
                out.clear();
                self.refuse(code, out);
            }
        }
        if out.first() == Some(&NAK) { Answer::Refused(wait) } else { Answer::Reply(wait) }
    }

    fn refuse(&self, code: u64, out: &mut Buf) -> Answer {
        self.begin(NAK, out);
        out.hex(code, 2, false);
        Answer::Refused(Duration::ZERO)
    }

    /// Control character, station and PC number.
    fn begin(&self, control: u8, out: &mut Buf) {
        out.push(control);
        out.hex(self.station.into(), 2, false);
        out.hex(self.pc.into(), 2, false);
    }

    /// ETX, and the sum from behind STX to here.
    fn end(&self, out: &mut Buf) {
        out.push(ETX);
        if self.sum {
            let sum = sum_of(&out[1..]);
            out.hex(sum, 2, false);
        }
    }

    fn command(&self, plant: &mut Plant, now: Time, text: &[u8], out: &mut Buf) -> Result<(), u64> {
        let shape = text.get(4..6).and_then(shape).ok_or(CHARACTER_AREA)?;
        let rest = text.get(7..).ok_or(CHARACTER_AREA)?;
        let (head, rest) = rest.split_at_checked(shape.head).ok_or(CHARACTER_AREA)?;
        let (count, data) = rest.split_at_checked(2).ok_or(CHARACTER_AREA)?;
        let count = from_hex(count).ok_or(CHARACTER_AREA)? as usize;
        let count = if count == 0 && shape.command[0] == b'B' { 256 } else { count };
        if count == 0 || (shape.points && data.len() != count * shape.each) {
            return Err(CHARACTER_AREA);
        }
        if shape.command == *b"TT" {
            self.begin(STX, out);
            out.hex(count as u64, 2, false);
            out.extend(data);
            self.end(out);
            return Ok(());
        }
        let bits = shape.command[0] == b'B';
        // At most 256 bits or 64 words are read, 160 or 64 written, 20 or 10 tested (iQ-R manual, 17.4).
        let most = match (shape.command[1], bits) {
            (b'R', true) => 256,
            (b'R', false) | (b'W', false) => 64,
            (b'W', true) => 160,
            (_, true) => 20,
            (_, false) => 10,
        };
        if count > most {
            return Err(CHARACTER_AREA);
        }
        if shape.command[1] == b'T' {
            return self.test(plant, now, shape, data, out);
        }
        let (area, n) = self.device(head, bits)?;
        match shape.command[1] {
            b'R' => {
                self.begin(STX, out);
                if bits {
                    for n in n..n + count {
                        let on = area.read_bit(plant, now, n).map_err(access)?;
                        out.push(if on { b'1' } else { b'0' });
                    }
                } else {
                    let mut words = [0; 128];
                    let words = &mut words[..2 * count];
                    area.read_words(plant, now, n, words).map_err(access)?;
                    words.iter().for_each(|byte| out.hex((*byte).into(), 2, false));
                }
                self.end(out);
            }
            _ => {
                self.write(plant, now, bits, &area, n, data)?;
                self.begin(ACK, out);
            }
        }
        Ok(())
    }

    fn write(
        &self,
        plant: &mut Plant,
        now: Time,
        bits: bool,
        area: &Area,
        n: usize,
        data: &[u8],
    ) -> Result<(), u64> {
        if bits {
            let mut cells = [false; 160];
            for (cell, digit) in cells.iter_mut().zip(data) {
                *cell = match digit {
                    b'0' => false,
                    b'1' => true,
                    _ => return Err(CHARACTER),
                };
            }
            area.write_bits(plant, now, n, &cells[..data.len()]).map_err(access)
        } else {
            let mut words = [0; 128];
            for (byte, digits) in words.iter_mut().zip(data.chunks_exact(2)) {
                *byte = from_hex(digits).ok_or(CHARACTER)? as u8;
            }
            area.write_words(plant, now, n, &words[..data.len() / 2]).map_err(access)
        }
    }

    /// BT and WT: single cells anywhere. All are looked at before the first is written.
    fn test(
        &self,
        plant: &mut Plant,
        now: Time,
        shape: Shape,
        data: &[u8],
        out: &mut Buf,
    ) -> Result<(), u64> {
        let bits = shape.command[0] == b'B';
        for write in [false, true] {
            for cell in data.chunks_exact(shape.each) {
                let (device, value) = cell.split_at(shape.device);
                let (area, n) = self.device(device, bits)?;
                if write {
                    self.write(plant, now, bits, &area, n, value)?;
                } else if bits {
                    area.read_bit(plant, now, n).map_err(access)?;
                } else {
                    area.read_words(plant, now, n, &mut [0; 2]).map_err(access)?;
                    from_hex(value).ok_or(CHARACTER)?;
                }
            }
        }
        self.begin(ACK, out);
        Ok(())
    }

    /// The area of a device, and the number of its cell: a bit, or a word (of bit devices from a multiple of 16 on).
    fn device(&self, text: &[u8], bits: bool) -> Result<(Area, usize), u64> {
        // B and others have hexadecimal numbers, which are letters, too.
        let two = |name: &str| name.len() == 2 && text.starts_with(name.as_bytes());
        let letters = if DEVICES.iter().any(|(name, ..)| two(name)) { 2 } else { 1 };
        let (name, number) = text.split_at_checked(letters).ok_or(CHARACTER_AREA)?;
        let at = DEVICES.iter().position(|(d, ..)| d.as_bytes() == name).ok_or(CHARACTER_AREA)?;
        let (_, radix, is_bit) = DEVICES[at];
        let n = if radix == 16 { from_hex(number) } else { from_decimal(number) };
        let n = n.ok_or(CHARACTER_AREA)? as usize;
        let area = self.areas[at].ok_or(ACCESS)?;
        match (bits, is_bit) {
            (true, true) | (false, false) => Ok((area, n)),
            (false, true) if n.is_multiple_of(16) => Ok((area, n / 16)),
            _ => Err(CHARACTER_AREA),
        }
    }
}

fn access(_: Refusal) -> u64 {
    ACCESS
}

fn sum_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0_u64, |sum, byte| sum + u64::from(*byte)) & 0xFF
}

#[cfg(test)]
#[path = "melsec_tests.rs"]
mod tests;
