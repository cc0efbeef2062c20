//! Reads pcapng of any writer: any byte order, any resolution of time, unknown blocks. Takes the serial link types
//! apart (250 and 252). Bounded in memory, and bad input is an error with its place, never a panic.

use std::io::{self, Read};

use hilrig_port::Lines;

use crate::blocks::{
    BYTE_ORDER, INTERFACE, OPTION_COMMENT, OPTION_DESCRIPTION, OPTION_DROPPED, OPTION_END, OPTION_FLAGS,
    OPTION_NAME, OPTION_OFFSET, OPTION_RECEIVED, OPTION_RESOLUTION, PACKET, SECTION, SIMPLE_PACKET,
    STATISTICS,
};
use crate::packet::{EXPORTED_PDU, RTAC_SERIAL, parse_pdu, parse_rtac};
use crate::{Event, Flow};

/// Largest block that is read; Wireshark's own limit.
const LARGEST_BLOCK: u32 = 16 * 1024 * 1024;
const MOST_INTERFACES: usize = 4096;

/// Why a capture cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// At this byte of the file.
    #[error("at byte {offset}: {message}")]
    Bad { offset: u64, message: String },
    #[error("after byte {offset}: {source}")]
    Io { offset: u64, source: io::Error },
    /// The file is fine, but not what was asked for.
    #[error("{0}")]
    Unfit(String),
}

/// An interface of the section that is being read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    pub link_type: u16,
    pub name: String,
    pub description: String,
    /// What its statistics said last: packets received, packets dropped.
    pub received: Option<u64>,
    pub dropped: Option<u64>,
    snap: u32,
    resolution: u8,
    offset: i64,
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where its block begins in the file.
    pub offset: u64,
    /// Place in [`Reader::interfaces`].
    pub interface: usize,
    /// Nanoseconds since 1970.
    pub at: u64,
    pub flow: Option<Flow>,
    /// `None` when the interface is no serial line.
    pub event: Option<Event>,
    pub lines: Lines,
    /// What travelled on the line; the whole packet when the interface is no serial line.
    pub bytes: Vec<u8>,
    pub comments: Vec<String>,
}

/// Reads from anything; wrap a file in a `BufReader`.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Where the next block begins.
    at: u64,
    order: Option<Order>,
    interfaces: Vec<Interface>,
    sections: u64,
    last_time: u64,
    cut_at: Option<u64>,
    block: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, b: [u8; 2]) -> u16 {
        if self == Self::Little { u16::from_le_bytes(b) } else { u16::from_be_bytes(b) }
    }

    fn u32(self, b: [u8; 4]) -> u32 {
        if self == Self::Little { u32::from_le_bytes(b) } else { u32::from_be_bytes(b) }
    }

    fn u64(self, b: [u8; 8]) -> u64 {
        if self == Self::Little { u64::from_le_bytes(b) } else { u64::from_be_bytes(b) }
    }
}

impl<R: Read> Reader<R> {
    pub fn new(input: R) -> Self {
        Self {
            input,
            at: 0,
            order: None,
            interfaces: Vec::new(),
            sections: 0,
            last_time: 0,
            cut_at: None,
            block: Vec::new(),
        }
    }

    /// Those of the section that is being read, as far as it was read.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// How many sections have begun. Each has its own interfaces.
    pub fn sections(&self) -> u64 {
        self.sections
    }

    /// The file ends in the middle of the block that begins here: its writer was killed, or is still at work.
    pub fn cut_at(&self) -> Option<u64> {
        self.cut_at
    }

    /// The next packet, or `None` at the end.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, ReadError> {
        loop {
            let offset = self.at;
            let Some((kind, order)) = self.next_block()? else { return Ok(None) };
            let block = std::mem::take(&mut self.block);
            let mut body = Body { order, bytes: &block, offset };
            let found = match kind {
                INTERFACE => self.interface(&mut body).map(|()| None),
                STATISTICS => self.statistics(&mut body).map(|()| None),
                PACKET => self.packet(&mut body).map(Some),
                SIMPLE_PACKET => self.simple_packet(&mut body).map(Some),
                _ => Ok(None),
            };
            self.block = block;
            if let Some(packet) = found? {
                return Ok(Some(packet));
            }
        }
    }

    /// Reads the body of the next block into `self.block`; begins a section when it is one.
    fn next_block(&mut self) -> Result<Option<(u32, Order)>, ReadError> {
        let offset = self.at;
        let bad = |message: String| ReadError::Bad { offset, message };
        self.block.clear();
        if self.cut_at.is_some() || !self.more(8)? {
            return Ok(None);
        }
        let field = |block: &[u8], at: usize| -> [u8; 4] {
            block.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default()
        };
        if field(&self.block, 0) == SECTION.to_le_bytes() {
            if !self.more(4)? {
                return Ok(None);
            }
            self.order = match field(&self.block, 8) {
                magic if magic == BYTE_ORDER.to_le_bytes() => Some(Order::Little),
                magic if magic == BYTE_ORDER.to_be_bytes() => Some(Order::Big),
                magic => {
                    return Err(bad(format!(
                        "a section begins here, but its byte order {magic:02x?} is none"
                    )));
                }
            };
            self.interfaces.clear();
            self.sections += 1;
        }
        let Some(order) = self.order else {
            let hint = match field(&self.block, 0) {
                [0xA1, 0xB2, 0xC3 | 0x3C, 0xD4 | 0x4D] | [0xD4 | 0x4D, 0xC3 | 0x3C, 0xB2, 0xA1] => {
                    "this is a pcap file; convert it with `editcap -F pcapng`"
                }
                _ => "this is not a pcapng file",
            };
            return Err(bad(hint.to_owned()));
        };
        let (kind, length) = (order.u32(field(&self.block, 0)), order.u32(field(&self.block, 4)));
        let have = self.block.len() as u32;
        if length < have + 4 || length % 4 != 0 || length > LARGEST_BLOCK {
            return Err(bad(format!("a block says that it has {length} bytes, which no block has")));
        }
        if !self.more(length - have)? {
            return Ok(None);
        }
        let end = self.block.len() - 4;
        if order.u32(field(&self.block, end)) != length {
            return Err(bad(format!(
                "a block has {length} bytes by its first word and another size by its last"
            )));
        }
        self.block.truncate(end);
        self.block.drain(..8);
        self.at += u64::from(length);
        Ok(Some((kind, order)))
    }

    /// Appends so many bytes to `self.block`; `false` when the file ends before.
    fn more(&mut self, n: u32) -> Result<bool, ReadError> {
        let before = self.block.len();
        let taken = self.input.by_ref().take(u64::from(n)).read_to_end(&mut self.block);
        taken.map_err(|source| ReadError::Io { offset: self.at, source })?;
        let whole = self.block.len() - before == n as usize;
        if !whole && !self.block.is_empty() {
            self.cut_at = Some(self.at);
        }
        Ok(whole)
    }

    fn interface(&mut self, body: &mut Body<'_>) -> Result<(), ReadError> {
        if self.interfaces.len() == MOST_INTERFACES {
            return Err(body.bad(format!("more than {MOST_INTERFACES} interfaces")));
        }
        let mut new = Interface { link_type: body.u16()?, resolution: 6, ..Interface::default() };
        body.u16()?;
        new.snap = body.u32()?;
        body.options(|order, code, value| match (code, value) {
            (OPTION_NAME, text) => new.name = String::from_utf8_lossy(text).into_owned(),
            (OPTION_DESCRIPTION, text) => new.description = String::from_utf8_lossy(text).into_owned(),
            (OPTION_RESOLUTION, [resolution]) => new.resolution = *resolution,
            (OPTION_OFFSET, value) => {
                new.offset = value.try_into().map_or(0, |b| order.u64(b)).cast_signed();
            }
            _ => {}
        })?;
        self.interfaces.push(new);
        Ok(())
    }

    fn statistics(&mut self, body: &mut Body<'_>) -> Result<(), ReadError> {
        let index = body.u32()? as usize;
        body.take(8)?;
        let Some(interface) = self.interfaces.get_mut(index) else { return Err(body.no_interface(index)) };
        body.options(|order, code, value| {
            let number = || value.try_into().map(|b| order.u64(b)).ok();
            match code {
                OPTION_RECEIVED => interface.received = number(),
                OPTION_DROPPED => interface.dropped = number(),
                _ => {}
            }
        })
    }

    fn packet(&mut self, body: &mut Body<'_>) -> Result<Packet, ReadError> {
        let index = body.u32()? as usize;
        let Some(interface) = self.interfaces.get(index) else { return Err(body.no_interface(index)) };
        let ticks = u64::from(body.u32()?) << 32 | u64::from(body.u32()?);
        let length = body.u32()? as usize;
        body.u32()?;
        let bytes = body.take(length)?;
        body.skip_pad(length);
        self.last_time = interface.nanoseconds(ticks);
        let (mut flow, mut comments) = (None, Vec::new());
        body.options(|order, code, value| match code {
            OPTION_FLAGS => {
                flow = match value.try_into().map_or(0, |b| order.u32(b)) & 3 {
                    1 => Some(Flow::In),
                    2 => Some(Flow::Out),
                    _ => None,
                }
            }
            OPTION_COMMENT => comments.push(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        })?;
        self.content(body.offset, index, bytes, flow, comments)
    }

    /// Has no time of its own.
    fn simple_packet(&mut self, body: &mut Body<'_>) -> Result<Packet, ReadError> {
        let length = body.u32()?;
        let Some(interface) = self.interfaces.first() else { return Err(body.no_interface(0)) };
        let length = if interface.snap == 0 { length } else { length.min(interface.snap) } as usize;
        let bytes = body.take(length)?;
        self.content(body.offset, 0, bytes, None, Vec::new())
    }

    fn content(
        &self,
        offset: u64,
        interface: usize,
        packet: &[u8],
        flow: Option<Flow>,
        comments: Vec<String>,
    ) -> Result<Packet, ReadError> {
        let short =
            |what: &str| ReadError::Bad { offset, message: format!("a packet is too short for {what}") };
        let (flow, event, lines, bytes) = match self.interfaces[interface].link_type {
            RTAC_SERIAL => {
                let (event, lines, data) = parse_rtac(packet).ok_or_else(|| short("RTAC serial"))?;
                let by_event = match event {
                    Event::TxStart | Event::TxEnd => Some(Flow::Out),
                    Event::RxStart | Event::RxEnd => Some(Flow::In),
                    _ => None,
                };
                (flow.or(by_event), Some(event), lines, data)
            }
            EXPORTED_PDU => {
                let (by_tag, data) = parse_pdu(packet).ok_or_else(|| short("an exported PDU"))?;
                let flow = flow.or(by_tag);
                let event = if flow == Some(Flow::In) { Event::RxStart } else { Event::TxStart };
                (flow, Some(event), Lines::NONE, data)
            }
            _ => (flow, None, Lines::NONE, packet),
        };
        Ok(Packet {
            offset,
            interface,
            at: self.last_time,
            flow,
            event,
            lines,
            bytes: bytes.to_vec(),
            comments,
        })
    }
}

impl Interface {
    fn nanoseconds(&self, ticks: u64) -> u64 {
        let (ticks, exponent) = (u128::from(ticks), u32::from(self.resolution & 0x7F));
        let ns = if self.resolution & 0x80 != 0 {
            (ticks * 1_000_000_000) >> exponent
        } else if exponent <= 9 {
            ticks * 10u128.pow(9 - exponent)
        } else {
            10u128.checked_pow(exponent - 9).map_or(0, |unit| ticks / unit)
        };
        let ns = ns.cast_signed() + i128::from(self.offset) * 1_000_000_000;
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// What is left of a block.
struct Body<'a> {
    order: Order,
    bytes: &'a [u8],
    /// Of the block in the file.
    offset: u64,
}

impl<'a> Body<'a> {
    fn bad(&self, message: String) -> ReadError {
        ReadError::Bad { offset: self.offset, message }
    }

    fn no_interface(&self, index: usize) -> ReadError {
        self.bad(format!("a block is about interface {index}, which the file has not described"))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], ReadError> {
        let Some((head, rest)) = self.bytes.split_at_checked(n) else {
            return Err(self.bad(format!("a block is too short: {n} more bytes should be in it")));
        };
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        Ok(self.take(N)?.try_into().unwrap_or([0; N]))
    }

    fn u16(&mut self) -> Result<u16, ReadError> {
        Ok(self.order.u16(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, ReadError> {
        Ok(self.order.u32(self.array()?))
    }

    /// Goes to the next multiple of 4 after a field of this length.
    fn skip_pad(&mut self, length: usize) {
        let pad = length.next_multiple_of(4) - length;
        self.bytes = self.bytes.get(pad..).unwrap_or_default();
    }

    fn options(&mut self, mut each: impl FnMut(Order, u16, &[u8])) -> Result<(), ReadError> {
        while !self.bytes.is_empty() {
            let (code, length) = (self.u16()?, self.u16()?);
            if code == OPTION_END {
                break;
            }
            let value = self.take(usize::from(length))?;
            self.skip_pad(usize::from(length));
            each(self.order, code, value);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
