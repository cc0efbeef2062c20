//! One app as the dispatcher sees it, wherever the app runs: in this process, in a host process, or behind the
//! stdio of somebody else's executable. Holds no logic.

use std::future::Future;
use std::pin::Pin;

use hilrig_contract::{
    ActionDescriptor, AppInfo, ConfigSet, ConfigView, ContractError, Invoked, JobRecord, Status,
};
use serde_json::{Map, Value};

/// The future of a [`Backend`] method.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ContractError>> + Send + 'a>>;

/// What `action.invoke` asks for, its envelope already checked.
#[derive(Debug, Clone)]
pub struct Invoke {
    pub action: String,
    pub args: Map<String, Value>,
    pub timeout_seconds: Option<f64>,
    /// Minted by a daemon; only accepted on a host process's own socket.
    pub job_id: Option<String>,
}

/// One app behind the contract. Every method answers promptly; what takes time is a job.
pub trait Backend: Send + Sync {
    fn id(&self) -> &str;
    fn info(&self) -> Answer<'_, AppInfo>;
    fn status(&self) -> Answer<'_, Status>;
    fn config_get(&self) -> Answer<'_, ConfigView>;
    fn config_set<'a>(
        &'a self,
        key: &'a str,
        value: &'a Value,
        expected: Option<&'a str>,
    ) -> Answer<'a, ConfigSet>;
    fn action_list(&self) -> Answer<'_, Vec<ActionDescriptor>>;
    fn invoke(&self, invoke: Invoke) -> Answer<'_, Invoked>;
    fn job_get<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord>;
    fn job_list(&self) -> Answer<'_, Vec<JobRecord>>;
    fn job_cancel<'a>(&'a self, job_id: &'a str) -> Answer<'a, JobRecord>;
    /// The last `lines` of the app's log, at most, after the opaque `cursor` if one is given.
    fn log_tail<'a>(&'a self, lines: usize, cursor: Option<&'a str>) -> Answer<'a, LogTail>;
}

/// Response of `log.tail`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogTail {
    pub path: String,
    pub lines: Vec<String>,
    /// Opaque; give it back to read on from here.
    pub cursor: String,
}
