//! The actions that open and close single links and virtual pairs while a run is up, or as a run of their own.

use hilrig_contract::{Call, ContractError, object};
use hilrig_port::PortUrl;
use hilrig_wire::WireSpec;
use serde_json::json;

use crate::app::{BridgeApp, Outcome, failed};
use crate::faults::table;
use crate::{LinkSpec, config};

pub(crate) fn link_start(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let name = call.args.text("link").unwrap_or_default();
    let specs = config::links(call.config)?;
    let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
        let known: Vec<&str> = specs.iter().map(|s| s.name.as_str()).collect();
        return Err(ContractError::bad_param(
            "link",
            format!("no link {name:?} in the config; there are {}", known.join(", ")),
        ));
    };
    if let Ok(links) = app.links()
        && links.find(name).is_ok()
    {
        call.job.out(&format!("link {name} is up already"));
        return Ok(object(json!({"link": name, "alreadyRunning": true})));
    }
    open(app, call, spec)
}

/// Opens one link and says what became of it.
fn open(app: &BridgeApp, call: Call<'_>, spec: &LinkSpec) -> Outcome {
    let links = app.open(call, std::slice::from_ref(spec), false)?;
    let ports: Vec<_> = links.ports().into_iter().filter(|port| port.link == spec.name).collect();
    for port in &ports {
        let open = if port.far_end.is_empty() { String::new() } else { format!(", open {}", port.far_end) };
        call.job.out(&format!("{} is {}{open}", port.url, port.state));
    }
    let state = links.states().into_iter().find(|state| state.link == spec.name);
    Ok(object(json!({"link": spec.name, "alreadyRunning": false, "ports": ports, "state": state})))
}

pub(crate) fn link_stop(app: &BridgeApp, call: Call<'_>) -> Outcome {
    remove_named(app, call, call.args.text("link").unwrap_or_default())
}

fn remove_named(app: &BridgeApp, call: Call<'_>, name: &str) -> Outcome {
    let links = app.links()?;
    let live = links.find(name).map_err(failed)?;
    let faults = crate::faults::of(&live);
    let rows = links.remove(live.name()).map_err(failed)?;
    let carried: u64 = rows.iter().map(|row| row.bytes_out).sum();
    call.job.out(&format!("link {} is closed; {carried} bytes carried", live.name()));
    crate::faults::tell_idle(&faults, call.job);
    Ok(object(json!({"link": live.name(), "traffic": rows, "faults": faults})))
}

pub(crate) fn create(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let name = call.args.text("name").unwrap_or_default();
    let options = table(call.args.text("options").unwrap_or_default(), "options")?;
    let wire = serde_path_to_error::deserialize::<_, WireSpec>(&options);
    let mut wire = wire
        .map_err(|e| ContractError::bad_param("options", format!("options: {}: {}", e.path(), e.inner())))?;
    if let Some(pace) = call.args.bool("pace") {
        wire.pace = pace;
    }
    let mut spec = LinkSpec::pair(name, wire);
    let format = call.args.text("format").map(str::parse).transpose();
    let asked = format.map_err(|e: String| ContractError::bad_param("format", e))?;
    let wants_shim = call.args.bool("shim").unwrap_or_default();
    for end in [&mut spec.a, &mut spec.b] {
        if let PortUrl::Pty { format, shim, .. } = end {
            (*format, *shim) = (asked, wants_shim);
        }
    }
    open(app, call, &spec)
}

pub(crate) fn remove(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let name = call.args.text("name").unwrap_or_default();
    let links = app.links()?;
    let live = links.find(name).map_err(failed)?;
    if !matches!(&live.spec.a, PortUrl::Pty { name: end, .. } if *end == format!("{name}.a")) {
        return Err(ContractError::failed(format!("link {name} is no pair: link_stop closes it")));
    }
    remove_named(app, call, name)
}
