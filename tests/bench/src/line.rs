//! The two ends the bench talks through: raw PTY masters or given serial ports, pings and floods with content checked.
//! It does not know which program bridges them.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, Timespec};
use rustix::io::{Errno, read, write};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};

use crate::Failure;
use crate::child::Group;

/// One end of the line under test and the path of the port the bridge program opens.
#[derive(Debug)]
pub struct End {
    fd: OwnedFd,
    /// The slave of a PTY, held open so that the master never reads EIO between two bridge programs.
    keeper: Option<OwnedFd>,
    pub port: PathBuf,
}

impl End {
    /// A raw PTY pair of our own.
    pub fn pty() -> Result<Self, Failure> {
        let fd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&fd)?;
        unlockpt(&fd)?;
        let port = PathBuf::from(ptsname(&fd, Vec::new())?.to_string_lossy().into_owned());
        rustix::fs::fcntl_setfl(&fd, OFlags::RDWR | OFlags::NONBLOCK)?;
        let keeper = open_raw(&port, None)?;
        Ok(Self { fd, keeper: Some(keeper), port })
    }

    /// A given port for the bridge program and the port wired to it for us.
    pub fn given(port: &Path, far: &Path, baud: u32) -> Result<Self, Failure> {
        Ok(Self { fd: open_raw(far, Some(baud))?, keeper: None, port: port.to_owned() })
    }

    /// Takes everything that is there; answers how many bytes that was.
    pub fn drain(&self) -> Result<u64, Failure> {
        let mut buffer = [0; 1024];
        let mut all = 0;
        loop {
            match read(&self.fd, &mut buffer) {
                Ok(n @ 1..) => all += n as u64,
                Ok(0) | Err(Errno::AGAIN) => return Ok(all),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what the port takes at once; answers how many bytes that was.
    pub fn put(&self, bytes: &[u8]) -> Result<u64, Failure> {
        match write(&self.fd, bytes) {
            Err(Errno::AGAIN) => Ok(0),
            answer => Ok(answer? as u64),
        }
    }

    /// Sends a request and reads a reply as long as `reply`; answers the time from before the write to after the last byte.
    pub fn ask(&self, request: &[u8], reply: &mut [u8], patience: Duration) -> Result<Duration, Failure> {
        let start = Instant::now();
        if write(&self.fd, request)? != request.len() {
            return Err(Failure::Missing("the port does not take one request at once".to_owned()));
        }
        let mut have = 0;
        while have < reply.len() {
            if !wait(&mut [PollFd::new(&self.fd, PollFlags::IN)], patience)? {
                return Err(Failure::Wrong(format!("{have} of {} bytes of a reply came", reply.len())));
            }
            match read(&self.fd, &mut reply[have..]) {
                Err(Errno::AGAIN) => {}
                answer => have += answer?,
            }
        }
        Ok(start.elapsed())
    }

    /// Forgets what is under way and what the last program left on the port (an exclusive lock outlives it on a held PTY).
    pub fn clear(&self) -> Result<(), Failure> {
        let _ = tcflush(&self.fd, QueueSelector::IOFlush);
        if let Some(keeper) = &self.keeper {
            let _ = rustix::termios::ioctl_tiocnxcl(keeper);
            tcflush(keeper, QueueSelector::IOFlush)?;
        }
        let mut buffer = [0; 4096];
        while matches!(read(&self.fd, &mut buffer), Ok(1..)) {}
        Ok(())
    }
}

fn open_raw(path: &Path, baud: Option<u32>) -> Result<OwnedFd, Failure> {
    let named = |error: Errno| Failure::Missing(format!("{}: {error}", path.display()));
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(named)?;
    let mut termios = tcgetattr(&fd).map_err(named)?;
    termios.make_raw();
    if let Some(baud) = baud {
        termios.set_speed(baud).map_err(named)?;
    }
    tcsetattr(&fd, OptionalActions::Now, &termios).map_err(named)?;
    Ok(fd)
}

/// Waits for an event on the ends; false when the time is over.
fn wait(ends: &mut [PollFd<'_>], limit: Duration) -> Result<bool, Failure> {
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    loop {
        match poll(ends, Some(&limit)) {
            Err(Errno::INTR) => {}
            answer => return Ok(answer? > 0),
        }
    }
}

/// The two ends with a bridge program between them.
#[derive(Debug)]
pub struct Line {
    pub ends: [End; 2],
    /// How long nothing may arrive before the content counts as lost.
    pub patience: Duration,
}

impl Line {
    /// Waits until a byte crosses in both directions, then for silence, so that nothing of the start is in a measurement.
    pub fn settle(&self, group: &mut Group) -> Result<(), Failure> {
        for from in [0, 1] {
            self.ends[from].clear()?;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut crossed = [false; 2];
        while crossed != [true; 2] {
            group.check_alive()?;
            if Instant::now() > deadline {
                let words = group.last_words();
                return Err(Failure::Missing(format!(
                    "{} carried no byte within 10 s of its start: {words}",
                    group.name()
                )));
            }
            for from in [0, 1] {
                if !crossed[from] {
                    let _ = write(&self.ends[from].fd, b"?");
                }
            }
            for to in [0, 1] {
                let mut ready = [PollFd::new(&self.ends[to].fd, PollFlags::IN)];
                crossed[1 - to] |= wait(&mut ready, Duration::from_millis(10))?;
            }
        }
        let mut buffer = [0; 64];
        let mut both = self.ends.each_ref().map(|end| PollFd::new(&end.fd, PollFlags::IN));
        while wait(&mut both, Duration::from_millis(30))? {
            for end in &self.ends {
                while matches!(read(&end.fd, &mut buffer), Ok(1..)) {}
            }
        }
        Ok(())
    }

    /// One message from an end to the other; answers the time from before the write to after the last byte was read.
    pub fn ping(&self, from: usize, message: &[u8]) -> Result<Duration, Failure> {
        self.send(&self.ends[from].fd, &self.ends[1 - from].fd, message)
    }

    /// The same over the first PTY alone, no bridge: what the kernel takes for one hop. None for given ports.
    pub fn ping_one_hop(&self, from: usize, message: &[u8]) -> Option<Result<Duration, Failure>> {
        let hop = [&self.ends[0].fd, self.ends[0].keeper.as_ref()?];
        Some(self.send(hop[from], hop[1 - from], message))
    }

    fn send(&self, tx: &OwnedFd, rx: &OwnedFd, message: &[u8]) -> Result<Duration, Failure> {
        let mut got = [0; 1024];
        let mut have = 0;
        let start = Instant::now();
        if write(tx, message)? != message.len() {
            return Err(Failure::Missing("the port does not take one message at once".to_owned()));
        }
        while have < message.len() {
            if !wait(&mut [PollFd::new(rx, PollFlags::IN)], self.patience)? {
                return Err(Failure::Wrong(format!("{have} of {} bytes arrived", message.len())));
            }
            match read(rx, &mut got[have..]) {
                Err(Errno::AGAIN) => {}
                answer => have += answer?,
            }
        }
        let took = start.elapsed();
        if got[..have] == *message {
            Ok(took)
        } else {
            Err(Failure::Wrong("a message arrived changed".to_owned()))
        }
    }

    /// Pushes `total` bytes through in each wanted direction as fast as the line takes them; answers the time it took.
    pub fn flood(&self, directions: &[usize], total: usize, pattern: &Pattern) -> Result<Duration, Failure> {
        let (mut sent, mut got) = ([0; 2], [0; 2]);
        let mut buffer = vec![0; 65536];
        let start = Instant::now();
        while directions.iter().any(|&from| got[from] < total) {
            let mut wanted = [PollFlags::empty(); 2];
            for &from in directions {
                wanted[from] |= if sent[from] < total { PollFlags::OUT } else { PollFlags::empty() };
                wanted[1 - from] |= PollFlags::IN;
            }
            let mut ready =
                [PollFd::new(&self.ends[0].fd, wanted[0]), PollFd::new(&self.ends[1].fd, wanted[1])];
            if !wait(&mut ready, self.patience)? {
                return Err(Failure::Wrong(format!("{got:?} of {total} bytes arrived, then silence")));
            }
            for &from in directions {
                if ready[1 - from].revents().contains(PollFlags::IN) {
                    got[from] += self.take(from, got[from], &mut buffer, pattern)?;
                }
                if sent[from] < total && ready[from].revents().contains(PollFlags::OUT) {
                    let chunk = pattern.from(sent[from], 4096.min(total - sent[from]));
                    match write(&self.ends[from].fd, chunk) {
                        Err(Errno::AGAIN) => {}
                        answer => sent[from] += answer?,
                    }
                }
            }
        }
        Ok(start.elapsed())
    }

    fn take(&self, from: usize, at: usize, buffer: &mut [u8], pattern: &Pattern) -> Result<usize, Failure> {
        match read(&self.ends[1 - from].fd, &mut *buffer) {
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
            Ok(count) => {
                let mut done = 0;
                while done < count {
                    let expected = pattern.from(at + done, count - done);
                    if buffer[done..done + expected.len()] != *expected {
                        return Err(Failure::Wrong(format!("the stream differs near byte {}", at + done)));
                    }
                    done += expected.len();
                }
                Ok(count)
            }
        }
    }
}

/// Bytes that do not repeat within a length no buffer has.
#[derive(Debug)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    pub fn new() -> Self {
        let mut state: u32 = 0x9e37_79b9;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        };
        Self((0..1_000_003).map(|_| next()).collect())
    }

    /// The bytes at a position of the endless stream, at most `count`, fewer at the pattern's end.
    pub fn from(&self, position: usize, count: usize) -> &[u8] {
        let start = position % self.0.len();
        &self.0[start..self.0.len().min(start + count)]
    }
}

/// Whether a path is a character device we may open.
pub fn check_port(path: &Path) -> Result<(), Failure> {
    fs::metadata(path)
        .map(|_| ())
        .map_err(|error| Failure::Missing(format!("port {}: {error}", path.display())))
}
