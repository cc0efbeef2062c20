//! App `ble-simulator`: a peripheral on a BLE radio. Here it answers for itself and refuses to run; the radio,
//! GATT and pairing are not part of this version.

use std::time::Duration;

use hilrig_contract::{
    ActionDescriptor, App, AppSpec, AppStatus, Call, ConfigKey, ContractError, ErrorCode, ValueKind, object,
};
use serde_json::{Map, Value, json};

/// What is known of the app without running it.
pub fn spec() -> AppSpec {
    AppSpec {
        id: "ble-simulator",
        title: "COM Traffic Simulator (BLE)",
        host: "simulators",
        hosted_role: true,
        config: vec![
            ConfigKey::profile(),
            ConfigKey::transport_mode(),
            ConfigKey::new(
                "adapter",
                ValueKind::Text { pattern: Some("^(hci:[^ ]+)?$") },
                "",
                "the BLE controller, as hci:dev:0 or hci:tcp:HOST:PORT; empty: none",
            ),
            ConfigKey::new("deviceName", ValueKind::text(), "hilrig", "the name the peripheral advertises"),
        ],
        sections: vec![],
        actions: ActionDescriptor::run_pair().into(),
    }
}

/// The BLE simulator.
#[derive(Debug)]
pub struct BleApp {
    spec: AppSpec,
}

impl Default for BleApp {
    fn default() -> Self {
        Self { spec: spec() }
    }
}

impl App for BleApp {
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
        match (call.action, call.config.text("adapter")) {
            ("run_stop", _) => Ok(Map::from_iter([("running".to_owned(), Value::Bool(false))])),
            ("run_start", "") => {
                Err(ContractError::failed("no adapter configured: set `adapter`, for example to hci:dev:0")
                    .with("reason", "noAdapter"))
            }
            ("run_start", adapter) => {
                Err(ContractError::failed(format!("{adapter}: this version cannot drive a BLE adapter yet"))
                    .with("reason", "notInThisVersion"))
            }
            (other, _) => Err(ContractError::new(ErrorCode::NotFound, format!("no action {other}"))),
        }
    }

    fn shutdown(&self, _deadline: Duration) {}
}
