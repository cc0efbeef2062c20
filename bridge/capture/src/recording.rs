//! A recording of one link, sorted by side, in memory: what a replay needs. No clock, no line.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use hilrig_port::{CharError, Lines};

use crate::clock::step_of;
use crate::link::described;
use crate::{Event, Flow, Packet, ReadError, Reader};

/// One end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    A,
    B,
}

/// What one end sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// See [`Recording::bytes`].
    Bytes(Range<usize>),
    Break,
    /// Its modem lines were like this from then on.
    Lines(Lines),
    Error(CharError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Since the first one.
    pub at: Duration,
    /// Who sent it.
    pub side: Side,
    pub what: What,
}

/// All that the two ends of one link sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recording {
    pub link: String,
    pub ports: [String; 2],
    /// In order of time.
    pub moments: Vec<Moment>,
    /// Places where the capture says that something is missing.
    pub gaps: u64,
    /// The file ends in the middle of a block, here: its writer was killed or is at work.
    pub cut_at: Option<u64>,
    bytes: Vec<u8>,
}

/// Largest recording that is replayed, in bytes of its lines.
const LARGEST: usize = 512 * 1024 * 1024;

impl Side {
    pub fn other(self) -> Self {
        if self == Self::A { Self::B } else { Self::A }
    }

    fn numbered(side: usize) -> Self {
        if side == 0 { Self::A } else { Self::B }
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "a" | "A" => Ok(Self::A),
            "b" | "B" => Ok(Self::B),
            _ => Err(format!("`{text}` is not a side of a link; expected a or b")),
        }
    }
}

/// A packet on its way into a recording.
struct Found {
    at: u64,
    side: Side,
    /// Seen where it came from, not where it went to. `None` where there is no such difference.
    at_source: Option<bool>,
    what: What,
}

impl Recording {
    /// Reads a file. `link` names the one that is wanted when there are several.
    pub fn open(path: &Path, link: Option<&str>) -> Result<Self, ReadError> {
        let failed = |e: io::Error| ReadError::Unfit(format!("cannot open {}: {e}", path.display()));
        Self::read(BufReader::new(File::open(path).map_err(failed)?), link)
    }

    /// Side A of a capture that is not ours is who made it: what it transmitted.
    pub fn read(input: impl Read, link: Option<&str>) -> Result<Self, ReadError> {
        let mut reader = Reader::new(input);
        let mut recording = Self::default();
        let (mut found, mut names) = (Vec::new(), Vec::<String>::new());
        let mut clock = 0i64;
        while let Some(packet) = reader.next_packet()? {
            let interface = &reader.interfaces()[packet.interface];
            let ours = described(&interface.description);
            let name = ours.map_or("", |(name, _)| name);
            let Some(event) = packet.event else { continue };
            let steps = packet.comments.iter().filter_map(|c| ours.and(step_of(c)));
            clock = steps.fold(clock, i64::saturating_add);
            if link.is_some_and(|link| link != name) {
                if !names.iter().any(|n| n == name) {
                    names.push(name.to_owned());
                }
                continue;
            }
            if found.is_empty() && recording.link.is_empty() {
                name.clone_into(&mut recording.link);
            }
            if recording.link != name {
                return Err(ReadError::Unfit(format!(
                    "the capture has several links, `{}` and `{name}` among them; say which one to replay",
                    recording.link
                )));
            }
            if let Some((_, side)) = ours {
                interface.name.clone_into(&mut recording.ports[side]);
            }
            let at = packet.at.saturating_add_signed(clock.saturating_neg());
            recording.add(&mut found, ours.map(|(_, side)| side), &packet, event, at)?;
        }
        recording.cut_at = reader.cut_at();
        if found.is_empty() {
            return Err(ReadError::Unfit(match link {
                Some(link) if !names.is_empty() => {
                    let names = names.join("`, `");
                    format!("the capture has no link `{link}`; it has `{names}`")
                }
                _ => "nothing in this capture came from a serial line".to_owned(),
            }));
        }
        recording.settle(found);
        Ok(recording)
    }

    fn add(
        &mut self,
        found: &mut Vec<Found>,
        side: Option<usize>,
        packet: &Packet,
        event: Event,
        at: u64,
    ) -> Result<(), ReadError> {
        let mut put = |side, at_source, what| found.push(Found { at, side, at_source, what });
        // Whose port it is about, and who sent it.
        let here = Side::numbered(side.unwrap_or(1));
        let from = if packet.flow == Some(Flow::Out) { here.other() } else { here };
        let at_source = side.map(|_| packet.flow != Some(Flow::Out));
        match event {
            Event::FramingError => put(from, None, What::Error(CharError::Framing)),
            Event::ParityError => put(from, None, What::Error(CharError::Parity)),
            Event::Overflow => put(from, None, What::Error(CharError::Overrun)),
            Event::Break => put(from, at_source, What::Break),
            Event::DataLost => self.gaps += 1,
            Event::Status if packet.comments.is_empty() => put(here, None, What::Lines(packet.lines)),
            _ => {}
        }
        if !packet.bytes.is_empty() {
            let start = self.bytes.len();
            if start + packet.bytes.len() > LARGEST {
                return Err(ReadError::Unfit(format!(
                    "the capture has more than {LARGEST} bytes of serial data; split it with `editcap -c`"
                )));
            }
            self.bytes.extend_from_slice(&packet.bytes);
            put(from, at_source, What::Bytes(start..self.bytes.len()));
        }
        Ok(())
    }

    /// Sorts, and leaves out what was captured twice on its way.
    fn settle(&mut self, mut found: Vec<Found>) {
        let seen_at_source = |side| {
            found
                .iter()
                .any(|f| f.side == side && f.at_source == Some(true) && matches!(f.what, What::Bytes(_)))
        };
        let prefer = [seen_at_source(Side::A), seen_at_source(Side::B)];
        found.retain(|f| f.at_source.is_none_or(|there| there == prefer[f.side as usize]));
        found.sort_by_key(|f| f.at);
        let first = found.first().map_or(0, |f| f.at);
        let since = |at: u64| Duration::from_nanos(at - first);
        self.moments =
            found.into_iter().map(|f| Moment { at: since(f.at), side: f.side, what: f.what }).collect();
    }

    /// The bytes of a [`What::Bytes`] of this recording.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// All that one side sent.
    pub fn sent_by(&self, side: Side) -> Vec<u8> {
        let bytes = self.moments.iter().filter(|m| m.side == side).filter_map(|m| match &m.what {
            What::Bytes(range) => Some(self.bytes(range)),
            _ => None,
        });
        bytes.flatten().copied().collect()
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
