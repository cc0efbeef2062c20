//! The action that sends a capture again, as a station on a shard of its own.

use std::path::PathBuf;

use hilrig_capture::Player;
use hilrig_contract::{Call, ContractError};
use hilrig_port::{OpenPort, PortUrl, SerialOptions, Shard};
use hilrig_record::{replay_follow, replay_player, replay_result};

use crate::app::{BridgeApp, Outcome};
use crate::lines;
use crate::live::Live;

/// Speed of a far end at which nobody is, where no wire says another.
const BAUD: u32 = 115_200;

pub(crate) fn start(app: &BridgeApp, call: Call<'_>) -> Outcome {
    let (file, player) = replay_player(call)?;
    let url = target(app, call)?;
    if call.config.text("profile") == "sim" && !url.is_virtual() {
        return Err(ContractError::failed(format!(
            "profile sim opens virtual ports only, and {url} may be a real line; set `profile` to lab or prod"
        )));
    }
    let refused = |e: hilrig_port::PortError| ContractError::failed(e.to_string());
    let port = OpenPort::open(&url, app.runtime(), &|| call.job.stop().is_some())
        .map_err(|e| call.job.stop().map_or_else(|| refused(e), ContractError::from))?;
    port.warnings().iter().for_each(|w| call.job.warn(&format!("{url}: {w}")));
    let shard = Shard::start("replay").map_err(refused)?;
    let station = shard.add_station(port, Box::new(player)).map_err(refused)?;
    call.job.out(&format!("{} goes to {url}", file.display()));
    let progress = || shard.with_station::<Player, _>(&station, |player, _, _| player.progress().clone());
    replay_result(call, &replay_follow(call, || progress().map_err(refused))?)
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
