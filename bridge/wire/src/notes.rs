//! Firings that have not been asked for yet, in fixed memory. Decides nothing.

use std::collections::VecDeque;

use hilrig_port::Note;

const KEPT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Notes {
    list: VecDeque<Note>,
    /// Found no room: nobody has asked for long. The rules' own counts have them all.
    pub missed: u64,
}

impl Notes {
    pub fn new() -> Self {
        Self { list: VecDeque::with_capacity(KEPT), missed: 0 }
    }

    pub fn push(&mut self, note: Note) {
        if self.list.len() < KEPT { self.list.push_back(note) } else { self.missed += 1 }
    }

    pub fn pop(&mut self) -> Option<Note> {
        self.list.pop_front()
    }
}
