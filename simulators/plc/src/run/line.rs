//! The lines of a run: who records what passes on them, and their ports' return when they are lost. Sees bytes only as
//! records of taps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use hilrig_capture::LinkInfo;
use hilrig_files::known;
use hilrig_modbus::Framing;
use hilrig_port::{
    OpenPort, PortState, PortStats, PortUrl, Return, Returning, SeatOptions, SeatRef, Shard, Tap, TapPoints,
    TapReader, tap,
};
use hilrig_record::{Captures, RING, Tapped};

use super::comings::Comings;
use super::{PortRun, Run, RunError, lock};
use crate::model::{PortPlan, Role};

/// The end of a line at which one of the cores of a run sits.
pub(crate) struct Line {
    shard: Weak<Shard>,
    pub seat: SeatRef,
    pub info: LinkInfo,
    pub framing: Framing,
    pub role: Role,
    url: PortUrl,
    pub stats: Arc<PortStats>,
    state: Return,
    reconnect: bool,
    /// That it is lost was told.
    told: AtomicBool,
    /// Nobody sits there any more.
    over: AtomicBool,
    comings: Arc<Comings>,
    /// Of a run that is captured from its first byte.
    first: Mutex<Option<TapReader>>,
}

/// What a line gets before it is on the shard.
pub(super) struct Fresh {
    pub options: SeatOptions,
    pub first: Option<TapReader>,
}

impl Fresh {
    /// `captures`: those that want the first byte.
    pub fn new(reconnect: bool, captures: Option<&Captures>) -> Result<Self, RunError> {
        let mut fresh =
            Self { options: SeatOptions { returns: reconnect, ..SeatOptions::default() }, first: None };
        if let Some(captures) = captures {
            let (ours, reader) = tap(RING);
            fresh.options.tap = Some(ours.nudging(captures.nudge()?));
            fresh.options.tap_points = TapPoints::Both;
            fresh.first = Some(reader);
        }
        Ok(fresh)
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Line {
    /// `who` sits there, as status rows call it.
    pub(super) fn new(
        run: &Run,
        plan: &PortPlan,
        who: &str,
        seat: SeatRef,
        stats: Arc<PortStats>,
        (reconnect, first): (bool, Option<TapReader>),
    ) -> Option<Arc<Self>> {
        let url = plan.url.clone()?;
        let character = plan.timing().on_the_line(1);
        Some(Arc::new(Self {
            shard: Arc::downgrade(&run.shard),
            seat,
            info: LinkInfo::new(plan.name.clone(), [url.to_string(), who.to_owned()], character),
            framing: plan.framing,
            role: plan.role,
            url,
            stats,
            state: Return::default(),
            reconnect,
            told: AtomicBool::new(false),
            over: AtomicBool::new(false),
            comings: run.comings.clone(),
            first: Mutex::new(first),
        }))
    }

    /// Nobody sits there any more.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Why it is lost, for now or for good; empty when it is not.
    pub fn loss(&self) -> String {
        if !self.stats.gone() {
            return String::new();
        }
        let (reason, hindrance) = (self.stats.snapshot().reason, self.state.hindrance());
        if hindrance.is_empty() { reason } else { format!("{reason}; opening it again: {hindrance}") }
    }

    /// It is lost and nobody brings it back.
    pub fn is_given_up(&self) -> bool {
        self.stats.gone() && self.stats.state() == PortState::Lost
    }

    /// Tells of its loss, once, and begins to look for it; does nothing while it is there.
    pub(super) fn lost(self: &Arc<Self>, returns: &hilrig_port::Returns) {
        if !self.stats.gone() || self.over.load(Ordering::SeqCst) {
            return;
        }
        if !self.told.swap(true, Ordering::SeqCst) {
            self.comings.tell(&self.info.name, &self.url.to_string(), "lost", &self.stats.snapshot().reason);
        }
        if !self.is_given_up()
            && let Err(e) = returns.bring(self.clone(), None)
        {
            self.comings.warn(&format!("port {}: no thread to bring it back: {e}", self.info.name));
        }
    }
}

impl Tapped for Line {
    fn info(&self) -> &LinkInfo {
        &self.info
    }

    fn set_tap(&self, tap: Option<Tap>, points: TapPoints) -> Result<Option<Tap>, String> {
        let shard = self.shard.upgrade().ok_or_else(|| "the run is over".to_owned())?;
        shard.set_seat_tap(&self.seat, tap, points).map_err(|e| e.to_string())
    }

    fn take_reader(&self) -> Option<(TapReader, TapPoints)> {
        Some((lock(&self.first).take()?, TapPoints::Both))
    }
}

impl Returning for Line {
    fn url(&self) -> &PortUrl {
        &self.url
    }

    fn stats(&self) -> &Arc<PortStats> {
        &self.stats
    }

    fn state(&self) -> &Return {
        &self.state
    }

    fn put(&self, port: OpenPort) -> Result<(), String> {
        let shard = self.shard.upgrade().ok_or_else(|| "the run is over".to_owned())?;
        shard.replace_seat_port(&self.seat, port).map_err(|e| e.to_string())
    }

    fn back(&self, warnings: &[String]) {
        self.told.store(false, Ordering::SeqCst);
        self.comings.tell(&self.info.name, &self.url.to_string(), "back", "");
        warnings.iter().for_each(|w| self.comings.warn(&format!("port {}: {w}", self.info.name)));
    }

    fn always(&self) -> bool {
        self.reconnect
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || self.is_given_up()
    }
}

impl PortRun {
    /// Of a listener, why it has no line.
    fn no_line(&self) -> RunError {
        let why = format!(
            "callers come and go at a listener, so that there is no line to record or to replay on; record the network \
             (as `tshark -i any -f \"tcp port 502\" -w FILE`), or let a caller come through `hilrig link tcp-listen:… {} \
             --capture FILE`",
            if self.far_end.is_empty() { &self.url } else { &self.far_end }
        );
        RunError::Refused { what: format!("port {}", self.name), why }
    }
}

impl Run {
    /// The lines of these ports; without a name, of all that have one. Of a gateway it is the line behind it.
    ///
    /// # Errors
    /// There is no such port, or it has no line.
    pub(crate) fn lines(&self, names: &[&str]) -> Result<Vec<Arc<Line>>, RunError> {
        let ports = self.ports();
        if names.is_empty() {
            let lines: Vec<_> = ports.iter().filter_map(|port| port.line.clone()).collect();
            return match (lines.is_empty(), ports.first()) {
                (true, Some(port)) => Err(port.no_line()),
                (true, None) => Err(RunError::NoPort),
                (false, _) => Ok(lines),
            };
        }
        let line = |name: &&str| {
            let of = |port: &&Arc<PortRun>| {
                port.name == **name || port.line.as_ref().is_some_and(|line| line.info.name == **name)
            };
            let Some(port) = ports.iter().find(of) else {
                let names = ports.iter().filter(|p| p.line.is_some()).map(|p| p.name.as_str());
                return Err(RunError::Unknown {
                    what: "port",
                    name: (*name).to_owned(),
                    known: known("ports with a line", names),
                });
            };
            port.line.clone().ok_or_else(|| port.no_line())
        };
        names.iter().map(line).collect()
    }
}
