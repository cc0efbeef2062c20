//! From text to the types of a file. What the TOML reader says is put in words for those who wrote the file.

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::Problems;

/// More is no file that somebody wrote.
const LARGEST: u64 = 64 << 20;

/// What is in a file that another one names. Never waits and never ends the memory: a pipe or a device is no file here.
///
/// # Errors
/// It cannot be read, or is none.
pub fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let wrong = |why| Err(std::io::Error::other(why));
    if !std::fs::metadata(path)?.is_file() {
        return wrong("it is not a file");
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { wrong("it is larger than 64 MiB") } else { Ok(bytes) }
}

/// Reads a file that is a TOML table; its first mistake goes to `problems`, as one of the current file.
pub fn read<T: DeserializeOwned>(text: &str, problems: &mut Problems<'_>) -> Option<T> {
    match toml::from_str(text) {
        Ok(file) => Some(file),
        Err(e) => {
            unreadable(problems, &e);
            None
        }
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

/// `known ports: a, b`, or that there are none.
pub fn known<'n>(what: &str, names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        format!("there are no {what}")
    } else {
        format!("known {what}: {}", names.join(", "))
    }
}
