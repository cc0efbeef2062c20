//! COM port control through a shard: hilrig at both ends, clients and servers made of bare bytes for what well-behaved
//! ones do not do, and the ends themselves under a counting allocator.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{PATIENCE, open, pattern, runtime, wait_until};
use hilrig_port::telnet::{Client, Event as Came, Server};
use hilrig_port::{
    Events, Happened, Lines, Link, LinkOptions, OpenPort, PortUrl, Runtime, SerialOptions, Shard, Signal,
};
use hilrig_tests::{Counting, allocator_calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const AGREED: [u8; 3] = [255, 251, 44];

fn com_port(command: u8, value: &[u8]) -> Vec<u8> {
    [&[255, 250, 44, command], value, &[255, 240]].concat()
}

/// A client made of bare bytes.
struct Bare(TcpStream, Vec<u8>);

impl Bare {
    fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bare = Self(stream, Vec::new());
        bare.say(&AGREED);
        bare
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads until these bytes have come, and forgets all up to there.
    #[track_caller]
    fn hears(&mut self, bytes: &[u8]) {
        loop {
            if let Some(at) = self.1.windows(bytes.len()).position(|w| w == bytes) {
                self.1.drain(..at + bytes.len());
                return;
            }
            let mut some = [0; 4096];
            let n = self.0.read(&mut some).unwrap_or_else(|e| panic!("{e}: {bytes:?} not in {:?}", self.1));
            assert!(n > 0, "hung up on");
            self.1.extend_from_slice(&some[..n]);
        }
    }
}

struct Bench {
    _tmp: tempfile::TempDir,
    runtime: Runtime,
    shard: Shard,
    events: Events,
}

impl Bench {
    fn new() -> Self {
        let (tmp, runtime) = runtime();
        let shard = Shard::start("rfc2217").unwrap();
        let events = shard.events();
        Self { _tmp: tmp, runtime, shard, events }
    }

    /// A link, and where its first port listens.
    fn link(&self, a: &str, b: &str) -> (Link, SocketAddr) {
        let (a, b) = (open(a, &self.runtime), open(b, &self.runtime));
        let at = a.local_addr().unwrap();
        (self.shard.add_link(a, b, LinkOptions::default()).unwrap(), at)
    }

    #[track_caller]
    fn hears(&mut self, link: &Link, side: usize, what: &Happened) {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < until {
            if let Some(event) = self.events.wait(Duration::from_millis(100)) {
                if event.link == link.id() && event.side == side && event.what == *what {
                    return;
                }
                seen.push(event);
            }
        }
        panic!("never {what:?}, but {seen:?}");
    }
}

const SERVER: &str = "rfc2217-listen:127.0.0.1:0";

#[test]
fn a_remote_port_is_like_one_of_our_own() {
    let mut bench = Bench::new();
    let (server, at) = bench.link(SERVER, "loop:");
    let far = format!("rfc2217:{at}?baud=12345&format=7E2&flow=rtscts&rts=on");
    let (client, near) = bench.link("tcp-listen:127.0.0.1:0", &far);
    let remote = server.ports()[1].snapshot();
    assert_eq!(remote.baud, 12345);
    assert!(remote.lines.has(Lines::RTS) && !remote.lines.has(Lines::DTR), "{}", remote.lines);

    bench.shard.set_lines(&client, 1, Lines::DTR | Lines::RTS, Lines::DTR).unwrap();
    bench.hears(&client, 1, &Happened::Lines(Lines::DTR | Lines::DSR | Lines::DCD));
    bench.shard.set_lines(&client, 1, Lines::DTR | Lines::RTS, Lines::DTR | Lines::RTS).unwrap();
    let all = Lines::DTR | Lines::RTS | Lines::DSR | Lines::DCD | Lines::CTS;
    bench.hears(&client, 1, &Happened::Lines(all));
    bench.shard.send_break(&client, 1, Duration::from_millis(5)).unwrap();
    bench.hears(&server, 0, &Happened::Break);
    bench.hears(&client, 1, &Happened::Break);

    let line = TcpStream::connect(near).unwrap();
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = pattern(300_000, 7);
    bytes.iter_mut().step_by(5).for_each(|b| *b = 255);
    std::thread::scope(|scope| {
        scope.spawn(|| (&line).write_all(&bytes).unwrap());
        let mut back = vec![0; bytes.len()];
        (&line).read_exact(&mut back).unwrap();
        assert!(back == bytes, "the bytes differ");
    });
    wait_until("all bytes are counted at both links", || {
        let directions = [&server, &client].map(|link| link.stats().directions);
        directions.iter().flatten().all(|d| (d.bytes_in, d.bytes_out) == (300_000, 300_000))
    });
}

#[test]
fn two_applications_have_a_null_modem_between_them_and_one_that_dies_lets_go() {
    let bench = Bench::new();
    let (a, b) = (open(SERVER, &bench.runtime), open(SERVER, &bench.runtime));
    let (at_a, at_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let _link = bench.shard.add_link(a, b, LinkOptions::default()).unwrap();
    let mut watcher = Bare::connect(at_a);
    watcher.hears(&com_port(107, &[0]));
    watcher.say(&com_port(10, &[16]));
    watcher.hears(&com_port(110, &[16]));
    let mut dying = Bare::connect(at_b);
    dying.say(&[com_port(5, &[8]), com_port(5, &[11]), com_port(5, &[5])].concat());
    dying.hears(&com_port(105, &[5]));
    // A null modem: DTR is DSR and DCD here, RTS is CTS.
    watcher.hears(&com_port(107, &[0xbb]));
    watcher.hears(&com_port(106, &[16]));
    drop(dying);
    watcher.hears(&com_port(106, &[0]));
    watcher.hears(&com_port(107, &[0x0b]));
}

#[test]
fn a_pause_holds_data_back_and_counts_it() {
    let bench = Bench::new();
    let (a, b) = (open(SERVER, &bench.runtime), open("tcp-listen:127.0.0.1:0", &bench.runtime));
    let (at, far) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let link = bench.shard.add_link(a, b, LinkOptions::default()).unwrap();
    let mut client = Bare::connect(at);
    client.hears(&com_port(107, &[0]));
    let mut line = TcpStream::connect(far).unwrap();
    line.write_all(b"before").unwrap();
    client.hears(b"before");
    client.say(&[com_port(8, &[]), com_port(4, &[2])].concat());
    client.hears(&com_port(104, &[2]));
    line.write_all(b"held back").unwrap();
    wait_until("the bytes are pending", || link.stats().directions[1].pending == 9);
    // Commands are answered all the same.
    client.say(&com_port(4, &[0]));
    client.hears(&com_port(104, &[2]));
    assert_eq!((client.1.len(), link.stats().directions[1].pending), (0, 9));
    client.say(&com_port(9, &[]));
    client.hears(b"held back");
    wait_until("nothing is pending", || link.stats().directions[1].pending == 0);
}

#[test]
fn data_that_comes_before_an_agreement_is_not_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // In pieces that end within an IAC, with data in between.
        for piece in [&b"\xff\xfb"[..], b"\x00early\xff", b"\xff", b"data\xff\xfd", b"\x2c", b"late"] {
            stream.write_all(piece).unwrap();
            std::thread::yield_now();
        }
        let mut bare = Bare(stream, Vec::new());
        // Set only now, and data only after that.
        bare.hears(&com_port(1, &[0, 0, 0x25, 0x80]));
        bare.hears(b"ping");
        bare
    });
    let bench = Bench::new();
    let a = open("tcp-listen:127.0.0.1:0", &bench.runtime);
    let mut line = TcpStream::connect(a.local_addr().unwrap()).unwrap();
    let b = open(&format!("rfc2217:{at}"), &bench.runtime);
    let _link = bench.shard.add_link(a, b, LinkOptions::default()).unwrap();
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    line.write_all(b"ping").unwrap();
    let mut seen = [0; 14];
    line.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"early\xffdatalate");
    drop(server.join().unwrap());
}

/// What opening says about a server that answers like this.
#[track_caller]
fn refusal(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(answer).unwrap();
        // Until the client hangs up, if we do not.
        if !answer.is_empty() {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let (_tmp, runtime) = runtime();
    let url: PortUrl = format!("rfc2217:{at}").parse().unwrap();
    let error = OpenPort::open(&url, &runtime, &|| false).expect_err("refused").to_string();
    server.join().unwrap();
    error
}

#[test]
fn a_server_that_is_none_is_said_to_be_none() {
    let said = refusal(b"\xff\xfe\x2c");
    assert!(said.contains("COM port control") && said.contains("tcp: port"), "{said}");
    let said = refusal(b"");
    assert!(said.contains("nobody answers"), "{said}");
}

/// Lets both ends talk until they are silent; answers how much payload each got.
fn talk(client: &mut Client, server: &mut Server, buffer: &mut [u8; 4096]) -> [usize; 2] {
    let mut got = [0; 2];
    loop {
        let n = client.outgoing().len().min(buffer.len());
        buffer[..n].copy_from_slice(&client.outgoing()[..n]);
        client.sent(n);
        let mut raw = 0..n;
        loop {
            match server.next(buffer, &mut raw) {
                Came::Bytes(bytes) => got[0] += bytes.len(),
                Came::Signal(signal) => server.answer(&signal),
                Came::End => break,
            }
        }
        let m = server.outgoing().len().min(buffer.len());
        buffer[..m].copy_from_slice(&server.outgoing()[..m]);
        server.sent(m);
        let mut raw = 0..m;
        loop {
            match client.next(buffer, &mut raw) {
                Came::Bytes(bytes) => got[1] += bytes.len(),
                Came::Signal(_) => {}
                Came::End => break,
            }
        }
        if n == 0 && m == 0 {
            return got;
        }
    }
}

#[test]
fn neither_end_allocates_while_it_is_driven() {
    let (mut client, mut server) = (Client::new(&SerialOptions::default()), Server::new());
    let (mut buffer, bytes) = ([0; 4096], [0x41, 255, 0x42, 255, 255].repeat(100));
    let calls = allocator_calls();
    server.connected();
    talk(&mut client, &mut server, &mut buffer);
    let mut got = [0; 2];
    for n in 0..2000 {
        assert_eq!((client.payload(&bytes), server.payload(&bytes)), (500, 500));
        client.apply(&Signal::Lines(if n % 2 == 0 { Lines::DTR } else { Lines::RTS }));
        client.apply(&Signal::Break(n % 2 == 0));
        server.show(&Signal::Lines(if n % 2 == 0 { Lines::CTS } else { Lines::DSR }));
        server.show(&Signal::Break(n % 2 == 0));
        let [up, down] = talk(&mut client, &mut server, &mut buffer);
        got = [got[0] + up, got[1] + down];
    }
    assert_eq!((got, allocator_calls() - calls), ([1_000_000; 2], 0));
}

#[test]
fn a_server_that_returns_finds_the_port_set_as_before() {
    let mut bench = Bench::new();
    let (server, at) = bench.link(SERVER, "loop:");
    let url = format!("rfc2217:{at}?baud=300&dtr=on");
    let (client, near) = bench.link("tcp-listen:127.0.0.1:0", &url);
    bench.shard.remove_link(server);
    bench.hears(&client, 1, &Happened::Lost);
    let (server, _) = bench.link(&format!("rfc2217-listen:{at}"), "loop:");
    let stats = client.ports()[1].clone();
    let again = OpenPort::reopen(&url.parse().unwrap(), &bench.runtime, stats, &|| false).unwrap();
    bench.shard.replace_port(&client, 1, again).unwrap();
    let remote = server.ports()[1].snapshot();
    assert!(remote.baud == 300 && remote.lines.has(Lines::DTR), "{} {}", remote.baud, remote.lines);
    let mut line = TcpStream::connect(near).unwrap();
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    line.write_all(b"back").unwrap();
    let mut back = [0; 4];
    line.read_exact(&mut back).unwrap();
    assert_eq!((&back, client.ports()[1].snapshot().reconnects), (b"back", 1));
}

#[test]
fn a_port_is_free_when_its_client_has_gone() {
    let bench = Bench::new();
    let (link, at) = bench.link(SERVER, "loop:");
    let port = &link.ports()[0];
    for opens in 1..20 {
        let mut client = Bare::connect(at);
        client.say(b"hello");
        client.hears(b"hello");
        drop(client);
        wait_until("the port is free", || !port.snapshot().peer_open && port.snapshot().opens == opens);
    }
}
