//! What a wrong model file looks like to the one who wrote it.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use hilrig_files::FileError;
use hilrig_plc::{Model, Role};
use hilrig_port::Time;
use proptest::prelude::*;

const GOOD: &str = include_str!("../../../rigs/models/pump.toml");

/// A small model that is right; the tests break it.
const SMALL: &str = r#"name = "small"
seed = 7
[port.line]
url = "pty:small"
units = ["a"]
[port.net]
url = "tcp-listen:127.0.0.1:0"
max_callers = 3
[port.up]
url = "tcp:127.0.0.1:1"
[unit.a]
id = 5
holding = { "0..9" = 1 }
[unit.a.point.level]
at = "holding:20"
type = "f32"
unit = "m"
[unit.b]
id = 6
coils = { 0 = true }
[[fault]]
name = "slow"
when = { port = "line" }
effect = { delay = "5ms" }
[master.m]
port = "up"
[master.m.poll.x]
holding = "0..3"
into = { cells = { unit = 5, holding = 0 } }
"#;

fn check(text: &str) -> Result<Model, FileError> {
    Model::check(text, Path::new("x.toml"))
}

/// The small model with one piece replaced, and what the problems of it are.
#[track_caller]
fn broken(from: &str, to: &str) -> Vec<String> {
    assert!(SMALL.contains(from), "{from:?} is not in the small model");
    let error = check(&SMALL.replacen(from, to, 1)).expect_err("this should be wrong");
    error.problems.iter().map(|p| format!("{}: {}; {}", p.line, p.message, p.label)).collect()
}

#[test]
fn the_model_of_the_readme_is_right() {
    let readme = include_str!("../../../README.md");
    let from = readme.find("name = \"cell\"").expect("the README shows a model");
    let text = readme[from..].split("```").next().unwrap();
    let model = check(text).unwrap_or_else(|e| panic!("{}", e.lines()));
    assert_eq!((model.name.as_str(), model.units.len()), ("cell", 1));
}

#[test]
fn the_example_is_right() {
    let model = Model::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../rigs/models/pump.toml")))
        .unwrap_or_else(|e| panic!("{}", e.lines()));
    assert_eq!((model.name.as_str(), model.seed, model.units.len(), model.files.len()), ("pump", 1, 2, 2));
    assert!(model.save && model.restore);
    assert!(GOOD.starts_with("#:schema ./model.schema.json"));
    let mut plant = model.plant();
    plant.begin(Time(0));
    let speed = plant.point("pump.speed").unwrap();
    assert_eq!(plant.get(Time(1), speed).number(), Some(1450.0));
}

#[test]
fn ports_have_those_who_sit_on_them() {
    let model = check(SMALL).unwrap_or_else(|e| panic!("{}", e.lines()));
    let seen: Vec<_> = model.ports.iter().map(|p| (p.name.as_str(), p.role, p.framing.to_string())).collect();
    assert_eq!(
        seen,
        [
            ("line", Role::Slave, "rtu".to_owned()),
            ("net", Role::Slave, "tcp".to_owned()),
            ("up", Role::Master(0), "tcp".to_owned()),
        ]
    );
    assert_eq!((model.ports[0].units.as_deref(), model.ports[1].max_callers), (Some(&[5][..]), 3));
    assert_eq!(model.reply_faults("line", model.ports[0].framing, Time(0)).report().len(), 1);
    assert_eq!(model.reply_faults("net", model.ports[1].framing, Time(0)).report().len(), 0);
}

#[test]
fn wrong_keys_are_told_where_they_are() {
    for (from, to, want) in [
        ("seed = 7", "seed = -7", "2: -7 is out of range; a seed is 0 or more"),
        ("seed = 7", "sed = 7", "2: unknown key `sed`; no such key"),
        ("pty:small", "ptty:small", "4: this is not a port URL; "),
        ("pty:small", "ble:small", "4: this port cannot be opened yet; ble: is not in this version"),
        ("[\"a\"]", "[\"z\"]", "5: unknown unit `z`; no such unit"),
        (
            "url = \"pty:small\"",
            "url = \"pty:small\"\nframing = \"tcp\"",
            "5: Modbus TCP does not go over a serial line; ",
        ),
        ("url = \"pty:small\"", "url = \"pty:small\"\nmax_callers = 2", "5: nobody calls this port; "),
        (
            "url = \"pty:small\"",
            "url = \"/dev/ttyS0?baud=300\"\nbaud = 9600",
            "5: `baud` is said twice; the URL says baud= as well",
        ),
        (
            "url = \"pty:small\"",
            "url = \"pty:small\"\nformat = \"9X9\"",
            "5: `9X9` is not a character format; ",
        ),
        ("url = \"pty:small\"", "url = \"pty:small\"\nframing = \"rtuu\"", "5: "),
        (
            "tcp-listen:127.0.0.1:0",
            "pty:small",
            "7: two ports cannot be at the same place; port `line` is there already",
        ),
        ("{ port = \"line\" }", "{ port = \"up\" }", "23: no port `up` answers; "),
        ("{ delay = \"5ms\" }", "{ transaction = 5 }", "24: this fault cannot happen; "),
        ("port = \"up\"", "port = \"down\"", "26: unknown port `down`; no such port"),
        ("\"0..3\"", "\"0..300\"", "28: too many addresses for one poll; "),
        ("[unit.b]\nid = 6", "[unit.b]\nid = 5", "19: "),
        ("type = \"f32\"", "type = \"f33\"", "16: "),
    ] {
        let problems = broken(from, to);
        assert!(problems.iter().any(|p| p.starts_with(want)), "{from} -> {to}: {problems:?}, not {want:?}");
    }
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("main.toml");
    fs::write(&main, "include = [\"map.toml\", \"none.toml\"]\nseed = -1\n[unit.a]\nid = 300\n").unwrap();
    fs::write(
        dir.path().join("map.toml"),
        "seed = 3\n[unit.a]\nid = 2\n[unit.b]\nid = 3\n[unit.b.point.p]\nat = \"holding:x\"\n",
    )
    .unwrap();
    let error = Model::load(&main).unwrap_err();
    let lines = error.lines();
    for want in [
        "main.toml:1:24: this file cannot be included: ",
        "main.toml:2:8: -1 is out of range",
        "main.toml:4:6: 300 is out of range",
        "map.toml:1:8: this is about the whole model",
        "map.toml:2:7: there are two units `a`: the first is in ",
        "map.toml:7:15: ",
    ] {
        assert!(lines.contains(want), "{want} is not in\n{lines}");
    }
    assert_eq!(error.problems.len(), 6, "{lines}");
}

#[test]
fn files_that_include_each_other_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    file("a.toml", "include = [\"b.toml\"]");
    file("b.toml", "include = [\"c.toml\", \"d.toml\"]");
    file("c.toml", "include = [\"a.toml\"]");
    file("d.toml", "[unit.d]\nid = 4\n");
    let lines = Model::load(&dir.path().join("a.toml")).unwrap_err().lines();
    assert!(
        lines.contains("these files include each other: a.toml -> b.toml -> c.toml -> a.toml"),
        "{lines}"
    );
    // One that is wanted twice is taken once.
    file("c.toml", "include = [\"d.toml\"]");
    let model = Model::load(&dir.path().join("a.toml")).unwrap_or_else(|e| panic!("{}", e.lines()));
    assert_eq!((model.units.len(), model.files.len()), (1, 4));
    // What is no file is not waited for.
    file("c.toml", "include = [\"/dev/zero\", \".\"]");
    let lines = Model::load(&dir.path().join("a.toml")).unwrap_err().lines();
    assert_eq!(lines.matches("it is not a file").count(), 2, "{lines}");
}

#[test]
fn the_schema_in_the_repository_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rigs/models/model.schema.json");
    let current = format!("{:#}\n", serde_json::to_value(hilrig_plc::schema()).unwrap());
    if std::env::var_os("HILRIG_WRITE_SCHEMA").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(file == current, "rigs/models/model.schema.json is old; write it with HILRIG_WRITE_SCHEMA=1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is cut out of a model, it is a model or its problems have places in it.
    #[test]
    fn nothing_is_too_strange(from in 0usize..SMALL.len(), len in 0usize..40, instead in ".{0,6}") {
        let end = (from + len).min(SMALL.len());
        if let (Some(head), Some(tail)) = (SMALL.get(..from), SMALL.get(end..)) {
            let text = format!("{head}{instead}{tail}");
            if let Err(error) = check(&text) {
                prop_assert!(!error.problems.is_empty());
                prop_assert!(error.problems.iter().all(|p| p.span.end <= text.len()));
            }
        }
    }
}
