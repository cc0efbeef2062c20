//! A third-party app: starts its executable, speaks the contract on its standard input and output, and keeps its
//! jobs. Believes nothing it says before `third_party` has looked at it; knows no app in particular.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use hilrig_contract::{
    ActionDescriptor, AppInfo, ConfigSet, ConfigView, ContractError, INTERFACE_NAME, INTERFACE_VERSION,
    Invoked, Job, JobRecord, JobState, Ping, Status, Stop, Topic,
};
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::apps_file::{Declared, Launch};
use crate::events::lock;
use crate::local::blocking;
use crate::peer::{Peer, PeerError, Unasked, shorten};
use crate::process::Process;
use crate::supervisor::params;
use crate::third_party::{self, Taken};
use crate::watch::status_event;
use crate::{Answer, Backend, Bus, Invoke, JobHandle, Jobs, LogTail, Logbook, Root};

/// Time for the app to answer.
const ANSWER: Duration = Duration::from_secs(8);
/// A new process for an app whose last one ended is started at most this often.
const START_EVERY: Duration = Duration::from_secs(1);
/// How often a job is looked at: quickly at first, then at the pace of a console.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// How often the status is looked at while somebody wants to hear of changes.
const STATUS: Duration = Duration::from_secs(1);
/// Time for a job to end after it was told to.
const END_JOB: Duration = Duration::from_secs(2);
/// Time for the app to end after the end of its input, and again after SIGTERM.
const END_APP: Duration = Duration::from_secs(2);
/// Longest line of its standard error that is kept whole.
const MAX_LINE: usize = 4096;

/// A third-party app in the daemon.
pub(crate) struct StdioApp {
    id: String,
    title: String,
    launch: Result<Launch, String>,
    root: Root,
    bus: Arc<Bus>,
    logbook: Arc<Logbook>,
    jobs: Arc<Jobs>,
    /// Held while the process is started.
    starting: tokio::sync::Mutex<Option<Instant>>,
    process: Mutex<Option<Arc<Running>>>,
    known: Mutex<Known>,
    stopping: watch::Sender<bool>,
    me: Weak<Self>,
}

#[derive(Debug, Default)]
struct Known {
    status: Option<Status>,
    /// Why the last process ended, until the next one answers.
    trouble: String,
    /// The last line of its standard error.
    last_words: String,
}

/// A process of the app that has answered `ping`.
#[derive(Debug)]
struct Running {
    process: Process,
    peer: Peer,
    /// Why it ended, once it has.
    ended: watch::Sender<Option<String>>,
}

impl Running {
    async fn ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| "its process is gone".to_owned())
    }
}

impl std::fmt::Debug for StdioApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdioApp").field("id", &self.id).field("launch", &self.launch).finish_non_exhaustive()
    }
}

impl StdioApp {
    /// Starts nothing yet. Needs a tokio runtime.
    pub(crate) fn new(root: &Root, app: Declared, bus: &Arc<Bus>, logbook: &Arc<Logbook>) -> Arc<Self> {
        let known =
            Known { trouble: app.launch.as_ref().err().cloned().unwrap_or_default(), ..Known::default() };
        let app = Arc::new_cyclic(|me| Self {
            jobs: Jobs::new(&app.id, Arc::clone(bus)),
            id: app.id,
            title: app.title,
            launch: app.launch,
            root: root.clone(),
            bus: Arc::clone(bus),
            logbook: Arc::clone(logbook),
            starting: tokio::sync::Mutex::default(),
            process: Mutex::default(),
            known: Mutex::new(known),
            stopping: watch::Sender::new(false),
            me: Weak::clone(me),
        });
        tokio::spawn(watch_status(Weak::clone(&app.me), Arc::clone(bus)));
        app
    }

    fn params(&self, more: Value) -> Map<String, Value> {
        let mut all = params(more);
        all.insert("appId".to_owned(), self.id.as_str().into());
        all
    }

    fn trouble(&self, what: &str) -> ContractError {
        ContractError::internal(format!("app {}: {what}", self.id)).with("reason", "appUnavailable")
    }

    fn alive(&self) -> Option<Arc<Running>> {
        lock(&self.process).clone()
    }

    /// The process of the app; starts it if there is none.
    async fn running(&self) -> Result<Arc<Running>, ContractError> {
        let launch = self.launch.as_ref().map_err(|why| self.trouble(why))?;
        if let Some(running) = self.alive() {
            return Ok(running);
        }
        let mut last_start = self.starting.lock().await;
        if let Some(running) = self.alive() {
            return Ok(running);
        }
        if *self.stopping.borrow() {
            return Err(self.trouble("the daemon is stopping"));
        }
        if last_start.is_some_and(|at| at.elapsed() < START_EVERY) {
            let trouble = lock(&self.known).trouble.clone();
            return Err(self.trouble(&format!("{trouble}; it can be started again in a second")));
        }
        *last_start = Some(Instant::now());
        match self.start(launch).await {
            Ok(running) => Ok(running),
            Err(why) => {
                self.logbook.write(&self.id, "ERROR", &why);
                lock(&self.known).trouble.clone_from(&why);
                Err(self.trouble(&why))
            }
        }
    }

    async fn start(&self, launch: &Launch) -> Result<Arc<Running>, String> {
        let cannot = |e: std::io::Error| format!("{} cannot be started: {e}", launch.program.display());
        // In a group of its own: out of reach of a terminal's Ctrl-C, and what it starts ends with it.
        let mut child = Command::new(&launch.program)
            .args(&launch.args)
            .current_dir(&launch.cwd)
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Process::of_group(child).map_err(cannot)?;
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err("it has no pipes".to_owned());
        };
        let stdin = ChildStdin::from_std(stdin).map_err(cannot)?;
        let stdout = ChildStdout::from_std(stdout).map_err(cannot)?;
        let stderr = ChildStderr::from_std(stderr).map_err(cannot)?;
        lock(&self.known).last_words.clear();
        tokio::spawn(keep_words(Weak::clone(&self.me), stderr));
        let (peer, unasked) = Peer::start(stdout, stdin);
        tokio::spawn(keep_noise(Weak::clone(&self.me), unasked));
        let running = Arc::new(Running { process, peer, ended: watch::Sender::new(None) });
        let checked = tokio::select! {
            checked = running.peer.ask::<Ping>("ping", Map::new(), ANSWER) => checked,
            exit = running.process.exited() => {
                // What it wrote last comes through another pipe.
                sleep(Duration::from_millis(50)).await;
                return Err(self.with_last_words(format!("its process {exit} before it answered")));
            }
        };
        let wrong = match checked {
            Ok(p)
                if p.pong
                    && p.interface_name == INTERFACE_NAME
                    && p.interface_version == INTERFACE_VERSION =>
            {
                None
            }
            Ok(p) => Some(format!(
                "it speaks {} {}, not {INTERFACE_NAME} {INTERFACE_VERSION}",
                shorten(&p.interface_name),
                p.interface_version
            )),
            Err(error) => Some(self.with_last_words(format!("it cannot be talked to: {error}"))),
        };
        if let Some(wrong) = wrong {
            running.process.kill().await;
            return Err(wrong);
        }
        let pid = running.process.pid();
        self.logbook.write(&self.id, "INFO", &format!("started as process {pid}"));
        lock(&self.known).trouble.clear();
        *lock(&self.process) = Some(Arc::clone(&running));
        tokio::spawn(watch_end(Weak::clone(&self.me), Arc::clone(&running)));
        Ok(running)
    }

    fn with_last_words(&self, what: String) -> String {
        let words = lock(&self.known).last_words.clone();
        if words.is_empty() { what } else { format!("{what}: {words}") }
    }

    /// Asks the app, and takes the answer only if it is of the contract.
    async fn ask<T>(
        &self,
        method: &str,
        more: Value,
        take: impl FnOnce(Value) -> Taken<T>,
    ) -> Result<T, ContractError> {
        let running = self.running().await?;
        self.ask_process(&running, method, more, take).await
    }

    async fn ask_process<T>(
        &self,
        running: &Running,
        method: &str,
        more: Value,
        take: impl FnOnce(Value) -> Taken<T>,
    ) -> Result<T, ContractError> {
        match running.peer.request(method, self.params(more), ANSWER).await {
            Ok(answer) => take(answer)
                .map_err(|why| self.trouble(&format!("its answer to {method} is not usable: {why}"))),
            Err(PeerError::Refused(error)) => Err(error),
            Err(PeerError::Closed(why)) => {
                let why = timeout(END_APP, running.ended()).await.unwrap_or(why);
                Err(self.trouble(&why))
            }
            Err(error) => Err(self.trouble(&error.to_string())),
        }
    }

    async fn ask_status(&self) -> Status {
        let asked = async {
            let running = self.running().await?;
            let pid = running.process.pid();
            let take = |answer| third_party::status(&self.id, &self.title, pid, answer);
            self.ask_process(&running, "status.get", json!({}), take).await
        };
        match asked.await {
            Ok(status) => {
                lock(&self.known).status = Some(status.clone());
                status
            }
            Err(error) => {
                let host_pid = self.alive().map(|running| running.process.pid());
                let last = lock(&self.known).status.clone();
                Status { error: error.message, ..last.unwrap_or_else(|| self.stopped(host_pid)) }
            }
        }
    }

    fn stopped(&self, host_pid: Option<u32>) -> Status {
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
            error: lock(&self.known).trouble.clone(),
            more: Map::from_iter([(
                "logPath".to_owned(),
                Value::String(self.root.log_file(&self.id).to_string_lossy().into_owned()),
            )]),
        }
    }

    /// Tells subscribers of `status` if it differs from `before` in what every app has.
    fn tell_change(&self, before: Option<&Status>, status: &Status) {
        let key = |s: &Status| (s.running, s.pid, s.host_pid, s.boot_id.clone(), s.error.clone());
        if before.map(key) != Some(key(status)) {
            self.bus.publish(Topic::StatusChanged, &self.id, status_event(status));
        }
    }

    /// Looks at the status of a process that runs; starts none.
    async fn look(&self) {
        if self.alive().is_some() {
            let before = lock(&self.known).status.clone();
            let status = self.ask_status().await;
            self.tell_change(before.as_ref(), &status);
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
        let failed = |e: ContractError| ContractError { code: hilrig_contract::ErrorCode::ActionFailed, ..e };
        let running = self.running().await.map_err(failed)?;
        let mut request = json!({"actionName": job.action(), "args": invoke.args});
        if let Some(seconds) = invoke.timeout_seconds {
            request["timeoutSeconds"] = json!(seconds);
        }
        let id = self.ask_process(&running, "action.invoke", request, third_party::job_id).await?;
        Ok((running, id))
    }

    /// Looks at a job of the app until it is over, and makes its limit hold.
    async fn follow(&self, job: &Arc<JobHandle>, running: &Running, id: &str) {
        let mut pace = POLL.0;
        let mut told: Option<(Stop, Instant)> = None;
        loop {
            let accepted = job.invoked().accepted_at;
            let take = |answer| third_party::job(job.id(), &self.id, job.action(), &accepted, answer);
            match self.ask_process(running, "action.job.get", json!({"jobId": id}), take).await {
                Ok(record) if record.state.is_terminal() && told.is_some() => {
                    return self.finish_stopped(job, record);
                }
                Ok(record) => {
                    let _ = self.jobs.import(record);
                }
                Err(error) => {
                    job.finish(Err(ContractError::failed(error.message).with("reason", "appFailed")))
                }
            }
            if job.state().is_terminal() {
                return;
            }
            match (job.stop(), &told) {
                (Some(stop), None) => {
                    told = Some((stop, Instant::now()));
                    pace = POLL.0;
                    let cancel = self.params(json!({"jobId": id}));
                    if let Err(error) = running.peer.request("action.job.cancel", cancel, END_JOB).await {
                        job.warn(&format!("the app does not cancel: {error}"));
                    }
                }
                (_, Some((stop, since))) if since.elapsed() > END_JOB && *stop == Stop::TimedOut => {
                    // Its limit is kept, whatever it takes.
                    running.process.kill().await;
                    let why = "the action went on after its time was over, so the app was killed";
                    job.request_stop(Stop::TimedOut);
                    return job.finish(Err(ContractError::failed(why).with("reason", "appKilled")));
                }
                (Some(Stop::Canceled), Some(_))
                    if job.deadline().is_some_and(|d| d <= std::time::Instant::now()) =>
                {
                    told = Some((Stop::TimedOut, Instant::now()));
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

    /// The end of a job that was told to end: its outcome is ours to name.
    fn finish_stopped(&self, job: &JobHandle, record: JobRecord) {
        for line in record.stdout.lines() {
            job.out(line);
        }
        match (record.state, record.error) {
            (JobState::Succeeded, _) | (_, None) => job.finish(Ok(record.result)),
            (_, Some(error)) => job.finish(Err(error)),
        }
    }

    /// Ends the app: by the end of its input, then by SIGTERM, then by SIGKILL.
    pub(crate) async fn stop(&self) {
        self.stopping.send_replace(true);
        let _starting = self.starting.lock().await;
        let Some(running) = self.alive() else { return };
        running.peer.finish();
        if timeout(END_APP, running.process.exited()).await.is_err() {
            running.process.stop(END_APP).await;
        }
        let _ = timeout(END_APP, running.ended()).await;
    }

    /// Ends the app at once.
    pub(crate) fn kill(&self) {
        self.stopping.send_replace(true);
        if let Some(running) = self.alive() {
            running.process.signal_group(Signal::KILL);
        }
    }
}

/// Tells of the end of a process, once.
async fn watch_end(app: Weak<StdioApp>, running: Arc<Running>) {
    let how = tokio::select! {
        exit = running.process.exited() => exit.to_string(),
        why = running.peer.closed() => match timeout(Duration::from_secs(1), running.process.exited()).await {
            Ok(exit) => exit.to_string(),
            Err(_) if app.upgrade().is_some_and(|app| *app.stopping.borrow()) => {
                running.process.exited().await.to_string()
            }
            Err(_) => {
                running.process.kill().await;
                format!("could not be talked to any more ({why}) and was killed")
            }
        },
    };
    let Some(app) = app.upgrade() else { return };
    // What it wrote last comes through another pipe.
    sleep(Duration::from_millis(20)).await;
    let reason = app.with_last_words(format!("its process (pid {}) {how}", running.process.pid()));
    let planned = *app.stopping.borrow();
    if !planned {
        app.logbook.write(&app.id, "ERROR", &reason);
        lock(&app.known).trouble.clone_from(&reason);
    }
    lock(&app.process).take();
    let before = lock(&app.known).status.take();
    running.ended.send_replace(Some(reason));
    app.tell_change(before.as_ref(), &app.stopped(None));
}

/// Takes the app's standard error into its log.
async fn keep_words(app: Weak<StdioApp>, stderr: ChildStderr) {
    let mut stderr = BufReader::with_capacity(MAX_LINE, stderr);
    let mut line = vec![];
    loop {
        // A line longer than the buffer becomes several.
        let (taken, whole) = match stderr.fill_buf().await {
            Ok([]) | Err(_) => (0, true),
            Ok(part) => {
                let end = part.iter().position(|b| *b == b'\n');
                let taken = end.map_or(part.len(), |end| end + 1);
                line.extend_from_slice(&part[..taken]);
                (taken, end.is_some() || line.len() >= MAX_LINE)
            }
        };
        stderr.consume(taken);
        if whole {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            let Some(app) = app.upgrade() else { return };
            if !text.is_empty() {
                app.logbook.write(&app.id, "INFO", text);
                lock(&app.known).last_words = shorten(text);
            }
            line.clear();
        }
        if taken == 0 {
            return;
        }
    }
}

/// Takes into the app's log what is not of the contract on its standard output.
async fn keep_noise(app: Weak<StdioApp>, mut unasked: mpsc::Receiver<Unasked>) {
    while let Some(news) = unasked.recv().await {
        let Some(app) = app.upgrade() else { return };
        if let Unasked::Noise(line) = news {
            app.logbook.write(
                &app.id,
                "WARN",
                &format!("not of the contract on its standard output: {line}"),
            );
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
            self.launch.as_ref().map_err(|why| ContractError::failed(format!("app {}: {why}", self.id)))?;
            let limit = invoke.timeout_seconds.unwrap_or(third_party::DEFAULT_LIMIT);
            let limit = Duration::try_from_secs_f64(limit).unwrap_or(Duration::from_secs(86_400));
            let job = self.jobs.accept(&invoke.action, limit, invoke.job_id.clone())?;
            let invoked = job.invoked();
            match self.me.upgrade() {
                Some(me) => drop(tokio::spawn(me.carry(job, invoke))),
                None => job.finish(Err(self.trouble("the daemon is stopping"))),
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
