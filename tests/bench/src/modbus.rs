//! `hilrig plc` against other Modbus servers and the least that a server can be, all in one run. It measures programs from
//! outside, with one client that checks every reply; how punctual shards are is measured with shards.

mod load;
mod peer;
mod servers;
mod timing;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

pub use peer::{Options as PeerOptions, run as run_peer};

use crate::bridge::blame;
use crate::child::{Group, confine, cores, on_path, read_summary, traced};
use crate::line::End;
use crate::report::{Floor, Rounds, Table, figure, print_floors, print_load, quantile, with_ratio};
use crate::{Common, Failure};
use load::{Callers, Run};
use servers::{
    BUSY, FLOOR, Gap, LIBMODBUS, OURS, PYMODBUS, Place, SPIN_US, SPINNING, Servers, TRACED, free_port,
};

/// Connections of the closed loops.
const CONNECTIONS: [usize; 3] = [1, 16, 256];
/// Configured delays of replies, in ms.
const DELAYS: [u32; 4] = [0, 2, 10, 100];
const IDLE: usize = 1000;

#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rounds of each comparison
    #[arg(long)]
    rounds: Option<usize>,
    /// Let the processors sleep between messages, as they do without a real-time run
    #[arg(long)]
    asleep: bool,
    /// Leave out a server of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,
}

struct Plan {
    rounds: usize,
    /// Of one closed loop.
    time: Duration,
    /// Requests of one round on a line.
    line: usize,
    traced: usize,
    telegrams: usize,
    delayed: usize,
}

/// What was measured of one server.
#[derive(Debug, Default)]
struct Figures {
    tcp: [Loop; 3],
    /// Answered at once, and after t3.5 by those that know it.
    line: [Loop; 2],
    /// System calls a request, by name, on one connection.
    calls: BTreeMap<String, f64>,
    /// Resident memory in MB with all idle connections, and what each added, in KB.
    resident_mb: f64,
    idle_kb: f64,
}

/// A closed loop's figures, one a round.
#[derive(Debug, Default)]
struct Loop {
    per_second: Rounds,
    p50: Rounds,
    p99: Rounds,
    cpu: Rounds,
}

impl Loop {
    fn add(&mut self, run: &Run, cpu: Duration) {
        self.per_second.0.push(run.per_second());
        self.p50.0.push(quantile(&run.samples, 0.5));
        self.p99.0.push(quantile(&run.samples, 0.99));
        self.cpu.0.push(cpu.as_secs_f64() * 1e6 / run.samples.len() as f64);
    }

    fn json(&self) -> Value {
        json!({
            "requestsPerSecond": self.per_second.json(), "p50Us": self.p50.json(), "p99Us": self.p99.json(),
            "cpuUsPerRequest": self.cpu.json(),
        })
    }
}

/// What is timed with shards.
#[derive(Debug, Default)]
struct Timed {
    /// Lateness of telegrams in us, by who sent them.
    cyclic: Vec<(&'static str, Rounds, Rounds)>,
    delays: Vec<Delayed>,
}

/// Replies that are to leave a while after their requests: how much later than that they came, in us.
#[derive(Debug)]
struct Delayed {
    server: &'static str,
    ms: u32,
    p50: Rounds,
    p99: Rounds,
    early: usize,
}

struct Bench<'a> {
    servers: Servers,
    plan: Plan,
    figures: BTreeMap<&'static str, Figures>,
    /// Where the client runs, and the servers.
    cores: [usize; 2],
    temporary: &'a Path,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let mut plan = if options.common.quick {
        let time = Duration::from_millis(100);
        Plan { rounds: 1, time, line: 100, traced: 200, telegrams: 300, delayed: 10 }
    } else {
        let time = Duration::from_secs(1);
        Plan { rounds: 7, time, line: 2000, traced: 1000, telegrams: 10_000, delayed: 200 }
    };
    plan.rounds = options.rounds.unwrap_or(plan.rounds).max(1);
    let temporary = tempfile::tempdir()?;
    let mut servers = Servers::find(options.common.hilrig()?, temporary.path())?;
    servers.names.retain(|name| !options.skip.iter().any(|skipped| skipped == name));
    let mut notes = std::mem::take(&mut servers.notes);
    let all = cores()?;
    let cores = [all[0], *all.last().unwrap_or(&all[0])];
    let figures = servers.names.iter().map(|name| (*name, Figures::default())).collect();
    let mut bench = Bench { servers, plan, figures, cores, temporary: temporary.path() };

    // A processor that sleeps between messages costs all servers the same, and more than any of them does.
    let awake = if options.asleep { Err("not asked for".to_owned()) } else { hold_latency() };
    bench.rounds(|bench, name| bench.line_round(name, Gap::None))?;
    bench.rounds(|bench, name| match name {
        OURS | FLOOR => bench.line_round(name, Gap::Silence),
        _ => Ok(()),
    })?;
    bench.rounds(|bench, name| bench.tcp_round(name, 0))?;
    let how = match &awake {
        Ok(_) => "processors kept awake".to_owned(),
        Err(why) => format!("processors may sleep: {why}"),
    };
    drop(awake);
    for index in 1..CONNECTIONS.len() {
        bench.rounds(|bench, name| bench.tcp_round(name, index))?;
    }
    for name in bench.servers.names.clone() {
        bench.idle(name)?;
        if let Some(strace) = on_path("strace") {
            bench.count_calls(name, &strace)?;
        }
    }
    let timed = bench.timed(&mut notes)?;
    confine(&all)?;

    let floors = bench.floors(&timed);
    if options.common.json {
        println!("{}", bench.json(&timed, &floors, &notes));
        return Ok(());
    }
    bench.print(&timed, &how);
    print_floors(&floors, options.common.quick);
    print_load();
    notes.sort();
    notes.dedup();
    notes.iter().for_each(|note| println!("note: {note}"));
    Ok(())
}

/// Held as long as this is.
fn hold_latency() -> Result<std::fs::File, String> {
    use std::io::Write;
    let path = "/dev/cpu_dma_latency";
    let mut file = std::fs::File::options().write(true).open(path).map_err(|e| format!("{path}: {e}"))?;
    file.write_all(&0i32.to_ne_bytes()).map_err(|e| format!("{path}: {e}"))?;
    Ok(file)
}

impl Bench<'_> {
    /// All servers, by turns, in an order that changes.
    fn rounds(
        &mut self,
        mut one: impl FnMut(&mut Self, &'static str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for round in 0..self.plan.rounds {
            let mut names = self.servers.names.clone();
            let turn = round % names.len();
            names.rotate_left(turn);
            for name in names {
                blame(name, one(self, name))?;
            }
        }
        Ok(())
    }

    /// Starts a server on its core; the client is on the other.
    fn start(&self, name: &str, place: &Place) -> Result<Group, Failure> {
        let command = self.servers.command(name, place)?;
        confine(&self.cores[1..])?;
        let group = Group::start(name, &[command], self.temporary);
        confine(&self.cores[..1])?;
        group
    }

    fn of(&mut self, name: &'static str) -> &mut Figures {
        self.figures.entry(name).or_default()
    }

    fn line_round(&mut self, name: &'static str, gap: Gap) -> Result<(), Failure> {
        let line = End::pty()?;
        let mut group = self.start(name, &Place::Line { path: line.port.clone(), gap })?;
        load::settle_rtu(&line, &mut group)?;
        // A silence is a hundred times as long as all the rest.
        let count = if gap == Gap::None { self.plan.line } else { self.plan.line / 5 };
        load::run_rtu(&line, count / 10)?;
        let before = group.cpu();
        let run = load::run_rtu(&line, count)?;
        let cpu = group.cpu() - before;
        self.of(name).line[gap as usize].add(&run, cpu);
        Ok(())
    }

    fn tcp_round(&mut self, name: &'static str, index: usize) -> Result<(), Failure> {
        let address = free_port()?;
        let mut group = self.start(name, &Place::Tcp(address))?;
        load::settle_tcp(address, &mut group)?;
        let mut callers = Callers::connect(address, CONNECTIONS[index])?;
        callers.run(self.plan.time / 10)?;
        let before = group.cpu();
        let run = callers.run(self.plan.time)?;
        let cpu = group.cpu() - before;
        self.of(name).tcp[index].add(&run, cpu);
        Ok(())
    }

    /// Many connections that have asked once and are silent then.
    fn idle(&mut self, name: &'static str) -> Result<(), Failure> {
        let address = free_port()?;
        let mut group = self.start(name, &Place::Tcp(address))?;
        blame(name, load::settle_tcp(address, &mut group))?;
        blame(name, Callers::connect(address, 1)?.once())?;
        let (_, before) = group.memory_kb()?;
        let mut callers = Callers::connect(address, IDLE)?;
        blame(name, callers.once())?;
        let (resident, after) = group.memory_kb()?;
        let figures = self.of(name);
        figures.resident_mb = resident / 1024.0;
        figures.idle_kb = (after - before) / IDLE as f64;
        Ok(())
    }

    /// Two runs under `strace -c` that differ only in the number of requests: what start and stop cost falls out.
    fn count_calls(&mut self, name: &'static str, strace: &Path) -> Result<(), Failure> {
        let mut runs = Vec::new();
        for count in [20, 20 + self.plan.traced] {
            let address = free_port()?;
            let summary = self.temporary.join(format!("calls-{count}"));
            let _ = std::fs::remove_file(&summary);
            let command = traced(strace, &self.servers.command(name, &Place::Tcp(address))?, &summary);
            let mut group = Group::start(name, &[command], self.temporary)?;
            blame(name, load::settle_tcp(address, &mut group))?;
            let mut callers = Callers::connect(address, 1)?;
            for _ in 0..count {
                blame(name, callers.once())?;
            }
            drop(group);
            runs.push(read_summary(&summary)?);
        }
        let of = |run: usize, call: &String| runs[run].get(call).copied().unwrap_or(0) as f64;
        let calls = runs[0].keys().chain(runs[1].keys());
        let more = |call: &String| (of(1, call) - of(0, call)) / self.plan.traced as f64;
        self.of(name).calls = calls.map(|call| (call.clone(), more(call))).collect();
        Ok(())
    }

    fn timed(&self, notes: &mut Vec<String>) -> Result<Timed, Failure> {
        let mut timed = Timed::default();
        let server = self.cores[1];
        let senders = ["cyclictest", "hilrig shard", "hilrig shard, 150 us of spinning"];
        timed.cyclic.extend(senders.map(|name| (name, Rounds::default(), Rounds::default())));
        for _ in 0..self.plan.rounds {
            for (name, p50, p99) in &mut timed.cyclic {
                let late = if *name == "cyclictest" {
                    timing::cyclictest(server, self.plan.telegrams).unwrap_or_default()
                } else {
                    let spin =
                        Duration::from_micros(if name.contains("spinning") { SPIN_US.into() } else { 0 });
                    let (late, refused) = timing::cyclic(server, spin, self.plan.telegrams, self.temporary)?;
                    notes.extend(refused);
                    late
                };
                if !late.is_empty() {
                    p50.0.push(quantile(&late, 0.5));
                    p99.0.push(quantile(&late, 0.99));
                }
            }
        }
        for (name, like) in [(FLOOR, FLOOR), (OURS, OURS), (SPINNING, OURS)] {
            if self.servers.names.contains(&like) {
                let row = |ms| Delayed {
                    server: name,
                    ms,
                    p50: Rounds::default(),
                    p99: Rounds::default(),
                    early: 0,
                };
                timed.delays.extend(DELAYS.map(row));
            }
        }
        for _ in 0..self.plan.rounds {
            for row in &mut timed.delays {
                let took = blame(row.server, self.delayed(row.server, row.ms))?;
                let delay = f64::from(row.ms) * 1e3;
                row.p50.0.push(quantile(&took, 0.5) - delay);
                row.p99.0.push(quantile(&took, 0.99) - delay);
                row.early += took.iter().filter(|us| **us < delay).count();
            }
        }
        Ok(timed)
    }

    /// Round trips to a server that delays its replies.
    fn delayed(&self, name: &str, ms: u32) -> Result<Vec<f64>, Failure> {
        let address = free_port()?;
        let command = self.servers.delaying(name, address, ms, self.cores[1])?;
        confine(&self.cores[1..])?;
        let group = Group::start(name, &[command], self.temporary);
        confine(&self.cores[..1])?;
        let mut group = group?;
        load::settle_tcp(address, &mut group)?;
        let count = if ms < 100 { self.plan.delayed } else { self.plan.delayed.div_ceil(2) };
        timing::asked(address, count)
    }

    fn ratio(&self, ours: &str, peer: &str, of: &dyn Fn(&Figures) -> f64) -> f64 {
        match (self.figures.get(ours), self.figures.get(peer)) {
            (Some(ours), Some(peer)) => of(ours) / of(peer),
            _ => f64::NAN,
        }
    }

    fn floors(&self, timed: &Timed) -> Vec<Floor> {
        let mut floors = Vec::new();
        for (index, connections) in CONNECTIONS.into_iter().enumerate() {
            let rate = self.ratio(OURS, FLOOR, &|f| f.tcp[index].per_second.median());
            let what = format!("the C floor's requests/s of ours, {connections} connections");
            floors.push(Floor::new(what, 1.0 / 0.95, 1.0 / rate));
        }
        let rate = |peer, index: usize| 1.0 / self.ratio(OURS, peer, &|f| f.tcp[index].per_second.median());
        floors.push(Floor::new(
            "libmodbus' requests/s of ours, 16 connections",
            1.0 / 1.4,
            rate(LIBMODBUS, 1),
        ));
        floors.push(Floor::new("pymodbus' requests/s of ours, 16 connections", 0.1, rate(PYMODBUS, 1)));
        for (how, gap) in [("", Gap::None), (" with t3.5", Gap::Silence)] {
            let p50 = self.ratio(OURS, FLOOR, &|f| f.line[gap as usize].p50.median());
            let cpu = self.ratio(OURS, FLOOR, &|f| f.line[gap as usize].cpu.median());
            floors.push(Floor::new(format!("RTU on a PTY{how}, p50, of the C floor's"), 1.05, p50));
            floors.push(Floor::new(
                format!("RTU on a PTY{how}, CPU per request, of the C floor's"),
                1.2,
                cpu,
            ));
        }
        for (with, name) in [("signals and rules", BUSY), ("signals, rules and a trace", TRACED)] {
            let what = format!("requests/s without {with}, of those with, 16 connections");
            let without = 1.0 / self.ratio(name, OURS, &|f| f.tcp[1].per_second.median());
            floors.push(Floor::new(what, 1.1, without));
        }
        let ours = self.figures.get(OURS);
        floors.push(Floor::new("KB per idle connection", 1.0, ours.map_or(f64::NAN, |f| f.idle_kb)));
        let what = format!("MB resident with {IDLE} connections");
        floors.push(Floor::new(what, 8.0, ours.map_or(f64::NAN, |f| f.resident_mb)));
        let late = |name| timed.cyclic.iter().find(|c| c.0 == name).map_or(f64::NAN, |c| c.2.median());
        let what = "telegrams of 1 ms, p99 late, of cyclictest's";
        floors.push(Floor::new(what, 1.1, late("hilrig shard") / late("cyclictest")));
        let of = |server| timed.delays.iter().filter(move |d| d.server == server);
        let undelayed = of(SPINNING).find(|d| d.ms == 0).map_or(f64::NAN, |d| d.p50.median());
        let errors = of(SPINNING).filter(|d| d.ms > 0).map(|d| d.p99.median() - undelayed);
        let what = "us of error of a configured delay, worst p99, spinning";
        floors.push(Floor::new(what, 60.0, errors.fold(f64::NAN, f64::max)));
        let pairs = of(OURS).zip(of(FLOOR)).filter(|(ours, _)| ours.ms > 0);
        let ratios = pairs.map(|(ours, floor)| ours.p50.median() / floor.p50.median());
        let what = "delayed replies, p50 late, of the C floor's at worst";
        floors.push(Floor::new(what, 1.1, ratios.fold(f64::NAN, f64::max)));
        let early: usize = timed.delays.iter().map(|d| d.early).sum();
        let early = if timed.delays.is_empty() { f64::NAN } else { early as f64 };
        floors.push(Floor::new("replies earlier than configured", 0.0, early));
        floors
    }

    fn print(&self, timed: &Timed, how: &str) {
        let nothing = Figures::default();
        let floor = self.figures.get(FLOOR).unwrap_or(&nothing);
        let header = ["", "requests/s", "p50 us", "p99 us", "CPU us per request"];
        let table = |title: String, of: &dyn Fn(&Figures) -> &Loop| {
            let mut table = Table::new(title, &header);
            for name in &self.servers.names {
                let (ours, theirs) = (of(&self.figures[name]), of(floor));
                if ours.p50.0.is_empty() {
                    continue;
                }
                let pairs = [
                    (&ours.per_second, &theirs.per_second),
                    (&ours.p50, &theirs.p50),
                    (&ours.p99, &theirs.p99),
                    (&ours.cpu, &theirs.cpu),
                ];
                let cells = pairs.map(|(ours, theirs)| with_ratio(ours.median(), theirs.median()));
                table.row([&[(*name).to_owned()], &cells[..]].concat());
            }
            table.print();
        };
        let rounds = self.plan.rounds;
        for (index, connections) in CONNECTIONS.into_iter().enumerate() {
            let how = if index == 0 { format!("; {how}") } else { String::new() };
            let title = format!(
                "Modbus TCP, reads of 10 registers on {connections} connections, median of {rounds} rounds \
                 (x = of the C floor's){how}"
            );
            table(title, &|figures| &figures.tcp[index]);
        }
        for (gap, when) in [(Gap::None, "replies at once"), (Gap::Silence, "replies after t3.5")] {
            let title = format!("Modbus RTU on a PTY, {when} (x = of the C floor's); {how}");
            table(title, &|figures| &figures.line[gap as usize]);
        }

        let title = format!("{IDLE} idle connections, and what a request on one connection costs");
        let mut table = Table::new(title, &["", "KB each", "MB resident", "system calls", "which"]);
        for name in &self.servers.names {
            let figures = &self.figures[name];
            let mut calls: Vec<_> = figures.calls.iter().filter(|(_, count)| **count >= 0.01).collect();
            calls.sort_by(|a, b| b.1.total_cmp(a.1));
            let which: Vec<_> = calls.iter().map(|(call, count)| format!("{call} {count:.2}")).collect();
            table.row(vec![
                (*name).to_owned(),
                figure(figures.idle_kb),
                figure(figures.resident_mb),
                figure(figures.calls_per_request()),
                which.join(" "),
            ]);
        }
        table.print();

        let mut table = Table::new("Telegrams each 1 ms, us late (x = of cyclictest's)", &["", "p50", "p99"]);
        let peer = &timed.cyclic[0];
        for (name, p50, p99) in &timed.cyclic {
            let cells = [(p50, &peer.1), (p99, &peer.2)].map(|(a, b)| with_ratio(a.median(), b.median()));
            table.row([&[(*name).to_owned()], &cells[..]].concat());
        }
        table.print();

        if !timed.delays.is_empty() {
            let title = "Replies later than configured, us, as a client sees them that does not sleep; at 0 ms that is the round trip";
            let columns: Vec<String> =
                DELAYS.iter().flat_map(|ms| [format!("{ms} ms p50"), "p99".to_owned()]).collect();
            let columns: Vec<&str> = std::iter::once("").chain(columns.iter().map(String::as_str)).collect();
            let mut table = Table::new(title, &columns);
            for rows in timed.delays.chunks(DELAYS.len()) {
                let cells = rows.iter().flat_map(|d| [&d.p50, &d.p99].map(|late| figure(late.median())));
                table.row(std::iter::once(rows[0].server.to_owned()).chain(cells).collect());
            }
            table.print();
        }
    }

    fn json(&self, timed: &Timed, floors: &[Floor], notes: &[String]) -> Value {
        let server = |name: &&'static str| {
            let figures = &self.figures[name];
            let tcp = CONNECTIONS.into_iter().zip(&figures.tcp);
            json!({
                "name": name,
                "tcp": tcp.map(|(n, l)| json!({"connections": n, "loop": l.json()})).collect::<Vec<_>>(),
                "rtu": figures.line[0].json(),
                "rtuWithSilence": figures.line[1].json(),
                "systemCallsPerRequest": figures.calls_per_request(),
                "idleKb": figures.idle_kb,
                "residentMb": figures.resident_mb,
            })
        };
        let cyclic = |(name, p50, p99): &(&str, Rounds, Rounds)| json!({"name": name, "p50Us": p50.json(), "p99Us": p99.json()});
        let delay = |d: &Delayed| json!({"server": d.server, "delayMs": d.ms, "lateP50Us": d.p50.json(), "lateP99Us": d.p99.json()});
        json!({
            "servers": self.servers.names.iter().map(server).collect::<Vec<_>>(),
            "cyclic": timed.cyclic.iter().map(cyclic).collect::<Vec<_>>(),
            "delays": timed.delays.iter().map(delay).collect::<Vec<_>>(),
            "floors": floors.iter().map(Floor::json).collect::<Vec<_>>(),
            "notes": notes,
        })
    }
}

impl Figures {
    fn calls_per_request(&self) -> f64 {
        if self.calls.is_empty() { f64::NAN } else { self.calls.values().sum() }
    }
}
