//! The status of the app `bridge`: flat fields and tables, as consoles render them. Reads counters, waits for nobody.

use hilrig_contract::{AppStatus, object};
use serde_json::{Value, json};

use crate::ScenarioState;
use crate::app::{Run, Totals, Work};

/// Of a run, or of none.
pub(crate) fn of(run: Option<&Run>, error: &str, last_rig: Option<&ScenarioState>) -> AppStatus {
    let mut status = AppStatus { error: error.to_owned(), ..AppStatus::default() };
    status.run = run.map(|r| r.identity.clone());
    let pid = run.map(|r| r.identity.pid);
    let mut trouble = String::new();
    let mut rig = last_rig.cloned();
    let mut links = None;
    match run.map(|r| &r.work) {
        Some(Work::Links(set)) => {
            trouble = set.trouble();
            links = Some(set);
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
    let rows = links.map(|l| l.rows()).unwrap_or_default();
    let totals = Totals::of(&rows);
    status.metrics = object(json!({
        "uptimeMs": run.map_or(0, |r| r.since.elapsed().as_millis() as u64),
        "bytesCarried": totals.out,
        "bytesLost": totals.lost,
        "traffic": rows,
        "linkCounters": links.map(|l| l.counters()).unwrap_or_default(),
        "faults": links.map(|l| l.faults()).unwrap_or_default(),
        "captureCounters": links.map(|l| l.captures().rows()).unwrap_or_default(),
    }));
    status.fields = object(json!({
        "state": if run.is_some() { "running" } else { "stopped" },
        "healthState": health,
        "processRunning": run.is_some(),
        "processPid": pid,
        "processPids": pid.into_iter().collect::<Vec<_>>(),
        "processRunningDisplay": pid.map_or("False".to_owned(), |p| format!("True (PID {p})")),
        "profile": run.map_or("", |r| &r.profile),
        "transportMode": run.map_or("", |r| &r.transport),
        "links": links.map(|l| l.states()).unwrap_or_default(),
        "ports": links.map(|l| l.ports()).unwrap_or_default(),
        "captures": links.map(|l| l.captures().states()).unwrap_or_default(),
        "faultFirings": links.map(|l| l.firings()).unwrap_or_default(),
        "portNews": links.map(|l| l.port_news()).unwrap_or_default(),
        "realtime": links.map(|l| l.granted()).unwrap_or_default(),
        "scenario": rig.map_or_else(|| json!({}), scenario_row),
    }));
    status
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
