//! The event bus: what apps tell subscribers. A publisher never waits: each subscriber has a bounded ring, the
//! oldest event gives way to the newest, and what was lost is counted. Decides nothing about when an event is due.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hilrig_contract::{Event, EventParams, Topic, timestamp};
use serde_json::{Map, Value};
use tokio::sync::Notify;

/// Events a subscriber may lag behind.
pub const EVENT_RING: usize = 256;
/// Bytes a subscriber may lag behind.
const EVENT_RING_BYTES: usize = 1 << 20;

/// Every poison in this crate is a panic between two consistent states: go on with the data as it is.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries events from apps to subscribers of this process.
#[derive(Debug, Default)]
pub struct Bus {
    queues: Mutex<Vec<Weak<Queue>>>,
    /// Subscribers per topic, so that a publisher without an audience does no work.
    wanted: [AtomicU32; Topic::ALL.len()],
    audience: Notify,
}

/// One event before it is meant for somebody.
#[derive(Debug)]
struct Payload {
    topic: Topic,
    app_id: String,
    ts: String,
    more: Map<String, Value>,
    /// `more` as JSON with the braces cut off, made once for all subscribers.
    text: String,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Ring>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    /// Topics with the app they are limited to.
    filter: Vec<(Topic, Option<String>)>,
    events: VecDeque<(u64, Arc<Payload>)>,
    bytes: usize,
    seq: u64,
    dropped: u64,
}

impl Ring {
    fn wants(&self, topic: Topic, app_id: &str) -> bool {
        self.filter.iter().any(|(t, app)| *t == topic && app.as_deref().is_none_or(|app| app == app_id))
    }

    fn has(&self, topic: Topic) -> bool {
        self.filter.iter().any(|(t, _)| *t == topic)
    }

    fn push(&mut self, payload: &Arc<Payload>) {
        self.seq += 1;
        self.bytes += payload.text.len();
        self.events.push_back((self.seq, Arc::clone(payload)));
        while self.events.len() > 1 && (self.events.len() > EVENT_RING || self.bytes > EVENT_RING_BYTES) {
            if let Some((_, oldest)) = self.events.pop_front() {
                self.bytes -= oldest.text.len();
                self.dropped += 1;
            }
        }
    }

    fn pop(&mut self) -> Option<Pushed> {
        let (seq, payload) = self.events.pop_front()?;
        self.bytes -= payload.text.len();
        Some(Pushed { seq, dropped: self.dropped, payload })
    }
}

impl Bus {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether anybody subscribes to `topic`; ask before making an expensive event.
    pub fn wanted(&self, topic: Topic) -> bool {
        self.wanted[topic as usize].load(Ordering::Relaxed) > 0
    }

    /// Waits until somebody subscribes to `topic`.
    pub async fn until_wanted(&self, topic: Topic) {
        self.until_one_wanted(&[topic]).await;
    }

    /// Waits until somebody subscribes to one of `topics`, and answers it.
    pub async fn until_one_wanted(&self, topics: &[Topic]) -> Topic {
        loop {
            let changed = self.audience.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(topic) = topics.iter().find(|topic| self.wanted(**topic)) {
                return *topic;
            }
            changed.await;
        }
    }

    /// Gives an event to everybody who wants it. Callable from any thread; never waits for a reader.
    pub fn publish(&self, topic: Topic, app_id: &str, more: Map<String, Value>) {
        if !self.wanted(topic) {
            return;
        }
        let text = serde_json::to_string(&more).unwrap_or_default();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or_default().to_owned();
        let payload = Arc::new(Payload { topic, app_id: app_id.to_owned(), ts: timestamp(), more, text });
        let mut queues = lock(&self.queues);
        queues.retain(|queue| {
            let Some(queue) = queue.upgrade() else { return false };
            let mut ring = lock(&queue.state);
            if ring.wants(topic, app_id) {
                ring.push(&payload);
                drop(ring);
                queue.ready.notify_one();
            }
            true
        });
    }

    /// A subscriber without topics yet.
    pub fn subscriber(self: &Arc<Self>) -> Subscription {
        let queue = Arc::new(Queue::default());
        let mut queues = lock(&self.queues);
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        drop(queues);
        Subscription { bus: Arc::clone(self), queue }
    }
}

/// One subscriber. Its events end when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    bus: Arc<Bus>,
    queue: Arc<Queue>,
}

impl Subscription {
    /// Adds a topic, for one app or for all.
    pub fn add(&self, topic: Topic, app_id: Option<&str>) {
        let mut ring = lock(&self.queue.state);
        let had = ring.has(topic);
        if app_id.is_none() {
            ring.filter.retain(|(t, _)| *t != topic);
        }
        if !ring.filter.iter().any(|(t, app)| *t == topic && (app.is_none() || app.as_deref() == app_id)) {
            ring.filter.push((topic, app_id.map(str::to_owned)));
        }
        drop(ring);
        if !had {
            self.bus.wanted[topic as usize].fetch_add(1, Ordering::Relaxed);
            self.bus.audience.notify_waiters();
        }
    }

    /// Takes a topic away, for one app or altogether. A topic subscribed for all apps goes only altogether.
    pub fn remove(&self, topic: Topic, app_id: Option<&str>) {
        let mut ring = lock(&self.queue.state);
        let had = ring.has(topic);
        ring.filter.retain(|(t, app)| *t != topic || (app_id.is_some() && app.as_deref() != app_id));
        if had && !ring.has(topic) {
            self.bus.wanted[topic as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The next event, if one is waiting.
    pub fn try_next(&self) -> Option<Pushed> {
        lock(&self.queue.state).pop()
    }

    /// Waits for the next event. Cancel-safe; one waiter at a time.
    pub async fn next(&self) -> Pushed {
        loop {
            let ready = self.queue.ready.notified();
            if let Some(event) = self.try_next() {
                return event;
            }
            ready.await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for topic in Topic::ALL {
            self.remove(topic, None);
        }
    }
}

/// An event for one subscriber.
#[derive(Debug, Clone)]
pub struct Pushed {
    seq: u64,
    dropped: u64,
    payload: Arc<Payload>,
}

impl Pushed {
    pub fn topic(&self) -> Topic {
        self.payload.topic
    }

    pub fn app_id(&self) -> &str {
        &self.payload.app_id
    }

    /// The topic's own keys.
    pub fn more(&self) -> &Map<String, Value> {
        &self.payload.more
    }

    pub fn to_event(&self) -> Event {
        Event {
            event: self.payload.topic,
            params: EventParams {
                app_id: self.payload.app_id.clone(),
                seq: self.seq,
                ts: self.payload.ts.clone(),
                dropped: self.dropped,
                more: self.payload.more.clone(),
            },
        }
    }

    /// Appends the event as one line with its LF.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let p = &self.payload;
        let app_id = Value::from(p.app_id.as_str());
        let mut line = format!(
            r#"{{"event":"{}","params":{{"appId":{app_id},"seq":{},"ts":"{}","dropped":{}"#,
            p.topic.as_str(),
            self.seq,
            p.ts,
            self.dropped
        );
        let comma = if p.text.is_empty() { "" } else { "," };
        let _ = writeln!(line, "{comma}{}}}}}", p.text);
        out.extend_from_slice(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn more(n: usize) -> Map<String, Value> {
        Map::from_iter([("n".to_owned(), json!(n))])
    }

    #[test]
    fn oldest_is_dropped_and_counted() {
        let bus = Bus::new();
        let stalled = bus.subscriber();
        stalled.add(Topic::Log, None);
        for n in 0..EVENT_RING + 10 {
            bus.publish(Topic::Log, "bridge", more(n));
        }
        let first = stalled.try_next().unwrap().to_event();
        assert_eq!((first.params.seq, first.params.dropped), (11, 10));
        assert_eq!(first.params.more["n"], 10);
        assert_eq!(std::iter::from_fn(|| stalled.try_next()).count(), EVENT_RING - 1);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let bus = Bus::new();
        let stalled = bus.subscriber();
        stalled.add(Topic::Log, None);
        let big = Map::from_iter([("line".to_owned(), json!("x".repeat(100_000)))]);
        for _ in 0..50 {
            bus.publish(Topic::Log, "bridge", big.clone());
        }
        assert_eq!(std::iter::from_fn(|| stalled.try_next()).count(), 10);
    }

    #[test]
    fn topics_and_apps_are_filtered_and_unsubscribed() {
        let bus = Bus::new();
        assert!(!bus.wanted(Topic::Log));
        let one = bus.subscriber();
        one.add(Topic::Log, Some("bridge"));
        one.add(Topic::Log, Some("40318"));
        bus.publish(Topic::Log, "plc-simulator", more(1));
        bus.publish(Topic::JobChanged, "bridge", more(2));
        bus.publish(Topic::Log, "40318", more(3));
        assert_eq!(one.try_next().unwrap().app_id(), "40318");
        assert!(one.try_next().is_none());
        one.remove(Topic::Log, Some("40318"));
        assert!(bus.wanted(Topic::Log));
        one.add(Topic::Log, None);
        one.add(Topic::Log, Some("bridge"));
        one.remove(Topic::Log, None);
        assert!(!bus.wanted(Topic::Log));
        one.add(Topic::Metrics, None);
        assert!(bus.wanted(Topic::Metrics));
        drop(one);
        assert!(!bus.wanted(Topic::Metrics));
    }

    #[test]
    fn the_line_is_the_event() {
        let bus = Bus::new();
        let one = bus.subscriber();
        one.add(Topic::StatusChanged, None);
        for more in [Map::new(), more(5), Map::from_iter([("a".to_owned(), json!({"b": "\n{}"}))])] {
            bus.publish(Topic::StatusChanged, "bri\"dge", more);
            let pushed = one.try_next().unwrap();
            let mut line = vec![];
            pushed.write_line(&mut line);
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            let value: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(value, serde_json::to_value(pushed.to_event()).unwrap());
        }
    }

    #[tokio::test]
    async fn waiting_readers_wake() {
        let bus = Bus::new();
        let one = bus.subscriber();
        one.add(Topic::Log, None);
        let publisher = {
            let bus = Arc::clone(&bus);
            std::thread::spawn(move || (0..100).for_each(|n| bus.publish(Topic::Log, "bridge", more(n))))
        };
        for n in 0..100 {
            assert_eq!(one.next().await.more()["n"], n);
        }
        publisher.join().unwrap();
    }
}
