//! A master of any framing on a line that carries anything at any time: it never panics, gives every request one end, and
//! takes the answer to the next request it sends after silence.
//!
//! The input is a byte that chooses the framing and a list of bursts: pause in 64 us, length, bytes. An odd pause makes
//! a frame of the bytes, unit id first, that answers the transaction under way.

use std::time::Duration;

use hilrig_modbus::framing::{Form, encode};
use hilrig_modbus::{Exchange, Framer, Framing, MAX_ADU, Master, Outcome, Poll, Results, Timing};
use hilrig_points::Table;
use hilrig_port::{LineEvent, Station, Time, Tx};

struct Bench {
    master: Master,
    results: Results,
    now: Time,
    tx: Tx,
    sent: u16,
}

impl Bench {
    /// Lets time pass; up to the next request if `one` is wanted.
    fn wait(&mut self, time: Duration, one: bool) -> Vec<u8> {
        let end = self.now + time;
        while let Some(due) = self.master.deadline().map(|due| due.max(self.now)).filter(|due| *due <= end) {
            self.now = due;
            self.master.on_deadline(due, &mut self.tx);
            let sent = self.tx.pending().to_vec();
            assert!(!sent.is_empty() || self.master.deadline().is_none_or(|next| next > due));
            self.tx.clear();
            self.sent = self.sent.wrapping_add(u16::from(!sent.is_empty()));
            if one && !sent.is_empty() {
                return sent;
            }
        }
        self.now = end;
        vec![]
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.master.on_bytes(self.now, bytes, &mut self.tx);
        self.sent = self.sent.wrapping_add(u16::from(!self.tx.pending().is_empty()));
        self.tx.clear();
        while self.results.pop().is_some() {}
    }
}

pub fn run(data: &[u8]) {
    let (Some((&framing, mut rest)), Ok(format)) = (data.split_first(), "8E1".parse()) else { return };
    let framing = Framing::ALL[usize::from(framing) % Framing::ALL.len()];
    let timing = Timing::new(19200, format).between(Duration::from_millis(50));
    let exchanges = [
        Exchange::read(1, Table::HoldingRegisters, 0, 4),
        Exchange::read_write(1, 0, 1, 2, &[3]),
        Exchange::identity(1, 1, 0),
        Exchange::write_register(0, 1, 2),
        Exchange::fifo(1, 7),
    ];
    let polls = exchanges.into_iter().flatten().map(|e| Poll::new(e).timeout(Duration::from_millis(10)));
    let (master, results) = Master::new(timing, polls.map(|p| p.retries(1)), 16);
    let master = master.framing(framing).turnaround(Duration::from_millis(5));
    let mut bench = Bench { master, results, now: Time(1_000_000_000), tx: Tx::default(), sent: 0 };
    bench.master.on_line(bench.now, LineEvent::Opened, &mut bench.tx);
    while let [pause, len, tail @ ..] = rest {
        bench.wait(Duration::from_micros(64 * u64::from(*pause)), false);
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        match burst {
            [unit, pdu @ ..] if pause & 1 == 1 => {
                let mut adu = [0; MAX_ADU];
                let len = encode(framing, bench.sent, *unit, pdu, &mut adu);
                bench.hear(&adu[..len]);
            }
            _ => bench.hear(burst),
        }
        rest = tail;
    }
    bench.wait(Duration::from_secs(2), false);
    while bench.results.pop().is_some() {}
    for _ in 0..100 {
        let sent = bench.wait(Duration::from_secs(1), true);
        let mut framer = Framer::new(framing, &timing);
        assert!(!sent.is_empty() && sent.iter().all(|b| framer.push(bench.now, *b).is_none()));
        assert!(framer.is_whole(Form::Request));
        let adu = framer.adu();
        if adu.pdu[0] != 3 {
            continue;
        }
        let mut reply = [0; MAX_ADU];
        let len = encode(framing, adu.transaction, adu.unit, &[3, 8, 0, 1, 0, 2, 0, 3, 0, 4], &mut reply);
        while bench.results.pop().is_some() {}
        bench.now = bench.now + Duration::from_millis(5);
        bench.master.on_bytes(bench.now, &reply[..len], &mut bench.tx);
        let result = bench.results.pop();
        assert!(result.is_some_and(|r| r.outcome == Outcome::Ok && r.values.iter().eq(1..=4)));
        let t = bench.master.stats().totals();
        let ended = t.replies + t.exceptions + t.timeouts + t.crc_errors + t.wrong_unit + t.mismatches;
        // On a connection the next may be on its way already.
        assert!([0, 1].contains(&(t.requests - ended - t.broadcasts)), "{t:?}");
        return;
    }
    panic!("the read is not asked any more");
}
