//! Checks a simulator that serves a port of a model file. Reads the model; opens nothing.

use std::path::Path;

use hilrig_files::{At, known};
use hilrig_modbus::Framing;
use hilrig_plc::{Model, PortPlan, Role};

use crate::check::{Check, Tables};
use crate::file::PlcSim;
use crate::plan::{ModelSim, Seat, SimPlan};

impl Check<'_> {
    pub fn model(
        &mut self,
        name: &At<String>,
        plc: &PlcSim,
        path: &At<String>,
        seat: Seat,
        tables: Tables<'_>,
    ) -> SimPlan {
        for (table, entries) in tables {
            if let Some((key, _)) = entries.0.first() {
                let label = format!("leave `{}` out, or `model`", table.name());
                self.problems.add(&key.span, "a model has its values itself", label);
            }
        }
        let wanted = plc.unit.as_ref().map(|unit| (unit, self.unit(Some(unit))));
        let unit = wanted.map(|(_, id)| id);
        let name_text = name.value.clone();
        let mut plan = SimPlan { name: name_text, seat, unit, cells: vec![], model: None, broken: true };
        let folder = Path::new(&self.plan.file).parent().map(Path::to_owned).unwrap_or_default();
        let model = match Model::load_with(&folder.join(&path.value), Some(self.plan.seed)) {
            Ok(model) => Box::new(model),
            Err(why) => {
                let lines = why.lines();
                let first = lines.lines().next().unwrap_or_default().to_owned();
                let problem = self.problems.add(&path.span, "this model cannot be used", first);
                problem.help = Some(lines).filter(|lines| lines.contains('\n'));
                return plan;
            }
        };
        let Some(mut port) = self.model_port(name, plc, &model) else { return plan };
        match wanted {
            Some((_, id)) if model.units.iter().any(|(_, unit)| *unit == id) => port.units = Some(vec![id]),
            Some((at, id)) => {
                let units = model.units.iter().map(|(name, id)| format!("{id} ({name})")).collect::<Vec<_>>();
                let problem =
                    self.problems.add(&at.span, format!("the model has no unit {id}"), "no such unit");
                problem.help = Some(known("units", units.iter().map(String::as_str)));
            }
            None => {
                let all: Vec<u8> = model.units.iter().map(|(_, id)| *id).collect();
                let served = port.units.as_ref().unwrap_or(&all);
                plan.unit = if let [only] = served[..] { Some(only) } else { None };
            }
        }
        plan.broken = false;
        plan.model = Some(ModelSim { model, port });
        plan
    }

    fn model_port(&mut self, name: &At<String>, plc: &PlcSim, model: &Model) -> Option<PortPlan> {
        let slaves: Vec<&PortPlan> = model.ports.iter().filter(|p| p.role == Role::Slave).collect();
        let names = || known("ports", slaves.iter().map(|p| p.name.as_str()));
        let port = match (&plc.model_port, &slaves[..]) {
            (Some(at), _) => match slaves.iter().find(|p| p.name == at.value) {
                Some(port) => (*port).clone(),
                None => {
                    let message = format!("the model serves no port `{}`", at.value);
                    self.problems.add(&at.span, message, "no such port").help = Some(names());
                    return None;
                }
            },
            (None, []) => PortPlan::slave(&name.value, None),
            (None, [only]) => (*only).clone(),
            (None, _) => {
                let message = "the model has several ports";
                self.problems.add(&name.span, message, "say with `model_port` which of them this is").help =
                    Some(names());
                return None;
            }
        };
        if !matches!(port.framing, Framing::Rtu | Framing::Ascii) {
            let span = plc.model_port.as_ref().map_or(&name.span, |at| &at.span);
            let message = format!("the model's port `{}` is none of a serial line", port.name);
            self.problems.add(span, message, "a port of a rig speaks RTU or ASCII").help = Some(names());
            return None;
        }
        Some(port)
    }
}
