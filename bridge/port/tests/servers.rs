//! Servers with many callers on a shard: what they hear and say, who comes and goes, what a bad caller costs the others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/lines_server.rs"]
mod lines_server;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::time::Duration;

use common::{App, PATIENCE, open, open_pty, pattern, runtime, sleeps, wait_until};
use hilrig_port::{Calls, LineEvent, OpenPort, PortState, PortUrl, Shard, Time};
use lines_server::{BIG, Bench, Lines, hears, is_over, says};

#[test]
fn callers_come_speak_and_go_and_the_counters_say_so() {
    let bench = Bench::new();
    let port = bench.server.port();
    assert_eq!((port.state(), bench.server.callers()), (PortState::Waiting, 0));
    let mut clients: Vec<_> = (0..5).map(|_| bench.call()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        says(client, format!("line {i}\n").as_bytes());
    }
    let seen = port.snapshot();
    assert_eq!((seen.state, seen.callers, seen.opens, seen.refused), (PortState::Open, 5, 5, 0));
    assert_eq!(seen.rx_bytes, 35);
    wait_until("what was taken is counted", || port.snapshot().tx_bytes == 35);
    // One in the middle goes, and the next takes its place and number.
    drop(clients.remove(2));
    bench.callers(4);
    let mut late = bench.call();
    says(&mut late, b"hello\n");
    assert_eq!(bench.ask(|lines| (lines.here.iter().map(|c| c.0).max(), lines.closed)), (Some(4), 1));
    // One that the server ends gets all that was said before, and nothing after.
    late.write_all(b"a\nbye\nb\n").unwrap();
    hears(&mut late, b"a\nbye\n");
    is_over(&mut late);
    bench.callers(4);
    drop(clients);
    bench.callers(0);
    assert_eq!((port.state(), port.snapshot().opens), (PortState::Waiting, 6));
    sleeps(&bench.shard);
    let mut last = bench.call();
    says(&mut last, b"x\n");
    let Bench { shard, server, .. } = bench;
    let back: Box<dyn std::any::Any> = shard.remove_server(server).unwrap();
    is_over(&mut last);
    let lines = back.downcast::<Lines>().unwrap();
    assert_eq!((lines.closed, lines.here.len(), lines.most), (7, 0, 5));
}

#[test]
fn a_server_sends_away_whom_it_has_no_room_for() {
    let bench = Bench::with(Lines { room: Some(2), ..Lines::default() });
    let mut clients: Vec<_> = (0..2).map(|_| bench.call()).collect();
    clients.iter_mut().for_each(|c| says(c, b"in\n"));
    for _ in 0..10 {
        is_over(&mut bench.call());
    }
    clients.iter_mut().for_each(|c| says(c, b"still in\n"));
    clients.pop();
    bench.callers(1);
    let seen = bench.server.port().snapshot();
    assert_eq!((seen.opens, seen.refused), (2, 10));
    says(&mut bench.call(), b"in at last\n");
}

#[test]
fn a_thousand_callers_are_served_each_its_own() {
    let bench = Bench::new();
    let mut clients: Vec<_> = (0..1000).map(|_| bench.call()).collect();
    for round in 0..3 {
        for (i, client) in clients.iter_mut().enumerate() {
            client.write_all(format!("{round} {i}\n").as_bytes()).unwrap();
        }
        for (i, client) in clients.iter_mut().enumerate() {
            hears(client, format!("{round} {i}\n").as_bytes());
        }
    }
    assert_eq!((bench.server.callers(), bench.ask(|lines| lines.most)), (1000, 1000));
    sleeps(&bench.shard);
    // Half of them vanish while the others go on.
    for (i, client) in clients.into_iter().enumerate() {
        if i % 2 == 0 {
            drop(client);
        } else {
            let mut client = client;
            says(&mut client, b"still here\n");
            std::mem::forget(client);
        }
    }
    bench.callers(500);
}

#[test]
fn bytes_may_come_one_by_one_and_many_requests_at_once() {
    let bench = Bench::new();
    let mut slow = bench.call();
    slow.set_nodelay(true).unwrap();
    let mut many = bench.call();
    let requests: Vec<u8> = (0..5000).flat_map(|i| format!("request {i}\n").into_bytes()).collect();
    std::thread::scope(|s| {
        let (mut to, all) = (many.try_clone().unwrap(), &requests);
        s.spawn(move || to.write_all(all).unwrap());
        for line in [&b"one byte\n"[..], b"at a\n", b"time\n"] {
            line.iter().for_each(|b| slow.write_all(&[*b]).unwrap());
            hears(&mut slow, line);
        }
        hears(&mut many, &requests);
    });
}

#[test]
fn a_caller_that_never_reads_is_not_read_either_and_costs_the_others_nothing() {
    let bench = Bench::new();
    let mut good = bench.call();
    let mut bad = bench.call();
    says(&mut good, b"before\n");
    says(&mut bad, b"before\n");
    bad.set_nonblocking(true).unwrap();
    let line = [&pattern(999, 1).iter().map(|b| b | 0x80).collect::<Vec<_>>()[..], b"\n"].concat();
    // Until nothing is taken any more: both sides' buffers are full then.
    let (mut said, mut stuck) = (Vec::new(), 0);
    while stuck < 50 {
        match bad.write(&line) {
            Ok(n) => {
                said.extend_from_slice(&line[..n]);
                assert!(said.len() < 100_000_000, "the server reads without end");
                if n < line.len() {
                    // The rest of a line, so that lines stay whole.
                    bad.set_nonblocking(false).unwrap();
                    bad.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                    let mut at = n;
                    while at < line.len() {
                        match bad.write(&line[at..]) {
                            Ok(n) => at += n,
                            Err(_) => break,
                        }
                    }
                    said.extend_from_slice(&line[n..at]);
                    bad.set_nonblocking(true).unwrap();
                    if at < line.len() {
                        break;
                    }
                }
            }
            Err(_) => {
                stuck += 1;
                says(&mut good, b"meanwhile\n");
            }
        }
    }
    sleeps(&bench.shard);
    says(&mut good, b"after\n");
    // When it reads at last, all is there: no answer was lost, however long it took.
    let whole = said.iter().rposition(|b| *b == b'\n').unwrap() + 1;
    bad.set_nonblocking(false).unwrap();
    hears(&mut bad, &said[..whole]);
}

#[test]
fn a_caller_that_takes_nothing_of_much_is_dropped_and_one_that_is_to_go_may_take_its_time() {
    let (tmp, runtime) = runtime();
    let path = tmp.path().join("s");
    let shard = Shard::start("test").unwrap();
    let listener = open(&format!("unix-listen:{}", path.display()), &runtime);
    let server = shard.add_server(listener, None, Box::new(Lines::default())).unwrap();
    let call = || {
        let client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    };
    // Closed with answers on their way: they arrive, if they are taken.
    let mut taking = call();
    taking.write_all(b"big\nbig\nbye\n").unwrap();
    hears(&mut taking, &[b'x'; 2 * BIG]);
    hears(&mut taking, b"bye\n");
    is_over(&mut taking);
    // If they are not, the connection is over all the same.
    let mut leaving = call();
    leaving.write_all(b"big\nbig\nbye\n").unwrap();
    wait_until("it was waited for", || {
        shard.with_server(&server, |l: &mut Lines, _, _| l.closed == 2).unwrap()
    });
    drop(leaving);
    // Said by the server of its own accord, without end.
    let mut bad = call();
    says(&mut bad, b"here\n");
    for _ in 0..10 {
        let push = |l: &mut Lines, _: Time, calls: &mut Calls| {
            if let Some(caller) = l.here.first() {
                calls.send(*caller, &[b'x'; BIG]);
            }
        };
        shard.with_server(&server, push).unwrap();
    }
    wait_until("the bad one is dropped", || server.callers() == 0);
    assert!(server.port().snapshot().discarded_bytes >= BIG as u64);
    says(&mut call(), b"the next is served\n");
}

#[test]
fn callers_that_vanish_in_any_way_are_gone_and_nothing_else_happens() {
    let bench = Bench::new();
    let mut good = bench.call();
    let reset = |client: &TcpStream| {
        rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO)).unwrap();
    };
    for round in 0..50 {
        let mut client = bench.call();
        match round % 5 {
            // Without a word.
            0 => {}
            // With a word half said, by a reset.
            1 => {
                client.write_all(b"half a li").unwrap();
                reset(&client);
            }
            // With answers on their way.
            2 => client.write_all(b"big\nbig\nbig\n").unwrap(),
            // The same, by a reset.
            3 => {
                client.write_all(b"big\nlater\nbig\n").unwrap();
                reset(&client);
            }
            // With an answer that is still to come.
            _ => client.write_all(b"later\n").unwrap(),
        }
        drop(client);
        says(&mut good, b"all is well\n");
    }
    bench.callers(1);
    assert_eq!(bench.ask(|lines| (lines.here.len(), lines.later.len())), (1, 0));
    sleeps(&bench.shard);
}

#[test]
fn one_that_has_said_all_still_gets_its_answers() {
    let bench = Bench::new();
    for (said, answer) in
        [(&b"now\n"[..], &b"now\n"[..]), (b"later\n", b"later\n"), (b"a\nlater\n", b"a\nlater\n")]
    {
        let mut client = bench.call();
        client.write_all(said).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        hears(&mut client, answer);
        is_over(&mut client);
    }
    bench.callers(0);
    // One that has no answer to come is let go, too.
    let client = bench.call();
    client.shutdown(Shutdown::Write).unwrap();
    is_over(&mut &client);
    sleeps(&bench.shard);
}

#[test]
fn what_came_while_the_shard_was_busy_is_heard_to_the_end() {
    let bench = Bench::new();
    // A word, whole reads of the server's, and what is in between.
    for size in [5, 1023, 1024, 1025, 2048, 10_000] {
        let line: Vec<u8> = (0..size - 1).map(|i| b'a' + (i % 26) as u8).chain([b'\n']).collect();
        let (mut open, mut ended, mut reset) = (bench.call(), bench.call(), bench.call());
        bench.callers(3);
        let (busy, held) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|s| {
            s.spawn(|| {
                bench.ask(|_| {
                    busy.wait();
                    held.wait();
                });
            });
            busy.wait();
            for client in [&mut open, &mut ended, &mut reset] {
                client.write_all(&line).unwrap();
            }
            ended.shutdown(Shutdown::Write).unwrap();
            rustix::net::sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
            drop(reset);
            held.wait();
        });
        hears(&mut open, &line);
        says(&mut open, b"and more\n");
        hears(&mut ended, &line);
        is_over(&mut ended);
        bench.callers(1);
        drop(open);
        bench.callers(0);
    }
    sleeps(&bench.shard);
}

#[test]
fn a_gateway_speaks_with_its_line() {
    let (_tmp, runtime) = runtime();
    let shard = Shard::start("test").unwrap();
    let listener = open("tcp-listen:127.0.0.1:0", &runtime);
    let address = listener.local_addr().unwrap();
    let (pty, far, _) = open_pty("line", &runtime);
    let server = shard.add_server(listener, Some(pty), Box::new(Lines::default())).unwrap();
    let app = App::open(&far);
    let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b">to the line\n").unwrap();
        assert_eq!(app.read(12), b"to the line\n");
        app.write(b"to the caller");
        hears(client, b"to the caller");
    }
    let line = server.line().unwrap();
    assert_eq!((line.snapshot().rx_bytes, line.snapshot().tx_bytes), (39, 36));
    drop(app);
    wait_until("the line's end is told", || {
        let seen = shard.with_server(&server, |l: &mut Lines, _, _| l.line.clone()).unwrap();
        seen == [LineEvent::Opened, LineEvent::Closed]
    });
    // A line that nobody is at takes nothing; the callers are served on.
    clients[0].write_all(b">nobody\nhere\n").unwrap();
    hears(&mut clients[0], b"here\n");
    assert_eq!(line.snapshot().discarded_bytes, 7);
    // One that is lost is told to the core, and that is all.
    let (other, far, _) = open_pty("other", &runtime);
    let lost = open(far.to_str().unwrap(), &runtime);
    let listener = open("tcp-listen:127.0.0.1:0", &runtime);
    let address = listener.local_addr().unwrap();
    let server = shard.add_server(listener, Some(lost), Box::new(Lines::default())).unwrap();
    drop(other);
    wait_until("the line is lost", || server.line().unwrap().state() == PortState::Lost);
    let seen = shard.with_server(&server, |l: &mut Lines, _, _| l.line.clone()).unwrap();
    assert_eq!(seen, [LineEvent::Opened, LineEvent::Lost]);
    says(&mut TcpStream::connect(address).unwrap(), b"goes on\n");
}

#[test]
fn a_server_that_panics_is_lost_with_its_reason_and_alone() {
    std::panic::set_hook(Box::new(|_| {}));
    let bench = Bench::new();
    let good = bench.shard.add_server(
        open("tcp-listen:127.0.0.1:0", &bench.runtime),
        None,
        Box::new(Lines::default()),
    );
    let good = good.unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| bench.call()).collect();
    clients.iter_mut().for_each(|c| says(c, b"fine\n"));
    clients[1].write_all(b"panic\n").unwrap();
    clients.iter_mut().for_each(is_over);
    let port = bench.server.port();
    wait_until("the server is lost", || port.state() == PortState::Lost);
    let seen = port.snapshot();
    assert_eq!(seen.reason, "the server at this port failed: a line this server cannot stand");
    assert_eq!((seen.callers, good.port().state()), (0, PortState::Waiting));
    // It can still be asked what it knew.
    assert_eq!(bench.ask(|lines| lines.most), 3);
    sleeps(&bench.shard);
}

#[test]
fn two_shards_serve_side_by_side() {
    let benches = [Bench::new(), Bench::new()];
    std::thread::scope(|s| {
        for bench in &benches {
            s.spawn(|| {
                let mut clients: Vec<_> = (0..50).map(|_| bench.call()).collect();
                for i in 0..50 {
                    for client in &mut clients {
                        says(client, format!("{i}\n").as_bytes());
                    }
                }
            });
        }
    });
    for bench in &benches {
        bench.callers(0);
        assert_eq!(bench.server.port().snapshot().opens, 50);
        assert_eq!(bench.ask(|lines| lines.closed), 50);
    }
}

#[test]
fn what_is_no_listener_for_many_is_refused_in_a_sentence() {
    let (_tmp, runtime) = runtime();
    let shard = Shard::start("test").unwrap();
    let refused = |port: OpenPort| {
        shard.add_server(port, None, Box::new(Lines::default())).map(drop).unwrap_err().to_string()
    };
    let listens = open("tcp-listen:127.0.0.1:0", &runtime);
    let client = open(&format!("tcp:{}", listens.local_addr().unwrap()), &runtime);
    for (port, why) in [
        (client, "a server needs a listener"),
        (open_pty("p", &runtime).0, "a server needs a listener"),
        (open("rfc2217-listen:127.0.0.1:0", &runtime), "a server needs a listener"),
        (open("tcp-listen:127.0.0.1:0?policy=kick", &runtime), "take `policy=` away"),
    ] {
        let name = port.url().to_string();
        let said = refused(port);
        assert!(said.starts_with(&name) && said.contains(why), "{said}");
    }
}

/// A caller that answers when asked is timed by nobody: how late a deadline was called is in the histogram.
#[test]
fn lateness_is_recorded_for_deadlines_that_came() {
    let bench = Bench::new();
    let mut client = bench.call();
    says(&mut client, b"at once\n");
    assert_eq!(bench.server.lateness().count(), 0);
    for n in 1..=20 {
        says(&mut client, b"later\n");
        assert_eq!(bench.server.lateness().count(), n);
    }
    // Set long after it was due, it is as late as that.
    let overdue =
        |lines: &mut Lines| lines.later.push_back((Time(Time::now().0 - 3_000_000_000), lines.here[0]));
    bench.ask(overdue);
    hears(&mut client, b"later\n");
    let seen = bench.server.lateness();
    assert_eq!(seen.count(), 21);
    assert!(seen.max() >= Duration::from_secs(3) && seen.quantile(0.5) < Duration::from_secs(3));
}

/// Runs out of descriptors in a process of its own, because the limit is the process's.
#[test]
fn without_descriptors_callers_wait_and_are_served_later() {
    const MARK: &str = "HILRIG_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(MARK).is_none() {
        let me = std::env::current_exe().unwrap();
        let name = "without_descriptors_callers_wait_and_are_served_later";
        let done = std::process::Command::new(me)
            .args([name, "--exact", "--nocapture"])
            .env(MARK, "1")
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{text}");
        return;
    }
    use rustix::process::{Resource, getrlimit, setrlimit};
    let bench = Bench::new();
    let mut first = bench.call();
    says(&mut first, b"here\n");
    // As many as there are, but for those that the clients of this test take.
    let mut clients: Vec<_> = (0..20).map(|_| bench.call()).collect();
    clients.iter_mut().for_each(|c| says(c, b"in\n"));
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
                .unwrap()
        })
        .collect();
    let open_now = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit;
    limit.current = Some(open_now - 1);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut late: Vec<TcpStream> = waiting
        .into_iter()
        .map(|socket| {
            rustix::net::connect(&socket, &bench.address).unwrap();
            let client = TcpStream::from(socket);
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client
        })
        .collect();
    let port = bench.server.port();
    wait_until("it is told", || port.snapshot().accept_errors >= 2);
    assert!(bench.server.callers() < 41);
    says(&mut first, b"still here\n");
    setrlimit(Resource::Nofile, before).unwrap();
    late.iter_mut().for_each(|c| says(c, b"in at last\n"));
    assert_eq!((bench.server.callers(), port.state()), (41, PortState::Open));
}

#[test]
fn a_tls_listener_is_refused_in_a_sentence() {
    let (tmp, runtime) = runtime();
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=x",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(tmp.path())
        .output();
    if !made.is_ok_and(|m| m.status.success()) {
        eprintln!("skipped: openssl cannot be run");
        return;
    }
    let dir = tmp.path().display();
    let url = format!("tcp-listen:127.0.0.1:0?tls=on&cert={dir}/cert.pem&key={dir}/key.pem");
    let port = OpenPort::open(&url.parse::<PortUrl>().unwrap(), &runtime, &|| false).unwrap();
    let shard = Shard::start("test").unwrap();
    let refused = shard.add_server(port, None, Box::new(Lines::default())).unwrap_err().to_string();
    assert!(refused.contains("cannot speak TLS"), "{refused}");
}
