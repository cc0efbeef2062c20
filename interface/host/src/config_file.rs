//! The text of a config file: what it says, what is wrong with it and where, and how one value changes in it. Reads
//! and writes no file.

use crate::config_section;
use hilrig_contract::{AppSpec, ConfigKey, ConfigSection, ValueKind};
use serde_json::{Map, Value};
use toml_edit::{Document, DocumentMut, InlineTable, Item, Table, TableLike};

/// What a text says about the keys of an app.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// Values that are present and right, of their key's type.
    pub values: Map<String, Value>,
    /// Named tables that are present, by `section.name`.
    pub tables: Vec<NamedTable>,
    pub problems: Vec<Problem>,
    /// It is no TOML at all.
    pub broken: bool,
}

/// A table of a section.
#[derive(Debug)]
pub(crate) struct NamedTable {
    pub path: String,
    pub value: Value,
    /// Nothing is wrong with it.
    pub right: bool,
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
}

impl Problem {
    pub fn at(text: &str, offset: usize, message: String) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        }
    }
}

/// What may be in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    pub keys: &'a [ConfigKey],
    pub sections: &'a [ConfigSection],
}

impl Shape<'_> {
    /// All keys, as told to who has used another.
    pub fn known(&self) -> String {
        let mut known: Vec<String> = self.keys.iter().map(|k| k.key.to_owned()).collect();
        known.extend(self.sections.iter().map(|s| format!("{}.NAME", s.name)));
        known.join(", ")
    }
}

/// Reads and checks a text.
pub(crate) fn parse(shape: Shape<'_>, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    match Document::parse(text) {
        Ok(document) => walk(shape, text, "", document.as_table(), &mut parsed),
        Err(e) => {
            let at = e.span().map_or(text.len(), |span| span.start);
            let message = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
            parsed.problems.push(Problem::at(text, at, format!("this is not TOML: {message}")));
            parsed.broken = true;
        }
    }
    parsed
}

fn walk(shape: Shape<'_>, text: &str, prefix: &str, table: &dyn TableLike, parsed: &mut Parsed) {
    for (name, item) in table.iter() {
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let key_at = table.key(name).and_then(|k| k.span()).map_or(0, |span| span.start);
        if let Some(key) = shape.keys.iter().find(|k| k.key == path) {
            match json(item).and_then(|value| accept(key, &value)) {
                Ok(value) => {
                    parsed.values.insert(path, value);
                }
                Err(why) => {
                    let at = item.span().map_or(key_at, |span| span.start);
                    parsed.problems.push(Problem::at(text, at, format!("{path}: {why}")));
                }
            }
        } else if let Some(section) = shape.sections.iter().find(|s| s.name == path)
            && let Some(tables) = item.as_table_like()
        {
            config_section::read(section, text, tables, parsed);
        } else if shape
            .keys
            .iter()
            .any(|k| k.key.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.')))
            && let Some(inner) = item.as_table_like()
        {
            walk(shape, text, &path, inner, parsed);
        } else {
            let message = format!("unknown key {path}; the keys are {}", shape.known());
            parsed.problems.push(Problem::at(text, key_at, message));
        }
    }
}

/// The value for a coercion; what is no scalar is refused there with what it looks like.
fn json(item: &Item) -> Result<Value, String> {
    match item {
        Item::Value(toml_edit::Value::String(s)) => Ok(s.value().as_str().into()),
        Item::Value(toml_edit::Value::Integer(i)) => Ok((*i.value()).into()),
        Item::Value(toml_edit::Value::Float(f)) => Ok((*f.value()).into()),
        Item::Value(toml_edit::Value::Boolean(b)) => Ok((*b.value()).into()),
        Item::Value(toml_edit::Value::Datetime(d)) => {
            Err(format!("{} is a date; put it in quotes if it is text", d.value()))
        }
        Item::Value(toml_edit::Value::Array(_)) => Ok(Value::Array(vec![])),
        _ => Ok(Value::Object(Map::new())),
    }
}

/// Coerces and checks a value, its pattern too.
pub(crate) fn accept(key: &ConfigKey, value: &Value) -> Result<Value, String> {
    let value = key.accept(value)?;
    matches_pattern(&key.kind, &value)?;
    Ok(value)
}

/// The part of a [`ValueKind`] that the contract crate does not check.
pub(crate) fn matches_pattern(kind: &ValueKind, value: &Value) -> Result<(), String> {
    let (ValueKind::Text { pattern: Some(pattern) }, Some(text)) = (kind, value.as_str()) else {
        return Ok(());
    };
    match regex_lite::Regex::new(pattern) {
        Ok(regex) if regex.is_match(text) => Ok(()),
        Ok(_) => Err(format!("{text:?} does not match {pattern}")),
        Err(e) => Err(format!("its pattern {pattern} is broken: {e}")),
    }
}

/// The text with one value changed or added; all else stays as it is. `None` if the path leads through something
/// that is no table.
pub(crate) fn edit(text: &str, key: &str, value: &Value) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let new = toml(value)?;
    let parts: Vec<&str> = key.split('.').collect();
    let (leaf, parents) = parts.split_last()?;
    let place = |parent: Option<&Item>| parent?.as_table_like()?.get(leaf)?.as_value()?.span();
    if let Some(span) = place(descend(document.as_item(), parents)) {
        let mut text = text.to_owned();
        text.replace_range(span, new.to_string().trim());
        return Some(text);
    }
    if document.as_table().is_empty() {
        // The document is comments only: stay below them.
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let mut added = DocumentMut::new();
        insert(added.as_table_mut(), parents, leaf, new)?;
        return Some(format!("{text}{gap}{added}"));
    }
    if let Some(at) = above_tables(&document, text).filter(|_| parents.is_empty()) {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        return Some(format!("{}{leaf} = {new}{end}{end}{}", &text[..at], &text[at..]));
    }
    let mut document = document.into_mut();
    insert(document.as_table_mut(), parents, leaf, new)?;
    let edited = document.to_string();
    // toml_edit ends its lines by LF.
    Some(if text.contains("\r\n") { edited.replace("\r\n", "\n").replace('\n', "\r\n") } else { edited })
}

/// Where a first key of no table goes, in a document that starts with a table: above the comment that belongs to the
/// table, but not above one that the file starts with.
fn above_tables(document: &Document<&str>, text: &str) -> Option<usize> {
    let only_tables =
        document.iter().all(|(_, item)| item.as_table().is_none_or(|t| !t.is_dotted()) && !item.is_value());
    let first = first_header(document.as_table()).filter(|_| only_tables)?;
    let header = text[..first].rfind('\n').map_or(0, |at| at + 1);
    let mut at = header;
    while let Some(line) =
        text[..at].split_inclusive('\n').next_back().filter(|l| l.trim_start().starts_with('#'))
    {
        at -= line.len();
    }
    Some(if at == 0 { header } else { at })
}

/// Where the first `[table]` below `table` is; they may come in any order.
fn first_header(table: &Table) -> Option<usize> {
    let below = |table: &Table| {
        let own = table.span().filter(|_| !table.is_implicit()).map(|span| span.start);
        own.into_iter().chain(first_header(table)).min()
    };
    let starts = table.iter().filter_map(|(_, item)| match item {
        Item::Table(table) => below(table),
        Item::ArrayOfTables(tables) => tables.iter().filter_map(below).min(),
        _ => None,
    });
    starts.min()
}

fn descend<'a>(root: &'a Item, path: &[&str]) -> Option<&'a Item> {
    path.iter().try_fold(root, |item, part| item.as_table_like()?.get(part))
}

fn insert(table: &mut dyn TableLike, parents: &[&str], leaf: &str, value: toml_edit::Value) -> Option<()> {
    let Some((parent, rest)) = parents.split_first() else {
        // A table gets a header of its own where it can have one.
        let item = match value {
            toml_edit::Value::InlineTable(inline) => {
                let mut table = inline.into_table();
                table.decor_mut().set_prefix("\n");
                Item::Table(table)
            }
            value => Item::Value(value),
        };
        table.insert(leaf, item);
        return Some(());
    };
    if !table.contains_key(parent) {
        let mut new = Table::new();
        new.set_implicit(!rest.is_empty());
        if !table.is_empty() {
            new.decor_mut().set_prefix("\n");
        }
        table.insert(parent, Item::Table(new));
    }
    let item = table.get_mut(parent)?;
    if item.is_none() {
        *item = Item::Value(InlineTable::new().into());
    }
    insert(item.as_table_like_mut()?, rest, leaf, value)
}

pub(crate) fn toml(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => match n.as_i64() {
            Some(i) => i.into(),
            None => n.as_f64()?.into(),
        },
        Value::String(s) => s.as_str().into(),
        Value::Array(list) => list.iter().map(toml).collect::<Option<toml_edit::Array>>()?.into(),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| Some((key, toml(value)?)));
            entries.collect::<Option<Vec<_>>>()?.into_iter().collect::<InlineTable>().into()
        }
        Value::Null => return None,
    })
}

/// A commented file with every key at its default, for `hilrig init`.
pub fn default_config(spec: &AppSpec) -> String {
    let mut text = format!(
        "# {} ({})\n# Change it here, or with: hilrig config set {} KEY VALUE\n",
        spec.title, spec.id, spec.id
    );
    let split = |key: &'static str| key.rsplit_once('.').unwrap_or(("", key));
    let mut tables: Vec<&str> = vec![""];
    for key in &spec.config {
        let (table, _) = split(key.key);
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    for table in tables {
        let keys: Vec<&ConfigKey> = spec.config.iter().filter(|k| split(k.key).0 == table).collect();
        if !table.is_empty() {
            text.push_str(&format!("\n[{table}]\n"));
        }
        for key in keys {
            let unit = if key.unit.is_empty() { String::new() } else { format!(", in {}", key.unit) };
            let range = match &key.kind {
                ValueKind::Int { min, max } => format!(" ({min}..{max}{unit})"),
                ValueKind::Float { min, max } => format!(" ({min}..{max}{unit})"),
                ValueKind::Choice(allowed) => format!(" (one of {})", allowed.join(", ")),
                ValueKind::Bool => " (true or false)".to_owned(),
                ValueKind::Text { .. } => String::new(),
            };
            let value = toml(&key.default).map(|v| v.to_string()).unwrap_or_default();
            let gap = if table.is_empty() { "\n" } else { "" };
            text.push_str(&format!("{gap}# {}{range}\n{} = {value}\n", key.help, split(key.key).1));
        }
    }
    for section in &spec.sections {
        text.push_str(&format!("\n# {}\n", section.help));
        section.example.lines().for_each(|line| text.push_str(&format!("# {line}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys() -> Vec<ConfigKey> {
        vec![
            ConfigKey::profile(),
            ConfigKey::new("serial.baud", ValueKind::Int { min: 50, max: 4_000_000 }, 9600, "line speed")
                .unit("baud"),
            ConfigKey::new("serial.gap", ValueKind::Float { min: 0.0, max: 10.0 }, 1.5, "gap").unit("ms"),
            ConfigKey::new("name", ValueKind::Text { pattern: Some("^[a-z]*$") }, "x", "a name"),
            ConfigKey::new("on", ValueKind::Bool, true, "switch"),
        ]
    }

    fn shape(keys: &[ConfigKey]) -> Shape<'_> {
        Shape { keys, sections: &[] }
    }

    fn problem(text: &str) -> (usize, usize, String) {
        let mut parsed = parse(shape(&keys()), text);
        assert_eq!(parsed.problems.len(), 1, "{text}: {:?}", parsed.problems);
        let p = parsed.problems.remove(0);
        (p.line, p.column, p.message)
    }

    #[test]
    fn problems_have_their_place() {
        for (text, line, column, says) in [
            ("profile = 'x'", 1, 11, "profile: \"x\" is not one of sim, lab, prod"),
            ("# ü\n\n[serial]\nbaud = 5\n", 4, 8, "serial.baud: 5 is out of range"),
            ("serial = 5", 1, 1, "unknown key serial;"),
            ("profile = 'sim'\nprofil = 'sim'\n", 2, 1, "unknown key profil;"),
            ("[serial]\n  speed = 1", 2, 3, "unknown key serial.speed;"),
            ("[[serial]]\nbaud = 1", 1, 3, "unknown key serial;"),
            ("[other]\na = 1\nb = 2", 1, 2, "unknown key other;"),
            ("name = 'ABC'", 1, 8, "name: \"ABC\" does not match"),
            ("name = 2020-01-01", 1, 8, "is a date"),
            ("name = []", 1, 8, "name: expected text, got []"),
            ("serial = {baud = 'fast'}", 1, 18, "serial.baud: expected a whole number"),
            ("name = 'a'\n= = =\n", 2, 3, "this is not TOML"),
            ("on = true\non = false\n", 2, 1, "this is not TOML: duplicate key"),
            ("name = 'a\n", 1, 10, "this is not TOML"),
        ] {
            let (l, c, message) = problem(text);
            assert!(message.starts_with(says) || message.contains(says), "{text}: {message}");
            assert_eq!((l, c), (line, column), "{text}: {message}");
        }
    }

    #[test]
    fn one_value_changes_and_nothing_else() {
        let text = "# top\nprofile = 'sim'   # which\n\n# line\n[serial] # here\n  baud=9600# fast\n";
        let changed = edit(text, "serial.baud", &json!(19200)).unwrap();
        assert_eq!(changed, text.replace("9600", "19200"));
        let changed = edit(text, "profile", &json!("lab")).unwrap();
        assert_eq!(changed, text.replace("'sim'", "\"lab\""));
        let added = edit(text, "serial.gap", &json!(2.0)).unwrap();
        assert_eq!(added, format!("{text}gap = 2.0\n"));
        let added = edit(text, "name", &json!("a\\b")).unwrap();
        assert_eq!(added, text.replace("# which\n", "# which\nname = 'a\\b'\n"));
    }

    #[test]
    fn a_first_key_without_table_stays_below_the_files_own_comment() {
        for (text, want) in [
            ("# file\n[serial]\n", "# file\non = true\n\n[serial]\n"),
            ("# file\n[serial.more]\n[serial]\n", "# file\non = true\n\n[serial.more]\n[serial]\n"),
            ("# file\n\n# line\n[serial]\n", "# file\n\non = true\n\n# line\n[serial]\n"),
            ("[serial]\r\nbaud = 1\r\n", "on = true\r\n\r\n[serial]\r\nbaud = 1\r\n"),
        ] {
            assert_eq!(edit(text, "on", &json!(true)).unwrap(), want);
        }
    }

    #[test]
    fn every_way_to_write_a_table_takes_a_new_key() {
        for (text, want) in [
            ("", "[serial]\nbaud = 5\n"),
            ("# only comments", "# only comments\n[serial]\nbaud = 5\n"),
            ("on = true\n", "on = true\n\n[serial]\nbaud = 5\n"),
            ("serial.gap = 1.0\n", "serial.gap = 1.0\nserial.baud = 5\n"),
            ("serial = {gap = 1.0}\n", "serial = {gap = 1.0, baud = 5 }\n"),
            ("[serial]\r\ngap = 1.0\r\n", "[serial]\r\ngap = 1.0\r\nbaud = 5\r\n"),
        ] {
            let edited = edit(text, "serial.baud", &json!(5)).unwrap();
            let squeeze = |s: &str| s.replace(' ', "");
            assert_eq!(squeeze(&edited), squeeze(want), "{text}");
            assert_eq!(
                parse(shape(&keys()), &edited).values.get("serial.baud"),
                None,
                "out of range on purpose"
            );
        }
        assert_eq!(edit("serial = 5", "serial.baud", &json!(5)), None);
    }

    proptest::proptest! {
        /// Whatever file there is: one key takes the new value, the others keep theirs, and no comment is lost.
        #[test]
        fn an_edit_changes_one_value(
            lines in proptest::collection::vec(proptest::sample::select(&[
                "# note", "", "on = false", "name = 'a' # why", "[serial]", "[ serial ] # x", "baud = 9600",
                "serial.baud=1_200", "gap=0.5", "serial.gap = 2", "serial = { gap = 1.0 }", "[serial.more]",
                "profile = \"\"\"lab\"\"\"", "\"name\" = 'b'", "  on=true", "broken", "\u{feff}",
            ][..]), 0..9),
            (key, value) in proptest::sample::select(vec![
                ("profile", json!("prod")), ("serial.baud", json!(300)), ("serial.gap", json!(3.25)),
                ("name", json!("x")), ("on", json!(true)), ("on", json!(false)),
            ]),
            crlf: bool,
        ) {
            let text = lines.join(if crlf { "\r\n" } else { "\n" });
            let before = parse(shape(&keys()), &text);
            if let Some(edited) = edit(&text, key, &value) {
                let mut want = before.values;
                want.insert(key.to_owned(), value);
                let after = parse(shape(&keys()), &edited);
                assert!(!after.broken, "{text:?} -> {edited:?}");
                let sorted = |values: &Map<String, Value>| {
                    values.iter().map(|(k, v)| (k.clone(), v.to_string())).collect::<std::collections::BTreeMap<_, _>>()
                };
                assert_eq!(sorted(&after.values), sorted(&want), "{text:?} -> {edited:?}");
                assert_eq!(edited.matches('#').count(), text.matches('#').count());
            } else {
                assert!(before.broken || !before.problems.is_empty(), "{text:?}");
            }
        }
    }

    #[test]
    fn the_default_file_is_valid_and_says_everything() {
        let spec = AppSpec {
            id: "bridge",
            title: "Bridge",
            host: "bridge",
            hosted_role: false,
            config: keys(),
            sections: vec![],
            actions: vec![],
        };
        let text = default_config(&spec);
        let parsed = parse(shape(&spec.config), &text);
        assert_eq!(parsed.problems, []);
        for key in &spec.config {
            assert_eq!(parsed.values[key.key], key.default);
            assert!(text.contains(key.help));
        }
        assert!(text.contains("# line speed (50..4000000, in baud)\nbaud = 9600\n"), "{text}");
    }
}
