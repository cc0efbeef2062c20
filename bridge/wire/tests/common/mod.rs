//! Drives a [`LinkCore`] in virtual time as a shard does, and checks after each step that no byte is lost without
//! being counted.

#![allow(dead_code, clippy::unwrap_used)]

use std::time::Duration;

use hilrig_port::{Conduit, Direction, LineSettings, Note, Out, Signal, Time};
use hilrig_wire::{CoreSpec, FaultRule, LinkCore, RuleReport, WireSpec};

pub const DIRECTIONS: [Direction; 2] = [Direction::AToB, Direction::BToA];

#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    Bytes(Vec<u8>),
    Signal(Signal),
}

pub struct Bench {
    pub core: LinkCore,
    pub now: Time,
    pub out: [Vec<(Time, Got)>; 2],
    pub notes: Vec<Note>,
    /// The receiver of the direction takes this many bytes a call, then nothing till the next event.
    pub appetite: [usize; 2],
    came: [u64; 2],
    went: [u64; 2],
    discarded: [u64; 2],
    pub deadlines: u64,
}

pub fn settings(baud: u32, format: &str) -> LineSettings {
    LineSettings { baud, format: format.parse().unwrap(), flow: hilrig_port::Flow::None }
}

/// A wire between ends that are set like this.
pub fn wire(a: (u32, &str), b: (u32, &str)) -> CoreSpec {
    CoreSpec {
        wire: Some(WireSpec::default()),
        settings: [Some(settings(a.0, a.1)), Some(settings(b.0, b.1))],
        ..CoreSpec::default()
    }
}

/// No wire, and rules as TOML.
pub fn rules(toml: &str) -> CoreSpec {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        faults: Vec<FaultRule>,
    }
    let file: File = toml::from_str(toml).unwrap_or_else(|e| panic!("{e}"));
    CoreSpec { faults: file.faults, silence: Duration::from_millis(2), ..CoreSpec::default() }
}

impl Bench {
    pub fn new(spec: CoreSpec) -> Self {
        let core = LinkCore::new(spec).unwrap_or_else(|e| panic!("{e}"));
        let mut bench = Self {
            core,
            now: Time(1_000_000_000),
            out: Default::default(),
            notes: Vec::new(),
            appetite: [usize::MAX; 2],
            came: [0; 2],
            went: [0; 2],
            discarded: [0; 2],
            deadlines: 0,
        };
        bench.drain();
        bench
    }

    pub fn at(&self, us: u64) -> Time {
        Time(1_000_000_000 + us * 1000)
    }

    /// Sends at `us` after the start; what does not fit is sent when there is room.
    pub fn push(&mut self, us: u64, direction: usize, bytes: &[u8]) {
        self.run(us);
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = self.core.room(DIRECTIONS[direction]).min(rest.len());
            if n == 0 {
                assert!(self.step(Time(u64::MAX)), "stuck with {} bytes to send", rest.len());
                continue;
            }
            self.core.push(self.now, DIRECTIONS[direction], &rest[..n]);
            self.came[direction] += n as u64;
            rest = &rest[n..];
            self.drain();
        }
    }

    pub fn signal(&mut self, us: u64, direction: usize, signal: Signal) {
        self.run(us);
        self.core.signal(self.now, DIRECTIONS[direction], signal);
        self.drain();
    }

    pub fn discard(&mut self, us: u64, direction: usize) -> u64 {
        self.run(us);
        let n = self.core.discard(self.now, DIRECTIONS[direction]);
        self.discarded[direction] += n;
        self.check();
        n
    }

    /// Lets time pass up to `us` after the start.
    pub fn run(&mut self, us: u64) {
        let end = self.at(us);
        while self.step(end) {}
        self.now = self.now.max(end);
        self.core.on_deadline(self.now);
        self.drain();
    }

    fn step(&mut self, end: Time) -> bool {
        let Some(due) = self.core.deadline().filter(|due| *due <= end) else { return false };
        assert!(due > self.now, "a deadline is dealt with: {due:?} at {:?}", self.now);
        self.now = due;
        self.deadlines += 1;
        self.core.on_deadline(due);
        self.drain();
        true
    }

    fn drain(&mut self) {
        let now = self.now;
        let mut left = self.appetite;
        loop {
            let mut idle = true;
            for (d, direction) in DIRECTIONS.into_iter().enumerate() {
                loop {
                    let n = match self.core.next(now, direction) {
                        None => break,
                        Some(Out::Signal(signal)) => {
                            self.out[d].push((now, Got::Signal(signal)));
                            0
                        }
                        Some(Out::Bytes(bytes)) => {
                            assert!(!bytes.is_empty());
                            let n = bytes.len().min(left[d]);
                            if n == 0 {
                                break;
                            }
                            left[d] -= n;
                            self.out[d].push((now, Got::Bytes(bytes[..n].to_vec())));
                            n
                        }
                    };
                    self.core.advance(now, direction, n);
                    self.went[d] += n as u64;
                    idle = false;
                }
            }
            if idle {
                break;
            }
        }
        self.notes.extend(std::iter::from_fn(|| self.core.note()));
        self.check();
    }

    fn check(&self) {
        for (d, direction) in DIRECTIONS.into_iter().enumerate() {
            let account = self.core.account(direction);
            assert_eq!(
                self.came[d] + account.inserted,
                self.went[d] + account.dropped + self.discarded[d] + account.pending,
                "direction {d}: {account:?}"
            );
            assert!(account.pending < 64_000, "bounded");
        }
    }

    pub fn bytes(&self, direction: usize) -> Vec<u8> {
        let bytes = |(_, got): &(Time, Got)| match got {
            Got::Bytes(bytes) => bytes.clone(),
            Got::Signal(_) => Vec::new(),
        };
        self.out[direction].iter().flat_map(bytes).collect()
    }

    /// Microseconds after the start, and what came then.
    pub fn seen(&self, direction: usize) -> Vec<(u64, Got)> {
        self.out[direction].iter().map(|(at, got)| ((at.0 - 1_000_000_000) / 1000, got.clone())).collect()
    }

    pub fn signals(&self, direction: usize) -> Vec<Signal> {
        let signal = |(_, got): &(Time, Got)| match got {
            Got::Signal(signal) => Some(*signal),
            Got::Bytes(_) => None,
        };
        self.out[direction].iter().filter_map(signal).collect()
    }

    pub fn pending(&self, direction: usize) -> u64 {
        self.core.account(DIRECTIONS[direction]).pending
    }

    pub fn dropped(&self, direction: usize) -> u64 {
        self.core.account(DIRECTIONS[direction]).dropped
    }

    pub fn inserted(&self, direction: usize) -> u64 {
        self.core.account(DIRECTIONS[direction]).inserted
    }

    pub fn report(&self, id: &str) -> RuleReport {
        self.core.report().into_iter().find(|r| r.id == id).unwrap()
    }
}
