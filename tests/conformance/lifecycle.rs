//! Cases 80 to 82: the daemon as a process: its output, its end, its neighbours, its next life.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use hilrig_tests::{Conn, Daemon, NOT_FOUND, Read, finish, refusal, signal, wait_for};
use rustix::process::Signal;
use serde_json::json;

use crate::{Bench, Binding, PATIENCE, cases};

cases! {
    80 STDIO stdout_is_protocol_and_eof_is_the_end;
    81 SOCKETS second_daemon_and_stale_socket;
    82 SOCKETS next_life_after_kill_9;
}

fn stdout_is_protocol_and_eof_is_the_end(bench: &Bench) {
    let mut conn = bench.connect();
    // Whatever is logged meanwhile, each line on stdout is a reply.
    conn.act("bridge", "run_start", json!({}));
    conn.try_act("40318", "run_start", json!({}));
    conn.set("bridge", "profile", "lab");
    conn.act("bridge", "run_stop", json!({}));
    refusal(&conn.raw("garbage"), &[hilrig_tests::BAD_ARG]);
    conn.half_close();
    assert_eq!(conn.read_line(PATIENCE), Read::Closed);
    assert_eq!(conn.end_of_process().code(), Some(0));

    for signal_sent in [Signal::TERM, Signal::INT] {
        let mut conn = Conn::stdio(&mut bench.sandbox.command(["stdio"]));
        conn.act("bridge", "run_start", json!({}));
        signal(conn.pid().unwrap(), signal_sent);
        assert_eq!(conn.end_of_process().code(), Some(0), "{signal_sent:?}");
        bench.sandbox.wait_until_empty();
    }

    // A launch that fails: words on stderr, nothing on stdout.
    let file = bench.sandbox.scratch().join("file");
    std::fs::write(&file, "").unwrap();
    let output = finish(bench.sandbox.command_on(&file, ["stdio"]));
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.contains("file"), "{output:?}");
}

fn second_daemon_and_stale_socket(bench: &Bench) {
    let mut conn = bench.connect();
    conn.ping();
    let sandbox = &bench.sandbox;
    // The same root.
    let second = finish({
        let mut command = sandbox.command(["serve", "--no-tcp"]);
        command.stdin(Stdio::null());
        command
    });
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.stderr.contains(&bench.daemon().pid().to_string()), "says who: {second:?}");
    conn.ping();
    // Another root, the same address.
    let taken = match bench.binding {
        Binding::Tcp => ["--tcp".to_owned(), bench.daemon().tcp.unwrap().to_string()],
        _ => ["--socket".to_owned(), bench.daemon().socket.display().to_string()],
    };
    let mut args = vec!["serve".to_owned()];
    args.extend((bench.binding != Binding::Tcp).then(|| "--no-tcp".to_owned()));
    args.extend(taken.clone());
    let before = sandbox.runtime_files();
    let second = finish(sandbox.command_on(&sandbox.other_root(), &args));
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.stderr.contains(&taken[1]), "names the address: {second:?}");
    assert_eq!(second.stderr.trim().lines().count(), 1, "one sentence: {second:?}");
    assert_eq!(sandbox.runtime_files(), before, "half a start");
    assert_eq!(sandbox.processes().len(), 1, "{:?}", sandbox.processes());
    conn.ping();
    bench.connect().ping();
    // The socket of a dead daemon is in nobody's way, and a file that is no socket is not touched.
    let socket = bench.daemon().socket.clone();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let extra = sandbox.scratch().join("extra.sock");
    let args = ["--no-tcp", "--socket", extra.to_str().unwrap()];
    signal(bench.daemon().pid(), Signal::KILL);
    wait_for("the first daemon is gone", || sandbox.processes().is_empty().then_some(()));
    assert!(socket.exists(), "a kill -9 leaves the socket");
    let daemon = Daemon::start(sandbox, &args);
    Conn::unix(&extra).ping();
    daemon.kill9();
    assert!(extra.exists());
    let daemon = Daemon::start(sandbox, &args);
    Conn::unix(&extra).ping();
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!extra.exists() && !socket.exists(), "an orderly end takes its sockets along");
    std::fs::write(&extra, "somebody's notes").unwrap();
    let output = sandbox.run(["serve", "--no-tcp", "--socket", extra.to_str().unwrap()]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert_eq!(std::fs::read(&extra).unwrap(), b"somebody's notes");
}

fn next_life_after_kill_9(bench: &Bench) {
    let sandbox = &bench.sandbox;
    let end_all = || {
        sandbox.processes().iter().for_each(|p| signal(p.pid, Signal::KILL));
        wait_for("all are gone", || sandbox.processes().is_empty().then_some(()));
    };
    let (mut conn, daemon) = match bench.binding {
        // The same port again: it has to be free at once. One of those that no other test is given by chance.
        Binding::Tcp => {
            end_all();
            let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
            let port = (20_000 + std::process::id() as u16 % 10_000..32_000).find(free).expect("a free port");
            let daemon = Daemon::start(sandbox, &["--tcp", &format!("127.0.0.1:{port}")]);
            (daemon.connect_tcp(), Some(daemon))
        }
        _ => (bench.connect(), None),
    };
    let job = conn.invoke("bridge", "run_start", json!({}));
    conn.end_of_job("bridge", &job);
    let old = conn.status("bridge")["bootId"].clone();
    end_all();
    let args = match &daemon {
        Some(daemon) => vec!["--tcp".to_owned(), daemon.tcp.unwrap().to_string()],
        None => vec!["--no-tcp".to_owned()],
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let daemon = Daemon::start(sandbox, &args);
    let mut conn = match bench.binding {
        Binding::Tcp => daemon.connect_tcp(),
        _ => daemon.connect(),
    };
    let status = conn.status("bridge");
    assert_eq!((&status["running"], &status["bootId"]), (&json!(false), &json!("")));
    assert_eq!((&status["pid"], &status["hostPid"]), (&json!(null), &json!(null)));
    let reply = conn.request("action.job.get", json!({"appId": "bridge", "jobId": job}));
    if reply["ok"] == true {
        assert_eq!(reply["response"]["state"], "failed");
    } else {
        refusal(&reply, &[NOT_FOUND]);
    }
    let record = conn.act("bridge", "run_start", json!({}));
    let new = conn.status("bridge")["bootId"].clone();
    assert!(new != old && new != "", "{new} after {old}: {record:?}");
    // The ports of the old life are open again.
    for port in record["result"]["ports"].as_array().expect("ports") {
        drop(hilrig_tests::Line::open(port["farEnd"].as_str().unwrap().as_ref()));
    }
}
