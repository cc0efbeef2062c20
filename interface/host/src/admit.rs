//! What has to hold before an action is accepted: the same rules in the daemon and in a host process. Carries
//! nothing out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hilrig_contract::{ActionDescriptor, Args, ContractError, ErrorCode, Stop};

use crate::events::lock;
use crate::{Invoke, JobHandle, Jobs};

/// The actions of one app and the jobs that carry them.
#[derive(Debug)]
pub(crate) struct Admission {
    app_id: String,
    actions: Vec<ActionDescriptor>,
    jobs: Arc<Jobs>,
    /// Held from the look at the live jobs until the new one is among them.
    gate: Mutex<()>,
}

/// An accepted invocation: its job is queued.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) job: Arc<JobHandle>,
    pub(crate) args: Args,
    pub(crate) timeout: Duration,
    /// Jobs that go before this one, asked to end if they may be: it begins when they have ended.
    pub(crate) ahead: Vec<Arc<JobHandle>>,
}

impl Admission {
    pub(crate) fn new(app_id: &str, actions: &[ActionDescriptor], jobs: &Arc<Jobs>) -> Self {
        let (app_id, actions) = (app_id.to_owned(), actions.to_vec());
        Self { app_id, actions, jobs: Arc::clone(jobs), gate: Mutex::new(()) }
    }

    /// # Errors
    /// `E_NOT_FOUND` for an unknown action, `E_BAD_ARG` for its arguments, `E_ACTION_FAILED` "busy: ..." if an
    /// exclusive action is under way and this one does not preempt it.
    pub(crate) fn admit(&self, invoke: &Invoke) -> Result<Admitted, ContractError> {
        let action = self.action(&invoke.action)?;
        let args = action.accept(&invoke.args)?;
        let seconds = invoke.timeout_seconds.unwrap_or(action.timeout_seconds);
        let timeout = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(LONGEST);
        let _gate = lock(&self.gate);
        let ahead = if action.exclusive { self.exclusive_jobs() } else { vec![] };
        if let Some(busy) = ahead.first().filter(|_| !action.preempts) {
            let id = hilrig_contract::Job::id(&**busy);
            return Err(ContractError::failed(format!("busy: {id}"))
                .with("reason", "busy")
                .with("jobId", id)
                .with("actionName", busy.action()));
        }
        let job = self.jobs.accept(&invoke.action, timeout, invoke.job_id.clone())?;
        // One stop does not cancel another: it waits for it, and both succeed.
        ahead.iter().filter(|job| !self.preempts(job)).for_each(|job| job.request_stop(Stop::Canceled));
        Ok(Admitted { job, args, timeout, ahead })
    }

    fn action(&self, name: &str) -> Result<&ActionDescriptor, ContractError> {
        self.actions.iter().find(|a| a.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.actions.iter().map(|a| a.name.as_str()).collect();
            let shown: String = name.chars().take(64).collect();
            let text = format!("{} has no action {shown:?}; it has {}", self.app_id, known.join(", "));
            ContractError::new(ErrorCode::NotFound, text).with("actionName", shown)
        })
    }

    fn preempts(&self, job: &JobHandle) -> bool {
        self.actions.iter().any(|a| a.name == job.action() && a.preempts)
    }

    fn exclusive_jobs(&self) -> Vec<Arc<JobHandle>> {
        let exclusive = |name: &str| self.actions.iter().any(|a| a.name == name && a.exclusive);
        self.jobs.live().into_iter().filter(|job| exclusive(job.action())).collect()
    }
}

/// Longest timeout of an action; a clock must be able to tell its end.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bus;
    use hilrig_contract::Job;
    use serde_json::{Map, json};

    fn admission() -> Admission {
        let mut actions = ActionDescriptor::run_pair().to_vec();
        actions.push(ActionDescriptor::new("look", "Look", ""));
        Admission::new("bridge", &actions, &Jobs::new("bridge", Bus::new()))
    }

    fn invoke(action: &str) -> Invoke {
        Invoke { action: action.to_owned(), args: Map::new(), timeout_seconds: None, job_id: None }
    }

    #[test]
    fn one_exclusive_action_at_a_time() {
        let app = admission();
        let first = app.admit(&invoke("run_start")).unwrap();
        let busy = app.admit(&invoke("run_start")).unwrap_err();
        assert_eq!(busy.message, format!("busy: {}", first.job.id()));
        assert!(app.admit(&invoke("look")).is_ok());
        first.job.finish(Ok(Map::new()));
        assert!(app.admit(&invoke("run_start")).is_ok());
    }

    #[test]
    fn stopping_takes_the_place_of_starting() {
        let app = admission();
        let start = app.admit(&invoke("run_start")).unwrap();
        let stop = app.admit(&invoke("run_stop")).unwrap();
        assert_eq!(stop.ahead.len(), 1);
        assert_eq!(start.job.stop(), Some(Stop::Canceled));
        let again = app.admit(&invoke("run_stop")).unwrap();
        assert_eq!((again.ahead.len(), stop.job.stop()), (2, None));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        let app = admission();
        assert_eq!(app.admit(&invoke("rm -rf")).unwrap_err().code, ErrorCode::NotFound);
        let args = json!({"x": 1}).as_object().unwrap().clone();
        let error = app.admit(&Invoke { args, ..invoke("look") }).unwrap_err();
        assert_eq!(error.details["param"], "x");
        let timeout = Some(f64::MAX);
        assert!(app.admit(&Invoke { timeout_seconds: timeout, ..invoke("look") }).is_ok());
    }
}
