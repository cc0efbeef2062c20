//! The blocks of a pcapng file, little-endian, as bytes. Knows nothing of serial lines and writes to no file.

use crate::Flow;

pub(crate) const SECTION: u32 = 0x0A0D_0D0A;
pub(crate) const INTERFACE: u32 = 1;
pub(crate) const SIMPLE_PACKET: u32 = 3;
pub(crate) const STATISTICS: u32 = 5;
pub(crate) const PACKET: u32 = 6;
pub(crate) const BYTE_ORDER: u32 = 0x1A2B_3C4D;

pub(crate) const OPTION_END: u16 = 0;
pub(crate) const OPTION_COMMENT: u16 = 1;
const OPTION_APPLICATION: u16 = 4;
pub(crate) const OPTION_NAME: u16 = 2;
pub(crate) const OPTION_DESCRIPTION: u16 = 3;
pub(crate) const OPTION_RESOLUTION: u16 = 9;
pub(crate) const OPTION_OFFSET: u16 = 14;
pub(crate) const OPTION_FLAGS: u16 = 2;
const OPTION_START: u16 = 2;
const OPTION_END_TIME: u16 = 3;
pub(crate) const OPTION_RECEIVED: u16 = 4;
pub(crate) const OPTION_DROPPED: u16 = 5;

/// Longest text of an option.
const LONGEST_TEXT: usize = 4096;

/// One packet. `at` is in nanoseconds since 1970.
#[derive(Debug)]
pub(crate) struct PacketBlock<'a> {
    pub(crate) interface: u32,
    pub(crate) at: u64,
    pub(crate) flow: Option<Flow>,
    pub(crate) header: &'a [u8],
    pub(crate) data: &'a [u8],
    pub(crate) comments: &'a [String],
}

/// What an interface has done in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Packets.
    pub(crate) received: u64,
    /// Packets that are missing, as far as that is known: at least one for each loss.
    pub(crate) dropped: u64,
    /// Bytes that are missing, exactly.
    pub(crate) lost_bytes: u64,
}

pub(crate) fn section(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION, |out| {
        word(out, BYTE_ORDER);
        half(out, 1);
        half(out, 0);
        // The length of the section is not known.
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        text(out, OPTION_APPLICATION, application);
        end_of_options(out);
    });
}

pub(crate) fn interface(out: &mut Vec<u8>, link_type: u16, name: &str, description: &str) {
    block(out, INTERFACE, |out| {
        half(out, link_type);
        half(out, 0);
        word(out, 0);
        text(out, OPTION_NAME, name);
        text(out, OPTION_DESCRIPTION, description);
        option(out, OPTION_RESOLUTION, &[9]);
        end_of_options(out);
    });
}

pub(crate) fn packet(out: &mut Vec<u8>, packet: &PacketBlock<'_>) {
    block(out, PACKET, |out| {
        word(out, packet.interface);
        time(out, packet.at);
        let length = (packet.header.len() + packet.data.len()) as u32;
        word(out, length);
        word(out, length);
        out.extend_from_slice(packet.header);
        out.extend_from_slice(packet.data);
        pad(out, length as usize);
        if packet.flow.is_none() && packet.comments.is_empty() {
            return;
        }
        if let Some(flow) = packet.flow {
            let flags = if flow == Flow::In { 1u32 } else { 2 };
            option(out, OPTION_FLAGS, &flags.to_le_bytes());
        }
        for comment in packet.comments {
            text(out, OPTION_COMMENT, comment);
        }
        end_of_options(out);
    });
}

pub(crate) fn statistics(out: &mut Vec<u8>, interface: u32, seen: &Statistics) {
    block(out, STATISTICS, |out| {
        word(out, interface);
        time(out, seen.to);
        for (code, at) in [(OPTION_START, seen.from), (OPTION_END_TIME, seen.to)] {
            let mut value = Vec::with_capacity(8);
            time(&mut value, at);
            option(out, code, &value);
        }
        option(out, OPTION_RECEIVED, &seen.received.to_le_bytes());
        option(out, OPTION_DROPPED, &seen.dropped.to_le_bytes());
        let lost = match seen.lost_bytes {
            0 => "nothing is missing".to_owned(),
            n => format!("{n} bytes are missing"),
        };
        text(out, OPTION_COMMENT, &lost);
        end_of_options(out);
    });
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    word(out, kind);
    word(out, 0);
    body(out);
    let length = (out.len() - start + 4) as u32;
    word(out, length);
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
}

fn word(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

fn half(out: &mut Vec<u8>, n: u16) {
    out.extend_from_slice(&n.to_le_bytes());
}

fn time(out: &mut Vec<u8>, at: u64) {
    word(out, (at >> 32) as u32);
    word(out, at as u32);
}

fn pad(out: &mut Vec<u8>, length: usize) {
    out.resize(out.len() + length.next_multiple_of(4) - length, 0);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    half(out, code);
    half(out, value.len() as u16);
    out.extend_from_slice(value);
    pad(out, value.len());
}

fn text(out: &mut Vec<u8>, code: u16, text: &str) {
    let upto = text.floor_char_boundary(LONGEST_TEXT);
    option(out, code, &text.as_bytes()[..upto]);
}

fn end_of_options(out: &mut Vec<u8>) {
    half(out, OPTION_END);
    half(out, 0);
}
