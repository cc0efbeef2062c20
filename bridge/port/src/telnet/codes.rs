//! The numbers of RFC 2217 and what they mean here. Both directions; unknown numbers are `None`.

use crate::{CharError, Flow, Lines, Parity, Purge, StopBits};

pub(super) const SIGNATURE: u8 = 0;
pub(super) const SET_BAUDRATE: u8 = 1;
pub(super) const SET_DATASIZE: u8 = 2;
pub(super) const SET_PARITY: u8 = 3;
pub(super) const SET_STOPSIZE: u8 = 4;
pub(super) const SET_CONTROL: u8 = 5;
pub(super) const NOTIFY_LINESTATE: u8 = 6;
pub(super) const NOTIFY_MODEMSTATE: u8 = 7;
pub(super) const FLOWCONTROL_SUSPEND: u8 = 8;
pub(super) const FLOWCONTROL_RESUME: u8 = 9;
pub(super) const SET_LINESTATE_MASK: u8 = 10;
pub(super) const SET_MODEMSTATE_MASK: u8 = 11;
pub(super) const PURGE_DATA: u8 = 12;

/// What a server adds to the number of a command in its answers.
pub(super) const ANSWER: u8 = 100;

// Values of SET-CONTROL.
pub(super) const FLOW_QUERY: u8 = 0;
pub(super) const BREAK_QUERY: u8 = 4;
pub(super) const BREAK_ON: u8 = 5;
pub(super) const BREAK_OFF: u8 = 6;
pub(super) const DTR_QUERY: u8 = 7;
pub(super) const DTR_ON: u8 = 8;
pub(super) const DTR_OFF: u8 = 9;
pub(super) const RTS_QUERY: u8 = 10;
pub(super) const RTS_ON: u8 = 11;
pub(super) const RTS_OFF: u8 = 12;
pub(super) const FLOW_IN_QUERY: u8 = 13;
pub(super) const FLOW_DCD: u8 = 17;
pub(super) const FLOW_DTR: u8 = 18;
pub(super) const FLOW_DSR: u8 = 19;

// Line state.
pub(super) const LINE_BREAK: u8 = 16;
const LINE_FRAMING: u8 = 8;
const LINE_PARITY: u8 = 4;
const LINE_OVERRUN: u8 = 2;

/// The events of a line that can be told.
pub(super) const LINE_EVENTS: u8 = LINE_BREAK | LINE_FRAMING | LINE_PARITY | LINE_OVERRUN;

pub(super) fn parity(code: u8) -> Option<Parity> {
    [Parity::None, Parity::Odd, Parity::Even, Parity::Mark, Parity::Space]
        .into_iter()
        .find(|&p| parity_code(p) == code)
}

pub(super) fn parity_code(parity: Parity) -> u8 {
    match parity {
        Parity::None => 1,
        Parity::Odd => 2,
        Parity::Even => 3,
        Parity::Mark => 4,
        Parity::Space => 5,
    }
}

pub(super) fn stop_bits(code: u8) -> Option<StopBits> {
    [StopBits::One, StopBits::Two, StopBits::OneAndHalf].into_iter().find(|&s| stop_bits_code(s) == code)
}

pub(super) fn stop_bits_code(stop: StopBits) -> u8 {
    match stop {
        StopBits::One => 1,
        StopBits::Two => 2,
        StopBits::OneAndHalf => 3,
    }
}

/// Of the values 1 to 3; those from 14 to 16 are for the inbound direction alone, which no port of ours sets apart.
pub(super) fn flow(code: u8) -> Option<Flow> {
    match code {
        1 | 14 => Some(Flow::None),
        2 | 15 => Some(Flow::XonXoff),
        3 | 16 => Some(Flow::RtsCts),
        _ => None,
    }
}

pub(super) fn flow_code(flow: Flow) -> u8 {
    match flow {
        Flow::None => 1,
        Flow::XonXoff => 2,
        Flow::RtsCts => 3,
    }
}

pub(super) fn purge(code: u8) -> Option<Purge> {
    match code {
        1 => Some(Purge::Input),
        2 => Some(Purge::Output),
        3 => Some(Purge::Both),
        _ => None,
    }
}

pub(super) fn purge_code(purge: Purge) -> u8 {
    match purge {
        Purge::Input => 1,
        Purge::Output => 2,
        Purge::Both => 3,
    }
}

pub(super) fn error_bit(error: CharError) -> u8 {
    match error {
        CharError::Framing => LINE_FRAMING,
        CharError::Parity => LINE_PARITY,
        CharError::Overrun => LINE_OVERRUN,
    }
}

const MODEM: [(Lines, u8); 4] = [(Lines::DCD, 128), (Lines::RI, 64), (Lines::DSR, 32), (Lines::CTS, 16)];

/// The upper half of a modem state.
pub(super) fn modem_state(lines: Lines) -> u8 {
    MODEM.iter().filter(|(line, _)| lines.has(*line)).map(|(_, bit)| bit).sum()
}

pub(super) fn modem_lines(state: u8) -> Lines {
    let on = MODEM.iter().filter(|(_, bit)| state & bit != 0);
    on.fold(Lines::NONE, |lines, (line, _)| lines | *line)
}

/// The lower half of a modem state: what has changed. Of RI only its end counts.
pub(super) fn modem_delta(before: u8, now: u8) -> u8 {
    let changed = (before ^ now) >> 4;
    if now & 64 != 0 { changed & !4 } else { changed }
}

/// The first line state event in `state`, and the state without it.
pub(super) fn first_error(state: u8) -> Option<(CharError, u8)> {
    [CharError::Overrun, CharError::Framing, CharError::Parity]
        .into_iter()
        .find(|&e| state & error_bit(e) != 0)
        .map(|e| (e, state & !error_bit(e)))
}
