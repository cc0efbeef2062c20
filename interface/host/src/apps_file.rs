//! `config/apps.toml`: which third-party apps there are and how each is started. Starts nothing.
//!
//! ```toml
//! [[app]]
//! id = "counter"                      # appId; letters, digits, `-`, `_`, `.`
//! title = "Counter"                   # optional
//! command = ["python3", "counter.py"] # a program that speaks the contract on standard input and output
//! cwd = "apps"                        # optional; below the root unless absolute
//! env = { COUNTER_STEP = "2" }        # optional
//! ```
//!
//! The file is read when the daemon starts. What is wrong in it never keeps the daemon from starting: it is told on
//! standard error and in `logs/hilrig.log` with line and column, and an app whose `id` can be read stands in
//! `app.list` nevertheless, with the trouble in its status and in every answer.

use std::collections::HashSet;
use std::path::PathBuf;

use hilrig_contract::AppSpec;
use toml_edit::{Document, Item, TableLike};

use crate::Root;
use crate::config_file::Problem;

/// Most apps taken from the file.
const MAX_APPS: usize = 64;
const MAX_TITLE: usize = 100;
/// Names of files that an app's log or config would collide with.
const RESERVED: [&str; 2] = ["apps", "hilrig"];

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct Declarations {
    pub(crate) apps: Vec<Declared>,
    /// `file:line:column: what is wrong` each.
    pub(crate) problems: Vec<String>,
}

/// One third-party app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) id: String,
    pub(crate) title: String,
    /// How it is started, or why it cannot be.
    pub(crate) launch: Result<Launch, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) env: Vec<(String, String)>,
}

/// Reads the root's file; none is as good as an empty one.
pub(crate) fn read(root: &Root, built_in: &[AppSpec]) -> Declarations {
    let file = root.apps_file();
    match std::fs::read_to_string(&file) {
        Ok(text) => parse(root, &text, built_in),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Declarations::default(),
        Err(e) => Declarations { problems: vec![format!("{}: {e}", file.display())], ..Default::default() },
    }
}

fn parse(root: &Root, text: &str, built_in: &[AppSpec]) -> Declarations {
    let file = root.apps_file();
    let at = |offset: usize, message: String| {
        let Problem { line, column, message } = Problem::at(text, offset, message);
        format!("{}:{line}:{column}: {message}", file.display())
    };
    let mut found = Declarations::default();
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(e) => {
            let offset = e.span().map_or(text.len(), |span| span.start);
            let message = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
            found.problems.push(at(offset, format!("this is not TOML: {message}")));
            return found;
        }
    };
    let mut ids: HashSet<String> = built_in.iter().map(|spec| spec.id.to_owned()).collect();
    for (key, item) in document.iter() {
        let start = key_start(document.as_table(), key);
        let Some(tables) = item.as_array_of_tables().filter(|_| key == "app") else {
            found.problems.push(at(start, format!("expected [[app]], found {key}")));
            continue;
        };
        for table in tables {
            if found.apps.len() == MAX_APPS {
                found.problems.push(at(offset(table.span()), format!("more than {MAX_APPS} apps")));
                break;
            }
            let id = match id(table, offset(table.span())) {
                Ok(id) => id,
                Err((offset, why)) => {
                    found.problems.push(at(offset, why));
                    continue;
                }
            };
            if !ids.insert(id.clone()) {
                let why = format!("there is an app {id} already");
                found.problems.push(at(value_start(table, "id"), why));
                continue;
            }
            let (title, title_problem) = match title(table) {
                Ok(title) => (title.unwrap_or_else(|| id.clone()), None),
                Err(problem) => (id.clone(), Some(problem)),
            };
            let launch = title_problem
                .map_or_else(|| launch(root, table), Err)
                .map_err(|(offset, why)| at(offset, format!("app {id}: {why}")));
            found.problems.extend(launch.as_ref().err().cloned());
            found.apps.push(Declared { id, title, launch });
        }
    }
    found
}

/// What is wrong, and where.
type Wrong = (usize, String);

fn id(table: &dyn TableLike, table_start: usize) -> Result<String, Wrong> {
    let Some(item) = table.get("id") else { return Err((table_start, "an app needs an id".to_owned())) };
    let start = value_start(table, "id");
    let id = item.as_str().ok_or_else(|| (start, "id is text".to_owned()))?;
    let right = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.len() > 64 || !id.chars().all(right) || !id.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let rule = "at most 64 letters, digits, `-`, `_` and `.`, the first a letter or digit";
        return Err((start, format!("{id:?} is no id: {rule}")));
    }
    if RESERVED.contains(&id) || id.starts_with("host-") {
        return Err((start, format!("{id} is not free for an app")));
    }
    Ok(id.to_owned())
}

fn title(table: &dyn TableLike) -> Result<Option<String>, Wrong> {
    let Some(item) = table.get("title") else { return Ok(None) };
    let title = item
        .as_str()
        .filter(|t| !t.is_empty() && t.chars().count() <= MAX_TITLE && !t.chars().any(char::is_control));
    let title = title.ok_or_else(|| {
        (value_start(table, "title"), format!("title is one line of at most {MAX_TITLE} characters"))
    })?;
    Ok(Some(title.to_owned()))
}

fn launch(root: &Root, table: &dyn TableLike) -> Result<Launch, Wrong> {
    if let Some((key, _)) =
        table.iter().find(|(key, _)| !["id", "title", "command", "cwd", "env"].contains(key))
    {
        let why = format!("unknown key {key}; the keys are id, title, command, cwd, env");
        return Err((key_start(table, key), why));
    }
    let cwd = match table.get("cwd") {
        None => root.dir().to_owned(),
        Some(item) => {
            let start = value_start(table, "cwd");
            let cwd = text(item).ok_or_else(|| (start, "cwd is a path".to_owned()))?;
            let cwd = root.dir().join(cwd);
            if !cwd.is_dir() {
                return Err((start, format!("cwd: {} is no directory", cwd.display())));
            }
            cwd
        }
    };
    let Some(item) = table.get("command") else {
        return Err((
            value_start(table, "id"),
            "command is missing, as [\"program\", \"argument\", ...]".to_owned(),
        ));
    };
    let words = item.as_array().map(|words| words.iter().map(|w| w.as_str().filter(|w| !w.contains('\0'))));
    let words: Option<Vec<&str>> = words.and_then(Iterator::collect);
    let (program, args) = match words.as_deref() {
        Some([program, args @ ..]) if !program.is_empty() => (program, args),
        _ => {
            let why = "command is [\"program\", \"argument\", ...], all text".to_owned();
            return Err((value_start(table, "command"), why));
        }
    };
    // A bare name is looked for in PATH, a path with a slash from the directory the app is started in.
    let program = if program.contains('/') { cwd.join(program) } else { PathBuf::from(program) };
    let env = match table.get("env") {
        None => vec![],
        Some(item) => env(item).ok_or_else(|| {
            (value_start(table, "env"), "env is { NAME = \"value\", ... }, all text".to_owned())
        })?,
    };
    Ok(Launch { program, args: args.iter().map(|&a| a.to_owned()).collect(), cwd, env })
}

fn env(item: &Item) -> Option<Vec<(String, String)>> {
    item.as_table_like()?
        .iter()
        .map(|(name, value)| {
            let right = !name.is_empty() && !name.contains(['=', '\0']);
            text(value).filter(|_| right).map(|value| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn text(item: &Item) -> Option<&str> {
    item.as_str().filter(|text| !text.contains('\0'))
}

fn offset(span: Option<std::ops::Range<usize>>) -> usize {
    span.map_or(0, |span| span.start)
}

fn key_start(table: &dyn TableLike, key: &str) -> usize {
    offset(table.key(key).and_then(toml_edit::Key::span))
}

fn value_start(table: &dyn TableLike, key: &str) -> usize {
    table.get(key).and_then(Item::span).map_or_else(|| key_start(table, key), |span| span.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge() -> AppSpec {
        AppSpec {
            id: "bridge",
            title: "B",
            host: "bridge",
            hosted_role: false,
            config: vec![],
            sections: vec![],
            actions: vec![],
        }
    }

    fn parsed(text: &str) -> (tempfile::TempDir, Declarations) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create_in(dir.path(), &dir.path().join("run")).unwrap();
        let found = parse(&root, text, &[bridge()]);
        (dir, found)
    }

    #[test]
    fn a_declaration_is_taken() {
        let (dir, found) = parsed(
            "[[app]]\nid = \"counter\"\ntitle = \"The Counter\"\ncommand = [\"python3\", \"x.py\"]\ncwd = \"rigs\"\n\
             env = { A = \"1\" }\n[[app]]\nid = \"b\"\ncommand = [\"./b\"]\n",
        );
        assert_eq!(found.problems, Vec::<String>::new());
        let root = dir.path().canonicalize().unwrap();
        let first = found.apps[0].launch.as_ref().unwrap();
        assert_eq!(found.apps[0].title, "The Counter");
        assert_eq!(
            (first.program.as_path(), &first.args[..]),
            ("python3".as_ref(), &["x.py".to_owned()][..])
        );
        assert_eq!((&first.cwd, &first.env[..]), (&root.join("rigs"), &[("A".into(), "1".into())][..]));
        let second = found.apps[1].launch.as_ref().unwrap();
        assert_eq!((found.apps[1].title.as_str(), &second.program), ("b", &root.join("./b")));
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        for (text, place, words) in [
            ("[[app]]\nid = \"x\ncommand = []", ":2:", "not TOML"),
            ("[[app]]\ncommand = [\"x\"]\n", ":1:1:", "needs an id"),
            ("[[app]]\nid = 5\n", ":2:6:", "id is text"),
            ("[[app]]\nid = \"../x\"\n", ":2:6:", "no id"),
            ("[[app]]\nid = \"hilrig\"\n", ":2:6:", "not free"),
            ("[[app]]\nid = \"bridge\"\ncommand = [\"x\"]\n", ":2:6:", "already"),
            ("[[app]]\nid = \"x\"\n", ":2:6:", "command is missing"),
            ("[[app]]\nid = \"x\"\ncommand = \"x\"\n", ":3:11:", "command is ["),
            ("[[app]]\nid = \"x\"\ncommand = []\n", ":3:11:", "command is ["),
            ("[[app]]\nid = \"x\"\ncommand = [\"x\"]\nfoo = 1\n", ":4:1:", "unknown key foo"),
            ("[[app]]\nid = \"x\"\ncommand = [\"x\"]\ncwd = \"nowhere\"\n", ":4:7:", "no directory"),
            ("[[app]]\nid = \"x\"\ncommand = [\"x\"]\nenv = { A = 1 }\n", ":4:7:", "env is"),
            ("[[app]]\nid = \"x\"\ncommand = [\"x\"]\ntitle = \"a\\nb\"\n", ":4:9:", "title is"),
            ("[app]\nid = \"x\"\n", ":1:2:", "expected [[app]]"),
            ("port = 1\n", ":1:1:", "expected [[app]]"),
        ] {
            let (_dir, found) = parsed(text);
            assert_eq!(found.problems.len(), 1, "{text}: {:?}", found.problems);
            let problem = &found.problems[0];
            assert!(
                problem.contains(&format!("apps.toml{place}")) && problem.contains(words),
                "{text}: {problem}"
            );
        }
    }

    #[test]
    fn one_wrong_app_does_not_hide_the_others() {
        let (_dir, found) = parsed(
            "[[app]]\nid = \"a\"\ncommand = 1\n[[app]]\nid = \"b\"\ncommand = [\"b\"]\n[[app]]\nid = \"b\"\ncommand = [\"b\"]\n",
        );
        assert_eq!(found.problems.len(), 2);
        assert_eq!(found.apps.len(), 2);
        assert!(found.apps[0].launch.as_ref().unwrap_err().contains("app a"));
        assert!(found.apps[1].launch.is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_told(
            text in proptest::string::string_regex(
                "(\\[\\[app\\]\\]\n|id = \"[a-zä.-]{0,4}\"\n|command = (\\[\"a\"\\]|5|\\[\\])\n|env = \\{ [A-Z=]{0,3} = 1 \\}\n|.{0,9}\n){0,8}"
            ).unwrap()
        ) {
            let (_dir, found) = parsed(&text);
            for problem in &found.problems {
                let place = problem.rsplit("apps.toml:").next().unwrap().split(':').next().unwrap();
                let line: usize = place.parse().unwrap();
                proptest::prop_assert!(line >= 1 && line <= text.lines().count() + 1, "{}", problem);
            }
        }
    }
}
