//! A rig run on a thread of its own, for a program that does other things meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hilrig_port::Runtime;

use crate::plan::Plan;
use crate::report::RunResult;
use crate::run::{On, Options, run_watched};

/// Where a run is.
#[derive(Debug, Clone)]
pub struct RigSnapshot {
    pub name: String,
    /// The step under way, from 1; 0 while the bench starts.
    pub step: usize,
    pub steps: usize,
    /// The step under way, in words.
    pub doing: String,
    /// When it is over.
    pub result: Option<RunResult>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    snapshot: Mutex<RigSnapshot>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, RigSnapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run under way. Dropping it stops the run and waits until its bench is down.
#[derive(Debug)]
pub struct RigRun {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl RigRun {
    /// Starts a run; answers at once.
    pub fn start(plan: Plan, runtime: Runtime, seed: Option<u64>) -> Self {
        let snapshot = RigSnapshot {
            name: plan.name.clone(),
            step: 0,
            steps: plan.steps(),
            doing: "start the bench".to_owned(),
            result: None,
        };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), snapshot: Mutex::new(snapshot) });
        let theirs = shared.clone();
        let refused = RunResult::empty(&plan, seed.unwrap_or(plan.seed));
        let thread = std::thread::Builder::new().name(format!("rig {}", plan.name)).spawn(move || {
            let stop = || theirs.stop.load(Ordering::Relaxed);
            let options = Options {
                on: On::Ports(runtime),
                seed,
                stop: &stop,
                on_progress: &|_| {},
                on_log: None,
                golden: None,
            };
            let watch = |step: usize, doing: &str| {
                let mut snapshot = theirs.lock();
                snapshot.step = step.min(plan.steps());
                doing.clone_into(&mut snapshot.doing);
            };
            // Whoever waits for the result must get one, whatever happens here.
            let result = catch_unwind(AssertUnwindSafe(|| run_watched(&plan, &options, &watch)));
            let result = result.unwrap_or_else(|_| {
                let reason = "the runner itself failed, please report it".to_owned();
                RunResult { reason, ..RunResult::empty(&plan, seed.unwrap_or(plan.seed)) }
            });
            theirs.lock().result = Some(result);
        });
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(e) => {
                let reason = format!("at the start: the system gives no thread for the run: {e}");
                shared.lock().result = Some(RunResult { reason, ..refused });
                None
            }
        };
        Self { shared, thread }
    }

    pub fn snapshot(&self) -> RigSnapshot {
        self.shared.lock().clone()
    }

    /// Asks the run to end; [`snapshot`](Self::snapshot) has its result soon after.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the end.
    pub fn join(mut self) -> RigSnapshot {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.snapshot()
    }
}

impl Drop for RigRun {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
