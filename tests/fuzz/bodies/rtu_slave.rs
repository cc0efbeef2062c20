//! A slave on a line that carries anything at any time: it never panics, never talks into somebody else's frame,
//! and answers the good request that comes after silence.
//!
//! The input is a list of bursts: pause in 64 us, length, bytes. An odd pause puts a good CRC behind the bytes,
//! which mutations would hardly ever find.

use std::time::Duration;

use hilrig_modbus::crc::crc16;
use hilrig_modbus::{Exchange, Slave, Timing};
use hilrig_points::{Plant, Shared, Table, Unit};
use hilrig_port::{Station, Time, Tx};

use crate::pass::pass;

pub fn run(data: &[u8]) {
    let Ok(format) = "8E1".parse() else { return };
    let mut plant = Plant::default();
    for id in [1, 17] {
        let mut unit = Unit::new();
        for table in Table::ALL {
            assert!(unit.define(table, 0, 0..32).is_ok());
        }
        assert!(plant.add_unit(id, unit).is_ok());
    }
    let mut slave = Slave::new(Timing::new(19200, format), Shared::new(plant));
    let (mut now, mut tx, mut rest) = (Time(1_000_000_000), Tx::default(), data);
    while let [pause, len, tail @ ..] = rest {
        pass(&mut slave, &mut now, Duration::from_micros(64 * u64::from(*pause)), &mut tx);
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        let crc = crc16(burst).to_le_bytes();
        slave.on_bytes(now, burst, &mut tx);
        if pause & 1 == 1 {
            slave.on_bytes(now, &crc, &mut tx);
        }
        assert!(tx.pending().is_empty(), "nothing is said while somebody else talks");
        rest = tail;
    }
    pass(&mut slave, &mut now, Duration::from_millis(100), &mut tx);
    // Somebody may have told it to listen only.
    let restart = [1, 8, 0, 1, 0, 0];
    slave.on_bytes(now, &[&restart[..], &crc16(&restart).to_le_bytes()].concat(), &mut tx);
    pass(&mut slave, &mut now, Duration::from_millis(100), &mut tx);
    let Ok(good) = Exchange::read(1, Table::InputRegisters, 3, 4) else { return };
    slave.on_bytes(now, good.frame(), &mut tx);
    assert_eq!(pass(&mut slave, &mut now, Duration::from_millis(100), &mut tx), 1);
    let t = slave.stats().totals();
    assert_eq!(t.requests, t.replies + t.superseded + t.unanswered);
}
