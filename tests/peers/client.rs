//! `hilrig modbus`, the client for people, at our slave, at slaves of others, and at none.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use hilrig_modbus::Framing;
use hilrig_tests::{Output, Sandbox, Tarpit, end_of, finish, signal, with_crc};
use rustix::process::Signal;
use serde_json::Value;

use crate::ours::Plc;
use crate::peer::{Peer, file, pymodbus};

fn modbus(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.run([&["modbus"][..], args].concat())
}

/// What it says when all goes well.
#[track_caller]
fn said(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = modbus(sandbox, args);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}: {output:?}");
    output.stdout
}

/// One sentence for a failure, without a word of a panic.
#[track_caller]
fn fails(sandbox: &Sandbox, code: i32, words: &[&str], args: &[&str]) {
    let output = modbus(sandbox, args);
    assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{args:?}: {output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is not in {:?}", output.stderr);
    }
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
}

fn does_all(url: &str, more: &[&str]) {
    let sandbox = Sandbox::new();
    let with = |verb: &'static str, rest: &[&str]| {
        said(&sandbox, &[&[verb, url, "--unit", "17"], rest, more].concat())
    };
    assert_eq!(with("read", &["holding:0..2"]), "holding:0  1000\nholding:1  1001\nholding:2  1002\n");
    assert_eq!(with("read", &["40003", "30001"]), "holding:2  1002\ninput:0    7\n");
    assert_eq!(
        with("read", &["discrete:0..3"]),
        "discrete:0  on\ndiscrete:1  off\ndiscrete:2  off\ndiscrete:3  on\n"
    );
    // More than one request holds.
    assert_eq!(with("read", &["holding:0", "--count", "200"]).lines().count(), 200);
    assert_eq!(
        with("write", &["holding:10", "1.5", "-2.25", "--type", "f32", "--order", "cdab"]),
        "unit 17: holding:10 = 1.5 -2.25\n"
    );
    let read = ["holding:10..13", "--type", "f32", "--order", "CDAB"];
    assert_eq!(with("read", &read), "holding:10  1.5\nholding:12  -2.25\n");
    assert_eq!(
        with("read", &["holding:10..11", "--type", "hex"]),
        "holding:10  0x0000\nholding:11  0x3fc0\n"
    );
    with("write", &["coil:0", "on"]);
    with("write", &["coil:1", "off", "on", "--multiple"]);
    assert_eq!(with("read", &["coil:0..3"]), "coil:0  on\ncoil:1  off\ncoil:2  on\ncoil:3  on\n");
    let json = with("read", &["holding:10", "--type", "i16", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"unit": 17, "table": "holding", "address": 10, "type": "i16", "value": 0})
    );
    let watched = with("watch", &["holding:0..1", "--every", "20ms", "--samples", "3"]);
    assert_eq!(watched.lines().count(), 2, "only what changes: {watched}");
    let refused = [&["read", url, "holding:199..200", "--unit", "17"], more].concat();
    fails(
        &sandbox,
        1,
        &["unit 17 refused to read holding:199..200: exception 2, illegal data address"],
        &refused,
    );
    let scan = [&["scan", url, "--units", "17", "--at", "holding:198..201", "--at", "coil:1998..2002"], more]
        .concat();
    assert_eq!(
        said(&sandbox, &scan),
        "unit 17:\n  holding:198..199  readable\n  coil:1998..1999  readable\n"
    );
}

#[test]
fn does_all_over_rtu() {
    let plc = Plc::start(Framing::Rtu);
    does_all(&format!("{}?baud=19200&format=8E1", plc.address), &[]);
}

#[test]
fn does_all_over_tcp() {
    does_all(&Plc::start(Framing::Tcp).url(), &[]);
}

#[test]
fn does_all_over_rtu_over_tcp() {
    does_all(&Plc::start(Framing::RtuOverTcp).url(), &["--framing", "rtu-over-tcp"]);
}

#[test]
fn reads_and_scans_a_server_of_others() {
    let Some(python) = pymodbus() else { return };
    let mut server = Command::new(python);
    server.arg(file("pymodbus_server.py")).args(["tcp", "-"]);
    let peer = Peer::start(server);
    let sandbox = Sandbox::new();
    let url = format!("tcp:127.0.0.1:{}", peer.port);
    assert_eq!(said(&sandbox, &["read", &url, "input:0..1", "--unit", "17"]), "input:0  7\ninput:1  8\n");
    assert!(said(&sandbox, &["scan", &url, "--units", "17"]).starts_with("unit 17: holding:0 = 1000"));
}

#[test]
fn a_scan_finds_the_units_of_a_line() {
    // Over TCP the absent ones are told by the exception of a gateway, which is no answer of theirs.
    for plc in [Plc::start(Framing::Rtu), Plc::start(Framing::Tcp)] {
        let sandbox = Sandbox::new();
        let found =
            said(&sandbox, &["scan", &plc.url(), "--units", "15..18", "--timeout", "100ms", "--json"]);
        let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found, [serde_json::json!({"unit": 17, "answers": true})]);
        let named = said(&sandbox, &["scan", &plc.url(), "--units", "17", "--identify"]);
        assert_eq!(named, "unit 17: holding:0 = 1000  hilrig, PLC-17, 1.2\n");
        let nobody = ["scan", &plc.url(), "--units", "1..4", "--timeout", "50ms"];
        fails(&sandbox, 1, &["none of 4 units", "baud rate"], &nobody);
    }
}

#[test]
fn a_virtual_port_is_opened_from_its_far_end() {
    let plc = Plc::start(Framing::Rtu);
    let mut command = Sandbox::new().command(["modbus", "read", "pty:plc", "holding:5", "--unit", "17"]);
    command.current_dir("/").env("HILRIG_RUNTIME_DIR", plc.runtime_dir());
    let output = finish(command);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "holding:5  1005\n"), "{output:?}");
}

#[test]
fn a_broadcast_is_sent_and_not_waited_for() {
    let plc = Plc::start(Framing::Rtu);
    let sandbox = Sandbox::new();
    let told = said(&sandbox, &["write", &plc.url(), "holding:7", "77", "--unit", "0"]);
    assert!(told.contains("nobody confirms"), "{told}");
    assert_eq!(said(&sandbox, &["read", &plc.url(), "holding:7", "--unit", "17"]), "holding:7  77\n");
}

#[test]
fn who_does_not_answer_is_named_with_what_to_check() {
    let sandbox = Sandbox::new();
    let plc = Plc::start(Framing::Rtu);
    let rtu = format!("{}?baud=19200", plc.address);
    let silent = ["read", &rtu, "holding:0", "--unit", "18", "--timeout", "100ms", "--retries", "0"];
    fails(&sandbox, 1, &["unit 18 did not answer within 100 ms", "no byte came", "baud rate"], &silent);
    let written = ["write", &rtu, "holding:0", "1", "--unit", "18", "--timeout", "100ms"];
    fails(&sandbox, 1, &["cannot write holding:0", "read back"], &written);
    let tarpit = Tarpit::new();
    fails(
        &sandbox,
        3,
        &[&tarpit.url, "nobody answers"],
        &["read", &tarpit.url, "holding:0", "--timeout", "100ms"],
    );
    fails(&sandbox, 3, &["tcp:127.0.0.1:1: nobody answers"], &["read", "tcp:127.0.0.1:1", "holding:0"]);
    fails(&sandbox, 3, &["/dev/no-such-port", "no such port"], &["read", "/dev/no-such-port", "holding:0"]);
    fails(&sandbox, 3, &["no virtual port"], &["read", "pty:nobody", "holding:0"]);
}

#[test]
fn what_cannot_be_asked_is_told_before_the_port_is_opened() {
    let sandbox = Sandbox::new();
    let at = "tcp:127.0.0.1:1";
    for (args, word) in [
        (&["read", at, "bits:0"][..], "the tables are"),
        (&["read", at, "holding:9..1"], "no place"),
        (&["read", at, "holding:0..2", "--type", "f32"], "takes 2"),
        (&["read", at, "holding:65535", "--type", "f32"], "65535"),
        (&["read", at, "coil:1", "--type", "f32"], "is a bit"),
        (&["write", at, "input:1", "5"], "cannot be written"),
        (&["write", at, "holding:1", "70000"], "65535"),
        (&["write", at, "coil:1", "perhaps"], "on or off"),
        (&["write", at, "holding:0..2", "1", "2"], "3 addresses"),
        (&["read", "tcp-listen:127.0.0.1:1", "holding:0"], "waits for others"),
        (&["read", "/dev/ttyS0", "holding:0", "--framing", "tcp"], "serial line"),
        (&["read", "nonsense:x", "holding:0"], "nonsense"),
        (&["scan", at, "--units", "0..300"], "no units"),
        (&["watch", at, "holding:0", "--every", "soon"], "no time"),
    ] {
        fails(&sandbox, 2, &[word], args);
    }
}

/// A server that says something of its own to whatever it is asked.
fn answers_with(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut block = [0; 300];
            while let Ok(n @ 1..) = stream.read(&mut block) {
                if stream.write_all(&answer(&block[..n])).is_err() {
                    break;
                }
            }
        }
    });
    url
}

#[test]
fn no_answer_ends_the_client_otherwise_than_with_a_sentence() {
    let sandbox = Sandbox::new();
    let header = |request: &[u8], length: u8| [&request[..2], &[0, 0, 0, length, request[6]]].concat();
    let reply = move |pdu: Vec<u8>| {
        move |request: &[u8]| [header(request, pdu.len() as u8 + 1), pdu.clone()].concat()
    };
    let read =
        |url: &str| modbus(&sandbox, &["read", url, "holding:0..1", "--timeout", "200ms", "--retries", "0"]);
    let mut answers: Vec<(&str, String)> = vec![
        ("nothing of a PDU", answers_with(move |request| header(request, 1))),
        ("no length", answers_with(move |request| header(request, 0))),
        ("noise", answers_with(|_| vec![0xa5; 64])),
        (
            "another transaction",
            answers_with(|request| [&[9, 9, 0, 0, 0, 7, request[6]][..], &[3, 4, 0, 1, 0, 2]].concat()),
        ),
        (
            "another unit",
            answers_with(|request| [&request[..2], &[0, 0, 0, 7, 99], &[3, 4, 0, 1, 0, 2]].concat()),
        ),
        ("text", answers_with(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
    ];
    for (what, pdu) in [
        ("one register too few", vec![3, 2, 0, 1]),
        ("one register too many", vec![3, 6, 0, 1, 0, 2, 0, 3]),
        ("half a register", vec![3, 3, 0, 1, 0]),
        ("less than announced", vec![3, 4, 0]),
        ("no registers", vec![3]),
        ("another function", vec![4, 4, 0, 1, 0, 2]),
        ("an exception without a code", vec![0x83]),
        ("an exception to another function", vec![0x84, 2]),
        ("function 0", vec![0]),
        ("function 255", vec![255, 1]),
        ("an unknown exception", vec![0x83, 99]),
        ("an identification that ends early", vec![43, 14, 1, 1, 0, 0, 5, 0, 200]),
    ] {
        answers.push((what, answers_with(reply(pdu))));
    }
    for (what, url) in answers {
        let output = read(&url);
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{what}: {output:?}");
        assert!(
            output.stderr.starts_with("hilrig: ") && !output.stderr.contains("panicked"),
            "{what}: {output:?}"
        );
        assert!(output.stderr.lines().count() == 1, "{what}: one sentence: {output:?}");
    }
}

#[test]
fn a_late_answer_is_not_taken_for_the_next() {
    // An RTU slave at a connection that answers each request only when the next one comes.
    let before = std::sync::Mutex::new(Vec::new());
    let url = answers_with(move |request| {
        let answer = with_crc(&[request[0], 3, 2, request[2], request[3]]);
        std::mem::replace(&mut *before.lock().unwrap(), answer)
    });
    let sandbox = Sandbox::new();
    let args = ["scan", &url, "--framing", "rtu-over-tcp", "--units", "1..3", "--timeout", "100ms"];
    // Each unit is answered for by the one before, which is not it.
    fails(&sandbox, 1, &["none of 3 units"], &args);
}

#[test]
fn a_watch_ends_when_interrupted_and_tells_changes() {
    let plc = Plc::start(Framing::Tcp);
    let sandbox = Sandbox::new();
    let url = plc.url();
    let mut command =
        sandbox.command(["modbus", "watch", &url, "holding:3", "--unit", "17", "--every", "10ms", "--json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!((&first["value"], &first["changed"]), (&1003.into(), &false.into()), "{first}");
    said(&sandbox, &["write", &url, "holding:3", "5", "--unit", "17"]);
    let second = next();
    assert_eq!((&second["value"], &second["changed"]), (&5.into(), &true.into()), "{second}");
    signal(child.id(), Signal::INT);
    assert_eq!(end_of(&mut child, Duration::from_secs(20), "the watch").code(), Some(0));
}
