//! What moves in a plant: brings live points up to date in their cells, takes the steps of machines and sequences in
//! the order of their times, and does what writes set off. Allocates nothing once the plant is built.

mod hand;

use std::collections::HashMap;

use hilrig_port::Time;

use crate::codec::{MOST_CELLS, Words};
use crate::expr::Program;
use crate::extras::{Extras, Status};
use crate::machine::{Machine, Memory};
use crate::point::{Point, PointId};
use crate::signal::{ProgramId, Signal, line};
use crate::spans::{Span, Spans};
use crate::trigger::{Run, Trigger};
use crate::{Table, Unit, UnitError, Value};

/// The end of time; what is due after it never is.
const LAST: u64 = u64::MAX - 1;

/// What does not change once the plant is built (but for the records of files, which nothing else depends on).
#[derive(Debug, Clone, Default)]
pub(crate) struct Fixed {
    pub points: Vec<Point>,
    /// Full names, and short ones where only one point has it.
    pub names: HashMap<String, Option<PointId>>,
    /// By point: place of its unit, its signal, its triggers.
    pub places: Vec<usize>,
    pub signals: Vec<Option<Signal>>,
    pub triggers_of: Vec<Vec<u32>>,
    pub programs: Vec<Program>,
    pub machines: Vec<Machine>,
    /// Point of each machine.
    pub machine_points: Vec<PointId>,
    /// Machines of one period, in order.
    pub clocks: Vec<(u64, Vec<u32>)>,
    pub triggers: Vec<Trigger>,
    /// By unit: all points of each table.
    pub placed: Vec<[Spans; 4]>,
    pub extras: Vec<Extras>,
}

impl Fixed {
    pub fn add_unit(&mut self) {
        self.placed.push(Default::default());
        self.extras.push(Extras::default());
    }

    fn span(&self, id: PointId) -> Span {
        let point = &self.points[id.index()];
        Span { first: point.address, last: point.last(), point: id }
    }
}

/// Where a point's value comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Mode {
    /// Its cells.
    #[default]
    Cells,
    Signal,
    Ramp {
        from: f64,
        to: f64,
        start: u64,
        over: u64,
    },
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct State {
    pub mode: Mode,
    /// The engine's stamp when the cells were last made.
    stamp: u64,
    written: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub units: Vec<(u8, Unit)>,
    /// Place in `units` of a unit id.
    index: [Option<u8>; 256],
    begin: Option<Time>,
    /// Nanoseconds that had passed already when it began.
    pub shift: u64,
    /// Nanoseconds since the start.
    pub time: u64,
    /// Counts everything that may change a live value.
    stamp: u64,
    /// When the next step, ramp end or sequence is due.
    due: u64,
    pub states: Vec<State>,
    /// By unit: those of `placed` that are not in the mode of cells.
    live: Vec<[Spans; 4]>,
    pub memories: Vec<Memory>,
    /// By clock: time of its next step.
    pub next: Vec<u64>,
    /// By trigger.
    pub runs: Vec<Run>,
    /// Points in the mode of ramps.
    ramps: Vec<PointId>,
    written: Vec<PointId>,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            units: vec![],
            index: [None; 256],
            begin: None,
            shift: 0,
            time: 0,
            stamp: 1,
            due: u64::MAX,
            states: vec![],
            live: vec![],
            memories: vec![],
            next: vec![],
            runs: vec![],
            ramps: vec![],
            written: vec![],
        }
    }
}

impl Engine {
    pub fn add_unit(&mut self, id: u8, unit: Unit) -> Result<(), UnitError> {
        if !(1..=247).contains(&id) {
            return Err(UnitError::Id { id });
        }
        if self.index[usize::from(id)].is_some() {
            return Err(UnitError::Twice { id });
        }
        self.index[usize::from(id)] = Some(self.units.len() as u8);
        self.units.push((id, unit));
        self.live.push(Default::default());
        Ok(())
    }

    /// Makes room for all that the plant has; nothing is allocated later.
    pub fn prepare(&mut self, fixed: &Fixed) {
        let points = fixed.points.len();
        self.states = vec![State::default(); points];
        self.runs = vec![Run::default(); fixed.triggers.len()];
        self.next = fixed.clocks.iter().map(|(period, _)| *period).collect();
        self.memories = vec![Memory::default(); fixed.machines.len()];
        self.make_room(fixed);
        for id in 0..points {
            if fixed.signals[id].is_some() {
                self.change_mode(fixed, PointId(id as u32), Mode::Signal);
            }
        }
    }

    fn make_room(&mut self, fixed: &Fixed) {
        for list in [&mut self.ramps, &mut self.written] {
            list.reserve_exact(fixed.points.len() - list.len());
        }
        for (live, placed) in self.live.iter_mut().zip(&fixed.placed) {
            live.iter_mut().zip(placed).for_each(|(live, placed)| live.reserve(placed.len()));
        }
    }

    #[inline]
    pub fn place(&self, unit: u8) -> Option<usize> {
        self.index[usize::from(unit)].map(usize::from)
    }

    /// What was computed so far holds no longer.
    pub fn touch(&mut self) {
        self.stamp += 1;
    }

    pub fn begin(&mut self, fixed: &Fixed, now: Time) {
        // The copy of a plant has room for no more than it holds.
        self.make_room(fixed);
        self.begin = Some(now);
        (self.shift, self.time) = (0, 0);
        self.next.iter_mut().zip(&fixed.clocks).for_each(|(next, (period, _))| *next = *period);
        self.runs.fill(Run::default());
        while let Some(id) = self.ramps.first().copied() {
            self.change_mode(fixed, id, Mode::Cells);
        }
        // Machines may start from what others start with, in any order.
        for _ in 0..4 {
            for (i, machine) in fixed.machines.iter().enumerate() {
                self.touch();
                let mut memory = std::mem::take(&mut self.memories[i]);
                machine.start(&mut memory, |id, elapsed| self.eval(fixed, id, &[elapsed]));
                self.memories[i] = memory;
            }
        }
        self.touch();
        self.find_due(fixed);
    }

    /// Goes on from `time` on, at `now`.
    pub fn resume(&mut self, fixed: &Fixed, now: Time, time: u64) {
        self.begin = Some(now);
        (self.shift, self.time) = (time, time);
        self.touch();
        self.find_due(fixed);
    }

    /// Brings time to `now`.
    #[inline]
    pub fn to(&mut self, fixed: &Fixed, now: Time) {
        let Some(begin) = self.begin else { return self.begin(fixed, now) };
        let t = now.0.saturating_sub(begin.0).saturating_add(self.shift).min(LAST);
        if t >= self.due {
            self.catch_up(fixed, t);
        }
        if t > self.time {
            self.time = t;
            self.stamp += 1;
        }
    }

    fn find_due(&mut self, fixed: &Fixed) {
        let clocks = self.next.iter().copied().min().unwrap_or(u64::MAX);
        let runs = self.runs.iter().filter_map(|run| run.at).min().unwrap_or(u64::MAX);
        self.due = clocks.min(runs).min(self.first_ramp_end());
        debug_assert_eq!(self.next.len(), fixed.clocks.len());
    }

    fn first_ramp_end(&self) -> u64 {
        self.ramps.iter().filter_map(|id| self.ramp_end(*id)).min().unwrap_or(u64::MAX)
    }

    fn ramp_end(&self, id: PointId) -> Option<u64> {
        match self.states[id.index()].mode {
            Mode::Ramp { start, over, .. } => Some(start.saturating_add(over)),
            _ => None,
        }
    }

    /// Does everything that is due, in the order of time; at one moment first ramps end, then sequences go on, then
    /// machines step.
    #[cold]
    fn catch_up(&mut self, fixed: &Fixed, t: u64) {
        while self.due <= t {
            let at = self.due;
            self.time = at;
            self.touch();
            while let Some(id) = self.ramps.iter().copied().find(|id| self.ramp_end(*id) == Some(at)) {
                self.refresh(fixed, id);
                self.change_mode(fixed, id, Mode::Cells);
            }
            for i in 0..self.runs.len() {
                if self.runs[i].at == Some(at) {
                    self.go_on(fixed, i);
                }
            }
            for c in 0..self.next.len() {
                if self.next[c] == at {
                    let (period, machines) = &fixed.clocks[c];
                    for m in machines {
                        let i = *m as usize;
                        let mut memory = std::mem::take(&mut self.memories[i]);
                        let eval = |id, elapsed| self.eval(fixed, id, &[elapsed]);
                        fixed.machines[i].step(at, &mut memory, eval);
                        self.memories[i] = memory;
                        self.touch();
                    }
                    self.next[c] = at.saturating_add(*period);
                }
            }
            self.find_due(fixed);
        }
    }

    pub fn eval(&mut self, fixed: &Fixed, id: ProgramId, vars: &[f64]) -> f64 {
        let seconds = self.time as f64 / 1e9;
        fixed.programs[id as usize].run(seconds, vars, |point| self.number(fixed, point))
    }

    pub fn is_driven(&self, id: PointId) -> bool {
        self.states[id.index()].mode != Mode::Cells
    }

    pub fn change_mode(&mut self, fixed: &Fixed, id: PointId, mode: Mode) {
        let (span, state) = (fixed.span(id), &mut self.states[id.index()]);
        let old = std::mem::replace(&mut state.mode, mode);
        state.stamp = 0;
        let live = &mut self.live[fixed.places[id.index()]][fixed.points[id.index()].table as usize];
        if mode == Mode::Cells {
            live.remove(span)
        } else {
            live.insert(span)
        }
        let (ramps, ramp) = (matches!(old, Mode::Ramp { .. }), matches!(mode, Mode::Ramp { .. }));
        if ramps && !ramp {
            self.ramps.retain(|r| *r != id);
        } else if ramp && !ramps {
            self.ramps.push(id);
        }
        self.touch();
    }

    /// Brings the live points of a range up to date. Costs one look if the table has none.
    #[inline]
    pub fn refresh_range(&mut self, fixed: &Fixed, place: usize, table: Table, first: u16, last: u16) {
        let live = &self.live[place][table as usize];
        if !live.is_empty() {
            let from = live.start(first);
            self.refresh_from(fixed, place, table, from, first, last);
        }
    }

    fn refresh_from(
        &mut self,
        fixed: &Fixed,
        place: usize,
        table: Table,
        from: usize,
        first: u16,
        last: u16,
    ) {
        // Nothing that happens here makes a point live or takes it out.
        for i in from.. {
            match self.live[place][table as usize].get(i) {
                Some(span) if span.first <= last => {
                    if span.last >= first {
                        self.refresh(fixed, span.point);
                    }
                }
                _ => return,
            }
        }
    }

    /// Puts the value of a live point into its cells, once for a moment.
    fn refresh(&mut self, fixed: &Fixed, id: PointId) {
        let state = &mut self.states[id.index()];
        if state.stamp == self.stamp {
            return;
        }
        state.stamp = self.stamp;
        let value = match state.mode {
            Mode::Cells => return,
            Mode::Ramp { from, to, start, over } => line(from, to, self.time.saturating_sub(start), over),
            Mode::Signal => match &fixed.signals[id.index()] {
                Some(Signal::Machine(place)) => self.memories[*place as usize].value,
                Some(signal) => {
                    let t = self.time;
                    signal.at(t, |program| self.eval(fixed, program, &[]), |_| 0.0)
                }
                None => return,
            },
        };
        self.put_number(fixed, id, value);
    }

    fn put_number(&mut self, fixed: &Fixed, id: PointId, value: f64) {
        let point = &fixed.points[id.index()];
        let unit = &mut self.units[fixed.places[id.index()]].1;
        let mut words = [0; 4];
        let words = &mut words[..usize::from(point.cells).min(4)];
        if point.bit.is_some() {
            unit.load(point.table, point.address, words);
        }
        point.put_number(value, words);
        unit.store(point.table, point.address, words);
    }

    fn load(&self, fixed: &Fixed, id: PointId) -> Words {
        let point = &fixed.points[id.index()];
        let mut words = [0; MOST_CELLS];
        self.units[fixed.places[id.index()]].1.load(
            point.table,
            point.address,
            &mut words[..usize::from(point.cells)],
        );
        words
    }

    fn fresh(&mut self, fixed: &Fixed, id: PointId) {
        let point = &fixed.points[id.index()];
        let place = fixed.places[id.index()];
        self.refresh_range(fixed, place, point.table, point.address, point.last());
    }

    pub fn number(&mut self, fixed: &Fixed, id: PointId) -> f64 {
        self.fresh(fixed, id);
        self.number_in_cells(fixed, id)
    }

    fn number_in_cells(&self, fixed: &Fixed, id: PointId) -> f64 {
        let point = &fixed.points[id.index()];
        let mut words = [0; 4];
        let words = &mut words[..usize::from(point.cells).min(4)];
        self.units[fixed.places[id.index()]].1.load(point.table, point.address, words);
        point.number(words)
    }

    pub fn value(&mut self, fixed: &Fixed, id: PointId) -> Value {
        self.fresh(fixed, id);
        let point = &fixed.points[id.index()];
        point.value(&self.load(fixed, id)[..usize::from(point.cells)])
    }

    pub fn note_due(&mut self, at: u64) {
        self.due = self.due.min(at);
    }

    pub fn status(&mut self, fixed: &Fixed, unit: u8) -> u8 {
        let Some(place) = self.place(unit) else { return 0 };
        match &fixed.extras[place].status {
            Status::Fixed(byte) => *byte,
            Status::Points(points) => points.iter().enumerate().fold(0, |byte, (bit, point)| {
                let on = point.is_some_and(|id| self.number(fixed, id) != 0.0);
                byte | u8::from(on) << bit
            }),
        }
    }
}
