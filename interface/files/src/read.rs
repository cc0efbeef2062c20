//! From text to the types of a file. What the TOML reader says is put in words for those who wrote the file.

use std::io::Read;
use std::ops::Range;
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

/// More mistakes than anybody wants to see at once.
const MOST: usize = 20;

/// Reads a file that is a TOML table; what is wrong with it goes to `problems`, as of the current file. The reader of
/// TOML stops at the first mistake, so entries with one are left out and the rest is read again. A file is answered
/// if all that was left out are keys that nobody knows, so that what they stand beside is still checked.
pub fn read<T: DeserializeOwned>(text: &str, problems: &mut Problems<'_>) -> Option<T> {
    let mut text = text.to_owned();
    let mut whole = true;
    for _ in 0..MOST {
        let error = match toml::from_str(&text) {
            Ok(file) => return Some(file).filter(|_| whole),
            Err(e) => e,
        };
        // What was left out may be what is missing now.
        let lacks = ["missing field", "wanted exactly 1 element"];
        let follows = !whole && lacks.iter().any(|lack| error.message().starts_with(lack));
        if !follows {
            unreadable(problems, &error);
        }
        let span = error.span()?;
        let document = toml_edit::Document::parse(text.as_str()).ok()?;
        let entry = entry_at(document.as_table(), &span).or_else(|| header_at(&text, span.start))?;
        whole &= error.message().starts_with("unknown field") && entry.start == span.start;
        blank(&mut text, entry);
    }
    None
}

/// The entry `key = value`, of a table that is not inline, around a place.
fn entry_at(table: &toml_edit::Table, place: &Range<usize>) -> Option<Range<usize>> {
    table.iter().find_map(|(name, item)| {
        let around = |table: &toml_edit::Table| entry_at(table, place);
        match item {
            toml_edit::Item::Table(table) => around(table),
            toml_edit::Item::ArrayOfTables(tables) => tables.iter().find_map(around),
            item => {
                let start = table.key(name)?.span()?.start;
                let end = item.span()?.end;
                (start <= place.start && place.end <= end).then_some(start..end)
            }
        }
    })
}

/// A table that is wrong as such: from its header to the next one.
fn header_at(text: &str, place: usize) -> Option<Range<usize>> {
    let start = text.get(..place)?.rfind('\n').map_or(0, |at| at + 1);
    let section = text.get(start..)?;
    let end = section.find("\n[").map_or(text.len(), |at| start + at);
    section.trim_start().starts_with('[').then_some(start..end)
}

/// Lines and places stay as they are.
fn blank(text: &mut String, entry: Range<usize>) {
    let blanks: String = text[entry.clone()].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(entry, &blanks);
}

/// Puts a syntax or type error in words.
fn unreadable(problems: &mut Problems<'_>, error: &toml::de::Error) {
    let span = error.span().unwrap_or(0..0);
    let text = error.message().trim();
    let (what, expected) = text.split_once(", expected ").unwrap_or((text, ""));
    let expected = expected.trim_start_matches("one of ").replace('`', "");
    let (message, label, help) = if text.starts_with("wanted exactly 1 element") {
        let help = "keep one of them; what belongs to another goes into a table of its own";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        name: String,
        #[serde(default)]
        part: std::collections::BTreeMap<String, Part>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        size: i64,
    }

    fn tried(text: &str) -> (Option<File>, Vec<(usize, String)>) {
        let mut problems = Problems::new("list", "list.toml", text);
        let file = read(text, &mut problems);
        let found = problems.into_error().problems;
        (file, found.into_iter().map(|p| (p.line, p.message)).collect())
    }

    #[test]
    fn all_mistakes_are_found_where_they_are() {
        let text = "name = \"x\"\ncolour = [\n  1,\n]\n[part.a]\nsize = \"big\"\n\n[prat.b]\nsize = 1\n[part.c]\nsize = 2\nsiez = 3";
        let (file, found) = tried(text);
        assert!(file.is_none(), "a value was left out");
        let found: Vec<(usize, &str)> = found.iter().map(|(line, what)| (*line, what.as_str())).collect();
        let wanted = [
            (2, "unknown key `colour`"),
            (6, "this should be a whole number"),
            (8, "unknown key `prat`"),
            (12, "unknown key `siez`"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn without_its_unknown_keys_a_file_is_read() {
        let (file, found) = tried("name = \"x\"\n\"ü\" = 1\n[part]\na = { size = 1 }");
        let file = file.unwrap();
        assert_eq!((file.name.as_str(), file.part["a"].size, found.len()), ("x", 1, 1));
    }

    #[test]
    fn what_cannot_be_mended_ends_the_reading() {
        assert_eq!(tried("name = ").1.len(), 1);
        assert_eq!(tried("[part.a]\nsize = 1").1, [(1, "missing key `name`".to_owned())]);
        assert_eq!(tried("name = 1").1.len(), 1, "that it is missing now is no mistake of its own");
    }
}
