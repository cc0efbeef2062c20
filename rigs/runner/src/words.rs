//! A checked rig in words, as progress, results and reports show it.

use hilrig_files::show_time;
use hilrig_wire::{Effect, Way};

use crate::compare::shown;
use crate::plan::{Action, FaultPlan, FaultRef, Plan, Subject};

impl Plan {
    /// Puts each step in words. Only for a plan without problems: it follows every index.
    pub(crate) fn describe_steps(&mut self) {
        for i in 0..self.steps.len() {
            self.steps[i].text = self.describe(&self.steps[i].action);
        }
    }

    /// The step in words, as results and progress show it.
    fn describe(&self, action: &Action) -> String {
        match action {
            Action::Wait(time) => show_time(*time),
            Action::Expect { subject, test, within } => {
                format!("{} {test} within {}", self.subject_text(*subject), show_time(*within))
            }
            Action::Assert { subject, test } => format!("{} {test}", self.subject_text(*subject)),
            Action::Inject { fault } => {
                let FaultPlan { link, rule, .. } = &self.faults[*fault];
                let link = &self.links[*link];
                let ends = link.ends.map(|seat| self.seat_name(seat));
                let way = match rule.direction {
                    Way::AToB => format!("from {} to {}", ends[0], ends[1]),
                    Way::BToA => format!("from {} to {}", ends[1], ends[0]),
                    Way::Both => "both ways".to_owned(),
                };
                let count = match rule.when.count {
                    None => String::new(),
                    Some(1) => ", once".to_owned(),
                    Some(n) => format!(", at most {n} times"),
                };
                format!("{}: {} {way} on link {}{count}", rule.id, effect_text(&rule.effect), link.name)
            }
            Action::Clear { fault } => self.fault_name(*fault).to_owned(),
            Action::Arm { fault } => {
                let fault = &self.reply_faults[*fault];
                format!("{} of {}", fault.name, self.sims[fault.sim].name)
            }
            Action::Measure(measure) => {
                let master = &self.masters[measure.master];
                format!(
                    "{} round trips of {}.{}",
                    measure.count, master.name, master.polls[measure.poll].name
                )
            }
            Action::SetSim { sim, table, address, value } => {
                format!("{} {} {address} to {value}", self.sims[*sim].name, table.key())
            }
            Action::SetPoint { point, value, over } => {
                let over = over.map_or(String::new(), |over| format!(" over {}", show_time(over)));
                format!("{} to {}{over}", self.point_name(*point), shown(value))
            }
            Action::Release { point } => self.point_name(*point),
            Action::SetMaster { master, what, .. } => {
                format!("{what} through {}", self.masters[*master].name)
            }
        }
    }

    /// SIM UNIT.POINT
    fn point_name(&self, point: usize) -> String {
        let point = &self.points[point];
        format!("{} {}", self.sims[point.sim].name, point.point.name)
    }

    pub(crate) fn fault_name(&self, fault: FaultRef) -> &str {
        match fault {
            FaultRef::Link(fault) => &self.faults[fault].rule.id,
            FaultRef::Reply(fault) => &self.reply_faults[fault].name,
        }
    }

    pub(crate) fn subject_text(&self, subject: Subject) -> String {
        match subject {
            Subject::Polled { master, poll, address, point } => {
                let master = &self.masters[master];
                let poll = &master.polls[poll];
                let value = match (point, poll.read) {
                    (Some(point), _) => self.points[point].point.name.clone(),
                    (None, Some((table, ..))) => format!("{} {address}", table.key()),
                    (None, None) => address.to_string(),
                };
                format!("{}.{} {value}", master.name, poll.name)
            }
            Subject::Point { point } => self.point_name(point),
            Subject::Counted { master, poll, count } => {
                let master = &self.masters[master];
                let poll = poll.map_or(String::new(), |p| format!(".{}", master.polls[p].name));
                format!("{} of {}{poll}", count.name(), master.name)
            }
            Subject::Simulated { sim, table, address } => {
                format!("{} {} {address}", self.sims[sim].name, table.key())
            }
            Subject::Fired { fault } => format!("firings of {}", self.fault_name(fault)),
            Subject::BytesLost { link: None } => "bytes lost outside of faults".to_owned(),
            Subject::BytesLost { link: Some(link) } => {
                format!("bytes lost on link {} outside of faults", self.links[link].name)
            }
        }
    }
}

/// An effect as the file writes it.
fn effect_text(effect: &Effect) -> String {
    serde_json::to_value(effect).map_or(String::new(), |value| match value {
        serde_json::Value::String(name) => name,
        other => other.to_string(),
    })
}
