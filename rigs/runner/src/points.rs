//! Points of models in the steps of a rig: finds them by name, and checks what they are compared with and given.

use std::time::Duration;

use hilrig_files::At;
use hilrig_modbus::Exchange;
use hilrig_points::{Access, Plant, Point, PointId, Table, Type, Value};
use hilrig_port::Time;

use crate::check::Check;
use crate::compare::{number, shown};
use crate::file::{Release, Set};
use crate::names::did_you_mean;
use crate::plan::{Action, PointPlan, SimPlan, Subject};

/// What it is, for people who took it for something else.
fn what(point: &Point) -> String {
    let kind = match point.kind {
        Type::Bool => "true or false".to_owned(),
        Type::String => "text".to_owned(),
        _ => "a number".to_owned(),
    };
    let measure = if point.measure.is_empty() { String::new() } else { format!(" in {}", point.measure) };
    format!("`{}` is {kind}{measure} ({} at {})", point.name, point.kind.name(), point.place())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "true or false",
        Value::Text(_) => "text",
        _ => "a number",
    }
}

impl Check<'_> {
    fn plant_of(sim: &SimPlan) -> Option<&Plant> {
        sim.model.as_ref().map(|model| &model.plant)
    }

    /// Finds a point in a simulator, or in the only one that has it.
    pub fn point(&mut self, sim: Option<&At<String>>, at: &At<String>) -> Option<usize> {
        let only = match sim {
            Some(name) => Some(self.sim_named(name)?),
            None => None,
        };
        if let Some((sim, name)) = only.zip(sim) {
            let sim = &self.plan.sims[sim];
            if sim.model.is_none() {
                if !sim.broken {
                    let message = format!("`{}` has no points", name.value);
                    self.problems.add(
                        &at.span,
                        message,
                        "it has no model; write holding = ... or coils = ...",
                    );
                }
                return None;
            }
        }
        let sims = self.plan.sims.iter().enumerate().filter(|(i, _)| only.is_none_or(|only| only == *i));
        let models: Vec<(usize, &SimPlan, &Plant)> =
            sims.filter_map(|(i, sim)| Some((i, sim, Self::plant_of(sim)?))).collect();
        let found: Vec<(usize, &str, PointId)> = models
            .iter()
            .filter_map(|(i, sim, plant)| Some((*i, sim.name.as_str(), plant.point(&at.value)?)))
            .collect();
        match found[..] {
            [(sim, _, id)] => {
                let found = models.iter().find(|(i, ..)| *i == sim);
                let point = found.map(|(_, _, plant)| plant.describe(id).clone())?;
                let known = self.plan.points.iter().position(|p| p.sim == sim && p.point.name == point.name);
                return Some(known.unwrap_or_else(|| {
                    self.plan.points.push(PointPlan { sim, point });
                    self.plan.points.len() - 1
                }));
            }
            [] => {
                let points = || models.iter().flat_map(|(_, _, plant)| plant.points().map(|(_, p)| p));
                let same: Vec<&str> =
                    points().filter(|p| p.short_name() == at.value).map(|p| p.name.as_str()).collect();
                let names: Vec<&str> = points().map(|p| p.name.as_str()).collect();
                let (message, label, help) = if same.is_empty() {
                    let help = did_you_mean(&at.value, names.iter().copied(), "points");
                    (format!("unknown point `{}`", at.value), "no such point".to_owned(), Some(help))
                } else {
                    let label = format!("write {}", same.join(" or "));
                    (format!("several units have a point `{}`", at.value), label, None)
                };
                if only.is_some() || !self.is_any_broken() {
                    self.problems.add(&at.span, message, label).help = help;
                }
            }
            _ => {
                let names: Vec<&str> = found.iter().map(|(_, sim, _)| *sim).collect();
                let label = format!("say with `sim` which is meant: {}", names.join(" or "));
                let message = format!("several simulators have a point `{}`", at.value);
                self.problems.add(&at.span, message, label);
            }
        }
        None
    }

    /// A value that a point can be compared with. `ordered`: by more and less.
    pub fn comparable(&mut self, point: usize, at: &At<Value>, ordered: bool) -> Option<Value> {
        let point = &self.plan.points[point].point;
        let fits = match (point.kind, &at.value) {
            (Type::String, value) => !ordered && matches!(value, Value::Text(_)),
            (Type::Bool, Value::Bool(_)) => !ordered,
            (Type::Bool, value) => !ordered && number(value).is_some_and(|n| n == 0.0 || n == 1.0),
            (_, Value::Bool(_) | Value::Text(_)) => false,
            (_, value) => number(value).is_some_and(f64::is_finite),
        };
        if fits {
            return Some(at.value.clone());
        }
        let label = match (point.kind, ordered) {
            (Type::String | Type::Bool, true) => {
                "it is neither more nor less than anything; write equals".to_owned()
            }
            _ => format!("this is {}", kind_of(&at.value)),
        };
        self.problems.add(&at.span, what(point), label);
        None
    }

    /// A value that a point can be given: its cells hold it.
    fn giveable(&mut self, point: usize, at: &At<Value>) -> Option<(Value, Plant)> {
        let value = self.comparable(point, at, false)?;
        let PointPlan { sim, point } = &self.plan.points[point];
        let mut plant = Self::plant_of(&self.plan.sims[*sim])?.clone();
        let id = plant.point(&point.name)?;
        match plant.set(Time(0), id, &value) {
            Ok(()) => Some((value, plant)),
            Err(why) => {
                self.problems.add(&at.span, why.to_string(), what(point));
                None
            }
        }
    }

    pub fn set_point(&mut self, set: &Set, name: &At<String>) -> Option<Action> {
        let cells = [&set.holding, &set.input, &set.coils, &set.discrete];
        if let Some(cell) = cells.into_iter().flatten().next() {
            self.problems.add(&cell.span, "a point and a cell together", "write one step for each");
        }
        let over = set.over.as_ref().map(|over| self.problems.time(over, Duration::ZERO));
        if let Some(master) = &set.master {
            if let Some(over) = &set.over {
                let label = "only a simulator moves a point by itself; leave `over` out, or `master`";
                self.problems.add(&over.span, "a master writes at once", label);
            }
            return self.write_point(set, master, name);
        }
        if let Some(within) = &set.within {
            self.problems.add(&within.span, "set in a simulator takes no time", "leave `within` out");
        }
        let point = self.point(set.sim.as_ref(), name)?;
        let (value, _) = self.giveable(point, &set.value)?;
        let kind = self.plan.points[point].point.kind;
        if let (Some(over), Type::Bool | Type::String) = (&set.over, kind) {
            let label = "it has no values in between; leave `over` out";
            let message = what(&self.plan.points[point].point);
            self.problems.add(&over.span, message, label);
            return None;
        }
        Some(Action::SetPoint { point, value, over })
    }

    /// The cells of a point, written by a master of the rig.
    fn write_point(&mut self, set: &Set, master: &At<String>, name: &At<String>) -> Option<Action> {
        let within = self.write_time(set);
        let writer = self.master_named(master);
        let index = self.point(set.sim.as_ref(), name)?;
        let (value, plant) = self.giveable(index, &set.value)?;
        let point = &self.plan.points[index].point;
        let refused = match (point.access, point.table) {
            (_, Table::InputRegisters | Table::DiscreteInputs) => {
                Some("Modbus writes holding registers and coils only")
            }
            (Access::Ro, _) => Some("its access is \"ro\""),
            _ => None,
        };
        if let Some(label) = refused {
            self.problems.add(&name.span, format!("a master cannot write `{}`", point.name), label);
            return None;
        }
        match write(point, &plant, &value) {
            Ok(exchange) => {
                let what = format!("{} to {}", point.name, shown(&value));
                Some(Action::SetMaster { master: writer?, exchange: Box::new(exchange), what, within })
            }
            Err(why) => {
                self.problems.add(&set.value.span, "this cannot be written", why);
                None
            }
        }
    }

    pub fn release(&mut self, at: &At<Release>) -> Option<Action> {
        let Release { sim, point: name } = &at.value;
        let point = self.point(sim.as_ref(), name)?;
        let plan = &self.plan.points[point].point;
        if plan.signal.is_none() {
            let message = format!("`{}` has no signal that could go on", plan.name);
            self.problems.add(&name.span, message, "nothing moves it but what is written");
        }
        Some(Action::Release { point })
    }

    /// A point among the values that a poll reads.
    pub fn polled_point(
        &mut self,
        master: usize,
        poll: usize,
        sim: Option<&At<String>>,
        at: &At<String>,
    ) -> Option<Subject> {
        let index = self.point(sim, at)?;
        let point = &self.plan.points[index].point;
        let plan = &self.plan.masters[master].polls[poll];
        let unit = plan.poll.exchange.unit();
        let (message, label) = match plan.read {
            _ if unit != point.unit => (
                format!("the poll asks unit {unit}"),
                format!("`{}` is a point of unit {}", point.name, point.unit),
            ),
            Some((table, first, count))
                if table == point.table
                    && point.address >= first
                    && u32::from(point.address) + u32::from(point.cells)
                        <= u32::from(first) + u32::from(count) =>
            {
                let address = point.address;
                return Some(Subject::Polled { master, poll, address, point: Some(index) });
            }
            Some((table, first, count)) => (
                format!("the poll does not read `{}`", point.name),
                format!(
                    "it reads {} {first}..{}; the point is at {}",
                    table.key(),
                    u32::from(first) + u32::from(count) - 1,
                    point.place()
                ),
            ),
            None => ("this poll reads no table".to_owned(), "it has no values".to_owned()),
        };
        self.problems.add(&at.span, message, label);
        None
    }
}

/// The request that writes a value, as `plant` holds it, into the cells of a point.
fn write(point: &Point, plant: &Plant, value: &Value) -> Result<Exchange, String> {
    let unit = plant.unit(point.unit).ok_or("there is no such unit")?;
    let addresses = point.address..=point.address.saturating_add(point.cells.saturating_sub(1));
    let cells: Option<Vec<u16>> = addresses.map(|address| unit.get(point.table, address)).collect();
    let cells = cells.ok_or("the unit lacks some of its cells")?;
    let made = match (point.table, point.bit, &cells[..]) {
        (Table::Coils, _, [bit, ..]) => Exchange::write_coil(point.unit, point.address, *bit != 0),
        // The other bits of the register stay what they are.
        (_, Some(bit), _) => {
            let mut mask = 1u16 << (bit % 16);
            if matches!(point.order, hilrig_points::Order::Dcba | hilrig_points::Order::Badc) {
                mask = mask.swap_bytes();
            }
            let or = if number(value) == Some(1.0) { mask } else { 0 };
            Exchange::mask_write(point.unit, point.address, !mask, or)
        }
        (_, None, [one]) => Exchange::write_register(point.unit, point.address, *one),
        (_, None, cells) => Exchange::write_registers(point.unit, point.address, cells),
    };
    made.map_err(|why| why.to_string())
}
