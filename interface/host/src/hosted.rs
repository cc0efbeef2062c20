//! A built-in app in the daemon: answers what files and the spec can answer, and has the rest answered by the app's
//! host process. Runs nothing itself, and outlives any number of host processes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use hilrig_contract::{
    ActionDescriptor, AppInfo, AppSpec, AppStatus, ConfigSet, ConfigView, Invoked, JobRecord, Status, Topic,
};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use crate::events::lock;
use crate::hosted_jobs::HostedJobs;
use crate::local::{accept_args, blocking, find_action};
use crate::peer::PeerError;
use crate::status::status_of;
use crate::supervisor::{Ended, Host, HostWatcher, Link};
use crate::watch::status_event;
use crate::{Answer, Backend, Bus, ConfigStore, Invoke, Jobs, LogTail, Logbook, Root};

/// Time for a host process to tell a status.
const ANSWER: Duration = Duration::from_secs(1);

/// How old an answered status may be. Within it, and while nothing is known to have changed, the host process is not
/// asked again: however many clients ask, its run is disturbed 50 times a second at most.
const FRESH: Duration = Duration::from_millis(20);

/// A built-in app whose runs are in a host process.
pub(crate) struct HostedApp {
    spec: AppSpec,
    root: Root,
    config: Arc<ConfigStore>,
    jobs: Arc<HostedJobs>,
    host: Arc<Host>,
    bus: Arc<Bus>,
    logbook: Arc<Logbook>,
    known: Mutex<Known>,
    /// Why the last host process ended against its will, until a run starts again.
    trouble: Arc<Mutex<String>>,
    /// Counts the news of jobs, which may have changed the status.
    job_news: Arc<AtomicU64>,
    me: Weak<Self>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last that the host process said, while it lives.
    status: Option<Status>,
    /// When it was asked for, and how much news of jobs there had been.
    asked: Option<(Instant, u64)>,
    /// Counts what came unasked. An answer to a question from before it is older than what is known.
    told: u64,
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
        let trouble = Arc::default();
        let job_news = Arc::default();
        let jobs = Jobs::new(spec.id, Arc::clone(bus));
        let app = Arc::new_cyclic(|me| Self {
            root: root.clone(),
            config: Arc::new(ConfigStore::new(root, &spec)),
            jobs: HostedJobs::new(spec.id, host, jobs, Arc::clone(&trouble), Arc::clone(&job_news)),
            host: Arc::clone(host),
            bus: Arc::clone(bus),
            logbook: Arc::clone(logbook),
            known: Mutex::default(),
            trouble,
            job_news,
            me: Weak::clone(me),
            spec,
        });
        host.register(Weak::clone(&app.me) as Weak<dyn HostWatcher>);
        app
    }

    /// The status of the app while no host process runs.
    fn stopped(&self) -> Status {
        let error = lock(&self.trouble).clone();
        status_of(&self.spec, &self.root, AppStatus { error, ..AppStatus::default() }, None)
    }

    fn job_news(&self) -> u64 {
        self.job_news.load(Ordering::SeqCst)
    }

    fn fresh(&self) -> Option<Status> {
        let known = lock(&self.known);
        let (at, news) = known.asked?;
        (news == self.job_news() && at.elapsed() < FRESH).then(|| known.status.clone()).flatten()
    }

    async fn ask_status(&self) -> Status {
        if let Some(status) = self.fresh() {
            return status;
        }
        let asked = (Instant::now(), self.job_news());
        let told = lock(&self.known).told;
        let Some(link) = self.host.link() else { return self.stopped() };
        let params = || Map::from_iter([("appId".to_owned(), Value::from(self.spec.id))]);
        let answer = match link.peer().ask("status.get", params(), ANSWER).await {
            Err(PeerError::Closed(why)) => match tokio::time::timeout(ANSWER, link.settled()).await {
                Ok(Err(_)) => return self.stopped(),
                Ok(Ok(peer)) => peer.ask("status.get", params(), ANSWER).await,
                Err(_) => Err(PeerError::Closed(why)),
            },
            answer => answer,
        };
        match answer {
            Ok(status) => {
                let status = self.complete(status);
                let mut known = lock(&self.known);
                if known.told == told {
                    known.status = Some(status.clone());
                    known.asked = Some(asked);
                }
                status
            }
            Err(error) => self.last_known(&link, &error),
        }
    }

    /// Adds to a status what the host process cannot know: why the one before it ended.
    fn complete(&self, mut status: Status) -> Status {
        if status.error.is_empty() && !status.running {
            status.error.clone_from(&lock(&self.trouble));
        }
        status
    }

    /// Tells subscribers of a run that is there already, unless they have heard something newer.
    fn tell_run(&self, status: &Status, told: u64) {
        let mut known = lock(&self.known);
        if status.running && known.told == told {
            known.told += 1;
            self.bus.publish(Topic::StatusChanged, self.spec.id, status_event(status));
        }
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
}

impl HostWatcher for HostedApp {
    fn app_id(&self) -> &str {
        self.spec.id
    }

    fn up(&self, link: &Link) -> Option<JoinHandle<()>> {
        let (me, link) = (self.me.upgrade()?, link.clone());
        Some(tokio::spawn(async move {
            let told = lock(&me.known).told;
            let status = me.ask_status().await;
            me.tell_run(&status, told);
            me.jobs.sync_all(&link).await;
        }))
    }

    fn event(&self, link: &Link, topic: Topic, mut params: Map<String, Value>) {
        match topic {
            Topic::JobChanged => {
                self.job_news.fetch_add(1, Ordering::SeqCst);
                // Told on when the record here changes.
                let Some(id) = params.get("jobId").and_then(Value::as_str).map(str::to_owned) else { return };
                let (jobs, link) = (Arc::clone(&self.jobs), link.clone());
                tokio::spawn(async move { jobs.sync(&link, &id).await });
                return;
            }
            Topic::StatusChanged => {
                let status = params.get_mut("status").map(Value::take);
                if let Some(Ok(status)) = status.map(serde_json::from_value) {
                    let status = self.complete(status);
                    params = status_event(&status);
                    let mut known = lock(&self.known);
                    *known = Known { status: Some(status), asked: None, told: known.told + 1 };
                    return self.bus.publish(topic, self.spec.id, params);
                }
            }
            _ => {}
        }
        self.bus.publish(topic, self.spec.id, params);
    }

    fn down(&self, ended: &Ended) {
        let was_running = {
            let mut known = lock(&self.known);
            known.told += 1;
            known.status.take().is_some_and(|status| status.running)
        };
        if !ended.in_order || was_running {
            lock(&self.trouble).clone_from(&ended.reason);
        }
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
            let running = self.ask_status().await.running;
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
            let seconds = invoke.timeout_seconds;
            let limit = Duration::try_from_secs_f64(seconds.unwrap_or(action.timeout_seconds));
            let limit = limit.unwrap_or(Duration::from_secs(30));
            self.jobs.invoke(&action.name, args, limit, seconds, invoke.job_id)
        })
    }

    fn job_get<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord> {
        Box::pin(self.jobs.get(job_id))
    }

    fn job_list(&self) -> Answer<'_, Vec<JobRecord>> {
        Box::pin(async move { Ok(self.jobs.list()) })
    }

    fn job_cancel<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord> {
        Box::pin(async move { self.jobs.cancel(job_id) })
    }

    fn log_tail<'a>(&'a self, lines: usize, cursor: Option<&'a str>) -> Answer<'a, LogTail> {
        let (logbook, id, cursor) = (Arc::clone(&self.logbook), self.spec.id, cursor.map(str::to_owned));
        Box::pin(blocking(move || logbook.tail(id, lines, cursor.as_deref())))
    }
}
