//! Writes the records of links as pcapng, in order of time, so that each file is complete at any moment. Decides what
//! a packet looks like; where it goes is `output`'s affair, what belongs together is `assembler`'s.

use std::io::{self, Write};
use std::path::PathBuf;

use hilrig_port::{TapRecord, Time};

use crate::assembler::{Assembler, Made};
use crate::blocks::{self, PacketBlock, Statistics};
use crate::clock::{WallClock, step_comment};
use crate::link::description;
use crate::output::Output;
use crate::packet::{EXPORTED_PDU, RTAC_SERIAL, pdu_header, rtac_header};
use crate::pump::Pump;
use crate::{CaptureSpec, Event, LinkInfo, PacketFormat, Sink};

const APPLICATION: &str = concat!("hilrig ", env!("CARGO_PKG_VERSION"));

/// A capture in the making.
#[derive(Debug)]
pub struct PcapngSink {
    format: PacketFormat,
    assembler: Assembler,
    clock: WallClock,
    output: Output,
    /// Whole blocks, written at the end of each round.
    batch: Vec<u8>,
    block: Vec<u8>,
    header: Vec<u8>,
    interfaces: Vec<InterfaceState>,
    /// Their numbers by place of the link and side: for data, and for all the rest.
    numbers: Vec<[[Option<u32>; 2]; 2]>,
    /// By place of the link and side: packets and bytes that found no room, and of which the capture does not know yet.
    untold: Vec<[(u64, u64); 2]>,
    /// The sum of them.
    lost_packets: u64,
    lost_bytes: u64,
    packets_in_file: u64,
}

#[derive(Debug)]
struct InterfaceState {
    link_type: u16,
    name: String,
    description: String,
    seen: Statistics,
}

impl PcapngSink {
    /// Writes to a file, or a row of them. What is there and is no ordinary file is written as a stream.
    pub fn create(spec: &CaptureSpec) -> io::Result<Self> {
        spec.check().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
        Self::new(spec, Output::create(spec)?)
    }

    /// Writes to a stream, which may wait: that has a thread of its own and a bounded buffer. `spec.file` and rotation
    /// do not count.
    pub fn stream(spec: &CaptureSpec, to: impl Write + Send + 'static) -> io::Result<Self> {
        Self::new(spec, Output::Stream(Pump::start(move || Ok(to))?))
    }

    fn new(spec: &CaptureSpec, output: Output) -> io::Result<Self> {
        let mut sink = Self {
            format: spec.format.clone(),
            assembler: Assembler::new(spec.framing.clone(), spec.points),
            clock: WallClock::new(),
            output,
            batch: Vec::new(),
            block: Vec::new(),
            header: Vec::new(),
            interfaces: Vec::new(),
            numbers: Vec::new(),
            untold: Vec::new(),
            lost_packets: 0,
            lost_bytes: 0,
            packets_in_file: 0,
        };
        sink.begin_file();
        sink.flush()?;
        Ok(sink)
    }

    fn begin_file(&mut self) {
        blocks::section(&mut self.batch, APPLICATION);
        let from = self.clock.at(Time::now());
        for interface in &mut self.interfaces {
            interface.seen = Statistics { from, to: from, ..Statistics::default() };
            blocks::interface(&mut self.batch, interface.link_type, &interface.name, &interface.description);
        }
        self.packets_in_file = 0;
    }

    fn end_file(&mut self) {
        let to = self.clock.at(Time::now());
        for (i, interface) in self.interfaces.iter_mut().enumerate() {
            interface.seen.to = to;
            blocks::statistics(&mut self.batch, i as u32, &interface.seen);
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.end_file();
        self.flush()?;
        self.output.rotate()?;
        self.begin_file();
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let done = self.output.write(&self.batch);
        self.batch.clear();
        done
    }

    /// The interface for what one side of a link does: data, or all the rest. Described when it is first needed.
    fn interface(&mut self, place: usize, side: u8, data: bool) -> u32 {
        let data = data || self.format == PacketFormat::Rtac;
        let side = usize::from(side & 1);
        if let Some(Some(number)) = self.numbers.get(place).map(|sides| sides[side][usize::from(data)]) {
            return number;
        }
        let link_type = if data && self.format != PacketFormat::Rtac { EXPORTED_PDU } else { RTAC_SERIAL };
        let Some(info) = self.assembler.links().nth(place) else { return 0 };
        let (name, description) = (info.ports[side].clone(), description(&info.name, side));
        // A link that was started anew is known under another key.
        let known =
            |i: &InterfaceState| i.link_type == link_type && i.name == name && i.description == description;
        let found = self.interfaces.iter().position(known).unwrap_or_else(|| {
            let from = self.clock.at(Time::now());
            blocks::interface(&mut self.batch, link_type, &name, &description);
            let seen = Statistics { from, to: from, ..Statistics::default() };
            self.interfaces.push(InterfaceState { link_type, name, description, seen });
            self.interfaces.len() - 1
        });
        self.numbers[place][side][usize::from(data)] = Some(found as u32);
        found as u32
    }

    fn know(&mut self, info: &LinkInfo) {
        let place = self.assembler.place(info);
        if place < self.numbers.len() {
            return;
        }
        self.numbers.resize(place + 1, [[None; 2]; 2]);
        self.untold.resize(place + 1, [(0, 0); 2]);
        for side in 0..2 {
            self.interface(place, side, true);
        }
    }

    /// Writes what is ready.
    fn drain(&mut self, now: Option<Time>) -> io::Result<()> {
        let made = self.assembler.release(now);
        let mut room = self.output.room();
        for made in &made {
            self.encode(made);
            let told = self.untold_blocks(made.at);
            let need = self.batch.len() + told.len() + self.block.len();
            if need > room {
                self.lose(made);
                continue;
            }
            if self.packets_in_file > 0 && self.output.is_full(need, made.at) {
                self.rotate()?;
                room = self.output.room();
            }
            if !told.is_empty() {
                self.batch.extend_from_slice(&told);
                self.untold.fill([(0, 0); 2]);
                self.lost_packets = 0;
            }
            self.batch.extend_from_slice(&self.block);
            let interface = self.interface_of(made) as usize;
            if let Some(InterfaceState { seen, .. }) = self.interfaces.get_mut(interface) {
                seen.received += 1;
                seen.lost_bytes += made.lost;
                seen.dropped += u64::from(made.lost > 0);
            }
            self.packets_in_file += 1;
        }
        self.assembler.reuse(made);
        self.flush()
    }

    fn interface_of(&mut self, made: &Made) -> u32 {
        self.interface(made.link, made.side, matches!(made.event, Event::TxStart | Event::RxStart))
    }

    /// Leaves the block of a packet in `self.block`.
    fn encode(&mut self, made: &Made) {
        let interface = self.interface_of(made);
        let at = self.clock.at(made.at);
        self.header.clear();
        match (&self.format, made.flow) {
            (PacketFormat::Pdu(dissector), Some(flow))
                if matches!(made.event, Event::TxStart | Event::RxStart) =>
            {
                pdu_header(dissector, made.side, flow, &mut self.header);
            }
            _ => self.header.extend_from_slice(&rtac_header(at, made.event, made.lines)),
        }
        self.block.clear();
        let packet = PacketBlock {
            interface,
            at,
            flow: made.flow,
            header: &self.header,
            data: self.assembler.bytes(made),
            comments: &made.comments,
        };
        blocks::packet(&mut self.block, &packet);
    }

    /// There is no room for this packet.
    fn lose(&mut self, made: &Made) {
        let bytes = self.assembler.bytes(made).len() as u64;
        let interface = self.interface_of(made) as usize;
        if let Some(InterfaceState { seen, .. }) = self.interfaces.get_mut(interface) {
            seen.dropped += 1;
            seen.lost_bytes += bytes + made.lost;
        }
        let untold = &mut self.untold[made.link][usize::from(made.side)];
        *untold = (untold.0 + 1, untold.1 + bytes + made.lost);
        self.lost_packets += 1;
        self.lost_bytes += bytes;
    }

    /// Packets that tell what found no room.
    fn untold_blocks(&mut self, at: Time) -> Vec<u8> {
        let mut told = Vec::new();
        if self.lost_packets == 0 {
            return told;
        }
        for place in 0..self.untold.len() {
            for side in 0..2 {
                let (packets, bytes) = self.untold[place][usize::from(side)];
                if packets == 0 {
                    continue;
                }
                let interface = self.interface(place, side, false);
                let at = self.clock.at(at);
                let comment = format!(
                    "{packets} packets with {bytes} bytes are missing here: the reader of the capture was too slow"
                );
                let packet = PacketBlock {
                    interface,
                    at,
                    flow: None,
                    header: &rtac_header(at, Event::DataLost, hilrig_port::Lines::NONE),
                    data: &[],
                    comments: &[comment],
                };
                blocks::packet(&mut told, &packet);
            }
        }
        told
    }

    fn remark(&mut self, now: Time, comment: String) {
        let interface = self.interface(0, 0, false);
        let at = self.clock.at(now);
        let packet = PacketBlock {
            interface,
            at,
            flow: None,
            header: &rtac_header(at, Event::Status, hilrig_port::Lines::NONE),
            data: &[],
            comments: &[comment],
        };
        blocks::packet(&mut self.batch, &packet);
    }
}

impl Sink for PcapngSink {
    fn start(&mut self, links: &[LinkInfo]) -> io::Result<()> {
        links.iter().for_each(|link| self.know(link));
        self.flush()
    }

    fn record(&mut self, link: &LinkInfo, record: &TapRecord<'_>) -> io::Result<()> {
        self.know(link);
        self.assembler.record(link, record);
        Ok(())
    }

    fn tick(&mut self, now: Time) -> io::Result<()> {
        self.assembler.tick(now);
        self.drain(Some(now))?;
        if self.packets_in_file > 0 && self.output.is_full(0, now) {
            self.rotate()?;
        }
        if let Some(step) = self.clock.check(now)
            && !self.interfaces.is_empty()
        {
            self.remark(now, step_comment(step));
            self.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.assembler.finish();
        self.drain(None)?;
        let told = self.untold_blocks(Time::now());
        self.batch.extend_from_slice(&told);
        self.end_file();
        self.flush()?;
        self.output.finish()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.output.files()
    }

    fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }
}

#[cfg(test)]
#[path = "pcapng_sink_tests.rs"]
mod tests;
