//! Looks after a run: lets its data go on while nobody asks for it, has lost ports brought back, and knows what captures
//! have written. A thread of its own that sleeps but once a second; the shard never waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hilrig_points::Shared;
use hilrig_port::{EventWaker, Happened, Returns, Runtime, Shard, StopFlag};
use hilrig_record::Captures;

use super::comings::Comings;
use super::line::Line;
use super::{PortRun, lock};

/// Signals that keep a state advance at least so often: the first access after a long rest would do all steps at once.
const TICK: Duration = Duration::from_secs(1);

/// The thread. [`Keeper::end`] ends it.
#[derive(Debug)]
pub(super) struct Keeper {
    stop: Arc<StopFlag>,
    waker: EventWaker,
    returns: Arc<Returns>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// How often the data was let go on.
    pub ticks: Arc<AtomicU64>,
}

/// What the thread sees of a run.
pub(super) struct Kept {
    pub shard: Weak<Shard>,
    pub plant: Shared,
    pub ports: Arc<Mutex<Vec<Arc<PortRun>>>>,
    pub captures: Captures,
    pub comings: Arc<Comings>,
}

impl Keeper {
    pub fn start(shard: &Shard, runtime: &Runtime, kept: Kept) -> std::io::Result<Self> {
        let stop = Arc::<StopFlag>::default();
        let returns = Arc::new(Returns::new(runtime.clone(), stop.clone()));
        let mut events = shard.events();
        let waker = events.waker();
        let (stopped, ours, ticks) = (stop.clone(), returns.clone(), Arc::<AtomicU64>::default());
        let ticked = ticks.clone();
        let work = move || {
            let (mut due, mut missed) = (Instant::now() + TICK, 0);
            while !stopped.is_raised() {
                if let Some(event) = events.wait(due.saturating_duration_since(Instant::now())) {
                    let line = kept.lines().into_iter().find(|line| line.seat.id() == event.link);
                    match (line, event.what) {
                        (Some(line), Happened::Lost) => line.lost(&ours),
                        (Some(line), Happened::TapLost(bytes)) => kept.comings.warn(&format!(
                            "port {}: its capture cannot keep up; {bytes} bytes are missing",
                            line.info.name
                        )),
                        _ => {}
                    }
                }
                if events.missed() > missed {
                    missed = events.missed();
                    kept.lines().iter().for_each(|line| line.lost(&ours));
                }
                if Instant::now() >= due {
                    due = Instant::now() + TICK;
                    kept.tick();
                    ticked.fetch_add(1, Ordering::Relaxed);
                    // One that was lost before it was among the ports.
                    kept.lines().iter().for_each(|line| line.lost(&ours));
                }
            }
        };
        let thread = std::thread::Builder::new().name("plc-keeper".to_owned()).spawn(work)?;
        Ok(Self { stop, waker, returns, thread: Mutex::new(Some(thread)), ticks })
    }

    pub fn is_over(&self) -> bool {
        self.stop.is_raised()
    }

    /// Ends the thread and all that bring ports back.
    pub fn end(&self) {
        self.stop.raise();
        self.waker.wake();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.returns.join();
    }
}

impl Kept {
    fn lines(&self) -> Vec<Arc<Line>> {
        lock(&self.ports).iter().filter_map(|port| port.line.clone()).collect()
    }

    fn tick(&self) {
        if let Some(shard) = self.shard.upgrade() {
            // On the shard, between two frames, so that nobody ever waits for the data's lock.
            let _ = shard.between(|now| self.plant.with(|plant| plant.advance(now)));
        }
        // Telegrams that nobody has seen are forgotten.
        let unseen = lock(&self.ports).iter().filter(|port| !port.is_watched()).cloned().collect::<Vec<_>>();
        unseen.iter().for_each(|port| while port.next_telegram().is_some() {});
        self.captures.refresh();
    }
}
