//! `replay`: one side of a capture to a port, with the timing of the recording.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hilrig_capture::{Moment, Outcome, PlaySpec, Player, Progress, Recording, Side, What};
use hilrig_port::{OpenPort, PortUrl, Shard};
use serde_json::json;

use crate::args::{ReplayArgs, SideArg};
use crate::foreground::{interrupt_flag, runtime};
use crate::output::{Exit, Failure, say, say_json};

/// How often the foreground looks how far the replay is.
const LOOK: Duration = Duration::from_millis(10);

pub fn replay(args: &ReplayArgs, json: bool) -> Result<ExitCode, Failure> {
    let to: PortUrl = args.to.parse().map_err(|e: hilrig_port::UrlError| Failure::usage(e.to_string()))?;
    let recording = Recording::open(&args.file, args.link.as_deref())
        .map_err(|e| Failure::usage(format!("{}: {e}", args.file.display())))?;
    let side = args.only.map(|side| match side {
        SideArg::A => Side::A,
        SideArg::B => Side::B,
    });
    let name = match side {
        Some(Side::A) => "side a",
        Some(Side::B) => "side b",
        None => "both sides",
    };
    if let Some(at) = recording.cut_at {
        eprintln!(
            "hilrig: the capture ends in the middle of a block, at byte {at}; what is before it is replayed"
        );
    }
    if recording.gaps > 0 {
        eprintln!("hilrig: the capture says {} times that data is missing in it", recording.gaps);
    }
    let sends = |m: &Moment| side.is_none_or(|s| s == m.side) && matches!(m.what, What::Bytes(_));
    if !recording.moments.iter().any(sends) {
        return Err(Failure::usage(format!("{}: {name} sent nothing", args.file.display())));
    }
    let spec = PlaySpec { only: side, speed: args.speed, expect: args.expect, ..PlaySpec::default() };
    let player = Player::new(recording, spec).map_err(Failure::usage)?;

    let interrupted = interrupt_flag()?;
    let stop = || interrupted.load(Ordering::Relaxed);
    let failed = |e: hilrig_port::PortError| Failure::infrastructure(e.to_string());
    let port = OpenPort::open(&to, &runtime()?, &stop).map_err(failed)?;
    for warning in port.warnings() {
        eprintln!("hilrig: {to}: {warning}");
    }
    let open = port.far_end().map(|path| format!(" (open {})", path.display())).unwrap_or_default();
    let shard = Shard::start("replay").map_err(failed)?;
    let station = shard.add_station(port, Box::new(player)).map_err(failed)?;
    eprintln!("replay of {name} to {to}{open}");
    let terminal = std::io::stderr().is_terminal();
    let (progress, outcome) = loop {
        let progress = shard.with_station(&station, |player: &mut Player, _, _| player.progress().clone());
        let progress = progress.map_err(failed)?;
        if terminal {
            eprint!("\r\x1b[2K{} of {} bytes sent", progress.sent, progress.to_send);
        }
        if let Some(outcome) = progress.outcome.clone() {
            break (progress, Some(outcome));
        }
        if stop() {
            break (progress, None);
        }
        std::thread::sleep(LOOK);
    };
    if terminal {
        eprint!("\r\x1b[2K");
    }
    let exit = exit_of(outcome.as_ref());
    tell(&progress, outcome.as_ref(), json);
    Ok(exit)
}

fn exit_of(outcome: Option<&Outcome>) -> ExitCode {
    match outcome {
        Some(Outcome::Played) => ExitCode::SUCCESS,
        Some(Outcome::Differs(_) | Outcome::Stalled) => Exit::Fail.into(),
        Some(Outcome::Left) => Exit::Infrastructure.into(),
        None => Exit::Stopped.into(),
    }
}

fn tell(progress: &Progress, outcome: Option<&Outcome>, json: bool) {
    let Progress { sent, to_send, matched, to_match, .. } = progress;
    let message = outcome.map_or_else(|| "interrupted".to_owned(), ToString::to_string);
    if json {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let difference = match outcome {
            Some(Outcome::Differs(d)) => json!({
                "offset": d.offset, "atNs": d.at.as_nanos() as u64,
                "expected": hex(&d.expected), "got": hex(&d.got),
            }),
            _ => json!(null),
        };
        let name = match outcome {
            Some(Outcome::Played) => "played",
            Some(Outcome::Differs(_)) => "differs",
            Some(Outcome::Left) => "left",
            Some(Outcome::Stalled) => "stalled",
            None => "interrupted",
        };
        say_json(&json!({
            "outcome": name, "message": message, "sentBytes": sent, "toSendBytes": to_send,
            "matchedBytes": matched, "toMatchBytes": to_match, "difference": difference,
        }));
        return;
    }
    let compared =
        if *to_match > 0 { format!(", {matched} of {to_match} came as recorded") } else { String::new() };
    say(&format!("{sent} of {to_send} bytes sent{compared}: {message}"));
}
