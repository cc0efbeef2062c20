//! A pair of virtual ports with the library on both ends, carried in this process, and programs run against it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use hilrig_port::{Link, LinkOptions, OpenPort, PortUrl, Runtime, Shard, preload_environment};
use hilrig_tests::repository;

/// The library of this build, brought up to date: `cargo test` does not build those of other crates.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let exe = std::env::current_exe().unwrap();
        let profile_dir = exe.ancestors().nth(2).unwrap();
        let profile = match profile_dir.file_name().and_then(|n| n.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "-p", "hilrig-shim", "--profile", profile, "--target-dir"])
            .arg(profile_dir.parent().unwrap())
            .current_dir(repository())
            .status()
            .unwrap();
        assert!(status.success(), "the preload library does not build");
        profile_dir.join("libhilrig_shim.so")
    })
}

/// The C program, compiled once a run.
fn client() -> &'static Path {
    static CLIENT: OnceLock<PathBuf> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shim-client");
        let status = Command::new("gcc")
            .args(["-Wall", "-Wextra", "-Werror", "-O1", "-D_FORTIFY_SOURCE=2", "-pthread", "-o"])
            .arg(&to)
            .arg(repository().join("tests/shim/client.c"))
            .status()
            .unwrap();
        assert!(status.success(), "client.c does not compile");
        to
    })
}

pub struct Pair {
    pub shard: Shard,
    pub links: Vec<Link>,
    pub runtime: Runtime,
    pub a: PathBuf,
    pub b: PathBuf,
    _dir: tempfile::TempDir,
}

impl Pair {
    pub fn new() -> Self {
        Self::between("pty:a?shim=on", "pty:b?shim=on")
    }

    pub fn between(a: &str, b: &str) -> Self {
        let mut pair = Self::empty();
        let (a, b) = (pair.open(a), pair.open(b));
        (pair.a, pair.b) = (far_end(&a), far_end(&b));
        pair.join(a, b);
        pair
    }

    /// Two ports with COM port control over TCP between them.
    pub fn over_a_network() -> Self {
        let mut pair = Self::empty();
        let (a, server) = (pair.open("pty:a?shim=on"), pair.open("rfc2217-listen:127.0.0.1:0"));
        let address = server.local_addr().unwrap();
        pair.a = far_end(&a);
        pair.join(a, server);
        let (client, b) = (pair.open(&format!("rfc2217:{address}")), pair.open("pty:b?shim=on"));
        pair.b = far_end(&b);
        pair.join(client, b);
        pair
    }

    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::at(dir.path().join("run")).unwrap();
        let shard = Shard::start("shim-test").unwrap();
        Self { shard, links: Vec::new(), runtime, a: PathBuf::new(), b: PathBuf::new(), _dir: dir }
    }

    fn open(&self, url: &str) -> OpenPort {
        OpenPort::open(&url.parse::<PortUrl>().unwrap(), &self.runtime, &|| false)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    fn join(&mut self, a: OpenPort, b: OpenPort) {
        self.links.push(self.shard.add_link(a, b, LinkOptions::default()).unwrap());
    }

    /// A program with the library.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        // Found beside this test, where `library` has just put it.
        library();
        command.envs(preload_environment(&self.runtime).unwrap()).stdin(Stdio::null());
        command
    }

    /// What the C program says.
    pub fn run(&self, mode: &str) -> String {
        let out = self.command(client()).arg(mode).args([&self.a, &self.b]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success(),
            "{mode}: {}\n{text}{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
        text
    }

    pub fn start(&self, mode: &str, port: &Path) -> Running {
        let mut child = self.command(client()).arg(mode).arg(port).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Running { child, out }
    }
}

fn far_end(port: &OpenPort) -> PathBuf {
    port.far_end().map(Path::to_owned).unwrap_or_default()
}

/// The C program at work; killed in the end.
pub struct Running {
    pub child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    /// The next line that it says.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads on to a line.
    pub fn until(&mut self, wanted: &str) {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ended without `{wanted}`");
            if line == wanted {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
