//! Finds what steps name: polls, masters, simulators, links, faults.

use hilrig_files::{At, known};

use crate::check::Check;
use crate::plan::{Count, FaultRef, ReplyFaultPlan};

/// Names that are shown at most.
const SHOWN: usize = 20;
/// What is longer than this is near nothing.
const LONGEST: usize = 100;

/// The name that is nearest to one that is unknown, if it is near at all, and those that there are.
pub(crate) fn did_you_mean<'n>(
    name: &str,
    names: impl Iterator<Item = &'n str> + Clone,
    plural: &str,
) -> String {
    let away = |known: &str| {
        // Of UNIT.POINT and the like the last part may have been meant.
        let short = known.rsplit('.').next().unwrap_or(known);
        let away = |known| strsim::damerau_levenshtein(name, known);
        away(known).min(away(short))
    };
    let nearest = names.clone().filter(|_| name.len() <= LONGEST).map(|known| (away(known), known)).min();
    let near = nearest.filter(|(away, _)| *away <= (name.chars().count() / 3).max(1));
    let mut help = near.map_or(String::new(), |(_, name)| format!("did you mean `{name}`? "));
    help.push_str(&known(plural, names.clone().take(SHOWN)));
    match names.count() {
        more @ SHOWN.. if more > SHOWN => help.push_str(&format!(" and {} more", more - SHOWN)),
        _ => {}
    }
    help
}

impl Check<'_> {
    pub fn count(&mut self, at: &At<String>) -> Option<Count> {
        let count = Count::parse(&at.value);
        if count.is_none() {
            self.unknown(at, "counter", "counters", Count::NAMES.map(str::to_owned).to_vec());
        }
        count
    }

    pub fn unknown(&mut self, at: &At<String>, what: &str, plural: &str, names: Vec<String>) {
        let message = format!("unknown {what} `{}`", at.value);
        let help = did_you_mean(&at.value, names.iter().map(String::as_str), plural);
        self.problems.add(&at.span, message, format!("no such {what}")).help = Some(help);
    }

    pub fn poll_named(&mut self, at: &At<String>) -> Option<(usize, usize)> {
        let all = self.plan.masters.iter().enumerate().flat_map(|(m, master)| {
            master
                .polls
                .iter()
                .enumerate()
                .map(move |(p, poll)| (format!("{}.{}", master.name, poll.name), (m, p)))
        });
        let all: Vec<(String, (usize, usize))> = all.collect();
        let found = all.iter().find(|(name, _)| *name == at.value).map(|(_, place)| *place);
        if found.is_none() && !self.is_of_broken(&at.value) {
            self.unknown(at, "poll", "polls", all.into_iter().map(|(name, _)| name).collect());
        }
        found
    }

    pub fn master_named(&mut self, at: &At<String>) -> Option<usize> {
        let names = self.plan.masters.iter().map(|m| m.name.clone()).collect();
        self.named(at, "master", "masters", names)
    }

    pub fn sim_named(&mut self, at: &At<String>) -> Option<usize> {
        let names = self.plan.sims.iter().map(|s| s.name.clone()).collect();
        self.named(at, "simulator", "simulators", names)
    }

    pub fn link_named(&mut self, at: &At<String>) -> Option<usize> {
        let names = self.plan.links.iter().map(|l| l.name.clone()).collect();
        self.named(at, "link", "links", names)
    }

    fn named(&mut self, at: &At<String>, what: &str, plural: &str, names: Vec<String>) -> Option<usize> {
        let found = names.iter().position(|name| *name == at.value);
        if found.is_none() && !self.is_of_broken(&at.value) {
            self.unknown(at, what, plural, names);
        }
        found
    }

    /// What a model has that cannot be used is not known, and no mistake of its own.
    pub fn is_any_broken(&self) -> bool {
        self.plan.sims.iter().any(|sim| sim.broken)
    }

    fn is_of_broken(&self, name: &str) -> bool {
        let sim = name.split('.').next();
        self.plan.sims.iter().any(|s| s.broken && Some(s.name.as_str()) == sim)
    }

    /// A fault that an earlier step injects, or one of a model.
    pub fn fault(&mut self, at: &At<String>) -> Option<FaultRef> {
        if let Some(fault) = self.plan.faults.iter().position(|f| f.rule.id == at.value) {
            return Some(FaultRef::Link(fault));
        }
        if self.models_fault(at).is_none() {
            let injected = self.plan.faults.iter().map(|f| f.rule.id.clone());
            let names = injected.chain(self.fault_names()).collect();
            if !self.is_any_broken() {
                self.unknown(at, "fault", "faults injected before this step", names);
            }
            return None;
        }
        self.reply_fault(at).map(FaultRef::Reply)
    }

    /// A fault of a model: its name, or SIM.NAME.
    pub fn reply_fault(&mut self, at: &At<String>) -> Option<usize> {
        match self.models_fault(at) {
            Some(Ok(fault)) => {
                if let Some(why) = self.plan.reply_faults[fault].nowhere.clone() {
                    self.problems.add(&at.span, format!("the fault `{}` can happen nowhere", at.value), why);
                }
                Some(fault)
            }
            Some(Err(names)) => {
                let label = format!("write {}", names.join(" or "));
                self.problems.add(&at.span, format!("there are several faults `{}`", at.value), label);
                None
            }
            None => {
                let names = self.fault_names();
                if !self.is_any_broken() {
                    self.unknown(at, "fault", "faults of models", names);
                }
                None
            }
        }
    }

    /// Its place, or the full names of all that it could be.
    fn models_fault(&self, at: &At<String>) -> Option<Result<usize, Vec<String>>> {
        let full = |f: &ReplyFaultPlan| format!("{}.{}", self.plan.sims[f.sim].name, f.name);
        let faults = || self.plan.reply_faults.iter().enumerate();
        let meant: Vec<_> = faults().filter(|(_, f)| f.name == at.value || full(f) == at.value).collect();
        match meant[..] {
            [] => None,
            [(only, _)] => Some(Ok(only)),
            _ => Some(Err(meant.iter().map(|(_, f)| full(f)).collect())),
        }
    }

    fn fault_names(&self) -> Vec<String> {
        self.plan.reply_faults.iter().map(|f| f.name.clone()).collect()
    }
}
