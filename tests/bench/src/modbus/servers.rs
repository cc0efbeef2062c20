//! The servers that are compared, and how each is called for a TCP port or a line. It starts nothing but compilers.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::load::REGISTERS;
use crate::Failure;
use crate::child::{compiled, on_path};

pub const OURS: &str = "hilrig plc";
/// With a hundred live signals and three armed rules that never fire.
pub const BUSY: &str = "hilrig plc, busy";
/// The same, and each frame is written to stdout.
pub const TRACED: &str = "hilrig plc, busy, trace";
/// With real-time priority and a spinning wait.
pub const SPINNING: &str = "hilrig plc, 150 us of spinning";
pub const SPIN_US: u32 = 150;
pub const FLOOR: &str = "C floor";
pub const LIBMODBUS: &str = "libmodbus";
pub const TOKIO: &str = "tokio-modbus";
pub const PYMODBUS: &str = "pymodbus";

/// Above 19200 the silence before a reply is fixed (SL 2.5.1.1).
pub const SILENCE_US: u32 = 1750;
const BAUD: u32 = 115_200;

/// Where a server serves.
#[derive(Debug, Clone)]
pub enum Place {
    Tcp(SocketAddr),
    Line { path: PathBuf, gap: Gap },
}

/// When a line is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// At once, as servers do that know no silence.
    None,
    /// After t3.5, as the specification says.
    Silence,
}

/// Everything that can be measured here.
#[derive(Debug)]
pub struct Servers {
    pub names: Vec<&'static str>,
    /// A sentence about each server that is missing.
    pub notes: Vec<String>,
    hilrig: PathBuf,
    python: PathBuf,
    temporary: PathBuf,
}

impl Servers {
    /// Compiles what has to be compiled and looks for the rest.
    pub fn find(hilrig: PathBuf, temporary: &Path) -> Result<Self, Failure> {
        let beside = std::env::current_exe()?;
        if !compiled("modbus_floor", &[], temporary) {
            return Err(Failure::Missing("the C floor cannot be compiled: is `cc` installed?".to_owned()));
        }
        let mut names = vec![OURS, BUSY, TRACED, FLOOR];
        let mut notes = Vec::new();
        if compiled("modbus_libmodbus", &["-I/usr/include/modbus", "-lmodbus"], temporary) {
            names.push(LIBMODBUS);
        } else {
            notes.push("skipped: libmodbus is not installed (Debian package libmodbus-dev)".to_owned());
        }
        names.push(TOKIO);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("get-pymodbus");
        let got = Command::new(script).arg(beside.with_file_name("peers")).output();
        let python = match got {
            Ok(got) if got.status.success() => {
                names.push(PYMODBUS);
                PathBuf::from(String::from_utf8_lossy(&got.stdout).trim())
            }
            _ => {
                notes.push("skipped: pymodbus cannot be installed (Debian package python3-venv)".to_owned());
                PathBuf::new()
            }
        };
        for (program, package) in [("strace", "strace"), ("cyclictest", "rt-tests")] {
            if on_path(program).is_none() {
                notes.push(format!("skipped: {program} is not installed (Debian package {package})"));
            }
        }
        Ok(Self { names, notes, hilrig, python, temporary: temporary.to_owned() })
    }

    /// The command line that serves at a place.
    pub fn command(&self, name: &str, place: &Place) -> Result<Vec<OsString>, Failure> {
        let (kind, at) = match place {
            Place::Tcp(address) => ("tcp", address.port().to_string()),
            Place::Line { path, .. } => ("rtu", path.display().to_string()),
        };
        let mut command: Vec<OsString> = match name {
            OURS | BUSY | TRACED => {
                return self
                    .ours(place, &Ask { busy: name != OURS, trace: name == TRACED, ..Ask::default() });
            }
            FLOOR | LIBMODBUS => {
                let program = if name == FLOOR { "modbus_floor" } else { "modbus_libmodbus" };
                vec![self.temporary.join(program).into()]
            }
            TOKIO => vec![std::env::current_exe()?.into(), "serve-tokio-modbus".into()],
            _ => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("modbus_pymodbus.py");
                vec![self.python.clone().into(), script.into()]
            }
        };
        command.extend([kind.into(), at.into()]);
        match (name, place) {
            (_, Place::Tcp(_)) => {}
            (FLOOR, Place::Line { gap: Gap::None, .. }) => {}
            (FLOOR, _) => command.push(SILENCE_US.to_string().into()),
            _ => command.push(BAUD.to_string().into()),
        }
        Ok(command)
    }

    /// A server that answers each request a while after it, on a core of its own.
    pub fn delaying(
        &self,
        name: &str,
        address: SocketAddr,
        delay_ms: u32,
        core: usize,
    ) -> Result<Vec<OsString>, Failure> {
        let place = Place::Tcp(address);
        if name == FLOOR {
            let mut command = self.command(FLOOR, &place)?;
            command.push((delay_ms * 1000).to_string().into());
            return Ok(command);
        }
        let spin = (name == SPINNING).then_some(SPIN_US);
        let ask = Ask {
            delay_ms: (delay_ms > 0).then_some(delay_ms),
            realtime: Some((core, spin)),
            ..Ask::default()
        };
        self.ours(&place, &ask)
    }

    /// A model with these wishes, served.
    pub fn ours(&self, place: &Place, ask: &Ask) -> Result<Vec<OsString>, Failure> {
        let url = match place {
            Place::Tcp(address) => format!("tcp-listen:{address}"),
            Place::Line { path, .. } => path.display().to_string(),
        };
        let mut model = format!("[port.line]\nurl = \"{url}\"\n");
        if let Place::Line { gap, .. } = place {
            let _ = writeln!(model, "baud = {BAUD}\nformat = \"8N1\"");
            if *gap == Gap::None {
                model += "reply_gap = \"1us\"\n";
            }
        }
        if let Some(delay) = ask.delay_ms {
            let _ = writeln!(model, "min_delay = \"{delay}ms\"");
        }
        let _ = write!(model, "\n[unit.slave]\nid = 1\nholding = {{ \"0..{}\" = 0 }}\n", REGISTERS - 1);
        if ask.busy {
            for i in 0..100 {
                let _ = write!(
                    model,
                    "[unit.slave.point.signal{i}]\nat = \"input:{i}\"\ntype = \"i16\"\n\
                     signal = {{ sine = {{ period = \"{}ms\", amplitude = 1000 }} }}\n",
                    500 + i
                );
            }
            // Rules that are looked at for each request, and never fire.
            for (name, when) in [
                ("other", "unit = 9"),
                ("rare", "function = 3, nth = 4000000000"),
                ("far", "addresses = \"5000\""),
            ] {
                let _ = write!(
                    model,
                    "[[fault]]\nname = \"{name}\"\nwhen = {{ {when} }}\neffect = \"silence\"\n"
                );
            }
        }
        if let Some((core, spin)) = ask.realtime {
            let _ = write!(
                model,
                "\n[realtime]\nfifo = 80\ncpu = {core}\nlock_memory = true\ndma_latency = true\n"
            );
            if let Some(us) = spin {
                let _ = writeln!(model, "spin = \"{us}us\"");
            }
        }
        let file = self.temporary.join("model.toml");
        std::fs::write(&file, model)?;
        let mut command = vec![self.hilrig.clone().into(), "plc".into(), file.into()];
        if ask.trace {
            command.push("--trace".into());
        }
        Ok(command)
    }
}

/// What a model of ours is to do besides serving registers.
#[derive(Debug, Default)]
pub struct Ask {
    pub busy: bool,
    pub trace: bool,
    pub delay_ms: Option<u32>,
    /// SCHED_FIFO on this core, and what goes with it; and how long before a deadline it spins, in us.
    pub realtime: Option<(usize, Option<u32>)>,
}

/// A TCP port that nobody has now.
pub fn free_port() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
