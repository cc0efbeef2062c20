//! The jobs of one app: records that only move forward, their ids, output and retention. Runs nothing itself:
//! whoever carries a job out (a thread in this process, a host process) reports through its [`JobHandle`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hilrig_contract::{ContractError, ErrorCode, Job, JobRecord, Stop};

use crate::JobHandle;
use crate::events::{Bus, lock};

/// Terminal jobs kept readable.
pub const JOBS_KEPT: usize = 1000;
/// How long a terminal job is kept readable.
pub const JOBS_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of output that the terminal jobs of one app may hold together; over it the oldest keep their last
/// [`OLD_OUTPUT`] bytes per stream.
const OUTPUT_BUDGET: usize = 32 << 20;
const OLD_OUTPUT: usize = 4 << 10;

/// The jobs of one app.
#[derive(Debug)]
pub struct Jobs {
    app_id: String,
    bus: Arc<Bus>,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    by_id: HashMap<String, Arc<JobHandle>>,
    /// In the order of acceptance.
    order: VecDeque<String>,
}

/// A job id from the system's randomness: nobody guesses one.
fn mint() -> Result<String, ContractError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| ContractError::internal(format!("the system gives no random numbers: {e}")))?;
    Ok(format!("job-{:032x}", u128::from_ne_bytes(bytes)))
}

/// Whether `id` has the form of a job id. Nothing else is ever looked up.
pub fn is_job_id(id: &str) -> bool {
    id.strip_prefix("job-")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// `E_NOT_FOUND` for a job.
pub fn no_such_job(app_id: &str, id: &str) -> ContractError {
    let shown: String = id.chars().take(64).collect();
    ContractError::new(ErrorCode::NotFound, format!("{app_id} has no job {shown:?}")).with("jobId", shown)
}

impl Jobs {
    pub fn new(app_id: &str, bus: Arc<Bus>) -> Arc<Self> {
        Arc::new(Self { app_id: app_id.to_owned(), bus, registry: Mutex::default() })
    }

    /// Accepts a job: queued from now on. `id` is one minted by a daemon, or none.
    ///
    /// # Errors
    /// The given id is malformed or already used.
    pub fn accept(
        &self,
        action: &str,
        timeout: Duration,
        id: Option<String>,
    ) -> Result<Arc<JobHandle>, ContractError> {
        let id = match id {
            Some(id) if is_job_id(&id) => id,
            Some(id) => return Err(ContractError::bad_param("jobId", format!("{id:?} is no job id"))),
            None => mint()?,
        };
        let job = self.new_job(id, action, Instant::now().checked_add(timeout));
        self.insert(&job)?;
        job.accepted();
        Ok(job)
    }

    fn new_job(&self, id: String, action: &str, deadline: Option<Instant>) -> Arc<JobHandle> {
        JobHandle::new(id, &self.app_id, action, deadline, &self.bus)
    }

    fn insert(&self, job: &Arc<JobHandle>) -> Result<(), ContractError> {
        let mut registry = lock(&self.registry);
        if registry.by_id.contains_key(job.id()) {
            return Err(ContractError::bad_param("jobId", format!("{} is already used", job.id())));
        }
        registry.by_id.insert(job.id().to_owned(), Arc::clone(job));
        registry.order.push_back(job.id().to_owned());
        registry.evict();
        Ok(())
    }

    /// # Errors
    /// `E_NOT_FOUND`.
    pub fn handle_of(&self, id: &str) -> Result<Arc<JobHandle>, ContractError> {
        if !is_job_id(id) {
            return Err(no_such_job(&self.app_id, id));
        }
        lock(&self.registry).by_id.get(id).cloned().ok_or_else(|| no_such_job(&self.app_id, id))
    }

    /// # Errors
    /// `E_NOT_FOUND`.
    pub fn get(&self, id: &str) -> Result<JobRecord, ContractError> {
        Ok(self.handle_of(id)?.record())
    }

    /// All jobs, newest first, without their output.
    pub fn list(&self) -> Vec<JobRecord> {
        let registry = lock(&self.registry);
        registry.order.iter().rev().filter_map(|id| registry.by_id.get(id)).map(|job| job.summary()).collect()
    }

    /// The jobs that are not over.
    pub fn live(&self) -> Vec<Arc<JobHandle>> {
        lock(&self.registry).by_id.values().filter(|job| !job.state().is_terminal()).cloned().collect()
    }

    /// Asks a job to end. The record turns `canceled` when it really has ended.
    ///
    /// # Errors
    /// `E_NOT_FOUND`.
    pub fn cancel(&self, id: &str) -> Result<JobRecord, ContractError> {
        let job = self.handle_of(id)?;
        job.request_stop(Stop::Canceled);
        Ok(job.record())
    }

    /// Takes over the record of a job carried out by another process. An older state than the known one is
    /// ignored.
    ///
    /// # Errors
    /// The record's id is malformed.
    pub fn import(&self, record: JobRecord) -> Result<Arc<JobHandle>, ContractError> {
        let job = match self.handle_of(&record.job_id) {
            Ok(job) => job,
            Err(e) if !is_job_id(&record.job_id) => return Err(e),
            Err(_) => {
                let job = self.new_job(record.job_id.clone(), &record.action_name, None);
                self.insert(&job)?;
                job
            }
        };
        job.import(record);
        Ok(job)
    }
}

impl Registry {
    /// Live jobs are never evicted.
    fn evict(&mut self) {
        let mut terminal = 0;
        let mut output = 0;
        let by_id = &mut self.by_id;
        let mut kept: VecDeque<String> = VecDeque::with_capacity(self.order.len());
        for id in self.order.drain(..).rev() {
            let Some(job) = by_id.get(&id) else { continue };
            if let Some(finished) = job.finished_since() {
                terminal += 1;
                if terminal > JOBS_KEPT || finished.elapsed() > JOBS_KEPT_FOR {
                    by_id.remove(&id);
                    continue;
                }
                output += job.output_bytes();
                if output > OUTPUT_BUDGET {
                    job.trim_output(OLD_OUTPUT);
                }
            }
            kept.push_front(id);
        }
        self.order = kept;
    }
}

#[cfg(test)]
mod tests {
    use hilrig_contract::{JobState, Topic};
    use serde_json::Map;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn done(jobs: &Jobs) -> Arc<JobHandle> {
        let job = jobs.accept("x", MINUTE, None).unwrap();
        job.start();
        job.finish(Ok(Map::new()));
        job
    }

    #[test]
    fn ids_are_random_and_checked_before_they_are_looked_up() {
        let a = mint().unwrap();
        assert!(is_job_id(&a) && a != mint().unwrap());
        for bad in [
            "",
            "job-",
            "job-1",
            "../job",
            &a[..35],
            &a.to_uppercase(),
            &format!("{a}0"),
            &a.replace('-', "/"),
        ] {
            assert!(!is_job_id(bad), "{bad}");
        }
        let shown = no_such_job("bridge", &"x".repeat(5000));
        assert!(shown.message.len() < 200);
    }

    #[test]
    fn old_jobs_go_and_live_ones_stay() {
        let jobs = Jobs::new("bridge", Bus::new());
        let live = jobs.accept("x", MINUTE, None).unwrap();
        let first = done(&jobs);
        for _ in 0..JOBS_KEPT + 5 {
            done(&jobs);
        }
        assert!(jobs.get(first.id()).is_err());
        assert_eq!(jobs.get(live.id()).unwrap().state, JobState::Queued);
        let list = jobs.list();
        assert!(list.len() <= JOBS_KEPT + 2, "{}", list.len());
        assert_eq!(list.last().unwrap().job_id, live.id());
    }

    #[test]
    fn output_of_many_jobs_is_bounded_and_the_newest_is_whole() {
        let jobs = Jobs::new("bridge", Bus::new());
        let line = "x".repeat(1023);
        let ids: Vec<String> = (0..200)
            .map(|_| {
                let job = jobs.accept("x", MINUTE, None).unwrap();
                (0..256).for_each(|_| job.out(&line));
                job.finish(Ok(Map::new()));
                job.id().to_owned()
            })
            .collect();
        jobs.accept("x", MINUTE, None).unwrap();
        let held = |id: &String| jobs.get(id).unwrap().stdout.len();
        assert!(ids.iter().map(held).sum::<usize>() <= OUTPUT_BUDGET + 200 * (OLD_OUTPUT + 64));
        assert_eq!(held(ids.last().unwrap()), 256 << 10);
        assert!(jobs.get(&ids[0]).unwrap().stdout.starts_with("[truncated: "));
    }

    #[test]
    fn records_of_other_processes_only_move_forward() {
        let bus = Bus::new();
        let jobs = Jobs::new("bridge", Arc::clone(&bus));
        let events = bus.subscriber();
        events.add(Topic::JobChanged, None);
        let there = Jobs::new("bridge", Bus::new());
        let job = there.accept("soak", MINUTE, None).unwrap();
        let queued = job.record();
        job.start();
        job.out("half way");
        let running = job.record();
        job.finish(Err(ContractError::failed("no port")));
        let failed = job.record();
        for (record, state) in [
            (&queued, JobState::Queued),
            (&running, JobState::Running),
            (&queued, JobState::Running),
            (&failed, JobState::Failed),
            (&running, JobState::Failed),
        ] {
            jobs.import(record.clone()).unwrap();
            assert_eq!(jobs.get(job.id()).unwrap().state, state);
        }
        let here = serde_json::to_value(jobs.get(job.id()).unwrap()).unwrap();
        assert_eq!(here, serde_json::to_value(&failed).unwrap());
        assert_eq!(std::iter::from_fn(|| events.try_next()).count(), 2);
        let bad = JobRecord { job_id: "../x".to_owned(), ..failed };
        assert!(jobs.import(bad).is_err());
    }

    #[test]
    fn a_used_id_is_not_used_again() {
        let jobs = Jobs::new("bridge", Bus::new());
        let id = mint().unwrap();
        jobs.accept("x", MINUTE, Some(id.clone())).unwrap();
        assert!(jobs.accept("x", MINUTE, Some(id)).is_err());
    }

    #[test]
    fn sleeping_ends_by_time_deadline_and_request() {
        let jobs = Jobs::new("bridge", Bus::new());
        let job = jobs.accept("x", Duration::from_millis(20), None).unwrap();
        assert_eq!(job.sleep(MINUTE), Err(Stop::TimedOut));
        job.request_stop(Stop::Canceled);
        assert_eq!(job.stop(), Some(Stop::Canceled), "a person's wish is the better reason");
        let job = jobs.accept("x", MINUTE, None).unwrap();
        assert_eq!(job.sleep(Duration::from_millis(1)), Ok(()));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| job.sleep(MINUTE));
            job.request_stop(Stop::Canceled);
            assert_eq!(sleeper.join().unwrap(), Err(Stop::Canceled));
        });
    }
}
