//! The process of a third-party app: started when it is needed and not too often, checked by `ping`, its noise taken
//! into the app's log, its end told with the reason. Knows the contract's `ping` and nothing else of it.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use hilrig_contract::{ContractError, INTERFACE_NAME, INTERFACE_VERSION, Ping};
use rustix::process::Signal;
use serde_json::Map;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::Logbook;
use crate::apps_file::Launch;
use crate::events::lock;
use crate::peer::{Peer, PeerError, REPLY_OF_STRANGER, Unasked, shorten};
use crate::process::Process;

/// Time for the app to answer: known consoles give up on us after 8 s, and a first answer can take two of these.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);
/// A new process for an app whose last one ended is started at most this often.
const START_EVERY: Duration = Duration::from_secs(1);
/// Time for the app to end after the end of its input, and again after SIGTERM.
pub(crate) const END: Duration = Duration::from_secs(2);
/// Time for what a process wrote last to come through its pipes after its end.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Lines of the app that its log takes in a second.
const LINES_A_SECOND: u32 = 200;
/// Longest line of its standard error that is kept whole.
const MAX_LINE: usize = 4096;

/// The process of one app, whether or not it runs.
pub(crate) struct StdioProcess {
    id: String,
    launch: Result<Launch, String>,
    logbook: Arc<Logbook>,
    /// When the last attempt to start one was over. Held during one.
    tried: tokio::sync::Mutex<Option<Instant>>,
    /// The one that runs.
    alive: watch::Sender<Option<Arc<Running>>>,
    trouble: Mutex<String>,
    last_words: Mutex<String>,
    stopping: watch::Sender<bool>,
    me: Weak<Self>,
}

/// A process that has answered `ping`.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    pub(crate) peer: Peer,
    /// Why it ended, once it has.
    ended: watch::Sender<Option<String>>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for the end of the process and says why it ended.
    pub(crate) async fn ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| "its process is gone".to_owned())
    }

    /// Ends the process and all that it started, at once.
    pub(crate) async fn kill(&self) {
        self.process.kill().await;
    }
}

impl StdioProcess {
    /// Starts nothing yet.
    pub(crate) fn new(id: &str, launch: Result<Launch, String>, logbook: &Arc<Logbook>) -> Arc<Self> {
        let trouble = Mutex::new(launch.as_ref().err().cloned().unwrap_or_default());
        Arc::new_cyclic(|me| Self {
            id: id.to_owned(),
            launch,
            logbook: Arc::clone(logbook),
            tried: tokio::sync::Mutex::default(),
            alive: watch::Sender::new(None),
            trouble,
            last_words: Mutex::default(),
            stopping: watch::Sender::new(false),
            me: Weak::clone(me),
        })
    }

    /// Why there is no process, if that is not as it should be.
    pub(crate) fn trouble(&self) -> String {
        lock(&self.trouble).clone()
    }

    /// Why it can never be started.
    pub(crate) fn unusable(&self) -> Option<ContractError> {
        self.launch.as_ref().err().map(|why| ContractError::failed(why).with("reason", "appUnavailable"))
    }

    /// `E_INTERNAL` that names the app.
    pub(crate) fn error(&self, what: &str) -> ContractError {
        ContractError::internal(format!("app {}: {what}", self.id)).with("reason", "appUnavailable")
    }

    /// The process that runs, and those that will, and their ends.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<Running>>> {
        self.alive.subscribe()
    }

    pub(crate) fn alive(&self) -> Option<Arc<Running>> {
        self.alive.borrow().clone()
    }

    /// The process of the app; starts it if there is none.
    pub(crate) async fn running(&self) -> Result<Arc<Running>, ContractError> {
        let launch = self.launch.as_ref().map_err(|why| self.error(why))?;
        if let Some(running) = self.alive() {
            return Ok(running);
        }
        let asked = Instant::now();
        let mut tried = self.tried.lock().await;
        if let Some(running) = self.alive() {
            return Ok(running);
        }
        if *self.stopping.borrow() {
            return Err(self.error("the daemon is stopping"));
        }
        match *tried {
            // Somebody else's attempt failed while this one waited for it: one wait is enough.
            Some(at) if at >= asked => return Err(self.error(&self.trouble())),
            Some(at) if at.elapsed() < START_EVERY => {
                let trouble = self.trouble();
                return Err(self.error(&format!("{trouble}; it can be started again in a second")));
            }
            _ => {}
        }
        let started = self.start(launch).await;
        *tried = Some(Instant::now());
        started.map_err(|why| {
            self.logbook.write(&self.id, "ERROR", &why);
            lock(&self.trouble).clone_from(&why);
            self.error(&why)
        })
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
        lock(&self.last_words).clear();
        tokio::spawn(keep_words(Weak::clone(&self.me), stderr));
        let (peer, unasked) = Peer::start(stdout, stdin, REPLY_OF_STRANGER);
        tokio::spawn(keep_noise(Weak::clone(&self.me), unasked));
        let running = Arc::new(Running { process, peer, ended: watch::Sender::new(None) });
        let exit = tokio::select! {
            exit = running.process.exited() => Ok(exit),
            answer = running.peer.ask::<Ping>("ping", Map::new(), ANSWER) => Err(answer),
        };
        let exit = match exit {
            // The end of its output is the end of the process, most likely.
            Err(Err(PeerError::Closed(why))) => {
                let exit = timeout(END, running.process.exited()).await;
                exit.map_err(|_| Err(PeerError::Closed(why)))
            }
            other => other,
        };
        let answer = match exit {
            Ok(exit) => {
                sleep(LAST_WORDS).await;
                return Err(self.with_last_words(format!("its process {exit} before it answered")));
            }
            Err(answer) => answer,
        };
        let wrong = match answer {
            Ok(p)
                if !p.pong
                    || p.interface_name != INTERFACE_NAME
                    || p.interface_version != INTERFACE_VERSION =>
            {
                let spoken = format!("{} {}", shorten(&p.interface_name), p.interface_version);
                Some(format!("it speaks {spoken}, not {INTERFACE_NAME} {INTERFACE_VERSION}"))
            }
            Ok(_) => None,
            Err(error) => Some(self.with_last_words(format!("it cannot be talked to: {error}"))),
        };
        if let Some(wrong) = wrong {
            running.kill().await;
            return Err(wrong);
        }
        self.logbook.write(&self.id, "INFO", &format!("started as process {}", running.pid()));
        lock(&self.trouble).clear();
        self.alive.send_replace(Some(Arc::clone(&running)));
        tokio::spawn(watch_end(Weak::clone(&self.me), Arc::clone(&running)));
        Ok(running)
    }

    fn with_last_words(&self, what: String) -> String {
        let words = lock(&self.last_words);
        if words.is_empty() { what } else { format!("{what}: {words}") }
    }

    /// Ends the process: by the end of its input, then by SIGTERM, then by SIGKILL. Starts none from now on.
    pub(crate) async fn stop(&self) {
        self.stopping.send_replace(true);
        let _tried = self.tried.lock().await;
        let Some(running) = self.alive() else { return };
        running.peer.finish();
        if timeout(END, running.process.exited()).await.is_err() {
            running.process.stop(END).await;
        }
        let _ = timeout(END, running.ended()).await;
    }

    /// Ends the process at once. Starts none from now on.
    pub(crate) fn kill_now(&self) {
        self.stopping.send_replace(true);
        if let Some(running) = self.alive() {
            running.process.signal_group(Signal::KILL);
        }
    }
}

impl std::fmt::Debug for StdioProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdioProcess")
            .field("id", &self.id)
            .field("launch", &self.launch)
            .finish_non_exhaustive()
    }
}

/// Tells of the end of a process, once.
async fn watch_end(app: Weak<StdioProcess>, running: Arc<Running>) {
    let how = tokio::select! {
        exit = running.process.exited() => exit.to_string(),
        why = running.peer.closed() => match timeout(END * 3, running.process.exited()).await {
            Ok(exit) => exit.to_string(),
            Err(_) => {
                running.kill().await;
                format!("could not be talked to any more ({why}) and was killed")
            }
        },
    };
    sleep(LAST_WORDS).await;
    let Some(app) = app.upgrade() else { return };
    let reason = app.with_last_words(format!("its process (pid {}) {how}", running.pid()));
    if !*app.stopping.borrow() {
        app.logbook.write(&app.id, "ERROR", &reason);
        lock(&app.trouble).clone_from(&reason);
    }
    app.alive.send_replace(None);
    running.ended.send_replace(Some(reason));
}

/// Takes the app's standard error into its log.
async fn keep_words(app: Weak<StdioProcess>, stderr: ChildStderr) {
    let mut stderr = BufReader::with_capacity(MAX_LINE, stderr);
    let mut line = vec![];
    let mut budget = Budget::default();
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
                budget.write(&app, "INFO", text);
                *lock(&app.last_words) = shorten(text);
            }
            line.clear();
        }
        if taken == 0 {
            return;
        }
    }
}

/// Takes into the app's log what is not of the contract on its standard output.
async fn keep_noise(app: Weak<StdioProcess>, mut unasked: mpsc::Receiver<Unasked>) {
    let mut budget = Budget::default();
    while let Some(news) = unasked.recv().await {
        let Some(app) = app.upgrade() else { return };
        if let Unasked::Noise(line) = news {
            budget.write(&app, "WARN", &format!("not of the contract on its standard output: {line}"));
        }
    }
}

/// Keeps a chatterbox from filling the log: so many lines a second, the others are counted.
struct Budget {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { since: Instant::now(), lines: 0, left_out: 0 }
    }
}

impl Budget {
    fn write(&mut self, app: &StdioProcess, level: &str, text: &str) {
        if self.since.elapsed() > Duration::from_secs(1) {
            if self.left_out > 0 {
                app.logbook.write(&app.id, "WARN", &format!("{} lines were left out here", self.left_out));
            }
            *self = Self::default();
        }
        if self.lines < LINES_A_SECOND {
            self.lines += 1;
            app.logbook.write(&app.id, level, text);
        } else {
            self.left_out += 1;
        }
    }
}
