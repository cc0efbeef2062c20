//! `runs`: what is in a database of recorded runs, for people and programs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hilrig_record::{EventRow, FrameRow, LinkDetail, RecordError, RunDetail, RunRow, StatisticsRow, Window};
use serde_json::{Value, json};

use crate::args::RunsCommand;
use crate::output::{Failure, say, say_json, table};

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Incomplete { .. } | RecordError::Thread { .. } | RecordError::Sqlite { .. } => {
                Self::infrastructure(error.to_string())
            }
            wrong => Self::usage(wrong.to_string()),
        }
    }
}

pub fn runs(command: RunsCommand, root: &Path, json: bool) -> Result<ExitCode, Failure> {
    let of_root = |db: Option<PathBuf>| db.unwrap_or_else(|| root.join("state/runs.db"));
    match command {
        RunsCommand::List { db } => list(&of_root(db), json)?,
        RunsCommand::Show { id, db, frames, events } => {
            let run = hilrig_record::show(&of_root(db), id, Window { events, frames })?;
            if json { say_json(&value(&run)?) } else { show(&run) }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn value(row: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(row).map_err(|e| Failure::infrastructure(e.to_string()))
}

fn list(db: &Path, json: bool) -> Result<(), Failure> {
    let runs = hilrig_record::list(db)?;
    if json {
        let counts = hilrig_record::counts(db)?;
        say_json(&json!({ "runs": value(&runs)?, "counts": value(&counts)? }));
        return Ok(());
    }
    if runs.is_empty() {
        eprintln!("{}: holds no runs", db.display());
        return Ok(());
    }
    let head = ["ID", "NAME", "STARTED", "ENDED", "OUTCOME", "LINKS", "FRAMES", "BYTES", "LOST"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(|run| {
        let ended = run.ended.clone().unwrap_or_else(|| "-".to_owned());
        let mut row = vec![run.id.to_string(), run.name.clone(), run.started.clone(), ended];
        row.push(run.outcome.clone());
        row.extend([run.links, run.frames, run.bytes, run.lost_bytes].map(|n| n.to_string()));
        row
    }));
    table(&rows);
    Ok(())
}

fn show(run: &RunDetail) {
    let RunRow { id, name, started, ended, last_written, outcome, message, host, pid, .. } = &run.run;
    say(&format!("run {id}: {name}: {outcome}"));
    if !message.is_empty() {
        say(&format!("  {message}"));
    }
    match ended {
        Some(ended) => say(&format!("  {started} to {ended}, on {host}")),
        None => say(&format!("  since {started}, last written {last_written}, on {host} by process {pid}")),
    }
    say(&format!("  {}", run.command));
    if let Some(seed) = run.seed {
        say(&format!("  seed {seed}"));
    }
    if !run.config.is_empty() {
        run.config.lines().for_each(|line| say(&format!("    {line}")));
    }
    for link in &run.links {
        show_link(link);
    }
    if !run.event_counts.is_empty() {
        let counts: Vec<String> =
            run.event_counts.iter().map(|e| format!("{} {}", e.count, e.kind)).collect();
        say(&format!("events: {}", counts.join(", ")));
    }
    for EventRow { link, at_ns, side, kind, detail } in &run.events {
        say(format!("  {}  link {link}, port {side}: {kind} {detail}", seconds(*at_ns)).trim_end());
    }
    for FrameRow { link, at_ns, direction, point, gap, bytes } in &run.frames {
        let gap = if *gap { "  (bytes are missing before it)" } else { "" };
        let point = if point == "in" { ", before the link" } else { "" };
        say(&format!("  {}  link {link}, {direction}{point}: {bytes}{gap}", seconds(*at_ns)));
    }
}

fn show_link(link: &LinkDetail) {
    say(&format!("link {}: {} <-> {}", link.name, link.a, link.b));
    for row in &link.directions {
        let StatisticsRow { direction, bytes, frames, gaps, errors, breaks, faults, .. } = row;
        let mut said = format!("  {direction}: {bytes} bytes in {frames} frames");
        for (n, what) in [
            (gaps, "gaps"),
            (errors, "characters in error"),
            (breaks, "breaks"),
            (faults, "faults"),
            (&row.lost_bytes, "bytes missing in the record"),
        ] {
            if *n > 0 {
                said.push_str(&format!(", {n} {what}"));
            }
        }
        if let Some(a) = &row.account {
            said.push_str(&format!(
                "; line: {} in, {} out, {} by faults, {} discarded; {:.0} us (p50), {:.0} us (p99)",
                a.bytes_in, a.bytes_out, a.fault_bytes, a.discarded_bytes, a.latency_p50_us, a.latency_p99_us
            ));
        }
        say(&said);
    }
}

/// A time since the start of a run.
fn seconds(ns: u64) -> String {
    format!("{:>5}.{:06} s", ns / 1_000_000_000, ns / 1000 % 1_000_000)
}
