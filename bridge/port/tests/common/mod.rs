//! What the tests of real lines share: an application at the far end of a virtual port, and waiting for things
//! to happen with a deadline instead of sleeping.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hilrig_port::{Events, Happened, LinkSnapshot, OpenPort, PortStats, PortUrl, Runtime, Shard};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A runtime directory of its own for each test.
pub fn runtime() -> (tempfile::TempDir, Runtime) {
    let tmp = tempfile::tempdir().unwrap();
    let runtime = Runtime::at(tmp.path().to_owned()).unwrap();
    (tmp, runtime)
}

pub fn open(url: &str, runtime: &Runtime) -> OpenPort {
    OpenPort::open(&url.parse::<PortUrl>().unwrap(), runtime, &|| false).unwrap_or_else(|e| panic!("{e}"))
}

/// Opens `pty:NAME`; answers the path of its far end and its counters too.
pub fn open_pty(name: &str, runtime: &Runtime) -> (OpenPort, PathBuf, Arc<PortStats>) {
    let port = open(&format!("pty:{name}"), runtime);
    let (far, stats) = (port.far_end().unwrap().to_owned(), port.stats());
    (port, far, stats)
}

/// Waits until `done`; `what` is said if it never is.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Each byte is somewhere.
#[track_caller]
pub fn adds_up(link: &LinkSnapshot) {
    for d in &link.directions {
        let gone = d.bytes_out + d.fault_bytes + d.discarded_bytes + d.pending;
        assert_eq!(d.bytes_in + d.inserted_bytes, gone, "{d:?}");
    }
}

/// Waits for the event that `wanted` takes something from.
pub fn event<R>(events: &mut Events, wanted: impl Fn(usize, Happened) -> Option<R>) -> R {
    let until = Instant::now() + PATIENCE;
    loop {
        let event = events.wait(until.saturating_duration_since(Instant::now()));
        let event = event.expect("the event never came");
        if let Some(found) = wanted(event.side, event.what) {
            return found;
        }
    }
}

/// The shard sleeps: a busy loop would never let two looks see the same time used.
pub fn sleeps(shard: &Shard) {
    let used =
        || std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", shard.thread_id())).unwrap();
    wait_until("the shard sleeps", || {
        let before = used();
        std::thread::sleep(Duration::from_millis(20));
        used() == before
    });
}

/// An application that has a port open.
pub struct App(pub File);

impl App {
    /// Opens as programs do: raw, 19200 baud.
    pub fn open(path: &Path) -> Self {
        let app = Self::open_as_is(path);
        app.set(|t| {
            t.make_raw();
            t.set_speed(19_200).unwrap();
        });
        app
    }

    pub fn open_as_is(path: &Path) -> Self {
        let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
        Self(OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path).unwrap())
    }

    pub fn set(&self, change: impl FnOnce(&mut Termios)) {
        let mut termios = tcgetattr(&self.0).unwrap();
        change(&mut termios);
        tcsetattr(&self.0, OptionalActions::Now, &termios).unwrap();
    }

    /// Writes all of it, waiting as long as the line is stalled.
    pub fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match (&self.0).write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT),
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Writes what the line takes now.
    pub fn write_some(&self, bytes: &[u8]) -> usize {
        match (&self.0).write(bytes) {
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(e) => panic!("{e}"),
        }
    }

    /// Reads exactly `n` bytes.
    pub fn read(&self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        let mut got = 0;
        while got < n {
            match (&self.0).read(&mut bytes[got..]) {
                Ok(0) => panic!("end of file after {got} of {n} bytes"),
                Ok(more) => got += more,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => self.wait(PollFlags::IN),
                Err(e) => panic!("{e}"),
            }
        }
        bytes
    }

    /// What is there now.
    pub fn read_some(&self) -> Vec<u8> {
        let mut bytes = vec![0; 65536];
        match (&self.0).read(&mut bytes) {
            Ok(n) => bytes.truncate(n),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => bytes.clear(),
            Err(e) => panic!("{e}"),
        }
        bytes
    }

    pub fn wait(&self, flags: PollFlags) {
        let mut fds = [PollFd::new(&self.0, flags)];
        let patience = rustix::time::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        assert_ne!(poll(&mut fds, Some(&patience)).unwrap(), 0, "the line never became ready for {flags:?}");
    }
}

/// Bytes that show where one is missing, doubled or swapped.
pub fn pattern(n: usize, seed: u32) -> Vec<u8> {
    let mut x = seed | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x as u8
        })
        .collect()
}
