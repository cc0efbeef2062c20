//! `hilrig plc`: a simulated PLC in the foreground, what is said when it cannot be, and the one of a daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Stdio};

use hilrig_capture::{Recording, Side};
use hilrig_tests::{PATIENCE, Sandbox, need, repository, signal, wait_for, with_crc};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::captures::tshark;
use crate::one_sentence;

const MODEL: &str = r#"
[port.line]
url = "pty:tank"
[unit.tank]
id = 9
[unit.tank.point.level]
at = "holding:0"
type = "f32"
unit = "m"
value = 1.5
[[fault]]
name = "second"
when = { nth = 2 }
effect = { exception = 6 }
"#;

/// `hilrig plc ARGS`, once it has told its ports.
struct Plc {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Plc {
    #[track_caller]
    fn start(sandbox: &Sandbox, args: &[&str], ports: usize) -> Self {
        let mut command = sandbox.command(["plc"]);
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut plc = Self { said: BufReader::new(child.stderr.take().unwrap()), child };
        (0..ports).for_each(|_| drop(plc.line("unit")));
        plc
    }

    /// The next line on stderr that begins so.
    #[track_caller]
    fn line(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "no line begins with {begin}");
            if line.starts_with(begin) {
                return line;
            }
        }
    }

    /// Ends it as Ctrl-C does; what it has printed.
    #[track_caller]
    fn stop(mut self) -> String {
        signal(self.child.id(), Signal::INT);
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{out}");
        out
    }
}

fn write(sandbox: &Sandbox, name: &str, text: &str) -> String {
    let path = sandbox.scratch().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// One value at the far end of a virtual port, or why not.
fn read(sandbox: &Sandbox, port: &str, place: &str, unit: &str, more: &[&str]) -> String {
    let port = format!("{}?baud=19200&format=8E1", sandbox.port(port).display());
    let mut command = sandbox.command(["modbus", "read", &port, place, "--unit", unit]);
    command.args(more);
    let output = hilrig_tests::finish(command);
    output.stdout + &output.stderr
}

#[test]
fn without_a_model_there_is_a_simple_map_and_a_trace() {
    let sandbox = Sandbox::new();
    let plc = Plc::start(
        &sandbox,
        &["--port", "pty:x", "--port", "tcp-listen:127.0.0.1:0", "--unit", "3", "--trace"],
        2,
    );
    assert!(read(&sandbox, "x", "holding:7", "3", &[]).contains("  7\n"));
    assert!(read(&sandbox, "x", "holding:500", "3", &[]).contains("illegal data address"));
    let out = plc.stop();
    for part in
        ["pty:x", "> unit 3: read holding 7", "< unit 3: holding 7 = 7", "exception 2: illegal data address"]
    {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert!(out.contains("port pty:x: 2 requests, 2 replies"), "{out}");
    assert!(!out.contains('\u{1b}'), "colours only on a terminal: {out}");
    assert!(sandbox.runtime_files().is_empty(), "nothing is left");
}

#[test]
fn what_passes_is_captured_from_the_first_byte_and_wireshark_reads_it() {
    let sandbox = Sandbox::new();
    let file = sandbox.scratch().join("plc.pcapng");
    let args = ["--port", "pty:x", "--port", "tcp-listen:127.0.0.1:0", "--unit", "17", "--capture"];
    let plc = Plc::start(&sandbox, &[&args[..], &[file.to_str().unwrap()]].concat(), 2);
    assert!(read(&sandbox, "x", "holding:7", "17", &[]).contains("  7\n"));
    let mut line = std::fs::OpenOptions::new().write(true).open(sandbox.port("x")).unwrap();
    line.write_all(b"noise on the line").unwrap();
    drop(line);
    // Silence parts frames.
    std::thread::sleep(std::time::Duration::from_millis(40));
    assert!(read(&sandbox, "x", "holding:500", "17", &[]).contains("illegal data address"));
    let out = plc.stop();
    assert!(out.contains(&format!("capture {}: ", file.display())) && !out.contains("LOST"), "{out}");
    let recording = Recording::open(&file, None).unwrap();
    let (asked, said) = (recording.sent_by(Side::A), recording.sent_by(Side::B));
    assert_eq!(
        asked,
        [&with_crc(&[17, 3, 0, 7, 0, 1])[..], b"noise on the line", &with_crc(&[17, 3, 1, 244, 0, 1])]
            .concat()
    );
    assert_eq!(said, [with_crc(&[17, 3, 2, 0, 7]), with_crc(&[17, 0x83, 2])].concat());
    if need("tshark") {
        let seen = tshark(&file, &["frame.interface_name", "_ws.col.Info", "mbrtu.crc16.status"]);
        let shown = |words: &[&str]| seen.lines().any(|line| words.iter().all(|word| line.contains(word)));
        for words in [
            &["pty:x", "Query", "Unit:  17", "Read Holding Registers", "\t1"][..],
            &["pty:x", "Response", "Unit:  17", "Read Holding Registers", "\t1"],
            &["pty:x", "Response", "Exception returned", "\t1"],
        ] {
            assert!(shown(words), "{words:?} is not in\n{seen}");
        }
    }
    // Two things cannot go to stdout.
    let twice = sandbox.run(["plc", "--port", "pty:x", "--capture", "-", "--trace"]);
    assert!(one_sentence(&twice, 2).contains("stdout"));
    let none = sandbox.run(["plc", "--port", "tcp-listen:127.0.0.1:0", "--capture", file.to_str().unwrap()]);
    assert!(one_sentence(&none, 3).contains("tshark -i any"));
}

#[test]
fn a_lost_port_comes_back_in_the_foreground() {
    let sandbox = Sandbox::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("tcp:{}", listener.local_addr().unwrap());
    let mut plc = Plc::start(&sandbox, &["--port", &port, "--framing", "rtu"], 1);
    let ask = |peer: &mut std::net::TcpStream| {
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(&with_crc(&[1, 3, 0, 5, 0, 1])).unwrap();
        let mut got = [0; 7];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got[..5], [1, 3, 2, 0, 5]);
    };
    let address = listener.local_addr().unwrap();
    let mut peer = listener.accept().unwrap().0;
    ask(&mut peer);
    drop((peer, listener));
    assert!(plc.line("hilrig: port tcp").contains("is gone"));
    let listener = std::net::TcpListener::bind(address).unwrap();
    ask(&mut listener.accept().unwrap().0);
    let _peer = listener;
    let out = plc.stop();
    assert!(out.contains("2 requests, 2 replies") && out.contains("reconnects"), "{out}");
    // Unless it is not wanted.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("tcp:{}", listener.local_addr().unwrap());
    let mut command = sandbox.command(["plc", "--port", &port, "--framing", "rtu", "--no-reconnect"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(listener.accept().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no port is left"));
}

#[test]
fn json_is_a_stream_of_the_contracts_events_and_a_summary() {
    let sandbox = Sandbox::new();
    let model = write(&sandbox, "tank.toml", MODEL);
    let plc = Plc::start(&sandbox, &[&model, "--json", "--trace"], 1);
    let shape = ["--type", "f32"];
    assert!(read(&sandbox, "tank", "holding:0..1", "9", &shape).contains("1.5"));
    assert!(read(&sandbox, "tank", "holding:0..1", "9", &shape).contains("busy"));
    let out = plc.stop();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, events) = lines.split_last().unwrap();
    let kinds: Vec<&str> = events.iter().filter_map(|e| e["params"]["kind"].as_str()).collect();
    assert_eq!(kinds, ["request", "reply", "request", "fault", "exception"]);
    assert!(events.iter().all(|e| e["params"]["appId"] == "plc-simulator" && e["params"]["seq"].is_u64()));
    assert_eq!(events[1]["params"]["points"]["tank.level"], 1.5);
    assert_eq!(
        (&events[3]["event"], &events[3]["params"]["rule"]),
        (&json!("fault.fired"), &json!("second"))
    );
    assert_eq!(
        (&summary["portCounters"][0]["requests"], &summary["faults"][0]["fired"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn a_changed_model_is_taken_in_and_a_wrong_one_is_not() {
    let sandbox = Sandbox::new();
    let model = write(&sandbox, "tank.toml", MODEL);
    let mut plc = Plc::start(&sandbox, &[&model], 1);
    write(&sandbox, "tank.toml", &MODEL.replace("id = 9", "id = 9\ninput = { 0 = 77 }"));
    signal(plc.child.id(), Signal::HUP);
    assert!(plc.line("reloaded").contains("1 points, 1 of them kept their values"));
    assert!(read(&sandbox, "tank", "input:0", "9", &[]).contains("77"));
    write(&sandbox, "tank.toml", &MODEL.replace("id = 9", "id = 900"));
    signal(plc.child.id(), Signal::HUP);
    assert!(plc.line("hilrig:").contains("goes on as it was"));
    plc.stop();
}

#[test]
fn what_cannot_be_is_said_in_one_sentence() {
    let sandbox = Sandbox::new();
    let model = write(&sandbox, "tank.toml", MODEL);
    let said = |args: &[&str], code| {
        let mut command = sandbox.command(["plc"]);
        command.args(args);
        let output = hilrig_tests::finish(command);
        one_sentence(&output, code).to_owned()
    };
    assert!(said(&[], 2).contains("--port pty:plc"));
    assert!(said(&["--port", "/dev/ttyUSB77"], 3).contains("/dev/ttyUSB77"));
    assert!(said(&[&model, "--port", "nothing=pty:x"], 2).contains("ports: line"));
    assert!(said(&[&model, "--unit", "7"], 2).contains("9 (tank)"));
    assert!(said(&["--port", "pty:x", "--fault", "name=\"a\", effect=\"bang\""], 2).contains("bang"));
    let wrong = write(&sandbox, "wrong.toml", "[unit.a]\nid = 300\n[unit.b]\nid = 400\n");
    for args in [&["plc", "check", &wrong][..], &["plc", &wrong]] {
        let output = sandbox.run(args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{output:?}");
        assert!(
            output.stderr.contains("wrong.toml:2:6") && output.stderr.contains("wrong.toml:4:6"),
            "{output:?}"
        );
    }
    let pump = repository().join("rigs/models/pump.toml");
    let output = sandbox.run(["--json", "plc", "check", pump.to_str().unwrap()]);
    let said: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.code, &said["name"], &said["units"]["pump"]), (Some(0), &json!("pump"), &json!(17)));
}

#[test]
fn the_simulator_of_a_daemon_is_asked_and_tells_events() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let (mut conn, mut events) = (daemon.connect(), daemon.connect());
    std::fs::write(conn_root(&mut conn).join("tank.toml"), MODEL).unwrap();
    conn.set("plc-simulator", "scenario", "tank.toml");
    conn.act("plc-simulator", "run_start", json!({}));
    conn.act("plc-simulator", "events_set", json!({"frames": "all"}));
    let topics = json!({"topics": ["point.changed", "frame", "fault.fired", "timing"]});
    assert_eq!(events.call("events.subscribe", topics)["subscribed"].as_array().unwrap().len(), 4);
    let words = |args: &[&str]| {
        let mut command = sandbox.command(["plc"]);
        command.args(args);
        hilrig_tests::finish(command)
    };
    assert_eq!(words(&["get", "tank.level"]).stdout, "1.5\n");
    assert_eq!(words(&["set", "level=2.5"]).stdout, "tank.level=2.5\n");
    let list = words(&["points"]).stdout;
    assert!(list.contains("tank.level") && list.contains("holding:0"), "{list}");
    let unknown = words(&["set", "depth=1"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("known points: tank.level"), "{unknown:?}");
    // Events come from the simulator's process through the daemon, and only once somebody wants them.
    events.event_with(|e| e["event"] == "timing" && e["params"]["port"] == "line");
    wait_for("the unit answers", || {
        read(&sandbox, "tank", "holding:0..1", "9", &["--type", "f32"]).contains("2.5").then_some(())
    });
    let reply = events.event_with(|e| e["event"] == "frame" && e["params"]["kind"] == "reply");
    assert_eq!(reply["params"]["points"]["tank.level"], 2.5);
    let _ = read(&sandbox, "tank", "holding:0..1", "9", &[]);
    let fired = events.event_with(|e| e["event"] == "fault.fired");
    assert_eq!(fired["params"]["rule"], "second");
    assert_eq!(daemon.terminate().code(), Some(0));
}

fn conn_root(conn: &mut hilrig_tests::Conn) -> std::path::PathBuf {
    let status = conn.status("plc-simulator");
    let config = std::path::Path::new(status["configPath"].as_str().unwrap());
    config.parent().and_then(std::path::Path::parent).unwrap().to_owned()
}
