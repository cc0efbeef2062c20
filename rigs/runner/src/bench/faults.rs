//! Faults of a bench: those of links, and those of the replies of models.

use hilrig_modbus::faults::ReplyFaults;
use hilrig_modbus::{Slave, TcpSlave};
use hilrig_plc::Role;
use hilrig_port::Time;
use hilrig_wire::{LinkCore, RuleReport};

use super::{Bench, Placed};
use crate::hall::{Hall, Trouble};
use crate::plan::FaultPlan;

/// What a fault of replies did on all ports of its simulator.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Firings {
    /// Replies that it could have acted on.
    pub seen: u64,
    pub fired: u64,
}

impl<H: Hall> Bench<'_, H> {
    pub fn arm(&mut self, fault: usize) -> Result<(), Trouble> {
        let plan = &self.plan.faults[fault];
        let rule = LinkCore::prepare(&plan.rule).map_err(|e| Trouble(e.to_string()))?;
        // What comes back is freed here, not on the shard.
        let armed = self.core(plan, move |core, now| core.arm(now, rule))?;
        let armed =
            armed.map_err(|_| Trouble(format!("fault {}: too many faults on this link", plan.rule.id)))?;
        self.rules.push((plan.link, armed.number, fault));
        Ok(())
    }

    pub fn disarm(&mut self, fault: &FaultPlan) -> Result<(), Trouble> {
        self.core(fault, |core, _| core.clear(&fault.rule.id)).map(drop)
    }

    pub fn fault(&mut self, fault: &FaultPlan) -> Result<Option<RuleReport>, Trouble> {
        let mut reports = self.core(fault, |core, _| core.report())?;
        Ok(reports.iter().position(|r| r.id == fault.rule.id).map(|i| reports.swap_remove(i)))
    }

    /// Asks what stands in the link of a fault.
    fn core<R: Send>(
        &mut self,
        fault: &FaultPlan,
        f: impl FnOnce(&mut LinkCore, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        self.hall.with_core(&self.links[fault.link], f)
    }

    /// Runs `f` on the faults of each station of a simulator that answers.
    fn each_faults<R: Send>(
        &mut self,
        sim: usize,
        mut f: impl FnMut(&mut ReplyFaults, Time) -> R + Send,
    ) -> Result<Vec<R>, Trouble> {
        let mut answers = Vec::new();
        for (plan, station) in self.plan.stations.iter().zip(&self.stations) {
            let role = plan.port.as_ref().map(|port| port.role);
            if plan.sim != sim || role != Some(Role::Slave) {
                continue;
            }
            let f = &mut f;
            answers.push(match &station.place {
                Placed::Line(seat) => {
                    self.hall.with(seat, |slave: &mut Slave, now| f(slave.faults_mut(), now))?
                }
                Placed::Server(server) => {
                    self.hall.with_server(server, |slave: &mut TcpSlave, now| f(slave.faults_mut(), now))?
                }
            });
        }
        Ok(answers)
    }

    pub fn arm_reply(&mut self, fault: usize) -> Result<(), Trouble> {
        let plan = &self.plan.reply_faults[fault];
        let armed = self.each_faults(plan.sim, |faults, now| faults.arm_by_name(now, &plan.name))?;
        match armed.contains(&true) {
            true => Ok(()),
            false => Err(Trouble(format!("no port of this rig has the fault {}", plan.name))),
        }
    }

    pub fn disarm_reply(&mut self, fault: usize) -> Result<(), Trouble> {
        let plan = &self.plan.reply_faults[fault];
        self.each_faults(plan.sim, |faults, _| faults.clear(&plan.name)).map(drop)
    }

    pub fn reply_fault(&mut self, fault: usize) -> Result<Firings, Trouble> {
        let plan = &self.plan.reply_faults[fault];
        let reports = self.each_faults(plan.sim, |faults, _| faults.report())?;
        let ours = reports.iter().flatten().filter(|report| report.name == plan.name);
        Ok(ours.fold(Firings::default(), |sum, report| Firings {
            seen: sum.seen + report.seen,
            fired: sum.fired + report.fired,
        }))
    }
}
