//! The database file: opens it, makes it, refuses what is not ours. Keeps its layout in one place.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::RecordError;

/// Of the layout below; a change that older programs cannot read counts it up.
pub(crate) const VERSION: i32 = 1;
/// "hilr", in the file's head.
const APPLICATION: i32 = 0x6869_6c72;
/// How long one try waits for another process that is writing.
pub(crate) const BUSY: Duration = Duration::from_secs(5);
/// How long opening waits for others that open it too.
const OPENING: Duration = Duration::from_secs(20);

const LAYOUT: &str = "
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    command TEXT NOT NULL,
    config TEXT NOT NULL,
    seed TEXT,                      -- decimal: it has 64 bits without a sign
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    started_ns INTEGER NOT NULL,    -- since 1970, UTC
    last_ns INTEGER NOT NULL,       -- the same, of the last write
    ended_ns INTEGER,               -- NULL: under way, or killed
    outcome TEXT,
    message TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE links (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    a TEXT NOT NULL,                -- port URLs
    b TEXT NOT NULL
) STRICT;
CREATE INDEX links_of_run ON links (run);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY,
    link INTEGER NOT NULL REFERENCES links (id) ON DELETE CASCADE,
    at_ns INTEGER NOT NULL,         -- since the start of the run
    direction INTEGER NOT NULL,     -- 0: a->b, 1: b->a
    point INTEGER NOT NULL,         -- 0: as it came from the sender, 1: as the receiver got it
    gap INTEGER NOT NULL,           -- 1: bytes are missing before it
    bytes BLOB NOT NULL
) STRICT;
CREATE INDEX frames_of_link ON frames (link);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    link INTEGER NOT NULL REFERENCES links (id) ON DELETE CASCADE,
    at_ns INTEGER NOT NULL,
    side INTEGER NOT NULL,          -- 0: a, 1: b
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_link ON events (link);
CREATE TABLE statistics (
    link INTEGER NOT NULL REFERENCES links (id) ON DELETE CASCADE,
    direction INTEGER NOT NULL,
    bytes INTEGER NOT NULL, frames INTEGER NOT NULL, gaps INTEGER NOT NULL, errors INTEGER NOT NULL,
    breaks INTEGER NOT NULL, faults INTEGER NOT NULL, lost_records INTEGER NOT NULL, lost_bytes INTEGER NOT NULL,
    bytes_in INTEGER, inserted_bytes INTEGER, bytes_out INTEGER, fault_bytes INTEGER, discarded_bytes INTEGER,
    pending INTEGER,                -- from here on, and the six before: NULL until the run ends
    p50_us REAL, p90_us REAL, p99_us REAL, p999_us REAL, max_us REAL,
    PRIMARY KEY (link, direction)
) STRICT, WITHOUT ROWID;
";

/// Opens a database to write runs into, and makes it if it is not there.
pub(crate) fn open_to_write(db: &Path) -> Result<Connection, RecordError> {
    let failed = |source| RecordError::of(db, source);
    let conn = Connection::open(db).map_err(failed)?;
    conn.busy_timeout(BUSY).map_err(failed)?;
    let end = Instant::now() + OPENING;
    // Two processes that turn an empty file into a database at once are told `busy` without a wait.
    let wal = || conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()));
    retry(wal, end).map_err(failed)?;
    conn.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON").map_err(failed)?;
    let begin = || Transaction::new_unchecked(&conn, TransactionBehavior::Immediate);
    let transaction = retry(begin, end).map_err(failed)?;
    if is_empty(&transaction).map_err(failed)? {
        transaction.execute_batch(LAYOUT).map_err(failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
        transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    } else {
        check(&transaction, db)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(conn)
}

/// Opens a database that is there, to look at it only.
pub(crate) fn open_to_read(db: &Path) -> Result<Connection, RecordError> {
    if !db.is_file() {
        return Err(RecordError::Absent { db: db.to_owned() });
    }
    let failed = |source| RecordError::of(db, source);
    // Also a reader of a WAL must be able to write beside it; where it may not, what is in the file is read.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(db, flags).map_err(failed)?;
    conn.busy_timeout(BUSY).map_err(failed)?;
    if is_empty(&conn).map_err(failed)? {
        return Err(RecordError::Empty { db: db.to_owned() });
    }
    check(&conn, db)?;
    Ok(conn)
}

fn retry<T>(mut f: impl FnMut() -> rusqlite::Result<T>, end: Instant) -> rusqlite::Result<T> {
    loop {
        match f() {
            Err(e) if is_busy(&e) && Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
}

pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn is_empty(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn check(conn: &Connection, db: &Path) -> Result<(), RecordError> {
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let failed = |source| RecordError::of(db, source);
    if number("application_id").map_err(failed)? != APPLICATION {
        return Err(RecordError::Foreign { db: db.to_owned() });
    }
    match number("user_version").map_err(failed)? {
        VERSION => Ok(()),
        found if found > VERSION => Err(RecordError::Newer { db: db.to_owned(), found, known: VERSION }),
        found => Err(RecordError::Older { db: db.to_owned(), found, known: VERSION }),
    }
}
