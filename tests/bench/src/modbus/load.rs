//! The client of all servers under measurement: reads of ten registers, one after the other on each connection or line, every
//! reply checked. It knows no server.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::Failure;
use crate::child::Group;
use crate::line::End;

/// Registers that a server has, and how many one request reads.
pub const REGISTERS: u16 = 100;
const COUNT: u16 = 10;
const UNIT: u8 = 1;
/// How long no answer may come before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may take until it answers for the first time.
const START: Duration = Duration::from_secs(15);

/// What was written to a register.
fn value(address: u16) -> [u8; 2] {
    (0xa000 + address * 7).to_be_bytes()
}

/// Where the `n`-th request begins to read.
fn place(n: u64) -> u16 {
    (n % u64::from(REGISTERS - COUNT)) as u16
}

/// The PDU of a read, and of the reply to it.
fn read_at(address: u16) -> ([u8; 5], [u8; 22]) {
    let [high, low] = address.to_be_bytes();
    let mut reply = [0; 22];
    (reply[0], reply[1]) = (3, 2 * COUNT as u8);
    for (i, cell) in reply[2..].chunks_mut(2).enumerate() {
        cell.copy_from_slice(&value(address + i as u16));
    }
    ([3, high, low, 0, COUNT as u8], reply)
}

/// The PDU that writes all registers.
fn write_all() -> Vec<u8> {
    let mut pdu = vec![16, 0, 0, 0, REGISTERS as u8, 2 * REGISTERS as u8];
    pdu.extend((0..REGISTERS).flat_map(value));
    pdu
}

fn mbap(transaction: u16, pdu: &[u8]) -> Vec<u8> {
    let [high, low] = transaction.to_be_bytes();
    [&[high, low, 0, 0, 0, pdu.len() as u8 + 1, UNIT], pdu].concat()
}

/// A request by TCP and the reply to it.
#[derive(Debug)]
pub struct Exchange {
    pub request: Vec<u8>,
    pub reply: Vec<u8>,
}

/// One that every server here can answer.
pub fn exchange() -> Exchange {
    let (request, reply) = read_at(1);
    Exchange { request: mbap(7, &request), reply: mbap(7, &reply) }
}

/// What a closed loop brought.
#[derive(Debug, Default)]
pub struct Run {
    pub took: Duration,
    /// Of each request, from before its write to after the read of its reply, in us.
    pub samples: Vec<f64>,
}

impl Run {
    pub fn per_second(&self) -> f64 {
        self.samples.len() as f64 / self.took.as_secs_f64()
    }
}

/// Waits until a server answers, and gives its registers their values.
pub fn settle_tcp(address: SocketAddr, group: &mut Group) -> Result<(), Failure> {
    let until = Instant::now() + START;
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(e) => {
                group.check_alive()?;
                if Instant::now() > until {
                    let words = group.last_words();
                    return Err(Failure::Missing(format!("{}: {e}: {words}", group.name())));
                }
                sleep(Duration::from_millis(10));
            }
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&mbap(1, &write_all()))?;
    let mut reply = [0; 12];
    let name = group.name();
    stream.read_exact(&mut reply).map_err(|e| Failure::Wrong(format!("{name} answers no write: {e}")))?;
    if reply == *mbap(1, &write_all()[..5]) {
        Ok(())
    } else {
        Err(Failure::Wrong(format!("{name} answers a write with {reply:02x?}")))
    }
}

#[derive(Debug)]
struct Caller {
    stream: TcpStream,
    asked: u64,
    sent: Instant,
    got: usize,
    buffer: [u8; 64],
}

impl Caller {
    fn ask(&mut self, now: Instant) -> Result<(), Failure> {
        self.asked += 1;
        (self.sent, self.got) = (now, 0);
        let (pdu, _) = read_at(place(self.asked));
        let mut request = [0, 0, 0, 0, 0, 6, UNIT, 0, 0, 0, 0, 0];
        request[..2].copy_from_slice(&(self.asked as u16).to_be_bytes());
        request[7..].copy_from_slice(&pdu);
        match rustix::io::write(&self.stream, &request)? {
            12 => Ok(()),
            n => Err(Failure::Missing(format!("a connection took {n} of 12 bytes"))),
        }
    }

    /// Whether the reply is whole; it is right then.
    fn hear(&mut self) -> Result<bool, Failure> {
        match rustix::io::read(&self.stream, &mut self.buffer[self.got..]) {
            Ok(0) => return Err(Failure::Wrong("the server ended a connection".to_owned())),
            Ok(n) => self.got += n,
            Err(Errno::AGAIN) => {}
            Err(e) => return Err(Failure::Wrong(format!("the server broke a connection: {e}"))),
        }
        let (_, pdu) = read_at(place(self.asked));
        let [high, low] = (self.asked as u16).to_be_bytes();
        let head = [high, low, 0, 0, 0, pdu.len() as u8 + 1, UNIT];
        let whole = head.len() + pdu.len();
        let (heard, end) = (&self.buffer[..self.got], self.got.min(head.len()));
        if self.got > whole || heard[..end] != head[..end] || heard[end..] != pdu[..self.got - end] {
            return Err(Failure::Wrong(format!("request {} was answered with {heard:02x?}", self.asked)));
        }
        Ok(self.got == whole)
    }
}

/// Connections to one server.
#[derive(Debug)]
pub struct Callers {
    set: OwnedFd,
    all: Vec<Caller>,
}

impl Callers {
    pub fn connect(address: SocketAddr, count: usize) -> Result<Self, Failure> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut all = Vec::new();
        for i in 0..count {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&set, &stream, EventData::new_u64(i as u64), EventFlags::IN)?;
            // Not all at the same place at the same time.
            let asked = i as u64 * 13;
            all.push(Caller { stream, asked, sent: Instant::now(), got: 0, buffer: [0; 64] });
        }
        Ok(Self { set, all })
    }

    /// Each connection asks again as soon as it was answered, for so long; all are answered in the end.
    pub fn run(&mut self, time: Duration) -> Result<Run, Failure> {
        let mut samples = Vec::with_capacity((time.as_secs_f64() * 300_000.0) as usize + self.all.len());
        let start = Instant::now();
        for caller in &mut self.all {
            caller.ask(Instant::now())?;
        }
        let mut waiting = self.all.len();
        let mut events = [MaybeUninit::<Event>::uninit(); 64];
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        while waiting > 0 {
            let seen = match epoll::wait(&self.set, &mut events, Some(&patience)) {
                Ok((seen, _)) => seen,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            if seen.is_empty() {
                return Err(Failure::Wrong(format!("{waiting} requests were not answered within 5 s")));
            }
            for event in seen {
                let caller = &mut self.all[event.data.u64() as usize];
                if caller.hear()? {
                    let now = Instant::now();
                    samples.push((now - caller.sent).as_secs_f64() * 1e6);
                    if now - start < time {
                        caller.ask(now)?;
                    } else {
                        waiting -= 1;
                    }
                }
            }
        }
        Ok(Run { took: start.elapsed(), samples })
    }

    /// Each connection asks once, one after the other.
    pub fn once(&mut self) -> Result<(), Failure> {
        self.run(Duration::ZERO).map(drop)
    }
}

fn rtu(pdu: &[u8]) -> Vec<u8> {
    let mut frame = [&[UNIT], pdu].concat();
    let crc = frame.iter().fold(0xffffu16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 })
    });
    frame.extend(crc.to_le_bytes());
    frame
}

/// The same over a line.
pub fn settle_rtu(line: &End, group: &mut Group) -> Result<(), Failure> {
    let (request, want) = (rtu(&write_all()), rtu(&write_all()[..5]));
    let until = Instant::now() + START;
    loop {
        line.clear()?;
        let mut reply = vec![0; want.len()];
        let answer = line.ask(&request, &mut reply, Duration::from_millis(300));
        match answer {
            Ok(_) if reply == want => return Ok(()),
            Ok(_) => {
                return Err(Failure::Wrong(format!("{} answers a write with {reply:02x?}", group.name())));
            }
            Err(failure) => {
                group.check_alive()?;
                if Instant::now() > until {
                    return Err(failure);
                }
                sleep(Duration::from_millis(50));
            }
        }
    }
}

/// One request after the other on a line.
pub fn run_rtu(line: &End, count: usize) -> Result<Run, Failure> {
    let exchanges: Vec<_> = (0..u64::from(REGISTERS - COUNT))
        .map(|n| {
            let (request, reply) = read_at(place(n));
            (rtu(&request), rtu(&reply))
        })
        .collect();
    let mut samples = Vec::with_capacity(count);
    let start = Instant::now();
    for (request, want) in exchanges.iter().cycle().take(count) {
        let mut reply = [0; 64];
        let took = line.ask(request, &mut reply[..want.len()], PATIENCE)?;
        if reply[..want.len()] != want[..] {
            return Err(Failure::Wrong(format!("{request:02x?} was answered with {reply:02x?}")));
        }
        samples.push(took.as_secs_f64() * 1e6);
    }
    Ok(Run { took: start.elapsed(), samples })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_the_specification_shows_them() {
        let frame = rtu(&[3, 0, 0, 0, 10]);
        assert_eq!(frame, [1, 3, 0, 0, 0, 10, 0xc5, 0xcd]);
        assert_eq!(mbap(0x1234, &[3, 0, 0, 0, 10]), [0x12, 0x34, 0, 0, 0, 6, 1, 3, 0, 0, 0, 10]);
        assert_eq!(read_at(1).1[..4], [3, 20, 0xa0, 0x07]);
    }
}
