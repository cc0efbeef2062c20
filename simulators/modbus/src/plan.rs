//! From the file types of masters, gateways and sniffers to what the cores take: checks ranges, resolves where values go
//! and collects everything that is wrong. Touches no port.

use std::time::Duration;

use hilrig_files::{Addresses, At, Problems, TimeText, Values, known};
use hilrig_points::{Plant, Table, cell_value};
use hilrig_wire::Hex;

use crate::exchange::{Exchange, ExchangeError};
use crate::file::{CellsFile, GatewayFile, IntoFile, MasterFile, PollFile, SniffFile};
use crate::pdu::max_read;
use crate::poll::{Cells, Poll};

const EVERY: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_millis(500);
/// After a broadcast (SL 2.4.1: 100 to 200 ms).
pub(crate) const TURNAROUND: Duration = Duration::from_millis(100);
const RESPONSE_TIME: Duration = Duration::from_secs(1);
const CALLERS: u32 = 32;
const QUEUE: usize = 16;

/// A master as its file wants it.
#[derive(Debug, Clone)]
pub struct MasterPlan {
    /// Name of its port.
    pub port: String,
    pub turnaround: Duration,
    /// `Source::Poll(i)` is the i-th of these.
    pub polls: Vec<(String, Poll)>,
}

/// A gateway as its file wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPlan {
    /// Names of its ports.
    pub port: String,
    pub line: String,
    pub timeout: Duration,
    pub turnaround: Duration,
    /// Unit ids of callers and of the line; empty: all, unchanged.
    pub units: Vec<(u8, u8)>,
    pub max_callers: u32,
    pub queue: usize,
}

/// A sniffer as its file wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SniffPlan {
    /// Name of its port.
    pub port: String,
    pub response_time: Duration,
}

fn time(problems: &mut Problems<'_>, text: Option<&At<TimeText>>, default: Duration) -> Duration {
    text.map_or(default, |t| problems.time(t, default))
}

impl MasterPlan {
    /// Checks a master. `plant` is where the values of its polls can go.
    pub fn check(file: &MasterFile, plant: &Plant, problems: &mut Problems<'_>) -> Self {
        let unit = file.unit.as_ref().map_or(1, |unit| unit_id(problems, unit));
        let mut polls = Vec::new();
        for (name, poll) in &file.poll.0 {
            problems.name(name);
            if let Some(poll) = check_poll(name, &poll.value, unit, plant, problems) {
                polls.push((name.value.clone(), poll));
            }
        }
        Self {
            port: file.port.value.clone(),
            turnaround: time(problems, file.turnaround.as_ref(), TURNAROUND),
            polls,
        }
    }
}

fn unit_id(problems: &mut Problems<'_>, unit: &At<i64>) -> u8 {
    match unit.value {
        255 => 255,
        n if (0..=247).contains(&n) => n as u8,
        _ => {
            problems.number(unit, 0..=247, "a unit id");
            1
        }
    }
}

fn check_poll(
    name: &At<String>,
    file: &PollFile,
    unit: u8,
    plant: &Plant,
    problems: &mut Problems<'_>,
) -> Option<Poll> {
    let unit = file.unit.as_ref().map_or(unit, |unit| unit_id(problems, unit));
    let every = time(problems, file.every.as_ref(), EVERY);
    // The only time here that may be zero.
    let phase = match &file.phase {
        Some(text) if hilrig_files::parse_time(&text.value.0) == Some(Duration::ZERO) => Duration::ZERO,
        text => time(problems, text.as_ref(), Duration::ZERO),
    };
    let timeout = time(problems, file.timeout.as_ref(), TIMEOUT);
    let number = |problems: &mut Problems<'_>, at: &Option<At<i64>>, range, what| {
        at.as_ref().map_or(0, |n| problems.number(n, range, what))
    };
    let retries = number(problems, &file.retries, 0..=100, "a number of retries") as u16;
    let priority = number(problems, &file.priority, -100..=100, "a priority") as i8;
    let (exchange, read) = request(name, file, unit, problems)?;
    let into = match (&file.into, read) {
        (Some(into), Some(read)) => target(into, read, plant, problems),
        (Some(into), None) => {
            problems.add(&into.span, "there is nothing to put anywhere", "this poll does not read a table");
            None
        }
        (None, _) => None,
    };
    let poll = Poll::new(exchange).every(every).phase(phase).timeout(timeout).retries(retries);
    Some(Poll { into, ..poll.priority(priority) })
}

/// The request of a poll; of a read also the table and how many values.
fn request(
    name: &At<String>,
    file: &PollFile,
    unit: u8,
    problems: &mut Problems<'_>,
) -> Option<(Exchange, Option<(Table, u16)>)> {
    let given = Table::given(&file.holding, &file.input, &file.coils, &file.discrete);
    if let Some(text) = &file.request {
        if let Some((_, addresses)) = given.first() {
            let label = "leave it out, or leave `request` out";
            problems.add(&addresses.span, "`request` says all that this poll asks", label);
        }
        let made = match text.value.parse::<Hex>() {
            Ok(pdu) => Exchange::raw(unit, &pdu.0).map_err(|e| e.to_string()),
            Err(why) => Err(why),
        };
        return match made {
            Ok(exchange) => Some((exchange, None)),
            Err(why) => {
                problems.add(&text.span, "this is not a request", why);
                None
            }
        };
    }
    let [(table, addresses)] = given[..] else {
        let label = "give one of `holding`, `input`, `coils`, `discrete`, or `request`";
        problems.add(&name.span, "a poll asks for exactly one table", label);
        return None;
    };
    let (first, last) = problems.addresses(addresses)?;
    let count = u32::from(last - first) + 1;
    let made = match &file.write {
        Some(values) => return write(unit, (table, addresses), (first, count), values, problems),
        None if count > u32::from(max_read(table)) => {
            let label = format!("{count}; one request reads {} at most", max_read(table));
            problems.add(&addresses.span, "too many addresses for one poll", label);
            return None;
        }
        None => Exchange::read(unit, table, first, count as u16),
    };
    match made {
        Ok(exchange) => Some((exchange, Some((table, count as u16)))),
        Err(why) => {
            let span = file.unit.as_ref().map_or(&name.span, |unit| &unit.span);
            problems.add(span, "this poll cannot be", why.to_string());
            None
        }
    }
}

fn write(
    unit: u8,
    (table, addresses): (Table, &At<Addresses>),
    (first, count): (u16, u32),
    values: &At<Values>,
    problems: &mut Problems<'_>,
) -> Option<(Exchange, Option<(Table, u16)>)> {
    if !matches!(table, Table::Coils | Table::HoldingRegisters) {
        let label = "only holding registers and coils can be written";
        problems.add(&addresses.span, "this table takes no writes", label);
        return None;
    }
    let list: Vec<u16> = match &values.value {
        Values::One(n) => {
            let n = At { value: *n, span: values.span.clone() };
            vec![cell_value(table, &n, problems); count as usize]
        }
        Values::List(list) => list.iter().map(|n| cell_value(table, n, problems)).collect(),
    };
    if count != 1 && list.len() != count as usize {
        let label = format!("{} values for {count} addresses", list.len());
        problems.add(&values.span, "the list does not fit the range", label);
        return None;
    }
    let made: Result<Exchange, ExchangeError> = match (table, &list[..]) {
        // A list is written as one, also a list of one value.
        (Table::Coils, [one]) if matches!(values.value, Values::One(_)) => {
            Exchange::write_coil(unit, first, *one != 0)
        }
        (_, [one]) if matches!(values.value, Values::One(_)) => Exchange::write_register(unit, first, *one),
        (Table::Coils, _) => {
            Exchange::write_coils(unit, first, &list.iter().map(|v| *v != 0).collect::<Vec<_>>())
        }
        _ => Exchange::write_registers(unit, first, &list),
    };
    match made {
        Ok(exchange) => Some((exchange, None)),
        Err(why) => {
            problems.add(&values.span, "this cannot be written", why.to_string());
            None
        }
    }
}

/// Where the values of a read go.
fn target(
    into: &At<IntoFile>,
    (table, count): (Table, u16),
    plant: &Plant,
    problems: &mut Problems<'_>,
) -> Option<Cells> {
    let cells = match &into.value {
        IntoFile::Point(name) => return point(name, (table, count), plant, problems),
        IntoFile::Cells(cells) => first_cell(cells, &into.span, plant, problems)?,
    };
    if cells.table.is_bits() != table.is_bits() {
        let label = "bits go to coils or discrete inputs, registers to holding or input registers";
        problems.add(&into.span, "the values do not fit there", label);
        return None;
    }
    let exists = |address: u32| {
        let address = u16::try_from(address).ok();
        plant.unit(cells.unit).zip(address).is_some_and(|(u, a)| u.get(cells.table, a).is_some())
    };
    let first = u32::from(cells.address);
    if let Some(missing) = (first..first + u32::from(count)).find(|a| !exists(*a)) {
        let label = format!("{count} values from {first} on, but the unit has no address {missing}");
        problems.add(&into.span, "the values do not fit there", label);
        return None;
    }
    Some(cells)
}

/// The cells of a point that takes all of what is read, and nothing else.
fn point(
    name: &At<String>,
    (table, count): (Table, u16),
    plant: &Plant,
    problems: &mut Problems<'_>,
) -> Option<Cells> {
    let Some(point) = plant.point(&name.value).map(|id| plant.describe(id)) else {
        let mut names: Vec<&str> = plant.points().map(|(_, p)| p.name.as_str()).collect();
        names.truncate(20);
        let problem = problems.add(&name.span, format!("unknown point `{}`", name.value), "no such point");
        problem.help = Some(known("points", names.into_iter()));
        return None;
    };
    let why = if let Some(signal) = point.signal {
        format!("the point makes its own values ({signal})")
    } else if point.bit.is_some() {
        "the point is one bit of a register; take `cells`".to_owned()
    } else if point.table.is_bits() != table.is_bits() || point.cells != count {
        let (kind, cells) = (point.kind.name(), point.cells);
        format!("{count} values are read, but the point is {kind} with {cells} at {}", point.place())
    } else {
        return Some(Cells { unit: point.unit, table: point.table, address: point.address });
    };
    problems.add(&name.span, "the values do not fit this point", why);
    None
}

fn first_cell(
    file: &CellsFile,
    span: &std::ops::Range<usize>,
    plant: &Plant,
    problems: &mut Problems<'_>,
) -> Option<Cells> {
    let unit = problems.number(&file.unit, 1..=247, "a unit id") as u8;
    if plant.unit(unit).is_none() {
        let ids: Vec<String> = plant.unit_ids().map(|id| id.to_string()).collect();
        let problem = problems.add(&file.unit.span, format!("there is no unit {unit}"), "no such unit");
        problem.help = Some(known("units", ids.iter().map(String::as_str)));
        return None;
    }
    match Table::given(&file.holding, &file.input, &file.coils, &file.discrete)[..] {
        [(table, address)] => Some(Cells { unit, table, address: problems.address(address) }),
        _ => {
            let label = "give one of `holding`, `input`, `coils`, `discrete`";
            problems.add(span, "values go to exactly one table", label);
            None
        }
    }
}

impl GatewayPlan {
    pub fn check(file: &GatewayFile, problems: &mut Problems<'_>) -> Self {
        let mut units: Vec<(u8, u8)> = Vec::new();
        for (from, to) in &file.units.0 {
            let serial = problems.number(to, 0..=247, "a unit id on the line") as u8;
            match from.value.parse::<u8>() {
                Ok(unit) if units.iter().any(|(other, _)| *other == unit) => {
                    problems.add(&from.span, format!("unit {unit} is given twice"), "it has a unit already");
                }
                Ok(unit) => units.push((unit, serial)),
                Err(_) => {
                    let label = "a unit id of callers is a whole number from 0 to 255";
                    problems.add(&from.span, format!("`{}` is not a unit id", from.value), label);
                }
            }
        }
        let callers = file.max_callers.as_ref();
        let queue = file.queue.as_ref();
        Self {
            port: file.port.value.clone(),
            line: file.line.value.clone(),
            timeout: time(problems, file.timeout.as_ref(), TIMEOUT),
            turnaround: time(problems, file.turnaround.as_ref(), TURNAROUND),
            units,
            max_callers: callers
                .map_or(CALLERS, |n| problems.number(n, 1..=1024, "a number of callers") as u32),
            queue: queue.map_or(QUEUE, |n| problems.number(n, 1..=256, "a number of requests") as usize),
        }
    }
}

impl SniffPlan {
    pub fn check(file: &SniffFile, problems: &mut Problems<'_>) -> Self {
        let response_time = time(problems, file.response_time.as_ref(), RESPONSE_TIME);
        Self { port: file.port.value.clone(), response_time }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
