//! What the control side does to a link between two messages: other ports, another conduit or tap, lines and breaks. May
//! allocate and free nothing; what is over goes back to be freed there.

use super::tapping::Tapping;
use super::{DIRECTIONS, LinkUnit};
use crate::events::Happened;
use crate::line::{Line, Role};
use crate::open::Parts;
use crate::port::{DRIVEN, Presence};
use crate::set::Set;
use crate::stats::Moved;
use crate::{Conduit, Lines, PortError, Signal, Tap, TapKind, TapPoints, Time};

impl LinkUnit {
    pub(super) fn adopt(&mut self, conduit: Option<Box<dyn Conduit>>) -> Option<Box<dyn Conduit>> {
        for (flow, direction) in self.flows.iter_mut().zip(DIRECTIONS) {
            flow.seen = conduit.as_ref().map(|c| c.account(direction)).unwrap_or_default();
        }
        std::mem::replace(&mut self.conduit, conduit)
    }

    /// Nothing that is still pending will arrive.
    pub(crate) fn finish(&mut self) {
        for (from, direction) in DIRECTIONS.into_iter().enumerate() {
            let flow = &mut self.flows[from];
            let mut n = flow.ready.len() as u64;
            flow.ready = 0..0;
            let mut account = flow.seen;
            if let Some(conduit) = &mut self.conduit
                && !self.failed
            {
                n += conduit.discard(Time::now(), direction);
                account = conduit.account(direction);
            }
            self.ports[1 - from].stats.discarded_bytes.add(n);
            self.account(from, Moved { discarded: n, ..Moved::default() }, account);
        }
    }

    /// The control side puts another conduit in, or none; what the old one held is discarded.
    pub(crate) fn set_conduit(
        &mut self,
        new: Option<Box<dyn Conduit>>,
        set: &mut Set,
    ) -> Option<Box<dyn Conduit>> {
        for (from, direction) in DIRECTIONS.into_iter().enumerate() {
            let Some(conduit) = &mut self.conduit else { break };
            if !self.failed {
                let discarded = conduit.discard(Time::now(), direction);
                let account = conduit.account(direction);
                self.discarded(1 - from, discarded, set);
                self.account(from, Moved { discarded, ..Moved::default() }, account);
            }
            self.flows[from].blocked = false;
        }
        let old = self.adopt(new);
        self.due = None;
        for from in 0..2 {
            match self.conduit {
                Some(_) => self.settle_conduit(from, set),
                None => self.settle(from, Moved::default(), set),
            }
        }
        self.pump(Time::now(), set);
        old
    }

    /// The control side has used the conduit.
    pub(crate) fn after_visit(&mut self, set: &mut Set) {
        self.pump(Time::now(), set);
    }

    pub(crate) fn set_tap(&mut self, tap: Option<Tap>, points: TapPoints) -> Option<Tap> {
        let old = std::mem::replace(&mut self.tap, Tapping::new(tap, points));
        old.tap
    }

    /// Pulls the cable of one side; its line is the caller's to close.
    pub(crate) fn pull(&mut self, side: usize, reason: String, set: &mut Set) -> Line {
        let (change, line) = self.ports[side].pull(set, reason);
        self.note(side, change, set);
        line
    }

    /// Puts an open port in the place of one that was lost; the old line is the caller's to close.
    pub(crate) fn replace(
        &mut self,
        side: usize,
        parts: Parts,
        set: &mut Set,
    ) -> (Result<(), PortError>, Line) {
        if self.failed {
            let port = self.ports[side].name.clone();
            return (Err(PortError::Gone { port }), parts.line);
        }
        if self.ports[side].presence() != Presence::Lost {
            self.lost(side, Time::now(), set);
        }
        let (done, old) = self.ports[side].replace(parts, set);
        if done.is_err() {
            return (done, old);
        }
        let at = Time::now();
        self.tap_event(TapKind::Back, side, at, 0, set);
        match self.conduit {
            Some(_) => (0..2).for_each(|from| self.settle_conduit(from, set)),
            None => (0..2).for_each(|from| self.settle(from, Moved::default(), set)),
        }
        self.begin(side, set);
        (Ok(()), old)
    }

    /// A port is in service: says so, and shows both ends to each other.
    pub(crate) fn begin(&mut self, side: usize, set: &mut Set) {
        if self.ports[side].presence() == Presence::Here {
            self.tell(side, Happened::Came, Time::now(), set);
            self.greet(side, set);
        }
        self.on_aside(side, set);
        let change = self.ports[side].look(set);
        self.note(side, change, set);
    }

    /// Shared by both ways a fault and the control side send a break.
    pub(crate) fn start_break(&mut self, side: usize, until: Time, set: &mut Set) -> Result<(), PortError> {
        let port = &mut self.ports[side];
        if port.apply(&Signal::Break(true)).is_none() {
            let (port, reason) = (port.name.clone(), "this port cannot send a break".to_owned());
            return Err(PortError::Unsupported { port, reason });
        }
        self.tap_event(TapKind::BreakOut, side, Time::now(), 0, set);
        self.breaks[side] = Some(until);
        self.flush(side, set);
        Ok(())
    }

    pub(crate) fn set_lines(
        &mut self,
        side: usize,
        mask: Lines,
        values: Lines,
        set: &mut Set,
    ) -> Result<(), PortError> {
        let port = &mut self.ports[side];
        let now = match port.role() {
            Role::Device => port.line.driven().unwrap_or(port.driven) & DRIVEN,
            _ => port.sensed,
        };
        if port.apply(&Signal::Lines((now & !mask) | (values & mask))).is_none() {
            let (port, reason) = (port.name.clone(), "this port has no modem lines to set".to_owned());
            return Err(PortError::Unsupported { port, reason });
        }
        self.tap_event(TapKind::Lines, side, Time::now(), 0, set);
        self.flush(side, set);
        Ok(())
    }
}
