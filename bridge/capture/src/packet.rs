//! What one packet of a capture says, and its form behind the link types 250 (RTAC serial) and 252 (exported PDU).
//! Bytes in, bytes out.

use hilrig_port::Lines;

/// What happened, as RTAC serial numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Modem lines changed; also what carries a remark.
    Status,
    TxStart,
    RxStart,
    TxEnd,
    RxEnd,
    DataLost,
    Complete,
    FramingError,
    ParityError,
    Break,
    Overflow,
    Other(u8),
}

impl Event {
    const NUMBERED: [Self; 11] = [
        Self::Status,
        Self::TxStart,
        Self::RxStart,
        Self::TxEnd,
        Self::RxEnd,
        Self::DataLost,
        Self::Complete,
        Self::FramingError,
        Self::ParityError,
        Self::Break,
        Self::Overflow,
    ];

    pub fn number(self) -> u8 {
        match self {
            Self::Other(n) => n,
            known => Self::NUMBERED.iter().position(|e| *e == known).map_or(0, |n| n as u8),
        }
    }

    pub fn numbered(n: u8) -> Self {
        Self::NUMBERED.get(usize::from(n)).copied().unwrap_or(Self::Other(n))
    }
}

/// Which way a packet went, seen from the port that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// It came from there.
    In,
    /// It went there.
    Out,
}

pub(crate) const RTAC_SERIAL: u16 = 250;
pub(crate) const EXPORTED_PDU: u16 = 252;
pub(crate) const RTAC_HEADER: usize = 12;

/// The twelve bytes before the data of an RTAC packet. `at` is in nanoseconds since 1970.
pub(crate) fn rtac_header(at: u64, event: Event, lines: Lines) -> [u8; RTAC_HEADER] {
    let mut header = [0; RTAC_HEADER];
    let (seconds, micros) = ((at / 1_000_000_000) as u32, (at % 1_000_000_000 / 1000) as u32);
    header[..4].copy_from_slice(&seconds.to_be_bytes());
    header[4..8].copy_from_slice(&micros.to_be_bytes());
    header[8] = event.number();
    header[9] = lines.0;
    header
}

/// Event, lines and data of an RTAC packet.
pub(crate) fn parse_rtac(packet: &[u8]) -> Option<(Event, Lines, &[u8])> {
    let (header, data) = packet.split_at_checked(RTAC_HEADER)?;
    // The bit above the modem lines says "MBOK", which no serial line has.
    Some((Event::numbered(header[8]), Lines(header[9] & 0x3F), data))
}

const TAG_END: u16 = 0;
const TAG_DISSECTOR: u16 = 12;
const TAG_IPV4_SOURCE: u16 = 20;
const TAG_IPV4_DESTINATION: u16 = 21;
const TAG_DIRECTION: u16 = 35;

/// The tags before the data of an exported PDU. `side` is whose port it is, 0 or 1; the sides have the addresses
/// 10.0.0.1 and 10.0.0.2.
pub(crate) fn pdu_header(dissector: &str, side: u8, flow: Flow, out: &mut Vec<u8>) {
    let mut tag = |number: u16, value: &[u8]| {
        let padded = value.len().next_multiple_of(4);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&(padded as u16).to_be_bytes());
        out.extend_from_slice(value);
        out.resize(out.len() + padded - value.len(), 0);
    };
    let address = |side: u8| [10, 0, 0, 1 + side];
    let sender = if flow == Flow::In { side } else { 1 - side };
    tag(TAG_DISSECTOR, dissector.as_bytes());
    tag(TAG_IPV4_SOURCE, &address(sender));
    tag(TAG_IPV4_DESTINATION, &address(1 - sender));
    tag(TAG_DIRECTION, &u32::from(flow == Flow::In).to_be_bytes());
    tag(TAG_END, &[]);
}

/// Direction, if it says, and data of an exported PDU.
pub(crate) fn parse_pdu(packet: &[u8]) -> Option<(Option<Flow>, &[u8])> {
    let mut flow = None;
    let mut rest = packet;
    loop {
        let (tag, more) = rest.split_first_chunk::<2>()?;
        let (length, more) = more.split_first_chunk::<2>()?;
        let (value, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = more;
        match u16::from_be_bytes(*tag) {
            TAG_END => return Some((flow, rest)),
            TAG_DIRECTION => {
                flow = match value {
                    [0, 0, 0, 0] => Some(Flow::Out),
                    [0, 0, 0, 1] => Some(Flow::In),
                    _ => None,
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rtac_header_has_its_time_big_endian() {
        let header = rtac_header(1_700_000_000_123_456_789, Event::Break, Lines::DTR | Lines::CTS);
        assert_eq!(header, [0x65, 0x53, 0xF1, 0x00, 0x00, 0x01, 0xE2, 0x40, 9, 0x11, 0, 0]);
        let (event, lines, data) =
            parse_rtac(&[&header[..], b"ab"].concat()).map(|(e, l, d)| (e, l, d.to_vec())).unwrap();
        assert_eq!((event, lines, data), (Event::Break, Lines::DTR | Lines::CTS, b"ab".to_vec()));
        assert_eq!(parse_rtac(&header[..11]), None);
        for n in 0..=255 {
            assert_eq!(Event::numbered(n).number(), n);
        }
    }

    #[test]
    fn an_exported_pdu_parses_as_it_was_made() {
        let mut packet = Vec::new();
        pdu_header("mbrtu", 1, Flow::Out, &mut packet);
        assert_eq!(packet.len() % 4, 0);
        assert_eq!(&packet[..12], [0, 12, 0, 8, b'm', b'b', b'r', b't', b'u', 0, 0, 0]);
        packet.extend_from_slice(b"data");
        assert_eq!(parse_pdu(&packet), Some((Some(Flow::Out), &b"data"[..])));
        for cut in 0..packet.len() - 4 {
            assert_eq!(parse_pdu(&packet[..cut]), None);
        }
    }
}
