//! Rigs that serve models: points, behaviours and faults of replies, the same in every run and on every machine.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use hilrig_rigs::{FileError, Golden, Plan, Verdict, VirtualRun, render, run_virtual};
use hilrig_tests::{Counting, allocator_calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const HOUR: &str = include_str!("../../hour.toml");
const LIVE: &str = include_str!("live.toml");

fn plan(text: &str, folder: &str) -> Plan {
    let name = format!("{HERE}/{folder}/x.toml");
    Plan::parse(text, &name).unwrap_or_else(|e| panic!("{}", render(&e, false)))
}

fn fired(log: &str, fault: &str) -> usize {
    log.matches(&format!("\"what\":\"fault\",\"of\":\"{fault}\"")).count()
}

/// The log was recorded on another machine. When a core is meant to behave otherwise now, record it anew as `live.toml`
/// says, and look at what has changed.
#[test]
fn a_live_model_does_the_same_on_every_machine() {
    let VirtualRun { result, log } = run_virtual(&plan(LIVE, "tests"), None);
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
    let golden = Golden::load(&Path::new(HERE).join("tests/live.ndjson"), None).unwrap();
    golden.compare(&log).unwrap_or_else(|why| panic!("{why}"));
    assert!(fired(&log, "late") > 2 && fired(&log, "wrong") == 1 && fired(&log, "flip") == 3, "{log}");
    // The model takes the seed of the run.
    assert!(golden.compare(&run_virtual(&plan(LIVE, "tests"), 43).log).is_err());
}

/// The example, with minutes in place of hours.
#[test]
fn the_hour_goes_as_planned() {
    let text =
        HOUR.replace("wait = \"28min\"", "wait = \"60s\"").replace("wait = \"31min\"", "wait = \"120s\"");
    let text = text.replace("in = [300, 400]", "in = [10, 30]").replace("\"2min\"", "\"4min\"");
    let text = text.replace("min = 700", "min = 10").replace("over = \"5min\"", "over = \"10s\"");
    let run = || run_virtual(&plan(&text, ".."), None);
    let VirtualRun { result, log } = run();
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
    assert_eq!(log, run().log);
    assert_eq!(result.stations[0].name, "farm");
    let requests = result.stations[1].counters["requests"];
    assert!(requests > 500 && requests.abs_diff(log.matches("\"role\":\"master\"").count() as u64) == 0);
    // Every fiftieth reply of the model is slow.
    assert!(fired(&log, "slow") as u64 >= requests / 50 - 2, "{requests}");
    for row in &result.bytes {
        let gone = row.bytes_out + row.fault_bytes + row.discarded_bytes + row.pending;
        assert_eq!(row.bytes_in + row.inserted_bytes, gone, "{row:?}");
    }
}

#[test]
fn virtual_time_costs_no_memory() {
    let text = |wait: &str| {
        LIVE.replace(
            "[[step]]\nset = { master",
            &format!("[[step]]\nwait = \"{wait}\"\n\n[[step]]\nset = {{ master"),
        )
    };
    let calls = |wait: &str| {
        let plan = plan(&text(wait), "tests");
        // Without a log: its lines are the runner's.
        let options = hilrig_rigs::Options {
            on: hilrig_rigs::On::VirtualTime,
            seed: None,
            stop: &|| false,
            on_progress: &|_| {},
            on_log: None,
            golden: None,
        };
        let before = allocator_calls();
        let result = hilrig_rigs::run(&plan, &options);
        assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
        (allocator_calls() - before, result.stations[1].counters["requests"])
    };
    let ((short, few), (long, many)) = (calls("2s"), calls("50s"));
    assert!(many > few + 1000, "{few} {many}");
    assert!(long < short + 100, "{} more allocations for {} more requests", long - short, many - few);
}

#[test]
fn a_model_that_does_not_fit_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "two.toml",
        "name = \"two\"\n[unit.a]\nid = 1\nholding = { 0 = 5 }\n[unit.b]\nid = 2\nholding = { 0 = 6 }\n[port.line]\nurl = \"pty:x\"\nunits = [\"a\"]\n[port.other]\nurl = \"pty:y\"\n[port.net]\nurl = \"tcp-listen:127.0.0.1:0\"\n",
    );
    write(
        "one.toml",
        "name = \"one\"\n[unit.a]\nid = 1\nholding = { 0 = 5 }\n[unit.b]\nid = 2\nholding = { 0 = 6 }\n",
    );
    write("bad.toml", "name = \"bad\"\n[unit.a]\nid = 300\n");
    let problems = |keys: &str, address: u16| {
        let text = format!(
            "name = \"x\"\n[ports.p]\npair = {{}}\n[sim.s.plc]\nport = \"p.a\"\n{keys}\n[[step]]\nassert = {{ sim = \"s\", holding = {address}, equals = 5 }}\n"
        );
        match Plan::parse(&text, &dir.path().join("x.toml").display().to_string()) {
            Ok(_) => vec![],
            Err(report) => {
                let error = report.downcast_ref::<FileError>().unwrap();
                let shown = error.problems.iter();
                shown.map(|p| format!("{}:{} {}; {}", p.line, p.column, p.message, p.label)).collect()
            }
        }
    };
    let mut missed = Vec::new();
    for (keys, address, wanted) in [
        ("model = \"one.toml\"\nunit = 1", 0, ""),
        ("model = \"two.toml\"\nmodel_port = \"line\"", 0, ""),
        ("model = \"no.toml\"", 0, "6:9 this model cannot be used; cannot read the model"),
        ("model = \"bad.toml\"", 0, "6:9 this model cannot be used; "),
        ("model = \"one.toml\"", 0, "8:33 `s` has no such address; it has several units"),
        ("model = \"one.toml\"\nunit = 1", 1, "9:33 `s` has no such address; not in its holding table"),
        ("model = \"one.toml\"\nunit = 3", 0, "7:8 the model has no unit 3"),
        ("model = \"one.toml\"\nunit = 1\nholding = { 3 = 1 }", 0, "8:13 a model has its values itself"),
        ("model = \"two.toml\"", 0, "4:6 the model has several ports"),
        ("model = \"two.toml\"\nmodel_port = \"usb\"", 0, "7:14 the model serves no port `usb`"),
        (
            "model = \"two.toml\"\nmodel_port = \"net\"",
            0,
            "7:14 the model's port `net` is none of a serial line",
        ),
        ("holding = { 0 = 5 }\nmodel_port = \"net\"", 0, "7:14 there is no model"),
    ] {
        let found = problems(keys, address);
        if (wanted.is_empty() && !found.is_empty())
            || !found.iter().any(|p| p.starts_with(wanted)) && !wanted.is_empty()
        {
            missed.push(format!("{keys}: {wanted:?} is not among {found:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert_eq!(problems("model = \"no.toml\"", 0).len(), 1, "what follows of it is not told");
}

#[test]
fn a_unit_of_a_model_answers_alone() {
    let dir = tempfile::tempdir().unwrap();
    let model = "name = \"m\"\n[unit.a]\nid = 1\npoint.x = { at = \"holding:0\", max = 10, value = 5 }\n[unit.b]\nid = 2\nholding = { 0 = 6 }\n";
    std::fs::write(dir.path().join("m.toml"), model).unwrap();
    let text = |keys: &str, steps: &str| {
        format!(
            "name = \"x\"\n[ports.p]\npair = {{}}\n[sim.s.plc]\nport = \"p.a\"\nmodel = \"m.toml\"\n{keys}\n[master.m]\nport = \"p.b\"\nunit = 2\n[master.m.poll.x]\nholding = 0\ntimeout = \"100ms\"\n{steps}"
        )
    };
    let run = |keys: &str, steps: &str| {
        let name = dir.path().join("x.toml").display().to_string();
        let plan = Plan::parse(&text(keys, steps), &name).unwrap_or_else(|e| panic!("{}", render(&e, false)));
        run_virtual(&plan, None).result
    };
    let polled = "[[step]]\nexpect = { poll = \"m.x\", address = 0, equals = 6, within = \"2s\" }\n";
    assert_eq!(run("", polled).verdict, Verdict::Pass);
    assert_eq!(run("unit = 1", polled).verdict, Verdict::Fail, "unit 2 is not served");
    let set = "[[step]]\nset = { sim = \"s\", holding = 0, value = 7 }\n[[step]]\nassert = { sim = \"s\", holding = 0, equals = 7 }\n";
    let result = run("unit = 1", set);
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
}
