//! `capture`: live from a running bridge, to stdout, to a file, or to Wireshark. The bridge writes into a FIFO of ours,
//! so that whoever reads can come and go without a line noticing.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hilrig_capture::{Extcap, ExtcapRequest};
use hilrig_host::Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use serde_json::{Value, json};

use crate::args::{CaptureArgs, CaptureShape, ExtcapArgs};
use crate::client::{act, connect};
use crate::extcap;
use crate::foreground::{interrupt_flag, runtime};
use crate::output::{Failure, say};

/// How often to look whether the reader is still there.
const LOOK: Duration = Duration::from_millis(100);
/// How long the bridge may take to end a capture.
const END: Duration = Duration::from_secs(10);
/// Wireshark's name for all links together, and the beginning of the others.
const ALL: &str = "hilrig";

/// Which daemon.
struct Daemon<'a> {
    root: &'a Path,
    endpoint: Option<&'a str>,
}

impl Daemon<'_> {
    /// Each time anew: a capture lasts long.
    fn client(&self) -> Result<Client, Failure> {
        connect(self.root, self.endpoint)
    }
}

pub fn capture(args: &CaptureArgs, root: &Path, endpoint: Option<&str>) -> Result<ExitCode, Failure> {
    let daemon = Daemon { root, endpoint };
    let ExtcapArgs { extcap_interfaces, extcap_dlts, extcap_config, capture, .. } = &args.extcap;
    if *extcap_interfaces || *extcap_dlts || *extcap_config || *capture {
        return as_extcap(args, &daemon);
    }
    if args.install_extcap {
        return extcap::install(root, endpoint);
    }
    if args.uninstall_extcap {
        return extcap::uninstall();
    }
    match &args.file {
        Some(file) => to_file(args, file, &daemon),
        None if args.stdout => {
            let stdout = std::io::stdout();
            if stdout.is_terminal() {
                return Err(Failure::usage(
                    "stdout is a terminal: pipe it into Wireshark (| wireshark -k -i -), or give --file FILE",
                ));
            }
            let out = stdout.as_fd().try_clone_to_owned();
            let out = out.map_err(|e| Failure::infrastructure(format!("stdout: {e}")))?;
            stream(&args.links, &args.shape, out, &daemon)
        }
        None => Err(Failure::usage(
            "where to? --stdout, --file FILE, or --install-extcap for Wireshark's list of interfaces",
        )),
    }
}

/// The arguments of the bridge's action.
fn order(links: &[String], shape: &CaptureShape, file: &Path) -> Value {
    let mut order = json!({
        "links": links.join(","), "file": file, "format": shape.format.to_string(),
        "framing": shape.framing.to_string(), "points": shape.points,
    });
    if let Some(rotate) = shape.rotate {
        rotate.megabytes.into_iter().for_each(|n| order["rotateMegabytes"] = json!(n));
        rotate.seconds.into_iter().for_each(|n| order["rotateSeconds"] = json!(n));
    }
    shape.keep.into_iter().for_each(|n| order["keep"] = json!(n));
    order
}

/// Begins a capture; answers its id.
fn start(order: Value, daemon: &Daemon<'_>) -> Result<String, Failure> {
    let result = act(&mut daemon.client()?, "bridge", "capture_start", order)?;
    result["capture"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::infrastructure("the bridge did not name the capture it started"))
}

fn to_file(args: &CaptureArgs, file: &Path, daemon: &Daemon<'_>) -> Result<ExitCode, Failure> {
    // The bridge is another process, in another directory.
    let file = std::path::absolute(file)
        .map_err(|e| Failure::usage(format!("{}: has no absolute path: {e}", file.display())))?;
    let interrupted = interrupt_flag()?;
    let id = start(order(&args.links, &args.shape, &file), daemon)?;
    eprintln!("capturing into {}", file.display());
    while !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
    }
    let result = act(&mut daemon.client()?, "bridge", "capture_stop", json!({ "capture": id }))?;
    for row in result["captures"].as_array().into_iter().flatten() {
        let files = row["files"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for file in files {
            say(file);
        }
        eprintln!("{} bytes in {} records, {} bytes lost", row["bytes"], row["records"], row["lostBytes"]);
    }
    Ok(ExitCode::SUCCESS)
}

/// A FIFO in the runtime directory, for the bridge to write into.
struct Fifo {
    /// While it has one.
    path: Option<PathBuf>,
    file: File,
}

impl Fifo {
    fn new() -> Result<Self, Failure> {
        let path = runtime()?.dir().join(format!("capture-{}.fifo", std::process::id()));
        let failed = |e: rustix::io::Errno| {
            Failure::infrastructure(format!("{}: cannot be made: {e}", path.display()))
        };
        let _ = std::fs::remove_file(&path);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(failed)?;
        // Without waiting for the one who writes.
        let file = open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        let file = File::from(file.map_err(failed)?);
        Ok(Self { path: Some(path), file })
    }
}

impl Fifo {
    /// Both have it open: a kill leaves nothing behind.
    fn forget_name(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        self.forget_name();
    }
}

/// Copies a live capture to `out` until interrupted, or until nobody reads it any more.
fn stream(
    links: &[String],
    shape: &CaptureShape,
    out: OwnedFd,
    daemon: &Daemon<'_>,
) -> Result<ExitCode, Failure> {
    if shape.rotate.is_some() {
        return Err(Failure::usage("--rotate is for files: a stream has no next file"));
    }
    let interrupted = interrupt_flag()?;
    let mut fifo = Fifo::new()?;
    let path = fifo.path.clone().unwrap_or_default();
    let id = start(order(links, shape, &path), daemon)?;
    let out = File::from(out);
    let copied = copy(&mut fifo, &out, &interrupted, None)?;
    if copied == Copied::Ended {
        let status = daemon.client()?.call("status.get", json!({ "appId": "bridge" }))?;
        let error = status["error"].as_str().unwrap_or_default();
        return if error.is_empty() {
            eprintln!("hilrig: the bridge has ended the capture");
            Ok(ExitCode::SUCCESS)
        } else {
            Err(Failure::infrastructure(format!("the bridge has ended the capture: {error}")))
        };
    }
    let stop = json!({ "appId": "bridge", "actionName": "capture_stop", "args": { "capture": id } });
    // Not waited for: it ends when the last bytes are read.
    daemon.client()?.call("action.invoke", stop)?;
    let never = AtomicBool::new(false);
    copy(&mut fifo, &out, &never, Some(Instant::now() + END))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// Who writes has closed it.
    Ended,
    /// Who reads has.
    Unread,
    Interrupted,
}

fn copy(
    fifo: &mut Fifo,
    mut to: &File,
    interrupted: &AtomicBool,
    end: Option<Instant>,
) -> Result<Copied, Failure> {
    let mut block = vec![0; 64 << 10];
    let mut unread = false;
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(Copied::Interrupted);
        }
        if end.is_some_and(|end| Instant::now() > end) {
            return Err(Failure::infrastructure("the bridge does not end the capture"));
        }
        let mut wanted = [PollFd::new(&fifo.file, PollFlags::IN), PollFd::new(&to, PollFlags::empty())];
        let time = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
        if poll(&mut wanted, Some(&time)).is_err() {
            continue;
        }
        let [ready, reader] = [wanted[0].revents(), wanted[1].revents()];
        if reader.intersects(PollFlags::ERR | PollFlags::HUP) {
            unread = true;
        }
        if unread && end.is_none() {
            return Ok(Copied::Unread);
        }
        if !ready.intersects(PollFlags::IN | PollFlags::HUP) {
            continue;
        }
        match fifo.file.read(&mut block) {
            Ok(0) => return Ok(Copied::Ended),
            Ok(n) => {
                fifo.forget_name();
                match to.write_all(&block[..n]) {
                    Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => unread = true,
                    Err(e) => {
                        return Err(Failure::infrastructure(format!("the capture cannot be written: {e}")));
                    }
                    Ok(()) => {}
                }
            }
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
            Err(e) => return Err(Failure::infrastructure(format!("the capture cannot be read: {e}"))),
        }
    }
}

/// What Wireshark sees: one interface for all links, and one for each that is there now.
fn interfaces(daemon: &Daemon<'_>) -> Extcap {
    let mut interfaces = vec![(ALL.to_owned(), "hilrig: all links of the bridge".to_owned())];
    // Without a daemon there are none; Wireshark's list must come up all the same.
    let status = daemon.client().and_then(|mut c| Ok(c.call("status.get", json!({ "appId": "bridge" }))?));
    for link in status.iter().flat_map(|s| s["links"].as_array()).flatten() {
        if let Some(name) = link["link"].as_str() {
            let ports =
                format!("{} <-> {}", link["a"].as_str().unwrap_or("?"), link["b"].as_str().unwrap_or("?"));
            interfaces.push((format!("{ALL}-{name}"), format!("hilrig link {name}: {ports}")));
        }
    }
    Extcap { interfaces }
}

fn as_extcap(args: &CaptureArgs, daemon: &Daemon<'_>) -> Result<ExitCode, Failure> {
    let asked = &args.extcap;
    let interface = || {
        let none = || Failure::usage("--extcap-interface INTERFACE is missing");
        asked.extcap_interface.clone().ok_or_else(none)
    };
    let request = if asked.extcap_interfaces {
        ExtcapRequest::Interfaces
    } else if asked.extcap_dlts {
        ExtcapRequest::Dlts { interface: interface()? }
    } else if asked.extcap_config {
        ExtcapRequest::Config { interface: interface()? }
    } else {
        ExtcapRequest::Capture { interface: interface()?, fifo: asked.fifo.clone().unwrap_or_default() }
    };
    let extcap = interfaces(daemon);
    let answer = extcap.answer(&request).map_err(Failure::usage)?;
    if let ExtcapRequest::Capture { interface, fifo } = &request {
        let out = File::options().write(true).open(fifo);
        let out = out.map_err(|e| Failure::infrastructure(format!("{}: {e}", fifo.display())))?;
        let link = interface.strip_prefix(ALL).and_then(|rest| rest.strip_prefix('-'));
        let links: Vec<String> = link.into_iter().map(str::to_owned).collect();
        return stream(&links, &args.shape, out.into(), daemon);
    }
    answer.lines().for_each(say);
    Ok(ExitCode::SUCCESS)
}
