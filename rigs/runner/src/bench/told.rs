//! What the log of a run is told of a bench: what each station sent, faults, and what became of lines.

use hilrig_modbus::{FrameKind, FrameReader, Framing, PollResult, Source};
use hilrig_port::{Happened, Time};

use super::Bench;
use super::made::head;
use crate::hall::{Hall, Joined};
use crate::log::{Log, Role, What, hex, line_event_name, outcome_name};
use crate::plan::{MasterPlan, Plan, Seat};
use crate::watch::{Seen, Watch};

/// Who has something to tell.
struct Told<'a> {
    plan: &'a Plan,
    log: &'a Log<'a>,
    of: &'a str,
    role: Role,
    seat: Seat,
    framing: Option<Framing>,
    line: Option<usize>,
}

impl Told<'_> {
    fn tell(&self, at: Time, seen: &Seen, text: &mut String) {
        let Self { of, role, line, .. } = *self;
        if let Some(event) = seen.line {
            let port = &self.plan.seat_name(self.seat);
            return self.log.add(at, What::Port { of, port, event: line_event_name(event) });
        }
        let bytes = seen.sent();
        hex(bytes, text);
        let (unit, function) = head(self.framing, bytes);
        self.log.add(at, What::Sent { of, role, line, unit, function, hex: text });
    }
}

impl<H: Hall> Bench<'_, H> {
    /// Takes into the log what has happened, results of the masters aside.
    pub(super) fn drain_log(&mut self) {
        if !self.log.is_on() {
            return;
        }
        let (plan, log) = (self.plan, self.log);
        let mut text = String::new();
        for (plan_of, station) in plan.stations.iter().zip(&mut self.stations) {
            let behind = plan_of.behind.as_ref();
            while let Some((at, seen)) = station.watch.as_mut().and_then(Watch::next) {
                // What a server sends to its line it sends as a master.
                let (seat, framing, role) = match behind.filter(|_| seen.behind) {
                    Some((seat, port)) => (*seat, Some(port.framing), Role::Master),
                    None => (plan_of.seat, station.framing, Role::Simulator),
                };
                let told =
                    Told { plan, log, of: &plan_of.name, role, seat, framing, line: self.lines[seat.port] };
                told.tell(at, &seen, &mut text);
            }
        }
        for (plan_of, master) in plan.masters.iter().zip(&mut self.masters) {
            let (seat, framing) = (plan_of.seat, Some(master.framing));
            let (role, line) = (Role::Master, self.lines[seat.port]);
            while let Some((at, seen)) = master.watch.as_mut().and_then(Watch::next) {
                Told { plan, log, of: &plan_of.name, role, seat, framing, line }.tell(at, &seen, &mut text);
            }
        }
        for (plan, station) in plan.stations.iter().zip(&mut self.stations) {
            while let Some(record) = station.frames.as_mut().and_then(FrameReader::pop) {
                let FrameKind::Fault { rule } = record.kind else { continue };
                let known = station.rules.iter().find(|(number, _)| *number == rule);
                let Some((_, of)) = known else { continue };
                log.add(record.at, What::Fault { of, on: &plan.name, to: "", position: None, bytes: None });
            }
        }
        while let Some(event) = self.hall.event() {
            let Some(l) = self.links.iter().position(|link| link.id() == event.link) else { continue };
            let (name, to) = (&plan.links[l].name, plan.seat_name(plan.links[l].ends[event.side]));
            match event.what {
                Happened::Fired(note) => {
                    let rule = self.rules.iter().find(|(link, number, _)| (*link, *number) == (l, note.rule));
                    let Some((_, _, fault)) = rule else { continue };
                    let (position, bytes) = (Some(note.position), Some(note.bytes));
                    let of = &plan.faults[*fault].rule.id;
                    log.add(note.at, What::Fault { of, on: name, to: &to, position, bytes });
                }
                Happened::Lost | Happened::Unplugged(_) => {
                    log.add(event.at, What::Port { of: name, port: &to, event: "lost" });
                }
                _ => {}
            }
        }
    }
}

pub(super) fn log_result(log: &Log<'_>, master: &MasterPlan, result: &PollResult) {
    if !log.is_on() {
        return;
    }
    let of = match result.source {
        Source::Poll(p) => format!("{}.{}", master.name, master.polls[p].name),
        Source::Once(_) => master.name.clone(),
    };
    let (outcome, exception) = outcome_name(result);
    let values: Vec<u16> = result.values.iter().collect();
    let attempts = result.attempts;
    log.add(result.at, What::Result { of: &of, outcome, exception, attempts, values: &values });
}
