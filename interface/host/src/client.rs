//! A small blocking client of a daemon, for the command line: one connection, one request at a time, everything
//! with a deadline, every error one sentence. Interprets no answer.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use hilrig_contract::{ContractError, Event, Topic};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};

use crate::{Root, RootError};

/// Time for a connection to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// Time for a daemon to answer; every method of the contract answers promptly.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest line taken.
const MAX_REPLY: u64 = 64 << 20;

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    stream: Stream,
    reader: BufReader<Stream>,
    token: Option<String>,
    next_id: u64,
}

/// Why a call has no answer. Each is one sentence for an operator.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0:?} is no endpoint: write unix:PATH, tcp:HOST:PORT or HOST:PORT")]
    Endpoint(String),
    #[error("{0}")]
    Root(#[from] RootError),
    #[error("no daemon serves {}; start it with `hilrig serve`", .0.display())]
    NoDaemon(PathBuf),
    #[error("cannot connect to {endpoint}: {source}")]
    Connect { endpoint: Endpoint, source: std::io::Error },
    #[error("{endpoint} did not answer {method} within {} s", deadline.as_secs())]
    Deadline { endpoint: Endpoint, method: String, deadline: Duration },
    #[error("{endpoint} closed the connection")]
    Closed { endpoint: Endpoint },
    #[error("the connection to {endpoint} broke: {source}")]
    Broken { endpoint: Endpoint, source: std::io::Error },
    #[error("{endpoint} does not speak the process interface: {why}")]
    Foreign { endpoint: Endpoint, why: String },
    /// The daemon refused the request; the error is the contract's own.
    #[error("{0}")]
    Refused(ContractError),
}

impl FromStr for Endpoint {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Endpoint(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        let address = text.strip_prefix("tcp:").unwrap_or(text);
        let address = address.strip_prefix("//").unwrap_or(address);
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        port.parse::<u16>().map_err(|_| wrong())?;
        if host.contains('/') || (host.contains(':') && !host.starts_with('[')) {
            return Err(wrong());
        }
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Ok(Self::Tcp(format!("{host}:{port}")))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl Client {
    /// Connects to `endpoint`.
    ///
    /// # Errors
    /// Nobody listens there, or not within three seconds.
    pub fn connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let stream = match endpoint {
            Endpoint::Unix(path) => connect_unix(path).map(Stream::Unix),
            Endpoint::Tcp(address) => connect_tcp(address).map(Stream::Tcp),
        };
        let parts = stream.and_then(|s| Ok((s.try_clone()?, s)));
        let (stream, reader) =
            parts.map_err(|source| ClientError::Connect { endpoint: endpoint.clone(), source })?;
        let reader = BufReader::new(reader);
        Ok(Self { endpoint: endpoint.clone(), stream, reader, token: None, next_id: 0 })
    }

    /// Connects to the daemon that serves `root`.
    ///
    /// # Errors
    /// No daemon does.
    pub fn of_root(root: &Path) -> Result<Self, ClientError> {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        let root = Root::open(root)?;
        match Self::connect(&Endpoint::Unix(root.control_socket())) {
            Err(ClientError::Connect { source, .. })
                if matches!(source.kind(), ConnectionRefused | NotFound) =>
            {
                Err(ClientError::NoDaemon(root.dir().to_owned()))
            }
            other => other,
        }
    }

    /// Sends `token` with every request, for listeners that ask for one.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    /// Asks and waits for the answer: its `response`.
    ///
    /// # Errors
    /// The daemon refused ([`ClientError::Refused`]), did not answer, or is gone.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, ClientError> {
        self.next_id += 1;
        let mut request = json!({"id": self.next_id, "method": method, "params": params});
        if let Some(token) = &self.token {
            request["token"] = json!(token);
        }
        let deadline = Instant::now() + ANSWER;
        let late = |endpoint: &Endpoint| ClientError::Deadline {
            endpoint: endpoint.clone(),
            method: method.to_owned(),
            deadline: ANSWER,
        };
        self.stream.set_timeouts(Some(ANSWER)).map_err(|e| self.broken(e))?;
        match self.stream.write_all(format!("{request}\n").as_bytes()) {
            Ok(()) => {}
            Err(e) if is_timeout(&e) => return Err(late(&self.endpoint)),
            // The reason may be in what the other side said before it closed.
            Err(_) => {}
        }
        loop {
            let Some(mut reply) = self.message(Some(deadline))? else { return Err(late(&self.endpoint)) };
            if reply.get("event").is_some() || reply.get("id") != Some(&json!(self.next_id)) {
                continue;
            }
            let (response, error) = (reply["response"].take(), reply["error"].take());
            return match reply["ok"].as_bool() {
                Some(true) => Ok(response),
                Some(false) => match serde_json::from_value(error) {
                    Ok(error) => Err(ClientError::Refused(error)),
                    Err(why) => Err(self.foreign(&why.to_string())),
                },
                None => Err(self.foreign("a reply without ok")),
            };
        }
    }

    /// Subscribes to `topics`; the connection is for their events from then on.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn subscribe(mut self, topics: &[Topic]) -> Result<Events, ClientError> {
        let topics: Vec<&str> = topics.iter().map(|t| t.as_str()).collect();
        self.call("events.subscribe", json!({"topics": topics}))?;
        Ok(Events { client: self })
    }

    /// Reads one message: `None` if none came before `deadline`.
    fn message(&mut self, deadline: Option<Instant>) -> Result<Option<Value>, ClientError> {
        let mut line = Vec::new();
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            self.stream.set_timeouts(left).map_err(|e| self.broken(e))?;
            let room = MAX_REPLY - line.len() as u64;
            match (&mut self.reader).take(room).read_until(b'\n', &mut line) {
                Ok(0) if line.is_empty() => {
                    return Err(ClientError::Closed { endpoint: self.endpoint.clone() });
                }
                Ok(read) if read == 0 || line.ends_with(b"\n") => {
                    if !line.iter().all(u8::is_ascii_whitespace) {
                        return serde_json::from_slice(&line).map(Some).map_err(|_| {
                            self.foreign(&crate::peer::shorten(&String::from_utf8_lossy(&line)))
                        });
                    }
                    line.clear();
                }
                Ok(_) if line.len() as u64 >= MAX_REPLY => return Err(self.foreign("an endless line")),
                Ok(_) => {}
                Err(e) if is_timeout(&e) || e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.broken(e)),
            }
        }
    }

    fn broken(&self, source: std::io::Error) -> ClientError {
        ClientError::Broken { endpoint: self.endpoint.clone(), source }
    }

    fn foreign(&self, why: &str) -> ClientError {
        ClientError::Foreign { endpoint: self.endpoint.clone(), why: why.to_owned() }
    }
}

/// The events of a subscription, as they come. Ends when the daemon closes the connection.
#[derive(Debug)]
pub struct Events {
    client: Client,
}

impl Events {
    /// Waits for the next event, at most `time`: `None` if none came.
    ///
    /// # Errors
    /// The daemon is gone, or sends what is not of the contract.
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Event>, ClientError> {
        self.read(Some(Instant::now() + time))
    }

    fn read(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, ClientError> {
        while let Some(message) = self.client.message(deadline)? {
            if message.get("event").is_some() {
                return serde_json::from_value(message)
                    .map(Some)
                    .map_err(|e| self.client.foreign(&e.to_string()));
            }
        }
        Ok(None)
    }
}

impl Iterator for Events {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read(None) {
            Err(ClientError::Closed { .. }) => None,
            other => other.transpose(),
        }
    }
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn try_clone(&self) -> std::io::Result<Self> {
        Ok(match self {
            Self::Unix(s) => Self::Unix(s.try_clone()?),
            Self::Tcp(s) => Self::Tcp(s.try_clone()?),
        })
    }

    /// `None` waits for ever.
    fn set_timeouts(&self, time: Option<Duration>) -> std::io::Result<()> {
        match self {
            Self::Unix(s) => s.set_read_timeout(time).and_then(|()| s.set_write_timeout(time)),
            Self::Tcp(s) => s.set_read_timeout(time).and_then(|()| s.set_write_timeout(time)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Unix(s) => s.read(buf),
            Self::Tcp(s) => s.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Unix(s) => s.write(buf),
            Self::Tcp(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Connects without ever blocking: a daemon that is stopped with a full queue must not stop its clients.
fn connect_unix(path: &Path) -> std::io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(path)?;
    let deadline = Instant::now() + CONNECT;
    loop {
        match rustix::net::connect(&socket, &address) {
            Err(rustix::io::Errno::AGAIN) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::AGAIN) => return Err(std::io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
            Ok(()) => break,
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn connect_tcp(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A daemon for one connection: answers each request line with what `lines` says for it, `ID` replaced.
    fn daemon(dir: &Path, lines: &'static [&'static str]) -> Endpoint {
        let path = dir.join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut stream = stream;
            for reply in lines {
                let mut request = String::new();
                reader.read_line(&mut request).unwrap();
                let id = serde_json::from_str::<Value>(&request).unwrap()["id"].to_string();
                stream.write_all(reply.replace("ID", &id).as_bytes()).unwrap();
            }
        });
        Endpoint::Unix(path)
    }

    #[test]
    fn endpoints_are_read_and_shown() {
        for (text, shown) in [
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("tcp:localhost:8765", "tcp:localhost:8765"),
            ("tcp://127.0.0.1:8765", "tcp:127.0.0.1:8765"),
            ("127.0.0.1:8765", "tcp:127.0.0.1:8765"),
            (":8765", "tcp:127.0.0.1:8765"),
            ("[::1]:8765", "tcp:[::1]:8765"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for bad in ["", "unix:", "localhost", "tcp:localhost", "http://x:1/y", "a:b", "::1:70000", "::1:8765"]
        {
            let error = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("HOST:PORT"), "{bad}: {error}");
        }
    }

    #[test]
    fn calls_are_answered_refused_or_broken_off() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = daemon(
            dir.path(),
            &[
                "{\"event\":\"log\",\"params\":{}}\n{\"id\":ID,\"ok\":true,\"response\":{\"pong\":true}}\n",
                "{\"id\":ID,\"ok\":false,\"error\":{\"code\":\"E_NOT_FOUND\",\"message\":\"no job x\",\"details\":{}}}\n",
            ],
        );
        let mut client = Client::connect(&endpoint).unwrap();
        assert_eq!(client.call("ping", json!({})).unwrap(), json!({"pong": true}));
        let refused = client.call("action.job.get", json!({})).unwrap_err();
        assert!(matches!(refused, ClientError::Refused(_)));
        assert_eq!(refused.to_string(), "no job x");
        let gone = client.call("ping", json!({})).unwrap_err();
        assert!(matches!(gone, ClientError::Closed { .. } | ClientError::Broken { .. }), "{gone}");
    }

    #[test]
    fn events_come_one_by_one_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = daemon(
            dir.path(),
            &["{\"id\":ID,\"ok\":true,\"response\":{\"subscribed\":[\"log\"]}}\n\
               {\"event\":\"log\",\"params\":{\"appId\":\"x\",\"seq\":1,\"ts\":\"\",\"dropped\":0,\"line\":\"a\"}}\n"],
        );
        let mut events = Client::connect(&endpoint).unwrap().subscribe(&[Topic::Log]).unwrap();
        let event = events.next_within(Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!(event.params.more["line"], "a");
        assert!(events.next().is_none());
    }

    #[test]
    fn what_is_not_the_contract_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = daemon(dir.path(), &["SSH-2.0-OpenSSH\r\n"]);
        let error = Client::connect(&endpoint).unwrap().call("ping", json!({})).unwrap_err().to_string();
        assert!(error.contains("does not speak the process interface: SSH-2.0-OpenSSH"), "{error}");
    }

    #[test]
    fn nobody_there() {
        let dir = tempfile::tempdir().unwrap();
        let error = Client::connect(&Endpoint::Unix(dir.path().join("x.sock"))).unwrap_err().to_string();
        assert!(error.contains("cannot connect to unix:") && error.contains("x.sock"), "{error}");
    }
}
