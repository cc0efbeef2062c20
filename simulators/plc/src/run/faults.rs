//! Faults of the replies of a run: armed, cleared and counted while it goes on.

use hilrig_files::{At, Problems, known, read};
use hilrig_modbus::faults::{Prepared, ReplyFaults, prepare};
use hilrig_modbus::{ReplyRuleFile, Slave, TcpSlave};
use hilrig_port::Time;
use serde::Serialize;

use super::{Core, PortRun, Run, RunError};

/// A rule at a port and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultRow {
    pub port: String,
    pub rule: String,
    pub armed: bool,
    /// Replies that it could have acted on.
    pub seen: u64,
    pub fired: u64,
    /// The requests whose replies it acted on lately, as frames are numbered, separated by blanks.
    pub frames: String,
}

/// A rule that was armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    pub rule: String,
    pub ports: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Inline {
    fault: At<ReplyRuleFile>,
}

fn refused(what: &str, why: impl Into<String>) -> RunError {
    RunError::Refused { what: what.to_owned(), why: why.into() }
}

/// Reads a rule that somebody typed: a TOML table, with or without its braces, or JSON.
///
/// # Errors
/// All that is wrong with it.
pub fn parse_rule(text: &str) -> Result<Prepared, RunError> {
    let text = text.trim();
    let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let table = match json {
        Some(json) => {
            let table = std::collections::BTreeMap::from([("fault", json)]);
            toml::to_string(&table).map_err(|e| refused("the rule", e.to_string()))?
        }
        None if text.starts_with('{') => format!("fault = {text}"),
        None => format!("fault = {{ {text} }}"),
    };
    let mut problems = Problems::new("fault rule", "rule", &table);
    let rule = read::<Inline>(&table, &mut problems).map(|file| prepare(&file.fault.value, &mut problems));
    match rule {
        Some(rule) if problems.is_empty() => Ok(rule),
        _ => Err(refused("the rule cannot be used", problems.into_error().lines())),
    }
}

impl PortRun {
    /// Runs `f` on the faults of this port, if it answers at all.
    fn with_faults<R: Send>(
        &self,
        run: &Run,
        f: impl FnOnce(&mut ReplyFaults, Time) -> R + Send,
    ) -> Result<Option<R>, RunError> {
        Ok(match &self.core {
            Core::Slave { seat, .. } => {
                Some(run.shard.with_station::<Slave, _>(seat, |slave, now, _| f(slave.faults_mut(), now))?)
            }
            Core::TcpSlave { seat, .. } => {
                Some(run.shard.with_server::<TcpSlave, _>(seat, |slave, now, _| f(slave.faults_mut(), now))?)
            }
            _ => None,
        })
    }
}

impl Run {
    /// The ports that answer: all, or the one of that name.
    fn answering(&self, port: Option<&str>) -> Result<Vec<std::sync::Arc<PortRun>>, RunError> {
        let all: Vec<_> = self
            .ports()
            .into_iter()
            .filter(|p| matches!(p.core, Core::Slave { .. } | Core::TcpSlave { .. }))
            .collect();
        let names: Vec<String> = all.iter().map(|p| p.name.clone()).collect();
        let chosen: Vec<_> = all.into_iter().filter(|p| port.is_none_or(|port| p.name == port)).collect();
        if chosen.is_empty() {
            let known = known("ports that answer", names.iter().map(String::as_str));
            return Err(RunError::Unknown { what: "port", name: port.unwrap_or_default().to_owned(), known });
        }
        Ok(chosen)
    }

    /// Arms a rule: one that is there by its name, or a new one.
    ///
    /// # Errors
    /// It is no rule, or does not fit any port.
    pub fn arm_fault(&self, text: &str, port: Option<&str>) -> Result<Armed, RunError> {
        let ports = self.answering(port)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let mut armed = Armed { rule: text.trim().to_owned(), ports: vec![] };
        if armed.rule.chars().all(plain) {
            for port in &ports {
                let name = &armed.rule;
                if port.with_faults(self, |faults, now| faults.arm_by_name(now, name))? == Some(true) {
                    armed.ports.push(port.name.clone());
                }
            }
            if armed.ports.is_empty() {
                let mut names: Vec<String> = self.faults()?.into_iter().map(|row| row.rule).collect();
                names.dedup();
                let known = known("rules", names.iter().map(String::as_str));
                return Err(RunError::Unknown { what: "fault rule", name: armed.rule, known });
            }
            return Ok(armed);
        }
        let rule = parse_rule(text)?;
        armed.rule = rule.name().to_owned();
        for port in &ports {
            if !rule.fits(port.framing) || rule.port().is_some_and(|name| name != port.name) {
                continue;
            }
            let rule = rule.clone();
            match port.with_faults(self, |faults, now| faults.arm(now, rule))? {
                Some(Ok(_)) => armed.ports.push(port.name.clone()),
                Some(Err(_)) => return Err(refused(&port.name, "there are too many rules already")),
                None => {}
            }
        }
        if armed.ports.is_empty() {
            return Err(refused(&armed.rule, "its effect means nothing on the framing of these ports"));
        }
        Ok(armed)
    }

    /// Rules fire no more: the one of that name, or all. Answers how many were there.
    ///
    /// # Errors
    /// There is no such rule.
    pub fn clear_faults(&self, rule: Option<&str>, port: Option<&str>) -> Result<usize, RunError> {
        let mut cleared = 0;
        for port in self.answering(port)? {
            let clear = |faults: &mut ReplyFaults, _: Time| {
                let names: Vec<String> = faults.report().into_iter().map(|r| r.name).collect();
                let wanted = names.iter().filter(|name| rule.is_none_or(|rule| rule == **name));
                wanted.filter(|name| faults.clear(name)).count()
            };
            cleared += port.with_faults(self, clear)?.unwrap_or(0);
        }
        match (cleared, rule) {
            (0, Some(rule)) => {
                let names: Vec<String> = self.faults()?.into_iter().map(|row| row.rule).collect();
                let known = known("rules", names.iter().map(String::as_str));
                Err(RunError::Unknown { what: "fault rule", name: rule.to_owned(), known })
            }
            _ => Ok(cleared),
        }
    }

    /// All rules of all ports.
    ///
    /// # Errors
    /// The shard is gone.
    pub fn faults(&self) -> Result<Vec<FaultRow>, RunError> {
        let mut rows = Vec::new();
        for port in self.ports() {
            for report in port.with_faults(self, |faults, _| faults.report())?.unwrap_or_default() {
                let frames: Vec<String> = report.firings.iter().map(|f| f.frame.to_string()).collect();
                rows.push(FaultRow {
                    port: port.name.clone(),
                    rule: report.name,
                    armed: report.armed,
                    seen: report.seen,
                    fired: report.fired,
                    frames: frames.join(" "),
                });
            }
        }
        Ok(rows)
    }

    /// The name of the rule that a frame record of a port calls by its number.
    pub(crate) fn rule_name(&self, port: &PortRun, number: u32) -> Option<String> {
        let name = |faults: &mut ReplyFaults, _: Time| {
            faults.report().into_iter().find(|r| r.number == number).map(|r| r.name)
        };
        port.with_faults(self, name).ok().flatten().flatten()
    }
}
