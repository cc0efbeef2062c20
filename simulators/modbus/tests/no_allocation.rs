//! The cores do not allocate while they are driven, whatever comes over the line.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hilrig_modbus::{Exchange, Master, Outcome, Poll, Slave, Timing};
use hilrig_points::{Plant, Shared, Table, Unit};
use hilrig_port::{LineEvent, Station, Time, Tx};
use hilrig_tests::{Counting, allocator_calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn carry(from: &mut Tx, to: &mut dyn Station, now: Time, tx: &mut Tx, bend: bool) {
    let mut bytes = [0; 1024];
    let len = from.pending().len();
    bytes[..len].copy_from_slice(from.pending());
    from.clear();
    if len > 0 {
        bytes[len / 2] ^= u8::from(bend);
        to.on_bytes(now, &bytes[..len], tx);
    }
}

#[test]
fn polling_over_a_bad_line_allocates_nothing() {
    let timing = Timing::new(115_200, "8N1".parse().unwrap());
    let mut unit = Unit::new();
    for table in Table::ALL {
        unit.define(table, 0, 0..300).unwrap();
    }
    let mut plant = Plant::default();
    plant.add_unit(1, unit).unwrap();
    let mut slave = Slave::new(timing, Shared::new(plant));
    let poll = |exchange| Poll::new(exchange).timeout(Duration::from_millis(20));
    let polls = [
        poll(Exchange::read(1, Table::HoldingRegisters, 0, 125).unwrap()).retries(1),
        poll(Exchange::read(1, Table::Coils, 0, 300).unwrap()).every(Duration::from_millis(50)),
        poll(Exchange::read(1, Table::InputRegisters, 299, 2).unwrap()),
        poll(Exchange::read(2, Table::InputRegisters, 0, 2).unwrap()).every(Duration::from_millis(500)),
        poll(Exchange::write_registers(0, 0, &[1; 123]).unwrap()).every(Duration::from_secs(1)),
    ];
    let (mut master, mut results) = Master::new(timing, polls, 64);
    let (stats, (mut near, mut far)) = (master.stats(), (Tx::default(), Tx::default()));
    let handed_in = [(); 40].map(|()| poll(Exchange::write_coil(1, 3, true).unwrap()));
    let mut handed_in = handed_in.into_iter();
    let noise = [0x5A; 400];
    let mut now = Time(1);
    master.on_line(now, LineEvent::Opened, &mut near);

    let before = allocator_calls();
    let (mut good, mut accepted) = (0, 0);
    for turn in 0..200_000u32 {
        let next = [master.deadline(), slave.deadline()].into_iter().flatten().min();
        now = next.map_or(now, |at| at.max(now)) + Duration::from_micros(1);
        master.on_deadline(now, &mut near);
        carry(&mut near, &mut slave, now, &mut far, turn % 97 == 0);
        slave.on_deadline(now, &mut far);
        carry(&mut far, &mut master, now, &mut near, turn % 101 == 0);
        if turn % 1009 == 0 {
            slave.on_bytes(now, &noise[..turn as usize % 400], &mut far);
            master.on_bytes(now, &noise[..turn as usize % 400], &mut near);
        }
        if turn % 5000 == 0
            && let Some(poll) = handed_in.next()
        {
            accepted += u32::from(master.submit(turn.into(), poll));
        }
        // Sometimes nobody reads, so that the ring runs over.
        while turn % 4000 > 1000
            && let Some(result) = results.pop()
        {
            good += u32::from(result.outcome == Outcome::Ok);
        }
    }
    let calls = allocator_calls() - before;

    let totals = stats.totals();
    assert_eq!(calls, 0);
    assert!(good > 1000 && accepted == 40, "{good} {accepted} {totals:?}");
    for (name, n) in totals.entries() {
        let expected = !matches!(name, "wrongUnit" | "mismatches" | "lineBusy" | "lateReplies");
        assert!(!expected || n > 0, "{name} did not happen: {totals:?}");
    }
}
