//! What an app implements. An app knows nothing of bindings, files, other processes or async.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::{ActionDescriptor, Args, ConfigKey, ConfigSection, ConfigTree, ContractError, ErrorCode, Topic};

/// What is known of an app without running it. The daemon answers `config.*` and `action.list` from this alone.
#[derive(Debug, Clone)]
pub struct AppSpec {
    /// `appId` on the wire.
    pub id: &'static str,
    /// `appTitle` on the wire.
    pub title: &'static str,
    /// The host process that runs it: several apps may share one.
    pub host: &'static str,
    /// A role inside a shared host process: `processModel` and `roleAppId` in its status.
    pub hosted_role: bool,
    pub config: Vec<ConfigKey>,
    /// Named tables of the config file beside the keys; most apps have none.
    pub sections: Vec<ConfigSection>,
    pub actions: Vec<ActionDescriptor>,
}

/// Identity of a run; `bootId` on the wire is `appId:pid:nonce`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIdentity {
    /// Process that carries the run.
    pub pid: u32,
    /// Differs between any two runs.
    pub nonce: String,
}

impl RunIdentity {
    /// Identity of a run that starts now in this process.
    pub fn new() -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let n = RUNS.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { pid: std::process::id(), nonce: format!("{:x}-{n}", now.as_nanos() as u64) }
    }
}

impl Default for RunIdentity {
    fn default() -> Self {
        Self::new()
    }
}

/// A snapshot of an app.
#[derive(Debug, Clone, Default)]
pub struct AppStatus {
    /// `None` when stopped.
    pub run: Option<RunIdentity>,
    /// Why the last run ended against its will or does not work now; `""` when there is nothing to say.
    pub error: String,
    /// App-specific keys whose change is worth a `status.changed`: states, ports, verdicts. Flat scalars,
    /// flat objects or arrays of flat objects, since consoles render no deeper.
    pub fields: Map<String, Value>,
    /// App-specific keys that change all the time: counters, rates, percentiles. In `status.get` beside the
    /// others, and in `metrics` events.
    pub metrics: Map<String, Value>,
}

/// Where an app publishes events of its own topics. Waits for nobody.
pub trait Publisher: Send + Sync {
    /// Whether anybody subscribes to `topic`; ask before making an event.
    fn wanted(&self, topic: Topic) -> bool;

    /// `more` are the topic's own keys.
    fn publish(&self, topic: Topic, more: Map<String, Value>);
}

/// One part of the system behind the contract.
///
/// `status` must return at once and never wait for an action. `invoke` runs on a thread of its own, may block,
/// and must wait only through [`Job::sleep`] or in steps short enough to look at [`Job::stop`] every 50 ms.
pub trait App: Send + Sync {
    fn spec(&self) -> &AppSpec;

    fn status(&self) -> AppStatus;

    /// Runs one action to its end.
    ///
    /// # Errors
    /// The reason for an operator. A failed or stopped action leaves nothing behind: no port, link, thread.
    fn invoke(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError>;

    /// Stops the run, if any, in order. Called once before the process ends; takes at most `deadline`.
    fn shutdown(&self, deadline: Duration);

    /// Called once, before any action. An app without events of its own does nothing with it.
    fn publish_to(&self, publisher: Arc<dyn Publisher>) {
        drop(publisher);
    }
}

/// One invocation.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub action: &'a str,
    pub args: &'a Args,
    /// The effective configuration, read and checked just before.
    pub config: &'a ConfigTree,
    /// Root directory of the installation.
    pub root: &'a Path,
    pub job: &'a dyn Job,
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("action", &self.action).field("args", &self.args).finish_non_exhaustive()
    }
}

/// Why an action has to end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Canceled,
    TimedOut,
}

impl From<Stop> for ContractError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Canceled => Self::failed("canceled").with("reason", "canceled"),
            Stop::TimedOut => Self::new(ErrorCode::ActionTimeout, "timed out"),
        }
    }
}

/// What an action sees of the job that carries it.
pub trait Job: Sync {
    fn id(&self) -> &str;
    /// A line of progress or result for people.
    fn out(&self, line: &str);
    /// A line of warning for people.
    fn warn(&self, line: &str);
    /// Whether the action has to end now, and why.
    fn stop(&self) -> Option<Stop>;
    /// Waits for `time`, or until the action has to end.
    ///
    /// # Errors
    /// The reason to end; return it with `?`.
    fn sleep(&self, time: Duration) -> Result<(), Stop>;
}
