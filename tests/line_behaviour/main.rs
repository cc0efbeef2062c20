//! How a Modbus slave behaves on a line that is not clean: noise, halves of frames, other units, broadcasts, requests
//! that no master should send. Each case ends with a good request, which must be answered. The cases run on the cores in
//! virtual time, whole and byte by byte at the speed of the line, and on a running `hilrig` over a PTY and over TCP, one
//! process for each framing and all of them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod cases;
mod cores;
mod real;
mod talk;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::cores::{Core, Pace};
use crate::real::Plc;
use crate::talk::{Device, Framing, Talk};

/// One case of the list.
pub(crate) struct Case {
    name: &'static str,
    on: &'static [Framing],
    run: fn(&mut Talk<'_>),
}

const ALL: &[Framing] = &[Framing::Rtu, Framing::Ascii, Framing::Tcp, Framing::RtuOverTcp];
/// Framings whose frames have no header.
const SERIAL: &[Framing] = &[Framing::Rtu, Framing::Ascii, Framing::RtuOverTcp];
const RTU: &[Framing] = &[Framing::Rtu, Framing::RtuOverTcp];
/// On a line, where silences are.
const LINE: &[Framing] = &[Framing::Rtu];
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
    for case in cases::TABLES.iter().copied().chain([cases::TIMED]).flatten() {
        for &framing in case.on {
            for pace in [Pace::Whole, Pace::ByteByByte] {
                let name = format!("{}::{}::{}", framing.name(), pace.name(), case.name);
                let run = case.run;
                trials.push(Trial::test(name, move || talk(framing, run, || Core::new(framing, pace))));
            }
        }
    }
    let plcs = ALL.iter().map(|framing| (*framing, Arc::new(Mutex::new(None)))).collect::<Vec<_>>();
    for case in cases::TABLES.iter().copied().flatten() {
        for (framing, plc) in plcs.iter().filter(|(framing, _)| case.on.contains(framing)) {
            let name = format!("{}::hilrig_plc::{}", framing.name(), case.name);
            let (run, framing, plc) = (case.run, *framing, plc.clone());
            trials.push(Trial::test(name, move || on_a_running_one(framing, run, &plc)));
        }
    }
    let conclusion = libtest_mimic::run(&args, trials);
    // `exit` drops nothing.
    drop(plcs);
    conclusion.exit();
}

/// One case on one device.
fn talk<D: Device>(
    framing: Framing,
    run: fn(&mut Talk<'_>),
    device: impl FnOnce() -> D,
) -> Result<(), Failed> {
    let talked = catch_unwind(AssertUnwindSafe(|| {
        let mut device = device();
        let mut talk = Talk::new(framing, &mut device);
        run(&mut talk);
        talk.alive();
        talk.nothing_more();
    }));
    talked.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Failed::from(text.unwrap_or_else(|| "the case panicked".to_owned()))
    })
}

/// One case on the process that serves all of this framing. A machine that is busy stretches and swallows pauses, so a
/// case has three attempts: what a slave does wrong it does wrong each time.
fn on_a_running_one(
    framing: Framing,
    run: fn(&mut Talk<'_>),
    plc: &Mutex<Option<Plc>>,
) -> Result<(), Failed> {
    let mut plc = plc.lock().unwrap_or_else(PoisonError::into_inner);
    let plc = plc.get_or_insert_with(|| Plc::start(framing));
    let mut result = Ok(());
    for attempt in 0..3 {
        result = talk(framing, run, || plc.line(attempt > 0));
        plc.alive();
        if result.is_ok() {
            break;
        }
    }
    result
}
