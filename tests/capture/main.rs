//! What Wireshark makes of our captures, asked of tshark and capinfos: each format, framing and way out.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod extcap;
mod files;
mod live;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hilrig_capture::{CaptureSpec, Hub, LinkInfo, LinkKey, PcapngSink, Sink, SinkId, SinkReport};
use hilrig_port::{CharError, Lines, Tap, TapKind, TapRecord, Time, tap};
use hilrig_tests::{need, with_crc};

/// What makes Modbus of the data in an RTAC packet.
const MODBUS: [&str; 4] = ["-d", "rtacser.data,mbrtu", "-o", "mbrtu.crc_verification:TRUE"];

/// Reads two registers from 100 on, of unit 17.
fn query() -> Vec<u8> {
    with_crc(&[17, 3, 0, 100, 0, 2])
}

fn answer() -> Vec<u8> {
    with_crc(&[17, 3, 4, 0x12, 0x34, 0x56, 0x78])
}

/// A link without a line: records go straight into its tap.
struct Line {
    hub: Hub,
    key: LinkKey,
    info: LinkInfo,
    tap: Tap,
    now: Time,
}

impl Line {
    fn new() -> Self {
        let (tap, reader) = tap(1 << 20);
        let ports = ["pty:master".to_owned(), "/dev/ttyUSB0".to_owned()];
        let info = LinkInfo::new("line1", ports, Duration::from_micros(521));
        let hub = Hub::start().unwrap();
        let key = hub.attach(info.clone(), reader);
        // In the past, so that each silence is over at once.
        Self { hub, key, info, tap, now: Time(Time::now().0 - 1_000_000_000) }
    }

    fn capture(&self, sink: impl Sink + 'static) -> SinkId {
        self.hub.add(vec![self.key], Box::new(sink))
    }

    fn to_file(&self, spec: &CaptureSpec) -> SinkId {
        self.capture(PcapngSink::create(spec).unwrap())
    }

    /// After `wait` microseconds.
    fn put(&mut self, wait: u64, kind: TapKind, side: u8, value: u64, bytes: &[u8]) {
        self.now = self.now + Duration::from_micros(wait);
        let lines = Lines::DTR | Lines::RTS;
        self.tap.record(TapRecord { at: self.now, kind, side, lines, value, bytes });
    }

    /// What the port of `side` took.
    fn sent(&mut self, wait: u64, side: u8, bytes: &[u8]) {
        self.put(wait, TapKind::Out, side, 0, bytes);
    }

    /// A query in two pieces, and its answer.
    fn exchange(&mut self) {
        let (query, answer) = (query(), answer());
        self.sent(50_000, 1, &query[..3]);
        self.sent(900, 1, &query[3..]);
        self.sent(12_000, 0, &answer);
    }

    fn end(&self, sink: SinkId) -> SinkReport {
        let report = self.hub.remove(sink);
        assert_eq!((report.error.as_ref(), report.lost_bytes), (None, 0));
        report
    }
}

fn spec(dir: &Path, format: &str, framing: &str) -> CaptureSpec {
    let (format, framing) = (format.parse().unwrap(), framing.parse().unwrap());
    CaptureSpec { format, framing, ..CaptureSpec::new(dir.join("line.pcapng")) }
}

/// A file in which `what` of a line is captured, and its directory; nothing where there is no tshark.
fn captured(
    format: &str,
    framing: &str,
    what: impl FnOnce(&mut Line),
) -> Option<(tempfile::TempDir, PathBuf)> {
    if !need("tshark") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), format, framing);
    let mut line = Line::new();
    let sink = line.to_file(&spec);
    what(&mut line);
    line.end(sink);
    Some((dir, spec.file))
}

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).env("LC_ALL", "C").stdin(Stdio::null()).output().expect("it starts")
}

/// Standard output of a run that succeeds and has nothing to say of the file.
fn lines_of(program: &str, args: &[&str]) -> Vec<String> {
    let output = run(program, args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let complaint =
        err.lines().find(|line| !line.is_empty() && !line.starts_with("Running as user \"root\""));
    assert!(output.status.success() && complaint.is_none(), "{program} {args:?}: {err}{out}");
    out.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// One line a packet, with these fields parted by `|`.
fn fields(file: &Path, options: &[&str], fields: &[&str]) -> Vec<String> {
    let mut args = vec!["-n", "-r", file.to_str().unwrap(), "-T", "fields", "-E", "separator=|"];
    args.extend_from_slice(options);
    fields.iter().for_each(|field| args.extend(["-e", field]));
    lines_of("tshark", &args)
}
