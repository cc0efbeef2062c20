//! What comes from outside: writes of masters, and values that are set, moved and released by hand or by a sequence.

use std::time::Duration;

use super::{Engine, Fixed, Mode};
use crate::codec::Words;
use crate::point::{PointId, SetError, Type};
use crate::signal::Signal;
use crate::{OnWrite, Refusal, Table, Value};

impl Engine {
    /// Writes cells for a master: as a whole or not at all.
    pub fn write(
        &mut self,
        fixed: &Fixed,
        place: usize,
        table: Table,
        address: u16,
        quantity: u16,
        value: impl Fn(usize) -> u16,
    ) -> Result<(), Refusal> {
        let last = address.saturating_add(quantity.saturating_sub(1));
        let placed = &fixed.placed[place][table as usize];
        let mut others = false;
        for span in placed.touching(address, last) {
            let point = &fixed.points[span.point.index()];
            let signal = self.states[span.point.index()].mode == Mode::Signal;
            if signal && point.on_write == OnWrite::Refuse {
                return Err(Refusal::Address);
            }
            if point.checks_writes() {
                let whole = &mut self.load(fixed, span.point)[..usize::from(point.cells)];
                for (a, word) in (span.first..=span.last).zip(whole.iter_mut()) {
                    if (address..=last).contains(&a) {
                        *word = value(usize::from(a - address));
                    }
                }
                if !point.admits(whole) {
                    return Err(Refusal::Value);
                }
            }
            self.remember_old(fixed, span.point);
            others = true;
        }
        let unit = &mut self.units[place].1;
        for (i, a) in (address..=last).enumerate() {
            let _ = unit.set(table, a, value(i));
        }
        self.touch();
        if others {
            for span in placed.touching(address, last) {
                self.after_write(fixed, span.point);
                self.note_written(span.point);
            }
            for span in placed.touching(address, last) {
                self.fire(fixed, span.point);
            }
        }
        Ok(())
    }

    /// The cells of a point hold what was written; says what becomes of its signal.
    fn after_write(&mut self, fixed: &Fixed, id: PointId) {
        let on_write = fixed.points[id.index()].on_write;
        match (self.states[id.index()].mode, on_write, &fixed.signals[id.index()]) {
            (Mode::Cells, ..) | (Mode::Signal, OnWrite::Ignore | OnWrite::Refuse, _) => {}
            (Mode::Signal, OnWrite::Take, Some(Signal::Machine(place))) => {
                self.memories[*place as usize].value = self.number_in_cells(fixed, id);
                self.touch();
            }
            _ => self.change_mode(fixed, id, Mode::Cells),
        }
    }

    fn note_written(&mut self, id: PointId) {
        let state = &mut self.states[id.index()];
        if !state.written {
            state.written = true;
            self.written.push(id);
        }
    }

    pub fn take_written(&mut self) -> impl Iterator<Item = PointId> + '_ {
        let states = &mut self.states;
        self.written.drain(..).inspect(|id| states[id.index()].written = false)
    }

    /// Gives a point a value by hand.
    pub fn set(&mut self, fixed: &Fixed, id: PointId, value: &Value) -> Result<(), SetError> {
        self.fresh(fixed, id);
        let mut words = self.load(fixed, id);
        fixed.points[id.index()].put(value, &mut words[..usize::from(fixed.points[id.index()].cells)])?;
        self.remember_old(fixed, id);
        self.put_words(fixed, id, &words);
        self.fire(fixed, id);
        Ok(())
    }

    /// Puts a value into the cells and nothing more; these cells, if they say the value.
    pub fn store_value(
        &mut self,
        fixed: &Fixed,
        id: PointId,
        value: &Value,
        cells: &[u16],
    ) -> Result<(), SetError> {
        let point = &fixed.points[id.index()];
        let mut words = self.load(fixed, id);
        let words = &mut words[..usize::from(point.cells)];
        if point.decode(cells).is_some_and(|said| said.to_string() == value.to_string()) {
            words.copy_from_slice(cells);
        } else {
            point.put(value, words)?;
        }
        self.units[fixed.places[id.index()]].1.store(point.table, point.address, words);
        self.touch();
        Ok(())
    }

    pub fn cells(&self, fixed: &Fixed, id: PointId) -> Vec<u16> {
        self.load(fixed, id)[..usize::from(fixed.points[id.index()].cells)].to_vec()
    }

    pub fn set_number(&mut self, fixed: &Fixed, id: PointId, value: f64) {
        self.fresh(fixed, id);
        self.remember_old(fixed, id);
        self.assign(fixed, id, value);
        self.fire(fixed, id);
    }

    /// As a sequence does it: sets off nothing.
    pub fn assign(&mut self, fixed: &Fixed, id: PointId, value: f64) {
        self.fresh(fixed, id);
        self.put_number(fixed, id, value);
        self.after_set(fixed, id);
    }

    pub fn put_words(&mut self, fixed: &Fixed, id: PointId, words: &Words) {
        let point = &fixed.points[id.index()];
        let unit = &mut self.units[fixed.places[id.index()]].1;
        unit.store(point.table, point.address, &words[..usize::from(point.cells)]);
        self.after_set(fixed, id);
    }

    /// A hand is stronger than `on_write`, but for a signal that takes the value.
    fn after_set(&mut self, fixed: &Fixed, id: PointId) {
        self.touch();
        if fixed.points[id.index()].on_write == OnWrite::Take {
            self.after_write(fixed, id);
        } else if self.is_driven(id) {
            self.change_mode(fixed, id, Mode::Cells);
        }
    }

    pub fn check_ramp(&mut self, fixed: &Fixed, id: PointId, to: f64) -> Result<(), SetError> {
        let point = &fixed.points[id.index()];
        if matches!(point.kind, Type::Bool | Type::String) {
            return Err(SetError::Ramp { point: point.name.clone(), kind: point.kind.name() });
        }
        point.put(&Value::Float(to), &mut self.load(fixed, id)[..usize::from(point.cells)])
    }

    pub fn ramp(&mut self, fixed: &Fixed, id: PointId, to: f64, over: Duration) {
        let from = self.number(fixed, id);
        let over = u64::try_from(over.as_nanos()).unwrap_or(u64::MAX);
        if over == 0 {
            return self.assign(fixed, id, to);
        }
        self.change_mode(fixed, id, Mode::Ramp { from, to, start: self.time, over });
        self.find_due(fixed);
    }

    pub fn release(&mut self, fixed: &Fixed, id: PointId) {
        if fixed.signals[id.index()].is_some() {
            self.change_mode(fixed, id, Mode::Signal);
            self.find_due(fixed);
        }
    }
}
