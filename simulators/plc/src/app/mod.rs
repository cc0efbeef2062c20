//! App `plc-simulator` of the process interface: a model that runs, or the one unit of the config. What single actions
//! do is in the modules beside; the protocols are in the cores.

mod act;
mod actions;
mod config;
mod events;
mod record;
mod status;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hilrig_contract::{
    App, AppSpec, AppStatus, Call, ContractError, ErrorCode, Publisher, RunIdentity, object,
};
use hilrig_port::Runtime;
use hilrig_record::capture_sentence;
use serde_json::{Map, Value, json};

use self::events::{Selection, Teller};
use crate::model::Model;
use crate::run::{Run, RunError, RunOptions, lock, state_file};

type Outcome = Result<Map<String, Value>, ContractError>;

/// What is known of the app without running it.
pub fn spec() -> AppSpec {
    AppSpec {
        id: "plc-simulator",
        title: "COM Traffic Simulator (PLC)",
        host: "simulators",
        hosted_role: true,
        config: config::keys(),
        sections: vec![],
        actions: actions::all(),
    }
}

/// The PLC simulator.
pub struct PlcApp {
    spec: AppSpec,
    runtime: Runtime,
    state: Mutex<State>,
    publisher: Mutex<Option<Arc<dyn Publisher>>>,
    selection: Arc<Mutex<Selection>>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    last_run: String,
}

/// A run and how it came about.
struct Live {
    identity: RunIdentity,
    profile: String,
    transport: String,
    /// The model file; empty if the config describes the unit.
    scenario: String,
    /// Where its state is kept at the end, if it is.
    state: Option<PathBuf>,
    run: Arc<Run>,
    /// Ends before the run does.
    teller: Option<Teller>,
}

fn failed(error: RunError) -> ContractError {
    let message = error.to_string();
    match error {
        RunError::Port { name, url, source } => {
            ContractError::failed(source.to_string()).with("port", url).with("name", name)
        }
        _ => ContractError::failed(message),
    }
}

impl PlcApp {
    pub fn new(runtime: Runtime) -> Self {
        Self {
            spec: spec(),
            runtime,
            state: Mutex::default(),
            publisher: Mutex::default(),
            selection: Arc::default(),
        }
    }

    /// The run that is up.
    fn run(&self) -> Result<Arc<Run>, ContractError> {
        let up = lock(&self.state).live.as_ref().map(|live| live.run.clone());
        up.ok_or_else(|| ContractError::failed("nothing runs: run_start first"))
    }

    fn start(&self, call: Call<'_>) -> Outcome {
        if let Ok(run) = self.run() {
            let trouble = run.trouble();
            if run.given_up().0 == 0 {
                if !trouble.is_empty() {
                    call.job.warn(&format!("{trouble}; it is looked for"));
                }
                call.job.out("already running");
                return Ok(self.started(true));
            }
            // Nothing answers any more, and nothing will, so this is no run to be told of.
            call.job.warn(&format!("{trouble}; starting again"));
            drop(run);
            self.stop(call)?;
        }
        let model = config::model(call.config, call.root, call.args.text("scenario"), seed(call))?;
        self.up(call, model)
    }

    /// Runs a model; nothing runs yet.
    fn up(&self, call: Call<'_>, model: Model) -> Outcome {
        let profile = call.config.text("profile");
        let real = model.ports.iter().filter_map(|p| p.url.as_ref()).find(|url| !url.is_virtual());
        if let (true, Some(url)) = (profile == "sim", real) {
            return Err(ContractError::failed(format!(
                "port {url}: profile sim opens virtual ports only, and this may be a real line; set `profile` to lab or prod"
            ))
            .with("reason", "realPort"));
        }
        let scenario = model.path.strip_prefix(call.root).unwrap_or(&model.path).display().to_string();
        let state = state_file(call.root, &model.name);
        let kept = model.save.then(|| state.clone());
        let options = RunOptions {
            runtime: self.runtime.clone(),
            realtime: None,
            restore: (model.restore && state.exists()).then_some(state),
            watch: false,
            reconnect: true,
            capture: None,
            stop: &|| call.job.stop().is_some(),
        };
        let run = Run::start(model, &options).map_err(|e| match call.job.stop() {
            Some(stop) => stop.into(),
            None => failed(e),
        })?;
        run.warnings().iter().for_each(|warning| call.job.warn(warning));
        for port in run.ports() {
            call.job.out(&port.sentence(&run));
        }
        if let Some(stop) = call.job.stop() {
            return Err(stop.into());
        }
        let run = Arc::new(run);
        let publisher = lock(&self.publisher).clone();
        let live = Live {
            identity: RunIdentity::new(),
            profile: profile.to_owned(),
            transport: call.config.text("transportMode").to_owned(),
            scenario,
            state: kept,
            teller: publisher.map(|p| Teller::start(Arc::downgrade(&run), p, self.selection.clone())),
            run,
        };
        let mut state = lock(&self.state);
        state.last_run.clone_from(&live.identity.nonce);
        state.live = Some(live);
        drop(state);
        Ok(self.started(false))
    }

    fn started(&self, already: bool) -> Map<String, Value> {
        let state = lock(&self.state);
        let Some(live) = &state.live else { return Map::new() };
        let ports = live.run.ports();
        let first = ports.first();
        object(json!({
            "running": true,
            "alreadyRunning": already,
            "port": first.map_or("", |p| &p.url),
            "farEnd": first.map_or("", |p| &p.far_end),
            "nonce": live.identity.nonce,
            "scenario": live.scenario,
            "seed": live.run.model().seed,
            "ports": live.run.rows(),
        }))
    }

    fn stop(&self, call: Call<'_>) -> Outcome {
        let live = lock(&self.state).live.take();
        let Some(live) = live else {
            call.job.out("nothing runs");
            return Ok(object(json!({"running": false, "wasRunning": false})));
        };
        let mut result = object(json!({"running": false, "wasRunning": true}));
        match live.save() {
            None => {}
            Some((file, Ok(()))) => {
                result.insert("state".to_owned(), json!(file.display().to_string()));
            }
            Some((_, Err(e))) => call.job.warn(&format!("the state is not saved: {e}")),
        }
        let counters: Vec<_> = live.run.ports().iter().map(|p| p.counter_row()).collect();
        let sum = |key: &str| counters.iter().filter_map(|row| row.get(key)?.as_u64()).sum::<u64>();
        call.job.out(&format!("stopped; {} requests, {} replies", sum("requests"), sum("replies")));
        result.insert("portCounters".to_owned(), json!(counters));
        result.insert("faults".to_owned(), json!(live.run.faults().unwrap_or_default()));
        let captures = live.run.end_captures();
        captures.iter().for_each(|row| call.job.out(&capture_sentence(row)));
        result.insert("captures".to_owned(), json!(captures));
        live.close(Duration::from_secs(5));
        Ok(result)
    }
}

fn seed(call: Call<'_>) -> Option<u64> {
    call.args.int("seed").and_then(|seed| u64::try_from(seed).ok())
}

impl Live {
    /// Keeps the state, if the model wants that.
    fn save(&self) -> Option<(&Path, Result<(), RunError>)> {
        let file = self.state.as_deref()?;
        Some((file, self.run.save(file)))
    }

    /// Waits for actions that still use the run, then closes its ports here and not on their thread.
    fn close(mut self, patience: Duration) {
        self.run.end();
        drop(self.teller.take());
        let (mut run, end) = (self.run, Instant::now() + patience);
        loop {
            match Arc::try_unwrap(run) {
                Ok(run) => return drop(run),
                Err(used) if Instant::now() < end => run = used,
                Err(_) => return,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl std::fmt::Debug for PlcApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlcApp").finish_non_exhaustive()
    }
}

impl App for PlcApp {
    fn spec(&self) -> &AppSpec {
        &self.spec
    }

    fn status(&self) -> AppStatus {
        let state = lock(&self.state);
        let live = state.live.as_ref().map(|live| status::Of {
            identity: live.identity.clone(),
            profile: live.profile.clone(),
            transport: live.transport.clone(),
            scenario: live.scenario.clone(),
            run: live.run.clone(),
        });
        let last_run = state.last_run.clone();
        drop(state);
        status::of(live.as_ref(), &last_run)
    }

    fn invoke(&self, call: Call<'_>) -> Outcome {
        match call.action {
            "run_start" => self.start(call),
            "run_stop" => self.stop(call),
            "scenario_load" => self.scenario_load(call),
            "reload" => self.reload(call),
            "point_list" | "point_get" => self.point_get(call),
            "point_set" => self.point_set(call),
            "point_ramp" => self.point_ramp(call),
            "point_release" => self.point_release(call),
            "register_get" => self.register_get(call),
            "register_set" => self.register_set(call),
            "fault_arm" => self.fault_arm(call),
            "fault_clear" => self.fault_clear(call),
            "fault_list" => self.fault_list(call),
            "telegram_send" => self.telegram_send(call),
            "poll_start" => self.polls(call, true),
            "poll_stop" => self.polls(call, false),
            "sniff_start" => self.sniff_start(call),
            "sniff_stop" => self.sniff_stop(call),
            "sniff_get" => self.sniff_get(call),
            "record_start" => self.record_start(call),
            "record_stop" => self.record_stop(call),
            "replay_start" => self.replay_start(call),
            "snapshot_save" => self.snapshot_save(call),
            "events_set" => self.events_set(call),
            other => Err(ContractError::new(ErrorCode::NotFound, format!("no action {other}"))),
        }
    }

    fn shutdown(&self, deadline: Duration) {
        let live = lock(&self.state).live.take();
        if let Some(live) = live {
            if let Some((_, Err(e))) = live.save() {
                tracing::warn!(app = "plc-simulator", "the state is not saved: {e}");
            }
            live.close(deadline);
        }
    }

    fn publish_to(&self, publisher: Arc<dyn Publisher>) {
        *lock(&self.publisher) = Some(publisher);
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
