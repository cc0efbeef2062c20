//! The jobs of a built-in app in the daemon: takes accepted invocations to the app's host process, one after the
//! other, and keeps their records in step with it. Decides nothing about actions: which of two gives way, when one
//! times out, what it does is the host process's business; here is only the last resort if it says nothing.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use hilrig_contract::{Args, ContractError, Invoked, Job, JobRecord, JobState, Stop, object};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};

use crate::events::lock;
use crate::peer::PeerError;
use crate::supervisor::{Host, Link};
use crate::{JobHandle, Jobs};

/// Time for a host process to tell a record.
const ANSWER: Duration = Duration::from_secs(1);
/// Time for a host process to accept an action, or to list its jobs.
const ACCEPT: Duration = Duration::from_secs(5);
/// How often a live job is asked for, in case an event about it was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long after its timeout a job may take to report its end: the start of a host process is in it.
const GRACE: Duration = Duration::from_secs(20);
/// Jobs of one app under way at a time; a host process that does not answer lets them pile up.
const MAX_LIVE: usize = 512;
/// Time between two attempts to cancel.
const AGAIN: Duration = Duration::from_millis(100);

/// The jobs of one app.
pub(crate) struct HostedJobs {
    app_id: &'static str,
    host: Arc<Host>,
    jobs: Arc<Jobs>,
    /// Ids of the jobs that the host process has, or is about to get.
    carried: Mutex<HashSet<String>>,
    /// Why the last host process ended against its will, until a run starts again.
    trouble: Arc<Mutex<String>>,
    /// Counts the news of jobs, which may have changed the app's status.
    news: Arc<AtomicU64>,
    queue: mpsc::UnboundedSender<Accepted>,
    me: Weak<Self>,
}

/// An invocation whose job is queued.
struct Accepted {
    job: Arc<JobHandle>,
    args: Args,
    timeout_seconds: Option<f64>,
}

impl HostedJobs {
    /// Needs a tokio runtime.
    pub(crate) fn new(
        app_id: &'static str,
        host: &Arc<Host>,
        jobs: Arc<Jobs>,
        trouble: Arc<Mutex<String>>,
        news: Arc<AtomicU64>,
    ) -> Arc<Self> {
        let (queue, accepted) = mpsc::unbounded_channel();
        let made = Arc::new_cyclic(|me| Self {
            app_id,
            host: Arc::clone(host),
            jobs,
            carried: Mutex::default(),
            trouble,
            news,
            queue,
            me: Weak::clone(me),
        });
        tokio::spawn(forward_all(Weak::clone(&made.me), accepted));
        made
    }

    fn params(&self, job_id: &str) -> Map<String, Value> {
        object(json!({"appId": self.app_id, "jobId": job_id}))
    }

    /// Accepts an action: queued from now on.
    pub(crate) fn invoke(
        &self,
        action: &str,
        args: Args,
        limit: Duration,
        timeout_seconds: Option<f64>,
        job_id: Option<String>,
    ) -> Result<Invoked, ContractError> {
        if self.jobs.live().len() >= MAX_LIVE {
            let why = format!("busy: {MAX_LIVE} actions are under way; wait for some to end");
            return Err(failed(why, "busy"));
        }
        let job = self.jobs.accept(action, limit, job_id)?;
        let invoked = job.invoked();
        tokio::spawn(last_resort(Arc::clone(&job), limit));
        // The receiver ends with the last reference to this.
        let _ = self.queue.send(Accepted { job, args, timeout_seconds });
        Ok(invoked)
    }

    /// The record of a job, as fresh as the host process tells it.
    pub(crate) async fn get(&self, job_id: &str) -> Result<JobRecord, ContractError> {
        let job = self.jobs.handle_of(job_id)?;
        if !job.state().is_terminal()
            && lock(&self.carried).contains(job_id)
            && let Some(link) = self.host.link()
        {
            self.sync(&link, job_id).await;
        }
        Ok(job.record())
    }

    pub(crate) fn list(&self) -> Vec<JobRecord> {
        self.jobs.list()
    }

    /// Asks a job to end.
    pub(crate) fn cancel(&self, job_id: &str) -> Result<JobRecord, ContractError> {
        let job = self.jobs.handle_of(job_id)?;
        job.request_stop(Stop::Canceled);
        let carried = lock(&self.carried);
        if !carried.contains(job_id) {
            // The host process will never hear of it.
            job.finish(Err(Stop::Canceled.into()));
        }
        drop(carried);
        Ok(job.record())
    }

    /// Takes an invocation to the host process.
    async fn forward(self: Arc<Self>, accepted: Accepted) {
        let job = &accepted.job;
        if let Some(stop) = job.stop() {
            return job.finish(Err(stop.into()));
        }
        if job.action() == "run_stop" && !self.host.is_stirring() {
            job.start();
            job.out("no host process runs, so there is nothing to stop");
            return job.finish(Ok(object(json!({"running": false}))));
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
                tracing::error!(app = self.app_id, "{error}");
                return job.finish(Err(failed(error.to_string(), "hostStart")));
            }
            Err(error) => return job.finish(Err(ContractError::internal(format!("defect: {error}")))),
        };
        {
            // From here on a cancel goes to the host process.
            let mut carried = lock(&self.carried);
            if let Some(stop) = job.stop() {
                drop(carried);
                return job.finish(Err(stop.into()));
            }
            carried.insert(job.id().to_owned());
        }
        if let Err(error) = self.hand_over(&link, &accepted).await {
            lock(&self.carried).remove(job.id());
            return job.finish(Err(error));
        }
        tokio::spawn(self.carry(accepted.job, link));
    }

    /// Gives a job to the host process. The connection may be lost and made again in between.
    async fn hand_over(&self, link: &Link, accepted: &Accepted) -> Result<(), ContractError> {
        let Accepted { job, args, timeout_seconds } = accepted;
        let mut request = self.params(job.id());
        request.insert("actionName".to_owned(), job.action().into());
        request.insert("args".to_owned(), Value::Object(args.0.clone()));
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
                    if peer.request("action.job.get", self.params(job.id()), ANSWER).await.is_ok() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    // Should it take the job up later, the cancel is right behind.
                    let cancel = self.params(job.id());
                    tokio::spawn(async move { peer.request("action.job.cancel", cancel, GRACE).await });
                    let (name, pid) = (self.host.name(), link.pid());
                    let why = format!("host process {name} (pid {pid}) does not take the action: {error}");
                    return Err(failed(why, "hostSilent"));
                }
            }
        }
    }

    /// Stays with a job that the host process carries out, until it is over.
    async fn carry(self: Arc<Self>, job: Arc<JobHandle>, link: Link) {
        let mut told = false;
        let mut look_again = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = job.finished() => break,
                ended = link.ended() => job.finish(Err(failed(ended.reason, "hostEnded"))),
                _ = job.stop_requested(), if !told => {
                    told = self.tell_cancel(&link, job.id()).await;
                    if !told {
                        // The connection comes back, or the process ends.
                        sleep(AGAIN).await;
                    }
                }
                () = sleep_until(look_again) => {
                    look_again = tokio::time::Instant::now() + LOOK_AGAIN;
                    self.sync(&link, job.id()).await;
                }
            }
        }
        if !told && job.stop().is_some() {
            self.tell_cancel(&link, job.id()).await;
        }
        lock(&self.carried).remove(job.id());
    }

    /// Whether the host process took notice.
    async fn tell_cancel(&self, link: &Link, job_id: &str) -> bool {
        let answer = link.peer().request("action.job.cancel", self.params(job_id), ANSWER).await;
        matches!(answer, Ok(_) | Err(PeerError::Refused(_)))
    }

    /// Takes over the host process's record of one job.
    pub(crate) async fn sync(&self, link: &Link, job_id: &str) {
        let peer = link.peer();
        let asked = peer.ask::<JobRecord>("action.job.get", self.params(job_id), ANSWER);
        let Ok(mut record) = asked.await else { return };
        if record.job_id != job_id {
            return;
        }
        if self.jobs.handle_of(job_id).is_ok() {
            // It was accepted here, before the host process heard of it.
            record.accepted_at.clear();
        }
        if record.action_name == "run_start" && record.state == JobState::Succeeded {
            lock(&self.trouble).clear();
        }
        let over = record.state.is_terminal();
        if over {
            // Before anybody can learn of the end: what was known of the status is from before it.
            self.news.fetch_add(1, Ordering::SeqCst);
        }
        let Ok(job) = self.jobs.import(record) else { return };
        if over {
            return;
        }
        if job.state().is_terminal() {
            // Given up here; it must not go on there.
            self.tell_cancel(link, job_id).await;
        } else {
            self.stay_with(job, link.clone());
        }
    }

    /// Stays with a job that the host process already had.
    fn stay_with(&self, job: Arc<JobHandle>, link: Link) {
        let Some(me) = self.me.upgrade() else { return };
        if lock(&self.carried).insert(job.id().to_owned()) {
            tokio::spawn(me.carry(job, link));
        }
    }

    /// Takes over the records of all jobs that are not over here.
    pub(crate) async fn sync_all(&self, link: &Link) {
        let all = object(json!({"appId": self.app_id}));
        let Ok(answer) = link.peer().request("action.job.list", all, ACCEPT).await else { return };
        let jobs = answer["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        // Newest first in the answer; the other way round they keep their order here.
        for id in jobs.iter().rev().filter_map(|job| job["jobId"].as_str()) {
            if !self.jobs.handle_of(id).is_ok_and(|known| known.state().is_terminal()) {
                self.sync(link, id).await;
            }
        }
    }
}

/// Takes accepted invocations to the host process, in their order.
async fn forward_all(jobs: Weak<HostedJobs>, mut queue: mpsc::UnboundedReceiver<Accepted>) {
    while let Some(accepted) = queue.recv().await {
        let Some(jobs) = jobs.upgrade() else { return };
        jobs.forward(accepted).await;
    }
}

/// Ends a job long after its time, if nobody else did.
async fn last_resort(job: Arc<JobHandle>, limit: Duration) {
    if tokio::time::timeout(limit.saturating_add(GRACE), job.finished()).await.is_err() {
        job.request_stop(Stop::TimedOut);
        job.finish(Err(failed(
            "the host process did not report the end of the action".to_owned(),
            "hostSilent",
        )));
    }
}

fn failed(message: String, reason: &str) -> ContractError {
    ContractError::failed(message).with("reason", reason)
}
