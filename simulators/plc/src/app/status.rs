//! The status of the app: flat fields and tables, as consoles render them. Reads counters, waits for no action.

use std::sync::Arc;

use hilrig_contract::{AppStatus, RunIdentity, object};
use serde_json::{Value, json};

use crate::model::Role;
use crate::run::{PortRun, Run};

/// A run as the app knows it.
pub(super) struct Of {
    pub identity: RunIdentity,
    pub profile: String,
    pub transport: String,
    pub scenario: String,
    pub run: Arc<Run>,
}

pub(super) fn of(live: Option<&Of>, last_run: &str) -> AppStatus {
    let run = live.map(|live| &*live.run);
    let pid = live.map(|live| live.identity.pid);
    let trouble = run.map(Run::trouble).unwrap_or_default();
    let ports = run.map(Run::ports).unwrap_or_default();
    let model = run.map(Run::model);
    // What a console shows of a single unit on a single port.
    let first = ports.iter().find(|p| p.role == Role::Slave).or(ports.first());
    let row = first.map(|p| p.row());
    let text = |f: fn(&Of) -> &str| live.map_or("", f);
    let rows = run.map(Run::rows).unwrap_or_default();
    let granted = run.map(|run| {
        let row = |g: &hilrig_port::Grant| json!({"what": g.what, "granted": g.granted, "detail": g.detail});
        run.granted().rows.iter().map(row).collect::<Vec<_>>()
    });
    let scenario = model.as_ref().map_or_else(
        || json!({}),
        |model| {
            json!({
                "name": model.name,
                "file": text(|l| &l.scenario),
                "seed": model.seed,
                "units": model.units.len(),
                "points": run.map_or(0, |run| run.catalogue().points().len()),
                "ports": rows.len(),
                "faults": model.faults.len(),
            })
        },
    );
    let units: Vec<Value> = model
        .iter()
        .flat_map(|model| model.units.iter().map(|(name, id)| json!({"unit": name, "id": id})))
        .collect();
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
        "profile": text(|l| &l.profile),
        "transportMode": text(|l| &l.transport),
        "scenario": scenario,
        "units": units,
        "ports": rows,
        "port": row.as_ref().map_or("", |r| &r.url),
        "portState": row.as_ref().map_or("", |r| r.state),
        "farEnd": row.as_ref().map_or("", |r| &r.far_end),
        "peerOpen": row.as_ref().is_some_and(|r| r.peer_open),
        "unitId": model.as_ref().and_then(|m| m.units.first()).map(|(_, id)| id),
        "baud": row.as_ref().map(|r| r.baud),
        "format": row.as_ref().map_or("", |r| &r.format),
        "baudSeen": first.map(|p| p.stats.snapshot().baud),
        "realtime": granted.unwrap_or_default(),
        "captures": run.map(Run::capture_states).unwrap_or_default(),
        "portNews": run.map(Run::port_news).unwrap_or_default(),
    });
    let mut metrics = object(json!({
        "uptimeMs": run.map_or(0, |r| r.uptime().as_millis() as u64),
        "portCounters": ports.iter().map(|p| p.counter_row()).collect::<Vec<_>>(),
        "lateness": ports.iter().map(|p| p.timing()).collect::<Vec<_>>(),
        "faults": run.and_then(|run| run.faults().ok()).unwrap_or_default(),
        "polls": run.map(Run::polls).unwrap_or_default(),
        "captureCounters": run.map(Run::captures).unwrap_or_default(),
        "replays": run.map(Run::replays).unwrap_or_default(),
    }));
    // The counters of all ports together, and those of a stopped run as zeros.
    let totals = object(json!(
        hilrig_modbus::SlaveTotals::default().entries().collect::<std::collections::BTreeMap<_, _>>()
    ));
    metrics.extend(totals);
    for key in ["rxBytes", "txBytes", "discardedBytes", "opens", "reconnects"] {
        metrics.insert(key.to_owned(), 0.into());
    }
    ports.iter().for_each(|port| add(&mut metrics, port));
    AppStatus { run: live.map(|l| l.identity.clone()), error: trouble, fields: object(fields), metrics }
}

fn add(metrics: &mut serde_json::Map<String, Value>, port: &PortRun) {
    for (name, value) in port.counter_row() {
        if let Some(sum) = metrics.get_mut(&name)
            && let (Some(a), Some(b)) = (sum.as_u64(), value.as_u64())
        {
            *sum = (a + b).into();
        }
    }
}
