//! Ports that are lost and come back, and listeners with several callers: what is discarded is counted exactly, and the
//! other side loses nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use common::{App, PATIENCE, adds_up, open, open_pty, pattern, runtime, sleeps, wait_until};
use hilrig_port::{
    Events, Happened, Link, LinkOptions, OpenPort, PortState, PortStats, PortUrl, Runtime, Shard, TapKind,
    tap,
};

fn event(events: &mut Events, side: usize, what: Happened) {
    common::event(events, |s, w| ((s, w) == (side, what)).then_some(()));
}

fn reopen(url: &str, runtime: &Runtime, stats: &Arc<PortStats>) -> OpenPort {
    let url: PortUrl = url.parse().unwrap();
    OpenPort::reopen(&url, runtime, stats.clone(), &|| false).unwrap_or_else(|e| panic!("{e}"))
}

/// A far end that closes, comes back and is reached again: `peer` accepts the port's connections.
fn comes_back<S: Read + Write>(url: &str, runtime: &Runtime, peer: impl Fn() -> S) {
    let client = open(url, runtime);
    let mut served = peer();
    let (pty, far, _) = open_pty("b", runtime);
    let shard = Shard::start("test").unwrap();
    let mut events = shard.events();
    let (tapped, mut reader) = tap(1 << 16);
    let options = LinkOptions { tap: Some(tapped), ..LinkOptions::default() };
    let link = shard.add_link(client, pty, options).unwrap();
    let port = link.ports()[0].clone();
    let app = App::open(&far);
    for round in 1..=3 {
        served.write_all(b"to b").unwrap();
        assert_eq!(app.read(4), b"to b");
        app.write(b"to a");
        let mut got = [0; 4];
        served.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"to a");

        served.write_all(b"bye").unwrap();
        drop(served);
        assert_eq!(app.read(3), b"bye", "what was said before the loss arrives");
        event(&mut events, 0, Happened::Lost);
        let s = port.snapshot();
        assert_eq!((s.state, s.peer_open, port.gone()), (PortState::Waiting, false, true));
        assert!(s.reason.contains("the other side closed the connection"), "{}", s.reason);
        let bytes = pattern(10_000, round);
        app.write(&bytes);
        let all = 10_000 * u64::from(round);
        wait_until("bytes for the lost port are discarded", || port.snapshot().discarded_bytes == all);
        assert_eq!(link.stats().directions[1].discarded_bytes, all);
        sleeps(&shard);

        let again = reopen(url, runtime, &port);
        served = peer();
        shard.replace_port(&link, 0, again).unwrap();
        event(&mut events, 0, Happened::Came);
        let s = port.snapshot();
        assert_eq!((s.state, s.peer_open, s.reason.as_str()), (PortState::Open, true, ""));
        assert_eq!(s.reconnects, u64::from(round));
    }
    app.write(b"end");
    served.read_exact(&mut [0; 3]).unwrap();
    wait_until("all is counted", || link.stats().directions[1].bytes_out == 15);
    assert_eq!(port.snapshot().tx_bytes, 15, "the counters went on");
    adds_up(&link.stats());

    // The capture shows the gaps and how much fell into them.
    let (mut kinds, mut discarded) = (Vec::new(), 0);
    while let Some(record) = reader.next_record() {
        match record.kind {
            TapKind::Gone | TapKind::Back => kinds.push((record.kind, record.side)),
            TapKind::Discarded => discarded += record.value,
            _ => {}
        }
    }
    assert_eq!(kinds, [(TapKind::Gone, 0), (TapKind::Back, 0)].repeat(3));
    assert_eq!(discarded, 30_000);
}

#[test]
fn a_tcp_connection_that_breaks_is_replaced() {
    let (_tmp, runtime) = runtime();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp:{}", server.local_addr().unwrap());
    comes_back(&url, &runtime, || server.accept().unwrap().0);
}

#[test]
fn a_unix_socket_that_breaks_is_replaced() {
    let (tmp, runtime) = runtime();
    let path = tmp.path().join("s");
    let server = UnixListener::bind(&path).unwrap();
    comes_back(&format!("unix:{}", path.display()), &runtime, || server.accept().unwrap().0);
}

#[test]
fn a_pulled_virtual_port_vanishes_and_returns_under_its_name() {
    let (tmp, runtime) = runtime();
    let (a, far_a, _) = open_pty("a", &runtime);
    let (b, far_b, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let mut events = shard.events();
    let link = shard.add_link(a, b, LinkOptions::default()).unwrap();
    let port = link.ports()[1].clone();
    let app_a = App::open(&far_a);
    for round in 1..=5u64 {
        let app_b = App::open(&far_b);
        app_a.write(b"here");
        assert_eq!(app_b.read(4), b"here");
        shard.lose_port(&link, 1, "pulled by the test").unwrap();
        event(&mut events, 1, Happened::Lost);
        // The line was closed before the call came back.
        assert!(std::fs::symlink_metadata(tmp.path().join("b")).is_err());
        assert_eq!((port.state(), port.snapshot().reason), (PortState::Waiting, "pulled by the test".into()));
        // Who has it open sees it hung up, as a program does whose adapter is pulled.
        wait_until("the program sees it gone", || {
            let mut fds = [rustix::event::PollFd::new(&app_b.0, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
            fds[0].revents().contains(rustix::event::PollFlags::HUP)
        });
        app_a.write(b"nobody");
        wait_until("bytes are discarded", || link.stats().directions[0].discarded_bytes == 6 * round);
        sleeps(&shard);
        shard.replace_port(&link, 1, reopen("pty:b", &runtime, &port)).unwrap();
        assert_eq!((port.state(), port.snapshot().reconnects), (PortState::Open, round));
    }
    assert_eq!(link.stats().directions[0].bytes_out, 20);
    adds_up(&link.stats());
    shard.remove_link(link);
    assert!(std::fs::symlink_metadata(tmp.path().join("b")).is_err());
}

#[test]
fn a_loss_while_the_other_side_is_stalled_costs_only_what_was_for_the_lost_one() {
    let (_tmp, runtime) = runtime();
    let (a, far_a, _) = open_pty("a", &runtime);
    let (b, far_b, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(a, b, LinkOptions::default()).unwrap();
    let (app_a, app_b) = (App::open(&far_a), App::open(&far_b));
    let bytes = pattern(1_000_000, 8);
    let fill = |app: &App, direction: usize| {
        let mut sent = 0;
        wait_until("the line is full", || {
            let n = app.write_some(&bytes[sent..]);
            sent += n;
            n == 0 && link.stats().directions[direction].pending > 0
        });
        sent
    };
    let (to_b, to_a) = (fill(&app_a, 0), fill(&app_b, 1));
    let before = link.stats();
    shard.lose_port(&link, 1, "pulled").unwrap();
    // What B had said and was read is still A's; what was in B's own buffers went with it.
    let read = before.directions[1].bytes_in as usize;
    assert!(read < to_a);
    assert!(app_a.read(read) == bytes[..read]);
    // All that A writes is taken, and counted.
    wait_until("A is heard out", || {
        let d = &link.stats().directions[0];
        d.bytes_in == to_b as u64 && d.discarded_bytes == to_b as u64 - before.directions[0].bytes_out
    });
    adds_up(&link.stats());
    shard.replace_port(&link, 1, reopen("pty:b", &runtime, &link.ports()[1])).unwrap();
    let app_b = App::open(&far_b);
    app_a.write(b"again");
    assert_eq!(app_b.read(5), b"again");
    app_b.write(b"yes");
    assert_eq!(app_a.read(3), b"yes");
}

struct Listener {
    _tmp: tempfile::TempDir,
    shard: Shard,
    link: Link,
    address: SocketAddr,
    port: Arc<PortStats>,
    app: App,
}

fn listener(policy: &str) -> Listener {
    listening("tcp-listen", policy)
}

fn listening(kind: &str, policy: &str) -> Listener {
    let (tmp, runtime) = runtime();
    let listener = open(&format!("{kind}:127.0.0.1:0?policy={policy}"), &runtime);
    let address = listener.local_addr().unwrap();
    let (pty, far, _) = open_pty("b", &runtime);
    let shard = Shard::start("test").unwrap();
    let link = shard.add_link(listener, pty, LinkOptions::default()).unwrap();
    let port = link.ports()[0].clone();
    Listener { _tmp: tmp, shard, link, address, port, app: App::open(&far) }
}

impl Listener {
    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn observers(&self, n: u32) {
        wait_until(&format!("{n} observers"), || self.port.snapshot().observers == n);
    }
}

fn reads(client: &mut TcpStream, want: &[u8]) {
    let mut got = vec![0; want.len()];
    client.read_exact(&mut got).unwrap();
    assert!(got == want);
}

#[test]
fn with_kick_the_newest_client_has_the_port() {
    let l = listener("kick");
    let mut before: Option<TcpStream> = None;
    for i in 1..=20u32 {
        let mut client = l.connect();
        if let Some(mut old) = before.take() {
            assert!(matches!(old.read(&mut [0]), Ok(0) | Err(_)), "the old client was not put out");
        }
        wait_until("the new client is in", || l.port.snapshot().opens == u64::from(i));
        client.write_all(&i.to_le_bytes()).unwrap();
        assert_eq!(l.app.read(4), i.to_le_bytes());
        l.app.write(b"hello");
        reads(&mut client, b"hello");
        before = Some(client);
    }
    adds_up(&l.link.stats());
}

#[test]
fn with_kick_a_network_serial_port_begins_anew_with_each_client() {
    let l = listening("rfc2217-listen", "kick");
    let mut greeting = [0; 15];
    let mut old = l.connect();
    old.read_exact(&mut greeting).unwrap();
    // Half a command, which must not be taken for the beginning of what the next one says.
    old.write_all(&[0xff, 0xfa, 0x2c, 0x01]).unwrap();
    for _ in 0..5 {
        let mut client = l.connect();
        let mut again = [0; 15];
        client.read_exact(&mut again).unwrap();
        assert_eq!(again, greeting);
        client.write_all(b"bytes").unwrap();
        assert_eq!(l.app.read(5), b"bytes");
        wait_until("the old client is put out", || matches!(old.read(&mut [0; 64]), Ok(0) | Err(_)));
        old = client;
    }
    // Nobody looks on here: a second one is turned away.
    let l = listening("rfc2217-listen", "refuse");
    let mut first = l.connect();
    first.read_exact(&mut greeting).unwrap();
    assert!(matches!(l.connect().read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn with_share_the_first_writes_the_others_look_on_and_the_oldest_follows() {
    let l = listener("share");
    let mut events = l.shard.events();
    let mut writer = l.connect();
    event(&mut events, 0, Happened::Came);
    let mut others = Vec::new();
    for n in 1..=8 {
        others.push(l.connect());
        l.observers(n);
    }
    // The tenth finds no place.
    assert!(matches!(l.connect().read(&mut [0]), Ok(0) | Err(_)));
    l.app.write(b"for all");
    writer.write_all(b"from the writer").unwrap();
    assert_eq!(l.app.read(15), b"from the writer");
    reads(&mut writer, b"for all");
    for other in &mut others {
        reads(other, b"for all");
        other.write_all(b"not heard").unwrap();
    }
    // One that leaves makes room.
    drop(others.remove(3));
    l.observers(7);
    others.push(l.connect());
    l.observers(8);

    drop(writer);
    event(&mut events, 0, Happened::Left);
    event(&mut events, 0, Happened::Came);
    l.observers(7);
    let mut writer = others.remove(0);
    writer.write_all(b"my turn").unwrap();
    // What it said as an observer was dropped, unless it was still on its way when its turn came.
    let heard = l.app.read(7);
    if heard != b"my turn" {
        assert_eq!(heard, b"not hea");
        assert_eq!(l.app.read(9), b"rdmy turn");
    }
    l.app.write(b"again");
    reads(&mut writer, b"again");
    others.iter_mut().for_each(|other| reads(other, b"again"));
    assert_eq!(l.port.snapshot().observer_lost_bytes, 0);
    adds_up(&l.link.stats());
}

#[test]
fn a_slow_observer_loses_counted_bytes_and_holds_up_nobody() {
    let l = listener("share");
    let mut writer = l.connect();
    wait_until("the writer is in", || l.port.snapshot().opens == 1);
    let mut slow = l.connect();
    l.observers(1);
    // More than the buffers of a socket that nobody reads.
    let bytes = pattern(20_000_000, 4);
    std::thread::scope(|s| {
        s.spawn(|| l.app.write(&bytes));
        reads(&mut writer, &bytes);
    });
    let lost = l.port.snapshot().observer_lost_bytes;
    assert!(lost > 0, "nothing was lost: the test's buffers are too small");
    // What it did get, and what it lost, is everything.
    l.app.write(b"end");
    reads(&mut writer, b"end");
    drop(l.shard);
    let mut got = Vec::new();
    slow.read_to_end(&mut got).unwrap();
    assert_eq!(got.len() as u64 + l.port.snapshot().observer_lost_bytes, 20_000_003);
}
