//! Master and slave against each other on a simulated line and clock: what is polled, when, and what becomes of
//! it when the line is bad.

#![allow(clippy::unwrap_used)]

mod plants;
mod wire;

use std::time::Duration;

use hilrig_modbus::{Exchange, Master, Outcome, Poll, PollResult, Results, Slave, Source, rtu};
use hilrig_points::Table;
use hilrig_port::{LineEvent, Time};
use hilrig_tests::Seeded;
use plants::counted;
use wire::{Burst, End, Wire, timing};

const TIMEOUT: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn slave(units: &[u8]) -> Slave {
    Slave::new(timing(), counted(units))
}

fn read(unit: u8, address: u16, quantity: u16) -> Poll {
    Poll::new(Exchange::read(unit, Table::HoldingRegisters, address, quantity).unwrap()).timeout(TIMEOUT)
}

fn bench(
    polls: impl IntoIterator<Item = Poll>,
    tamper: impl FnMut(&mut Burst) + 'static,
) -> (Wire<Master, Slave>, Results) {
    let (master, results) = Master::new(timing(), polls, 1 << 16);
    (Wire::new(master, slave(&[1, 2, 3]), tamper), results)
}

fn all(results: &mut Results) -> Vec<PollResult> {
    std::iter::from_fn(|| results.pop()).collect()
}

fn outcomes(results: &mut Results) -> Vec<(Source, Outcome, u16)> {
    all(results).iter().map(|r| (r.source, r.outcome, r.attempts)).collect()
}

/// Replies only: bursts of the far end.
fn replies(mut f: impl FnMut(&mut Burst) + 'static) -> impl FnMut(&mut Burst) + 'static {
    move |b| {
        if b.from == End::Far {
            f(b);
        }
    }
}

fn once(w: &mut Wire<Master, Slave>, id: u64, poll: Poll) {
    assert!(w.with_near(|m, _| m.submit(id, poll)));
}

#[test]
fn an_hour_of_polling_is_exact_and_repeatable() {
    let hour = || {
        let coils = Poll::new(Exchange::read(2, Table::Coils, 3, 20).unwrap()).timeout(TIMEOUT);
        let polls = [
            read(1, 5, 10).every(Duration::from_millis(100)),
            coils.every(Duration::from_millis(250)),
            Poll::new(Exchange::write_register(3, 7, 4711).unwrap()).timeout(TIMEOUT).every(SECOND),
        ];
        let (mut w, mut results) = bench(polls, |_| {});
        w.run(HOUR - Duration::from_millis(10));
        (all(&mut results), w.near.stats().totals(), w.far.stats().totals(), w.log)
    };
    let (results, master, slave, log) = hour();
    assert!(results.iter().all(|r| r.outcome == Outcome::Ok && r.attempts == 1));
    assert_eq!(
        [0, 1, 2].map(|i| results.iter().filter(|r| r.source == Source::Poll(i)).count()),
        [36000, 14400, 3600]
    );
    assert_eq!((master.requests, master.replies, master.overruns, master.results_lost), (54000, 54000, 0, 0));
    assert_eq!((slave.requests, slave.replies, slave.noise_bytes), (54000, 54000, 0));
    for r in &results {
        match r.source {
            Source::Poll(0) => assert!(r.values.iter().eq(105..115)),
            Source::Poll(1) => assert!(r.values.iter().eq((3..23).map(|n| n % 2))),
            _ => assert!(r.values.is_empty()),
        }
    }
    // A round trip is the time on the line and the slave's silence.
    let line = timing().on_the_line(8 + 25) + timing().t35;
    assert_eq!(results[0].round_trip, line);
    // Silence of t3.5 between any two frames, whoever sends them.
    for pair in log.windows(2) {
        assert!(pair[1].0.since(pair[0].1) >= timing().t35, "{pair:?}");
    }
    let again = hour();
    assert_eq!((results, master, slave, log), again);
}

#[test]
fn continuous_entries_take_turns_and_periodic_ones_keep_their_time() {
    let (mut w, mut results) = bench([read(1, 0, 1), read(2, 0, 1), read(3, 0, 1).every(SECOND)], |_| {});
    w.run(HOUR / 60);
    let results = all(&mut results);
    let count = |i| results.iter().filter(|r| r.source == Source::Poll(i)).count();
    assert!(count(0).abs_diff(count(1)) <= 1);
    assert_eq!(count(2), 60);
    let starts: Vec<_> = results.iter().filter(|r| r.source == Source::Poll(2)).map(|r| r.at).collect();
    // Late by one exchange at most, and lateness does not add up.
    for (i, at) in starts.iter().enumerate() {
        assert!(at.since(starts[0] + SECOND * i as u32) < Duration::from_millis(50));
    }
}

#[test]
fn a_period_that_is_too_short_is_counted() {
    let (mut w, mut results) = bench([read(1, 0, 10).every(Duration::from_millis(5))], |_| {});
    w.run(SECOND * 10);
    let (done, totals) = (all(&mut results).len() as u64, w.near.stats().totals());
    assert!(totals.overruns > 0);
    assert!((1999..=2001).contains(&(done + totals.overruns)), "{done} {totals:?}");
}

#[test]
fn a_lost_reply_is_a_timeout_or_a_retry() {
    for retries in [0, 2] {
        let (mut w, mut results) = bench(
            [read(1, 0, 1).every(SECOND).retries(retries)],
            replies(|b| {
                if b.n == 1 {
                    b.drop()
                }
            }),
        );
        w.run(SECOND * 3);
        let results = all(&mut results);
        let all: Vec<_> = results.iter().map(|r| (r.outcome, r.attempts)).collect();
        let second = if retries == 0 { (Outcome::Timeout, 1) } else { (Outcome::Ok, 2) };
        assert_eq!(all, [(Outcome::Ok, 1), second, (Outcome::Ok, 1)]);
        let totals = w.near.stats().totals();
        assert_eq!((totals.timeouts, totals.retries), (1, u64::from(retries > 0)));
        if retries == 0 {
            // From the end of the request on.
            assert_eq!(results[1].round_trip, timing().on_the_line(8) + TIMEOUT);
        }
        assert_eq!(w.near.round_trips().count(), totals.replies);
    }
}

#[test]
fn an_absent_unit_does_not_hold_up_the_others() {
    let (mut w, mut results) = bench([read(9, 0, 1).retries(1), read(1, 0, 1)], |_| {});
    w.run(SECOND * 10);
    let results = all(&mut results);
    let (dead, alive): (Vec<&PollResult>, Vec<&PollResult>) =
        results.iter().partition(|r| r.source == Source::Poll(0));
    assert!(dead.iter().all(|r| r.outcome == Outcome::Timeout && r.attempts == 2));
    assert!(alive.iter().all(|r| r.outcome == Outcome::Ok));
    // While the dead unit is left alone for a while, the other one is asked.
    assert!(alive.len() > 10 * dead.len(), "{} {}", alive.len(), dead.len());
}

#[test]
fn a_late_reply_is_never_taken_for_the_next_one() {
    // Two entries of one unit and one shape, told apart by their value only.
    let mut dice = Seeded(1);
    let late = replies(move |b| {
        if dice.below(3) == 0 {
            b.delay(Duration::from_micros(dice.below(2 * TIMEOUT.as_micros() as u64 - 20_000)));
        }
    });
    let (mut w, mut results) =
        bench([read(1, 0, 1), read(1, 1, 1).retries(2), read(2, 0, 1), read(2, 1, 1)], late);
    w.run(HOUR / 4);
    let results = all(&mut results);
    let mut timeouts = 0;
    for r in &results {
        let Source::Poll(i) = r.source else { panic!() };
        match r.outcome {
            Outcome::Ok => assert_eq!(r.values.get(0), Some([100, 101, 200, 201][i]), "{r:?}"),
            // A late reply may run into another unit's.
            Outcome::Timeout | Outcome::WrongUnit | Outcome::Crc => timeouts += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(timeouts > 100 && w.near.stats().totals().late_replies > 100);
}

#[test]
fn noise_around_a_reply_does_not_cost_it() {
    let silence = timing().t35 * 2;
    for len in [1, 3, 5, 25, 255, 300] {
        let (mut w, mut results) = bench(
            [read(1, 0, 2).every(SECOND).timeout(SECOND / 2)],
            replies(move |b| match b.n {
                0 => b.before(&Seeded(len).bytes(len as usize), silence),
                1 => b.first().extend(Seeded(len).bytes(len as usize)),
                _ => {}
            }),
        );
        w.run(SECOND * 3);
        assert_eq!(
            all(&mut results).iter().map(|r| r.outcome).collect::<Vec<_>>(),
            [Outcome::Ok; 3],
            "{len}"
        );
        assert_eq!(w.near.stats().totals().noise_bytes, 2 * len, "{len}");
    }
}

#[test]
fn broken_and_strange_replies_have_their_names() {
    let adu = |unit, pdu: &[u8]| {
        let mut out = [0; rtu::MAX_FRAME];
        let len = rtu::frame(unit, pdu, &mut out);
        out[..len].to_vec()
    };
    let replies_with: [(Vec<u8>, Outcome); 8] = [
        (adu(1, &[3, 2, 0, 0]).split_at(6).0.to_vec(), Outcome::Crc),
        (vec![7; 25], Outcome::Crc),
        (adu(2, &[3, 2, 0, 100]), Outcome::WrongUnit),
        (adu(1, &[4, 2, 0, 100]), Outcome::Mismatch),
        (adu(1, &[3, 4, 0, 100, 0, 101]), Outcome::Mismatch),
        (adu(1, &[0x83, 6]), Outcome::Exception(6)),
        (adu(1, &[0x83, 0xFF]), Outcome::Exception(0xFF)),
        (vec![1], Outcome::Timeout),
    ];
    for (bytes, outcome) in replies_with {
        let first = bytes.clone();
        let (mut w, mut results) = bench(
            [read(1, 0, 1).every(SECOND)],
            replies(move |b| {
                if b.n == 0 {
                    b.first().clone_from(&first)
                }
            }),
        );
        w.run(SECOND * 2);
        let results = all(&mut results);
        assert_eq!([results[0].outcome, results[1].outcome], [outcome, Outcome::Ok], "{bytes:02X?}");
        // A reply that was recognised as broken is not waited for any longer.
        let early = results[0].round_trip < TIMEOUT;
        assert_eq!(
            early,
            bytes[0] == 1 && bytes.len() > 4 && bytes[1] & 0x7F == 3 && bytes[2] != 4,
            "{bytes:02X?}"
        );
    }
    // A stranger first does not cost the right one.
    let (mut w, mut results) = bench(
        [read(1, 0, 1).every(SECOND)],
        replies(move |b| b.before(&adu(2, &[3, 2, 0, 100]), Duration::ZERO)),
    );
    w.run(SECOND);
    assert_eq!(outcomes(&mut results), [(Source::Poll(0), Outcome::Ok, 1)]);
}

#[test]
fn exceptions_are_results_and_not_retried() {
    let (mut w, mut results) = bench([read(1, 60, 1).retries(3).every(SECOND)], |_| {});
    w.run(SECOND);
    assert_eq!(outcomes(&mut results), [(Source::Poll(0), Outcome::Exception(2), 1)]);
}

#[test]
fn a_broadcast_is_not_waited_for_but_gets_its_turnaround() {
    let (mut w, mut results) = bench([], |_| {});
    once(&mut w, 1, Poll::new(Exchange::write_registers(0, 4, &[7, 8]).unwrap()));
    once(&mut w, 2, read(2, 4, 2));
    w.run(SECOND);
    let results = all(&mut results);
    assert_eq!((results[0].outcome, results[0].round_trip), (Outcome::Ok, Duration::ZERO));
    assert!(results[1].values.iter().eq([7, 8]));
    assert_eq!(w.log[1].0.since(w.log[0].1), Duration::from_millis(100));
    assert_eq!(w.near.stats().totals().broadcasts, 1);
}

#[test]
fn requests_from_outside_go_first_and_in_order() {
    let (mut w, mut results) = bench([read(1, 0, 10)], |_| {});
    w.run(SECOND);
    all(&mut results);
    let write = Poll::new(Exchange::write_registers(1, 3, &[9, 10]).unwrap()).timeout(TIMEOUT);
    once(&mut w, 10, write);
    once(&mut w, 11, read(1, 3, 2));
    once(&mut w, 12, Poll::new(Exchange::write_coils(1, 0, &[true, true, false]).unwrap()));
    once(&mut w, 13, Poll::new(Exchange::read(1, Table::Coils, 0, 5).unwrap()));
    once(&mut w, 14, Poll::new(Exchange::write_coil(1, 4, true).unwrap()));
    w.run(SECOND);
    let results: Vec<_> = all(&mut results);
    let ids: Vec<_> = results.iter().filter(|r| matches!(r.source, Source::Once(_))).collect();
    assert_eq!(ids.iter().map(|r| r.source).collect::<Vec<_>>(), [10, 11, 12, 13, 14].map(Source::Once));
    assert!(ids.iter().all(|r| r.outcome == Outcome::Ok));
    assert!(ids[1].values.iter().eq([9, 10]));
    assert!(ids[3].values.iter().eq([1, 1, 0, 1, 0]));
    // One exchange was under way; the five follow it at once.
    assert!(results[..7].iter().filter(|r| matches!(r.source, Source::Poll(_))).count() <= 2);
}

#[test]
fn waiting_requests_are_limited() {
    let (mut w, mut results) = bench([], |_| {});
    let accepted = (0..100).filter(|&id| w.with_near(|m, _| m.submit(id, read(1, 0, 1)))).count();
    w.run(SECOND * 10);
    assert_eq!(all(&mut results).len(), accepted);
    assert_eq!(accepted, 64);
    assert!(w.near.is_idle());
}

#[test]
fn results_that_nobody_reads_are_counted_and_block_nothing() {
    let (master, mut results) = Master::new(timing(), [read(1, 0, 1).every(SECOND)], 4);
    let mut w = Wire::new(master, slave(&[1]), |_| {});
    w.run(SECOND * 10);
    let totals = w.near.stats().totals();
    assert_eq!((totals.replies, totals.results_lost), (10, 6));
    assert_eq!(all(&mut results).len(), 4);
}

#[test]
fn a_pause_ends_after_the_exchange_under_way() {
    let (mut w, mut results) = bench([read(1, 0, 1), read(9, 0, 1).retries(100)], |_| {});
    w.run(SECOND);
    w.with_near(|m, _| m.pause(true));
    w.run(SECOND);
    assert!(w.near.is_idle());
    let sent = w.near.stats().totals().requests;
    once(&mut w, 1, read(2, 0, 1));
    w.run(SECOND);
    assert_eq!(w.near.stats().totals().requests, sent + 1);
    assert_eq!(all(&mut results).last().map(|r| r.source), Some(Source::Once(1)));
    w.with_near(|m, _| m.pause(false));
    w.run(SECOND);
    assert!(w.near.stats().totals().requests > sent + 10);
}

#[test]
fn nothing_is_polled_while_nobody_is_there() {
    let (mut w, mut results) = bench([read(1, 0, 1).every(SECOND)], |_| {});
    w.line(LineEvent::Closed);
    once(&mut w, 1, read(1, 0, 1).retries(1));
    w.run(SECOND * 10);
    // The far end still hears here, so what was asked explicitly is answered.
    assert_eq!(outcomes(&mut results), [(Source::Once(1), Outcome::Ok, 1)]);
    w.line(LineEvent::Opened);
    w.run(SECOND * 3);
    assert_eq!(all(&mut results).len(), 3);
    // In the middle of an exchange.
    w.run(SECOND - Duration::from_nanos(w.now.0 % 1_000_000_000));
    w.line(LineEvent::Lost);
    w.run(SECOND * 3);
    assert!(w.near.is_idle());
}

#[test]
fn a_babbling_line_hangs_nothing() {
    let (mut w, mut results) = bench([read(1, 0, 1)], |_| {});
    once(&mut w, 7, read(1, 0, 1));
    for _ in 0..5000 {
        w.noise(End::Near, &[0x55]);
        w.run(Duration::from_millis(1));
    }
    let busy = all(&mut results);
    assert_eq!(busy[0].source, Source::Once(7));
    assert!(busy.iter().all(|r| r.outcome != Outcome::Ok) && busy.len() > 10, "{busy:?}");
    w.run(SECOND);
    assert!(all(&mut results).iter().filter(|r| r.outcome == Outcome::Ok).count() > 10);
}

/// Everything that can happen to a burst, some of it to every tenth.
fn storm(seed: u64) -> impl FnMut(&mut Burst) + 'static {
    let mut dice = Seeded(seed);
    move |b| {
        let ms = |n| Duration::from_millis(n);
        match dice.below(60) {
            0 => b.drop(),
            1 => b.delay(ms(dice.below(180))),
            2 => b.bend(&mut dice),
            3 => b.split(dice.index(8), Duration::from_micros(dice.below(5000))),
            4 => b.disturb(&mut dice, 300),
            5 => {
                let n = dice.index(20);
                let noise = dice.bytes(n);
                b.first().extend(noise);
            }
            _ => {}
        }
    }
}

#[test]
fn a_storm_gives_only_true_values_and_the_same_twice() {
    let storm_for = |seed: u64, batch: usize| {
        let (mut w, mut results) = bench(
            [
                read(1, 0, 5).retries(2),
                read(2, 10, 5).every(Duration::from_millis(200)),
                read(3, 0, 1),
                read(9, 0, 1).every(SECOND),
            ],
            storm(seed),
        );
        w.batch = batch;
        w.logging = false;
        let mut lines = Vec::new();
        for _ in 0..10 {
            w.run(SECOND * 60);
            lines.extend(all(&mut results));
        }
        (lines, w.near.stats().totals(), w.far.stats().totals(), w.events)
    };
    for (seed, batch) in [(1, 1), (2, 16)] {
        let (results, master, slave, events) = storm_for(seed, batch);
        for r in &results {
            if r.outcome == Outcome::Ok {
                match r.source {
                    Source::Poll(0) => assert!(r.values.iter().eq(100..105)),
                    Source::Poll(1) => assert!(r.values.iter().eq(210..215)),
                    Source::Poll(2) => assert!(r.values.iter().eq([300])),
                    _ => panic!("nobody is there"),
                }
            }
        }
        let ended = master.replies
            + master.exceptions
            + master.timeouts
            + master.crc_errors
            + master.wrong_unit
            + master.mismatches;
        assert!((ended..=ended + 1).contains(&master.requests), "{master:?}");
        // At most one failure still waits for its retry.
        let reported = results.len() as u64 + master.results_lost + master.retries;
        assert!((reported..=reported + 1).contains(&(ended + master.line_busy)), "{master:?}");
        // At most one reply still waits for its silence.
        let answered = slave.replies + slave.superseded;
        assert!((answered..=answered + 1).contains(&slave.requests), "{slave:?}");
        assert!(slave.crc_errors > 50 && master.crc_errors > 50 && master.replies > 3_000, "{master:?}");
        assert_eq!((results, master, slave, events), storm_for(seed, batch));
    }
}

#[test]
fn impossible_requests_are_refused_with_a_sentence() {
    for (error, words) in [
        (Exchange::read(0, Table::Coils, 0, 1), "nobody answers"),
        (Exchange::read(248, Table::Coils, 0, 1), "unit 248"),
        (Exchange::read(1, Table::Coils, 0, 2001), "1 to 2000"),
        (Exchange::read(1, Table::InputRegisters, 0, 0), "1 to 125"),
        (Exchange::read(1, Table::InputRegisters, 65535, 2), "65535"),
        (Exchange::write_registers(1, 0, &[0; 124]), "1 to 123"),
        (Exchange::write_registers(1, 0, &[]), "1 to 123"),
        (Exchange::write_coils(1, 0, &[false; 1969]), "1 to 1968"),
        (Exchange::write_coils(1, 65000, &[false; 1968]), "65000"),
    ] {
        let text = error.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(Exchange::write_coils(1, 63568, &[true; 1968]).unwrap().frame().len(), 255);
    assert_eq!(Exchange::write_registers(1, 65413, &[1; 123]).unwrap().frame().len(), 255);
    assert_eq!(Time(5).since(Time(7)), Duration::ZERO);
}
