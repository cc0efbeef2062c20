//! Wireshark's own list of interfaces: tshark finds ours there and captures from it.

use super::*;
use hilrig_capture::{Extcap, ExtcapRequest};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

const ARGS: &str = "HILRIG_TEST_EXTCAP";
const FILE: &str = "HILRIG_TEST_EXTCAP_FILE";

/// Not a test of its own: the program that tshark calls.
#[test]
fn extcap_program() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let args: Vec<&str> = args.split_whitespace().collect();
    let after = |name: &str| args.iter().position(|a| *a == name).and_then(|i| args.get(i + 1)).copied();
    let interface = after("--extcap-interface").unwrap_or_default().to_owned();
    let extcap =
        Extcap { interfaces: vec![("hilrig-line1".into(), "line1: {pty:master} <-> /dev/ttyUSB0".into())] };
    let has = |name: &str| args.contains(&name);
    let request = if has("--extcap-interfaces") {
        ExtcapRequest::Interfaces
    } else if has("--extcap-dlts") {
        ExtcapRequest::Dlts { interface }
    } else if has("--extcap-config") {
        ExtcapRequest::Config { interface }
    } else {
        let fifo = PathBuf::from(after("--fifo").unwrap());
        let file = PathBuf::from(std::env::var_os(FILE).unwrap());
        std::fs::write(file.with_extension("pid"), std::process::id().to_string()).unwrap();
        // After what is there the link is silent.
        let (silence, _kept) = std::io::pipe().unwrap();
        extcap.capture(&interface, &fifo, |_| Ok(File::open(file)?.chain(silence))).unwrap();
        return;
    };
    let mut answers = File::options().write(true).open("/dev/fd/3").unwrap();
    answers.write_all(extcap.answer(&request).unwrap().as_bytes()).unwrap();
}

#[test]
fn our_links_appear_as_interfaces_of_wireshark() {
    let Some((dir, file)) = captured("rtac", "silence", Line::exchange) else { return };
    let program = dir.path().join("hilrig");
    // tshark reads this only from the variable, and as root not even that: then it is run as nobody, who must be able
    // to run the program.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let this = bin.join("this");
    std::fs::copy(std::env::current_exe().unwrap(), &this).unwrap();
    let script = format!(
        "#!/bin/sh\n{ARGS}=\"$*\" exec '{}' --exact extcap::extcap_program --nocapture 3>&1 >/dev/null 2>&1\n",
        this.display()
    );
    std::fs::write(&program, script).unwrap();
    for path in [dir.path(), &bin, &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let tshark = |args: &[&str]| {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "tshark"]);
            command
        } else {
            Command::new("tshark")
        };
        command.args(args).env("WIRESHARK_EXTCAP_DIR", dir.path()).env(FILE, &file);
        let output = command.env("HOME", "/nonexistent").stdin(Stdio::null()).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let interfaces = tshark(&["-D"]);
    assert!(interfaces.contains("hilrig-line1 (line1: _pty:master_ <-> /dev/ttyUSB0)"), "{interfaces}");
    let types = tshark(&["-i", "hilrig-line1", "-L"]);
    assert!(types.contains("RTAC_SERIAL (RTAC serial line)"), "{types}");
    let shown = tshark(&[&["-n", "-i", "hilrig-line1", "-c", "2"], &MODBUS[..]].concat());
    assert!(shown.contains("Query: Unit:  17") && shown.contains("Response: Unit:  17"), "{shown}");
    let pid = std::fs::read_to_string(file.with_extension("pid")).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while Path::new("/proc").join(&pid).join("fd/0").symlink_metadata().is_ok() {
        assert!(std::time::Instant::now() < until, "the program stays after its capture");
        std::thread::sleep(Duration::from_millis(5));
    }
}
