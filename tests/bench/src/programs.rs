//! The programs that are compared and how each is called for some pairs of ports. It starts nothing.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::child::{compiled, on_path};

pub const OURS: &str = "hilrig link";
pub const CAPTURING: &str = "hilrig, capture on";
pub const LOOP: &str = "C poll loop";
pub const EPOLL: &str = "C epoll loop";
pub const SOCAT: &str = "socat";
pub const GENSIOT: &str = "gensiot";
pub const SER2NET: &str = "ser2net";
/// As installed: it waits for more bytes before it sends a few.
pub const SER2NET_PLAIN: &str = "ser2net, defaults";

/// Two ports that a program is to bridge.
pub type Pair = [PathBuf; 2];

/// Everything that can be measured here.
#[derive(Debug)]
pub struct Programs {
    pub names: Vec<&'static str>,
    /// A sentence about each program that is missing.
    pub notes: Vec<String>,
    hilrig: PathBuf,
    poll_loop: PathBuf,
    temporary: PathBuf,
    /// Given ports have a baud rate; on PTYs none is set.
    baud: Option<u32>,
}

impl Programs {
    /// Compiles what has to be compiled and looks for the rest.
    pub fn find(hilrig: PathBuf, baud: Option<u32>, temporary: &Path) -> Result<Self, Failure> {
        if !compiled("poll_loop", &[], temporary) {
            return Err(Failure::Missing(
                "the C poll loop cannot be compiled: is `cc` installed?".to_owned(),
            ));
        }
        let poll_loop = temporary.join("poll_loop");
        let mut names = vec![CAPTURING, OURS, LOOP, EPOLL];
        let mut notes = Vec::new();
        for (program, package, brings) in [
            ("socat", "socat", &[SOCAT][..]),
            ("gensiot", "gensio-bin", &[GENSIOT]),
            ("ser2net", "ser2net", &[SER2NET, SER2NET_PLAIN]),
        ] {
            match on_path(program) {
                Some(_) => names.extend(brings),
                None => notes.push(format!("skipped: {program} is not installed (Debian package {package})")),
            }
        }
        if on_path("strace").is_none() {
            notes.push("skipped: system calls; strace is not installed (Debian package strace)".to_owned());
        }
        Ok(Self { names, notes, hilrig, poll_loop, temporary: temporary.to_owned(), baud })
    }

    /// The command lines that bridge all of `pairs`: one process if the program can, else one for each pair.
    pub fn commands(&self, name: &str, pairs: &[Pair]) -> Result<Vec<Vec<OsString>>, Failure> {
        let all = |first: &[&str], port: &dyn Fn(&Path) -> OsString| {
            first
                .iter()
                .map(OsString::from)
                .chain(pairs.iter().flatten().map(|p| port(p)))
                .collect::<Vec<_>>()
        };
        let each = |first: &[&str], port: &dyn Fn(&Path) -> OsString| {
            pairs
                .iter()
                .map(|pair| first.iter().map(OsString::from).chain(pair.iter().map(|p| port(p))).collect())
                .collect::<Vec<Vec<_>>>()
        };
        let baud = self.baud.unwrap_or(115_200).to_string();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (hilrig, poll_loop) = (text(&self.hilrig), text(&self.poll_loop));
        let url = |port: &Path| -> OsString {
            self.baud.map_or_else(|| port.into(), |b| format!("serial:{}?baud={b}", port.display()).into())
        };
        let plain = |port: &Path| -> OsString { port.into() };
        Ok(match name {
            OURS => vec![all(&[&hilrig, "link"], &url)],
            CAPTURING => {
                let file = text(&self.temporary.join("capture.pcapng"));
                vec![all(&[&hilrig, "link", "--capture", &file], &url)]
            }
            LOOP => vec![all(&[&poll_loop, "-b", &baud], &plain)],
            EPOLL => vec![all(&[&poll_loop, "-e", "-b", &baud], &plain)],
            SOCAT => each(&["socat"], &|port| {
                let speed = self.baud.map_or(String::new(), |b| format!(",b{b}"));
                format!("{},raw,echo=0{speed}", port.display()).into()
            }),
            GENSIOT => each(&["gensiot", "-i"], &|port| {
                format!("serialdev,{},{baud}n81,local", port.display()).into()
            }),
            _ => vec![self.ser2net(pairs, &baud, name == SER2NET)?],
        })
    }

    fn ser2net(&self, pairs: &[Pair], baud: &str, at_once: bool) -> Result<Vec<OsString>, Failure> {
        let mut config = String::new();
        for (n, [a, b]) in pairs.iter().enumerate() {
            let (a, b) = (a.display(), b.display());
            let _ = write!(
                config,
                "connection: &c{n}\n  accepter: conacc,serialdev,{a},{baud}n81,local\n  connector: serialdev,{b},{baud}n81,local\n"
            );
            if at_once {
                config += "  options:\n    chardelay: false\n";
            }
        }
        let file = self.temporary.join("ser2net.yaml");
        std::fs::write(&file, config)?;
        let pid = self.temporary.join("ser2net.pid");
        let words = ["ser2net", "-n", "-d", "-u", "-c"].map(OsString::from);
        Ok(words.into_iter().chain([file.into(), "-P".into(), pid.into()]).collect())
    }
}
