//! Omron Host Link, C-mode: the PLC's side. Reads and writes of its areas, test, status and model; long answers in several
//! frames, each asked for with a delimiter. Knows areas as cells of units only.
//!
//! Sources: SYSMAC C200HX/HG/HE operation manual, section 10 (commands, end codes, FCS); CQM1H programming manual, 6-4
//! (divided commands and responses).

use std::time::Duration;

use hilrig_points::{Plant, Refusal};
use hilrig_port::Time;

use crate::buf::{Buf, MAX_TELEGRAM, from_decimal, from_hex};
use crate::memory::Area;
use crate::talk::Answer;

/// Names of areas with the letter that their commands have behind R and W.
pub(crate) const AREAS: [(&str, u8); 6] =
    [("CIO", b'R'), ("LR", b'L'), ("HR", b'H'), ("AR", b'J'), ("DM", b'D'), ("PV", b'C')];

const DONE: u8 = 0x00;
const FCS_ERROR: u8 = 0x13;
const FORMAT_ERROR: u8 = 0x14;
const ENTRY_ERROR: u8 = 0x15;
/// Codes for a frame that goes on with a command.
const MORE_FCS_ERROR: u8 = 0xA3;
const MORE_LENGTH_ERROR: u8 = 0xA8;

/// Words of the first frame of an answer, and of the others.
const FIRST_WORDS: usize = 30;
const MORE_WORDS: usize = 31;

/// What is left of an answer.
#[derive(Debug, Clone, Copy)]
struct Rest {
    area: Area,
    next: usize,
    left: usize,
}

/// The PLC.
#[derive(Debug, Clone)]
pub(crate) struct HostLink {
    pub node: u8,
    /// In the order of [`AREAS`].
    pub areas: [Option<Area>; AREAS.len()],
    pub model: u8,
    /// PROGRAM (0), MONITOR (2) or RUN (3), as SC sets it.
    mode: u8,
    rest: Option<Rest>,
    /// What has come of a command in several frames, without its FCSs; empty if there is none.
    command: Buf,
}

impl HostLink {
    pub fn new(node: u8, areas: [Option<Area>; AREAS.len()], model: u8) -> Self {
        Self { node, areas, model, mode: 2, rest: None, command: Buf::default() }
    }

    /// Answers what came up to a CR; `out` is all bytes of the answer.
    pub fn answer(&mut self, plant: &mut Plant, now: Time, raw: &[u8], out: &mut Buf) -> Answer {
        out.clear();
        // What came before the last @ was cut off or disturbed.
        let Some(at) = raw.iter().rposition(|b| *b == b'@') else {
            return match self.rest {
                Some(rest) if raw.is_empty() => self.more(plant, now, rest, out),
                _ if self.command.is_empty() || raw.is_empty() => Answer::Stranger,
                _ => self.command_goes_on(plant, now, raw, out),
            };
        };
        let frame = &raw[at..];
        if frame.get(1..3).and_then(from_decimal) != Some(self.node.into()) || frame.len() < 5 {
            return Answer::Stranger;
        }
        self.rest = None;
        self.command.clear();
        let whole = frame.strip_suffix(b"*");
        // Only writes are long enough to be divided.
        let Some(covered) = whole.or((frame[3] == b'W').then_some(frame)).filter(|f| f.len() >= 7) else {
            return self.end(frame, FORMAT_ERROR, out);
        };
        let (covered, fcs) = covered.split_at(covered.len() - 2);
        if from_hex(fcs) != Some(sum_of(covered)) {
            return self.end(frame, FCS_ERROR, out);
        }
        if whole.is_none() {
            self.command.extend(covered);
            out.push(b'\r');
            return Answer::Reply(Duration::ZERO);
        }
        self.command(plant, now, covered, out)
    }

    /// The next frame of a command: text and FCS, with the terminator if it is the last.
    fn command_goes_on(&mut self, plant: &mut Plant, now: Time, raw: &[u8], out: &mut Buf) -> Answer {
        let whole = raw.strip_suffix(b"*");
        let text = whole.unwrap_or(raw);
        let (text, fcs) = text.split_at(text.len().saturating_sub(2));
        let mut all = [0; MAX_TELEGRAM];
        let good = from_hex(fcs) == Some(sum_of(text));
        self.command.extend(text);
        let all = &mut all[..self.command.len()];
        all.copy_from_slice(&self.command);
        if good && !self.command.overflowed() && whole.is_none() {
            out.push(b'\r');
            return Answer::Reply(Duration::ZERO);
        }
        let long = self.command.overflowed();
        self.command.clear();
        match (good, long) {
            (false, _) => self.end(all, MORE_FCS_ERROR, out),
            (_, true) => self.end(all, MORE_LENGTH_ERROR, out),
            _ => self.command(plant, now, all, out),
        }
    }

    /// Does what a whole command says.
    fn command(&mut self, plant: &mut Plant, now: Time, frame: &[u8], out: &mut Buf) -> Answer {
        let text = &frame[5..];
        let area = |letter: u8| AREAS.iter().position(|(_, l)| *l == letter).and_then(|i| self.areas[i]);
        match [frame[3], frame[4]] {
            [b'X', b'Z'] | [b'*', b'*'] => return Answer::Quiet,
            [b'T', b'S'] => {
                out.extend(frame);
                return close(out);
            }
            [b'M', b'M'] => {
                head(frame, DONE, out);
                out.hex(self.model.into(), 2, false);
                return close(out);
            }
            [b'M', b'S'] => {
                // Status data: the mode in bits 8 and 9 as 0, 2 (RUN) or 3 (MONITOR); the program may be written (bit 4).
                let mode = match self.mode {
                    2 => 3,
                    3 => 2,
                    _ => 0,
                };
                head(frame, DONE, out);
                out.hex(mode << 8 | 0x10, 4, false);
                return close(out);
            }
            [b'S', b'C'] => {
                let mode = from_hex(text).filter(|_| text.len() == 2).map(|mode| mode as u8 & 3);
                let Some(mode) = mode else { return self.end(frame, FORMAT_ERROR, out) };
                self.mode = mode;
                return self.end(frame, DONE, out);
            }
            [b'R', letter] => {
                if let Some(area) = area(letter) {
                    return self.read(plant, now, frame, text, area, out);
                }
            }
            [b'W', letter] => {
                if let Some(area) = area(letter) {
                    let code = write(plant, now, text, area);
                    return self.end(frame, code, out);
                }
            }
            _ => {}
        }
        // A command that does not exist here.
        out.extend(&frame[..3]);
        out.extend(b"IC");
        close(out);
        Answer::Refused(Duration::ZERO)
    }

    fn read(
        &mut self,
        plant: &mut Plant,
        now: Time,
        frame: &[u8],
        text: &[u8],
        area: Area,
        out: &mut Buf,
    ) -> Answer {
        if text.len() != 8 {
            return self.end(frame, FORMAT_ERROR, out);
        }
        let (Some(begin), Some(count)) = (from_decimal(&text[..4]), from_decimal(&text[4..])) else {
            return self.end(frame, ENTRY_ERROR, out);
        };
        // 0000 words are 10,000.
        let count = if count == 0 { 10_000 } else { count as usize };
        let begin = begin as usize;
        // The last word exists if all do, or the answer ends in the middle with an error of its own.
        if area.read_words(plant, now, begin + count - 1, &mut [0; 2]).is_err() {
            return self.end(frame, ENTRY_ERROR, out);
        }
        head(frame, DONE, out);
        let rest = Rest { area, next: begin, left: count };
        match self.words(plant, now, rest, FIRST_WORDS, out) {
            Ok(answer) => answer,
            Err(_) => {
                out.clear();
                self.end(frame, ENTRY_ERROR, out)
            }
        }
    }

    /// The next frame of an answer.
    fn more(&mut self, plant: &mut Plant, now: Time, rest: Rest, out: &mut Buf) -> Answer {
        self.words(plant, now, rest, MORE_WORDS, out).unwrap_or_else(|_| {
            self.rest = None;
            Answer::Stranger
        })
    }

    fn words(
        &mut self,
        plant: &mut Plant,
        now: Time,
        rest: Rest,
        most: usize,
        out: &mut Buf,
    ) -> Result<Answer, Refusal> {
        let count = rest.left.min(most);
        let mut words = [0; 2 * MORE_WORDS];
        let words = &mut words[..2 * count];
        rest.area.read_words(plant, now, rest.next, words)?;
        words.iter().for_each(|byte| out.hex((*byte).into(), 2, false));
        let rest = Rest { next: rest.next + count, left: rest.left - count, ..rest };
        self.rest = (rest.left > 0).then_some(rest);
        if self.rest.is_none() {
            return Ok(close(out));
        }
        let fcs = sum_of(out);
        out.hex(fcs, 2, false);
        out.push(b'\r');
        Ok(Answer::Reply(Duration::ZERO))
    }

    /// An answer of an end code only.
    fn end(&self, frame: &[u8], code: u8, out: &mut Buf) -> Answer {
        head(frame, code, out);
        close(out);
        if code == DONE { Answer::Reply(Duration::ZERO) } else { Answer::Refused(Duration::ZERO) }
    }
}

/// Node and command of a request, and an end code.
fn head(frame: &[u8], code: u8, out: &mut Buf) {
    out.extend(&frame[..5]);
    out.hex(code.into(), 2, false);
}

/// FCS and terminator.
fn close(out: &mut Buf) -> Answer {
    let fcs = sum_of(out);
    out.hex(fcs, 2, false);
    out.extend(b"*\r");
    Answer::Reply(Duration::ZERO)
}

fn write(plant: &mut Plant, now: Time, text: &[u8], area: Area) -> u8 {
    let Some((begin, data)) = text.split_at_checked(4).filter(|(_, d)| !d.is_empty() && d.len() % 4 == 0)
    else {
        return FORMAT_ERROR;
    };
    let mut words = [0; MAX_TELEGRAM / 2];
    let (Some(begin), Some(words)) = (from_decimal(begin), words.get_mut(..data.len() / 2)) else {
        return ENTRY_ERROR;
    };
    for (byte, digits) in words.iter_mut().zip(data.chunks_exact(2)) {
        let Some(value) = from_hex(digits) else { return ENTRY_ERROR };
        *byte = value as u8;
    }
    match area.write_words(plant, now, begin as usize, words) {
        Ok(()) => DONE,
        Err(_) => ENTRY_ERROR,
    }
}

fn sum_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte).into()
}

#[cfg(test)]
#[path = "hostlink_tests.rs"]
mod tests;
