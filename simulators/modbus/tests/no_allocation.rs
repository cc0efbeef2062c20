//! The cores do not allocate while they are driven, whatever comes over the line.
#![allow(clippy::unwrap_used)]

mod plants;

use std::time::Duration;

use hilrig_files::{Problems, read};
use hilrig_modbus::faults::{ReplyFaults, prepare};
use hilrig_modbus::framing::encode;
use hilrig_modbus::{
    Exchange, Framing, MAX_ADU, Master, Outcome, Poll, ReplyRuleFile, Slave, TcpSlave, Timing, frames,
};
use hilrig_port::{Caller, Calls, LineEvent, Server, Station, Time, Tx};
use hilrig_tests::{Counting, allocator_calls};
use plants::{large, polls};

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

/// One rule of each effect, each in its turn.
const RULES: &str = "fault = [
    { name = 'exception', when = { every = 7 }, effect = { exception = 6 } },
    { name = 'silence', when = { every = 11 }, effect = 'silence' },
    { name = 'delay', when = { every = 13 }, effect = { delay = { mean = '30ms', sigma = '10ms' } } },
    { name = 'bad', when = { every = 17 }, effect = 'bad_crc' },
    { name = 'flip', when = { every = 19 }, effect = { flip = 3 } },
    { name = 'extra', when = { every = 23, addresses = '0..9' }, effect = { extra = '01 02 03' } },
    { name = 'twice', when = { every = 29 }, effect = 'duplicate' },
    { name = 'split', when = { probability = 0.03 }, effect = { split = { at = 3, gap = '5ms' } } },
    { name = 'babble', when = { every = 31 }, effect = { babble = { bytes = 100, after = '1ms' } } },
    { name = 'late', when = { every = 37 }, effect = 'late' },
    { name = 'cut', when = { every = 41 }, effect = { truncate = 2 } },
]";

fn faults() -> ReplyFaults {
    #[derive(serde::Deserialize)]
    struct File {
        fault: Vec<ReplyRuleFile>,
    }
    let mut problems = Problems::new("model", "m.toml", RULES);
    let file: File = read(RULES, &mut problems).unwrap();
    let mut faults = ReplyFaults::new(1);
    for rule in &file.fault {
        faults.arm(Time(1), prepare(rule, &mut problems)).unwrap();
    }
    assert!(problems.is_empty());
    faults
}

#[test]
fn a_line_with_faults_and_a_watcher_allocates_nothing() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        let timing = Timing::new(115_200, "8N1".parse().unwrap());
        let (sink, mut watcher) = frames(256);
        let mut slave = Slave::new(timing, large()).framing(framing).faults(faults()).frames(sink);
        watcher.watch(true);
        let mut requests = Vec::new();
        for pdu in
            [&[3, 0, 0, 0, 125][..], &[15, 0, 0, 0, 8, 1, 255], &[8, 0, 11, 0, 0], &[12], &[3, 9, 9, 0, 1]]
        {
            for unit in [1, 0, 2] {
                let mut out = [0; MAX_ADU];
                let len = encode(framing, 0, unit, pdu, &mut out);
                requests.push(out[..len].to_vec());
            }
        }
        let (mut tx, mut now, mut records, mut bytes) = (Tx::default(), Time(1), 0, 0);
        let before = allocator_calls();
        for turn in 0..50_000usize {
            let request = &requests[turn % requests.len()];
            let half = if turn % 50 == 0 { request.len() / 2 } else { request.len() };
            slave.on_bytes(now, &request[..half], &mut tx);
            let end = now + Duration::from_millis(20);
            while let Some(due) = slave.deadline().filter(|due| *due <= end) {
                slave.on_deadline(due, &mut tx);
                bytes += tx.pending().len();
                tx.clear();
            }
            now = end;
            while turn % 1000 > 300 && watcher.pop().is_some() {
                records += 1;
            }
        }
        let calls = allocator_calls() - before;
        let totals = slave.stats().totals();
        assert_eq!(calls, 0, "{framing}");
        assert!(records > 10_000 && bytes > 10_000 && watcher.lost() > 0, "{records} {bytes} {totals:?}");
        let report = slave.faults_mut().report();
        assert!(report.iter().all(|rule| rule.fired > 10), "{report:?}");
    }
}

#[test]
fn callers_with_faults_and_a_watcher_allocate_nothing() {
    const CALLERS: u32 = 50;
    for framing in [Framing::Tcp, Framing::RtuOverTcp, Framing::AsciiOverTcp] {
        let timing = Timing::new(115_200, "8N1".parse().unwrap()).tolerance(Duration::from_millis(20));
        let (sink, mut watcher) = frames(256);
        let mut slave = TcpSlave::new(framing, timing, large()).faults(faults()).frames(sink);
        watcher.watch(true);
        (0..CALLERS).for_each(|caller| assert!(slave.on_caller(Time(1), Caller(caller))));
        let mut out = [0; MAX_ADU];
        let len = encode(framing, 7, 1, &[3, 0, 0, 0, 125], &mut out);
        let request = &out[..len];
        let (mut calls, mut now) = (Calls::default(), Time(1));
        let mut drive = |slave: &mut TcpSlave, turns: usize| {
            let mut heard = 0;
            for turn in 0..turns {
                let caller = Caller(turn as u32 % CALLERS);
                // Each caller's frames come in two pieces, with all others' in between.
                let round = turn / CALLERS as usize;
                let (head, tail) = request.split_at(1 + round / 2 % (request.len() - 1));
                let piece = if round.is_multiple_of(2) { head } else { tail };
                slave.on_bytes(now, caller, piece, &mut calls);
                now = now + Duration::from_micros(100);
                if slave.deadline().is_some_and(|due| due <= now) {
                    slave.on_deadline(now, &mut calls);
                }
                heard += calls.wanted().count();
                calls.clear();
                while watcher.pop().is_some() {}
            }
            heard
        };
        // The first frames that come in pieces fill the pool.
        drive(&mut slave, 5_000);
        let before = allocator_calls();
        let heard = drive(&mut slave, 20_000);
        let made = allocator_calls() - before;
        assert_eq!(made, 0, "{framing}");
        assert!(heard > 5_000, "{heard} {:?}", slave.stats().totals());
    }
}

#[test]
fn polling_over_a_bad_line_allocates_nothing() {
    let timing = Timing::new(115_200, "8N1".parse().unwrap());
    let mut slave = Slave::new(timing, large());
    let (mut master, mut results) = Master::new(timing, polls(), 64);
    let (stats, (mut near, mut far)) = (master.stats(), (Tx::default(), Tx::default()));
    let poll = Poll::new(Exchange::write_coil(1, 3, true).unwrap()).timeout(Duration::from_millis(20));
    let mut handed_in = vec![poll; 40].into_iter();
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
