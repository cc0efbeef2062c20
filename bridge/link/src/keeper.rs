//! Looks after the links of a set: hears what shards tell, brings lost ports back with their settings, takes samples
//! for rates. Works on threads of its own; a shard never waits for it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hilrig_port::{Event, Happened, OpenPort, PortUrl, PortWatch};

use crate::links::Shared;
use crate::live::{Carrier, Live, lock, side_name};
use crate::news::{Firing, Level, PortNews, millis, now};

/// Between two samples of the counters.
const TICK: Duration = Duration::from_secs(1);
/// Between two attempts to reach a peer: doubled from the first to the last.
const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(2);
/// A device is looked for at least so often, should the kernel have told nothing.
const LOOK: Duration = Duration::from_millis(500);
/// How long a wait does not see that the set is closed.
const STEP: Duration = Duration::from_millis(50);

/// A flag that can be waited for.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub fn raise(&self) {
        *lock(&self.raised) = true;
        self.changed.notify_all();
    }

    pub fn is_raised(&self) -> bool {
        *lock(&self.raised)
    }

    /// Waits, at most until it is raised; then answers `true`.
    fn sleep(&self, time: Duration) -> bool {
        let raised = lock(&self.raised);
        let waited = self.changed.wait_timeout_while(raised, time, |raised| !*raised);
        waited.map_or(true, |(raised, _)| *raised)
    }
}

/// Starts the thread that hears what one shard tells.
pub(crate) fn start(shared: &Arc<Shared>, carrier: &Arc<Carrier>) -> io::Result<JoinHandle<()>> {
    let (shared, mut events) = (shared.clone(), carrier.shard.events());
    std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
        let mut tick = Instant::now() + TICK;
        let mut missed = 0;
        while !shared.stop.is_raised() {
            if let Some(event) = events.wait(tick.saturating_duration_since(Instant::now())) {
                happened(&shared, &event);
            }
            if events.missed() > missed {
                missed = events.missed();
                look_again(&shared);
            }
            if Instant::now() >= tick {
                tick = Instant::now() + TICK;
                // Whichever keeper comes first; a sample more does no harm.
                lock(&shared.links).iter().for_each(|live| live.sample());
                shared.captures.refresh();
            }
        }
    })
}

fn happened(shared: &Arc<Shared>, event: &Event) {
    let links = lock(&shared.links);
    let Some(live) = links.iter().find(|live| live.id == event.link).cloned() else { return };
    drop(links);
    match event.what {
        Happened::Lost => lost(shared, &live, event.side, "lost", None),
        Happened::Unplugged(back) => lost(shared, &live, event.side, "unplugged", Some(back)),
        Happened::Fired(note) => {
            let direction = match note.direction {
                hilrig_port::Direction::AToB => "a->b",
                hilrig_port::Direction::BToA => "b->a",
            };
            shared.news.fired(Firing {
                link: live.name().to_owned(),
                rule: live.rule_id(note.rule),
                direction,
                position: note.position,
                bytes: note.bytes,
                ts: now(),
                at_ms: millis(live.since, note.at),
            });
            // Last, as a status asks for counts first: what it counts is among its firings.
            live.count(note.rule, note.total);
        }
        Happened::TapLost(bytes) => {
            live.losing_records.store(bytes, Ordering::Relaxed);
            let line = format!("link {}: its capture cannot keep up; {bytes} bytes are missing", live.name());
            shared.news.say(Level::Warn, &line);
        }
        Happened::Settings(settings) => {
            let character = u64::from(settings.format.half_bits()) * 500_000_000;
            if let Some(nanos) = character.checked_div(settings.baud.into()) {
                live.info.set_character(Duration::from_nanos(nanos));
            }
        }
        Happened::Came | Happened::Left | Happened::Lines(_) | Happened::Break | Happened::Error(_) => {}
    }
}

/// Events were lost, so that a port may be gone unheard, or a fault have fired uncounted.
fn look_again(shared: &Arc<Shared>) {
    let links = lock(&shared.links).clone();
    for live in links {
        live.recount();
        for side in 0..2 {
            if live.ports[side].gone() && !live.returning[side].load(Ordering::SeqCst) {
                lost(shared, &live, side, "lost", None);
            }
        }
    }
}

fn lost(shared: &Arc<Shared>, live: &Arc<Live>, side: usize, what: &'static str, back: Option<Duration>) {
    let news = PortNews { what, reason: live.ports[side].snapshot().reason, ..news(live, side) };
    shared.news.port(news);
    if live.spec.reconnect || back.is_some() {
        bring_back(shared, live, side, back);
    }
}

fn news(live: &Live, side: usize) -> PortNews {
    PortNews {
        link: live.name().to_owned(),
        side: side_name(side),
        port: live.spec.urls()[side].to_string(),
        what: "back",
        reason: String::new(),
        ts: now(),
    }
}

/// Brings a port back on a thread of its own, so that one that does not answer keeps no other waiting.
pub(crate) fn bring_back(shared: &Arc<Shared>, live: &Arc<Live>, side: usize, after: Option<Duration>) {
    if live.returning[side].swap(true, Ordering::SeqCst) {
        return;
    }
    let (ours, theirs, again) = (shared.clone(), live.clone(), live.clone());
    let started = std::thread::Builder::new().name("port-return".to_owned()).spawn(move || {
        let mut after = after;
        loop {
            let last = if is_local(theirs.spec.urls()[side]) { LOOK } else { LAST };
            let pause = after.take().unwrap_or_else(|| theirs.pause(side, FIRST, last));
            let stopped = ours.stop.sleep(pause);
            if !stopped {
                search(&ours, &theirs, side);
            }
            theirs.returning[side].store(false, Ordering::SeqCst);
            // Lost anew before that: who heard of it found somebody at work, and left it to us.
            let anew = theirs.spec.reconnect && theirs.ports[side].gone();
            let over = stopped || !anew || theirs.is_closed() || ours.stop.is_raised();
            if over || theirs.returning[side].swap(true, Ordering::SeqCst) {
                return;
            }
        }
    });
    let mut returns = lock(&shared.returns);
    returns.retain(|thread| !thread.is_finished());
    match started {
        Ok(thread) => returns.push(thread),
        Err(e) => {
            again.returning[side].store(false, Ordering::SeqCst);
            let line = format!("link {}: no thread to bring a port back: {e}", again.name());
            shared.news.say(Level::Warn, &line);
        }
    }
}

fn search(shared: &Shared, live: &Live, side: usize) {
    let url = wanted(live, side);
    // Before the first look, so that nothing comes unseen.
    let local = is_local(&url);
    let mut watch = if local { watch(&url) } else { None };
    let mut pause = FIRST;
    let closed = || shared.stop.is_raised() || live.is_closed();
    loop {
        let port = OpenPort::reopen(&url, &shared.runtime, live.ports[side].clone(), &closed);
        let done = match port {
            Ok(port) => {
                let warnings: Vec<String> = port.warnings().to_vec();
                live.replace(side, port).map(|()| warnings).map_err(|e| e.to_string())
            }
            Err(e) => Err(e.to_string()),
        };
        match done {
            Ok(warnings) => {
                live.set_hindrance(side, String::new());
                live.came_back(side);
                warnings.iter().for_each(|w| shared.news.say(Level::Warn, &format!("{url}: {w}")));
                return shared.news.port(news(live, side));
            }
            Err(why) => live.set_hindrance(side, why),
        }
        if closed() || wait(shared, watch.as_mut(), local, &mut pause) || closed() {
            return;
        }
    }
}

/// Waits until the next attempt is worth while; `true` when the set is closed.
fn wait(shared: &Shared, watch: Option<&mut PortWatch>, local: bool, pause: &mut Duration) -> bool {
    let Some(watch) = watch else {
        if local {
            return shared.stop.sleep(LOOK);
        }
        let now = std::mem::replace(pause, (*pause * 2).min(LAST));
        return shared.stop.sleep(now);
    };
    let until = Instant::now() + LOOK;
    while Instant::now() < until {
        if shared.stop.is_raised() {
            return true;
        }
        if watch.wait(STEP) {
            break;
        }
    }
    false
}

/// The port as it was set last, by whoever.
fn wanted(live: &Live, side: usize) -> PortUrl {
    let mut url = live.spec.urls()[side].clone();
    let last = live.ports[side].snapshot();
    if last.baud > 0
        && let Some(options) = url.serial_options_mut()
    {
        (options.baud, options.format, options.flow) = (last.baud, last.format, last.flow);
    }
    url
}

/// The kernel tells when such a port comes.
fn is_local(url: &PortUrl) -> bool {
    matches!(url, PortUrl::Serial { .. } | PortUrl::Usb { .. })
}

fn watch(url: &PortUrl) -> Option<PortWatch> {
    let mut watch = PortWatch::new().ok()?;
    if let PortUrl::Serial { path, .. } = url
        && let Some(folder) = path.parent()
    {
        watch.also(folder);
    }
    Some(watch)
}
