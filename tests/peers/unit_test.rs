//! libmodbus' own unit-test-client at `hilrig plc`. It expects the server that belongs to it, which does some things wrong on
//! purpose; fault rules do the same. The source of the client is that of the installed library and comes from where the
//! machine has its packages from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hilrig_modbus::Framing;
use hilrig_tests::{finish, missing, need};

use crate::ours::Plc;
use crate::peer::{directory, file};

/// The client, built.
fn client() -> Option<&'static Path> {
    static CLIENT: OnceLock<Option<PathBuf>> = OnceLock::new();
    CLIENT.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    if !need("gcc") || !need("dpkg-source") {
        return None;
    }
    let mut get = Command::new(file("get-libmodbus-tests"));
    get.arg(directory());
    let done = finish(get);
    if done.code != Some(0) {
        missing("the source of libmodbus", &done.stderr);
        return None;
    }
    let (source, program) = (done.stdout.trim(), directory().join("unit-test-client"));
    // Another run of the tests may be using it.
    let fresh = program.with_extension(std::process::id().to_string());
    let mut build = Command::new("gcc");
    build.args(["-w", "-I/usr/include/modbus", "-I", source, "-include"]).arg(file("unit_test_client.h"));
    build.arg(format!("{source}/unit-test-client.c")).arg("-lmodbus").arg("-o").arg(&fresh);
    let done = finish(build);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    std::fs::rename(fresh, &program).unwrap();
    Some(program)
}

/// What unit-test.h says of the server, and what unit-test-server.c does to single requests. Over TCP it answers for any
/// unit, which here takes a unit for each that is asked besides 0 and 255.
fn model(framing: Framing) -> String {
    let tables = "coils = { \"304..340\" = 0 }\n\
                  discrete = { \"452..473\" = [0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1] }\n\
                  holding = { \"352..383\" = 0 }\n\
                  input = { 264 = 10 }\n";
    let other =
        if framing == Framing::Tcp { format!("[unit.other]\nid = 18\n{tables}") } else { String::new() };
    let stranger = if framing == Framing::Tcp { "transaction = 1" } else { "unit = 18" };
    let rules = [
        ("wrong_length_of_coils", "function = 5, addresses = 0x132", "{ exception = 3 }"),
        ("wrong_length_of_registers", "function = 6, addresses = 0x170", "{ exception = 3 }"),
        ("one_register_less", "function = 3, addresses = 0x160, quantity = 2", "{ pdu = \"03 02 00 00\" }"),
        ("busy", "function = 3, addresses = 0x170, quantity = 3", "{ exception = 6 }"),
        ("stranger", "function = 3, addresses = 0x171, quantity = 1", &format!("{{ {stranger} }}")),
        ("sleep", "function = 3, addresses = 0x172, quantity = 1", "{ delay = \"500ms\" }"),
        // Between the 3 ms and the 7 ms that the client can wait for a byte.
        ("byte_by_byte", "function = 3, addresses = 0x173, quantity = 1", "{ drip = \"4ms\" }"),
    ];
    let rule = |(name, when, effect)| {
        format!("[[fault]]\nname = \"{name}\"\nwhen = {{ {when} }}\neffect = {effect}\n")
    };
    let rules: String = rules.map(rule).concat();
    let id = "server_id = { hex = \"B4\", additional = \"4C 4D 42 33 2E 31 2E 36\" }\n";
    format!("[unit.server]\nid = 17\n{tables}{id}{other}{rules}")
}

/// Which of its own servers it takes it for, and the port. It waits for single bytes for 7 ms, which a server on a busy
/// machine may miss: so this one asks for real time, and the client has three attempts where that is not granted.
fn passes(backend: &str, framing: Framing, port: &str, settings: &[&str]) {
    let Some(program) = client() else { return };
    let mut said = String::new();
    for _ in 0..3 {
        let args = ["--framing", framing.name(), "--port", port, "--realtime=fifo = 20"];
        let plc = Plc::of(&model(framing), &[&args, settings].concat(), 1);
        let place = plc.address.rsplit_once(':').map_or(&*plc.address, |(_, port)| port);
        let mut client = Command::new(program);
        client.arg(backend).env("UNIT_TEST_PORT", place);
        let done = finish(client);
        if done.code == Some(0) && done.stdout.contains("ALL TESTS PASS") {
            return;
        }
        said = format!("{}{}", done.stdout, done.stderr);
    }
    panic!("{said}");
}

#[test]
fn libmodbus_unit_test_client_passes_over_rtu() {
    passes("rtu", Framing::Rtu, "pty:plc", &["--baud", "115200", "--format", "8N1"]);
}

#[test]
fn libmodbus_unit_test_client_passes_over_tcp() {
    passes("tcp", Framing::Tcp, "tcp-listen:127.0.0.1:0", &[]);
}

#[test]
fn libmodbus_unit_test_client_passes_over_tcp_of_either_protocol() {
    passes("tcppi", Framing::Tcp, "tcp-listen:[::1]:0", &[]);
}
