//! The actions on fault rules, and the account of what rules did.

use std::sync::Arc;

use hilrig_contract::{Call, ContractError, Job, object};
use hilrig_wire::{FaultRule, LinkCore, RuleReport};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::{BridgeApp, Outcome, failed};
use crate::live::Live;
use crate::{LinkSet, config};

/// What one rule did, with its last firings.
#[derive(Debug, Serialize)]
pub(crate) struct Account {
    link: String,
    #[serde(flatten)]
    report: RuleReport,
}

/// What all rules of all links did, asked of the shards.
pub(crate) fn account(links: &LinkSet) -> Vec<Account> {
    links.all().iter().flat_map(of).collect()
}

pub(crate) fn of(live: &Arc<Live>) -> Vec<Account> {
    live.rules().into_iter().map(|report| Account { link: live.name().to_owned(), report }).collect()
}

/// A rule that never fired is worth a warning: the test did not test what it seems to.
pub(crate) fn tell_idle(accounts: &[Account], job: &dyn Job) {
    for Account { link, report } in accounts {
        let RuleReport { id, fired, bytes, seen, .. } = report;
        if report.never_fired() {
            job.warn(&format!("link {link}: fault {id} never fired ({seen} looked at)"));
        } else {
            job.out(&format!("link {link}: fault {id} fired {fired} times on {bytes} bytes"));
        }
    }
}

pub(crate) fn arm(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let text = call.args.text("rule").unwrap_or_default().trim();
    let mut name = call.args.text("link").unwrap_or_default().to_owned();
    let rule = if text.starts_with('{') || text.contains('=') {
        let mut table = table(text, "rule")?;
        // For consoles that send one argument.
        if let Some(Value::String(link)) = table.as_object_mut().and_then(|map| map.remove("link"))
            && name.is_empty()
        {
            name = link;
        }
        parse(&table)?
    } else {
        configured(call, &links, text, &mut name)?
    };
    let live = links.find(&name).map_err(failed)?;
    let prepared = LinkCore::prepare(&rule).map_err(|e| ContractError::bad_param("rule", e.to_string()))?;
    let armed = live.with_core(move |core, now| core.arm(now, prepared)).map_err(failed)?;
    let armed = armed.map_err(|_| {
        let most = hilrig_wire::MAX_RULES;
        ContractError::failed(format!(
            "link {} has {most} rules that can still fire; clear some",
            live.name()
        ))
    })?;
    live.rules();
    call.job.out(&format!("fault {} is armed on link {}", rule.id, live.name()));
    Ok(object(json!({"link": live.name(), "rule": rule.id, "number": armed.number})))
}

/// A rule of the config, of the link that is named or of the only one that has it.
fn configured(
    call: Call<'_>,
    links: &LinkSet,
    id: &str,
    name: &mut String,
) -> Result<FaultRule, ContractError> {
    let specs = config::links(call.config)?;
    let with = specs.iter().filter(|spec| name.is_empty() || spec.name == *name);
    let mut found: Vec<_> = with
        .flat_map(|spec| spec.faults.iter().filter(|rule| rule.id == id).map(move |rule| (spec, rule)))
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some((spec, rule)), true) => {
            name.clone_from(&spec.name);
            Ok(rule.clone())
        }
        (Some(_), false) => {
            Err(ContractError::bad_param("rule", format!("several links have a rule {id:?}; say which link")))
        }
        (None, _) => {
            let known: Vec<&str> =
                specs.iter().flat_map(|s| s.faults.iter().map(|rule| rule.id.as_str())).collect();
            let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
            let message = format!(
                "no rule {id:?} in the config ({known}); a rule of your own is JSON, for example \
                 {{\"id\": \"x\", \"direction\": \"a->b\", \"when\": {{\"byte\": 5}}, \"effect\": \"drop\"}}"
            );
            let up: Vec<String> = links.names();
            Err(ContractError::bad_param("rule", message).with("links", up))
        }
    }
}

fn parse(table: &Value) -> Result<FaultRule, ContractError> {
    serde_path_to_error::deserialize::<_, FaultRule>(table).map_err(|e| {
        let path = e.path().to_string();
        let at = if path == "." { String::new() } else { format!("{path}: ") };
        ContractError::bad_param("rule", format!("rule: {at}{}", e.inner()))
    })
}

/// A table that an operator wrote as JSON or as TOML on one line, with commas or line ends between keys.
pub(crate) fn table(text: &str, param: &str) -> Result<Value, ContractError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(object(json!({})).into());
    }
    let wrong = |why: String| ContractError::bad_param(param, format!("{param}: {why}"));
    if text.starts_with('{')
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        return Ok(value);
    }
    // On one line TOML has tables in braces only.
    let inline = if text.starts_with('{') { text.to_owned() } else { format!("{{{text}}}") };
    let read = format!("x = {inline}").parse::<toml::Table>().or_else(|inline| {
        text.parse::<toml::Table>()
            .map(|table| toml::Table::from_iter([("x".to_owned(), table.into())]))
            .map_err(|_| inline)
    });
    let read = read.map_err(|e| wrong(format!("this is neither JSON nor TOML: {}", e.message())))?;
    serde_json::to_value(read.get("x")).map_err(|e| wrong(e.to_string()))
}

pub(crate) fn clear(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let lives = lives(&links, call)?;
    let id = call.args.text("rule").unwrap_or_default();
    let mut cleared = 0;
    for live in &lives {
        let ids: Vec<String> = live.rules().into_iter().filter(|r| r.armed).map(|r| r.id).collect();
        for rule in ids.iter().filter(|rule| id.is_empty() || *rule == id) {
            cleared += u32::from(live.with_core(|core, _| core.clear(rule)).map_err(failed)?);
        }
    }
    if cleared == 0 && !id.is_empty() {
        return Err(ContractError::failed(format!("no rule {id:?} is armed")));
    }
    let accounts: Vec<Account> = lives.iter().flat_map(of).collect();
    call.job.out(&format!("{cleared} rules cleared"));
    tell_idle(&accounts, call.job);
    Ok(object(json!({"cleared": cleared, "faults": accounts})))
}

pub(crate) fn list(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let links = app.links()?;
    let accounts: Vec<Account> = lives(&links, call)?.iter().flat_map(of).collect();
    tell_idle(&accounts, call.job);
    Ok(object(json!({"faults": accounts})))
}

/// The link that is named, or all.
fn lives(links: &LinkSet, call: Call<'_>) -> Result<Vec<Arc<Live>>, ContractError> {
    match call.args.text("link") {
        Some(name) => Ok(vec![links.find(name).map_err(failed)?]),
        None => Ok(links.all()),
    }
}
