//! From a port URL to an open port, with every error said in terms of the port. Runs on the caller's thread and
//! may block there; a shard gets only what is open.

use std::path::Path;
use std::sync::Arc;

use crate::{PortError, PortStats, PortUrl, Runtime};

/// A port ready to be given to a shard; closed when dropped.
#[derive(Debug)]
pub struct OpenPort {
    url: PortUrl,
    stats: Arc<PortStats>,
    warnings: Vec<String>,
}

impl OpenPort {
    /// Opens a port. May block (a connection, a host name); asks `stop` at least every 50 ms whether to give up.
    pub fn open(url: &PortUrl, runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<Self, PortError> {
        let _ = (runtime, stop);
        Err(PortError::NotAPort { port: url.to_string() })
    }

    pub fn url(&self) -> &PortUrl {
        &self.url
    }

    /// Of a virtual port, the path that others open.
    pub fn far_end(&self) -> Option<&Path> {
        None
    }

    pub fn stats(&self) -> Arc<PortStats> {
        self.stats.clone()
    }

    /// What was asked for and could not be had, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
