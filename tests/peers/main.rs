//! Modbus peers that are not ours: pymodbus, libmodbus, mbpoll, tokio-modbus and tshark, as clients of our slave, as
//! servers of our master, and as readers of what goes over the line.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod capture;
mod client;
mod clients;
mod house;
mod ours;
mod peer;
mod servers;
mod unit_test;
