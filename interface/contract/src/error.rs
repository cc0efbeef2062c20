//! Error codes and the error that travels on the wire. Only V0 codes exist; finer reasons go to `details.reason`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The V0 error codes, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ErrorCode {
    /// The request is malformed: not JSON, a missing key, a wrong type, a value out of range.
    #[serde(rename = "E_BAD_ARG")]
    BadArg,
    /// No such method.
    #[serde(rename = "E_UNSUPPORTED_METHOD")]
    UnsupportedMethod,
    /// No such app.
    #[serde(rename = "E_UNSUPPORTED_APP")]
    UnsupportedApp,
    /// No such action, job or config key.
    #[serde(rename = "E_NOT_FOUND")]
    NotFound,
    /// An action ran and failed, or could not start.
    #[serde(rename = "E_ACTION_FAILED")]
    ActionFailed,
    /// An action was stopped by its `timeoutSeconds`.
    #[serde(rename = "E_ACTION_TIMEOUT")]
    ActionTimeout,
    /// A config value is not allowed, or the config file is broken.
    #[serde(rename = "E_CONFIG_INVALID")]
    ConfigInvalid,
    /// A defect or an environment failure on the server's side.
    #[serde(rename = "E_INTERNAL")]
    Internal,
}

/// The `error` object of a reply or of a job: `message` is a sentence for an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ContractError {
    pub code: ErrorCode,
    pub message: String,
    #[serde(default)]
    pub details: Map<String, Value>,
}

impl ContractError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Map::new() }
    }

    /// Adds one key to `details`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// `E_BAD_ARG` that names the offending parameter in `details.param`.
    pub fn bad_param(param: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadArg, message).with("param", param)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ActionFailed, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }
}
