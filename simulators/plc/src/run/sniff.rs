//! Sniffers of a run: those of its model, and those that are put on a line while it goes on.

use std::any::Any;
use std::sync::Arc;

use hilrig_files::known;
use hilrig_modbus::Sniffer;
use hilrig_port::{Station, StationRef};
use serde::Serialize;

use super::account::micros;
use super::line::Fresh;
use super::{Core, PortRun, Run, RunError, lock, open};
use crate::model::{PortPlan, Role};
use crate::words::function_name;

/// What a sniffer has heard.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sniffed {
    pub port: String,
    pub rows: Vec<SniffRow>,
    /// Of each unit that was asked, a table of a model file that can take its place.
    pub learned: Vec<Learned>,
}

/// What was heard of one unit and function code.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SniffRow {
    pub unit: u8,
    pub function: u8,
    pub name: &'static str,
    pub requests: u64,
    pub replies: u64,
    /// How many of which code: "2: 5, 4: 1".
    pub exceptions: String,
    pub timeouts: u64,
    pub retries: u64,
    pub late: u64,
    pub broken: u64,
    pub min_us: f64,
    pub p50_us: f64,
    pub max_us: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Learned {
    pub unit: u8,
    pub model: String,
}

impl Sniffed {
    fn of(port: &str, sniffer: &Sniffer) -> Self {
        let rows = sniffer.rows().into_iter().map(|row| {
            let counts = row.exceptions.iter().enumerate().filter(|(_, n)| **n > 0);
            SniffRow {
                unit: row.unit,
                function: row.function,
                name: function_name(row.function),
                requests: row.requests,
                replies: row.replies,
                exceptions: counts.map(|(code, n)| format!("{code}: {n}")).collect::<Vec<_>>().join(", "),
                timeouts: row.timeouts,
                retries: row.retries,
                late: row.late,
                broken: row.broken,
                min_us: row.fastest.map_or(0.0, micros),
                p50_us: micros(row.response.quantile(0.5)),
                max_us: micros(row.response.max()),
            }
        });
        let map = sniffer.map();
        let learn = |unit: u8| Learned { unit, model: map.to_toml(unit, &format!("unit{unit}")) };
        Self {
            port: port.to_owned(),
            rows: rows.collect(),
            learned: map.units().into_iter().map(learn).collect(),
        }
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.rows.iter().map(|row| {
            let exceptions = match row.exceptions.as_str() {
                "" => String::new(),
                codes => format!(", exceptions {codes}"),
            };
            format!(
                "port {}: unit {} function {} ({}): {} requests, {} replies{exceptions}, {} unanswered; answered in {:.0} us (p50), {:.0} us (longest)",
                self.port, row.unit, row.function, row.name, row.requests, row.replies, row.timeouts, row.p50_us, row.max_us
            )
        }).collect();
        lines.extend(self.learned.iter().flat_map(|learned| learned.model.lines().map(str::to_owned)));
        lines
    }
}

impl Run {
    /// Listens on one more port, until [`end_sniff`](Self::end_sniff) or the end of the run.
    ///
    /// # Errors
    /// The port cannot be had.
    pub fn sniff(&self, mut plan: PortPlan, stop: &dyn Fn() -> bool) -> Result<Arc<PortRun>, RunError> {
        plan.role = Role::Sniffer(usize::MAX);
        if self.ports().iter().any(|p| p.name == plan.name) {
            let why = "somebody listens or sits there already".to_owned();
            return Err(RunError::Refused { what: plan.name, why });
        }
        let opened = open::open(&plan, &self.runtime, stop)?;
        let number = self.ports().len();
        let fresh = Fresh::new(self.reconnect, None)?;
        let port = Arc::new(self.seat(number, &plan, &self.model(), opened, None, fresh)?);
        lock(&self.ports).push(port.clone());
        Ok(port)
    }

    fn sniffers(&self, port: Option<&str>) -> Result<Vec<Arc<PortRun>>, RunError> {
        let all: Vec<_> =
            self.ports().into_iter().filter(|p| matches!(p.core, Core::Sniffer { .. })).collect();
        let is = |p: &PortRun, name: &str| p.name == name || p.url == name;
        let chosen: Vec<_> = all.iter().filter(|p| port.is_none_or(|name| is(p, name))).cloned().collect();
        match port {
            Some(name) if chosen.is_empty() => {
                let known = known("sniffers", all.iter().map(|p| p.name.as_str()));
                Err(RunError::Unknown { what: "sniffer", name: name.to_owned(), known })
            }
            _ => Ok(chosen),
        }
    }

    /// What sniffers have heard: all, or the one of that port.
    ///
    /// # Errors
    /// There is no such sniffer.
    pub fn sniffed(&self, port: Option<&str>) -> Result<Vec<Sniffed>, RunError> {
        let mut heard = Vec::new();
        for port in self.sniffers(port)? {
            let Core::Sniffer { seat, .. } = &port.core else { continue };
            let seat = lock(seat);
            let Some(seat) = &*seat else { continue };
            heard.push(
                self.shard.with_station::<Sniffer, _>(seat, |core, _, _| Sniffed::of(&port.name, core))?,
            );
        }
        Ok(heard)
    }

    /// Ends sniffers that [`sniff`](Self::sniff) began, and tells what they have heard.
    ///
    /// # Errors
    /// There is no such sniffer.
    pub fn end_sniff(&self, port: Option<&str>) -> Result<Vec<Sniffed>, RunError> {
        let mut heard = Vec::new();
        for port in self.sniffers(port)? {
            if port.role != Role::Sniffer(usize::MAX) {
                continue;
            }
            let Core::Sniffer { seat, .. } = &port.core else { continue };
            let seat: Option<StationRef> = lock(seat).take();
            if let Some(line) = &port.line {
                line.end();
                self.captures.leave(&line.info);
            }
            lock(&self.ports).retain(|p| !Arc::ptr_eq(p, &port));
            if let Some(station) = seat.and_then(|seat| self.shard.remove_station(seat)) {
                let station: &dyn Station = &*station;
                let station: &dyn Any = station;
                heard.extend(station.downcast_ref::<Sniffer>().map(|core| Sniffed::of(&port.name, core)));
            }
        }
        Ok(heard)
    }
}
