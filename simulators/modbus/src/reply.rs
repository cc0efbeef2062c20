//! Whether a reply PDU answers a request PDU, and what it says. Looks at the bytes of both only, so that it serves the
//! master, the gateway and the sniffer, and requests that no decoder would pass. Knows no line and no unit.

use crate::pdu::EXCEPTION;

/// What a reply says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// It answers the request: its data without what only repeats the request or counts bytes; empty for a write.
    Done(&'a [u8]),
    /// The code of an exception, whatever it is.
    Refused(u8),
    /// Not a reply to this request: other function, other length, other echo.
    Stranger,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The bytes behind a byte count, if there are just so many.
fn counted(data: &[u8]) -> Option<&[u8]> {
    let (&count, rest) = data.split_first()?;
    (rest.len() == usize::from(count)).then_some(rest)
}

/// Holds a reply PDU against the request PDU it should answer.
pub fn match_reply<'a>(request: &[u8], reply: &'a [u8]) -> Reply<'a> {
    let (Some((&asked, question)), Some((&function, data))) = (request.split_first(), reply.split_first())
    else {
        return Reply::Stranger;
    };
    if asked < EXCEPTION && function == asked | EXCEPTION {
        return match data {
            [code] => Reply::Refused(*code),
            _ => Reply::Stranger,
        };
    }
    if function != asked {
        return Reply::Stranger;
    }
    matching(asked, question, data).map_or(Reply::Stranger, Reply::Done)
}

/// The data of a reply, `None` if it is not one to this request.
fn matching<'a>(function: u8, question: &[u8], data: &'a [u8]) -> Option<&'a [u8]> {
    const WRITTEN: Option<&[u8]> = Some(&[]);
    match function {
        1..=4 => {
            let (quantity, values) = (usize::from(word(question, 2)?), counted(data)?);
            let bytes = if function <= 2 { quantity.div_ceil(8) } else { 2 * quantity };
            (values.len() == bytes).then_some(values)
        }
        // Function, address and value or quantity come back as they were sent.
        5 | 6 | 15 | 16 => (data.len() == 4 && question.get(..4) == Some(data)).then_some(&[]),
        21 | 22 if data == question => WRITTEN,
        21 | 22 => None,
        7 => (data.len() == 1).then_some(data),
        8 => match word(question, 0)? {
            0 => (data == question).then(|| &data[2..]),
            sub => (word(data, 0) == Some(sub) && data.len() >= 4 && data.len().is_multiple_of(2))
                .then(|| &data[2..]),
        },
        11 => (data.len() == 4).then_some(data),
        12 => counted(data).filter(|d| (6..=70).contains(&d.len())),
        17 => counted(data),
        20 => {
            let (groups, records) = (counted(question)?, counted(data)?);
            let lengths = groups.chunks(7).map(|g| word(g, 5));
            let mut rest = records;
            for length in lengths {
                let record = 2 * usize::from(length?) + 1;
                let (&count, tail) = rest.split_first()?;
                if usize::from(count) != record || tail.len() < record || tail[0] != RECORD {
                    return None;
                }
                rest = &tail[record..];
            }
            rest.is_empty().then_some(records)
        }
        23 => counted(data).filter(|v| word(question, 2).is_some_and(|n| v.len() == 2 * usize::from(n))),
        24 => {
            let (bytes, count) = (usize::from(word(data, 0)?), usize::from(word(data, 2)?));
            (data.len() == 2 + bytes && bytes == 2 + 2 * count).then(|| &data[4..])
        }
        43 if question.first() == Some(&14) => {
            let same = data.get(..2) == question.get(..2) && data.len() >= 6;
            let mut rest = data.get(6..).filter(|_| same)?;
            for _ in 0..data[5] {
                let &[_, length, ref tail @ ..] = rest else { return None };
                rest = tail.get(length.into()..)?;
            }
            rest.is_empty().then(|| &data[1..])
        }
        43 => (data.first() == question.first()).then(|| data.get(1..).unwrap_or_default()),
        // Of a code that the specification leaves to users nothing is known but the code.
        _ => Some(data),
    }
}

/// Reference type of a file record (AP 6.14).
pub(crate) const RECORD: u8 = 6;

/// What the values of a reply are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Bits,
    Registers,
    Bytes,
}

/// What `data` of a reply to a request is, and how many of it.
pub(crate) fn shape(request: &[u8], data: &[u8]) -> (Shape, usize) {
    match request.first() {
        Some(1 | 2) => {
            let quantity = word(request, 3).map_or(0, usize::from);
            (Shape::Bits, quantity.min(8 * data.len()))
        }
        Some(3 | 4 | 8 | 11 | 23 | 24) => (Shape::Registers, data.len() / 2),
        _ => (Shape::Bytes, data.len()),
    }
}

/// The data of a good reply, read as its function code says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Functions 1 and 2: eight in a byte, the first in the lowest bit.
    Bits(&'a [u8]),
    /// Functions 3, 4, 23 and 24: two bytes each, high byte first.
    Registers(&'a [u8]),
    /// Functions 5, 6, 15, 16, 21, 22: done.
    Written,
    /// Function 7: eight coils that the maker of the device chose.
    ExceptionStatus(u8),
    /// Function 8: the data behind the subfunction; an echo, a counter.
    Diagnostics(&'a [u8]),
    /// Function 11.
    EventCounter { busy: bool, events: u16 },
    /// Function 12; the latest event first.
    EventLog { busy: bool, events: u16, messages: u16, log: &'a [u8] },
    /// Function 17: id, run indicator and more as the maker of the device chose.
    ServerId(&'a [u8]),
    /// Function 20.
    Records(Records<'a>),
    /// Function 43 with type 14.
    Identity(Identity<'a>),
    /// Everything behind any other function code.
    Other(&'a [u8]),
}

impl<'a> Answer<'a> {
    /// Reads the data that [`match_reply`] found in the reply to this request.
    pub fn new(request: &[u8], data: &'a [u8]) -> Self {
        let at = |i| word(data, i).unwrap_or_default();
        match (request.first(), data.len()) {
            (Some(1 | 2), _) => Self::Bits(data),
            (Some(3 | 4 | 23 | 24), _) => Self::Registers(data),
            (Some(5 | 6 | 15 | 16 | 21 | 22), _) => Self::Written,
            (Some(7), 1) => Self::ExceptionStatus(data[0]),
            (Some(8), _) => Self::Diagnostics(data),
            (Some(11), 4) => Self::EventCounter { busy: at(0) != 0, events: at(2) },
            (Some(12), 6..) => {
                Self::EventLog { busy: at(0) != 0, events: at(2), messages: at(4), log: &data[6..] }
            }
            (Some(17), _) => Self::ServerId(data),
            (Some(20), _) => Self::Records(Records(data)),
            (Some(43), 5..) if request.get(1) == Some(&14) => Self::Identity(Identity {
                conformity: data[1],
                more: data[2] != 0,
                next: data[3],
                objects: Objects(&data[5..]),
            }),
            _ => Self::Other(data),
        }
    }
}

/// Records of a file, in the order they were asked for: registers, two bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first()?;
        let (record, rest) = rest.split_at_checked(length.into())?;
        self.0 = rest;
        record.get(1..)
    }
}

/// Objects of a device's identification (AP 6.21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity<'a> {
    pub conformity: u8,
    /// There is more; ask again from `next` on.
    pub more: bool,
    pub next: u8,
    pub objects: Objects<'a>,
}

/// Object ids with their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects<'a>(&'a [u8]);

impl<'a> Iterator for Objects<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let &[id, length, ref rest @ ..] = self.0 else { return None };
        let (value, rest) = rest.split_at_checked(length.into())?;
        self.0 = rest;
        Some((id, value))
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
