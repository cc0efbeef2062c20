//! Requests and replies in words, for traces and events. Believes nothing of a PDU; knows no line and no points.

use hilrig_modbus::reply::{Answer, Reply, match_reply};
use hilrig_points::Table;

/// What a PDU says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    pub text: String,
    /// The cells that it is about.
    pub range: Option<Range>,
    /// Their values, from the first on, if it carries them.
    pub values: Vec<u16>,
    /// The exception code.
    pub exception: Option<u8>,
}

/// Cells of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub table: Table,
    pub address: u16,
    pub quantity: u16,
}

/// The words of AP 7 for an exception code.
pub fn exception_name(code: u8) -> &'static str {
    match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "server device failure",
        5 => "acknowledge",
        6 => "server device busy",
        7 => "negative acknowledge",
        8 => "memory parity error",
        10 => "gateway path unavailable",
        11 => "gateway target failed to respond",
        _ => "unknown exception",
    }
}

/// What a function code does.
pub fn function_name(code: u8) -> &'static str {
    match code {
        1 => "read coils",
        2 => "read discrete inputs",
        3 => "read holding registers",
        4 => "read input registers",
        5 => "write coil",
        6 => "write register",
        7 => "read exception status",
        8 => "diagnostics",
        11 => "get comm event counter",
        12 => "get comm event log",
        15 => "write coils",
        16 => "write registers",
        17 => "report server id",
        20 => "read file record",
        21 => "write file record",
        22 => "mask write register",
        23 => "read/write registers",
        24 => "read FIFO queue",
        43 => "read device identification",
        _ => "function",
    }
}

fn diagnostic_name(code: u16) -> &'static str {
    match code {
        0 => "return query data",
        1 => "restart communications",
        2 => "return diagnostic register",
        3 => "change ASCII delimiter",
        4 => "force listen only mode",
        10 => "clear counters",
        11 => "bus message count",
        12 => "bus communication error count",
        13 => "bus exception error count",
        14 => "server message count",
        15 => "server no response count",
        16 => "server NAK count",
        17 => "server busy count",
        18 => "bus character overrun count",
        20 => "clear overrun counter",
        _ => "subfunction",
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

pub(crate) fn registers(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect()
}

fn bits(bytes: &[u8], quantity: u16) -> Vec<u16> {
    let bit = |i: usize| bytes.get(i / 8).map(|b| u16::from(b >> (i % 8) & 1));
    (0..usize::from(quantity)).map_while(bit).collect()
}

/// Bytes in hexadecimal, the first few of many.
pub fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 32;
    let mut text: Vec<String> = bytes.iter().take(SHOWN).map(|b| format!("{b:02x}")).collect();
    if bytes.len() > SHOWN {
        text.push(format!("... ({} bytes)", bytes.len()));
    }
    text.join(" ")
}

/// Values for people, the first few of many.
fn list(values: &[u16]) -> String {
    const SHOWN: usize = 16;
    let mut text: Vec<String> = values.iter().take(SHOWN).map(u16::to_string).collect();
    if values.len() > SHOWN {
        text.push(format!("... ({} values)", values.len()));
    }
    text.join(" ")
}

impl Range {
    fn words(self) -> String {
        let name = self.table.name();
        match self.quantity {
            0 | 1 => format!("{name} {}", self.address),
            n => format!("{name} {}..{}", self.address, u32::from(self.address) + u32::from(n) - 1),
        }
    }
}

fn said(text: impl Into<String>) -> Said {
    Said { text: text.into(), ..Said::default() }
}

fn raw(function: u8, data: &[u8]) -> Said {
    let name = match function_name(function) {
        "function" => format!("function {function}"),
        known => known.to_owned(),
    };
    said(if data.is_empty() { name } else { format!("{name}: {}", hex(data)) })
}

/// What a request asks for.
pub fn request(pdu: &[u8]) -> Said {
    let Some((&function, data)) = pdu.split_first() else { return said("no PDU at all") };
    known_request(function, data).unwrap_or_else(|| raw(function, data))
}

fn known_request(function: u8, data: &[u8]) -> Option<Said> {
    let range = |table, quantity| Some(Range { table, address: word(data, 0)?, quantity });
    let write = |range: Range, values: Vec<u16>| Said {
        text: format!("write {} = {}", range.words(), list(&values)),
        range: Some(range),
        values,
        exception: None,
    };
    Some(match function {
        1..=4 => {
            let table = [Table::Coils, Table::DiscreteInputs, Table::HoldingRegisters, Table::InputRegisters]
                [usize::from(function) - 1];
            let range = range(table, word(data, 2)?)?;
            Said { range: Some(range), ..said(format!("read {}", range.words())) }
        }
        5 => match word(data, 2)? {
            0xff00 => write(range(Table::Coils, 1)?, vec![1]),
            0 => write(range(Table::Coils, 1)?, vec![0]),
            value => said(format!("write coil {} = 0x{value:04x}", word(data, 0)?)),
        },
        6 => write(range(Table::HoldingRegisters, 1)?, vec![word(data, 2)?]),
        8 => {
            let sub = word(data, 0)?;
            said(format!("diagnostics {sub} ({}): {}", diagnostic_name(sub), hex(data.get(2..)?)))
        }
        15 => {
            let range = range(Table::Coils, word(data, 2)?)?;
            write(range, bits(data.get(5..)?, range.quantity))
        }
        16 => {
            let values = registers(data.get(5..)?);
            write(range(Table::HoldingRegisters, values.len() as u16)?, values)
        }
        22 => {
            let range = range(Table::HoldingRegisters, 1)?;
            let (and, or) = (word(data, 2)?, word(data, 4)?);
            Said {
                range: Some(range),
                ..said(format!("mask {}: and 0x{and:04x}, or 0x{or:04x}", range.words()))
            }
        }
        23 => {
            let read = range(Table::HoldingRegisters, word(data, 2)?)?;
            let values = registers(data.get(9..)?);
            let quantity = values.len() as u16;
            let into = Range { table: Table::HoldingRegisters, address: word(data, 4)?, quantity };
            let text = format!("read {}, write {} = {}", read.words(), into.words(), list(&values));
            Said { range: Some(into), values, ..said(text) }
        }
        24 => said(format!("read FIFO queue {}", word(data, 0)?)),
        _ => return None,
    })
}

/// What a reply says to its request; without one, as far as it can be told.
pub fn reply(request: Option<&[u8]>, pdu: &[u8]) -> Said {
    let Some((&function, data)) = pdu.split_first() else { return said("no PDU at all") };
    if let (true, [code]) = (function >= 0x80, data) {
        let text = format!("exception {code}: {}", exception_name(*code));
        return Said { exception: Some(*code), ..said(text) };
    }
    let answered = request.and_then(|request| match match_reply(request, pdu) {
        Reply::Done(data) => good_reply(request, &Answer::new(request, data)),
        _ => None,
    });
    answered.unwrap_or_else(|| raw(function, data))
}

fn good_reply(request: &[u8], answer: &Answer<'_>) -> Option<Said> {
    let (function, data) = request.split_first()?;
    let carried = |range: Range, values: Vec<u16>| Said {
        text: format!("{} = {}", range.words(), list(&values)),
        range: Some(range),
        values,
        exception: None,
    };
    Some(match answer {
        Answer::Bits(packed) => {
            let asked = known_request(*function, data)?.range?;
            carried(asked, bits(packed, asked.quantity))
        }
        Answer::Registers(bytes) => {
            let values = registers(bytes);
            let quantity = values.len() as u16;
            let table = if *function == 4 { Table::InputRegisters } else { Table::HoldingRegisters };
            match function {
                24 => said(format!("FIFO queue: {}", list(&values))),
                _ => carried(Range { table, address: word(data, 0)?, quantity }, values),
            }
        }
        Answer::Written => said("done"),
        Answer::ExceptionStatus(status) => said(format!("exception status {status:08b}")),
        Answer::EventCounter { busy, events } => {
            said(format!("{events} events{}", if *busy { ", busy" } else { "" }))
        }
        Answer::EventLog { events, messages, log, .. } => {
            said(format!("{events} events, {messages} messages, log {}", hex(log)))
        }
        Answer::ServerId(id) => said(format!("server id {}", hex(id))),
        Answer::Diagnostics(echo) => said(format!("diagnostics: {}", hex(echo))),
        Answer::Identity(identity) => {
            let objects = identity.objects.clone();
            let text = |(id, value): (u8, &[u8])| format!("{id}={:?}", String::from_utf8_lossy(value));
            said(format!("identification {}", objects.map(text).collect::<Vec<_>>().join(", ")))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_are_told_in_words() {
        let ask = [3, 0, 4, 0, 2];
        assert_eq!(request(&ask).text, "read holding 4..5");
        let got = reply(Some(&ask), &[3, 4, 0, 7, 1, 0]);
        assert_eq!((got.text.as_str(), got.values.as_slice()), ("holding 4..5 = 7 256", &[7, 256][..]));
        let bits = [1, 0, 0, 0, 10];
        assert_eq!(reply(Some(&bits), &[1, 2, 0b101, 2]).values, [1, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
        let write = [16, 0, 1, 0, 2, 4, 0, 5, 0, 6];
        assert_eq!(request(&write).text, "write holding 1..2 = 5 6");
        assert_eq!(reply(Some(&write), &[16, 0, 1, 0, 2]).text, "done");
        let refused = reply(Some(&ask), &[0x83, 2]);
        assert_eq!(
            (refused.text.as_str(), refused.exception),
            ("exception 2: illegal data address", Some(2))
        );
        assert_eq!(request(&[5, 0, 3, 0xff, 0]).text, "write coil 3 = 1");
        assert_eq!(request(&[5, 0, 3, 0x12, 0x34]).text, "write coil 3 = 0x1234");
        assert_eq!(request(&[0x42, 1, 2]).text, "function 66: 01 02");
        // Of a reply to something else only its bytes are known.
        assert_eq!(reply(Some(&ask), &[3, 2, 0, 7]).text, "read holding registers: 02 00 07");
    }

    #[test]
    fn no_bytes_are_too_strange() {
        for function in 0..=255u8 {
            for len in 0..14 {
                let pdu: Vec<u8> =
                    [function].into_iter().chain((0..len).map(|i: u8| i.wrapping_mul(37))).collect();
                assert!(!request(&pdu).text.is_empty() && !reply(Some(&pdu), &pdu).text.is_empty());
                assert!(!reply(None, &pdu).text.is_empty());
            }
        }
    }
}
