//! A TCP line in TLS, as client and as server. A client has shaken hands when its port is open; a server does while it is
//! driven, and never waits. May allocate, as the library does.

use std::io::{self, Read as _, Write as _};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::socket::Carrier;
use super::{Read, Write};
use crate::{PortError, Time};

/// How long the other side may take to shake hands.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct TlsLine {
    pub(crate) carrier: Carrier,
    /// Of a server, for the clients to come.
    config: Option<Arc<ServerConfig>>,
    connection: Option<Connection>,
    /// Plain bytes that are not read yet.
    plain: usize,
    failure: Option<String>,
    /// When it is too late for a client to shake hands.
    shake_by: Option<Time>,
    too_late: bool,
}

impl TlsLine {
    pub(crate) fn server(carrier: Carrier, config: Arc<ServerConfig>) -> Self {
        Self {
            carrier,
            config: Some(config),
            connection: None,
            plain: 0,
            failure: None,
            shake_by: None,
            too_late: false,
        }
    }

    pub(crate) fn client(
        carrier: Carrier,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        port: &str,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, PortError> {
        let failed = |reason: String| PortError::Tls { port: port.to_owned(), reason };
        let connection = ClientConnection::new(config, name).map_err(|e| failed(e.to_string()))?;
        let connection = Some(connection.into());
        let mut line = Self {
            carrier,
            config: None,
            connection,
            plain: 0,
            failure: None,
            shake_by: None,
            too_late: false,
        };
        let until = Instant::now() + PATIENCE;
        while line.held() {
            // A server that does not like us may say so and hang up: what it says tells more.
            let sent = line.flush();
            let received = line.receive();
            if let Some(why) = line.failure.take() {
                return Err(failed(why));
            }
            let ended = if let Write::Ended(e) = sent { Some(e) } else { received.err() };
            if let Some(errno) = ended {
                let source = errno.unwrap_or(Errno::CONNRESET).into();
                return Err(PortError::Connect { port: port.to_owned(), source });
            }
            if stop() {
                return Err(PortError::Stopped { port: port.to_owned() });
            }
            if Instant::now() > until {
                return Err(failed("the other side does not answer as TLS does".into()));
            }
            line.wait();
        }
        // What remains of the handshake to be sent goes with the first flush.
        Ok(line)
    }

    fn wait(&self) {
        let Some(fd) = self.carrier.fd() else { return };
        if !self.held() {
            return;
        }
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.unsent());
        let step = rustix::time::Timespec { tv_sec: 0, tv_nsec: STEP.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(&fd, flags)], Some(&step));
    }

    /// Reads what the socket has, once. `Ok(false)` if it has nothing.
    fn receive(&mut self) -> Result<bool, Option<Errno>> {
        let (Some(fd), Some(connection)) = (self.carrier.fd(), &mut self.connection) else {
            return Err(None);
        };
        match connection.read_tls(&mut Socket(fd)) {
            Ok(0) if connection.is_handshaking() => return Err(None),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(Errno::from_io_error(&e)),
        }
        match connection.process_new_packets() {
            Ok(state) => {
                self.plain = state.plaintext_bytes_to_read();
                Ok(true)
            }
            Err(e) => {
                self.failure = Some(match (&e, connection) {
                    (rustls::Error::InvalidCertificate(_), Connection::Client(_)) => format!(
                        "{e}; `ca=FILE` says which certificates may have signed the server's, `name=` which name it must have"
                    ),
                    (rustls::Error::AlertReceived(_), Connection::Client(_)) => {
                        format!(
                            "the server refuses us: {e}; it may ask for a certificate (`cert=FILE&key=FILE`)"
                        )
                    }
                    _ => e.to_string(),
                });
                // The other side is told why.
                self.flush();
                Err(Some(Errno::PROTO))
            }
        }
    }

    /// Reads plain bytes to the front of `into`.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Read {
        if self.plain == 0 {
            match self.receive() {
                Ok(true) => {}
                Ok(false) => return Read::Nothing,
                Err(e) => return Read::Ended(e),
            }
        }
        let Some(connection) = &mut self.connection else { return Read::Ended(None) };
        match connection.reader().read(into) {
            Ok(0) => Read::Ended(None),
            Ok(n) => {
                self.plain = self.plain.saturating_sub(n);
                Read::Bytes(n)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            // Hung up without saying so first, which many do.
            Err(e) => Read::Ended(Errno::from_io_error(&e)),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Write {
        if let Write::Ended(e) = self.flush() {
            return Write::Ended(e);
        }
        if self.held() || self.unsent() {
            return Write::Took(0);
        }
        let Some(connection) = &mut self.connection else { return Write::Ended(None) };
        let took = connection.writer().write(bytes).unwrap_or(0);
        match self.flush() {
            Write::Took(_) => Write::Took(took),
            ended => ended,
        }
    }

    pub(crate) fn unsent(&self) -> bool {
        self.too_late || self.connection.as_ref().is_some_and(|c| c.wants_write())
    }

    /// Whether nothing can be said because hands are not shaken yet.
    pub(crate) fn held(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.is_handshaking())
    }

    pub(crate) fn flush(&mut self) -> Write {
        if self.too_late {
            return Write::Ended(Some(Errno::TIMEDOUT));
        }
        let Some(fd) = self.carrier.fd() else { return Write::Took(0) };
        while let Some(connection) = self.connection.as_mut().filter(|c| c.wants_write()) {
            match connection.write_tls(&mut Socket(fd)) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Write::Ended(Errno::from_io_error(&e)),
            }
        }
        Write::Took(0)
    }

    pub(crate) fn buffered(&self) -> bool {
        self.plain > 0
    }

    pub(crate) fn connected(&mut self) {
        let Some(config) = &self.config else { return };
        (self.plain, self.too_late) = (0, false);
        self.shake_by = Some(Time::now() + PATIENCE);
        // Without one the client is hung up on at its first word.
        self.connection = ServerConnection::new(config.clone()).ok().map(Connection::from);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.shake_by
    }

    /// One that has not shaken hands by now shall not keep the port from others.
    pub(crate) fn on_deadline(&mut self, now: Time) {
        if self.shake_by.take_if(|at| *at <= now).is_some() {
            self.too_late = self.held();
        }
    }

    /// Why the line is lost, for an operator, when it was for its own reasons.
    pub(crate) fn loss(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

impl Drop for TlsLine {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.send_close_notify();
            self.flush();
        }
    }
}

/// A socket as the library wants it.
struct Socket<'a>(BorrowedFd<'a>);

impl io::Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        again(|| rustix::io::read(self.0, &mut *into))
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        again(|| rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn again(mut call: impl FnMut() -> Result<usize, Errno>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}
