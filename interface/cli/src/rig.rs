//! Rigs, in the foreground (`run`) and inside the bridge app ([`Rigs`]).

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use hilrig_bridge::{Scenario, ScenarioState, Scenarios};
use hilrig_contract::ContractError;
use hilrig_port::Runtime;
use hilrig_rigs::{FileError, Options, Plan, RigRun};
use serde_json::{Map, Value};

use crate::foreground::{interrupt_flag, runtime};
use crate::output::{Exit, Failure, say, say_json};

pub fn run(file: &Path, report: Option<&Path>, seed: Option<u64>, json: bool) -> Result<ExitCode, Failure> {
    let terminal = std::io::stderr().is_terminal();
    let plan = match Plan::load(file) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{}", hilrig_rigs::render(&error, terminal).trim_end());
            return Ok(Exit::Usage.into());
        }
    };
    let interrupted = interrupt_flag()?;
    let stop = || interrupted.load(Ordering::Relaxed);
    // One line that is written over; programs that read stderr want nothing of it.
    let progress = |line: &str| {
        if terminal {
            eprint!("\r\x1b[2K{line}");
        }
    };
    let options = Options { runtime: runtime()?, seed, stop: &stop, on_progress: &progress };
    let result = hilrig_rigs::run(&plan, &options);
    if terminal {
        eprint!("\r\x1b[2K");
    }
    if let Some(dir) = report {
        result.write_reports(dir).map_err(|e| {
            Failure::infrastructure(format!("{}: cannot write the reports: {e}", dir.display()))
        })?;
    }
    if json {
        let value = serde_json::to_value(&result).map_err(|e| Failure::infrastructure(e.to_string()))?;
        say_json(&value);
    } else {
        say(result.render(std::io::stdout().is_terminal()).trim_end());
    }
    Ok(ExitCode::from(result.exit_code()))
}

/// The rigs of an installation, as the bridge app starts them.
pub struct Rigs {
    runtime: Runtime,
}

impl Rigs {
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    fn run(&self, plan: Plan) -> Box<dyn Scenario> {
        let seed = plan.seed;
        Box::new(Running { run: RigRun::start(plan, self.runtime.clone(), None), seed })
    }
}

/// What is wrong in a rig, with its lines where they are known.
fn bad_rig(found: Option<&FileError>, text: String) -> ContractError {
    ContractError::failed(found.map_or(text, FileError::lines)).with("reason", "badRig")
}

fn file_of(root: &Path, name: &str) -> Result<PathBuf, ContractError> {
    let stem = name.strip_suffix(".toml").unwrap_or(name);
    if stem.is_empty() || stem.starts_with('.') || stem.contains(['/', '\\', '\0']) {
        return Err(ContractError::failed(format!(
            "rig {name:?}: give the name of a file in rigs/, without a path"
        )));
    }
    Ok(root.join("rigs").join(format!("{stem}.toml")))
}

impl Scenarios for Rigs {
    fn start(&self, root: &Path, name: &str) -> Result<Box<dyn Scenario>, ContractError> {
        let file = file_of(root, name)?;
        if !file.is_file() {
            let known = self.names(root).join(", ");
            let known = if known.is_empty() { "there are none".to_owned() } else { known };
            return Err(ContractError::failed(format!("no rig {} (rigs: {known})", file.display())));
        }
        Ok(self.run(Plan::load(&file).map_err(|e| bad_rig(e.downcast_ref(), e.to_string()))?))
    }

    fn start_text(&self, _root: &Path, name: &str, text: &str) -> Result<Box<dyn Scenario>, ContractError> {
        Ok(self.run(Plan::parse(text, name).map_err(|e| bad_rig(e.downcast_ref(), e.to_string()))?))
    }

    fn check(&self, root: &Path, name: &str) -> Result<(), String> {
        let file = file_of(root, name).map_err(|e| e.message)?;
        Plan::load(&file).map(drop).map_err(|e| bad_rig(e.downcast_ref(), e.to_string()).message)
    }

    fn names(&self, root: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(root.join("rigs"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml") && path.is_file())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }
}

struct Running {
    run: RigRun,
    seed: u64,
}

impl Scenario for Running {
    fn state(&self) -> ScenarioState {
        let snapshot = self.run.snapshot();
        let result = snapshot.result.as_ref();
        ScenarioState {
            name: snapshot.name.clone(),
            seed: self.seed,
            step: snapshot.step,
            steps: snapshot.steps,
            doing: snapshot.doing.clone(),
            verdict: result.map(|r| r.verdict.as_str().to_owned()),
            message: result.map(|r| r.message()).unwrap_or_default(),
            result: match result.map(serde_json::to_value) {
                Some(Ok(Value::Object(map))) => map,
                _ => Map::new(),
            },
        }
    }

    fn stop(&self) {
        self.run.stop();
    }
}
