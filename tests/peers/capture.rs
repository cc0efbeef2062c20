//! What Wireshark makes of the traffic of our slave: a link between it and a master of others is captured.

use std::path::Path;
use std::process::Command;

use hilrig_modbus::Framing;
use hilrig_tests::{Sandbox, finish, need, wait_for};
use rustix::process::Signal;

use crate::ours::Plc;

/// Lines of fields, one a frame.
fn dissected(file: &Path, decode: &[&str], fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"]).args(decode);
    command.args(fields.iter().flat_map(|field| ["-e", field])).arg("-r").arg(file);
    let output = finish(command);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout.lines().map(str::to_owned).collect()
}

fn mbpoll(args: &[&str]) -> Option<i32> {
    let mut command = Command::new("mbpoll");
    command.args(["-0", "-1", "-q", "-o", "2", "-a", "17"]).args(args);
    finish(command).code
}

#[test]
fn tshark_understands_the_rtu_traffic_of_our_slave() {
    if !need("tshark") || !need("mbpoll") {
        return;
    }
    let sandbox = Sandbox::new();
    let plc = Plc::start(Framing::Rtu);
    let file = sandbox.scratch().join("rtu.pcapng");
    let there = format!("{}?baud=19200&format=8E1", plc.address);
    let link = sandbox.links(
        &["link", "pty:master", &there, "--framing", "silence", "--capture", file.to_str().unwrap()],
        1,
    );
    let port = sandbox.port("master");
    let port = port.to_str().unwrap();
    let line = ["-m", "rtu", "-b", "19200", "-P", "even"];
    let ask = |more: &[&str]| mbpoll(&[&line[..], more].concat());
    // Nobody can see from outside when the link has noticed that its far end is open.
    wait_for("an answer", || (ask(&["-t", "4", "-r", "0", "-c", "3", port]) == Some(0)).then_some(()));
    assert_eq!(ask(&["-t", "4", "-r", "5", port, "1", "2", "3"]), Some(0));
    assert_eq!(ask(&["-t", "0", "-r", "0", "-c", "9", port]), Some(0));
    assert_ne!(ask(&["-t", "4", "-r", "500", "-c", "1", port]), Some(0));
    link.stop(Signal::INT);
    let decode = ["-d", "rtacser.data,mbrtu", "-o", "mbrtu.crc_verification:TRUE", "-Y", "mbrtu"];
    let fields =
        ["mbrtu.unit_id", "modbus.func_code", "mbrtu.crc16.status", "modbus.exception_code", "_ws.malformed"];
    let seen = dissected(&file, &decode, &fields);
    let count = |line: &str| seen.iter().filter(|seen| *seen == line).count();
    // Unit, function, a good checksum, and nothing else; a request and its answer each.
    assert!(count("17|3|1||") >= 2 && count("17|16|1||") == 2 && count("17|1|1||") == 2, "{seen:#?}");
    assert_eq!(count("17|3|1|2|"), 1, "the exception: {seen:#?}");
    assert!(
        seen.iter().all(|line| line.starts_with("17|") && line.split('|').nth(2) == Some("1")),
        "{seen:#?}"
    );
}

#[test]
fn tshark_understands_the_tcp_traffic_of_our_slave() {
    if !need("tshark") || !need("mbpoll") {
        return;
    }
    let sandbox = Sandbox::new();
    let plc = Plc::start(Framing::Tcp);
    let file = sandbox.scratch().join("tcp.pcapng");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (here, there) = (format!("tcp-listen:{free}"), plc.url());
    let args = [
        "link",
        &here,
        &there,
        "--format",
        "pdu:mbtcp",
        "--framing",
        "raw",
        "--capture",
        file.to_str().unwrap(),
    ];
    let link = sandbox.links(&args, 1);
    let port = free.port().to_string();
    let line = ["-m", "tcp", "-p", &port];
    // One call: the link has one connection to the slave.
    assert_eq!(mbpoll(&[&line[..], &["-t", "4", "-r", "5", "127.0.0.1", "1", "2", "3"]].concat()), Some(0));
    link.stop(Signal::INT);
    let fields = ["mbtcp.unit_id", "modbus.func_code", "mbtcp.len", "_ws.malformed"];
    let seen = dissected(&file, &["-Y", "mbtcp"], &fields);
    assert_eq!(seen, ["17|16|13|", "17|16|6|"]);
}
