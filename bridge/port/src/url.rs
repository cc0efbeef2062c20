//! The one grammar for ports: on the command line, in configs and in rigs. What a port URL says, and how it prints;
//! never touches the system to parse or print. Whether a port exists is known only when it is opened.

mod options;
mod parse;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::serial_options::{Format, SerialOptions};

/// Where a port is and how it is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortUrl {
    /// A serial port of this machine, or any path that behaves like one. `*`, `?` and `[…]` in the path make it a
    /// pattern that must match exactly one port when it is opened.
    Serial { path: PathBuf, options: SerialOptions },
    /// The serial port of a USB adapter, wherever it is plugged in.
    Usb { vendor: u16, product: u16, serial: Option<String>, options: SerialOptions },
    /// A virtual port made by hilrig; others open its far end by name. An absolute path is taken as it is. The
    /// format is what the line has in place of what a PTY hides (parity, word length).
    Pty { name: String, format: Option<Format>, shim: bool },
    /// A loopback plug: what is written comes back, DTR is DSR and DCD, RTS is CTS. The name only tells plugs apart.
    Loop { name: String },
    /// A TCP connection made by us.
    Tcp { host: String, port: u16, tls: Option<TlsClient> },
    /// A TCP listener.
    TcpListen { host: String, port: u16, policy: Policy, tls: Option<TlsServer> },
    /// A serial port at another machine, by Telnet COM port control.
    Rfc2217 { host: String, port: u16, options: SerialOptions },
    /// A TCP listener whose client sees a serial port with lines, parity and break.
    Rfc2217Listen { host: String, port: u16, policy: Policy },
    /// A Unix stream socket someone else listens on.
    Unix { path: PathBuf },
    /// A Unix stream socket we listen on; one client at a time.
    UnixListen { path: PathBuf },
    /// Known grammar, not built yet: `ble:`, `hci:`. Refused when opened.
    Later { scheme: String, text: String },
}

/// What a listener does with a caller while it has a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The caller is turned away.
    #[default]
    Refuse,
    /// The caller takes the place of the client.
    Kick,
    /// The caller may listen and is not heard.
    Share,
}

impl Policy {
    fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Kick => "kick",
            Self::Share => "share",
        }
    }
}

/// How we show ourselves to a TLS server and what we believe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsClient {
    /// Certificates that may have signed the server's; without it the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate chain and key, for servers that ask.
    pub identity: Option<Identity>,
    /// The name the server's certificate must have, if not the host's.
    pub name: Option<String>,
}

/// How we show ourselves to TLS clients, and whom we let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsServer {
    pub identity: Identity,
    /// Only clients with a certificate signed by one of these.
    pub client_ca: Option<PathBuf>,
}

/// PEM files: a certificate chain, and the key of its first certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What is wrong with a port URL, and at which character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlError {
    pub input: String,
    /// Byte offset into `input`, on a character boundary.
    pub at: usize,
    pub message: String,
}

impl UrlError {
    fn new(input: &str, at: usize, message: impl Into<String>) -> Self {
        Self { input: input.to_owned(), at, message: message.into() }
    }

    /// The same on one line, for places that have no room for a caret.
    pub fn sentence(&self) -> String {
        let column = self.input.get(..self.at).map_or(0, |s| s.chars().count()) + 1;
        format!("{} (at character {column} of {:?})", self.message, self.input)
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One column a character, whatever was typed, so that the caret points at the right one.
        let line: String = self.input.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let column = self.input.get(..self.at).map_or(0, |s| s.chars().count());
        write!(f, "{}\n  {line}\n  {:column$}^", self.message, "")
    }
}

impl std::error::Error for UrlError {}

/// Options after a URL: `?` before the first, `&` before the others.
struct Options<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    sep: char,
}

impl Options<'_, '_> {
    fn put(&mut self, key: &str, value: impl fmt::Display) -> fmt::Result {
        let sep = std::mem::replace(&mut self.sep, '&');
        write!(self.f, "{sep}{key}={value}")
    }

    fn identity(&mut self, identity: &Identity) -> fmt::Result {
        self.put("cert", identity.cert.display())?;
        self.put("key", identity.key.display())
    }

    fn policy(&mut self, policy: Policy) -> fmt::Result {
        if policy == Policy::default() { Ok(()) } else { self.put("policy", policy.word()) }
    }

    fn serial(&mut self, options: &SerialOptions) -> fmt::Result {
        let text = options.to_string();
        if text.is_empty() { Ok(()) } else { write!(self.f, "{}{text}", self.sep) }
    }
}

impl fmt::Display for PortUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { path, options } => {
                if *options != SerialOptions::default() {
                    f.write_str("serial:")?;
                }
                write!(f, "{}", path.display())?;
                Options { f, sep: '?' }.serial(options)
            }
            Self::Usb { vendor, product, serial, options } => {
                write!(f, "usb:{vendor:04x}:{product:04x}")?;
                if let Some(serial) = serial {
                    write!(f, ":{serial}")?;
                }
                Options { f, sep: '?' }.serial(options)
            }
            Self::Pty { name, format, shim } => {
                write!(f, "pty:{name}")?;
                let mut options = Options { f, sep: '?' };
                if let Some(format) = format {
                    options.put("format", format)?;
                }
                if *shim { options.put("shim", "on") } else { Ok(()) }
            }
            Self::Loop { name } => write!(f, "loop:{name}"),
            Self::Tcp { host, port, tls } => {
                write!(f, "tcp:{}:{port}", Bracketed(host))?;
                let Some(TlsClient { ca, identity, name }) = tls else { return Ok(()) };
                let mut options = Options { f, sep: '?' };
                options.put("tls", "on")?;
                if let Some(ca) = ca {
                    options.put("ca", ca.display())?;
                }
                if let Some(identity) = identity {
                    options.identity(identity)?;
                }
                name.as_ref().map_or(Ok(()), |name| options.put("name", name))
            }
            Self::TcpListen { host, port, policy, tls } => {
                write!(f, "tcp-listen:{}:{port}", Bracketed(host))?;
                let mut options = Options { f, sep: '?' };
                options.policy(*policy)?;
                let Some(TlsServer { identity, client_ca }) = tls else { return Ok(()) };
                options.put("tls", "on")?;
                options.identity(identity)?;
                client_ca.as_ref().map_or(Ok(()), |ca| options.put("client_ca", ca.display()))
            }
            Self::Rfc2217 { host, port, options } => {
                write!(f, "rfc2217:{}:{port}", Bracketed(host))?;
                Options { f, sep: '?' }.serial(options)
            }
            Self::Rfc2217Listen { host, port, policy } => {
                write!(f, "rfc2217-listen:{}:{port}", Bracketed(host))?;
                Options { f, sep: '?' }.policy(*policy)
            }
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
            Self::UnixListen { path } => write!(f, "unix-listen:{}", path.display()),
            Self::Later { scheme, text } => write!(f, "{scheme}:{text}"),
        }
    }
}

impl PortUrl {
    /// A virtual port without options.
    pub fn pty(name: impl Into<String>) -> Self {
        Self::Pty { name: name.into(), format: None, shim: false }
    }

    /// How the line is to be set, of ports that are told so at open.
    pub fn serial_options(&self) -> Option<&SerialOptions> {
        match self {
            Self::Serial { options, .. } | Self::Usb { options, .. } | Self::Rfc2217 { options, .. } => {
                Some(options)
            }
            _ => None,
        }
    }

    /// The same, to change it.
    pub fn serial_options_mut(&mut self) -> Option<&mut SerialOptions> {
        match self {
            Self::Serial { options, .. } | Self::Usb { options, .. } | Self::Rfc2217 { options, .. } => {
                Some(options)
            }
            _ => None,
        }
    }

    /// Whether this port can only be a simulated line: a virtual port, a loopback, a Unix socket, TCP on this
    /// machine, or a path that is a pseudo terminal or lies in the runtime directory. Profile `sim` opens nothing else.
    pub fn is_virtual(&self) -> bool {
        match self {
            Self::Pty { .. } | Self::Loop { .. } | Self::Unix { .. } | Self::UnixListen { .. } => true,
            Self::Tcp { host, .. }
            | Self::TcpListen { host, .. }
            | Self::Rfc2217 { host, .. }
            | Self::Rfc2217Listen { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Self::Serial { path, .. } => is_virtual_path(path),
            Self::Usb { .. } => false,
            Self::Later { scheme, text } => scheme == "hci" && text.starts_with("sim:"),
        }
    }
}

fn is_virtual_path(path: &Path) -> bool {
    // What exists is judged by where it leads, so that a link to a real port is a real port.
    if let Ok(real) = path.canonicalize() {
        return real.starts_with("/dev/pts");
    }
    let plain = !path.components().any(|c| matches!(c, std::path::Component::ParentDir));
    plain
        && (path.starts_with("/dev/pts")
            || crate::runtime::dir_from_env().is_some_and(|dir| path.starts_with(dir)))
}

/// IPv6 addresses stand in brackets, or the port would be part of them.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
