//! An app of this process behind the contract: status with its base keys, config by the store, actions as jobs on
//! threads of their own. Knows no app in particular and no connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hilrig_contract::{
    ActionDescriptor, App, AppInfo, AppSpec, AppStatus, Args, Call, ConfigSet, ConfigView, ContractError,
    ErrorCode, Invoked, Job, JobRecord, Publisher, Status, Stop, Topic,
};
use serde_json::{Map, Value};

use crate::config_file::matches_pattern;
use crate::dispatch::panic_text;
use crate::exclusive::Turns;
use crate::status::status_of;
use crate::watch::watch_status;
use crate::{Answer, Backend, Bus, ConfigStore, Invoke, JobHandle, Jobs, LogTail, Logbook, Root};

/// Time an action has to end after it was told to; then its record says that it is still running.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Actions of one app at work at a time.
const MAX_AT_WORK: usize = 256;
/// How often a shutdown looks whether the actions have ended.
const LOOK: Duration = Duration::from_millis(10);

type Outcome = Result<Map<String, Value>, ContractError>;

/// An app of this process.
pub struct LocalApp {
    inner: Arc<Inner>,
}

struct Inner {
    app: Arc<dyn App>,
    root: Root,
    jobs: Arc<Jobs>,
    config: Arc<ConfigStore>,
    logbook: Arc<Logbook>,
    turns: Turns,
    /// Threads of actions that have not ended, whatever their records say.
    at_work: AtomicUsize,
    closing: AtomicBool,
}

/// The bus, as one app may use it.
struct OfApp {
    id: &'static str,
    bus: Arc<Bus>,
}

impl Publisher for OfApp {
    fn wanted(&self, topic: Topic) -> bool {
        self.bus.wanted(topic)
    }

    fn publish(&self, topic: Topic, more: Map<String, Value>) {
        self.bus.publish(topic, self.id, more);
    }
}

impl std::fmt::Debug for LocalApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalApp").field("app", &self.spec().id).finish_non_exhaustive()
    }
}

impl LocalApp {
    /// Must be called within a tokio runtime: starts the task that watches the app's status. The task ends with the
    /// last handle on the app.
    pub fn new(root: &Root, app: Arc<dyn App>, bus: Arc<Bus>, logbook: Arc<Logbook>) -> Arc<Self> {
        let spec = app.spec();
        let inner = Arc::new(Inner {
            jobs: Jobs::new(spec.id, Arc::clone(&bus)),
            config: Arc::new(ConfigStore::new(root, spec)),
            root: root.clone(),
            logbook,
            turns: Turns::default(),
            at_work: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            app: Arc::clone(&app),
        });
        let watched = Arc::downgrade(&inner);
        let snapshot = move || {
            let inner = watched.upgrade()?;
            let status = inner.snapshot().ok()?;
            Some((inner.status(status.clone()), status))
        };
        app.publish_to(Arc::new(OfApp { id: spec.id, bus: Arc::clone(&bus) }));
        watch_status(spec.id, bus, snapshot);
        Arc::new(Self { inner })
    }

    fn spec(&self) -> &AppSpec {
        self.inner.app.spec()
    }

    pub fn jobs(&self) -> &Arc<Jobs> {
        &self.inner.jobs
    }

    /// No run is up, no job is live, no thread of an action still works.
    pub fn is_idle(&self) -> bool {
        self.inner.at_work.load(Ordering::SeqCst) == 0
            && self.inner.jobs.live().is_empty()
            && self.inner.app.status().run.is_none()
    }

    /// Refuses new actions, cancels live ones, stops the run. Takes at most about `deadline`.
    pub async fn shutdown(&self, deadline: Duration) {
        self.inner.closing.store(true, Ordering::SeqCst);
        self.inner.jobs.live().iter().for_each(|job| job.request_stop(Stop::Canceled));
        let until = tokio::time::Instant::now() + deadline;
        while self.inner.at_work.load(Ordering::SeqCst) > 0
            && tokio::time::Instant::now() < until - deadline / 2
        {
            tokio::time::sleep(LOOK).await;
        }
        let rest = until.saturating_duration_since(tokio::time::Instant::now());
        let app = Arc::clone(&self.inner.app);
        let _ = tokio::time::timeout(rest, tokio::task::spawn_blocking(move || app.shutdown(rest))).await;
    }

    fn begin(&self, invoke: Invoke) -> Result<Arc<JobHandle>, ContractError> {
        let action = find_action(&self.spec().actions, &invoke.action)?.clone();
        let args = accept_args(&action, &invoke.args)?;
        let timeout = invoke.timeout_seconds.unwrap_or(action.timeout_seconds);
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::from_secs(30));
        let inner = &self.inner;
        let job = inner.jobs.accept(&action.name, timeout, invoke.job_id)?;
        if inner.closing.load(Ordering::SeqCst) {
            job.finish(Err(ContractError::failed("the process is ending").with("reason", "closing")));
            return Ok(job);
        }
        if action.exclusive
            && let Err(holder) = inner.turns.enter(&job, action.preempts)
        {
            job.finish(Err(ContractError::failed(format!("busy: {holder}"))
                .with("reason", "busy")
                .with("jobId", holder)));
            return Ok(job);
        }
        if inner.at_work.fetch_add(1, Ordering::SeqCst) >= MAX_AT_WORK && !action.preempts {
            inner.ended(&job);
            job.finish(Err(ContractError::failed(format!(
                "busy: {MAX_AT_WORK} actions are under way; wait for some to end"
            ))
            .with("reason", "busy")));
            return Ok(job);
        }
        let work = {
            let (inner, job) = (Arc::clone(inner), Arc::clone(&job));
            move || {
                let outcome = inner.work(&action, &args, &job);
                // The place is free when the record says so: who sees the end may start the next.
                inner.ended(&job);
                inner.note(&job, &outcome);
                job.finish(outcome);
            }
        };
        // Named for who looks at the process from outside; the kernel keeps 15 bytes.
        if let Err(e) = std::thread::Builder::new().name(format!("act-{}", job.action())).spawn(work) {
            inner.ended(&job);
            job.finish(Err(ContractError::internal(format!("no thread for the action: {e}"))));
        } else {
            tokio::spawn(supervise(Arc::clone(&job)));
        }
        Ok(job)
    }
}

/// A worker that does not end when told to loses its record, not its place.
async fn supervise(job: Arc<JobHandle>) {
    let deadline = async {
        match job.deadline() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = job.finished() => return,
        _ = job.stop_requested() => {}
        () = deadline => job.request_stop(Stop::TimedOut),
    }
    if tokio::time::timeout(STOP_GRACE, job.finished()).await.is_err() {
        let still = format!(
            "told to stop {} s ago and still running; {} stays busy until it ends",
            STOP_GRACE.as_secs(),
            job.app_id()
        );
        job.finish(Err(ContractError::failed(still).with("reason", "stillRunning")));
    }
}

impl Inner {
    fn ended(&self, job: &JobHandle) {
        self.turns.leave(job);
        self.at_work.fetch_sub(1, Ordering::SeqCst);
    }

    fn work(&self, action: &ActionDescriptor, args: &Args, job: &JobHandle) -> Outcome {
        if action.exclusive {
            self.turns.wait(job)?;
        }
        if let Some(stop) = job.stop() {
            return Err(stop.into());
        }
        job.start();
        // A stop must work with a config that somebody has broken since the start.
        let config = if action.preempts || action.read_only {
            self.config.effective_or_default()
        } else {
            self.config.effective()?
        };
        let job = &Logged { job, logbook: &self.logbook };
        let call = Call { action: &action.name, args, config: &config, root: self.root.dir(), job };
        catch_unwind(AssertUnwindSafe(|| self.app.invoke(call))).unwrap_or_else(|panic| {
            let message = format!("defect in {}: {}", action.name, panic_text(&*panic));
            Err(ContractError::internal(message).with("reason", "panic"))
        })
    }

    fn note(&self, job: &JobHandle, outcome: &Outcome) {
        let (level, end) = match outcome {
            Ok(_) => ("INFO", "done".to_owned()),
            Err(e) => ("WARN", e.message.clone()),
        };
        self.logbook.write(self.app.spec().id, level, &format!("{} ({}): {end}", job.action(), job.id()));
    }

    /// The app's own status. A defect there is the caller's error, not the connection's end.
    fn snapshot(&self) -> Result<AppStatus, ContractError> {
        catch_unwind(AssertUnwindSafe(|| self.app.status()))
            .map_err(|panic| ContractError::internal(format!("defect in status: {}", panic_text(&*panic))))
    }

    fn status(&self, app: AppStatus) -> Status {
        status_of(self.app.spec(), &self.root, app, Some(std::process::id()))
    }
}

/// What an action says is in its job's record, and in the app's log too.
struct Logged<'a> {
    job: &'a JobHandle,
    logbook: &'a Logbook,
}

impl Logged<'_> {
    fn log(&self, level: &str, line: &str) {
        self.logbook.write(self.job.app_id(), level, &format!("{}: {line}", self.job.action()));
    }
}

impl Job for Logged<'_> {
    fn id(&self) -> &str {
        self.job.id()
    }

    fn out(&self, line: &str) {
        self.job.out(line);
        self.log("INFO", line);
    }

    fn warn(&self, line: &str) {
        self.job.warn(line);
        self.log("WARN", line);
    }

    fn stop(&self) -> Option<Stop> {
        self.job.stop()
    }

    fn sleep(&self, time: Duration) -> Result<(), Stop> {
        self.job.sleep(time)
    }
}

/// Finds an action of an app.
///
/// # Errors
/// `E_NOT_FOUND` that names the actions there are.
pub fn find_action<'a>(
    actions: &'a [ActionDescriptor],
    name: &str,
) -> Result<&'a ActionDescriptor, ContractError> {
    actions.iter().find(|a| a.name == name).ok_or_else(|| {
        let known: Vec<&str> = actions.iter().map(|a| a.name.as_str()).collect();
        let shown: String = name.chars().take(100).collect();
        let message = format!("no action {shown:?}; the actions are {}", known.join(", "));
        ContractError::new(ErrorCode::NotFound, message).with("actionName", shown)
    })
}

/// Types and checks the arguments of an action, their patterns too.
///
/// # Errors
/// `E_BAD_ARG` with `details.param`.
pub fn accept_args(action: &ActionDescriptor, given: &Map<String, Value>) -> Result<Args, ContractError> {
    let args = action.accept(given)?;
    for arg in &action.args {
        if let Some(value) = args.0.get(&arg.name) {
            matches_pattern(&arg.kind, value).map_err(|why| {
                ContractError::bad_param(&arg.name, format!("argument {}: {why}", arg.name))
            })?;
        }
    }
    Ok(args)
}

fn ready<'a, T: Send + 'a>(value: Result<T, ContractError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(value))
}

/// Runs what waits for a disk where that hurts nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContractError> + Send + 'static,
) -> Result<T, ContractError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => Err(ContractError::internal(format!("defect: {e}"))),
    }
}

impl Backend for LocalApp {
    fn id(&self) -> &str {
        self.spec().id
    }

    fn info(&self) -> Answer<'_, AppInfo> {
        let spec = self.spec();
        ready(self.inner.snapshot().map(|status| AppInfo {
            app_id: spec.id.to_owned(),
            app_title: spec.title.to_owned(),
            kind: "built-in".to_owned(),
            host: spec.host.to_owned(),
            running: status.run.is_some(),
        }))
    }

    fn status(&self) -> Answer<'_, Status> {
        ready(self.inner.snapshot().map(|status| self.inner.status(status)))
    }

    fn config_get(&self) -> Answer<'_, ConfigView> {
        ready(Ok(self.inner.config.view()))
    }

    fn config_set<'a>(
        &'a self,
        key: &'a str,
        value: &'a Value,
        expected: Option<&'a str>,
    ) -> Answer<'a, ConfigSet> {
        let config = Arc::clone(&self.inner.config);
        let (key, value, expected) = (key.to_owned(), value.clone(), expected.map(str::to_owned));
        Box::pin(async move {
            let running = self.inner.snapshot()?.run.map(|run| run.pid);
            blocking(move || config.set(&key, &value, expected.as_deref(), running)).await
        })
    }

    fn action_list(&self) -> Answer<'_, Vec<ActionDescriptor>> {
        ready(Ok(self.spec().actions.clone()))
    }

    fn invoke(&self, invoke: Invoke) -> Answer<'_, Invoked> {
        Box::pin(async move { Ok(self.begin(invoke)?.invoked()) })
    }

    fn job_get<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord> {
        ready(self.inner.jobs.get(job_id))
    }

    fn job_list(&self) -> Answer<'_, Vec<JobRecord>> {
        ready(Ok(self.inner.jobs.list()))
    }

    fn job_cancel<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord> {
        ready(self.inner.jobs.cancel(job_id))
    }

    fn log_tail<'a>(&'a self, lines: usize, cursor: Option<&'a str>) -> Answer<'a, LogTail> {
        let logbook = Arc::clone(&self.inner.logbook);
        let (app_id, cursor) = (self.spec().id, cursor.map(str::to_owned));
        Box::pin(blocking(move || logbook.tail(app_id, lines, cursor.as_deref())))
    }
}

#[cfg(test)]
mod tests {
    use hilrig_contract::{JobState, MAX_JOB_OUTPUT};
    use serde_json::json;

    use super::*;
    use crate::testing::Bench;

    #[tokio::test]
    async fn the_second_exclusive_action_is_turned_away() {
        let bench = Bench::new();
        let first = bench.start("hold", json!({}), None).await;
        bench.until(&first, |s| s == JobState::Running).await;
        for action in ["hold", "run_start"] {
            let second = bench.run(action, json!({})).await;
            let error = second.error.unwrap();
            assert_eq!((second.state, error.message), (JobState::Failed, format!("busy: {first}")));
            assert_eq!((&error.details["reason"], &error.details["jobId"]), (&json!("busy"), &json!(first)));
        }
        assert_eq!(bench.run("sleep", json!({"seconds": 0})).await.state, JobState::Succeeded);
        bench.ok("action.job.cancel", json!({"appId": "bridge", "jobId": first})).await;
        let canceled = bench.end_of(&first).await;
        let error = canceled.error.unwrap();
        assert_eq!((canceled.state, &error.details["reason"]), (JobState::Canceled, &json!("canceled")));
        assert_eq!(canceled.stderr.lines().last(), Some(error.message.as_str()));
        assert_eq!(bench.run("run_start", json!({})).await.state, JobState::Succeeded);
    }

    #[tokio::test]
    async fn stopping_cancels_what_is_under_way_and_stops_do_not_cancel_each_other() {
        let bench = Bench::new();
        let held = bench.start("hold", json!({}), None).await;
        let mut stops = vec![];
        for _ in 0..5 {
            stops.push(bench.start("run_stop", json!({}), None).await);
        }
        let turned_away = bench.run("run_start", json!({})).await;
        assert!(turned_away.error.is_none_or(|e| e.message.starts_with("busy: ")));
        for stop in stops {
            assert_eq!(bench.end_of(&stop).await.state, JobState::Succeeded);
        }
        assert_eq!(bench.end_of(&held).await.state, JobState::Canceled);
    }

    #[tokio::test]
    async fn a_worker_that_does_not_listen_loses_its_record_and_keeps_its_place() {
        let bench = Bench::new();
        let deaf = bench.start("deaf", json!({}), Some(0.05)).await;
        let record = bench.end_of(&deaf).await;
        let error = record.error.clone().unwrap();
        assert_eq!((record.state, error.code), (JobState::Timeout, ErrorCode::ActionTimeout));
        assert_eq!(error.details["reason"], "stillRunning");
        let busy = bench.run("run_start", json!({})).await.error.unwrap();
        assert_eq!(busy.message, format!("busy: {deaf}"));
        let stop = bench.start("run_stop", json!({}), Some(0.05)).await;
        assert_eq!(bench.end_of(&stop).await.state, JobState::Timeout, "a stop that waits in vain says so");
        assert!(!bench.local[0].is_idle());
        bench.apps[0].release.store(true, Ordering::Relaxed);
        while !bench.local[0].is_idle() {
            tokio::time::sleep(LOOK).await;
        }
        assert_eq!(bench.run("run_start", json!({})).await.state, JobState::Succeeded);
        let after = bench.record(&deaf).await;
        assert_eq!(
            (after.state, after.stdout.as_str()),
            (JobState::Timeout, ""),
            "a record does not go back"
        );
    }

    #[tokio::test]
    async fn panics_failures_and_floods_of_output_are_told() {
        let bench = Bench::new();
        let record = bench.run("panic", json!({})).await;
        let error = record.error.unwrap();
        assert_eq!((record.state, error.code), (JobState::Failed, ErrorCode::Internal));
        assert_eq!(
            (error.message.as_str(), record.stderr.as_str()),
            ("defect in panic: on purpose", "defect in panic: on purpose\n")
        );

        let record = bench.run("fail", json!({})).await;
        let error = record.error.unwrap();
        assert_eq!(error.message, "no such | port");
        assert_eq!(record.stderr, "no such | port\n");
        assert!(record.result.is_empty());

        let record = bench.run("print", json!({})).await;
        assert_eq!((record.state, record.error), (JobState::Succeeded, None));
        for output in [record.stdout, record.stderr] {
            assert!(output.len() <= MAX_JOB_OUTPUT + 64);
            assert!(output.starts_with("[truncated: ") && output.ends_with("16383\n"));
        }
    }

    #[tokio::test]
    async fn shutting_down_cancels_and_stops_and_refuses() {
        let bench = Bench::new();
        bench.run("run_start", json!({})).await;
        let sleeping = bench.start("sleep", json!({"seconds": 60}), None).await;
        bench.local[0].shutdown(Duration::from_secs(5)).await;
        assert!(bench.local[0].is_idle());
        assert_eq!(bench.record(&sleeping).await.state, JobState::Canceled);
        let error = bench.run("run_start", json!({})).await.error.unwrap();
        assert_eq!(error.details["reason"], "closing");
    }

    #[tokio::test]
    async fn canceling_twice_or_too_late_changes_nothing() {
        let bench = Bench::new();
        let id = bench.start("sleep", json!({"seconds": 0}), None).await;
        bench.end_of(&id).await;
        let params = json!({"appId": "bridge", "jobId": id});
        for _ in 0..2 {
            assert_eq!(bench.ok("action.job.cancel", params.clone()).await["state"], "succeeded");
        }
    }
}
