//! 64 links at the pace of 115,200 baud in one process, captured: nothing is lost, on the lines or in the capture. For
//! two seconds, or HILRIG_SOAK_SECONDS.

use std::time::{Duration, Instant};

use hilrig_tests::{Line, PATIENCE, pattern};
use serde_json::json;

use crate::{adds_up, sandbox, until};

const LINKS: usize = 64;
/// Of a line at 115,200 baud.
const BYTES_A_SECOND: f64 = 11_520.0;

/// One end: what it has written and read so far.
struct End {
    line: Line,
    seed: u64,
    written: u64,
    read: u64,
}

impl End {
    /// Writes what is due by now, and reads and checks what has come.
    fn turn(&mut self, due: u64, from: u64) {
        let block: Vec<u8> = (self.written..due).map(|at| pattern(self.seed, at)).collect();
        self.written += self.line.write_some(&block, Duration::ZERO).unwrap() as u64;
        let mut got = [0; 4096];
        let n = self.line.read_some(&mut got, Duration::ZERO).unwrap();
        for (byte, at) in got[..n].iter().zip(self.read..) {
            assert_eq!(*byte, pattern(from, at), "byte {at} of stream {from}");
        }
        self.read += n as u64;
    }
}

#[test]
fn sixty_four_links_lose_nothing_and_their_capture_neither() {
    let tables: String =
        (0..LINKS).map(|i| format!("[link.l{i}]\na = \"pty:l{i}.a\"\nb = \"pty:l{i}.b\"\n")).collect();
    let sandbox = sandbox(&tables);
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    conn.act("bridge", "capture_start", json!({"file": "all.pcapng"}));
    let mut ends: Vec<[End; 2]> = (0..LINKS as u64)
        .map(|i| {
            ["a", "b"].map(|side| {
                let line = Line::open(&sandbox.port(&format!("l{i}.{side}")));
                End { line, seed: 2 * i + u64::from(side == "b"), written: 0, read: 0 }
            })
        })
        .collect();
    until(&mut conn, "all far ends are heard", |s| {
        s["ports"].as_array().unwrap().iter().all(|port| port["peerOpen"] == true)
    });
    let seconds = std::env::var("HILRIG_SOAK_SECONDS").map_or(2, |s| s.parse().expect("whole seconds"));
    let time = Duration::from_secs(seconds);
    let begin = Instant::now();
    let total = (time.as_secs_f64() * BYTES_A_SECOND) as u64;
    let mut done = false;
    while !done {
        let due = ((begin.elapsed().as_secs_f64() * BYTES_A_SECOND) as u64).min(total);
        done = true;
        for [a, b] in &mut ends {
            let seeds = [a.seed, b.seed];
            a.turn(due, seeds[1]);
            b.turn(due, seeds[0]);
            done &= [a, b].iter().all(|end| end.read == total);
        }
        assert!(begin.elapsed() < time + PATIENCE, "bytes are missing");
        std::thread::sleep(Duration::from_millis(5));
    }
    let stopped = conn.act("bridge", "run_stop", json!({}));
    let result = &stopped["result"];
    adds_up(&result["traffic"]);
    for row in result["traffic"].as_array().unwrap() {
        assert_eq!((&row["bytesOut"], &row["discardedBytes"]), (&json!(total), &json!(0)), "{row}");
    }
    let capture = &result["captures"][0];
    assert_eq!(capture["bytes"], json!(total * 2 * LINKS as u64));
    assert_eq!((&capture["lostBytes"], &capture["error"]), (&json!(0), &json!("")));
}
