//! What the tests of this crate share: an app that does everything an app can do wrong, and a dispatcher over it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hilrig_contract::{
    ActionDescriptor, App, AppSpec, AppStatus, ArgDescriptor, Call, ConfigKey, ContractError, JobRecord,
    JobState, RunIdentity, ValueKind, object,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::events::lock;
use crate::{Access, Backend, Bus, Dispatcher, LocalApp, Logbook, Root, Session};

/// No wait of a test is longer; none is expected to come near.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An app that can hang, panic, fail, talk too much, and not listen.
#[derive(Debug)]
pub(crate) struct FakeApp {
    spec: AppSpec,
    pub run: Mutex<Option<RunIdentity>>,
    /// Lets `deaf` end.
    pub release: AtomicBool,
    pub panic_in_status: AtomicBool,
}

impl FakeApp {
    pub fn new(id: &'static str, hosted_role: bool) -> Arc<Self> {
        let seconds = ArgDescriptor::optional("seconds", "Seconds", ValueKind::Float { min: 0.0, max: 60.0 });
        let count = ArgDescriptor::required("count", "Count", ValueKind::Int { min: 1, max: 10 });
        let flag = ArgDescriptor::optional("flag", "Flag", ValueKind::Bool);
        let text = ArgDescriptor::optional("text", "Text", ValueKind::text());
        let word = ArgDescriptor::optional("word", "Word", ValueKind::Text { pattern: Some("^[a-z]+$") });
        let action = |name: &str| ActionDescriptor::new(name, name, "");
        let mut actions = Vec::from(ActionDescriptor::run_pair());
        actions.extend([
            action("sleep").arg(seconds.default(10.0)),
            action("hold").exclusive(),
            action("deaf").exclusive(),
            action("panic"),
            action("print"),
            action("fail"),
            action("echo").arg(count).arg(flag).arg(text).arg(word),
        ]);
        Arc::new(Self {
            spec: AppSpec {
                id,
                title: "Fake",
                host: "fake",
                hosted_role,
                config: vec![
                    ConfigKey::profile(),
                    ConfigKey::transport_mode(),
                    ConfigKey::new("port", ValueKind::text(), "pty:fake", "the port"),
                    ConfigKey::new("serial.baud", ValueKind::Int { min: 50, max: 4_000_000 }, 9600, "speed")
                        .unit("baud"),
                    ConfigKey::new("gap", ValueKind::Float { min: 0.0, max: 10.0 }, 1.5, "gap").unit("ms"),
                    ConfigKey::new("on", ValueKind::Bool, true, "switch"),
                    ConfigKey {
                        settable: false,
                        ..ConfigKey::new("fixed", ValueKind::text(), "x", "as built")
                    },
                ],
                sections: vec![],
                actions,
            },
            run: Mutex::default(),
            release: AtomicBool::new(false),
            panic_in_status: AtomicBool::new(false),
        })
    }
}

impl App for FakeApp {
    fn spec(&self) -> &AppSpec {
        &self.spec
    }

    fn status(&self) -> AppStatus {
        assert!(!self.panic_in_status.load(Ordering::Relaxed), "status is broken");
        let run = lock(&self.run).clone();
        AppStatus {
            run,
            fields: object(json!({"state": "x"})),
            metrics: object(json!({"bytes": 7})),
            ..AppStatus::default()
        }
    }

    fn invoke(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        let job = call.job;
        match call.action {
            "run_start" => {
                let port = call.config.text("port");
                if port == "absent" {
                    return Err(ContractError::failed(format!("{port} cannot be opened: no such file")));
                }
                let mut run = lock(&self.run);
                if run.is_some() {
                    job.out("already running");
                }
                run.get_or_insert_with(RunIdentity::new);
                Ok(object(json!({"running": true})))
            }
            "run_stop" => {
                *lock(&self.run) = None;
                Ok(object(json!({"running": false})))
            }
            "sleep" => {
                job.sleep(Duration::from_secs_f64(call.args.float("seconds").unwrap_or_default()))?;
                Ok(Map::new())
            }
            "hold" => loop {
                job.sleep(Duration::from_secs(60))?;
            },
            "deaf" => {
                while !self.release.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                job.out("said too late");
                Ok(Map::new())
            }
            "panic" => panic!("on purpose"),
            "print" => {
                for n in 0..16_384 {
                    job.out(&format!("{n:063}"));
                    job.warn(&format!("{n:063}"));
                }
                Ok(Map::new())
            }
            "fail" => Err(ContractError::failed("no such\nport")),
            "echo" => Ok(call.args.0.clone()),
            other => Err(ContractError::internal(format!("no action {other}"))),
        }
    }

    fn shutdown(&self, _deadline: Duration) {
        *lock(&self.run) = None;
    }
}

/// A root with two apps, `bridge` and the hosted role `plc-simulator`.
pub(crate) struct Bench {
    _dir: TempDir,
    pub root: Root,
    pub apps: Vec<Arc<FakeApp>>,
    pub local: Vec<Arc<LocalApp>>,
    pub dispatcher: Arc<Dispatcher>,
    pub session: Session,
}

impl Bench {
    /// Needs a tokio runtime.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create_in(&dir.path().join("root"), &dir.path().join("run")).unwrap();
        let bus = Bus::new();
        let logbook = Logbook::new(&root, Arc::clone(&bus));
        let apps = vec![FakeApp::new("bridge", false), FakeApp::new("plc-simulator", true)];
        let local: Vec<_> = apps
            .iter()
            .map(|app| LocalApp::new(&root, Arc::clone(app) as _, Arc::clone(&bus), Arc::clone(&logbook)))
            .collect();
        let backends = local.iter().map(|app| Arc::clone(app) as Arc<dyn Backend>).collect();
        let dispatcher = Dispatcher::new(backends, bus);
        Self { _dir: dir, root, apps, local, dispatcher, session: Session::new(Access::default()) }
    }

    /// The reply to one line, as the client sees it.
    pub async fn line(&self, line: impl AsRef<[u8]>) -> Value {
        let reply = self.dispatcher.answer(line.as_ref(), &self.session).await;
        reply_of(&reply)
    }

    pub async fn ask(&self, method: &str, params: Value) -> Value {
        self.line(json!({"id": 1, "method": method, "params": params}).to_string()).await
    }

    pub async fn ok(&self, method: &str, params: Value) -> Value {
        let reply = self.ask(method, params).await;
        assert_eq!(reply["ok"], true, "{method}: {reply}");
        reply["response"].clone()
    }

    /// The error's code, and `details`.
    pub async fn refused(&self, method: &str, params: Value) -> (String, Value) {
        code_of(&self.ask(method, params).await)
    }

    pub async fn start(&self, action: &str, args: Value, timeout: Option<f64>) -> String {
        let params =
            json!({"appId": "bridge", "actionName": action, "args": args, "timeoutSeconds": timeout});
        let invoked = self.ok("action.invoke", params).await;
        assert_eq!(invoked["state"], "queued");
        invoked["jobId"].as_str().unwrap().to_owned()
    }

    pub async fn record(&self, id: &str) -> JobRecord {
        serde_json::from_value(self.ok("action.job.get", json!({"appId": "bridge", "jobId": id})).await)
            .unwrap()
    }

    /// Polls as a console does; states move forward only.
    pub async fn until(&self, id: &str, done: impl Fn(JobState) -> bool) -> JobRecord {
        let start = Instant::now();
        let mut last = JobState::Queued;
        loop {
            let record = self.record(id).await;
            assert!(record.state >= last, "{last:?} -> {:?}", record.state);
            last = record.state;
            if done(last) {
                return record;
            }
            assert!(start.elapsed() < DEADLINE, "{id} is still {last:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn end_of(&self, id: &str) -> JobRecord {
        self.until(id, JobState::is_terminal).await
    }

    pub async fn run(&self, action: &str, args: Value) -> JobRecord {
        let id = self.start(action, args, None).await;
        self.end_of(&id).await
    }
}

/// Checks what holds for every reply, and reads it.
pub(crate) fn reply_of(line: &[u8]) -> Value {
    assert_eq!(line.iter().position(|b| *b == b'\n'), Some(line.len() - 1), "one line");
    let reply: Value = serde_json::from_slice(line).unwrap();
    match reply["ok"].as_bool() {
        Some(true) => assert!(reply["response"].is_object() && reply.get("error").is_none(), "{reply}"),
        Some(false) => {
            assert!(reply.get("response").is_none() && reply["error"]["details"].is_object(), "{reply}");
            assert_ne!(reply["error"]["message"], "", "{reply}");
            assert!(serde_json::from_value::<ContractError>(reply["error"].clone()).is_ok(), "{reply}");
        }
        None => panic!("no ok: {reply}"),
    }
    reply
}

pub(crate) fn code_of(reply: &Value) -> (String, Value) {
    assert_eq!(reply["ok"], false, "{reply}");
    (reply["error"]["code"].as_str().unwrap().to_owned(), reply["error"]["details"].clone())
}

/// Params of `action.invoke`.
pub(crate) fn invoke(action: impl Into<Value>, args: Value) -> Value {
    json!({"appId": "bridge", "actionName": action.into(), "args": args})
}

/// Params of `config.set`.
pub(crate) fn set(key: &str, value: impl Into<Value>) -> Value {
    json!({"appId": "bridge", "key": key, "value": value.into()})
}
