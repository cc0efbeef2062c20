//! `link` and `pair`: bridge work without a daemon, on virtual ports. Every byte is compared.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use hilrig_tests::{Line, Sandbox, pattern, wait_for};
use rustix::process::Signal;
use serde_json::Value;

use crate::one_sentence;

/// Sends bytes both ways at once and compares them.
fn exact(a: &Line, b: &Line, count: u64) {
    a.open_through_to(b);
    b.open_through_to(a);
    std::thread::scope(|scope| {
        for (seed, from, to) in [(1, a, b), (2, b, a)] {
            let bytes: Vec<u8> = (0..count).map(|at| pattern(seed, at)).collect();
            let expected = bytes.clone();
            scope.spawn(move || from.write(&bytes).unwrap());
            scope.spawn(move || assert!(to.read(count as usize).unwrap() == expected, "bytes {seed} differ"));
        }
    });
}

#[test]
fn link_carries_every_byte_value_both_ways() {
    let sandbox = Sandbox::new();
    let child = sandbox.links(&["link", "--json", "pty:one", "pty:two"], 1);
    let (one, two) = (Line::open(&sandbox.port("one")), Line::open(&sandbox.port("two")));
    exact(&one, &two, 300_000);
    let said: Value = serde_json::from_str(&child.stop(Signal::INT)).expect("stdout is JSON");
    for row in said["traffic"].as_array().expect("traffic") {
        assert!(row["bytesOut"].as_u64().unwrap() >= 300_000, "{row}");
        assert_eq!((&row["pending"], &row["faultBytes"]), (&0.into(), &0.into()), "{row}");
    }
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}

#[test]
fn several_links_in_one_process() {
    let sandbox = Sandbox::new();
    let child = sandbox.links(&["link", "pty:a", "pty:b", "pty:c", "pty:d", "pty:e", "pty:f"], 3);
    for (from, to) in [("a", "b"), ("c", "d"), ("e", "f")] {
        exact(&Line::open(&sandbox.port(from)), &Line::open(&sandbox.port(to)), 10_000);
    }
    let said = child.stop(Signal::TERM);
    assert_eq!(said.lines().filter(|l| l.starts_with("link ")).count(), 6, "{said}");
}

#[test]
fn link_over_sockets_and_existing_terminals() {
    let sandbox = Sandbox::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = sandbox.scratch().join("line.sock");
    let pair = sandbox.links(&["pair", "far"], 1);
    let far = sandbox.port("far.a");
    let tcp = format!("tcp-listen:{free}");
    let unix = format!("unix-listen:{}", socket.display());
    let child = sandbox.links(&["link", far.to_str().unwrap(), &tcp, "pty:x", &unix], 2);
    let stream = wait_for("the TCP port listens", || TcpStream::connect(free).ok());
    echo_back(&Line::open(&sandbox.port("far.b")), stream);
    let stream = wait_for("the Unix port listens", || UnixStream::connect(&socket).ok());
    echo_back(&Line::open(&sandbox.port("x")), stream);
    child.stop(Signal::INT);
    pair.stop(Signal::INT);
    assert!(!socket.exists());
}

/// What goes in at the line comes out at the stream, and back.
fn echo_back(line: &Line, stream: impl std::io::Read + std::io::Write + Send + 'static) {
    let (mut stream, bytes) = (stream, (0..=255).cycle().take(5000).collect::<Vec<u8>>());
    let knock = std::thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut block) {
            stream.write_all(&block[..n]).unwrap();
        }
    });
    line.open_through_to(line);
    line.write(&bytes).unwrap();
    assert_eq!(line.read(bytes.len()).unwrap(), bytes);
    drop(knock);
}

#[test]
fn a_killed_link_is_in_nobodys_way() {
    let sandbox = Sandbox::new();
    let child = sandbox.links(&["link", "pty:one", "pty:two"], 1);
    let second = sandbox.run(["link", "pty:one", "pty:three"]);
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.stderr.contains(&child.pid().to_string()), "says who has it: {second:?}");
    assert!(sandbox.port("three").symlink_metadata().is_err(), "nothing of it is left");
    child.kill9();
    let child = sandbox.links(&["link", "pty:one", "pty:two"], 1);
    exact(&Line::open(&sandbox.port("one")), &Line::open(&sandbox.port("two")), 1000);
    child.stop(Signal::INT);
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}

#[test]
fn pair_is_a_null_modem() {
    let sandbox = Sandbox::new();
    let child = sandbox.links(&["pair", "bench"], 1);
    exact(&Line::open(&sandbox.port("bench.a")), &Line::open(&sandbox.port("bench.b")), 10_000);
    child.stop(Signal::INT);
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_wrong_url_is_shown_with_a_caret() {
    let sandbox = Sandbox::new();
    for (url, at, said) in [
        ("plc:what", 0, "plc"),
        ("ttyUSB0", 0, "ttyUSB0"),
        ("/dev/ttyS0?baud=fast", 16, "fast"),
        ("/dev/ttyS0?speed=9600", 11, "baud"),
        ("/dev/ttyS0?format=8X1", 18, "8N1"),
        ("tcp:127.0.0.1:99999", 14, "65535"),
        ("tcp:127.0.0.1", 13, "HOST:PORT"),
        ("pty:", 4, "name"),
        ("pty:a/b", 5, "/"),
        ("pty:a?baud=5", 5, "option"),
        ("unix:", 5, "path"),
    ] {
        for args in [["link", url, "pty:x"], ["link", "pty:x", url]] {
            let output = sandbox.run(args);
            assert_eq!(output.code, Some(2), "{output:?}");
            assert!(output.stderr.contains(said), "{url}: {output:?}");
            let mut lines = output.stderr.lines().skip_while(|l| !l.trim_start().starts_with(url));
            let shown = lines.next().unwrap_or_else(|| panic!("{url} is not shown: {output:?}"));
            let caret = lines.next().and_then(|l| l.find('^')).expect("a caret below it");
            assert_eq!(caret - shown.find(url).unwrap(), at, "{output:?}");
        }
    }
    let odd = sandbox.run(["link", "pty:a", "pty:b", "pty:c"]);
    assert!(one_sentence(&odd, 2).contains("pty:c"));
    let absent = sandbox.run(["link", "/dev/hilrig-absent-1", "pty:b"]);
    assert!(one_sentence(&absent, 3).contains("/dev/hilrig-absent-1"));
    let later = sandbox.run(["link", "ble:thing?service=nus", "pty:b"]);
    assert!(one_sentence(&later, 3).contains("ble"));
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}
