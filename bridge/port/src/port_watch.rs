//! Says when a port may have come or gone, so that a lost one is reopened at once and without polling. Watches
//! folders with inotify; opens no port and does not know which one is waited for.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

/// A node or a name may come, go or change its permissions (udev makes a node first and hands it out later).
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Watches /dev and the folders of names below /dev/serial.
#[derive(Debug)]
pub struct PortWatch {
    inotify: OwnedFd,
    folders: Vec<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    watch: Option<i32>,
    /// Only what is called so matters here; empty for everything.
    prefixes: &'static [&'static str],
}

impl PortWatch {
    pub fn new() -> io::Result<Self> {
        Self::below(Path::new("/dev"))
    }

    /// The same below another folder than /dev, for tests.
    fn below(dev: &Path) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let mut watch = Self { inotify, folders: Vec::new() };
        // In /dev much comes and goes that is no port. Permissions of terminals change there at each login.
        watch.add(dev.to_owned(), &["tty", "serial", "rfcomm"]);
        for name in ["serial", "serial/by-id", "serial/by-path"] {
            watch.add(dev.join(name), &[]);
        }
        watch.renew();
        Ok(watch)
    }

    /// Watches one more folder, such as the one where another program makes its virtual ports, or all of /dev, where
    /// rules of udev may have given a port any name.
    pub fn also(&mut self, folder: &Path) {
        // The kernel has one watch a folder.
        match self.folders.iter_mut().find(|f| f.path == folder) {
            Some(known) => known.prefixes = &[],
            None => self.add(folder.to_owned(), &[]),
        }
        self.renew();
    }

    fn add(&mut self, path: PathBuf, prefixes: &'static [&'static str]) {
        self.folders.push(Folder { path, watch: None, prefixes });
    }

    /// Waits until something has changed since the last call, at most so long. `true`: look again.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        loop {
            if self.changed() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                // Cannot happen with a descriptor of our own; looking again is never wrong.
                Err(_) => return true,
            }
        }
    }

    /// Reads what the kernel has to say, without waiting.
    fn changed(&mut self) -> bool {
        let mut changed = false;
        let mut folders = false;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        // Ends with EAGAIN when nothing more is there.
        while let Ok(event) = reader.next() {
            let what = event.events();
            if what.intersects(ReadFlags::QUEUE_OVERFLOW) {
                (changed, folders) = (true, true);
                continue;
            }
            let Some(folder) = self.folders.iter_mut().find(|f| f.watch == Some(event.wd())) else {
                continue;
            };
            if what.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
                folder.watch = None;
                folders = true;
            }
            let name = event.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
            folders |= what.contains(ReadFlags::ISDIR);
            changed |= folder.prefixes.is_empty() || folder.prefixes.iter().any(|p| name.starts_with(p));
        }
        if folders {
            changed |= self.renew();
        }
        changed
    }

    /// Begins to watch folders that have come meanwhile; `true` if one has, for what is in it came unseen.
    fn renew(&mut self) -> bool {
        let mut new = false;
        for folder in &mut self.folders {
            if folder.watch.is_none() {
                folder.watch = inotify::add_watch(&self.inotify, &folder.path, CHANGES).ok();
                new |= folder.watch.is_some();
            }
        }
        new
    }
}

/// Readable when `wait` would not wait.
impl AsFd for PortWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const SOON: Duration = Duration::from_secs(10);
    const NOW: Duration = Duration::ZERO;

    #[test]
    fn what_looks_like_a_port_is_noticed_and_nothing_else() {
        let dev = tempfile::tempdir().unwrap();
        let mut watch = PortWatch::below(dev.path()).unwrap();
        fs::write(dev.path().join("sda1"), "").unwrap();
        assert!(!watch.wait(NOW));
        let node = dev.path().join("ttyUSB0");
        fs::write(&node, "").unwrap();
        assert!(watch.wait(SOON));
        assert!(!watch.wait(NOW));
        fs::set_permissions(&node, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(watch.wait(SOON), "udev hands the node out");
        fs::remove_file(&node).unwrap();
        assert!(watch.wait(SOON));
    }

    #[test]
    fn folders_of_names_may_come_go_and_come_again() {
        let dev = tempfile::tempdir().unwrap();
        let mut watch = PortWatch::below(dev.path()).unwrap();
        let by_id = dev.path().join("serial/by-id");
        for _ in 0..3 {
            // With the last adapter udev removes the folders, too.
            fs::create_dir_all(&by_id).unwrap();
            while watch.wait(NOW) {}
            std::os::unix::fs::symlink("../../ttyUSB0", by_id.join("usb-FTDI")).unwrap();
            assert!(watch.wait(SOON));
            fs::remove_dir_all(dev.path().join("serial")).unwrap();
            assert!(watch.wait(SOON));
            while watch.wait(NOW) {}
        }
    }

    #[test]
    fn a_wait_ends_when_something_comes_from_elsewhere() {
        let dev = tempfile::tempdir().unwrap();
        let extra = tempfile::tempdir().unwrap();
        let mut watch = PortWatch::below(dev.path()).unwrap();
        watch.also(extra.path());
        watch.also(extra.path());
        let name = extra.path().join("plc");
        let writer = std::thread::spawn(move || fs::write(name, "").unwrap());
        assert!(watch.wait(SOON));
        writer.join().unwrap();
        while watch.wait(NOW) {}
        watch.also(dev.path());
        std::os::unix::fs::symlink("ttyUSB0", dev.path().join("plc")).unwrap();
        assert!(watch.wait(SOON), "a name of udev's making");
    }
}
