//! The runtime directory, where virtual ports and sockets have their names, and the locks that say whose they
//! are. A lock belongs to its process and dies with it, so what a killed process left behind can be told apart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::PortError;

/// Where `Runtime::from_env` looks, whether or not it is there.
pub(crate) fn dir_from_env() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    Some(
        set("HILRIG_RUNTIME_DIR")
            .or_else(|| set("XDG_RUNTIME_DIR").map(|d| d.join("hilrig")))
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/hilrig-{}", rustix::process::getuid().as_raw()))),
    )
    .filter(|dir| dir.is_absolute())
}

/// A directory of this user alone that holds the names of virtual ports, sockets and locks.
#[derive(Debug, Clone)]
pub struct Runtime {
    dir: PathBuf,
}

impl Runtime {
    /// `$HILRIG_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/hilrig`, else `/tmp/hilrig-<uid>`.
    pub fn from_env() -> Result<Self, PortError> {
        let dir = dir_from_env().ok_or_else(|| PortError::Runtime {
            path: PathBuf::from("."),
            reason: "is not an absolute path".into(),
        })?;
        Self::at(dir)
    }

    /// Makes the directory if it is missing; refuses one that others could write to.
    pub fn at(dir: PathBuf) -> Result<Self, PortError> {
        let fail = |reason: String| PortError::Runtime { path: dir.clone(), reason };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|e| fail(format!("cannot be made: {e}")))?;
        let meta = fs::symlink_metadata(&dir).map_err(|e| fail(format!("cannot be read: {e}")))?;
        if !meta.is_dir() {
            return Err(fail("is not a directory".into()));
        }
        let me = rustix::process::getuid().as_raw();
        if meta.uid() != me {
            return Err(fail(format!("belongs to another user (uid {}, this is uid {me})", meta.uid())));
        }
        // Refused, not closed: it may be a directory with another purpose, such as /tmp itself.
        if meta.mode() & 0o022 != 0 {
            return Err(fail("can be written to by other users".into()));
        }
        Ok(Self { dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes links and sockets whose owner process is dead; answers what it removed.
    pub fn sweep(&self) -> Vec<PathBuf> {
        let mut removed = Vec::new();
        sweep_dir(&self.dir, 0, &mut removed);
        crate::line::shim::sweep(&self.dir);
        removed
    }
}

fn sweep_dir(dir: &Path, depth: u32, removed: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let kind = meta.file_type();
        if kind.is_dir() {
            if depth < 2 {
                sweep_dir(&path, depth + 1, removed);
            }
        } else if path.extension().is_some_and(|e| e == "lock") {
            let target = path.with_extension("");
            let owned = fs::symlink_metadata(&target).is_ok_and(|m| is_ours(&m.file_type(), &target));
            // The lock goes when it is dropped here; a live owner's stays.
            if let Ok(_lock) = LockFile::take_over(&path)
                && owned
                && fs::remove_file(&target).is_ok()
            {
                removed.push(target);
            }
        } else if is_ours(&kind, &path)
            && !lock_beside(&path).exists()
            && is_dead(&kind, &path, &meta)
            && fs::remove_file(&path).is_ok()
        {
            removed.push(path);
        }
    }
}

/// Links to pseudo terminals and sockets are what hilrig leaves; nothing else is ever removed.
fn is_ours(kind: &fs::FileType, path: &Path) -> bool {
    kind.is_socket() || kind.is_symlink() && fs::read_link(path).is_ok_and(|to| to.starts_with("/dev/pts"))
}

fn is_dead(kind: &fs::FileType, path: &Path, meta: &fs::Metadata) -> bool {
    if kind.is_symlink() {
        return !path.exists();
    }
    // A socket just bound and not yet listening refuses too, so a fresh one is left alone.
    let fresh =
        meta.modified().ok().and_then(|t| t.elapsed().ok()).is_none_or(|age| age < Duration::from_secs(2));
    !fresh && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// The lock that stands beside a link or socket.
pub(crate) fn lock_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Who holds a lock that could not be had, or why it could not be tried.
#[derive(Debug)]
pub struct Held {
    pub pid: Option<u32>,
    pub purpose: String,
    pub error: Option<io::Error>,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.error, self.pid) {
            (Some(e), _) => write!(f, "the lock cannot be taken: {e}"),
            (None, Some(pid)) if self.purpose.is_empty() => write!(f, "process {pid}"),
            (None, Some(pid)) => write!(f, "process {pid} ({})", self.purpose),
            (None, None) => write!(f, "another process"),
        }
    }
}

impl std::error::Error for Held {}

/// A file that is locked while its process lives: released by the kernel when it is killed, removed on drop.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    _file: File,
}

impl LockFile {
    /// Takes the lock at `path` and writes `pid purpose` into it.
    pub fn acquire(path: &Path, purpose: &str) -> Result<Self, Held> {
        let lock = Self::take_over(path)?;
        let text = format!("{} {purpose}\n", std::process::id());
        let mut file = &lock._file;
        let written = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(|e| Held { pid: None, purpose: String::new(), error: Some(e) })?;
        Ok(lock)
    }

    fn take_over(path: &Path) -> Result<Self, Held> {
        let failed = |e: io::Error| Held { pid: None, purpose: String::new(), error: Some(e) };
        let patience = Instant::now() + PARTING;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
                .open(path)
                .map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let held = holder(file);
                    if !held.pid.is_some_and(is_ending) || Instant::now() > patience {
                        return Err(held);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                Err(e) => return Err(failed(e.into())),
            }
            // The owner before us may have removed the file between our open and our lock.
            let same = match (file.metadata(), fs::symlink_metadata(path)) {
                (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
                _ => false,
            };
            if same {
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The name at `path` is of a virtual port whose program was killed. What it leads to may be somebody else's terminal
/// by now.
pub(crate) fn is_left_behind(path: &Path) -> bool {
    let (Ok(link), Ok(lock)) = (fs::symlink_metadata(path), File::open(lock_beside(path))) else {
        return false;
    };
    let made = |meta: fs::Metadata| meta.modified().ok();
    let Some((link, locked)) =
        Some(link).filter(fs::Metadata::is_symlink).and_then(made).zip(lock.metadata().ok().and_then(made))
    else {
        return false;
    };
    // A program that takes the name over locks it first and makes its own link then.
    let owner = holder(lock).pid.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
    let dead = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
    link < locked || owner.is_some_and(dead)
}

/// Whether the terminal of this number, open already, is that of the program whose name `path` is. Numbers are given
/// out again as soon as they are free, so the name alone does not tell.
pub(crate) fn is_owned(path: &Path, terminal: u32) -> bool {
    let lock = match File::open(lock_beside(path)) {
        Ok(lock) if fs::symlink_metadata(path).is_ok_and(|link| link.is_symlink()) => lock,
        _ => return true,
    };
    let Some(pid) = holder(lock).pid else { return false };
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return !is_left_behind(path) };
    // One line of a master says whose other end it is.
    let infos: Vec<String> = entries.flatten().filter_map(|e| fs::read_to_string(e.path()).ok()).collect();
    let lines = || infos.iter().flat_map(|info| info.lines());
    let masters: Vec<&str> = lines().filter_map(|line| line.strip_prefix("tty-index:")).collect();
    // Without descriptors it is ending; with some and no such line this kernel does not tell.
    let untold = masters.is_empty() && !infos.is_empty();
    (untold && !is_left_behind(path)) || masters.iter().any(|n| n.trim().parse() == Ok(terminal))
}

/// How long a lock of a process that is ending is waited for.
const PARTING: Duration = Duration::from_secs(2);

/// Whether a process has ended, or has been killed and gives up its memory before its files and their locks.
fn is_ending(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |text| text.is_empty())
}

fn holder(mut file: File) -> Held {
    let mut text = String::new();
    let _ = Read::by_ref(&mut file).take(4096).read_to_string(&mut text);
    let (pid, purpose) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    Held { pid: pid.parse().ok(), purpose: purpose.to_owned(), error: None }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> (tempfile::TempDir, Runtime) {
        let tmp = tempfile::tempdir().unwrap();
        let runtime = Runtime::at(tmp.path().join("run")).unwrap();
        (tmp, runtime)
    }

    #[test]
    fn the_directory_is_private() {
        let (tmp, runtime) = runtime();
        assert_eq!(fs::metadata(runtime.dir()).unwrap().mode() & 0o777, 0o700);
        let open = tmp.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        let refused = Runtime::at(open.clone()).unwrap_err().to_string();
        assert!(refused.contains("can be written to by other users; set HILRIG_RUNTIME_DIR"), "{refused}");
        assert_eq!(fs::metadata(open).unwrap().mode() & 0o1777, 0o1777);
        let link = tmp.path().join("link");
        std::os::unix::fs::symlink(runtime.dir(), &link).unwrap();
        assert!(Runtime::at(link).unwrap_err().to_string().contains("is not a directory"));
    }

    #[test]
    fn a_held_lock_says_who_holds_it() {
        let (_tmp, runtime) = runtime();
        let path = runtime.dir().join("x.lock");
        let lock = LockFile::acquire(&path, "pair x").unwrap();
        let held = LockFile::acquire(&path, "other").unwrap_err();
        assert_eq!((held.pid, held.purpose.as_str()), (Some(std::process::id()), "pair x"));
        drop(lock);
        assert!(!path.exists());
        drop(LockFile::acquire(&path, "again").unwrap());
    }

    #[test]
    fn a_name_whose_program_was_killed_is_left_behind() {
        let (_tmp, runtime) = runtime();
        let path = runtime.dir().join("x");
        let link = || std::os::unix::fs::symlink("/dev/pts/999999", &path).unwrap();
        link();
        assert!(!is_left_behind(&path), "no lock: not ours");
        fs::remove_file(&path).unwrap();
        let lock = LockFile::acquire(&lock_beside(&path), "pair x").unwrap();
        assert!(!is_left_behind(&path), "there is no such name");
        link();
        assert!(!is_left_behind(&path));
        // As a killed program leaves it; no process has this number.
        fs::write(lock_beside(&path), "2147483646 pair x\n").unwrap();
        assert!(is_left_behind(&path));
        // Another program has taken the name over, and has not made its own link yet.
        let me = format!("{} pair x\n", std::process::id());
        fs::write(lock_beside(&path), me).unwrap();
        let later = std::time::SystemTime::now() + Duration::from_secs(1);
        File::options().write(true).open(lock_beside(&path)).unwrap().set_modified(later).unwrap();
        assert!(is_left_behind(&path));
        drop(lock);
    }

    #[test]
    fn a_terminal_is_owned_by_the_program_that_has_its_other_end() {
        let (_tmp, runtime) = runtime();
        let path = runtime.dir().join("x");
        let open = || {
            let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
            let name = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
            let number = name.rsplit('/').next().unwrap().parse::<u32>().unwrap();
            (master, name, number)
        };
        let (master, name, number) = open();
        std::os::unix::fs::symlink(name, &path).unwrap();
        assert!(is_owned(&path, number), "no lock: not ours to judge");
        let lock = LockFile::acquire(&lock_beside(&path), "pair x").unwrap();
        assert!(is_owned(&path, number));
        assert!(!is_owned(&path, number + 100_000), "of somebody else");
        drop((master, lock));
    }

    #[test]
    fn sweep_removes_what_the_dead_left_and_nothing_else() {
        let (_tmp, runtime) = runtime();
        let at = |name: &str| runtime.dir().join(name);
        let link = |name: &str, to: &str| std::os::unix::fs::symlink(to, at(name)).unwrap();
        link("dead", "/dev/pts/999999");
        fs::write(at("dead.lock"), "1 gone\n").unwrap();
        link("dangling", "/dev/pts/999998");
        link("live", "/dev/pts/999997");
        let lock = LockFile::acquire(&at("live.lock"), "live").unwrap();
        link("foreign", "/etc/hostname");
        fs::write(at("notes.txt"), "mine").unwrap();
        fs::create_dir(at("root-1")).unwrap();
        let listening = std::os::unix::net::UnixListener::bind(at("root-1/up.sock")).unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(60);
        for name in ["root-1/up.sock", "root-1/down.sock"] {
            if name.contains("down") {
                drop(std::os::unix::net::UnixListener::bind(at(name)).unwrap());
            }
            let to = rustix::fs::Timestamps { last_access: spec(old), last_modification: spec(old) };
            rustix::fs::utimensat(rustix::fs::CWD, at(name), &to, rustix::fs::AtFlags::empty()).unwrap();
        }
        drop(std::os::unix::net::UnixListener::bind(at("fresh.sock")).unwrap());
        let mut removed = runtime.sweep();
        removed.sort();
        assert_eq!(removed, [at("dangling"), at("dead"), at("root-1/down.sock")]);
        assert!(!at("dead.lock").exists());
        for name in ["live", "live.lock", "foreign", "fresh.sock", "notes.txt", "root-1/up.sock"] {
            assert!(fs::symlink_metadata(at(name)).is_ok(), "{name}");
        }
        drop((lock, listening));
    }

    fn spec(t: std::time::SystemTime) -> rustix::fs::Timespec {
        let d = t.duration_since(std::time::UNIX_EPOCH).unwrap();
        rustix::fs::Timespec { tv_sec: d.as_secs() as i64, tv_nsec: 0 }
    }
}
