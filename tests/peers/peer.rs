//! Programs of others: found or built once, started, ended by their process id.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;

use hilrig_tests::{PATIENCE, finish, hilrig, missing, need, repository};

pub fn directory() -> PathBuf {
    hilrig().ancestors().nth(2).expect("target/<profile>/hilrig").join("peers")
}

pub fn file(name: &str) -> PathBuf {
    repository().join("tests/peers").join(name)
}

/// A Python with pymodbus.
pub fn pymodbus() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| {
        if !need("python3") {
            return None;
        }
        let mut get = Command::new(repository().join("tests/bench/get-pymodbus"));
        get.arg(directory());
        let done = finish(get);
        if done.code != Some(0) {
            missing("pymodbus 3.16.1", &done.stderr);
            return None;
        }
        Some(done.stdout.trim().into())
    });
    found.as_deref()
}

/// A program of ours in C that uses libmodbus, built.
pub fn libmodbus(name: &str) -> Option<PathBuf> {
    static BUILDING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = BUILDING.lock();
    if !need("gcc") {
        return None;
    }
    let (source, program) = (file(&format!("{name}.c")), directory().join(name));
    std::fs::create_dir_all(directory()).unwrap();
    let fresh = directory().join(format!("{name}.{}", std::process::id()));
    let mut build = Command::new("gcc");
    build.args(["-Wall", "-Wextra", "-Werror", "-O1", "-I/usr/include/modbus", "-o"]).arg(&fresh).arg(source);
    build.arg("-lmodbus");
    let done = finish(build);
    if done.code != Some(0) {
        // The library is not there, or the program is wrong: then the header is found.
        assert!(!Path::new("/usr/include/modbus/modbus.h").exists(), "{}", done.stderr);
        missing("libmodbus-dev", &done.stderr);
        return None;
    }
    std::fs::rename(&fresh, &program).unwrap();
    Some(program)
}

/// A server of others, up; ends with its value.
pub struct Peer {
    child: Child,
    /// The TCP port that it has found.
    pub port: u16,
}

impl Peer {
    /// Starts it and waits until it prints `ready PORT`.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut peer = Self { child: child.unwrap_or_else(|e| panic!("{what}: {e}")), port: 0 };
        let lines = BufReader::new(peer.child.stdout.take().unwrap()).lines();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                match line.strip_prefix("ready ").and_then(|port| port.parse().ok()) {
                    Some(port) => drop(tell.send(port)),
                    None => println!("{line}"),
                }
            }
        });
        peer.port = told.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{what} is not ready: {e}"));
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a client of others, which compares for itself.
#[track_caller]
pub fn satisfied(command: Command) {
    let what = format!("{command:?}");
    let output = finish(command);
    assert_eq!(output.code, Some(0), "{what}:\n{}{}", output.stdout, output.stderr);
}
