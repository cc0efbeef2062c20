//! Rigs, in the foreground (`run`) and inside the bridge app ([`Rigs`]).

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use hilrig_bridge::{Scenario, ScenarioState, Scenarios};
use hilrig_contract::ContractError;
use hilrig_port::Runtime;
use hilrig_rigs::{FileError, Golden, On, Options, Plan, RigRun};
use serde_json::{Map, Value};

use crate::args::RunArgs;
use crate::foreground::{interrupt_flag, runtime};
use crate::output::{Exit, Failure, say, say_json};

pub fn run(args: &RunArgs, json: bool) -> Result<ExitCode, Failure> {
    let terminal = std::io::stderr().is_terminal();
    let plan = match Plan::load(&args.rig) {
        Ok(plan) => plan,
        Err(error) => return Ok(bad_file(&error, terminal)),
    };
    let on = if args.virtual_time {
        if let Err(error) = plan.check_virtual() {
            return Ok(bad_file(&error, terminal));
        }
        On::VirtualTime
    } else {
        On::Ports(runtime()?)
    };
    let golden = args.golden.as_ref().map(|file| Golden::load(file, args.tolerance)).transpose();
    let golden = golden.map_err(|e| Failure::usage(e.to_string()))?;
    let to_stdout = args.log.as_deref() == Some(Path::new("-"));
    if to_stdout && json {
        return Err(Failure::usage("--log - and --json both write to stdout; give the log a file"));
    }
    let log = args.log.as_deref().map(LogFile::create).transpose()?;

    let interrupted = interrupt_flag()?;
    let stop = || interrupted.load(Ordering::Relaxed);
    // One line that is written over; programs that read stderr want nothing of it.
    let progress = |line: &str| {
        if terminal {
            eprint!("\r\x1b[2K{line}");
        }
    };
    let on_log = |line: &str| {
        if let Some(log) = &log {
            log.write(line);
        }
    };
    let options = Options {
        on,
        seed: args.seed,
        stop: &stop,
        on_progress: &progress,
        on_log: log.is_some().then_some(&on_log as &(dyn Fn(&str) + Sync)),
        golden: golden.as_ref(),
    };
    let result = hilrig_rigs::run(&plan, &options);
    if terminal {
        eprint!("\r\x1b[2K");
    }
    log.map_or(Ok(()), LogFile::finish)?;
    if let Some(dir) = &args.report {
        result.write_reports(dir).map_err(|e| {
            Failure::infrastructure(format!("{}: cannot write the reports: {e}", dir.display()))
        })?;
    }
    if json {
        let value = serde_json::to_value(&result).map_err(|e| Failure::infrastructure(e.to_string()))?;
        say_json(&value);
    } else if to_stdout {
        eprintln!("{}", result.render(terminal).trim_end());
    } else {
        say(result.render(std::io::stdout().is_terminal()).trim_end());
    }
    Ok(ExitCode::from(result.exit_code()))
}

fn bad_file(error: &hilrig_rigs::Report, colour: bool) -> ExitCode {
    eprintln!("{}", hilrig_rigs::render(error, colour).trim_end());
    Exit::Usage.into()
}

/// Where the log goes. What went wrong with it is told when the run is over.
struct LogFile {
    name: String,
    inner: Mutex<(Box<dyn Write + Send>, std::io::Result<()>)>,
}

impl LogFile {
    fn create(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file: Box<dyn Write + Send> = if name == "-" {
            Box::new(std::io::stdout())
        } else {
            let file = std::fs::File::create(path);
            Box::new(file.map_err(|e| Failure::usage(format!("{name}: cannot write the log: {e}")))?)
        };
        Ok(Self { name, inner: Mutex::new((Box::new(BufWriter::new(file)), Ok(()))) })
    }

    fn write(&self, line: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.1.is_ok() {
            inner.1 = writeln!(inner.0, "{line}");
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let (mut file, done) = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failed = |e| Failure::infrastructure(format!("{}: cannot write the log: {e}", self.name));
        done.and_then(|()| file.flush()).map_err(failed)
    }
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
