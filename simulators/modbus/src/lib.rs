//! Modbus cores: codec, framers, slave, master.
//!
//! Sans-IO: fed with time and bytes, they own no clock, thread or descriptor and do not allocate while they are driven.
//! References are to the Modbus Application Protocol V1.1b3 ("AP") and to Modbus over Serial Line V1.02 ("SL").

mod counters;
pub mod crc;
mod exchange;
mod file;
mod master;
pub mod pdu;
pub mod reply;
pub mod respond;
pub mod rtu;
mod slave;

pub use exchange::{Exchange, ExchangeError, Outcome, Poll, PollResult, Results, Source, Values};
pub use file::{CellsFile, GatewayFile, IntoFile, MasterFile, PollFile, SniffFile};
pub use master::{Master, MasterStats, MasterTotals};
pub use rtu::Timing;
pub use slave::{Slave, SlaveStats, SlaveTotals};
