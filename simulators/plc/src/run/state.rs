//! The state of a run in a file: the values of all points, kept and taken up again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use hilrig_points::{Plant, Snapshot};
use hilrig_port::Time;
use serde::{Deserialize, Serialize};

use super::{Run, RunError};

/// Where the states of an installation are kept.
pub fn state_file(root: &Path, model: &str) -> PathBuf {
    root.join("state").join("plc").join(format!("{model}.json"))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateFile {
    model: String,
    state: Snapshot,
}

fn wrong(path: &Path, source: impl Into<std::io::Error>) -> RunError {
    RunError::Snapshot { path: path.to_owned(), source: source.into() }
}

/// Takes up a state that was saved; answers what of it did not fit.
pub(super) fn restore(plant: &mut Plant, now: Time, path: &Path) -> Result<Vec<String>, RunError> {
    let text = fs::read_to_string(path).map_err(|e| wrong(path, e))?;
    let file: StateFile = serde_json::from_str(&text).map_err(|e| wrong(path, e))?;
    Ok(plant.restore(now, &file.state))
}

impl Run {
    /// Writes the state to a file, which is either the new one or the old one, never half of it.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RunError> {
        let state = self.with_plant(|plant, now| plant.snapshot(now))?;
        let file = StateFile { model: self.model().name.clone(), state };
        let text = serde_json::to_string_pretty(&file).map_err(|e| wrong(path, e))?;
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let new = path.with_extension("json.new");
            let mut out = fs::File::create(&new)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(|e: std::io::Error| wrong(path, e))
    }
}
