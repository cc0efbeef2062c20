//! The app against real virtual ports and a rig that is told when to end.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use hilrig_contract::{Args, ConfigTree, Stop};

use super::*;

#[derive(Default)]
pub(super) struct TestJob {
    pub out: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Job for TestJob {
    fn id(&self) -> &str {
        "job-test"
    }

    fn out(&self, line: &str) {
        self.out.lock().unwrap().push(line.to_owned());
    }

    fn warn(&self, line: &str) {
        self.out(line);
    }

    fn stop(&self) -> Option<Stop> {
        self.stop.load(Ordering::Relaxed).then_some(Stop::Canceled)
    }

    fn sleep(&self, time: Duration) -> Result<(), Stop> {
        std::thread::sleep(time);
        self.stop().map_or(Ok(()), Err)
    }
}

#[derive(Clone, Default)]
struct FakeRig {
    over: Arc<Mutex<Option<&'static str>>>,
}

impl Scenario for FakeRig {
    fn state(&self) -> ScenarioState {
        let verdict = self.over.lock().unwrap().map(str::to_owned);
        ScenarioState {
            name: "fake".to_owned(),
            message: "because".to_owned(),
            verdict,
            ..Default::default()
        }
    }

    fn stop(&self) {
        *self.over.lock().unwrap() = Some("canceled");
    }
}

impl Scenarios for FakeRig {
    fn start(&self, _root: &Path, name: &str) -> Result<Box<dyn Scenario>, ContractError> {
        if name == "fake" { Ok(Box::new(self.clone())) } else { Err(ContractError::failed("no such rig")) }
    }

    fn names(&self, _root: &Path) -> Vec<String> {
        vec!["fake".to_owned()]
    }
}

pub(super) struct Bench {
    pub app: BridgeApp,
    rig: FakeRig,
    pub config: ConfigTree,
    pub dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rig = FakeRig::default();
        let app = BridgeApp::new(Runtime::at(dir.path().join("run")).unwrap(), Arc::new(rig.clone()));
        let mut config = ConfigTree::default();
        for key in spec().config {
            config.set(key.key, key.default);
        }
        Self { app, rig, config, dir }
    }

    pub fn invoke(&self, action: &str, args: Value) -> Result<Map<String, Value>, ContractError> {
        let spec = spec();
        let descriptor = spec.actions.iter().find(|a| a.name == action).unwrap();
        let args: Args = descriptor.accept(args.as_object().unwrap())?;
        let job = TestJob::default();
        let root = self.dir.path();
        self.app.invoke(Call { action, args: &args, config: &self.config, root, job: &job })
    }

    pub fn far_end(&self, name: &str) -> std::fs::File {
        let path = self.dir.path().join("run").join(name);
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap()
    }
}

#[test]
fn a_run_carries_bytes_and_stops_twice() {
    let bench = Bench::new();
    let started = bench.invoke("run_start", json!({})).unwrap();
    assert_eq!(started["alreadyRunning"], false);
    let boot = bench.app.status().run.unwrap();
    assert_eq!(bench.invoke("run_start", json!({})).unwrap()["alreadyRunning"], true);
    assert_eq!(bench.app.status().run, Some(boot.clone()));

    let (mut a, mut b) = (bench.far_end("bridge-a"), bench.far_end("bridge-b"));
    a.write_all(b"over the bridge").unwrap();
    let mut got = [0; 15];
    b.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"over the bridge");
    // A byte can be read a moment before it is counted.
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.app.status().metrics["bytesCarried"] != 15 {
        assert!(Instant::now() < deadline, "{:?}", bench.app.status());
        std::thread::sleep(STEP);
    }
    assert_eq!(bench.app.status().fields["healthState"], "ok");

    assert_eq!(bench.invoke("run_stop", json!({})).unwrap()["wasRunning"], true);
    assert_eq!(bench.invoke("run_stop", json!({})).unwrap()["wasRunning"], false);
    assert_eq!(bench.app.status().run, None);
    assert!(!bench.dir.path().join("run/bridge-a").exists());
    bench.invoke("run_start", json!({})).unwrap();
    assert_ne!(bench.app.status().run, Some(boot));
}

#[test]
fn a_run_whose_port_is_gone_says_so_and_starts_anew() {
    let mut bench = Bench::new();
    let socket = bench.dir.path().join("device.sock");
    let device = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    bench.config.set("near.url", json!(format!("unix:{}", socket.display())));
    bench.config.set("link.main", json!({"reconnect": false}));
    bench.invoke("run_start", json!({})).unwrap();
    let boot = bench.app.status().run;
    drop(device.accept().unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.app.status().error.is_empty() {
        assert!(Instant::now() < deadline, "nobody noticed that the port is gone");
        std::thread::sleep(STEP);
    }
    let status = bench.app.status();
    assert!(status.error.contains("device.sock"), "{}", status.error);
    assert_eq!((status.run, &status.fields["healthState"]), (boot.clone(), &json!("degraded")));
    assert_eq!(bench.invoke("run_start", json!({})).unwrap()["alreadyRunning"], false);
    assert_ne!(bench.app.status().run, boot);
    assert_eq!(bench.app.status().error, "");
}

#[test]
fn a_failed_start_names_the_port_and_leaves_nothing() {
    let mut bench = Bench::new();
    bench.config.set("far.com", json!("/dev/pts/no-such-port"));
    let error = bench.invoke("run_start", json!({})).unwrap_err();
    assert_eq!(error.code, ErrorCode::ActionFailed);
    assert!(error.message.contains("/dev/pts/no-such-port"), "{error}");
    assert_eq!(bench.app.status().run, None);
    assert!(!bench.dir.path().join("run/bridge-a").exists());
}

#[test]
fn profile_sim_refuses_real_ports_and_ble_is_refused() {
    let mut bench = Bench::new();
    bench.config.set("near.url", json!("/dev/ttyUSB77"));
    let error = bench.invoke("run_start", json!({})).unwrap_err();
    assert!(error.message.contains("profile sim") && error.message.contains("/dev/ttyUSB77"), "{error}");
    bench.config.set("profile", json!("lab"));
    let error = bench.invoke("run_start", json!({})).unwrap_err();
    assert!(!error.message.contains("profile sim") && error.message.contains("/dev/ttyUSB77"), "{error}");
    bench.config.set("transportMode", json!("Ble"));
    assert!(bench.invoke("run_start", json!({})).unwrap_err().message.contains("Ble"));
}

#[test]
fn a_rig_is_a_run_and_its_verdict_stays_readable() {
    let bench = Bench::new();
    assert!(bench.invoke("run_start", json!({"rig": "other"})).is_err());
    bench.invoke("run_start", json!({"rig": "fake"})).unwrap();
    assert!(bench.app.status().run.is_some());
    *bench.rig.over.lock().unwrap() = Some("fail");
    let status = bench.app.status();
    assert_eq!(status.run, None);
    assert_eq!(status.error, "rig fake: fail: because");
    assert_eq!(status.fields["scenario"]["verdict"], "fail");

    *bench.rig.over.lock().unwrap() = None;
    bench.invoke("run_start", json!({"rig": "fake"})).unwrap();
    let stopped = bench.invoke("run_stop", json!({})).unwrap();
    assert_eq!(stopped["verdict"], "canceled");
    assert_eq!(bench.app.status().fields["scenario"]["verdict"], "canceled");
    assert_eq!(bench.app.status().error, "");
}

#[test]
fn soak_needs_a_run_and_counts_what_is_lost() {
    let bench = Bench::new();
    assert!(bench.invoke("soak", json!({"durationSeconds": 0.1})).unwrap_err().message.contains("run_start"));
    bench.invoke("run_start", json!({})).unwrap();
    assert_eq!(bench.invoke("soak", json!({"durationSeconds": "0.1"})).unwrap()["bytesLost"], 0);
    let mut a = bench.far_end("bridge-a");
    let lost = std::thread::scope(|scope| {
        let soak = scope.spawn(|| bench.invoke("soak", json!({"durationSeconds": 20})));
        while !soak.is_finished() {
            a.write_all(b"to nobody").unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        soak.join().unwrap().unwrap_err()
    });
    assert!(lost.details["bytesLost"].as_u64().unwrap() > 0, "{lost}");
}
