//! The events of a run: points, frames, faults, line errors, timing. A thread that looks at the run a few times a second,
//! and only at what somebody subscribes to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hilrig_contract::{Publisher, Topic};
use hilrig_port::Histogram;
use serde_json::{Map, Value, json};

use super::{lock, object};
use crate::news::{News, Watch};
use crate::run::{PointRow, Run, TimingRow};

/// Rings of frames are emptied so often while somebody watches.
const LOOK: Duration = Duration::from_millis(20);
/// Changes of points within this time are one event.
const COALESCE: Duration = Duration::from_millis(100);
const TIMING: Duration = Duration::from_secs(1);
/// Events `frame` a second at most; others are counted.
const FRAMES: u32 = 200;
/// Firings told a second at most; others are counted.
const FIRINGS: u32 = 500;
/// Points in one event at most.
const POINTS: usize = 500;

/// Which frames are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Frames {
    #[default]
    Off,
    All,
    Errors,
    Each(u64),
}

/// What the events tell of.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub points: Option<String>,
    pub frames: Frames,
    pub unit: Option<u8>,
    pub port: Option<String>,
}

impl std::str::FromStr for Frames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "off" => Self::Off,
            "all" => Self::All,
            "errors" => Self::Errors,
            number => match number.parse() {
                Ok(n) if n > 0 => Self::Each(n),
                _ => return Err(format!("{number:?} is not off, all, errors or a number above 0")),
            },
        })
    }
}

/// The thread. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Teller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What the thread knows of what it told.
struct Telling {
    publisher: Arc<dyn Publisher>,
    selection: Arc<Mutex<Selection>>,
    watch: Watch,
    watching: bool,
    values: HashMap<String, Value>,
    errors: HashMap<(String, &'static str), u64>,
    timing: HashMap<String, Histogram>,
    frames: Budget,
    firings: Budget,
    seen: u64,
    /// News of ports that were told.
    ports: u64,
}

/// So many a second.
#[derive(Default)]
struct Budget {
    since: Option<Instant>,
    spent: u32,
    held: u64,
}

impl Budget {
    /// Answers how many were held back before this one; `None` holds it back.
    fn take(&mut self, most: u32) -> Option<u64> {
        if self.since.is_none_or(|since| since.elapsed() >= Duration::from_secs(1)) {
            self.since = Some(Instant::now());
            self.spent = 0;
        }
        if self.spent >= most {
            self.held += 1;
            return None;
        }
        self.spent += 1;
        Some(std::mem::take(&mut self.held))
    }
}

impl Teller {
    /// Tells of a run until it is dropped or the run is gone.
    pub fn start(run: Weak<Run>, publisher: Arc<dyn Publisher>, selection: Arc<Mutex<Selection>>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let mut telling = Telling {
            publisher,
            selection,
            watch: Watch::default(),
            watching: false,
            values: HashMap::new(),
            errors: HashMap::new(),
            timing: HashMap::new(),
            frames: Budget::default(),
            firings: Budget::default(),
            seen: 0,
            ports: 0,
        };
        let work = move || {
            let (mut points, mut timing) = (Instant::now(), Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                {
                    let Some(run) = run.upgrade() else { return };
                    telling.frames(&run);
                    if points.elapsed() >= COALESCE {
                        points = Instant::now();
                        telling.points(&run);
                        telling.errors(&run);
                    }
                    if timing.elapsed() >= TIMING {
                        timing = Instant::now();
                        telling.timing(&run);
                    }
                }
                std::thread::park_timeout(if telling.watching { LOOK } else { COALESCE });
            }
        };
        let thread = std::thread::Builder::new().name("plc-events".to_owned()).spawn(work).ok();
        Self { stop, thread }
    }
}

impl Telling {
    fn frames(&mut self, run: &Run) {
        let selection = lock(&self.selection).clone();
        let frames = selection.frames != Frames::Off && self.publisher.wanted(Topic::Frame);
        let faults = self.publisher.wanted(Topic::FaultFired);
        if !frames && !faults {
            if std::mem::take(&mut self.watching) {
                self.watch.end(run);
            }
            return;
        }
        self.watching = true;
        for news in self.watch.news(run) {
            let (topic, held) = if faults && news.is_fault() {
                (Topic::FaultFired, self.firings.take(FIRINGS))
            } else if frames && self.chosen(&selection, &news) {
                (Topic::Frame, self.frames.take(FRAMES))
            } else {
                continue;
            };
            if let Some(held) = held {
                self.publish(topic, news.json(), held);
            }
        }
    }

    fn publish(&self, topic: Topic, mut more: Map<String, Value>, held: u64) {
        more.insert("leftOut".to_owned(), held.into());
        self.publisher.publish(topic, more);
    }

    fn chosen(&mut self, selection: &Selection, news: &News) -> bool {
        let matches = selection.unit.is_none_or(|unit| unit == news.unit)
            && selection.port.as_ref().is_none_or(|port| *port == news.port);
        match selection.frames {
            _ if !matches => false,
            Frames::Off => false,
            Frames::All => true,
            Frames::Errors => news.is_error(),
            Frames::Each(n) => {
                self.seen += 1;
                self.seen % n == 1 % n
            }
        }
    }

    fn points(&mut self, run: &Run) {
        if !self.publisher.wanted(Topic::PointChanged) {
            self.values.clear();
            return;
        }
        let selected = lock(&self.selection).points.clone();
        let mut rows: Vec<(PointRow, bool)> =
            run.written().unwrap_or_default().into_iter().map(|row| (row, true)).collect();
        if let Some(names) = selected {
            rows.extend(run.points(&names).unwrap_or_default().into_iter().map(|row| (row, false)));
        }
        let mut changed = Vec::new();
        for (row, written) in rows {
            let value = json!(row.value);
            if changed.len() == POINTS {
                self.publisher
                    .publish(Topic::PointChanged, object(json!({"points": std::mem::take(&mut changed)})));
            }
            if self.values.get(&row.name) != Some(&value) {
                changed.push(json!({"name": row.name, "value": value, "unit": row.unit, "written": written}));
                self.values.insert(row.name, value);
            }
        }
        if !changed.is_empty() {
            self.publisher.publish(Topic::PointChanged, object(json!({"points": changed})));
        }
    }

    fn errors(&mut self, run: &Run) {
        let ports = run.port_news_after(&mut self.ports);
        if !self.publisher.wanted(Topic::LineError) {
            self.errors.clear();
            return;
        }
        for news in ports {
            self.publisher.publish(Topic::LineError, news.json());
        }
        for port in run.ports() {
            let (mut grown, mut totals) = (Map::new(), Map::new());
            for (name, total) in port.errors() {
                let before = self.errors.insert((port.name.clone(), name), total).unwrap_or(total);
                totals.insert(name.to_owned(), total.into());
                if total > before {
                    grown.insert(name.to_owned(), (total - before).into());
                }
            }
            if !grown.is_empty() {
                let more = json!({"port": port.name, "new": grown, "totals": totals});
                self.publisher.publish(Topic::LineError, object(more));
            }
        }
    }

    fn timing(&mut self, run: &Run) {
        if !self.publisher.wanted(Topic::Timing) {
            self.timing.clear();
            return;
        }
        for port in run.ports() {
            let now = port.lateness();
            let before = self.timing.insert(port.name.clone(), now.clone());
            let second = before.map_or(now.clone(), |before| now.since(&before));
            let row = TimingRow::new(&port.name, &second);
            let mut more = object(json!(row));
            more.insert("total".to_owned(), json!(TimingRow::new(&port.name, &now)));
            self.publisher.publish(Topic::Timing, more);
        }
    }
}
