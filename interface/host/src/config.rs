//! The config store of one app: its keys over its file. What is shown, checked and written comes from the file each
//! time: an operator edits it too, and other processes of the root write it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hilrig_contract::{
    AppSpec, ConfigEntry, ConfigKey, ConfigPath, ConfigSection, ConfigSet, ConfigTree, ConfigView,
    ContractError, ErrorCode, ValueKind,
};
use serde_json::Value;

use crate::Root;
use crate::config_file::{Parsed, Problem, Shape, accept, edit, parse};
use crate::config_section;

/// No config file is longer.
const MAX_FILE: u64 = 1 << 20;
/// How long `config.set` waits for another process that writes.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// `paths` key of the config file, and `fileKey` of every entry.
const FILE_KEY: &str = "configPath";

/// The configuration of one app.
#[derive(Debug)]
pub struct ConfigStore {
    app_id: &'static str,
    keys: Vec<ConfigKey>,
    sections: Vec<ConfigSection>,
    root: PathBuf,
    file: PathBuf,
    log: PathBuf,
    lock: PathBuf,
}

/// One reading of the file.
struct Reading {
    text: String,
    parsed: Parsed,
    errors: Vec<String>,
    revision: String,
}

impl Reading {
    /// The value in effect, and whether the file says it.
    fn value<'a>(&'a self, key: &'a ConfigKey) -> (&'a Value, bool) {
        match self.parsed.values.get(key.key) {
            Some(value) => (value, true),
            None => (&key.default, false),
        }
    }
}

impl Reading {
    /// A named table as the file has it; `Null` if it has none.
    fn table(&self, path: &str) -> Value {
        let found = self.parsed.tables.iter().find(|table| table.path == path);
        found.map_or(Value::Null, |table| table.value.clone())
    }
}

impl ConfigStore {
    pub fn new(root: &Root, spec: &AppSpec) -> Self {
        Self {
            app_id: spec.id,
            keys: spec.config.clone(),
            sections: spec.sections.clone(),
            root: root.dir().to_owned(),
            file: root.config_file(spec.id),
            log: root.log_file(spec.id),
            lock: root.dir().join("state").join("config.lock"),
        }
    }

    fn shape(&self) -> Shape<'_> {
        Shape { keys: &self.keys, sections: &self.sections }
    }

    /// The config file, which need not exist.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What `config.get` answers. A broken file is an answer too.
    pub fn view(&self) -> ConfigView {
        let reading = self.read();
        let entries = self.keys.iter().map(|key| {
            let (value, in_file) = reading.value(key);
            ConfigEntry {
                key: key.key.to_owned(),
                value: value.clone(),
                settable: key.settable,
                allowed: match &key.kind {
                    ValueKind::Choice(allowed) => allowed.clone(),
                    _ => vec![],
                },
                value_type: key.kind.value_type().to_owned(),
                constraint: key.kind.constraint(),
                file_key: FILE_KEY.to_owned(),
                unit: (!key.unit.is_empty()).then(|| key.unit.to_owned()),
                help: (!key.help.is_empty()).then(|| key.help.to_owned()),
                default: key.default.clone(),
                source: if in_file { "file" } else { "default" }.to_owned(),
            }
        });
        let entries = entries.chain(self.table_entries(&reading));
        let path = |key: &str, path: &Path| ConfigPath { key: key.to_owned(), value: shown(path) };
        ConfigView {
            repo_root: shown(&self.root),
            valid: reading.errors.is_empty(),
            entries: entries.collect(),
            paths: vec![path(FILE_KEY, &self.file), path("logPath", &self.log)],
            config_tree: self.tree(&reading).0,
            errors: reading.errors,
            revision: reading.revision,
        }
    }

    /// The values of the named tables, one entry each.
    fn table_entries(&self, reading: &Reading) -> Vec<ConfigEntry> {
        let mut found = vec![];
        for table in reading.parsed.tables.iter().filter(|t| t.right) {
            config_section::scalars(&table.path, &table.value, true, &mut found);
        }
        let entry = |(key, value, settable): (String, Value, bool)| ConfigEntry {
            key,
            settable,
            allowed: vec![],
            value_type: match &value {
                Value::Bool(_) => "bool",
                Value::Number(n) if n.is_f64() => "float",
                Value::Number(_) => "int",
                _ => "string",
            }
            .to_owned(),
            constraint: None,
            file_key: FILE_KEY.to_owned(),
            unit: None,
            help: None,
            default: Value::Null,
            source: "file".to_owned(),
            value,
        };
        found.into_iter().map(entry).collect()
    }

    /// The effective configuration for an action.
    ///
    /// # Errors
    /// `E_CONFIG_INVALID` with every error of the file.
    pub fn effective(&self) -> Result<ConfigTree, ContractError> {
        let reading = self.read();
        if reading.errors.is_empty() { Ok(self.tree(&reading)) } else { Err(invalid(reading.errors)) }
    }

    /// What is right in the file, and defaults for the rest: for an action that must work nevertheless, as a stop
    /// must.
    pub fn effective_or_default(&self) -> ConfigTree {
        self.tree(&self.read())
    }

    fn tree(&self, reading: &Reading) -> ConfigTree {
        let mut tree = ConfigTree::default();
        self.keys.iter().for_each(|key| tree.set(key.key, reading.value(key).0.clone()));
        let right = reading.parsed.tables.iter().filter(|t| t.right);
        right.for_each(|table| tree.set(&table.path, table.value.clone()));
        tree
    }

    /// What `config.set` does; `running` is the process of the app's run, if one is up. Blocks on the disk and on
    /// other writers: call it from a thread that may.
    ///
    /// # Errors
    /// `E_NOT_FOUND` for an unknown key, `E_CONFIG_INVALID` for the value, the file or the revision; then nothing has
    /// changed.
    pub fn set(
        &self,
        key: &str,
        value: &Value,
        expected: Option<&str>,
        running: Option<u32>,
    ) -> Result<ConfigSet, ContractError> {
        let refuse = |message: String| ContractError::new(ErrorCode::ConfigInvalid, message).with("key", key);
        let spec = self.keys.iter().find(|k| k.key == key);
        let table = self.sections.iter().find_map(|section| {
            let rest = key.strip_prefix(section.name)?.strip_prefix('.')?;
            let (name, path) = rest.split_once('.').unwrap_or((rest, ""));
            Some((section, name, path.split('.').filter(|_| !path.is_empty()).collect::<Vec<_>>()))
        });
        if spec.is_none() && table.is_none() {
            let key: String = key.chars().take(100).collect();
            let message =
                format!("{} has no config key {key:?}; the keys are {}", self.app_id, self.shape().known());
            return Err(ContractError::new(ErrorCode::NotFound, message).with("key", key));
        }
        if spec.is_some_and(|spec| !spec.settable) {
            return Err(refuse(format!("{key} cannot be set")));
        }
        let accepted = spec.map(|spec| accept(spec, value)).transpose();
        let accepted = accepted.map_err(|why| refuse(format!("{key}: {why}")))?;
        let _lock = self.lock()?;
        let reading = self.read();
        if let Some(expected) = expected
            && expected != reading.revision
        {
            return Err(refuse(format!(
                "{} has changed since it was read: read it again, then set {key}",
                self.name()
            ))
            .with("reason", "revision")
            .with("revision", reading.revision));
        }
        if reading.parsed.broken {
            return Err(invalid(reading.errors));
        }
        let value = match (accepted, table) {
            (Some(value), _) => value,
            (None, Some((section, name, path))) => {
                let table = reading.table(&format!("{}.{name}", section.name));
                let accepted = config_section::accept(section, name, &table, &path, value);
                accepted.map_err(|p| refuse(config_section::told(&format!("{}.{name}", section.name), &p)))?
            }
            (None, None) => return Err(ContractError::internal("no key and no table")),
        };
        let answer = |changed: bool, revision: String, message: String| ConfigSet {
            changed,
            file_path: shown(&self.file),
            restart_required: changed && running.is_some(),
            pid_at_set: running,
            message,
            revision,
        };
        // A value that only seems right, because the file's own is wrong, is written.
        if reading.errors.is_empty() && self.tree(&reading).get(key) == Some(&value) {
            return Ok(answer(false, reading.revision, format!("{key} already is {value}")));
        }
        let text = edit(&reading.text, key, &value)
            .ok_or_else(|| refuse(format!("{}: {key} has no place in this file", self.name())))?;
        let check = self.check(text);
        if !check.errors.is_empty() {
            return Err(invalid(check.errors));
        }
        if self.tree(&check).get(key) != Some(&value) {
            return Err(ContractError::internal(format!("{key} = {value} cannot be written as TOML")));
        }
        replace(&self.file, check.text.as_bytes()).map_err(|e| {
            ContractError::internal(format!("{} cannot be written: {e}", self.file.display()))
        })?;
        let hint = if running.is_some() { "; it takes effect at the next start" } else { "" };
        Ok(answer(true, check.revision, format!("{key} is now {value}{hint}")))
    }

    /// Reads the file. A file that is not there is an empty one.
    fn read(&self) -> Reading {
        let mut bytes = vec![];
        let read = File::open(&self.file).and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut bytes));
        let unreadable = |why: String| {
            let mut reading = self.check(String::new());
            reading.errors = vec![format!("{}: {why}", self.name())];
            reading.parsed.broken = true;
            reading
        };
        match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.check(String::new()),
            Err(e) => unreadable(format!("it cannot be read: {e}")),
            Ok(_) if bytes.len() as u64 > MAX_FILE => {
                unreadable(format!("it is longer than {MAX_FILE} bytes"))
            }
            Ok(_) => match String::from_utf8(bytes) {
                Ok(text) => self.check(text),
                Err(e) => {
                    let sound =
                        String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]).into_owned();
                    let problem = Problem::at(&sound, sound.len(), "this is not UTF-8 text".to_owned());
                    let mut reading = unreadable(String::new());
                    reading.errors = vec![self.told(&problem)];
                    reading
                }
            },
        }
    }

    fn check(&self, text: String) -> Reading {
        let parsed = parse(self.shape(), &text);
        let errors = parsed.problems.iter().map(|problem| self.told(problem)).collect();
        let mut hasher = DefaultHasher::new();
        hasher.write(text.as_bytes());
        Reading { revision: format!("{:016x}", hasher.finish()), errors, parsed, text }
    }

    fn told(&self, problem: &Problem) -> String {
        format!("{}:{}:{}: {}", self.name(), problem.line, problem.column, problem.message)
    }

    /// The file as people know it: below the root.
    fn name(&self) -> String {
        shown(self.file.strip_prefix(&self.root).unwrap_or(&self.file))
    }

    /// One writer at a time, over all processes of the root. Released by the system when a writer dies.
    fn lock(&self) -> Result<File, ContractError> {
        let failed = |why: String| ContractError::internal(format!("{}: {why}", self.lock.display()));
        if let Some(dir) = self.lock.parent() {
            fs::create_dir_all(dir).map_err(|e| failed(e.to_string()))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&self.lock);
        let file = file.map_err(|e| failed(e.to_string()))?;
        let until = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(e)) => return Err(failed(e.to_string())),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(failed("another process holds it and does not let go".to_owned()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn invalid(errors: Vec<String>) -> ContractError {
    let first = errors.first().cloned().unwrap_or_default();
    let more = match errors.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    ContractError::new(ErrorCode::ConfigInvalid, format!("{first}{more}")).with("errors", errors)
}

/// Replaces a file so that at every moment, also after a power cut, it has either the old or the new content. Under
/// the lock there is one writer, so one name is enough for what a killed one left behind.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => fs::canonicalize(path)?,
        _ => path.to_owned(),
    };
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(dir)?;
    let mode = fs::metadata(&path).map_or(0o644, |meta| meta.permissions().mode() & 0o7777);
    let new = dir.join(format!(".{}.new", name.to_string_lossy()));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use hilrig_contract::App;
    use serde_json::json;

    use super::*;
    use crate::testing::FakeApp;

    fn store() -> (tempfile::TempDir, ConfigStore) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create_in(&dir.path().join("root"), &dir.path().join("run")).unwrap();
        let store = ConfigStore::new(&root, FakeApp::new("bridge", false).spec());
        (dir, store)
    }

    #[test]
    fn a_lost_update_is_refused() {
        let (_dir, store) = store();
        let first = store.view().revision;
        let second = store.set("profile", &json!("lab"), Some(&first), None).unwrap().revision;
        assert_eq!(store.view().revision, second);
        let error = store.set("profile", &json!("prod"), Some(&first), None).unwrap_err();
        assert_eq!((error.code, &error.details["reason"]), (ErrorCode::ConfigInvalid, &json!("revision")));
        assert_eq!(error.details["revision"], second);
        assert_eq!(store.effective().unwrap().text("profile"), "lab");
    }

    #[test]
    fn mode_comments_order_and_a_link_stay() {
        let (dir, store) = store();
        let real = dir.path().join("elsewhere.toml");
        fs::write(&real, "# mine\non = false # why\nprofile = \"sim\"\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&real, store.file()).unwrap();
        store.set("on", &json!("true"), None, None).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "# mine\non = true # why\nprofile = \"sim\"\n");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(store.file()).unwrap().is_symlink());
    }

    #[test]
    fn an_unchanged_value_writes_nothing() {
        let (_dir, store) = store();
        assert!(!store.set("serial.baud", &json!("9600"), None, Some(7)).unwrap().changed);
        assert!(!store.file().exists());
    }

    #[test]
    fn files_that_cannot_be_read_are_told_and_left() {
        let (_dir, store) = store();
        for (bytes, says) in [
            (b"on = true\nport = \"\xff\"\n".to_vec(), "config/bridge.toml:2:9: this is not UTF-8"),
            (vec![b'#'; 2 << 20], "config/bridge.toml: it is longer than"),
        ] {
            fs::write(store.file(), &bytes).unwrap();
            let view = store.view();
            assert!(!view.valid && view.errors[0].starts_with(says), "{:?}", view.errors);
            assert_eq!(view.entries.len(), 7);
            let error = store.set("on", &json!(false), None, None).unwrap_err();
            assert_eq!(error.code, ErrorCode::ConfigInvalid);
            assert_eq!(fs::read(store.file()).unwrap(), bytes);
        }
        fs::remove_file(store.file()).unwrap();
        fs::create_dir(store.file()).unwrap();
        assert!(!store.view().valid);
    }

    #[test]
    fn a_wrong_value_is_mended_by_setting_it_but_no_file_is_written_wrong() {
        let (_dir, store) = store();
        fs::write(store.file(), "profile = 'x'\nbaud = 1\n").unwrap();
        assert_eq!(store.view().errors.len(), 2);
        let error = store.set("profile", &json!("sim"), None, None).unwrap_err();
        assert!(error.message.contains("unknown key baud"), "{error}");
        fs::write(store.file(), "profile = 'x'\n").unwrap();
        assert!(store.effective().is_err());
        assert_eq!(store.effective_or_default().text("profile"), "sim");
        store.set("profile", &json!("lab"), None, None).unwrap();
        assert_eq!(store.effective().unwrap().text("profile"), "lab");
    }

    /// Every update of several writers arrives, and every reading in between is a whole file.
    #[test]
    fn writers_at_once_lose_nothing() {
        let (_dir, store) = store();
        fs::write(store.file(), "# kept\n").unwrap();
        std::thread::scope(|scope| {
            let writers = [
                scope.spawn(|| {
                    (1..=20)
                        .for_each(|n| drop(store.set("gap", &json!(f64::from(n) / 4.0), None, None).unwrap()))
                }),
                scope.spawn(|| {
                    (1..=20)
                        .for_each(|n| drop(store.set("serial.baud", &json!(n * 100), None, None).unwrap()))
                }),
            ];
            while writers.iter().any(|w| !w.is_finished()) {
                assert_eq!(store.view().errors, Vec::<String>::new());
            }
        });
        let tree = store.effective().unwrap();
        assert_eq!((tree.int("serial.baud"), tree.get("gap")), (2000, Some(&json!(5.0))));
        assert!(fs::read_to_string(store.file()).unwrap().starts_with("# kept\n"));
        assert_eq!(fs::read_dir(store.file().parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_no_obstacle() {
        let (_dir, store) = store();
        fs::write(store.file().with_file_name(".bridge.toml.new"), "half a fi").unwrap();
        store.set("profile", &json!("lab"), None, None).unwrap();
        assert_eq!(store.effective().unwrap().text("profile"), "lab");
    }
}
