//! When all units are known: names become points, texts become programs, and expressions that go round in a circle
//! are found.

use std::collections::HashMap;

use hilrig_files::{Problems, known};

use super::{Builder, LaterProgram, Vars, Wants};
use crate::engine::Fixed;
use crate::expr::{Kind, Names, Program, parse};
use crate::extras::Status;
use crate::plant::Plant;
use crate::point::{PointId, Type};
use crate::signal::{Mean, ProgramId, Signal};

/// Most expressions that wait for each other.
const LONGEST_CHAIN: usize = 64;
/// Most names in a help.
const NAMES_SHOWN: usize = 12;

/// Names as one unit knows them: its own points first.
struct Scope<'a> {
    fixed: &'a Fixed,
    unit: &'a str,
    vars: Vars,
}

impl Scope<'_> {
    fn find(&self, name: &str) -> Result<PointId, (String, String)> {
        if !name.contains('.')
            && let Some(Some(id)) = self.fixed.names.get(&format!("{}.{name}", self.unit))
        {
            return Ok(*id);
        }
        match self.fixed.names.get(name) {
            Some(Some(id)) => Ok(*id),
            Some(None) => {
                let same = self.fixed.points.iter().filter(|p| p.short_name() == name);
                let same: Vec<&str> = same.map(|p| p.name.as_str()).take(NAMES_SHOWN).collect();
                Err(("several units have such a point".to_owned(), format!("write {}", same.join(" or "))))
            }
            None => Err(("no such point".to_owned(), self.candidates(name))),
        }
    }

    /// Names that look alike, or some of the unit.
    fn candidates(&self, name: &str) -> String {
        let short = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
        let start: String = short.chars().take(3).collect();
        let all = || self.fixed.points.iter();
        let alike = |p: &&crate::Point| p.short_name().to_ascii_lowercase().contains(&start);
        let own = |p: &&crate::Point| p.unit_name() == self.unit;
        let mut names: Vec<&str> = all().filter(alike).map(|p| p.name.as_str()).take(NAMES_SHOWN).collect();
        if names.is_empty() || start.is_empty() {
            names = all().filter(own).map(|p| p.name.as_str()).take(NAMES_SHOWN).collect();
        }
        known("points", names.into_iter())
    }
}

impl Names for Scope<'_> {
    fn point(&self, name: &str) -> Result<(PointId, Kind), (String, String)> {
        let id = self.find(name)?;
        match self.fixed.points[id.index()].kind {
            Type::Bool => Ok((id, Kind::Bool)),
            Type::String => {
                Err(("this point is text".to_owned(), "expressions know numbers and bools".to_owned()))
            }
            _ => Ok((id, Kind::Number)),
        }
    }

    fn var(&self, name: &str) -> Option<(u8, Kind)> {
        let place = self.vars.iter().position(|(var, _)| *var == name)?;
        Some((place as u8, self.vars[place].1))
    }
}

impl Builder {
    /// The plant. If there are problems, it is one that can be used all the same, without what they are about.
    pub fn finish(mut self, problems: &mut Problems<'_>) -> Plant {
        let here = problems.current();
        let named = self.find_names(problems);
        self.type_triggers(&named);
        self.read_programs(&named, problems);
        self.finish_triggers(&named, problems);
        for (place, bits) in std::mem::take(&mut self.statuses) {
            let mut points = [None; 8];
            for (point, name) in points.iter_mut().zip(bits) {
                *point = named[name];
                if let Some(id) = named[name].filter(|id| self.kind_of(*id) != Kind::Bool) {
                    let later = &self.named[name];
                    problems.back(later.source);
                    let kind = self.plant.fixed.points[id.index()].kind.name();
                    let label = format!("it is {kind}; a bit of the status is a bool");
                    problems.add(&later.text.span, "this point is no bool", label);
                }
            }
            self.plant.fixed.extras[place].status = Status::Points(points);
        }
        self.find_circles(problems);
        problems.back(here);
        let Plant { mut fixed, mut engine } = self.plant;
        group_clocks(&mut fixed);
        engine.prepare(&fixed);
        Plant { fixed, engine }
    }

    fn find_names(&self, problems: &mut Problems<'_>) -> Vec<Option<PointId>> {
        let found = self.named.iter().map(|later| {
            let unit = &self.plant.fixed.extras[later.unit].name;
            let scope = Scope { fixed: &self.plant.fixed, unit, vars: super::NO_VARS };
            match scope.find(&later.text.value) {
                Ok(id) => Some(id),
                Err((label, help)) => {
                    problems.back(later.source);
                    let message = format!("unknown point `{}`", later.text.value);
                    problems.add(&later.text.span, message, label).help = Some(help);
                    None
                }
            }
        });
        found.collect()
    }

    fn read_programs(&mut self, named: &[Option<PointId>], problems: &mut Problems<'_>) {
        let programs =
            self.programs.iter().map(|later| self.read_program(later, named, problems).unwrap_or_default());
        let programs: Vec<Program> = programs.collect();
        self.plant.fixed.programs = programs;
    }

    fn read_program(
        &self,
        later: &LaterProgram,
        named: &[Option<PointId>],
        problems: &mut Problems<'_>,
    ) -> Option<Program> {
        let text = &later.text.text;
        problems.back(later.text.source);
        let unit = &self.plant.fixed.extras[later.text.unit].name;
        let scope = Scope { fixed: &self.plant.fixed, unit, vars: later.vars };
        let program = match parse(&text.value, &scope) {
            Ok(program) => program,
            Err(wrong) => {
                problems.add(&text.part(wrong.place), wrong.message, wrong.label).help = wrong.help;
                return None;
            }
        };
        let wants = match later.wants {
            Wants::Kind(kind) => kind,
            Wants::Like(name) => self.kind_of(named[name]?),
        };
        if program.kind != wants {
            let (message, label, help) = match wants {
                Kind::Number => ("a number is wanted here", "this is true or false", "num(x) makes a number"),
                Kind::Bool => {
                    ("true or false is wanted here", "this is a number", "compare it, such as x != 0")
                }
            };
            problems.add(&text.part(0..text.value.len()), message, label).help = Some(help.to_owned());
        }
        Some(program)
    }

    /// The expression that makes a point's value at the moment it is read; machines have values of their own.
    fn expression_of(&self, id: PointId) -> Option<ProgramId> {
        match &self.plant.fixed.signals[id.index()] {
            Some(Signal::Expr(program) | Signal::Noise { mean: Mean::Around(program), .. }) => Some(*program),
            _ => None,
        }
    }

    /// The points whose expressions must be known for that of a point.
    fn needs(&self, id: PointId) -> Vec<PointId> {
        let fixed = &self.plant.fixed;
        let Some(program) = self.expression_of(id) else { return vec![] };
        let mut needs: Vec<PointId> = vec![];
        for read in fixed.programs[program as usize].points() {
            let (point, place) = (&fixed.points[read.index()], fixed.places[read.index()]);
            let touching = fixed.placed[place][point.table as usize].touching(point.address, point.last());
            needs.extend(touching.map(|span| span.point).filter(|id| self.expression_of(*id).is_some()));
        }
        needs
    }

    fn find_circles(&self, problems: &mut Problems<'_>) {
        // How many expressions wait for each other below a point; none while it is being looked at.
        let mut known: HashMap<PointId, Option<usize>> = HashMap::new();
        let all = (0..self.plant.fixed.points.len()).map(|i| PointId(i as u32));
        for root in all.filter(|id| self.expression_of(*id).is_some()) {
            if known.contains_key(&root) {
                continue;
            }
            let mut path: Vec<(PointId, Vec<PointId>, usize)> = vec![(root, self.needs(root), 0)];
            known.insert(root, None);
            while let Some((id, needs, depth)) = path.last_mut() {
                let Some(next) = needs.pop() else {
                    let (id, depth) = (*id, *depth + 1);
                    known.insert(id, Some(depth));
                    if depth == LONGEST_CHAIN + 1 {
                        let message = format!("more than {LONGEST_CHAIN} expressions wait for each other");
                        self.point_problem(id, message, "the last of them", problems);
                    }
                    path.pop();
                    if let Some((.., above)) = path.last_mut() {
                        *above = depth.max(*above);
                    }
                    continue;
                };
                match known.get(&next) {
                    Some(Some(below)) => *depth = (*depth).max(*below),
                    Some(None) => {
                        let id = *id;
                        let from = path.iter().position(|(id, ..)| *id == next).unwrap_or(0);
                        let mut names: Vec<&str> =
                            path[from..].iter().map(|(id, ..)| self.name(*id)).collect();
                        names.push(self.name(next));
                        let message = format!("expressions go round in a circle: {}", names.join(" -> "));
                        let label = format!("it needs {}, which needs this one", self.name(next));
                        self.point_problem(id, message, &label, problems);
                    }
                    None => {
                        known.insert(next, None);
                        path.push((next, self.needs(next), 0));
                    }
                }
            }
        }
    }

    fn name(&self, id: PointId) -> &str {
        &self.plant.fixed.points[id.index()].name
    }

    fn point_problem(&self, id: PointId, message: String, label: &str, problems: &mut Problems<'_>) {
        let Some(program) = self.expression_of(id) else { return };
        let later = &self.programs[program as usize].text;
        problems.back(later.source);
        problems.add(&later.text.span, message, label);
    }
}

/// Machines of one period step together, in the order of their points.
fn group_clocks(fixed: &mut Fixed) {
    for (i, machine) in fixed.machines.iter().enumerate() {
        match fixed.clocks.iter_mut().find(|(period, _)| *period == machine.period) {
            Some((_, machines)) => machines.push(i as u32),
            None => fixed.clocks.push((machine.period, vec![i as u32])),
        }
    }
}
