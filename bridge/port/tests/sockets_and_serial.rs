//! Lines other than virtual ports: TCP and Unix sockets, and serial ports, played by the far ends of virtual
//! ports, which open and behave like them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use common::{App, PATIENCE, open, open_pty, pattern, runtime, wait_until};
use hilrig_port::{LinkOptions, OpenPort, PortError, PortState, PortStats, PortUrl, Runtime, Shard};

fn refused(url: &str, runtime: &Runtime) -> PortError {
    OpenPort::open(&url.parse::<PortUrl>().unwrap(), runtime, &|| false)
        .err()
        .unwrap_or_else(|| panic!("{url} opened"))
}

fn exchange(a: &mut (impl Read + Write), b: &App) {
    a.write_all(b"to b").unwrap();
    assert_eq!(b.read(4), b"to b");
    b.write(b"to a");
    let mut got = [0; 4];
    a.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"to a");
}

fn waits(port: &Arc<PortStats>) {
    wait_until("the listener waits", || port.state() == PortState::Waiting);
}

#[test]
fn a_tcp_listener_takes_one_client_after_the_other() {
    let (_tmp, runtime) = runtime();
    let listener = open("tcp-listen:127.0.0.1:0", &runtime);
    let address = listener.local_addr().unwrap();
    let (pty, far, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(listener, pty, LinkOptions::default()).unwrap();
    let [port, _] = link.ports();
    let app = App::open(&far);
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    };

    assert_eq!(port.state(), PortState::Waiting);
    app.write(b"nobody");
    wait_until("bytes for nobody are discarded", || port.snapshot().discarded_bytes == 6);
    for round in 1..=5 {
        let mut client = connect();
        exchange(&mut client, &app);
        assert_eq!((port.state(), port.snapshot().opens), (PortState::Open, round));
        // A second one is turned away and does not disturb the first.
        let mut second = connect();
        assert!(matches!(second.read(&mut [0]), Ok(0) | Err(_)), "the second client was not turned away");
        exchange(&mut client, &app);
        drop(client);
        waits(&port);
    }
    // What is sent right after connecting is never lost, nor is what is sent to one who has just connected.
    for i in 0..100u32 {
        let mut client = connect();
        app.write(&i.to_le_bytes());
        let mut got = [0; 4];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, i.to_le_bytes());
        client.write_all(&got).unwrap();
        drop(client);
        assert_eq!(app.read(4), got);
        waits(&port);
    }
    assert_eq!(link.stats().directions[1].discarded_bytes, 6);

    let taken = refused(&format!("tcp-listen:{address}"), &runtime);
    assert!(taken.to_string().contains("in use by another program"), "{taken}");
}

#[test]
fn a_tcp_client_that_is_left_is_lost_and_the_other_side_goes_on_counting() {
    let (_tmp, runtime) = runtime();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = open(&format!("tcp:{}", server.local_addr().unwrap()), &runtime);
    let (mut served, _) = server.accept().unwrap();
    let (pty, far, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(client, pty, LinkOptions::default()).unwrap();
    let app = App::open(&far);
    exchange(&mut served, &app);

    served.write_all(b"bye").unwrap();
    drop(served);
    assert_eq!(app.read(3), b"bye");
    let port = link.ports()[0].clone();
    wait_until("the port is lost", || port.gone());
    assert_eq!(port.state(), PortState::Waiting);
    assert!(
        port.snapshot().reason.contains("the other side closed the connection"),
        "{}",
        port.snapshot().reason
    );
    app.write(&pattern(10_000, 1));
    wait_until("bytes for the lost port are discarded", || port.snapshot().discarded_bytes == 10_000);
    let last = shard.remove_link(link);
    assert_eq!((last.directions[1].bytes_in, last.directions[1].discarded_bytes), (10_004, 10_000));
}

#[test]
fn backpressure_reaches_through_a_socket() {
    // A Unix socket, because TCP's own buffers hold megabytes.
    let (tmp, runtime) = runtime();
    let path = tmp.path().join("s");
    let listener = open(&format!("unix-listen:{}", path.display()), &runtime);
    let (pty, far, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(listener, pty, LinkOptions::default()).unwrap();
    let app = App::open(&far);
    let mut client = UnixStream::connect(&path).unwrap();
    let bytes = pattern(3_000_000, 9);
    std::thread::scope(|s| {
        s.spawn(|| app.write(&bytes));
        wait_until("the line stalls", || link.stats().directions[1].pending > 0);
        let mut got = vec![0; bytes.len()];
        client.read_exact(&mut got).unwrap();
        assert!(got == bytes);
    });
    std::thread::scope(|s| {
        let mut writer = client.try_clone().unwrap();
        let bytes = &bytes;
        s.spawn(move || writer.write_all(bytes).unwrap());
        wait_until("the line stalls", || link.stats().directions[0].pending > 0);
        assert!(app.read(bytes.len()) == *bytes);
    });
}

#[test]
fn unix_sockets_work_like_tcp_and_clean_up() {
    let (tmp, runtime) = runtime();
    let path = tmp.path().join("uart.sock");
    let url = format!("unix-listen:{}", path.display());
    let listener = open(&url, &runtime);
    let (pty, far, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(listener, pty, LinkOptions::default()).unwrap();
    let app = App::open(&far);
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
        0o600
    );
    for _ in 0..5 {
        exchange(&mut UnixStream::connect(&path).unwrap(), &app);
        waits(&link.ports()[0]);
    }
    let taken = refused(&url, &runtime);
    assert!(taken.to_string().contains(&format!("process {}", std::process::id())), "{taken}");
    shard.remove_link(link);
    assert!(!path.exists());

    // A socket of a dead process is replaced, a live one is not, another file is left alone.
    drop(UnixListener::bind(&path).unwrap());
    drop(open(&url, &runtime));
    let alive = UnixListener::bind(&path).unwrap();
    let taken = refused(&url, &runtime);
    assert!(taken.to_string().contains("another program that listens there"), "{taken}");
    drop(alive);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(refused(&url, &runtime), PortError::InTheWay { .. }));

    let server = UnixListener::bind(tmp.path().join("s")).unwrap();
    let client = open(&format!("unix:{}", tmp.path().join("s").display()), &runtime);
    let (mut served, _) = server.accept().unwrap();
    let (pty, far, _) = open_pty("c", &runtime);
    let link = shard.add_link(client, pty, LinkOptions::default()).unwrap();
    exchange(&mut served, &App::open(&far));
    drop(served);
    wait_until("the port is lost", || link.ports()[0].gone());
}

#[test]
fn a_connection_nobody_answers_says_so_and_can_be_stopped() {
    let (tmp, runtime) = runtime();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let e = refused(&format!("tcp:{free}"), &runtime);
    assert!(e.to_string().contains("nobody answers: Connection refused"), "{e}");
    let e = refused(&format!("unix:{}", tmp.path().join("nothing").display()), &runtime);
    assert!(e.to_string().contains("nobody answers"), "{e}");

    // A listener whose queue is full lets callers wait.
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    let path = tmp.path().join("full");
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let asked = std::cell::Cell::new(0);
    let url = format!("unix:{}", path.display()).parse().unwrap();
    let stopped = OpenPort::open(&url, &runtime, &|| asked.replace(asked.get() + 1) == 2).unwrap_err();
    assert!(matches!(stopped, PortError::Stopped { .. }), "{stopped}");
}

#[test]
fn a_pty_slave_opens_like_any_serial_port_at_8e1_twenty_times() {
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let (other, far_other, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(pty, other, LinkOptions::default()).unwrap();
    let app = App::open(&far_other);
    let bench = Shard::start("bench").unwrap();
    for i in 0..20 {
        // By its name and by the device behind it.
        let path = if i % 2 == 0 { far.clone() } else { far.canonicalize().unwrap() };
        let port = open(&format!("serial:{}?baud=19200&format=8E1", path.display()), &runtime);
        assert!(port.url().is_virtual() && port.warnings().is_empty(), "{:?}", port.warnings());
        let (echo, far_echo, _) = open_pty("echo", &runtime);
        let wire = bench.add_link(port, echo, LinkOptions::default()).unwrap();
        let echo = App::open(&far_echo);
        echo.write(b"ping");
        assert_eq!(app.read(4), b"ping");
        app.write(b"pong");
        assert_eq!(echo.read(4), b"pong");
        assert_eq!(link.ports()[0].snapshot().baud, 19_200);
        bench.remove_link(wire);
    }
}

#[test]
fn a_serial_port_that_goes_away_is_lost_without_a_busy_loop() {
    let (_tmp, runtime) = runtime();
    let (pty, far, _) = open_pty("a", &runtime);
    let serial = open(far.to_str().unwrap(), &runtime);
    let (other, far_other, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(serial, other, LinkOptions::default()).unwrap();
    let app = App::open(&far_other);
    drop(pty);
    let port = link.ports()[0].clone();
    wait_until("the port is lost", || port.gone());
    assert_eq!(port.state(), PortState::Waiting);
    let reason = port.snapshot().reason;
    assert!(reason.starts_with("the device was unplugged or hung up"), "{reason}");
    app.write(b"anyone?");
    wait_until("bytes for the lost port are discarded", || port.snapshot().discarded_bytes == 7);
    common::sleeps(&shard);
}

#[test]
fn errors_of_serial_ports_say_what_to_do() {
    let (tmp, runtime) = runtime();
    let e = refused("/dev/ttyUSB99", &runtime).to_string();
    assert!(e.starts_with("/dev/ttyUSB99: there is no such port; "), "{e}");
    let dangling = tmp.path().join("dangling");
    std::os::unix::fs::symlink("/dev/pts/999999", &dangling).unwrap();
    let e = refused(dangling.to_str().unwrap(), &runtime).to_string();
    assert!(e.contains("the program that made this virtual port is gone"), "{e}");
    let file = tmp.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(refused(file.to_str().unwrap(), &runtime), PortError::NotAPort { .. }));
    assert!(matches!(refused("/dev/null", &runtime), PortError::NotAPort { .. }));

    let (_pty, far, _) = open_pty("a", &runtime);
    let _held = open(far.to_str().unwrap(), &runtime);
    let e = refused(far.to_str().unwrap(), &runtime).to_string();
    assert!(e.contains("busy: ") && e.contains(&format!("(process {})", std::process::id())), "{e}");

    let (_pty, far, _) = open_pty("b", &runtime);
    let e = refused(&format!("{}?format=8N1.5", far.display()), &runtime).to_string();
    assert!(e.contains("one and a half stop bits exist only with 5 data bits"), "{e}");
    let port = open(&format!("{}?low_latency=on&rs485=on&dtr=on&rts=off", far.display()), &runtime);
    assert_eq!(port.warnings().len(), 3, "{:?}", port.warnings());
    assert!(port.warnings()[0].contains("cannot raise DTR and lower RTS:"), "{:?}", port.warnings());
    assert!(port.warnings()[1].contains("low latency"), "{:?}", port.warnings());

    for url in ["ble:x", "hci:dev:0"] {
        let e = refused(url, &runtime).to_string();
        assert!(e.starts_with(url) && e.contains("not available in this version"), "{e}");
    }
}
