//! The cores of a bench, as the plan wants them.

use std::time::Duration;

use hilrig_modbus::{Exchange, Poll, Slave, Timing};
use hilrig_plc::Model;
use hilrig_points::{Plant, Shared, Unit};
use hilrig_port::Time;

use crate::hall::Trouble;
use crate::plan::{MasterPlan, ModelSim, Plan, PollPlan, Seat, SimPlan};

/// Silence that ends a broken frame. Ports of a busy machine and USB adapters hold bytes back for so long, and a paced
/// wire pauses when the machine does. Whole frames do not wait for it.
const TOLERANCE: Duration = Duration::from_millis(80);

pub(super) fn timing(plan: &Plan, seat: Seat) -> Timing {
    let (baud, format) = plan.line_at(seat);
    Timing::new(baud, format).tolerance(TOLERANCE)
}

pub(super) fn slave(plan: &Plan, sim: &SimPlan, seed: u64, now: Time) -> Result<Slave, Trouble> {
    if let Some(served) = &sim.model {
        return model_slave(plan, sim, served, seed, now);
    }
    let mut unit = Unit::new();
    let wrong = |e| Trouble(format!("simulator {}: {e}", sim.name));
    for (table, address, value) in &sim.cells {
        unit.define(table.core(), *address, std::iter::once(*value)).map_err(wrong)?;
    }
    let mut data = Plant::default();
    data.add_unit(sim.unit.unwrap_or(1), unit).map_err(wrong)?;
    Ok(Slave::new(timing(plan, sim.seat), Shared::new(data)))
}

/// A model's port on a line of the rig, with the rig's seed. Its behaviours and faults begin now.
fn model_slave(
    plan: &Plan,
    sim: &SimPlan,
    served: &ModelSim,
    seed: u64,
    now: Time,
) -> Result<Slave, Trouble> {
    let ModelSim { model, port } = served;
    let again;
    let model = if model.seed == seed {
        &**model
    } else {
        again = Model::load_with(&model.path, Some(seed)).map_err(|e| Trouble(e.lines()))?;
        &again
    };
    let mut port = port.clone();
    (port.baud, port.format) = plan.line_at(sim.seat);
    port.tolerance = port.tolerance.max(TOLERANCE);
    let mut data = model.plant();
    data.begin(now);
    Ok(model.slave(&port, &Shared::new(data), now))
}

pub(super) fn poll(master: &MasterPlan, plan: &PollPlan) -> Result<Poll, Trouble> {
    let exchange = Exchange::read(master.unit, plan.table.core(), plan.first, plan.count);
    let exchange = exchange.map_err(|e| Trouble(format!("poll {}.{}: {e}", master.name, plan.name)))?;
    Ok(Poll::new(exchange).every(plan.every).timeout(plan.timeout).retries(plan.retries))
}
