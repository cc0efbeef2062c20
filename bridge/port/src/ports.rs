//! What serial ports this machine has, which of them a name means, and who holds them. Reads sysfs, /dev/serial and
//! /proc; opens no port.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::PortError;

/// One real serial port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortInfo {
    pub device: PathBuf,
    /// Names that stay with the device.
    pub by_id: Vec<PathBuf>,
    /// Names that stay with the socket it is plugged into.
    pub by_path: Vec<PathBuf>,
    pub driver: String,
    pub manufacturer: String,
    pub product: String,
    pub serial_number: String,
    /// `vendor:product` in hexadecimal, empty when not USB.
    pub usb_id: String,
    /// Process id and name of whoever has it open, as far as this user may see.
    pub held_by: Vec<(u32, String)>,
}

impl PortInfo {
    /// The port as a URL that finds it again wherever it is plugged in; `None` when it is not USB.
    pub fn usb_url(&self) -> Option<String> {
        let serial = if self.serial_number.is_empty() { "" } else { ":" };
        (!self.usb_id.is_empty()).then(|| format!("usb:{}{serial}{}", self.usb_id, self.serial_number))
    }

    fn is_usb(&self, vendor: u16, product: u16, serial: Option<&str>) -> bool {
        let id = self
            .usb_id
            .split_once(':')
            .and_then(|(v, p)| Some((u16::from_str_radix(v, 16).ok()?, u16::from_str_radix(p, 16).ok()?)));
        id == Some((vendor, product)) && serial.is_none_or(|serial| serial == self.serial_number)
    }

    /// The port with the name that tells it from others of its kind.
    fn choice(&self) -> String {
        match self.by_id.first().or(self.by_path.first()) {
            Some(name) => format!("{} ({})", self.device.display(), name.display()),
            None => self.device.display().to_string(),
        }
    }
}

fn machine() -> Machine<'static> {
    Machine { sys: Path::new("/sys"), dev: Path::new("/dev"), proc: Path::new("/proc") }
}

/// All real serial ports, in order of their names.
pub fn list_ports() -> Vec<PortInfo> {
    machine().ports()
}

/// Where a USB adapter's port is at the moment. It must be the only one that fits.
pub(crate) fn find_usb(
    vendor: u16,
    product: u16,
    serial: Option<&str>,
    port: &str,
) -> Result<PathBuf, PortError> {
    let mut fits = machine().found();
    fits.retain(|p| p.is_usb(vendor, product, serial));
    only(fits.iter().map(|p| (p.device.clone(), p.choice())).collect(), port)
}

/// What a path with `*`, `?` or `[…]` in it means at the moment; one that exists as it stands, or has none of them,
/// means itself.
pub(crate) fn find_path(path: &Path, port: &str) -> Result<PathBuf, PortError> {
    let text = path.to_string_lossy();
    if !text.contains(['*', '?', '[']) || fs::symlink_metadata(path).is_ok() {
        return Ok(path.to_owned());
    }
    let names = glob::glob(&text).map_err(|e| PortError::Unsupported {
        port: port.to_owned(),
        reason: format!("its name is not a pattern: {e}"),
    })?;
    let mut fits: Vec<(PathBuf, String)> = Vec::new();
    let mut devices = Vec::new();
    for name in names.flatten() {
        // Several names may lead to the same port.
        let Ok(device) = name.canonicalize() else { continue };
        let is_port = fs::metadata(&device).is_ok_and(|m| m.file_type().is_char_device());
        if is_port && !devices.contains(&device) {
            fits.push((name.clone(), name.display().to_string()));
            devices.push(device);
        }
    }
    only(fits, port)
}

fn only(mut fits: Vec<(PathBuf, String)>, port: &str) -> Result<PathBuf, PortError> {
    match fits.len() {
        1 => Ok(fits.remove(0).0),
        0 => Err(PortError::NotFound { port: port.to_owned(), hint: what_is_there() }),
        _ => {
            let matches: Vec<_> = fits.into_iter().map(|(_, choice)| choice).collect();
            Err(PortError::Ambiguous { port: port.to_owned(), matches: matches.join(", ") })
        }
    }
}

/// Who has `path` open, as far as this user may see.
pub(crate) fn holders(path: &Path) -> Vec<(u32, String)> {
    let device = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut held = vec![Vec::new()];
    find_holders(Path::new("/proc"), &[&device], &mut held);
    held.pop().unwrap_or_default()
}

/// The end of a "no such port" sentence.
pub(crate) fn what_is_there() -> String {
    let names: Vec<_> = machine().found().iter().map(|p| p.device.display().to_string()).collect();
    match names.len() {
        0 => "this machine has no serial port at the moment (is the adapter plugged in?)".to_owned(),
        1..=8 => format!("there is {} (`hilrig ports` says more)", names.join(", ")),
        n => format!("there are {n} others, `hilrig ports` lists them"),
    }
}

/// Where to look; another place in tests.
struct Machine<'a> {
    sys: &'a Path,
    dev: &'a Path,
    proc: &'a Path,
}

impl Machine<'_> {
    /// With whoever holds them, which takes a look at every process.
    fn ports(&self) -> Vec<PortInfo> {
        let mut ports = self.found();
        let devices: Vec<PathBuf> =
            ports.iter().map(|p| p.device.canonicalize().unwrap_or_else(|_| p.device.clone())).collect();
        let wanted: Vec<&Path> = devices.iter().map(PathBuf::as_path).collect();
        let mut held = vec![Vec::new(); ports.len()];
        find_holders(self.proc, &wanted, &mut held);
        for (port, held) in ports.iter_mut().zip(held) {
            port.held_by = held;
        }
        ports
    }

    fn found(&self) -> Vec<PortInfo> {
        let mut ports: Vec<PortInfo> =
            entries(&self.sys.join("class/tty")).iter().filter_map(|class| self.port(class)).collect();
        ports.sort_by_cached_key(|p| natural(&p.device.to_string_lossy()));
        for (folder, put) in [("by-id", 0), ("by-path", 1)] {
            for link in entries(&self.dev.join("serial").join(folder)) {
                let Ok(target) = link.canonicalize() else { continue };
                if let Some(port) =
                    ports.iter_mut().find(|p| p.device.canonicalize().is_ok_and(|d| d == target))
                {
                    if put == 0 { port.by_id.push(link) } else { port.by_path.push(link) }
                }
            }
        }
        ports
    }

    fn port(&self, class: &Path) -> Option<PortInfo> {
        // Consoles and pseudo terminals have no device behind them.
        let device = class.join("device").canonicalize().ok()?;
        // A UART the kernel reserves but has not found has type 0.
        if fs::read_to_string(class.join("type")).is_ok_and(|t| t.trim() == "0") {
            return None;
        }
        let path = self.dev.join(class.file_name()?);
        if !path.exists() {
            return None;
        }
        let up = || device.ancestors().take_while(|dir| *dir != self.sys);
        let driver = up()
            .filter_map(|dir| {
                Some(fs::read_link(dir.join("driver")).ok()?.file_name()?.to_string_lossy().into_owned())
            })
            // Kernels since 6.5 put a port and its controller between a UART and its driver.
            .find(|name| name != "port" && name != "ctrl")
            .unwrap_or_default();
        let mut info = PortInfo { device: path, driver, ..PortInfo::default() };
        if let Some(usb) = up().find(|dir| dir.join("idVendor").exists()) {
            let read =
                |name| fs::read_to_string(usb.join(name)).map(|s| s.trim().to_owned()).unwrap_or_default();
            info.usb_id = format!("{}:{}", read("idVendor"), read("idProduct"));
            info.manufacturer = read("manufacturer");
            info.product = read("product");
            info.serial_number = read("serial");
        }
        Some(info)
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(dir).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths
}

/// ttyUSB2 before ttyUSB10.
fn natural(name: &str) -> (String, u64) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name[stem.len()..].parse().unwrap_or(0))
}

fn find_holders(proc: &Path, devices: &[&Path], held: &mut [Vec<(u32, String)>]) {
    if devices.is_empty() {
        return;
    }
    for process in entries(proc) {
        let Some(pid) = process.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok()) else { continue };
        let targets: Vec<PathBuf> =
            entries(&process.join("fd")).iter().filter_map(|fd| fs::read_link(fd).ok()).collect();
        for (device, held) in devices.iter().zip(held.iter_mut()) {
            if targets.iter().any(|t| t == device) {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned();
                held.push((pid, name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn file(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(path: PathBuf, to: impl AsRef<Path>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    #[test]
    fn a_made_up_machine_is_read_right() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().canonicalize().unwrap();
        let (sys, dev, proc) = (root.join("sys"), root.join("dev"), root.join("proc"));

        // An FTDI adapter, twice: ttyUSB10 without names, ttyUSB2 in full.
        for (tty, usb) in [("ttyUSB10", "1-2"), ("ttyUSB2", "1-1")] {
            let device = sys.join(format!("devices/usb1/{usb}/{usb}:1.0/{tty}"));
            file(device.join("x"), "");
            link(device.join("driver"), "../../../../../bus/usb-serial/drivers/ftdi_sio");
            link(sys.join(format!("devices/usb1/{usb}/driver")), "/sys/bus/usb/drivers/usb");
            let info = sys.join(format!("devices/usb1/{usb}"));
            for (name, text) in [
                ("idVendor", "0403\n"),
                ("idProduct", "6001\n"),
                ("manufacturer", "FTDI\n"),
                ("product", "TTL232R\n"),
            ] {
                file(info.join(name), text);
            }
            if tty == "ttyUSB2" {
                file(info.join("serial"), "A5XK3RJT\n");
            }
            link(sys.join(format!("class/tty/{tty}/device")), device);
            file(dev.join(tty), "");
        }
        link(dev.join("serial/by-id/usb-FTDI_A5XK3RJT-if00-port0"), "../../ttyUSB2");
        link(dev.join("serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0"), "../../ttyUSB2");

        // A UART on the board as kernels since 6.5 show it, one without hardware, a console, one without node.
        let port = sys.join("devices/platform/serial8250/serial8250:0/serial8250:0.0");
        file(port.join("x"), "");
        link(port.join("driver"), "/sys/bus/serial-base/drivers/port");
        link(sys.join("devices/platform/serial8250/driver"), "/sys/bus/platform/drivers/serial8250");
        for (tty, kind, node) in [("ttyS0", "4", true), ("ttyS1", "0", true), ("ttyS2", "4", false)] {
            link(sys.join(format!("class/tty/{tty}/device")), &port);
            file(sys.join(format!("class/tty/{tty}/type")), kind);
            if node {
                file(dev.join(tty), "");
            }
        }
        file(sys.join("class/tty/tty0/dev"), "4:0");
        file(dev.join("tty0"), "");

        file(proc.join("4711/comm"), "minicom\n");
        link(proc.join("4711/fd/3"), dev.join("ttyUSB2"));
        link(proc.join("4711/fd/4"), dev.join("ttyUSB2"));
        link(proc.join("12/fd/0"), "/dev/null");
        file(proc.join("self/comm"), "no");

        let ports = Machine { sys: &sys, dev: &dev, proc: &proc }.ports();
        let names: Vec<_> = ports.iter().map(|p| p.device.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["ttyS0", "ttyUSB2", "ttyUSB10"]);
        assert_eq!((ports[0].driver.as_str(), ports[0].usb_id.as_str()), ("serial8250", ""));
        let adapter = PortInfo {
            device: dev.join("ttyUSB2"),
            by_id: vec![dev.join("serial/by-id/usb-FTDI_A5XK3RJT-if00-port0")],
            by_path: vec![dev.join("serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0")],
            driver: "ftdi_sio".into(),
            manufacturer: "FTDI".into(),
            product: "TTL232R".into(),
            serial_number: "A5XK3RJT".into(),
            usb_id: "0403:6001".into(),
            held_by: vec![(4711, "minicom".into())],
        };
        assert_eq!(ports[1], adapter);
        assert_eq!(ports[1].usb_url().unwrap(), "usb:0403:6001:A5XK3RJT");
        assert_eq!(ports[2].usb_url().unwrap(), "usb:0403:6001");
        assert_eq!(ports[0].usb_url(), None);
        let fits = |v, p, serial| ports.iter().filter(|port| port.is_usb(v, p, serial)).count();
        assert_eq!(fits(0x403, 0x6001, None), 2);
        assert_eq!(fits(0x403, 0x6001, Some("A5XK3RJT")), 1);
        assert_eq!(fits(0x403, 0x6010, None), 0);
        assert_eq!(
            (ports[2].serial_number.as_str(), ports[2].by_id.len(), ports[2].held_by.len()),
            ("", 0, 0)
        );
    }

    #[test]
    fn this_process_is_found_as_a_holder() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("x");
        let _open = fs::File::create(&path).unwrap();
        assert!(holders(&path).iter().any(|(pid, _)| *pid == std::process::id()));
        list_ports();
    }
    #[test]
    fn a_pattern_means_the_one_port_that_fits() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        let find = |pattern: &str| find_path(&at(pattern), "the port");
        symlink("/dev/null", at("usb-A-if00")).unwrap();
        symlink("/dev/null", at("usb-A-same")).unwrap();
        fs::write(at("usb-A-file"), "").unwrap();
        assert_eq!(find("usb-A-*").unwrap(), at("usb-A-if00"), "one port of two names");
        assert_eq!(
            find("usb-[B]").unwrap_err().to_string().split(';').next(),
            Some("the port: there is no such port")
        );
        symlink("/dev/zero", at("usb-[B]")).unwrap();
        assert_eq!(find("usb-[B]").unwrap(), at("usb-[B]"), "a name that exists is no pattern");
        let both = find("usb-*").unwrap_err().to_string();
        assert!(both.contains("usb-A-if00, ") && both.contains("usb-[B]; "), "{both}");
        assert!(find("usb-***").unwrap_err().to_string().contains("not a pattern"));
        assert_eq!(find("plain").unwrap(), at("plain"));
    }
}
