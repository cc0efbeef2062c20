//! Captures: from the taps of links to pcapng that Wireshark dissects, and back onto a line. Never stands in the
//! way of a line.
