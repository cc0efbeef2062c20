//! Daemon, host processes and third-party apps as real processes: starting, adopting, dying, stopping. The apps only
//! pretend (tests/rehearsal).

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hilrig_contract::Topic;
use hilrig_host::{Client, Endpoint, Events, Root};
use serde_json::{Value, json};

/// Nothing here takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(30);
const PROGRAM: &str = env!("CARGO_BIN_EXE_hilrig-host-rehearsal");

/// A root of its own, and what runs on it.
struct Bench {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hil").tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root")).unwrap();
        Self { dir, daemon: None }
    }

    fn serving() -> Self {
        let mut bench = Self::new();
        bench.serve();
        bench
    }

    fn root_dir(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn root(&self) -> Root {
        Root::create_in(&self.root_dir(), &self.dir.path().join("run")).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg(args[0])
            .arg(self.root_dir())
            .args(&args[1..])
            .env("HILRIG_RUNTIME_DIR", self.dir.path().join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a daemon and waits until it says that it serves.
    fn serve(&mut self) {
        let mut daemon = self.command(&["serve"]).spawn().unwrap();
        let mut words = BufReader::new(daemon.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving ") {
            line.clear();
            assert_ne!(words.read_line(&mut line).unwrap(), 0, "the daemon ended");
        }
        std::thread::spawn(move || std::io::copy(&mut words, &mut std::io::sink()));
        self.daemon = Some(daemon);
    }

    fn client(&self) -> Client {
        Client::connect(&Endpoint::Unix(self.root().control_socket())).unwrap()
    }

    fn call(&self, method: &str, params: Value) -> Value {
        self.client().call(method, params).unwrap()
    }

    fn status(&self, app: &str) -> Value {
        self.call("status.get", json!({"appId": app}))
    }

    fn host_pid(&self, app: &str) -> u32 {
        u32::try_from(self.status(app)["hostPid"].as_u64().unwrap()).unwrap()
    }

    fn invoke(&self, app: &str, action: &str, args: Value) -> String {
        let invoked = self.call("action.invoke", json!({"appId": app, "actionName": action, "args": args}));
        assert_eq!(invoked["state"], "queued");
        invoked["jobId"].as_str().unwrap().to_owned()
    }

    fn job(&self, app: &str, id: &str) -> Value {
        self.call("action.job.get", json!({"appId": app, "jobId": id}))
    }

    fn finished(&self, app: &str, id: &str) -> Value {
        until("the job is over", || {
            let job = self.job(app, id);
            let over = !["queued", "running"].contains(&job["state"].as_str().unwrap());
            over.then_some(job)
        })
    }

    fn done(&self, app: &str, action: &str) -> Value {
        let job = self.finished(app, &self.invoke(app, action, json!({})));
        assert_eq!(job["state"], "succeeded", "{job}");
        job
    }

    fn subscribe(&self, topic: Topic) -> Events {
        self.client().subscribe(&[topic]).unwrap()
    }

    fn signal_daemon(&self, signal: &str) {
        kill(self.daemon.as_ref().unwrap().id(), signal);
    }

    /// Ends the daemon with a signal and answers its exit code.
    fn end(&mut self, signal: &str) -> Option<i32> {
        let mut daemon = self.daemon.take().unwrap();
        kill(daemon.id(), signal);
        wait(&mut daemon)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            kill(daemon.id(), "TERM");
            let _ = wait(&mut daemon);
        }
    }
}

fn kill(pid: u32, signal: &str) {
    assert!(Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap().success());
}

/// The exit code; a child that does not end in time is killed.
fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("process {} did not end", child.id());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs; one that only waits to be reaped does not.
fn alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
}

fn gone(pid: u32) {
    until(&format!("process {pid} is gone"), || (!alive(pid)).then_some(()));
}

#[test]
fn a_host_process_is_started_by_the_action_that_needs_it() {
    let bench = Bench::serving();
    let before = bench.status("bridge");
    assert_eq!((&before["running"], &before["hostPid"]), (&json!(false), &Value::Null));
    let stopped = bench.done("bridge", "run_stop");
    assert!(stopped["stdout"].as_str().unwrap().contains("nothing to stop"), "{stopped}");
    assert_eq!(bench.status("bridge")["hostPid"], Value::Null);

    let started = bench.done("bridge", "run_start");
    let status = bench.status("bridge");
    assert_eq!((&status["running"], &status["error"]), (&json!(true), &json!("")));
    assert_eq!(status["pid"], status["hostPid"]);
    let pid = status["pid"].as_u64().unwrap();
    assert!(status["bootId"].as_str().unwrap().starts_with(&format!("bridge:{pid}:")), "{status}");
    assert!(
        started["stdout"].as_str().unwrap().contains(&format!("run_start in process {pid}")),
        "{started}"
    );
    assert_eq!(bench.status("plc-simulator")["hostPid"], Value::Null);

    bench.done("bridge", "run_stop");
    let after = bench.status("bridge");
    assert_eq!((&after["pid"], &after["bootId"]), (&Value::Null, &json!("")));
    assert_eq!(after["hostPid"].as_u64(), Some(pid));
}

#[test]
fn two_roles_share_a_host_process() {
    let bench = Bench::serving();
    bench.done("plc-simulator", "run_start");
    let (plc, ble) = (bench.status("plc-simulator"), bench.status("ble-simulator"));
    assert_eq!((&plc["running"], &ble["running"]), (&json!(true), &json!(false)));
    assert_eq!(plc["hostPid"], ble["hostPid"]);
    assert_eq!((&ble["processModel"], &ble["roleAppId"]), (&json!("hosted-role"), &json!("ble-simulator")));
}

#[test]
fn output_of_a_live_job_is_readable_and_cancel_reaches_it() {
    let bench = Bench::serving();
    let id = bench.invoke("bridge", "work", json!({"seconds": 3000}));
    until("it has said something", || {
        bench.job("bridge", &id)["stdout"].as_str().unwrap().contains("work").then_some(())
    });
    assert_eq!(bench.job("bridge", &id)["state"], "running");
    bench.call("action.job.cancel", json!({"appId": "bridge", "jobId": id}));
    let job = bench.finished("bridge", &id);
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("canceled"), &json!("E_ACTION_FAILED")));

    let timed =
        json!({"appId": "bridge", "actionName": "work", "args": {"seconds": 3000}, "timeoutSeconds": 0.2});
    let id = bench.call("action.invoke", timed)["jobId"].as_str().unwrap().to_owned();
    let job = bench.finished("bridge", &id);
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("timeout"), &json!("E_ACTION_TIMEOUT")));
}

#[test]
fn the_death_of_a_host_is_told_with_its_reason() {
    let bench = Bench::serving();
    bench.done("bridge", "run_start");
    let id = bench.invoke("bridge", "work", json!({"seconds": 3000}));
    until("it runs", || (bench.job("bridge", &id)["state"] == "running").then_some(()));
    let pid = bench.host_pid("bridge");
    let mut events = bench.subscribe(Topic::StatusChanged);
    let killed = Instant::now();
    kill(pid, "KILL");
    let event = until("the end is told", || {
        let event = events.next_within(LONG).unwrap()?;
        (event.params.more["running"] == false).then_some(event)
    });
    println!("told after {} ms", killed.elapsed().as_millis());
    let reason = format!("host process bridge (pid {pid}) was killed by signal 9 (SIGKILL)");
    assert_eq!((event.params.app_id.as_str(), &event.params.more["error"]), ("bridge", &json!(reason)));
    let status = bench.status("bridge");
    assert_eq!(
        (&status["running"], &status["hostPid"], &status["error"]),
        (&json!(false), &Value::Null, &json!(reason))
    );
    let job = bench.finished("bridge", &id);
    assert_eq!((&job["state"], &job["error"]["message"]), (&json!("failed"), &json!(reason)));
    assert!(job["stderr"].as_str().unwrap().trim_end().ends_with(&reason), "{job}");

    bench.done("bridge", "run_start");
    let status = bench.status("bridge");
    assert_eq!((&status["running"], &status["error"]), (&json!(true), &json!("")));
    assert_ne!(status["hostPid"].as_u64(), Some(u64::from(pid)));
}

#[test]
fn a_host_that_aborts_fails_its_job_at_once() {
    let bench = Bench::serving();
    let job = bench.finished("bridge", &bench.invoke("bridge", "abort", json!({})));
    assert_eq!(job["state"], "failed");
    assert!(job["error"]["message"].as_str().unwrap().contains("SIGABRT"), "{job}");
    // And again, at any moment: an invoke never hangs on a host that just went.
    for _ in 0..10 {
        let pid = bench.finished("bridge", &bench.invoke("bridge", "run_start", json!({})));
        assert_eq!(pid["state"], "succeeded", "{pid}");
        kill(bench.host_pid("bridge"), "KILL");
        let job = bench.finished("bridge", &bench.invoke("bridge", "work", json!({})));
        assert!(["succeeded", "failed"].contains(&job["state"].as_str().unwrap()), "{job}");
    }
}

#[test]
fn hosts_outlive_a_killed_daemon_and_are_adopted() {
    let mut bench = Bench::serving();
    bench.done("bridge", "run_start");
    let over = bench.finished("bridge", &bench.invoke("bridge", "work", json!({})));
    let live = bench.invoke("bridge", "work", json!({"seconds": 3000}));
    until("it runs", || (bench.job("bridge", &live)["state"] == "running").then_some(()));
    let before = bench.status("bridge");
    bench.end("KILL");
    let pid = u32::try_from(before["hostPid"].as_u64().unwrap()).unwrap();
    assert!(alive(pid));
    bench.serve();
    let after = bench.status("bridge");
    assert_eq!((&after["bootId"], &after["hostPid"]), (&before["bootId"], &before["hostPid"]));
    let listed = bench.call("app.list", json!({}));
    assert_eq!(listed["apps"][0]["running"], true, "{listed}");
    assert_eq!(bench.job("bridge", &live)["state"], "running");
    assert_eq!(bench.job("bridge", over["jobId"].as_str().unwrap()), over);
    bench.call("action.job.cancel", json!({"appId": "bridge", "jobId": live}));
    assert_eq!(bench.finished("bridge", &live)["state"], "canceled");

    // Not a child of this daemon: its death is noticed all the same.
    kill(pid, "KILL");
    let error = until("the death is told", || {
        let status = bench.status("bridge");
        (status["running"] == false).then(|| status["error"].clone())
    });
    assert_eq!(error, json!(format!("host process bridge (pid {pid}) ended without a goodbye")));
}

#[test]
fn a_stopped_daemon_leaves_nothing() {
    let mut bench = Bench::serving();
    bench.done("bridge", "run_start");
    bench.done("plc-simulator", "run_start");
    let pids = [bench.host_pid("bridge"), bench.host_pid("plc-simulator")];
    assert_eq!(bench.end("TERM"), Some(0));
    for pid in pids {
        assert!(!alive(pid), "process {pid} is left");
    }
    for (host, app) in [("bridge", "bridge"), ("simulators", "plc-simulator")] {
        let said = std::fs::read_to_string(bench.root().host_log(host)).unwrap();
        assert!(said.contains(&format!("{app}: the run was stopped")), "{said}");
    }
    let left: Vec<_> =
        std::fs::read_dir(bench.root().sockets()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn an_interrupt_stops_and_a_second_one_forces() {
    let mut bench = Bench::serving();
    bench.done("bridge", "run_start");
    let id = bench.invoke("bridge", "deaf", json!({"seconds": 3000}));
    until("it runs", || (bench.job("bridge", &id)["state"] == "running").then_some(()));
    let pid = bench.host_pid("bridge");
    bench.signal_daemon("INT");
    until("it listens no more", || Client::connect(&Endpoint::Unix(bench.root().control_socket())).err());
    assert_eq!(bench.end("INT"), Some(3));
    gone(pid);
}

#[test]
fn one_daemon_per_root() {
    let bench = Bench::serving();
    let output = bench.command(&["serve"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let holder = bench.daemon.as_ref().unwrap().id();
    assert_eq!(output.status.code(), Some(3));
    assert!(said.contains(&format!("already served by process {holder}")), "{said}");
    assert_eq!(bench.call("ping", json!({}))["pong"], true);
}

#[test]
fn a_busy_port_is_no_half_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut bench = Bench::new();
    let output = bench.command(&["serve", &address]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(said.contains(&address), "{said}");
    assert!(!bench.root().control_socket().exists() && !bench.root().daemon_lock().exists());
    bench.serve();
}

#[test]
fn a_host_that_cannot_start_says_why() {
    let bench = Bench::serving();
    std::fs::write(bench.root().host_socket("bridge"), "in the way").unwrap();
    let job = bench.finished("bridge", &bench.invoke("bridge", "run_start", json!({})));
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("did not come up") && message.contains("it is no socket"), "{message}");
    assert_eq!(job["error"]["code"], "E_ACTION_FAILED");
    assert_eq!(bench.status("bridge")["hostRunning"], false);
}

#[test]
fn a_frozen_host_is_told_and_comes_back() {
    let bench = Bench::serving();
    bench.done("bridge", "run_start");
    let before = bench.status("bridge");
    let pid = bench.host_pid("bridge");
    kill(pid, "STOP");
    let frozen = until("it has stopped", || {
        let status = bench.status("bridge");
        status["error"].as_str().unwrap().contains("does not answer").then_some(status)
    });
    assert_eq!((&frozen["running"], &frozen["bootId"]), (&json!(true), &before["bootId"]));
    kill(pid, "CONT");
    assert_eq!(bench.status("bridge"), before);
}

#[test]
fn a_host_that_was_frozen_at_the_daemons_start_is_adopted_later() {
    let mut bench = Bench::serving();
    bench.done("bridge", "run_start");
    let before = bench.status("bridge");
    let pid = bench.host_pid("bridge");
    kill(pid, "STOP");
    bench.end("KILL");
    bench.serve();
    assert_eq!(bench.status("plc-simulator")["error"], "");
    kill(pid, "CONT");
    until("it is adopted", || (bench.status("bridge") == before).then_some(()));
}

#[test]
fn jobs_keep_the_time_they_were_accepted_at() {
    let bench = Bench::serving();
    let invoked = bench.call("action.invoke", json!({"appId": "bridge", "actionName": "work"}));
    let job = bench.finished("bridge", invoked["jobId"].as_str().unwrap());
    assert_eq!(job["acceptedAt"], invoked["acceptedAt"]);
}

#[test]
fn a_host_nobody_needs_ends_by_itself() {
    let mut bench = Bench::serving();
    bench.done("plc-simulator", "run_start");
    bench.done("bridge", "work");
    let [busy, idle] = [bench.host_pid("plc-simulator"), bench.host_pid("bridge")];
    bench.end("KILL");
    gone(idle);
    assert!(alive(busy), "a run was up there");
    assert!(!bench.root().host_socket("bridge").exists());
    bench.serve();
    assert_eq!(bench.status("bridge")["hostRunning"], false);
    assert_eq!(bench.status("plc-simulator")["running"], true);
}

#[test]
fn events_of_a_host_reach_the_daemons_subscribers() {
    let bench = Bench::serving();
    let mut events = bench.client().subscribe(&[Topic::JobChanged, Topic::Log]).unwrap();
    let id = bench.invoke("bridge", "work", json!({}));
    let (mut states, mut logged) = (vec![], false);
    while states.last() != Some(&json!("succeeded")) || !logged {
        let event = events.next_within(LONG).unwrap().expect("an event");
        assert_eq!(event.params.app_id, "bridge");
        match event.event {
            Topic::JobChanged if event.params.more["jobId"] == id => {
                states.push(event.params.more["state"].clone())
            }
            Topic::Log => logged |= event.params.more["line"].as_str().unwrap().contains(&id),
            _ => {}
        }
    }
    assert_eq!(states[0], "queued");
    assert!(states.windows(2).all(|pair| pair[0] != pair[1]), "{states:?}");
}

/// A program with the contract on its standard input and output.
struct Talk {
    child: Child,
    reader: BufReader<std::process::ChildStdout>,
}

impl Talk {
    fn new(bench: &Bench) -> Self {
        let mut child =
            bench.command(&["stdio"]).stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let reader = BufReader::new(child.stdout.take().unwrap());
        Self { child, reader }
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        let request = json!({"method": method, "params": params});
        writeln!(self.child.stdin.as_mut().unwrap(), "{request}").unwrap();
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["response"].take()
    }

    /// Ends its input and answers its exit code, and what else it said.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.child.stdin.take());
        let code = wait(&mut self.child);
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).unwrap();
        (code, rest)
    }
}

#[test]
fn stdio_is_the_daemon_where_there_is_none() {
    let bench = Bench::new();
    let mut talk = Talk::new(&bench);
    assert_eq!(talk.call("ping", json!({}))["pong"], true);
    let id =
        talk.call("action.invoke", json!({"appId": "bridge", "actionName": "run_start"}))["jobId"].clone();
    until("it runs", || {
        let job = talk.call("action.job.get", json!({"appId": "bridge", "jobId": id}));
        (job["state"] == "succeeded").then_some(())
    });
    // Another client of the same root finds it by the socket.
    let pid = bench.host_pid("bridge");
    assert_eq!(talk.end(), (Some(0), String::new()));
    assert!(!alive(pid));
    assert!(!bench.root().control_socket().exists());

    let mut talk = Talk::new(&bench);
    talk.call("ping", json!({}));
    kill(talk.child.id(), "TERM");
    assert_eq!(wait(&mut talk.child), Some(0));
}

#[test]
fn stdio_goes_through_the_daemon_where_there_is_one() {
    let mut bench = Bench::serving();
    bench.done("bridge", "run_start");
    let mut talk = Talk::new(&bench);
    assert_eq!(talk.call("status.get", json!({"appId": "bridge"}))["running"], true);
    assert_eq!(talk.end(), (Some(0), String::new()));
    assert_eq!(bench.status("bridge")["running"], true);

    let mut talk = Talk::new(&bench);
    talk.call("ping", json!({}));
    bench.end("TERM");
    assert_eq!(wait(&mut talk.child), Some(3));
}

/// Declares `tests/apps/counter.py`; `None` where there is no Python.
fn with_counter(bench: &Bench) -> Option<()> {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: python3 is missing");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/counter.py");
    std::fs::create_dir_all(bench.root_dir().join("config")).unwrap();
    let text =
        format!("[[app]]\nid = \"counter\"\ntitle = \"Counter\"\ncommand = [\"python3\", {script:?}]\n");
    std::fs::write(bench.root().apps_file(), text + "[[app]]\nid = \"broken\"\ncommand = 5\n").unwrap();
    Some(())
}

#[test]
fn a_third_party_app_stands_beside_the_built_in_ones() {
    let mut bench = Bench::new();
    if with_counter(&bench).is_none() {
        return;
    }
    bench.serve();
    let listed = bench.call("app.list", json!({}));
    let ids: Vec<_> =
        listed["apps"].as_array().unwrap().iter().map(|app| app["appId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["bridge", "plc-simulator", "ble-simulator", "counter", "broken"]);
    assert_eq!(listed["apps"][3]["kind"], "third-party");
    let broken = bench.status("broken")["error"].as_str().unwrap().to_owned();
    assert!(broken.contains("apps.toml:7:11: app broken: command is"), "{broken}");

    let status = bench.status("counter");
    assert_eq!(
        (&status["running"], &status["appTitle"], &status["error"]),
        (&json!(false), &json!("Counter"), &json!(""))
    );
    let pid = bench.host_pid("counter");
    let actions = bench.call("action.list", json!({"appId": "counter"}));
    assert!(!actions.to_string().contains("cmd"), "{actions}");
    let job = bench.done("counter", "count");
    assert_eq!((&job["result"]["count"], &job["stdout"]), (&json!(1), &json!("count\n")));
    bench.done("counter", "run_start");
    assert_eq!(bench.status("counter")["running"], true);
    assert_eq!(bench.status("counter")["count"], 1);
    let tail = bench.call("log.tail", json!({"appId": "counter"}))["lines"].to_string();
    assert!(tail.contains("hello from") && tail.contains("not of the contract"), "{tail}");
    let unusable = bench.finished("counter", &bench.invoke("counter", "nonsense", json!({})));
    assert!(unusable["error"]["message"].as_str().unwrap().contains("not usable"), "{unusable}");

    bench.end("TERM");
    assert!(!alive(pid));
}

#[test]
fn a_third_party_app_that_dies_says_why_and_is_started_again() {
    let mut bench = Bench::new();
    if with_counter(&bench).is_none() {
        return;
    }
    bench.serve();
    bench.done("counter", "run_start");
    let mut events = bench.subscribe(Topic::StatusChanged);
    let job = bench.finished("counter", &bench.invoke("counter", "crash", json!({})));
    let reason = job["error"]["message"].as_str().unwrap();
    assert!(reason.contains("ended with exit code 7: counter: out of numbers"), "{reason}");
    let event = until("the end is told", || {
        let event = events.next_within(LONG).unwrap()?;
        event.params.more["error"].as_str().unwrap().contains("exit code 7").then_some(event)
    });
    assert_eq!(event.params.more["running"], false);
    until("it is there again", || (bench.status("counter")["error"] == "").then_some(()));
    assert_eq!(bench.status("counter")["count"], 0);
    drop(bench);
}

#[test]
fn a_third_party_app_does_not_outlive_a_killed_daemon() {
    let mut bench = Bench::new();
    if with_counter(&bench).is_none() {
        return;
    }
    bench.serve();
    bench.done("counter", "count");
    let pid = bench.host_pid("counter");
    bench.end("KILL");
    gone(pid);
}

#[test]
fn a_third_party_app_cannot_make_anybody_wait() {
    let mut bench = Bench::new();
    if with_counter(&bench).is_none() {
        return;
    }
    bench.serve();
    let hang = json!({"appId": "counter", "actionName": "hang", "timeoutSeconds": 0.3});
    let id = bench.call("action.invoke", hang)["jobId"].as_str().unwrap().to_owned();
    let pid = bench.host_pid("counter");
    let job = bench.finished("counter", &id);
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("timeout"), &json!("E_ACTION_TIMEOUT")));
    assert!(job["stderr"].as_str().unwrap().contains("the app was killed"), "{job}");
    gone(pid);

    until("it is there again", || (bench.status("counter")["error"] == "").then_some(()));
    let id = bench.invoke("counter", "silence", json!({}));
    let job = bench.job("counter", &id);
    assert!(["queued", "running"].contains(&job["state"].as_str().unwrap()), "{job}");
    bench.call("action.job.cancel", json!({"appId": "counter", "jobId": id}));
    assert_eq!(bench.finished("counter", &id)["state"], "canceled");
    assert_eq!(bench.end("TERM"), Some(0));
}
