//! The program under test of `tests/processes.rs`: daemon, host process and client of a root, with two apps that only
//! pretend. Not for anything else.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hilrig_contract::{
    ActionDescriptor, App, AppSpec, AppStatus, ArgDescriptor, Call, ConfigKey, ContractError, RunIdentity,
    ValueKind,
};
use hilrig_host::{HostOptions, ServeOptions, StdioOptions};
use serde_json::{Map, Value, json};

/// An app that runs nothing but tells that it does.
struct Pretender {
    spec: AppSpec,
    run: Mutex<Option<RunIdentity>>,
}

fn spec(id: &'static str, host: &'static str, hosted_role: bool) -> AppSpec {
    let seconds = || {
        let kind = ValueKind::Float { min: 0.0, max: 3600.0 };
        ArgDescriptor::optional("seconds", "Seconds", kind).default(0.0)
    };
    let [start, stop] = ActionDescriptor::run_pair();
    AppSpec {
        id,
        title: "Pretender",
        host,
        hosted_role,
        config: vec![ConfigKey::new("mode", ValueKind::choice(["a", "b"]), "a", "a mode")],
        sections: vec![],
        actions: vec![
            start.arg(seconds()),
            stop,
            ActionDescriptor::new("work", "Work", "Says a line and takes its time.").arg(seconds()),
            ActionDescriptor::new("deaf", "Deaf", "Does not hear that it should stop.").arg(seconds()),
            ActionDescriptor::new("abort", "Abort", "Ends the process."),
        ],
    }
}

fn apps() -> Vec<Arc<dyn App>> {
    [
        ("bridge", "bridge", false),
        ("plc-simulator", "simulators", true),
        ("ble-simulator", "simulators", true),
    ]
    .map(|(id, host, role)| {
        Arc::new(Pretender { spec: spec(id, host, role), run: Mutex::default() }) as Arc<dyn App>
    })
    .to_vec()
}

impl Pretender {
    fn run(&self) -> std::sync::MutexGuard<'_, Option<RunIdentity>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App for Pretender {
    fn spec(&self) -> &AppSpec {
        &self.spec
    }

    fn status(&self) -> AppStatus {
        AppStatus { run: self.run().clone(), ..AppStatus::default() }
    }

    fn invoke(&self, call: Call<'_>) -> Result<Map<String, Value>, ContractError> {
        let time = Duration::from_secs_f64(call.args.float("seconds").unwrap_or(0.0));
        call.job.out(&format!("{} in process {}", call.action, std::process::id()));
        match call.action {
            "abort" => std::process::abort(),
            "deaf" => std::thread::sleep(time),
            _ => call.job.sleep(time)?,
        }
        match call.action {
            "run_start" => drop(self.run().get_or_insert_with(RunIdentity::new)),
            "run_stop" => drop(self.run().take()),
            _ => {}
        }
        match json!({"action": call.action}) {
            Value::Object(result) => Ok(result),
            _ => Ok(Map::new()),
        }
    }

    fn shutdown(&self, _deadline: Duration) {
        if self.run().take().is_some() {
            eprintln!("{}: the run was stopped", self.spec.id);
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let specs = || apps().iter().map(|app| app.spec().clone()).collect();
    let outcome = match args[..] {
        ["serve", root, ref rest @ ..] => hilrig_host::serve(ServeOptions {
            root: PathBuf::from(root),
            apps: specs(),
            tcp: rest.first().map(|&tcp| tcp.to_owned()),
            socket: None,
            token_file: None,
        })
        .map_err(|e| e.to_string()),
        ["stdio", root] => hilrig_host::stdio(StdioOptions { root: PathBuf::from(root), apps: specs() })
            .map_err(|e| e.to_string()),
        ["host", name, "--root", root] => {
            hilrig_host::host(HostOptions { name: name.to_owned(), root: PathBuf::from(root), apps: apps() })
                .map_err(|e| e.to_string())
        }
        _ => Err(format!("what is {args:?}?")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}
