//! The far end of a recording: one thread and one connection, which puts batches into the database, each batch in a
//! transaction of its own or together with those that wait. Decides nothing about what is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hilrig_port::{CharError, DirectionSnapshot, LinkSnapshot, TapKind, Time};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::recorder::{Batch, Item, Kind, Message, Recorded, Shared};
use crate::{RecordError, RunInfo, schema};

/// How many batches go into one transaction.
const TOGETHER: usize = 16;
/// At the end of a run: how often another process that holds the database is waited for.
const LAST_TRIES: u32 = 4;

#[derive(Debug)]
pub(crate) struct Writer {
    conn: Connection,
    db: PathBuf,
    id: i64,
    started: Time,
    started_ns: i64,
    links: Vec<LinkState>,
    shared: Arc<Shared>,
    broken: Option<String>,
    /// What came after the writer gave up.
    lost: (u64, u64),
}

#[derive(Debug)]
struct LinkState {
    row: i64,
    name: String,
    directions: [DirectionState; 2],
}

/// Of what goes from A to B, or back.
#[derive(Debug, Default)]
struct DirectionState {
    /// As it came in, and as it went out.
    seen: [(u64, u64); 2],
    gaps: u64,
    errors: u64,
    /// Received, and sent on.
    breaks: [u64; 2],
    faults: u64,
    /// Records and bytes.
    lost: (u64, u64),
    /// Before the next frame, at either point, bytes are missing.
    gap: [bool; 2],
    changed: bool,
}

impl DirectionState {
    /// Frames and bytes: what the receiver got, or what the sender sent if only that is tapped.
    fn recorded(&self) -> (u64, u64) {
        if self.seen[1].0 > 0 { self.seen[1] } else { self.seen[0] }
    }

    fn miss(&mut self) {
        self.gaps += 1;
        self.gap = [true; 2];
        self.changed = true;
    }
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
        let mut writer =
            Self { conn, db, id, started, started_ns, links, shared, broken: None, lost: (0, 0) };
        let batch = Batch { links: run.links, ..Batch::default() };
        writer.try_store(&[batch], LAST_TRIES).map_err(|source| RecordError::of(&writer.db, source))?;
        Ok(writer)
    }

    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// Writes until the run ends. `None`: everybody has gone without an end.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) -> Option<Result<Recorded, RecordError>> {
        let mut batches = Vec::with_capacity(TOGETHER);
        loop {
            let mut next = inbox.recv().ok();
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
                return None;
            }
            let tries = if end.is_some() { LAST_TRIES } else { u32::MAX };
            self.store(&batches, tries);
            let size = batches.drain(..).map(|batch| batch.size()).sum();
            self.shared.queued.fetch_sub(size, Ordering::AcqRel);
            if let Some((outcome, message, statistics)) = end {
                return Some(self.end(&outcome, &message, &statistics));
            }
        }
    }

    fn store(&mut self, batches: &[Batch], tries: u32) {
        if self.broken.is_none()
            && let Err(error) = self.try_store(batches, tries)
        {
            self.give_up(&error);
        }
        if self.broken.is_some() {
            for item in batches.iter().flat_map(|batch| &batch.items) {
                self.lost.0 += match item.kind {
                    Kind::Tap(_) => 1,
                    Kind::Unrecorded(records) => records,
                };
            }
            self.lost.1 += batches.iter().map(|batch| batch.bytes.len() as u64).sum::<u64>();
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

    fn try_store(&mut self, batches: &[Batch], tries: u32) -> rusqlite::Result<()> {
        let Self { conn, id, started, started_ns, links, .. } = self;
        let transaction = begin(conn, tries)?;
        for batch in batches {
            for link in &batch.links {
                transaction.execute(
                    "INSERT INTO links (run, name, a, b) VALUES (?1, ?2, ?3, ?4)",
                    params![*id, link.name, link.a, link.b],
                )?;
                let (row, name) = (transaction.last_insert_rowid(), link.name.clone());
                let mut directions = <[DirectionState; 2]>::default();
                directions.iter_mut().for_each(|d| d.changed = true);
                links.push(LinkState { row, name, directions });
            }
            let mut from = 0;
            for item in &batch.items {
                let bytes = &batch.bytes[from..item.end as usize];
                from = item.end as usize;
                let at = item.at.since(*started).as_nanos() as i64;
                if let Some(link) = links.get_mut(item.link as usize) {
                    store_item(&transaction, link, item, at, bytes)?;
                }
            }
        }
        for link in links.iter_mut() {
            for (direction, state) in link.directions.iter_mut().enumerate() {
                if std::mem::take(&mut state.changed) {
                    store_counts(&transaction, link.row, direction, state)?;
                }
            }
        }
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
        let counts = self.links.iter().flat_map(|link| &link.directions);
        let mut recorded = Recorded {
            id: self.id,
            db: self.db.clone(),
            frames: 0,
            bytes: 0,
            lost_records: self.lost.0,
            lost_bytes: self.lost.1,
        };
        for direction in counts {
            let (frames, bytes) = direction.recorded();
            recorded.frames += frames;
            recorded.bytes += bytes;
            recorded.lost_records += direction.lost.0;
            recorded.lost_bytes += direction.lost.1;
        }
        let Some(reason) = self.broken else { return Ok(recorded) };
        let Recorded { id, db, lost_records, lost_bytes, .. } = recorded;
        Err(RecordError::Incomplete { db, id, reason, lost_records, lost_bytes })
    }

    fn try_end(
        &self,
        outcome: &str,
        message: &str,
        statistics: &[(String, LinkSnapshot)],
    ) -> rusqlite::Result<()> {
        let transaction = begin(&self.conn, LAST_TRIES)?;
        for (name, snapshot) in statistics {
            let known = self.links.iter().find(|link| link.name == *name);
            let Some(link) = known else { continue };
            for (direction, account) in snapshot.directions.iter().enumerate() {
                store_account(&transaction, link.row, direction, account)?;
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

fn store_item(
    db: &Transaction<'_>,
    link: &mut LinkState,
    item: &Item,
    at: i64,
    bytes: &[u8],
) -> rusqlite::Result<()> {
    let side = usize::from(item.side);
    // What a port gives goes to the other one.
    let (from_here, to_here) = (side, 1 - side);
    let (kind, detail) = match item.kind {
        Kind::Tap(TapKind::In) => return store_frame(db, link, from_here, 0, at, bytes),
        Kind::Tap(TapKind::Out) => return store_frame(db, link, to_here, 1, at, bytes),
        Kind::Tap(TapKind::Lines) => ("lines", item.lines.to_string()),
        Kind::Tap(TapKind::BreakIn) => {
            link.directions[from_here].breaks[0] += 1;
            link.directions[from_here].changed = true;
            ("break", "received".to_owned())
        }
        Kind::Tap(TapKind::BreakOut) => {
            link.directions[to_here].breaks[1] += 1;
            link.directions[to_here].changed = true;
            ("break", "sent".to_owned())
        }
        Kind::Tap(TapKind::Error(error)) => {
            link.directions[from_here].errors += 1;
            link.directions[from_here].changed = true;
            let kind = match error {
                CharError::Framing => "framing",
                CharError::Parity => "parity",
                CharError::Overrun => "overrun",
            };
            (kind, String::new())
        }
        Kind::Tap(TapKind::Gone) => {
            link.directions.iter_mut().for_each(DirectionState::miss);
            ("gone", String::new())
        }
        Kind::Tap(TapKind::Back) => ("back", String::new()),
        Kind::Tap(TapKind::Discarded) => {
            link.directions[to_here].miss();
            ("discarded", format!("{} bytes", item.value))
        }
        Kind::Tap(TapKind::Fault) => {
            link.directions[to_here].faults += 1;
            link.directions[to_here].changed = true;
            let number = |at: usize| {
                bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
            };
            ("fault", format!("rule {} at byte {}, {} bytes", number(0), item.value, number(4)))
        }
        Kind::Tap(TapKind::Lost) => {
            let direction = &mut link.directions[to_here];
            direction.miss();
            direction.lost.1 += item.value;
            ("lost", format!("{} bytes that the link could not hand over", item.value))
        }
        Kind::Unrecorded(records) => {
            let direction = &mut link.directions[to_here];
            direction.miss();
            direction.lost.0 += records;
            direction.lost.1 += item.value;
            (
                "unrecorded",
                format!("{records} records with {} bytes that the disk was too slow for", item.value),
            )
        }
    };
    db.prepare_cached("INSERT INTO events (link, at_ns, side, kind, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![link.row, at, side as i64, kind, detail])
        .map(drop)
}

fn store_frame(
    db: &Transaction<'_>,
    link: &mut LinkState,
    direction: usize,
    point: usize,
    at: i64,
    bytes: &[u8],
) -> rusqlite::Result<()> {
    let state = &mut link.directions[direction];
    state.seen[point].0 += 1;
    state.seen[point].1 += bytes.len() as u64;
    state.changed = true;
    let gap = std::mem::take(&mut state.gap[point]);
    db.prepare_cached(
        "INSERT INTO frames (link, at_ns, direction, point, gap, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![link.row, at, direction as i64, point as i64, gap, bytes])
    .map(drop)
}

fn store_counts(
    db: &Transaction<'_>,
    link: i64,
    direction: usize,
    state: &DirectionState,
) -> rusqlite::Result<()> {
    let (frames, bytes) = state.recorded();
    db.prepare_cached(
        "INSERT OR REPLACE INTO statistics
         (link, direction, bytes, frames, gaps, errors, breaks, faults, lost_records, lost_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        link,
        direction as i64,
        bytes as i64,
        frames as i64,
        state.gaps as i64,
        state.errors as i64,
        state.breaks[0].max(state.breaks[1]) as i64,
        state.faults as i64,
        state.lost.0 as i64,
        state.lost.1 as i64
    ])
    .map(drop)
}

fn store_account(
    db: &Transaction<'_>,
    link: i64,
    direction: usize,
    account: &DirectionSnapshot,
) -> rusqlite::Result<()> {
    let micros = |q: f64| account.latency.quantile(q).as_nanos() as f64 / 1000.0;
    db.execute(
        "UPDATE statistics SET bytes_in = ?3, inserted_bytes = ?4, bytes_out = ?5, fault_bytes = ?6,
         discarded_bytes = ?7, pending = ?8, p50_us = ?9, p90_us = ?10, p99_us = ?11, p999_us = ?12, max_us = ?13
         WHERE link = ?1 AND direction = ?2",
        params![
            link,
            direction as i64,
            account.bytes_in as i64,
            0i64,
            account.bytes_out as i64,
            account.fault_bytes as i64,
            account.discarded_bytes as i64,
            account.pending as i64,
            micros(0.5),
            micros(0.9),
            micros(0.99),
            micros(0.999),
            account.latency.max().as_nanos() as f64 / 1000.0
        ],
    )
    .map(drop)
}
