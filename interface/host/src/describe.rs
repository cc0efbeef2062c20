//! What `interface.describe` answers: everything a client needs to use this server without other documents.

use hilrig_contract::{
    ActionList, AppInfo, ConfigSet, ConfigView, ContractError, Event, INTERFACE_NAME, INTERFACE_VERSION,
    Invoked, JobRecord, MAX_DEPTH, MAX_JOB_OUTPUT, MAX_LINE, Ping, Status, Topic,
};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;
use serde_json::{Value, json};

use crate::conn::WRITE_TIMEOUT;
use crate::listen::MAX_CONNECTIONS;
use crate::methods::{MAX_TAIL, METHODS, Method};
use crate::{EVENT_RING, JOBS_KEPT, JOBS_KEPT_FOR, LogTail};

/// Response of `interface.describe`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    interface_name: &'static str,
    interface_version: u64,
    server_name: &'static str,
    server_version: &'static str,
    /// Differs between any two lives of a server.
    instance_id: &'a str,
    methods: &'static [Method],
    topics: [Topic; Topic::ALL.len()],
    limits: Value,
    /// JSON Schemas of what methods answer, of an error and of an event.
    schemas: Value,
}

/// Response of `app.list`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AppList {
    pub apps: Vec<AppInfo>,
}

/// Response of `action.job.list`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobList {
    pub jobs: Vec<JobRecord>,
}

/// Response of `events.subscribe`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Subscribed {
    pub subscribed: Vec<Topic>,
}

/// Response of `events.unsubscribe`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Unsubscribed {
    pub unsubscribed: Vec<Topic>,
}

pub(crate) fn ping() -> Ping {
    Ping { pong: true, interface_name: INTERFACE_NAME.to_owned(), interface_version: INTERFACE_VERSION }
}

pub(crate) fn describe(instance_id: &str) -> Vec<u8> {
    let description = Description {
        interface_name: INTERFACE_NAME,
        interface_version: INTERFACE_VERSION,
        server_name: "hilrig",
        server_version: env!("CARGO_PKG_VERSION"),
        instance_id,
        methods: METHODS,
        topics: Topic::ALL,
        limits: json!({
            "lineBytes": MAX_LINE,
            "nesting": MAX_DEPTH,
            "connections": MAX_CONNECTIONS,
            "writeTimeoutSeconds": WRITE_TIMEOUT.as_secs(),
            "eventsPending": EVENT_RING,
            "jobOutputBytes": MAX_JOB_OUTPUT,
            "jobsKept": JOBS_KEPT,
            "jobsKeptSeconds": JOBS_KEPT_FOR.as_secs(),
            "logTailLines": MAX_TAIL,
        }),
        schemas: schemas(),
    };
    serde_json::to_vec(&description).unwrap_or_default()
}

fn schemas() -> Value {
    let all: [(&str, Schema); 15] = [
        ("Ping", schema_for!(Ping)),
        ("Status", schema_for!(Status)),
        ("ConfigView", schema_for!(ConfigView)),
        ("ConfigSet", schema_for!(ConfigSet)),
        ("ActionList", schema_for!(ActionList)),
        ("Invoked", schema_for!(Invoked)),
        ("JobRecord", schema_for!(JobRecord)),
        ("JobList", schema_for!(JobList)),
        ("Subscribed", schema_for!(Subscribed)),
        ("Unsubscribed", schema_for!(Unsubscribed)),
        ("AppList", schema_for!(AppList)),
        ("LogTail", schema_for!(LogTail)),
        ("Description", schema_for!(Description<'_>)),
        ("Error", schema_for!(ContractError)),
        ("Event", schema_for!(Event)),
    ];
    Value::Object(all.into_iter().map(|(name, schema)| (name.to_owned(), schema.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_schema_for_its_answer() {
        let description: Value = serde_json::from_slice(&describe("i")).unwrap();
        for method in METHODS {
            assert!(description["schemas"][method.response].is_object(), "{}", method.response);
        }
        assert_eq!(description["topics"][0], "status.changed");
        assert_eq!(description["limits"]["lineBytes"], 1_048_576);
        assert_eq!(description["methods"][1]["params"][0]["type"], "string");
    }
}
