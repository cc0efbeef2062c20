//! Streams: what tshark shows while it is captured, through a pipe and a FIFO.

use super::*;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

/// tshark on a stream, and the lines that it prints as they come.
struct Shown {
    child: Child,
    lines: Receiver<String>,
}

impl Shown {
    fn start(from: &str, stdin: Stdio) -> Self {
        let mut child = Command::new("tshark")
            .args(["-n", "-l", "-i", from])
            .args(MODBUS)
            .args(["-T", "fields", "-e", "_ws.col.Info", "-e", "frame.interface_name"])
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines }
    }

    #[track_caller]
    fn expect(&self, parts: &[&str]) {
        let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("tshark shows a packet");
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} is not in {line}");
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Each packet is shown before the next is recorded.
fn shows_modbus(line: &mut Line, shown: &Shown) {
    line.sent(0, 1, &query());
    shown.expect(&["Query: Unit:  17, Func:   3", "/dev/ttyUSB0"]);
    line.sent(0, 0, &answer());
    shown.expect(&["Response: Unit:  17, Func:   3", "pty:master"]);
}

#[test]
fn a_pipe_shows_packets_while_they_come() {
    if !need("tshark") {
        return;
    }
    let mut shown = Shown::start("-", Stdio::piped());
    let mut line = Line::new();
    let pipe = shown.child.stdin.take().unwrap();
    let sink = line.capture(PcapngSink::stream(&spec(Path::new(""), "rtac", "silence"), pipe).unwrap());
    shows_modbus(&mut line, &shown);
    line.put(0, TapKind::BreakOut, 1, 0, &[]);
    shown.expect(&["SERIAL_BREAK_EVENT"]);
    line.end(sink);
    let status = shown.child.wait().unwrap();
    assert!(status.success(), "the end of the capture is the end of tshark, without a complaint: {status}");
}

#[test]
fn a_fifo_shows_packets_while_they_come_and_its_reader_may_leave() {
    if !need("tshark") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), "pdu:mbrtu", "silence");
    spec.file = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &spec.file, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .unwrap();
    let mut line = Line::new();
    // Nobody reads yet, and nobody waits for that.
    let other = CaptureSpec::new(dir.path().join("other.pcapng"));
    let (sink, other_sink) = (line.to_file(&spec), line.to_file(&other));
    let shown = Shown::start(spec.file.to_str().unwrap(), Stdio::null());
    shows_modbus(&mut line, &shown);
    // An interface that the stream has not described yet.
    line.put(0, TapKind::BreakOut, 1, 0, &[]);
    shown.expect(&["SERIAL_BREAK_EVENT"]);
    drop(shown);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while line.hub.report(sink).error.is_none() {
        assert!(std::time::Instant::now() < until, "nobody noticed that the reader is gone");
        line.sent(0, 1, b"more");
        std::thread::sleep(Duration::from_millis(1));
    }
    let report = line.hub.remove(sink);
    assert_eq!(report.error.as_deref(), Some("the reader of the capture has gone"));
    line.end(other_sink);
    assert!(fields(&other.file, &[], &["frame.number"]).len() > 3);
}
