//! What crosses a link beside bytes, by what the two ports are: an application's lines and settings go to the device,
//! a device's lines to the application. Moves no bytes.

use std::time::Duration;

use super::{DIRECTIONS, LineRouting, LinkUnit};
use crate::events::Happened;
use crate::line::{Line, Role};
use crate::port::{DRIVEN, Presence, SENSED};
use crate::seat::guard;
use crate::set::Set;
use crate::{Format, LineSettings, Lines, Signal, TapKind, Time};

impl LinkUnit {
    /// Signals that come beside the bytes.
    pub(crate) fn on_aside(&mut self, side: usize, set: &mut Set) {
        let now = Time::now();
        let mut any = false;
        while let Some(signal) = self.ports[side].line.aside() {
            self.on_signal(side, signal, now, set);
            any = true;
        }
        if any {
            self.flush(side, set);
            self.pump(now, set);
        }
    }

    /// A port's own deadline.
    pub(crate) fn on_port_deadline(&mut self, side: usize, now: Time, set: &mut Set) {
        while let Some(signal) = self.ports[side].on_deadline(now, set) {
            self.on_signal(side, signal, now, set);
        }
        self.flush(side, set);
        self.pump(now, set);
    }

    /// Something other than bytes came from `from`.
    pub(super) fn on_signal(&mut self, from: usize, signal: Signal, now: Time, set: &mut Set) {
        let news = self.ports[from].learn(&signal);
        let lines = self.ports[from].lines();
        match signal {
            Signal::Lines(_) if news => {
                self.tell(from, Happened::Lines(lines), now, set);
                self.tap_event(TapKind::Lines, from, now, 0, set);
            }
            Signal::Break(true) => {
                self.tell(from, Happened::Break, now, set);
                self.tap_event(TapKind::BreakIn, from, now, 0, set);
            }
            Signal::Error(error) => {
                self.tell(from, Happened::Error(error), now, set);
                self.tap_event(TapKind::Error(error), from, now, 0, set);
            }
            Signal::Settings(settings) => self.tell(from, Happened::Settings(settings), now, set),
            Signal::Lines(_) | Signal::Break(false) | Signal::Purge(_) | Signal::Unplug(_) => {}
        }
        if let Some(conduit) = &mut self.conduit
            && !self.failed
        {
            if let Err(why) = guard(|| conduit.signal(now, DIRECTIONS[from], signal)) {
                return self.fail(&why, set);
            }
            // These keep their place among the bytes and come out again.
            if matches!(signal, Signal::Break(_) | Signal::Error(_)) {
                return;
            }
        }
        self.route(from, signal, now, set);
    }

    /// Something that the conduit sends to the receiver.
    pub(super) fn apply_from_conduit(&mut self, from: usize, signal: Signal, now: Time, set: &mut Set) {
        match signal {
            Signal::Unplug(back) => self.unplug(1 - from, back, now, set),
            signal => self.route(from, signal, now, set),
        }
    }

    fn unplug(&mut self, side: usize, back: Duration, now: Time, set: &mut Set) {
        let reason = format!("a fault has unplugged it; it is back after {back:?}");
        if self.ports[side].lose(set, reason) == crate::port::Change::Lost {
            self.tell(side, Happened::Unplugged(back), now, set);
            self.lost(side, now, set);
        }
    }

    /// Passes a signal of `from` on to the other side, and answers an application what came of it.
    fn route(&mut self, from: usize, signal: Signal, now: Time, set: &mut Set) {
        let to = 1 - from;
        let crossing = self.crossing(from, signal);
        let before = self.ports[to].lines();
        let result = crossing.and_then(|signal| self.ports[to].apply(&signal));
        if crossing == Some(Signal::Break(true)) {
            self.tap_event(TapKind::BreakOut, to, now, 0, set);
        }
        if self.ports[to].lines() != before {
            self.tap_event(TapKind::Lines, to, now, 0, set);
        }
        if crossing.is_some() {
            self.flush(to, set);
        }
        if self.ports[from].role() == Role::App {
            // What cannot be done is answered as done: programs give up without an answer.
            let device = self.ports[to].role() == Role::Device;
            let answer = result.filter(|_| device).unwrap_or(signal);
            self.ports[from].line.answer(&answer);
            self.flush(from, set);
        }
    }

    /// What a signal of `from` is at the other side.
    fn crossing(&self, from: usize, signal: Signal) -> Option<Signal> {
        let (here, there) = (self.ports[from].role(), self.ports[1 - from].role());
        match signal {
            _ if there == Role::Plain => None,
            Signal::Lines(_) if self.routing == LineRouting::Off => None,
            Signal::Lines(lines) => match (here, there) {
                (Role::App, Role::Device) => Some(Signal::Lines(lines & DRIVEN)),
                (Role::Device, Role::App) => Some(Signal::Lines(lines & SENSED)),
                (Role::App, Role::App) => Some(Signal::Lines(lines.through_null_modem())),
                (Role::Device, Role::Device) if self.routing == LineRouting::Cross => {
                    let crossed = Lines::NONE
                        .with(Lines::RTS, lines.has(Lines::CTS))
                        .with(Lines::DTR, lines.has(Lines::DSR));
                    Some(Signal::Lines(crossed))
                }
                _ => None,
            },
            Signal::Break(_) => Some(signal),
            Signal::Error(_) => (there == Role::App).then_some(signal),
            Signal::Settings(settings) if here == Role::App && there == Role::Device && settings.baud > 0 => {
                Some(Signal::Settings(self.as_far_as_seen(from, settings)))
            }
            Signal::Purge(_) => (here == Role::App && there == Role::Device).then_some(signal),
            Signal::Settings(_) | Signal::Unplug(_) => None,
        }
    }

    /// Word length and parity that a virtual port hides stay as the device has them.
    fn as_far_as_seen(&self, from: usize, settings: LineSettings) -> LineSettings {
        match (&self.ports[from].line, self.ports[1 - from].settings) {
            (Line::Pty(line), Some(device)) if line.hides_format() => {
                let format = Format { stop_bits: settings.format.stop_bits, ..device.format };
                LineSettings { format, ..settings }
            }
            _ => settings,
        }
    }

    /// Somebody has come to `side`: each end is shown what the other one is like.
    pub(super) fn greet(&mut self, side: usize, set: &mut Set) {
        let now = Time::now();
        for (side, other) in [(side, 1 - side), (1 - side, side)] {
            if self.ports[side].role() != Role::App || self.routing == LineRouting::Off {
                continue;
            }
            let (driven, sensed) = (self.ports[other].driven, self.ports[other].sensed);
            let settings = self.ports[other].settings;
            let shown = match self.ports[other].role() {
                Role::Device => {
                    let line = &mut self.ports[side].line;
                    line.answer(&Signal::Lines(driven));
                    if let Some(settings) = settings {
                        line.answer(&Signal::Settings(settings));
                    }
                    sensed
                }
                Role::App => driven.through_null_modem(),
                Role::Plain => Lines::NONE,
            };
            self.ports[side].apply(&Signal::Lines(shown));
            self.flush(side, set);
        }
        // A device that is back is set as the application wants it.
        let other = 1 - side;
        if self.ports[side].role() == Role::Device && self.ports[other].role() == Role::App {
            if let Some(settings) = self.ports[other].settings {
                self.route(other, Signal::Settings(settings), now, set);
            }
            if self.ports[other].drives {
                self.route(other, Signal::Lines(self.ports[other].driven), now, set);
            }
        }
    }

    /// Nobody drives the lines of `side` any more.
    pub(super) fn hang_up(&mut self, side: usize, set: &mut Set) {
        if std::mem::take(&mut self.ports[side].breaking) {
            let now = Time::now();
            self.on_signal(side, Signal::Break(false), now, set);
            self.pump(now, set);
        }
        let other = self.ports[1 - side].role();
        let kept = self.ports[side].presence() == Presence::Away && self.ports[side].line.keeps_lines();
        // A device keeps its lines: dropping DTR resets many a board.
        if other == Role::App && !kept && self.routing != LineRouting::Off {
            let now = Time::now();
            let before = self.ports[1 - side].lines();
            self.ports[1 - side].apply(&Signal::Lines(Lines::NONE));
            if self.ports[1 - side].lines() != before {
                self.tap_event(TapKind::Lines, 1 - side, now, 0, set);
            }
            self.flush(1 - side, set);
        }
    }
}
