//! Modbus cores: codec, framers, slave, master, gateway, sniffer.
//!
//! Sans-IO: fed with time and bytes, they own no clock, thread or descriptor and do not allocate while they are driven.
//! References are to the Modbus Application Protocol V1.1b3 ("AP") and to Modbus over Serial Line V1.02 ("SL").

pub mod ascii;
pub mod crc;
mod diagnostics;
mod exchange;
pub mod faults;
mod file;
mod frames;
pub mod framing;
mod gateway;
mod learn;
mod line;
mod master;
pub mod mbap;
mod outbox;
pub mod pdu;
mod plan;
mod poll;
mod replies;
pub mod reply;
pub mod respond;
pub mod rtu;
mod served;
mod slave;
mod sniffer;
mod tcp_slave;

pub use exchange::{Exchange, ExchangeError, Record};
pub use faults::ReplyRuleFile;
pub use file::{CellsFile, GatewayFile, IntoFile, MasterFile, PollFile, SniffFile};
pub use frames::{FrameKind, FrameReader, FrameRecord, FrameSink, frames};
pub use framing::{Adu, Framer, Framing, MAX_ADU};
pub use gateway::{Gateway, GatewayStats, GatewayTotals};
pub use learn::{LearnMap, Range};
pub use master::{Kept, Master, MasterStats, MasterTotals};
pub use plan::{GatewayPlan, MasterPlan, SniffPlan};
pub use poll::{Cells, Outcome, Poll, PollResult, PollStats, Results, Source, Values};
pub use rtu::Timing;
pub use served::{SlaveStats, SlaveTotals};
pub use slave::Slave;
pub use sniffer::{Row, SniffStats, SniffTotals, Sniffer, decode};
pub use tcp_slave::{AbsentUnit, AnyUnit, TcpSlave};
