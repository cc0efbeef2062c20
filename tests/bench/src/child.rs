//! Programs under measurement: started, watched by the kernel's own clocks, stopped by their pid. It reads no output for meaning
//! except strace's summary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;

/// A program that is stopped (SIGTERM, after a second SIGKILL) when this is dropped.
#[derive(Debug)]
pub struct Child {
    pub name: String,
    process: Process,
    log: PathBuf,
    /// It has been sent SIGTERM; for some programs a second one means to end at once, whatever is still to be written.
    told: bool,
}

impl Child {
    /// Starts a program whose words on stderr go to a file beside the other temporary files.
    pub fn start(name: &str, command: &mut Command, temporary: &Path) -> Result<Self, Failure> {
        let log = temporary.join(format!("{name}.log").replace([' ', '/'], "-"));
        let process = command.stdin(Stdio::null()).stderr(File::create(&log)?).spawn().map_err(|error| {
            Failure::Missing(format!("{name} ({}): {error}", command.get_program().display()))
        })?;
        Ok(Self { name: name.to_owned(), process, log, told: false })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.process.stdout.take()
    }

    /// An error sentence when the program has ended by itself, with its last words.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(Failure::Missing(format!("{} ended ({status}): {}", self.name, self.last_words())))
            }
        }
    }

    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// CPU time used so far by all living threads, from the scheduler's own nanosecond counters.
    pub fn cpu(&self) -> Duration {
        let of_thread = |thread: fs::DirEntry| -> Option<u64> {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_ascii_whitespace().next()?.parse().ok()
        };
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        Duration::from_nanos(threads.filter_map(of_thread).sum())
    }

    fn terminate(&mut self) {
        if !self.told
            && let Ok(None) = self.process.try_wait()
            && let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw)
        {
            self.told = kill_process(pid, Signal::TERM).is_ok();
        }
    }

    pub fn stop(&mut self) {
        let Ok(None) = self.process.try_wait() else { return };
        self.terminate();
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(None) => sleep(Duration::from_millis(2)),
                _ => return,
            }
        }
        // socat sometimes does not either; only of ours it is worth a word.
        if self.name.starts_with("hilrig") {
            eprintln!("note: {} did not stop on SIGTERM within 1 s and was killed", self.name);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// All processes of a program under measurement; stopped when dropped.
#[derive(Debug)]
pub struct Group(Vec<Child>);

impl Group {
    pub fn start(name: &str, commands: &[Vec<OsString>], temporary: &Path) -> Result<Self, Failure> {
        let start = |words: &Vec<OsString>| {
            let mut command = Command::new(&words[0]);
            Child::start(name, command.args(&words[1..]).stdout(Stdio::null()), temporary)
        };
        Ok(Self(commands.iter().map(start).collect::<Result<_, _>>()?))
    }

    pub fn name(&self) -> &str {
        self.0.first().map_or("", |child| &child.name)
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        self.0.iter().map(Child::cpu).sum()
    }

    /// Resident memory, and the part of it that is no file, of all processes, in KB.
    pub fn memory_kb(&self) -> Result<(f64, f64), Failure> {
        let mut all = (0.0, 0.0);
        for child in &self.0 {
            let status = fs::read_to_string(format!("/proc/{}/status", child.pid()))?;
            let of = |key: &str| -> f64 {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
            };
            all = (all.0 + of("VmRSS:"), all.1 + of("RssAnon:"));
        }
        Ok(all)
    }

    pub fn check_alive(&mut self) -> Result<(), Failure> {
        self.0.iter_mut().try_for_each(Child::check_alive)
    }

    pub fn last_words(&self) -> String {
        self.0.iter().map(Child::last_words).find(|words| !words.is_empty()).unwrap_or_default()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // All are told before the first one is waited for.
        self.0.iter_mut().for_each(Child::terminate);
    }
}

/// Confines this program, and so every program it starts from now on, to these cores.
pub fn confine(cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}

/// The cores this program may use.
pub fn cores() -> Result<Vec<usize>, Failure> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// The first directory of PATH that holds a program of this name.
pub fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Whether a C program of this folder could be compiled into `temporary`.
pub fn compiled(name: &str, flags: &[&str], temporary: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.c"));
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-o"]).arg(temporary.join(name)).arg(source).args(flags);
    cc.output().is_ok_and(|done| done.status.success())
}

/// The same command under `strace -c`, as the tracee itself (`-D`), so that its pid is the one we started.
pub fn traced(strace: &Path, command: &[OsString], summary: &Path) -> Vec<OsString> {
    let before =
        [strace.as_os_str(), "-D".as_ref(), "-f".as_ref(), "-c".as_ref(), "-o".as_ref(), summary.as_ref()];
    before.into_iter().map(OsString::from).chain(command.iter().cloned()).collect()
}

/// Calls by name from a summary of `strace -c`; waits until the tracer, which outlives the traced program a little, has written it.
pub fn read_summary(summary: &Path) -> Result<BTreeMap<String, u64>, Failure> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let text = fs::read_to_string(summary).unwrap_or_default();
        if text.lines().any(|line| line.split_ascii_whitespace().last() == Some("total")) {
            return Ok(parse_summary(&text));
        }
        if Instant::now() > deadline {
            return Err(Failure::Missing("strace wrote no summary within 5 s".to_owned()));
        }
        sleep(Duration::from_millis(10));
    }
}

fn parse_summary(text: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split_ascii_whitespace().collect();
        let name = *cells.last()?;
        // % time, seconds, usecs/call, calls, errors (may be missing), name
        if name == "total" || cells.len() < 5 {
            None
        } else {
            Some((name.to_owned(), cells[3].parse().ok()?))
        }
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_strace_is_read_with_and_without_errors() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            60.00    0.000300           1       300           epoll_pwait\n \
            40.00    0.000200           1       200         7 read\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000500           1       500         7 total\n";
        let calls = parse_summary(text);
        assert_eq!(calls, BTreeMap::from([("epoll_pwait".to_owned(), 300), ("read".to_owned(), 200)]));
    }
}
