//! The actions on captures.

use std::path::{Path, PathBuf};

use hilrig_capture::CaptureSpec;
use hilrig_contract::{Call, ContractError, object};
use serde_json::json;

use crate::CaptureRow;
use crate::app::{BridgeApp, Outcome, failed};

/// Where captures of an installation are.
pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join("captures")
}

/// What became of a capture, for people.
pub(crate) fn sentence(row: &CaptureRow) -> String {
    let CaptureRow { file, records, bytes, lost_bytes, error, .. } = row;
    let lost = if *lost_bytes > 0 { format!(", {lost_bytes} bytes missing") } else { String::new() };
    let error = if error.is_empty() { String::new() } else { format!("; {error}") };
    format!("{file}: {records} records, {bytes} bytes{lost}{error}")
}

pub(crate) fn start(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let args = call.args;
    let names = args.text("links").unwrap_or_default().split([',', ' ']).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let lives = links.named(&names).map_err(failed)?;
    if lives.is_empty() {
        return Err(ContractError::failed("there is no link to capture"));
    }
    let wrong = |param: &'static str| move |why: String| ContractError::bad_param(param, why);
    let name = match lives.as_slice() {
        [one] => one.name().to_owned(),
        _ => "bridge".to_owned(),
    };
    let file =
        args.text("file").map_or_else(|| PathBuf::from(format!("{name}-{{time}}.pcapng")), PathBuf::from);
    let spec = CaptureSpec {
        format: args.text("format").unwrap_or("rtac").parse().map_err(wrong("format"))?,
        framing: args.text("framing").unwrap_or("raw").parse().map_err(wrong("framing"))?,
        points: args.text("points").unwrap_or("out").parse().map_err(wrong("points"))?,
        rotate_megabytes: args.float("rotateMegabytes"),
        rotate_seconds: args.float("rotateSeconds"),
        keep: args.int("keep").and_then(|n| u32::try_from(n).ok()),
        ..CaptureSpec::new(file)
    };
    spec.check().map_err(|e| ContractError::bad_param(e.key, e.to_string()))?;
    let row = links.captures().start(&lives, &spec, &folder(call.root)).map_err(failed)?;
    call.job.out(&format!("{} captures {} to {}", row.id, row.links, row.file));
    Ok(object(json!({"capture": row.id, "file": row.file, "links": row.links})))
}

pub(crate) fn stop(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let ended = links.captures().stop(call.args.text("capture").unwrap_or_default()).map_err(failed)?;
    ended.iter().for_each(|row| call.job.out(&sentence(row)));
    let files: Vec<&String> = ended.iter().flat_map(|row| &row.files).collect();
    Ok(object(json!({"captures": ended, "files": files})))
}
