//! An in-memory line between two stations on a simulated clock: bytes take their time, and can be lost, bent,
//! delayed and torn apart on the way. Reads no clock; the same run is the same to the last byte.

#![allow(dead_code)] // Each test crate uses its part.

use std::collections::VecDeque;
use std::time::Duration;

use hilrig_modbus::Timing;
use hilrig_port::{LineEvent, Station, Time, Tx};
use hilrig_tests::Seeded;

/// The two ends: the first is where the master sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    Near,
    Far,
}

/// What one end has just put on the line, before it travels: pieces, each after a pause.
#[derive(Debug, Clone)]
pub struct Burst {
    pub from: End,
    /// Counts the bursts of this end.
    pub n: usize,
    pub at: Time,
    pub pieces: Vec<(Duration, Vec<u8>)>,
}

impl Burst {
    pub fn drop(&mut self) {
        self.pieces.clear();
    }

    pub fn delay(&mut self, pause: Duration) {
        self.pieces[0].0 += pause;
    }

    pub fn first(&mut self) -> &mut Vec<u8> {
        &mut self.pieces[0].1
    }

    /// Puts bytes before, with silence behind them.
    pub fn before(&mut self, bytes: &[u8], pause: Duration) {
        self.pieces[0].0 += pause;
        self.pieces.insert(0, (Duration::ZERO, bytes.to_vec()));
    }

    /// Turns over one bit of it.
    pub fn bend(&mut self, dice: &mut Seeded) {
        let bytes = self.first();
        let at = dice.index(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
    }

    /// Puts less than `most` random bytes before, with up to 5 ms of silence behind them.
    pub fn disturb(&mut self, dice: &mut Seeded, most: usize) {
        let n = dice.index(most);
        self.before(&dice.bytes(n), Duration::from_micros(dice.below(5000)));
    }

    pub fn split(&mut self, at: usize, pause: Duration) {
        let bytes = self.first();
        let tail = bytes.split_off(at.min(bytes.len()));
        self.pieces.insert(1, (pause, tail));
    }
}

type Tamper = Box<dyn FnMut(&mut Burst)>;

pub struct Wire<A, B> {
    pub near: A,
    pub far: B,
    pub now: Time,
    timing: Timing,
    /// Bytes that arrive together, as a UART's FIFO hands them over.
    pub batch: usize,
    tx: Tx,
    sent: [usize; 2],
    flight: [VecDeque<(Time, u8)>; 2],
    tamper: Tamper,
    /// Start and end of each burst as it was put on the line.
    pub log: Vec<(Time, Time, End, Vec<u8>)>,
    pub logging: bool,
    /// What anybody who listens hears, while logging.
    pub heard: Vec<(Time, u8)>,
    pub events: u64,
    /// A connection rather than a line: bytes never overtake each other.
    pub ordered: bool,
}

pub fn timing() -> Timing {
    Timing::new(19200, "8E1".parse().unwrap())
}

impl<A: Station, B: Station> Wire<A, B> {
    pub fn new(near: A, far: B, tamper: impl FnMut(&mut Burst) + 'static) -> Self {
        let mut wire = Self {
            near,
            far,
            now: Time(1),
            timing: timing(),
            batch: 1,
            tx: Tx::default(),
            sent: [0; 2],
            flight: Default::default(),
            tamper: Box::new(tamper),
            log: Vec::new(),
            logging: true,
            heard: Vec::new(),
            events: 0,
            ordered: false,
        };
        wire.line(LineEvent::Opened);
        wire
    }

    /// Changes the far or near station from outside, as `Shard::with_station` does.
    pub fn with_near<R>(&mut self, f: impl FnOnce(&mut A, Time) -> R) -> R {
        f(&mut self.near, self.now)
    }

    /// The same, with what it wants sent.
    pub fn drive_near<R>(&mut self, f: impl FnOnce(&mut A, Time, &mut Tx) -> R) -> R {
        let result = f(&mut self.near, self.now, &mut self.tx);
        self.flush(End::Near);
        result
    }

    pub fn line(&mut self, event: LineEvent) {
        self.near.on_line(self.now, event, &mut self.tx);
        self.flush(End::Near);
    }

    /// Bytes that nobody sent, towards one end.
    pub fn noise(&mut self, to: End, bytes: &[u8]) {
        let now = self.now;
        self.flight[to as usize].extend(bytes.iter().map(|&b| (now, b)));
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = |f: &VecDeque<(Time, u8)>| f.front().map(|&(at, _)| at);
            let next = [
                arrival(&self.flight[0]),
                arrival(&self.flight[1]),
                self.near.deadline().map(|d| d.max(self.now)),
                self.far.deadline().map(|d| d.max(self.now)),
            ];
            let Some((what, at)) = next
                .iter()
                .enumerate()
                .filter_map(|(i, at)| at.map(|at| (i, at)))
                .min_by_key(|&(i, at)| (at, i))
            else {
                break;
            };
            if at > end {
                break;
            }
            self.now = at;
            self.events += 1;
            let to = if what % 2 == 0 { End::Near } else { End::Far };
            let mut bytes = [0; 512];
            let mut len = 0;
            while what < 2 && len < bytes.len() && self.flight[what].front().is_some_and(|&(t, _)| t == at) {
                bytes[len] = self.flight[what].pop_front().unwrap().1;
                len += 1;
            }
            let station: &mut dyn Station = if to == End::Near { &mut self.near } else { &mut self.far };
            if what < 2 {
                station.on_bytes(at, &bytes[..len], &mut self.tx);
            } else {
                station.on_deadline(at, &mut self.tx);
                assert!(station.deadline().is_none_or(|next| next > at) || !self.tx.pending().is_empty());
            }
            self.flush(to);
        }
        self.now = end;
    }

    fn flush(&mut self, from: End) {
        if self.tx.pending().is_empty() {
            return;
        }
        let pieces = vec![(Duration::ZERO, self.tx.pending().to_vec())];
        self.tx.clear();
        let mut burst = Burst { from, n: self.sent[from as usize], at: self.now, pieces };
        self.sent[from as usize] += 1;
        (self.tamper)(&mut burst);
        let to = if from == End::Near { End::Far } else { End::Near };
        let flight = &mut self.flight[to as usize];
        let (begin, before) = (self.now, flight.len());
        let mut at = flight.back().filter(|_| self.ordered).map_or(begin, |&(last, _)| begin.max(last));
        for (pause, bytes) in &burst.pieces {
            at = at + *pause;
            for chunk in bytes.chunks(self.batch) {
                at = at + self.timing.on_the_line(chunk.len());
                flight.extend(chunk.iter().map(|&b| (at, b)));
                if self.logging {
                    self.heard.extend(chunk.iter().map(|&b| (at, b)));
                }
            }
        }
        if before > 0 {
            // Several slaves may talk at once: then their bytes collide.
            flight.make_contiguous().sort_by_key(|&(at, _)| at);
        }
        if self.logging {
            let bytes = burst.pieces.iter().flat_map(|(_, b)| b.clone()).collect();
            self.log.push((begin, at, from, bytes));
        }
    }
}
