//! Replays the corpora of the fuzz targets.

#![allow(clippy::unwrap_used)]

use hilrig_tests::replay;

#[path = "../../../tests/fuzz/bodies/ascii_frame.rs"]
mod ascii_frame;
#[path = "../../../tests/fuzz/bodies/mbap_frame.rs"]
mod mbap_frame;
#[path = "../../../tests/fuzz/bodies/modbus_master.rs"]
mod modbus_master;
#[path = "../../../tests/fuzz/bodies/pass.rs"]
mod pass;
#[path = "../../../tests/fuzz/bodies/pdu.rs"]
mod pdu;
#[path = "../../../tests/fuzz/bodies/rtu_slave.rs"]
mod rtu_slave;
#[path = "../../../tests/fuzz/bodies/sniffer.rs"]
mod sniffer;

#[test]
fn corpus_of_the_slave() {
    replay("rtu_slave", rtu_slave::run);
}

#[test]
fn corpus_of_the_pdu_codec() {
    replay("pdu", pdu::run);
}

#[test]
fn corpus_of_ascii_frames() {
    replay("ascii_frame", ascii_frame::run);
}

#[test]
fn corpus_of_modbus_tcp_frames() {
    replay("mbap_frame", mbap_frame::run);
}

#[test]
fn corpus_of_the_master() {
    replay("modbus_master", modbus_master::run);
}

#[test]
fn corpus_of_the_sniffer() {
    replay("sniffer", sniffer::run);
}
