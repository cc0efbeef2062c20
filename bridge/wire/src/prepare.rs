//! From a rule as written to one that can be driven: checks it, and allocates all that it will ever need. The only
//! place that knows which keys go together.

use std::collections::VecDeque;
use std::time::Duration;

use hilrig_port::{CharError, Lines};

use crate::report::FIRINGS_KEPT;
use crate::trigger::{Matcher, Trigger, Window};
use crate::{Effect, FaultRule, Firing, Line, Mark, RuleError, Unit, Way, When};

/// Bytes that a rule may put in at once.
pub(crate) const MAX_INSERT: usize = 128;
/// How often a byte may be repeated at once.
const MAX_COPIES: u32 = 100;
/// Bits that a rule may turn over at once.
pub(crate) const MAX_BITS: usize = 64;

/// An effect with its numbers.
#[derive(Debug)]
pub(crate) enum Action {
    Drop,
    Duplicate(u32),
    Mask { mask: Box<[u8]>, offset: u64 },
    Bits(u32),
    Insert { bytes: Box<[u8]>, random: usize, after: bool },
    Truncate(u64),
    Delay(Duration),
    Jitter(u64),
    Reorder { by: u32, within: Duration },
    Stall(Duration),
    Break(Duration),
    Error(CharError),
    Lines { mask: Lines, time: Duration },
    Unplug(Duration),
    Mismatch { rate: u16, time: Option<Duration> },
}

impl Action {
    /// Needs no byte to act on, so a moment is enough.
    pub fn needs_no_byte(&self) -> bool {
        match self {
            Self::Stall(_) | Self::Break(_) | Self::Lines { .. } | Self::Unplug(_) => true,
            Self::Insert { after, .. } => !after,
            Self::Mismatch { time, .. } => time.is_some(),
            _ => false,
        }
    }
}

/// A rule that was checked and has all the memory it needs.
#[derive(Debug)]
pub struct Prepared(pub(crate) Box<Rule>);

#[derive(Debug)]
pub(crate) struct Rule {
    pub id: Box<str>,
    pub directions: [bool; 2],
    pub trigger: Trigger,
    pub action: Action,
    pub span: u32,
    pub count: u64,
    pub firings: VecDeque<Firing>,
}

fn direction_flags(way: Way) -> [bool; 2] {
    [way != Way::BToA, way != Way::AToB]
}

pub(crate) fn prepare(rule: &FaultRule) -> Result<Prepared, RuleError> {
    let fail = |key, what: String| Err(RuleError { rule: rule.id.clone(), key, what });
    if rule.id.is_empty() {
        return fail("id", "must not be empty".to_owned());
    }
    let when = &rule.when;
    let of_bytes = when.byte.is_some()
        || when.offset.is_some()
        || when.from_byte.is_some()
        || when.until_byte.is_some()
        || when.pattern.is_some()
        || when.text.is_some();
    let frames_only = matches!(rule.effect, Effect::Reorder(_));
    let unit = rule.on.unwrap_or(if of_bytes && !frames_only { Unit::Byte } else { Unit::Frame });
    if unit == Unit::Byte && frames_only {
        return fail("effect.reorder", "is about frames; set `on` to \"frame\"".to_owned());
    }
    if rule.span == Some(0) {
        return fail("span", "must be at least 1".to_owned());
    }
    let trigger =
        trigger(when, unit).map_err(|(key, what)| RuleError { rule: rule.id.clone(), key, what })?;
    let action =
        action(&rule.effect, unit).map_err(|(key, what)| RuleError { rule: rule.id.clone(), key, what })?;
    Ok(Prepared(Box::new(Rule {
        id: rule.id.as_str().into(),
        directions: direction_flags(rule.direction),
        trigger,
        action,
        span: rule.span.unwrap_or(1),
        count: when.count.unwrap_or(u64::MAX),
        firings: VecDeque::with_capacity(FIRINGS_KEPT),
    })))
}

type Wrong = (&'static str, String);

fn trigger(when: &When, unit: Unit) -> Result<Trigger, Wrong> {
    let fail = |key, what: &str| Err((key, what.to_owned()));
    if unit == Unit::Frame {
        if when.byte.is_some() {
            return fail("when.byte", "names a byte; set `on` to \"byte\", or use `frame`");
        }
        if when.offset.is_some() {
            return fail("when.offset", "names a byte of a frame; set `on` to \"byte\"");
        }
    }
    for (value, from, until, key) in [
        (when.byte, when.from_byte, when.until_byte, "when.byte"),
        (when.frame, when.from_frame, when.until_frame, "when.frame"),
    ] {
        if value.is_some() && (from.is_some() || until.is_some()) {
            return Err((key, "is one place already; leave out the window of places".to_owned()));
        }
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            return Err((key, format!("the window from {from} until {until} is empty")));
        }
    }
    if let (Some(from), Some(until)) = (when.from, when.until)
        && from >= until
    {
        return Err(("when.until", format!("{until} is not after `from`, {from}")));
    }
    if when.time.is_some() && (when.from.is_some() || when.until.is_some()) {
        return fail("when.time", "is one moment already; leave out `from` and `until`");
    }
    if when.every == Some(0) {
        return fail("when.every", "must be at least 1");
    }
    if when.count == Some(0) {
        return fail("when.count", "must be at least 1; without it there is no limit");
    }
    let chance = match when.probability {
        Some(p) if !(0.0..=1.0).contains(&p) => {
            return Err(("when.probability", format!("{p} is not between 0 and 1")));
        }
        p => p.map(|p| (p * 4_294_967_296.0).round() as u64),
    };
    let pattern = match (&when.pattern, &when.text) {
        (Some(_), Some(_)) => return fail("when.text", "says the same as `pattern`; leave one out"),
        (Some(pattern), None) => Some(("when.pattern", pattern.0.clone())),
        (None, Some(text)) => Some(("when.text", text.bytes().map(Some).collect())),
        (None, None) => None,
    };
    if let Some((key, pattern)) = &pattern
        && !(1..=64).contains(&pattern.len())
    {
        return Err((*key, format!("has {} bytes; 1 to 64 are possible", pattern.len())));
    }
    let one = |n: u64| Window { from: n, until: Some(n.saturating_add(1)) };
    Ok(Trigger {
        unit,
        bytes: when.byte.map_or(Window { from: when.from_byte.unwrap_or(0), until: when.until_byte }, one),
        frames: when
            .frame
            .map_or(Window { from: when.from_frame.unwrap_or(0), until: when.until_frame }, one),
        in_frame: unit == Unit::Frame
            || when.frame.is_some()
            || when.from_frame.is_some()
            || when.until_frame.is_some()
            || when.offset.is_some(),
        offset: when.offset,
        times: Window { from: when.from.unwrap_or_default().0, until: when.until.map(|t| t.0) },
        moment: when.time.map(|t| t.0),
        pattern: pattern.map(|(_, pattern)| Matcher::new(&pattern)),
        every: when.every.unwrap_or(1),
        chance,
    })
}

fn action(effect: &Effect, unit: Unit) -> Result<Action, Wrong> {
    let fail = |key, what: &str| Err((key, what.to_owned()));
    Ok(match effect {
        Effect::Drop => Action::Drop,
        Effect::Duplicate(n @ 1..=MAX_COPIES) => Action::Duplicate(*n),
        Effect::Duplicate(n) => {
            return Err(("effect.duplicate", format!("{n} is not between 1 and {MAX_COPIES}")));
        }
        Effect::Corrupt(corrupt) => match (&corrupt.mask, corrupt.bits) {
            (Some(mask), None) if mask.0.iter().all(|b| *b == 0) => {
                return fail("effect.corrupt.mask", "turns no bit over");
            }
            (Some(mask), None) => {
                if unit == Unit::Byte && (corrupt.offset.is_some() || mask.0.len() > 1) {
                    return fail("effect.corrupt", "on bytes the mask is one byte, without an offset");
                }
                Action::Mask { mask: mask.0.clone().into(), offset: corrupt.offset.unwrap_or(0).into() }
            }
            (None, Some(bits)) => {
                let most = if unit == Unit::Byte { 8 } else { MAX_BITS as u32 };
                if !(1..=most).contains(&bits) {
                    return Err(("effect.corrupt.bits", format!("{bits} is not between 1 and {most}")));
                }
                if corrupt.offset.is_some() {
                    return fail("effect.corrupt.offset", "goes with `mask`; `bits` are anywhere");
                }
                Action::Bits(bits)
            }
            _ => return fail("effect.corrupt", "needs one of `mask` and `bits`"),
        },
        Effect::Insert(insert) => {
            let (bytes, random) = match (&insert.hex, &insert.text, insert.random) {
                (Some(hex), None, None) => (hex.0.clone(), 0),
                (None, Some(text), None) => (text.as_bytes().to_vec(), 0),
                (None, None, Some(n)) => (Vec::new(), n as usize),
                _ => return fail("effect.insert", "needs one of `hex`, `text` and `random`"),
            };
            let n = bytes.len() + random;
            if !(1..=MAX_INSERT).contains(&n) {
                return Err(("effect.insert", format!("puts in {n} bytes; 1 to {MAX_INSERT} are possible")));
            }
            Action::Insert { bytes: bytes.into(), random, after: insert.after }
        }
        Effect::Truncate(keep) => Action::Truncate((*keep).into()),
        Effect::Delay(by) => Action::Delay(by.0),
        Effect::Jitter(up_to) => Action::Jitter(up_to.0.as_nanos() as u64),
        Effect::Reorder(reorder) => match reorder.by.unwrap_or(1) {
            0 => return fail("effect.reorder.by", "must be at least 1"),
            by => Action::Reorder { by, within: reorder.within.map_or(Duration::from_secs(1), |t| t.0) },
        },
        Effect::Stall(time) => Action::Stall(time.0),
        Effect::Break(time) => Action::Break(time.0),
        Effect::Error(mark) => Action::Error(match mark {
            Mark::Framing => CharError::Framing,
            Mark::Parity => CharError::Parity,
            Mark::Overrun => CharError::Overrun,
        }),
        Effect::LineDrop(drop) => {
            let all = Lines::CTS | Lines::DCD | Lines::DSR | Lines::RTS | Lines::DTR | Lines::RI;
            let mask = drop.lines.iter().fold(Lines::NONE, |mask, line| {
                mask | match line {
                    Line::Dtr => Lines::DTR,
                    Line::Rts => Lines::RTS,
                    Line::Cts => Lines::CTS,
                    Line::Dsr => Lines::DSR,
                    Line::Dcd => Lines::DCD,
                    Line::Ri => Lines::RI,
                }
            });
            Action::Lines { mask: if drop.lines.is_empty() { all } else { mask }, time: drop.time.0 }
        }
        Effect::Unplug(time) => Action::Unplug(time.0),
        Effect::Mismatch(speed) => {
            if !(0.01..=60.0).contains(&speed.rate) {
                return Err(("effect.mismatch.rate", format!("{} is not between 0.01 and 60", speed.rate)));
            }
            Action::Mismatch { rate: (speed.rate * 1000.0).round() as u16, time: speed.time.map(|t| t.0) }
        }
    })
}
