use super::*;
use crate::blocks::{self, PacketBlock};
use crate::link::description;
use crate::packet::rtac_header;
use crate::{Event, Flow};
use hilrig_port::Lines;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// Of what A and B sent, at milliseconds.
fn recording(sent: &[(u64, Side, &[u8])]) -> Recording {
    let events: Vec<_> = sent.iter().map(|(at, side, bytes)| (*at, *side, Event::RxStart, *bytes)).collect();
    recording_of(&events)
}

fn recording_of(events: &[(u64, Side, Event, &[u8])]) -> Recording {
    let mut file = Vec::new();
    blocks::section(&mut file, "test");
    for side in 0..2 {
        blocks::interface(&mut file, 250, "", &description("line", side));
    }
    for (at, side, event, data) in events {
        let at = at * MS;
        let header = rtac_header(at, *event, Lines::DTR);
        let flow = Some(Flow::In);
        let packet = PacketBlock { interface: *side as u32, at, flow, header: &header, data, comments: &[] };
        blocks::packet(&mut file, &packet);
    }
    Recording::read(&file[..], None).unwrap()
}

/// A player on a line in virtual time, which starts at 1 s.
struct Bench {
    player: Player,
    tx: Tx,
    now: Time,
    /// Milliseconds since the start, and what was sent then.
    sent: Vec<(u64, Vec<u8>)>,
    signals: Vec<(u64, Signal)>,
}

const START: u64 = 1_000 * MS;

impl Bench {
    fn new(recording: Recording, spec: PlaySpec) -> Self {
        let player = Player::new(recording, spec).unwrap();
        let mut bench =
            Self { player, tx: Tx::default(), now: Time(START), sent: Vec::new(), signals: Vec::new() };
        assert_eq!(bench.player.deadline(), None, "nothing before the line is there");
        bench.player.on_line(bench.now, LineEvent::Opened, &mut bench.tx);
        bench.collect(usize::MAX);
        bench
    }

    fn ms(&self) -> u64 {
        (self.now.0 - START) / MS
    }

    /// The line takes what is there, up to `n` bytes.
    fn collect(&mut self, n: usize) {
        let bytes = self.tx.pending()[..n.min(self.tx.pending().len())].to_vec();
        self.tx.advance(bytes.len());
        if !bytes.is_empty() {
            self.sent.push((self.ms(), bytes));
        }
        while let Some(signal) = self.player.take_signal() {
            self.signals.push((self.ms(), signal));
        }
    }

    /// Lets time pass up to `until` milliseconds, each call late by `late`.
    fn run(&mut self, until: u64, late: u64, take: usize) {
        for _ in 0..100_000 {
            let Some(at) = self.player.deadline().filter(|at| at.0 <= START + until * MS) else { break };
            self.now = Time(self.now.0.max(at.0 + late));
            self.player.on_deadline(self.now, &mut self.tx);
            self.collect(take);
        }
        self.now = Time(self.now.0.max(START + until * MS));
    }

    fn hear(&mut self, at: u64, bytes: &[u8]) {
        self.run(at, 0, usize::MAX);
        self.player.on_bytes(self.now, bytes, &mut self.tx);
        self.collect(usize::MAX);
    }

    fn outcome(&self) -> Option<Outcome> {
        self.player.progress().outcome.clone()
    }

    fn difference(&self) -> Difference {
        match self.outcome() {
            Some(Outcome::Differs(difference)) => difference,
            other => panic!("{other:?}"),
        }
    }
}

fn only(side: Side) -> PlaySpec {
    PlaySpec { only: Some(side), ..PlaySpec::default() }
}

fn expecting(side: Side, patience: u64) -> PlaySpec {
    PlaySpec { expect: true, patience: Duration::from_millis(patience), ..only(side) }
}

const DIALOGUE: [(u64, Side, &[u8]); 4] =
    [(0, Side::A, b"ask1"), (20, Side::B, b"yes"), (100, Side::A, b"ask2"), (130, Side::B, b"no")];

#[test]
fn one_side_is_sent_at_its_own_times() {
    let mut bench = Bench::new(recording(&DIALOGUE), only(Side::B));
    bench.run(10_000, 0, usize::MAX);
    assert_eq!(bench.sent, [(20, b"yes".to_vec()), (130, b"no".to_vec())]);
    assert_eq!(bench.outcome(), Some(Outcome::Played));
    let progress = bench.player.progress();
    assert_eq!((progress.sent, progress.to_send), (5, 5));
}

#[test]
fn both_sides_are_sent_in_order_and_faster_if_asked() {
    let mut bench = Bench::new(recording(&DIALOGUE), PlaySpec { speed: 2.0, ..PlaySpec::default() });
    bench.run(10_000, 0, usize::MAX);
    let times: Vec<_> = bench.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 10, 50, 65]);
}

#[test]
fn lateness_does_not_add_up() {
    let sent: Vec<(u64, Side, &[u8])> = (0..1000).map(|n| (n * 10, Side::A, &b"x"[..])).collect();
    let mut bench = Bench::new(recording(&sent), only(Side::A));
    bench.run(20_000, 3 * MS, usize::MAX);
    assert_eq!(bench.sent.len(), 1000);
    assert_eq!(bench.sent.last().unwrap().0, 9_993);
}

#[test]
fn at_speed_0_all_goes_as_fast_as_the_line_takes_it_and_nothing_is_lost() {
    let big: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
    let mut bench = Bench::new(
        recording(&[(0, Side::A, &big), (3_600_000, Side::A, b"an hour later")]),
        PlaySpec { speed: 0.0, ..only(Side::A) },
    );
    bench.run(1_000, 0, 500);
    let all: Vec<u8> = bench.sent.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(all, [&big[..], b"an hour later"].concat());
    assert_eq!(bench.outcome(), Some(Outcome::Played));
}

#[test]
fn an_answer_as_recorded_is_a_pass_however_it_is_cut() {
    let mut bench = Bench::new(recording(&DIALOGUE), expecting(Side::A, 500));
    bench.hear(15, b"y");
    bench.hear(18, b"es");
    bench.hear(120, b"no");
    assert_eq!(bench.outcome(), None, "one more byte would be a difference");
    bench.run(1_000, 0, usize::MAX);
    assert_eq!(bench.outcome(), Some(Outcome::Played));
    assert_eq!(bench.player.progress().matched, 5);
}

#[test]
fn the_first_difference_is_told_exactly() {
    let mut bench = Bench::new(recording(&DIALOGUE), expecting(Side::A, 500));
    bench.hear(15, b"yes");
    bench.hear(150, b"nix");
    let difference = bench.difference();
    assert_eq!(
        difference,
        Difference {
            offset: 4,
            at: Duration::from_millis(150),
            expected: b"o".to_vec(),
            got: b"ix".to_vec()
        }
    );
    assert_eq!(
        difference.to_string(),
        "at byte 4, 0.150000 s after the start: 6f was recorded, but 69 78 came"
    );
    assert_eq!(bench.player.deadline(), None);
}

#[test]
fn what_was_recorded_after_an_answer_waits_for_it() {
    let mut bench = Bench::new(recording(&DIALOGUE), expecting(Side::A, 500));
    bench.run(300, 0, usize::MAX);
    assert_eq!(bench.sent, [(0, b"ask1".to_vec())]);
    bench.hear(400, b"yes");
    assert_eq!(bench.sent.last(), Some(&(400, b"ask2".to_vec())));
    // The patience counts from when the question was sent.
    bench.hear(850, b"no");
    bench.run(2_000, 0, usize::MAX);
    assert_eq!(bench.outcome(), Some(Outcome::Played));
}

#[test]
fn an_answer_that_does_not_come_is_a_difference() {
    let mut bench = Bench::new(recording(&DIALOGUE), expecting(Side::A, 500));
    bench.hear(15, b"ye");
    bench.run(5_000, 0, usize::MAX);
    let difference = bench.difference();
    assert_eq!((difference.offset, difference.at), (2, Duration::from_millis(520)));
    assert_eq!((difference.expected.as_slice(), difference.got.as_slice()), (&b"sno"[..], &b""[..]));
    assert!(difference.to_string().ends_with("73 6e 6f was recorded, but nothing came in time"));
}

#[test]
fn what_comes_after_the_end_is_a_difference() {
    let mut bench = Bench::new(recording(&DIALOGUE), expecting(Side::A, 500));
    bench.hear(15, b"yes");
    bench.hear(120, b"no");
    bench.hear(125, b"?!");
    let difference = bench.difference();
    assert_eq!((difference.offset, difference.got.as_slice()), (5, &b"?!"[..]));
    assert!(difference.to_string().ends_with("nothing more was recorded, but 3f 21 came"));
}

#[test]
fn at_speed_0_a_question_still_waits_for_the_answer_before() {
    let mut bench = Bench::new(recording(&DIALOGUE), PlaySpec { speed: 0.0, ..expecting(Side::A, 500) });
    bench.run(5, 0, usize::MAX);
    assert_eq!(bench.sent.len(), 1);
    bench.hear(6, b"yes");
    assert_eq!(bench.sent.len(), 2);
    bench.hear(7, b"no");
    bench.run(100, 0, usize::MAX);
    assert_eq!(bench.outcome(), Some(Outcome::Played));
}

#[test]
fn breaks_and_lines_keep_their_place_among_the_bytes() {
    let events: [(u64, Side, Event, &[u8]); 4] = [
        (0, Side::A, Event::RxStart, b"a"),
        (5, Side::A, Event::Break, b""),
        (6, Side::A, Event::RxStart, b"b"),
        (50, Side::A, Event::Status, b""),
    ];
    let mut bench = Bench::new(recording_of(&events), only(Side::A));
    bench.run(1_000, 0, usize::MAX);
    assert_eq!(
        bench.signals,
        [(5, Signal::Break(true)), (25, Signal::Break(false)), (50, Signal::Lines(Lines::DTR))]
    );
    assert_eq!(bench.sent, [(0, b"a".to_vec()), (25, b"b".to_vec())]);
}

#[test]
fn a_line_that_is_left_or_takes_nothing_ends_the_replay() {
    let mut bench = Bench::new(recording(&DIALOGUE), only(Side::A));
    bench.player.on_line(bench.now, LineEvent::Closed, &mut bench.tx);
    assert_eq!(bench.outcome(), Some(Outcome::Left));
    let mut bench = Bench::new(
        recording(&[(0, Side::A, &[7; 9000]), (1, Side::B, b"x")]),
        PlaySpec { speed: 0.0, ..expecting(Side::A, 500) },
    );
    bench.run(10_000, 0, 0);
    assert_eq!(bench.outcome(), Some(Outcome::Stalled));
    assert!(bench.ms() < 10_001);
}

#[test]
fn a_replay_that_makes_no_sense_is_refused() {
    let refused = |spec| Player::new(recording(&DIALOGUE), spec).unwrap_err();
    assert!(refused(PlaySpec { speed: f64::NAN, ..PlaySpec::default() }).contains("speed"));
    assert!(refused(PlaySpec { speed: -1.0, ..PlaySpec::default() }).contains("speed"));
    assert!(refused(PlaySpec { expect: true, ..PlaySpec::default() }).contains("only"));
}

proptest! {
    #[test]
    fn all_is_sent_in_order_whatever_the_line_takes(
        pieces in prop::collection::vec((0u64..300, prop::collection::vec(any::<u8>(), 1..3000)), 1..10),
        take in 1usize..5000,
        late in 0u64..5,
    ) {
        let mut at = 0;
        let sent: Vec<_> = pieces.iter().map(|(wait, bytes)| { at += wait; (at, Side::A, bytes.as_slice()) }).collect();
        let mut bench = Bench::new(recording(&sent), only(Side::A));
        bench.run(10_000_000, late * MS, take);
        // Each look at a full line lets it take some, in real time too.
        while !bench.tx.pending().is_empty() {
            bench.collect(take);
        }
        bench.run(20_000_000, 0, take);
        let got: Vec<u8> = bench.sent.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let want: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        prop_assert!(got == want);
        prop_assert_eq!(bench.outcome(), Some(Outcome::Played));
    }
}
