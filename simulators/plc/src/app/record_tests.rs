//! What passes on the ports of a run, recorded and played again, on real virtual ports.

use std::fs::File;
use std::path::PathBuf;

use hilrig_capture::{Reader, Recording, Side};
use hilrig_tests::Line;

use super::*;

const LISTENER: &str = "\n[port.net]\nurl = \"tcp-listen:127.0.0.1:0\"\n";
const MODEL: &str =
    "[port.line]\nurl = \"pty:plc\"\nreply_gap = \"1us\"\n[unit.tank]\nid = 9\nholding = { \"0..9\" = 7 }\n";

impl Bench {
    fn file(&self, result: &Map<String, Value>) -> PathBuf {
        self.dir.path().join(result["file"].as_str().unwrap())
    }

    /// An application at the far end of the first port.
    fn line(&self) -> Line {
        Line::open(Path::new(self.app.status().fields["farEnd"].as_str().unwrap()))
    }
}

/// Asks in bytes and waits for so many.
fn exchange(line: &Line, request: &[u8], reply: usize) -> Vec<u8> {
    line.write(request).unwrap();
    line.read(reply).unwrap()
}

fn packets(file: &Path) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(File::open(file).unwrap());
    let mut packets = vec![];
    while let Some(packet) = reader.next_packet().unwrap() {
        packets.extend((!packet.bytes.is_empty()).then_some(packet.bytes));
    }
    packets
}

#[test]
fn what_passes_is_recorded_noise_too_and_played_again() {
    let bench = Bench::of_model(MODEL);
    let refused = bench.invoke("record_start", json!({})).unwrap_err();
    assert!(refused.message.contains("run_start"), "{refused}");
    bench.invoke("run_start", json!({})).unwrap();
    let started = bench.invoke("record_start", json!({"file": "talk.pcapng"})).unwrap();
    assert_eq!((&started["capture"], &started["ports"]), (&json!("capture-1"), &json!("line")));
    let (question, noise) = (with_crc(&[9, 3, 0, 4, 0, 2]), b"no frame at all".to_vec());
    let line = bench.line();
    let reply = exchange(&line, &question, 9);
    // Silence parts frames.
    std::thread::sleep(Duration::from_millis(30));
    line.write(&noise).unwrap();
    // It was judged, so that what comes next is no part of it.
    bench.until(|s| s.metrics["crcErrors"] == 1);
    bench.until(|s| s.metrics["captureCounters"][0]["bytes"] == 8 + 9 + noise.len() as u64);
    exchange(&line, &question, 9);
    assert_eq!(bench.app.status().fields["captures"][0]["state"], "running");
    let stopped = bench.invoke("record_stop", json!({"capture": "capture-1"})).unwrap();
    let row = &stopped["captures"][0];
    assert_eq!(
        (&row["lostBytes"], &row["framing"], &row["state"]),
        (&json!(0), &json!("silence"), &json!("ended"))
    );
    assert!(bench.invoke("record_stop", json!({})).unwrap_err().message.contains("none runs"));
    let file = bench.file(&started);
    let recording = Recording::open(&file, None).unwrap();
    assert_eq!(recording.sent_by(Side::A), [&question[..], &noise, &question].concat());
    assert_eq!(recording.sent_by(Side::B), [&reply[..], &reply].concat());
    assert_eq!(recording.ports[0], "pty:plc");
    let frames = packets(&file);
    assert_eq!([&frames[0], &frames[1]], [&question, &reply], "one packet is one frame");

    // The master's side goes out of the port, while the slave there keeps quiet, and the far end's answers count.
    let replies = |s: &AppStatus| s.metrics["replies"].as_u64().unwrap();
    let before = replies(&bench.app.status());
    let (done, heard) = std::thread::scope(|s| {
        let far = s.spawn(|| {
            let first = line.read(8).unwrap();
            line.write(&reply).unwrap();
            let rest = line.read(8 + noise.len()).unwrap();
            line.write(&reply).unwrap();
            [first, rest].concat()
        });
        let args = json!({"file": "talk.pcapng", "only": "a", "expect": true});
        (bench.invoke("replay_start", args).unwrap(), far.join().unwrap())
    });
    assert_eq!(heard, recording.sent_by(Side::A));
    assert_eq!((&done["sentBytes"], &done["matchedBytes"]), (&json!(16 + noise.len()), &json!(18)));
    let status = bench.app.status();
    assert_eq!((replies(&status), &status.metrics["replays"]), (before, &json!([])));
    // Then it answers again.
    assert_eq!(exchange(&line, &question, 9), reply);
    bench.until(|s| replies(s) == before + 1);
    // Another answer than the recorded one is told.
    let error = std::thread::scope(|s| {
        s.spawn(|| {
            line.read(8).unwrap();
            line.write(b"something").unwrap();
        });
        let args = json!({"file": "talk.pcapng", "only": "a", "expect": true, "port": "line"});
        bench.invoke("replay_start", args).unwrap_err()
    });
    assert!(error.message.contains("differs from the recording"), "{error}");
    assert_eq!(error.details["difference"]["offset"], 0);
}

#[test]
fn a_replay_beside_a_slave_leaves_it_answering_and_ends_with_the_run() {
    let bench = Bench::of_model(MODEL);
    bench.invoke("run_start", json!({})).unwrap();
    let started = bench.invoke("record_start", json!({})).unwrap();
    let question = with_crc(&[9, 3, 0, 4, 0, 1]);
    let line = bench.line();
    let reply = exchange(&line, &question, 7);
    // So far apart that a thousand times of it is longer than the test.
    std::thread::sleep(Duration::from_millis(30));
    exchange(&line, &question, 7);
    // A capture that is not stopped ends with its run.
    let ended = bench.invoke("run_stop", json!({})).unwrap();
    assert_eq!(ended["captures"][0]["bytes"], 30);
    drop(line);
    bench.invoke("run_start", json!({})).unwrap();
    let file = bench.file(&started);
    std::fs::copy(&file, file.with_file_name("again.pcapng")).unwrap();
    let line = bench.line();
    let args = json!({"file": "again.pcapng", "only": "a", "beside": true, "speed": 0.001});
    std::thread::scope(|s| {
        let replay = s.spawn(|| bench.invoke("replay_start", args));
        let status = bench.until(|s| s.metrics["replays"][0]["sentBytes"] == 8);
        assert_eq!(status.metrics["replays"][0]["beside"], true);
        assert_eq!(line.read(8).unwrap(), question);
        assert_eq!(exchange(&line, &question, 7), reply, "the slave answers meanwhile");
        let twice = bench.invoke("replay_start", json!({"file": "again.pcapng"})).unwrap_err();
        assert!(twice.message.contains("replayed there already"), "{twice}");
        bench.invoke("run_stop", json!({})).unwrap();
        let error = replay.join().unwrap().unwrap_err();
        assert!(error.message.contains("stopped"), "{error}");
    });
}

#[test]
fn ports_without_a_line_are_refused_with_what_to_do() {
    let bench = Bench::of_model(&format!("{MODEL}{LISTENER}"));
    bench.invoke("run_start", json!({})).unwrap();
    // Left out of all, refused by name.
    assert_eq!(bench.invoke("record_start", json!({})).unwrap()["ports"], "line");
    let error = bench.invoke("record_start", json!({"ports": "line,net"})).unwrap_err();
    assert!(error.message.contains("port net") && error.message.contains("tshark -i any"), "{error}");
    let error = bench.invoke("record_start", json!({"ports": "nobody"})).unwrap_err();
    assert!(error.message.contains("known ports with a line: line"), "{error}");
    let error = bench.invoke("replay_start", json!({"file": "nothing.pcapng"})).unwrap_err();
    assert!(error.message.contains("nothing.pcapng"), "{error}");
    // A sniffer never sends.
    bench.invoke("sniff_start", json!({"port": "pty:tee"})).unwrap();
    let started = bench.invoke("record_start", json!({"ports": "pty:tee", "file": "tee.pcapng"})).unwrap();
    assert_eq!(started["ports"], "pty:tee");
    let tee = bench.app.status().fields["ports"].as_array().unwrap().last().unwrap()["farEnd"].clone();
    let line = Line::open(Path::new(tee.as_str().unwrap()));
    line.write(b"heard").unwrap();
    bench.until(|s| s.metrics["captureCounters"][1]["bytes"] == 5);
    bench.invoke("sniff_stop", json!({})).unwrap();
    assert_eq!(
        bench.invoke("record_stop", json!({"capture": "tee.pcapng"})).unwrap()["captures"][0]["bytes"],
        5
    );
    bench.invoke("sniff_start", json!({"port": "pty:tee"})).unwrap();
    let error = bench.invoke("replay_start", json!({"file": "tee.pcapng", "port": "pty:tee"})).unwrap_err();
    assert!(error.message.contains("a sniffer never sends"), "{error}");
    let error = bench.invoke("replay_start", json!({"file": "tee.pcapng"})).unwrap_err();
    assert!(error.message.contains("say one port"), "{error}");
}

/// A slave at a virtual port of this name, as long as it is kept.
fn device(bench: &Bench, name: &str) -> (Shard, hilrig_port::StationRef) {
    let runtime = Runtime::at(bench.dir.path().join("run")).unwrap();
    let url: PortUrl = format!("pty:{name}").parse().unwrap();
    let port = OpenPort::open(&url, &runtime, &|| false).unwrap();
    let plant = hilrig_points::Shared::new(crate::simple_plant(&[2]).unwrap());
    let slave = hilrig_modbus::Slave::new(Timing::new(19200, "8E1".parse().unwrap()), plant);
    let shard = Shard::start("device").unwrap();
    let station = shard.add_station(port, Box::new(slave)).unwrap();
    (shard, station)
}

#[test]
fn an_adapter_that_is_pulled_and_put_in_again_is_polled_on() {
    let mut bench = Bench::of_model("");
    bench.config.set("profile", json!("lab"));
    let path = bench.dir.path().join("run/dev");
    bench.write(&format!(
        "[port.dev]\nurl = \"serial:{}\"\n[master.drive]\nport = \"dev\"\n[master.drive.poll.status]\nunit = 2\n\
         holding = \"0..3\"\nevery = \"10ms\"\ntimeout = \"5s\"\n",
        path.display()
    ));
    let there = device(&bench, "dev");
    let (tell, heard) = std::sync::mpsc::channel();
    bench.app.publish_to(Arc::new(of_models::Heard(Mutex::new(tell))));
    bench.invoke("run_start", json!({})).unwrap();
    bench.invoke("record_start", json!({"file": "dev.pcapng"})).unwrap();
    let poll = |s: &AppStatus, key: &str| s.metrics["polls"][0][key].as_u64().unwrap();
    bench.until(|s| poll(s, "replies") >= 3);
    drop(there);
    let lost = bench.until(|s| s.fields["portState"] == "lost");
    assert_eq!(lost.fields["healthState"], "degraded");
    let asked = poll(&bench.app.status(), "requests");
    let _there = device(&bench, "dev");
    let back = bench.until(|s| s.fields["portNews"].as_array().unwrap().len() > 1);
    assert_eq!(
        (&back.fields["portNews"][1]["what"], &back.fields["portState"]),
        (&json!("back"), &json!("open"))
    );
    let mut told = vec![];
    while told.len() < 2 {
        let (topic, more) = heard.recv_timeout(Duration::from_secs(20)).expect("events tell of it");
        if topic == hilrig_contract::Topic::LineError && more.contains_key("what") {
            told.push((more["port"].clone(), more["what"].clone()));
        }
    }
    assert_eq!(told, [(json!("dev"), json!("lost")), (json!("dev"), json!("back"))]);
    // The statistics went on, and the capture shows the gap.
    bench.until(|s| poll(s, "replies") >= asked + 3);
    assert_eq!(bench.app.status().metrics["reconnects"], 1);
    let stopped = bench.invoke("record_stop", json!({})).unwrap();
    let file = PathBuf::from(stopped["files"][0].as_str().unwrap());
    let mut reader = Reader::new(File::open(file).unwrap());
    let mut remarks = vec![];
    while let Some(packet) = reader.next_packet().unwrap() {
        remarks.extend(packet.comments);
    }
    let told = |words: &str| remarks.iter().any(|remark| remark.contains(words));
    assert!(told("the port is gone") && told("the port is back"), "{remarks:?}");
    bench.invoke("run_stop", json!({})).unwrap();
}

#[test]
fn the_line_behind_a_gateway_is_recorded_and_comes_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bench = Bench::of_model(&format!(
        "[port.net]\nurl = \"tcp-listen:127.0.0.1:0\"\n[port.bus]\nurl = \"tcp:{address}\"\nframing = \"rtu\"\n\
         [gateway.g]\nport = \"net\"\nline = \"bus\"\ntimeout = \"5s\"\n"
    ));
    bench.invoke("run_start", json!({})).unwrap();
    let started = bench.invoke("record_start", json!({"file": "bus.pcapng"})).unwrap();
    assert_eq!(started["ports"], "bus");
    let far_end = bench.app.status().fields["farEnd"].as_str().unwrap().to_owned();
    let mut caller = std::net::TcpStream::connect(far_end.trim_start_matches("tcp:")).unwrap();
    caller.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (question, reply) = (with_crc(&[5, 3, 0, 1, 0, 1]), with_crc(&[5, 3, 2, 0, 66]));
    let mut ask = |line: &mut std::net::TcpStream| {
        line.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        caller.write_all(&[0, 7, 0, 0, 0, 6, 5, 3, 0, 1, 0, 1]).unwrap();
        let mut got = [0; 8];
        line.read_exact(&mut got).unwrap();
        assert_eq!(got[..], question);
        line.write_all(&reply).unwrap();
        let mut got = [0; 11];
        caller.read_exact(&mut got).unwrap();
        assert_eq!(got[6..], [5, 3, 2, 0, 66]);
    };
    let mut line = listener.accept().unwrap().0;
    ask(&mut line);
    drop(line);
    let mut line = listener.accept().unwrap().0;
    bench.until(|s| s.fields["portNews"].as_array().unwrap().len() == 2);
    ask(&mut line);
    let ports = bench.app.status().fields["ports"].clone();
    assert_eq!(
        (&ports[1]["port"], &ports[1]["state"], &ports[1]["reconnects"]),
        (&json!("bus"), &json!("open"), &json!(1))
    );
    bench.invoke("record_stop", json!({})).unwrap();
    let recording = Recording::open(&bench.file(&started), None).unwrap();
    // The gateway asks, so that side A, the line, is who answers.
    assert_eq!(recording.sent_by(Side::A), reply.repeat(2));
    assert_eq!(recording.sent_by(Side::B), question.repeat(2));
}

#[test]
fn signals_go_on_while_nobody_asks() {
    // 20,000 steps a second: the first access after a rest would have them all to do.
    let model = "[port.line]\nurl = \"pty:plc\"\n[unit.u]\nid = 9\n[unit.u.point.n]\nat = \"holding:0\"\ntype = \"u16\"\n\
                 signal = { counter = { every = \"1ms\" } }\n";
    let bench = Bench::of_model(model);
    bench.invoke("run_start", json!({})).unwrap();
    let run = bench.app.run().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while run.kept_up() < 2 {
        assert!(Instant::now() < end, "nobody lets the data go on");
        std::thread::sleep(Duration::from_millis(5));
    }
}
