//! Looks after the links of a set: hears what shards tell, brings lost ports back with their settings, takes samples
//! for rates. Works on threads of its own; a shard never waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hilrig_port::{Event, Happened, OpenPort, PortStats, PortUrl, Return, Returning};

use crate::links::Shared;
use crate::live::{Carrier, Live, lock, side_name};
use crate::news::{Firing, Level, PortNews, millis, now};

/// Between two samples of the counters.
const TICK: Duration = Duration::from_secs(1);
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
            if live.ports[side].gone() && !live.returns[side].is_under_way() {
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

/// Brings a port back, on a thread of its own.
pub(crate) fn bring_back(shared: &Arc<Shared>, live: &Arc<Live>, side: usize, after: Option<Duration>) {
    let port = Arc::new(Side { shared: shared.clone(), live: live.clone(), side });
    if let Err(e) = shared.returns.bring(port, after) {
        let line = format!("link {}: no thread to bring a port back: {e}", live.name());
        shared.news.say(Level::Warn, &line);
    }
}

/// One port of a link.
struct Side {
    shared: Arc<Shared>,
    live: Arc<Live>,
    side: usize,
}

impl Returning for Side {
    fn url(&self) -> &PortUrl {
        self.live.spec.urls()[self.side]
    }

    fn stats(&self) -> &Arc<PortStats> {
        &self.live.ports[self.side]
    }

    fn state(&self) -> &Return {
        &self.live.returns[self.side]
    }

    fn put(&self, port: OpenPort) -> Result<(), String> {
        self.live.replace(self.side, port).map_err(|e| e.to_string())
    }

    fn back(&self, warnings: &[String]) {
        let (news, url) = (&self.shared.news, self.url());
        warnings.iter().for_each(|w| news.say(Level::Warn, &format!("{url}: {w}")));
        news.port(self::news(&self.live, self.side));
    }

    fn always(&self) -> bool {
        self.live.spec.reconnect
    }

    fn is_over(&self) -> bool {
        self.live.is_closed()
    }
}
