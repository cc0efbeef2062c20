//! The units that one port serves: a request PDU in, a reply PDU out, with their diagnostics and counters. Knows no frame
//! and no line; shared by the slaves of all framings.

use std::sync::Arc;

use hilrig_points::Shared;
use hilrig_port::Time;

use crate::diagnostics::{Diagnostics, Told};
use crate::faults::Reply;
use crate::framing::Chunk;
use crate::pdu::{EXCEPTION, MAX_PDU, Request, refuse};
use crate::respond::act;

hilrig_port::counters! {
    /// Live counters of a [`Slave`](crate::Slave) or [`TcpSlave`](crate::TcpSlave).
    SlaveStats,
    /// Counters of a [`Slave`](crate::Slave) or [`TcpSlave`](crate::TcpSlave) at one moment.
    SlaveTotals:
    /// Requests to one of our units.
    requests = "requests",
    /// Replies sent, exceptions included.
    replies = "replies",
    /// Requests to unit 0.
    broadcasts = "broadcasts",
    /// Frames to and from units that are not ours.
    other_units = "otherUnitFrames",
    /// Exception 1 sent.
    illegal_function = "exceptionsIllegalFunction",
    /// Exception 2 sent.
    illegal_address = "exceptionsIllegalAddress",
    /// Exception 3 sent.
    illegal_value = "exceptionsIllegalValue",
    /// Exception 4 sent.
    device_failure = "exceptionsDeviceFailure",
    /// Other exceptions sent.
    other_exceptions = "exceptionsOther",
    /// Requests that units did not answer because they listen only, or were told to.
    unanswered = "unansweredRequests",
    /// Chunks of at least four bytes that no CRC holds for.
    crc_errors = "crcErrors",
    /// ASCII frames that no LRC holds for.
    lrc_errors = "lrcErrors",
    /// Chunks of less than four bytes; ASCII frames that were not ended.
    short = "shortFrames",
    /// Chunks that are too long for a frame.
    overflows = "overflows",
    /// Chunks of characters that no ASCII frame has, or outside of any.
    bad_characters = "badCharacters",
    /// Headers that are not of Modbus TCP.
    bad_headers = "badHeaders",
    /// Bytes of all chunks that were no frame.
    noise_bytes = "noiseBytes",
    /// Frames for one of our units that only a slave can have sent.
    strays = "strayReplies",
    /// Replies not sent because the master had gone on.
    superseded = "supersededReplies",
    /// Replies not sent because the line took no more bytes, or too many others wait.
    stalled = "stalledReplies",
    /// How often fault rules acted on a reply.
    faults = "faultsFired",
    /// Replies that a fault rule kept from being sent.
    withheld = "withheldReplies",
    /// TCP: callers there now.
    callers = "callers",
    /// TCP: callers that came.
    accepted = "acceptedCallers",
    /// TCP: callers sent away because there were too many.
    refused = "refusedCallers",
    /// TCP: callers hung up on, for a bad header, for saying nothing or by a fault.
    hung_up = "closedCallers",
}

/// Which units a port serves, and their state on it.
#[derive(Debug)]
pub(crate) struct Served {
    plant: Shared,
    /// The only ones of the plant, if not all.
    only: Option<Box<[u8]>>,
    ours: [bool; 256],
    first: Option<u8>,
    pub diagnostics: Diagnostics,
    pub stats: Arc<SlaveStats>,
}

impl Served {
    pub fn new(plant: Shared) -> Self {
        let nobody = [false; 256];
        let diagnostics = Diagnostics::new(&nobody);
        let mut served =
            Self { plant, only: None, ours: nobody, first: None, diagnostics, stats: Arc::default() };
        served.refresh();
        served
    }

    pub fn restrict(&mut self, only: Option<&[u8]>) {
        self.only = only.map(Into::into);
        self.refresh();
    }

    /// Looks again which units there are. Allocates.
    pub fn refresh(&mut self) {
        let before = self.ours;
        self.ours = [false; 256];
        self.first = None;
        self.plant.with(|plant| {
            for id in plant.unit_ids().filter(|id| self.only.as_ref().is_none_or(|only| only.contains(id))) {
                self.ours[usize::from(id)] = true;
                self.first = self.first.or(Some(id));
            }
        });
        self.diagnostics.refresh(&before, &self.ours);
    }

    pub fn plant(&self) -> &Shared {
        &self.plant
    }

    pub fn has(&self, unit: u8) -> bool {
        self.ours[usize::from(unit)]
    }

    /// The first unit of the plant that is served here.
    pub fn first(&self) -> Option<u8> {
        self.first
    }

    /// Acts on a request to one of our units; `None` if there is to be no reply. What goes out in the end is to be told
    /// to [`sent`](Self::sent).
    pub fn serve<'r>(
        &mut self,
        now: Time,
        unit: u8,
        pdu: &[u8],
        reply: &'r mut Reply,
    ) -> Option<&'r mut Reply> {
        self.stats.requests.add(1);
        if !self.diagnostics.received(unit, false, pdu) {
            return None;
        }
        let out = &mut reply.pdu;
        let answer = Request::decode(pdu).and_then(|request| {
            match self.diagnostics.answer(unit, &request, pdu, out) {
                Some(told) => Ok(told),
                None => self.plant.with(|plant| act(plant, now, unit, request, pdu, out)).map(Told::Reply),
            }
        });
        reply.len = match answer {
            Ok(Told::Reply(len)) => len,
            Ok(Told::Nothing) => return None,
            Err(exception) => refuse(pdu.first().copied().unwrap_or_default(), exception, out),
        };
        Some(reply)
    }

    /// Obeys a request to unit 0. Reads have no meaning without a reply.
    pub fn broadcast(&mut self, now: Time, pdu: &[u8]) {
        self.stats.broadcasts.add(1);
        let request = Request::decode(pdu).ok().filter(|_| matches!(pdu[0], 5 | 6 | 15 | 16 | 21 | 22));
        for id in (1..=u8::MAX).filter(|id| self.ours[usize::from(*id)]) {
            if self.diagnostics.received(id, true, pdu)
                && let Some(request) = request
            {
                let mut nobody_reads = [0; MAX_PDU];
                let _ = self.plant.with(|plant| act(plant, now, id, request, pdu, &mut nobody_reads));
            }
            self.diagnostics.answered(id, None);
        }
    }

    /// What went out to a request: the reply PDU, or nothing.
    pub fn sent(&mut self, unit: u8, reply: Option<&[u8]>) {
        self.diagnostics.answered(unit, reply);
        match reply {
            Some(&[function, code, ..]) if function >= EXCEPTION => match code {
                1 => self.stats.illegal_function.add(1),
                2 => self.stats.illegal_address.add(1),
                3 => self.stats.illegal_value.add(1),
                4 => self.stats.device_failure.add(1),
                _ => self.stats.other_exceptions.add(1),
            },
            Some(_) => {}
            None => self.stats.unanswered.add(1),
        }
    }

    /// Bytes that were no frame; `unit` is whose it seems to be.
    pub fn noise(&mut self, why: Chunk, bytes: u64, unit: Option<u8>) {
        match why {
            Chunk::Frame => return,
            Chunk::BadCrc => self.stats.crc_errors.add(1),
            Chunk::BadLrc => self.stats.lrc_errors.add(1),
            Chunk::Short => self.stats.short.add(1),
            Chunk::Overflow => self.stats.overflows.add(1),
            Chunk::BadCharacter => self.stats.bad_characters.add(1),
            Chunk::BadHeader => self.stats.bad_headers.add(1),
        }
        self.stats.noise_bytes.add(bytes);
        self.diagnostics.error(unit.filter(|id| why == Chunk::Overflow && self.has(*id)));
    }
}
