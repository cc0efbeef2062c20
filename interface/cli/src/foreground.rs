//! Bridge work without a daemon: `link` and `pair`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hilrig_bridge::{CaptureRow, LineWords, LinkSet, LinkSpec, RealTimeSpec};
use hilrig_capture::CaptureSpec;
use hilrig_port::{PortUrl, Runtime};
use hilrig_record::RunInfo;
use hilrig_wire::{FaultRule, LinkCore, WireSpec};
use serde_json::{Value, json};

use crate::args::{CaptureShape, CarryArgs, LinesArg, LinkArgs, PairArgs, Rotate};
use crate::inline;
use crate::output::{Exit, Failure, say, say_json};

/// How often the foreground looks after its links: seldom enough to cost the lines nothing.
const LOOK: Duration = Duration::from_millis(200);

/// A capture to stdout is one to this file.
const STDOUT: &str = "/dev/stdout";

/// A flag that SIGINT and SIGTERM raise; a second signal ends the process at once.
pub fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let first =
            signal_hook::flag::register_conditional_shutdown(signal, Exit::Stopped as i32, flag.clone());
        let second = signal_hook::flag::register(signal, flag.clone());
        first.and(second).map_err(|e| Failure::infrastructure(format!("cannot watch for signals: {e}")))?;
    }
    Ok(flag)
}

pub fn runtime() -> Result<Runtime, Failure> {
    Runtime::from_env().map_err(|e| Failure::infrastructure(e.to_string()))
}

fn url(text: &str) -> Result<PortUrl, Failure> {
    text.parse::<PortUrl>().map_err(|e| Failure::usage(e.to_string()))
}

/// The settings of `--wire`.
fn wire(text: &str) -> Result<WireSpec, Failure> {
    if text.trim() == "on" { Ok(WireSpec::default()) } else { inline::table("--wire", text) }
}

pub fn link(args: &LinkArgs, json: bool) -> Result<ExitCode, Failure> {
    let ports = &args.ports;
    if !ports.len().is_multiple_of(2) {
        return Err(Failure::usage(format!(
            "link takes ports in pairs (A B [A2 B2 ...]); the last one, {}, has no partner",
            ports[ports.len() - 1]
        )));
    }
    let urls = ports.iter().map(|port| url(port)).collect::<Result<Vec<_>, _>>()?;
    let wire = args.wire.as_deref().map(wire).transpose()?;
    let specs = urls.chunks_exact(2).enumerate().map(|(i, pair)| LinkSpec {
        wire: wire.clone(),
        lines: match args.lines {
            LinesArg::Auto => LineWords::Auto,
            LinesArg::Cross => LineWords::Cross,
            LinesArg::Off => LineWords::Off,
        },
        reconnect: !args.no_reconnect,
        ..LinkSpec::new(format!("{}", i + 1), pair[0].clone(), pair[1].clone())
    });
    carry(specs.collect(), &args.more, json)
}

pub fn pair(args: &PairArgs, json: bool) -> Result<ExitCode, Failure> {
    let name = &args.name;
    let mut wire = args.wire.as_deref().map(wire).transpose()?.unwrap_or_default();
    wire.baud = args.baud.or(wire.baud);
    wire.noise = args.noise.unwrap_or(wire.noise);
    let shim = if args.shim { "?shim=on" } else { "" };
    let end = |side: char| url(&format!("pty:{name}.{side}{shim}"));
    let spec =
        LinkSpec { wire: (!args.no_wire).then_some(wire), ..LinkSpec::new(name, end('a')?, end('b')?) };
    if args.shim {
        if args.more.capture.as_deref() == Some(Path::new("-")) {
            return Err(Failure::usage(
                "--shim prints the environment on stdout, where the capture would be; give a file",
            ));
        }
        environment(json)?;
    }
    carry(vec![spec], &args.more, json)
}

/// What a program must be started with, so that the shim serves it.
fn environment(json: bool) -> Result<(), Failure> {
    let environment = hilrig_port::preload_environment(&runtime()?);
    let environment = environment.map_err(|e| Failure::infrastructure(e.to_string()))?;
    if json {
        let map: serde_json::Map<String, Value> =
            environment.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        say_json(&json!({ "environment": map }));
    } else {
        let words: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        say(&words.join(" "));
    }
    Ok(())
}

/// Puts what `link` and `pair` have in common into the links.
fn dress(specs: &mut [LinkSpec], args: &CarryArgs) -> Result<(), Failure> {
    let mut faults: Vec<FaultRule> = Vec::new();
    for text in &args.faults {
        faults.push(inline::table("--fault", text)?);
    }
    if let Some(file) = &args.fault_file {
        faults.extend(inline::tables_of_file("--faults", file, "faults")?);
    }
    for rule in &faults {
        let check = LinkCore::prepare(rule).map(drop);
        check.map_err(|e| Failure::usage(format!("fault {:?}: {e}", rule.id)))?;
    }
    let realtime: Option<RealTimeSpec> =
        args.realtime.as_deref().map(|text| inline::table("--realtime", text)).transpose()?;
    for (spec, i) in specs.iter_mut().zip(0..) {
        spec.faults.clone_from(&faults);
        spec.realtime.clone_from(&realtime);
        // Each link has its own, so that equal links do not have equal noise.
        spec.seed = args.seed.map(|seed| seed.wrapping_add(i));
        spec.check().map_err(|p| Failure::usage(format!("link {}: {}: {}", spec.name, p.at, p.message)))?;
    }
    Ok(())
}

/// The capture that was asked for.
fn capture_spec(args: &CarryArgs) -> Result<Option<CaptureSpec>, Failure> {
    let Some(file) = &args.capture else { return Ok(None) };
    let CaptureShape { format, framing, points, rotate, keep } = args.shape.clone();
    captured(file, CaptureSpec { format, framing, points, keep, ..CaptureSpec::new("") }, rotate).map(Some)
}

/// A capture to this file, of this shape. Stdout is a file like any other.
pub fn captured(file: &Path, shape: CaptureSpec, rotate: Option<Rotate>) -> Result<CaptureSpec, Failure> {
    let stdout = file == Path::new("-");
    if stdout && std::io::stdout().is_terminal() {
        return Err(Failure::usage("stdout is a terminal: pipe the capture into Wireshark, or name a file"));
    }
    if stdout && rotate.is_some() {
        return Err(Failure::usage("--rotate is for files: a stream has no next file"));
    }
    let rotate = rotate.unwrap_or_default();
    let spec = CaptureSpec {
        file: if stdout { PathBuf::from(STDOUT) } else { file.to_owned() },
        rotate_megabytes: rotate.megabytes,
        rotate_seconds: rotate.seconds,
        ..shape
    };
    spec.check().map_err(|e| Failure::usage(format!("--capture: {e}")))?;
    Ok(spec)
}

/// A word of a command line, so that it can be typed again.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn run_info(args: &CarryArgs, specs: &[LinkSpec]) -> Result<RunInfo, Failure> {
    let words: Vec<String> = std::env::args().map(quoted).collect();
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let name = args.run_name.clone().unwrap_or_else(|| format!("link {}", names.join(", ")));
    let config: Vec<String> = specs
        .iter()
        .map(|spec| serde_json::to_string(spec).map(|text| format!("{}: {text}", spec.name)))
        .collect::<Result<_, _>>()
        .map_err(|e| Failure::infrastructure(e.to_string()))?;
    Ok(RunInfo {
        config: config.join("\n"),
        seed: args.seed,
        framing: args.shape.framing.clone(),
        points: args.shape.points,
        ..RunInfo::new(name, words.join(" "))
    })
}

fn carry(mut specs: Vec<LinkSpec>, args: &CarryArgs, json: bool) -> Result<ExitCode, Failure> {
    dress(&mut specs, args)?;
    let capture = capture_spec(args)?;
    let to_stdout = args.capture.as_deref() == Some(Path::new("-"));
    for spec in &mut specs {
        // So that the first byte is in them.
        spec.capture.clone_from(&capture);
        (spec.record, spec.record_points) = (args.record.is_some(), args.shape.points);
    }
    let interrupted = interrupt_flag()?;
    let failed = |e: hilrig_bridge::LinkError| Failure::infrastructure(e.to_string());
    let links =
        LinkSet::open(&specs, &runtime()?, &|| interrupted.load(Ordering::Relaxed)).map_err(failed)?;
    let record = match &args.record {
        Some(db) => Some((db.as_path(), run_info(args, &specs)?)),
        None => None,
    };
    links.capture(capture.as_ref().map(|spec| (spec, Path::new(""))), record).map_err(failed)?;
    announce(&links, args);
    let mut told = String::new();
    let mut failed_captures = 0;
    let mut end = Ok(ExitCode::SUCCESS);
    while !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        let trouble = links.trouble();
        if trouble != told {
            eprintln!("hilrig: {}", if trouble.is_empty() { "all ports are back" } else { &trouble });
            told = trouble;
        }
        tell_failed(&links.captures().rows(), &mut failed_captures);
        if links.lost().1 {
            end = Err(Failure::infrastructure("no link is left"));
            break;
        }
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let outcome = if end.is_ok() { "ended" } else { "lost" };
    let captures = links.end_captures(outcome);
    end = end.and_then(|code| whole(&captures).map(|()| code));
    let report = report(&links, &captures);
    match (json, to_stdout) {
        (true, false) => say_json(&report),
        (true, true) => eprintln!("{report}"),
        (false, to_stdout) => {
            tell(&links, &captures, |line| if to_stdout { eprintln!("{line}") } else { say(line) })
        }
    }
    end
}

fn announce(links: &LinkSet, args: &CarryArgs) {
    for warning in links.warnings() {
        eprintln!("hilrig: {warning}");
    }
    for pair in links.ports().chunks_exact(2) {
        let open = |i: usize| match pair[i].far_end.as_str() {
            "" => pair[i].url.clone(),
            far_end => format!("{} (open {far_end})", pair[i].url),
        };
        eprintln!("link {}: {} <-> {}", pair[0].link, open(0), open(1));
    }
    if args.seed.is_none() && links.states().iter().any(|link| link.wire || link.rules > 0) {
        for link in links.states() {
            eprintln!("seed of link {}: {}", link.link, link.seed);
        }
    }
}

fn report(links: &LinkSet, captures: &[CaptureRow]) -> Value {
    json!({
        "ports": links.ports(), "traffic": links.rows(), "links": links.states(), "faults": links.faults(),
        "captures": captures,
    })
}

/// The end report, for people.
fn tell(links: &LinkSet, captures: &[CaptureRow], say: impl Fn(&str)) {
    for row in links.rows() {
        let mut said = format!(
            "link {}: {} -> {}: {} bytes in, {} out, {} discarded",
            row.link, row.from, row.to, row.bytes_in, row.bytes_out, row.discarded_bytes
        );
        for (n, what) in [(row.fault_bytes, "taken by faults"), (row.inserted_bytes, "inserted")] {
            if n > 0 {
                said.push_str(&format!(", {n} {what}"));
            }
        }
        let (p50, p99) = (row.latency_p50_us, row.latency_p99_us);
        say(&format!("{said}; forwarded in {p50:.0} us (p50), {p99:.0} us (p99)"));
    }
    for port in links.ports().iter().filter(|port| port.reconnects > 0) {
        say(&format!("link {}: {} came back {} times", port.link, port.url, port.reconnects));
    }
    for fault in links.faults() {
        say(&match fault.never_fired {
            true => format!("link {}: fault {} never fired", fault.link, fault.rule),
            false => {
                let (link, rule, fired, bytes) = (fault.link, fault.rule, fault.fired, fault.bytes);
                format!("link {link}: fault {rule} fired {fired} times, on {bytes} bytes")
            }
        });
    }
    captures.iter().for_each(|row| say(&account(row)));
}

/// What is in a capture, for people.
pub fn account(row: &CaptureRow) -> String {
    let lost = if row.lost_bytes > 0 { format!(", {} BYTES LOST", row.lost_bytes) } else { String::new() };
    format!("{}: {} bytes in {} records{lost}", title(row), row.bytes, row.records)
}

/// Captures that have failed fail the run; but whoever looks at a live one may stop looking.
pub fn whole(captures: &[CaptureRow]) -> Result<(), Failure> {
    match captures.iter().rfind(|row| !row.error.is_empty() && row.file != STDOUT) {
        Some(row) => Err(Failure::infrastructure(format!("{}: {}", row.file, row.error))),
        None => Ok(()),
    }
}

/// Says which captures have failed since it was last asked.
pub fn tell_failed(rows: &[CaptureRow], told: &mut usize) {
    let bad: Vec<&CaptureRow> = rows.iter().filter(|row| row.state == "failed").collect();
    for row in bad.iter().skip(*told) {
        eprintln!("hilrig: the {} has ended: {}", title(row), row.error);
    }
    *told = bad.len().max(*told);
}

/// A capture or record in words.
fn title(row: &CaptureRow) -> String {
    let what = if row.kind == "record" { "record" } else { "capture" };
    let files = if row.files.is_empty() { &row.file } else { &row.files.join(", ") };
    format!("{what} {}", if files == STDOUT { "to stdout" } else { files })
}
