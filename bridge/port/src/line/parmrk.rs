//! Decodes what a tty gives with PARMRK set: `FF FF` is a byte FF, `FF 00 00` a break, `FF 00 x` the byte x that came
//! in error. Knows bytes and state only; which error it was, the caller says.

use std::ops::Range;

/// What was found next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// These bytes of the buffer, decoded.
    Bytes(Range<usize>),
    /// A mark. What it means, and whether its byte is one to deliver, `Parmrk::mark` is told.
    Mark(u8),
    /// Nothing more.
    End,
}

/// Where in a sequence the last read ended.
#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Plain,
    /// After FF.
    Escape,
    /// After FF 00.
    Marked,
    /// The next byte is itself, whatever it is.
    Literal,
}

/// The decoder; keeps only where it is in a sequence.
#[derive(Debug, Default)]
pub(crate) struct Parmrk {
    state: State,
}

impl Parmrk {
    /// Finds the next piece in `buffer[raw]` and shortens `raw` to what is left. Bytes are decoded in place. There
    /// must be room for one byte before `raw`.
    pub(crate) fn next(&mut self, buffer: &mut [u8], raw: &mut Range<usize>) -> Found {
        let mut out = raw.start;
        match self.state {
            _ if raw.start >= raw.end => return Found::End,
            State::Plain => {}
            State::Literal => {
                self.state = State::Plain;
                (raw.start, out) = (raw.start + 1, out + 1);
                return self.plain(buffer, raw, raw.start - 1, out);
            }
            State::Marked => {
                self.state = State::Plain;
                raw.start += 1;
                return Found::Mark(buffer[raw.start - 1]);
            }
            State::Escape => match buffer[raw.start] {
                0xFF => {
                    self.state = State::Literal;
                    return self.next(buffer, raw);
                }
                0x00 => {
                    self.state = State::Marked;
                    raw.start += 1;
                    return self.next(buffer, raw);
                }
                // Not from a tty with PARMRK set: came before it was. The FF was a byte like any other.
                _ => {
                    self.state = State::Plain;
                    out = raw.start - 1;
                    buffer[out] = 0xFF;
                    return self.plain(buffer, raw, out, raw.start);
                }
            },
        }
        self.plain(buffer, raw, out, out)
    }

    /// The mark just found was an error of its byte, which is to be delivered: `raw` begins with it again.
    pub(crate) fn deliver(&mut self, raw: &mut Range<usize>) {
        raw.start -= 1;
        self.state = State::Literal;
    }

    /// Decodes from `raw.start` on. The piece begins at `from`, and is decoded up to `out`.
    fn plain(&mut self, buffer: &mut [u8], raw: &mut Range<usize>, from: usize, mut out: usize) -> Found {
        loop {
            let rest = &buffer[raw.clone()];
            let run = rest.iter().position(|&b| b == 0xFF).unwrap_or(rest.len());
            if out != raw.start {
                buffer.copy_within(raw.start..raw.start + run, out);
            }
            (raw.start, out) = (raw.start + run, out + run);
            match buffer[raw.clone()] {
                [] => break,
                [_] => {
                    self.state = State::Escape;
                    raw.start += 1;
                    break;
                }
                [_, 0xFF, ..] => {
                    buffer[out] = 0xFF;
                    (raw.start, out) = (raw.start + 2, out + 1);
                }
                // What comes before the mark is delivered first; the mark is found again at the next call.
                [_, 0x00, ..] if out > from => return Found::Bytes(from..out),
                [_, 0x00, byte, ..] => {
                    raw.start += 3;
                    return Found::Mark(byte);
                }
                [_, 0x00] => {
                    self.state = State::Marked;
                    raw.start += 2;
                    break;
                }
                [_, _, ..] => {
                    buffer[out] = 0xFF;
                    (raw.start, out) = (raw.start + 1, out + 1);
                }
            }
        }
        if out > from { Found::Bytes(from..out) } else { Found::End }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a line brings, and how a tty writes it down (drivers/tty/n_tty.c).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Item {
        Byte(u8),
        Wrong(u8),
        Break,
    }

    fn written(items: &[Item]) -> Vec<u8> {
        items
            .iter()
            .flat_map(|item| match *item {
                Item::Byte(0xFF) => vec![0xFF, 0xFF],
                Item::Byte(byte) => vec![byte],
                Item::Wrong(byte) => vec![0xFF, 0, byte],
                Item::Break => vec![0xFF, 0, 0],
            })
            .collect()
    }

    /// Reads in chunks of these sizes, again and again.
    fn decoded(bytes: &[u8], sizes: &[usize]) -> Vec<Item> {
        let (mut parmrk, mut items) = (Parmrk::default(), Vec::new());
        let mut sizes = sizes.iter().cycle();
        let mut rest = bytes;
        let mut wrong = false;
        while !rest.is_empty() {
            let (chunk, more) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            rest = more;
            let mut buffer = vec![0xAA; 1 + chunk.len()];
            buffer[1..].copy_from_slice(chunk);
            let mut raw = 1..buffer.len();
            loop {
                match parmrk.next(&mut buffer, &mut raw) {
                    Found::End => break,
                    Found::Bytes(range) => {
                        assert!(range.end <= raw.start && !range.is_empty());
                        for &byte in &buffer[range] {
                            items.push(if wrong { Item::Wrong(byte) } else { Item::Byte(byte) });
                            wrong = false;
                        }
                    }
                    Found::Mark(0) => items.push(Item::Break),
                    Found::Mark(_) => {
                        parmrk.deliver(&mut raw);
                        wrong = true;
                    }
                }
            }
            assert!(raw.is_empty());
        }
        items
    }

    #[test]
    fn the_sequences_are_told_apart() {
        let line = [0x41, 0xFF, 0xFF, 0xFF, 0, 0, 0x42, 0xFF, 0, 0x43, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0];
        use Item::*;
        let items =
            [Byte(0x41), Byte(0xFF), Break, Byte(0x42), Wrong(0x43), Wrong(0xFF), Byte(0xFF), Byte(0)];
        for size in 1..=line.len() {
            assert_eq!(decoded(&line, &[size]), items);
        }
    }

    #[test]
    fn bytes_from_before_the_marks_were_switched_on_are_not_lost() {
        for size in 1..=4 {
            assert_eq!(
                decoded(&[1, 0xFF, 7, 8], &[size]),
                [Item::Byte(1), Item::Byte(0xFF), Item::Byte(7), Item::Byte(8)]
            );
        }
    }

    #[test]
    fn what_has_no_marks_is_one_piece() {
        let (mut parmrk, mut buffer) = (Parmrk::default(), [1, 2, 3, 0xFF, 0xFF, 4]);
        let mut raw = 1..6;
        assert_eq!(parmrk.next(&mut buffer, &mut raw), Found::Bytes(1..5));
        assert_eq!(buffer[1..5], [2, 3, 0xFF, 4]);
        assert_eq!(parmrk.next(&mut buffer, &mut raw), Found::End);
    }

    fn item() -> impl Strategy<Value = Item> {
        let byte = prop_oneof![Just(0xFFu8), Just(0), any::<u8>()];
        prop_oneof![
            6 => byte.clone().prop_map(Item::Byte),
            // An erroneous NUL looks like a break.
            1 => byte.prop_map(|b| Item::Wrong(b.max(1))),
            1 => Just(Item::Break),
        ]
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            items in prop::collection::vec(item(), 0..200),
            sizes in prop::collection::vec(1usize..9, 1..20),
        ) {
            prop_assert_eq!(decoded(&written(&items), &sizes), items);
        }

        #[test]
        fn any_bytes_are_taken_and_never_more_comes_out(
            bytes in prop::collection::vec(prop_oneof![Just(0xFFu8), Just(0), any::<u8>()], 0..300),
            sizes in prop::collection::vec(1usize..9, 1..20),
        ) {
            let whole = decoded(&bytes, &[bytes.len().max(1)]);
            prop_assert!(whole.len() <= bytes.len());
            prop_assert_eq!(decoded(&bytes, &sizes), whole);
        }
    }
}
