//! Where connections come from: TCP, Unix sockets, stdin. Opens, guards and accepts; what is said on a connection is
//! not its business.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hilrig_contract::{ContractError, ErrorCode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use crate::{Access, Dispatcher, End, envelope, serve_connection};

/// Connections served at a time, per listener.
pub const MAX_CONNECTIONS: usize = 1024;
const BACKLOG: i32 = 1024;
/// Time for a request under way when the listener stops.
const LAST_REQUEST: Duration = Duration::from_secs(2);
/// Time for a refused client to take its refusal.
const REFUSAL: Duration = Duration::from_millis(500);
/// Shortest token taken from a file.
const MIN_TOKEN: usize = 16;

/// A secret that a listener demands. Compared in constant time, never printed.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Reads the first line of a file.
    ///
    /// # Errors
    /// The file cannot be read, or its first line is too short to be a secret.
    pub fn from_file(path: &Path) -> Result<Self, ListenError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ListenError::TokenFile { path: path.to_owned(), source })?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < MIN_TOKEN {
            return Err(ListenError::WeakToken(path.to_owned()));
        }
        Ok(Self(token.into()))
    }

    /// Takes the same time wherever the first difference is.
    pub fn matches(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let difference = own
            .iter()
            .enumerate()
            .fold(0, |found, (i, byte)| found | (byte ^ given.get(i).copied().unwrap_or(!byte)));
        std::hint::black_box(difference) == 0 && own.len() == given.len()
    }
}

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0:?} is no address to listen on: give HOST:PORT, for example 127.0.0.1:8765")]
    Address(String),
    #[error("{0} can be reached from other machines: give a token file, or listen on 127.0.0.1")]
    NotLoopback(SocketAddr),
    #[error("another program already listens on {0}: stop it, or choose another address")]
    InUse(String),
    #[error("{} is in the way: it is no socket, so it is left alone; remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    #[error("cannot listen on {at}: {source}")]
    Io { at: String, source: io::Error },
    #[error("the token file {} cannot be read: {source}", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    #[error("the first line of the token file {} is shorter than {MIN_TOKEN} characters: use a longer secret", .0.display())]
    WeakToken(PathBuf),
}

/// An open listener that does not serve yet: open all of them first, then serve, so that there is no half start.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    access: Access,
    /// One is taken by each connection served.
    slots: Arc<Semaphore>,
}

/// Counts the connections that a listener serves.
#[derive(Debug, Clone)]
pub(crate) struct Clients(Arc<Semaphore>);

impl Clients {
    pub(crate) fn count(&self) -> usize {
        MAX_CONNECTIONS - self.0.available_permits()
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes the file of a socket, unless it is another's by now.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: Option<u64>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = std::fs::symlink_metadata(&self.path).ok().map(|m| m.ino());
        if now.is_some() && now == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens on `HOST:PORT`, `:PORT` (of 127.0.0.1) or `tcp://HOST:PORT`. An address that is not loopback needs a
    /// token. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn tcp(address: &str, access: Access) -> Result<Self, ListenError> {
        let at = resolve(address)?;
        if !at.ip().is_loopback() && access.token.is_none() {
            return Err(ListenError::NotLoopback(at));
        }
        let open = || {
            let listener = std::net::TcpListener::bind(at)?;
            rustix::net::listen(&listener, BACKLOG)?;
            // Accepted sockets inherit it. Replies are whole: nothing is gained by waiting for more.
            rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = open().map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(at.to_string()),
            _ => ListenError::Io { at: at.to_string(), source },
        })?;
        Ok(Self::of(Socket::Tcp(listener), access))
    }

    /// Listens on a socket file of mode 0600 from birth. A socket that nobody listens on any more is replaced. The
    /// file is removed when the listener ends. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn unix(path: &Path, access: Access) -> Result<Self, ListenError> {
        let failed = |source: io::Error| ListenError::Io { at: path.display().to_string(), source };
        match std::fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => {
                return Err(ListenError::NotASocket(path.to_owned()));
            }
            Ok(_) => match StdUnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                _ => return Err(ListenError::InUse(path.display().to_string())),
            },
            Err(_) => {}
        }
        let listener = bind_private(path).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(path.display().to_string()),
            _ => failed(source),
        })?;
        let inode = std::fs::symlink_metadata(path).ok().map(|m| m.ino());
        let file = SocketFile { path: path.to_owned(), inode };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok(Self::of(Socket::Unix(listener, file), access))
    }

    fn of(socket: Socket, access: Access) -> Self {
        Self { socket, access, slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }

    /// To count the connections while the listener serves.
    pub(crate) fn clients(&self) -> Clients {
        Clients(Arc::clone(&self.slots))
    }

    /// The address as bound, a port 0 resolved; of a TCP listener.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// The socket file, of a Unix listener.
    pub fn path(&self) -> Option<&Path> {
        match &self.socket {
            Socket::Tcp(_) => None,
            Socket::Unix(_, file) => Some(&file.path),
        }
    }

    /// Accepts and serves until `stop` turns true; then requests under way get 2 s.
    pub async fn serve(self, dispatcher: Arc<Dispatcher>, mut stop: watch::Receiver<bool>) {
        let slots = &self.slots;
        raise_descriptor_limit();
        let own_stop = stop.clone();
        // One line in the log per shortage, not one per attempt.
        let mut short = false;
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    continue;
                }
                Err(e) => {
                    // Out of descriptors: let some connections end.
                    if !std::mem::replace(&mut short, true) {
                        tracing::warn!("connections cannot be accepted for now: {e}");
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            short = false;
            let (dispatcher, access, stop) = (Arc::clone(&dispatcher), self.access.clone(), own_stop.clone());
            match Arc::clone(slots).try_acquire_owned() {
                Ok(slot) => {
                    tokio::spawn(async move {
                        let _slot = slot;
                        match stream {
                            Stream::Tcp(mut s) => {
                                let (reader, writer) = s.split();
                                serve_connection(reader, writer, &dispatcher, &access, stop).await
                            }
                            Stream::Unix(mut s) => {
                                let (reader, writer) = s.split();
                                serve_connection(reader, writer, &dispatcher, &access, stop).await
                            }
                        }
                    });
                }
                Err(_) => {
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(REFUSAL, refuse(stream)).await;
                    });
                }
            }
        }
        let all_back = slots.acquire_many(MAX_CONNECTIONS as u32);
        let _ = tokio::time::timeout(LAST_REQUEST, all_back).await;
    }
}

/// The usual soft limit of 1024 descriptors is less than the connections served; the hard limit allows more.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {e}");
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Socket {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => Ok(Stream::Tcp(listener.accept().await?.0)),
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// One line that says why, then the end. What the client has sent is read first: closing over unread bytes would
/// reset the connection and take the line away from the client.
async fn refuse(stream: Stream) {
    async fn tell(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let error = ContractError::new(
            ErrorCode::Internal,
            format!("{MAX_CONNECTIONS} connections are open, no more are served: close some and try again"),
        )
        .with("reason", "connectionLimit");
        let mut line = vec![];
        envelope::write_reply(&mut line, None, &Err(error));
        let _ = stream.write_all(&line).await;
        let _ = stream.shutdown().await;
        let mut sink = [0; 4096];
        while matches!(stream.read(&mut sink).await, Ok(n) if n > 0) {}
    }
    match stream {
        Stream::Tcp(s) => tell(s).await,
        Stream::Unix(s) => tell(s).await,
    }
}

fn resolve(address: &str) -> Result<SocketAddr, ListenError> {
    let wrong = || ListenError::Address(address.to_owned());
    let host_port =
        address.strip_prefix("tcp://").or_else(|| address.strip_prefix("tcp:")).unwrap_or(address);
    if let Some(port) = host_port.strip_prefix(':') {
        return Ok((IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().map_err(|_| wrong())?).into());
    }
    host_port.to_socket_addrs().ok().and_then(|mut all| all.next()).ok_or_else(wrong)
}

/// Binds with the mode set on the socket before: the file is born with it, without touching the process's umask.
fn bind_private(path: &Path) -> io::Result<StdUnixListener> {
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Serves stdin and stdout until EOF or `stop`. The read of stdin sits in a thread of the runtime: leave afterwards
/// by `process::exit` or `Runtime::shutdown_background`.
pub async fn serve_stdio(dispatcher: Arc<Dispatcher>, stop: watch::Receiver<bool>) -> End {
    serve_connection(tokio::io::stdin(), tokio::io::stdout(), &dispatcher, &Access::default(), stop).await
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpStream;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::{Bench, DEADLINE};

    #[tokio::test]
    async fn addresses_other_machines_reach_need_a_token() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            assert!(matches!(Listener::tcp(address, Access::default()), Err(ListenError::NotLoopback(_))));
        }
        let token = Some(Token("0123456789abcdef".into()));
        assert!(Listener::tcp("0.0.0.0:0", Access { token, job_ids: false }).is_ok());
        for address in ["tcp://127.0.0.1:0", "tcp:localhost:0", ":0", "127.0.0.1:0"] {
            let listener = Listener::tcp(address, Access::default()).unwrap();
            assert!(listener.local_addr().unwrap().ip().is_loopback());
        }
        for address in ["", "127.0.0.1", "127.0.0.1:x", ":", "serial"] {
            let error = Listener::tcp(address, Access::default()).unwrap_err();
            assert!(matches!(error, ListenError::Address(_)), "{address}: {error}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_told() {
        let first = Listener::tcp("127.0.0.1:0", Access::default()).unwrap();
        let address = first.local_addr().unwrap().to_string();
        let error = Listener::tcp(&address, Access::default()).unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }

    #[tokio::test]
    async fn socket_file_is_private_guarded_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let first = Listener::unix(&path, Access::default()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Listener::unix(&path, Access::default()), Err(ListenError::InUse(_))));
        drop(first);
        assert!(!path.exists());

        drop(bind_private(&path).unwrap());
        assert!(path.exists(), "what a killed process leaves");
        let again = Listener::unix(&path, Access::default()).unwrap();

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        drop(again);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        assert!(matches!(Listener::unix(&path, Access::default()), Err(ListenError::NotASocket(_))));
        let long = dir.path().join("x".repeat(200));
        assert!(matches!(Listener::unix(&long, Access::default()), Err(ListenError::Io { .. })));
    }

    #[test]
    fn weak_and_missing_tokens_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "short\n0123456789abcdef").unwrap();
        assert!(matches!(Token::from_file(file.path()), Err(ListenError::WeakToken(_))));
        assert!(matches!(Token::from_file(Path::new("/nowhere/t")), Err(ListenError::TokenFile { .. })));
        std::fs::write(file.path(), "  0123456789abcdef \n").unwrap();
        let token = Token::from_file(file.path()).unwrap();
        assert!(
            token.matches("0123456789abcdef") && !token.matches("") && !token.matches("0123456789abcdeF")
        );
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    fn ask(stream: TcpStream) -> String {
        let mut reader = BufReader::new(stream);
        reader.get_mut().set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = reader.get_mut().write_all(b"{\"method\":\"ping\"}\n");
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    }

    /// Cases 71 to 73: many short connections, resets, and more connections than are served.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_come_go_and_are_capped() {
        let bench = Bench::new();
        let listener = Listener::tcp("127.0.0.1:0", Access::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(listener.serve(Arc::clone(&bench.dispatcher), stopped));
        tokio::task::spawn_blocking(move || {
            for _ in 0..200 {
                assert!(ask(TcpStream::connect(address).unwrap()).contains("\"pong\":true"));
                let rude = TcpStream::connect(address).unwrap();
                rustix::net::sockopt::set_socket_linger(&rude, Some(Duration::ZERO)).unwrap();
                let _ = (&rude).write_all(b"{\"method\":\"ping\"}\n");
            }
            let start = std::time::Instant::now();
            let mut idle: Vec<TcpStream> = vec![];
            // The rude ones may still hold some places for a moment.
            let refusal = loop {
                assert!(start.elapsed() < DEADLINE);
                while idle.len() < MAX_CONNECTIONS {
                    idle.push(TcpStream::connect(address).unwrap());
                }
                let line = ask(TcpStream::connect(address).unwrap());
                if !line.contains("pong") {
                    break line;
                }
            };
            assert!(refusal.contains("connectionLimit"), "{refusal}");
            idle.truncate(10);
            while !ask(TcpStream::connect(address).unwrap()).contains("pong") {
                assert!(start.elapsed() < DEADLINE);
            }
        })
        .await
        .unwrap();
        stop.send(true).unwrap();
        tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).is_err());
    }
}
