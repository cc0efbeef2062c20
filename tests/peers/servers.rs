//! Our master at slaves of others.

use std::process::Command;

use hilrig_modbus::{Exchange, Framing, Outcome};
use hilrig_points::Table;

use crate::ours::Asking;
use crate::peer::{Peer, file, libmodbus, pymodbus};

/// What every one of them serves.
fn ask(master: &mut Asking) {
    let read = |table, address, count| Exchange::read(17, table, address, count).unwrap();
    let holding: Vec<u16> = (1000..1125).collect();
    for _ in 0..50 {
        assert_eq!(master.values(read(Table::HoldingRegisters, 0, 125)), holding);
    }
    assert_eq!(master.values(read(Table::InputRegisters, 0, 10)), (7..17).collect::<Vec<u16>>());
    assert_eq!(master.values(read(Table::Coils, 0, 10)), (0..10).map(|i| i % 2).collect::<Vec<u16>>());
    let inputs: Vec<u16> = (0..10).map(|i| u16::from(i % 3 == 0)).collect();
    assert_eq!(master.values(read(Table::DiscreteInputs, 0, 10)), inputs);
    master.values(Exchange::write_coil(17, 0, true).unwrap());
    master.values(Exchange::write_coils(17, 2, &[true, false, true, true]).unwrap());
    master.values(Exchange::write_register(17, 1, 0xabcd).unwrap());
    master.values(Exchange::write_registers(17, 2, &[9; 123]).unwrap());
    assert_eq!(master.values(read(Table::Coils, 0, 6)), [1, 1, 1, 0, 1, 1]);
    assert_eq!(master.values(read(Table::HoldingRegisters, 0, 4)), [1000, 0xabcd, 9, 9]);
    master.values(Exchange::mask_write(17, 1, 0xf2, 0x25).unwrap());
    assert_eq!(master.values(read(Table::HoldingRegisters, 1, 1)), [0xc5]);
    assert_eq!(master.values(Exchange::read_write(17, 150, 3, 151, &[7]).unwrap()), [1150, 7, 1152]);
    let refused = master.ask(read(Table::HoldingRegisters, 199, 2));
    assert_eq!((refused.outcome, refused.attempts), (Outcome::Exception(2), 1), "{refused:?}");
    assert_eq!(master.values(read(Table::HoldingRegisters, 160, 2)), [1160, 1161]);
}

fn pymodbus_serves(framing: Framing) {
    let Some(python) = pymodbus() else { return };
    let server = |at: &str| {
        let mut server = Command::new(python);
        server.arg(file("pymodbus_server.py")).args([framing.name(), at]);
        Peer::start(server)
    };
    if framing.is_over_tcp() {
        let peer = server("-");
        ask(&mut Asking::of_a_server(framing, peer.port));
        // And again, over another connection to the same server.
        let mut again = Asking::of_a_server(framing, peer.port);
        assert_eq!(again.values(Exchange::read(17, Table::HoldingRegisters, 1, 1).unwrap()), [0xc5]);
    } else {
        let mut master = Asking::on_a_line(framing);
        let _peer = server(master.far_end.as_ref().unwrap().to_str().unwrap());
        ask(&mut master);
    }
}

#[test]
fn pymodbus_answers_over_rtu() {
    pymodbus_serves(Framing::Rtu);
}

#[test]
fn pymodbus_answers_over_ascii() {
    pymodbus_serves(Framing::Ascii);
}

#[test]
fn pymodbus_answers_over_tcp() {
    pymodbus_serves(Framing::Tcp);
}

#[test]
fn pymodbus_answers_over_rtu_over_tcp() {
    pymodbus_serves(Framing::RtuOverTcp);
}

#[test]
fn pymodbus_answers_over_ascii_over_tcp() {
    pymodbus_serves(Framing::AsciiOverTcp);
}

#[test]
fn libmodbus_answers_over_rtu() {
    let Some(server) = libmodbus("libmodbus_server") else { return };
    let mut master = Asking::on_a_line(Framing::Rtu);
    let mut command = Command::new(server);
    command.arg("rtu").arg(master.far_end.as_ref().unwrap());
    let _peer = Peer::start(command);
    ask(&mut master);
    // Another unit is nobody here.
    let silent = master.ask(Exchange::read(18, Table::HoldingRegisters, 0, 1).unwrap());
    assert_eq!(silent.outcome, Outcome::Timeout, "{silent:?}");
    assert_eq!(master.values(Exchange::read(17, Table::HoldingRegisters, 0, 1).unwrap()), [1000]);
}

#[test]
fn libmodbus_answers_over_tcp() {
    let Some(server) = libmodbus("libmodbus_server") else { return };
    let mut command = Command::new(server);
    command.args(["tcp", "-"]);
    let peer = Peer::start(command);
    let mut master = Asking::of_a_server(Framing::Tcp, peer.port);
    ask(&mut master);
    master.call_again(peer.port);
    assert_eq!(master.values(Exchange::read(17, Table::HoldingRegisters, 1, 1).unwrap()), [0xc5]);
}
