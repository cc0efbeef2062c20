//! A server in a shard: takes callers in, gives what they say to the core and them its answers, one read and one write
//! a request. The line behind it, if there is one, is a seat like a station's.

use std::any::Any;
use std::collections::VecDeque;
use std::time::Duration;

use rustix::io::Errno;

use crate::callers::{Callers, Heard, Then};
use crate::line::Line;
use crate::line::socket::Carrier;
use crate::port::Port;
use crate::seat::{Seat, guard};
use crate::server::Wish;
use crate::set::{EventFlags, Set, UNITS_MAX};
use crate::{
    Caller, Calls, LineEvent, OpenPort, Policy, PortError, PortState, SeatOptions, Server, Station, Time, Tx,
};

/// One read of a caller: room for any frame of a request. What one read can ask for bounds what may wait for a caller.
const CHUNK: usize = 1024;

/// Callers taken in at one event, so that a storm of them does not keep the others waiting.
const STORM: usize = 64;

/// How long a caller who is to go may take for what it has not taken yet.
const LINGER: Duration = Duration::from_secs(2);

/// A core, and what it wants: what sits at the end of the line behind a server.
pub(crate) struct Hall {
    pub(crate) server: Box<dyn Server>,
    calls: Calls,
}

impl Hall {
    /// Runs the core with the line's own queue in place of the one in `calls`.
    fn with<R>(&mut self, tx: &mut Tx, f: impl FnOnce(&mut dyn Server, &mut Calls) -> R) -> R {
        std::mem::swap(&mut self.calls.line, tx);
        let result = f(self.server.as_mut(), &mut self.calls);
        std::mem::swap(&mut self.calls.line, tx);
        result
    }
}

impl Station for Hall {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], tx: &mut Tx) {
        self.with(tx, |server, calls| server.on_line_bytes(now, bytes, calls));
    }

    fn on_deadline(&mut self, now: Time, tx: &mut Tx) {
        self.with(tx, |server, calls| server.on_deadline(now, calls));
    }

    fn deadline(&self) -> Option<Time> {
        self.server.deadline()
    }

    fn on_line(&mut self, now: Time, event: LineEvent, tx: &mut Tx) {
        self.with(tx, |server, calls| server.on_line(now, event, calls));
    }
}

#[derive(Debug)]
pub(crate) struct ServerUnit {
    listener: Port,
    seat: Seat<Hall>,
    callers: Callers,
    buffer: Box<[u8; CHUNK]>,
    /// Callers who are to go, and when at the latest; the first is the next.
    lingering: VecDeque<(Time, Caller, u32)>,
    /// The core has failed, and that was seen to.
    over: bool,
}

impl ServerUnit {
    pub(crate) fn new(
        listener: OpenPort,
        line: Option<OpenPort>,
        server: Box<dyn Server>,
        (id, options): (u64, SeatOptions),
    ) -> Result<Self, PortError> {
        prepare(&listener)?;
        let line = line.unwrap_or_else(|| OpenPort::absent(listener.url(), String::new()));
        let hall = Hall { server, calls: Calls::roomy() };
        let line = Port::new(line.into_parts(), options.returns);
        Ok(Self {
            listener: Port::new(listener.into_parts(), false),
            seat: Seat::new(line, Box::new(hall), "server", (id, 1), options),
            callers: Callers::default(),
            buffer: Box::new([0; CHUNK]),
            lingering: VecDeque::new(),
            over: false,
        })
    }

    pub(crate) fn seat(&self) -> &Seat<Hall> {
        &self.seat
    }

    /// 0 is the listener, 1 the line behind.
    pub(crate) fn port(&mut self, side: usize) -> Option<&mut Port> {
        match side {
            0 => Some(&mut self.listener),
            1 => Some(&mut self.seat.port),
            _ => None,
        }
    }

    pub(crate) fn begin(&mut self, unit: usize, set: &mut Set) {
        debug_assert!(unit < UNITS_MAX);
        self.callers.begin(unit);
        self.with_line(set, Seat::begin);
    }

    pub(crate) fn detach(&mut self, set: &Set) {
        self.callers.unwatch(set);
    }

    /// On the control side, with the unit out of its shard: the core back, with no caller left.
    pub(crate) fn into_server(self) -> Box<dyn Server> {
        let mut server = self.seat.station.server;
        if self.seat.failed.is_none() {
            let now = Time::now();
            let _ = guard(|| self.callers.all().into_iter().for_each(|caller| server.on_closed(now, caller)));
        }
        self.listener.stats.set_callers(0);
        server
    }

    /// Something of the line behind.
    pub(crate) fn with_line<R>(
        &mut self,
        set: &mut Set,
        f: impl FnOnce(&mut Seat<Hall>, &mut Set) -> R,
    ) -> R {
        let result = f(&mut self.seat, set);
        self.settle(set);
        result
    }

    /// Runs the core, and does what it wants.
    fn serve<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut dyn Server, &mut Calls) -> R) -> Option<R> {
        let result = self.seat.drive(set, |hall, tx| hall.with(tx, f));
        self.settle(set);
        result
    }

    /// For the control side: even a server that failed can be asked. A panic of `f` is the caller's own.
    pub(crate) fn visit<R>(&mut self, set: &mut Set, f: impl FnOnce(&mut dyn Any, &mut Calls) -> R) -> R {
        let result = self.seat.visit(set, |hall, tx| hall.with(tx, |server, calls| f(server, calls)));
        self.settle(set);
        result
    }

    pub(crate) fn accept(&mut self, set: &mut Set) {
        for _ in 0..STORM {
            let Some(line) = self.listener.line.listener() else { return };
            match line.accept_any() {
                Ok(connection) => {
                    let Some(caller) = self.callers.take_in(connection) else {
                        self.listener.stats.refused.add(1);
                        continue;
                    };
                    self.welcome(caller, set);
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.listener.stats.accept_errors.add(1);
                    return self.listener.back_off(set);
                }
            }
        }
    }

    fn welcome(&mut self, caller: Caller, set: &mut Set) {
        let now = Time::now();
        self.tell_callers();
        match self.serve(set, |server, _| server.on_caller(now, caller)) {
            Some(true) => {
                self.listener.stats.opens.add(1);
                if self.callers.watch(caller, set).is_err() {
                    self.listener.stats.accept_errors.add(1);
                    self.gone(caller, set);
                }
            }
            Some(false) => {
                self.listener.stats.refused.add(1);
                self.callers.remove(caller, set);
                self.tell_callers();
            }
            None => {}
        }
    }

    pub(crate) fn on_event(&mut self, slot: u32, generation: u32, flags: EventFlags, set: &mut Set) {
        const BROKEN: EventFlags = EventFlags::HUP.union(EventFlags::ERR);
        const ENDING: EventFlags = BROKEN.union(EventFlags::RDHUP);
        if !self.callers.is_here(slot, generation) {
            return;
        }
        let caller = Caller(slot);
        if self.callers.reading(caller) {
            let more = self.hear(caller, set) || flags.intersects(ENDING);
            if more
                && self.callers.is_here(slot, generation)
                && self.callers.reading(caller)
                && self.callers.watch_again(caller, set) == Then::Goes
            {
                self.gone(caller, set);
            }
            return;
        }
        if flags.intersects(BROKEN) || self.callers.flush(caller, set, &self.listener.stats) == Then::Goes {
            self.gone(caller, set);
        }
    }

    /// Answers whether there may be more to hear.
    fn hear(&mut self, caller: Caller, set: &mut Set) -> bool {
        match self.callers.read(caller, self.buffer.as_mut_slice()) {
            Heard::Bytes(n) => {
                self.listener.stats.rx_bytes.add(n as u64);
                let now = Time::now();
                let bytes = &self.buffer[..n];
                self.seat.drive(set, |hall, tx| {
                    hall.with(tx, |server, calls| server.on_bytes(now, caller, bytes, calls));
                });
                self.settle(set);
                return n == CHUNK;
            }
            Heard::Nothing => {}
            Heard::Interrupted => return true,
            Heard::End => {
                let generation = self.callers.generation(caller);
                let now = Time::now();
                self.serve(set, |server, calls| server.on_end(now, caller, calls));
                if self.callers.is_here(caller.0, generation) && self.callers.end(caller, set) == Then::Goes {
                    self.gone(caller, set);
                }
            }
            Heard::Gone => self.gone(caller, set),
        }
        false
    }

    /// Does what the core wants.
    fn settle(&mut self, set: &mut Set) {
        if self.seat.failed.is_some() {
            return self.fail(set);
        }
        if self.seat.station.calls.wishes.is_empty() {
            return;
        }
        // Away while they are read: that a caller has gone is told to the core that made them.
        let calls = &mut self.seat.station.calls;
        let (mut wishes, mut bytes) = (std::mem::take(&mut calls.wishes), std::mem::take(&mut calls.bytes));
        let mut rest = bytes.as_slice();
        for wish in &wishes {
            let (caller, then) = match *wish {
                Wish::Send(to, n) => {
                    let (these, after) = rest.split_at(n);
                    rest = after;
                    (to, self.callers.send(to, these, set, &self.listener.stats))
                }
                Wish::Close(caller) => (caller, self.callers.close(caller)),
            };
            match then {
                Then::Stays => {}
                Then::Goes => self.gone(caller, set),
                Then::Lingers => {
                    let until = Time::now() + LINGER;
                    self.lingering.push_back((until, caller, self.callers.generation(caller)));
                }
            }
        }
        wishes.clear();
        bytes.clear();
        let calls = &mut self.seat.station.calls;
        (calls.wishes, calls.bytes) = (wishes, bytes);
        if self.seat.failed.is_some() {
            self.fail(set);
        }
    }

    /// A caller has gone, or has to.
    fn gone(&mut self, caller: Caller, set: &mut Set) {
        if self.callers.remove(caller, set) {
            self.tell_callers();
            let now = Time::now();
            // It cannot want anything here, and its deadline is asked for at once.
            self.seat.drive(set, |hall, _| hall.server.on_closed(now, caller));
        }
    }

    fn tell_callers(&self) {
        let (stats, count) = (&self.listener.stats, self.callers.count());
        if !stats.gone() {
            stats.set_peer_open(count > 0);
            stats.set_state(if count > 0 { PortState::Open } else { PortState::Waiting });
        }
        // Last, so that it is true in every respect for whoever waits for it.
        stats.set_callers(count);
    }

    /// The core has failed: nobody is served any more.
    fn fail(&mut self, set: &mut Set) {
        if !std::mem::replace(&mut self.over, true) {
            let why = self.seat.failed.clone().unwrap_or_default();
            for caller in self.callers.all() {
                self.callers.remove(caller, set);
            }
            self.lingering.clear();
            self.tell_callers();
            self.listener.give_up(set, why);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let ports = [self.listener.deadline(), self.seat.port.deadline()];
        let lingering = self.lingering.front().map(|l| l.0);
        ports.into_iter().chain([self.seat.due(), lingering]).flatten().min()
    }

    pub(crate) fn on_port_deadline(&mut self, side: usize, now: Time, set: &mut Set) {
        if side == 0 {
            self.listener.on_deadline(now, set);
        } else {
            self.with_line(set, |seat, set| seat.on_port_deadline(now, set));
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Time, set: &mut Set) {
        while let Some(&(at, caller, generation)) = self.lingering.front()
            && at <= now
        {
            self.lingering.pop_front();
            if self.callers.is_here(caller.0, generation) {
                self.gone(caller, set);
            }
        }
        self.with_line(set, Seat::on_deadline);
    }
}

/// Makes a listener one for many callers, or says why it cannot be.
fn prepare(listener: &OpenPort) -> Result<(), PortError> {
    let refused = |reason| Err(PortError::NotForServer { port: listener.url().to_string(), reason });
    let line = match listener.line() {
        Line::Socket(Carrier::Listen(line)) => line,
        Line::Tls(_) if listener.line().listener().is_some() => {
            return refused("a server cannot speak TLS with its callers; take the TLS options away");
        }
        _ => return refused("a server needs a listener; use tcp-listen:HOST:PORT or unix-listen:PATH"),
    };
    if line.policy() != Policy::default() {
        return refused("a server takes all callers; take `policy=` away");
    }
    line.for_many().map_err(|e| PortError::io(&listener.url(), "listen there", e))
}
