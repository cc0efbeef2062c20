//! `hilrig run`: the first command of the README, and everything that can be wrong with a rig.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use hilrig_tests::{Output, Sandbox, end_of, finish, repository, signal, text, wait_for};
use rustix::process::Signal;
use serde_json::Value;

fn first() -> PathBuf {
    repository().join("rigs/first.toml")
}

/// A copy of the first rig with one change.
fn changed(sandbox: &Sandbox, from: &str, to: &str) -> PathBuf {
    let rig = text(&first());
    assert!(rig.contains(from), "{from:?} is not in the first rig");
    let path = sandbox.scratch().join("changed.toml");
    std::fs::write(&path, rig.replacen(from, to, 1)).unwrap();
    path
}

fn run(sandbox: &Sandbox, rig: &Path, more: &[&str]) -> Output {
    finish({
        let mut command = sandbox.command(["run"]);
        command.arg(rig).args(more);
        command
    })
}

#[test]
fn first_rig_passes() {
    let sandbox = Sandbox::new();
    let output = run(&sandbox, &first(), &[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let said = output.stdout.to_lowercase();
    assert!(said.contains("pass") && said.contains("first"), "{output:?}");
    assert!(output.stdout.lines().count() < 60, "a short result: {}", output.stdout);
    assert!(!output.stdout.contains('\u{1b}'), "colours only on a terminal");
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new(), "nothing is left");
}

#[test]
fn a_log_of_virtual_time_is_the_measure_of_both_times() {
    let sandbox = Sandbox::new();
    let log = sandbox.scratch().join("first.ndjson");
    let log = log.to_str().unwrap();
    let output = run(&sandbox, &first(), &["--virtual-time", "--log", log]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("of virtual time"), "{output:?}");
    let printed = run(&sandbox, &first(), &["--virtual-time", "--log", "-"]);
    assert_eq!((printed.code, &printed.stdout), (Some(0), &text(Path::new(log))));
    for more in [&["--golden", log, "--virtual-time"][..], &["--golden", log, "--tolerance", "60s"]] {
        let output = run(&sandbox, &first(), more);
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    let other = changed(&sandbox, "10 = [7, 8, 9]", "10 = [7, 6, 9]");
    for more in [&["--golden", log, "--virtual-time"][..], &["--golden", log]] {
        let output = run(&sandbox, &other, more);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stdout.contains("\n  - ") && output.stdout.contains("\n  + "), "{output:?}");
    }
    // What cannot be is said before anything runs.
    let port = changed(&sandbox, "[ports.far]", "[ports.usb]\nurl = \"/dev/ttyUSB0\"\n\n[ports.far]");
    let output = run(&sandbox, &port, &["--virtual-time"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{output:?}");
    assert!(
        output.stderr.contains("`usb` is a real port") && output.stderr.contains("changed.toml:"),
        "{output:?}"
    );
    for more in
        [&["--golden", "no/such.log"][..], &["--tolerance", "5ms"], &["--golden", log, "--tolerance", "x"]]
    {
        assert_eq!(run(&sandbox, &first(), more).code, Some(2));
    }
}

#[test]
fn models_are_seated_whole_and_their_points_have_names() {
    let sandbox = Sandbox::new();
    let cell = repository().join("rigs/cell.toml");
    let output = run(&sandbox, &cell, &["--virtual-time", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let result: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&result["verdict"], &result["replyFaults"][0]["name"]), (&"pass".into(), &"busy".into()));
    let texts: Vec<&str> =
        result["steps"].as_array().unwrap().iter().filter_map(|s| s["text"].as_str()).collect();
    assert!(texts.contains(&"field scale.load to 120 over 2 s"), "{texts:?}");

    // Its models are beside it.
    let models = sandbox.scratch().join("models");
    std::fs::create_dir_all(&models).unwrap();
    for model in ["cell.toml", "field.toml"] {
        std::fs::copy(repository().join("rigs/models").join(model), models.join(model)).unwrap();
    }
    let rig = sandbox.scratch().join("wrong.toml");
    let wrong = text(&cell).replace("point = \"plc.place\"", "point = \"plc.pláce\"");
    std::fs::write(&rig, wrong.replace("value = 120", "value = \"full\"")).unwrap();
    let output = run(&sandbox, &rig, &["--virtual-time"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{output:?}");
    for words in ["did you mean `plc.place`?", "`scale.load` is a number in kg", "wrong.toml:"] {
        assert!(output.stderr.contains(words), "{words}: {output:?}");
    }
}

#[test]
fn json_and_reports_are_the_result() {
    let sandbox = Sandbox::new();
    let out = sandbox.scratch().join("out");
    let output = run(&sandbox, &first(), &["--json", "--seed", "42", "--report", out.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let result: Value = serde_json::from_str(&output.stdout).expect("stdout is JSON and nothing else");
    assert_eq!(output.stdout.trim_end().lines().count(), 1, "one line for programs");
    assert_eq!((&result["rig"], &result["seed"]), (&"first".into(), &42.into()));
    assert!(["pass", "marginal"].contains(&result["verdict"].as_str().unwrap()), "{result}");
    // The accounts are right: what is missing at the far side is the fault and nothing else.
    let links = result["bytes"].as_array().expect("bytes");
    assert!(links.len() >= 6, "both pairs and the bridge, both ways: {links:?}");
    for link in links {
        let n = |key: &str| link[key].as_u64().unwrap_or_else(|| panic!("{key}: {link}"));
        assert_eq!(
            n("bytesIn"),
            n("bytesOut") + n("faultBytes") + n("discardedBytes") + n("pending"),
            "{link}"
        );
        assert!(n("bytesIn") > 0 && n("discardedBytes") == 0, "{link}");
        let ours = link["link"].as_str().unwrap().ends_with("line") && link["from"] == "plc.b";
        assert_eq!(n("faultBytes") > 0, ours, "{link}");
    }
    let report: Value = serde_json::from_str(&text(&out.join("result.json"))).unwrap();
    assert_eq!(report, result);
    let junit = text(&out.join("junit.xml"));
    assert!(junit.starts_with("<?xml") && junit.contains("</testsuites>"), "{junit}");
    let steps = result["steps"].as_array().unwrap();
    assert_eq!(junit.matches("<testcase").count(), steps.len(), "{junit}");
    assert!(!junit.contains("<failure"));
}

#[test]
fn a_broken_expectation_fails_and_is_named() {
    let sandbox = Sandbox::new();
    // Every number that the rig expects, wrong by one, in turn.
    let rig = text(&first());
    let mut tried = 0;
    for (line, at) in rig.lines().zip(1..).filter(|(line, _)| !line.trim_start().starts_with('#')) {
        let Some(place) = line.find("equals = ") else { continue };
        let number: u64 =
            line[place + 9..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
        // A coil is 0 or 1.
        let wrong = if line.contains("alves") || line.contains("coils") { 1 - number } else { number + 1 };
        let broken = line.replacen(&format!("equals = {number}"), &format!("equals = {wrong}"), 1);
        let mut lines: Vec<&str> = rig.lines().collect();
        lines[at - 1] = &broken;
        // What is wrong has to show at once, not after the patience that the rig has with a bench.
        let path = sandbox.scratch().join(format!("broken-{at}.toml"));
        std::fs::write(&path, lines.join("\n").replace("within = \"5s\"", "within = \"2s\"")).unwrap();
        let out = sandbox.scratch().join(format!("out-{at}"));
        let output = run(&sandbox, &path, &["--report", out.to_str().unwrap()]);
        assert_eq!(output.code, Some(1), "line {at}: {output:?}");
        let all = &output.stdout;
        assert!(
            all.contains(&wrong.to_string()) && all.contains("fail"),
            "names what was wanted: {output:?}"
        );
        assert!(all.contains(&format!("broken-{at}.toml:")), "says where: {output:?}");
        assert!(text(&out.join("junit.xml")).contains("<failure"));
        let result: Value = serde_json::from_str(&text(&out.join("result.json"))).unwrap();
        assert_eq!((&result["verdict"], &result["exitCode"]), (&"fail".into(), &1.into()));
        let failed: Vec<_> =
            result["steps"].as_array().unwrap().iter().filter(|s| s["verdict"] == "fail").collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        let line = failed[0]["line"].as_u64().unwrap() as usize;
        assert!(failed[0]["expected"].as_str().unwrap().contains(&wrong.to_string()), "{failed:?}");
        assert!(line <= at && at <= line + 4, "the step at line {line} for the expectation at line {at}");
        tried += 1;
    }
    assert!(tried >= 5, "only {tried} expectations with a number");
}

#[test]
fn a_broken_file_is_shown_with_the_place() {
    let sandbox = Sandbox::new();
    for (from, to, shown, said) in [
        ("[sim.tank.plc]", "[sim.tank.plc", "[sim.tank.plc", ""),
        ("unit = 17", "unit = 1700", "1700", "247"),
        ("unit = 17", "unti = 17", "unti", "unit"),
        ("port = \"plc.a\"", "port = \"plx.a\"", "plx.a", "plc"),
        ("fault = \"drop\"", "fault = \"dorp\"", "dorp", "drop"),
        ("equals = 1234", "equals = \"many\"", "many", ""),
        ("every = \"25ms\"", "every = \"25 moons\"", "25 moons", ""),
        ("wait = \"200ms\"", "wiat = \"200ms\"", "wiat", "wait"),
    ] {
        let path = changed(&sandbox, from, to);
        let line = text(&path).lines().position(|l| l.contains(shown)).unwrap() + 1;
        let output = run(&sandbox, &path, &[]);
        assert_eq!(output.code, Some(2), "{to}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said_where = output.stderr.contains(&format!("changed.toml:{line}:"));
        assert!(said_where, "{to}: says changed.toml:{line}: {}", output.stderr);
        let frame = output.stderr.lines().any(|l| l.contains(&line.to_string()) && l.contains(shown));
        assert!(frame, "{to}: shows line {line}: {}", output.stderr);
        assert!(output.stderr.contains(said), "{to}: mentions {said:?}: {}", output.stderr);
        assert!(sandbox.runtime_files().is_empty(), "nothing was opened");
    }
    // All mistakes of meaning at once.
    let path = changed(&sandbox, "port = \"plc.a\"", "port = \"plx.a\"");
    std::fs::write(&path, text(&path).replace("a = \"plc.b\"", "a = \"ply.b\"")).unwrap();
    let output = run(&sandbox, &path, &[]);
    assert!(output.stderr.contains("plx.a") && output.stderr.contains("ply.b"), "{}", output.stderr);
    let binary = sandbox.scratch().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe, 0, 1]).unwrap();
    let output = run(&sandbox, &binary, &[]);
    assert_eq!(output.code, Some(2), "{output:?}");
    let output = run(&sandbox, Path::new("no/such/rig.toml"), &[]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("no/such/rig.toml"), "{output:?}");
    let output = run(&sandbox, sandbox.scratch(), &[]);
    assert_eq!(output.code, Some(2), "a directory: {output:?}");
}

#[test]
fn an_interrupted_run_is_canceled_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let rig = changed(&sandbox, "wait = \"200ms\"", "wait = \"25s\"");
    for interrupt in [Signal::INT, Signal::TERM] {
        let mut child = {
            let mut command = sandbox.command(["run"]);
            command.arg(&rig).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        wait_for("the bench is up", || sandbox.runtime_files().iter().any(|p| p.is_symlink()).then_some(()));
        // Another run of the same lines is in nobody's way.
        let second = run(&sandbox, &first(), &[]);
        assert_eq!(second.code, Some(0), "{second:?}");
        signal(child.id(), interrupt);
        let status = end_of(&mut child, hilrig_tests::PATIENCE, "the interrupted run");
        assert_eq!(status.code(), Some(4), "{interrupt:?}");
        assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_killed_run_is_in_nobodys_way() {
    let sandbox = Sandbox::new();
    let rig = changed(&sandbox, "wait = \"200ms\"", "wait = \"25s\"");
    let mut child = {
        let mut command = sandbox.command(["run"]);
        command.arg(&rig).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    wait_for("the bench is up", || sandbox.runtime_files().iter().any(|p| p.is_symlink()).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!sandbox.runtime_files().is_empty(), "a kill -9 leaves links");
    let output = run(&sandbox, &first(), &[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}
