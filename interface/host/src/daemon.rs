//! The daemon: one dispatcher over all apps, its listeners, and the order in which things start and stop. Holds no
//! logic of an app and owns no run.

use std::path::PathBuf;

use hilrig_contract::AppSpec;

use crate::RootError;

/// What [`serve`] needs to know.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Created where it is missing.
    pub root: PathBuf,
    /// The built-in apps. Their code runs in host processes, so the daemon needs their specs only.
    pub apps: Vec<AppSpec>,
    /// Where to listen on TCP, as HOST:PORT; `None`: nowhere.
    pub tcp: Option<String>,
    /// A Unix socket beside the root's own.
    pub socket: Option<PathBuf>,
    /// The first line of this file is asked for on TCP. A `tcp` that is not loopback needs it.
    pub token_file: Option<PathBuf>,
}

/// The TCP address of a daemon that is told none.
pub const DEFAULT_TCP: &str = "127.0.0.1:8765";

/// What [`stdio`] needs to know.
#[derive(Debug, Clone)]
pub struct StdioOptions {
    /// Created where it is missing.
    pub root: PathBuf,
    pub apps: Vec<AppSpec>,
}

/// Why there is no daemon. Each is an infrastructure failure: exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Root(#[from] RootError),
}

/// Is the daemon of a root until SIGTERM or SIGINT.
///
/// # Errors
/// Another daemon serves the root, an address cannot be listened on: nothing was started.
pub fn serve(_options: ServeOptions) -> Result<(), ServeError> {
    Ok(())
}

/// Speaks the contract on standard input and output until its end: as the root's daemon if there is none yet,
/// else by way of the one there is.
///
/// # Errors
/// As [`serve`].
pub fn stdio(_options: StdioOptions) -> Result<(), ServeError> {
    Ok(())
}
