//! What the records of one link become in the database: frames, events, counts. Owns no connection and no thread.

use std::time::Duration;

use hilrig_capture::{Framer, Framing};
use hilrig_port::{CharError, DirectionSnapshot, LinkSnapshot, TapKind, Time};
use rusqlite::{Transaction, params};

use crate::recorder::{Item, Kind};

#[derive(Debug)]
pub(crate) struct LinkState {
    row: i64,
    pub(crate) name: String,
    directions: [DirectionState; 2],
    /// By direction and point.
    framers: [[Framer; 2]; 2],
    character: Duration,
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

    fn store(
        &mut self,
        db: &Transaction<'_>,
        link: i64,
        (direction, point): (usize, usize),
        at: i64,
        bytes: &[u8],
    ) -> rusqlite::Result<()> {
        self.seen[point].0 += 1;
        self.seen[point].1 += bytes.len() as u64;
        self.changed = true;
        let gap = std::mem::take(&mut self.gap[point]);
        db.prepare_cached(
            "INSERT INTO frames (link, at_ns, direction, point, gap, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![link, at, direction as i64, point as i64, gap, bytes])
        .map(drop)
    }

    fn miss(&mut self) {
        self.gaps += 1;
        self.gap = [true; 2];
        self.changed = true;
    }
}

/// Which open frames count as complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Those that time has ended, since no record came for a while.
    Idle,
    All,
}

impl LinkState {
    pub(crate) fn new(row: i64, name: &str, framing: &Framing) -> Self {
        let mut directions = <[DirectionState; 2]>::default();
        directions.iter_mut().for_each(|d| d.changed = true);
        let framers = [(); 2].map(|()| [(); 2].map(|()| Framer::new(framing.clone())));
        Self { row, name: name.to_owned(), directions, framers, character: Duration::ZERO }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.framers.iter().flatten().any(|framer| framer.open_since().is_some())
    }

    fn push(
        &mut self,
        db: &Transaction<'_>,
        started: Time,
        (direction, point): (usize, usize),
        at: Time,
        bytes: &[u8],
    ) -> rusqlite::Result<()> {
        let Self { row, directions, framers, character, .. } = self;
        let (state, mut done) = (&mut directions[direction], Ok(()));
        framers[1 - direction].iter_mut().for_each(|framer| framer.other_spoke(at, *character));
        framers[direction][point].push(at, bytes, *character, |first, frame| {
            if done.is_ok() {
                done = state.store(db, *row, (direction, point), since(started, first), frame);
            }
        });
        done
    }

    pub(crate) fn cut(&mut self, db: &Transaction<'_>, started: Time, which: Cut) -> rusqlite::Result<()> {
        let Self { row, directions, framers, .. } = self;
        for (direction, point) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (state, mut done) = (&mut directions[direction], Ok(()));
            let out = |first, frame: &[u8]| {
                if done.is_ok() {
                    done = state.store(db, *row, (direction, point), since(started, first), frame);
                }
            };
            let framer = &mut framers[direction][point];
            match which {
                Cut::Idle => framer.tick(Time::now(), out),
                Cut::All => framer.flush(out),
            }
            done?;
        }
        Ok(())
    }

    /// Takes one record in.
    pub(crate) fn take(
        &mut self,
        db: &Transaction<'_>,
        started: Time,
        item: &Item,
        bytes: &[u8],
    ) -> rusqlite::Result<()> {
        let side = usize::from(item.side);
        // What a port gives goes to the other one.
        let (from_here, to_here) = (side, 1 - side);
        self.character = Duration::from_nanos(item.character.into());
        let kind = match item.kind {
            Kind::Tap(TapKind::In) => return self.push(db, started, (from_here, 0), item.at, bytes),
            Kind::Tap(TapKind::Out) => return self.push(db, started, (to_here, 1), item.at, bytes),
            Kind::Unrecorded(_) | Kind::Tap(TapKind::Gone | TapKind::Discarded | TapKind::Lost) => {
                // What comes after a gap is not of one frame with what was before.
                self.cut(db, started, Cut::All)?;
                item.kind
            }
            kind => kind,
        };
        let to = &mut self.directions[to_here];
        let (kind, detail) = match kind {
            Kind::Tap(TapKind::Lines) => ("lines", item.lines.to_string()),
            Kind::Tap(TapKind::BreakIn) => {
                self.directions[from_here].breaks[0] += 1;
                ("break", "received".to_owned())
            }
            Kind::Tap(TapKind::BreakOut) => {
                to.breaks[1] += 1;
                ("break", "sent".to_owned())
            }
            Kind::Tap(TapKind::Error(error)) => {
                self.directions[from_here].errors += 1;
                let kind = match error {
                    CharError::Framing => "framing",
                    CharError::Parity => "parity",
                    CharError::Overrun => "overrun",
                };
                (kind, String::new())
            }
            Kind::Tap(TapKind::Gone) => {
                self.directions.iter_mut().for_each(DirectionState::miss);
                ("gone", String::new())
            }
            Kind::Tap(TapKind::Back) => ("back", String::new()),
            Kind::Tap(TapKind::Discarded) => {
                to.miss();
                ("discarded", format!("{} bytes", item.value))
            }
            Kind::Tap(TapKind::Fault) => {
                to.faults += 1;
                ("fault", fault(item.value, bytes))
            }
            Kind::Tap(TapKind::Lost) => {
                to.miss();
                to.lost.1 += item.value;
                ("lost", format!("{} bytes that the link could not hand over", item.value))
            }
            Kind::Unrecorded(records) => {
                to.miss();
                to.lost.0 += records;
                to.lost.1 += item.value;
                let detail =
                    format!("{records} records with {} bytes that the disk was too slow for", item.value);
                ("unrecorded", detail)
            }
            Kind::Tap(TapKind::In | TapKind::Out) => return Ok(()),
        };
        self.directions.iter_mut().for_each(|d| d.changed = true);
        db.prepare_cached("INSERT INTO events (link, at_ns, side, kind, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![self.row, since(started, item.at), side as i64, kind, detail])
            .map(drop)
    }

    /// Puts the counts that have changed into the database.
    pub(crate) fn store_counts(&mut self, db: &Transaction<'_>) -> rusqlite::Result<()> {
        for (direction, state) in self.directions.iter_mut().enumerate() {
            if std::mem::take(&mut state.changed) {
                store_counts(db, self.row, direction, state)?;
            }
        }
        Ok(())
    }

    /// Puts what the link itself has counted beside that.
    pub(crate) fn store_accounts(&self, db: &Transaction<'_>, link: &LinkSnapshot) -> rusqlite::Result<()> {
        let mut directions = link.directions.iter().enumerate();
        directions.try_for_each(|(direction, account)| store_account(db, self.row, direction, account))
    }

    /// Frames and bytes that are in the database, records and bytes that are missing.
    pub(crate) fn totals(&self) -> [u64; 4] {
        let mut totals = [0; 4];
        for direction in &self.directions {
            let ((frames, bytes), (records, lost)) = (direction.recorded(), direction.lost);
            totals.iter_mut().zip([frames, bytes, records, lost]).for_each(|(sum, n)| *sum += n);
        }
        totals
    }
}

/// The detail of a fault: its payload is the number of the rule, the count of bytes, and the rule in words.
fn fault(position: u64, payload: &[u8]) -> String {
    let number =
        |at: usize| payload.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let rule = match payload.get(8..).map(String::from_utf8_lossy) {
        Some(name) if !name.is_empty() => name.into_owned(),
        _ => format!("rule {}", number(0)),
    };
    format!("{rule}, at byte {position}, {} bytes", number(4))
}

fn since(started: Time, at: Time) -> i64 {
    at.since(started).as_nanos() as i64
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
            account.inserted_bytes as i64,
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
