//! Checks the steps of a rig: each becomes a [`StepPlan`] with every name resolved.

use std::ops::Range;
use std::time::Duration;

use hilrig_files::{At, Number, show_time};
use hilrig_modbus::Exchange;
use hilrig_points::{Table, Value, cell_value};
use hilrig_wire::{FaultRule, LinkCore, When};

use crate::check::Check;
use crate::compare::{Test, number, order};
use crate::file::{Claim, CountLimit, Inject, Measure, RigFile, Set, Step, TimeLimit};
use crate::plan::{Action, Count, FaultPlan, LimitPlan, Limited, MeasurePlan, StepPlan, Subject};

const DEFAULT_WRITE: Duration = Duration::from_secs(1);

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
            Step::Arm(name) => (&name.span, "arm", self.reply_fault(name).map(|fault| Action::Arm { fault })),
            Step::Measure(measure) => (&measure.span, "measure", self.measure(measure)),
            Step::Set(set) => (&set.span, "set", self.set(set)),
            Step::Release(release) => (&release.span, "release", self.release(release)),
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
        let subject = self.subject(at, kind);
        let point = match subject {
            Some(Subject::Point { point } | Subject::Polled { point: Some(point), .. }) => Some(point),
            // Nothing is known of what its value is.
            None if at.value.point.is_some() => return (None, None),
            _ => None,
        };
        (subject, self.test(at, kind, point))
    }

    fn test(&mut self, at: &At<Box<Claim>>, kind: &str, point: Option<usize>) -> Option<Test> {
        let claim = &*at.value;
        let limits = claim.min.as_ref().or(claim.max.as_ref()).map(|limit| &limit.span);
        let equals = claim.equals.as_ref().map(|value| &value.span);
        let others = claim.not_equals.as_ref().map(|value| &value.span);
        let range = claim.within_range.as_ref().map(|range| &range.span);
        let given: Vec<&Range<usize>> = [equals, others, range, limits].into_iter().flatten().collect();
        match given[..] {
            [_] => {}
            [] => {
                let label = format!("{kind} what? give equals, not_equals, in, min or max");
                self.problems.add(&at.span, "nothing to compare with", label);
                return None;
            }
            [_, span, ..] => {
                self.problems.add(span, "more than one comparison", "write one step for each");
                return None;
            }
        }
        if let (None, Some(tolerance)) = (equals, &claim.tolerance) {
            let label = "with others than equals it means nothing; leave it out";
            self.problems.add(&tolerance.span, "tolerance belongs to equals", label);
        }
        if let Some(value) = &claim.equals {
            let Some(tolerance) = &claim.tolerance else {
                return Some(Test::Equals(self.value(point, value, false)?));
            };
            let value = self.value(point, value, true)?;
            let wide = number(&tolerance.value).filter(|t| *t >= 0.0 && t.is_finite());
            let Some(wide) = wide.filter(|_| !matches!(tolerance.value, Value::Bool(_))) else {
                self.problems.add(
                    &tolerance.span,
                    "this is no tolerance",
                    "a tolerance is a number, 0 or more",
                );
                return None;
            };
            return Some(Test::Near(value, wide));
        }
        if let Some(value) = &claim.not_equals {
            return Some(Test::NotEquals(self.value(point, value, false)?));
        }
        if let Some(range) = &claim.within_range {
            let [low, high] = &range.value[..] else {
                self.problems.add(&range.span, "a range has two values", "write in = [lowest, highest]");
                return None;
            };
            let (low, high) = (self.value(point, low, true), self.value(point, high, true));
            return self.range(low?, high?, &range.span, "the lowest value comes first");
        }
        let mut limit = |at: &Option<At<Value>>| at.as_ref().map(|at| self.value(point, at, true));
        match (limit(&claim.min), limit(&claim.max)) {
            (Some(low), Some(high)) => {
                let span = limits?;
                self.range(low?, high?, span, "min is above max")
            }
            (Some(low), None) => Some(Test::AtLeast(low?)),
            (None, high) => Some(Test::AtMost(high??)),
        }
    }

    fn range(&mut self, low: Value, high: Value, span: &Range<usize>, label: &str) -> Option<Test> {
        if order(&low, &high).is_none_or(std::cmp::Ordering::is_gt) {
            self.problems.add(span, "nothing can be in this range", label);
            return None;
        }
        Some(Test::In(low, high))
    }

    /// A value of a point; of anything else a whole number. `ordered`: it is compared by more and less.
    fn value(&mut self, point: Option<usize>, at: &At<Value>, ordered: bool) -> Option<Value> {
        match point {
            Some(point) => self.comparable(point, at, ordered),
            None => self.whole(at).map(|at| Value::Int(at.value.0)),
        }
    }

    /// A whole number, or true and false for 1 and 0.
    fn whole(&mut self, at: &At<Value>) -> Option<At<Number>> {
        let found = match &at.value {
            Value::Bool(on) => return Some(At { value: Number((*on).into()), span: at.span.clone() }),
            Value::Int(n) => return Some(At { value: Number(*n), span: at.span.clone() }),
            Value::Uint(_) => "this is too large",
            Value::Float(_) => "this is a number with a fraction",
            Value::Text(_) => "this is text",
        };
        self.problems.add(&at.span, "this should be a whole number", found);
        None
    }

    fn subject(&mut self, at: &At<Box<Claim>>, kind: &str) -> Option<Subject> {
        let claim = &*at.value;
        // What is read over the line may be a point of that simulator.
        let sim = claim.sim.as_ref().filter(|_| claim.poll.is_none() || claim.point.is_none());
        let subjects = [claim.poll.as_ref(), claim.master.as_ref(), sim, claim.fault.as_ref()];
        let given: Vec<&At<String>> =
            subjects.into_iter().flatten().chain(claim.bytes_lost.as_ref()).collect();
        match given[..] {
            [_] => {}
            [] if claim.point.is_some() => {}
            [] => {
                let label = format!("{kind} of what? give point, poll, master, sim, fault or bytes_lost");
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
        let cells = Table::given(&claim.holding, &claim.input, &claim.coils, &claim.discrete);
        self.misplaced(claim, &cells);
        let sim = claim.sim.as_ref();
        if let Some(name) = &claim.poll {
            let (master, poll) = self.poll_named(name)?;
            if let Some(point) = &claim.point {
                return self.polled_point(master, poll, sim, point);
            }
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
                    let label = "give address or point (a value it reads) or count (a counter of it)";
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
        } else if let (None, None, Some(point)) = (&claim.fault, &claim.bytes_lost, &claim.point) {
            self.point(sim, point).map(|point| Subject::Point { point })
        } else if let Some(name) = sim {
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
        let by_name = claim.point.as_ref();
        let others = [claim.master.as_ref(), claim.fault.as_ref(), claim.bytes_lost.as_ref()];
        if let (Some(at), Some(_)) = (by_name, others.into_iter().flatten().next()) {
            self.problems.add(&at.span, "point belongs to sim or poll", "write one step for each");
        }
        let place = claim.address.as_ref().or(cells.first().map(|(_, at)| *at));
        if let (Some(_), Some(at)) = (by_name, place) {
            self.problems.add(&at.span, "a point and a cell together", "write one step for each");
        } else if let (Some(_), Some(at)) = (by_name, &claim.count) {
            self.problems.add(&at.span, "a point and a counter together", "write one step for each");
        } else if let (None, Some((table, at))) = (&claim.sim, cells.first()) {
            let label = "for a value read over the line write address = ...";
            self.problems.add(&at.span, format!("{} belongs to sim", table.key()), label);
        }
    }

    fn polled(&mut self, master: usize, poll: usize, address: &At<i64>) -> Option<Subject> {
        let message = format!("the poll does not read address {}", address.value);
        let Some((table, first, count)) = self.plan.masters[master].polls[poll].read else {
            self.problems.add(&address.span, message, "it reads no table");
            return None;
        };
        let (first, last) = (i64::from(first), i64::from(first) + i64::from(count) - 1);
        if !(first..=last).contains(&address.value) {
            let label = format!("it reads {} {first}..{last}", table.key());
            self.problems.add(&address.span, message, label);
            return None;
        }
        Some(Subject::Polled { master, poll, address: address.value as u16, point: None })
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
            Some(_) => format!("not in its {} table", table.key()),
            None => format!("it has several units; say with `unit` of `{}` which one is meant", plan.name),
        };
        self.problems.add(&at.span, message, label);
        None
    }

    fn inject(&mut self, at: &At<Box<Inject>>) -> Option<Action> {
        let inject = &at.value;
        let before = self.plan.faults.iter().find(|f| f.rule.id == inject.name.value).map(|f| f.line);
        if let Some(line) = before {
            let message = format!("the fault `{}` is injected twice", inject.name.value);
            self.problems.add(&inject.name.span, message, format!("the name is taken in line {line}"));
        }
        if let Some(other) = self.plan.reply_faults.iter().find(|f| f.name == inject.name.value) {
            let label = format!("the model of `{}` has a fault of this name", self.plan.sims[other.sim].name);
            self.problems.add(&inject.name.span, "two faults cannot have one name", label);
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
        let every = self.plan.masters[master].polls[poll].poll.every.unwrap_or_default();
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

    /// How long a write over the line may take.
    pub fn write_time(&mut self, set: &Set) -> Duration {
        set.within.as_ref().map_or(DEFAULT_WRITE, |w| self.problems.time(w, DEFAULT_WRITE))
    }

    fn set(&mut self, at: &At<Box<Set>>) -> Option<Action> {
        let set = &*at.value;
        if let (Some(_), Some(master), None) = (&set.sim, &set.master, &set.point) {
            self.problems.add(&master.span, "set where?", "give either sim or master");
            return None;
        }
        if let Some(point) = &set.point {
            return self.set_point(set, point);
        }
        if let Some(over) = &set.over {
            let label = "a cell has no values in between; leave `over` out";
            self.problems.add(&over.span, "only points move evenly", label);
        }
        let cells = Table::given(&set.holding, &set.input, &set.coils, &set.discrete);
        let cell = self.one_cell(&at.span, &cells);
        let number = self.whole(&set.value);
        let value = cell
            .as_ref()
            .zip(number)
            .map(|((table, _), number)| cell_value(*table, &number, &mut self.problems));
        if let Some(name) = &set.sim {
            if let Some(within) = &set.within {
                self.problems.add(&within.span, "set in a simulator takes no time", "leave `within` out");
            }
            let sim = self.sim_named(name)?;
            let (table, at) = cell?;
            let address = self.has_cell(sim, table, at)?;
            return Some(Action::SetSim { sim, table, address, value: value? });
        }
        let Some(name) = &set.master else {
            self.problems.add(&at.span, "set where?", "give sim or master, or a point");
            return None;
        };
        let within = self.write_time(set);
        let master = self.master_named(name)?;
        let (table, at) = cell?;
        let address = self.problems.address(&at);
        if matches!(table, Table::InputRegisters | Table::DiscreteInputs) {
            let label = "Modbus writes holding registers and coils only";
            self.problems.add(&at.span, "a master cannot write this", label);
            return None;
        }
        let Some(unit) = self.plan.masters[master].unit else {
            let label = "the model's masters ask several units; name a point of one";
            self.problems.add(&name.span, "which unit is meant is not known", label);
            return None;
        };
        let value = value?;
        let exchange = match table {
            Table::Coils | Table::DiscreteInputs => Exchange::write_coil(unit, address, value != 0),
            Table::HoldingRegisters | Table::InputRegisters => Exchange::write_register(unit, address, value),
        };
        match exchange {
            Ok(exchange) => {
                let what = format!("{} {address} to {value}", table.key());
                Some(Action::SetMaster { master, exchange: Box::new(exchange), what, within })
            }
            Err(why) => {
                self.problems.add(&at.span, "this cannot be written", why.to_string());
                None
            }
        }
    }
}
