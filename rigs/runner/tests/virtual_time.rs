//! Rigs in virtual time: alike in every run, and the measure of runs on real ports.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use hilrig_port::Runtime;
use hilrig_rigs::{
    FileError, Golden, On, Options, Plan, RunResult, Verdict, VirtualRun, log_schema, render, run,
    run_virtual,
};
use proptest::prelude::*;

const FIRST: &str = include_str!("../../first.toml");
const ROUGH: &str = include_str!("../../rough.toml");

fn plan(text: &str) -> Plan {
    Plan::parse(text, "rigs/x.toml").unwrap_or_else(|e| panic!("{}", render(&e, false)))
}

fn virtually(text: &str) -> VirtualRun {
    run_virtual(&plan(text), None)
}

/// On pseudo terminals, compared with a log if there is one.
fn really(text: &str, golden: Option<&Golden>) -> (RunResult, String) {
    let dir = tempfile::tempdir().unwrap();
    let log = Mutex::new(String::new());
    let on_log = |line: &str| {
        let mut log = log.lock().unwrap();
        log.push_str(line);
        log.push('\n');
    };
    let options = Options {
        on: On::Ports(Runtime::at(dir.path().join("run")).unwrap()),
        seed: None,
        stop: &|| false,
        on_progress: &|_| {},
        on_log: Some(&on_log),
        golden,
    };
    let result = run(&plan(text), &options);
    (result, log.into_inner().unwrap())
}

fn golden(log: &str) -> Golden {
    Golden::parse("golden.ndjson", log.to_owned(), None).unwrap()
}

fn lines(log: &str, what: &str) -> Vec<serde_json::Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["what"] == what).collect()
}

#[test]
fn the_example_rigs_pass_in_virtual_time_and_two_runs_are_alike_to_the_byte() {
    for text in [FIRST, ROUGH] {
        let one = virtually(text);
        assert_eq!(one.result.verdict, Verdict::Pass, "{}", one.result.render(false));
        assert!(one.result.virtual_time && one.result.render(false).contains(" of virtual time, seed 1"));
        let two = virtually(text);
        assert_eq!(one.log, two.log);
        let steps = |run: &VirtualRun| serde_json::to_string(&run.result.steps).unwrap();
        assert_eq!(steps(&one), steps(&two));
        for row in &one.result.bytes {
            let gone = row.bytes_out + row.fault_bytes + row.discarded_bytes + row.pending;
            assert_eq!(row.bytes_in + row.inserted_bytes, gone, "{row:?}");
        }
    }
}

#[test]
fn the_log_says_what_happened_and_when() {
    let VirtualRun { result, log } = virtually(ROUGH);
    let t = |line: &serde_json::Value| line["t"].as_u64().unwrap();
    let all: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at_once = all.iter().filter(|l| l["what"] != "result" && l["what"] != "fault");
    assert!(at_once.map(t).is_sorted(), "in the order of time");
    assert_eq!(all[0].to_string().matches("\"virtual\"").count(), 1);
    assert_eq!((&all[0]["what"], &all.last().unwrap()["what"]), (&"run".into(), &"end".into()));

    let fired: Vec<_> = lines(&log, "fault").iter().map(|l| l["of"].as_str().unwrap().to_owned()).collect();
    let counted: u64 = result.faults.iter().map(|f| f.fired).sum();
    assert_eq!(fired.len() as u64, counted);
    assert!(fired.starts_with(&["noise".to_owned(), "noise".to_owned(), "noise".to_owned()]), "{fired:?}");

    let sent = lines(&log, "sent");
    let of = |name: &str| sent.iter().filter(|l| l["of"] == name).count() as u64;
    assert_eq!(of("scada"), result.stations[1].counters["requests"]);
    assert_eq!(of("pump"), result.stations[0].counters["replies"]);
    assert!(sent.iter().all(|l| l["unit"] == 3 && l["hex"].as_str().unwrap().starts_with("0303")));
    let bytes: u64 = sent.iter().map(|l| l["hex"].as_str().unwrap().len() as u64 / 2).sum();
    assert_eq!(bytes, result.stations.iter().map(|s| s.sent_bytes).sum::<u64>());

    let polled = lines(&log, "result");
    assert!(polled.iter().all(|l| l["of"] == "scada.all" && l["values"].as_array().unwrap().len() == 20));
    assert!(polled.iter().any(|l| l["attempts"] == 2));
    let steps = lines(&log, "step").len();
    assert_eq!((steps, lines(&log, "verdict").len()), (result.steps.len(), result.steps.len()));
    // Nothing of this machine, and no number with a fraction.
    assert!(!log.contains("rigs/x.toml"));
    let kinds = serde_json::to_string(&log_schema()).unwrap();
    assert!(all.iter().all(|l| kinds.contains(&format!("\"const\":{}", l["what"]))), "{kinds}");
    let no_fraction = |v: &serde_json::Value| v.as_f64().is_none_or(|_| v.is_u64());
    assert!(all.iter().flat_map(|l| l.as_object().unwrap().values()).all(no_fraction));
}

#[test]
fn another_seed_breaks_other_bits() {
    let log = |seed| run_virtual(&plan(ROUGH), seed).log;
    assert_eq!(log(1), run_virtual(&plan(ROUGH), None).log);
    let noise = ROUGH.replace("wire = {}", "wire = { noise = 1e-4 }");
    let faults = |seed| run_virtual(&plan(&noise), seed).log.replacen("\"seed\":1,", "\"seed\":2,", 1);
    assert_ne!(faults(1), faults(2));
}

#[test]
fn a_virtual_log_is_the_measure_of_a_run_on_ports() {
    let text = FIRST;
    let recorded = virtually(text).log;
    let (result, log) = really(text, Some(&golden(&recorded)));
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
    let step = result.steps.last().unwrap();
    assert_eq!((step.kind.as_str(), step.verdict), ("golden", Verdict::Pass));
    // And the other way round.
    golden(&log).compare(&recorded).unwrap();

    // A device that behaves otherwise, though all steps pass.
    let changed = text.replace("10 = [7, 8, 9]", "10 = [7, 7, 9]");
    let (result, _) = really(&changed, Some(&golden(&recorded)));
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Fail, 1));
    let step = result.steps.last().unwrap();
    assert!(step.message.starts_with("the run is not as in golden.ndjson: "), "{}", step.message);
    assert!(step.message.contains("\n  - ") && step.message.contains("\n  + "), "{}", step.message);
    assert!(result.reason.starts_with("compared with the golden log: ") && !result.reason.contains('\n'));
    let passed = result.steps.iter().filter(|s| s.kind != "golden").all(|s| s.verdict == Verdict::Pass);
    assert!(passed, "{}", result.render(false));
}

#[test]
fn a_fault_that_is_left_out_is_missed_in_both_times() {
    let recorded = virtually(ROUGH).log;
    let changed = ROUGH.replace("{ truncate = 12 }", "{ truncate = 13 }");
    let run = virtually(&changed);
    let why = golden(&recorded).compare(&run.log).unwrap_err();
    assert!(why.contains(" differs\n") && why.contains("truncate"), "{why}");
    let fault = FIRST.replace("fault = \"drop\"", "fault = { delay = \"1s\" }");
    let real = virtually(&fault).log.replacen("\"virtual\"", "\"real\"", 1);
    assert!(golden(&virtually(FIRST).log).compare(&real).is_err());
}

#[test]
fn a_real_port_has_no_place_in_virtual_time() {
    let text = FIRST
        .replace("[ports.far]\npair = { baud = 19200, format = \"8E1\" }", "[ports.far]\npair = {}")
        + "\n[ports.usb]\nurl = \"/dev/ttyUSB0\"\n[ports.net]\nurl = \"tcp:h:1\"\n";
    let plan = plan(&text);
    let report = plan.check_virtual().unwrap_err();
    let error = report.downcast_ref::<FileError>().unwrap();
    let line = 1 + text.lines().position(|l| l.contains("ttyUSB0")).unwrap();
    let places: Vec<_> = error.problems.iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(line, 7), (line + 2, 7)]);
    let shown = render(&report, false);
    assert!(shown.contains("`usb` is a real port") && shown.contains("url = \"/dev/ttyUSB0\""), "{shown}");
    let result = run_virtual(&plan, None).result;
    assert_eq!((result.verdict, result.exit_code()), (Verdict::Error, 3));
    assert!(result.reason.contains("cannot be simulated"), "{}", result.reason);
}

const WAIT: &str = r#"name = "wait"
timeout = "1000min"
[ports.p]
pair = { baud = 115200 }
[sim.s.plc]
port = "p.a"
holding = { 0 = 5 }
[master.m]
port = "p.b"
[master.m.poll.x]
holding = 0
every = "1s"
[[step]]
expect = { poll = "m.x", address = 0, equals = EQUALS, within = "999min" }
"#;

#[test]
fn time_limits_are_of_virtual_time() {
    let run = virtually(&WAIT.replace("EQUALS", "6"));
    assert_eq!(run.result.verdict, Verdict::Fail, "{}", run.result.render(false));
    assert!((run.result.duration_ms - 999.0 * 60_000.0).abs() < 1.0, "{}", run.result.duration_ms);
    assert_eq!(lines(&run.log, "result").len(), 999 * 60);
    let run = virtually(&WAIT.replace("EQUALS", "6").replace("1000min", "10min"));
    assert_eq!((run.result.verdict, run.result.duration_ms), (Verdict::Timeout, 600_000.0));
    assert!(run.result.reason.contains("had not ended after 600 s"), "{}", run.result.reason);
}

#[test]
fn a_run_in_virtual_time_can_be_canceled() {
    let text = WAIT.replace("EQUALS", "6").replace("1s", "1ms");
    let asked = std::sync::atomic::AtomicU32::new(0);
    let options = Options {
        on: On::VirtualTime,
        seed: None,
        stop: &|| asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 100,
        on_progress: &|_| {},
        on_log: None,
        golden: None,
    };
    assert_eq!(run(&plan(&text), &options).verdict, Verdict::Canceled);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Whatever noise there is on the wire, two runs are alike and no byte is lost without a trace.
    #[test]
    fn noise_is_alike_in_every_run(seed in any::<u64>(), noise in 0.0..0.01f64, half in any::<bool>()) {
        let wire = format!("wire = {{ noise = {noise}, halfDuplex = {half} }}");
        let text = ROUGH.replace("wire = {}", &wire);
        let [one, two] = [0, 1].map(|_| run_virtual(&plan(&text), seed));
        prop_assert_eq!(one.log, two.log);
        for row in &one.result.bytes {
            let gone = row.bytes_out + row.fault_bytes + row.discarded_bytes + row.pending;
            prop_assert_eq!(row.bytes_in + row.inserted_bytes, gone);
        }
    }
}
