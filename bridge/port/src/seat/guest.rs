//! A core that speaks at another one's line for a while, for example one that replays a recording. The one who sits there
//! goes on beside it, or finds its line closed meanwhile. Freed by the control side only.

use super::{Seat, guard};
use crate::port::Presence;
use crate::set::Set;
use crate::{LineEvent, Station, Time, Tx};

pub(super) struct Guest {
    pub core: Box<dyn Station>,
    /// Nobody else is called meanwhile.
    alone: bool,
    pub deadline: Option<Time>,
    /// It is not called any more, nor asked.
    failed: bool,
}

impl<S: Station + ?Sized> Seat<S> {
    pub(super) fn is_guest_alone(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.alone)
    }

    fn call_guest<R>(&mut self, f: impl FnOnce(&mut dyn Station, &mut Tx) -> R) -> Option<R> {
        let guest = self.guest.as_mut().filter(|guest| !guest.failed)?;
        let (core, tx) = (guest.core.as_mut(), &mut self.tx);
        let result = guard(|| f(core, tx)).ok();
        if result.is_none() {
            (guest.failed, guest.deadline) = (true, None);
        }
        result
    }

    /// As `drive`, of the guest; does nothing without one.
    pub(super) fn drive_guest(&mut self, set: &mut Set, f: impl FnOnce(&mut dyn Station, &mut Tx)) {
        if self.call_guest(f).is_none() {
            return;
        }
        self.flush(set);
        while let Some(signal) = self.call_guest(|core, _| core.take_signal()).flatten() {
            self.signal(&signal, set);
        }
        let deadline = self.call_guest(|core, _| core.deadline()).flatten();
        if let Some(guest) = &mut self.guest {
            guest.deadline = deadline;
        }
    }

    pub(super) fn guest_deadline(&mut self, now: Time, set: &mut Set) {
        if self.guest.as_ref().and_then(|guest| guest.deadline).is_some_and(|at| at <= now) {
            self.greet(set);
            self.drive_guest(set, |core, tx| core.on_deadline(now, tx));
        }
    }

    pub(super) fn take_in(
        &mut self,
        core: Box<dyn Station>,
        alone: bool,
        set: &mut Set,
    ) -> Result<(), Box<dyn Station>> {
        if self.guest.is_some() || self.failed.is_some() {
            return Err(core);
        }
        self.greet(set);
        let now = Time::now();
        if alone {
            self.drive(set, |station, tx| station.on_line(now, LineEvent::Closed, tx));
        }
        self.guest = Some(Guest { core, alone, deadline: None, failed: false });
        if self.port.presence() == Presence::Here {
            self.drive_guest(set, |core, tx| core.on_line(now, LineEvent::Opened, tx));
        } else {
            self.drive_guest(set, |_, _| ());
        }
        Ok(())
    }

    pub(super) fn dismiss(&mut self, set: &mut Set) -> Option<Box<dyn Station>> {
        let guest = self.guest.take()?;
        let event = match self.port.presence() {
            Presence::Here => Some(LineEvent::Opened),
            Presence::Lost => Some(LineEvent::Lost),
            Presence::Leaving | Presence::Away => None,
        };
        if let Some(event) = event.filter(|_| guest.alone) {
            let now = Time::now();
            self.drive(set, |station, tx| station.on_line(now, event, tx));
        }
        Some(guest.core)
    }

    pub(super) fn ask_guest<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut dyn Station) -> R) -> Option<R> {
        let guest = self.guest.as_mut().filter(|guest| !guest.failed);
        let result = guest.map(|guest| f(guest.core.as_mut()));
        self.drive_guest(set, |_, _| ());
        result
    }
}
