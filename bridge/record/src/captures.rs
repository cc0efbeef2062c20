//! Captures of what has a tap (the links of a bridge, the lines of a PLC): who is tapped, what is written where, what came
//! of it. One hub for all; it starts with the first capture, so that lines without one cost nothing.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hilrig_capture::{CaptureSpec, Hub, LinkInfo, LinkKey, PcapngSink, Points, Sink, SinkId, SinkReport};
use hilrig_contract::timestamp;
use hilrig_port::{LinkSnapshot, Tap, TapPoints, TapReader, tap};
use serde::Serialize;

use crate::{Recording, RunInfo, RunLink, RunRecorder};

/// Captures that have ended, kept for the status.
const KEPT: usize = 10;

/// What a line may bring between two rounds of the hub.
pub const RING: usize = 512 << 10;

/// What can be captured: a link, or the line of a station.
pub trait Tapped: Send + Sync {
    /// What captures call it, and what is at its ends.
    fn info(&self) -> &LinkInfo;

    /// Changes who records it; answers the tap it had.
    ///
    /// # Errors
    /// Why not, in a sentence: it is gone.
    fn set_tap(&self, tap: Option<Tap>, points: TapPoints) -> Result<Option<Tap>, String>;

    /// The end of the tap that it has from its start, once, so that its first byte is in the capture.
    fn take_reader(&self) -> Option<(TapReader, TapPoints)>;
}

/// Why nothing is captured, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CaptureError(String);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The captures of a set. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Captures(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    works: Mutex<Works>,
    /// As last looked at, so that a status never waits for a disk.
    rows: Mutex<VecDeque<CaptureRow>>,
}

#[derive(Debug, Default)]
struct Works {
    hub: Option<Hub>,
    tapped: Vec<Source>,
    running: Vec<Running>,
    /// Taps that links have had from their start, until all sinks that want their first bytes are there.
    pending: Vec<(LinkInfo, TapReader)>,
    started: u64,
}

struct Source {
    tapped: Arc<dyn Tapped>,
    points: TapPoints,
}

impl Source {
    fn key(&self) -> LinkKey {
        self.tapped.info().key()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("info", self.tapped.info()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Running {
    id: String,
    sink: SinkId,
    keys: Vec<LinkKey>,
    recording: Option<Recording>,
}

/// One capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureRow {
    pub id: String,
    /// `file`, or `record` for the database of runs.
    pub kind: &'static str,
    pub links: String,
    pub file: String,
    /// All files so far, oldest first.
    pub files: Vec<String>,
    pub format: String,
    pub framing: String,
    pub points: String,
    /// `running`, `ended`, or `failed` with an `error`.
    pub state: &'static str,
    pub started: String,
    pub records: u64,
    pub bytes: u64,
    /// Bytes that were on a line and are not in the capture.
    pub lost_bytes: u64,
    pub error: String,
}

impl CaptureRow {
    fn take(&mut self, report: &SinkReport, running: bool) {
        self.records = report.records;
        self.bytes = report.bytes;
        self.lost_bytes = report.lost_bytes;
        if !report.files.is_empty() {
            self.files = report.files.iter().map(|f| f.display().to_string()).collect();
        }
        self.error = report.error.clone().unwrap_or_default();
        self.state = match (&report.error, running) {
            (Some(_), _) => "failed",
            (None, true) => "running",
            (None, false) => "ended",
        };
    }
}

fn failed(what: impl ToString) -> CaptureError {
    CaptureError(what.to_string())
}

fn word(points: Points) -> &'static str {
    match points {
        Points::In => "in",
        Points::Out => "out",
        Points::Both => "both",
    }
}

impl Captures {
    /// For the tap of a link that is captured from its start.
    pub fn nudge(&self) -> Result<impl Fn() + Send + 'static + use<>, CaptureError> {
        Ok(lock(&self.0.works).hub()?.nudge())
    }

    /// Begins to write a capture of these links. A relative file is below `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// Why nothing is captured, in a sentence.
    pub fn start(
        &self,
        lines: &[Arc<dyn Tapped>],
        spec: &CaptureSpec,
        folder: &Path,
    ) -> Result<CaptureRow, CaptureError> {
        spec.check().map_err(failed)?;
        let spec = CaptureSpec { file: placed(folder, &spec.file)?, ..spec.clone() };
        let sink = PcapngSink::create(&spec).map_err(failed)?;
        let row = CaptureRow {
            kind: "file",
            file: spec.file.display().to_string(),
            files: vec![spec.file.display().to_string()],
            format: spec.format.to_string(),
            framing: spec.framing.to_string(),
            points: word(spec.points).to_owned(),
            ..blank()
        };
        self.add(lines, spec.points, Box::new(sink), row, None)
    }

    /// Begins to record these links as a run in a database.
    ///
    /// # Errors
    /// Why nothing is recorded, in a sentence.
    pub fn record(
        &self,
        lines: &[Arc<dyn Tapped>],
        db: &Path,
        mut info: RunInfo,
    ) -> Result<CaptureRow, CaptureError> {
        if let Some(folder) = db.parent() {
            std::fs::create_dir_all(folder).map_err(|e| failed(format!("{}: {e}", folder.display())))?;
        }
        info.links.extend(lines.iter().map(|line| {
            let LinkInfo { name, ports: [a, b], .. } = line.info();
            RunLink { name: name.clone(), a: a.clone(), b: b.clone() }
        }));
        let (framing, points) = (info.framing.clone(), info.points);
        let (recorder, recording) = RunRecorder::start(db, info).map_err(failed)?;
        let file = db.display().to_string();
        let row = CaptureRow {
            kind: "record",
            files: vec![file.clone()],
            file,
            framing: framing.to_string(),
            points: word(points).to_owned(),
            ..blank()
        };
        self.add(lines, points, Box::new(recorder), row, Some(recording))
    }

    fn add(
        &self,
        lines: &[Arc<dyn Tapped>],
        points: Points,
        sink: Box<dyn Sink>,
        row: CaptureRow,
        recording: Option<Recording>,
    ) -> Result<CaptureRow, CaptureError> {
        let mut works = lock(&self.0.works);
        let before: Vec<LinkKey> = works.tapped.iter().map(Source::key).collect();
        let mut keys = Vec::with_capacity(lines.len());
        for line in lines {
            match works.tap(line, points.into()) {
                Ok(key) => keys.push(key),
                Err(e) => {
                    keys.retain(|key| !before.contains(key));
                    works.release(&keys);
                    return Err(e);
                }
            }
        }
        let Some(hub) = &works.hub else { return Err(failed("there is no line to capture")) };
        let sink = hub.add(keys.clone(), sink);
        let report = hub.report(sink);
        works.started += 1;
        let id = format!("{}-{}", if row.kind == "file" { "capture" } else { "record" }, works.started);
        works.running.push(Running { id: id.clone(), sink, keys, recording });
        let names: Vec<&str> = lines.iter().map(|line| line.info().name.as_str()).collect();
        let mut row = CaptureRow { id, links: names.join(", "), ..row };
        row.take(&report, true);
        // As it is called now, with its time and number.
        row.file = row.files.first().cloned().unwrap_or(row.file);
        let mut rows = lock(&self.0.rows);
        while rows.iter().filter(|r| r.state != "running").count() > KEPT {
            let oldest = rows.iter().position(|r| r.state != "running");
            oldest.map(|i| rows.remove(i));
        }
        rows.push_back(row.clone());
        Ok(row)
    }

    /// Lets the captures have what links have brought since their start.
    pub fn begin(&self) {
        let mut works = lock(&self.0.works);
        let pending = std::mem::take(&mut works.pending);
        if let Some(hub) = &works.hub {
            for (info, reader) in pending {
                hub.attach(info, reader);
            }
        }
    }

    /// Ends captures: those of this id or file, or all with `""`. Each is complete when this returns.
    ///
    /// # Errors
    /// None of that name runs.
    pub fn stop(&self, name: &str) -> Result<Vec<CaptureRow>, CaptureError> {
        let mut works = lock(&self.0.works);
        let wanted: Vec<String> = {
            let rows = lock(&self.0.rows);
            let mut running = rows.iter().filter(|r| r.state == "running" || r.state == "failed");
            let named =
                |r: &&CaptureRow| r.id == name || r.file == name || r.file.ends_with(&format!("/{name}"));
            match name {
                "" => running.filter(|r| r.kind == "file").map(|r| r.id.clone()).collect(),
                _ => running.find(named).map(|r| r.id.clone()).into_iter().collect(),
            }
        };
        let (ending, going): (Vec<Running>, Vec<Running>) =
            std::mem::take(&mut works.running).into_iter().partition(|r| wanted.contains(&r.id));
        works.running = going;
        if ending.is_empty() {
            let known: Vec<&str> = works.running.iter().map(|r| r.id.as_str()).collect();
            let known = if known.is_empty() { "none runs".to_owned() } else { known.join(", ") };
            let name = if name.is_empty() { "to stop".to_owned() } else { format!("{name:?}") };
            return Err(failed(format!("there is no capture {name} ({known})")));
        }
        Ok(ending.into_iter().map(|running| self.end(&mut works, running, "stopped", &[])).collect())
    }

    /// Ends everything; `outcome` and `statistics` go to the database of runs.
    pub fn end_run(&self, outcome: &str, statistics: &[(String, LinkSnapshot)]) -> Vec<CaptureRow> {
        let mut works = lock(&self.0.works);
        let running = std::mem::take(&mut works.running);
        let mut ended = Vec::new();
        for one in running {
            ended.push(self.end(&mut works, one, outcome, statistics));
        }
        works.hub = None;
        ended
    }

    fn end(
        &self,
        works: &mut Works,
        running: Running,
        outcome: &str,
        statistics: &[(String, LinkSnapshot)],
    ) -> CaptureRow {
        // Last records first, then the sink's end.
        works.release(&running.keys);
        let report = works.hub.as_ref().map(|hub| hub.remove(running.sink)).unwrap_or_default();
        let mut error = None;
        if let Some(recording) = running.recording {
            error = recording.finish(outcome, "", statistics).err();
        }
        let mut rows = lock(&self.0.rows);
        let Some(row) = rows.iter_mut().find(|row| row.id == running.id) else { return blank() };
        row.take(&report, false);
        if let Some(error) = error {
            (row.state, row.error) = ("failed", error.to_string());
        }
        row.clone()
    }

    /// A link closes: what its tap still holds goes to its captures, which go on without it.
    pub fn leave(&self, line: &LinkInfo) {
        let mut works = lock(&self.0.works);
        let key = line.key();
        works.untap(key);
        works.running.iter_mut().for_each(|running| running.keys.retain(|k| *k != key));
    }

    /// Looks at what was written, for the status.
    pub fn refresh(&self) {
        // Busy with a start or an end: next time.
        let Ok(works) = self.0.works.try_lock() else { return };
        let Some(hub) = &works.hub else { return };
        for running in &works.running {
            let report = hub.report(running.sink);
            if let Some(row) = lock(&self.0.rows).iter_mut().find(|row| row.id == running.id) {
                row.take(&report, true);
            }
        }
    }

    /// The same without what changes all the time.
    pub fn states(&self) -> Vec<CaptureRow> {
        let still = |row: &CaptureRow| CaptureRow { records: 0, bytes: 0, ..row.clone() };
        lock(&self.0.rows).iter().map(still).collect()
    }

    /// Those that run, and the last ones that have ended.
    pub fn rows(&self) -> Vec<CaptureRow> {
        lock(&self.0.rows).iter().cloned().collect()
    }
}

impl Works {
    /// The hub, started when it is first needed.
    fn hub(&mut self) -> Result<&Hub, CaptureError> {
        let started = match self.hub.take() {
            Some(hub) => hub,
            None => Hub::start().map_err(|e| failed(format!("no thread for captures: {e}")))?,
        };
        Ok(self.hub.insert(started))
    }

    fn tap(&mut self, line: &Arc<dyn Tapped>, wanted: TapPoints) -> Result<LinkKey, CaptureError> {
        let (info, key) = (line.info(), line.info().key());
        if let Some(source) = self.tapped.iter().find(|source| source.key() == key) {
            if source.points == wanted || source.points == TapPoints::Both {
                return Ok(key);
            }
            return Err(failed(format!(
                "{} is captured at other points already; ask for the same points, or stop that capture first",
                info.name
            )));
        }
        self.hub()?;
        let Some(hub) = &self.hub else { return Err(failed("no thread for captures")) };
        if let Some((reader, points)) = line.take_reader() {
            self.tapped.push(Source { tapped: line.clone(), points });
            self.pending.push((info.clone(), reader));
            return self.tap(line, wanted);
        }
        let (ours, reader) = tap(RING);
        let ours = ours.nudging(hub.nudge());
        hub.attach(info.clone(), reader);
        if let Err(why) = line.set_tap(Some(ours), wanted) {
            hub.detach(key);
            return Err(failed(why));
        }
        self.tapped.push(Source { tapped: line.clone(), points: wanted });
        Ok(key)
    }

    /// Untaps links that no capture wants any more.
    fn release(&mut self, keys: &[LinkKey]) {
        for key in keys {
            if !self.running.iter().any(|running| running.keys.contains(key)) {
                self.untap(*key);
            }
        }
    }

    fn untap(&mut self, key: LinkKey) {
        let Some(at) = self.tapped.iter().position(|source| source.key() == key) else { return };
        let source = self.tapped.swap_remove(at);
        self.pending.retain(|(info, _)| info.key() != key);
        let tap = source.tapped.set_tap(None, TapPoints::Out);
        let untold = tap.ok().flatten().map_or(0, |tap| tap.untold());
        if let Some(hub) = &self.hub {
            hub.detach_after(key, untold);
        }
    }
}

fn blank() -> CaptureRow {
    CaptureRow {
        id: String::new(),
        kind: "file",
        links: String::new(),
        file: String::new(),
        files: Vec::new(),
        format: String::new(),
        framing: String::new(),
        points: String::new(),
        state: "running",
        started: timestamp(),
        records: 0,
        bytes: 0,
        lost_bytes: 0,
        error: String::new(),
    }
}

/// The file where it belongs, with its folder made.
fn placed(folder: &Path, file: &Path) -> Result<PathBuf, CaptureError> {
    let file = folder.join(file);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).map_err(|e| failed(format!("{}: {e}", parent.display())))?;
    }
    Ok(file)
}
