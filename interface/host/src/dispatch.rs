//! stub
use std::sync::Arc;

use crate::{Backend, Bus};

/// One per process: the method table over the apps.
pub struct Dispatcher {
    backends: Vec<Arc<dyn Backend>>,
    bus: Arc<Bus>,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// `backends` in the order of `app.list`.
    pub fn new(backends: Vec<Arc<dyn Backend>>, bus: Arc<Bus>) -> Arc<Self> {
        Arc::new(Self { backends, bus })
    }

    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }
}
