//! Named tables of a config file (`[link.line]`): what they say as JSON, what is wrong in one and where, which of
//! their values a console may show and set. Reads and writes no file, and does not know what a table means.

use hilrig_contract::{ConfigSection, SectionProblem};
use serde_json::{Map, Value};
use toml_edit::{Item, TableLike};

use crate::config_file::{NamedTable, Parsed, Problem, toml};

/// No name is longer.
const MAX_NAME: usize = 40;

/// Reads the tables of a section.
pub(crate) fn read(section: &ConfigSection, text: &str, tables: &dyn TableLike, parsed: &mut Parsed) {
    for (name, item) in tables.iter() {
        let path = format!("{}.{name}", section.name);
        let key_at = tables.key(name).and_then(|k| k.span()).map_or(0, |span| span.start);
        let (value, checked) = match value_of(item) {
            Ok(value) => {
                let checked = check(section, name, &value);
                (value, checked)
            }
            Err(why) => (Value::Null, Err(SectionProblem::new("", why))),
        };
        let right = checked.is_ok();
        if let Err(problem) = checked {
            let at = place(item, &problem.at).unwrap_or(key_at);
            parsed.problems.push(Problem::at(text, at, told(&path, &problem)));
        }
        parsed.tables.push(NamedTable { path, value, right });
    }
}

/// A problem with its whole key.
pub(crate) fn told(path: &str, problem: &SectionProblem) -> String {
    let dot = if problem.at.is_empty() { "" } else { "." };
    format!("{path}{dot}{}: {}", problem.at, problem.message)
}

/// Judges one table.
pub(crate) fn check(section: &ConfigSection, name: &str, table: &Value) -> Result<(), SectionProblem> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
        return Err(SectionProblem::new(
            "",
            format!("a name has 1 to {MAX_NAME} letters, digits, `-` and `_`"),
        ));
    }
    if !table.is_object() {
        return Err(SectionProblem::new(
            "",
            format!("it must be a table, [{}.{name}]: {}", section.name, section.help),
        ));
    }
    (section.check)(name, table)
}

/// Where the value at a dotted path begins, or the nearest around it that has a place.
fn place(item: &Item, path: &str) -> Option<usize> {
    let span = |item: &Item| item.span().map(|span| span.start);
    let Some((part, rest)) = path.split_once('.').or((!path.is_empty()).then_some((path, ""))) else {
        return span(item);
    };
    let index = || part.parse::<usize>().ok();
    let inner = match item {
        Item::ArrayOfTables(tables) => {
            let table = tables.get(index()?)?;
            return place(&Item::Table(table.clone()), rest).or_else(|| table.span().map(|s| s.start));
        }
        Item::Value(toml_edit::Value::Array(array)) => {
            let value = array.get(index()?)?;
            return place(&Item::Value(value.clone()), rest).or_else(|| value.span().map(|s| s.start));
        }
        _ => item.as_table_like()?.get_key_value(part),
    };
    let Some((key, inner)) = inner else { return span(item) };
    // A key that should not be there is shown itself, a value that is wrong as well.
    match rest {
        "" if inner.is_value() => span(inner),
        "" => key.span().map(|s| s.start).or_else(|| span(inner)),
        rest => place(inner, rest).or_else(|| span(inner)),
    }
}

fn value_of(item: &Item) -> Result<Value, String> {
    match item {
        Item::None => Ok(Value::Null),
        Item::Value(value) => json(value),
        Item::Table(table) => map(table.iter()),
        Item::ArrayOfTables(tables) => {
            tables.iter().map(|t| map(t.iter())).collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
    }
}

fn map<'a>(entries: impl Iterator<Item = (&'a str, &'a Item)>) -> Result<Value, String> {
    let entries = entries.map(|(key, item)| Ok((key.to_owned(), value_of(item)?)));
    entries.collect::<Result<Map<_, _>, String>>().map(Value::Object)
}

fn json(value: &toml_edit::Value) -> Result<Value, String> {
    Ok(match value {
        toml_edit::Value::String(s) => s.value().as_str().into(),
        toml_edit::Value::Integer(i) => (*i.value()).into(),
        toml_edit::Value::Float(f) => (*f.value()).into(),
        toml_edit::Value::Boolean(b) => (*b.value()).into(),
        toml_edit::Value::Datetime(d) => {
            return Err(format!("{} is a date; put it in quotes if it is text", d.value()));
        }
        toml_edit::Value::Array(array) => Value::Array(array.iter().map(json).collect::<Result<_, _>>()?),
        toml_edit::Value::InlineTable(table) => {
            let entries = table.iter().map(|(k, v)| Ok((k.to_owned(), json(v)?)));
            Value::Object(entries.collect::<Result<_, String>>()?)
        }
    })
}

/// The scalars below a table, by dotted path. Those in lists cannot be set one by one.
pub(crate) fn scalars(path: &str, value: &Value, settable: bool, found: &mut Vec<(String, Value, bool)>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, v)| scalars(&format!("{path}.{key}"), v, settable, found));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| scalars(&format!("{path}.{i}"), v, false, found));
        }
        scalar => found.push((path.to_owned(), scalar.clone(), settable)),
    }
}

/// The table with the value at a path replaced: a whole table is what the value says, a missing one is made on the way.
fn with(table: &Value, path: &[&str], value: &Value) -> Option<Value> {
    let Some((first, rest)) = path.split_first() else { return Some(value.clone()) };
    let mut map = match table {
        Value::Object(map) => map.clone(),
        Value::Null => Map::new(),
        _ => return None,
    };
    let inner = with(map.get(*first).unwrap_or(&Value::Null), rest, value)?;
    map.insert((*first).to_owned(), inner);
    Some(Value::Object(map))
}

/// Finds what a client means by `input` at `path` of a table. Clients send text, so a number or a switch may come as
/// one; what the table has there already says which, and else what its check takes. Lists and tables come as JSON.
///
/// # Errors
/// Why nothing fits: what is wrong with the value as it came.
pub(crate) fn accept(
    section: &ConfigSection,
    name: &str,
    table: &Value,
    path: &[&str],
    input: &Value,
) -> Result<Value, SectionProblem> {
    let mut ways = vec![];
    if let Some(text) = input.as_str() {
        let trimmed = text.trim();
        let there = path.iter().try_fold(table, |v, part| v.get(part));
        if !matches!(there, Some(Value::String(_))) {
            let typed =
                serde_json::from_str::<Value>(trimmed).ok().filter(|v| !v.is_null() && !v.is_string());
            ways.extend(typed);
        }
        if text.chars().any(char::is_control) {
            return Err(SectionProblem::new(path.join("."), "control characters are not allowed"));
        }
    }
    ways.push(input.clone());
    let mut first = None;
    for way in ways {
        let changed = with(table, path, &way);
        let result = match changed {
            None => Err(SectionProblem::new(path.join("."), "it has no place in this table")),
            Some(_) if toml(&way).is_none() => {
                Err(SectionProblem::new(path.join("."), "it cannot be written in a config file"))
            }
            Some(changed) => check(section, name, &changed),
        };
        match result {
            Ok(()) => return Ok(way),
            Err(problem) => drop(first.get_or_insert(problem)),
        }
    }
    Err(first.unwrap_or_else(|| SectionProblem::new("", "no value")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hilrig_contract::{AppSpec, ErrorCode};
    use serde_json::json;

    use super::*;
    use crate::testing::FakeApp;
    use crate::{ConfigStore, Root, default_config};

    /// `a` is text and must be there, `depth.n` a number, `on` a switch, `list` anything.
    fn judge(_name: &str, table: &Value) -> Result<(), SectionProblem> {
        if !table["a"].is_string() {
            return Err(SectionProblem::new("a", "it needs text"));
        }
        for (key, value) in table.as_object().unwrap() {
            match key.as_str() {
                "a" | "list" => {}
                "on" if value.is_boolean() => {}
                "depth" if value["n"].is_u64() => {}
                "depth" => return Err(SectionProblem::new("depth.n", "it needs a number")),
                _ => return Err(SectionProblem::new(key.as_str(), "unknown")),
            }
        }
        let bad = table["list"].as_array().into_iter().flatten().position(|v| v["x"] == 0);
        bad.map_or(Ok(()), |i| Err(SectionProblem::new(format!("list.{i}.x"), "not 0")))
    }

    fn spec() -> AppSpec {
        let example = "[link.line]\na = \"pty:x\"";
        let section = ConfigSection { name: "link", help: "a link", check: judge, example };
        AppSpec {
            sections: vec![section],
            ..hilrig_contract::App::spec(&*FakeApp::new("bridge", false)).clone()
        }
    }

    fn store(text: &str) -> (tempfile::TempDir, ConfigStore) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create_in(&dir.path().join("root"), &dir.path().join("run")).unwrap();
        let store = ConfigStore::new(&root, &spec());
        fs::write(store.file(), text).unwrap();
        (dir, store)
    }

    const FILE: &str = "on = true\n\n# the line\n[link.line] # here\na = 'x' # which\n[link.line.depth]\nn = 5\n\
                        [[link.line.list]]\nx = 1\n\n[link.other]\na = 'y'\n";

    #[test]
    fn tables_are_entries_and_in_the_tree() {
        let (_dir, store) = store(FILE);
        let view = store.view();
        assert_eq!(view.errors, Vec::<String>::new());
        let entry = |key: &str| view.entries.iter().find(|e| e.key == key).unwrap();
        assert_eq!((&entry("link.line.a").value, entry("link.line.a").settable), (&json!("x"), true));
        assert_eq!(entry("link.line.depth.n").value_type, "int");
        assert!(!entry("link.line.list.0.x").settable);
        let tree = store.effective().unwrap();
        assert_eq!(tree.section("link").map(|(name, _)| name).collect::<Vec<_>>(), ["line", "other"]);
        assert_eq!(tree.get("link.line.depth.n"), Some(&json!(5)));
    }

    #[test]
    fn what_is_wrong_has_its_place_and_the_rest_stands() {
        for (from, to, says) in [
            ("a = 'x'", "a = 7", "config/bridge.toml:5:5: link.line.a: it needs text"),
            ("n = 5", "n = 'x'", ":7:5: link.line.depth.n: it needs"),
            ("x = 1", "x = 0", ":9:5: link.line.list.0.x: not 0"),
            ("a = 'y'", "a = 'y'\nq = 1", ":13:5: link.other.q: unknown"),
            ("[link.other]", "[link.\"o t\"]", "a name has"),
            ("a = 'y'", "a = 2020-01-01", "is a date"),
        ] {
            let (_dir, store) = store(&FILE.replace(from, to));
            let view = store.view();
            assert_eq!(view.errors.len(), 1, "{:?}", view.errors);
            assert!(view.errors[0].contains(says), "{says}: {:?}", view.errors);
            assert_eq!(view.config_tree["link"].as_object().unwrap().len(), 1, "the other one is right");
        }
    }

    #[test]
    fn one_value_is_set_after_the_whole_table_was_judged() {
        let (_dir, store) = store(FILE);
        store.set("link.line.a", &json!("5"), None, None).unwrap();
        store.set("link.line.depth.n", &json!("7"), None, None).unwrap();
        store.set("link.line.on", &json!("true"), None, None).unwrap();
        let want = FILE
            .replace("'x'", "\"5\"")
            .replace("n = 5", "n = 7")
            .replace("# which\n", "# which\non = true\n");
        assert_eq!(fs::read_to_string(store.file()).unwrap(), want);
        for (key, value) in [
            ("link.line.depth.n", json!("x")),
            ("link.line.q", json!(1)),
            ("link.third.on", json!(true)),
            ("link.line.a.b", json!(1)),
            ("link.line.a", json!("a\nb")),
            ("link.o t.a", json!("x")),
            ("link", json!("x")),
        ] {
            let error = store.set(key, &value, None, None).unwrap_err();
            assert!(matches!(error.code, ErrorCode::ConfigInvalid | ErrorCode::NotFound), "{key}: {error}");
            assert_eq!(fs::read_to_string(store.file()).unwrap(), want, "{key}");
        }
        assert!(!store.set("link.line.on", &json!(true), None, None).unwrap().changed);
    }

    #[test]
    fn a_table_is_made_whole_and_a_wrong_one_mended() {
        let (_dir, store) = store(FILE);
        store.set("link.new", &json!(r#"{"a": "z", "depth": {"n": 1}}"#), None, None).unwrap();
        let text = fs::read_to_string(store.file()).unwrap();
        assert!(text.starts_with(FILE) && text.contains("[link.new]\na = \"z\"\n"), "{text}");
        assert_eq!(store.effective().unwrap().get("link.new.depth.n"), Some(&json!(1)));
        fs::write(store.file(), FILE.replace("a = 'x'", "a = 7")).unwrap();
        store.set("link.line.a", &json!("x"), None, None).unwrap();
        assert_eq!(fs::read_to_string(store.file()).unwrap(), FILE.replace("'x'", "\"x\""));
    }

    #[test]
    fn the_default_file_shows_one_as_a_comment() {
        let text = default_config(&spec());
        assert!(text.ends_with("\n# a link\n# [link.line]\n# a = \"pty:x\"\n"), "{text}");
    }
}
