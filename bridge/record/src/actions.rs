//! Captures and replays as the actions of apps ask for them and tell what came of them. Opens no port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hilrig_capture::{CaptureSpec, Outcome, PlaySpec, Player, Progress, Recording, Side};
use hilrig_contract::arg::{choice, float, int, needed, switch, text};
use hilrig_contract::{ActionDescriptor, ArgDescriptor, Call, ContractError};
use hilrig_port::Time;
use serde_json::{Map, Value, json};

use crate::CaptureRow;

/// Between two looks at a replay.
const LOOK: Duration = Duration::from_millis(20);
/// Between two lines about it.
const TELL: Duration = Duration::from_secs(5);
/// For actions that last as long as what they do.
const LONG: f64 = 700_000.0;

/// An action that starts a capture, with the arguments that [`capture_spec`] reads. `framing` is `raw`, or words for
/// what is chosen without one.
pub fn capture_action(
    action: ActionDescriptor,
    framing: ArgDescriptor,
    points: &'static str,
) -> ActionDescriptor {
    action
        .arg(text("file", "File or FIFO; relative to captures/ of the root"))
        .arg(text("format", "rtac, or pdu:DISSECTOR as in pdu:mbrtu").default("rtac"))
        .arg(framing)
        .arg(choice("points", "Points", ["out", "in", "both"]).default(points))
        .arg(float("rotateMegabytes", "New file at this size", 0.001, 1e9).unit("MB"))
        .arg(float("rotateSeconds", "New file after this time", 0.1, 1e9).unit("s"))
        .arg(int("keep", "Files to keep", 1, 1_000_000))
}

/// Where captures of an installation are.
pub fn capture_folder(root: &Path) -> PathBuf {
    root.join("captures")
}

/// The capture that an action asks for; without a file it is called as `name` and the time.
///
/// # Errors
/// The argument that makes no sense.
pub fn capture_spec(call: Call<'_>, name: &str, framing: &str) -> Result<CaptureSpec, ContractError> {
    let args = call.args;
    let wrong = |param: &'static str| move |why: String| ContractError::bad_param(param, why);
    let file =
        args.text("file").map_or_else(|| PathBuf::from(format!("{name}-{{time}}.pcapng")), PathBuf::from);
    let spec = CaptureSpec {
        format: args.text("format").unwrap_or("rtac").parse().map_err(wrong("format"))?,
        framing: args.text("framing").unwrap_or(framing).parse().map_err(wrong("framing"))?,
        points: args.text("points").unwrap_or("out").parse().map_err(wrong("points"))?,
        rotate_megabytes: args.float("rotateMegabytes"),
        rotate_seconds: args.float("rotateSeconds"),
        keep: args.int("keep").and_then(|n| u32::try_from(n).ok()),
        ..CaptureSpec::new(file)
    };
    spec.check().map_err(|e| ContractError::bad_param(e.key, e.to_string()))?;
    Ok(spec)
}

/// What became of a capture, for people.
pub fn capture_sentence(row: &CaptureRow) -> String {
    let CaptureRow { file, records, bytes, lost_bytes, error, .. } = row;
    let lost = if *lost_bytes > 0 { format!(", {lost_bytes} bytes missing") } else { String::new() };
    let error = if error.is_empty() { String::new() } else { format!("; {error}") };
    format!("{file}: {records} records, {bytes} bytes{lost}{error}")
}

/// An action that replays a capture, with the arguments that [`replay_player`] reads; `targets` say where to.
pub fn replay_action(
    action: ActionDescriptor,
    targets: impl IntoIterator<Item = ArgDescriptor>,
) -> ActionDescriptor {
    let file = needed("file", "Capture; relative to captures/ of the root");
    let action = targets.into_iter().fold(action.arg(file), ActionDescriptor::arg);
    action
        .arg(choice("only", "Only what this side sent", ["both", "a", "b"]).default("both"))
        .arg(float("speed", "Speed; 0 for as fast as the line takes it", 0.0, 1e6).default(1.0))
        .arg(switch("expect", "Expect the other side's bytes").default(false))
        .arg(text("link", "Link within the capture"))
        .timeout(LONG)
}

/// The replay that an action asks for, and the file that it is of.
///
/// # Errors
/// The argument that makes no sense, or what is wrong with the file.
pub fn replay_player(call: Call<'_>) -> Result<(PathBuf, Player), ContractError> {
    let args = call.args;
    let file = capture_folder(call.root).join(args.text("file").unwrap_or_default());
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
    let player = Player::new(recording, spec).map_err(|why| ContractError::bad_param("expect", why))?;
    Ok((file, player))
}

/// Waits for the end of a replay, which `ask` looks at, and tells how far it is.
///
/// # Errors
/// The action has to end, or what `ask` says.
pub fn replay_follow(
    call: Call<'_>,
    mut ask: impl FnMut() -> Result<Progress, ContractError>,
) -> Result<Progress, ContractError> {
    let mut told = Time::now();
    loop {
        let progress = ask()?;
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

/// What came of a replay: the result of its action.
///
/// # Errors
/// It did not go as recorded; the error has the same details as a result.
pub fn replay_result(call: Call<'_>, progress: &Progress) -> Result<Map<String, Value>, ContractError> {
    let Progress { sent, to_send, matched, to_match, outcome, .. } = progress;
    let mut result = Map::new();
    let mut put = |key: &str, value: Value| result.insert(key.to_owned(), value);
    put("sentBytes", json!(sent));
    put("recordedBytes", json!(to_send));
    put("matchedBytes", json!(matched));
    put("expectedBytes", json!(to_match));
    put("outcome", json!(outcome.as_ref().map_or_else(String::new, ToString::to_string)));
    put("difference", Value::Null);
    call.job.out(&format!("{sent} of {to_send} bytes sent, {matched} of {to_match} expected came"));
    let fail = |result: Map<String, Value>, why: String| {
        let error = ContractError::failed(why).with("reason", "replay");
        Err(result.into_iter().fold(error, |error, (key, value)| error.with(&key, value)))
    };
    match outcome {
        Some(Outcome::Played) | None => Ok(result),
        Some(Outcome::Differs(difference)) => {
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
