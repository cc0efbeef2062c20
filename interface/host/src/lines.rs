//! Bytes as they arrive, cut into request lines. Holds at most one line of [`MAX_LINE`] bytes and one read; the
//! rest of a longer line is thrown away as it comes.

use hilrig_contract::MAX_LINE;

/// Room for one read.
const READ: usize = 4 << 10;
/// A buffer that grew over this is given back once it is empty.
const KEEP: usize = 64 << 10;

#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where the line that is not complete yet starts.
    start: usize,
    /// Where to go on looking for its end.
    scanned: usize,
    /// Throwing away up to the next line end.
    skipping: bool,
}

/// What the bytes so far hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A line without its LF.
    Line(&'a [u8]),
    /// A line longer than allowed, told once; its beginning.
    TooLong(&'a [u8]),
}

impl Lines {
    /// Where the next read goes: append to it.
    pub fn space(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
        if self.buffer.capacity() - self.buffer.len() < READ {
            self.buffer.reserve(READ);
        }
        &mut self.buffer
    }

    /// The next piece, if there is a whole one.
    pub fn next(&mut self) -> Option<Piece<'_>> {
        loop {
            match self.buffer[self.scanned..].iter().position(|b| *b == b'\n') {
                Some(at) => {
                    let (start, end) = (self.start, self.scanned + at);
                    (self.start, self.scanned) = (end + 1, end + 1);
                    if std::mem::take(&mut self.skipping) {
                        continue;
                    }
                    return Some(piece(&self.buffer[start..end]));
                }
                None => {
                    self.scanned = self.buffer.len();
                    if self.skipping {
                        self.start = self.scanned;
                    } else if self.scanned - self.start > MAX_LINE + 1 {
                        self.skipping = true;
                        let start = std::mem::replace(&mut self.start, self.scanned);
                        return Some(Piece::TooLong(&self.buffer[start..]));
                    }
                    return None;
                }
            }
        }
    }

    /// After the end of input: the last line, if it had no LF.
    pub fn last(&mut self) -> Option<Piece<'_>> {
        let start = std::mem::replace(&mut self.start, self.buffer.len());
        self.scanned = self.start;
        (start < self.start && !self.skipping).then(|| piece(&self.buffer[start..]))
    }
}

/// The limit holds without the line end, be it LF or CR LF.
fn piece(line: &[u8]) -> Piece<'_> {
    let content = line.strip_suffix(b"\r").unwrap_or(line);
    if content.len() > MAX_LINE { Piece::TooLong(content) } else { Piece::Line(content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in reads of `step` bytes; answers the lines, `None` for one too long, and the most memory held.
    fn cut(input: &[u8], step: usize) -> (Vec<Option<Vec<u8>>>, usize) {
        let mut lines = Lines::default();
        let mut pieces = vec![];
        let mut held = 0;
        let own = |piece: Piece<'_>| match piece {
            Piece::Line(line) => Some(line.to_vec()),
            Piece::TooLong(_) => None,
        };
        for part in input.chunks(step) {
            lines.space().extend_from_slice(part);
            held = held.max(lines.buffer.capacity());
            while let Some(piece) = lines.next() {
                pieces.push(own(piece));
            }
        }
        pieces.extend(lines.last().map(own));
        (pieces, held)
    }

    #[test]
    fn any_cut_gives_the_same_lines() {
        let input = b"one\r\n\ntwo\nthree";
        let want: Vec<_> = ["one", "", "two", "three"].iter().map(|s| Some(s.as_bytes().to_vec())).collect();
        for step in 1..=input.len() {
            assert_eq!(cut(input, step).0, want, "step {step}");
        }
    }

    proptest::proptest! {
        #[test]
        fn lines_are_what_a_split_gives(
            input in proptest::collection::vec(proptest::sample::select(&b"ab\r\n"[..]), 0..200),
            step in 1usize..50,
        ) {
            let mut want: Vec<_> = input.split(|b| *b == b'\n').collect();
            if want.last().is_some_and(|last| last.is_empty()) {
                want.pop();
            }
            let want: Vec<_> = want.iter().map(|l| Some(l.strip_suffix(b"\r").unwrap_or(l).to_vec())).collect();
            assert_eq!(cut(&input, step).0, want);
        }
    }

    #[test]
    fn the_limit_is_exact_and_a_longer_line_is_told_once() {
        let mut input = vec![b'a'; MAX_LINE];
        input.extend_from_slice(b"\r\nb\n");
        assert_eq!(cut(&input, 4096).0, [Some(vec![b'a'; MAX_LINE]), Some(b"b".to_vec())]);
        input.insert(0, b'a');
        for step in [1000, 4096, input.len()] {
            assert_eq!(cut(&input, step).0, [None, Some(b"b".to_vec())]);
        }
    }

    #[test]
    fn a_line_without_end_costs_bounded_memory() {
        let mut input = vec![b'a'; 8 << 20];
        let (pieces, held) = cut(&input, 4096);
        assert_eq!(pieces, [None]);
        assert!(held <= 3 << 20, "{held}");
        input.extend_from_slice(b"\nping");
        assert_eq!(cut(&input, 4096).0, [None, Some(b"ping".to_vec())]);
    }
}
