//! App `plc-simulator` of the process interface: one Modbus RTU slave on one port, started and stopped. The
//! protocol is in the cores; here is only what an operator sees of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hilrig_contract::{
    ActionDescriptor, App, AppSpec, AppStatus, ArgDescriptor, Call, ContractError, ErrorCode, Job,
    RunIdentity, ValueKind,
};
use hilrig_modbus::{Slave, SlaveStats};
use hilrig_points::{Plant, Shared, Unit};
use hilrig_port::{OpenPort, PortError, PortState, PortStats, Runtime, Shard, StationRef};
use serde_json::{Map, Value, json};

use crate::config::{PLACE, Plan as Wanted, SETTING, keys, place, plan, setting};

/// What is known of the app without running it.
pub fn spec() -> AppSpec {
    let text = |pattern| ValueKind::Text { pattern: Some(pattern) };
    let [start, stop] = ActionDescriptor::run_pair();
    AppSpec {
        id: "plc-simulator",
        title: "COM Traffic Simulator (PLC)",
        host: "simulators",
        hosted_role: true,
        config: keys(),
        sections: vec![],
        actions: vec![
            start,
            stop,
            ActionDescriptor::new(
                "register_get",
                "Read values",
                "Values of the running simulator, from a place on.",
            )
            .arg(ArgDescriptor::optional("at", "Place", text(PLACE)).default("holding:0"))
            .arg(
                ArgDescriptor::optional("count", "How many", ValueKind::Int { min: 1, max: 2000 }).default(1),
            )
            .read_only(),
            ActionDescriptor::new(
                "register_set",
                "Set values",
                "Sets values of the running simulator, inputs too.",
            )
            .arg(ArgDescriptor::required(
                "set",
                "Place and values, as holding:0=42",
                text(SETTING),
            )),
        ],
    }
}

/// The PLC simulator.
pub struct PlcApp {
    spec: AppSpec,
    runtime: Runtime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run: Option<Arc<Run>>,
    last_run: String,
}

struct Run {
    identity: RunIdentity,
    since: Instant,
    profile: String,
    transport: String,
    url: String,
    far_end: String,
    unit_id: u8,
    baud: u32,
    format: String,
    port: Arc<PortStats>,
    slave: Arc<SlaveStats>,
    station: StationRef,
    /// Dropping it closes the port.
    shard: Shard,
}

impl Run {
    /// Why the run does not work, if so.
    fn trouble(&self) -> String {
        let port = self.port.snapshot();
        match port.state {
            PortState::Lost => format!("port {} is gone: {}", self.url, port.reason),
            _ => String::new(),
        }
    }
}

impl PlcApp {
    pub fn new(runtime: Runtime) -> Self {
        Self { spec: spec(), runtime, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> Option<Arc<Run>> {
        self.state().run.clone()
    }

    fn start(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        if let Some(run) = self.run() {
            let trouble = run.trouble();
            if trouble.is_empty() {
                call.job.out("already running");
                return Ok(started(&run, true));
            }
            // Nothing answers any more, so this is no run to be told of.
            call.job.warn(&format!("{trouble}; starting again"));
            drop(run);
            self.stop(call.job);
        }
        let run = self.open(call)?;
        let open = if run.far_end.is_empty() { String::new() } else { format!(", open {}", run.far_end) };
        call.job.out(&format!(
            "unit {} answers on {} at {} {}{open}",
            run.unit_id, run.url, run.baud, run.format
        ));
        if let Some(stop) = call.job.stop() {
            return Err(stop.into());
        }
        let result = started(&run, false);
        let mut state = self.state();
        state.last_run.clone_from(&run.identity.nonce);
        state.run = Some(Arc::new(run));
        Ok(result)
    }

    fn open(&self, call: Call<'_>) -> Result<Run, ContractError> {
        let transport = call.config.text("transportMode");
        if transport != "Com" {
            return Err(ContractError::failed(format!(
                "transportMode {transport}: this version of the PLC simulator talks Modbus RTU on a port only; \
                 set `transportMode` to Com"
            ))
            .with("reason", "notInThisVersion"));
        }
        let Wanted { url, baud, format, timing, unit_id, unit } = plan(call.config)?;
        let profile = call.config.text("profile");
        if profile == "sim" && !url.is_virtual() {
            return Err(ContractError::failed(format!(
                "port {url}: profile sim opens virtual ports only, and this may be a real line; set `profile` to lab or prod"
            ))
            .with("reason", "realPort"));
        }
        let mut plant = Plant::default();
        plant.add_unit(unit_id, unit).map_err(|e| ContractError::failed(e.to_string()))?;
        let slave = Slave::new(timing, Shared::new(plant));
        let stats = slave.stats();
        let failed = |e: PortError| match call.job.stop() {
            Some(stop) => ContractError::from(stop),
            None => ContractError::failed(e.to_string()).with("port", url.to_string()),
        };
        let port = OpenPort::open(&url, &self.runtime, &|| call.job.stop().is_some()).map_err(failed)?;
        for warning in port.warnings() {
            call.job.warn(&format!("{url}: {warning}"));
        }
        let address = port.local_addr().map(|a| format!("tcp:{a}"));
        let far_end = port.far_end().map(|p| p.display().to_string()).or(address).unwrap_or_default();
        let shard = Shard::start("plc").map_err(failed)?;
        let station = shard.add_station(port, Box::new(slave)).map_err(failed)?;
        Ok(Run {
            identity: RunIdentity::new(),
            since: Instant::now(),
            profile: profile.to_owned(),
            transport: transport.to_owned(),
            url: url.to_string(),
            far_end,
            unit_id,
            baud,
            format: format.to_string(),
            port: station.port(),
            slave: stats,
            station,
            shard,
        })
    }

    fn stop(&self, job: &dyn Job) -> Map<String, Value> {
        let run = self.state().run.take();
        let was_running = run.is_some();
        match run {
            Some(run) => {
                let t = run.slave.totals();
                job.out(&format!("stopped; {} requests, {} replies", t.requests, t.replies));
                close(run, Duration::from_secs(5));
            }
            None => job.out("nothing runs"),
        }
        object(json!({"running": false, "wasRunning": was_running}))
    }

    /// Runs `f` on the data of the running unit.
    fn with_unit<R: Send>(&self, f: impl FnOnce(&mut Unit) -> R + Send) -> Result<R, ContractError> {
        let run = self.run().ok_or_else(|| ContractError::failed("nothing runs: run_start first"))?;
        let unit = |slave: &mut Slave| slave.plant().with(|plant| plant.unit_mut(run.unit_id).map(f));
        run.shard
            .with_station::<Slave, _>(&run.station, |slave, _, _| unit(slave))
            .map_err(|e| ContractError::failed(e.to_string()))?
            .ok_or_else(|| ContractError::internal(format!("unit {} is not served", run.unit_id)))
    }

    fn get(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        let at = call.args.text("at").unwrap_or("holding:0");
        let (table, first) = place(at).map_err(|why| ContractError::bad_param("at", why))?;
        let count = u16::try_from(call.args.int("count").unwrap_or(1)).unwrap_or(1);
        let values = self.with_unit(|unit| {
            (0..count)
                .map(|i| first.checked_add(i).and_then(|a| unit.get(table, a)))
                .collect::<Option<Vec<u16>>>()
        })?;
        let values = values.ok_or_else(|| absent(at, count.into()))?;
        call.job.out(&values.iter().map(u16::to_string).collect::<Vec<_>>().join(" "));
        Ok(object(json!({"at": at, "values": values})))
    }

    fn set(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        let text = call.args.text("set").unwrap_or_default();
        let (table, first, values) = setting(text).map_err(|why| ContractError::bad_param("set", why))?;
        let count = values.len();
        let done = self.with_unit(|unit| {
            let addresses = || (usize::from(first)..).map(|a| u16::try_from(a).ok()).take(values.len());
            let present = addresses().all(|a| a.is_some_and(|a| unit.get(table, a).is_some()));
            present && addresses().flatten().zip(&values).all(|(a, v)| unit.set(table, a, *v))
        })?;
        if !done {
            return Err(absent(text, count));
        }
        call.job.out(text);
        Ok(object(json!({"set": text, "count": count})))
    }
}

fn absent(at: &str, count: usize) -> ContractError {
    ContractError::failed(format!(
        "{at}: not all {count} addresses exist; the keys `first` and `count` of each table say which do"
    ))
}

/// Waits for actions that still use the run, then closes its port here and not on their thread.
fn close(mut run: Arc<Run>, patience: Duration) {
    let end = Instant::now() + patience;
    loop {
        match Arc::try_unwrap(run) {
            Ok(run) => return drop(run),
            Err(used) if Instant::now() < end => run = used,
            Err(_) => return,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn started(run: &Run, already: bool) -> Map<String, Value> {
    object(json!({
        "running": true,
        "alreadyRunning": already,
        "port": run.url,
        "farEnd": run.far_end,
        "nonce": run.identity.nonce,
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
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
        let (run, last_run) = {
            let state = self.state();
            (state.run.clone(), state.last_run.clone())
        };
        let run = run.as_deref();
        let pid = run.map(|r| r.identity.pid);
        let trouble = run.map(Run::trouble).unwrap_or_default();
        let port = run.map(|r| r.port.snapshot());
        let text = |f: fn(&Run) -> &str| run.map_or("", f);
        let fields = json!({
            "state": if run.is_some() { "running" } else { "stopped" },
            "healthState": match (run, trouble.is_empty()) {
                (None, _) => "stopped",
                (_, true) => "ok",
                (_, false) => "degraded",
            },
            "processRunningDisplay": pid.map_or("False".to_owned(), |p| format!("True (PID {p})")),
            "fixtureSimPid": pid,
            "fixtureSimRunning": run.is_some(),
            "lastRunKey": last_run,
            "profile": text(|r| &r.profile),
            "transportMode": text(|r| &r.transport),
            "scenario": {},
            "port": text(|r| &r.url),
            "portState": port.as_ref().map_or("", |p| match p.state {
                PortState::Open => "open",
                PortState::Waiting => "waiting",
                PortState::Lost => "lost",
            }),
            "farEnd": text(|r| &r.far_end),
            "peerOpen": port.as_ref().is_some_and(|p| p.peer_open),
            "unitId": run.map(|r| r.unit_id),
            "baud": run.map(|r| r.baud),
            "format": text(|r| &r.format),
            "baudSeen": port.as_ref().map(|p| p.baud),
        });
        let mut metrics = object(json!({
            "uptimeMs": run.map_or(0, |r| r.since.elapsed().as_millis() as u64),
            "rxBytes": port.as_ref().map_or(0, |p| p.rx_bytes),
            "txBytes": port.as_ref().map_or(0, |p| p.tx_bytes),
            "discardedBytes": port.as_ref().map_or(0, |p| p.discarded_bytes),
            "opens": port.as_ref().map_or(0, |p| p.opens),
        }));
        let totals = run.map(|r| r.slave.totals()).unwrap_or_default();
        metrics.extend(totals.entries().map(|(name, n)| (name.to_owned(), n.into())));
        AppStatus { run: run.map(|r| r.identity.clone()), error: trouble, fields: object(fields), metrics }
    }

    fn invoke(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        match call.action {
            "run_start" => self.start(call),
            "run_stop" => Ok(self.stop(call.job)),
            "register_get" => self.get(call),
            "register_set" => self.set(call),
            other => Err(ContractError::new(ErrorCode::NotFound, format!("no action {other}"))),
        }
    }

    fn shutdown(&self, deadline: Duration) {
        let run = self.state().run.take();
        if let Some(run) = run {
            close(run, deadline);
        }
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
