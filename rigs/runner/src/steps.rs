//! Checks the steps of a rig: each becomes a [`StepPlan`] with every name resolved.

use std::ops::Range;
use std::time::Duration;

use hilrig_files::{At, Number, known, show_time};
use hilrig_wire::{FaultRule, LinkCore, When};

use crate::check::Check;
use crate::file::{Claim, CountLimit, Inject, Measure, RigFile, Set, Step, TimeLimit};
use crate::plan::{
    Action, Count, FaultPlan, LimitPlan, Limited, MeasurePlan, StepPlan, Subject, Table, Test,
};

const DEFAULT_WRITE: Duration = Duration::from_secs(1);

/// The fields of a claim or `set` that name a table.
fn tables<'s>(
    holding: &'s Option<At<i64>>,
    input: &'s Option<At<i64>>,
    coils: &'s Option<At<i64>>,
    discrete: &'s Option<At<i64>>,
) -> Vec<(Table, &'s At<i64>)> {
    [(Table::Holding, holding), (Table::Input, input), (Table::Coils, coils), (Table::Discrete, discrete)]
        .into_iter()
        .filter_map(|(table, at)| Some((table, at.as_ref()?)))
        .collect()
}

impl Check<'_> {
    pub fn steps(&mut self, rig: &RigFile) {
        for step in &rig.step {
            self.step(step);
        }
        let can_fail = |s: &Step| matches!(s, Step::Expect(_) | Step::Assert(_) | Step::Measure(_));
        if !rig.step.iter().any(|s| can_fail(&s.value)) {
            let message = "this rig cannot fail, so it proves nothing";
            let label = "no step of it expects, asserts or measures anything";
            self.problems.add(&rig.name.span, message, label);
        }
    }

    fn step(&mut self, step: &At<Step>) {
        let (span, kind, action) = match &step.value {
            Step::Wait(at) => {
                let time = self.problems.time(at, Duration::ZERO);
                if time > self.plan.timeout {
                    let label =
                        format!("longer than the whole run may take ({})", show_time(self.plan.timeout));
                    self.problems.add(&at.span, "this wait cannot end", label);
                }
                (&at.span, "wait", Some(Action::Wait(time)))
            }
            Step::Expect(claim) => (&claim.span, "expect", self.expect(claim)),
            Step::Assert(claim) => (&claim.span, "assert", self.assert(claim)),
            Step::Inject(inject) => (&inject.span, "inject", self.inject(inject)),
            Step::Clear(name) => (&name.span, "clear", self.fault(name).map(|fault| Action::Clear { fault })),
            Step::Measure(measure) => (&measure.span, "measure", self.measure(measure)),
            Step::Set(set) => (&set.span, "set", self.set(set)),
        };
        let line = self.problems.line(span.start);
        if let Some(action) = action {
            self.plan.steps.push(StepPlan { line, kind, text: String::new(), action });
        }
    }

    fn expect(&mut self, claim: &At<Box<Claim>>) -> Option<Action> {
        let (subject, test) = self.claim(claim, "expect");
        if let Some(at) = claim.value.bytes_lost.as_ref() {
            let label = "use it with assert: the masters pause for it, and then it is counted";
            self.problems.add(&at.span, "bytes_lost cannot be waited for", label);
        }
        let Some(within) = &claim.value.within else {
            let label = "add for example within = \"2s\"";
            self.problems.add(&claim.span, "an expectation needs a time limit", label);
            return None;
        };
        let within = self.problems.time(within, Duration::ZERO);
        Some(Action::Expect { subject: subject?, test: test?, within })
    }

    fn assert(&mut self, claim: &At<Box<Claim>>) -> Option<Action> {
        let (subject, test) = self.claim(claim, "assert");
        if let Some(within) = &claim.value.within {
            let label = "an assertion looks once; use expect to wait";
            self.problems.add(&within.span, "assert takes no time limit", label);
        }
        Some(Action::Assert { subject: subject?, test: test? })
    }

    fn claim(&mut self, at: &At<Box<Claim>>, kind: &str) -> (Option<Subject>, Option<Test>) {
        let claim = &*at.value;
        let subject = self.subject(at, kind);
        let mut tests = Vec::new();
        if let Some(n) = &claim.equals {
            tests.push((&n.span, Test::Equals(n.value.0)));
        }
        if let Some(n) = &claim.not_equals {
            tests.push((&n.span, Test::NotEquals(n.value.0)));
        }
        if let Some(range) = &claim.within_range {
            tests.push((&range.span, self.range(range)));
        }
        match tests[..] {
            [(_, test)] => return (subject, Some(test)),
            [] => {
                let label = format!("{kind} what? give equals, not_equals or in");
                self.problems.add(&at.span, "nothing to compare with", label);
            }
            [_, (span, _), ..] => {
                self.problems.add(span, "more than one comparison", "write one step for each");
            }
        }
        (subject, None)
    }

    fn range(&mut self, range: &At<Vec<At<Number>>>) -> Test {
        if let [low, high] = &range.value[..] {
            if low.value.0 > high.value.0 {
                let label = "the lowest value comes first";
                self.problems.add(&range.span, "nothing can be in this range", label);
            }
            return Test::In(low.value.0, high.value.0);
        }
        self.problems.add(&range.span, "a range has two values", "write in = [lowest, highest]");
        Test::In(0, 0)
    }

    fn subject(&mut self, at: &At<Box<Claim>>, kind: &str) -> Option<Subject> {
        let claim = &*at.value;
        let subjects = [&claim.poll, &claim.master, &claim.sim, &claim.fault, &claim.bytes_lost];
        let given: Vec<&At<String>> = subjects.into_iter().flatten().collect();
        match given[..] {
            [_] => {}
            [] => {
                let label = format!("{kind} of what? give poll, master, sim, fault or bytes_lost");
                self.problems.add(&at.span, "the claim has no subject", label);
                return None;
            }
            [_, second, ..] => {
                self.problems.add(
                    &second.span,
                    "the claim has more than one subject",
                    "write one step for each",
                );
                return None;
            }
        }
        let cells = tables(&claim.holding, &claim.input, &claim.coils, &claim.discrete);
        self.misplaced(claim, &cells);
        if let Some(name) = &claim.poll {
            let (master, poll) = self.poll_named(name)?;
            match (&claim.address, &claim.count) {
                (Some(address), None) => self.polled(master, poll, address),
                (None, Some(at)) => {
                    let count = self.count(at)?;
                    if count.of_master_only() {
                        let label = "write master = ... instead of poll = ...";
                        self.problems.add(&at.span, "this is counted for a whole master only", label);
                    }
                    Some(Subject::Counted { master, poll: Some(poll), count })
                }
                (None, None) => {
                    let label = "give address (a value it reads) or count (a counter of it)";
                    self.problems.add(&name.span, "what of this poll?", label);
                    None
                }
                (Some(_), Some(count)) => {
                    self.problems.add(&count.span, "address and count together", "write one step for each");
                    None
                }
            }
        } else if let Some(name) = &claim.master {
            let master = self.master_named(name)?;
            let Some(count) = &claim.count else {
                let label = format!("give count, one of {}", Count::NAMES.join(", "));
                self.problems.add(&name.span, "what of this master?", label);
                return None;
            };
            Some(Subject::Counted { master, poll: None, count: self.count(count)? })
        } else if let Some(name) = &claim.sim {
            let sim = self.sim_named(name)?;
            let (table, address) = self.one_cell(&name.span, &cells)?;
            self.has_cell(sim, table, address).map(|address| Subject::Simulated { sim, table, address })
        } else if let Some(name) = &claim.fault {
            self.fault(name).map(|fault| Subject::Fired { fault })
        } else {
            let name = claim.bytes_lost.as_ref()?;
            if name.value == "all" {
                return Some(Subject::BytesLost { link: None });
            }
            self.link_named(name).map(|link| Subject::BytesLost { link: Some(link) })
        }
    }

    /// Keys that say nothing about the subject they stand beside.
    fn misplaced(&mut self, claim: &Claim, cells: &[(Table, &At<i64>)]) {
        if let (None, Some(at)) = (&claim.poll, &claim.address) {
            self.problems.add(
                &at.span,
                "address belongs to poll",
                "for a simulator write holding = ... or coils = ...",
            );
        }
        if let (None, None, Some(at)) = (&claim.poll, &claim.master, &claim.count) {
            self.problems.add(&at.span, "count belongs to poll or master", "there is neither in this step");
        }
        if let (None, Some((table, at))) = (&claim.sim, cells.first()) {
            let label = "for a value read over the line write address = ...";
            self.problems.add(&at.span, format!("{} belongs to sim", table.name()), label);
        }
    }

    fn polled(&mut self, master: usize, poll: usize, address: &At<i64>) -> Option<Subject> {
        let plan = &self.plan.masters[master].polls[poll];
        let (first, last) = (i64::from(plan.first), i64::from(plan.first) + i64::from(plan.count) - 1);
        if !(first..=last).contains(&address.value) {
            let label = format!("it reads {} {first}..{last}", plan.table.name());
            self.problems.add(
                &address.span,
                format!("the poll does not read address {}", address.value),
                label,
            );
            return None;
        }
        Some(Subject::Polled { master, poll, address: address.value as u16 })
    }

    fn one_cell(&mut self, span: &Range<usize>, cells: &[(Table, &At<i64>)]) -> Option<(Table, At<i64>)> {
        match cells {
            [(table, at)] => Some((*table, (*at).clone())),
            [] => {
                let label = "give holding, input, coils or discrete = ADDRESS";
                self.problems.add(span, "which value?", label);
                None
            }
            [_, (_, second), ..] => {
                self.problems.add(&second.span, "more than one value", "write one step for each");
                None
            }
        }
    }

    fn has_cell(&mut self, sim: usize, table: Table, at: At<i64>) -> Option<u16> {
        let address = self.problems.address(&at);
        let plan = &self.plan.sims[sim];
        if plan.has(table, address) {
            return Some(address);
        }
        let message = format!("`{}` has no such address", plan.name);
        let label = match plan.unit {
            Some(_) => format!("not in its {} table", table.name()),
            None => format!("it has several units; say with `unit` of `{}` which one is meant", plan.name),
        };
        self.problems.add(&at.span, message, label);
        None
    }

    fn count(&mut self, at: &At<String>) -> Option<Count> {
        let count = Count::parse(&at.value);
        if count.is_none() {
            self.unknown(at, "counter", "counters", Count::NAMES.map(str::to_owned).to_vec());
        }
        count
    }

    fn unknown(&mut self, at: &At<String>, what: &str, plural: &str, names: Vec<String>) {
        let message = format!("unknown {what} `{}`", at.value);
        self.problems.add(&at.span, message, format!("no such {what}")).help =
            Some(known(plural, names.iter().map(String::as_str)));
    }

    fn poll_named(&mut self, at: &At<String>) -> Option<(usize, usize)> {
        let all = self.plan.masters.iter().enumerate().flat_map(|(m, master)| {
            master
                .polls
                .iter()
                .enumerate()
                .map(move |(p, poll)| (format!("{}.{}", master.name, poll.name), (m, p)))
        });
        let all: Vec<(String, (usize, usize))> = all.collect();
        let found = all.iter().find(|(name, _)| *name == at.value).map(|(_, place)| *place);
        if found.is_none() {
            self.unknown(at, "poll", "polls", all.into_iter().map(|(name, _)| name).collect());
        }
        found
    }

    fn master_named(&mut self, at: &At<String>) -> Option<usize> {
        let names = self.plan.masters.iter().map(|m| m.name.clone()).collect();
        self.named(at, "master", "masters", names)
    }

    fn sim_named(&mut self, at: &At<String>) -> Option<usize> {
        let names = self.plan.sims.iter().map(|s| s.name.clone()).collect();
        self.named(at, "simulator", "simulators", names)
    }

    fn link_named(&mut self, at: &At<String>) -> Option<usize> {
        let names = self.plan.links.iter().map(|l| l.name.clone()).collect();
        self.named(at, "link", "links", names)
    }

    fn named(&mut self, at: &At<String>, what: &str, plural: &str, names: Vec<String>) -> Option<usize> {
        let found = names.iter().position(|name| *name == at.value);
        if found.is_none() {
            self.unknown(at, what, plural, names);
        }
        found
    }

    /// A fault that an earlier step injects.
    fn fault(&mut self, at: &At<String>) -> Option<usize> {
        let names = self.plan.faults.iter().map(|f| f.rule.id.clone()).collect();
        self.named(at, "fault", "faults injected before this step", names)
    }

    fn inject(&mut self, at: &At<Box<Inject>>) -> Option<Action> {
        let inject = &at.value;
        let before = self.plan.faults.iter().find(|f| f.rule.id == inject.name.value).map(|f| f.line);
        if let Some(line) = before {
            let message = format!("the fault `{}` is injected twice", inject.name.value);
            self.problems.add(&inject.name.span, message, format!("the name is taken in line {line}"));
        }
        let link = self.link_named(&inject.link);
        let mut when = inject.when.clone();
        if let Some(count) = &inject.count {
            when.count = Some(self.problems.number(count, 1..=1_000_000, "a number of times") as u64);
        } else if when == When::default() {
            when.count = Some(1);
        }
        let rule = FaultRule {
            id: inject.name.value.clone(),
            direction: inject.direction.value,
            on: inject.on.as_ref().map(|on| on.value),
            when,
            effect: inject.fault.value.clone(),
            span: inject.span,
        };
        let checked = LinkCore::prepare(&rule);
        if let Err(why) = &checked {
            self.problems.add(&at.span, format!("this fault cannot be: `{}`", why.key), why.what.clone());
        }
        let line = self.problems.line(at.span.start);
        // Known to later steps even when something else is wrong with it, so that each mistake is told once.
        self.plan.faults.push(FaultPlan { link: link.unwrap_or(0), rule, line });
        (link.is_some() && checked.is_ok()).then(|| Action::Inject { fault: self.plan.faults.len() - 1 })
    }

    fn measure(&mut self, at: &At<Box<Measure>>) -> Option<Action> {
        let measure = &*at.value;
        let poll = self.poll_named(&measure.rtt);
        let count = self.problems.number(&measure.count, 1..=1_000_000, "a number of round trips") as u64;
        let within =
            measure.within.as_ref().map_or(self.plan.timeout, |w| self.problems.time(w, Duration::MAX));
        let mut limits = Vec::new();
        let times =
            [(Limited::P50, &measure.p50), (Limited::P99, &measure.p99), (Limited::Max, &measure.max)];
        let mut tighter: Option<(Limited, u64)> = None;
        for (of, limit) in times.into_iter().rev() {
            let Some(limit) = limit else { continue };
            let plan = self.time_limit(of, limit);
            if let Some((other, max)) = tighter.filter(|(_, max)| plan.max > *max && plan.max < u64::MAX) {
                let label =
                    format!("{} may be {} at most", other.name(), show_time(Duration::from_nanos(max)));
                let message = format!("the limits contradict: {} can never reach this", of.name());
                self.problems.add(&limit.max.span, message, label);
            }
            tighter = Some((of, plan.max));
            limits.insert(0, plan);
        }
        if let Some(limit) = &measure.loss {
            limits.push(self.count_limit(limit));
        }
        let (master, poll) = poll?;
        let every = self.plan.masters[master].polls[poll].every;
        let least = every.saturating_mul(u32::try_from(count - 1).unwrap_or(u32::MAX));
        if least > within {
            let label = format!("polled every {}, they take {} at least", show_time(every), show_time(least));
            let message = format!("{count} round trips do not fit into {}", show_time(within));
            self.problems.add(&measure.count.span, message, label);
        }
        Some(Action::Measure(MeasurePlan { master, poll, count, within, limits }))
    }

    fn time_limit(&mut self, of: Limited, limit: &TimeLimit) -> LimitPlan {
        let mut nanos =
            |at, wrong| u64::try_from(self.problems.time(at, wrong).as_nanos()).unwrap_or(u64::MAX);
        let max = nanos(&limit.max, Duration::MAX);
        let marginal = limit.marginal.as_ref().map(|at| (nanos(at, Duration::ZERO), &at.span));
        self.limit(of, max, marginal)
    }

    fn count_limit(&mut self, limit: &CountLimit) -> LimitPlan {
        let max = self.problems.number(&limit.max, 0..=1_000_000, "a limit of losses") as u64;
        let number = |at: &At<i64>| self.problems.number(at, 0..=1_000_000, "a limit of losses") as u64;
        let marginal = limit.marginal.as_ref().map(number).zip(limit.marginal.as_ref().map(|at| &at.span));
        self.limit(Limited::Loss, max, marginal)
    }

    fn limit(&mut self, of: Limited, max: u64, marginal: Option<(u64, &Range<usize>)>) -> LimitPlan {
        if let Some((_, span)) = marginal.filter(|(marginal, _)| *marginal >= max) {
            let label = "marginal must be below max, or leave it out";
            self.problems.add(span, "the limits contradict", label);
        }
        LimitPlan { of, max, marginal: marginal.map(|(marginal, _)| marginal) }
    }

    fn set(&mut self, at: &At<Box<Set>>) -> Option<Action> {
        let set = &*at.value;
        let cells = tables(&set.holding, &set.input, &set.coils, &set.discrete);
        let cell = self.one_cell(&at.span, &cells);
        let number = At { value: set.value.value.0, span: set.value.span.clone() };
        let value = cell.as_ref().map(|(table, _)| self.cell_value(*table, &number));
        match (&set.sim, &set.master) {
            (Some(name), None) => {
                if let Some(within) = &set.within {
                    self.problems.add(&within.span, "set in a simulator takes no time", "leave `within` out");
                }
                let sim = self.sim_named(name)?;
                let (table, at) = cell?;
                let address = self.has_cell(sim, table, at)?;
                Some(Action::SetSim { sim, table, address, value: value? })
            }
            (None, Some(name)) => {
                let within =
                    set.within.as_ref().map_or(DEFAULT_WRITE, |w| self.problems.time(w, DEFAULT_WRITE));
                let master = self.master_named(name)?;
                let (table, at) = cell?;
                let address = self.problems.address(&at);
                if matches!(table, Table::Input | Table::Discrete) {
                    let label = "Modbus writes holding registers and coils only";
                    self.problems.add(&at.span, "a master cannot write this", label);
                    return None;
                }
                Some(Action::SetMaster { master, table, address, value: value?, within })
            }
            _ => {
                self.problems.add(&at.span, "set where?", "give either sim or master");
                None
            }
        }
    }
}
