//! The access server's end: the other side is an application that drives a serial port over the network. Each SET is
//! answered at once with the value that results; what the port behind cannot do is kept and answered all the same.

use std::ops::Range;

use super::codes::{self, ANSWER};
use super::wire::{Came, Value, Wire};
use super::{COM_PORT, Event, IAC, OUR_NAME, SB, SE};
use crate::{LineSettings, Lines, Signal};

const DRIVEN: Lines = Lines(Lines::DTR.0 | Lines::RTS.0);
/// Answers that one signal can owe: DTR and RTS go as one.
const OWED: usize = 2;

#[derive(Debug)]
pub struct Server {
    wire: Wire,
    /// The port as the application sees it.
    settings: LineSettings,
    /// DTR and RTS as the application drives them, the others as the port senses them.
    lines: Lines,
    breaking: bool,
    /// Commands (number and value) whose answer waits for what their signal leads to.
    owed: [Option<(u8, u8)>; OWED],
    line_mask: u8,
    modem_mask: u8,
    /// Modem state the application knows of.
    told: Option<u8>,
    /// Line state that found no room yet.
    untold: u8,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    pub fn new() -> Self {
        Self {
            wire: Wire::new(),
            settings: LineSettings {
                baud: crate::serial_options::DEFAULT_BAUD,
                format: crate::Format::default(),
                flow: crate::Flow::None,
            },
            lines: Lines::NONE,
            breaking: false,
            owed: [None; OWED],
            line_mask: 0,
            modem_mask: 255,
            told: None,
            untold: 0,
        }
    }

    /// A client has come: begins anew, but for what is known of the port.
    pub fn connected(&mut self) {
        self.wire.restart();
        self.wire.options.ask(COM_PORT, &mut self.wire.out);
        self.lines = self.lines & !DRIVEN;
        self.breaking = false;
        self.owed = [None; OWED];
        (self.line_mask, self.modem_mask, self.told, self.untold) = (0, 255, None, 0);
    }

    /// Finds what comes next in `buffer[raw]` and shortens `raw` to what is left. What a signal led to is to be said
    /// with [`answer`](Self::answer) before the next call.
    pub fn next(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Event {
        self.settle();
        loop {
            match self.wire.next(buffer, raw) {
                Came::Bytes(bytes) => return Event::Bytes(bytes),
                Came::Command => {
                    let (command, value) = self.wire.command();
                    if let Some(signal) = self.command(command, value) {
                        if let (Signal::Lines(_), Some((_, code))) = (signal, self.owed[0])
                            && let Some(both) = self.other_line(code, buffer, raw)
                        {
                            return Event::Signal(both);
                        }
                        return Event::Signal(signal);
                    }
                }
                Came::Options => self.show_modem_state(),
                Came::End => return Event::End,
            }
        }
    }

    /// DTR and RTS that are set by two commands in a row are set in one step: some devices are reset by just that.
    fn other_line(&mut self, code: u8, buffer: &[u8], raw: &mut Range<usize>) -> Option<Signal> {
        let &[IAC, SB, COM_PORT, codes::SET_CONTROL, then, IAC, SE] = buffer.get(raw.clone())?.get(..7)?
        else {
            return None;
        };
        let is_dtr = |code| matches!(code, codes::DTR_ON | codes::DTR_OFF);
        if !matches!(then, codes::DTR_ON | codes::DTR_OFF | codes::RTS_ON | codes::RTS_OFF)
            || is_dtr(code) == is_dtr(then)
        {
            return None;
        }
        raw.start += 7;
        self.owed[1] = Some((codes::SET_CONTROL, then));
        Some(Signal::Lines(self.drive(then)))
    }

    fn drive(&mut self, code: u8) -> Lines {
        let (line, on) = match code {
            codes::DTR_ON => (Lines::DTR, true),
            codes::DTR_OFF => (Lines::DTR, false),
            codes::RTS_ON => (Lines::RTS, true),
            _ => (Lines::RTS, false),
        };
        self.lines = self.lines.with(line, on);
        self.lines & DRIVEN
    }

    fn command(&mut self, command: u8, value: Value) -> Option<Signal> {
        match command {
            codes::SIGNATURE if value.is_empty() => self.reply(command, OUR_NAME),
            codes::SET_BAUDRATE => {
                let baud = value.word()?;
                return self.set(command, baud != 0, |s| s.baud = baud);
            }
            codes::SET_DATASIZE => {
                let bits = value.byte()?;
                return self.set(command, (5..=8).contains(&bits), |s| s.format.data_bits = bits);
            }
            codes::SET_PARITY => {
                let parity = codes::parity(value.byte()?);
                return self.set(command, parity.is_some(), |s| {
                    s.format.parity = parity.unwrap_or(s.format.parity);
                });
            }
            codes::SET_STOPSIZE => {
                let stop = codes::stop_bits(value.byte()?);
                return self.set(command, stop.is_some(), |s| {
                    s.format.stop_bits = stop.unwrap_or(s.format.stop_bits)
                });
            }
            codes::SET_CONTROL => return self.control(value.byte()?),
            codes::NOTIFY_LINESTATE => {
                self.reply(command, &[if self.breaking { codes::LINE_BREAK } else { 0 }])
            }
            // Asked for, which some clients do at intervals.
            codes::NOTIFY_MODEMSTATE => self.tell_modem_state(true),
            codes::SET_LINESTATE_MASK => {
                self.line_mask = value.byte()?;
                self.reply(command, &[self.line_mask]);
            }
            codes::SET_MODEMSTATE_MASK => {
                self.modem_mask = value.byte()?;
                self.reply(command, &[self.modem_mask]);
                self.tell_modem_state(true);
            }
            codes::PURGE_DATA => {
                let code = value.byte()?;
                self.reply(command, &[code]);
                return codes::purge(code).map(Signal::Purge);
            }
            _ => {
                self.wire.flow(command);
            }
        }
        None
    }

    /// A new setting, or (also for values that mean nothing) the question how it is.
    fn set(&mut self, command: u8, valid: bool, change: impl FnOnce(&mut LineSettings)) -> Option<Signal> {
        self.owed[0] = Some((command, 0));
        if !valid {
            self.settle();
            return None;
        }
        change(&mut self.settings);
        Some(Signal::Settings(self.settings))
    }

    fn control(&mut self, code: u8) -> Option<Signal> {
        self.owed[0] = Some((codes::SET_CONTROL, code));
        match code {
            codes::BREAK_ON | codes::BREAK_OFF => {
                self.breaking = code == codes::BREAK_ON;
                Some(Signal::Break(self.breaking))
            }
            codes::DTR_ON | codes::DTR_OFF | codes::RTS_ON | codes::RTS_OFF => {
                Some(Signal::Lines(self.drive(code)))
            }
            _ => match codes::flow(code) {
                Some(flow) => {
                    self.settings.flow = flow;
                    Some(Signal::Settings(self.settings))
                }
                None => {
                    self.settle();
                    None
                }
            },
        }
    }

    /// Answers what is owed, with what is the case now.
    fn settle(&mut self) {
        for n in 0..OWED {
            let Some((command, code)) = self.owed[n].take() else { continue };
            let LineSettings { baud, format, flow } = self.settings;
            match command {
                codes::SET_BAUDRATE => self.reply(command, &baud.to_be_bytes()),
                codes::SET_DATASIZE => self.reply(command, &[format.data_bits]),
                codes::SET_PARITY => self.reply(command, &[codes::parity_code(format.parity)]),
                codes::SET_STOPSIZE => self.reply(command, &[codes::stop_bits_code(format.stop_bits)]),
                _ => {
                    let pick = |on, yes, no| if on { yes } else { no };
                    let value = match code {
                        codes::BREAK_QUERY..=codes::BREAK_OFF => {
                            pick(self.breaking, codes::BREAK_ON, codes::BREAK_OFF)
                        }
                        codes::DTR_QUERY..=codes::DTR_OFF => {
                            pick(self.lines.has(Lines::DTR), codes::DTR_ON, codes::DTR_OFF)
                        }
                        codes::RTS_QUERY..=codes::RTS_OFF => {
                            pick(self.lines.has(Lines::RTS), codes::RTS_ON, codes::RTS_OFF)
                        }
                        // No port of ours does flow control by DCD, DSR or DTR: the answer is what it does.
                        codes::FLOW_IN_QUERY..=16 | codes::FLOW_DTR => {
                            codes::FLOW_IN_QUERY + codes::flow_code(flow)
                        }
                        codes::FLOW_QUERY..=3 | codes::FLOW_DCD | codes::FLOW_DSR => codes::flow_code(flow),
                        unknown => unknown,
                    };
                    self.reply(command, &[value]);
                }
            }
        }
    }

    fn reply(&mut self, command: u8, value: &[u8]) {
        self.wire.out.com_port(command + ANSWER, value);
    }

    /// What the last signal led to at the port behind, or how that port is when nothing was asked.
    pub fn answer(&mut self, signal: &Signal) {
        match *signal {
            Signal::Settings(settings) => {
                let baud = if settings.baud == 0 { self.settings.baud } else { settings.baud };
                self.settings = LineSettings { baud, ..settings };
            }
            Signal::Lines(lines) => self.lines = lines & DRIVEN | self.lines & !DRIVEN,
            _ => {}
        }
        self.settle();
    }

    /// Shows the application what happens at the port behind.
    pub fn show(&mut self, signal: &Signal) {
        match *signal {
            Signal::Lines(lines) => {
                self.lines = self.lines & DRIVEN | lines & !DRIVEN;
                self.show_modem_state();
            }
            Signal::Break(on) => {
                self.tell_line_state(codes::LINE_BREAK, if on { codes::LINE_BREAK } else { 0 })
            }
            Signal::Error(error) => self.tell_line_state(codes::error_bit(error), codes::error_bit(error)),
            Signal::Settings(_) | Signal::Purge(_) | Signal::Unplug(_) => {}
        }
    }

    /// Of the events in `about`, those in `state` have happened.
    fn tell_line_state(&mut self, about: u8, state: u8) {
        if self.wire.options.com_port() && self.line_mask & about != 0 {
            if self.wire.out.full() {
                self.untold |= state;
            } else {
                self.reply(codes::NOTIFY_LINESTATE, &[state & self.line_mask]);
            }
        }
    }

    /// Tells the modem state if it is not what the application knows; for the first time in any case.
    fn show_modem_state(&mut self) {
        if self.wire.options.com_port() {
            self.tell_modem_state(self.told.is_none());
        }
    }

    fn tell_modem_state(&mut self, anyway: bool) {
        let now = codes::modem_state(self.lines);
        let delta = codes::modem_delta(self.told.unwrap_or_default(), now);
        let changed = self.told.unwrap_or_default() ^ now | delta;
        if self.wire.out.full() || !anyway && changed & self.modem_mask == 0 {
            // When there is room it is told as it is then.
            return;
        }
        self.told = Some(now);
        self.reply(codes::NOTIFY_MODEMSTATE, &[(now | delta) & self.modem_mask]);
    }

    /// Bytes to be sent, as far as there are any.
    pub fn outgoing(&mut self) -> &[u8] {
        self.settle();
        self.wire.out.pending()
    }

    /// The first `n` of them are sent.
    pub fn sent(&mut self, n: usize) {
        self.wire.out.sent(n);
        if !self.wire.out.full() {
            if self.untold != 0 {
                let state = std::mem::take(&mut self.untold);
                self.tell_line_state(state, state);
            }
            self.show_modem_state();
        }
    }

    /// Takes payload to be sent; answers how much of it. None while something else is pending or the other side
    /// wants none.
    pub fn payload(&mut self, bytes: &[u8]) -> usize {
        if self.wire.suspended { 0 } else { self.wire.out.payload(bytes) }
    }

    /// Whether anything is to be sent.
    pub fn unsent(&self) -> bool {
        !self.wire.out.pending().is_empty() || self.owed != [None; OWED]
    }

    /// Whether the other side wants no payload for now.
    pub fn held(&self) -> bool {
        self.wire.suspended
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
