//! The commands that talk to a daemon.

use hilrig_tests::{Conn, Sandbox, finish, text};
use serde_json::{Value, json};

use crate::one_sentence;

fn json_of(sandbox: &Sandbox, args: &[&str]) -> Value {
    let output = sandbox.run(args);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}: {output:?}");
    assert_eq!(output.stdout.trim_end().lines().count(), 1, "one object: {output:?}");
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {output:?}"))
}

#[test]
fn without_a_daemon_clients_say_so() {
    let sandbox = Sandbox::new();
    let nowhere = sandbox.run(["status"]);
    assert!(one_sentence(&nowhere, 3).contains(sandbox.root.to_str().unwrap()), "{nowhere:?}");
    assert_eq!(sandbox.run(["init"]).code, Some(0));
    for args in [
        &["status"][..],
        &["status", "bridge", "--json"],
        &["call", "ping"],
        &["config", "get", "bridge"],
        &["action", "list", "bridge"],
        &["job", "list", "bridge"],
    ] {
        let output = sandbox.run(args);
        let said = one_sentence(&output, 3);
        assert!(said.contains("hilrig serve"), "what to do: {said}");
    }
    let output = sandbox.run(["--connect", "tcp:127.0.0.1:1", "call", "ping"]);
    assert!(one_sentence(&output, 3).contains("127.0.0.1:1"));
    let output = sandbox.run(["--connect", "carrier-pigeon", "call", "ping"]);
    assert!(one_sentence(&output, 2).contains("carrier-pigeon"));
}

#[test]
fn json_is_exactly_the_contracts_object() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let app = json!({"appId": "bridge"});
    let mut contract = |method: &str| Value::Object(conn.call(method, app.clone()));
    assert_eq!(json_of(&sandbox, &["status", "bridge", "--json"]), contract("status.get"));
    assert_eq!(json_of(&sandbox, &["config", "get", "bridge", "--json"]), contract("config.get"));
    assert_eq!(json_of(&sandbox, &["action", "list", "bridge", "--json"]), contract("action.list"));
    assert_eq!(json_of(&sandbox, &["job", "list", "bridge", "--json"]), contract("action.job.list"));
    assert_eq!(json_of(&sandbox, &["call", "app.list"]), contract("app.list"));
    assert_eq!(json_of(&sandbox, &["call", "interface.describe"]), contract("interface.describe"));
    let set = json_of(&sandbox, &["config", "set", "bridge", "profile", "lab", "--json"]);
    assert_eq!(set["changed"], true);
    let tcp = format!("tcp:{}", daemon.tcp.unwrap());
    for endpoint in [tcp, format!("unix:{}", daemon.socket.display())] {
        let pong = json_of(&sandbox, &["--connect", &endpoint, "call", "ping"]);
        assert_eq!(pong["pong"], true);
    }
    let elsewhere = finish({
        let mut command = sandbox.command_on(&sandbox.other_root(), ["call", "ping", "--root"]);
        command.arg(&sandbox.root);
        command
    });
    assert_eq!(elsewhere.code, Some(0), "{elsewhere:?}");
}

#[test]
fn start_watch_stop_and_read_as_an_operator() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let table = sandbox.run(["status"]);
    assert_eq!(table.code, Some(0));
    for (app, _) in hilrig_tests::APPS {
        assert!(table.stdout.lines().any(|l| l.starts_with(app) && l.contains("stopped")), "{table:?}");
    }
    let started = sandbox.run(["action", "invoke", "bridge", "run_start", "--wait"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    assert!(started.stdout.contains("pty:bridge-a"), "what came up: {started:?}");
    assert!(!started.stderr.contains('\r'), "progress only on a terminal: {started:?}");
    assert_eq!(conn.status("bridge")["running"], true);
    let one = sandbox.run(["status", "bridge"]);
    assert!(one.stdout.lines().any(|l| l == "running: true"), "{one:?}");
    // Without --wait: the job's id, alone, for a script.
    let invoked = sandbox.run(["action", "invoke", "bridge", "soak", "durationSeconds=0.1"]);
    let job = invoked.stdout.trim_end();
    assert_eq!(conn.end_of_job("bridge", job)["state"], "succeeded");
    let record = json_of(&sandbox, &["job", "get", "bridge", job, "--json"]);
    assert_eq!(record, Value::Object(conn.job("bridge", job)));
    // Exit codes by the job's outcome.
    let late = sandbox.run([
        "action",
        "invoke",
        "bridge",
        "soak",
        "{\"durationSeconds\": 60}",
        "--wait",
        "--timeout",
        "0.2",
    ]);
    assert_eq!(late.code, Some(4), "{late:?}");
    let failed = sandbox.run(["action", "invoke", "40318", "run_start", "--wait"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("no firmware configured"), "{failed:?}");
    let failed = sandbox.run(["action", "invoke", "40318", "run_start", "--wait", "--json"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let record: Value = serde_json::from_str(&failed.stdout).expect("the record");
    assert_eq!(record["state"], "failed");
    let long = sandbox.run(["action", "invoke", "bridge", "soak", "durationSeconds=600"]);
    let long = long.stdout.trim_end();
    assert_eq!(sandbox.run(["job", "cancel", "bridge", long]).code, Some(0));
    assert_eq!(conn.end_of_job("bridge", long)["state"], "canceled");
    assert_eq!(sandbox.run(["job", "get", "bridge", long]).code, Some(4));
    let list = sandbox.run(["job", "list", "bridge"]);
    assert!(list.stdout.lines().any(|l| l.contains(long) && l.contains("canceled")), "{list:?}");
    assert_eq!(sandbox.run(["action", "invoke", "bridge", "run_stop", "--wait"]).code, Some(0));
    assert_eq!(conn.status("bridge")["running"], false);
}

/// A rig of the installation, started through the contract and read from the status.
#[test]
fn a_rig_through_run_start_gives_its_verdict() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(["init"]).code, Some(0));
    let daemon = sandbox.daemon();
    let mut conn: Conn = daemon.connect();
    let mut events = daemon.connect();
    events.call("events.subscribe", json!({"topics": ["status.changed"]}));
    let started = sandbox.run(["action", "invoke", "bridge", "run_start", "rig=first", "--wait"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    let over = events.event_with(|e| {
        e["params"]["running"] == false
            && e["params"]["status"]["scenario"]["verdict"].as_str().is_some_and(|v| !v.is_empty())
    });
    let verdict = over["params"]["status"]["scenario"]["verdict"].as_str().unwrap();
    assert!(["pass", "marginal"].contains(&verdict), "{over}");
    let status = conn.status("bridge");
    assert_eq!(
        (&status["scenario"]["name"], &status["scenario"]["verdict"]),
        (&json!("first"), &json!(verdict))
    );
    // A broken expectation: the run ends with a verdict that says which.
    let rig = sandbox.root.join("rigs/first.toml");
    std::fs::write(&rig, text(&rig).replace("equals = 1234", "equals = 4321").replace("\"5s\"", "\"1s\""))
        .unwrap();
    conn.act("bridge", "run_start", json!({"rig": "first"}));
    events.event_with(|e| e["params"]["status"]["scenario"]["verdict"] == "fail");
    let status = conn.status("bridge");
    assert!(status["error"].as_str().unwrap().contains("4321"), "{status:?}");
    // A broken file fails the start and says where.
    std::fs::write(&rig, text(&rig).replace("unit = 17", "unti = 17")).unwrap();
    let record = conn.try_act("bridge", "run_start", json!({"rig": "first"}));
    assert_eq!(record["state"], "failed");
    assert!(record["stderr"].as_str().unwrap().contains("unti"), "{record:?}");
    let record = conn.try_act("bridge", "run_start", json!({"rig": "nobody"}));
    assert!(
        record["error"]["message"].as_str().unwrap().contains("first"),
        "names those there are: {record:?}"
    );
    assert_eq!(conn.status("bridge")["running"], false);
}

#[test]
fn refusals_are_one_sentence() {
    let sandbox = Sandbox::new();
    let _daemon = sandbox.daemon();
    for (args, said) in [
        (&["config", "set", "bridge", "profile", "moon"][..], "sim, lab, prod"),
        (&["config", "set", "bridge", "no.such", "1"], "no.such"),
        (&["config", "get", "bridge", "no.such"], "near.url"),
        (&["config", "set", "nobody", "profile", "sim"], "nobody"),
        (&["status", "nobody"], "nobody"),
        (&["action", "invoke", "bridge", "fly"], "fly"),
        (&["action", "invoke", "bridge", "soak", "durationSeconds"], "name=value"),
        (&["action", "invoke", "bridge", "soak", "{\"x\":"], "JSON"),
        (&["job", "get", "bridge", "job-1"], "job-1"),
        (&["call", "status.get", "{\"appId\":"], "JSON"),
        (&["call", "no.such"], "no.such"),
    ] {
        let output = sandbox.run(args);
        let sentence = one_sentence(&output, 2);
        assert!(sentence.contains(said), "{args:?}: {sentence}");
    }
    let set = sandbox.run(["config", "set", "bridge", "profile", "lab", "--expect", "an old revision"]);
    one_sentence(&set, 2);
    assert_eq!(sandbox.run(["config", "get", "bridge", "profile"]).stdout, "sim\n");
    assert_eq!(sandbox.run(["config", "set", "bridge", "profile", "lab"]).code, Some(0));
    assert_eq!(sandbox.run(["config", "get", "bridge", "profile"]).stdout, "lab\n");
}

#[test]
fn tcp_beyond_this_machine_needs_a_token() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(["serve", "--tcp", "0.0.0.0:0"]);
    assert!(one_sentence(&output, 3).contains("token file"), "{output:?}");
    let token = sandbox.scratch().join("token");
    std::fs::write(&token, "correct horse battery staple\n").unwrap();
    let args = ["--tcp", "127.0.0.1:0", "--token-file", token.to_str().unwrap()];
    let daemon = hilrig_tests::Daemon::start(&sandbox, &args);
    let mut conn = daemon.connect_tcp();
    for given in [json!(null), json!("wrong"), json!(5), json!("")] {
        let reply = conn.ask(&json!({"id": "1", "method": "ping", "token": given}));
        hilrig_tests::refusal(&reply, &[hilrig_tests::BAD_ARG]);
        assert!(!reply.to_string().contains("correct horse battery staple"));
    }
    hilrig_tests::refusal(&conn.ask(&json!({"method": "ping"})), &[hilrig_tests::BAD_ARG]);
    let reply = conn.ask(&json!({"method": "ping", "token": "correct horse battery staple"}));
    hilrig_tests::response(&reply);
    // The socket of the same user needs none.
    daemon.connect().ping();
    let missing = sandbox.scratch().join("no-token");
    let other = finish(sandbox.command_on(
        &sandbox.other_root(),
        ["serve", "--tcp", "127.0.0.1:0", "--token-file", missing.to_str().unwrap()],
    ));
    assert!(one_sentence(&other, 3).contains("no-token"));
}

/// Runs a command with its stderr on a terminal and gives what that showed.
fn on_a_terminal(mut command: std::process::Command) -> (Option<i32>, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).and_then(|()| unlockpt(&screen)).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let mut child = command.stdout(std::process::Stdio::null()).stderr(terminal).spawn().unwrap();
    drop(command);
    let mut shown = Vec::new();
    // The end of a terminal is an error.
    let _ = std::io::Read::read_to_end(&mut std::fs::File::from(screen), &mut shown);
    (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn waiting_shows_progress_on_a_terminal() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    daemon.connect().act("bridge", "run_start", json!({}));
    let wait = ["action", "invoke", "bridge", "soak", "durationSeconds=1", "--wait"];
    let (code, shown) = on_a_terminal(sandbox.command(wait));
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(shown.contains('\r') && shown.contains("running"), "progress: {shown:?}");
    assert!(shown.lines().last().unwrap().contains("succeeded"), "{shown:?}");
}
