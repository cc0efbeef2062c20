//! A process of the system: waiting for its end, signals, stopping it with a deadline. Works for children and, as
//! far as the system tells, for processes that are not; knows nothing of what the process does.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::unix::AsyncFd;

use crate::events::lock;

/// A process. It is not ended by dropping this.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    fd: AsyncFd<OwnedFd>,
    child: Mutex<Option<Child>>,
    /// The process leads a group, which ends with it.
    group: bool,
    exit: Mutex<Option<Exit>>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// It was not our child, so the system does not tell.
    Unknown,
}

impl Process {
    /// Needs a tokio runtime.
    pub(crate) fn of_child(child: Child) -> io::Result<Self> {
        let (pid, fd) = open(child.id())?;
        Ok(Self { pid, fd, child: Mutex::new(Some(child)), group: false, exit: Mutex::new(None) })
    }

    /// Like [`Process::of_child`], of a child started as leader of a group of its own: the group is killed when the
    /// child has ended.
    pub(crate) fn of_group(child: Child) -> io::Result<Self> {
        Ok(Self { group: true, ..Self::of_child(child)? })
    }

    /// A process that need not be a child. Needs a tokio runtime.
    pub(crate) fn of_pid(pid: u32) -> io::Result<Self> {
        let (pid, fd) = open(pid)?;
        Ok(Self { pid, fd, child: Mutex::new(None), group: false, exit: Mutex::new(None) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for the end of the process. Answers again and again.
    pub(crate) async fn exited(&self) -> Exit {
        // A pidfd turns readable when the process has ended and stays so.
        let _ = self.fd.readable().await;
        let mut exit = lock(&self.exit);
        if let Some(exit) = *exit {
            return exit;
        }
        if self.group {
            // Before the child is reaped, so that its number still means this group.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        let status = lock(&self.child).take().and_then(|mut child| child.try_wait().ok().flatten());
        let how = match status.map(|s| (s.code(), s.signal())) {
            Some((Some(code), _)) => Exit::Code(code),
            Some((_, Some(signal))) => Exit::Signal(signal),
            _ => Exit::Unknown,
        };
        *exit = Some(how);
        how
    }

    /// Sends a signal to exactly this process; without effect when it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(self.fd.get_ref(), signal);
    }

    /// Sends a signal to the process and the group it leads.
    pub(crate) fn signal_group(&self, signal: Signal) {
        // Not once it is reaped: its number may mean another group by then.
        if self.group && lock(&self.exit).is_none() {
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
        self.signal(signal);
    }

    /// Asks the process to end with SIGTERM, and kills it after `deadline`.
    pub(crate) async fn stop(&self, deadline: Duration) -> Exit {
        self.signal(Signal::TERM);
        match tokio::time::timeout(deadline, self.exited()).await {
            Ok(exit) => exit,
            Err(_) => self.kill().await,
        }
    }

    pub(crate) async fn kill(&self) -> Exit {
        self.signal(Signal::KILL);
        self.exited().await
    }
}

#[expect(deprecated, reason = "its successor is unsafe; an OwnedFd has the safety that is asked for there")]
fn open(pid: u32) -> io::Result<(Pid, AsyncFd<OwnedFd>)> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let fd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    Ok((pid, AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)?))
}

/// Reads after a subject: "the host process ...".
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was killed by signal {signal} ({name})"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::Unknown => f.write_str("ended without a goodbye"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::SYS, "SIGSYS"),
    ]
    .into_iter()
    .find_map(|(known, name)| (known.as_raw() == signal).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    const LONG: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    #[tokio::test]
    async fn the_end_is_told_as_often_as_asked() {
        let process = Process::of_child(sh("exit 7").spawn().unwrap()).unwrap();
        assert_eq!(process.exited().await, Exit::Code(7));
        assert_eq!(process.exited().await.to_string(), "ended with exit code 7");
    }

    #[tokio::test]
    async fn stopping_is_gentle_first() {
        let process = Process::of_child(sh("exec sleep 600").spawn().unwrap()).unwrap();
        assert_eq!(process.stop(LONG).await, Exit::Signal(15));
        let deaf = Process::of_child(sh("trap '' TERM; echo; exec sleep 600").spawn().unwrap());
        let deaf = deaf.unwrap();
        let exit = deaf.stop(Duration::from_millis(1)).await;
        assert!(matches!(exit, Exit::Signal(9 | 15)), "{exit}");
    }

    #[tokio::test]
    async fn a_group_ends_with_its_leader() {
        let mut child = sh("sleep 600 & echo $!; wait").process_group(0).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = io::BufReader::new(child.stdout.take().unwrap());
        io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let process = Process::of_group(child).unwrap();
        process.kill().await;
        // The sleeper held the pipe's other end: its death ends the stream.
        let end = tokio::task::spawn_blocking(move || io::Read::read_to_string(&mut stdout, &mut line));
        assert_eq!(tokio::time::timeout(LONG, end).await.unwrap().unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_stranger_is_watched_too() {
        let mut child = sh("exec sleep 600").spawn().unwrap();
        let process = Process::of_pid(child.id()).unwrap();
        assert_eq!(process.pid(), child.id());
        child.kill().unwrap();
        assert_eq!(process.exited().await, Exit::Unknown);
        child.wait().unwrap();
    }
}
