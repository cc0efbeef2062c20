//! Modbus cores (slave, master) and the app `plc-simulator` around them.
//!
//! The cores are sans-IO: fed with time and bytes, they own no clock, thread or descriptor and do not allocate
//! while they are driven. References are to the Modbus Application Protocol V1.1b3 ("AP") and to Modbus over
//! Serial Line V1.02 ("SL").

mod app;
mod config;
mod counters;
pub mod crc;
mod data;
mod exchange;
mod master;
pub mod pdu;
pub mod rtu;
mod slave;

pub use app::{PlcApp, spec};
pub use data::{Table, Unit, UnitError};
pub use exchange::{Exchange, ExchangeError, Outcome, Poll, PollResult, Results, Source, Values};
pub use master::{Master, MasterStats, MasterTotals};
pub use rtu::Timing;
pub use slave::{Slave, SlaveStats, SlaveTotals};
