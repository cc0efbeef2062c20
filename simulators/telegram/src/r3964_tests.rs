use hilrig_port::Tx;
use proptest::prelude::*;

use super::*;
use crate::stats::TelegramStats;

fn rules(high: bool) -> Rules {
    Rules {
        high,
        bcc: true,
        qvz: Duration::from_millis(2000),
        zvz: Duration::from_millis(220),
        connects: 6,
        sends: 6,
    }
}

/// A partner with what it says and what it got.
struct Partner {
    link: R3964,
    tx: Tx,
    stats: TelegramStats,
    got: Vec<Vec<u8>>,
    events: Vec<Event>,
}

impl Partner {
    fn new(rules: Rules) -> Self {
        Self {
            link: R3964::new(rules),
            tx: Tx::default(),
            stats: TelegramStats::default(),
            got: vec![],
            events: vec![],
        }
    }

    fn with<R>(&mut self, now: Time, f: impl FnOnce(&mut R3964, &mut Line<'_>) -> R) -> R {
        let mut line = Line { now, tx: &mut self.tx, stats: &self.stats, sink: None };
        f(&mut self.link, &mut line)
    }

    fn note(&mut self, event: Event) {
        if event == Event::Received {
            self.got.push(self.link.body().to_vec());
        }
        if event != Event::Nothing {
            self.events.push(event);
        }
    }

    fn send(&mut self, now: Time, body: &[u8]) {
        assert!(self.with(now, |link, line| link.send(body, line)));
    }

    fn hear(&mut self, now: Time, bytes: &[u8]) {
        for &byte in bytes {
            let event = self.with(now, |link, line| link.push(byte, line));
            self.note(event);
        }
    }

    /// Lets time pass up to the next deadline.
    fn wait(&mut self) -> Option<Time> {
        let now = self.link.deadline()?;
        let event = self.with(now, |link, line| link.on_deadline(line));
        self.note(event);
        assert!(self.link.deadline().is_none_or(|next| next > now), "a deadline is dealt with");
        Some(now)
    }

    /// What it has said since last asked.
    fn says(&mut self) -> Vec<u8> {
        let said = self.tx.pending().to_vec();
        self.tx.clear();
        said
    }
}

/// Carries what both say to the other until nobody says anything.
fn talk(now: Time, a: &mut Partner, b: &mut Partner) {
    loop {
        let (from_a, from_b) = (a.says(), b.says());
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        b.hear(now, &from_a);
        a.hear(now, &from_b);
    }
}

/// No document at hand shows a whole exchange in numbers; this one follows the CP 340 manual, 2.4: the DLE in the data is
/// doubled, and the BCC is the exclusive or of all that follows STX up to and with ETX.
#[test]
fn an_exchange_character_by_character() {
    let (mut a, mut b) = (Partner::new(rules(true)), Partner::new(rules(false)));
    let now = Time(0);
    a.send(now, &[0x41, 0x10, 0x42]);
    assert_eq!(a.says(), [STX]);
    b.hear(now, &[STX]);
    assert_eq!(b.says(), [DLE]);
    a.hear(now, &[DLE]);
    let block = a.says();
    assert_eq!(block, [0x41, 0x10, 0x10, 0x42, DLE, ETX, 0x41 ^ 0x42 ^ DLE ^ ETX]);
    b.hear(now, &block);
    assert_eq!((b.says(), &b.got), (vec![DLE], &vec![vec![0x41, 0x10, 0x42]]));
    a.hear(now, &[DLE]);
    assert_eq!((a.says(), &a.events[..]), (vec![], &[Event::Delivered][..]));
    assert!(a.link.is_free() && a.link.deadline().is_none() && b.link.deadline().is_none());
}

#[test]
fn without_bcc_the_block_ends_with_etx() {
    let plain = |high| Rules { bcc: false, ..rules(high) };
    let (mut a, mut b) = (Partner::new(plain(true)), Partner::new(plain(false)));
    a.send(Time(0), b"AB");
    b.hear(Time(0), &a.says());
    a.hear(Time(0), &b.says());
    let block = a.says();
    assert_eq!(block, b"AB\x10\x03");
    b.hear(Time(0), &block);
    assert_eq!(b.got, [b"AB"]);
}

#[test]
fn a_wrong_block_is_refused_and_sent_again() {
    let (mut a, mut b) = (Partner::new(rules(true)), Partner::new(rules(false)));
    a.send(Time(0), b"data");
    b.hear(Time(0), &a.says());
    a.hear(Time(0), &b.says());
    let mut block = a.says();
    block[1] ^= 1;
    b.hear(Time(0), &block);
    let nak = b.says();
    assert_eq!((nak.as_slice(), b.got.len()), (&[NAK][..], 0));
    a.hear(Time(0), &nak);
    talk(Time(0), &mut a, &mut b);
    assert_eq!((&b.got[..], &a.events[..]), (&[b"data".to_vec()][..], &[Event::Delivered][..]));
    assert_eq!((a.stats.totals().retries, b.stats.totals().refused), (1, 1));
}

#[test]
fn a_dle_that_is_not_doubled_spoils_the_block() {
    let mut b = Partner::new(rules(false));
    b.hear(Time(0), &[STX, b'a', DLE, b'b', DLE, ETX, b'a' ^ b'b' ^ DLE ^ DLE ^ ETX]);
    assert_eq!((b.says(), b.got.len()), (vec![DLE, NAK], 0));
}

#[test]
fn when_both_begin_the_low_one_gives_way_and_sends_after() {
    let (mut high, mut low) = (Partner::new(rules(true)), Partner::new(rules(false)));
    high.send(Time(0), b"first");
    low.send(Time(0), b"second");
    talk(Time(0), &mut high, &mut low);
    assert_eq!((&low.got[..], &high.got[..]), (&[b"first".to_vec()][..], &[b"second".to_vec()][..]));
    assert_eq!(
        (&high.events[..], &low.events[..]),
        (&[Event::Delivered, Event::Received][..], &[Event::Received, Event::Delivered][..])
    );
    assert_eq!(low.stats.totals().retries, 0, "giving way is no failed attempt");
}

#[test]
fn nobody_there_is_tried_six_times_two_seconds_apart() {
    let mut a = Partner::new(rules(true));
    a.send(Time(0), b"x");
    let mut at = Vec::new();
    while let Some(now) = a.wait() {
        at.push(now.0 / 1_000_000_000);
    }
    assert_eq!(at, [2, 4, 6, 8, 10, 12]);
    assert_eq!((a.says(), &a.events[..]), (vec![STX, STX, STX, STX, STX, STX, NAK], &[Event::Failed][..]));
    assert!(a.link.is_free());
}

#[test]
fn a_block_that_is_never_acknowledged_is_given_up_after_six_attempts() {
    let mut a = Partner::new(rules(true));
    a.send(Time(0), b"x");
    for attempt in 1..=6 {
        assert_eq!(a.says(), [STX], "attempt {attempt}");
        a.hear(Time(0), &[DLE]);
        assert_eq!(a.says().len(), 4);
        a.hear(Time(0), &[NAK]);
    }
    assert_eq!((a.says(), &a.events[..]), (vec![NAK], &[Event::Failed][..]));
    assert_eq!(a.stats.totals().retries, 5);
}

#[test]
fn a_pause_inside_a_block_and_bytes_outside_one_are_refused_after_zvz() {
    let mut b = Partner::new(rules(false));
    b.hear(Time(0), &[STX, b'a']);
    assert_eq!(b.says(), [DLE]);
    assert_eq!(b.wait(), Some(Time(220_000_000)));
    assert_eq!(b.says(), [NAK]);
    b.hear(Time(500_000_000), b"noise");
    assert_eq!((b.says(), b.wait()), (vec![], Some(Time(720_000_000))));
    assert_eq!((b.says(), b.link.deadline()), (vec![NAK], None));
    b.hear(Time(800_000_000), &[NAK]);
    assert_eq!((b.says(), b.link.deadline()), (vec![], None), "a NAK is not refused");
}

#[test]
fn what_does_not_fit_a_block_is_not_begun() {
    let mut a = Partner::new(rules(true));
    let body = [DLE; 600];
    assert!(!a.with(Time(0), |link, line| link.send(&body, line)));
    assert!(a.says().is_empty() && a.link.is_free());
}

proptest! {
    /// After anything and silence, a telegram gets through in both directions; the retries of the protocol see to it.
    #[test]
    fn telegrams_get_through_after_anything(
        noise in prop::collection::vec((prop_oneof![any::<u8>(), Just(STX), Just(DLE), Just(ETX), Just(NAK)], 0_u64..300), 0..60),
        body in prop::collection::vec(prop_oneof![any::<u8>(), Just(DLE), Just(ETX)], 0..200),
        both in any::<bool>(),
    ) {
        let (mut a, mut b) = (Partner::new(rules(true)), Partner::new(rules(false)));
        let mut now = Time(0);
        if both {
            b.send(now, b"early");
        }
        for (byte, ms) in noise {
            now = now + Duration::from_millis(ms);
            while b.link.deadline().is_some_and(|at| at <= now) {
                b.wait();
            }
            b.hear(now, &[byte]);
        }
        // What b has said goes nowhere; then the line is quiet for long.
        while b.link.deadline().is_some() {
            now = b.wait().unwrap().max(now);
        }
        b.says();
        b.got.clear();
        a.send(now, &body);
        talk(now, &mut a, &mut b);
        prop_assert_eq!(&b.got[..], std::slice::from_ref(&body));
        b.send(now, &body);
        talk(now, &mut a, &mut b);
        prop_assert_eq!(&a.got, &[body]);
    }
}
