//! A sniffer of a line that carries anything at any time: it never panics, never sends, and understands the exchange
//! that comes after silence. How bytes that come at once are handed to it changes nothing, and what it shows as TOML is
//! TOML.
//!
//! The input is a byte, odd for ASCII, and a list of bursts: pause in 64 us, length, bytes. An odd pause makes a frame
//! of the bytes, unit id first.

use std::time::Duration;

use hilrig_modbus::framing::encode;
use hilrig_modbus::{Framing, MAX_ADU, Sniffer, Timing};
use hilrig_points::Table;
use hilrig_port::{Station, Time, Tx};

use crate::pass::pass;

/// Lets time pass; nothing is said in it.
fn wait(sniffer: &mut Sniffer, now: &mut Time, time: Duration, tx: &mut Tx) {
    assert!(pass(sniffer, now, time, tx).is_empty());
}

pub fn run(data: &[u8]) {
    let (Some((&ascii, mut rest)), Ok(format)) = (data.split_first(), "8E1".parse()) else { return };
    let framing = if ascii & 1 == 1 { Framing::Ascii } else { Framing::Rtu };
    let new = || Sniffer::new(Timing::new(19200, format)).framing(framing);
    let (mut whole, mut cut) = (new(), new());
    let (mut now, mut tx, mut adu) = (Time(1_000_000_000), Tx::default(), [0; MAX_ADU]);
    while let [pause, len, tail @ ..] = rest {
        let time = Duration::from_micros(64 * u64::from(*pause));
        wait(&mut whole, &mut now.clone(), time, &mut tx);
        wait(&mut cut, &mut now, time, &mut tx);
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        let burst = match burst {
            [unit, pdu @ ..] if pause & 1 == 1 => {
                let len = encode(framing, 0, *unit, pdu, &mut adu);
                &adu[..len]
            }
            _ => burst,
        };
        whole.on_bytes(now, burst, &mut tx);
        burst.iter().for_each(|byte| cut.on_bytes(now, &[*byte], &mut tx));
        rest = tail;
    }
    let rows = |sniffer: &Sniffer| format!("{:?}", sniffer.rows());
    assert_eq!(whole.stats().totals(), cut.stats().totals());
    assert_eq!(rows(&whole), rows(&cut));
    let mut sniffer = whole;
    wait(&mut sniffer, &mut now, Duration::from_secs(3), &mut tx);
    let before = sniffer.stats().totals();
    for pdu in [&[3, 0, 9, 0, 1][..], &[3, 2, 0x12, 0x34]] {
        let len = encode(framing, 0, 7, pdu, &mut adu);
        sniffer.on_bytes(now, &adu[..len], &mut tx);
        wait(&mut sniffer, &mut now, Duration::from_millis(10), &mut tx);
    }
    let after = sniffer.stats().totals();
    assert_eq!((after.requests, after.replies), (before.requests + 1, before.replies + 1));
    assert!(after.replies + after.exceptions + after.timeouts <= after.requests);
    if sniffer.map().missed() == 0 {
        assert_eq!(sniffer.map().value(7, Table::HoldingRegisters, 9), Some(0x1234));
    }
    for unit in sniffer.map().units() {
        let text = sniffer.map().to_toml(unit, "unit");
        let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(table["unit"]["unit"]["id"].as_integer(), Some(unit.into()));
    }
    assert!(tx.pending().is_empty());
}
