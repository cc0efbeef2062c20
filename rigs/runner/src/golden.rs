//! Compares the log of a run with one that was recorded before. Two runs in virtual time must be alike line by line. In
//! real time nobody knows when the next poll comes, so that each source is compared for itself: what it brought, in which
//! order, however often it brought the same. Reads logs; runs nothing.

mod sources;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hilrig_files::show_time;
use serde_json::Value;

use crate::report::{StepResult, Verdict};
use sources::{Source, sources};

/// Lines shown before the one that differs.
const CONTEXT: usize = 3;

/// The log of an earlier run.
#[derive(Debug)]
pub struct Golden {
    name: String,
    text: String,
    lines: Vec<Value>,
    tolerance: Option<Duration>,
}

/// A file that is no log of a run.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    #[error("cannot read the golden log {file}: {source}")]
    Unreadable { file: String, source: std::io::Error },
    #[error("{file}:{line}: this is no line of a log ({reason}); record one with `hilrig run --log FILE`")]
    NoLine { file: String, line: usize, reason: String },
    #[error("{file}: this is no log of a run; record one with `hilrig run --log FILE`")]
    NoLog { file: String },
}

impl Golden {
    /// Reads a log. `tolerance`: how much earlier or later things may happen; without it times are not compared.
    ///
    /// # Errors
    /// The file cannot be read or is no log.
    pub fn load(path: &Path, tolerance: Option<Duration>) -> Result<Self, GoldenError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, text, tolerance),
            Err(source) => Err(GoldenError::Unreadable { file, source }),
        }
    }

    /// The same from memory; `name` is what messages call it.
    ///
    /// # Errors
    /// It is no log.
    pub fn parse(name: &str, text: String, tolerance: Option<Duration>) -> Result<Self, GoldenError> {
        let file = name.to_owned();
        let lines = parse(&text).map_err(|(line, reason)| GoldenError::NoLine {
            file: file.clone(),
            line,
            reason,
        })?;
        if lines.first().and_then(|l| l["what"].as_str()) != Some("run") {
            return Err(GoldenError::NoLog { file });
        }
        Ok(Self { name: file, text, lines, tolerance })
    }

    /// What differs first in the log of another run, in words.
    ///
    /// # Errors
    /// The difference.
    pub fn compare(&self, log: &str) -> Result<(), String> {
        let lines = parse(log).map_err(|(line, why)| format!("line {line} of this log: {why}"))?;
        let virtually = |lines: &[Value]| lines.first().is_some_and(|l| l["time"] == "virtual");
        let different = if virtually(&self.lines) && virtually(&lines) {
            by_line(&self.text, log)
        } else {
            by_source(&self.lines, &lines, self.tolerance)
        };
        different.map_or(Ok(()), |what| Err(format!("the run is not as in {}: {what}", self.name)))
    }

    /// The comparison as the last step of a run.
    pub(crate) fn step(&self, step: usize, log: &str, at_ms: f64) -> StepResult {
        let text = format!("the log is as in {}", self.name);
        let mut result = StepResult { at_ms, ..StepResult::skipped(step, 0, "golden", &text) };
        result.verdict = Verdict::Pass;
        if let Err(message) = self.compare(log) {
            (result.verdict, result.message) = (Verdict::Fail, message);
        }
        result
    }
}

fn parse(text: &str) -> Result<Vec<Value>, (usize, String)> {
    let line = |(i, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err((i + 1, "it is no object".to_owned())),
        Err(e) => Err((i + 1, e.to_string())),
    };
    text.lines().enumerate().map(line).collect()
}

fn by_line(golden: &str, log: &str) -> Option<String> {
    let (mut wanted, mut got) = (golden.lines(), log.lines());
    let mut before: Vec<&str> = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        match (wanted.next(), got.next()) {
            (None, None) => return None,
            (wanted, got) if wanted == got => {
                if before.len() == CONTEXT {
                    before.remove(0);
                }
                before.extend(got);
            }
            (wanted, got) => {
                let show = |line: Option<&str>| line.map_or("the end of the log".to_owned(), short);
                let before: String = before.iter().map(|line| format!("\n    {}", short(line))).collect();
                let (wanted, got) = (show(wanted), show(got));
                return Some(format!("line {number} differs{before}\n  - {wanted}\n  + {got}"));
            }
        }
    }
}

/// A line that fits a screen.
fn short(line: &str) -> String {
    const MOST: usize = 300;
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{} ... ({} bytes)", &line[..at], line.len()),
        None => line.to_owned(),
    }
}

fn by_source(golden: &[Value], log: &[Value], tolerance: Option<Duration>) -> Option<String> {
    let (wanted, got) = (sources(golden), sources(log));
    // The first difference in time says most: what follows comes of it.
    let names: BTreeMap<&String, ()> = wanted.keys().chain(got.keys()).map(|name| (name, ())).collect();
    let none = Source::default();
    let differences = names.into_keys().filter_map(|name| {
        let (wanted, got) = (wanted.get(name).unwrap_or(&none), got.get(name).unwrap_or(&none));
        wanted.differs(got, tolerance).map(|(at, what)| (at, format!("{name}{what}")))
    });
    differences.min_by_key(|(at, _)| *at).map(|(_, what)| what)
}

fn shown_at(at: u64) -> String {
    show_time(Duration::from_nanos(at))
}

#[cfg(test)]
#[path = "golden_tests.rs"]
mod tests;
