//! stub
use std::sync::Arc;
use std::time::Duration;

use hilrig_contract::App;

use crate::{Bus, ConfigStore, Jobs, Logbook, Root};

/// An app of this process behind the contract.
pub struct LocalApp {
    app: Arc<dyn App>,
    jobs: Arc<Jobs>,
    config: ConfigStore,
}

impl std::fmt::Debug for LocalApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalApp").finish_non_exhaustive()
    }
}

impl LocalApp {
    /// Must be called within a tokio runtime: starts the task that watches the app's status.
    pub fn new(root: &Root, app: Arc<dyn App>, bus: Arc<Bus>, _logbook: Arc<Logbook>) -> Arc<Self> {
        let spec = app.spec();
        Arc::new(Self { jobs: Jobs::new(spec.id, bus), config: ConfigStore::new(root, spec), app })
    }

    pub fn jobs(&self) -> &Arc<Jobs> {
        let _ = (&self.config, &self.app);
        &self.jobs
    }

    /// No run is up, no job is live, no thread of an action still works.
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }

    /// Refuses new actions, cancels live ones, stops the run.
    pub async fn shutdown(&self, _deadline: Duration) {
        unimplemented!()
    }
}
