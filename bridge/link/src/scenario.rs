//! The seam to the rig runner, which lives above the bridge: `run_start` with a rig starts a [`Scenario`].

use std::path::Path;

use hilrig_contract::ContractError;
use serde_json::{Map, Value};

/// Finds and starts the rigs of an installation.
pub trait Scenarios: Send + Sync {
    /// Starts the rig `name` (a file of `rigs/`, with or without `.toml`) and returns once it is under way.
    ///
    /// # Errors
    /// The reason for an operator: no such rig, or what is wrong in the file and in which line.
    fn start(&self, root: &Path, name: &str) -> Result<Box<dyn Scenario>, ContractError>;

    /// Starts a rig that is no file; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    fn start_text(&self, root: &Path, name: &str, text: &str) -> Result<Box<dyn Scenario>, ContractError> {
        let _ = (root, text);
        Err(ContractError::failed(format!("{name}: this program runs no rigs of its own")))
    }

    /// Reads a rig without starting it.
    ///
    /// # Errors
    /// What is wrong in the file and in which line.
    fn check(&self, root: &Path, name: &str) -> Result<(), String> {
        let _ = (root, name);
        Ok(())
    }

    /// Names of the rigs that are there.
    fn names(&self, root: &Path) -> Vec<String>;
}

/// A rig under way.
pub trait Scenario: Send + Sync {
    fn state(&self) -> ScenarioState;

    /// Asks it to end; [`state`](Self::state) tells when it has.
    fn stop(&self);
}

/// Where a rig is.
#[derive(Debug, Clone, Default)]
pub struct ScenarioState {
    pub name: String,
    /// Of everything random in it.
    pub seed: u64,
    /// The step under way, counted from 1; 0 before the first.
    pub step: usize,
    pub steps: usize,
    /// The step under way, in words.
    pub doing: String,
    /// `pass`, `marginal`, `fail`, `error`, `canceled` or `timeout` when it is over.
    pub verdict: Option<String>,
    /// What the verdict rests on, in a sentence.
    pub message: String,
    /// The whole result when it is over.
    pub result: Map<String, Value>,
}
