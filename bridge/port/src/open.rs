//! From a port URL to an open port, with every error said in terms of the port. Runs on the caller's thread and
//! may block there; a shard gets only what is open.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::line::Line;
use crate::line::pty::PtyLine;
use crate::line::serial::SerialLine;
use crate::line::socket;
use crate::serial_options::StopBits;
use crate::{PortError, PortState, PortStats, PortUrl, Runtime};

/// A port ready to be given to a shard; closed when dropped.
#[derive(Debug)]
pub struct OpenPort {
    url: PortUrl,
    stats: Arc<PortStats>,
    warnings: Vec<String>,
    line: Line,
}

impl OpenPort {
    /// Opens a port. May block (a connection, a host name); asks `stop` at least every 50 ms whether to give up.
    pub fn open(url: &PortUrl, runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<Self, PortError> {
        let port = url.to_string();
        let mut warnings = Vec::new();
        let (line, stats) = match url {
            PortUrl::Serial { path, options } => {
                let (line, refused) = SerialLine::open(path, options, &port)?;
                warnings = refused;
                let stop_bits = if options.format.stop_bits == StopBits::One { 1 } else { 2 };
                (Line::Serial(line), PortStats::new(PortState::Open, true, options.baud, stop_bits))
            }
            PortUrl::Pty { name, .. } => (
                Line::Pty(PtyLine::open(name, &port, runtime)?),
                PortStats::new(PortState::Open, false, 0, 1),
            ),
            PortUrl::Tcp { host, port: number, tls: None } => (
                Line::Stream(socket::connect_tcp(host, *number, &port, stop)?),
                PortStats::new(PortState::Open, true, 0, 0),
            ),
            PortUrl::Unix { path } => (
                Line::Stream(socket::connect_unix(path, &port, stop)?),
                PortStats::new(PortState::Open, true, 0, 0),
            ),
            PortUrl::TcpListen { host, port: number, tls: None, .. } => (
                Line::Listen(socket::listen_tcp(host, *number, &port, stop)?),
                PortStats::new(PortState::Waiting, false, 0, 0),
            ),
            PortUrl::UnixListen { path } => (
                Line::Listen(socket::listen_unix(path, &port)?),
                PortStats::new(PortState::Waiting, false, 0, 0),
            ),
            PortUrl::Tcp { .. } | PortUrl::TcpListen { .. } => {
                let reason = "TLS is not available in this version".into();
                return Err(PortError::Unsupported { port, reason });
            }
            PortUrl::Usb { .. }
            | PortUrl::Loop { .. }
            | PortUrl::Rfc2217 { .. }
            | PortUrl::Rfc2217Listen { .. } => {
                let scheme = port.split(':').next().unwrap_or_default().to_owned();
                return Err(PortError::Later { port, scheme });
            }
            PortUrl::Later { scheme, .. } => return Err(PortError::Later { port, scheme: scheme.clone() }),
        };
        Ok(Self { url: url.clone(), stats: Arc::new(stats), warnings, line })
    }

    pub fn url(&self) -> &PortUrl {
        &self.url
    }

    /// Of a virtual port, the path that others open.
    pub fn far_end(&self) -> Option<&Path> {
        match &self.line {
            Line::Pty(line) => Some(line.link()),
            _ => None,
        }
    }

    /// Of a TCP listener, where it listens; tells the number chosen for port 0.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.line {
            Line::Listen(line) => line.address(),
            _ => None,
        }
    }

    pub fn stats(&self) -> Arc<PortStats> {
        self.stats.clone()
    }

    /// What was asked for and could not be had, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn into_parts(self) -> (String, Line, Arc<PortStats>) {
        (self.url.to_string(), self.line, self.stats)
    }
}
