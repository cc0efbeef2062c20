//! An ASCII slave on a line that carries any characters at any time: it never panics, loses count of no character, says
//! nothing but good replies of its unit, and answers the good request that comes after silence. How characters that come
//! at once are handed to it changes nothing.
//!
//! The input is a list of bursts: pause in 16 ms, length, bytes. With an odd pause the bytes are unit id and PDU of a
//! good frame, which mutations would hardly ever make.

use std::time::Duration;

use hilrig_modbus::framing::{Form, Framer, Framing, MAX_ADU, encode};
use hilrig_modbus::{Slave, Timing};
use hilrig_points::{Plant, Shared, Table, Unit};
use hilrig_port::{Station, Time, Tx};

use crate::pass::pass;

struct Bench {
    slave: Slave,
    now: Time,
    tx: Tx,
    replies: Vec<(Time, Vec<u8>)>,
}

impl Bench {
    fn new(timing: Timing) -> Self {
        let mut plant = Plant::default();
        let mut unit = Unit::new();
        assert!(unit.define(Table::HoldingRegisters, 0, 0..32).is_ok());
        assert!(plant.add_unit(1, unit).is_ok());
        let slave = Slave::new(timing, Shared::new(plant)).framing(Framing::Ascii);
        Self { slave, now: Time(1_000_000_000), tx: Tx::default(), replies: vec![] }
    }

    fn wait(&mut self, time: Duration) {
        for (due, said) in pass(&mut self.slave, &mut self.now, time, &mut self.tx) {
            // More than one can be due at once; each ends with CR and a delimiter, which may have been changed.
            for one in said.split(|b| *b == b':').skip(1) {
                assert!(is_of_unit_1(one), "a frame of the unit: {}", said.escape_ascii());
                self.replies.push((due, one.to_vec()));
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.slave.on_bytes(self.now, bytes, &mut self.tx);
        assert!(self.tx.pending().is_empty(), "nothing is said while somebody else talks");
    }
}

/// Digits that sum up to 0, CR and a delimiter.
fn is_of_unit_1(text: &[u8]) -> bool {
    let Some(digits) = text.split_last().and_then(|(_, rest)| rest.strip_suffix(b"\r")) else { return false };
    let digit = |d: u8| char::from(d).to_digit(16).map(|d| d as u8);
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?);
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.is_some_and(|b| b.starts_with(&[1]) && b.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)) == 0)
}

fn text(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_ADU];
    let len = encode(Framing::Ascii, 0, unit, pdu, &mut out);
    out[..len].to_vec()
}

pub fn run(data: &[u8]) {
    let Ok(format) = "7E1".parse() else { return };
    let timing = Timing::new(19200, format);
    let (mut whole, mut cut, mut rest) = (Bench::new(timing), Bench::new(timing), data);
    let mut framer = Framer::new(Framing::Ascii, &timing);
    let (mut came, mut told) = (0, 0);
    while let [pause, len, tail @ ..] = rest {
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        let burst = match burst {
            [unit, pdu @ ..] if pause & 1 == 1 => text(*unit, pdu),
            other => other.to_vec(),
        };
        let time = Duration::from_millis(16 * u64::from(*pause));
        whole.wait(time);
        cut.wait(time);
        whole.hear(&burst);
        burst.iter().for_each(|byte| cut.hear(&[*byte]));
        came += burst.len() as u64;
        for byte in burst {
            told += framer.push(whole.now, byte).map_or(0, |dropped| dropped.bytes);
            if framer.is_whole(Form::Request) {
                assert!((1..=253).contains(&framer.adu().pdu.len()));
                told += framer.collected();
                framer.clear();
            }
        }
        rest = tail;
    }
    assert_eq!(came, told + framer.collected(), "each character is in a frame or dropped");
    // It may listen only, and wait for another delimiter than LF by now: for one that came, as it is or in digits.
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let mut delimiters: Vec<u8> = data.windows(2).filter_map(digits).chain(data.iter().copied()).collect();
    delimiters.push(b'\n');
    delimiters.sort_unstable();
    delimiters.dedup();
    for bench in [&mut whole, &mut cut] {
        bench.wait(Duration::from_secs(2));
        for (pdu, reply) in [(&[8, 0, 1, 0, 0][..], None), (&[3, 0, 5, 0, 1], Some(&b"0103020005F5\r"[..]))] {
            let before = bench.replies.len();
            for &delimiter in &delimiters {
                let mut good = text(1, pdu);
                let last = good.len() - 1;
                good[last] = delimiter;
                bench.hear(&good);
                bench.wait(Duration::from_millis(100));
            }
            if let Some(reply) = reply {
                let said: Vec<_> =
                    bench.replies[before..].iter().map(|(_, said)| &said[..said.len() - 1]).collect();
                assert_eq!(said, [reply]);
            }
        }
        let t = bench.slave.stats().totals();
        assert_eq!(t.requests, t.replies + t.superseded + t.unanswered);
    }
    assert_eq!(whole.replies, cut.replies);
    assert_eq!(whole.slave.stats().totals(), cut.slave.stats().totals());
}
