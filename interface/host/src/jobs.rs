//! The jobs of one app: records that only move forward, their ids, output and retention. Runs nothing itself:
//! whoever carries a job out (a thread in this process, a host process) reports through its [`JobHandle`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hilrig_contract::{ContractError, ErrorCode, Invoked, Job, JobRecord, JobState, Stop, Topic, timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::events::{Bus, lock};
use crate::output::Output;

/// Terminal jobs kept readable.
pub const JOBS_KEPT: usize = 1000;
/// How long a terminal job is kept readable.
pub const JOBS_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of output that the terminal jobs of one app may hold together; over it the oldest keep their last
/// [`OLD_OUTPUT`] bytes per stream.
const OUTPUT_BUDGET: usize = 32 << 20;
const OLD_OUTPUT: usize = 4 << 10;

/// The jobs of one app.
#[derive(Debug)]
pub struct Jobs {
    app_id: String,
    bus: Arc<Bus>,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    by_id: HashMap<String, Arc<JobHandle>>,
    /// In the order of acceptance.
    order: VecDeque<String>,
}

/// A job id from the system's randomness: nobody guesses one.
fn mint() -> Result<String, ContractError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| ContractError::internal(format!("the system gives no random numbers: {e}")))?;
    Ok(format!("job-{:032x}", u128::from_ne_bytes(bytes)))
}

/// Whether `id` has the form of a job id. Nothing else is ever looked up.
pub fn is_job_id(id: &str) -> bool {
    id.strip_prefix("job-")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// `E_NOT_FOUND` for a job.
pub fn no_such_job(app_id: &str, id: &str) -> ContractError {
    let shown: String = id.chars().take(64).collect();
    ContractError::new(ErrorCode::NotFound, format!("{app_id} has no job {shown:?}")).with("jobId", shown)
}

impl Jobs {
    pub fn new(app_id: &str, bus: Arc<Bus>) -> Arc<Self> {
        Arc::new(Self { app_id: app_id.to_owned(), bus, registry: Mutex::default() })
    }

    /// Accepts a job: queued from now on. `id` is one minted by a daemon, or none.
    ///
    /// # Errors
    /// The given id is malformed or already used.
    pub fn accept(
        &self,
        action: &str,
        timeout: Duration,
        id: Option<String>,
    ) -> Result<Arc<JobHandle>, ContractError> {
        let id = match id {
            Some(id) if is_job_id(&id) => id,
            Some(id) => return Err(ContractError::bad_param("jobId", format!("{id:?} is no job id"))),
            None => mint()?,
        };
        let job = self.handle(id, action, Some(Instant::now() + timeout));
        self.insert(&job)?;
        job.announce(&lock(&job.data));
        Ok(job)
    }

    fn handle(&self, id: String, action: &str, deadline: Option<Instant>) -> Arc<JobHandle> {
        let data = Data {
            state: JobState::Queued,
            accepted: Instant::now(),
            accepted_at: timestamp(),
            deadline,
            ..Data::new()
        };
        Arc::new(JobHandle {
            id,
            app_id: self.app_id.clone(),
            action: action.to_owned(),
            bus: Arc::clone(&self.bus),
            data: Mutex::new(data),
            wake: Condvar::new(),
            signals: watch::Sender::new(Signals::default()),
        })
    }

    fn insert(&self, job: &Arc<JobHandle>) -> Result<(), ContractError> {
        let mut registry = lock(&self.registry);
        if registry.by_id.contains_key(&job.id) {
            return Err(ContractError::bad_param("jobId", format!("{} is already used", job.id)));
        }
        registry.by_id.insert(job.id.clone(), Arc::clone(job));
        registry.order.push_back(job.id.clone());
        registry.evict();
        Ok(())
    }

    /// # Errors
    /// `E_NOT_FOUND`.
    pub fn handle_of(&self, id: &str) -> Result<Arc<JobHandle>, ContractError> {
        if !is_job_id(id) {
            return Err(no_such_job(&self.app_id, id));
        }
        lock(&self.registry).by_id.get(id).cloned().ok_or_else(|| no_such_job(&self.app_id, id))
    }

    /// # Errors
    /// `E_NOT_FOUND`.
    pub fn get(&self, id: &str) -> Result<JobRecord, ContractError> {
        Ok(self.handle_of(id)?.record())
    }

    /// All jobs, newest first, without their output.
    pub fn list(&self) -> Vec<JobRecord> {
        let registry = lock(&self.registry);
        registry.order.iter().rev().filter_map(|id| registry.by_id.get(id)).map(|job| job.summary()).collect()
    }

    /// The jobs that are not over.
    pub fn live(&self) -> Vec<Arc<JobHandle>> {
        lock(&self.registry).by_id.values().filter(|job| !job.state().is_terminal()).cloned().collect()
    }

    /// Asks a job to end. The record turns `canceled` when it really has ended.
    ///
    /// # Errors
    /// `E_NOT_FOUND`.
    pub fn cancel(&self, id: &str) -> Result<JobRecord, ContractError> {
        let job = self.handle_of(id)?;
        job.request_stop(Stop::Canceled);
        Ok(job.record())
    }

    /// Takes over the record of a job carried out by another process. An older state than the known one is
    /// ignored.
    ///
    /// # Errors
    /// The record's id is malformed.
    pub fn import(&self, record: JobRecord) -> Result<Arc<JobHandle>, ContractError> {
        let job = match self.handle_of(&record.job_id) {
            Ok(job) => job,
            Err(e) if !is_job_id(&record.job_id) => return Err(e),
            Err(_) => {
                let job = self.handle(record.job_id.clone(), &record.action_name, None);
                self.insert(&job)?;
                job
            }
        };
        job.import(record);
        Ok(job)
    }
}

impl Registry {
    /// Live jobs are never evicted.
    fn evict(&mut self) {
        let mut terminal = 0;
        let mut output = 0;
        let by_id = &mut self.by_id;
        let mut kept: VecDeque<String> = VecDeque::with_capacity(self.order.len());
        for id in self.order.drain(..).rev() {
            let Some(job) = by_id.get(&id) else { continue };
            let mut data = lock(&job.data);
            if let Some(finished) = data.finished {
                terminal += 1;
                if terminal > JOBS_KEPT || finished.elapsed() > JOBS_KEPT_FOR {
                    drop(data);
                    by_id.remove(&id);
                    continue;
                }
                output += data.stdout.bytes() + data.stderr.bytes();
                if output > OUTPUT_BUDGET {
                    data.stdout.trim(OLD_OUTPUT);
                    data.stderr.trim(OLD_OUTPUT);
                }
            }
            drop(data);
            kept.push_front(id);
        }
        self.order = kept;
    }
}

/// One job. Shared by the registry and by whoever carries it out; what an action sees of it is [`Job`].
#[derive(Debug)]
pub struct JobHandle {
    id: String,
    app_id: String,
    action: String,
    bus: Arc<Bus>,
    data: Mutex<Data>,
    wake: Condvar,
    signals: watch::Sender<Signals>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Signals {
    stop: Option<Stop>,
    finished: bool,
}

#[derive(Debug)]
struct Data {
    state: JobState,
    accepted: Instant,
    accepted_at: String,
    deadline: Option<Instant>,
    started: Option<Instant>,
    started_at: Option<String>,
    finished: Option<Instant>,
    finished_at: Option<String>,
    duration_ms: Option<u64>,
    result: Map<String, Value>,
    stdout: Output,
    stderr: Output,
    error: Option<ContractError>,
    stop: Option<Stop>,
}

impl Data {
    fn new() -> Self {
        Self {
            state: JobState::Queued,
            accepted: Instant::now(),
            accepted_at: String::new(),
            deadline: None,
            started: None,
            started_at: None,
            finished: None,
            finished_at: None,
            duration_ms: None,
            result: Map::new(),
            stdout: Output::default(),
            stderr: Output::default(),
            error: None,
            stop: None,
        }
    }

    fn stop(&self) -> Option<Stop> {
        self.stop.or_else(|| self.deadline.filter(|at| Instant::now() >= *at).map(|_| Stop::TimedOut))
    }
}

impl JobHandle {
    pub fn action(&self) -> &str {
        &self.action
    }

    pub fn state(&self) -> JobState {
        lock(&self.data).state
    }

    /// What `action.invoke` answers.
    pub fn invoked(&self) -> Invoked {
        Invoked {
            job_id: self.id.clone(),
            state: JobState::Queued,
            accepted_at: lock(&self.data).accepted_at.clone(),
        }
    }

    pub fn record(&self) -> JobRecord {
        let data = lock(&self.data);
        JobRecord { stdout: data.stdout.text(), stderr: data.stderr.text(), ..self.outline(&data) }
    }

    /// The record without its output.
    pub fn summary(&self) -> JobRecord {
        self.outline(&lock(&self.data))
    }

    fn outline(&self, data: &Data) -> JobRecord {
        let run_time = || data.started.map(|s| data.finished.unwrap_or_else(Instant::now) - s);
        JobRecord {
            job_id: self.id.clone(),
            app_id: self.app_id.clone(),
            action_name: self.action.clone(),
            state: data.state,
            accepted_at: data.accepted_at.clone(),
            started_at: data.started_at.clone(),
            finished_at: data.finished_at.clone(),
            result: data.result.clone(),
            stdout: String::new(),
            stderr: String::new(),
            error: data.error.clone(),
            duration_ms: data
                .duration_ms
                .unwrap_or_else(|| run_time().unwrap_or_default().as_millis() as u64),
        }
    }

    /// When the job times out.
    pub fn deadline(&self) -> Option<Instant> {
        lock(&self.data).deadline
    }

    /// The work has begun. Without effect on a job that has begun or is over.
    pub fn start(&self) {
        let mut data = lock(&self.data);
        if data.state != JobState::Queued {
            return;
        }
        data.state = JobState::Running;
        data.started = Some(Instant::now());
        data.started_at = Some(timestamp());
        self.announce(&data);
    }

    /// The work is over. Without effect on a job that is over. An error of a stopped job is its end as `timeout` or
    /// `canceled`; a stopped job that succeeded nevertheless has succeeded.
    pub fn finish(&self, outcome: Result<Map<String, Value>, ContractError>) {
        let mut data = lock(&self.data);
        if data.state.is_terminal() {
            return;
        }
        let (state, error) = match (outcome, data.stop()) {
            (Ok(result), _) => {
                data.result = result;
                (JobState::Succeeded, None)
            }
            (Err(e), None) => (JobState::Failed, Some(e)),
            (Err(e), Some(Stop::TimedOut)) => (JobState::Timeout, Some(timed_out(&data, e))),
            (Err(e), Some(Stop::Canceled)) => (JobState::Canceled, Some(canceled(e))),
        };
        if let Some(mut error) = error {
            error.message = one_line(&error.message);
            if data.stderr.last_line() != Some(error.message.as_str()) {
                data.stderr.push(&error.message);
            }
            data.error = Some(error);
        }
        let now = Instant::now();
        let at = timestamp();
        data.started.get_or_insert(now);
        data.started_at.get_or_insert_with(|| at.clone());
        data.finished = Some(now);
        data.finished_at = Some(at);
        data.state = state;
        self.over(&data);
    }

    fn over(&self, data: &Data) {
        self.wake.notify_all();
        self.signals.send_modify(|s| s.finished = true);
        self.announce(data);
    }

    /// Asks the work to end; the first reason stays.
    pub fn request_stop(&self, why: Stop) {
        let mut data = lock(&self.data);
        if data.state.is_terminal() || data.stop.is_some() {
            return;
        }
        data.stop = Some(why);
        drop(data);
        self.wake.notify_all();
        self.signals.send_modify(|s| s.stop = Some(why));
    }

    /// Waits until somebody asks the work to end. Does not watch the deadline.
    pub async fn stop_requested(&self) -> Stop {
        let mut signals = self.signals.subscribe();
        let stop = signals.wait_for(|s| s.stop.is_some()).await.ok().and_then(|s| s.stop);
        stop.unwrap_or(Stop::Canceled)
    }

    /// Waits until the job is over.
    pub async fn finished(&self) {
        let _ = self.signals.subscribe().wait_for(|s| s.finished).await;
    }

    fn import(&self, record: JobRecord) {
        let mut data = lock(&self.data);
        if data.state.is_terminal() || record.state < data.state {
            return;
        }
        let news = record.state != data.state;
        let set = |out: &mut Output, text: &str| {
            *out = Output::default();
            if !text.is_empty() {
                out.push(text);
            }
        };
        set(&mut data.stdout, &record.stdout);
        set(&mut data.stderr, &record.stderr);
        if !record.accepted_at.is_empty() {
            data.accepted_at = record.accepted_at;
        }
        data.state = record.state;
        data.started_at = record.started_at;
        data.finished_at = record.finished_at;
        data.result = record.result;
        data.error = record.error;
        if data.started_at.is_some() && data.started.is_none() {
            data.started = Instant::now().checked_sub(Duration::from_millis(record.duration_ms));
        }
        let over = data.state.is_terminal();
        if over {
            data.finished = Some(Instant::now());
            data.duration_ms = Some(record.duration_ms);
        }
        if over {
            self.over(&data);
        } else if news {
            self.announce(&data);
        }
    }

    /// `job.changed`: the record without its output. Under the job's lock, so that states arrive in order.
    fn announce(&self, data: &Data) {
        if !self.bus.wanted(Topic::JobChanged) {
            return;
        }
        let record = self.outline(data);
        let Value::Object(mut more) = json!({
            "jobId": record.job_id,
            "actionName": record.action_name,
            "state": record.state,
            "acceptedAt": record.accepted_at,
            "startedAt": record.started_at,
            "finishedAt": record.finished_at,
            "durationMs": record.duration_ms,
        }) else {
            return;
        };
        more.insert("error".to_owned(), serde_json::to_value(&record.error).unwrap_or_default());
        self.bus.publish(Topic::JobChanged, &self.app_id, more);
    }
}

impl Job for JobHandle {
    fn id(&self) -> &str {
        &self.id
    }

    fn out(&self, line: &str) {
        let mut data = lock(&self.data);
        if !data.state.is_terminal() {
            data.stdout.push(line);
        }
    }

    fn warn(&self, line: &str) {
        let mut data = lock(&self.data);
        if !data.state.is_terminal() {
            data.stderr.push(line);
        }
    }

    fn stop(&self) -> Option<Stop> {
        lock(&self.data).stop()
    }

    fn sleep(&self, time: Duration) -> Result<(), Stop> {
        let until = Instant::now() + time;
        let mut data = lock(&self.data);
        loop {
            if let Some(stop) = data.stop() {
                return Err(stop);
            }
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            let next = data.deadline.map_or(until, |deadline| deadline.min(until));
            let wait = next.saturating_duration_since(now);
            data = self.wake.wait_timeout(data, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn timed_out(data: &Data, cause: ContractError) -> ContractError {
    let limit = data.deadline.map_or(0.0, |at| (at - data.accepted).as_secs_f64());
    let limit = (limit * 1000.0).round() / 1000.0;
    let plain = ContractError::from(Stop::TimedOut).message;
    let why = if cause.message == plain { String::new() } else { format!(": {}", cause.message) };
    ContractError {
        code: ErrorCode::ActionTimeout,
        message: format!("stopped after its timeout of {limit} s{why}"),
        details: cause.details,
    }
    .with("timeoutSeconds", limit)
}

fn canceled(cause: ContractError) -> ContractError {
    let details = cause.details;
    let mut error = ContractError { code: ErrorCode::ActionFailed, message: cause.message, details };
    error.details.entry("reason").or_insert_with(|| "canceled".into());
    error
}

/// Messages are read as the last line of `stderr`.
fn one_line(message: &str) -> String {
    if !message.contains(['\n', '\r']) {
        return message.to_owned();
    }
    message.split(['\n', '\r']).map(str::trim).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" | ")
}
