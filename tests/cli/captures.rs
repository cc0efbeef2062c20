//! Captures as their users take them: from a link, live from the bridge, and from Wireshark's own list; then replayed.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hilrig_capture::{Recording, Side};
use hilrig_tests::{Daemon, Line, PATIENCE, Sandbox, end_of, finish, need, signal, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::one_sentence;

/// A Modbus request and its answer, with their CRCs, and a request whose CRC is wrong.
const REQUEST: &[u8] = &[0x11, 0x03, 0x00, 0x6b, 0x00, 0x03, 0x76, 0x87];
const REPLY: &[u8] = &[0x11, 0x03, 0x06, 0x02, 0x2b, 0x00, 0x00, 0x00, 0x64, 0xc8, 0xba];
const WRONG: &[u8] = &[0x11, 0x03, 0x00, 0x6b, 0x00, 0x03, 0x76, 0x88];

/// Both far ends of a link.
fn ends(sandbox: &Sandbox, a: &str, b: &str) -> (Line, Line) {
    let (a, b) = (Line::open(&sandbox.port(a)), Line::open(&sandbox.port(b)));
    a.open_through_to(&b);
    b.open_through_to(&a);
    (a, b)
}

/// One exchange of a master at `a` and a slave at `b`, in frames, and one frame with a wrong CRC.
fn exchange(a: &Line, b: &Line) {
    for (from, to, frame) in [(a, b, REQUEST), (b, a, REPLY), (a, b, WRONG)] {
        // Silence parts frames.
        std::thread::sleep(std::time::Duration::from_millis(30));
        from.write(frame).unwrap();
        assert_eq!(to.read(frame.len()).unwrap(), frame);
    }
}

fn recording(file: &Path, link: Option<&str>) -> Recording {
    Recording::open(file, link).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

#[track_caller]
fn shows_the_exchange(file: &Path, link: Option<&str>) {
    let recording = recording(file, link);
    let (a, b) = (recording.sent_by(Side::A), recording.sent_by(Side::B));
    assert!(a.ends_with(&[REQUEST, WRONG].concat()) && b.ends_with(REPLY), "{a:02x?} {b:02x?}");
    assert_eq!((recording.gaps, recording.cut_at), (0, None));
}

/// The fields of all packets, as tshark prints them.
pub fn tshark(file: &Path, fields: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.args(["-d", "rtacser.data,mbrtu", "-o", "mbrtu.crc_verification:TRUE", "-T", "fields"]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    command.arg("-r").arg(file);
    let output = finish(command);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout
}

#[test]
fn a_link_is_captured_and_wireshark_reads_it() {
    let sandbox = Sandbox::new();
    for (format, framing) in [("rtac", "silence:10ms"), ("pdu:mbrtu", "silence:10ms"), ("rtac", "raw")] {
        let file = sandbox.scratch().join(format!("{}-{}.pcapng", &format[..3], &framing[..3]));
        let args = ["link", "pty:one", "pty:two", "--format", format, "--framing", framing];
        let child = sandbox.links(&[&args[..], &["--capture", file.to_str().unwrap()]].concat(), 1);
        let (one, two) = ends(&sandbox, "one", "two");
        exchange(&one, &two);
        let said = child.stop(Signal::INT);
        assert!(said.contains(&format!("capture {}", file.display())), "{said}");
        shows_the_exchange(&file, None);
        if framing == "raw" || !need("tshark") {
            continue;
        }
        let seen = tshark(&file, &["modbus.func_code", "mbrtu.crc16.status", "_ws.expert.message"]);
        let crc = |status: &str| seen.lines().filter(|l| l.starts_with(&format!("3\t{status}"))).count();
        assert_eq!((crc("1"), crc("0")), (2, 1), "two good frames and a bad one: {seen}");
    }
}

#[test]
fn a_capture_on_stdout_is_nothing_but_a_capture() {
    let sandbox = Sandbox::new();
    let file = sandbox.scratch().join("out.pcapng");
    let mut child = sandbox
        .command(["link", "pty:one", "pty:two", "--capture", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.is_ok_and(|l| l.starts_with("link 1: "))), "the link is told");
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let (one, two) = ends(&sandbox, "one", "two");
    exchange(&one, &two);
    signal(child.id(), Signal::INT);
    let words: Vec<String> = told.map_while(Result::ok).collect();
    assert_eq!(end_of(&mut child, PATIENCE, "the link").code(), Some(0));
    assert!(
        words.iter().any(|l| l.starts_with("link 1: ") && l.contains("bytes in")),
        "the report: {words:?}"
    );
    std::fs::write(&file, reader.join().unwrap()).unwrap();
    shows_the_exchange(&file, None);
}

#[test]
fn a_link_goes_on_when_nobody_looks_at_its_capture_any_more() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["link", "pty:one", "pty:two", "--capture", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.is_ok_and(|l| l.starts_with("link 1: "))), "the link is told");
    drop(child.stdout.take());
    let (one, two) = ends(&sandbox, "one", "two");
    let (line, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.map_while(Result::ok).try_for_each(|l| line.send(l)));
    // A pipe without a reader is noticed when it is written to.
    exchange(&one, &two);
    let said = lines.recv_timeout(PATIENCE).expect("the end of the capture is told");
    assert!(said.contains("capture to stdout has ended"), "{said}");
    exchange(&one, &two);
    signal(child.id(), Signal::INT);
    assert_eq!(end_of(&mut child, PATIENCE, "the link").code(), Some(0));
}

#[test]
fn captures_rotate() {
    let sandbox = Sandbox::new();
    let file = sandbox.scratch().join("many.pcapng");
    let args = ["link", "--json", "pty:one", "pty:two", "--capture", file.to_str().unwrap()];
    let child = sandbox.links(&[&args[..], &["--rotate", "5kB", "--keep", "2"]].concat(), 1);
    let (one, two) = ends(&sandbox, "one", "two");
    for _ in 0..40 {
        one.write(&[7; 1000]).unwrap();
        two.read(1000).unwrap();
    }
    let said: Value = serde_json::from_str(&child.stop(Signal::INT)).unwrap();
    let files = said["captures"][0]["files"].as_array().expect("files");
    assert_eq!(files.len(), 2, "{said}");
    for file in files {
        recording(Path::new(file.as_str().unwrap()), None);
    }
    assert_eq!(said["captures"][0]["lostBytes"], 0, "{said}");
}

/// The bridge, with its run started.
fn bridge(sandbox: &Sandbox) -> Daemon {
    let daemon = sandbox.daemon();
    daemon.connect().act("bridge", "run_start", json!({}));
    daemon
}

/// `hilrig capture ...`, with its stdout into a file of the sandbox.
fn capture(sandbox: &Sandbox, args: &[&str]) -> (Child, PathBuf) {
    let file = sandbox.scratch().join("live.pcapng");
    let out = std::fs::File::create(&file).unwrap();
    let mut command = sandbox.command(["capture"]);
    (command.args(args).stdout(out).spawn().unwrap(), file)
}

/// Something of the capture is in the file: from here on it sees all.
fn wait_until_live(file: &Path) {
    wait_for("the capture is live", || file.metadata().ok().filter(|m| m.len() > 0).map(drop));
}

#[test]
fn the_bridge_is_captured_live() {
    let sandbox = Sandbox::new();
    let _daemon = bridge(&sandbox);
    let (a, b) = ends(&sandbox, "bridge-a", "bridge-b");
    for args in [&["--stdout"][..], &["--stdout", "--link", "main", "--framing", "silence:10ms"]] {
        let (mut child, file) = capture(&sandbox, args);
        wait_until_live(&file);
        exchange(&a, &b);
        signal(child.id(), Signal::INT);
        assert_eq!(end_of(&mut child, PATIENCE, "capture after SIGINT").code(), Some(0));
        shows_the_exchange(&file, Some("main"));
    }
    let file = sandbox.scratch().join("file.pcapng");
    let mut command = sandbox.command(["capture", "--file", "file.pcapng"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    wait_until_live(&file);
    exchange(&a, &b);
    signal(child.id(), Signal::TERM);
    assert_eq!(end_of(&mut child, PATIENCE, "capture after SIGTERM").code(), Some(0));
    let said = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert_eq!(said.trim_end(), file.to_str().unwrap(), "the files it wrote");
    shows_the_exchange(&file, None);
    let left: Vec<PathBuf> =
        sandbox.runtime_files().into_iter().filter(|f| f.extension().is_some_and(|e| e == "fifo")).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn a_capture_ends_with_its_reader() {
    let sandbox = Sandbox::new();
    let daemon = bridge(&sandbox);
    let mut command = sandbox.command(["capture", "--stdout"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut head = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut head).unwrap();
    assert_eq!(head, [0x0a, 0x0d, 0x0d, 0x0a], "a section of pcapng");
    // The reader is gone with that.
    assert_eq!(end_of(&mut child, PATIENCE, "capture without a reader").code(), Some(0));
    wait_for("the bridge has ended the capture", || {
        let status = daemon.connect().status("bridge");
        let rows = status["captures"].as_array().expect("captures").iter();
        (rows.filter(|row| row["state"] == "running").count() == 0).then_some(())
    });
    let (a, b) = ends(&sandbox, "bridge-a", "bridge-b");
    exchange(&a, &b);
}

#[test]
fn captures_that_cannot_be_are_refused_in_a_sentence() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(["init"]).code, Some(0));
    for (args, code, said) in [
        (&["capture"][..], 2, "--install-extcap"),
        (&["capture", "--stdout"], 3, "hilrig serve"),
        (
            &["link", "pty:a", "pty:b", "--capture", "x.pcapng", "--keep", "3", "--rotate", "5parsec"],
            2,
            "100MB",
        ),
        (&["link", "pty:a", "pty:b", "--capture", "x.pcapng", "--format", "jpeg"], 2, "pdu:"),
        (&["link", "pty:a", "pty:b", "--capture", "x.pcapng", "--framing", "gold"], 2, "silence"),
        (&["link", "pty:a", "pty:b", "--capture", "no/such/x.pcapng/", "--points", "here"], 2, "both"),
        (&["replay", "absent.pcapng", "--to", "pty:x"], 2, "absent.pcapng"),
    ] {
        let output = sandbox.run(args);
        assert_eq!(output.code, Some(code), "{args:?}: {output:?}");
        assert!(output.stderr.contains(said) && !output.stderr.contains("panicked"), "{args:?}: {output:?}");
    }
    let _daemon = sandbox.daemon();
    let stopped = sandbox.run(["capture", "--file", "x.pcapng"]);
    one_sentence(&stopped, 1);
    bridge_is_unharmed(&sandbox);
}

fn bridge_is_unharmed(sandbox: &Sandbox) {
    assert_eq!(sandbox.run(["action", "invoke", "bridge", "run_start", "--wait"]).code, Some(0));
    let unknown = sandbox.run(["capture", "--stdout", "--link", "nobody"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("main"), "names the links there are: {unknown:?}");
}

#[test]
fn wireshark_is_answered_as_an_extcap_program_must() {
    let sandbox = Sandbox::new();
    // Without a daemon: an empty bridge, not an error.
    let alone = sandbox.run(["capture", "--extcap-interfaces", "--extcap-version=4.0"]);
    assert_eq!((alone.code, alone.stderr.as_str()), (Some(0), ""), "{alone:?}");
    assert!(alone.stdout.starts_with("extcap {version="), "{alone:?}");
    let _daemon = bridge(&sandbox);
    let all = sandbox.run(["capture", "--extcap-interfaces"]).stdout;
    assert!(all.lines().any(|l| l.starts_with("interface {value=hilrig-main}")), "{all}");
    let asked = |what: &str| {
        let output = sandbox.run(["capture", what, "--extcap-interface", "hilrig-main"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.stdout
    };
    assert!(asked("--extcap-dlts").starts_with("dlt {number=250}"));
    assert!(asked("--extcap-config").lines().any(|l| l.starts_with("arg ") && l.contains("--framing")));
    let wrong = sandbox.run(["capture", "--extcap-dlts", "--extcap-interface", "eth0"]);
    assert!(one_sentence(&wrong, 2).contains("eth0"));
}

#[test]
fn wireshark_lists_and_captures_the_links() {
    let sandbox = Sandbox::new();
    let home = sandbox.scratch().join("home");
    std::fs::create_dir(&home).unwrap();
    let at_home = |mut command: Command| {
        command.env("HOME", &home).env_remove("XDG_CONFIG_HOME").env_remove("WIRESHARK_EXTCAP_DIR");
        command
    };
    let _daemon = bridge(&sandbox);
    let installed = finish(at_home(sandbox.command(["capture", "--install-extcap"])));
    assert_eq!(installed.code, Some(0), "{installed:?}");
    let scripts =
        [".config/wireshark/extcap/hilrig", ".local/lib/wireshark/extcap/hilrig"].map(|s| home.join(s));
    for script in &scripts {
        assert!(installed.stdout.contains(script.to_str().unwrap()), "says what it did: {installed:?}");
    }
    if need("tshark") {
        let list = finish(at_home({
            let mut command = Command::new("tshark");
            command.arg("-D");
            command
        }));
        assert!(list.stdout.contains("hilrig-main"), "{list:?}");
        let file = sandbox.scratch().join("shark.pcapng");
        let mut command = Command::new("tshark");
        command.args(["-i", "hilrig-main", "-w"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = at_home(command).spawn().unwrap();
        wait_until_live(&file);
        let (a, b) = ends(&sandbox, "bridge-a", "bridge-b");
        exchange(&a, &b);
        wait_for("tshark has written the exchange", || {
            let read = std::fs::read(&file).unwrap();
            read.windows(WRONG.len()).any(|w| w == WRONG).then_some(())
        });
        signal(child.id(), Signal::INT);
        end_of(&mut child, PATIENCE, "tshark after SIGINT");
        wait_for("nothing of the capture is left", || {
            sandbox.processes_with(" capture ").is_empty().then_some(())
        });
    }
    let removed = finish(at_home(sandbox.command(["capture", "--uninstall-extcap"])));
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(scripts.iter().all(|s| !s.exists()));
    std::fs::write(&scripts[0], "#!/bin/sh\n# somebody else's\n").unwrap();
    for option in ["--install-extcap", "--uninstall-extcap"] {
        let kept = finish(at_home(sandbox.command(["capture", option])));
        assert!(one_sentence(&kept, 3).contains("not ours"));
    }
    assert!(scripts[0].exists());
}

/// link -> capture -> replay against a fresh port that answers as before, and one that does not.
#[test]
fn a_capture_replays() {
    let sandbox = Sandbox::new();
    let file = sandbox.scratch().join("line.pcapng");
    let file = file.to_str().unwrap();
    let child = sandbox.links(&["link", "pty:one", "pty:two", "--capture", file], 1);
    let (one, two) = (Line::open(&sandbox.port("one")), Line::open(&sandbox.port("two")));
    // Whoever has the first word is on the capture without an answer.
    one.open_through_to(&two);
    for question in [&b"first?"[..], b"second?", b"third?"] {
        one.write(question).unwrap();
        two.read(question.len()).unwrap();
        two.write(&answer(question)).unwrap();
        one.read(question.len()).unwrap();
    }
    child.stop(Signal::INT);
    let replay = |expect: bool, answer: fn(&[u8]) -> Vec<u8>| {
        let mut command = sandbox.command(["replay", file, "--to", "pty:device", "--only", "a", "--json"]);
        command.args(["--speed", "4"]).args(expect.then_some("--expect"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let line = Line::open(&sandbox.port("device"));
        // As the device of the recording: answers a question that it has heard to its end.
        let (mut heard, mut block) = (Vec::new(), [0; 256]);
        while child.try_wait().unwrap().is_none() {
            let Ok(n) = line.read_some(&mut block, std::time::Duration::from_millis(20)) else { break };
            heard.extend_from_slice(&block[..n]);
            while let Some(end) = heard.windows(2).position(|w| w[0].is_ascii_lowercase() && w[1] == b'?') {
                let question: Vec<u8> = heard.drain(..end + 2).collect();
                let start = question.iter().position(u8::is_ascii_lowercase).unwrap();
                let _ = line.write(&answer(&question[start..]));
            }
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        (output.status.code(), said)
    };
    let (code, said) = replay(true, answer);
    assert_eq!((code, &said["outcome"]), (Some(0), &json!("played")), "{said}");
    assert_eq!((&said["matchedBytes"], &said["toMatchBytes"]), (&json!(19), &json!(19)), "{said}");
    let (code, said) = replay(true, |question| {
        let mut answer = answer(question);
        if question.starts_with(b"second") {
            answer[3] = b'#';
        }
        answer
    });
    assert_eq!((code, &said["outcome"]), (Some(1), &json!("differs")), "{said}");
    assert_eq!(said["difference"]["offset"], 9, "{said}");
    assert!(said["difference"]["got"].as_str().unwrap().starts_with("23"), "{said}");
    let (code, said) = replay(false, |_| Vec::new());
    assert_eq!((code, &said["sentBytes"]), (Some(0), &said["toSendBytes"]), "{said}");
}

/// What the device of the recording says: the question in capitals.
fn answer(question: &[u8]) -> Vec<u8> {
    question.to_ascii_uppercase()
}

#[test]
fn what_is_no_capture_is_not_replayed() {
    let sandbox = Sandbox::new();
    let file = sandbox.scratch().join("noise.pcapng");
    std::fs::File::create(&file).unwrap().write_all(b"nothing that was ever captured").unwrap();
    let output = sandbox.run(["replay", file.to_str().unwrap(), "--to", "pty:x"]);
    assert!(one_sentence(&output, 2).contains("noise.pcapng"));
    assert_eq!(sandbox.runtime_files(), Vec::<PathBuf>::new());
}
