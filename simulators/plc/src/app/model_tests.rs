//! The app with a model: points, faults, reload, states and events, on real virtual ports.

use std::sync::mpsc;

use hilrig_contract::Topic;

use super::*;

const MODEL: &str = r#"
seed = 3
[port.line]
url = "pty:plc"
[unit.tank]
id = 9
[unit.tank.point.level]
at = "holding:0"
type = "f32"
unit = "m"
value = 1.5
[unit.tank.point.valve]
at = "coil:3"
[unit.tank.point.flow]
at = "input:0"
type = "i16"
signal = { triangle = { min = -100, max = 100, period = "2s" } }
[[fault]]
name = "refuse"
armed = false
effect = { exception = 6 }
"#;

impl Bench {
    /// A bench whose config names a model file.
    pub(super) fn of_model(text: &str) -> Self {
        let bench = Self::with("scenario", "models/tank.toml");
        std::fs::create_dir(bench.dir.path().join("models")).unwrap();
        bench.write(text);
        bench
    }

    pub(super) fn write(&self, text: &str) {
        std::fs::write(self.dir.path().join("models/tank.toml"), text).unwrap();
    }

    fn value(&self, point: &str) -> Value {
        self.invoke("point_get", json!({"points": point})).unwrap()["points"][0]["value"].clone()
    }
}

fn level(value: f32) -> Vec<u16> {
    value.to_bits().to_be_bytes().chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect()
}

#[test]
fn points_are_listed_read_set_and_moved() {
    let bench = Bench::of_model(MODEL);
    let started = bench.invoke("run_start", json!({})).unwrap();
    assert_eq!((&started["scenario"], &started["seed"]), (&json!("models/tank.toml"), &json!(3)));
    let all = bench.invoke("point_list", json!({})).unwrap()["points"].clone();
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tank.level", "tank.valve", "tank.flow"]);
    assert_eq!(
        (&all[0]["value"], &all[0]["unit"], &all[0]["at"]),
        (&json!(1.5), &json!("m"), &json!("holding:0"))
    );
    assert_eq!(
        bench.invoke("point_list", json!({"points": "tank.*l*"})).unwrap()["points"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    bench.invoke("point_set", json!({"set": "tank.level=2.25 valve=true"})).unwrap();
    let got = bench.ask([read(9, Table::HoldingRegisters, 0, 2), read(9, Table::Coils, 3, 1)]);
    assert_eq!(got[0].values.iter().collect::<Vec<_>>(), level(2.25));
    assert!(got[1].values.iter().eq([1]));
    // All or none.
    for (set, word) in [
        ("level=3 valve=maybe", "valve"),
        ("level=3 nothing=1", "nothing"),
        ("level=x", "level"),
        ("level", "pump.speed=12.5"),
    ] {
        let error = bench.invoke("point_set", json!({"set": set})).unwrap_err();
        assert!(error.message.contains(word), "{error}");
    }
    assert_eq!(bench.value("level"), 2.25);
    bench.invoke("point_ramp", json!({"ramp": "level=10", "seconds": 0})).unwrap();
    assert_eq!(bench.value("level"), 10.0);
    bench.invoke("point_set", json!({"set": "flow=55"})).unwrap();
    assert_eq!(bench.value("flow"), 55);
    assert_eq!(bench.invoke("point_release", json!({"points": "flow"})).unwrap()["released"], 1);
    let error = bench.invoke("point_get", json!({"points": "tank.depth"})).unwrap_err();
    assert!(
        error.message.contains("tank.depth") && error.message.contains("known points: tank.level"),
        "{error}"
    );
    let status = bench.app.status();
    assert_eq!(status.fields["scenario"]["points"], 3);
    assert_eq!((&status.fields["unitId"], &status.fields["ports"][0]["port"]), (&json!(9), &json!("line")));
}

#[test]
fn a_wrong_model_does_not_run_and_says_all_that_is_wrong() {
    let bench = Bench::of_model("seed = -1\n[unit.a]\nid = 700\n");
    let error = bench.refused();
    assert!(
        error.message.contains("tank.toml:1:8: ") && error.message.contains("tank.toml:3:6: "),
        "{error}"
    );
    bench.write(MODEL);
    bench.invoke("run_start", json!({})).unwrap();
    let boot = bench.app.status().run;
    std::fs::write(bench.dir.path().join("bad.toml"), "x = 1").unwrap();
    let error = bench.invoke("scenario_load", json!({"scenario": "bad.toml"})).unwrap_err();
    assert!(error.message.contains("bad.toml:1:1: unknown key `x`"), "{error}");
    assert_eq!(bench.app.status().run, boot, "a wrong file changes nothing");
    let other = MODEL.replace("id = 9", "id = 10");
    std::fs::write(bench.dir.path().join("other.toml"), other).unwrap();
    bench.invoke("scenario_load", json!({"scenario": "other.toml"})).unwrap();
    assert_ne!(bench.app.status().run, boot);
    assert_eq!(bench.ask([read(10, Table::HoldingRegisters, 0, 2)])[0].outcome, Outcome::Ok);
}

#[test]
fn faults_are_armed_counted_and_cleared() {
    let bench = Bench::of_model(MODEL);
    bench.invoke("run_start", json!({})).unwrap();
    let outcome = || bench.ask([read(9, Table::HoldingRegisters, 0, 2)])[0].outcome;
    assert_eq!(outcome(), Outcome::Ok);
    bench.invoke("fault_arm", json!({"rule": "refuse"})).unwrap();
    assert_eq!(outcome(), Outcome::Exception(6));
    bench.invoke("fault_clear", json!({"rule": "refuse"})).unwrap();
    assert_eq!(outcome(), Outcome::Ok);
    for rule in [
        "name=\"once\", when={count=1, addresses=\"0..1\"}, effect={exception=4}",
        "{\"name\": \"once\", \"when\": {\"count\": 1}, \"effect\": {\"exception\": 4}}",
    ] {
        let armed = bench.invoke("fault_arm", json!({"rule": rule})).unwrap();
        assert_eq!((&armed["rule"], &armed["ports"]), (&json!("once"), &json!(["line"])));
        assert_eq!((outcome(), outcome()), (Outcome::Exception(4), Outcome::Ok));
    }
    let list = bench.invoke("fault_list", json!({})).unwrap()["faults"].clone();
    let fired =
        |name: &str| list.as_array().unwrap().iter().find(|f| f["rule"] == name).unwrap()["fired"].clone();
    assert_eq!((fired("refuse"), fired("once")), (json!(1), json!(1)));
    for (rule, word) in [
        ("nobody", "known rules: refuse, once"),
        ("name=\"x\", effect=\"bang\"", "bang"),
        ("name=\"x\", effect={transaction=1}", "framing"),
        ("name=\"x\"", "effect"),
    ] {
        let error = bench.invoke("fault_arm", json!({"rule": rule})).unwrap_err();
        assert!(error.message.contains(word), "{rule}: {error}");
    }
}

#[test]
fn a_reload_keeps_values_and_takes_in_what_is_new() {
    let bench = Bench::of_model(MODEL);
    bench.invoke("run_start", json!({})).unwrap();
    bench.invoke("point_set", json!({"set": "level=7.5 valve=true"})).unwrap();
    bench.invoke("fault_arm", json!({"rule": "name = 'mine', effect = { delay = '1ms' }"})).unwrap();
    bench.ask([read(9, Table::HoldingRegisters, 0, 2)]);
    let faults = |bench: &Bench| bench.invoke("fault_list", json!({})).unwrap()["faults"].clone();
    let rules = faults(&bench);
    assert!(rules.as_array().unwrap().iter().any(|r| r["rule"] == "mine" && r["fired"] == 1), "{rules}");
    let boot = bench.app.status().run;
    let new = MODEL
        .replace("at = \"coil:3\"", "at = \"holding:8\"\ntype = \"u16\"")
        .replace("id = 9", "id = 9\n[unit.tank.point.spare]\nat = \"holding:20\"\nvalue = 44");
    bench.write(&format!("{new}\n[unit.more]\nid = 12\nholding = {{ 0 = 5 }}\n"));
    let done = bench.invoke("reload", json!({})).unwrap();
    assert_eq!((&done["points"], &done["kept"]), (&json!(4), &json!(2)));
    assert_eq!(faults(&bench), rules, "rules of the file go on, and one armed by hand");
    assert_eq!(
        (bench.value("level"), bench.value("valve"), bench.value("spare")),
        (json!(7.5), json!(0), json!(44))
    );
    let got = bench.ask([
        read(9, Table::HoldingRegisters, 0, 2),
        read(9, Table::HoldingRegisters, 20, 1),
        read(12, Table::HoldingRegisters, 0, 1),
    ]);
    assert_eq!(got[0].values.iter().collect::<Vec<_>>(), level(7.5));
    assert!(got[1].values.iter().eq([44]) && got[2].values.iter().eq([5]));
    assert_eq!(bench.app.status().run, boot, "it is the same run");
    // A wrong file, or other ports, change nothing.
    bench.write("seed = -1");
    assert!(bench.invoke("reload", json!({})).unwrap_err().message.contains("tank.toml:1:8"));
    bench.write(&MODEL.replace("pty:plc", "pty:other"));
    assert!(bench.invoke("reload", json!({})).unwrap_err().message.contains("ports are others"));
    assert_eq!(bench.value("spare"), 44);
}

/// A master that asks the far end, a telegram that says a point, and the line of the units.
const PEERS: &str = r#"
[port.ask]
url = "pty:ask"
[master.drive]
port = "ask"
[master.drive.poll.status]
unit = 2
holding = "0..1"
every = "10ms"
timeout = "5s"
[port.scale]
url = "pty:scale"
[telegram.scale]
port = "scale"
framing = { terminator = "\r\n" }
[telegram.scale.send.level]
every = "10ms"
fields = [{ text = "L" }, { point = "tank.level", as = { decimal = { decimals = 1 } } }]
"#;

#[test]
fn a_reload_takes_in_polls_and_telegrams_and_binds_them_to_the_new_points() {
    let bench = Bench::of_model(&format!("{MODEL}{PEERS}"));
    bench.invoke("run_start", json!({})).unwrap();
    let open = |name: &str| hilrig_tests::Line::open(&bench.dir.path().join("run").join(name));
    let (ask, scale) = (open("ask"), open("scale"));
    let says = |wanted: &str| {
        let end = Instant::now() + Duration::from_secs(20);
        while scale.read(6).unwrap() != format!("{wanted}\r\n").as_bytes() {
            assert!(Instant::now() < end, "{wanted} is never said");
        }
    };
    // The next request that `wanted` takes, answered with zeros.
    let asks = |wanted: &dyn Fn(&[u8]) -> bool| {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut got = ask.read(8).unwrap();
            got.truncate(6);
            let count = 2 * usize::from(got[5]);
            let reply = [&[got[0], 3, count as u8][..], &vec![0; count]].concat();
            ask.write(&with_crc(&reply)).unwrap();
            if wanted(&got) {
                return got;
            }
            assert!(Instant::now() < end, "the request never comes");
        }
    };
    says("L1.5");
    // One more point before the others, another telegram, another poll.
    let text = format!("{MODEL}{PEERS}").replace(
        "[unit.tank.point.level]",
        "[unit.tank.point.first]\nat = \"holding:50\"\nvalue = 9\n[unit.tank.point.level]",
    );
    bench.write(&text.replace("{ text = \"L\" }", "{ text = \"M\" }"));
    let done = bench.invoke("reload", json!({})).unwrap();
    assert_eq!(
        (&done["pollsKept"], &done["pollsChanged"], &done["warnings"]),
        (&json!(1), &json!(0), &json!([]))
    );
    says("M1.5");
    assert_eq!(asks(&|_| true), [2, 3, 0, 0, 0, 2]);
    bench.write(&format!(
        "{}\n[master.drive.poll.more]\nunit = 3\nholding = \"7\"\nevery = \"10ms\"\n",
        text.replace("unit = 2", "unit = 4")
    ));
    let done = bench.invoke("reload", json!({})).unwrap();
    assert_eq!((&done["pollsKept"], &done["pollsChanged"]), (&json!(0), &json!(2)));
    says("L1.5");
    assert_eq!(asks(&|got| got[0] == 4), [4, 3, 0, 0, 0, 2]);
    assert_eq!(asks(&|got| got[0] == 3), [3, 3, 0, 7, 0, 1]);
    let polls = bench.app.status().metrics["polls"].clone();
    assert_eq!((&polls[0]["poll"], &polls[1]["poll"]), (&json!("status"), &json!("more")));
}

#[test]
fn a_state_is_saved_and_taken_up_again() {
    let bench = Bench::of_model(&format!("{MODEL}\n[snapshot]\nsave = true\nrestore = true\n"));
    bench.invoke("run_start", json!({})).unwrap();
    bench.invoke("point_set", json!({"set": "level=8.5"})).unwrap();
    let stopped = bench.invoke("run_stop", json!({})).unwrap();
    assert!(Path::new(stopped["state"].as_str().unwrap()).is_file());
    bench.invoke("run_start", json!({})).unwrap();
    assert_eq!(bench.value("level"), 8.5);
    let saved = bench.invoke("snapshot_save", json!({"file": "mine"})).unwrap();
    assert!(saved["file"].as_str().unwrap().ends_with("state/plc/mine.json"));
    for name in ["../x", ".x", "a/b"] {
        assert_eq!(bench.invoke("snapshot_save", json!({"file": name})).unwrap_err().code, ErrorCode::BadArg);
    }
    // A state that makes no sense is told, and nothing is left open.
    bench.invoke("run_stop", json!({})).unwrap();
    std::fs::write(bench.dir.path().join("state/plc/tank.json"), "{").unwrap();
    assert!(bench.refused().message.contains("tank.json"));
}

pub(super) struct Heard(pub Mutex<mpsc::Sender<(Topic, Map<String, Value>)>>);

impl Publisher for Heard {
    fn wanted(&self, _topic: Topic) -> bool {
        true
    }

    fn publish(&self, topic: Topic, more: Map<String, Value>) {
        let _ = self.0.lock().unwrap().send((topic, more));
    }
}

#[test]
fn events_tell_of_points_frames_faults_and_timing() {
    let bench = Bench::of_model(MODEL);
    let (tell, heard) = mpsc::channel();
    bench.app.publish_to(Arc::new(Heard(Mutex::new(tell))));
    bench.invoke("events_set", json!({"points": "tank.flow", "frames": "all"})).unwrap();
    assert_eq!(bench.invoke("events_set", json!({"frames": "many"})).unwrap_err().code, ErrorCode::BadArg);
    bench.invoke("run_start", json!({})).unwrap();
    bench
        .invoke("fault_arm", json!({"rule": "name=\"once\", when={count=1}, effect={exception=4}"}))
        .unwrap();
    let next = |wanted: &dyn Fn(Topic, &Map<String, Value>) -> bool| {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (topic, more) = heard.recv_timeout(left).expect("the event does not come");
            if wanted(topic, &more) {
                return more;
            }
        }
    };
    // Frames are recorded from the first look on.
    next(&|topic, _| topic == Topic::PointChanged);
    let (first, second) = (&level(4.5)[0], &level(4.5)[1]);
    let write = Exchange::write_registers(9, 0, &[*first, *second]).unwrap();
    bench.ask([read(9, Table::HoldingRegisters, 0, 2), write]);
    let fired = next(&|topic, _| topic == Topic::FaultFired);
    assert_eq!((&fired["rule"], &fired["port"], &fired["unit"]), (&json!("once"), &json!("line"), &json!(9)));
    let frame = next(&|topic, more| topic == Topic::Frame && more["kind"] == "exception");
    assert_eq!((&frame["exception"], &frame["frame"]), (&json!(4), &fired["frame"]));
    let frame = next(&|topic, more| topic == Topic::Frame && more["function"] == 16);
    assert_eq!((&frame["points"]["tank.level"], &frame["kind"]), (&json!(4.5), &json!("request")));
    let point = next(&|topic, more| topic == Topic::PointChanged && more["points"][0]["written"] == true);
    assert_eq!(
        (&point["points"][0]["name"], &point["points"][0]["value"]),
        (&json!("tank.level"), &json!(4.5))
    );
    next(&|topic, more| topic == Topic::PointChanged && more["points"][0]["name"] == "tank.flow");
    let timing = next(&|topic, _| topic == Topic::Timing);
    assert_eq!(timing["port"], "line");
    let far_end = bench.app.status().fields["farEnd"].as_str().unwrap().to_owned();
    let mut line = std::fs::OpenOptions::new().read(true).write(true).open(far_end).unwrap();
    std::io::Write::write_all(&mut line, b"noise on the line").unwrap();
    let error = next(&|topic, _| topic == Topic::LineError);
    assert_eq!((&error["port"], &error["new"]["crcErrors"]), (&json!("line"), &json!(1)));
}

#[test]
fn a_sniffer_hears_and_learns() {
    let bench = Bench::of_model(MODEL);
    bench.invoke("run_start", json!({})).unwrap();
    bench.invoke("sniff_start", json!({"port": "pty:tee"})).unwrap();
    let error = bench.invoke("sniff_start", json!({"port": "pty:tee"})).unwrap_err();
    assert!(error.message.contains("pty:tee"), "{error}");
    let ports = bench.app.status().fields["ports"].clone();
    let tee = ports[1]["farEnd"].as_str().unwrap().to_owned();
    // A request and its reply, as somebody else's line carries them.
    let mut line = std::fs::OpenOptions::new().read(true).write(true).open(tee).unwrap();
    for frame in [&[0x21u8, 3, 0, 7, 0, 1][..], &[0x21, 3, 2, 0, 42]] {
        std::io::Write::write_all(&mut line, &with_crc(frame)).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(20);
    while bench.invoke("sniff_get", json!({})).unwrap()["sniffers"][0]["rows"][0]["replies"] != json!(1) {
        assert!(Instant::now() < end, "nothing is heard");
        std::thread::sleep(Duration::from_millis(2));
    }
    let heard = bench.invoke("sniff_stop", json!({})).unwrap();
    let learned = &heard["sniffers"][0]["learned"][0];
    assert_eq!(learned["unit"], 33);
    let model = crate::Model::check(learned["model"].as_str().unwrap(), Path::new("learned.toml"));
    assert_eq!(model.unwrap_or_else(|e| panic!("{}", e.lines())).units, [("unit33".to_owned(), 33)]);
    assert_eq!(bench.app.status().fields["ports"].as_array().unwrap().len(), 1);
}
