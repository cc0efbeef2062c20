//! The PLC simulator in the foreground, and questions to the one of a daemon.

mod trace;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hilrig_bridge::{CaptureRow, RealTimeSpec};
use hilrig_capture::CaptureSpec;
use hilrig_contract::{Event, EventParams, Topic, timestamp};
use hilrig_files::FileError;
use hilrig_plc::{Model, News, PortPlan, Role, Run, RunError, RunOptions, Watch, simple_plant, state_file};
use hilrig_port::PortUrl;
use serde_json::{Map, Value, json};

use self::trace::Trace;
use crate::args::{PlcArgs, PlcCommand};
use crate::foreground::{account, captured, interrupt_flag, runtime, tell_failed, whole};
use crate::output::{Exit, Failure, number, plain, say, say_json, table};
use crate::{client, inline};

const APP: &str = "plc-simulator";
/// How often the foreground looks after its run.
const LOOK: Duration = Duration::from_millis(50);
/// How often it looks after what changes seldom.
const SELDOM: Duration = Duration::from_millis(500);

pub fn plc(args: PlcArgs, root: &Path, endpoint: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    match &args.command {
        Some(PlcCommand::Check { model }) => check(model, json),
        Some(command) => ask(command, root, endpoint, json),
        None => foreground(&args, root, json),
    }
}

/// Shows what is wrong with a model, with frames.
fn show(error: FileError) -> ExitCode {
    let terminal = std::io::stderr().is_terminal();
    eprintln!("{}", hilrig_rigs::render(&error.into(), terminal).trim_end());
    Exit::Usage.into()
}

fn check(file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let model = match Model::load(file) {
        Ok(model) => model,
        Err(error) => return Ok(show(error)),
    };
    let points = model.plant().points().count();
    if json {
        let ports: Vec<&str> = model.ports.iter().map(|p| p.name.as_str()).collect();
        let units: Map<String, Value> =
            model.units.iter().map(|(name, id)| (name.clone(), json!(id))).collect();
        say_json(&json!({
            "name": model.name, "seed": model.seed, "files": model.files, "units": units, "points": points,
            "ports": ports, "faults": model.faults.len(), "masters": model.masters.len(),
            "sniffers": model.sniffers.len(), "gateways": model.gateways.len(),
            "telegrams": model.telegrams.len(),
        }));
    } else {
        let parts = [
            (model.units.len(), "unit"),
            (points, "point"),
            (model.ports.len(), "port"),
            (model.faults.len(), "fault"),
            (model.masters.len(), "master"),
            (model.sniffers.len(), "sniffer"),
            (model.gateways.len(), "gateway"),
            (model.telegrams.len(), "telegram"),
        ];
        let there = parts.into_iter().filter(|(n, _)| *n > 0);
        let parts: String = there.map(|(n, what)| format!("{}, ", number(n, what))).collect();
        say(&format!("{}: {parts}seed {}", model.name, model.seed));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the simulator of the daemon.
fn ask(command: &PlcCommand, root: &Path, endpoint: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let mut client = client::connect(root, endpoint)?;
    let (action, args) = match command {
        PlcCommand::Check { .. } => return Ok(ExitCode::SUCCESS),
        PlcCommand::Points { points } => ("point_list", json!({"points": points.join(",")})),
        PlcCommand::Get { points } => ("point_get", json!({"points": points.join(",")})),
        PlcCommand::Set { values } => ("point_set", json!({"set": quoted(values)})),
        PlcCommand::Ramp { value, seconds } => ("point_ramp", json!({"ramp": value, "seconds": seconds})),
        PlcCommand::Release { points } => ("point_release", json!({"points": points.join(",")})),
    };
    let result = client::act(&mut client, APP, action, args)?;
    if json {
        say_json(&result);
        return Ok(ExitCode::SUCCESS);
    }
    let rows = result["points"].as_array().cloned().unwrap_or_default();
    match command {
        PlcCommand::Points { .. } => {
            let mut lines = vec![
                ["POINT", "VALUE", "UNIT", "UNIT ID", "AT", "TYPE", "ACCESS", "SIGNAL"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            lines.extend(rows.iter().map(|row| {
                let signal =
                    match (row["signal"].as_str().unwrap_or_default(), row["overridden"] == json!(true)) {
                        ("", _) => String::new(),
                        (signal, true) => format!("{signal} (set)"),
                        (signal, false) => signal.to_owned(),
                    };
                let mut cells: Vec<String> = ["name", "value", "unit", "unitId", "at", "type", "access"]
                    .map(|k| plain(&row[k]))
                    .to_vec();
                cells.push(signal);
                cells
            }));
            table(&lines);
        }
        PlcCommand::Get { .. } if rows.len() == 1 => say(&plain(&rows[0]["value"])),
        PlcCommand::Ramp { value, seconds } => eprintln!("{value} within {seconds} s"),
        PlcCommand::Release { .. } => eprintln!("{} points released", plain(&result["released"])),
        _ => rows.iter().for_each(|row| say(&format!("{}={}", plain(&row["name"]), plain(&row["value"])))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Assignments as the action takes them: a value with blanks in quotes.
fn quoted(values: &[String]) -> String {
    let quote = |text: &String| match text.split_once('=') {
        Some((name, value)) if value.contains(char::is_whitespace) => format!("{name}=\"{value}\""),
        _ => text.clone(),
    };
    values.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// The model of the command line.
fn model(args: &PlcArgs, seed: Option<u64>) -> Result<Result<Model, FileError>, Failure> {
    let mut model = match &args.model {
        Some(file) => match Model::load_with(file, seed) {
            Ok(model) => model,
            Err(error) => return Ok(Err(error)),
        },
        None => {
            let units = if args.units.is_empty() { &[1][..] } else { &args.units };
            let plant = simple_plant(units).map_err(|e| Failure::usage(e.to_string()))?;
            let mut model = Model::of("simple", plant);
            model.seed = seed.unwrap_or(model.seed);
            model
        }
    };
    place(&mut model, args)?;
    if model.ports.is_empty() {
        return Err(Failure::usage("no port to serve on; give one, such as --port pty:plc"));
    }
    if args.model.is_some() && !args.units.is_empty() {
        if let Some(id) = args.units.iter().find(|id| !model.units.iter().any(|(_, known)| known == *id)) {
            let known: Vec<String> = model.units.iter().map(|(name, id)| format!("{id} ({name})")).collect();
            return Err(Failure::usage(format!(
                "--unit {id}: the model has no such unit; it has {}",
                known.join(", ")
            )));
        }
        for port in model.ports.iter_mut().filter(|p| p.role == Role::Slave) {
            port.units = Some(args.units.clone());
        }
    }
    Ok(Ok(model))
}

/// Puts the ports of the command line into a model: where one of its ports is, or ports in place of those that serve its
/// units.
fn place(model: &mut Model, args: &PlcArgs) -> Result<(), Failure> {
    let mut bare = Vec::new();
    for text in &args.ports {
        let named = text.split_once('=').filter(|(name, _)| !name.contains([':', '/', '?']));
        let url = |text: &str| text.parse::<PortUrl>().map_err(|e| Failure::usage(format!("--port: {e}")));
        match named {
            Some((name, text)) => {
                let url = url(text)?;
                let known: Vec<String> = model.ports.iter().map(|p| p.name.clone()).collect();
                let Some(port) = model.ports.iter_mut().find(|p| p.name == name) else {
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    return Err(Failure::usage(format!(
                        "--port {name}: the model has no such port (ports: {known})"
                    )));
                };
                port.set_url(Some(url));
            }
            None => bare.push(url(text)?),
        }
    }
    let mut open = model.ports.iter_mut().filter(|p| p.url.is_none());
    if let (Some(port), None, [url]) = (open.next(), open.next(), &bare[..]) {
        port.set_url(Some(url.clone()));
        return Ok(());
    }
    if !bare.is_empty() {
        model.keep_ports(|p| p.role != Role::Slave);
        for url in bare {
            let name = url.to_string();
            let name = name.split('?').next().unwrap_or_default().to_owned();
            let mut port = PortPlan::slave(&name, None);
            (port.baud, port.format) = (args.baud, args.format);
            port.set_url(Some(url));
            if let Some(framing) = args.framing {
                port.framing = framing;
            }
            model.ports.push(port);
        }
    }
    Ok(())
}

fn broken(error: RunError) -> Failure {
    match error {
        RunError::NoPort | RunError::NoUrl { .. } => Failure::usage(error.to_string()),
        other => Failure::infrastructure(other.to_string()),
    }
}

/// What is said while it runs.
struct Shown {
    json: bool,
    trace: bool,
    lines: Trace,
    watch: Watch,
    errors: HashMap<(String, &'static str), u64>,
    seq: u64,
    /// News of ports that were told.
    ports: u64,
}

impl Shown {
    fn event(&mut self, topic: Topic, more: Map<String, Value>) {
        self.seq += 1;
        let params = EventParams { app_id: APP.to_owned(), seq: self.seq, ts: timestamp(), dropped: 0, more };
        if let Ok(value) = serde_json::to_value(Event { event: topic, params }) {
            // One object a line, on a terminal too: this is a stream.
            say(&value.to_string());
        }
    }

    fn news(&mut self, run: &Run) {
        for news in self.watch.news(run) {
            match (self.json, news.is_fault()) {
                (true, true) => self.event(Topic::FaultFired, news.json()),
                (true, false) if self.trace => self.event(Topic::Frame, news.json()),
                (true, false) => {}
                (false, _) => say(&self.line(&news)),
            }
        }
    }

    fn line(&mut self, news: &News) -> String {
        self.lines.line(news)
    }

    /// Errors of lines that nobody sees frame by frame.
    fn troubles(&mut self, run: &Run) {
        for news in run.port_news_after(&mut self.ports) {
            if self.json {
                self.event(Topic::LineError, news.json());
            }
        }
        for port in run.ports() {
            let mut grown = Map::new();
            for (name, total) in port.errors() {
                let before = self.errors.insert((port.name.clone(), name), total).unwrap_or(0);
                if total > before {
                    grown.insert(name.to_owned(), (total - before).into());
                }
            }
            if grown.is_empty() || (self.trace && !self.json) {
                continue;
            }
            if self.json {
                let mut more = Map::new();
                more.insert("port".to_owned(), json!(port.name));
                more.insert("new".to_owned(), Value::Object(grown));
                self.event(Topic::LineError, more);
            } else {
                let words: Vec<String> = grown.iter().map(|(name, n)| format!("{n} {name}")).collect();
                eprintln!("hilrig: port {}: {}", port.name, words.join(", "));
            }
        }
    }
}

/// Where the state is kept: where the command line says, or else where the model wants it. Whether it is taken up, and
/// whether it is kept.
fn state(args: &PlcArgs, model: &Model, root: &Path) -> (PathBuf, bool, bool) {
    match &args.state {
        Some(file) => (file.clone(), true, true),
        None => (state_file(root, &model.name), model.restore, model.save),
    }
}

fn foreground(args: &PlcArgs, root: &Path, json: bool) -> Result<ExitCode, Failure> {
    let model = match model(args, args.seed)? {
        Ok(model) => model,
        Err(error) => return Ok(show(error)),
    };
    let (file, restore, save) = state(args, &model, root);
    for rule in &model.faults {
        if let Some(port) = rule.port().filter(|name| !model.ports.iter().any(|p| p.name == *name)) {
            eprintln!("hilrig: fault {} is about port {port}, in whose place --port is", rule.name());
        }
    }
    let realtime: Option<RealTimeSpec> =
        args.realtime.as_deref().map(|text| inline::table("--realtime", text)).transpose()?;
    let capture = capture_spec(args, &model)?;
    let to_stdout = args.capture.as_deref() == Some(Path::new("-"));
    if to_stdout && (args.trace || json) {
        return Err(Failure::usage(
            "--trace and --json print on stdout, where the capture would be; give a file",
        ));
    }
    let interrupted = interrupt_flag()?;
    let hangup = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, hangup.clone())
        .map_err(|e| Failure::infrastructure(format!("cannot watch for signals: {e}")))?;
    let stop = || interrupted.load(Ordering::Relaxed);
    let options = RunOptions {
        runtime: runtime()?,
        realtime: realtime.as_ref().map(Into::into),
        restore: (restore && file.exists()).then(|| file.clone()),
        watch: args.trace || json,
        reconnect: !args.no_reconnect,
        capture: capture.map(|spec| (spec, PathBuf::new())),
        stop: &stop,
    };
    let run = match Run::start(model, &options) {
        Ok(run) => run,
        Err(_) if stop() => return Ok(Exit::Stopped.into()),
        Err(error) => return Err(broken(error)),
    };
    for rule in &args.faults {
        run.arm_fault(rule, None).map_err(|e| Failure::usage(format!("--fault: {e}")))?;
    }
    run.warnings().iter().for_each(|warning| eprintln!("hilrig: {warning}"));
    for port in run.ports() {
        eprintln!("{}", port.sentence(&run));
    }
    for grant in run.granted().rows.iter().filter(|_| args.realtime.is_some()) {
        eprintln!("{}: {} ({})", grant.what, if grant.granted { "granted" } else { "refused" }, grant.detail);
    }
    let colour = std::io::stdout().is_terminal() && !json;
    let mut shown = Shown {
        json,
        trace: args.trace,
        lines: Trace::new(colour, run.ports().iter().map(|p| p.name.len())),
        watch: Watch::default(),
        errors: HashMap::new(),
        seq: 0,
        ports: 0,
    };
    let mut changed = newest(&run.model().files);
    let mut seldom = Instant::now();
    let mut trouble = String::new();
    let mut failed_captures = 0;
    let mut end = Ok(());
    while !stop() {
        std::thread::sleep(LOOK);
        if args.trace || json {
            shown.news(&run);
        }
        if hangup.swap(false, Ordering::Relaxed) {
            reload(&run, args);
        }
        if seldom.elapsed() < SELDOM {
            continue;
        }
        seldom = Instant::now();
        shown.troubles(&run);
        tell_failed(&run.captures(), &mut failed_captures);
        if args.watch {
            let now = newest(&run.model().files);
            if now != changed {
                changed = now;
                reload(&run, args);
            }
        }
        let now = run.trouble();
        if now != trouble {
            eprintln!("hilrig: {}", if now.is_empty() { "all ports are back" } else { &now });
            trouble = now;
        }
        if run.given_up().1 {
            end = Err(Failure::infrastructure("no port is left"));
            break;
        }
    }
    if args.trace || json {
        shown.news(&run);
    }
    if save {
        run.save(&file).map_err(|e| Failure::infrastructure(e.to_string()))?;
        eprintln!("the state is in {}", file.display());
    }
    let captures = run.end_captures();
    summary(&run, json, |line| if to_stdout { eprintln!("{line}") } else { say(line) }, &captures);
    end.and_then(|()| whole(&captures)).map(|()| ExitCode::SUCCESS)
}

/// The capture that was asked for; without more words one packet is a frame of the model's ports.
fn capture_spec(args: &PlcArgs, model: &Model) -> Result<Option<CaptureSpec>, Failure> {
    let (Some(file), shape) = (&args.capture, &args.shape) else { return Ok(None) };
    let framing = shape.capture_framing.clone().unwrap_or_else(|| model.capture_framing());
    let spec = CaptureSpec {
        format: shape.capture_format.clone(),
        framing,
        points: shape.capture_points,
        keep: shape.keep,
        ..CaptureSpec::new("")
    };
    captured(file, spec, shape.rotate).map(Some)
}

/// The latest change of the files.
fn newest(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    files.iter().map(|file| std::fs::metadata(file).and_then(|m| m.modified()).ok()).collect()
}

/// Goes on with the changed model; one that is wrong changes nothing.
fn reload(run: &Run, args: &PlcArgs) {
    let model = match model(args, Some(run.model().seed)) {
        Ok(Ok(model)) => model,
        Ok(Err(error)) => {
            show(error);
            eprintln!("hilrig: the model goes on as it was");
            return;
        }
        Err(failure) => return eprintln!("hilrig: {}", failure.message),
    };
    match run.reload(model) {
        Ok(done) => {
            done.warnings.iter().for_each(|warning| eprintln!("hilrig: {warning}"));
            eprintln!("reloaded: {}", done.sentence());
        }
        Err(error) => eprintln!("hilrig: {error}"),
    }
}

fn summary(run: &Run, json: bool, say: impl Fn(&str), captures: &[CaptureRow]) {
    let ports: Vec<_> = run.ports().iter().map(|p| p.counter_row()).collect();
    let faults = run.faults().unwrap_or_default();
    if json {
        say_json(&json!({
            "running": false, "uptimeMs": run.uptime().as_millis() as u64, "seed": run.model().seed,
            "portCounters": ports, "faults": faults, "polls": run.polls(), "sniffers": run.sniffed(None).unwrap_or_default(),
            "captures": captures,
        }));
        return;
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    say(&format!("model {}, seed {}", run.model().name, run.model().seed));
    for row in &ports {
        let count = |key: &str| row.get(key).and_then(Value::as_u64).unwrap_or(0);
        let name = row["port"].as_str().unwrap_or_default();
        let zero = ["rxBytes", "txBytes", "port", "kind", "requests", "replies", "opens", "callers"];
        let rest =
            row.iter().filter(|(key, n)| !zero.contains(&key.as_str()) && n.as_u64().is_some_and(|n| n > 0));
        let rest: String = rest.map(|(key, n)| format!(", {n} {key}")).collect();
        say(&format!(
            "port {name}: {} requests, {} replies, {} bytes in, {} out{rest}",
            count("requests"),
            count("replies"),
            count("rxBytes"),
            count("txBytes")
        ));
    }
    for row in faults {
        let times =
            if row.fired == 0 { "never fired".to_owned() } else { format!("fired {} times", row.fired) };
        say(&format!("port {}: fault {} {times}", row.port, row.rule));
    }
    for row in run.polls() {
        say(&format!(
            "poll {}.{}: {} requests, {} replies, {} exceptions, {} failures; round trip p50 {:.0} us, p99 {:.0} us",
            row.master,
            row.poll,
            row.requests,
            row.replies,
            row.exceptions,
            row.failures,
            row.p50_us,
            row.p99_us
        ));
    }
    for row in run.sniffed(None).unwrap_or_default() {
        row.lines().iter().for_each(|line| say(line));
    }
    captures.iter().for_each(|row| say(&account(row)));
}
