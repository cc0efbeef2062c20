//! Who of an app's exclusive actions may work: one at a time. A preempting one cancels the holder and waits for its
//! end; any other is turned away. Runs nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use hilrig_contract::{Job, Stop};

use crate::JobHandle;
use crate::events::lock;

/// How often a waiting action looks whether it has been stopped itself.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(crate) struct Turns {
    line: Mutex<Line>,
    moved: Condvar,
}

/// The first one holds, the others wait. Only preempting ones ever wait.
#[derive(Debug, Default)]
struct Line(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    job: Arc<JobHandle>,
    preempts: bool,
}

impl Turns {
    /// Takes a place, the first if it is free.
    ///
    /// # Errors
    /// The id of the job in the way.
    pub fn enter(&self, job: &Arc<JobHandle>, preempts: bool) -> Result<(), String> {
        let mut line = lock(&self.line);
        if let Some(last) = line.0.back()
            && !preempts
        {
            return Err(last.job.id().to_owned());
        }
        if let Some(holder) = line.0.front()
            && !holder.preempts
        {
            holder.job.request_stop(Stop::Canceled);
        }
        line.0.push_back(Waiting { job: Arc::clone(job), preempts });
        Ok(())
    }

    /// Waits until `job` holds.
    ///
    /// # Errors
    /// It has been stopped while it waited.
    pub fn wait(&self, job: &JobHandle) -> Result<(), Stop> {
        let mut line = lock(&self.line);
        loop {
            if line.0.front().is_some_and(|first| first.job.id() == job.id()) {
                return Ok(());
            }
            if let Some(stop) = job.stop() {
                return Err(stop);
            }
            line = self.moved.wait_timeout(line, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives the place up, held or waited for.
    pub fn leave(&self, job: &JobHandle) {
        lock(&self.line).0.retain(|waiting| waiting.job.id() != job.id());
        self.moved.notify_all();
    }
}
