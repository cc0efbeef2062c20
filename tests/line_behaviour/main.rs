//! How a Modbus slave behaves on a line that is not clean: noise, halves of frames, other units, broadcasts, requests
//! that no master should send. Each case ends with a good request, which must be answered. The cases know no framing by
//! itself; they run on the cores in virtual time, whole and byte by byte at the speed of the line, and on a running
//! `hilrig` over a PTY and over TCP, one process for all of them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod cases;
mod cores;
mod talk;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::cores::{Core, Pace};
use crate::talk::{Framing, Talk};

/// One case of the list.
pub(crate) struct Case {
    name: &'static str,
    on: &'static [Framing],
    run: fn(&mut Talk<'_>),
}

const ALL: &[Framing] = &[Framing::Rtu, Framing::Ascii, Framing::Tcp];
const SERIAL: &[Framing] = &[Framing::Rtu, Framing::Ascii];
const RTU: &[Framing] = &[Framing::Rtu];
const ASCII: &[Framing] = &[Framing::Ascii];
const TCP: &[Framing] = &[Framing::Tcp];

/// Makes the table of a module: where it applies, the function.
macro_rules! table {
    ($($on:ident $name:ident;)*) => {
        pub(crate) const CASES: &[$crate::Case] =
            &[$($crate::Case { name: stringify!($name), on: $crate::$on, run: $name }),*];
    };
}
pub(crate) use table;

fn main() {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for case in cases::TABLES.iter().copied().flatten() {
        for &framing in case.on {
            for pace in [Pace::Whole, Pace::ByteByByte] {
                let name = format!("{}::{}::{}", framing.name(), pace.name(), case.name);
                let run = case.run;
                trials.push(Trial::test(name, move || {
                    let mut core = Core::new(framing, pace);
                    let talked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let mut talk = Talk::new(framing, &mut core);
                        run(&mut talk);
                        talk.alive();
                        talk.nothing_more();
                    }));
                    talked.map_err(|panic| {
                        let text = panic.downcast_ref::<String>().cloned();
                        Failed::from(text.unwrap_or_else(|| "the case panicked".to_owned()))
                    })
                }));
            }
        }
    }
    libtest_mimic::run(&args, trials).exit();
}
