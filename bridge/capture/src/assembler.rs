//! Makes packets of records: cuts frames, gives remarks of faults to the frame they are about, and brings all into
//! the order of time. Sans-IO; knows nothing of files.

use std::ops::Range;
use std::time::Duration;

use hilrig_port::{CharError, Lines, TapKind, TapRecord, Time};

use crate::{Event, Flow, Framer, Framing, LinkInfo, LinkKey, Points};

/// A packet that is not written yet.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) at: Time,
    /// Place of the link in [`Assembler::links`].
    pub(crate) link: usize,
    pub(crate) side: u8,
    pub(crate) flow: Option<Flow>,
    pub(crate) event: Event,
    pub(crate) lines: Lines,
    bytes: Range<usize>,
    pub(crate) comments: Vec<String>,
    /// Bytes that are missing before it.
    pub(crate) lost: u64,
}

/// Only so long does an open frame hold back packets that came after its beginning.
const LONGEST_HOLD: Duration = Duration::from_secs(1);
/// So long a remark waits for the packet that it is about.
const REMARK_HOLD: Duration = Duration::from_millis(20);
/// More than this is not held back.
const MOST_HELD: usize = 4 * 1024 * 1024;

#[derive(Debug)]
struct LinkState {
    info: LinkInfo,
    /// By side, then In and Out.
    framers: [[Framer; 2]; 2],
    lines: [Lines; 2],
    /// About what goes to this side.
    remarks: [Vec<(Time, String)>; 2],
}

#[derive(Debug)]
pub(crate) struct Assembler {
    framing: Framing,
    points: Points,
    links: Vec<LinkState>,
    ready: Vec<Made>,
    /// The bytes of `ready`.
    store: Vec<u8>,
}

impl Assembler {
    pub(crate) fn new(framing: Framing, points: Points) -> Self {
        Self { framing, points, links: Vec::new(), ready: Vec::new(), store: Vec::new() }
    }

    /// The place of a link, which is known from now on.
    pub(crate) fn place(&mut self, info: &LinkInfo) -> usize {
        let known = |key: LinkKey| self.links.iter().position(|l| l.info.key() == key);
        known(info.key()).unwrap_or_else(|| {
            let framer = || Framer::new(self.framing.clone());
            self.links.push(LinkState {
                info: info.clone(),
                framers: [[framer(), framer()], [framer(), framer()]],
                lines: [Lines::NONE; 2],
                remarks: [Vec::new(), Vec::new()],
            });
            self.links.len() - 1
        })
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &LinkInfo> {
        self.links.iter().map(|l| &l.info)
    }

    pub(crate) fn bytes(&self, made: &Made) -> &[u8] {
        self.store.get(made.bytes.clone()).unwrap_or_default()
    }

    pub(crate) fn record(&mut self, info: &LinkInfo, record: &TapRecord<'_>) {
        if !self.points.shows(record.kind) {
            return;
        }
        let place = self.place(info);
        let side = record.side & 1;
        if !matches!(record.kind, TapKind::Lost | TapKind::Fault | TapKind::Discarded) {
            self.links[place].lines[usize::from(side)] = record.lines;
        }
        match record.kind {
            TapKind::In => self.data(place, side, Flow::In, record),
            TapKind::Out => self.data(place, side, Flow::Out, record),
            TapKind::Lines => self.event(place, record, None, Event::Status, None),
            TapKind::BreakIn => self.after_frames(place, record, Some(Flow::In), Event::Break, None),
            TapKind::BreakOut => self.after_frames(place, record, Some(Flow::Out), Event::Break, None),
            TapKind::Error(e) => {
                let event = match e {
                    CharError::Framing => Event::FramingError,
                    CharError::Parity => Event::ParityError,
                    CharError::Overrun => Event::Overflow,
                };
                self.event(place, record, Some(Flow::In), event, None);
            }
            TapKind::Gone => {
                let remark = "the port is gone: what is sent to it from here on is lost".to_owned();
                self.after_frames(place, record, None, Event::Status, Some(remark));
            }
            TapKind::Back => {
                let remark = "the port is back".to_owned();
                self.event(place, record, None, Event::Status, Some(remark));
            }
            TapKind::Discarded => {
                let remark = format!("{} bytes for this port were discarded: nobody was there", record.value);
                self.event(place, record, None, Event::Status, Some(remark));
            }
            TapKind::Lost => {
                let remark =
                    format!("{} bytes are missing here: the capture came too late for them", record.value);
                self.after_frames(place, record, None, Event::DataLost, Some(remark));
            }
            TapKind::Fault => self.fault(place, record),
        }
    }

    fn data(&mut self, place: usize, side: u8, flow: Flow, record: &TapRecord<'_>) {
        let link = &mut self.links[place];
        let character = link.info.character();
        link.framers[1 - usize::from(side)][flow as usize].other_spoke(record.at, character);
        // What this port took came from the other side, too; a station's line has no other port.
        link.framers[usize::from(side)][1 - flow as usize].other_spoke(record.at, character);
        let framer = &mut link.framers[usize::from(side)][flow as usize];
        let mut made =
            Maker { place, side, flow, points: self.points, ready: &mut self.ready, store: &mut self.store };
        let (lines, remarks) = (&link.lines, &mut link.remarks);
        framer.push(record.at, record.bytes, character, |at, bytes| {
            made.frame(at, bytes, lines, remarks);
        });
    }

    fn event(
        &mut self,
        link: usize,
        record: &TapRecord<'_>,
        flow: Option<Flow>,
        event: Event,
        remark: Option<String>,
    ) {
        let side = record.side & 1;
        self.ready.push(Made {
            at: record.at,
            link,
            side,
            flow,
            event,
            lines: self.links[link].lines[usize::from(side)],
            bytes: 0..0,
            comments: remark.into_iter().collect(),
            lost: if record.kind == TapKind::Lost { record.value } else { 0 },
        });
    }

    /// An event that no frame of this side spans.
    fn after_frames(
        &mut self,
        place: usize,
        record: &TapRecord<'_>,
        flow: Option<Flow>,
        event: Event,
        remark: Option<String>,
    ) {
        for f in [Flow::In, Flow::Out] {
            if flow.is_none_or(|flow| flow == f) {
                self.end_frames(place, record.side & 1, f, None);
            }
        }
        self.event(place, record, flow, event, remark);
    }

    /// Ends the frame of one direction: in any case, or if its time is over at `now`.
    fn end_frames(&mut self, place: usize, side: u8, flow: Flow, now: Option<Time>) {
        let link = &mut self.links[place];
        let framer = &mut link.framers[usize::from(side)][flow as usize];
        let mut made =
            Maker { place, side, flow, points: self.points, ready: &mut self.ready, store: &mut self.store };
        let (lines, remarks) = (&link.lines, &mut link.remarks);
        let out = |at: Time, bytes: &[u8]| made.frame(at, bytes, lines, remarks);
        match now {
            Some(now) => framer.tick(now, out),
            None => framer.flush(out),
        }
    }

    fn fault(&mut self, place: usize, record: &TapRecord<'_>) {
        let number = |at: usize| {
            record.bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        let (rule, count, to) = (number(0), number(4), record.side & 1);
        // A frame that was over by then is not the one it is about.
        let (side, flow) = carrier(self.points, to);
        self.end_frames(place, side, flow, Some(record.at));
        let link = &mut self.links[place];
        let name = link.info.rules.get(rule).unwrap_or_else(|| format!("rule {rule}"));
        let way = if to == 1 { "a->b" } else { "b->a" };
        let remark = format!("fault {name}, {way} at byte {}, {count} bytes", record.value);
        // The packet it is about may be made already.
        let about = |made: &&mut Made| {
            (made.link, made.side, made.flow) == (place, side, Some(flow))
                && made.at >= record.at
                && !made.bytes.is_empty()
        };
        match self.ready.iter_mut().filter(about).min_by_key(|made| made.at) {
            Some(made) => made.comments.push(remark),
            None => link.remarks[usize::from(to)].push((record.at, remark)),
        }
    }

    /// Ends what time has ended.
    pub(crate) fn tick(&mut self, now: Time) {
        for place in 0..self.links.len() {
            for (side, flow) in ENDS {
                self.end_frames(place, side, flow, Some(now));
            }
            for to in 0..2 {
                let over = |at: Time| at + REMARK_HOLD <= now;
                self.lone_remarks(place, to, over);
            }
        }
    }

    /// Gives remarks packets of their own, if nothing that they are about has come.
    fn lone_remarks(&mut self, place: usize, to: u8, over: impl Fn(Time) -> bool) {
        let link = &mut self.links[place];
        let (side, flow) = carrier(self.points, to);
        let open = link.framers[usize::from(side)][flow as usize].open_since().is_some();
        while !open && link.remarks[usize::from(to)].first().is_some_and(|(at, _)| over(*at)) {
            let (at, remark) = link.remarks[usize::from(to)].remove(0);
            self.ready.push(Made {
                at,
                link: place,
                side,
                flow: Some(flow),
                event: Event::Status,
                lines: link.lines[usize::from(side)],
                bytes: 0..0,
                comments: vec![remark],
                lost: 0,
            });
        }
    }

    /// Ends everything.
    pub(crate) fn finish(&mut self) {
        for place in 0..self.links.len() {
            for (side, flow) in ENDS {
                self.end_frames(place, side, flow, None);
            }
            for to in 0..2 {
                self.lone_remarks(place, to, |_| true);
            }
        }
    }

    /// Takes out what nothing earlier can follow any more, in order of time. All, without `now`.
    pub(crate) fn release(&mut self, now: Option<Time>) -> Vec<Made> {
        self.ready.sort_by_key(|made| made.at);
        let upto = match now {
            Some(now) if self.store.len() < MOST_HELD => {
                self.ready.partition_point(|m| m.at <= self.horizon(now))
            }
            _ => self.ready.len(),
        };
        let rest = self.ready.split_off(upto);
        std::mem::replace(&mut self.ready, rest)
    }

    /// Gives back what `release` gave out, written.
    pub(crate) fn reuse(&mut self, mut written: Vec<Made>) {
        written.clear();
        if self.ready.is_empty() {
            self.store.clear();
            self.ready = written;
        }
    }

    fn horizon(&self, now: Time) -> Time {
        let earliest = Time(now.0.saturating_sub(LONGEST_HOLD.as_nanos() as u64));
        let open = self.links.iter().flat_map(|l| {
            let frames = l.framers.iter().flatten().filter_map(Framer::open_since);
            frames.chain(l.remarks.iter().flatten().map(|(at, _)| *at))
        });
        // What begins at the same time is not held back by itself.
        open.map(|at| Time(at.0.saturating_sub(1))).min().map_or(now, |at| at.clamp(earliest, now))
    }
}

const ENDS: [(u8, Flow); 4] = [(0, Flow::In), (0, Flow::Out), (1, Flow::In), (1, Flow::Out)];

/// Whose packets show what goes to a side.
fn carrier(points: Points, to: u8) -> (u8, Flow) {
    if points == Points::In { (1 - to, Flow::In) } else { (to, Flow::Out) }
}

/// Makes packets of the frames of one direction.
struct Maker<'a> {
    place: usize,
    side: u8,
    flow: Flow,
    points: Points,
    ready: &'a mut Vec<Made>,
    store: &'a mut Vec<u8>,
}

impl Maker<'_> {
    fn frame(&mut self, at: Time, bytes: &[u8], lines: &[Lines; 2], remarks: &mut [Vec<(Time, String)>; 2]) {
        let to = if self.flow == Flow::Out { self.side } else { 1 - self.side };
        let carries = carrier(self.points, to) == (self.side, self.flow);
        let comments =
            if carries { remarks[usize::from(to)].drain(..).map(|(_, r)| r).collect() } else { Vec::new() };
        let start = self.store.len();
        self.store.extend_from_slice(bytes);
        self.ready.push(Made {
            at,
            link: self.place,
            side: self.side,
            flow: Some(self.flow),
            event: if self.flow == Flow::In { Event::RxStart } else { Event::TxStart },
            lines: lines[usize::from(self.side)],
            bytes: start..self.store.len(),
            comments,
            lost: 0,
        });
    }
}

#[cfg(test)]
#[path = "assembler_tests.rs"]
mod tests;
