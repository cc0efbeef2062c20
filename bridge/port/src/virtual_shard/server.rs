//! A server on virtual time: as `server_unit.rs` drives one behind a listener. Its callers are stations of the same shard,
//! and what they say takes its time, so that no clock stands still however fast they talk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::net::{Net, Port};
use super::station::TICK;
use crate::seat::guard;
use crate::server::Wish;
use crate::{Caller, Calls, LineEvent, PortState, PortStats, Server, Time};

/// From a caller to the server. What the server says is there at once: a round trip takes so long in all.
const TRAVEL: Duration = Duration::from_micros(100);
/// What may wait for one caller at most.
const WAITING_MAX: usize = 256 * 1024;

struct Connection {
    /// The server's end.
    port: Port,
    /// What it has not taken; it is not read meanwhile.
    waiting: Vec<u8>,
    /// It is to go when it has taken that.
    closing: bool,
    /// Something of it is under way.
    speaks: bool,
}

pub(super) struct ServerUnit {
    /// Of all callers together.
    pub stats: Arc<PortStats>,
    pub line: Option<Port>,
    pub server: Box<dyn Server>,
    pub calls: Calls,
    callers: Vec<Option<Connection>>,
    /// Who is to be heard when.
    under_way: VecDeque<(Time, usize)>,
    pub due: Option<Time>,
    failed: bool,
}

impl ServerUnit {
    pub fn new(line: Option<Port>, server: Box<dyn Server>) -> Self {
        let stats = Arc::new(PortStats::new(PortState::Waiting, false, 0, 1));
        let (callers, under_way) = (Vec::new(), VecDeque::new());
        Self { stats, line, server, calls: Calls::roomy(), callers, under_way, due: None, failed: false }
    }

    /// Runs the core and does what it wants.
    pub fn drive(&mut self, net: &mut Net, f: impl FnOnce(&mut dyn Server, &mut Calls)) {
        if self.call(net, f).is_some() {
            self.settle(net);
        }
    }

    fn call<R>(&mut self, net: &mut Net, f: impl FnOnce(&mut dyn Server, &mut Calls) -> R) -> Option<R> {
        if self.failed {
            return None;
        }
        let (server, calls) = (self.server.as_mut(), &mut self.calls);
        guard(|| f(server, calls)).map_err(|why| self.fail(&why, net)).ok()
    }

    /// Does what the core wants, and asks for its next deadline.
    pub fn settle(&mut self, net: &mut Net) {
        while !self.failed && !self.calls.wishes.is_empty() {
            // Away while they are read: that a caller has gone is told to the core that made them.
            let wishes = std::mem::take(&mut self.calls.wishes);
            let bytes = std::mem::take(&mut self.calls.bytes);
            let mut rest = bytes.as_slice();
            for wish in &wishes {
                match *wish {
                    Wish::Send(Caller(to), n) => {
                        let (these, after) = rest.split_at(n);
                        rest = after;
                        self.send(net, to as usize, these);
                    }
                    Wish::Close(Caller(caller)) => self.close(net, caller as usize),
                }
            }
            if self.calls.wishes.is_empty() {
                (self.calls.wishes, self.calls.bytes) = (wishes, bytes);
                self.calls.clear();
            }
        }
        self.flush_line(net);
        let mut due = None;
        let asked = self.call(net, |server, _| due = server.deadline()).is_some();
        self.due = self.under_way.front().map(|(at, _)| *at).into_iter().chain(due).min().filter(|_| asked);
    }

    fn flush_line(&mut self, net: &mut Net) {
        let pending = self.calls.line.pending();
        if pending.is_empty() {
            return;
        }
        let n = match &self.line {
            Some(line) if net.is_heard(line) => net.send(line, pending),
            line => {
                let stats = line.as_ref().map_or(&self.stats, |line| &line.stats);
                stats.discarded_bytes.add(pending.len() as u64);
                pending.len()
            }
        };
        self.calls.line.advance(n);
    }

    fn send(&mut self, net: &mut Net, to: usize, bytes: &[u8]) {
        let caller = self.callers.get_mut(to).and_then(Option::as_mut).filter(|caller| !caller.closing);
        let Some(caller) = caller.filter(|caller| net.is_heard(&caller.port)) else {
            self.stats.discarded_bytes.add(bytes.len() as u64);
            return;
        };
        let n = if caller.waiting.is_empty() { net.send(&caller.port, bytes) } else { 0 };
        if caller.waiting.len() + bytes.len() - n > WAITING_MAX {
            self.stats.discarded_bytes.add((bytes.len() - n) as u64);
            return self.hang_up(net, to);
        }
        caller.waiting.extend_from_slice(&bytes[n..]);
    }

    fn close(&mut self, net: &mut Net, caller: usize) {
        match self.callers.get_mut(caller).and_then(Option::as_mut) {
            Some(connection) if !connection.waiting.is_empty() => connection.closing = true,
            Some(_) => self.hang_up(net, caller),
            None => {}
        }
    }

    fn hang_up(&mut self, net: &mut Net, caller: usize) {
        let Some(connection) = self.callers.get_mut(caller).and_then(Option::take) else { return };
        net.hang_up(&connection.port);
        self.under_way.retain(|(_, who)| *who != caller);
        self.tell_callers();
        let now = net.now;
        self.call(net, |server, _| server.on_closed(now, Caller(caller as u32)));
    }

    fn tell_callers(&self) {
        let count = self.callers.iter().flatten().count();
        if !self.stats.gone() {
            self.stats.set_peer_open(count > 0);
            self.stats.set_state(if count > 0 { PortState::Open } else { PortState::Waiting });
        }
        self.stats.set_callers(count);
    }

    /// Somebody calls; answers the joint at which it can sit, unless it is sent away.
    pub fn welcome(&mut self, net: &mut Net, name: &str, unit: usize) -> Option<usize> {
        let free = self.callers.iter().position(Option::is_none);
        let caller = free.unwrap_or(self.callers.len());
        let now = net.now;
        if !self.call(net, |server, _| server.on_caller(now, Caller(caller as u32)))? {
            self.stats.refused.add(1);
            return None;
        }
        let port = net.add_call(format!("{name}.{caller}"), (unit, caller + 1), self.stats.clone());
        let joint = port.joint;
        if caller == self.callers.len() {
            self.callers.push(None);
        }
        self.callers[caller] = Some(Connection { port, waiting: vec![], closing: false, speaks: false });
        self.stats.opens.add(1);
        self.tell_callers();
        self.settle(net);
        Some(joint)
    }

    pub fn on_readable(&mut self, net: &mut Net, side: usize) {
        let Some(caller) = side.checked_sub(1) else { return self.hear_line(net) };
        let Some(connection) = self.callers.get_mut(caller).and_then(Option::as_mut) else { return };
        net.answer(&connection.port);
        if !std::mem::replace(&mut connection.speaks, true) {
            self.under_way.push_back((net.now + TRAVEL, caller));
            self.settle(net);
        }
    }

    fn hear_line(&mut self, net: &mut Net) {
        let Some(line) = &self.line else { return };
        net.answer(line);
        while let Some(line) = self.line.as_ref().filter(|_| !self.failed) {
            if let Some(signal) = net.take_signal(line) {
                line.learn(signal);
                continue;
            }
            let now = net.now;
            let bytes = net.waiting(line);
            let n = bytes.len();
            if n == 0 {
                return;
            }
            let (server, calls) = (self.server.as_mut(), &mut self.calls);
            match guard(|| server.on_line_bytes(now, bytes, calls)) {
                Ok(()) => {
                    net.took(line, n);
                    self.settle(net);
                }
                Err(why) => return self.fail(&why, net),
            }
        }
    }

    /// What a caller said has arrived.
    fn hear(&mut self, net: &mut Net, caller: usize) {
        let Some(connection) = self.callers.get_mut(caller).and_then(Option::as_mut) else { return };
        connection.speaks = false;
        if !connection.waiting.is_empty() {
            return;
        }
        while net.take_signal(&connection.port).is_some() {}
        let now = net.now;
        let bytes = net.waiting(&connection.port);
        let n = bytes.len();
        if n == 0 {
            return;
        }
        let (server, calls) = (self.server.as_mut(), &mut self.calls);
        match guard(|| server.on_bytes(now, Caller(caller as u32), bytes, calls)) {
            Ok(()) => {
                net.took(&connection.port, n);
                self.settle(net);
            }
            Err(why) => self.fail(&why, net),
        }
    }

    /// There is room again, or nobody is there any more.
    pub fn on_writable(&mut self, net: &mut Net, side: usize) {
        let Some(caller) = side.checked_sub(1) else { return self.settle(net) };
        let Some(connection) = self.callers.get_mut(caller).and_then(Option::as_mut) else { return };
        if !net.is_heard(&connection.port) {
            self.hear(net, caller);
            let now = net.now;
            self.drive(net, |server, calls| server.on_end(now, Caller(caller as u32), calls));
            self.hang_up(net, caller);
            return self.settle(net);
        }
        let n = net.send(&connection.port, &connection.waiting);
        connection.waiting.drain(..n);
        if connection.waiting.is_empty() {
            if connection.closing {
                self.hang_up(net, caller);
                return self.settle(net);
            }
            net.ring_if_waiting(&connection.port);
        }
    }

    pub fn on_deadline(&mut self, net: &mut Net) {
        let now = net.now;
        while let Some((_, caller)) = self.under_way.pop_front_if(|(at, _)| *at <= now) {
            if !self.failed {
                self.hear(net, caller);
            }
        }
        self.drive(net, |server, calls| {
            if server.deadline().is_some_and(|at| at <= now) {
                server.on_deadline(now, calls);
            }
        });
        if self.due.is_some_and(|at| at <= now) {
            self.due = Some(now + TICK);
        }
    }

    pub fn line_opened(&mut self, net: &mut Net) {
        let now = net.now;
        self.drive(net, |server, calls| server.on_line(now, LineEvent::Opened, calls));
    }

    /// Nobody is served any more.
    fn fail(&mut self, why: &str, net: &mut Net) {
        self.failed = true;
        self.due = None;
        self.stats.set_gone(PortState::Lost, format!("the server at this port failed: {why}"));
        self.leave(net);
    }

    /// Lets go of all callers and of the line.
    pub fn leave(&mut self, net: &mut Net) {
        for caller in 0..self.callers.len() {
            self.hang_up(net, caller);
        }
        if let Some(line) = self.line.take() {
            net.vacate(&line);
        }
    }
}
