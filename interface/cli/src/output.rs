//! Words to stderr, data to stdout, and one sentence for a failure.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use hilrig_contract::{ContractError, ErrorCode, JobState};
use serde_json::Value;

/// Exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Fail = 1,
    Usage = 2,
    Infrastructure = 3,
    Stopped = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: a sentence and an exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn infrastructure(message: impl Into<String>) -> Self {
        Self::new(Exit::Infrastructure, message)
    }

    pub fn report(&self) -> ExitCode {
        eprintln!("hilrig: {}", self.message);
        self.exit.into()
    }
}

impl From<ContractError> for Failure {
    fn from(error: ContractError) -> Self {
        Self::new(exit_of(error.code), error.message)
    }
}

pub fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::BadArg
        | ErrorCode::UnsupportedMethod
        | ErrorCode::UnsupportedApp
        | ErrorCode::NotFound
        | ErrorCode::ConfigInvalid => Exit::Usage,
        ErrorCode::ActionFailed => Exit::Fail,
        ErrorCode::ActionTimeout => Exit::Stopped,
        ErrorCode::Internal => Exit::Infrastructure,
    }
}

/// The exit code a finished job stands for.
pub fn exit_of_job(state: JobState) -> ExitCode {
    match state {
        JobState::Succeeded | JobState::Queued | JobState::Running => ExitCode::SUCCESS,
        JobState::Failed => Exit::Fail.into(),
        JobState::Timeout | JobState::Canceled => Exit::Stopped.into(),
    }
}

/// Prints data; a reader that has gone away (`| head`) ends the process quietly.
pub fn say(line: &str) {
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// A JSON object: on one line for programs, indented on a terminal.
pub fn say_json(value: &Value) {
    let text = if std::io::stdout().is_terminal() { format!("{value:#}") } else { value.to_string() };
    say(&text);
}

/// A value the way a person reads it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Rows with aligned columns; the first row is the head.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        say(line.trim_end());
    }
}

/// So many of them, in words.
pub fn number(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
