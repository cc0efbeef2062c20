//! The actions on links that are up, against real virtual ports and sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use hilrig_capture::{Reader, Recording, Side};

use super::tests::Bench;
use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Waits until the status says so.
#[track_caller]
fn until(
    bench: &Bench,
    what: &str,
    is: impl Fn(&Map<String, Value>, &Map<String, Value>) -> bool,
) -> AppStatus {
    let end = Instant::now() + SOON;
    loop {
        let status = bench.app.status();
        if is(&status.fields, &status.metrics) {
            return status;
        }
        assert!(Instant::now() < end, "{what}: {status:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A bench whose config has one link more.
fn bench_with(name: &str, table: Value) -> Bench {
    let mut bench = Bench::new();
    bench.config.set("link.main", json!({"enabled": false}));
    bench.config.set(&format!("link.{name}"), table);
    bench
}

fn pty_pair() -> Value {
    json!({"a": "pty:x", "b": "pty:y"})
}

/// Both far ends, open and heard by the bridge.
fn ends(bench: &Bench) -> (File, File) {
    let (x, y) = (bench.far_end("x"), bench.far_end("y"));
    until(bench, "both ends are open", |fields, _| {
        fields["ports"].as_array().unwrap().iter().all(|port| port["peerOpen"] == true)
    });
    (x, y)
}

/// Reads so many bytes, or fails: a line that brings nothing would keep a plain read for ever.
#[track_caller]
fn read(file: &mut File, n: usize) -> Vec<u8> {
    let mut file = file.try_clone().unwrap();
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = vec![0; n];
        let _ = file.read_exact(&mut bytes).map(|()| tx.send(bytes));
    });
    rx.recv_timeout(SOON).expect("the bytes come")
}

/// Whose reads end when nothing comes.
fn accept(device: &UnixListener) -> UnixStream {
    let (peer, _) = device.accept().unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    peer
}

#[test]
fn a_configured_fault_is_accounted_for_to_the_byte() {
    let mut table = pty_pair();
    table["seed"] = json!(7);
    table["faults"] = json!([
        {"id": "cut", "direction": "a->b", "when": {"byte": 3}, "effect": "drop"},
        {"id": "never", "direction": "b->a", "when": {"byte": 1000}, "effect": "drop"},
    ]);
    let bench = bench_with("line", table);
    bench.invoke("run_start", json!({})).unwrap();
    let (mut x, mut y) = ends(&bench);
    x.write_all(b"0123456789").unwrap();
    assert_eq!(read(&mut y, 9), b"012456789");
    let status = until(&bench, "the firing is told", |fields, metrics| {
        !fields["faultFirings"].as_array().unwrap().is_empty() && metrics["bytesCarried"] == 9
    });
    let firing = &status.fields["faultFirings"][0];
    assert_eq!((&firing["link"], &firing["rule"]), (&json!("line"), &json!("cut")));
    assert_eq!((&firing["direction"], &firing["position"]), (&json!("a->b"), &json!(3)));
    assert_eq!(status.fields["links"][0]["seed"], 7);
    let rows = &status.metrics["faults"];
    assert_eq!((&rows[0]["fired"], &rows[1]["neverFired"]), (&json!(1), &json!(true)));
    let soaked = bench.invoke("soak", json!({"durationSeconds": 0.1})).unwrap();
    assert_eq!(soaked["faults"][0]["fired"], 1);
    let stopped = bench.invoke("run_stop", json!({})).unwrap();
    let (faults, row) = (&stopped["faults"], &stopped["traffic"][0]);
    assert_eq!(
        (&faults[0]["id"], &faults[0]["fired"], &faults[0]["bytes"]),
        (&json!("cut"), &json!(1), &json!(1))
    );
    assert_eq!(faults[1]["neverFired"], true);
    assert_eq!((&row["bytesIn"], &row["bytesOut"], &row["faultBytes"]), (&json!(10), &json!(9), &json!(1)));
}

#[test]
fn rules_are_armed_by_json_toml_or_name_and_cleared() {
    let mut table = pty_pair();
    table["faults"] = json!([{"id": "ready", "direction": "b->a", "when": {"byte": 0}, "effect": "drop"}]);
    let mut bench = bench_with("line", pty_pair());
    assert!(bench.invoke("fault_arm", json!({"rule": "x"})).unwrap_err().message.contains("run_start"));
    bench.invoke("run_start", json!({})).unwrap();
    bench.config.set("link.line", table);
    let (mut x, mut y) = ends(&bench);
    for (rule, says) in [
        ("nobody", "no rule \"nobody\""),
        ("{\"id\": \"x\"}", "missing field"),
        ("{\"id\": \"x\", \"direction\": \"up\", \"effect\": \"drop\"}", "direction"),
        ("id = 'x', direction = 'a->b', effect = 'explode'", "explode"),
        ("id = = 3", "neither JSON nor TOML"),
    ] {
        let error = bench.invoke("fault_arm", json!({"rule": rule})).unwrap_err();
        assert!(error.message.contains(says), "{rule}: {error}");
        assert_eq!(error.code, ErrorCode::BadArg);
    }
    x.write_all(b"before").unwrap();
    assert_eq!(read(&mut y, 6), b"before");
    let json = r#"{"id": "j", "direction": "a->b", "when": {"byte": 1}, "effect": "drop", "link": "line"}"#;
    bench.invoke("fault_arm", json!({"rule": json})).unwrap();
    x.write_all(b"abc").unwrap();
    assert_eq!(read(&mut y, 2), b"ac");
    bench
        .invoke(
            "fault_arm",
            json!({"rule": "id = 't', direction = 'a->b', on = 'byte', effect = { insert = { hex = '2a' } }"}),
        )
        .unwrap();
    x.write_all(b"de").unwrap();
    assert_eq!(read(&mut y, 4), b"*d*e");
    bench.invoke("fault_arm", json!({"rule": "ready"})).unwrap();
    y.write_all(b"xyz").unwrap();
    assert_eq!(read(&mut x, 2), b"yz");
    assert_eq!(bench.invoke("fault_clear", json!({"rule": "t"})).unwrap()["cleared"], 1);
    x.write_all(b"plain").unwrap();
    assert_eq!(read(&mut y, 5), b"plain");
    assert!(bench.invoke("fault_clear", json!({"rule": "t"})).is_err());
    let list = bench.invoke("fault_list", json!({})).unwrap();
    let fired: Vec<_> =
        list["faults"].as_array().unwrap().iter().map(|f| (f["id"].clone(), f["fired"].clone())).collect();
    assert_eq!(fired, [(json!("j"), json!(1)), (json!("t"), json!(2)), (json!("ready"), json!(1))]);
    // What the status counts from events comes to the same.
    until(&bench, "all firings are heard", |_, metrics| {
        let rows = metrics["faults"].as_array().unwrap();
        rows.iter().map(|r| r["fired"].as_u64().unwrap()).collect::<Vec<_>>() == [1, 2, 1]
    });
}

#[test]
fn a_live_link_is_captured_and_the_file_reads_back() {
    let bench = bench_with("line", pty_pair());
    bench.invoke("run_start", json!({})).unwrap();
    let (mut x, mut y) = ends(&bench);
    assert!(bench.invoke("capture_stop", json!({})).is_err());
    assert!(bench.invoke("capture_start", json!({"links": "nobody"})).unwrap_err().message.contains("line"));
    assert!(bench.invoke("capture_start", json!({"format": "text"})).is_err());
    let started = bench.invoke("capture_start", json!({"links": "line", "file": "sub/one.pcapng"})).unwrap();
    x.write_all(b"question").unwrap();
    assert_eq!(read(&mut y, 8), b"question");
    y.write_all(b"answer").unwrap();
    assert_eq!(read(&mut x, 6), b"answer");
    let file = PathBuf::from(started["file"].as_str().unwrap());
    assert_eq!(file, bench.dir.path().join("captures/sub/one.pcapng"));
    assert_eq!(bench.app.status().fields["captures"][0]["state"], "running");
    let stopped = bench.invoke("capture_stop", json!({"capture": started["capture"]})).unwrap();
    let row = &stopped["captures"][0];
    assert_eq!((&row["bytes"], &row["lostBytes"], &row["state"]), (&json!(14), &json!(0), &json!("ended")));
    assert_eq!(stopped["files"], json!([file]));
    let recording = Recording::open(&file, None).unwrap();
    assert_eq!(recording.link, "line");
    assert_eq!(recording.sent_by(Side::A), b"question");
    assert_eq!(recording.sent_by(Side::B), b"answer");
    // Not captured any more, and captured again.
    x.write_all(b"unseen").unwrap();
    read(&mut y, 6);
    bench.invoke("capture_start", json!({"file": "two.pcapng", "points": "both"})).unwrap();
    x.write_all(b"seen").unwrap();
    read(&mut y, 4);
    let ended = bench.invoke("run_stop", json!({})).unwrap();
    let two = bench.dir.path().join("captures/two.pcapng");
    assert_eq!(ended["captures"][0]["files"], json!([two]));
    let mut reader = Reader::new(File::open(&two).unwrap());
    let mut data = Vec::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        if !packet.bytes.is_empty() {
            data.push(packet.bytes);
        }
    }
    assert_eq!(data, [b"seen", b"seen"], "as it came and as it went");
}

#[test]
fn a_configured_capture_has_the_first_byte_and_faults_as_comments() {
    let mut table = pty_pair();
    table["capture"] = json!({"file": "all.pcapng"});
    table["record"] = json!(true);
    table["faults"] = json!([{"id": "cut", "direction": "a->b", "when": {"byte": 0}, "effect": "drop"}]);
    let bench = bench_with("line", table);
    assert_eq!(bench.invoke("db_counts", json!({})).unwrap()["exists"], false);
    bench.invoke("run_start", json!({})).unwrap();
    let (mut x, mut y) = ends(&bench);
    x.write_all(b"abc").unwrap();
    assert_eq!(read(&mut y, 2), b"bc");
    bench.invoke("run_stop", json!({})).unwrap();
    let bytes = std::fs::read(bench.dir.path().join("captures/all.pcapng")).unwrap();
    let says = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    assert!(says(b"bc") && says(b"cut"), "the bytes and the name of the rule are in the file");
    let counts = bench.invoke("db_counts", json!({})).unwrap();
    assert_eq!((&counts["runs"], &counts["unfinished"]), (&json!(1), &json!(0)), "{counts:?}");
    assert_eq!(counts["bytes"], 2);
}

#[test]
fn a_peer_that_goes_comes_back_and_what_it_missed_is_counted() {
    let mut bench = Bench::new();
    let socket = bench.dir.path().join("device.sock");
    let device = UnixListener::bind(&socket).unwrap();
    bench.config.set("link.main", json!({"enabled": false}));
    bench.config.set("link.line", json!({"a": "pty:x", "b": format!("unix:{}", socket.display())}));
    bench.invoke("run_start", json!({})).unwrap();
    let mut peer = accept(&device);
    let mut x = bench.far_end("x");
    x.write_all(b"one").unwrap();
    let mut got = [0; 3];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"one");
    // The peer and its socket go.
    // The listener first: who looks for the peer must not find it once more.
    drop(device);
    drop(peer);
    std::fs::remove_file(&socket).unwrap();
    let status = until(&bench, "the link waits", |fields, _| {
        let told = fields["healthState"] == "degraded" && fields["portNews"][0]["what"] == "lost";
        told && fields["links"][0]["state"] == "waiting"
    });
    assert!(status.error.contains("device.sock"), "{}", status.error);
    x.write_all(b"lost").unwrap();
    until(&bench, "what nobody got is counted", |_, metrics| metrics["bytesLost"] == 4);
    // They come back.
    let device = UnixListener::bind(&socket).unwrap();
    let mut peer = accept(&device);
    let status = until(&bench, "the link is up", |fields, metrics| {
        let well = fields["healthState"] == "ok" && fields["links"][0]["state"] == "up";
        well && metrics["linkCounters"][0]["reconnects"] == 1
    });
    assert_eq!(status.error, "");
    until(&bench, "it is told", |fields, _| {
        fields["portNews"].as_array().unwrap().last().is_some_and(|news| news["what"] == "back")
    });
    x.write_all(b"two").unwrap();
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"two");
    let stopped = bench.invoke("run_stop", json!({})).unwrap();
    let row = &stopped["traffic"][0];
    assert_eq!(
        (&row["bytesIn"], &row["bytesOut"], &row["discardedBytes"]),
        (&json!(10), &json!(6), &json!(4))
    );
}

#[test]
fn a_device_that_is_not_there_yet_is_waited_for_if_asked() {
    let mut bench = Bench::new();
    bench.config.set("profile", json!("lab"));
    bench.config.set("link.main", json!({"enabled": false}));
    let device = bench.dir.path().join("run/later");
    let mut table = json!({"a": device, "b": "pty:y"});
    bench.config.set("link.line", table.clone());
    let error = bench.invoke("run_start", json!({})).unwrap_err();
    assert!(error.message.contains("later"), "{error}");
    assert_eq!(bench.app.status().run, None);
    table["wait"] = json!(true);
    bench.config.set("link.line", table);
    bench.invoke("run_start", json!({})).unwrap();
    let status = bench.app.status();
    assert_eq!(status.fields["links"][0]["state"], "waiting");
    assert!(status.error.contains("later"), "{}", status.error);
    // The port of another program appears.
    let runtime = Runtime::at(bench.dir.path().join("run")).unwrap();
    let url = |text: &str| text.parse::<PortUrl>().unwrap();
    let other = LinkSpec::new("other", url("pty:later"), url("pty:far"));
    let other = LinkSet::open(&[other], &runtime, &|| false).unwrap();
    until(&bench, "it is found", |fields, _| fields["links"][0]["state"] == "up");
    let (mut far, mut y) = (bench.far_end("far"), bench.far_end("y"));
    until(&bench, "the far end is heard", |fields, _| fields["ports"][1]["peerOpen"] == true);
    // The other bridge has to notice `far` too before bytes from here get through.
    far.write_all(b"hello").unwrap();
    assert_eq!(read(&mut y, 5), b"hello");
    drop(other);
    until(&bench, "it is lost again", |fields, _| fields["links"][0]["state"] == "waiting");
}

#[test]
fn an_unplugged_port_returns_after_its_time() {
    let mut table = pty_pair();
    table["reconnect"] = json!(false);
    let bench = bench_with("line", table);
    bench.invoke("run_start", json!({})).unwrap();
    let (mut x, y) = ends(&bench);
    let rule = r#"{"id": "pull", "direction": "a->b", "when": {"byte": 2}, "effect": {"unplug": "100ms"}}"#;
    bench.invoke("fault_arm", json!({"rule": rule})).unwrap();
    x.write_all(b"12345").unwrap();
    until(&bench, "it is pulled and back", |fields, _| {
        let news = fields["portNews"].as_array().unwrap();
        let what: Vec<_> = news.iter().map(|n| n["what"].as_str().unwrap()).collect();
        what == ["unplugged", "back"] && fields["links"][0]["state"] == "up"
    });
    drop(y);
    let mut y = bench.far_end("y");
    until(&bench, "the far end is heard", |fields, _| fields["ports"][1]["peerOpen"] == true);
    x.write_all(b"again").unwrap();
    assert_eq!(read(&mut y, 5), b"again");
    let row = &bench.invoke("run_stop", json!({})).unwrap()["traffic"][0];
    let n = |key: &str| row[key].as_u64().unwrap();
    assert_eq!(n("bytesIn"), 10);
    assert_eq!(n("bytesIn"), n("bytesOut") + n("faultBytes") + n("discardedBytes") + n("pending"), "{row}");
}

#[test]
fn pairs_and_links_come_and_go_while_the_rest_runs() {
    let mut bench = bench_with("line", pty_pair());
    let made =
        bench.invoke("pair_create", json!({"name": "wire", "options": "pace = false, noise = 0"})).unwrap();
    assert_eq!(made["state"]["wire"], true);
    let run = bench.app.status().run.expect("a pair is a run");
    let (mut a, mut b) = (bench.far_end("wire.a"), bench.far_end("wire.b"));
    until(&bench, "both ends are open", |fields, _| {
        fields["ports"].as_array().unwrap().iter().all(|port| port["peerOpen"] == true)
    });
    a.write_all(b"through").unwrap();
    assert_eq!(read(&mut b, 7), b"through");
    assert!(bench.invoke("pair_create", json!({"name": "wire"})).unwrap_err().message.contains("up already"));
    for options in ["baud = 'fast'", "speed = 1", "{"] {
        assert_eq!(
            bench.invoke("pair_create", json!({"name": "w2", "options": options})).unwrap_err().code,
            ErrorCode::BadArg
        );
    }
    // The configured links join the run.
    assert_eq!(bench.invoke("run_start", json!({})).unwrap()["alreadyRunning"], false);
    assert_eq!(bench.app.status().run, Some(run));
    assert_eq!(bench.invoke("run_start", json!({})).unwrap()["alreadyRunning"], true);
    assert!(bench.invoke("pair_remove", json!({"name": "line"})).unwrap_err().message.contains("link_stop"));
    bench.config.set("link.extra", json!({"a": "pty:e1", "b": "pty:e2", "enabled": false}));
    bench.invoke("link_start", json!({"link": "extra"})).unwrap();
    assert_eq!(bench.invoke("link_start", json!({"link": "extra"})).unwrap()["alreadyRunning"], true);
    assert!(bench.invoke("link_start", json!({"link": "nobody"})).unwrap_err().message.contains("extra"));
    let names = |bench: &Bench| {
        let status = bench.app.status();
        status.fields["links"].as_array().unwrap().iter().map(|l| l["link"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&bench), ["wire", "line", "extra"]);
    bench.invoke("link_stop", json!({"link": "extra"})).unwrap();
    assert!(!bench.dir.path().join("run/e1").exists());
    let removed = bench.invoke("pair_remove", json!({"name": "wire"})).unwrap();
    assert_eq!(removed["traffic"][0]["bytesOut"], 7);
    assert_eq!(names(&bench), ["line"]);
}

#[test]
fn a_replay_expects_the_other_side() {
    let mut bench = Bench::new();
    let socket = bench.dir.path().join("device.sock");
    let device = UnixListener::bind(&socket).unwrap();
    bench.config.set("link.main", json!({"enabled": false}));
    bench.config.set("link.line", json!({"a": "pty:x", "b": format!("unix:{}", socket.display())}));
    bench.invoke("run_start", json!({})).unwrap();
    let mut peer = accept(&device);
    let mut x = bench.far_end("x");
    until(&bench, "the end is open", |fields, _| fields["ports"][0]["peerOpen"] == true);
    bench.invoke("capture_start", json!({"file": "talk.pcapng"})).unwrap();
    for (question, answer) in [("ping", "pong"), ("more", "less")] {
        x.write_all(question.as_bytes()).unwrap();
        let mut got = [0; 4];
        peer.read_exact(&mut got).unwrap();
        peer.write_all(answer.as_bytes()).unwrap();
        assert_eq!(read(&mut x, 4), answer.as_bytes());
    }
    bench.invoke("capture_stop", json!({})).unwrap();
    drop(x);
    // The device answers from a script now, right once and wrong once.
    let script = |mut peer: UnixStream, second: &'static str| {
        for answer in ["pong", second] {
            let mut got = [0; 4];
            peer.read_exact(&mut got).unwrap();
            peer.write_all(answer.as_bytes()).unwrap();
        }
        peer
    };
    let args = json!({"file": "talk.pcapng", "to": "line.a", "only": "a", "expect": true});
    std::thread::scope(|scope| {
        let device = scope.spawn(move || script(peer, "less"));
        let played = bench.invoke("replay_start", args.clone()).unwrap();
        assert_eq!((&played["sentBytes"], &played["matchedBytes"]), (&json!(8), &json!(8)));
        let peer = device.join().unwrap();
        let device = scope.spawn(move || script(peer, "lost"));
        let error = bench.invoke("replay_start", args.clone()).unwrap_err();
        let difference = &error.details["difference"];
        assert_eq!(
            (&difference["offset"], &difference["expected"]),
            (&json!(5), &json!("657373")),
            "{error}"
        );
        device.join().unwrap();
    });
    for args in [json!({"file": "no.pcapng", "port": "pty:x"}), json!({"file": "talk.pcapng"})] {
        assert_eq!(bench.invoke("replay_start", args).unwrap_err().code, ErrorCode::BadArg);
    }
    assert!(
        bench
            .invoke("replay_start", json!({"file": "talk.pcapng", "port": "/dev/ttyUSB77"}))
            .unwrap_err()
            .message
            .contains("profile sim")
    );
}

#[test]
fn lines_are_set_in_one_step_and_a_break_is_refused_where_there_is_none() {
    let mut bench = bench_with("line", json!({"a": "pty:x", "b": "loop:plug"}));
    bench.config.set("link.line.dedicated", json!(true));
    bench.invoke("run_start", json!({})).unwrap();
    let set = bench.invoke("line_set", json!({"port": "line.b dtr=on rts=off"})).unwrap();
    assert!(set["lines"].as_str().unwrap().contains("DTR"), "{set:?}");
    // A loopback plug shows DTR as DSR and DCD.
    until(&bench, "the plug answers", |fields, _| {
        let lines = fields["ports"][1]["lines"].as_str().unwrap();
        lines.contains("DSR") && lines.contains("DCD") && !lines.contains("RTS")
    });
    bench.invoke("line_set", json!({"port": "b", "dtr": false, "rts": "on"})).unwrap();
    until(&bench, "the plug answers", |fields, _| {
        let lines = fields["ports"][1]["lines"].as_str().unwrap();
        lines.contains("CTS") && !lines.contains("DSR")
    });
    for port in ["line.c", "nobody.a", "line.b", "line.b foo=on", "line.b dtr=perhaps"] {
        assert!(bench.invoke("line_set", json!({"port": port})).is_err(), "{port}");
    }
    let status = bench.app.status();
    assert_eq!(status.fields["links"][0]["thread"], "link line");
    let granted = status.fields["realtime"].as_array().unwrap();
    assert!(
        granted.iter().any(|row| row["thread"] == "link line" && row["what"] == "timer slack"),
        "{granted:?}"
    );
}

#[test]
fn the_contract_is_validated_without_opening_a_port() {
    let mut bench = bench_with("line", pty_pair());
    let valid = bench.invoke("validate_contract", json!({})).unwrap();
    assert_eq!(valid["valid"], true);
    bench.config.set("link.twin", json!({"a": "pty:z", "b": "pty:x"}));
    let error = bench.invoke("validate_contract", json!({})).unwrap_err();
    assert!(error.message.contains("pty:x"), "{error}");
    bench.config.set("link.twin", json!({"a": "pty:z", "b": "/dev/ttyUSB7"}));
    let error = bench.invoke("validate_contract", json!({})).unwrap_err();
    assert!(error.message.contains("profile sim"), "{error}");
    assert_eq!(bench.app.status().run, None);
}

#[test]
fn a_wrong_table_is_told_by_its_key() {
    let check = config::section().check;
    for (table, at, says) in [
        (json!({"a": "pty:x"}), "", "missing field `b`"),
        (json!({"a": "pty:x", "b": "plc:y"}), "b", "plc"),
        (json!({"a": "pty:x", "b": "pty:x"}), "b", "same port"),
        (json!({"a": "pty:x", "b": "pty:y", "speed": 3}), "speed", "unknown field"),
        (json!({"a": "pty:x", "b": "pty:y", "wire": {"noise": "much"}}), "wire.noise", "much"),
        (json!({"a": "pty:x", "b": "pty:y", "capture": {"file": "x", "keep": 2}}), "capture.keep", "rotate"),
        (json!({"a": "pty:x", "b": "pty:y", "realtime": {"fifo": 100}}), "realtime.fifo", "1 to 99"),
        (
            json!({"a": "pty:x", "b": "pty:y", "faults": [{"id": "x", "direction": "a->b", "effect": "bang"}]}),
            "faults.0",
            "bang",
        ),
    ] {
        let problem = check("line", &table).unwrap_err();
        assert!(problem.at.starts_with(at) && problem.message.contains(says), "{table}: {problem:?}");
    }
    assert!(check("main", &json!({"a": "pty:x"})).unwrap_err().message.contains("near.url"));
    assert_eq!(check("main", &json!({"record": true, "wire": {"baud": 9600}})), Ok(()));
}
