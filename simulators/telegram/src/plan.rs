//! From a table as written to a plan: names resolved, texts parsed, everything that is wrong collected. Touches no port.

use hilrig_files::{At, Problems};
use hilrig_points::Plant;

use crate::file::TelegramFile;

/// A checked telegram table.
#[derive(Debug, Clone)]
pub struct TelegramPlan {
    pub name: String,
    /// The port of the model.
    pub port: String,
}

/// Checks a table; `None` if something of it is wrong, which is in `problems` then. Whether the port exists is for the
/// one who knows the ports.
pub fn build(
    name: &At<String>,
    file: &TelegramFile,
    plant: &Plant,
    problems: &mut Problems<'_>,
) -> Option<TelegramPlan> {
    let _ = plant;
    problems.name(name);
    Some(TelegramPlan { name: name.value.clone(), port: file.port.value.clone() })
}
