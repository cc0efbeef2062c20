//! Gateway, sniffer and masters of all framings do not allocate while they are driven, whatever comes over the line.
#![allow(clippy::unwrap_used)]

mod plants;

use std::time::Duration;

use hilrig_modbus::{
    Framing, Gateway, GatewayPlan, MAX_ADU, Master, Outcome, Slave, Sniffer, Timing, frames, framing,
};
use hilrig_port::{Caller, Calls, LineEvent, Server, Station, Time, Tx, Wanted};
use hilrig_tests::{Counting, allocator_calls};
use plants::{large, polls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn timing() -> Timing {
    Timing::new(115_200, "8N1".parse().unwrap())
}

/// Takes what is to be sent, bent if asked to.
fn take(from: &mut Tx, room: &mut [u8; 4096], bend: bool) -> usize {
    let len = from.pending().len();
    room[..len].copy_from_slice(from.pending());
    from.clear();
    if len > 0 {
        room[len / 2] ^= u8::from(bend);
    }
    len
}

#[test]
fn a_sniffed_line_between_a_master_and_a_slave() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        let (sink, mut reader) = frames(64);
        reader.watch(true);
        let (master, mut results) = Master::new(timing(), polls(), 64);
        let mut master = master.framing(framing).plant(large()).frames(sink);
        let mut slave = Slave::new(timing(), large()).framing(framing);
        let (sink, mut heard) = frames(64);
        heard.watch(true);
        let mut sniffer = Sniffer::new(timing()).framing(framing).frames(sink);
        let (mut near, mut far, mut none) = (Tx::default(), Tx::default(), Tx::default());
        let (mut bytes, mut now) = ([0; 4096], Time(1));
        let stats = (master.stats(), sniffer.stats());
        master.on_line(now, LineEvent::Opened, &mut near);
        let before = allocator_calls();
        for turn in 0..20_000u32 {
            let next = [master.deadline(), slave.deadline(), sniffer.deadline()].into_iter().flatten().min();
            now = next.map_or(now, |at| at.max(now)) + Duration::from_micros(1);
            sniffer.on_deadline(now, &mut none);
            master.on_deadline(now, &mut near);
            let len = take(&mut near, &mut bytes, turn % 97 == 0);
            if len > 0 {
                sniffer.on_bytes(now, &bytes[..len], &mut none);
                slave.on_bytes(now, &bytes[..len], &mut far);
            }
            slave.on_deadline(now, &mut far);
            let len = take(&mut far, &mut bytes, turn % 101 == 0);
            if len > 0 {
                now = now + Duration::from_micros(1);
                sniffer.on_bytes(now, &bytes[..len], &mut none);
                master.on_bytes(now, &bytes[..len], &mut near);
            }
            if turn % 1009 == 0 {
                let noise = [0x5A; 400];
                sniffer.on_bytes(now, &noise[..turn as usize % 400], &mut none);
                master.on_bytes(now, &noise[..turn as usize % 400], &mut near);
            }
            while turn % 2000 > 1000
                && (results.pop().is_some() | reader.pop().is_some() | heard.pop().is_some())
            {}
        }
        let calls = allocator_calls() - before;
        let (master, sniffer) = (stats.0.totals(), stats.1.totals());
        assert_eq!(calls, 0, "{framing}");
        assert!(
            master.replies > 500 && master.timeouts > 10 && sniffer.replies > 500,
            "{master:?} {sniffer:?}"
        );
        assert!(sniffer.timeouts > 10 && sniffer.check_errors > 10 && sniffer.broadcasts > 10, "{sniffer:?}");
        assert_eq!(none.pending(), [0; 0]);
    }
}

#[test]
fn a_gateway_between_masters_and_a_slave() {
    let plan = GatewayPlan {
        port: String::new(),
        line: String::new(),
        timeout: Duration::from_millis(20),
        turnaround: Duration::from_millis(5),
        units: vec![],
        max_callers: 4,
        queue: 2,
    };
    let mut gateway = Gateway::new(timing(), &plan);
    let mut slave = Slave::new(timing(), large());
    let (mut far, mut calls, mut bytes, mut now) = (Tx::default(), Calls::default(), [0; 4096], Time(1));
    let mut callers = [1u32, 2].map(|n| {
        let (master, results) = Master::new(timing(), polls(), 64);
        assert!(gateway.on_caller(now, Caller(n)));
        (Caller(n), master.framing(Framing::Tcp), results, Tx::default())
    });
    gateway.on_line(now, LineEvent::Opened, &mut calls);
    for (_, master, _, tx) in &mut callers {
        master.on_line(now, LineEvent::Opened, tx);
    }
    // A third caller asks more than there is room for.
    let mut flood = [0; MAX_ADU];
    let flood_len = framing::encode(Framing::Tcp, 7, 1, &[3, 0, 0, 0, 1], &mut flood);
    assert!(gateway.on_caller(now, Caller(3)));
    let (mut before, mut good, mut refused) = (0, 0, 0);
    for turn in 0..60_000u32 {
        if turn == 2000 {
            // By now what holds answers has its size.
            before = allocator_calls();
        }
        let masters = callers.iter().filter_map(|(_, master, ..)| master.deadline()).min();
        let next = [masters, slave.deadline(), gateway.deadline()].into_iter().flatten().min();
        now = next.map_or(now, |at| at.max(now)) + Duration::from_micros(1);
        gateway.on_deadline(now, &mut calls);
        if turn % 50 == 0 {
            for _ in 0..4 {
                gateway.on_bytes(now, Caller(3), &flood[..flood_len], &mut calls);
            }
        }
        for (caller, master, results, tx) in &mut callers {
            master.on_deadline(now, tx);
            let len = take(tx, &mut bytes, false);
            if len > 0 {
                gateway.on_bytes(now, *caller, &bytes[..len], &mut calls);
            }
            while let Some(result) = results.pop() {
                good += u32::from(result.outcome == Outcome::Ok);
            }
        }
        let len = take(&mut calls.line, &mut bytes, turn % 97 == 0);
        if len > 0 {
            slave.on_bytes(now, &bytes[..len], &mut far);
        }
        slave.on_deadline(now, &mut far);
        let len = take(&mut far, &mut bytes, turn % 101 == 0);
        if len > 0 {
            gateway.on_line_bytes(now, &bytes[..len], &mut calls);
        }
        for wanted in calls.wanted() {
            let Wanted::Send(to, bytes) = wanted else { panic!("nobody is sent away") };
            match callers.iter_mut().find(|(caller, ..)| *caller == to) {
                Some((_, master, _, tx)) => master.on_bytes(now, bytes, tx),
                None => refused += u32::from(bytes.ends_with(&[0x83, 6])),
            }
        }
        calls.clear();
    }
    let calls = allocator_calls() - before;
    let totals = gateway.stats().totals();
    assert_eq!(calls, 0, "{totals:?}");
    assert!(good > 1000 && refused > 100, "{good} {refused} {totals:?}");
    assert!(totals.no_answer > 10 && totals.crc_errors > 10 && totals.broadcasts > 10, "{totals:?}");
}
