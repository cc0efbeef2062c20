//! The 82 conformance cases of the process interface over TCP, Unix socket and stdio. Each case has its number in
//! its name, a daemon of its own on a root of its own, and accepts nothing but what the list of cases accepts.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod actions;
mod config;
mod envelope;
mod events;
mod jobs;
mod lifecycle;
mod limits;

use std::cell::{Cell, OnceCell};

use hilrig_tests::{Conn, Daemon, PATIENCE, Sandbox};
use libtest_mimic::{Arguments, Failed, Trial};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    Tcp,
    Unix,
    Stdio,
}

const ALL: &[Binding] = &[Binding::Tcp, Binding::Unix, Binding::Stdio];
/// Cases about many connections, resets, HTTP and listeners: a pipe has none of them.
const SOCKETS: &[Binding] = &[Binding::Tcp, Binding::Unix];
const STDIO: &[Binding] = &[Binding::Stdio];

impl Binding {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Stdio => "stdio",
        }
    }
}

/// One case of the list.
struct Case {
    number: u8,
    name: &'static str,
    on: &'static [Binding],
    run: fn(&Bench),
}

/// Makes the table of a module: the number, where it applies, the function.
macro_rules! cases {
    ($($number:literal $on:ident $name:ident;)*) => {
        pub const CASES: &[$crate::Case] =
            &[$($crate::Case { number: $number, name: stringify!($name), on: $crate::$on, run: $name }),*];
    };
}
pub(crate) use cases;

/// What a case works with: a fresh root, and a daemon on it that starts at the first connection.
struct Bench {
    binding: Binding,
    sandbox: Sandbox,
    daemon: OnceCell<Daemon>,
    /// The stdio process that is the daemon of the root: the first one.
    first_stdio: Cell<Option<u32>>,
}

impl Bench {
    fn new(binding: Binding) -> Self {
        let (daemon, first_stdio) = (OnceCell::new(), Cell::new(None));
        Self { binding, sandbox: Sandbox::new(), daemon, first_stdio }
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.get_or_init(|| match self.binding {
            Binding::Tcp => self.sandbox.daemon(),
            Binding::Unix | Binding::Stdio => Daemon::start(&self.sandbox, &["--no-tcp"]),
        })
    }

    /// A new connection. On stdio the first one is the daemon, so it has to stay for the others.
    fn connect(&self) -> Conn {
        match self.binding {
            Binding::Tcp => self.daemon().connect_tcp(),
            Binding::Unix => self.daemon().connect(),
            Binding::Stdio => {
                let mut conn = self.sandbox.stdio();
                if self.first_stdio.get().is_none() {
                    self.first_stdio.set(conn.pid());
                    conn.ping();
                }
                conn
            }
        }
    }

    fn daemon_pid(&self) -> u32 {
        match self.binding {
            Binding::Stdio => self.first_stdio.get().expect("connected before"),
            _ => self.daemon().pid(),
        }
    }
}

fn main() {
    let args = Arguments::from_args();
    let tables = [
        envelope::CASES,
        config::CASES,
        actions::CASES,
        jobs::CASES,
        events::CASES,
        limits::CASES,
        lifecycle::CASES,
    ];
    let mut trials = Vec::new();
    for case in tables.into_iter().flatten() {
        for &binding in case.on {
            let name = format!("{}::case_{:02}_{}", binding.name(), case.number, case.name);
            let run = case.run;
            trials.push((
                binding.name(),
                case.number,
                Trial::test(name, move || {
                    run(&Bench::new(binding));
                    Ok(())
                }),
            ));
        }
    }
    let numbers: Vec<u8> = trials.iter().map(|t| t.1).collect();
    let missing: Vec<u8> = (1..=82).filter(|n| !numbers.contains(n)).collect();
    trials.sort_by_key(|t| (t.0, t.1));
    let mut trials: Vec<Trial> = trials.into_iter().map(|t| t.2).collect();
    trials.push(Trial::test("all_82_cases_are_here", move || {
        if missing.is_empty() { Ok(()) } else { Err(Failed::from(format!("missing: {missing:?}"))) }
    }));
    libtest_mimic::run(&args, trials).exit();
}
