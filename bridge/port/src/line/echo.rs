//! What we have sent and hear again: a transceiver on two wires that listens while it speaks. Own bytes are left out of what
//! is heard, in their order, as long as they come back as they were. Knows no line.

use std::time::Duration;

use crate::{Format, Time};

/// As much as can be on its way.
const ROOM: usize = 4096;
/// How long after its last bit a byte comes back at the latest, through the queues of drivers and adapters.
const LATE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Echo {
    character: Duration,
    /// A ring.
    sent: [u8; ROOM],
    first: usize,
    len: usize,
    /// When the last of them has left.
    until: Time,
}

impl Echo {
    pub fn new(baud: u32, format: Format) -> Box<Self> {
        let half_bit = Duration::from_nanos(500_000_000 / u64::from(baud.max(1)));
        let character = half_bit * format.half_bits();
        Box::new(Self { character, sent: [0; ROOM], first: 0, len: 0, until: Time(0) })
    }

    /// These bytes were handed to the line.
    pub fn sent(&mut self, now: Time, bytes: &[u8]) {
        self.forget_old(now);
        self.until = self.until.max(now) + self.character * bytes.len() as u32;
        if self.len + bytes.len() > ROOM {
            // More than any driver takes at once: what comes back of it is heard.
            self.len = 0;
            return;
        }
        for byte in bytes {
            self.sent[(self.first + self.len) % ROOM] = *byte;
            self.len += 1;
        }
    }

    /// How many of these bytes, from the first on, are our own. What is not as it was sent, somebody else has spoken into.
    pub fn own(&mut self, now: Time, heard: &[u8]) -> usize {
        self.forget_old(now);
        for (i, byte) in heard.iter().enumerate() {
            if self.len == 0 || self.sent[self.first] != *byte {
                self.len = 0;
                return i;
            }
            self.first = (self.first + 1) % ROOM;
            self.len -= 1;
        }
        heard.len()
    }

    /// What has not come back by now comes no more.
    fn forget_old(&mut self, now: Time) {
        if now > self.until + LATE {
            self.len = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_bytes_are_left_out_in_order_and_in_time() {
        let ms = |n: u64| Time(n * 1_000_000);
        // A character takes 1 ms.
        let mut echo = Echo::new(10_000, Format::default());
        assert_eq!(echo.own(ms(0), b"abc"), 0);
        echo.sent(ms(0), b"abc");
        echo.sent(ms(0), b"de");
        assert_eq!(echo.own(ms(3), b"ab"), 2);
        assert_eq!(echo.own(ms(5), b"cdef"), 3);
        assert_eq!(echo.own(ms(5), b"f"), 0);
        // Somebody else spoke, too: from there on all is heard.
        echo.sent(ms(5), b"abc");
        assert_eq!(echo.own(ms(9), b"aXc"), 1);
        assert_eq!(echo.own(ms(9), b"c"), 0);
        // Nothing came back, so what comes much later is not our own.
        echo.sent(ms(20), b"abc");
        assert_eq!(echo.own(ms(124), b"abc"), 0);
        echo.sent(ms(200), b"abc");
        assert_eq!(echo.own(ms(303), b"abc"), 3);
        // It goes round the ring, and more than fits is heard.
        for n in 0..100 {
            echo.sent(ms(400 + 200 * n), &[n as u8; 100]);
            assert_eq!(echo.own(ms(400 + 200 * n), &[n as u8; 100]), 100);
        }
        echo.sent(ms(40_000), &[1; ROOM + 1]);
        assert_eq!(echo.own(ms(40_000), &[1]), 0);
    }
}
