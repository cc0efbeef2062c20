//! The actions on modem lines and break.

use std::sync::Arc;
use std::time::Duration;

use hilrig_contract::{Call, ContractError, ValueKind, coerce, object};
use hilrig_port::Lines;
use serde_json::{Value, json};

use crate::LinkSet;
use crate::app::{BridgeApp, Outcome, failed};
use crate::live::{Live, side_name};

const LINES: [(&str, Lines); 6] = [
    ("dtr", Lines::DTR),
    ("rts", Lines::RTS),
    ("cts", Lines::CTS),
    ("dsr", Lines::DSR),
    ("dcd", Lines::DCD),
    ("ri", Lines::RI),
];

/// The port that `main.b` means. With one link up `b` is enough.
pub(crate) fn port(links: &LinkSet, text: &str) -> Result<(Arc<Live>, usize), ContractError> {
    let (link, side) = text.rsplit_once('.').unwrap_or(("", text));
    let side = match side {
        "a" => 0,
        "b" => 1,
        _ => {
            return Err(ContractError::bad_param(
                "port",
                format!("{text:?} is no port of a link; the form is LINK.a or LINK.b"),
            ));
        }
    };
    Ok((links.find(link).map_err(failed)?, side))
}

pub(crate) fn set(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let (mut mask, mut values) = (Lines::NONE, Lines::NONE);
    let mut put = |name: &str, on: bool| {
        let Some((_, line)) = LINES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) else {
            let message = format!("no line {name:?}; the lines are dtr, rts, cts, dsr, dcd and ri");
            return Err(ContractError::bad_param("port", message));
        };
        (mask, values) = (mask | *line, values.with(*line, on));
        Ok(())
    };
    let mut words = call.args.text("port").unwrap_or_default().split([' ', ',']).filter(|w| !w.is_empty());
    let (live, side) = port(&links, words.next().unwrap_or_default())?;
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, "on"));
        let on = coerce(&ValueKind::Bool, &Value::from(value));
        let on = on.map_err(|why| ContractError::bad_param("port", format!("{name}: {why}")))?;
        put(name, on == Value::Bool(true))?;
    }
    for (name, _) in LINES {
        if let Some(on) = call.args.bool(name) {
            put(name, on)?;
        }
    }
    if mask == Lines::NONE {
        return Err(ContractError::bad_param("port", "nothing to set: say for example dtr=on rts=off"));
    }
    live.with(|shard, link| shard.set_lines(link, side, mask, values)).map_err(failed)?;
    let lines = live.ports[side].snapshot().lines;
    call.job.out(&format!("{}.{}: lines are {lines}", live.name(), side_name(side)));
    Ok(object(json!({"link": live.name(), "side": side_name(side), "lines": lines.to_string()})))
}

pub(crate) fn send_break(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let (live, side) = port(&links, call.args.text("port").unwrap_or_default().trim())?;
    let millis = call.args.int("milliseconds").unwrap_or(250).unsigned_abs();
    let time = Duration::from_millis(millis);
    live.with(|shard, link| shard.send_break(link, side, time)).map_err(failed)?;
    // The job ends with the break, so that what comes next is not in it.
    call.job.sleep(time)?;
    call.job.out(&format!("{}.{}: break of {millis} ms sent", live.name(), side_name(side)));
    Ok(object(json!({"link": live.name(), "side": side_name(side), "milliseconds": millis})))
}
