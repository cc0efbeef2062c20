//! What the control side asks of a run: values, faults, polls, telegrams. Each is one question to the shard, between
//! two frames.

use std::time::Duration;

use hilrig_files::known;
use hilrig_modbus::Master;
use hilrig_points::{Access, Plant, Point, PointId, Value};
use hilrig_port::Time;
use hilrig_telegram::TelegramStation;
use serde::Serialize;

use super::{Core, Run, RunError};
use crate::model::Role;

/// A point and its value.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PointRow {
    pub name: String,
    pub value: Value,
    /// Unit of measure.
    pub unit: String,
    pub at: String,
    pub unit_id: u8,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub access: Access,
    /// What moves it by itself.
    pub signal: &'static str,
    /// Somebody has set it, and its signal waits.
    pub overridden: bool,
}

impl PointRow {
    fn new(plant: &mut Plant, now: Time, id: PointId) -> Self {
        let value = plant.get(now, id);
        let point = plant.describe(id);
        Self {
            name: point.name.clone(),
            value,
            unit: point.measure.clone(),
            at: point.place(),
            unit_id: point.unit,
            kind: point.kind.name(),
            access: point.access,
            signal: point.signal.unwrap_or_default(),
            overridden: plant.is_overridden(id),
        }
    }
}

/// Whether `name` is one of `pattern`, in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
        }),
    }
}

/// The points that `names` says: names or patterns, separated by commas; all if it says none.
fn choose(plant: &Plant, names: &str) -> Result<Vec<PointId>, RunError> {
    let wanted: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if wanted.is_empty() {
        return Ok(plant.points().map(|(id, _)| id).collect());
    }
    let mut chosen = Vec::new();
    for name in wanted {
        let found: Vec<PointId> = match plant.point(name) {
            Some(id) => vec![id],
            None => plant.points().filter(|(_, p)| is(p, name)).map(|(id, _)| id).collect(),
        };
        if found.is_empty() {
            return Err(unknown_point(plant, name));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

fn is(point: &Point, pattern: &str) -> bool {
    matches(pattern, &point.name)
}

fn unknown_point(plant: &Plant, name: &str) -> RunError {
    const SHOWN: usize = 20;
    let names: Vec<&str> = plant.points().map(|(_, p)| p.name.as_str()).collect();
    let mut known = known("points", names.iter().take(SHOWN).copied());
    if names.len() > SHOWN {
        known.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    RunError::Unknown { what: "point", name: name.to_owned(), known }
}

fn one(plant: &Plant, name: &str) -> Result<PointId, RunError> {
    plant.point(name).ok_or_else(|| unknown_point(plant, name))
}

impl Run {
    /// Points and their values: all, or those that `names` says (names or patterns such as `pump.*`, separated by
    /// commas).
    ///
    /// # Errors
    /// A name that is none.
    pub fn points(&self, names: &str) -> Result<Vec<PointRow>, RunError> {
        self.with_plant(|plant, now| {
            let chosen = choose(plant, names)?;
            Ok(chosen.into_iter().map(|id| PointRow::new(plant, now, id)).collect())
        })?
    }

    /// Gives points values, all or none.
    ///
    /// # Errors
    /// Which of them takes it not, and why.
    pub fn set_points(&self, values: &[(String, Value)]) -> Result<(), RunError> {
        self.with_plant(|plant, now| {
            let chosen: Vec<PointId> =
                values.iter().map(|(name, _)| one(plant, name)).collect::<Result<_, _>>()?;
            let before: Vec<(PointId, Value, bool)> =
                chosen.iter().map(|id| (*id, plant.get(now, *id), plant.is_overridden(*id))).collect();
            for (i, (id, (_, value))) in chosen.iter().zip(values).enumerate() {
                if let Err(why) = plant.set(now, *id, value) {
                    for (id, value, overridden) in &before[..i] {
                        let _ = plant.set(now, *id, value);
                        if !overridden {
                            plant.release(*id);
                        }
                    }
                    return Err(why.into());
                }
            }
            Ok(())
        })?
    }

    /// Moves a point to a value in even steps.
    ///
    /// # Errors
    /// Why it does not.
    pub fn ramp_point(&self, name: &str, to: f64, over: Duration) -> Result<(), RunError> {
        self.with_plant(|plant, now| {
            let id = one(plant, name)?;
            Ok(plant.ramp(now, id, to, over)?)
        })?
    }

    /// Lets signals go on that were overridden; answers how many points that is about.
    ///
    /// # Errors
    /// A name that is none.
    pub fn release_points(&self, names: &str) -> Result<usize, RunError> {
        self.with_plant(|plant, _| {
            let chosen = choose(plant, names)?;
            chosen.iter().for_each(|id| plant.release(*id));
            Ok(chosen.len())
        })?
    }

    /// Points that were written over a line since this was last asked, with their values.
    ///
    /// # Errors
    /// The shard is gone.
    pub fn written(&self) -> Result<Vec<PointRow>, RunError> {
        self.with_plant(|plant, now| {
            let ids: Vec<PointId> = plant.written().collect();
            ids.into_iter().map(|id| PointRow::new(plant, now, id)).collect()
        })
    }

    /// Sends a telegram of the model now: `TABLE.NAME`, or `NAME` if only one table has it.
    ///
    /// # Errors
    /// Why not.
    pub fn send_telegram(&self, name: &str) -> Result<(), RunError> {
        let model = self.model();
        let mut names = Vec::new();
        for port in self.ports() {
            let (Core::Telegram { seat, .. }, Role::Telegram(i)) = (&port.core, port.role) else { continue };
            let Some(table) = model.telegrams.get(i) else { continue };
            let own = name.strip_prefix(&format!("{}.", table.name)).unwrap_or(name);
            if table.plan.sends().any(|known| known == own) {
                let sent = self
                    .shard
                    .with_station::<TelegramStation, _>(seat, |core, now, tx| core.send(now, own, tx))?;
                return sent.map_err(|e| RunError::Refused { what: port.name.clone(), why: e.to_string() });
            }
            names.extend(table.plan.sends().map(|known| format!("{}.{known}", table.name)));
        }
        let known = known("telegrams", names.iter().map(String::as_str));
        Err(RunError::Unknown { what: "telegram", name: name.to_owned(), known })
    }

    /// Starts or stops entries of poll lists: `MASTER.POLL`, `MASTER` for all of one, or nothing for all. Answers how
    /// many.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn enable_polls(&self, name: &str, enabled: bool) -> Result<usize, RunError> {
        let model = self.model();
        let (mut count, mut names) = (0, Vec::new());
        for port in self.ports() {
            let (Core::Master { seat, .. }, Role::Master(i)) = (&port.core, port.role) else { continue };
            let Some(master) = model.masters.get(i) else { continue };
            let full = |poll: &str| format!("{}.{poll}", master.name);
            let wanted: Vec<usize> = (0..master.plan.polls.len())
                .filter(|i| name.is_empty() || name == master.name || name == full(&master.plan.polls[*i].0))
                .collect();
            count += wanted.len();
            names.extend(master.plan.polls.iter().map(|(poll, _)| full(poll)));
            self.shard.with_station::<Master, _>(seat, |core, now, _| {
                wanted.iter().for_each(|i| {
                    core.enable(now, *i, enabled);
                });
            })?;
        }
        if count == 0 {
            let known = known("polls", names.iter().map(String::as_str));
            return Err(RunError::Unknown { what: "poll", name: name.to_owned(), known });
        }
        Ok(count)
    }
}
