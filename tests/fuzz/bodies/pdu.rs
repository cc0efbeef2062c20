//! Any request PDU gets a reply of legal length that belongs to it; and of the functions that read and write the four
//! tables just the reply that a plain reading of AP section 6 gives, with just these cells changed.
//!
//! The input is a request PDU, or a length byte below 16, a request PDU of that length and a reply PDU.

use hilrig_modbus::pdu::{MAX_PDU, Request};
use hilrig_modbus::reply::{Reply, match_reply};
use hilrig_modbus::respond::answer;
use hilrig_points::{Plant, Table, Unit};
use hilrig_port::Time;

/// Each table has these addresses and no other.
const FIRST: u32 = 0xFF00;
const END: u32 = 0x1_0000;

/// The four tables, as simple as can be.
#[derive(Clone)]
struct Memory {
    bits: [Vec<bool>; 2],
    registers: [Vec<u16>; 2],
}

impl Memory {
    fn new() -> Self {
        let bits = |every| (0..256u32).map(|i| i % every == 1).collect();
        let registers = |by| (0..256u16).map(|i| i.wrapping_mul(by)).collect();
        Self { bits: [bits(2), bits(3)], registers: [registers(0x0101), registers(0x0807)] }
    }

    fn unit(&self) -> Unit {
        let mut unit = Unit::new();
        let bits = |place: usize| self.bits[place].iter().map(|on| u16::from(*on));
        assert!(unit.define(Table::Coils, 0xFF00, bits(0)).is_ok());
        assert!(unit.define(Table::DiscreteInputs, 0xFF00, bits(1)).is_ok());
        for (table, values) in
            [Table::HoldingRegisters, Table::InputRegisters].into_iter().zip(&self.registers)
        {
            assert!(unit.define(table, 0xFF00, values.iter().copied()).is_ok());
        }
        unit
    }

    /// The reply, or an exception code; `None` if another function is asked.
    fn answer(&mut self, pdu: &[u8]) -> Option<Result<Vec<u8>, u8>> {
        let (&function, data) = pdu.split_first()?;
        let word = |at: usize| u32::from(data[at]) << 8 | u32::from(data[at + 1]);
        let least = match function {
            1..=6 => 4,
            15 | 16 => 5,
            22 => 6,
            23 => 9,
            _ => return None,
        };
        if data.len() < least || (matches!(function, 1..=6 | 22) && data.len() > least) {
            return Some(Err(3));
        }
        let there = |first: u32, count: u32| first >= FIRST && first + count <= END;
        let place = |address: u32| (address - FIRST) as usize;
        let counted =
            |at: usize, bytes: u32| u32::from(data[at]) == bytes && data.len() - at - 1 == bytes as usize;
        let (first, count) = (word(0), word(2));
        let good = match function {
            1 | 2 => (1..=2000).contains(&count),
            3 | 4 => (1..=125).contains(&count),
            5 => matches!(count, 0 | 0xFF00),
            15 => (1..=1968).contains(&count) && counted(4, count.div_ceil(8)),
            16 => (1..=123).contains(&count) && counted(4, 2 * count),
            23 => (1..=125).contains(&count) && (1..=121).contains(&word(6)) && counted(8, 2 * word(6)),
            _ => true,
        };
        if !good {
            return Some(Err(3));
        }
        let one = matches!(function, 5 | 6 | 22);
        if !there(first, if one { 1 } else { count }) || (function == 23 && !there(word(4), word(6))) {
            return Some(Err(2));
        }
        let at = place(first);
        let words =
            |bytes: &[u8]| bytes.chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect::<Vec<_>>();
        match function {
            1 | 2 => {
                let bits = &self.bits[usize::from(function) - 1][at..at + count as usize];
                let byte = |bits: &[bool]| bits.iter().rev().fold(0u8, |byte, on| byte << 1 | u8::from(*on));
                let bytes: Vec<u8> = bits.chunks(8).map(byte).collect();
                return Some(Ok([&[function, bytes.len() as u8], &bytes[..]].concat()));
            }
            5 => self.bits[0][at] = count != 0,
            6 => self.registers[0][at] = count as u16,
            15 => {
                (0..count as usize).for_each(|i| self.bits[0][at + i] = data[5 + i / 8] >> (i % 8) & 1 == 1)
            }
            16 => self.registers[0][at..at + count as usize].copy_from_slice(&words(&data[5..])),
            22 => {
                let (and, or) = (count as u16, word(4) as u16);
                self.registers[0][at] = self.registers[0][at] & and | or & !and;
                return Some(Ok(pdu.to_vec()));
            }
            23 => {
                let to = place(word(4));
                self.registers[0][to..to + word(6) as usize].copy_from_slice(&words(&data[9..]));
            }
            _ => {}
        }
        if matches!(function, 3 | 4 | 23) {
            let table = usize::from(function == 4);
            let values = &self.registers[table][at..at + count as usize];
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
            return Some(Ok([&[function, bytes.len() as u8], &bytes[..]].concat()));
        }
        Some(Ok(pdu[..5].to_vec()))
    }
}

pub fn run(data: &[u8]) {
    if let Some((&len, rest)) =
        data.split_first().filter(|(len, rest)| **len < 16 && usize::from(**len) <= rest.len())
    {
        let (request, reply) = rest.split_at(len.into());
        match_reply(request, reply);
    }
    let request = &data[..data.len().min(MAX_PDU)];
    if request.is_empty() {
        return;
    }
    let (mut memory, mut plant, mut out) = (Memory::new(), Plant::default(), [0; MAX_PDU]);
    assert!(plant.add_unit(1, memory.unit()).is_ok());
    let (len, exception) = answer(&mut plant, Time(0), 1, request, &mut out);
    assert_eq!(out[0] & 0x7F, request[0] & 0x7F);
    match Request::decode(request) {
        Ok(_) => match match_reply(request, &out[..len]) {
            Reply::Done(_) => assert_eq!(exception, None),
            Reply::Refused(code) => assert_eq!(exception.map(|e| e as u8), Some(code)),
            Reply::Stranger => panic!("the reply does not belong to the request"),
        },
        Err(refused) => assert_eq!((exception, len, out[1]), (Some(refused), 2, refused as u8)),
    }
    if let Some(expected) = memory.answer(request) {
        let expected = expected.unwrap_or_else(|code| vec![request[0] | 0x80, code]);
        assert_eq!(out[..len], expected);
    }
    let Some(unit) = plant.unit(1) else { panic!("the unit is gone") };
    for i in 0..256usize {
        let cell = |table| unit.get(table, 0xFF00 + i as u16);
        assert_eq!(cell(Table::Coils), Some(memory.bits[0][i].into()), "{i}");
        assert_eq!(cell(Table::HoldingRegisters), Some(memory.registers[0][i]), "{i}");
    }
}
