//! The values of the simulators of a bench: cells and points, read and set between two frames.

use std::time::Duration;

use hilrig_points::{Plant, Table, Value};
use hilrig_port::Time;

use super::Bench;
use crate::hall::{Hall, Trouble};

impl<H: Hall> Bench<'_, H> {
    fn with_plant<R: Send>(
        &mut self,
        sim: usize,
        f: impl FnOnce(&mut Plant, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        let plant = self.plants[sim].clone();
        self.hall.between(move |now| plant.with(|plant| f(plant, now)))
    }

    /// What nobody asks for must not pile up until somebody does.
    pub(super) fn keep_up(&mut self) -> Result<(), Trouble> {
        let plants = &self.plants;
        self.hall.between(|now| plants.iter().for_each(|plant| plant.with(|plant| plant.advance(now))))
    }

    /// Numbers of the points of the plan in the models as they are run.
    pub(super) fn find_points(&mut self) -> Result<(), Trouble> {
        for plan in &self.plan.points {
            let id = self.plants[plan.sim].with(|plant| plant.point(&plan.point.name));
            let gone = || {
                let sim = &self.plan.sims[plan.sim].name;
                Trouble(format!("simulator {sim}: its model has no point {} any more", plan.point.name))
            };
            self.points.push(id.ok_or_else(gone)?);
        }
        Ok(())
    }

    pub fn point(&mut self, point: usize) -> Result<Value, Trouble> {
        let id = self.points[point];
        self.with_plant(self.plan.points[point].sim, |plant, now| plant.get(now, id))
    }

    /// Gives a point a value, at once or evenly.
    pub fn set_point(&mut self, point: usize, value: &Value, over: Option<Duration>) -> Result<(), Trouble> {
        let id = self.points[point];
        let to = value.number().unwrap_or_default();
        let set = self.with_plant(self.plan.points[point].sim, |plant, now| match over {
            Some(over) => plant.ramp(now, id, to, over),
            None => plant.set(now, id, value),
        })?;
        set.map_err(|why| Trouble(why.to_string()))
    }

    /// Lets the signal of a point go on.
    pub fn release(&mut self, point: usize) -> Result<(), Trouble> {
        let id = self.points[point];
        self.with_plant(self.plan.points[point].sim, |plant, _| plant.release(id))
    }

    /// A value as it is now, live ones included.
    pub fn cell(&mut self, sim: usize, table: Table, address: u16) -> Result<Option<u16>, Trouble> {
        let Some(unit) = self.plan.sims[sim].unit else { return Ok(None) };
        self.with_plant(sim, |plant, now| {
            let mut raw = [0; 2];
            let read = match table.is_bits() {
                true => plant.read_bits(now, unit, table, address, 1, &mut raw[1..]),
                false => plant.read_registers(now, unit, table, address, 1, &mut raw),
            };
            // What a master may not read is there all the same.
            let hidden = || plant.unit(unit).and_then(|u| u.get(table, address));
            if read.is_ok() { Some(u16::from_be_bytes(raw)) } else { hidden() }
        })
    }

    /// Where there is a point it is written as a master would, so that its limits and triggers hold.
    pub fn set_cell(&mut self, sim: usize, table: Table, address: u16, value: u16) -> Result<bool, Trouble> {
        let Some(unit) = self.plan.sims[sim].unit else { return Ok(false) };
        self.with_plant(sim, |plant, now| {
            let written = plant.point_at(unit, table, address).is_some()
                && match table {
                    Table::Coils => plant.write_bits(now, unit, address, 1, &[value as u8]).is_ok(),
                    Table::HoldingRegisters => {
                        plant.write_registers(now, unit, address, &value.to_be_bytes()).is_ok()
                    }
                    Table::InputRegisters | Table::DiscreteInputs => false,
                };
            written || plant.unit_mut(unit).is_some_and(|u| u.set(table, address, value))
        })
    }
}
