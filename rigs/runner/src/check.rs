//! From the file as written to a [`Plan`]: resolves names, parses what is text, and collects everything that is
//! wrong before it answers. Touches no port.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use hilrig_port::{Format, PortUrl};
use hilrig_wire::{CoreSpec, LinkCore, WireSpec};

use crate::file::{Addresses, At, Entries, LinkEnds, Master, Poll, Port, RigFile, Sim, TimeText, Values};
use crate::plan::{LinkPlan, MasterPlan, Plan, PollPlan, PortKind, PortPlan, Seat, SimPlan, Table};
use crate::problem::{Problems, RigError};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_EVERY: u64 = 100;
const DEFAULT_REPLY: u64 = 500;
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Names become part of file names.
const LONGEST_NAME: usize = 40;

pub(crate) fn check(text: &str, file: &str) -> Result<Plan, RigError> {
    let mut problems = Problems::new(file, text);
    let rig: RigFile = match toml::from_str(text) {
        Ok(rig) => rig,
        Err(e) => {
            unreadable(&mut problems, &e);
            return Err(problems.into_error());
        }
    };
    let mut check = Check { problems, plan: empty_plan(file), taken: HashMap::new() };
    check.rig(&rig);
    if !check.problems.is_empty() {
        return Err(check.problems.into_error());
    }
    check.plan.describe_steps();
    Ok(check.plan)
}

fn empty_plan(file: &str) -> Plan {
    Plan {
        name: String::new(),
        file: file.to_owned(),
        seed: 1,
        timeout: DEFAULT_TIMEOUT,
        ports: vec![],
        sims: vec![],
        links: vec![],
        masters: vec![],
        faults: vec![],
        steps: vec![],
    }
}

/// A syntax or type error, which ends the reading.
fn unreadable(problems: &mut Problems<'_>, error: &toml::de::Error) {
    let span = error.span().unwrap_or(0..0);
    let text = error.message().trim();
    let (what, expected) = text.split_once(", expected ").unwrap_or((text, ""));
    let expected = expected.trim_start_matches("one of ").replace('`', "");
    let (message, label, help) = if text.starts_with("wanted exactly 1 element") {
        let help = "write one [[step]] for each step, and either `pair` or `url` for a port";
        ("not exactly one key".to_owned(), "exactly one key is wanted here".to_owned(), help.to_owned())
    } else if let Some(found) = what.strip_prefix("invalid type: ") {
        let wanted = if expected == "i64" { "a whole number" } else { expected.as_str() };
        let found = match found.split(' ').next() {
            Some("string") => "text",
            Some("integer") => "a whole number",
            Some("floating") => "a number with a fraction",
            Some("boolean") => "true or false",
            Some("map") => "a table",
            Some("sequence") => "a list",
            _ => found,
        };
        (format!("this should be {wanted}"), format!("this is {found}"), String::new())
    } else if let Some(name) = what.strip_prefix("unknown field ").or(what.strip_prefix("unknown variant ")) {
        // A key of an enum and its name as a text come with the same words.
        let kind = if problems.text_at(&span).starts_with(['"', '\'']) { "value" } else { "key" };
        (
            format!("unknown {kind} {name}"),
            format!("no such {kind}"),
            format!("known here: {}", expected.replace(" or ", ", ")),
        )
    } else {
        let wanted = if expected.is_empty() { String::new() } else { format!("expected {expected}") };
        (what.replace("missing field", "missing key"), "here".to_owned(), wanted)
    };
    problems.add(&span, message, label).help = Some(help).filter(|h| !h.is_empty());
}

pub(crate) struct Check<'a> {
    pub problems: Problems<'a>,
    pub plan: Plan,
    /// Where each seat was taken.
    taken: HashMap<(usize, usize), Range<usize>>,
}

/// `known ports: a, b`, or that there are none.
pub(crate) fn known<'n>(what: &str, names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        format!("the rig has no {what}")
    } else {
        format!("known {what}: {}", names.join(", "))
    }
}

impl Check<'_> {
    fn rig(&mut self, rig: &RigFile) {
        self.name(&rig.name);
        self.plan.name.clone_from(&rig.name.value);
        if let Some(seed) = &rig.seed {
            self.plan.seed = self.number(seed, 0..=i64::MAX, "a seed") as u64;
        }
        if let Some(timeout) = &rig.timeout {
            self.plan.timeout = self.time(timeout, DEFAULT_TIMEOUT);
        }
        self.each(&rig.ports, Self::port);
        self.each(&rig.sim, Self::sim);
        self.each(&rig.link, Self::link);
        self.each(&rig.master, Self::master);
        self.steps(rig);
    }

    fn each<T>(&mut self, entries: &Entries<T>, one: fn(&mut Self, &At<String>, &At<T>)) {
        for (name, entry) in &entries.0 {
            self.name(name);
            one(self, name, entry);
        }
    }

    fn name(&mut self, name: &At<String>) {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.value.is_empty() || name.value.len() > LONGEST_NAME || !name.value.chars().all(good) {
            let label = format!("1 to {LONGEST_NAME} letters, digits, - and _");
            self.problems.add(&name.span, "this cannot be a name", label);
        }
    }

    fn port(&mut self, name: &At<String>, port: &At<Port>) {
        let kind = match &port.value {
            Port::Pair(pair) => {
                let baud = pair.baud.as_ref().map_or(9600, |b| self.number(b, 50..=4_000_000, "a baud rate"));
                let format = pair.format.as_ref().map_or_else(Format::default, |text| {
                    text.value.parse().unwrap_or_else(|why: String| {
                        let label = why.split_once("; ").map_or(why.as_str(), |(_, form)| form);
                        self.problems.add(
                            &text.span,
                            format!("`{}` is not a character format", text.value),
                            label,
                        );
                        Format::default()
                    })
                });
                let wire = pair.wire.as_ref().and_then(|wire| self.wire(wire));
                PortKind::Pair { baud: baud as u32, format, wire }
            }
            Port::Url(text) => PortKind::Url(self.url(text)),
        };
        self.plan.ports.push(PortPlan { name: name.value.clone(), kind });
    }

    fn url(&mut self, text: &At<String>) -> PortUrl {
        match text.value.parse() {
            Ok(PortUrl::Later { scheme, .. }) => {
                let label = format!("{scheme}: is not in this version");
                self.problems.add(&text.span, "this port cannot be opened yet", label);
            }
            Ok(url) => return url,
            Err(why) => {
                // A literal without escapes has one byte a byte, so that the very character can be shown.
                let plain = text.span.len() == text.value.len() + 2;
                let rest = text.span.start + 1 + why.at;
                let span = if plain { rest..(text.span.end - 1).max(rest) } else { text.span.clone() };
                self.problems.add(&span, "this is not a port URL", why.message);
            }
        }
        PortUrl::pty("")
    }

    fn sim(&mut self, name: &At<String>, sim: &At<Sim>) {
        let Sim::Plc(plc) = &sim.value;
        let seat = self.seat(&plc.port);
        let unit = self.unit(plc.unit.as_ref());
        let mut cells = Vec::new();
        for (table, entries) in [
            (Table::Holding, &plc.holding),
            (Table::Input, &plc.input),
            (Table::Coils, &plc.coils),
            (Table::Discrete, &plc.discrete),
        ] {
            let mut seen: HashMap<u16, usize> = HashMap::new();
            for (key, values) in &entries.0 {
                for (address, value) in self.cells(table, key, values) {
                    if let Some(line) = seen.insert(address, self.problems.line(key.span.start)) {
                        let label = format!("{} {address} has a value already, in line {line}", table.name());
                        self.problems.add(&key.span, "an address is given twice", label);
                        break;
                    }
                    cells.push((table, address, value));
                }
            }
        }
        if cells.is_empty() {
            let label = "give it `holding`, `input`, `coils` or `discrete`";
            self.problems.add(&name.span, "this PLC has nothing to read", label);
        }
        self.plan.sims.push(SimPlan { name: name.value.clone(), seat, unit, cells });
    }

    fn cells(&mut self, table: Table, key: &At<String>, values: &At<Values>) -> Vec<(u16, u16)> {
        let addresses = At { value: Addresses::Text(key.value.clone()), span: key.span.clone() };
        let Some((first, last)) = self.addresses(&addresses) else { return vec![] };
        match &values.value {
            Values::One(n) => {
                let value = self.cell_value(table, &At { value: n.0, span: values.span.clone() });
                (first..=last).map(|address| (address, value)).collect()
            }
            Values::List(list) => {
                if first != last && usize::from(last - first) + 1 != list.len() {
                    let label =
                        format!("{} values for {} addresses", list.len(), u32::from(last - first) + 1);
                    self.problems.add(&values.span, "the list does not fit the range", label);
                    return vec![];
                }
                if usize::from(first) + list.len() > 65_536 {
                    self.problems.add(&values.span, "the list is too long", "addresses end at 65535");
                    return vec![];
                }
                let cell = |(i, n): (usize, &At<crate::file::Number>)| {
                    let value = At { value: n.value.0, span: n.span.clone() };
                    (first + i as u16, self.cell_value(table, &value))
                };
                list.iter().enumerate().map(cell).collect()
            }
        }
    }

    fn link(&mut self, name: &At<String>, link: &At<LinkEnds>) {
        if name.value == "all" {
            self.problems.add(&name.span, "this cannot be the name of a link", "`all` means all links");
        }
        let ends = [self.seat(&link.value.a), self.seat(&link.value.b)];
        let wire = link.value.wire.as_ref().and_then(|wire| self.wire(wire));
        self.plan.links.push(LinkPlan { name: name.value.clone(), ends, wire });
    }

    fn wire(&mut self, wire: &At<WireSpec>) -> Option<WireSpec> {
        let spec = CoreSpec { wire: Some(wire.value.clone()), ..CoreSpec::default() };
        if let Err(why) = LinkCore::new(spec) {
            self.problems.add(&wire.span, format!("this wire cannot be: `{}`", why.key), why.what);
        }
        Some(wire.value.clone())
    }

    fn master(&mut self, name: &At<String>, master: &At<Master>) {
        let master = &master.value;
        let seat = self.seat(&master.port);
        let unit = self.unit(master.unit.as_ref());
        let mut polls = Vec::new();
        for (name, poll) in &master.poll.0 {
            self.name(name);
            polls.push(self.poll(name, poll));
        }
        self.plan.masters.push(MasterPlan { name: name.value.clone(), seat, unit, polls });
    }

    fn poll(&mut self, name: &At<String>, at: &At<Poll>) -> PollPlan {
        let poll = &at.value;
        let given: Vec<(Table, &At<Addresses>)> = [
            (Table::Holding, &poll.holding),
            (Table::Input, &poll.input),
            (Table::Coils, &poll.coils),
            (Table::Discrete, &poll.discrete),
        ]
        .into_iter()
        .filter_map(|(table, addresses)| Some((table, addresses.as_ref()?)))
        .collect();
        let (mut table, mut first, mut count) = (Table::Holding, 0, 1);
        if let [(only, addresses)] = given[..] {
            if let Some((from, to)) = self.addresses(addresses) {
                let wanted = u32::from(to - from) + 1;
                if wanted > only.most_at_once() {
                    let label = format!("{wanted}; one request reads {} at most", only.most_at_once());
                    self.problems.add(&addresses.span, "too many addresses for one poll", label);
                }
                (table, first, count) = (only, from, wanted.min(2000) as u16);
            }
        } else {
            let label = "give one of `holding`, `input`, `coils`, `discrete`";
            self.problems.add(&name.span, "a poll reads exactly one table", label);
        }
        let time = |check: &mut Self, text: &Option<At<TimeText>>, default: u64| {
            let default = Duration::from_millis(default);
            text.as_ref().map_or(default, |t| check.time(t, default))
        };
        PollPlan {
            name: name.value.clone(),
            table,
            first,
            count,
            every: time(self, &poll.every, DEFAULT_EVERY),
            timeout: time(self, &poll.timeout, DEFAULT_REPLY),
            retries: poll.retries.as_ref().map_or(0, |n| self.number(n, 0..=100, "a number of retries"))
                as u16,
        }
    }

    fn unit(&mut self, unit: Option<&At<i64>>) -> u8 {
        unit.map_or(1, |unit| self.number(unit, 1..=247, "a unit id")) as u8
    }

    /// Finds the port or end that `text` names, and takes it.
    fn seat(&mut self, text: &At<String>) -> Seat {
        let (name, end) =
            text.value.split_once('.').map_or((text.value.as_str(), None), |(n, e)| (n, Some(e)));
        let found = self.plan.ports.iter().position(|p| p.name == name);
        let seat = match (found, end) {
            (Some(port), end) => match (&self.plan.ports[port].kind, end) {
                (PortKind::Pair { .. }, Some("a")) | (PortKind::Url(_), None) => Ok(Seat { port, end: 0 }),
                (PortKind::Pair { .. }, Some("b")) => Ok(Seat { port, end: 1 }),
                (PortKind::Pair { .. }, _) => {
                    let label = format!("write {name}.a or {name}.b");
                    Err((format!("`{name}` is a pair, which has two ends"), label, None))
                }
                (PortKind::Url(_), Some(_)) => {
                    Err((format!("`{name}` is a single port without ends"), format!("write {name}"), None))
                }
            },
            (None, _) => {
                let ends = |p: &PortPlan| match p.kind {
                    PortKind::Pair { .. } => format!("{0}.a, {0}.b", p.name),
                    PortKind::Url(_) => p.name.clone(),
                };
                let ports: Vec<String> = self.plan.ports.iter().map(ends).collect();
                let help = known("ports", ports.iter().map(String::as_str));
                Err((format!("unknown port `{name}`"), "no such port".to_owned(), Some(help)))
            }
        };
        match seat {
            Ok(seat) => {
                if let Some(first) = self.taken.insert((seat.port, seat.end), text.span.clone()) {
                    let line = self.problems.line(first.start);
                    let message = format!("`{}` is used twice", text.value);
                    self.problems.add(&text.span, message, format!("it is already used in line {line}"));
                }
                seat
            }
            Err((message, label, help)) => {
                self.problems.add(&text.span, message, label).help = help;
                Seat { port: 0, end: 0 }
            }
        }
    }

    /// `0` or `"0..9"`, both ends included.
    fn addresses(&mut self, at: &At<Addresses>) -> Option<(u16, u16)> {
        let parse = |s: &str| s.trim().parse::<i64>().ok();
        let range = match &at.value {
            Addresses::One(n) => Some((*n, *n)),
            Addresses::Text(text) => match text.split_once("..") {
                Some((first, last)) => parse(first).zip(parse(last)),
                None => parse(text).map(|n| (n, n)),
            },
        };
        let wrong = match range {
            None => "write an address such as 0, or a range such as \"0..9\" (both ends included)".to_owned(),
            Some((first, last)) => match (u16::try_from(first), u16::try_from(last)) {
                (Ok(first), Ok(last)) if first <= last => return Some((first, last)),
                (Ok(_), Ok(_)) => "the first address is above the last".to_owned(),
                _ => "addresses go from 0 to 65535".to_owned(),
            },
        };
        self.problems.add(&at.span, "this is not an address", wrong);
        None
    }

    pub fn address(&mut self, at: &At<i64>) -> u16 {
        self.number(at, 0..=65_535, "an address") as u16
    }

    pub fn cell_value(&mut self, table: Table, at: &At<i64>) -> u16 {
        let (range, what) = if table.is_bits() {
            (0..=1, "the value of a bit")
        } else {
            (0..=65_535, "the value of a register")
        };
        self.number(at, range, what) as u16
    }

    /// Checks a range; answers its start when the number is outside.
    pub fn number(&mut self, at: &At<i64>, range: std::ops::RangeInclusive<i64>, what: &str) -> i64 {
        if range.contains(&at.value) {
            return at.value;
        }
        let (low, high) = (*range.start(), *range.end());
        let label = if high == i64::MAX {
            format!("{what} is {low} or more")
        } else {
            format!("{what} is a whole number from {low} to {high}")
        };
        self.problems.add(&at.span, format!("{} is out of range", at.value), label);
        low
    }

    /// Answers `instead` when it is wrong.
    pub fn time(&mut self, at: &At<TimeText>, instead: Duration) -> Duration {
        match parse_time(&at.value.0) {
            Some(time) if time.is_zero() => {
                self.problems.add(&at.span, "no time at all", "this must be longer than zero");
            }
            Some(time) if time > LONGEST => {
                self.problems.add(&at.span, "too long a time", "24 hours (1440min) at most");
            }
            Some(time) => return time,
            None => {
                let label = "write a number and us, ms, s or min, for example \"10ms\" or \"1.5s\"";
                self.problems.add(&at.span, format!("`{}` is not a time", at.value.0), label);
            }
        }
        instead
    }
}

fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        _ => return None,
    };
    if number.starts_with('.') || number.ends_with('.') {
        return None;
    }
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}
