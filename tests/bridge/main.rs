//! The bridge over the daemon, as an operator has it: named links from the config file, faults, captures, replays,
//! pairs, modem lines, and ports that go and return. Every byte is accounted for.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod captures;
mod config;
mod faults;
mod many;
mod ports;
mod runs;

use std::fs;

use hilrig_tests::{Conn, Line, Sandbox, wait_for};
use serde_json::{Map, Value};

/// A root whose bridge has these tables in its config, and no link `main`.
fn sandbox(tables: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let folder = sandbox.root.join("config");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("bridge.toml"), format!("[link.main]\nenabled = false\n\n{tables}")).unwrap();
    sandbox
}

const LINE: &str = "[link.line]\na = \"pty:x\"\nb = \"pty:y\"\n";

/// Waits until the status of the bridge is so.
#[track_caller]
fn until(conn: &mut Conn, what: &str, is: impl Fn(&Map<String, Value>) -> bool) -> Map<String, Value> {
    wait_for(what, || {
        let status = conn.status("bridge");
        is(&status).then_some(status)
    })
}

/// The far ends of the link `line`, heard by the bridge.
#[track_caller]
fn ends(sandbox: &Sandbox, conn: &mut Conn) -> (Line, Line) {
    let ends = (Line::open(&sandbox.port("x")), Line::open(&sandbox.port("y")));
    conn.wait_for_peers([true, true]);
    ends
}

/// Of what must add up in each direction of each link.
#[track_caller]
fn adds_up(traffic: &Value) {
    for row in traffic.as_array().unwrap() {
        let n = |key: &str| row[key].as_u64().unwrap();
        let left = n("bytesIn") + n("insertedBytes");
        assert_eq!(left, n("bytesOut") + n("faultBytes") + n("discardedBytes") + n("pending"), "{row}");
    }
}
