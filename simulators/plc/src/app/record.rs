//! The actions that record what passes on ports of a run, and play it again.

use hilrig_contract::{Call, ContractError};
use hilrig_record::{
    capture_folder, capture_sentence, capture_spec, replay_follow, replay_player, replay_result,
};
use serde_json::json;

use super::{Outcome, PlcApp, failed, object};
use crate::model::capture_framing;

fn names(text: &str) -> Vec<&str> {
    text.split([',', ' ']).filter(|name| !name.is_empty()).collect()
}

impl PlcApp {
    pub(super) fn record_start(&self, call: Call<'_>) -> Outcome {
        let run = self.run()?;
        let lines = run.lines(&names(call.args.text("ports").unwrap_or_default())).map_err(failed)?;
        let name = match &lines[..] {
            [one] => one.info.name.clone(),
            _ => run.model().name.clone(),
        };
        let spec =
            capture_spec(call, &name, &capture_framing(lines.iter().map(|line| line.framing)).to_string())?;
        let row = run.capture(&lines, &spec, &capture_folder(call.root)).map_err(failed)?;
        call.job.out(&format!("{} records {} to {}", row.id, row.links, row.file));
        Ok(object(json!({"capture": row.id, "file": row.file, "ports": row.links})))
    }

    pub(super) fn record_stop(&self, call: Call<'_>) -> Outcome {
        let run = self.run()?;
        let ended = run.end_capture(call.args.text("capture").unwrap_or_default()).map_err(failed)?;
        ended.iter().for_each(|row| call.job.out(&capture_sentence(row)));
        let files: Vec<&String> = ended.iter().flat_map(|row| &row.files).collect();
        Ok(object(json!({"captures": ended, "files": files})))
    }

    pub(super) fn replay_start(&self, call: Call<'_>) -> Outcome {
        let run = self.run()?;
        let lines = run.lines(&names(call.args.text("port").unwrap_or_default())).map_err(failed)?;
        let [line] = &lines[..] else {
            let known: Vec<&str> = lines.iter().map(|line| line.info.name.as_str()).collect();
            let message = format!("say one port to send out of; there are {}", known.join(", "));
            return Err(ContractError::bad_param("port", message));
        };
        let (file, player) = replay_player(call)?;
        let beside = call.args.bool("beside").unwrap_or_default();
        let shown = file.display().to_string();
        let replay = run.replay(line.clone(), player, &shown, beside).map_err(failed)?;
        call.job.out(&format!("{shown} goes out of port {}", line.info.name));
        let progress = replay_follow(call, || replay.progress().map_err(failed))?;
        drop(replay);
        replay_result(call, &progress)
    }
}
