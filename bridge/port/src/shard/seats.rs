//! The control side of the ends of lines at which cores sit, of stations and behind servers: their taps, ports that come
//! back, and guests.

use std::any::Any;

use super::{ServerRef, Shard, StationRef, answered};
use crate::link::TapPoints;
use crate::seat::End;
use crate::set::Set;
use crate::{OpenPort, PortError, Station, Tap, Time};

/// What the end of a line may be given beside its core.
#[derive(Debug, Default)]
pub struct SeatOptions {
    /// Who records what passes, from the first byte on. All is of side 0: `In` came from the line, `Out` went to it.
    pub tap: Option<Tap>,
    pub tap_points: TapPoints,
    /// Somebody brings the port back when it is lost; until then it counts as waiting.
    pub returns: bool,
}

/// The end of a line at which a core sits.
#[derive(Debug, Clone)]
pub struct SeatRef {
    id: u64,
    name: String,
}

impl SeatRef {
    /// What events call it.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl StationRef {
    pub fn seat(&self) -> SeatRef {
        SeatRef { id: self.id, name: self.name.clone() }
    }
}

impl ServerRef {
    /// The end of the line behind it, if it has one.
    pub fn seat(&self) -> Option<SeatRef> {
        self.line.as_ref().map(|_| SeatRef { id: self.id, name: self.name.clone() })
    }
}

impl Shard {
    fn at_end<R: Send>(
        &self,
        s: &SeatRef,
        f: impl FnOnce(&mut dyn End, &mut Set) -> R + Send,
    ) -> Result<R, PortError> {
        let asked = self.call(|engine| engine.visit(s.id, |unit, set| unit.end(set, f)))?;
        asked.flatten().ok_or_else(|| PortError::Gone { port: s.name.clone() })
    }

    /// Changes who records a line; answers the tap it had.
    pub fn set_seat_tap(
        &self,
        s: &SeatRef,
        tap: Option<Tap>,
        points: TapPoints,
    ) -> Result<Option<Tap>, PortError> {
        self.at_end(s, |end, _| end.set_tap(tap, points))
    }

    /// Puts an open port in the place of one that was lost. Counters go on, and so does the core, which is told.
    pub fn replace_seat_port(&self, s: &SeatRef, port: OpenPort) -> Result<(), PortError> {
        let parts = port.into_parts();
        // Whichever line is left is closed here.
        let (done, _line) = self.at_end(s, |end, set| end.replace(parts, set))?;
        done
    }

    /// Pulls the cable: closes the port, as if its device had gone.
    pub fn lose_seat_port(&self, s: &SeatRef, reason: &str) -> Result<(), PortError> {
        let reason = reason.to_owned();
        self.at_end(s, |end, set| end.pull(reason, set)).map(drop)
    }

    /// Lets another core speak at a line until it is dismissed, and hear what comes. `alone`: to the one who sits there the
    /// line is closed meanwhile; else both hear all, and what they say goes out in the order in which they say it.
    pub fn seat_guest(&self, s: &SeatRef, guest: Box<dyn Station>, alone: bool) -> Result<(), PortError> {
        // One that has no place comes back to be freed here.
        let seated = self.at_end(s, |end, set| end.seat_guest(guest, alone, set))?;
        seated.map_err(|_guest| PortError::Guest { port: s.name.clone() })
    }

    /// Runs `f` on the guest, on the shard between two messages, and waits for its answer.
    pub fn with_guest<C: Station, R: Send>(
        &self,
        s: &SeatRef,
        f: impl FnOnce(&mut C, Time) -> R + Send,
    ) -> Result<R, PortError> {
        let mut answer = None;
        let there = self.at_end(s, |end, set| {
            let (mut f, mut there) = (Some(f), false);
            let mut visit = |guest: &mut dyn Station| {
                there = true;
                let guest: &mut dyn Any = guest;
                answer = guest.downcast_mut::<C>().zip(f.take()).map(|(guest, f)| f(guest, Time::now()));
            };
            end.with_guest(&mut visit, set);
            there
        })?;
        answered(there.then_some(answer), &s.name, std::any::type_name::<C>())
    }

    /// Takes the guest out; the one who sits there has the line again.
    pub fn dismiss_guest(&self, s: &SeatRef) -> Result<Option<Box<dyn Station>>, PortError> {
        self.at_end(s, |end, set| end.dismiss_guest(set))
    }
}
