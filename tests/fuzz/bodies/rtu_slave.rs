//! A slave on a line that carries anything at any time: it never panics, never talks into somebody else's frame, says
//! nothing but good replies of its units, and answers the good request that comes after silence. How bytes that come at
//! once are handed to it changes nothing.
//!
//! The input is a list of bursts: pause in 64 us, length, bytes. An odd pause puts a good CRC behind the bytes,
//! which mutations would hardly ever find.

use std::time::Duration;

use hilrig_modbus::crc::crc16;
use hilrig_modbus::{Exchange, Slave, Timing};
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
        for id in [1, 17] {
            let mut unit = Unit::new();
            for table in Table::ALL {
                assert!(unit.define(table, 0, 0..32).is_ok());
            }
            assert!(plant.add_unit(id, unit).is_ok());
        }
        let slave = Slave::new(timing, Shared::new(plant));
        Self { slave, now: Time(1_000_000_000), tx: Tx::default(), replies: vec![] }
    }

    fn wait(&mut self, time: Duration) {
        for (due, said) in pass(&mut self.slave, &mut self.now, time, &mut self.tx) {
            assert!((4..=256).contains(&said.len()) && crc16(&said) == 0, "a frame: {said:02x?}");
            assert!([1, 17].contains(&said[0]), "of a unit that is here: {said:02x?}");
            self.replies.push((due, said));
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        // Nobody calls with nothing.
        if bytes.is_empty() {
            return;
        }
        self.slave.on_bytes(self.now, bytes, &mut self.tx);
        assert!(self.tx.pending().is_empty(), "nothing is said while somebody else talks");
    }
}

pub fn run(data: &[u8]) {
    let Ok(format) = "8E1".parse() else { return };
    let timing = Timing::new(19200, format);
    let (mut whole, mut cut, mut rest) = (Bench::new(timing), Bench::new(timing), data);
    while let [pause, len, tail @ ..] = rest {
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        let time = Duration::from_micros(64 * u64::from(*pause));
        let crc = crc16(burst).to_le_bytes();
        let burst = [burst, if pause & 1 == 1 { &crc } else { &[] }].concat();
        whole.wait(time);
        cut.wait(time);
        whole.hear(&burst);
        burst.iter().for_each(|byte| cut.hear(&[*byte]));
        rest = tail;
    }
    // Somebody may have told it to listen only.
    let restart = [1, 8, 0, 1, 0, 0];
    let restart = [&restart[..], &crc16(&restart).to_le_bytes()].concat();
    let Ok(good) = Exchange::read(1, Table::InputRegisters, 3, 4) else { return };
    for bench in [&mut whole, &mut cut] {
        bench.wait(Duration::from_millis(100));
        bench.hear(&restart);
        bench.wait(Duration::from_millis(100));
        let before = bench.replies.len();
        bench.hear(good.frame());
        bench.wait(Duration::from_millis(100));
        let said: Vec<_> = bench.replies[before..].iter().map(|(_, said)| &said[..11]).collect();
        assert_eq!(said, [[1, 4, 8, 0, 3, 0, 4, 0, 5, 0, 6]]);
        let t = bench.slave.stats().totals();
        assert_eq!(t.requests, t.replies + t.superseded + t.unanswered);
    }
    assert_eq!(whole.replies, cut.replies);
    assert_eq!(whole.slave.stats().totals(), cut.slave.stats().totals());
}
