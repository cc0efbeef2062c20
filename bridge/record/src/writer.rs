//! The far end of a recording: one thread and one connection, which puts batches into the database, each batch in a
//! transaction of its own or together with those that wait. Decides nothing about what is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hilrig_capture::Framing;
use hilrig_port::{LinkSnapshot, Time};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::link::{Cut, LinkState};
use crate::recorder::{Batch, Kind, Message, Recorded, Shared, line_bytes};
use crate::{RecordError, RunInfo, schema};

/// How many batches go into one transaction.
const TOGETHER: usize = 16;
/// How long after the last batch an open frame counts as complete.
const IDLE: Duration = Duration::from_millis(500);
/// At the end of a run: how often another process that holds the database is waited for.
const LAST_TRIES: u32 = 4;

#[derive(Debug)]
pub(crate) struct Writer {
    conn: Connection,
    db: PathBuf,
    id: i64,
    started: Time,
    started_ns: i64,
    framing: Framing,
    links: Vec<LinkState>,
    shared: Arc<Shared>,
    broken: Option<String>,
    /// What came after the writer gave up.
    lost: (u64, u64),
}

impl Writer {
    /// Puts the head of the run into the database.
    pub(crate) fn begin(
        conn: Connection,
        db: &Path,
        run: RunInfo,
        shared: Arc<Shared>,
    ) -> Result<Self, RecordError> {
        let (started, started_ns) = (Time::now(), unix_ns());
        conn.execute(
            "INSERT INTO runs (name, command, config, seed, host, pid, version, started_ns, last_ns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
            params![
                run.name,
                run.command,
                run.config,
                run.seed.map(|seed| seed.to_string()),
                run.host,
                std::process::id(),
                env!("CARGO_PKG_VERSION"),
                started_ns
            ],
        )
        .map_err(|source| RecordError::of(db, source))?;
        let id = conn.last_insert_rowid();
        let db = db.to_owned();
        let links = Vec::new();
        let mut writer = Self {
            conn,
            db,
            id,
            started,
            started_ns,
            framing: run.framing,
            links,
            shared,
            broken: None,
            lost: (0, 0),
        };
        let batch = Batch { links: run.links, ..Batch::default() };
        writer.try_store(&[batch], LAST_TRIES, None).map_err(|source| RecordError::of(&writer.db, source))?;
        Ok(writer)
    }

    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// Writes until the run ends. `None`: everybody has gone without an end.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) -> Option<Result<Recorded, RecordError>> {
        let mut batches = Vec::with_capacity(TOGETHER);
        loop {
            let mut next = if self.links.iter().any(LinkState::is_open) {
                match inbox.recv_timeout(IDLE) {
                    Err(RecvTimeoutError::Timeout) => {
                        self.store(&[], u32::MAX, Some(Cut::Idle));
                        continue;
                    }
                    other => other.ok(),
                }
            } else {
                inbox.recv().ok()
            };
            let mut end = None;
            while let Some(message) = next {
                match message {
                    Message::Batch(batch) => batches.push(batch),
                    Message::End { outcome, message, statistics } => {
                        end = Some((outcome, message, statistics));
                        break;
                    }
                }
                next = if batches.len() < TOGETHER { inbox.try_recv().ok() } else { None };
            }
            if batches.is_empty() && end.is_none() {
                // Nobody is left. What was on the line is kept all the same.
                self.store(&[], LAST_TRIES, Some(Cut::All));
                return None;
            }
            let (tries, cut) = if end.is_some() { (LAST_TRIES, Some(Cut::All)) } else { (u32::MAX, None) };
            self.store(&batches, tries, cut);
            let size = batches.drain(..).map(|batch| batch.size()).sum();
            self.shared.queued.fetch_sub(size, Ordering::AcqRel);
            if let Some((outcome, message, statistics)) = end {
                return Some(self.end(&outcome, &message, &statistics));
            }
        }
    }

    fn store(&mut self, batches: &[Batch], tries: u32, cut: Option<Cut>) {
        if self.broken.is_none()
            && let Err(error) = self.try_store(batches, tries, cut)
        {
            self.give_up(&error);
        }
        if self.broken.is_some() {
            for batch in batches {
                for (item, bytes) in batch.records() {
                    let (records, bytes) = match item.kind {
                        Kind::Tap(kind) => (1, line_bytes(kind, bytes)),
                        Kind::Unrecorded(records) => (records, item.value),
                    };
                    self.lost.0 += records;
                    self.lost.1 += bytes;
                }
            }
        }
    }

    fn give_up(&mut self, error: &rusqlite::Error) {
        let reason = match error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
            other => other.to_string(),
        };
        self.shared.break_with(format!("the record stops here: {reason}"));
        self.broken = Some(reason);
    }

    fn try_store(&mut self, batches: &[Batch], tries: u32, cut: Option<Cut>) -> rusqlite::Result<()> {
        let Self { conn, id, started, started_ns, framing, links, .. } = self;
        let transaction = begin(conn, tries)?;
        for batch in batches {
            for link in &batch.links {
                transaction.execute(
                    "INSERT INTO links (run, name, a, b) VALUES (?1, ?2, ?3, ?4)",
                    params![*id, link.name, link.a, link.b],
                )?;
                links.push(LinkState::new(transaction.last_insert_rowid(), &link.name, framing));
            }
            for (item, bytes) in batch.records() {
                if let Some(link) = links.get_mut(item.link as usize) {
                    link.take(&transaction, *started, item, bytes)?;
                }
            }
        }
        if let Some(which) = cut {
            links.iter_mut().try_for_each(|link| link.cut(&transaction, *started, which))?;
        }
        links.iter_mut().try_for_each(|link| link.store_counts(&transaction))?;
        let now = *started_ns + Time::now().since(*started).as_nanos() as i64;
        transaction
            .prepare_cached("UPDATE runs SET last_ns = ?2 WHERE id = ?1")?
            .execute(params![*id, now])?;
        transaction.commit()
    }

    fn end(
        mut self,
        outcome: &str,
        message: &str,
        statistics: &[(String, LinkSnapshot)],
    ) -> Result<Recorded, RecordError> {
        if self.broken.is_none()
            && let Err(error) = self.try_end(outcome, message, statistics)
        {
            self.give_up(&error);
        }
        let mut totals = [0, 0, self.lost.0, self.lost.1];
        for link in &self.links {
            totals.iter_mut().zip(link.totals()).for_each(|(sum, n)| *sum += n);
        }
        let [frames, bytes, lost_records, lost_bytes] = totals;
        let (id, db) = (self.id, self.db);
        match self.broken {
            None => Ok(Recorded { id, db, frames, bytes, lost_records, lost_bytes }),
            Some(reason) => Err(RecordError::Incomplete { db, id, reason, lost_records, lost_bytes }),
        }
    }

    fn try_end(
        &self,
        outcome: &str,
        message: &str,
        statistics: &[(String, LinkSnapshot)],
    ) -> rusqlite::Result<()> {
        let transaction = begin(&self.conn, LAST_TRIES)?;
        for (name, snapshot) in statistics {
            if let Some(link) = self.links.iter().find(|link| link.name == *name) {
                link.store_accounts(&transaction, snapshot)?;
            }
        }
        let now = self.started_ns + Time::now().since(self.started).as_nanos() as i64;
        transaction.execute(
            "UPDATE runs SET ended_ns = ?2, last_ns = ?2, outcome = ?3, message = ?4 WHERE id = ?1",
            params![self.id, now, outcome, message],
        )?;
        transaction.commit()
    }
}

fn unix_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as i64
}

/// Takes the right to write at once: a transaction that only turns to writing later could not wait for others.
fn begin(conn: &Connection, mut tries: u32) -> rusqlite::Result<Transaction<'_>> {
    loop {
        match Transaction::new_unchecked(conn, TransactionBehavior::Immediate) {
            // Each try has waited for the time of `schema::BUSY`.
            Err(e) if schema::is_busy(&e) && tries > 1 => tries -= 1,
            other => return other,
        }
    }
}
