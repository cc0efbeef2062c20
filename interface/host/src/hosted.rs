//! A built-in app in the daemon: answers what files and the spec can answer, has the rest answered by the app's host
//! process, and keeps the records of its jobs. Runs nothing itself, and outlives any number of host processes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use hilrig_contract::{
    ActionDescriptor, AppInfo, AppSpec, AppStatus, Args, ConfigSet, ConfigView, ContractError,
    INTERFACE_NAME, INTERFACE_VERSION, Invoked, Job, JobRecord, JobState, Status, Stop, Topic,
};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::events::lock;
use crate::local::{accept_args, blocking, find_action};
use crate::peer::PeerError;
use crate::supervisor::{Ended, Host, HostWatcher, Link, params};
use crate::watch::status_event;
use crate::{Answer, Backend, Bus, ConfigStore, Invoke, JobHandle, Jobs, LogTail, Logbook, Root};

/// Time for a host process to tell a status or a record.
const ANSWER: Duration = Duration::from_secs(1);
/// Time for a host process to accept an action.
const ACCEPT: Duration = Duration::from_secs(5);
/// How often a live job is asked for, in case an event about it was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long after its timeout a job may take to report its end.
const GRACE: Duration = Duration::from_secs(10);

/// A built-in app whose runs are in a host process.
pub(crate) struct HostedApp {
    spec: AppSpec,
    root: Root,
    config: Arc<ConfigStore>,
    jobs: Arc<Jobs>,
    host: Arc<Host>,
    bus: Arc<Bus>,
    logbook: Arc<Logbook>,
    known: Mutex<Known>,
    /// Accepted invocations on their way to the host process, one after the other.
    queue: mpsc::UnboundedSender<Accepted>,
    me: Weak<Self>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last that the host process said.
    status: Option<Status>,
    /// Why the last host process ended against its will, until a run starts again.
    trouble: String,
    /// Jobs that the host process has, or is about to get.
    carried: HashSet<String>,
}

/// An invocation whose job is queued.
struct Accepted {
    job: Arc<JobHandle>,
    args: Args,
    timeout: Duration,
    timeout_seconds: Option<f64>,
}

impl std::fmt::Debug for HostedApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostedApp")
            .field("id", &self.spec.id)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl HostedApp {
    /// Needs a tokio runtime. Adopt the host after its apps are made, so that they hear of it.
    pub(crate) fn new(
        root: &Root,
        spec: AppSpec,
        host: &Arc<Host>,
        bus: &Arc<Bus>,
        logbook: &Arc<Logbook>,
    ) -> Arc<Self> {
        let jobs = Jobs::new(spec.id, Arc::clone(bus));
        let (queue, forward) = mpsc::unbounded_channel();
        let app = Arc::new_cyclic(|me| Self {
            root: root.clone(),
            config: Arc::new(ConfigStore::new(root, &spec)),
            jobs,
            host: Arc::clone(host),
            bus: Arc::clone(bus),
            logbook: Arc::clone(logbook),
            known: Mutex::default(),
            queue,
            me: Weak::clone(me),
            spec,
        });
        host.register(Weak::clone(&app.me) as Weak<dyn HostWatcher>);
        tokio::spawn(forward_all(Weak::clone(&app.me), forward));
        app
    }

    fn params(&self, more: Value) -> Map<String, Value> {
        let mut all = params(more);
        all.insert("appId".to_owned(), self.spec.id.into());
        all
    }

    /// The status of the app while no host process runs.
    fn stopped(&self) -> Status {
        let error = lock(&self.known).trouble.clone();
        status_of(&self.spec, &self.root, AppStatus { error, ..AppStatus::default() }, None)
    }

    async fn ask_status(&self) -> Status {
        let Some(link) = self.host.link() else { return self.stopped() };
        let answer = match link.peer().ask("status.get", self.params(json!({})), ANSWER).await {
            Err(PeerError::Closed(why)) => match tokio::time::timeout(ANSWER, link.settled()).await {
                Ok(Err(_)) => return self.stopped(),
                Ok(Ok(peer)) => peer.ask("status.get", self.params(json!({})), ANSWER).await,
                Err(_) => Err(PeerError::Closed(why)),
            },
            answer => answer,
        };
        match answer {
            Ok(status) => self.heard(status),
            Err(error) => self.last_known(&link, &error),
        }
    }

    /// Remembers what the host process said of the app, and adds what it cannot know.
    fn heard(&self, mut status: Status) -> Status {
        let mut known = lock(&self.known);
        if status.error.is_empty() && !status.running {
            status.error.clone_from(&known.trouble);
        }
        known.status = Some(status.clone());
        status
    }

    fn last_known(&self, link: &Link, error: &PeerError) -> Status {
        let (name, pid) = (self.host.name(), link.pid());
        let last = lock(&self.known).status.clone();
        let (mut status, what) = match last {
            Some(status) => (status, "this is its last known state"),
            None => (
                status_of(&self.spec, &self.root, AppStatus::default(), Some(pid)),
                "nothing is known of its run",
            ),
        };
        status.error = format!("host process {name} (pid {pid}) does not answer ({error}); {what}");
        status
    }

    /// Takes an invocation to the host process.
    async fn forward(self: Arc<Self>, accepted: Accepted) {
        let Accepted { job, timeout, .. } = &accepted;
        if let Some(stop) = job.stop() {
            return job.finish(Err(stop.into()));
        }
        if job.action() == "run_stop" && !self.host.is_stirring() {
            job.start();
            job.out("no host process runs, so there is nothing to stop");
            return job.finish(Ok(params(json!({"running": false}))));
        }
        let host = Arc::clone(&self.host);
        // In a task of its own: a start must not be given up half way.
        let starting = tokio::spawn(async move { host.ensure().await });
        let link = tokio::select! {
            link = starting => link,
            stop = job.stop_requested() => return job.finish(Err(stop.into())),
        };
        let link = match link {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => {
                self.logbook.write(self.spec.id, "ERROR", &error.to_string());
                return job.finish(Err(failed(error.to_string(), "hostStart")));
            }
            Err(error) => return job.finish(Err(ContractError::internal(format!("defect: {error}")))),
        };
        {
            // From here on a cancel goes to the host process.
            let mut known = lock(&self.known);
            if let Some(stop) = job.stop() {
                drop(known);
                return job.finish(Err(stop.into()));
            }
            known.carried.insert(job.id().to_owned());
        }
        if let Err(error) = self.hand_over(&link, &accepted).await {
            lock(&self.known).carried.remove(job.id());
            return job.finish(Err(error));
        }
        let backstop = Instant::now() + timeout.saturating_add(GRACE);
        tokio::spawn(self.carry(Arc::clone(job), link, Some(backstop)));
    }

    /// Gives a job to the host process. The connection may be lost and made again in between.
    async fn hand_over(&self, link: &Link, accepted: &Accepted) -> Result<(), ContractError> {
        let Accepted { job, args, timeout_seconds, .. } = accepted;
        let id = job.id();
        let mut request = self.params(json!({"actionName": job.action(), "args": args.0, "jobId": id}));
        if let Some(seconds) = timeout_seconds {
            request.insert("timeoutSeconds".to_owned(), json!(seconds));
        }
        let mut peer = link.peer();
        loop {
            match peer.request("action.invoke", request.clone(), ACCEPT).await {
                Ok(_) => return Ok(()),
                Err(PeerError::Refused(error)) => return Err(error),
                Err(PeerError::Closed(_)) => {
                    peer = link.settled().await.map_err(|ended| failed(ended.reason, "hostEnded"))?;
                    let there = self.params(json!({"jobId": id}));
                    if peer.request("action.job.get", there, ANSWER).await.is_ok() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    // Should it take the job up later, the cancel is right behind.
                    let cancel = self.params(json!({"jobId": id}));
                    tokio::spawn(async move { peer.request("action.job.cancel", cancel, GRACE).await });
                    let (name, pid) = (self.host.name(), link.pid());
                    let why = format!("host process {name} (pid {pid}) does not take the action: {error}");
                    return Err(failed(why, "hostSilent"));
                }
            }
        }
    }

    /// Stays with a job that the host process carries out, until it is over.
    async fn carry(self: Arc<Self>, job: Arc<JobHandle>, link: Link, backstop: Option<Instant>) {
        let mut cancel_sent = false;
        let mut look_again = Instant::now();
        loop {
            tokio::select! {
                () = job.finished() => break,
                ended = link.ended() => {
                    job.finish(Err(failed(ended.reason, "hostEnded")));
                    break;
                }
                _ = job.stop_requested(), if !cancel_sent => cancel_sent = self.cancel(&link, job.id()).await,
                () = tokio::time::sleep_until(look_again) => {
                    look_again = Instant::now() + LOOK_AGAIN;
                    self.sync(&link, job.id()).await;
                }
                () = until(backstop) => {
                    job.request_stop(Stop::TimedOut);
                    let (name, pid) = (self.host.name(), link.pid());
                    let why = format!("host process {name} (pid {pid}) did not report the end of the action");
                    job.finish(Err(failed(why, "hostSilent")));
                    self.cancel(&link, job.id()).await;
                    break;
                }
            }
        }
        lock(&self.known).carried.remove(job.id());
    }

    /// Whether the host process took notice.
    async fn cancel(&self, link: &Link, job_id: &str) -> bool {
        let request = self.params(json!({"jobId": job_id}));
        match link.peer().request("action.job.cancel", request, ANSWER).await {
            Ok(_) | Err(PeerError::Refused(_)) => true,
            Err(_) => {
                // Not in vain for ever: the connection comes back or the process ends.
                tokio::time::sleep(Duration::from_millis(100)).await;
                false
            }
        }
    }

    /// Takes over the record of one job.
    async fn sync(&self, link: &Link, job_id: &str) {
        let request = self.params(json!({"jobId": job_id}));
        let Ok(record) = link.peer().ask::<JobRecord>("action.job.get", request, ANSWER).await else {
            return;
        };
        if record.job_id != job_id {
            return;
        }
        let is_start = record.action_name == "run_start" && record.state == JobState::Succeeded;
        let over = record.state.is_terminal();
        let Ok(job) = self.jobs.import(record) else { return };
        if is_start {
            lock(&self.known).trouble.clear();
        }
        if over {
            return;
        }
        if job.state().is_terminal() {
            // Given up here; it must not go on there.
            self.cancel(link, job_id).await;
        } else {
            self.stay_with(job, link.clone());
        }
    }

    /// Stays with a job that the host process already had.
    fn stay_with(&self, job: Arc<JobHandle>, link: Link) {
        let Some(me) = self.me.upgrade() else { return };
        if lock(&self.known).carried.insert(job.id().to_owned()) {
            tokio::spawn(me.carry(job, link, None));
        }
    }

    /// Takes over what a host process knows: after adoption, and whenever events were lost.
    async fn sync_all(&self, link: &Link) {
        if let Ok(status) = link.peer().ask("status.get", self.params(json!({})), ANSWER).await {
            self.heard(status);
        }
        let jobs = link.peer().request("action.job.list", self.params(json!({})), ACCEPT).await;
        let jobs = jobs.ok().and_then(|mut answer| match answer["jobs"].take() {
            Value::Array(jobs) => Some(jobs),
            _ => None,
        });
        // Newest first in the answer; the other way round they keep their order here.
        for job in jobs.unwrap_or_default().iter().rev() {
            let Some(id) = job["jobId"].as_str() else { continue };
            if self.jobs.handle_of(id).is_ok_and(|known| known.state().is_terminal()) {
                continue;
            }
            self.sync(link, id).await;
        }
    }
}

/// Takes accepted invocations to the host process, in their order.
async fn forward_all(app: Weak<HostedApp>, mut queue: mpsc::UnboundedReceiver<Accepted>) {
    while let Some(accepted) = queue.recv().await {
        let Some(app) = app.upgrade() else { return };
        app.forward(accepted).await;
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The status of a built-in app: the keys that every app has, and what the app itself says.
pub(crate) fn status_of(spec: &AppSpec, root: &Root, app: AppStatus, host_pid: Option<u32>) -> Status {
    let mut more = Map::new();
    let path = |path: std::path::PathBuf| Value::from(path.to_string_lossy().into_owned());
    more.insert("configPath".to_owned(), path(root.config_file(spec.id)));
    more.insert("logPath".to_owned(), path(root.log_file(spec.id)));
    if spec.hosted_role {
        more.insert("processModel".to_owned(), "hosted-role".into());
        more.insert("roleAppId".to_owned(), spec.id.into());
    }
    more.extend(app.fields);
    more.extend(app.metrics);
    let run = app.run.as_ref();
    Status {
        interface_name: INTERFACE_NAME.to_owned(),
        interface_version: INTERFACE_VERSION,
        app_id: spec.id.to_owned(),
        app_title: spec.title.to_owned(),
        running: run.is_some(),
        pid: run.map(|run| run.pid),
        host_running: host_pid.is_some(),
        host_pid,
        boot_id: run.map_or_else(String::new, |run| format!("{}:{}:{}", spec.id, run.pid, run.nonce)),
        error: app.error,
        more,
    }
}

fn failed(message: String, reason: &str) -> ContractError {
    ContractError::failed(message).with("reason", reason)
}

impl HostWatcher for HostedApp {
    fn app_id(&self) -> &str {
        self.spec.id
    }

    fn up(&self, link: &Link) {
        let (Some(me), link) = (self.me.upgrade(), link.clone()) else { return };
        tokio::spawn(async move { me.sync_all(&link).await });
    }

    fn event(&self, link: &Link, topic: Topic, mut params: Map<String, Value>) {
        match topic {
            Topic::JobChanged => {
                // Told on when the record here changes.
                let Some(id) = params.get("jobId").and_then(Value::as_str).map(str::to_owned) else { return };
                let (Some(me), link) = (self.me.upgrade(), link.clone()) else { return };
                tokio::spawn(async move { me.sync(&link, &id).await });
                return;
            }
            Topic::StatusChanged => {
                if let Some(status) = params.get_mut("status").map(Value::take)
                    && let Ok(status) = serde_json::from_value(status)
                {
                    params = status_event(&self.heard(status));
                }
            }
            Topic::Log | Topic::Metrics => {}
        }
        self.bus.publish(topic, self.spec.id, params);
    }

    fn down(&self, ended: &Ended) {
        let was_running = {
            let mut known = lock(&self.known);
            let was_running = known.status.take().is_some_and(|s| s.running);
            if !ended.in_order || was_running {
                known.trouble.clone_from(&ended.reason);
            }
            was_running
        };
        if !ended.in_order {
            let what = if was_running { "the run is lost" } else { "no run was up" };
            self.logbook.write(self.spec.id, "ERROR", &format!("{}; {what}", ended.reason));
        }
        self.bus.publish(Topic::StatusChanged, self.spec.id, status_event(&self.stopped()));
    }
}

impl Backend for HostedApp {
    fn id(&self) -> &str {
        self.spec.id
    }

    fn info(&self) -> Answer<'_, AppInfo> {
        Box::pin(async move {
            let running = self.host.link().is_some()
                && lock(&self.known).status.as_ref().is_some_and(|status| status.running);
            Ok(AppInfo {
                app_id: self.spec.id.to_owned(),
                app_title: self.spec.title.to_owned(),
                kind: "built-in".to_owned(),
                host: self.spec.host.to_owned(),
                running,
            })
        })
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async move { Ok(self.ask_status().await) })
    }

    fn config_get(&self) -> Answer<'_, ConfigView> {
        let config = Arc::clone(&self.config);
        Box::pin(blocking(move || Ok(config.view())))
    }

    fn config_set<'a>(
        &'a self,
        key: &'a str,
        value: &'a Value,
        expected: Option<&'a str>,
    ) -> Answer<'a, ConfigSet> {
        Box::pin(async move {
            let running = self.ask_status().await.pid;
            let config = Arc::clone(&self.config);
            let (key, value, expected) = (key.to_owned(), value.clone(), expected.map(str::to_owned));
            blocking(move || config.set(&key, &value, expected.as_deref(), running)).await
        })
    }

    fn action_list(&self) -> Answer<'_, Vec<ActionDescriptor>> {
        Box::pin(async move { Ok(self.spec.actions.clone()) })
    }

    fn invoke(&self, invoke: Invoke) -> Answer<'_, Invoked> {
        Box::pin(async move {
            // Which of two actions gives way is decided in the host process alone.
            let action = find_action(&self.spec.actions, &invoke.action)?;
            let args = accept_args(action, &invoke.args)?;
            let timeout = invoke.timeout_seconds.unwrap_or(action.timeout_seconds);
            let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::from_secs(30));
            let job = self.jobs.accept(&action.name, timeout, invoke.job_id)?;
            let invoked = job.invoked();
            let timeout_seconds = invoke.timeout_seconds;
            // The receiver ends with the last reference to this app.
            let _ = self.queue.send(Accepted { job, args, timeout, timeout_seconds });
            Ok(invoked)
        })
    }

    fn job_get<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord> {
        Box::pin(async move {
            let job = self.jobs.handle_of(job_id)?;
            if !job.state().is_terminal()
                && lock(&self.known).carried.contains(job_id)
                && let Some(link) = self.host.link()
            {
                self.sync(&link, job_id).await;
            }
            Ok(job.record())
        })
    }

    fn job_list(&self) -> Answer<'_, Vec<JobRecord>> {
        Box::pin(async move { Ok(self.jobs.list()) })
    }

    fn job_cancel<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord> {
        Box::pin(async move {
            let job = self.jobs.handle_of(job_id)?;
            job.request_stop(Stop::Canceled);
            let known = lock(&self.known);
            if !known.carried.contains(job_id) {
                job.finish(Err(Stop::Canceled.into()));
            }
            drop(known);
            Ok(job.record())
        })
    }

    fn log_tail<'a>(&'a self, lines: usize, cursor: Option<&'a str>) -> Answer<'a, LogTail> {
        let (logbook, id, cursor) = (Arc::clone(&self.logbook), self.spec.id, cursor.map(str::to_owned));
        Box::pin(blocking(move || logbook.tail(id, lines, cursor.as_deref())))
    }
}
