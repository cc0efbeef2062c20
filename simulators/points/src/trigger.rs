//! Sequences that writes to points set off. A sequence does its steps at once up to a wait, and goes on when that is
//! over, at that very time whoever looks and when.

use std::time::Duration;

use crate::codec::Words;
use crate::engine::{Engine, Fixed, Mode};
use crate::point::PointId;
use crate::signal::ProgramId;

#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub when: Edge,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Write,
    Change,
    Rising,
    Falling,
    Expr(ProgramId),
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Numbers and bools.
    Set(PointId, f64),
    /// What has no number, as its cells.
    Cells(PointId, Box<Words>),
    Compute(PointId, ProgramId),
    Ramp(PointId, f64, Duration),
    /// Nanoseconds.
    Wait(u64),
    Release(PointId),
}

/// Where a sequence is.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Run {
    /// When its next step is due; none while it does not run.
    pub at: Option<u64>,
    pub step: usize,
    /// The point before the write.
    #[serde(skip)]
    pub old: f64,
}

impl Engine {
    pub fn remember_old(&mut self, fixed: &Fixed, id: PointId) {
        for i in &fixed.triggers_of[id.index()] {
            self.runs[*i as usize].old = self.number(fixed, id);
        }
    }

    /// Starts the sequences of a point that was written.
    pub fn fire(&mut self, fixed: &Fixed, id: PointId) {
        for i in &fixed.triggers_of[id.index()] {
            let i = *i as usize;
            let (old, new) = (self.runs[i].old, self.number(fixed, id));
            let fires = match fixed.triggers[i].when {
                Edge::Write => true,
                Edge::Change => old != new,
                Edge::Rising => old == 0.0 && new != 0.0,
                Edge::Falling => old != 0.0 && new == 0.0,
                Edge::Expr(program) => self.eval(fixed, program, &[new, old]) != 0.0,
            };
            if fires {
                self.runs[i].step = 0;
                self.go_on(fixed, i);
            }
        }
    }

    /// Does the steps of a sequence up to the next wait or its end.
    pub fn go_on(&mut self, fixed: &Fixed, i: usize) {
        self.runs[i].at = None;
        while let Some(step) = fixed.triggers[i].steps.get(self.runs[i].step) {
            self.runs[i].step += 1;
            match step {
                Step::Set(id, value) => self.assign(fixed, *id, *value),
                Step::Cells(id, words) => self.put_words(fixed, *id, words),
                Step::Compute(id, program) => {
                    let value = self.eval(fixed, *program, &[]);
                    self.assign(fixed, *id, value);
                }
                Step::Ramp(id, to, over) => self.ramp(fixed, *id, *to, *over),
                Step::Release(id) => self.release(fixed, *id),
                Step::Wait(time) => {
                    let at = self.time.saturating_add(*time);
                    self.runs[i].at = Some(at);
                    self.note_due(at);
                    return;
                }
            }
        }
    }

    /// Whether a point moves evenly to a value.
    pub fn ramp_of(&self, id: PointId) -> Option<(f64, f64, u64, u64)> {
        match self.states[id.index()].mode {
            Mode::Ramp { from, to, start, over } => Some((from, to, start, over)),
            _ => None,
        }
    }
}
