//! Parsing of port URLs: every error says what was expected and points at the character. No system calls.

use std::path::PathBuf;
use std::str::FromStr;

use super::options::Options;
use super::{Policy, PortUrl, UrlError};
use crate::serial_options::{self, SerialOptions};

const SCHEMES: &str = "serial:, usb:, pty:, loop:, tcp:, tcp-listen:, unix:, unix-listen:, rfc2217:, rfc2217-listen:, ble:, hci:, or a path such as /dev/ttyUSB0";

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
            "usb" => usb(input, at),
            "pty" => {
                let (name_end, mut options) = split(input, at);
                let name = pty_name(input, at, name_end)?;
                let (mut format, mut shim) = (None, false);
                while let Some(option) = options.next()? {
                    match option.key {
                        "format" => format = Some(option.parse()?),
                        "shim" => shim = option.switch()?,
                        _ => return Err(option.unknown("a virtual port", "format, shim")),
                    }
                }
                Ok(Self::Pty { name, format, shim })
            }
            "loop" => {
                no_options(input, at, scheme)?;
                Ok(Self::Loop { name: rest.into() })
            }
            "tcp" => {
                let (end, options) = split(input, at);
                let (host, port) = host_port(input, at, end)?;
                Ok(Self::Tcp { host, port, tls: options.tls_client()? })
            }
            "tcp-listen" => {
                let (end, options) = split(input, at);
                let (host, port) = host_port(input, at, end)?;
                let (policy, tls) = options.listener()?;
                Ok(Self::TcpListen { host, port, policy, tls })
            }
            "rfc2217" => {
                let (end, mut options) = split(input, at);
                let (host, port) = host_port(input, at, end)?;
                let from = options.start();
                while let Some(option) = options.next()? {
                    if !matches!(option.key, "baud" | "format" | "flow" | "dtr" | "rts") {
                        return Err(option.unknown("a remote port", "baud, format, flow, dtr, rts"));
                    }
                }
                Ok(Self::Rfc2217 { host, port, options: serial_options(input, from)? })
            }
            "rfc2217-listen" => {
                let (end, mut options) = split(input, at);
                let (host, port) = host_port(input, at, end)?;
                let mut policy = Policy::default();
                while let Some(option) = options.next()? {
                    match option.key {
                        "policy" => policy = option.policy_of_one()?,
                        _ => return Err(option.unknown("this port", "policy")),
                    }
                }
                Ok(Self::Rfc2217Listen { host, port, policy })
            }
            "unix" | "unix-listen" => {
                no_options(input, at, scheme)?;
                if rest.is_empty() {
                    return fail(at, format!("`{scheme}:` needs the path of a socket"));
                }
                let path = PathBuf::from(rest);
                Ok(if scheme == "unix" { Self::Unix { path } } else { Self::UnixListen { path } })
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

/// Where the part before the options ends, and the options.
fn split(input: &str, at: usize) -> (usize, Options<'_>) {
    match input[at..].find('?') {
        Some(n) => (at + n, Options::new(input, Some(at + n + 1))),
        None => (input.len(), Options::new(input, None)),
    }
}

fn serial_options(input: &str, from: Option<usize>) -> Result<SerialOptions, UrlError> {
    let Some(from) = from else { return Ok(SerialOptions::default()) };
    serial_options::parse(&input[from..]).map_err(|(n, message)| UrlError::new(input, from + n, message))
}

/// Where the options of a serial port begin, if it has any. A `?` may also be part of a pattern: the options' own
/// is the last before their first `=`.
fn serial_split(text: &str) -> Option<usize> {
    let first = text.find('?')?;
    let last = |end: usize| text[..end].rfind('?').map(|n| n + 1);
    if let Some(n) = text[first..].find('=') {
        return last(first + n);
    }
    // Not a pattern but an option whose value was forgotten.
    let after = last(text.len())?;
    let key = text[after..].split('&').next().unwrap_or_default();
    serial_options::is_known(key).then_some(after)
}

fn serial(input: &str, at: usize) -> Result<PortUrl, UrlError> {
    let options = serial_split(&input[at..]).map(|n| at + n);
    let path = &input[at..options.map_or(input.len(), |n| n - 1)];
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
    Ok(PortUrl::Serial { path: PathBuf::from(path), options: serial_options(input, options)? })
}

fn usb(input: &str, at: usize) -> Result<PortUrl, UrlError> {
    let (end, options) = split(input, at);
    let mut parts = input[at..end].splitn(3, ':');
    let mut from = at;
    let mut number = |what: &str| {
        let text = parts.next().unwrap_or_default();
        let number =
            u16::from_str_radix(text, 16).ok().filter(|_| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let wrong = || {
            let message = if text.is_empty() {
                format!("the {what} number is missing; the form is usb:VID:PID, such as usb:0403:6001")
            } else {
                format!("`{text}` is not a {what} number (up to 4 hexadecimal digits)")
            };
            UrlError::new(input, from.min(end), message)
        };
        let number = number.ok_or_else(wrong);
        from += text.len() + 1;
        number
    };
    let (vendor, product) = (number("vendor")?, number("product")?);
    let serial = match parts.next() {
        Some("") => return Err(UrlError::new(input, end, "after the last `:` a serial number is expected")),
        serial => serial.map(str::to_owned),
    };
    Ok(PortUrl::Usb { vendor, product, serial, options: serial_options(input, options.start())? })
}

fn no_options(input: &str, at: usize, scheme: &str) -> Result<(), UrlError> {
    match input[at..].find('?') {
        Some(n) => Err(UrlError::new(input, at + n, format!("`{scheme}:` takes no options"))),
        None => Ok(()),
    }
}

fn pty_name(input: &str, at: usize, end: usize) -> Result<String, UrlError> {
    let name = &input[at..end];
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

fn host_port(input: &str, at: usize, end: usize) -> Result<(String, u16), UrlError> {
    let rest = &input[at..end];
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
