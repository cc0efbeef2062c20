//! An ASCII slave on a line that carries any characters at any time: it never panics, loses count of no character, and
//! answers the good request that comes after silence.
//!
//! The input is a list of bursts: pause in 16 ms, length, bytes. With an odd pause the bytes are unit id and PDU of a
//! good frame, which mutations would hardly ever make.

use std::time::Duration;

use hilrig_modbus::framing::{Form, Framer, Framing, MAX_ADU, encode};
use hilrig_modbus::{Slave, Timing};
use hilrig_points::{Plant, Shared, Table, Unit};
use hilrig_port::{Station, Time, Tx};

use crate::pass::pass;

fn text(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_ADU];
    let len = encode(Framing::Ascii, 0, unit, pdu, &mut out);
    out[..len].to_vec()
}

pub fn run(data: &[u8]) {
    let Ok(format) = "7E1".parse() else { return };
    let timing = Timing::new(19200, format);
    let mut plant = Plant::default();
    let mut unit = Unit::new();
    assert!(unit.define(Table::HoldingRegisters, 0, 0..32).is_ok());
    assert!(plant.add_unit(1, unit).is_ok());
    let mut slave = Slave::new(timing, Shared::new(plant)).framing(Framing::Ascii);
    let mut framer = Framer::new(Framing::Ascii, &timing);
    let (mut now, mut tx, mut rest) = (Time(1_000_000_000), Tx::default(), data);
    let (mut came, mut told) = (0, 0);
    while let [pause, len, tail @ ..] = rest {
        pass(&mut slave, &mut now, Duration::from_millis(16 * u64::from(*pause)), &mut tx);
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        let burst = match burst {
            [unit, pdu @ ..] if pause & 1 == 1 => text(*unit, pdu),
            other => other.to_vec(),
        };
        slave.on_bytes(now, &burst, &mut tx);
        assert!(tx.pending().is_empty(), "nothing is said while somebody else talks");
        came += burst.len() as u64;
        for byte in burst {
            told += framer.push(now, byte).map_or(0, |dropped| dropped.bytes);
            if framer.is_whole(Form::Request) {
                assert!((1..=253).contains(&framer.adu().pdu.len()));
                told += framer.collected();
                framer.clear();
            }
        }
        rest = tail;
    }
    assert_eq!(came, told + framer.collected(), "each character is in a frame or dropped");
    pass(&mut slave, &mut now, Duration::from_secs(2), &mut tx);
    // It may listen only, and wait for another delimiter than LF by now.
    let mut answered = 0;
    for pdu in [&[8, 0, 1, 0, 0][..], &[3, 0, 0, 0, 1]] {
        answered = 0;
        for delimiter in 0..=255 {
            let mut good = text(1, pdu);
            let last = good.len() - 1;
            good[last] = delimiter;
            slave.on_bytes(now, &good, &mut tx);
            answered += pass(&mut slave, &mut now, Duration::from_millis(100), &mut tx);
        }
    }
    assert_eq!(answered, 1);
    let t = slave.stats().totals();
    assert_eq!(t.requests, t.replies + t.superseded + t.unanswered);
}
