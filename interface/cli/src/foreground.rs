//! Bridge work without a daemon: `link` and `pair`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hilrig_bridge::{LinkSet, LinkSpec};
use hilrig_port::{PortUrl, Runtime};
use serde_json::json;

use crate::output::{Exit, Failure, say, say_json};

/// How often the foreground looks after its links: seldom enough to cost the lines nothing.
const LOOK: Duration = Duration::from_millis(200);

/// A flag that SIGINT and SIGTERM raise; a second signal ends the process at once.
pub fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let first =
            signal_hook::flag::register_conditional_shutdown(signal, Exit::Stopped as i32, flag.clone());
        let second = signal_hook::flag::register(signal, flag.clone());
        first.and(second).map_err(|e| Failure::infrastructure(format!("cannot watch for signals: {e}")))?;
    }
    Ok(flag)
}

pub fn runtime() -> Result<Runtime, Failure> {
    Runtime::from_env().map_err(|e| Failure::infrastructure(e.to_string()))
}

pub fn link(ports: &[String], json: bool) -> Result<ExitCode, Failure> {
    if !ports.len().is_multiple_of(2) {
        return Err(Failure::usage(format!(
            "link takes ports in pairs (A B [A2 B2 ...]); the last one, {}, has no partner",
            ports[ports.len() - 1]
        )));
    }
    let mut urls = Vec::with_capacity(ports.len());
    for port in ports {
        urls.push(port.parse::<PortUrl>().map_err(|e| Failure::usage(e.to_string()))?);
    }
    let specs: Vec<LinkSpec> = urls
        .chunks_exact(2)
        .enumerate()
        .map(|(i, pair)| LinkSpec::new(format!("{}", i + 1), pair[0].clone(), pair[1].clone()))
        .map(|spec| LinkSpec { reconnect: false, ..spec })
        .collect();
    carry(&specs, json)
}

pub fn pair(name: &str, json: bool) -> Result<ExitCode, Failure> {
    let end = |side: char| {
        format!("pty:{name}.{side}").parse::<PortUrl>().map_err(|e| Failure::usage(e.to_string()))
    };
    carry(&[LinkSpec::new(name, end('a')?, end('b')?)], json)
}

fn carry(specs: &[LinkSpec], json: bool) -> Result<ExitCode, Failure> {
    let interrupted = interrupt_flag()?;
    let links = LinkSet::open(specs, &runtime()?, &|| interrupted.load(Ordering::Relaxed))
        .map_err(|e| Failure::infrastructure(e.to_string()))?;
    for warning in links.warnings() {
        eprintln!("hilrig: {warning}");
    }
    for pair in links.ports().chunks_exact(2) {
        let open = |i: usize| {
            let port = &pair[i];
            if port.far_end.is_empty() {
                port.url.clone()
            } else {
                format!("{} (open {})", port.url, port.far_end)
            }
        };
        eprintln!("link {}: {} <-> {}", pair[0].link, open(0), open(1));
    }
    let mut told = 0;
    let mut end = Ok(ExitCode::SUCCESS);
    while !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        let (lost, all) = links.lost();
        if lost != told {
            told = lost;
            eprintln!("hilrig: {}", links.trouble());
        }
        if all {
            end = Err(Failure::infrastructure("no link is left"));
            break;
        }
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    if json {
        say_json(&json!({ "ports": links.ports(), "traffic": links.rows() }));
    } else {
        for row in links.rows() {
            say(&format!(
                "link {}: {} -> {}: {} bytes in, {} out, {} discarded; forwarded in {:.0} us (p50), {:.0} us (p99)",
                row.link,
                row.from,
                row.to,
                row.bytes_in,
                row.bytes_out,
                row.discarded_bytes,
                row.latency_p50_us,
                row.latency_p99_us
            ));
        }
    }
    end
}
