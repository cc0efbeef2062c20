//! Ports that go and return, pairs that are made and removed, and modem lines over the contract.

use std::io::{Read, Write};
use std::net::TcpListener;

use hilrig_tests::{Line, PATIENCE, Sandbox, wait_for};
use serde_json::json;

use crate::{adds_up, sandbox, until};

#[test]
fn a_tcp_peer_that_goes_is_found_again_and_what_it_missed_is_counted() {
    let device = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = device.local_addr().unwrap();
    let sandbox = sandbox(&format!("[link.line]\na = \"pty:x\"\nb = \"tcp:{address}\"\n"));
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let mut events = daemon.connect();
    events.call("events.subscribe", json!({"topics": ["status.changed"]}));
    conn.act("bridge", "run_start", json!({}));
    conn.act("bridge", "capture_start", json!({"file": "gap.pcapng"}));
    let x = Line::open(&sandbox.port("x"));
    let (mut peer, _) = device.accept().unwrap();
    conn.wait_for_peers([true, true]);
    x.write(b"one").unwrap();
    let mut got = [0; 3];
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.read_exact(&mut got).unwrap();
    // The listener first: who looks for the peer must not find it once more.
    drop(device);
    drop(peer);
    until(&mut conn, "the loss is told", |s| {
        s["links"][0]["state"] == "waiting" && s["healthState"] == "degraded"
    });
    events
        .event_with(|e| e["params"]["error"].as_str().is_some_and(|why| why.contains(&address.to_string())));
    x.write(b"into nothing").unwrap();
    until(&mut conn, "the lost bytes are counted", |s| s["bytesLost"] == 12);
    let device = wait_for("the address is free", || TcpListener::bind(address).ok());
    let (mut peer, _) = device.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let status = until(&mut conn, "it is found", |s| {
        s["healthState"] == "ok" && s["linkCounters"][0]["reconnects"] == 1
    });
    assert_eq!(status["error"], "");
    peer.write_all(b"back").unwrap();
    assert_eq!(x.read(4).unwrap(), b"back");
    let stopped = conn.act("bridge", "run_stop", json!({}));
    adds_up(&stopped["result"]["traffic"]);
    assert_eq!(stopped["result"]["traffic"][0]["discardedBytes"], 12);
    // The gap is in the capture, too.
    let file = std::fs::read(sandbox.root.join("captures/gap.pcapng")).unwrap();
    let text = String::from_utf8_lossy(&file).into_owned();
    assert!(text.contains("12 bytes"), "a comment says how many bytes nobody got");
}

/// A peer that takes the call and hangs up at once is called again, not given up, until it stays.
#[test]
fn a_peer_that_hangs_up_again_and_again_is_called_until_it_stays() {
    let device = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = device.local_addr().unwrap();
    let sandbox = sandbox(&format!("[link.line]\na = \"pty:x\"\nb = \"tcp:{address}\"\n"));
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    for _ in 0..5 {
        drop(device.accept().unwrap());
    }
    let (mut peer, _) = device.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    until(&mut conn, "the link is up", |s| {
        s["linkCounters"][0]["reconnects"] == 5 && s["healthState"] == "ok"
    });
    let x = Line::open(&sandbox.port("x"));
    conn.wait_for_peers([true, true]);
    x.write(b"at last").unwrap();
    let mut got = [0; 7];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"at last");
}

#[test]
fn a_pair_is_made_and_removed_by_name() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act(
        "bridge",
        "pair_create",
        json!({"name": "wire", "options": r#"{"baud": 115200, "pace": false}"#}),
    );
    let status = conn.status("bridge");
    assert_eq!((&status["running"], &status["links"][0]["link"]), (&json!(true), &json!("wire")));
    let (a, b) = (Line::open(&sandbox.port("wire.a")), Line::open(&sandbox.port("wire.b")));
    conn.wait_for_peers([true, true]);
    a.write(b"there").unwrap();
    assert_eq!(b.read(5).unwrap(), b"there");
    b.write(b"back").unwrap();
    assert_eq!(a.read(4).unwrap(), b"back");
    drop((a, b));
    let removed = conn.act("bridge", "pair_remove", json!({"name": "wire"}));
    assert_eq!(removed["result"]["traffic"][0]["bytesOut"], 5);
    assert!(!sandbox.port("wire.a").exists());
    assert!(conn.try_act("bridge", "pair_remove", json!({"name": "wire"}))["state"] == "failed");
    conn.act("bridge", "run_stop", json!({}));
}

/// Our RFC 2217 server with a loopback plug behind it, and our client in another link of the same run.
#[test]
fn lines_go_over_rfc2217_in_one_step_and_come_back() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sandbox = sandbox(&format!(
        "[link.server]\na = \"rfc2217-listen:{free}\"\nb = \"loop:plug\"\n\
         [link.client]\na = \"pty:y\"\nb = \"rfc2217:{free}?baud=115200\"\n"
    ));
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    conn.act("bridge", "line_set", json!({"port": "client.b dtr=on rts=off"}));
    let lines = |s: &serde_json::Map<String, serde_json::Value>, port: usize| {
        s["ports"][port]["lines"].as_str().unwrap().to_owned()
    };
    until(&mut conn, "DTR comes back as DSR and DCD", |s| {
        let lines = lines(s, 3);
        ["DTR", "DSR", "DCD"].iter().all(|l| lines.contains(l)) && !lines.contains("CTS")
    });
    conn.act("bridge", "line_set", json!({"port": "client.b", "dtr": false, "rts": true}));
    until(&mut conn, "RTS comes back as CTS", |s| {
        let lines = lines(s, 3);
        ["RTS", "CTS"].iter().all(|l| lines.contains(l)) && !lines.contains("DSR")
    });
    conn.act("bridge", "send_break", json!({"port": "client.b", "milliseconds": 30}));
    let y = Line::open(&sandbox.port("y"));
    until(&mut conn, "the end is open", |s| s["ports"][2]["peerOpen"] == true);
    y.write(b"through the plug").unwrap();
    assert_eq!(y.read(16).unwrap(), b"through the plug");
}
