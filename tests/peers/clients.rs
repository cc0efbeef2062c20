//! Masters of others at our slave.

use std::process::Command;
use std::time::Duration;

use hilrig_modbus::Framing;
use hilrig_tests::{finish, need};
use tokio::time::timeout;
use tokio_modbus::ExceptionCode;
use tokio_modbus::client::{Context, rtu, tcp};
use tokio_modbus::prelude::*;
use tokio_serial::{Parity, SerialPortBuilderExt};

use crate::ours::Plc;
use crate::peer::{file, libmodbus, pymodbus, satisfied};

fn asked_by_pymodbus(framing: Framing) {
    let Some(python) = pymodbus() else { return };
    let plc = Plc::start(framing);
    let mut client = Command::new(python);
    client.arg(file("pymodbus_client.py")).args([framing.name(), &plc.address]);
    satisfied(client);
}

#[test]
fn pymodbus_asks_over_rtu() {
    asked_by_pymodbus(Framing::Rtu);
}

#[test]
fn pymodbus_asks_over_ascii() {
    asked_by_pymodbus(Framing::Ascii);
}

#[test]
fn pymodbus_asks_over_tcp() {
    asked_by_pymodbus(Framing::Tcp);
}

#[test]
fn pymodbus_asks_over_rtu_over_tcp() {
    asked_by_pymodbus(Framing::RtuOverTcp);
}

#[test]
fn pymodbus_asks_over_ascii_over_tcp() {
    asked_by_pymodbus(Framing::AsciiOverTcp);
}

#[test]
fn libmodbus_asks_over_rtu() {
    let Some(client) = libmodbus("libmodbus_client") else { return };
    let plc = Plc::start(Framing::Rtu);
    let mut client = Command::new(client);
    client.args(["rtu", &plc.address]);
    satisfied(client);
}

#[test]
fn libmodbus_asks_over_tcp() {
    let Some(client) = libmodbus("libmodbus_client") else { return };
    let plc = Plc::start(Framing::Tcp);
    let port = plc.address.rsplit(':').next().unwrap();
    let mut client = Command::new(client);
    client.args(["tcp", port]);
    satisfied(client);
}

/// The values that mbpoll prints: lines `[10]: 100`, with a tab.
#[track_caller]
fn polled(plc: &Plc, more: &[&str]) -> Vec<u32> {
    let (place, port) = plc.address.rsplit_once(':').unwrap_or((&plc.address, ""));
    let mut command = Command::new("mbpoll");
    command.args(["-0", "-1", "-q", "-o", "5", "-a", "17"]);
    if port.is_empty() {
        command.args(["-m", "rtu", "-b", "19200", "-d", "8", "-s", "1", "-P", "even"]);
    } else {
        command.args(["-m", "tcp", "-p", port]);
    }
    let (options, values): (Vec<_>, Vec<_>) = (
        more.iter().take_while(|o| **o != "=").collect(),
        more.iter().skip_while(|o| **o != "=").skip(1).collect(),
    );
    command.args(options).arg("--").arg(place).args(values);
    let output = finish(command);
    assert_eq!(output.code, Some(0), "{output:?}");
    let value = |line: &str| line.split_once("]:")?.1.split_whitespace().next()?.parse().ok();
    output.stdout.lines().filter(|line| line.starts_with('[')).filter_map(value).collect()
}

fn asked_by_mbpoll(framing: Framing) {
    if !need("mbpoll") {
        return;
    }
    let plc = Plc::start(framing);
    for _ in 0..3 {
        assert_eq!(polled(&plc, &["-t", "4", "-r", "0", "-c", "125"]), (1000..1125).collect::<Vec<u32>>());
    }
    assert_eq!(polled(&plc, &["-t", "3", "-r", "2", "-c", "3"]), [9, 10, 11]);
    assert_eq!(polled(&plc, &["-t", "1", "-r", "0", "-c", "4"]), [1, 0, 0, 1]);
    assert_eq!(polled(&plc, &["-t", "0", "-r", "0", "-c", "4"]), [0, 1, 0, 1]);
    polled(&plc, &["-t", "4", "-r", "5", "=", "1", "65535", "3"]);
    polled(&plc, &["-t", "4", "-r", "9", "=", "42"]);
    polled(&plc, &["-t", "0", "-r", "0", "=", "1", "0", "1"]);
    assert_eq!(polled(&plc, &["-t", "4", "-r", "4", "-c", "6"]), [1004, 1, 65535, 3, 1008, 42]);
    assert_eq!(polled(&plc, &["-t", "0", "-r", "0", "-c", "4"]), [1, 0, 1, 1]);
    // Two registers as one number.
    polled(&plc, &["-t", "4:int", "-B", "-r", "20", "=", "123456789"]);
    assert_eq!(polled(&plc, &["-t", "4:int", "-B", "-r", "20", "-c", "1"]), [123_456_789]);
}

#[test]
fn mbpoll_asks_over_rtu() {
    asked_by_mbpoll(Framing::Rtu);
}

#[test]
fn mbpoll_asks_over_tcp() {
    asked_by_mbpoll(Framing::Tcp);
}

/// An answer in time: tokio-modbus itself waits for ever.
async fn soon<T>(answer: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), answer).await.expect("an answer in time")
}

async fn asks(mut plc: Context, framing: Framing) {
    plc.set_slave(tokio_modbus::Slave(17));
    for _ in 0..100 {
        let holding = soon(plc.read_holding_registers(0, 125)).await.unwrap().unwrap();
        assert_eq!(holding, (1000..1125).collect::<Vec<u16>>());
    }
    assert_eq!(soon(plc.read_input_registers(0, 10)).await.unwrap().unwrap(), (7..17).collect::<Vec<u16>>());
    let inputs = soon(plc.read_discrete_inputs(0, 9)).await.unwrap().unwrap();
    assert_eq!(inputs, (0..9).map(|i| i % 3 == 0).collect::<Vec<_>>());
    let coils = soon(plc.read_coils(0, 2000)).await.unwrap().unwrap();
    assert_eq!(coils, (0..2000).map(|i| i % 2 == 1).collect::<Vec<_>>());
    soon(plc.write_single_coil(0, true)).await.unwrap().unwrap();
    soon(plc.write_multiple_coils(2, &[true, false, true])).await.unwrap().unwrap();
    soon(plc.write_single_register(1, 0xabcd)).await.unwrap().unwrap();
    soon(plc.write_multiple_registers(2, &[9; 123])).await.unwrap().unwrap();
    soon(plc.masked_write_register(1, 0xf2, 0x25)).await.unwrap().unwrap();
    let holding = soon(plc.read_holding_registers(0, 4)).await.unwrap().unwrap();
    assert_eq!(holding, [1000, 0xc0 | 0x05, 9, 9]);
    let coils = soon(plc.read_coils(0, 6)).await.unwrap().unwrap();
    assert_eq!(coils, [true, true, true, false, true, true]);
    let both = soon(plc.read_write_multiple_registers(150, 3, 151, &[7])).await.unwrap().unwrap();
    assert_eq!(both, [1150, 7, 1152]);
    let refused = soon(plc.read_holding_registers(199, 2)).await.unwrap();
    assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress));
    let refused = soon(plc.call(Request::Custom(0x42, vec![1, 2, 3].into()))).await.unwrap();
    assert_eq!(refused.err(), Some(ExceptionCode::IllegalFunction));
    if framing == Framing::Tcp {
        // In RTU it does not know where such a reply ends.
        let own = soon(plc.call(Request::Custom(65, vec![1, 9].into()))).await.unwrap().unwrap();
        assert_eq!(own, Response::Custom(65, vec![0xaa, 0xbb].into()));
    }
}

fn asked_by_tokio_modbus(framing: Framing) {
    let plc = Plc::start(framing);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = match framing {
            Framing::Rtu => {
                let line = tokio_serial::new(&plc.address, 19_200).parity(Parity::Even);
                rtu::attach(line.open_native_async().unwrap())
            }
            _ => {
                let stream = tokio::net::TcpStream::connect(&plc.address).await.unwrap();
                if framing == Framing::Tcp { tcp::attach(stream) } else { rtu::attach(stream) }
            }
        };
        asks(client, framing).await;
    });
}

#[test]
fn tokio_modbus_asks_over_rtu() {
    asked_by_tokio_modbus(Framing::Rtu);
}

#[test]
fn tokio_modbus_asks_over_tcp() {
    asked_by_tokio_modbus(Framing::Tcp);
}

#[test]
fn tokio_modbus_asks_over_rtu_over_tcp() {
    asked_by_tokio_modbus(Framing::RtuOverTcp);
}
