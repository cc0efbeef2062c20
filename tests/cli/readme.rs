//! What the README tells people to type, typed.

use hilrig_tests::{Sandbox, repository, response, text};
use serde_json::Value;

/// The commands of the README's tour, in order, without comments.
fn tour() -> Vec<String> {
    let readme = text(&repository().join("README.md"));
    let lines = readme.lines().skip_while(|l| !l.starts_with("hilrig init "));
    let block = lines.take_while(|l| !l.starts_with("```"));
    let commands = block.filter(|l| l.starts_with("hilrig "));
    commands.map(|l| l.split(" #").next().unwrap().trim_end().to_owned()).collect()
}

#[test]
fn the_tour_of_the_readme_works() {
    let sandbox = Sandbox::new();
    let tour = tour();
    assert!(tour.len() >= 8, "{tour:?}");
    let root = tour[0].split_whitespace().nth(2).expect("hilrig init DIR");
    let mut daemon = None;
    for line in &tour {
        let words: Vec<String> = line
            .split_whitespace()
            .skip(1)
            .map(|w| w.replace(root, sandbox.root.to_str().unwrap()))
            .collect();
        if words[0] == "serve" {
            daemon = Some(sandbox.daemon());
            continue;
        }
        let output = sandbox.run(&words);
        assert_eq!(output.code, Some(0), "{line}: {output:?}");
        assert!(!output.stdout.is_empty(), "{line}: {output:?}");
    }
    assert_eq!(daemon.expect("the tour starts a daemon").terminate().code(), Some(0));
    sandbox.wait_until_empty();
}

#[test]
fn the_requests_of_the_readme_are_answered() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut asked = 0;
    for line in text(&repository().join("README.md")).lines() {
        let Some(request) = line.find("'{\"").and_then(|at| line[at + 1..].split('\'').next()) else {
            continue;
        };
        let request: Value = serde_json::from_str(request).unwrap_or_else(|e| panic!("{e}: {line}"));
        response(&daemon.connect_tcp().ask(&request));
        asked += 1;
    }
    assert!(asked > 0, "the README shows no request");
}
