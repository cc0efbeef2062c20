//! A sniffer of a line that carries anything at any time: it never panics, never sends, and understands the exchange
//! that comes after silence.
//!
//! The input is a byte, odd for ASCII, and a list of bursts: pause in 64 us, length, bytes. An odd pause makes a frame
//! of the bytes, unit id first.

use std::time::Duration;

use hilrig_modbus::framing::encode;
use hilrig_modbus::{Framing, MAX_ADU, Sniffer, Timing};
use hilrig_points::Table;
use hilrig_port::{Station, Time, Tx};

use crate::pass::pass;

pub fn run(data: &[u8]) {
    let (Some((&ascii, mut rest)), Ok(format)) = (data.split_first(), "8E1".parse()) else { return };
    let framing = if ascii & 1 == 1 { Framing::Ascii } else { Framing::Rtu };
    let mut sniffer = Sniffer::new(Timing::new(19200, format)).framing(framing);
    let (mut now, mut tx, mut adu) = (Time(1_000_000_000), Tx::default(), [0; MAX_ADU]);
    let mut said = 0;
    while let [pause, len, tail @ ..] = rest {
        said += pass(&mut sniffer, &mut now, Duration::from_micros(64 * u64::from(*pause)), &mut tx);
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        match burst {
            [unit, pdu @ ..] if pause & 1 == 1 => {
                let len = encode(framing, 0, *unit, pdu, &mut adu);
                sniffer.on_bytes(now, &adu[..len], &mut tx);
            }
            _ => sniffer.on_bytes(now, burst, &mut tx),
        }
        rest = tail;
    }
    said += pass(&mut sniffer, &mut now, Duration::from_secs(3), &mut tx);
    let before = sniffer.stats().totals();
    for pdu in [&[3, 0, 9, 0, 1][..], &[3, 2, 0x12, 0x34]] {
        let len = encode(framing, 0, 7, pdu, &mut adu);
        sniffer.on_bytes(now, &adu[..len], &mut tx);
        said += pass(&mut sniffer, &mut now, Duration::from_millis(10), &mut tx);
    }
    let after = sniffer.stats().totals();
    assert_eq!((after.requests, after.replies), (before.requests + 1, before.replies + 1));
    if sniffer.map().missed() == 0 {
        assert_eq!(sniffer.map().value(7, Table::HoldingRegisters, 9), Some(0x1234));
    }
    for unit in sniffer.map().units() {
        assert!(sniffer.map().to_toml(unit, "unit").starts_with("[unit.unit]\n"));
    }
    assert!(said == 0 && tx.pending().is_empty());
}
