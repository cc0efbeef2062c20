//! Counters of ports and links: written by one shard, read by anyone at any time without stopping it. Plain
//! numbers only; what they mean to an operator is said elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use crate::counters::Counter;
use crate::histogram::{AtomicHistogram, Histogram};
use crate::{Flow, Format, LineSettings, Lines, Parity, StopBits};

/// Where a port is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    Open,
    /// A listener without a client; or, with a reason, a port that is gone and may come back.
    Waiting,
    /// Given up; the reason says why.
    Lost,
}

/// Counters of one port as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSnapshot {
    pub state: PortState,
    /// Why the port is gone; empty while it is not.
    pub reason: String,
    /// Bytes that came from the line.
    pub rx_bytes: u64,
    /// Bytes the line took.
    pub tx_bytes: u64,
    /// Bytes that were meant for the line while nobody was at the far end, or that were on their way when it left.
    pub discarded_bytes: u64,
    /// Somebody is at the far end. Always true for a real port.
    pub peer_open: bool,
    /// Baud rate of the line. On a virtual port as the application has set it, 0 while nobody has it open.
    pub baud: u32,
    /// 1 or 2, as `baud`.
    pub stop_bits: u8,
    /// How often the far end was opened, or a client connected.
    pub opens: u64,
    /// How often the application has set the line; virtual ports only.
    pub settings_changes: u64,
    /// How a character looks on the line, as `baud`; where only the stop bits can be seen, those and 8N.
    pub format: Format,
    pub flow: Flow,
    /// All modem lines as known: those that are driven and those that are sensed.
    pub lines: Lines,
    /// How often the port was lost and opened again.
    pub reconnects: u64,
    /// Breaks and characters in error that came from the line.
    pub breaks: u64,
    pub framing_errors: u64,
    pub parity_errors: u64,
    pub overruns: u64,
    /// Clients that only listen, now.
    pub observers: u32,
    /// Bytes that observers were too slow for, or lost when they left.
    pub observer_lost_bytes: u64,
    /// Callers of a server, now.
    pub callers: u32,
    /// Callers that a server has sent away.
    pub refused: u64,
    /// How often a caller of a server could not be taken in, for want of descriptors or memory. It stays in the queue,
    /// and is asked in again a moment later.
    pub accept_errors: u64,
}

/// Live counters of one port.
#[derive(Debug)]
#[repr(align(128))]
pub struct PortStats {
    state: AtomicU8,
    peer_open: AtomicBool,
    stop_bits: AtomicU8,
    baud: AtomicU32,
    /// Data bits, parity, stop bits and flow control, a byte each.
    shape: AtomicU32,
    lines: AtomicU8,
    observers: AtomicU32,
    callers: AtomicU32,
    gone: AtomicBool,
    closing: AtomicBool,
    pub(crate) reconnects: Counter,
    pub(crate) breaks: Counter,
    pub(crate) framing_errors: Counter,
    pub(crate) parity_errors: Counter,
    pub(crate) overruns: Counter,
    pub(crate) observer_lost_bytes: Counter,
    pub(crate) refused: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) rx_bytes: Counter,
    pub(crate) tx_bytes: Counter,
    pub(crate) discarded_bytes: Counter,
    pub(crate) opens: Counter,
    pub(crate) settings_changes: Counter,
    /// Written when the port is lost.
    reason: Mutex<String>,
}

impl PortStats {
    pub(crate) fn new(state: PortState, peer_open: bool, baud: u32, stop_bits: u8) -> Self {
        Self {
            state: AtomicU8::new(state as u8),
            peer_open: AtomicBool::new(peer_open),
            stop_bits: AtomicU8::new(stop_bits),
            baud: AtomicU32::new(baud),
            shape: AtomicU32::new(pack(Format::default(), Flow::None)),
            lines: AtomicU8::new(0),
            observers: AtomicU32::new(0),
            callers: AtomicU32::new(0),
            gone: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            reconnects: Counter::default(),
            breaks: Counter::default(),
            framing_errors: Counter::default(),
            parity_errors: Counter::default(),
            overruns: Counter::default(),
            observer_lost_bytes: Counter::default(),
            refused: Counter::default(),
            accept_errors: Counter::default(),
            rx_bytes: Counter::default(),
            tx_bytes: Counter::default(),
            discarded_bytes: Counter::default(),
            opens: Counter::default(),
            settings_changes: Counter::default(),
            reason: Mutex::new(String::new()),
        }
    }

    pub fn snapshot(&self) -> PortSnapshot {
        // In this order: a visit that is counted and over is over in every respect.
        let opens = self.opens.get();
        let peer_open = self.peer_open();
        let state = self.state();
        let reason = match self.gone() {
            true => self.reason.lock().unwrap_or_else(|e| e.into_inner()).clone(),
            false => String::new(),
        };
        let (format, flow) = unpack(self.shape.load(Ordering::Relaxed));
        PortSnapshot {
            state,
            reason,
            rx_bytes: self.rx_bytes.get(),
            tx_bytes: self.tx_bytes.get(),
            discarded_bytes: self.discarded_bytes.get(),
            peer_open,
            baud: self.baud.load(Ordering::Relaxed),
            stop_bits: self.stop_bits.load(Ordering::Relaxed),
            opens,
            settings_changes: self.settings_changes.get(),
            format,
            flow,
            lines: Lines(self.lines.load(Ordering::Relaxed)),
            reconnects: self.reconnects.get(),
            breaks: self.breaks.get(),
            framing_errors: self.framing_errors.get(),
            parity_errors: self.parity_errors.get(),
            overruns: self.overruns.get(),
            observers: self.observers.load(Ordering::Relaxed),
            observer_lost_bytes: self.observer_lost_bytes.get(),
            callers: self.callers(),
            refused: self.refused.get(),
            accept_errors: self.accept_errors.get(),
        }
    }

    /// The port is gone, for now or for good.
    pub fn gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub fn state(&self) -> PortState {
        match self.state.load(Ordering::Acquire) {
            0 => PortState::Open,
            1 => PortState::Waiting,
            _ => PortState::Lost,
        }
    }

    pub fn peer_open(&self) -> bool {
        self.peer_open.load(Ordering::Acquire)
    }

    pub(crate) fn set_state(&self, state: PortState) {
        self.state.store(state as u8, Ordering::Release);
    }

    pub(crate) fn set_peer_open(&self, open: bool) {
        self.peer_open.store(open, Ordering::Release);
    }

    pub(crate) fn set_line(&self, baud: u32, stop_bits: u8) {
        self.baud.store(baud, Ordering::Relaxed);
        self.stop_bits.store(stop_bits, Ordering::Relaxed);
    }

    pub(crate) fn set_settings(&self, settings: LineSettings) {
        let LineSettings { baud, format, flow } = settings;
        self.set_line(baud, if format.stop_bits == StopBits::One { 1 } else { 2 });
        self.shape.store(pack(format, flow), Ordering::Relaxed);
    }

    pub(crate) fn set_lines(&self, lines: Lines) {
        self.lines.store(lines.0, Ordering::Relaxed);
    }

    pub(crate) fn set_observers(&self, n: usize) {
        self.observers.store(n as u32, Ordering::Relaxed);
    }

    pub(crate) fn callers(&self) -> u32 {
        self.callers.load(Ordering::Acquire)
    }

    pub(crate) fn set_callers(&self, n: usize) {
        self.callers.store(n as u32, Ordering::Release);
    }

    /// The port is gone: `Waiting` while it may come back, or `Lost`.
    pub(crate) fn set_gone(&self, state: PortState, reason: String) {
        *self.reason.lock().unwrap_or_else(|e| e.into_inner()) = reason;
        self.gone.store(true, Ordering::Release);
        self.set_peer_open(false);
        self.set_state(state);
    }

    /// The port is back, in the state that `fresh` says.
    pub(crate) fn set_back(&self, fresh: &Self) {
        self.stop_bits.store(fresh.stop_bits.load(Ordering::Relaxed), Ordering::Relaxed);
        self.baud.store(fresh.baud.load(Ordering::Relaxed), Ordering::Relaxed);
        self.shape.store(fresh.shape.load(Ordering::Relaxed), Ordering::Relaxed);
        self.lines.store(0, Ordering::Relaxed);
        self.set_peer_open(fresh.peer_open());
        self.set_state(fresh.state());
        self.gone.store(false, Ordering::Release);
    }

    /// Whether the lost port is still being closed, so that it cannot be opened again yet.
    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn set_closing(&self, closing: bool) {
        self.closing.store(closing, Ordering::Release);
    }
}

fn pack(format: Format, flow: Flow) -> u32 {
    u32::from_ne_bytes([format.data_bits, format.parity as u8, format.stop_bits as u8, flow as u8])
}

fn unpack(shape: u32) -> (Format, Flow) {
    let [data_bits, parity, stop_bits, flow] = shape.to_ne_bytes();
    let all = [Parity::None, Parity::Even, Parity::Odd, Parity::Mark, Parity::Space];
    let parity = all.into_iter().find(|p| *p as u8 == parity).unwrap_or(Parity::None);
    let all = [StopBits::One, StopBits::OneAndHalf, StopBits::Two];
    let stop_bits = all.into_iter().find(|s| *s as u8 == stop_bits).unwrap_or(StopBits::One);
    let flow = [Flow::None, Flow::RtsCts, Flow::XonXoff].into_iter().find(|f| *f as u8 == flow);
    (Format { data_bits, parity, stop_bits }, flow.unwrap_or(Flow::None))
}

/// One direction of a link as it was at one moment. Always:
/// `bytes_in + inserted_bytes == bytes_out + fault_bytes + discarded_bytes + pending`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectionSnapshot {
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Taken out on purpose, by the conduit.
    pub fault_bytes: u64,
    /// Put in on purpose, by the conduit.
    pub inserted_bytes: u64,
    /// Thrown away because nobody was at the far end.
    pub discarded_bytes: u64,
    /// Read, not yet written: the other side is stalled.
    pub pending: u64,
    /// Reads that brought bytes.
    pub messages: u64,
    /// From read to written.
    pub latency: Histogram,
}

/// Both directions of a link, A to B first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkSnapshot {
    pub directions: [DirectionSnapshot; 2],
}

/// Live counters of a link.
#[derive(Debug, Default)]
pub struct LinkStats {
    pub(crate) directions: [DirectionStats; 2],
}

impl LinkStats {
    pub fn snapshot(&self) -> LinkSnapshot {
        LinkSnapshot { directions: [self.directions[0].snapshot(), self.directions[1].snapshot()] }
    }
}

/// What one message changed; applied in one go, so that a reader never sees bytes that are nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub fault: u64,
    pub inserted: u64,
    pub discarded: u64,
    pub messages: u64,
    /// As it is now, not a difference.
    pub pending: u64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct DirectionStats {
    /// Odd while the writer is in between: readers come again.
    sequence: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    fault: AtomicU64,
    inserted: AtomicU64,
    discarded: AtomicU64,
    pending: AtomicU64,
    messages: AtomicU64,
    pub(crate) latency: AtomicHistogram,
}

impl DirectionStats {
    /// Called by the shard only.
    pub(crate) fn apply(&self, moved: Moved) {
        let add = |cell: &AtomicU64, n: u64| {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed)
        };
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        add(&self.bytes_in, moved.bytes_in);
        add(&self.bytes_out, moved.bytes_out);
        add(&self.fault, moved.fault);
        add(&self.inserted, moved.inserted);
        add(&self.discarded, moved.discarded);
        add(&self.messages, moved.messages);
        self.pending.store(moved.pending, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    pub(crate) fn snapshot(&self) -> DirectionSnapshot {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
            let seen = DirectionSnapshot {
                bytes_in: get(&self.bytes_in),
                bytes_out: get(&self.bytes_out),
                fault_bytes: get(&self.fault),
                inserted_bytes: get(&self.inserted),
                discarded_bytes: get(&self.discarded),
                pending: get(&self.pending),
                messages: get(&self.messages),
                latency: Histogram::default(),
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return DirectionSnapshot { latency: self.latency.snapshot(), ..seen };
            }
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_snapshot_always_adds_up_while_the_writer_runs() {
        let stats = Arc::new(DirectionStats::default());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (stats, stop) = (stats.clone(), stop.clone());
            move || {
                let mut pending = 0;
                let mut i = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    i += 1;
                    let bytes_in = i % 7;
                    let inserted = i % 3;
                    let all = bytes_in + inserted + pending;
                    pending = all / 2;
                    let out = all - pending;
                    stats.apply(Moved {
                        bytes_in,
                        bytes_out: out - out / 3,
                        fault: out / 3,
                        inserted,
                        pending,
                        messages: 1,
                        ..Moved::default()
                    });
                }
            }
        });
        let mut last = 0;
        for _ in 0..20_000 {
            let s = stats.snapshot();
            assert_eq!(
                s.bytes_in + s.inserted_bytes,
                s.bytes_out + s.fault_bytes + s.discarded_bytes + s.pending
            );
            assert!(s.bytes_in >= last);
            last = s.bytes_in;
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    }

    #[test]
    fn a_lost_port_keeps_its_reason() {
        let port = PortStats::new(PortState::Open, true, 9600, 1);
        port.set_gone(PortState::Lost, "unplugged".into());
        let s = port.snapshot();
        assert_eq!((s.state, s.reason.as_str(), s.peer_open), (PortState::Lost, "unplugged", false));
    }
}
