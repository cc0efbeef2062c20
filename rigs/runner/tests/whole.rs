//! Models seated whole: all their ports on the seats of a rig, sharing one set of values, in both times.

#![allow(clippy::unwrap_used)]

mod common;

use hilrig_port::Runtime;
use hilrig_rigs::{FileError, On, Options, Plan, RunResult, Verdict, VirtualRun, render, run, run_virtual};
use proptest::prelude::*;

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const CELL: &str = include_str!("../../cell.toml");

fn parse(text: &str, folder: &str) -> Result<Plan, FileError> {
    Plan::parse(text, &format!("{folder}/x.toml")).map_err(|report| report.downcast().unwrap())
}

fn plan(text: &str) -> Plan {
    let plan = parse(text, &format!("{HERE}/.."));
    plan.unwrap_or_else(|e| panic!("{}", render(&e.into(), false)))
}

fn really(plan: &Plan) -> RunResult {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        on: On::Ports(Runtime::at(dir.path().join("run")).unwrap()),
        seed: None,
        stop: &|| false,
        on_progress: &|_| {},
        on_log: None,
        golden: None,
    };
    run(plan, &options)
}

fn lines(log: &str, what: &str, of: &str) -> Vec<serde_json::Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["what"] == what && line["of"] == of).collect()
}

#[test]
fn slaves_masters_and_telegrams_of_a_model_share_its_values() {
    let plan = plan(CELL);
    plan.check_virtual().unwrap();
    let VirtualRun { result, log } = run_virtual(&plan, None);
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
    assert_eq!(log, run_virtual(&plan, None).log, "alike to the byte");

    let names: Vec<&str> = result.stations.iter().map(|s| s.name.as_str()).collect();
    let wanted = [
        "cell.panel",
        "cell.office",
        "cell.scale",
        "field.drive",
        "field.scale",
        "cell.drive",
        "panel",
        "office",
    ];
    assert_eq!(names, wanted);
    let of = |name: &str| result.stations.iter().find(|s| s.name == name).unwrap();
    assert_eq!(of("cell.drive").counters["requests"], of("field.drive").counters["requests"]);
    assert_eq!(of("cell.scale").counters["received"], of("field.scale").counters["sent"]);
    assert_eq!(
        (of("office").sent_bytes, of("office").port.as_str()),
        (of("cell.office").received_bytes, "office.client")
    );

    // Frames are read as their framing has them, and telegrams are none of Modbus.
    let one = |of: &str| lines(&log, "sent", of).remove(0);
    assert_eq!((&one("office")["unit"], &one("office")["function"]), (&1.into(), &2.into()));
    assert_eq!((&one("cell.office")["unit"], &one("cell.office")["function"]), (&1.into(), &2.into()));
    assert_eq!((&one("cell.drive")["role"], &one("cell.drive")["unit"]), (&"master".into(), &2.into()));
    let telegram = one("field.scale");
    assert!(
        telegram["unit"].is_null() && telegram["hex"].as_str().unwrap().starts_with("4e20"),
        "{telegram}"
    );
    assert!(lines(&log, "result", "cell.drive.speed").len() > 10);
    // Each line of the rig has its number: what one is asked says nothing of another.
    let line = |of: &str| one(of)["line"].clone();
    assert_eq!((line("panel"), line("cell.drive")), (line("cell.panel"), line("field.drive")));
    assert_ne!(line("panel"), line("office"));
}

#[test]
fn the_same_rig_passes_on_pseudo_terminals_and_sockets() {
    let result = really(&plan(CELL));
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
}

#[test]
fn another_seed_is_the_models_too() {
    let plan = plan(CELL);
    let run = run_virtual(&plan, 7);
    assert_eq!((run.result.verdict, run.result.seed), (Verdict::Pass, 7), "{}", run.result.render(false));
}

const GATEWAY: &str = r#"name = "g"
[port.net]
framing = "tcp"
[port.line]
[port.ear]
[unit.u]
id = 9
[gateway.g]
port = "net"
line = "line"
units = { 7 = 1 }
[sniff.e]
port = "ear"
[[fault]]
name = "on-line"
armed = false
when = { unit = 9 }
effect = "bad_crc"
"#;

const RIG: &str = r#"name = "x"
[ports.p]
pair = { baud = 115200 }
[ports.n]
tcp = {}
[sim.g.plc]
model = "g.toml"
ports = { net = "n.server", line = "p.a" }
[sim.s.plc]
port = "p.b"
holding = { 0 = 5 }
[master.m]
port = "n.client"
unit = 7
[master.m.poll.x]
holding = 0
every = "50ms"
[[step]]
expect = { poll = "m.x", address = 0, equals = 5, within = "2s" }
[[step]]
set = { master = "m", holding = 0, value = 6 }
[[step]]
expect = { poll = "m.x", address = 0, equals = 6, within = "2s" }
[[step]]
assert = { bytes_lost = "all", equals = 0 }
"#;

#[test]
fn a_gateway_carries_a_network_to_a_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("g.toml"), GATEWAY).unwrap();
    let plan = parse(RIG, &dir.path().display().to_string()).unwrap();
    let VirtualRun { result, log } = run_virtual(&plan, None);
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
    assert_eq!(log, run_virtual(&plan, None).log);
    let sent = lines(&log, "sent", "g.net");
    let roles: Vec<&str> = sent.iter().take(2).map(|l| l["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["master", "simulator"], "to its line, then to its caller");
    assert_eq!((&sent[0]["unit"], &sent[1]["unit"]), (&1.into(), &7.into()));
    let real = really(&plan);
    assert_eq!(real.verdict, Verdict::Pass, "{}", real.render(false));
}

#[test]
fn a_plc_of_the_rig_can_be_called_too() {
    let text = RIG
        .replace("[ports.p]\npair = { baud = 115200 }\n", "")
        .replace(
            "model = \"g.toml\"\nports = { net = \"n.server\", line = \"p.a\" }",
            "port = \"n.server\"\nunit = 7\nholding = { 0 = 5 }",
        )
        .replace("[sim.s.plc]\nport = \"p.b\"\nholding = { 0 = 5 }\n", "");
    let two = text.replace("[[step]]\nassert", "[[step]]\nexpect = { poll = \"k.x\", address = 0, equals = 6, within = \"2s\" }\n[[step]]\nassert")
        .replace("[master.m]", "[master.k]\nport = \"n.client\"\nunit = 7\n[master.k.poll.x]\nholding = 0\n[master.m]");
    for text in [text, two] {
        let plan = parse(&text, ".").unwrap_or_else(|e| panic!("{}", render(&e.into(), false)));
        let run = run_virtual(&plan, None);
        assert_eq!(run.result.verdict, Verdict::Pass, "{}", run.result.render(false));
        let real = really(&plan);
        assert_eq!(real.verdict, Verdict::Pass, "{}", real.render(false));
    }
}

#[test]
fn a_connection_that_is_lost_ends_a_run_in_both_times() {
    let dir = tempfile::tempdir().unwrap();
    let model = "name = \"c\"\n[unit.u]\nid = 1\nholding = { 0 = 5 }\n[port.net]\nframing = \"tcp\"\n[[fault]]\nname = \"cut\"\nwhen = { nth = 3 }\neffect = \"close\"\n";
    std::fs::write(dir.path().join("c.toml"), model).unwrap();
    let text = "name = \"x\"\n[ports.n]\ntcp = {}\n[sim.s.plc]\nmodel = \"c.toml\"\nport = \"n.server\"\n[master.m]\nport = \"n.client\"\n[master.m.poll.x]\nholding = 0\nevery = \"20ms\"\n[[step]]\nexpect = { poll = \"m.x\", address = 0, equals = 6, within = \"3s\" }\n";
    let plan = parse(text, &dir.path().display().to_string())
        .unwrap_or_else(|e| panic!("{}", render(&e.into(), false)));
    for result in [run_virtual(&plan, None).result, really(&plan)] {
        assert_eq!(result.verdict, Verdict::Error, "{}", result.render(false));
        assert!(result.reason.contains("port n.client is gone"), "{}", result.reason);
        assert_eq!(result.reply_faults[0].fired, 1);
    }
}

#[test]
fn what_cannot_sit_there_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("g.toml"), GATEWAY).unwrap();
    let folder = dir.path().display().to_string();
    let ports = "ports = { net = \"n.server\", line = \"p.a\" }";
    let cases = [
        (ports, "", "6:6 this PLC sits nowhere; give `port`, or with a model `ports`"),
        (ports, "port = \"p.a\"\nports = { line = \"p.b\" }", "9:11 `port` and `ports` together"),
        (
            ports,
            "ports = { nett = \"n.server\", line = \"p.a\" }",
            "8:11 the model has no port `nett`; no such port; did you mean `net`?",
        ),
        (
            ports,
            "ports = { net = \"n.server\" }",
            "8:11 this gateway has no line; give the port of the line behind it a place, too",
        ),
        (
            ports,
            "ports = { line = \"p.a\" }",
            "8:11 this is the line behind a gateway; give the port where it is called a place, too",
        ),
        (
            ports,
            "ports = { net = \"p.a\", line = \"n.server\" }",
            "8:11 the model's port `net` is none of a serial line",
        ),
        (
            ports,
            "ports = { net = \"p.a\", line = \"n.server\" }",
            "8:24 the model's port `line` is one of a line; a network is none",
        ),
        (
            ports,
            "ports = { net = \"n.client\", line = \"p.a\" }",
            "8:11 this is the other end of the network; it is called; write NAME.server",
        ),
        (ports, "ports = { net = \"n.server\", line = \"p.c\" }", "8:36 `p` is a pair, which has two ends"),
        ("n.client", "n.server", "13:8 `n.server` is used twice"),
        (
            "n.client",
            "n.server",
            "13:8 this is the other end of the network; a master calls; write NAME.client",
        ),
        ("n.client", "n.b", "13:8 `n` is a network, which has two ends; write n.server or n.client"),
        ("n.client", "n", "13:8 `n` is a network, which has two ends"),
        ("p.b", "n.client", "10:8 this is the other end of the network; a PLC is called; write NAME.server"),
        ("model = \"g.toml\"\n", "holding = { 0 = 1 }\n", "8:11 there is no model"),
        (
            "[master.m]",
            "[link.l]\na = \"n.client\"\nb = \"p.b\"\n[master.m]",
            "13:5 a link joins lines, not networks",
        ),
        ("unit = 7", "framing = \"morse\"", "14:11 `morse` is not a framing"),
        (
            "[[step]]\nexpect",
            "[[step]]\narm = \"on-line\"\n[[step]]\nexpect",
            "19:7 the fault `on-line` can happen nowhere; no port of the model that answers has a place in this rig",
        ),
        (
            "[sim.g.plc]\nmodel = \"g.toml\"\nports = { net = \"n.server\", line = \"p.a\" }\n",
            "",
            "4:8 nobody is called in this network; put a simulator at n.server",
        ),
    ];
    let problems = |(from, to): &(&str, &str)| match parse(&RIG.replacen(from, to, 1), &folder) {
        Ok(_) => vec![],
        Err(error) => {
            let shown = error.problems.iter().map(|p| {
                let help = p.help.as_deref().unwrap_or_default();
                format!("{}:{} {}; {}; {help}", p.line, p.column, p.message, p.label)
            });
            shown.collect()
        }
    };
    common::each_is_told(cases.map(|(from, to, problem)| ((from, to), problem)), problems);
}

#[test]
fn a_real_listener_has_no_virtual_time() {
    let text = CELL
        .replace(
            "tcp = {}            # who is called sits at office.server, who calls at office.client",
            "url = \"tcp-listen:127.0.0.1:0\"",
        )
        .replace("office.server", "office");
    let (text, _) = text.split_once("[master.office]").unwrap();
    let text = format!("{text}[[step]]\nassert = {{ point = \"plc.speed\", equals = 0 }}\n");
    let plan = plan(&text);
    let error = plan.check_virtual().unwrap_err();
    let error = error.downcast_ref::<FileError>().unwrap();
    let line = 1 + text.lines().position(|l| l.contains("tcp-listen")).unwrap();
    assert_eq!((error.problems.len(), error.problems[0].line), (1, line));
    let result = really(&plan);
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_rig_with_models_breaks_the_reader(
        at in 0..CELL.len(),
        length in 0usize..30,
        piece in "(a|b|0|-1|1e300|true|\"\"|\"plc.speed\"|nan|cell|panel|drive|server|client|\\[|\\{|\\}|=|,)?",
    ) {
        let floor = |mut i: usize| { while !CELL.is_char_boundary(i) { i -= 1; } i };
        let (from, to) = (floor(at), floor((at + length).min(CELL.len())));
        let text = format!("{}{piece}{}", &CELL[..from], &CELL[to..]);
        match parse(&text, &format!("{HERE}/..")) {
            Ok(plan) => drop(plan.check_virtual()),
            Err(error) => drop(render(&error.into(), false)),
        }
    }
}
