//! The app on real virtual ports, asked by the master core on a shard of its own.

use std::io::{Read, Write};
use std::path::Path;

use hilrig_contract::{ConfigTree, Job, Stop};
use hilrig_port::{OpenPort, PortUrl, Shard};

use super::*;
use hilrig_modbus::{Exchange, Master, Outcome, Poll, PollResult, Timing};
use hilrig_points::Table;
use hilrig_tests::with_crc;

#[derive(Default)]
struct TestJob {
    lines: Mutex<Vec<String>>,
    stop: Option<Stop>,
}

impl Job for TestJob {
    fn id(&self) -> &str {
        "job-test"
    }

    fn out(&self, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
    }

    fn warn(&self, line: &str) {
        self.out(line);
    }

    fn stop(&self) -> Option<Stop> {
        self.stop
    }

    fn sleep(&self, _time: Duration) -> Result<(), Stop> {
        self.stop.map_or(Ok(()), Err)
    }
}

struct Bench {
    app: PlcApp,
    config: ConfigTree,
    job: TestJob,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = PlcApp::new(Runtime::at(dir.path().join("run")).unwrap());
        let mut config = ConfigTree::default();
        for key in spec().config {
            assert_eq!(key.accept(&key.default).as_ref(), Ok(&key.default), "{}", key.key);
            config.set(key.key, key.default);
        }
        Self { app, config, job: TestJob::default(), dir }
    }

    fn with(key: &str, value: impl Into<Value>) -> Self {
        let mut bench = Self::new();
        bench.config.set(key, value.into());
        bench
    }

    fn invoke(&self, action: &str, args: Value) -> Result<Map<String, Value>, ContractError> {
        let args =
            spec().actions.iter().find(|a| a.name == action).unwrap().accept(args.as_object().unwrap())?;
        let (config, root) = (&self.config, self.dir.path());
        self.app.invoke(Call { action, args: &args, config, root, job: &self.job })
    }

    /// Why a start fails; nothing is left behind.
    fn refused(&self) -> ContractError {
        let error = self.invoke("run_start", json!({})).unwrap_err();
        assert_eq!(self.app.status().run, None);
        let left: Vec<_> = self.files();
        assert!(left.is_empty(), "{left:?}");
        error
    }

    /// The status as soon as it is so.
    #[track_caller]
    fn until(&self, done: impl Fn(&AppStatus) -> bool) -> AppStatus {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.app.status();
            if done(&status) {
                return status;
            }
            assert!(
                Instant::now() < end,
                "never: {:?} {:?} {:?}",
                status.error,
                status.fields,
                status.metrics
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let links = |p: &Path| p.is_symlink() || p.exists();
        let dir = std::fs::read_dir(self.dir.path().join("run")).unwrap();
        dir.map(|f| f.unwrap().path())
            .filter(|p| links(p) && p.extension().is_none_or(|e| e != "lock"))
            .collect()
    }

    /// Asks one request after the other at the far end.
    fn ask(&self, exchanges: impl IntoIterator<Item = Exchange>) -> Vec<PollResult> {
        self.ask_and_look(exchanges).0
    }

    /// The same, with the status while the far end is still open.
    fn ask_and_look(&self, exchanges: impl IntoIterator<Item = Exchange>) -> (Vec<PollResult>, AppStatus) {
        let far_end = self.app.status().fields["farEnd"].as_str().unwrap().to_owned();
        let line = if far_end.starts_with('/') {
            format!("serial:{far_end}?baud=19200&format=8E1")
        } else {
            far_end
        };
        let url: PortUrl = line.parse().unwrap();
        let runtime = Runtime::at(self.dir.path().join("run")).unwrap();
        let (mut master, mut results) = Master::new(Timing::new(19200, "8E1".parse().unwrap()), [], 16);
        let mut wanted = 0;
        for exchange in exchanges {
            assert!(master.submit(wanted, Poll::new(exchange).timeout(Duration::from_secs(10))));
            wanted += 1;
        }
        let shard = Shard::start("test").unwrap();
        let _station =
            shard.add_station(OpenPort::open(&url, &runtime, &|| false).unwrap(), Box::new(master)).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let mut got = Vec::new();
        while (got.len() as u64) < wanted {
            assert!(Instant::now() < end, "no answer on {url}");
            got.extend(results.pop());
            std::thread::sleep(Duration::from_millis(1));
        }
        (got, self.app.status())
    }
}

fn read(unit: u8, table: Table, address: u16, quantity: u16) -> Exchange {
    Exchange::read(unit, table, address, quantity).unwrap()
}

#[path = "model_tests.rs"]
mod of_models;
#[path = "record_tests.rs"]
mod of_records;

#[test]
fn a_run_answers_on_its_port_and_stops_twice() {
    let bench = Bench::new();
    let started = bench.invoke("run_start", json!({})).unwrap();
    assert_eq!(started["alreadyRunning"], false);
    let boot = bench.app.status().run.unwrap();
    assert_eq!(bench.invoke("run_start", json!({})).unwrap()["alreadyRunning"], true);
    assert_eq!(bench.app.status().run, Some(boot.clone()));

    let (got, open) = bench.ask_and_look([
        read(1, Table::HoldingRegisters, 5, 3),
        Exchange::write_register(1, 5, 700).unwrap(),
        read(1, Table::HoldingRegisters, 5, 2),
        read(1, Table::HoldingRegisters, 100, 1),
        read(1, Table::InputRegisters, 0, 1),
        Exchange::write_coil(1, 3, true).unwrap(),
        read(1, Table::Coils, 2, 3),
    ]);
    let values: Vec<Vec<u16>> = got.iter().map(|r| r.values.iter().collect()).collect();
    assert_eq!(values, [vec![5, 6, 7], vec![], vec![700, 6], vec![], vec![], vec![], vec![0, 1, 0]]);
    assert_eq!((got[3].outcome, got[4].outcome), (Outcome::Exception(2), Outcome::Exception(2)));

    let status = bench.app.status();
    for (key, value) in [("state", json!("running")), ("healthState", json!("ok")), ("unitId", json!(1))] {
        assert_eq!(status.fields[key], value);
    }
    assert_eq!(open.fields["baudSeen"], 19200);
    let count = |key: &str| status.metrics[key].as_u64().unwrap();
    assert_eq!([count("requests"), count("replies"), count("exceptionsIllegalAddress")], [7, 7, 2]);
    assert_eq!((count("crcErrors"), count("rxBytes")), (0, 7 * 8));

    assert_eq!(bench.invoke("run_stop", json!({})).unwrap()["wasRunning"], true);
    assert_eq!(bench.invoke("run_stop", json!({})).unwrap()["wasRunning"], false);
    let stopped = bench.app.status();
    assert_eq!((stopped.run, stopped.fields["lastRunKey"].as_str()), (None, Some(&*boot.nonce)));
    assert!(bench.files().is_empty());
    bench.invoke("run_start", json!({})).unwrap();
    assert_ne!(bench.app.status().run, Some(boot));
    bench.app.shutdown(Duration::from_secs(1));
    assert!(bench.app.status().run.is_none() && bench.files().is_empty());
}

#[test]
fn the_configured_unit_and_tables_are_served() {
    let mut bench = Bench::with("unitId", 17);
    for (key, value) in [
        ("holding.first", json!(400)),
        ("holding.count", json!(3)),
        ("holding.value", json!(65535)),
        ("holding.step", json!(2)),
        ("coils.value", json!(true)),
        ("inputRegisters.count", json!(1)),
        ("discreteInputs.first", json!(65535)),
        ("discreteInputs.count", json!(1)),
    ] {
        bench.config.set(key, value);
    }
    bench.invoke("run_start", json!({})).unwrap();
    let got = bench.ask([
        read(17, Table::HoldingRegisters, 400, 3),
        read(17, Table::HoldingRegisters, 399, 1),
        read(17, Table::Coils, 99, 1),
        read(17, Table::InputRegisters, 0, 1),
        read(17, Table::DiscreteInputs, 65535, 1),
    ]);
    let values: Vec<Vec<u16>> = got.iter().map(|r| r.values.iter().collect()).collect();
    assert_eq!(values, [vec![65535, 1, 3], vec![], vec![1], vec![0], vec![0]]);
}

#[test]
fn rtu_over_a_tcp_listener_works_too() {
    let bench = Bench::with("port", "tcp-listen:127.0.0.1:0");
    bench.invoke("run_start", json!({})).unwrap();
    let status = bench.app.status();
    assert_eq!((&status.fields["portState"], &status.fields["peerOpen"]), (&json!("waiting"), &json!(false)));
    assert_eq!(bench.ask([read(1, Table::HoldingRegisters, 0, 2)])[0].outcome, Outcome::Ok);
}

#[test]
fn values_are_read_and_set_from_outside() {
    let bench = Bench::with("inputRegisters.count", 2);
    let error = bench.invoke("register_get", json!({})).unwrap_err();
    assert!(error.message.contains("run_start"), "{error}");
    bench.invoke("run_start", json!({})).unwrap();
    assert_eq!(bench.invoke("register_get", json!({})).unwrap()["values"], json!([0]));
    bench.invoke("register_set", json!({"set": "input:0=7,8"})).unwrap();
    bench.invoke("register_set", json!({"set": "coil:99=1"})).unwrap();
    assert_eq!(
        bench.invoke("register_get", json!({"at": "input:0", "count": "2"})).unwrap()["values"],
        json!([7, 8])
    );
    let got = bench.ask([read(1, Table::InputRegisters, 0, 2), read(1, Table::Coils, 99, 1)]);
    assert!(got[0].values.iter().eq([7, 8]) && got[1].values.iter().eq([1]));
    for (action, args, code) in [
        ("register_get", json!({"at": "holding:100"}), ErrorCode::ActionFailed),
        ("register_get", json!({"at": "holding:99", "count": 2}), ErrorCode::ActionFailed),
        ("register_get", json!({"at": "holding:70000"}), ErrorCode::BadArg),
        ("register_get", json!({"at": "what"}), ErrorCode::BadArg),
        ("register_set", json!({"set": "holding:99=1,2"}), ErrorCode::ActionFailed),
        ("register_set", json!({"set": "holding:65535=1,2"}), ErrorCode::ActionFailed),
        ("register_set", json!({"set": "holding:0=70000"}), ErrorCode::BadArg),
        ("register_set", json!({"set": "coil:0=2"}), ErrorCode::BadArg),
        ("register_set", json!({"set": ""}), ErrorCode::BadArg),
    ] {
        assert_eq!(bench.invoke(action, args.clone()).unwrap_err().code, code, "{args}");
    }
    assert_eq!(bench.invoke("register_get", json!({"at": "holding:99"})).unwrap()["values"], json!([99]));
}

#[test]
fn a_failed_start_names_the_port_and_leaves_nothing() {
    let error = Bench::with("port", "/dev/pts/no-such-port").refused();
    assert_eq!(error.code, ErrorCode::ActionFailed);
    assert!(error.message.contains("/dev/pts/no-such-port"), "{error}");
    let error = Bench::with("port", "/dev/ttyUSB77").refused();
    assert!(error.message.contains("/dev/ttyUSB77") && error.message.contains("profile sim"), "{error}");
    let mut lab = Bench::with("port", "/dev/ttyUSB77");
    lab.config.set("profile", json!("lab"));
    let error = lab.refused();
    assert!(error.message.contains("/dev/ttyUSB77") && !error.message.contains("profile"), "{error}");
    let error = Bench::with("transportMode", "Ble").refused();
    assert!(error.message.contains("Ble") && error.message.contains("Com"), "{error}");
    let mut wide = Bench::with("holding.first", 65500);
    wide.config.set("holding.count", json!(37));
    let error = wide.refused();
    assert_eq!(
        (error.code, error.details["key"].as_str()),
        (ErrorCode::ConfigInvalid, Some("holding.count"))
    );
}

#[test]
fn a_port_that_is_taken_fails_the_second_start_only() {
    let bench = Bench::new();
    bench.invoke("run_start", json!({})).unwrap();
    let second = PlcApp::new(Runtime::at(bench.dir.path().join("run")).unwrap());
    let (args, config, root) = (hilrig_contract::Args::default(), &bench.config, bench.dir.path());
    let call = Call { action: "run_start", args: &args, config, root, job: &bench.job };
    let error = second.invoke(call).unwrap_err();
    assert!(error.message.contains("pty:plc"), "{error}");
    assert_eq!(bench.ask([read(1, Table::HoldingRegisters, 0, 1)])[0].outcome, Outcome::Ok);
}

#[test]
fn a_lost_port_is_reported_and_comes_back_by_itself() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::with("port", format!("tcp:{}", listener.local_addr().unwrap()));
    bench.invoke("run_start", json!({})).unwrap();
    let boot = bench.app.status().run;
    let mut peer = listener.accept().unwrap().0;
    let request = with_crc(&[1, 3, 0, 5, 0, 1]);
    let answer = |peer: &mut std::net::TcpStream| {
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        peer.write_all(&request).unwrap();
        let mut got = [0; 7];
        peer.read_exact(&mut got).unwrap();
        got[..5].to_vec()
    };
    assert_eq!(answer(&mut peer), [1, 3, 2, 0, 5]);
    // Nobody answers there for a while.
    let address = listener.local_addr().unwrap();
    drop(listener);
    drop(peer);
    let status = bench.until(|s| s.error.contains("opening it again: "));
    assert!(status.error.contains(&format!("port tcp:{address} is gone: ")), "{}", status.error);
    assert_eq!((&status.fields["healthState"], &status.run), (&json!("degraded"), &boot));
    assert_eq!(
        (&status.fields["portState"], &status.fields["portNews"][0]["what"]),
        (&json!("lost"), &json!("lost"))
    );
    // It is looked for, so there is nothing to start anew.
    assert_eq!(bench.invoke("run_start", json!({})).unwrap()["alreadyRunning"], true);
    let listener = std::net::TcpListener::bind(address).unwrap();
    let mut peer = listener.accept().unwrap().0;
    let status = bench.until(|s| s.error.is_empty() && s.fields["portNews"].as_array().unwrap().len() > 1);
    assert_eq!((&status.fields["portState"], &status.run), (&json!("open"), &boot));
    let news: Vec<_> =
        status.fields["portNews"].as_array().unwrap().iter().map(|n| n["what"].clone()).collect();
    assert_eq!(news, ["lost", "back"]);
    assert_eq!(answer(&mut peer), [1, 3, 2, 0, 5]);
    let status = bench.until(|s| s.metrics["replies"] == 2);
    assert_eq!(status.metrics["reconnects"], 1, "and the statistics went on");
    bench.invoke("run_stop", json!({})).unwrap();
}

#[test]
fn a_canceled_start_leaves_nothing() {
    for (stop, code) in
        [(Stop::Canceled, ErrorCode::ActionFailed), (Stop::TimedOut, ErrorCode::ActionTimeout)]
    {
        let mut bench = Bench::new();
        bench.job.stop = Some(stop);
        assert_eq!(bench.refused().code, code);
    }
}

#[test]
fn keys_refuse_what_cannot_work() {
    let spec = spec();
    let accept = |key: &str, value: Value| spec.config.iter().find(|k| k.key == key).unwrap().accept(&value);
    for (key, value) in [
        ("unitId", json!(0)),
        ("unitId", json!(248)),
        ("port", json!("ptty:x")),
        ("port", json!("serial:/dev/ttyS0?flow=none&baud=9600")),
        ("format", json!("9X9")),
        ("baud", json!(0)),
        ("holding.first", json!(65536)),
        ("coils.value", json!(7)),
    ] {
        let why = accept(key, value.clone()).unwrap_err();
        assert!(!why.contains('\n'), "{key} {value}: {why}");
    }
    assert!(accept("port", json!("serial:/dev/ttyS0?flow=none")).is_ok());
    let names: std::collections::HashSet<_> = spec.config.iter().map(|k| k.key).collect();
    assert_eq!(names.len(), spec.config.len());
    for action in &spec.actions {
        assert!(action.args.iter().skip(1).all(|a| !a.required));
        for arg in &action.args {
            if let Some(placeholder) = &arg.placeholder {
                assert!(hilrig_contract::coerce(&arg.kind, &json!(placeholder)).is_ok());
            }
        }
    }
}
