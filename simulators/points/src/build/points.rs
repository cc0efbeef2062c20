//! Typed points: place, type, limits, the value at the start.

use std::path::Path;

use hilrig_files::{At, Problems};

use super::Builder;
use crate::codec::{MOST_CELLS, Words};
use crate::csv;
use crate::point::{Point, PointId};
use crate::spans::Span;
use crate::{Access, OnWrite, Order, PointFile, SignalFile, Table, Type, Unit, UnitFile, Value, place};

impl Builder {
    pub(super) fn points(
        &mut self,
        unit_place: usize,
        unit: &mut Unit,
        file: &UnitFile,
        folder: &Path,
        problems: &mut Problems<'_>,
    ) {
        for (name, point) in &file.point.0 {
            self.point(unit_place, unit, name, &point.value, folder, problems);
        }
        let Some(path) = &file.csv else { return };
        let Some(text) = csv::open(path, folder, problems) else { return };
        let back = problems.current();
        let unit_name = self.plant.fixed.extras[unit_place].name.clone();
        problems.enter(&folder.join(&path.value).display().to_string(), text.clone());
        for (name, point) in csv::points(&text, &unit_name, problems) {
            self.point(unit_place, unit, &name, &point, folder, problems);
        }
        problems.back(back);
    }

    fn point(
        &mut self,
        unit_place: usize,
        unit: &mut Unit,
        name: &At<String>,
        file: &PointFile,
        folder: &Path,
        problems: &mut Problems<'_>,
    ) {
        problems.name(name);
        let Some(point) = self.shape(unit_place, name, file, problems) else { return };
        if !self.room(unit_place, &point, name, problems) {
            return;
        }
        self.define(unit, &point, file, problems);
        self.take_in(unit_place, point, name, problems);
        let id = PointId((self.plant.fixed.points.len() - 1) as u32);
        if let Some(signal) = &file.signal {
            self.signal(id, unit_place, signal, folder, problems);
        }
        self.check_on_write(id, file, problems);
    }

    /// What the point is, as far as it can be said without the others.
    fn shape(
        &self,
        unit_place: usize,
        name: &At<String>,
        file: &PointFile,
        problems: &mut Problems<'_>,
    ) -> Option<Point> {
        let Some(at) = &file.at else {
            let label = "give it `at`, such as at = \"holding:0\"";
            problems.add(&name.span, format!("the point `{}` has no place", name.value), label);
            return None;
        };
        let (table, address) = match place(&at.value.0) {
            Ok(found) => found,
            Err((offset, why)) => {
                let text = At { value: at.value.0.clone(), span: at.span.clone() };
                let span = text.part(offset..text.value.len());
                problems.add(&span, format!("`{}` is no place in the tables", at.value.0), why);
                return None;
            }
        };
        let bit = file.bit.as_ref().map(|bit| problems.number(bit, 0..=15, "a bit") as u8);
        let default = if table.is_bits() || bit.is_some() { Type::Bool } else { Type::U16 };
        let kind = file.kind.as_ref().map_or(default, |kind| kind.value);
        if let Some(written) = file.kind.as_ref().filter(|_| default == Type::Bool && kind != Type::Bool) {
            let why = if bit.is_some() { "a bit is a bool" } else { "coils and discrete inputs are bools" };
            problems.add(&written.span, "this type does not fit the place", why);
            return None;
        }
        if let Some(bit) = file.bit.as_ref().filter(|_| table.is_bits()) {
            problems.add(&bit.span, "a coil has no bits", "leave this out");
        }
        let cells = self.length(kind, name, file, problems)?;
        if usize::from(address) + usize::from(cells) > 65_536 {
            let label = format!("it takes {cells} registers, and addresses end at 65535");
            problems.add(&at.span, "the point passes the last address", label);
            return None;
        }
        let order = file.order.as_ref().map_or(Order::Abcd, |order| order.value);
        if let Some(written) = file.order.as_ref().filter(|_| kind == Type::String)
            && order.reverses_registers()
        {
            let label = "text is \"ABCD\", or \"BADC\" with the bytes of each register swapped";
            problems.add(&written.span, "text has no such order", label);
        }
        let number = !matches!(kind, Type::Bool | Type::String);
        for (key, what) in [
            (&file.scale, "a scale"),
            (&file.offset, "an offset"),
            (&file.min, "a lowest value"),
            (&file.max, "a highest value"),
        ] {
            if let Some(key) = key.as_ref().filter(|_| !number) {
                problems.add(&key.span, format!("{} has no {}", kind.name(), &what[2..]), "leave this out");
            } else if let Some(key) = key.as_ref().filter(|key| !key.value.is_finite()) {
                problems.add(&key.span, "this is no finite number", format!("{what} is one"));
            }
        }
        let scale = file.scale.as_ref().map_or(1.0, |scale| scale.value);
        if let Some(written) = file.scale.as_ref().filter(|_| scale == 0.0) {
            problems.add(&written.span, "a scale of 0", "all values would be the offset");
            return None;
        }
        if let (Some(min), Some(max)) = (&file.min, &file.max)
            && min.value > max.value
        {
            problems.add(&max.span, "no value is within these limits", "`max` is below `min`");
        }
        let unit_name = &self.plant.fixed.extras[unit_place].name;
        Some(Point {
            name: format!("{unit_name}.{}", name.value),
            unit: self.plant.engine.units[unit_place].0,
            table,
            address,
            kind,
            cells,
            bit: bit.filter(|_| !table.is_bits()),
            order,
            scale,
            offset: file.offset.as_ref().map_or(0.0, |offset| offset.value),
            measure: file.unit.as_ref().map_or_else(String::new, |unit| unit.value.clone()),
            min: file.min.as_ref().map(|min| min.value),
            max: file.max.as_ref().map(|max| max.value),
            access: file.access.as_ref().map_or(Access::Rw, |access| access.value),
            on_write: file.on_write.as_ref().map_or(OnWrite::Override, |on_write| on_write.value),
            signal: None,
            expr: match &file.signal {
                Some(At { value: SignalFile::Expr(text), .. }) => Some(text.value.clone()),
                _ => None,
            },
        })
    }

    fn length(
        &self,
        kind: Type,
        name: &At<String>,
        file: &PointFile,
        problems: &mut Problems<'_>,
    ) -> Option<u16> {
        match (kind.cells(), &file.length) {
            (Some(cells), None) => Some(cells),
            (Some(cells), Some(length)) => {
                problems.add(&length.span, "only strings have a length", "leave this out");
                Some(cells)
            }
            (None, Some(length)) => {
                Some(problems.number(length, 1..=MOST_CELLS as i64, "a length in registers") as u16)
            }
            (None, None) => {
                let message = format!("the string `{}` has no length", name.value);
                problems.add(&name.span, message, "give it `length`, in registers of two bytes");
                None
            }
        }
    }

    /// Whether the name is new, and the place free; bits may lie in other points.
    fn room(&self, unit_place: usize, point: &Point, name: &At<String>, problems: &mut Problems<'_>) -> bool {
        let line_of = |id: PointId, problems: &mut Problems<'_>| {
            let (source, span) = &self.point_places[id.index()];
            let here = problems.current();
            problems.back(*source);
            let (line, file) = (problems.line(span.start), problems.file().to_owned());
            problems.back(here);
            if *source == here { format!("line {line}") } else { format!("line {line} of {file}") }
        };
        if let Some(Some(other)) = self.plant.fixed.names.get(&point.name) {
            let line = line_of(*other, problems);
            problems.add(&name.span, "two points have this name", format!("the other is in {line}"));
            return false;
        }
        let placed = &self.plant.fixed.placed[unit_place][point.table as usize];
        for span in placed.touching(point.address, point.last()) {
            let other = &self.plant.fixed.points[span.point.index()];
            if point.bit != other.bit && (point.bit.is_some() || other.bit.is_some()) {
                continue;
            }
            let message = format!("`{}` lies where `{}` is", name.value, other.short_name());
            let line = line_of(span.point, problems);
            let label = format!("`{}` in {line} takes {}", other.short_name(), range(other));
            problems.add(&name.span, message, label);
            return false;
        }
        true
    }

    /// Makes the cells exist, and puts the first value into them.
    fn define(&self, unit: &mut Unit, point: &Point, file: &PointFile, problems: &mut Problems<'_>) {
        let (table, first, last) = (point.table, point.address, point.last());
        let mut words: Words = [0; MOST_CELLS];
        let words = &mut words[..usize::from(point.cells)];
        unit.load(table, first, words);
        if let Some(value) = &file.value
            && let Err(why) = point.put(&value.value, words)
        {
            problems.add(&value.span, "the point cannot have this value", why.to_string());
        }
        // It fits: that was checked.
        let _ = unit.define(table, first, words.iter().copied());
        if file.access.is_some() {
            unit.allow(table, first, last, point.access);
        }
    }

    fn take_in(&mut self, unit_place: usize, point: Point, name: &At<String>, problems: &Problems<'_>) {
        let fixed = &mut self.plant.fixed;
        let id = PointId(fixed.points.len() as u32);
        let span = Span { first: point.address, last: point.last(), point: id };
        fixed.placed[unit_place][point.table as usize].insert(span);
        fixed.names.insert(point.name.clone(), Some(id));
        fixed
            .names
            .entry(point.short_name().to_owned())
            .and_modify(|other| *other = None)
            .or_insert(Some(id));
        fixed.points.push(point);
        fixed.places.push(unit_place);
        fixed.signals.push(None);
        fixed.triggers_of.push(vec![]);
        self.point_places.push((problems.current(), name.span.clone()));
    }

    fn check_on_write(&self, id: PointId, file: &PointFile, problems: &mut Problems<'_>) {
        let Some(on_write) = &file.on_write else { return };
        let takes = matches!(
            &file.signal,
            Some(At {
                value: SignalFile::Counter(_)
                    | SignalFile::Integrator(_)
                    | SignalFile::Lag(_)
                    | SignalFile::RandomWalk(_),
                ..
            })
        ) || matches!(&file.signal, Some(At { value: SignalFile::Pid(pid), .. }) if pid.plant.is_some());
        let table = self.plant.fixed.points[id.index()].table;
        let wrong = if file.signal.is_none() {
            "it is about points with a signal"
        } else if !matches!(table, Table::Coils | Table::HoldingRegisters) {
            "a master cannot write inputs"
        } else if on_write.value == OnWrite::Take && !takes {
            "\"take\" is for counter, integrator, lag, random_walk, and pid with a plant"
        } else {
            return;
        };
        problems.add(&on_write.span, "`on_write` has no meaning here", wrong);
    }
}

fn range(point: &Point) -> String {
    let (table, first, last) = (point.table.name(), point.address, point.last());
    if first == last { format!("{table}:{first}") } else { format!("{table}:{first}..{last}") }
}

/// A value of a field of a CSV file; its point's type says what the text is.
pub(crate) fn text_value(text: &At<String>) -> At<Value> {
    At { value: Value::Text(text.value.clone()), span: text.span.clone() }
}
