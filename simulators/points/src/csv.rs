//! CSV files: points in bulk, and recordings. The reader is our own because every mistake is told with its line and
//! column. Commas, semicolons (then numbers may have decimal commas) or tabs, whichever the first line has most of;
//! fields in quotes; lines that begin with # say nothing.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use hilrig_files::{At, Problems, bytes_of, known};

use crate::build::text_value;
use crate::signal::Track;
use crate::{Access, Between, CsvFile, OnWrite, Order, PlaceText, PointFile, SignalFile, Type, Value};

/// A file, unless it cannot be read.
pub(crate) fn open(path: &At<String>, folder: &Path, problems: &mut Problems<'_>) -> Option<String> {
    let full = folder.join(&path.value);
    match bytes_of(&full).map(String::from_utf8) {
        Ok(Ok(text)) => return Some(text),
        Ok(Err(e)) => {
            let at = e.utf8_error().valid_up_to();
            let line = 1 + e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
            let label = format!("line {line} is not UTF-8 text");
            problems.add(&path.span, format!("cannot read {}", full.display()), label);
        }
        Err(e) => {
            problems.add(&path.span, format!("cannot read {}", full.display()), e.to_string());
        }
    }
    None
}

type Record = Vec<At<String>>;

struct Sheet {
    separator: u8,
    records: Vec<Record>,
}

impl Sheet {
    /// A number of this sheet.
    fn number(&self, field: &At<String>) -> Option<f64> {
        let text = field.value.trim();
        let parsed = if self.separator == b';' { text.replace(',', ".").parse() } else { text.parse() };
        parsed.ok()
    }
}

fn read(text: &str, problems: &mut Problems<'_>) -> Sheet {
    let start = if text.starts_with('\u{FEFF}') { 3 } else { 0 };
    let header = text[start..].lines().find(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let count = |c: &u8| header.unwrap_or("").bytes().filter(|b| b == c).count();
    let separator = [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',');
    let mut sheet = Sheet { separator, records: vec![] };
    let (bytes, mut at) = (text.as_bytes(), start);
    while at < bytes.len() {
        let line_end = text[at..].find('\n').map_or(text.len(), |n| at + n);
        let line = &text[at..line_end];
        if line.trim().is_empty() || line.starts_with('#') {
            at = line_end + 1;
            continue;
        }
        let mut record = vec![];
        loop {
            let Some((field, next)) = field(text, at, separator, problems) else { return sheet };
            record.push(field);
            at = next;
            if bytes.get(at) == Some(&separator) {
                at += 1;
            } else {
                break;
            }
        }
        // Behind the line end.
        at += text[at..].find('\n').map_or(text.len() - at, |n| n + 1);
        sheet.records.push(record);
    }
    sheet
}

/// A field and where it ends: at a separator, a line end, or the end of the text. `None` if its quote is not closed,
/// which swallows all that follows.
fn field(
    text: &str,
    start: usize,
    separator: u8,
    problems: &mut Problems<'_>,
) -> Option<(At<String>, usize)> {
    let bytes = text.as_bytes();
    let ends = |at: usize| {
        let is_end = |b: &u8| *b == separator || *b == b'\n';
        bytes[at..].iter().position(is_end).map_or(bytes.len(), |n| at + n)
    };
    let first = start + text[start..].len() - text[start..].trim_start_matches(' ').len();
    if bytes.get(first) != Some(&b'"') {
        let end = ends(start);
        let value = text[start..end].trim();
        let from = start + text[start..end].find(value).unwrap_or(0);
        return Some((At { value: value.to_owned(), span: from..from + value.len() }, end));
    }
    let (mut value, mut at) = (String::new(), first + 1);
    loop {
        let Some(quote) = text[at..].find('"').map(|n| at + n) else {
            problems.add(&(first..first + 1), "a quote is not closed", "this one");
            return None;
        };
        value.push_str(&text[at..quote]);
        at = quote + 1;
        if bytes.get(at) != Some(&b'"') {
            break;
        }
        value.push('"');
        at += 1;
    }
    let end = ends(at);
    let rest: Range<usize> = at..end;
    if !text[rest.clone()].trim().is_empty() {
        problems.add(&rest, "text behind a closed quote", "a quote within a field is written twice");
    }
    Some((At { value, span: first..at }, end))
}

/// Columns of a file of points, in the order in which they are written.
pub(crate) const COLUMNS: [&str; 15] = [
    "name", "at", "type", "length", "order", "scale", "offset", "unit", "min", "max", "access", "on_write",
    "bit", "value", "expr",
];

/// Points of the current file of `problems`, which has this text. Those of other units (`unit.name`) are left out.
pub(crate) fn points(text: &str, unit: &str, problems: &mut Problems<'_>) -> Vec<(At<String>, PointFile)> {
    let sheet = read(text, problems);
    let Some((header, rows)) = sheet.records.split_first() else {
        problems.add(&(0..0), "the file is empty", "the first line names the columns");
        return vec![];
    };
    for (i, column) in header.iter().enumerate() {
        if !COLUMNS.contains(&column.value.as_str()) {
            let message = format!("unknown column `{}`", column.value);
            problems.add(&column.span, message, "no such column").help =
                Some(known("columns", COLUMNS.into_iter()));
        } else if header[..i].iter().any(|other| other.value == column.value) {
            problems.add(&column.span, format!("the column `{}` comes twice", column.value), "again here");
        }
    }
    for needed in ["name", "at"] {
        if !header.iter().any(|column| column.value == needed) {
            let span = header.first().map_or(0..0, |column| column.span.clone());
            problems.add(&span, format!("the column `{needed}` is missing"), "the line of the columns");
            return vec![];
        }
    }
    let mut all = vec![];
    for row in rows {
        if let Some(extra) = row.get(header.len()) {
            let label = format!("the first line names {} columns", header.len());
            problems.add(&extra.span, "this line has too many fields", label);
            continue;
        }
        let get = |name: &str| {
            let place = header.iter().position(|column| column.value == name)?;
            row.get(place).filter(|field| !field.value.is_empty())
        };
        let Some(name) = get("name") else {
            let span = row.first().map_or(0..0, |field| field.span.clone());
            problems.add(&span, "a point without a name", "its name is missing");
            continue;
        };
        let mut name = name.clone();
        if let Some((owner, short)) = name.value.split_once('.') {
            if owner != unit {
                continue;
            }
            name.value = short.to_owned();
        }
        let mut row = Row { sheet: &sheet, problems: &mut *problems };
        all.push((name, row.point(get)));
    }
    all
}

struct Row<'a, 'p> {
    sheet: &'a Sheet,
    problems: &'a mut Problems<'p>,
}

impl Row<'_, '_> {
    fn point<'f>(&mut self, get: impl Fn(&str) -> Option<&'f At<String>>) -> PointFile {
        let number = |row: &mut Self, name: &str| row.number(get(name)?);
        let whole = |row: &mut Self, name: &str| row.whole(get(name)?);
        PointFile {
            at: get("at").map(|at| At { value: PlaceText(at.value.clone()), span: at.span.clone() }),
            kind: get("type").and_then(|field| self.word(field, "type", &Type::ALL)),
            length: whole(self, "length"),
            order: get("order").and_then(|field| self.word(field, "order", &Order::ALL)),
            scale: number(self, "scale"),
            offset: number(self, "offset"),
            unit: get("unit").cloned(),
            min: number(self, "min"),
            max: number(self, "max"),
            access: get("access").and_then(|field| self.word(field, "access", &Access::ALL)),
            on_write: get("on_write").and_then(|field| self.word(field, "on_write", &OnWrite::ALL)),
            bit: whole(self, "bit"),
            value: get("value").map(|field| self.value(field)),
            signal: get("expr")
                .map(|text| At { value: SignalFile::Expr(text.clone()), span: text.span.clone() }),
        }
    }

    fn number(&mut self, field: &At<String>) -> Option<At<f64>> {
        let number = self.sheet.number(field);
        if number.is_none() {
            self.problems.add(
                &field.span,
                format!("`{}` is not a number", field.value),
                "a number is wanted",
            );
        }
        number.map(|value| At { value, span: field.span.clone() })
    }

    fn whole(&mut self, field: &At<String>) -> Option<At<i64>> {
        let number = field.value.parse().ok();
        if number.is_none() {
            let message = format!("`{}` is not a whole number", field.value);
            self.problems.add(&field.span, message, "a whole number is wanted");
        }
        number.map(|value| At { value, span: field.span.clone() })
    }

    fn word<T: Copy>(
        &mut self,
        field: &At<String>,
        what: &str,
        words: &'static [(&'static str, T)],
    ) -> Option<At<T>> {
        let found = words.iter().find(|(name, _)| *name == field.value);
        if found.is_none() {
            let message = format!("unknown {what} `{}`", field.value);
            let help = known("here", words.iter().map(|(name, _)| *name));
            self.problems.add(&field.span, message, "no such word").help = Some(help);
        }
        found.map(|(_, value)| At { value: *value, span: field.span.clone() })
    }

    /// The text, or a number with a decimal comma.
    fn value(&self, field: &At<String>) -> At<Value> {
        let plain = text_value(field);
        match (Value::parse(&field.value), self.sheet.separator, self.sheet.number(field)) {
            (Value::Text(text), b';', Some(x)) if text.contains(',') => {
                At { value: Value::Float(x), span: field.span.clone() }
            }
            _ => plain,
        }
    }
}

/// A field, in quotes where it needs them.
fn put(out: &mut String, text: &str) {
    let quoted = text.contains([',', ';', '\t', '"', '\n', '\r'])
        || text.starts_with(['#', ' ', '\u{FEFF}'])
        || text.trim() != text;
    if quoted {
        let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
    } else {
        out.push_str(text);
    }
}

/// Lines of a file of points.
pub(crate) fn line(fields: [&str; COLUMNS.len()]) -> String {
    let mut out = String::new();
    for (i, field) in fields.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        put(&mut out, field);
    }
    out.push('\n');
    out
}

/// A recording.
pub(crate) fn track(file: &CsvFile, folder: &Path, problems: &mut Problems<'_>) -> Option<Track> {
    let text = open(&file.file, folder, problems)?;
    let here = problems.current();
    problems.enter(&folder.join(&file.file.value).display().to_string(), text.clone());
    let sheet = read(&text, problems);
    let header = sheet.records.first().map_or(&[][..], |header| header);
    let column = match &file.column {
        None if header.len() >= 2 => Some(1),
        None => {
            let label = "the first line names the columns, and the first of them is the time in seconds";
            problems.add(&(0..0), "this file has no column of values", label);
            None
        }
        Some(name) => {
            let found = header.iter().position(|column| column.value == name.value);
            if found.is_none() {
                let columns = known("columns", header.iter().map(|column| column.value.as_str()));
                problems.back(here);
                let message = format!("unknown column `{}`", name.value);
                problems.add(&name.span, message, "no such column").help = Some(columns);
            }
            found
        }
    };
    let points = column.map(|column| samples(&sheet, column, problems));
    problems.back(here);
    let points = points?;
    if points.is_empty() {
        problems.add(&file.file.span, "the recording is empty", "it has no line with a value");
        return None;
    }
    let linear = file.between == Some(Between::Linear);
    Some(Track { points, linear, repeat: file.repeat.unwrap_or(false) })
}

/// Longest recording, a year.
const LONGEST: f64 = 366.0 * 86_400.0;

fn samples(sheet: &Sheet, column: usize, problems: &mut Problems<'_>) -> Vec<(u64, f64)> {
    let mut points: Vec<(u64, f64)> = vec![];
    let number = |field: Option<&At<String>>, what: &str, row: &Record, problems: &mut Problems<'_>| {
        let field = field.unwrap_or(&row[0]);
        let number = sheet.number(field).filter(|n| n.is_finite());
        if number.is_none() {
            problems.add(&field.span, format!("{what} is missing"), "a number is wanted");
        }
        number
    };
    let mut begin = None;
    for row in sheet.records.iter().skip(1) {
        // A value that is not there leaves the one before.
        if row.get(column).is_none_or(|field| field.value.is_empty()) {
            continue;
        }
        let time = number(row.first(), "the time", row, problems);
        let value = number(row.get(column), "the value", row, problems);
        let (Some(time), Some(value)) = (time, value) else { continue };
        let passed = time - *begin.get_or_insert(time);
        let at = (passed.clamp(0.0, LONGEST) * 1e9) as u64;
        if passed < 0.0 || points.last().is_some_and(|(before, _)| *before >= at) && !points.is_empty() {
            problems.add(&row[0].span, "time does not go on", "it must be later than the line before");
            continue;
        }
        points.push((at, value));
    }
    points
}
