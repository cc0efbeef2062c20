//! Servers of others at the far end of a `rfc2217:` port: pyserial's and ser2net. Every byte value, both ways.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;

use hilrig_tests::{Sandbox, need, pattern, wait_for};

use crate::{Peer, free, pyserial};

/// Sends through a link to an echo at the other side of the server, and compares.
#[track_caller]
fn comes_back(sandbox: &Sandbox, server: SocketAddr, options: &str) {
    wait_for("the server", || std::net::TcpStream::connect(server).ok());
    let socket = sandbox.scratch().join("line.sock");
    let (near, far) = (format!("unix-listen:{}", socket.display()), format!("rfc2217:{server}?{options}"));
    let _links = sandbox.links(&["link", &near, &far], 1);
    let line = UnixStream::connect(&socket).unwrap();
    line.set_read_timeout(Some(hilrig_tests::PATIENCE)).unwrap();
    let bytes: Vec<u8> = (0..40_000).map(|at| if at % 7 == 0 { 255 } else { pattern(3, at) }).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| (&line).write_all(&bytes).unwrap());
        let mut seen = vec![0; bytes.len()];
        (&line).read_exact(&mut seen).unwrap();
        assert!(seen == bytes, "the bytes differ");
    });
}

#[test]
fn pyserials_server() {
    let Some(sources) = pyserial::sources() else { return };
    let (sandbox, at) = (Sandbox::new(), free());
    let _server = Peer::start(
        Command::new("python3")
            .arg(sources.join("examples/rfc2217_server.py"))
            .args(["-p", &at.port().to_string(), "loop://"])
            .env("PYTHONPATH", &sources),
    );
    comes_back(&sandbox, at, "baud=19200&dtr=on&rts=off");
}

#[test]
fn ser2net() {
    if !need("ser2net") || !need("socat") {
        return;
    }
    let (sandbox, at) = (Sandbox::new(), free());
    let device = sandbox.scratch().join("device");
    let _echo = Peer::start(
        Command::new("socat").arg(format!("PTY,raw,echo=0,link={}", device.display())).arg("EXEC:cat"),
    );
    wait_for("the device", || device.exists().then_some(()));
    let config = sandbox.scratch().join("ser2net.yaml");
    let text = format!(
        "connection: &a\n  accepter: telnet(rfc2217=true),tcp,127.0.0.1,{}\n  connector: serialdev,{},9600n81,local\n",
        at.port(),
        device.display()
    );
    std::fs::write(&config, text).unwrap();
    let _server = Peer::start(Command::new("ser2net").args(["-d", "-n", "-c"]).arg(&config));
    comes_back(&sandbox, at, "baud=115200");
}
