use hilrig_points::{Plant, Table, Unit};
use hilrig_port::Wanted;
use proptest::prelude::*;

use super::*;
use crate::framing::encode;

/// Units 1 and 3 behind a listener, and what each caller hears.
struct Bench {
    slave: TcpSlave,
    framing: Framing,
    now: Time,
    calls: Calls,
    /// Caller, time and bytes; no bytes: hung up.
    heard: Vec<(u32, Time, Vec<u8>)>,
}

const SILENCE: Duration = Duration::from_millis(20);

fn plant() -> Shared {
    let mut plant = Plant::default();
    for id in [1, 3] {
        let mut unit = Unit::new();
        unit.define(Table::HoldingRegisters, 0, (0..200).map(|i| i + 1000 * u16::from(id))).unwrap();
        plant.add_unit(id, unit).unwrap();
    }
    Shared::new(plant)
}

impl Bench {
    fn new(framing: Framing) -> Self {
        Self::with(framing, |slave| slave)
    }

    fn with(framing: Framing, options: impl FnOnce(TcpSlave) -> TcpSlave) -> Self {
        let timing = Timing::new(19200, "8N1".parse().unwrap()).tolerance(SILENCE);
        let slave = options(TcpSlave::new(framing, timing, plant()));
        let mut bench =
            Self { slave, framing, now: Time(1_000_000), calls: Calls::default(), heard: Vec::new() };
        (0..4).for_each(|caller| assert!(bench.slave.on_caller(bench.now, Caller(caller))));
        bench
    }

    fn settle(&mut self) {
        let before = self.heard.len();
        for wanted in self.calls.wanted() {
            match wanted {
                Wanted::Send(to, bytes) => self.heard.push((to.0, self.now, bytes.to_vec())),
                Wanted::Close(who) => self.heard.push((who.0, self.now, Vec::new())),
            }
        }
        let closed: Vec<_> =
            self.heard[before..].iter().filter(|(_, _, b)| b.is_empty()).map(|h| h.0).collect();
        self.calls.clear();
        closed.into_iter().for_each(|who| self.slave.on_closed(self.now, Caller(who)));
    }

    fn bytes(&mut self, caller: u32, bytes: &[u8]) -> &mut Self {
        self.slave.on_bytes(self.now, Caller(caller), bytes, &mut self.calls);
        self.settle();
        self.wait(Duration::ZERO)
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(due) = self.slave.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.slave.on_deadline(self.now, &mut self.calls);
            self.settle();
            assert!(self.slave.deadline().is_none_or(|next| next > self.now), "a deadline is dealt with");
        }
        self.now = end;
        self
    }

    fn heard(&mut self) -> Vec<(u32, Vec<u8>)> {
        self.heard.drain(..).map(|(caller, _, bytes)| (caller, bytes)).collect()
    }

    fn adu(&self, transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut out = [0; MAX_ADU];
        let len = encode(self.framing, transaction, unit, pdu, &mut out);
        out[..len].to_vec()
    }

    fn read(&self, transaction: u16, unit: u8) -> Vec<u8> {
        self.adu(transaction, unit, &[3, 0, 5, 0, 1])
    }

    fn value(&self, transaction: u16, unit: u8, value: u16) -> Vec<u8> {
        let [high, low] = value.to_be_bytes();
        self.adu(transaction, unit, &[3, 2, high, low])
    }

    fn send(&mut self, caller: u32, transaction: u16, unit: u8, pdu: &[u8]) -> &mut Self {
        self.bytes(caller, &self.adu(transaction, unit, pdu))
    }

    fn ask(&mut self, caller: u32, transaction: u16, unit: u8) -> &mut Self {
        self.bytes(caller, &self.read(transaction, unit))
    }

    fn alive(&mut self, caller: u32) -> &mut Self {
        self.bytes(caller, &self.read(9, 1));
        assert_eq!(self.heard(), [(caller, self.value(9, 1, 1005))]);
        self
    }

    fn totals(&self) -> crate::SlaveTotals {
        self.slave.stats().totals()
    }
}

const ALL: [Framing; 3] = [Framing::Tcp, Framing::RtuOverTcp, Framing::AsciiOverTcp];

#[test]
fn callers_are_answered_on_all_framings() {
    for framing in ALL {
        let mut b = Bench::new(framing);
        b.ask(0, 1, 1).ask(2, 2, 3);
        let expected = [(0, b.value(1, 1, 1005)), (2, b.value(2, 3, 3005))];
        assert_eq!(b.heard(), expected, "{framing}");
        let t = b.totals();
        assert_eq!((t.requests, t.replies, t.callers), (2, 2, 4));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_and_with_one_write() {
    for framing in ALL {
        let mut b = Bench::new(framing);
        let stream: Vec<u8> = (0..50).flat_map(|i| b.read(i, 1 + 2 * (i % 2) as u8)).collect();
        b.bytes(1, &stream);
        let answers: Vec<u8> =
            (0..50).flat_map(|i| b.value(i, 1 + 2 * (i % 2) as u8, 1005 + 2000 * (i % 2))).collect();
        assert_eq!(b.heard(), [(1, answers)], "{framing}");
    }
}

#[test]
fn frames_come_in_any_pieces() {
    for framing in ALL {
        let mut b = Bench::new(framing);
        let frame = b.read(7, 1);
        for cut in 1..frame.len() {
            // Two callers in the middle of a frame do not disturb each other.
            b.bytes(0, &frame[..cut]).bytes(1, &frame[..1]).bytes(0, &frame[cut..]).bytes(1, &frame[1..]);
            let answer = b.value(7, 1, 1005);
            assert_eq!(b.heard(), [(0, answer.clone()), (1, answer)], "{framing} {cut}");
        }
        assert_eq!(b.slave.deadline(), None);
        assert!(b.slave.peers.iter().all(|peer| peer.part.is_none()), "{framing}");
    }
}

#[test]
fn a_stream_that_is_lost_is_hung_up_on_and_counted() {
    let mut b = Bench::new(Framing::Tcp);
    for broken in [&b"GET / HTTP/1.1\r\n"[..], &[0, 1, 0, 0, 0, 1, 1], &[0, 1, 0, 0, 1, 0]] {
        b.bytes(0, &[&b.read(1, 1)[..], broken].concat());
        assert_eq!(b.heard(), [(0, b.value(1, 1, 1005)), (0, vec![])]);
        b.alive(1);
        assert!(b.slave.on_caller(b.now, Caller(0)));
    }
    // Also in pieces.
    b.bytes(0, &[0, 1]).bytes(0, &[0, 1]);
    assert_eq!(b.heard(), [(0, vec![])]);
    let t = b.totals();
    assert_eq!((t.bad_headers, t.hung_up, t.callers), (4, 4, 3));
}

#[test]
fn noise_costs_a_caller_of_a_serial_framing_nothing_but_itself() {
    for framing in [Framing::RtuOverTcp, Framing::AsciiOverTcp] {
        let mut b = Bench::with(framing, |slave| slave);
        b.slave.timing.between = SILENCE;
        let half = b.read(0, 1);
        b.bytes(0, &[1, 2, 3, 4, 5]).bytes(1, &half[..4]).alive(2).wait(2 * SILENCE);
        b.alive(0).alive(1);
        assert_eq!(b.totals().noise_bytes, 9, "{framing}");
        assert_eq!(b.slave.deadline(), None);
    }
}

#[test]
fn unit_ids_that_are_not_there_follow_the_policy() {
    let mut b = Bench::new(Framing::Tcp);
    b.ask(0, 1, 0).ask(0, 2, 255).ask(0, 3, 2);
    let expected = [(0, b.value(1, 0, 1005)), (0, b.value(2, 255, 1005)), (0, b.adu(3, 2, &[0x83, 11]))];
    assert_eq!(b.heard(), expected);
    let mut b = Bench::with(Framing::Tcp, |s| s.any_unit(AnyUnit::Serial).absent_units(AbsentUnit::Silent));
    b.ask(0, 1, 0).ask(0, 2, 255).ask(0, 3, 2);
    b.send(0, 4, 0, &[6, 0, 5, 0, 42]).ask(0, 5, 3);
    assert_eq!(b.heard(), [(0, b.value(5, 3, 42))]);
    assert_eq!((b.totals().broadcasts, b.totals().other_units), (2, 2));
    let mut b = Bench::with(Framing::Tcp, |s| s.units(Some(&[3])));
    b.ask(0, 1, 1).ask(0, 2, 0);
    assert_eq!(b.heard(), [(0, b.adu(1, 1, &[0x83, 11])), (0, b.value(2, 0, 3005))]);
}

#[test]
fn broadcasts_over_serial_framings_are_not_answered() {
    for framing in [Framing::RtuOverTcp, Framing::AsciiOverTcp] {
        let mut b = Bench::new(framing);
        b.send(0, 0, 0, &[6, 0, 5, 0, 42]).ask(0, 0, 2).ask(1, 0, 1);
        assert_eq!(b.heard(), [(1, b.value(0, 1, 42))]);
    }
}

#[test]
fn traffic_of_other_units_behind_a_caller_is_understood() {
    for framing in [Framing::RtuOverTcp, Framing::AsciiOverTcp] {
        let mut b = Bench::new(framing);
        // A connection knows no silences, so all comes in one piece: a reply of no request's form, a reply of the form of
        // its request, one with a request to us in it, an exception; and ours.
        let mut within = vec![3, 20, 0, 0];
        within.extend(b.adu(0, 1, &[6, 0, 5, 0, 9]));
        within.resize(22, 0);
        let exchanges: [(&[u8], &[u8]); 5] = [
            (&[3, 0, 0, 0, 2], &[3, 4, 1, 2, 3, 4]),
            (&[6, 0, 1, 0, 1], &[6, 0, 1, 0, 1]),
            (&[3, 0, 0, 0, 10], &within),
            (&[3, 0, 0, 0, 1], &[0x83, 2]),
            (&[16, 0, 0, 0, 1, 2, 9, 9], &[16, 0, 0, 0, 1]),
        ];
        for (asked, answered) in exchanges {
            let all = [b.adu(0, 2, asked), b.adu(0, 2, answered), b.read(0, 1)].concat();
            b.bytes(0, &all);
            assert_eq!(b.heard(), [(0, b.value(0, 1, 1005))], "{framing} {answered:02x?}");
            // And in the pieces in which it may come.
            for byte in all {
                b.bytes(0, &[byte]);
            }
            assert_eq!(b.heard(), [(0, b.value(0, 1, 1005))], "{framing} {answered:02x?}");
            b.alive(1);
        }
        assert_eq!((b.totals().noise_bytes, b.totals().other_units), (0, 20));
        // What is not answered costs nothing.
        let nobody = [b.adu(0, 2, &[3, 0, 0, 0, 2]), b.read(0, 1)].concat();
        b.bytes(0, &nobody);
        assert_eq!(b.heard(), [(0, b.value(0, 1, 1005))]);
    }
}

#[test]
fn callers_are_limited_and_idle_ones_hung_up_on() {
    let idle = Duration::from_secs(10);
    let mut b = Bench::with(Framing::Tcp, |s| s.max_callers(4).idle_timeout(Some(idle)));
    assert!(!b.slave.on_caller(b.now, Caller(4)));
    b.wait(idle / 2).alive(2).wait(idle / 2);
    assert_eq!(b.heard(), [(0, vec![]), (1, vec![]), (3, vec![])]);
    b.wait(idle);
    assert_eq!(b.heard(), [(2, vec![])]);
    let t = b.totals();
    assert_eq!((t.refused, t.accepted, t.hung_up, t.callers), (1, 4, 4, 0));
    assert_eq!(b.slave.deadline(), None);
}

#[test]
fn who_sends_nothing_more_still_gets_what_is_owed() {
    let mut b = Bench::with(Framing::Tcp, |s| s.min_delay(Duration::from_millis(5)));
    b.ask(0, 1, 1);
    b.slave.on_end(b.now, Caller(0), &mut b.calls);
    b.slave.on_end(b.now, Caller(1), &mut b.calls);
    b.settle();
    assert_eq!(b.heard(), [(1, vec![])]);
    b.wait(Duration::from_millis(5));
    assert_eq!(b.heard(), [(0, b.value(1, 1, 1005)), (0, vec![])]);
}

#[test]
fn a_place_in_the_list_is_all_that_an_idle_caller_takes() {
    assert!(size_of::<Peer>() <= 32, "{}", size_of::<Peer>());
}

fn with_faults(framing: Framing, text: &str) -> Bench {
    Bench::with(framing, |slave| slave.faults(crate::faults::tests::faults(text)))
}

#[test]
fn a_delayed_reply_holds_up_its_own_caller_only() {
    for framing in ALL {
        let text = "[[fault]]\nname = \"slow\"\nwhen = { unit = 3 }\neffect = { delay = \"20ms\" }\n";
        let mut b = with_faults(framing, text);
        let now = b.now;
        b.ask(0, 1, 3).ask(0, 2, 1).ask(1, 3, 1).wait(Duration::from_millis(50));
        let late = now + Duration::from_millis(20);
        let said =
            [(1, now, b.value(3, 1, 1005)), (0, late, b.value(1, 3, 3005)), (0, late, b.value(2, 1, 1005))];
        // Both leave with one write.
        let mut heard = b.heard.clone();
        if heard.len() == 2 {
            let tail = heard[1].2.split_off(said[1].2.len());
            heard.push((0, late, tail));
        }
        assert_eq!(heard, said, "{framing}");
        b.heard();
        // Who goes takes along what waits.
        b.ask(0, 1, 3);
        b.slave.on_closed(b.now, Caller(0));
        b.wait(Duration::from_secs(1));
        assert_eq!((b.heard(), b.slave.deadline()), (vec![], None));
    }
}

#[test]
fn faults_of_connections_close_them() {
    let text = |effect: &str| format!("[[fault]]\nname = \"f\"\nwhen = {{ nth = 2 }}\neffect = {effect}\n");
    let mut b = with_faults(Framing::Tcp, &text("\"close\""));
    b.ask(0, 1, 1).ask(0, 2, 1);
    assert_eq!(b.heard(), [(0, b.value(1, 1, 1005)), (0, vec![])]);
    b.alive(1);
    let mut b = with_faults(Framing::Tcp, &text("\"close_after\""));
    b.ask(0, 1, 1).ask(0, 2, 1);
    assert_eq!(b.heard(), [(0, b.value(1, 1, 1005)), (0, b.value(2, 1, 1005)), (0, vec![])]);
    assert_eq!((b.totals().hung_up, b.totals().callers), (1, 3));
    let partly = [text("{ truncate = 3 }"), text("\"close_after\"").replace("\"f\"", "\"g\"")].concat();
    let mut b = with_faults(Framing::Tcp, &partly);
    b.ask(0, 1, 1).ask(0, 2, 1);
    assert_eq!(b.heard(), [(0, b.value(1, 1, 1005)), (0, vec![0, 2, 0]), (0, vec![])]);
}

#[test]
fn faults_change_transaction_ids_and_hold_replies_back_on_each_connection() {
    let mut b = with_faults(Framing::Tcp, "[[fault]]\nname = \"f\"\neffect = { transaction = 256 }\n");
    b.ask(0, 0xFF01, 1);
    assert_eq!(b.heard(), [(0, b.value(1, 1, 1005))]);
    let mut b =
        with_faults(Framing::Tcp, "[[fault]]\nname = \"f\"\nwhen = { unit = 3 }\neffect = \"late\"\n");
    b.ask(0, 1, 3).ask(1, 2, 1).ask(0, 3, 1);
    let [before, after] = [b.value(1, 3, 3005), b.value(3, 1, 1005)];
    assert_eq!(b.heard(), [(1, b.value(2, 1, 1005)), (0, [before, after].concat())]);
}

proptest! {
    #[test]
    fn any_bytes_of_one_caller_leave_the_others_alone(
        framing in prop::sample::select(ALL.to_vec()),
        bursts in prop::collection::vec((0..3u32, prop::collection::vec(any::<u8>(), 0..300), 0..30_000_000u64), 1..8),
    ) {
        let mut b = Bench::new(framing);
        for (caller, bytes, pause) in bursts {
            b.bytes(caller, &bytes).wait(Duration::from_nanos(pause));
        }
        b.heard.clear();
        b.alive(3);
        b.wait(Duration::from_secs(2)).heard.clear();
        prop_assert_eq!(b.slave.deadline(), None);
        for caller in 0..3 {
            if b.slave.peers[caller as usize].here && framing != Framing::Tcp {
                b.alive(caller);
            }
        }
    }

    #[test]
    fn any_split_gives_the_same(
        framing in prop::sample::select(ALL.to_vec()),
        units in prop::collection::vec(0..5u8, 1..20), cuts in prop::collection::vec(1..40usize, 1..9),
    ) {
        let mut whole = Bench::new(framing);
        let stream: Vec<u8> =
            units.iter().enumerate().flat_map(|(i, unit)| whole.read(i as u16, *unit)).collect();
        whole.bytes(0, &stream);
        let mut split = Bench::new(framing);
        let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            split.bytes(0, head);
            rest = tail;
        }
        let joined = |b: &mut Bench| -> Vec<u8> { b.heard().into_iter().flat_map(|(_, bytes)| bytes).collect() };
        prop_assert_eq!(joined(&mut whole), joined(&mut split));
        prop_assert_eq!(whole.totals(), split.totals());
    }
}
