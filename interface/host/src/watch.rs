//! Turns an app's snapshots into events: `status.changed` when something worth it changed, `metrics` once a second
//! while a run is up. Looks only while somebody subscribes.

use std::sync::Arc;
use std::time::Duration;

use hilrig_contract::{AppStatus, RunIdentity, Status, Topic};
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

/// Starts to watch now, until `snapshot` answers `None`. The snapshot is taken at most about ten times a second.
pub(crate) fn watch_status(
    app_id: &'static str,
    bus: Arc<Bus>,
    snapshot: impl Fn() -> Option<(Status, AppStatus)> + Send + 'static,
) {
    let before = snapshot().map(|(_, app)| significant(&app));
    tokio::spawn(watch(app_id, bus, before, snapshot));
}

/// What a `status.changed` is for: not the counters.
fn significant(app: &AppStatus) -> Significant {
    (app.run.clone(), app.error.clone(), app.fields.clone())
}

type Significant = (Option<RunIdentity>, String, Map<String, Value>);

async fn watch(
    app_id: &'static str,
    bus: Arc<Bus>,
    mut last: Option<Significant>,
    snapshot: impl Fn() -> Option<(Status, AppStatus)>,
) {
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
            let now = Some(significant(&app));
            if now != last {
                bus.publish(Topic::StatusChanged, app_id, status_event(&status));
                last = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::events::lock;
    use crate::testing::Bench;

    async fn next(events: &crate::Subscription) -> Map<String, Value> {
        let event = tokio::time::timeout(crate::testing::DEADLINE, events.next()).await.unwrap();
        event.more().clone()
    }

    /// Paused time: between two looks as much happens as a test wants.
    #[tokio::test(start_paused = true)]
    async fn changes_are_coalesced_and_counters_are_no_change() {
        let bench = Bench::new();
        let Value::Object(status) = bench.ok("status.get", json!({"appId": "bridge"})).await else {
            panic!()
        };
        let status: Status = serde_json::from_value(Value::Object(status)).unwrap();
        let bus = Bus::new();
        let app = Arc::new(Mutex::new(AppStatus::default()));
        let watched = Arc::clone(&app);
        let snapshot = move || Some((status.clone(), lock(&watched).clone()));
        watch_status("bridge", Arc::clone(&bus), snapshot);
        let events = bus.subscriber();
        events.add(Topic::StatusChanged, None);
        let begin = Instant::now();
        for n in 0..50 {
            {
                let mut app = lock(&app);
                app.fields.insert("state".to_owned(), json!(n));
                app.metrics.insert("bytes".to_owned(), json!(n));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let changes = std::iter::from_fn(|| events.try_next()).count();
        assert!((9..=11).contains(&changes), "{changes} in {:?}", begin.elapsed());
        lock(&app).metrics.insert("bytes".to_owned(), json!(99));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(std::iter::from_fn(|| events.try_next()).count() <= 1, "the last change only");
    }

    #[tokio::test]
    async fn a_subscriber_hears_of_start_and_stop() {
        let bench = Bench::new();
        let events = bench.dispatcher.bus().subscriber();
        events.add(Topic::StatusChanged, Some("bridge"));
        bench.run("run_start", json!({})).await;
        let up = next(&events).await;
        assert_eq!((&up["running"], &up["pid"]), (&json!(true), &json!(std::process::id())));
        assert_eq!(up["status"]["bootId"], up["bootId"]);
        bench.run("run_stop", json!({})).await;
        let down = next(&events).await;
        assert_eq!((&down["running"], &down["bootId"]), (&json!(false), &json!("")));
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_come_once_a_second_from_running_apps() {
        let bench = Bench::new();
        let events = bench.dispatcher.bus().subscriber();
        events.add(Topic::Metrics, None);
        *lock(&bench.apps[0].run) = Some(hilrig_contract::RunIdentity::new());
        tokio::time::sleep(Duration::from_millis(5500)).await;
        let heard: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        assert!((5..=6).contains(&heard.len()), "{}", heard.len());
        assert!(heard.iter().all(|e| e.app_id() == "bridge" && e.more()["bytes"] == 7));
    }
}
