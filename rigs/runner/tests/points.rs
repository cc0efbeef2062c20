//! Steps that speak of points: compared, set, moved and let go by name, in the model and over the line, alike in both
//! times.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;
use std::sync::Mutex;

use hilrig_port::Runtime;
use hilrig_rigs::{
    FileError, Golden, On, Options, Plan, RunResult, Verdict, VirtualRun, render, run, run_virtual,
};

const MODEL: &str = r#"name = "m"
[unit.pump]
id = 3
[unit.pump.point]
speed = { at = "holding:0", type = "f32", order = "CDAB", unit = "rpm", value = 1450.25 }
pressure = { at = "holding:2", scale = 0.01, unit = "bar", value = 6.5 }
name = { at = "holding:3", type = "string", length = 3, value = "P-7" }
alarm = { at = "holding:6", type = "bool", bit = 3, value = false }
hours = { at = "holding:7", type = "u64", value = 9007199254740993 }
run = { at = "coil:0", value = true }
wave = { at = "holding:11", type = "i16", signal = { square = { low = 0, high = 100, period = "2s" } } }
fixed = { at = "holding:12", access = "ro", value = 4 }
level = { at = "input:0", value = 7 }
[unit.tank]
id = 4
[unit.tank.point]
level = { at = "holding:0", value = 1 }
[[fault]]
name = "busy"
armed = false
effect = { exception = 6 }
[[fault]]
name = "deaf"
armed = false
when = { unit = 99 }
effect = "silence"
"#;

const RIG: &str = r#"name = "points"
timeout = "30s"
[ports.p]
pair = { baud = 115200 }
[sim.s.plc]
port = "p.a"
model = "m.toml"
[master.m]
port = "p.b"
unit = 3
[master.m.poll.all]
holding = "0..12"
every = "20ms"
[master.m.poll.coil]
coils = 0
every = "50ms"
"#;

/// A folder with the model, and the rig with these steps.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("m.toml"), MODEL).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn parse(&self, text: &str) -> Result<Plan, FileError> {
        let plan = Plan::parse(text, &self.path("x.toml").display().to_string());
        plan.map_err(|report| report.downcast::<FileError>().unwrap())
    }

    fn plan(&self, steps: &str) -> Plan {
        self.parse(&format!("{RIG}{}", tables(steps)))
            .unwrap_or_else(|e| panic!("{}", render(&e.into(), false)))
    }

    fn virtually(&self, steps: &str) -> VirtualRun {
        run_virtual(&self.plan(steps), None)
    }

    fn really(&self, steps: &str, golden: &Golden) -> (RunResult, String) {
        let log = Mutex::new(String::new());
        let on_log = |line: &str| log.lock().unwrap().push_str(&format!("{line}\n"));
        let options = Options {
            on: On::Ports(Runtime::at(self.path("run")).unwrap()),
            seed: None,
            stop: &|| false,
            on_progress: &|_| {},
            on_log: Some(&on_log),
            golden: Some(golden),
        };
        let result = run(&self.plan(steps), &options);
        (result, log.into_inner().unwrap())
    }

    /// All that is wrong, as `COLUMN MESSAGE; LABEL; HELP`, of one step.
    fn problems(&self, step: &str) -> Vec<String> {
        match self.parse(&format!("{RIG}{}", tables(step))) {
            Ok(_) => vec![],
            Err(error) => {
                let shown = error.problems.iter().map(|p| {
                    let help = p.help.as_deref().unwrap_or_default();
                    format!("{} {}; {}; {help}", p.column, p.message, p.label)
                });
                shown.collect()
            }
        }
    }
}

/// One step a line.
fn tables(steps: &str) -> String {
    steps.trim().lines().map(|line| format!("[[step]]\n{}\n", line.trim())).collect()
}

const ALL: &str = r#"
    assert = { point = "pump.speed", equals = 1450.25 }
    expect = { poll = "m.all", point = "pump.speed", equals = 1450, tolerance = 0.5, within = "2s" }
    assert = { sim = "s", point = "pressure", in = [6.49, 6.51] }
    expect = { poll = "m.all", point = "pressure", equals = 6.5, within = "2s" }
    assert = { point = "name", equals = "P-7" }
    expect = { poll = "m.all", point = "pump.name", not_equals = "P-8", within = "2s" }
    assert = { point = "hours", not_equals = 9007199254740992 }
    expect = { poll = "m.coil", point = "run", equals = true, within = "2s" }
    set = { point = "pressure", value = 7.25 }
    expect = { poll = "m.all", address = 2, equals = 725, within = "2s" }
    set = { master = "m", point = "pump.speed", value = -0.5 }
    assert = { point = "speed", equals = -0.5 }
    set = { master = "m", point = "name", value = "Q 9" }
    assert = { point = "name", equals = "Q 9" }
    set = { master = "m", point = "run", value = false }
    assert = { point = "run", equals = false }
    set = { master = "m", point = "alarm", value = true }
    assert = { point = "alarm", equals = true }
    assert = { sim = "s", point = "hours", min = 9007199254740993 }
    set = { point = "wave", value = -5 }
    expect = { poll = "m.all", point = "wave", equals = -5, within = "2s" }
    release = { point = "pump.wave" }
    expect = { poll = "m.all", point = "wave", min = 0, within = "4s" }
    set = { point = "speed", value = 100, over = "500ms" }
    expect = { point = "speed", in = [20, 80], within = "2s" }
    expect = { point = "speed", equals = 100, within = "2s" }
    arm = "busy"
    expect = { master = "m", count = "exceptions", min = 2, within = "2s" }
    clear = "s.busy"
    assert = { fault = "busy", min = 2 }
    expect = { poll = "m.all", point = "speed", equals = 100, within = "2s" }
"#;

#[test]
fn points_are_compared_set_moved_and_let_go_by_name() {
    let bench = Bench::new();
    let VirtualRun { result, log } = bench.virtually(ALL);
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.render(false));
    assert_eq!(log, bench.virtually(ALL).log, "alike to the byte");
    for words in [
        "s pump.speed = 1450.25",
        "m.all pump.speed = 1450 \u{b1} 0.5 within 2 s",
        "s pump.pressure in 6.49..6.51",
        "s pump.name = \\\"P-7\\\"",
        "pump.speed to -0.5 through m",
        "s pump.speed to 100 over 500 ms",
        "\"kind\":\"release\",\"text\":\"s pump.wave\"",
        "\"kind\":\"arm\",\"text\":\"busy of s\"",
        "exceptions of m at least 2 within 2 s",
        "\"what\":\"fault\",\"of\":\"busy\",\"on\":\"s\"",
    ] {
        assert!(log.contains(words), "{words} is not in\n{log}");
    }
    let busy = &result.reply_faults[0];
    assert_eq!((busy.name.as_str(), busy.sim.as_str()), ("busy", "s"));
    assert!(busy.fired >= 2 && busy.seen >= busy.fired, "{busy:?}");
    assert!(result.render(false).contains("fault busy of s: fired"), "{}", result.render(false));
}

#[test]
fn the_same_words_mean_the_same_in_real_time() {
    let bench = Bench::new();
    // What moves meanwhile brings other values at other times.
    let steps: String = ALL
        .lines()
        .filter(|l| !l.contains("wave") && !l.contains("over ="))
        .fold(String::new(), |s, l| s + l + "\n");
    let steps = steps.replace("in = [20, 80]", "max = 0").replace("equals = 100,", "equals = -0.5,");
    let recorded = bench.virtually(&steps);
    assert_eq!(recorded.result.verdict, Verdict::Pass, "{}", recorded.result.render(false));
    let golden = Golden::parse("golden.ndjson", recorded.log, None).unwrap();
    let texts = |result: &RunResult| -> Vec<(String, String)> {
        result.steps.iter().map(|s| (s.kind.clone(), s.text.clone())).collect()
    };
    let (result, _) = bench.really(&steps, &golden);
    let steps = &result.steps[..recorded.result.steps.len()];
    assert!(steps.iter().all(|s| s.verdict == Verdict::Pass), "{}", result.render(false));
    assert_eq!(texts(&result)[..steps.len()], texts(&recorded.result));
    // The live point is in the same reply as all others, so that only its own values can differ.
    let (result, _) = bench.really(ALL, &golden);
    let failed: Vec<_> =
        result.steps.iter().filter(|s| s.verdict == Verdict::Fail).map(|s| &s.kind).collect();
    assert_eq!(failed, ["golden"], "{}", result.render(false));
}

#[test]
fn what_a_point_is_instead_is_said() {
    let bench = Bench::new();
    let failed = |step: &str| {
        let result = bench.virtually(step).result;
        assert_eq!((result.verdict, result.exit_code()), (Verdict::Fail, 1), "{step}");
        result.reason
    };
    for (step, reason) in [
        (
            "assert = { point = \"speed\", equals = 1450, tolerance = 0.2 }",
            "expected s pump.speed = 1450 \u{b1} 0.2, got 1450.25",
        ),
        ("assert = { point = \"name\", equals = \"P-8\" }", "expected s pump.name = \"P-8\", got \"P-7\""),
        ("assert = { point = \"run\", equals = false }", "expected s pump.run = false, got true"),
        (
            "expect = { poll = \"m.all\", point = \"pressure\", max = 6, within = \"100ms\" }",
            "expected m.all pump.pressure at most 6 within 100 ms, got 6.5",
        ),
        (
            "expect = { point = \"tank.level\", min = 2, within = \"100ms\" }",
            "expected s tank.level at least 2 within 100 ms, got 1",
        ),
        ("assert = { poll = \"m.all\", point = \"speed\", min = 0 }", "got no reply so far"),
        (
            "arm = \"deaf\"\nexpect = { poll = \"m.all\", point = \"speed\", min = 0, within = \"1s\" }",
            "the fault deaf, armed in line 18, never fired, so nothing was tested with it",
        ),
    ] {
        let got = failed(step);
        assert!(got.ends_with(reason), "{step}: {got}");
    }
}

#[test]
fn a_master_that_may_not_write_a_point_is_told_by_the_unit() {
    let bench = Bench::new();
    let model = MODEL.replace("scale = 0.01, unit = \"bar\"", "scale = 0.01, unit = \"bar\", max = 10");
    std::fs::write(bench.path("m.toml"), model).unwrap();
    let result = bench.virtually(
        "set = { master = \"m\", point = \"pressure\", value = 11 }\nassert = { point = \"pressure\", equals = 6.5 }",
    );
    assert!(result.result.reason.contains("got exception 3"), "{}", result.result.reason);
}

#[test]
fn mistakes_about_points_say_what_the_point_is() {
    let bench = Bench::new();
    let cases = [
        (
            "assert = { point = \"pump.sped\", equals = 1 }",
            "20 unknown point `pump.sped`; no such point; did you mean `pump.speed`? known points: pump.speed, pump.pressure,",
        ),
        (
            "assert = { point = \"presure\", equals = 1 }",
            "20 unknown point `presure`; no such point; did you mean `pump.pressure`?",
        ),
        (
            "assert = { point = \"colour\", equals = 1 }",
            "20 unknown point `colour`; no such point; known points: pump.speed",
        ),
        (
            "assert = { point = \"level\", equals = 1 }",
            "20 several units have a point `level`; write pump.level or tank.level",
        ),
        (
            "assert = { sim = \"t\", point = \"speed\", equals = 1 }",
            "18 unknown simulator `t`; no such simulator; did you mean `s`?",
        ),
        (
            "assert = { point = \"speed\", equals = \"fast\" }",
            "38 `pump.speed` is a number in rpm (f32 at holding:0); this is text",
        ),
        (
            "assert = { point = \"speed\", equals = true }",
            "38 `pump.speed` is a number in rpm (f32 at holding:0); this is true or false",
        ),
        (
            "assert = { point = \"run\", equals = 2 }",
            "36 `pump.run` is true or false (bool at coil:0); this is a number",
        ),
        (
            "assert = { point = \"run\", min = 0 }",
            "33 `pump.run` is true or false (bool at coil:0); it is neither more nor less",
        ),
        (
            "assert = { point = \"name\", equals = 7 }",
            "37 `pump.name` is text (string at holding:3); this is a number",
        ),
        ("assert = { point = \"name\", in = [\"a\", \"b\"] }", "34 `pump.name` is text"),
        ("assert = { point = \"speed\", equals = 5, tolerance = -1 }", "53 this is no tolerance"),
        ("assert = { point = \"speed\", min = 5, tolerance = 1 }", "50 tolerance belongs to equals"),
        (
            "assert = { point = \"speed\", min = 5, max = 4 }",
            "35 nothing can be in this range; min is above max",
        ),
        ("assert = { point = \"speed\", equals = 5, max = 4 }", "47 more than one comparison"),
        (
            "assert = { point = \"speed\" }",
            "10 nothing to compare with; assert what? give equals, not_equals, in, min or max",
        ),
        (
            "assert = { point = \"speed\", count = \"retries\", equals = 5 }",
            "37 count belongs to poll or master",
        ),
        (
            "assert = { master = \"m\", point = \"speed\", count = \"retries\", equals = 5 }",
            "34 point belongs to sim or poll",
        ),
        (
            "assert = { sim = \"s\", point = \"speed\", holding = 0, equals = 5 }",
            "50 a point and a cell together",
        ),
        (
            "assert = { poll = \"m.all\", point = \"tank.level\", equals = 5 }",
            "36 the poll asks unit 3; `tank.level` is a point of unit 4",
        ),
        (
            "assert = { poll = \"m.all\", point = \"pump.level\", equals = 5 }",
            "36 the poll does not read `pump.level`; it reads holding 0..12; the point is at input:0",
        ),
        (
            "assert = { poll = \"m.all\", address = 0, equals = 5.5 }",
            "50 this should be a whole number; this is a number with a fraction",
        ),
        ("set = { point = \"speed\", value = \"fast\" }", "34 `pump.speed` is a number in rpm"),
        (
            "set = { point = \"pressure\", value = 700 }",
            "37 700 does not fit pump.pressure, which is u16: 0 to 655.35; `pump.pressure` is a number in bar",
        ),
        (
            "set = { point = \"name\", value = \"much too long\" }",
            "33 the text is 13 bytes long; pump.name holds 6",
        ),
        ("set = { point = \"run\", value = true, over = \"1s\" }", "45 `pump.run` is true or false"),
        ("set = { point = \"speed\", value = 1, within = \"1s\" }", "46 set in a simulator takes no time"),
        (
            "set = { master = \"m\", point = \"speed\", value = 1, over = \"1s\" }",
            "58 a master writes at once",
        ),
        (
            "set = { master = \"m\", point = \"fixed\", value = 1 }",
            "31 a master cannot write `pump.fixed`; its access is \"ro\"",
        ),
        (
            "set = { master = \"m\", point = \"pump.level\", value = 1 }",
            "31 a master cannot write `pump.level`; Modbus writes holding registers and coils only",
        ),
        ("set = { point = \"speed\", holding = 0, value = 1 }", "36 a point and a cell together"),
        ("set = { sim = \"s\", holding = 0, value = 1, over = \"1s\" }", "51 only points move evenly"),
        ("set = { value = 1 }", "7 set where?; give sim or master, or a point"),
        ("release = { point = \"speed\" }", "21 `pump.speed` has no signal that could go on"),
        (
            "arm = \"bussy\"",
            "7 unknown fault `bussy`; no such fault; did you mean `busy`? known faults of models: busy, deaf",
        ),
        ("clear = \"bussy\"", "9 unknown fault `bussy`; no such fault; did you mean `busy`?"),
        ("assert = { fault = \"busy\", equals = 0.5 }", "37 this should be a whole number"),
    ];
    common::each_is_told(cases, |step| bench.problems(step));
}

#[test]
fn of_several_simulators_the_one_that_is_meant_is_asked_for() {
    let bench = Bench::new();
    let two = RIG.replace("[master.m]", "[ports.q]\npair = {}\n[sim.t.plc]\nport = \"q.a\"\nmodel = \"m.toml\"\n[sim.u.plc]\nport = \"q.b\"\nholding = { 0 = 1 }\n[master.m]");
    let found = |step: &str| -> Vec<String> {
        match bench.parse(&format!("{two}{}", tables(step))) {
            Ok(_) => vec![],
            Err(error) => error.problems.iter().map(|p| format!("{}; {}", p.message, p.label)).collect(),
        }
    };
    let several = "several simulators have a point `pump.speed`; say with `sim` which is meant: s or t";
    assert_eq!(found("assert = { point = \"pump.speed\", min = 1 }"), [several]);
    assert_eq!(found("assert = { sim = \"t\", point = \"pump.speed\", min = 1 }"), [""; 0]);
    assert_eq!(found("assert = { sim = \"t\", poll = \"m.all\", point = \"pump.speed\", min = 1 }"), [""; 0]);
    assert_eq!(
        found("assert = { sim = \"u\", point = \"pump.speed\", min = 1 }"),
        ["`u` has no points; it has no model; write holding = ... or coils = ..."]
    );
    let faults = found("arm = \"busy\"\nassert = { sim = \"s\", point = \"run\", equals = true }");
    assert_eq!(faults, ["there are several faults `busy`; write s.busy or t.busy"]);
    assert_eq!(found("arm = \"t.busy\"\nassert = { sim = \"s\", point = \"run\", equals = true }"), [""; 0]);
    let inject = "inject = { name = \"busy\", link = \"l\", fault = \"drop\", direction = \"a->b\" }";
    assert!(found(inject).iter().any(|p| p.starts_with("two faults cannot have one name")));
}

#[test]
fn what_follows_of_a_broken_model_is_not_told() {
    let bench = Bench::new();
    std::fs::write(bench.path("m.toml"), "name = 5").unwrap();
    let steps = "assert = { point = \"speed\", equals = 5 }\nassert = { sim = \"s\", point = \"speed\", equals = 5 }\narm = \"busy\"\nset = { point = \"speed\", value = 5 }";
    let found = bench.problems(steps);
    assert_eq!(found.len(), 1, "{found:#?}");
}
