//! How a link drives its conduit: gives out in both directions what is due, as far as the receivers take it, and keeps
//! the byte account. Reads nothing.

use super::{DIRECTIONS, LinkUnit};
use crate::events::{Event, Happened};
use crate::port::{Change, Presence};
use crate::seat::guard;
use crate::set::Set;
use crate::stats::Moved;
use crate::{Account, Conduit, Out, TapKind, TapPoints, TapRecord, Time};

impl LinkUnit {
    /// Lets the conduit give out what is due.
    pub(super) fn pump(&mut self, now: Time, set: &mut Set) {
        self.pump_with(now, None, set);
    }

    /// The same; at the side `gone` nobody is, even if somebody new has come meanwhile.
    pub(super) fn pump_with(&mut self, now: Time, gone: Option<usize>, set: &mut Set) {
        // Away while it is driven: what happens meanwhile does not drive it again.
        if self.failed {
            return;
        }
        let Some(mut conduit) = self.conduit.take() else { return };
        let mut moved = [Moved::default(); 2];
        let done = guard(|| self.give_out(conduit.as_mut(), now, gone, &mut moved, set));
        self.conduit = Some(conduit);
        match done {
            Ok(accounts) => {
                for (from, (moved, account)) in moved.into_iter().zip(accounts).enumerate() {
                    self.account(from, moved, account);
                    self.settle_conduit(from, set);
                }
            }
            Err(why) => {
                for (from, moved) in moved.into_iter().enumerate() {
                    self.write_off(from, moved);
                }
                self.fail(&why, set);
            }
        }
    }

    fn give_out(
        &mut self,
        conduit: &mut dyn Conduit,
        now: Time,
        gone: Option<usize>,
        moved: &mut [Moved; 2],
        set: &mut Set,
    ) -> [Account; 2] {
        loop {
            let mut idle = true;
            for (from, moved) in moved.iter_mut().enumerate() {
                while self.give_one(conduit, now, gone, from, moved, set) {
                    idle = false;
                }
            }
            if idle {
                break;
            }
        }
        while let Some(note) = conduit.note() {
            let side = 1 - note.direction.index();
            set.news.post(Event { at: note.at, link: self.id, side, what: Happened::Fired(note) });
            let mut payload = [0; 8];
            payload[..4].copy_from_slice(&note.rule.to_le_bytes());
            payload[4..].copy_from_slice(&note.bytes.to_le_bytes());
            let record = TapRecord {
                at: note.at,
                kind: TapKind::Fault,
                side: side as u8,
                lines: self.ports[side].lines(),
                value: note.position,
                bytes: &payload,
            };
            self.tap.record(record, self.id, set);
        }
        // What is due already waits for the receiver, not for a time.
        self.due = conduit.deadline().filter(|at| *at > now);
        DIRECTIONS.map(|direction| conduit.account(direction))
    }

    /// Gives the receiver what is next for it. `false` when nothing is, or it takes no more.
    fn give_one(
        &mut self,
        conduit: &mut dyn Conduit,
        now: Time,
        gone: Option<usize>,
        from: usize,
        moved: &mut Moved,
        set: &mut Set,
    ) -> bool {
        let (to, direction) = (1 - from, DIRECTIONS[from]);
        let bytes = match conduit.next(now, direction) {
            None => return false,
            Some(Out::Signal(signal)) => {
                conduit.advance(now, direction, 0);
                self.apply_from_conduit(from, signal, now, set);
                return true;
            }
            Some(Out::Bytes(bytes)) => bytes,
        };
        if self.ports[to].presence() != Presence::Here && gone != Some(to) {
            let change = self.ports[to].look(set);
            self.note(to, change, set);
        }
        if self.ports[to].presence() != Presence::Here || gone == Some(to) {
            // As on a wire: what is due now reaches nobody, what comes later may find somebody.
            let n = bytes.len();
            conduit.advance(now, direction, n);
            moved.discarded += n as u64;
            self.discarded(to, n as u64, set);
            return true;
        }
        let flow = &mut self.flows[from];
        if flow.blocked || !flow.ready.is_empty() {
            return false;
        }
        let (n, change) = self.ports[to].output(bytes, set);
        moved.bytes_out += n as u64;
        if n > 0 && self.tap.taps(TapPoints::Out) {
            let lines = self.ports[to].lines();
            let (at, kind, side) = (Time::now(), TapKind::Out, to as u8);
            let record = TapRecord { at, kind, side, lines, value: 0, bytes: &bytes[..n] };
            self.tap.record(record, self.id, set);
        }
        flow.blocked = n < bytes.len() && change == Change::None;
        if n > 0 {
            conduit.advance(now, direction, n);
        }
        if change != Change::None {
            // Before anybody new can get what was meant for the one that left.
            while let Some(out) = conduit.next(now, direction) {
                let n = if let Out::Bytes(bytes) = out { bytes.len() } else { 0 };
                conduit.advance(now, direction, n);
                moved.discarded += n as u64;
                self.discarded(to, n as u64, set);
            }
            self.note(to, change, set);
        }
        true
    }

    /// Counts what moved in one direction of the conduit.
    pub(super) fn account(&mut self, from: usize, mut moved: Moved, account: Account) {
        let flow = &mut self.flows[from];
        let before = std::mem::replace(&mut flow.seen, account);
        moved.bytes_in = std::mem::take(&mut flow.pushed);
        moved.messages = std::mem::take(&mut flow.fresh).into();
        moved.fault = account.dropped.wrapping_sub(before.dropped);
        moved.inserted = account.inserted.wrapping_sub(before.inserted);
        moved.pending = account.pending + flow.ready.len() as u64;
        if moved.bytes_out > 0 && moved.bytes_in > 0 && account.pending == 0 {
            let latency = Time::now().since(flow.read_at).as_nanos() as u64;
            self.stats.directions[from].latency.record(latency);
        }
        if (moved.bytes_in, moved.bytes_out, moved.discarded) != (0, 0, 0) || account != before {
            self.stats.directions[from].apply(moved);
        }
    }

    /// What a conduit that panicked had is lost, by a fault.
    pub(super) fn write_off(&mut self, from: usize, mut moved: Moved) {
        let flow = &mut self.flows[from];
        moved.bytes_in = std::mem::take(&mut flow.pushed);
        let before = std::mem::take(&mut flow.seen);
        let had = moved.bytes_in + before.pending;
        // More than it had went out: it was put in.
        let gone = moved.bytes_out + moved.discarded;
        moved.fault = had.saturating_sub(gone);
        moved.inserted = gone.saturating_sub(had);
        moved.pending = flow.ready.len() as u64;
        self.stats.directions[from].apply(moved);
    }

    /// Makes the waiting fit what the conduit takes and gives.
    pub(super) fn settle_conduit(&mut self, from: usize, set: &mut Set) {
        let room = self.room(from, set) > 0;
        let flow = &self.flows[from];
        let stalled = !flow.ready.is_empty();
        self.interest(from, room && !stalled, stalled || flow.blocked, 1 - from, set);
    }
}
