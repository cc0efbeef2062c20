//! A Modbus slave behind a listener: Modbus TCP, or RTU or ASCII frames over connections. Answers the requests of each
//! caller in their order; callers do not wait for each other. A caller costs nothing while it says nothing, but its
//! place in a list.

use std::time::Duration;

use hilrig_points::Shared;
use hilrig_port::{Caller, Calls, Server, Time};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::faults::Reply;
use crate::frames::{FrameKind, FrameRecord};
use crate::framing::{Adu, Chunk, Dropped, Form, Framer, Framing, MAX_ADU};
use crate::mbap::{self, Parsed};
use crate::pdu::{EXCEPTION, Exception, refuse};
use crate::replies::{Replies, To, slave_options};
use crate::rtu::{BROADCAST, Timing};
use crate::served::Served;

/// How long another unit may take to answer.
const RESPONSE: Duration = Duration::from_secs(1);

/// Callers at once, unless it is said; so many replies can wait for their time, too.
const MOST: usize = 1024;

/// What the unit ids 0 and 255 mean on Modbus TCP, if no unit has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnyUnit {
    /// The device itself: its first unit answers (Modbus Messaging on TCP/IP 4.4.2.1).
    #[default]
    First,
    /// As on a serial line: 0 is for all units and is not answered, and 255 is a unit that is not there.
    Serial,
}

/// What comes of a request to a unit that is not there, on Modbus TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AbsentUnit {
    /// Exception 11, as of a gateway whose target does not respond.
    #[default]
    Exception,
    /// No answer.
    Silent,
}

/// What is known of a caller.
#[derive(Debug, Default)]
struct Peer {
    here: bool,
    /// Sends nothing more, or is not listened to any more.
    ended: bool,
    /// Its frame that is not whole yet.
    part: Option<Box<Framer>>,
    /// Unit and function code of a request to a unit that is not ours, whose reply may come next: a line with more units
    /// may be behind a caller that speaks RTU or ASCII.
    awaited: Option<(u8, u8)>,
    last: Time,
}

/// A Modbus slave with many callers. Put it on a listening port with `Shard::add_server`.
#[derive(Debug)]
pub struct TcpSlave {
    served: Served,
    replies: Replies,
    timing: Timing,
    peers: Vec<Peer>,
    #[expect(clippy::vec_box, reason = "the boxes go to the peers and come back")]
    spare: Vec<Box<Framer>>,
    /// Callers in the middle of a frame that silence can end, and when to look at them.
    listening: Vec<u32>,
    look: Option<Time>,
    callers: usize,
    most: usize,
    idle: Option<Duration>,
    sweep: Option<Time>,
    any_unit: AnyUnit,
    absent: AbsentUnit,
}

impl TcpSlave {
    slave_options!();

    /// A slave that answers for all units of a plant, to at most 1,024 callers at once. Of the timing only
    /// `silence` (RTU) and `between` (ASCII) are used: how long a frame may pause.
    pub fn new(framing: Framing, timing: Timing, plant: Shared) -> Self {
        let framing = match framing {
            Framing::Rtu => Framing::RtuOverTcp,
            Framing::Ascii => Framing::AsciiOverTcp,
            over_tcp => over_tcp,
        };
        Self {
            served: Served::new(plant),
            replies: Replies::new(framing, &timing, MOST),
            timing,
            peers: Vec::new(),
            spare: Vec::new(),
            listening: Vec::new(),
            look: None,
            callers: 0,
            most: MOST,
            idle: None,
            sweep: None,
            any_unit: AnyUnit::default(),
            absent: AbsentUnit::default(),
        }
    }

    /// Sends callers away while so many are there.
    #[must_use]
    pub fn max_callers(mut self, most: usize) -> Self {
        self.most = most;
        self.replies.set_room(most.max(MOST));
        self
    }

    /// Hangs up on callers that have said nothing for so long.
    #[must_use]
    pub fn idle_timeout(mut self, time: Option<Duration>) -> Self {
        self.idle = time;
        self
    }

    #[must_use]
    pub fn any_unit(mut self, meaning: AnyUnit) -> Self {
        self.any_unit = meaning;
        self
    }

    #[must_use]
    pub fn absent_units(mut self, absent: AbsentUnit) -> Self {
        self.absent = absent;
        self
    }

    fn peer(&mut self, caller: Caller) -> Option<&mut Peer> {
        self.peers.get_mut(caller.0 as usize).filter(|peer| peer.here && !peer.ended)
    }

    fn framer(&mut self) -> Box<Framer> {
        let (framing, timing) = (self.replies.framing, &self.timing);
        let mut framer = self.spare.pop().unwrap_or_else(|| Box::new(Framer::new(framing, timing)));
        if let Framer::Ascii(framer) = &mut *framer {
            framer.delimiter(self.replies.delimiter);
        }
        framer
    }

    /// Takes back a framer for the next caller whose frame comes in pieces.
    fn give_back(&mut self, mut framer: Box<Framer>) {
        framer.clear();
        self.spare.push(framer);
    }

    /// Modbus TCP: frames straight out of what was read, but for the one that is not whole.
    fn stream(&mut self, now: Time, caller: Caller, mut bytes: &[u8], calls: &mut Calls) {
        if let Some(mut part) = self.peer(caller).and_then(|peer| peer.part.take()) {
            let Framer::Mbap(framer) = &mut *part else { return };
            match framer.fill(now, bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(dropped) => {
                    self.give_back(part);
                    return self.lost(now, caller, dropped.bytes, calls);
                }
            }
            if !framer.is_whole() {
                if let Some(peer) = self.peer(caller) {
                    peer.part = Some(part);
                }
                return;
            }
            self.request(now, caller, framer.adu(), calls);
            self.give_back(part);
        }
        while !bytes.is_empty() {
            match mbap::parse(bytes) {
                Parsed::Frame(adu, len) => {
                    self.request(now, caller, adu, calls);
                    bytes = &bytes[len..];
                }
                Parsed::Partial => {
                    let mut part = self.framer();
                    if let Framer::Mbap(framer) = &mut *part {
                        // It was looked at, so nothing of it is dropped.
                        let _ = framer.fill(now, bytes);
                    }
                    if let Some(peer) = self.peer(caller) {
                        peer.part = Some(part);
                    }
                    return;
                }
                Parsed::Broken => return self.lost(now, caller, bytes.len() as u64, calls),
            }
        }
    }

    /// Nothing tells where the next frame of this caller begins: it has to begin anew.
    fn lost(&mut self, now: Time, caller: Caller, bytes: u64, calls: &mut Calls) {
        self.served.noise(Chunk::BadHeader, bytes, None);
        self.replies.record_noise(now, caller.0, Chunk::BadHeader, bytes);
        self.hang_up(caller, calls);
    }

    fn hang_up(&mut self, caller: Caller, calls: &mut Calls) {
        let Some(peer) = self.peer(caller) else { return };
        peer.ended = true;
        self.served.stats.hung_up.add(1);
        calls.close(caller);
    }

    /// RTU and ASCII over a connection.
    fn characters(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls) {
        let part = self.peer(caller).and_then(|peer| peer.part.take());
        let was_listening = part.is_some();
        let mut part = part.unwrap_or_else(|| self.framer());
        self.after_silence(now, caller, &mut part, calls);
        for byte in bytes {
            let head = part.head();
            if let Some(dropped) = part.push(now, *byte) {
                self.noise(now, caller, head, dropped);
            }
            // A reply can have the form of a request, so the one that is awaited comes first.
            let awaited = self.peer(caller).and_then(|peer| peer.awaited);
            if awaited.is_some_and(|a| part.head().is_some_and(|(unit, f)| a == (unit, f & !EXCEPTION)))
                && part.is_whole(Form::Reply)
            {
                self.overhear(now, caller, part.adu());
                part.clear();
            } else if part.is_whole(Form::Request) {
                self.request(now, caller, part.adu(), calls);
                part.clear();
            }
        }
        let Some(silence) = part.silence_ends() else {
            if was_listening {
                self.stop_listening(caller);
            }
            return self.give_back(part);
        };
        self.look = Some(self.look.map_or(silence, |look| look.min(silence)));
        if !was_listening {
            self.listening.push(caller.0);
        }
        if let Some(peer) = self.peers.get_mut(caller.0 as usize) {
            peer.part = Some(part);
        }
    }

    fn stop_listening(&mut self, caller: Caller) {
        self.listening.retain(|listening| *listening != caller.0);
        if self.listening.is_empty() {
            self.look = None;
        }
    }

    fn after_silence(&mut self, now: Time, caller: Caller, part: &mut Framer, calls: &mut Calls) {
        let Some(end) = part.silence_ends().filter(|end| *end <= now) else { return };
        match part.judge() {
            Chunk::Frame => {
                self.request(end, caller, part.adu(), calls);
                // To another unit it may be a request or a reply: nothing is to be awaited from it.
                self.awaits(caller, None);
            }
            why => self.noise(end, caller, part.head(), Dropped { why, bytes: part.collected() }),
        }
        part.clear();
    }

    fn noise(&mut self, at: Time, caller: Caller, head: Option<(u8, u8)>, dropped: Dropped) {
        self.served.noise(dropped.why, dropped.bytes, head.map(|(unit, _)| unit));
        self.replies.record_noise(at, caller.0, dropped.why, dropped.bytes);
    }

    fn awaits(&mut self, caller: Caller, awaited: Option<(u8, u8)>) {
        if let Some(peer) = self.peer(caller) {
            peer.awaited = awaited;
        }
    }

    /// The reply of a unit that is not ours.
    fn overhear(&mut self, now: Time, caller: Caller, adu: Adu<'_>) {
        self.awaits(caller, None);
        self.served.diagnostics.message();
        self.served.stats.other_units.add(1);
        let number = self.replies.number;
        self.replies.record(caller.0, number, || FrameRecord::new(now, FrameKind::OtherReply, adu));
    }

    /// Looks at all callers that are in the middle of a frame.
    fn after_silences(&mut self, now: Time, calls: &mut Calls) {
        if self.look.is_none_or(|look| look > now) {
            return;
        }
        self.look = None;
        let mut i = 0;
        while let Some(&number) = self.listening.get(i) {
            let part = self.peers.get_mut(number as usize).and_then(|peer| peer.part.take());
            let Some(mut part) = part else {
                self.listening.swap_remove(i);
                continue;
            };
            self.after_silence(now, Caller(number), &mut part, calls);
            match part.silence_ends() {
                Some(silence) => {
                    self.look = Some(self.look.map_or(silence, |look| look.min(silence)));
                    self.peers[number as usize].part = Some(part);
                    i += 1;
                }
                None => {
                    self.listening.swap_remove(i);
                    self.give_back(part);
                }
            }
        }
    }

    /// Which of our units is meant; `None`: none of them.
    fn meant(&self, unit: u8) -> Option<u8> {
        let anybody = self.replies.framing == Framing::Tcp && self.any_unit == AnyUnit::First;
        match unit {
            unit if self.served.has(unit) => Some(unit),
            0 | 255 if anybody => self.served.first(),
            _ => None,
        }
    }

    fn request(&mut self, now: Time, caller: Caller, adu: Adu<'_>, calls: &mut Calls) {
        let function = adu.pdu.first().copied().unwrap_or_default();
        self.served.diagnostics.message();
        let meant = self.meant(adu.unit);
        if meant.is_some() && function >= EXCEPTION && self.replies.framing != Framing::Tcp {
            return self.served.stats.strays.add(1);
        }
        if self.replies.framing != Framing::Tcp {
            let other = meant.is_none() && adu.unit != BROADCAST;
            self.awaits(caller, other.then_some((adu.unit, function)));
        }
        self.replies.number += 1;
        let number = self.replies.number;
        let broadcast = adu.unit == BROADCAST && meant.is_none();
        let kind = if meant.is_some() || broadcast { FrameKind::Request } else { FrameKind::OtherRequest };
        self.replies.record(caller.0, number, || FrameRecord::new(now, kind, adu));
        if broadcast {
            return self.served.broadcast(now, adu.pdu);
        }
        let mut reply = Reply { transaction: adu.transaction, unit: adu.unit, ..Reply::EMPTY };
        let mut out = [0; MAX_ADU];
        let to = To { caller: caller.0, meant: meant.unwrap_or(adu.unit), end: now };
        let direct = if meant.is_some() {
            let reply = self.served.serve(now, to.meant, adu.pdu, &mut reply);
            self.replies.answer(&mut self.served, now, to, adu.pdu, reply, &mut out)
        } else {
            self.served.stats.other_units.add(1);
            if self.absent == AbsentUnit::Silent || self.replies.framing != Framing::Tcp {
                return;
            }
            self.served.stats.other_exceptions.add(1);
            reply.len = refuse(function, Exception::GatewayTarget, &mut reply.pdu);
            self.replies.plain(&self.served.stats, now, to, &reply, &mut out)
        };
        if let Some(len) = direct {
            calls.send(caller, &out[..len]);
        }
        if let Some(delimiter) = self.served.diagnostics.take_delimiter() {
            self.replies.delimiter = delimiter;
        }
    }

    fn sweep(&mut self, now: Time, calls: &mut Calls) {
        let Some(idle) = self.idle else { return };
        if self.sweep.is_none_or(|sweep| sweep > now) {
            return;
        }
        let mut next = None;
        for number in 0..self.peers.len() {
            let peer = &self.peers[number];
            if !peer.here || peer.ended {
                continue;
            }
            let due = peer.last + idle;
            if due <= now {
                self.hang_up(Caller(number as u32), calls);
            } else {
                next = Some(next.map_or(due, |next: Time| next.min(due)));
            }
        }
        self.sweep = next;
    }
}

impl Server for TcpSlave {
    fn on_caller(&mut self, now: Time, caller: Caller) -> bool {
        if self.callers >= self.most {
            self.served.stats.refused.add(1);
            return false;
        }
        let number = caller.0 as usize;
        if self.peers.len() <= number {
            self.peers.resize_with(number + 1, Peer::default);
            // As many as could be in the middle of a frame.
            self.listening.reserve(self.peers.len() - self.listening.len());
            self.spare.reserve(self.peers.len() - self.spare.len());
        }
        self.peers[number] = Peer { here: true, ended: false, part: None, awaited: None, last: now };
        self.callers += 1;
        self.served.stats.accepted.add(1);
        self.served.stats.callers.set(self.callers as u64);
        if let Some(idle) = self.idle {
            self.sweep = self.sweep.or(Some(now + idle));
        }
        true
    }

    fn on_bytes(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls) {
        let Some(peer) = self.peer(caller) else { return };
        if now.since(peer.last) > RESPONSE {
            peer.awaited = None;
        }
        peer.last = now;
        match self.replies.framing {
            Framing::Tcp => self.stream(now, caller, bytes, calls),
            _ => self.characters(now, caller, bytes, calls),
        }
    }

    fn on_end(&mut self, _now: Time, caller: Caller, calls: &mut Calls) {
        if !self.replies.outbox.owes(caller.0) {
            calls.close(caller);
        }
        if let Some(peer) = self.peer(caller) {
            peer.ended = true;
        }
    }

    fn on_closed(&mut self, _now: Time, caller: Caller) {
        let Some(peer) = self.peers.get_mut(caller.0 as usize).filter(|peer| peer.here) else { return };
        peer.here = false;
        if let Some(part) = peer.part.take() {
            self.stop_listening(caller);
            self.give_back(part);
        }
        self.replies.outbox.drop_caller(caller.0);
        self.callers -= 1;
        self.served.stats.callers.set(self.callers as u64);
    }

    fn on_deadline(&mut self, now: Time, calls: &mut Calls) {
        self.after_silences(now, calls);
        let (peers, stats) = (&mut self.peers, &self.served.stats);
        self.replies.send_due(now, stats, |caller, bytes, close, more| {
            if !bytes.is_empty() {
                calls.send(Caller(caller), bytes);
            }
            let Some(peer) = peers.get_mut(caller as usize) else { return true };
            if close && !peer.ended {
                peer.ended = true;
                stats.hung_up.add(1);
                calls.close(Caller(caller));
            } else if peer.ended && !more {
                calls.close(Caller(caller));
            }
            true
        });
        self.sweep(now, calls);
    }

    fn deadline(&self) -> Option<Time> {
        [self.look, self.replies.outbox.next(), self.sweep].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[path = "tcp_slave_tests.rs"]
mod tests;
