//! The thread side of a shard: one loop over one epoll set. In steady state it allocates nothing, takes no lock
//! and makes three system calls a message. Work of the control side is done between messages.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use rustix::io::Errno;

use crate::PortError;
use crate::Time;
use crate::events::News;
use crate::set::{EventFlags, Events, Set, Token, no_events};
use crate::sys_lend::Work;
use crate::unit::Unit;

#[derive(Debug)]
pub(crate) struct Engine {
    set: Set,
    units: Vec<Option<(u64, Unit)>>,
    /// Of each unit, as it last said.
    deadlines: Vec<Option<Time>>,
    earliest: Option<Time>,
    /// Rung by the control side when there is work.
    bell: Arc<OwnedFd>,
    /// How long before a deadline sleeping ends and spinning begins.
    spin: Duration,
    pub(crate) stop: bool,
}

impl Engine {
    pub(crate) fn new(bell: Arc<OwnedFd>, news: News, spin: Duration) -> Result<Self, Errno> {
        use std::os::fd::AsFd;
        let set = Set::new(news)?;
        set.add(bell.as_fd(), Token::Control, EventFlags::IN)?;
        // Room for more than a shard usually has, so that even taking one in seldom allocates.
        let (units, deadlines) = (Vec::with_capacity(256), Vec::with_capacity(256));
        Ok(Self { set, units, deadlines, earliest: None, bell, spin, stop: false })
    }

    /// Runs until told to stop. Answers itself, so that ports are closed on another thread: that can take time.
    pub(crate) fn run(mut self, work: &Receiver<Work<Self>>) -> Self {
        let mut events = no_events();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            while !self.stop {
                self.turn(&mut events, work)?;
            }
            Ok::<_, Errno>(())
        }));
        let why = match ended {
            Ok(Ok(())) => "the shard was stopped".to_owned(),
            Ok(Err(e)) => format!("the shard cannot wait for events any more ({})", std::io::Error::from(e)),
            Err(_) => "the shard failed; this is a fault in hilrig".to_owned(),
        };
        for (_, unit) in self.units.iter_mut().flatten() {
            unit.give_up(&mut self.set, &why);
        }
        self
    }

    fn turn(&mut self, events: &mut Events, work: &Receiver<Work<Self>>) -> Result<(), Errno> {
        let (mut control, mut idle) = (false, true);
        let until = self.earliest.map(|at| Time(at.0.saturating_sub(self.spin.as_nanos() as u64)));
        for (token, flags) in self.set.wait(events, until)? {
            idle = false;
            match token {
                Token::Port { unit, side } => self.with(unit, |u, set| u.on_event(side, flags, set)),
                Token::Listener { unit, side } => self.with(unit, |u, set| u.on_caller(side, set)),
                Token::Aside { unit, side } => self.with(unit, |u, set| u.on_aside(side, set)),
                Token::Observers { unit, side } => self.with(unit, |u, _| u.on_observers(side)),
                Token::Caller { unit, slot, generation } => {
                    self.with(unit, |u, set| u.on_called(slot, generation, flags, set));
                }
                Token::Openings => self.openings(),
                Token::Control => control = true,
            }
            // Many busy callers do not make a telegram late. Links wait for the end: what they do at a deadline may
            // not come between them and an event of theirs that was already told.
            if self.earliest.is_some() {
                self.due(Time::now(), false);
            }
        }
        if let Some(earliest) = self.earliest {
            let mut now = Time::now();
            if idle && !self.spin.is_zero() {
                while now < earliest && earliest.since(now) <= self.spin {
                    std::hint::spin_loop();
                    now = Time::now();
                }
            }
            self.due(now, true);
        }
        // Last, so that no event of this turn meets a unit that took another's place.
        if control {
            let _ = rustix::io::read(&*self.bell, &mut [0u8; 8]);
            while let Ok(work) = work.try_recv() {
                work.perform(self);
            }
        }
        self.set.news.ring();
        Ok(())
    }

    /// Calls whoever has a deadline that has come.
    fn due(&mut self, now: Time, links: bool) {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return;
        }
        for unit in 0..self.units.len() {
            let link = matches!(self.units[unit], Some((_, Unit::Link(_))));
            if self.deadlines[unit].is_some_and(|at| at <= now) && (links || !link) {
                self.with(unit, |u, set| u.on_deadline(now, set));
            }
        }
    }

    fn with(&mut self, unit: usize, f: impl FnOnce(&mut Unit, &mut Set)) {
        if let Some(Some((_, u))) = self.units.get_mut(unit) {
            f(u, &mut self.set);
            let deadline = u.deadline();
            self.note_deadline(unit, deadline);
        }
    }

    fn note_deadline(&mut self, unit: usize, deadline: Option<Time>) {
        if self.deadlines[unit] != deadline {
            self.deadlines[unit] = deadline;
            self.earliest = self.deadlines.iter().flatten().min().copied();
        }
    }

    fn openings(&mut self) {
        // Collected first: what a unit does may change the set.
        let mut seen = [(0, 0); 64];
        let mut n = 0;
        let complete = self.set.openings(|unit, side| {
            let room = n < seen.len();
            if room {
                seen[n] = (unit, side);
                n += 1;
            }
            room
        });
        for &(unit, side) in &seen[..n] {
            self.with(unit, |u, set| u.on_opened(side, set));
        }
        if !complete {
            for unit in 0..self.units.len() {
                self.with(unit, |u, set| {
                    for side in 0..u.sides() {
                        u.on_opened(side, set);
                    }
                });
            }
        }
    }

    pub(crate) fn add(&mut self, id: u64, mut unit: Unit) -> Result<(), (PortError, Unit)> {
        let at = self.units.iter().position(Option::is_none).unwrap_or(self.units.len());
        if let Err(e) = unit.attach(&mut self.set, at) {
            return Err((e, unit));
        }
        if at == self.units.len() {
            self.units.push(None);
            self.deadlines.push(None);
        }
        self.units[at] = Some((id, unit));
        self.with(at, |_, _| ());
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Unit> {
        let at = self.position(id)?;
        self.note_deadline(at, None);
        let (_, mut unit) = self.units[at].take()?;
        unit.detach(&mut self.set);
        Some(unit)
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.units.iter().position(|u| u.as_ref().is_some_and(|(i, _)| *i == id))
    }

    /// Hands out one unit by its id.
    pub(crate) fn visit<R>(&mut self, id: u64, f: impl FnOnce(&mut Unit, &mut Set) -> R) -> Option<R> {
        let at = self.position(id)?;
        let mut result = None;
        self.with(at, |unit, set| result = Some(f(unit, set)));
        result
    }
}
