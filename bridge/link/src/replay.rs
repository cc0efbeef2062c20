//! The action that sends a capture again, as a station on a shard of its own.

use std::path::PathBuf;
use std::time::Duration;

use hilrig_capture::{Outcome as Played, PlaySpec, Player, Progress, Recording, Side};
use hilrig_contract::{Call, ContractError, object};
use hilrig_port::{OpenPort, PortUrl, SerialOptions, Shard, StationRef, Time};
use serde_json::{Value, json};

use crate::app::{BridgeApp, Outcome};
use crate::live::Live;
use crate::{capture_actions, lines};

/// Between two looks at a replay.
const LOOK: Duration = Duration::from_millis(20);
/// Between two lines about it.
const TELL: Duration = Duration::from_secs(5);
/// Speed of a far end at which nobody is, where no wire says another.
const BAUD: u32 = 115_200;

pub(crate) fn start(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let args = call.args;
    let file = capture_actions::folder(call.root).join(args.text("file").unwrap_or_default());
    let recording = Recording::open(&file, args.text("link"))
        .map_err(|e| ContractError::bad_param("file", format!("{}: {e}", file.display())))?;
    if recording.gaps > 0 {
        call.job
            .warn(&format!("the capture itself says that bytes are missing in {} places", recording.gaps));
    }
    let only = match args.text("only") {
        Some("a") => Some(Side::A),
        Some("b") => Some(Side::B),
        _ => None,
    };
    let spec = PlaySpec {
        only,
        speed: args.float("speed").unwrap_or(1.0),
        expect: args.bool("expect").unwrap_or_default(),
        ..PlaySpec::default()
    };
    let url = target(app, call)?;
    if call.config.text("profile") == "sim" && !url.is_virtual() {
        return Err(ContractError::failed(format!(
            "profile sim opens virtual ports only, and {url} may be a real line; set `profile` to lab or prod"
        )));
    }
    let player = Player::new(recording, spec).map_err(|why| ContractError::bad_param("expect", why))?;
    let refused = |e: hilrig_port::PortError| ContractError::failed(e.to_string());
    let port = OpenPort::open(&url, app.runtime(), &|| call.job.stop().is_some())
        .map_err(|e| call.job.stop().map_or_else(|| refused(e), ContractError::from))?;
    port.warnings().iter().for_each(|w| call.job.warn(&format!("{url}: {w}")));
    let shard = Shard::start("replay").map_err(refused)?;
    let station = shard.add_station(port, Box::new(player)).map_err(refused)?;
    call.job.out(&format!("{} goes to {url}", file.display()));
    finish(call, &follow(call, &shard, &station)?)
}

fn follow(call: Call<'_>, shard: &Shard, station: &StationRef) -> Result<Progress, ContractError> {
    let mut told = Time::now();
    loop {
        let progress = shard
            .with_station::<Player, _>(station, |player, _, _| player.progress().clone())
            .map_err(|e| ContractError::failed(e.to_string()))?;
        if progress.outcome.is_some() {
            return Ok(progress);
        }
        if Time::now().since(told) >= TELL {
            told = Time::now();
            let Progress { sent, to_send, .. } = progress;
            call.job.out(&format!("{sent} of {to_send} bytes sent"));
        }
        call.job.sleep(LOOK)?;
    }
}

fn finish(call: Call<'_>, progress: &Progress) -> Outcome {
    let Progress { sent, to_send, matched, to_match, outcome, .. } = progress;
    let mut result = object(json!({
        "sentBytes": sent,
        "recordedBytes": to_send,
        "matchedBytes": matched,
        "expectedBytes": to_match,
        "outcome": outcome.as_ref().map_or_else(String::new, ToString::to_string),
        "difference": Value::Null,
    }));
    call.job.out(&format!("{sent} of {to_send} bytes sent, {matched} of {to_match} expected came"));
    let fail = |result: serde_json::Map<String, Value>, why: String| {
        let error = ContractError::failed(why).with("reason", "replay");
        Err(result.into_iter().fold(error, |error, (key, value)| error.with(&key, value)))
    };
    match outcome {
        Some(Played::Played) | None => Ok(result),
        Some(Played::Differs(difference)) => {
            let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let row = json!({
                "offset": difference.offset,
                "atMs": difference.at.as_secs_f64() * 1e3,
                "expected": hex(&difference.expected),
                "got": hex(&difference.got),
            });
            result.insert("difference".to_owned(), row);
            fail(result, format!("the other end differs from the recording {difference}"))
        }
        Some(other) => fail(result, other.to_string()),
    }
}

/// Where to send: a URL, or what a program at the far end of a link's port would open.
fn target(app: &BridgeApp, call: Call<'_>) -> Result<PortUrl, ContractError> {
    match (call.args.text("port"), call.args.text("to")) {
        (Some(url), None) => {
            url.parse().map_err(|e: hilrig_port::UrlError| ContractError::bad_param("port", e.sentence()))
        }
        (None, Some(to)) => {
            let (live, side) = lines::port(&*app.links()?, to)?;
            opposite(&live, side)
        }
        _ => Err(ContractError::bad_param(
            "port",
            "say where to send: port = a port URL, or to = LINK.a or LINK.b",
        )),
    }
}

fn opposite(live: &Live, side: usize) -> Result<PortUrl, ContractError> {
    let known = [0, 1].map(|i| live.ports[i].snapshot().baud).into_iter().find(|baud| *baud > 0);
    let asked = live.spec.wire.as_ref().and_then(|wire| wire.baud);
    let options = SerialOptions { baud: asked.or(known).unwrap_or(BAUD), ..SerialOptions::default() };
    let far = live.far_end(side);
    let of_listener =
        || far.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    match (live.spec.urls()[side], of_listener()) {
        (PortUrl::Pty { .. }, _) => Ok(PortUrl::Serial { path: PathBuf::from(far), options }),
        (PortUrl::TcpListen { tls: None, .. }, Some((host, port))) => {
            Ok(PortUrl::Tcp { host, port, tls: None })
        }
        (PortUrl::Rfc2217Listen { .. }, Some((host, port))) => Ok(PortUrl::Rfc2217 { host, port, options }),
        (PortUrl::UnixListen { path }, _) => Ok(PortUrl::Unix { path: path.clone() }),
        (url, _) => {
            let message = format!("nobody can come to {url} from outside; give the port to send to as a URL");
            Err(ContractError::bad_param("to", message))
        }
    }
}
