//! Why a serial port cannot be opened, and what to do about it, in sentences for an operator. Opens nothing.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::io::Errno;

use crate::{PortError, ports};

const GONE: &str = "the program that made this virtual port is gone; start it again";

fn gone(port: &str) -> PortError {
    PortError::NotFound { port: port.to_owned(), hint: GONE.to_owned() }
}

/// After opening: a virtual port is that of the program whose name it has.
pub(super) fn check_owner(path: &Path, terminal: u32, port: &str) -> Result<(), PortError> {
    if crate::runtime::is_owned(path, terminal) { Ok(()) } else { Err(gone(port)) }
}

pub(super) fn check_path(path: &Path, port: &str) -> Result<(), PortError> {
    if crate::runtime::is_left_behind(path) {
        return Err(gone(port));
    }
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(not_found(path, port));
        }
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(permission(path, port)),
        Err(e) => return Err(PortError::io(&port, "look at the port", e)),
    };
    if meta.file_type().is_char_device() {
        Ok(())
    } else {
        Err(PortError::NotAPort { port: port.to_owned() })
    }
}

fn not_found(path: &Path, port: &str) -> PortError {
    let hint = match fs::read_link(path) {
        Ok(to) if to.starts_with("/dev/pts") => GONE.to_owned(),
        Ok(to) => format!("the name leads to {}, which is gone; {}", to.display(), ports::what_is_there()),
        Err(_) if crate::runtime::dir_from_env().is_some_and(|dir| path.starts_with(dir)) => {
            "no program has made a virtual port of this name".to_owned()
        }
        Err(_) => ports::what_is_there(),
    };
    PortError::NotFound { port: port.to_owned(), hint }
}

fn permission(path: &Path, port: &str) -> PortError {
    let hint = match owning_group(path) {
        Some(group) => format!(
            "add your user to the group `{group}` (sudo usermod -aG {group} $USER), then log in again"
        ),
        None => "add your user to the group `dialout` (sudo usermod -aG dialout $USER), then log in again"
            .to_owned(),
    };
    PortError::Permission { port: port.to_owned(), hint }
}

/// The group that may use the device, if it is one a user can be added to.
fn owning_group(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let gid = fs::metadata(path).ok()?.gid();
    let groups = fs::read_to_string("/etc/group").ok()?;
    let name = groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == gid.to_string()).then(|| name.to_owned())
    })?;
    (gid != 0 && name != "tty").then_some(name)
}

/// What opening, locking or asking the port has brought.
pub(super) fn open_error(e: Errno, path: &Path, port: &str) -> PortError {
    match e {
        Errno::BUSY | Errno::WOULDBLOCK => {
            let holder = match ports::holders(path).as_slice() {
                [] => "another program has it open".to_owned(),
                all => {
                    let names: Vec<_> =
                        all.iter().map(|(pid, name)| format!("{name} (process {pid})")).collect();
                    format!("{} has it open", names.join(", "))
                }
            };
            PortError::Busy { port: port.to_owned(), holder }
        }
        Errno::ACCESS | Errno::PERM => permission(path, port),
        Errno::NOENT | Errno::NXIO | Errno::NODEV => not_found(path, port),
        Errno::NOTTY => PortError::NotAPort { port: port.to_owned() },
        Errno::IO => unsupported(port, "the driver refuses; there may be no hardware behind this port"),
        e => PortError::io(&port, "open the port", e),
    }
}

pub(super) fn unsupported(port: &str, reason: impl Into<String>) -> PortError {
    PortError::Unsupported { port: port.to_owned(), reason: reason.into() }
}
