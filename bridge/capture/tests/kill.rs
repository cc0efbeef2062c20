//! A capture whose writer is killed in the middle of its work is readable up to the last block.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hilrig_capture::{CaptureSpec, Hub, LinkInfo, PcapngSink, Reader};
use hilrig_port::{Lines, TapKind, TapRecord, Time, tap};

const FILE: &str = "HILRIG_TEST_CAPTURE";

/// Not a test of its own: the process that is killed. Writes numbered records until then.
#[test]
fn writer() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let hub = Hub::start().unwrap();
    let (mut tap, reader) = tap(1 << 20);
    let link = LinkInfo::new("line", ["a".into(), "b".into()], Duration::ZERO);
    let sink = PcapngSink::create(&CaptureSpec::new(file)).unwrap();
    hub.add(vec![link.key()], Box::new(sink));
    hub.attach(link, reader);
    for n in 0u32.. {
        let bytes = n.to_le_bytes().repeat(100);
        tap.record(TapRecord {
            at: Time::now(),
            kind: TapKind::Out,
            side: (n & 1) as u8,
            lines: Lines::NONE,
            value: 0,
            bytes: &bytes,
        });
        if n.is_multiple_of(64) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn numbers(file: &Path) -> Vec<u32> {
    let mut reader = Reader::new(BufReader::new(File::open(file).unwrap()));
    let mut numbers = Vec::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        assert_eq!(packet.bytes.len(), 400);
        numbers.push(u32::from_le_bytes(packet.bytes[..4].try_into().unwrap()));
    }
    numbers
}

#[test]
fn a_killed_writer_leaves_all_but_its_last_block() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let file = dir.path().join(format!("{round}.pcapng"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer"])
            .env(FILE, &file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        // While it is being written it can be read, too.
        while !file.exists() || numbers(&file).len() < 100 + 500 * round {
            assert!(Instant::now() < until, "nothing is written");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let numbers = numbers(&file);
        assert!(numbers.iter().copied().eq(0..numbers.len() as u32), "something is missing in between");
    }
}
