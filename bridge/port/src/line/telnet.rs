//! A Telnet line with COM port control (RFC 2217), as client and as server: carries what the sans-IO ends of
//! `telnet` want sent. Waits for an agreement only while a port is being opened, never on a shard.

use std::ops::Range;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::socket::Carrier;
use super::{Decode, Piece, Role, Write};
use crate::telnet::{Client, Event, Server};
use crate::{LineSettings, Lines, PortError, SerialOptions, Signal, Time};

/// How long the other side may take to agree to COM port control.
const AGREEMENT: Duration = Duration::from_secs(5);
/// How long it may then take to confirm its settings. Goes by unless the confirmations are missing.
const CONFIRMATION: Duration = Duration::from_secs(2);
/// A break that is told but not ended, as most servers do it, is taken to be this long.
const BREAK: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct TelnetLine {
    pub(crate) carrier: Carrier,
    end: End,
}

#[derive(Debug)]
enum End {
    Server(Server),
    Client {
        client: Client,
        /// When it is too late to agree.
        agree_by: Option<Time>,
        break_ends: Option<Time>,
        too_late: bool,
        /// What was learnt while opening is told.
        asked: bool,
    },
}

impl TelnetLine {
    pub(crate) fn server(carrier: Carrier) -> Self {
        Self { carrier, end: End::Server(Server::new()) }
    }

    /// Sets the port at the other side. Stops waiting for what it has to say as soon as it sends data, and leaves the
    /// rest to the shard. Answers in sentences what is not as asked.
    pub(crate) fn client(
        carrier: Carrier,
        options: &SerialOptions,
        port: &str,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Self, Vec<String>), PortError> {
        let end = End::Client {
            client: Client::new(options),
            agree_by: Some(Time::now() + AGREEMENT),
            break_ends: None,
            too_late: false,
            asked: false,
        };
        let mut line = Self { carrier, end };
        let lost = |e: Option<Errno>| PortError::Connect {
            port: port.to_owned(),
            source: e.unwrap_or(Errno::CONNRESET).into(),
        };
        let (begin, mut agreed_at) = (Instant::now(), None);
        loop {
            if let Write::Ended(e) = line.flush() {
                return Err(lost(e));
            }
            let data = line.listen().map_err(lost)?;
            let End::Client { client, .. } = &mut line.end else { break };
            if client.agreed() {
                let since = *agreed_at.get_or_insert_with(Instant::now);
                if data || client.confirmed_all() || since.elapsed() > CONFIRMATION {
                    break;
                }
            } else if client.refused() || begin.elapsed() > AGREEMENT {
                return Err(PortError::Unsupported {
                    port: port.to_owned(),
                    reason: "the other side does not do COM port control (RFC 2217); for plain bytes use a tcp: port"
                        .into(),
                });
            } else if data {
                break;
            }
            if stop() {
                return Err(PortError::Stopped { port: port.to_owned() });
            }
            line.wait();
        }
        let warnings = line.differences(options);
        Ok((line, warnings))
    }

    /// Takes what the other side has to say up to the first byte of data, and answers whether that is there.
    fn listen(&mut self) -> Result<bool, Option<Errno>> {
        let End::Client { client, .. } = &mut self.end else { return Ok(false) };
        let Some(fd) = self.carrier.fd() else { return Err(None) };
        let mut seen = [0; 512];
        loop {
            let n = match rustix::net::recv(fd, &mut seen[..], RecvFlags::PEEK) {
                Ok((_, 0)) => return Err(None),
                Ok((_, n)) => n,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
                Err(e) => return Err(Some(e)),
            };
            let (mut at, mut data) = (0, false);
            while at < n && !data {
                let next = seen.get(at + 1).filter(|_| at + 1 < n);
                data = client.in_data() && (seen[at] != 255 || next == Some(&255));
                if client.in_data() && seen[at] == 255 && next.is_none() {
                    // An IAC at the end may yet be one of two.
                    break;
                }
                if !data {
                    let mut one = at..at + 1;
                    while client.next(&mut seen, &mut one) != Event::End {}
                    at += 1;
                }
            }
            // Exactly what was taken in is taken off the socket.
            let mut taken = 0;
            while taken < at {
                taken += rustix::io::read(fd, &mut seen[..at - taken]).map_err(Some)?;
            }
            if data || at == 0 {
                return Ok(data);
            }
        }
    }

    fn wait(&self) {
        let Some(fd) = self.carrier.fd() else { return };
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.unsent());
        let step = rustix::time::Timespec { tv_sec: 0, tv_nsec: STEP.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(&fd, flags)], Some(&step));
    }

    fn differences(&self, options: &SerialOptions) -> Vec<String> {
        let End::Client { client, .. } = &self.end else { return Vec::new() };
        let is = client.settings();
        let mut said = Vec::new();
        if is.baud != options.baud {
            said.push(format!("the remote port runs at {} baud, not at {}", is.baud, options.baud));
        }
        if is.format != options.format {
            said.push(format!("the remote port is set to {}, not to {}", is.format, options.format));
        }
        if is.flow != options.flow {
            said.push("the remote port does not do the flow control asked for".into());
        }
        if client.agreed() && !client.confirmed_all() {
            said.push("the remote port has not confirmed its settings".into());
        }
        said
    }

    /// Once, the lines that the port had when it was opened.
    pub(crate) fn aside(&mut self) -> Option<Signal> {
        match &mut self.end {
            End::Client { client, asked: asked @ false, .. } => {
                *asked = true;
                Some(Signal::Lines(client.lines()))
            }
            _ => None,
        }
    }

    /// How a client's port is set.
    pub(crate) fn settings(&self) -> Option<LineSettings> {
        match &self.end {
            End::Server(_) => None,
            End::Client { client, .. } => Some(client.settings()),
        }
    }

    /// DTR and RTS of a client's port, if known.
    pub(crate) fn driven(&self) -> Option<Lines> {
        match &self.end {
            End::Server(_) => None,
            End::Client { client, .. } => client.driven(),
        }
    }

    /// A server's far end is an application, a client's a device.
    pub(crate) fn role(&self) -> Role {
        match self.end {
            End::Server(_) => Role::App,
            End::Client { .. } => Role::Device,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        let mut took = 0;
        loop {
            if let Write::Ended(e) = self.flush() {
                return Write::Ended(e);
            }
            let n = match &mut self.end {
                End::Server(server) => server.payload(&bytes[took..]),
                End::Client { client, .. } => client.payload(&bytes[took..]),
            };
            took += n;
            if n == 0 {
                return Write::Took(took);
            }
        }
    }

    pub(crate) fn unsent(&self) -> bool {
        match &self.end {
            End::Server(server) => server.unsent(),
            End::Client { client, too_late, .. } => client.unsent() || *too_late,
        }
    }

    /// Whether the other side wants no payload for now, whatever the socket takes.
    pub(crate) fn held(&self) -> bool {
        match &self.end {
            End::Server(server) => server.held(),
            End::Client { client, .. } => client.held(),
        }
    }

    /// Whether the other side must take some answers before it is heard again.
    pub(crate) fn full(&self) -> bool {
        match &self.end {
            End::Server(server) => server.full(),
            End::Client { client, .. } => client.full(),
        }
    }

    pub(crate) fn flush(&mut self) -> Write {
        let mut sent = 0;
        loop {
            let bytes = match &mut self.end {
                End::Server(server) => server.outgoing(),
                End::Client { too_late: true, .. } => return Write::Ended(Some(Errno::PROTO)),
                End::Client { client, .. } => client.outgoing(),
            };
            if bytes.is_empty() {
                return Write::Took(sent);
            }
            let n = match self.carrier.send(bytes) {
                Ok(n) => n,
                Err(Errno::AGAIN | Errno::INTR) => return Write::Took(sent),
                Err(e) => return Write::Ended(Some(e)),
            };
            sent += n;
            match &mut self.end {
                End::Server(server) => server.sent(n),
                End::Client { client, .. } => client.sent(n),
            }
        }
    }

    pub(crate) fn connected(&mut self) {
        if let End::Server(server) = &mut self.end {
            server.connected();
        }
    }

    pub(crate) fn apply(&mut self, signal: &Signal) -> Option<Signal> {
        match &mut self.end {
            End::Server(server) => {
                server.show(signal);
                Some(*signal)
            }
            End::Client { client, .. } => client.apply(signal),
        }
    }

    pub(crate) fn answer(&mut self, signal: &Signal) {
        if let End::Server(server) = &mut self.end {
            server.answer(signal);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.end {
            End::Server(_) => None,
            End::Client { agree_by, break_ends, .. } => [*agree_by, *break_ends].into_iter().flatten().min(),
        }
    }

    /// At `deadline`; asked again until it has nothing more to say.
    pub(crate) fn on_deadline(&mut self, now: Time) -> Option<Signal> {
        let End::Client { client, agree_by, break_ends, too_late, .. } = &mut self.end else { return None };
        if agree_by.take_if(|at| *at <= now).is_some() {
            *too_late = !client.agreed();
        }
        break_ends.take_if(|at| *at <= now).and_then(|_| client.end_break())
    }

    /// Why the line is lost, for an operator, when it was for its own reasons.
    pub(crate) fn loss(&self) -> Option<&'static str> {
        match self.end {
            End::Client { too_late: true, .. } => {
                Some("the other side does not do COM port control (RFC 2217)")
            }
            _ => None,
        }
    }
}

impl Decode for TelnetLine {
    fn next(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Piece {
        let event = match &mut self.end {
            End::Server(server) => server.next(buffer, raw),
            End::Client { client, break_ends, agree_by, .. } => {
                let event = client.next(buffer, raw);
                match event {
                    Event::Signal(Signal::Break(true)) => *break_ends = Some(Time::now() + BREAK),
                    Event::Signal(Signal::Break(false)) => *break_ends = None,
                    _ => {}
                }
                if agree_by.is_some() && client.agreed() {
                    *agree_by = None;
                }
                event
            }
        };
        match event {
            Event::Bytes(bytes) => Piece::Bytes(bytes),
            Event::Signal(signal) => Piece::Signal(signal),
            Event::End => Piece::End,
        }
    }
}
