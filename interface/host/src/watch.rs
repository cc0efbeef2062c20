//! Turns an app's snapshots into events: `status.changed` when something worth it changed, `metrics` once a second
//! while a run is up. Looks only while somebody subscribes.

use std::time::Duration;

use hilrig_contract::{AppStatus, Status, Topic};
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::Bus;

/// Changes within this time are one event.
const COALESCE: Duration = Duration::from_millis(100);
const METRICS: Duration = Duration::from_secs(1);

/// What a `status.changed` carries beside `appId`: the keys to look at first, and the whole status.
pub fn status_event(status: &Status) -> Map<String, Value> {
    let mut more = Map::new();
    more.insert("running".to_owned(), status.running.into());
    more.insert("pid".to_owned(), status.pid.into());
    more.insert("bootId".to_owned(), status.boot_id.clone().into());
    more.insert("error".to_owned(), status.error.clone().into());
    more.insert("status".to_owned(), serde_json::to_value(status).unwrap_or_default());
    more
}

/// Watches until `snapshot` answers `None`. The snapshot is taken at most ten times a second.
pub(crate) async fn watch_status(
    app_id: &'static str,
    bus: std::sync::Arc<Bus>,
    snapshot: impl Fn() -> Option<(Status, AppStatus)>,
) {
    let significant = |app: &AppStatus| (app.run.clone(), app.error.clone(), app.fields.clone());
    let Some(mut last) = snapshot().map(|(_, app)| significant(&app)) else { return };
    let mut look = interval(COALESCE);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut metrics = interval_at(Instant::now() + METRICS, METRICS);
    metrics.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if !bus.wanted(Topic::StatusChanged) && !bus.wanted(Topic::Metrics) {
            tokio::select! {
                () = bus.until_wanted(Topic::StatusChanged) => {}
                () = bus.until_wanted(Topic::Metrics) => {}
            }
        }
        let metrics_due = tokio::select! {
            _ = look.tick() => false,
            _ = metrics.tick() => true,
        };
        let Some((status, app)) = snapshot() else { return };
        if metrics_due {
            if app.run.is_some() && bus.wanted(Topic::Metrics) {
                bus.publish(Topic::Metrics, app_id, app.metrics);
            }
        } else if bus.wanted(Topic::StatusChanged) {
            let now = significant(&app);
            if now != last {
                bus.publish(Topic::StatusChanged, app_id, status_event(&status));
                last = now;
            }
        }
    }
}
