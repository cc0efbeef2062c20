//! The configuration of the app: its keys, and the model they describe. Opens no port.

use std::path::Path;
use std::time::Duration;

use hilrig_contract::{ConfigKey, ConfigTree, ContractError, ErrorCode, ValueKind};
use hilrig_modbus::Framing;
use hilrig_modbus::rtu::MAX_UNIT;
use hilrig_points::{Plant, Table, Unit};
use hilrig_port::{Format, PortUrl};
use serde_json::Value;

use crate::model::{Model, PortPlan};

/// A table, what it is called in actions, and its config keys. Registers count up from `value` in steps of `step`.
struct Keys {
    table: Table,
    name: &'static str,
    first: &'static str,
    count: &'static str,
    value: &'static str,
    step: Option<&'static str>,
    default_count: i64,
    first_help: &'static str,
}

const TABLES: [Keys; 4] = [
    Keys {
        table: Table::HoldingRegisters,
        name: "holding",
        first: "holding.first",
        count: "holding.count",
        value: "holding.value",
        step: Some("holding.step"),
        default_count: 100,
        first_help: "first holding register, counted from 0",
    },
    Keys {
        table: Table::Coils,
        name: "coil",
        first: "coils.first",
        count: "coils.count",
        value: "coils.value",
        step: None,
        default_count: 100,
        first_help: "first coil, counted from 0",
    },
    Keys {
        table: Table::InputRegisters,
        name: "input",
        first: "inputRegisters.first",
        count: "inputRegisters.count",
        value: "inputRegisters.value",
        step: Some("inputRegisters.step"),
        default_count: 0,
        first_help: "first input register, counted from 0",
    },
    Keys {
        table: Table::DiscreteInputs,
        name: "discrete",
        first: "discreteInputs.first",
        count: "discreteInputs.count",
        value: "discreteInputs.value",
        step: None,
        default_count: 0,
        first_help: "first discrete input, counted from 0",
    },
];

pub(super) fn keys() -> Vec<ConfigKey> {
    let int = |min, max| ValueKind::Int { min, max };
    let word = || int(0, u16::MAX.into());
    let mut keys = vec![
        ConfigKey::profile(),
        ConfigKey::transport_mode(),
        ConfigKey::new(
            "scenario",
            ValueKind::text(),
            "",
            "a model file, relative to the root; without one, the unit below is served",
        ),
        ConfigKey::new(
            "port",
            ValueKind::text(),
            "pty:plc",
            "the port when transportMode is Com, if the model has none, as a port URL",
        )
        .check(|v| port_url(v.as_str().unwrap_or_default()).map(drop)),
        ConfigKey::new(
            "tcp",
            ValueKind::text(),
            "tcp-listen:127.0.0.1:5020",
            "the port when transportMode is Tcp, if the model has none; it speaks Modbus TCP",
        )
        .check(|v| listener(v.as_str().unwrap_or_default()).map(drop)),
        ConfigKey::new(
            "framing",
            ValueKind::choice(["rtu", "ascii"]),
            "rtu",
            "how PDUs travel when transportMode is Com",
        ),
        ConfigKey::new(
            "baud",
            int(50, 20_000_000),
            19200,
            "speed of the line; sets a serial port and the silences",
        )
        .unit("baud"),
        ConfigKey::new("format", ValueKind::text(), "8E1", "characters on the line, such as 8E1 or 8N2")
            .check(|v| v.as_str().unwrap_or_default().parse::<Format>().map(drop)),
        ConfigKey::new(
            "toleranceMs",
            int(0, 1000),
            0,
            "longest pause that the port itself puts into a frame; 16 for most USB adapters",
        )
        .unit("ms"),
        ConfigKey::new("unitId", int(1, MAX_UNIT.into()), 1, "the unit id that the slave answers to"),
    ];
    for t in TABLES {
        let value = if t.table.is_bits() { ValueKind::Bool } else { word() };
        let zero = if t.table.is_bits() { Value::from(false) } else { Value::from(0) };
        keys.push(ConfigKey::new(t.first, word(), 0, t.first_help));
        keys.push(ConfigKey::new(
            t.count,
            int(0, 65536),
            t.default_count,
            "how many there are; others do not exist",
        ));
        keys.push(ConfigKey::new(t.value, value, zero, "value at the start of a run, of the first one"));
        keys.extend(
            t.step.map(|key| ConfigKey::new(key, word(), 1, "by how much each is more than the one before")),
        );
    }
    keys
}

fn port_url(text: &str) -> Result<PortUrl, String> {
    let url: PortUrl = text.parse().map_err(|e: hilrig_port::UrlError| e.sentence())?;
    let options = text.rsplit_once('?').map_or("", |(_, options)| options);
    if url.serial_options().is_some()
        && let Some(option) = options.split('&').find(|o| o.starts_with("baud=") || o.starts_with("format="))
    {
        let key = option.split('=').next().unwrap_or_default();
        return Err(format!("{option} does not belong here: the line is set by the key `{key}`"));
    }
    Ok(url)
}

fn listener(text: &str) -> Result<PortUrl, String> {
    let url: PortUrl = text.parse().map_err(|e: hilrig_port::UrlError| e.sentence())?;
    match url {
        PortUrl::TcpListen { .. } | PortUrl::UnixListen { .. } => Ok(url),
        _ => Err("Modbus TCP needs a tcp-listen: or unix-listen:".to_owned()),
    }
}

fn invalid(key: &str, why: &str) -> ContractError {
    ContractError::new(ErrorCode::ConfigInvalid, format!("{key}: {why}")).with("key", key)
}

/// The model that a configuration describes: the file that it names, or the unit in it. `file` goes before the key
/// `scenario`.
pub(super) fn model(
    config: &ConfigTree,
    root: &Path,
    file: Option<&str>,
    seed: Option<u64>,
) -> Result<Model, ContractError> {
    let file = file.unwrap_or_else(|| config.text("scenario"));
    if file.is_empty() {
        let mut model = Model::of("config", plant(config)?);
        model.seed = seed.unwrap_or(model.seed);
        model.ports.push(port(config)?);
        return Ok(model);
    }
    let mut model = load(root, file, seed)?;
    // Where the model leaves its port open, the config says it.
    if model.ports.is_empty() {
        model.ports.push(port(config)?);
    } else if let [port] = &mut model.ports[..]
        && port.url.is_none()
    {
        port.set_url(self::port(config)?.url);
    }
    Ok(model)
}

/// Reads a model file of the installation.
pub(super) fn load(root: &Path, file: &str, seed: Option<u64>) -> Result<Model, ContractError> {
    Model::load_with(&root.join(file), seed)
        .map_err(|e| ContractError::failed(e.lines()).with("reason", "badModel").with("file", file))
}

/// The port of a configuration whose values are each legal.
fn port(config: &ConfigTree) -> Result<PortPlan, ContractError> {
    match config.text("transportMode") {
        "Tcp" => {
            let url = listener(config.text("tcp")).map_err(|why| invalid("tcp", &why))?;
            return Ok(PortPlan::slave("port", Some(url)));
        }
        "Com" => {}
        other => {
            let message = format!(
                "transportMode {other}: the PLC simulator talks on serial lines and TCP; set `transportMode` to Com or Tcp"
            );
            return Err(ContractError::failed(message).with("reason", "notInThisVersion"));
        }
    }
    let mut url = port_url(config.text("port")).map_err(|why| invalid("port", &why))?;
    let format: Format = config.text("format").parse().map_err(|why: String| invalid("format", &why))?;
    let baud = u32::try_from(config.int("baud")).unwrap_or_default();
    if let Some(options) = url.serial_options_mut() {
        options.baud = baud;
        options.format = format;
    }
    let over_tcp = matches!(url, PortUrl::TcpListen { .. } | PortUrl::UnixListen { .. });
    let framing = match (config.text("framing"), over_tcp) {
        ("ascii", false) => Framing::Ascii,
        ("ascii", true) => Framing::AsciiOverTcp,
        (_, false) => Framing::Rtu,
        (_, true) => Framing::RtuOverTcp,
    };
    let tolerance = Duration::from_millis(config.int("toleranceMs").unsigned_abs());
    Ok(PortPlan { framing, baud, format, tolerance, ..PortPlan::slave("port", Some(url)) })
}

/// The unit of a configuration, checked as a whole.
fn plant(config: &ConfigTree) -> Result<Plant, ContractError> {
    let mut unit = Unit::new();
    for t in TABLES {
        let word = |key: &str| u16::try_from(config.int(key)).unwrap_or_default();
        let (first, count) = (word(t.first), config.int(t.count).unsigned_abs() as usize);
        let value = if t.table.is_bits() { config.bool(t.value).into() } else { word(t.value) };
        let step = t.step.map_or(0, word);
        let values = (0..count).map(|i| value.wrapping_add(step.wrapping_mul(i as u16)));
        unit.define(t.table, first, values).map_err(|e| invalid(t.count, &e.to_string()))?;
    }
    let mut plant = Plant::default();
    let id = u8::try_from(config.int("unitId")).unwrap_or_default();
    plant.add_unit(id, unit).map_err(|e| invalid("unitId", &e.to_string()))?;
    Ok(plant)
}

/// Pattern of a place in the data, as actions take it.
pub(super) const PLACE: &str = "^(holding|coil|input|discrete):[0-9]{1,5}$";
/// Pattern of values for a place.
pub(super) const SETTING: &str = "^(holding|coil|input|discrete):[0-9]{1,5}=[0-9]{1,5}(,[0-9]{1,5})*$";

/// Reads `holding:5`.
pub(super) fn place(text: &str) -> Result<(Table, u16), String> {
    let read = || {
        let (name, address) = text.split_once(':')?;
        let table = TABLES.iter().find(|t| t.name == name)?.table;
        Some((table, address.parse().ok()?))
    };
    read().ok_or_else(|| {
        format!("{text:?} is not a place; it is holding, coil, input or discrete, a colon and an address 0 to 65535")
    })
}

/// Reads `holding:5=1,2`.
pub(super) fn setting(text: &str) -> Result<(Table, u16, Vec<u16>), String> {
    let (at, values) =
        text.split_once('=').ok_or_else(|| format!("{text:?} sets nothing; the form is holding:0=42"))?;
    let (table, first) = place(at.trim())?;
    let most = if table.is_bits() { 1 } else { u16::MAX };
    let values: Option<Vec<u16>> =
        values.split(',').map(|v| v.trim().parse().ok().filter(|v| *v <= most)).collect();
    values
        .map(|values| (table, first, values))
        .ok_or_else(|| format!("{text:?}: values here are 0 to {most}"))
}
