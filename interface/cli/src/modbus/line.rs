//! A port of hilrig as a stream that tokio-modbus can use: any port URL, opened by the bridge's own code and carried by a
//! shard to a socket in this process. A flush of it does not wait for the line to drain, which a PTY may never do.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use hilrig_port::{Link, LinkOptions, OpenPort, PortError, PortSnapshot, PortUrl, Runtime, Shard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// Bytes of an answer that are kept to be shown.
const KEPT: usize = 24;

/// An open port, until dropped.
pub struct Port {
    _shard: Shard,
    link: Link,
    pub stream: Stream,
}

/// The near end of the port. Clones are the same stream; one reads at a time.
#[derive(Debug, Clone)]
pub struct Stream {
    socket: Arc<UnixStream>,
    heard: Arc<Mutex<Heard>>,
}

/// What came since the last request.
#[derive(Debug, Default, Clone)]
pub struct Heard {
    pub bytes: usize,
    pub first: Vec<u8>,
}

/// A socket file that goes with its value.
struct Meeting(PathBuf);

impl Drop for Meeting {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Port {
    /// Opens a port; asks `stop` now and then whether to give up. To be called inside a tokio runtime.
    pub fn open(url: &PortUrl, runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<Self, PortError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let far = OpenPort::open(url, runtime, stop)?;
        for warning in far.warnings() {
            eprintln!("hilrig: {url}: {warning}");
        }
        let name = format!("modbus-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = runtime.dir().join(name);
        let failed = |action, source| PortError::Io { port: url.to_string(), action, source };
        let listener = UnixListener::bind(&path).map_err(|e| failed("make a socket to its shard", e))?;
        let meeting = Meeting(path.clone());
        let near = OpenPort::open(&PortUrl::Unix { path }, runtime, stop)?;
        let (socket, _) = listener.accept().map_err(|e| failed("reach its shard", e))?;
        drop(meeting);
        socket.set_nonblocking(true).map_err(|e| failed("reach its shard", e))?;
        let socket = UnixStream::from_std(socket).map_err(|e| failed("reach its shard", e))?;
        let shard = Shard::start("modbus")?;
        let link = shard.add_link(far, near, LinkOptions::default())?;
        Ok(Self { _shard: shard, link, stream: Stream { socket: Arc::new(socket), heard: Arc::default() } })
    }

    /// Why the port is gone, if it is.
    pub fn lost(&self) -> Option<String> {
        let [port, _] = self.link.ports();
        port.gone().then(|| port.snapshot().reason)
    }

    pub fn state(&self) -> PortSnapshot {
        let [port, _] = self.link.ports();
        port.snapshot()
    }
}

impl Stream {
    /// What came since this was called last.
    pub fn take_heard(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read(buf.initialize_unfilled()) {
                Ok(n) => {
                    let start = buf.filled().len();
                    buf.advance(n);
                    let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.bytes += n;
                    let room = KEPT - heard.first.len();
                    heard.first.extend(buf.filled()[start..].iter().take(room));
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.socket.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
