//! What a capture knows of the link that it shows. Plain data, shared between the control side and the hub's thread.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A tap that is attached to a [`Hub`](crate::Hub). Never the same twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey(u64);

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// One link. Clones share what may change.
#[derive(Debug, Clone)]
pub struct LinkInfo {
    key: LinkKey,
    /// As the operator calls it.
    pub name: String,
    /// The ports of side A and side B, as the operator wrote them.
    pub ports: [String; 2],
    /// Names for the numbers in records of faults.
    pub rules: Rules,
    character: Arc<AtomicU64>,
}

impl LinkInfo {
    /// `character` is how long one character takes on the line, zero if that is not known.
    pub fn new(name: impl Into<String>, ports: [String; 2], character: Duration) -> Self {
        let info = Self {
            key: LinkKey(NEXT_KEY.fetch_add(1, Ordering::Relaxed)),
            name: name.into(),
            ports,
            rules: Rules::default(),
            character: Arc::default(),
        };
        info.set_character(character);
        info
    }

    pub fn key(&self) -> LinkKey {
        self.key
    }

    /// How long one character takes on the line, zero if that is not known.
    pub fn character(&self) -> Duration {
        Duration::from_nanos(self.character.load(Ordering::Relaxed))
    }

    /// The line was set anew. Counts from now on, for every clone.
    pub fn set_character(&self, character: Duration) {
        self.character.store(u64::try_from(character.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// What the numbers of fault rules mean: a text such as `drop3: drop`. Clones share one table.
#[derive(Debug, Clone, Default)]
pub struct Rules(Arc<RwLock<HashMap<u32, String>>>);

impl Rules {
    pub fn name(&self, number: u32, text: impl Into<String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(number, text.into());
    }

    pub fn get(&self, number: u32) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }
}

/// How captures describe the interface of one side; `side` is 0 or 1.
pub(crate) fn description(link: &str, side: usize) -> String {
    format!("side {} of link {link}", ["A", "B"][side & 1])
}

/// The link and the side of such a description.
pub(crate) fn described(text: &str) -> Option<(&str, usize)> {
    let from = |start, side| text.strip_prefix(start).map(|link| (link, side));
    from("side A of link ", 0).or_else(|| from("side B of link ", 1))
}
