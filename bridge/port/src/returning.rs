//! Brings lost ports back: opens them again with their settings as soon as they are there, each on a thread of its own,
//! so that one that does not answer keeps no other waiting. A shard never waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{OpenPort, PortStats, PortUrl, PortWatch, Runtime, Time};

/// Between two attempts to reach a peer: doubled from the first to the last.
const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(2);
/// A device is looked for at least so often, should the kernel have told nothing.
const LOOK: Duration = Duration::from_millis(500);
/// How long a wait does not see that all is over.
const STEP: Duration = Duration::from_millis(50);
/// A port that is lost again so soon has a peer that turns us away.
const SOON: Duration = Duration::from_secs(3);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A flag that can be waited for.
#[derive(Debug, Default)]
pub struct StopFlag {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl StopFlag {
    pub fn raise(&self) {
        *lock(&self.raised) = true;
        self.changed.notify_all();
    }

    pub fn is_raised(&self) -> bool {
        *lock(&self.raised)
    }

    /// Waits, at most until it is raised; then answers `true`.
    pub fn sleep(&self, time: Duration) -> bool {
        let raised = lock(&self.raised);
        let waited = self.changed.wait_timeout_while(raised, time, |raised| !*raised);
        waited.map_or(true, |(raised, _)| *raised)
    }
}

/// A port that can come back.
pub trait Returning: Send + Sync + 'static {
    /// As the operator wrote it.
    fn url(&self) -> &PortUrl;

    fn stats(&self) -> &Arc<PortStats>;

    /// What is known of its return.
    fn state(&self) -> &Return;

    /// Puts the open port in the place of the lost one.
    ///
    /// # Errors
    /// Why it cannot be, in a sentence; it is tried again.
    fn put(&self, port: OpenPort) -> Result<(), String>;

    /// It is back; what was asked for and could not be had, in sentences.
    fn back(&self, warnings: &[String]);

    /// It is looked for whenever it is lost, and not only once.
    fn always(&self) -> bool;

    /// Nobody needs it any more.
    fn is_over(&self) -> bool;
}

/// What is known of the return of one port.
#[derive(Debug, Default)]
pub struct Return {
    /// Somebody is bringing it back.
    returning: AtomicBool,
    /// When it came back last, and how long the next search for it is put off.
    last: Mutex<(Option<Time>, Duration)>,
    /// Why it is not back yet.
    hindrance: Mutex<String>,
}

impl Return {
    /// Somebody is bringing it back.
    pub fn is_under_way(&self) -> bool {
        self.returning.load(Ordering::SeqCst)
    }

    /// Why it is not back yet; empty when nothing is known.
    pub fn hindrance(&self) -> String {
        lock(&self.hindrance).clone()
    }

    /// How long to wait before it is looked for: not at all, unless it is lost again and again.
    fn pause(&self, first: Duration, last: Duration) -> Duration {
        let mut state = lock(&self.last);
        let again = state.0.is_some_and(|at| Time::now().since(at) < SOON);
        state.1 = if again { (state.1 * 2).clamp(first, last) } else { Duration::ZERO };
        state.1
    }
}

/// The threads that bring ports back.
#[derive(Debug)]
pub struct Returns {
    runtime: Runtime,
    stop: Arc<StopFlag>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Returns {
    /// Works until `stop` is raised.
    pub fn new(runtime: Runtime, stop: Arc<StopFlag>) -> Self {
        Self { runtime, stop, threads: Mutex::default() }
    }

    /// Brings a port back, not before `after`; does nothing if somebody is at it already.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn bring(&self, port: Arc<dyn Returning>, after: Option<Duration>) -> std::io::Result<()> {
        let state = port.clone();
        if state.state().returning.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let (runtime, stop) = (self.runtime.clone(), self.stop.clone());
        let started = std::thread::Builder::new()
            .name("port-return".to_owned())
            .spawn(move || bring(&*port, after, &runtime, &stop));
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        let thread = started.inspect_err(|_| state.state().returning.store(false, Ordering::SeqCst))?;
        threads.push(thread);
        Ok(())
    }

    /// After the stop was raised: waits for all threads.
    pub fn join(&self) {
        let threads: Vec<_> = lock(&self.threads).drain(..).collect();
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn bring(port: &dyn Returning, mut after: Option<Duration>, runtime: &Runtime, stop: &StopFlag) {
    let state = port.state();
    let last = if is_local(port.url()) { LOOK } else { LAST };
    loop {
        let stopped = stop.sleep(after.take().unwrap_or_else(|| state.pause(FIRST, last)));
        if !stopped {
            search(port, runtime, stop);
        }
        state.returning.store(false, Ordering::SeqCst);
        // Lost anew before that: who heard of it found somebody at work, and left it to us.
        let anew = port.always() && port.stats().gone();
        let over = stopped || !anew || port.is_over() || stop.is_raised();
        if over || state.returning.swap(true, Ordering::SeqCst) {
            return;
        }
    }
}

fn search(port: &dyn Returning, runtime: &Runtime, stop: &StopFlag) {
    let url = wanted(port);
    // Before the first look, so that nothing comes unseen.
    let local = is_local(&url);
    let mut watch = if local { watch(&url) } else { None };
    let mut pause = FIRST;
    let closed = || stop.is_raised() || port.is_over();
    loop {
        let opened = OpenPort::reopen(&url, runtime, port.stats().clone(), &closed);
        let done = opened.map_err(|e| e.to_string()).and_then(|open| {
            let warnings: Vec<String> = open.warnings().to_vec();
            port.put(open).map(|()| warnings)
        });
        match done {
            Ok(warnings) => {
                lock(&port.state().hindrance).clear();
                lock(&port.state().last).0 = Some(Time::now());
                return port.back(&warnings);
            }
            Err(why) => *lock(&port.state().hindrance) = why,
        }
        if closed() || wait(stop, watch.as_mut(), local, &mut pause) || closed() {
            return;
        }
    }
}

/// Waits until the next attempt is worth while; `true` when all is over.
fn wait(stop: &StopFlag, watch: Option<&mut PortWatch>, local: bool, pause: &mut Duration) -> bool {
    let Some(watch) = watch else {
        if local {
            return stop.sleep(LOOK);
        }
        let now = std::mem::replace(pause, (*pause * 2).min(LAST));
        return stop.sleep(now);
    };
    let until = Instant::now() + LOOK;
    while Instant::now() < until {
        if stop.is_raised() {
            return true;
        }
        if watch.wait(STEP) {
            break;
        }
    }
    false
}

/// The port as it was set last, by whoever.
fn wanted(port: &dyn Returning) -> PortUrl {
    let mut url = port.url().clone();
    let last = port.stats().snapshot();
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
