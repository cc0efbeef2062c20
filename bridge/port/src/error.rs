//! What can go wrong with a port, each as a sentence for an operator that names the port and says what to do.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("{port}: there is no such port; {hint}")]
    NotFound { port: String, hint: String },
    #[error("{port}: several ports fit: {matches}; give more of the name, so that only one does")]
    Ambiguous { port: String, matches: String },
    #[error("{port}: permission denied; {hint}")]
    Permission { port: String, hint: String },
    #[error("{port}: the port is busy: {holder}; stop that program or choose another port")]
    Busy { port: String, holder: String },
    #[error("{port}: this is not a serial port; `hilrig ports` lists what is there")]
    NotAPort { port: String },
    #[error("{port}: the line cannot be set as asked: {reason}")]
    Unsupported { port: String, reason: String },
    #[error(
        "{port}: `{scheme}:` ports are not available in this version; use a serial, pty, tcp or unix port"
    )]
    Later { port: String, scheme: String },
    #[error("{port}: it is in use by {holder}; stop that or choose another")]
    Taken { port: String, holder: String },
    #[error("{port}: {path} exists and was not made by hilrig; remove it or choose another name", path = path.display())]
    InTheWay { port: String, path: PathBuf },
    #[error("{port}: the host name cannot be resolved: {reason}")]
    Resolve { port: String, reason: String },
    #[error("{port}: nobody answers: {source}; check that the other side is running")]
    Connect { port: String, source: io::Error },
    #[error("{port}: {reason}")]
    Tls { port: String, reason: String },
    #[error("{port}: stopped while the port was being opened")]
    Stopped { port: String },
    #[error("{port}: {reason}")]
    NotForServer { port: String, reason: &'static str },
    #[error("{port}: cannot {action}: {source}")]
    Io { port: String, action: &'static str, source: io::Error },
    #[error("the runtime directory {path} {reason}; set HILRIG_RUNTIME_DIR to a directory of your own", path = path.display())]
    Runtime { path: PathBuf, reason: String },
    #[error("shard {shard}: cannot {action}: {source}")]
    Shard { shard: String, action: &'static str, source: io::Error },
    #[error("shard {shard} has stopped; start the run again")]
    ShardGone { shard: String },
    #[error("{port}: the station or link is no longer there")]
    Gone { port: String },
    #[error("{port}: something is replayed there already; wait for its end or stop it")]
    Guest { port: String },
    #[error("{port}: holds another type than asked for ({asked})")]
    WrongType { port: String, asked: &'static str },
}

impl PortError {
    pub(crate) fn io(port: &impl ToString, action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Io { port: port.to_string(), action, source: source.into() }
    }
}
