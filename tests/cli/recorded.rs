//! `--record` and `runs`: what a link carried is in the database, also after a kill.

use hilrig_tests::{Line, Sandbox, wait_for};
use rustix::process::Signal;
use serde_json::Value;

use crate::one_sentence;

fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    let output = sandbox.run(args);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {output:?}"))
}

/// All bytes of a run in one direction, as hexadecimal.
fn bytes(run: &Value, link: &str, direction: &str) -> String {
    let frames = run["frames"].as_array().expect("frames").iter();
    let wanted = frames.filter(|f| f["link"] == link && f["direction"] == direction);
    wanted.map(|f| f["bytes"].as_str().expect("bytes")).collect()
}

fn hex(text: &[u8]) -> String {
    text.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_recorded_link_is_listed_and_shown() {
    let sandbox = Sandbox::new();
    let db = sandbox.scratch().join("runs.db");
    let db = db.to_str().unwrap();
    for round in 1..=2 {
        let fault =
            r#"{"id": "no-x", "direction": "a->b", "when": {"text": "x"}, "effect": "drop", "on": "byte"}"#;
        let never = "id = 'rare', direction = 'b->a', when = { byte = 1000000 }, effect = 'drop'";
        let args = ["link", "pty:one", "pty:two", "pty:idle.a", "pty:idle.b", "--record", db];
        let more = ["--run-name", "bench 7", "--seed", "7", "--fault", fault, "--fault", never];
        let child = sandbox.links(&[&args[..], &more].concat(), 2);
        let (one, two) = (Line::open(&sandbox.port("one")), Line::open(&sandbox.port("two")));
        one.open_through_to(&two);
        two.open_through_to(&one);
        one.write(b"axb").unwrap();
        assert_eq!(two.read(2).unwrap(), b"ab");
        two.write(b"back").unwrap();
        assert_eq!(one.read(4).unwrap(), b"back");
        let said = child.stop(Signal::INT);
        assert!(said.contains("fault no-x fired 1 times") && said.contains("rare never fired"), "{said}");
        assert!(said.contains(&format!("record {db}")), "{said}");

        let list = json(&sandbox, &["runs", "list", "--db", db, "--json"]);
        let runs = list["runs"].as_array().unwrap();
        assert_eq!(runs.len(), round, "{list}");
        let run = &runs[round - 1];
        assert_eq!(
            (&run["name"], &run["outcome"], &run["links"]),
            (&"bench 7".into(), &"ended".into(), &2.into())
        );
        let id = run["id"].to_string();
        let shown = json(&sandbox, &["runs", "show", &id, "--db", db, "--frames", "100000", "--json"]);
        assert_eq!((&shown["seed"], &shown["lostBytes"]), (&7.into(), &0.into()), "{shown}");
        assert!(bytes(&shown, "1", "a->b").ends_with(&hex(b"ab")), "{shown}");
        assert!(bytes(&shown, "1", "b->a").ends_with(&hex(b"back")), "{shown}");
        let account = &shown["links"][0]["directions"][0]["account"];
        assert_eq!(account["faultBytes"], 1, "{shown}");
        assert_eq!(account["bytesOut"], shown["links"][0]["directions"][0]["bytes"], "{shown}");
        let fired: Vec<&Value> =
            shown["events"].as_array().unwrap().iter().filter(|e| e["kind"] == "fault").collect();
        assert!(matches!(fired[..], [one] if one["detail"].as_str().unwrap().contains("no-x")), "{shown}");
    }
    let table = sandbox.run(["runs", "list", "--db", db]);
    assert_eq!(table.stdout.lines().filter(|l| l.contains("bench 7")).count(), 2, "{table:?}");
    let last = sandbox.run(["runs", "show", "--db", db, "--frames", "2"]);
    assert!(last.stdout.starts_with("run 2: bench 7: ended"), "{last:?}");
    assert!(last.stdout.lines().any(|l| l.contains("link 1, b->a:")), "{last:?}");
    let none = sandbox.run(["runs", "show", "9", "--db", db]);
    assert!(one_sentence(&none, 2).contains("no run 9"));
}

#[test]
fn a_killed_run_is_there_and_unfinished() {
    let sandbox = Sandbox::new();
    let db = sandbox.scratch().join("runs.db");
    let db = db.to_str().unwrap();
    let child = sandbox.links(&["link", "pty:one", "pty:two", "--record", db], 1);
    let (one, two) = (Line::open(&sandbox.port("one")), Line::open(&sandbox.port("two")));
    one.open_through_to(&two);
    one.write(b"before the kill").unwrap();
    two.read(15).unwrap();
    let show = ["runs", "show", "--db", db, "--frames", "1000", "--json"];
    // Also while the run is under way.
    wait_for("the bytes are in the database", || {
        bytes(&json(&sandbox, &show), "1", "a->b").ends_with(&hex(b"before the kill")).then_some(())
    });
    child.kill9();
    let run = json(&sandbox, &show);
    assert_eq!((&run["outcome"], &run["ended"]), (&"unfinished".into(), &Value::Null), "{run}");
    assert!(bytes(&run, "1", "a->b").ends_with(&hex(b"before the kill")), "{run}");
    // The next one goes on in the same file.
    let child = sandbox.links(&["link", "pty:one", "pty:two", "--record", db], 1);
    child.stop(Signal::TERM);
    let list = json(&sandbox, &["runs", "list", "--db", db, "--json"]);
    assert_eq!(list["counts"]["unfinished"], 1, "{list}");
    assert_eq!(list["runs"][1]["outcome"], "ended", "{list}");
}

#[test]
fn two_processes_record_into_one_file() {
    let sandbox = Sandbox::new();
    let db = sandbox.scratch().join("runs.db");
    let db = db.to_str().unwrap();
    let names = ["one", "two"];
    let children = names.map(|name| {
        let [a, b] = ["a", "b"].map(|side| format!("pty:{name}.{side}"));
        sandbox.links(&["link", &a, &b, "--record", db, "--run-name", name], 1)
    });
    std::thread::scope(|scope| {
        for name in names {
            let [a, b] = ["a", "b"].map(|side| sandbox.port(&format!("{name}.{side}")));
            scope.spawn(move || {
                let (a, b) = (Line::open(&a), Line::open(&b));
                a.open_through_to(&b);
                for _ in 0..200 {
                    a.write(name.as_bytes()).unwrap();
                    assert_eq!(b.read(3).unwrap(), name.as_bytes());
                }
            });
        }
    });
    for child in children {
        child.stop(Signal::INT);
    }
    for run in json(&sandbox, &["runs", "list", "--db", db, "--json"])["runs"].as_array().unwrap() {
        let (id, name) = (run["id"].to_string(), run["name"].as_str().unwrap());
        let run = json(&sandbox, &["runs", "show", &id, "--db", db, "--frames", "100000", "--json"]);
        assert!(bytes(&run, "1", "a->b").ends_with(&hex(name.as_bytes()).repeat(200)), "{run}");
        assert_eq!((&run["outcome"], &run["lostBytes"]), (&"ended".into(), &0.into()), "{run}");
    }
    assert_eq!(sandbox.run(["init"]).code, Some(0));
    assert!(one_sentence(&sandbox.run(["runs", "list"]), 2).contains("state/runs.db"));
}

#[test]
fn what_is_no_database_of_runs_is_refused() {
    let sandbox = Sandbox::new();
    let file = sandbox.scratch().join("notes.txt");
    let absent = sandbox.run(["runs", "list", "--db", file.to_str().unwrap()]);
    assert!(one_sentence(&absent, 2).contains("no such database"));
    std::fs::write(&file, "only words, and enough of them to be looked at. ".repeat(20)).unwrap();
    let list = sandbox.run(["runs", "list", "--db", file.to_str().unwrap()]);
    assert!(one_sentence(&list, 2).contains("not a database"));
    let link = sandbox.run(["link", "pty:a", "pty:b", "--record", file.to_str().unwrap()]);
    assert!(one_sentence(&link, 3).contains("not a database"));
}
