//! One output stream of a job: lines of text, the last [`MAX_JOB_OUTPUT`] bytes of them. What is cut is cut at the
//! front and marked. Knows nothing of jobs.

use std::collections::VecDeque;

use hilrig_contract::MAX_JOB_OUTPUT;

/// How the line begins that tells what is missing.
const CUT: &str = "[truncated: ";

/// Kept text, always ending in a line end unless empty.
#[derive(Debug, Default)]
pub(crate) struct Output {
    lines: VecDeque<String>,
    bytes: usize,
    cut: u64,
}

impl Output {
    /// Takes over what [`Output::text`] of another process gave, and what it had cut.
    pub fn restore(text: &str) -> Self {
        let mut out = Self::default();
        let cut = text.strip_prefix(CUT).and_then(|rest| rest.split_once(" bytes cut here]\n"));
        let text = match cut.and_then(|(cut, rest)| Some((cut.parse().ok()?, rest))) {
            Some((cut, rest)) => {
                out.cut = cut;
                rest
            }
            None => text,
        };
        if !text.is_empty() {
            out.push(text);
        }
        out
    }

    /// Adds `text` as one line, or several if it has line ends inside.
    pub fn push(&mut self, text: &str) {
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            let keep = tail(line, MAX_JOB_OUTPUT - 1);
            self.cut += (line.len() - keep.len()) as u64;
            self.bytes += keep.len() + 1;
            self.lines.push_back(keep.to_owned());
        }
        self.trim(MAX_JOB_OUTPUT);
    }

    /// Cuts whole lines at the front until at most `limit` bytes are left; a single longer line is cut inside.
    pub fn trim(&mut self, limit: usize) {
        while self.bytes > limit && self.lines.len() > 1 {
            let Some(line) = self.lines.pop_front() else { return };
            self.bytes -= line.len() + 1;
            self.cut += line.len() as u64 + 1;
        }
        if self.bytes > limit
            && let Some(line) = self.lines.front_mut()
        {
            let keep = tail(line, limit.saturating_sub(1)).to_owned();
            self.cut += (line.len() - keep.len()) as u64;
            self.bytes = keep.len() + 1;
            *line = keep;
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn last_line(&self) -> Option<&str> {
        self.lines.back().map(String::as_str)
    }

    /// The text, with a first line that tells what is missing.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes + 48);
        if self.cut > 0 {
            text.push_str(&format!("{CUT}{} bytes cut here]\n", self.cut));
        }
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// The longest end of `text` of at most `limit` bytes that starts at a character.
fn tail(text: &str, limit: usize) -> &str {
    let mut start = text.len().saturating_sub(limit);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_output_is_kept_as_it_is() {
        let mut out = Output::default();
        assert_eq!(out.text(), "");
        out.push("one");
        out.push("two\nthree\n");
        out.push("");
        assert_eq!(out.text(), "one\ntwo\nthree\n\n");
    }

    #[test]
    fn a_mebibyte_keeps_its_end_and_says_what_is_gone() {
        let mut out = Output::default();
        let line = "x".repeat(99);
        (0..10_486).for_each(|_| out.push(&line));
        out.push("the end");
        let text = out.text();
        assert!(out.bytes() <= MAX_JOB_OUTPUT);
        assert!(text.starts_with("[truncated: ") && text.ends_with("\nthe end\n"));
        let cut: usize = text["[truncated: ".len()..].split(' ').next().unwrap().parse().unwrap();
        assert_eq!(cut + out.bytes(), 10_486 * 100 + 8);
        assert_eq!(Output::restore(&text).text(), text, "the same in another process");
    }

    #[test]
    fn one_endless_line_is_cut_at_a_character() {
        let mut out = Output::default();
        out.push(&"ö".repeat(MAX_JOB_OUTPUT));
        assert!(out.bytes() <= MAX_JOB_OUTPUT);
        assert!(out.last_line().unwrap().chars().all(|c| c == 'ö'));
        out.trim(11);
        assert_eq!(out.last_line(), Some("öööööö".get(..10).unwrap()));
    }
}
