//! Checks a simulator that serves a model file, on one seat or on several. Reads the model; opens nothing.

use std::path::Path;
use std::sync::Arc;

use hilrig_files::{At, known};
use hilrig_modbus::Framing;
use hilrig_modbus::pdu::read_by;
use hilrig_plc::{Model, PortPlan, Role};
use hilrig_points::Table;

use crate::check::{Check, Tables};
use crate::file::PlcSim;
use crate::names::did_you_mean;
use crate::plan::{MasterPlan, PollPlan, PortKind, ReplyFaultPlan, Seat, SimModel, SimPlan, StationPlan};

/// A port of a model at its seat, and the place in the file that says so.
struct Place<'f> {
    key: &'f At<String>,
    seat: Seat,
    port: PortPlan,
}

impl Check<'_> {
    pub fn model(&mut self, name: &At<String>, plc: &PlcSim, path: &At<String>, tables: Tables<'_>) {
        for (table, entries) in tables {
            if let Some((key, _)) = entries.0.first() {
                let label = format!("leave `{}` out, or `model`", table.key());
                self.problems.add(&key.span, "a model has its values itself", label);
            }
        }
        let wanted = plc.unit.as_ref().map(|unit| (unit, self.unit(Some(unit))));
        let seat = plc.port.as_ref().map(|port| self.seat(port));
        let seats: Vec<(&At<String>, Seat)> =
            plc.ports.0.iter().map(|(key, place)| (key, self.seat(place))).collect();
        let unit = wanted.map(|(_, id)| id);
        let mut sim = SimPlan { name: name.value.clone(), unit, cells: vec![], model: None, broken: true };
        let folder = Path::new(&self.plan.file).parent().map(Path::to_owned).unwrap_or_default();
        let model = match Model::load_with(&folder.join(&path.value), Some(self.plan.seed)) {
            Ok(model) => Arc::new(model),
            Err(why) => {
                let lines = why.lines();
                let first = lines.lines().next().unwrap_or_default().to_owned();
                let problem = self.problems.add(&path.span, "this model cannot be used", first);
                problem.help = Some(lines).filter(|lines| lines.contains('\n'));
                return self.plan.sims.push(sim);
            }
        };
        let mut places = match seat {
            Some(seat) => self
                .model_port(name, plc, &model)
                .map(|port| Place { key: plc.model_port.as_ref().unwrap_or(name), seat, port })
                .into_iter()
                .collect(),
            None => self.model_ports(&seats, &model),
        };
        let good = places.len() == seats.len().max(1);
        for place in &mut places {
            self.suits(place);
        }
        let all: Vec<u8> = model.units.iter().map(|(_, id)| *id).collect();
        match wanted {
            Some((_, id)) if all.contains(&id) => {
                let slaves = places.iter_mut().filter(|p| p.port.role == Role::Slave);
                slaves.for_each(|place| place.port.units = Some(vec![id]));
            }
            Some((at, id)) => {
                let units = model.units.iter().map(|(name, id)| format!("{id} ({name})")).collect::<Vec<_>>();
                let problem =
                    self.problems.add(&at.span, format!("the model has no unit {id}"), "no such unit");
                problem.help = Some(known("units", units.iter().map(String::as_str)));
            }
            None => {
                let served = match &places[..] {
                    [only] => only.port.units.as_ref().unwrap_or(&all),
                    _ => &all,
                };
                sim.unit = if let [only] = served[..] { Some(only) } else { None };
            }
        }
        sim.broken = !good;
        if good {
            let plant = model.plant();
            self.reply_faults(&model, &places);
            self.members(&sim.name, &model, places);
            sim.model = Some(SimModel { model, plant });
        }
        self.plan.sims.push(sim);
    }

    /// The only port that has a seat.
    fn model_port(&mut self, name: &At<String>, plc: &PlcSim, model: &Model) -> Option<PortPlan> {
        let slaves: Vec<&PortPlan> = model.ports.iter().filter(|p| p.role == Role::Slave).collect();
        let names = || known("ports", slaves.iter().map(|p| p.name.as_str()));
        match (&plc.model_port, &slaves[..]) {
            (Some(at), _) => {
                let found = slaves.iter().find(|p| p.name == at.value);
                if found.is_none() {
                    let message = format!("the model serves no port `{}`", at.value);
                    self.problems.add(&at.span, message, "no such port").help = Some(names());
                }
                found.map(|port| (*port).clone())
            }
            (None, []) => Some(PortPlan::slave(&name.value, None)),
            (None, [only]) => Some((*only).clone()),
            (None, _) => {
                let message = "the model has several ports";
                let label =
                    "say with `model_port` which of them this is, or with `ports` where each of them is";
                self.problems.add(&name.span, message, label).help = Some(names());
                None
            }
        }
    }

    fn model_ports<'f>(&mut self, seats: &[(&'f At<String>, Seat)], model: &Model) -> Vec<Place<'f>> {
        let mut places = Vec::new();
        for (key, seat) in seats {
            match model.ports.iter().find(|p| p.name == key.value) {
                Some(port) => places.push(Place { key, seat: *seat, port: port.clone() }),
                None => {
                    let message = format!("the model has no port `{}`", key.value);
                    let names = || model.ports.iter().map(|p| p.name.as_str());
                    let help = did_you_mean(&key.value, names(), "ports");
                    self.problems.add(&key.span, message, "no such port").help = Some(help);
                }
            }
        }
        places
    }

    /// Whether who sits on a port of the model can sit here. A port that says nothing of its framing has the one of its
    /// seat.
    fn suits(&mut self, place: &mut Place<'_>) {
        let port = &mut place.port;
        let Some(kind) = self.plan.ports.get(place.seat.port).map(|port| &port.kind) else { return };
        match kind {
            PortKind::Pair { .. } => {
                if !matches!(port.framing, Framing::Rtu | Framing::Ascii) || is_gateway(port.role) {
                    let message = format!("the model's port `{}` is none of a serial line", port.name);
                    let label = "who sits on a pair speaks RTU, ASCII or telegrams";
                    let help = "for Modbus TCP make the port of the rig a network: tcp = {}";
                    self.problems.add(&place.key.span, message, label).help = Some(help.to_owned());
                }
            }
            PortKind::Tcp => {
                let called = matches!(port.role, Role::Slave | Role::Gateway(_));
                let (end, label) = match called {
                    true => (0, "it is called; write NAME.server"),
                    false => (1, "it calls; write NAME.client"),
                };
                // Where exactly is for the run to say.
                let url = if called { "tcp-listen:127.0.0.1:0" } else { "tcp:127.0.0.1:1" };
                port.set_url(url.parse().ok());
                if matches!(port.role, Role::Behind(_) | Role::Sniffer(_)) {
                    let message = format!("the model's port `{}` is one of a line", port.name);
                    self.problems.add(&place.key.span, message, "a network is none; use a pair");
                } else if place.seat.end != end {
                    self.problems.add(&place.key.span, "this is the other end of the network", label);
                }
            }
            PortKind::Url(url) => {
                port.set_url(Some(url.clone()));
                if is_gateway(port.role) && !port.listens() {
                    let message = format!("nobody can call `{}`", port.name);
                    let label = "a gateway sits on a port with a tcp-listen: or unix-listen: url";
                    self.problems.add(&place.key.span, message, label);
                }
            }
        }
    }

    /// The faults of a model, and which of them no station here can make.
    fn reply_faults(&mut self, model: &Model, places: &[Place<'_>]) {
        let sim = self.plan.sims.len();
        for rule in &model.faults {
            let answers = || places.iter().map(|p| &p.port).filter(|p| p.role == Role::Slave);
            let mut here = answers().filter(|p| rule.port().is_none_or(|name| name == p.name)).peekable();
            let nowhere = match rule.port() {
                Some(port) if here.peek().is_none() => {
                    Some(format!("it is of the model's port `{port}`, which has no place in this rig"))
                }
                None if here.peek().is_none() => {
                    Some("no port of the model that answers has a place in this rig".to_owned())
                }
                _ if !here.any(|p| rule.fits(p.framing)) => {
                    Some("its effect means nothing on the ports of this rig".to_owned())
                }
                _ => None,
            };
            self.plan.reply_faults.push(ReplyFaultPlan { sim, name: rule.name().to_owned(), nowhere });
        }
    }

    /// Masters are among those of the rig; all others are stations of their own.
    fn members(&mut self, name: &str, model: &Model, places: Vec<Place<'_>>) {
        let sim = self.plan.sims.len();
        let several = places.len() > 1;
        let behind: Vec<(usize, Seat, PortPlan)> = places
            .iter()
            .filter_map(|p| match p.port.role {
                Role::Behind(gateway) => Some((gateway, p.seat, p.port.clone())),
                _ => None,
            })
            .collect();
        let gateways: Vec<usize> = places.iter().filter_map(|p| gateway(p.port.role)).collect();
        for Place { key, seat, port } in places {
            let station = if several { format!("{name}.{}", port.name) } else { name.to_owned() };
            let mut line = None;
            match port.role {
                Role::Master(number) => {
                    let master = &model.masters[number];
                    let polls = master.plan.polls.iter();
                    let polls = polls.map(|(name, poll)| PollPlan {
                        name: name.clone(),
                        read: read_of(poll.exchange.pdu()),
                        poll: poll.clone(),
                    });
                    self.plan.masters.push(MasterPlan {
                        name: format!("{name}.{}", master.name),
                        seat,
                        unit: None,
                        framing: port.framing,
                        polls: polls.collect(),
                        model: Some((sim, number, port)),
                    });
                    continue;
                }
                Role::Behind(number) => {
                    if !gateways.contains(&number) {
                        let label = "give the port where it is called a place, too";
                        self.problems.add(&key.span, "this is the line behind a gateway", label);
                    }
                    continue;
                }
                Role::Gateway(number) => {
                    line = behind.iter().find(|(of, ..)| *of == number).map(|(_, s, p)| (*s, p.clone()));
                    if line.is_none() {
                        let label = "give the port of the line behind it a place, too";
                        self.problems.add(&key.span, "this gateway has no line", label);
                    }
                }
                Role::Slave | Role::Sniffer(_) | Role::Telegram(_) => {}
            }
            self.plan.stations.push(StationPlan { name: station, sim, seat, port: Some(port), behind: line });
        }
    }
}

fn gateway(role: Role) -> Option<usize> {
    if let Role::Gateway(number) = role { Some(number) } else { None }
}

fn is_gateway(role: Role) -> bool {
    gateway(role).is_some()
}

/// The table, first address and number that a request PDU reads.
fn read_of(pdu: &[u8]) -> Option<(Table, u16, u16)> {
    let table = read_by(*pdu.first()?)?;
    let word = |at: usize| Some(u16::from_be_bytes([*pdu.get(at)?, *pdu.get(at + 1)?]));
    Some((table, word(1)?, word(3)?))
}
