//! stub
use std::sync::Arc;

use hilrig_contract::ContractError;

use crate::{Bus, LogTail, Root};

/// The log files of a root.
#[derive(Debug)]
pub struct Logbook {
    root: Root,
    bus: Arc<Bus>,
}

impl Logbook {
    pub fn new(root: &Root, bus: Arc<Bus>) -> Arc<Self> {
        Arc::new(Self { root: root.clone(), bus })
    }

    /// Appends one line to the app's log and publishes it as a `log` event. `level`: INFO, WARN, ...
    pub fn write(&self, _app_id: &str, _level: &str, _text: &str) {
        let _ = (&self.root, &self.bus);
        unimplemented!()
    }

    /// What `log.tail` answers.
    ///
    /// # Errors
    /// The file cannot be read, or the cursor is not one of ours.
    pub fn tail(&self, _app_id: &str, _lines: usize, _cursor: Option<&str>) -> Result<LogTail, ContractError> {
        unimplemented!()
    }
}

/// Routes `tracing` events with a field `app` to that app's log, all others to `logs/hilrig.log`.
#[derive(Debug)]
pub struct LogLayer(pub Arc<Logbook>);
