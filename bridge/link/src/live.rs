//! One open link: its handle on the shard, its counters, and what is known of it beside them. The control side asks
//! here; bytes never come by.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hilrig_capture::{Framing, LinkInfo, Rules};
use hilrig_port::{
    LineSettings, Link, LinkSnapshot, OpenPort, PortError, PortStats, Return, Shard, Tap, TapPoints,
    TapReader, Time, tap,
};
use hilrig_record::{Captures, RING, Tapped};
use hilrig_wire::{CoreSpec, LinkCore, RuleReport, character_time, frame_silence};

use crate::{LinkError, LinkSpec};

/// Seconds that a rate is taken over.
const RATE_WINDOW: usize = 5;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A shard and the number of links on it that are not removed yet.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub name: String,
    pub shard: Shard,
}

/// A link that is open.
pub(crate) struct Live {
    pub spec: LinkSpec,
    pub carrier: Arc<Carrier>,
    pub id: u64,
    pub ports: [Arc<PortStats>; 2],
    /// What captures know of it.
    pub info: LinkInfo,
    pub seed: u64,
    link: Mutex<Option<Link>>,
    last: Mutex<LinkSnapshot>,
    /// Paths that others open, and where listeners listen.
    far_ends: Mutex<[String; 2]>,
    samples: Mutex<VecDeque<(Time, [u64; 2])>>,
    has_core: AtomicBool,
    /// What is known of the return of lost ports.
    pub returns: [Return; 2],
    pub since: Time,
    /// Firings that the keeper has seen, by the rule's number.
    fired: Mutex<Vec<Fired>>,
    pub losing_records: AtomicU64,
    closed: AtomicBool,
    /// Of a link that is captured from the start: so that its first byte is in the capture.
    reader: Mutex<Option<(TapReader, TapPoints)>>,
}

/// What a rule has done so far.
#[derive(Debug, Clone)]
pub(crate) struct Fired {
    pub rule: u32,
    pub id: String,
    pub fired: u64,
    pub bytes: u64,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

/// What `main.b` in an operator's words is.
pub(crate) fn side_name(side: usize) -> &'static str {
    ["a", "b"][side & 1]
}

impl Live {
    /// Puts a link between two open ports.
    pub fn open(
        spec: LinkSpec,
        carrier: Arc<Carrier>,
        ports: [OpenPort; 2],
        captures: &Captures,
    ) -> Result<Self, LinkError> {
        let far_ends = [far_end(&ports[0]), far_end(&ports[1])];
        let seed = spec.seed.unwrap_or_else(draw);
        let names = spec.urls().map(ToString::to_string);
        let info = LinkInfo::new(spec.name.clone(), names, character(&spec));
        let core = if spec.wants_core() { Some(core(&spec, seed)?) } else { None };
        let mut fired = Vec::new();
        if let Some(core) = &core {
            note_rules(&core.report(), &mut fired, &info.rules);
        }
        let has_core = AtomicBool::new(core.is_some());
        let mut options = hilrig_port::LinkOptions {
            conduit: core.map(|core| Box::new(core) as _),
            lines: spec.lines.into(),
            ..Default::default()
        };
        let mut reader = None;
        if let Some(points) = points(&spec) {
            let (ours, theirs) = tap(RING);
            (options.tap, options.tap_points) = (Some(ours.nudging(captures.nudge()?)), points);
            reader = Some((theirs, points));
        }
        let [a, b] = ports;
        let link = carrier
            .shard
            .add_link(a, b, options)
            .map_err(|source| LinkError::Port { link: spec.name.clone(), source })?;
        Ok(Self {
            id: link.id(),
            ports: link.ports(),
            last: Mutex::new(link.stats()),
            link: Mutex::new(Some(link)),
            far_ends: Mutex::new(far_ends),
            samples: Mutex::default(),
            returns: Default::default(),
            since: Time::now(),
            fired: Mutex::new(fired),
            losing_records: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            reader: Mutex::new(reader),
            has_core,
            spec,
            carrier,
            info,
            seed,
        })
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The link's handle, while it is open.
    pub fn with<R>(&self, f: impl FnOnce(&Shard, &Link) -> Result<R, PortError>) -> Result<R, LinkError> {
        let link = lock(&self.link);
        let gone = || LinkError::Closed { link: self.spec.name.clone() };
        f(&self.carrier.shard, link.as_ref().ok_or_else(gone)?)
            .map_err(|source| LinkError::Port { link: self.spec.name.clone(), source })
    }

    /// Closes the ports. The last counters stay readable.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Some(link) = lock(&self.link).take() {
            let last = self.carrier.shard.remove_link(link);
            *lock(&self.last) = last;
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub fn stats(&self) -> LinkSnapshot {
        match &*lock(&self.link) {
            Some(link) => link.stats(),
            None => lock(&self.last).clone(),
        }
    }

    pub fn far_end(&self, side: usize) -> String {
        lock(&self.far_ends)[side].clone()
    }

    /// Takes a port that was opened again.
    pub fn replace(&self, side: usize, port: OpenPort) -> Result<(), LinkError> {
        let far = far_end(&port);
        self.with(|shard, link| shard.replace_port(link, side, port))?;
        lock(&self.far_ends)[side] = far;
        Ok(())
    }

    /// Once a second, for the rates.
    pub fn sample(&self) {
        let stats = self.stats();
        let bytes = [0, 1].map(|i| stats.directions[i].bytes_out);
        let mut samples = lock(&self.samples);
        samples.push_back((Time::now(), bytes));
        if samples.len() > RATE_WINDOW + 1 {
            samples.pop_front();
        }
    }

    /// Bytes a second in each direction, over the last seconds.
    pub fn rates(&self, now: &LinkSnapshot) -> [f64; 2] {
        let samples = lock(&self.samples);
        let (at, then) = samples.front().copied().unwrap_or((self.since, [0, 0]));
        let seconds = Time::now().since(at).as_secs_f64().max(0.05);
        [0, 1].map(|i| {
            let moved = now.directions[i].bytes_out.saturating_sub(then[i]);
            (moved as f64 / seconds * 10.0).round() / 10.0
        })
    }

    /// Lets somebody work on what stands in the link, putting an empty wire there first if there is nothing.
    pub fn with_core<R: Send>(
        &self,
        f: impl FnOnce(&mut LinkCore, Time) -> R + Send,
    ) -> Result<R, LinkError> {
        self.with(|shard, link| {
            if !self.has_core.swap(true, Ordering::SeqCst) {
                // Faults alone: a wire that is not asked for does nothing.
                let made = LinkCore::new(core_spec(&self.spec, self.seed));
                let core = made.map_err(|e| PortError::Unsupported {
                    port: self.spec.name.clone(),
                    reason: e.to_string(),
                })?;
                drop(shard.set_conduit(link, Some(Box::new(core)))?);
            }
            shard.with_conduit(link, f)
        })
    }

    /// What the rules of this link have done, from the shard itself.
    pub fn rules(&self) -> Vec<RuleReport> {
        if !self.has_core.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let reports = self.with_core(|core, _| core.report()).unwrap_or_default();
        note_rules(&reports, &mut lock(&self.fired), &self.info.rules);
        reports
    }

    /// The id of a rule; empty if there is none of this number.
    pub fn rule_id(&self, rule: u32) -> String {
        let known = || lock(&self.fired).iter().find(|f| f.rule == rule).map(|f| f.id.clone());
        let asked = || {
            // Armed a moment ago: the shard knows its name.
            self.rules();
            known()
        };
        known().or_else(asked).unwrap_or_default()
    }

    /// A rule has fired so often by now, and on so many bytes.
    pub fn count(&self, rule: u32, (fired, bytes): (u64, u64)) {
        if let Some(entry) = lock(&self.fired).iter_mut().find(|f| f.rule == rule) {
            (entry.fired, entry.bytes) = (entry.fired.max(fired), entry.bytes.max(bytes));
        }
    }

    /// Takes the shard's counts where firings were not heard.
    pub fn recount(&self) {
        for report in self.rules() {
            self.count(report.number, (report.fired, report.bytes));
        }
    }

    pub fn fired(&self) -> Vec<Fired> {
        lock(&self.fired).clone()
    }
}

impl Tapped for Live {
    fn info(&self) -> &LinkInfo {
        &self.info
    }

    fn set_tap(&self, tap: Option<Tap>, points: TapPoints) -> Result<Option<Tap>, String> {
        self.with(|shard, link| shard.set_tap(link, tap, points)).map_err(|e| e.to_string())
    }

    fn take_reader(&self) -> Option<(TapReader, TapPoints)> {
        lock(&self.reader).take()
    }
}

/// What the captures that a link asks for in its spec need of its tap.
fn points(spec: &LinkSpec) -> Option<TapPoints> {
    let recorded = spec.record.then_some(spec.record_points);
    match (spec.capture.as_ref().map(|capture| capture.points), recorded) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one.into()),
        (Some(one), Some(other)) if one == other => Some(one.into()),
        _ => Some(TapPoints::Both),
    }
}

/// Registers rules that are new here.
fn note_rules(reports: &[RuleReport], fired: &mut Vec<Fired>, names: &Rules) {
    for report in reports {
        if !fired.iter().any(|f| f.rule == report.number) {
            names.name(report.number, report.id.clone());
            let id = report.id.clone();
            fired.push(Fired { rule: report.number, id, fired: 0, bytes: 0 });
        }
    }
}

fn core(spec: &LinkSpec, seed: u64) -> Result<LinkCore, LinkError> {
    LinkCore::new(core_spec(spec, seed))
        .map_err(|e| LinkError::Spec { link: spec.name.clone(), reason: e.to_string() })
}

pub(crate) fn core_spec(spec: &LinkSpec, seed: u64) -> CoreSpec {
    let mut core = CoreSpec {
        wire: spec.wire.clone(),
        faults: spec.faults.clone(),
        seed,
        silence: frame_silence(character(spec)),
        settings: spec.urls().map(settings),
        ..CoreSpec::default()
    };
    match &spec.framing {
        Some(Framing::Terminator(bytes)) => core.terminator.clone_from(bytes),
        Some(Framing::Silence(Some(silence))) => core.silence = *silence,
        Some(Framing::Raw | Framing::Silence(None)) | None => {}
    }
    core
}

/// How a port is set at the start, as far as its URL says.
fn settings(url: &hilrig_port::PortUrl) -> Option<LineSettings> {
    url.serial_options().map(|o| LineSettings { baud: o.baud, format: o.format, flow: o.flow })
}

/// How long a character takes on a link whose speed is known from the start; zero if it is not.
fn character(spec: &LinkSpec) -> Duration {
    let line = spec.urls().into_iter().find_map(settings);
    let asked = spec.wire.as_ref().and_then(|wire| wire.baud);
    let Some(baud) = asked.or(line.map(|l| l.baud)).filter(|b| *b > 0) else { return Duration::ZERO };
    character_time(baud, line.map(|l| l.format).unwrap_or_default())
}

/// What others open or call.
fn far_end(port: &OpenPort) -> String {
    let path = port.far_end().map(|path| path.display().to_string());
    path.or_else(|| port.local_addr().map(|a| a.to_string())).unwrap_or_default()
}

/// A seed nobody asked for.
fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Below 2^53, so that every reader of JSON keeps it whole.
    std::hash::RandomState::new().build_hasher().finish() >> 11
}
