//! What the actions of the app do to a run that is up.

use std::time::Duration;

use hilrig_contract::{Call, ContractError, object};
use hilrig_points::Value as PointValue;
use hilrig_points::{Plant, Table};
use hilrig_port::PortUrl;
use serde_json::json;

use super::config::{load, place, setting};
use super::events::{Frames, Selection};
use super::{Outcome, PlcApp, failed, lock, seed, state_file};
use crate::model::PortPlan;

impl PlcApp {
    pub(super) fn scenario_load(&self, call: Call<'_>) -> Outcome {
        let file = call.args.text("scenario").unwrap_or_default();
        let model = super::config::model(call.config, call.root, Some(file), seed(call))?;
        if self.run().is_ok() {
            self.stop(call)?;
        }
        self.up(call, model)
    }

    pub(super) fn reload(&self, call: Call<'_>) -> Outcome {
        let run = self.run()?;
        let old = run.model();
        if old.path.as_os_str().is_empty() {
            let message =
                "the run has no model file; set `scenario`, or run_stop and run_start for other keys";
            return Err(ContractError::failed(message));
        }
        let file = old.path.display().to_string();
        let model = load(call.root, &file, Some(old.seed))?;
        let done = run.reload(model).map_err(failed)?;
        done.warnings.iter().for_each(|warning| call.job.warn(warning));
        call.job.out(&done.sentence());
        Ok(object(json!({
            "points": done.points,
            "kept": done.kept,
            "pollsKept": done.polls_kept,
            "pollsChanged": done.polls_changed,
            "warnings": done.warnings,
        })))
    }

    pub(super) fn point_get(&self, call: Call<'_>) -> Outcome {
        let rows = self.run()?.points(call.args.text("points").unwrap_or_default()).map_err(failed)?;
        for row in &rows {
            call.job.out(format!("{} = {} {}", row.name, row.value, row.unit).trim_end());
        }
        Ok(object(json!({"points": rows})))
    }

    pub(super) fn point_set(&self, call: Call<'_>) -> Outcome {
        let values = assignments("set", call.args.text("set").unwrap_or_default())?;
        let run = self.run()?;
        run.set_points(&values).map_err(failed)?;
        let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
        let rows = run.points(&names.join(",")).map_err(failed)?;
        for row in &rows {
            call.job.out(format!("{} = {} {}", row.name, row.value, row.unit).trim_end());
        }
        Ok(object(json!({"points": rows})))
    }

    pub(super) fn point_ramp(&self, call: Call<'_>) -> Outcome {
        let values = assignments("ramp", call.args.text("ramp").unwrap_or_default())?;
        let [(name, value)] = &values[..] else {
            return Err(ContractError::bad_param("ramp", "one point at a time, as pump.speed=50"));
        };
        let to = value.number().ok_or_else(|| {
            ContractError::bad_param(
                "ramp",
                format!("{name} can move evenly to a number only, not to {value}"),
            )
        })?;
        let seconds = call.args.float("seconds").unwrap_or(10.0);
        self.run()?.ramp_point(name, to, Duration::from_secs_f64(seconds)).map_err(failed)?;
        call.job.out(&format!("{name} moves to {to} within {seconds} s"));
        Ok(object(json!({"point": name, "to": to, "seconds": seconds})))
    }

    pub(super) fn point_release(&self, call: Call<'_>) -> Outcome {
        let count =
            self.run()?.release_points(call.args.text("points").unwrap_or_default()).map_err(failed)?;
        call.job.out(&format!("{count} points released"));
        Ok(object(json!({"released": count})))
    }

    /// Runs `f` on the data of a unit of the run: that of the argument, or the first.
    fn with_unit<R: Send>(
        &self,
        call: Call<'_>,
        f: impl FnOnce(&mut Plant, hilrig_port::Time, u8) -> R + Send,
    ) -> Result<R, ContractError> {
        let run = self.run()?;
        let model = run.model();
        let first = model.units.first().map(|(_, id)| *id);
        let id = call.args.int("unit").and_then(|id| u8::try_from(id).ok()).or(first);
        match id.filter(|id| model.units.iter().any(|(_, known)| known == id)) {
            Some(id) => run.with_plant(|plant, now| f(plant, now, id)).map_err(failed),
            None => Err(ContractError::failed("there is no such unit in the run")),
        }
    }

    pub(super) fn register_get(&self, call: Call<'_>) -> Outcome {
        let at = call.args.text("at").unwrap_or("holding:0");
        let (table, first) = place(at).map_err(|why| ContractError::bad_param("at", why))?;
        let count = u16::try_from(call.args.int("count").unwrap_or(1)).unwrap_or(1);
        let values = self.with_unit(call, |plant, now, id| cells(plant, now, id, table, first, count))?;
        let values = values.ok_or_else(|| absent(at, count.into()))?;
        call.job.out(&values.iter().map(u16::to_string).collect::<Vec<_>>().join(" "));
        Ok(object(json!({"at": at, "values": values})))
    }

    pub(super) fn register_set(&self, call: Call<'_>) -> Outcome {
        let text = call.args.text("set").unwrap_or_default();
        let (table, first, values) = setting(text).map_err(|why| ContractError::bad_param("set", why))?;
        let count = values.len();
        let done = self.with_unit(call, |plant, now, id| {
            let present = cells(plant, now, id, table, first, values.len() as u16).is_some();
            let Some(unit) = plant.unit_mut(id).filter(|_| present) else { return false };
            (first..=u16::MAX).zip(&values).all(|(a, v)| unit.set(table, a, *v))
        })?;
        if !done {
            return Err(absent(text, count));
        }
        call.job.out(text);
        Ok(object(json!({"set": text, "count": count})))
    }

    pub(super) fn fault_arm(&self, call: Call<'_>) -> Outcome {
        let rule = call.args.text("rule").unwrap_or_default();
        let armed = self.run()?.arm_fault(rule, call.args.text("port")).map_err(failed)?;
        call.job.out(&format!("fault {} is armed on {}", armed.rule, armed.ports.join(", ")));
        Ok(object(json!({"rule": armed.rule, "ports": armed.ports})))
    }

    pub(super) fn fault_clear(&self, call: Call<'_>) -> Outcome {
        let cleared =
            self.run()?.clear_faults(call.args.text("rule"), call.args.text("port")).map_err(failed)?;
        call.job.out(&format!("{cleared} rules cleared"));
        Ok(object(json!({"cleared": cleared})))
    }

    pub(super) fn fault_list(&self, call: Call<'_>) -> Outcome {
        let rows = self.run()?.faults().map_err(failed)?;
        for row in &rows {
            let state = if row.armed { "armed" } else { "cleared" };
            call.job.out(&format!("{} on {}: {state}, fired {} times", row.rule, row.port, row.fired));
        }
        Ok(object(json!({"faults": rows})))
    }

    pub(super) fn telegram_send(&self, call: Call<'_>) -> Outcome {
        let name = call.args.text("telegram").unwrap_or_default();
        self.run()?.send_telegram(name).map_err(failed)?;
        call.job.out(&format!("telegram {name} is on its way"));
        Ok(object(json!({"telegram": name})))
    }

    pub(super) fn polls(&self, call: Call<'_>, on: bool) -> Outcome {
        let count =
            self.run()?.enable_polls(call.args.text("poll").unwrap_or_default(), on).map_err(failed)?;
        call.job.out(&format!("{count} polls {}", if on { "run" } else { "rest" }));
        Ok(object(json!({"polls": count, "enabled": on})))
    }

    pub(super) fn sniff_start(&self, call: Call<'_>) -> Outcome {
        let text = call.args.text("port").unwrap_or_default();
        let bad = |key: &str, why: String| ContractError::bad_param(key, why);
        let mut url: PortUrl = text.parse().map_err(|e: hilrig_port::UrlError| bad("port", e.sentence()))?;
        if call.config.text("profile") == "sim" && !url.is_virtual() {
            let message =
                format!("port {url}: profile sim opens virtual ports only; set `profile` to lab or prod");
            return Err(ContractError::failed(message).with("reason", "realPort"));
        }
        let format = call.args.text("format").unwrap_or("8E1").parse().map_err(|why| bad("format", why))?;
        let framing =
            call.args.text("framing").unwrap_or("rtu").parse().map_err(|why| bad("framing", why))?;
        let baud = call.args.int("baud").and_then(|b| u32::try_from(b).ok()).unwrap_or(19200);
        if let Some(options) = url.serial_options_mut() {
            (options.baud, options.format) = (baud, format);
        }
        let plan = PortPlan { baud, format, framing, ..PortPlan::slave(text, Some(url)) };
        let port = self.run()?.sniff(plan, &|| call.job.stop().is_some()).map_err(failed)?;
        call.job.out(&format!("listening on {text}"));
        Ok(object(json!({"port": port.row()})))
    }

    pub(super) fn sniff_stop(&self, call: Call<'_>) -> Outcome {
        let heard = self.run()?.end_sniff(call.args.text("port")).map_err(failed)?;
        heard.iter().for_each(|row| row.lines().iter().for_each(|line| call.job.out(line)));
        Ok(object(json!({"sniffers": heard})))
    }

    pub(super) fn sniff_get(&self, call: Call<'_>) -> Outcome {
        let heard = self.run()?.sniffed(call.args.text("port")).map_err(failed)?;
        heard.iter().for_each(|row| row.lines().iter().for_each(|line| call.job.out(line)));
        Ok(object(json!({"sniffers": heard})))
    }

    pub(super) fn snapshot_save(&self, call: Call<'_>) -> Outcome {
        let run = self.run()?;
        let name = call.args.text("file").map_or_else(|| run.model().name.clone(), str::to_owned);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.starts_with('.') || !name.chars().all(plain) {
            return Err(ContractError::bad_param(
                "file",
                "a name of letters, digits, -, _ and ., without a path",
            ));
        }
        let file = state_file(call.root, name.trim_end_matches(".json"));
        run.save(&file).map_err(failed)?;
        call.job.out(&format!("saved to {}", file.display()));
        Ok(object(json!({"file": file.display().to_string()})))
    }

    pub(super) fn events_set(&self, call: Call<'_>) -> Outcome {
        let frames = call.args.text("frames").unwrap_or("off");
        let frames: Frames = frames.parse().map_err(|why: String| ContractError::bad_param("frames", why))?;
        let selection = Selection {
            points: call.args.text("points").map(str::to_owned),
            frames,
            unit: call.args.int("unit").and_then(|u| u8::try_from(u).ok()),
            port: call.args.text("port").map(str::to_owned),
        };
        if let (Some(points), Ok(run)) = (&selection.points, self.run()) {
            run.points(points).map_err(failed)?;
        }
        *lock(&self.selection) = selection;
        Ok(object(json!({
            "points": call.args.text("points").unwrap_or_default(),
            "frames": call.args.text("frames").unwrap_or("off"),
        })))
    }
}

/// Reads `a=1 b=2`; a value with blanks is put in double quotes.
fn assignments(param: &str, text: &str) -> Result<Vec<(String, PointValue)>, ContractError> {
    let wrong = |what: &str| {
        ContractError::bad_param(param, format!("{what:?} sets nothing; the form is pump.speed=12.5"))
    };
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(|| wrong(rest))?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong(rest));
        }
        let (value, after) = match after.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some((value, after)) => (PointValue::Text(value.to_owned()), after),
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (PointValue::parse(&after[..end]), &after[end..])
            }
        };
        values.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    if values.is_empty() { Err(wrong(text)) } else { Ok(values) }
}

/// Values as they are now; `None` if one of them does not exist.
fn cells(
    plant: &mut Plant,
    now: hilrig_port::Time,
    unit: u8,
    table: Table,
    first: u16,
    count: u16,
) -> Option<Vec<u16>> {
    if usize::from(first) + usize::from(count) > 0x1_0000 {
        return None;
    }
    if table.is_bits() {
        let mut bits = vec![0; usize::from(count).div_ceil(8)];
        plant.read_bits(now, unit, table, first, count, &mut bits).ok()?;
        Some((0..usize::from(count)).map(|i| u16::from(bits[i / 8] >> (i % 8) & 1)).collect())
    } else {
        let mut bytes = vec![0; 2 * usize::from(count)];
        plant.read_registers(now, unit, table, first, count, &mut bytes).ok()?;
        Some(bytes.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect())
    }
}

fn absent(at: &str, count: usize) -> ContractError {
    ContractError::failed(format!(
        "{at}: not all {count} addresses exist; the keys `first` and `count` of each table, or the model, say which do"
    ))
}
