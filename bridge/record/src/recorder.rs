//! The near end of a recording: takes what a tap brings and hands it to the thread that writes. Never waits for the
//! disk; what it cannot keep is counted to the byte.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Of its bytes among those of the batch.
    pub end: u32,
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

/// Records a run. One thread calls it: that of the hub.
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
        let links = run.links.clone();
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
            limit,
            told: false,
        };
        Ok((recorder, Recording { id, db: db.to_owned(), to, answer }))
    }

    /// Takes one record in.
    ///
    /// # Errors
    /// Once, when the writer has given up: nothing more gets into the database.
    pub fn take(&mut self, name: &str, ports: &[String; 2], record: &TapRecord<'_>) -> io::Result<()> {
        self.look()?;
        let link = self.link(name, ports);
        let size = HEAD + record.bytes.len();
        if self.shared.queued.load(Ordering::Acquire) + self.batch.size() + size > self.limit {
            let missed = &mut self.missed[link][usize::from(record.side & 1)];
            missed.records += 1;
            missed.bytes += record.bytes.len() as u64;
            return Ok(());
        }
        self.tell_missed(record.at);
        self.put(Item {
            at: record.at,
            link: link as u32,
            side: record.side & 1,
            kind: Kind::Tap(record.kind),
            lines: record.lines,
            value: record.value,
            end: (self.batch.bytes.len() + record.bytes.len()) as u32,
        });
        self.batch.bytes.extend_from_slice(record.bytes);
        if self.batch.size() >= BATCH {
            self.send();
        }
        Ok(())
    }

    /// Passes on what has waited for long enough.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn look_after(&mut self, now: Time) -> io::Result<()> {
        if self.since.is_some_and(|since| now.since(since).as_nanos() as u64 >= AGE_NS) {
            self.send();
        }
        self.look()
    }

    /// Passes on everything.
    pub fn flush(&mut self) {
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

    fn link(&mut self, name: &str, ports: &[String; 2]) -> usize {
        if let Some(known) = self.links.iter().position(|l| l.name == name) {
            return known;
        }
        let [a, b] = ports.clone();
        let link = RunLink { name: name.to_owned(), a, b };
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
