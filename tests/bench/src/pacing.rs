//! How exactly a virtual pair releases bytes at the baud rate that the applications set, while a neighbour core is busy; beside
//! tokio's timers and a sleeping thread that do the same. It judges hilrig by the stamps of hilrig's own capture.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hilrig_capture::{Flow, Reader};
use rustix::time::ClockId;
use serde_json::{Value, json};

use crate::child::{Group, confine, cores};
use crate::line::{End, Line, Pattern};
use crate::report::{Floor, Table, figure, print_floors, print_load, quantile, with_ratio};
use crate::{Common, Failure};

const BAUD: u32 = 9600;
/// 8N1: ten bits.
const CHARACTER_NS: f64 = 1e10 / BAUD as f64;
const OURS: &str = "hilrig pair";
const TOKIO: &str = "tokio timers";

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How long bytes are sent
    #[arg(long)]
    seconds: Option<u32>,
    /// Leave the other cores alone
    #[arg(long)]
    no_load: bool,
}

/// When each byte went out, in ns, and what that says.
#[derive(Debug)]
struct Released {
    name: String,
    /// Lateness of each byte in us, against an even row of bytes that begins with the first.
    late: Vec<f64>,
    /// How much later the last hundredth was than the first, in us.
    drift: f64,
}

impl Released {
    fn new(name: impl Into<String>, stamps: &[u64]) -> Self {
        let against_row = |(i, at): (usize, &u64)| (*at - stamps[0]) as f64 - i as f64 * CHARACTER_NS;
        let raw: Vec<f64> = stamps.iter().enumerate().map(against_row).collect();
        // No byte is early: the row begins where the most punctual byte says.
        let earliest = raw.iter().copied().fold(f64::INFINITY, f64::min);
        let late: Vec<f64> = raw.iter().map(|ns| (ns - earliest) / 1e3).collect();
        let part = (late.len() / 100).max(1);
        let drift = quantile(&late[late.len() - part..], 0.5) - quantile(&late[..part], 0.5);
        Self { name: name.into(), late, drift }
    }

    fn at(&self, fraction: f64) -> f64 {
        quantile(&self.late, fraction)
    }
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let seconds = options.seconds.unwrap_or(if options.common.quick { 2 } else { 60 }).clamp(1, 3600);
    let temporary = tempfile::tempdir()?;
    let hilrig = options.common.hilrig()?;
    let stop = AtomicBool::new(false);
    let cores = cores()?;
    let mut runs = Vec::new();
    let mut notes = Vec::new();
    std::thread::scope(|scope| -> Result<(), Failure> {
        if let Some(neighbour) = cores.last().filter(|_| cores.len() > 1 && !options.no_load) {
            let (neighbour, stop) = (*neighbour, &stop);
            scope.spawn(move || {
                let _ = confine(&[neighbour]);
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let outcome = (|| {
            for (name, wish) in [(OURS, None), ("hilrig pair --realtime", Some("--realtime"))] {
                let (run, words) = pair(name, &hilrig, wish, seconds, temporary.path())?;
                runs.push(run);
                notes.extend(words);
            }
            let peers = seconds.min(20);
            runs.push(Released::new(TOKIO, &tokio_timers(peers)?));
            runs.push(Released::new("sleeping thread", &sleeping_thread(peers)?));
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        outcome
    })?;
    let floors = floors(&runs);
    if options.common.json {
        println!("{}", as_json(&runs, &floors, &notes));
        return Ok(());
    }
    let title =
        format!("Bytes at {BAUD} 8N1, one each 1042 us for {seconds} s: us late (x = of tokio's timers)");
    let mut table = Table::new(title, &["", "p50", "p99", "p99.9", "max", "drift us", "bytes"]);
    let peer = runs.iter().find(|run| run.name == TOKIO);
    for run in &runs {
        let mut row = vec![run.name.clone()];
        let peer_at = |q: f64| peer.map_or(f64::NAN, |peer| peer.at(q));
        row.extend([0.5, 0.99, 0.999, 1.0].map(|q| with_ratio(run.at(q), peer_at(q))));
        row.extend([figure(run.drift), run.late.len().to_string()]);
        table.row(row);
    }
    table.print();
    print_floors(&floors, options.common.quick);
    notes.iter().for_each(|note| println!("note: {note}"));
    print_load();
    Ok(())
}

fn floors(runs: &[Released]) -> Vec<Floor> {
    // The best that the machine grants counts, as it would on a bench.
    let best = |q: f64| {
        let ours = runs.iter().filter(|run| run.name.starts_with(OURS));
        ours.map(|run| run.at(q)).fold(f64::INFINITY, f64::min)
    };
    let drift = runs.iter().find(|run| run.name == OURS).map_or(f64::NAN, |run| run.drift.abs());
    vec![
        Floor::new("us late, p99", 50.0, best(0.99)),
        Floor::new("us late, p99.9", 500.0, best(0.999)),
        Floor::new("us of drift over the run", 50.0, drift),
    ]
}

/// Sends through a virtual pair at both ends of which 9600 baud are set.
fn pair(
    name: &str,
    hilrig: &Path,
    wish: Option<&str>,
    seconds: u32,
    temporary: &Path,
) -> Result<(Released, Vec<String>), Failure> {
    let capture = temporary.join("pacing.pcapng");
    let _ = std::fs::remove_file(&capture);
    let ends = ["a", "b"].map(|end| temporary.join(format!("pacing.{end}")));
    let mut command: Vec<OsString> = vec![hilrig.into(), "pair".into(), temporary.join("pacing").into()];
    command.extend(["--capture".into(), capture.clone().into()]);
    command.extend(wish.map(OsString::from));
    let mut group = Group::start(name, &[command], temporary)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ends.iter().all(|end| end.exists()) {
        group.check_alive()?;
        if Instant::now() > deadline {
            return Err(Failure::Missing(format!("{name} made no ports: {}", group.last_words())));
        }
        sleep(Duration::from_millis(5));
    }
    let open = |end: &Path| End::given(end, end, BAUD);
    let line = Line { ends: [open(&ends[0])?, open(&ends[1])?], patience: Duration::from_secs(30) };
    let total = (BAUD / 10 * seconds) as usize;
    line.flood(&[0], total, &Pattern::new())?;
    let words = group.last_words();
    drop(group);
    let notes = words.split(" | ").filter(|w| w.contains("not granted")).map(|w| format!("{name}: {w}"));
    let stamps = released(&capture, total)?;
    Ok((Released::new(name, &stamps), notes.collect()))
}

/// When each byte was written to the receiver's port, as the capture says.
fn released(capture: &Path, total: usize) -> Result<Vec<u64>, Failure> {
    let wrong = |e: hilrig_capture::ReadError| Failure::Wrong(format!("{}: {e}", capture.display()));
    let mut reader = Reader::new(BufReader::new(File::open(capture)?));
    let mut stamps = Vec::with_capacity(total);
    while let Some(packet) = reader.next_packet().map_err(wrong)? {
        if packet.flow == Some(Flow::Out) {
            stamps.extend(packet.bytes.iter().map(|_| packet.at));
        }
    }
    if stamps.len() == total {
        Ok(stamps)
    } else {
        Err(Failure::Wrong(format!("the capture has {} of {total} bytes", stamps.len())))
    }
}

fn now() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What an async program would do.
fn tokio_timers(seconds: u32) -> Result<Vec<u64>, Failure> {
    let mut sink = File::options().write(true).open("/dev/null")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let start = tokio::time::Instant::now();
        let mut stamps = Vec::new();
        for i in 0..u64::from(BAUD / 10 * seconds) {
            tokio::time::sleep_until(start + Duration::from_nanos((i as f64 * CHARACTER_NS) as u64)).await;
            sink.write_all(&[0x55])?;
            stamps.push(now());
        }
        Ok(stamps)
    })
}

/// What a plain program would do.
fn sleeping_thread(seconds: u32) -> Result<Vec<u64>, Failure> {
    let mut sink = File::options().write(true).open("/dev/null")?;
    let start = now();
    let mut stamps = Vec::new();
    for i in 0..u64::from(BAUD / 10 * seconds) {
        let left = (start + (i as f64 * CHARACTER_NS) as u64).saturating_sub(now());
        sleep(Duration::from_nanos(left));
        sink.write_all(&[0x55])?;
        stamps.push(now());
    }
    Ok(stamps)
}

fn as_json(runs: &[Released], floors: &[Floor], notes: &[String]) -> Value {
    let run = |run: &Released| {
        json!({
            "name": run.name, "bytes": run.late.len(), "p50Us": run.at(0.5), "p99Us": run.at(0.99),
            "p999Us": run.at(0.999), "maxUs": run.at(1.0), "driftUs": run.drift,
        })
    };
    json!({
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
        "floors": floors.iter().map(Floor::json).collect::<Vec<_>>(),
        "notes": notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_against_the_most_punctual_byte_and_drift_against_the_first() {
        let ideal = |i: u64| (i as f64 * CHARACTER_NS) as u64;
        let even: Vec<u64> =
            (0..1000).map(|i| 7_000_000 + ideal(i) + if i == 0 { 5_000 } else { 0 }).collect();
        let run = Released::new("even", &even);
        assert!((run.at(1.0) - 5.0).abs() < 0.01 && run.at(0.99) < 0.01 && run.drift.abs() < 6.0, "{run:?}");
        let slow: Vec<u64> = (0..1000).map(|i| ideal(i) + i * 1000).collect();
        assert!((Released::new("slow", &slow).drift - 990.0).abs() < 2.0);
    }
}
