//! `status.get` of `hilrig serve` against a plain Python server in the same run, at rest and during a 10 s action. It drives both from
//! outside, as a client.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child::Child;
use crate::client::Address;
use crate::report::{Floor, Rounds, Table, print_floors, print_load, quantile, with_ratio};
use crate::{Common, Failure};

const APP: &str = "bridge";
/// Between rounds, so that a run stays far from using up the client's ports (each connection keeps one for a minute).
const PAUSE: Duration = Duration::from_millis(150);

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds at rest (half before the action, half after it)
    #[arg(long)]
    rounds: Option<usize>,
    /// Requests of a round
    #[arg(long)]
    requests: Option<usize>,
    /// Measure the Python server alone
    #[arg(long)]
    only_python: bool,
}

/// Between two requests of a client that polls, such as an operator's console; long enough that no answer can be one that was
/// prepared for the request before.
const POLL: Duration = Duration::from_millis(25);

/// A way to reach a server, with what was measured on it.
#[derive(Debug)]
struct Way {
    name: &'static str,
    address: Address,
    rest: Series,
    busy: Series,
    polled: Series,
    pipelined: Rounds,
}

#[derive(Debug, Default)]
struct Series {
    p50: Rounds,
    p99: Rounds,
    samples: Vec<f64>,
}

impl Series {
    fn add(&mut self, samples: Vec<f64>) {
        self.p50.0.push(quantile(&samples, 0.5));
        self.p99.0.push(quantile(&samples, 0.99));
        self.samples.extend(samples);
    }

    fn rounds(&self) -> usize {
        self.p50.0.len()
    }

    /// Forgets what came after the first rounds.
    fn keep(&mut self, rounds: usize, requests: usize) {
        self.p50.0.truncate(rounds);
        self.p99.0.truncate(rounds);
        self.samples.truncate(rounds * requests);
    }

    fn json(&self) -> Value {
        let overall = quantile(&self.samples, 0.99);
        json!({"p50Us": self.p50.json(), "p99Us": self.p99.json(), "p99UsOfAll": overall})
    }
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let (rounds, requests, polls, seconds) =
        if options.common.quick { (2, 30, 10, 2) } else { (24, 250, 200, 10) };
    let (rounds, requests) =
        (options.rounds.unwrap_or(rounds).max(2), options.requests.unwrap_or(requests).max(1));
    let temporary = tempfile::tempdir()?;
    let mut children = Vec::new();
    let python = start_python(temporary.path(), &mut children)?;
    let way = |name, address| Way {
        name,
        address,
        rest: Series::default(),
        busy: Series::default(),
        polled: Series::default(),
        pipelined: Rounds::default(),
    };
    let mut ways = vec![way("Python socketserver, TCP", Address::Tcp(python))];
    if !options.only_python {
        let (tcp, unix) = start_hilrig(options, temporary.path(), &mut children)?;
        ways.insert(0, way("hilrig, TCP", tcp));
        ways.push(way("hilrig, Unix socket", unix));
    }
    // Each server by its first way: the app runs, as on a bench in use, in all of the measurement.
    let servers = ways.iter().take(2).map(|way| way.address.clone()).collect::<Vec<_>>();
    for way in &ways {
        way.address.status_each(APP, 20)?;
    }
    for server in &servers {
        server.act(APP, "run_start", json!({}))?;
        if server.call("status.get", json!({"appId": APP}))?["running"] != true {
            return Err(Failure::Wrong("run_start succeeded and the app does not run".to_owned()));
        }
    }
    for round in 0..rounds / 2 {
        one_round(&mut ways, round, |way| {
            way.rest.add(way.address.status_each(APP, requests)?);
            way.pipelined.0.push(way.address.status_pipelined(APP, requests * 2)?);
            Ok(())
        })?;
    }
    during_action(&mut ways, &servers, seconds, requests)?;
    for round in rounds / 2..rounds {
        one_round(&mut ways, round, |way| {
            way.rest.add(way.address.status_each(APP, requests)?);
            Ok(())
        })?;
    }
    poll(&mut ways, polls)?;
    for server in &servers {
        server.act(APP, "run_stop", json!({}))?;
    }
    let floors = floors(&ways);
    if options.common.json {
        println!("{}", as_json(&ways, &floors));
    } else {
        print(&ways, rounds, requests, seconds);
        print_floors(&floors, options.common.quick);
        print_load();
    }
    Ok(())
}

fn one_round(
    ways: &mut [Way],
    round: usize,
    mut measure: impl FnMut(&mut Way) -> Result<(), Failure>,
) -> Result<(), Failure> {
    sleep(PAUSE);
    let turn = round % ways.len();
    ways.rotate_left(turn);
    let outcome = ways.iter_mut().try_for_each(|way| {
        measure(way).map_err(|failure| match failure {
            Failure::Wrong(message) => Failure::Wrong(format!("{}: {message}", way.name)),
            Failure::Missing(message) => Failure::Missing(format!("{}: {message}", way.name)),
        })
    });
    ways.rotate_right(turn);
    outcome
}

/// One request at a time, with a pause before each; all of a way count as one round.
fn poll(ways: &mut [Way], count: usize) -> Result<(), Failure> {
    let mut samples = vec![Vec::with_capacity(count); ways.len()];
    for _ in 0..count {
        for (way, samples) in ways.iter().zip(&mut samples) {
            sleep(POLL);
            samples.extend(way.address.status_each(APP, 1)?);
        }
    }
    ways.iter_mut().zip(samples).for_each(|(way, samples)| way.polled.add(samples));
    Ok(())
}

/// Rounds while an action of the given length runs in the app of each server, and proof that it ran all the time.
fn during_action(
    ways: &mut [Way],
    servers: &[Address],
    seconds: u64,
    requests: usize,
) -> Result<(), Failure> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let invoke = json!({"appId": APP, "actionName": "soak", "args": {"durationSeconds": seconds}});
    let mut jobs = Vec::new();
    for server in servers {
        jobs.push(server.call("action.invoke", invoke.clone())?["jobId"].take());
    }
    // The last round may reach beyond the action's end, and does not count then.
    while Instant::now() < end {
        let counted = ways.first().map_or(0, |way| way.busy.rounds());
        one_round(ways, counted, |way| {
            way.busy.add(way.address.status_each(APP, requests)?);
            Ok(())
        })?;
        for (server, job) in servers.iter().zip(&jobs) {
            let state = server.job_state(APP, job)?;
            if state == "running" {
                continue;
            }
            if Instant::now() < end {
                return Err(Failure::Wrong(format!("the {seconds} s action was {state} before its time")));
            }
            ways.iter_mut().for_each(|way| way.busy.keep(counted, requests));
        }
    }
    if ways.iter().any(|way| way.busy.rounds() == 0) {
        return Err(Failure::Missing("no round fits into the action: the machine is too busy".to_owned()));
    }
    for (server, job) in servers.iter().zip(&jobs) {
        let deadline = end + Duration::from_secs(5);
        while server.job_state(APP, job)? == "running" && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
        let state = server.job_state(APP, job)?;
        if state != "succeeded" {
            return Err(Failure::Wrong(format!("the {seconds} s action ended {state}")));
        }
    }
    Ok(())
}

fn start_python(temporary: &Path, children: &mut Vec<Child>) -> Result<std::net::SocketAddr, Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("plain_server.py");
    let mut child =
        Child::start("python", Command::new("python3").arg(script).stdout(Stdio::piped()), temporary)?;
    let mut line = String::new();
    if let Some(stdout) = child.take_stdout() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let port = line.trim().strip_prefix("port ").and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| {
        Failure::Missing(format!("the Python server did not start: {}", child.last_words()))
    })?;
    children.push(child);
    Ok(([127, 0, 0, 1], port).into())
}

fn start_hilrig(
    options: &Options,
    temporary: &Path,
    children: &mut Vec<Child>,
) -> Result<(Address, Address), Failure> {
    let (root, socket) = (temporary.join("root"), temporary.join("control.sock"));
    std::fs::create_dir(&root)?;
    // A port that was free a moment ago; the daemon says so if it is not any more.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(options.common.hilrig()?);
    command.arg("serve").arg("--root").arg(&root).arg("--socket").arg(&socket);
    command.args(["--tcp", &address.to_string()]).env("HILRIG_RUNTIME_DIR", temporary.join("run"));
    let mut child = Child::start("hilrig serve", command.stdout(Stdio::null()), temporary)?;
    let (tcp, unix) = (Address::Tcp(address), Address::Unix(socket));
    let deadline = Instant::now() + Duration::from_secs(10);
    while tcp.call("ping", json!({})).is_err() || unix.call("ping", json!({})).is_err() {
        child.check_alive()?;
        if Instant::now() > deadline {
            let words = child.last_words();
            return Err(Failure::Missing(format!("hilrig serve answers no ping within 10 s: {words}")));
        }
        sleep(Duration::from_millis(20));
    }
    children.push(child);
    Ok((tcp, unix))
}

fn floors(ways: &[Way]) -> Vec<Floor> {
    let (Some(ours), Some(theirs)) = (ways.first(), ways.get(1)) else { return Vec::new() };
    let median: fn(&Rounds) -> f64 = Rounds::median;
    let mut floors = Vec::new();
    for (when, own) in [("", &ours.rest), (" during the action", &ours.busy)] {
        for (which, of) in [("median", median), ("best", Rounds::best)] {
            for (what, limit, own, peer) in
                [("p50", 0.6, &own.p50, &theirs.rest.p50), ("p99", 0.5, &own.p99, &theirs.rest.p99)]
            {
                let at_rest = if when.is_empty() { "" } else { " at rest" };
                let what = format!("{what}{when}, {which} round, of the Python server's{at_rest}");
                floors.push(Floor::new(what, limit, of(own) / of(peer)));
            }
        }
    }
    floors
}

fn print(ways: &[Way], rounds: usize, requests: usize, seconds: u64) {
    let Some(python) = ways.iter().find(|way| way.name.starts_with("Python")) else { return };
    let title = format!(
        "status.get, a new connection each, us (x = of Python's); {rounds} rounds of {requests}, median round"
    );
    let header = ["", "p50", "best round", "p99", "best round", "p99 of all"];
    for (title, series) in [
        (title, (|way| &way.rest) as fn(&Way) -> &Series),
        (format!("The same during a {seconds} s action; {} rounds", python.busy.p50.0.len()), |way| {
            &way.busy
        }),
    ] {
        let mut table = Table::new(title, &header);
        let peer = series(python);
        for way in ways {
            let own = series(way);
            table.row(vec![
                way.name.to_owned(),
                with_ratio(own.p50.median(), peer.p50.median()),
                with_ratio(own.p50.best(), peer.p50.best()),
                with_ratio(own.p99.median(), peer.p99.median()),
                with_ratio(own.p99.best(), peer.p99.best()),
                with_ratio(quantile(&own.samples, 0.99), quantile(&peer.samples, 0.99)),
            ]);
        }
        table.print();
    }
    let title = format!("Asked every {} ms, {} times", POLL.as_millis(), python.polled.samples.len());
    let mut table = Table::new(title, &["", "p50", "p90", "p99"]);
    for way in ways {
        let cell = |fraction| {
            with_ratio(quantile(&way.polled.samples, fraction), quantile(&python.polled.samples, fraction))
        };
        table.row(vec![way.name.to_owned(), cell(0.5), cell(0.9), cell(0.99)]);
    }
    table.print();
    let header = ["", "p50", "best round", "p99", "best round", "one connection, replies/s"];
    let mut table = Table::new(
        "During the action / at rest; and many requests without waiting on one connection",
        &header,
    );
    for way in ways {
        let changed = |of: &dyn Fn(&Series) -> f64| format!("x{:.2}", of(&way.busy) / of(&way.rest));
        let rate = way.pipelined.median();
        table.row(vec![
            way.name.to_owned(),
            changed(&|series| series.p50.median()),
            changed(&|series| series.p50.best()),
            changed(&|series| series.p99.median()),
            changed(&|series| series.p99.best()),
            with_ratio(rate, python.pipelined.median()),
        ]);
    }
    table.print();
}

fn as_json(ways: &[Way], floors: &[Floor]) -> Value {
    let way = |way: &Way| {
        json!({
            "name": way.name,
            "atRest": way.rest.json(),
            "duringAction": way.busy.json(),
            "polled": way.polled.json(),
            "pipelinedRepliesPerSecond": way.pipelined.0,
        })
    };
    json!({
        "ways": ways.iter().map(way).collect::<Vec<_>>(),
        "floors": floors.iter().map(Floor::json).collect::<Vec<_>>(),
    })
}
