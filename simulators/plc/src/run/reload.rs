//! A run that goes on with a changed model: all that can be made is made before, and the swap is one moment between two
//! frames. Ports stay as they are; a model that wants others has to be started.

use hilrig_modbus::{Slave, TcpSlave};
use hilrig_points::Plant;
use hilrig_port::Time;

use super::{Core, Run, RunError};
use crate::catalogue::Catalogue;
use crate::model::{Model, PortPlan, Role};

/// What came of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    pub points: usize,
    /// Points that were there before, with the same type.
    pub kept: usize,
    /// What the new model says and this run does not do.
    pub warnings: Vec<String>,
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
        let masters = |m: &Model| format!("{:?} {:?} {:?}", m.masters, m.gateways, m.sniffers);
        if masters(&old) != masters(&model) {
            warnings.push(
                "poll lists, gateways and sniffers go on as they were until the run is started again"
                    .to_owned(),
            );
        }
        if format!("{:?}", old.telegrams) != format!("{:?}", model.telegrams) {
            warnings.push("telegrams go on as they were until the run is started again".to_owned());
        }
        for (port, url) in model.ports.iter_mut().zip(old.ports.iter().map(|p| p.url.clone())) {
            port.url = port.url.take().or(url);
        }
        // Whoever goes on as before keeps its plan, so that names and numbers stay those of the cores.
        model.masters.clone_from(&old.masters);
        model.gateways.clone_from(&old.gateways);
        model.sniffers.clone_from(&old.sniffers);
        model.telegrams.clone_from(&old.telegrams);
        let mut plant = model.plant();
        let catalogue = Catalogue::new(&plant);
        let kept = |p: &hilrig_points::Point| {
            self.catalogue().points().iter().any(|q| q.name == p.name && q.kind == p.kind)
        };
        let done = Reloaded {
            points: catalogue.points().len(),
            kept: catalogue.points().iter().filter(|p| kept(p)).count(),
            warnings,
        };
        // The old plant comes back to be freed here.
        let _old: Plant = self.with_plant(|current, now| {
            plant.begin(self.begun);
            plant.adopt(now, current);
            std::mem::replace(current, plant)
        })?;
        for port in self.ports() {
            let faults = model.reply_faults(&port.name, port.framing, Time::now());
            let _old = match &port.core {
                Core::Slave { seat, .. } => {
                    Some(self.shard.with_station::<Slave, _>(seat, |slave, _, _| {
                        slave.refresh();
                        std::mem::replace(slave.faults_mut(), faults)
                    })?)
                }
                Core::TcpSlave { seat, .. } => {
                    Some(self.shard.with_server::<TcpSlave, _>(seat, |slave, _, _| {
                        slave.refresh();
                        std::mem::replace(slave.faults_mut(), faults)
                    })?)
                }
                _ => None,
            };
        }
        *super::lock(&self.catalogue) = std::sync::Arc::new(catalogue);
        *super::lock(&self.model) = std::sync::Arc::new(model);
        Ok(done)
    }
}
