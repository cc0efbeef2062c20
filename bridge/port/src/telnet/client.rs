//! The client's end: the other side is an access server with a serial port, which is set as asked and whose lines are
//! left alone unless something is said about them. Payload waits until COM port control is agreed, and for nothing else.

use std::ops::Range;

use super::codes::{self, ANSWER};
use super::wire::{Came, Value, Wire};
use super::{COM_PORT, Event, OUR_NAME};
use crate::{LineSettings, Lines, SerialOptions, Signal};

const DRIVEN: Lines = Lines(Lines::DTR.0 | Lines::RTS.0);

/// What has not been confirmed yet, one bit a command.
const SETTINGS: u8 = 0b1_1110;

#[derive(Debug)]
pub struct Client {
    wire: Wire,
    /// As we want it, and as it was confirmed.
    wanted: LineSettings,
    settings: LineSettings,
    unconfirmed: u8,
    /// Requests that are under way; only the answer to the last one counts.
    under_way: [u8; 5],
    /// Set at the start.
    dtr: Option<bool>,
    rts: Option<bool>,
    /// DTR and RTS as they are, where that is known, and the others as sensed.
    lines: Lines,
    known: Lines,
    breaking: bool,
    /// What a line state has left to say.
    line_state: u8,
    started: bool,
}

impl Client {
    /// A new connection, with the first requests to be sent.
    pub fn new(options: &SerialOptions) -> Self {
        let settings = LineSettings { baud: options.baud, format: options.format, flow: options.flow };
        let mut wire = Wire::new();
        wire.restart();
        wire.options.offer(COM_PORT, &mut wire.out);
        Self {
            wire,
            wanted: settings,
            settings,
            unconfirmed: SETTINGS,
            under_way: [0; 5],
            dtr: options.dtr,
            rts: options.rts,
            lines: Lines::NONE,
            known: Lines::NONE,
            breaking: false,
            line_state: 0,
            started: false,
        }
    }

    /// Finds what comes next in `buffer[raw]` and shortens `raw` to what is left.
    pub fn next(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Event {
        loop {
            if let Some(signal) = self.line_event() {
                return Event::Signal(signal);
            }
            match self.wire.next(buffer, raw) {
                Came::Bytes(bytes) => return Event::Bytes(bytes),
                Came::Command => {
                    let (command, value) = self.wire.command();
                    if let Some(signal) = self.command(command, value) {
                        return Event::Signal(signal);
                    }
                }
                Came::Options if self.agreed() && !self.started => self.start(),
                Came::Options => {}
                Came::End => return Event::End,
            }
        }
    }

    /// COM port control is agreed: says how the port is to be.
    fn start(&mut self) {
        self.started = true;
        self.ask(codes::SET_LINESTATE_MASK, &[codes::LINE_EVENTS]);
        self.ask(codes::SET_MODEMSTATE_MASK, &[255]);
        for (wanted, query) in [(self.dtr, codes::DTR_QUERY), (self.rts, codes::RTS_QUERY)] {
            if wanted.is_none() {
                self.ask(codes::SET_CONTROL, &[query]);
            }
        }
        self.set(true);
        self.drive(
            Lines::NONE.with(Lines::DTR, self.dtr.is_some()).with(Lines::RTS, self.rts.is_some()),
            Lines::NONE.with(Lines::DTR, self.dtr == Some(true)).with(Lines::RTS, self.rts == Some(true)),
        );
    }

    fn ask(&mut self, command: u8, value: &[u8]) {
        if let Some(count) = self.under_way.get_mut(usize::from(command)) {
            *count = count.saturating_add(1);
        }
        self.wire.out.com_port(command, value);
    }

    /// Sends the settings wanted: all, or those that differ from how the port is set.
    fn set(&mut self, all: bool) {
        let of = |s: LineSettings| {
            [
                s.baud,
                u32::from(s.format.data_bits),
                u32::from(codes::parity_code(s.format.parity)),
                u32::from(codes::stop_bits_code(s.format.stop_bits)),
                u32::from(codes::flow_code(s.flow)),
            ]
        };
        let values = of(self.settings).into_iter().zip(of(self.wanted));
        for (command, (old, new)) in (codes::SET_BAUDRATE..=codes::SET_CONTROL).zip(values) {
            if all || old != new {
                let bytes = new.to_be_bytes();
                self.ask(command, if command == codes::SET_BAUDRATE { &bytes } else { &bytes[3..] });
            }
        }
    }

    /// Sets those of DTR and RTS that are in `which`; both go in one piece.
    fn drive(&mut self, which: Lines, to: Lines) {
        if !self.started {
            for (line, later) in [(Lines::DTR, &mut self.dtr), (Lines::RTS, &mut self.rts)] {
                if which.has(line) {
                    *later = Some(to.has(line));
                }
            }
            return;
        }
        let codes =
            [(Lines::DTR, codes::DTR_ON, codes::DTR_OFF), (Lines::RTS, codes::RTS_ON, codes::RTS_OFF)];
        for (line, on, off) in codes {
            if which.has(line) {
                self.ask(codes::SET_CONTROL, &[if to.has(line) { on } else { off }]);
            }
        }
        self.lines = self.lines & !which | to & which;
        self.known = self.known | which;
    }

    fn command(&mut self, command: u8, value: Value) -> Option<Signal> {
        match command.checked_sub(ANSWER) {
            Some(codes::SIGNATURE) if value.is_empty() => {
                self.wire.out.com_port(codes::SIGNATURE, OUR_NAME);
            }
            Some(answer @ codes::SET_BAUDRATE..=codes::SET_STOPSIZE) => return self.confirmed(answer, value),
            Some(codes::SET_CONTROL) => return self.controlled(value.byte()?),
            Some(codes::NOTIFY_LINESTATE) => {
                let state = value.byte()? & codes::LINE_EVENTS;
                if self.breaking && state & codes::LINE_BREAK == 0 {
                    self.breaking = false;
                    self.line_state = state;
                    return Some(Signal::Break(false));
                }
                self.line_state = state;
            }
            Some(codes::NOTIFY_MODEMSTATE) => {
                self.lines = self.lines & DRIVEN | codes::modem_lines(value.byte()?);
                return Some(Signal::Lines(self.lines));
            }
            // Some servers use the numbers of the other direction.
            answer => {
                self.wire.flow(answer.unwrap_or(command));
            }
        }
        None
    }

    /// What a line state that has come has left to say.
    fn line_event(&mut self) -> Option<Signal> {
        if self.line_state & codes::LINE_BREAK != 0 {
            self.line_state &= !codes::LINE_BREAK;
            if !std::mem::replace(&mut self.breaking, true) {
                return Some(Signal::Break(true));
            }
        }
        let (error, rest) = codes::first_error(self.line_state)?;
        self.line_state = rest;
        Some(Signal::Error(error))
    }

    /// A setting is confirmed. Tells the settings if the port does not have what was asked for.
    fn confirmed(&mut self, command: u8, value: Value) -> Option<Signal> {
        let mut now = self.wanted;
        match command {
            codes::SET_BAUDRATE => now.baud = value.word().filter(|&b| b != 0)?,
            codes::SET_DATASIZE => now.format.data_bits = value.byte().filter(|b| (5..=8).contains(b))?,
            codes::SET_PARITY => now.format.parity = codes::parity(value.byte()?)?,
            _ => now.format.stop_bits = codes::stop_bits(value.byte()?)?,
        }
        let count = self.under_way.get_mut(usize::from(command))?;
        *count = count.saturating_sub(1);
        if *count > 0 {
            return None;
        }
        self.unconfirmed &= !(1 << command);
        let differs = now != self.wanted;
        self.wanted = now;
        self.settings = now;
        differs.then_some(Signal::Settings(now))
    }

    fn controlled(&mut self, code: u8) -> Option<Signal> {
        match code {
            codes::DTR_ON | codes::DTR_OFF | codes::RTS_ON | codes::RTS_OFF => {
                let line =
                    if matches!(code, codes::DTR_ON | codes::DTR_OFF) { Lines::DTR } else { Lines::RTS };
                // What we have set meanwhile is newer than the answer to a question.
                if !self.known.has(line) {
                    self.known = self.known | line;
                    self.lines = self.lines.with(line, matches!(code, codes::DTR_ON | codes::RTS_ON));
                }
                None
            }
            1..=3 => {
                let flow = codes::flow(code)?;
                let differs = flow != self.wanted.flow;
                self.wanted.flow = flow;
                self.settings.flow = flow;
                differs.then_some(Signal::Settings(self.settings))
            }
            _ => None,
        }
    }

    /// Does to the port what a signal says; answers what is to come of it, if it can do such a thing.
    pub fn apply(&mut self, signal: &Signal) -> Option<Signal> {
        match *signal {
            Signal::Lines(lines) => {
                let changed = Lines((lines.0 ^ self.lines.0) | !self.known.0) & DRIVEN;
                self.drive(changed, lines);
                return Some(Signal::Lines(self.lines & !DRIVEN | lines & DRIVEN));
            }
            Signal::Break(_) | Signal::Purge(_) if !self.started => return None,
            Signal::Break(on) => {
                self.ask(codes::SET_CONTROL, &[if on { codes::BREAK_ON } else { codes::BREAK_OFF }]);
            }
            Signal::Settings(settings) => {
                self.wanted = settings;
                if self.started {
                    self.set(false);
                }
                self.settings = settings;
            }
            Signal::Purge(purge) => self.ask(codes::PURGE_DATA, &[codes::purge_code(purge)]),
            Signal::Error(_) | Signal::Unplug(_) => return None,
        }
        Some(*signal)
    }

    /// A break that nobody has ended.
    pub fn end_break(&mut self) -> Option<Signal> {
        std::mem::take(&mut self.breaking).then_some(Signal::Break(false))
    }

    /// Whether COM port control is agreed.
    pub fn agreed(&self) -> bool {
        self.wire.options.com_port()
    }

    /// Whether the other side has said that it cannot do COM port control.
    pub fn refused(&self) -> bool {
        self.wire.options.com_port_refused()
    }

    /// Whether the port has confirmed how it is set.
    pub fn confirmed_all(&self) -> bool {
        self.started && self.unconfirmed == 0
    }

    /// How the port is set, as far as it has said.
    pub fn settings(&self) -> LineSettings {
        self.settings
    }

    /// All lines, as far as known.
    pub fn lines(&self) -> Lines {
        self.lines
    }

    /// DTR and RTS, if both are known.
    pub fn driven(&self) -> Option<Lines> {
        self.known.has(DRIVEN).then_some(self.lines & DRIVEN)
    }

    /// Whether the next byte would be payload if it is not IAC.
    pub(crate) fn in_data(&self) -> bool {
        self.wire.parser.in_data()
    }

    /// Bytes to be sent, as far as there are any.
    pub fn outgoing(&self) -> &[u8] {
        self.wire.out.pending()
    }

    /// The first `n` of them are sent.
    pub fn sent(&mut self, n: usize) {
        self.wire.out.sent(n);
    }

    /// Takes payload to be sent; answers how much of it. None while something else is pending, while COM port control
    /// is not agreed, or while the other side wants none.
    pub fn payload(&mut self, bytes: &[u8]) -> usize {
        if self.held() { 0 } else { self.wire.out.payload(bytes) }
    }

    pub fn unsent(&self) -> bool {
        !self.wire.out.pending().is_empty()
    }

    /// Whether no payload can go at the moment, whatever the socket takes.
    pub fn held(&self) -> bool {
        self.wire.suspended || !self.started
    }

    /// Whether nothing more is to be read before some of what is pending is sent.
    pub fn full(&self) -> bool {
        self.wire.out.full()
    }

    /// Messages that found no room.
    pub fn lost(&self) -> u64 {
        self.wire.out.lost()
    }
}
