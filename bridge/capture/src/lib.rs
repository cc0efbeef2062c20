//! Captures: from the taps of links to pcapng that Wireshark dissects, and back onto a line. Never stands in the
//! way of a line.
//!
//! A [`Hub`] has the one thread that empties all taps and feeds any number of [`Sink`]s; [`PcapngSink`] is the sink
//! that writes files and streams. [`Reader`] reads captures, [`Recording`] sorts them by link and side, and [`Player`]
//! sends one side of a recording again.

mod assembler;
mod blocks;
mod clock;
mod extcap;
mod framing;
mod hub;
mod link;
mod output;
mod packet;
mod pcapng_sink;
mod player;
mod pump;
mod reader;
mod recording;
mod rotation;
mod sink;
mod spec;

pub use extcap::{Extcap, ExtcapRequest};
pub use framing::{Framer, Framing};
pub use hub::Hub;
pub use link::{LinkInfo, LinkKey, Rules};
pub use packet::{Event, Flow};
pub use pcapng_sink::PcapngSink;
pub use player::{Difference, Outcome, PlaySpec, Player, Progress};
pub use reader::{Interface, Packet, ReadError, Reader};
pub use recording::{Moment, Recording, Side, What};
pub use sink::{Sink, SinkId, SinkReport};
pub use spec::{CaptureSpec, PacketFormat, Points, SpecError};
