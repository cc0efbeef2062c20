//! Payloads as they travel. All keys are camelCase; timestamps are `YYYY-MM-DDTHH:MM:SSZ`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ActionDescriptor, ContractError};

/// The time now, in the contract's format.
pub fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Response of `ping`: exactly these keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ping {
    pub pong: bool,
    pub interface_name: String,
    pub interface_version: u64,
}

/// The keys every `status.get` response has; app-specific keys stand beside them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub interface_name: String,
    pub interface_version: u64,
    pub app_id: String,
    pub app_title: String,
    pub running: bool,
    /// Process of the app's run; `null` when stopped.
    pub pid: Option<u32>,
    pub host_running: bool,
    /// The host process, also when no run is up.
    pub host_pid: Option<u32>,
    /// `appId:pid:nonce` while running, else `""`.
    pub boot_id: String,
    pub error: String,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One row of `config.get`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigEntry {
    pub key: String,
    /// The effective value: the file's, or the default.
    pub value: Value,
    pub settable: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub allowed: Vec<String>,
    /// `bool`, `int`, `float` or `string`.
    pub value_type: String,
    /// `int a..b` or an anchored pattern.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub constraint: Option<String>,
    /// Key in `paths` of the file the value comes from.
    pub file_key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
    pub default: Value,
    /// `file` or `default`.
    pub source: String,
}

/// One file an app's config comes from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigPath {
    pub key: String,
    pub value: String,
}

/// Response of `config.get`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigView {
    pub repo_root: String,
    pub valid: bool,
    /// `file:line:column: what is wrong` each.
    pub errors: Vec<String>,
    pub entries: Vec<ConfigEntry>,
    pub paths: Vec<ConfigPath>,
    pub config_tree: Map<String, Value>,
    /// Changes with every change of the file; `expectedRevision` of `config.set` takes it.
    pub revision: String,
}

/// Response of `config.set`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSet {
    pub changed: bool,
    pub file_path: String,
    pub restart_required: bool,
    pub pid_at_set: Option<u32>,
    pub message: String,
    pub revision: String,
}

/// Response of `action.list`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ActionList {
    pub actions: Vec<ActionDescriptor>,
}

/// State of a job; it only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Timeout,
    Canceled,
}

impl JobState {
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
        }
    }
}

/// Response of `action.invoke`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invoked {
    pub job_id: String,
    pub state: JobState,
    pub accepted_at: String,
}

/// Response of `action.job.get`, and the terminal answer of `action.run`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    pub job_id: String,
    #[serde(default)]
    pub app_id: String,
    #[serde(default)]
    pub action_name: String,
    pub state: JobState,
    #[serde(default)]
    pub accepted_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub result: Map<String, Value>,
    pub stdout: String,
    /// Its last line is the reason, when the job did not succeed.
    pub stderr: String,
    /// `null` exactly when the job succeeded or is not over.
    pub error: Option<ContractError>,
    /// Run time so far, or in total.
    #[serde(default)]
    pub duration_ms: u64,
}

/// Topics of `events.subscribe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Topic {
    #[serde(rename = "status.changed")]
    StatusChanged,
    #[serde(rename = "job.changed")]
    JobChanged,
    #[serde(rename = "log")]
    Log,
    #[serde(rename = "metrics")]
    Metrics,
    /// Values of points, those that changed since the last such event.
    #[serde(rename = "point.changed")]
    PointChanged,
    /// A fault rule has fired.
    #[serde(rename = "fault.fired")]
    FaultFired,
    /// Frames as a line carried them.
    #[serde(rename = "frame")]
    Frame,
    /// Error counters of a line have grown.
    #[serde(rename = "line.error")]
    LineError,
    /// How late deadlines were met in the last second.
    #[serde(rename = "timing")]
    Timing,
}

impl Topic {
    pub const ALL: [Self; 9] = [
        Self::StatusChanged,
        Self::JobChanged,
        Self::Log,
        Self::Metrics,
        Self::PointChanged,
        Self::FaultFired,
        Self::Frame,
        Self::LineError,
        Self::Timing,
    ];

    /// Made only while somebody subscribes to them.
    pub const ON_DEMAND: [Self; 6] =
        [Self::Metrics, Self::PointChanged, Self::FaultFired, Self::Frame, Self::LineError, Self::Timing];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::StatusChanged => "status.changed",
            Self::JobChanged => "job.changed",
            Self::Log => "log",
            Self::Metrics => "metrics",
            Self::PointChanged => "point.changed",
            Self::FaultFired => "fault.fired",
            Self::Frame => "frame",
            Self::LineError => "line.error",
            Self::Timing => "timing",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == name)
    }
}

/// A pushed line. `params` always has `appId`, `seq`, `ts` and `dropped` beside the topic's own keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub event: Topic,
    pub params: EventParams,
}

/// What every event carries.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventParams {
    pub app_id: String,
    /// Counts the events meant for this subscriber; a gap is what was dropped.
    pub seq: u64,
    pub ts: String,
    /// Events dropped so far because this subscriber did not read fast enough.
    pub dropped: u64,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One row of `app.list`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppInfo {
    pub app_id: String,
    pub app_title: String,
    /// `built-in` or `third-party`.
    pub kind: String,
    pub host: String,
    pub running: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_states_move_forward_in_order() {
        assert!(JobState::Queued < JobState::Running);
        assert!(!JobState::Running.is_terminal());
        for state in [JobState::Succeeded, JobState::Failed, JobState::Timeout, JobState::Canceled] {
            assert!(state.is_terminal());
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn timestamps_have_the_contracts_form() {
        let now = timestamp();
        assert_eq!(now.len(), 20);
        assert!(now.ends_with('Z') && now.as_bytes()[10] == b'T');
    }

    #[test]
    fn topics_serialise_as_their_names() {
        for topic in Topic::ALL {
            assert_eq!(serde_json::to_value(topic).unwrap(), topic.as_str());
            assert_eq!(Topic::parse(topic.as_str()), Some(topic));
        }
    }
}
