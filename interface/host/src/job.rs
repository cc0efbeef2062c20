//! One job: a record that only moves forward, its output, and the request to stop it. Knows no other job.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hilrig_contract::{ContractError, ErrorCode, Invoked, Job, JobRecord, JobState, Stop, Topic, timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::events::{Bus, lock};
use crate::output::Output;

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
    fn stop(&self) -> Option<Stop> {
        self.stop.or_else(|| self.deadline.filter(|at| Instant::now() >= *at).map(|_| Stop::TimedOut))
    }
}

impl JobHandle {
    /// A queued job.
    pub(crate) fn new(
        id: String,
        app_id: &str,
        action: &str,
        deadline: Option<Instant>,
        bus: &Arc<Bus>,
    ) -> Arc<Self> {
        let data = Data {
            state: JobState::Queued,
            accepted: Instant::now(),
            accepted_at: timestamp(),
            deadline,
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
        };
        Arc::new(Self {
            id,
            app_id: app_id.to_owned(),
            action: action.to_owned(),
            bus: Arc::clone(bus),
            data: Mutex::new(data),
            wake: Condvar::new(),
            signals: watch::Sender::new(Signals::default()),
        })
    }

    /// Tells that the job is there.
    pub(crate) fn accepted(&self) {
        self.announce(&lock(&self.data));
    }

    /// Since when the job is over.
    pub(crate) fn finished_since(&self) -> Option<Instant> {
        lock(&self.data).finished
    }

    /// Bytes of output held.
    pub(crate) fn output_bytes(&self) -> usize {
        let data = lock(&self.data);
        data.stdout.bytes() + data.stderr.bytes()
    }

    /// Keeps only the end of the output.
    pub(crate) fn trim_output(&self, limit: usize) {
        let mut data = lock(&self.data);
        data.stdout.trim(limit);
        data.stderr.trim(limit);
    }

    pub fn app_id(&self) -> &str {
        &self.app_id
    }

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

    pub(crate) fn import(&self, record: JobRecord) {
        let mut data = lock(&self.data);
        if data.state.is_terminal() || record.state < data.state {
            return;
        }
        let news = record.state != data.state;
        data.stdout = Output::restore(&record.stdout);
        data.stderr = Output::restore(&record.stderr);
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
