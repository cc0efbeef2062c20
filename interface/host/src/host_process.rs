//! A host process: owns the runs of its apps, serves the contract on its socket, and lives as long as it is
//! needed, with or without a daemon.

use std::path::PathBuf;
use std::sync::Arc;

use hilrig_contract::App;

use crate::RootError;

/// What [`host`] needs to know.
pub struct HostOptions {
    /// The host's name: `host` of the specs of its apps.
    pub name: String,
    pub root: PathBuf,
    /// All apps; the ones of this host are taken.
    pub apps: Vec<Arc<dyn App>>,
}

impl std::fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostOptions")
            .field("name", &self.name)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Why a host process does not come up: exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("{0}")]
    Root(#[from] RootError),
}

/// Is the host process of that name until nobody needs it, or SIGTERM.
///
/// # Errors
/// It cannot come up: its name is unknown or held by another process, or its socket cannot be made.
pub fn host(_options: HostOptions) -> Result<(), HostError> {
    Ok(())
}
