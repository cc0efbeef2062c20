//! What a checked model says: nothing in it can be wrong any more, and nothing of it is open.

use std::time::Duration;

use hilrig_modbus::{Framing, Timing};
use hilrig_port::{Format, PortUrl};

/// A port and who sits on it.
#[derive(Debug, Clone)]
pub struct PortPlan {
    pub name: String,
    /// `None`: somebody else says where it is.
    pub url: Option<PortUrl>,
    pub framing: Framing,
    /// Nobody has said it, so that it goes with the URL and the one who sits here.
    pub default_framing: bool,
    pub baud: u32,
    pub format: Format,
    pub tolerance: Duration,
    /// Ids of the units served here; `None` for all.
    pub units: Option<Vec<u8>>,
    pub min_delay: Duration,
    /// `None` for t3.5.
    pub reply_gap: Option<Duration>,
    pub response_time: Duration,
    pub max_callers: usize,
    pub idle_timeout: Option<Duration>,
    pub role: Role,
}

/// Who sits on a port; numbers are places in the lists of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The units of the model.
    Slave,
    Master(usize),
    Sniffer(usize),
    /// The listener of a gateway.
    Gateway(usize),
    /// The line behind a gateway.
    Behind(usize),
    Telegram(usize),
}

impl PortPlan {
    /// A port that serves all units, as one without any key is.
    pub fn slave(name: &str, url: Option<PortUrl>) -> Self {
        Self {
            name: name.to_owned(),
            framing: default_framing(url.as_ref(), Role::Slave),
            default_framing: true,
            url,
            baud: 19200,
            format: Format { parity: hilrig_port::Parity::Even, ..Format::default() },
            tolerance: Duration::ZERO,
            units: None,
            min_delay: Duration::ZERO,
            reply_gap: None,
            response_time: Duration::from_secs(1),
            max_callers: 1024,
            idle_timeout: None,
            role: Role::Slave,
        }
    }

    /// Says where it is. Serial ports are set as the plan says, unless the URL has other settings.
    pub fn set_url(&mut self, url: Option<PortUrl>) {
        self.url = url;
        let (baud, format) = (self.baud, self.format);
        if let Some(text) = self.url.as_ref().map(PortUrl::to_string)
            && let Some(options) = self.url.as_mut().and_then(PortUrl::serial_options_mut)
        {
            if says(&text, "baud") {
                self.baud = options.baud;
            } else {
                options.baud = baud;
            }
            if says(&text, "format") {
                self.format = options.format;
            } else {
                options.format = format;
            }
        }
        self.choose_framing();
    }

    pub(crate) fn sit(&mut self, role: Role) {
        self.role = role;
        self.choose_framing();
    }

    fn choose_framing(&mut self) {
        if self.default_framing {
            self.framing = default_framing(self.url.as_ref(), self.role);
        }
    }

    /// The silences of its line.
    pub fn timing(&self) -> Timing {
        Timing::new(self.baud, self.format).tolerance(self.tolerance)
    }

    /// Many callers may come.
    pub fn listens(&self) -> bool {
        self.url.as_ref().is_some_and(listens)
    }
}

/// Whether a URL says this option itself.
pub(super) fn says(url: &str, key: &str) -> bool {
    let query = url.rsplit_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|option| option.split('=').next() == Some(key))
}

/// Modbus TCP for those who are called and those who call, RTU elsewhere: a slave at the end of a connection is behind
/// a serial device server.
pub fn default_framing(url: Option<&PortUrl>, role: Role) -> Framing {
    let calls =
        matches!(url, Some(PortUrl::Tcp { .. })) && role != Role::Slave && !matches!(role, Role::Behind(_));
    if url.is_some_and(listens) || calls { Framing::Tcp } else { Framing::Rtu }
}

fn listens(url: &PortUrl) -> bool {
    matches!(url, PortUrl::TcpListen { .. } | PortUrl::UnixListen { .. })
}
