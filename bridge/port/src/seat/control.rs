//! What the control side does to the end of a line between two messages: another port, another tap, a guest. What is over
//! goes back to be freed there.

use super::Seat;
use crate::line::Line;
use crate::link::Tapping;
use crate::open::Parts;
use crate::port::{Change, Presence};
use crate::set::Set;
use crate::{PortError, Station, Tap, TapKind, TapPoints};

/// A seat, whoever sits there.
pub(crate) trait End {
    fn set_tap(&mut self, tap: Option<Tap>, points: TapPoints) -> Option<Tap>;

    /// Puts an open port in the place of one that was lost; the old line is the caller's to close.
    fn replace(&mut self, parts: Parts, set: &mut Set) -> (Result<(), PortError>, Line);

    /// Pulls the cable; the line is the caller's to close.
    fn pull(&mut self, reason: String, set: &mut Set) -> Line;

    /// Hands the guest back if there is no place for it.
    fn seat_guest(
        &mut self,
        core: Box<dyn Station>,
        alone: bool,
        set: &mut Set,
    ) -> Result<(), Box<dyn Station>>;

    fn dismiss_guest(&mut self, set: &mut Set) -> Option<Box<dyn Station>>;

    /// Lets the caller work on the guest, if there is one.
    fn with_guest(&mut self, f: &mut dyn FnMut(&mut dyn Station), set: &mut Set);
}

impl<S: Station + ?Sized> End for Seat<S> {
    fn set_tap(&mut self, tap: Option<Tap>, points: TapPoints) -> Option<Tap> {
        std::mem::replace(&mut self.tap, Tapping::new(tap, points)).tap
    }

    fn replace(&mut self, parts: Parts, set: &mut Set) -> (Result<(), PortError>, Line) {
        if self.failed.is_some() {
            return (Err(PortError::Gone { port: self.port.name.clone() }), parts.line);
        }
        if self.port.presence() != Presence::Lost {
            self.tell(Change::Lost, set);
        }
        let (done, old) = self.port.replace(parts, set);
        if done.is_ok() {
            self.note(TapKind::Back, 0, set);
            self.begin(set);
        }
        (done, old)
    }

    fn pull(&mut self, reason: String, set: &mut Set) -> Line {
        let (change, line) = self.port.pull(set, reason);
        self.on_change(change, set);
        line
    }

    fn seat_guest(
        &mut self,
        core: Box<dyn Station>,
        alone: bool,
        set: &mut Set,
    ) -> Result<(), Box<dyn Station>> {
        self.take_in(core, alone, set)
    }

    fn dismiss_guest(&mut self, set: &mut Set) -> Option<Box<dyn Station>> {
        self.dismiss(set)
    }

    fn with_guest(&mut self, f: &mut dyn FnMut(&mut dyn Station), set: &mut Set) {
        self.ask_guest(set, f);
    }
}
