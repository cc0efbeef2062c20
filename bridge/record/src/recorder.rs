//! The near end of a recording: takes what a tap brings and hands it to the thread that writes. Never waits for the
//! disk; what it cannot keep is counted to the byte.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use hilrig_capture::{LinkInfo, Points, Sink};
use hilrig_port::{LinkSnapshot, TapKind, TapRecord, Time};

use crate::writer::Writer;
use crate::{RecordError, RunInfo, RunLink, schema};

/// What may wait for the disk, in bytes of memory; more is lost, and counted.
const QUEUE: usize = 32 << 20;
/// A batch goes to the writer when it has this many bytes...
const BATCH: usize = 128 << 10;
/// ... or is this old.
const AGE_NS: u64 = 50_000_000;
/// What a record costs in memory beside its bytes.
const HEAD: usize = size_of::<Item>();

/// A tap record on its way.
#[derive(Debug)]
pub(crate) struct Item {
    pub at: Time,
    pub link: u32,
    pub side: u8,
    pub kind: Kind,
    pub lines: hilrig_port::Lines,
    pub value: u64,
    /// How long one character takes on the line, in nanoseconds.
    pub character: u32,
    /// Where its bytes end among those of the batch.
    pub end: u32,
}

/// Bytes of the line in a record; the others have some of their own.
pub(crate) fn line_bytes(kind: TapKind, bytes: &[u8]) -> u64 {
    if matches!(kind, TapKind::In | TapKind::Out) { bytes.len() as u64 } else { 0 }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tap(TapKind),
    /// The queue was full: so many records are missing, with `value` bytes.
    Unrecorded(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Links that are seen here first; they are numbered in this order.
    pub links: Vec<RunLink>,
    pub items: Vec<Item>,
    pub bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.items.len() * HEAD
    }

    /// Each with its bytes.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&Item, &[u8])> {
        let mut from = 0;
        self.items.iter().map(move |item| {
            let bytes = self.bytes.get(from..item.end as usize).unwrap_or_default();
            from = item.end as usize;
            (item, bytes)
        })
    }
}

#[derive(Debug)]
pub(crate) enum Message {
    Batch(Batch),
    End { outcome: String, message: String, statistics: Vec<(String, LinkSnapshot)> },
}

/// What both ends look at.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Bytes of memory in the queue.
    pub queued: AtomicUsize,
    /// The writer has given up; `reason` says why.
    pub broken: AtomicBool,
    pub reason: Mutex<String>,
}

impl Shared {
    pub(crate) fn break_with(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        self.broken.store(true, Ordering::Release);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Missed {
    records: u64,
    bytes: u64,
}

/// Records a run: a sink of a [`Hub`](hilrig_capture::Hub). An error of it says once that nothing more gets into the
/// database.
#[derive(Debug)]
pub struct RunRecorder {
    db: PathBuf,
    to: Sender<Message>,
    shared: Arc<Shared>,
    batch: Batch,
    /// Since when the batch waits.
    since: Option<Time>,
    links: Vec<RunLink>,
    missed: Vec<[Missed; 2]>,
    missed_bytes: u64,
    points: Points,
    limit: usize,
    told: bool,
}

/// A run that is being recorded, for the one who knows how it ends. Dropping it leaves the run unfinished.
#[derive(Debug)]
pub struct Recording {
    id: i64,
    db: PathBuf,
    to: Sender<Message>,
    answer: Receiver<Result<Recorded, RecordError>>,
}

/// A run that is in the database with its end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    pub id: i64,
    pub db: PathBuf,
    pub frames: u64,
    pub bytes: u64,
    /// Missing in the record, though they were on the line.
    pub lost_records: u64,
    pub lost_bytes: u64,
}

impl RunRecorder {
    /// Opens or makes the database and begins a run in it.
    ///
    /// # Errors
    /// The file cannot be used, in words for an operator.
    pub fn start(db: &Path, run: RunInfo) -> Result<(Self, Recording), RecordError> {
        Self::start_with(db, run, QUEUE)
    }

    pub(crate) fn start_with(
        db: &Path,
        run: RunInfo,
        limit: usize,
    ) -> Result<(Self, Recording), RecordError> {
        let conn = schema::open_to_write(db)?;
        let (links, points) = (run.links.clone(), run.points);
        let shared = Arc::<Shared>::default();
        let writer = Writer::begin(conn, db, run, shared.clone())?;
        let id = writer.id();
        let (to, inbox) = channel();
        let (reply, answer) = sync_channel(1);
        std::thread::Builder::new()
            .name("record".to_owned())
            .spawn(move || {
                if let Some(end) = writer.run(&inbox) {
                    let _ = reply.send(end);
                }
            })
            .map_err(|source| RecordError::Thread { db: db.to_owned(), source })?;
        let recorder = Self {
            db: db.to_owned(),
            to: to.clone(),
            shared,
            batch: Batch::default(),
            since: None,
            missed: vec![<[Missed; 2]>::default(); links.len()],
            links,
            missed_bytes: 0,
            points,
            limit,
            told: false,
        };
        Ok((recorder, Recording { id, db: db.to_owned(), to, answer }))
    }

    /// Passes on everything.
    pub(crate) fn flush(&mut self) {
        self.tell_missed(Time::now());
        self.send();
    }

    #[cfg(test)]
    pub(crate) fn shared_queue(&self) -> usize {
        self.shared.queued.load(Ordering::Acquire)
    }

    fn look(&mut self) -> io::Result<()> {
        if self.told || !self.shared.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        self.told = true;
        let reason = self.shared.reason.lock().unwrap_or_else(PoisonError::into_inner);
        Err(io::Error::other(format!("{}: {reason}", self.db.display())))
    }

    fn link(&mut self, link: &LinkInfo) -> usize {
        if let Some(known) = self.links.iter().position(|l| l.name == link.name) {
            return known;
        }
        let [a, b] = link.ports.clone();
        let link = RunLink { name: link.name.clone(), a, b };
        self.links.push(link.clone());
        self.missed.push([Missed::default(); 2]);
        self.batch.links.push(link);
        self.links.len() - 1
    }

    /// There is room again: says first what did not fit.
    fn tell_missed(&mut self, at: Time) {
        for (link, side) in (0..self.missed.len()).flat_map(|link| [(link, 0), (link, 1)]) {
            let missed = std::mem::take(&mut self.missed[link][side]);
            if missed.records > 0 {
                self.put(Item {
                    at,
                    link: link as u32,
                    side: side as u8,
                    kind: Kind::Unrecorded(missed.records),
                    lines: hilrig_port::Lines::NONE,
                    value: missed.bytes,
                    character: 0,
                    end: self.batch.bytes.len() as u32,
                });
            }
        }
    }

    fn put(&mut self, item: Item) {
        self.since.get_or_insert(item.at);
        self.batch.items.push(item);
    }

    fn send(&mut self) {
        self.since = None;
        if self.batch.items.is_empty() && self.batch.links.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        self.shared.queued.fetch_add(batch.size(), Ordering::AcqRel);
        // A writer that is gone has said why.
        let _ = self.to.send(Message::Batch(batch));
    }
}

impl Sink for RunRecorder {
    fn record(&mut self, link: &LinkInfo, record: &TapRecord<'_>) -> io::Result<()> {
        self.look()?;
        if !self.points.shows(record.kind) {
            return Ok(());
        }
        let (number, side) = (self.link(link), record.side & 1);
        let size = HEAD + record.bytes.len();
        if self.shared.queued.load(Ordering::Acquire) + self.batch.size() + size > self.limit {
            let bytes = line_bytes(record.kind, record.bytes);
            let missed = &mut self.missed[number][usize::from(side)];
            missed.records += 1;
            missed.bytes += bytes;
            self.missed_bytes += bytes;
            return Ok(());
        }
        self.tell_missed(record.at);
        self.batch.bytes.extend_from_slice(record.bytes);
        if let (TapKind::Fault, Some(rule)) = (record.kind, rule_of(link, record.bytes)) {
            self.batch.bytes.extend_from_slice(rule.as_bytes());
        }
        self.put(Item {
            at: record.at,
            link: number as u32,
            side,
            kind: Kind::Tap(record.kind),
            lines: record.lines,
            value: record.value,
            character: u32::try_from(link.character().as_nanos()).unwrap_or(u32::MAX),
            end: self.batch.bytes.len() as u32,
        });
        if self.batch.size() >= BATCH {
            self.send();
        }
        Ok(())
    }

    fn tick(&mut self, now: Time) -> io::Result<()> {
        if self.since.is_some_and(|since| now.since(since).as_nanos() as u64 >= AGE_NS) {
            self.send();
        }
        self.look()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush();
        self.look()
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.db.clone()]
    }

    fn lost_bytes(&self) -> u64 {
        self.missed_bytes
    }
}

/// The rule that a record of a fault is about, in the operator's words.
fn rule_of(link: &LinkInfo, payload: &[u8]) -> Option<String> {
    let number = payload.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
    link.rules.get(number)
}

impl Drop for RunRecorder {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Recording {
    /// Number of the run in the database.
    pub fn id(&self) -> i64 {
        self.id
    }

    pub fn db(&self) -> &Path {
        &self.db
    }

    /// Ends the run: waits until all that the recorder has passed on is in the database, and what the links counted
    /// beside it. First take the recorder from the hub, so that all is passed on.
    ///
    /// # Errors
    /// Something is missing in the database, and why.
    pub fn finish(
        self,
        outcome: &str,
        message: &str,
        statistics: &[(String, LinkSnapshot)],
    ) -> Result<Recorded, RecordError> {
        let end = Message::End {
            outcome: outcome.to_owned(),
            message: message.to_owned(),
            statistics: statistics.to_vec(),
        };
        let _ = self.to.send(end);
        let gone = || RecordError::Incomplete {
            db: self.db.clone(),
            id: self.id,
            reason: "the thread that writes has ended".to_owned(),
            lost_records: 0,
            lost_bytes: 0,
        };
        self.answer.recv().map_err(|_| gone())?
    }
}
