//! A run that goes on with a changed model: all that can be made is made before, and the swap is one moment between two
//! frames, of all ports together. Ports stay as they are; a model that wants others has to be started.

use std::sync::Arc;

use hilrig_modbus::faults::ReplyFaults;
use hilrig_modbus::{Kept, Master, Poll, Slave, TcpSlave};
use hilrig_points::Plant;
use hilrig_port::{Time, Visits};
use hilrig_telegram::TelegramStation;

use super::{Core, PortRun, Run, RunError};
use crate::catalogue::Catalogue;
use crate::model::{Model, PortPlan, Role};

/// What came of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    pub points: usize,
    /// Points that were there before, with the same type.
    pub kept: usize,
    /// Entries of poll lists that go on as they were, and those that are new or others now.
    pub polls_kept: usize,
    pub polls_changed: usize,
    /// What the new model says and this run does not do.
    pub warnings: Vec<String>,
}

impl Reloaded {
    /// For people.
    pub fn sentence(&self) -> String {
        let Self { points, kept, polls_kept, polls_changed, .. } = self;
        let polls = match polls_kept + polls_changed {
            0 => String::new(),
            all => format!("; {all} polls, {polls_kept} of them go on as they were"),
        };
        format!("{points} points, {kept} of them kept their values{polls}")
    }
}

/// What makes a port another one.
fn same_port(a: &PortPlan, b: &PortPlan) -> bool {
    (&a.name, a.framing, a.baud, a.format, a.role) == (&b.name, b.framing, b.baud, b.format, b.role)
        && a.units == b.units
        // Where the model says no place, somebody else has.
        && (a.url == b.url || b.url.is_none())
}

impl Run {
    /// Goes on with another model, whose points keep the values of those with the same name and type.
    ///
    /// # Errors
    /// It has other ports, so that this run cannot become it. Nothing is changed then.
    pub fn reload(&self, mut model: Model) -> Result<Reloaded, RunError> {
        let old = self.model();
        let refused = |why: String| RunError::Refused { what: "reload".to_owned(), why };
        // A model without a port is served on the one it was given.
        if model.ports.is_empty() && old.ports.iter().all(|p| p.role == Role::Slave) {
            model.ports.clone_from(&old.ports);
        }
        let other = model.ports.len() != old.ports.len()
            || !old.ports.iter().zip(&model.ports).all(|(a, b)| same_port(a, b));
        if other {
            return Err(refused(
                "the ports are others now, or others sit on them; stop the run and start it again".to_owned(),
            ));
        }
        let mut warnings = Vec::new();
        // Sniffers keep what they have learnt, and gateways their callers.
        if (&old.gateways, &old.sniffers) != (&model.gateways, &model.sniffers) {
            warnings
                .push("gateways and sniffers go on as they were until the run is started again".to_owned());
        }
        for (port, url) in model.ports.iter_mut().zip(old.ports.iter().map(|p| p.url.clone())) {
            port.url = port.url.take().or(url);
        }
        model.gateways.clone_from(&old.gateways);
        model.sniffers.clone_from(&old.sniffers);
        let mut plant: Plant = model.plant();
        let catalogue = Catalogue::new(&plant);
        let kept = |p: &hilrig_points::Point| {
            self.catalogue().points().iter().any(|q| q.name == p.name && q.kind == p.kind)
        };
        let mut done = Reloaded {
            points: catalogue.points().len(),
            kept: catalogue.points().iter().filter(|p| kept(p)).count(),
            warnings,
            ..Reloaded::default()
        };
        let now = Time::now();
        let mut changes: Vec<(Arc<PortRun>, Change)> = Vec::new();
        for port in self.ports() {
            if let Some(change) = self.change(&port, &old, &model, now) {
                if let Change::Polls(_, kept) = &change {
                    let same = kept.iter().filter(|kept| matches!(kept, Kept::Same(_))).count();
                    (done.polls_kept, done.polls_changed) =
                        (done.polls_kept + same, done.polls_changed + kept.len() - same);
                }
                changes.push((port, change));
            }
        }
        // What was there before comes back to be freed here.
        let _old = self.shard.at_once(|visits| {
            plant.begin(self.begun);
            self.plant.with(|current| {
                plant.adopt(visits.now, current);
                std::mem::swap(current, &mut plant);
            });
            changes.iter_mut().for_each(|(port, change)| change.make(port, visits));
            (plant, changes)
        })?;
        *super::lock(&self.catalogue) = Arc::new(catalogue);
        *super::lock(&self.model) = Arc::new(model);
        Ok(done)
    }

    /// What the core at a port is to get.
    fn change(&self, port: &PortRun, old: &Model, new: &Model, now: Time) -> Option<Change> {
        let plan = || new.ports.iter().find(|plan| plan.name == port.name);
        Some(match (&port.core, port.role) {
            (Core::Slave { .. } | Core::TcpSlave { .. }, _) => {
                let of_file = old.faults.iter().map(|rule| rule.name().to_owned()).collect();
                Change::Faults(new.reply_faults(&port.name, port.framing, now), of_file)
            }
            (Core::Master { .. }, Role::Master(i)) => {
                let (old, new) = (&old.masters.get(i)?.plan, &new.masters.get(i)?.plan);
                let polls = new.polls.iter().map(|(_, poll)| poll.clone());
                let (master, _) = Master::new(plan()?.timing(), polls, 1);
                Change::Polls(Box::new(master.turnaround(new.turnaround)), kept(&old.polls, &new.polls))
            }
            (Core::Telegram { .. }, Role::Telegram(i)) => {
                let (old, new) = (&old.telegrams.get(i)?.plan, &new.telegrams.get(i)?.plan);
                // Bound to the points of the new model, whether it says something new or not.
                let station = TelegramStation::new(new.clone(), self.plant.clone());
                Change::Telegrams(Box::new(station), old.travels_as(new))
            }
            _ => return None,
        })
    }
}

/// What changes at a port; afterwards, what was there before.
enum Change {
    /// With the names of those that the old file had.
    Faults(ReplyFaults, Vec<String>),
    Polls(Box<Master>, Vec<Kept>),
    Telegrams(Box<TelegramStation>, bool),
}

impl Change {
    /// On the shard.
    fn make(&mut self, port: &PortRun, visits: &mut Visits<'_>) {
        let now = visits.now;
        match (self, &port.core) {
            (Self::Faults(new, of_file), Core::Slave { seat, .. }) => {
                visits.station(seat, |slave: &mut Slave, _| {
                    slave.refresh();
                    take(slave.faults_mut(), new, of_file);
                });
            }
            (Self::Faults(new, of_file), Core::TcpSlave { seat, .. }) => {
                visits.server(seat, |slave: &mut TcpSlave, _| {
                    slave.refresh();
                    take(slave.faults_mut(), new, of_file);
                });
            }
            (Self::Polls(new, kept), Core::Master { seat, .. }) => {
                visits.station(seat, |master: &mut Master, _| master.take_polls(now, new, kept));
            }
            (Self::Telegrams(new, alike), Core::Telegram { seat, .. }) => {
                visits.station(seat, |station: &mut TelegramStation, _| station.reload(now, new, *alike));
            }
            _ => {}
        }
    }
}

/// What was armed by hand stays.
fn take(faults: &mut ReplyFaults, new: &mut ReplyFaults, of_file: &[String]) {
    std::mem::swap(faults, new);
    faults.adopt(new, |name| !of_file.iter().any(|known| known == name));
}

/// Which entry of the old list each of the new one was.
fn kept(old: &[(String, Poll)], new: &[(String, Poll)]) -> Vec<Kept> {
    let which = |(name, poll): &(String, Poll)| match old.iter().position(|(known, _)| known == name) {
        Some(at) if old[at].1 == *poll => Kept::Same(at),
        Some(at) => Kept::Changed(at),
        None => Kept::New,
    };
    new.iter().map(which).collect()
}
