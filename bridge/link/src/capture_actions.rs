//! The actions on captures.

use hilrig_contract::{Call, ContractError, object};
use hilrig_record::{capture_folder, capture_sentence, capture_spec};
use serde_json::json;

use crate::app::{BridgeApp, Outcome, failed};
use crate::links::tapped;

pub(crate) fn start(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let names = call.args.text("links").unwrap_or_default().split([',', ' ']).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let lives = links.named(&names).map_err(failed)?;
    if lives.is_empty() {
        return Err(ContractError::failed("there is no link to capture"));
    }
    let name = match lives.as_slice() {
        [one] => one.name(),
        _ => "bridge",
    };
    let spec = capture_spec(call, name, "raw")?;
    let row = links.captures().start(&tapped(&lives), &spec, &capture_folder(call.root));
    let row = row.map_err(|e| failed(e.into()))?;
    call.job.out(&format!("{} captures {} to {}", row.id, row.links, row.file));
    Ok(object(json!({"capture": row.id, "file": row.file, "links": row.links})))
}

pub(crate) fn stop(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let ended = links.captures().stop(call.args.text("capture").unwrap_or_default());
    let ended = ended.map_err(|e| failed(e.into()))?;
    ended.iter().for_each(|row| call.job.out(&capture_sentence(row)));
    let files: Vec<&String> = ended.iter().flat_map(|row| &row.files).collect();
    Ok(object(json!({"captures": ended, "files": files})))
}
