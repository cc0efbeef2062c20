//! From a port URL to an open port, with every error said in terms of the port. Runs on the caller's thread and
//! may block there; a shard gets only what is open.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::line::Line;
use crate::line::looped::LoopLine;
use crate::line::pty::PtyLine;
use crate::line::serial::SerialLine;
use crate::line::socket::{self, Carrier, ListenLine};
use crate::line::telnet::TelnetLine;
use crate::line::tls::TlsLine;
use crate::{
    LineSettings, PortError, PortState, PortStats, PortUrl, Runtime, SerialOptions, ports, tls_files,
};

/// A port ready to be given to a shard; closed when dropped.
#[derive(Debug)]
pub struct OpenPort {
    url: PortUrl,
    fresh: Arc<PortStats>,
    /// Of the port that this one takes the place of.
    keeps: Option<Arc<PortStats>>,
    settings: Option<LineSettings>,
    warnings: Vec<String>,
    line: Line,
}

/// What a shard takes over from an open port.
#[derive(Debug)]
pub(crate) struct Parts {
    pub name: String,
    pub line: Line,
    /// The port's state as it is now; the counters that count are `keeps`, if there are any.
    pub fresh: Arc<PortStats>,
    pub keeps: Option<Arc<PortStats>>,
    pub settings: Option<LineSettings>,
}

/// How long a lost port may take to be closed before it is opened again all the same.
const CLOSING: Duration = Duration::from_secs(2);

impl OpenPort {
    /// Opens a port. May block (a connection, a host name); asks `stop` at least every 50 ms whether to give up.
    pub fn open(url: &PortUrl, runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<Self, PortError> {
        let port = url.to_string();
        let mut warnings = Vec::new();
        let mut settings = None;
        let (line, fresh) = match url {
            PortUrl::Serial { path, options } => {
                let path = ports::find_path(path, &port)?;
                serial(SerialLine::open(&path, options, &port)?, &mut settings, &mut warnings)
            }
            PortUrl::Usb { vendor, product, serial: number, options } => {
                let path = ports::find_usb(*vendor, *product, number.as_deref(), &port)?;
                serial(SerialLine::open(&path, options, &port)?, &mut settings, &mut warnings)
            }
            PortUrl::Pty { name, format, shim } => (
                Line::Pty(PtyLine::open(name, *format, *shim, &port, runtime)?),
                PortStats::new(PortState::Open, false, 0, 1),
            ),
            PortUrl::Tcp { host, port: number, tls: None } => (
                stream(socket::connect_tcp(host, *number, &port, stop)?),
                PortStats::new(PortState::Open, true, 0, 0),
            ),
            PortUrl::Unix { path } => (
                stream(socket::connect_unix(path, &port, stop)?),
                PortStats::new(PortState::Open, true, 0, 0),
            ),
            PortUrl::TcpListen { host, port: number, policy, tls: None } => (
                listening(socket::listen_tcp(host, *number, *policy, &port, stop)?),
                PortStats::new(PortState::Waiting, false, 0, 0),
            ),
            PortUrl::UnixListen { path } => (
                listening(socket::listen_unix(path, &port)?),
                PortStats::new(PortState::Waiting, false, 0, 0),
            ),
            PortUrl::Tcp { host, port: number, tls: Some(tls) } => {
                let tls = tls_files::client(tls, host);
                let (config, name) = tls.map_err(|reason| PortError::Tls { port: port.clone(), reason })?;
                let carrier = Carrier::Stream(socket::connect_tcp(host, *number, &port, stop)?);
                let line = TlsLine::client(carrier, config, name, &port, stop)?;
                (Line::Tls(Box::new(line)), PortStats::new(PortState::Open, true, 0, 0))
            }
            PortUrl::TcpListen { host, port: number, policy, tls: Some(tls) } => {
                let config = tls_files::server(tls);
                let config = config.map_err(|reason| PortError::Tls { port: port.clone(), reason })?;
                let listener = socket::listen_tcp(host, *number, *policy, &port, stop)?;
                let line = TlsLine::server(Carrier::Listen(listener), config);
                (Line::Tls(Box::new(line)), PortStats::new(PortState::Waiting, false, 0, 0))
            }
            PortUrl::Loop { .. } => {
                let line = LoopLine::open().map_err(|e| PortError::io(&port, "make a loopback", e))?;
                settings = Some(SerialOptions::default().settings());
                (Line::Loop(Box::new(line)), PortStats::new(PortState::Open, true, 0, 0))
            }
            PortUrl::Rfc2217 { host, port: number, options } => {
                let carrier = Carrier::Stream(socket::connect_tcp(host, *number, &port, stop)?);
                let (line, differences) = TelnetLine::client(carrier, options, &port, stop)?;
                warnings = differences;
                settings = line.settings();
                (Line::Telnet(Box::new(line)), PortStats::new(PortState::Open, true, 0, 0))
            }
            PortUrl::Rfc2217Listen { host, port: number, policy } => {
                let listener = socket::listen_tcp(host, *number, *policy, &port, stop)?;
                let line = TelnetLine::server(Carrier::Listen(listener));
                (Line::Telnet(Box::new(line)), PortStats::new(PortState::Waiting, false, 0, 0))
            }
            PortUrl::Later { scheme, .. } => return Err(PortError::Later { port, scheme: scheme.clone() }),
        };
        if let Some(settings) = settings {
            fresh.set_settings(settings);
        }
        let (fresh, keeps) = (Arc::new(fresh), None);
        Ok(Self { url: url.clone(), fresh, keeps, settings, warnings, line })
    }

    /// A port that is not there yet, for a link that waits for it: gone from the start, until `Shard::replace_port`.
    pub fn absent(url: &PortUrl, reason: String) -> Self {
        let fresh = PortStats::new(PortState::Waiting, false, 0, 0);
        fresh.set_gone(PortState::Waiting, reason);
        let (line, fresh) = (Line::Gone, Arc::new(fresh));
        Self { url: url.clone(), fresh, keeps: None, settings: None, warnings: Vec::new(), line }
    }

    /// Opens a port that was lost, as `open` does, to be given to `Shard::replace_port`: it goes on counting in
    /// `stats`, and counts itself as a reconnect there.
    pub fn reopen(
        url: &PortUrl,
        runtime: &Runtime,
        stats: Arc<PortStats>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, PortError> {
        let until = Instant::now() + CLOSING;
        while stats.closing() && Instant::now() < until {
            if stop() {
                return Err(PortError::Stopped { port: url.to_string() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let port = Self::open(url, runtime, stop)?;
        stats.reconnects.add(1);
        Ok(Self { keeps: Some(stats), ..port })
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
        self.line.listener()?.address()
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    pub fn stats(&self) -> Arc<PortStats> {
        self.keeps.as_ref().unwrap_or(&self.fresh).clone()
    }

    /// What was asked for and could not be had, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn into_parts(self) -> Parts {
        let Self { url, line, fresh, keeps, settings, .. } = self;
        Parts { name: url.to_string(), line, fresh, keeps, settings }
    }
}

fn serial(
    (line, refused): (SerialLine, Vec<String>),
    settings: &mut Option<LineSettings>,
    warnings: &mut Vec<String>,
) -> (Line, PortStats) {
    *settings = Some(line.settings());
    *warnings = refused;
    (Line::Serial(line), PortStats::new(PortState::Open, true, 0, 0))
}

fn stream(fd: OwnedFd) -> Line {
    Line::Socket(Carrier::Stream(fd))
}

fn listening(line: ListenLine) -> Line {
    Line::Socket(Carrier::Listen(line))
}
