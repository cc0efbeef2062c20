//! What this machine grants and what it lacks, as rows for an operator. Looks only; changes nothing.

use std::path::{Path, PathBuf};

use hilrig_port::{OpenPort, PortUrl, Runtime, list_ports};
use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// Something optional is not granted.
    Missing,
    /// hilrig cannot work.
    Broken,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub outcome: Outcome,
    pub found: String,
    /// What to do; `""` when there is nothing to do.
    pub advice: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, found: found.into(), advice: String::new() }
    }

    fn missing(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Missing, found: found.into(), advice: advice.into() }
    }

    fn broken(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { outcome: Outcome::Broken, ..Self::missing(name, found, advice) }
    }
}

/// Runs all checks.
pub fn doctor() -> Vec<Check> {
    let mut checks = vec![kernel()];
    checks.extend(runtime());
    checks.push(serial_ports());
    checks.push(limit(
        "real-time priority",
        Resource::Rtprio,
        "rtprio",
        "paced lines run with ordinary priority",
    ));
    checks.push(limit("locked memory", Resource::Memlock, "memlock", "buffers may be paged out"));
    checks.push(match access("/dev/cpu_dma_latency", Access::WRITE_OK) {
        Ok(()) => Check::ok("idle states", "/dev/cpu_dma_latency can be held"),
        Err(e) => Check::missing(
            "idle states",
            format!("/dev/cpu_dma_latency: {e}"),
            "round trips are 2 to 3 times slower on an idle machine; grant write access to hold it during runs",
        ),
    });
    checks.push(program("Wireshark", &["tshark", "wireshark"], "captures can still be written"));
    checks.push(program(
        "QEMU",
        &["qemu-system-arm", "qemu-system-x86_64"],
        "firmware for it cannot be hosted; install qemu-system-arm",
    ));
    checks.push(program("BlueZ", &["bluetoothctl"], "BLE over this machine's adapter is not available"));
    checks
}

fn kernel() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 11) {
        Check::ok("kernel", release)
    } else {
        Check::broken("kernel", release, "Linux 5.11 or later is needed (epoll_pwait2)")
    }
}

fn runtime() -> Vec<Check> {
    let runtime = match Runtime::from_env() {
        Ok(runtime) => runtime,
        Err(e) => {
            return vec![Check::broken(
                "runtime directory",
                e.to_string(),
                "set HILRIG_RUNTIME_DIR to a directory of your own",
            )];
        }
    };
    let directory = Check::ok("runtime directory", runtime.dir().display().to_string());
    let name = format!("doctor-{}", std::process::id());
    let opened = OpenPort::open(&PortUrl::pty(name), &runtime, &|| false);
    vec![
        directory,
        match opened {
            Ok(_) => Check::ok("virtual ports", "a pseudo-terminal can be made"),
            Err(e) => Check::broken("virtual ports", e.to_string(), "mount devpts on /dev/pts"),
        },
    ]
}

fn serial_ports() -> Check {
    let ports = list_ports();
    let closed: Vec<String> = ports
        .iter()
        .filter(|p| access(&p.device, Access::READ_OK | Access::WRITE_OK).is_err())
        .map(|p| p.device.display().to_string())
        .collect();
    if closed.is_empty() {
        let names: Vec<String> = ports.iter().map(|p| p.device.display().to_string()).collect();
        let found = if names.is_empty() { "none on this machine".to_owned() } else { names.join(", ") };
        return Check::ok("serial ports", found);
    }
    Check::missing(
        "serial ports",
        format!("no permission for {}", closed.join(", ")),
        "add yourself to the group dialout (sudo usermod -aG dialout $USER) and log in again",
    )
}

fn limit(name: &'static str, resource: Resource, item: &str, without: &str) -> Check {
    let limit = getrlimit(resource).current;
    if rustix::process::geteuid().is_root() || limit.is_none() {
        return Check::ok(name, "unlimited");
    }
    let limit = limit.unwrap_or(0);
    let enough = if resource == Resource::Rtprio { limit > 0 } else { limit >= 64 << 20 };
    if enough {
        Check::ok(name, limit.to_string())
    } else {
        Check::missing(
            name,
            format!("limit {limit}"),
            format!(
                "{without}; raise {item} in /etc/security/limits.d or LimitRTPRIO/LimitMEMLOCK of the unit"
            ),
        )
    }
}

fn program(name: &'static str, programs: &[&str], without: &str) -> Check {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> = std::env::split_paths(&path)
        .flat_map(|dir| programs.iter().map(move |p| dir.join(p)))
        .find(|file| is_program(file));
    match found {
        Some(file) => Check::ok(name, file.display().to_string()),
        None => Check::missing(name, format!("no {} in PATH", programs.join(" or ")), without),
    }
}

fn is_program(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_do_about_all_that_is_not_ok() {
        let checks = doctor();
        assert!(checks.len() >= 8);
        for check in checks {
            assert!(!check.found.is_empty(), "{check:?}");
            assert_eq!(check.advice.is_empty(), check.outcome == Outcome::Ok, "{check:?}");
        }
        assert_eq!(program("x", &["no-such-program-here"], "why").outcome, Outcome::Missing);
        assert_eq!(program("sh", &["sh"], "why").outcome, Outcome::Ok);
    }
}
