//! Triggers: what writes to points set off. Points are names until all units are known.

use std::time::Duration;

use hilrig_files::{At, Problems};

use super::{Builder, NO_VARS, Vars, Wants};
use crate::codec::{MOST_CELLS, Words};
use crate::expr::Kind;
use crate::point::PointId;
use crate::signal::ProgramId;
use crate::trigger::{Edge, Step, Trigger};
use crate::{SetFile, StepFile, TriggerFile, Type, Value};

const WRITTEN: Vars = &[("value", Kind::Number), ("old", Kind::Number)];
const WRITTEN_BOOL: Vars = &[("value", Kind::Bool), ("old", Kind::Bool)];

/// A trigger whose points are places in the list of names.
#[derive(Debug)]
pub(super) struct Draft {
    point: usize,
    when: Edge,
    when_at: Option<At<String>>,
    source: hilrig_files::Source,
    steps: Vec<DraftStep>,
}

#[derive(Debug)]
enum DraftStep {
    Set(usize, At<Value>),
    Compute(usize, ProgramId),
    Ramp(usize, At<f64>, Duration),
    Wait(Duration),
    Release(usize),
}

impl Builder {
    pub(super) fn trigger(&mut self, unit: usize, at: &At<TriggerFile>, problems: &mut Problems<'_>) {
        let file = &at.value;
        let point = self.name_of_point(unit, &file.point, problems);
        let when = match file.when.as_ref().map(|when| when.value.as_str()) {
            None | Some("write") => Edge::Write,
            Some("change") => Edge::Change,
            Some("rising") => Edge::Rising,
            Some("falling") => Edge::Falling,
            Some(_) => match &file.when {
                // The kind of the variables is known when the point is.
                Some(text) => {
                    Edge::Expr(self.program(unit, text, Wants::Kind(Kind::Bool), NO_VARS, problems))
                }
                None => Edge::Write,
            },
        };
        if file.steps.value.is_empty() {
            problems.add(&file.steps.span, "nothing to do", "give it steps such as { set = { .. } }");
        }
        let steps = file.steps.value.iter().filter_map(|step| self.step(unit, step, problems)).collect();
        let source = problems.current();
        self.triggers.push(Draft { point, when, when_at: file.when.clone(), source, steps });
    }

    fn step(&mut self, unit: usize, at: &At<StepFile>, problems: &mut Problems<'_>) -> Option<DraftStep> {
        Some(match &at.value {
            StepFile::Wait(time) => DraftStep::Wait(problems.time(time, Duration::from_secs(1))),
            StepFile::Release(name) => DraftStep::Release(self.name_of_point(unit, name, problems)),
            StepFile::Ramp(ramp) => {
                let over = problems.time(&ramp.over, Duration::from_secs(1));
                DraftStep::Ramp(self.name_of_point(unit, &ramp.point, problems), ramp.to.clone(), over)
            }
            StepFile::Set(SetFile { point, value, expr }) => {
                let point = self.name_of_point(unit, point, problems);
                match (value, expr) {
                    (Some(value), None) => DraftStep::Set(point, value.clone()),
                    (None, Some(expr)) => {
                        let wants = Wants::Like(point);
                        DraftStep::Compute(point, self.program(unit, expr, wants, NO_VARS, problems))
                    }
                    _ => {
                        let label = "a point is set to one of them";
                        problems.add(&at.span, "not exactly one of `value` and `expr`", label);
                        return None;
                    }
                }
            }
        })
    }

    /// Gives expressions of triggers their variables; before programs are read.
    pub(super) fn type_triggers(&mut self, named: &[Option<PointId>]) {
        for draft in &self.triggers {
            if let (Edge::Expr(program), Some(Some(id))) = (draft.when, named.get(draft.point)) {
                let is_bool = self.plant.fixed.points[id.index()].kind == Type::Bool;
                self.programs[program as usize].vars = if is_bool { WRITTEN_BOOL } else { WRITTEN };
            }
        }
    }

    /// Puts points in the place of names.
    pub(super) fn finish_triggers(&mut self, named: &[Option<PointId>], problems: &mut Problems<'_>) {
        let here = problems.current();
        for draft in std::mem::take(&mut self.triggers) {
            problems.back(draft.source);
            let Some(point) = named[draft.point] else { continue };
            if let Some(when) = draft.when_at.as_ref().filter(|_| draft.when != Edge::Write)
                && self.plant.fixed.points[point.index()].kind == Type::String
            {
                let label = "text is no number; \"write\" is for any write";
                problems.add(&when.span, "text is not compared", label);
            }
            let steps = draft.steps.into_iter().filter_map(|step| self.finish_step(step, named, problems));
            let steps = steps.collect();
            let fixed = &mut self.plant.fixed;
            fixed.triggers_of[point.index()].push(fixed.triggers.len() as u32);
            fixed.triggers.push(Trigger { when: draft.when, steps });
        }
        problems.back(here);
    }

    fn finish_step(
        &self,
        step: DraftStep,
        named: &[Option<PointId>],
        problems: &mut Problems<'_>,
    ) -> Option<Step> {
        let points = &self.plant.fixed.points;
        Some(match step {
            DraftStep::Wait(time) => Step::Wait(time.as_nanos() as u64),
            DraftStep::Release(name) => Step::Release(named[name]?),
            DraftStep::Compute(name, program) => {
                let id = named[name]?;
                if points[id.index()].kind == Type::String {
                    let text = &self.named[name].text;
                    problems.add(&text.span, "text cannot be computed", "set it to a `value`");
                    return None;
                }
                Step::Compute(id, program)
            }
            DraftStep::Ramp(name, to, over) => {
                let (id, text) = (named[name]?, &self.named[name].text);
                let point = &points[id.index()];
                if matches!(point.kind, Type::Bool | Type::String) {
                    let message = format!("{} does not move evenly", point.kind.name());
                    problems.add(&text.span, message, "only numbers do; use `set`");
                    return None;
                }
                let mut words: Words = [0; MOST_CELLS];
                if let Err(why) = point.put(&Value::Float(to.value), &mut words[..usize::from(point.cells)]) {
                    problems.add(&to.span, "the point cannot have this value", why.to_string());
                }
                Step::Ramp(id, to.value, over)
            }
            DraftStep::Set(name, value) => {
                let id = named[name]?;
                let point = &points[id.index()];
                let mut words: Words = [0; MOST_CELLS];
                if let Err(why) = point.put(&value.value, &mut words[..usize::from(point.cells)]) {
                    problems.add(&value.span, "the point cannot have this value", why.to_string());
                }
                match value.value.number().filter(|_| point.kind != Type::String && point.bit.is_some()) {
                    // Its register has other bits.
                    Some(number) => Step::Set(id, number),
                    None => Step::Cells(id, Box::new(words)),
                }
            }
        })
    }
}
