//! Port URLs, open ports, virtual pairs, and the shards that carry their bytes.
//!
//! Everything tied to the operating system on the data plane lives here, system calls in `sys` alone. No JSON,
//! no logging, no async.

mod station;
mod time;

pub use station::{Direction, Gate, LineEvent, Station, TX_CAPACITY, Tx};
pub use time::Time;
