//! Wiring: which apps there are and which host process runs which.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use hilrig_ble::BleApp;
use hilrig_bridge::BridgeApp;
use hilrig_contract::{App, AppSpec};
use hilrig_firmware::FirmwareApp;
use hilrig_host::{HostOptions, ServeOptions, StdioOptions};
use hilrig_plc::PlcApp;

use crate::foreground::runtime;
use crate::output::Failure;
use crate::rig::Rigs;

/// The four built-in apps.
pub fn specs() -> Vec<AppSpec> {
    vec![hilrig_bridge::spec(), hilrig_firmware::spec(), hilrig_plc::spec(), hilrig_ble::spec()]
}

pub fn serve(
    root: PathBuf,
    tcp: Option<String>,
    socket: Option<PathBuf>,
    token_file: Option<PathBuf>,
) -> Result<ExitCode, Failure> {
    hilrig_host::serve(ServeOptions { root, apps: specs(), tcp, socket, token_file })
        .map_err(|e| Failure::infrastructure(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

pub fn stdio(root: PathBuf) -> Result<ExitCode, Failure> {
    hilrig_host::stdio(StdioOptions { root, apps: specs() })
        .map_err(|e| Failure::infrastructure(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

pub fn host(root: PathBuf, name: String) -> Result<ExitCode, Failure> {
    let apps: Vec<Arc<dyn App>> = vec![
        Arc::new(BridgeApp::new(runtime()?, Arc::new(Rigs::new(runtime()?)))),
        Arc::new(FirmwareApp::default()),
        Arc::new(PlcApp::new(runtime()?)),
        Arc::new(BleApp::default()),
    ];
    hilrig_host::host(HostOptions { name, root, apps })
        .map_err(|e| Failure::infrastructure(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
