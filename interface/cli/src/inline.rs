//! Tables given on the command line, or in a file: TOML or JSON, read into the same types as in a config. What is wrong
//! is shown with a caret.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::output::Failure;

/// A table for an option: `{baud=9600}`, `baud=9600, noise=1e-6`, or a JSON object.
pub fn table<T: DeserializeOwned>(option: &str, text: &str) -> Result<T, Failure> {
    let wrong = |at: usize, message: &str| {
        Failure::usage(format!("{option}: {}\n{}", message.trim_end(), caret(text, at)))
    };
    if is_json(text) {
        return serde_json::from_str(text).map_err(|e| wrong(offset(text, e.line(), e.column()), &words(&e)));
    }
    #[derive(Deserialize)]
    struct Outer<T> {
        table: T,
    }
    let (head, tail) = if text.trim_start().starts_with('{') { ("table = ", "") } else { ("table = {", "}") };
    let read = toml::from_str::<Outer<T>>(&format!("{head}{text}{tail}"));
    read.map(|outer| outer.table).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start.saturating_sub(head.len()));
        wrong(at, e.message())
    })
}

/// The tables `[[KEY]]` of a TOML file, or the JSON array of that name, or a JSON array alone.
pub fn tables_of_file<T: DeserializeOwned>(option: &str, path: &Path, key: &str) -> Result<Vec<T>, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("{option}: {name}: cannot be read: {e}")))?;
    let wrong = |at: usize, message: &str| {
        let at = at.min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let (number, begin) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |i| i + 1));
        let line = text.get(begin..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let shown = caret(line, at - begin);
        Failure::usage(format!("{option}: {name}, line {number}: {}\n{shown}", message.trim_end()))
    };
    if matches!(text.trim_start().as_bytes().first(), Some(b'[')) && !text.trim_start().starts_with("[[") {
        return serde_json::from_str(&text)
            .map_err(|e| wrong(offset(&text, e.line(), e.column()), &words(&e)));
    }
    let mut found: std::collections::BTreeMap<String, Vec<T>> = if is_json(&text) {
        serde_json::from_str(&text).map_err(|e| wrong(offset(&text, e.line(), e.column()), &words(&e)))?
    } else {
        toml::from_str(&text).map_err(|e| wrong(e.span().map_or(0, |span| span.start), e.message()))?
    };
    let tables = found.remove(key);
    match (tables, found.keys().next()) {
        (_, Some(other)) => {
            Err(Failure::usage(format!("{option}: {name}: {other:?} is not known here; it takes [[{key}]]")))
        }
        (None, _) => Err(Failure::usage(format!("{option}: {name}: has no [[{key}]]"))),
        (Some(tables), None) => Ok(tables),
    }
}

/// A JSON object; a TOML table has no quoted key before a colon.
fn is_json(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('{').map(str::trim_start);
    inside.is_some_and(|inside| {
        let Some(rest) = inside.strip_prefix('"') else { return false };
        rest.split_once('"').is_some_and(|(_, rest)| rest.trim_start().starts_with(':'))
    })
}

/// The message without its place.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

fn caret(text: &str, at: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let column = text.char_indices().take_while(|(i, _)| *i < at).count();
    format!("  {line}\n  {:column$}^", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wire {
        baud: Option<u32>,
        noise: Option<f64>,
    }

    #[test]
    fn a_table_may_be_written_in_three_ways() {
        let wire = Wire { baud: Some(9600), noise: Some(1e-6) };
        for text in
            ["baud=9600, noise=1e-6", "{ baud = 9600, noise = 1e-6 }", r#"{"baud": 9600, "noise": 1e-6}"#]
        {
            assert_eq!(table::<Wire>("--wire", text).unwrap(), wire, "{text}");
        }
        assert_eq!(table::<Wire>("--wire", "{}").unwrap(), Wire { baud: None, noise: None });
    }

    #[test]
    fn what_is_wrong_has_a_caret() {
        for (text, said, at) in [
            ("bud=9600", "bud", 0),
            ("baud=9600, nois=1", "nois", 11),
            ("baud=", "", 5),
            ("{ baud = \"fast\" }", "", 9),
            (r#"{"baud": "fast"}"#, "fast", 14),
        ] {
            let failure = table::<Wire>("--wire", text).unwrap_err().message;
            let lines: Vec<&str> = failure.lines().collect();
            assert!(lines[0].starts_with("--wire: ") && lines[0].contains(said), "{failure}");
            assert_eq!(lines[1], format!("  {text}"));
            assert_eq!(lines[2].find('^'), Some(at + 2), "{failure}");
        }
    }

    #[test]
    fn a_file_holds_several() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("faults");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            tables_of_file::<Wire>("--faults", &path, "faults").map_err(|f| f.message)
        };
        let two = |found: Vec<Wire>| found.iter().map(|w| w.baud).collect::<Vec<_>>();
        for text in [
            "[[faults]]\nbaud = 1\n[[faults]]\nbaud = 2\n",
            r#"{"faults": [{"baud": 1}, {"baud": 2}]}"#,
            r#"[{"baud": 1}, {"baud": 2}]"#,
        ] {
            assert_eq!(two(read(text).unwrap()), [Some(1), Some(2)], "{text}");
        }
        let wrong = read("[[faults]]\nbaud = 1\n[[faults]]\nbud = 2\n").unwrap_err();
        assert!(wrong.contains("line 4") && wrong.contains("\n  bud = 2\n  ^"), "{wrong}");
        assert!(read("[[fault]]\nbaud = 1\n").unwrap_err().contains("[[faults]]"));
        assert!(read("").unwrap_err().contains("has no [[faults]]"));
        let absent = tables_of_file::<Wire>("--faults", &dir.path().join("no"), "faults").unwrap_err();
        assert!(absent.message.contains("cannot be read"));
    }
}
