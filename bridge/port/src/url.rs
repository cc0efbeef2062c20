//! The one grammar for ports: on the command line, in configs and in rigs. Parses and prints, and never touches
//! the system: whether a port exists is known only when it is opened.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::serial_options::{self, SerialOptions};

/// Where a port is and how it is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortUrl {
    /// A serial port of this machine, or any path that behaves like one.
    Serial { path: PathBuf, options: SerialOptions },
    /// A virtual port made by hilrig; others open its far end by name. An absolute path is taken as it is.
    Pty { name: String },
    /// A TCP connection made by us.
    Tcp { host: String, port: u16 },
    /// A TCP listener; one client at a time.
    TcpListen { host: String, port: u16 },
    /// A Unix stream socket someone else listens on.
    Unix { path: PathBuf },
    /// A Unix stream socket we listen on; one client at a time.
    UnixListen { path: PathBuf },
    /// Known grammar, not built yet: `rfc2217:`, `rfc2217-listen:`, `ble:`, `hci:`. Refused when opened.
    Later { scheme: String, text: String },
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

const SCHEMES: &str = "serial:, pty:, tcp:, tcp-listen:, unix:, unix-listen:, rfc2217:, rfc2217-listen:, ble:, hci:, or a path such as /dev/ttyUSB0";

impl FromStr for PortUrl {
    type Err = UrlError;

    fn from_str(input: &str) -> Result<Self, UrlError> {
        let fail = |at: usize, message: String| Err(UrlError::new(input, at, message));
        if input.is_empty() {
            return fail(0, format!("a port is missing; expected {SCHEMES}"));
        }
        if let Some((at, _)) = input.char_indices().find(|(_, c)| c.is_control()) {
            return fail(at, "a port cannot contain a control character".into());
        }
        if input.starts_with('/') {
            return serial(input, 0);
        }
        let Some((scheme, rest)) = input.split_once(':') else {
            let bare = input.split('?').next().unwrap_or(input);
            return if is_com_name(bare) {
                fail(0, com_refusal(bare))
            } else {
                fail(0, format!("`{input}` is neither a path nor a port URL; expected {SCHEMES}"))
            };
        };
        let at = scheme.len() + 1;
        match scheme {
            "serial" => serial(input, at),
            "pty" => {
                no_options(input, at, scheme)?;
                pty_name(input, at).map(|name| Self::Pty { name })
            }
            "tcp" => host_port(input, at).map(|(host, port)| Self::Tcp { host, port }),
            "tcp-listen" => host_port(input, at).map(|(host, port)| Self::TcpListen { host, port }),
            "unix" | "unix-listen" => {
                no_options(input, at, scheme)?;
                if rest.is_empty() {
                    return fail(at, format!("`{scheme}:` needs the path of a socket"));
                }
                let path = PathBuf::from(rest);
                Ok(if scheme == "unix" { Self::Unix { path } } else { Self::UnixListen { path } })
            }
            "rfc2217" | "rfc2217-listen" => {
                host_port(input, at)?;
                Ok(Self::Later { scheme: scheme.into(), text: rest.into() })
            }
            "ble" => {
                if rest.is_empty() || rest.starts_with('?') {
                    return fail(at, "`ble:` needs the name or the address of a peripheral".into());
                }
                Ok(Self::Later { scheme: scheme.into(), text: rest.into() })
            }
            "hci" => {
                let known = ["tcp:", "serial:", "dev:", "sim:"]
                    .iter()
                    .any(|k| rest.len() > k.len() && rest.starts_with(k));
                if !known {
                    return fail(
                        at,
                        "`hci:` needs a controller: tcp:HOST:PORT, serial:/dev/…, dev:0 or sim:NAME".into(),
                    );
                }
                Ok(Self::Later { scheme: scheme.into(), text: rest.into() })
            }
            _ => fail(0, format!("`{scheme}:` is not a kind of port; expected {SCHEMES}")),
        }
    }
}

impl fmt::Display for PortUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { path, options } => {
                let options = options.to_string();
                if options.is_empty() {
                    write!(f, "{}", path.display())
                } else {
                    write!(f, "serial:{}?{options}", path.display())
                }
            }
            Self::Pty { name } => write!(f, "pty:{name}"),
            Self::Tcp { host, port } => write!(f, "tcp:{}:{port}", Bracketed(host)),
            Self::TcpListen { host, port } => write!(f, "tcp-listen:{}:{port}", Bracketed(host)),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
            Self::UnixListen { path } => write!(f, "unix-listen:{}", path.display()),
            Self::Later { scheme, text } => write!(f, "{scheme}:{text}"),
        }
    }
}

impl PortUrl {
    /// Whether this port can only be a simulated line: a virtual port, a Unix socket, TCP on this machine, or a
    /// path that is a pseudo terminal or lies in the runtime directory. Profile `sim` opens nothing else.
    pub fn is_virtual(&self) -> bool {
        match self {
            Self::Pty { .. } | Self::Unix { .. } | Self::UnixListen { .. } => true,
            Self::Tcp { host, .. } | Self::TcpListen { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Self::Serial { path, .. } => is_virtual_path(path),
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

fn is_com_name(name: &str) -> bool {
    name.get(..3).is_some_and(|p| p.eq_ignore_ascii_case("com"))
        && name.len() > 3
        && name.bytes().skip(3).all(|b| b.is_ascii_digit())
}

fn com_refusal(name: &str) -> String {
    format!(
        "`{name}` is a port of Windows; this is Linux, where ports are called /dev/ttyUSB0 or /dev/ttyS0 (`hilrig ports` lists them)"
    )
}

fn serial(input: &str, at: usize) -> Result<PortUrl, UrlError> {
    let (path, options) = match input[at..].find('?') {
        Some(n) => (&input[at..at + n], Some(at + n + 1)),
        None => (&input[at..], None),
    };
    if is_com_name(path) {
        return Err(UrlError::new(input, at, com_refusal(path)));
    }
    if path.is_empty() {
        return Err(UrlError::new(input, at, "`serial:` needs the path of a port, such as /dev/ttyUSB0"));
    }
    if !path.starts_with('/') {
        return Err(UrlError::new(
            input,
            at,
            format!("`{path}` is not an absolute path; did you mean /dev/{path}?"),
        ));
    }
    let options = match options {
        Some(from) => serial_options::parse(&input[from..])
            .map_err(|(n, message)| UrlError::new(input, from + n, message))?,
        None => SerialOptions::default(),
    };
    Ok(PortUrl::Serial { path: PathBuf::from(path), options })
}

fn no_options(input: &str, at: usize, scheme: &str) -> Result<(), UrlError> {
    match input[at..].find('?') {
        Some(n) => Err(UrlError::new(input, at + n, format!("`{scheme}:` takes no options"))),
        None => Ok(()),
    }
}

fn pty_name(input: &str, at: usize) -> Result<String, UrlError> {
    let name = &input[at..];
    let fail = |n: usize, message: &str| Err(UrlError::new(input, at + n, message));
    if name.is_empty() {
        return fail(0, "`pty:` needs a name, such as pty:plc");
    }
    if name.ends_with('/') {
        return fail(name.len() - 1, "a virtual port's path must end in a name");
    }
    if !name.starts_with('/') {
        if let Some(n) = name.find('/') {
            return fail(n, "a virtual port's name has no `/`; an absolute path is taken as it is");
        }
        if name.starts_with('.') {
            return fail(0, "a virtual port's name cannot begin with a dot");
        }
    }
    if name.ends_with(".lock") {
        return fail(name.len() - 5, "names ending in `.lock` are kept for hilrig's own lock files");
    }
    Ok(name.to_owned())
}

fn host_port(input: &str, at: usize) -> Result<(String, u16), UrlError> {
    let rest = &input[at..];
    let fail = |n: usize, message: String| Err(UrlError::new(input, at + n, message));
    let (host, port_at) = if let Some(inner) = rest.strip_prefix('[') {
        let Some(end) = inner.find(']') else { return fail(0, "the `[` has no matching `]`".into()) };
        if inner[..end].parse::<std::net::Ipv6Addr>().is_err() {
            return fail(1, format!("`{}` is not an IPv6 address", &inner[..end]));
        }
        if !inner[end + 1..].starts_with(':') {
            return fail(end + 2, "after the address a `:` and a port number are expected".into());
        }
        (&inner[..end], end + 3)
    } else {
        let Some(colon) = rest.find(':') else {
            return fail(rest.len(), "a port number is missing; the form is HOST:PORT".into());
        };
        if rest[colon + 1..].contains(':') {
            return fail(0, "an IPv6 address stands in brackets, as in [::1]:502".into());
        }
        (&rest[..colon], colon + 1)
    };
    if host.is_empty() {
        return fail(0, "a host is missing; the form is HOST:PORT, such as 127.0.0.1:502".into());
    }
    if let Some((n, c)) =
        host.char_indices().find(|(_, c)| c.is_whitespace() || matches!(c, '?' | '/' | '@' | '#' | '[' | ']'))
    {
        return fail(n, format!("a host name cannot contain `{c}`"));
    }
    let port = &rest[port_at..];
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if digits => Ok((host.to_owned(), number)),
        _ if port.is_empty() => fail(port_at, "a port number is missing; the form is HOST:PORT".into()),
        _ if digits => fail(port_at, format!("`{port}` is not a port number (0 to 65535)")),
        _ => {
            let n = port.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
            fail(port_at + n, "a port number has only digits, and nothing follows it".into())
        }
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
