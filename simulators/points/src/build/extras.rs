//! Identity, server id, exception status, files, queues and user-defined functions of a unit.

use hilrig_files::{At, Entries, Problems};
use hilrig_wire::{Hex, Pattern};

use super::Builder;
use crate::extras::{LAST_RECORD, ServerId, Status, UserReply};
use crate::{IdentityFile, ServerIdFile, StatusFile, UnitFile, UserReplyFile};

/// Longest text of an identity object: one object fits into a reply (AP 6.21).
const LONGEST_OBJECT: usize = 244;
/// Longest server id: function, count, id and run indicator fit into a PDU (AP 6.13).
const LONGEST_ID: usize = 250;
/// Longest data of a PDU behind the function code (AP 4.1).
const LONGEST_DATA: usize = 252;
const EXCEPTION: u8 = 0x80;

impl Builder {
    pub(super) fn extras(&mut self, place: usize, file: &UnitFile, problems: &mut Problems<'_>) {
        if let Some(identity) = &file.identity {
            self.plant.fixed.extras[place].identity = objects(&identity.value, problems);
        }
        if let Some(id) = &file.server_id {
            self.plant.fixed.extras[place].server_id = server_id(id, problems);
        }
        match file.exception_status.as_ref().map(|status| (&status.value, &status.span)) {
            Some((StatusFile::Fixed(n), span)) => {
                let n = At { value: *n, span: span.clone() };
                let byte = problems.number(&n, 0..=255, "the exception status") as u8;
                self.plant.fixed.extras[place].status = Status::Fixed(byte);
            }
            Some((StatusFile::Points(names), span)) => {
                if names.len() > 8 {
                    problems.add(span, "too many points", "the exception status has 8 bits");
                }
                let bits = names.iter().take(8).map(|name| self.name_of_point(place, name, problems));
                let bits = bits.collect();
                self.statuses.push((place, bits));
            }
            None => {}
        }
        let extras = &mut self.plant.fixed.extras[place];
        extras.files = registers(&file.file, 1..=65_535, "a file number", problems);
        extras.queues = registers(&file.fifo, 0..=65_535, "an address", problems);
        for (number, records) in &file.file.0 {
            if records.value.len() > usize::from(LAST_RECORD) + 1 {
                problems.add(&number.span, "too many records", "a file has records 0 to 9999");
            }
        }
        for (code, replies) in &file.user_function.0 {
            let Some(code) = key(code, 1..=127, "a function code", problems) else { continue };
            for reply in &replies.value {
                extras.user.extend(user_reply(code as u8, reply, problems));
            }
        }
    }
}

/// A key that is a number, decimal or as 0x41.
fn key(
    key: &At<String>,
    range: std::ops::RangeInclusive<i64>,
    what: &str,
    problems: &mut Problems<'_>,
) -> Option<u16> {
    let parsed = match key.value.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => key.value.parse(),
    };
    match parsed {
        Ok(n) if range.contains(&n) => Some(n as u16),
        _ => {
            let (low, high) = (range.start(), range.end());
            let label = format!("{what} is a whole number from {low} to {high}");
            problems.add(&key.span, format!("`{}` is not {what}", key.value), label);
            None
        }
    }
}

fn registers(
    entries: &Entries<Vec<At<i64>>>,
    range: std::ops::RangeInclusive<i64>,
    what: &str,
    problems: &mut Problems<'_>,
) -> Vec<(u16, Vec<u16>)> {
    let mut all: Vec<(u16, Vec<u16>)> = vec![];
    for (number, values) in &entries.0 {
        let Some(place) = key(number, range.clone(), what, problems) else { continue };
        if all.iter().any(|(other, _)| *other == place) {
            problems.add(&number.span, format!("{place} is given twice"), "this one again");
        }
        let word = |v: &At<i64>| problems.number(v, 0..=65_535, "the value of a register") as u16;
        all.push((place, values.value.iter().map(word).collect()));
    }
    all
}

fn objects(file: &IdentityFile, problems: &mut Problems<'_>) -> Vec<(u8, Vec<u8>)> {
    let basic = [
        Some(&file.vendor),
        Some(&file.product_code),
        Some(&file.revision),
        file.vendor_url.as_ref(),
        file.product_name.as_ref(),
        file.model_name.as_ref(),
        file.application_name.as_ref(),
    ];
    let mut objects: Vec<(u8, &At<String>)> =
        basic.into_iter().enumerate().filter_map(|(id, text)| Some((id as u8, text?))).collect();
    for (id, text) in &file.extended.0 {
        if let Some(id) = key(id, 128..=255, "an extended object", problems) {
            objects.push((id as u8, text));
        }
    }
    for (_, text) in &objects {
        if text.value.len() > LONGEST_OBJECT {
            problems.add(&text.span, "this text is too long", format!("{LONGEST_OBJECT} bytes at most"));
        }
    }
    objects.sort_by_key(|(id, _)| *id);
    objects.into_iter().map(|(id, text)| (id, text.value.clone().into_bytes())).collect()
}

fn server_id(at: &At<ServerIdFile>, problems: &mut Problems<'_>) -> Option<ServerId> {
    let (id, span) = match (&at.value.text, &at.value.hex) {
        (Some(text), None) => (text.value.clone().into_bytes(), &text.span),
        (None, Some(hex)) => (bytes(hex, problems)?, &hex.span),
        _ => {
            problems.add(&at.span, "not exactly one of `text` and `hex`", "the server id is one of them");
            return None;
        }
    };
    if id.is_empty() || id.len() > LONGEST_ID {
        problems.add(span, "this is no server id", format!("1 to {LONGEST_ID} bytes"));
    }
    let additional = match &at.value.additional {
        Some(hex) => bytes(hex, problems)?,
        None => vec![],
    };
    if let Some(hex) = at.value.additional.as_ref().filter(|_| id.len() + additional.len() > LONGEST_ID) {
        problems.add(&hex.span, "too much for one reply", format!("{LONGEST_ID} bytes at most with the id"));
    }
    Some(ServerId { id, running: at.value.running.unwrap_or(true), additional })
}

fn bytes(text: &At<String>, problems: &mut Problems<'_>) -> Option<Vec<u8>> {
    match text.value.parse::<Hex>() {
        Ok(Hex(bytes)) => Some(bytes),
        Err(why) => {
            problems.add(&text.span, "these are no bytes", why);
            None
        }
    }
}

fn user_reply(code: u8, at: &At<UserReplyFile>, problems: &mut Problems<'_>) -> Option<UserReply> {
    let mut request = None;
    if let Some(text) = &at.value.request {
        match text.value.parse::<Pattern>() {
            Ok(Pattern(pattern)) => request = Some([vec![Some(code)], pattern].concat()),
            Err(why) => {
                problems.add(&text.span, "this is no pattern of bytes", why);
            }
        }
    }
    let reply = match (&at.value.reply, &at.value.exception) {
        (Some(text), None) => {
            let data = bytes(text, problems)?;
            if data.len() > LONGEST_DATA {
                problems.add(&text.span, "this reply is too long", format!("{LONGEST_DATA} bytes at most"));
            }
            [vec![code], data].concat()
        }
        (None, Some(n)) => vec![code | EXCEPTION, problems.number(n, 1..=255, "an exception code") as u8],
        _ => {
            problems.add(&at.span, "not exactly one of `reply` and `exception`", "it answers one of them");
            return None;
        }
    };
    Some(UserReply { request, code, reply })
}
