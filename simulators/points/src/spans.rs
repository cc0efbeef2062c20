//! Points of one table, sorted by place, to find those that a range of addresses touches. Holds no values.

use crate::point::PointId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub first: u16,
    pub last: u16,
    pub point: PointId,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Spans {
    entries: Vec<Span>,
    /// How much longer than one cell the longest ever was; bits may lie inside longer ones, so ends are not sorted.
    reach: u16,
}

impl Spans {
    pub fn reserve(&mut self, more: usize) {
        self.entries.reserve_exact(more.saturating_sub(self.entries.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, place: usize) -> Option<Span> {
        self.entries.get(place).copied()
    }

    pub fn insert(&mut self, span: Span) {
        if let Err(place) = self.entries.binary_search(&span) {
            self.entries.insert(place, span);
            self.reach = self.reach.max(span.last - span.first);
        }
    }

    pub fn remove(&mut self, span: Span) {
        if let Ok(place) = self.entries.binary_search(&span) {
            self.entries.remove(place);
        }
    }

    /// Where to begin to look for those that touch a range.
    pub fn start(&self, first: u16) -> usize {
        if self.entries.is_empty() {
            return 0;
        }
        let from = first.saturating_sub(self.reach);
        self.entries.partition_point(|e| e.first < from)
    }

    pub fn touching(&self, first: u16, last: u16) -> impl Iterator<Item = Span> + '_ {
        let behind = self.entries[self.start(first)..].iter();
        behind.take_while(move |e| e.first <= last).filter(move |e| e.last >= first).copied()
    }
}
