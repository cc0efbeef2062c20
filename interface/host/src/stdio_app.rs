//! A third-party app in the daemon: speaks the contract with the app's process and keeps its jobs. Believes nothing it
//! says before `third_party` has looked at it; knows no app in particular.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use hilrig_contract::{
    ActionDescriptor, AppInfo, ConfigSet, ConfigView, ContractError, ErrorCode, INTERFACE_NAME,
    INTERFACE_VERSION, Invoked, Job, JobRecord, JobState, Status, Stop, Topic, object,
};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::apps_file::Declared;
use crate::events::lock;
use crate::local::blocking;
use crate::peer::PeerError;
use crate::stdio_process::{ANSWER, END, Running, StdioProcess};
use crate::third_party::{self, Taken};
use crate::watch::status_event;
use crate::{Answer, Backend, Bus, Invoke, JobHandle, Jobs, LogTail, Logbook, Root};

/// How often a job is looked at: quickly at first, then at the pace of a console.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// How often the status is looked at while somebody wants to hear of changes.
const STATUS: Duration = Duration::from_secs(1);
/// Time for a job to end after it was told to.
const END_JOB: Duration = Duration::from_secs(2);

/// Jobs under way at a time; each costs a question every [`POLL`].
const MAX_LIVE: usize = 64;

/// A third-party app in the daemon.
pub(crate) struct StdioApp {
    id: String,
    title: String,
    root: Root,
    process: Arc<StdioProcess>,
    bus: Arc<Bus>,
    logbook: Arc<Logbook>,
    jobs: Arc<Jobs>,
    known: Mutex<Known>,
    me: Weak<Self>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last that the app said, while its process runs.
    status: Option<Status>,
    /// What subscribers know: running, pid, hostPid, bootId, error.
    told: (bool, Option<u32>, Option<u32>, String, String),
}

impl std::fmt::Debug for StdioApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdioApp").field("process", &self.process).finish_non_exhaustive()
    }
}

impl StdioApp {
    /// Starts nothing yet. Needs a tokio runtime.
    pub(crate) fn new(root: &Root, app: Declared, bus: &Arc<Bus>, logbook: &Arc<Logbook>) -> Arc<Self> {
        let app = Arc::new_cyclic(|me| Self {
            process: StdioProcess::new(&app.id, app.launch, logbook),
            jobs: Jobs::new(&app.id, Arc::clone(bus)),
            id: app.id,
            title: app.title,
            root: root.clone(),
            bus: Arc::clone(bus),
            logbook: Arc::clone(logbook),
            known: Mutex::default(),
            me: Weak::clone(me),
        });
        tokio::spawn(watch_status(Weak::clone(&app.me), Arc::clone(bus)));
        tokio::spawn(watch_process(Weak::clone(&app.me), Arc::clone(&app.process)));
        app
    }

    pub(crate) fn process(&self) -> &Arc<StdioProcess> {
        &self.process
    }

    /// Asks the app, and takes the answer only if it is of the contract.
    async fn ask<T>(
        &self,
        method: &str,
        more: Value,
        take: impl FnOnce(Value) -> Taken<T>,
    ) -> Result<T, ContractError> {
        let running = self.process.running().await?;
        self.ask_process(&running, method, more, take).await
    }

    async fn ask_process<T>(
        &self,
        running: &Running,
        method: &str,
        more: Value,
        take: impl FnOnce(Value) -> Taken<T>,
    ) -> Result<T, ContractError> {
        let mut all = object(more);
        all.insert("appId".to_owned(), self.id.as_str().into());
        match running.peer.request(method, all, ANSWER).await {
            Ok(answer) => take(answer)
                .map_err(|why| self.process.error(&format!("its answer to {method} is not usable: {why}"))),
            Err(PeerError::Refused(error)) => Err(error),
            Err(PeerError::Closed(why)) => {
                let why = timeout(END, running.ended()).await.unwrap_or(why);
                Err(self.process.error(&why))
            }
            Err(error) => Err(self.process.error(&error.to_string())),
        }
    }

    async fn ask_status(&self) -> Status {
        let asked = async {
            let running = self.process.running().await?;
            let take = |answer| third_party::status(&self.id, &self.title, running.pid(), answer);
            self.ask_process(&running, "status.get", json!({}), take).await
        };
        match asked.await {
            Ok(status) => {
                lock(&self.known).status = Some(status.clone());
                self.tell_change(&status);
                status
            }
            Err(error) => {
                let host_pid = self.process.alive().map(|running| running.pid());
                let last = lock(&self.known).status.clone();
                Status { error: error.message, ..last.unwrap_or_else(|| self.stopped(host_pid)) }
            }
        }
    }

    fn stopped(&self, host_pid: Option<u32>) -> Status {
        let log = self.root.log_file(&self.id).to_string_lossy().into_owned();
        Status {
            interface_name: INTERFACE_NAME.to_owned(),
            interface_version: INTERFACE_VERSION,
            app_id: self.id.clone(),
            app_title: self.title.clone(),
            running: false,
            pid: None,
            host_running: host_pid.is_some(),
            host_pid,
            boot_id: String::new(),
            error: self.process.trouble(),
            more: Map::from_iter([("logPath".to_owned(), Value::String(log))]),
        }
    }

    /// Tells subscribers of `status` if they know another one.
    fn tell_change(&self, status: &Status) {
        let Status { running, pid, host_pid, boot_id, error, .. } = status;
        let now = (*running, *pid, *host_pid, boot_id.clone(), error.clone());
        let mut known = lock(&self.known);
        if known.told != now {
            known.told = now;
            self.bus.publish(Topic::StatusChanged, &self.id, status_event(status));
        }
    }

    /// Looks at the status of a process that runs; starts none.
    async fn look(&self) {
        if self.process.alive().is_some() {
            self.ask_status().await;
        }
    }

    /// Has the app carry out a job, from its start to its end.
    async fn carry(self: Arc<Self>, job: Arc<JobHandle>, invoke: Invoke) {
        let outcome = tokio::select! {
            biased;
            outcome = self.hand_over(&job, &invoke) => outcome,
            stop = job.stop_requested() => Err(stop.into()),
        };
        match outcome {
            Ok((running, id)) => self.follow(&job, &running, &id).await,
            Err(error) => job.finish(Err(error)),
        }
        self.look().await;
    }

    async fn hand_over(
        &self,
        job: &JobHandle,
        invoke: &Invoke,
    ) -> Result<(Arc<Running>, String), ContractError> {
        let running = self.process.running().await.map_err(failed)?;
        let mut request = json!({"actionName": job.action(), "args": invoke.args});
        if let Some(seconds) = invoke.timeout_seconds {
            request["timeoutSeconds"] = json!(seconds);
        }
        let id = self.ask_process(&running, "action.invoke", request, third_party::job_id).await;
        Ok((running, id.map_err(failed)?))
    }

    /// Looks at a job of the app until it is over, and makes its limit hold.
    async fn follow(&self, job: &JobHandle, running: &Running, id: &str) {
        let mut pace = POLL.0;
        let mut told: Option<(Stop, Instant)> = None;
        while !job.state().is_terminal() {
            let accepted = job.invoked().accepted_at;
            let take = |answer| third_party::job(job.id(), &self.id, job.action(), &accepted, answer);
            match self.ask_process(running, "action.job.get", json!({"jobId": id}), take).await {
                Ok(record) if record.state.is_terminal() && told.is_some() => finish_stopped(job, record),
                Ok(record) => drop(self.jobs.import(record)),
                Err(error) => job.finish(Err(failed(error))),
            }
            let overdue = job.deadline().is_some_and(|at| at <= std::time::Instant::now());
            match (job.stop(), told) {
                (Some(stop), None) => {
                    told = Some((stop, Instant::now()));
                    pace = POLL.0;
                    let cancel = object(json!({"appId": self.id, "jobId": id}));
                    if let Err(error) = running.peer.request("action.job.cancel", cancel, END_JOB).await {
                        job.warn(&format!("the app does not cancel: {error}"));
                    }
                }
                // It was canceled and did not end; now its time is over, too.
                (_, Some((Stop::Canceled, _))) if overdue => told = Some((Stop::TimedOut, Instant::now())),
                (_, Some((Stop::TimedOut, since))) if since.elapsed() > END_JOB => {
                    // The limit is kept, whatever it takes.
                    running.kill().await;
                    let why = "the action went on after its time was over, so the app was killed";
                    job.finish(Err(ContractError::failed(why).with("reason", "appKilled")));
                }
                _ => {}
            }
            let deadline = job.deadline().map_or_else(|| Instant::now() + STATUS, Instant::from_std);
            tokio::select! {
                () = sleep(pace) => {}
                () = tokio::time::sleep_until(deadline), if told.is_none() => {}
                _ = job.stop_requested(), if told.is_none() => {}
            }
            pace = (pace * 2).min(POLL.1);
        }
    }
}

/// The end of a job that was told to end: its outcome is ours to name.
fn finish_stopped(job: &JobHandle, record: JobRecord) {
    record.stdout.lines().for_each(|line| job.out(line));
    match (record.state, record.error) {
        (JobState::Succeeded, _) | (_, None) => job.finish(Ok(record.result)),
        (_, Some(error)) => job.finish(Err(error)),
    }
}

/// A job fails with an action's code, whatever kept it from being carried out.
fn failed(error: ContractError) -> ContractError {
    match error.code {
        ErrorCode::ActionTimeout => error,
        _ => ContractError { code: ErrorCode::ActionFailed, ..error },
    }
}

/// Tells subscribers of the end of a process.
async fn watch_process(app: Weak<StdioApp>, process: Arc<StdioProcess>) {
    let mut alive = process.watch();
    drop(process);
    while alive.changed().await.is_ok() {
        let Some(app) = app.upgrade() else { return };
        if alive.borrow_and_update().is_none() {
            lock(&app.known).status = None;
            app.tell_change(&app.stopped(None));
        }
    }
}

/// Looks at the status now and then, while somebody wants to hear of changes.
async fn watch_status(app: Weak<StdioApp>, bus: Arc<Bus>) {
    loop {
        bus.until_wanted(Topic::StatusChanged).await;
        sleep(STATUS).await;
        let Some(app) = app.upgrade() else { return };
        app.look().await;
    }
}

impl Backend for StdioApp {
    fn id(&self) -> &str {
        &self.id
    }

    fn info(&self) -> Answer<'_, AppInfo> {
        Box::pin(async move {
            Ok(AppInfo {
                app_id: self.id.clone(),
                app_title: self.title.clone(),
                kind: "third-party".to_owned(),
                host: self.id.clone(),
                // As it said last: a list of apps is no reason to start one.
                running: lock(&self.known).status.as_ref().is_some_and(|status| status.running),
            })
        })
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async move { Ok(self.ask_status().await) })
    }

    fn config_get(&self) -> Answer<'_, ConfigView> {
        Box::pin(self.ask("config.get", json!({}), third_party::config_view))
    }

    fn config_set<'a>(
        &'a self,
        key: &'a str,
        value: &'a Value,
        expected: Option<&'a str>,
    ) -> Answer<'a, ConfigSet> {
        let mut request = json!({"key": key, "value": value});
        if let Some(expected) = expected {
            request["expectedRevision"] = expected.into();
        }
        Box::pin(self.ask("config.set", request, third_party::config_set))
    }

    fn action_list(&self) -> Answer<'_, Vec<ActionDescriptor>> {
        Box::pin(self.ask("action.list", json!({}), third_party::actions))
    }

    fn invoke(&self, invoke: Invoke) -> Answer<'_, Invoked> {
        Box::pin(async move {
            if let Some(error) = self.process.unusable() {
                return Err(error);
            }
            if self.jobs.live().len() >= MAX_LIVE {
                let why = format!("busy: {MAX_LIVE} actions are under way; wait for some to end");
                return Err(ContractError::failed(why).with("reason", "busy"));
            }
            let limit = invoke.timeout_seconds.unwrap_or(third_party::DEFAULT_LIMIT);
            let limit = Duration::try_from_secs_f64(limit).unwrap_or(Duration::from_secs(86_400));
            let job = self.jobs.accept(&invoke.action, limit, invoke.job_id.clone())?;
            let invoked = job.invoked();
            match self.me.upgrade() {
                Some(me) => drop(tokio::spawn(me.carry(job, invoke))),
                None => job.finish(Err(self.process.error("the daemon is stopping"))),
            }
            Ok(invoked)
        })
    }

    fn job_get<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord> {
        Box::pin(async move { self.jobs.get(job_id) })
    }

    fn job_list(&self) -> Answer<'_, Vec<JobRecord>> {
        Box::pin(async move { Ok(self.jobs.list()) })
    }

    fn job_cancel<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord> {
        Box::pin(async move { self.jobs.cancel(job_id) })
    }

    fn log_tail<'a>(&'a self, lines: usize, cursor: Option<&'a str>) -> Answer<'a, LogTail> {
        let (logbook, id, cursor) = (Arc::clone(&self.logbook), self.id.clone(), cursor.map(str::to_owned));
        Box::pin(blocking(move || logbook.tail(&id, lines, cursor.as_deref())))
    }
}
