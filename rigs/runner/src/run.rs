//! Runs a plan: starts its bench, takes the steps in order, gives a verdict, and takes the bench down whatever
//! happens. Trouble of the bench is never a failure of the device.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use hilrig_modbus::PollResult;
use hilrig_port::{Runtime, Time};

use crate::bench::{Bench, Trouble};
use crate::plan::{FaultPlan, Plan};
use crate::report::{FaultResult, FiringResult, Measurement, RunResult, StepResult, Verdict};
use hilrig_files::show_time;

/// How often a waiting step looks.
const TICK: Duration = Duration::from_millis(2);

/// How to run.
pub struct Options<'a> {
    /// Where the virtual ports get their names.
    pub runtime: Runtime,
    /// Instead of the rig's own.
    pub seed: Option<u64>,
    /// Asked all the time; the run ends soon after it says yes.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// A line at the start of each step.
    pub on_progress: &'a (dyn Fn(&str) + Sync),
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("runtime", &self.runtime)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Runs a rig to its end. Blocks; leaves nothing behind.
pub fn run(plan: &Plan, options: &Options<'_>) -> RunResult {
    run_watched(plan, options, &|_, _| {})
}

/// The same; `watch` is told the number and the words of each step as it begins.
pub(crate) fn run_watched(plan: &Plan, options: &Options<'_>, watch: &dyn Fn(usize, &str)) -> RunResult {
    let begun = Instant::now();
    let clock = Clock { begun, zero: Time::now(), end: begun + plan.timeout, stop: options.stop };
    let tell = |n: usize, text: &str| {
        watch(n, text);
        (options.on_progress)(&format!("{n}/{} {text}", plan.steps.len()));
    };
    let mut record = Record { clock: &clock, tell: &tell, steps: Vec::with_capacity(plan.steps.len() + 2) };
    let mut result = RunResult::empty(plan, options.seed.unwrap_or(plan.seed));

    let mut bench = None;
    record.step(0, 0, "start", "the bench", || {
        let stop = || clock.interrupted().is_some();
        bench = Some(Bench::start(plan, &options.runtime, &stop).map_err(|e| clock.halt(e))?);
        Ok(Outcome::pass())
    });
    if let Some(bench) = bench {
        let mut run =
            Run { plan, clock: &clock, bench, armed: vec![false; plan.faults.len()], fresh: vec![] };
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
    for (i, step) in plan.steps.iter().enumerate().skip(record.steps.len() - 1) {
        record.steps.push(StepResult::skipped(i + 1, step.line, step.kind, &step.text));
    }
    result.steps = record.steps;
    result.judge(plan);
    result.duration_ms = clock.now_ms();
    result
}

/// Takes down what came of each step.
struct Record<'a> {
    clock: &'a Clock<'a>,
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
        let at_ms = self.clock.now_ms();
        let outcome = guarded(f).unwrap_or_else(|halt| self.clock.outcome(halt));
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

/// The time of a run, and when it has to end.
pub(crate) struct Clock<'a> {
    begun: Instant,
    /// The same moment as the stations see it.
    zero: Time,
    end: Instant,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Clock<'_> {
    fn now_ms(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() * 1000.0
    }

    fn interrupted(&self) -> Option<Halt> {
        if (self.stop)() {
            Some(Halt::Canceled)
        } else {
            (Instant::now() >= self.end).then_some(Halt::TimedOut)
        }
    }

    fn outcome(&self, halt: Halt) -> Outcome {
        let (verdict, message) = match halt {
            Halt::Canceled => (Verdict::Canceled, "canceled".to_owned()),
            Halt::TimedOut => {
                let limit = show_time(self.end - self.begun);
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
pub(crate) struct Run<'a> {
    pub plan: &'a Plan,
    pub clock: &'a Clock<'a>,
    pub bench: Bench<'a>,
    /// Which faults have been injected.
    pub armed: Vec<bool>,
    /// What the masters reported since the last look.
    pub fresh: Vec<(usize, PollResult)>,
}

impl Run<'_> {
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

    /// Looks until `done` answers something, or until the time is over; the last look is after that.
    pub fn until<T>(
        &mut self,
        within: Duration,
        mut done: impl FnMut(&mut Self) -> Result<Option<T>, Halt>,
    ) -> Result<Option<T>, Halt> {
        let deadline = Instant::now() + within;
        loop {
            let over = Instant::now() >= deadline;
            self.look()?;
            if let Some(answer) = done(self)? {
                return Ok(Some(answer));
            }
            if over {
                return Ok(None);
            }
            std::thread::sleep(TICK.min(deadline.saturating_duration_since(Instant::now())));
        }
    }

    /// Index of a fault that was injected and never fired.
    fn silent_fault(&self) -> Option<usize> {
        let fired = |i: usize| match self.bench.fault(&self.plan.faults[i]) {
            Ok(Some(rule)) => rule.fired > 0,
            _ => true,
        };
        (0..self.armed.len()).find(|i| self.armed[*i] && !fired(*i))
    }

    /// What every run must meet, whatever its steps are.
    fn finish(&mut self) -> Result<Outcome, Halt> {
        self.look()?;
        if let Some(i) = self.silent_fault() {
            let FaultPlan { rule, line, .. } = &self.plan.faults[i];
            let message = format!(
                "the fault {}, injected in line {line}, never fired, so nothing was tested with it",
                rule.id
            );
            return Ok(Outcome::failed(message));
        }
        self.bench.pause(true)?;
        self.until(Duration::from_secs(1), |run| Ok(run.bench.is_idle()?.then_some(())))?;
        Ok(Outcome::pass())
    }

    fn report(&mut self, result: &mut RunResult) {
        result.warnings.append(&mut self.bench.warnings);
        result.bytes = self.bench.bytes();
        result.stations = self.bench.stations();
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
                    .map(|f| FiringResult {
                        at_ms: f.at.since(self.clock.zero).as_secs_f64() * 1000.0,
                        offset: f.position,
                        bytes: f.bytes,
                    })
                    .collect(),
            });
        }
    }
}
