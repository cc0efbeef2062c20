//! From a rule as written to one that can act: checks it, and allocates all that it will ever need. The only place that
//! knows which keys go together.

use std::time::Duration;

use hilrig_files::{At, Problems, TimeText};
use hilrig_points::Table;
use hilrig_wire::Hex;
use hilrig_wire::random::hash;

use super::{DelayFile, ReplyEffect, ReplyRuleFile, ReplyWhen, TableName};
use crate::framing::Framing;
use crate::pdu::MAX_PDU;

/// Bytes that a rule may add at once.
const MAX_EXTRA: usize = 256;
const LONGEST: Duration = Duration::from_secs(3600);

/// An effect with its numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Exception(u8),
    Silence,
    Delay(Delay),
    BadCrc,
    Flip(u32),
    Truncate(usize),
    Extra(Box<[u8]>),
    Unit(u8),
    Function(u8),
    Pdu(Box<[u8]>),
    Transaction(u16),
    Duplicate,
    Drip(Duration),
    Split { at: usize, gap: Duration },
    Babble { bytes: usize, after: Duration },
    Late,
    Close,
    CloseAfter,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Delay {
    Fixed(Duration),
    Uniform { min: Duration, max: Duration },
    Normal { mean: Duration, sigma: Duration },
}

impl Effect {
    /// Whether it means anything there.
    pub fn fits(&self, framing: Framing) -> bool {
        match self {
            Self::BadCrc => framing != Framing::Tcp,
            Self::Transaction(_) => framing == Framing::Tcp,
            Self::Close | Self::CloseAfter => framing.is_over_tcp(),
            _ => true,
        }
    }
}

/// Which replies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct When {
    pub unit: Option<u8>,
    pub function: Option<u8>,
    pub table: Option<Table>,
    pub addresses: Option<(u16, u16)>,
    pub quantity: Option<u16>,
    pub nth: Option<u64>,
    pub every: u64,
    /// Out of 2^32.
    pub chance: Option<u64>,
    pub from: Duration,
    pub until: Option<Duration>,
    pub count: u64,
}

/// A rule that was checked and has all the memory it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub(crate) name: Box<str>,
    pub(crate) stream: u64,
    pub(crate) port: Option<Box<str>>,
    pub(crate) armed: bool,
    pub(crate) when: When,
    pub(crate) effect: Effect,
}

impl Prepared {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The only port it is for, if it is not for all.
    pub fn port(&self) -> Option<&str> {
        self.port.as_deref()
    }

    /// Whether it can fire from the start.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Whether its effect means anything with a framing; where not, the rule never fires.
    pub fn fits(&self, framing: Framing) -> bool {
        self.effect.fits(framing)
    }
}

/// Checks a rule. With new `problems` the result is legal, but not what was meant.
pub fn prepare(rule: &ReplyRuleFile, problems: &mut Problems<'_>) -> Prepared {
    problems.name(&rule.name);
    let mut check = Check { problems };
    Prepared {
        name: rule.name.value.as_str().into(),
        stream: hash(&rule.name.value),
        port: rule.when.port.as_ref().map(|port| port.value.as_str().into()),
        armed: rule.armed.as_ref().is_none_or(|armed| armed.value),
        when: check.when(&rule.when),
        effect: check.effect(&rule.effect.value),
    }
}

struct Check<'p, 'a> {
    problems: &'p mut Problems<'a>,
}

impl Check<'_, '_> {
    fn wrong(&mut self, span: &std::ops::Range<usize>, message: &str, label: impl Into<String>) {
        self.problems.add(span, message, label);
    }

    fn number(&mut self, at: &At<i64>, low: i64, high: i64, what: &str) -> u64 {
        self.problems.number(at, low..=high, what) as u64
    }

    fn time(&mut self, at: &At<TimeText>) -> Duration {
        let time = self.problems.time(at, Duration::from_millis(1));
        if time > LONGEST {
            self.wrong(&at.span, "too long a time", "60min at most");
        }
        time
    }

    fn when(&mut self, when: &ReplyWhen) -> When {
        let positive = |check: &mut Self, at: &At<i64>, what| check.number(at, 1, i64::MAX, what);
        let addresses = when.addresses.as_ref().and_then(|at| self.problems.addresses(at));
        let chance = when.probability.as_ref().map(|at| {
            if !(0.0..=1.0).contains(&at.value) {
                self.wrong(&at.span, "this is not a probability", "a number from 0 to 1");
            }
            (at.value * 4_294_967_296.0).round() as u64
        });
        // The time of arming itself is a good start, so 0 is allowed here.
        let zero = |at: &At<TimeText>| hilrig_files::parse_time(&at.value.0) == Some(Duration::ZERO);
        let from = when.from.as_ref().filter(|at| !zero(at)).map(|at| self.time(at)).unwrap_or_default();
        let until = when.until.as_ref().map(|at| {
            let until = self.time(at);
            if until <= from {
                self.wrong(&at.span, "the window is empty", "this must be later than `from`");
            }
            until
        });
        if let (Some(at), Some(_)) = (&when.nth, &when.every) {
            self.wrong(&at.span, "`nth` and `every` exclude each other", "leave one of them out");
        }
        When {
            unit: when.unit.as_ref().map(|at| self.number(at, 0, 255, "a unit id") as u8),
            function: when.function.as_ref().map(|at| self.number(at, 1, 127, "a function code") as u8),
            table: when.table.as_ref().map(|at| match at.value {
                TableName::Coils => Table::Coils,
                TableName::Discrete => Table::DiscreteInputs,
                TableName::Holding => Table::HoldingRegisters,
                TableName::Input => Table::InputRegisters,
            }),
            addresses,
            quantity: when.quantity.as_ref().map(|at| self.number(at, 1, 2000, "a quantity") as u16),
            nth: when.nth.as_ref().map(|at| positive(self, at, "a place in a row")),
            every: when.every.as_ref().map_or(1, |at| positive(self, at, "a number of replies")),
            chance,
            from,
            until,
            count: when.count.as_ref().map_or(u64::MAX, |at| positive(self, at, "a number of firings")),
        }
    }

    fn effect(&mut self, effect: &ReplyEffect) -> Effect {
        match effect {
            ReplyEffect::Exception(at) => {
                Effect::Exception(self.number(at, 1, 255, "an exception code") as u8)
            }
            ReplyEffect::Silence => Effect::Silence,
            ReplyEffect::Delay(delay) => Effect::Delay(self.delay(delay)),
            ReplyEffect::BadCrc => Effect::BadCrc,
            ReplyEffect::Flip(at) => Effect::Flip(self.number(at, 1, 64, "a number of bits") as u32),
            ReplyEffect::Truncate(at) => {
                Effect::Truncate(self.number(at, 0, 512, "a number of bytes") as usize)
            }
            ReplyEffect::Extra(at) => Effect::Extra(self.bytes(at, MAX_EXTRA)),
            ReplyEffect::Pdu(at) => Effect::Pdu(self.bytes(at, MAX_PDU)),
            ReplyEffect::Drip(at) => Effect::Drip(self.time(at)),
            ReplyEffect::Unit(at) => Effect::Unit(self.number(at, 0, 255, "a unit id") as u8),
            ReplyEffect::Function(at) => Effect::Function(self.number(at, 0, 255, "a function code") as u8),
            ReplyEffect::Transaction(at) => {
                Effect::Transaction(self.number(at, 1, 65_535, "what is added to a transaction id") as u16)
            }
            ReplyEffect::Duplicate => Effect::Duplicate,
            ReplyEffect::Split(split) => Effect::Split {
                at: self.number(&split.at, 1, 512, "a number of bytes") as usize,
                gap: self.time(&split.gap),
            },
            ReplyEffect::Babble(babble) => Effect::Babble {
                bytes: self.number(&babble.bytes, 1, 1024, "a number of bytes") as usize,
                after: babble.after.as_ref().map(|at| self.time(at)).unwrap_or_default(),
            },
            ReplyEffect::Late => Effect::Late,
            ReplyEffect::Close => Effect::Close,
            ReplyEffect::CloseAfter => Effect::CloseAfter,
        }
    }

    fn bytes(&mut self, at: &At<Hex>, most: usize) -> Box<[u8]> {
        if !(1..=most).contains(&at.value.0.len()) {
            let label = format!("1 to {most} bytes are possible");
            self.wrong(&at.span, "not a possible number of bytes", label);
        }
        at.value.0.as_slice().into()
    }

    fn delay(&mut self, delay: &DelayFile) -> Delay {
        let random = match delay {
            DelayFile::Fixed(at) => return Delay::Fixed(self.time(at)),
            DelayFile::Random(random) => random,
        };
        match (&random.min, &random.max, &random.mean, &random.sigma) {
            (Some(low), Some(high), None, None) => {
                let (min, max) = (self.time(low), self.time(high));
                if min > max {
                    self.wrong(&high.span, "`max` is less than `min`", "exchange the two");
                }
                Delay::Uniform { min, max }
            }
            (None, None, Some(mean), Some(sigma)) => {
                Delay::Normal { mean: self.time(mean), sigma: self.time(sigma) }
            }
            (min, max, mean, sigma) => {
                let place = [min, max, mean, sigma].into_iter().flatten().next();
                let span = place.map_or(0..0, |at| at.span.clone());
                let label = "write `min` and `max`, or `mean` and `sigma`";
                self.wrong(&span, "this delay is not complete, or two in one", label);
                Delay::Fixed(Duration::ZERO)
            }
        }
    }
}
