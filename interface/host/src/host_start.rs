//! Starts a host process and waits until it is ready, or says why it is not. Does not talk to it.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::timeout;

use crate::Root;
use crate::peer::shorten;
use crate::process::Process;

/// Time for a host process to come up.
const START: Duration = Duration::from_secs(10);
/// Time for one that said something else than `ready` to end.
const END: Duration = Duration::from_secs(2);
/// Most of its standard error that is looked at.
const TAIL: u64 = 64 << 10;

/// A process that has not come up yet; it does not outlive its starter's patience.
struct Coming {
    process: Option<Process>,
    log: PathBuf,
    said_before: u64,
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal(Signal::KILL);
            // Taken away when it has ended.
            tokio::spawn(async move { process.exited().await });
        }
    }
}

/// Starts the host process `name` of `root`. Killed if the future is dropped before its end.
///
/// # Errors
/// What comes after "host process NAME".
pub(crate) async fn start(root: &Root, name: &str) -> Result<Process, String> {
    let log = root.host_log(name);
    let cannot = |e: io::Error| format!("cannot be started: {e}");
    let errors = fs::OpenOptions::new().create(true).append(true).open(&log);
    let errors = errors.map_err(|e| format!("cannot be started: its log {}: {e}", log.display()))?;
    let said_before = errors.metadata().map_or(0, |m| m.len());
    // The program that runs now, even if its file has been replaced or removed.
    let mut child = Command::new("/proc/self/exe")
        .arg0("hilrig")
        .args(["host", name, "--root"])
        .arg(root.dir())
        .current_dir(root.dir())
        .env("HILRIG_RUNTIME_DIR", root.runtime_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(cannot)?;
    let stdout = child.stdout.take();
    let process = Process::of_child(child).map_err(cannot)?;
    Coming { process: Some(process), log, said_before }.ready(stdout).await
}

impl Coming {
    async fn ready(mut self, stdout: Option<ChildStdout>) -> Result<Process, String> {
        let ready = timeout(START, is_ready(stdout)).await;
        let Some(process) = self.process.take() else { return Err("is gone".to_owned()) };
        let pid = process.pid();
        let how = match ready {
            Ok(true) => return Ok(process),
            Ok(false) => match timeout(END, process.exited()).await {
                Ok(exit) => format!("(pid {pid}) did not come up, it {exit}"),
                Err(_) => format!("(pid {pid}) did not come up, but did not end"),
            },
            Err(_) => format!("(pid {pid}) did not come up in {} s", START.as_secs()),
        };
        process.kill().await;
        Err(match last_line(&self.log, self.said_before) {
            Some(line) => format!("{how}: {line}"),
            None => how,
        })
    }
}

/// Reads a starting process's standard output for its one line.
async fn is_ready(stdout: Option<ChildStdout>) -> bool {
    let Some(Ok(stdout)) = stdout.map(tokio::process::ChildStdout::from_std) else { return false };
    let mut line = String::new();
    let read = BufReader::new(stdout.take(256)).read_line(&mut line).await;
    read.is_ok() && line.trim_end() == "ready"
}

/// The last line of what was written to `log` after `from`.
fn last_line(log: &Path, from: u64) -> Option<String> {
    let mut file = fs::File::open(log).ok()?;
    let from = from.max(file.metadata().ok()?.len().saturating_sub(TAIL));
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(shorten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_log_is_what_was_said_last() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("host.log");
        fs::write(&log, "an old trouble\n").unwrap();
        assert_eq!(last_line(&log, 15), None);
        fs::write(&log, "an old trouble\nfirst\nthe port is busy\n\n").unwrap();
        assert_eq!(last_line(&log, 15).unwrap(), "the port is busy");
    }
}
