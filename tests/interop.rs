//! The PLC simulator, started through the contract, against masters that are not ours: mbpoll (libmodbus) and
//! tokio-modbus.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hilrig_tests::{Conn, Daemon, Output, Sandbox, finish, need};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::timeout;
use tokio_modbus::ExceptionCode;
use tokio_modbus::client::rtu;
use tokio_modbus::prelude::*;
use tokio_serial::{Parity, SerialPortBuilderExt, StopBits};

/// A PLC with unit 17, holding registers 10 to 29 from 100 in steps of 3, coils 4 to 11 off, input registers 0 to 4
/// from 7 in steps of 1, discrete inputs 0 to 2 on.
fn plc(sandbox: &Sandbox, port: &str) -> (Daemon, Conn) {
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    for (key, value) in [
        ("port", port),
        ("unitId", "17"),
        ("holding.first", "10"),
        ("holding.count", "20"),
        ("holding.value", "100"),
        ("holding.step", "3"),
        ("coils.first", "4"),
        ("coils.count", "8"),
        ("inputRegisters.count", "5"),
        ("inputRegisters.value", "7"),
        ("discreteInputs.count", "3"),
        ("discreteInputs.value", "true"),
    ] {
        conn.set("plc-simulator", key, value);
    }
    conn.act("plc-simulator", "run_start", json!({}));
    (daemon, conn)
}

/// One run of mbpoll at 19200 8E1: places are counted from 0.
fn mbpoll(port: &Path, unit: u8, table: &str, first: u16, more: &[&str]) -> Output {
    let mut command = Command::new("mbpoll");
    command.args(["-m", "rtu", "-b", "19200", "-d", "8", "-s", "1", "-P", "even", "-0", "-1", "-o", "2"]);
    command.args(["-a", &unit.to_string(), "-t", table, "-r", &first.to_string()]);
    // What is to be written comes after the port.
    let (options, values): (Vec<&str>, Vec<&str>) = match more.first() {
        Some(&"-c") => (more.to_vec(), vec![]),
        _ => (vec![], more.to_vec()),
    };
    command.args(options).arg("--").arg(port).args(values);
    finish(command)
}

/// The values that mbpoll printed: lines `[10]: 100`, with a tab.
#[track_caller]
fn values(output: &Output) -> Vec<(u16, u16)> {
    assert_eq!(output.code, Some(0), "{output:?}");
    let value = |line: &str| {
        let (place, value) = line.strip_prefix('[')?.split_once("]:")?;
        Some((place.trim().parse().ok()?, value.split_whitespace().next()?.parse().ok()?))
    };
    output.stdout.lines().filter_map(value).collect()
}

#[test]
fn mbpoll_reads_and_writes_the_plc() {
    if !need("mbpoll") {
        return;
    }
    let sandbox = Sandbox::new();
    let (_daemon, mut conn) = plc(&sandbox, "pty:plc");
    let port = sandbox.port("plc");
    let read = |table: &str, first: u16, count: &str| mbpoll(&port, 17, table, first, &["-c", count]);
    let holding: Vec<(u16, u16)> = (0..20).map(|n| (10 + n, 100 + 3 * n)).collect();
    // Each of these opens the port anew at 8E1, which a plain PTY refuses the second time.
    for _ in 0..3 {
        assert_eq!(values(&read("4", 10, "20")), holding);
    }
    assert_eq!(values(&read("3", 0, "5")), (0..5).map(|n| (n, 7 + n)).collect::<Vec<_>>());
    assert_eq!(values(&read("1", 0, "3")), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(values(&read("0", 4, "8")), (4..12).map(|n| (n, 0)).collect::<Vec<_>>());
    // Writes, of one and of several, seen by mbpoll and through the contract.
    assert_eq!(mbpoll(&port, 17, "4", 12, &["4242"]).code, Some(0));
    assert_eq!(mbpoll(&port, 17, "4", 20, &["1", "65535", "0", "32768"]).code, Some(0));
    assert_eq!(values(&read("4", 11, "3")), [(11, 103), (12, 4242), (13, 109)]);
    assert_eq!(
        values(&read("4", 19, "6")),
        [(19, 127), (20, 1), (21, 65535), (22, 0), (23, 32768), (24, 142)]
    );
    assert_eq!(mbpoll(&port, 17, "0", 5, &["1"]).code, Some(0));
    assert_eq!(mbpoll(&port, 17, "0", 8, &["1", "0", "1"]).code, Some(0));
    let coils: Vec<u16> = values(&read("0", 4, "8")).into_iter().map(|v| v.1).collect();
    assert_eq!(coils, [0, 1, 0, 0, 1, 0, 1, 0]);
    let record = conn.act("plc-simulator", "register_get", json!({"at": "holding:12", "count": 1}));
    assert!(record["stdout"].as_str().unwrap().contains("4242"), "{record:?}");
    conn.act("plc-simulator", "register_set", json!({"set": "holding:13=777"}));
    assert_eq!(values(&read("4", 13, "1")), [(13, 777)]);
    // What is not there.
    for (table, first, count) in [("4", 9, "1"), ("4", 29, "2"), ("0", 12, "1"), ("3", 5, "1")] {
        let refused = read(table, first, count);
        assert!(format!("{refused:?}").contains("Illegal data address"), "{table} {first}: {refused:?}");
    }
    let nobody = mbpoll(&port, 18, "4", 10, &["-c", "1"]);
    assert!(format!("{nobody:?}").contains("timed out"), "another unit is silent: {nobody:?}");
    assert_eq!(values(&read("4", 10, "1")), [(10, 100)]);
    let status = conn.status("plc-simulator");
    assert_eq!(status["error"], "", "{status:?}");
}

/// An answer in time: tokio-modbus itself waits for ever.
async fn soon<T>(answer: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), answer).await.expect("an answer in time")
}

#[test]
fn tokio_modbus_masters_the_plc_over_a_pair() {
    let sandbox = Sandbox::new();
    let wire = sandbox.links(&["pair", "wire", "--no-wire"], 1);
    let (_daemon, mut conn) = plc(&sandbox, sandbox.port("wire.a").to_str().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = sandbox.port("wire.b").display().to_string();
        let line = tokio_serial::new(path, 19_200).parity(Parity::Even).stop_bits(StopBits::One);
        let line = line.open_native_async().expect("the pair's other end opens like a serial port");
        let mut plc = rtu::attach_slave(line, Slave(17));
        let expected: Vec<u16> = (0..20).map(|n| 100 + 3 * n).collect();
        // The first request may come before the pair knows that its end is open.
        let first = timeout(Duration::from_secs(1), plc.read_holding_registers(10, 20)).await;
        if let Ok(first) = first {
            assert_eq!(first.unwrap().unwrap(), expected);
        }
        for _ in 0..50 {
            assert_eq!(soon(plc.read_holding_registers(10, 20)).await.unwrap().unwrap(), expected);
        }
        assert_eq!(soon(plc.read_input_registers(0, 5)).await.unwrap().unwrap(), [7, 8, 9, 10, 11]);
        assert_eq!(soon(plc.read_discrete_inputs(0, 3)).await.unwrap().unwrap(), [true; 3]);
        assert_eq!(soon(plc.read_coils(4, 8)).await.unwrap().unwrap(), [false; 8]);
        soon(plc.write_single_coil(4, true)).await.unwrap().unwrap();
        soon(plc.write_multiple_coils(6, &[true, false, true])).await.unwrap().unwrap();
        let coils = soon(plc.read_coils(4, 8)).await.unwrap().unwrap();
        assert_eq!(coils, [true, false, true, false, true, false, false, false]);
        soon(plc.write_single_register(10, 0xabcd)).await.unwrap().unwrap();
        soon(plc.write_multiple_registers(11, &[1, 2, 3])).await.unwrap().unwrap();
        assert_eq!(soon(plc.read_holding_registers(10, 5)).await.unwrap().unwrap(), [0xabcd, 1, 2, 3, 112]);
        for wrong in [(9, 1), (29, 2), (0, 1)] {
            let refused = soon(plc.read_holding_registers(wrong.0, wrong.1)).await.unwrap();
            assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress), "{wrong:?}");
        }
        let refused = soon(plc.write_single_register(30, 1)).await.unwrap();
        assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress));
        let custom = Request::Custom(0x42, vec![1, 2, 3].into());
        let refused = soon(plc.call(custom)).await.unwrap();
        assert_eq!(refused.err(), Some(ExceptionCode::IllegalFunction));
        // Another unit does not answer, and ours still does.
        plc.set_slave(Slave(18));
        assert!(timeout(Duration::from_millis(300), plc.read_holding_registers(10, 1)).await.is_err());
        plc.set_slave(Slave(17));
        assert_eq!(soon(plc.read_holding_registers(10, 1)).await.unwrap().unwrap(), [0xabcd]);
    });
    let status = conn.status("plc-simulator");
    assert_eq!((&status["running"], &status["error"]), (&json!(true), &json!("")), "{status:?}");
    conn.act("plc-simulator", "run_stop", json!({}));
    wire.stop(Signal::TERM);
}
