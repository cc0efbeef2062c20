//! What each kind of step does on a bench under way.

use std::time::Duration;

use hilrig_modbus::{Exchange, Outcome as Ended, PollResult, Source};
use hilrig_points::{Point, Value};
use hilrig_port::Time;

use crate::compare::{Test, shown};
use crate::hall::{Hall, TICK};
use crate::plan::{Action, FaultRef, LimitPlan, Limited, MeasurePlan, StepPlan, Subject};
use crate::report::{LimitResult, Measurement, Verdict};
use crate::run::{Halt, Outcome, Run, STRETCH};
use hilrig_files::show_time;

/// How long the bytes that are under way may take to arrive once nothing is sent any more.
const SETTLE: Duration = Duration::from_secs(2);

impl<H: Hall> Run<'_, H> {
    pub fn step(&mut self, step: &StepPlan) -> Result<Outcome, Halt> {
        match &step.action {
            Action::Wait(time) => {
                self.until(*time, STRETCH, |_| Ok(None::<()>))?;
                Ok(Outcome::pass())
            }
            Action::Expect { subject, test, within } => self.expect(*subject, test, *within),
            Action::Assert { subject, test } => self.assert(*subject, test),
            Action::Inject { fault } => {
                self.look()?;
                self.bench.arm(*fault)?;
                self.armed[*fault] = true;
                Ok(Outcome::pass())
            }
            Action::Arm { fault } => {
                self.look()?;
                self.bench.arm_reply(*fault)?;
                self.replies_armed[*fault] = Some(step.line);
                Ok(Outcome::pass())
            }
            Action::Clear { fault } => {
                self.look()?;
                match fault {
                    FaultRef::Link(fault) => self.bench.disarm(&self.plan.faults[*fault])?,
                    FaultRef::Reply(fault) => self.bench.disarm_reply(*fault)?,
                }
                Ok(Outcome::pass())
            }
            Action::Measure(measure) => self.measure(measure),
            Action::SetSim { sim, table, address, value } => {
                self.look()?;
                match self.bench.set_cell(*sim, *table, *address, *value)? {
                    true => Ok(Outcome::pass()),
                    false => Err(Halt::Trouble(format!("the simulator has no {} {address}", table.key()))),
                }
            }
            Action::SetPoint { point, value, over } => {
                self.look()?;
                self.bench.set_point(*point, value, *over)?;
                Ok(Outcome::pass())
            }
            Action::Release { point } => {
                self.look()?;
                self.bench.release(*point)?;
                Ok(Outcome::pass())
            }
            Action::SetMaster { master, exchange, within, .. } => self.write(*master, exchange, *within),
        }
    }

    /// Waits for something that happens after the step has begun.
    fn expect(&mut self, subject: Subject, test: &Test, within: Duration) -> Result<Outcome, Halt> {
        let expected = format!("{} {test} within {}", self.plan.subject_text(subject), show_time(within));
        let since = self.clock.now();
        let mut got = Err("no reply".to_owned());
        // Replies are seen as they come; other values may change at any time.
        let every = if matches!(subject, Subject::Polled { .. }) { STRETCH } else { TICK };
        let met = self.until(within, every, |run| {
            if let Subject::Polled { master, poll, address, point } = subject {
                let (first, point) = run.polled(master, poll, point);
                for (_, result) in run.fresh.iter().filter(|(m, r)| is_of(*m, r, master, poll, since)) {
                    got = value_at(result, first, address, point);
                    if got.as_ref().is_ok_and(|value| test.holds(value)) {
                        return Ok(Some(()));
                    }
                }
                return Ok(None);
            }
            let value = run.value(subject)?;
            let met = test.holds(&value);
            got = Ok(value);
            Ok(met.then_some(()))
        })?;
        Ok(Outcome::compared(met.is_some(), expected, got.map_or_else(|why| why, |value| shown(&value))))
    }

    fn assert(&mut self, subject: Subject, test: &Test) -> Result<Outcome, Halt> {
        self.look()?;
        let expected = format!("{} {test}", self.plan.subject_text(subject));
        match subject {
            Subject::Polled { master, poll, address, point } => {
                let (first, point) = self.polled(master, poll, point);
                match self.bench.last_reply(master, poll).map(|r| value_at(r, first, address, point)) {
                    Some(Ok(value)) => Ok(Outcome::compared(test.holds(&value), expected, shown(&value))),
                    _ => Ok(Outcome::compared(false, expected, "no reply so far".to_owned())),
                }
            }
            Subject::BytesLost { link } => {
                let (lost, places) = self.settled_loss(link)?;
                let got = if places.is_empty() { lost.to_string() } else { format!("{lost} ({places})") };
                Ok(Outcome::compared(test.holds(&count(lost)), expected, got))
            }
            _ => {
                let value = self.value(subject)?;
                Ok(Outcome::compared(test.holds(&value), expected, shown(&value)))
            }
        }
    }

    /// The first address of a poll, and the point that is meant.
    fn polled(&self, master: usize, poll: usize, point: Option<usize>) -> (u16, Option<&'_ Point>) {
        let first = self.plan.masters[master].polls[poll].read.map_or(0, |(_, first, _)| first);
        (first, point.map(|point| &self.plan.points[point].point))
    }

    /// A value that can be looked up at any time.
    fn value(&mut self, subject: Subject) -> Result<Value, Halt> {
        match subject {
            Subject::Counted { master, poll, count: of } => Ok(count(self.bench.count(master, poll, of))),
            Subject::Simulated { sim, table, address } => {
                let value = self.bench.cell(sim, table, address)?;
                value.map(|value| Value::Int(value.into())).ok_or_else(|| {
                    Halt::Trouble(format!("the simulator has lost its {} {address}", table.key()))
                })
            }
            Subject::Point { point } => Ok(self.bench.point(point)?),
            Subject::Fired { fault } => Ok(count(match fault {
                FaultRef::Link(fault) => self.bench.fault(&self.plan.faults[fault])?.map_or(0, |r| r.fired),
                FaultRef::Reply(fault) => self.bench.reply_fault(fault)?.fired,
            })),
            Subject::Polled { .. } | Subject::BytesLost { .. } => {
                Err(Halt::Trouble("this cannot be looked up".to_owned()))
            }
        }
    }

    /// Bytes lost once the masters are silent and what was under way has arrived.
    fn settled_loss(&mut self, link: Option<usize>) -> Result<(u64, String), Halt> {
        self.bench.pause(true)?;
        let longest = self.plan.masters.iter().flat_map(|m| &m.polls).map(|p| p.poll.timeout).max();
        self.until(longest.unwrap_or_default() + SETTLE, TICK, |run| Ok(run.bench.is_idle()?.then_some(())))?;
        let settled = self.until(SETTLE, TICK, |run| Ok((run.bench.lost(link).0 == 0).then_some(())))?;
        let lost = if settled.is_some() { (0, String::new()) } else { self.bench.lost(link) };
        self.bench.pause(false)?;
        Ok(lost)
    }

    fn write(&mut self, master: usize, exchange: &Exchange, within: Duration) -> Result<Outcome, Halt> {
        self.look()?;
        let unit = exchange.unit();
        let id = self.bench.submit(master, exchange.clone(), within)?;
        // The master itself gives up after `within` from the sending; what waits before that comes on top.
        let ended = self.until(within * 2, STRETCH, |run| {
            let ours = |(m, r): &&(usize, PollResult)| *m == master && r.source == Source::Once(id);
            Ok(run.fresh.iter().find(ours).map(|(_, r)| r.outcome))
        })?;
        let expected = format!("unit {unit} confirms within {}", show_time(within));
        Ok(match ended {
            Some(Ended::Ok) => Outcome { expected, got: "confirmed".to_owned(), ..Outcome::pass() },
            Some(other) => Outcome::compared(false, expected, no_reply(other)),
            None => Outcome::compared(false, expected, "no confirmation".to_owned()),
        })
    }

    fn measure(&mut self, plan: &MeasurePlan) -> Result<Outcome, Halt> {
        let since = self.clock.now();
        let mut trips: Vec<Duration> = Vec::new();
        let mut lost: u64 = 0;
        let wanted = usize::try_from(plan.count).unwrap_or(usize::MAX);
        self.until(plan.within, STRETCH, |run| {
            for (_, result) in run.fresh.iter().filter(|(m, r)| is_of(*m, r, plan.master, plan.poll, since)) {
                if trips.len() == wanted {
                    break;
                }
                let good = result.outcome == Ended::Ok;
                lost += u64::from(result.attempts) - u64::from(good);
                trips.extend(good.then_some(result.round_trip));
            }
            Ok((trips.len() == wanted).then_some(()))
        })?;
        let master = &self.plan.masters[plan.master];
        let of = format!("{}.{}", master.name, master.polls[plan.poll].name);
        trips.sort_unstable();
        let mut measurement = summary(of, &trips, lost);
        let limits = plan.limits.iter().map(|limit| limited(limit, &trips, lost));
        measurement.limits = limits.collect();

        let expected = plan.limits.iter().map(limit_text).collect::<Vec<_>>().join(", ");
        let got = trips_text(&trips, lost);
        let worst = [Verdict::Fail, Verdict::Marginal]
            .into_iter()
            .find(|v| measurement.limits.iter().any(|l| l.verdict == *v))
            .unwrap_or(Verdict::Pass);
        let beyond: Vec<String> =
            measurement.limits.iter().filter(|l| l.verdict == worst).map(beyond_text).collect();
        let (verdict, message) = if trips.len() < wanted {
            let time = show_time(plan.within);
            (
                Verdict::Fail,
                format!("only {} of {wanted} round trips came within {time}, {lost} lost", trips.len()),
            )
        } else if worst == Verdict::Pass {
            (worst, String::new())
        } else {
            (worst, beyond.join(", "))
        };
        Ok(Outcome { verdict, expected, got, message, measurement: Some(measurement) })
    }
}

/// Whether a result belongs to a poll and was asked for after `since`: an older reply says nothing about now.
fn is_of(from: usize, result: &PollResult, master: usize, poll: usize, since: Time) -> bool {
    let asked_after = result.at.since(since) >= result.round_trip && result.at > since;
    from == master && result.source == Source::Poll(poll) && asked_after
}

fn count(n: u64) -> Value {
    i64::try_from(n).map_or(Value::Uint(n), Value::Int)
}

/// The value at an address; of a point that begins there, what its cells say.
fn value_at(result: &PollResult, first: u16, address: u16, point: Option<&Point>) -> Result<Value, String> {
    if result.outcome != Ended::Ok {
        return Err(no_reply(result.outcome));
    }
    let at = usize::from(address.saturating_sub(first));
    let value = match point {
        None => result.values.get(at).map(|value| Value::Int(value.into())),
        Some(point) => {
            let cells = (at..at + usize::from(point.cells)).map(|i| result.values.get(i));
            cells.collect::<Option<Vec<u16>>>().and_then(|cells| point.decode(&cells))
        }
    };
    value.ok_or_else(|| "a reply without this value".to_owned())
}

fn no_reply(outcome: Ended) -> String {
    match outcome {
        Ended::Ok => "a reply".to_owned(),
        Ended::Exception(code) => format!("exception {code}"),
        Ended::Timeout => "no reply in time".to_owned(),
        Ended::Crc => "a reply with a bad CRC".to_owned(),
        Ended::WrongUnit => "a reply of another unit".to_owned(),
        Ended::Mismatch => "a reply to something else".to_owned(),
        Ended::LineBusy => "a line that was never free".to_owned(),
    }
}

/// Nearest rank of sorted round trips; zero when there are none.
fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

fn us(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn summary(of: String, sorted: &[Duration], lost: u64) -> Measurement {
    let sum: Duration = sorted.iter().sum();
    Measurement {
        of,
        count: sorted.len() as u64,
        lost,
        min_us: us(quantile(sorted, 0.0)),
        mean_us: if sorted.is_empty() { 0.0 } else { us(sum) / sorted.len() as f64 },
        p50_us: us(quantile(sorted, 0.5)),
        p90_us: us(quantile(sorted, 0.9)),
        p99_us: us(quantile(sorted, 0.99)),
        max_us: us(quantile(sorted, 1.0)),
        limits: vec![],
    }
}

fn trips_text(sorted: &[Duration], lost: u64) -> String {
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| show_time(quantile(sorted, q)));
    format!("p50 {p50}, p99 {p99}, max {max}, {lost} lost")
}

fn limited(limit: &LimitPlan, sorted: &[Duration], lost: u64) -> LimitResult {
    let nanos = |q| quantile(sorted, q).as_nanos() as f64;
    let (got, scale) = match limit.of {
        Limited::P50 => (nanos(0.5), 1000.0),
        Limited::P99 => (nanos(0.99), 1000.0),
        Limited::Max => (nanos(1.0), 1000.0),
        Limited::Loss => (lost as f64, 1.0),
    };
    let verdict = if got > limit.max as f64 {
        Verdict::Fail
    } else if limit.marginal.is_some_and(|marginal| got > marginal as f64) {
        Verdict::Marginal
    } else {
        Verdict::Pass
    };
    LimitResult {
        name: limit.of.name().to_owned(),
        got: got / scale,
        max: limit.max as f64 / scale,
        marginal: limit.marginal.map(|m| m as f64 / scale),
        verdict,
    }
}

fn limit_text(limit: &LimitPlan) -> String {
    match limit.of {
        Limited::Loss => format!("{} lost at most", limit.max),
        of => format!("{} {} at most", of.name(), show_time(Duration::from_nanos(limit.max))),
    }
}

/// `p99 is 12 ms, above 10 ms`
fn beyond_text(limit: &LimitResult) -> String {
    let bound =
        if limit.verdict == Verdict::Marginal { limit.marginal.unwrap_or(limit.max) } else { limit.max };
    let word = if limit.verdict == Verdict::Marginal { "above the marginal" } else { "above" };
    if limit.name == Limited::Loss.name() {
        return format!("{} lost, {word} {bound}", limit.got);
    }
    let time = |us: f64| show_time(Duration::from_nanos((us * 1000.0) as u64));
    format!("{} is {}, {word} {}", limit.name, time(limit.got), time(bound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hilrig_modbus::Values;

    fn result(sent: u64, took: u64) -> PollResult {
        PollResult {
            source: Source::Poll(1),
            outcome: Ended::Ok,
            attempts: 1,
            round_trip: Duration::from_nanos(took),
            at: Time(sent + took),
            values: Values::default(),
        }
    }

    #[test]
    fn what_was_asked_before_the_step_does_not_count() {
        let since = Time(1000);
        for (sent, took, counts) in [(900, 50, false), (900, 200, false), (1001, 5, true), (5000, 1, true)] {
            assert_eq!(is_of(0, &result(sent, took), 0, 1, since), counts, "sent at {sent}");
        }
        assert!(!is_of(1, &result(5000, 1), 0, 1, since));
        assert!(!is_of(0, &result(5000, 1), 0, 0, since));
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let ms = |n| Duration::from_millis(n);
        let sorted: Vec<Duration> = (1..=100).map(ms).collect();
        assert_eq!([0.0, 0.5, 0.9, 0.99, 1.0].map(|q| quantile(&sorted, q)), [1, 50, 90, 99, 100].map(ms));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
        assert_eq!(quantile(&[ms(7)], 0.99), ms(7));
    }

    #[test]
    fn limits_pass_marginally_and_fail() {
        let limit = LimitPlan { of: Limited::Max, max: 10_000_000, marginal: Some(5_000_000) };
        let judged = |ms| limited(&limit, &[Duration::from_millis(ms)], 0).verdict;
        assert_eq!(
            [5, 6, 10, 11].map(judged),
            [Verdict::Pass, Verdict::Marginal, Verdict::Marginal, Verdict::Fail]
        );
        let beyond = limited(&limit, &[Duration::from_millis(12)], 0);
        assert_eq!(beyond_text(&beyond), "max is 12 ms, above 10 ms");
        let loss = LimitPlan { of: Limited::Loss, max: 0, marginal: None };
        assert_eq!(beyond_text(&limited(&loss, &[], 2)), "2 lost, above 0");
    }
}
