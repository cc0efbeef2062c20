//! A root and a runtime directory of one test's own, the daemon on it, and every process that was started for it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Conn, PATIENCE, hilrig, wait_for};

/// Directories of one test. All processes started in it end with it.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
    pub root: PathBuf,
    /// The runtime directory: links of virtual ports and sockets.
    pub runtime: PathBuf,
}

/// A process of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub command: String,
}

/// What a command that has ended said.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    pub fn new() -> Self {
        // Short: the path of a Unix socket holds 107 bytes.
        let dir = tempfile::Builder::new().prefix("hr-").tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        Self { root: path.join("root"), runtime: path.join("run"), dir }
    }

    /// A second root that shares the runtime directory.
    #[must_use]
    pub fn other_root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("other")
    }

    /// A directory for this test's own files.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// `hilrig ARGS` on this root, in an environment without settings of the developer.
    pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        self.command_on(&self.root, args)
    }

    pub fn command_on<I: IntoIterator<Item: AsRef<OsStr>>>(&self, root: &Path, args: I) -> Command {
        let mut command = Command::new(hilrig());
        for name in ["HILRIG_CONNECT", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        command.args(args).env("HILRIG_ROOT", root).env("HILRIG_RUNTIME_DIR", &self.runtime);
        command.env("NO_COLOR", "1").current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs `hilrig ARGS` to its end.
    pub fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Output {
        finish(self.command(args))
    }

    /// The daemon on this root, answering.
    pub fn daemon(&self) -> Daemon {
        Daemon::start(self, &["--tcp", "127.0.0.1:0"])
    }

    /// `hilrig ARGS` of `link` or `pair`, once it has told so many links.
    #[track_caller]
    pub fn links(&self, args: &[&str], links: usize) -> Links {
        let mut command = self.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut told = 0;
        while told < links {
            let line = lines.next().expect("all links are told").unwrap();
            told += usize::from(line.starts_with("link "));
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
        Links(child)
    }

    /// `hilrig stdio` on this root.
    pub fn stdio(&self) -> Conn {
        Conn::stdio(&mut self.command(["stdio"]))
    }

    /// The link or path of a virtual port, for programs at its far end.
    pub fn port(&self, name: &str) -> PathBuf {
        self.runtime.join(name)
    }

    /// The socket of the daemon on this root, once it is there.
    pub fn control_socket(&self) -> Option<PathBuf> {
        let name = format!("{}-", self.root.file_name()?.to_str()?);
        let entries = std::fs::read_dir(&self.runtime).ok()?.flatten();
        let ours = entries.filter(|e| e.file_name().to_string_lossy().starts_with(&name));
        ours.map(|e| e.path().join("control.sock")).find(|p| p.exists())
    }

    /// Whatever lies in the runtime directory and is no directory: links, locks and sockets.
    pub fn runtime_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.runtime.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                    _ => files.push(entry.path()),
                }
            }
        }
        files.sort();
        files
    }

    /// The living processes of this sandbox: they have its runtime directory in their environment.
    pub fn processes(&self) -> Vec<Process> {
        let mark = [b"HILRIG_RUNTIME_DIR=", self.runtime.as_os_str().as_bytes()].concat();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let Ok(environ) = std::fs::read(entry.path().join("environ")) else { continue };
            if environ.split(|b| *b == 0).any(|var| var == mark) {
                let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                found.push(Process { pid, command: command.trim_end().to_owned() });
            }
        }
        found
    }

    /// The processes of this sandbox with `word` in their command line.
    pub fn processes_with(&self, word: &str) -> Vec<Process> {
        self.processes().into_iter().filter(|p| p.command.contains(word)).collect()
    }

    /// Waits until no process of this sandbox is left.
    #[track_caller]
    pub fn wait_until_empty(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.processes().is_empty() {
            assert!(Instant::now() < end, "still there: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for _ in 0..200 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            left.iter().for_each(|p| signal(p.pid, Signal::KILL));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends a signal; a process that has gone is no error.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), signal);
}

/// Runs a command to its end.
#[track_caller]
pub fn finish(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let stderr = child.stderr.take().unwrap();
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            String::from_utf8(bytes).expect("output is UTF-8")
        })
    };
    let (stdout, stderr) = (read(Box::new(stdout)), read(Box::new(stderr)));
    let status = end_of(&mut child, Duration::from_secs(60), &format!("{command:?}"));
    Output { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Waits for the end of a child.
#[track_caller]
pub fn end_of(child: &mut Child, patience: Duration, what: &str) -> ExitStatus {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{what} has not ended within {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `hilrig serve`, answering.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    stderr: Arc<Mutex<String>>,
    pub socket: PathBuf,
    pub tcp: Option<SocketAddr>,
}

impl Daemon {
    /// Starts a daemon with more arguments and waits until it answers.
    #[track_caller]
    pub fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut child = sandbox.command(["serve"]).args(args).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = collect(&mut child);
        let said = || stderr.lock().unwrap().clone();
        let mut ended = None;
        let socket = wait_for("the daemon answers on its Unix socket", || {
            ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended ({ended:?}): {}", said());
            sandbox.control_socket().filter(|socket| answers(socket))
        });
        let tcp = args.contains(&"--tcp").then(|| {
            wait_for("the daemon says its TCP address", || {
                let said = said();
                let at = said.find("127.0.0.1:")?;
                let end = said[at + 10..].find(|c: char| !c.is_ascii_digit())?;
                said[at..at + 10 + end].parse().ok()
            })
        });
        Self { child, stderr, socket, tcp }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its standard error so far.
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    #[track_caller]
    pub fn connect(&self) -> Conn {
        Conn::unix(&self.socket)
    }

    #[track_caller]
    pub fn connect_tcp(&self) -> Conn {
        Conn::tcp(self.tcp.expect("a daemon with a TCP listener"))
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`, and waits for its end.
    pub fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for its end.
    #[track_caller]
    pub fn terminate(mut self) -> ExitStatus {
        signal(self.pid(), Signal::TERM);
        end_of(&mut self.child, PATIENCE, "the daemon after SIGTERM")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the daemon said:\n{}", self.said());
        }
    }
}

/// `hilrig link` or `hilrig pair`, up. Ends with its value.
#[derive(Debug)]
pub struct Links(Child);

impl Links {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, which has to go well, and gives what it printed.
    #[track_caller]
    pub fn stop(mut self, with: Signal) -> String {
        signal(self.pid(), with);
        let status = end_of(&mut self.0, PATIENCE, "the links after a signal");
        assert_eq!(status.code(), Some(0), "asked to end, it ends well");
        std::io::read_to_string(self.0.stdout.take().unwrap()).unwrap()
    }

    /// `kill -9`, and waits for its end.
    pub fn kill9(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn collect(child: &mut Child) -> Arc<Mutex<String>> {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in stderr.split(b'\n').map_while(Result::ok) {
            let mut into = into.lock().unwrap();
            into.push_str(&String::from_utf8_lossy(&line));
            into.push('\n');
        }
    });
    text
}

fn answers(socket: &Path) -> bool {
    let Ok(mut conn) = Conn::try_unix(socket) else { return false };
    conn.try_ask(&serde_json::json!({"method": "ping"})).is_some_and(|reply: Value| reply["ok"] == true)
}

/// Memory of a process now (`VmRSS`) or at its peak (`VmHWM`), in KiB.
pub fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(what)).unwrap_or_else(|| panic!("{what}: {status}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Reads a file to its end as text.
#[track_caller]
pub fn text(path: &Path) -> String {
    let mut text = String::new();
    let mut file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.read_to_string(&mut text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text
}
