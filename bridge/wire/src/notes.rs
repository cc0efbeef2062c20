//! Firings that have not been asked for yet, in fixed memory. Decides nothing.

use std::collections::VecDeque;

use hilrig_port::Note;

const KEPT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Notes {
    list: VecDeque<Note>,
}

impl Notes {
    pub fn new() -> Self {
        Self { list: VecDeque::with_capacity(KEPT) }
    }

    /// Without room it takes the place of the last one, whose count it has, too.
    pub fn push(&mut self, note: Note) {
        if self.list.len() == KEPT {
            self.list.pop_back();
        }
        self.list.push_back(note);
    }

    pub fn pop(&mut self) -> Option<Note> {
        self.list.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use hilrig_port::{Direction, Time};

    use super::*;

    #[test]
    fn the_last_note_has_the_count_of_all_even_of_those_that_found_no_room() {
        let mut notes = Notes::new();
        let all = KEPT as u64 + 10;
        for n in 1..=all {
            let (at, direction) = (Time::now(), Direction::AToB);
            notes.push(Note { at, direction, position: n - 1, rule: 0, bytes: 1, total: (n, n) });
        }
        let told: Vec<Note> = std::iter::from_fn(|| notes.pop()).collect();
        assert_eq!(told.len(), KEPT);
        assert_eq!(told.last().map(|note| note.total), Some((all, all)));
    }
}
