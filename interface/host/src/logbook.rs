//! The log files of a root: one UTF-8 line file per app, appended by several processes, rotated by size. For the
//! control plane only; a shard never logs.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hilrig_contract::{ContractError, Topic};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};

use crate::events::lock;
use crate::{Bus, LogTail, Root};

/// A log longer than this is put aside at the next line.
const ROTATE_AT: u64 = 4 << 20;
/// Logs put aside per app: `.1` is the youngest.
const KEPT: usize = 3;
/// Longest line, in bytes: what known consoles read.
const MAX_LINE: usize = 4096 - 1;
/// Most bytes that one `log.tail` reads.
const MAX_TAIL: u64 = 512 << 10;
/// The log of what belongs to no app.
const OWN_LOG: &str = "hilrig";

/// The log files of a root.
#[derive(Debug)]
pub struct Logbook {
    root: Root,
    bus: Arc<Bus>,
    rotate_at: u64,
    files: Mutex<HashMap<String, Appender>>,
}

#[derive(Debug)]
struct Appender {
    file: File,
    inode: u64,
}

impl Logbook {
    pub fn new(root: &Root, bus: Arc<Bus>) -> Arc<Self> {
        Arc::new(Self { root: root.clone(), bus, rotate_at: ROTATE_AT, files: Mutex::default() })
    }

    /// Appends one line to the app's log and publishes it as a `log` event. `level` is INFO, WARN, ... A log that
    /// cannot be written is no reason to fail: the event still goes out.
    pub fn write(&self, app_id: &str, level: &str, text: &str) {
        let text = escaped(text);
        let ts = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let _ = self.append(app_id, &format!("{ts} {level:<5} {text}"));
        if app_id != OWN_LOG {
            let more = [("level", level.to_owned()), ("line", text), ("time", ts)];
            let more: Map<_, _> = more.into_iter().map(|(k, v)| (k.to_owned(), Value::String(v))).collect();
            self.bus.publish(Topic::Log, app_id, more);
        }
    }

    /// Whole lines by O_APPEND, so that several processes write one file. A process that has the file open while
    /// another one puts it aside notices by the inode.
    fn append(&self, app_id: &str, line: &str) -> io::Result<()> {
        let path = self.root.log_file(app_id);
        let mut line = line[..floor(line, MAX_LINE)].to_owned();
        line.push('\n');
        let mut files = lock(&self.files);
        let meta = fs::metadata(&path).ok();
        let inode = meta.as_ref().map(MetadataExt::ino);
        if meta.as_ref().is_some_and(|m| m.len() + line.len() as u64 > self.rotate_at) {
            files.remove(app_id);
            self.rotate(&path)?;
        } else if files.get(app_id).is_some_and(|open| Some(open.inode) != inode) {
            files.remove(app_id);
        }
        if !files.contains_key(app_id) {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let inode = file.metadata()?.ino();
            files.insert(app_id.to_owned(), Appender { file, inode });
        }
        match files.get_mut(app_id) {
            Some(open) => open.file.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }

    fn rotate(&self, path: &Path) -> io::Result<()> {
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root.dir().join("state").join("log.lock"))?;
        lock.lock()?;
        // Another process may have been first.
        if fs::metadata(path).is_ok_and(|m| m.len() + MAX_LINE as u64 > self.rotate_at) {
            for n in (1..KEPT).rev() {
                let _ = fs::rename(aside(path, n), aside(path, n + 1));
            }
            fs::rename(path, aside(path, 1))?;
        }
        Ok(())
    }

    /// What `log.tail` answers: the last lines, or with a cursor the first ones after it. A log that is not there yet
    /// is an empty one.
    ///
    /// # Errors
    /// The file cannot be read, or the cursor is not one of ours.
    pub fn tail(&self, app_id: &str, lines: usize, cursor: Option<&str>) -> Result<LogTail, ContractError> {
        let path = self.root.log_file(app_id);
        let failed =
            |e: io::Error| ContractError::internal(format!("{} cannot be read: {e}", path.display()));
        let (lines, cursor) = match cursor {
            None => last_lines(&path, lines).map_err(failed)?,
            Some(cursor) => {
                let at = cursor.split_once('-').and_then(|(i, o)| Some((i.parse().ok()?, o.parse().ok()?)));
                let Some((inode, offset)) = at else {
                    return Err(ContractError::bad_param(
                        "cursor",
                        "params.cursor is none that log.tail gave",
                    ));
                };
                lines_after(&path, lines, inode, offset).map_err(failed)?
            }
        };
        Ok(LogTail { path: path.to_string_lossy().into_owned(), lines, cursor })
    }
}

fn aside(path: &Path, n: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// A message is one line whatever it holds.
fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push('\t'),
            c if c.is_control() => {
                let _ = write!(line, "\\x{:02x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

/// The longest prefix of at most `limit` bytes that ends at a character.
fn floor(text: &str, limit: usize) -> usize {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// A stretch of a file: whole lines, and the offset after the last of them.
fn read_lines(file: &mut File, from: u64, to: u64) -> io::Result<(Vec<String>, u64)> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![];
    file.take(to.saturating_sub(from)).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&bytes[..whole]);
    Ok((text.lines().map(str::to_owned).collect(), from + whole as u64))
}

fn cursor(inode: u64, offset: u64) -> String {
    format!("{inode}-{offset}")
}

/// The end of the log; if it is younger than a rotation, the end of the one before in front of it.
fn last_lines(path: &Path, count: usize) -> io::Result<(Vec<String>, String)> {
    let mut lines = vec![];
    let mut end = cursor(0, 0);
    for path in [path.to_owned(), aside(path, 1)] {
        if lines.len() >= count {
            break;
        }
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let meta = file.metadata()?;
        // One byte earlier, so that a line that starts right there is seen as a whole one.
        let from = meta.len().saturating_sub(MAX_TAIL);
        let (mut older, after) = read_lines(&mut file, from, meta.len())?;
        if from > 0 && !older.is_empty() {
            older.remove(0);
        }
        if end == cursor(0, 0) {
            end = cursor(meta.ino(), after);
        }
        older.append(&mut lines);
        lines = older;
    }
    Ok((lines.split_off(lines.len().saturating_sub(count)), end))
}

/// What follows a cursor, through rotations as far as they are kept. A cursor whose file is gone starts at the oldest.
fn lines_after(path: &Path, count: usize, inode: u64, offset: u64) -> io::Result<(Vec<String>, String)> {
    let mut files = vec![];
    for path in (1..=KEPT).rev().map(|n| aside(path, n)).chain([path.to_owned()]) {
        if let Ok(file) = File::open(path) {
            let meta = file.metadata()?;
            files.push((file, meta.ino(), meta.len()));
        }
    }
    let first = files.iter().position(|(_, ino, _)| *ino == inode);
    let (mut lines, mut end) = (vec![], cursor(inode, offset));
    for (file, ino, len) in files.iter_mut().skip(first.unwrap_or(0)) {
        let from = if *ino == inode && offset <= *len { offset } else { 0 };
        let to = (*len).min(from + MAX_TAIL);
        let (more, mut after) = read_lines(file, from, to)?;
        let room = count - lines.len();
        if more.len() > room {
            after = from + more[..room].iter().map(|l| l.len() as u64 + 1).sum::<u64>();
        }
        let stop = more.len() >= room || to < *len;
        lines.extend(more.into_iter().take(room));
        end = cursor(*ino, after);
        if stop {
            break;
        }
    }
    Ok((lines, end))
}

/// Routes `tracing` events with a field `app` to that app's log, all others to `logs/hilrig.log`.
#[derive(Debug)]
pub struct LogLayer(pub Arc<Logbook>);

#[derive(Default)]
struct Fields {
    app: Option<String>,
    message: String,
    others: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        let _ = match field.name() {
            "app" => {
                self.app = Some(value.to_string());
                Ok(())
            }
            "message" => write!(self.message, "{value}"),
            name => write!(self.others, " {name}={value}"),
        };
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

impl<S: tracing::Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let app = fields.app.as_deref().filter(|app| is_file_name(app)).unwrap_or(OWN_LOG);
        let text = format!("{}{}", fields.message, fields.others);
        self.0.write(app, event.metadata().level().as_str(), &text);
    }
}

fn is_file_name(app: &str) -> bool {
    !app.is_empty()
        && !app.starts_with('.')
        && app.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn book(rotate_at: u64) -> (tempfile::TempDir, Logbook) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::create_in(&dir.path().join("root"), &dir.path().join("run")).unwrap();
        (dir, Logbook { root, bus: Bus::new(), rotate_at, files: Mutex::default() })
    }

    fn text(line: &str) -> &str {
        line.splitn(3, ' ').nth(2).unwrap().trim_start()
    }

    #[test]
    fn every_message_is_one_line_and_an_event() {
        let (_dir, book) = book(ROTATE_AT);
        let events = book.bus.subscriber();
        events.add(Topic::Log, None);
        book.write("bridge", "INFO", "a\nb\r\tc\u{1b}[0m\n");
        book.write("bridge", "WARN", &"ü".repeat(10_000));
        let tail = book.tail("bridge", 10, None).unwrap();
        assert_eq!(tail.lines.len(), 2);
        assert_eq!(text(&tail.lines[0]), "a\\nb\\r\tc\\x1b[0m");
        assert!(tail.lines[1].len() <= MAX_LINE && tail.lines[1].ends_with('ü'));
        let event = events.try_next().unwrap();
        assert_eq!((event.app_id(), &event.more()["line"]), ("bridge", &"a\\nb\\r\tc\\x1b[0m".into()));
        assert_eq!(event.more()["level"], "INFO");
    }

    #[test]
    fn tail_gives_the_end_and_reads_on_through_rotations() {
        let (_dir, book) = book(20_000);
        assert_eq!(book.tail("bridge", 10, None).unwrap().lines, Vec::<String>::new());
        let mut cursor = book.tail("bridge", 10, None).unwrap().cursor;
        let mut seen = vec![];
        for n in 0..1500 {
            book.write("bridge", "INFO", &n.to_string());
            let reads = if n % 100 == 99 { 20 } else { 0 };
            for _ in 0..reads {
                let tail = book.tail("bridge", 7, Some(&cursor)).unwrap();
                assert!(tail.lines.len() <= 7);
                cursor = tail.cursor;
                if tail.lines.is_empty() {
                    break;
                }
                seen.extend(tail.lines.iter().map(|l| text(l).parse::<u32>().unwrap()));
            }
        }
        assert_eq!(seen, (0..1500).collect::<Vec<_>>());
        let log = book.root.log_file("bridge");
        assert!(aside(&log, 2).exists() && fs::metadata(&log).unwrap().len() <= 20_000);
        let last: Vec<u32> =
            book.tail("bridge", 300, None).unwrap().lines.iter().map(|l| text(l).parse().unwrap()).collect();
        assert_eq!(last, (1200..1500).collect::<Vec<_>>());
        assert!(book.tail("bridge", 7, Some("x")).is_err());
        assert!(
            !book.tail("bridge", 7, Some("1-999999999")).unwrap().lines.is_empty(),
            "gone: from the oldest"
        );
    }

    /// Two processes are two logbooks: no line is lost or cut while both write and rotate.
    #[test]
    fn several_writers_share_a_log() {
        let (_dir, one) = book(200_000);
        let two =
            Logbook { root: one.root.clone(), bus: Bus::new(), rotate_at: 200_000, files: Mutex::default() };
        std::thread::scope(|scope| {
            for (name, book) in [("one", &one), ("two", &two)] {
                scope.spawn(move || {
                    (0..4000).for_each(|n| book.write("bridge", "INFO", &format!("{name} {n}")))
                });
            }
        });
        let log = one.root.log_file("bridge");
        let all: String = (1..=KEPT)
            .rev()
            .map(|n| aside(&log, n))
            .chain([log.clone()])
            .filter_map(|path| fs::read_to_string(path).ok())
            .collect();
        for name in ["one", "two"] {
            let numbers: Vec<u32> =
                all.lines().filter_map(|l| text(l).strip_prefix(name)?.trim().parse().ok()).collect();
            assert_eq!(numbers, (0..4000).collect::<Vec<_>>());
        }
        assert!(aside(&log, 1).exists());
    }

    #[test]
    fn tracing_events_find_their_log() {
        let (_dir, book) = book(ROTATE_AT);
        let book = Arc::new(book);
        let subscriber = tracing_subscriber::registry().with(LogLayer(Arc::clone(&book)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(app = "bridge", port = 5, "opened {}", "x");
            tracing::warn!(app = "../x", "elsewhere");
            tracing::error!("of nobody");
        });
        assert_eq!(text(&book.tail("bridge", 5, None).unwrap().lines[0]), "opened x port=5");
        let own: Vec<String> = book.tail(OWN_LOG, 5, None).unwrap().lines;
        assert_eq!([text(&own[0]), text(&own[1])], ["elsewhere", "of nobody"]);
    }
}
