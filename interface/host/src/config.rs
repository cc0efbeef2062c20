//! stub
use std::path::PathBuf;

use hilrig_contract::{AppSpec, ConfigSet, ConfigTree, ConfigView, ContractError};
use serde_json::Value;

use crate::Root;

/// The configuration of one app.
#[derive(Debug)]
pub struct ConfigStore {
    file: PathBuf,
}

impl ConfigStore {
    pub fn new(root: &Root, spec: &AppSpec) -> Self {
        Self { file: root.config_file(spec.id) }
    }

    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// What `config.get` answers. Reads the file; never fails.
    pub fn view(&self) -> ConfigView {
        unimplemented!()
    }

    /// The effective configuration for an action.
    ///
    /// # Errors
    /// `E_CONFIG_INVALID` with every error of the file.
    pub fn effective(&self) -> Result<ConfigTree, ContractError> {
        unimplemented!()
    }

    /// What `config.set` does. Blocks on the disk: call it from a blocking thread.
    ///
    /// # Errors
    /// `E_NOT_FOUND` for an unknown key, `E_CONFIG_INVALID` for the value, the file or the revision; then nothing
    /// has changed.
    pub fn set(
        &self,
        _key: &str,
        _value: &Value,
        _expected: Option<&str>,
        _running: Option<u32>,
    ) -> Result<ConfigSet, ContractError> {
        unimplemented!()
    }
}

/// A commented file with every key at its default, for `hilrig init`.
pub fn default_config(_spec: &AppSpec) -> String {
    unimplemented!()
}
