//! stub
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::{Access, Dispatcher};

/// A secret that a listener demands. Compared in constant time, never printed.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Reads the first line of a file.
    pub fn from_file(_path: &Path) -> Result<Self, ListenError> {
        unimplemented!()
    }
    pub fn matches(&self, _given: &str) -> bool {
        let _ = &self.0;
        unimplemented!()
    }
}

/// Why a listener cannot be opened. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0}")]
    Todo(String),
    #[error("{0}")]
    Io(io::Error),
}

/// An open listener, not serving yet: open all of them first, then serve, so that there is no half start.
#[derive(Debug)]
pub struct Listener {
    _todo: (),
}

impl Listener {
    /// `HOST:PORT`, `:PORT` or `tcp://HOST:PORT`. An address that is not loopback needs a token.
    pub async fn tcp(_address: &str, _access: Access) -> Result<Self, ListenError> {
        unimplemented!()
    }

    /// Mode 0600 from birth; a socket file that nobody listens on is replaced. Removed when the listener ends.
    pub fn unix(_path: &Path, _access: Access) -> Result<Self, ListenError> {
        unimplemented!()
    }

    /// The address as bound (a port 0 resolved), of a TCP listener.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        unimplemented!()
    }

    /// The socket file, of a Unix listener.
    pub fn path(&self) -> Option<&PathBuf> {
        unimplemented!()
    }

    /// Accepts and serves until `stop` turns true, then lets connections finish their request (at most 2 s).
    pub async fn serve(self, _dispatcher: Arc<Dispatcher>, _stop: watch::Receiver<bool>) {
        unimplemented!()
    }
}

/// Serves stdin and stdout until EOF or `stop`. The read of stdin sits in a blocking thread: leave by
/// `process::exit` or `Runtime::shutdown_background` afterwards.
pub async fn serve_stdio(_dispatcher: Arc<Dispatcher>, _stop: watch::Receiver<bool>) {
    unimplemented!()
}
