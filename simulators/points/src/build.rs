//! From files to a [`Plant`]. Every mistake becomes a problem with its place, and the rest is still looked at. What
//! names other points is kept until all units are known.

mod cells;
mod extras;
mod finish;
mod points;
mod signals;
mod triggers;

pub use cells::{cell_runs, cell_value};
pub(crate) use points::text_value;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use hilrig_files::{At, Problems, Source};

use crate::expr::Kind;
use crate::plant::Plant;
use crate::point::PointId;
use crate::signal::ProgramId;
use crate::{Unit, UnitFile};

/// What an expression has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wants {
    Kind(Kind),
    /// Of the kind of a point that is named elsewhere.
    Like(usize),
}

type Vars = &'static [(&'static str, Kind)];
const NO_VARS: Vars = &[];

/// A text that names things, and where it stands.
#[derive(Debug)]
struct Later {
    text: At<String>,
    source: Source,
    unit: usize,
}

#[derive(Debug)]
struct LaterProgram {
    text: Later,
    wants: Wants,
    vars: Vars,
}

/// Collects units and makes a plant of them.
#[derive(Debug)]
pub struct Builder {
    seed: u64,
    plant: Plant,
    unit_names: HashMap<String, Written>,
    ids: HashMap<u8, Written>,
    /// Where points are written.
    point_places: Vec<(Source, Range<usize>)>,
    programs: Vec<LaterProgram>,
    /// Names of points, and the bool or number that is wanted of them.
    named: Vec<Later>,
    triggers: Vec<triggers::Draft>,
    statuses: Vec<(usize, Vec<usize>)>,
}

/// Where a unit is written: its source and line.
type Written = (Source, usize);

impl Builder {
    /// `seed` is that of everything random.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            plant: Plant::default(),
            unit_names: HashMap::new(),
            ids: HashMap::new(),
            point_places: vec![],
            programs: vec![],
            named: vec![],
            triggers: vec![],
            statuses: vec![],
        }
    }

    /// Takes in a unit; `file` is of the current source of `problems`, and paths in it start from `folder`.
    pub fn unit(&mut self, name: &At<String>, file: &UnitFile, folder: &Path, problems: &mut Problems<'_>) {
        problems.name(name);
        let id = file.id.as_ref().map_or(1, |id| problems.number(id, 1..=247, "a unit id")) as u8;
        let here = (problems.current(), problems.line(name.span.start));
        if let Some((_, line)) = self.unit_names.insert(name.value.clone(), here) {
            problems.add(&name.span, "two units have this name", format!("the other is in line {line}"));
        }
        let mut unit = Unit::new();
        self.cells(&mut unit, file, problems);
        if let Some((_, line)) = self.ids.insert(id, here) {
            let span = file.id.as_ref().map_or(&name.span, |id| &id.span);
            problems.add(span, format!("two units have the id {id}"), format!("the other is in line {line}"));
            return;
        }
        // The id is legal and new.
        if self.plant.add_unit(id, Unit::new()).is_err() {
            return;
        }
        let place = self.plant.engine.units.len() - 1;
        self.plant.fixed.extras[place].name.clone_from(&name.value);
        self.points(place, &mut unit, file, folder, problems);
        self.limit_access(&mut unit, file, problems);
        self.extras(place, file, problems);
        for trigger in &file.on_write {
            self.trigger(place, trigger, problems);
        }
        self.plant.engine.units[place].1 = unit;
    }

    fn later(&self, unit: usize, text: &At<String>, problems: &Problems<'_>) -> Later {
        Later { text: text.clone(), source: problems.current(), unit }
    }

    /// Keeps an expression for later.
    fn program(
        &mut self,
        unit: usize,
        text: &At<String>,
        wants: Wants,
        vars: Vars,
        problems: &Problems<'_>,
    ) -> ProgramId {
        let text = self.later(unit, text, problems);
        self.programs.push(LaterProgram { text, wants, vars });
        (self.programs.len() - 1) as ProgramId
    }

    /// Keeps the name of a point for later; answers its place in the list of those.
    fn name_of_point(&mut self, unit: usize, text: &At<String>, problems: &Problems<'_>) -> usize {
        let later = self.later(unit, text, problems);
        self.named.push(later);
        self.named.len() - 1
    }

    fn kind_of(&self, id: PointId) -> Kind {
        match self.plant.fixed.points[id.index()].kind {
            crate::Type::Bool => Kind::Bool,
            _ => Kind::Number,
        }
    }
}

/// Exactly one of several keys is given.
fn exactly_one(given: &[bool]) -> bool {
    given.iter().filter(|g| **g).count() == 1
}
