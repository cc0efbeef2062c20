//! What can go wrong with a database of runs, in sentences for an operator.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{}: there is no such database; a run is recorded into one with --record", db.display())]
    Absent { db: PathBuf },
    #[error("{}: holds no runs yet", db.display())]
    Empty { db: PathBuf },
    #[error("{}: is a database of another program; give another file for the runs", db.display())]
    Foreign { db: PathBuf },
    #[error(
        "{}: was written by a newer version (layout {found}, this one knows {known}); use that version, or record \
         into another file", db.display()
    )]
    Newer { db: PathBuf, found: i32, known: i32 },
    #[error(
        "{}: was written by an older version (layout {found}, this one knows {known}), and nothing converts it; record \
         into another file, and read this one with the version that wrote it", db.display()
    )]
    Older { db: PathBuf, found: i32, known: i32 },
    #[error("{}: is not a database; give another file for the runs", db.display())]
    NotADatabase { db: PathBuf },
    #[error("{}: no run {id} (see `hilrig runs list`)", db.display())]
    NoRun { db: PathBuf, id: i64 },
    #[error("{}: cannot start the thread that writes: {source}", db.display())]
    Thread { db: PathBuf, source: std::io::Error },
    /// The recording of a run has stopped early.
    #[error(
        "{}: the record of run {id} is incomplete: {reason}; {lost_records} records with {lost_bytes} bytes are missing",
        db.display()
    )]
    Incomplete { db: PathBuf, id: i64, reason: String, lost_records: u64, lost_bytes: u64 },
    #[error("{}: {source}", db.display())]
    Sqlite { db: PathBuf, source: rusqlite::Error },
}

impl RecordError {
    pub(crate) fn of(db: &Path, source: rusqlite::Error) -> Self {
        let db = db.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { db },
            _ => Self::Sqlite { db, source },
        }
    }
}
