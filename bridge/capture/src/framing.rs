//! Cuts the bytes of one direction of a line into frames. Sans-IO: fed with time and bytes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hilrig_port::Time;
use serde::{Deserialize, Serialize};

/// Where one packet of a capture ends and the next begins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Framing {
    /// Each piece as it was read or written.
    #[default]
    Raw,
    /// After a silence of this time. Without one, after a silence of 3.5 characters of the line if then the other side
    /// speaks, and after 20 ms in any case: on a busy machine the bytes of one frame are read that far apart.
    Silence(Option<Duration>),
    /// After these bytes.
    Terminator(Vec<u8>),
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("raw"),
            Self::Silence(None) => f.write_str("silence"),
            Self::Silence(Some(time)) => {
                let us = time.as_micros();
                if us.is_multiple_of(1000) {
                    write!(f, "silence:{}ms", us / 1000)
                } else {
                    write!(f, "silence:{us}us")
                }
            }
            Self::Terminator(bytes) => {
                f.write_str("terminator:")?;
                bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    }
}

impl From<Framing> for String {
    fn from(framing: Framing) -> Self {
        framing.to_string()
    }
}

impl TryFrom<String> for Framing {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Longest silence that may be asked for, so that a frame does not stay in memory for long.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
const LONGEST_TERMINATOR: usize = 16;

impl FromStr for Framing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) = text.split_once(':').map_or((text, None), |(kind, value)| (kind, Some(value)));
        match (kind, value) {
            ("raw", None) => Ok(Self::Raw),
            ("silence", None) => Ok(Self::Silence(None)),
            ("silence", Some(time)) => match silence(time) {
                Some(time) if time <= LONGEST_SILENCE && !time.is_zero() => Ok(Self::Silence(Some(time))),
                _ => Err(format!("`{time}` is not a silence; the form is 500us, 2ms or 1s, at most 10s")),
            },
            ("terminator", Some(hex)) => match bytes(hex) {
                Some(bytes) if (1..=LONGEST_TERMINATOR).contains(&bytes.len()) => Ok(Self::Terminator(bytes)),
                _ => Err(format!(
                    "`{hex}` is not a terminator; the form is its 1 to {LONGEST_TERMINATOR} bytes in hexadecimal, as in 0d0a"
                )),
            },
            _ => Err(format!(
                "`{text}` is not a framing; expected raw, silence, silence:TIME (as in silence:2ms) or terminator:HEX (as in terminator:0d0a)"
            )),
        }
    }
}

fn silence(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    hex.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Longest frame. What is longer is cut here.
pub const LONGEST_FRAME: usize = 65_536;

/// How long a frame waits for its terminator before it is shown without one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Modbus: no shorter silence parts frames above 19,200 baud, where 3.5 characters would be less.
const SHORTEST_SILENCE: Duration = Duration::from_micros(1_750);

/// How far apart the bytes of one frame are read on a busy machine.
const BUSY_MACHINE: Duration = Duration::from_millis(20);

/// Cuts one direction of one line. A frame has the time of its first piece.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    frame: Vec<u8>,
    first: Time,
    last: Time,
    /// When the open frame ends if nothing more comes.
    over: Time,
}

impl Framer {
    pub fn new(framing: Framing) -> Self {
        Self { framing, frame: Vec::new(), first: Time(0), last: Time(0), over: Time(0) }
    }

    /// Takes a piece in, `character` being the time of one character on the line, and gives out each frame that is
    /// complete by it.
    pub fn push(&mut self, now: Time, bytes: &[u8], character: Duration, mut out: impl FnMut(Time, &[u8])) {
        if self.framing == Framing::Raw {
            if !bytes.is_empty() {
                out(now, bytes);
            }
            return;
        }
        self.tick(now, &mut out);
        self.last = now;
        self.over = now
            + match &self.framing {
                Framing::Silence(Some(time)) => *time,
                Framing::Terminator(_) => PATIENCE,
                _ => silence_of(character).max(BUSY_MACHINE),
            };
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.frame.is_empty() {
                self.first = now;
            }
            let room = LONGEST_FRAME - self.frame.len();
            let (take, ends) = match &self.framing {
                Framing::Terminator(end) => match end_of_frame(&self.frame, rest, end) {
                    Some(n) if n <= room => (n, true),
                    _ => (rest.len().min(room), rest.len() >= room),
                },
                _ => (rest.len().min(room), rest.len() >= room),
            };
            let (head, tail) = rest.split_at(take);
            if self.frame.is_empty() && ends {
                out(now, head);
            } else {
                self.frame.extend_from_slice(head);
                if ends {
                    self.flush(&mut out);
                }
            }
            rest = tail;
        }
    }

    /// Bytes have come in the other direction: what they answer is over.
    pub fn other_spoke(&mut self, now: Time, character: Duration) {
        if self.framing == Framing::Silence(None) {
            self.over = self.over.min(now.max(self.last + silence_of(character)));
        }
    }

    /// Gives out the frame that time has ended.
    pub fn tick(&mut self, now: Time, out: impl FnMut(Time, &[u8])) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.flush(out);
        }
    }

    /// When the open frame ends if nothing more comes.
    pub fn deadline(&self) -> Option<Time> {
        (!self.frame.is_empty()).then_some(self.over)
    }

    /// When the open frame began.
    pub fn open_since(&self) -> Option<Time> {
        (!self.frame.is_empty()).then_some(self.first)
    }

    /// Gives out what is there.
    pub fn flush(&mut self, mut out: impl FnMut(Time, &[u8])) {
        if !self.frame.is_empty() {
            out(self.first, &self.frame);
            self.frame.clear();
        }
    }
}

fn silence_of(character: Duration) -> Duration {
    (character * 7 / 2).max(SHORTEST_SILENCE)
}

/// How much of `more` belongs to the frame that `have` began, if its terminator is in there.
fn end_of_frame(have: &[u8], more: &[u8], end: &[u8]) -> Option<usize> {
    let matches = |upto: usize| {
        (1..=end.len()).all(|back| {
            let byte = if back <= upto {
                more.get(upto - back)
            } else {
                have.len().checked_sub(back - upto).and_then(|i| have.get(i))
            };
            byte == end.get(end.len() - back)
        })
    };
    let last = *end.last()?;
    (1..=more.len()).find(|&upto| more[upto - 1] == last && matches(upto))
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
