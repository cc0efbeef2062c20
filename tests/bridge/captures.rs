//! Captures and replays over the contract.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use hilrig_capture::{Reader, Recording, Side};
use hilrig_tests::{PATIENCE, need};
use serde_json::{Value, json};

use crate::{LINE, ends, sandbox, until};

#[test]
fn a_live_link_is_captured_framed_for_a_dissector() {
    let sandbox = sandbox(LINE);
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    let (x, y) = ends(&sandbox, &mut conn);
    let start = |conn: &mut hilrig_tests::Conn, args: Value| {
        conn.act("bridge", "capture_start", args)["result"]["file"].as_str().unwrap().to_owned()
    };
    // A name is made up: the link's, and the time.
    let raw = start(&mut conn, json!({"links": "line"}));
    let pdu =
        start(&mut conn, json!({"file": "pdu.pcapng", "format": "pdu:mbrtu", "framing": "silence:50ms"}));
    let query = [1u8, 3, 0, 0, 0, 1, 0x84, 0x0a];
    let reply = [1u8, 3, 2, 0, 7, 0xf9, 0x86];
    // In two pieces, as a slow line brings it.
    x.write(&query[..3]).unwrap();
    assert_eq!(y.read(3).unwrap(), query[..3]);
    x.write(&query[3..]).unwrap();
    assert_eq!(y.read(5).unwrap(), query[3..]);
    y.write(&reply).unwrap();
    assert_eq!(x.read(7).unwrap(), reply);
    let status = until(&mut conn, "the captures have it all", |s| {
        s["captureCounters"].as_array().unwrap().iter().all(|row| row["bytes"] == 15)
    });
    assert_eq!(status["captures"][0]["state"], "running");
    let stopped = conn.act("bridge", "capture_stop", json!({}));
    let rows = stopped["result"]["captures"].as_array().unwrap();
    assert!(rows.iter().all(|r| r["lostBytes"] == 0 && r["error"] == ""), "{rows:?}");
    assert!(stopped["stdout"].as_str().unwrap().contains(&pdu), "{stopped:?}");
    let recording = Recording::open(Path::new(&raw), None).unwrap();
    assert_eq!((recording.sent_by(Side::A), recording.sent_by(Side::B)), (query.to_vec(), reply.to_vec()));
    let mut reader = Reader::new(File::open(&pdu).unwrap());
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        frames.extend((!packet.bytes.is_empty()).then_some(packet.bytes));
    }
    assert_eq!(frames, [query.to_vec(), reply.to_vec()], "one packet is one frame");
    if need("tshark") {
        let shown = Command::new("tshark").args(["-r", &pdu]).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("Read Holding Registers"), "{shown}");
    }
}

#[test]
fn a_capture_is_replayed_against_a_device_and_the_first_difference_told() {
    let device = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = device.local_addr().unwrap();
    let sandbox = sandbox(&format!(
        "[link.line]\na = \"pty:x\"\nb = \"tcp:{address}\"\n[link.line.capture]\nfile = \"talk.pcapng\"\n"
    ));
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    // Answers each three bytes with the next of its answers.
    let device = std::thread::spawn(move || {
        for second in [b"222", b"2x2"] {
            let (mut peer, _) = device.accept().unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            for answer in [b"111", second] {
                let mut got = [0; 3];
                peer.read_exact(&mut got).unwrap();
                peer.write_all(answer).unwrap();
            }
            let _ = peer.read(&mut [0]);
        }
    });
    conn.act("bridge", "run_start", json!({}));
    let x = hilrig_tests::Line::open(&sandbox.port("x"));
    conn.wait_for_peers([true, true]);
    for (question, answer) in [(b"one", b"111"), (b"two", b"222")] {
        x.write(question).unwrap();
        assert_eq!(x.read(3).unwrap(), answer);
    }
    let stopped = conn.act("bridge", "run_stop", json!({}));
    let file = stopped["result"]["captures"][0]["files"][0].as_str().unwrap().to_owned();
    assert!(file.ends_with("captures/talk.pcapng"), "{file}");
    let replay =
        json!({"file": "talk.pcapng", "port": format!("tcp:{address}"), "only": "a", "expect": true});
    let record = conn.try_act("bridge", "replay_start", replay);
    assert_eq!(record["state"], "failed", "{record:?}");
    let details = &record["error"]["details"];
    assert_eq!(
        (&details["matchedBytes"], &details["difference"]["offset"]),
        (&json!(4), &json!(4)),
        "{record:?}"
    );
    assert!(record["error"]["message"].as_str().unwrap().contains("32 32 was recorded"), "{record:?}");
    device.join().unwrap();
}
