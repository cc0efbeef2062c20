//! Captures of the lines of a run, and recordings that are played on them again.

use std::path::Path;
use std::sync::Arc;

use hilrig_capture::{CaptureSpec, Player, Progress};
use hilrig_record::{CaptureRow, Tapped};
use serde::Serialize;

use super::line::Line;
use super::{Run, RunError, lock};
use crate::model::Role;

/// A replay that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRow {
    pub port: String,
    pub file: String,
    /// Who sits on the port goes on beside it.
    pub beside: bool,
    pub sent_bytes: u64,
    pub recorded_bytes: u64,
}

/// Ends with its drop.
pub(crate) struct Replay<'r> {
    run: &'r Run,
    line: Arc<Line>,
}

impl Run {
    /// Begins to write what passes on these lines to a file.
    pub(crate) fn capture(
        &self,
        lines: &[Arc<Line>],
        spec: &CaptureSpec,
        folder: &Path,
    ) -> Result<CaptureRow, RunError> {
        let lines: Vec<Arc<dyn Tapped>> = lines.iter().map(|line| line.clone() as _).collect();
        Ok(self.captures.start(&lines, spec, folder)?)
    }

    /// Ends captures: that of this id or file, or all with `""`.
    ///
    /// # Errors
    /// None of that name runs.
    pub fn end_capture(&self, name: &str) -> Result<Vec<CaptureRow>, RunError> {
        Ok(self.captures.stop(name)?)
    }

    /// Ends all captures; each is complete when this returns.
    pub fn end_captures(&self) -> Vec<CaptureRow> {
        self.captures.end_run("ended", &[])
    }

    /// Captures that go on, and the last that have ended.
    pub fn captures(&self) -> Vec<CaptureRow> {
        self.captures.rows()
    }

    /// The same without what changes all the time.
    pub fn capture_states(&self) -> Vec<CaptureRow> {
        self.captures.states()
    }

    /// Plays a recording on a line; `beside`: who sits there goes on, else it is quiet meanwhile.
    pub(crate) fn replay(
        &self,
        line: Arc<Line>,
        player: Player,
        file: &str,
        beside: bool,
    ) -> Result<Replay<'_>, RunError> {
        let name = line.info.name.clone();
        if matches!(line.role, Role::Sniffer(_)) {
            let why = "a sniffer never sends; replay on a port that something else sits on".to_owned();
            return Err(RunError::Refused { what: format!("port {name}"), why });
        }
        let recorded_bytes = player.progress().to_send;
        self.shard.seat_guest(&line.seat, Box::new(player), !beside)?;
        let row = ReplayRow { port: name, file: file.to_owned(), beside, sent_bytes: 0, recorded_bytes };
        lock(&self.replays).push(row);
        Ok(Replay { run: self, line })
    }

    /// Replays that go on.
    pub fn replays(&self) -> Vec<ReplayRow> {
        lock(&self.replays).clone()
    }
}

impl Replay<'_> {
    pub fn progress(&self) -> Result<Progress, RunError> {
        if self.run.is_over() {
            let why = "the run was stopped before the end of the recording".to_owned();
            return Err(RunError::Refused { what: format!("port {}", self.line.info.name), why });
        }
        let ask = |player: &mut Player, _| player.progress().clone();
        let progress = self.run.shard.with_guest::<Player, _>(&self.line.seat, ask)?;
        // One replay a line.
        if let Some(row) = lock(&self.run.replays).iter_mut().find(|row| row.port == self.line.info.name) {
            row.sent_bytes = progress.sent;
        }
        Ok(progress)
    }
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        let _player = self.run.shard.dismiss_guest(&self.line.seat);
        lock(&self.run.replays).retain(|row| row.port != self.line.info.name);
    }
}
