//! A port whose opening hangs: what an action does that waits for something that never comes.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// An address that takes connections and never answers: its queue is full.
#[derive(Debug)]
pub struct Tarpit {
    /// As a port.
    pub url: String,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Tarpit {
    pub fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&socket, 0).unwrap();
        let addr = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
        let connect = || TcpStream::connect_timeout(&addr, Duration::from_millis(300));
        let mut queued = Vec::new();
        while let Ok(stream) = connect() {
            queued.push(stream);
            assert!(queued.len() < 100, "the queue never fills");
        }
        Self { url: format!("tcp:{addr}"), _listener: socket.into(), _queued: queued }
    }
}

impl Default for Tarpit {
    fn default() -> Self {
        Self::new()
    }
}
