//! A link on virtual time: takes from one side, lets the conduit say what the other side gets and when, and keeps the
//! same account as a link of a real shard. Records nothing and keeps no modem lines.

use std::sync::Arc;

use super::net::{Net, Port, Side};
use crate::events::{Event, Happened};
use crate::seat::guard;
use crate::stats::Moved;
use crate::{Account, Conduit, Direction, LinkStats, Out, PortState, Signal, Time};

const DIRECTIONS: [Direction; 2] = [Direction::AToB, Direction::BToA];

/// What one direction has to remember.
#[derive(Debug, Default)]
struct Flow {
    read_at: Time,
    /// The read is not counted as a message yet.
    fresh: bool,
    /// Taken by the conduit and not yet counted.
    pushed: u64,
    /// What the conduit said last.
    seen: Account,
    /// The receiver took less than the conduit had for it.
    blocked: bool,
}

pub(super) struct LinkUnit {
    id: u64,
    pub ports: [Port; 2],
    pub conduit: Option<Box<dyn Conduit>>,
    stats: Arc<LinkStats>,
    flows: [Flow; 2],
    pub due: Option<Time>,
    failed: bool,
    /// Its sides are the far ends of applications, not ports that it has open.
    pair: bool,
}

impl LinkUnit {
    pub fn new(
        id: u64,
        ports: [Port; 2],
        conduit: Option<Box<dyn Conduit>>,
        stats: Arc<LinkStats>,
        pair: bool,
    ) -> Self {
        let due = conduit.as_ref().and_then(|conduit| conduit.deadline());
        let seen = DIRECTIONS.map(|d| conduit.as_ref().map(|c| c.account(d)).unwrap_or_default());
        let flows = seen.map(|seen| Flow { seen, ..Flow::default() });
        Self { id, ports, conduit, stats, flows, due, failed: false, pair }
    }

    pub fn on_deadline(&mut self, net: &mut Net) {
        self.due = None;
        let now = net.now;
        if let Some(conduit) = self.conduit.as_mut().filter(|_| !self.failed)
            && let Err(why) = guard(|| conduit.on_deadline(now))
        {
            return self.fail(&why, net);
        }
        self.pump(net);
    }

    pub fn on_writable(&mut self, net: &mut Net, to: usize) {
        self.flows[1 - to].blocked = false;
        if self.conduit.is_some() {
            self.pump(net);
        } else {
            net.ring_if_waiting(&self.ports[1 - to]);
        }
    }

    pub fn on_readable(&mut self, net: &mut Net, from: usize) {
        net.answer(&self.ports[from]);
        let (now, direction) = (net.now, DIRECTIONS[from]);
        loop {
            if self.failed || self.ports[from].lost {
                let n = net.waiting(&self.ports[from]).len();
                return net.took(&self.ports[from], n);
            }
            if let Some(signal) = net.take_signal(&self.ports[from]) {
                self.on_signal(net, from, signal);
                continue;
            }
            let waiting = net.waiting(&self.ports[from]);
            if waiting.is_empty() {
                return;
            }
            let Some(conduit) = &mut self.conduit else {
                if !self.pass(net, from) {
                    return;
                }
                continue;
            };
            let pushed = guard(|| {
                let n = waiting.len().min(conduit.room(direction));
                if n > 0 {
                    conduit.push(now, direction, &waiting[..n]);
                }
                n
            });
            match pushed {
                // Read on when it has given something out.
                Ok(0) => return,
                Ok(n) => {
                    net.took(&self.ports[from], n);
                    let flow = &mut self.flows[from];
                    (flow.read_at, flow.fresh) = (now, true);
                    flow.pushed += n as u64;
                    self.pump(net);
                }
                Err(why) => return self.fail(&why, net),
            }
        }
    }

    /// Hands on what waits, without a conduit. `false` when the receiver takes no more.
    fn pass(&mut self, net: &mut Net, from: usize) -> bool {
        let [source, sink] = [&self.ports[from], &self.ports[1 - from]];
        let mut moved = Moved { messages: 1, ..Moved::default() };
        if net.is_heard(sink) {
            moved.bytes_out = net.pass(source, sink) as u64;
        } else {
            moved.discarded = net.waiting(source).len() as u64;
            net.took(source, moved.discarded as usize);
            sink.stats.discarded_bytes.add(moved.discarded);
        }
        moved.bytes_in = moved.bytes_out + moved.discarded;
        if moved.bytes_in == 0 {
            return false;
        }
        let stats = &self.stats.directions[from];
        if moved.bytes_out > 0 {
            stats.latency.record(0);
        }
        stats.apply(moved);
        true
    }

    /// Lets the conduit give out what is due.
    pub fn pump(&mut self, net: &mut Net) {
        let Some(mut conduit) = self.conduit.take() else { return };
        if self.failed {
            self.conduit = Some(conduit);
            return;
        }
        let mut moved = [Moved::default(); 2];
        let done = guard(|| self.give_out(conduit.as_mut(), net, &mut moved));
        self.conduit = Some(conduit);
        match done {
            // Whoever found no room may have some now.
            Ok(()) => self.ports.iter().for_each(|port| net.ring_if_waiting(port)),
            Err(why) => {
                for (from, moved) in moved.into_iter().enumerate() {
                    self.write_off(from, moved);
                }
                self.fail(&why, net);
            }
        }
    }

    fn give_out(&mut self, conduit: &mut dyn Conduit, net: &mut Net, moved: &mut [Moved; 2]) {
        // What one direction gives out may set free what waits in the other.
        let (mut from, mut quiet) = (0, 0);
        while quiet < 2 {
            quiet += 1;
            while self.give_one(conduit, net, from, &mut moved[from]) {
                quiet = 1;
            }
            from = 1 - from;
        }
        while let Some(note) = conduit.note() {
            let side = 1 - note.direction.index();
            net.post_event(Event { at: note.at, link: self.id, side, what: Happened::Fired(note) });
        }
        // What is due already waits for the receiver, not for a time.
        self.due = conduit.deadline().filter(|at| *at > net.now);
        for (from, direction) in DIRECTIONS.into_iter().enumerate() {
            let account = conduit.account(direction);
            self.account(net.now, from, &std::mem::take(&mut moved[from]), &account);
        }
    }

    fn give_one(&mut self, conduit: &mut dyn Conduit, net: &mut Net, from: usize, moved: &mut Moved) -> bool {
        let (now, to, direction) = (net.now, 1 - from, DIRECTIONS[from]);
        let bytes = match conduit.next(now, direction) {
            None => return false,
            Some(Out::Signal(signal)) => {
                conduit.advance(now, direction, 0);
                match signal {
                    Signal::Unplug(_) => {
                        net.post(self.id, to, Happened::Lost);
                        self.lose(net, to, format!("a fault has unplugged it: {signal:?}"));
                    }
                    signal => self.route(net, from, signal),
                }
                return true;
            }
            Some(Out::Bytes(bytes)) => bytes,
        };
        if !net.is_heard(&self.ports[to]) {
            let n = bytes.len();
            conduit.advance(now, direction, n);
            moved.discarded += n as u64;
            self.ports[to].stats.discarded_bytes.add(n as u64);
            return true;
        }
        if self.flows[from].blocked {
            return false;
        }
        let n = net.send(&self.ports[to], bytes);
        moved.bytes_out += n as u64;
        self.flows[from].blocked = n < bytes.len();
        if n > 0 {
            conduit.advance(now, direction, n);
        }
        n > 0
    }

    /// Counts what moved in one direction of the conduit.
    fn account(&mut self, now: Time, from: usize, moved: &Moved, account: &Account) {
        let flow = &mut self.flows[from];
        let before = &mut flow.seen;
        let bytes_in = std::mem::take(&mut flow.pushed);
        if (bytes_in, moved.bytes_out, moved.discarded) == (0, 0, 0) && account == before {
            return;
        }
        let stats = &self.stats.directions[from];
        if moved.bytes_out > 0 && bytes_in > 0 && account.pending == 0 {
            stats.latency.record(now.since(flow.read_at).as_nanos() as u64);
        }
        stats.apply(Moved {
            bytes_in,
            bytes_out: moved.bytes_out,
            discarded: moved.discarded,
            messages: std::mem::take(&mut flow.fresh).into(),
            fault: account.dropped.wrapping_sub(before.dropped),
            inserted: account.inserted.wrapping_sub(before.inserted),
            pending: account.pending,
        });
        // One by one: a copy of the whole would wait until what was just written can be read at once.
        before.dropped = account.dropped;
        before.inserted = account.inserted;
        before.pending = account.pending;
    }

    /// What a conduit that panicked had is lost, by a fault.
    fn write_off(&mut self, from: usize, mut moved: Moved) {
        let flow = &mut self.flows[from];
        moved.bytes_in = std::mem::take(&mut flow.pushed);
        let had = moved.bytes_in + std::mem::take(&mut flow.seen).pending;
        // More than it had went out: it was put in.
        let gone = moved.bytes_out + moved.discarded;
        moved.fault = had.saturating_sub(gone);
        moved.inserted = gone.saturating_sub(had);
        self.stats.directions[from].apply(moved);
    }

    /// Something other than bytes came from `from`.
    fn on_signal(&mut self, net: &mut Net, from: usize, signal: Signal) {
        self.ports[from].learn(signal);
        let told = match signal {
            Signal::Break(true) => Some(Happened::Break),
            Signal::Error(error) => Some(Happened::Error(error)),
            Signal::Settings(settings) => Some(Happened::Settings(settings)),
            Signal::Lines(lines) => Some(Happened::Lines(lines)),
            Signal::Break(false) | Signal::Purge(_) | Signal::Unplug(_) => None,
        };
        if let Some(what) = told {
            net.post(self.id, from, what);
        }
        let (now, direction) = (net.now, DIRECTIONS[from]);
        if let Some(conduit) = &mut self.conduit {
            if let Err(why) = guard(|| conduit.signal(now, direction, signal)) {
                return self.fail(&why, net);
            }
            self.pump(net);
            // These keep their place among the bytes and come out again.
            if matches!(signal, Signal::Break(_) | Signal::Error(_)) {
                return;
            }
        }
        self.route(net, from, signal);
    }

    /// What a signal of `from` is at the other side: applications see lines crossed and characters in error, a device is
    /// only given a break.
    fn route(&mut self, net: &mut Net, from: usize, signal: Signal) {
        let to = &self.ports[1 - from];
        let crossing = match signal {
            Signal::Break(_) => Some(signal),
            Signal::Lines(lines) if self.pair => Some(Signal::Lines(lines.through_null_modem())),
            Signal::Error(_) if self.pair => Some(signal),
            _ => None,
        };
        if let Some(signal) = crossing.filter(|_| net.is_heard(to)) {
            let reader = if to.side == Side::Inner { Side::User } else { Side::Inner };
            net.signal(to.joint, reader, signal);
        }
    }

    fn lose(&mut self, net: &mut Net, side: usize, reason: String) {
        self.ports[side].lost = true;
        self.ports[side].stats.set_gone(PortState::Lost, reason);
        net.vacate(&self.ports[side]);
    }

    fn fail(&mut self, why: &str, net: &mut Net) {
        self.failed = true;
        self.due = None;
        for side in 0..2 {
            net.post(self.id, side, Happened::Lost);
            self.lose(net, side, format!("the conduit of this link failed: {why}"));
        }
        for from in 0..2 {
            if self.flows[from].seen != Account::default() || self.flows[from].pushed > 0 {
                self.write_off(from, Moved::default());
            }
        }
    }

    /// Nothing that is still pending will arrive.
    pub fn finish(&mut self, net: &mut Net) {
        for (from, direction) in DIRECTIONS.into_iter().enumerate() {
            let Some(conduit) = self.conduit.as_mut().filter(|_| !self.failed) else { return };
            let discarded = conduit.discard(net.now, direction);
            let account = conduit.account(direction);
            self.ports[1 - from].stats.discarded_bytes.add(discarded);
            self.account(net.now, from, &Moved { discarded, ..Moved::default() }, &account);
        }
    }
}
