//! `modbus watch`: reads again and again. On a terminal a table that stays where it is, with what has changed marked;
//! else a line for each change. Readings are due at fixed times, so that a slow answer does not shift the next.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Client, Trouble};
use super::{Cell, Span, failure};
use crate::output::{Exit, Failure, say};

pub struct Plan {
    pub spans: Vec<Span>,
    pub unit: u8,
    pub every: Duration,
    pub samples: Option<u64>,
    pub json: bool,
}

/// The last reading of one span: its values, or why there are none.
type Reading = Result<Vec<Cell>, String>;

pub fn watch(client: &mut Client, plan: &Plan, interrupted: &AtomicBool) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    let steady = !plan.json && std::io::stdout().is_terminal();
    let mut shown: Vec<Option<Reading>> = vec![None; plan.spans.len()];
    let (mut failures, mut reading, mut lines) = (0u64, 0u64, 0);
    loop {
        let mut changed = Vec::new();
        for (span, before) in plan.spans.iter().zip(&mut shown) {
            let now = match span.try_read(client, plan.unit) {
                Ok(cells) => Ok(cells),
                Err((Trouble::Interrupted, _)) => break,
                Err((trouble, place)) => {
                    failures += 1;
                    Err(failure(&trouble, plan.unit, &format!("read {place}")).message)
                }
            };
            let marks = compare(before.as_ref(), &now);
            if !steady {
                tell(plan, begin.elapsed(), before.as_ref(), &now, &marks);
            }
            changed.push(marks);
            *before = Some(now);
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        reading += 1;
        if steady {
            lines = draw(lines, plan, reading, failures, &shown, &changed);
        }
        if plan.samples.is_some_and(|samples| reading >= samples) {
            break;
        }
        // What could not be kept up with is left out.
        let past = begin.elapsed().as_nanos() / plan.every.as_nanos();
        let until = begin + plan.every.saturating_mul(u32::try_from(past + 1).unwrap_or(u32::MAX));
        while Instant::now() < until && !interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(
                until.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)),
            );
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(if failures > 0 { Exit::Fail.into() } else { ExitCode::SUCCESS })
}

/// Which values differ from those before.
fn compare(before: Option<&Reading>, now: &Reading) -> Vec<bool> {
    let Ok(cells) = now else { return Vec::new() };
    let old = before.and_then(|reading| reading.as_ref().ok());
    let differs = |(i, cell): (usize, &Cell)| {
        old.and_then(|old| old.get(i)).is_some_and(|old| old.shown.text != cell.shown.text)
    };
    cells.iter().enumerate().map(differs).collect()
}

fn tell(plan: &Plan, at: Duration, before: Option<&Reading>, now: &Reading, changed: &[bool]) {
    let seconds = at.as_secs_f64();
    match now {
        Err(why) if before.is_some_and(|before| before.as_ref().err() == Some(why)) => {}
        Err(why) if plan.json => {
            say(&json!({ "seconds": seconds, "unit": plan.unit, "error": why }).to_string())
        }
        Err(why) => say(&format!("{seconds:9.3}  {why}")),
        Ok(cells) => {
            let first = before.is_none_or(|before| before.is_err());
            for (cell, _) in cells.iter().zip(changed).filter(|(_, changed)| first || **changed) {
                if plan.json {
                    let mut line = cell.json(plan.unit);
                    line["seconds"] = seconds.into();
                    line["changed"] = (!first).into();
                    say(&line.to_string());
                } else {
                    say(&format!("{seconds:9.3}  {}  {}", cell.place, cell.shown.text));
                }
            }
        }
    }
}

/// Writes the table over the one that is there; answers how many lines it has.
fn draw(
    lines: usize,
    plan: &Plan,
    reading: u64,
    failures: u64,
    shown: &[Option<Reading>],
    changed: &[Vec<bool>],
) -> usize {
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let mut rows = vec![format!("unit {}, reading {reading}, {failures} without an answer", plan.unit)];
    for (reading, changed) in shown.iter().zip(changed) {
        match reading {
            Some(Ok(cells)) => {
                for (i, cell) in cells.iter().enumerate() {
                    let mark = changed.get(i).copied().unwrap_or(false);
                    let text = &cell.shown.text;
                    let text = if mark && colour { format!("\x1b[1m{text}\x1b[0m") } else { text.clone() };
                    rows.push(format!(
                        "{:14}{} {text}",
                        cell.place.to_string(),
                        if mark { "*" } else { " " }
                    ));
                }
            }
            Some(Err(why)) => rows.push(why.replace('\n', " ")),
            None => {}
        }
    }
    // What does not fit would scroll, and the table would not stay where it is.
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let (height, width) = size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    if rows.len() >= height.max(3) {
        let hidden = rows.len() - height.max(3) + 2;
        rows.truncate(height.max(3) - 2);
        rows.push(format!("… {hidden} more"));
    }
    // A value is short; what is long is a sentence, which has no marks in it.
    for row in rows.iter_mut().filter(|row| !row.contains('\x1b')) {
        *row = row.chars().take(width.max(20)).collect();
    }
    let up = if lines > 0 { format!("\x1b[{lines}A") } else { String::new() };
    let text: String = rows.iter().map(|row| format!("\r\x1b[2K{row}\r\n")).collect();
    let mut out = std::io::stdout().lock();
    if write!(out, "{up}{text}\x1b[J").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
    rows.len()
}
