//! The wire of both directions: when a byte has arrived, and as what. Behind the faults; knows no rules.
//!
//! A byte is given out when its last bit has arrived. A receiver that does not take what has arrived loses nothing
//! (a driver's buffer is larger than a UART's): the wire goes on until its own memory is full, then the sender waits.

use std::time::Duration;

use hilrig_port::{Flow, LineSettings, Lines, Time};
use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng;

use crate::queue::{Entry, Event, Item, Queue, TRUE_RATE};
use crate::sim::{Manner, Sim};
use crate::uart::{Exact, Shape};
use crate::{Echo, Mismatch, NS_HALF, WireSpec};

/// Up to this speed each byte is given out by itself, above it those of a quantum together.
const GRAIN_BAUD: u32 = 38_400;
const QUANTUM: u64 = 1_000_000;
const XON: u8 = 0x11;
const XOFF: u8 = 0x13;
/// What ends talk in when a fault needs a speed and none is known.
const NOMINAL_BAUD: u32 = 9600;

/// One direction.
#[derive(Debug)]
pub(crate) struct Lane {
    /// What the sender has still to send.
    pub tx: Queue,
    /// What has arrived by a way that does not show `tx` itself.
    pub rx: Queue,
    /// When the wire is free for the next byte.
    pub free: Exact,
    /// A break that lasts: when it was due, and when it began.
    pub low: Option<(Time, Time)>,
    /// The receiver wants no more from this time on.
    paused: Option<Time>,
    pub sender: Option<Shape>,
    pub receiver: Option<Shape>,
    pub dropped: u64,
    pub inserted: u64,
}

/// How bytes get from `tx` to the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Straight from `tx`, paced if the speed is known.
    Straight,
    /// Without time, bits may change.
    Copied,
    /// As waveforms.
    Waves,
}

#[derive(Debug)]
pub(crate) struct Wire {
    spec: Option<WireSpec>,
    pub lanes: [Lane; 2],
    way: Way,
    sim: Sim,
    settings: [Option<LineSettings>; 2],
    lines: [Option<Lines>; 2],
    xoff: [bool; 2],
    noise: Noise,
}

/// Turns bits over with a probability.
#[derive(Debug)]
pub(crate) struct Noise {
    chance: u64,
    rng: [Pcg32; 2],
}

impl Noise {
    pub fn hits(&mut self, d: usize) -> bool {
        self.chance > 0 && u64::from(self.rng[d].next_u32()) < self.chance
    }

    pub fn is_on(&self) -> bool {
        self.chance > 0
    }
}

/// What `next` is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Rx,
    Tx(usize),
    TxEvent(Event, Exact),
    RxEvent(Event),
}

impl Lane {
    fn new() -> Self {
        Self {
            tx: Queue::new(8192),
            rx: Queue::new(4096),
            free: Exact::default(),
            low: None,
            paused: None,
            sender: None,
            receiver: None,
            dropped: 0,
            inserted: 0,
        }
    }

    /// When the front entry begins.
    pub fn start(&self, due: Time) -> Exact {
        if due > self.free.at { Exact::new(due) } else { self.free }
    }

    pub fn may_start(&self, at: Time) -> bool {
        self.paused.is_none_or(|since| at < since)
    }

    /// When a break that is over now ends, if it began as noted: as long as it was, and long enough to be seen.
    pub fn low_end(&self, due: Time, character: u64) -> Time {
        let (due_then, began) = self.low.unwrap_or((due, due));
        began + due.since(due_then).max(Duration::from_nanos(character + character / 8))
    }
}

impl Wire {
    pub fn new(spec: Option<WireSpec>, seed: u64, settings: [Option<LineSettings>; 2]) -> Self {
        let noise = spec.as_ref().map_or(0.0, |s| s.noise);
        let mut wire = Self {
            spec,
            lanes: [Lane::new(), Lane::new()],
            way: Way::Straight,
            sim: Sim::default(),
            settings,
            lines: [None; 2],
            xoff: [false; 2],
            noise: Noise {
                chance: (noise * 4_294_967_296.0).round() as u64,
                rng: [Pcg32::new(seed, 0x6e01), Pcg32::new(seed, 0x6e02)],
            },
        };
        wire.tune();
        wire
    }

    pub fn pending(&self, d: usize) -> usize {
        self.lanes[d].tx.len() + self.lanes[d].rx.len() + self.sim.pending(d)
    }

    pub fn set(&mut self, now: Time, end: usize, settings: LineSettings) {
        self.settings[end] = Some(settings);
        self.tune();
        self.look_at_flow(now);
    }

    pub fn set_lines(&mut self, now: Time, end: usize, lines: Lines) {
        self.lines[end] = Some(lines);
        self.look_at_flow(now);
    }

    pub fn lines(&self, end: usize) -> Option<Lines> {
        self.lines[end]
    }

    /// How an end is set: as forced, else as it says itself, else as the other end says.
    fn shape(&self, end: usize) -> Option<Shape> {
        let spec = self.spec.as_ref()?;
        let known = |end: usize| self.settings[end].filter(|s| s.baud > 0);
        let own = known(end).or(known(1 - end));
        let baud = spec.baud.or(own.map(|s| s.baud))?;
        Some(Shape { baud, format: spec.format.or(own.map(|s| s.format)).unwrap_or_default() })
    }

    fn tune(&mut self) {
        let paced = self.spec.as_ref().is_some_and(|s| s.pace);
        for d in 0..2 {
            let (mut sender, mut receiver) = (self.shape(d), self.shape(1 - d));
            if self.spec.as_ref().is_some_and(|s| s.mismatch == Mismatch::Ignore) {
                receiver = sender;
            }
            if !paced {
                (sender, receiver) = (None, None);
            }
            (self.lanes[d].sender, self.lanes[d].receiver) = (sender, receiver);
        }
    }

    fn flow(&self, end: usize) -> Flow {
        let own = self.settings[end].map_or(Flow::None, |s| s.flow);
        self.spec.as_ref().map_or(Flow::None, |s| s.flow.unwrap_or(own))
    }

    fn look_at_flow(&mut self, now: Time) {
        for d in 0..2 {
            let wait = match self.flow(d) {
                Flow::None => false,
                // A device shows our CTS, an application drives RTS.
                Flow::RtsCts => self.lines[1 - d].is_some_and(|l| !l.has(Lines::RTS) && !l.has(Lines::CTS)),
                Flow::XonXoff => self.xoff[d],
            };
            let lane = &mut self.lanes[d];
            if !wait && lane.paused.take().is_some() && lane.free.at < now {
                lane.free = Exact::new(now);
            } else if wait {
                lane.paused.get_or_insert(now);
            }
        }
    }

    /// The way that the wire itself asks for; bytes at a rate of their own go as waveforms in any case.
    fn own_way(&self) -> Way {
        let Some(spec) = &self.spec else { return Way::Straight };
        let known = self.lanes.iter().all(|lane| lane.sender.is_some());
        let differ = self.lanes.iter().any(|lane| lane.sender != lane.receiver);
        match (known, self.noise.is_on() || spec.echo != Echo::None) {
            (true, true) => Way::Waves,
            (true, false) if differ || spec.half_duplex => Way::Waves,
            (false, true) => Way::Copied,
            _ => Way::Straight,
        }
    }

    /// Bytes at a rate of their own are next in a direction.
    fn odd(&self, now: Time) -> bool {
        let odd = |e: Entry| e.rate != TRUE_RATE && e.due <= now;
        self.lanes.iter().any(|lane| lane.tx.front().is_some_and(odd))
    }

    /// Brings all up to `now` that does not go straight.
    pub fn run(&mut self, now: Time) {
        loop {
            let own = self.own_way();
            if self.way != Way::Waves || self.sim.is_idle() {
                self.way = if self.odd(now) { Way::Waves } else { own };
            }
            match self.way {
                Way::Straight => return,
                Way::Copied => {
                    let moved = self.copy(now, 0) | self.copy(now, 1);
                    if !moved {
                        return;
                    }
                }
                Way::Waves => {
                    let only_odd = own != Way::Waves;
                    self.run_waves(now, only_odd);
                    if !only_odd || !self.sim.is_idle() || self.odd(now) {
                        return;
                    }
                }
            }
        }
    }

    fn run_waves(&mut self, now: Time, only_odd: bool) {
        let spec = self.spec.as_ref();
        let nominal = Shape { baud: NOMINAL_BAUD, format: Default::default() };
        let shapes = [0, 1].map(|d: usize| {
            let known = |shape: Option<Shape>, end: usize| {
                let own = self.settings[end].filter(|s| s.baud > 0);
                let own = own.map(|s| Shape { baud: s.baud, format: s.format });
                shape.or(own).unwrap_or(nominal)
            };
            let sender = known(self.lanes[d].sender, d);
            (sender, self.lanes[d].receiver.unwrap_or(sender))
        });
        let manner = Manner {
            shapes,
            echo: echoes(spec.map_or(Echo::None, |s| s.echo)),
            half: spec.is_some_and(|s| s.half_duplex),
            only_odd,
        };
        self.sim.run(now, &mut self.lanes, &manner, &mut self.noise);
    }

    /// Takes over what is due, with its bits changed, and gives it back to the sender where it is echoed.
    fn copy(&mut self, now: Time, d: usize) -> bool {
        let echo = echoes(self.spec.as_ref().map_or(Echo::None, |s| s.echo))[d];
        let mut moved = false;
        let right = |e: &Entry| e.due <= now && e.rate == TRUE_RATE;
        while let Some(entry) = self.lanes[d].tx.front().filter(right) {
            let full = |lane: &Lane| lane.rx.free() < 64 || lane.rx.free_entries() < 16;
            let stuck = full(&self.lanes[d]) || echo && full(&self.lanes[1 - d]);
            if stuck || !self.lanes[d].may_start(entry.due) {
                break;
            }
            moved = true;
            let Item::Bytes(_) = entry.item else {
                let Item::Event(event) = entry.item else { break };
                self.lanes[d].tx.pop(0);
                self.lanes[d].rx.push_event(entry.due, event);
                continue;
            };
            let mut piece = [0; 64];
            let bytes = self.lanes[d].tx.bytes();
            let n = bytes.len().min(64);
            piece[..n].copy_from_slice(&bytes[..n]);
            self.lanes[d].tx.pop(n);
            if self.noise.is_on() {
                for byte in &mut piece[..n] {
                    (0..8).for_each(|bit| *byte ^= u8::from(self.noise.hits(d)) << bit);
                }
            }
            self.lanes[d].rx.push(entry.due, entry.rate, &piece[..n]);
            if echo {
                self.lanes[1 - d].rx.push(entry.due, entry.rate, &piece[..n]);
                self.lanes[1 - d].inserted += n as u64;
            }
        }
        moved
    }

    /// What the receiver of a direction gets next, if it is due.
    pub fn next(&mut self, now: Time, d: usize) -> Option<Shown> {
        let lane = &mut self.lanes[d];
        if let Some(entry) = lane.rx.front() {
            return (entry.due <= now).then_some(match entry.item {
                Item::Bytes(_) => Shown::Rx,
                Item::Event(event) => Shown::RxEvent(event),
            });
        }
        if self.way != Way::Straight {
            return None;
        }
        let Entry { due, item, rate } = lane.tx.front()?;
        let start = lane.start(due);
        match item {
            Item::Event(event) => {
                let at = lane.event_at(event, due);
                (at.at <= now).then_some(Shown::TxEvent(event, at))
            }
            // A fault has just made it a matter of waveforms.
            Item::Bytes(_) if rate != TRUE_RATE => None,
            Item::Bytes(_) => {
                let have = lane.tx.bytes().len();
                let n = match lane.sender {
                    None if due <= now && lane.may_start(due) => have,
                    None => 0,
                    Some(shape) => {
                        let ended = start.steps_until(now, shape.char_units(), shape.baud);
                        let started = lane.paused.map_or(u64::MAX, |since| begun(start, shape, since));
                        let n = have.min(ended.min(started) as usize);
                        let mask = shape.mask();
                        if mask != 0xFF {
                            lane.tx.bytes_mut()[..n].iter_mut().for_each(|b| *b &= mask);
                        }
                        n
                    }
                };
                (n > 0).then_some(Shown::Tx(n))
            }
        }
    }

    /// The receiver took `n` of what `next` showed.
    pub fn take(&mut self, now: Time, d: usize, shown: Shown, n: usize) {
        let lane = &mut self.lanes[d];
        match shown {
            Shown::Rx | Shown::RxEvent(_) => lane.rx.pop(n),
            Shown::TxEvent(event, at) => {
                if let (Event::Break(on), Some(entry)) = (event, lane.tx.front()) {
                    let began = lane.start(entry.due).at;
                    lane.low = on.then_some((entry.due, began));
                    lane.free = if on { lane.start(entry.due) } else { behind_break(at, lane.sender) };
                }
                lane.tx.pop(0);
            }
            Shown::Tx(_) => {
                if let (Some(shape), Some(entry)) = (lane.sender, lane.tx.front()) {
                    lane.free = lane.start(entry.due).after(n as u64 * shape.char_units(), shape.baud);
                }
                lane.tx.pop(n);
            }
        }
        self.look_at_flow(now);
    }

    /// Whether the receiver of `d` may say stop or go by what it sends back.
    pub fn listens_for_xoff(&self, d: usize) -> bool {
        // The receiver of this direction is the sender of the other one.
        self.flow(1 - d) == Flow::XonXoff
    }

    /// Whether the last of these bytes that says stop or go says stop.
    pub fn last_xoff(bytes: &[u8]) -> Option<bool> {
        bytes.iter().rev().find(|b| matches!(**b, XON | XOFF)).map(|b| *b == XOFF)
    }

    pub fn set_xoff(&mut self, now: Time, end: usize, off: bool) {
        self.xoff[end] = off;
        self.look_at_flow(now);
    }

    pub fn deadline(&self, d: usize) -> Option<Time> {
        let lane = &self.lanes[d];
        if let Some(entry) = lane.rx.front() {
            return Some(entry.due).into_iter().chain(self.wave_deadline(d)).min();
        }
        if self.way == Way::Waves {
            return self.wave_deadline(d);
        }
        let Entry { due, item, rate } = lane.tx.front()?;
        if rate != TRUE_RATE {
            return Some(due);
        }
        if !lane.may_start(lane.start(due).at) {
            return None;
        }
        match (item, lane.sender) {
            (Item::Event(event), _) => Some(lane.event_at(event, due).at),
            (Item::Bytes(_), None) => Some(due),
            (Item::Bytes(n), Some(shape)) => {
                let n = u64::from(n).min(quantum(shape));
                Some(lane.start(due).after(n * shape.char_units(), shape.baud).at)
            }
        }
    }

    fn wave_deadline(&self, d: usize) -> Option<Time> {
        if self.way != Way::Waves {
            return None;
        }
        let lane = &self.lanes[d];
        let shape = lane.sender.unwrap_or(Shape { baud: NOMINAL_BAUD, format: Default::default() });
        let head =
            lane.tx.front().filter(|e| lane.may_start(lane.start(e.due).at)).map(|e| lane.start(e.due));
        let queued = match lane.tx.front().map(|e| e.item) {
            Some(Item::Bytes(n)) => u64::from(n),
            _ => 0,
        };
        let due = lane.tx.front().map_or(Time(0), |e| e.due);
        let begins = head.map(|start| match queued {
            _ if lane.low.is_some() => lane.low_end(due, shape.char_time()),
            0 => start.at,
            _ => start.after(shape.char_units(), shape.baud).at,
        });
        let first = self.sim.deadline(d).into_iter().chain(begins).min()?;
        // Above the grain several at once: as many as there are, within the quantum.
        let more = quantum(shape).saturating_sub(1).min(queued);
        Some(Exact::new(first).after(more * shape.char_units(), shape.baud).at)
    }

    /// Throws away what is on its way and answers how many bytes that were.
    pub fn discard(&mut self, d: usize) -> u64 {
        let n = self.pending(d) as u64;
        self.lanes[d].tx.clear();
        self.lanes[d].rx.clear();
        self.lanes[d].low = None;
        self.sim.discard(d);
        n
    }

    /// Throws away what has not begun to be sent, on purpose.
    pub fn purge_tx(&mut self, d: usize) {
        self.lanes[d].dropped += self.lanes[d].tx.clear();
    }

    /// Throws away what has arrived and was not taken, on purpose.
    pub fn purge_rx(&mut self, now: Time, d: usize) {
        self.lanes[d].dropped += self.lanes[d].rx.clear();
        while let Some(shown @ Shown::Tx(n)) = self.next(now, d) {
            self.take(now, d, shown, n);
            self.lanes[d].dropped += n as u64;
        }
    }
}

impl Lane {
    /// When the receiver knows of it.
    fn event_at(&self, event: Event, due: Time) -> Exact {
        let start = self.start(due);
        let character = self.sender.map_or(0, Shape::char_time);
        match event {
            Event::Break(true) => Exact::new(start.at + Duration::from_nanos(character)),
            Event::Break(false) => Exact::new(self.low_end(due, character)),
            _ => start,
        }
    }
}

/// When the line can be used again: after a bit of idle line, or nobody would see the next start bit.
pub(crate) fn behind_break(end: Exact, shape: Option<Shape>) -> Exact {
    shape.map_or(end, |shape| end.after(2 * NS_HALF, shape.baud))
}

/// How many characters begin before `since`.
fn begun(start: Exact, shape: Shape, since: Time) -> u64 {
    match since.0.checked_sub(start.at.0) {
        None | Some(0) => 0,
        Some(_) => start.steps_until(Time(since.0 - 1), shape.char_units(), shape.baud) + 1,
    }
}

/// How many bytes are given out together.
fn quantum(shape: Shape) -> u64 {
    if shape.baud <= GRAIN_BAUD { 1 } else { (QUANTUM / shape.char_time().max(1)).max(1) }
}

/// Which directions are heard by their sender, too.
fn echoes(echo: Echo) -> [bool; 2] {
    [matches!(echo, Echo::A | Echo::Both), matches!(echo, Echo::B | Echo::Both)]
}
