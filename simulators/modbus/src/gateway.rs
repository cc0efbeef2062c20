//! A gateway: Modbus TCP callers on one side, a line with units on the other. One request after the other goes on
//! the line, callers in turn; whoever cannot be answered gets an exception. Looks at no more of a PDU than its function
//! code.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hilrig_port::{Caller, Calls, Histogram, LineEvent, Server, Time};

use crate::frames::FrameSink;
use crate::framing::{Adu, Framing};
use crate::line::{Ended, Line, Offer, Pdu};
use crate::mbap;
use crate::pdu::{EXCEPTION, Exception, MAX_PDU, refuse};
use crate::plan::GatewayPlan;
use crate::poll::Outcome;
use crate::rtu::{BROADCAST, MAX_UNIT, Timing};

hilrig_port::counters! {
    /// Live counters of a [`Gateway`].
    GatewayStats,
    /// Counters of a [`Gateway`] at one moment.
    GatewayTotals:
    /// Callers let in.
    callers = "callers",
    /// Callers sent away because there were too many.
    turned_away = "callersTurnedAway",
    /// Connections ended because their stream was not Modbus TCP.
    bad_headers = "badHeaders",
    /// Requests of callers.
    requests = "requests",
    /// Replies of units handed on.
    replies = "replies",
    /// Exceptions of units handed on.
    exceptions = "exceptions",
    /// Requests to unit 0 sent to the line.
    broadcasts = "broadcasts",
    /// Refused with exception 6: too many requests wait.
    busy = "refusedBusy",
    /// Refused with exception 10: no such unit, no line, or a line that is never free.
    no_path = "refusedNoPath",
    /// Refused with exception 11: the unit did not answer, or not well.
    no_answer = "refusedNoAnswer",
    /// Of these, answers with a bad CRC or LRC.
    crc_errors = "crcErrors",
    /// Of these, answers of another unit.
    wrong_unit = "wrongUnit",
    /// Of these, answers to something else.
    mismatches = "mismatches",
    /// Frames that came when none was expected.
    late_replies = "lateReplies",
    /// Bytes of the line that were part of no frame.
    noise_bytes = "noiseBytes",
    /// Answers to callers that had gone.
    orphans = "orphans",
}

/// A request of a caller.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    transaction: u16,
    /// As the caller calls it, and as the line does.
    units: (u8, u8),
    pdu: Pdu,
}

#[derive(Debug)]
struct Seat {
    caller: Caller,
    framer: mbap::Framer,
    queue: VecDeque<Waiting>,
    /// It sends nothing more and leaves after its last answer.
    leaving: bool,
}

/// The request on the line.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// `None` once it has gone.
    caller: Option<Caller>,
    request: Waiting,
}

/// A gateway. Put it on a listener and a line with `Shard::add_server`.
#[derive(Debug)]
pub struct Gateway {
    line: Line,
    open: bool,
    timeout: Duration,
    /// Unit ids of callers to those of the line.
    units: [Option<u8>; 256],
    max_callers: usize,
    queue: usize,
    /// In the order of their numbers.
    seats: Vec<Seat>,
    /// Whose turn it is.
    turn: usize,
    current: Option<Current>,
    /// When the next request that waits can go, the line left aside.
    next: Option<Time>,
    stats: Arc<GatewayStats>,
    round_trips: Histogram,
}

impl Gateway {
    /// A gateway to a line that speaks RTU unless told otherwise.
    pub fn new(timing: Timing, plan: &GatewayPlan) -> Self {
        let mut line = Line::new(Framing::Rtu, timing);
        line.turnaround = plan.turnaround;
        let mut units = [None; 256];
        if plan.units.is_empty() {
            (0..=MAX_UNIT).for_each(|unit| units[usize::from(unit)] = Some(unit));
        }
        for (from, to) in &plan.units {
            units[usize::from(*from)] = Some(*to);
        }
        Self {
            line,
            open: false,
            timeout: plan.timeout,
            units,
            max_callers: plan.max_callers as usize,
            queue: plan.queue,
            seats: Vec::with_capacity(plan.max_callers as usize),
            turn: 0,
            current: None,
            next: None,
            stats: Arc::default(),
            round_trips: Histogram::default(),
        }
    }

    /// How frames on the line look.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.line.set_framing(framing);
        self
    }

    /// Records every frame of the line, with the number of the caller it is for, and what the gateway answers itself.
    #[must_use]
    pub fn frames(mut self, sink: FrameSink) -> Self {
        self.line.set_frames(sink);
        self
    }

    /// The counters; readable from anywhere while the gateway runs.
    pub fn stats(&self) -> Arc<GatewayStats> {
        self.stats.clone()
    }

    /// On the line, from request to answer.
    pub fn round_trips(&self) -> &Histogram {
        &self.round_trips
    }

    fn seat(&self, caller: Caller) -> Result<usize, usize> {
        self.seats.binary_search_by_key(&caller, |seat| seat.caller)
    }

    /// A whole request of a caller.
    fn request(&mut self, now: Time, seat: usize, calls: &mut Calls) {
        let Some(Seat { caller, framer, queue, .. }) = self.seats.get_mut(seat) else { return };
        let (caller, adu) = (*caller, framer.adu());
        let function = adu.pdu.first().copied().unwrap_or_default();
        let (transaction, unit, pdu) = (adu.transaction, adu.unit, Pdu::new(adu.pdu));
        self.stats.requests.add(1);
        let refused = match self.units[usize::from(unit)] {
            _ if function == 0 || function >= EXCEPTION => Exception::IllegalFunction,
            None => Exception::GatewayPath,
            // A read from all units has no answer that its caller could be waiting for.
            Some(BROADCAST) if !matches!(function, 5 | 6 | 8 | 15 | 16 | 21 | 22) => Exception::GatewayPath,
            Some(_) if !self.open => Exception::GatewayPath,
            Some(_) if queue.len() == self.queue => Exception::Busy,
            Some(serial) => {
                queue.push_back(Waiting { transaction, units: (unit, serial), pdu });
                return;
            }
        };
        self.refuse(now, caller, &Waiting { transaction, units: (unit, unit), pdu }, (refused, false), calls);
    }

    /// `sent`: it was on the line.
    fn refuse(
        &mut self,
        now: Time,
        caller: Caller,
        request: &Waiting,
        (why, sent): (Exception, bool),
        calls: &mut Calls,
    ) {
        match why {
            Exception::Busy => self.stats.busy.add(1),
            Exception::GatewayPath => self.stats.no_path.add(1),
            Exception::GatewayTarget => self.stats.no_answer.add(1),
            _ => {}
        }
        let mut pdu = [0; MAX_PDU];
        let len = refuse(request.pdu.get().first().copied().unwrap_or_default(), why, &mut pdu);
        let asked = Adu { transaction: request.transaction, unit: request.units.1, pdu: request.pdu.get() };
        self.line.answered(now, caller.0, asked, &pdu[..len], sent);
        answer(caller, request, &pdu[..len], calls);
    }

    /// Whose request goes next if the line is free at `at`: callers in turn, the requests of one in order but for those
    /// whose unit is left alone.
    fn choose(&self, at: Time) -> Option<(usize, usize)> {
        let (behind, first) = self.seats.split_at(self.turn.min(self.seats.len()));
        let seats = first.iter().chain(behind);
        let place = |(i, seat): (usize, &Seat)| {
            let at = seat.queue.iter().position(|w| self.line.hold(w.units.1) <= at)?;
            Some(((self.turn + i) % self.seats.len(), at))
        };
        seats.enumerate().find_map(place)
    }

    /// Sends the next requests, if the line is free.
    fn advance(&mut self, now: Time, calls: &mut Calls) {
        self.next = None;
        while self.current.is_none() {
            let Some((seat, place)) = self.choose(now) else {
                // Nobody, or only for units that are left alone.
                let waiting = self.seats.iter().flat_map(|seat| &seat.queue);
                self.next = waiting.map(|w| self.line.hold(w.units.1)).min();
                break;
            };
            let Seat { caller, queue, .. } = &mut self.seats[seat];
            let (caller, request) = (*caller, queue[place]);
            self.line.caller = caller.0;
            let offer =
                self.line.offer(now, request.units.1, request.pdu.get(), self.timeout, &mut calls.line);
            if offer == Offer::Later {
                self.next = Some(now);
                break;
            }
            queue.remove(place);
            self.turn = (seat + 1) % self.seats.len();
            match offer {
                Offer::Asked => self.current = Some(Current { caller: Some(caller), request }),
                Offer::Busy => self.refuse(now, caller, &request, (Exception::GatewayPath, false), calls),
                // Of what nobody answers the caller hears nothing either.
                Offer::Told if request.units.1 == BROADCAST => self.stats.broadcasts.add(1),
                Offer::Told | Offer::Later => {}
            }
        }
        let busy = self.current.and_then(|c| c.caller);
        let done = |seat: &Seat| seat.leaving && seat.queue.is_empty() && Some(seat.caller) != busy;
        for seat in self.seats.iter_mut().filter(|seat| done(seat)) {
            seat.leaving = false;
            calls.close(seat.caller);
        }
    }

    /// The exchange on the line is over.
    fn ended(&mut self, now: Time, ended: Option<Ended>, calls: &mut Calls) {
        let (late, noise) = self.line.take_counts();
        self.stats.late_replies.add(late);
        self.stats.noise_bytes.add(noise);
        let Some((ended, current)) = ended.zip(self.current.take_if(|_| ended.is_some())) else { return };
        if matches!(ended.outcome, Outcome::Ok | Outcome::Exception(_)) {
            self.round_trips.record(ended.at.since(ended.sent));
        }
        let Some(caller) = current.caller else {
            self.stats.orphans.add(1);
            return;
        };
        match ended.outcome {
            Outcome::Ok => self.stats.replies.add(1),
            Outcome::Exception(_) => self.stats.exceptions.add(1),
            Outcome::Crc => self.stats.crc_errors.add(1),
            Outcome::WrongUnit => self.stats.wrong_unit.add(1),
            Outcome::Mismatch => self.stats.mismatches.add(1),
            Outcome::Timeout | Outcome::LineBusy => {}
        }
        match ended.outcome {
            Outcome::Ok | Outcome::Exception(_) => answer(caller, &current.request, self.line.reply(), calls),
            _ if !self.open => {
                self.refuse(now, caller, &current.request, (Exception::GatewayPath, true), calls)
            }
            _ => self.refuse(now, caller, &current.request, (Exception::GatewayTarget, true), calls),
        }
    }
}

fn answer(caller: Caller, request: &Waiting, pdu: &[u8], calls: &mut Calls) {
    let mut frame = [0; mbap::MAX_FRAME];
    let len = mbap::frame(request.transaction, request.units.0, pdu, &mut frame);
    calls.send(caller, &frame[..len]);
}

impl Server for Gateway {
    fn on_caller(&mut self, _now: Time, caller: Caller) -> bool {
        if self.seats.len() >= self.max_callers {
            self.stats.turned_away.add(1);
            return false;
        }
        self.stats.callers.add(1);
        if let Err(place) = self.seat(caller) {
            let queue = VecDeque::with_capacity(self.queue);
            self.seats.insert(place, Seat { caller, framer: mbap::Framer::default(), queue, leaving: false });
            // Who comes now comes after the one whose turn it is.
            self.turn += usize::from(place <= self.turn);
        }
        true
    }

    fn on_bytes(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls) {
        let Ok(seat) = self.seat(caller) else { return };
        let mut rest = bytes;
        while !rest.is_empty() {
            let framer = &mut self.seats[seat].framer;
            match framer.fill(now, rest) {
                Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Err(_) => {
                    self.stats.bad_headers.add(1);
                    calls.close(caller);
                    break;
                }
            }
            if self.seats[seat].framer.is_whole() {
                self.request(now, seat, calls);
                self.seats[seat].framer.clear();
            }
        }
        self.advance(now, calls);
    }

    fn on_end(&mut self, now: Time, caller: Caller, calls: &mut Calls) {
        if let Ok(seat) = self.seat(caller) {
            self.seats[seat].leaving = true;
        }
        self.advance(now, calls);
    }

    fn on_closed(&mut self, _now: Time, caller: Caller) {
        if let Some(current) = self.current.as_mut().filter(|c| c.caller == Some(caller)) {
            current.caller = None;
        }
        if let Ok(place) = self.seat(caller) {
            self.seats.remove(place);
            self.turn -= usize::from(place < self.turn);
        }
    }

    fn on_deadline(&mut self, now: Time, calls: &mut Calls) {
        let ended = self.line.on_deadline(now);
        self.ended(now, ended, calls);
        self.advance(now, calls);
    }

    fn deadline(&self) -> Option<Time> {
        let next = self.next.map(|at| at.max(self.line.ready()));
        [self.line.deadline(), next].into_iter().flatten().min()
    }

    fn on_line_bytes(&mut self, now: Time, bytes: &[u8], calls: &mut Calls) {
        let ended = self.line.on_bytes(now, bytes);
        self.ended(now, ended, calls);
        self.advance(now, calls);
    }

    fn on_line(&mut self, now: Time, event: LineEvent, calls: &mut Calls) {
        self.open = event == LineEvent::Opened;
        let ended = self.line.on_line(now, event);
        self.ended(now, ended, calls);
        if !self.open {
            for seat in 0..self.seats.len() {
                while let Some(request) = self.seats[seat].queue.pop_front() {
                    self.refuse(
                        now,
                        self.seats[seat].caller,
                        &request,
                        (Exception::GatewayPath, false),
                        calls,
                    );
                }
            }
        }
        self.advance(now, calls);
    }
}
