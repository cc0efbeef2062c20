//! COM port control (RFC 2217) and TLS with peers that are not ours: pyserial's own suite and server, gensio, ser2net,
//! socat. What is expected of a peer is what it can do against any server.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod clients;
mod pyserial;
mod servers;
mod tls;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use hilrig_tests::{PATIENCE, missing, wait_for};

/// An address nobody listens on.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = wait_for("a listener", || TcpStream::connect(to).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A program of someone else; ends with the test.
struct Peer(Child);

impl Peer {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
