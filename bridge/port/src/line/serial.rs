//! A real serial port, opened and set by serialport and told what that crate cannot say. Touches DTR and RTS
//! only when asked to, and never waits for output to drain except briefly when the port is given up.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr,
};
use serialport::{DataBits, FlowControl, SerialPort};

use super::Decode;
use crate::serial_options::{Flow, Parity, SerialOptions, StopBits};
use crate::{Lines, PortError, Signal, ports, sys};

/// How long giving up a port may wait for its last bytes to leave.
const LINGER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct SerialLine {
    pub(crate) fd: OwnedFd,
}

impl SerialLine {
    /// Opens the port; what was asked for beyond the plain line and refused comes back as warnings.
    pub(crate) fn open(
        path: &Path,
        options: &SerialOptions,
        port: &str,
    ) -> Result<(Self, Vec<String>), PortError> {
        check_path(path, port)?;
        let unsupported =
            |reason: &str| PortError::Unsupported { port: port.to_owned(), reason: reason.to_owned() };
        let format = options.format;
        // A UART's "two stop bits" is one and a half at five data bits, and only there.
        let stop_bits = match (format.stop_bits, format.data_bits) {
            (StopBits::One, _) => serialport::StopBits::One,
            (StopBits::OneAndHalf, 5) | (StopBits::Two, 6..) => serialport::StopBits::Two,
            (StopBits::OneAndHalf, _) => {
                return Err(unsupported("one and a half stop bits exist only with 5 data bits"));
            }
            (StopBits::Two, _) => {
                return Err(unsupported("with 5 data bits a port sends 1 or 1.5 stop bits, not 2"));
            }
        };
        let data_bits = match format.data_bits {
            5 => DataBits::Five,
            6 => DataBits::Six,
            7 => DataBits::Seven,
            _ => DataBits::Eight,
        };
        let builder = serialport::new(path.to_string_lossy(), options.baud)
            .data_bits(data_bits)
            .stop_bits(stop_bits)
            .parity(match format.parity {
                Parity::None => serialport::Parity::None,
                Parity::Even | Parity::Space => serialport::Parity::Even,
                Parity::Odd | Parity::Mark => serialport::Parity::Odd,
            })
            .flow_control(match options.flow {
                Flow::None => FlowControl::None,
                Flow::RtsCts => FlowControl::Hardware,
                Flow::XonXoff => FlowControl::Software,
            })
            .exclusive(options.exclusive)
            .preserve_dtr_on_open();
        // The last user of a virtual port may have left so recently that the port is made ready for the next one
        // while we set it, which serialport takes for a refusal.
        let mut tries = 0..5;
        let mut tty = loop {
            match builder.clone().open_native() {
                Err(e) if e.description.contains("did not apply") && tries.next().is_some() => {}
                done => break done.map_err(|e| open_error(e, path, port))?,
            }
        };

        let mut warnings = Vec::new();
        if let Some(on) = options.dtr {
            best_effort(
                tty.write_data_terminal_ready(on),
                if on { "raise DTR" } else { "lower DTR" },
                &mut warnings,
            );
        }
        if let Some(on) = options.rts {
            best_effort(
                tty.write_request_to_send(on),
                if on { "raise RTS" } else { "lower RTS" },
                &mut warnings,
            );
        }
        let line = Self { fd: sys::adopt(tty) };
        line.finish(options).map_err(|e| PortError::io(&port, "set the line", e))?;
        if options.low_latency {
            best_effort(sys::low_latency(&line.fd), "switch to low latency", &mut warnings);
        }
        if options.rs485 {
            best_effort(sys::rs485(&line.fd), "switch the driver to RS-485", &mut warnings);
        }
        Ok((line, warnings))
    }

    /// Readable when the watcher of the modem lines has something.
    pub(crate) fn aside_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Lines that the device shows (CTS, DSR, DCD, RI), as they are after a change.
    pub(crate) fn aside(&mut self) -> Option<Signal> {
        None
    }

    /// Finds marked characters among the bytes.
    pub(crate) fn decoder(&mut self) -> Option<&mut dyn Decode> {
        None
    }

    pub(crate) fn apply(&mut self, _signal: &Signal) -> Option<Signal> {
        None
    }

    /// DTR and RTS as they are now.
    pub(crate) fn driven(&self) -> Option<Lines> {
        None
    }

    /// What serialport leaves open: mark and space parity, reads that do not wait, lines left alone at close.
    fn finish(&self, options: &SerialOptions) -> io::Result<()> {
        let mut termios = tcgetattr(&self.fd)?;
        let before = (termios.control_modes, termios.input_modes);
        if matches!(options.format.parity, Parity::Mark | Parity::Space) {
            termios.control_modes |= ControlModes::CMSPAR;
        }
        // Closing would drop DTR and the next opening raise it again, which resets many a board.
        if options.dtr.is_none() {
            termios.control_modes &= !ControlModes::HUPCL;
        }
        // Bytes with a parity error arrive as they are: hiding them would be a lost byte without a counter.
        termios.input_modes &= !(InputModes::INPCK | InputModes::ISTRIP | InputModes::IGNPAR);
        if (termios.control_modes, termios.input_modes) != before {
            tcsetattr(&self.fd, OptionalActions::Now, &termios)?;
        }
        fcntl_setfl(&self.fd, fcntl_getfl(&self.fd)? | OFlags::NONBLOCK)?;
        Ok(())
    }
}

impl Drop for SerialLine {
    fn drop(&mut self) {
        // A close waits until output has drained, on a stopped line for up to 30 s; bound that.
        let until = Instant::now() + LINGER;
        while sys::unsent(&self.fd).is_ok_and(|n| n > 0) {
            if Instant::now() >= until {
                let _ = tcflush(&self.fd, QueueSelector::OFlush);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = rustix::termios::ioctl_tiocnxcl(&self.fd);
    }
}

fn best_effort<E: std::fmt::Display>(done: Result<(), E>, what: &str, warnings: &mut Vec<String>) {
    if let Err(e) = done {
        warnings.push(format!("the port cannot {what}: {e}; going on without"));
    }
}

fn check_path(path: &Path, port: &str) -> Result<(), PortError> {
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
        Ok(to) if to.starts_with("/dev/pts") => {
            "the program that made this virtual port is gone; start it again".to_owned()
        }
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

fn open_error(e: serialport::Error, path: &Path, port: &str) -> PortError {
    use serialport::ErrorKind;
    match e.kind {
        ErrorKind::NoDevice => {
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
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => permission(path, port),
        ErrorKind::Io(io::ErrorKind::NotFound) => not_found(path, port),
        ErrorKind::Io(kind) => PortError::io(&port, "open the port", io::Error::new(kind, e.description)),
        // ENOTTY, which serialport passes on by its old name only.
        _ if e.description.contains("typewriter") => PortError::NotAPort { port: port.to_owned() },
        _ => PortError::Unsupported {
            port: port.to_owned(),
            reason: format!("{}; there may be no hardware behind this port", e.description),
        },
    }
}
