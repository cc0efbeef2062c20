//! Any rules on any wire, fed in any pieces, with receivers that stall: no byte is lost without being counted, memory
//! stays bounded, a deadline is dealt with, and how the input is cut changes nothing.
//!
//! The input is a wire (3 bytes), up to 6 rules (6 bytes each, behind their number), then steps of 3 bytes: what to do,
//! in which direction and how much.

use std::time::Duration;

use hilrig_port::{CharError, Conduit, Direction, Flow, LineSettings, Note, Out, Purge, Signal, Time};
use hilrig_wire::{
    CoreSpec, Corrupt, Echo, Effect, FaultRule, Insert, LineDrop, LinkCore, Mark, Mismatch, Reorder, Span,
    Speed, Unit, Way, When, WireSpec,
};

const DIRECTIONS: [Direction; 2] = [Direction::AToB, Direction::BToA];
/// More than any mix of rings and shelves holds.
const BOUND: u64 = 40_000;

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }
}

fn ms(n: u8) -> Span {
    Span(Duration::from_millis(n.into()))
}

fn rule(input: &mut Input<'_>, id: String) -> FaultRule {
    let [kind, how, when, n, m, more] = std::array::from_fn(|_| input.number());
    let effect = match kind % 15 {
        0 => Effect::Drop,
        1 => Effect::Duplicate(u32::from(m % 4) + 1),
        2 => Effect::Corrupt(Corrupt { bits: Some(u32::from(m % 8) + 1), ..Corrupt::default() }),
        3 => Effect::Corrupt(Corrupt { mask: Some(hilrig_wire::Hex(vec![m | 1])), ..Corrupt::default() }),
        4 => Effect::Insert(Insert {
            random: Some(u32::from(m % 128) + 1),
            after: m > 127,
            ..Insert::default()
        }),
        5 => Effect::Truncate(u32::from(m % 16)),
        6 => Effect::Delay(ms(m)),
        7 => Effect::Jitter(ms(m)),
        8 => Effect::Reorder(Reorder { by: Some(u32::from(m % 3) + 1), within: Some(ms(m)) }),
        9 => Effect::Stall(ms(m)),
        10 => Effect::Break(ms(m)),
        11 => Effect::Error([Mark::Framing, Mark::Parity, Mark::Overrun][usize::from(m % 3)]),
        12 => Effect::LineDrop(LineDrop { lines: Vec::new(), time: ms(m) }),
        13 => Effect::Unplug(ms(m)),
        _ => Effect::Mismatch(Speed { rate: f64::from(m % 100 + 1) / 20.0, time: (m > 127).then(|| ms(m)) }),
    };
    let of_bytes = how & 1 == 1 && !matches!(effect, Effect::Reorder(_));
    let mut condition = When::default();
    let n64 = u64::from(n);
    match when % 8 {
        0 if of_bytes => condition.byte = Some(n64),
        0 | 1 => condition.frame = Some(n64 % 8),
        2 => condition.every = Some(n64 + 1),
        3 => condition.probability = Some(f64::from(n) / 255.0),
        4 => condition.pattern = Some(hilrig_wire::Pattern(vec![Some(n % 4), None, Some(more % 4)])),
        5 => condition.time = Some(ms(n)),
        6 => (condition.from, condition.until) = (Some(ms(n)), Some(ms(n).max(ms(more)))),
        _ if of_bytes => condition.offset = Some(n64 % 8),
        _ => condition.from_frame = Some(n64 % 8),
    }
    if condition.from.is_some() && condition.from == condition.until {
        condition.until = None;
    }
    if how & 2 == 2 {
        condition.count = Some(n64 % 5 + 1);
    }
    let span = (how >> 6 == 3 && !matches!(effect, Effect::Reorder(_))).then_some(3);
    FaultRule {
        id,
        direction: [Way::AToB, Way::BToA, Way::Both][usize::from(how >> 2) % 3],
        on: Some(if of_bytes { Unit::Byte } else { Unit::Frame }),
        when: condition,
        effect,
        span,
    }
}

fn spec(input: &mut Input<'_>) -> CoreSpec {
    let [kind, noise, speeds] = std::array::from_fn(|_| input.number());
    let baud = |n: u8| [0, 9600, 19_200, 115_200][usize::from(n % 4)];
    let settings = |n: u8| {
        let format = if n & 4 == 4 { "8E1" } else { "8N1" }.parse().unwrap_or_default();
        Some(LineSettings { baud: baud(n), format, flow: Flow::None })
    };
    let wire = WireSpec {
        pace: kind & 2 == 0,
        noise: if noise > 200 { f64::from(noise - 200) / 1000.0 } else { 0.0 },
        half_duplex: kind & 4 == 4,
        echo: [Echo::None, Echo::A, Echo::B, Echo::Both][usize::from(kind >> 4) % 4],
        mismatch: if kind & 8 == 8 { Mismatch::Ignore } else { Mismatch::Garble },
        ..WireSpec::default()
    };
    let rules = input.number() % 7;
    CoreSpec {
        wire: (kind & 1 == 1).then_some(wire),
        faults: (0..rules).map(|i| rule(input, format!("r{i}"))).collect(),
        seed: u64::from(noise),
        silence: Duration::from_millis(2),
        terminator: if kind >= 192 { vec![1, 2] } else { Vec::new() },
        settings: [settings(speeds), settings(speeds >> 4)],
        ..CoreSpec::default()
    }
}

#[derive(Debug, PartialEq)]
enum Got {
    Byte(Time, u8),
    Signal(Time, Signal),
}

struct Driver {
    core: LinkCore,
    now: Time,
    /// Bytes that the receiver still takes at this moment, and takes at each.
    left: [usize; 2],
    appetite: [usize; 2],
    came: [u64; 2],
    went: [u64; 2],
    discarded: [u64; 2],
    got: [Vec<Got>; 2],
    notes: Vec<Note>,
}

impl Driver {
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            for (d, direction) in DIRECTIONS.into_iter().enumerate() {
                while let Some(out) = self.core.next(self.now, direction) {
                    let n = match out {
                        Out::Signal(signal) => {
                            self.got[d].push(Got::Signal(self.now, signal));
                            0
                        }
                        Out::Bytes(bytes) => {
                            assert!(!bytes.is_empty());
                            let n = bytes.len().min(self.left[d]);
                            if n == 0 {
                                break;
                            }
                            self.got[d].extend(bytes[..n].iter().map(|b| Got::Byte(self.now, *b)));
                            n
                        }
                    };
                    self.left[d] -= n;
                    self.went[d] += n as u64;
                    self.core.advance(self.now, direction, n);
                    idle = false;
                }
            }
            if idle {
                break;
            }
        }
        self.notes.extend(std::iter::from_fn(|| self.core.note()));
        for (d, direction) in DIRECTIONS.into_iter().enumerate() {
            let a = self.core.account(direction);
            let (came, went) = (self.came[d] + a.inserted, self.went[d] + a.dropped + self.discarded[d]);
            assert_eq!(came, went + a.pending, "direction {d}: {a:?}");
            assert!(a.pending < BOUND, "bounded");
        }
    }

    fn set_now(&mut self, now: Time) {
        if now > self.now {
            (self.now, self.left) = (now, self.appetite);
        }
    }

    /// Answers how many deadlines there were.
    fn run(&mut self, end: Time) -> u32 {
        let (mut steps, went) = (0, self.went[0] + self.went[1]);
        while let Some(due) = self.core.deadline().filter(|due| *due <= end) {
            assert!(due > self.now, "a deadline is dealt with");
            steps += 1;
            // Few deadlines bring nothing; a rule may put in a hundred bytes for each that came.
            let went = self.went[0] + self.went[1] - went;
            assert!(u64::from(steps) < 60_000 + went, "time goes on");
            self.set_now(due);
            self.core.on_deadline(due);
            self.settle();
        }
        self.set_now(end);
        self.core.on_deadline(self.now);
        self.settle();
        steps
    }

    fn push(&mut self, d: usize, bytes: &[u8]) {
        self.core.push(self.now, DIRECTIONS[d], bytes);
        self.came[d] += bytes.len() as u64;
        self.settle();
    }
}

/// Runs the steps; a push is cut into single bytes if `cut`. `pushed` remembers how many bytes found room.
fn drive(data: &[u8], cut: bool, pushed: &mut Vec<usize>) -> Option<Driver> {
    let mut input = Input(data);
    let core = LinkCore::new(spec(&mut input)).ok()?;
    let mut driver = Driver {
        core,
        now: Time(1_000_000_000),
        left: [usize::MAX; 2],
        appetite: [usize::MAX; 2],
        came: [0; 2],
        went: [0; 2],
        discarded: [0; 2],
        got: Default::default(),
        notes: Vec::new(),
    };
    driver.settle();
    let (mut value, mut armed, mut pushes) = (0u8, 0, 0);
    while let (Some(step), [n, m]) = (input.byte(), std::array::from_fn(|_| input.number())) {
        let d = usize::from(step >> 7);
        match step % 16 {
            0..=6 => {
                let wanted = usize::from(n) * if m > 240 { 16 } else { 1 };
                if !cut {
                    pushed.push(wanted.min(driver.core.room(DIRECTIONS[d])));
                }
                let n = pushed.get(pushes).copied().unwrap_or(0);
                pushes += 1;
                let bytes: Vec<u8> = std::iter::repeat_with(|| {
                    value = value.wrapping_add(1);
                    if m & 1 == 1 { value % 4 } else { value }
                })
                .take(n)
                .collect();
                for piece in bytes.chunks(if cut { 1 } else { n.max(1) }) {
                    driver.push(d, piece);
                }
            }
            7..=9 => {
                let time = Duration::from_micros(u64::from(n) * if m & 1 == 1 { 200 } else { 5 });
                driver.run(driver.now + time);
            }
            10 => driver.appetite[d] = if n & 1 == 1 { usize::MAX } else { usize::from(n / 16) },
            11 => {
                let signal = match n % 8 {
                    0 => Signal::Break(true),
                    1 => Signal::Break(false),
                    2 => Signal::Error(CharError::Framing),
                    3 => Signal::Lines(hilrig_port::Lines(m & 0x3F)),
                    4 => Signal::Purge(Purge::Output),
                    5 => Signal::Purge(Purge::Input),
                    _ => Signal::Settings(LineSettings {
                        baud: [9600, 19_200, 57_600, 0][usize::from(m % 4)],
                        format: Default::default(),
                        flow: Flow::None,
                    }),
                };
                driver.core.signal(driver.now, DIRECTIONS[d], signal);
                driver.settle();
            }
            12 => {
                driver.discarded[d] += driver.core.discard(driver.now, DIRECTIONS[d]);
                driver.settle();
            }
            13 => {
                armed += 1;
                let prepared = LinkCore::prepare(&rule(&mut input, format!("a{armed}"))).ok()?;
                let _ = driver.core.arm(driver.now, prepared);
                driver.settle();
            }
            14 => {
                driver.core.clear(&format!("r{}", n % 7));
            }
            _ => {}
        }
    }
    // A break that nobody ends stops a half-duplex wire for ever, as it would.
    driver.appetite = [usize::MAX; 2];
    driver.left = driver.appetite;
    for direction in DIRECTIONS {
        driver.core.signal(driver.now, direction, Signal::Break(false));
    }
    driver.settle();
    driver.run(driver.now + Duration::from_secs(4000));
    Some(driver)
}

pub fn run(data: &[u8]) {
    let data = &data[..data.len().min(600)];
    let mut pushed = Vec::new();
    let Some(mut whole) = drive(data, false, &mut pushed) else { return };
    for (d, direction) in DIRECTIONS.into_iter().enumerate() {
        assert_eq!(whole.core.account(direction).pending, 0, "all is out in the end, direction {d}");
    }
    let thrown_away = whole.discarded.iter().any(|n| *n > 0);
    let free = spec(&mut Input(data)).wire.is_some_and(|wire| {
        // An echo and what the other side sends at the same moment have no order. And of what is thrown away, the
        // noise has met what had found room behind it.
        wire.echo != Echo::None || wire.noise > 0.0 && thrown_away
    });
    let Some(mut cut) = drive(data, true, &mut pushed).filter(|_| !free) else { return };
    for (d, direction) in DIRECTIONS.into_iter().enumerate() {
        // Modem lines do not keep a place among the bytes of one moment.
        let placed = |got: &Got| !matches!(got, Got::Signal(_, Signal::Lines(_)));
        for driver in [&mut whole, &mut cut] {
            driver.got[d].sort_by_key(|got| match got {
                Got::Byte(at, _) | Got::Signal(at, _) => (*at, placed(got)),
            });
        }
        let (whole_got, cut_got) = (&whole.got[d], &cut.got[d]);
        let differs = whole_got.iter().zip(cut_got).position(|(a, b)| a != b);
        if let Some(i) = differs {
            let around = |got: &[Got]| format!("{:?}", &got[i.saturating_sub(3)..got.len().min(i + 6)]);
            panic!("how the input is cut changes {i}: {} is {}", around(whole_got), around(cut_got));
        }
        assert_eq!(whole_got.len(), cut_got.len(), "how the input is cut changes nothing");
        let notes = |driver: &Driver| -> Vec<Note> {
            // A total is of both directions, whose pieces come in another order.
            let of_this = driver.notes.iter().filter(|note| note.direction == direction);
            of_this.map(|note| Note { total: (0, 0), ..*note }).collect()
        };
        // Of more than find room at once some are lost.
        if whole.notes.len() < 1024 {
            assert_eq!(notes(&whole), notes(&cut));
        }
    }
    let fired: u64 = whole.core.report().iter().map(|r| r.fired).sum();
    assert!(fired >= whole.notes.len() as u64 || whole.core.report().len() == hilrig_wire::MAX_RULES);
}
