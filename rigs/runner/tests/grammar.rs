//! What a wrong rig file looks like to the one who wrote it.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use hilrig_rigs::{FileError, Plan, render};
use proptest::prelude::*;

const GOOD: &str = include_str!("../../first.toml");

/// A small rig that is right; the tests break it.
const SMALL: &str = r#"name = "small"
[ports.p]
pair = { baud = 19200, format = "8E1" }
[ports.q]
pair = {}
[sim.s.plc]
port = "p.a"
holding = { 0 = 5, "2..4" = [1, 2, 3] }
coils = { 0 = true }
[link.l]
a = "p.b"
b = "q.a"
[master.m]
port = "q.b"
[master.m.poll.x]
holding = "0..4"
[[step]]
inject = { name = "f", link = "l", fault = "drop", direction = "a->b" }
[[step]]
expect = { poll = "m.x", address = 0, equals = 5, within = "1s" }
[[step]]
measure = { rtt = "m.x", count = 3, p50 = { max = "1s", marginal = "10ms" }, p99 = { max = "2s" } }
"#;

/// The diagnostics of a text, without colour.
fn wrong(text: &str) -> String {
    match Plan::parse(text, "x.toml") {
        Ok(_) => panic!("this should be wrong:\n{text}"),
        Err(report) => render(&report, false),
    }
}

/// The small rig with one piece replaced, and what the problems of it are.
#[track_caller]
fn broken(from: &str, to: &str) -> Vec<String> {
    assert!(SMALL.contains(from), "{from:?} is not in the small rig");
    let report = Plan::parse(&SMALL.replacen(from, to, 1), "x.toml").expect_err("this should be wrong");
    let error = report.downcast_ref::<FileError>().unwrap();
    error.problems.iter().map(|p| format!("{}:{} {}; {}", p.line, p.column, p.message, p.label)).collect()
}

/// Each replacement in the small rig brings a problem that begins so.
#[track_caller]
fn each_is_told(cases: &[(&str, &str, &str)]) {
    let cases = cases.iter().map(|(from, to, problem)| ((*from, *to), *problem));
    common::each_is_told(cases, |(from, to)| broken(from, to));
}

#[test]
fn the_first_rig_is_right() {
    let plan = Plan::parse(GOOD, "first.toml").unwrap_or_else(|e| panic!("{}", render(&e, false)));
    assert_eq!(plan.name, "first");
    let on_its_own = |l: &str| l.trim().strip_prefix("equals = ").is_some_and(|n| n.parse::<i64>().is_ok());
    assert!(GOOD.lines().any(on_its_own));
    assert!(Plan::parse(SMALL, "x.toml").is_ok());
}

#[test]
fn a_frame_shows_the_very_token() {
    let shown = wrong(&SMALL.replace("\"q.b\"", "\"z.b\""));
    let frame = "
  × unknown port `z`
    ╭─[x.toml:14:8]
 13 │ [master.m]
 14 │ port = \"z.b\"
    ·        ──┬──
    ·          ╰── no such port
 15 │ [master.m.poll.x]
    ╰────
  help: known ports: p.a, p.b, q.a, q.b
";
    assert!(shown.contains(frame), "{shown}");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = SMALL
        .replace("\"8E1\"", "\"9E1\"")
        .replace("19200", "7")
        .replace("\"q.b\"", "\"z.b\"")
        .replace("\"1s\", m", "\"1 week\", m")
        .replace("m.x\", address", "m.y\", address");
    let shown = wrong(&text);
    let wanted = [
        "the rig x.toml cannot be used: 5 problems",
        "7 is out of range",
        "`9E1` is not a character format",
        "unknown port `z`",
        "unknown poll `m.y`",
        "known polls: m.x",
        "`1 week` is not a time",
    ];
    let mut rest = shown.as_str();
    for piece in wanted {
        let at = rest.find(piece).unwrap_or_else(|| panic!("{piece:?} is missing or too early in:\n{shown}"));
        rest = &rest[at..];
    }
}

#[test]
fn a_mistake_of_syntax_or_type_is_told_once() {
    for (from, to, problem) in [
        ("[ports.q]", "[ports.q", "4:9 unclosed table; here"),
        ("baud = 19200", "baud = \"fast\"", "3:17 this should be a whole number; this is text"),
        (
            "baud = 19200",
            "baud = 19200.5",
            "3:17 this should be a whole number; this is a number with a fraction",
        ),
        ("baud = 19200", "bauds = 19200", "3:10 unknown key `bauds`; no such key"),
        (
            "pair = {}",
            "pair = {}\nurl = \"tcp:h:1\"",
            "4:1 not exactly one key; exactly one key is wanted here",
        ),
        ("pair = {}", "usb = {}", "5:1 unknown key `usb`; no such key"),
        ("expect = {", "await = {", "20:1 unknown key `await`; no such key"),
        ("equals = 5", "equal = 5", "20:39 unknown key `equal`; no such key"),
        (
            "equals = 5",
            "equals = 5.5",
            "20:48 this should be a whole number; this is a number with a fraction",
        ),
        ("port = \"p.a\"\n", "", "6:6 this PLC sits nowhere; give `port`, or with a model `ports`"),
        ("name = \"small\"", "", "1:1 missing key `name`; here"),
        ("[ports.p]", "[[ports.p]]", ""),
        ("{ 0 = 5,", "{ 0 = \"5\",", "8:17 this should be a whole number or a list of them; this is text"),
    ] {
        let problems = broken(from, to);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problem.is_empty() || problems[0] == problem, "{to:?}: {:?}", problems[0]);
    }
    let shown = wrong(&SMALL.replace("expect = {", "await = {"));
    assert!(
        shown.contains("known here: wait, expect, assert, inject, clear, arm, measure, set, release"),
        "{shown}"
    );
}

#[test]
fn wrong_ports_are_named() {
    each_is_told(&[
        (
            "baud = 19200",
            "baud = 0",
            "3:17 0 is out of range; a baud rate is a whole number from 50 to 4000000",
        ),
        ("\"8E1\"", "\"8X1\"", "3:33 `8X1` is not a character format; the form is"),
        ("port = \"q.b\"", "port = \"q\"", "14:8 `q` is a pair, which has two ends; write q.a or q.b"),
        ("port = \"q.b\"", "port = \"q.c\"", "14:8 `q` is a pair, which has two ends; write q.a or q.b"),
        ("port = \"q.b\"", "port = \"q.a\"", "14:8 `q.a` is used twice; it is already used in line 12"),
        ("[ports.q]", "[ports.\"q q\"]", "4:8 this cannot be a name; 1 to 40 letters"),
        ("pair = {}", "url = \"tcp:host\"", "5:16 this is not a port URL; a port number is missing"),
        (
            "pair = {}",
            "url = \"hci:dev:0\"",
            "5:7 this port cannot be opened yet; hci: is not in this version",
        ),
        ("pair = {}", "url = \"tcp:host:1\"", "12:5 `q` is a single port without ends; write q"),
        ("name = \"small\"", "name = \"../x\"", "1:8 this cannot be a name"),
    ]);
}

#[test]
fn wrong_stations_are_named() {
    each_is_told(&[
        (
            "coils = {",
            "unit = 248\ncoils = {",
            "9:8 248 is out of range; a unit id is a whole number from 1 to 247",
        ),
        ("{ 0 = 5,", "{ 65536 = 5,", "8:13 this is not an address; addresses go from 0 to 65535"),
        ("{ 0 = 5,", "{ x = 5,", "8:13 this is not an address; write an address such as 0"),
        ("{ 0 = 5,", "{ 0 = 65536,", "8:17 65536 is out of range; the value of a register is a whole number"),
        (
            "{ 0 = true }",
            "{ 0 = 2 }",
            "9:15 2 is out of range; the value of a bit is a whole number from 0 to 1",
        ),
        ("{ 0 = 5,", "{ 3 = 5,", "8:20 an address is given twice; holding 3 has a value already, in line 8"),
        ("[1, 2, 3]", "[1, 2]", "8:29 the list does not fit the range; 2 values for 3 addresses"),
        ("\"2..4\"", "\"4..2\"", "8:20 this is not an address; the first address is above the last"),
        (
            "holding = \"0..4\"",
            "holding = \"0..125\"",
            "16:11 too many addresses for one poll; 126; one request reads 125",
        ),
        ("holding = \"0..4\"", "", "15:16 a poll reads exactly one table; give one of"),
        ("holding = \"0..4\"", "holding = 0\ncoils = 0", "15:16 a poll reads exactly one table"),
        (
            "holding = \"0..4\"",
            "holding = 0\nevery = \"0s\"",
            "17:9 no time at all; this must be longer than zero",
        ),
        (
            "holding = \"0..4\"",
            "holding = 0\nevery = \"25h\"",
            "17:9 `25h` is not a time; write a number and us, ms, s or min",
        ),
        ("holding = \"0..4\"", "holding = 0\ntimeout = \"9999min\"", "17:11 too long a time"),
        (
            "holding = \"0..4\"",
            "holding = \"0..4\"\nretries = -1",
            "17:11 -1 is out of range; a number of retries",
        ),
        ("[link.l]", "[link.all]", "10:7 this cannot be the name of a link; `all` means all links"),
    ]);
}

#[test]
fn wrong_steps_are_named() {
    let mut missed = Vec::new();
    let expect = "{ poll = \"m.x\", address = 0, equals = 5, within = \"1s\" }";
    let claims = |claim: &str| broken(expect, claim);
    for (claim, problem) in [
        (
            "{ poll = \"m.z\", address = 0, equals = 5, within = \"1s\" }",
            "20:19 unknown poll `m.z`; no such poll",
        ),
        (
            "{ poll = \"m.x\", address = 5, equals = 5, within = \"1s\" }",
            "20:36 the poll does not read address 5; it reads holding 0..4",
        ),
        ("{ poll = \"m.x\", address = 0, equals = 5 }", "20:10 an expectation needs a time limit"),
        ("{ poll = \"m.x\", address = 0, within = \"1s\" }", "20:10 nothing to compare with; expect what?"),
        (
            "{ poll = \"m.x\", address = 0, equals = 5, in = [1, 2], within = \"1s\" }",
            "20:56 more than one comparison",
        ),
        (
            "{ poll = \"m.x\", address = 0, in = [2, 1], within = \"1s\" }",
            "20:44 nothing can be in this range",
        ),
        ("{ poll = \"m.x\", address = 0, in = [2], within = \"1s\" }", "20:44 a range has two values"),
        ("{ poll = \"m.x\", equals = 5, within = \"1s\" }", "20:19 what of this poll?; give address"),
        (
            "{ poll = \"m.x\", count = \"timeouts\", equals = 5, within = \"1s\" }",
            "20:34 this is counted for a whole master only",
        ),
        ("{ master = \"m\", count = \"laps\", equals = 5, within = \"1s\" }", "20:34 unknown counter `laps`"),
        ("{ master = \"n\", count = \"retries\", equals = 5, within = \"1s\" }", "20:21 unknown master `n`"),
        (
            "{ sim = \"s\", holding = 1, equals = 5, within = \"1s\" }",
            "20:33 `s` has no such address; not in its holding table",
        ),
        ("{ sim = \"s\", equals = 5, within = \"1s\" }", "20:18 which value?"),
        ("{ sim = \"t\", holding = 1, equals = 5, within = \"1s\" }", "20:18 unknown simulator `t`"),
        ("{ fault = \"g\", equals = 5, within = \"1s\" }", "20:20 unknown fault `g`"),
        (
            "{ sim = \"s\", fault = \"f\", equals = 5, within = \"1s\" }",
            "20:31 the claim has more than one subject",
        ),
        ("{ equals = 5, within = \"1s\" }", "20:10 the claim has no subject"),
        (
            "{ sim = \"s\", holding = 0, address = 0, equals = 5, within = \"1s\" }",
            "20:46 address belongs to poll",
        ),
        (
            "{ poll = \"m.x\", address = 0, holding = 0, equals = 5, within = \"1s\" }",
            "20:49 holding belongs to sim",
        ),
        ("{ bytes_lost = \"all\", equals = 0, within = \"1s\" }", "20:25 bytes_lost cannot be waited for"),
        ("{ poll = \"m.x\", address = 0, equals = 5, within = \"soon\" }", "20:60 `soon` is not a time"),
    ] {
        let problems = claims(claim);
        if problems.len() != 1 || !problems[0].starts_with(problem) {
            missed.push(format!("{claim}: {problem:?} is not the only one of {problems:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    each_is_told(&[
        ("expect = {", "assert = {", "20:60 assert takes no time limit"),
        ("fault = \"drop\"", "fault = \"melt\"", "18:44 unknown value `melt`; no such value"),
        ("\"a->b\"", "\"up\"", "18:64 unknown value `up`; no such value"),
        ("fault = \"drop\"", "fault = { melt = 1 }", "18:46 unknown key `melt`; no such key"),
        ("\"a->b\"", "\"a->b\", when = { pattern = \"0g\" }", "18:91 `0g` is not a row of bytes"),
        ("\"drop\"", "{ corrupt = { bits = 0 } }", "18:10 this fault cannot be: `"),
        ("link = \"l\"", "link = \"k\"", "18:31 unknown link `k`"),
        ("\"a->b\"", "\"a->b\", count = 0", "18:80 0 is out of range; a number of times"),
        ("count = 3", "count = 0", "22:34 0 is out of range"),
        (
            "count = 3",
            "count = 30, within = \"1s\"",
            "22:34 30 round trips do not fit into 1 s; polled every 100 ms",
        ),
        (
            "{ max = \"2s\" }",
            "{ max = \"20ms\" }",
            "22:51 the limits contradict: p50 can never reach this; p99 may be 20 ms at most",
        ),
        (
            "marginal = \"10ms\"",
            "marginal = \"1s\"",
            "22:68 the limits contradict; marginal must be below max",
        ),
        ("[[step]]\nexpect", "[[step]]\nwait = \"2min\"\n[[step]]\nexpect", "20:8 this wait cannot end"),
        ("[[step]]\nexpect", "[[step]]\nclear = \"g\"\n[[step]]\nexpect", "20:9 unknown fault `g`"),
        ("[[step]]\nexpect", "[[step]]\nset = { value = 1 }\n[[step]]\nexpect", "20:7 set where?"),
        (
            "[[step]]\nexpect",
            "[[step]]\nset = { sim = \"s\", holding = 9, value = 1 }\n[[step]]\nexpect",
            "20:30 `s` has no such address",
        ),
        (
            "[[step]]\nexpect",
            "[[step]]\nset = { master = \"m\", input = 9, value = 1 }\n[[step]]\nexpect",
            "20:31 a master cannot write this",
        ),
        (
            "[[step]]\nexpect",
            "[[step]]\nset = { master = \"m\", coils = 9, value = 3 }\n[[step]]\nexpect",
            "20:42 3 is out of range",
        ),
    ]);
}

#[test]
fn a_fault_is_injected_before_it_is_named_and_once() {
    let inject =
        "[[step]]\ninject = { name = \"f\", link = \"l\", fault = \"drop\", direction = \"a->b\" }\n";
    let early = SMALL.replace(inject, "[[step]]\nassert = { fault = \"f\", equals = 1 }\n") + inject;
    assert!(wrong(&early).contains("there are no faults injected before this step"));
    let twice = SMALL.to_owned() + inject;
    assert!(wrong(&twice).contains("the name is taken in line 18"));
}

#[test]
fn a_rig_that_cannot_fail_is_refused() {
    let (quiet, _) = SMALL.split_once("[[step]]").unwrap();
    assert!(wrong(quiet).contains("this rig cannot fail, so it proves nothing"));
    assert!(wrong(&format!("{quiet}[[step]]\nwait = \"1s\"\n")).contains("no step of it expects"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let report = Plan::load("no/such.toml".as_ref()).unwrap_err();
    assert!(report.to_string().contains("cannot read the rig no/such.toml"), "{report}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("binary.toml");
    std::fs::write(&file, b"name = \"x\"\n\xff").unwrap();
    assert!(Plan::load(&file).unwrap_err().to_string().contains("is not UTF-8 text (line 2, byte 11)"));
}

#[test]
fn one_line_forms_name_file_line_and_column() {
    let report = Plan::parse(&SMALL.replace("q.b", "z.b"), "rigs/x.toml").unwrap_err();
    let lines = report.downcast_ref::<FileError>().unwrap().lines();
    assert_eq!(lines, "rigs/x.toml:14:8: unknown port `z`: no such port");
}

#[test]
fn the_schema_file_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../rig.schema.json");
    let mut current = serde_json::to_string_pretty(&hilrig_rigs::schema()).unwrap();
    current.push('\n');
    if std::env::var_os("HILRIG_WRITE_SCHEMA").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap();
    assert!(file == current, "rigs/rig.schema.json is old; write it with HILRIG_WRITE_SCHEMA=1");
    for key in [
        "\"bytes_lost\"",
        "\"not_equals\"",
        "\"tolerance\"",
        "\"release\"",
        "\"ports\"",
        "hilrig rig file, version 1",
        "\"recovered\"",
        "\"a->b\"",
    ] {
        assert!(current.contains(key), "{key}");
    }
}

fn read(text: &str) {
    if let Err(report) = Plan::parse(text, "x.toml") {
        render(&report, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_the_reader(text in "(?s).{0,200}") {
        read(&text);
    }

    #[test]
    fn no_missing_lines_break_the_reader(keep in prop::collection::vec(any::<bool>(), 200)) {
        for rig in [GOOD, SMALL] {
            let text: String = rig.lines().zip(&keep).filter(|(_, k)| **k).map(|(l, _)| format!("{l}\n")).collect();
            read(&text);
        }
    }

    #[test]
    fn no_missing_part_breaks_the_reader(from in 0usize..150, length in 1usize..30) {
        for rig in [GOOD, SMALL] {
            let gone = |i: &usize| (from..from + length).contains(i);
            let text: String =
                rig.lines().enumerate().filter(|(i, _)| !gone(i)).map(|(_, l)| format!("{l}\n")).collect();
            read(&text);
        }
    }

    #[test]
    fn no_change_of_a_rig_breaks_the_reader(
        at in 0..GOOD.len(), length in 0usize..40, piece in "(?s)(.{0,8}|[\\[\\]{}=\",.0-9a-z\n-]{0,8}|-?[0-9]{1,20})",
    ) {
        let floor = |mut i: usize| { while !GOOD.is_char_boundary(i) { i -= 1; } i };
        let (from, to) = (floor(at), floor((at + length).min(GOOD.len())));
        let text = format!("{}{piece}{}", &GOOD[..from], &GOOD[to..]);
        read(&text);
    }
}
