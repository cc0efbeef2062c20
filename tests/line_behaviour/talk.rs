//! A master that says what it likes, and what it takes for an answer. Frames are made here and not by the crate under
//! test; what a slave says is compared byte for byte.

use std::time::Duration;

use hilrig_tests::{Seeded, with_crc};

/// Silence after which everybody begins anew.
pub const PAUSE: Duration = Duration::from_millis(20);
/// Of 19200 baud 8E1: t3.5, and one character.
pub const T35: Duration = Duration::from_nanos(2_005_208);
pub const CHARACTER: Duration = Duration::from_nanos(572_916);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Rtu,
    Ascii,
    Tcp,
    RtuOverTcp,
}

impl Framing {
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtu => "rtu",
            Self::Ascii => "ascii",
            Self::Tcp => "tcp",
            Self::RtuOverTcp => "rtu-over-tcp",
        }
    }
}

/// A slave with units 1 and 3, each with holding registers 0 to 199 from 1000 x unit on in steps of 1, coils 0 to 1999 of
/// which every second is on, and input registers 0 to 9 from 7 on; and the line to it.
pub trait Device {
    /// Bytes, as one piece.
    fn send(&mut self, bytes: &[u8]);
    /// Nobody sends for so long.
    fn wait(&mut self, time: Duration);
    /// What the slave has said and nobody has taken; waits for up to `count` bytes.
    fn take(&mut self, count: usize) -> Vec<u8>;
    /// Everything that it says until it is silent.
    fn take_all(&mut self) -> Vec<u8>;
    /// Whether the slave has ended the connection.
    fn closed(&mut self) -> bool;
    /// Hangs up, if that can be done, and calls again.
    fn reconnect(&mut self);
    /// Whether time is what the case says it is.
    fn is_exact(&self) -> bool;
}

pub struct Talk<'a> {
    pub framing: Framing,
    device: &'a mut dyn Device,
    transaction: u16,
}

impl<'a> Talk<'a> {
    pub fn new(framing: Framing, device: &'a mut dyn Device) -> Self {
        Self { framing, device, transaction: 0x1000 }
    }

    /// Whether times can be held to the microsecond here.
    pub fn is_exact(&self) -> bool {
        self.device.is_exact()
    }

    /// A frame to or from a unit; over TCP with a transaction of its own.
    pub fn frame(&mut self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        self.transaction = self.transaction.wrapping_add(1);
        encode(self.framing, self.transaction, unit, pdu)
    }

    /// Bytes without silence behind them.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.device.send(bytes);
        self
    }

    pub fn wait(&mut self, time: Duration) -> &mut Self {
        self.device.wait(time);
        self
    }

    /// Bytes, then silence.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes(bytes).wait(PAUSE)
    }

    /// A good frame, then silence.
    pub fn ask(&mut self, unit: u8, pdu: &[u8]) -> &mut Self {
        let frame = self.frame(unit, pdu);
        self.send(&frame)
    }

    /// The next that the slave has said, or says now, is this reply.
    #[track_caller]
    pub fn answers(&mut self, unit: u8, pdu: &[u8]) -> &mut Self {
        self.answers_to(self.transaction, unit, pdu)
    }

    /// The same to an older transaction.
    #[track_caller]
    pub fn answers_to(&mut self, transaction: u16, unit: u8, pdu: &[u8]) -> &mut Self {
        let expected = encode(self.framing, transaction, unit, pdu);
        let said = self.device.take(expected.len());
        assert!(said == expected, "said {}, not {}", hex(&said), hex(&expected));
        self
    }

    /// This reply is the last that was said.
    #[track_caller]
    pub fn answers_last(&mut self, unit: u8, pdu: &[u8]) -> &mut Self {
        let expected = encode(self.framing, self.transaction, unit, pdu);
        let said = self.device.take_all();
        assert!(said.ends_with(&expected), "said {}, not {} in the end", hex(&said), hex(&expected));
        self
    }

    #[track_caller]
    pub fn refuses(&mut self, unit: u8, function: u8, code: u8) -> &mut Self {
        self.answers(unit, &[function | 0x80, code])
    }

    /// Whatever it says now is its own affair.
    pub fn whatever(&mut self) -> Vec<u8> {
        self.device.take_all()
    }

    /// Nothing was said. Where nobody can know when a slave would have spoken, the next answer shows it.
    #[track_caller]
    pub fn silent(&mut self) -> &mut Self {
        if self.device.is_exact() {
            let said = self.device.take_all();
            assert!(said.is_empty(), "said {}", hex(&said));
        }
        self
    }

    /// Nothing was said until now; time stands still.
    #[track_caller]
    pub fn said_nothing_yet(&mut self) -> &mut Self {
        let said = self.device.take(1);
        assert!(said.is_empty(), "spoke already");
        self
    }

    /// What was said does not matter.
    pub fn forget_what_was_said(&mut self) {
        if self.device.is_exact() {
            while !self.device.take(4096).is_empty() {}
        } else {
            self.device.take_all();
        }
    }

    #[track_caller]
    pub fn nothing_more(&mut self) {
        let said = self.device.take_all();
        assert!(said.is_empty(), "said {} besides", hex(&said));
    }

    /// A good request is answered, and nothing else was said before. What it reads cannot be written.
    #[track_caller]
    pub fn alive(&mut self) -> &mut Self {
        if self.device.closed() {
            self.device.reconnect();
        }
        self.ask(1, &[4, 0, 0, 0, 2]).answers(1, &[4, 4, 0, 7, 0, 8])
    }

    pub fn reconnect(&mut self) -> &mut Self {
        self.device.reconnect();
        self
    }

    pub fn transaction(&self) -> u16 {
        self.transaction
    }

    pub fn set_transaction(&mut self, last: u16) {
        self.transaction = last;
    }

    /// The value of a holding register.
    #[track_caller]
    pub fn holds(&mut self, unit: u8, address: u8, value: u16) -> &mut Self {
        let [high, low] = value.to_be_bytes();
        self.ask(unit, &[3, 0, address, 0, 1]).answers(unit, &[3, 2, high, low])
    }

    /// A PDU of an answer to what was just asked, whichever it is.
    #[track_caller]
    pub fn answer(&mut self) -> Vec<u8> {
        let said = self.device.take_all();
        decode(self.framing, &said).unwrap_or_else(|| panic!("{} is no frame", hex(&said)))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(40).map(|b| format!("{b:02x}")).collect();
    format!("[{}{}]", shown.join(" "), if bytes.len() > 40 { " …" } else { "" })
}

pub fn encode(framing: Framing, transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Rtu | Framing::RtuOverTcp => with_crc(&[&[unit], pdu].concat()),
        Framing::Ascii => {
            let body = [&[unit], pdu].concat();
            let lrc = body.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)).wrapping_neg();
            let digits: String = body.iter().chain([&lrc]).map(|b| format!("{b:02X}")).collect();
            format!(":{digits}\r\n").into_bytes()
        }
        Framing::Tcp => {
            let [high, low] = transaction.to_be_bytes();
            let [long, short] = (pdu.len() as u16 + 1).to_be_bytes();
            [&[high, low, 0, 0, long, short, unit], pdu].concat()
        }
    }
}

fn decode(framing: Framing, adu: &[u8]) -> Option<Vec<u8>> {
    let pdu = match framing {
        Framing::Rtu | Framing::RtuOverTcp => adu.get(1..adu.len().checked_sub(2)?)?.to_vec(),
        Framing::Ascii => {
            let digits = std::str::from_utf8(adu).ok()?.strip_prefix(':')?.strip_suffix("\r\n")?;
            let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
            let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect::<Option<_>>()?;
            bytes.get(1..bytes.len().checked_sub(1)?)?.to_vec()
        }
        Framing::Tcp => adu.get(7..)?.to_vec(),
    };
    // It is one frame, and whole.
    let (transaction, unit) = match framing {
        Framing::Tcp => (u16::from_be_bytes([adu[0], adu[1]]), adu[6]),
        Framing::Rtu | Framing::RtuOverTcp => (0, adu[0]),
        Framing::Ascii => (0, u8::from_str_radix(std::str::from_utf8(&adu[1..3]).ok()?, 16).ok()?),
    };
    (encode(framing, transaction, unit, &pdu) == adu).then_some(pdu)
}

/// Noise of a length, the same each time.
pub fn noise(len: usize) -> Vec<u8> {
    Seeded(len as u64).bytes(len)
}
