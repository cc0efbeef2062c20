//! `modbus scan`: which units answer, and which addresses they have. An exception is an answer, too, but for those by
//! which a gateway says that nobody answered it.

use std::io::IsTerminal;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tokio_modbus::prelude::ReadCode;
use tokio_modbus::{ExceptionCode, Request, Response};

use super::client::{Client, Trouble, exception};
use super::place::{Place, Table};
use super::{Span, failure, read};
use crate::args::{ShapeArgs, Units};
use crate::modbus::values::Order;
use crate::output::{Exit, Failure, say};

/// What asking for one address gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Readable,
    Refused(ExceptionCode),
    Nothing,
}

pub fn scan(
    client: &mut Client,
    units: Option<Units>,
    at: &[Place],
    identify: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let all = if at.is_empty() { (1..=247).collect() } else { vec![1] };
    let units = units.map_or(all, |units| units.0);
    let probes = if at.is_empty() { vec![Place::one(Table::HoldingRegisters, 0)] } else { at.to_vec() };
    let mut answered = 0;
    for (i, unit) in units.iter().enumerate() {
        progress(&format!("unit {unit} ({} of {}), {answered} answered", i + 1, units.len()));
        let found = probe(client, *unit, &probes)?;
        if found.iter().all(|(_, found)| *found == Found::Nothing) {
            continue;
        }
        answered += 1;
        let identity = if identify { self::identify(client, *unit)? } else { Map::new() };
        progress("");
        if json {
            tell_json(*unit, &found, at.is_empty(), identity);
        } else {
            tell(client, *unit, &found, at.is_empty(), &identity)?;
        }
    }
    progress("");
    if answered == 0 {
        let limit = hilrig_files::show_time(client.timeout);
        let who = match units[..] {
            [unit] => format!("unit {unit} has"),
            _ => format!("none of {} units has", units.len()),
        };
        let advice = "check baud rate, format, wiring and --framing, or give it longer with --timeout";
        let negative = if units.len() == 1 { "not " } else { "" };
        return Err(Failure::new(Exit::Fail, format!("{who} {negative}answered within {limit}; {advice}")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for each address of each place by itself. A unit that lets the first few pass is taken for absent.
fn probe(client: &mut Client, unit: u8, places: &[Place]) -> Result<Vec<(Place, Found)>, Failure> {
    let mut found = Vec::new();
    let mut silent = 0;
    for place in places {
        for address in place.first..=place.last.unwrap_or(place.first) {
            let one = Place::one(place.table, address);
            progress(&format!("unit {unit}, {one}"));
            let answer = match client.call(unit, &read(place.table, address, 1)) {
                Ok(_) => Found::Readable,
                Err(Trouble::Exception(
                    ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice,
                )) => Found::Nothing,
                Err(Trouble::Exception(code)) => Found::Refused(code),
                Err(Trouble::Silence(_) | Trouble::Wrong(_)) => Found::Nothing,
                Err(other) => return Err(failure(&other, unit, &format!("read {one}"))),
            };
            silent = if answer == Found::Nothing { silent + 1 } else { 0 };
            found.push((one, answer));
            if silent == 3 && found.iter().all(|(_, found)| *found == Found::Nothing) {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Addresses in a row of which the same was found.
fn ranges(found: &[(Place, Found)]) -> Vec<(Place, Found)> {
    let mut ranges: Vec<(Place, Found)> = Vec::new();
    for (place, what) in found {
        match ranges.last_mut() {
            Some((range, same))
                if same == what
                    && range.table == place.table
                    && range.last.unwrap_or(range.first).checked_add(1) == Some(place.first) =>
            {
                range.last = Some(place.first);
            }
            _ => ranges.push((*place, *what)),
        }
    }
    ranges
}

fn tell(
    client: &mut Client,
    unit: u8,
    found: &[(Place, Found)],
    brief: bool,
    identity: &Map<String, Value>,
) -> Result<(), Failure> {
    let who: Vec<String> = identity.values().map(|v| v.as_str().unwrap_or_default().to_owned()).collect();
    let who = if who.is_empty() { String::new() } else { format!("  {}", who.join(", ")) };
    if brief {
        let (place, what) = found[0];
        let words = match what {
            Found::Refused(code) => format!("answers for {place} with {}", exception(code)),
            _ => {
                let shape = ShapeArgs { kind: None, order: Order::Abcd };
                let span = Span { table: place.table, first: place.first, len: 1, width: 1, shape };
                let cells = span.read(client, unit)?;
                format!("{place} = {}", cells.first().map_or("?", |cell| cell.shown.text.as_str()))
            }
        };
        say(&format!("unit {unit}: {words}{who}"));
        return Ok(());
    }
    say(&format!("unit {unit}:{who}"));
    for (range, what) in ranges(found) {
        match what {
            Found::Readable => say(&format!("  {range}  readable")),
            // The usual answer for what does not exist.
            Found::Refused(ExceptionCode::IllegalDataAddress) => {}
            Found::Refused(code) => say(&format!("  {range}  {}", exception(code))),
            Found::Nothing => say(&format!("  {range}  no answer")),
        }
    }
    if !found.iter().any(|(_, what)| *what == Found::Readable) {
        say("  none of these addresses can be read");
    }
    Ok(())
}

fn tell_json(unit: u8, found: &[(Place, Found)], brief: bool, identity: Map<String, Value>) {
    let mut line = json!({ "unit": unit, "answers": true });
    if !brief {
        let ranges = ranges(found).into_iter().map(|(range, what)| {
            let (result, code) = match what {
                Found::Readable => ("readable", Value::Null),
                Found::Refused(code) => ("exception", json!(u8::from(code))),
                Found::Nothing => ("noAnswer", Value::Null),
            };
            let last = range.last.unwrap_or(range.first);
            json!({ "table": range.table.name(), "first": range.first, "last": last, "result": result, "exception": code })
        });
        line["ranges"] = ranges.collect();
    }
    if !identity.is_empty() {
        line["identity"] = identity.into();
    }
    say(&line.to_string());
}

/// What a unit says of itself; nothing, if it does not.
fn identify(client: &mut Client, unit: u8) -> Result<Map<String, Value>, Failure> {
    let mut identity = Map::new();
    let clean = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
    };
    let mut ask = |request| match client.call(unit, &request) {
        Ok(response) => Ok(response),
        Err(Trouble::Exception(_) | Trouble::Silence(_) | Trouble::Wrong(_)) => Ok(None),
        Err(other) => Err(failure(&other, unit, "identify itself")),
    };
    let basic = Request::ReadDeviceIdentification(ReadCode::Basic, 0);
    if let Some(Response::ReadDeviceIdentification(answer)) = ask(basic)? {
        let names = ["vendor", "productCode", "revision"];
        for object in answer.device_id_objects {
            if let Some(name) = names.get(usize::from(object.id)) {
                identity.insert((*name).to_owned(), clean(&object.value).into());
            }
        }
    }
    if !identity.is_empty() {
        return Ok(identity);
    }
    if let Some(Response::ReportServerId(id, _, more)) = ask(Request::ReportServerId)? {
        let text = clean(&[&[id][..], &more].concat());
        let readable = text.chars().filter(char::is_ascii_graphic).count() > 1;
        let hex = || [&[id][..], &more].concat().iter().map(|b| format!("{b:02x}")).collect::<String>();
        identity.insert("serverId".to_owned(), if readable { text } else { hex() }.into());
    }
    Ok(identity)
}

/// One line on a terminal that is written over.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_kind_are_one_range() {
        let at = |first, what| (Place::one(Table::HoldingRegisters, first), what);
        let refused = Found::Refused(ExceptionCode::IllegalDataAddress);
        let found = [
            at(0, refused),
            at(1, Found::Readable),
            at(2, Found::Readable),
            at(4, Found::Readable),
            at(65535, Found::Readable),
        ];
        let ranges: Vec<String> = ranges(&found).iter().map(|(range, _)| range.to_string()).collect();
        assert_eq!(ranges, ["holding:0", "holding:1..2", "holding:4", "holding:65535"]);
    }
}
