//! Models with a master and a gateway between programs of others.

use std::process::Command;

use hilrig_tests::{Sandbox, wait_for};

use crate::ours::Plc;
use crate::peer::{Peer, file, libmodbus, pymodbus};

/// What `hilrig modbus` prints.
fn modbus(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = sandbox.run([&["modbus"][..], args].concat());
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn a_master_of_a_model_polls_pymodbus() {
    let Some(python) = pymodbus() else { return };
    for framing in ["tcp", "rtu-over-tcp"] {
        let mut server = Command::new(python);
        server.arg(file("pymodbus_server.py")).args([framing, "-"]);
        let peer = Peer::start(server);
        let model = format!(
            r#"
[port.field]
url = "tcp:127.0.0.1:{}"
framing = "{framing}"
[port.serve]
url = "tcp-listen:127.0.0.1:0"
[unit.mirror]
id = 1
holding = {{ "0..9" = 0 }}
coils = {{ "0..3" = 0 }}
[master.field]
port = "field"
unit = 17
poll.levels = {{ holding = "20..29", every = "20ms", timeout = "5s", into = {{ cells = {{ unit = 1, holding = 0 }} }} }}
poll.valves = {{ coils = "0..3", every = "20ms", timeout = "5s", into = {{ cells = {{ unit = 1, coils = 0 }} }} }}
poll.order = {{ holding = "25", write = 4242, every = "20ms", timeout = "5s" }}
"#,
            peer.port
        );
        let plc = Plc::of(&model, &[], 1);
        let url = format!("tcp:{}", plc.open("answers"));
        let sandbox = Sandbox::new();
        let expected = "holding:4  1024\nholding:5  4242\nholding:6  1026\ncoil:3     on\n";
        wait_for("the values of the field are in the model", || {
            (modbus(&sandbox, &["read", &url, "holding:4..6", "coil:3"]) == expected).then_some(())
        });
    }
}

#[test]
fn a_gateway_leads_to_libmodbus_on_a_line() {
    let Some(server) = libmodbus("libmodbus_server") else { return };
    let model = r#"
[port.gate]
url = "tcp-listen:127.0.0.1:0"
[port.behind]
url = "pty:behind"
[gateway.g]
port = "gate"
line = "behind"
timeout = "2s"
"#;
    let plc = Plc::of(model, &[], 1);
    let mut command = Command::new(server);
    command.arg("rtu").arg(plc.far_end("behind"));
    let _peer = Peer::start(command);
    let (url, sandbox) = (plc.url(), Sandbox::new());
    let asked = |args: &[&str]| modbus(&sandbox, &[args, &["--unit", "17", "--timeout", "10s"]].concat());
    assert_eq!(asked(&["read", &url, "holding:0..1"]), "holding:0  1000\nholding:1  1001\n");
    assert_eq!(asked(&["write", &url, "holding:1", "7"]), "unit 17: holding:1 = 7\n");
    assert_eq!(asked(&["read", &url, "holding:1", "coil:1"]), "holding:1  7\ncoil:1     on\n");
    let refused = asked(&["read", &url, "holding:500"]);
    assert!(refused.contains("exception 2"), "{refused}");
    let nobody = modbus(&sandbox, &["read", &url, "holding:0", "--unit", "18", "--timeout", "10s"]);
    assert!(nobody.contains("exception 11"), "{nobody}");
}
