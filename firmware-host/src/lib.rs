//! App `40318`: the host for the firmware under test. Here it answers for itself and refuses to run; emulators and
//! their UARTs are not part of this version.

use std::time::Duration;

use hilrig_contract::{
    ActionDescriptor, App, AppSpec, AppStatus, Call, ConfigKey, ContractError, ErrorCode, ValueKind, object,
};
use serde_json::{Map, Value, json};

/// What is known of the app without running it.
pub fn spec() -> AppSpec {
    AppSpec {
        id: "40318",
        title: "40318",
        host: "40318",
        hosted_role: false,
        config: vec![
            ConfigKey::profile(),
            ConfigKey::transport_mode(),
            ConfigKey::new("firmware", ValueKind::text(), "", "the firmware under test, a path; empty: none"),
        ],
        sections: vec![],
        actions: ActionDescriptor::run_pair().into(),
    }
}

/// The firmware host.
#[derive(Debug)]
pub struct FirmwareApp {
    spec: AppSpec,
}

impl Default for FirmwareApp {
    fn default() -> Self {
        Self { spec: spec() }
    }
}

impl App for FirmwareApp {
    fn spec(&self) -> &AppSpec {
        &self.spec
    }

    fn status(&self) -> AppStatus {
        let fields = json!({
            "state": "stopped",
            "bleTransportActive": false,
            "processRunningDisplay": "False",
            "scenario": {},
        });
        AppStatus { fields: object(fields), ..AppStatus::default() }
    }

    fn invoke(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        match (call.action, call.config.text("firmware")) {
            ("run_stop", _) => Ok(Map::from_iter([("running".to_owned(), Value::Bool(false))])),
            ("run_start", "") => {
                Err(ContractError::failed("no firmware configured: set `firmware` to the file to run")
                    .with("reason", "noFirmware"))
            }
            ("run_start", firmware) => {
                Err(ContractError::failed(format!("{firmware}: this version cannot run firmware yet"))
                    .with("reason", "notInThisVersion"))
            }
            (other, _) => Err(ContractError::new(ErrorCode::NotFound, format!("no action {other}"))),
        }
    }

    fn shutdown(&self, _deadline: Duration) {}
}
