//! A Modbus TCP slave whose callers send anything in any pieces: it never panics, hangs up on what is no header, answers
//! each request once and in order, and serves the others meanwhile. How the input is cut changes nothing.
//!
//! The input is a list of bursts: caller, length, bytes. With the lowest bit of the caller set the bytes are unit id and
//! PDU behind a good header, which mutations would hardly ever make.

use hilrig_modbus::framing::{Framing, MAX_ADU, encode};
use hilrig_modbus::{SlaveTotals, TcpSlave, Timing};
use hilrig_points::{Plant, Shared, Table, Unit};
use hilrig_port::{Caller, Calls, Server, Time, Wanted};

const CALLERS: u32 = 4;

struct Bench {
    slave: TcpSlave,
    calls: Calls,
    heard: Vec<Vec<u8>>,
    closed: Vec<bool>,
}

impl Bench {
    fn new(timing: Timing) -> Self {
        let mut plant = Plant::default();
        let mut unit = Unit::new();
        assert!(unit.define(Table::HoldingRegisters, 0, 0..32).is_ok());
        assert!(plant.add_unit(1, unit).is_ok());
        let mut slave = TcpSlave::new(Framing::Tcp, timing, Shared::new(plant));
        (0..=CALLERS).for_each(|caller| assert!(slave.on_caller(Time(1), Caller(caller))));
        let n = CALLERS as usize + 1;
        Self { slave, calls: Calls::default(), heard: vec![Vec::new(); n], closed: vec![false; n] }
    }

    fn bytes(&mut self, caller: u32, bytes: &[u8]) {
        if self.closed[caller as usize] {
            return;
        }
        self.slave.on_bytes(Time(1), Caller(caller), bytes, &mut self.calls);
        for wanted in self.calls.wanted() {
            match wanted {
                Wanted::Send(to, bytes) => self.heard[to.0 as usize].extend(bytes),
                Wanted::Close(who) => self.closed[who.0 as usize] = true,
            }
        }
        self.calls.clear();
        if self.closed[caller as usize] {
            self.slave.on_closed(Time(1), Caller(caller));
        }
        assert_eq!(self.slave.deadline(), None);
    }

    fn totals(&self) -> SlaveTotals {
        self.slave.stats().totals()
    }
}

fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_ADU];
    let len = encode(Framing::Tcp, transaction, unit, pdu, &mut out);
    out[..len].to_vec()
}

pub fn run(data: &[u8]) {
    let Ok(format) = "8N1".parse() else { return };
    let timing = Timing::new(19200, format);
    let (mut whole, mut cut) = (Bench::new(timing), Bench::new(timing));
    let (mut rest, mut transaction) = (data, 0);
    while let [who, len, tail @ ..] = rest {
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        transaction += 1;
        let burst = match burst {
            [unit, pdu @ ..] if who & 1 == 1 && !pdu.is_empty() => frame(transaction, *unit, pdu),
            other => other.to_vec(),
        };
        let caller = u32::from(who >> 1) % CALLERS;
        whole.bytes(caller, &burst);
        burst.iter().for_each(|byte| cut.bytes(caller, &[*byte]));
        rest = tail;
    }
    assert_eq!(
        (&whole.heard, &whole.closed),
        (&cut.heard, &cut.closed),
        "how the input is cut changes nothing"
    );
    for bench in [&mut whole, &mut cut] {
        // The unit may listen only.
        bench.bytes(CALLERS, &frame(1, 1, &[8, 0, 1, 0, 0]));
        bench.heard[CALLERS as usize].clear();
        bench.bytes(CALLERS, &frame(2, 1, &[3, 0, 40, 0, 1]));
        assert_eq!(bench.heard[CALLERS as usize], frame(2, 1, &[0x83, 2]));
        let t = bench.totals();
        // One to another unit is refused, too.
        assert_eq!(t.requests + t.other_units, t.replies + t.unanswered);
    }
}
