//! Port URLs, open ports, virtual pairs, and the shards that carry their bytes.
//!
//! Everything tied to the operating system on the data plane lives here, system calls in `sys` alone. No JSON,
//! no logging, no async.

mod callers;
mod closer;
mod conduit;
mod counters;
mod engine;
mod error;
mod events;
mod histogram;
mod line;
mod link;
mod open;
mod port;
mod port_watch;
mod ports;
mod preload;
mod realtime;
mod returning;
mod runtime;
mod seat;
mod serial_options;
mod server;
mod server_unit;
mod set;
mod shard;
mod signal;
mod station;
mod stats;
mod sys;
mod sys_lend;
mod sys_rt;
mod tap;
pub mod telnet;
mod time;
mod tls_files;
mod unit;
mod url;
mod virtual_shard;

pub use conduit::{Account, Conduit, Note, Out};
pub use counters::Counter;
pub use error::PortError;
pub use events::{Event, EventWaker, Events, Happened};
pub use histogram::Histogram;
pub use link::{LineRouting, LinkOptions, TapPoints};
pub use open::OpenPort;
pub use port_watch::PortWatch;
pub use ports::{PortInfo, list_ports};
pub use preload::preload_environment;
pub use realtime::{Grant, Granted, RealTime};
pub use returning::{Return, Returning, Returns, StopFlag};
pub use runtime::{Held, LockFile, Runtime};
pub use serial_options::{Flow, Format, Parity, SerialOptions, StopBits};
pub use server::{Caller, Calls, Server, Wanted};
pub use shard::{Link, SeatOptions, SeatRef, ServerRef, Shard, StationRef, Visits};
pub use signal::{CharError, LineSettings, Lines, Purge, Signal};
pub use station::{Direction, LineEvent, Station, TX_CAPACITY, Tx};
pub use stats::{DirectionSnapshot, LinkSnapshot, LinkStats, PortSnapshot, PortState, PortStats};
pub use tap::{Tap, TapKind, TapReader, TapRecord, tap};
pub use time::Time;
pub use url::{Identity, Policy, PortUrl, TlsClient, TlsServer, UrlError};
pub use virtual_shard::{
    VirtualEnd, VirtualLink, VirtualListener, VirtualServer, VirtualShard, VirtualStation,
};
