//! TCP and Unix sockets as lines: connecting, listening, one client at a time. Opening may wait and asks whether
//! to give up; accepting, which a shard does, never waits.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    getpeername, getsockname, listen, socket_with, sockopt,
};

use crate::runtime::{LockFile, lock_beside};
use crate::{Policy, PortError};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the caller is asked whether to give up.
const STEP: Duration = Duration::from_millis(50);

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A stream socket, made by us or by whoever calls.
#[derive(Debug)]
pub(crate) enum Carrier {
    Stream(OwnedFd),
    Listen(ListenLine),
}

impl Carrier {
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Stream(fd) => Some(fd.as_fd()),
            Self::Listen(line) => line.client.as_ref().map(AsFd::as_fd),
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let fd = self.fd().ok_or(Errno::NOTCONN)?;
        rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)
    }
}

/// A listener, its client, and those that only listen.
#[derive(Debug)]
pub(crate) struct ListenLine {
    pub(crate) client: Option<OwnedFd>,
    pub(crate) listener: OwnedFd,
    policy: Policy,
    /// Takes the client's place as soon as that is free.
    next: Option<OwnedFd>,
    /// Oldest first.
    observers: Vec<OwnedFd>,
    nodelay: bool,
    _name: Option<SocketName>,
}

/// What became of a caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// It is the client now.
    Client,
    /// It waits for the place of the client, who has to go.
    Instead,
    /// It is the last of the observers now.
    Observer,
    Refused,
}

/// Observers of one port at most.
const OBSERVERS: usize = 8;

/// A listening socket's name in the file system; removed when the port is closed.
#[derive(Debug)]
struct SocketName {
    path: PathBuf,
    _lock: LockFile,
}

impl Drop for SocketName {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl ListenLine {
    fn new(listener: OwnedFd, policy: Policy, nodelay: bool, name: Option<SocketName>) -> Self {
        let room = if policy == Policy::Share { OBSERVERS } else { 0 };
        let observers = Vec::with_capacity(room);
        Self { client: None, listener, policy, next: None, observers, nodelay, _name: name }
    }

    /// Fills the client's place if it is free: with whoever waits for it, or with the next caller. If it is not, the
    /// policy says what becomes of the caller. Not every line can have observers.
    pub(crate) fn accept(&mut self, observed: bool) -> Result<Caller, Errno> {
        if self.client.is_none() {
            let oldest = |observers: &mut Vec<OwnedFd>| (!observers.is_empty()).then(|| observers.remove(0));
            self.client = self.next.take().or_else(|| oldest(&mut self.observers));
            if self.client.is_some() {
                return Ok(Caller::Client);
            }
        }
        let caller = accept_with(&self.listener, FLAGS)?;
        if self.nodelay {
            let _ = sockopt::set_tcp_nodelay(&caller, true);
        }
        if self.client.is_none() {
            self.client = Some(caller);
            return Ok(Caller::Client);
        }
        match self.policy {
            Policy::Kick => {
                self.next = Some(caller);
                Ok(Caller::Instead)
            }
            Policy::Share if observed && self.observers.len() < OBSERVERS => {
                self.observers.push(caller);
                Ok(Caller::Observer)
            }
            Policy::Refuse | Policy::Share => Ok(Caller::Refused),
        }
    }

    /// The next caller, for a server that takes them all.
    pub(crate) fn accept_any(&self) -> Result<OwnedFd, Errno> {
        accept_with(&self.listener, FLAGS)
    }

    /// Makes it a listener for many: a longer queue, and options that callers take over from it, so that taking one in
    /// costs one system call. One whose machine has vanished is noticed within two minutes.
    pub(crate) fn for_many(&self) -> Result<(), Errno> {
        listen(&self.listener, 1024)?;
        if self.nodelay {
            sockopt::set_tcp_nodelay(&self.listener, true)?;
            sockopt::set_socket_keepalive(&self.listener, true)?;
            sockopt::set_tcp_keepidle(&self.listener, Duration::from_secs(60))?;
            sockopt::set_tcp_keepintvl(&self.listener, Duration::from_secs(10))?;
            sockopt::set_tcp_keepcnt(&self.listener, 6)?;
        }
        Ok(())
    }

    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    pub(crate) fn observers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.observers.iter().map(AsFd::as_fd)
    }

    pub(crate) fn forget_last(&mut self) {
        self.observers.pop();
    }

    /// Shows observers what the client gets; answers how many bytes they were too slow for, all together.
    pub(crate) fn share(&self, bytes: &[u8]) -> u64 {
        let mut lost = 0;
        for fd in &self.observers {
            let took = rustix::net::send(fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).unwrap_or(0);
            lost += (bytes.len() - took) as u64;
        }
        lost
    }

    /// Drops what observers say, and those that have left.
    pub(crate) fn hear_observers(&mut self) {
        self.observers.retain(|fd| {
            !matches!(
                rustix::io::read(fd, &mut [0u8; 1024]),
                Ok(0) | Err(Errno::CONNRESET | Errno::PIPE | Errno::TIMEDOUT | Errno::HOSTUNREACH)
            )
        });
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        rustix::net::getsockname(&self.listener).ok()?.try_into().ok()
    }
}

pub(crate) fn connect_tcp(
    host: &str,
    number: u16,
    port: &str,
    stop: &dyn Fn() -> bool,
) -> Result<OwnedFd, PortError> {
    let until = Instant::now() + PATIENCE;
    let mut last = Errno::TIMEDOUT;
    for address in resolve(host, number, port, until, stop)? {
        let socket = tcp_socket(&address).map_err(|e| PortError::io(&port, "make a socket", e))?;
        match finish_connect(connect(&socket, &address), &socket, until, stop) {
            // On this machine Linux lets a socket meet itself, if its own number is the one that is called.
            Ok(true) if getpeername(&socket).ok().flatten() == getsockname(&socket).ok() => {
                last = Errno::CONNREFUSED;
            }
            Ok(true) => {
                let _ = sockopt::set_tcp_nodelay(&socket, true);
                return Ok(socket);
            }
            Ok(false) => return Err(PortError::Stopped { port: port.to_owned() }),
            Err(e) => last = e,
        }
    }
    Err(PortError::Connect { port: port.to_owned(), source: last.into() })
}

pub(crate) fn connect_unix(path: &Path, port: &str, stop: &dyn Fn() -> bool) -> Result<OwnedFd, PortError> {
    let until = Instant::now() + PATIENCE;
    let address = unix_address(path, port)?;
    let failed = |e: Errno| PortError::Connect { port: port.to_owned(), source: e.into() };
    loop {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)
            .map_err(|e| PortError::io(&port, "make a socket", e))?;
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            // The server has more callers waiting than it wants.
            Err(Errno::AGAIN) if Instant::now() < until => {
                if stop() {
                    return Err(PortError::Stopped { port: port.to_owned() });
                }
                std::thread::sleep(STEP);
            }
            Err(e) => return Err(failed(e)),
        }
    }
}

pub(crate) fn listen_tcp(
    host: &str,
    number: u16,
    policy: Policy,
    port: &str,
    stop: &dyn Fn() -> bool,
) -> Result<ListenLine, PortError> {
    let addresses = resolve(host, number, port, Instant::now() + PATIENCE, stop)?;
    let mut last = Errno::ADDRNOTAVAIL;
    for address in addresses {
        let socket = tcp_socket(&address).map_err(|e| PortError::io(&port, "make a socket", e))?;
        let _ = sockopt::set_socket_reuseaddr(&socket, true);
        // Callers may come before anybody takes them in, and have what the listener had then.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        match bind(&socket, &address).and_then(|()| listen(&socket, 8)) {
            Ok(()) => return Ok(ListenLine::new(socket, policy, true, None)),
            Err(e) => last = e,
        }
    }
    Err(match last {
        Errno::ADDRINUSE => {
            PortError::Taken { port: port.to_owned(), holder: "another program that listens there".into() }
        }
        Errno::ACCESS => {
            PortError::Permission { port: port.to_owned(), hint: "choose a TCP port above 1023".into() }
        }
        e => PortError::io(&port, "listen there", e),
    })
}

pub(crate) fn listen_unix(path: &Path, port: &str) -> Result<ListenLine, PortError> {
    let address = unix_address(path, port)?;
    let lock = LockFile::acquire(&lock_beside(path), port).map_err(|held| match held.error {
        Some(source) => PortError::io(&port, "lock its name", source),
        None => PortError::Taken { port: port.to_owned(), holder: held.to_string() },
    })?;
    if let Ok(meta) = fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(PortError::InTheWay { port: port.to_owned(), path: path.to_owned() });
        }
        // Another program may listen there without our lock.
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)
            .map_err(|e| PortError::io(&port, "make a socket", e))?;
        if connect(&socket, &address) != Err(Errno::CONNREFUSED) {
            return Err(PortError::Taken {
                port: port.to_owned(),
                holder: "another program that listens there".into(),
            });
        }
        fs::remove_file(path).map_err(|e| PortError::io(&port, "remove the stale socket", e))?;
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)
        .map_err(|e| PortError::io(&port, "make a socket", e))?;
    bind(&socket, &address).map_err(|e| PortError::io(&port, "make the socket's name", e))?;
    let name = SocketName { path: path.to_owned(), _lock: lock };
    // Before listening, so that nobody else gets in.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|e| PortError::io(&port, "close the socket to others", e))?;
    listen(&socket, 8).map_err(|e| PortError::io(&port, "listen there", e))?;
    Ok(ListenLine::new(socket, Policy::Refuse, false, Some(name)))
}

fn unix_address(path: &Path, port: &str) -> Result<SocketAddrUnix, PortError> {
    SocketAddrUnix::new(path).map_err(|e| match e {
        Errno::NAMETOOLONG => PortError::Unsupported {
            port: port.to_owned(),
            reason: "the path of a socket has at most 107 bytes".into(),
        },
        e => PortError::io(&port, "use this path", e),
    })
}

fn tcp_socket(address: &SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, SocketType::STREAM, FLAGS, None)
}

/// Waits for a connection under way; `Ok(false)` when told to stop.
fn finish_connect(
    started: Result<(), Errno>,
    socket: &OwnedFd,
    until: Instant,
    stop: &dyn Fn() -> bool,
) -> Result<bool, Errno> {
    match started {
        Ok(()) => return Ok(true),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(e) => return Err(e),
    }
    loop {
        if stop() {
            return Ok(false);
        }
        let mut fds = [PollFd::new(socket, PollFlags::OUT)];
        let step = rustix::time::Timespec { tv_sec: 0, tv_nsec: STEP.subsec_nanos().into() };
        match poll(&mut fds, Some(&step)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return sockopt::socket_error(socket)?.map(|()| true),
            Err(e) => return Err(e),
        }
        if Instant::now() >= until {
            return Err(Errno::TIMEDOUT);
        }
    }
}

/// Numbers are used as they are; names are asked for on a thread of their own, because that cannot be broken off.
fn resolve(
    host: &str,
    number: u16,
    port: &str,
    until: Instant,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<SocketAddr>, PortError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, number)]);
    }
    let failed = |reason: String| PortError::Resolve { port: port.to_owned(), reason };
    let (tx, rx) = crossbeam_channel::bounded(1);
    let name = host.to_owned();
    std::thread::Builder::new()
        .name("resolve".into())
        .spawn(move || {
            let answer = (name.as_str(), number).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            let _ = tx.send(answer);
        })
        .map_err(|e| failed(e.to_string()))?;
    loop {
        match rx.recv_timeout(STEP) {
            Ok(Ok(addresses)) if addresses.is_empty() => return Err(failed("it has no address".into())),
            Ok(answer) => return answer.map_err(|e: io::Error| failed(e.to_string())),
            Err(_) if stop() => return Err(PortError::Stopped { port: port.to_owned() }),
            Err(_) if Instant::now() >= until => return Err(failed("no answer within 10 s".into())),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_of_a_server_take_over_the_options_of_its_listener() {
        let line = listen_tcp("127.0.0.1", 0, Policy::default(), "test", &|| false).unwrap();
        line.for_many().unwrap();
        let client = std::net::TcpStream::connect(line.address().unwrap()).unwrap();
        let mut fds = [PollFd::new(&line.listener, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        let caller = line.accept_any().unwrap();
        assert!(sockopt::tcp_nodelay(&caller).unwrap() && sockopt::socket_keepalive(&caller).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&caller).unwrap(), Duration::from_secs(60));
        drop(client);
    }

    #[test]
    fn who_calls_before_the_server_is_there_does_not_wait_for_acknowledgements_either() {
        let line = listen_tcp("127.0.0.1", 0, Policy::default(), "test", &|| false).unwrap();
        let client = std::net::TcpStream::connect(line.address().unwrap()).unwrap();
        line.for_many().unwrap();
        let mut fds = [PollFd::new(&line.listener, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        assert!(sockopt::tcp_nodelay(line.accept_any().unwrap()).unwrap());
        drop(client);
    }
}
