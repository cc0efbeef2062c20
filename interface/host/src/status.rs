//! The status of a built-in app as it travels, the same whether its host process runs or not. Asks nobody.

use hilrig_contract::{AppSpec, AppStatus, INTERFACE_NAME, INTERFACE_VERSION, Status};
use serde_json::{Map, Value};

use crate::Root;

/// The status of a built-in app: the keys that every app has, and what the app itself says.
pub(crate) fn status_of(spec: &AppSpec, root: &Root, app: AppStatus, host_pid: Option<u32>) -> Status {
    let mut more = Map::new();
    let path = |path: std::path::PathBuf| Value::from(path.to_string_lossy().into_owned());
    more.insert("configPath".to_owned(), path(root.config_file(spec.id)));
    more.insert("logPath".to_owned(), path(root.log_file(spec.id)));
    if spec.hosted_role {
        more.insert("processModel".to_owned(), "hosted-role".into());
        more.insert("roleAppId".to_owned(), spec.id.into());
    }
    more.extend(app.fields);
    more.extend(app.metrics);
    let run = app.run.as_ref();
    Status {
        interface_name: INTERFACE_NAME.to_owned(),
        interface_version: INTERFACE_VERSION,
        app_id: spec.id.to_owned(),
        app_title: spec.title.to_owned(),
        running: run.is_some(),
        pid: run.map(|run| run.pid),
        host_running: host_pid.is_some(),
        host_pid,
        boot_id: run.map_or_else(String::new, |run| format!("{}:{}:{}", spec.id, run.pid, run.nonce)),
        error: app.error,
        more,
    }
}
