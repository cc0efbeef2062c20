//! Many links at once: all but one carry traffic at 57,600 baud, and messages on the one are timed. It measures programs from
//! outside, like `bridge`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;
use crate::bridge::{blame, pings};
use crate::child::Group;
use crate::line::{End, Line};
use crate::programs::{CAPTURING, LOOP, Pair, Programs};
use crate::report::{Floor, Rounds, Table, figure, quantile, with_ratio};

const SIZE: usize = 16;
/// A message of `SIZE` bytes takes this long at 57,600 baud.
const PERIOD: Duration = Duration::from_micros(2778);
/// The links speak in so many groups, one after the other, as devices that know nothing of each other would.
const GROUPS: usize = 8;
/// A program that is not up by then is too slow to be of use.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Figures {
    p50: Rounds,
    samples: Vec<f64>,
    cpu: Rounds,
    lost: u64,
    start: Rounds,
}

/// Figures of all programs for one number of links.
#[derive(Debug)]
pub struct Many {
    links: usize,
    programs: Vec<(&'static str, Figures)>,
}

impl Many {
    pub fn measure(
        found: &Programs,
        links: usize,
        rounds: usize,
        messages: usize,
        temporary: &Path,
    ) -> Result<Self, Failure> {
        let mut lines = Vec::with_capacity(links);
        for _ in 0..links {
            lines.push(Line { ends: [End::pty()?, End::pty()?], patience: Duration::from_secs(5) });
        }
        let pairs: Vec<Pair> =
            lines.iter().map(|line| line.ends.each_ref().map(|end| end.port.clone())).collect();
        // socat and gensiot need a process for each link; with these many, ser2net's waiting says nothing new.
        let mut programs: Vec<_> = found
            .names
            .iter()
            .filter(|name| **name != crate::programs::SER2NET_PLAIN)
            .map(|name| (*name, Figures::default()))
            .collect();
        for round in 0..rounds {
            let turn = round % programs.len();
            programs.rotate_left(turn);
            for (name, figures) in &mut programs {
                let commands = found.commands(name, &pairs)?;
                blame(name, one_round(name, &commands, &lines, messages, figures, temporary))?;
            }
            programs.rotate_right(turn);
        }
        Ok(Self { links, programs })
    }

    fn of(&self, name: &str) -> Option<&Figures> {
        self.programs.iter().find(|(n, _)| *n == name).map(|(_, figures)| figures)
    }

    pub fn floors(&self) -> Vec<Floor> {
        let (Some(ours), Some(theirs)) = (self.of(CAPTURING), self.of(LOOP)) else { return Vec::new() };
        let what =
            |figure: &str| format!("{} loaded links, {figure}, best round, of the C poll loop's", self.links);
        // Below some dozens of descriptors poll() is as good as anything.
        if self.links < 64 {
            return Vec::new();
        }
        vec![
            Floor::new(what("p50"), 0.50, ours.p50.best() / theirs.p50.best()),
            Floor::new(what("CPU"), 0.50, ours.cpu.best() / theirs.cpu.best()),
        ]
    }

    pub fn print(&self) {
        let title = format!(
            "{} links in all, the others loaded with 57,600 baud, {SIZE} B (x = of the C poll loop's)",
            self.links
        );
        let header =
            ["", "p50 us best", "median", "p99", "CPU us/message", "median", "up after ms", "lost bytes"];
        let mut table = Table::new(title, &header);
        let nothing = Figures::default();
        let peer = self.of(LOOP).unwrap_or(&nothing);
        for (name, figures) in &self.programs {
            table.row(vec![
                (*name).to_owned(),
                with_ratio(figures.p50.best(), peer.p50.best()),
                with_ratio(figures.p50.median(), peer.p50.median()),
                figure(quantile(&figures.samples, 0.99)),
                with_ratio(figures.cpu.best(), peer.cpu.best()),
                with_ratio(figures.cpu.median(), peer.cpu.median()),
                figure(figures.start.median()),
                figures.lost.to_string(),
            ]);
        }
        table.print();
    }

    pub fn json(&self) -> Value {
        let programs = self.programs.iter().map(|(name, figures)| {
            json!({
                "name": name, "p50Us": figures.p50.json(), "p99Us": quantile(&figures.samples, 0.99),
                "cpuUsPerMessage": figures.cpu.json(), "upAfterMs": figures.start.json(), "lostBytes": figures.lost,
            })
        });
        json!({"links": self.links, "programs": programs.collect::<Vec<_>>()})
    }
}

fn one_round(
    name: &str,
    commands: &[Vec<std::ffi::OsString>],
    lines: &[Line],
    messages: usize,
    figures: &mut Figures,
    temporary: &Path,
) -> Result<(), Failure> {
    lines.iter().flat_map(|line| &line.ends).try_for_each(End::clear)?;
    let started = Instant::now();
    let mut group = Group::start(name, commands, temporary)?;
    for line in lines {
        line.settle(&mut group)?;
        if started.elapsed() > PATIENCE {
            return Err(Failure::Missing(format!("not all links are up after {PATIENCE:?}")));
        }
    }
    // Settling waits 30 ms for silence on each link; what is left is the program's own.
    let up = started.elapsed().saturating_sub(Duration::from_millis(30) * lines.len() as u32);
    figures.start.0.push(up.as_secs_f64() * 1e3);
    let stop = AtomicBool::new(false);
    let carried = AtomicU64::new(0);
    let (background, one) = (&lines[1..], &lines[0]);
    let samples = std::thread::scope(|scope| {
        let load = scope.spawn(|| load(background, &stop, &carried));
        let outcome = pings(SIZE, 10, |from, message| one.ping(from, message)).and_then(|_| {
            let (before, already) = (group.cpu(), carried.load(Ordering::Relaxed));
            let samples = pings(SIZE, messages, |from, message| one.ping(from, message))?;
            let all = carried.load(Ordering::Relaxed) - already + samples.len() as u64;
            figures.cpu.0.push((group.cpu() - before).as_secs_f64() * 1e6 / all as f64);
            Ok(samples)
        });
        stop.store(true, Ordering::Relaxed);
        let lost = load.join().map_err(|_| Failure::Missing("the load failed".to_owned()))?;
        figures.lost += lost?;
        outcome
    })?;
    figures.p50.0.push(quantile(&samples, 0.5));
    figures.samples.extend(samples);
    Ok(())
}

/// Keeps all lines busy, a message from one end at a time, until told to stop; answers how many bytes never came.
fn load(lines: &[Line], stop: &AtomicBool, carried: &AtomicU64) -> Result<u64, Failure> {
    let message = [0x55; SIZE];
    let mut owed = vec![[0u64; 2]; lines.len()];
    let start = Instant::now();
    let step = PERIOD / GROUPS as u32;
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let from = turn / GROUPS % 2;
        for (line, owed) in lines.iter().zip(&mut owed).skip(turn % GROUPS).step_by(GROUPS) {
            // What was sent in the last turn is there by now, or counts as still owed.
            for to in [0, 1] {
                owed[to] -= line.ends[to].drain()?.min(owed[to]);
            }
            owed[1 - from] += line.ends[from].put(&message)?;
            carried.fetch_add(1, Ordering::Relaxed);
        }
        let next = start + step * (turn as u32 + 1);
        sleep(next.saturating_duration_since(Instant::now()));
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while owed.iter().flatten().any(|n| *n > 0) && Instant::now() < deadline {
        for (line, owed) in lines.iter().zip(&mut owed) {
            for to in [0, 1] {
                owed[to] -= line.ends[to].drain()?.min(owed[to]);
            }
        }
        sleep(Duration::from_millis(1));
    }
    Ok(owed.iter().flatten().sum())
}
