//! App `bridge` of the process interface: its run, which is either links or a rig, and its status. What single actions
//! do is in the modules beside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hilrig_contract::{
    App, AppSpec, AppStatus, Call, ConfigKey, ContractError, ErrorCode, Job, RunIdentity, ValueKind, object,
};
use hilrig_port::{PortUrl, Runtime};
use hilrig_record::{RunInfo, capture_folder, capture_sentence};
use serde_json::{Map, Value, json};

use crate::links::tapped;
use crate::{
    LinkError, LinkRow, LinkSet, LinkSpec, Scenario, ScenarioState, Scenarios, actions, bench,
    capture_actions, config, faults, lines, pairs, refuse_real_ports, replay, status,
};

/// How long `run_stop` waits for a rig to tear itself down.
const RIG_STOP: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

pub(crate) type Outcome = Result<Map<String, Value>, ContractError>;

/// What is known of the app without running it.
pub fn spec() -> AppSpec {
    AppSpec {
        id: "bridge",
        title: "Test Fixture Bridge",
        host: "bridge",
        hosted_role: false,
        config: vec![
            ConfigKey::profile(),
            ConfigKey::transport_mode(),
            port_key("near.url", "pty:bridge-a", "the near port of link main, towards the device"),
            port_key("far.com", "pty:bridge-b", "the far port of link main when transportMode is Com"),
            port_key(
                "far.tcp",
                "tcp-listen:127.0.0.1:8770",
                "the far port of link main when transportMode is Tcp",
            ),
            ConfigKey::new(
                "record.db",
                ValueKind::text(),
                "state/runs.db",
                "the database of runs, for links with record = true; relative to the root",
            ),
        ],
        sections: vec![config::section()],
        actions: actions::all(),
    }
}

fn port_key(key: &'static str, default: &'static str, help: &'static str) -> ConfigKey {
    ConfigKey::new(key, ValueKind::text(), default, help)
        .check(|v| v.as_str().unwrap_or_default().parse::<PortUrl>().map(drop).map_err(|e| e.sentence()))
}

/// The bridge.
pub struct BridgeApp {
    spec: AppSpec,
    runtime: Runtime,
    scenarios: Arc<dyn Scenarios>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run: Option<Run>,
    /// Why the last run ended, if against its will.
    error: String,
    /// The last rig, so that its verdict can be read after it.
    last_rig: Option<ScenarioState>,
}

pub(crate) struct Run {
    pub identity: RunIdentity,
    pub since: Instant,
    ends: Option<Instant>,
    pub profile: String,
    pub transport: String,
    /// The links of the config are among its links.
    configured: bool,
    pub work: Work,
}

pub(crate) enum Work {
    Links(Arc<LinkSet>),
    Rig(Box<dyn Scenario>),
}

impl BridgeApp {
    pub fn new(runtime: Runtime, scenarios: Arc<dyn Scenarios>) -> Self {
        Self { spec: spec(), runtime, scenarios, state: Mutex::default() }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn scenarios(&self) -> &dyn Scenarios {
        &*self.scenarios
    }

    /// The state, with a run that has ended by itself already put away.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let over = match &state.run {
            Some(Run { work: Work::Rig(rig), .. }) => {
                let rig = rig.state();
                let verdict = rig.verdict.clone();
                if let Some(verdict) = &verdict {
                    if !matches!(verdict.as_str(), "pass" | "marginal" | "canceled") {
                        state.error = format!("rig {}: {verdict}: {}", rig.name, rig.message);
                    }
                    state.last_rig = Some(rig);
                }
                verdict.is_some()
            }
            Some(Run { ends: Some(ends), .. }) => *ends <= Instant::now(),
            _ => false,
        };
        if over {
            state.run = None;
        }
        state
    }

    /// The links that are up.
    pub(crate) fn links(&self) -> Result<Arc<LinkSet>, ContractError> {
        match &self.state().run {
            Some(Run { work: Work::Links(links), .. }) => Ok(links.clone()),
            Some(_) => {
                Err(ContractError::failed("a rig is running, and its links are its own: run_stop first"))
            }
            None => Err(ContractError::failed("no link is running: run_start first")),
        }
    }

    fn start(&self, call: Call<'_>) -> Outcome {
        let mut state = self.state();
        let mut given_up = None;
        if let Some(Run { work: Work::Links(links), .. }) = &state.run
            && links.given_up()
        {
            call.job.out(&format!("starting anew: {}", links.trouble()));
            given_up = state.run.take();
        }
        if let Some(run) = &state.run
            && (run.configured || call.args.text("rig").is_some())
        {
            call.job.out("already running");
            return Ok(object(json!({"running": true, "alreadyRunning": true, "nonce": run.identity.nonce})));
        }
        drop(state);
        drop(given_up);
        if let Some(rig) = call.args.text("rig") {
            let rig = self.scenarios.start(call.root, rig)?;
            return self.start_rig(rig, call);
        }
        let specs: Vec<LinkSpec> =
            config::links(call.config)?.into_iter().filter(|spec| spec.enabled).collect();
        let links = self.open(call, &specs, true)?;
        let ports = links.ports();
        for port in &ports {
            let open =
                if port.far_end.is_empty() { String::new() } else { format!(", open {}", port.far_end) };
            call.job.out(&format!("{} is {}{open}", port.url, port.state));
        }
        links.warnings().iter().for_each(|warning| call.job.warn(warning));
        Ok(object(json!({
            "running": true,
            "alreadyRunning": false,
            "ports": ports,
            "links": links.states(),
            "captures": links.captures().rows(),
        })))
    }

    /// Makes a rig the run.
    pub(crate) fn start_rig(&self, rig: Box<dyn Scenario>, call: Call<'_>) -> Outcome {
        let name = rig.state().name;
        call.job.out(&format!("rig {name} is under way; its verdict will be in the status"));
        let work = Work::Rig(rig);
        if let Some(stop) = call.job.stop() {
            stop_rig(&work, RIG_STOP);
            return Err(stop.into());
        }
        let mut state = self.state();
        state.error.clear();
        state.run = Some(new_run(call, true, work));
        Ok(object(json!({"running": true, "alreadyRunning": false, "rig": name})))
    }

    /// Refuses what would disturb a run.
    pub(crate) fn must_be_idle(&self) -> Result<(), ContractError> {
        match &self.state().run {
            Some(_) => Err(ContractError::failed("a run is up already: run_stop first")),
            None => Ok(()),
        }
    }

    /// Opens links, all or none, with their captures: in the run that is up, or in a new one.
    pub(crate) fn open(
        &self,
        call: Call<'_>,
        specs: &[LinkSpec],
        configured: bool,
    ) -> Result<Arc<LinkSet>, ContractError> {
        if call.config.text("profile") == "sim" {
            refuse_real_ports(specs).map_err(failed)?;
        }
        let stop = || call.job.stop().is_some();
        let wrong = |e: LinkError| call.job.stop().map_or_else(|| failed(e), ContractError::from);
        let up = self.links().ok();
        let (links, new) = match up {
            Some(links) => (links, false),
            None => {
                self.must_be_idle()?;
                (Arc::new(LinkSet::empty(&self.runtime).map_err(wrong)?), true)
            }
        };
        links.add(specs, &stop).map_err(wrong)?;
        let undo = || specs.iter().for_each(|spec| drop(links.remove(&spec.name)));
        if let Err(e) = self.capture(call, &links, specs) {
            undo();
            return Err(failed(e));
        }
        if let Some(stop) = call.job.stop() {
            undo();
            return Err(stop.into());
        }
        let mut state = self.state();
        state.error.clear();
        if new {
            state.run = Some(new_run(call, configured, Work::Links(links.clone())));
        } else if let Some(run) = &mut state.run {
            run.configured |= configured;
            if let Some(ends) = ends(call) {
                run.ends = Some(ends);
            }
        }
        Ok(links)
    }

    /// Starts the captures that links ask for in their specs.
    fn capture(&self, call: Call<'_>, links: &LinkSet, specs: &[LinkSpec]) -> Result<(), LinkError> {
        let folder = capture_folder(call.root);
        for spec in specs {
            if let Some(capture) = &spec.capture {
                let row = links.captures().start(&tapped(&[links.find(&spec.name)?]), capture, &folder)?;
                call.job.out(&format!("link {} is captured to {}", spec.name, row.file));
            }
        }
        let recorded = specs.iter().filter(|spec| spec.record).map(|spec| links.find(&spec.name));
        let recorded: Vec<_> = recorded.collect::<Result<_, _>>()?;
        if !recorded.is_empty() {
            let text = serde_json::to_string(&call.config.0).unwrap_or_default();
            let info = RunInfo { config: text, ..RunInfo::new("bridge", call.action) };
            let db = call.root.join(call.config.text("record.db"));
            links.captures().record(&tapped(&recorded), &db, info)?;
            call.job.out(&format!("{} links are recorded in {}", recorded.len(), db.display()));
        }
        links.captures().begin();
        Ok(())
    }

    fn stop(&self, job: &dyn Job) -> Outcome {
        let Some(run) = self.take_run() else {
            job.out("nothing runs");
            return Ok(object(json!({"running": false, "wasRunning": false})));
        };
        let mut result = object(json!({"running": false, "wasRunning": true}));
        match &run.work {
            Work::Links(links) => {
                let faults = faults::account(links);
                let ended = links.shut("stopped");
                let totals = Totals::of(&ended.traffic);
                job.out(&format!("stopped; {} bytes carried, {} lost", totals.out, totals.lost));
                faults::tell_idle(&faults, job);
                for capture in &ended.captures {
                    job.out(&capture_sentence(capture));
                }
                result.insert("traffic".to_owned(), json!(ended.traffic));
                result.insert("faults".to_owned(), json!(faults));
                result.insert("captures".to_owned(), json!(ended.captures));
            }
            Work::Rig(rig) => {
                if !stop_rig(&run.work, RIG_STOP) {
                    job.warn("the rig did not end in time; it is left to end by itself");
                }
                let state = rig.state();
                let verdict = state.verdict.clone().unwrap_or_default();
                job.out(&format!("rig {}: {verdict}", state.name));
                result.insert("verdict".to_owned(), json!(verdict));
                self.state().last_rig = Some(state);
            }
        }
        Ok(result)
    }

    /// Takes the run out, so that a `status` in the meantime says stopped.
    fn take_run(&self) -> Option<Run> {
        let mut state = self.state();
        state.error.clear();
        state.run.take()
    }

    fn soak(&self, call: Call<'_>) -> Outcome {
        let seconds = call.args.float("durationSeconds").unwrap_or(10.0);
        let before = self.watch(None)?;
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            call.job.sleep(left.min(Duration::from_millis(100)))?;
            self.watch(Some(&before))?;
        }
        let (nonce, after) = self.watch(Some(&before))?;
        let carried = after.out - before.1.out;
        let faults = self.links().map(|links| faults::account(&links)).unwrap_or_default();
        call.job.out(&format!("{carried} bytes carried in {seconds} s, none lost"));
        faults::tell_idle(&faults, call.job);
        let captures = self.links().map(|links| links.captures().rows()).unwrap_or_default();
        Ok(object(json!({
            "seconds": seconds,
            "bytesCarried": carried,
            "bytesLost": 0,
            "nonce": nonce,
            "faults": faults,
            "captures": captures,
        })))
    }

    /// One look at the run during a soak.
    fn watch(&self, before: Option<&(String, Totals)>) -> Result<(String, Totals), ContractError> {
        let state = self.state();
        let Some(Run { identity, work: Work::Links(links), .. }) = &state.run else {
            let ended =
                before.map_or("no link is running: run_start first", |_| "the run ended during the soak");
            return Err(ContractError::failed(ended));
        };
        let now = Totals::of(&links.rows());
        if let Some((nonce, then)) = before {
            if *nonce != identity.nonce {
                return Err(ContractError::failed("the run was restarted during the soak"));
            }
            // A link that was stopped meanwhile takes its account with it.
            let lost = now.lost.saturating_sub(then.lost);
            if lost > 0 {
                return Err(ContractError::failed(format!(
                    "{lost} bytes lost: they came for a port that nobody had open"
                ))
                .with("bytesLost", lost));
            }
        }
        let trouble = links.trouble();
        if !trouble.is_empty() {
            return Err(ContractError::failed(trouble));
        }
        Ok((identity.nonce.clone(), now))
    }
}

fn new_run(call: Call<'_>, configured: bool, work: Work) -> Run {
    Run {
        identity: RunIdentity::new(),
        since: Instant::now(),
        ends: if call.action == "run_start" { ends(call) } else { None },
        profile: call.config.text("profile").to_owned(),
        transport: call.config.text("transportMode").to_owned(),
        configured,
        work,
    }
}

fn ends(call: Call<'_>) -> Option<Instant> {
    call.args.float("durationSeconds").map(|s| Instant::now() + Duration::from_secs_f64(s))
}

impl std::fmt::Debug for BridgeApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BridgeApp").finish_non_exhaustive()
    }
}

impl App for BridgeApp {
    fn spec(&self) -> &AppSpec {
        &self.spec
    }

    fn status(&self) -> AppStatus {
        let state = self.state();
        status::of(state.run.as_ref(), &state.error, state.last_rig.as_ref())
    }

    fn invoke(&self, call: Call<'_>) -> Outcome {
        match call.action {
            "run_start" => self.start(call),
            "run_stop" => self.stop(call.job),
            "soak" => self.soak(call),
            "pair_run_start" => bench::pair_run(self, call),
            "link_start" => pairs::link_start(self, call),
            "link_stop" => pairs::link_stop(self, call),
            "pair_create" => pairs::create(self, call),
            "pair_remove" => pairs::remove(self, call),
            "capture_start" => capture_actions::start(self, call),
            "capture_stop" => capture_actions::stop(self, call),
            "fault_arm" => faults::arm(self, call),
            "fault_clear" => faults::clear(self, call),
            "fault_list" => faults::list(self, call),
            "replay_start" => replay::start(self, call),
            "line_set" => lines::set(self, call),
            "send_break" => lines::send_break(self, call),
            "port_list" => Ok(bench::port_list(call.job)),
            "rig_list" => Ok(bench::rig_list(call.job, &self.scenarios.names(call.root), call.root)),
            "db_counts" => bench::db_counts(call),
            "validate_contract" => bench::validate(self, call),
            other => Err(ContractError::new(ErrorCode::NotFound, format!("no action {other}"))),
        }
    }

    fn shutdown(&self, deadline: Duration) {
        if let Some(run) = self.take_run() {
            stop_rig(&run.work, deadline);
            if let Work::Links(links) = &run.work {
                links.shut("shut down");
            }
        }
    }
}

/// Asks a rig to end and waits for it; `false` when it has not in time.
fn stop_rig(work: &Work, deadline: Duration) -> bool {
    let Work::Rig(rig) = work else { return true };
    rig.stop();
    let end = Instant::now() + deadline;
    while rig.state().verdict.is_none() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(STEP);
    }
    true
}

pub(crate) struct Totals {
    pub out: u64,
    pub lost: u64,
}

impl Totals {
    pub fn of(rows: &[LinkRow]) -> Self {
        Self {
            out: rows.iter().map(|r| r.bytes_out).sum(),
            lost: rows.iter().map(|r| r.discarded_bytes).sum(),
        }
    }
}

pub(crate) fn failed(e: LinkError) -> ContractError {
    ContractError::failed(e.to_string())
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "action_tests.rs"]
mod action_tests;
