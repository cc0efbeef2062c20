//! The conduit: joins frames, faults and the wire of both directions. Decides nothing itself.

use hilrig_port::{Account, Conduit, Direction, Note, Out, Signal, Time};

use crate::{CoreSpec, FaultRule, RuleError, RuleReport};

/// A rule that was checked and has all the memory it needs.
#[derive(Debug)]
pub struct Prepared(Box<FaultRule>);

/// Answer of [`LinkCore::arm`].
#[derive(Debug)]
pub struct Armed {
    /// As in notes and reports.
    pub number: u32,
    /// An old rule that could fire no more and gave way, for the control side to drop.
    pub displaced: Option<Prepared>,
}

/// What stands in a link: a wire and fault rules.
#[derive(Debug)]
pub struct LinkCore {
    spec: CoreSpec,
}

impl LinkCore {
    pub fn new(spec: CoreSpec) -> Result<Self, RuleError> {
        Ok(Self { spec })
    }

    /// Checks a rule and allocates what it needs; for the control side.
    pub fn prepare(rule: &FaultRule) -> Result<Prepared, RuleError> {
        Ok(Prepared(Box::new(rule.clone())))
    }

    /// Arms a rule from `now` on. Hands it back when [`MAX_RULES`](crate::MAX_RULES) rules can all still fire.
    pub fn arm(&mut self, now: Time, rule: Prepared) -> Result<Armed, Prepared> {
        let _ = now;
        Err(rule)
    }

    /// The rules of this name fire no more; they stay in the report. Answers whether there was one.
    pub fn clear(&mut self, id: &str) -> bool {
        let _ = id;
        false
    }

    /// All rules, in the order in which they were armed. Allocates: for the end of a run and for status.
    pub fn report(&self) -> Vec<RuleReport> {
        Vec::new()
    }

    pub fn spec(&self) -> &CoreSpec {
        &self.spec
    }
}

impl Conduit for LinkCore {
    fn room(&self, _: Direction) -> usize {
        0
    }
    fn push(&mut self, _: Time, _: Direction, _: &[u8]) {}
    fn signal(&mut self, _: Time, _: Direction, _: Signal) {}
    fn next(&mut self, _: Time, _: Direction) -> Option<Out<'_>> {
        None
    }
    fn advance(&mut self, _: Time, _: Direction, _: usize) {}
    fn discard(&mut self, _: Time, _: Direction) -> u64 {
        0
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
    fn on_deadline(&mut self, _: Time) {}
    fn account(&self, _: Direction) -> Account {
        Account::default()
    }
    fn note(&mut self) -> Option<Note> {
        None
    }
}
