//! Runs a plan: starts its bench, takes the steps in order, gives a verdict, and takes the bench down whatever
//! happens. Trouble of the bench is never a failure of the device.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use hilrig_modbus::PollResult;
use hilrig_port::{Runtime, Time};

use crate::bench::Bench;
use crate::golden::Golden;
use crate::hall::{Hall, RealHall, TICK, Trouble, VirtualHall};
use crate::log::{LOG_VERSION, Log, What};
use crate::plan::{FaultPlan, Plan};
use crate::report::{
    FaultResult, FiringResult, Measurement, ReplyFaultResult, RunResult, StepResult, Verdict,
};
use hilrig_files::show_time;

/// How long a step that only waits, or waits for replies alone, lets virtual time pass at a stretch.
pub(crate) const STRETCH: Duration = Duration::from_secs(1);

/// On what a rig runs.
#[derive(Debug, Clone)]
pub enum On {
    /// Real ports, in real time. Virtual ports get their names here.
    Ports(Runtime),
    /// Nothing but memory, in virtual time: two runs with the same seed are alike.
    VirtualTime,
}

/// How to run.
pub struct Options<'a> {
    pub on: On,
    /// Instead of the rig's own.
    pub seed: Option<u64>,
    /// Asked all the time; the run ends soon after it says yes.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// A line at the start of each step.
    pub on_progress: &'a (dyn Fn(&str) + Sync),
    /// Each line of the log, without its end.
    pub on_log: Option<&'a (dyn Fn(&str) + Sync)>,
    /// The log of an earlier run, which this one must be like.
    pub golden: Option<&'a Golden>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("on", &self.on).field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Runs a rig to its end. Blocks; leaves nothing behind.
pub fn run(plan: &Plan, options: &Options<'_>) -> RunResult {
    run_watched(plan, options, &|_, _| {})
}

/// What came of a run in virtual time.
#[derive(Debug)]
pub struct VirtualRun {
    pub result: RunResult,
    /// The log; the same for the same rig and seed, wherever it runs.
    pub log: String,
}

/// Runs a rig in virtual time, for tests of devices and of rigs; without a seed with the rig's own.
pub fn run_virtual(plan: &Plan, seed: impl Into<Option<u64>>) -> VirtualRun {
    let log = std::sync::Mutex::new(String::new());
    let on_log = |line: &str| {
        let mut log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        log.push_str(line);
        log.push('\n');
    };
    let options = Options {
        on: On::VirtualTime,
        seed: seed.into(),
        stop: &|| false,
        on_progress: &|_| {},
        on_log: Some(&on_log),
        golden: None,
    };
    let result = run(plan, &options);
    VirtualRun { result, log: log.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) }
}

/// The same; `watch` is told the number and the words of each step as it begins.
pub(crate) fn run_watched(plan: &Plan, options: &Options<'_>, watch: &dyn Fn(usize, &str)) -> RunResult {
    match &options.on {
        On::Ports(runtime) => {
            let clock = Clock::new(&Time::now, plan.timeout, options.stop);
            let stop = || clock.interrupted().is_some();
            run_in(plan, options, watch, &clock, || RealHall::new(&plan.name, runtime, &stop))
        }
        On::VirtualTime => {
            let time = Cell::new(Time(0));
            let now = || time.get();
            let clock = Clock::new(&now, plan.timeout, options.stop);
            run_in(plan, options, watch, &clock, || match plan.is_virtual() {
                Ok(()) => Ok(VirtualHall::new(&time)),
                Err(e) => Err(Trouble(e.lines())),
            })
        }
    }
}

fn run_in<H: Hall>(
    plan: &Plan,
    options: &Options<'_>,
    watch: &dyn Fn(usize, &str),
    clock: &Clock<'_>,
    hall: impl FnOnce() -> Result<H, Trouble>,
) -> RunResult {
    let seed = options.seed.unwrap_or(plan.seed);
    let tell = |n: usize, text: &str| {
        watch(n, text);
        (options.on_progress)(&format!("{n}/{} {text}", plan.steps.len()));
    };
    let sink = options.on_log.map(|sink| sink as &dyn Fn(&str));
    let log = Log::new(sink, options.golden.is_some(), clock.zero);
    let time = if matches!(options.on, On::VirtualTime) { "virtual" } else { "real" };
    let (rig, steps) = (&*plan.name, plan.steps.len());
    log.add(clock.zero, What::Run { log: LOG_VERSION, rig, seed, time, steps });
    let mut record =
        Record { clock, log: &log, tell: &tell, steps: Vec::with_capacity(plan.steps.len() + 3) };
    let mut result = RunResult::empty(plan, seed);
    result.virtual_time = matches!(options.on, On::VirtualTime);

    let mut bench = None;
    record.step(0, 0, "start", "the bench", || {
        let started = hall().and_then(|hall| Bench::start(plan, hall, seed, &log));
        bench = Some(started.map_err(|e| clock.halt(e))?);
        Ok(Outcome::pass())
    });
    if let Some(bench) = bench {
        let (armed, replies_armed) = (vec![false; plan.faults.len()], vec![None; plan.reply_faults.len()]);
        let mut run = Run { plan, clock, bench, armed, replies_armed, fresh: vec![] };
        let steps = plan.steps.iter().enumerate();
        let done = steps.fold(true, |go_on, (i, step)| {
            go_on && record.step(i + 1, step.line, step.kind, &step.text, || run.step(step))
        });
        if done {
            record.step(plan.steps.len() + 1, 0, "end", "every fault fired, every port is there", || {
                run.finish()
            });
        }
        // The numbers of a run that went wrong are wanted most of all.
        let _ = guarded(|| {
            run.report(&mut result);
            Ok(())
        });
    }
    let mut steps = record.steps;
    for (i, step) in plan.steps.iter().enumerate().skip(steps.len() - 1) {
        steps.push(StepResult::skipped(i + 1, step.line, step.kind, &step.text));
    }
    result.steps = steps;
    result.judge(plan);
    log.add(clock.now(), What::End { verdict: result.verdict });
    log.flush(Time(u64::MAX));
    if let Some(golden) = options.golden {
        result.steps.push(golden.step(plan.steps.len() + 2, &log.kept(), clock.now_ms()));
        result.judge(plan);
    }
    result.duration_ms = clock.now_ms();
    result
}

/// Takes down what came of each step.
struct Record<'a> {
    clock: &'a Clock<'a>,
    log: &'a Log<'a>,
    tell: &'a dyn Fn(usize, &str),
    steps: Vec<StepResult>,
}

impl Record<'_> {
    /// Answers whether the run goes on.
    fn step(
        &mut self,
        step: usize,
        line: usize,
        kind: &str,
        text: &str,
        f: impl FnOnce() -> Result<Outcome, Halt>,
    ) -> bool {
        if kind != "end" {
            (self.tell)(step, &format!("{kind} {text}"));
        }
        let (at, at_ms) = (self.clock.now(), self.clock.now_ms());
        self.log.add(at, What::Step { step, kind, text });
        self.log.flush(at);
        let outcome = guarded(f).unwrap_or_else(|halt| self.clock.outcome(halt));
        let now = self.clock.now();
        self.log.add(now, What::Verdict { step, verdict: outcome.verdict, got: &outcome.got });
        self.log.flush(now);
        self.steps.push(StepResult {
            verdict: outcome.verdict,
            expected: outcome.expected,
            got: outcome.got,
            message: outcome.message,
            at_ms,
            duration_ms: self.clock.now_ms() - at_ms,
            measurement: outcome.measurement,
            ..StepResult::skipped(step, line, kind, text)
        });
        matches!(outcome.verdict, Verdict::Pass | Verdict::Marginal)
    }
}

/// Turns a panic into trouble, so that the bench is still taken down and the run still has a result.
fn guarded<T>(f: impl FnOnce() -> Result<T, Halt>) -> Result<T, Halt> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Halt::Trouble(format!("the runner itself failed, please report it: {text}")))
    })
}

/// Why a run ends before its steps do.
#[derive(Debug, Clone)]
pub(crate) enum Halt {
    Canceled,
    TimedOut,
    Trouble(String),
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble.0)
    }
}

/// What came of a step.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub verdict: Verdict,
    pub expected: String,
    pub got: String,
    pub message: String,
    pub measurement: Option<Measurement>,
}

impl Outcome {
    pub fn pass() -> Self {
        let empty = String::new;
        Self { verdict: Verdict::Pass, expected: empty(), got: empty(), message: empty(), measurement: None }
    }

    /// Pass or fail by what was wanted and seen.
    pub fn compared(good: bool, expected: String, got: String) -> Self {
        let message = if good { String::new() } else { format!("expected {expected}, got {got}") };
        let verdict = if good { Verdict::Pass } else { Verdict::Fail };
        Self { verdict, expected, got, message, measurement: None }
    }

    pub fn failed(message: String) -> Self {
        Self { verdict: Verdict::Fail, message, ..Self::pass() }
    }
}

/// The time of a run, real or virtual, and when it has to end.
pub(crate) struct Clock<'a> {
    now: &'a dyn Fn() -> Time,
    zero: Time,
    end: Time,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Clock<'a> {
    fn new(now: &'a dyn Fn() -> Time, timeout: Duration, stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        let zero = now();
        Self { now, zero, end: zero + timeout, stop }
    }

    pub fn now(&self) -> Time {
        (self.now)()
    }

    fn now_ms(&self) -> f64 {
        self.ms(self.now())
    }

    fn ms(&self, at: Time) -> f64 {
        at.since(self.zero).as_nanos() as f64 / 1e6
    }

    fn interrupted(&self) -> Option<Halt> {
        if (self.stop)() { Some(Halt::Canceled) } else { (self.now() >= self.end).then_some(Halt::TimedOut) }
    }

    fn outcome(&self, halt: Halt) -> Outcome {
        let (verdict, message) = match halt {
            Halt::Canceled => (Verdict::Canceled, "canceled".to_owned()),
            Halt::TimedOut => {
                let limit = show_time(self.end - self.zero);
                (Verdict::Timeout, format!("the rig had not ended after {limit}, its `timeout`"))
            }
            Halt::Trouble(why) => (Verdict::Error, why),
        };
        Outcome { verdict, message, ..Outcome::pass() }
    }

    /// Trouble that only came because the run was to end is no trouble.
    fn halt(&self, trouble: Trouble) -> Halt {
        self.interrupted().unwrap_or(Halt::Trouble(trouble.0))
    }
}

/// A run under way. The steps themselves are in `act.rs`.
pub(crate) struct Run<'a, H: Hall> {
    pub plan: &'a Plan,
    pub clock: &'a Clock<'a>,
    pub bench: Bench<'a, H>,
    /// Which faults have been injected.
    pub armed: Vec<bool>,
    /// In which line a fault of replies was armed.
    pub replies_armed: Vec<Option<usize>>,
    /// What the masters reported since the last look.
    pub fresh: Vec<(usize, PollResult)>,
}

impl<H: Hall> Run<'_, H> {
    /// Takes in what is new; answers why the run has to end, if it has.
    pub fn look(&mut self) -> Result<(), Halt> {
        if let Some(halt) = self.clock.interrupted() {
            return Err(halt);
        }
        self.fresh.clear();
        let fresh = &mut self.fresh;
        self.bench.drain(&mut |master, result| fresh.push((master, *result)))?;
        Ok(self.bench.trouble()?)
    }

    /// Looks until `done` answers something, or until the time is over; the last look is after that. In virtual time
    /// it looks at each new result, and otherwise as often as `every` says.
    pub fn until<T>(
        &mut self,
        within: Duration,
        every: Duration,
        mut done: impl FnMut(&mut Self) -> Result<Option<T>, Halt>,
    ) -> Result<Option<T>, Halt> {
        let deadline = self.clock.now() + within;
        loop {
            let now = self.clock.now();
            self.look()?;
            if let Some(answer) = done(self)? {
                return Ok(Some(answer));
            }
            if now >= deadline {
                return Ok(None);
            }
            self.bench.pass(deadline.min(self.clock.end).min(now + every))?;
        }
    }

    /// A fault that a step has injected or armed and that never fired, in words.
    fn silent_fault(&mut self) -> Option<String> {
        let told = |name: &str, how: &str, line: usize| {
            format!("the fault {name}, {how} in line {line}, never fired, so nothing was tested with it")
        };
        let links = (0..self.armed.len()).find(|i| {
            let fault = &self.plan.faults[*i];
            self.armed[*i] && self.bench.fault(fault).is_ok_and(|rule| rule.is_some_and(|r| r.fired == 0))
        });
        if let Some(i) = links {
            let FaultPlan { rule, line, .. } = &self.plan.faults[i];
            return Some(told(&rule.id, "injected", *line));
        }
        (0..self.replies_armed.len()).find_map(|i| {
            let line = self.replies_armed[i]?;
            let fired = self.bench.reply_fault(i).ok()?.fired;
            (fired == 0).then(|| told(&self.plan.reply_faults[i].name, "armed", line))
        })
    }

    /// What every run must meet, whatever its steps are.
    fn finish(&mut self) -> Result<Outcome, Halt> {
        self.look()?;
        if let Some(message) = self.silent_fault() {
            return Ok(Outcome::failed(message));
        }
        self.bench.pause(true)?;
        self.until(Duration::from_secs(1), TICK, |run| Ok(run.bench.is_idle()?.then_some(())))?;
        Ok(Outcome::pass())
    }

    fn report(&mut self, result: &mut RunResult) {
        result.warnings.append(&mut self.bench.take_warnings());
        result.bytes = self.bench.bytes();
        result.stations = self.bench.stations();
        for (i, fault) in self.plan.reply_faults.iter().enumerate() {
            let firings = self.bench.reply_fault(i).unwrap_or_default();
            result.reply_faults.push(ReplyFaultResult {
                name: fault.name.clone(),
                sim: self.plan.sims[fault.sim].name.clone(),
                seen: firings.seen,
                fired: firings.fired,
            });
        }
        for (i, fault) in self.plan.faults.iter().enumerate() {
            let rule = self.bench.fault(fault).ok().flatten();
            let firings = rule.as_ref().map(|r| r.firings.as_slice()).unwrap_or_default();
            let link = &self.plan.links[fault.link];
            result.faults.push(FaultResult {
                name: fault.rule.id.clone(),
                link: link.name.clone(),
                direction: fault.rule.direction,
                line: fault.line,
                injected: self.armed[i],
                limit: fault.rule.when.count,
                fired: rule.as_ref().map_or(0, |r| r.fired),
                firings: firings
                    .iter()
                    .map(|f| FiringResult { at_ms: self.clock.ms(f.at), offset: f.position, bytes: f.bytes })
                    .collect(),
            });
        }
    }
}
