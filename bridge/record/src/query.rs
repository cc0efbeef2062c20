//! Questions to a database of runs, also while others write into it. Changes nothing.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::rows::{
    Counts, EventCount, EventRow, FrameRow, LineAccount, LinkDetail, RunDetail, RunRow, StatisticsRow,
};
use crate::{RecordError, schema};

/// How much of the long lists to give, from their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    pub events: usize,
    pub frames: usize,
}

const RUN: &str = "SELECT id, name, started_ns, ended_ns, last_ns, outcome, message, host, pid,
    (SELECT count(*) FROM links WHERE run = runs.id) AS links, s.frames, s.bytes, s.lost_records, s.lost_bytes
    FROM runs LEFT JOIN (SELECT links.run AS run, sum(frames) AS frames, sum(bytes) AS bytes,
        sum(lost_records) AS lost_records, sum(lost_bytes) AS lost_bytes
        FROM statistics JOIN links ON links.id = statistics.link GROUP BY links.run) AS s ON s.run = runs.id";

/// How much there is in a database.
///
/// # Errors
/// The file is no database of ours, in words for an operator.
pub fn counts(db: &Path) -> Result<Counts, RecordError> {
    let conn = schema::open_to_read(db)?;
    let sql = "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM runs WHERE ended_ns IS NULL),
        (SELECT count(*) FROM links), (SELECT count(*) FROM frames),
        (SELECT coalesce(sum(bytes), 0) FROM statistics), (SELECT count(*) FROM events),
        (SELECT count(*) FROM statistics)";
    let row = |row: &Row<'_>| {
        Ok(Counts {
            runs: unsigned(row, 0)?,
            unfinished: unsigned(row, 1)?,
            links: unsigned(row, 2)?,
            frames: unsigned(row, 3)?,
            bytes: unsigned(row, 4)?,
            events: unsigned(row, 5)?,
            statistics: unsigned(row, 6)?,
        })
    };
    conn.query_row(sql, [], row).map_err(|source| RecordError::of(db, source))
}

/// All runs, oldest first.
///
/// # Errors
/// As [`counts`].
pub fn list(db: &Path) -> Result<Vec<RunRow>, RecordError> {
    let conn = schema::open_to_read(db)?;
    let runs = || -> rusqlite::Result<Vec<RunRow>> {
        conn.prepare(&format!("{RUN} ORDER BY id"))?.query_map([], run_row)?.collect()
    };
    runs().map_err(|source| RecordError::of(db, source))
}

/// One run; without an id, the last one.
///
/// # Errors
/// As [`counts`], or there is no such run.
pub fn show(db: &Path, id: Option<i64>, window: Window) -> Result<RunDetail, RecordError> {
    let conn = schema::open_to_read(db)?;
    let failed = |source| RecordError::of(db, source);
    let id = match id {
        Some(id) => id,
        None => {
            conn.query_row("SELECT coalesce(max(id), 0) FROM runs", [], |row| row.get(0)).map_err(failed)?
        }
    };
    let detail = detail(&conn, id, window).map_err(failed)?;
    detail.ok_or_else(|| RecordError::NoRun { db: db.to_owned(), id })
}

fn detail(conn: &Connection, id: i64, window: Window) -> rusqlite::Result<Option<RunDetail>> {
    // One look at one state of the database.
    let conn = conn.unchecked_transaction()?;
    let Some(run) = conn.query_row(&format!("{RUN} WHERE id = ?1"), [id], run_row).optional()? else {
        return Ok(None);
    };
    let (command, config, seed, version): (_, _, Option<String>, _) =
        conn.query_row("SELECT command, config, seed, version FROM runs WHERE id = ?1", [id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    let mut links = Vec::new();
    let mut found = conn.prepare("SELECT id, name, a, b FROM links WHERE run = ?1 ORDER BY id")?;
    let mut found = found.query([id])?;
    while let Some(row) = found.next()? {
        let directions = statistics(&conn, row.get(0)?)?;
        links.push(LinkDetail { name: row.get(1)?, a: row.get(2)?, b: row.get(3)?, directions });
    }
    let event_counts = conn
        .prepare(
            "SELECT kind, count(*) FROM events WHERE link IN (SELECT id FROM links WHERE run = ?1)
             GROUP BY kind ORDER BY kind",
        )?
        .query_map([id], |row| Ok(EventCount { kind: row.get(0)?, count: unsigned(row, 1)? }))?
        .collect::<rusqlite::Result<_>>()?;
    let seed = seed.and_then(|seed| seed.parse().ok());
    let (events, frames) = (events(&conn, id, window.events)?, frames(&conn, id, window.frames)?);
    Ok(Some(RunDetail { run, command, config, seed, version, links, event_counts, events, frames }))
}

fn statistics(conn: &Connection, link: i64) -> rusqlite::Result<Vec<StatisticsRow>> {
    conn.prepare("SELECT * FROM statistics WHERE link = ?1 ORDER BY direction")?
        .query_map([link], |row| {
            let account = row.get::<_, Option<f64>>("max_us")?.map(|max| {
                Ok::<_, rusqlite::Error>(LineAccount {
                    bytes_in: unsigned(row, "bytes_in")?,
                    inserted_bytes: unsigned(row, "inserted_bytes")?,
                    bytes_out: unsigned(row, "bytes_out")?,
                    fault_bytes: unsigned(row, "fault_bytes")?,
                    discarded_bytes: unsigned(row, "discarded_bytes")?,
                    pending: unsigned(row, "pending")?,
                    latency_p50_us: row.get("p50_us")?,
                    latency_p90_us: row.get("p90_us")?,
                    latency_p99_us: row.get("p99_us")?,
                    latency_p999_us: row.get("p999_us")?,
                    latency_max_us: max,
                })
            });
            Ok(StatisticsRow {
                direction: direction(row.get("direction")?),
                bytes: unsigned(row, "bytes")?,
                frames: unsigned(row, "frames")?,
                gaps: unsigned(row, "gaps")?,
                errors: unsigned(row, "errors")?,
                breaks: unsigned(row, "breaks")?,
                faults: unsigned(row, "faults")?,
                lost_records: unsigned(row, "lost_records")?,
                lost_bytes: unsigned(row, "lost_bytes")?,
                account: account.transpose()?,
            })
        })?
        .collect()
}

fn events(conn: &Connection, run: i64, last: usize) -> rusqlite::Result<Vec<EventRow>> {
    let mut rows: Vec<EventRow> = conn
        .prepare(
            "SELECT links.name, at_ns, side, kind, detail FROM events JOIN links ON links.id = link
             WHERE run = ?1 ORDER BY at_ns DESC, events.id DESC LIMIT ?2",
        )?
        .query_map(params![run, last as i64], |row| {
            Ok(EventRow {
                link: row.get(0)?,
                at_ns: unsigned(row, 1)?,
                side: ["a", "b"][usize::from(row.get::<_, i64>(2)? == 1)].to_owned(),
                kind: row.get(3)?,
                detail: row.get(4)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    rows.reverse();
    Ok(rows)
}

fn frames(conn: &Connection, run: i64, last: usize) -> rusqlite::Result<Vec<FrameRow>> {
    let mut rows: Vec<FrameRow> = conn
        .prepare(
            "SELECT links.name, at_ns, direction, point, gap, bytes FROM frames JOIN links ON links.id = link
             WHERE run = ?1 ORDER BY at_ns DESC, frames.id DESC LIMIT ?2",
        )?
        .query_map(params![run, last as i64], |row| {
            let bytes: Vec<u8> = row.get(5)?;
            Ok(FrameRow {
                link: row.get(0)?,
                at_ns: unsigned(row, 1)?,
                direction: direction(row.get(2)?),
                point: ["in", "out"][usize::from(row.get::<_, i64>(3)? == 1)].to_owned(),
                gap: row.get(4)?,
                bytes: bytes.iter().map(|b| format!("{b:02x}")).collect(),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    rows.reverse();
    Ok(rows)
}

fn direction(number: i64) -> String {
    ["a->b", "b->a"][usize::from(number == 1)].to_owned()
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let count = |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.unwrap_or(0) as u64);
    let ended: Option<i64> = row.get("ended_ns")?;
    let outcome: Option<String> = row.get("outcome")?;
    Ok(RunRow {
        id: row.get("id")?,
        name: row.get("name")?,
        started: moment(row.get("started_ns")?),
        ended: ended.map(moment),
        last_written: moment(row.get("last_ns")?),
        outcome: outcome.unwrap_or_else(|| "unfinished".to_owned()),
        message: row.get("message")?,
        host: row.get("host")?,
        pid: row.get("pid")?,
        links: count("links")?,
        frames: count("frames")?,
        bytes: count("bytes")?,
        lost_records: count("lost_records")?,
        lost_bytes: count("lost_bytes")?,
    })
}

/// A moment in UTC, to the millisecond.
fn moment(unix_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(unix_ns.into()).map_or_else(|_| "?".to_owned(), |t| format!("{t:.3}"))
}

fn unsigned<I: rusqlite::RowIndex>(row: &Row<'_>, index: I) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(index)?.max(0) as u64)
}
