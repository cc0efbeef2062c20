//! The links of a config: the tables `[link.NAME]`, and the link `main` between the keys `near.url` and `far.*`.

use hilrig_contract::{ConfigSection, ConfigTree, ContractError, ErrorCode, SectionProblem};
use hilrig_port::PortUrl;
use serde_json::Value;

use crate::LinkSpec;

/// The link whose ports are keys of their own.
pub const MAIN: &str = "main";
const SECTION: &str = "link";

const EXAMPLE: &str = r#"[link.line]
a = "pty:line.a"                 # any port URL; `hilrig ports` lists what is there
b = "tcp-listen:127.0.0.1:7001"
# enabled = true                 # false: opened by link_start only
# reconnect = true               # a lost port is opened again
# wait = false                   # true: start although a port is missing
# lines = "auto"                 # modem lines: auto, cross (device to device), off
# dedicated = false              # true: a thread of its own
# realtime = { fifo = 50, spinMicroseconds = 60, lockMemory = true }
# record = false                 # true: frames and statistics go to the database of runs
#
# [link.line.wire]               # a wire that behaves like one: pacing, noise, echo
# [link.line.capture]            # a capture from the start
# file = "line.pcapng"
# [[link.line.faults]]           # a fault from the start, any number"#;

/// Of the app's spec.
pub fn section() -> ConfigSection {
    ConfigSection {
        name: SECTION,
        help: "a link between two ports, any number of them",
        check,
        example: EXAMPLE,
    }
}

fn check(name: &str, table: &Value) -> Result<(), SectionProblem> {
    // The ports of `main` are checked where they are.
    let ends = [PortUrl::pty("a"), PortUrl::pty("b")];
    read(name, table, (name == MAIN).then_some(&ends)).map(drop)
}

fn read(name: &str, table: &Value, ends: Option<&[PortUrl; 2]>) -> Result<LinkSpec, SectionProblem> {
    let Some([a, b]) = ends else { return LinkSpec::from_table(name, table) };
    let mut table = table.clone();
    if let Some(map) = table.as_object_mut() {
        if let Some(key) = ["a", "b"].into_iter().find(|key| map.contains_key(*key)) {
            let message = "the ports of link main are the keys near.url and far.com or far.tcp";
            return Err(SectionProblem::new(key, message));
        }
        map.insert("a".to_owned(), a.to_string().into());
        map.insert("b".to_owned(), b.to_string().into());
    }
    LinkSpec::from_table(name, &table)
}

/// All links of a config, `main` first.
///
/// # Errors
/// What is wrong, by its key; for `transportMode` Ble, that there is none.
pub fn links(config: &ConfigTree) -> Result<Vec<LinkSpec>, ContractError> {
    let mut specs = Vec::new();
    let tables = config.section(SECTION);
    let main = tables.filter(|(name, _)| *name == MAIN).map(|(_, table)| table.clone()).next();
    specs.push(main_link(config, &main.unwrap_or_else(|| Value::Object(Default::default())))?);
    for (name, table) in config.section(SECTION).filter(|(name, _)| *name != MAIN) {
        specs.push(read(name, table, None).map_err(|problem| wrong(name, &problem))?);
    }
    Ok(specs)
}

fn main_link(config: &ConfigTree, table: &Value) -> Result<LinkSpec, ContractError> {
    let url = |key: &str| {
        let url = config.text(key).parse::<PortUrl>();
        url.map_err(|e| ContractError::failed(format!("{key}: {}", e.sentence())))
    };
    let far = match config.text("transportMode") {
        "Com" => url("far.com")?,
        "Tcp" => url("far.tcp")?,
        // Only if somebody wants it: the other links need no transport.
        _ if table["enabled"] == false => PortUrl::pty("none"),
        _ => {
            return Err(ContractError::failed(
                "transportMode Ble: this version has no BLE transport; set `transportMode` to Com or Tcp",
            )
            .with("reason", "notInThisVersion"));
        }
    };
    read(MAIN, table, Some(&[url("near.url")?, far])).map_err(|problem| wrong(MAIN, &problem))
}

fn wrong(name: &str, problem: &SectionProblem) -> ContractError {
    let dot = if problem.at.is_empty() { "" } else { "." };
    let message = format!("{SECTION}.{name}{dot}{}: {}", problem.at, problem.message);
    ContractError::new(ErrorCode::ConfigInvalid, message)
}
