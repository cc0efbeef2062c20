//! App `bridge` of the process interface: starts and stops a run, which is either the configured link or a rig.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hilrig_contract::{
    ActionDescriptor, App, AppSpec, AppStatus, ArgDescriptor, Call, ConfigKey, ConfigTree, ContractError,
    ErrorCode, Job, RunIdentity, ValueKind,
};
use hilrig_port::{PortUrl, Runtime};
use serde_json::{Map, Value, json};

use crate::{LinkRow, LinkSet, LinkSpec, Scenario, ScenarioState, Scenarios, refuse_real_ports};

const LINK: &str = "main";
/// How long `run_stop` waits for a rig to tear itself down.
const RIG_STOP: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

/// What is known of the app without running it.
pub fn spec() -> AppSpec {
    let [start, stop] = ActionDescriptor::run_pair();
    let seconds = ValueKind::Float { min: 0.1, max: 604_800.0 };
    AppSpec {
        id: "bridge",
        title: "Test Fixture Bridge",
        host: "bridge",
        hosted_role: false,
        config: vec![
            ConfigKey::profile(),
            ConfigKey::transport_mode(),
            port_key("near.url", "pty:bridge-a", "the near port, towards the device"),
            port_key("far.com", "pty:bridge-b", "the far port when transportMode is Com"),
            port_key("far.tcp", "tcp-listen:127.0.0.1:8770", "the far port when transportMode is Tcp"),
        ],
        sections: vec![],
        actions: vec![
            start
                .arg(ArgDescriptor::optional(
                    "rig",
                    "Rig: a file of rigs/ to run instead of the configured link",
                    ValueKind::text(),
                ))
                .arg(
                    ArgDescriptor::optional("durationSeconds", "Stop by itself after", seconds.clone())
                        .unit("s"),
                ),
            stop,
            ActionDescriptor::new(
                "soak",
                "Soak",
                "Watch the run for a while; fails when a port goes or a byte is lost.",
            )
            .arg(ArgDescriptor::optional("durationSeconds", "Duration", seconds).default(10.0).unit("s"))
            .timeout(700_000.0)
            .read_only(),
            ActionDescriptor::new(
                "port_list",
                "List ports",
                "The serial ports of this machine and who holds them.",
            )
            .read_only(),
            ActionDescriptor::new("rig_list", "List rigs", "The rigs that run_start can run.").read_only(),
        ],
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

struct Run {
    identity: RunIdentity,
    since: Instant,
    ends: Option<Instant>,
    profile: String,
    transport: String,
    work: Work,
}

enum Work {
    Links(LinkSet),
    Rig(Box<dyn Scenario>),
}

impl BridgeApp {
    pub fn new(runtime: Runtime, scenarios: Arc<dyn Scenarios>) -> Self {
        Self { spec: spec(), runtime, scenarios, state: Mutex::default() }
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

    fn start(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        let mut state = self.state();
        if let Some(Run { work: Work::Links(links), .. }) = &state.run
            && !links.trouble().is_empty()
        {
            call.job.out(&format!("starting anew: {}", links.trouble()));
            state.run = None;
        }
        if let Some(run) = &state.run {
            call.job.out("already running");
            return Ok(object(json!({"running": true, "alreadyRunning": true, "nonce": run.identity.nonce})));
        }
        drop(state);
        let work = match call.args.text("rig") {
            Some(rig) => {
                let rig = self.scenarios.start(call.root, rig)?;
                call.job.out(&format!(
                    "rig {} is under way; its verdict will be in the status",
                    rig.state().name
                ));
                Work::Rig(rig)
            }
            None => self.open_links(call.config, call.job)?,
        };
        let ends = call.args.float("durationSeconds").map(|s| Instant::now() + Duration::from_secs_f64(s));
        let run = Run {
            identity: RunIdentity::new(),
            since: Instant::now(),
            ends,
            profile: call.config.text("profile").to_owned(),
            transport: call.config.text("transportMode").to_owned(),
            work,
        };
        let mut result = object(json!({"running": true, "alreadyRunning": false}));
        if let Work::Links(links) = &run.work {
            let ports = links.ports();
            result.insert("ports".to_owned(), json!(ports));
            for port in ports {
                let open =
                    if port.far_end.is_empty() { String::new() } else { format!(", open {}", port.far_end) };
                call.job.out(&format!("{} is {}{open}", port.url, port.state));
            }
            for warning in links.warnings() {
                call.job.warn(warning);
            }
        }
        if let Some(stop) = call.job.stop() {
            stop_rig(&run.work, RIG_STOP);
            return Err(stop.into());
        }
        let mut state = self.state();
        state.error.clear();
        state.run = Some(run);
        Ok(result)
    }

    fn open_links(&self, config: &ConfigTree, job: &dyn Job) -> Result<Work, ContractError> {
        let far = match config.text("transportMode") {
            "Com" => "far.com",
            "Tcp" => "far.tcp",
            _ => {
                return Err(ContractError::failed(
                    "transportMode Ble: this version has no BLE transport; set `transportMode` to Com or Tcp",
                )
                .with("reason", "notInThisVersion"));
            }
        };
        let url = |key: &str| {
            config
                .text(key)
                .parse::<PortUrl>()
                .map_err(|e| ContractError::failed(format!("{key}: {}", e.sentence())))
        };
        let links = [LinkSpec { name: LINK.to_owned(), a: url("near.url")?, b: url(far)? }];
        let failed = |e: crate::LinkError| ContractError::failed(e.to_string());
        if config.text("profile") == "sim" {
            refuse_real_ports(&links).map_err(failed)?;
        }
        match LinkSet::open(&links, &self.runtime, &|| job.stop().is_some()) {
            Ok(set) => Ok(Work::Links(set)),
            Err(e) => Err(job.stop().map_or_else(|| failed(e), ContractError::from)),
        }
    }

    fn stop(&self, job: &dyn Job) -> Result<Map<String, Value>, ContractError> {
        let Some(run) = self.take_run() else {
            job.out("nothing runs");
            return Ok(object(json!({"running": false, "wasRunning": false})));
        };
        let mut result = object(json!({"running": false, "wasRunning": true}));
        match &run.work {
            Work::Links(links) => {
                let rows = links.rows();
                let totals = Totals::of(&rows);
                job.out(&format!("stopped; {} bytes carried, {} lost", totals.out, totals.lost));
                result.insert("traffic".to_owned(), json!(rows));
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

    fn soak(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        let seconds = call.args.float("durationSeconds").unwrap_or(10.0);
        let before = self.watch(None)?;
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            call.job.sleep(left.min(Duration::from_millis(100)))?;
            self.watch(Some(&before))?;
        }
        let (nonce, after) = self.watch(Some(&before))?;
        let carried = after.out - before.1.out;
        call.job.out(&format!("{carried} bytes carried in {seconds} s, none lost"));
        Ok(object(json!({"seconds": seconds, "bytesCarried": carried, "bytesLost": 0, "nonce": nonce})))
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
            let lost = now.lost - then.lost;
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
        let mut status = AppStatus { error: state.error.clone(), ..AppStatus::default() };
        let run = state.run.as_ref();
        status.run = run.map(|r| r.identity.clone());
        let pid = run.map(|r| r.identity.pid);
        let mut trouble = String::new();
        let mut ports = Vec::new();
        let mut rows = Vec::new();
        let mut rig = state.last_rig.clone();
        match run.map(|r| &r.work) {
            Some(Work::Links(links)) => {
                trouble = links.trouble();
                ports = links.ports();
                rows = links.rows();
                rig = None;
            }
            Some(Work::Rig(running)) => rig = Some(running.state()),
            None => {}
        }
        let health = match (run, trouble.is_empty()) {
            (None, _) => "stopped",
            (Some(_), true) => "ok",
            (Some(_), false) => "degraded",
        };
        if !trouble.is_empty() {
            status.error = trouble;
        }
        status.fields = object(json!({
            "state": if run.is_some() { "running" } else { "stopped" },
            "healthState": health,
            "processRunning": run.is_some(),
            "processPid": pid,
            "processPids": pid.into_iter().collect::<Vec<_>>(),
            "processRunningDisplay": pid.map_or("False".to_owned(), |p| format!("True (PID {p})")),
            "profile": run.map_or("", |r| &r.profile),
            "transportMode": run.map_or("", |r| &r.transport),
            "ports": ports,
            "scenario": rig.map_or_else(|| json!({}), scenario_row),
        }));
        let totals = Totals::of(&rows);
        status.metrics = object(json!({
            "uptimeMs": run.map_or(0, |r| r.since.elapsed().as_millis() as u64),
            "bytesCarried": totals.out,
            "bytesLost": totals.lost,
            "traffic": rows,
        }));
        status
    }

    fn invoke(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        match call.action {
            "run_start" => self.start(call),
            "run_stop" => self.stop(call.job),
            "soak" => self.soak(call),
            "port_list" => Ok(port_list(call.job)),
            "rig_list" => Ok(rig_list(call.job, &self.scenarios.names(call.root), call.root)),
            other => Err(ContractError::new(ErrorCode::NotFound, format!("no action {other}"))),
        }
    }

    fn shutdown(&self, deadline: Duration) {
        if let Some(run) = self.take_run() {
            stop_rig(&run.work, deadline);
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

struct Totals {
    out: u64,
    lost: u64,
}

impl Totals {
    fn of(rows: &[LinkRow]) -> Self {
        Self {
            out: rows.iter().map(|r| r.bytes_out).sum(),
            lost: rows.iter().map(|r| r.discarded_bytes).sum(),
        }
    }
}

fn scenario_row(rig: ScenarioState) -> Value {
    json!({
        "name": rig.name,
        "step": rig.step,
        "steps": rig.steps,
        "doing": rig.doing,
        "verdict": rig.verdict.unwrap_or_default(),
        "message": rig.message,
        "seed": rig.seed,
    })
}

fn port_list(job: &dyn Job) -> Map<String, Value> {
    let ports: Vec<Value> = hilrig_port::list_ports()
        .into_iter()
        .map(|p| {
            job.out(&p.device.display().to_string());
            let held: Vec<String> = p.held_by.iter().map(|(pid, name)| format!("{name} ({pid})")).collect();
            json!({
                "device": p.device,
                "byId": p.by_id,
                "driver": p.driver,
                "product": p.product,
                "serialNumber": p.serial_number,
                "heldBy": held,
            })
        })
        .collect();
    object(json!({ "ports": ports }))
}

fn rig_list(job: &dyn Job, names: &[String], root: &Path) -> Map<String, Value> {
    names.iter().for_each(|name| job.out(name));
    if names.is_empty() {
        job.out(&format!("no rigs in {}", root.join("rigs").display()));
    }
    object(json!({ "rigs": names }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
