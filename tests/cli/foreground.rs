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

/// What the end report says of the direction away from a port.
fn account(said: &Value, from: &str) -> [u64; 4] {
    let rows = said["traffic"].as_array().expect("traffic").iter();
    let row = rows.clone().find(|row| row["from"] == from).unwrap_or_else(|| panic!("{from}: {said}"));
    ["bytesIn", "bytesOut", "discardedBytes", "pending"].map(|key| row[key].as_u64().unwrap())
}

#[test]
fn a_pair_takes_the_time_of_a_line_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    // 20,000 bytes take 3 minutes at this rate; nothing is measured here but what is still on its way.
    let child = sandbox.links(&["pair", "slow", "--baud", "1200", "--json"], 1);
    let (a, b) = (Line::open(&sandbox.port("slow.a")), Line::open(&sandbox.port("slow.b")));
    a.open_through_to(&b);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| a.write(&[b'x'; 20_000]));
        assert_eq!(b.read(10).unwrap(), [b'x'; 10]);
        let said: Value = serde_json::from_str(&child.stop(Signal::INT)).expect("stdout is JSON");
        let [read, written, discarded, pending] = account(&said, "pty:slow.a");
        assert_eq!(read, written + discarded + pending, "{said}");
        assert!(written < 10_000 && pending > 0, "most of it is on its way: {said}");
        // The port is gone before all is written, or the kernel has taken it all.
        let _ = writer.join();
    });
    let child = sandbox.links(&["pair", "fast", "--no-wire", "--json"], 1);
    let (a, b) = (Line::open(&sandbox.port("fast.a")), Line::open(&sandbox.port("fast.b")));
    exact(&a, &b, 200_000);
    let said: Value = serde_json::from_str(&child.stop(Signal::INT)).expect("stdout is JSON");
    assert_eq!((account(&said, "pty:fast.a")[3], &said["links"][0]["wire"]), (0, &false.into()), "{said}");
}

#[test]
fn noise_and_echo_of_a_pair_are_as_asked() {
    let sandbox = Sandbox::new();
    let args =
        ["pair", "noisy", "--baud", "115200", "--noise", "0.2", "--wire", "echo = \"a\"", "--seed", "11"];
    let child = sandbox.links(&[&args[..], &["--json"]].concat(), 1);
    let (a, b) = (Line::open(&sandbox.port("noisy.a")), Line::open(&sandbox.port("noisy.b")));
    // One bit in five: hardly a byte of a thousand comes as it was sent.
    wait_for("something comes through, and is garbled", || {
        a.write(&[0x55; 64]).unwrap();
        let mut block = [0; 256];
        let n = b.read_some(&mut block, std::time::Duration::from_millis(100)).unwrap();
        (n > 30 && block[..n].iter().filter(|b| **b != 0x55).count() > n / 2).then_some(())
    });
    let mut block = [0; 64];
    wait_for("side a hears itself", || {
        (a.read_some(&mut block, std::time::Duration::from_millis(100)).unwrap() > 0).then_some(())
    });
    let said: Value = serde_json::from_str(&child.stop(Signal::INT)).expect("stdout is JSON");
    assert_eq!((&said["links"][0]["seed"], &said["links"][0]["wire"]), (&11.into(), &true.into()), "{said}");
}

#[test]
fn faults_come_from_a_file_too_and_are_accounted_for() {
    let sandbox = Sandbox::new();
    let file = sandbox.scratch().join("faults.toml");
    std::fs::write(
        &file,
        "[[faults]]\nid = \"twice\"\ndirection = \"a->b\"\non = \"byte\"\nwhen = { text = \"2\" }\neffect = { duplicate = 1 }\n",
    )
    .unwrap();
    let args = ["link", "pty:one", "pty:two", "--json", "--faults", file.to_str().unwrap()];
    let child = sandbox.links(&args, 1);
    let (one, two) = (Line::open(&sandbox.port("one")), Line::open(&sandbox.port("two")));
    one.open_through_to(&two);
    one.write(b"123").unwrap();
    assert_eq!(two.read(4).unwrap(), b"1223");
    let said: Value = serde_json::from_str(&child.stop(Signal::INT)).expect("stdout is JSON");
    assert_eq!(said["traffic"][0]["insertedBytes"], 1, "{said}");
    assert_eq!(
        (&said["faults"][0]["rule"], &said["faults"][0]["fired"]),
        (&"twice".into(), &1.into()),
        "{said}"
    );
}

#[test]
fn a_wrong_wire_or_fault_is_shown_with_a_caret() {
    let sandbox = Sandbox::new();
    let fault = |effect: &str| format!("id='x', direction='a->b', effect={effect}");
    for (args, said, shown, at) in [
        (["--wire", "bud = 9600"], "bud", "bud = 9600".to_owned(), 0),
        (["--wire", "noise = \"much\""], "much", "noise = \"much\"".to_owned(), 8),
        (["--fault", &fault("'explode'")], "explode", fault("'explode'"), 33),
        (
            ["--fault", r#"{"id": "x", "direction": "up"}"#],
            "up",
            r#"{"id": "x", "direction": "up"}"#.to_owned(),
            28,
        ),
        (["--realtime=fif = 3", "--lines=auto"], "fif", "fif = 3".to_owned(), 0),
    ] {
        let output = sandbox.run(["link", "pty:a", "pty:b"].iter().chain(&args));
        assert_eq!(output.code, Some(2), "{output:?}");
        let lines: Vec<&str> = output.stderr.lines().collect();
        assert!(lines[0].contains(said), "{args:?}: {output:?}");
        assert_eq!(lines[1].trim_start(), shown, "{output:?}");
        assert_eq!(lines[2].find('^'), Some(at + 2), "{output:?}");
    }
    let unfit = sandbox.run([
        "link",
        "pty:a",
        "pty:b",
        "--fault",
        &fault("{ truncate = 3 }"),
        "--fault",
        &fault("'drop'"),
    ]);
    assert!(one_sentence(&unfit, 2).contains('x'), "two of one name: {unfit:?}");
    let file = sandbox.scratch().join("faults.toml");
    std::fs::write(&file, "[[faults]]\nid = \"x\"\ndirection = \"up\"\n").unwrap();
    let wrong = sandbox.run(["link", "pty:a", "pty:b", "--faults", file.to_str().unwrap()]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("line 3") && wrong.stderr.contains('^'), "{wrong:?}");
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_pair_with_the_shim_prints_what_programs_need() {
    let sandbox = Sandbox::new();
    let library = hilrig_tests::hilrig().parent().unwrap().join("libhilrig_shim.so");
    if !library.is_file() {
        let refused = sandbox.run(["pair", "bench", "--shim"]);
        assert!(one_sentence(&refused, 3).contains("libhilrig_shim.so"));
        return;
    }
    let child = sandbox.links(&["pair", "bench", "--shim"], 1);
    let said = child.stop(Signal::INT);
    let environment = said.lines().next().unwrap();
    assert!(environment.contains(&format!("LD_PRELOAD={}", library.display())), "{said}");
    assert!(environment.contains(sandbox.runtime.to_str().unwrap()), "{said}");
}

/// A port that goes is waited for; told not to, the link ends.
#[test]
fn a_lost_port_is_waited_for_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    let far = sandbox.links(&["pair", "far", "--no-wire"], 1);
    let port = sandbox.port("far.a");
    let port = port.to_str().unwrap();
    let child = sandbox.links(&["link", port, "pty:x", "--json"], 1);
    let mut given_up =
        sandbox.command(["link", sandbox.port("far.b").to_str().unwrap(), "pty:y", "--no-reconnect"]);
    let mut given_up = given_up.stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_for("the second link is up", || sandbox.port("y").exists().then_some(()));
    far.kill9();
    assert_eq!(hilrig_tests::end_of(&mut given_up, hilrig_tests::PATIENCE, "the link").code(), Some(3));
    let far = sandbox.links(&["pair", "far", "--no-wire"], 1);
    let (x, b) = (Line::open(&sandbox.port("x")), Line::open(&sandbox.port("far.b")));
    x.open_through_to(&b);
    let said: Value = serde_json::from_str(&child.stop(Signal::INT)).expect("stdout is JSON");
    assert!(said["ports"][0]["reconnects"].as_u64() >= Some(1), "{said}");
    far.stop(Signal::INT);
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
        ("pty:a?baud=5", 6, "option"),
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
