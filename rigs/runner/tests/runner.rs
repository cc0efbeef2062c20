//! Rigs run on real pseudo terminals.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hilrig_port::Runtime;
use hilrig_rigs::{On, Options, Plan, RigRun, RunResult, Verdict, render, run};

const FIRST: &str = include_str!("../../first.toml");
const ROUGH: &str = include_str!("../../rough.toml");

/// A pair, a PLC on one end, a master on the other; steps follow.
const DIRECT: &str = r#"name = "direct"
timeout = "20s"
[ports.p]
pair = { baud = 115200 }
[sim.s.plc]
port = "p.a"
holding = { 0 = 5 }
[master.m]
port = "p.b"
[master.m.poll.x]
holding = 0
every = "10ms"
[master.m.poll.absent]
holding = 7
every = "10ms"
"#;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn runtime(&self) -> Runtime {
        Runtime::at(self.dir.path().join("run")).unwrap()
    }

    fn run(&self, text: &str) -> RunResult {
        self.run_until(text, &|| false, &|_| {})
    }

    fn run_until(
        &self,
        text: &str,
        stop: &(dyn Fn() -> bool + Sync),
        on_progress: &(dyn Fn(&str) + Sync),
    ) -> RunResult {
        let plan = plan(text);
        let on = On::Ports(self.runtime());
        run(&plan, &Options { on, seed: None, stop, on_progress, on_log: None, golden: None })
    }

    /// What the runs left in the runtime directory.
    #[track_caller]
    fn is_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.dir.path().join("run")).unwrap().flatten().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

fn plan(text: &str) -> Plan {
    Plan::parse(text, "rigs/x.toml").unwrap_or_else(|e| panic!("{}", render(&e, false)))
}

fn line_of(text: &str, piece: &str) -> usize {
    1 + text.lines().position(|l| l.contains(piece)).unwrap()
}

#[test]
fn the_first_rig_passes_and_accounts_for_every_byte() {
    let bench = Bench::new();
    let result = bench.run(FIRST);
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
    assert_eq!((result.exit_code(), result.seed), (0, 1));

    let fault = &result.faults[0];
    assert_eq!((fault.fired, fault.limit, fault.direction), (1, Some(1), hilrig_wire::Way::AToB));
    let dropped = fault.firings[0].bytes;
    let by_fault: u64 = result.bytes.iter().map(|b| b.fault_bytes).sum();
    assert_eq!(by_fault, dropped);
    for row in &result.bytes {
        assert_eq!(
            row.bytes_in,
            row.bytes_out + row.fault_bytes + row.discarded_bytes + row.pending,
            "{row:?}"
        );
        assert_eq!((row.discarded_bytes, row.pending), (0, 0), "{row:?}");
    }
    let [plc, master] = &result.stations[..] else { panic!("{:?}", result.stations) };
    assert_eq!(master.sent_bytes, plc.received_bytes);
    assert_eq!(plc.sent_bytes, master.received_bytes + dropped);
    assert_eq!(master.counters["timeouts"], 1);
    assert_eq!(master.counters["retries"], 1);
    assert_eq!(master.counters["requests"], plc.counters["requests"]);

    let measurement = result.steps.iter().find_map(|s| s.measurement.as_ref()).unwrap();
    assert_eq!((measurement.count, measurement.lost), (40, 0));
    assert!(measurement.min_us > 0.0 && measurement.p50_us <= measurement.p99_us);
    bench.is_clean();
}

#[test]
fn a_broken_expectation_fails_and_names_step_and_line() {
    let bench = Bench::new();
    let text = FIRST.replacen("equals = 1234\nwithin = \"5s\"", "equals = 4321\nwithin = \"300ms\"", 1);
    let result = bench.run(&text);
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Fail, 1), "{}", result.render(false));
    let line = line_of(&text, "[step.expect]");
    let reason = format!(
        "step 1, expect in line {line}: expected scada.levels holding 0 = 4321 within 300 ms, got 1234"
    );
    assert_eq!(result.reason, reason);
    let shown = result.render(false);
    assert!(
        shown.contains(&format!("rigs/x.toml:{line}: expected")) && shown.contains("FAIL rig first"),
        "{shown}"
    );
    assert!(!shown.contains('\x1b') && result.render(true).contains("\x1b[1;31m"));
    assert_eq!(result.steps.iter().filter(|s| s.verdict == Verdict::Skip).count(), 15);

    let reports = bench.dir.path().join("a/b");
    result.write_reports(&reports).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(reports.join("result.json")).unwrap()).unwrap();
    assert_eq!((&json["verdict"], &json["exitCode"], &json["seed"]), (&"fail".into(), &1.into(), &1.into()));
    assert_eq!((&json["steps"][1]["line"], &json["steps"][1]["got"]), (&line.into(), &"1234".into()));
    let junit = std::fs::read_to_string(reports.join("junit.xml")).unwrap();
    assert!(junit.contains(r#"tests="17" skipped="15" errors="0" failures="1""#), "{junit}");
    assert!(junit.contains("got 1234"), "{junit}");
    bench.is_clean();
}

#[test]
fn an_old_reply_cannot_meet_a_new_expectation() {
    let bench = Bench::new();
    let text = format!(
        "{DIRECT}
[[step]]
expect = {{ poll = \"m.x\", address = 0, equals = 5, within = \"5s\" }}
[[step]]
set = {{ sim = \"s\", holding = 0, value = 6 }}
[[step]]
expect = {{ poll = \"m.x\", address = 0, equals = 5, within = \"200ms\" }}
"
    );
    let result = bench.run(&text);
    assert_eq!(result.verdict, Verdict::Fail);
    assert_eq!(result.steps[3].message, "expected m.x holding 0 = 5 within 200 ms, got 6");
}

#[test]
fn what_the_device_answers_instead_is_said() {
    let bench = Bench::new();
    let text = format!(
        "{DIRECT}[[step]]\nexpect = {{ poll = \"m.absent\", address = 7, equals = 0, within = \"200ms\" }}\n"
    );
    let result = bench.run(&text);
    assert!(result.reason.ends_with("got exception 2"), "{}", result.reason);
    let text = format!(
        "{DIRECT}[[step]]\nset = {{ master = \"m\", holding = 7, value = 1 }}\n[[step]]\nassert = {{ sim = \"s\", holding = 0, equals = 5 }}\n"
    );
    let result = bench.run(&text);
    assert_eq!(result.steps[1].message, "expected unit 1 confirms within 1 s, got exception 2");
}

#[test]
fn beyond_the_marginal_limit_passes_as_marginal() {
    let bench = Bench::new();
    let measure = |max: &str, marginal: &str| {
        let limits = format!("p50 = {{ max = \"{max}\", marginal = \"{marginal}\" }}");
        bench.run(&format!("{DIRECT}[[step]]\nmeasure = {{ rtt = \"m.x\", count = 5, {limits} }}\n"))
    };
    let result = measure("20s", "1us");
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Marginal, 0), "{}", result.render(false));
    assert!(result.reason.contains("above the marginal 1 us"), "{}", result.reason);
    let result = measure("2us", "1us");
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Fail, 1));
}

#[test]
fn a_master_comes_through_a_rough_line_and_every_firing_is_accounted_for() {
    let bench = Bench::new();
    let result = bench.run(ROUGH);
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
    let fired: Vec<_> = result.faults.iter().map(|f| (f.name.as_str(), f.fired)).collect();
    assert_eq!(fired, [("noise", 3), ("short", 1), ("late", 1), ("babble", 1)]);
    let sum = |f: &dyn Fn(&hilrig_rigs::BytesResult) -> u64| result.bytes.iter().map(f).sum::<u64>();
    assert_eq!(sum(&|b| b.inserted_bytes), 3);
    assert_eq!(sum(&|b| b.fault_bytes), result.faults[1].firings[0].bytes);
    for b in &result.bytes {
        let gone = b.bytes_out + b.fault_bytes + b.discarded_bytes + b.pending;
        assert_eq!(b.bytes_in + b.inserted_bytes, gone, "{b:?}");
    }
    bench.is_clean();
}

#[test]
fn a_fault_that_never_fired_fails_the_run() {
    let bench = Bench::new();
    let text = FIRST.split("[master.scada.poll").next().unwrap().to_owned()
        + "[[step]]
inject = { name = \"idle\", link = \"line\", fault = \"drop\", direction = \"b->a\" }
[[step]]
assert = { sim = \"tank\", holding = 0, equals = 1234 }
[[step]]
clear = \"idle\"
";
    let result = bench.run(&text);
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Fail, 1), "{}", result.render(false));
    let line = line_of(&text, "inject = ");
    assert_eq!(
        result.reason,
        format!(
            "at the end: the fault idle, injected in line {line}, never fired, so nothing was tested with it"
        )
    );
    // Whoever wants that says so, and still does not get away with it.
    let claimed = text + "[[step]]\nassert = { fault = \"idle\", equals = 0 }\n";
    assert_eq!(bench.run(&claimed).verdict, Verdict::Fail);
}

#[test]
fn a_port_that_is_not_there_is_trouble_of_the_bench() {
    let bench = Bench::new();
    let text =
        DIRECT.replace("port = \"p.b\"", "port = \"usb\"") + "[ports.usb]\nurl = \"/dev/no-such-port\"\n";
    let result = bench.run(&format!("{text}[[step]]\nassert = {{ sim = \"s\", holding = 0, equals = 5 }}\n"));
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Error, 3), "{}", result.render(false));
    assert!(result.reason.starts_with("at the start: port usb: /dev/no-such-port"), "{}", result.reason);
    assert_eq!(result.steps[1].verdict, Verdict::Skip);
    let reports = bench.dir.path().join("reports");
    result.write_reports(&reports).unwrap();
    let junit = std::fs::read_to_string(reports.join("junit.xml")).unwrap();
    assert!(junit.contains(r#"errors="1" failures="0""#), "{junit}");
    bench.is_clean();
}

#[test]
fn a_port_that_goes_away_is_trouble_of_the_bench() {
    let bench = Bench::new();
    let socket = bench.dir.path().join("device.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let device = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"noise").unwrap();
    });
    let text = DIRECT.replace("port = \"p.b\"", "port = \"device\"")
        + &format!("[ports.device]\nurl = \"unix:{}\"\n", socket.display())
        + "[[step]]\nexpect = { poll = \"m.x\", address = 0, equals = 5, within = \"15s\" }\n";
    let result = bench.run(&text);
    device.join().unwrap();
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Error, 3), "{}", result.render(false));
    assert!(result.reason.contains("port device is gone"), "{}", result.reason);
    bench.is_clean();
}

const ENDLESS: &str = "[[step]]\nexpect = { poll = \"m.x\", address = 0, equals = 9, within = \"10s\" }\n[[step]]\nwait = \"1s\"\n";

#[test]
fn a_canceled_run_ends_at_once_and_leaves_nothing() {
    let bench = Bench::new();
    let stop = AtomicBool::new(false);
    let result = bench.run_until(&format!("{DIRECT}{ENDLESS}"), &|| stop.load(Ordering::Relaxed), &|line| {
        if line.starts_with("1/2 expect") {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Canceled, 4));
    let verdicts: Vec<Verdict> = result.steps.iter().map(|s| s.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Canceled, Verdict::Skip]);
    assert!(!result.stations.is_empty(), "the report is complete");
    bench.is_clean();
}

#[test]
fn the_whole_rig_has_a_deadline() {
    let bench = Bench::new();
    let text = DIRECT.replace("20s", "1500ms");
    let result = bench.run(&format!("{text}{ENDLESS}"));
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Timeout, 4));
    assert!(result.reason.contains("had not ended after 1.5 s, its `timeout`"), "{}", result.reason);
    bench.is_clean();
}

#[test]
fn a_panic_takes_the_bench_down() {
    let bench = Bench::new();
    let seen = Mutex::new(Vec::new());
    let caught = catch_unwind(AssertUnwindSafe(|| {
        bench.run_until(&format!("{DIRECT}{ENDLESS}"), &|| false, &|line| {
            if line.starts_with("1/2") {
                let dir = std::fs::read_dir(bench.dir.path().join("run")).unwrap();
                seen.lock().unwrap().extend(dir.flatten().map(|e| e.file_name()));
                panic!("on purpose");
            }
        })
    }));
    assert!(caught.is_err());
    assert!(!seen.lock().unwrap().is_empty(), "the bench was up");
    bench.is_clean();
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let bench = Bench::new();
    let text = format!(
        "{DIRECT}[[step]]\nmeasure = {{ rtt = \"m.x\", count = 30, loss = {{ max = 0 }} }}\n[[step]]\nassert = {{ bytes_lost = \"all\", equals = 0 }}\n"
    );
    let names: Mutex<HashSet<_>> = Mutex::default();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    bench.run_until(&text, &|| false, &|line| {
                        if line.starts_with("1/2") {
                            let dir = std::fs::read_dir(bench.dir.path().join("run")).unwrap();
                            names.lock().unwrap().extend(dir.flatten().map(|e| e.file_name()));
                        }
                    })
                })
            })
            .collect();
        for run in runs {
            let result = run.join().unwrap();
            assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
        }
    });
    let ends = names.lock().unwrap().iter().filter(|n| n.to_string_lossy().ends_with(".p.a")).count();
    assert_eq!(ends, 2, "{names:?}");
    bench.is_clean();
}

#[test]
fn a_run_in_the_background_shows_where_it_is_and_stops() {
    let bench = Bench::new();
    let run = RigRun::start(plan(&format!("{DIRECT}{ENDLESS}")), bench.runtime(), Some(77));
    let deadline = Instant::now() + Duration::from_secs(10);
    let snapshot = loop {
        let snapshot = run.snapshot();
        if snapshot.step == 1 || Instant::now() > deadline {
            break snapshot;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert_eq!((snapshot.name.as_str(), snapshot.step, snapshot.steps), ("direct", 1, 2));
    assert!(snapshot.doing.starts_with("expect m.x holding 0 = 9") && snapshot.result.is_none());
    run.stop();
    let result = run.join().result.unwrap();
    assert_eq!((result.verdict.as_str(), result.seed), ("canceled", 77));
    bench.is_clean();
    drop(RigRun::start(plan(&format!("{DIRECT}{ENDLESS}")), bench.runtime(), None));
    bench.is_clean();
}

#[test]
fn the_result_has_a_schema() {
    let schema = serde_json::to_string(&hilrig_rigs::result_schema()).unwrap();
    assert!(schema.contains("exitCode") && schema.contains("\"marginal\""));
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../first.toml").is_file());
}
